"""What a kernel is, and how its CPU twin is compiled and cached.

A kernel file reads top to bottom: the contract (module docstring), ``*_reference`` in plain NumPy, ``_*_cpu``,
``_*_cuda``, and last ``name = Kernel(...)``. All three take the same arguments: arrays first read, then written (the
caller allocates, see ``device.empty``), then plain numbers. Array arguments are C-contiguous.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numba
import numpy as np
from numba.core import compiler, serialize
from numba.core.caching import _Cache

from numbanet.devices import arriving, device_of, empty, is_cuda_array, reinterpret, settle
from numbanet.dtypes import float32, is_half

# Sums may be reordered and contracted to FMA, but NaN and infinity keep their meaning: a loss that went NaN must be
# seen, and max pooling must pass NaN on.
FASTMATH = frozenset({"contract", "reassoc", "nsz", "arcp", "afn"})

_Array = np.ndarray
_INT16 = np.dtype(np.int16)


class Kernel:
    """One operation on arrays, with its NumPy reference and a twin per device.

    Args:
        name: the operation's name, unique, as it stands in error messages and the kernel table.
        reference: plain NumPy, the judge of the twins in tests; never called by the library itself.
        cpu: the CPU twin.
        cuda: the CUDA twin; None where it has yet to be written.
        half: a CUDA twin for calls with float16 or bfloat16 arrays (``devices.reinterpret`` gives their bits), for a kernel
            that knows better than to compute in float32. It returns True, or writes nothing and returns False to decline.

    Calling the kernel runs the twin of the device on which the array arguments live. Twins know float32 and float64: where
    there are arrays of float16 or bfloat16 (and of float32 beside them, perhaps), the twin is given float32 copies of those,
    and what it wrote is rounded back once.
    """

    table: dict[str, Kernel] = {}  # noqa: RUF012 - every kernel by name, filled as the modules are imported

    def __init__(
        self,
        name: str,
        *,
        reference: Callable[..., None],
        cpu: Callable[..., None] | None,
        cuda: Callable[..., None] | None = None,
        half: Callable[..., bool] | None = None,
    ) -> None:
        if name in Kernel.table:
            raise ValueError(f"kernel {name!r} is defined twice")
        self.name, self.reference, self.cpu, self.cuda = name, reference, cpu, cuda
        self.half = half
        Kernel.table[name] = self

    def __call__(self, *args: Any) -> None:
        on_cuda = on_cpu = has_half = False
        floating: np.dtype | None = None
        for argument in args:
            kind = type(argument)
            if kind is _Array:
                on_cpu = True
                if not argument.flags.c_contiguous:
                    raise ValueError(f"{self.name}: array of shape {argument.shape} is not C-contiguous")
            elif kind is int or kind is float or kind is bool:
                continue
            elif is_cuda_array(argument):
                on_cuda = True
            else:
                continue
            dtype = argument.dtype
            if dtype is not floating and dtype.kind in "fV":
                if dtype.itemsize == 2:
                    has_half = True
                elif floating is not None and dtype != floating:
                    raise TypeError(f"{self.name}: arrays of {floating} and {dtype} in one call")
                else:
                    floating = dtype
        if on_cpu and on_cuda:
            raise RuntimeError(
                f"{self.name}: arrays on cpu and on cuda in one call; move them to one device with .to()"
            )
        twin = self.cuda if on_cuda else self.cpu
        if twin is None:
            raise NotImplementedError(f"{self.name}: this kernel has no {'cuda' if on_cuda else 'cpu'} twin yet")
        if arriving and on_cuda:
            settle(*args)
        if has_half:
            self._call_with_half(twin, args, on_cuda, floating)
        else:
            twin(*args)

    def _call_with_half(
        self, twin: Callable[..., None], args: tuple[Any, ...], on_cuda: bool, floating: np.dtype | None
    ) -> None:
        """A call with float16 or bfloat16 arrays; ``floating`` is the dtype of the other floating ones."""
        from numbanet.kernels import half

        if floating is not None and floating != float32:
            found = next(a.dtype for a in args if _is_array(a) and is_half(a.dtype))
            raise TypeError(f"{self.name}: arrays of {floating} and {found} in one call")
        if on_cuda and self.half is not None and self.half(*args):
            return
        places = [i for i, argument in enumerate(args) if _is_array(argument)]
        halves = [i for i in places if is_half(args[i].dtype)]
        taken = list(args)
        if self.name in half.MOVING and floating is None and len({args[i].dtype for i in halves}) == 1:
            for i in halves:
                taken[i] = reinterpret(args[i], _INT16)
            twin(*taken)
            return
        for i in halves:  # those to be written too: they may be added to, or written in part
            taken[i] = empty(args[i].shape, float32, device_of(args[i]))
            half.to_float32(args[i], taken[i])
        twin(*taken)
        written = half.OUTPUTS.get(self.name, 1)
        for i in places[-written:] if isinstance(written, int) else [places[k] for k in written]:
            if i in halves:
                half.from_float32(taken[i], args[i])

    def __repr__(self) -> str:
        return f"Kernel({self.name!r}, cpu={self.cpu is not None}, cuda={self.cuda is not None})"


def _is_array(argument: Any) -> bool:
    return type(argument) is _Array or is_cuda_array(argument)


def jit(
    function: Callable[..., Any] | None = None, *, parallel: bool = False, inline: bool = False, name: str | None = None
) -> Any:
    """``numba.njit`` as every CPU twin uses it: one fastmath set, no signatures (so nothing compiles at import), cached.

    Args:
        function: the function to compile.
        parallel: whether it holds ``prange`` loops.
        inline: for small helpers that should melt into their caller.
        name: for a function that a factory makes: unique in its module, it stands in the cache's key for the closure
            (compiled functions in a closure have no stable hash).
    """
    if function is None:
        return lambda function: jit(function, parallel=parallel, inline=inline, name=name)
    if name is not None:
        function.__name__ = function.__qualname__ = name
    dispatcher = numba.njit(
        parallel=parallel, fastmath=set(FASTMATH), inline="always" if inline else "never", error_model="numpy"
    )(function)
    dispatcher._cache = _KernelCache(function, named=name is not None)
    return dispatcher


# ------------------------------------------------------------------------------------------------------- the cache


@cache
def cache_folder() -> Path:
    """The folder of compiled CPU kernels: one per version of our kernel sources, numba, Python and CPU.

    numba's own ``cache=True`` looks only at the file of the cached function, and serves stale code when a helper in
    another file changes; here any change to any kernel source gives a new folder. ``NUMBANET_CACHE_DIR`` moves it.
    """
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    features = llvm.get_host_cpu_features().flatten()
    digest.update(
        repr((numba.__version__, llvmlite.__version__, sys.version, llvm.get_host_cpu_name(), features)).encode()
    )
    return user_cache_folder() / "kernels" / digest.hexdigest()[:16]


def user_cache_folder() -> Path:
    """Where numbanet keeps what it can make again: ``NUMBANET_CACHE_DIR``, else the platform's cache folder."""
    if os.environ.get("NUMBANET_CACHE_DIR"):
        return Path(os.environ["NUMBANET_CACHE_DIR"])
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "numbanet" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "numbanet"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "numbanet"


class _KernelCache(_Cache):
    """Compiled code on disk, a file for each function and signature.

    Files are written whole under another name and then renamed, and hold nothing but their own entry, so processes
    that start cold together never see half a file nor one another's numbering. Whatever cannot be read is compiled
    again; whatever cannot be written (a read-only home) is only kept in memory.
    """

    def __init__(self, function: Callable[..., Any], named: bool = False) -> None:
        self._function = function
        self._named = named
        self._enabled = True

    @property
    def cache_path(self) -> str:
        return str(cache_folder())

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def flush(self) -> None:
        for path in cache_folder().glob(f"{self._function.__module__}.{self._function.__qualname__}-*.nbc"):
            path.unlink(missing_ok=True)

    def _path(self, signature: Any, codegen: Any) -> Path:
        cells = () if self._named else self._function.__closure__ or ()
        closure = [cell.cell_contents for cell in cells]
        key = (str(signature), codegen.magic_tuple(), self._function.__code__.co_code)
        digest = hashlib.sha256(repr(key).encode() + (serialize.dumps(closure) if closure else b""))
        name = f"{self._function.__module__}.{self._function.__qualname__}".replace("<locals>", "").replace(
            "<lambda>", ""
        )
        return cache_folder() / f"{name}-{digest.hexdigest()[:24]}.nbc"

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        if not self._enabled:
            return None
        target_context.refresh()
        try:
            payload = pickle.loads(self._path(sig, target_context.codegen()).read_bytes())
            return compiler.CompileResult._rebuild(target_context, *payload)
        except Exception:  # absent, truncated or unreadable: compile
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        if not self._enabled or data.library.has_dynamic_globals or data.lifted:
            return
        path = self._path(sig, data.codegen)
        temporary = path.with_suffix(f".{uuid.uuid4().hex[:12]}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(serialize.dumps(data._reduce()))
            os.replace(temporary, path)
        except OSError:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
