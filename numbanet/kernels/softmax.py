"""Softmax and log-softmax over the middle axis of a (outer, n, inner) view, and fused cross-entropy.

Contract::

    softmax_forward(x, y)               y[o, :, j] = exp(x) / sum exp(x)
    softmax_backward(dy, y, dx)         dx = y * (dy - sum dy * y)
    log_softmax_forward(x, y)           y[o, :, j] = x - log sum exp(x)
    log_softmax_backward(dy, y, dx)     dx = dy - exp(y) * sum dy

    cross_entropy_forward(logits, target, weight, losses, lse, sums, ignore_index, smoothing)
        lse[o, j] = log sum exp(logits[o, :, j]), losses[o, j] = sum over c of q[c] * (lse[o, j] - logits[o, c, j]);
        sums = (the sum of the losses, of weight[t], how many targets are out of range)
    cross_entropy_backward(logits, target, weight, lse, scale, dlogits, ignore_index, smoothing)
        dlogits[o, :, j] = scale[o, j] * (sum of q * softmax(logits[o, :, j]) - q)
        with q[c] = (1 - smoothing) * weight[t] * (c == t) + smoothing / n * weight[c], t = target[o, j]

x, y, dy, dx, logits and dlogits are (outer, n, inner), n the classes; weight (n,), target (outer, inner) int64, losses and
lse (outer, inner), losses (0, 0) where nobody wants them, scale (outer, inner), or (1, 1) where one number serves all,
sums (3,). One float dtype per call. The caller allocates outputs; they are overwritten and may be an input of the same
shape. A target that is ignore_index or out of [0, n) counts for nothing: loss and gradient are 0 (the gradient NaN for a
row whose lse is not finite). Sums run in float64 on the CPU, on CUDA as ``reduction.sum_`` does. The maximum is taken out first, so large values do not overflow; an entry -inf
has probability 0; a NaN or +inf, or -inf everywhere, makes its row NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import prange

from numbanet.devices import cuda, device_of, empty
from numbanet.kernels import reduction
from numbanet.kernels.index import (
    exp_,
    fence,
    key_value,
    limit_threads,
    log_,
    read,
    reread,
    restore_threads,
    rising_key,
    scalar,
    write,
)
from numbanet.kernels.kernel import Kernel, jit

COLUMNS = 128  # rows of one task that stand side by side, as vector lanes: see _take
SHORT = 48  # the longest rows that are turned into columns: 256 rows of 10 take a third of the time, rows of 64 more
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


# Where inner > 1, rows stand in columns, and where they are so short that no vector fits into them they are put there:
# a block of COLUMNS rows is copied to a scratch (n, width), worked on with a row in each lane, and copied out. The
# scratch also spares columns that lie a power of two apart (21 classes of 64 x 64 pixels) their fight for a cache line.


@jit
def _take(x, start, n, inner, width, block):  # type: ignore[no-untyped-def]
    """Copy ``width`` rows, which begin at ``start``, to the columns of ``block``."""
    if inner == 1:
        for j in range(width):
            for i in range(n):
                write(block, i * width + j, read(x, start + j * n + i))
    else:
        for i in range(n):
            for j in range(width):
                write(block, i * width + j, read(x, start + i * inner + j))


@jit
def _give(block, y, start, n, inner, width):  # type: ignore[no-untyped-def]
    """Copy the columns of ``block`` to rows, as ``_take`` took them."""
    if inner == 1:
        for j in range(width):
            for i in range(n):
                write(y, start + j * n + i, reread(block, i * width + j))
    else:
        for i in range(n):
            for j in range(width):
                write(y, start + i * inner + j, reread(block, i * width + j))


@scalar
def _count_tasks(outer, n, inner):  # type: ignore[no-untyped-def]
    """How many pieces of work ``_piece`` numbers."""
    if inner > 1:
        return outer * ((inner + COLUMNS - 1) // COLUMNS)
    return (outer + COLUMNS - 1) // COLUMNS if n <= SHORT else outer


@scalar
def _piece(task, outer, n, inner):  # type: ignore[no-untyped-def]
    """(the first of a task's rows in (outer, inner), where it begins, how many there are; 0: one, as it stands)."""
    if inner > 1:
        blocks = (inner + COLUMNS - 1) // COLUMNS
        o, first = task // blocks, task % blocks * COLUMNS
        return o * inner + first, o * n * inner + first, min(COLUMNS, inner - first)
    if n <= SHORT:
        first = task * COLUMNS
        return first, first * n, min(COLUMNS, outer - first)
    return task, task * n, 0


@jit
def _highest_of_columns(block, n, width, highest):  # type: ignore[no-untyped-def]
    """highest[j] = the maximum of column j; a NaN may be lost here (it comes back in the sum of exponentials).

    ``highest`` holds 2 * width: rows go from one half to the other. In place, LLVM writes only what grows, by masked
    stores, of which Zen does one in twelve cycles: 256 rows of 10 took a third longer.
    """
    for j in range(width):
        write(highest, (n - 1) % 2 * width + j, reread(block, j))
    for i in range(1, n):
        source, target = (n - i) % 2 * width, (n - i + 1) % 2 * width
        for j in range(width):
            value, most = reread(block, i * width + j), reread(highest, source + j)
            write(highest, target + j, value if value > most else most)


def _rows_and_columns(name: str, arrays: int, row: Any, columns: Any) -> Callable[..., None]:
    """The CPU twin that runs ``row`` on long contiguous rows, else ``columns`` on blocks of columns.

    Args:
        name: the kernel's.
        arrays: 2 for ``(x, y)``, 3 for ``(dy, y, dx)``.
        row: ``row(*arrays, start, end)``.
        columns: ``columns(block, n, width)`` or ``columns(block_of_dy, block_of_y, n, width)``, which puts its results
            into the first block.
    """
    if arrays == 2:

        @jit(parallel=True, name=f"_{name}_cpu")
        def run(x_, y_):  # type: ignore[no-untyped-def]
            threads = limit_threads(2 * x_.size)
            outer, n, inner = x_.shape
            x, y = x_.reshape(-1), y_.reshape(-1)
            for task in prange(_count_tasks(outer, n, inner)):
                _, start, width = _piece(np.int64(task), outer, n, inner)
                if width == 0:
                    row(x, y, start, start + n)
                else:
                    block = np.empty(n * width, x.dtype)
                    _take(x, start, n, inner, width, block)
                    columns(block, n, width)
                    _give(block, y, start, n, inner, width)
            restore_threads(threads)

    else:

        @jit(parallel=True, name=f"_{name}_cpu")
        def run(dy_, y_, dx_):  # type: ignore[no-untyped-def]
            threads = limit_threads(2 * y_.size)
            outer, n, inner = y_.shape
            dy, y, dx = dy_.reshape(-1), y_.reshape(-1), dx_.reshape(-1)
            for task in prange(_count_tasks(outer, n, inner)):
                _, start, width = _piece(np.int64(task), outer, n, inner)
                if width == 0:
                    row(dy, y, dx, start, start + n)
                else:
                    block, other = np.empty(n * width, y.dtype), np.empty(n * width, y.dtype)
                    _take(dy, start, n, inner, width, block)
                    _take(y, start, n, inner, width, other)
                    columns(block, other, n, width)
                    _give(block, dx, start, n, inner, width)
            restore_threads(threads)

    def cpu(*given: Any) -> None:
        if given[0].size:
            run(*given)

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
def _softmax_forward_columns(block, n, width):  # type: ignore[no-untyped-def]
    highest, total = np.empty(2 * width, block.dtype), np.zeros(width, block.dtype)
    _highest_of_columns(block, n, width, highest)
    for i in range(n):
        at = i * width
        for j in range(width):
            e = exp_(reread(block, at + j) - reread(highest, j))
            write(total, j, reread(total, j) + e)
            write(block, at + j, e)
    for i in range(n):
        at = i * width
        for j in range(width):
            write(block, at + j, reread(block, at + j) / reread(total, j))


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
def _softmax_backward_columns(dy, y, n, width):  # type: ignore[no-untyped-def]
    total = np.zeros(width, y.dtype)
    for i in range(n):
        at = i * width
        for j in range(width):
            write(total, j, reread(total, j) + reread(dy, at + j) * reread(y, at + j))
    for i in range(n):
        at = i * width
        for j in range(width):
            write(dy, at + j, reread(y, at + j) * (reread(dy, at + j) - reread(total, j)))


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
def _log_softmax_forward_columns(block, n, width):  # type: ignore[no-untyped-def]
    highest, total = np.empty(2 * width, block.dtype), np.zeros(width, block.dtype)
    _highest_of_columns(block, n, width, highest)
    for i in range(n):
        at = i * width
        for j in range(width):
            shifted = reread(block, at + j) - reread(highest, j)
            write(total, j, reread(total, j) + exp_(shifted))
            write(block, at + j, shifted)
    for j in range(width):
        write(total, j, log_(reread(total, j)))
    for i in range(n):
        at = i * width
        for j in range(width):
            write(block, at + j, reread(block, at + j) - reread(total, j))


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
def _log_softmax_backward_columns(dy, y, n, width):  # type: ignore[no-untyped-def]
    total = np.zeros(width, y.dtype)
    for i in range(n):
        at = i * width
        for j in range(width):
            write(total, j, reread(total, j) + reread(dy, at + j))
    for i in range(n):
        at = i * width
        for j in range(width):
            write(dy, at + j, reread(dy, at + j) - exp_(reread(y, at + j)) * reread(total, j))


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


@scalar
def counts(t, n, ignore_index):  # type: ignore[no-untyped-def]
    """Whether a target is a class that is not ignored."""
    return (t >= 0) & (t < n) & (t != ignore_index)


def cross_entropy_forward_reference(logits, target, weight, losses, lse, sums, ignore_index, smoothing):  # type: ignore[no-untyped-def]
    every, n = np.zeros(target.shape), logits.shape[1]
    for o, j in np.ndindex(target.shape):
        row, t = logits[o, :, j].astype(np.float64), target[o, j]
        q = smoothing / n * weight.astype(np.float64)
        with np.errstate(invalid="ignore"):
            shifted = row - row.max()
            logarithm = np.log(np.exp(shifted).sum())
            lse[o, j] = row.max() + logarithm
            if 0 <= t < n and t != ignore_index:
                q[t] += (1 - smoothing) * weight[t]
                every[o, j] = sum(q[c] * (logarithm - shifted[c]) for c in range(n) if smoothing or c == t)
    inside = (target >= 0) & (target < n)
    sums[0] = every.sum()
    sums[1] = weight.astype(np.float64)[target[inside & (target != ignore_index)]].sum()
    sums[2] = (~inside & (target != ignore_index)).sum()
    if losses.size:
        losses[...] = every


@jit
def _cross_entropy_forward_row(logits, start, n, wanted, weight, counted, smoothing):  # type: ignore[no-untyped-def]
    """(loss, lse) of one contiguous row."""
    number = logits.dtype.type
    highest = _highest(logits, start, start + n)
    total = number(0)
    for i in range(start, start + n):
        total += exp_(read(logits, i) - highest)
    logarithm = math.log(total)
    if not counted:
        return number(0), highest + logarithm
    # not lse - logit: see log_softmax
    loss = weight[wanted] * (logarithm - fence(logits[start + wanted] - highest))
    if smoothing > 0:
        everywhere = number(0)
        for i in range(n):
            everywhere += read(weight, i) * (logarithm - (read(logits, start + i) - highest))
        loss = (number(1) - smoothing) * loss + smoothing / number(n) * everywhere
    return loss, highest + logarithm


@jit
def _cross_entropy_forward_columns(block, n, width, target, weight, losses, lse, place, ignore_index, smoothing, partial):  # type: ignore[no-untyped-def]  # fmt: skip
    """Rows in the columns of ``block``; ``place`` is the first one's in target, losses and lse."""
    number = block.dtype.type
    highest, logarithm = np.empty(2 * width, block.dtype), np.zeros(width, block.dtype)
    everywhere = np.zeros(width, block.dtype)
    _highest_of_columns(block, n, width, highest)
    for i in range(n):
        at = i * width
        for j in range(width):
            write(logarithm, j, reread(logarithm, j) + exp_(reread(block, at + j) - reread(highest, j)))
    for j in range(width):
        write(logarithm, j, log_(reread(logarithm, j)))
    if smoothing > 0:
        for i in range(n):
            at = i * width
            w = weight[i]
            for j in range(width):
                value = reread(logarithm, j) - (reread(block, at + j) - reread(highest, j))
                write(everywhere, j, reread(everywhere, j) + w * value)
    total, mass, missed = 0.0, 0.0, 0
    for j in range(width):
        wanted = read(target, place + j)
        most, its_logarithm = reread(highest, j), reread(logarithm, j)
        write(lse, place + j, most + its_logarithm)
        loss = number(0)
        if counts(wanted, n, ignore_index):
            w = read(weight, wanted)
            loss = w * (its_logarithm - fence(reread(block, wanted * width + j) - most))
            if smoothing > 0:
                loss = (number(1) - smoothing) * loss + smoothing / number(n) * reread(everywhere, j)
            total += np.float64(loss)
            mass += np.float64(w)
        elif wanted != ignore_index:
            missed += 1
        if losses.size > 0:
            write(losses, place + j, loss)
    partial[0], partial[1], partial[2] = total, mass, missed


@jit(parallel=True)
def _cross_entropy_forward_cpu(logits_, target_, weight, losses_, lse_, sums, ignore_index, smoothing):  # type: ignore[no-untyped-def]
    threads = limit_threads(2 * logits_.size)
    outer, n, inner = logits_.shape
    logits, target, losses, lse = logits_.reshape(-1), target_.reshape(-1), losses_.reshape(-1), lse_.reshape(-1)
    share = logits.dtype.type(smoothing)
    tasks = _count_tasks(outer, n, inner)
    partial = np.empty((tasks, 3))
    for task in prange(tasks):
        place, start, width = _piece(np.int64(task), outer, n, inner)
        if width == 0:
            wanted = target[place]
            counted = counts(wanted, n, ignore_index)
            loss, total = _cross_entropy_forward_row(logits, start, n, wanted, weight, counted, share)
            if losses.size > 0:
                losses[place] = loss
            lse[place] = total
            partial[task, 0], partial[task, 1], partial[task, 2] = loss, 0.0, wanted != ignore_index and not counted
            if counted:
                partial[task, 1] = weight[wanted]
        else:
            block = np.empty(n * width, logits.dtype)
            _take(logits, start, n, inner, width, block)
            _cross_entropy_forward_columns(
                block, n, width, target, weight, losses, lse, place, ignore_index, share, partial[task]
            )
    restore_threads(threads)
    total, mass, missed = 0.0, 0.0, 0.0
    for task in range(tasks):
        total += partial[task, 0]
        mass += partial[task, 1]
        missed += partial[task, 2]
    sums[0], sums[1], sums[2] = total, mass, missed


@cuda.jit
def _cross_entropy_forward_cuda_lines(logits, target, weight, losses, lse, each, n, inner, ignore_index, smoothing):  # type: ignore[no-untyped-def]  # fmt: skip
    number = logits.dtype.type
    shared = cuda.shared.array(LANES, logits.dtype)
    lane = cuda.threadIdx.x
    row = cuda.blockIdx.x
    start = row // inner * n * inner + row % inner
    highest = number(-math.inf)
    for i in range(lane, n, LANES):
        highest = max(highest, logits[start + i * inner])
    shared[lane] = highest
    cuda.syncthreads()
    for k in range(LANES):
        highest = max(highest, shared[k])
    cuda.syncthreads()
    total = number(0)
    for i in range(lane, n, LANES):
        total += math.exp(logits[start + i * inner] - highest)
    shared[lane] = total
    cuda.syncthreads()
    total = number(0)
    for k in range(LANES):
        total += shared[k]
    cuda.syncthreads()
    logarithm = math.log(total)
    everywhere = number(0)
    if smoothing > number(0):
        for i in range(lane, n, LANES):
            everywhere += weight[i] * (logarithm - (logits[start + i * inner] - highest))
    shared[lane] = everywhere
    cuda.syncthreads()
    if lane == 0:
        everywhere = number(0)
        for k in range(LANES):
            everywhere += shared[k]
        lse[row] = highest + logarithm
        wanted = target[row]
        loss, mass = number(0), number(0)
        counted = counts(wanted, n, ignore_index)
        if counted:
            mass = weight[wanted]
            loss = mass * (logarithm - (logits[start + wanted * inner] - highest))
            if smoothing > number(0):
                loss = (number(1) - smoothing) * loss + smoothing / number(n) * everywhere
        if losses.size > 0:
            losses[row] = loss
        each[row] = loss
        each[target.size + row] = mass
        each[2 * target.size + row] = number(wanted != ignore_index and not counted)


def _cross_entropy_forward_cuda(
    logits: Any, target: Any, weight: Any, losses: Any, lse: Any, sums: Any, ignore_index: int, smoothing: float
) -> None:
    outer, n, inner = logits.shape
    rows = outer * inner
    each = empty((3, rows, 1), logits.dtype, device_of(logits))
    if rows:
        flat = [array.reshape(array.size) for array in (logits, target, weight, losses, lse, each)]
        _cross_entropy_forward_cuda_lines[rows, LANES](*flat, n, inner, ignore_index, logits.dtype.type(smoothing))
    reduction.sum_(each, sums.reshape(3, 1))


cross_entropy_forward = Kernel(
    "cross_entropy_forward",
    reference=cross_entropy_forward_reference,
    cpu=_cross_entropy_forward_cpu,
    cuda=_cross_entropy_forward_cuda,
)


def cross_entropy_backward_reference(logits, target, weight, lse, scale, dlogits, ignore_index, smoothing):  # type: ignore[no-untyped-def]
    scale = np.broadcast_to(scale, target.shape)
    for o, j in np.ndindex(target.shape):
        row, t = logits[o, :, j].astype(np.float64), target[o, j]
        if not 0 <= t < len(row) or t == ignore_index:
            dlogits[o, :, j] = lse[o, j] * 0
            continue
        with np.errstate(invalid="ignore"):
            softmax = np.exp(row - row.max())
            softmax /= softmax.sum()
        q = smoothing / len(row) * weight.astype(np.float64)
        q[t] += (1 - smoothing) * weight[t]
        dlogits[o, :, j] = scale[o, j] * (q.sum() * softmax - q)


@jit
def _cross_entropy_backward_row(logits, start, n, wanted, weight, lse, scale, dlogits, counted, smoothing, mass):  # type: ignore[no-untyped-def]  # fmt: skip
    """One contiguous row; ``mass`` is what smoothing adds to the sum of q, and ``lse`` and ``scale`` are the row's."""
    number = logits.dtype.type
    if not counted:
        for i in range(start, start + n):
            write(dlogits, i, lse * number(0))
        return
    total = number(0)
    for i in range(start, start + n):
        e = exp_(read(logits, i) - lse)
        total += e
        write(dlogits, i, e)
    sharp = (number(1) - smoothing) * weight[wanted]
    factor = scale * (sharp + mass) / total  # total is 1, but for the rounding of lse, which large logits would feel
    if smoothing > 0:
        everywhere = scale * smoothing / number(n)
        for i in range(n):
            write(dlogits, start + i, reread(dlogits, start + i) * factor - everywhere * read(weight, i))
    else:
        for i in range(start, start + n):
            write(dlogits, i, reread(dlogits, i) * factor)
    dlogits[start + wanted] -= scale * sharp


@jit
def _cross_entropy_backward_columns(block, n, width, target, weight, lse, scale, step, place, ignore_index, smoothing, mass):  # type: ignore[no-untyped-def]  # fmt: skip
    """Logits in the columns of ``block`` give way to their gradients; ``step`` is 0 where one scale serves all."""
    number = block.dtype.type
    total, factor = np.zeros(width, block.dtype), np.zeros(width, block.dtype)
    everywhere = np.zeros(width, block.dtype)
    for i in range(n):
        at = i * width
        for j in range(width):
            e = exp_(reread(block, at + j) - read(lse, place + j))
            write(total, j, reread(total, j) + e)
            write(block, at + j, e)
    for j in range(width):
        wanted = read(target, place + j)
        if counts(wanted, n, ignore_index):
            sharp = (number(1) - smoothing) * read(weight, wanted)
            write(factor, j, read(scale, (place + j) * step) * (sharp + mass) / reread(total, j))
            write(everywhere, j, read(scale, (place + j) * step) * smoothing / number(n))
    if smoothing > 0:
        for i in range(n):
            at = i * width
            w = weight[i]
            for j in range(width):
                e = reread(block, at + j) * reread(factor, j)
                write(block, at + j, e - w * reread(everywhere, j))
    else:
        for i in range(n):
            at = i * width
            for j in range(width):
                write(block, at + j, reread(block, at + j) * reread(factor, j))
    for j in range(width):
        wanted = read(target, place + j)
        if counts(wanted, n, ignore_index):
            sharp = (number(1) - smoothing) * read(weight, wanted)
            at = wanted * width + j
            write(block, at, reread(block, at) - read(scale, (place + j) * step) * sharp)
        else:
            for i in range(n):
                write(block, i * width + j, read(lse, place + j) * number(0))


@jit(parallel=True)
def _cross_entropy_backward_cpu(logits_, target_, weight, lse_, scale_, dlogits_, ignore_index, smoothing):  # type: ignore[no-untyped-def]
    threads = limit_threads(2 * logits_.size)
    outer, n, inner = logits_.shape
    logits, target, lse, scale, dlogits = (
        logits_.reshape(-1), target_.reshape(-1), lse_.reshape(-1), scale_.reshape(-1), dlogits_.reshape(-1),
    )  # fmt: skip
    number = logits.dtype.type
    mass = 0.0  # what smoothing adds to the sum of q
    if smoothing > 0:
        for c in range(n):
            mass += np.float64(weight[c])
    share, more = number(smoothing), number(mass * smoothing / max(n, 1))
    step = 1 if scale.size > 1 else 0
    for task in prange(_count_tasks(outer, n, inner)):
        place, start, width = _piece(np.int64(task), outer, n, inner)
        if width == 0:
            wanted, its_scale = target[place], scale[place * step]
            counted = counts(wanted, n, ignore_index)
            _cross_entropy_backward_row(
                logits, start, n, wanted, weight, lse[place], its_scale, dlogits, counted, share, more
            )
        else:
            block = np.empty(n * width, logits.dtype)
            _take(logits, start, n, inner, width, block)
            _cross_entropy_backward_columns(
                block, n, width, target, weight, lse, scale, step, place, ignore_index, share, more
            )
            _give(block, dlogits, start, n, inner, width)
    restore_threads(threads)


@cuda.jit
def _cross_entropy_backward_cuda_lines(logits, target, weight, lse, scale, dlogits, n, inner, ignore_index, smoothing):  # type: ignore[no-untyped-def]  # fmt: skip
    number = logits.dtype.type
    factor = scale[cuda.blockIdx.x if scale.size > 1 else 0]
    shared = cuda.shared.array(LANES, logits.dtype)
    masses = cuda.shared.array(LANES, logits.dtype)
    lane = cuda.threadIdx.x
    row = cuda.blockIdx.x
    start = row // inner * n * inner + row % inner
    total = number(0)
    mass = number(0)
    for i in range(lane, n, LANES):
        total += math.exp(logits[start + i * inner] - lse[row])
        mass += weight[i]
    shared[lane] = total
    masses[lane] = mass
    cuda.syncthreads()
    total = number(0)
    mass = number(0)
    for k in range(LANES):
        total += shared[k]
        mass += masses[k]
    share = smoothing / number(n)
    wanted = target[row]
    if not counts(wanted, n, ignore_index):
        for i in range(lane, n, LANES):
            dlogits[start + i * inner] = lse[row] * number(0)
    else:
        sharp = (number(1) - smoothing) * weight[wanted]
        for i in range(lane, n, LANES):
            softmax = math.exp(logits[start + i * inner] - lse[row]) / total
            q = share * weight[i] + sharp * number(i == wanted)
            dlogits[start + i * inner] = factor * ((sharp + share * mass) * softmax - q)


def _cross_entropy_backward_cuda(
    logits: Any, target: Any, weight: Any, lse: Any, scale: Any, dlogits: Any, ignore_index: int, smoothing: float
) -> None:
    outer, n, inner = logits.shape
    if outer * inner:
        flat = [array.reshape(-1) for array in (logits, target, weight, lse, scale, dlogits)]
        _cross_entropy_backward_cuda_lines[outer * inner, LANES](
            *flat, n, inner, ignore_index, logits.dtype.type(smoothing)
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
    (
        _cross_entropy_forward_cuda_lines,
        f"void({_FLOATS}, int64[::1], {_FLOATS}, {_FLOATS}, {_FLOATS}, {_FLOATS}, int64, int64, int64, float32)",
    ),
    (
        _cross_entropy_backward_cuda_lines,
        f"void({_FLOATS}, int64[::1], {_FLOATS}, {_FLOATS}, {_FLOATS}, {_FLOATS}, int64, int64, int64, float32)",
    ),
)
