"""2-D cross-correlation ("convolution") and its gradients, any stride, padding, dilation and groups.

Contract. N images, C input channels of H x W, O output channels of OH x OW, kernels of KH x KW, G groups; layout NCHW,
C-contiguous, float32 or float64::

    y[n, o, oy, ox] = bias[o] + sum_{c, kh, kw} weight[o, c, kh, kw] * x[n, g C/G + c, oy sh + kh dh - pt, ox sw + kw dw - pl]

with g = o // (O/G), weight (O, C/G, KH, KW), and x zero outside its H x W. Top and left padding pt, pl are arguments;
bottom and right padding follow from OH and OW, so any padding per side is covered, and rows or columns of x that no
output reads are allowed. Every kernel overwrites its output, which the caller allocates:

- ``conv2d_forward(x, weight, bias, y, sh, sw, pt, pl, dh, dw, groups)``: bias (O,), or (0,) for none.
- ``conv2d_grad_input(dy, weight, dx, sh, sw, pt, pl, dh, dw, groups)``: zero where nothing contributes.
- ``conv2d_grad_weight(dy, x, dweight, sh, sw, pt, pl, dh, dw, groups)``.
- ``conv2d_grad_bias(dy, dbias)``: sums over N, OH and OW.

Sums run in the arrays' dtype, in vector lanes and blocks (grad_bias: in float64 on the CPU), and come out the same
whatever the number of threads. An infinity or NaN in x or dy makes NaN of every element of dweight that its image and
channel touch, also of those whose own sum leaves that pixel out; elsewhere it goes just where the sums take it.

How the CPU twins work. A task copies some channels of a few images (or of a band of rows) into a scratch where every
row is ``pitch`` long with the zeros of the padding between the rows. Output pixels are numbered along that pitch,
q = oy * pitch + ox, and the input pixel that kernel element (kh, kw) needs lies at q plus an offset that depends on
(kh, kw) alone: the convolution has become a matrix product whose right side is read in place, which is what
``simd.fma_tile`` computes, 16 pixels to a vector and 8 output channels at a time. The pixels between the rows are
computed too, and dropped. With strides, the pixels of one residue modulo the stride form a plane of their own
(space to depth), and all reads are contiguous again. The gradient of the input is the same computation on dy with
the weight transposed: one product for each residue of the input pixel modulo the stride. The gradient of the weight
is ``simd.dot_tile`` on the same scratch.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial
from itertools import product
from typing import Any, NamedTuple

import numba
import numpy as np

from numbanet.devices import CUDA, cuda, empty
from numbanet.kernels import launch, simd
from numbanet.kernels.kernel import Kernel, jit
from numbanet.kernels.parallel import run_stages

# ------------------------------------------------------------------------------------------------------ references


def _elements(weight, x, y, sh, sw, pt, pl, dh, dw, groups):
    """For references: every kernel element and group as (output channels, input channels, i, j, the pixels of the
    padded input that its outputs read), with the padded input's shape and the place of the input in it."""
    out, per_group, kh, kw = weight
    bottom = max(0, (y[2] - 1) * sh + (kh - 1) * dh + 1 - pt - x[2])
    right = max(0, (y[3] - 1) * sw + (kw - 1) * dw + 1 - pl - x[3])
    shape = (x[0], x[1], pt + x[2] + bottom, pl + x[3] + right)
    inner = (slice(None), slice(None), slice(pt, pt + x[2]), slice(pl, pl + x[3]))
    elements = []
    for g, i, j in np.ndindex(groups, kh, kw):
        o = slice(g * (out // groups), (g + 1) * (out // groups))
        c = slice(g * per_group, (g + 1) * per_group)
        rows = slice(i * dh, i * dh + (y[2] - 1) * sh + 1, sh)
        columns = slice(j * dw, j * dw + (y[3] - 1) * sw + 1, sw)
        elements.append((o, c, i, j, (slice(None), c, rows, columns)))
    return shape, inner, elements


def conv2d_forward_reference(x, weight, bias, y, sh, sw, pt, pl, dh, dw, groups):
    """One product of weights and pixels per kernel element and group, on an image padded with zeros."""
    shape, inner, elements = _elements(weight.shape, x.shape, y.shape, sh, sw, pt, pl, dh, dw, groups)
    padded = np.zeros(shape, x.dtype)
    padded[inner] = x
    y[...] = bias[None, :, None, None] if bias.size else 0
    for o, _, i, j, pixels in elements:
        y[:, o] += np.einsum("oc,nchw->nohw", weight[o, :, i, j], padded[pixels])


def conv2d_grad_input_reference(dy, weight, dx, sh, sw, pt, pl, dh, dw, groups):
    """Every output pixel hands its gradient on to the input pixels that it read; what falls on the padding is lost."""
    shape, inner, elements = _elements(weight.shape, dx.shape, dy.shape, sh, sw, pt, pl, dh, dw, groups)
    padded = np.zeros(shape, dx.dtype)
    for o, _, i, j, pixels in elements:
        padded[pixels] += np.einsum("oc,nohw->nchw", weight[o, :, i, j], dy[:, o])
    dx[...] = padded[inner]


def conv2d_grad_weight_reference(dy, x, dweight, sh, sw, pt, pl, dh, dw, groups):
    """Every kernel element gathers the products of the gradients and the pixels that it brought together."""
    shape, inner, elements = _elements(dweight.shape, x.shape, dy.shape, sh, sw, pt, pl, dh, dw, groups)
    padded = np.zeros(shape, x.dtype)
    padded[inner] = x
    for o, _, i, j, pixels in elements:
        dweight[o, :, i, j] = np.einsum("nohw,nchw->oc", dy[:, o], padded[pixels])


def conv2d_grad_bias_reference(dy, dbias):
    """The sum over images and pixels, in float64."""
    dbias[...] = dy.sum(axis=(0, 2, 3), dtype=np.float64)


# ----------------------------------------------------------------------------------------------- CPU: the geometry
#
# Plans are made of plain integers in Python, once for every shape, and handed to the compiled functions as one int64
# array, so that a call costs one more argument and no more.

# Register tiles: rows of the left side (output channels) -> vectors of pixels, or columns (kernel elements).
_FMA = {8: 3, 6: 4, 4: 6, 2: 10, 1: 12} if simd.TILE_ROWS == 8 else {6: 2, 4: 3, 2: 5, 1: 8}
_DOT = {8: 3, 6: 4, 4: 6, 2: 9, 1: 9} if simd.TILE_ROWS == 8 else {6: 2, 4: 3, 2: 5, 1: 9}
# Their cost per multiply-add, measured (Zen 5): the flat ones wait for loads.
_FMA_COST = {8: 1.0, 6: 1.0, 4: 1.0, 2: 1.35, 1: 2.4}
_DOT_COST = {8: 1.0, 6: 1.0, 4: 1.0, 2: 1.2, 1: 2.2}

_SCRATCH_BYTES = 256 << 10  # of copied input of one task; with the results' bytes within a common 1 MB L2 cache
_RESULT_BYTES = 384 << 10  # of results of one task that wait for their last channels
_RESULT_ROWS = 128  # output channels of one task at most
_DEPTH = 600  # terms of a sum per tile at most: 8 rows of weights of that depth lie in the L1 cache


class _Product(NamedTuple):
    """One product of a convolution: target pixel (row0 + i * step_h, column0 + j * step_w) for i < rows, j < columns
    sums over taps (plane, row, column, element): weight element * plane[i + row, j + column]."""

    rows: int
    columns: int
    row0: int
    column0: int
    taps: tuple[tuple[int, int, int, int], ...]
    start: int = 0  # rows above it in the flat pixels, where products share one numbering


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
    together: int = 1  # images whose rows alternate, as one image: row r of image i is its row r * together + i

    @property
    def image(self) -> int:
        return self.image_rows * self.pitch

    def flats(self, images: int, rows: int, columns: int) -> int:
        """Pixels from the first to the last one of a product over some images, gaps included."""
        return (images - 1) * self.image + (rows - 1) * self.pitch + columns

    def copy_cost(self, images: int, rows: int, lanes: int) -> float:
        """Cycles to fill one plane, measured: whole vectors row by row, or pixel by pixel with a stride."""
        per_row = _ceil(self.pitch, lanes) * (1.5 + self.step_w) + 6 if self.step_w <= 2 else self.pitch * 1.5 + 15
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


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


def _shared_zeros(size: int, source: int, step: int, before: int, phases: set[int]) -> int:
    """How many zeros every plane's rows (or columns) of ``size`` elements have both at their begin and at their end."""
    begin = min(min(size, max(0, _ceil(before - phase, step))) for phase in phases)
    end = min(size - min(size, max(0, _ceil(source + before - phase, step))) for phase in phases)
    return min(begin, end)


def _layout(
    source: tuple[int, int],
    step: tuple[int, int],
    before: tuple[int, int],
    planes: tuple[tuple[int, int], ...],
    products: tuple[_Product, ...],
) -> _Layout:
    rows, columns = max(p.start + p.rows for p in products), max(p.columns for p in products)
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
            r = max(0, _ceil(before - residue, stride))
            first = r * stride + residue - before
            taps = {i: r - i * dilation // stride for i in range(kernel) if i * dilation % stride == residue}
            if first < size:
                found.append((_ceil(size - first, stride), first, taps))
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


@lru_cache(maxsize=1024)
def _alternating_layouts(n, h, w, kh, kw, oh, ow, pt, pl, dh, dw) -> tuple[_Layout, ...]:
    """Layouts of grad_input with stride 1 that leave the padding above and below out of the sums.

    Rows of several images alternate, so that the pixels of one target row of all of them stand together: a product then
    takes just the kernel rows that meet dy there, 71 % of all in LeNet's second layer, and no other rows are computed.
    """
    valid = [tuple(i for i in range(kh) if 0 <= r + pt - i * dh < oh) for r in range(h)]
    if n < 2 or kh == 1 or () in valid or len(set(valid)) == 1:
        return ()
    top, left = max(0, (kh - 1) * dh - pt), max(0, (kw - 1) * dw - pl)
    layouts = []
    for together in (8, 16, 32):
        if n % together:
            continue
        products, r = [], 0
        while r < h:
            rows = next((k for k in range(r, h) if valid[k] != valid[r]), h) - r
            taps = tuple(
                (0, (pt - i * dh + top) * together, pl - j * dw + left, i * kw + j) for i in valid[r] for j in range(kw)
            )
            products.append(_Product(rows * together, w, 0, 0, taps, r * together))
            r += rows
        layout = _layout((oh * together, ow), (1, 1), (top * together, left), ((0, 0),), tuple(products))
        layouts.append(layout._replace(together=together))
    return tuple(layouts)


def _tile_starts(layout: _Layout, product: _Product, images: int, rows: int, tile: int) -> list[int]:
    """The first pixels of tiles that cover a product's pixels, leaving out the gaps between them where they can."""
    starts: list[int] = []
    if product.start:  # one image
        rows, q = product.start + product.rows, product.start * layout.pitch
        product = product._replace(rows=rows, start=0)
    else:
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
    if layout.together > 1:
        yield 1, layout.rows
        return
    together = min(n, most // layout.image)
    if together > 1:
        fewest = _ceil(n, together)
        for images in sorted({_ceil(n, blocks) for blocks in range(fewest, 2 * fewest + 3)} - {1}):
            yield images, layout.rows
    fewest = _ceil(layout.image, most)
    tried = set()
    for bands in [*range(fewest, 2 * fewest + 2), 4 * fewest, 8 * fewest]:
        rows = _ceil(layout.rows, bands)
        if rows not in tried:
            tried.add(rows)
            yield 1, rows


def _part_blocks(row_blocks: int, height: int) -> list[int]:
    """Numbers of row blocks that a task may take: as many as fit, and fewer for more tasks, but 16 rows at least."""
    found: list[int] = []
    blocks = max(1, min(row_blocks, _RESULT_ROWS // height))
    while not found or blocks * height >= 16:
        found.append(_ceil(row_blocks, _ceil(row_blocks, blocks)))
        blocks //= 2
    return found


def _block_channels(layout: _Layout, channels: int, size: int, itemsize: int) -> int:
    """Source channels that are copied and multiplied at a time, about as many every time."""
    terms = max(len(p.taps) for p in layout.products)
    most = min(_SCRATCH_BYTES // itemsize // (max(1, len(layout.planes)) * size), _DEPTH // max(1, terms))
    return _ceil(channels, _ceil(channels, max(1, most)))


def _makespan(tasks: int, cost: float) -> float:
    """Time for tasks of one cost on a few threads; which number of threads is not asked, for the results' sake."""
    return cost * (_ceil(tasks, 2) * 2 + _ceil(tasks, 8) * 8) / 2


def _tile_rows(rows: int, cost: dict[int, float], tiles: dict[int, Any]) -> int:
    return min(tiles, key=lambda height: (_ceil(rows, height) * height * cost[height], -height))


# Positions in the plan of a convolution
(_N, _GROUPS, _CHANNELS, _ROWS, _HEIGHT, _WIDTH, _STEP_H, _STEP_W, _TOP, _LEFT, _PLANES, _PLANES_AT, _PITCH, _IMAGE_ROWS,
 _REACH, _BLOCK_IMAGES, _BLOCK_ROWS, _BANDS, _MOST_ROWS, _PLANE_SIZE, _BLOCK_CHANNELS, _TILE, _PART_ROWS, _PARTS,
 _PRODUCTS, _PRODUCTS_AT, _OUT_HEIGHT, _OUT_WIDTH, _OUT_STEP_H, _OUT_STEP_W, _RESULT_PITCH, _GROUP_STRIDE, _ROW_STRIDE,
 _CHANNEL_STRIDE, _PANELS, _INPUTS_AT, _INPUTS, _RESULTS_AT, _RESULTS, _PACKS, _TASKS, _SIZE, _CHUNKS, _BLOCKS, _COLUMNS,
 _ALL_COLUMNS, _TERMS, _TILE_WIDTH, _PARTIALS_AT, _GRAD_SIZE, _PIECE, _TOGETHER, _GAP, _FIELDS) = range(54)  # fmt: skip
# ... and of a product within it
(_TAPS, _TAPS_AT, _ELEMENTS_AT, _P_ROWS, _P_COLUMNS, _P_ROW0, _P_COLUMN0, _PANEL, _STARTS, _STARTS_AT, _P_START,
 _PRODUCT) = range(12)  # fmt: skip


def _append(plan: list[int], values: Any) -> int:
    at = len(plan)
    plan.extend(values)
    return at


_Plan = tuple[np.ndarray, tuple[int, int], int]  # the fields, the tasks of the two stages, the scratch's size


@lru_cache(maxsize=1024)
def _convolve_plan(
    layouts: tuple[_Layout, ...], n, groups, channels, rows, out, out_step, strides, itemsize, threads
) -> _Plan:
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
    height = _tile_rows(rows, _FMA_COST, _FMA)
    tile = _FMA[height] * lanes
    row_blocks = _ceil(rows, height)
    best: Any = None
    for layout, part_blocks in product(layouts, _part_blocks(row_blocks, height)):
        planes = max(1, len(layout.planes))
        part_rows = part_blocks * height * (len(layout.products) if layout.together == 1 else 1)
        terms, super_images = sum(len(p.taps) for p in layout.products), n // layout.together
        most = _SCRATCH_BYTES // itemsize // (min(channels, 32) * planes + 1)
        most = max(min(most, _RESULT_BYTES // itemsize // part_rows, 4096), tile)
        most = max(most, min(768, _SCRATCH_BYTES // itemsize // (4 * planes)))
        for images, band in _partitions(layout, super_images, most):
            tiles = [len(_tile_starts(layout, p, images, band, tile)) for p in layout.products]
            size = layout.plane_size(images, band, tile, lanes)
            depth = _block_channels(layout, channels, size, itemsize)
            multiply = 0.0
            for count, p in zip(tiles, layout.products, strict=True):
                steps = len(p.taps) * channels * _FMA[height] * height / 2 * _FMA_COST[height]
                multiply += part_blocks * count * (steps + 60 * _ceil(channels, depth))
            copy = channels * planes * layout.copy_cost(images, band, lanes)
            write = _ceil(layout.columns, lanes) * 3 + 6 if out_step[1] == 1 else layout.columns * 1.5 + 10
            copy += part_rows * images * band * write
            stream = part_blocks * height * channels * terms * itemsize / 16
            tasks = _ceil(super_images, images) * _ceil(layout.rows, band) * groups * _ceil(row_blocks, part_blocks)
            cost = _makespan(tasks, multiply + copy + stream + 200)
            if best is None or cost < best[0]:
                best = (cost, layout, images, band, part_blocks, size, depth)
    assert best is not None
    _, layout, images, band, part_blocks, size, block_channels = best
    n //= layout.together
    terms = sum(len(p.taps) for p in layout.products)
    planes = max(1, len(layout.planes))
    # Alternating products stand one behind another, a tile apart: what a last tile computes too much falls in between.
    gap = tile if layout.together > 1 else 0
    last = layout.flats(images, band, layout.columns) + tile + gap * len(layout.products)
    result_pitch = (_ceil(last, lanes) | 1) * lanes

    f = [0] * _FIELDS
    f[_N], f[_GROUPS], f[_CHANNELS], f[_ROWS] = n, groups, channels, rows
    f[_HEIGHT], f[_WIDTH], f[_STEP_H], f[_STEP_W], f[_TOP], f[_LEFT] = layout[:6]
    f[_PLANES], f[_PITCH], f[_IMAGE_ROWS], f[_REACH] = len(layout.planes), layout.pitch, layout.image_rows, layout.reach
    f[_BLOCK_IMAGES], f[_BLOCK_ROWS], f[_BANDS], f[_MOST_ROWS] = images, band, _ceil(layout.rows, band), layout.rows
    f[_PLANE_SIZE], f[_BLOCK_CHANNELS], f[_TILE] = size, block_channels, height
    f[_PART_ROWS], f[_PARTS] = part_blocks * height, _ceil(row_blocks, part_blocks)
    f[_OUT_HEIGHT], f[_OUT_WIDTH], f[_OUT_STEP_H], f[_OUT_STEP_W] = out[0], out[1], out_step[0], out_step[1]
    f[_RESULT_PITCH] = result_pitch
    f[_GROUP_STRIDE], f[_ROW_STRIDE], f[_CHANNEL_STRIDE] = strides
    f[_PRODUCTS] = len(layout.products)
    f[_PANELS] = row_blocks * height * channels * terms  # packed weights of a group
    f[_INPUTS_AT] = _ceil(groups * f[_PANELS], 16) * 16
    f[_INPUTS] = planes * block_channels * size + 2 * lanes
    f[_RESULTS_AT] = f[_INPUTS_AT] + threads * f[_INPUTS]
    f[_TOGETHER], f[_GAP] = layout.together, gap
    f[_RESULTS] = (len(layout.products) if layout.together == 1 else 1) * f[_PART_ROWS] * result_pitch + lanes
    f[_SIZE] = f[_RESULTS_AT] + threads * f[_RESULTS]
    f[_PACKS] = groups * row_blocks
    f[_TASKS] = _ceil(n, images) * f[_BANDS] * groups * f[_PARTS]
    f[_PLANES_AT] = _append(f, (phase for plane in layout.planes for phase in plane))
    f[_PRODUCTS_AT] = _append(f, [0] * (_PRODUCT * len(layout.products)))
    panel = 0
    for i, p in enumerate(layout.products):
        at = f[_PRODUCTS_AT] + i * _PRODUCT
        offsets = [plane * size + row * layout.pitch + column for plane, row, column, _ in p.taps]
        starts = _tile_starts(layout, p, images, band, tile)
        f[at + _TAPS], f[at + _P_ROWS], f[at + _P_COLUMNS] = len(p.taps), p.rows, p.columns
        f[at + _P_ROW0], f[at + _P_COLUMN0], f[at + _PANEL], f[at + _STARTS] = p.row0, p.column0, panel, len(starts)
        f[at + _TAPS_AT] = _append(f, (c * planes * size + o for c in range(block_channels) for o in offsets))
        f[at + _ELEMENTS_AT] = _append(f, (tap[3] for tap in p.taps))
        f[at + _STARTS_AT], f[at + _P_START] = _append(f, starts), p.start
        panel += row_blocks * height * channels * len(p.taps)
    return np.array(f, np.int64), (f[_PACKS], f[_TASKS]), f[_SIZE]


# -------------------------------------------------------------------------------------- CPU: forward and grad_input


@jit
def _read_plane(source, s0, height, width, step_h, step_w, top, left, rows, pitch, target, t0):  # type: ignore[no-untyped-def]
    """target[t0 + r * pitch + j] = source[s0 + y * width + x] with y = r * step_h - top, x = j * step_w - left.

    Zero where (y, x) lies outside of the source. Writes up to a vector more than the rows.
    """
    for r in range(rows):
        y = r * step_h - top
        at = t0 + r * pitch
        if y < 0 or y >= height:
            simd.read_row(pitch, source, s0, 0, 0, target, at)
            continue
        if step_w == 1:
            simd.read_row(pitch, source, s0 + y * width - left, left, left + width, target, at)
            continue
        low = min(pitch, max(0, -(-left // step_w)))
        high = min(pitch, max(low, -(-(width + left) // step_w)))
        if step_w == 2:
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
    all_channels, pixels = plan[_GROUPS] * plan[_CHANNELS], plan[_HEIGHT] * plan[_WIDTH]
    together = plan[_TOGETHER]
    if together > 1:
        width, left = plan[_WIDTH], plan[_LEFT]
        for c in range(channels):
            at = t0 + c * size
            for r in range(rows + plan[_REACH]):
                y = r - plan[_TOP]
                if y < 0 or y >= plan[_HEIGHT]:
                    simd.read_row(pitch, source, 0, 0, 0, target, at + r * pitch)
                else:
                    image = first_image * together + y % together
                    s0 = (image * all_channels + first_channel + c) * (pixels // together) + y // together * width
                    simd.read_row(pitch, source, s0 - left, left, left + width, target, at + r * pitch)
            end = (rows + plan[_REACH]) * pitch
            simd.read_row(size - end, source, 0, 0, 0, target, at + end)
        return
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


# Compiled functions take their tiles from names of the module; four heights need no fifth name but share one.
_HEIGHT_0, _HEIGHT_1, _HEIGHT_2, _HEIGHT_3, _HEIGHT_4 = ([*_FMA] + [1])[:5]
_fma_0, _fma_1, _fma_2, _fma_3, _fma_4 = (
    simd.fma_tile(height, _FMA[height]) for height in (_HEIGHT_0, _HEIGHT_1, _HEIGHT_2, _HEIGHT_3, _HEIGHT_4)
)
_dot_0, _dot_1, _dot_2, _dot_3, _dot_4 = (
    simd.dot_tile(height, _DOT[height]) for height in (_HEIGHT_0, _HEIGHT_1, _HEIGHT_2, _HEIGHT_3, _HEIGHT_4)
)


@jit
def _multiply(rows, blocks, k, a, a0, panel, b0, taps, t0, c0, ldc, accumulate):  # type: ignore[no-untyped-def]
    """``fma_tile`` for a few blocks of rows, whose packed weights lie ``panel`` apart; a, b and c are one scratch."""
    for i in range(blocks):
        left, right = a0 + i * panel, c0 + i * rows * ldc
        if rows == _HEIGHT_0:
            _fma_0(k, a, left, a, b0, taps, t0, a, right, ldc, accumulate)
        elif rows == _HEIGHT_1:
            _fma_1(k, a, left, a, b0, taps, t0, a, right, ldc, accumulate)
        elif rows == _HEIGHT_2:
            _fma_2(k, a, left, a, b0, taps, t0, a, right, ldc, accumulate)
        elif rows == _HEIGHT_3:
            _fma_3(k, a, left, a, b0, taps, t0, a, right, ldc, accumulate)
        else:
            _fma_4(k, a, left, a, b0, taps, t0, a, right, ldc, accumulate)


@jit
def _pack(weight, plan, scratch, block):  # type: ignore[no-untyped-def]
    """Pack a block of rows of one group: [product][row block][channel][tap][row], zeros for the rows that fill up."""
    height, rows, channels = plan[_TILE], plan[_ROWS], plan[_CHANNELS]
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
    part, rest = task % plan[_PARTS], task // plan[_PARTS]
    group, rest = rest % plan[_GROUPS], rest // plan[_GROUPS]
    band, first_image = rest % plan[_BANDS] * plan[_BLOCK_ROWS], rest // plan[_BANDS] * plan[_BLOCK_IMAGES]
    images = min(plan[_BLOCK_IMAGES], plan[_N] - first_image)
    band_rows = min(plan[_BLOCK_ROWS], plan[_MOST_ROWS] - band)
    channels, all_rows, height = plan[_CHANNELS], plan[_ROWS], plan[_TILE]
    row0 = part * plan[_PART_ROWS]
    rows = min(plan[_PART_ROWS], all_rows - row0)
    blocks = (rows + height - 1) // height
    image, pitch, result_pitch = plan[_IMAGE_ROWS] * plan[_PITCH], plan[_PITCH], plan[_RESULT_PITCH]
    together = plan[_TOGETHER]
    for c0 in range(0, channels, plan[_BLOCK_CHANNELS]):
        depth = min(plan[_BLOCK_CHANNELS], channels - c0)
        _read_channels(
            source, plan, first_image, images, group * channels + c0, depth, band, band_rows, scratch, inputs
        )
        for p in range(plan[_PRODUCTS]):
            at = plan[_PRODUCTS_AT] + p * _PRODUCT
            taps = plan[at + _TAPS]
            here = min(band_rows, plan[at + _P_ROWS] - band)
            end = (images - 1) * image + (here - 1) * pitch + plan[at + _P_COLUMNS] if here > 0 else 0
            end += plan[at + _P_START] * pitch
            panel = height * channels * taps
            left = group * plan[_PANELS] + plan[at + _PANEL] + row0 // height * panel + c0 * taps * height
            result = results + (p * plan[_PART_ROWS] * result_pitch if together == 1 else p * plan[_GAP])
            for s in range(plan[at + _STARTS]):
                q = plan[plan[at + _STARTS_AT] + s]
                if q >= end:
                    break
                _multiply(height, blocks, depth * taps, scratch, left, panel, inputs + q, plan, plan[at + _TAPS_AT],
                          result + q, result_pitch, c0)  # fmt: skip
    if together > 1:
        for i in range(together):
            for r in range(rows):
                o = group * all_rows + row0 + r
                shift = bias[np.uint64(o)] if bias.size else target.dtype.type(0)
                t0 = (
                    ((first_image * together + i) * plan[_GROUPS] * all_rows + o) * plan[_OUT_HEIGHT] * plan[_OUT_WIDTH]
                )
                for p in range(plan[_PRODUCTS]):
                    at = plan[_PRODUCTS_AT] + p * _PRODUCT
                    y = plan[at + _P_START] // together
                    s0 = results + r * result_pitch + p * plan[_GAP] + i * pitch
                    for row in range(y, y + plan[at + _P_ROWS] // together):
                        simd.write_row(plan[_OUT_WIDTH], scratch, s0 + row * together * pitch, shift, target,
                                       t0 + row * plan[_OUT_WIDTH])  # fmt: skip
        return
    for p in range(plan[_PRODUCTS]):
        at = plan[_PRODUCTS_AT] + p * _PRODUCT
        here = min(band_rows, plan[at + _P_ROWS] - band)
        columns, step = plan[at + _P_COLUMNS], plan[_OUT_STEP_W]
        for r in range(rows):
            o = group * all_rows + row0 + r
            shift = target.dtype.type(0)
            if bias.size:
                shift = bias[np.uint64(o)]
            for i in range(images):
                pixels = ((first_image + i) * plan[_GROUPS] * all_rows + o) * plan[_OUT_HEIGHT]
                first = results + (p * plan[_PART_ROWS] + r) * result_pitch + i * image
                for y in range(here):
                    s0 = first + y * pitch
                    t0 = (pixels + plan[at + _P_ROW0] + (band + y) * plan[_OUT_STEP_H]) * plan[_OUT_WIDTH] + plan[
                        at + _P_COLUMN0
                    ]
                    if step == 1:
                        simd.write_row(columns, scratch, s0, shift, target, t0)
                    else:
                        for j in range(columns):
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


def _run(body, source, weight, bias, target, plan):
    """Run a body on flat views of its arrays."""
    fields, tasks, size = plan
    scratch = empty((size,), target.dtype)
    run_stages(body, tasks, source.reshape(-1), weight.reshape(-1), bias, target.reshape(-1), scratch, fields)


def _conv2d_forward_cpu(x, weight, bias, y, sh, sw, pt, pl, dh, dw, groups):
    plan = _forward_plan(x.shape, weight.shape, y.shape, (sh, sw, pt, pl, dh, dw), groups, x.itemsize)
    if plan is not None:
        _run(_convolve, x, weight, bias, y, plan)


@lru_cache(maxsize=1024)
def _forward_plan(x, weight, y, options, groups, itemsize):
    n, _, h, w = x
    out, per_group, kh, kw = weight
    if 0 in y:
        return None
    layouts = _forward_layouts(h, w, kh, kw, *y[2:], *options)
    rows, terms = out // groups, kh * kw
    strides = (rows * per_group * terms, per_group * terms, terms)
    size = (1, h * w) if layouts[0].width != w else y[2:]  # a 1x1 kernel's pixels stand in one row
    threads = numba.config.NUMBA_NUM_THREADS
    return _convolve_plan(layouts, n, groups, per_group, rows, size, (1, 1), strides, itemsize, threads)


def _conv2d_grad_input_cpu(dy, weight, dx, sh, sw, pt, pl, dh, dw, groups):
    plan = _grad_input_plan(dy.shape, weight.shape, dx.shape, (sh, sw, pt, pl, dh, dw), groups, dy.itemsize)
    if plan is not None:
        _run(_convolve, dy, weight, np.empty(0, dx.dtype), dx, plan)


@lru_cache(maxsize=1024)
def _grad_input_plan(dy, weight, dx, options, groups, itemsize):
    n, _, h, w = dx
    out, per_group, kh, kw = weight
    if 0 in dx:
        return None
    layouts = _grad_input_layouts(h, w, kh, kw, *dy[2:], *options)
    if options[:2] == (1, 1):
        layouts += _alternating_layouts(n, h, w, kh, kw, *dy[2:], *options[2:])
    channels, terms = out // groups, kh * kw
    strides = (channels * per_group * terms, terms, per_group * terms)
    size = (1, h * w) if layouts[0].width != dy[3] else (h, w)
    threads = numba.config.NUMBA_NUM_THREADS
    return _convolve_plan(layouts, n, groups, channels, per_group, size, options[:2], strides, itemsize, threads)


# ------------------------------------------------------------------------------------- CPU: grad_weight and grad_bias

_WEIGHT_ROWS = 96  # output channels of one task at most
_ROW_BYTES = 32 << 10  # of the rows of dy of one tile: they stay in the L1 cache while all of x passes by
_PARTIALS = 1 << 22  # elements of partial sums at most
_WEIGHT_TASKS = 16


@lru_cache(maxsize=1024)
def _grad_weight_plan(dy, x, weight, options, groups, itemsize):
    """The plan of ``_weigh``: rows are output channels, columns the elements of some input channels' kernels."""
    n, _, h, w = x
    out, per_group, kh, kw = weight
    if 0 in dy or 0 in weight or 0 in x:
        return None
    rows, terms = out // groups, kh * kw
    lanes = simd.VECTOR_BITS // 8 // itemsize
    height = _tile_rows(rows, _DOT_COST, _DOT)
    row_blocks = _ceil(rows, height)
    together = min(row_blocks, _WEIGHT_ROWS // height + 1)  # row blocks for which x is copied once
    most = min(4096, _ROW_BYTES // itemsize // height)
    best: Any = None
    for layout in _forward_layouts(h, w, kh, kw, *dy[2:], *options):
        planes = len(layout.planes)
        # An image is a piece of its own where that skips more of the pixels between images than filling its last
        # vector costs: a quarter of the work of LeNet's second layer, 10 of whose 14 rows are used.
        piece = _ceil(layout.flats(1, layout.rows, layout.columns), lanes) * lanes
        apart = piece < layout.image
        for images, band in _partitions(layout, n, most * layout.image // piece if apart else most):
            size = layout.plane_size(images, band, lanes, lanes)
            flats = images * piece if apart and images > 1 else layout.flats(images, band, layout.columns)
            steps = _ceil(flats, lanes)
            multiply = row_blocks * per_group * terms * (steps * height / 2 + 60 / _DOT[height]) * _DOT_COST[height]
            copy = per_group * planes * layout.copy_cost(images, band, lanes) * _ceil(row_blocks, together)
            copy += rows * size * 0.4
            blocks = _ceil(n, images) * _ceil(layout.rows, band)
            cost = _makespan(blocks, multiply + copy + 200)
            if best is None or cost < best[0]:
                best = (cost, layout, images, band, size, blocks, piece if apart and images > 1 else 0)
    assert best is not None
    _, layout, images, band, size, blocks, piece = best
    planes, pixels = len(layout.planes), layout.products[0]
    part_blocks = _ceil(row_blocks, _ceil(row_blocks * height, _WEIGHT_ROWS))
    while part_blocks > 1 and groups * _ceil(row_blocks, part_blocks) * blocks < _WEIGHT_TASKS // 2:
        part_blocks = _ceil(part_blocks, 2)
    parts = _ceil(row_blocks, part_blocks)
    block_channels = max(1, min(per_group, _SCRATCH_BYTES * 3 // 4 // itemsize // (planes * size)))
    block_channels = _ceil(per_group, _ceil(per_group, block_channels))
    columns = _ceil(block_channels * terms, _DOT[height]) * _DOT[height]
    all_columns = columns * _ceil(per_group, block_channels)
    chunks = max(1, min(blocks, _WEIGHT_TASKS // (groups * parts), _PARTIALS // (out * all_columns)))

    f = [0] * _FIELDS
    f[_N], f[_GROUPS], f[_CHANNELS], f[_ROWS] = n, groups, per_group, rows
    f[_HEIGHT], f[_WIDTH], f[_STEP_H], f[_STEP_W], f[_TOP], f[_LEFT] = layout[:6]
    f[_PLANES], f[_PITCH], f[_IMAGE_ROWS], f[_REACH] = planes, layout.pitch, layout.image_rows, layout.reach
    f[_BLOCK_IMAGES], f[_BLOCK_ROWS], f[_BANDS], f[_MOST_ROWS] = images, band, _ceil(layout.rows, band), layout.rows
    f[_PLANE_SIZE], f[_BLOCK_CHANNELS], f[_TILE] = size, block_channels, height
    f[_PART_ROWS], f[_PARTS] = part_blocks * height, parts
    f[_OUT_HEIGHT], f[_OUT_WIDTH] = pixels.rows, pixels.columns
    f[_CHUNKS], f[_BLOCKS], f[_COLUMNS], f[_ALL_COLUMNS], f[_TERMS] = chunks, blocks, columns, all_columns, terms
    f[_TILE_WIDTH] = _DOT[height]
    f[_INPUTS] = planes * block_channels * size + 2 * lanes
    f[_RESULTS_AT] = numba.config.NUMBA_NUM_THREADS * f[_INPUTS]
    f[_PIECE] = max(piece, _ceil(band * layout.pitch, lanes) * lanes) if piece else 0
    f[_GRAD_SIZE] = (_ceil(images * f[_PIECE] or layout.flats(images, band, layout.columns), lanes) | 1) * lanes
    f[_RESULTS] = part_blocks * height * f[_GRAD_SIZE] + 2 * lanes
    f[_PARTIALS_AT] = f[_RESULTS_AT] + numba.config.NUMBA_NUM_THREADS * f[_RESULTS]
    f[_TASKS] = chunks * groups * parts
    f[_SIZE] = f[_PARTIALS_AT] + f[_TASKS] * f[_PART_ROWS] * all_columns
    f[_PLANES_AT] = _append(f, (phase for plane in layout.planes for phase in plane))
    offsets = [plane * size + row * layout.pitch + column for plane, row, column, _ in pixels.taps]
    taps = [c * planes * size + o for c in range(block_channels) for o in offsets]
    f[_PRODUCTS_AT] = _append(f, taps + [0] * (columns - len(taps)))
    return np.array(f, np.int64), (f[_TASKS], out), f[_SIZE]


@jit
def _dots(rows, blocks, width, pieces, k, a, a0, lda, a_step, b0, b_step, taps, t0, columns, c0, ldc):  # type: ignore[no-untyped-def]
    """``dot_tile`` for blocks of rows and all columns; a, b and c are one scratch."""
    for i in range(blocks):
        left = a0 + i * rows * lda
        for j in range(0, columns, width):
            to, tap = c0 + i * rows * ldc + j, t0 + j
            if rows == _HEIGHT_0:
                _dot_0(pieces, k, a, left, lda, a_step, a, b0, b_step, taps, tap, a, to, ldc)
            elif rows == _HEIGHT_1:
                _dot_1(pieces, k, a, left, lda, a_step, a, b0, b_step, taps, tap, a, to, ldc)
            elif rows == _HEIGHT_2:
                _dot_2(pieces, k, a, left, lda, a_step, a, b0, b_step, taps, tap, a, to, ldc)
            elif rows == _HEIGHT_3:
                _dot_3(pieces, k, a, left, lda, a_step, a, b0, b_step, taps, tap, a, to, ldc)
            else:
                _dot_4(pieces, k, a, left, lda, a_step, a, b0, b_step, taps, tap, a, to, ldc)


@jit
def _weigh_chunk(x, dy, scratch, plan, task, inputs, grads):  # type: ignore[no-untyped-def]
    """One task: the partial sums of some rows (output channels) of one group over one chunk of the blocks of pixels."""
    part, rest = task % plan[_PARTS], task // plan[_PARTS]
    group, chunk = rest % plan[_GROUPS], rest // plan[_GROUPS]
    channels, all_rows, height, size = plan[_CHANNELS], plan[_ROWS], plan[_TILE], plan[_GRAD_SIZE]
    row0 = part * plan[_PART_ROWS]
    rows = min(plan[_PART_ROWS], all_rows - row0)
    blocks = (rows + height - 1) // height
    image, pitch, columns = plan[_IMAGE_ROWS] * plan[_PITCH], plan[_PITCH], plan[_ALL_COLUMNS]
    out_height, out_width = plan[_OUT_HEIGHT], plan[_OUT_WIDTH]
    partials = plan[_PARTIALS_AT] + task * plan[_PART_ROWS] * columns
    for i in range(plan[_PART_ROWS] * columns):
        scratch[np.uint64(partials + i)] = 0
    for block in range(chunk * plan[_BLOCKS] // plan[_CHUNKS], (chunk + 1) * plan[_BLOCKS] // plan[_CHUNKS]):
        band, first_image = block % plan[_BANDS] * plan[_BLOCK_ROWS], block // plan[_BANDS] * plan[_BLOCK_IMAGES]
        images = min(plan[_BLOCK_IMAGES], plan[_N] - first_image)
        band_rows = min(plan[_BLOCK_ROWS], plan[_MOST_ROWS] - band)
        pieces, step, k = 1, image, (images - 1) * image + (band_rows - 1) * pitch + out_width
        if plan[_PIECE]:
            pieces, step, k = images, plan[_PIECE], (band_rows - 1) * pitch + out_width
        for r in range(rows):
            at = grads + r * size
            for i in range(images):
                s0 = (((first_image + i) * plan[_GROUPS] + group) * all_rows + row0 + r) * out_height * out_width
                count = band_rows if i == images - 1 or pieces > 1 else plan[_IMAGE_ROWS]
                _read_plane(dy, s0 + band * out_width, band_rows, out_width, 1, 1, 0, 0, count, pitch, scratch,
                            at + i * step)  # fmt: skip
                if pieces > 1:
                    simd.read_row(step - band_rows * pitch, dy, 0, 0, 0, scratch, at + i * step + band_rows * pitch)
            end = (images - 1) * step + band_rows * pitch
            simd.read_row(size - end, dy, 0, 0, 0, scratch, at + end)
        for c0 in range(0, channels, plan[_BLOCK_CHANNELS]):
            depth = min(plan[_BLOCK_CHANNELS], channels - c0)
            _read_channels(x, plan, first_image, images, group * channels + c0, depth, band, band_rows, scratch, inputs)
            to = partials + c0 // plan[_BLOCK_CHANNELS] * plan[_COLUMNS]
            _dots(height, blocks, plan[_TILE_WIDTH], pieces, k, scratch, grads, size, step, inputs, image, plan, plan[_PRODUCTS_AT],
                  depth * plan[_TERMS], to, columns)  # fmt: skip


@jit
def _add_partials(dweight, scratch, plan, o):  # type: ignore[no-untyped-def]
    """Sum one output channel's partial sums, chunk after chunk."""
    group, row = o // plan[_ROWS], o % plan[_ROWS]
    terms, columns = plan[_TERMS], plan[_ALL_COLUMNS]
    for chunk in range(plan[_CHUNKS]):
        task = (chunk * plan[_GROUPS] + group) * plan[_PARTS] + row // plan[_PART_ROWS]
        first = plan[_PARTIALS_AT] + (task * plan[_PART_ROWS] + row % plan[_PART_ROWS]) * columns
        for c0 in range(0, plan[_CHANNELS], plan[_BLOCK_CHANNELS]):
            count = min(plan[_BLOCK_CHANNELS], plan[_CHANNELS] - c0) * terms
            s0 = first + c0 // plan[_BLOCK_CHANNELS] * plan[_COLUMNS]
            t0 = (o * plan[_CHANNELS] + c0) * terms
            if chunk == 0:
                for i in range(count):
                    dweight[np.uint64(t0 + i)] = scratch[np.uint64(s0 + i)]
            else:
                for i in range(count):
                    dweight[np.uint64(t0 + i)] += scratch[np.uint64(s0 + i)]


@jit
def _weigh(stage, i, thread, x, dy, bias, dweight, scratch, plan):  # type: ignore[no-untyped-def]
    """Stage 0 makes partial sums, stage 1 adds them up."""
    if stage == 0:
        _weigh_chunk(x, dy, scratch, plan, i, thread * plan[_INPUTS], plan[_RESULTS_AT] + thread * plan[_RESULTS])
    else:
        _add_partials(dweight, scratch, plan, i)


def _conv2d_grad_weight_cpu(dy, x, dweight, sh, sw, pt, pl, dh, dw, groups):
    plan = _grad_weight_plan(dy.shape, x.shape, dweight.shape, (sh, sw, pt, pl, dh, dw), groups, dy.itemsize)
    if plan is None:
        dweight[...] = 0
    else:
        _run(_weigh, x, dy, np.empty(0, dy.dtype), dweight, plan)


_BIAS_CHUNKS = 16


@jit
def _sum_channels(stage, i, thread, dy, a, b, dbias, scratch, plan):  # type: ignore[no-untyped-def]
    """Stage 0 sums one channel over chunks of the images, stage 1 the chunks of all channels; all in float64."""
    n, channels, pixels = plan[0], plan[1], plan[2]
    if stage == 0:
        chunk, o = i // channels, i % channels
        total = np.float64(0)
        for image in range(chunk * n // _BIAS_CHUNKS, (chunk + 1) * n // _BIAS_CHUNKS):
            first = np.uint64((image * channels + o) * pixels)
            for j in range(np.uint64(pixels)):
                total += dy[first + j]
        # float32 scratch holds a float64 sum as a rounded part and the rest
        rounded = dbias.dtype.type(total)
        scratch[np.uint64(2 * i)] = rounded
        scratch[np.uint64(2 * i + 1)] = total - rounded
    else:
        for o in range(channels):
            total = np.float64(0)
            for chunk in range(_BIAS_CHUNKS):
                at = 2 * (chunk * channels + o)
                total += np.float64(scratch[np.uint64(at)]) + np.float64(scratch[np.uint64(at + 1)])
            dbias[np.uint64(o)] = total


@lru_cache(maxsize=1024)
def _grad_bias_plan(shape):
    n, channels, h, w = shape
    fields = np.array([n, channels, h * w], np.int64)
    return fields, (_BIAS_CHUNKS * channels, 1), 2 * _BIAS_CHUNKS * channels


def _conv2d_grad_bias_cpu(dy, dbias):
    none = np.empty(0, dy.dtype)
    _run(_sum_channels, dy, none, none, dbias, _grad_bias_plan(dy.shape))


# ------------------------------------------------------------------------------------------------------------- CUDA
#
# Matrix products tiled through shared memory, whose right side is gathered from the image as it is needed: a block of
# tile x tile threads makes (tile * micro) x (tile * micro) results, micro x micro to a thread, tile terms at a time.
# ``total`` takes the sum of every tile of terms, so that rounding errors grow with the number of tiles, not of terms.

_MICRO = 4  # results of a thread per side: 16 multiply-adds for 8 reads of shared memory
_SPLIT_BLOCKS = 528  # blocks that grad_weight is cut into along its pixels: four for each of 132 multiprocessors


def _real(array):
    return numba.float32 if array.dtype == np.float32 else numba.float64


@lru_cache(maxsize=64)
def _forward_cuda_kernel(tile, micro, real):
    """The kernel for one block shape and element type; rows are output channels, columns pixels of y."""
    wide = tile * micro

    @cuda.jit
    def _conv2d_forward_cuda(x, weight, bias, y, sh, sw, pt, pl, dh, dw, groups):
        left = cuda.shared.array((wide, tile), real)
        right = cuda.shared.array((tile, wide), real)  # a line of its own: the simulator tells arrays by their lines
        total, part = cuda.local.array((micro, micro), real), cuda.local.array((micro, micro), real)
        image, top, side = (
            cuda.local.array(micro, numba.int64),
            cuda.local.array(micro, numba.int64),
            cuda.local.array(micro, numba.int64),
        )
        zero = y.dtype.type(0)
        tx, ty, group = cuda.threadIdx.x, cuda.threadIdx.y, cuda.blockIdx.z
        row0, column0 = cuda.blockIdx.y * wide, cuda.blockIdx.x * wide
        rows, channels, height, width = weight.shape[0] // groups, weight.shape[1], x.shape[2], x.shape[3]
        kw = weight.shape[3]
        terms = weight.shape[2] * kw
        depth = channels * terms
        pixels = y.shape[2] * y.shape[3]
        columns = y.shape[0] * pixels
        for j in range(micro):
            column = column0 + tx + j * tile
            pixel = column % pixels
            image[j] = column // pixels
            top[j] = pixel // y.shape[3] * sh - pt
            side[j] = pixel % y.shape[3] * sw - pl
            if column >= columns:
                top[j] = -(1 << 40)  # reads nothing
            for i in range(micro):
                total[i, j] = zero
        for k0 in range(0, depth, tile):
            k = k0 + tx
            for i in range(micro):
                row = row0 + ty + i * tile
                value = zero
                if row < rows and k < depth:
                    value = weight[group * rows + row, k // terms, k % terms // kw, k % kw]
                left[ty + i * tile, tx] = value
            k = k0 + ty
            channel, down, across = group * channels + k // terms, k % terms // kw * dh, k % kw * dw
            for j in range(micro):
                value = zero
                iy, ix = top[j] + down, side[j] + across
                if k < depth and iy >= 0 and iy < height and ix >= 0 and ix < width:
                    value = x[image[j], channel, iy, ix]
                right[ty, tx + j * tile] = value
            cuda.syncthreads()
            for i in range(micro):
                for j in range(micro):
                    part[i, j] = zero
            for t in range(tile):
                for i in range(micro):
                    for j in range(micro):
                        part[i, j] += left[ty + i * tile, t] * right[t, tx + j * tile]
            for i in range(micro):
                for j in range(micro):
                    total[i, j] += part[i, j]
            cuda.syncthreads()
        for i in range(micro):
            row = row0 + ty + i * tile
            if row < rows:
                o = group * rows + row
                shift = zero
                if bias.shape[0] > 0:
                    shift = bias[o]
                for j in range(micro):
                    column = column0 + tx + j * tile
                    if column < columns:
                        pixel = column % pixels
                        y[image[j], o, pixel // y.shape[3], pixel % y.shape[3]] = total[i, j] + shift

    return _conv2d_forward_cuda


@lru_cache(maxsize=64)
def _grad_input_cuda_kernel(tile, micro, real):
    """Rows are input channels, columns pixels of dx, terms the output channels and kernel elements."""
    wide = tile * micro

    @cuda.jit
    def _conv2d_grad_input_cuda(dy, weight, dx, sh, sw, pt, pl, dh, dw, groups):
        left = cuda.shared.array((wide, tile), real)
        right = cuda.shared.array((tile, wide), real)  # a line of its own: the simulator tells arrays by their lines
        total, part = cuda.local.array((micro, micro), real), cuda.local.array((micro, micro), real)
        image, top, side = (
            cuda.local.array(micro, numba.int64),
            cuda.local.array(micro, numba.int64),
            cuda.local.array(micro, numba.int64),
        )
        zero = dx.dtype.type(0)
        tx, ty, group = cuda.threadIdx.x, cuda.threadIdx.y, cuda.blockIdx.z
        row0, column0 = cuda.blockIdx.y * wide, cuda.blockIdx.x * wide
        rows, outputs = weight.shape[1], weight.shape[0] // groups
        kw = weight.shape[3]
        terms = weight.shape[2] * kw
        depth = outputs * terms
        pixels = dx.shape[2] * dx.shape[3]
        columns = dx.shape[0] * pixels
        for j in range(micro):
            column = column0 + tx + j * tile
            pixel = column % pixels
            image[j] = column // pixels
            top[j] = pixel // dx.shape[3] + pt
            side[j] = pixel % dx.shape[3] + pl
            if column >= columns:
                top[j] = -1  # reads nothing
            for i in range(micro):
                total[i, j] = zero
        for k0 in range(0, depth, tile):
            k = k0 + tx
            for i in range(micro):
                row = row0 + ty + i * tile
                value = zero
                if row < rows and k < depth:
                    value = weight[group * outputs + k // terms, row, k % terms // kw, k % kw]
                left[ty + i * tile, tx] = value
            k = k0 + ty
            o, down, across = group * outputs + k // terms, k % terms // kw * dh, k % kw * dw
            for j in range(micro):
                value = zero
                above, before = top[j] - down, side[j] - across
                oy, ox = above // sh, before // sw
                aligned = above >= 0 and before >= 0 and oy * sh == above and ox * sw == before
                if k < depth and aligned and oy < dy.shape[2] and ox < dy.shape[3]:
                    value = dy[image[j], o, oy, ox]
                right[ty, tx + j * tile] = value
            cuda.syncthreads()
            for i in range(micro):
                for j in range(micro):
                    part[i, j] = zero
            for t in range(tile):
                for i in range(micro):
                    for j in range(micro):
                        part[i, j] += left[ty + i * tile, t] * right[t, tx + j * tile]
            for i in range(micro):
                for j in range(micro):
                    total[i, j] += part[i, j]
            cuda.syncthreads()
        for i in range(micro):
            row = row0 + ty + i * tile
            if row < rows:
                for j in range(micro):
                    column = column0 + tx + j * tile
                    if column < columns:
                        pixel = column % pixels
                        dx[image[j], group * rows + row, pixel // dx.shape[3], pixel % dx.shape[3]] = total[i, j]

    return _conv2d_grad_input_cuda


@lru_cache(maxsize=64)
def _grad_weight_cuda_kernel(tile, micro, real):
    """Rows are output channels, columns kernel elements, terms pixels of dy; a split sums over some of the pixels."""
    wide = tile * micro

    @cuda.jit
    def _conv2d_grad_weight_cuda(dy, x, partials, kh, kw, sh, sw, pt, pl, dh, dw, groups):
        left = cuda.shared.array((wide, tile), real)
        right = cuda.shared.array((tile, wide), real)  # a line of its own: the simulator tells arrays by their lines
        total, part = cuda.local.array((micro, micro), real), cuda.local.array((micro, micro), real)
        channel, down, across = (
            cuda.local.array(micro, numba.int64),
            cuda.local.array(micro, numba.int64),
            cuda.local.array(micro, numba.int64),
        )
        zero = dy.dtype.type(0)
        tx, ty, group, split = cuda.threadIdx.x, cuda.threadIdx.y, cuda.blockIdx.z % groups, cuda.blockIdx.z // groups
        row0, column0 = cuda.blockIdx.y * wide, cuda.blockIdx.x * wide
        rows, channels, height, width = dy.shape[1] // groups, x.shape[1] // groups, x.shape[2], x.shape[3]
        terms = kh * kw
        columns = channels * terms
        pixels = dy.shape[2] * dy.shape[3]
        depth = dy.shape[0] * pixels
        tiles = (depth + tile - 1) // tile
        first, last = split * tiles // partials.shape[0] * tile, (split + 1) * tiles // partials.shape[0] * tile
        for j in range(micro):
            column = column0 + tx + j * tile
            channel[j] = group * channels + column // terms
            down[j] = column % terms // kw * dh - pt
            across[j] = column % kw * dw - pl
            if column >= columns:
                down[j] = -(1 << 40)  # reads nothing
            for i in range(micro):
                total[i, j] = zero
        for k0 in range(first, last, tile):
            k = k0 + tx
            image, oy, ox = k // pixels, k % pixels // dy.shape[3], k % pixels % dy.shape[3]
            for i in range(micro):
                row = row0 + ty + i * tile
                value = zero
                if row < rows and k < depth:
                    value = dy[image, group * rows + row, oy, ox]
                left[ty + i * tile, tx] = value
            k = k0 + ty
            image, oy, ox = k // pixels, k % pixels // dy.shape[3], k % pixels % dy.shape[3]
            for j in range(micro):
                value = zero
                iy, ix = oy * sh + down[j], ox * sw + across[j]
                if k < depth and iy >= 0 and iy < height and ix >= 0 and ix < width:
                    value = x[image, channel[j], iy, ix]
                right[ty, tx + j * tile] = value
            cuda.syncthreads()
            for i in range(micro):
                for j in range(micro):
                    part[i, j] = zero
            for t in range(tile):
                for i in range(micro):
                    for j in range(micro):
                        part[i, j] += left[ty + i * tile, t] * right[t, tx + j * tile]
            for i in range(micro):
                for j in range(micro):
                    total[i, j] += part[i, j]
            cuda.syncthreads()
        for i in range(micro):
            row = row0 + ty + i * tile
            if row < rows:
                for j in range(micro):
                    column = column0 + tx + j * tile
                    if column < columns:
                        partials[split, group * rows + row, column] = total[i, j]

    return _conv2d_grad_weight_cuda


@cuda.jit
def _add_splits_cuda(partials, dweight):
    """dweight[i] = sum over the splits of partials[split, i], one after another."""
    i = cuda.grid(1)
    if i < dweight.shape[0]:
        total = partials[0, i]
        for split in range(1, partials.shape[0]):
            total += partials[split, i]
        dweight[i] = total


@lru_cache(maxsize=64)
def _sum_cuda_kernel(threads, real):
    """sums[chunk, o] = the sum of dy[i, o, pixel] over one chunk of the images: a block each, a tree at its end."""

    @cuda.jit
    def _sum_channels_cuda(dy, sums):
        shared = cuda.shared.array(threads, real)
        o, chunk, thread = cuda.blockIdx.x, cuda.blockIdx.y, cuda.threadIdx.x
        pixels, chunks = dy.shape[2], sums.shape[0]
        first = chunk * dy.shape[0] // chunks
        count = ((chunk + 1) * dy.shape[0] // chunks - first) * pixels
        total, lost = dy.dtype.type(0), dy.dtype.type(0)
        for i in range(thread, count, threads):  # compensated: what an addition rounds off is kept for the next one
            value = dy[first + i // pixels, o, i % pixels] - lost
            longer = total + value
            lost = (longer - total) - value
            total = longer
        shared[thread] = total
        cuda.syncthreads()
        size = threads
        while size > 1:
            half = (size + 1) // 2
            if thread < size - half:
                shared[thread] += shared[thread + half]
            cuda.syncthreads()
            size = half
        if thread == 0:
            sums[chunk, o] = shared[0]

    return _sum_channels_cuda


def _grid(columns: int, rows: int, depth: int, micro: int):
    wide = launch.TILE * micro
    return (_ceil(columns, wide), _ceil(rows, wide), depth), (launch.TILE, launch.TILE)


def _micro(rows: int) -> int:
    """Results of a thread per side: fewer where a group has so few rows that threads would be idle."""
    return _MICRO if rows > launch.TILE else 1


def _conv2d_forward_cuda(x, weight, bias, y, sh, sw, pt, pl, dh, dw, groups):
    if y.size == 0:
        return
    rows = weight.shape[0] // groups
    micro = _micro(rows)
    grid, block = _grid(y.size // y.shape[1], rows, groups, micro)
    _forward_cuda_kernel(launch.TILE, micro, _real(y))[grid, block](x, weight, bias, y, sh, sw, pt, pl, dh, dw, groups)


def _conv2d_grad_input_cuda(dy, weight, dx, sh, sw, pt, pl, dh, dw, groups):
    if dx.size == 0:
        return
    rows = weight.shape[1]
    micro = _micro(rows)
    grid, block = _grid(dx.size // dx.shape[1], rows, groups, micro)
    _grad_input_cuda_kernel(launch.TILE, micro, _real(dx))[grid, block](dy, weight, dx, sh, sw, pt, pl, dh, dw, groups)


def _conv2d_grad_weight_cuda(dy, x, dweight, sh, sw, pt, pl, dh, dw, groups):
    out, per_group, kh, kw = dweight.shape
    if dweight.size == 0:
        return
    rows, columns = out // groups, per_group * kh * kw
    micro = _micro(min(rows, columns))
    (across, down, _), block = _grid(columns, rows, groups, micro)
    tiles = _ceil(dy.size // out, launch.TILE)
    splits = max(1, min(_SPLIT_BLOCKS // (across * down * groups), tiles // 8))
    kernel = _grad_weight_cuda_kernel(launch.TILE, micro, _real(dy))[(across, down, groups * splits), block]
    if splits == 1:
        kernel(dy, x, dweight.reshape(1, out, columns), kh, kw, sh, sw, pt, pl, dh, dw, groups)
        return
    partials = empty((splits, out, columns), dweight.dtype, CUDA)
    kernel(dy, x, partials, kh, kw, sh, sw, pt, pl, dh, dw, groups)
    _add_splits_cuda[launch.line(dweight.size)](partials.reshape(splits, dweight.size), dweight.reshape(dweight.size))


def _conv2d_grad_bias_cuda(dy, dbias):
    n, out, oh, ow = dy.shape
    if out == 0:
        return
    kernel = _sum_cuda_kernel(launch.THREADS, _real(dy))
    chunks = max(1, min(n, _SPLIT_BLOCKS // out))
    partials = empty((chunks, out), dy.dtype, CUDA)
    kernel[(out, chunks), launch.THREADS](dy.reshape(n, out, oh * ow), partials)
    kernel[(out, 1), launch.THREADS](partials.reshape(chunks, out, 1), dbias.reshape(1, out))


_SCALARS = ", ".join(["int64"] * 7)
_A2, _A3, _A4 = "float32[:, ::1]", "float32[:, :, ::1]", "float32[:, :, :, ::1]"
CUDA_KERNELS = (
    *(
        entry
        for micro in (1, _MICRO)
        for entry in (
            (
                partial(_forward_cuda_kernel, 16, micro, numba.float32),
                f"void({_A4}, {_A4}, float32[::1], {_A4}, {_SCALARS})",
            ),
            (partial(_grad_input_cuda_kernel, 16, micro, numba.float32), f"void({_A4}, {_A4}, {_A4}, {_SCALARS})"),
            (
                partial(_grad_weight_cuda_kernel, 16, micro, numba.float32),
                f"void({_A4}, {_A4}, {_A3}, int64, int64, {_SCALARS})",
            ),
        )
    ),
    (_add_splits_cuda, f"void({_A2}, float32[::1])"),
    (partial(_sum_cuda_kernel, 128, numba.float32), f"void({_A3}, {_A2})"),
)


conv2d_forward = Kernel(
    "conv2d_forward", reference=conv2d_forward_reference, cpu=_conv2d_forward_cpu, cuda=_conv2d_forward_cuda
)
conv2d_grad_input = Kernel(
    "conv2d_grad_input", reference=conv2d_grad_input_reference, cpu=_conv2d_grad_input_cpu, cuda=_conv2d_grad_input_cuda
)
conv2d_grad_weight = Kernel(
    "conv2d_grad_weight",
    reference=conv2d_grad_weight_reference,
    cpu=_conv2d_grad_weight_cpu,
    cuda=_conv2d_grad_weight_cuda,
)
conv2d_grad_bias = Kernel(
    "conv2d_grad_bias", reference=conv2d_grad_bias_reference, cpu=_conv2d_grad_bias_cpu, cuda=_conv2d_grad_bias_cuda
)
