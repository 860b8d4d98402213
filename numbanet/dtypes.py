"""Element types under PyTorch's names (each a ``numpy.dtype``), and PyTorch's promotion rules."""

from __future__ import annotations

import builtins
from typing import Any

import ml_dtypes
import numpy as np

dtype = np.dtype
float16 = half = np.dtype(np.float16)
bfloat16 = np.dtype(ml_dtypes.bfloat16)  # NumPy's kind of it is "V", as of no other dtype that tensors hold
float32 = float = np.dtype(np.float32)
float64 = double = np.dtype(np.float64)
uint8 = np.dtype(np.uint8)
int8 = np.dtype(np.int8)
int16 = short = np.dtype(np.int16)
int32 = int = np.dtype(np.int32)
int64 = long = np.dtype(np.int64)
bool = np.dtype(np.bool_)

_default = float32
_CATEGORY = {"b": 0, "u": 1, "i": 1, "f": 2, "V": 2}


def is_floating(dtype: np.dtype) -> builtins.bool:
    """Whether a tensor's dtype is float16, bfloat16, float32 or float64."""
    return dtype.kind in "fV"


def is_half(dtype: np.dtype) -> builtins.bool:
    """Whether a dtype is float16 or bfloat16, in which values are kept but nothing is computed."""
    return dtype.itemsize == 2 and dtype.kind in "fV"


def widened(dtype: np.dtype) -> np.dtype:
    """The dtype in which values of a dtype are computed, and statistics of them kept: float32 for the half types."""
    return float32 if is_half(dtype) else dtype


def finfo(dtype: Any = None) -> Any:
    """A floating dtype's limits (``eps``, ``max``, ``min``, ``tiny``, ``smallest_normal``, ``bits``), as ``torch.finfo``.

    Raises:
        TypeError: for a dtype that is not floating.
    """
    found = _default if dtype is None else as_dtype(dtype)
    if not is_floating(found):
        raise TypeError(f"finfo: expected a floating dtype, got {found}; use iinfo for integers")
    return ml_dtypes.finfo(found)


def get_default_dtype() -> np.dtype:
    """The dtype of Python floats and of creation functions without ``dtype`` (float32 unless set)."""
    return _default


def set_default_dtype(dtype: Any) -> None:
    """Set the default floating dtype: float32 or float64."""
    global _default
    dtype = as_dtype(dtype)
    if dtype not in (float32, float64):
        raise TypeError(f"set_default_dtype: expected float32 or float64, got {dtype}")
    _default = dtype


def as_dtype(dtype: Any) -> np.dtype:
    """A dtype from a dtype, a NumPy type or a name; refuses what tensors cannot hold (complex, strings, objects)."""
    if dtype is builtins.float:
        return _default
    try:
        found = np.dtype(dtype)
    except TypeError as error:
        raise TypeError(f"not a dtype: {dtype!r}") from error
    if found == bfloat16:
        return found
    if (
        found.kind not in "buif"
        or found.itemsize > 8
        or not found.isnative
        or found in (np.uint16, np.uint32, np.uint64)
    ):
        raise TypeError(
            f"dtype {found} is not supported; expected one of float16, bfloat16, float32, float64, uint8, int8, int16, int32, int64, bool"
        )
    return found


def promote_types(a: np.dtype, b: np.dtype) -> np.dtype:
    """The dtype that holds both: across categories the higher one's (int64 and float32 give float32), as PyTorch.

    float16 and bfloat16 give float32.
    """
    if a == b:
        return a
    rank_a, rank_b = _CATEGORY[a.kind], _CATEGORY[b.kind]
    if rank_a != rank_b:
        return a if rank_a > rank_b else b
    if a.itemsize == b.itemsize == 2 and rank_a == 2:
        return float32
    return np.promote_types(a, b)


def of_number(value: Any) -> np.dtype:
    """The dtype a Python number takes on its own: bool, int64, or the default floating dtype."""
    if isinstance(value, np.generic):
        return value.dtype
    if value is True or value is False:
        return bool
    return int64 if hasattr(value, "__index__") else _default


def number_array(value: Any, dtype: np.dtype) -> np.ndarray:
    """A Python number as a 0-d array; ints beyond the dtype wrap round, as PyTorch's operands do."""
    try:
        return np.array(value, dtype)
    except OverflowError:
        if not -(2**63) <= value < 2**64:
            raise
        return np.array(value & (2**64 - 1), np.uint64).astype(dtype)


def fitting_number(name: str, value: Any, dtype: np.dtype) -> Any:
    """A number that is about to be written into a tensor of ``dtype``: for ints cut to a whole number, and wrapped if negative.

    Raises:
        RuntimeError: for one that the dtype does not reach; for unsigned ints that is its size, whatever its sign.
    """
    if dtype.kind not in "ui" or isinstance(value, np.generic):
        return value
    limits = np.iinfo(dtype)
    lowest = -limits.max if dtype.kind == "u" else limits.min
    if not lowest <= value <= limits.max:
        raise RuntimeError(f"{name}: {value} does not fit {dtype}, expected {lowest} to {limits.max}")
    return builtins.int(value) % (limits.max + 1) if dtype.kind == "u" else builtins.int(value)


def result_type(*operands: tuple[np.dtype, Any]) -> np.dtype:
    """PyTorch's promotion of operands given as (dtype, rank), rank 2 for tensors with dimensions, 1 for 0-d, 0 for numbers.

    Operands of a lower rank matter only through a higher category: an int64 scalar does not widen a uint8 tensor, a
    Python float turns an int tensor into the default floating dtype.
    """
    result: np.dtype | None = None
    for rank in (2, 1, 0):
        dtypes = [dtype for dtype, r in operands if r == rank]
        if not dtypes:
            continue
        here = dtypes[0]
        for dtype in dtypes[1:]:
            here = promote_types(here, dtype)
        if result is None:
            result = here
        elif _CATEGORY[here.kind] > _CATEGORY[result.kind]:
            result = here if rank == 1 or not is_floating(here) else _default
    assert result is not None
    return result
