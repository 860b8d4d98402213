"""Resampling of images by tables: every pixel of the result is a weighted sum over some rows and some columns.

``resample(x, plan, weights, y)``: y[n, c, i, j] = sum over row taps r of i, column taps s of j of a_r b_s x[n, c, r, s].

Arrays are C-contiguous: x (N, C, H, W) and y (N, C, OH, OW) of one floating dtype, float32 or float64; y is overwritten, the
caller allocates it. Nearest, linear and cubic interpolation, with or without antialiasing, are tables; so are their gradients,
which are the same sums with the tables turned round (each input pixel gathers from the outputs that it went into): no two
threads ever write to one pixel, and the order of every sum is fixed.

``plan``: int64: KR, KC, span, paired, then per row i < OH its number of taps (at most KR), the KR x OH table of their row numbers, per
column j < OW its number of taps, the KC x OW table of their column numbers. ``weights`` (x's dtype): KR x OH, then KC x OW.
Tables lie tap after tap (tap k of row i at k * OH + i). The taps of a row are in rising order and spread over at most
``span`` rows, and neither the first nor the last falls from one row to the next; likewise for columns. KC is 1, 2 or a
multiple of 4; ``paired`` is 1 if KC is 2 and column j has the taps 2 j and 2 j + 1, else 0. Column taps beyond the number have the column number W and the weight 0. A pixel without taps is 0.

Sums are kept in the arrays' dtype: first along one axis, then along the other, whichever costs less. NaN and infinities of x
go where they have a tap, also one of weight 0 (as 0 * NaN).
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from numbanet.devices import cuda, empty
from numbanet.kernels import launch
from numbanet.kernels.index import read, reread, write
from numbanet.kernels.kernel import Kernel, jit
from numbanet.kernels.parallel import run_stages


def resample_reference(x: np.ndarray, plan: np.ndarray, weights: np.ndarray, y: np.ndarray) -> None:
    (kr, kc), (h, w), (oh, ow) = plan[:2], x.shape[2:], y.shape[2:]
    matrices, at, weight = [], 4, 0
    for taps, outputs, inputs in ((kr, oh, h), (kc, ow, w)):
        matrix = np.zeros((outputs, inputs))
        for i in range(outputs):
            for k in range(plan[at + i]):
                matrix[i, plan[at + outputs + k * outputs + i]] += weights[weight + k * outputs + i]
        matrices.append(matrix)
        at += outputs * (1 + taps)
        weight += taps * outputs
    y[...] = matrices[0] @ x.astype(np.float64) @ matrices[1].T


@jit
def _along_columns_cpu(source, at, plan, index, weights, weight, taps, paired, n, target, to):  # type: ignore[no-untyped-def]
    """target[to + j] = the sum over the column taps of j, of the row at source[at:] that a 0 follows.

    Vectors along j, with gathers, 4 taps at a time; pairs of neighbours need no gathers.
    """
    if taps == 1:
        for j in range(n):
            write(target, to + j, read(weights, weight + j) * read(source, at + read(plan, index + j)))
    elif paired != 0:
        for j in range(n):
            total = read(weights, weight + j) * read(source, at + 2 * j)
            write(target, to + j, total + read(weights, weight + n + j) * read(source, at + 2 * j + 1))
    elif taps == 2:
        for j in range(n):
            total = read(weights, weight + j) * read(source, at + read(plan, index + j))
            total += read(weights, weight + n + j) * read(source, at + read(plan, index + n + j))
            write(target, to + j, total)
    else:
        for k in range(0, taps, 4):
            i, v = index + k * n, weight + k * n
            for j in range(n):
                total = read(weights, v + j) * read(source, at + read(plan, i + j))
                total += read(weights, v + n + j) * read(source, at + read(plan, i + n + j))
                total += read(weights, v + 2 * n + j) * read(source, at + read(plan, i + 2 * n + j))
                total += read(weights, v + 3 * n + j) * read(source, at + read(plan, i + 3 * n + j))
                write(target, to + j, total if k == 0 else total + reread(target, to + j))


@jit
def _along_rows_cpu(source, at, step, ring, plan, index, weights, weight, taps, outputs, n, out):  # type: ignore[no-untyped-def]
    """out[j] = the sum over ``taps`` row taps of source[at + (row % ring) * step + j]."""
    if taps == 0:
        out[:] = 0
    k = 0
    while k < taps:
        a = at + plan[index + k * outputs] % ring * step
        wa = weights[weight + k * outputs]
        if taps - k == 1:
            if k == 0:
                for j in range(n):
                    out[j] = wa * reread(source, a + j)
            else:
                for j in range(n):
                    out[j] += wa * reread(source, a + j)
            k += 1
            continue
        b = at + plan[index + (k + 1) * outputs] % ring * step
        wb = weights[weight + (k + 1) * outputs]
        if taps - k < 4:
            if k == 0:
                for j in range(n):
                    out[j] = wa * reread(source, a + j) + wb * reread(source, b + j)
            else:
                for j in range(n):
                    out[j] += wa * reread(source, a + j) + wb * reread(source, b + j)
            k += 2
            continue
        c = at + plan[index + (k + 2) * outputs] % ring * step
        wc = weights[weight + (k + 2) * outputs]
        d = at + plan[index + (k + 3) * outputs] % ring * step
        wd = weights[weight + (k + 3) * outputs]
        if k == 0:
            for j in range(n):
                total = wa * reread(source, a + j) + wb * reread(source, b + j)
                out[j] = total + (wc * reread(source, c + j) + wd * reread(source, d + j))
        else:
            for j in range(n):
                total = wa * reread(source, a + j) + wb * reread(source, b + j)
                out[j] += total + (wc * reread(source, c + j) + wd * reread(source, d + j))
        k += 4


@jit
def _resample_task(stage, task, thread, x, weights, y, _, scratch, plan):  # type: ignore[no-untyped-def]
    """A band of rows of one plane.

    Columns first: each row of x is resampled along its columns once, into a ring of ``span`` rows, and rows of the result
    are sums of those. Rows first: each row of the result is a sum of rows of x, resampled along its columns.
    """
    h, w, oh, ow, bands, rows_first = plan[0], plan[1], plan[2], plan[3], plan[4], plan[5]
    size, kr, kc, span, paired = plan[6], plan[7], plan[8], plan[9], plan[10]
    rows = 11
    row_index = rows + oh
    column_index = row_index + kr * oh + ow
    plane, band = task // bands, task % bands
    x0, y0, row = plane * h * w, plane * oh * ow, thread * size
    ring = row + w + 1
    line = scratch[row : row + w]
    scratch[row + w] = 0
    done = 0
    for i in range(band * oh // bands, (band + 1) * oh // bands):
        taps, index = plan[rows + i], row_index + i
        if rows_first != 0:
            _along_rows_cpu(x, x0, w, h, plan, index, weights, i, taps, oh, w, line)
            _along_columns_cpu(scratch, row, plan, column_index, weights, kr * oh, kc, paired, ow, y, y0 + i * ow)
        else:
            if taps > 0:
                for r in range(max(done, plan[index]), plan[index + (taps - 1) * oh] + 1):
                    source = x[x0 + r * w : x0 + r * w + w]
                    for j in range(w):
                        line[j] = source[j]
                    to = ring + r % span * ow
                    _along_columns_cpu(scratch, row, plan, column_index, weights, kr * oh, kc, paired, ow, scratch, to)
                    done = r + 1
            out = y[y0 + i * ow : y0 + i * ow + ow]
            _along_rows_cpu(scratch, ring, ow, span, plan, index, weights, i, taps, oh, ow, out)


def _resample_cpu(x: np.ndarray, plan: np.ndarray, weights: np.ndarray, y: np.ndarray) -> None:
    (n, c, h, w), (oh, ow) = x.shape, y.shape[2:]
    planes, kr, kc, span = n * c, int(plan[0]), int(plan[1]), int(plan[2])
    # A gather costs some four times a tap that is read along the row.
    rows_first = oh * (kr * w + 4 * kc * ow) < 4 * min(h, oh * kr) * kc * ow + oh * kr * ow
    bands = max(1, min(oh // 8, -(-32 // planes)))
    size = -(-(w + 1 + (0 if rows_first else span * ow)) // 16) * 16
    header = np.array((h, w, oh, ow, bands, rows_first, size), np.int64)
    scratch = empty((numba.config.NUMBA_NUM_THREADS * size,), x.dtype)
    y = y.reshape(-1)
    run_stages(
        _resample_task, (planes * bands, 0), x.reshape(-1), weights, y, y, scratch, np.concatenate((header, plan))
    )


@cuda.jit
def _resample_cuda_kernel(x, plan, weights, y, h, w, oh, ow):  # type: ignore[no-untyped-def]
    o = cuda.grid(1)
    if o < y.size:
        plane = o // (oh * ow) * h * w
        i, j = o // ow % oh, o % ow
        kr = plan[0]
        rows = 4 + oh
        columns = rows + kr * oh + ow
        total = y.dtype.type(0)
        for k in range(plan[4 + i]):
            at = plane + plan[rows + k * oh + i] * w
            part = y.dtype.type(0)
            for m in range(plan[columns - ow + j]):
                part += weights[kr * oh + m * ow + j] * x[at + plan[columns + m * ow + j]]
            total += weights[k * oh + i] * part
        y[o] = total


def _resample_cuda(x: Any, plan: Any, weights: Any, y: Any) -> None:
    _resample_cuda_kernel[launch.line(y.size)](
        x.reshape(x.size), plan, weights, y.reshape(y.size), *x.shape[2:], *y.shape[2:]
    )


resample = Kernel("resample", reference=resample_reference, cpu=_resample_cpu, cuda=_resample_cuda)

CUDA_KERNELS = (
    (_resample_cuda_kernel, "void(float32[::1], int64[::1], float32[::1], float32[::1], int64, int64, int64, int64)"),
)
