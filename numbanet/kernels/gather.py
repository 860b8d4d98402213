"""Reading and writing by index along the middle axis of (outer, n, inner) views, and moving elements to other places.

Contract::

    gather(x, index, out)              out[o, i, j] = x[o, index[o, i, j], j]
    scatter(values, index, out)        out[o, index[o, i, j], j] = values[o, i, j]
    scatter_add(values, index, out)    out[o, index[o, i, j], j] += values[o, i, j]

    take_rows(x, index, out)           out[o, i, :] = x[o, index[i], :]
    put_rows(values, index, out)       out[o, index[i], :] = values[o, i, :]
    add_rows(values, index, out)       out[o, index[i], :] += values[o, i, :]

    rearrange(x, out, d1, d2, d3, d4, s0, s1, s2, s3, s4)
        out as (d0, d1, d2, d3, d4) in order; its element (a, b, c, d, e) is x[a s0 + b s1 + c s2 + d s3 + e s4] of flat x

x and out are C-contiguous, index is int64 and within range (negative indices are the caller's to resolve). All arrays of
one call have one dtype but for the index; the functions that only move elements take any dtype. The caller allocates
``out``; gather, take_rows and rearrange overwrite all of it, scatter and put_rows only the places that are named, the
two that add accumulate (+=) into what stands there. A place named twice: the sums are taken, or the last value is kept,
in the order of the index, whatever the number of threads and on either device; there are no atomic additions. NaN is
moved as any other value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import prange

from numbanet.devices import cuda
from numbanet.kernels import launch
from numbanet.kernels.index import limit_threads, read, reread, restore_threads, write
from numbanet.kernels.kernel import Kernel, jit

CHUNK = 1 << 13  # elements of one task
COLUMNS = 64  # columns of one task that scatters: no two tasks write to one place
EDGE = 32  # edge of the tiles in which rearrange turns rows into columns

_BITS = {size: np.dtype(f"i{size}") for size in (1, 2, 4, 8)}


def _bits(array: np.ndarray) -> np.ndarray:
    """The array, flat, as integers of the same size: elements that are only moved need one compilation per size."""
    return array.reshape(-1).view(_BITS[array.dtype.itemsize])


# ---------------------------------------------------------------------------------------------------------- gather


def gather_reference(x, index, out):  # type: ignore[no-untyped-def]
    out[...] = np.take_along_axis(x, index, axis=1)


@jit(parallel=True)
def _gather_rows(x, index, out, n, m, inner):  # type: ignore[no-untyped-def]
    threads = limit_threads(2 * out.size)
    rows = out.size // inner
    block = max(1, CHUNK // inner)
    for task in prange((rows + block - 1) // block):
        row = np.int64(task) * block
        last = min(row + block, rows)
        start = row // m * n * inner
        end = row - row % m + m  # where the next o begins
        while row < last:
            end = min(end, last)
            if inner == 1:
                for at in range(row, end):
                    write(out, at, read(x, start + read(index, at)))
            else:
                for at in range(row * inner, end * inner, inner):
                    for j in range(inner):
                        write(out, at + j, read(x, start + read(index, at + j) * inner + j))
            row = end
            end += m
            start += n * inner
    restore_threads(threads)


def _gather_cpu(x: Any, index: Any, out: Any) -> None:
    if out.size:
        _gather_rows(_bits(x), index.reshape(-1), _bits(out), x.shape[1], out.shape[1], x.shape[2])


@cuda.jit
def _gather_cuda_flat(x, index, out, n, m, inner):  # type: ignore[no-untyped-def]
    place = cuda.grid(1)
    if place < out.size:
        o = place // (m * inner)
        j = place % inner
        out[place] = x[(o * n + index[place]) * inner + j]


def _gather_cuda(x: Any, index: Any, out: Any) -> None:
    if out.size:
        arrays = x.reshape(-1), index.reshape(-1), out.reshape(-1)
        _gather_cuda_flat[launch.line(out.size)](*arrays, x.shape[1], out.shape[1], x.shape[2])


gather = Kernel("gather", reference=gather_reference, cpu=_gather_cpu, cuda=_gather_cuda)


# --------------------------------------------------------------------------------------------------------- scatter


def scatter_reference(values, index, out):  # type: ignore[no-untyped-def]
    for place in np.ndindex(index.shape):
        out[place[0], index[place], place[2]] = values[place]


def scatter_add_reference(values, index, out):  # type: ignore[no-untyped-def]
    for place in np.ndindex(index.shape):
        out[place[0], index[place], place[2]] += values[place]


@jit(parallel=True)
def _scatter_columns(values, index, out, n, m, inner, add):  # type: ignore[no-untyped-def]
    """A task owns some columns of one o, and takes the index's rows in order."""
    threads = limit_threads(2 * index.size)
    blocks = (inner + COLUMNS - 1) // COLUMNS
    for task in prange(index.size // (m * inner) * blocks):
        o = np.int64(task) // blocks
        first = np.int64(task) % blocks * COLUMNS
        width = min(COLUMNS, inner - first)
        start = o * n * inner + first
        if inner == 1:
            for at in range(o * m, o * m + m):
                place = start + read(index, at)
                value = read(values, at)
                out[np.uint64(place)] = value + out[np.uint64(place)] if add else value
        else:
            for i in range(m):
                at = (o * m + i) * inner + first
                for j in range(width):
                    place = start + read(index, at + j) * inner + j
                    value = read(values, at + j)
                    write(out, place, value + reread(out, place) if add else value)
    restore_threads(threads)


def _scatter_cpu(values: Any, index: Any, out: Any) -> None:
    if index.size:
        sizes = out.shape[1], index.shape[1], out.shape[2]
        _scatter_columns(_bits(values), index.reshape(-1), _bits(out), *sizes, False)


def _scatter_add_cpu(values: Any, index: Any, out: Any) -> None:
    if index.size:
        sizes = out.shape[1], index.shape[1], out.shape[2]
        _scatter_columns(values.reshape(-1), index.reshape(-1), out.reshape(-1), *sizes, True)


@cuda.jit
def _scatter_cuda_columns(values, index, out, n, m, inner, add):  # type: ignore[no-untyped-def]
    """A thread owns a column of one o: the order of the index is the order of the sum."""
    column = cuda.grid(1)
    if column < index.size // m:
        o = column // inner
        j = column % inner
        for i in range(m):
            at = (o * m + i) * inner + j
            place = (o * n + index[at]) * inner + j
            if add != 0:
                out[place] += values[at]
            else:
                out[place] = values[at]


def _scatter_on_cuda(add: int) -> Callable[..., None]:
    def cuda_(values: Any, index: Any, out: Any) -> None:
        if index.size:
            grid = launch.line(index.size // index.shape[1])
            arrays = values.reshape(-1), index.reshape(-1), out.reshape(-1)
            _scatter_cuda_columns[grid](*arrays, out.shape[1], index.shape[1], out.shape[2], add)

    return cuda_


scatter = Kernel("scatter", reference=scatter_reference, cpu=_scatter_cpu, cuda=_scatter_on_cuda(0))
scatter_add = Kernel("scatter_add", reference=scatter_add_reference, cpu=_scatter_add_cpu, cuda=_scatter_on_cuda(1))


# ------------------------------------------------------------------------------------------------------ whole rows


def take_rows_reference(x, index, out):  # type: ignore[no-untyped-def]
    out[...] = x[:, index]


def put_rows_reference(values, index, out):  # type: ignore[no-untyped-def]
    for i, place in enumerate(index):
        out[:, place] = values[:, i]


def add_rows_reference(values, index, out):  # type: ignore[no-untyped-def]
    for i, place in enumerate(index):
        out[:, place] += values[:, i]


@jit(parallel=True)
def _take_rows(x, index, out, n, inner):  # type: ignore[no-untyped-def]
    threads = limit_threads(out.size)
    m = index.size
    rows = out.size // inner
    block = max(1, CHUNK // inner)
    for task in prange((rows + block - 1) // block):
        row = np.int64(task) * block
        last = min(row + block, rows)
        start = row // m * n * inner
        while row < last:  # one o after the other
            i = row % m
            end = min(row - i + m, last)
            if inner == 1:
                for k in range(end - row):
                    write(out, row + k, read(x, start + read(index, i + k)))
            else:
                for k in range(end - row):
                    source = start + read(index, i + k) * inner
                    at = (row + k) * inner
                    for j in range(inner):
                        write(out, at + j, read(x, source + j))
            row = end
            start += n * inner
    restore_threads(threads)


def _take_rows_cpu(x: Any, index: Any, out: Any) -> None:
    if out.size:
        _take_rows(_bits(x), index, _bits(out), x.shape[1], x.shape[2])


@jit(parallel=True)
def _put_rows(values, index, out, n, inner, add):  # type: ignore[no-untyped-def]
    threads = limit_threads(values.size)
    m = index.size
    blocks = (inner + COLUMNS - 1) // COLUMNS
    for task in prange(values.size // (m * inner) * blocks):
        o = np.int64(task) // blocks
        first = np.int64(task) % blocks * COLUMNS
        width = min(COLUMNS, inner - first)
        for i in range(m):
            at = (o * m + i) * inner + first
            place = (o * n + read(index, i)) * inner + first
            if add:
                for j in range(width):
                    write(out, place + j, reread(out, place + j) + read(values, at + j))
            else:
                for j in range(width):
                    write(out, place + j, read(values, at + j))
    restore_threads(threads)


def _put_rows_cpu(values: Any, index: Any, out: Any) -> None:
    if values.size:
        _put_rows(_bits(values), index, _bits(out), out.shape[1], out.shape[2], False)


def _add_rows_cpu(values: Any, index: Any, out: Any) -> None:
    if values.size:
        _put_rows(values.reshape(-1), index, out.reshape(-1), out.shape[1], out.shape[2], True)


@cuda.jit
def _take_rows_cuda_flat(x, index, out, n, inner):  # type: ignore[no-untyped-def]
    place = cuda.grid(1)
    if place < out.size:
        row = place // inner
        j = place - row * inner
        o = row // index.size
        i = row - o * index.size
        out[place] = x[(o * n + index[i]) * inner + j]


def _take_rows_cuda(x: Any, index: Any, out: Any) -> None:
    if out.size:
        _take_rows_cuda_flat[launch.line(out.size)](x.reshape(-1), index, out.reshape(-1), x.shape[1], x.shape[2])


@cuda.jit
def _put_rows_cuda_columns(values, index, out, n, inner, add):  # type: ignore[no-untyped-def]
    """A thread owns a column of one o."""
    column = cuda.grid(1)
    m = index.size
    if column < values.size // m:
        o = column // inner
        j = column % inner
        for i in range(m):
            value = values[(o * m + i) * inner + j]
            place = (o * n + index[i]) * inner + j
            if add != 0:
                out[place] += value
            else:
                out[place] = value


def _rows_on_cuda(add: int) -> Callable[..., None]:
    def cuda_(values: Any, index: Any, out: Any) -> None:
        if values.size:
            grid = launch.line(values.size // index.size)
            arrays = values.reshape(-1), index, out.reshape(-1)
            _put_rows_cuda_columns[grid](*arrays, out.shape[1], out.shape[2], add)

    return cuda_


take_rows = Kernel("take_rows", reference=take_rows_reference, cpu=_take_rows_cpu, cuda=_take_rows_cuda)
put_rows = Kernel("put_rows", reference=put_rows_reference, cpu=_put_rows_cpu, cuda=_rows_on_cuda(0))
add_rows = Kernel("add_rows", reference=add_rows_reference, cpu=_add_rows_cpu, cuda=_rows_on_cuda(1))


# ------------------------------------------------------------------------------------------------------- rearrange


def rearrange_reference(x, out, d1, d2, d3, d4, s0, s1, s2, s3, s4):  # type: ignore[no-untyped-def]
    shape = (out.size // (d1 * d2 * d3 * d4), d1, d2, d3, d4)
    places = sum(i * s for i, s in zip(np.indices(shape), (s0, s1, s2, s3, s4), strict=True))
    out.reshape(-1)[...] = x.reshape(-1)[places.reshape(-1)]


@jit(parallel=True)
def _rearrange(x, out, d1, d2, d3, d4, s0, s1, s2, s3, s4):  # type: ignore[no-untyped-def]
    """A task is a block of planes (d3, d4), or a band of rows of a large one."""
    threads = limit_threads(out.size)
    plane = d3 * d4
    planes = out.size // plane
    band = min(d3, max(EDGE, CHUNK // d4))
    bands = (d3 + band - 1) // band
    block = max(1, CHUNK // plane)
    for task in prange((planes + block - 1) // block * bands):
        first = np.int64(task) // bands * block
        low = np.int64(task) % bands * band
        high = min(low + band, d3)
        for p in range(first, min(first + block, planes)):
            a = p // (d1 * d2)
            source = a * s0 + (p // d2 - a * d1) * s1 + p % d2 * s2
            to = p * plane
            if s4 == 1:  # rows stay rows
                for d in range(low, high):
                    for e in range(d4):
                        write(out, to + d * d4 + e, read(x, source + d * s3 + e))
            elif s4 <= s3:  # rows are thinned, or repeat one value
                for d in range(low, high):
                    for e in range(d4):
                        write(out, to + d * d4 + e, read(x, source + d * s3 + e * s4))
            elif d4 <= EDGE:  # few columns: along the rows of x, as far as they go
                for e in range(d4):
                    for d in range(low, high):
                        write(out, to + d * d4 + e, read(x, source + d * s3 + e * s4))
            else:  # tile by tile: both sides stay in the cache
                for d in range(low, high, EDGE):
                    for e in range(0, d4, EDGE):
                        for dd in range(d, min(d + EDGE, high)):
                            for ee in range(e, min(e + EDGE, d4)):
                                write(out, to + dd * d4 + ee, read(x, source + dd * s3 + ee * s4))
    restore_threads(threads)


def _rearrange_cpu(x: Any, out: Any, *numbers: int) -> None:
    if out.size:
        _rearrange(_bits(x), _bits(out), *numbers)


@cuda.jit
def _rearrange_cuda_flat(x, out, d1, d2, d3, d4, s0, s1, s2, s3, s4):  # type: ignore[no-untyped-def]
    place = cuda.grid(1)
    if place < out.size:
        e = place % d4
        rest = place // d4
        d = rest % d3
        rest = rest // d3
        c = rest % d2
        rest = rest // d2
        b = rest % d1
        a = rest // d1
        out[place] = x[a * s0 + b * s1 + c * s2 + d * s3 + e * s4]


def _rearrange_cuda(x: Any, out: Any, *numbers: int) -> None:
    if out.size:
        _rearrange_cuda_flat[launch.line(out.size)](x.reshape(-1), out.reshape(-1), *numbers)


rearrange = Kernel("rearrange", reference=rearrange_reference, cpu=_rearrange_cpu, cuda=_rearrange_cuda)

CUDA_KERNELS = (
    (_gather_cuda_flat, "void(float32[::1], int64[::1], float32[::1], int64, int64, int64)"),
    (_scatter_cuda_columns, "void(float32[::1], int64[::1], float32[::1], int64, int64, int64, int64)"),
    (_take_rows_cuda_flat, "void(float32[::1], int64[::1], float32[::1], int64, int64)"),
    (_put_rows_cuda_columns, "void(float32[::1], int64[::1], float32[::1], int64, int64, int64)"),
    (_rearrange_cuda_flat, "void(float32[::1], float32[::1]" + ", int64" * 9 + ")"),
)
