"""Reductions over the middle axis of a (outer, n, inner) view.

Contract::

    sum_(x, out)   prod(x, out)            out[o, j] = the sum (product) of x[o, :, j]
    any_(x, out)   all_(x, out)            out is bool
    max_(x, out, indices)                  out[o, j] = max of x[o, :, j], indices[o, j] = where it stands first;
    min_(x, out, indices)                  indices is int64, or a (0,) array: not wanted

x is (outer, n, inner), out and indices (outer, inner), all C-contiguous. The caller allocates out and indices; they are
overwritten. sum_ and prod of floats give x's dtype, of integers and bool int64. NaN wins in max_ and min_, first
NaN first; -0.0 equals 0.0. n = 0 gives the neutral element (max_ and min_ need n >= 1).

Accumulators: on the CPU float sums run in vector lanes for at most a few hundred additions and go on in float64; products in
float64 throughout. On CUDA sums are compensated (Kahan) in x's own dtype. Long reductions with few results are cut in
segments by shape alone, and the segments' results are combined in order: the number of threads changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import prange

from numbanet.devices import cuda, device_of, empty
from numbanet.kernels import launch
from numbanet.kernels.index import falling_key, limit_threads, read, restore_threads, rising_key, scalar
from numbanet.kernels.kernel import Kernel, jit

BLOCK = 512  # elements of a row that are accumulated in vector lanes before the float64 total takes them over
COLUMNS = 512  # columns of one task where inner > 1: its accumulators stay in the first-level cache
SEGMENT = 1 << 14  # elements that a task should have at least
TASKS = 32  # tasks to aim for

_INT64 = np.dtype(np.int64)
_cuda_kernels: list[tuple[Any, str]] = []


def _segments(outer: int, n: int, inner: int) -> int:
    """Into how many pieces to cut n: 1 unless there are few results, and never pieces below SEGMENT elements."""
    tasks = outer * -(-inner // COLUMNS)
    wanted = -(-TASKS // max(tasks, 1))
    return max(1, min(wanted, n * min(inner, COLUMNS) // SEGMENT))


def _cuda_lanes(outer: int, n: int, inner: int) -> int:
    """Over how many threads to spread one result in this round on CUDA; 1 ends the rounds."""
    return -(-n // 32) if n > 64 and outer * inner < 1 << 15 else 1


# --------------------------------------------------------------------------------------------- sum, prod, any, all


def _fold(
    name: str, reference: Callable[..., None], step: Callable[..., Any], identity: int, lanes: np.dtype | None
) -> Kernel:
    """The kernel ``name(x, out)`` that folds x[o, :, j] by ``step(accumulator, value)``.

    ``lanes`` is the dtype of the CPU's vector accumulators; None takes x's own for floats and int64 for others.
    """
    step = scalar(step)

    @jit(name=f"{name}_row")
    def row(x, start, end, identity, number):  # type: ignore[no-untyped-def]
        total = number(identity)
        for first in range(start, end, BLOCK):
            part = identity
            for i in range(first, min(first + BLOCK, end)):
                part = step(part, read(x, i))
            total = step(total, part)
        return total

    @jit(name=f"{name}_columns")
    def columns(x, start, rows, stride, width, identity, total):  # type: ignore[no-untyped-def]
        for j in range(width):
            total[j] = identity
        four = rows // 4 * 4
        for i in range(0, four, 4):  # four rows a time: a quarter of the traffic to the accumulators
            at = start + i * stride
            for j in range(width):
                left = step(step(identity, read(x, at + j)), read(x, at + stride + j))
                right = step(step(identity, read(x, at + 2 * stride + j)), read(x, at + 3 * stride + j))
                total[j] = step(total[j], step(left, right))
        for i in range(four, rows):
            at = start + i * stride
            for j in range(width):
                total[j] = step(total[j], read(x, at + j))

    @jit(parallel=True, name=f"{name}_cpu")
    def fold(x, out, partial, identity, outer, n, inner, segments):  # type: ignore[no-untyped-def]
        threads = limit_threads(outer * n * inner)
        number = partial.dtype.type
        blocks = (inner + COLUMNS - 1) // COLUMNS
        length = (n + segments - 1) // segments
        for task in prange(outer * segments * blocks):
            place = np.int64(task) // blocks  # (outer, segments)
            o = place // segments
            low = place % segments * length
            high = max(low, min(low + length, n))
            if inner == 1:
                result = row(x, o * n + low, o * n + high, identity, number)
                if segments == 1:
                    out[o] = result
                else:
                    partial[place] = result
            else:
                first = np.int64(task) % blocks * COLUMNS
                width = min(COLUMNS, inner - first)
                total = np.empty(width, partial.dtype)
                columns(x, (o * n + low) * inner + first, high - low, inner, width, identity, total)
                for j in range(width):
                    if segments == 1:
                        out[o * inner + first + j] = total[j]
                    else:
                        partial[place * inner + first + j] = total[j]
        restore_threads(threads)
        if segments > 1:
            for o in range(outer):
                for j in range(inner):
                    result = number(identity)
                    for s in range(segments):
                        result = step(result, partial[(o * segments + s) * inner + j])
                    out[o * inner + j] = result

    def cpu(x: Any, out: Any) -> None:
        outer, n, inner = x.shape
        accumulator = np.dtype(np.float64) if x.dtype.kind == "f" else _INT64
        if out.dtype.kind == "b":
            accumulator = out.dtype
        kind = lanes or (x.dtype if x.dtype.kind == "f" else accumulator)
        segments = _segments(outer, n, inner)
        partial = empty((outer * segments * inner if segments > 1 else 0,), accumulator)
        fold(x.reshape(-1), out.reshape(-1), partial, kind.type(identity), outer, n, inner, segments)

    @cuda.jit
    def fold_cuda(x, out, n, inner, lanes):  # type: ignore[no-untyped-def]
        """A thread for each (outer, lane, inner): lane t takes the rows t, t + lanes, ... (neighbours read neighbours)."""
        place = cuda.grid(1)
        if place < out.size:
            stride = lanes * inner
            o = place // stride
            start = o * n * inner
            total = out.dtype.type(identity)
            for i in range(place - o * stride, n * inner, stride):
                total = step(total, x[start + i])
            out[place] = total

    @cuda.jit
    def sum_cuda(x, out, n, inner, lanes):  # type: ignore[no-untyped-def]
        """As ``fold_cuda``, with Kahan's compensation."""
        place = cuda.grid(1)
        if place < out.size:
            number = out.dtype.type
            stride = lanes * inner
            o = place // stride
            start = o * n * inner
            total = number(0)
            lost = number(0)
            for i in range(place - o * stride, n * inner, stride):
                value = number(x[start + i]) - lost
                larger = total + value
                lost = (larger - total) - value
                if lost != lost:  # infinity - infinity: nothing to compensate any more
                    lost = number(0)
                total = larger
            out[place] = total

    kernel = sum_cuda if name == "sum" else fold_cuda

    def cuda_(x: Any, out: Any) -> None:
        outer, n, inner = x.shape
        source = x.reshape(-1)
        while out.size:
            lanes = _cuda_lanes(outer, n, inner)
            target = out.reshape(-1) if lanes == 1 else empty((outer * lanes * inner,), out.dtype, device_of(x))
            kernel[launch.line(target.size)](source, target, n, inner, lanes)
            if lanes == 1:
                return
            source, n = target, lanes

    result = "boolean" if name in ("any", "all") else "float32"
    _cuda_kernels.append((kernel, f"void(float32[::1], {result}[::1], int64, int64, int64)"))
    return Kernel(name, reference=reference, cpu=cpu, cuda=cuda_)


def sum_reference(x, out):  # type: ignore[no-untyped-def]
    out[...] = x.sum(axis=1, dtype=np.float64 if x.dtype.kind == "f" else np.int64)


def prod_reference(x, out):  # type: ignore[no-untyped-def]
    out[...] = x.prod(axis=1, dtype=np.float64 if x.dtype.kind == "f" else np.int64)


def any_reference(x, out):  # type: ignore[no-untyped-def]
    out[...] = x.any(axis=1)


def all_reference(x, out):  # type: ignore[no-untyped-def]
    out[...] = x.all(axis=1)


sum_ = _fold("sum", sum_reference, lambda total, x: total + x, 0, None)
prod = _fold("prod", prod_reference, lambda total, x: total * x, 1, np.dtype(np.float64))
any_ = _fold("any", any_reference, lambda total, x: total | bool(x), 0, np.dtype(np.bool_))
all_ = _fold("all", all_reference, lambda total, x: total & bool(x), 1, np.dtype(np.bool_))


# ------------------------------------------------------------------------------------------------------- max, min


def _extremum(name: str, reference: Callable[..., None], above: Callable[..., Any], key: Any) -> Kernel:
    """The kernel ``name(x, out, indices)``; ``above(a, b)`` says whether a beats b, ``key`` the same as an integer."""
    above = scalar(above)

    @jit(name=f"{name}_row")
    def row(x, start, end):  # type: ignore[no-untyped-def]
        """Where the extremum of x[start:end] stands first: the best block by integer keys, then its first best element."""
        best = key(read(x, start))
        block = start
        for first in range(start, end, BLOCK):
            highest = key(read(x, first))
            for i in range(first, min(first + BLOCK, end)):
                k = key(read(x, i))
                highest = k if k > highest else highest
            if highest > best:
                best = highest
                block = first
        for i in range(block, end):
            if key(read(x, i)) == best:
                return i
        return start

    @jit(name=f"{name}_columns")
    def columns(x, start, low, high, stride, width, best, where):  # type: ignore[no-untyped-def]
        for j in range(width):
            best[j] = read(x, start + low * stride + j)
            where[j] = low
        for i in range(low + 1, high):
            at = start + i * stride
            for j in range(width):
                value = read(x, at + j)
                wins = above(value, best[j])
                best[j] = value if wins else best[j]
                where[j] = i if wins else where[j]

    @jit(parallel=True, name=f"{name}_cpu")
    def extremum(x, out, indices, partial, places, outer, n, inner, segments):  # type: ignore[no-untyped-def]
        threads = limit_threads(outer * n * inner)
        blocks = (inner + COLUMNS - 1) // COLUMNS
        length = (n + segments - 1) // segments
        for task in prange(outer * segments * blocks):
            place = np.int64(task) // blocks  # (outer, segments)
            o = place // segments
            low = min(place % segments * length, n - 1)
            high = max(low + 1, min(low + length, n))
            if inner == 1:
                at = row(x, o * n + low, o * n + high)
                if segments > 1:
                    partial[place] = x[at]
                    places[place] = at - o * n
                else:
                    out[o] = x[at]
                    if indices.size > 0:
                        indices[o] = at - o * n
            else:
                first = np.int64(task) % blocks * COLUMNS
                width = min(COLUMNS, inner - first)
                best = np.empty(width, x.dtype)
                where = np.empty(width, np.int64)
                columns(x, o * n * inner + first, low, high, inner, width, best, where)
                for j in range(width):
                    if segments > 1:
                        partial[place * inner + first + j] = best[j]
                        places[place * inner + first + j] = where[j]
                    else:
                        out[o * inner + first + j] = best[j]
                        if indices.size > 0:
                            indices[o * inner + first + j] = where[j]
        restore_threads(threads)
        if segments > 1:
            for o in range(outer):
                for j in range(inner):
                    at = o * segments * inner + j
                    for s in range(1, segments):
                        other = (o * segments + s) * inner + j
                        if above(partial[other], partial[at]):
                            at = other
                    out[o * inner + j] = partial[at]
                    if indices.size > 0:
                        indices[o * inner + j] = places[at]

    def cpu(x: Any, out: Any, indices: Any) -> None:
        outer, n, inner = x.shape
        segments = _segments(outer, n, inner)
        scratch = (outer * segments * inner if segments > 1 else 0,)
        partial, places = empty(scratch, x.dtype), empty(scratch, _INT64)
        extremum(x.reshape(-1), out.reshape(-1), indices.reshape(-1), partial, places, outer, n, inner, segments)

    @cuda.jit
    def extremum_cuda(x, places, out, indices, n, inner, lanes):  # type: ignore[no-untyped-def]
        """A thread for each (outer, lane, inner); ``places`` says where x's values stood, () in the first round."""
        place = cuda.grid(1)
        if place < out.size:
            stride = lanes * inner
            o = place // stride
            start = o * n * inner
            offset = place - o * stride
            best = x[start + offset]
            where = places[start + offset] if places.size > 0 else offset // inner
            for i in range(offset + stride, n * inner, stride):
                value = x[start + i]
                at = places[start + i] if places.size > 0 else i // inner
                # lanes meet out of order: of equals (and of two NaN) the earlier place wins
                equal = (value == best) | ((value != value) & (best != best))
                if above(value, best) | (equal & (at < where)):
                    best = value
                    where = at
            out[place] = best
            if indices.size > 0:
                indices[place] = where

    def cuda_(x: Any, out: Any, indices: Any) -> None:
        outer, n, inner = x.shape
        device = device_of(x)
        source, places = x.reshape(-1), empty((0,), _INT64, device)
        while out.size:
            lanes = _cuda_lanes(outer, n, inner)
            size = (outer * lanes * inner,)
            target = out.reshape(-1) if lanes == 1 else empty(size, out.dtype, device)
            found = indices.reshape(-1) if lanes == 1 else empty(size, _INT64, device)
            extremum_cuda[launch.line(target.size)](source, places, target, found, n, inner, lanes)
            if lanes == 1:
                return
            source, places, n = target, found, lanes

    _cuda_kernels.append(
        (extremum_cuda, "void(float32[::1], int64[::1], float32[::1], int64[::1], int64, int64, int64)")
    )
    return Kernel(name, reference=reference, cpu=cpu, cuda=cuda_)


def max_reference(x, out, indices):  # type: ignore[no-untyped-def]
    where = np.argmax(x, axis=1)  # the first maximum, or the first NaN
    out[...] = np.take_along_axis(x, where[:, None], axis=1)[:, 0]
    if indices.size:
        indices[...] = where


def min_reference(x, out, indices):  # type: ignore[no-untyped-def]
    where = np.argmin(x, axis=1)
    out[...] = np.take_along_axis(x, where[:, None], axis=1)[:, 0]
    if indices.size:
        indices[...] = where


max_ = _extremum("max", max_reference, lambda a, b: (a > b) | ((a != a) & (b == b)), rising_key)
min_ = _extremum("min", min_reference, lambda a, b: (a < b) | ((a != a) & (b == b)), falling_key)

CUDA_KERNELS = tuple(_cuda_kernels)
