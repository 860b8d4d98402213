"""Moving elements between CUDA arrays that lie in memory in any way; what ``devices`` fills, copies and casts with.

Contract::

    copy_strided(x, out, d0, d1, d2, d3, d4, s0, s1, s2, s3, s4, t0, t1, t2, t3, t4, start, to)
        out[to + a t0 + b t1 + c t2 + d t3 + e t4] = x[start + a s0 + b s1 + c s2 + d s3 + e s4]
        for all a < d0, b < d1, c < d2, d < d3, e < d4

x and out are flat arrays of one dtype, any; steps may be negative or, in x, zero, and every place lies within its array. No two
places of out are the same, and x and out share no memory. The caller allocates out; elements at other places stay as they
are, those named are overwritten. NaN is moved as any other value. On the CPU NumPy does all this, and so it does here.

``fill`` and ``cast`` are those of ``elementwise``, under the names by which ``devices`` asks for them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from numbanet.devices import cuda
from numbanet.kernels import launch
from numbanet.kernels.elementwise import cast, fill
from numbanet.kernels.kernel import Kernel

__all__ = ["cast", "copy_strided", "fill"]


def copy_strided_reference(x, out, *numbers):  # type: ignore[no-untyped-def]
    sizes, steps, places, (start, to) = numbers[:5], numbers[5:10], numbers[10:15], numbers[15:]
    for index in np.ndindex(*sizes):
        out[to + sum(i * t for i, t in zip(index, places))] = x[start + sum(i * s for i, s in zip(index, steps))]


def _copy_strided_cpu(x: Any, out: Any, *numbers: int) -> None:
    sizes, size = numbers[:5], x.dtype.itemsize
    steps, places = [[n * size for n in numbers[i : i + 5]] for i in (5, 10)]
    if 0 not in sizes:
        there = np.lib.stride_tricks.as_strided(out[numbers[16] :], sizes, places)
        np.copyto(there, np.lib.stride_tricks.as_strided(x[numbers[15] :], sizes, steps))


@cuda.jit
def _copy_strided_cuda_flat(  # type: ignore[no-untyped-def]
    x, out, count, d1, d2, d3, d4, s0, s1, s2, s3, s4, t0, t1, t2, t3, t4, start, to
):
    place = cuda.grid(1)
    if place < count:
        rest = place // d4
        e = place - rest * d4
        place = rest // d3
        d = rest - place * d3
        rest = place // d2
        c = place - rest * d2
        a = rest // d1
        b = rest - a * d1
        out[to + a * t0 + b * t1 + c * t2 + d * t3 + e * t4] = x[start + a * s0 + b * s1 + c * s2 + d * s3 + e * s4]


def _copy_strided_cuda(x: Any, out: Any, d0: int, d1: int, d2: int, d3: int, d4: int, *numbers: int) -> None:
    count = d0 * d1 * d2 * d3 * d4
    if count:
        _copy_strided_cuda_flat[launch.line(count)](x, out, count, d1, d2, d3, d4, *numbers)


copy_strided = Kernel("copy_strided", reference=copy_strided_reference, cpu=_copy_strided_cpu, cuda=_copy_strided_cuda)

CUDA_KERNELS = (
    *((_copy_strided_cuda_flat, f"void({kind}[::1], {kind}[::1]{', int64' * 17})") for kind in ("int8", "int32")),
)
