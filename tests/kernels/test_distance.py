"""Norms, distances and angles of rows: twins against references, rows of all lengths, zero and NaN rows, threads."""

from __future__ import annotations

import numpy as np
import pytest

from numbanet.kernels import distance as D
from tests.kernels.twins import DEVICES, FLOATS, check, check_threads, run

rng = np.random.default_rng(41)
SHAPES = [(1, 1), (3, 7), (9, D.BLOCK + 3)]
STRIPS = [(1, 1, 1), (3, 7, 1), (9, D.BLOCK + 3, 1), (2, 5, D.COLUMNS + 3), (2, D.BLOCK + 3, 2)]

# The simulator computes with NumPy numbers, which warn where hardware silently makes NaN and infinity.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def sample(shape, dtype):
    return rng.standard_normal(shape).astype(dtype)


def close(dtype):
    eps = float(np.finfo(dtype).eps)
    return {"rtol": 32 * eps, "atol": 32 * eps}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("eps", [1e-6, 0.25])
def test_distance(shape, dtype, eps, device):
    a, b, dout = sample(shape, dtype), sample(shape, dtype), sample(shape[0], dtype)
    (out,) = check(D.distance_forward, device, [a, b], [dout], eps, **close(dtype))
    nothing = np.empty((0, 0), dtype)
    for da, db in ((a, b), (a, nothing), (nothing, b)):
        check(D.distance_backward, device, [a, b, out, dout], [da, db], eps, **close(dtype))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("eps", [1e-8, 3.0])
def test_cosine(shape, dtype, eps, device):
    a, b, dout = sample(shape, dtype), sample(shape, dtype), sample(shape[0], dtype)
    norms = np.zeros((2, shape[0]), dtype)
    out, norms = check(D.cosine_forward, device, [a, b], [dout, norms], eps, **close(dtype))
    check(D.cosine_backward, device, [a, b, out, norms, dout], [a, b], eps, **close(dtype))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", STRIPS)
@pytest.mark.parametrize("eps", [1e-12, 3.0])
def test_normalize(shape, dtype, eps, device):
    x, dy = sample(shape, dtype), sample(shape, dtype)
    norms = np.zeros((shape[0], shape[2]), dtype)
    y, norms = check(D.normalize_forward, device, [x], [x, norms], eps, **close(dtype))
    check(D.normalize_backward, device, [dy, y, norms], [x], eps, **close(dtype))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    "batch, p, r, m", [(1, 1, 1, 1), (2, 3, 5, 7), (1, 5, D.COLUMNS + 3, 2), (1, D.BLOCK + 2, 2, 3)]
)
def test_cdist(batch, p, r, m, dtype, device):
    a, b = sample((batch, p, m), dtype), sample((batch, r, m), dtype)
    products = np.ascontiguousarray(a @ b.transpose(0, 2, 1))
    (out,) = check(D.cdist_finish, device, [a, b], [products], **close(dtype))
    if p > 1:
        out[0, 1, 0] = 0
    dout = sample(out.shape, dtype)
    made = [dout, np.zeros((batch, p), dtype), np.zeros((batch, r), dtype)]
    slopes, rows, _ = check(D.cdist_slopes, device, [dout, out], made, rtol=close(dtype)["rtol"], atol=1e-4)
    assert p == 1 or slopes[0, 1, 0] == 0
    dx = sample((batch * p, m), dtype)
    check(D.cdist_combine, device, [a.reshape(-1, m), rows.reshape(-1)], [dx], rtol=close(dtype)["rtol"], atol=1e-4)


@pytest.mark.parametrize("device", DEVICES)
def test_cdist_of_equal_and_of_unknown_vectors(device):
    a = np.array([[[1, 2], [np.nan, 0]]], np.float32)
    (out,) = run(D.cdist_finish, device, [a, a], [np.array([[[5.000001, 0], [0, 0]]], np.float32)])
    assert out[0, 0, 0] == 0 and np.isnan(out[0, 0, 1]) and np.isnan(out[0, 1]).all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("p", [1.0, 2.0, 3.5, 0.5, np.inf])
def test_cdist_norm(p, dtype, device):
    for batch, n, r, m in ((1, 1, 1, 1), (2, 3, 5, 7), (1, 2, D.ROWS + 3, D.BLOCK + 3)):
        if device == "cuda":
            m = min(m, 40)
        a, b = sample((batch, n, m), dtype), sample((batch, r, m), dtype)
        a[0, 0, 0] = b[0, 0, 0]
        (out,) = check(D.cdist_norm, device, [a, b], [np.zeros((batch, n, r), dtype)], p, **close(dtype))
        dout = sample(out.shape, dtype)
        factor = 64 if p >= 1 else 1024  # below 1 small differences have the largest slopes, and sums cancel
        wide = {"rtol": factor * close(dtype)["rtol"], "atol": factor * close(dtype)["atol"]}
        check(D.cdist_norm_backward, device, [dout, out, a, b], [a], p, False, **wide)
        check(D.cdist_norm_backward, device, [dout, out, b, a], [b], p, True, **wide)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("p", [1.0, 2.0, 3.5, np.inf])
def test_cdist_norm_of_equal_and_of_unknown_vectors(p, device):
    a, b = np.zeros((1, 3, 2), np.float32), np.array([[[0, 0], [1, 1]]], np.float32)
    a[0, 2, 1] = np.nan
    out, dout = np.zeros((1, 3, 2), np.float32), np.ones((1, 3, 2), np.float32)
    (out,) = run(D.cdist_norm, device, [a, b], [out], p)
    assert out[0, 0, 0] == 0 and np.isnan(out[0, 2]).all() and np.isfinite(out[0, :2]).all()
    (da,) = run(D.cdist_norm_backward, device, [dout, out, a, b], [a], p, False)
    assert np.isfinite(da[0, :2]).all() and (da[0, :2] < 0).all()


@pytest.mark.parametrize("device", DEVICES)
def test_zero_and_nan_rows(device):
    a, dout = sample((4, 5), np.float32), np.ones(4, np.float32)
    a[0], a[1, 2] = 0, np.nan
    b = sample((4, 5), np.float32)
    b[2] = 0
    out, norms = run(D.cosine_forward, device, [a, b], [dout, np.zeros((2, 4), np.float32)], 1e-8)
    da, db = run(D.cosine_backward, device, [a, b, out, norms, dout], [a, b], 1e-8)
    assert np.isnan(out).tolist() == [False, True, False, False]
    assert np.isfinite(da[[0, 2, 3]]).all() and np.isfinite(db[[0, 2, 3]]).all()
    (distance,) = run(D.distance_forward, device, [a, a], [dout], 0.0)
    assert np.isnan(distance[1]) and (distance[[0, 2, 3]] == 0).all()
    da, db = run(D.distance_backward, device, [a, a, distance, dout], [a, b], 0.0)
    assert (da[[0, 2, 3]] == 0).all() and (db[[0, 2, 3]] == 0).all()
    y, norms = run(D.normalize_forward, device, [a[:, :, None]], [a[:, :, None], dout[:, None]], 1e-12)
    assert (y[0] == 0).all() and np.isnan(y[1]).all() and np.isfinite(y[2:]).all()
    (dx,) = run(D.normalize_backward, device, [b[:, :, None], y, norms], [a[:, :, None]], 1e-12)
    assert np.isfinite(dx[0]).all() and np.isnan(dx[1]).all() and np.isfinite(dx[2:]).all()


def test_threads():
    a, b, dout = sample((301, 300), np.float32), sample((301, 300), np.float32), sample(301, np.float32)
    check_threads(D.distance_forward, [a, b], [dout], 1e-6)
    check_threads(D.distance_backward, [a, b, dout, dout], [a, b], 1e-6)
    norms = np.abs(sample((2, 301), np.float32))
    check_threads(D.cosine_forward, [a, b], [dout, norms], 1e-8)
    check_threads(D.cosine_backward, [a, b, dout, norms, dout], [a, b], 1e-8)
    for shape in ((301, 300, 1), (3, 301, 100)):
        x, y = a.reshape(-1)[:90300].reshape(shape), b.reshape(-1)[:90300].reshape(shape)
        norms = np.ones((shape[0], shape[2]), np.float32)
        check_threads(D.normalize_forward, [x], [x, norms], 1e-12)
        check_threads(D.normalize_backward, [x, y, norms], [x], 1e-12)
    x, y, pairs = (
        sample((1, 301, 300), np.float32),
        sample((1, 220, 300), np.float32),
        sample((1, 301, 220), np.float32),
    )
    check_threads(D.cdist_finish, [x, y], [pairs])
    sums = [np.zeros((1, n), np.float32) for n in (301, 220)]
    check_threads(D.cdist_slopes, [pairs, pairs], [pairs, *sums])
    check_threads(D.cdist_norm, [x, y], [pairs], 3.0)
    check_threads(D.cdist_norm_backward, [pairs, pairs, x, y], [x], 3.0, False)
    check_threads(D.cdist_combine, [x[0], sums[0][0]], [a])
