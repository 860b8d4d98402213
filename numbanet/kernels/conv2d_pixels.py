"""Convolution with the lanes of a vector along the pixels of a row, for any shape.

A task copies some channels of a few images (or of a band of rows) into a scratch where every
row is ``pitch`` long with the zeros of the padding between the rows. Output pixels are numbered along that pitch,
q = oy * pitch + ox, and the input pixel that kernel element (kh, kw) needs lies at q plus an offset that depends on
(kh, kw) alone: the convolution has become a matrix product whose right side is read in place, which is what
``simd.fma_tile`` computes, 16 pixels to a vector and 8 output channels at a time. The pixels between the rows are
computed too, and dropped. With strides, the pixels of one residue modulo the stride form a plane of their own
(space to depth), and all reads are contiguous again. The gradient of the input is the same computation on dy with
the weight transposed: one product for each residue of the input pixel modulo the stride. The gradient of the weight
is ``simd.dot_tile`` on the same scratch, or for some 1x1 kernels on x and dy themselves.

``conv2d.py`` holds the contract and chooses between this way and that of ``conv2d_images.py`` by their plans' costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

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
    HEIGHT_0,
    HEIGHT_1,
    HEIGHT_2,
    HEIGHT_3,
    HEIGHT_4,
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

# --------------------------------------------------------------------------------------------------- the geometry

_SCRATCH_BYTES = 256 << 10  # of copied input of one task; with the results' bytes within a common 1 MB L2 cache
_RESULT_BYTES = 384 << 10  # of results of one task that wait for their last channels
_DEPTH = 600  # terms of a sum per tile at most
# Bytes of one tile's weights and pixels, which should stay in the L1 cache of 48 KB (with AVX-512) or 32 KB: 256 channels of 56 x 56
# to 64, 1x1, take 0.8 of the time that they take with all terms at once (Zen 3).
_TILE_BYTES = (32 if simd.VECTOR_BITS == 512 else 22) << 10


class _Product(NamedTuple):
    """One product of a convolution: target pixel (row0 + i * step_h, column0 + j * step_w) for i < rows, j < columns
    sums over taps (plane, row, column, element): weight element * plane[i + row, j + column]."""

    rows: int
    columns: int
    row0: int
    column0: int
    taps: tuple[tuple[int, int, int, int], ...]


class _Layout(NamedTuple):
    """Where source pixels lie in the scratch: plane (a, b) of ``planes`` holds at [r, j] the source pixel
    (r * step_h + a - top, j * step_w + b - left), zero outside of the source, at r * pitch + j."""

    height: int
    width: int
    step_h: int
    step_w: int
    top: int
    left: int
    planes: tuple[tuple[int, int], ...]
    products: tuple[_Product, ...]
    rows: int  # of the largest product
    columns: int
    reach: int  # rows that a tap reaches down at most
    reach_columns: int
    pitch: int
    image_rows: int  # rows from one image to the next in a plane

    @property
    def image(self) -> int:
        return self.image_rows * self.pitch

    def flats(self, images: int, rows: int, columns: int) -> int:
        """Pixels from the first to the last one of a product over some images, gaps included."""
        return (images - 1) * self.image + (rows - 1) * self.pitch + columns

    def copy_cost(self, images: int, rows: int, lanes: int) -> float:
        """Cycles to fill one plane, measured: whole vectors row by row, or pixel by pixel with a stride."""
        per_row = ceil(self.pitch, lanes) * (1.5 + self.step_w) + 6 if self.step_w <= 2 else self.pitch * 1.5 + 15
        return ((images - 1) * self.image_rows + rows + self.reach) * per_row

    def plane_size(self, images: int, rows: int, overrun: int, lanes: int) -> int:
        """Elements of a plane for a band of ``rows``, of which tiles may read ``overrun`` past the last pixel.

        An odd number of vectors: planes a multiple of 4 KB apart would share the same few lines of the L1 cache.
        """
        reach = self.reach * self.pitch + self.reach_columns
        size = max(
            self.flats(images, rows, self.columns) + reach + overrun,
            (images - 1) * self.image + (rows + self.reach) * self.pitch,
        )
        return (-(-size // lanes) | 1) * lanes


def _shared_zeros(size: int, source: int, step: int, before: int, phases: set[int]) -> int:
    """How many zeros every plane's rows (or columns) of ``size`` elements have both at their begin and at their end."""
    begin = min(min(size, max(0, ceil(before - phase, step))) for phase in phases)
    end = min(size - min(size, max(0, ceil(source + before - phase, step))) for phase in phases)
    return min(begin, end)


def _layout(
    source: tuple[int, int],
    step: tuple[int, int],
    before: tuple[int, int],
    planes: tuple[tuple[int, int], ...],
    products: tuple[_Product, ...],
) -> _Layout:
    rows, columns = max(p.rows for p in products), max(p.columns for p in products)
    reach = max((tap[1] for p in products for tap in p.taps), default=0)
    reach_columns = max((tap[2] for p in products for tap in p.taps), default=0)
    down, across = {a for a, _ in planes} or {0}, {b for _, b in planes} or {0}
    shared = _shared_zeros(columns + reach_columns, source[1], step[1], before[1], across)
    pitch = max(columns + reach_columns - shared, columns)
    shared = _shared_zeros(rows + reach, source[0], step[0], before[0], down)
    image_rows = max(rows + reach - shared, rows)
    return _Layout(*source, *step, *before, planes, products, rows, columns, reach, reach_columns, pitch, image_rows)


def _axes(taps: dict[int, int], step: int, apart: bool) -> dict[int, tuple[int, int]]:
    """Plane and offset along one axis for taps {element: position}, where planes hold every ``step``-th position.

    Together, positions of one residue share a plane. Apart, each has its own, shifted to its place.
    """
    return {e: (position, 0) if apart else (position % step, position // step) for e, position in taps.items()}


# How planes are made, (rows apart, columns apart). Shared planes are copied fastest. Planes apart leave no gaps between
# the rows (and images) of results; small images gain from it, about 5 % on 512 channels of 7 x 7 (one Zen 5 core).
_SHARINGS = ((False, False), (False, True), (True, True))


@lru_cache(maxsize=1024)
def _forward_layouts(h, w, kh, kw, oh, ow, sh, sw, pt, pl, dh, dw) -> tuple[_Layout, ...]:
    """Source x, target y: one product."""
    if (kh, kw, sh, sw, pt, pl) == (1, 1, 1, 1, 0, 0) and (h, w) == (oh, ow) and h * w <= 1024:
        h, w, oh, ow = 1, h * w, 1, h * w  # pixels of a 1x1 kernel need no rows: fewer and longer copies
    found: list[_Layout] = []
    for apart in _SHARINGS:
        down = _axes({i: i * dh for i in range(kh)}, sh, apart[0])
        across = _axes({j: j * dw for j in range(kw)}, sw, apart[1])
        planes = tuple(sorted({(a, b) for a, _ in down.values() for b, _ in across.values()}))
        taps = tuple(
            (planes.index((a, b)), row, column, i * kw + j)
            for i, (a, row) in down.items()
            for j, (b, column) in across.items()
        )
        layout = _layout((h, w), (sh, sw), (pt, pl), planes, (_Product(oh, ow, 0, 0, taps),))
        if all(layout.image < other.image for other in found):
            found.append(layout)
    return tuple(found)


@lru_cache(maxsize=1024)
def _grad_input_layouts(h, w, kh, kw, oh, ow, sh, sw, pt, pl, dh, dw) -> tuple[_Layout, ...]:
    """Source dy, target dx: a product for each residue of the padded input position modulo the stride.

    Position iy + pt = r * sh + residue gets dy row r - t from the kernel rows i with i * dh = t * sh + residue.
    """
    if (kh, kw, sh, sw, pt, pl) == (1, 1, 1, 1, 0, 0) and (h, w) == (oh, ow) and h * w <= 1024:
        h, w, oh, ow = 1, h * w, 1, h * w

    def axis(size: int, kernel: int, stride: int, before: int, dilation: int) -> tuple[list, int]:
        found = []
        for residue in range(stride):
            r = max(0, ceil(before - residue, stride))
            first = r * stride + residue - before
            taps = {i: r - i * dilation // stride for i in range(kernel) if i * dilation % stride == residue}
            if first < size:
                found.append((ceil(size - first, stride), first, taps))
        found.sort(key=lambda part: part[1])  # neighbours' results are written together
        lowest = min((t for *_, taps in found for t in taps.values()), default=0)
        return [(n, first, {i: t - lowest for i, t in taps.items()}) for n, first, taps in found], -lowest

    (downs, top), (acrosses, left) = axis(h, kh, sh, pt, dh), axis(w, kw, sw, pl, dw)
    found: list[_Layout] = []
    for apart in _SHARINGS:
        placed = [
            (rows, columns, row0, column0, _axes(down, 1, apart[0]), _axes(across, 1, apart[1]))
            for rows, row0, down in downs
            for columns, column0, across in acrosses
        ]
        planes = tuple(sorted({
            (a, b) for *_, down, across in placed for a, _ in down.values() for b, _ in across.values()
        }))  # fmt: skip
        products = tuple(
            _Product(rows, columns, row0, column0, tuple(
                (planes.index((a, b)), row, column, i * kw + j)
                for i, (a, row) in down.items()
                for j, (b, column) in across.items()
            ))
            for rows, columns, row0, column0, down, across in placed
        )  # fmt: skip
        layout = _layout((oh, ow), (1, 1), (top, left), planes, products)
        if all(layout.image < other.image for other in found):
            found.append(layout)
    return tuple(found)


def _tile_starts(layout: _Layout, product: _Product, images: int, rows: int, tile: int) -> list[int]:
    """The first pixels of tiles that cover a product's pixels, leaving out the gaps between them where they can."""
    starts: list[int] = []
    q = 0
    while True:
        image, rest = divmod(q, layout.image)
        row, column = divmod(rest, layout.pitch)
        if column >= product.columns:
            row, column = row + 1, 0
        if row >= min(rows, product.rows):
            image, row, column = image + 1, 0, 0
        if image >= images:
            return starts
        q = image * layout.image + row * layout.pitch + column
        starts.append(q)
        q += tile


def _partitions(layout: _Layout, n: int, most: int) -> Iterator[tuple[int, int]]:
    """Ways to cut the pixels of n images into blocks of about ``most`` at most: (images, rows) of a block."""
    together = min(n, most // layout.image)
    if together > 1:
        fewest = ceil(n, together)
        for images in sorted({ceil(n, blocks) for blocks in range(fewest, 2 * fewest + 3)} - {1}):
            yield images, layout.rows
    fewest = ceil(layout.image, most)
    tried = set()
    for bands in [*range(fewest, 2 * fewest + 2), 4 * fewest, 8 * fewest]:
        rows = ceil(layout.rows, bands)
        if rows not in tried:
            tried.add(rows)
            yield 1, rows


def _block_channels(layout: _Layout, channels: int, size: int, height: int, tile: int, itemsize: int) -> int:
    """Source channels that are copied and multiplied at a time, about as many every time, by tiles of height x tile."""
    terms = max(len(p.taps) for p in layout.products)
    rows = max(len({tap[:2] for tap in p.taps}) for p in layout.products)  # that a tile reads from, of one channel
    channel_bytes = terms * height * itemsize + rows * (tile + layout.reach_columns) * itemsize
    most = min(
        _SCRATCH_BYTES // itemsize // (max(1, len(layout.planes)) * size),
        _DEPTH // max(1, terms),
        _TILE_BYTES // max(1, channel_bytes),
    )
    return ceil(channels, ceil(channels, max(1, most)))


# Positions in the plan of a convolution
(_HEIGHT, _WIDTH, _STEP_H, _STEP_W, _TOP, _LEFT, _PLANES, _PLANES_AT, _PITCH, _IMAGE_ROWS, _REACH, _BLOCK_IMAGES,
 _BLOCK_ROWS, _BANDS, _MOST_ROWS, _PLANE_SIZE, _PRODUCTS, _PRODUCTS_AT, _OUT_HEIGHT, _OUT_WIDTH, _OUT_STEP_H,
 _OUT_STEP_W, _RESULT_PITCH, _GROUP_STRIDE, _ROW_STRIDE, _CHANNEL_STRIDE, _PANELS, _INPUTS_AT, _INPUTS, _RESULTS_AT,
 _RESULTS, _PACKS, _BLOCKS, _TILE_WIDTH, _GRAD_SIZE, _PIECE, _IN_PLACE, _LAST_AT, _FIELDS) = (
    range(COMMON, COMMON + 39))  # fmt: skip
# ... and of a product within it
(_TAPS, _TAPS_AT, _ELEMENTS_AT, _P_ROWS, _P_COLUMNS, _P_ROW0, _P_COLUMN0, _PANEL, _STARTS, _STARTS_AT, _PRODUCT) = (
    range(11)
)


@lru_cache(maxsize=1024)
def _convolve_plan(
    layouts: tuple[_Layout, ...], n, groups, channels, rows, out, out_step, strides, itemsize, threads
) -> Plan:
    """The plan of ``_convolve``.

    Args:
        layouts: planes and products, for choice.
        n, groups, channels, rows: images, groups, and source and target channels per group.
        out, out_step: the target's height and width, and the distance of one product's pixels in it.
        strides: of the weight, from one group, target channel and source channel to the next.
        itemsize: bytes of an element.
        threads: how many there can be; decides the scratch, not the partition.
    """
    lanes = simd.VECTOR_BITS // 8 // itemsize
    height = tile_rows(rows, FMA_COST, FMA)
    tile = FMA[height] * lanes
    terms = sum(len(p.taps) for p in layouts[0].products)
    row_blocks = ceil(rows, height)
    best: Any = None
    for layout, part_blocks in product(layouts, row_block_counts(row_blocks, height)):
        planes = max(1, len(layout.planes))
        part_rows = part_blocks * height * len(layout.products)
        most = _SCRATCH_BYTES // itemsize // (min(channels, 32) * planes + 1)
        most = max(min(most, _RESULT_BYTES // itemsize // part_rows, 4096), tile)
        most = max(most, min(768, _SCRATCH_BYTES // itemsize // (4 * planes)))
        for images, band in _partitions(layout, n, most):
            tiles = [len(_tile_starts(layout, p, images, band, tile)) for p in layout.products]
            size = layout.plane_size(images, band, tile, lanes)
            depth = _block_channels(layout, channels, size, height, tile, itemsize)
            multiply = 0.0
            for count, p in zip(tiles, layout.products, strict=True):
                steps = len(p.taps) * channels * FMA[height] * height / 2 * FMA_COST[height]
                multiply += part_blocks * count * (steps + 60 * ceil(channels, depth))
            copy = channels * planes * layout.copy_cost(images, band, lanes)
            write = ceil(layout.columns, lanes) * 3 + 6 if out_step[1] == 1 else layout.columns * 1.5 + 10
            copy += part_rows * images * band * write
            stream = part_blocks * height * channels * terms * itemsize / 16
            tasks = ceil(n, images) * ceil(layout.rows, band) * groups * ceil(row_blocks, part_blocks)
            cost = makespan(tasks, multiply + copy + stream + 200)
            if best is None or cost < best[0]:
                best = (cost, layout, images, band, part_blocks, size, depth)
    assert best is not None
    cost, layout, images, band, part_blocks, size, block_channels = best
    planes = max(1, len(layout.planes))
    last = layout.flats(images, band, layout.columns) + tile
    result_pitch = (ceil(last, lanes) | 1) * lanes

    f = [0] * _FIELDS
    f[N], f[GROUPS], f[CHANNELS], f[ROWS] = n, groups, channels, rows
    f[_HEIGHT], f[_WIDTH], f[_STEP_H], f[_STEP_W], f[_TOP], f[_LEFT] = layout[:6]
    f[_PLANES], f[_PITCH], f[_IMAGE_ROWS], f[_REACH] = len(layout.planes), layout.pitch, layout.image_rows, layout.reach
    f[_BLOCK_IMAGES], f[_BLOCK_ROWS], f[_BANDS], f[_MOST_ROWS] = images, band, ceil(layout.rows, band), layout.rows
    f[_PLANE_SIZE], f[BLOCK_CHANNELS], f[TILE] = size, block_channels, height
    f[PART_ROWS], f[PARTS] = part_blocks * height, ceil(row_blocks, part_blocks)
    f[_OUT_HEIGHT], f[_OUT_WIDTH], f[_OUT_STEP_H], f[_OUT_STEP_W] = out[0], out[1], out_step[0], out_step[1]
    f[_RESULT_PITCH] = result_pitch
    f[_GROUP_STRIDE], f[_ROW_STRIDE], f[_CHANNEL_STRIDE] = strides
    f[_PRODUCTS] = len(layout.products)
    f[_PANELS] = row_blocks * height * channels * terms  # packed weights of a group
    f[_INPUTS_AT] = ceil(groups * f[_PANELS], 16) * 16
    f[_INPUTS] = planes * block_channels * size + 2 * lanes
    f[_RESULTS_AT] = f[_INPUTS_AT] + threads * f[_INPUTS]
    f[_RESULTS] = len(layout.products) * f[PART_ROWS] * result_pitch + lanes
    f[_PACKS] = groups * row_blocks
    f[TASKS] = ceil(n, images) * f[_BANDS] * groups * f[PARTS]
    f[_PLANES_AT] = append(f, (phase for plane in layout.planes for phase in plane))
    f[_PRODUCTS_AT] = append(f, [0] * (_PRODUCT * len(layout.products)))
    panel = 0
    for i, p in enumerate(layout.products):
        at = f[_PRODUCTS_AT] + i * _PRODUCT
        offsets = [plane * size + row * layout.pitch + column for plane, row, column, _ in p.taps]
        starts = _tile_starts(layout, p, images, band, tile)
        f[at + _TAPS], f[at + _P_ROWS], f[at + _P_COLUMNS] = len(p.taps), p.rows, p.columns
        f[at + _P_ROW0], f[at + _P_COLUMN0], f[at + _PANEL], f[at + _STARTS] = p.row0, p.column0, panel, len(starts)
        f[at + _TAPS_AT] = append(f, (c * planes * size + o for c in range(block_channels) for o in offsets))
        f[at + _ELEMENTS_AT] = append(f, (tap[3] for tap in p.taps))
        f[at + _STARTS_AT] = append(f, starts)
        panel += row_blocks * height * channels * len(p.taps)
    size = f[_RESULTS_AT] + threads * f[_RESULTS]
    return Plan(_convolve, np.array(f, np.int64), (f[_PACKS], f[TASKS]), size, cost)


# -------------------------------------------------------------------------------------- forward and grad_input


@jit
def _read_plane(source, s0, height, width, step_h, step_w, top, left, rows, pitch, target, t0):  # type: ignore[no-untyped-def]
    """target[t0 + r * pitch + j] = source[s0 + y * width + x] with y = r * step_h - top, x = j * step_w - left.

    Zero where (y, x) lies outside of the source. Writes up to a vector more than the rows.
    """
    # Divisions outside of the loop: they take longer than a short row.
    low = min(pitch, max(0, -(-left // step_w)))
    high = min(pitch, max(low, -(-(width + left) // step_w)))
    for r in range(rows):
        y = r * step_h - top
        at = t0 + r * pitch
        if y < 0 or y >= height:
            simd.read_row(pitch, source, s0, 0, 0, target, at)
        elif step_w == 1:
            simd.read_row(pitch, source, s0 + y * width - left, left, left + width, target, at)
        elif step_w == 2:
            simd.read_alternate(pitch, source, s0 + y * width - left, low, high, target, at)
        else:
            simd.read_row(low, source, s0, 0, 0, target, at)
            first = s0 + y * width - left
            for j in range(low, high):
                target[np.uint64(at + j)] = source[np.uint64(first + j * step_w)]
            simd.read_row(pitch - high, source, s0, 0, 0, target, at + high)


@jit
def _read_channels(source, plan, first_image, images, first_channel, channels, band, rows, target, t0):  # type: ignore[no-untyped-def]
    """Copy some channels of some images, the rows that a band of results needs, into their planes."""
    pitch, size, image = plan[_PITCH], plan[_PLANE_SIZE], plan[_IMAGE_ROWS] * plan[_PITCH]
    all_channels, pixels = plan[GROUPS] * plan[CHANNELS], plan[_HEIGHT] * plan[_WIDTH]
    for c in range(channels):
        for p in range(plan[_PLANES]):
            at = t0 + (c * plan[_PLANES] + p) * size
            down, across = plan[plan[_PLANES_AT] + 2 * p], plan[plan[_PLANES_AT] + 2 * p + 1]
            top, left = plan[_TOP] - down - band * plan[_STEP_H], plan[_LEFT] - across
            count = 0
            for i in range(images):
                s0 = ((first_image + i) * all_channels + first_channel + c) * pixels
                count = rows + plan[_REACH] if i == images - 1 else plan[_IMAGE_ROWS]
                _read_plane(source, s0, plan[_HEIGHT], plan[_WIDTH], plan[_STEP_H], plan[_STEP_W], top, left, count,
                            pitch, target, at + i * image)  # fmt: skip
            end = (images - 1) * image + count * pitch
            simd.read_row(size - end, source, 0, 0, 0, target, at + end)


_fma_0, _fma_1, _fma_2, _fma_3, _fma_4 = (
    simd.fma_tile(height, FMA[height]) for height in (HEIGHT_0, HEIGHT_1, HEIGHT_2, HEIGHT_3, HEIGHT_4)
)


@jit
def _multiply(rows, blocks, k, a, a0, panel, b0, taps, t0, c0, ldc, accumulate):  # type: ignore[no-untyped-def]
    """``fma_tile`` for a few blocks of rows, whose packed weights lie ``panel`` apart; a, b and c are one scratch."""
    for i in range(blocks):
        left, right = a0 + i * panel, c0 + i * rows * ldc
        if rows == HEIGHT_0:
            _fma_0(k, a, left, a, b0, taps, t0, a, right, ldc, accumulate)
        elif rows == HEIGHT_1:
            _fma_1(k, a, left, a, b0, taps, t0, a, right, ldc, accumulate)
        elif rows == HEIGHT_2:
            _fma_2(k, a, left, a, b0, taps, t0, a, right, ldc, accumulate)
        elif rows == HEIGHT_3:
            _fma_3(k, a, left, a, b0, taps, t0, a, right, ldc, accumulate)
        else:
            _fma_4(k, a, left, a, b0, taps, t0, a, right, ldc, accumulate)


@jit
def _pack(weight, plan, scratch, block):  # type: ignore[no-untyped-def]
    """Pack a block of rows of one group: [product][row block][channel][tap][row], zeros for the rows that fill up."""
    height, rows, channels = plan[TILE], plan[ROWS], plan[CHANNELS]
    blocks = (rows + height - 1) // height
    group, b = block // blocks, block % blocks
    for p in range(plan[_PRODUCTS]):
        at = plan[_PRODUCTS_AT] + p * _PRODUCT
        taps, elements = plan[at + _TAPS], plan[at + _ELEMENTS_AT]
        panel = group * plan[_PANELS] + plan[at + _PANEL] + b * height * channels * taps
        for r in range(height):
            row = b * height + r
            first = group * plan[_GROUP_STRIDE] + row * plan[_ROW_STRIDE]
            to = panel + r
            for c in range(channels):
                for t in range(taps):
                    value = weight.dtype.type(0)
                    if row < rows:
                        value = weight[np.uint64(first + c * plan[_CHANNEL_STRIDE] + plan[np.uint64(elements + t)])]
                    scratch[np.uint64(to)] = value
                    to += height


@jit
def _convolve_block(source, bias, target, scratch, plan, task, inputs, results):  # type: ignore[no-untyped-def]
    """One task: the results of some rows (target channels) of one group, on some images or a band of rows of one."""
    part, rest = task % plan[PARTS], task // plan[PARTS]
    group, rest = rest % plan[GROUPS], rest // plan[GROUPS]
    band, first_image = rest % plan[_BANDS] * plan[_BLOCK_ROWS], rest // plan[_BANDS] * plan[_BLOCK_IMAGES]
    images = min(plan[_BLOCK_IMAGES], plan[N] - first_image)
    band_rows = min(plan[_BLOCK_ROWS], plan[_MOST_ROWS] - band)
    channels, all_rows, height = plan[CHANNELS], plan[ROWS], plan[TILE]
    row0 = part * plan[PART_ROWS]
    rows = min(plan[PART_ROWS], all_rows - row0)
    blocks = (rows + height - 1) // height
    image, pitch, result_pitch = plan[_IMAGE_ROWS] * plan[_PITCH], plan[_PITCH], plan[_RESULT_PITCH]
    for c0 in range(0, channels, plan[BLOCK_CHANNELS]):
        depth = min(plan[BLOCK_CHANNELS], channels - c0)
        _read_channels(
            source, plan, first_image, images, group * channels + c0, depth, band, band_rows, scratch, inputs
        )
        for p in range(plan[_PRODUCTS]):
            at = plan[_PRODUCTS_AT] + p * _PRODUCT
            taps = plan[at + _TAPS]
            here = min(band_rows, plan[at + _P_ROWS] - band)
            end = (images - 1) * image + (here - 1) * pitch + plan[at + _P_COLUMNS] if here > 0 else 0
            panel = height * channels * taps
            left = group * plan[_PANELS] + plan[at + _PANEL] + row0 // height * panel + c0 * taps * height
            result = results + p * plan[PART_ROWS] * result_pitch
            for s in range(plan[at + _STARTS]):
                q = plan[plan[at + _STARTS_AT] + s]
                if q >= end:
                    break
                _multiply(height, blocks, depth * taps, scratch, left, panel, inputs + q, plan, plan[at + _TAPS_AT],
                          result + q, result_pitch, c0)  # fmt: skip
    together = 1  # products whose columns alternate
    for p in range(plan[_PRODUCTS]):
        if together == 2:
            together = 1
            continue
        at = plan[_PRODUCTS_AT] + p * _PRODUCT
        here = min(band_rows, plan[at + _P_ROWS] - band)
        columns, step = plan[at + _P_COLUMNS], plan[_OUT_STEP_W]
        pairs = 0
        if step == 2 and p + 1 < plan[_PRODUCTS]:
            other = at + _PRODUCT
            if plan[other + _P_ROW0] == plan[at + _P_ROW0] and plan[other + _P_COLUMN0] == plan[at + _P_COLUMN0] + 1:
                together, pairs = 2, plan[other + _P_COLUMNS]  # as many, or one less
        for r in range(rows):
            o = group * all_rows + row0 + r
            shift = target.dtype.type(0)
            if bias.size:
                shift = bias[np.uint64(o)]
            for i in range(images):
                pixels = ((first_image + i) * plan[GROUPS] * all_rows + o) * plan[_OUT_HEIGHT]
                first = results + (p * plan[PART_ROWS] + r) * result_pitch + i * image
                for y in range(here):
                    s0 = first + y * pitch
                    t0 = (pixels + plan[at + _P_ROW0] + (band + y) * plan[_OUT_STEP_H]) * plan[_OUT_WIDTH] + plan[
                        at + _P_COLUMN0
                    ]
                    if step == 1:
                        simd.write_row(columns, scratch, s0, shift, target, t0)
                    else:
                        if together == 2:
                            s1 = s0 + plan[PART_ROWS] * result_pitch
                            simd.write_alternate(pairs, scratch, s0, s1, shift, target, t0)
                        for j in range(pairs, columns):
                            target[np.uint64(t0 + j * step)] = scratch[np.uint64(s0 + j)] + shift


@jit
def _convolve(stage, i, thread, source, weight, bias, target, scratch, plan):  # type: ignore[no-untyped-def]
    """Stage 0 packs the weight, stage 1 multiplies."""
    if stage == 0:
        _pack(weight, plan, scratch, i)
    else:
        inputs = plan[_INPUTS_AT] + thread * plan[_INPUTS]
        results = plan[_RESULTS_AT] + thread * plan[_RESULTS]
        _convolve_block(source, bias, target, scratch, plan, i, inputs, results)


def forward_plan(x, weight, y, options, groups, itemsize) -> Plan:
    """The plan of the forward pass for arrays of these shapes."""
    n, _, h, w = x
    out, per_group, kh, kw = weight
    layouts = _forward_layouts(h, w, kh, kw, *y[2:], *options)
    rows, terms = out // groups, kh * kw
    strides = (rows * per_group * terms, per_group * terms, terms)
    size = (1, h * w) if layouts[0].width != w else y[2:]  # a 1x1 kernel's pixels stand in one row
    threads = numba.config.NUMBA_NUM_THREADS
    return _convolve_plan(layouts, n, groups, per_group, rows, size, (1, 1), strides, itemsize, threads)


def grad_input_plan(dy, weight, dx, options, groups, itemsize) -> Plan:
    """The plan of the gradient of the input for arrays of these shapes."""
    n, _, h, w = dx
    out, per_group, kh, kw = weight
    layouts = _grad_input_layouts(h, w, kh, kw, *dy[2:], *options)
    channels, terms = out // groups, kh * kw
    strides = (channels * per_group * terms, terms, per_group * terms)
    size = (1, h * w) if layouts[0].width != dy[3] else (h, w)
    threads = numba.config.NUMBA_NUM_THREADS
    return _convolve_plan(layouts, n, groups, channels, per_group, size, options[:2], strides, itemsize, threads)


# ------------------------------------------------------------------------------------- grad_weight

_WEIGHT_ROWS = 256  # output channels of one task at most: for every 256 of them x is copied once
# Bytes of the rows of dy of one tile, which stay in the L1 cache while all of x passes by: of 48 KB on processors with AVX-512,
# of 32 KB on others (1024 channels of 14 x 14 to 256, 1x1: 12 % less time than with all of them).
_ROW_BYTES = (32 if simd.VECTOR_BITS == 512 else 24) << 10


def grad_weight_plan(dy, x, weight, options, groups, itemsize) -> Plan:
    """The plan of ``_weigh``: rows are output channels, columns the elements of some input channels' kernels."""
    n, _, h, w = x
    out, per_group, kh, kw = weight
    rows, terms = out // groups, kh * kw
    lanes = simd.VECTOR_BITS // 8 // itemsize
    height = tile_rows(rows, DOT_COST, DOT)
    row_blocks = ceil(rows, height)
    together = min(row_blocks, _WEIGHT_ROWS // height + 1)  # row blocks for which x is copied once
    most = min(4096, _ROW_BYTES // itemsize // height)
    # The pixels of a 1x1 kernel are read where they lie, if whole vectors of them end with the image: 8 x 64 x 56 x 56 to 256 takes
    # a tenth less (Zen 3).
    plain = (kh, kw, *options[:4]) == (1, 1, 1, 1, 0, 0) and (h, w) == tuple(dy[2:])
    plain = plain and h * w % lanes == 0 and rows % height == 0
    best: Any = None
    for layout in _forward_layouts(h, w, kh, kw, *dy[2:], *options):
        planes = len(layout.planes)
        # An image is a piece of its own where that skips more of the pixels between images than filling its last
        # vector costs: a quarter of the work of LeNet's second layer, 10 of whose 14 rows are used.
        piece = ceil(layout.flats(1, layout.rows, layout.columns), lanes) * lanes
        apart = piece < layout.image
        for images, band in _partitions(layout, n, most * layout.image // piece if apart else most):
            size = layout.plane_size(images, band, lanes, lanes)
            flats = images * piece if apart and images > 1 else layout.flats(images, band, layout.columns)
            steps = ceil(flats, lanes)
            multiply = row_blocks * per_group * terms * (steps * height / 2 + 60 / DOT[height]) * DOT_COST[height]
            copy = per_group * planes * layout.copy_cost(images, band, lanes) * ceil(row_blocks, together)
            copy += rows * size * 0.4
            in_place = plain and band * layout.columns % lanes == 0
            if in_place:
                copy = 0.0
            blocks = ceil(n, images) * ceil(layout.rows, band)
            cost = makespan(blocks * groups, multiply + copy + 200)
            if best is None or cost < best[0]:
                best = (cost, layout, images, band, size, blocks, piece if apart and images > 1 else 0, in_place)
    assert best is not None
    cost, layout, images, band, size, blocks, piece, in_place = best
    planes, pixels = len(layout.planes), layout.products[0]
    part_blocks = ceil(row_blocks, ceil(row_blocks * height, _WEIGHT_ROWS))
    while part_blocks > 1 and groups * ceil(row_blocks, part_blocks) * blocks < WEIGHT_TASKS // 2:
        part_blocks = ceil(part_blocks, 2)
    parts = ceil(row_blocks, part_blocks)
    block_channels = max(1, min(per_group, _SCRATCH_BYTES * 3 // 4 // itemsize // (planes * size)))
    block_channels = ceil(per_group, ceil(per_group, block_channels))
    columns = ceil(block_channels * terms, DOT[height]) * DOT[height]
    all_columns = columns * ceil(per_group, block_channels)
    chunks = max(1, min(blocks, WEIGHT_TASKS // (groups * parts), PARTIALS // (out * all_columns)))

    f = [0] * _FIELDS
    f[N], f[GROUPS], f[CHANNELS], f[ROWS] = n, groups, per_group, rows
    f[_HEIGHT], f[_WIDTH], f[_STEP_H], f[_STEP_W], f[_TOP], f[_LEFT] = layout[:6]
    f[_PLANES], f[_PITCH], f[_IMAGE_ROWS], f[_REACH] = planes, layout.pitch, layout.image_rows, layout.reach
    f[_BLOCK_IMAGES], f[_BLOCK_ROWS], f[_BANDS], f[_MOST_ROWS] = images, band, ceil(layout.rows, band), layout.rows
    f[_PLANE_SIZE], f[BLOCK_CHANNELS], f[TILE] = size, block_channels, height
    f[PART_ROWS], f[PARTS] = part_blocks * height, parts
    f[_OUT_HEIGHT], f[_OUT_WIDTH] = pixels.rows, pixels.columns
    f[CHUNKS], f[_BLOCKS], f[COLUMNS], f[ALL_COLUMNS], f[TERMS] = chunks, blocks, columns, all_columns, terms
    f[_TILE_WIDTH] = DOT[height]
    f[_INPUTS] = planes * block_channels * size + 2 * lanes
    f[_RESULTS_AT] = numba.config.NUMBA_NUM_THREADS * f[_INPUTS]
    f[_PIECE] = max(piece, ceil(band * layout.pitch, lanes) * lanes) if piece else 0
    f[_GRAD_SIZE] = (ceil(images * f[_PIECE] or layout.flats(images, band, layout.columns), lanes) | 1) * lanes
    f[_RESULTS] = part_blocks * height * f[_GRAD_SIZE] + 2 * lanes
    f[PARTIALS_AT] = f[_RESULTS_AT] + numba.config.NUMBA_NUM_THREADS * f[_RESULTS]
    f[TASKS] = chunks * groups * parts
    f[_PLANES_AT] = append(f, (phase for plane in layout.planes for phase in plane))
    offsets = [plane * size + row * layout.pitch + column for plane, row, column, _ in pixels.taps]
    taps = [c * planes * size + o for c in range(block_channels) for o in offsets]
    f[_PRODUCTS_AT] = append(f, taps + [0] * (columns - len(taps)))
    f[_IN_PLACE] = int(in_place)
    if in_place:  # tiles may be wider than the channels of a block are many, and no channel follows the last one
        last = per_group - (ceil(per_group, block_channels) - 1) * block_channels
        f[_PRODUCTS_AT], f[_LAST_AT] = (
            append(f, (min(c, count - 1) * h * w for c in range(columns))) for count in (block_channels, last)
        )
    size = f[PARTIALS_AT] + f[TASKS] * f[PART_ROWS] * all_columns
    return Plan(_weigh, np.array(f, np.int64), (f[TASKS], out), size, cost)


@jit
def _weigh_chunk(x, dy, scratch, plan, task, inputs, grads):  # type: ignore[no-untyped-def]
    """One task: the partial sums of some rows (output channels) of one group over one chunk of the blocks of pixels."""
    part, rest = task % plan[PARTS], task // plan[PARTS]
    group, chunk = rest % plan[GROUPS], rest // plan[GROUPS]
    channels, all_rows, height, size = plan[CHANNELS], plan[ROWS], plan[TILE], plan[_GRAD_SIZE]
    row0 = part * plan[PART_ROWS]
    rows = min(plan[PART_ROWS], all_rows - row0)
    blocks = (rows + height - 1) // height
    image, pitch, columns = plan[_IMAGE_ROWS] * plan[_PITCH], plan[_PITCH], plan[ALL_COLUMNS]
    out_height, out_width = plan[_OUT_HEIGHT], plan[_OUT_WIDTH]
    partials = plan[PARTIALS_AT] + task * plan[PART_ROWS] * columns
    for i in range(plan[PART_ROWS] * columns):
        scratch[np.uint64(partials + i)] = 0
    for block in range(chunk * plan[_BLOCKS] // plan[CHUNKS], (chunk + 1) * plan[_BLOCKS] // plan[CHUNKS]):
        band, first_image = block % plan[_BANDS] * plan[_BLOCK_ROWS], block // plan[_BANDS] * plan[_BLOCK_IMAGES]
        images = min(plan[_BLOCK_IMAGES], plan[N] - first_image)
        band_rows = min(plan[_BLOCK_ROWS], plan[_MOST_ROWS] - band)
        pieces, step, k = 1, image, (images - 1) * image + (band_rows - 1) * pitch + out_width
        if plan[_PIECE]:
            pieces, step, k = images, plan[_PIECE], (band_rows - 1) * pitch + out_width
        if plan[_IN_PLACE]:
            pixels = out_height * out_width
            a0 = ((first_image * plan[GROUPS] + group) * all_rows + row0) * pixels + band * out_width
            b0 = (first_image * plan[GROUPS] + group) * channels * pixels + band * out_width
            for c0 in range(0, channels, plan[BLOCK_CHANNELS]):
                depth = min(plan[BLOCK_CHANNELS], channels - c0)
                to = partials + c0 // plan[BLOCK_CHANNELS] * plan[COLUMNS]
                taps = plan[_LAST_AT] if c0 + depth == channels else plan[_PRODUCTS_AT]
                dots(height, blocks, plan[_TILE_WIDTH], images, band_rows * out_width, dy, a0, pixels,
                     plan[GROUPS] * all_rows * pixels, x, b0 + c0 * pixels, plan[GROUPS] * channels * pixels, plan, taps,
                     depth, scratch, to, columns)  # fmt: skip
            continue
        for r in range(rows):
            at = grads + r * size
            for i in range(images):
                s0 = (((first_image + i) * plan[GROUPS] + group) * all_rows + row0 + r) * out_height * out_width
                count = band_rows if i == images - 1 or pieces > 1 else plan[_IMAGE_ROWS]
                _read_plane(dy, s0 + band * out_width, band_rows, out_width, 1, 1, 0, 0, count, pitch, scratch,
                            at + i * step)  # fmt: skip
                if pieces > 1:
                    simd.read_row(step - band_rows * pitch, dy, 0, 0, 0, scratch, at + i * step + band_rows * pitch)
            end = (images - 1) * step + band_rows * pitch
            simd.read_row(size - end, dy, 0, 0, 0, scratch, at + end)
        for c0 in range(0, channels, plan[BLOCK_CHANNELS]):
            depth = min(plan[BLOCK_CHANNELS], channels - c0)
            _read_channels(x, plan, first_image, images, group * channels + c0, depth, band, band_rows, scratch, inputs)
            to = partials + c0 // plan[BLOCK_CHANNELS] * plan[COLUMNS]
            dots(height, blocks, plan[_TILE_WIDTH], pieces, k, scratch, grads, size, step, scratch, inputs, image, plan,
                  plan[_PRODUCTS_AT], depth * plan[TERMS], scratch, to, columns)  # fmt: skip


@jit
def _weigh(stage, i, thread, x, dy, bias, dweight, scratch, plan):  # type: ignore[no-untyped-def]
    """Stage 0 makes partial sums, stage 1 adds them up."""
    if stage == 0:
        _weigh_chunk(x, dy, scratch, plan, i, thread * plan[_INPUTS], plan[_RESULTS_AT] + thread * plan[_RESULTS])
    else:
        add_partials(dweight, scratch, plan, i)
