"""Convolution of small images: the lanes of a vector are the same pixel of several images.

A row of 7 or 14 pixels fills no vector. But 16 images do: their pixels are transposed into one vector per pixel while
they are copied into the scratch, any pixels can then share a register tile (``simd.place_tile``), and nothing is ever
computed only to be dropped. Pixels whose kernels meet the same elements of the source form a class with a table of
terms of its own, so that the zeros of the padding, and of a stride in the gradient of the input, take no part either.
Results are transposed back as they are written out.

A task takes ``together`` vectors of images. The gradient of the weight is ``simd.dot_tile`` on the same vectors, with
the zeros around the image in the scratch, since all terms of a tile there must meet the same pixels; with a stride of 2
along the rows, their even columns stand before the odd ones, so that what a kernel element meets is contiguous.

``conv2d.py`` holds the contract and chooses between this way and that of ``conv2d_pixels.py`` by their plans' costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numba
import numpy as np

from numbanet.kernels import simd
from numbanet.kernels.conv2d_plan import (
    ALL_COLUMNS,
    BLOCK_CHANNELS,
    CHANNELS,
    CHUNKS,
    COLUMNS,
    COMMON,
    DOT,
    DOT_COST,
    FMA,
    FMA_COST,
    GROUPS,
    PART_ROWS,
    PARTIALS,
    PARTIALS_AT,
    PARTS,
    ROWS,
    TASKS,
    TERMS,
    TILE,
    WEIGHT_TASKS,
    N,
    Plan,
    add_partials,
    append,
    ceil,
    dots,
    makespan,
    row_block_counts,
    tile_rows,
)
from numbanet.kernels.kernel import jit

_SCRATCH_BYTES = 320 << 10  # of copied source of one task, which stays in the L2 cache
_RESULT_BYTES = 1 << 20  # of results of one task, which every block of source channels passes over once
_DEPTH = 1200  # terms of a sum per tile at most
_PIXELS = 4096  # of larger images the rows are long enough for vectors, and one channel would fill the cache
# Rows of a register tile -> vectors. Every vector has an address, so that flat tiles are short of registers; the one of a single
# row is for depthwise convolutions.
_HEIGHTS = {height: min(vectors, 6) for height, vectors in FMA.items() if height >= 4 or height == 1}
_FLAT_COST = (
    1.5  # of that one, per multiply-add: here every vector is aligned (depthwise, 16 x 256 channels of 14 x 14, Zen 3)
)

# ------------------------------------------------------------------------------------------------------- the plans

# Positions in the plan
(_SOURCE, _TARGET, _TOGETHER, _VECTORS, _LANES, _CLASSES, _CLASSES_AT, _GROUP_STRIDE, _ROW_STRIDE, _CHANNEL_STRIDE, _PLANE,
 _RESULT, _INPUTS_AT, _INPUTS, _RESULTS_AT, _RESULTS, _HEIGHT, _WIDTH, _TOP, _LEFT, _PADDED_HEIGHT, _PADDED_WIDTH,
 _OUT_HEIGHT, _OUT_WIDTH, _STEP_H, _LINE, _PHASE, _BAND, _BLOCKS, _TAPS_AT, _SUMS_AT, _FIELDS) = (
    range(COMMON, COMMON + 32))  # fmt: skip
# ... and of a class of pixels within it
_TAPS, _TERMS_AT, _TILES, _PLACES_AT, _CLASS = range(5)


def _square_cost(lanes: int) -> float:
    """Cycles to transpose as many pixels as images: 90 with 16 lanes (Zen 5), about 35 with 8 (Zen 3)."""
    return 1.4 * lanes * math.log2(lanes)


_Axis = dict[tuple[tuple[int, int], ...], list[tuple[int, int]]]


def _axis(targets: int, kernel: int, source_of: Callable[[int, int], int | None]) -> _Axis:
    """The classes of pixels along one axis: {((kernel element, source - first source), ...): [(target, first source)]}.

    Args:
        targets: pixels along the axis.
        kernel: kernel elements along the axis.
        source_of: the source pixel that a target pixel reads under a kernel element, or None outside of the source.
    """
    classes: _Axis = {}
    for target in range(targets):
        found = [(i, source) for i in range(kernel) if (source := source_of(target, i)) is not None]
        first = found[0][1] if found else 0
        classes.setdefault(tuple((i, source - first) for i, source in found), []).append((target, first))
    return classes


def _forward_axis(size: int, kernel: int, out: int, stride: int, before: int, dilation: int) -> _Axis:
    def source_of(target: int, i: int) -> int | None:
        position = target * stride + i * dilation - before
        return position if 0 <= position < size else None

    return _axis(out, kernel, source_of)


def _grad_input_axis(size: int, kernel: int, out: int, stride: int, before: int, dilation: int) -> _Axis:
    def source_of(target: int, i: int) -> int | None:
        position, rest = divmod(target + before - i * dilation, stride)
        return position if rest == 0 and 0 <= position < out else None

    return _axis(size, kernel, source_of)


def forward_plan(x, weight, y, options, groups, itemsize) -> Plan | None:
    """The plan of the forward pass on images of these shapes, or None where it has no merit."""
    n, _, h, w = x
    out, per_group, kh, kw = weight
    sh, sw, pt, pl, dh, dw = options
    lanes = simd.VECTOR_BITS // 8 // itemsize
    if n < lanes or max(h * w, y[2] * y[3]) > _PIXELS:
        return None
    axes = _forward_axis(h, kh, y[2], sh, pt, dh), _forward_axis(w, kw, y[3], sw, pl, dw)
    rows, terms = out // groups, kh * kw
    strides = (rows * per_group * terms, per_group * terms, terms)
    return _convolve_plan(axes, n, groups, per_group, rows, (h, w), y[2:], (kh, kw), strides, itemsize)


def grad_input_plan(dy, weight, dx, options, groups, itemsize) -> Plan | None:
    """The plan of the gradient of the input on images of these shapes, or None where it has no merit."""
    n, _, h, w = dx
    out, per_group, kh, kw = weight
    sh, sw, pt, pl, dh, dw = options
    lanes = simd.VECTOR_BITS // 8 // itemsize
    if n < lanes or max(h * w, dy[2] * dy[3]) > _PIXELS:
        return None
    axes = _grad_input_axis(h, kh, dy[2], sh, pt, dh), _grad_input_axis(w, kw, dy[3], sw, pl, dw)
    channels, terms = out // groups, kh * kw
    strides = (channels * per_group * terms, terms, per_group * terms)
    return _convolve_plan(axes, n, groups, channels, per_group, dy[2:], (h, w), (kh, kw), strides, itemsize)


def _convolve_plan(axes, n, groups, channels, rows, source, target, kernel, strides, itemsize) -> Plan | None:
    """The plan of ``_convolve``.

    Args:
        axes: the classes of pixels down and across.
        n, groups, channels, rows: images, groups, and source and target channels per group.
        source, target: height and width.
        kernel: height and width.
        strides: of the weight, from one group, target channel and source channel to the next.
        itemsize: bytes of an element.
    """
    lanes = simd.VECTOR_BITS // 8 // itemsize
    threads = numba.config.NUMBA_NUM_THREADS
    costs = {**FMA_COST, 1: _FLAT_COST}
    height = tile_rows(rows, costs, _HEIGHTS)
    vectors = _HEIGHTS[height]
    if channels == 0:
        return None
    row_blocks = ceil(rows, height)
    source_pixels, target_pixels, elements = source[0] * source[1], target[0] * target[1], kernel[0] * kernel[1]
    classes = [(len(down) * len(across), len(axes[0][down]) * len(axes[1][across])) for down, across in product(*axes)]
    vector_blocks = ceil(n, lanes)
    best: Any = None
    # Few rows of larger images are a task, too: dy of 16 x 32 x 28 x 28 to 192 channels, 5x5, takes 0.8 of the other way's time.
    counts = {*row_block_counts(row_blocks, height), min(2, row_blocks), 1}
    for together, blocks in product((1, 2, 4), sorted(counts, reverse=True)):
        plane = (together * source_pixels | 1) * lanes
        result = (together * target_pixels + 1 | 1) * lanes
        if together > vector_blocks or blocks * height * result * itemsize > _RESULT_BYTES:
            continue
        depth = min(_SCRATCH_BYTES // (plane * itemsize), max(1, _DEPTH // elements))
        if depth == 0:
            continue
        depth = ceil(channels, ceil(channels, depth))
        passes = ceil(channels, depth)
        multiply = 0.0
        for taps, pixels in classes:
            tiles = ceil(together * pixels, vectors)
            multiply += blocks * tiles * (taps * channels * vectors * height / 2 * costs[height] + 60 * passes)
        copy = together * channels * ceil(source_pixels, lanes) * _square_cost(lanes)
        copy += together * blocks * height * ceil(target_pixels, lanes) * _square_cost(lanes)
        tasks = ceil(vector_blocks, together) * groups * ceil(row_blocks, blocks)
        cost = makespan(tasks, multiply + copy + 200)
        if best is None or cost < best[0]:
            best = (cost, together, blocks, depth, plane, result)
    if best is None:
        return None
    cost, together, blocks, depth, plane, result = best

    f = [0] * _FIELDS
    f[N], f[GROUPS], f[CHANNELS], f[ROWS], f[_LANES] = n, groups, channels, rows, lanes
    f[_SOURCE], f[_TARGET], f[_TOGETHER] = source_pixels, target_pixels, together
    f[BLOCK_CHANNELS], f[TILE], f[_VECTORS] = depth, height, vectors
    f[PART_ROWS], f[PARTS] = blocks * height, ceil(row_blocks, blocks)
    f[_GROUP_STRIDE], f[_ROW_STRIDE], f[_CHANNEL_STRIDE] = strides
    f[TERMS], f[_PLANE], f[_RESULT] = elements, plane, result
    f[_INPUTS_AT] = ceil(groups * row_blocks * height * channels * elements, 16) * 16
    f[_INPUTS] = depth * plane + lanes * lanes
    f[_RESULTS_AT] = f[_INPUTS_AT] + threads * f[_INPUTS]
    f[_RESULTS] = blocks * height * result + lanes * lanes
    f[TASKS] = ceil(vector_blocks, together) * groups * f[PARTS]
    f[_CLASSES] = len(classes)
    f[_CLASSES_AT] = append(f, [0] * (_CLASS * len(classes)))
    nowhere = together * target_pixels * lanes  # where a tile's spare vectors go
    for number, (down, across) in enumerate(product(*axes)):
        shared = [(i * kernel[1] + j, (r * source[1] + c) * lanes) for i, r in down for j, c in across]
        terms = [
            value
            for channel in range(depth)
            for element, offset in shared
            for value in ((channel * elements + element) * height, channel * plane + offset)
        ]
        places = [
            ((i * source_pixels + y0 * source[1] + x0) * lanes, (i * target_pixels + y * target[1] + x) * lanes)
            for i in range(together)
            for y, y0 in axes[0][down]
            for x, x0 in axes[1][across]
        ]
        spare = -len(places) % vectors
        places += [(places[-1][0], nowhere)] * spare
        at = f[_CLASSES_AT] + number * _CLASS
        f[at + _TAPS], f[at + _TILES] = len(shared), len(places) // vectors
        f[at + _TERMS_AT] = append(f, terms)
        f[at + _PLACES_AT] = append(f, (value for place in places for value in place))
    size = f[_RESULTS_AT] + threads * f[_RESULTS]
    return Plan(_convolve, np.array(f, np.int64), (groups * row_blocks, f[TASKS]), size, cost)


# --------------------------------------------------------------------------------------------- forward and grad_input

_HEIGHT_0, _HEIGHT_1, _HEIGHT_2, _HEIGHT_3 = [*_HEIGHTS, 1][:4]
_place_0, _place_1, _place_2, _place_3 = (
    simd.place_tile(height, _HEIGHTS[height]) for height in (_HEIGHT_0, _HEIGHT_1, _HEIGHT_2, _HEIGHT_3)
)


@jit
def _pack(weight, plan, scratch, block):  # type: ignore[no-untyped-def]
    """Pack a block of rows of one group: [row block][channel][kernel element][row], zeros for the rows that fill up."""
    height, rows, channels, elements = plan[TILE], plan[ROWS], plan[CHANNELS], plan[TERMS]
    blocks = (rows + height - 1) // height
    group, b = block // blocks, block % blocks
    for r in range(height):
        row = b * height + r
        first = group * plan[_GROUP_STRIDE] + row * plan[_ROW_STRIDE]
        to = block * height * channels * elements + r
        for c in range(channels):
            for e in range(elements):
                value = weight.dtype.type(0)
                if row < rows:
                    value = weight[np.uint64(first + c * plan[_CHANNEL_STRIDE] + e)]
                scratch[np.uint64(to)] = value
                to += height


@jit
def _convolve_block(source, bias, target, scratch, plan, task, inputs, results):  # type: ignore[no-untyped-def]
    """One task: the results of some rows (target channels) of one group on ``together`` vectors of images."""
    part, rest = task % plan[PARTS], task // plan[PARTS]
    group, block = rest % plan[GROUPS], rest // plan[GROUPS]
    lanes, channels, all_rows, height = plan[_LANES], plan[CHANNELS], plan[ROWS], plan[TILE]
    first_image = block * plan[_TOGETHER] * lanes
    vectors = min(plan[_TOGETHER], (plan[N] - first_image + lanes - 1) // lanes)
    row0 = part * plan[PART_ROWS]
    rows = min(plan[PART_ROWS], all_rows - row0)
    blocks = (rows + height - 1) // height
    source_pixels, target_pixels, ldc = plan[_SOURCE], plan[_TARGET], plan[_RESULT]
    source_step, target_step = plan[GROUPS] * channels * source_pixels, plan[GROUPS] * all_rows * target_pixels
    panel = height * channels * plan[TERMS]
    left = (group * ((all_rows + height - 1) // height) + row0 // height) * panel
    for c0 in range(0, channels, plan[BLOCK_CHANNELS]):
        depth = min(plan[BLOCK_CHANNELS], channels - c0)
        for c in range(depth):
            for v in range(vectors):
                image = first_image + v * lanes
                s0 = image * source_step + (group * channels + c0 + c) * source_pixels
                at = inputs + c * plan[_PLANE] + v * source_pixels * lanes
                simd.read_lanes(
                    source_pixels, source, s0, source_step, plan[N] - image, scratch, at, at + lanes, 2 * lanes
                )
        for number in range(plan[_CLASSES]):
            at = plan[_CLASSES_AT] + number * _CLASS
            k, terms = depth * plan[at + _TAPS], plan[at + _TERMS_AT]
            for tile in range(plan[at + _TILES]):
                place = plan[at + _PLACES_AT] + 2 * tile * plan[_VECTORS]
                for b in range(blocks):
                    a0, t0 = left + b * panel + c0 * plan[TERMS] * height, results + b * height * ldc
                    if height == _HEIGHT_0:
                        _place_0(k, scratch, a0, scratch, inputs, plan, terms, plan, place, scratch, t0, ldc, c0)
                    elif height == _HEIGHT_1:
                        _place_1(k, scratch, a0, scratch, inputs, plan, terms, plan, place, scratch, t0, ldc, c0)
                    elif height == _HEIGHT_2:
                        _place_2(k, scratch, a0, scratch, inputs, plan, terms, plan, place, scratch, t0, ldc, c0)
                    elif height == _HEIGHT_3:  # no other is left; where heights are three, this one is never compiled
                        _place_3(k, scratch, a0, scratch, inputs, plan, terms, plan, place, scratch, t0, ldc, c0)
    for r in range(rows):
        o = group * all_rows + row0 + r
        shift = target.dtype.type(0)
        if bias.size:
            shift = bias[np.uint64(o)]
        for v in range(vectors):
            image = first_image + v * lanes
            simd.write_lanes(target_pixels, scratch, results + r * ldc + v * target_pixels * lanes, shift, target,
                             image * target_step + o * target_pixels, target_step, plan[N] - image)  # fmt: skip


@jit
def _convolve(stage, i, thread, source, weight, bias, target, scratch, plan):  # type: ignore[no-untyped-def]
    """Stage 0 packs the weight, stage 1 multiplies."""
    if stage == 0:
        _pack(weight, plan, scratch, i)
    else:
        inputs = plan[_INPUTS_AT] + thread * plan[_INPUTS]
        results = plan[_RESULTS_AT] + thread * plan[_RESULTS]
        _convolve_block(source, bias, target, scratch, plan, i, inputs, results)


# -------------------------------------------------------------------------------------------------------- grad_weight

_WEIGHT_ROWS = 256  # output channels of one task at most
_BAND_BYTES = 24 << 10  # of the rows of dy of one tile: they stay in the L1 cache while all of x passes by


def grad_weight_plan(dy, x, weight, options, groups, itemsize) -> Plan | None:
    """The plan of ``_weigh`` on images of these shapes, or None where it has no merit.

    Rows are output channels, columns the elements of some input channels' kernels.
    """
    n, _, h, w = x
    out, per_group, kh, kw = weight
    sh, sw, pt, pl, dh, dw = options
    oh, ow = dy[2:]
    lanes = simd.VECTOR_BITS // 8 // itemsize
    rows, terms = out // groups, kh * kw
    costs = {**DOT_COST, 1: _FLAT_COST}
    height = tile_rows(rows, costs, DOT)
    if n < lanes or sw > 2 or max(h * w, oh * ow) > _PIXELS:
        return None
    width, threads = DOT[height], numba.config.NUMBA_NUM_THREADS
    row_blocks, blocks = ceil(rows, height), ceil(n, lanes)
    padded = (oh - 1) * sh + (kh - 1) * dh + 1, (ow - 1) * sw + (kw - 1) * dw + 1
    # With a stride of 2 a row's even columns come first, then its odd ones, each with room for what a square writes too much.
    phase = ceil(padded[1] + lanes, 2) if sw == 2 else 0
    line = 2 * phase or padded[1]
    plane, grads = (padded[0] * line | 1) * lanes, (oh * ow | 1) * lanes
    part_blocks = max(1, min(row_blocks, _WEIGHT_ROWS // height, _RESULT_BYTES // (itemsize * height * grads)))
    part_blocks = ceil(row_blocks, ceil(row_blocks, part_blocks))
    while part_blocks > 1 and groups * ceil(row_blocks, part_blocks) * blocks < WEIGHT_TASKS // 2:
        part_blocks = ceil(part_blocks, 2)
    parts = ceil(row_blocks, part_blocks)
    depth = max(1, min(per_group, _SCRATCH_BYTES // itemsize // plane))
    depth = ceil(per_group, ceil(per_group, depth))
    columns = ceil(depth * terms, width) * width
    all_columns = columns * ceil(per_group, depth)
    chunks = max(1, min(blocks, WEIGHT_TASKS // (groups * parts), PARTIALS // (out * all_columns)))
    bands = ceil(oh, max(1, _BAND_BYTES // (itemsize * lanes * ow * height)))

    multiply = part_blocks * per_group * terms * (oh * ow * height / 2 + bands * 60 / width) * costs[height]
    copy = per_group * padded[0] * ceil(w, lanes) * _square_cost(lanes)
    copy += part_blocks * height * ceil(oh * ow, lanes) * _square_cost(lanes)
    cost = makespan(chunks * groups * parts, ceil(blocks, chunks) * (multiply + 1.2 * copy + 200))

    f = [0] * _FIELDS
    f[N], f[GROUPS], f[CHANNELS], f[ROWS], f[_LANES] = n, groups, per_group, rows, lanes
    f[_HEIGHT], f[_WIDTH], f[_TOP], f[_LEFT], f[_STEP_H] = h, w, pt, pl, sh
    f[_PADDED_HEIGHT], f[_PADDED_WIDTH], f[_OUT_HEIGHT], f[_OUT_WIDTH] = *padded, oh, ow
    f[_LINE], f[_PHASE] = line, phase
    f[_BAND], f[_BLOCKS], f[_PLANE], f[_RESULT] = ceil(oh, bands), blocks, plane, grads
    f[BLOCK_CHANNELS], f[TILE], f[_VECTORS], f[PART_ROWS], f[PARTS] = depth, height, width, part_blocks * height, parts
    f[CHUNKS], f[COLUMNS], f[ALL_COLUMNS], f[TERMS] = chunks, columns, all_columns, terms
    f[_INPUTS] = depth * plane + 2 * lanes * lanes
    f[_RESULTS_AT] = threads * f[_INPUTS]
    f[_RESULTS] = part_blocks * height * grads + lanes * lanes
    f[PARTIALS_AT] = f[_RESULTS_AT] + threads * f[_RESULTS]
    f[TASKS] = chunks * groups * parts
    columns_at = [j * dw % sw * phase + j * dw // sw for j in range(kw)]
    offsets = [(i * dh * line + column) * lanes for i in range(kh) for column in columns_at]
    taps = [channel * plane + offset for channel in range(depth) for offset in offsets]
    f[_TAPS_AT] = append(f, taps + [0] * (columns - len(taps)))
    f[_SUMS_AT] = f[PARTIALS_AT] + f[TASKS] * f[PART_ROWS] * all_columns
    size = f[_SUMS_AT] + 2 * chunks * out
    return Plan(_weigh, np.array(f, np.int64), (f[TASKS], out), size, cost, sums_bias=True)


@jit
def _read_padded(x, plan, s0, step, images, scratch, t0):  # type: ignore[no-untyped-def]
    """One channel of a vector of images, with the zeros of the padding around its pixels."""
    lanes, width, padded, left, phase = plan[_LANES], plan[_WIDTH], plan[_PADDED_WIDTH], plan[_LEFT], plan[_PHASE]
    line = plan[_LINE] * lanes
    first = min(left, padded)
    count = max(0, min(width, padded - left))
    even, odd, pitch = first * lanes, (first + 1) * lanes, 2 * lanes
    if phase:
        even, odd = (first % 2 * phase + first // 2) * lanes, ((first + 1) % 2 * phase + (first + 1) // 2) * lanes
        pitch = lanes
    for r in range(plan[_PADDED_HEIGHT]):
        y, at = r - plan[_TOP], t0 + r * line
        inside = y >= 0 and y < plan[_HEIGHT]
        before, after = first * lanes, (first + count) * lanes  # where zeros end and begin again
        if phase or not inside:
            before, after = line, line
        for i in range(before):
            scratch[np.uint64(at + i)] = 0
        if inside:
            simd.read_lanes(count, x, s0 + y * width, step, images, scratch, at + even, at + odd, pitch)
        for i in range(after, line):
            scratch[np.uint64(at + i)] = 0


@jit
def _sum_rows(scratch, sums, rows, first, step, count):  # type: ignore[no-untyped-def]
    """Add sums of ``count`` elements, rows ``step`` apart, to float64 sums, each kept as a rounded part and the rest."""
    for r in range(rows):
        total = np.float64(scratch[np.uint64(sums + 2 * r)]) + np.float64(scratch[np.uint64(sums + 2 * r + 1)])
        at = np.uint64(first + r * step)
        for i in range(np.uint64(count)):
            total += scratch[at + i]
        rounded = scratch.dtype.type(total)
        scratch[np.uint64(sums + 2 * r)] = rounded
        scratch[np.uint64(sums + 2 * r + 1)] = total - rounded


@jit
def _weigh_chunk(x, dy, dbias, scratch, plan, task, inputs, grads):  # type: ignore[no-untyped-def]
    """One task: the partial sums of some rows (output channels) of one group over one chunk of the vectors of images."""
    part, rest = task % plan[PARTS], task // plan[PARTS]
    group, chunk = rest % plan[GROUPS], rest // plan[GROUPS]
    lanes, channels, all_rows, height = plan[_LANES], plan[CHANNELS], plan[ROWS], plan[TILE]
    row0 = part * plan[PART_ROWS]
    rows = min(plan[PART_ROWS], all_rows - row0)
    blocks = (rows + height - 1) // height
    pixels, grad, columns = plan[_OUT_HEIGHT] * plan[_OUT_WIDTH], plan[_RESULT], plan[ALL_COLUMNS]
    x_pixels, out_row = plan[_HEIGHT] * plan[_WIDTH], plan[_OUT_WIDTH] * lanes
    x_step, dy_step = plan[GROUPS] * channels * x_pixels, plan[GROUPS] * all_rows * pixels
    x_row = plan[_STEP_H] * plan[_LINE] * lanes
    partials = plan[PARTIALS_AT] + task * plan[PART_ROWS] * columns
    for i in range(plan[PART_ROWS] * columns):
        scratch[np.uint64(partials + i)] = 0
    sums = plan[_SUMS_AT] + 2 * ((chunk * plan[GROUPS] + group) * all_rows + row0)
    for i in range(2 * rows):
        scratch[np.uint64(sums + i)] = 0
    for block in range(chunk * plan[_BLOCKS] // plan[CHUNKS], (chunk + 1) * plan[_BLOCKS] // plan[CHUNKS]):
        image = block * lanes
        for r in range(rows):
            at = grads + r * grad
            simd.read_lanes(pixels, dy, image * dy_step + (group * all_rows + row0 + r) * pixels, dy_step,
                            plan[N] - image, scratch, at, at + lanes, 2 * lanes)  # fmt: skip
        if dbias.size:
            _sum_rows(scratch, sums, rows, grads, grad, pixels * lanes)
        for c0 in range(0, channels, plan[BLOCK_CHANNELS]):
            depth = min(plan[BLOCK_CHANNELS], channels - c0)
            for c in range(depth):
                _read_padded(x, plan, image * x_step + (group * channels + c0 + c) * x_pixels, x_step, plan[N] - image,
                             scratch, inputs + c * plan[_PLANE])  # fmt: skip
            to = partials + c0 // plan[BLOCK_CHANNELS] * plan[COLUMNS]
            for y in range(0, plan[_OUT_HEIGHT], plan[_BAND]):
                dots(height, blocks, plan[_VECTORS], min(plan[_BAND], plan[_OUT_HEIGHT] - y), out_row, scratch,
                     grads + y * out_row, grad, out_row, scratch, inputs + y * x_row, x_row, plan, plan[_TAPS_AT],
                     depth * plan[TERMS], scratch, to, columns)  # fmt: skip


@jit
def _weigh(stage, i, thread, x, dy, dbias, dweight, scratch, plan):  # type: ignore[no-untyped-def]
    """Stage 0 makes partial sums, stage 1 adds them up."""
    if stage == 0:
        inputs, grads = thread * plan[_INPUTS], plan[_RESULTS_AT] + thread * plan[_RESULTS]
        _weigh_chunk(x, dy, dbias, scratch, plan, i, inputs, grads)
        return
    add_partials(dweight, scratch, plan, i)
    if dbias.size:
        total = np.float64(0)
        for chunk in range(plan[CHUNKS]):
            at = plan[_SUMS_AT] + 2 * (chunk * dbias.size + i)
            total += np.float64(scratch[np.uint64(at)]) + np.float64(scratch[np.uint64(at + 1)])
        dbias[np.uint64(i)] = total
