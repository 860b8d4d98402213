"""Normalisation of each sample by itself: the groups of its channels (group and instance norm) or its rows (layer, RMS norm).

x, y, dx, dy (N, C, S); a group is C / G neighbouring channels of one sample, L = C / G * S elements that lie together.
Layer and RMS norm of rows of L elements are N rows of C = L channels with S = 1 and G = 1; instance norm is G = C.

``group_norm_forward(x, weight, bias, y, mean, inv_std, eps, center)``
    Of each group: mean (0 where ``center`` is 0: RMS norm), the biased variance about it, inv_std = 1 / sqrt(var + eps), and
    y = (x - mean) * inv_std * weight + bias.
``group_norm_backward(dy, x, weight, mean, inv_std, dx, dweight, dbias, center)``
    With h = (x - mean) * inv_std and g = dy * weight: dbias = sum dy and dweight = sum dy * h over samples and positions,
    dx = inv_std * (g - [center] mean(g) - h * mean(g * h)), the means taken over a group.

weight, bias (C,), or (0,) for none (1 and 0); mean, inv_std (N, G), which says what G is; dweight, dbias (C,), or (0,): not
wanted. All C-contiguous, one dtype (float32 or float64). The caller allocates; outputs are overwritten. Empty groups have
mean 0 and inv_std 1 / sqrt(eps). NaN and infinity anywhere in a group make that group NaN.

Sums: on the CPU at most _RUN elements in vector lanes and float64 from there on, the variance in a second pass where one could not
tell it well; the sums for weight
and bias in pieces (samples, or some rows) that follow from the shapes alone, added in order in float64, so that the
number of threads changes nothing. CUDA takes compensated sums in shared-memory trees.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache
from typing import Any

import numpy as np

from numbanet.devices import cuda, empty
from numbanet.kernels import launch
from numbanet.kernels.batch_norm import _add_moments, _add_products, _gradient_run, _lane_sum, _scale_run, _sum_of_block
from numbanet.kernels.index import read, reread, write
from numbanet.kernels.kernel import Kernel, jit
from numbanet.kernels.parallel import run_stages
from numbanet.kernels.simd import lanes

_RUN = 2048  # elements that are summed in vector lanes
_SAMPLE = 8  # elements whose mean is near enough to that of most data
_COLUMNS = 256  # channels of one task where the sums for weight and bias are added up


@lru_cache(maxsize=1024)
def _plan(n: int, c: int, s: int, groups: int, center: int, lanes: int) -> tuple[np.ndarray, int, int, int]:
    """(what the tasks read, tasks of the forward pass, pieces of the backward pass, its tasks).

    A piece is where the sums for weight and bias begin anew: a sample, or with S = 1 some rows. Few rows share a piece,
    since its sums are as long as a row and must be written and read once more.
    """
    rows, length = n * groups, c // max(groups, 1) * s
    chunk = max(1, 4096 // max(length, 1))
    pieces = max(min(64, n // 16), n // 256, min(n, 8)) if s == 1 else n
    each = -(-n // max(pieces, 1))
    plan = np.array((n, c, s, groups, center, lanes, chunk, each), np.int64)
    forward = -(-rows // chunk)
    return plan, forward, pieces, -(-n // max(each, 1)) if s == 1 else forward


# -------------------------------------------------------------------------------------------------------------- forward


def group_norm_forward_reference(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray,
    y: np.ndarray, mean: np.ndarray, inv_std: np.ndarray, eps: float, center: int,
) -> None:  # fmt: skip
    groups = mean.shape[1]
    for n, g in np.ndindex(*mean.shape):
        width = x.shape[1] // groups
        channels = slice(g * width, (g + 1) * width)
        values = x[n, channels].astype(np.float64)  # (C / G, S)
        count = max(values.size, 1)
        middle = values.sum() / count if center else 0.0
        scale = 1 / np.sqrt(np.square(values - middle).sum() / count + eps)
        mean[n, g], inv_std[n, g] = middle, scale
        factor = weight[channels, None].astype(np.float64) if weight.size else 1.0
        y[n, channels] = (values - middle) * scale * factor + (bias[channels, None] if bias.size else 0.0)


@jit
def _moments_cpu(x, at, length, center, width, sums):  # type: ignore[no-untyped-def]
    """Mean and variance of x[at : at + length]; ``sums`` holds two vectors of zeros, and does so again."""
    # About a number from the middle of the data, so that a large offset costs no digits; where what it missed the mean by
    # outweighs the variance (outliers), a second time about the mean.
    middle = x.dtype.type(0)
    if center != 0:
        some = min(length, _SAMPLE)
        guess = 0.0
        for j in range(some):
            guess += np.float64(x[at + j])
        middle = x.dtype.type(guess / some)
    mean, squares = 0.0, 0.0
    for _ in range(2):
        total, squares = 0.0, 0.0
        for j in range(0, length, _RUN):
            _add_moments(x, at + j, sums, 0, min(_RUN, length - j), middle)
            total += _lane_sum(sums, 0)
            squares += _lane_sum(sums, width)
            sums[:] = 0
        if center == 0:
            break
        missed = total * total / length
        mean = middle + total / length
        squares -= missed
        if not missed > squares:  # also where both are NaN
            break
        middle = x.dtype.type(mean)
    return mean, (0.0 if squares < 0.0 else squares) / length


@jit
def _forward_task(stage, task, thread, x, y, mean, inv_std, table, plan):  # type: ignore[no-untyped-def]
    """table: weight (C), bias (C), eps."""
    n, c, s, groups, center, width, chunk = plan[0], plan[1], plan[2], plan[3], plan[4], plan[5], plan[6]
    channels = c // groups
    length = channels * s
    sums = np.zeros(2 * width, x.dtype)
    for row in range(task * chunk, min(n * groups, task * chunk + chunk)):
        at, first = row * length, row % groups * channels
        middle, var = _moments_cpu(x, at, length, center, width, sums)
        scale = 1.0 / math.sqrt(var + np.float64(table[2 * c]))
        mean[row], inv_std[row] = middle, scale
        # The mean in the array's type, and what that leaves over: data with a large offset keeps its digits.
        near = x.dtype.type(middle)
        rest = (np.float64(near) - middle) * scale
        if s == 1:
            factor, left = x.dtype.type(scale), x.dtype.type(rest)
            source, target = x[at:][:length], y[at:][:length]
            weight, bias = table[first:][:length], table[c + first :][:length]
            for j in range(length):
                write(target, j, ((read(source, j) - near) * factor + left) * read(weight, j) + read(bias, j))
        else:
            for k in range(channels):
                weight = np.float64(table[first + k])
                shift = table[c + first + k] + rest * weight
                at_k = at + k * s
                _scale_run(x, at_k, y, at_k, s, near, x.dtype.type(scale * weight), x.dtype.type(shift))


def _group_norm_forward_cpu(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray,
    y: np.ndarray, mean: np.ndarray, inv_std: np.ndarray, eps: float, center: int,
) -> None:  # fmt: skip
    n, c, s = x.shape
    if x.size == 0:
        mean.fill(0)
        inv_std.fill(1 / np.sqrt(eps) if eps > 0 else np.inf)
        return
    plan, tasks, _, _ = _plan(n, c, s, mean.shape[1], int(center), lanes(x.dtype))
    table = empty((2 * c + 1,), x.dtype)
    table[:c] = weight if weight.size else 1
    table[c : 2 * c] = bias if bias.size else 0
    table[2 * c] = eps
    run_stages(
        _forward_task, (tasks, 0), x.reshape(-1), y.reshape(-1), mean.reshape(-1), inv_std.reshape(-1), table, plan
    )


def _threads() -> int:
    """Threads of a block that makes one group, or one channel."""
    return min(1024, 4 * launch.THREADS)


@cache
def _forward_cuda_kernel(threads: int) -> Any:
    """The kernel for blocks of ``threads`` threads; a block makes a group."""

    @cuda.jit
    def group_norm_forward_cuda(x, weight, bias, y, mean, inv_std, eps, center, groups, length, s):  # type: ignore[no-untyped-def]
        tree = cuda.shared.array(threads, dtype=x.dtype)
        row, t = cuda.blockIdx.x, cuda.threadIdx.x
        zero, one = x.dtype.type(0), x.dtype.type(1)
        at, first = row * length, row % groups * (length // s)
        # The mean in two parts, as of data with a large offset one number holds too few digits; then the variance.
        middle, rest, spread = zero, zero, zero
        for moment in range(3):
            total, lost = zero, zero  # Kahan
            if moment == 2 or center != 0:
                for i in range(t, length, threads):
                    value = (x[at + i] - middle) - rest
                    if moment == 2:
                        value = value * value
                    value -= lost
                    new = total + value
                    lost = (new - total) - value
                    total = new
            total = _sum_of_block(total, tree, t, threads) / x.dtype.type(length)
            if moment == 0:
                middle = total
            elif moment == 1:
                rest = total
            else:
                spread = total
        inverse = one / math.sqrt(spread + eps)
        if t == 0:
            mean[row], inv_std[row] = middle + rest, inverse
        for i in range(t, length, threads):
            value = ((x[at + i] - middle) - rest) * inverse
            if weight.size > 0:
                value *= weight[first + i // s]
            y[at + i] = value + bias[first + i // s] if bias.size > 0 else value

    return group_norm_forward_cuda


def _group_norm_forward_cuda(
    x: Any, weight: Any, bias: Any, y: Any, mean: Any, inv_std: Any, eps: float, center: int
) -> None:
    if x.size:
        rows, threads = mean.shape[0] * mean.shape[1], _threads()
        _forward_cuda_kernel(threads)[rows, threads](
            x.reshape(x.size), weight, bias, y.reshape(y.size), mean.reshape(rows), inv_std.reshape(rows),
            np.dtype(x.dtype).type(eps), int(center), mean.shape[1], x.size // rows, x.shape[2],
        )  # fmt: skip


group_norm_forward = Kernel(
    "group_norm_forward",
    reference=group_norm_forward_reference,
    cpu=_group_norm_forward_cpu,
    cuda=_group_norm_forward_cuda,
)


# ------------------------------------------------------------------------------------------------------------- backward


def group_norm_backward_reference(
    dy: np.ndarray, x: np.ndarray, weight: np.ndarray, mean: np.ndarray, inv_std: np.ndarray,
    dx: np.ndarray, dweight: np.ndarray, dbias: np.ndarray, center: int,
) -> None:  # fmt: skip
    width = x.shape[1] // mean.shape[1]
    each = np.repeat(inv_std.astype(np.float64), width, axis=1)[:, :, None]  # (N, C, 1)
    hat = (x - np.repeat(mean.astype(np.float64), width, axis=1)[:, :, None]) * each
    if dweight.size:
        dweight[:] = (dy * hat).sum((0, 2))
    if dbias.size:
        dbias[:] = dy.astype(np.float64).sum((0, 2))
    scaled = dy * (weight.astype(np.float64)[:, None] if weight.size else 1.0)
    for i, g in np.ndindex(*mean.shape):
        group = i, slice(g * width, (g + 1) * width)
        if dx.size:
            plain = scaled[group].mean() if center else 0.0
            dx[group] = (scaled[group] - plain - hat[group] * (scaled[group] * hat[group]).mean()) * each[group]


@jit
def _backward_rows_cpu(task, dy, x, dx, table, partial, plan):  # type: ignore[no-untyped-def]
    """S = 1: piece ``task``, some rows, with its sums for weight and bias in ``partial``."""
    n, c, groups, center, each = plan[0], plan[1], plan[3], plan[4], plan[7]
    length, rows = c // groups, n * groups
    number = x.dtype.type
    weighted, plain = partial[task * 2 * c :][:c], partial[task * 2 * c + c :][:c]
    weighted[:] = 0
    plain[:] = 0
    for row in range(min(n, task * each) * groups, min(n, task * each + each) * groups):
        at, first = row * length, row % groups * length
        middle, inverse = table[c + row], table[c + rows + row]
        total, product = 0.0, 0.0
        for j0 in range(0, length, _RUN):
            count = min(_RUN, length - j0)
            gradient, source, weight = dy[at + j0 :][:count], x[at + j0 :][:count], table[first + j0 :][:count]
            dweight, dbias = weighted[first + j0 :][:count], plain[first + j0 :][:count]
            one, other = number(0), number(0)
            for j in range(count):
                g, hat = read(gradient, j), (read(source, j) - middle) * inverse
                scaled = g * read(weight, j)
                one += scaled
                other += scaled * hat
                write(dweight, j, reread(dweight, j) + g * hat)
                write(dbias, j, reread(dbias, j) + g)
            total += one
            product += other
        shift = number(total / length) if center != 0 else number(0)
        slope = number(product / length)
        gradient, source, target = dy[at:][:length], x[at:][:length], dx[at:][:length]
        weight = table[first:][:length]
        for j in range(length):
            hat = (read(source, j) - middle) * inverse
            write(target, j, (read(gradient, j) * read(weight, j) - shift - hat * slope) * inverse)


@jit
def _backward_groups_cpu(task, dy, x, dx, table, partial, plan):  # type: ignore[no-untyped-def]
    """S > 1: some groups; the sums of each channel of each sample go to ``partial``."""
    n, c, s, groups, center, width, chunk = plan[0], plan[1], plan[2], plan[3], plan[4], plan[5], plan[6]
    channels, rows = c // groups, n * groups
    length = channels * s
    number = x.dtype.type
    sums = np.zeros(2 * width, x.dtype)
    for row in range(task * chunk, min(rows, task * chunk + chunk)):
        first, out = row % groups * channels, row // groups * 2 * c + row % groups * channels
        middle, inverse = table[c + row], np.float64(table[c + rows + row])
        total, product = 0.0, 0.0
        for k in range(channels):
            plain, weighted = 0.0, 0.0
            for j in range(0, s, _RUN):
                at = row * length + k * s + j
                _add_products(dy, at, x, at, sums, 0, min(_RUN, s - j), middle)
                plain += _lane_sum(sums, 0)
                weighted += _lane_sum(sums, width)
                sums[:] = 0
            partial[out + k], partial[out + c + k] = weighted * inverse, plain
            total += plain * table[first + k]
            product += weighted * table[first + k]
        slope = number(product * inverse * inverse * inverse / length)
        shift = number(total * inverse / length if center != 0 else 0.0)
        for k in range(channels):
            at = row * length + k * s
            _gradient_run(dy, at, x, at, dx, at, s, middle, number(inverse * table[first + k]), slope, shift)


@jit
def _backward_task(stage, task, thread, dy, x, dx, table, partial, plan):  # type: ignore[no-untyped-def]
    """table: weight (C), mean (N G), inv_std (N G), dweight (C), dbias (C); partial: dweight, dbias of each piece."""
    n, c, s, groups = plan[0], plan[1], plan[2], plan[3]
    if stage == 0 and s == 1:
        _backward_rows_cpu(task, dy, x, dx, table, partial, plan)
    elif stage == 0:
        _backward_groups_cpu(task, dy, x, dx, table, partial, plan)
    else:
        pieces, out = partial.size // (2 * c), c + 2 * n * groups
        begin = task * _COLUMNS  # of dweight and dbias, one after the other
        count = min(_COLUMNS, 2 * c - begin)
        totals = np.zeros(count)
        for piece in range(pieces):
            part = partial[piece * 2 * c + begin :][:count]
            for j in range(count):
                totals[j] += part[j]
        for j in range(count):
            table[out + begin + j] = totals[j]


def _group_norm_backward_cpu(
    dy: np.ndarray, x: np.ndarray, weight: np.ndarray, mean: np.ndarray, inv_std: np.ndarray,
    dx: np.ndarray, dweight: np.ndarray, dbias: np.ndarray, center: int,
) -> None:  # fmt: skip
    n, c, s = x.shape
    if x.size == 0:
        dweight.fill(0)
        dbias.fill(0)
        return
    plan, _, pieces, tasks = _plan(n, c, s, mean.shape[1], int(center), lanes(x.dtype))
    rows = mean.size
    pieces = tasks if s == 1 else pieces
    table, partial = empty((3 * c + 2 * rows,), x.dtype), empty((pieces * 2 * c,), x.dtype)
    table[:c] = weight if weight.size else 1
    table[c : c + rows], table[c + rows : c + 2 * rows] = mean.reshape(-1), inv_std.reshape(-1)
    second = -(-2 * c // _COLUMNS) if dweight.size or dbias.size else 0
    run_stages(_backward_task, (tasks, second), dy.reshape(-1), x.reshape(-1), dx.reshape(-1), table, partial, plan)
    if dweight.size:
        dweight[:] = table[c + 2 * rows : 2 * c + 2 * rows]
    if dbias.size:
        dbias[:] = table[2 * c + 2 * rows :]


@cache
def _backward_cuda_kernel(threads: int) -> Any:
    """The kernel for blocks of ``threads`` threads; a block makes a group of dx."""

    @cuda.jit
    def group_norm_backward_cuda(dy, x, weight, mean, inv_std, dx, center, groups, length, s):  # type: ignore[no-untyped-def]
        tree = cuda.shared.array(threads, dtype=x.dtype)
        row, t = cuda.blockIdx.x, cuda.threadIdx.x
        zero, one = x.dtype.type(0), x.dtype.type(1)
        at, first = row * length, row % groups * (length // s)
        middle, inverse = mean[row], inv_std[row]
        plain, weighted = zero, zero
        for which in range(2):  # sum g, then sum g * h
            total, lost = zero, zero  # Kahan
            for i in range(t, length, threads):
                value = dy[at + i] * (weight[first + i // s] if weight.size > 0 else one)
                if which == 1:
                    value = value * ((x[at + i] - middle) * inverse)
                value -= lost
                new = total + value
                lost = (new - total) - value
                total = new
            total = _sum_of_block(total, tree, t, threads) / x.dtype.type(length)
            if which == 0:
                plain = total
            else:
                weighted = total
        if center == 0:
            plain = zero
        for i in range(t, length, threads):
            scaled = dy[at + i] * (weight[first + i // s] if weight.size > 0 else one)
            dx[at + i] = (scaled - plain - (x[at + i] - middle) * inverse * weighted) * inverse

    return group_norm_backward_cuda


@cache
def _sums_cuda_kernel(threads: int) -> Any:
    """The kernel for blocks of ``threads`` threads; a block makes dweight and dbias of a channel."""

    @cuda.jit
    def group_norm_sums_cuda(dy, x, mean, inv_std, dweight, dbias, channels, groups, s):  # type: ignore[no-untyped-def]
        tree = cuda.shared.array(threads, dtype=x.dtype)
        c, t = cuda.blockIdx.x, cuda.threadIdx.x
        zero = x.dtype.type(0)
        group, count = c // (channels // groups), x.size // channels
        for which in range(2):  # dbias, then dweight
            total, lost = zero, zero  # Kahan
            for i in range(t, count, threads):
                n = i // s
                at, row = (n * channels + c) * s + i % s, n * groups + group
                value = dy[at]
                if which == 1:
                    value = value * ((x[at] - mean[row]) * inv_std[row])
                value -= lost
                new = total + value
                lost = (new - total) - value
                total = new
            total = _sum_of_block(total, tree, t, threads)
            if t == 0 and which == 0 and dbias.size > 0:
                dbias[c] = total
            if t == 0 and which == 1 and dweight.size > 0:
                dweight[c] = total

    return group_norm_sums_cuda


def _group_norm_backward_cuda(
    dy: Any, x: Any, weight: Any, mean: Any, inv_std: Any, dx: Any, dweight: Any, dbias: Any, center: int
) -> None:
    n, c, s = x.shape
    groups, threads = mean.shape[1], _threads()
    rows = n * groups
    gradient, source, middle, inverse = (
        dy.reshape(dy.size),
        x.reshape(x.size),
        mean.reshape(rows),
        inv_std.reshape(rows),
    )
    if x.size:
        _backward_cuda_kernel(threads)[rows, threads](
            gradient, source, weight, middle, inverse, dx.reshape(dx.size), int(center), groups, x.size // rows, s
        )
    if dweight.size or dbias.size:
        _sums_cuda_kernel(threads)[c, threads](gradient, source, middle, inverse, dweight, dbias, c, groups, s)


group_norm_backward = Kernel(
    "group_norm_backward",
    reference=group_norm_backward_reference,
    cpu=_group_norm_backward_cpu,
    cuda=_group_norm_backward_cuda,
)

_FLAT = "float32[::1]"
CUDA_KERNELS = (
    (
        lambda: _forward_cuda_kernel(_threads()),
        f"void({', '.join([_FLAT] * 6)}, float32, int64, int64, int64, int64)",
    ),
    (lambda: _backward_cuda_kernel(_threads()), f"void({', '.join([_FLAT] * 6)}, int64, int64, int64, int64)"),
    (lambda: _sums_cuda_kernel(_threads()), f"void({', '.join([_FLAT] * 6)}, int64, int64, int64)"),
)
