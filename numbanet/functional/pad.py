"""Padding of the last dimensions: by a constant, by reflection, by the nearest edge, and around the other way."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from numbanet import devices
from numbanet.autograd import Function
from numbanet.functional.shape import clone, narrow
from numbanet.kernels import pad as kernels
from numbanet.shapes import check_floating
from numbanet.tensor import Tensor, wrap

__all__ = ["pad"]

_MODES = {
    "constant": kernels.CONSTANT,
    "reflect": kernels.REFLECT,
    "replicate": kernels.REPLICATE,
    "circular": kernels.CIRCULAR,
}


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Add elements around the last dimensions of a tensor, as ``torch.nn.functional.pad``; negative numbers cut off.

    ========== ==================================== =====================================
    mode       x0 x1 x2 x3 with pad=(2, 2)          number of dimensions
    ========== ==================================== =====================================
    constant   v  v  x0 x1 x2 x3 v  v               any
    reflect    x2 x1 x0 x1 x2 x3 x2 x1              1, 2 or 3, of inputs with one or two more
    replicate  x0 x0 x0 x1 x2 x3 x3 x3              the same
    circular   x2 x3 x0 x1 x2 x3 x0 x1              the same
    ========== ==================================== =====================================

    Args:
        input: shape (...), of any dtype.
        pad: pairs of ints from the last dimension on: (left, right), (left, right, top, bottom), ... ``reflect`` takes
            less than the dimension's size, ``circular`` at most that.
        mode: "constant", "reflect", "replicate" or "circular".
        value: what "constant" puts in; None for 0.

    Returns:
        The input's shape, with each pair's sum added to its dimension; a copy, never a view.

    Raises:
        RuntimeError: for an odd number of ints, paddings that are too large, or a result of negative size.
        NotImplementedError: for an unknown mode, or a number of dimensions that it does not take.
        TypeError: for anything but ints in ``pad``.
    """
    shape = _shape_of(input)
    pairs = _pairs(shape, pad)
    if mode not in _MODES:
        raise NotImplementedError(f"pad: mode must be one of {tuple(_MODES)}, got {mode!r}")
    if mode == "constant":
        _check_sizes(shape, pairs)
    else:
        if value is not None and value != 0:
            raise RuntimeError(f"pad: mode {mode!r} takes no value, got value={value}")
        _check_mode(shape, pairs, len(pad) // 2, mode)
    if mode == "circular":  # what is cut off does not come back on the other side
        for dim, (before, after) in enumerate(pairs):
            if before < 0 or after < 0:
                start = max(-before, 0)
                input = narrow(input, dim, start, shape[dim] - start - max(-after, 0))
        pairs = [(max(before, 0), max(after, 0)) for before, after in pairs]
    if not any(before or after for before, after in pairs):
        return clone(input)
    return _padded(input, pairs, _MODES[mode], value or 0)


def _shape_of(input: Any) -> tuple[int, ...]:
    try:
        return tuple(input._array.shape)
    except AttributeError:
        raise TypeError(f"pad: argument 'input' must be a Tensor, not {type(input).__name__}") from None


def _pairs(shape: tuple[int, ...], pad: Any) -> list[tuple[int, int]]:
    """(before, after) for every dimension."""
    try:
        numbers = [number.__index__() for number in pad]
    except (AttributeError, TypeError):
        raise TypeError(f"pad: pad must be a sequence of ints, got {pad!r}") from None
    if len(numbers) % 2:
        raise RuntimeError(f"pad: pad must have an even number of elements, got {len(numbers)} in {tuple(numbers)}")
    if len(numbers) > 2 * len(shape):
        raise RuntimeError(
            f"pad: pad has {len(numbers)} elements {tuple(numbers)}, at most {2 * len(shape)} fit an input of shape {shape}"
        )
    pairs = [(0, 0)] * len(shape)
    for i in range(0, len(numbers), 2):
        pairs[len(shape) - 1 - i // 2] = numbers[i], numbers[i + 1]
    return pairs


def _check_sizes(shape: tuple[int, ...], pairs: list[tuple[int, int]], least: int = 0, first: int = 0) -> None:
    """Refuse a result of negative size, or of less than ``least`` in a dimension from ``first`` on."""
    sizes = tuple(n + before + after for n, (before, after) in zip(shape, pairs, strict=True))
    cut = any(n + min(before, 0) + min(after, 0) < 0 for n, (before, after) in zip(shape, pairs, strict=True))
    if min(sizes[first:], default=least) < least or cut:
        raise RuntimeError(f"pad: input {shape} padded by {pairs} would have the shape {sizes}")


def _check_mode(shape: tuple[int, ...], pairs: list[tuple[int, int]], dims: int, mode: str) -> None:
    """The other modes pad the last one, two or three dimensions of inputs that have one or two more."""
    if dims not in (1, 2, 3) or len(shape) - dims not in (1, 2):
        raise NotImplementedError(
            f"pad: mode {mode!r} pads 1, 2 or 3 dimensions of an input with one or two more, got {dims} of input {shape}"
        )
    if mode != "circular" and min(shape[-dims - 1 :]) < 1:
        raise RuntimeError(
            f"pad: mode {mode!r} needs an input without empty dimensions (but for the batch), got {shape}"
        )
    _check_sizes(shape, pairs, 0 if mode == "circular" else 1, len(shape) - dims - 1)
    for size, both in zip(shape, pairs, strict=True):
        most = {"reflect": size - 1, "circular": size}.get(mode, max(both))
        if max(both) > max(most, 0):
            raise RuntimeError(
                f"pad: mode {mode!r} takes paddings of at most {most} in a dimension of size {size}, got {both} (input {shape})"
            )


def _padded(input: Tensor, pairs: list[tuple[int, int]], mode: int, value: float) -> Tensor:
    """Pad one or two dimensions at a time, from the last on."""
    if not input.is_floating_point():
        return _pad_by_index(input, pairs, mode, value)
    check_floating("pad", input=input)
    todo = [dim for dim, both in enumerate(pairs) if both != (0, 0)]
    while todo:
        shape = list(input._array.shape)
        last = todo.pop()
        inner = prod(shape[last + 1 :])
        first = last - 1 if inner == 1 and last else last
        if first != last and todo and todo[-1] == first:
            todo.pop()
        (top, bottom), (left, right) = pairs[first], pairs[last] if first != last else (0, 0)
        h, w = shape[first], shape[last] if first != last else inner
        planes = prod(shape[:first])
        shape[first] += top + bottom
        shape[last] += left + right
        numbers = (top, left, mode, float(value))
        sizes = (planes, h, w), (planes, h + top + bottom, w + left + right)
        input = PadFunction.apply(input, sizes, tuple(shape), numbers)
    return input


class PadFunction(Function):
    """Planes (P, H, W) padded to (P, OH, OW): linear but for the constant, with ``UnpadFunction`` as its gradient."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, sizes: tuple[tuple[int, ...], ...], shape: tuple[int, ...], numbers: tuple[Any, ...]
    ) -> Tensor:
        ctx.sizes, ctx.shape, ctx.numbers = sizes, tuple(x._array.shape), numbers
        if not x._array.size:
            return wrap(devices.full(shape, numbers[3], x.dtype, x.device))
        y = devices.empty(shape, x.dtype, x.device)
        if y.size:
            kernels.pad_forward(devices.contiguous(x._array).reshape(sizes[0]), y.reshape(sizes[1]), *numbers)
        return wrap(y)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        return UnpadFunction.apply(dy, ctx.sizes, ctx.shape, ctx.numbers), None, None, None


class UnpadFunction(Function):
    """Each element's gradient is the sum over the places that it was copied to."""

    @staticmethod
    def forward(
        ctx: Any, dy: Tensor, sizes: tuple[tuple[int, ...], ...], shape: tuple[int, ...], numbers: tuple[Any, ...]
    ) -> Tensor:
        ctx.sizes, ctx.shape, ctx.numbers = sizes, tuple(dy._array.shape), numbers
        if not dy._array.size:
            return wrap(devices.full(shape, 0, dy.dtype, dy.device))
        dx = devices.empty(shape, dy.dtype, dy.device)
        if dx.size:
            kernels.pad_backward(devices.contiguous(dy._array).reshape(sizes[1]), dx.reshape(sizes[0]), *numbers[:3])
        return wrap(dx)

    @staticmethod
    def backward(ctx: Any, ddx: Tensor) -> Any:
        return PadFunction.apply(ddx, ctx.sizes, ctx.shape, (*ctx.numbers[:3], 0.0)), None, None, None


def _pad_by_index(input: Tensor, pairs: list[tuple[int, int]], mode: int, value: float) -> Tensor:
    """Integers and bools, by NumPy: padding of labels and masks is rare and small."""
    if input.is_cuda:
        raise NotImplementedError(f"pad: {input.dtype} has no cuda twin yet; use .cpu() first")
    x = input._array
    for axis, (before, after) in enumerate(pairs):
        size = x.shape[axis]
        places = np.arange(-before, size + after)
        outside = (places < 0) | (places >= size)
        if mode == kernels.REFLECT:
            places = size - 1 - np.abs(size - 1 - np.abs(places))
        elif mode == kernels.CIRCULAR:
            places = places % max(size, 1)
        if not size:
            x = np.full((*x.shape[:axis], len(places), *x.shape[axis + 1 :]), value, x.dtype)
            continue
        x = np.take(x, np.clip(places, 0, size - 1), axis=axis)
        if mode == kernels.CONSTANT and outside.any():
            x[(slice(None),) * axis + (outside,)] = np.asarray(value).astype(x.dtype)
    return wrap(np.ascontiguousarray(x))
