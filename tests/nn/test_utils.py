"""Clipping gradients, one vector of all parameters, weight and spectral normalisation, fused layers."""

import copy
import itertools
import math

import numpy as np
import pytest

import numbanet
from numbanet import nn
from tests.checks import assert_close, torch


def with_gradients():
    values = [np.array([3.0, -4.0], np.float32), np.array([[12.0]], np.float32)]
    parameters = [nn.Parameter(numbanet.zeros(2)), nn.Parameter(numbanet.zeros(1, 1)), nn.Parameter(numbanet.zeros(3))]
    for p, g in zip(parameters, values, strict=False):
        p.grad = numbanet.tensor(g)
    return parameters


@pytest.mark.parametrize("max_norm", [1.0, 100.0])
@pytest.mark.parametrize("norm_type, norm", [(2.0, 13.0), (1.0, 19.0), (math.inf, 12.0)])
def test_clip_grad_norm(max_norm, norm_type, norm):
    parameters = with_gradients()
    total = nn.utils.clip_grad_norm_(parameters, max_norm, norm_type)
    assert abs(total.item() - norm) < 1e-5
    factor = min(1.0, max_norm / (norm + 1e-6))
    assert_close(parameters[0].grad, np.array([3, -4], np.float32) * np.float32(factor))
    if torch is not None:
        theirs = torch.nn.Parameter(torch.zeros(2))
        theirs.grad = torch.tensor([3.0, -4.0])
        ours = nn.Parameter(numbanet.zeros(2))
        ours.grad = numbanet.tensor([3.0, -4.0])
        assert_close(
            nn.utils.clip_grad_norm_(ours, max_norm, norm_type),
            torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type),
        )
        assert_close(ours.grad, theirs.grad)


def test_clip_grad_norm_of_no_gradients_and_of_bad_ones():
    assert nn.utils.clip_grad_norm_([nn.Parameter(numbanet.zeros(2))], 1.0).item() == 0
    p = nn.Parameter(numbanet.zeros(2))
    p.grad = numbanet.tensor([float("nan"), 1.0])
    with pytest.raises(RuntimeError, match=r"clip_grad_norm_: the gradients' norm of order 2\.0 is nan"):
        nn.utils.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)


def test_clip_grad_value():
    parameters = with_gradients()
    nn.utils.clip_grad_value_(parameters, 3.5)
    assert parameters[0].grad.tolist() == [3.0, -3.5] and parameters[1].grad.tolist() == [[3.5]]


def test_parameters_as_one_vector():
    layer, other = nn.Linear(2, 3), nn.Linear(2, 3)
    vector = nn.utils.parameters_to_vector(layer.parameters())
    assert tuple(vector.shape) == (9,)
    nn.utils.vector_to_parameters(vector, other.parameters())
    assert_close(other.weight.detach(), layer.weight.detach())
    assert_close(other.bias.detach(), layer.bias.detach())


# ---------------------------------------------------------------------------------------------------- clipping, crossed

SHAPES = [(3, 4), (0, 2), (), (70, 1000), (5,)]


def both(dtype=np.float32, infinite=None):
    """Parameters with gradients for both libraries; the last one has none."""
    rng = np.random.default_rng(0)
    ours, theirs = [], []
    for shape in SHAPES:
        gradient = np.asarray(rng.standard_normal(shape), dtype)
        if infinite is not None and shape == (5,):
            gradient[2] = infinite
        ours.append(nn.Parameter(numbanet.zeros(*shape, dtype=dtype)))
        ours[-1].grad = numbanet.from_numpy(gradient.copy())
        theirs.append(torch.nn.Parameter(torch.from_numpy(np.zeros(shape, dtype))))
        theirs[-1].grad = torch.from_numpy(gradient.copy())
    return [*ours, nn.Parameter(numbanet.ones(2))], [*theirs, torch.nn.Parameter(torch.ones(2))]


NORM_TYPES = [2.0, 1, math.inf, 0, 0.5, 3]


@pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
@pytest.mark.parametrize(
    "norm_type, max_norm, dtype, infinite",
    [
        *itertools.product(NORM_TYPES, [0.5, 1e9, 0], [np.float32, np.float64], [None]),
        *itertools.product([2.0, 1, math.inf], [1.0], [np.float32], [np.inf, -np.inf, np.nan]),
    ],
)
def test_clip_grad_norm_as_pytorch(norm_type, max_norm, dtype, infinite):
    ours, theirs = both(dtype, infinite)
    if norm_type == math.inf:  # which PyTorch has not for tensors without elements
        ours, theirs = ([p for p in listed if p.numel()] for listed in (ours, theirs))
    total = nn.utils.clip_grad_norm_(ours, max_norm, norm_type)
    wanted = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    assert_close(total, wanted, 1e-5, 1e-12)
    for p, q in zip(ours, theirs, strict=True):
        if q.grad is None:
            assert p.grad is None
        else:
            assert_close(p.grad, q.grad, 1e-5, 1e-9)


def test_clip_grad_norm_of_mixed_layouts_and_dtypes():
    a, b = nn.Parameter(numbanet.zeros(3, 4)), nn.Parameter(numbanet.zeros(2, dtype=numbanet.float64))
    wide = np.arange(24, dtype=np.float32).reshape(3, 8)
    a.grad, b.grad = numbanet.from_numpy(wide)[:, ::2], numbanet.tensor([1.0, 2.0], dtype=numbanet.float64)
    values = wide[:, ::2].copy()
    total = nn.utils.clip_grad_norm_([a, b], 1.0)
    norm = math.sqrt((values**2).sum() + 5)
    assert total.dtype == numbanet.float64
    np.testing.assert_allclose(total.item(), norm, rtol=1e-6)
    np.testing.assert_allclose(a.grad.numpy(), values / norm, rtol=1e-5)
    np.testing.assert_allclose(b.grad.numpy(), np.array([1, 2]) / norm, rtol=1e-5)


def test_backward_notices_that_a_saved_gradient_was_clipped():
    p = nn.Parameter(numbanet.full((3,), 3.0))
    p.grad = numbanet.ones(3)
    y = (p.grad * p).sum()
    nn.utils.clip_grad_norm_([p], 0.1)
    with pytest.raises(RuntimeError, match="modified by an in-place operation"):
        y.backward()


def test_one_gradient_of_two_parameters_is_scaled_twice():
    a, b = nn.Parameter(numbanet.zeros(2)), nn.Parameter(numbanet.zeros(2))
    a.grad = b.grad = numbanet.full((2,), 4.0)
    nn.utils.clip_grad_norm_([a, b], 4.0)  # the norm is 8
    np.testing.assert_allclose(a.grad.tolist(), [1.0, 1.0], rtol=1e-5)


def test_empty_generators_warn_and_total_norm_is_apart():
    with pytest.warns(UserWarning, match="empty generator"):
        nn.utils.clip_grad_norm_((p for p in ()), 1.0)
    total = nn.utils.get_total_norm([numbanet.tensor([3.0]), numbanet.tensor([[4.0]])])
    assert total.item() == 5
    p = nn.Parameter(numbanet.zeros(1))
    p.grad = numbanet.tensor([3.0])
    nn.utils.clip_grads_with_norm_([p], 2.5, total)
    np.testing.assert_allclose(p.grad.tolist(), [1.5], rtol=1e-6)


@pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("infinite", [None, np.inf, np.nan])
def test_clip_grad_value_as_pytorch(infinite):
    ours, theirs = both(np.float32, infinite)
    nn.utils.clip_grad_value_(ours, 0.7)
    torch.nn.utils.clip_grad_value_(theirs, 0.7)
    for p, q in zip(ours[:-1], theirs[:-1], strict=True):
        np.testing.assert_array_equal(p.grad.numpy(), q.grad.numpy())


# ------------------------------------------------------------------------------------------------------------- vectors


def test_parameters_become_parts_of_the_vector():
    layer = nn.Linear(2, 3)
    vector = numbanet.arange(10.0)
    nn.utils.vector_to_parameters(vector, layer.parameters())
    assert layer.weight.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert layer.bias.tolist() == [6, 7, 8]
    assert all(isinstance(p, nn.Parameter) and p.is_leaf and p.requires_grad for p in layer.parameters())
    vector.mul_(2.0)
    assert layer.bias.tolist() == [12, 14, 16]


def test_the_vector_is_part_of_the_graph():
    layer = nn.Linear(2, 3)
    (nn.utils.parameters_to_vector(layer.parameters()) * numbanet.arange(9.0)).sum().backward()
    assert layer.weight.grad.tolist() == [[0, 1], [2, 3], [4, 5]]


# ---------------------------------------------------------------------------------------------- weight, spectral norm


def same_layers(name, *args, **options):
    """A layer of each library with the same weights."""
    ours, theirs = getattr(nn, name)(*args, **options), getattr(torch.nn, name)(*args, **options)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        q.data = torch.from_numpy(p.detach().numpy().copy())
    return ours, theirs


LAYERS = [("Linear", (4, 3), {}, (5, 4)), ("Conv2d", (4, 6, 3), {"groups": 2}, (2, 4, 5, 5))]


def run(library, layer, x, dy):
    for p in layer.parameters():
        p.grad = None
    y = layer(library.from_numpy(x))
    y.backward(library.from_numpy(dy))
    return y


def compare_states(ours, theirs):
    mine, other = ours.state_dict(), theirs.state_dict()
    assert sorted(mine) == sorted(other)
    for key in mine:
        assert_close(mine[key], other[key], 1e-5, 1e-6, key)
    gradients = {name: p.grad for name, p in theirs.named_parameters()}
    for name, p in ours.named_parameters():
        assert_close(p.grad, gradients[name], 1e-4, 1e-5, name)


@pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer[0])
@pytest.mark.parametrize("dim", [0, 1, None])
def test_weight_norm_as_pytorch(layer, dim):
    name, args, options, shape = layer
    ours, theirs = same_layers(name, *args, **options)
    nn.utils.weight_norm(ours, dim=dim)
    torch.nn.utils.weight_norm(theirs, dim=dim)
    rng = np.random.default_rng(1)
    x = rng.standard_normal(shape).astype(np.float32)
    dy = rng.standard_normal(tuple(ours(numbanet.from_numpy(x)).shape)).astype(np.float32)
    for _ in range(2):
        assert_close(run(numbanet, ours, x, dy).detach(), run(torch, theirs, x, dy).detach(), 1e-5, 1e-5)
        compare_states(ours, theirs)
        for layers in (ours, theirs):
            for p in layers.parameters():
                p.data = p.data - 0.1 * p.grad
    expected = theirs(torch.from_numpy(x)).detach()
    nn.utils.remove_weight_norm(ours)
    torch.nn.utils.remove_weight_norm(theirs)
    assert_close(ours(numbanet.from_numpy(x)).detach(), expected, 1e-5, 1e-5)
    assert sorted(ours.state_dict()) == sorted(theirs.state_dict()) == ["bias", "weight"]
    assert isinstance(ours.weight, nn.Parameter)


def test_weight_norm_lengths_are_g():
    layer = nn.utils.weight_norm(nn.Linear(4, 3))
    with numbanet.no_grad():
        layer.weight_g.copy_(numbanet.tensor([[1.0], [2.0], [3.0]]))
        layer(numbanet.ones(1, 4))
    np.testing.assert_allclose((layer.weight.numpy() ** 2).sum(1) ** 0.5, [1, 2, 3], rtol=1e-6)
    with pytest.raises(RuntimeError, match="two weight_norm hooks on the same parameter weight"):
        nn.utils.weight_norm(layer)


@pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer[0])
@pytest.mark.parametrize("iterations, dim", [(1, None), (3, None), (1, 1)])
def test_spectral_norm_as_pytorch(layer, iterations, dim):
    name, args, options, shape = layer
    ours, theirs = same_layers(name, *args, **options)
    nn.utils.spectral_norm(ours, n_power_iterations=iterations, dim=dim)
    torch.nn.utils.spectral_norm(theirs, n_power_iterations=iterations, dim=dim)
    for kind in ("u", "v"):
        mine, other = getattr(ours, f"weight_{kind}"), getattr(theirs, f"weight_{kind}")
        np.testing.assert_allclose((mine.numpy() ** 2).sum(), 1, rtol=1e-5)
        other.copy_(torch.from_numpy(mine.numpy().copy()))
    rng = np.random.default_rng(1)
    x = rng.standard_normal(shape).astype(np.float32)
    dy = None
    for training in (True, True, False):
        ours.train(training)
        theirs.train(training)
        dy = np.ones(tuple(theirs(torch.from_numpy(x)).shape), np.float32) if dy is None else dy
        if training and ours.weight.grad_fn is None:
            ours(numbanet.from_numpy(x))  # PyTorch has taken a step to tell the shape
        assert_close(run(numbanet, ours, x, dy).detach(), run(torch, theirs, x, dy).detach(), 1e-4, 1e-5)
        compare_states(ours, theirs)
    expected = theirs(torch.from_numpy(x)).detach()
    nn.utils.remove_spectral_norm(ours)
    assert_close(ours(numbanet.from_numpy(x)).detach(), expected, 1e-4, 1e-5)
    assert sorted(ours.state_dict()) == ["bias", "weight"]


def test_spectral_norm_makes_the_largest_singular_value_one():
    layer = nn.utils.spectral_norm(nn.Linear(6, 4))
    for _ in range(200):
        layer(numbanet.ones(1, 6))
    assert abs(np.linalg.svd(layer.weight.detach().numpy())[1][0] - 1) < 1e-4
    with pytest.raises(RuntimeError, match="two spectral_norm hooks on the same parameter weight"):
        nn.utils.spectral_norm(layer)


# -------------------------------------------------------------------------------------------------------------- fusion


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", ["conv", "linear"])
def test_fused_layers_do_what_the_two_did(kind, bias, affine):
    layer = nn.Conv2d(4, 6, 3, groups=2, bias=bias) if kind == "conv" else nn.Linear(4, 6, bias=bias)
    norm = (nn.BatchNorm2d if kind == "conv" else nn.BatchNorm1d)(6, affine=affine)
    x = numbanet.randn(8, 4, 5, 5) if kind == "conv" else numbanet.randn(8, 4)
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    norm(layer(x) * 3 + 1)
    layer.eval()
    norm.eval()
    before = copy.deepcopy(layer.state_dict())
    fuse = nn.utils.fuse_conv_bn_eval if kind == "conv" else nn.utils.fuse_linear_bn_eval
    fused = fuse(layer, norm)
    assert_close(fused(x).detach(), norm(layer(x)).detach(), 1e-4, 1e-5)
    assert type(fused) is type(layer)
    for key, value in before.items():
        np.testing.assert_array_equal(value.numpy(), layer.state_dict()[key].numpy())
