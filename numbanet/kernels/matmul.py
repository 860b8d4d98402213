"""Matrix products of batches, with Linear's bias, and the bias gradient.

Contract of ``matmul(a, b, bias, out, transpose_a, transpose_b)``:
    out[i] = op(a[i]) @ op(b[i]) + bias, where op swaps the last two axes when its flag is true.

    a     (B or 1, M, K), or (B or 1, K, M) when ``transpose_a``
    b     (B or 1, K, N), or (B or 1, N, K) when ``transpose_b``
    bias  (N,), added to every row; or (0,) for none
    out   (B, M, N), overwritten; the caller allocates; must not overlap an input

    A batch of 1 beside a larger B is broadcast. K = 0 gives the bias, or zeros; nothing is written where B, M or N is
    0. All arrays float32 or all float64; sums are kept in that type, in blocks of at most ``DEPTH`` terms (CPU) or one
    shared tile (CUDA) that are then added in order. An element's value depends on the shapes alone, not on the number
    of threads or on the launch. NaN and infinity go the way of the multiplications and additions.

Contract of ``matmul_grad_bias(dy, db)``:
    dy (M, N) -> db (N,) = the sums of dy's columns, overwritten. Sums in float64 on the CPU, compensated on CUDA.

On the CPU, C is cut into one block per thread. Each thread packs what it needs of both operands (``_block_cpu``), so
that there is no barrier, and runs the register tile of ``simd.fma_tile`` over the packed panels. Transposed operands
differ only in how they are packed; a B that is not transposed is read in place by blocks of few rows. On CUDA
``matmul_tensor_core.py`` stands beside the plain kernel, for who switches tensor cores on (``numbanet.backends``).
"""

from __future__ import annotations

import threading
from functools import cache, lru_cache
from typing import Any

import numba
import numpy as np
from numba import prange, types
from numba.extending import intrinsic

from numbanet import backends
from numbanet.devices import cuda, empty
from numbanet.kernels import launch, matmul_tensor_core, mma
from numbanet.kernels.kernel import Kernel, jit
from numbanet.kernels.parallel import run_stages
from numbanet.kernels.simd import TILE_ROWS, Vectors, fma_tile, lanes

ROWS = TILE_ROWS  # rows of a register tile; its columns are 3, 2 or 1 vectors
DEPTH = 256  # length of a packed panel
_BLOCK_ROWS = 192  # rows of A packed at a time: with DEPTH, a fifth of a 1 MiB second-level cache in float32
_BLOCK_COLUMNS = 1536  # columns of B packed at a time: 1.5 MiB in float32
_SPLIT_FROM = 4096  # a sum this long over a small C is cut into pieces of _SPLIT terms that run side by side
_SPLIT = 1024
_IN_PLACE = 128  # a block of so few rows of A reads B where it lies: 13% faster on 128 x 512 x 256, 35% on 32 rows
_SERIAL = 1 << 19  # fewer multiply-adds are one thread's: 7 us for (256, 10) @ (10, 84), 40 us if a second must wake
_FLOAT64 = np.dtype(np.float64)


def matmul_reference(
    a: np.ndarray, b: np.ndarray, bias: np.ndarray, out: np.ndarray, transpose_a: bool, transpose_b: bool
) -> None:
    batch, m, n = out.shape
    for i in range(batch):
        left, right = a[i if len(a) > 1 else 0], b[i if len(b) > 1 else 0]
        for row in range(m):
            for column in range(n):
                x = left[:, row] if transpose_a else left[row]  # (K,)
                y = right[column] if transpose_b else right[:, column]  # (K,)
                total = float(np.sum(x.astype(np.float64) * y.astype(np.float64)))
                out[i, row, column] = total + (float(bias[column]) if bias.size else 0.0)


# ------------------------------------------------------------------------------------------------ packing, on vectors


@cache
def _copy_strip(width: int) -> Any:
    """``copy(count, valid, source, s, stride, target, t, panel)``: ``count`` rows of ``width`` elements into a panel.

    ``target[t + i * panel + j] = source[s + i * stride + j]`` for j < width, zeros from ``valid`` on; a width of 0
    stands for one vector. Vector moves, because LLVM cannot know that the arrays do not overlap.
    """

    @intrinsic
    def copy(typingctx, count, valid, source, s, stride, target, t, panel):  # type: ignore[no-untyped-def]
        n = types.intp

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            moves = Vectors(context, builder, signature, args, 2)
            source, target = moves.pointer(2), moves.pointer(5)
            wide = width or moves.lanes
            with builder.if_else(builder.icmp_signed(">=", args[1], moves.index(wide))) as branches:
                for branch, whole in zip(branches, (True, False), strict=True):
                    with branch:
                        mask = None if whole else moves.first(args[1], wide)
                        with moves.steps(args[0], 1) as (i, _):
                            value = moves.load(source, builder.mul(i, args[4]), wide, mask)
                            moves.store(value, target, builder.mul(i, args[7]), wide)
            return context.get_dummy_value()

        return types.void(n, n, source, n, n, target, n, n), codegen

    return copy


@cache
def _transpose_strip(width: int) -> Any:
    """``transpose(count, valid, source, s, stride, target, t, panel)``: ``width`` rows become columns of a panel.

    ``target[t + i * panel + r] = source[s + r * stride + i]`` for r < width and i < count; rows from ``valid`` on repeat
    the last valid one, and whole vectors are written, so that up to lanes - 1 rows behind the panel are overwritten. A
    width of 0 stands for one vector. Squares are transposed in registers by log2(width) rounds of two-vector shuffles,
    each of which trades one bit of the row's number for one bit of the lane's.
    """

    @intrinsic
    def transpose(typingctx, count, valid, source, s, stride, target, t, panel):  # type: ignore[no-untyped-def]
        n = types.intp

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            moves = Vectors(context, builder, signature, args, 2)
            source, target = moves.pointer(2), moves.pointer(5)
            length = moves.lanes
            chunk = min(width or length, length)  # rows transposed together
            group = length // chunk  # columns that end in one vector

            def trade(held: list[Any], bit: int) -> list[Any]:
                """``held[v]`` is a vector with the (column, row) of each of its lanes."""
                new: list[Any] = [None] * chunk
                for v in range(chunk):
                    if not v & bit:
                        (x, in_x), (y, in_y) = held[v], held[v + bit]
                        for high in (False, True):
                            chosen = sorted(place for place in in_x + in_y if bool(place[0] & (bit * group)) == high)
                            picks = [(in_x + in_y).index(place) for place in chosen]
                            new[v + bit * high] = (moves.shuffle(x, y, picks), chosen)
                return new

            last = builder.sub(args[1], moves.index(1))
            rows = []
            for r in range(width or length):
                inside = builder.icmp_signed("<", moves.index(r), last)
                rows.append(builder.mul(args[4], builder.select(inside, moves.index(r), last)))

            def square(i: Any, mask: Any) -> None:
                for first in range(0, width or length, chunk):
                    held: list[Any] = []
                    for r in range(chunk):
                        value = moves.load(source, builder.add(rows[first + r], i), length, mask)
                        held.append((value, [(column, r) for column in range(length)]))
                    bit = 1
                    while bit < chunk:
                        held, bit = trade(held, bit), 2 * bit
                    for value, places in held:
                        for lane in range(0, length, chunk):  # lanes lane .. lane + chunk are one column
                            part = value if group == 1 else moves.shuffle(value, value, list(range(lane, lane + chunk)))
                            to = builder.mul(builder.add(i, moves.index(places[lane][0])), args[7])
                            moves.store(part, target, builder.add(to, moves.index(first)), chunk)

            rest = builder.and_(args[0], moves.index(length - 1))
            bulk = builder.sub(args[0], rest)
            with moves.steps(bulk, length) as (i, _):
                square(i, None)
            with builder.if_then(builder.icmp_signed(">", rest, moves.index(0))):
                square(bulk, moves.first(rest, length))
            return context.get_dummy_value()

        return types.void(n, n, source, n, n, target, n, n), codegen

    return transpose


@intrinsic
def _write_rows(typingctx, rows, columns, source, s, lds, target, t, ldt, add):  # type: ignore[no-untyped-def]
    """``target[t + i * ldt + j] = source[s + i * lds + j] [+ itself, if add]`` for i < rows, j < columns, by vectors."""
    n = types.intp

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        moves = Vectors(context, builder, signature, args, 2)
        source, target = moves.pointer(2), moves.pointer(5)
        with moves.steps(args[0], 1) as (i, _), moves.steps(args[1], moves.lanes) as (j, _):
            mask = moves.first(builder.sub(args[1], j), moves.lanes)
            value = moves.load(source, builder.add(builder.mul(i, args[4]), j), moves.lanes, mask)
            to = builder.add(builder.mul(i, args[7]), j)
            adding = moves.first(builder.mul(args[8], moves.index(moves.lanes)), moves.lanes)
            before = moves.load(target, to, moves.lanes, builder.and_(mask, adding))
            moves.store(builder.fadd(value, before), target, to, moves.lanes, mask)
        return context.get_dummy_value()

    return types.void(n, n, source, n, n, target, n, n, n), codegen


# ------------------------------------------------------------------------------------------------------------ on CPUs

_copy_rows, _transpose_rows = _copy_strip(ROWS), _transpose_strip(ROWS)
_copy_lanes, _transpose_lanes = _copy_strip(0), _transpose_strip(0)
_tile_1, _tile_2, _tile_3 = fma_tile(ROWS, 1), fma_tile(ROWS, 2), fma_tile(ROWS, 3)


@jit
def _block_cpu(a, a0, lda, ta, b, b0, ldb, tb, bias, bias0, out, c0, ldc, m, n, k, work, w0, plan, length):  # type: ignore[no-untyped-def]
    """One block of C, m x n at ``out[c0:]``: A's block begins at a[a0], B's at b[b0]; ``work[w0:]`` is this thread's.

    The thread's share holds packed A, a tile for the edges of C, and packed B, each with room for what a transpose
    writes behind a panel.
    """
    scratch = w0 + (_BLOCK_ROWS + ROWS) * DEPTH
    packed_b = scratch + 3 * ROWS * length
    in_place = plan[13] == 1
    for k0 in range(0, k, DEPTH):
        depth = min(DEPTH, k - k0)
        for m0 in range(0, m, _BLOCK_ROWS):
            rows = min(_BLOCK_ROWS, m - m0)
            for r in range(0, rows, ROWS):
                to = w0 + r * depth
                if ta:
                    _copy_rows(depth, rows - r, a, a0 + k0 * lda + m0 + r, lda, work, to, ROWS)
                else:
                    _transpose_rows(depth, rows - r, a, a0 + (m0 + r) * lda + k0, lda, work, to, ROWS)
            column = 0
            while column < n:
                # Three vectors, but never a lone last one: its tile has too few independent sums to hide latency.
                left = (n - column + length - 1) // length
                vectors = 3 if left == 3 or left > 4 else (2 if left != 1 else 1)
                width = vectors * length
                direct = in_place and column + width <= n
                right, panel = (b, b0 + k0 * ldb + column) if direct else (work, packed_b + column * depth)
                first_tap = _TAPS + (0 if direct else vectors) * DEPTH
                if m0 == 0 and not direct:
                    for j in range(column, column + width, length):
                        to = panel + j - column
                        if tb:
                            _transpose_lanes(depth, n - j, b, b0 + j * ldb + k0, ldb, work, to, width)
                        else:
                            _copy_lanes(depth, n - j, b, b0 + k0 * ldb + j, ldb, work, to, width)
                for r in range(0, rows, ROWS):
                    high, wide = min(ROWS, rows - r), min(width, n - column)
                    c = c0 + (m0 + r) * ldc + column
                    add = 1 if k0 > 0 else 0
                    if bias.size > 0 and k0 == 0:
                        add = 1
                        _write_rows(high, wide, bias, bias0 + column, 0, out, c, ldc, 0)
                    whole = high == ROWS and wide == width
                    target, t0, ldt, onto = (out, c, ldc, add) if whole else (work, scratch, width, 0)
                    left_panel = w0 + r * depth
                    if vectors == 3:
                        _tile_3(depth, work, left_panel, right, panel, plan, first_tap, target, t0, ldt, onto)
                    elif vectors == 2:
                        _tile_2(depth, work, left_panel, right, panel, plan, first_tap, target, t0, ldt, onto)
                    else:
                        _tile_1(depth, work, left_panel, right, panel, plan, first_tap, target, t0, ldt, onto)
                    if not whole:
                        _write_rows(high, wide, work, scratch, width, out, c, ldc, add)
                column += width


@jit
def _matmul_task(stage, task, thread, a, b, bias, out, work, plan):  # type: ignore[no-untyped-def]
    """Block number ``task`` of C: out is (pieces, B, M, N), piece s the sum over k in [s * piece, (s + 1) * piece)."""
    batch, many_a, many_b, m, n, k, ta, tb = plan[0], plan[1], plan[2], plan[3], plan[4], plan[5], plan[6], plan[7]
    piece, block_m, block_n, share, length = plan[8], plan[9], plan[10], plan[11], plan[12]
    rows, columns = (m + block_m - 1) // block_m, (n + block_n - 1) // block_n
    lda, ldb = m if ta else k, k if tb else n
    n0 = task % columns * block_n
    m0 = task // columns % rows * block_m
    i = task // (columns * rows) % batch
    s = task // (columns * rows * batch)
    k0 = s * piece
    a0 = many_a * i * m * k + (k0 * lda + m0 if ta else m0 * lda + k0)
    b0 = many_b * i * k * n + (n0 * ldb + k0 if tb else k0 * ldb + n0)
    c0 = ((s * batch + i) * m + m0) * n + n0
    high, wide, deep = min(block_m, m - m0), min(block_n, n - n0), min(piece, k - k0)
    _block_cpu(
        a, a0, lda, ta, b, b0, ldb, tb, bias, n0, out, c0, n, high, wide, deep, work, thread * share, plan, length
    )


_TAPS = 16  # where in the plan the taps begin: offsets of the steps of B in place, of packed panels of 1, 2, 3 vectors


@lru_cache(maxsize=4096)
def _plan(
    batch: int, many_a: int, many_b: int, m: int, n: int, k: int, ta: int, tb: int, threads: int, length: int
) -> tuple[np.ndarray, int, int, int]:
    """(the plan that ``_matmul_task`` reads, tasks, pieces of the sum, elements of work memory).

    Pieces follow from the shape alone, since they decide how the sum is grouped; blocks do not touch the result, and
    are as many as keep the threads busy at the least packing (weighed as 8 multiply-add cycles an element).
    """
    threads = threads if batch * m * n * k > _SERIAL else 1
    tiles = batch * -(-m // ROWS) * -(-n // (3 * length))
    piece = _SPLIT if k >= _SPLIT_FROM and tiles <= 16 else k
    pieces = -(-k // piece)
    choices = []
    for across in range(1, threads + 1):
        down = -(-threads // (across * batch * pieces))
        block_m = -(-m // (down * ROWS)) * ROWS
        block_n = min(-(-n // (across * length)) * length, _BLOCK_COLUMNS // length * length)
        tasks = batch * pieces * -(-m // block_m) * -(-n // block_n)
        cost = -(-tasks // threads) * (block_m * block_n + 8 * (block_m + block_n))
        choices.append((cost, block_m, block_n, tasks))
    _, block_m, block_n, tasks = min(choices)
    # A thread's share (see _block_cpu): packed A, a tile, packed B whose last panel may be up to 3 vectors too wide.
    share = (_BLOCK_ROWS + ROWS) * DEPTH + 3 * ROWS * length + (block_n + 6 * length) * DEPTH
    # Packing B pays only where many rows of A use it; a transposed B has no rows to read vectors from.
    in_place = int(not tb and block_m <= _IN_PLACE)
    plan = np.zeros(_TAPS + 4 * DEPTH, np.int64)
    plan[:14] = batch, many_a, many_b, m, n, k, ta, tb, piece, block_m, block_n, share, length, in_place
    plan[_TAPS:] = np.concatenate([np.arange(DEPTH) * step for step in (n, length, 2 * length, 3 * length)])
    return plan, tasks, pieces, numba.config.NUMBA_NUM_THREADS * share


_kept = threading.local()
_KEEP = 1 << 20  # elements


def _workspace(size: int, dtype: np.dtype) -> np.ndarray:
    """Scratch memory. Small ones are kept, for each thread that calls, since even the pool costs 2 us."""
    if size > _KEEP:
        return empty((size,), dtype)
    kept = getattr(_kept, dtype.char, None)
    if kept is None or kept.size < size:
        kept = empty((size,), dtype)
        setattr(_kept, dtype.char, kept)
    return kept


def _matmul_cpu(
    a: np.ndarray, b: np.ndarray, bias: np.ndarray, out: np.ndarray, transpose_a: bool, transpose_b: bool
) -> None:
    batch, m, n = out.shape
    k = a.shape[1] if transpose_a else a.shape[2]
    if out.size == 0:
        return
    if k == 0:
        out[...] = bias if bias.size else 0
        return
    dtype = out.dtype
    plan, tasks, pieces, size = _plan(
        batch, int(a.shape[0] > 1), int(b.shape[0] > 1), m, n, k,
        int(transpose_a), int(transpose_b), numba.get_num_threads(), lanes(dtype),
    )  # fmt: skip
    target, added = out.reshape(-1), bias
    if pieces > 1:
        target, added = empty((pieces * out.size,), dtype), bias[:0]
    run_stages(_matmul_task, (tasks, 0), a.reshape(-1), b.reshape(-1), added, target, _workspace(size, dtype), plan)
    if pieces > 1:
        np.add.reduce(target.reshape(pieces, batch, m, n), axis=0, out=out)
        if bias.size:
            out += bias


# ------------------------------------------------------------------------------------------------------------ on CUDA

_EACH = 4  # a thread holds _EACH x _EACH elements of C, TILE apart


@cache
def _matmul_cuda_kernel(tile: int) -> Any:
    """The kernel for blocks of tile x tile threads: each block makes (4 tile) x (4 tile) of C, tile terms at a time."""
    edge = _EACH * tile
    padded = edge + 1  # so that stores down a column meet different banks

    @cuda.jit
    def matmul_cuda(a, b, bias, out, transpose_a, transpose_b):  # type: ignore[no-untyped-def]
        left = cuda.shared.array((tile, padded), dtype=out.dtype)
        right = cuda.shared.array((tile, padded), dtype=out.dtype)
        total = cuda.local.array((_EACH, _EACH), dtype=out.dtype)
        part = cuda.local.array((_EACH, _EACH), dtype=out.dtype)
        zero = out.dtype.type(0)
        m, n = out.shape[1], out.shape[2]
        k = a.shape[1] if transpose_a else a.shape[2]
        x, y = cuda.threadIdx.x, cuda.threadIdx.y
        m0, n0 = cuda.blockIdx.y * edge, cuda.blockIdx.x * edge
        for i in range(cuda.blockIdx.z, out.shape[0], cuda.gridDim.z):
            in_a = i if a.shape[0] > 1 else 0
            in_b = i if b.shape[0] > 1 else 0
            for r in range(_EACH):
                for c in range(_EACH):
                    total[r, c] = zero
            for k0 in range(0, k, tile):
                for r in range(_EACH):  # neighbouring threads (x) read neighbouring elements of either layout
                    value = zero
                    if transpose_a:
                        if k0 + y < k and m0 + r * tile + x < m:
                            value = a[in_a, k0 + y, m0 + r * tile + x]
                        left[y, r * tile + x] = value
                    else:
                        if k0 + x < k and m0 + r * tile + y < m:
                            value = a[in_a, m0 + r * tile + y, k0 + x]
                        left[x, r * tile + y] = value
                    value = zero
                    if transpose_b:
                        if k0 + x < k and n0 + r * tile + y < n:
                            value = b[in_b, n0 + r * tile + y, k0 + x]
                        right[x, r * tile + y] = value
                    else:
                        if k0 + y < k and n0 + r * tile + x < n:
                            value = b[in_b, k0 + y, n0 + r * tile + x]
                        right[y, r * tile + x] = value
                cuda.syncthreads()
                for r in range(_EACH):
                    for c in range(_EACH):
                        part[r, c] = zero
                for t in range(tile):
                    for r in range(_EACH):
                        for c in range(_EACH):
                            part[r, c] += left[t, r * tile + y] * right[t, c * tile + x]
                for r in range(_EACH):  # blocks of tile terms are added up, so that rounding grows with k / tile
                    for c in range(_EACH):
                        total[r, c] += part[r, c]
                cuda.syncthreads()
            for r in range(_EACH):
                for c in range(_EACH):
                    row, column = m0 + r * tile + y, n0 + c * tile + x
                    if row < m and column < n:
                        out[i, row, column] = total[r, c] + bias[column] if bias.size > 0 else total[r, c]

    return matmul_cuda


_MAX_GRID = 65535  # of a grid's y and z


def _matmul_cuda(a: Any, b: Any, bias: Any, out: Any, transpose_a: bool, transpose_b: bool) -> None:
    batch, m, n = out.shape
    if out.size == 0:
        return
    kind = mma.kind_of(out.dtype, backends.cuda.matmul.allow_tf32)
    if kind and matmul_tensor_core.fits(a, b, out):
        matmul_tensor_core.matmul_tensor_core(kind, a, b, bias, out, transpose_a, transpose_b)
        return
    tile = launch.TILE
    grid, block = launch.tiles(-(-m // _EACH), -(-n // _EACH), min(batch, _MAX_GRID))
    _matmul_cuda_kernel(tile)[grid, block](a, b, bias, out, int(transpose_a), int(transpose_b))


def _matmul_half(a: Any, b: Any, bias: Any, out: Any, transpose_a: bool, transpose_b: bool) -> bool:
    """The product of float16 or bfloat16 arrays on tensor cores; False where they do not take it."""
    kind = mma.kind_of(out.dtype, False)
    same = a.dtype == b.dtype == out.dtype and (bias.dtype == out.dtype or not bias.size)
    if not (kind and same and matmul_tensor_core.fits(a, b, out)):
        return False
    matmul_tensor_core.matmul_tensor_core(kind, a, b, bias, out, transpose_a, transpose_b)
    return True


matmul = Kernel("matmul", reference=matmul_reference, cpu=_matmul_cpu, cuda=_matmul_cuda, half=_matmul_half)


# ------------------------------------------------------------------------------------------------------ bias gradient


def matmul_grad_bias_reference(dy: np.ndarray, db: np.ndarray) -> None:
    for column in range(dy.shape[1]):
        db[column] = np.sum(dy[:, column].astype(np.float64))


@jit
def _sum_rows_cpu(dy, stride, n, first, last, total):  # type: ignore[no-untyped-def]
    """``total`` (n,), float64 = the sum of dy's rows first .. last. Slices tell LLVM that no index is negative."""
    total[:] = 0
    i = first
    while i + 4 <= last:  # four rows at a time: a quarter of the conversions to float64
        r0, r1 = dy[i * stride :][:n], dy[(i + 1) * stride :][:n]
        r2, r3 = dy[(i + 2) * stride :][:n], dy[(i + 3) * stride :][:n]
        for j in range(n):
            total[j] += (r0[j] + r1[j]) + (r2[j] + r3[j])
        i += 4
    while i < last:
        row = dy[i * stride :][:n]
        for j in range(n):
            total[j] += row[j]
        i += 1


@jit(parallel=True)
def _sum_columns_cpu(dy, db, work, m, n, groups, block):  # type: ignore[no-untyped-def]
    rows, columns = (m + groups - 1) // groups, (n + block - 1) // block
    for task in prange(groups * columns):
        g, j = task // columns, task % columns * block
        wide = min(block, n - j)
        _sum_rows_cpu(dy[j:], n, wide, min(m, g * rows), min(m, g * rows + rows), work[g * n + j :][:wide])
    total = work[:n]
    for g in range(1, groups):
        part = work[g * n :][:n]
        for j in range(n):
            total[j] += part[j]
    for j in range(n):
        db[j] = total[j]


def _matmul_grad_bias_cpu(dy: np.ndarray, db: np.ndarray) -> None:
    m, n = dy.shape
    # Groups of rows follow from the shape alone, since they decide how the sums are grouped.
    groups = max(1, min(32, m * n // 16384, m // 64))
    block = min(n, 256)
    work = _workspace(max(groups * n, 1), _FLOAT64)
    if groups == 1 and n == block:  # no thread to wake, and the parallel loop need not be compiled
        _sum_rows_cpu(dy.reshape(-1), n, n, 0, m, work[:n])
        db[:] = work[:n]
    else:
        _sum_columns_cpu(dy.reshape(-1), db, work, m, n, groups, max(block, 1))


@cache
def _matmul_grad_bias_cuda_kernel(tile: int) -> Any:
    """The kernel for blocks of tile x tile threads: a block makes tile sums, a column of threads each."""

    @cuda.jit
    def matmul_grad_bias_cuda(dy, db):  # type: ignore[no-untyped-def]
        sums = cuda.shared.array((tile, tile), dtype=db.dtype)
        x, y = cuda.threadIdx.x, cuda.threadIdx.y
        column = cuda.blockIdx.x * tile + x
        total, lost = db.dtype.type(0), db.dtype.type(0)  # Kahan: what rounding took from the total
        if column < db.shape[0]:
            for row in range(y, dy.shape[0], tile):
                value = dy[row, column] - lost
                new = total + value
                lost = (new - total) - value
                total = new
        sums[y, x] = total
        cuda.syncthreads()
        width = tile
        while width > 1:
            half = (width + 1) // 2
            if y + half < width:
                sums[y, x] += sums[y + half, x]
            cuda.syncthreads()
            width = half
        if y == 0 and column < db.shape[0]:
            db[column] = sums[0, x]

    return matmul_grad_bias_cuda


def _matmul_grad_bias_cuda(dy: Any, db: Any) -> None:
    if db.size:
        tile = launch.TILE
        _matmul_grad_bias_cuda_kernel(tile)[-(-db.size // tile), (tile, tile)](dy, db)


matmul_grad_bias = Kernel(
    "matmul_grad_bias",
    reference=matmul_grad_bias_reference,
    cpu=_matmul_grad_bias_cpu,
    cuda=_matmul_grad_bias_cuda,
)

CUDA_KERNELS = (
    (
        lambda: _matmul_cuda_kernel(launch.TILE),
        "void(float32[:, :, ::1], float32[:, :, ::1], float32[::1], float32[:, :, ::1], int64, int64)",
    ),
    (lambda: _matmul_grad_bias_cuda_kernel(launch.TILE), "void(float32[:, ::1], float32[::1])"),
)
