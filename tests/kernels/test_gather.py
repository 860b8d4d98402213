"""Reading and writing by index, and rearranging: every element in its place, sums in order, any dtype."""

from __future__ import annotations

import numpy as np
import pytest

from numbanet.kernels import gather as G
from numbanet.kernels import launch
from tests.kernels.twins import DEVICES, FLOATS, check, check_threads

SHAPES = [(1, 4, 1), (3, 5, 1), (2, 4, 3), (1, 7, 70)]  # (outer, n, inner)
LENGTHS = [0, 1, 9]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(launch, "THREADS", 8)


def normal(*shape, dtype=np.float32):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def places(n, *shape):
    return np.random.default_rng(1).integers(0, n, shape)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("m", LENGTHS)
@pytest.mark.parametrize("shape", SHAPES)
def test_elements(shape, m, dtype, device):
    outer, n, inner = shape
    x, values, index = normal(*shape, dtype=dtype), normal(outer, m, inner, dtype=dtype), places(n, outer, m, inner)
    check(G.gather, device, [x, index], [np.zeros_like(values)])
    check(G.scatter, device, [values, index], [x])
    check(G.scatter_add, device, [values, index], [x], rtol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("m", LENGTHS)
@pytest.mark.parametrize("shape", SHAPES)
def test_rows(shape, m, dtype, device):
    outer, n, inner = shape
    x, values, index = normal(*shape, dtype=dtype), normal(outer, m, inner, dtype=dtype), places(n, m)
    check(G.take_rows, device, [x, index], [np.zeros_like(values)])
    check(G.put_rows, device, [values, index], [x])
    check(G.add_rows, device, [values, index], [x], rtol=1e-5)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16])
def test_moving_takes_any_dtype(dtype):
    x = (np.arange(24).reshape(2, 4, 3) % 5).astype(dtype)
    index = places(4, 2, 6, 3)
    check(G.gather, "cpu", [x, index], [np.zeros((2, 6, 3), dtype)])
    check(G.take_rows, "cpu", [x, index[0, :, 0].copy()], [np.zeros((2, 6, 3), dtype)])
    check(G.rearrange, "cpu", [x], [np.zeros((4, 3, 2), dtype)], 1, 4, 3, 2, 0, 0, 3, 1, 12)


def test_the_number_of_threads_does_not_show():
    x, values = normal(3, 200, 150), normal(3, 900, 150)
    check_threads(G.scatter_add, [values, places(200, 3, 900, 150)], [x])
    check_threads(G.add_rows, [values, places(200, 900)], [x])
    check_threads(G.scatter, [values, places(200, 3, 900, 150)], [x])
    check(G.take_rows, "cpu", [x, places(200, 900)], [values])
    check(G.gather, "cpu", [x, places(200, 3, 900, 150)], [values])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("count", "sizes", "strides"),
    [
        (24, (1, 1, 4, 6), (0, 0, 0, 6, 1)),  # as it is
        (24, (1, 1, 6, 4), (0, 0, 0, 1, 6)),  # a transpose
        (24, (2, 1, 3, 4), (0, 1, 0, 8, 2)),  # two dimensions left
        (24, (2, 2, 3, 2), (0, 12, 6, 1, 3)),
        (24, (1, 2, 2, 12), (0, 0, 0, 0, 2)),  # repeated: strides of 0
    ],
)
def test_rearrange(count, sizes, strides, device):
    out = np.zeros(count // int(np.prod(sizes)) * int(np.prod(sizes)) * 2, np.float32)
    check(G.rearrange, device, [normal(60)], [out[:count]], *sizes, *strides)


def test_rearranging_large_arrays():
    """Planes that are cut into bands, walked by tiles, by columns and by rows."""
    for (rows, columns), turned in [((700, 300), True), ((20000, 3), True), ((300, 400), False)]:
        x = normal(2, columns, rows) if turned else normal(2, rows, columns)
        steps = (1, rows) if turned else (columns, 1)
        out = np.zeros((2, rows, columns), np.float32)
        check(G.rearrange, "cpu", [x], [out], 1, 1, rows, columns, rows * columns, 0, 0, *steps)
