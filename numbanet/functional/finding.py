"""Where things are, worked out on CUDA: what indexing, sorting and embeddings share there. Arrays in, arrays out.

Only counts and extremes come to the host: shapes depend on them, and messages tell them. On the CPU NumPy does all this.
"""

from __future__ import annotations

from typing import Any

from numbanet import devices, dtypes
from numbanet.kernels import gather, reduction, scan, search, sorting


def new(size: int, dtype: Any = dtypes.int64) -> Any:
    """An empty vector on CUDA."""
    return devices.empty((size,), dtype, devices.CUDA)


def one(vector: Any, place: int) -> Any:
    """An element of a vector, brought to the host."""
    return devices.to_host(devices.view(vector, lambda a: a[place : place + 1]))[0]


def extent(array: Any) -> tuple[int, int]:
    """The smallest and the largest element of integers (not empty), on either device."""
    if not devices.is_cuda_array(array):
        return int(array.min()), int(array.max())
    flat = devices.contiguous(array).reshape((1, array.size, 1))
    found = []
    for kernel in (reduction.min_, reduction.max_):
        out = new(1, array.dtype)
        kernel(flat, out.reshape((1, 1)), new(0))
        found.append(int(one(out, 0)))
    return found[0], found[1]


def all_hold(array: Any) -> bool:
    """Whether no element is 0."""
    out = new(1, dtypes.bool)
    reduction.all_(devices.contiguous(array).reshape((1, array.size, 1)), out.reshape((1, 1)))
    return bool(one(out, 0))


def holding(array: Any) -> Any:
    """The places of the elements that are not 0, counted along the array laid flat."""
    ends = new(array.size)
    scan.running_count(devices.contiguous(array).reshape(-1), ends)
    return _repeated(ends)


def repeated(counts: Any) -> Any:
    """0 counts[0] times, 1 counts[1] times, and so on."""
    ends = new(counts.size)
    shape = (1, counts.size, 1)
    scan.cumsum(devices.contiguous(counts).reshape(shape), ends.reshape(shape), False)
    return _repeated(ends)


def _repeated(ends: Any) -> Any:
    out = new(int(one(ends, ends.size - 1)) if ends.size else 0)
    search.repeated(ends, out)
    return out


def ordered(array: Any) -> tuple[Any, Any]:
    """The elements in rising order, and where each stood, as vectors."""
    shape = (1, array.size)
    line, order = new(array.size, array.dtype), new(array.size)
    sorting.sort(devices.contiguous(array).reshape(shape), line.reshape(shape), order.reshape(shape), False)
    return line, order


def taken(vector: Any, index: Any) -> Any:
    """The elements at the places in ``index``."""
    out = new(index.size, vector.dtype)
    gather.take_rows(vector.reshape((1, vector.size, 1)), index, out.reshape((1, index.size, 1)))
    return out


def groups(line: Any) -> tuple[Any, Any]:
    """Of a sorted vector: where each run of equal elements begins, and for each element how many have begun."""
    flags, ends = new(line.size, dtypes.bool), new(line.size)
    search.changes(line, flags)
    scan.running_count(flags, ends)
    return _repeated(ends), ends
