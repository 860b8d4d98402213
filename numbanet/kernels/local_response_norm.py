"""Local response normalisation: each element divided by a power of a sum over neighbouring channels.

``local_response_norm_forward(x, y, size, alpha, beta, k)``
    b[n, c, s] = k + alpha / size * sum of x[n, i, s]^2 over channels c - size // 2 <= i <= c + (size - 1) // 2 (those
    that there are), and y = x * b^-beta.
``local_response_norm_backward(dy, x, dx, size, alpha, beta, k)``
    dx = dy * b^-beta - 2 alpha beta / size * x * sum of dy * x * b^(-beta - 1) over the channels i whose window has
    channel c: c - (size - 1) // 2 <= i <= c + size // 2. b is computed again, not kept.

x, y, dx, dy (N, C, S), C-contiguous, one dtype (float32 or float64), also for sums. size is an int >= 1; alpha, beta, k are floats.
The caller allocates; outputs are overwritten. Every value is computed by one thread, its window summed in order (no
running sum: a NaN or an infinity reaches the windows that hold it and no other). Powers of 0.5, 0.75 and 1 are
square roots, others exp(-beta log b).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numba
import numpy as np

from numbanet.devices import cuda, empty
from numbanet.kernels import launch
from numbanet.kernels.index import exp_, log_, read, reread, write
from numbanet.kernels.kernel import Kernel, jit
from numbanet.kernels.parallel import run_stages


@lru_cache(maxsize=1024)
def _plan(n: int, c: int, s: int, size: int) -> tuple[np.ndarray, int, int]:
    """(what the tasks read, their number, elements of scratch per thread).

    A task is a block of positions with all its channels, as many as keep the channels' products in the second-level cache.
    """
    block = max(1, min(s, max(64, 32768 // max(c, 1)), 512))
    blocks = -(-s // block)
    return np.array((n, c, s, size, block, blocks), np.int64), n * blocks, (c + 2) * block


@jit
def _window_cpu(x, at, step, low, high, out, count, square):  # type: ignore[no-untyped-def]
    """out[j] = the sum of x[at + i * step + j], or of its squares, over low <= i < high, for j < count."""
    for j in range(count):
        out[j] = 0
    i = low
    while i < high:  # two channels at a time: half the passes over ``out``
        first = x[at + i * step :][:count]
        second = x[at + min(i + 1, high - 1) * step :][:count]
        if i + 1 < high and square:
            for j in range(count):
                a, b = read(first, j), read(second, j)
                write(out, j, reread(out, j) + (a * a + b * b))
        elif i + 1 < high:
            for j in range(count):
                write(out, j, reread(out, j) + (read(first, j) + read(second, j)))
        elif square:
            for j in range(count):
                write(out, j, reread(out, j) + read(first, j) * read(first, j))
        else:
            for j in range(count):
                write(out, j, reread(out, j) + read(first, j))
        i += 2


@jit
def _powers_cpu(b, p, count, scale, beta, k):  # type: ignore[no-untyped-def]
    """b[j] = k + scale * b[j], and p[j] = b[j]^-beta."""
    zero, one, infinity = b.dtype.type(0), b.dtype.type(1), b.dtype.type(np.inf)
    for j in range(count):
        write(b, j, k + scale * reread(b, j))
    # Compiled as an estimate that is then corrected, the root of infinity is NaN.
    if beta == 0.75:
        for j in range(count):
            value = reread(b, j)
            root = math.sqrt(value)
            write(p, j, zero if value == infinity else one / (root * math.sqrt(root)))
    elif beta == 0.5:
        for j in range(count):
            value = reread(b, j)
            write(p, j, zero if value == infinity else one / math.sqrt(value))
    elif beta == 1.0:
        for j in range(count):
            write(p, j, one / reread(b, j))
    else:
        for j in range(count):
            write(p, j, exp_(-beta * log_(reread(b, j))))


# -------------------------------------------------------------------------------------------------------------- forward


def local_response_norm_forward_reference(
    x: np.ndarray, y: np.ndarray, size: int, alpha: float, beta: float, k: float
) -> None:
    wide = x.astype(np.float64)
    for c in range(x.shape[1]):
        window = wide[:, max(0, c - size // 2) : c + (size - 1) // 2 + 1]
        y[:, c] = wide[:, c] / (k + alpha / size * np.square(window).sum(1)) ** beta


@jit
def _forward_task(stage, task, thread, x, y, numbers, _, work, plan):  # type: ignore[no-untyped-def]
    """numbers: alpha / size, beta, k."""
    c, s, size, block, blocks = plan[1], plan[2], plan[3], plan[4], plan[5]
    begin = task // blocks * c * s + task % blocks * block
    count = min(block, s - task % blocks * block)
    here = work[thread * (c + 2) * block :]
    b, p = here[:count], here[block:][:count]
    for channel in range(c):
        low, high = max(0, channel - size // 2), min(c, channel + (size - 1) // 2 + 1)
        _window_cpu(x, begin, s, low, high, b, count, True)
        _powers_cpu(b, p, count, numbers[0], numbers[1], numbers[2])
        source, target = x[begin + channel * s :][:count], y[begin + channel * s :][:count]
        for j in range(count):
            write(target, j, read(source, j) * read(p, j))


def _local_response_norm_forward_cpu(
    x: np.ndarray, y: np.ndarray, size: int, alpha: float, beta: float, k: float
) -> None:
    if x.size:
        plan, tasks, scratch = _plan(*x.shape, int(size))
        work = empty((numba.config.NUMBA_NUM_THREADS * scratch,), x.dtype)
        numbers = np.array((alpha / size, beta, k), x.dtype)
        run_stages(_forward_task, (tasks, 0), x.reshape(-1), y.reshape(-1), numbers, numbers, work, plan)


@cuda.jit
def _local_response_norm_forward_cuda_kernel(x, y, scale, beta, k, size, channels, s):  # type: ignore[no-untyped-def]
    o = cuda.grid(1)
    if o < x.size:
        c = o // s % channels
        total = x.dtype.type(0)
        for i in range(max(0, c - size // 2), min(channels, c + (size - 1) // 2 + 1)):
            value = x[o + (i - c) * s]
            total += value * value
        y[o] = x[o] * math.pow(k + scale * total, -beta)


def _local_response_norm_forward_cuda(x: Any, y: Any, size: int, alpha: float, beta: float, k: float) -> None:
    if x.size:
        number = np.dtype(x.dtype).type  # a Python float would bring float64 arithmetic into the kernel
        _local_response_norm_forward_cuda_kernel[launch.line(x.size)](
            x.reshape(x.size), y.reshape(y.size), number(alpha / size), number(beta), number(k), int(size), *x.shape[1:]
        )


local_response_norm_forward = Kernel(
    "local_response_norm_forward",
    reference=local_response_norm_forward_reference,
    cpu=_local_response_norm_forward_cpu,
    cuda=_local_response_norm_forward_cuda,
)


# ------------------------------------------------------------------------------------------------------------- backward


def local_response_norm_backward_reference(
    dy: np.ndarray, x: np.ndarray, dx: np.ndarray, size: int, alpha: float, beta: float, k: float
) -> None:
    channels = x.shape[1]
    wide, gradient = x.astype(np.float64), dy.astype(np.float64)
    result = np.zeros(x.shape)
    for c in range(channels):
        window = slice(max(0, c - size // 2), c + (size - 1) // 2 + 1)
        b = k + alpha / size * np.square(wide[:, window]).sum(1)
        result[:, c] += gradient[:, c] * b**-beta
        product = gradient[:, c] * wide[:, c] * b ** (-beta - 1)
        result[:, window] -= 2 * alpha * beta / size * wide[:, window] * product[:, None]
    dx[...] = result


@jit
def _backward_task(stage, task, thread, dy, x, dx, numbers, work, plan):  # type: ignore[no-untyped-def]
    """numbers: alpha / size, beta, k, 2 alpha beta / size. Scratch: the products of all channels, then two rows."""
    c, s, size, block, blocks = plan[1], plan[2], plan[3], plan[4], plan[5]
    begin = task // blocks * c * s + task % blocks * block
    count = min(block, s - task % blocks * block)
    here = work[thread * (c + 2) * block :][: (c + 2) * block]
    b, p = here[c * block :][:count], here[(c + 1) * block :][:count]
    for channel in range(c):
        low, high = max(0, channel - size // 2), min(c, channel + (size - 1) // 2 + 1)
        _window_cpu(x, begin, s, low, high, b, count, True)
        _powers_cpu(b, p, count, numbers[0], numbers[1], numbers[2])
        at = begin + channel * s
        gradient, source, target = dy[at:][:count], x[at:][:count], dx[at:][:count]
        products = here[channel * block :][:count]
        for j in range(count):
            value = read(gradient, j) * read(p, j)
            write(target, j, value)
            write(products, j, value * read(source, j) / read(b, j))
    for channel in range(c):
        low, high = max(0, channel - (size - 1) // 2), min(c, channel + size // 2 + 1)
        _window_cpu(here, 0, block, low, high, b, count, False)
        source, target = x[begin + channel * s :][:count], dx[begin + channel * s :][:count]
        for j in range(count):
            write(target, j, reread(target, j) - numbers[3] * read(source, j) * read(b, j))


def _local_response_norm_backward_cpu(
    dy: np.ndarray, x: np.ndarray, dx: np.ndarray, size: int, alpha: float, beta: float, k: float
) -> None:
    if x.size:
        plan, tasks, scratch = _plan(*x.shape, int(size))
        work = empty((numba.config.NUMBA_NUM_THREADS * scratch,), x.dtype)
        numbers = np.array((alpha / size, beta, k, 2 * alpha * beta / size), x.dtype)
        run_stages(_backward_task, (tasks, 0), dy.reshape(-1), x.reshape(-1), dx.reshape(-1), numbers, work, plan)


@cuda.jit
def _local_response_norm_backward_cuda_kernel(dy, x, dx, scale, beta, k, slope, size, channels, s):  # type: ignore[no-untyped-def]
    o = cuda.grid(1)
    if o < x.size:
        c = o // s % channels
        result, total = x.dtype.type(0), x.dtype.type(0)
        for i in range(max(0, c - (size - 1) // 2), min(channels, c + size // 2 + 1)):
            squares, at = x.dtype.type(0), o + (i - c) * s
            for j in range(max(0, i - size // 2), min(channels, i + (size - 1) // 2 + 1)):
                value = x[o + (j - c) * s]
                squares += value * value
            b = k + scale * squares
            value = dy[at] * math.pow(b, -beta)
            total += value * x[at] / b
            if i == c:
                result = value
        dx[o] = result - slope * x[o] * total


def _local_response_norm_backward_cuda(
    dy: Any, x: Any, dx: Any, size: int, alpha: float, beta: float, k: float
) -> None:
    if x.size:
        number = np.dtype(x.dtype).type
        _local_response_norm_backward_cuda_kernel[launch.line(x.size)](
            dy.reshape(x.size), x.reshape(x.size), dx.reshape(x.size), number(alpha / size), number(beta), number(k),
            number(2 * alpha * beta / size), int(size), *x.shape[1:],
        )  # fmt: skip


local_response_norm_backward = Kernel(
    "local_response_norm_backward",
    reference=local_response_norm_backward_reference,
    cpu=_local_response_norm_backward_cpu,
    cuda=_local_response_norm_backward_cuda,
)

_FLAT = "float32[::1]"
CUDA_KERNELS = (
    (
        _local_response_norm_forward_cuda_kernel,
        f"void({_FLAT}, {_FLAT}, float32, float32, float32, int64, int64, int64)",
    ),
    (
        _local_response_norm_backward_cuda_kernel,
        f"void({_FLAT}, {_FLAT}, {_FLAT}, float32, float32, float32, float32, int64, int64, int64)",
    ),
)
