"""Padding layers: ``functional.pad`` of the last one or two dimensions."""

from __future__ import annotations

from typing import Any

from numbanet.functional import pad
from numbanet.nn.module import Module
from numbanet.tensor import Tensor

__all__ = [
    "CircularPad1d",
    "CircularPad2d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ZeroPad1d",
    "ZeroPad2d",
]


class _Pad(Module):
    """Pads the last ``dims`` dimensions; ``padding`` is an int for all sides, or (left, right[, top, bottom])."""

    dims = 1
    mode = "constant"

    def __init__(self, padding: Any) -> None:
        super().__init__()
        name, sides = type(self).__name__, 2 * self.dims
        if hasattr(padding, "__index__"):
            self.padding = (padding.__index__(),) * sides
            return
        try:
            self.padding = tuple([side.__index__() for side in padding])
        except (AttributeError, TypeError):
            raise TypeError(f"{name}: padding must be an int or {sides} ints, got {padding!r}") from None
        if len(self.padding) != sides:
            raise ValueError(f"{name}: padding must be an int or {sides} ints, got {padding!r}")

    def forward(self, input: Tensor) -> Tensor:
        return pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ConstantPad1d(_Pad):
    """Adds ``value`` left and right of the last dimension; see ``functional.pad``.

    Args:
        padding: (left, right), or an int for both; negative ones cut off.
        value: what to put in.
    """

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad2d(ConstantPad1d):
    """Adds ``value`` around the last two dimensions; see ``functional.pad``.

    Args:
        padding: (left, right, top, bottom), or an int for all; negative ones cut off.
        value: what to put in.
    """

    dims = 2


class ZeroPad1d(ConstantPad1d):
    """``ConstantPad1d`` with zeros."""

    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad2d(ZeroPad1d):
    """``ConstantPad2d`` with zeros."""

    dims = 2


class ReflectionPad1d(_Pad):
    """Mirrors the last dimension at its edges, which are not repeated: (C, L) or (N, C, L); see ``functional.pad``."""

    mode = "reflect"


class ReflectionPad2d(ReflectionPad1d):
    """Mirrors the last two dimensions at their edges: (C, H, W) or (N, C, H, W); see ``functional.pad``."""

    dims = 2


class ReplicationPad1d(_Pad):
    """Repeats the edges of the last dimension: (C, L) or (N, C, L); see ``functional.pad``."""

    mode = "replicate"


class ReplicationPad2d(ReplicationPad1d):
    """Repeats the edges of the last two dimensions: (C, H, W) or (N, C, H, W); see ``functional.pad``."""

    dims = 2


class CircularPad1d(_Pad):
    """Goes on at the other end of the last dimension: (C, L) or (N, C, L); see ``functional.pad``.

    Raises:
        ValueError: for inputs with other numbers of dimensions.
    """

    mode = "circular"

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim not in (self.dims + 1, self.dims + 2):
            raise ValueError(
                f"{type(self).__name__}: expected an input of {self.dims + 1} or {self.dims + 2} dimensions, got shape "
                f"{tuple(input.shape)}"
            )
        return super().forward(input)


class CircularPad2d(CircularPad1d):
    """Goes on at the other end of the last two dimensions: (C, H, W) or (N, C, H, W); see ``functional.pad``."""

    dims = 2
