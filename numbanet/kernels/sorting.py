"""Sorting the rows of a matrix, and the first few of the sorted rows.

Contract::

    sort(x, values, indices, descending)     values[r] = x[r] in order, indices[r] = where each element stood in x[r]
    topk(x, values, indices, largest)        the first k of that order, k = values.shape[1]

x is (rows, n), values and indices of sort (rows, n), of topk (rows, k) with k <= n; indices int64; floats, integers and
bool. The caller allocates, both outputs are overwritten. Both orders are stable: equal elements come in the order in
which they stand in x. NaN counts as larger than everything, and equal to NaN; -0.0 equals 0.0. No result depends on the
number of threads.

sort is a radix sort by the bytes of an integer that orders as the element does, least significant byte first, where a
byte that all elements share costs nothing; rows of a few elements are sorted by insertion. topk keeps the best k so
far in order, and asks of a block of elements first whether any of them belongs there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from numbanet.kernels.index import limit_threads, read, restore_threads, rising_key
from numbanet.kernels.kernel import Kernel, jit

BLOCK = 64  # elements that topk looks at together
FEW = 40  # rows up to this length are sorted by insertion
TASK = 1 << 13  # elements that one task should sort at least

_UINT32, _UINT64 = np.dtype(np.uint32), np.dtype(np.uint64)


# ------------------------------------------------------------------------------------------------------- reference


def _order(row: np.ndarray, descending: bool) -> list[int]:
    """The stable order by plain comparison, NaN above everything."""
    place = lambda i: (bool(row[i] != row[i]), row[i].item() if row[i] == row[i] else 0)  # noqa: E731
    indices = sorted(range(len(row)), key=place) if not descending else None
    if indices is None:  # reversed twice: equal elements keep their order
        indices = sorted(range(len(row) - 1, -1, -1), key=place)[::-1]
    return indices


def sort_reference(x, values, indices, descending):  # type: ignore[no-untyped-def]
    for r in range(x.shape[0]):
        indices[r] = _order(x[r], descending)
        values[r] = x[r][indices[r]]


def topk_reference(x, values, indices, largest):  # type: ignore[no-untyped-def]
    for r in range(x.shape[0]):
        indices[r] = _order(x[r], largest)[: values.shape[1]]
        values[r] = x[r][indices[r]]


# ------------------------------------------------------------------------------------------------------------ sort


@jit
def _insertion(keys, order, n):  # type: ignore[no-untyped-def]
    for i in range(1, n):
        key, place = keys[i], order[i]
        j = i
        while j > 0 and keys[j - 1] > key:
            keys[j] = keys[j - 1]
            order[j] = order[j - 1]
            j -= 1
        keys[j] = key
        order[j] = place


@jit
def _radix(keys, order, spare_keys, spare_order, counts, n, size):  # type: ignore[no-untyped-def]
    """Sort keys and order by the lowest ``size`` bytes; returns whether the result stands in the spare arrays."""
    byte = keys.dtype.type(255)
    counts[:] = 0
    for i in range(n):
        key = keys[i]
        for b in range(size):
            counts[np.int64((key >> keys.dtype.type(8 * b)) & byte) + 256 * b] += 1
    turned = False
    for b in range(size):
        shift = keys.dtype.type(8 * b)
        base = 256 * b
        source, source_order, target, target_order = keys, order, spare_keys, spare_order
        if turned:
            source, source_order, target, target_order = spare_keys, spare_order, keys, order
        if counts[base + np.int64((source[0] >> shift) & byte)] == n:
            continue
        total = 0
        for d in range(256):
            here = counts[base + d]
            counts[base + d] = total
            total += here
        for i in range(n):
            key = source[i]
            digit = base + np.int64((key >> shift) & byte)
            at = np.int64(np.uint32(counts[digit]))
            counts[digit] += 1
            target[at] = key
            target_order[at] = source_order[i]
        turned = not turned
    return turned


@jit(parallel=True)
def _sort_rows(x, values, indices, like, n, size, offset, descending):  # type: ignore[no-untyped-def]
    """``like`` has the type of the keys, ``offset`` makes signed ones unsigned."""
    threads = limit_threads(8 * x.size)
    rows = x.size // n
    block = max(1, TASK // n)
    number = like.dtype.type
    for task in prange((rows + block - 1) // block):
        first = np.int64(task) * block
        keys, spare_keys = np.empty(n, like.dtype), np.empty(n, like.dtype)
        order, spare_order = np.empty(n, np.int32), np.empty(n, np.int32)
        counts = np.empty(256 * size, np.int32)
        for row in range(first, min(first + block, rows)):
            start = row * n
            for i in range(n):
                key = number(np.int64(rising_key(read(x, start + i))) + offset)
                keys[i] = number(~key) if descending else key
                order[i] = i
            if n <= FEW:
                _insertion(keys, order, n)
                turned = False
            else:
                turned = _radix(keys, order, spare_keys, spare_order, counts, n, size)
            for i in range(n):
                place = np.int64(np.uint32(spare_order[i] if turned else order[i]))
                values[start + i] = read(x, start + place)
                indices[start + i] = place
    restore_threads(threads)


def _sort_cpu(x: Any, values: Any, indices: Any, descending: bool) -> None:
    if x.size:
        size = x.dtype.itemsize
        like = np.empty(0, _UINT32 if size <= 4 else _UINT64)
        signed = x.dtype.kind in "if"
        offset = 0 if not signed else (-(1 << 63) if size == 8 else 1 << (8 * size - 1))
        flat = x.reshape(-1), values.reshape(-1), indices.reshape(-1)
        _sort_rows(*flat, like, x.shape[1], size, offset, bool(descending))


sort = Kernel("sort", reference=sort_reference, cpu=_sort_cpu)


# ------------------------------------------------------------------------------------------------------------ topk


@jit
def _best(x, start, n, k, keys, places, largest):  # type: ignore[no-untyped-def]
    """Keep the best k elements of x[start:start + n], best first, and where they stand, in keys and places."""
    held = 0
    for first in range(0, n, BLOCK):
        end = min(first + BLOCK, n)
        if held == k:
            lowest = keys[k - 1]
            found = 0
            for i in range(first, end):
                key = np.int64(rising_key(read(x, start + i)))
                key = key if largest else ~key
                found += key > lowest
            if found == 0:
                continue
        for i in range(first, end):
            key = np.int64(rising_key(read(x, start + i)))
            key = key if largest else ~key
            if held == k:
                if key <= keys[k - 1]:
                    continue
                j = k - 1
            else:
                j = held
                held += 1
            while j > 0 and keys[j - 1] < key:
                keys[j] = keys[j - 1]
                places[j] = places[j - 1]
                j -= 1
            keys[j] = key
            places[j] = i


@jit(parallel=True)
def _topk_rows(x, values, indices, n, k, largest):  # type: ignore[no-untyped-def]
    threads = limit_threads(x.size)
    rows = x.size // n
    block = max(1, TASK // n)
    for task in prange((rows + block - 1) // block):
        first = np.int64(task) * block
        keys, places = np.empty(k, np.int64), np.empty(k, np.int64)
        for row in range(first, min(first + block, rows)):
            _best(x, row * n, n, k, keys, places, largest)
            for i in range(k):
                values[row * k + i] = x[row * n + places[i]]
                indices[row * k + i] = places[i]
    restore_threads(threads)


def _topk_cpu(x: Any, values: Any, indices: Any, largest: bool) -> None:
    if values.size:
        flat = x.reshape(-1), values.reshape(-1), indices.reshape(-1)
        _topk_rows(*flat, x.shape[1], values.shape[1], bool(largest))


topk = Kernel("topk", reference=topk_reference, cpu=_topk_cpu)
