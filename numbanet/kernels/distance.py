"""Euclidean norms, distances and angles of the rows of matrices.

Contract::

    distance_forward(a, b, out, eps)                  out[i] = |a[i] - b[i] + eps|
    distance_backward(a, b, out, dout, da, eps)       da[i] = dout[i] * (a[i] - b[i] + eps) / out[i]; db is -da
    cosine_forward(a, b, out, norms, eps)             norms = (|a[i]|, |b[i]|), out[i] = a[i].b[i] / (A B)
                                                      with A = max(|a[i]|, eps), B = max(|b[i]|, eps)
    cosine_backward(a, b, out, norms, dout, da, db, eps)
        da[i] = dout[i] / A * (b[i] / B - out[i] * a[i] / |a[i]|), db[i] likewise
    normalize_forward(x, y, norms, eps)               norms[i] = |x[i]|, y[i] = x[i] / max(|x[i]|, eps)
    normalize_backward(dy, y, norms, dx, eps)         dx[i] = (dy[i] - y[i] (dy[i].y[i])) / |x[i]|, dy[i] / eps below eps

a, b, x, y and the gradients of these are (N, D), out and dout (N,), norms (2, N) for cosine and (N,) for normalize; one
float dtype per call. The caller allocates outputs; they are overwritten. A row of norm or distance 0 adds nothing to a
gradient by way of its norm. eps is positive for cosine and normalize. NaN makes its row NaN. Sums run in vector lanes
of the arrays' dtype for BLOCK elements and go on in float64; a row belongs to one thread.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import prange

from numbanet.kernels.index import limit_threads, read, restore_threads, write
from numbanet.kernels.kernel import Kernel, jit

BLOCK = 512  # elements that are summed in vector lanes before the float64 total takes them over
ROWS = 4  # rows of one task


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


# ------------------------------------------------------------------------------------------------------ distance


def distance_forward_reference(a, b, out, eps):  # type: ignore[no-untyped-def]
    out[...] = np.sqrt(((a.astype(np.float64) - b + eps) ** 2).sum(axis=1))


@jit(parallel=True)
def _distance_forward_rows(a, b, out, n, eps):  # type: ignore[no-untyped-def]
    threads = limit_threads(a.size)
    number = a.dtype.type
    shift = number(eps)
    for task in prange((out.size + ROWS - 1) // ROWS):
        for row in range(np.int64(task) * ROWS, min(np.int64(task) * ROWS + ROWS, out.size)):
            start = row * n
            total = 0.0
            for first in range(start, start + n, BLOCK):
                part = number(0)
                for i in range(first, min(first + BLOCK, start + n)):
                    d = read(a, i) - read(b, i) + shift
                    part += d * d
                total += np.float64(part)
            out[row] = math.sqrt(total)
    restore_threads(threads)


def _distance_forward_cpu(a: Any, b: Any, out: Any, eps: float) -> None:
    _distance_forward_rows(a.reshape(-1), b.reshape(-1), out, a.shape[1], eps)


distance_forward = Kernel("distance_forward", reference=distance_forward_reference, cpu=_distance_forward_cpu)


def distance_backward_reference(a, b, out, dout, da, eps):  # type: ignore[no-untyped-def]
    d = a.astype(np.float64) - b + eps
    da[...] = np.where(out == 0, 0, dout / np.where(out == 0, 1, out))[:, None] * d


@jit(parallel=True)
def _distance_backward_rows(a, b, out, dout, da, n, eps):  # type: ignore[no-untyped-def]
    threads = limit_threads(a.size)
    number = a.dtype.type
    shift = number(eps)
    for task in prange((out.size + ROWS - 1) // ROWS):
        for row in range(np.int64(task) * ROWS, min(np.int64(task) * ROWS + ROWS, out.size)):
            factor = number(0) if out[row] == 0 else dout[row] / out[row]
            for i in range(row * n, row * n + n):
                write(da, i, factor * (read(a, i) - read(b, i) + shift))
    restore_threads(threads)


def _distance_backward_cpu(a: Any, b: Any, out: Any, dout: Any, da: Any, eps: float) -> None:
    _distance_backward_rows(a.reshape(-1), b.reshape(-1), out, dout, da.reshape(-1), a.shape[1], eps)


distance_backward = Kernel("distance_backward", reference=distance_backward_reference, cpu=_distance_backward_cpu)


# -------------------------------------------------------------------------------------------------------- cosine


def cosine_forward_reference(a, b, out, norms, eps):  # type: ignore[no-untyped-def]
    a, b = a.astype(np.float64), b.astype(np.float64)
    norms[0], norms[1] = np.sqrt((a * a).sum(axis=1)), np.sqrt((b * b).sum(axis=1))
    out[...] = (a * b).sum(axis=1) / (np.maximum(norms[0], eps) * np.maximum(norms[1], eps))


@jit(parallel=True)
def _cosine_forward_rows(a, b, out, norms, n, eps):  # type: ignore[no-untyped-def]
    threads = limit_threads(2 * a.size)
    for task in prange((out.size + ROWS - 1) // ROWS):
        for row in range(np.int64(task) * ROWS, min(np.int64(task) * ROWS + ROWS, out.size)):
            start, end = row * n, row * n + n
            one, two = math.sqrt(_dot(a, a, start, end)), math.sqrt(_dot(b, b, start, end))
            norms[row] = one
            norms[out.size + row] = two
            # NaN is not less than eps, and goes on
            out[row] = _dot(a, b, start, end) / ((eps if one < eps else one) * (eps if two < eps else two))
    restore_threads(threads)


def _cosine_forward_cpu(a: Any, b: Any, out: Any, norms: Any, eps: float) -> None:
    _cosine_forward_rows(a.reshape(-1), b.reshape(-1), out, norms.reshape(-1), a.shape[1], eps)


cosine_forward = Kernel("cosine_forward", reference=cosine_forward_reference, cpu=_cosine_forward_cpu)


def cosine_backward_reference(a, b, out, norms, dout, da, db, eps):  # type: ignore[no-untyped-def]
    a, b = a.astype(np.float64), b.astype(np.float64)
    one, two = norms.astype(np.float64)[:, :, None]
    large, wide = np.maximum(one, eps), np.maximum(two, eps)
    cosine, dout = out[:, None], dout[:, None]
    da[...] = dout / large * (b / wide - np.where(one == 0, 0, cosine * a / np.where(one == 0, 1, one)))
    db[...] = dout / wide * (a / large - np.where(two == 0, 0, cosine * b / np.where(two == 0, 1, two)))


@jit(parallel=True)
def _cosine_backward_rows(a, b, out, norms, dout, da, db, n, eps):  # type: ignore[no-untyped-def]
    threads = limit_threads(2 * a.size)
    number = a.dtype.type
    for task in prange((out.size + ROWS - 1) // ROWS):
        for row in range(np.int64(task) * ROWS, min(np.int64(task) * ROWS + ROWS, out.size)):
            one, two = np.float64(norms[row]), np.float64(norms[out.size + row])
            large, wide = eps if one < eps else one, eps if two < eps else two
            slope, cosine = np.float64(dout[row]), np.float64(out[row])
            across = number(slope / (large * wide))
            along_a = number(0.0 if one == 0 else slope * cosine / (large * one))
            along_b = number(0.0 if two == 0 else slope * cosine / (wide * two))
            for i in range(row * n, row * n + n):
                x, y = read(a, i), read(b, i)
                write(da, i, across * y - along_a * x)
                write(db, i, across * x - along_b * y)
    restore_threads(threads)


def _cosine_backward_cpu(a: Any, b: Any, out: Any, norms: Any, dout: Any, da: Any, db: Any, eps: float) -> None:
    flat = [array.reshape(-1) for array in (a, b, out, norms, dout, da, db)]
    _cosine_backward_rows(*flat, a.shape[1], eps)


cosine_backward = Kernel("cosine_backward", reference=cosine_backward_reference, cpu=_cosine_backward_cpu)


# ----------------------------------------------------------------------------------------------------- normalize


def normalize_forward_reference(x, y, norms, eps):  # type: ignore[no-untyped-def]
    norms[...] = np.sqrt((x.astype(np.float64) ** 2).sum(axis=1))
    y[...] = x / np.maximum(norms, eps)[:, None]


@jit(parallel=True)
def _normalize_forward_rows(x, y, norms, n, eps):  # type: ignore[no-untyped-def]
    threads = limit_threads(x.size)
    for task in prange((norms.size + ROWS - 1) // ROWS):
        for row in range(np.int64(task) * ROWS, min(np.int64(task) * ROWS + ROWS, norms.size)):
            norm = math.sqrt(_dot(x, x, row * n, row * n + n))
            norms[row] = norm
            factor = x.dtype.type(1 / (eps if norm < eps else norm))
            for i in range(row * n, row * n + n):
                write(y, i, read(x, i) * factor)
    restore_threads(threads)


def _normalize_forward_cpu(x: Any, y: Any, norms: Any, eps: float) -> None:
    _normalize_forward_rows(x.reshape(-1), y.reshape(-1), norms, x.shape[1], eps)


normalize_forward = Kernel("normalize_forward", reference=normalize_forward_reference, cpu=_normalize_forward_cpu)


def normalize_backward_reference(dy, y, norms, dx, eps):  # type: ignore[no-untyped-def]
    along = (dy.astype(np.float64) * y).sum(axis=1) * (norms >= eps)
    dx[...] = (dy - y * along[:, None]) / np.maximum(norms, eps)[:, None]


@jit(parallel=True)
def _normalize_backward_rows(dy, y, norms, dx, n, eps):  # type: ignore[no-untyped-def]
    threads = limit_threads(2 * y.size)
    number = y.dtype.type
    for task in prange((norms.size + ROWS - 1) // ROWS):
        for row in range(np.int64(task) * ROWS, min(np.int64(task) * ROWS + ROWS, norms.size)):
            norm = np.float64(norms[row])
            along = number(0.0 if norm < eps else _dot(dy, y, row * n, row * n + n))
            factor = number(1 / (eps if norm < eps else norm))
            for i in range(row * n, row * n + n):
                write(dx, i, (read(dy, i) - read(y, i) * along) * factor)
    restore_threads(threads)


def _normalize_backward_cpu(dy: Any, y: Any, norms: Any, dx: Any, eps: float) -> None:
    _normalize_backward_rows(dy.reshape(-1), y.reshape(-1), norms, dx.reshape(-1), y.shape[1], eps)


normalize_backward = Kernel("normalize_backward", reference=normalize_backward_reference, cpu=_normalize_backward_cpu)
