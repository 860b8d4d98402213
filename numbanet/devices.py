"""Where arrays live: the CPU (NumPy arrays) or a CUDA device (numba-cuda device arrays).

Everything above this file asks it, and nobody else asks, "is there a GPU?", "make me an empty array there", "copy
this here". An *array* below is what kernels take: ``numpy.ndarray`` on the CPU, a numba-cuda device array on CUDA.

``cuda`` is the ``numba.cuda`` module where it can work (a driver library is found, ``NUMBA_ENABLE_CUDASIM=1`` asks
for the simulator, or ``NUMBANET_CUDA_ASSEMBLE=1`` asks only for compiling), else a stand-in whose kernels raise an
error that says what is missing. This file is the only one that imports ``numba.cuda``: it costs as much as numba
itself, and its successor (numba-cuda-mlir) can be put in its place here.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections import deque
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

Array = Any  # numpy.ndarray, or a numba-cuda device array; the two share shape, strides, dtype, size and ndim


# ---------------------------------------------------------------------------------------------------- is CUDA there?


def _find_driver() -> bool:
    """Whether the CUDA driver's library can be loaded (a fraction of a millisecond; creates no context)."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


SIMULATOR = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")
ASSEMBLING = os.environ.get("NUMBANET_CUDA_ASSEMBLE", "0") not in ("", "0")


class _KernelWithoutCuda:
    """Stands where a compiled CUDA kernel would; launching it says why there is none."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.py_func = function

    def __getitem__(self, configuration: Any) -> _KernelWithoutCuda:
        return self

    def __call__(self, *args: Any) -> None:
        require_cuda(self.py_func.__name__)


class _CudaMissing:
    """The stand-in for ``numba.cuda`` on a machine without it: ``jit`` decorates, anything else explains itself."""

    def jit(self, function: Callable[..., Any] | None = None, **options: Any) -> Any:
        return _KernelWithoutCuda if function is None else _KernelWithoutCuda(function)

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"cuda.{name}: {unavailable_reason()}")


def _find_cuda() -> tuple[Any, str]:
    """The module (or its stand-in), and why CUDA cannot be used (empty where it can)."""
    driver = _find_driver()
    if not (SIMULATOR or ASSEMBLING or driver):
        return _CudaMissing(), "no CUDA driver library was found on this machine"
    try:
        from numba import cuda as module
    except Exception as error:  # a broken or clashing toolkit must not stop the CPU side from working
        return (
            _CudaMissing(),
            f"numba.cuda cannot be imported ({type(error).__name__}: {error}); pip install 'numbanet[cuda]'",
        )
    if SIMULATOR or driver:
        return module, ""
    return module, "no CUDA driver library was found on this machine (NUMBANET_CUDA_ASSEMBLE=1 only compiles)"


cuda, _missing = _find_cuda()


def cuda_is_available() -> bool:
    """Whether tensors can be put on ``"cuda"``: a GPU with a working driver, or the simulator."""
    return not unavailable_reason()


def unavailable_reason() -> str:
    """Why ``"cuda"`` cannot be used, with what to do about it; an empty string where it can."""
    if _missing:
        return (
            f"CUDA is not available: {_missing}. Use device='cpu', install an NVIDIA driver and "
            "pip install 'numbanet[cuda]', or set NUMBA_ENABLE_CUDASIM=1 to run the kernels in the (slow) simulator"
        )
    if SIMULATOR or cuda.is_available():
        return ""
    return (
        "CUDA is not available: the driver library is there but it reports no usable GPU "
        f"({cuda.cuda_error() or 'no device'}). Check nvidia-smi and that pip install 'numbanet[cuda]' matches the driver"
    )


def require_cuda(what: str) -> None:
    """Raise RuntimeError, naming ``what`` was asked for, unless CUDA is available."""
    reason = unavailable_reason()
    if reason:
        raise RuntimeError(f"{what}: {reason}")


# --------------------------------------------------------------------------------------------------------- Device


class Device:
    """A place for tensors, as ``torch.device``: ``device("cpu")``, ``device("cuda")``, ``device("cuda:1")``.

    Args:
        type: "cpu" or "cuda", with an optional ":index"; or another ``Device``.
        index: the CUDA device's number, where it does not stand in ``type``.

    Raises:
        RuntimeError: for a name that is neither (as in PyTorch).
    """

    __slots__ = ("index", "type")
    type: str
    index: int | None

    def __init__(self, type: str | Device, index: int | None = None) -> None:
        if isinstance(type, Device):
            self.type, self.index = type.type, type.index
            return
        if not isinstance(type, str):
            raise TypeError(f"device: expected a str or a device, got {type!r}")
        name, colon, number = type.partition(":")
        if name not in ("cpu", "cuda") or (colon and not number.isdecimal()) or (colon and index is not None):
            raise RuntimeError(f"device: expected 'cpu', 'cuda' or 'cuda:INDEX', got {type!r}")
        self.type = name
        self.index = int(number) if colon else index
        if name == "cpu" and self.index not in (None, 0):
            raise RuntimeError(f"device: there is one CPU device, 'cpu', got {type!r} with index {self.index}")

    def __repr__(self) -> str:
        return (
            f"device(type={self.type!r})" if self.index is None else f"device(type={self.type!r}, index={self.index})"
        )

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and self.type == other.type and (self.index or 0) == (other.index or 0)

    def __hash__(self) -> int:
        return hash((self.type, self.index or 0))


CPU = Device("cpu")
CUDA = Device("cuda", 0)


def as_device(device: str | Device | int | None) -> Device:
    """A ``Device`` from what a user may write (None: the CPU); checks that a CUDA device can be used."""
    if device is None:
        return CPU
    if isinstance(device, int):
        device = f"cuda:{device}"
    wanted = Device(device)
    if wanted.type == "cpu":
        return CPU
    require_cuda(f"device {str(wanted)!r}")
    if wanted.index not in (None, 0) and wanted.index >= (1 if SIMULATOR else len(cuda.gpus)):
        raise RuntimeError(
            f"device {str(wanted)!r}: this machine has {1 if SIMULATOR else len(cuda.gpus)} CUDA device(s)"
        )
    return CUDA if wanted.index in (None, 0) else wanted


def is_cuda_array(array: Array) -> bool:
    """Whether ``array`` is a CUDA device array (the simulator's count)."""
    return type(array) is not np.ndarray and hasattr(array, "copy_to_host")


def device_of(array: Array) -> Device:
    """The device on which an array lives."""
    return CUDA if is_cuda_array(array) else CPU


# ------------------------------------------------------------------------------------------- memory and its pool

_POOL_FROM = 1 << 16  # bytes; smaller arrays are malloc's business
_POOL_LIMIT = 1 << 32  # bytes kept for reuse at most
_ALIGNMENT = 64  # bytes: a cache line, and the widest vector register
_Memory = tuple[np.ndarray, int, int]  # bytes, the address of the first aligned one, how many there are from it on
_KEPT = 1 << 11  # the longest constant that is kept, and how many are
_free: dict[int, deque[_Memory]] = {}
_constants: dict[tuple[int, float, str, str], Array] = {}
_pooled_bytes = 0


class _Block:
    """Owns a piece of pooled memory for as long as any array over it lives, then gives it back to the pool."""

    __slots__ = ("__array_interface__", "memory")

    def __init__(self, memory: _Memory, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.memory = memory
        self.__array_interface__ = {"shape": shape, "typestr": dtype.str, "data": (memory[1], False), "version": 3}

    def __del__(self) -> None:
        global _pooled_bytes
        size = self.memory[2]
        if _pooled_bytes + size <= _POOL_LIMIT:
            _pooled_bytes += size
            _free.setdefault(size, deque()).append(self.memory)


def _size_class(nbytes: int) -> int:
    """``nbytes`` rounded up to one of eight steps per power of two, so that at most an eighth is wasted."""
    step = 1 << max(nbytes.bit_length() - 4, 12)
    return -(-nbytes // step) * step


def _pooled_empty(shape: tuple[int, ...], dtype: np.dtype, nbytes: int) -> np.ndarray:
    global _pooled_bytes
    size = _size_class(nbytes)
    try:
        memory = _free[size].pop()
        _pooled_bytes -= size
    except (KeyError, IndexError):
        raw = np.empty(size + _ALIGNMENT, np.uint8)
        memory = raw, -(-raw.ctypes.data // _ALIGNMENT) * _ALIGNMENT, size
    found = np.asarray(_Block(memory, shape, dtype))
    return found if found.dtype is dtype else found.view(dtype)  # bfloat16 has no name of its own there


def empty_cache() -> None:
    """Give the pool's free memory back to the system."""
    global _pooled_bytes
    _free.clear()
    _constants.clear()
    _pooled_bytes = 0


def empty(shape: tuple[int, ...], dtype: np.dtype, device: Device = CPU) -> Array:
    """A C-contiguous array with undefined contents.

    On the CPU, large arrays come from a pool: their pages are already there, where fresh ones would be faulted in one
    by one on every training step. Values are never to be relied on.
    """
    if device.type == "cpu":
        nbytes = prod(shape) * dtype.itemsize
        return _pooled_empty(shape, dtype, nbytes) if nbytes >= _POOL_FROM else np.empty(shape, dtype)
    return cuda.device_array(shape, dtype)


def full(shape: tuple[int, ...], value: float, dtype: np.dtype, device: Device = CPU) -> Array:
    """A C-contiguous array filled with ``value``."""
    if device.type == "cpu":
        array = empty(shape, dtype)
        array.fill(value)
        return array
    return _upload(np.full(shape, value, dtype))


def constant(size: int, value: float, dtype: np.dtype, device: Device = CPU) -> Array:
    """A vector of one value for who only reads it: made once, and kept where it is small."""
    if size > _KEPT or value != value:
        return full((size,), value, dtype, device)
    key = size, value, dtype.char, device.type
    made = _constants.get(key)
    if made is None:
        if len(_constants) >= _KEPT:
            _constants.clear()
        made = _constants[key] = full((size,), value, dtype, device)
    return made


def _bits(array: Array) -> Array:
    """The array, one of bfloat16 as uint16: NumPy gives numba no buffer of that dtype, and so nothing to copy."""
    return reinterpret(array, np.dtype(np.uint16)) if array.dtype.kind == "V" else array


def _upload(array: np.ndarray) -> Array:
    """A copy of a host array, C-contiguous, on CUDA."""
    copied = cuda.to_device(_bits(array))
    return copied if copied.dtype == array.dtype else reinterpret(copied, array.dtype)


def to_host(array: Array) -> np.ndarray:
    """The array's values as a NumPy array: itself on the CPU, a copy from CUDA."""
    return array.copy_to_host() if is_cuda_array(array) else array


def to_device(array: Array, device: Device) -> Array:
    """A copy of the array on ``device``, C-contiguous; the array itself where it lives there already."""
    if device_of(array) == device:
        return array
    if device.type == "cpu":
        return array.copy_to_host()
    return _upload(np.asarray(array, order="C"))


def contiguous(array: Array) -> Array:
    """The array itself where it is C-contiguous, else a C-contiguous copy (on CUDA by way of the host)."""
    if type(array) is np.ndarray:
        if array.flags.c_contiguous:
            return array
        out = empty(array.shape, array.dtype)
        np.copyto(out, array)
        return out
    if array.is_c_contiguous():
        return array
    return _upload(np.asarray(array.copy_to_host(), order="C"))


def is_contiguous(array: Array) -> bool:
    """Whether the array's elements lie in memory in C order without gaps."""
    return array.flags.c_contiguous if type(array) is np.ndarray else bool(array.is_c_contiguous())


def copy(array: Array) -> Array:
    """A C-contiguous copy on the same device."""
    if type(array) is np.ndarray:
        out = empty(array.shape, array.dtype)
        np.copyto(out, array)
        return out
    if array.is_c_contiguous():
        out = cuda.device_array(array.shape, array.dtype)
        _bits(out).copy_to_device(_bits(array))
        return out
    return contiguous(array)


def assign(target: Array, values: Array) -> None:
    """``target[...] = values`` in place: values of the target's shape, or a 0-d array for all elements.

    On CUDA a target that is not contiguous is written by way of the host.
    """
    if type(target) is np.ndarray:
        np.copyto(target, values, casting="unsafe")
    elif SIMULATOR:
        np.copyto(target._ary, to_host(values), casting="unsafe")
    elif target.is_c_contiguous():
        values = np.full(target.shape, values, target.dtype) if values.ndim == 0 else contiguous(values)
        _bits(target).copy_to_device(_bits(values))
    else:
        if target.dtype.kind == "V":  # numba's fill and copy kernels know no conversion to bfloat16
            values = to_host(values).astype(target.dtype).view(np.uint16)
            target, values = target.view(np.uint16), values if values.ndim == 0 else cuda.to_device(values)
        target[...] = values.item() if values.ndim == 0 else values


def view(array: Array, look: Callable[[np.ndarray], np.ndarray]) -> Array:
    """The view that ``look`` takes of an array (slices, permutations, reshapes; no copies), on either device.

    On CUDA, NumPy works out the view's geometry on an array that is never touched, and the device array is then
    described anew over the same memory.
    """
    if type(array) is np.ndarray:
        return look(array)
    if SIMULATOR:
        return type(array)(look(array._ary))
    dummy = np.lib.stride_tricks.as_strided(np.empty(1, array.dtype), array.shape, array.strides)
    seen = look(dummy)
    start = seen.__array_interface__["data"][0] - dummy.__array_interface__["data"][0]
    if seen.size == 0:
        return cuda.device_array(seen.shape, array.dtype)
    return type(array)(seen.shape, seen.strides, array.dtype, gpu_data=array.gpu_data.view(start))


def reinterpret(array: Array, dtype: np.dtype) -> Array:
    """The same memory as elements of another dtype of the same size, on either device; the array is C-contiguous."""
    if type(array) is not np.ndarray and SIMULATOR:
        return type(array)(array._ary.view(dtype))
    return array.view(dtype)


def synchronize() -> None:
    """Wait for all kernels launched on the current CUDA device; nothing to wait for on the CPU."""
    if not _missing:
        cuda.synchronize()
