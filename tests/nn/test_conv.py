"""Convolution, padding and folding layers against PyTorch's: printing, state_dict, outputs and gradients with the same weights."""

import math

import numpy as np
import pytest

import numbanet
import numbanet.nn.functional as F
from numbanet import nn
from tests.checks import assert_close, torch

rng = np.random.default_rng(29)

LAYERS = [
    ("Conv1d(3, 8, 3)", (2, 3, 9)),
    ("Conv1d(4, 8, (2,), stride=2, padding=1, dilation=2, groups=2, bias=False)", (2, 4, 9)),
    ("Conv1d(2, 2, 4, padding='same', padding_mode='circular')", (2, 2, 9)),
    ("Conv1d(2, 3, 3, padding=2, padding_mode='reflect')", (2, 9)),
    ("Conv2d(3, 4, 3, padding=1, padding_mode='reflect')", (2, 3, 6, 5)),
    ("Conv2d(3, 4, (3, 2), stride=2, padding=(1, 2), padding_mode='replicate')", (2, 3, 6, 5)),
    ("Conv2d(3, 4, (4, 3), padding='same', dilation=(1, 2), padding_mode='circular')", (2, 3, 6, 5)),
    ("Conv2d(3, 4, 3, padding='valid', padding_mode='circular')", (3, 6, 5)),
    ("ConvTranspose1d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2, dilation=2)", (2, 4, 5)),
    ("ConvTranspose1d(2, 3, 4, bias=False)", (2, 5)),
    ("ConvTranspose2d(4, 6, 3, 2, 1, 1, 2, False, 2)", (2, 4, 5, 4)),
    ("ConvTranspose2d(2, 3, (2, 4), stride=(1, 2), padding=(0, 1))", (2, 2, 3, 4)),
    ("ConvTranspose2d(2, 3, 2, 2)", (2, 3, 4)),
    ("ConstantPad1d(2, 3.5)", (2, 3, 4)),
    ("ConstantPad1d((1, -2), 0.5)", (3, 4)),
    ("ConstantPad2d((1, 0, -1, 2), -1.0)", (2, 3, 4, 5)),
    ("ZeroPad1d((0, 3))", (2, 3, 4)),
    ("ZeroPad2d(1)", (2, 3, 4, 5)),
    ("ReflectionPad1d(2)", (2, 3, 4)),
    ("ReflectionPad2d((1, 2, 0, 3))", (2, 3, 4, 5)),
    ("ReplicationPad1d((5, 0))", (2, 3, 4)),
    ("ReplicationPad2d(2)", (3, 4, 5)),
    ("CircularPad1d((4, 1))", (2, 3, 4)),
    ("CircularPad2d((1, 2, 3, 4))", (2, 3, 4, 5)),
    ("Unfold(3, 1, 1, 2)", (2, 3, 6, 5)),
    ("Unfold((2, 3), dilation=(1, 2))", (3, 6, 5)),
    ("Fold((4, 5), 2, padding=1)", (2, 12, 30)),
    ("Fold(output_size=4, kernel_size=(2, 2), stride=2)", (8, 4)),
]


def make(library, source):
    return eval(source, dict(vars(library)))


@pytest.mark.torch
@pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("source, shape", LAYERS)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_layer_is_pytorchs(source, shape):
    theirs, ours = make(torch.nn, source), make(nn, source)
    state = theirs.state_dict()
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict({k: v.numpy() for k, v in state.items()})
    assert repr(ours) == repr(theirs)
    x = rng.standard_normal(shape).astype(np.float32)
    a, b = numbanet.from_numpy(x.copy()).requires_grad_(), torch.from_numpy(x.copy()).requires_grad_()
    y, z = ours(a), theirs(b)
    assert_close(y.detach(), z.detach(), atol=1e-5, what="output")
    dy = rng.standard_normal(tuple(z.shape)).astype(np.float32)
    y.backward(numbanet.from_numpy(dy)), z.backward(torch.from_numpy(dy))
    assert_close(a.grad, b.grad, 1e-4, 1e-4, "input's gradient")
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert_close(p.grad, q.grad, 1e-3, 1e-4, name)


@pytest.mark.parametrize("source", [
    "Conv1d(3, 4, 3, groups=2)", "Conv1d(4, 4, 3, groups=0)", "Conv1d(1, 1, 3, padding='same', stride=2)",
    "Conv1d(1, 1, 3, padding_mode='wrap')", "Conv1d(1, 1, 3, padding='full')", "ConvTranspose2d(3, 4, 3, groups=2)",
    "ConvTranspose2d(4, 3, 3, groups=2)", "ConvTranspose1d(1, 1, 3, padding_mode='reflect')",
])  # fmt: skip
def test_layers_refuse_what_pytorch_refuses(source):
    with pytest.raises(ValueError):
        make(nn, source)
    if torch is not None:
        with pytest.raises(ValueError):
            make(torch.nn, source)


@pytest.mark.parametrize("make_layer, fan_in", [
    (lambda: nn.Conv1d(16, 256, 5, groups=2), 8 * 5),
    (lambda: nn.ConvTranspose1d(64, 32, 5), 32 * 5),
    (lambda: nn.ConvTranspose2d(32, 64, 3, groups=4), 16 * 9),  # PyTorch counts the weight's second size
    (lambda: nn.DeformConv2d(16, 64, 3), 16 * 9),
])  # fmt: skip
def test_first_weights_are_uniform_within_one_over_the_root_of_fan_in(make_layer, fan_in):
    layer = make_layer()
    bound = 1 / math.sqrt(fan_in)
    w = layer.weight.detach().numpy().astype(np.float64)
    assert 0.99 * bound < np.abs(w).max() <= bound * (1 + 1e-6)
    assert abs(w.mean()) < 4 * bound / math.sqrt(3 * w.size)
    assert abs(w.std() - bound / math.sqrt(3)) < 0.03 * bound
    b = layer.bias.detach().numpy()
    assert 0.8 * bound < np.abs(b).max() <= bound * (1 + 1e-6)


@pytest.mark.parametrize("source, shape, sizes", [
    ("ConvTranspose2d(2, 3, 3, stride=2, padding=1)", (1, 2, 4, 5), [(7, 9), (8, 9), [7, 10], (1, 3, 8, 10), (6, 9), (9, 9), (7,), (1, 8, 9)]),
    ("ConvTranspose1d(2, 3, 3, stride=3)", (2, 4), [(12,), (13,), (14,), (3, 13), (11,), (15,)]),
])  # fmt: skip
def test_transposed_layers_take_an_output_size(source, shape, sizes):
    ours = make(nn, source)
    x = rng.standard_normal(shape).astype(np.float32)
    theirs = None if torch is None else make(torch.nn, source)
    if theirs is not None:
        ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    taken = 0
    for size in sizes:
        try:
            y = ours(numbanet.from_numpy(x), output_size=size)
        except ValueError as error:
            assert "output_size" in str(error)
            if theirs is not None:
                with pytest.raises(ValueError):
                    theirs(torch.from_numpy(x), output_size=size)
            continue
        taken += 1
        assert tuple(y.shape)[-len(size[-ours.dims :]) :] == tuple(size[-ours.dims :])
        if theirs is not None:
            assert_close(y.detach(), theirs(torch.from_numpy(x), output_size=size).detach(), 1e-5, 1e-5)
    assert taken >= 3


def test_depthwise_separable_is_two_convolutions_with_a_fraction_of_the_weights():
    layer = nn.DepthwiseSeparableConv2d(8, 12, 3, stride=2, padding=1, bias=False)
    assert {k: tuple(v.shape) for k, v in layer.state_dict().items()} == {
        "depthwise.weight": (8, 1, 3, 3),
        "pointwise.weight": (12, 8, 1, 1),
    }
    weights = sum(p.numel() for p in layer.parameters())
    assert weights / (12 * 8 * 9) == pytest.approx(1 / 12 + 1 / 9)
    x = numbanet.from_numpy(rng.standard_normal((2, 8, 7, 7)).astype(np.float32))
    middle = F.conv2d(x, layer.depthwise.weight, None, 2, 1, 1, 8)
    assert_close(layer(x).detach(), F.conv2d(middle, layer.pointwise.weight).detach(), 1e-5, 1e-5)
    assert nn.DepthwiseSeparableConv2d(2, 3, 3).pointwise.bias is not None


@pytest.mark.parametrize("masked", [False, True])
def test_deform_conv2d_layer(masked):
    layer = nn.DeformConv2d(4, 6, (3, 2), stride=2, padding=1, groups=2)
    assert {k: tuple(v.shape) for k, v in layer.state_dict().items()} == {"weight": (6, 2, 3, 2), "bias": (6,)}
    assert repr(layer) == "DeformConv2d(4, 6, kernel_size=(3, 2), stride=(2, 2), padding=(1, 1), groups=2)"
    x, offset, mask = (
        numbanet.from_numpy(rng.standard_normal(s).astype(np.float32))
        for s in ((2, 4, 5, 6), (2, 12, 3, 4), (2, 6, 3, 4))
    )
    y = layer(x, offset, mask) if masked else layer(x, offset)
    expected = F.deform_conv2d(x, offset, layer.weight, layer.bias, 2, 1, 1, mask if masked else None)
    assert_close(y.detach(), expected.detach())
    y.sum().backward()
    assert tuple(layer.weight.grad.shape) == (6, 2, 3, 2) and tuple(layer.bias.grad.shape) == (6,)


def test_layers_take_a_dtype():
    for layer in (nn.Conv1d(1, 2, 3, dtype=numbanet.float64), nn.ConvTranspose2d(1, 2, 3, dtype=numbanet.float64)):
        assert all(p.dtype == numbanet.float64 for p in layer.parameters())
