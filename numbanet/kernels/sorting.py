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

On CUDA a block of threads sorts WIDTH elements in shared memory by a bitonic network, where places break ties, and
sorted runs are then merged two by two: an element's place in both together is its own and the number of elements of the
other run that come before it, found by bisection. topk keeps k of every WIDTH elements, until WIDTH are left. Both
compare values alone, so they give what the CPU gives, bit for bit.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import numba
import numpy as np

from numbanet.devices import CUDA, cuda, empty
from numbanet.kernels import launch
from numbanet.kernels.index import read, rising_key, scalar
from numbanet.kernels.kernel import Kernel, jit
from numbanet.kernels.parallel import tasks

BLOCK = 64  # elements that topk looks at together
FEW = 40  # rows up to this length are sorted by insertion
TASK = 1 << 13  # elements that one task should sort at least
WIDTH = 1 << 10  # elements that a block of CUDA's threads sorts in shared memory: a power of two

_UINT32, _UINT64, _INT64 = np.dtype(np.uint32), np.dtype(np.uint64), np.dtype(np.int64)


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


def _tasks(x: Any) -> int:
    """The number of tasks, of TASK elements or a row each."""
    rows, n = x.shape
    return -(-rows // max(1, TASK // n))


@tasks
def _sort_rows(task, x, values, indices, like, n, size, offset, descending):  # type: ignore[no-untyped-def]
    """``like`` has the type of the keys, ``offset`` makes signed ones unsigned."""
    block = max(1, TASK // n)
    number = like.dtype.type
    first = task * block
    keys, spare_keys = np.empty(n, like.dtype), np.empty(n, like.dtype)
    order, spare_order = np.empty(n, np.int32), np.empty(n, np.int32)
    counts = np.empty(256 * size, np.int32)
    for row in range(first, min(first + block, x.size // n)):
        start = row * n
        for i in range(n):
            key = number(np.int64(rising_key(read(x, start + i))) + offset)
            keys[i] = number(~key) if descending != 0 else key
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


def _sort_cpu(x: Any, values: Any, indices: Any, descending: bool) -> None:
    if x.size:
        size = x.dtype.itemsize
        like = np.empty(0, _UINT32 if size <= 4 else _UINT64)
        signed = x.dtype.kind in "if"
        offset = 0 if not signed else (-(1 << 63) if size == 8 else 1 << (8 * size - 1))
        flat = x.reshape(-1), values.reshape(-1), indices.reshape(-1)
        _sort_rows(_tasks(x), 8 * x.size, *flat, like, x.shape[1], size, offset, int(descending))


@scalar
def _before(a, b, descending):  # type: ignore[no-untyped-def]
    """Whether a comes before b, and is not merely equal to it."""
    rising = (a < b) | ((b != b) & (a == a))
    falling = (b < a) | ((a != a) & (b == b))
    return falling if descending != 0 else rising


@scalar
def _turned(a, place, b, other, n, descending):  # type: ignore[no-untyped-def]
    """Whether a of ``place`` belongs behind b of ``other``; places from n on are padding, and come last."""
    tie = place > other
    if (place < n) & (other < n):
        tie = _before(b, a, descending) | (tie & (not _before(a, b, descending)))
    return tie


@lru_cache(maxsize=64)
def _sort_cuda_kernel(width: int, element: Any) -> Any:
    """The kernel that sorts ``width`` elements in a block."""

    @cuda.jit
    def _sort_cuda_blocks(x, places, values, indices, first, rows, length, n, span, keep, kept, descending):  # type: ignore[no-untyped-def]
        """Sort pieces of the rows (rows, length) of x, and write the first ``keep`` of each to rows of length ``kept``.

        A piece has ``span`` slots, a power of two: a whole row, or ``width`` elements of one. Where ``first`` is 0,
        ``places`` says where the elements of x stood in a row of n.
        """
        key = cuda.shared.array(width, element)
        place = cuda.shared.array(width, numba.int64)
        pieces = (length + span - 1) // span
        start = cuda.blockIdx.x * (width // span)
        slots = min(width // span, rows * pieces - start) * span
        for slot in range(cuda.threadIdx.x, slots, cuda.blockDim.x):
            piece = start + slot // span
            row = piece // pieces
            at = (piece - row * pieces) * span + slot % span
            if at < length:
                key[slot] = x[row * length + at]
                place[slot] = at if first != 0 else places[row * length + at]
            else:
                key[slot] = x[0]
                place[slot] = n + at
        cuda.syncthreads()
        size = 2
        while size <= span:
            step = size // 2
            while step > 0:
                for pair in range(cuda.threadIdx.x, slots // 2, cuda.blockDim.x):
                    low = 2 * pair - (pair & (step - 1))
                    high = low ^ (size - 1) if 2 * step == size else low + step  # mirrored first: all pieces rise
                    a, b = key[low], key[high]
                    i, j = place[low], place[high]
                    if _turned(a, i, b, j, n, descending):
                        key[low], key[high] = b, a
                        place[low], place[high] = j, i
                cuda.syncthreads()
                step //= 2
            size *= 2
        for slot in range(cuda.threadIdx.x, slots, cuda.blockDim.x):
            piece = start + slot // span
            row = piece // pieces
            at = (piece - row * pieces) * keep + slot % span
            if slot % span < keep and at < kept:
                values[row * kept + at] = key[slot]
                indices[row * kept + at] = place[slot]

    return _sort_cuda_blocks


@cuda.jit
def _merge_cuda_flat(values, indices, to_values, to_indices, n, run, descending):  # type: ignore[no-untyped-def]
    """Merge sorted runs of each row two by two; of equal elements those of the left run come first."""
    place = cuda.grid(1)
    if place < values.size:
        at = place % n
        row = place - at
        start = at - at % (2 * run)
        middle = min(start + run, n)
        value = values[place]
        left = at < middle
        low = middle if left else start
        high = min(start + 2 * run, n) if left else middle
        while low < high:  # how many of the other run come before
            half = (low + high) // 2
            other = values[row + half]
            if _before(other, value, descending) if left else not _before(value, other, descending):
                low = half + 1
            else:
                high = half
        to = place + low - middle
        to_values[to] = value
        to_indices[to] = indices[place]


def _sort_pieces(x: Any, places: Any, values: Any, indices: Any, first: int, *numbers: int) -> None:
    rows, length, n, keep, kept, descending = numbers
    span = min(WIDTH, 1 << (length - 1).bit_length())
    blocks = -(-rows * -(-length // span) // (WIDTH // span))
    kernel = _sort_cuda_kernel(WIDTH, numba.from_dtype(x.dtype))
    kernel[blocks, launch.THREADS](
        x, places, values, indices, first, rows, length, n, span, min(keep, span), kept, descending
    )


def _sort_cuda(x: Any, values: Any, indices: Any, descending: bool) -> None:
    if x.size:
        rows, n = x.shape
        down = int(descending)
        there = values.reshape(-1), indices.reshape(-1)
        pieces = -(-n // WIDTH)
        if pieces > 1:
            spare = empty((x.size,), x.dtype, CUDA), empty((x.size,), _INT64, CUDA)
            if (pieces - 1).bit_length() % 2 == 1:  # so many merges are to come: the last one writes the outputs
                there, spare = spare, there
        _sort_pieces(x.reshape(-1), there[1], *there, 1, rows, n, n, WIDTH, n, down)
        run = WIDTH
        while run < n:
            _merge_cuda_flat[launch.line(x.size)](*there, *spare, n, run, down)
            there, spare = spare, there
            run *= 2


sort = Kernel("sort", reference=sort_reference, cpu=_sort_cpu, cuda=_sort_cuda)


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


@tasks
def _topk_rows(task, x, values, indices, n, k, largest):  # type: ignore[no-untyped-def]
    block = max(1, TASK // n)
    first = task * block
    keys, places = np.empty(k, np.int64), np.empty(k, np.int64)
    for row in range(first, min(first + block, x.size // n)):
        _best(x, row * n, n, k, keys, places, largest != 0)
        for i in range(k):
            values[row * k + i] = x[row * n + places[i]]
            indices[row * k + i] = places[i]


def _topk_cpu(x: Any, values: Any, indices: Any, largest: bool) -> None:
    if values.size:
        flat = x.reshape(-1), values.reshape(-1), indices.reshape(-1)
        _topk_rows(_tasks(x), x.size, *flat, x.shape[1], values.shape[1], int(largest))


@cuda.jit
def _head_cuda_flat(values, indices, to_values, to_indices, n, k):  # type: ignore[no-untyped-def]
    place = cuda.grid(1)
    if place < to_values.size:
        at = place // k * n + place % k
        to_values[place] = values[at]
        to_indices[place] = indices[at]


def _topk_cuda(x: Any, values: Any, indices: Any, largest: bool) -> None:
    if values.size:
        rows, n = x.shape
        k, down = values.shape[1], int(largest)
        target = values.reshape(-1), indices.reshape(-1)
        if 2 * k > WIDTH and n > WIDTH:
            whole = empty(tuple(x.shape), x.dtype, CUDA), empty(tuple(x.shape), _INT64, CUDA)
            _sort_cuda(x, *whole, largest)
            _head_cuda_flat[launch.line(values.size)](*(array.reshape(-1) for array in whole), *target, n, k)
            return
        held, places, length = x.reshape(-1), target[1], n
        while length > WIDTH:
            pieces = -(-length // WIDTH)
            kept = (pieces - 1) * k + min(k, length - (pieces - 1) * WIDTH)
            best = empty((rows * kept,), x.dtype, CUDA), empty((rows * kept,), _INT64, CUDA)
            _sort_pieces(held, places, *best, int(length == n), rows, length, n, k, kept, down)
            held, places = best
            length = kept
        _sort_pieces(held, places, *target, int(length == n), rows, length, n, k, k, down)


topk = Kernel("topk", reference=topk_reference, cpu=_topk_cpu, cuda=_topk_cuda)

_SORTS = "void({0}[::1], int64[::1], {0}[::1], int64[::1]" + ", int64" * 8 + ")"
CUDA_KERNELS = (
    *(
        (partial(_sort_cuda_kernel, WIDTH, element), _SORTS.format(element))
        for element in (numba.float32, numba.float64, numba.int64)
    ),
    (_merge_cuda_flat, "void(float32[::1], int64[::1], float32[::1], int64[::1], int64, int64, int64)"),
    (_head_cuda_flat, "void(float32[::1], int64[::1], float32[::1], int64[::1], int64, int64)"),
)
