"""The columns of deformable convolution: sliding blocks whose every element is moved by an offset of its own.

Contract. N images of C channels and H x W pixels; kernels of KH x KW elements at OH x OW places; D groups of C / D channels that
share their offsets; C-contiguous, float32 or float64. The caller allocates; outputs are overwritten. With t = (d KH + k) KW + l
for the offset group d of channel c::

    at = (i sh + k dh - ph + offset[n, 2 t, i, j],  j sw + l dw - pw + offset[n, 2 t + 1, i, j])
    columns[n, (c KH + k) KW + l, i, j] = mask[n, t, i, j] * bilinear value of x[n, c] at that point

    deform_columns(x, offset, mask, columns, kh, kw, sh, sw, ph, pw, dh, dw)
    deform_grad_input(dcolumns, offset, mask, dx, kh, ...)              dx as x
    deform_grad_offset(dcolumns, x, offset, mask, doffset, dmask, kh, ...)

    x (N, C, H, W); offset (N, 2 D KH KW, OH, OW); mask, dmask (N, D KH KW, OH, OW), or (0,) for none (a mask of ones);
    columns, dcolumns (N, C KH KW, OH, OW)

Pixels outside of the image count as 0; a point at -1, H or W or beyond (or NaN) has the value 0 and no gradient. Where a point lies
on a row or column of pixels, the offset's gradient is that of the cell below and to the right. Sums are kept in the arrays'
dtype, in an order that depends on the shapes alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from numbanet.devices import cuda
from numbanet.kernels import launch
from numbanet.kernels.index import read, reread, scalar, write
from numbanet.kernels.kernel import Kernel, jit
from numbanet.kernels.parallel import tasks

_CHUNK = 256  # places whose corners and weights are worked out once for all channels of a group
_TASKS = 16  # tasks of the input's gradient, at least, where there are channels enough


@scalar
def _cell(y, x, h, w, number):  # type: ignore[no-untyped-def]
    """The four pixels around a point, as positions in the plane or -1 where there is none (top left, top right, bottom left,
    bottom right), and how far the point lies below and to the right of the first."""
    inside = (y > number(-1)) & (y < number(h)) & (x > number(-1)) & (x < number(w))
    y = y if inside else number(0)
    x = x if inside else number(0)
    top, left = np.int64(y), np.int64(x)
    top = top - 1 if y < number(top) else top  # rounded down, also between -1 and 0
    left = left - 1 if x < number(left) else left
    upper, lower = inside & (top >= 0), inside & (top < h - 1)
    before, after = left >= 0, left < w - 1
    first = top * w + left
    return (
        first if upper & before else np.int64(-1),
        first + 1 if upper & after else np.int64(-1),
        first + w if lower & before else np.int64(-1),
        first + w + 1 if lower & after else np.int64(-1),
        y - number(top),
        x - number(left),
    )


@scalar
def _pixel(value, place, number):  # type: ignore[no-untyped-def]
    return value if place >= 0 else number(0)


# ------------------------------------------------------------------------------------------------------- reference


def _points(offset, mask, x_shape, columns_shape, kh, kw, sh, sw, ph, pw, dh, dw):
    """For references: for each (n, d, k, l, i, j) the point, the mask, and the weights {(r, s): (weight, by y, by x)}."""
    n, _, h, w = x_shape
    oh, ow = columns_shape[2:]
    groups = offset.shape[1] // (2 * kh * kw)
    moves = offset.reshape(n, groups, kh, kw, 2, oh, ow)
    masks = mask.reshape(n, groups, kh, kw, oh, ow) if mask.size else np.ones((n, groups, kh, kw, oh, ow))
    for b, d, k, m, i, j in np.ndindex(n, groups, kh, kw, oh, ow):
        y = i * sh + k * dh - ph + float(moves[b, d, k, m, 0, i, j])
        x = j * sw + m * dw - pw + float(moves[b, d, k, m, 1, i, j])
        weights = {}
        if -1 < y < h and -1 < x < w:
            top, left = int(np.floor(y)), int(np.floor(x))
            for r in (top, top + 1):
                for s in (left, left + 1):
                    if 0 <= r < h and 0 <= s < w:
                        a, e = 1 - abs(y - r), 1 - abs(x - s)
                        weights[r, s] = (a * e, e * (1 if r > top else -1), a * (1 if s > left else -1))
        yield (b, d, k, m, i, j), float(masks[b, d, k, m, i, j]), weights


def deform_columns_reference(x, offset, mask, columns, *numbers):  # type: ignore[no-untyped-def]
    n, c = x.shape[:2]
    blocks = columns.reshape(n, c, *numbers[:2], *columns.shape[2:])
    per = c // (offset.shape[1] // (2 * numbers[0] * numbers[1]))
    for (b, d, k, m, i, j), scale, weights in _points(offset, mask, x.shape, columns.shape, *numbers):
        channels = slice(d * per, (d + 1) * per)
        blocks[b, channels, k, m, i, j] = scale * sum(w[0] * x[b, channels, r, s] for (r, s), w in weights.items())


def deform_grad_input_reference(dcolumns, offset, mask, dx, *numbers):  # type: ignore[no-untyped-def]
    n, c = dx.shape[:2]
    blocks = dcolumns.reshape(n, c, *numbers[:2], *dcolumns.shape[2:])
    per = c // (offset.shape[1] // (2 * numbers[0] * numbers[1]))
    dx[...] = 0
    for (b, d, k, m, i, j), scale, weights in _points(offset, mask, dx.shape, dcolumns.shape, *numbers):
        channels = slice(d * per, (d + 1) * per)
        for (r, s), w in weights.items():
            dx[b, channels, r, s] += scale * w[0] * blocks[b, channels, k, m, i, j]


def deform_grad_offset_reference(dcolumns, x, offset, mask, doffset, dmask, *numbers):  # type: ignore[no-untyped-def]
    n, c = x.shape[:2]
    kh, kw = numbers[:2]
    blocks = dcolumns.reshape(n, c, kh, kw, *dcolumns.shape[2:])
    groups = offset.shape[1] // (2 * kh * kw)
    per = c // groups
    moves = doffset.reshape(n, groups, kh, kw, 2, *doffset.shape[2:])
    for (b, d, k, m, i, j), scale, weights in _points(offset, mask, x.shape, dcolumns.shape, *numbers):
        channels = slice(d * per, (d + 1) * per)
        dy = blocks[b, channels, k, m, i, j]
        sums = [
            sum(w[axis] * float((x[b, channels, r, s] * dy).sum()) for (r, s), w in weights.items())
            for axis in range(3)
        ]
        moves[b, d, k, m, :, i, j] = scale * sums[1], scale * sums[2]
        if dmask.size:
            dmask.reshape(n, groups, kh, kw, *dmask.shape[2:])[b, d, k, m, i, j] = sums[0]


# ------------------------------------------------------------------------------------------------------------- CPU


@jit
def _cells(offset, mask, task, q0, count, sizes, cells, parts):  # type: ignore[no-untyped-def]
    """cells[4, :count] = the corners, parts[0] and [1] how far down and right, parts[2] the mask, of the places from q0 on.

    ``task`` is (n D + d) KH KW + k KW + l; ``sizes`` (as for all tasks here) H, W, OH, OW and the kernel's numbers.
    """
    h, w, oh, ow, kh, kw = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5]
    sh, sw, ph, pw, dh, dw = sizes[6], sizes[7], sizes[8], sizes[9], sizes[10], sizes[11]
    k, m = task // kw % kh, task % kw
    number = parts.dtype.type
    first = 2 * task * oh * ow + q0
    for q in range(count):
        i, j = (q0 + q) // ow, (q0 + q) % ow
        y = number(i * sh + k * dh - ph) + offset[first + q]
        x = number(j * sw + m * dw - pw) + offset[first + oh * ow + q]
        cells[0, q], cells[1, q], cells[2, q], cells[3, q], parts[0, q], parts[1, q] = _cell(y, x, h, w, number)
        parts[2, q] = mask[task * oh * ow + q0 + q] if mask.size else number(1)


@jit
def _weights(count, parts, weights):  # type: ignore[no-untyped-def]
    """weights[4, :count] of the corners, times the mask."""
    one = parts.dtype.type(1)
    for q in range(count):
        down, right, scale = parts[0, q], parts[1, q], parts[2, q]
        weights[0, q] = scale * (one - down) * (one - right)
        weights[1, q] = scale * (one - down) * right
        weights[2, q] = scale * down * (one - right)
        weights[3, q] = scale * down * right


@tasks
def _columns(task, x, offset, mask, columns, per, sizes):  # type: ignore[no-untyped-def]
    """A task is one kernel element of one offset group, ``per`` channels, of one image."""
    h, w, elements, places = sizes[0], sizes[1], sizes[4] * sizes[5], sizes[2] * sizes[3]
    cells, parts, weights = (
        np.empty((4, _CHUNK), np.int64),
        np.empty((3, _CHUNK), x.dtype),
        np.empty((4, _CHUNK), x.dtype),
    )
    zero = x.dtype.type(0)
    first = task // elements * per  # of the channels, all images' numbered through
    for q0 in range(0, places, _CHUNK):
        count = min(_CHUNK, places - q0)
        _cells(offset, mask, task, q0, count, sizes, cells, parts)
        _weights(count, parts, weights)
        for channel in range(first, first + per):
            plane, to = channel * h * w, (channel * elements + task % elements) * places + q0
            for q in range(count):
                total = zero
                for corner in range(4):
                    place = cells[corner, q]
                    value = read(x, plane + max(place, 0))
                    total += weights[corner, q] * _pixel(value, place, x.dtype.type)
                write(columns, to + q, total)


@tasks
def _grad_input(index, dcolumns, offset, mask, dx, per, parts_of_group, sizes):  # type: ignore[no-untyped-def]
    """A task is some channels of one offset group of one image."""
    h, w, elements, places = sizes[0], sizes[1], sizes[4] * sizes[5], sizes[2] * sizes[3]
    group, part = index // parts_of_group, index % parts_of_group
    cells, parts, weights = (
        np.empty((4, _CHUNK), np.int64),
        np.empty((3, _CHUNK), dx.dtype),
        np.empty((4, _CHUNK), dx.dtype),
    )
    first, last = group * per + part * per // parts_of_group, group * per + (part + 1) * per // parts_of_group
    for at in range(first * h * w, last * h * w):
        write(dx, at, dx.dtype.type(0))
    for element in range(elements):
        task = group * elements + element
        for q0 in range(0, places, _CHUNK):
            count = min(_CHUNK, places - q0)
            _cells(offset, mask, task, q0, count, sizes, cells, parts)
            _weights(count, parts, weights)
            for channel in range(first, last):
                plane, at = channel * h * w, (channel * elements + element) * places + q0
                for q in range(count):
                    dy = read(dcolumns, at + q)
                    for corner in range(4):
                        place = cells[corner, q]
                        if place >= 0:
                            write(dx, plane + place, reread(dx, plane + place) + weights[corner, q] * dy)


@tasks
def _grad_offset(task, dcolumns, x, offset, mask, doffset, dmask, per, sizes):  # type: ignore[no-untyped-def]
    """A task as in ``_columns``. Sums over channels of dcolumns times each corner first: they serve all three gradients."""
    h, w, elements, places = sizes[0], sizes[1], sizes[4] * sizes[5], sizes[2] * sizes[3]
    cells, parts, sums = (
        np.empty((4, _CHUNK), np.int64),
        np.empty((3, _CHUNK), x.dtype),
        np.empty((4, _CHUNK), x.dtype),
    )
    one = x.dtype.type(1)
    first = task // elements * per
    for q0 in range(0, places, _CHUNK):
        count = min(_CHUNK, places - q0)
        _cells(offset, mask, task, q0, count, sizes, cells, parts)
        sums[:, :count] = 0
        for channel in range(first, first + per):
            plane, at = channel * h * w, (channel * elements + task % elements) * places + q0
            for q in range(count):
                dy = read(dcolumns, at + q)
                for corner in range(4):
                    place = cells[corner, q]
                    value = read(x, plane + max(place, 0))
                    sums[corner, q] += dy * _pixel(value, place, x.dtype.type)
        to = task * places + q0
        for q in range(count):
            down, right, scale = parts[0, q], parts[1, q], parts[2, q]
            a, b, c_, d = sums[0, q], sums[1, q], sums[2, q], sums[3, q]
            upper, lower = (one - right) * a + right * b, (one - right) * c_ + right * d
            before, after = (one - down) * a + down * c_, (one - down) * b + down * d
            doffset[2 * task * places + q0 + q] = scale * (lower - upper)
            doffset[(2 * task + 1) * places + q0 + q] = scale * (after - before)
            if dmask.size:
                dmask[to + q] = (one - down) * upper + down * lower


def _plan(x: Any, columns: Any, offset: Any, window: tuple[int, ...]) -> tuple[int, int, np.ndarray]:
    """(offset groups of all images, channels of a group, H, W, OH, OW and the kernel's numbers)."""
    groups = offset.shape[1] // (2 * window[0] * window[1])
    sizes = np.array([*x.shape[2:], *columns.shape[2:], *window], np.int64)
    return x.shape[0] * groups, x.shape[1] // groups, sizes


def _deform_columns_cpu(x, offset, mask, columns, *window):  # type: ignore[no-untyped-def]
    groups, per, sizes = _plan(x, columns, offset, window)
    arrays = [array.reshape(-1) for array in (x, offset, mask, columns)]
    _columns(groups * window[0] * window[1], 4 * columns.size, *arrays, per, sizes)


def _deform_grad_input_cpu(dcolumns, offset, mask, dx, *window):  # type: ignore[no-untyped-def]
    groups, per, sizes = _plan(dx, dcolumns, offset, window)
    parts = max(1, min(per, -(-_TASKS // max(groups, 1))))
    arrays = [array.reshape(-1) for array in (dcolumns, offset, mask, dx)]
    _grad_input(groups * parts, 4 * dcolumns.size, *arrays, per, parts, sizes)


def _deform_grad_offset_cpu(dcolumns, x, offset, mask, doffset, dmask, *window):  # type: ignore[no-untyped-def]
    groups, per, sizes = _plan(x, dcolumns, offset, window)
    arrays = [array.reshape(-1) for array in (dcolumns, x, offset, mask, doffset, dmask)]
    _grad_offset(groups * window[0] * window[1], 4 * dcolumns.size, *arrays, per, sizes)


# ------------------------------------------------------------------------------------------------------------ CUDA


def _sizes(x: Any, columns: Any, offset: Any, kh: int, kw: int) -> tuple[int, int, int, tuple[int, ...]]:
    """(N, C, D, (H, W, OH, OW))."""
    n, c, h, w = x.shape
    return n, c, offset.shape[1] // (2 * kh * kw), (h, w, *columns.shape[2:])


@scalar
def _point(task, i, j, kh, kw, sh, sw, ph, pw, dh, dw):  # type: ignore[no-untyped-def]
    """Where kernel element ``task`` (see ``_cells``) reads for the place (i, j), without its offset."""
    return i * sh + task // kw % kh * dh - ph, j * sw + task % kw * dw - pw


@cuda.jit
def _columns_cuda(x, offset, mask, columns, c, groups, h, w, oh, ow, kh, kw, sh, sw, ph, pw, dh, dw):  # type: ignore[no-untyped-def]
    """A thread for each element of the columns."""
    q = cuda.grid(1)
    if q < columns.size:
        number = x.dtype.type
        places, elements = oh * ow, kh * kw
        row, place = q // places, q % places
        channel = row // elements
        task = (channel // c * groups + channel % c // (c // groups)) * elements + row % elements
        r, s = _point(task, place // ow, place % ow, kh, kw, sh, sw, ph, pw, dh, dw)
        at = 2 * task * places + place
        a, b, e, d, down, right = _cell(number(r) + offset[at], number(s) + offset[at + places], h, w, number)
        plane = channel * h * w
        upper = (number(1) - right) * _pixel(x[plane + max(a, 0)], a, number) + right * _pixel(
            x[plane + max(b, 0)], b, number
        )
        lower = (number(1) - right) * _pixel(x[plane + max(e, 0)], e, number) + right * _pixel(
            x[plane + max(d, 0)], d, number
        )
        value = (number(1) - down) * upper + down * lower
        columns[q] = value * mask[task * places + place] if mask.size else value


@cuda.jit
def _grad_input_cuda(dcolumns, offset, mask, dx, c, groups, h, w, oh, ow, kh, kw, sh, sw, ph, pw, dh, dw):  # type: ignore[no-untyped-def]
    """A thread for each plane: what falls on one pixel is added in one order, without atomics."""
    channel = cuda.grid(1)
    if channel < dx.size // (h * w):
        number = dx.dtype.type
        places, elements = oh * ow, kh * kw
        plane = channel * h * w
        for at in range(plane, plane + h * w):
            dx[at] = number(0)
        for element in range(elements):
            task = (channel // c * groups + channel % c // (c // groups)) * elements + element
            for place in range(places):
                r, s = _point(task, place // ow, place % ow, kh, kw, sh, sw, ph, pw, dh, dw)
                at = 2 * task * places + place
                a, b, e, d, down, right = _cell(number(r) + offset[at], number(s) + offset[at + places], h, w, number)
                dy = dcolumns[(channel * elements + element) * places + place]
                if mask.size:
                    dy = dy * mask[task * places + place]
                if a >= 0:
                    dx[plane + a] += dy * (number(1) - down) * (number(1) - right)
                if b >= 0:
                    dx[plane + b] += dy * (number(1) - down) * right
                if e >= 0:
                    dx[plane + e] += dy * down * (number(1) - right)
                if d >= 0:
                    dx[plane + d] += dy * down * right


@cuda.jit
def _grad_offset_cuda(dcolumns, x, offset, mask, doffset, dmask, c, groups, h, w, oh, ow, kh, kw, sh, sw, ph, pw, dh, dw):  # type: ignore[no-untyped-def]  # fmt: skip
    """A thread for each place of each kernel element of each offset group."""
    q = cuda.grid(1)
    if q < doffset.size // 2:
        number = x.dtype.type
        places, elements, per = oh * ow, kh * kw, c // groups
        task, place = q // places, q % places
        r, s = _point(task, place // ow, place % ow, kh, kw, sh, sw, ph, pw, dh, dw)
        at = 2 * task * places + place
        a, b, e, d, down, right = _cell(number(r) + offset[at], number(s) + offset[at + places], h, w, number)
        sum_a, sum_b, sum_e, sum_d = number(0), number(0), number(0), number(0)
        first = task // elements * per
        for channel in range(first, first + per):
            plane = channel * h * w
            dy = dcolumns[(channel * elements + task % elements) * places + place]
            sum_a += dy * _pixel(x[plane + max(a, 0)], a, number)
            sum_b += dy * _pixel(x[plane + max(b, 0)], b, number)
            sum_e += dy * _pixel(x[plane + max(e, 0)], e, number)
            sum_d += dy * _pixel(x[plane + max(d, 0)], d, number)
        upper, lower = (number(1) - right) * sum_a + right * sum_b, (number(1) - right) * sum_e + right * sum_d
        before, after = (number(1) - down) * sum_a + down * sum_e, (number(1) - down) * sum_b + down * sum_d
        scale = mask[q] if mask.size else number(1)
        doffset[at] = scale * (lower - upper)
        doffset[at + places] = scale * (after - before)
        if dmask.size:
            dmask[q] = (number(1) - down) * upper + down * lower


def _deform_columns_cuda(x, offset, mask, columns, *window):  # type: ignore[no-untyped-def]
    _, c, groups, size = _sizes(x, columns, offset, *window[:2])
    arrays = [array.reshape(-1) for array in (x, offset, mask, columns)]
    _columns_cuda[launch.line(columns.size)](*arrays, c, groups, *size, *window)


def _deform_grad_input_cuda(dcolumns, offset, mask, dx, *window):  # type: ignore[no-untyped-def]
    n, c, groups, size = _sizes(dx, dcolumns, offset, *window[:2])
    arrays = [array.reshape(-1) for array in (dcolumns, offset, mask, dx)]
    _grad_input_cuda[launch.line(n * c)](*arrays, c, groups, *size, *window)


def _deform_grad_offset_cuda(dcolumns, x, offset, mask, doffset, dmask, *window):  # type: ignore[no-untyped-def]
    _, c, groups, size = _sizes(x, dcolumns, offset, *window[:2])
    arrays = [array.reshape(-1) for array in (dcolumns, x, offset, mask, doffset, dmask)]
    _grad_offset_cuda[launch.line(doffset.size // 2)](*arrays, c, groups, *size, *window)


deform_columns = Kernel(
    "deform_columns", reference=deform_columns_reference, cpu=_deform_columns_cpu, cuda=_deform_columns_cuda
)
deform_grad_input = Kernel(
    "deform_grad_input", reference=deform_grad_input_reference, cpu=_deform_grad_input_cpu, cuda=_deform_grad_input_cuda
)
deform_grad_offset = Kernel(
    "deform_grad_offset",
    reference=deform_grad_offset_reference,
    cpu=_deform_grad_offset_cpu,
    cuda=_deform_grad_offset_cuda,
)

_SIZES = ", ".join(["int64"] * 14)
CUDA_KERNELS = (
    (_columns_cuda, f"void({', '.join(['float32[::1]'] * 4)}, {_SIZES})"),
    (_grad_input_cuda, f"void({', '.join(['float32[::1]'] * 4)}, {_SIZES})"),
    (_grad_offset_cuda, f"void({', '.join(['float32[::1]'] * 6)}, {_SIZES})"),
)
