"""Reductions over the middle axis of a (outer, n, inner) view.

Contract::

    sum_(x, out)   prod(x, out)            out[o, j] = the sum (product) of x[o, :, j]
    mean(x, out)                           out[o, j] = the sum of x[o, :, j] over n (NaN of nothing); floats only
    sum_squares(x, out)                    out[o, j] = the sum of x[o, :, j]**2
    sum_absolutes(x, out)                  out[o, j] = the sum of |x[o, :, j]|
    any_(x, out)   all_(x, out)            out is bool
    moments(x, mean, squares)              mean of x[o, :, j], and the sum of its squared deviations from it
    moments_backward(x, mean, scale, shift, dx)
                                           dx[o, i, j] = scale[o, j] * (x[o, i, j] - mean[o, j]) + shift[o, j]
    sum_absolutes_backward(x, dy, dx)      dx[o, i, j] = dy[o, j] times the sign of x[o, i, j] (0 of 0; of NaN NaN)
    logsumexp(x, out)                      out[o, j] = log of the sum of exp(x[o, :, j])
    logsumexp_backward(x, y, dy, dx)       dx[o, i, j] = dy[o, j] * exp(x[o, i, j] - y[o, j])
    max_(x, out, indices)                  out[o, j] = max of x[o, :, j], indices[o, j] = where it stands first;
    min_(x, out, indices)                  indices is int64, or a (0,) array: not wanted

x and dx are (outer, n, inner), the others (outer, inner), all C-contiguous. The caller allocates what is written; it is
overwritten. sum_ and prod of floats give x's dtype, of integers and bool int64. NaN wins in max_ and min_, first
NaN first; -0.0 equals 0.0. n = 0 gives the neutral element (max_, min_, moments and logsumexp need n >= 1). logsumexp takes the maximum out first: nothing
overflows, -inf everywhere gives -inf.

Accumulators: on the CPU float sums run in vector lanes for at most a few hundred additions and go on in float64; products in
float64 throughout. On CUDA sums are compensated (Kahan) in x's own dtype. Long reductions with few results are cut in
segments by shape alone, and the segments' results are combined in order: the number of threads changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from numbanet.devices import cuda, device_of, empty
from numbanet.kernels import launch
from numbanet.kernels.index import (
    exp_,
    read,
    scalar,
    write,
)
from numbanet.kernels.kernel import Kernel, jit
from numbanet.kernels.parallel import tasks
from numbanet.kernels.simd import best_of_row

BLOCK = 512  # elements of a row that are accumulated in vector lanes before the float64 total takes them over
COLUMNS = 512  # columns of one task where inner > 1: its accumulators stay in the first-level cache
SEGMENT = 1 << 14  # elements that a task should have at least
TASKS = 32  # tasks to aim for

_highest = best_of_row(">")

_INT64 = np.dtype(np.int64)
_cuda_kernels: list[tuple[Any, str]] = []


def _segments(outer: int, n: int, inner: int) -> int:
    """Into how many pieces to cut n: 1 unless there are few results, and never pieces below SEGMENT elements."""
    tasks = outer * -(-inner // COLUMNS)
    wanted = -(-TASKS // max(tasks, 1))
    return max(1, min(wanted, n * min(inner, COLUMNS) // SEGMENT))


def _tasks(outer: int, inner: int, segments: int) -> int:
    """The number of tasks: one for each result's segment, or block of columns of one."""
    return outer * segments * -(-inner // COLUMNS)


@cache
def _like(dtype: np.dtype) -> np.ndarray:
    """An array that says of which type something is."""
    return np.empty(0, dtype)


def cuda_lanes(outer: int, n: int, inner: int) -> int:
    """Over how many threads to spread one result in this round on CUDA; 1 ends the rounds."""
    return -(-n // 32) if n > 64 and outer * inner < 1 << 15 else 1


# --------------------------------------------------------------------------------------------- sum, prod, any, all


def _fold(
    name: str,
    reference: Callable[..., None],
    step: Callable[..., Any],
    identity: int,
    lanes: np.dtype | None,
    term: Callable[..., Any] = lambda x: x,
    finish: Callable[..., Any] = lambda total, n: total,
) -> Kernel:
    """The kernel ``name(x, out)`` that folds the terms of x[o, :, j] by ``step(accumulator, term(value))``.

    ``lanes`` is the dtype of the CPU's vector accumulators; None takes x's own for floats and int64 for others.
    ``finish(total, n)`` makes the result of the total of n terms.
    """
    step, term, finish = scalar(step), scalar(term), scalar(finish)

    @jit(name=f"{name}_row")
    def row(x, start, end, identity, number):  # type: ignore[no-untyped-def]
        total = number(identity)
        for first in range(start, end, BLOCK):
            part = identity
            for i in range(first, min(first + BLOCK, end)):
                part = step(part, term(read(x, i)))
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
                left = step(step(identity, term(read(x, at + j))), term(read(x, at + stride + j)))
                right = step(step(identity, term(read(x, at + 2 * stride + j))), term(read(x, at + 3 * stride + j)))
                total[j] = step(total[j], step(left, right))
        two = rows // 2 * 2
        for i in range(four, two, 2):
            at = start + i * stride
            for j in range(width):
                both = step(step(identity, term(read(x, at + j))), term(read(x, at + stride + j)))
                total[j] = step(total[j], both)
        for i in range(two, rows):
            at = start + i * stride
            for j in range(width):
                total[j] = step(total[j], term(read(x, at + j)))

    @tasks(name=f"{name}_cpu")
    def fold(task, x, out, partial, like, n, inner, segments):  # type: ignore[no-untyped-def]
        """``like`` has the type of the vector accumulators."""
        neutral = like.dtype.type(identity)
        blocks = (inner + COLUMNS - 1) // COLUMNS
        length = (n + segments - 1) // segments
        place = task // blocks  # (outer, segments)
        o = place // segments
        low = place % segments * length
        high = max(low, min(low + length, n))
        if inner == 1:
            result = row(x, o * n + low, o * n + high, neutral, partial.dtype.type)
            if segments == 1:
                out[o] = finish(result, n)
            else:
                partial[place] = result
        else:
            first = task % blocks * COLUMNS
            width = min(COLUMNS, inner - first)
            total = np.empty(width, partial.dtype)
            columns(x, (o * n + low) * inner + first, high - low, inner, width, neutral, total)
            if segments == 1:
                for j in range(width):
                    write(out, o * inner + first + j, finish(read(total, j), n))
            else:
                for j in range(width):
                    write(partial, place * inner + first + j, read(total, j))

    @jit(name=f"{name}_join")
    def join(partial, out, n, outer, inner, segments):  # type: ignore[no-untyped-def]
        for o in range(outer):
            for j in range(inner):
                result = partial.dtype.type(identity)
                for s in range(segments):
                    result = step(result, partial[(o * segments + s) * inner + j])
                out[o * inner + j] = finish(result, n)

    def cpu(x: Any, out: Any) -> None:
        outer, n, inner = x.shape
        accumulator = np.dtype(np.float64) if x.dtype.kind == "f" else _INT64
        if out.dtype.kind == "b":
            accumulator = out.dtype
        kind = lanes or (x.dtype if x.dtype.kind == "f" else accumulator)
        segments = _segments(outer, n, inner)
        partial = empty((outer * segments * inner,), accumulator) if segments > 1 else _like(accumulator)
        flat = out.reshape(-1)
        fold(_tasks(outer, inner, segments), x.size, x.reshape(-1), flat, partial, _like(kind), n, inner, segments)
        if segments > 1:
            join(partial, flat, n, outer, inner, segments)

    @cuda.jit
    def fold_cuda(x, out, n, inner, lanes, first):  # type: ignore[no-untyped-def]
        """A thread for each (outer, lane, inner): lane t takes the rows t, t + lanes, ... (neighbours read neighbours).

        In the first round x holds values, later on the lanes' results.
        """
        place = cuda.grid(1)
        if place < out.size:
            stride = lanes * inner
            o = place // stride
            start = o * n * inner
            total = out.dtype.type(identity)
            for i in range(place - o * stride, n * inner, stride):
                value = x[start + i]
                total = step(total, term(value) if first != 0 else value)
            out[place] = total

    @cuda.jit
    def sum_cuda(x, out, n, inner, lanes, first):  # type: ignore[no-untyped-def]
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
                value = number(x[start + i])
                value = (term(value) if first != 0 else value) - lost
                larger = total + value
                lost = (larger - total) - value
                if lost != lost:  # infinity - infinity: nothing to compensate any more
                    lost = number(0)
                total = larger
            out[place] = total

    kernel = sum_cuda if name.startswith("sum") or name == "mean" else fold_cuda

    def cuda_(x: Any, out: Any) -> None:
        outer, n, inner = x.shape
        source, first = x.reshape(-1), 1
        while out.size:
            lanes = cuda_lanes(outer, n, inner)
            target = out.reshape(-1) if lanes == 1 else empty((outer * lanes * inner,), out.dtype, device_of(x))
            kernel[launch.line(target.size)](source, target, n, inner, lanes, first)
            if lanes == 1:
                if name == "mean":
                    _over_cuda[launch.line(target.size)](target, x.shape[1])
                return
            source, n, first = target, lanes, 0

    result = "boolean" if name in ("any", "all") else "float32"
    _cuda_kernels.append((kernel, f"void(float32[::1], {result}[::1], int64, int64, int64, int64)"))
    return Kernel(name, reference=reference, cpu=cpu, cuda=cuda_)


@cuda.jit
def _over_cuda(out, n):  # type: ignore[no-untyped-def]
    i = cuda.grid(1)
    if i < out.size:
        out[i] = out[i] / out.dtype.type(n) if n > 0 else out.dtype.type(math.nan)


_cuda_kernels.append((_over_cuda, "void(float32[::1], int64)"))


def sum_reference(x, out):  # type: ignore[no-untyped-def]
    out[...] = x.sum(axis=1, dtype=np.float64 if x.dtype.kind == "f" else np.int64)


def mean_reference(x, out):  # type: ignore[no-untyped-def]
    with np.errstate(invalid="ignore"):
        out[...] = x.sum(axis=1, dtype=np.float64) / np.float64(x.shape[1])


def prod_reference(x, out):  # type: ignore[no-untyped-def]
    out[...] = x.prod(axis=1, dtype=np.float64 if x.dtype.kind == "f" else np.int64)


def sum_squares_reference(x, out):  # type: ignore[no-untyped-def]
    out[...] = (x.astype(np.float64) ** 2).sum(axis=1)


def sum_absolutes_reference(x, out):  # type: ignore[no-untyped-def]
    out[...] = np.abs(x).sum(axis=1, dtype=np.float64)


def any_reference(x, out):  # type: ignore[no-untyped-def]
    out[...] = x.any(axis=1)


def all_reference(x, out):  # type: ignore[no-untyped-def]
    out[...] = x.all(axis=1)


sum_ = _fold("sum", sum_reference, lambda total, x: total + x, 0, None)
mean = _fold("mean", mean_reference, lambda total, x: total + x, 0, None, finish=lambda total, n: total / n)
prod = _fold("prod", prod_reference, lambda total, x: total * x, 1, np.dtype(np.float64))
sum_squares = _fold("sum_squares", sum_squares_reference, lambda total, x: total + x, 0, None, lambda x: x * x)
sum_absolutes = _fold("sum_absolutes", sum_absolutes_reference, lambda total, x: total + x, 0, None, lambda x: abs(x))
any_ = _fold("any", any_reference, lambda total, x: total | bool(x), 0, np.dtype(np.bool_))
all_ = _fold("all", all_reference, lambda total, x: total & bool(x), 1, np.dtype(np.bool_))


# ------------------------------------------------------------------------------------------------------- max, min


def _extremum(name: str, reference: Callable[..., None], above: Callable[..., Any], sign: str) -> Kernel:
    """The kernel ``name(x, out, indices)``; ``above(a, b)`` says whether a beats b: by ``sign``, or by being NaN."""
    above = scalar(above)
    best_of_floats = best_of_row(sign)

    def best_of_integers(x, start, n):  # type: ignore[no-untyped-def]
        best = read(x, start)
        for i in range(start, start + n):
            value = read(x, i)
            best = value if above(value, best) else best
        return best

    def best_of(x, start, n):  # type: ignore[no-untyped-def]
        """The extremum of x[start : start + n]."""

    @overload(best_of, jit_options={"error_model": "numpy"})
    def choose(x, start, n):  # type: ignore[no-untyped-def]
        if isinstance(x.dtype, types.Float):
            return lambda x, start, n: best_of_floats(x, start, n)
        return best_of_integers

    @jit(name=f"{name}_row")
    def row(x, start, end):  # type: ignore[no-untyped-def]
        """Where the extremum of x[start:end] stands first: the best block, in it the best short one, then the element."""
        best = best_of(x, start, min(BLOCK, end - start))
        block = start
        for first in range(start + BLOCK, end, BLOCK):
            other = best_of(x, first, min(BLOCK, end - first))
            if above(other, best):
                best = other
                block = first
        for first in range(block, end, 64):
            other = best_of(x, first, min(64, end - first))
            if other == best or other != other:
                for i in range(first, end):
                    value = read(x, i)
                    if value == best or value != value:
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

    @tasks(name=f"{name}_cpu")
    def extremum(task, x, out, indices, partial, places, n, inner, segments):  # type: ignore[no-untyped-def]
        blocks = (inner + COLUMNS - 1) // COLUMNS
        length = (n + segments - 1) // segments
        place = task // blocks  # (outer, segments)
        o = place // segments
        low = min(place % segments * length, n - 1)
        high = max(low + 1, min(low + length, n))
        if inner == 1 and indices.size == 0:
            peak = best_of(x, o * n + low, high - low)
            if segments > 1:
                partial[place] = peak
            else:
                out[o] = peak
        elif inner == 1:
            at = row(x, o * n + low, o * n + high)
            if segments > 1:
                partial[place] = x[at]
                places[place] = at - o * n
            else:
                out[o] = x[at]
                indices[o] = at - o * n
        else:
            first = task % blocks * COLUMNS
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

    @jit(name=f"{name}_join")
    def join(partial, places, out, indices, outer, inner, segments):  # type: ignore[no-untyped-def]
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
        flat = out.reshape(-1), indices.reshape(-1)
        count = _tasks(outer, inner, segments)
        extremum(count, x.size, x.reshape(-1), *flat, partial, places, n, inner, segments)
        if segments > 1:
            join(partial, places, *flat, outer, inner, segments)

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
            lanes = cuda_lanes(outer, n, inner)
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


max_ = _extremum("max", max_reference, lambda a, b: (a > b) | ((a != a) & (b == b)), ">")
min_ = _extremum("min", min_reference, lambda a, b: (a < b) | ((a != a) & (b == b)), "<")

# -------------------------------------------------------------------------------------------------------- moments


def moments_backward_reference(x, mean, scale, shift, dx):  # type: ignore[no-untyped-def]
    dx[...] = scale[:, None] * (x.astype(np.float64) - mean[:, None]) + shift[:, None]


def moments_reference(x, mean, squares):  # type: ignore[no-untyped-def]
    wide = x.astype(np.float64)
    mean[...] = wide.mean(axis=1)
    squares[...] = ((wide - wide.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)


@scalar
def _joined(count, mean, squares, more, other_mean, other_squares):  # type: ignore[no-untyped-def]
    """(mean, squares) of two sets together, by Chan, Golub and LeVeque (1979): the deviation of their means counts too."""
    gap = other_mean - mean
    whole = count + more
    return mean + gap * more / whole, squares + other_squares + gap * gap * count * more / whole


@jit
def _moments_row(x, start, end):  # type: ignore[no-untyped-def]
    """(mean, squares) of x[start:end], block by block: each is read from the first-level cache a second time."""
    mean = squares = 0.0
    for first in range(start, end, BLOCK):
        last = min(first + BLOCK, end)
        total = x.dtype.type(0)
        for i in range(first, last):
            total += read(x, i)
        center = x.dtype.type(total / (last - first))
        moved = around = x.dtype.type(0)
        for i in range(first, last):
            deviation = read(x, i) - center
            moved += deviation
            around += deviation * deviation
        shift = moved / np.float64(last - first)  # what rounding has left of the block's mean
        here = around - shift * moved
        mean, squares = _joined(
            np.float64(first - start), mean, squares, np.float64(last - first), center + shift, here
        )
    return mean, squares


@jit
def _moments_columns(x, start, rows, stride, width, mean, squares):  # type: ignore[no-untyped-def]
    mean[:] = 0.0
    squares[:] = 0.0
    for i in range(rows):
        at = start + i * stride
        for j in range(width):
            mean[j] += read(x, at + j)
    for j in range(width):
        mean[j] /= rows
    for i in range(rows):
        at = start + i * stride
        for j in range(width):
            deviation = read(x, at + j) - mean[j]
            squares[j] += deviation * deviation


@tasks
def _moments(task, x, partial, n, inner, segments):  # type: ignore[no-untyped-def]
    blocks = (inner + COLUMNS - 1) // COLUMNS
    length = (n + segments - 1) // segments
    half = partial.size // 2
    place = task // blocks  # (outer, segments)
    o = place // segments
    low = place % segments * length
    high = max(low, min(low + length, n))
    if inner == 1:
        partial[place], partial[half + place] = _moments_row(x, o * n + low, o * n + high)
    elif high > low:
        first = task % blocks * COLUMNS
        width = min(COLUMNS, inner - first)
        at = place * inner + first
        _moments_columns(
            x,
            (o * n + low) * inner + first,
            high - low,
            inner,
            width,
            partial[at : at + width],
            partial[half + at : half + at + width],
        )


@jit
def _join_moments(partial, mean, squares, outer, n, inner, segments):  # type: ignore[no-untyped-def]
    length = (n + segments - 1) // segments
    half = partial.size // 2
    for o in range(outer):
        for j in range(inner):
            center = spread = 0.0
            for s in range(segments):
                low = s * length
                more = min(low + length, n) - low
                if more > 0:
                    at = (o * segments + s) * inner + j
                    center, spread = _joined(
                        np.float64(low), center, spread, np.float64(more), partial[at], partial[half + at]
                    )
            mean[o * inner + j] = center
            squares[o * inner + j] = spread


def _moments_cpu(x: Any, mean: Any, squares: Any) -> None:
    outer, n, inner = x.shape
    segments = _segments(outer, n, inner)
    partial = empty((2 * outer * segments * inner,), np.dtype(np.float64))
    _moments(_tasks(outer, inner, segments), 2 * x.size, x.reshape(-1), partial, n, inner, segments)
    _join_moments(partial, mean.reshape(-1), squares.reshape(-1), outer, n, inner, segments)


@cuda.jit
def _moments_cuda_lines(x, mean, squares, n, inner):  # type: ignore[no-untyped-def]
    """Welford's recurrence, a thread for each (outer, inner)."""
    line = cuda.grid(1)
    if line < mean.size:
        number = mean.dtype.type
        start = line // inner * n * inner + line % inner
        center = number(0)
        spread = number(0)
        for i in range(n):
            gap = x[start + i * inner] - center
            center += gap / number(i + 1)
            spread += gap * (x[start + i * inner] - center)
        mean[line] = center
        squares[line] = spread


def _moments_cuda(x: Any, mean: Any, squares: Any) -> None:
    if mean.size:
        arrays = x.reshape(-1), mean.reshape(-1), squares.reshape(-1)
        _moments_cuda_lines[launch.line(mean.size)](*arrays, x.shape[1], x.shape[2])


def _lines(x: Any) -> int:
    """The tasks of a gradient: a row of n each, or a line of ``inner``."""
    _, n, inner = x.shape
    return x.size // (n if inner == 1 else inner)


@tasks
def _moments_backward(line, x, mean, scale, shift, dx, n, inner):  # type: ignore[no-untyped-def]
    if inner == 1:
        center, factor, offset = mean[line], scale[line], shift[line]
        for i in range(line * n, line * n + n):
            write(dx, i, factor * (read(x, i) - center) + offset)
    else:
        start, small = line * inner, line // n * inner
        for j in range(inner):
            deviation = read(x, start + j) - read(mean, small + j)
            write(dx, start + j, read(scale, small + j) * deviation + read(shift, small + j))


def _moments_backward_cpu(x: Any, mean: Any, scale: Any, shift: Any, dx: Any) -> None:
    if x.size:
        _, n, inner = x.shape
        arrays = [array.reshape(-1) for array in (x, mean, scale, shift, dx)]
        _moments_backward(_lines(x), x.size, *arrays, n, inner)


@cuda.jit
def _moments_backward_cuda_flat(x, mean, scale, shift, dx, n, inner):  # type: ignore[no-untyped-def]
    place = cuda.grid(1)
    if place < x.size:
        small = place // (n * inner) * inner + place % inner
        dx[place] = scale[small] * (x[place] - mean[small]) + shift[small]


def _moments_backward_cuda(x: Any, mean: Any, scale: Any, shift: Any, dx: Any) -> None:
    if x.size:
        arrays = [array.reshape(-1) for array in (x, mean, scale, shift, dx)]
        _moments_backward_cuda_flat[launch.line(x.size)](*arrays, x.shape[1], x.shape[2])


moments_backward = Kernel(
    "moments_backward", reference=moments_backward_reference, cpu=_moments_backward_cpu, cuda=_moments_backward_cuda
)
moments = Kernel("moments", reference=moments_reference, cpu=_moments_cpu, cuda=_moments_cuda)


# --------------------------------------------------------------------------------------------- absolutes' gradient


def sum_absolutes_backward_reference(x, dy, dx):  # type: ignore[no-untyped-def]
    dx[...] = dy[:, None] * np.sign(x)


@scalar
def _signed(x, dy, zero):  # type: ignore[no-untyped-def]
    return dy if x > zero else -dy if x < zero else dy * x  # 0 of 0, NaN of NaN


@tasks
def _sum_absolutes_backward(line, x, dy, dx, n, inner):  # type: ignore[no-untyped-def]
    zero = x.dtype.type(0)
    if inner == 1:
        factor = dy[line]
        for i in range(line * n, line * n + n):
            write(dx, i, _signed(read(x, i), factor, zero))
    else:
        start, small = line * inner, line // n * inner
        for j in range(inner):
            write(dx, start + j, _signed(read(x, start + j), read(dy, small + j), zero))


def _sum_absolutes_backward_cpu(x: Any, dy: Any, dx: Any) -> None:
    if x.size:
        _, n, inner = x.shape
        _sum_absolutes_backward(_lines(x), x.size, x.reshape(-1), dy.reshape(-1), dx.reshape(-1), n, inner)


@cuda.jit
def _sum_absolutes_backward_cuda_flat(x, dy, dx, n, inner):  # type: ignore[no-untyped-def]
    place = cuda.grid(1)
    if place < x.size:
        dx[place] = _signed(x[place], dy[place // (n * inner) * inner + place % inner], dx.dtype.type(0))


def _sum_absolutes_backward_cuda(x: Any, dy: Any, dx: Any) -> None:
    if x.size:
        arrays = x.reshape(-1), dy.reshape(-1), dx.reshape(-1)
        _sum_absolutes_backward_cuda_flat[launch.line(x.size)](*arrays, x.shape[1], x.shape[2])


sum_absolutes_backward = Kernel(
    "sum_absolutes_backward",
    reference=sum_absolutes_backward_reference,
    cpu=_sum_absolutes_backward_cpu,
    cuda=_sum_absolutes_backward_cuda,
)


# ------------------------------------------------------------------------------------------------------ logsumexp


def logsumexp_reference(x, out):  # type: ignore[no-untyped-def]
    wide = x.astype(np.float64)
    highest = wide.max(axis=1, keepdims=True)
    highest = np.where(np.isinf(highest), 0, highest)
    with np.errstate(divide="ignore"):
        out[...] = (np.log(np.exp(wide - highest).sum(axis=1, keepdims=True)) + highest)[:, 0]


def logsumexp_backward_reference(x, y, dy, dx):  # type: ignore[no-untyped-def]
    dx[...] = dy[:, None] * np.exp(x.astype(np.float64) - y[:, None])


@jit
def _logsumexp_row(x, start, end):  # type: ignore[no-untyped-def]
    highest = _highest(x, start, end - start)
    if abs(highest) == x.dtype.type(np.inf):
        highest = x.dtype.type(0)
    total = 0.0
    for first in range(start, end, BLOCK):
        part = x.dtype.type(0)
        for i in range(first, min(first + BLOCK, end)):
            part += exp_(read(x, i) - highest)
        total += part
    return math.log(total) + highest


@jit
def _logsumexp_columns(x, start, n, stride, width, highest, total):  # type: ignore[no-untyped-def]
    for j in range(width):
        highest[j] = read(x, start + j)
        total[j] = 0.0
    for i in range(1, n):
        at = start + i * stride
        for j in range(width):
            value = read(x, at + j)
            highest[j] = value if value > highest[j] else highest[j]
    for j in range(width):
        if not abs(highest[j]) < x.dtype.type(np.inf):  # NaN, too: it comes back in the sum
            highest[j] = x.dtype.type(0)
    for i in range(n):
        at = start + i * stride
        for j in range(width):
            total[j] += exp_(read(x, at + j) - highest[j])


@tasks
def _logsumexp(task, x, out, n, inner):  # type: ignore[no-untyped-def]
    blocks = (inner + COLUMNS - 1) // COLUMNS
    o = task // blocks
    if inner == 1:
        out[o] = _logsumexp_row(x, o * n, o * n + n)
    else:
        first = task % blocks * COLUMNS
        width = min(COLUMNS, inner - first)
        highest, total = np.empty(width, x.dtype), np.empty(width, np.float64)
        _logsumexp_columns(x, o * n * inner + first, n, inner, width, highest, total)
        for j in range(width):
            out[o * inner + first + j] = math.log(total[j]) + highest[j]


def _logsumexp_cpu(x: Any, out: Any) -> None:
    if out.size:
        outer, n, inner = x.shape
        _logsumexp(_tasks(outer, inner, 1), 4 * x.size, x.reshape(-1), out.reshape(-1), n, inner)


@jit
def _logsumexp_backward_row(x, y, dy, dx, row, n):  # type: ignore[no-untyped-def]
    center, factor = read(y, row), read(dy, row)
    for i in range(row * n, row * n + n):
        write(dx, i, factor * exp_(read(x, i) - center))


@jit
def _logsumexp_backward_line(x, y, dy, dx, start, small, inner):  # type: ignore[no-untyped-def]
    for j in range(inner):
        write(dx, start + j, read(dy, small + j) * exp_(read(x, start + j) - read(y, small + j)))


@tasks
def _logsumexp_backward(line, x, y, dy, dx, n, inner):  # type: ignore[no-untyped-def]
    if inner == 1:
        _logsumexp_backward_row(x, y, dy, dx, line, n)
    else:
        _logsumexp_backward_line(x, y, dy, dx, line * inner, line // n * inner, inner)


def _logsumexp_backward_cpu(x: Any, y: Any, dy: Any, dx: Any) -> None:
    if x.size:
        _, n, inner = x.shape
        _logsumexp_backward(_lines(x), 2 * x.size, *[array.reshape(-1) for array in (x, y, dy, dx)], n, inner)


@cuda.jit
def _logsumexp_cuda_lines(x, out, n, inner):  # type: ignore[no-untyped-def]
    line = cuda.grid(1)
    if line < out.size:
        number = out.dtype.type
        start = line // inner * n * inner + line % inner
        highest = x[start]
        for i in range(1, n):
            value = x[start + i * inner]
            if value > highest:
                highest = value
        if not abs(highest) < number(math.inf):
            highest = number(0)
        total = number(0)
        for i in range(n):
            total += math.exp(x[start + i * inner] - highest)
        out[line] = math.log(total) + highest if total != number(0) else number(-math.inf)


def _logsumexp_cuda(x: Any, out: Any) -> None:
    if out.size:
        _logsumexp_cuda_lines[launch.line(out.size)](x.reshape(-1), out.reshape(-1), x.shape[1], x.shape[2])


@cuda.jit
def _logsumexp_backward_cuda_flat(x, y, dy, dx, n, inner):  # type: ignore[no-untyped-def]
    place = cuda.grid(1)
    if place < x.size:
        small = place // (n * inner) * inner + place % inner
        dx[place] = dy[small] * math.exp(x[place] - y[small])


def _logsumexp_backward_cuda(x: Any, y: Any, dy: Any, dx: Any) -> None:
    if x.size:
        arrays = [array.reshape(-1) for array in (x, y, dy, dx)]
        _logsumexp_backward_cuda_flat[launch.line(x.size)](*arrays, x.shape[1], x.shape[2])


logsumexp = Kernel("logsumexp", reference=logsumexp_reference, cpu=_logsumexp_cpu, cuda=_logsumexp_cuda)
logsumexp_backward = Kernel(
    "logsumexp_backward",
    reference=logsumexp_backward_reference,
    cpu=_logsumexp_backward_cpu,
    cuda=_logsumexp_backward_cuda,
)

CUDA_KERNELS = (
    *_cuda_kernels,
    (_moments_cuda_lines, "void(float32[::1], float32[::1], float32[::1], int64, int64)"),
    (_moments_backward_cuda_flat, f"void({'float32[::1], ' * 5}int64, int64)"),
    (_sum_absolutes_backward_cuda_flat, f"void({'float32[::1], ' * 3}int64, int64)"),
    (_logsumexp_cuda_lines, "void(float32[::1], float32[::1], int64, int64)"),
    (_logsumexp_backward_cuda_flat, f"void({'float32[::1], ' * 4}int64, int64)"),
)
