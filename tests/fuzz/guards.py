"""Kernels under guard: their arrays lie between zones that no kernel may write, and whose values no result may show.

Under ``Guards`` every array argument of every CPU kernel is moved into the middle of a larger buffer, at an address that
is no multiple of anything but its element, with NaN (floats) or nonsense (others) on both sides; fresh memory is filled
with the same. A kernel that writes outside changes a zone. One that reads outside, or leaves out part of its
output, makes results that differ from those of an unguarded run, which the caller compares.
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np

from numbanet import devices
from numbanet.kernels.kernel import Kernel

ZONE = 96  # elements on either side
OFTEN, SELDOM = 40, 16  # the reference judges a kernel's first calls, and one in so many after that
LARGE = 20_000  # elements: references are slow, larger calls do without

# Kernels whose results depend on numbers that only the compiled code draws, or that the reference states more loosely.
UNJUDGED = {
    f"alpha_dropout_{way}": "the reference divides by zero where everything is dropped (p = 1)"
    for way in ("forward", "backward")
}


class KernelFault(AssertionError):
    """A kernel wrote outside its arrays, or something else than its reference."""


def _place(array: Any) -> Any:
    """What two arguments have in common that are the same memory, seen in the same way; None for no array."""
    return (array.ctypes.data, array.shape, array.dtype) if type(array) is np.ndarray else None


def _nonsense(dtype: np.dtype) -> Any:
    if dtype.kind == "f":
        return np.nan
    return True if dtype.kind == "b" else np.iinfo(dtype).max // 3


class Guards:
    """Context in which kernels run guarded and memory starts as nonsense.

    Attributes:
        calls: how often each kernel ran on arrays that are not empty.
        judged: how many calls were compared with the reference.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.judged = 0

    def __enter__(self) -> Guards:
        self._run = run = Kernel.__call__
        self._empty = empty = devices.empty

        def guarded(kernel: Kernel, *args: Any) -> None:
            self._call(run, kernel, args)

        def poisoned(shape: Any, dtype: Any, device: Any = devices.CPU) -> Any:
            array = empty(shape, dtype, device)
            if type(array) is np.ndarray:
                array.fill(_nonsense(array.dtype))
            return array

        self._patched = [
            module
            for name, module in list(sys.modules.items())
            if name.startswith("numbanet") and getattr(module, "empty", None) is empty
        ]
        for module in self._patched:
            module.empty = poisoned  # type: ignore[attr-defined]
        Kernel.__call__ = guarded  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: Any) -> None:
        Kernel.__call__ = self._run  # type: ignore[method-assign]
        for module in self._patched:
            module.empty = self._empty  # type: ignore[attr-defined]

    def _call(self, run: Any, kernel: Kernel, args: tuple[Any, ...]) -> None:
        arrays = {_place(a): a for a in args if type(a) is np.ndarray}
        if not any(a.size for a in arrays.values()) or not _apart(list(arrays.values())):
            run(kernel, *args)
            return
        self.calls[kernel.name] += 1
        count = self.calls[kernel.name]
        held = {key: _Held(array, count) for key, array in arrays.items()}
        expected = None
        judged = (count <= OFTEN or count % SELDOM == 0) and kernel.name not in UNJUDGED
        if judged and sum(a.size for a in arrays.values()) <= LARGE:
            expected = {key: array.copy() for key, array in arrays.items()}
        run(kernel, *[held[_place(a)].inside if _place(a) in held else a for a in args])
        for position, a in enumerate(args):
            if _place(a) in held and not held[_place(a)].zones_intact():
                raise KernelFault(f"{kernel.name} wrote outside argument {position}, {_described(args)}")
        if expected is not None:
            self.judged += 1
            scale = max(_scale(array) for array in arrays.values())  # of inputs: what cancels leaves their rounding
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                kernel.reference(*[expected.get(_place(a), a) for a in args])
            for position, a in enumerate(args):
                if _place(a) in expected and not _agree(held[_place(a)].inside, expected[_place(a)], scale):
                    raise KernelFault(
                        f"{kernel.name}: argument {position} differs from the reference by "
                        f"{_difference(held[_place(a)].inside, expected[_place(a)])}, {_described(args)}"
                    )
        for key, array in arrays.items():
            if array.flags.writeable:
                array[...] = held[key].inside


class _Held:
    """A copy of an array between two zones."""

    def __init__(self, array: np.ndarray, turn: int) -> None:
        before = ZONE + 2 * (turn % 4) + 1  # aligned to its element, never to a vector
        self._buffer = np.full(before + array.size + ZONE, _nonsense(array.dtype), array.dtype)
        self._before, self._after = before, before + array.size
        self.inside = self._buffer[before : self._after].reshape(array.shape)
        self.inside[...] = array

    def zones_intact(self) -> bool:
        clean = np.full(1, _nonsense(self._buffer.dtype), self._buffer.dtype).tobytes()
        zones = (self._buffer[: self._before], self._buffer[self._after :])
        return all(zone.tobytes() == clean * zone.size for zone in zones)


def _apart(arrays: list[np.ndarray]) -> bool:
    """Whether no two arrays share memory: such calls (none is expected to be common) stay where they are."""
    spans = sorted((a.ctypes.data, a.ctypes.data + a.nbytes) for a in arrays if a.size)
    return all(first[1] <= second[0] for first, second in pairwise(spans))


def _scale(array: np.ndarray) -> float:
    """The largest finite magnitude, of floats."""
    finite = array[np.isfinite(array)] if array.dtype.kind == "f" else np.zeros(0)
    return float(np.abs(finite).max()) if finite.size else 0.0


def _agree(actual: np.ndarray, expected: np.ndarray, scale: float) -> bool:
    if actual.dtype.kind != "f":
        return bool(np.array_equal(actual, expected))
    tolerance = 2e-4 if actual.dtype.itemsize == 4 else 1e-9
    scale = max(_scale(expected), min(scale, 1e4))
    return bool(np.allclose(actual, expected, tolerance, tolerance * scale + 1e-30, equal_nan=True))


def _difference(actual: np.ndarray, expected: np.ndarray) -> str:
    if actual.dtype.kind == "f":
        with np.errstate(all="ignore"):
            return f"{np.nanmax(np.abs(actual - expected), initial=0)} (NaN: {np.isnan(actual).sum()}, expected {np.isnan(expected).sum()})"
    return f"{int((actual != expected).sum())} elements"


def _described(args: tuple[Any, ...]) -> str:
    return "arguments " + ", ".join(f"{a.dtype}{a.shape}" if isinstance(a, np.ndarray) else repr(a) for a in args)
