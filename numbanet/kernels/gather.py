"""Reading and writing by index along the middle axis of (outer, n, inner) views, and moving elements to other places.

Contract::

    gather(x, index, out, outside)     out[o, i, j] = x[o, index[o, i, j], j], 0 where that is no place in x;
                                       outside[0] = whether there is any such
    scatter(values, index, out)        out[o, index[o, i, j], j] = values[o, i, j]
    scatter_add(values, index, out)    out[o, index[o, i, j], j] += values[o, i, j]
    spread(values, index, out)         the same, from zeros on: overwrites all of out
    scatter_fold(values, index, out, way)
                                       out[o, index[o, i, j], j] = its product with values[o, i, j] (way 0), or the larger
                                       (1) or smaller (2) of both, NaN where either is

    take_rows(x, index, out)           out[o, i, :] = x[o, index[i], :]
    put_rows(values, index, out)       out[o, index[i], :] = values[o, i, :]
    add_rows(values, index, out)       out[o, index[i], :] += values[o, i, :]

    place(x, out, width, step, start)  out[r * step + start + c] = x[r * width + c] for c < width, of flat arrays

    roll(x, out, rows, width, down, right)
        x and out as (planes, rows, width); out[p, (r + down) % rows, (c + right) % width] = x[p, r, c], for
        0 <= down < rows and 0 <= right < width

    rearrange(x, out, d1, d2, d3, d4, s0, s1, s2, s3, s4, start=0)
        out as (d0, d1, d2, d3, d4) in order; its element (a, b, c, d, e) is x[start + a s0 + b s1 + c s2 + d s3 + e s4] of
        flat x; steps may be negative

x and out are C-contiguous, index is int64 and (but for gather, which looks) within range; negative indices are the
caller's to resolve. ``outside`` is a bool array of one element. All other arrays of one call have one dtype; the
functions that only move elements take any dtype. The caller allocates ``out``; gather, take_rows, roll and rearrange
overwrite all of it, scatter, put_rows and place only the places that are named, the
two that add accumulate (+=) into what stands there. A place named twice: the sums are taken, or the last value is kept,
in the order of the index, whatever the number of threads and on either device; there are no atomic additions. NaN is
moved as any other value.

On CUDA a thread writes the places of one column, in the order of the index. Where columns are few and long, the index is
sorted first, which keeps the order of equal places, and a thread takes one place of one column.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.np.arrayobj import make_array

from numbanet.devices import CUDA, cuda, empty
from numbanet.kernels import launch
from numbanet.kernels.index import intrinsic, read, reread, scalar, select, write
from numbanet.kernels.kernel import Kernel
from numbanet.kernels.parallel import tasks
from numbanet.kernels.sorting import sort

CHUNK = 1 << 13  # elements of one task
COLUMNS = 64  # columns of one task that scatters: no two tasks write to one place
EDGE = 32  # edge of the tiles in which rearrange turns rows into columns
FEW_COLUMNS = 1 << 13  # columns that keep a GPU too idle when a thread takes each
LONG_INDEX = 64  # places in a column from which on sorting them pays there

_BITS = {size: np.dtype(f"i{size}") for size in (1, 2, 4, 8)}


def _bits(array: np.ndarray) -> np.ndarray:
    """The array, flat, as integers of the same size: elements that are only moved need one compilation per size."""
    return array.reshape(-1).view(_BITS[array.dtype.itemsize])


def _blocks(rows: int, width: int) -> int:
    """How many tasks rows of this many elements are, where a task takes whole ones."""
    return -(-rows // max(1, CHUNK // width))


# ---------------------------------------------------------------------------------------------------------- gather


def gather_reference(x, index, out, outside):  # type: ignore[no-untyped-def]
    fits = (index >= 0) & (index < x.shape[1])
    x = x if x.shape[1] else np.zeros((x.shape[0], 1, x.shape[2]), x.dtype)
    out[...] = np.where(fits, np.take_along_axis(x, np.where(fits, index, 0), axis=1), 0)
    outside[0] = not fits.all()


@tasks
def _gather_rows(task, x, index, out, outside, n, m, inner):  # type: ignore[no-untyped-def]
    rows = out.size // inner
    block = max(1, CHUNK // inner)
    size = np.uint64(n)
    zero = out.dtype.type(0)
    row = task * block
    last = min(row + block, rows)
    start = row // m * n * inner
    end = row - row % m + m  # where the next o begins
    while row < last:
        end = min(end, last)
        first, behind = row * inner, end * inner
        # Negative numbers are the largest of all when read as unsigned. Looked at beforehand, the range costs the
        # loops below nothing: 256 rows of 1000 take 0.6 of the time.
        largest = np.uint64(0)
        for at in range(first, behind):
            place = np.uint64(read(index, at))
            largest = place if place > largest else largest
        if largest >= size:
            outside[0] = True
            for at in range(first, behind):
                place = read(index, at)
                fits = np.uint64(place) < size
                value = read(x, start + select(fits, place, np.int64(0)) * inner + at % inner)
                write(out, at, select(fits, value, zero))
        elif inner == 1:
            for at in range(first, behind):
                write(out, at, read(x, start + read(index, at)))
        else:
            for at in range(first, behind, inner):
                for j in range(inner):
                    write(out, at + j, read(x, start + read(index, at + j) * inner + j))
        row = end
        end += m
        start += n * inner


def _gather_cpu(x: Any, index: Any, out: Any, outside: Any) -> None:
    outside[0] = False
    if out.size:
        outer, m, inner = out.shape
        flat = _bits(x), index.reshape(-1), _bits(out), outside
        _gather_rows(_blocks(outer * m, inner), 2 * out.size, *flat, x.shape[1], m, inner)


@cuda.jit
def _gather_cuda_flat(x, index, out, outside, n, m, inner):  # type: ignore[no-untyped-def]
    place = cuda.grid(1)
    if place < out.size:
        o = place // (m * inner)
        j = place % inner
        i = index[place]
        if i >= 0 and i < n:
            out[place] = x[(o * n + i) * inner + j]
        else:
            out[place] = 0
            outside[0] = True


@cuda.jit
def _clear_cuda_flat(out):  # type: ignore[no-untyped-def]
    place = cuda.grid(1)
    if place < out.size:
        out[place] = 0


def _gather_cuda(x: Any, index: Any, out: Any, outside: Any) -> None:
    _clear_cuda_flat[launch.line(1)](outside)
    if out.size:
        arrays = x.reshape(-1), index.reshape(-1), out.reshape(-1), outside
        _gather_cuda_flat[launch.line(out.size)](*arrays, x.shape[1], out.shape[1], x.shape[2])


gather = Kernel("gather", reference=gather_reference, cpu=_gather_cpu, cuda=_gather_cuda)


# --------------------------------------------------------------------------------------------------------- scatter


def scatter_reference(values, index, out):  # type: ignore[no-untyped-def]
    for place in np.ndindex(index.shape):
        out[place[0], index[place], place[2]] = values[place]


def scatter_add_reference(values, index, out):  # type: ignore[no-untyped-def]
    for place in np.ndindex(index.shape):
        out[place[0], index[place], place[2]] += values[place]


def spread_reference(values, index, out):  # type: ignore[no-untyped-def]
    out[...] = 0
    scatter_add_reference(values, index, out)


@tasks
def _scatter_columns(task, values, index, out, n, m, inner, add, clear):  # type: ignore[no-untyped-def]
    """A task owns some columns of one o, and takes the index's rows in order."""
    blocks = (inner + COLUMNS - 1) // COLUMNS
    o = task // blocks
    first = task % blocks * COLUMNS
    width = min(COLUMNS, inner - first)
    start = o * n * inner + first
    if clear != 0:
        if inner == width:
            for j in range(n * inner):
                write(out, start + j, 0)
        else:
            for i in range(n):
                for j in range(width):
                    write(out, start + i * inner + j, 0)
    if inner == 1:
        for at in range(o * m, o * m + m):
            place = start + read(index, at)
            value = read(values, at)
            out[np.uint64(place)] = value + out[np.uint64(place)] if add != 0 else value
    else:
        for i in range(m):
            at = (o * m + i) * inner + first
            for j in range(width):
                place = start + read(index, at + j) * inner + j
                value = read(values, at + j)
                write(out, place, value + reread(out, place) if add != 0 else value)


def _scatter(values: Any, index: Any, out: Any, shape: tuple[int, ...], add: int, clear: int) -> None:
    """Values and out come flat, ``shape`` is out's (outer, n, inner)."""
    outer, n, inner = shape
    work = 2 * index.size + (out.size if clear else 0)
    count = outer * -(-inner // COLUMNS)
    _scatter_columns(count, work, values, index.reshape(-1), out, n, index.shape[1], inner, add, clear)


def _scatter_cpu(values: Any, index: Any, out: Any) -> None:
    if index.size:
        _scatter(_bits(values), index, _bits(out), out.shape, 0, 0)


def _scatter_add_cpu(values: Any, index: Any, out: Any) -> None:
    if index.size:
        _scatter(values.reshape(-1), index, out.reshape(-1), out.shape, 1, 0)


def _spread_cpu(values: Any, index: Any, out: Any) -> None:
    if out.size:
        _scatter(values.reshape(-1), index, out.reshape(-1), out.shape, 1, 1)


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


@cuda.jit
def _scatter_cuda_sorted(values, line, order, out, m, n, inner, shared, add):  # type: ignore[no-untyped-def]
    """A thread for each (o, i, j): the first of equal places in the sorted index takes all of them, in order."""
    at = cuda.grid(1)
    if at < values.size:
        o = at // (m * inner)
        i = at // inner - o * m
        j = at % inner
        start = 0 if shared != 0 else o * m
        place = line[start + i]
        first = True
        if i > 0:
            first = line[start + i - 1] != place
        if first:
            to = (o * n + place) * inner + j
            total = out[to]
            while i < m and line[start + i] == place:
                value = values[(o * m + order[start + i]) * inner + j]
                total = total + value if add != 0 else value
                i += 1
            out[to] = total


def _sorted_scatter(values: Any, index: Any, out: Any, shared: bool, add: int) -> bool:
    """Write or add by way of the sorted index (rows, m), where that pays; returns whether it did."""
    m = index.shape[1]
    if m < LONG_INDEX or values.size // m >= FEW_COLUMNS:
        return False
    line, order = (empty(tuple(index.shape), index.dtype, CUDA) for _ in range(2))
    sort(index, line, order, False)
    arrays = values.reshape(-1), line.reshape(-1), order.reshape(-1), out.reshape(-1)
    _scatter_cuda_sorted[launch.line(values.size)](*arrays, m, out.shape[1], out.shape[2], int(shared), add)
    return True


def _scatter_on_cuda(add: int) -> Callable[..., None]:
    def cuda_(values: Any, index: Any, out: Any) -> None:
        if index.size:
            if index.shape[2] == 1 and _sorted_scatter(values, index.reshape(tuple(index.shape[:2])), out, False, add):
                return
            grid = launch.line(index.size // index.shape[1])
            arrays = values.reshape(-1), index.reshape(-1), out.reshape(-1)
            _scatter_cuda_columns[grid](*arrays, out.shape[1], index.shape[1], out.shape[2], add)

    return cuda_


def _spread_cuda(values: Any, index: Any, out: Any) -> None:
    if out.size:
        _clear_cuda_flat[launch.line(out.size)](out.reshape(-1))
        _scatter_on_cuda(1)(values, index, out)


scatter = Kernel("scatter", reference=scatter_reference, cpu=_scatter_cpu, cuda=_scatter_on_cuda(0))
scatter_add = Kernel("scatter_add", reference=scatter_add_reference, cpu=_scatter_add_cpu, cuda=_scatter_on_cuda(1))
spread = Kernel("spread", reference=spread_reference, cpu=_spread_cpu, cuda=_spread_cuda)


def scatter_fold_reference(values, index, out, way):  # type: ignore[no-untyped-def]
    step = (np.multiply, np.maximum, np.minimum)[way]
    for place in np.ndindex(index.shape):
        to = place[0], index[place], place[2]
        out[to] = step(out[to], values[place])


def _scatter_fold_cpu(values: Any, index: Any, out: Any, way: int) -> None:
    outer, _, inner = np.ogrid[tuple(slice(0, size) for size in index.shape)]
    (np.multiply, np.maximum, np.minimum)[way].at(out, (outer, index, inner), values)


@scalar
def _folded(total, value, way):  # type: ignore[no-untyped-def]
    larger = value if (value > total) | (value != value) else total
    smaller = value if (value < total) | (value != value) else total
    return value * total if way == 0 else larger if way == 1 else smaller


@cuda.jit
def _scatter_fold_cuda_columns(values, index, out, n, m, inner, way):  # type: ignore[no-untyped-def]
    column = cuda.grid(1)
    if column < index.size // m:
        o = column // inner
        j = column % inner
        for i in range(m):
            at = (o * m + i) * inner + j
            place = (o * n + index[at]) * inner + j
            out[place] = _folded(out[place], values[at], way)


def _scatter_fold_cuda(values: Any, index: Any, out: Any, way: int) -> None:
    if index.size:
        arrays = values.reshape(-1), index.reshape(-1), out.reshape(-1)
        grid = launch.line(index.size // index.shape[1])
        _scatter_fold_cuda_columns[grid](*arrays, out.shape[1], index.shape[1], out.shape[2], way)


scatter_fold = Kernel("scatter_fold", reference=scatter_fold_reference, cpu=_scatter_fold_cpu, cuda=_scatter_fold_cuda)


# ------------------------------------------------------------------------------------------------------ whole rows


def take_rows_reference(x, index, out):  # type: ignore[no-untyped-def]
    out[...] = x[:, index]


def put_rows_reference(values, index, out):  # type: ignore[no-untyped-def]
    for i, place in enumerate(index):
        out[:, place] = values[:, i]


def add_rows_reference(values, index, out):  # type: ignore[no-untyped-def]
    for i, place in enumerate(index):
        out[:, place] += values[:, i]


@scalar
def _take_block(m, inner):  # type: ignore[no-untyped-def]
    """The rows of one task; of single columns whole groups of four lines, where a few of these are not too much."""
    return CHUNK // m // 4 * 4 * m if inner == 1 and 4 * m <= CHUNK else max(1, CHUNK // inner)


@tasks
def _take_rows(task, x, index, out, n, inner):  # type: ignore[no-untyped-def]
    m = index.size
    rows = out.size // inner
    block = _take_block(m, inner)
    row = task * block
    last = min(row + block, rows)
    start = row // m * n * inner
    while row < last:  # one o after the other
        i = row % m
        if inner == 1 and i == 0 and row + 4 * m <= last:
            # Four at a time share the reading of the index: three quarters of the time.
            for k in range(m):
                source, at = start + read(index, k), row + k
                write(out, at, read(x, source))
                write(out, at + m, read(x, source + n))
                write(out, at + 2 * m, read(x, source + 2 * n))
                write(out, at + 3 * m, read(x, source + 3 * n))
            row += 4 * m
            start += 4 * n
            continue
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


def _take_rows_cpu(x: Any, index: Any, out: Any) -> None:
    if out.size:
        _, n, inner = x.shape
        count = -(-out.size // inner // _take_block(index.size, inner))
        _take_rows(count, out.size, _bits(x), index, _bits(out), n, inner)


@tasks
def _put_rows(task, values, index, out, n, inner, add):  # type: ignore[no-untyped-def]
    m = index.size
    blocks = (inner + COLUMNS - 1) // COLUMNS
    o = task // blocks
    first = task % blocks * COLUMNS
    width = min(COLUMNS, inner - first)
    if inner == 1:
        for i in range(m):
            place = np.uint64(o * n + read(index, i))
            value = read(values, o * m + i)
            out[place] = value + out[place] if add != 0 else value
        return
    for i in range(m):
        at = (o * m + i) * inner + first
        place = (o * n + read(index, i)) * inner + first
        if add != 0:
            for j in range(width):
                write(out, place + j, reread(out, place + j) + read(values, at + j))
        else:
            for j in range(width):
                write(out, place + j, read(values, at + j))


def _put(values: Any, index: Any, out: Any, shape: tuple[int, ...], add: int) -> None:
    """Values and out come flat, ``shape`` is out's (outer, n, inner)."""
    outer, n, inner = shape
    _put_rows(outer * -(-inner // COLUMNS), values.size, values, index, out, n, inner, add)


def _put_rows_cpu(values: Any, index: Any, out: Any) -> None:
    if values.size:
        _put(_bits(values), index, _bits(out), out.shape, 0)


def _add_rows_cpu(values: Any, index: Any, out: Any) -> None:
    if values.size:
        _put(values.reshape(-1), index, out.reshape(-1), out.shape, 1)


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
            if _sorted_scatter(values, index.reshape((1, index.size)), out, True, add):
                return
            grid = launch.line(values.size // index.size)
            arrays = values.reshape(-1), index, out.reshape(-1)
            _put_rows_cuda_columns[grid](*arrays, out.shape[1], out.shape[2], add)

    return cuda_


take_rows = Kernel("take_rows", reference=take_rows_reference, cpu=_take_rows_cpu, cuda=_take_rows_cuda)
put_rows = Kernel("put_rows", reference=put_rows_reference, cpu=_put_rows_cpu, cuda=_rows_on_cuda(0))
add_rows = Kernel("add_rows", reference=add_rows_reference, cpu=_add_rows_cpu, cuda=_rows_on_cuda(1))


# ----------------------------------------------------------------------------------------------------------- place


def place_reference(x, out, width, step, start):  # type: ignore[no-untyped-def]
    flat = out.reshape(-1)
    for r, row in enumerate(x.reshape(-1, width)):
        flat[r * step + start : r * step + start + width] = row


@tasks
def _place(task, x, out, width, step, start):  # type: ignore[no-untyped-def]
    """A task is a block of rows, or a piece of a long one."""
    rows = x.size // width
    piece = min(width, CHUNK)
    pieces = (width + piece - 1) // piece
    block = max(1, CHUNK // width)
    first = task // pieces * block
    low = task % pieces * piece
    length = min(piece, width - low)
    for row in range(first, min(first + block, rows)):
        to, source = row * step + start + low, row * width + low
        for i in range(length):
            write(out, to + i, read(x, source + i))


def _place_cpu(x: Any, out: Any, *numbers: int) -> None:
    if x.size:
        width = numbers[0]
        count = _blocks(x.size // width, width) * -(-width // CHUNK)
        _place(count, x.size, _bits(x), _bits(out), *numbers)


@cuda.jit
def _place_cuda_flat(x, out, width, step, start):  # type: ignore[no-untyped-def]
    at = cuda.grid(1)
    if at < x.size:
        row = at // width
        out[row * step + start + at - row * width] = x[at]


def _place_cuda(x: Any, out: Any, *numbers: int) -> None:
    if x.size:
        _place_cuda_flat[launch.line(x.size)](x.reshape(-1), out.reshape(-1), *numbers)


place = Kernel("place", reference=place_reference, cpu=_place_cpu, cuda=_place_cuda)


# ------------------------------------------------------------------------------------------------------------ roll


def roll_reference(x, out, rows, width, down, right):  # type: ignore[no-untyped-def]
    out.reshape(-1)[...] = np.roll(x.reshape(-1, rows, width), (down, right), (1, 2)).reshape(-1)


@tasks
def _roll(task, x, out, rows, width, down, right):  # type: ignore[no-untyped-def]
    """A task is a block of planes, or a band of rows of a large one.

    Rows that follow each other in x do so in out, but for those that cross the lower edge: they are copied as one long
    row, and what has then gone into a neighbouring row is put right. Short rows cost no loop each that way.
    """
    planes = out.size // (rows * width)
    band = min(rows, max(1, CHUNK // width))
    bands = (rows + band - 1) // band
    block = max(1, CHUNK // (rows * width))
    left = width - right
    first = task // bands * block
    low = task % bands * band
    high = min(low + band, rows)
    for p in range(first, min(first + block, planes)):
        for crossed in range(2):
            begin = low if crossed else max(low, down)
            end = min(high, down) if crossed else high
            if begin >= end:
                continue
            to = (p * rows + begin) * width
            source = to + ((rows if crossed else 0) - down) * width
            count = (end - begin) * width
            if right <= left:
                for i in range(count - right):
                    write(out, to + right + i, read(x, source + i))
                for row in range(0, count if right > 0 else 0, width):
                    for j in range(right):
                        write(out, to + row + j, read(x, source + row + left + j))
            else:
                for i in range(count - left):
                    write(out, to + i, read(x, source + left + i))
                for row in range(0, count, width):
                    for j in range(left):
                        write(out, to + row + right + j, read(x, source + row + j))


def _roll_cpu(x: Any, out: Any, *numbers: int) -> None:
    if out.size:
        rows, width = numbers[:2]
        band = min(rows, max(1, CHUNK // width))
        count = _blocks(out.size // (rows * width), rows * width) * -(-rows // band)
        _roll(count, out.size, _bits(x), _bits(out), *numbers)


@cuda.jit
def _roll_cuda_flat(x, out, rows, width, down, right):  # type: ignore[no-untyped-def]
    place = cuda.grid(1)
    if place < out.size:
        column = place % width
        row = place // width % rows
        start = place - row * width - column
        row = row - down + (rows if row < down else 0)
        column = column - right + (width if column < right else 0)
        out[place] = x[start + row * width + column]


def _roll_cuda(x: Any, out: Any, *numbers: int) -> None:
    if out.size:
        _roll_cuda_flat[launch.line(out.size)](x.reshape(-1), out.reshape(-1), *numbers)


roll = Kernel("roll", reference=roll_reference, cpu=_roll_cpu, cuda=_roll_cuda)


# ------------------------------------------------------------------------------------------------------- rearrange


def rearrange_reference(x, out, d1, d2, d3, d4, s0, s1, s2, s3, s4, start=0):  # type: ignore[no-untyped-def]
    shape = (out.size // (d1 * d2 * d3 * d4), d1, d2, d3, d4)
    places = sum(i * s for i, s in zip(np.indices(shape), (s0, s1, s2, s3, s4), strict=True))
    out.reshape(-1)[...] = x.reshape(-1)[start + places.reshape(-1)]


@intrinsic
def _turn(typingctx, x, source, step, out, to, width):  # type: ignore[no-untyped-def]
    """``out[to + d * width + e] = x[source + d + e * step]`` for d, e below 8: eight vectors turned in registers.

    Rows taken in pairs and interleaved, three times over, are the columns.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, source, step, out, to, width = args
        element = context.get_data_type(signature.args[0].dtype)
        vector, size = ir.VectorType(element, 8), signature.args[0].dtype.bitwidth // 8
        index = lambda value: ir.Constant(ir.IntType(64), value)  # noqa: E731

        def place(position: int, array: Any, start: Any, stride: Any, k: int) -> Any:
            data = make_array(signature.args[position])(context, builder, array).data
            offset = builder.add(start, builder.mul(stride, index(k)))
            return builder.bitcast(builder.gep(data, [offset]), vector.as_pointer())

        rows = []
        for k in range(8):
            rows.append(builder.load(place(0, x, source, step, k)))
            rows[-1].align = size
        for _ in range(3):
            halves = [[half + i // 2 + 8 * (i % 2) for i in range(8)] for half in (0, 4)]
            picks = [ir.Constant(ir.VectorType(ir.IntType(32), 8), half) for half in halves]
            rows = [builder.shuffle_vector(rows[k], rows[k + 4], pick) for k in range(4) for pick in picks]
        for k in range(8):
            builder.store(rows[k], place(3, out, to, width, k)).align = size
        return context.get_dummy_value()

    return types.void(x, types.intp, types.intp, out, types.intp, types.intp), codegen


@intrinsic
def _reverse(typingctx, x, source, out, to):  # type: ignore[no-untyped-def]
    """``out[to + i] = x[source + 7 - i]`` for i below 8."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(context.get_data_type(signature.args[0].dtype), 8)
        at = [
            builder.bitcast(
                builder.gep(make_array(signature.args[k])(context, builder, args[k]).data, [args[k + 1]]),
                vector.as_pointer(),
            )
            for k in (0, 2)
        ]
        row = builder.load(at[0])
        row.align = signature.args[0].dtype.bitwidth // 8
        picks = ir.Constant(ir.VectorType(ir.IntType(32), 8), list(range(7, -1, -1)))
        builder.store(builder.shuffle_vector(row, row, picks), at[1]).align = row.align
        return context.get_dummy_value()

    return types.void(x, types.intp, out, types.intp), codegen


@tasks
def _rearrange(task, x, out, d1, d2, d3, d4, s0, s1, s2, s3, s4, start):  # type: ignore[no-untyped-def]
    """A task is a block of planes (d3, d4), or a band of rows of a large one."""
    plane = d3 * d4
    planes = out.size // plane
    band = min(d3, max(EDGE, CHUNK // d4))
    bands = (d3 + band - 1) // band
    block = max(1, CHUNK // plane)
    first = task // bands * block
    low = task % bands * band
    high = min(low + band, d3)
    for p in range(first, min(first + block, planes)):
        a = p // (d1 * d2)
        source = start + a * s0 + (p // d2 - a * d1) * s1 + p % d2 * s2
        to = p * plane
        if s4 == 1:  # rows stay rows
            for d in range(low, high):
                for e in range(d4):
                    write(out, to + d * d4 + e, read(x, source + d * s3 + e))
        elif s4 == -1 and d4 >= 8:  # rows are reversed, by eights; the last eight may overlap those before
            for d in range(low, high):
                for e in range(0, d4, 8):
                    e = min(e, d4 - 8)
                    _reverse(x, source + d * s3 - e - 7, out, to + d * d4 + e)
        elif s4 <= abs(s3):  # rows are thinned, or repeat one value
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
                    bottom, right = min(d + EDGE, high), min(e + EDGE, d4)
                    if s3 == 1 and bottom - d == EDGE and right - e == EDGE:
                        for dd in range(d, bottom, 8):
                            for ee in range(e, right, 8):
                                _turn(x, source + dd + ee * s4, s4, out, to + dd * d4 + ee, d4)
                        continue
                    for dd in range(d, bottom):
                        for ee in range(e, right):
                            write(out, to + dd * d4 + ee, read(x, source + dd * s3 + ee * s4))


def _rearrange_cpu(x: Any, out: Any, *numbers: int) -> None:
    if out.size:
        high, width = numbers[2:4]
        band = min(high, max(EDGE, CHUNK // width))
        count = _blocks(out.size // (high * width), high * width) * -(-high // band)
        _rearrange(count, out.size, _bits(x), _bits(out), *numbers, *(0,) * (10 - len(numbers)))


@cuda.jit
def _rearrange_cuda_flat(x, out, d1, d2, d3, d4, s0, s1, s2, s3, s4, start):  # type: ignore[no-untyped-def]
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
        out[place] = x[start + a * s0 + b * s1 + c * s2 + d * s3 + e * s4]


def _rearrange_cuda(x: Any, out: Any, *numbers: int) -> None:
    if out.size:
        _rearrange_cuda_flat[launch.line(out.size)](
            x.reshape(-1), out.reshape(-1), *numbers, *(0,) * (10 - len(numbers))
        )


rearrange = Kernel("rearrange", reference=rearrange_reference, cpu=_rearrange_cpu, cuda=_rearrange_cuda)

CUDA_KERNELS = (
    (_gather_cuda_flat, "void(float32[::1], int64[::1], float32[::1], boolean[::1], int64, int64, int64)"),
    (_clear_cuda_flat, "void(float32[::1])"),
    (_scatter_cuda_columns, "void(float32[::1], int64[::1], float32[::1], int64, int64, int64, int64)"),
    (
        _scatter_cuda_sorted,
        "void(float32[::1], int64[::1], int64[::1], float32[::1], int64, int64, int64, int64, int64)",
    ),
    (_scatter_fold_cuda_columns, "void(float32[::1], int64[::1], float32[::1], int64, int64, int64, int64)"),
    (_take_rows_cuda_flat, "void(float32[::1], int64[::1], float32[::1], int64, int64)"),
    (_put_rows_cuda_columns, "void(float32[::1], int64[::1], float32[::1], int64, int64, int64)"),
    (_place_cuda_flat, "void(float32[::1], float32[::1], int64, int64, int64)"),
    (_roll_cuda_flat, "void(float32[::1], float32[::1], int64, int64, int64, int64)"),
    (_rearrange_cuda_flat, "void(float32[::1], float32[::1]" + ", int64" * 10 + ")"),
)
