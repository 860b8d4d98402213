"""Finding: places in sorted vectors, members, where elements change, and moving elements to places named once.

Contract::

    searchsorted(line, values, out, right)   out[i] = how many elements of the sorted ``line`` come before values[i]; with
                                             ``right`` those that equal it, too; out int32 or int64
    edges(line, out)                         out[v] = how many numbers of the sorted ``line`` are below v
    isin(line, values, out)                  out[i] = whether the sorted ``line`` holds values[i]; out bool
    changes(x, out)                          out[i] = whether x[i] differs from x[i - 1], out[0] = True; out bool
    repeated(ends, out)                      out[j] = i where ends[i - 1] <= j < ends[i]: with running counts of a mask
                                             the places where it holds, with running sums of repeats whom to repeat
    coordinates(places, out, step, size, column)
                                             out[j, column] = places[j] // step % size, out (count, columns)
    put(values, index, out)                  out[r, index[r, i]] = values[r, i], no place named twice in a row; all (rows, n)
    segment_sums(values, order, edges, out)  out[s] = sum of values[order[i]] for edges[s] <= i < edges[s + 1]

Vectors (n,) unless a shape is given, C-contiguous; the line of ``edges``, ends, places, order, edges and index int64 and within range. line and
values have one dtype: floats, integers or bool. NaN comes after everything in searchsorted, and equals nothing in isin
and changes; -0.0 equals 0.0. The caller allocates ``out``; it is overwritten (put writes the places named). Sums
run in float64 on the CPU, on CUDA compensated (Kahan) in the values' dtype, over LANES places apart and then as in
``reduction.sum_``: the number of threads changes nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from numbanet.devices import CUDA, cuda, empty
from numbanet.kernels import launch
from numbanet.kernels.index import scalar
from numbanet.kernels.kernel import Kernel
from numbanet.kernels.reduction import sum_

LANES = 32  # threads that share a segment's sum on CUDA


@scalar
def _rises(a, b):  # type: ignore[no-untyped-def]
    """Whether a comes before b in rising order, NaN last."""
    return (a < b) | ((b != b) & (a == a))


# ------------------------------------------------------------------------------------------------ in sorted vectors


def searchsorted_reference(line, values, out, right):  # type: ignore[no-untyped-def]
    for i, value in enumerate(values):
        before = (line < value) | ((value != value) & (line == line))
        equal = (line == value) | ((value != value) & (line != line))
        out[i] = (before | (equal & right)).sum()


def _searchsorted_cpu(line: Any, values: Any, out: Any, right: bool) -> None:
    out[...] = np.searchsorted(line, values, "right" if right else "left")


@cuda.jit
def _searchsorted_cuda_flat(line, values, out, right):  # type: ignore[no-untyped-def]
    place = cuda.grid(1)
    if place < out.size:
        value = values[place]
        low = 0
        high = line.size
        while low < high:
            half = (low + high) // 2
            if (not _rises(value, line[half])) if right != 0 else _rises(line[half], value):
                low = half + 1
            else:
                high = half
        out[place] = low


def _searchsorted_cuda(line: Any, values: Any, out: Any, right: bool) -> None:
    if out.size:
        _searchsorted_cuda_flat[launch.line(out.size)](line, values, out, int(right))


searchsorted = Kernel("searchsorted", reference=searchsorted_reference, cpu=_searchsorted_cpu, cuda=_searchsorted_cuda)


def edges_reference(line, out):  # type: ignore[no-untyped-def]
    for v in range(out.size):
        out[v] = (line < v).sum()


def _edges_cpu(line: Any, out: Any) -> None:
    out[...] = np.searchsorted(line, np.arange(out.size))


@cuda.jit
def _edges_cuda_flat(line, out):  # type: ignore[no-untyped-def]
    place = cuda.grid(1)
    if place < out.size:
        low = 0
        high = line.size
        while low < high:
            half = (low + high) // 2
            if line[half] < place:
                low = half + 1
            else:
                high = half
        out[place] = low


def _edges_cuda(line: Any, out: Any) -> None:
    if out.size:
        _edges_cuda_flat[launch.line(out.size)](line, out)


edges = Kernel("edges", reference=edges_reference, cpu=_edges_cpu, cuda=_edges_cuda)


def isin_reference(line, values, out):  # type: ignore[no-untyped-def]
    for i, value in enumerate(values):
        out[i] = (line == value).any()


def _isin_cpu(line: Any, values: Any, out: Any) -> None:
    out[...] = np.isin(values, line)


@cuda.jit
def _isin_cuda_flat(line, values, out):  # type: ignore[no-untyped-def]
    place = cuda.grid(1)
    if place < out.size:
        value = values[place]
        low = 0
        high = line.size
        while low < high:
            half = (low + high) // 2
            if _rises(line[half], value):
                low = half + 1
            else:
                high = half
        found = False
        if low < line.size:
            found = line[low] == value
        out[place] = found


def _isin_cuda(line: Any, values: Any, out: Any) -> None:
    if out.size:
        _isin_cuda_flat[launch.line(out.size)](line, values, out)


isin = Kernel("isin", reference=isin_reference, cpu=_isin_cpu, cuda=_isin_cuda)


def changes_reference(x, out):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        out[i] = i == 0 or x[i] != x[i - 1]


def _changes_cpu(x: Any, out: Any) -> None:
    out[:1] = True
    np.not_equal(x[1:], x[:-1], out=out[1:])


@cuda.jit
def _changes_cuda_flat(x, out):  # type: ignore[no-untyped-def]
    place = cuda.grid(1)
    if place < out.size:
        changed = True
        if place > 0:
            changed = x[place] != x[place - 1]
        out[place] = changed


def _changes_cuda(x: Any, out: Any) -> None:
    if out.size:
        _changes_cuda_flat[launch.line(out.size)](x, out)


changes = Kernel("changes", reference=changes_reference, cpu=_changes_cpu, cuda=_changes_cuda)


# ---------------------------------------------------------------------------------------------------------- places


def repeated_reference(ends, out):  # type: ignore[no-untyped-def]
    start = 0
    for i, end in enumerate(ends):
        out[start:end] = i
        start = end


def _repeated_cpu(ends: Any, out: Any) -> None:
    out[...] = np.repeat(np.arange(ends.size), np.diff(ends, prepend=0))


@cuda.jit
def _repeated_cuda_flat(ends, out):  # type: ignore[no-untyped-def]
    """A thread for each result, which looks for its source: one large count does not keep a thread busy alone."""
    place = cuda.grid(1)
    if place < out.size:
        low = 0
        high = ends.size
        while low < high:
            half = (low + high) // 2
            if ends[half] <= place:
                low = half + 1
            else:
                high = half
        out[place] = low


def _repeated_cuda(ends: Any, out: Any) -> None:
    if out.size:
        _repeated_cuda_flat[launch.line(out.size)](ends, out)


repeated = Kernel("repeated", reference=repeated_reference, cpu=_repeated_cpu, cuda=_repeated_cuda)


def coordinates_reference(places, out, step, size, column):  # type: ignore[no-untyped-def]
    for j, place in enumerate(places):
        out[j, column] = place // step % size


def _coordinates_cpu(places: Any, out: Any, step: int, size: int, column: int) -> None:
    out[:, column] = places // step % size


@cuda.jit
def _coordinates_cuda_flat(places, out, step, size, column, columns):  # type: ignore[no-untyped-def]
    place = cuda.grid(1)
    if place < places.size:
        out[place * columns + column] = places[place] // step % size


def _coordinates_cuda(places: Any, out: Any, step: int, size: int, column: int) -> None:
    if places.size:
        numbers = step, size, column, out.shape[1]
        _coordinates_cuda_flat[launch.line(places.size)](places, out.reshape(-1), *numbers)


coordinates = Kernel("coordinates", reference=coordinates_reference, cpu=_coordinates_cpu, cuda=_coordinates_cuda)


def put_reference(values, index, out):  # type: ignore[no-untyped-def]
    for r, i in np.ndindex(*index.shape):
        out[r, index[r, i]] = values[r, i]


def _put_cpu(values: Any, index: Any, out: Any) -> None:
    np.put_along_axis(out, index, values, 1)


@cuda.jit
def _put_cuda_flat(values, index, out, m, n):  # type: ignore[no-untyped-def]
    place = cuda.grid(1)
    if place < values.size:
        out[place // m * n + index[place]] = values[place]


def _put_cuda(values: Any, index: Any, out: Any) -> None:
    if values.size:
        flat = values.reshape(-1), index.reshape(-1), out.reshape(-1)
        _put_cuda_flat[launch.line(values.size)](*flat, index.shape[1], out.shape[1])


put = Kernel("put", reference=put_reference, cpu=_put_cpu, cuda=_put_cuda)


# ---------------------------------------------------------------------------------------------------------- segments


def segment_sums_reference(values, order, edges, out):  # type: ignore[no-untyped-def]
    for s in range(out.size):
        out[s] = values[order[edges[s] : edges[s + 1]]].astype(np.float64).sum()


def _segment_sums_cpu(values: Any, order: Any, edges: Any, out: Any) -> None:
    low, high = edges[0], edges[-1]
    segments = np.repeat(np.arange(out.size), np.diff(edges))
    out[...] = np.bincount(segments, values[order[low:high]], out.size)


@cuda.jit
def _segment_lanes_cuda(values, order, edges, partial):  # type: ignore[no-untyped-def]
    """Lane t of a segment takes its places t, t + LANES, ..."""
    place = cuda.grid(1)
    if place < partial.size:
        number = partial.dtype.type
        segment = place // LANES
        total = number(0)
        lost = number(0)
        for i in range(edges[segment] + place - segment * LANES, edges[segment + 1], LANES):
            value = values[order[i]] - lost
            larger = total + value
            lost = (larger - total) - value
            if lost != lost:  # infinity - infinity: nothing to compensate any more
                lost = number(0)
            total = larger
        partial[place] = total


def _segment_sums_cuda(values: Any, order: Any, edges: Any, out: Any) -> None:
    if out.size:
        partial = empty((out.size * LANES,), out.dtype, CUDA)
        _segment_lanes_cuda[launch.line(partial.size)](values, order, edges, partial)
        sum_(partial.reshape((out.size, LANES, 1)), out.reshape((out.size, 1)))


segment_sums = Kernel("segment_sums", reference=segment_sums_reference, cpu=_segment_sums_cpu, cuda=_segment_sums_cuda)

CUDA_KERNELS = (
    (_searchsorted_cuda_flat, "void(float32[::1], float32[::1], int64[::1], int64)"),
    (_edges_cuda_flat, "void(int64[::1], int64[::1])"),
    (_isin_cuda_flat, "void(float32[::1], float32[::1], boolean[::1])"),
    (_changes_cuda_flat, "void(float32[::1], boolean[::1])"),
    (_repeated_cuda_flat, "void(int64[::1], int64[::1])"),
    (_coordinates_cuda_flat, "void(int64[::1], int64[::1], int64, int64, int64, int64)"),
    (_put_cuda_flat, "void(float32[::1], int64[::1], float32[::1], int64, int64)"),
    (_segment_lanes_cuda, "void(float32[::1], int64[::1], int64[::1], float32[::1])"),
)
