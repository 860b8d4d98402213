"""Sorting rows, and the first of them: order, stability, NaN, dtypes, lengths around each algorithm's limits."""

from __future__ import annotations

import numpy as np
import pytest

from numbanet.devices import cuda_is_available
from numbanet.kernels import launch
from numbanet.kernels import sorting as S
from tests.kernels.twins import FLOATS, check, check_threads, run

LENGTHS = [1, 2, S.FEW, S.FEW + 1, 200]


def sample(rows, n, dtype, seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        x = rng.normal(size=(rows, n)).astype(dtype) * rng.choice([1e-30, 1, 1e30], (rows, 1)).astype(dtype)
        x[0] = np.round(x[0] * 2)  # many ties
        x[-1, rng.random(n) > 0.7] = np.nan
        x[-1, rng.random(n) > 0.8] = -np.inf
        x[0, rng.random(n) > 0.8] = -0.0
        return x
    low, high = (0, 2) if dtype is bool else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return rng.integers(low, high, (rows, n)).astype(dtype)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("dtype", [*FLOATS, bool, np.uint8, np.int8, np.int16, np.int32, np.int64])
@pytest.mark.parametrize("n", LENGTHS)
def test_sort(n, dtype, descending):
    x = sample(3, n, dtype)
    check(S.sort, "cpu", [x], [np.zeros_like(x), np.zeros(x.shape, np.int64)], descending)


@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize("dtype", [*FLOATS, np.uint8, np.int64])
@pytest.mark.parametrize(("n", "k"), [(1, 1), (5, 5), (70, 1), (200, 7), (S.BLOCK * 3, 64), (9, 0)])
def test_topk(n, k, dtype, largest):
    x = sample(3, n, dtype)
    check(S.topk, "cpu", [x], [np.zeros((3, k), dtype), np.zeros((3, k), np.int64)], largest)


def test_many_rows_and_long_ones():
    for rows, n in [(400, 50), (1, 30000)]:
        x = sample(rows, n, np.float32)
        check_threads(S.sort, [x], [x, np.zeros(x.shape, np.int64)], False)
        check_threads(S.topk, [x], [x[:, :5].copy(), np.zeros((rows, 5), np.int64)], True)
    x = np.random.default_rng(0).random((1, 30000)).astype(np.float32)
    values, indices = np.zeros_like(x), np.zeros(x.shape, np.int64)
    S.sort(x, values, indices, False)
    np.testing.assert_array_equal(indices, np.argsort(x, axis=1, kind="stable"))
    np.testing.assert_array_equal(values, np.sort(x, axis=1))


def test_nothing_to_sort():
    for shape in [(0, 4), (3, 0)]:
        x = np.zeros(shape, np.float32)
        check(S.sort, "cpu", [x], [x, np.zeros(shape, np.int64)], False)


# ------------------------------------------------------------------------------------------------------- CUDA twins

on_cuda = [pytest.mark.cuda, pytest.mark.skipif(not cuda_is_available(), reason="no CUDA")]
BLOCKS = [(2, 1), (4, 3)]  # elements and threads of a block


def outputs(rows, k, dtype):
    return [np.zeros((rows, k), dtype), np.zeros((rows, k), np.int64)]


class TestCuda:
    pytestmark = on_cuda

    @pytest.mark.parametrize(("width", "threads"), BLOCKS)
    @pytest.mark.parametrize("descending", [False, True])
    def test_every_length_beside_the_blocks(self, width, threads, descending, monkeypatch):
        """Rows shorter than a block (several share it), as long, and cut into pieces: an odd and an even number of merges."""
        monkeypatch.setattr(S, "WIDTH", width)
        monkeypatch.setattr(launch, "THREADS", threads)
        for n in {1, width - 1, width, width + 1, 3 * width - 1}:
            x = sample(3 if n <= width else 2, n, np.float32, seed=n)
            check(S.sort, "cuda", [x], outputs(len(x), n, np.float32), descending)
        for n, k in [(width, 1), (2 * width + 1, width // 2), (3 * width, width), (1, 0)]:
            x = sample(2, n, np.float32, seed=n)
            check(S.topk, "cuda", [x], outputs(2, k, np.float32), descending)

    @pytest.mark.parametrize("dtype", [np.float64, bool, np.uint8, np.int8, np.int16, np.int32, np.int64])
    def test_dtypes(self, dtype, monkeypatch):
        monkeypatch.setattr(S, "WIDTH", 4)
        monkeypatch.setattr(launch, "THREADS", 2)
        x = sample(1, 7, dtype)
        check(S.sort, "cuda", [x], outputs(1, 7, dtype), False)
        check(S.topk, "cuda", [x], outputs(1, 2, dtype), True)

    def test_the_cpus_bits(self, monkeypatch):
        """Signs of zeros and NaN travel with their elements."""
        monkeypatch.setattr(S, "WIDTH", 8)
        monkeypatch.setattr(launch, "THREADS", 4)
        x = np.array([[0.0, -0.0, np.nan, 1.0, -0.0, -np.nan, 0.0, np.inf, -np.inf, np.nan, -1.0]], np.float32)
        for descending in (False, True):
            for kernel, k in ((S.sort, 11), (S.topk, 3)):
                here = run(kernel, "cpu", [x], outputs(1, k, np.float32), descending)
                there = run(kernel, "cuda", [x], outputs(1, k, np.float32), descending)
                assert [a.tobytes() for a in here] == [a.tobytes() for a in there]

    def test_nothing_to_sort(self):
        for shape in [(0, 4), (3, 0)]:
            x = np.zeros(shape, np.float32)
            check(S.sort, "cuda", [x], [x, np.zeros(shape, np.int64)], False)
