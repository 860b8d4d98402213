"""Matrix products on CUDA's tensor cores: TF32 for float32, and float16 and bfloat16, with float32 sums.

Contract of ``matmul_tensor_core(kind, a, b, bias, out, transpose_a, transpose_b, add, relu)``: ``matmul.py``'s contract for
``matmul``, and then
    out += add    where ``add`` (B, M, N) is given; it may be ``out`` itself, whose old values are then added to,
    out = max(out, 0) where ``relu``; NaN stays NaN.

``kind`` is one of ``mma.KINDS``; for halves all arrays are uint16 bits. Inputs are rounded to TF32 where they are
float32; sums are float32 and the result is rounded once, to ``out``'s type. An element's value depends on shapes alone. The
caller allocates; C-contiguous arrays of fewer than 2**31 elements each.

A block makes one tile of the result (``mma.Tile``). Tiles of DEPTH words of both operands pass through shared memory,
STAGES of them at a time::

    step t:   | wait for tile t | ask for tile t + 2 | multiply tile t |   next step
    memory:        tile t + 1 on its way, then t + 2 as well ------------->

An operand whose rows run along the sum and begin at multiples of 16 bytes is copied 16 bytes at a time. Any other is
copied word by word: float32 still asynchronously, halves through registers, two of them packed into a word.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numba

from numbanet.devices import cuda
from numbanet.kernels import launch, mma
from numbanet.kernels.mma import CHUNK, DEPTH, STAGES, Tile, commit_copies, copy_4, place, quotient


@lru_cache(maxsize=64)
def _loader(kind: str, rows: int, threads: int, chunks: bool) -> tuple[Any, Any]:
    """``fetch`` and ``put`` of one operand: the first asks for a tile, the second stores what it left in registers.

    ``fetch(words, at, staged, source, base, first, end, stride, k0, terms, step)``: element (r, k) of the tile is
    ``source[base + (first + r) * stride + (k0 + k) * step]``, zero where first + r >= end or k0 + k >= terms.
    ``put(words, at, staged)`` follows once the tile's place in shared memory is free (the others may write at once: the
    place that ``fetch`` is given was free a step ago).
    """
    each = mma.terms_of_word(kind)
    groups = rows // 8 * 32 // threads  # groups of eight rows to a warp
    warps = threads // 32
    copy_rows = mma.copy_rows(kind, rows, threads)

    @cuda.jit(device=True, inline="always")
    def fetch_chunks(words, at, staged, source, base, first, end, stride, k0, terms, step):
        k = k0 + numba.uint32(cuda.threadIdx.x) % 4 * (CHUNK * each)
        copy_rows(words, at, source, base + k, first, end, stride, k < terms)

    @cuda.jit(device=True, inline="always")
    def put_nothing(words, at, staged):
        pass

    # Eight lanes side by side take eight rows, four times eight the words of a chunk: all banks meet once, and memory
    # that is contiguous along the rows is read 32 bytes at a time.

    @cuda.jit(device=True, inline="always")
    def fetch_words(words, at, staged, source, base, first, end, stride, k0, terms, step):
        thread = numba.uint32(cuda.threadIdx.x)
        lane, warp = thread % 32, thread // 32
        for i in range(groups):
            row = (warp + warps * i) * 8 + lane % 8
            begin = numba.int32(base + (first + row) * stride)
            for chunk in range(CHUNK):
                word = 4 * chunk + lane // 8
                k = numba.int32(k0 + word)
                index = numba.int32(begin + k * step)
                copy_4(words, at + place(row, word), source, index, first + row < end and k < terms)

    @cuda.jit(device=True, inline="always")
    def fetch_halves(words, at, staged, source, base, first, end, stride, k0, terms, step):
        thread = numba.uint32(cuda.threadIdx.x)
        lane, warp = thread % 32, thread // 32
        for i in range(groups):
            row = (warp + warps * i) * 8 + lane % 8
            begin = numba.int32(base + (first + row) * stride)
            for chunk in range(CHUNK):
                k = numba.int32(k0 + 2 * (4 * chunk + lane // 8))
                index = numba.int32(begin + k * step)
                low, high = numba.uint32(0), numba.uint32(0)
                if first + row < end:
                    if k < terms:
                        low = numba.uint32(source[index])
                    if k + 1 < terms:
                        high = numba.uint32(source[index + step])
                staged[4 * i + chunk] = low | high << 16

    @cuda.jit(device=True, inline="always")
    def put_halves(words, at, staged):
        thread = numba.uint32(cuda.threadIdx.x)
        lane, warp = thread % 32, thread // 32
        for i in range(groups):
            row = (warp + warps * i) * 8 + lane % 8
            for chunk in range(CHUNK):
                words[at + place(row, 4 * chunk + lane // 8)] = staged[4 * i + chunk]

    if chunks:
        return fetch_chunks, put_nothing
    return (fetch_words, put_nothing) if each == 1 else (fetch_halves, put_halves)


@lru_cache(maxsize=64)
def _matmul_kernel(kind: str, tile: Tile, left_chunks: bool, right_chunks: bool) -> Any:
    """The kernel for one kind of input and tile, by whether each operand comes in chunks of 16 bytes."""
    rows, columns, threads, stage = tile.rows, tile.columns, tile.threads, tile.stage
    across, high, wide = tile.across, tile.high, tile.wide
    fetch_left, put_left = _loader(kind, rows, threads, left_chunks)
    fetch_right, put_right = _loader(kind, columns, threads, right_chunks)
    multiply, wait = mma.multiply_tile(kind, tile), mma.wait_copies(STAGES - 2)
    widen, narrow = mma.widen(kind), mma.narrow(kind)
    terms = DEPTH * mma.terms_of_word(kind)
    lead = (STAGES - 1) * terms  # how far asking is ahead of multiplying
    size, results, strip, right = STAGES * stage, 4 * high * wide, 4 * wide, rows * DEPTH
    of_left, of_right = rows * DEPTH // threads, columns * DEPTH // threads

    @cuda.jit(**launch.bounds(tile.threads, 2))
    def matmul_tensor_core(a, b, bias, add, out, m, n, depth, a_batch, a_row, a_term, b_batch, b_column, b_term, relu):
        words = cuda.shared.array(size, numba.uint32, alignment=16)
        total = cuda.local.array(results, numba.float32)
        from_a = cuda.local.array(of_left, numba.uint32)
        from_b = cuda.local.array(of_right, numba.uint32)
        m, n, depth = numba.int32(m), numba.int32(n), numba.int32(depth)
        a_row, a_term, b_column, b_term = (
            numba.int32(a_row),
            numba.int32(a_term),
            numba.int32(b_column),
            numba.int32(b_term),
        )
        down = (m + rows - 1) // rows
        block_column = quotient(cuda.blockIdx.x, down)
        row0 = numba.int32((cuda.blockIdx.x - block_column * down) * rows)
        column0 = numba.int32(block_column * columns)
        a_base, b_base = numba.int32(cuda.blockIdx.y * a_batch), numba.int32(cuda.blockIdx.y * b_batch)
        for i in range(results):
            total[i] = numba.float32(0)
        at, into = numba.int32(0), numba.int32(0)  # the tile to multiply, the place of the next one
        for k0 in range(-lead, depth, terms):
            k = numba.int32(k0 + lead)
            if k0 >= 0:
                wait()
                cuda.syncthreads()  # this tile is there for all, and all are done with the one before
            if k < depth:
                fetch_left(words, into, from_a, a, a_base, row0, m, a_row, k, depth, a_term)
                fetch_right(words, into + right, from_b, b, b_base, column0, n, b_column, k, depth, b_term)
            commit_copies()
            if k0 >= 0:
                multiply(words, at, at + right, total)
                at = numba.int32(at + stage)
                if at == size:
                    at = numba.int32(0)
            if k < depth:
                put_left(words, into, from_a)
                put_right(words, into + right, from_b)
            into = numba.int32(into + stage)
            if into == size:
                into = numba.int32(0)
        thread = numba.uint32(cuda.threadIdx.x)
        lane, warp = thread % 32, thread // 32
        row0 += warp // across * high * 16 + lane // 4
        column0 += warp % across * wide * 8 + lane % 4 * 2
        base = numba.int32(cuda.blockIdx.y * m)
        for _ in range(high):
            for i in range(strip):
                row, column = row0 + i % 4 // 2 * 8, column0 + i // 4 * 8 + i % 2
                if row < m and column < n:
                    value = total[i]
                    index = numba.int32((base + row) * n + column)
                    if bias.shape[0] > 0:
                        value += widen(bias[column])
                    if add.shape[0] > 0:
                        value += widen(add[index])
                    if relu and value < 0:
                        value = numba.float32(0)
                    out[index] = narrow(value)
            for i in range(results - strip):  # the next strip moves up: registers have no index but a constant
                total[i] = total[i + strip]
            row0 += 16

    return matmul_tensor_core


def fits(a: Any, b: Any, out: Any) -> bool:
    """Whether the kernel's 32-bit indices and its grid reach all of the product."""
    return max(a.size, b.size, out.size) < 1 << 31 and out.shape[0] < 1 << 16


def matmul_tensor_core(
    kind: str,
    a: Any,
    b: Any,
    bias: Any,
    out: Any,
    transpose_a: bool,
    transpose_b: bool,
    add: Any = None,
    relu: bool = False,
) -> None:
    """The module's contract."""
    batch, m, n = out.shape
    if out.size == 0:
        return
    depth = a.shape[1] if transpose_a else a.shape[2]
    chunk = CHUNK * mma.terms_of_word(kind)
    a_row, a_term = (1, m) if transpose_a else (depth, 1)
    b_column, b_term = (depth, 1) if transpose_b else (1, n)
    left_chunks, right_chunks = (
        step == 1 and depth % chunk == 0 and depth > 0 and mma.is_aligned(array)
        for step, array in ((a_term, a), (b_term, b))
    )
    tile = mma.choose_tile(m, n, batch)
    kernel = _matmul_kernel(kind, tile, left_chunks, right_chunks)
    blocks = -(-m // tile.rows) * -(-n // tile.columns)
    bias, flat = mma.bits_of(bias), mma.bits_of(out)
    kernel[(blocks, batch), tile.threads](
        mma.bits_of(a), mma.bits_of(b), bias, mma.none_like(flat) if add is None else mma.bits_of(add), flat, m, n, depth,
        m * depth if a.shape[0] > 1 else 0, a_row, a_term, n * depth if b.shape[0] > 1 else 0, b_column, b_term, int(relu),
    )  # fmt: skip


def _signature(kind: str) -> str:
    element = "float32" if kind == "tf32" else "uint16"
    return f"void({', '.join([f'{element}[::1]'] * 5 + ['int64'] * 10)})"


CUDA_KERNELS = tuple(
    (lambda options=options: _matmul_kernel(*options), _signature(options[0]))
    for options in (
        *(("tf32", mma.LARGE, chunks, chunks) for chunks in (True, False)),
        *(("bfloat16", mma.LARGE, chunks, chunks) for chunks in (True, False)),
        ("float16", mma.LARGE, False, False),
        ("tf32", mma.SMALL, True, True),
    )
)
