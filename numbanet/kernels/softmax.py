"""Softmax and log-softmax over the middle axis of a (outer, n, inner) view, and fused cross-entropy.

Contract::

    softmax_forward(x, y)               y[o, :, j] = exp(x) / sum exp(x)
    softmax_backward(dy, y, dx)         dx = y * (dy - sum dy * y)
    log_softmax_forward(x, y)           y[o, :, j] = x - log sum exp(x)
    log_softmax_backward(dy, y, dx)     dx = dy - exp(y) * sum dy

    cross_entropy_forward(logits, target, losses, lse, ignore_index)
        lse[i] = log sum exp(logits[i]), losses[i] = lse[i] - logits[i, target[i]]
    cross_entropy_backward(logits, target, lse, scale, dlogits, ignore_index)
        dlogits[i] = scale[i] * (softmax(logits[i]) - onehot(target[i]))

x, y, dy, dx are (outer, n, inner); logits and dlogits (N, C), target (N,) int64 in [0, C) or ignore_index, losses, lse
and scale (N,). One float dtype per call. The caller allocates outputs; they are overwritten and may be an input of the
same shape. Rows with target == ignore_index get loss and gradient 0. The maximum is taken out first, so large values do
not overflow; an entry -inf has probability 0; a NaN or +inf, or -inf everywhere, makes its row NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import prange

from numbanet.devices import cuda
from numbanet.kernels.index import (
    exp_,
    fence,
    key_value,
    limit_threads,
    read,
    reread,
    restore_threads,
    rising_key,
    write,
)
from numbanet.kernels.kernel import Kernel, jit

COLUMNS = 128  # columns of one task where inner > 1: two accumulators each, in the first-level cache
LANES = 32  # threads that share a row on CUDA: one warp, so a block's sums never depend on the launch


# --------------------------------------------------------------------------------------------- shared by the rows


@jit
def _highest(x, start, end):  # type: ignore[no-untyped-def]
    """The maximum of x[start:end], by integer keys (which vectorise); NaN wins."""
    best = rising_key(read(x, start))
    for i in range(start, end):
        key = rising_key(read(x, i))
        best = key if key > best else best
    return key_value(best)


@jit
def _highest_of_columns(x, start, n, stride, width, highest):  # type: ignore[no-untyped-def]
    """highest[j] = the maximum of column j; a NaN may be lost here (it comes back in the sum of exponentials)."""
    for j in range(width):
        write(highest, j, read(x, start + j))
    for i in range(1, n):
        at = start + i * stride
        for j in range(width):
            value, most = read(x, at + j), reread(highest, j)
            write(highest, j, value if value > most else most)


def _rows_and_columns(name: str, arrays: int, row: Any, columns: Any) -> Callable[..., None]:
    """The CPU twin that runs ``row`` along contiguous rows (inner = 1), else ``columns`` on blocks of columns.

    Args:
        name: the kernel's.
        arrays: 2 for ``(x, y)``, 3 for ``(dy, y, dx)``.
        row: ``row(*arrays, start, end)``.
        columns: ``columns(*arrays, start, n, stride, width)``.
    """
    if arrays == 2:

        @jit(parallel=True, name=f"_{name}_cpu")
        def run(x, y, outer, n, inner):  # type: ignore[no-untyped-def]
            threads = limit_threads(2 * outer * n * inner)
            blocks = (inner + COLUMNS - 1) // COLUMNS
            for task in prange(outer * blocks):
                o = np.int64(task) // blocks
                first = np.int64(task) % blocks * COLUMNS
                if inner == 1:
                    row(x, y, o * n, o * n + n)
                else:
                    columns(x, y, o * n * inner + first, n, inner, min(COLUMNS, inner - first))
            restore_threads(threads)

    else:

        @jit(parallel=True, name=f"_{name}_cpu")
        def run(dy, y, dx, outer, n, inner):  # type: ignore[no-untyped-def]
            threads = limit_threads(2 * outer * n * inner)
            blocks = (inner + COLUMNS - 1) // COLUMNS
            for task in prange(outer * blocks):
                o = np.int64(task) // blocks
                first = np.int64(task) % blocks * COLUMNS
                if inner == 1:
                    row(dy, y, dx, o * n, o * n + n)
                else:
                    columns(dy, y, dx, o * n * inner + first, n, inner, min(COLUMNS, inner - first))
            restore_threads(threads)

    def cpu(*given: Any) -> None:
        if given[0].size:
            run(*[array.reshape(-1) for array in given], *given[0].shape)

    return cpu


def _lines_on_cuda(kernel: Any) -> Callable[..., None]:
    """The CUDA twin that runs ``kernel(*arrays, n, inner)`` with one block of LANES threads for each (o, j)."""

    def cuda_(*arrays: Any) -> None:
        outer, n, inner = arrays[0].shape
        if outer * n * inner:
            kernel[outer * inner, LANES](*[array.reshape(-1) for array in arrays], n, inner)

    return cuda_


# ------------------------------------------------------------------------------------------------------- softmax


def softmax_forward_reference(x, y):  # type: ignore[no-untyped-def]
    with np.errstate(invalid="ignore"):
        e = np.exp(x.astype(np.float64) - x.max(axis=1, keepdims=True))
        y[...] = e / e.sum(axis=1, keepdims=True)


@jit
def _softmax_forward_row(x, y, start, end):  # type: ignore[no-untyped-def]
    highest = _highest(x, start, end)
    total = x.dtype.type(0)
    for i in range(start, end):
        e = exp_(read(x, i) - highest)
        total += e
        write(y, i, e)
    scale = x.dtype.type(1) / total
    for i in range(start, end):
        write(y, i, reread(y, i) * scale)


@jit
def _softmax_forward_columns(x, y, start, n, stride, width):  # type: ignore[no-untyped-def]
    highest, total = np.empty(width, x.dtype), np.zeros(width, x.dtype)
    _highest_of_columns(x, start, n, stride, width, highest)
    for i in range(n):
        at = start + i * stride
        for j in range(width):
            e = exp_(read(x, at + j) - reread(highest, j))
            write(total, j, reread(total, j) + e)
            write(y, at + j, e)
    for i in range(n):
        at = start + i * stride
        for j in range(width):
            write(y, at + j, reread(y, at + j) / reread(total, j))


@cuda.jit
def _softmax_forward_cuda(x, y, n, inner):  # type: ignore[no-untyped-def]
    number = x.dtype.type
    shared = cuda.shared.array(LANES, x.dtype)
    lane = cuda.threadIdx.x
    start = cuda.blockIdx.x // inner * n * inner + cuda.blockIdx.x % inner
    highest = number(-math.inf)
    for i in range(lane, n, LANES):
        highest = max(highest, x[start + i * inner])
    shared[lane] = highest
    cuda.syncthreads()
    for k in range(LANES):
        highest = max(highest, shared[k])
    cuda.syncthreads()
    total = number(0)
    for i in range(lane, n, LANES):
        total += math.exp(x[start + i * inner] - highest)
    shared[lane] = total
    cuda.syncthreads()
    total = number(0)
    for k in range(LANES):
        total += shared[k]
    for i in range(lane, n, LANES):
        y[start + i * inner] = math.exp(x[start + i * inner] - highest) / total


softmax_forward = Kernel(
    "softmax_forward",
    reference=softmax_forward_reference,
    cpu=_rows_and_columns("softmax_forward", 2, _softmax_forward_row, _softmax_forward_columns),
    cuda=_lines_on_cuda(_softmax_forward_cuda),
)


def softmax_backward_reference(dy, y, dx):  # type: ignore[no-untyped-def]
    dx[...] = y * (dy - (dy.astype(np.float64) * y).sum(axis=1, keepdims=True))


@jit
def _softmax_backward_row(dy, y, dx, start, end):  # type: ignore[no-untyped-def]
    total = y.dtype.type(0)
    for i in range(start, end):
        total += read(dy, i) * read(y, i)
    for i in range(start, end):
        write(dx, i, read(y, i) * (read(dy, i) - total))


@jit
def _softmax_backward_columns(dy, y, dx, start, n, stride, width):  # type: ignore[no-untyped-def]
    total = np.zeros(width, y.dtype)
    for i in range(n):
        at = start + i * stride
        for j in range(width):
            write(total, j, reread(total, j) + read(dy, at + j) * read(y, at + j))
    for i in range(n):
        at = start + i * stride
        for j in range(width):
            write(dx, at + j, read(y, at + j) * (read(dy, at + j) - reread(total, j)))


@cuda.jit
def _softmax_backward_cuda(dy, y, dx, n, inner):  # type: ignore[no-untyped-def]
    number = y.dtype.type
    shared = cuda.shared.array(LANES, y.dtype)
    lane = cuda.threadIdx.x
    start = cuda.blockIdx.x // inner * n * inner + cuda.blockIdx.x % inner
    total = number(0)
    for i in range(lane, n, LANES):
        total += dy[start + i * inner] * y[start + i * inner]
    shared[lane] = total
    cuda.syncthreads()
    total = number(0)
    for k in range(LANES):
        total += shared[k]
    for i in range(lane, n, LANES):
        dx[start + i * inner] = y[start + i * inner] * (dy[start + i * inner] - total)


softmax_backward = Kernel(
    "softmax_backward",
    reference=softmax_backward_reference,
    cpu=_rows_and_columns("softmax_backward", 3, _softmax_backward_row, _softmax_backward_columns),
    cuda=_lines_on_cuda(_softmax_backward_cuda),
)


# --------------------------------------------------------------------------------------------------- log-softmax


def log_softmax_forward_reference(x, y):  # type: ignore[no-untyped-def]
    with np.errstate(invalid="ignore"):
        shifted = x.astype(np.float64) - x.max(axis=1, keepdims=True)
        y[...] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


@jit
def _log_softmax_forward_row(x, y, start, end):  # type: ignore[no-untyped-def]
    highest = _highest(x, start, end)
    total = x.dtype.type(0)
    for i in range(start, end):
        shifted = read(x, i) - highest
        total += exp_(shifted)
        write(y, i, shifted)
    logarithm = math.log(total)
    for i in range(start, end):  # x - highest is kept: x - (highest + logarithm) would lose digits of large logits
        write(y, i, reread(y, i) - logarithm)


@jit
def _log_softmax_forward_columns(x, y, start, n, stride, width):  # type: ignore[no-untyped-def]
    highest, total = np.empty(width, x.dtype), np.zeros(width, x.dtype)
    _highest_of_columns(x, start, n, stride, width, highest)
    for i in range(n):
        at = start + i * stride
        for j in range(width):
            shifted = read(x, at + j) - reread(highest, j)
            write(total, j, reread(total, j) + exp_(shifted))
            write(y, at + j, shifted)
    for j in range(width):
        total[j] = math.log(total[j])
    for i in range(n):
        at = start + i * stride
        for j in range(width):
            write(y, at + j, reread(y, at + j) - reread(total, j))


@cuda.jit
def _log_softmax_forward_cuda(x, y, n, inner):  # type: ignore[no-untyped-def]
    number = x.dtype.type
    shared = cuda.shared.array(LANES, x.dtype)
    lane = cuda.threadIdx.x
    start = cuda.blockIdx.x // inner * n * inner + cuda.blockIdx.x % inner
    highest = number(-math.inf)
    for i in range(lane, n, LANES):
        highest = max(highest, x[start + i * inner])
    shared[lane] = highest
    cuda.syncthreads()
    for k in range(LANES):
        highest = max(highest, shared[k])
    cuda.syncthreads()
    total = number(0)
    for i in range(lane, n, LANES):
        total += math.exp(x[start + i * inner] - highest)
    shared[lane] = total
    cuda.syncthreads()
    total = number(0)
    for k in range(LANES):
        total += shared[k]
    logarithm = math.log(total)
    for i in range(lane, n, LANES):
        y[start + i * inner] = (x[start + i * inner] - highest) - logarithm


log_softmax_forward = Kernel(
    "log_softmax_forward",
    reference=log_softmax_forward_reference,
    cpu=_rows_and_columns("log_softmax_forward", 2, _log_softmax_forward_row, _log_softmax_forward_columns),
    cuda=_lines_on_cuda(_log_softmax_forward_cuda),
)


def log_softmax_backward_reference(dy, y, dx):  # type: ignore[no-untyped-def]
    dx[...] = dy - np.exp(y) * dy.astype(np.float64).sum(axis=1, keepdims=True)


@jit
def _log_softmax_backward_row(dy, y, dx, start, end):  # type: ignore[no-untyped-def]
    total = y.dtype.type(0)
    for i in range(start, end):
        total += read(dy, i)
    for i in range(start, end):
        write(dx, i, read(dy, i) - exp_(read(y, i)) * total)


@jit
def _log_softmax_backward_columns(dy, y, dx, start, n, stride, width):  # type: ignore[no-untyped-def]
    total = np.zeros(width, y.dtype)
    for i in range(n):
        at = start + i * stride
        for j in range(width):
            write(total, j, reread(total, j) + read(dy, at + j))
    for i in range(n):
        at = start + i * stride
        for j in range(width):
            write(dx, at + j, read(dy, at + j) - exp_(read(y, at + j)) * reread(total, j))


@cuda.jit
def _log_softmax_backward_cuda(dy, y, dx, n, inner):  # type: ignore[no-untyped-def]
    number = y.dtype.type
    shared = cuda.shared.array(LANES, y.dtype)
    lane = cuda.threadIdx.x
    start = cuda.blockIdx.x // inner * n * inner + cuda.blockIdx.x % inner
    total = number(0)
    for i in range(lane, n, LANES):
        total += dy[start + i * inner]
    shared[lane] = total
    cuda.syncthreads()
    total = number(0)
    for k in range(LANES):
        total += shared[k]
    for i in range(lane, n, LANES):
        dx[start + i * inner] = dy[start + i * inner] - math.exp(y[start + i * inner]) * total


log_softmax_backward = Kernel(
    "log_softmax_backward",
    reference=log_softmax_backward_reference,
    cpu=_rows_and_columns("log_softmax_backward", 3, _log_softmax_backward_row, _log_softmax_backward_columns),
    cuda=_lines_on_cuda(_log_softmax_backward_cuda),
)


# ------------------------------------------------------------------------------------------------- cross-entropy


def cross_entropy_forward_reference(logits, target, losses, lse, ignore_index):  # type: ignore[no-untyped-def]
    for i in range(len(target)):
        row = logits[i].astype(np.float64)
        with np.errstate(invalid="ignore"):
            lse[i] = row.max() + np.log(np.exp(row - row.max()).sum())
            shifted = row - row.max()
            losses[i] = 0 if target[i] == ignore_index else np.log(np.exp(shifted).sum()) - shifted[target[i]]


@jit(parallel=True)
def _cross_entropy_forward_rows(logits, target, losses, lse, n, ignore_index):  # type: ignore[no-untyped-def]
    threads = limit_threads(2 * logits.size)
    for row in prange(target.size):
        start = np.int64(row) * n
        highest = _highest(logits, start, start + n)
        total = logits.dtype.type(0)
        for i in range(start, start + n):
            total += exp_(read(logits, i) - highest)
        logarithm = math.log(total)
        lse[row] = highest + logarithm
        wanted = target[row]
        if wanted == ignore_index:
            losses[row] = 0
        else:
            losses[row] = logarithm - fence(logits[start + wanted] - highest)  # not lse - logit: see log_softmax
    restore_threads(threads)


def _cross_entropy_forward_cpu(logits: Any, target: Any, losses: Any, lse: Any, ignore_index: int) -> None:
    _cross_entropy_forward_rows(logits.reshape(-1), target, losses, lse, logits.shape[1], ignore_index)


@cuda.jit
def _cross_entropy_forward_cuda_rows(logits, target, losses, lse, n, ignore_index):  # type: ignore[no-untyped-def]
    number = logits.dtype.type
    shared = cuda.shared.array(LANES, logits.dtype)
    lane = cuda.threadIdx.x
    row = cuda.blockIdx.x
    start = row * n
    highest = number(-math.inf)
    for i in range(lane, n, LANES):
        highest = max(highest, logits[start + i])
    shared[lane] = highest
    cuda.syncthreads()
    for k in range(LANES):
        highest = max(highest, shared[k])
    cuda.syncthreads()
    total = number(0)
    for i in range(lane, n, LANES):
        total += math.exp(logits[start + i] - highest)
    shared[lane] = total
    cuda.syncthreads()
    if lane == 0:
        total = number(0)
        for k in range(LANES):
            total += shared[k]
        logarithm = math.log(total)
        lse[row] = highest + logarithm
        wanted = target[row]
        if wanted == ignore_index:
            losses[row] = number(0)
        else:
            losses[row] = logarithm - (logits[start + wanted] - highest)


def _cross_entropy_forward_cuda(logits: Any, target: Any, losses: Any, lse: Any, ignore_index: int) -> None:
    rows, n = logits.shape
    if rows:
        _cross_entropy_forward_cuda_rows[rows, LANES](logits.reshape(-1), target, losses, lse, n, ignore_index)


cross_entropy_forward = Kernel(
    "cross_entropy_forward",
    reference=cross_entropy_forward_reference,
    cpu=_cross_entropy_forward_cpu,
    cuda=_cross_entropy_forward_cuda,
)


def cross_entropy_backward_reference(logits, target, lse, scale, dlogits, ignore_index):  # type: ignore[no-untyped-def]
    for i in range(len(target)):
        row = logits[i].astype(np.float64)
        with np.errstate(invalid="ignore"):
            softmax = np.exp(row - row.max())
            softmax /= softmax.sum()
        softmax[target[i] if target[i] != ignore_index else 0] -= 1
        dlogits[i] = 0 if target[i] == ignore_index else scale[i] * softmax


@jit(parallel=True)
def _cross_entropy_backward_rows(logits, target, lse, scale, dlogits, n, ignore_index):  # type: ignore[no-untyped-def]
    threads = limit_threads(2 * logits.size)
    for row in prange(target.size):
        start = np.int64(row) * n
        wanted = target[row]
        if wanted == ignore_index:
            for i in range(start, start + n):
                write(dlogits, i, dlogits.dtype.type(0))
        else:
            total = logits.dtype.type(0)
            shift = lse[row]
            for i in range(start, start + n):
                e = exp_(read(logits, i) - shift)
                total += e
                write(dlogits, i, e)
            factor = scale[row] / total  # total is 1, but for the rounding of lse, which large logits would feel
            for i in range(start, start + n):
                write(dlogits, i, reread(dlogits, i) * factor)
            dlogits[start + wanted] -= scale[row]
    restore_threads(threads)


def _cross_entropy_backward_cpu(
    logits: Any, target: Any, lse: Any, scale: Any, dlogits: Any, ignore_index: int
) -> None:
    n = logits.shape[1]
    _cross_entropy_backward_rows(logits.reshape(-1), target, lse, scale, dlogits.reshape(-1), n, ignore_index)


@cuda.jit
def _cross_entropy_backward_cuda_rows(logits, target, lse, scale, dlogits, n, ignore_index):  # type: ignore[no-untyped-def]
    number = logits.dtype.type
    shared = cuda.shared.array(LANES, logits.dtype)
    lane = cuda.threadIdx.x
    row = cuda.blockIdx.x
    start = row * n
    total = number(0)
    for i in range(lane, n, LANES):
        total += math.exp(logits[start + i] - lse[row])
    shared[lane] = total
    cuda.syncthreads()
    total = number(0)
    for k in range(LANES):
        total += shared[k]
    wanted = target[row]
    for i in range(lane, n, LANES):
        if wanted == ignore_index:
            dlogits[start + i] = number(0)
        else:
            softmax = math.exp(logits[start + i] - lse[row]) / total
            dlogits[start + i] = scale[row] * (softmax - number(i == wanted))


def _cross_entropy_backward_cuda(
    logits: Any, target: Any, lse: Any, scale: Any, dlogits: Any, ignore_index: int
) -> None:
    rows, n = logits.shape
    if rows:
        _cross_entropy_backward_cuda_rows[rows, LANES](
            logits.reshape(-1), target, lse, scale, dlogits.reshape(-1), n, ignore_index
        )


cross_entropy_backward = Kernel(
    "cross_entropy_backward",
    reference=cross_entropy_backward_reference,
    cpu=_cross_entropy_backward_cpu,
    cuda=_cross_entropy_backward_cuda,
)

_FLOATS = "float32[::1]"
CUDA_KERNELS = (
    (_softmax_forward_cuda, f"void({_FLOATS}, {_FLOATS}, int64, int64)"),
    (_softmax_backward_cuda, f"void({_FLOATS}, {_FLOATS}, {_FLOATS}, int64, int64)"),
    (_log_softmax_forward_cuda, f"void({_FLOATS}, {_FLOATS}, int64, int64)"),
    (_log_softmax_backward_cuda, f"void({_FLOATS}, {_FLOATS}, {_FLOATS}, int64, int64)"),
    (_cross_entropy_forward_cuda_rows, f"void({_FLOATS}, int64[::1], {_FLOATS}, {_FLOATS}, int64, int64)"),
    (_cross_entropy_backward_cuda_rows, f"void({_FLOATS}, int64[::1], {_FLOATS}, {_FLOATS}, {_FLOATS}, int64, int64)"),
)
