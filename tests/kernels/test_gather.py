"""Reading and writing by index, and rearranging: every element in its place, sums in order, any dtype."""

from __future__ import annotations

import numpy as np
import pytest

from numbanet.devices import cuda_is_available
from numbanet.kernels import gather as G
from numbanet.kernels import launch, sorting
from tests.kernels.twins import DEVICES, FLOATS, check, check_threads, run

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
    check(G.gather, device, [x, index], [np.zeros_like(values), np.ones(1, bool)])
    wrong = index + np.random.default_rng(2).choice([-3, 0, 3], index.shape)
    check(G.gather, device, [x, wrong], [np.zeros_like(values), np.zeros(1, bool)])
    check(G.scatter, device, [values, index], [x])
    check(G.scatter_add, device, [values, index], [x], rtol=1e-5)
    check(G.spread, device, [values, index], [x], rtol=1e-5)


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


@pytest.mark.cuda
@pytest.mark.skipif(not cuda_is_available(), reason="no CUDA")
@pytest.mark.parametrize("shape", [(1, 3, 1), (2, 4, 1), (2, 3, 2)])
def test_the_sorted_index_gives_the_same_bits(shape, monkeypatch):
    """Few long columns on CUDA: equal places are taken in the order in which they stood."""
    monkeypatch.setattr(sorting, "WIDTH", 4)
    outer, n, inner = shape
    x, values, index = normal(*shape), normal(outer, 9, inner), places(n, outer, 9, inner)
    calls = [(kernel, [values, index[0, :, 0].copy()]) for kernel in (G.put_rows, G.add_rows)]
    calls += [(kernel, [values, index]) for kernel in (G.scatter, G.scatter_add, G.spread)] if inner == 1 else []
    sorts = []
    monkeypatch.setattr(G, "sort", lambda *arrays: sorts.append(arrays) or sorting.sort(*arrays))
    for kernel, inputs in calls:
        column_by_column = run(kernel, "cuda", inputs, [x])[0]
        with monkeypatch.context() as patch:
            patch.setattr(G, "LONG_INDEX", 2)
            assert run(kernel, "cuda", inputs, [x])[0].tobytes() == column_by_column.tobytes(), kernel.name
    assert len(sorts) == len(calls)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("way", [0, 1, 2])
@pytest.mark.parametrize("shape", [(1, 4, 1), (2, 4, 3)])
def test_folds(shape, way, device):
    outer, n, inner = shape
    values, index = normal(outer, 9, inner), places(n, outer, 9, inner)
    values[0, 2] = np.nan
    check(G.scatter_fold, device, [values, index], [normal(*shape) + 1], way)
    check(G.scatter_fold, device, [values[:, :0].copy(), index[:, :0].copy()], [normal(*shape)], way)
    whole = (values[:1, :4] * 3).clip(-3, 3)
    whole[np.isnan(whole)] = 2
    check(
        G.scatter_fold, device, [whole.astype(np.int8), index[:1, :4].copy()], [np.full((1, n, inner), 3, np.int8)], way
    )


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16])
def test_moving_takes_any_dtype(dtype):
    x = (np.arange(24).reshape(2, 4, 3) % 5).astype(dtype)
    index = places(4, 2, 6, 3)
    check(G.gather, "cpu", [x, index], [np.zeros((2, 6, 3), dtype), np.ones(1, bool)])
    check(G.take_rows, "cpu", [x, index[0, :, 0].copy()], [np.zeros((2, 6, 3), dtype)])
    check(G.rearrange, "cpu", [x], [np.zeros((4, 3, 2), dtype)], 1, 4, 3, 2, 0, 0, 3, 1, 12)


def test_the_number_of_threads_does_not_show():
    x, values = normal(3, 200, 150), normal(3, 900, 150)
    check_threads(G.scatter_add, [values, places(200, 3, 900, 150)], [x])
    check_threads(G.spread, [values, places(200, 3, 900, 150)], [x])
    check_threads(G.add_rows, [values, places(200, 900)], [x])
    check_threads(G.add_rows, [values[:, :, :1].copy(), places(200, 900)], [x[:, :, :1].copy()])
    check_threads(G.scatter, [values, places(200, 3, 900, 150)], [x])
    check(G.take_rows, "cpu", [x, places(200, 900)], [values])
    check(G.gather, "cpu", [x, places(200, 3, 900, 150)], [values, np.zeros(1, bool)])
    for outer, m in ((11, 70), (3, 5), (4, 3000), (9, 2048)):  # single columns, four o at a time and the rest
        lines, index = normal(outer, 50, 1), places(50, m)
        check(G.take_rows, "cpu", [lines, index], [np.zeros((outer, m, 1), np.float32)])
        check_threads(G.take_rows, [lines, index], [np.zeros((outer, m, 1), np.float32)])


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


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("width", [1, 3, 8])
def test_place(width, device):
    x = normal(5, width)
    check(G.place, device, [x], [np.zeros((5, width + 4), np.float32)], width, width + 4, 2)
    check(G.place, device, [x[:0]], [np.zeros((5, width + 4), np.float32)], width, width + 4, 2)


def test_placing_long_rows():
    for rows, width in [(3, 20000), (20000, 3)]:
        out = np.zeros((rows, width + 7), np.float32)
        check_threads(G.place, [normal(rows, width)], [out], width, width + 7, 7)
        check(G.place, "cpu", [normal(rows, width)], [out], width, width + 7, 7)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("moves", [(0, 0), (0, 1), (3, 0), (2, 5), (4, 6), (1, 3)])
def test_roll(moves, device):
    x = normal(2, 5, 7)
    check(G.roll, device, [x], [np.zeros_like(x)], 5, 7, *moves)


@pytest.mark.parametrize("moves", [(0, 1), (61, 20), (3, 290)])
def test_rolling_large_arrays(moves):
    x = normal(3, 62, 300)
    check_threads(G.roll, [x], [np.zeros_like(x)], 62, 300, *moves)
    check(G.roll, "cpu", [x], [np.zeros_like(x)], 62, 300, *moves)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("width", [1, 7, 8, 20])
def test_rearranging_backwards(width, device):
    """Steps below zero, from the last element on."""
    x = normal(3, 4, width)
    for steps, start in [
        ((4 * width, 0, 0, width, -1), width - 1),
        ((4 * width, 0, 0, -width, 1), 3 * width),
        ((-4 * width, 0, 0, -width, -1), x.size - 1),
    ]:
        check(G.rearrange, device, [x], [np.zeros_like(x)], 1, 1, 4, width, *steps, start)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int8])
def test_turning_by_tiles(dtype):
    x = (np.arange(70 * 75).reshape(70, 75) % 101).astype(dtype)
    check(G.rearrange, "cpu", [x], [np.zeros((75, 70), dtype)], 1, 1, 75, 70, 0, 0, 0, 1, 75)
