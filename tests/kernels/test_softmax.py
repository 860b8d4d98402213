"""Softmax, log-softmax and cross-entropy: values, large and infinite logits, derivatives, aliasing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from numbanet.devices import as_device, to_device, to_host
from numbanet.kernels import softmax as S
from tests.kernels.twins import DEVICES, FLOATS, check, check_threads, run

# The simulator computes with NumPy numbers, which warn where hardware silently makes NaN and infinity.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

SHAPES = [(3, 10, 1), (1, 1, 1), (2, 70, 1), (2, 5, 3)]
FORWARD = {"softmax": S.softmax_forward, "log_softmax": S.log_softmax_forward}
BACKWARD = {"softmax": S.softmax_backward, "log_softmax": S.log_softmax_backward}


def sample(shape, dtype=np.float32, seed=0):
    return (np.random.default_rng(seed).normal(size=shape) * 3).astype(dtype)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", FORWARD)
def test_values(name, dtype, shape, device):
    x, dy = sample(shape, dtype), sample(shape, dtype, seed=1)
    eps = np.finfo(dtype).eps
    (y,) = check(FORWARD[name], device, [x], [x], rtol=16 * eps, atol=8 * eps)
    check(BACKWARD[name], device, [dy, y], [x], rtol=16 * eps, atol=8 * eps * abs(dy).sum(axis=1).max())


@pytest.mark.parametrize("name", FORWARD)
def test_large_shapes_and_threads(name):
    for shape in [(5, 1003, 1), (3, 11, 300), (40, 17, 1)]:
        x, dy = sample(shape), sample(shape, seed=1)
        (y,) = check(FORWARD[name], "cpu", [x], [x], rtol=2e-6, atol=1e-6)
        check(BACKWARD[name], "cpu", [dy, y], [x], rtol=2e-6, atol=2e-5)
        check_threads(FORWARD[name], [x], [x])
        check_threads(BACKWARD[name], [dy, y], [x])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("inner", [1, 2])
@pytest.mark.parametrize("name", FORWARD)
def test_special_rows(name, inner, device):
    x = sample((7, 5, inner))
    x[0, 2] = -np.inf
    x[1, :] = -np.inf
    x[2, 1] = np.inf
    x[3, 0] = np.nan
    x[4, 3] = np.nan
    x[5] += 1e4
    x[6] -= 1e30
    check(FORWARD[name], device, [x], [x], rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", FORWARD)
def test_in_place(name, device):
    place = as_device(device)
    for shape in [(3, 10, 1), (2, 5, 3)]:
        x, dy = sample(shape), sample(shape, seed=1)
        (y,) = run(FORWARD[name], device, [x], [x])
        (dx,) = run(BACKWARD[name], device, [dy, y], [dy])
        inside, cotangent = to_device(x.copy(), place), to_device(dy.copy(), place)
        FORWARD[name](inside, inside)
        BACKWARD[name](cotangent, inside, cotangent)
        np.testing.assert_array_equal(to_host(inside), y)
        np.testing.assert_array_equal(to_host(cotangent), dx)


@pytest.mark.parametrize("name", FORWARD)
def test_derivative_is_the_slope(name):
    x, dy, direction = (sample((2, 6, 3), np.float64, seed) for seed in range(3))
    (y,) = run(FORWARD[name], "cpu", [x], [x])
    (dx,) = run(BACKWARD[name], "cpu", [dy, y], [x])
    h = 1e-6
    (above,), (below,) = (run(FORWARD[name], "cpu", [x + s * h * direction], [x]) for s in (1, -1))
    np.testing.assert_allclose((dx * direction).sum(), (dy * (above - below)).sum() / (2 * h), rtol=1e-6)


def losses_of(device, logits, target, ignore_index=-100, weight=None, smoothing=0.0):
    """(losses, lse) of the twin, checked against the reference; the sums are the same where nobody wants the losses."""
    weight = np.ones(logits.shape[1], logits.dtype) if weight is None else weight
    lse, sums = np.zeros(target.shape, logits.dtype), np.zeros(3, logits.dtype)
    inputs, numbers = [logits, target, weight], (ignore_index, smoothing)
    options = dict.fromkeys(("rtol", "atol"), 32 * np.finfo(logits.dtype).eps)
    losses, *rest = check(S.cross_entropy_forward, device, inputs, [lse, lse, sums], *numbers, **options)
    _, *same = run(S.cross_entropy_forward, device, inputs, [np.zeros((0, 0), lse.dtype), lse, sums], *numbers)
    for a, b in zip(rest, same, strict=True):
        np.testing.assert_allclose(a, b, 1e-6)
    return losses, rest[0]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(5, 10, 1), (3, 67, 1), (4, 1, 1), (2, 5, 7), (1, 3, S.COLUMNS + 5), (133, 4, 1)])
def test_cross_entropy(shape, dtype, device):
    outer, n, inner = shape
    if device == "cuda":
        outer, inner = min(outer, 5), min(inner, 4)
    logits = sample((outer, n, inner), dtype)
    target = np.random.default_rng(0).integers(0, n, (outer, inner))
    target[0, 0] = -100
    target[-1, -1] = n  # no class: counted, and otherwise ignored
    scale, eps = sample(target.shape, dtype, seed=1), np.finfo(dtype).eps
    for weight, smoothing in itertools.product([np.ones(n, dtype), np.abs(sample(n, dtype, seed=2))], [0.0, 0.3]):
        _, lse = losses_of(device, logits, target, -100, weight, smoothing)
        inputs = [logits, target, weight, lse, scale]
        check(S.cross_entropy_backward, device, inputs, [logits], -100, smoothing, rtol=32 * eps, atol=32 * eps)
        inputs[-1] = scale[:1, :1]
        check(S.cross_entropy_backward, device, inputs, [logits], -100, smoothing, rtol=32 * eps, atol=32 * eps)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("inner", [1, 2])
def test_cross_entropy_of_special_rows(device, inner):
    logits = sample((6, 5, inner))
    logits[0, 2] = -np.inf
    logits[1, 2] = -np.inf
    logits[2, 0] = np.nan
    logits[3] += 1e4  # the rounding of lse must not show in the gradient
    logits[4] -= 1e30
    logits[5] = -np.inf
    target = np.array([0, 2, 1, 3, 4, 0]).repeat(inner).reshape(6, inner)
    losses, lse = losses_of(device, logits, target)
    assert (losses[1] == np.inf).all()
    assert np.isnan(losses[[2, 5]]).all()
    inputs = [logits, target, np.ones(5, np.float32), lse, np.ones((6, inner), np.float32)]
    check(S.cross_entropy_backward, device, inputs, [logits], -100, 0.0, rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("inner", [1, 2])
def test_an_ignored_class_inside_the_range(device, inner):
    logits, target = sample((4, 3, inner)), np.array([0, 1, 2, 1]).repeat(inner).reshape(4, inner)
    logits[3] = np.nan
    losses, lse = losses_of(device, logits, target, ignore_index=1)
    assert (losses[[1, 3]] == 0).all()
    assert (losses[[0, 2]] > 0).all()
    inputs = [logits, target, np.ones(3, np.float32), lse, np.ones((4, inner), np.float32)]
    (dlogits,) = check(S.cross_entropy_backward, device, inputs, [logits], 1, 0.0, rtol=2e-6, atol=2e-7)
    assert (dlogits[1] == 0).all() and np.isnan(dlogits[3]).all()


@pytest.mark.parametrize("shape", [(300, 10, 1), (3, 5, 300)])
def test_cross_entropy_in_place_and_threads(shape):
    outer, n, inner = shape
    logits, target = sample(shape), np.arange(outer * inner).reshape(outer, inner) % n
    weight = np.ones(n, np.float32)
    outputs = [*[np.zeros((outer, inner), np.float32)] * 2, np.zeros(3, np.float32)]
    check_threads(S.cross_entropy_forward, [logits, target, weight], outputs, -100, 0.1)
    _, lse = losses_of("cpu", logits, target)
    inputs = [logits, target, weight, lse, sample((outer, inner), seed=1)]
    check_threads(S.cross_entropy_backward, inputs, [logits], -100, 0.1)
    (expected,) = run(S.cross_entropy_backward, "cpu", inputs, [logits], -100, 0.1)
    S.cross_entropy_backward(*inputs, logits, -100, 0.1)
    np.testing.assert_array_equal(logits, expected)


@pytest.mark.torch
def test_against_pytorch():
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    x, dy = sample((4, 9, 5)), sample((4, 9, 5), seed=1)
    x[0, 1, 0] = -np.inf
    for name, theirs in [("softmax", F.softmax), ("log_softmax", F.log_softmax)]:
        leaf = torch.from_numpy(x.copy()).requires_grad_()
        output = theirs(leaf, dim=1)
        output.backward(torch.from_numpy(dy))
        (y,) = run(FORWARD[name], "cpu", [x], [x])
        np.testing.assert_allclose(y, output.detach(), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(run(BACKWARD[name], "cpu", [dy, y], [x])[0], leaf.grad, rtol=1e-5, atol=1e-5)
    logits, target, weight = sample((4, 7, 5)), np.arange(20).reshape(4, 5) % 7, np.abs(sample(7, seed=2))
    target[3, 1] = -100
    leaf = torch.from_numpy(logits.copy()).requires_grad_()
    options = {"weight": torch.from_numpy(weight), "reduction": "none", "label_smoothing": 0.2}
    loss = F.cross_entropy(leaf, torch.from_numpy(target), **options)
    scale = sample((4, 5), seed=1)
    loss.backward(torch.from_numpy(scale))
    losses, lse = losses_of("cpu", logits, target, -100, weight, 0.2)
    np.testing.assert_allclose(losses, loss.detach(), rtol=1e-5, atol=1e-6)
    inputs = [logits, target, weight, lse, scale]
    (dlogits,) = run(S.cross_entropy_backward, "cpu", inputs, [logits], -100, 0.2)
    np.testing.assert_allclose(dlogits, leaf.grad, rtol=1e-5, atol=1e-6)
