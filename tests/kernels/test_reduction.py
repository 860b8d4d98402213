"""Reductions over the middle axis: values, accuracy, places of extrema, NaN, shapes from one element to many tasks."""

from __future__ import annotations

import numpy as np
import pytest

from numbanet.kernels import launch
from numbanet.kernels import reduction as R
from tests.kernels.twins import DEVICES, FLOATS, check, check_threads, run

# The simulator computes with NumPy numbers, which warn where hardware silently makes NaN and infinity.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

SHAPES = [(2, 3, 1), (1, 1, 1), (3, 70, 1), (2, 7, 5), (1, 130, 3), (4, 4, 1)]
LONG = [(1, 100001, 1), (3, 1025, 1), (2, 3, 1300), (1, 3001, 600), (1, 20001, 5)]
NO_INDICES = np.empty(0, np.int64)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(launch, "THREADS", 8)


def sample(shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def result_of(x, dtype=None):
    return np.zeros((x.shape[0], x.shape[2]), dtype or x.dtype)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", FLOATS)
def test_sum_and_prod(dtype, shape, device):
    x = sample(shape, dtype)
    eps = np.finfo(dtype).eps
    check(R.sum_, device, [x], [result_of(x)], atol=4 * eps * abs(x).sum(axis=1).max())
    check(R.mean, device, [x], [result_of(x)], atol=4 * eps * abs(x).mean(axis=1).max())
    check(R.prod, device, [x], [result_of(x)], rtol=2 * eps * (shape[1] if device == "cuda" else 4))
    check(R.sum_squares, device, [x], [result_of(x)], rtol=40 * eps)
    check(R.sum_absolutes, device, [x], [result_of(x)], rtol=40 * eps)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", FLOATS)
def test_moments_and_logsumexp(dtype, shape, device):
    eps = np.finfo(dtype).eps
    x = sample(shape, dtype) + 30  # a mean far from zero
    check(R.moments, device, [x], [result_of(x), result_of(x)], rtol=400 * eps, atol=1e4 * eps)
    check(R.logsumexp, device, [x], [result_of(x)], rtol=40 * eps)
    y, dy = np.log(np.exp(x).sum(axis=1)), sample((shape[0], shape[2]), dtype, 1)
    check(R.logsumexp_backward, device, [x, y, dy], [x], rtol=200 * eps)
    check(R.moments_backward, device, [x, y, dy, y * dy], [x], rtol=200 * eps, atol=400 * eps)
    x.reshape(-1)[::3] = 0
    check(R.sum_absolutes_backward, device, [x, dy], [x])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("inner", [1, 2])
def test_logsumexp_of_special_numbers(inner, device):
    lines = [[-np.inf, -np.inf], [np.inf, 0], [np.nan, 1], [1000, 1000], [-1000, -np.inf], [np.inf, np.nan]]
    x = np.repeat(np.array(lines, np.float32)[:, :, None], inner, axis=2)
    (y,) = run(R.logsumexp, device, [x], [result_of(x)])
    wanted = [-np.inf, np.inf, np.nan, 1000 + np.log(2), -1000, np.nan]
    np.testing.assert_allclose(y[:, -1], wanted, rtol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_moments_of_values_far_from_zero(device):
    x = (10000 + sample((2, 600, 1))).astype(np.float32)
    _, squares = run(R.moments, device, [x], [result_of(x), result_of(x)])
    np.testing.assert_allclose(squares[:, 0], ((x - x.mean(1, np.float64, keepdims=True)) ** 2).sum(1)[:, 0], rtol=1e-3)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", SHAPES)
def test_any_and_all(shape, device):
    for x in (sample(shape) > 1, sample(shape) > -1, np.zeros(shape, bool), np.ones(shape, bool)):
        check(R.any_, device, [x], [result_of(x)])
        check(R.all_, device, [x], [result_of(x)])
    x = np.where(sample(shape) > 1.5, np.nan, 0).astype(np.float32)  # NaN counts as true
    check(R.any_, device, [x], [result_of(x, bool)])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kernel", [R.max_, R.min_], ids=["max", "min"])
@pytest.mark.parametrize("shape", SHAPES)
def test_extrema(kernel, shape, device):
    x = sample(shape)
    indices = np.zeros((shape[0], shape[2]), np.int64)
    check(kernel, device, [x], [result_of(x), indices])
    np.testing.assert_array_equal(
        run(kernel, device, [x], [result_of(x), NO_INDICES])[0], x.max(axis=1) if kernel is R.max_ else x.min(axis=1)
    )
    check(kernel, device, [np.round(x)], [result_of(x), indices])  # many ties: the first place counts
    for special in (np.nan, np.inf, -np.inf):
        y = np.where(sample(shape, seed=1) > 0.8, special, np.round(x)).astype(np.float32)
        check(kernel, device, [y], [result_of(y), indices])
    check(kernel, device, [np.full(shape, -np.inf, np.float32)], [result_of(x), indices])
    zeros = np.where(np.arange(x.size).reshape(shape) % 2 == 0, -0.0, 0.0).astype(np.float32)
    check(kernel, device, [zeros], [result_of(x), indices])


@pytest.mark.parametrize("kernel", [R.max_, R.min_], ids=["max", "min"])
@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float64])
def test_extrema_of_other_dtypes(kernel, dtype):
    low = -50 if np.dtype(dtype).kind != "u" else 0
    for shape in [(3, 70, 1), (2, 7, 5)]:
        x = np.random.default_rng(0).integers(low, 50, shape).astype(dtype)
        check(kernel, "cpu", [x], [result_of(x), np.zeros((shape[0], shape[2]), np.int64)])


@pytest.mark.parametrize("device", DEVICES)
def test_sums_of_integers_are_int64(device):
    for dtype in (np.int64, np.uint8, bool):
        x = (np.random.default_rng(0).integers(0, 2, (2, 70, 1)) * (1 if dtype is bool else 200)).astype(dtype)
        check(R.sum_, device, [x], [result_of(x, np.int64)])
    check(R.prod, device, [np.arange(1, 13).reshape(1, 12, 1)], [np.zeros((1, 1), np.int64)])


@pytest.mark.parametrize("shape", LONG)
def test_long_reductions(shape):
    """Shapes that are cut into segments and blocks; the number of threads must not show."""
    x = sample(shape)
    check(R.sum_, "cpu", [x], [result_of(x)], atol=2e-7 * abs(x).sum(axis=1).max())
    check(R.mean, "cpu", [x], [result_of(x)], atol=2e-7 * abs(x).mean(axis=1).max())
    check_threads(R.sum_, [x], [result_of(x)])
    check(R.sum_squares, "cpu", [x], [result_of(x)], rtol=1e-6)
    check(R.moments, "cpu", [x], [result_of(x), result_of(x)], rtol=1e-5, atol=1e-6)
    check_threads(R.moments, [x], [result_of(x), result_of(x)])
    check(R.logsumexp, "cpu", [x], [result_of(x)], rtol=1e-6, atol=1e-6)
    indices = np.zeros((shape[0], shape[2]), np.int64)
    check(R.max_, "cpu", [x], [result_of(x), indices])
    check(R.min_, "cpu", [np.round(x)], [result_of(x), indices])
    check(R.max_, "cpu", [np.round(x)], [result_of(x), indices])
    late = x.copy()
    late[:, -1] = np.nan
    check(R.max_, "cpu", [late], [result_of(x), indices])
    check(R.any_, "cpu", [np.isnan(late)], [result_of(x, bool)])
    check(R.all_, "cpu", [~np.isnan(late)], [result_of(x, bool)])


@pytest.mark.parametrize("device", DEVICES)
def test_sum_is_accurate_to_float32_rounding(device):
    """A running float32 sum would lose 1e-4 of these; half a unit in the last place is 6e-8."""
    for shape in [(1, 3000, 1), (1, 3000, 2)] if device == "cuda" else [(1, 10**6, 1), (1, 10**5, 8)]:
        x = np.random.default_rng(0).random(shape).astype(np.float32) + np.float32(0.1)
        (total,) = run(R.sum_, device, [x], [result_of(x)])
        np.testing.assert_allclose(total, x.sum(axis=1, dtype=np.float64), rtol=1.3e-7)


@pytest.mark.parametrize("device", DEVICES)
def test_infinities_and_nan_in_sums(device):
    x = np.ones((4, 70, 1), np.float32)
    x[0, 3], x[1, 5], x[2, 7], x[3, 9], x[3, 60] = np.inf, -np.inf, np.nan, np.inf, -np.inf
    for kernel in (R.sum_, R.mean):
        (total,) = run(kernel, device, [x], [result_of(x)])
        np.testing.assert_array_equal(total[:, 0], [np.inf, -np.inf, np.nan, np.nan])


@pytest.mark.parametrize("device", DEVICES)
def test_empty(device):
    x = np.empty((2, 0, 3), np.float32)
    for kernel, neutral in [(R.sum_, 0), (R.prod, 1), (R.mean, np.nan)]:
        np.testing.assert_array_equal(run(kernel, device, [x], [result_of(x)])[0], np.full((2, 3), neutral))
    for shape in [(0, 4, 1), (2, 4, 0)]:
        x = np.empty(shape, np.float32)
        assert run(R.sum_, "cpu", [x], [result_of(x)])[0].size == 0
