"""Activations: values to the last places, special numbers, slopes, aliasing, threads; prelu and glu."""

from __future__ import annotations

import numpy as np
import pytest

from numbanet.devices import as_device, to_device, to_host
from numbanet.kernels import activation as A
from numbanet.kernels import launch
from tests.kernels.twins import DEVICES, FLOATS, check, check_threads, run

# The simulator computes with NumPy numbers, which warn where hardware silently makes NaN and infinity.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

# (name, parameters, whether backward takes the output, units in the last place that float32 values may be off)
TABLE = [
    ("relu", (), True, 0),
    ("leaky_relu", (0.125,), True, 0.5),
    ("leaky_relu", (-0.5,), False, 0.5),
    ("hardtanh", (-1.0, 2.0), True, 0),
    ("sigmoid", (), True, 3),
    ("tanh", (), True, 3),
    ("threshold", (0.5, 20.0), False, 0),
    ("elu", (3.0, 2.0), False, 2),
    ("celu", (2.0, 0.5), False, 2),
    ("gelu", (), False, 5),
    ("silu", (), False, 3),
    ("mish", (), False, 4),
    ("hardswish", (), False, 4),
    ("hardsigmoid", (), False, 4),
    ("hardshrink", (0.5,), False, 0),
    ("softshrink", (0.5,), False, 0.5),
    ("softplus", (2.0, 20.0), False, 3),
    ("logsigmoid", (), True, 3.5),
    ("softsign", (), False, 2),
    # these two are as good as their argument's rounding: far from 0 in the one, near 0 in the other
    ("gelu_tanh", (), False, None),
    ("tanhshrink", (), False, None),
]
by_activation = pytest.mark.parametrize(
    ("name", "numbers", "from_output", "ulps"), TABLE, ids=[f"{row[0]}{list(row[1]) or ''}" for row in TABLE]
)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(launch, "THREADS", 8)


def test_the_table_is_complete():
    assert {row[0] for row in TABLE} == {name for name, value in vars(A).items() if isinstance(value, A.Activation)}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FLOATS)
@by_activation
def test_values(name, numbers, from_output, ulps, dtype, device):
    forward, backward = getattr(A, name)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 19)).astype(dtype) * 2
    x[1, :8] = 3, -3, 0.5, -0.5, 1, -1, 2, 30
    dy = rng.normal(size=x.shape).astype(dtype)
    epsilon = np.finfo(dtype).eps
    (y,) = check(forward, device, [x], [x], *numbers, atol=4 * epsilon)
    check(backward, device, [dy, y if from_output else x], [dy], *numbers, rtol=16 * epsilon, atol=16 * epsilon)
    x[0, :5] = np.nan, np.inf, -np.inf, 0, -0.0
    check(forward, device, [x], [x], *numbers, atol=4 * epsilon)


@by_activation
def test_derivative_is_the_slope(name, numbers, from_output, ulps):
    forward, backward = getattr(A, name)
    x = np.random.default_rng(1).normal(size=300) * 3
    x = x[(abs(x * 2 - np.round(x * 2)) > 1e-3)]  # the kinks lie at halves and whole numbers
    dy = np.random.default_rng(2).normal(size=x.size)
    (y,) = run(forward, "cpu", [x], [x], *numbers)
    (dx,) = run(backward, "cpu", [dy, y if from_output else x], [x], *numbers)
    h = 1e-6
    (above,), (below,) = run(forward, "cpu", [x + h], [x], *numbers), run(forward, "cpu", [x - h], [x], *numbers)
    np.testing.assert_allclose(dx, dy * (above - below) / (2 * h), rtol=1e-6, atol=1e-8)


@by_activation
def test_accuracy_in_units_of_the_last_place(name, numbers, from_output, ulps):
    """Float32 against float64, down to where the result or its gate is denormal."""
    forward, backward = getattr(A, name)
    size = np.geomspace(1e-12, 12 if name == "gelu" else 80, 2001)
    x = np.concatenate([-size, [0.0], size, np.linspace(-8, 8, 4001)]).astype(np.float32)
    (y,), expected = run(forward, "cpu", [x], [x], *numbers), np.empty(x.size)
    forward.reference(x, expected, *numbers)
    scale = abs(expected)
    if name == "hardsigmoid":
        scale = np.maximum(scale, 0.1)  # x + 3 is rounded
    elif name == "hardswish":
        scale = np.maximum(scale, abs(x) * 0.1)
    elif ulps is None:
        scale, ulps = np.maximum(scale, abs(x) if name == "tanhshrink" else 0.2), 4
    wrong = abs(y - expected) > max(ulps, 0.5) * np.spacing(scale.astype(np.float32)).astype(np.float64)
    assert not wrong.any(), (x[wrong][:3], y[wrong][:3], expected[wrong][:3])
    dy = np.ones_like(x)
    source = y if from_output else x
    (dx,), expected = run(backward, "cpu", [dy, source], [x], *numbers), np.empty(x.size)
    backward.reference(dy, source, expected, *numbers)
    np.testing.assert_allclose(dx, expected, rtol=5e-7, atol=4e-7)


@by_activation
def test_large_and_infinite_values_do_not_overflow(name, numbers, from_output, ulps):
    forward, backward = getattr(A, name)
    x = np.array([1e4, 1e30, 1e38, np.inf], np.float32)
    for sign in (1, -1):
        (y,) = run(forward, "cpu", [sign * x], [x], *numbers)
        (dx,) = run(backward, "cpu", [np.ones_like(x), y if from_output else sign * x], [x], *numbers)
        assert np.isfinite(y[:3]).all()
        assert np.isfinite(dx[:3]).all() and (name == "softsign" or np.isfinite(dx).all())
        np.testing.assert_allclose(dx[:3], dx[0], atol=1e-7)  # straight lines, out there


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("name", "numbers", "from_output"), [row[:3] for row in TABLE[:2]] + [("elu", (1.0, 1.0), False)]
)
def test_in_place(name, numbers, from_output, device):
    forward, backward = getattr(A, name)
    x, dy = np.random.default_rng(0).normal(size=(2, 41)).astype(np.float32)
    (y,) = run(forward, device, [x], [x], *numbers)
    (dx,) = run(backward, device, [dy, y if from_output else x], [dy], *numbers)
    place = as_device(device)
    inside, cotangent = to_device(x.copy(), place), to_device(dy.copy(), place)
    if from_output:
        forward(inside, inside, *numbers)
        backward(cotangent, inside, cotangent, *numbers)
    else:
        backward(cotangent, inside, cotangent, *numbers)
        forward(inside, inside, *numbers)
    np.testing.assert_array_equal(to_host(inside), y)
    np.testing.assert_array_equal(to_host(cotangent), dx)


@by_activation
def test_threads_and_odd_sizes(name, numbers, from_output, ulps):
    forward, backward = getattr(A, name)
    x = np.random.default_rng(0).normal(size=70007).astype(np.float32)  # enough for two threads
    check_threads(forward, [x], [x], *numbers)
    check_threads(backward, [x, x], [x], *numbers)
    for size in (0, 1, 15, 17):
        check(forward, "cpu", [x[:size]], [x[:size]], *numbers, rtol=1e-5, atol=1e-6)


# ----------------------------------------------------------------------------------------------------- prelu and glu

LONG = A.CHUNK + 5  # a row of two pieces


def _prelu_arrays(shape, dtype):
    rng = np.random.default_rng(0)
    x, dy = (rng.normal(size=shape).astype(dtype) for _ in range(2))
    x.reshape(-1)[:1] = 0
    weight = rng.normal(size=shape[1]).astype(dtype)
    return dy, x, weight, np.empty((*shape[:2], A.piece_count(shape[2])), dtype)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(2, 3, 7), (3, 5, 1), (1, 1, 37), (1, 1, 1), (1, 2, LONG), (2, 1, 5)])
def test_prelu(shape, dtype, device):
    dy, x, weight, pieces = _prelu_arrays(shape, dtype)
    check(A.prelu_forward, device, [x, weight], [x])
    tolerance = np.finfo(dtype).eps * np.abs(dy * x).sum()
    check(A.prelu_backward, device, [dy, x, weight], [x, pieces], atol=tolerance)


@pytest.mark.parametrize("shape", [(3, 4, 9001), (300, 301, 1), (1, 1, 70001)])
def test_prelu_threads(shape):
    dy, x, weight, pieces = _prelu_arrays(shape, np.float32)
    check_threads(A.prelu_forward, [x, weight], [x])
    check_threads(A.prelu_backward, [dy, x, weight], [x, pieces])


def test_prelu_lets_nan_through():
    x = np.array([[[np.nan, 1, np.inf, -np.inf]]], np.float32)
    (y,) = run(A.prelu_forward, "cpu", [x, np.array([0.5], np.float32)], [x])
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(3, 7), (5, 1), (1, 37), (2, LONG)])
def test_glu(shape, dtype, device):
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(shape[0], 2, shape[1])).astype(dtype) * 3, rng.normal(size=shape).astype(dtype)
    check(A.glu_forward, device, [x], [dy])
    check(A.glu_backward, device, [dy, x], [x])


def test_glu_threads():
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(9, 2, 9001)).astype(np.float32), rng.normal(size=(9, 9001)).astype(np.float32)
    check_threads(A.glu_forward, [x], [dy])
    check_threads(A.glu_backward, [dy, x], [x])
