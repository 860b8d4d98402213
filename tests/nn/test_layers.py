"""Layers against PyTorch's: printing, state_dict, outputs and gradients with the same weights, first values, errors."""

import math

import numpy as np
import pytest

import numbanet
from numbanet import nn
from tests.checks import assert_close, torch

rng = np.random.default_rng(23)

LAYERS = [
    ("Conv2d(3, 8, 3)", (2, 3, 6, 5)),
    ("Conv2d(4, 8, (3, 2), stride=2, padding=(1, 0), dilation=(1, 2), groups=2, bias=False)", (2, 4, 9, 9)),
    ("Conv2d(3, 3, 3, padding='same', groups=3)", (1, 3, 5, 5)),
    ("Conv2d(1, 2, 1, padding='valid')", (1, 1, 3, 3)),
    ("Linear(4, 3)", (5, 4)),
    ("Linear(4, 3, bias=False)", (2, 5, 4)),
    ("Identity()", (2, 3)),
    ("Identity(54, unused=1)", (2, 3)),
    ("MaxPool2d(2)", (1, 2, 6, 5)),
    ("MaxPool2d((3, 2), stride=(2, 1), padding=1, ceil_mode=True)", (1, 2, 6, 5)),
    ("MaxPool2d(3, 1, 0, 2)", (1, 2, 6, 5)),
    ("AvgPool2d(2)", (1, 2, 6, 5)),
    ("AvgPool2d(3, 2, 1, True, False)", (1, 2, 6, 5)),
    ("AdaptiveAvgPool2d((2, 3))", (1, 2, 6, 5)),
    ("AdaptiveAvgPool2d((None, 1))", (1, 2, 6, 5)),
    ("AdaptiveMaxPool2d(2)", (1, 2, 6, 5)),
    ("BatchNorm2d(3)", (4, 3, 2, 2)),
    ("BatchNorm2d(3, eps=0.01, momentum=None, affine=False)", (4, 3, 2, 2)),
    ("BatchNorm2d(3, track_running_stats=False)", (4, 3, 2, 2)),
    ("BatchNorm2d(3, bias=False)", (4, 3, 2, 2)),
    ("BatchNorm1d(3)", (4, 3)),
    ("BatchNorm1d(3, momentum=0.2)", (4, 3, 5)),
    ("Dropout(0.0)", (2, 3)),
    ("Dropout(0.25, inplace=True).eval()", (2, 3)),
    ("Flatten()", (2, 3, 4)),
    ("Flatten(0, 1)", (2, 3, 4)),
    ("Unflatten(1, (2, 3))", (2, 6)),
    ("ReLU()", (2, 3)),
    ("ReLU(inplace=True).eval()", (2, 3)),
    ("Sigmoid()", (2, 3)),
    ("Tanh()", (2, 3)),
    ("Softmax(dim=1)", (2, 3)),
    ("LogSoftmax(dim=-1)", (2, 3)),
    ("Sequential(Conv2d(1, 2, 3), ReLU(), Sequential(Flatten(), Linear(8, 2)))", (1, 1, 4, 4)),
    ("Sequential()", (1, 2)),
    ("Sequential(ReLU(), ReLU())", (1, 2)),
    (
        "ModuleList([Linear(2, 2), Linear(2, 2), Linear(2, 2), ReLU(), Sequential(Tanh(), Tanh()), Sequential(Tanh(), Tanh())])",
        None,
    ),
    ("ModuleDict({'a': Linear(1, 1), 'b': ModuleList()})", None),
    ("CrossEntropyLoss()", None),
    ("MSELoss()", None),
    ("L1Loss()", None),
    ("NLLLoss()", None),
]


def make(library, source):
    return eval(source, dict(vars(library)))


def pair_of(source):
    """The layer in both libraries with PyTorch's weights."""
    theirs = make(torch.nn, source)
    ours = make(nn, source)
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    return ours, theirs


@pytest.mark.torch
@pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("source, shape", LAYERS)
def test_layer_is_pytorchs(source, shape):
    ours, theirs = pair_of(source)
    assert repr(ours) == repr(theirs)
    assert {k: tuple(v.shape) for k, v in ours.state_dict().items()} == {
        k: tuple(v.shape) for k, v in theirs.state_dict().items()
    }
    assert list(ours.state_dict()) == list(theirs.state_dict())
    if shape is None:
        return
    for training in (ours.training, False):
        ours.train(training), theirs.train(training)
        x = rng.permutation(np.prod(shape)).reshape(shape).astype(np.float32) / 7 - 3
        a, b = numbanet.from_numpy(x.copy()).requires_grad_(), torch.from_numpy(x.copy()).requires_grad_()
        y, z = ours(a * 1.0), theirs(b * 1.0)
        dy = rng.standard_normal(tuple(z.shape)).astype(np.float32)
        assert_close(y.detach(), z.detach(), atol=1e-4, what="output")
        y.backward(numbanet.from_numpy(dy)), z.backward(torch.from_numpy(dy))
        assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-4, what="input's gradient")
        for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-3, what=name)
        for (name, p), q in zip(ours.named_buffers(), theirs.buffers(), strict=True):
            assert_close(p, q, atol=1e-5, what=name)


@pytest.mark.torch
@pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
@pytest.mark.parametrize(
    "source",
    ["Conv2d(3, 4, 3, groups=2)", "Conv2d(4, 3, 3, groups=2)", "Conv2d(1, 1, 3, groups=0)", "Conv2d(1, 1, 3, padding='full')",
     "Conv2d(1, 1, 3, padding='same', stride=2)", "Conv2d(1, 1, 3, padding_mode='wrap')", "Dropout(1.5)", "Dropout(-0.1)",
     "Unflatten(1, 6)", "Sequential(3)"],
)  # fmt: skip
def test_layers_refuse_what_pytorch_refuses(source):
    with pytest.raises(Exception) as theirs:
        make(torch.nn, source)
    with pytest.raises(type(theirs.value)):
        make(nn, source)


@pytest.mark.parametrize(
    "make_layer, fan_in",
    [
        (lambda: nn.Conv2d(8, 64, 5), 8 * 25),
        (lambda: nn.Conv2d(16, 64, 5, groups=4), 4 * 25),  # fan_in counts one group's channels
        (lambda: nn.Linear(200, 300), 200),
    ],
)
def test_first_weights_are_uniform_within_one_over_the_root_of_fan_in(make_layer, fan_in):
    layer = make_layer()
    bound = 1 / math.sqrt(fan_in)
    w = layer.weight.detach().numpy().astype(np.float64)
    assert np.abs(w).max() <= bound * (1 + 1e-6) and np.abs(w).max() > 0.99 * bound
    assert abs(w.mean()) < 4 * bound / math.sqrt(3 * w.size)
    assert abs(w.std() - bound / math.sqrt(3)) < 0.03 * bound
    b = layer.bias.detach().numpy()
    assert np.abs(b).max() <= bound * (1 + 1e-6) and np.abs(b).max() > 0.8 * bound and len(np.unique(b)) > 0.9 * b.size


def test_the_seed_decides_the_first_weights():
    numbanet.manual_seed(3)
    first = nn.Conv2d(2, 3, 3).weight.tolist()
    assert nn.Conv2d(2, 3, 3).weight.tolist() != first
    numbanet.manual_seed(3)
    assert nn.Conv2d(2, 3, 3).weight.tolist() == first


def test_layers_take_a_dtype():
    for layer in (
        nn.Conv2d(1, 2, 3, dtype=numbanet.float64),
        nn.Linear(2, 3, dtype=numbanet.float64),
        nn.BatchNorm2d(2, dtype=numbanet.float64),
    ):
        assert all(p.dtype == numbanet.float64 for p in layer.parameters())


def test_batch_norm_layers_check_the_number_of_dimensions():
    with pytest.raises(ValueError, match=r"BatchNorm2d: expected 4D input \(got 3D input of shape \(2, 3, 4\)\)"):
        nn.BatchNorm2d(3)(numbanet.zeros(2, 3, 4))
    with pytest.raises(ValueError, match="BatchNorm1d: expected 2D or 3D input"):
        nn.BatchNorm1d(3)(numbanet.zeros(2, 3, 4, 4))


def test_batch_norm_averages_all_batches_alike_without_momentum():
    layer = nn.BatchNorm1d(2, momentum=None)
    batches = [rng.standard_normal((5, 2)).astype(np.float32) for _ in range(3)]
    for batch in batches:
        layer(numbanet.from_numpy(batch))
    assert layer.num_batches_tracked.item() == 3
    assert_close(layer.running_mean, np.mean([b.mean(0) for b in batches], axis=0), rtol=1e-4)
    layer.reset_running_stats()
    assert (
        layer.running_mean.tolist() == [0, 0]
        and layer.running_var.tolist() == [1, 1]
        and layer.num_batches_tracked.item() == 0
    )


def test_dropout_layer_drops_in_training_only():
    layer, x = nn.Dropout(0.5), numbanet.ones(1000)
    assert 0.3 < (layer(x).numpy() == 0).mean() < 0.7
    assert layer.eval()(x) is x


@pytest.mark.torch
@pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
def test_losses_keep_their_options():
    x, target, weight = (
        rng.standard_normal((4, 3)).astype(np.float32),
        np.array([0, 2, 1, -7]),
        np.array([1, 2, 0.5], np.float32),
    )
    options = {"ignore_index": -7, "reduction": "sum", "label_smoothing": 0.1}
    a = nn.CrossEntropyLoss(numbanet.from_numpy(weight), **options)(numbanet.from_numpy(x), numbanet.from_numpy(target))
    b = torch.nn.CrossEntropyLoss(torch.from_numpy(weight), **options)(torch.from_numpy(x), torch.from_numpy(target))
    assert_close(a, b)
    a = nn.NLLLoss(numbanet.from_numpy(weight), ignore_index=-7)(numbanet.from_numpy(x), numbanet.from_numpy(target))
    b = torch.nn.NLLLoss(torch.from_numpy(weight), ignore_index=-7)(torch.from_numpy(x), torch.from_numpy(target))
    assert_close(a, b)
    for name in ("MSELoss", "L1Loss"):
        a = getattr(nn, name)(reduction="none")(numbanet.from_numpy(x), numbanet.from_numpy(x * 2))
        assert_close(a, getattr(torch.nn, name)(reduction="none")(torch.from_numpy(x), torch.from_numpy(x * 2)))


def test_a_small_network_learns():
    numbanet.manual_seed(1)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 2)
    )
    x = numbanet.randn(32, 1, 8, 8)
    target = (x.mean((1, 2, 3)) > 0).long()
    loss_of = nn.CrossEntropyLoss()
    losses = []
    for _ in range(30):
        loss = loss_of(net(x), target)
        net.zero_grad()
        loss.backward()
        with numbanet.no_grad():
            for p in net.parameters():
                p -= 0.1 * p.grad
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
