"""Sliding blocks of images as columns (im2col), and columns added up to images again (col2im).

Contract. N images of C channels and H x W pixels in x; kernels of KH x KW elements at OH x OW places; C-contiguous, float32
or float64. The caller allocates; outputs are overwritten::

    unfold(x, columns, kh, kw, sh, sw, ph, pw, dh, dw)
        columns[n, (c KH + k) KW + l, i, j] = x[n, c, i sh + k dh - ph, j sw + l dw - pw], or 0 outside of the image

    fold(columns, x, kh, kw, sh, sw, ph, pw, dh, dw)
        x[n, c, r, s] = the sum of columns over all (k, l, i, j) that unfold reads from (r, s); 0 where there is none

    x (N, C, H, W); columns (N, C KH KW, OH, OW)

Each is the other's gradient. OH and OW come with the array, so that blocks may leave rows and columns of x unread.
``unfold`` only moves values; the sums of ``fold`` are kept in the arrays' dtype, in the order of the kernel's elements.
Neither stands in the way of a convolution here (``conv2d.py`` reads images in place): they are for whoever wants the
matrix itself.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from numbanet.devices import cuda
from numbanet.kernels import launch
from numbanet.kernels.index import read, reread, scalar, write
from numbanet.kernels.kernel import Kernel, jit
from numbanet.kernels.parallel import run_stages

_TASK = 1 << 14  # elements of one task at least
_TASKS = 64  # tasks at most


@lru_cache(maxsize=1024)
def _plan(back: bool, shape: tuple[int, ...], out: tuple[int, ...], *numbers: int) -> tuple[Any, tuple[int, int]]:
    """(the numbers of a call as the array that tasks read, the numbers of tasks).

    A task is some blocks of columns (a channel and kernel element each), or some planes of images when ``back``.
    """
    n, c, h, w = shape
    oh, ow = out[2:]
    rows = n * c if back else n * out[1]
    tasks = max(1, min(rows, _TASKS, n * out[1] * oh * ow // _TASK))
    return np.array((rows, tasks, h, w, oh, ow, *numbers), np.int64), (0, tasks)


@scalar
def _first(shift, step):  # type: ignore[no-untyped-def]
    """The smallest j >= 0 with j * step >= shift."""
    return (max(shift, 0) + step - 1) // step


def _run(body: Any, source: Any, target: Any, back: bool, x: Any, columns: Any, numbers: tuple[int, ...]) -> None:
    plan, tasks = _plan(back, x.shape, columns.shape, *numbers)
    none = np.empty(0, x.dtype)
    run_stages(body, tasks, source.reshape(-1), none, none, target.reshape(-1), none, plan)


# -------------------------------------------------------------------------------------------------------- unfold


def unfold_reference(x, columns, kh, kw, sh, sw, ph, pw, dh, dw):  # type: ignore[no-untyped-def]
    n, c, h, w = x.shape
    blocks = columns.reshape(n, c, kh, kw, *columns.shape[2:])
    for k, m, i, j in np.ndindex(*blocks.shape[2:]):
        r, s = i * sh + k * dh - ph, j * sw + m * dw - pw
        blocks[:, :, k, m, i, j] = x[:, :, r, s] if 0 <= r < h and 0 <= s < w else 0


@jit
def _unfold_blocks(stage, task, thread, x, _, __, columns, scratch, plan):  # type: ignore[no-untyped-def]
    """Some blocks: of each row of output places the zeros on the left, the pixels, and the zeros on the right."""
    rows, tasks, h, w, oh, ow = plan[0], plan[1], plan[2], plan[3], plan[4], plan[5]
    kh, kw, sh, sw, ph, pw, dh, dw = plan[6], plan[7], plan[8], plan[9], plan[10], plan[11], plan[12], plan[13]
    zero = columns.dtype.type(0)
    for row in range(task * rows // tasks, (task + 1) * rows // tasks):
        plane, k, m = row // (kh * kw), row // kw % kh, row % kw
        shift = pw - m * dw  # output place j reads column j * sw - shift
        low = min(_first(shift, sw), ow)
        high = max(min(_first(w + shift, sw), ow), low)
        for i in range(oh):
            r, to = i * sh + k * dh - ph, (row * oh + i) * ow
            if r < 0 or r >= h:
                for j in range(ow):
                    write(columns, to + j, zero)
                continue
            at = (plane * h + r) * w - shift
            for j in range(low):
                write(columns, to + j, zero)
            if sw == 1:
                for j in range(low, high):
                    write(columns, to + j, read(x, at + j))
            else:
                for j in range(low, high):
                    write(columns, to + j, read(x, at + j * sw))
            for j in range(high, ow):
                write(columns, to + j, zero)


def _unfold_cpu(x, columns, kh, kw, sh, sw, ph, pw, dh, dw):  # type: ignore[no-untyped-def]
    if columns.size:
        _run(_unfold_blocks, x, columns, False, x, columns, (kh, kw, sh, sw, ph, pw, dh, dw))


@cuda.jit
def _unfold_cuda_flat(x, columns, h, w, oh, ow, kh, kw, sh, sw, ph, pw, dh, dw):  # type: ignore[no-untyped-def]
    """A thread for each element of the columns."""
    q = cuda.grid(1)
    if q < columns.size:
        j, i, row = q % ow, q // ow % oh, q // (ow * oh)
        r, s = i * sh + row // kw % kh * dh - ph, j * sw + row % kw * dw - pw
        inside = 0 <= r < h and 0 <= s < w
        columns[q] = x[(row // (kh * kw) * h + r) * w + s] if inside else x.dtype.type(0)


def _unfold_cuda(x, columns, kh, kw, sh, sw, ph, pw, dh, dw):  # type: ignore[no-untyped-def]
    if columns.size:
        _unfold_cuda_flat[launch.line(columns.size)](
            x.reshape(-1), columns.reshape(-1), *x.shape[2:], *columns.shape[2:], kh, kw, sh, sw, ph, pw, dh, dw
        )


unfold = Kernel("unfold", reference=unfold_reference, cpu=_unfold_cpu, cuda=_unfold_cuda)


# ---------------------------------------------------------------------------------------------------------- fold


def fold_reference(columns, x, kh, kw, sh, sw, ph, pw, dh, dw):  # type: ignore[no-untyped-def]
    n, c, h, w = x.shape
    blocks = columns.reshape(n, c, kh, kw, *columns.shape[2:])
    x[...] = 0
    for k, m, i, j in np.ndindex(*blocks.shape[2:]):
        r, s = i * sh + k * dh - ph, j * sw + m * dw - pw
        if 0 <= r < h and 0 <= s < w:
            x[:, :, r, s] += blocks[:, :, k, m, i, j]


@jit
def _fold_planes(stage, task, thread, columns, _, __, x, scratch, plan):  # type: ignore[no-untyped-def]
    """Some planes of images: each, in the caches, takes up the columns of one kernel element after the other."""
    planes, tasks, h, w, oh, ow = plan[0], plan[1], plan[2], plan[3], plan[4], plan[5]
    kh, kw, sh, sw, ph, pw, dh, dw = plan[6], plan[7], plan[8], plan[9], plan[10], plan[11], plan[12], plan[13]
    for plane in range(task * planes // tasks, (task + 1) * planes // tasks):
        for s in range(h * w):
            write(x, plane * h * w + s, x.dtype.type(0))
        for k in range(kh):
            down = ph - k * dh
            top = min(_first(down, sh), oh)
            bottom = max(min(_first(h + down, sh), oh), top)
            for m in range(kw):
                shift = pw - m * dw
                low = min(_first(shift, sw), ow)
                high = max(min(_first(w + shift, sw), ow), low)
                block = ((plane * kh + k) * kw + m) * oh
                for i in range(top, bottom):
                    to, at = (plane * h + i * sh - down) * w - shift, (block + i) * ow
                    if sw == 1:
                        for j in range(low, high):
                            write(x, to + j, reread(x, to + j) + read(columns, at + j))
                    else:
                        for j in range(low, high):
                            write(x, to + j * sw, reread(x, to + j * sw) + read(columns, at + j))


def _fold_cpu(columns, x, kh, kw, sh, sw, ph, pw, dh, dw):  # type: ignore[no-untyped-def]
    if x.size:
        _run(_fold_planes, columns, x, True, x, columns, (kh, kw, sh, sw, ph, pw, dh, dw))


@cuda.jit
def _fold_cuda_flat(columns, x, h, w, oh, ow, kh, kw, sh, sw, ph, pw, dh, dw):  # type: ignore[no-untyped-def]
    """A thread for each pixel asks every kernel element for the place that read it."""
    q = cuda.grid(1)
    if q < x.size:
        s, r, plane = q % w, q // w % h, q // (w * h)
        total = x.dtype.type(0)
        for k in range(kh):
            down = r + ph - k * dh
            if down >= 0 and down % sh == 0 and down // sh < oh:
                for m in range(kw):
                    across = s + pw - m * dw
                    if across >= 0 and across % sw == 0 and across // sw < ow:
                        total += columns[(((plane * kh + k) * kw + m) * oh + down // sh) * ow + across // sw]
        x[q] = total


def _fold_cuda(columns, x, kh, kw, sh, sw, ph, pw, dh, dw):  # type: ignore[no-untyped-def]
    if x.size:
        _fold_cuda_flat[launch.line(x.size)](
            columns.reshape(-1), x.reshape(-1), *x.shape[2:], *columns.shape[2:], kh, kw, sh, sw, ph, pw, dh, dw
        )


fold = Kernel("fold", reference=fold_reference, cpu=_fold_cpu, cuda=_fold_cuda)

_SIZES = ", ".join(["int64"] * 12)
CUDA_KERNELS = (
    (_unfold_cuda_flat, f"void(float32[::1], float32[::1], {_SIZES})"),
    (_fold_cuda_flat, f"void(float32[::1], float32[::1], {_SIZES})"),
)
