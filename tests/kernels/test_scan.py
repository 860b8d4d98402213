"""Running sums and products in both directions, and the product's gradient with zeros in the line."""

from __future__ import annotations

import numpy as np
import pytest

from numbanet.kernels import launch
from numbanet.kernels import scan as S
from tests.kernels.twins import DEVICES, FLOATS, check, check_threads, run

SHAPES = [(1, 1, 1), (9, 7, 1), (2, 6, 5), (1, 40, 1), (0, 3, 2), (2, 0, 2)]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(launch, "THREADS", 8)


def sample(shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", SHAPES)
def test_scans(shape, dtype, reverse, device):
    x = sample(shape, dtype)
    check(S.cumsum, device, [x], [np.zeros_like(x)], reverse, atol=20 * np.finfo(dtype).eps)
    check(S.cumprod, device, [x], [np.zeros_like(x)], reverse, rtol=100 * np.finfo(dtype).eps)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("zeros", [0, 1, 3])
@pytest.mark.parametrize("shape", SHAPES[:4])
def test_gradient_of_the_product(shape, zeros, device):
    x, dy = sample(shape), sample(shape, seed=1)
    x[:, : min(zeros, shape[1])] = 0
    check(S.cumprod_backward, device, [x, dy], [np.zeros_like(x)], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_integers(device):
    x = np.random.default_rng(0).integers(-5, 6, (2, 9, 3))
    check(S.cumsum, device, [x], [np.zeros_like(x)], False)
    check(S.cumprod, device, [x], [np.zeros_like(x)], True)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("threads", "share"), [(1, 2), (3, 2)])
def test_tiles_of_integers(threads, share, device, monkeypatch):
    """One tile, several, and so many that their sums are cut into tiles again; both directions."""
    monkeypatch.setattr(launch, "THREADS", threads)
    monkeypatch.setattr(S, "SHARE", share)
    S._tiles_cuda_kernel.cache_clear()  # the kernels know their share
    try:
        for n, dtype in [
            (threads * share, bool),
            (threads * share + 1, np.int64),
            (15 if threads > 1 else 7, np.float32),
        ]:
            x = np.random.default_rng(n).integers(-5, 6, (1 if n > 7 else 2, n, 1))
            check(S.cumsum, device, [x], [np.zeros_like(x)], n % 2 == 0)
            mask = (np.random.default_rng(n).integers(0, 3, n) - 1).astype(dtype)
            check(S.running_count, device, [mask], [np.zeros(n, np.int64)])
    finally:
        S._tiles_cuda_kernel.cache_clear()


@pytest.mark.parametrize("device", DEVICES)
def test_counts_take_nan_for_something(device):
    x = np.array([0.0, np.nan, -0.0, np.inf], np.float32)
    np.testing.assert_array_equal(run(S.running_count, device, [x], [np.zeros(4, np.int64)])[0], [0, 1, 1, 2])
    check(S.running_count, device, [x[:0]], [np.zeros(0, np.int64)])


@pytest.mark.parametrize("device", DEVICES)
def test_sums_are_accurate_to_rounding(device):
    n = 300 if device == "cuda" else 100_000
    x = np.full((1, n, 1), 0.1, np.float32)
    (y,) = run(S.cumsum, device, [x], [x], False)
    np.testing.assert_allclose(y, np.cumsum(x, axis=1, dtype=np.float64), rtol=2e-7)


def test_nan_and_infinity_go_on():
    x = np.ones((1, 5, 1), np.float32)
    x[0, 2], x[0, 3] = np.inf, -np.inf
    np.testing.assert_array_equal(run(S.cumsum, "cpu", [x], [x], False)[0].ravel(), [1, 2, np.inf, np.nan, np.nan])
    x[0, 2] = np.nan
    np.testing.assert_array_equal(np.isnan(run(S.cumprod, "cpu", [x], [x], True)[0].ravel()), [1, 1, 1, 0, 0])


def test_threads():
    for shape in [(70, 900, 1), (2, 90, 700)]:
        x = sample(shape)
        check_threads(S.cumsum, [x], [x], False)
