"""Padding of rows and columns: by a constant, by reflection, by the nearest edge, and around the other way.

Contract. P planes of H x W elements in x and dx, of OH x OW in y and dy; C-contiguous, float32 or float64. ``top`` and
``left`` elements stand before the plane in y (negative: are cut off); those after it follow from OH and OW, so that any
lopsided padding, and cutting, is covered. Outputs are overwritten; the caller allocates::

    pad_forward(x, y, top, left, mode, value)     y[p, i, j] = x[p, source(i - top, H), source(j - left, W)]
    pad_backward(dy, dx, top, left, mode)         dx[p, h, w] = the sum of dy over all (i, j) whose source is (h, w)

    source(t, n) = t inside [0, n); outside, by mode:
    CONSTANT   nowhere: y is ``value`` there, and dy is lost
    REFLECT    -t or 2 (n - 1) - t: the edge is not repeated; the padding is smaller than n
    REPLICATE  0 or n - 1
    CIRCULAR   t + n or t - n; the padding is at most n

forward only moves values, so NaN and -0.0 come out as they went in. Sums of backward are kept in the arrays' dtype, in an
order that depends on the shapes alone. An empty x (H or W of 0) is for CONSTANT only.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from numbanet.devices import cuda
from numbanet.kernels import launch
from numbanet.kernels.index import read, reread, scalar, write
from numbanet.kernels.kernel import Kernel, jit
from numbanet.kernels.parallel import run_stages

CONSTANT, REFLECT, REPLICATE, CIRCULAR = range(4)

_TASK = 1 << 14  # elements of one task at least
_TASKS = 64  # tasks at most


@scalar
def _source(t, n, mode):  # type: ignore[no-untyped-def]
    """Where element t of an axis of n comes from; -1 for nowhere."""
    place = t
    if t < 0 or t >= n:
        place = np.int64(-1)
        if mode == REFLECT:
            place = -t if t < 0 else 2 * (n - 1) - t
        elif mode == REPLICATE:
            place = np.int64(0) if t < 0 else n - 1
        elif mode == CIRCULAR:
            place = t + n if t < 0 else t - n
    return place


@lru_cache(maxsize=1024)
def _plan(rows: int, width: int, *numbers: int) -> tuple[np.ndarray, tuple[int, int]]:
    """(the numbers of a call as the array that tasks read, the numbers of tasks): a task is some rows of the output."""
    tasks = max(1, min(rows, _TASKS, rows * width // _TASK))
    return np.array((rows, tasks, *numbers), np.int64), (0, tasks)


# ------------------------------------------------------------------------------------------------------- forward


def pad_forward_reference(x, y, top, left, mode, value):  # type: ignore[no-untyped-def]
    _, h, w = x.shape
    for p, i, j in np.ndindex(*y.shape):
        r, c = i - top, j - left
        if mode == REFLECT:
            r, c = abs(r), abs(c)
            r, c = h - 1 - abs(h - 1 - r), w - 1 - abs(w - 1 - c)
        elif mode == REPLICATE:
            r, c = min(max(r, 0), h - 1), min(max(c, 0), w - 1)
        elif mode == CIRCULAR:
            r, c = r % h, c % w
        y[p, i, j] = x[p, r, c] if 0 <= r < h and 0 <= c < w else value


@jit
def _fill(y, first, last, value):  # type: ignore[no-untyped-def]
    for j in range(first, last):
        write(y, j, value)


@jit
def _copy(x, at, y, to, count):  # type: ignore[no-untyped-def]
    # LLVM makes memcpy of this: masked vectors took twice the time on arrays larger than the caches
    for j in range(count):
        write(y, to + j, read(x, at + j))


@jit
def _pad_rows(stage, task, thread, x, fill, _, y, scratch, plan):  # type: ignore[no-untyped-def]
    """Some rows of y."""
    rows, tasks, h, w, oh, ow, top, left, mode = plan[0], plan[1], plan[2], plan[3], plan[4], plan[5], plan[6], plan[7], plan[8]  # fmt: skip
    low, high = min(max(left, 0), ow), min(max(left + w, 0), ow)
    value = fill[0]
    first = task * rows // tasks
    p, i = first // oh, first % oh
    for row in range(first, (task + 1) * rows // tasks):
        r, to = _source(i - top, h, mode), row * ow
        at = (p * h + r) * w
        if r < 0:
            _fill(y, to, to + ow, value)
        else:
            _copy(x, at + low - left, y, to + low, high - low)
            if mode == CONSTANT:
                _fill(y, to, to + low, value)
                _fill(y, to + high, to + ow, value)
            else:
                for j in range(low):
                    write(y, to + j, read(x, at + _source(j - left, w, mode)))
                for j in range(high, ow):
                    write(y, to + j, read(x, at + _source(j - left, w, mode)))
        i += 1
        if i == oh:
            p, i = p + 1, 0


def _pad_forward_cpu(x, y, top, left, mode, value):  # type: ignore[no-untyped-def]
    planes, h, w = x.shape
    _, oh, ow = y.shape
    if y.size:
        plan, tasks = _plan(planes * oh, ow, h, w, oh, ow, top, left, mode)
        fill = np.array([value], y.dtype)
        run_stages(_pad_rows, tasks, x.reshape(-1), fill, fill, y.reshape(-1), fill, plan)


@cuda.jit
def _pad_forward_cuda_flat(x, y, h, w, oh, ow, top, left, mode, value):  # type: ignore[no-untyped-def]
    """A thread for each element of y."""
    q = cuda.grid(1)
    if q < y.size:
        row = q // ow
        r = _source(row % oh - top, h, mode)
        c = _source(q % ow - left, w, mode)
        y[q] = x[(row // oh * h + r) * w + c] if r >= 0 and c >= 0 else value


def _pad_forward_cuda(x, y, top, left, mode, value):  # type: ignore[no-untyped-def]
    if y.size:
        sizes = (*x.shape[1:], *y.shape[1:])
        _pad_forward_cuda_flat[launch.line(y.size)](
            x.reshape(-1), y.reshape(-1), *sizes, top, left, mode, y.dtype.type(value)
        )


pad_forward = Kernel("pad_forward", reference=pad_forward_reference, cpu=_pad_forward_cpu, cuda=_pad_forward_cuda)


# ------------------------------------------------------------------------------------------------------ backward


def pad_backward_reference(dy, dx, top, left, mode):  # type: ignore[no-untyped-def]
    """Each element of dy is handed back to where its value came from, found by padding the places themselves."""
    _, h, w = dx.shape
    places = np.empty((1, *dy.shape[1:]))
    pad_forward_reference(np.arange(float(h * w)).reshape(1, h, w), places, top, left, mode, -1.0)
    total = np.zeros(dx.shape)
    for i, j in np.ndindex(*dy.shape[1:]):
        place = int(places[0, i, j])
        if place >= 0:
            total[:, place // w, place % w] += dy[:, i, j]
    dx[...] = total


@jit
def _unpad_columns(dy, at, dx, to, w, low, high, ow, left, mode):  # type: ignore[no-untyped-def]
    """Add what stands left of ``low`` and from ``high`` on in a row of dy."""
    for j in range(low):
        c = to + _source(j - left, w, mode)
        write(dx, c, reread(dx, c) + read(dy, at + j))
    for j in range(high, ow):
        c = to + _source(j - left, w, mode)
        write(dx, c, reread(dx, c) + read(dy, at + j))


@jit
def _unpad_rows(stage, task, thread, dy, _, __, dx, scratch, plan):  # type: ignore[no-untyped-def]
    """Some rows of dx: of each what stands in dy, then what the padding took from it."""
    rows, tasks, h, w, oh, ow, top, left, mode = plan[0], plan[1], plan[2], plan[3], plan[4], plan[5], plan[6], plan[7], plan[8]  # fmt: skip
    first, last = min(max(-left, 0), w), min(max(ow - left, 0), w)  # columns of dx that stand in dy
    low, high = min(max(left, 0), ow), min(max(left + w, 0), ow)
    above, below = min(max(top, 0), oh), min(max(top + h, 0), oh)
    zero = dx.dtype.type(0)
    row0 = task * rows // tasks
    p, r = row0 // h, row0 % h
    for row in range(row0, (task + 1) * rows // tasks):
        i, to = r + top, row * w
        at = (p * oh + i) * ow
        if 0 <= i < oh:
            _copy(dy, at + left + first, dx, to + first, last - first)
            _fill(dx, to, to + first, zero)
            _fill(dx, to + last, to + w, zero)
            if mode != CONSTANT:
                _unpad_columns(dy, at, dx, to, w, low, high, ow, left, mode)
        else:
            _fill(dx, to, to + w, zero)
        if mode != CONSTANT:
            for step in range(above + oh - below):  # the rows of the padding, above and below
                other = step if step < above else below + step - above
                if _source(other - top, h, mode) == r:
                    at = (p * oh + other) * ow
                    for c in range(first, last):
                        write(dx, to + c, reread(dx, to + c) + read(dy, at + left + c))
                    _unpad_columns(dy, at, dx, to, w, low, high, ow, left, mode)
        r += 1
        if r == h:
            p, r = p + 1, 0


def _pad_backward_cpu(dy, dx, top, left, mode):  # type: ignore[no-untyped-def]
    planes, h, w = dx.shape
    _, oh, ow = dy.shape
    if dx.size:
        plan, tasks = _plan(planes * h, w, h, w, oh, ow, top, left, mode)
        none = np.empty(0, dx.dtype)
        run_stages(_unpad_rows, tasks, dy.reshape(-1), none, none, dx.reshape(-1), none, plan)


@cuda.jit
def _pad_backward_cuda_flat(dy, dx, h, w, oh, ow, top, left, mode):  # type: ignore[no-untyped-def]
    """A thread for each element of dx goes through the rows and columns that may have come from it."""
    q = cuda.grid(1)
    if q < dx.size:
        row, c = q // w, q % w
        p, r = row // h, row % h
        total = dx.dtype.type(0)
        above, below = min(max(top, 0), oh), min(max(top + h, 0), oh)
        before, after = min(max(left, 0), ow), min(max(left + w, 0), ow)
        for a in range(-1, above + oh - below):
            i = r + top if a < 0 else a if a < above else below + a - above
            if i < 0 or i >= oh or _source(i - top, h, mode) != r:
                continue
            for b in range(-1, before + ow - after):
                j = c + left if b < 0 else b if b < before else after + b - before
                if 0 <= j < ow and _source(j - left, w, mode) == c:
                    total += dy[(p * oh + i) * ow + j]
        dx[q] = total


def _pad_backward_cuda(dy, dx, top, left, mode):  # type: ignore[no-untyped-def]
    if dx.size:
        sizes = (*dx.shape[1:], *dy.shape[1:])
        _pad_backward_cuda_flat[launch.line(dx.size)](dy.reshape(-1), dx.reshape(-1), *sizes, top, left, mode)


pad_backward = Kernel("pad_backward", reference=pad_backward_reference, cpu=_pad_backward_cpu, cuda=_pad_backward_cuda)

_SIZES = "int64, int64, int64, int64, int64, int64, int64"
CUDA_KERNELS = (
    (_pad_forward_cuda_flat, f"void(float32[::1], float32[::1], {_SIZES}, float32)"),
    (_pad_backward_cuda_flat, f"void(float32[::1], float32[::1], {_SIZES})"),
)
