"""Euclidean norms, distances and angles of vectors, and the distances of all pairs.

Contract::

    distance_forward(a, b, out, eps)                  out[i] = |a[i] - b[i] + eps|
    distance_backward(a, b, out, dout, da, db, eps)   da[i] = dout[i] * (a[i] - b[i] + eps) / out[i]; db is -da
    cosine_forward(a, b, out, norms, eps)             norms = (|a[i]|, |b[i]|), out[i] = a[i].b[i] / (A B)
                                                      with A = max(|a[i]|, eps), B = max(|b[i]|, eps)
    cosine_backward(a, b, out, norms, dout, da, db, eps)
        da[i] = dout[i] / A * (b[i] / B - out[i] * a[i] / |a[i]|), db[i] likewise
    normalize_forward(x, y, norms, eps)               norms[o, j] = |x[o, :, j]|, y = x / max(norms, eps)
    normalize_backward(dy, y, norms, dx, eps)         dx = (dy - y (dy.y)) / norms, dy / eps below eps

    cdist_finish(a, b, out)                           out[k, p, r] holds a[k, p].b[k, r], and becomes |a[k, p] - b[k, r]|,
                                                      the root of |a|^2 + |b|^2 - 2 a.b (0 where rounding makes it negative)
    cdist_slopes(dout, out, slopes, rows, columns)    slopes = dout / out (0 where out is 0), rows[k, p] and columns[k, r]
                                                      their sums over r and over p
    cdist_combine(x, sums, dx)                        dx[i] = sums[i] * x[i] - dx[i]

    cdist_norm(a, b, out, p)                          out[k, i, j] = (sum of |a[k, i] - b[k, j]|^p)^(1/p), p > 0 or infinite
    cdist_norm_backward(dout, out, a, b, da, p, across)
        da[k, i] = sum over j of dout[k, i, j] * the derivative of out[k, i, j] with respect to a[k, i]; ``across``: dout and
        out are (K, R, P), and out[k, j, i] is meant. For db, a and b change places. A distance, or an element of a
        difference, of 0 adds nothing; elements that share the largest magnitude get the whole gradient each (p infinite).

a, b and the gradients of these are (N, D), out and dout (N,), norms (2, N) for cosine; da or db (0, 0): not wanted. x, y
and dy of normalize are (outer, n, inner), norms (outer, inner). For cdist a is (K, P, M), b (K, R, M), out, dout and slopes
(K, P, R), rows (K, P), columns (K, R); x and dx of cdist_combine are (N, M), sums (N,). One float dtype per call. The caller
allocates outputs; but for out of cdist_finish and dx of cdist_combine, they are overwritten. A row of norm or distance 0
adds nothing to a gradient by way of its norm. eps is positive for cosine and normalize. NaN makes its row NaN.

Sums run in the arrays' dtype, on the CPU for BLOCK elements, and go on in float64; on CUDA they are compensated. Each
belongs to one thread, or is cut by shape alone.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from numbanet.devices import cuda, device_of, empty
from numbanet.kernels import launch, reduction
from numbanet.kernels.index import exp_, key_value, log_, read, read_at, reread, rising_key, write
from numbanet.kernels.kernel import Kernel, jit
from numbanet.kernels.parallel import run_stages

BLOCK = 512  # elements that are summed in vector lanes before the float64 total takes them over
TASK = 1 << 15  # elements of one task: fewer are not worth a thread that must wake
ROWS = 64  # vectors whose slopes are added up in the arrays' dtype
COLUMNS = 256  # columns that stand side by side where vectors do not lie along the last axis

_NOTHING = {np.dtype(kind): np.empty(0, kind) for kind in (np.float32, np.float64)}


@jit
def _dot(a, b, start, end):  # type: ignore[no-untyped-def]
    """The sum of a[i] * b[i] for start <= i < end."""
    total = 0.0
    for first in range(start, end, BLOCK):
        part = a.dtype.type(0)
        for i in range(first, min(first + BLOCK, end)):
            part += read(a, i) * read(b, i)
        total += np.float64(part)
    return total


@jit
def _dots_of_columns(a, b, start, n, stride, width, totals, parts):  # type: ignore[no-untyped-def]
    """totals[j] = the sum of a[k] * b[k] for k = start + j + i * stride, i < n; ``parts`` is scratch, (width,)."""
    totals[:] = 0
    for first in range(0, n, BLOCK):
        parts[:] = 0
        for i in range(first, min(first + BLOCK, n)):
            at = start + i * stride
            for j in range(width):
                write(parts, j, reread(parts, j) + read(a, at + j) * read(b, at + j))
        for j in range(width):
            totals[j] += np.float64(parts[j])


def _run_rows(body: Any, a: Any, b: Any, c: Any, d: Any, numbers: Any, rows: int, n: int) -> None:
    """``run_stages`` of a body that takes ``each`` rows of n elements, with the plan (rows, n, each)."""
    each = max(1, TASK // max(n, 1))
    plan = np.array((rows, n, each), np.int64)
    run_stages(body, (-(-rows // each), 0), a, b, c, d, numbers, plan)


# On CUDA a sum over n elements of each row is spread over some threads, as ``reduction`` does it, whose sums are added.


@cuda.jit
def _dots_cuda_lanes(a, b, out, n, inner, lanes):  # type: ignore[no-untyped-def]
    """A thread for each (outer, lane, inner): the sum of a * b over the lane's elements, compensated."""
    place = cuda.grid(1)
    if place < out.size:
        stride = lanes * inner
        o = place // stride
        start = o * n * inner
        total = out.dtype.type(0)
        lost = out.dtype.type(0)
        for i in range(place - o * stride, n * inner, stride):
            value = a[start + i] * b[start + i] - lost
            larger = total + value
            lost = (larger - total) - value
            if lost != lost:  # infinity - infinity: nothing to compensate any more
                lost = out.dtype.type(0)
            total = larger
        out[place] = total


@cuda.jit
def _squares_cuda_lanes(a, b, out, n, lanes, eps):  # type: ignore[no-untyped-def]
    """A thread for each (row, lane): the sum of (a - b + eps)^2 over the lane's elements, compensated."""
    place = cuda.grid(1)
    if place < out.size:
        row = place // lanes
        total = out.dtype.type(0)
        lost = out.dtype.type(0)
        for i in range(row * n + place - row * lanes, row * n + n, lanes):
            value = a[i] - b[i] + eps
            value = value * value - lost
            larger = total + value
            lost = (larger - total) - value
            if lost != lost:
                lost = out.dtype.type(0)
            total = larger
        out[place] = total


@cuda.jit
def _root_cuda_flat(x):  # type: ignore[no-untyped-def]
    i = cuda.grid(1)
    if i < x.size:
        x[i] = math.sqrt(x[i])


def _dots_on_cuda(a: Any, b: Any, out: Any, outer: int, n: int, inner: int) -> None:
    """out[o, j] = the sum over i of a[o, i, j] * b[o, i, j], of flat arrays."""
    lanes = reduction.cuda_lanes(outer, n, inner)
    partial = out if lanes == 1 else empty((outer * lanes * inner,), a.dtype, device_of(a))
    _dots_cuda_lanes[launch.line(partial.size)](a, b, partial, n, inner, lanes)
    if lanes > 1:
        reduction.sum_(partial.reshape(outer, lanes, inner), out.reshape(outer, inner))


# ------------------------------------------------------------------------------------------------------ distance


def distance_forward_reference(a, b, out, eps):  # type: ignore[no-untyped-def]
    out[...] = np.sqrt(((a.astype(np.float64) - b + eps) ** 2).sum(axis=1))


@jit
def _distance_forward_rows(stage, task, thread, a, b, out, d, numbers, plan):  # type: ignore[no-untyped-def]
    number = a.dtype.type
    rows, n, shift = plan[0], plan[1], numbers[0]
    for row in range(task * plan[2], min(task * plan[2] + plan[2], rows)):
        start = row * n
        total = 0.0
        for first in range(start, start + n, BLOCK):
            part = number(0)
            for i in range(first, min(first + BLOCK, start + n)):
                difference = read(a, i) - read(b, i) + shift
                part += difference * difference
            total += np.float64(part)
        out[row] = math.sqrt(total)


def _distance_forward_cpu(a: Any, b: Any, out: Any, eps: float) -> None:
    numbers = np.array((eps,), a.dtype)
    _run_rows(_distance_forward_rows, a.reshape(-1), b.reshape(-1), out, _NOTHING[a.dtype], numbers, *a.shape)


def _distance_forward_cuda(a: Any, b: Any, out: Any, eps: float) -> None:
    rows, n = a.shape
    if rows:
        lanes = reduction.cuda_lanes(rows, n, 1)
        partial = out if lanes == 1 else empty((rows * lanes,), a.dtype, device_of(a))
        flat = a.reshape(a.size), b.reshape(b.size)
        _squares_cuda_lanes[launch.line(partial.size)](*flat, partial, n, lanes, np.dtype(a.dtype).type(eps))
        if lanes > 1:
            reduction.sum_(partial.reshape(rows, lanes, 1), out.reshape(rows, 1))
        _root_cuda_flat[launch.line(rows)](out)


distance_forward = Kernel(
    "distance_forward", reference=distance_forward_reference, cpu=_distance_forward_cpu, cuda=_distance_forward_cuda
)


def distance_backward_reference(a, b, out, dout, da, db, eps):  # type: ignore[no-untyped-def]
    slope = np.where(out == 0, 0, dout / np.where(out == 0, 1, out))[:, None] * (a.astype(np.float64) - b + eps)
    if da.size:
        da[...] = slope
    if db.size:
        db[...] = -slope


@jit
def _distance_backward_rows(stage, task, thread, a, b, da, db, numbers, plan):  # type: ignore[no-untyped-def]
    """numbers: eps, out (N), dout (N)."""
    rows, n, shift = plan[0], plan[1], numbers[0]
    for row in range(task * plan[2], min(task * plan[2] + plan[2], rows)):
        length = numbers[1 + row]
        factor = a.dtype.type(0) if length == 0 else numbers[1 + rows + row] / length
        if db.size == 0:
            for i in range(row * n, row * n + n):
                write(da, i, factor * (read(a, i) - read(b, i) + shift))
        elif da.size == 0:
            for i in range(row * n, row * n + n):
                write(db, i, -factor * (read(a, i) - read(b, i) + shift))
        else:
            for i in range(row * n, row * n + n):
                slope = factor * (read(a, i) - read(b, i) + shift)
                write(da, i, slope)
                write(db, i, -slope)


def _distance_backward_cpu(a: Any, b: Any, out: Any, dout: Any, da: Any, db: Any, eps: float) -> None:
    numbers = np.empty(1 + 2 * out.size, a.dtype)
    numbers[0], numbers[1 : 1 + out.size], numbers[1 + out.size :] = eps, out, dout
    flat = [array.reshape(-1) for array in (a, b, da, db)]
    if da.size or db.size:
        _run_rows(_distance_backward_rows, *[*flat, numbers, *a.shape])


@cuda.jit
def _distance_backward_cuda_flat(a, b, out, dout, da, db, n, eps):  # type: ignore[no-untyped-def]
    i = cuda.grid(1)
    if i < a.size:
        length = out[i // n]
        slope = a.dtype.type(0)
        if length != slope:
            slope = dout[i // n] / length * (a[i] - b[i] + eps)
        if da.size > 0:
            da[i] = slope
        if db.size > 0:
            db[i] = -slope


def _distance_backward_cuda(a: Any, b: Any, out: Any, dout: Any, da: Any, db: Any, eps: float) -> None:
    flat = [array.reshape(array.size) for array in (a, b, out, dout, da, db)]
    _distance_backward_cuda_flat[launch.line(a.size)](*flat, a.shape[1], np.dtype(a.dtype).type(eps))


distance_backward = Kernel(
    "distance_backward", reference=distance_backward_reference, cpu=_distance_backward_cpu, cuda=_distance_backward_cuda
)


# -------------------------------------------------------------------------------------------------------- cosine


def cosine_forward_reference(a, b, out, norms, eps):  # type: ignore[no-untyped-def]
    a, b = a.astype(np.float64), b.astype(np.float64)
    norms[0], norms[1] = np.sqrt((a * a).sum(axis=1)), np.sqrt((b * b).sum(axis=1))
    out[...] = (a * b).sum(axis=1) / (np.maximum(norms[0], eps) * np.maximum(norms[1], eps))


@jit
def _cosine_forward_rows(stage, task, thread, a, b, out, norms, numbers, plan):  # type: ignore[no-untyped-def]
    rows, n, eps = plan[0], plan[1], np.float64(numbers[0])
    for row in range(task * plan[2], min(task * plan[2] + plan[2], rows)):
        start, end = row * n, row * n + n
        one, two = math.sqrt(_dot(a, a, start, end)), math.sqrt(_dot(b, b, start, end))
        norms[row] = one
        norms[rows + row] = two
        # NaN is not less than eps, and goes on
        out[row] = _dot(a, b, start, end) / ((eps if one < eps else one) * (eps if two < eps else two))


def _cosine_forward_cpu(a: Any, b: Any, out: Any, norms: Any, eps: float) -> None:
    numbers = np.array((eps,), a.dtype)
    _run_rows(_cosine_forward_rows, a.reshape(-1), b.reshape(-1), out, norms.reshape(-1), numbers, *a.shape)


@cuda.jit
def _cosine_cuda_flat(products, out, norms, eps):  # type: ignore[no-untyped-def]
    """``products``: a.a, b.b and a.b of each row."""
    i = cuda.grid(1)
    n = out.size
    if i < n:
        one, two = math.sqrt(products[i]), math.sqrt(products[n + i])
        norms[i] = one
        norms[n + i] = two
        if one < eps:
            one = eps
        if two < eps:
            two = eps
        out[i] = products[2 * n + i] / (one * two)


def _cosine_forward_cuda(a: Any, b: Any, out: Any, norms: Any, eps: float) -> None:
    rows, n = a.shape
    if rows:
        one, two = a.reshape(a.size), b.reshape(b.size)
        products = empty((3 * rows,), a.dtype, device_of(a))
        for i, (x, y) in enumerate(((one, one), (two, two), (one, two))):
            _dots_on_cuda(x, y, products[i * rows : (i + 1) * rows], rows, n, 1)
        number = np.dtype(a.dtype).type
        _cosine_cuda_flat[launch.line(rows)](products, out, norms.reshape(2 * rows), number(eps))


cosine_forward = Kernel(
    "cosine_forward", reference=cosine_forward_reference, cpu=_cosine_forward_cpu, cuda=_cosine_forward_cuda
)


def cosine_backward_reference(a, b, out, norms, dout, da, db, eps):  # type: ignore[no-untyped-def]
    a, b = a.astype(np.float64), b.astype(np.float64)
    one, two = norms.astype(np.float64)[:, :, None]
    large, wide = np.maximum(one, eps), np.maximum(two, eps)
    cosine, dout = out[:, None], dout[:, None]
    da[...] = dout / large * (b / wide - np.where(one == 0, 0, cosine * a / np.where(one == 0, 1, one)))
    db[...] = dout / wide * (a / large - np.where(two == 0, 0, cosine * b / np.where(two == 0, 1, two)))


@jit
def _cosine_backward_rows(stage, task, thread, a, b, da, db, numbers, plan):  # type: ignore[no-untyped-def]
    """numbers: eps, out (N), norms (2 N), dout (N)."""
    number = a.dtype.type
    rows, n, eps = plan[0], plan[1], np.float64(numbers[0])
    for row in range(task * plan[2], min(task * plan[2] + plan[2], rows)):
        cosine, slope = np.float64(numbers[1 + row]), np.float64(numbers[1 + 3 * rows + row])
        one, two = np.float64(numbers[1 + rows + row]), np.float64(numbers[1 + 2 * rows + row])
        large, wide = eps if one < eps else one, eps if two < eps else two
        across = number(slope / (large * wide))
        along_a = number(0.0 if one == 0 else slope * cosine / (large * one))
        along_b = number(0.0 if two == 0 else slope * cosine / (wide * two))
        for i in range(row * n, row * n + n):
            x, y = read(a, i), read(b, i)
            write(da, i, across * y - along_a * x)
            write(db, i, across * x - along_b * y)


def _cosine_backward_cpu(a: Any, b: Any, out: Any, norms: Any, dout: Any, da: Any, db: Any, eps: float) -> None:
    n = out.size
    numbers = np.empty(1 + 4 * n, a.dtype)
    numbers[0], numbers[1 : 1 + n], numbers[1 + n : 1 + 3 * n] = eps, out, norms.reshape(-1)
    numbers[1 + 3 * n :] = dout
    flat = [array.reshape(-1) for array in (a, b, da, db)]
    _run_rows(_cosine_backward_rows, *[*flat, numbers, *a.shape])


@cuda.jit
def _cosine_backward_cuda_flat(a, b, out, norms, dout, da, db, n, eps):  # type: ignore[no-untyped-def]
    i = cuda.grid(1)
    if i < a.size:
        row = i // n
        zero = a.dtype.type(0)
        one, two, slope = norms[row], norms[out.size + row], dout[row]
        large, wide = one, two
        if one < eps:
            large = eps
        if two < eps:
            wide = eps
        x, y = a[i], b[i]
        # Quotients one after the other: a product of two small norms would underflow.
        da[i] = slope / large * (y / wide - (out[row] * (x / one) if one != zero else zero))
        db[i] = slope / wide * (x / large - (out[row] * (y / two) if two != zero else zero))


def _cosine_backward_cuda(a: Any, b: Any, out: Any, norms: Any, dout: Any, da: Any, db: Any, eps: float) -> None:
    flat = [array.reshape(array.size) for array in (a, b, out, norms, dout, da, db)]
    _cosine_backward_cuda_flat[launch.line(a.size)](*flat, a.shape[1], np.dtype(a.dtype).type(eps))


cosine_backward = Kernel(
    "cosine_backward", reference=cosine_backward_reference, cpu=_cosine_backward_cpu, cuda=_cosine_backward_cuda
)


# ----------------------------------------------------------------------------------------------------- normalize


def normalize_forward_reference(x, y, norms, eps):  # type: ignore[no-untyped-def]
    norms[...] = np.sqrt((x.astype(np.float64) ** 2).sum(axis=1))
    y[...] = x / np.maximum(norms, eps)[:, None]


def _run_columns(body: Any, a: Any, b: Any, c: Any, d: Any, numbers: Any) -> None:
    """``run_stages`` of a body that takes ``each`` pieces of ``a`` (outer, n, inner): rows, or COLUMNS columns."""
    outer, n, inner = a.shape
    pieces = outer * -(-inner // COLUMNS)
    each = max(1, TASK // max(n * min(inner, COLUMNS), 1))
    plan = np.array((outer, n, inner, each), np.int64)
    flat = [array.reshape(-1) for array in (a, b, c, d)]
    if pieces:
        run_stages(body, (-(-pieces // each), 0), *[*flat, numbers, plan])


@jit
def _normalize_forward_task(stage, task, thread, x, y, norms, d, numbers, plan):  # type: ignore[no-untyped-def]
    number = x.dtype.type
    outer, n, inner, each, eps = plan[0], plan[1], plan[2], plan[3], np.float64(numbers[0])
    if inner == 1:
        for row in range(task * each, min(task * each + each, outer)):
            norm = math.sqrt(_dot(x, x, row * n, row * n + n))
            norms[row] = norm
            factor = number(1 / (eps if norm < eps else norm))
            for i in range(row * n, row * n + n):
                write(y, i, read(x, i) * factor)
        return
    blocks = (inner + COLUMNS - 1) // COLUMNS
    totals, parts = np.empty(COLUMNS), np.empty(COLUMNS, x.dtype)
    for piece in range(task * each, min(task * each + each, outer * blocks)):
        o, first = piece // blocks, piece % blocks * COLUMNS
        width = min(COLUMNS, inner - first)
        start = o * n * inner + first
        _dots_of_columns(x, x, start, n, inner, width, totals, parts)
        for j in range(width):
            norm = math.sqrt(totals[j])
            norms[o * inner + first + j] = norm
            parts[j] = 1 / (eps if norm < eps else norm)
        for i in range(n):
            at = start + i * inner
            for j in range(width):
                write(y, at + j, read(x, at + j) * reread(parts, j))


def _normalize_forward_cpu(x: Any, y: Any, norms: Any, eps: float) -> None:
    _run_columns(_normalize_forward_task, x, y, norms, _NOTHING[x.dtype], np.array((eps,), x.dtype))


@cuda.jit
def _normalize_forward_cuda_flat(x, y, norms, n, inner, eps):  # type: ignore[no-untyped-def]
    i = cuda.grid(1)
    if i < x.size:
        norm = norms[i // (n * inner) * inner + i % inner]
        if norm < eps:
            norm = eps
        y[i] = x[i] / norm


def _normalize_forward_cuda(x: Any, y: Any, norms: Any, eps: float) -> None:
    _, n, inner = x.shape
    if norms.size:
        reduction.sum_squares(x, norms)
        _root_cuda_flat[launch.line(norms.size)](norms.reshape(norms.size))
        flat = x.reshape(x.size), y.reshape(x.size), norms.reshape(norms.size)
        _normalize_forward_cuda_flat[launch.line(x.size)](*flat, n, inner, np.dtype(x.dtype).type(eps))


normalize_forward = Kernel(
    "normalize_forward", reference=normalize_forward_reference, cpu=_normalize_forward_cpu, cuda=_normalize_forward_cuda
)


def normalize_backward_reference(dy, y, norms, dx, eps):  # type: ignore[no-untyped-def]
    along = (dy.astype(np.float64) * y).sum(axis=1) * (norms >= eps)
    dx[...] = (dy - y * along[:, None]) / np.maximum(norms, eps)[:, None]


@jit
def _normalize_backward_task(stage, task, thread, dy, y, norms, dx, numbers, plan):  # type: ignore[no-untyped-def]
    number = y.dtype.type
    outer, n, inner, each, eps = plan[0], plan[1], plan[2], plan[3], np.float64(numbers[0])
    if inner == 1:
        for row in range(task * each, min(task * each + each, outer)):
            norm = np.float64(norms[row])
            along = number(0.0 if norm < eps else _dot(dy, y, row * n, row * n + n))
            factor = number(1 / (eps if norm < eps else norm))
            for i in range(row * n, row * n + n):
                write(dx, i, (read(dy, i) - read(y, i) * along) * factor)
        return
    blocks = (inner + COLUMNS - 1) // COLUMNS
    totals, parts, factors = np.empty(COLUMNS), np.empty(COLUMNS, y.dtype), np.empty(COLUMNS, y.dtype)
    for piece in range(task * each, min(task * each + each, outer * blocks)):
        o, first = piece // blocks, piece % blocks * COLUMNS
        width = min(COLUMNS, inner - first)
        start = o * n * inner + first
        _dots_of_columns(dy, y, start, n, inner, width, totals, parts)
        for j in range(width):
            norm = np.float64(norms[o * inner + first + j])
            parts[j] = 0.0 if norm < eps else totals[j]
            factors[j] = 1 / (eps if norm < eps else norm)
        for i in range(n):
            at = start + i * inner
            for j in range(width):
                write(dx, at + j, (read(dy, at + j) - read(y, at + j) * reread(parts, j)) * reread(factors, j))


def _normalize_backward_cpu(dy: Any, y: Any, norms: Any, dx: Any, eps: float) -> None:
    _run_columns(_normalize_backward_task, dy, y, norms, dx, np.array((eps,), y.dtype))


@cuda.jit
def _normalize_backward_cuda_flat(dy, y, norms, along, dx, n, inner, eps):  # type: ignore[no-untyped-def]
    i = cuda.grid(1)
    if i < y.size:
        at = i // (n * inner) * inner + i % inner
        norm = norms[at]
        if norm < eps:
            dx[i] = dy[i] / eps
        else:
            dx[i] = (dy[i] - y[i] * along[at]) / norm


def _normalize_backward_cuda(dy: Any, y: Any, norms: Any, dx: Any, eps: float) -> None:
    outer, n, inner = y.shape
    if norms.size:
        along = empty((norms.size,), y.dtype, device_of(y))
        gradient, result = dy.reshape(y.size), y.reshape(y.size)
        _dots_on_cuda(gradient, result, along, outer, n, inner)
        _normalize_backward_cuda_flat[launch.line(y.size)](
            gradient,
            result,
            norms.reshape(norms.size),
            along,
            dx.reshape(y.size),
            n,
            inner,
            np.dtype(y.dtype).type(eps),
        )


normalize_backward = Kernel(
    "normalize_backward",
    reference=normalize_backward_reference,
    cpu=_normalize_backward_cpu,
    cuda=_normalize_backward_cuda,
)


# --------------------------------------------------------------------------------------- the distances of all pairs


def cdist_finish_reference(a, b, out):  # type: ignore[no-untyped-def]
    one, two = [(x.astype(np.float64) ** 2).sum(axis=2) for x in (a, b)]
    out[...] = np.sqrt(np.maximum(one[:, :, None] + two[:, None] - 2 * out.astype(np.float64), 0))


@jit
def _cdist_finish_task(stage, task, thread, a, b, out, d, squares, plan):  # type: ignore[no-untyped-def]
    """squares: |a|^2 (K P), |b|^2 (K R), which the first stage makes."""
    number = a.dtype.type
    batch, p, r, m, each = plan[0], plan[1], plan[2], plan[3], plan[4]
    if stage == 0:
        for row in range(task * each, min(task * each + each, batch * (p + r))):
            if row < batch * p:
                squares[row] = _dot(a, a, row * m, row * m + m)
            else:
                start = (row - batch * p) * m
                squares[row] = _dot(b, b, start, start + m)
        return
    each = plan[5]
    for row in range(task * each, min(task * each + each, batch * p)):
        mine, theirs = squares[row], batch * p + row // p * r
        at = row * r
        for j in range(r):
            value = mine + read(squares, theirs + j) - number(2) * read(out, at + j)
            write(out, at + j, math.sqrt(number(0) if value < number(0) else value))


def _cdist_finish_cpu(a: Any, b: Any, out: Any) -> None:
    batch, p, m = a.shape
    r = b.shape[1]
    each, some = max(1, TASK // max(m, 1)), max(1, TASK // max(r, 1))
    plan = np.array((batch, p, r, m, each, some), np.int64)
    squares = empty((batch * (p + r),), a.dtype)
    tasks = -(-squares.size // each), -(-batch * p // some)
    flat = [array.reshape(-1) for array in (a, b, out)]
    if out.size:
        run_stages(_cdist_finish_task, tasks, *[*flat, _NOTHING[a.dtype], squares, plan])


@cuda.jit
def _cdist_finish_cuda_flat(one, two, out, p, r):  # type: ignore[no-untyped-def]
    i = cuda.grid(1)
    if i < out.size:
        zero, double = out.dtype.type(0), out.dtype.type(2)
        row = i // r
        value = one[row] + two[row // p * r + i - row * r] - double * out[i]
        if value < zero:
            value = zero
        out[i] = math.sqrt(value)


def _cdist_finish_cuda(a: Any, b: Any, out: Any) -> None:
    if out.size:
        squares = []
        for x in (a, b):
            rows, m = x.shape[0] * x.shape[1], x.shape[2]
            made = empty((rows,), x.dtype, device_of(x))
            reduction.sum_squares(x.reshape(rows, m, 1), made.reshape(rows, 1))
            squares.append(made)
        _cdist_finish_cuda_flat[launch.line(out.size)](*squares, out.reshape(out.size), a.shape[1], b.shape[1])


cdist_finish = Kernel("cdist_finish", reference=cdist_finish_reference, cpu=_cdist_finish_cpu, cuda=_cdist_finish_cuda)


def cdist_slopes_reference(dout, out, slopes, rows, columns):  # type: ignore[no-untyped-def]
    exact = np.where(out == 0, 0, dout / np.where(out == 0, 1, out.astype(np.float64)))
    slopes[...], rows[...], columns[...] = exact, exact.sum(axis=2), exact.sum(axis=1)


@jit
def _cdist_slopes_task(stage, task, thread, dout, out, slopes, sums, numbers, plan):  # type: ignore[no-untyped-def]
    """sums: rows (K P), columns (K R)."""
    number = out.dtype.type
    batch, p, r, each = plan[0], plan[1], plan[2], plan[3]
    if stage == 0:
        for row in range(task * each, min(task * each + each, batch * p)):
            total = 0.0
            for first in range(row * r, row * r + r, BLOCK):
                part = number(0)
                for i in range(first, min(first + BLOCK, row * r + r)):
                    length = read(out, i)
                    slope = number(0) if length == number(0) else read(dout, i) / length
                    part += slope
                    write(slopes, i, slope)
                total += np.float64(part)
            sums[row] = total
        return
    blocks = (r + COLUMNS - 1) // COLUMNS
    parts, totals = np.empty(COLUMNS, out.dtype), np.empty(COLUMNS)
    each = plan[4]
    for piece in range(task * each, min(task * each + each, batch * blocks)):
        k, first = piece // blocks, piece % blocks * COLUMNS
        width = min(COLUMNS, r - first)
        totals[:] = 0
        for begin in range(0, p, BLOCK):
            parts[:] = 0
            for i in range(begin, min(begin + BLOCK, p)):
                at = (k * p + i) * r + first
                for j in range(width):
                    write(parts, j, reread(parts, j) + reread(slopes, at + j))
            for j in range(width):
                totals[j] += np.float64(parts[j])
        for j in range(width):
            sums[batch * p + k * r + first + j] = totals[j]


def _cdist_slopes_cpu(dout: Any, out: Any, slopes: Any, rows: Any, columns: Any) -> None:
    batch, p, r = out.shape
    each, some = max(1, TASK // max(r, 1)), max(1, TASK // max(p * min(r, COLUMNS), 1))
    plan = np.array((batch, p, r, each, some), np.int64)
    sums = np.zeros(batch * (p + r), out.dtype)
    flat = [array.reshape(-1) for array in (dout, out, slopes)]
    if out.size:
        tasks = -(-batch * p // each), -(-batch * -(-r // COLUMNS) // some)
        run_stages(_cdist_slopes_task, tasks, *[*flat, sums, _NOTHING[out.dtype], plan])
    rows[...], columns[...] = sums[: batch * p].reshape(rows.shape), sums[batch * p :].reshape(columns.shape)


@cuda.jit
def _cdist_slopes_cuda_flat(dout, out, slopes):  # type: ignore[no-untyped-def]
    i = cuda.grid(1)
    if i < out.size:
        zero = out.dtype.type(0)
        slopes[i] = dout[i] / out[i] if out[i] != zero else zero


def _cdist_slopes_cuda(dout: Any, out: Any, slopes: Any, rows: Any, columns: Any) -> None:
    batch, p, r = out.shape
    flat = [array.reshape(array.size) for array in (dout, out, slopes)]
    _cdist_slopes_cuda_flat[launch.line(out.size)](*flat)
    reduction.sum_(slopes.reshape(batch * p, r, 1), rows.reshape(batch * p, 1))
    reduction.sum_(slopes, columns)


cdist_slopes = Kernel("cdist_slopes", reference=cdist_slopes_reference, cpu=_cdist_slopes_cpu, cuda=_cdist_slopes_cuda)


def cdist_combine_reference(x, sums, dx):  # type: ignore[no-untyped-def]
    dx[...] = sums[:, None].astype(np.float64) * x - dx


@jit
def _cdist_combine_rows(stage, task, thread, x, sums, dx, d, numbers, plan):  # type: ignore[no-untyped-def]
    rows, m = plan[0], plan[1]
    for row in range(task * plan[2], min(task * plan[2] + plan[2], rows)):
        factor = sums[row]
        for i in range(row * m, row * m + m):
            write(dx, i, factor * read(x, i) - read(dx, i))


def _cdist_combine_cpu(x: Any, sums: Any, dx: Any) -> None:
    nothing = _NOTHING[x.dtype]
    if x.size:
        _run_rows(_cdist_combine_rows, x.reshape(-1), sums, dx.reshape(-1), nothing, nothing, *x.shape)


@cuda.jit
def _cdist_combine_cuda_flat(x, sums, dx, m):  # type: ignore[no-untyped-def]
    i = cuda.grid(1)
    if i < x.size:
        dx[i] = sums[i // m] * x[i] - dx[i]


def _cdist_combine_cuda(x: Any, sums: Any, dx: Any) -> None:
    _cdist_combine_cuda_flat[launch.line(x.size)](x.reshape(x.size), sums, dx.reshape(x.size), x.shape[1])


cdist_combine = Kernel(
    "cdist_combine", reference=cdist_combine_reference, cpu=_cdist_combine_cpu, cuda=_cdist_combine_cuda
)


def _mode(p: float) -> int:
    """Which of the norms: 1 and 2 have formulas of their own, 3 is the largest magnitude, 0 any other."""
    return {1.0: 1, 2.0: 2, math.inf: 3}.get(p, 0)


def cdist_norm_reference(a, b, out, p):  # type: ignore[no-untyped-def]
    gaps = np.abs(a[:, :, None].astype(np.float64) - b[:, None])
    out[...] = gaps.max(axis=3) if p == math.inf else (gaps**p).sum(axis=3) ** (1 / p)


@jit
def _gap_norm(a, b, i, j, m, mode, p):  # type: ignore[no-untyped-def]
    """The norm of the difference of the vectors at a[i:] and b[j:]."""
    number = a.dtype.type
    if mode == 3:
        most = rising_key(number(0))
        for k in range(m):
            key = rising_key(abs(read(a, i + k) - read(b, j + k)))
            most = key if key > most else most
        return np.float64(key_value(most))
    power = number(p)
    total = 0.0
    for first in range(0, m, BLOCK):
        part = number(0)
        if mode == 1:
            for k in range(first, min(first + BLOCK, m)):
                part += abs(read(a, i + k) - read(b, j + k))
        elif mode == 2:
            for k in range(first, min(first + BLOCK, m)):
                gap = read(a, i + k) - read(b, j + k)
                part += gap * gap
        else:
            for k in range(first, min(first + BLOCK, m)):
                part += exp_(power * log_(abs(read(a, i + k) - read(b, j + k))))
        total += np.float64(part)
    return total if mode == 1 else math.sqrt(total) if mode == 2 else total ** (1 / p)


@jit
def _cdist_norm_task(stage, task, thread, a, b, out, d, numbers, plan):  # type: ignore[no-untyped-def]
    rows, p, r, m, each, mode = plan[0], plan[1], plan[2], plan[3], plan[4], plan[5]
    power = read_at(np.float64, np.int64(plan.ctypes.data), 6)
    for row in range(task * each, min(task * each + each, rows)):
        theirs = row // p * r
        for j in range(r):
            out[row * r + j] = _gap_norm(a, b, row * m, (theirs + j) * m, m, mode, power)


def _cdist_norm_cpu(a: Any, b: Any, out: Any, p: float) -> None:
    batch, rows, m = a.shape
    r = b.shape[1]
    each = max(1, TASK // max(r * m, 1))
    plan = np.array((batch * rows, rows, r, m, each, _mode(p), 0), np.int64)
    plan.view(np.float64)[6] = p
    nothing = _NOTHING[a.dtype]
    if out.size:
        flat = [array.reshape(-1) for array in (a, b, out)]
        run_stages(_cdist_norm_task, (-(-batch * rows // each), 0), *[*flat, nothing, nothing, plan])


@cuda.jit
def _cdist_norm_cuda_flat(a, b, out, p, r, m, mode, power):  # type: ignore[no-untyped-def]
    """A thread for each pair, with Kahan's sum."""
    at = cuda.grid(1)
    if at < out.size:
        number = out.dtype.type
        i = at // r * m
        j = (at // (p * r) * r + at % r) * m
        total, lost = number(0), number(0)
        for k in range(m):
            gap = abs(a[i + k] - b[j + k])
            if mode == 3:
                if (gap > total) | (gap != gap):
                    total = gap
            else:
                if mode == 2:
                    gap = gap * gap
                elif mode == 0:
                    gap = math.pow(gap, power)
                value = gap - lost
                larger = total + value
                lost = (larger - total) - value
                if lost != lost:
                    lost = number(0)
                total = larger
        if mode == 2:
            total = math.sqrt(total)
        elif mode == 0:
            total = math.pow(total, number(1) / power)
        out[at] = total


def _cdist_norm_cuda(a: Any, b: Any, out: Any, p: float) -> None:
    flat = [array.reshape(array.size) for array in (a, b, out)]
    power = np.dtype(a.dtype).type(p)
    _cdist_norm_cuda_flat[launch.line(out.size)](*flat, a.shape[1], b.shape[1], a.shape[2], _mode(p), power)


cdist_norm = Kernel("cdist_norm", reference=cdist_norm_reference, cpu=_cdist_norm_cpu, cuda=_cdist_norm_cuda)


def cdist_norm_backward_reference(dout, out, a, b, da, p, across):  # type: ignore[no-untyped-def]
    if across:
        dout, out = dout.transpose(0, 2, 1), out.transpose(0, 2, 1)
    gaps = a[:, :, None].astype(np.float64) - b[:, None]
    length = out[..., None].astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        if p == math.inf:
            slopes = np.sign(gaps) * (np.abs(a[:, :, None] - b[:, None]) == out[..., None])
        else:
            slopes = np.sign(gaps) * (np.abs(gaps) / length) ** (p - 1)
    slopes = np.where((gaps == 0) | (length == 0), 0, slopes)
    da[...] = (dout[..., None] * slopes).sum(axis=2)


@jit
def _add_slopes(a, b, i, j, m, mode, p, weight, length, parts):  # type: ignore[no-untyped-def]
    """Add weight times the derivative of |a[i:] - b[j:]| = length to ``parts``, in lanes along the vectors."""
    number = a.dtype.type
    zero = number(0)
    if mode == 3:
        for k in range(m):
            gap = read(a, i + k) - read(b, j + k)
            slope = weight if gap > zero else -weight
            write(parts, k, reread(parts, k) + (slope if abs(gap) == length else zero))
    elif mode == 1:
        for k in range(m):
            gap = read(a, i + k) - read(b, j + k)
            write(parts, k, reread(parts, k) + (weight if gap > zero else -weight if gap < zero else zero))
    elif mode == 2:
        factor = weight / length
        for k in range(m):
            write(parts, k, reread(parts, k) + factor * (read(a, i + k) - read(b, j + k)))
    else:
        power, inverse = number(p - 1), number(1) / length
        for k in range(m):
            gap = read(a, i + k) - read(b, j + k)
            slope = weight * exp_(power * log_(abs(gap) * inverse))
            slope = slope if gap > zero else -slope
            write(parts, k, reread(parts, k) + (zero if gap == zero else slope))


@jit
def _cdist_norm_backward_task(stage, task, thread, dout, out, a, b, da, plan):  # type: ignore[no-untyped-def]
    rows, p, r, m, each, mode, step_i, step_j = (
        plan[0], plan[1], plan[2], plan[3], plan[4], plan[5], plan[6], plan[7],
    )  # fmt: skip
    power = read_at(np.float64, np.int64(plan.ctypes.data), 8)
    parts, totals = np.zeros(m, a.dtype), np.zeros(m)
    for row in range(task * each, min(task * each + each, rows)):
        k, i = row // p, row % p
        totals[:] = 0
        for first in range(0, r, ROWS):
            parts[:] = 0
            for j in range(first, min(first + ROWS, r)):
                at = k * p * r + i * step_i + j * step_j
                length = out[at]
                if length != 0:
                    _add_slopes(a, b, row * m, (k * r + j) * m, m, mode, power, dout[at], length, parts)
            for x in range(m):
                totals[x] += np.float64(parts[x])
        for x in range(m):
            da[row * m + x] = totals[x]


def _cdist_norm_backward_cpu(dout: Any, out: Any, a: Any, b: Any, da: Any, p: float, across: bool) -> None:
    batch, rows, m = a.shape
    r = b.shape[1]
    each = max(1, TASK // max(r * m, 1))
    steps = (1, rows) if across else (r, 1)
    plan = np.array((batch * rows, rows, r, m, each, _mode(p), *steps, 0), np.int64)
    plan.view(np.float64)[8] = p
    if da.size:
        flat = [array.reshape(-1) for array in (dout, out, a, b, da)]
        run_stages(_cdist_norm_backward_task, (-(-batch * rows // each), 0), *[*flat, plan])


@cuda.jit
def _cdist_norm_backward_cuda_flat(dout, out, a, b, da, p, r, m, mode, power, across):  # type: ignore[no-untyped-def]
    """A thread for each element of da, with Kahan's sum."""
    at = cuda.grid(1)
    if at < da.size:
        number = a.dtype.type
        zero = number(0)
        row = at // m
        batch = row // p
        value = a[at]
        total, lost = zero, zero
        for j in range(r):
            place = row * r + j
            if across != 0:
                place = (batch * r + j) * p + row - batch * p
            gap = value - b[(batch * r + j) * m + at - row * m]
            length = out[place]
            if (length != zero) & (gap != zero):
                slope = abs(gap)
                if mode == 3:
                    slope = number(slope == length)
                elif mode == 2:
                    slope = slope / length
                elif mode == 1:
                    slope = number(1)
                    if gap != gap:
                        slope = gap
                else:
                    slope = math.pow(slope / length, power - number(1))
                slope = dout[place] * slope - lost if gap > zero else -dout[place] * slope - lost
                larger = total + slope
                lost = (larger - total) - slope
                if lost != lost:
                    lost = zero
                total = larger
        da[at] = total


def _cdist_norm_backward_cuda(dout: Any, out: Any, a: Any, b: Any, da: Any, p: float, across: bool) -> None:
    flat = [array.reshape(array.size) for array in (dout, out, a, b, da)]
    numbers = a.shape[1], b.shape[1], a.shape[2], _mode(p), np.dtype(a.dtype).type(p), int(across)
    _cdist_norm_backward_cuda_flat[launch.line(da.size)](*flat, *numbers)


cdist_norm_backward = Kernel(
    "cdist_norm_backward",
    reference=cdist_norm_backward_reference,
    cpu=_cdist_norm_backward_cpu,
    cuda=_cdist_norm_backward_cuda,
)

_FLOATS = "float32[::1]"
CUDA_KERNELS = (
    (_cdist_norm_cuda_flat, f"void({_FLOATS}, {_FLOATS}, {_FLOATS}, int64, int64, int64, int64, float32)"),
    (
        _cdist_norm_backward_cuda_flat,
        f"void({', '.join([_FLOATS] * 5)}, int64, int64, int64, int64, float32, int64)",
    ),
    (_dots_cuda_lanes, f"void({_FLOATS}, {_FLOATS}, {_FLOATS}, int64, int64, int64)"),
    (_squares_cuda_lanes, f"void({_FLOATS}, {_FLOATS}, {_FLOATS}, int64, int64, float32)"),
    (_root_cuda_flat, f"void({_FLOATS})"),
    (_distance_backward_cuda_flat, f"void({', '.join([_FLOATS] * 6)}, int64, float32)"),
    (_cosine_cuda_flat, f"void({_FLOATS}, {_FLOATS}, {_FLOATS}, float32)"),
    (_cosine_backward_cuda_flat, f"void({', '.join([_FLOATS] * 7)}, int64, float32)"),
    (_normalize_forward_cuda_flat, f"void({_FLOATS}, {_FLOATS}, {_FLOATS}, int64, int64, float32)"),
    (_normalize_backward_cuda_flat, f"void({', '.join([_FLOATS] * 5)}, int64, int64, float32)"),
    (_cdist_finish_cuda_flat, f"void({_FLOATS}, {_FLOATS}, {_FLOATS}, int64, int64)"),
    (_cdist_slopes_cuda_flat, f"void({_FLOATS}, {_FLOATS}, {_FLOATS})"),
    (_cdist_combine_cuda_flat, f"void({_FLOATS}, {_FLOATS}, {_FLOATS}, int64)"),
)
