"""Lazy layers: what they become, what may be done before, and that PyTorch's do the same."""

import copy
import pickle

import numpy as np
import pytest

import numbanet
from numbanet import inspect, nn, optim
from tests.notes.session import HAS_TORCH

# class, arguments, options, shape of the first input, the argument that it tells
CASES = [
    ("Linear", (4,), {}, (2, 5, 3), "in_features"),
    ("Linear", (4, False), {}, (3,), "in_features"),
    ("Conv1d", (4, 3), {"padding": "same"}, (2, 3, 8), "in_channels"),
    ("Conv1d", (4, 3, 2), {}, (3, 8), "in_channels"),
    ("Conv2d", (4, (3, 2)), {"stride": 2, "padding_mode": "reflect", "padding": 1}, (2, 6, 8, 7), "in_channels"),
    ("Conv2d", (4, 3), {"groups": 2, "bias": False}, (6, 8, 7), "in_channels"),
    ("ConvTranspose1d", (4, 3), {"stride": 2}, (2, 3, 5), "in_channels"),
    ("ConvTranspose2d", (4, 3), {"groups": 2, "dilation": 2}, (2, 6, 5, 4), "in_channels"),
    ("BatchNorm1d", (), {}, (4, 3), "num_features"),
    ("BatchNorm1d", (1e-3,), {"affine": False}, (4, 3, 5), "num_features"),
    ("BatchNorm2d", (), {"momentum": None}, (4, 3, 5, 5), "num_features"),
    ("BatchNorm2d", (), {"track_running_stats": False}, (4, 3, 5, 5), "num_features"),
    ("InstanceNorm1d", (), {"affine": True, "track_running_stats": False}, (4, 3, 5), "num_features"),
    ("InstanceNorm2d", (), {"affine": True, "track_running_stats": True}, (4, 3, 5, 5), "num_features"),
    # PyTorch's lazy ones have other defaults than the regular ones, and than their documentation says.
    ("InstanceNorm2d", (), {"affine": False, "track_running_stats": True}, (4, 3, 5, 5), "num_features"),
]
each = pytest.mark.parametrize(("name", "args", "options", "shape", "size"), CASES)


def ones(library, shape):
    return library.from_numpy(np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape))


def lazy(library, name, args, options):
    return getattr(library.nn, "Lazy" + name)(*args, **options)


def net():
    return nn.Sequential(
        nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.LazyConvTranspose2d(2, 2), nn.Flatten(), nn.LazyLinear(5)
    )  # fmt: skip


@each
def test_becomes_the_regular_layer(name, args, options, shape, size):
    layer = lazy(numbanet, name, args, options)
    x = ones(numbanet, shape)
    numbanet.manual_seed(3)
    y = layer(x)
    regular = getattr(nn, name)
    numbanet.manual_seed(3)
    same = regular({"Linear": shape[-1]}.get(name, 3 if 3 in shape else 6), *args, **options)
    assert type(layer) is regular
    assert (repr(layer), vars(layer).keys()) == (repr(same), vars(same).keys())
    assert getattr(layer, size) == getattr(same, size)
    np.testing.assert_array_equal(y.detach(), same(x).detach())
    assert [(k, v.shape, v.dtype, type(v)) for k, v in layer.named_parameters()] == [
        (k, v.shape, v.dtype, type(v)) for k, v in same.named_parameters()
    ]
    for key, value in same.state_dict().items():
        np.testing.assert_array_equal(layer.state_dict()[key], value)


@each
@pytest.mark.torch
@pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed")
def test_as_pytorchs(name, args, options, shape, size):
    import torch

    told = []
    for library in (numbanet, torch):
        layer = lazy(library, name, args, options)
        before = repr(layer), layer.has_uninitialized_params(), [(k, repr(p)) for k, p in layer.named_parameters()]
        keys = list(layer.state_dict())
        y = layer(ones(library, shape))
        shapes = {k: tuple(v.shape) for k, v in layer.state_dict().items()}
        told.append((before, keys, tuple(y.shape), repr(layer), shapes))
    assert told[0] == told[1]


@pytest.mark.parametrize(("layer", "shape"), [(nn.LazyInstanceNorm1d, (3, 5)), (nn.LazyInstanceNorm2d, (3, 5, 5))])
def test_one_sample_for_instance_norm(layer, shape):  # PyTorch's takes the wrong dimension
    made = layer(affine=True)
    assert made(ones(numbanet, shape)).shape == shape
    assert made.num_features == 3


def test_signature_lacks_the_size():
    import inspect as python

    assert list(python.signature(nn.LazyConv2d).parameters) == list(python.signature(nn.Conv2d).parameters)[1:]
    assert next(iter(python.signature(nn.LazyBatchNorm1d).parameters)) == "eps"


def test_one_batch_makes_a_network():
    made = net()
    parameters = list(made.parameters())
    optimizer = optim.SGD(made.parameters(), lr=0.1, momentum=0.9)
    y = made(ones(numbanet, (3, 2, 6, 6)))
    assert y.shape == (3, 5)
    assert [type(m).__name__ for m in made] == [
        "Conv2d", "BatchNorm2d", "ReLU", "ConvTranspose2d", "Flatten", "Linear",
    ]  # fmt: skip
    assert all(a is b and type(b) is nn.Parameter for a, b in zip(parameters, made.parameters(), strict=True))
    before = made[5].weight.detach().clone()
    y.sum().backward()
    optimizer.step()
    assert not np.array_equal(before, made[5].weight.detach())


def test_hooks_mode_and_frozen_parameters_stay():
    layer = nn.LazyConv2d(4, 3).eval()
    layer.weight.requires_grad_(False)
    layer.mark = 7
    calls = []
    layer.register_forward_hook(lambda module, args, output: calls.append(output.shape))
    layer(ones(numbanet, (1, 2, 5, 5)))
    layer(ones(numbanet, (2, 2, 5, 5)))
    assert calls == [(1, 4, 3, 3), (2, 4, 3, 3)]
    assert (layer.training, layer.weight.requires_grad, layer.bias.requires_grad, layer.mark) == (False, False, True, 7)


def test_dtype_of_before():
    made = net().double()
    assert {p.dtype for p in made.parameters()} == {np.dtype(np.float64)}
    made(ones(numbanet, (3, 2, 6, 6)).double())
    assert {v.dtype for v in made.state_dict().values()} == {np.dtype(np.float64), np.dtype(np.int64)}
    one = nn.LazyLinear(3, dtype=numbanet.float16)
    one(numbanet.zeros(2, 4, dtype=numbanet.float16))
    assert one.weight.dtype == numbanet.float16


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies(copied):
    made = net()
    made[0].bias.requires_grad_(False)
    other = copied(made)
    assert repr(other) == repr(made)
    assert other[0].bias is not made[0].bias
    assert not other[0].bias.requires_grad
    made(ones(numbanet, (3, 2, 6, 6)))
    assert other[0].has_uninitialized_params()
    other(ones(numbanet, (3, 1, 6, 6)))
    assert (made[0].in_channels, other[0].in_channels) == (2, 1)


def test_loads_the_weights_of_a_network_that_ran():
    made, other = net(), net()
    x = ones(numbanet, (3, 2, 6, 6))
    made(x)
    assert other.load_state_dict(other.state_dict()) == ([], [])  # neither has values
    assert type(other[0]) is nn.LazyConv2d
    optimizer = optim.SGD(other.parameters(), lr=0.1)
    other.load_state_dict(made.state_dict())
    assert type(other[0]) is nn.Conv2d
    assert optimizer.param_groups[0]["params"][0] is other[0].weight
    assert other[1].num_batches_tracked == 1
    np.testing.assert_array_equal(other.eval()(x).detach(), made.eval()(x).detach())
    third = net()
    third.load_state_dict({k: v.numpy() for k, v in made.state_dict().items()}, assign=True)
    np.testing.assert_array_equal(third.eval()(x).detach(), made(x).detach())


@pytest.mark.parametrize("name", ["Conv2d", "ConvTranspose2d"])
def test_loads_groups(name):
    made = getattr(nn, name)(6, 4, 3, groups=2)
    other = getattr(nn, "Lazy" + name)(4, 3, groups=2)
    other.load_state_dict(made.state_dict())
    assert other.in_channels == 6
    np.testing.assert_array_equal(other.weight.detach(), made.weight.detach())


def test_what_does_not_load_changes_nothing():
    layer = nn.LazyLinear(3)
    with pytest.raises(RuntimeError, match=r"size mismatch for weight: .*\(4, 2\).*\(3, 2\)"):
        layer.load_state_dict(nn.Linear(2, 4).state_dict())
    with pytest.raises(RuntimeError, match=r'Missing key.*"weight", "bias"'):
        layer.load_state_dict({})
    with pytest.raises(RuntimeError, match=r"expected a Tensor but received .*list"):
        layer.load_state_dict({"weight": [[1.0]], "bias": [1.0]})
    with pytest.raises(RuntimeError, match='"bias" has no values yet in the current model'):
        layer.load_state_dict({"bias": numbanet.zeros(3)}, strict=False)
    with pytest.raises(RuntimeError, match='"weight" has no values yet in the state_dict'):
        nn.Linear(2, 3).load_state_dict(layer.state_dict())
    assert type(layer) is nn.LazyLinear
    assert layer.has_uninitialized_params()


@pytest.mark.parametrize(
    ("layer", "shape", "error", "message"),
    [
        (nn.LazyConv2d(4, 3), (5, 5), RuntimeError, r"LazyConv2d: expected an input of 3 to 4 dimensions, got shape \(5, 5\)"),
        (nn.LazyBatchNorm2d(), (5, 5), ValueError, r"LazyBatchNorm2d: expected an input of 4 dimensions, got shape \(5, 5\)"),
        (nn.LazyLinear(4), (), RuntimeError, r"LazyLinear: expected an input of 1 to 64 dimensions, got shape \(\)"),
        (nn.LazyConv2d(4, 3, groups=2), (3, 5, 5), ValueError, "in_channels must be divisible by groups"),
    ],
)  # fmt: skip
def test_first_inputs_that_do_not_fit_change_nothing(layer, shape, error, message):
    kind = type(layer)
    with pytest.raises(error, match=message):
        layer(ones(numbanet, shape))
    assert type(layer) is kind
    assert layer.has_uninitialized_params()


@pytest.mark.parametrize(
    "use",
    [
        lambda p: p + 1,
        lambda p: p.sum(),
        lambda p: p.numel(),
        lambda p: nn.init.zeros_(p),
        lambda p: nn.utils.parameters_to_vector([p]),
    ],
)
@pytest.mark.parametrize("kind", [nn.UninitializedParameter, nn.UninitializedBuffer])
def test_no_values_no_arithmetic(use, kind):
    with pytest.raises(
        ValueError, match=f"{kind.__name__}: this tensor of a lazy layer has no values yet: call the network"
    ):
        use(kind())
    with pytest.raises(RuntimeError, match="can't access the shape"):
        kind().shape  # noqa: B018


def test_materialize():
    parameter = nn.UninitializedParameter(dtype=numbanet.float64)
    parameter.materialize((2, 3))
    assert (type(parameter), parameter.shape, parameter.dtype) == (nn.Parameter, (2, 3), numbanet.float64)
    assert parameter.requires_grad
    buffer = nn.UninitializedBuffer()
    assert buffer.to(numbanet.float64).dtype == numbanet.float64
    buffer.materialize(2, dtype=numbanet.float64)
    assert (type(buffer), buffer.shape, buffer.dtype) == (numbanet.Tensor, (2,), numbanet.float64)
    assert not buffer.requires_grad
    with pytest.raises(RuntimeError, match="only floating tensors"):
        nn.UninitializedParameter(dtype=numbanet.int64)


def test_summary_runs_a_lazy_network():
    rows = inspect.summary(net(), (1, 2, 6, 6)).rows
    assert [row.kind for row in rows if row.name == "0"] == ["Conv2d"]
