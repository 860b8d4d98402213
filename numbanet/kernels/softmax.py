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
from functools import lru_cache
from typing import Any

import numpy as np

from numbanet.devices import cuda, device_of, empty
from numbanet.kernels import reduction
from numbanet.kernels.index import (
    address,
    exp_,
    fence,
    key_value,
    log_,
    read,
    read_at,
    reread,
    rising_key,
    scalar,
    write,
    write_at,
)
from numbanet.kernels.kernel import Kernel, jit
from numbanet.kernels.parallel import run_stages

COLUMNS = 128  # rows of one task that stand side by side, as vector lanes: see _take
SHORT = 48  # the longest rows that are turned into columns: 256 rows of 10 take a third of the time, rows of 64 more
TASK = 1 << 14  # elements of one task: fewer are not worth a thread that must wake
LANES = 32  # threads that share a row on CUDA: one warp, so a block's sums never depend on the launch


NOTHING = {np.dtype(kind): np.empty(0, kind) for kind in (np.float32, np.float64)}


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


@lru_cache(maxsize=1024)
def _cut(outer: int, n: int, inner: int) -> tuple[int, tuple[int, int, int, int, int], np.ndarray]:
    """(how many tasks, (outer, n, inner, how many pieces ``_piece`` numbers, how many of them a task takes), the same as an array)."""
    if inner > 1:
        pieces, size = outer * -(-inner // COLUMNS), n * min(inner, COLUMNS)
    elif n <= SHORT:
        pieces, size = -(-outer // COLUMNS), n * min(outer, COLUMNS)
    else:
        pieces, size = outer, n
    each = max(1, TASK // max(size, 1))
    numbers = outer, n, inner, pieces, each
    return -(-pieces // each), numbers, np.array(numbers, np.int64)


@scalar
def _piece(piece, outer, n, inner):  # type: ignore[no-untyped-def]
    """(the first of a piece's rows in (outer, inner), where it begins, how many there are; 0: one, as it stands)."""
    if inner > 1:
        blocks = (inner + COLUMNS - 1) // COLUMNS
        o, first = piece // blocks, piece % blocks * COLUMNS
        return o * inner + first, o * n * inner + first, min(COLUMNS, inner - first)
    if n <= SHORT:
        first = piece * COLUMNS
        return first, first * n, min(COLUMNS, outer - first)
    return piece, piece * n, 0


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

        @jit(name=f"_{name}_task")
        def body(stage, task, thread, x, y, c, d, scratch, plan):  # type: ignore[no-untyped-def]
            outer, n, inner, pieces, each = plan[0], plan[1], plan[2], plan[3], plan[4]
            for piece in range(task * each, min(task * each + each, pieces)):
                _, start, width = _piece(piece, outer, n, inner)
                if width == 0:
                    row(x, y, start, start + n)
                else:
                    block = np.empty(n * width, x.dtype)
                    _take(x, start, n, inner, width, block)
                    columns(block, n, width)
                    _give(block, y, start, n, inner, width)

    else:

        @jit(name=f"_{name}_task")
        def body(stage, task, thread, dy, y, dx, d, scratch, plan):  # type: ignore[no-untyped-def]
            outer, n, inner, pieces, each = plan[0], plan[1], plan[2], plan[3], plan[4]
            for piece in range(task * each, min(task * each + each, pieces)):
                _, start, width = _piece(piece, outer, n, inner)
                if width == 0:
                    row(dy, y, dx, start, start + n)
                else:
                    block, other = np.empty(n * width, y.dtype), np.empty(n * width, y.dtype)
                    _take(dy, start, n, inner, width, block)
                    _take(y, start, n, inner, width, other)
                    columns(block, other, n, width)
                    _give(block, dx, start, n, inner, width)

    def cpu(*given: Any) -> None:
        if given[0].size:
            tasks, _, plan = _cut(*given[0].shape)
            nothing = NOTHING[given[0].dtype]
            flat = [array.reshape(-1) for array in given] + [nothing] * (4 - arrays)
            run_stages(body, (tasks, 0), *[*flat, nothing, plan])

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


# Bodies of ``run_stages`` take float arrays and one of int64, in which the targets must find room, and float64 sums.

HEAD = 10  # a plan's numbers, the address of the targets (0: they follow), the smoothing; sums and targets begin there
_COPIED = 1 << 12  # so few targets are copied into the plan sooner than NumPy tells their address


@lru_cache(maxsize=1024)
def _head(numbers: tuple[int, ...], tasks: int, smoothing: float) -> np.ndarray:
    """A plan without targets."""
    plan = np.zeros(HEAD + 3 * tasks, np.int64)
    plan[: len(numbers)] = numbers
    plan.view(np.float64)[HEAD - 1] = smoothing
    return plan


def plan_with_targets(numbers: tuple[int, ...], target: np.ndarray, tasks: int, smoothing: float = 0.0) -> np.ndarray:
    """A plan of at most HEAD - 2 numbers, the targets, and room for three float64 sums of each task."""
    head = _head(numbers, tasks, smoothing)
    if target.size <= _COPIED:
        return np.concatenate((head, target), axis=None)
    plan = head.copy()
    plan[HEAD - 2] = address(target)
    return plan


@jit
def targets_of(plan, tasks):  # type: ignore[no-untyped-def]
    """The address of the targets of ``plan_with_targets``."""
    if plan[HEAD - 2] != 0:
        return plan[HEAD - 2]
    return np.int64(plan.ctypes.data) + 8 * (HEAD + 3 * tasks)


@jit
def put_sums(plan, task, total, mass, missed):  # type: ignore[no-untyped-def]
    """Keep a task's three sums in the plan."""
    room, at = np.int64(plan.ctypes.data), HEAD + 3 * task
    write_at(np.float64, room, at, total)
    write_at(np.float64, room, at + 1, mass)
    write_at(np.float64, room, at + 2, missed)


@jit
def add_sums(plan, tasks, sums):  # type: ignore[no-untyped-def]
    """The sums of all tasks, in order."""
    room = np.int64(plan.ctypes.data)
    total, mass, missed = 0.0, 0.0, 0.0
    for at in range(HEAD, HEAD + 3 * tasks, 3):
        total += read_at(np.float64, room, at)
        mass += read_at(np.float64, room, at + 1)
        missed += read_at(np.float64, room, at + 2)
    sums[0], sums[1], sums[2] = total, mass, missed


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
    """Rows in the columns of ``block``; ``place`` is the first one's in target (an address), losses and lse.

    Adds to ``partial``: the losses, the weights, the targets that are no class.
    """
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
        wanted = read_at(np.int64, target, place + j)
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
    partial[0] += total
    partial[1] += mass
    partial[2] += missed


@jit
def _cross_entropy_forward_task(stage, task, thread, logits, weight, losses, lse, sums, plan):  # type: ignore[no-untyped-def]
    """plan: as ``_cut``, ignore_index, the tasks; see ``plan_with_targets``."""
    outer, n, inner, pieces, each, ignore_index, tasks = plan[0], plan[1], plan[2], plan[3], plan[4], plan[5], plan[6]
    if stage == 1:
        add_sums(plan, tasks, sums)
        return
    target = targets_of(plan, tasks)
    share = logits.dtype.type(read_at(np.float64, np.int64(plan.ctypes.data), HEAD - 1))
    partial = np.zeros(3)
    for piece in range(task * each, min(task * each + each, pieces)):
        place, start, width = _piece(piece, outer, n, inner)
        if width == 0:
            wanted = read_at(np.int64, target, place)
            counted = counts(wanted, n, ignore_index)
            loss, total = _cross_entropy_forward_row(logits, start, n, wanted, weight, counted, share)
            if losses.size > 0:
                losses[place] = loss
            lse[place] = total
            partial[0] += loss
            partial[2] += wanted != ignore_index and not counted
            if counted:
                partial[1] += weight[wanted]
        else:
            block = np.empty(n * width, logits.dtype)
            _take(logits, start, n, inner, width, block)
            _cross_entropy_forward_columns(
                block, n, width, target, weight, losses, lse, place, ignore_index, share, partial
            )
    put_sums(plan, task, partial[0], partial[1], partial[2])


def _cross_entropy_forward_cpu(
    logits: Any, target: Any, weight: Any, losses: Any, lse: Any, sums: Any, ignore_index: int, smoothing: float
) -> None:
    tasks, cut, _ = _cut(*logits.shape)
    plan = plan_with_targets((*cut, ignore_index, tasks), target, tasks, smoothing)
    flat = [array.reshape(-1) for array in (logits, weight, losses, lse)]
    run_stages(_cross_entropy_forward_task, (tasks, 1), *[*flat, sums, plan])


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
def _exponentials(logits, start, stride, block, n, width, lse, place, total):  # type: ignore[no-untyped-def]
    """block[i, j] = exp(logits[start + i * stride + j] - lse[place + j]), and total[j] = its sum over i."""
    for i in range(n):
        at, source = i * width, start + i * stride
        for j in range(width):
            e = exp_(reread(logits, source + j) - read(lse, place + j))
            write(total, j, reread(total, j) + e)
            write(block, at + j, e)


@jit
def _cross_entropy_backward_columns(block, total, n, width, target, weight, lse, scale, step, place, ignore_index, smoothing, mass):  # type: ignore[no-untyped-def]  # fmt: skip
    """Exponentials in the columns of ``block`` give way to gradients; ``step`` is 0 where one scale serves all."""
    number = block.dtype.type
    factor, everywhere = np.zeros(width, block.dtype), np.zeros(width, block.dtype)
    for j in range(width):
        wanted = read_at(np.int64, target, place + j)
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
        wanted = read_at(np.int64, target, place + j)
        if counts(wanted, n, ignore_index):
            sharp = (number(1) - smoothing) * read(weight, wanted)
            at = wanted * width + j
            write(block, at, reread(block, at) - read(scale, (place + j) * step) * sharp)
        else:
            for i in range(n):
                write(block, i * width + j, read(lse, place + j) * number(0))


@jit
def _cross_entropy_backward_task(stage, task, thread, logits, weight, lse, scale, dlogits, plan):  # type: ignore[no-untyped-def]
    """plan: as ``_cut``, ignore_index; in the room for sums, what smoothing adds to the sum of q."""
    outer, n, inner, pieces, each, ignore_index = plan[0], plan[1], plan[2], plan[3], plan[4], plan[5]
    number, target, room = logits.dtype.type, targets_of(plan, 1), np.int64(plan.ctypes.data)
    share, more = number(read_at(np.float64, room, HEAD - 1)), number(read_at(np.float64, room, HEAD))
    step = 1 if scale.size > 1 else 0
    for piece in range(task * each, min(task * each + each, pieces)):
        place, start, width = _piece(piece, outer, n, inner)
        if width == 0:
            wanted, its_scale = read_at(np.int64, target, place), scale[place * step]
            counted = counts(wanted, n, ignore_index)
            _cross_entropy_backward_row(
                logits, start, n, wanted, weight, lse[place], its_scale, dlogits, counted, share, more
            )
        else:
            block, total = np.empty(n * width, logits.dtype), np.zeros(width, logits.dtype)
            if inner == 1:
                turned = np.empty(n * width, logits.dtype)
                _take(logits, start, n, inner, width, turned)
                _exponentials(turned, 0, width, block, n, width, lse, place, total)
            else:  # rows beside one another are read where they are: 16x21x64x64 take a fifth less
                _exponentials(logits, start, inner, block, n, width, lse, place, total)
            _cross_entropy_backward_columns(
                block, total, n, width, target, weight, lse, scale, step, place, ignore_index, share, more
            )
            _give(block, dlogits, start, n, inner, width)


def _cross_entropy_backward_cpu(
    logits: Any, target: Any, weight: Any, lse: Any, scale: Any, dlogits: Any, ignore_index: int, smoothing: float
) -> None:
    tasks, cut, _ = _cut(*logits.shape)
    plan = plan_with_targets((*cut, ignore_index), target, 1, smoothing)
    if smoothing > 0:
        plan.view(np.float64)[HEAD] = smoothing / max(weight.size, 1) * weight.sum(dtype=np.float64)
    flat = [array.reshape(-1) for array in (logits, weight, lse, scale, dlogits)]
    run_stages(_cross_entropy_backward_task, (tasks, 0), *[*flat, plan])


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
