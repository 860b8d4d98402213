"""Sampling images at the points of a grid (spatial transformers): bilinear, nearest and bicubic.

Arrays are C-contiguous, float32 or float64: x, dx (N, C, H, W); grid, dgrid (N, OH, OW, 2), where grid[n, i, j] = (gx, gy) with
-1 and 1 at the edges of the image; y, dy (N, C, OH, OW). The caller allocates; outputs are overwritten.

``grid_sample_forward(x, grid, y, mode, padding, align)``
    mode 0: the 2 x 2 pixels around the point, by their distance; 1: the nearest pixel, ties to the even one; 2: the 4 x 4
    pixels around it, by Keys' cubic with a = -0.75. The point lies at px = ((gx + 1) W - 1) / 2 or, with ``align``, at
    px = (gx + 1) (W - 1) / 2. Pixels beyond the image count as 0 (padding 0), as the nearest pixel inside (1), or as the
    image mirrored at its edges, with ``align`` at the middles of its outermost pixels (2); modes 0 and 1 move the point
    itself, mode 2 each of its pixels.
``grid_sample_grad_input(dy, grid, dx, mode, padding, align)``
    dx[pixel] = the sum of weight * dy over the points that the pixel went into, in the order of the points.
``grid_sample_grad_grid(dy, x, grid, dgrid, mode, padding, align)``
    The sums over channels of dy dy/dgx and dy dy/dgy; 0 for mode 1, and where padding keeps the point from moving.

A pixel that is not there is not multiplied by its weight of 0: infinities in x stay where they are. A NaN coordinate
counts as pixel 0 where padding moves points (modes 0 and 1 with padding 1 or 2), gives 0 in mode 1 with padding 0, and NaN
else; an infinite one likewise, but with padding 1 it is at the edge. Coordinates beyond 2**30 pixels count as 2**30. Sums are kept in the
arrays' dtype, a fixed order in each. Input gradients scatter: one thread owns a plane, so that nothing is added atomically.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from numbanet.devices import cuda
from numbanet.kernels import launch
from numbanet.kernels.index import read, reread, scalar, write
from numbanet.kernels.kernel import Kernel, jit
from numbanet.kernels.parallel import run_stages

_LANES = 16  # channels whose gradients are scattered together


def _chunk(n: int, points: int, mode: int) -> int:
    """How many points a task takes: their pixels and weights, worked out once for all channels, stay in an L2 cache."""
    return max(16, min((4096, 8192, 2048)[mode], -(-n * points // 4)))


def _plan(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


# ------------------------------------------------------------------------------------------------------ one coordinate


@scalar
def _floor(v, number):  # type: ignore[no-untyped-def]
    """floor(v) as an integer, for |v| <= 2**30."""
    whole = int(v)
    return whole - 1 if number(whole) > v else whole


@scalar
def _place(g, size, padding, align, mode, number):  # type: ignore[no-untyped-def]
    """A grid coordinate in pixels; padding 1 and 2 of modes 0 and 1 bring it into the image."""
    half = number(size - 1 if align != 0 else size) / number(2)
    place = (g + number(1)) * half
    place = place if align != 0 else place - number(0.5)
    if mode != 2 and padding != 0:
        last = number(size - 1)
        if padding == 2:
            low = number(0) if align != 0 else number(-0.5)
            span = last - low - low  # the mirrors are at low and low + span
            away = abs(place - low)
            flips = number(0) if span == number(0) else away / (span + span)
            flips = flips if flips < number(1 << 30) else number(0)  # neither infinite nor NaN
            away = away - number(_floor(flips, number)) * (span + span)
            place = (away if away < span else span + span - away) + low
        place = place if place > number(0) else number(0)  # NaN as well
        place = place if place < last else last
    if mode != 1:
        place = place + (place - place)  # an infinite one has no neighbours to weigh: NaN
    limit = number(1 << 30)
    place = place if not place < -limit else -limit
    return place if not place > limit else limit


@scalar
def _slope(g, size, padding, align, mode, number):  # type: ignore[no-untyped-def]
    """How fast ``_place`` moves: its derivative by g."""
    half = number(size - 1 if align != 0 else size) / number(2)
    slope = half
    if mode != 2 and padding != 0:
        place = (g + number(1)) * half
        place = place if align != 0 else place - number(0.5)
        last = number(size - 1)
        if padding == 2:
            low = number(0) if align != 0 else number(-0.5)
            span = last - low - low
            away = abs(place - low)
            slope = -slope if place < low else slope
            flips = number(0) if span == number(0) else away / (span + span)
            flips = flips if flips < number(1 << 30) else number(0)  # neither infinite nor NaN
            away = away - number(_floor(flips, number)) * (span + span)
            slope = slope if away < span else -slope
            place = (away if away < span else span + span - away) + low
            slope = slope if span > number(0) else number(0)
        slope = slope if place > number(0) and place < last else number(0)
    return slope


@scalar
def _cubic(t, k, number):  # type: ignore[no-untyped-def]
    """The weight of pixel floor(p) + k - 1, where t = p - floor(p): Keys' cubic, a = -0.75, k = 0 ... 3."""
    x = abs(t - number(k - 1))
    near = (number(1.25) * x - number(2.25)) * x * x + number(1)
    far = ((number(-0.75) * x + number(3.75)) * x - number(6)) * x + number(3)
    return near if k == 1 or k == 2 else far


@scalar
def _cubic_slope(t, k, number):  # type: ignore[no-untyped-def]
    """The derivative of ``_cubic`` by t."""
    x = abs(t - number(k - 1))
    near = (number(3.75) * x - number(4.5)) * x
    far = (number(-2.25) * x + number(7.5)) * x - number(6)
    slope = near if k == 1 or k == 2 else far
    return slope if k < 2 else -slope


@scalar
def _pixel(place, k, size, padding, align, mode, number):  # type: ignore[no-untyped-def]
    """The number of tap k's pixel along an axis, -1 if it is not there."""
    known = place if place == place else number(0)
    first = _floor(known, number)
    if mode == 1:
        part = known - number(first)
        up = part > number(0.5) or (part == number(0.5) and first % 2 != 0)
        first = first + 1 if up else first
    pixel = first + k if mode != 2 else first + k - 1
    if mode == 2 and padding == 2:
        period = 2 * size if align == 0 else max(2 * size - 2, 1)
        pixel = pixel % period
        pixel = pixel if pixel < size else (2 * size - 1 - pixel if align == 0 else 2 * size - 2 - pixel)
    if mode == 2 and padding != 0:
        pixel = min(max(pixel, 0), size - 1)
    return pixel if pixel >= 0 and pixel < size and place == place else -1


@scalar
def _weight(place, k, mode, number):  # type: ignore[no-untyped-def]
    """The weight of tap k along an axis; in modes 0 and 2 NaN for a place that is NaN."""
    part = place - number(_floor(place if place == place else number(0), number))
    if mode == 1:
        weight = number(1)
    elif mode == 0:
        weight = number(1) - part if k == 0 else part
    else:
        weight = _cubic(part, k, number)
    return weight


@scalar
def _weight_slope(place, k, mode, number):  # type: ignore[no-untyped-def]
    """The derivative of ``_weight`` by the place."""
    if mode == 1:
        slope = number(0)
    elif mode == 0:
        slope = number(-1) if k == 0 else number(1)
    else:
        slope = _cubic_slope(place - number(_floor(place if place == place else number(0), number)), k, number)
    return slope


# The CPU's twins call them as functions: to inline five of them takes numba seconds.
_place_cpu, _slope_cpu, _pixel_cpu = jit(_place.py_func), jit(_slope.py_func), jit(_pixel.py_func)
_weight_cpu, _weight_slope_cpu = jit(_weight.py_func), jit(_weight_slope.py_func)


@scalar
def _taps(mode):  # type: ignore[no-untyped-def]
    """The pixels along an axis that a point is made of."""
    return 4 if mode == 2 else 2 - mode


# ----------------------------------------------------------------------------------------------------------- forward


def _axis_reference(g: float, size: int, mode: int, padding: int, align: int) -> list[tuple[int, float, float]]:
    """(pixel or -1, weight, derivative of the weight by g) of each tap."""
    half = (size - 1 if align else size) / 2
    place = (g + 1) * half - (0 if align else 0.5)

    def bring(p: float) -> tuple[float, float]:
        slope = 1.0
        if padding == 2:
            low, high = (0, size - 1) if align else (-0.5, size - 0.5)
            if low == high:
                return 0.0, 0.0
            while p < low or p > high:
                p, slope = (2 * low - p, -slope) if p < low else (2 * high - p, -slope)
        if padding:
            slope = slope if 0 < p < size - 1 else 0.0
            p = min(max(p, 0), size - 1)
        return p, slope

    slope = half
    if mode != 2:
        place, turn = bring(place)
        slope *= turn
    first = int(np.floor(place))
    t = place - first
    if mode == 1:
        taps = [(int(np.rint(place)), 1.0, 0.0)]
    elif mode == 0:
        taps = [(first, 1 - t, -slope), (first + 1, t, slope)]
    else:
        a, taps = -0.75, []
        for k in range(-1, 3):
            x = abs(t - k)
            sign = 1 if t > k or (t == k and k < 0) else -1
            if x <= 1:
                weight, d = (a + 2) * x**3 - (a + 3) * x**2 + 1, 3 * (a + 2) * x**2 - 2 * (a + 3) * x
            else:
                weight, d = a * (x**3 - 5 * x**2 + 8 * x - 4), a * (3 * x**2 - 10 * x + 8)
            taps.append((int(bring(first + k)[0]), weight, sign * d * slope))
    return [(pixel if 0 <= pixel < size else -1, weight, d) for pixel, weight, d in taps]


def grid_sample_forward_reference(
    x: np.ndarray, grid: np.ndarray, y: np.ndarray, mode: int, padding: int, align: int
) -> None:
    h, w = x.shape[2:]
    for n, i, j in np.ndindex(grid.shape[:3]):
        total = np.zeros(x.shape[1])
        for row, a, _ in _axis_reference(float(grid[n, i, j, 1]), h, mode, padding, align):
            for column, b, _ in _axis_reference(float(grid[n, i, j, 0]), w, mode, padding, align):
                if row >= 0 and column >= 0:
                    total += a * b * x[n, :, row, column]
        y[n, :, i, j] = total


@jit
def _axis_cpu(grid, at, count, size, mode, padding, align, pixel, weight, slope):  # type: ignore[no-untyped-def]
    """The taps along an axis of the coordinates grid[at + 2 p]: tap k of point p at k * count + p; slopes are by the grid."""
    number = grid.dtype.type
    for p in range(count):
        g = grid[at + 2 * p]
        place = _place_cpu(g, size, padding, align, mode, number)
        turn = _slope_cpu(g, size, padding, align, mode, number)
        for k in range(_taps(mode)):
            pixel[k * count + p] = _pixel_cpu(place, k, size, padding, align, mode, number)
            weight[k * count + p] = _weight_cpu(place, k, mode, number)
            slope[k * count + p] = _weight_slope_cpu(place, k, mode, number) * turn


@jit
def _fill_cpu(grid, at, count, h, w, mode, padding, align, slopes, index, first, second):  # type: ignore[no-untyped-def]
    """The taps of ``count`` points, tap t of point p at t * count + p: pixel (or -1), weight; or its slopes by gx and gy."""
    taps = _taps(mode)
    row, column = np.empty(taps * count, np.int32), np.empty(taps * count, np.int32)
    a, da = np.empty(taps * count, grid.dtype), np.empty(taps * count, grid.dtype)
    b, db = np.empty(taps * count, grid.dtype), np.empty(taps * count, grid.dtype)
    _axis_cpu(grid, at, count, w, mode, padding, align, column, b, db)
    _axis_cpu(grid, at + 1, count, h, mode, padding, align, row, a, da)
    # Plain stores, since what ``read`` reads must not have been stored by ``write`` in the same function.
    for t in range(taps * taps):
        i, j, to = t // taps * count, t % taps * count, t * count
        rows, columns, found = row[i : i + count], column[j : j + count], index[to : to + count]
        for p in range(count):
            found[p] = rows[p] * w + columns[p] if rows[p] >= 0 and columns[p] >= 0 else -1
        along_rows, along_columns, product = a[i : i + count], b[j : j + count], first[to : to + count]
        if slopes == 0:
            for p in range(count):
                product[p] = along_rows[p] * along_columns[p]
        else:
            slope_rows, slope_columns, other = da[i : i + count], db[j : j + count], second[to : to + count]
            for p in range(count):
                product[p] = along_rows[p] * slope_columns[p]
                other[p] = slope_rows[p] * along_columns[p]


@jit(inline=True)
def _there(plane, i):  # type: ignore[no-untyped-def]
    """plane[i], or 0 where i is -1; a gather in vectorised loops."""
    value = read(plane, max(i, 0))
    return value if i >= 0 else plane.dtype.type(0)


@jit
def _near_cpu(plane, held):  # type: ignore[no-untyped-def]
    """The plane itself, or a copy in ``held`` where there is room for it.

    A copy comes from memory at full speed, gathers do not: 2x on (16, 64, 56, 56), nearest and bilinear, one thread.
    """
    if held.size == 0:
        return plane
    for i in range(held.size):
        held[i] = plane[i]
    return held


@jit
def _gather_cpu(plane, index, weight, taps, count, y, to):  # type: ignore[no-untyped-def]
    """y[to + p] = the sum over the taps of p, 4 at a time."""
    if taps == 1:
        for p in range(count):
            write(y, to + p, _there(plane, read(index, p)))
        return
    for t in range(0, taps * count, 4 * count):
        for p in range(count):
            a, b, c, d = t + p, t + count + p, t + 2 * count + p, t + 3 * count + p
            total = read(weight, a) * _there(plane, read(index, a))
            total += read(weight, b) * _there(plane, read(index, b))
            total += read(weight, c) * _there(plane, read(index, c))
            total += read(weight, d) * _there(plane, read(index, d))
            write(y, to + p, total if t == 0 else total + reread(y, to + p))


@jit
def _forward_task(stage, task, thread, x, grid, y, _, __, plan):  # type: ignore[no-untyped-def]
    chunk, c, h, w, points, mode, padding, align = (
        plan[0],
        plan[1],
        plan[2],
        plan[3],
        plan[4],
        plan[5],
        plan[6],
        plan[7],
    )
    chunks = -(-points // chunk)
    n, begin = task // chunks, task % chunks * chunk
    count = min(chunk, points - begin)
    taps = _taps(mode) * _taps(mode)
    index, weight = np.empty(taps * count, np.int32), np.empty(taps * count, x.dtype)
    _fill_cpu(grid, 2 * (n * points + begin), count, h, w, mode, padding, align, 0, index, weight, weight)
    held = np.empty(h * w if h * w <= 4 * count else 0, x.dtype)
    for p in range(n * c, n * c + c):
        plane = _near_cpu(x[p * h * w : (p + 1) * h * w], held)
        _gather_cpu(plane, index, weight, taps, count, y, p * points + begin)


def _grid_sample_forward_cpu(
    x: np.ndarray, grid: np.ndarray, y: np.ndarray, mode: int, padding: int, align: int
) -> None:
    (n, c, h, w), points = x.shape, grid.shape[1] * grid.shape[2]
    chunk = _chunk(n, points, mode)
    plan = _plan(chunk, c, h, w, points, mode, padding, align)
    y = y.reshape(-1)
    run_stages(_forward_task, (n * -(-points // chunk), 0), x.reshape(-1), grid.reshape(-1), y, y, y, plan)


@cuda.jit
def _forward_cuda_kernel(x, grid, y, c, h, w, points, mode, padding, align):  # type: ignore[no-untyped-def]
    o = cuda.grid(1)
    if o < y.size:
        number = y.dtype.type
        at = 2 * (o // (c * points) * points + o % points)
        plane = o // points * h * w
        px = _place(grid[at], w, padding, align, mode, number)
        py = _place(grid[at + 1], h, padding, align, mode, number)
        total = number(0)
        for i in range(_taps(mode)):
            row = _pixel(py, i, h, padding, align, mode, number)
            a = _weight(py, i, mode, number)
            for j in range(_taps(mode)):
                column = _pixel(px, j, w, padding, align, mode, number)
                b = _weight(px, j, mode, number)
                value = x[plane + row * w + column] if row >= 0 and column >= 0 else number(0)
                total += a * b * value
        y[o] = total


def _grid_sample_forward_cuda(x: Any, grid: Any, y: Any, mode: int, padding: int, align: int) -> None:
    points = grid.shape[1] * grid.shape[2]
    _forward_cuda_kernel[launch.line(y.size)](
        x.reshape(x.size),
        grid.reshape(grid.size),
        y.reshape(y.size),
        *tuple(x.shape)[1:],
        points,
        int(mode),
        int(padding),
        int(align),
    )


grid_sample_forward = Kernel(
    "grid_sample_forward",
    reference=grid_sample_forward_reference,
    cpu=_grid_sample_forward_cpu,
    cuda=_grid_sample_forward_cuda,
)

# ------------------------------------------------------------------------------------------- gradient of the images


def grid_sample_grad_input_reference(
    dy: np.ndarray, grid: np.ndarray, dx: np.ndarray, mode: int, padding: int, align: int
) -> None:
    h, w = dx.shape[2:]
    total = np.zeros(dx.shape)
    for n, i, j in np.ndindex(grid.shape[:3]):
        for row, a, _ in _axis_reference(float(grid[n, i, j, 1]), h, mode, padding, align):
            for column, b, _ in _axis_reference(float(grid[n, i, j, 0]), w, mode, padding, align):
                if row >= 0 and column >= 0:
                    total[n, :, row, column] += a * b * dy[n, :, i, j]
    dx[...] = total


@jit
def _scatter_cpu(dy, index, weight, taps, count, dx):  # type: ignore[no-untyped-def]
    """dx[pixel, lane] += weight * dy[p, lane] for each tap of each point; what has no pixel goes to the last one."""
    for p in range(count):
        g = dy[p * _LANES : p * _LANES + _LANES]
        for t in range(p, taps * count, count):
            i, a = index[t] * _LANES, weight[t]
            target = dx[i : i + _LANES]
            for lane in range(_LANES):
                target[lane] += a * g[lane]


@jit
def _scatter_plane_cpu(dy, index, dx):  # type: ignore[no-untyped-def]
    """dx[pixel] += dy[p] for points of one tap of weight 1; one more sum at the end of dx for those without a pixel."""
    for p in range(dy.size):
        dx[np.uint32(index[p])] += dy[p]


@jit
def _grad_input_task(stage, task, thread, dy, grid, dx, _, __, plan):  # type: ignore[no-untyped-def]
    """Some channels of one image: plane by plane for a single tap, else with the channels in the lanes of a vector.

    Neighbouring points share pixels, and in a loop over one channel's points each would wait for the sum of the one before.
    """
    chunk, c, h, w, points, mode, padding, align = (
        plan[0],
        plan[1],
        plan[2],
        plan[3],
        plan[4],
        plan[5],
        plan[6],
        plan[7],
    )
    groups = -(-c // _LANES)
    n, first_lane = task // groups, task % groups * _LANES
    begin, lanes = n * c + first_lane, min(_LANES, c - first_lane)
    taps = _taps(mode) * _taps(mode)
    index, weight = np.empty(taps * chunk, np.int32), np.empty(taps * chunk, dy.dtype)
    room = 1 if taps == 1 and points <= chunk else _LANES
    sums, g = np.zeros((h * w + 1) * room, dy.dtype), np.zeros(chunk * room, dy.dtype)
    for first in range(0, points, chunk):
        count = min(chunk, points - first)
        _fill_cpu(grid, 2 * (n * points + first), count, h, w, mode, padding, align, 0, index, weight, weight)
        for t in range(taps * count):
            index[t] = index[t] if index[t] >= 0 else h * w
        if room == 1:
            for plane in range(begin, begin + lanes):
                sums[:] = 0
                _scatter_plane_cpu(dy[plane * points : (plane + 1) * points], index, sums)
                out = dx[plane * h * w : (plane + 1) * h * w]
                for i in range(h * w):
                    out[i] = sums[i]
            return
        for lane in range(lanes):
            at = (begin + lane) * points + first
            for p in range(count):
                g[p * _LANES + lane] = dy[at + p]
        _scatter_cpu(g, index, weight, taps, count, sums)
    for lane in range(lanes):
        at = (begin + lane) * h * w
        for i in range(h * w):
            dx[at + i] = sums[i * _LANES + lane]


def _grid_sample_grad_input_cpu(
    dy: np.ndarray, grid: np.ndarray, dx: np.ndarray, mode: int, padding: int, align: int
) -> None:
    (n, c, h, w), points = dx.shape, grid.shape[1] * grid.shape[2]
    plan = _plan(_chunk(n, points, mode), c, h, w, points, mode, padding, align)
    dx = dx.reshape(-1)
    run_stages(_grad_input_task, (n * -(-c // _LANES), 0), dy.reshape(-1), grid.reshape(-1), dx, dx, dx, plan)


@cuda.jit
def _grad_input_cuda_kernel(dy, grid, dx, planes, c, h, w, points, mode, padding, align):  # type: ignore[no-untyped-def]
    plane = cuda.grid(1)
    if plane < planes:  # a thread owns a plane
        number = dx.dtype.type
        for i in range(plane * h * w, (plane + 1) * h * w):
            dx[i] = number(0)
        for p in range(points):
            at = 2 * (plane // c * points + p)
            px = _place(grid[at], w, padding, align, mode, number)
            py = _place(grid[at + 1], h, padding, align, mode, number)
            for i in range(_taps(mode)):
                row = _pixel(py, i, h, padding, align, mode, number)
                a = _weight(py, i, mode, number) * dy[plane * points + p]
                for j in range(_taps(mode)):
                    column = _pixel(px, j, w, padding, align, mode, number)
                    b = _weight(px, j, mode, number)
                    if row >= 0 and column >= 0:
                        dx[plane * h * w + row * w + column] += a * b


def _grid_sample_grad_input_cuda(dy: Any, grid: Any, dx: Any, mode: int, padding: int, align: int) -> None:
    n, c, h, w = dx.shape
    points = grid.shape[1] * grid.shape[2]
    _grad_input_cuda_kernel[launch.line(n * c)](
        dy.reshape(dy.size),
        grid.reshape(grid.size),
        dx.reshape(dx.size),
        n * c,
        c,
        h,
        w,
        points,
        int(mode),
        int(padding),
        int(align),
    )


grid_sample_grad_input = Kernel(
    "grid_sample_grad_input",
    reference=grid_sample_grad_input_reference,
    cpu=_grid_sample_grad_input_cpu,
    cuda=_grid_sample_grad_input_cuda,
)

# --------------------------------------------------------------------------------------------- gradient of the grid


def grid_sample_grad_grid_reference(
    dy: np.ndarray, x: np.ndarray, grid: np.ndarray, dgrid: np.ndarray, mode: int, padding: int, align: int
) -> None:
    h, w = x.shape[2:]
    for n, i, j in np.ndindex(grid.shape[:3]):
        total = np.zeros(2)
        for row, a, da in _axis_reference(float(grid[n, i, j, 1]), h, mode, padding, align):
            for column, b, db in _axis_reference(float(grid[n, i, j, 0]), w, mode, padding, align):
                if row >= 0 and column >= 0:
                    product = float((dy[n, :, i, j].astype(np.float64) * x[n, :, row, column]).sum())
                    total += product * np.array((a * db, da * b))
        dgrid[n, i, j] = total


@jit
def _gather_slopes_cpu(dy, at, plane, index, first, second, taps, count, sums):  # type: ignore[no-untyped-def]
    """Add dy times the sums over the taps of each point, by gx and by gy, to sums (2, count)."""
    for t in range(0, taps * count, 4 * count):
        for p in range(count):
            a, b, c, d = t + p, t + count + p, t + 2 * count + p, t + 3 * count + p
            va, vb = _there(plane, read(index, a)), _there(plane, read(index, b))
            vc, vd = _there(plane, read(index, c)), _there(plane, read(index, d))
            g = read(dy, at + p)
            x = read(first, a) * va + read(first, b) * vb + read(first, c) * vc + read(first, d) * vd
            y = read(second, a) * va + read(second, b) * vb + read(second, c) * vc + read(second, d) * vd
            write(sums, p, reread(sums, p) + g * x)
            write(sums, count + p, reread(sums, count + p) + g * y)


@jit
def _grad_grid_task(stage, task, thread, dy, x, grid, dgrid, _, plan):  # type: ignore[no-untyped-def]
    chunk, c, h, w, points, mode, padding, align = (
        plan[0],
        plan[1],
        plan[2],
        plan[3],
        plan[4],
        plan[5],
        plan[6],
        plan[7],
    )
    chunks = -(-points // chunk)
    n, begin = task // chunks, task % chunks * chunk
    count = min(chunk, points - begin)
    taps = _taps(mode) * _taps(mode)
    index, sums = np.empty(taps * count, np.int32), np.zeros(2 * count, x.dtype)
    first, second = np.empty(taps * count, x.dtype), np.empty(taps * count, x.dtype)
    at = 2 * (n * points + begin)
    _fill_cpu(grid, at, count, h, w, mode, padding, align, 1, index, first, second)
    held = np.empty(h * w if h * w <= 4 * count else 0, x.dtype)
    for p in range(n * c, n * c + c):
        plane = _near_cpu(x[p * h * w : (p + 1) * h * w], held)
        _gather_slopes_cpu(dy, p * points + begin, plane, index, first, second, taps, count, sums)
    for p in range(count):
        dgrid[at + 2 * p], dgrid[at + 2 * p + 1] = sums[p], sums[count + p]


def _grid_sample_grad_grid_cpu(
    dy: np.ndarray, x: np.ndarray, grid: np.ndarray, dgrid: np.ndarray, mode: int, padding: int, align: int
) -> None:
    if mode == 1:
        dgrid.fill(0)
        return
    (n, c, h, w), points = x.shape, grid.shape[1] * grid.shape[2]
    chunk = _chunk(n, points, mode)
    plan = _plan(chunk, c, h, w, points, mode, padding, align)
    tasks = n * -(-points // chunk), 0
    dgrid = dgrid.reshape(-1)
    run_stages(_grad_grid_task, tasks, dy.reshape(-1), x.reshape(-1), grid.reshape(-1), dgrid, dgrid, plan)


@cuda.jit
def _grad_grid_cuda_kernel(dy, x, grid, dgrid, c, h, w, points, mode, padding, align):  # type: ignore[no-untyped-def]
    o = cuda.grid(1)
    if 2 * o < dgrid.size:
        number = dgrid.dtype.type
        n, p = o // points, o % points
        gx, gy = grid[2 * o], grid[2 * o + 1]
        px = _place(gx, w, padding, align, mode, number)
        py = _place(gy, h, padding, align, mode, number)
        total_x, total_y = number(0), number(0)
        for i in range(_taps(mode)):
            row = _pixel(py, i, h, padding, align, mode, number)
            a = _weight(py, i, mode, number)
            da = _weight_slope(py, i, mode, number)
            for j in range(_taps(mode)):
                column = _pixel(px, j, w, padding, align, mode, number)
                b = _weight(px, j, mode, number)
                db = _weight_slope(px, j, mode, number)
                if row >= 0 and column >= 0:
                    product = number(0)
                    for plane in range(n * c, n * c + c):
                        product += dy[plane * points + p] * x[plane * h * w + row * w + column]
                    total_x += a * db * product
                    total_y += da * b * product
        dgrid[2 * o] = total_x * _slope(gx, w, padding, align, mode, number)
        dgrid[2 * o + 1] = total_y * _slope(gy, h, padding, align, mode, number)


def _grid_sample_grad_grid_cuda(dy: Any, x: Any, grid: Any, dgrid: Any, mode: int, padding: int, align: int) -> None:
    points = grid.shape[1] * grid.shape[2]
    _grad_grid_cuda_kernel[launch.line(dgrid.size // 2)](
        dy.reshape(dy.size),
        x.reshape(x.size),
        grid.reshape(grid.size),
        dgrid.reshape(dgrid.size),
        *tuple(x.shape)[1:],
        points,
        int(mode),
        int(padding),
        int(align),
    )


grid_sample_grad_grid = Kernel(
    "grid_sample_grad_grid",
    reference=grid_sample_grad_grid_reference,
    cpu=_grid_sample_grad_grid_cpu,
    cuda=_grid_sample_grad_grid_cuda,
)

_F = "float32[::1]"
CUDA_KERNELS = (
    (_forward_cuda_kernel, f"void({_F}, {_F}, {_F}, {', '.join(['int64'] * 7)})"),
    (_grad_input_cuda_kernel, f"void({_F}, {_F}, {_F}, {', '.join(['int64'] * 8)})"),
    (_grad_grid_cuda_kernel, f"void({_F}, {_F}, {_F}, {_F}, {', '.join(['int64'] * 7)})"),
)
