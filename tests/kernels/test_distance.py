"""Norms, distances and angles of rows: twins against references, rows of all lengths, zero and NaN rows, threads."""

from __future__ import annotations

import numpy as np
import pytest

from numbanet.kernels import distance as D
from tests.kernels.twins import FLOATS, check, check_threads, run

rng = np.random.default_rng(41)
SHAPES = [(1, 1), (3, 7), (9, D.BLOCK + 3)]


def sample(shape, dtype):
    return rng.standard_normal(shape).astype(dtype)


def close(dtype):
    eps = float(np.finfo(dtype).eps)
    return {"rtol": 32 * eps, "atol": 32 * eps}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("eps", [1e-6, 0.25])
def test_distance(shape, dtype, eps):
    a, b, dout = sample(shape, dtype), sample(shape, dtype), sample(shape[0], dtype)
    (out,) = check(D.distance_forward, "cpu", [a, b], [dout], eps, **close(dtype))
    check(D.distance_backward, "cpu", [a, b, out, dout], [a], eps, **close(dtype))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("eps", [1e-8, 3.0])
def test_cosine(shape, dtype, eps):
    a, b, dout = sample(shape, dtype), sample(shape, dtype), sample(shape[0], dtype)
    norms = np.zeros((2, shape[0]), dtype)
    out, norms = check(D.cosine_forward, "cpu", [a, b], [dout, norms], eps, **close(dtype))
    check(D.cosine_backward, "cpu", [a, b, out, norms, dout], [a, b], eps, **close(dtype))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("eps", [1e-12, 3.0])
def test_normalize(shape, dtype, eps):
    x, dy = sample(shape, dtype), sample(shape, dtype)
    y, norms = check(D.normalize_forward, "cpu", [x], [x, np.zeros(shape[0], dtype)], eps, **close(dtype))
    check(D.normalize_backward, "cpu", [dy, y, norms], [x], eps, **close(dtype))


def test_zero_and_nan_rows():
    a, dout = sample((4, 5), np.float32), np.ones(4, np.float32)
    a[0], a[1, 2] = 0, np.nan
    b = sample((4, 5), np.float32)
    b[2] = 0
    out, norms = run(D.cosine_forward, "cpu", [a, b], [dout, np.zeros((2, 4), np.float32)], 1e-8)
    da, db = run(D.cosine_backward, "cpu", [a, b, out, norms, dout], [a, b], 1e-8)
    assert np.isnan(out).tolist() == [False, True, False, False]
    assert np.isfinite(da[[0, 2, 3]]).all() and np.isfinite(db[[0, 2, 3]]).all()
    (distance,) = run(D.distance_forward, "cpu", [a, a], [dout], 0.0)
    assert np.isnan(distance[1]) and (distance[[0, 2, 3]] == 0).all()
    (da,) = run(D.distance_backward, "cpu", [a, a, distance, dout], [a], 0.0)
    assert (da[[0, 2, 3]] == 0).all()
    y, norms = run(D.normalize_forward, "cpu", [a], [a, dout], 1e-12)
    assert (y[0] == 0).all() and np.isnan(y[1]).all() and np.isfinite(y[2:]).all()


def test_threads():
    a, b, dout = sample((301, 300), np.float32), sample((301, 300), np.float32), sample(301, np.float32)
    check_threads(D.distance_forward, [a, b], [dout], 1e-6)
    check_threads(D.distance_backward, [a, b, dout, dout], [a], 1e-6)
    norms = np.abs(sample((2, 301), np.float32))
    check_threads(D.cosine_forward, [a, b], [dout, norms], 1e-8)
    check_threads(D.cosine_backward, [a, b, dout, norms, dout], [a, b], 1e-8)
    check_threads(D.normalize_forward, [a], [a, dout], 1e-12)
    check_threads(D.normalize_backward, [a, b, norms[0].copy()], [a], 1e-12)
