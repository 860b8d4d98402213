"""Convolution on CUDA's tensor cores: implicit im2col into swizzled shared memory, TF32 or halves, float32 sums.

Contract: ``conv2d.py``'s for ``conv2d_forward``, ``conv2d_grad_input`` and ``conv2d_grad_weight`` (without dbias), with a first
argument ``kind`` of ``mma.KINDS`` (halves are uint16 bits), and after the forward's sum
    y += add    where ``add`` (N, O, OH, OW) is given,
    y = max(y, 0) where ``relu``; NaN stays NaN.
Outputs are overwritten, and the caller allocates them; scratch (packed weights, partial sums) is allocated here. Inputs are
rounded to TF32 where they are float32, sums are float32 and rounded once, to the output's type. Nothing depends on the order in
which blocks run: sums that are split are added in order. NaN and infinity go where the sums take them.
Arrays of fewer than 2**31 elements each.

Each pass is a product whose right side is never stored. Its columns and the terms of its sum both name a place in an image,
and the places add up: element (column, term) is the pixel at

    base[column] + base[term] + (y[column] + y[term]) * width + x[column] + x[term]        (0 outside of the image)

    pass            rows of the result   its columns           terms of the sum
    forward         output channels      pixels of y           kernel element (i, j), input channel c
    grad_input      input channels       pixels of dx          kernel element (i, j), output channel c
    grad_weight     output channels      (channel, i, j)       pixels of dy

A thread keeps the places of its few columns in registers, and those of its few terms as three digits that count on from
tile to tile without a division. Columns and terms cross in ``fetch``: one addition for the address, two comparisons for the border.

- **forward, grad_input**: weights are packed first (``_pack_cuda``): rows along the sum, in the terms' order, with channels
  filled up with zeros to whole 16-byte chunks. So the left side always comes 16 bytes at a time, whatever its geometry.
- **grad_input** with strides: pixels of one residue modulo the stride meet the same kernel elements. Each residue is a product of its
  own with just those, a stride-1 correlation of dy; no zero is multiplied.
- **grad_weight**: the sum runs over all pixels of all images and is cut into splits, a block each; partial sums are stored and
  added in order.

``mma.py`` says how a tile is multiplied, ``docs/implicit_gemm.md`` explains it all at leisure.
"""

from __future__ import annotations

from functools import lru_cache, partial
from math import gcd
from typing import Any

import numba
import numpy as np

from numbanet.devices import cuda, device_of, empty
from numbanet.kernels import launch, mma
from numbanet.kernels.conv2d_plan import ceil
from numbanet.kernels.mma import CHUNK, DEPTH, STAGES, Tile, commit_copies, copy_4, place, quotient

_NOWHERE = -(1 << 30)  # a row above every image
_SPLIT_BLOCKS = 528  # blocks that grad_weight is cut into: four for each of 132 multiprocessors
_TERMS_OF_SPLIT = 8  # tiles of terms that a split has at least


# ----------------------------------------------------------------------------------------------------- shared by the passes


@lru_cache(maxsize=64)
def _gather(kind: str, rows: int, threads: int, over_pixels: bool) -> tuple[Any, Any]:
    """``fetch`` and ``put`` of a gathered side, ``rows`` columns of the product in rows of shared memory.

    ``fetch(words, at, staged, source, base, top, side, term, steps, ends, scales, height, width)`` asks for a tile. base, top
    and side are the places of the thread's columns; ``term`` has the three digits (slow, middle, fast) of its first word,
    whose place (base, y, x) is
        over_pixels:   (slow * scales[0], middle * scales[1], fast * scales[2])     image, row, column
        otherwise:     (fast * scales[2], slow * scales[0], middle * scales[1])     channel; kernel row, kernel column
    Terms from slow = ends[0] or fast = ends[3] on are zero; ends[1] and ends[2] are where the middle and the fast digit
    start over. ``steps`` are the digits of a chunk's terms: a thread has a word in each of a tile's four chunks, and ``term`` is moved
    on from one to the next, and at last to the next tile.
    ``put(words, at, staged)`` stores halves that ``fetch`` left in registers, once their place in shared memory is free.
    """
    each = mma.terms_of_word(kind)
    groups, warps = rows * 4 // threads, threads // 32

    @cuda.jit(device=True, inline="always")
    def place_of(slow, middle, fast, scales):
        if over_pixels:
            return slow * scales[0], middle * scales[1], fast * scales[2]
        return fast * scales[2], slow * scales[0], middle * scales[1]

    @cuda.jit(device=True, inline="always")
    def move_on(term, steps, ends):
        slow, middle, fast = term[0] + steps[0], term[1] + steps[1], term[2] + steps[2]
        if fast >= ends[2]:
            fast -= ends[2]
            middle += 1
        if middle >= ends[1]:
            middle -= ends[1]
            slow += 1
        term[0], term[1], term[2] = slow, middle, fast

    # Eight lanes side by side take eight columns, four times eight the words of a chunk.

    @cuda.jit(device=True, inline="always")
    def fetch_words(words, at, staged, source, base, top, side, term, steps, ends, scales, height, width):
        thread = numba.uint32(cuda.threadIdx.x)
        lane, warp = thread % 32, thread // 32
        for chunk in range(CHUNK):
            first, down, across = place_of(term[0], term[1], term[2], scales)
            there = term[0] < ends[0] and term[2] < ends[3]
            for i in range(groups):
                y, x = numba.int32(top[i] + down), numba.int32(side[i] + across)
                inside = there and y >= 0 and y < height and x >= 0 and x < width
                index = numba.int32(base[i] + first + y * width + x) if inside else numba.int32(0)
                to = at + place((warp + warps * i) * 8 + lane % 8, 4 * chunk + lane // 8)
                copy_4(words, to, source, index, inside)
            move_on(term, steps, ends)

    @cuda.jit(device=True, inline="always")
    def put_nothing(words, at, staged):
        pass

    @cuda.jit(device=True, inline="always")
    def fetch_halves(words, at, staged, source, base, top, side, term, steps, ends, scales, height, width):
        for chunk in range(CHUNK):
            first, down, across = place_of(term[0], term[1], term[2], scales)
            there = term[0] < ends[0] and term[2] < ends[3]
            # The word's second half: the next term. Channels come in whole chunks, pixels go on in the next row or image.
            s, m, f = term[0], term[1], numba.int32(term[2] + 1)
            if over_pixels and f >= ends[2]:
                m, f = numba.int32(m + 1), numba.int32(0)
                if m >= ends[1]:
                    s, m = numba.int32(s + 1), numba.int32(0)
            second, down2, across2 = place_of(s, m, f, scales)
            there2 = s < ends[0] and f < ends[3]
            for i in range(groups):
                low, high = numba.uint32(0), numba.uint32(0)
                y, x = numba.int32(top[i] + down), numba.int32(side[i] + across)
                if there and y >= 0 and y < height and x >= 0 and x < width:
                    low = numba.uint32(source[numba.int32(base[i] + first + y * width + x)])
                y, x = numba.int32(top[i] + down2), numba.int32(side[i] + across2)
                if there2 and y >= 0 and y < height and x >= 0 and x < width:
                    high = numba.uint32(source[numba.int32(base[i] + second + y * width + x)])
                staged[groups * chunk + i] = low | high << 16
            move_on(term, steps, ends)

    @cuda.jit(device=True, inline="always")
    def put_halves(words, at, staged):
        thread = numba.uint32(cuda.threadIdx.x)
        lane, warp = thread % 32, thread // 32
        for chunk in range(CHUNK):
            for i in range(groups):
                to = at + place((warp + warps * i) * 8 + lane % 8, 4 * chunk + lane // 8)
                words[to] = staged[groups * chunk + i]

    return (fetch_words, put_nothing) if each == 1 else (fetch_halves, put_halves)


def _numbers(*values: int) -> tuple[Any, ...]:
    """Numbers as the kernels take them: one tuple of int32."""
    return tuple(np.int32(value) for value in values)


def _digits(number: int, middle: int, fast: int) -> tuple[int, int, int]:
    """(slow, middle, fast) digits of a term."""
    return number // (middle * fast), number // fast % middle, number % fast


# ------------------------------------------------------------------------------------------- forward and grad_input


@cuda.jit
def _pack_cuda(weight, packed, numbers):
    """packed[row of all groups, term] for terms (i, j, c), c filled up to whole chunks and terms to whole tiles with zeros."""
    rows, depth, channels, padded, high, wide, group_step, row_step, channel_step, i_step, j_step, first = numbers
    at = numba.int32(cuda.grid(1))
    if at < packed.shape[0]:
        row = quotient(at, depth)
        term = at - row * depth
        tap = quotient(term, padded)
        c = term - tap * padded
        value = packed.dtype.type(0)
        if tap < high * wide and c < channels:
            i, group = quotient(tap, wide), quotient(row, rows)
            j, row = tap - i * wide, row - group * rows
            value = weight[first + group * group_step + row * row_step + c * channel_step + i * i_step + j * j_step]
        packed[at] = value


@lru_cache(maxsize=64)
def _product_kernel(kind: str, tile: Tile) -> Any:
    """Rows are the packed rows of one group, columns the pixels (n, qy, qx) of a grid laid over the result."""
    rows, columns, threads, stage = tile.rows, tile.columns, tile.threads, tile.stage
    down, across, high, wide = tile.down, tile.across, tile.high, tile.wide
    each = mma.terms_of_word(kind)
    copy_rows = mma.copy_rows(kind, rows, threads)
    fetch, put = _gather(kind, columns, threads, False)
    multiply, wait = mma.multiply_tile(kind, tile), mma.wait_copies(STAGES - 2)
    widen, narrow = mma.widen(kind), mma.narrow(kind)
    terms, chunk_terms, right = DEPTH * each, CHUNK * each, rows * DEPTH
    lead = (STAGES - 1) * terms  # how far asking is ahead of multiplying
    size, results, strip, of_out = STAGES * stage, 4 * high * wide, 4 * wide, 2 * wide
    mine, staged_words, warps = columns * 4 // threads, columns * DEPTH // threads, down * across

    @cuda.jit(**launch.bounds(tile.threads, 2))
    def conv2d_product_tensor_core(source, packed, bias, add, out, ends, steps, scales, numbers, places):
        words = cuda.shared.array(size, numba.uint32, alignment=16)
        total = cuda.local.array(results, numba.float32)
        staged = cuda.local.array(staged_words, numba.uint32)
        base, top = cuda.local.array(mine, numba.int32), cuda.local.array(mine, numba.int32)
        side, term = cuda.local.array(mine, numba.int32), cuda.local.array(3, numba.int32)
        m, depth, height, width, image_step, group_step, count, high_grid, wide_grid, relu = numbers
        y_step, y_first, x_step, x_first, out_image, out_plane, out_y_step, out_x_step, out_first = places
        thread = numba.uint32(cuda.threadIdx.x)
        lane, warp = thread % 32, thread // 32
        group = cuda.blockIdx.y
        blocks_down = (m + rows - 1) // rows
        block_column = quotient(cuda.blockIdx.x, blocks_down)
        row0 = numba.int32((cuda.blockIdx.x - block_column * blocks_down) * rows)
        column0 = numba.int32(block_column * columns)
        pixels = numba.int32(high_grid * wide_grid)
        for i in range(mine):
            column = numba.int32(column0 + (warp + warps * i) * 8 + lane % 8)
            image = quotient(column, pixels)
            pixel = column - image * pixels
            y = quotient(pixel, wide_grid)
            base[i] = image * image_step + group * group_step
            top[i] = y * y_step + y_first if column < count else _NOWHERE
            side[i] = (pixel - y * wide_grid) * x_step + x_first
        word = numba.int32(lane // 8 * each)
        tap = quotient(word, ends[2])
        term[0] = quotient(tap, ends[1])
        term[1], term[2] = tap - term[0] * ends[1], word - tap * ends[2]
        for i in range(results):
            total[i] = numba.float32(0)
        begin = numba.int32(group * m * depth + thread % 4 * chunk_terms)
        at, into = numba.int32(0), numba.int32(0)  # the tile to multiply, the place of the next one
        for k0 in range(-lead, depth, terms):
            k = numba.int32(k0 + lead)
            if k0 >= 0:
                wait()
                cuda.syncthreads()  # this tile is there for all, and all are done with the one before
            if k < depth:
                copy_rows(words, into, packed, begin + k, row0, m, depth, True)
                fetch(words, into + right, staged, source, base, top, side, term, steps, ends, scales, height, width)
            commit_copies()
            if k0 >= 0:
                multiply(words, at, at + right, total)
                at = numba.int32(at + stage)
                if at == size:
                    at = numba.int32(0)
            if k < depth:
                put(words, into + right, staged)
            into = numba.int32(into + stage)
            if into == size:
                into = numba.int32(0)
        index = cuda.local.array(of_out, numba.int32)
        column0 += warp % across * wide * 8 + lane % 4 * 2
        for j in range(of_out):
            column = numba.int32(column0 + j // 2 * 8 + j % 2)
            image = quotient(column, pixels)
            pixel = column - image * pixels
            y = quotient(pixel, wide_grid)
            index[j] = image * out_image + y * out_y_step + (pixel - y * wide_grid) * out_x_step + out_first
            if column >= count:
                index[j] = -1
        row0 += warp // across * high * 16 + lane // 4
        for _ in range(high):
            for i in range(strip):
                row, start = numba.int32(row0 + i % 4 // 2 * 8), index[i // 4 * 2 + i % 2]
                if row < m and start >= 0:
                    o = numba.int32(group * m + row)
                    to = numba.int32(start + o * out_plane)
                    value = total[i]
                    if bias.shape[0] > 0:
                        value += widen(bias[o])
                    if add.shape[0] > 0:
                        value += widen(add[to])
                    if relu and value < 0:
                        value = numba.float32(0)
                    out[to] = narrow(value)
            for i in range(results - strip):  # the next strip moves up: registers have no index but a constant
                total[i] = total[i + strip]
            row0 += 16

    return conv2d_product_tensor_core


def _product(
    kind,
    source,
    weight,
    bias,
    add,
    out,
    groups,
    rows,
    channels,
    taps,
    weight_steps,
    tap_steps,
    grid,
    origin,
    out_steps,
    relu,
):
    """One product into ``out``: every ``rows`` of a group, at the pixels of a grid.

    Args:
        taps: (how many kernel rows, columns).
        weight_steps: of (row, channel, kernel row, kernel column) in ``weight``, and where the first element is.
        tap_steps: by how much a pixel's y and x grow from one kernel row or column to the next.
        grid: pixels (high, wide) of the grid in one image.
        origin: the first pixel's (step down, y, step across, x) in ``source``, under the first kernel element.
        out_steps: of the grid's rows and columns in ``out``, and where its first pixel is.
    """
    n, total_channels, height, width = source.shape
    each = mma.terms_of_word(kind)
    padded = ceil(channels, CHUNK * each) * CHUNK * each
    terms = DEPTH * each
    depth = max(1, ceil(taps[0] * taps[1] * padded, terms)) * terms
    flat = mma.bits_of(weight)
    packed = empty((groups * rows * depth,), flat.dtype, device_of(source))
    row_step, channel_step, i_step, j_step, first = weight_steps
    group_step = weight.size // groups
    numbers = _numbers(rows, depth, channels, padded, *taps, group_step, row_step, channel_step, i_step, j_step, first)
    _pack_cuda[launch.line(packed.size)](flat, packed, numbers)
    count = n * grid[0] * grid[1]
    tile = mma.choose_tile(rows, count, groups)
    blocks = ceil(rows, tile.rows) * ceil(count, tile.columns)
    plane = height * width
    out_plane = out.shape[2] * out.shape[3]
    target = mma.bits_of(out)
    _product_kernel(kind, tile)[(blocks, groups), tile.threads](
        mma.bits_of(source), packed, mma.bits_of(bias), mma.none_like(target) if add is None else mma.bits_of(add), target,
        _numbers(taps[0], max(taps[1], 1), padded, channels), _numbers(*_digits(CHUNK * each, max(taps[1], 1), padded)),
        _numbers(*tap_steps, plane),
        _numbers(rows, depth, height, width, total_channels * plane, channels * plane, count, *grid, int(relu)),
        _numbers(*origin, out.shape[1] * out_plane, out_plane, *out_steps),
    )  # fmt: skip


def conv2d_forward_tensor_core(
    kind, x, weight, bias, y, sh, sw, pt, pl, dh, dw, groups, add=None, relu=False
):  # fmt: skip
    """The contract's conv2d_forward, with its epilogue."""
    if y.size == 0:
        return
    out, channels, kh, kw = weight.shape
    terms = kh * kw
    weight_steps = (channels * terms, terms, kw, 1, 0)
    _product(
        kind, x, weight, bias, add, y, groups, out // groups, channels, (kh, kw), weight_steps, (dh, dw),
        y.shape[2:], (sh, -pt, sw, -pl), (y.shape[3], 1, 0), relu,
    )  # fmt: skip


def _residues(size: int, kernel: int, stride: int, padding: int, dilation: int) -> list[tuple[int, ...]]:
    """Along one axis, for each residue of the input pixel modulo the stride that has pixels:
    (residue, pixels, first kernel element, its step, how many, the output pixel under the first of each, its step)."""
    step = stride // gcd(stride, dilation)
    found: list[tuple[int, ...]] = []
    for residue in range(min(stride, size)):
        pixels = ceil(size - residue, stride)
        first = next((k for k in range(min(step, kernel)) if (residue + padding - k * dilation) % stride == 0), kernel)
        count = ceil(kernel - first, step)
        start = (residue + padding - first * dilation) // stride
        found.append((residue, pixels, first, step, count, start, -(step * dilation // stride)))
    return found


def conv2d_grad_input_tensor_core(kind, dy, weight, dx, sh, sw, pt, pl, dh, dw, groups):
    """The contract's conv2d_grad_input: for each residue modulo the strides the product of just the taps that it meets."""
    if dx.size == 0:
        return
    out, channels, kh, kw = weight.shape
    terms, wide = kh * kw, dx.shape[3]
    none = mma.none_like(mma.bits_of(weight))
    for ry, high_grid, i0, i_step, i_count, y0, y_step in _residues(dx.shape[2], kh, sh, pt, dh):
        for rx, wide_grid, j0, j_step, j_count, x0, x_step in _residues(wide, kw, sw, pl, dw):
            weight_steps = (terms, channels * terms, i_step * kw, j_step, min(i0 * kw + j0, terms))
            _product(
                kind, dy, weight, none, None, dx, groups, channels, out // groups, (i_count, j_count), weight_steps,
                (y_step, x_step), (high_grid, wide_grid), (1, y0, 1, x0), (sh * wide, sw, ry * wide + rx), False,
            )  # fmt: skip


# -------------------------------------------------------------------------------------------------------- grad_weight


@lru_cache(maxsize=64)
def _grad_weight_kernel(kind: str, tile: Tile, chunks: bool) -> Any:
    """Rows are output channels of one group, columns kernel elements (c, i, j), terms pixels (n, oy, ox) of dy.

    ``chunks``: whether dy's images are whole chunks of 16 bytes, and begin at multiples of 16 bytes.
    """
    rows, columns, threads, stage = tile.rows, tile.columns, tile.threads, tile.stage
    down, across, high, wide = tile.down, tile.across, tile.high, tile.wide
    each = mma.terms_of_word(kind)
    copy_rows = mma.copy_rows(kind, rows, threads)
    fetch_left, put_left = _gather(kind, rows, threads, True)
    fetch, put = _gather(kind, columns, threads, True)
    multiply, wait = mma.multiply_tile(kind, tile), mma.wait_copies(STAGES - 2)
    terms, chunk_terms, right = DEPTH * each, CHUNK * each, rows * DEPTH
    lead = (STAGES - 1) * terms  # how far asking is ahead of multiplying
    size, results, strip, warps = STAGES * stage, 4 * high * wide, 4 * wide, down * across
    of_left, of_right = rows * 4 // threads, columns * 4 // threads
    staged_left, staged_right = rows * DEPTH // threads, columns * DEPTH // threads

    @cuda.jit(**launch.bounds(tile.threads, 2))
    def conv2d_grad_weight_tensor_core(dy, x, partials, ends, steps, dy_scales, x_scales, numbers, kernel):
        words = cuda.shared.array(size, numba.uint32, alignment=16)
        total = cuda.local.array(results, numba.float32)
        from_dy, from_x = cuda.local.array(staged_left, numba.uint32), cuda.local.array(staged_right, numba.uint32)
        dy_base, zeros = cuda.local.array(of_left, numba.int32), cuda.local.array(of_left, numba.int32)
        dy_top, base = cuda.local.array(of_left, numba.int32), cuda.local.array(of_right, numba.int32)
        top, side = cuda.local.array(of_right, numba.int32), cuda.local.array(of_right, numba.int32)
        term, dy_term = cuda.local.array(3, numba.int32), cuda.local.array(3, numba.int32)
        m, channels, height, width, splits, chunk_images, chunk_pixels = numbers
        kh, kw, y_step, y_first, x_step, x_first = kernel
        images, high_out, wide_out, _ = ends
        thread = numba.uint32(cuda.threadIdx.x)
        lane, warp = thread % 32, thread // 32
        group, split = cuda.blockIdx.y, cuda.blockIdx.z
        pixels = numba.int32(high_out * wide_out)
        n, plane = numba.int32(channels * kh * kw), numba.int32(height * width)
        blocks_down = (m + rows - 1) // rows
        block_column = quotient(cuda.blockIdx.x, blocks_down)
        row0 = numba.int32((cuda.blockIdx.x - block_column * blocks_down) * rows)
        column0 = numba.int32(block_column * columns)
        for i in range(of_left):
            row = numba.int32(row0 + (warp + warps * i) * 8 + lane % 8)
            dy_base[i] = (group * m + row) * pixels
            dy_top[i] = 0 if row < m else _NOWHERE
            zeros[i] = 0
        for i in range(of_right):
            column = numba.int32(column0 + (warp + warps * i) * 8 + lane % 8)
            channel = quotient(column, kh * kw)
            element = column - channel * (kh * kw)
            y = quotient(element, kw)
            base[i] = (group * channels + channel) * plane
            top[i] = y * y_step + y_first if column < n else _NOWHERE
            side[i] = (element - y * kw) * x_step + x_first
        tiles = (images * pixels + terms - 1) // terms
        each_split = quotient(tiles + splits - 1, splits)
        first = numba.int32(min(split * each_split, tiles) * terms)
        last = numba.int32(min((split + 1) * each_split, tiles) * terms)
        k = numba.int32(first + lane // 8 * each)
        image = quotient(k, pixels)
        pixel = k - image * pixels
        y = quotient(pixel, wide_out)
        term[0], term[1], term[2] = image, y, pixel - y * wide_out
        dy_term[0], dy_term[1], dy_term[2] = term[0], term[1], term[2]
        k = numba.int32(first + thread % 4 * chunk_terms)  # of the chunk that this thread copies
        image = quotient(k, pixels)
        pixel = numba.int32(k - image * pixels)
        for i in range(results):
            total[i] = numba.float32(0)
        at, into = numba.int32(0), numba.int32(0)  # the tile to multiply, the place of the next one
        for k0 in range(first - lead, last, terms):
            k = numba.int32(k0 + lead)
            if k0 >= first:
                wait()
                cuda.syncthreads()  # this tile is there for all, and all are done with the one before
            if k < last:
                if chunks:
                    begin = numba.int32(image * dy_scales[0] + group * m * pixels + pixel)
                    copy_rows(words, into, dy, begin, row0, m, pixels, image < images)
                    image, pixel = numba.int32(image + chunk_images), numba.int32(pixel + chunk_pixels)
                    if pixel >= pixels:
                        image, pixel = numba.int32(image + 1), numba.int32(pixel - pixels)
                else:
                    fetch_left(
                        words, into, from_dy, dy, dy_base, dy_top, zeros, dy_term, steps, ends, dy_scales, high_out, wide_out
                    )  # fmt: skip
                fetch(words, into + right, from_x, x, base, top, side, term, steps, ends, x_scales, height, width)
            commit_copies()
            if k0 >= first:
                multiply(words, at, at + right, total)
                at = numba.int32(at + stage)
                if at == size:
                    at = numba.int32(0)
            if k < last:
                if not chunks:
                    put_left(words, into, from_dy)
                put(words, into + right, from_x)
            into = numba.int32(into + stage)
            if into == size:
                into = numba.int32(0)
        row0 += warp // across * high * 16 + lane // 4
        column0 += warp % across * wide * 8 + lane % 4 * 2
        out_rows = numba.int32((split * cuda.gridDim.y + group) * m)
        for _ in range(high):
            for i in range(strip):
                row, column = numba.int32(row0 + i % 4 // 2 * 8), numba.int32(column0 + i // 4 * 8 + i % 2)
                if row < m and column < n:
                    partials[numba.int32((out_rows + row) * n + column)] = total[i]
            for i in range(results - strip):  # the next strip moves up: registers have no index but a constant
                total[i] = total[i + strip]
            row0 += 16

    return conv2d_grad_weight_tensor_core


@lru_cache(maxsize=8)
def _add_splits_kernel(kind: str) -> Any:
    narrow = mma.narrow(kind)

    @cuda.jit
    def add_splits_tensor_core(partials, dweight, splits):
        """dweight[i] = the sum over the splits of partials[split, i], one after another, rounded once."""
        i = cuda.grid(1)
        size = dweight.shape[0]
        if i < size:
            total = partials[i]
            for split in range(1, splits):
                total += partials[split * size + i]
            dweight[i] = narrow(total)

    return add_splits_tensor_core


def conv2d_grad_weight_tensor_core(kind, dy, x, dweight, sh, sw, pt, pl, dh, dw, groups):
    """The contract's conv2d_grad_weight, of the weight alone."""
    out, channels, kh, kw = dweight.shape
    if dweight.size == 0:
        return
    rows, columns = out // groups, channels * kh * kw
    images, pixels = dy.shape[0], dy.shape[2] * dy.shape[3]
    each = mma.terms_of_word(kind)
    terms = DEPTH * each
    chunks = pixels > 0 and pixels % (CHUNK * each) == 0 and mma.is_aligned(dy)
    tiles = ceil(images * pixels, terms)
    tile = mma.choose_tile(rows, columns, groups * max(1, tiles // _TERMS_OF_SPLIT))
    blocks = ceil(rows, tile.rows) * ceil(columns, tile.columns)
    splits = max(1, min(_SPLIT_BLOCKS // (blocks * groups), tiles // _TERMS_OF_SPLIT))
    target = mma.bits_of(dweight)
    whole = splits == 1 and kind == "tf32"  # nothing to add, nothing to round
    partials = target if whole else empty((splits * dweight.size,), np.dtype(np.float32), device_of(x))
    high_out, wide_out = max(dy.shape[2], 1), max(dy.shape[3], 1)
    plane = x.shape[2] * x.shape[3]
    _grad_weight_kernel(kind, tile, chunks)[(blocks, groups, splits), tile.threads](
        mma.bits_of(dy), mma.bits_of(x), partials,
        _numbers(images if pixels else 0, high_out, wide_out, wide_out), _numbers(*_digits(CHUNK * each, high_out, wide_out)),
        _numbers(out * pixels, 1, 1), _numbers(x.shape[1] * plane, sh, sw),
        _numbers(rows, channels, *x.shape[2:], splits, terms // max(pixels, 1), terms % max(pixels, 1)),
        _numbers(kh, kw, dh, -pt, dw, -pl),
    )  # fmt: skip
    if not whole:
        _add_splits_kernel(kind)[launch.line(dweight.size)](partials, target, splits)


def fits(kind: str, x: Any, weight: Any, y: Any, groups: int) -> bool:
    """Whether 32-bit indices and the grid reach all of a convolution, and its groups have work for tiles of 16 rows.

    Halves go this way whatever their groups.
    """
    out, channels, kh, kw = weight.shape
    reached = max(x.size, weight.size * 8, y.size) < 1 << 30 and groups < 1 << 16
    return reached and (kind != "tf32" or min(out // groups, channels * kh * kw) >= 16)


def _element(kind: str) -> str:
    return "float32[::1]" if kind == "tf32" else "uint16[::1]"


def _signatures(kind: str) -> tuple[str, str, str, str]:
    """Of the pack, product, grad_weight and add_splits kernels."""
    e = _element(kind)
    product = ", ".join(f"UniTuple(int32, {n})" for n in (4, 3, 3, 10, 9))
    gradient = ", ".join(f"UniTuple(int32, {n})" for n in (4, 3, 3, 3, 7, 6))
    return (
        f"void({e}, {e}, UniTuple(int32, 12))",
        f"void({', '.join([e] * 5)}, {product})",
        f"void({e}, {e}, float32[::1], {gradient})",
        f"void(float32[::1], {e}, int64)",
    )


CUDA_KERNELS = (
    *((_pack_cuda, _signatures(kind)[0]) for kind in ("tf32", "bfloat16")),
    *((partial(_add_splits_kernel, kind), _signatures(kind)[3]) for kind in mma.KINDS),
    *((partial(_product_kernel, kind, mma.LARGE), _signatures(kind)[1]) for kind in mma.KINDS),
    (partial(_product_kernel, "tf32", mma.SMALL), _signatures("tf32")[1]),
    *(
        (partial(_grad_weight_kernel, kind, mma.LARGE, chunks), _signatures(kind)[2])
        for kind, chunks in (("tf32", True), ("tf32", False), ("bfloat16", False), ("float16", True))
    ),
)
