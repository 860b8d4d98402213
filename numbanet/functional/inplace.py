"""What in-place operations have in common: where they write, and what becomes of the graph.

An in-place operation computes a new value (with its graph), puts it into the target's memory, counts the change (so
that backward notices saved values that were overwritten), and moves the target to the new value's place in the
graph. Where the target is a view, it is the viewed tensor that changed: its new value is the old one with the viewed
part replaced, and the views find their new places when next asked.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from numbanet import devices, dtypes
from numbanet.autograd import Function, is_grad_enabled
from numbanet.devices import Array
from numbanet.shapes import broadcast_shapes
from numbanet.tensor import Tensor, operands, result_dtype, wrap


def disjoint(array: Array, out: Array) -> Array:
    """``array``, or a copy where it overlaps ``out`` without being the same elements in the same order."""
    if array is out or type(array) is not np.ndarray or not np.may_share_memory(array, out):
        return array
    if array.shape == out.shape and array.ctypes.data == out.ctypes.data:
        return array
    return array.copy()


def _recording(*tensors: Any) -> bool:
    return is_grad_enabled() and any(isinstance(t, Tensor) and t.requires_grad for t in tensors)


def _check_leaf(name: str, target: Tensor) -> None:
    if not is_grad_enabled():
        return
    for tensor, what in ((target, "a leaf"), (target._base, "a view of a leaf")):
        if tensor is not None and tensor._requires_grad and tensor._node is None and tensor._base is None:
            raise RuntimeError(
                f"{name}: {what} that requires grad is being changed in place, shape {tuple(target.shape)}; do it under "
                "no_grad(), or on .data"
            )


def _check_shape(name: str, target: Tensor, shape: tuple[int, ...]) -> None:
    if shape != target._array.shape:
        raise RuntimeError(
            f"{name}: the result has shape {tuple(shape)}, which cannot be put into a tensor of shape {tuple(target.shape)}"
        )


def _check_dtype(name: str, target: Tensor, dtype: np.dtype) -> None:
    """Refuse what would lose its kind: floats in integers, and anything but bools in bools."""
    if (dtypes.is_floating(dtype) and not target.is_floating_point()) or (
        target.dtype.kind == "b" and dtype.kind != "b"
    ):
        raise RuntimeError(f"{name}: the result is {dtype}, and cannot be put into a {target.dtype} tensor")


def _harmless(value: Any, shape: tuple[int, ...], dtype: np.dtype) -> bool:
    """Whether ``value`` surely leaves shape and dtype as they are: the usual case, told quickly."""
    if isinstance(value, Tensor):
        return value._array.shape == shape and value._array.dtype == dtype
    return dtypes.is_floating(dtype) and type(value) in (int, float)


def check(name: str, target: Tensor, *others: Any, promotes: bool = True) -> None:
    """Refuse, before anything is computed, a result of ``target`` and ``others`` that does not fit into target.

    Others are tensors and numbers (None is passed over) that broadcast with target; ``promotes`` where the result's
    dtype is theirs together, not target's own.

    Raises:
        RuntimeError: for a broadcast shape other than target's, or floats that would go into integers.
    """
    shape, dtype = target._array.shape, target._array.dtype
    given = [value for value in others if value is not None and not _harmless(value, shape, dtype)]
    if not given:
        return
    around = [value._array.shape for value in given if isinstance(value, Tensor) and value._array.shape != shape]
    if around:
        _check_shape(name, target, broadcast_shapes(name, shape, *around))
    if promotes:
        _check_dtype(name, target, result_dtype(name, target, *given))


def assign(name: str, target: Tensor, value: Tensor, copied: bool = False) -> Tensor:
    """Make ``value`` (of target's shape) the value of ``target``; ``copied`` if it already stands in its memory."""
    _check_leaf(name, target)
    _check_shape(name, target, value._array.shape)
    if value.dtype != target.dtype:
        _check_dtype(name, target, value.dtype)
        value = value.to(dtype=target.dtype)
    recording = _recording(target, target._base, value)
    if not copied:
        devices.assign(target._array, value._array)
    target._count_change()
    if not recording:
        return target
    base: Any = target._base
    if base is None:
        target._node, target._output = value._edge()
        target._requires_grad = value._requires_grad
        return target
    written = ViewWrite.apply(base, value, target._steps)
    base._node, base._output, base._requires_grad = written._node, written._output, written._requires_grad
    target._seen = -1  # works out its place anew when asked
    return target


class ViewWrite(Function):
    """The graph of writing ``value`` into the part of ``base`` that ``steps`` look at (the memory is written already)."""

    @staticmethod
    def forward(ctx: Any, base: Tensor, value: Tensor, steps: Any) -> Tensor:
        ctx.steps = steps
        return wrap(base._array)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        part = grad
        for function, args in ctx.steps:
            part = function.apply(part, *args)
        grad_base = None
        if ctx.needs_input_grad[0]:
            look = grad_base = grad.clone()
            for function, args in ctx.steps:
                look = function.apply(look, *args)
            assign("backward of a change in place", look, look.new_zeros(()).expand(tuple(look.shape)))
        return grad_base, part.clone() if ctx.needs_input_grad[1] else None, None


def binary(name: str, function: type[Function], target: Tensor, other: Any, keeps_input: bool = True) -> Tensor:
    """``target = function(target, other)`` in target's memory; ``keeps_input`` if backward may need the old target."""
    _check_leaf(name, target)
    check(name, target, other)
    recording = _recording(target, target._base, other)
    old = target.clone() if recording and keeps_input else target
    a, b = operands(name, old, other)
    # Straight into target's memory where nothing has to be converted or broadcast.
    if a is old and target.is_contiguous() and (b._array.shape == target._array.shape or b._array.size == 1):
        return assign(name, target, function.apply(a, b, target._array), copied=True)
    return assign(name, target, function.apply(a, b, None))


def unary(
    name: str,
    function: type[Function],
    target: Tensor,
    keeps_input: bool = True,
    numbers: tuple[Any, ...] = (),
    integers: bool = False,
) -> Tensor:
    """``target = function(target, *numbers)`` in target's memory; ``keeps_input`` if backward may need the old target.

    ``integers`` where the function of integers is integers (but of bools is not defined).
    """
    _check_leaf(name, target)
    if integers and target.dtype.kind == "b":
        raise NotImplementedError(f"{name}: not defined for bool tensors")
    if not target.is_floating_point() and not integers:
        raise RuntimeError(f"{name}: the result is floating, and cannot be put into a {target.dtype} tensor")
    old = target.clone() if keeps_input and _recording(target, target._base) else target
    if not target.is_contiguous():
        return assign(name, target, function.apply(old, None, *numbers))
    value = function.apply(old, target._array, *numbers)
    assign(name, target, value, copied=True)
    if value._node is not None and not keeps_input:
        value._node._recount(target)  # backward keeps the new value (y of exp, sqrt, ...), which counts from here
    return target
