"""Batch normalisation over (N, C, S) views: S = H * W for images, 1 for (N, C) inputs (the caller reshapes).

Per channel c, over the N * S elements of x[:, c, :]:

``batch_norm_train_forward(x, weight, bias, y, mean, inv_std, var, eps)``
    mean, var (biased) of the batch, inv_std = 1 / sqrt(var + eps), y = (x - mean) * inv_std * weight + bias.
``batch_norm_eval_forward(x, weight, bias, running_mean, running_var, y, eps)``
    y = (x - running_mean) / sqrt(running_var + eps) * weight + bias.
``batch_norm_train_backward(dy, x, weight, mean, inv_std, dx, dweight, dbias)``
    With h = (x - mean) * inv_std: dbias = sum dy, dweight = sum dy * h,
    dx = weight * inv_std * (dy - dbias / (N S) - h * dweight / (N S)).
``batch_norm_eval_backward(dy, x, weight, running_mean, running_var, dx, dweight, dbias, eps)``
    The same sums with the running statistics; dx = weight * inv_std * dy.
``batch_norm_update_running(running_mean, running_var, mean, var, momentum, count)``
    In place: running = (1 - momentum) * running + momentum * batch, where the batch's variance is made unbiased by
    count / (count - 1), count = N * S.

x, y, dx, dy (N, C, S); weight, bias (C,), or (0,) for none (1 and 0); the others (C,); dweight and dbias may be (0,): not
wanted. All C-contiguous, one dtype (float32 or float64). The caller allocates; outputs are overwritten. An empty channel
(N S = 0) has mean NaN and var NaN, and sums 0. NaN and infinity anywhere in a channel make that channel NaN.

Statistics: the CPU takes float64 sums in two passes over pieces of a channel, and merges the pieces in order (Chan et al.);
y uses the mean to twice the precision it is saved in, so that data with a large offset keeps its digits. CUDA takes
compensated sums in two passes. Pieces follow from the shapes alone, so the number of threads changes nothing.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache
from typing import Any

import numba
import numpy as np

from numbanet.devices import cuda, empty
from numbanet.kernels import launch
from numbanet.kernels.kernel import Kernel, jit
from numbanet.kernels.parallel import run_stages

_PIECE = 16384  # elements of a channel that are summed together: the second pass finds them in the second-level cache
_MOST = 64  # pieces of a channel at most
_COLUMNS = 64  # channels of one task where S = 1

# Rows of the table (_ROWS + 4 * pieces, C) that the tasks share.
_WEIGHT, _BIAS, _MEAN, _INV_STD, _VAR, _EPS, _ROWS = 0, 1, 2, 3, 4, 5, 6
_DWEIGHT, _DBIAS = 4, 5  # in the backward pass
_TRAIN, _EVAL = 1, 0


@lru_cache(maxsize=1024)
def _plan(n: int, c: int, s: int, train: int, threads: int) -> tuple[np.ndarray, tuple[int, int], int]:
    """(the plan that the tasks read, tasks of the two stages, rows of the table).

    A task is a whole channel, which is then read from memory once, unless the channels are too few for the threads: then
    a task is one piece of a channel, and the second stage begins when all sums are there. Both ways compute the same.
    """
    each = max(1, -(-n // max(1, min(_MOST, n * s // _PIECE))))  # samples of a piece
    pieces = max(1, -(-n // each))
    if s == 1:
        return np.array([n, c, s, n, 1, train, 0], np.int64), (-(-c // _COLUMNS), 0), _ROWS
    whole = pieces == 1 or -(-c // threads) * threads <= 1.5 * c
    plan = np.array([n, c, s, each, pieces, train, int(not whole)], np.int64)
    return plan, (c, 0) if whole else (c * pieces, c * pieces), _ROWS + 4 * pieces


@jit
def _split(table, row, c, channels, value):  # type: ignore[no-untyped-def]
    """Keep a float64 in two numbers of the table's type, rows ``row`` and ``row + 1``."""
    high = table.dtype.type(value)
    table[row * channels + c] = high
    table[(row + 1) * channels + c] = table.dtype.type(value - np.float64(high))


@jit
def _joined(table, row, c, channels):  # type: ignore[no-untyped-def]
    return np.float64(table[row * channels + c]) + np.float64(table[(row + 1) * channels + c])


# -------------------------------------------------------------------------------------------------------------- forward


def batch_norm_train_forward_reference(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray,
    y: np.ndarray, mean: np.ndarray, inv_std: np.ndarray, var: np.ndarray, eps: float,
) -> None:  # fmt: skip
    for c in range(x.shape[1]):
        values = x[:, c, :].astype(np.float64)  # (N, S)
        center = values.sum() / values.size if values.size else np.nan
        spread = np.square(values - center).sum() / values.size if values.size else np.nan
        mean[c], var[c], inv_std[c] = center, spread, 1 / np.sqrt(spread + eps)
        scale = 1 / np.sqrt(spread + eps) * (float(weight[c]) if weight.size else 1.0)
        y[:, c, :] = (values - center) * scale + (float(bias[c]) if bias.size else 0.0)


@jit
def _moments_cpu(x, c, piece, table, plan):  # type: ignore[no-untyped-def]
    """Mean and sum of squared deviations of one piece of channel c, into the table."""
    n, channels, s, each = plan[0], plan[1], plan[2], plan[3]
    first, last = min(n, piece * each), min(n, piece * each + each)
    total = 0.0
    for i in range(first, last):
        row = x[(i * channels + c) * s :][:s]
        for j in range(s):
            total += row[j]
    mean = total / max(1, (last - first) * s)
    squares = 0.0
    for i in range(first, last):
        row = x[(i * channels + c) * s :][:s]
        for j in range(s):
            squares += (row[j] - mean) * (row[j] - mean)
    _split(table, _ROWS + 4 * piece, c, channels, mean)
    _split(table, _ROWS + 4 * piece + 2, c, channels, squares)


@jit
def _merge_cpu(c, table, plan):  # type: ignore[no-untyped-def]
    """The channel's mean and variance from its pieces'."""
    n, channels, s, each, pieces = plan[0], plan[1], plan[2], plan[3], plan[4]
    mean, squares, count = 0.0, 0.0, 0
    for piece in range(pieces):
        more = (min(n, piece * each + each) - min(n, piece * each)) * s
        gap = _joined(table, _ROWS + 4 * piece, c, channels) - mean
        count += more
        share = more / max(1, count)
        mean += gap * share
        squares += _joined(table, _ROWS + 4 * piece + 2, c, channels) + gap * gap * share * (count - more)
    return mean, squares / count


@jit
def _scale_piece_cpu(x, y, c, piece, mean, scale, shift, plan):  # type: ignore[no-untyped-def]
    n, channels, s, each = plan[0], plan[1], plan[2], plan[3]
    for i in range(min(n, piece * each), min(n, piece * each + each)):
        source, target = x[(i * channels + c) * s :][:s], y[(i * channels + c) * s :][:s]
        for j in range(s):
            target[j] = (source[j] - mean) * scale + shift


@jit
def _finish_forward_cpu(x, y, c, first, last, table, plan):  # type: ignore[no-untyped-def]
    """Statistics of channel c into the table, and its pieces first .. last of y."""
    channels = plan[1]
    eps = np.float64(table[_EPS * channels])
    if plan[5] == _TRAIN:
        mean, var = _merge_cpu(c, table, plan)
        if first == 0:
            table[_MEAN * channels + c], table[_VAR * channels + c] = mean, var
            table[_INV_STD * channels + c] = 1.0 / math.sqrt(var + eps)
    else:
        mean, var = np.float64(table[_MEAN * channels + c]), np.float64(table[_VAR * channels + c])
    scale = table[_WEIGHT * channels + c] / math.sqrt(var + eps)
    # The mean in the array's type, and what that leaves over in the shift: see the module's docstring.
    center = x.dtype.type(mean)
    shift = x.dtype.type(table[_BIAS * channels + c] + (np.float64(center) - mean) * scale)
    for piece in range(first, last):
        _scale_piece_cpu(x, y, c, piece, center, x.dtype.type(scale), shift, plan)


@jit
def _forward_task(stage, task, thread, x, y, _, __, table, plan):  # type: ignore[no-untyped-def]
    pieces, parted = plan[4], plan[6]
    c, piece = (task // pieces, task % pieces) if parted else (task, 0)
    if stage == 0 and plan[5] == _TRAIN:
        for here in range(piece, piece + 1 if parted else pieces):
            _moments_cpu(x, c, here, table, plan)
    if stage == 1 or not parted:  # (evaluating, stage 0 of a parted channel has nothing to do)
        _finish_forward_cpu(x, y, c, piece, piece + 1 if parted else pieces, table, plan)


@jit
def _forward_columns_task(stage, task, thread, x, y, _, __, table, plan):  # type: ignore[no-untyped-def]
    """S = 1: x is (N, C), and vectors run across the channels."""
    n, channels = plan[0], plan[1]
    first = task * _COLUMNS
    wide = min(_COLUMNS, channels - first)
    mean, var = np.zeros(wide), np.zeros(wide)
    eps = np.float64(table[_EPS * channels])
    if plan[5] == _TRAIN:
        for i in range(n):
            row = x[i * channels + first :][:wide]
            for j in range(wide):
                mean[j] += row[j]
        for j in range(wide):
            mean[j] /= n
        for i in range(n):
            row = x[i * channels + first :][:wide]
            for j in range(wide):
                var[j] += (row[j] - mean[j]) * (row[j] - mean[j])
        for j in range(wide):
            var[j] /= n
            table[_MEAN * channels + first + j], table[_VAR * channels + first + j] = mean[j], var[j]
            table[_INV_STD * channels + first + j] = 1.0 / math.sqrt(var[j] + eps)
    else:
        for j in range(wide):
            mean[j], var[j] = table[_MEAN * channels + first + j], table[_VAR * channels + first + j]
    center, scale, shift = np.empty(wide, x.dtype), np.empty(wide, x.dtype), np.empty(wide, x.dtype)
    for j in range(wide):
        scale[j] = table[_WEIGHT * channels + first + j] / math.sqrt(var[j] + eps)
        center[j] = mean[j]
        shift[j] = table[_BIAS * channels + first + j] + (np.float64(center[j]) - mean[j]) * np.float64(scale[j])
    for i in range(n):
        source, target = x[i * channels + first :][:wide], y[i * channels + first :][:wide]
        for j in range(wide):
            target[j] = (source[j] - center[j]) * scale[j] + shift[j]


def _batch_norm_train_forward_cpu(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray,
    y: np.ndarray, mean: np.ndarray, inv_std: np.ndarray, var: np.ndarray, eps: float,
) -> None:  # fmt: skip
    n, c, s = x.shape
    if x.size == 0:
        for statistic in (mean, inv_std, var):
            statistic.fill(np.nan)
        return
    plan, tasks, rows = _plan(n, c, s, _TRAIN, numba.get_num_threads())
    table = empty((rows, c), x.dtype)
    table[_WEIGHT] = weight if weight.size else 1
    table[_BIAS] = bias if bias.size else 0
    table[_EPS] = eps
    flat, out = x.reshape(-1), y.reshape(-1)
    body = _forward_columns_task if s == 1 else _forward_task
    run_stages(body, tasks, flat, out, out, out, table.reshape(-1), plan)
    mean[:], inv_std[:], var[:] = table[_MEAN], table[_INV_STD], table[_VAR]


def _threads() -> int:
    """Threads of a block that makes one channel."""
    return min(1024, 4 * launch.THREADS)


@cache
def _train_forward_cuda_kernel(threads: int) -> Any:
    """The kernel for blocks of ``threads`` threads; a block makes a channel."""

    @cuda.jit
    def batch_norm_train_forward_cuda(x, weight, bias, y, mean, inv_std, var, eps):  # type: ignore[no-untyped-def]
        tree = cuda.shared.array(threads, dtype=x.dtype)
        c, t = cuda.blockIdx.x, cuda.threadIdx.x
        s, count = x.shape[2], x.shape[0] * x.shape[2]
        zero, one = x.dtype.type(0), x.dtype.type(1)
        # The mean in two parts, as of data with a large offset one number holds too few digits; then the variance.
        center, rest, spread = zero, zero, zero
        for moment in range(3):
            total, lost = zero, zero  # Kahan
            for i in range(t, count, threads):
                value = (x[i // s, c, i % s] - center) - rest
                if moment == 2:
                    value = value * value
                value -= lost
                new = total + value
                lost = (new - total) - value
                total = new
            tree[t] = total
            cuda.syncthreads()
            width = threads
            while width > 1:
                half = (width + 1) // 2
                if t + half < width:
                    tree[t] += tree[t + half]
                cuda.syncthreads()
                width = half
            total = tree[0] / x.dtype.type(count)
            if moment == 0:
                center = total
            elif moment == 1:
                rest = total
            else:
                spread = total
            cuda.syncthreads()
        inverse = one / math.sqrt(spread + eps)
        if t == 0:
            mean[c], inv_std[c], var[c] = center + rest, inverse, spread
        scale = inverse * weight[c] if weight.size > 0 else inverse
        shift = bias[c] if bias.size > 0 else zero
        for i in range(t, count, threads):
            y[i // s, c, i % s] = ((x[i // s, c, i % s] - center) - rest) * scale + shift

    return batch_norm_train_forward_cuda


def _batch_norm_train_forward_cuda(
    x: Any, weight: Any, bias: Any, y: Any, mean: Any, inv_std: Any, var: Any, eps: float
) -> None:
    if x.shape[1]:
        threads = _threads()
        number = np.dtype(x.dtype).type  # a Python float would bring float64 arithmetic into the kernel
        _train_forward_cuda_kernel(threads)[x.shape[1], threads](x, weight, bias, y, mean, inv_std, var, number(eps))


batch_norm_train_forward = Kernel(
    "batch_norm_train_forward",
    reference=batch_norm_train_forward_reference,
    cpu=_batch_norm_train_forward_cpu,
    cuda=_batch_norm_train_forward_cuda,
)


def batch_norm_eval_forward_reference(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray,
    running_mean: np.ndarray, running_var: np.ndarray, y: np.ndarray, eps: float,
) -> None:  # fmt: skip
    for c in range(x.shape[1]):
        scale = (float(weight[c]) if weight.size else 1.0) / np.sqrt(float(running_var[c]) + eps)
        y[:, c, :] = (x[:, c, :].astype(np.float64) - float(running_mean[c])) * scale
        y[:, c, :] += bias[c] if bias.size else 0


def _batch_norm_eval_forward_cpu(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray,
    running_mean: np.ndarray, running_var: np.ndarray, y: np.ndarray, eps: float,
) -> None:  # fmt: skip
    n, c, s = x.shape
    if x.size == 0:
        return
    plan, tasks, _ = _plan(n, c, s, _EVAL, numba.get_num_threads())
    table = empty((_ROWS, c), x.dtype)
    table[_WEIGHT] = weight if weight.size else 1
    table[_BIAS] = bias if bias.size else 0
    table[_MEAN], table[_VAR], table[_EPS] = running_mean, running_var, eps
    flat, out = x.reshape(-1), y.reshape(-1)
    body = _forward_columns_task if s == 1 else _forward_task
    run_stages(body, tasks, flat, out, out, out, table.reshape(-1), plan)


@cuda.jit
def _batch_norm_eval_forward_cuda_kernel(x, weight, bias, running_mean, running_var, y, eps, channels, s):  # type: ignore[no-untyped-def]
    i = cuda.grid(1)
    if i < x.size:
        c = i // s % channels
        value = (x[i] - running_mean[c]) / math.sqrt(running_var[c] + eps)
        if weight.size > 0:
            value *= weight[c]
        y[i] = value + bias[c] if bias.size > 0 else value


def _batch_norm_eval_forward_cuda(
    x: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, y: Any, eps: float
) -> None:
    if x.size:
        _batch_norm_eval_forward_cuda_kernel[launch.line(x.size)](
            x.reshape(x.size), weight, bias, running_mean, running_var, y.reshape(y.size),
            np.dtype(x.dtype).type(eps), *x.shape[1:],
        )  # fmt: skip


batch_norm_eval_forward = Kernel(
    "batch_norm_eval_forward",
    reference=batch_norm_eval_forward_reference,
    cpu=_batch_norm_eval_forward_cpu,
    cuda=_batch_norm_eval_forward_cuda,
)


# ------------------------------------------------------------------------------------------------------------- backward


def batch_norm_train_backward_reference(
    dy: np.ndarray, x: np.ndarray, weight: np.ndarray, mean: np.ndarray, inv_std: np.ndarray,
    dx: np.ndarray, dweight: np.ndarray, dbias: np.ndarray,
) -> None:  # fmt: skip
    for c in range(x.shape[1]):
        gradient = dy[:, c, :].astype(np.float64)  # (N, S)
        hat = (x[:, c, :].astype(np.float64) - float(mean[c])) * float(inv_std[c])
        if dweight.size:
            dweight[c] = np.sum(gradient * hat)
        if dbias.size:
            dbias[c] = np.sum(gradient)
        scale = float(inv_std[c]) * (float(weight[c]) if weight.size else 1.0)
        if gradient.size:
            dx[:, c, :] = scale * (gradient - gradient.mean() - hat * (gradient * hat).mean())


@jit
def _gradient_sums_cpu(dy, x, c, piece, table, plan):  # type: ignore[no-untyped-def]
    """Of one piece of channel c: sum dy, and sum dy * (x - mean), into the table."""
    n, channels, s, each = plan[0], plan[1], plan[2], plan[3]
    mean = np.float64(table[_MEAN * channels + c])
    plain, weighted = 0.0, 0.0
    for i in range(min(n, piece * each), min(n, piece * each + each)):
        gradient, row = dy[(i * channels + c) * s :][:s], x[(i * channels + c) * s :][:s]
        for j in range(s):
            plain += gradient[j]
            weighted += gradient[j] * (row[j] - mean)
    _split(table, _ROWS + 4 * piece, c, channels, plain)
    _split(table, _ROWS + 4 * piece + 2, c, channels, weighted)


@jit
def _gradient_piece_cpu(dy, x, dx, c, piece, mean, scale, slope, shift, plan):  # type: ignore[no-untyped-def]
    n, channels, s, each = plan[0], plan[1], plan[2], plan[3]
    for i in range(min(n, piece * each), min(n, piece * each + each)):
        at = (i * channels + c) * s
        gradient, row, out = dy[at:][:s], x[at:][:s], dx[at:][:s]
        for j in range(s):
            out[j] = gradient[j] * scale - (row[j] - mean) * slope - shift


@jit
def _backward_task(stage, task, thread, dy, x, dx, _, table, plan):  # type: ignore[no-untyped-def]
    n, channels, s, pieces, train, parted = plan[0], plan[1], plan[2], plan[4], plan[5], plan[6]
    c, piece = (task // pieces, task % pieces) if parted else (task, 0)
    last = piece + 1 if parted else pieces
    if stage == 0:
        for here in range(piece, last):
            _gradient_sums_cpu(dy, x, c, here, table, plan)
    if stage == 1 or not parted:
        plain, weighted = 0.0, 0.0
        for here in range(pieces):
            plain += _joined(table, _ROWS + 4 * here, c, channels)
            weighted += _joined(table, _ROWS + 4 * here + 2, c, channels)
        inverse = np.float64(table[_INV_STD * channels + c])
        if piece == 0:
            table[_DBIAS * channels + c], table[_DWEIGHT * channels + c] = plain, weighted * inverse
        scale = table[_WEIGHT * channels + c] * inverse
        slope, shift = 0.0, 0.0
        if train == _TRAIN:
            slope, shift = scale * inverse * inverse * weighted / (n * s), scale * plain / (n * s)
        number = dx.dtype.type
        for here in range(piece, last):
            mean = table[_MEAN * channels + c]
            _gradient_piece_cpu(dy, x, dx, c, here, mean, number(scale), number(slope), number(shift), plan)


@jit
def _backward_columns_task(stage, task, thread, dy, x, dx, _, table, plan):  # type: ignore[no-untyped-def]
    """S = 1: the arrays are (N, C), and vectors run across the channels."""
    n, channels, train = plan[0], plan[1], plan[5]
    first = task * _COLUMNS
    wide = min(_COLUMNS, channels - first)
    plain, weighted = np.zeros(wide), np.zeros(wide)
    mean = table[_MEAN * channels + first :][:wide]
    for i in range(n):
        gradient, row = dy[i * channels + first :][:wide], x[i * channels + first :][:wide]
        for j in range(wide):
            plain[j] += gradient[j]
            weighted[j] += gradient[j] * (np.float64(row[j]) - mean[j])
    scale, slope, shift = np.empty(wide, x.dtype), np.zeros(wide, x.dtype), np.zeros(wide, x.dtype)
    for j in range(wide):
        inverse = np.float64(table[_INV_STD * channels + first + j])
        table[_DBIAS * channels + first + j], table[_DWEIGHT * channels + first + j] = plain[j], weighted[j] * inverse
        factor = table[_WEIGHT * channels + first + j] * inverse
        scale[j] = factor
        if train == _TRAIN:
            slope[j], shift[j] = factor * inverse * inverse * weighted[j] / n, factor * plain[j] / n
    for i in range(n):
        at = i * channels + first
        gradient, row, out = dy[at:][:wide], x[at:][:wide], dx[at:][:wide]
        for j in range(wide):
            out[j] = gradient[j] * scale[j] - (row[j] - mean[j]) * slope[j] - shift[j]


def _backward_cpu(
    dy: np.ndarray, x: np.ndarray, weight: np.ndarray, mean: np.ndarray, inv_std: np.ndarray,
    dx: np.ndarray, dweight: np.ndarray, dbias: np.ndarray, train: int,
) -> None:  # fmt: skip
    n, c, s = x.shape
    if x.size == 0:
        dweight.fill(0)
        dbias.fill(0)
        return
    plan, tasks, _ = _plan(n, c, s, train, numba.get_num_threads())
    table = empty((_ROWS + 4 * int(plan[4]), c), x.dtype)
    table[_WEIGHT] = weight if weight.size else 1
    table[_MEAN], table[_INV_STD] = mean, inv_std
    source, flat, out = dy.reshape(-1), x.reshape(-1), dx.reshape(-1)
    body = _backward_columns_task if s == 1 else _backward_task
    run_stages(body, tasks, source, flat, out, out, table.reshape(-1), plan)
    if dweight.size:
        dweight[:] = table[_DWEIGHT]
    if dbias.size:
        dbias[:] = table[_DBIAS]


def _batch_norm_train_backward_cpu(
    dy: np.ndarray, x: np.ndarray, weight: np.ndarray, mean: np.ndarray, inv_std: np.ndarray,
    dx: np.ndarray, dweight: np.ndarray, dbias: np.ndarray,
) -> None:  # fmt: skip
    _backward_cpu(dy, x, weight, mean, inv_std, dx, dweight, dbias, _TRAIN)


@cache
def _backward_cuda_kernel(threads: int) -> Any:
    """The kernel for blocks of ``threads`` threads; a block makes a channel. ``spread``: inv_std, or the running variance."""

    @cuda.jit
    def batch_norm_backward_cuda(dy, x, weight, mean, spread, dx, dweight, dbias, eps, train):  # type: ignore[no-untyped-def]
        tree = cuda.shared.array(threads, dtype=x.dtype)
        c, t = cuda.blockIdx.x, cuda.threadIdx.x
        s, count = x.shape[2], x.shape[0] * x.shape[2]
        zero, one = x.dtype.type(0), x.dtype.type(1)
        center = mean[c]
        inverse = spread[c] if train != 0 else one / math.sqrt(spread[c] + eps)
        plain, weighted = zero, zero
        for which in range(2):  # sum dy, then sum dy * (x - mean) * inv_std
            total, lost = zero, zero  # Kahan
            for i in range(t, count, threads):
                value = dy[i // s, c, i % s]
                if which == 1:
                    value = value * ((x[i // s, c, i % s] - center) * inverse)
                value -= lost
                new = total + value
                lost = (new - total) - value
                total = new
            tree[t] = total
            cuda.syncthreads()
            width = threads
            while width > 1:
                half = (width + 1) // 2
                if t + half < width:
                    tree[t] += tree[t + half]
                cuda.syncthreads()
                width = half
            if which == 0:
                plain = tree[0]
            else:
                weighted = tree[0]
            cuda.syncthreads()
        if t == 0:
            if dweight.size > 0:
                dweight[c] = weighted
            if dbias.size > 0:
                dbias[c] = plain
        scale = inverse * weight[c] if weight.size > 0 else inverse
        slope, shift = zero, zero
        if train != 0:
            slope, shift = weighted / x.dtype.type(count), plain / x.dtype.type(count)
        for i in range(t, count, threads):
            hat = (x[i // s, c, i % s] - center) * inverse
            dx[i // s, c, i % s] = scale * (dy[i // s, c, i % s] - shift - hat * slope)

    return batch_norm_backward_cuda


def _backward_cuda(
    dy: Any, x: Any, weight: Any, mean: Any, spread: Any, dx: Any, dweight: Any, dbias: Any, eps: float, train: int
) -> None:
    if x.shape[1]:
        threads = _threads()
        number = np.dtype(x.dtype).type
        _backward_cuda_kernel(threads)[x.shape[1], threads](
            dy, x, weight, mean, spread, dx, dweight, dbias, number(eps), train
        )


def _batch_norm_train_backward_cuda(
    dy: Any, x: Any, weight: Any, mean: Any, inv_std: Any, dx: Any, dweight: Any, dbias: Any
) -> None:
    _backward_cuda(dy, x, weight, mean, inv_std, dx, dweight, dbias, 0.0, _TRAIN)


batch_norm_train_backward = Kernel(
    "batch_norm_train_backward",
    reference=batch_norm_train_backward_reference,
    cpu=_batch_norm_train_backward_cpu,
    cuda=_batch_norm_train_backward_cuda,
)


def batch_norm_eval_backward_reference(
    dy: np.ndarray, x: np.ndarray, weight: np.ndarray, running_mean: np.ndarray, running_var: np.ndarray,
    dx: np.ndarray, dweight: np.ndarray, dbias: np.ndarray, eps: float,
) -> None:  # fmt: skip
    for c in range(x.shape[1]):
        gradient = dy[:, c, :].astype(np.float64)  # (N, S)
        inverse = 1 / np.sqrt(float(running_var[c]) + eps)
        if dweight.size:
            dweight[c] = np.sum(gradient * (x[:, c, :].astype(np.float64) - float(running_mean[c])) * inverse)
        if dbias.size:
            dbias[c] = np.sum(gradient)
        dx[:, c, :] = gradient * inverse * (float(weight[c]) if weight.size else 1.0)


def _batch_norm_eval_backward_cpu(
    dy: np.ndarray, x: np.ndarray, weight: np.ndarray, running_mean: np.ndarray, running_var: np.ndarray,
    dx: np.ndarray, dweight: np.ndarray, dbias: np.ndarray, eps: float,
) -> None:  # fmt: skip
    inv_std = 1 / np.sqrt(running_var.astype(np.float64) + eps)
    _backward_cpu(dy, x, weight, running_mean, inv_std, dx, dweight, dbias, _EVAL)


def _batch_norm_eval_backward_cuda(
    dy: Any, x: Any, weight: Any, running_mean: Any, running_var: Any, dx: Any, dweight: Any, dbias: Any, eps: float
) -> None:
    _backward_cuda(dy, x, weight, running_mean, running_var, dx, dweight, dbias, eps, _EVAL)


batch_norm_eval_backward = Kernel(
    "batch_norm_eval_backward",
    reference=batch_norm_eval_backward_reference,
    cpu=_batch_norm_eval_backward_cpu,
    cuda=_batch_norm_eval_backward_cuda,
)


# --------------------------------------------------------------------------------------------------- running statistics


def batch_norm_update_running_reference(
    running_mean: np.ndarray, running_var: np.ndarray, mean: np.ndarray, var: np.ndarray, momentum: float, count: int
) -> None:
    for c in range(mean.size):
        unbiased = float(var[c]) * count / (count - 1) if count > 1 else float(var[c])
        running_mean[c] = (1 - momentum) * float(running_mean[c]) + momentum * float(mean[c])
        running_var[c] = (1 - momentum) * float(running_var[c]) + momentum * unbiased


def _batch_norm_update_running_cpu(
    running_mean: np.ndarray, running_var: np.ndarray, mean: np.ndarray, var: np.ndarray, momentum: float, count: int
) -> None:
    # A few hundred numbers: NumPy, no kernel to compile.
    running_mean *= 1 - momentum
    running_mean += momentum * mean
    running_var *= 1 - momentum
    running_var += (momentum * count / max(count - 1, 1)) * var


@cuda.jit
def _batch_norm_update_running_cuda_kernel(running_mean, running_var, mean, var, keep, momentum, unbiased):  # type: ignore[no-untyped-def]
    c = cuda.grid(1)
    if c < mean.size:
        running_mean[c] = keep * running_mean[c] + momentum * mean[c]
        running_var[c] = keep * running_var[c] + unbiased * var[c]


def _batch_norm_update_running_cuda(
    running_mean: Any, running_var: Any, mean: Any, var: Any, momentum: float, count: int
) -> None:
    if mean.size:
        number = np.dtype(mean.dtype).type
        unbiased = momentum * count / max(count - 1, 1)
        _batch_norm_update_running_cuda_kernel[launch.line(mean.size)](
            running_mean, running_var, mean, var, number(1 - momentum), number(momentum), number(unbiased)
        )


batch_norm_update_running = Kernel(
    "batch_norm_update_running",
    reference=batch_norm_update_running_reference,
    cpu=_batch_norm_update_running_cpu,
    cuda=_batch_norm_update_running_cuda,
)

_FLAT, _CUBE = "float32[::1]", "float32[:, :, ::1]"
CUDA_KERNELS = (
    (
        lambda: _train_forward_cuda_kernel(_threads()),
        f"void({_CUBE}, {_FLAT}, {_FLAT}, {_CUBE}, {_FLAT}, {_FLAT}, {_FLAT}, float32)",
    ),
    (_batch_norm_eval_forward_cuda_kernel, f"void({', '.join([_FLAT] * 6)}, float32, int64, int64)"),
    (
        lambda: _backward_cuda_kernel(_threads()),
        f"void({_CUBE}, {_CUBE}, {_FLAT}, {_FLAT}, {_FLAT}, {_CUBE}, {_FLAT}, {_FLAT}, float32, int64)",
    ),
    (_batch_norm_update_running_cuda_kernel, f"void({', '.join([_FLAT] * 4)}, float32, float32, float32)"),
)
