"""Where arrays live: the CPU (NumPy arrays) or a CUDA device (numba-cuda device arrays).

Everything above this file asks it, and nobody else asks, "is there a GPU?", "make me an empty array there", "copy
this here". An *array* below is what kernels take: ``numpy.ndarray`` on the CPU, a numba-cuda device array on CUDA.

``cuda`` is the ``numba.cuda`` module where it can work (a driver library is found, ``NUMBA_ENABLE_CUDASIM=1`` asks
for the simulator, or ``NUMBANET_CUDA_ASSEMBLE=1`` asks only for compiling), else a stand-in whose kernels raise an
error that says what is missing. This file is the only one that imports ``numba.cuda``: it costs as much as numba
itself, and its successor (numba-cuda-mlir) can be put in its place here.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections import deque
from collections.abc import Callable
from functools import cache
from math import prod
from typing import Any

import numpy as np

from numbanet.cuda_memory import CudaMemory, NumbaLayer, SimulatorLayer, arriving, size_class

Array = Any  # numpy.ndarray, or a numba-cuda device array; the two share shape, strides, dtype, size and ndim


# ---------------------------------------------------------------------------------------------------- is CUDA there?


_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_COMPILERS = ("nvvm", "nvrtc", "nvJitLink")  # of the toolkit, as cuda-pathfinder calls them
_GET_ALL = "pip install 'numbanet[cuda]'"


def driver_version() -> tuple[int, int] | None:
    """The newest CUDA that the installed driver knows, such as (13, 0); None where no driver's library can be loaded.

    A fraction of a millisecond; creates no context. (0, 0) where the library does not say.
    """
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError:
        return None
    number = ctypes.c_int(0)
    with contextlib.suppress(AttributeError):
        library.cuDriverGetVersion(ctypes.byref(number))
    return number.value // 1000, number.value % 1000 // 10


def toolkit_version() -> tuple[int, int] | None:
    """The version of the CUDA toolkit's compiler that is installed as wheels; None where there are none."""
    from importlib.metadata import PackageNotFoundError, version

    for name in ("nvidia-nvvm", "nvidia-cuda-nvcc", "nvidia-cuda-nvcc-cu12", "nvidia-cuda-nvrtc"):
        try:
            major, minor = version(name).split(".")[:2]
        except (PackageNotFoundError, ValueError):
            continue
        return int(major), int(minor)
    return None


def missing_compilers() -> list[str]:
    """Those of the toolkit's libraries that cannot be loaded, whether wheels or a system's toolkit should bring them."""
    try:
        from cuda import pathfinder  # type: ignore
    except ImportError:
        return list(_COMPILERS)
    found = []
    for name in _COMPILERS:
        try:
            pathfinder.load_nvidia_dynamic_lib(name)
        except Exception:  # it has exceptions of its own for every way of not finding something
            found.append(name)
    return found


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


def _import_cuda() -> Any:
    from numba import cuda as module

    return module


def _find_cuda() -> tuple[Any, str]:
    """The module (or its stand-in), and why CUDA cannot be used, with the remedy (empty where it may work)."""
    driver = driver_version()
    no_driver = (
        f"no CUDA driver library ({_LIBRARY}) was found on this machine. With an NVIDIA GPU, install its driver (then "
        f"nvidia-smi shows the GPU) and {_GET_ALL}"
    )
    if not (SIMULATOR or ASSEMBLING) and driver is None:
        return _CudaMissing(), no_driver
    try:
        module = _import_cuda()
    except Exception as error:  # a broken or clashing toolkit must not stop the CPU side from working
        return _CudaMissing(), _why_not_imported(error)
    if SIMULATOR or driver is not None:
        return module, ""
    return module, f"{no_driver} (NUMBANET_CUDA_ASSEMBLE=1 only compiles)"


def _why_not_imported(error: Exception) -> str:
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in ("numba", "numba-cuda", "cuda-bindings", "cuda-core"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    if "no numba-cuda" in found:
        return f"the package numba-cuda is not installed. {_GET_ALL} brings it"
    said = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == "cuda":
        return f"the CUDA toolkit's Python packages are not installed ({said}). {_GET_ALL} brings them"
    return (
        f"numba.cuda cannot be imported ({said}): the versions may not belong together (there are {', '.join(found)}). "
        "pip install --upgrade 'numbanet[cuda]' chooses some that do"
    )


cuda, _missing = _find_cuda()


def intrinsic(function: Callable[..., Any]) -> Any:
    """``numba.cuda.extending.intrinsic`` where kernels are compiled; in the simulator, which has no machine code, and
    without CUDA a stand-in that cannot be called."""
    if SIMULATOR or isinstance(cuda, _CudaMissing):
        return _KernelWithoutCuda(function)
    from numba.cuda.extending import intrinsic as make

    return make(function)


def cuda_is_available() -> bool:
    """Whether tensors can be put on ``"cuda"``: a GPU with a working driver, or the simulator."""
    return not unavailable_reason()


def unavailable_reason() -> str:
    """Why ``"cuda"`` cannot be used, with what to do about it; an empty string where it can."""
    found = _missing or ("" if SIMULATOR else _gpu_problem())
    if not found:
        return ""
    return (
        f"CUDA is not available: {found}. Or use device='cpu', or set NUMBA_ENABLE_CUDASIM=1 to run the kernels in the "
        "(slow) simulator"
    )


@cache
def _gpu_problem() -> str:
    """What stands between a driver and a kernel on the GPU: its own troubles, or a toolkit that is absent or too new."""
    driver, toolkit, absent = driver_version(), toolkit_version(), missing_compilers()
    if absent:
        return (
            f"the CUDA toolkit's compilers ({', '.join(absent)}) cannot be found. {_GET_ALL} brings them as wheels; a "
            "toolkit of the system is found by the environment variable CUDA_HOME"
        )
    if driver and toolkit and driver > (0, 0) and driver[0] < toolkit[0]:
        return (
            f"the driver knows CUDA up to {driver[0]}.{driver[1]}, and the installed toolkit is {toolkit[0]}.{toolkit[1]}. "
            f"Install a newer driver (nvidia-smi shows the present one), or a toolkit for this one: "
            f"pip install 'numba-cuda[cu{driver[0]}]'"
        )
    if not cuda.is_available():
        return (
            f"the driver's library is there, but it reports no usable GPU ({cuda.cuda_error() or 'no device'}). See what "
            "nvidia-smi says; in a container, the GPU must be handed to it (docker run --gpus all)"
        )
    return ""


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


def as_device(device: str | Device | int | None, to_compute: bool = True) -> Device:
    """A ``Device`` from what a user may write (None: the CPU); checks that a CUDA device can be used.

    A process computes on one CUDA device, the first that it sees; others can only be asked about (``to_compute=False``).
    """
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
    if wanted.index in (None, 0):
        return CUDA
    if to_compute:
        raise RuntimeError(
            f"device {str(wanted)!r}: numbanet computes on one CUDA device in a process, the first it sees; set the environment "
            f"variable CUDA_VISIBLE_DEVICES={wanted.index} before the start and write 'cuda'"
        )
    return wanted


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
_constants: dict[tuple[int, float, str, str, int], Array] = {}
_pooled_bytes = 0
_cuda_memory: CudaMemory | None = None


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


def _pooled_empty(shape: tuple[int, ...], dtype: np.dtype, nbytes: int) -> np.ndarray:
    global _pooled_bytes
    size = size_class(nbytes)
    try:
        memory = _free[size].pop()
        _pooled_bytes -= size
    except (KeyError, IndexError):
        raw = np.empty(size + _ALIGNMENT, np.uint8)
        memory = raw, -(-raw.ctypes.data // _ALIGNMENT) * _ALIGNMENT, size
    found = np.asarray(_Block(memory, shape, dtype))
    return found if found.dtype is dtype else found.view(dtype)  # bfloat16 has no name of its own there


def cuda_memory() -> CudaMemory:
    """The pools of CUDA memory of this process, made at the first call.

    Raises:
        RuntimeError: where CUDA cannot be used.
    """
    global _cuda_memory
    if _cuda_memory is None:
        require_cuda("memory")
        _cuda_memory = CudaMemory(SimulatorLayer(cuda) if SIMULATOR else NumbaLayer(cuda))
    return _cuda_memory


def empty_cache() -> None:
    """Give the free memory of all pools back to the system."""
    global _pooled_bytes
    _free.clear()
    _constants.clear()
    _pooled_bytes = 0
    if _cuda_memory is not None:
        _cuda_memory.empty_cache()


def empty(shape: tuple[int, ...], dtype: np.dtype, device: Device = CPU) -> Array:
    """A C-contiguous array with undefined contents.

    Large arrays on the CPU, and all on CUDA, come from a pool: on the CPU their pages are already there, where fresh ones
    would be faulted in one by one on every training step; on CUDA the driver need not be asked, which would wait for
    all work to end. Values are never to be relied on.

    Raises:
        numbanet.cuda.OutOfMemoryError: where the CUDA device has no room.
    """
    nbytes = prod(shape) * dtype.itemsize
    if device.type == "cpu":
        return _pooled_empty(shape, dtype, nbytes) if nbytes >= _POOL_FROM else np.empty(shape, dtype)
    if not nbytes:
        return cuda.device_array(shape, dtype)
    return (_cuda_memory or cuda_memory()).empty(tuple(shape), dtype, nbytes)


def full(shape: tuple[int, ...], value: float, dtype: np.dtype, device: Device = CPU) -> Array:
    """A C-contiguous array filled with ``value``."""
    array = empty(shape, dtype, device)
    if device.type == "cpu":
        array.fill(value)
    else:
        _copies().fill(array, value)
    return array


def constant(size: int, value: float, dtype: np.dtype, device: Device = CPU) -> Array:
    """A vector of one value for who only reads it: made once, and kept where it is small."""
    if size > _KEPT or value != value:
        return full((size,), value, dtype, device)
    key = size, value, dtype.char, device.type, device.index or 0
    made = _constants.get(key)
    if made is None:
        if len(_constants) >= _KEPT:
            _constants.clear()
        made = _constants[key] = full((size,), value, dtype, device)
    return made


def synchronize() -> None:
    """Wait for all kernels launched on the current CUDA device; nothing to wait for on the CPU."""
    if not _missing:
        cuda.synchronize()


# --------------------------------------------------------------------------------------------------- copies and views


def _copies() -> Any:
    """The kernels that fill and copy on CUDA. Kernels stand above this file: they are fetched at the first such call."""
    from numbanet.kernels import copies

    return copies


def settle(*arrays: Any) -> None:
    """Before CUDA arrays are used: let what comes now wait for the copies that fill any of them in the background."""
    if arriving:
        cuda_memory().settle(arrays)


def _bits(array: Array) -> Array:
    """The array, one of bfloat16 as uint16: NumPy gives numba no buffer of that dtype, and so nothing to copy."""
    return reinterpret(array, np.dtype(np.uint16)) if array.dtype.kind == "V" else array


def to_host(array: Array) -> np.ndarray:
    """The array's values as a NumPy array: itself on the CPU, a copy from CUDA."""
    if type(array) is np.ndarray:
        return array
    settle(array)
    return contiguous(array).copy_to_host()


def to_device(array: Array, device: Device, non_blocking: bool = False) -> Array:
    """A copy of the array on ``device``, C-contiguous; the array itself where it lives there already.

    With ``non_blocking`` a page-locked array (``pin``) is copied to CUDA in the background; its values must stay as they are
    until the copy is done. Anything else is copied at once.
    """
    if device_of(array) == device:
        return array
    if device.type == "cpu":
        return to_host(array)
    array = np.asarray(array, order="C")
    if non_blocking and array.size and array.dtype.kind != "V" and cuda_memory().is_pinned(array):
        return cuda_memory().copy_in_background(array)
    out = empty(array.shape, array.dtype, device)
    if array.size:
        _bits(out).copy_to_device(_bits(array))
    return out


def pin(array: np.ndarray) -> np.ndarray:
    """A copy of a NumPy array in page-locked memory, from which copies to CUDA can run in the background.

    Raises:
        RuntimeError: where CUDA cannot be used.
    """
    return array if is_pinned(array) else cuda_memory().pin(array)


def is_pinned(array: Array) -> bool:
    """Whether an array lies in page-locked memory of ours."""
    return type(array) is np.ndarray and _cuda_memory is not None and _cuda_memory.is_pinned(array)


def contiguous(array: Array) -> Array:
    """The array itself where it is C-contiguous, else a C-contiguous copy."""
    if type(array) is np.ndarray:
        return array if array.flags.c_contiguous else copy(array)
    return array if array.is_c_contiguous() else copy(array)


def is_contiguous(array: Array) -> bool:
    """Whether the array's elements lie in memory in C order without gaps."""
    return array.flags.c_contiguous if type(array) is np.ndarray else bool(array.is_c_contiguous())


def copy(array: Array) -> Array:
    """A C-contiguous copy on the same device."""
    out = empty(array.shape, array.dtype, device_of(array))
    if type(array) is np.ndarray:
        np.copyto(out, array)
    elif array.size:
        _move(array, out)
    return out


def assign(target: Array, values: Array) -> None:
    """``target[...] = values`` in place: values of the target's shape, or a 0-d array for all elements.

    The two may share memory, and lie in it in any way.
    """
    if type(target) is np.ndarray:
        np.copyto(target, values, casting="unsafe")
        return
    if not target.size:
        return
    if not is_cuda_array(values):
        values = to_device(np.asarray(values, target.dtype), CUDA)
    if values.dtype != target.dtype:
        values, given = empty(values.shape, target.dtype, CUDA), contiguous(values)
        _copies().cast(given, values)
    if values.ndim == 0 and target.ndim:
        values = view(values, lambda a: np.broadcast_to(a, target.shape))
    a, b = _extent(values), _extent(target)
    if a[0] < b[1] and b[0] < a[1]:
        values = copy(values)
    _move(values, target)


def _move(source: Array, target: Array) -> None:
    """Copy the elements of one CUDA array to another of the same shape and dtype; they share no memory."""
    settle(source, target)
    if source.is_c_contiguous() and target.is_c_contiguous():
        _bits(target).copy_to_device(_bits(source))
        return
    sizes, steps, places = _merged(source.shape, source.strides, target.strides, source.dtype.itemsize)
    (flat, start), (out, to) = _flat(source), _flat(target)
    _move_piece(flat, out, sizes, steps, places, start, to)


def _move_piece(flat: Array, out: Array, sizes: Any, steps: Any, places: Any, start: int, to: int) -> None:
    if len(sizes) > 5:  # no layout of a network's tensors: the outermost dimension one by one
        for i in range(sizes[0]):
            _move_piece(flat, out, sizes[1:], steps[1:], places[1:], start + i * steps[0], to + i * places[0])
        return
    ones, zeros = (1,) * (5 - len(sizes)), (0,) * (5 - len(sizes))
    _copies().copy_strided(flat, out, *ones, *sizes, *zeros, *steps, *zeros, *places, start, to)


def _merged(
    shape: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...], itemsize: int
) -> tuple[list[int], list[int], list[int]]:
    """Sizes and two sets of strides, in elements, with those dimensions joined that both arrays run through in one go."""
    sizes: list[int] = []
    steps: list[int] = []
    places: list[int] = []
    for size, step, place in zip(shape, a, b, strict=True):
        if size == 1:
            continue
        if sizes and steps[-1] == size * step and places[-1] == size * place:
            sizes[-1], steps[-1], places[-1] = sizes[-1] * size, step, place
        else:
            sizes.append(size)
            steps.append(step)
            places.append(place)
    return sizes, [s // itemsize for s in steps], [p // itemsize for p in places]


def _extent(array: Array) -> tuple[int, int]:
    """The addresses of an array's first byte and of the one after its last."""
    low = high = array._ary.ctypes.data if SIMULATOR else int(array.device_ctypes_pointer.value or 0)
    for size, stride in zip(array.shape, array.strides):
        low, high = low + min(0, (size - 1) * stride), high + max(0, (size - 1) * stride)
    return low, high + array.dtype.itemsize


_BITS = {size: np.dtype(f"i{size}") for size in (1, 2, 4, 8)}


def _flat(array: Array) -> tuple[Array, int]:
    """All memory from the array's lowest element to its highest, as integers of its elements' size, and its own first one.

    Elements that are only moved need one compiled kernel per size.
    """
    itemsize = array.dtype.itemsize
    low, high = _extent(array)
    before = sum(max(0, -(size - 1) * stride) for size, stride in zip(array.shape, array.strides)) // itemsize
    count = (high - low) // itemsize
    if not SIMULATOR:
        pointer = array.gpu_data.view(-before * itemsize)
        return type(array)((count,), (itemsize,), _BITS[itemsize], gpu_data=pointer), before
    upward = array._ary[tuple(slice(None, None, -1 if stride < 0 else 1) for stride in array.strides)]
    lowest = np.lib.stride_tricks.as_strided(upward, (count,), (itemsize,))
    return type(array)(lowest.view(_BITS[itemsize])), before


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
