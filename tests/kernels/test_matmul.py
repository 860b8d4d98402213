"""Matrix products: twins against the slow reference, NumPy's float64 product and each other."""

from __future__ import annotations

from itertools import product
from typing import Any

import numba
import numpy as np
import pytest

from numbanet.devices import Device, cuda_is_available, to_device, to_host
from numbanet.kernels import launch
from numbanet.kernels.kernel import Kernel
from numbanet.kernels.matmul import DEPTH, matmul, matmul_grad_bias, matmul_reference

DEVICES = ["cpu", *([pytest.param("cuda", marks=pytest.mark.cuda)] if cuda_is_available() else [])]
DTYPES = [np.float32, np.float64]
MARGIN = 64


@pytest.fixture(autouse=True)
def _tiny_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "TILE", 2)
    monkeypatch.setattr(launch, "THREADS", 8)


def call(kernel: Kernel, device: str, *args: Any) -> None:
    """Run the kernel on the device; what it writes there comes back into the arrays given."""
    placed = [to_device(a, Device(device)) if isinstance(a, np.ndarray) else a for a in args]
    kernel(*placed)
    for array, there in zip(args, placed, strict=True):
        if there is not array:
            array[...] = to_host(there)


def guarded(shape: tuple[int, ...], dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """(array, its buffer): NaN inside and in the margins on both sides."""
    size = int(np.prod(shape))
    buffer = np.full(size + 2 * MARGIN, np.nan, dtype)
    return buffer[MARGIN : MARGIN + size].reshape(shape), buffer


def margins_untouched(buffer: np.ndarray) -> bool:
    return bool(np.isnan(buffer[:MARGIN]).all() and np.isnan(buffer[-MARGIN:]).all())


def make(rng: Any, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    array, _ = guarded(shape, dtype)  # a read beyond an input's end finds NaN
    array[...] = rng.standard_normal(shape)
    return array


def operands(
    rng: Any, batch: tuple[int, int, int], m: int, k: int, n: int, ta: bool, tb: bool, bias: bool, dtype: Any
) -> Any:
    _, batch_a, batch_b = batch
    a = make(rng, (batch_a, k, m) if ta else (batch_a, m, k), dtype)
    b = make(rng, (batch_b, n, k) if tb else (batch_b, k, n), dtype)
    return a, b, make(rng, (n if bias else 0,), dtype)


def exact(a: np.ndarray, b: np.ndarray, bias: np.ndarray, ta: bool, tb: bool) -> np.ndarray:
    a, b = a.astype(np.float64), b.astype(np.float64)
    out = (a.swapaxes(1, 2) if ta else a) @ (b.swapaxes(1, 2) if tb else b)
    return out + bias if bias.size else out


def close(out: np.ndarray, expected: np.ndarray, terms: int) -> None:
    """Within the rounding of a sum of ``terms`` products of unit normals. NaN is a failure."""
    np.testing.assert_allclose(out, expected, rtol=0, atol=4 * np.finfo(out.dtype).eps * max(terms, 8), equal_nan=False)


def check(
    device: str, rng: Any, batch: Any, m: int, k: int, n: int, ta: bool, tb: bool, bias: bool, dtype: Any
) -> None:
    a, b, added = operands(rng, batch, m, k, n, ta, tb, bias, dtype)
    before = a.copy(), b.copy(), added.copy()
    out, buffer = guarded((batch[0], m, n), dtype)
    call(matmul, device, a, b, added, out, ta, tb)
    close(out, exact(a, b, added, ta, tb), k)
    assert margins_untouched(buffer)
    for array, copy in zip((a, b, added), before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_reference_is_the_product() -> None:
    rng = np.random.default_rng(0)
    for ta, tb, bias, batch in product((False, True), (False, True), (False, True), ((2, 2, 2), (2, 1, 2), (2, 2, 1))):
        a, b, added = operands(rng, batch, 3, 5, 4, ta, tb, bias, np.float64)
        out = np.full((2, 3, 4), np.nan)
        matmul_reference(a, b, added, out, ta, tb)
        close(out, exact(a, b, added, ta, tb), 5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ta,tb", list(product((False, True), repeat=2)))
def test_small_ragged_shapes(device: str, dtype: Any, ta: bool, tb: bool) -> None:
    rng = np.random.default_rng(1)
    shapes = [(1, 1, 1), (7, 5, 9), (9, 17, 3), (2, 3, 17)]
    if device == "cpu":
        shapes += [(8, 16, 48), (17, 33, 49), (24, 15, 64), (31, 40, 97), (5, 1, 65), (1, 70, 33)]
    for m, k, n in shapes:
        for bias in (False, True):
            check(device, rng, (1, 1, 1), m, k, n, ta, tb, bias, dtype)
    for batch in ((3, 3, 3), (2, 1, 2), (2, 2, 1)):
        check(device, rng, batch, 5, 6, 7, ta, tb, True, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ta,tb", list(product((False, True), repeat=2)))
def test_shapes_beyond_one_block(dtype: Any, ta: bool, tb: bool) -> None:
    rng = np.random.default_rng(2)
    for m, k, n in ((203, DEPTH + 1, 60), (9, 2 * DEPTH + 5, 30), (20, DEPTH + 9, 100), (3, 5, 1601), (401, 20, 5)):
        check("cpu", rng, (1, 1, 1), m, k, n, ta, tb, True, dtype)


@pytest.mark.parametrize("ta", [False, True])
def test_long_sums_are_cut_and_stay_accurate(ta: bool) -> None:
    check("cpu", np.random.default_rng(3), (2, 2, 1), 10, 9001, 17, ta, not ta, True, np.float32)


@pytest.mark.parametrize("device", DEVICES)
def test_empty_dimensions(device: str) -> None:
    bias = np.arange(1, 4, dtype=np.float32)
    none = np.empty(0, np.float32)
    for ta, tb in product((False, True), repeat=2):
        for added in (bias, none):
            out, buffer = guarded((2, 5, 3), np.float32)
            a = np.empty((2, 0, 5) if ta else (2, 5, 0), np.float32)
            b = np.empty((2, 3, 0) if tb else (2, 0, 3), np.float32)
            call(matmul, device, a, b, added, out, ta, tb)
            np.testing.assert_array_equal(out, np.broadcast_to(added if added.size else 0, out.shape))
            assert margins_untouched(buffer)
    for batch, m, n in ((0, 2, 3), (1, 0, 3), (1, 2, 0)):
        arrays = (
            np.ones((batch, m, 4), np.float32),
            np.ones((batch, 4, n), np.float32),
            none,
            np.empty((batch, m, n), np.float32),
        )
        call(matmul, device, *arrays, False, False)


@pytest.mark.filterwarnings("ignore:invalid value")  # infinity times the zeros around a tile, in the simulator
@pytest.mark.parametrize("device", DEVICES)
def test_nan_and_infinity_reach_their_row_and_no_other(device: str) -> None:
    rng = np.random.default_rng(4)
    a, b, none = operands(rng, (1, 1, 1), 11, 6, 19, False, True, False, np.float32)
    a[0, 3, 2], a[0, 10, 5] = np.nan, np.inf
    out = np.empty((1, 11, 19), np.float32)
    call(matmul, device, a, b, none, out, False, True)
    assert np.isnan(out[0, 3]).all() and not np.isfinite(out[0, 10]).any()
    others = [row for row in range(11) if row not in (3, 10)]
    close(out[:, others], exact(a, b, none, False, True)[:, others], 6)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two threads")
def test_the_number_of_threads_changes_no_bit() -> None:
    rng = np.random.default_rng(5)
    threads = numba.get_num_threads()
    for m, k, n, ta, tb in (
        (250, 300, 120, False, True),
        (250, 300, 120, False, False),  # one thread packs B, two read it in place
        (120, 256, 400, True, False),
        (10, 9000, 12, True, False),
        (64, 64, 10, False, False),
    ):
        a, b, bias = operands(rng, (1, 1, 1), m, k, n, ta, tb, True, np.float32)
        outs = []
        try:
            for count in (1, 2):
                numba.set_num_threads(count)
                outs.append(np.empty((1, m, n), np.float32))
                matmul(a, b, bias, outs[-1], ta, tb)
        finally:
            numba.set_num_threads(threads)
        np.testing.assert_array_equal(outs[0], outs[1])


@pytest.mark.cuda
@pytest.mark.skipif(not cuda_is_available(), reason="needs a GPU or the simulator")
@pytest.mark.parametrize("tile", [1, 2, 3])
def test_the_cuda_tile_size_changes_only_rounding(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "TILE", tile)
    rng = np.random.default_rng(6)
    check("cuda", rng, (1, 1, 1), 5, 7, 6, False, True, True, np.float32)
    dy, db = make(rng, (7, 5), np.float32), np.empty(5, np.float32)
    call(matmul_grad_bias, "cuda", dy, db)
    close(db, dy.astype(np.float64).sum(0), 7)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_grad_bias(device: str, dtype: Any) -> None:
    rng = np.random.default_rng(7)
    shapes = [(1, 1), (5, 3), (13, 18), (0, 4), (4, 0)] + (
        [(700, 300), (20000, 5), (256, 120)] if device == "cpu" else []
    )
    for m, n in shapes:
        dy = make(rng, (m, n), dtype)
        db, buffer = guarded((n,), dtype)
        expected = np.empty(n, dtype)
        matmul_grad_bias.reference(dy, expected)
        call(matmul_grad_bias, device, dy, db)
        scale = np.abs(dy).astype(np.float64).sum(0).max(initial=1)
        np.testing.assert_allclose(db, expected, rtol=0, atol=2 * np.finfo(dtype).eps * scale, equal_nan=False)
        assert margins_untouched(buffer)


@pytest.mark.parametrize("device", DEVICES)
def test_grad_bias_keeps_small_terms_beside_large_ones(device: str) -> None:
    m = 4000 if device == "cpu" else 60
    dy = np.full((m, 2), 0.1, np.float32)
    dy[0] = 1e5
    db = np.empty(2, np.float32)
    call(matmul_grad_bias, device, dy, db)
    np.testing.assert_allclose(db, np.float32(1e5 + 0.1 * (m - 1)), rtol=1e-6)


def test_gradients_by_finite_differences() -> None:
    """dX = dY W, dW = dY^T X and db are the derivatives of X W^T + b, in float64 along a random direction."""
    rng = np.random.default_rng(8)
    x, w, bias = rng.standard_normal((1, 6, 5)), rng.standard_normal((1, 4, 5)), rng.standard_normal(4)
    dy = rng.standard_normal((1, 6, 4))
    dx, dw, db, none = np.empty_like(x), np.empty_like(w), np.empty_like(bias), np.empty(0)
    matmul(dy, w, none, dx, False, False)
    matmul(dy, x, none, dw, True, False)
    matmul_grad_bias(dy[0], db)
    u, v, t = rng.standard_normal(x.shape), rng.standard_normal(w.shape), rng.standard_normal(4)

    def loss(step: float) -> float:
        y = np.empty_like(dy)
        matmul_reference(x + step * u, w + step * v, bias + step * t, y, False, True)
        return float((y * dy).sum())

    slope = (loss(1e-5) - loss(-1e-5)) / 2e-5
    assert abs(slope - ((dx * u).sum() + (dw * v).sum() + (db * t).sum())) < 1e-7 * max(1, abs(slope))
