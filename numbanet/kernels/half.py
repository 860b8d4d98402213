"""float16 and bfloat16: from and to float32, in which everything is computed.

Contract::

    to_float32(a, out)      out = a: exact; a is float16 or bfloat16, out float32
    from_float32(a, out)    out = a rounded to nearest, ties to even; a is float32, out float16 or bfloat16

One shape, C-contiguous. The caller allocates ``out``, which is overwritten. NaN stays NaN (its sign too), infinities stay;
what is beyond the largest number of ``out``'s dtype by half a step or more becomes an infinity; float16 has subnormal
numbers, in both directions.

Both twins work on bits, as integers of 16 and 32 of them: neither numba nor the simulator knows bfloat16 arithmetic,
and so both devices round alike. The one rule of half precision stands in ``kernel.Kernel``: a kernel that meets half arrays is run
on float32 copies of them, and what it wrote is rounded back.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from numbanet.devices import cuda, is_cuda_array, reinterpret
from numbanet.dtypes import bfloat16
from numbanet.kernels import launch
from numbanet.kernels.index import read, scalar, write
from numbanet.kernels.kernel import Kernel
from numbanet.kernels.parallel import tasks

# What a kernel writes, where that is not the last of its arrays alone: how many of them, counted from the last, or their places.
OUTPUTS: dict[str, int | tuple[int, ...]] = {
    "batch_norm_train_forward": 4,
    "batch_norm_train_backward": 4,
    "batch_norm_eval_backward": 4,
    "batch_norm_update_running": (0, 1),
    "group_norm_forward": 3,
    "group_norm_backward": 3,
    "conv2d_grad_weight": 2,
    "deform_grad_offset": 2,
    "cdist_slopes": 3,
    "cosine_forward": 2,
    "cosine_backward": 2,
    "distance_backward": 2,
    "normalize_forward": 2,
    "cross_entropy_forward": 3,
    "nll_forward": 2,
    "dropout_forward": 2,
    "alpha_dropout_forward": 2,
    "prelu_backward": 2,
    "extremum_backward": 2,
    "gather": 2,
    "max": 2,
    "min": 2,
    "moments": 2,
    "max_pool2d_forward": 2,
    "adaptive_max_pool2d_forward": 2,
    "sort": 2,
    "topk": 2,
}  # and update.Step's, which come by themselves

# Kernels that move elements and never compute with them: half arrays pass for integers of 16 bits.
MOVING = frozenset({"gather", "scatter", "take_rows", "put_rows", "place", "roll", "rearrange"})

CHUNK = 1 << 13  # elements of one task

_UINT16, _UINT32 = np.dtype(np.uint16), np.dtype(np.uint32)


# ---------------------------------------------------------------------------------------------------- rules on bits
# Arguments come as int64, in which no sum or shift below overflows.


@scalar
def _wide_bfloat16(h):  # type: ignore[no-untyped-def]
    """The float32's bits of a bfloat16's: its upper half."""
    return h << 16


@scalar
def _wide_float16(h):  # type: ignore[no-untyped-def]
    """The float32's bits of a float16's; a subnormal number is shifted until its leading one is the hidden one."""
    sign = (h & 0x8000) << 16
    e = (h >> 10) & 0x1F
    m = h & 0x3FF
    up = 0
    n = m
    s = 8 if n < 0x8 else 0
    n, up = n << s, up + s
    s = 4 if n < 0x80 else 0
    n, up = n << s, up + s
    s = 2 if n < 0x200 else 0
    n, up = n << s, up + s
    s = 1 if n < 0x400 else 0
    n, up = n << s, up + s
    tiny = (((113 - up) << 23) | ((n & 0x3FF) << 13)) if m != 0 else 0
    normal = ((e + 112) << 23) | (m << 13)
    special = 0x7F800000 | (m << 13)
    return sign | (tiny if e == 0 else special if e == 31 else normal)


@scalar
def _narrow_bfloat16(x):  # type: ignore[no-untyped-def]
    """The bits of the nearest bfloat16 of a float32's; the carry of the rounding runs into the exponent, as it should."""
    a = x & 0x7FFFFFFF
    rounded = (a + 0x7FFF + ((a >> 16) & 1)) >> 16
    return ((x >> 16) & 0x8000) | (((a >> 16) | 0x40) if a > 0x7F800000 else rounded)


@scalar
def _narrow_float16(x):  # type: ignore[no-untyped-def]
    """The bits of the nearest float16 of a float32's; below 2**-14 in steps of 2**-24."""
    a = x & 0x7FFFFFFF
    normal = (a + 0xFFF + ((a >> 13) & 1) - 0x38000000) >> 13
    s = 126 - (a >> 23)
    s = 14 if s < 14 else 25 if s > 25 else s
    m = (a & 0x7FFFFF) | 0x800000
    tiny = (m + (1 << (s - 1)) - 1 + ((m >> s) & 1)) >> s
    found = tiny if a < 0x38800000 else 0x7C00 if a >= 0x477FF000 else normal
    return ((x >> 16) & 0x8000) | (0x7E00 | ((a >> 13) & 0x3FF) if a > 0x7F800000 else found)


# --------------------------------------------------------------------------------------------------------- the twins


def _twins(name: str, rule: Any) -> tuple[Any, Any]:
    """The CPU and the CUDA function of a rule, on flat arrays of bits."""

    @tasks(name=f"{name}_flat")
    def flat(task, a, out):  # type: ignore[no-untyped-def]
        start = task * CHUNK
        for i in range(start, min(start + CHUNK, out.size)):
            write(out, i, rule(np.int64(read(a, i))))

    @cuda.jit
    def flat_cuda(a, out):  # type: ignore[no-untyped-def]
        i = cuda.grid(1)
        if i < out.size:
            out[i] = rule(int(a[i]))

    return flat, flat_cuda


_BFLOAT16 = _twins("wide_bfloat16", _wide_bfloat16), _twins("narrow_bfloat16", _narrow_bfloat16)
_FLOAT16 = _twins("wide_float16", _wide_float16), _twins("narrow_float16", _narrow_float16)


def _run(a: Any, out: Any, on_cuda: bool) -> None:
    if not out.size:
        return
    widening = out.dtype.itemsize == 4
    half = a.dtype if widening else out.dtype
    flat, flat_cuda = (_BFLOAT16 if half == bfloat16 else _FLOAT16)[0 if widening else 1]
    a = reinterpret(a.reshape(-1), _UINT16 if widening else _UINT32)
    out = reinterpret(out.reshape(-1), _UINT32 if widening else _UINT16)
    if on_cuda:
        flat_cuda[launch.line(out.size)](a, out)
    else:
        flat(-(-out.size // CHUNK), out.size, a, out)


def _convert_cpu(a: Any, out: Any) -> None:
    _run(a, out, False)


def _convert_cuda(a: Any, out: Any) -> None:
    _run(a, out, True)


class _Convert(Kernel):
    """A kernel between a half dtype and float32, which is what other kernels' half arrays go through."""

    def __call__(self, a: Any, out: Any) -> None:
        _run(a, out, is_cuda_array(out))


def to_float32_reference(a, out):  # type: ignore[no-untyped-def]
    out[...] = a.astype(np.float32)


def from_float32_reference(a, out):  # type: ignore[no-untyped-def]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        out[...] = a.astype(out.dtype)


to_float32 = _Convert("to_float32", reference=to_float32_reference, cpu=_convert_cpu, cuda=_convert_cuda)
from_float32 = _Convert("from_float32", reference=from_float32_reference, cpu=_convert_cpu, cuda=_convert_cuda)

CUDA_KERNELS = (
    *[(wide[1], "void(uint16[::1], uint32[::1])") for wide, _ in (_BFLOAT16, _FLOAT16)],
    *[(narrow[1], "void(uint32[::1], uint16[::1])") for _, narrow in (_BFLOAT16, _FLOAT16)],
)
