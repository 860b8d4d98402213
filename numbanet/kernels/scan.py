"""Running sums and products along the middle axis of a (outer, n, inner) view.

Contract::

    cumsum(x, out, reverse)          out[o, i, j] = sum of x[o, :i + 1, j]; with reverse of x[o, i:, j]
    cumprod(x, out, reverse)         the same with products
    cumprod_backward(x, dy, dx)      dx[o, k, j] = sum over i >= k of dy[o, i, j] * the product of x[o, :i + 1, j] less
                                     its factor k
    running_count(x, out)            out[i] = how many of x[:i + 1] are not 0; x of any dtype, out int64, both (n,)

x, out, dy and dx are (outer, n, inner) of one dtype, C-contiguous: floats, or int64. The caller allocates; out and dx are
overwritten, and out may be x itself. cumprod_backward divides by nothing, so zeros in x need no care. NaN and infinity
go on to the end of their line.

Accumulators: float64 (int64 for int64) on the CPU; on CUDA sums are compensated (Kahan) in x's own dtype. A line is one
thread's work from its start to its end, so the number of threads changes nothing. On CUDA int64 lines with inner = 1,
and counts, are cut into tiles that blocks of threads scan side by side: the sums of the tiles are scanned in their turn
and added.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numba
import numpy as np

from numbanet.devices import CUDA, cuda, empty
from numbanet.kernels import launch
from numbanet.kernels.index import read, scalar, write
from numbanet.kernels.kernel import Kernel, jit
from numbanet.kernels.parallel import tasks

COLUMNS = 256  # columns of one task where inner > 1: their accumulators stay in the first-level cache
GROUP = 4  # rows that run side by side where inner = 1: each addition of one waits for its last
ROWS = 16  # rows of one task where inner = 1
SHARE = 8  # neighbouring elements that each of CUDA's threads adds up, where a block scans a tile

_INT64 = np.dtype(np.int64)
_cuda_kernels: list[tuple[Any, str]] = []


def _accumulator(dtype: np.dtype) -> np.ndarray:
    """An empty array of the dtype in which lines of ``dtype`` are accumulated."""
    return np.empty(0, np.float64 if dtype.kind == "f" else np.int64)


# -------------------------------------------------------------------------------------------- CUDA's scan of integers


@lru_cache(maxsize=16)
def _tiles_cuda_kernel(threads: int, counts: bool) -> Any:
    """The kernel that scans tiles of ``threads`` x SHARE elements (or of ones where they are not 0)."""
    term = scalar((lambda x: np.int64(x != 0)) if counts else (lambda x: np.int64(x)))
    width = threads * SHARE

    @cuda.jit
    def _scan_cuda_tiles(x, out, totals, n, reverse):  # type: ignore[no-untyped-def]
        sums = cuda.shared.array(threads, numba.int64)
        tiles = (n + width - 1) // width
        line = cuda.blockIdx.x // tiles
        thread = cuda.threadIdx.x
        low = (cuda.blockIdx.x - line * tiles) * width + thread * SHARE
        high = min(low + SHARE, n)
        start = line * n + (n - 1 if reverse != 0 else 0)
        way = -1 if reverse != 0 else 1
        total = np.int64(0)
        for i in range(low, high):
            total += term(x[start + way * i])
        sums[thread] = total
        cuda.syncthreads()
        step = 1
        while step < threads:
            before = sums[thread - step] if thread >= step else np.int64(0)
            cuda.syncthreads()
            sums[thread] += before
            cuda.syncthreads()
            step *= 2
        total = sums[thread] - total
        for i in range(low, high):
            total += term(x[start + way * i])
            out[start + way * i] = total
        if thread == threads - 1:
            totals[cuda.blockIdx.x] = sums[thread]

    return _scan_cuda_tiles


@cuda.jit
def _add_totals_cuda(out, totals, n, width, reverse):  # type: ignore[no-untyped-def]
    """Add to each tile of a line the sum of those before it."""
    place = cuda.grid(1)
    if place < out.size:
        line = place // n
        i = place - line * n
        tile = (n - 1 - i if reverse != 0 else i) // width
        if tile > 0:
            out[place] += totals[line * ((n + width - 1) // width) + tile - 1]


def _scan_integers(x: Any, out: Any, n: int, reverse: int, counts: bool) -> None:
    """Running sums (or counts) of the lines of n elements of flat x."""
    width = launch.THREADS * SHARE
    tiles = -(-n // width)
    blocks = x.size // n * tiles
    totals = empty((blocks,), _INT64, CUDA)
    _tiles_cuda_kernel(launch.THREADS, counts)[blocks, launch.THREADS](x, out, totals, n, reverse)
    if tiles > 1:
        _scan_integers(totals, totals, tiles, 0, False)
        _add_totals_cuda[launch.line(out.size)](out, totals, n, width, reverse)


# ------------------------------------------------------------------------------------------------- sums and products


def _scan(name: str, numpy: Any, step: Callable[..., Any], identity: int) -> Kernel:
    """The kernel ``name(x, out, reverse)``."""
    step = scalar(step)

    def reference(x, out, reverse):  # type: ignore[no-untyped-def]
        wide = x.astype(np.float64) if x.dtype.kind == "f" else x
        out[...] = numpy(wide[:, ::-1], axis=1)[:, ::-1] if reverse else numpy(wide, axis=1)

    @jit(name=f"{name}_rows")
    def rows(x, out, low, high, n, reverse, number):  # type: ignore[no-untyped-def]
        row = low
        turn = n - 1 if reverse else 0
        way = -1 if reverse else 1
        while row + GROUP <= high:
            a = b = c = d = number(identity)
            start = row * n + turn
            for i in range(n):
                at = start + way * i
                a = step(a, read(x, at))
                b = step(b, read(x, at + n))
                c = step(c, read(x, at + 2 * n))
                d = step(d, read(x, at + 3 * n))
                write(out, at, a)
                write(out, at + n, b)
                write(out, at + 2 * n, c)
                write(out, at + 3 * n, d)
            row += GROUP
        while row < high:
            a = number(identity)
            start = row * n + turn
            for i in range(n):
                a = step(a, read(x, start + way * i))
                write(out, start + way * i, a)
            row += 1

    @tasks(name=f"{name}_cpu")
    def scan(task, x, out, like, n, inner, reverse):  # type: ignore[no-untyped-def]
        """``like`` has the type of the running result; a task is ROWS lines, or COLUMNS of those that lie across."""
        number = like.dtype.type
        if inner == 1:
            low = task * ROWS
            rows(x, out, low, min(low + ROWS, x.size // n), n, reverse != 0, number)
        else:
            blocks = (inner + COLUMNS - 1) // COLUMNS
            first = task % blocks * COLUMNS
            width = min(COLUMNS, inner - first)
            total = np.empty(width, like.dtype)
            total[:] = number(identity)
            start = task // blocks * n * inner + first
            for i in range(n):
                at = start + (n - 1 - i if reverse != 0 else i) * inner
                for j in range(width):
                    total[j] = step(total[j], read(x, at + j))
                for j in range(width):
                    write(out, at + j, total[j])

    def cpu(x: Any, out: Any, reverse: bool) -> None:
        if x.size:
            outer, n, inner = x.shape
            count = -(-outer // ROWS) if inner == 1 else outer * -(-inner // COLUMNS)
            flat = x.reshape(-1), out.reshape(-1)
            scan(count, 2 * x.size, *flat, _accumulator(x.dtype), n, inner, int(reverse))

    @cuda.jit
    def scan_cuda(x, out, n, inner, reverse):  # type: ignore[no-untyped-def]
        line = cuda.grid(1)
        if line < x.size // n:
            start = line // inner * n * inner + line % inner
            total = out.dtype.type(identity)
            for i in range(n):
                at = start + (n - 1 - i if reverse != 0 else i) * inner
                total = step(total, x[at])
                out[at] = total

    @cuda.jit
    def sum_cuda(x, out, n, inner, reverse):  # type: ignore[no-untyped-def]
        """As ``scan_cuda``, with Kahan's compensation."""
        line = cuda.grid(1)
        if line < x.size // n:
            number = out.dtype.type
            start = line // inner * n * inner + line % inner
            total = number(0)
            lost = number(0)
            for i in range(n):
                at = start + (n - 1 - i if reverse != 0 else i) * inner
                value = x[at] - lost
                larger = total + value
                lost = (larger - total) - value
                if lost != lost:  # infinity - infinity: nothing to compensate any more
                    lost = number(0)
                total = larger
                out[at] = total

    kernel = sum_cuda if name == "cumsum" else scan_cuda

    def cuda_(x: Any, out: Any, reverse: bool) -> None:
        if x.size:
            _, n, inner = x.shape
            if name == "cumsum" and inner == 1 and x.dtype == _INT64:
                _scan_integers(x.reshape(-1), out.reshape(-1), n, int(reverse), False)
                return
            kernel[launch.line(x.size // n)](x.reshape(-1), out.reshape(-1), n, inner, int(reverse))

    _cuda_kernels.append((kernel, "void(float32[::1], float32[::1], int64, int64, int64)"))
    return Kernel(name, reference=reference, cpu=cpu, cuda=cuda_)


cumsum = _scan("cumsum", np.cumsum, lambda total, x: total + x, 0)
cumprod = _scan("cumprod", np.cumprod, lambda total, x: total * x, 1)


def running_count_reference(x, out):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        out[i] = (x[i] != 0) + (out[i - 1] if i else 0)


def _running_count_cpu(x: Any, out: Any) -> None:
    np.cumsum(x != 0, out=out)


def _running_count_cuda(x: Any, out: Any) -> None:
    if x.size:
        _scan_integers(x, out, x.size, 0, True)


running_count = Kernel(
    "running_count", reference=running_count_reference, cpu=_running_count_cpu, cuda=_running_count_cuda
)


# ------------------------------------------------------------------------------------------------ cumprod's gradient


def cumprod_backward_reference(x, dy, dx):  # type: ignore[no-untyped-def]
    wide = x.astype(np.float64)
    for k in range(x.shape[1]):
        others = wide.copy()
        others[:, k] = 1
        dx[:, k] = (dy * np.cumprod(others, axis=1))[:, k:].sum(axis=1)


@tasks
def _cumprod_backward(line, x, dy, dx, like, n, inner):  # type: ignore[no-untyped-def]
    """With S[k] = dy[k] + x[k + 1] S[k + 1], dx[k] = S[k] times the product of everything before k."""
    number = like.dtype.type
    start = line // inner * n * inner + line % inner
    later = np.empty(n, like.dtype)
    total = number(0)
    for i in range(n - 1, -1, -1):
        at = start + i * inner
        total = read(dy, at) + total * (read(x, at + inner) if i < n - 1 else number(0))
        later[i] = total
    before = number(1)
    for i in range(n):
        at = start + i * inner
        write(dx, at, before * later[i])
        before *= read(x, at)


def _cumprod_backward_cpu(x: Any, dy: Any, dx: Any) -> None:
    if x.size:
        _, n, inner = x.shape
        flat = x.reshape(-1), dy.reshape(-1), dx.reshape(-1)
        _cumprod_backward(x.size // n, 4 * x.size, *flat, _accumulator(x.dtype), n, inner)


@cuda.jit
def _cumprod_backward_cuda_lines(x, dy, dx, n, inner):  # type: ignore[no-untyped-def]
    line = cuda.grid(1)
    if line < x.size // n:
        number = dx.dtype.type
        start = line // inner * n * inner + line % inner
        total = number(0)
        factor = number(0)
        for i in range(n - 1, -1, -1):
            at = start + i * inner
            total = dy[at] + total * factor
            factor = x[at]
            dx[at] = total
        before = number(1)
        for i in range(n):
            at = start + i * inner
            dx[at] = before * dx[at]
            before *= x[at]


def _cumprod_backward_cuda(x: Any, dy: Any, dx: Any) -> None:
    if x.size:
        _, n, inner = x.shape
        arrays = x.reshape(-1), dy.reshape(-1), dx.reshape(-1)
        _cumprod_backward_cuda_lines[launch.line(x.size // n)](*arrays, n, inner)


cumprod_backward = Kernel(
    "cumprod_backward", reference=cumprod_backward_reference, cpu=_cumprod_backward_cpu, cuda=_cumprod_backward_cuda
)

CUDA_KERNELS = (
    *_cuda_kernels,
    (partial(_tiles_cuda_kernel, 128, False), "void(int64[::1], int64[::1], int64[::1], int64, int64)"),
    (partial(_tiles_cuda_kernel, 128, True), "void(float32[::1], int64[::1], int64[::1], int64, int64)"),
    (_add_totals_cuda, "void(int64[::1], int64[::1], int64, int64, int64)"),
    (_cumprod_backward_cuda_lines, "void(float32[::1], float32[::1], float32[::1], int64, int64)"),
)
