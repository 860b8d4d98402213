"""Reading and writing by index: basic (ints, slices, None, ...: views), boolean and integer arrays (copies)."""

from __future__ import annotations

from typing import Any

import numpy as np

from numbanet import devices
from numbanet.autograd import Function, no_grad
from numbanet.functional import inplace
from numbanet.functional.arithmetic import clone, unbroadcast
from numbanet.functional.shape import copy_
from numbanet.tensor import Tensor, tensor, wrap

__all__ = ["gather", "getitem", "index_select", "setitem"]


def _plain(x: Tensor, index: Any) -> tuple[tuple[Any, ...], bool]:
    """The index with tensors and lists turned into arrays, and whether it is basic (gives a view)."""
    basic = True
    parts = []
    for part in index if isinstance(index, tuple) else (index,):
        if isinstance(part, Tensor):
            if part.ndim == 0 and part.dtype.kind in "iu":
                part = int(part)
            elif part.dtype.kind in "iub":
                part = np.asarray(devices.to_host(part._array))
                if part.dtype == np.uint8:
                    part = part.astype(bool)  # PyTorch's masks of old
                basic = False
            else:
                raise IndexError(f"index: tensors used as indices must be integers or bools, got {part.dtype}")
        elif isinstance(part, bool | np.bool_ | list | tuple | np.ndarray | range):
            part = np.asarray(part)
            if part.size == 0 and part.dtype.kind == "f":
                part = part.astype(np.int64)
            if part.dtype.kind not in "iub":
                raise IndexError(f"index: arrays used as indices must be integers or bools, got {part.dtype}")
            basic = False
        elif isinstance(part, slice):
            steps = [s if s is None else s.__index__() for s in (part.start, part.stop, part.step)]
            if steps[2] is not None and steps[2] <= 0:
                raise ValueError(f"index: slice steps must be positive, got {steps[2]}; use flip to reverse")
            part = slice(*steps)
        elif part is not None and part is not Ellipsis:
            try:
                part = part.__index__()
            except AttributeError:
                raise TypeError(
                    f"index: expected ints, slices, None, ..., bool or integer tensors, got {type(part).__name__}"
                ) from None
        parts.append(part)
    return tuple(parts), basic


def _read(array: np.ndarray, index: tuple[Any, ...]) -> Any:
    try:
        return array[index]
    except IndexError as error:
        raise IndexError(f"index: {error} (tensor of shape {array.shape})") from None


def getitem(input: Tensor, index: Any) -> Tensor:
    """``input[index]``: a view for ints, slices, None and ...; a copy for boolean and integer arrays.

    Raises:
        IndexError: out of range, or of the wrong type.
        ValueError: for slice steps that are not positive.
    """
    plain, basic = _plain(input, index)
    if basic:
        return Slice.apply(input, plain)
    if input.is_cuda:
        raise NotImplementedError("index: reading by boolean or integer arrays has no cuda twin yet; use .cpu() first")
    return Gather.apply(input, plain)


class Slice(Function):
    _is_view = True

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: tuple[Any, ...]) -> Tensor:
        ctx.index, ctx.shape = index, x._array.shape
        # an int for every dimension gives a number in NumPy: the Ellipsis keeps it an array, and a view
        whole = index if Ellipsis in index else (*index, Ellipsis)
        return wrap(devices.view(x._array, lambda a: _read(a, whole)))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return Unslice.apply(grad, ctx.shape, ctx.index), None


class Unslice(Function):
    """Zeros of ``shape`` with ``values`` at ``index``: what a slice's gradient is."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, shape: tuple[int, ...], index: tuple[Any, ...]) -> Tensor:
        ctx.index = index
        whole = index if Ellipsis in index else (*index, Ellipsis)
        out = devices.full(shape, 0, values.dtype, values.device)
        devices.assign(devices.view(out, lambda a: a[whole]), values._array)
        return wrap(out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return getitem(grad, ctx.index), None, None


class Gather(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, index: tuple[Any, ...]) -> Tensor:
        ctx.index, ctx.shape = index, x._array.shape
        return wrap(np.asarray(_read(x._array, index), order="C"))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return Scatter.apply(grad, ctx.shape, ctx.index), None


class Scatter(Function):
    """Zeros of ``shape`` with ``values`` added at ``index`` (elements named twice are added twice)."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, shape: tuple[int, ...], index: tuple[Any, ...]) -> Tensor:
        ctx.index = index
        out = np.zeros(shape, values.dtype)
        np.add.at(out, index, values._array)
        return wrap(out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return Gather.apply(grad, ctx.index), None, None


def setitem(input: Tensor, index: Any, value: Any) -> None:
    """``input[index] = value``: numbers, arrays or tensors that broadcast to the indexed part; differentiable.

    Raises:
        IndexError, ValueError: as for reading.
        RuntimeError: for shapes that do not broadcast, or a leaf that requires grad.
    """
    plain, basic = _plain(input, index)
    if not isinstance(value, Tensor):
        value = tensor(value, dtype=input.dtype, device=input.device)
    if basic:
        part = Slice.apply(input, plain)
        shape = tuple(value.shape)
        while len(shape) > part.ndim and shape[0] == 1:  # leading ones do not count, as in PyTorch
            shape = shape[1:]
        try:
            copy_(part, value.reshape(shape))
        except RuntimeError as error:
            if "expand" not in str(error):
                raise
            raise RuntimeError(
                f"index: a value of shape {tuple(value.shape)} does not broadcast to the indexed part of shape {tuple(part.shape)}"
            ) from None
        return
    if input.is_cuda:
        raise NotImplementedError("index: writing by boolean or integer arrays has no cuda twin yet; use .cpu() first")
    value = value.to(dtype=input.dtype, device=input.device)
    inplace.assign("index", input, Put.apply(clone(input), value, plain))


class Put(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor, index: tuple[Any, ...]) -> Tensor:
        ctx.index, ctx.shape = index, value._array.shape
        try:
            x._array[index] = value._array
        except (IndexError, ValueError) as error:
            kind = IndexError if isinstance(error, IndexError) else RuntimeError
            raise kind(
                f"index: {error} (tensor of shape {x._array.shape}, value of shape {value._array.shape})"
            ) from None
        return wrap(x._array)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = grad.clone()
            with no_grad():
                grad_x._array[ctx.index] = 0
        grad_value = unbroadcast(Gather.apply(grad, ctx.index), ctx.shape) if ctx.needs_input_grad[1] else None
        return grad_x, grad_value, None


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The parts of ``input`` at the positions in ``index`` (1-D int64) along ``dim``, as a copy."""
    if index.ndim > 1:
        raise IndexError(f"index_select: index must have at most one dimension, got shape {tuple(index.shape)}")
    return getitem(input, (slice(None),) * (dim % max(input.ndim, 1)) + (index.reshape(-1),))


def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """``out[i][j][k] = input[index[i][j][k]][j][k]`` for dim=0, and likewise for the others."""
    dim %= max(input.ndim, 1)
    if index.ndim != input.ndim or any(
        i > s for d, (i, s) in enumerate(zip(index.shape, input.shape, strict=True)) if d != dim
    ):
        raise RuntimeError(
            f"gather: index of shape {tuple(index.shape)} does not fit input {tuple(input.shape)} along dim={dim}"
        )
    grid = list(np.ogrid[tuple(slice(0, s) for s in index.shape)])
    grid[dim] = devices.to_host(index._array)
    if grid[dim].size and (grid[dim].min() < 0 or grid[dim].max() >= input.shape[dim]):
        raise RuntimeError(
            f"gather: indices run from {grid[dim].min()} to {grid[dim].max()}, expected 0 to {input.shape[dim] - 1}"
        )
    return Gather.apply(input, tuple(grid))
