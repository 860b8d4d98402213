"""Activation functions: relu, sigmoid, tanh, softmax, log_softmax."""

from __future__ import annotations

import warnings
from math import prod
from typing import Any

from numbanet import devices, dtypes, shapes
from numbanet.autograd import Function, is_grad_enabled
from numbanet.devices import Array
from numbanet.functional.inplace import unary
from numbanet.kernels import activation as kernels
from numbanet.kernels import softmax as softmax_kernels
from numbanet.tensor import Tensor, wrap

__all__ = ["log_softmax", "relu", "relu_", "sigmoid", "sigmoid_", "softmax", "tanh", "tanh_"]


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0), element by element; NaN stays NaN, and the derivative at 0 is 0.

    Args:
        input: any shape.
        inplace: write the result over ``input``, which saves its memory.

    Reference: V. Nair and G. Hinton, "Rectified linear units improve restricted Boltzmann machines" (2010).
    """
    if inplace:
        return relu_(input)
    if isinstance(input, Tensor) and input.dtype.kind in "iu":
        return input.clamp(min=0)
    shapes.check_floating("relu", input=input)
    return ReluFunction.apply(input, None)


def relu_(input: Tensor) -> Tensor:
    """``relu`` in place."""
    return unary("relu_", ReluFunction, input, keeps_input=False)


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x)), element by element."""
    return SigmoidFunction.apply(_floating("sigmoid", input), None)


def sigmoid_(input: Tensor) -> Tensor:
    """``sigmoid`` in place."""
    return unary("sigmoid_", SigmoidFunction, input, keeps_input=False)


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent, element by element."""
    return TanhFunction.apply(_floating("tanh", input), None)


def tanh_(input: Tensor) -> Tensor:
    """``tanh`` in place."""
    return unary("tanh_", TanhFunction, input, keeps_input=False)


def _floating(name: str, input: Any) -> Any:
    """Integers become the default floating dtype."""
    if isinstance(input, Tensor) and input.dtype.kind != "f":
        return input.to(dtype=dtypes.get_default_dtype())
    shapes.check_floating(name, input=input)
    return input


def _activation(forward: Any, ctx: Any, x: Tensor, out: Array | None) -> Tensor:
    """What the three activations' forward have in common. Backward needs y alone, so ``out`` may be x's own array."""
    source = devices.contiguous(x._array)
    y = devices.empty(source.shape, source.dtype, x.device) if out is None else out
    if y.size:
        forward(source, y)
    result = wrap(y)
    ctx.save_for_backward(result)
    return result


def _activation_grad(backward: Any, dy: Tensor, y: Tensor) -> Tensor:
    dx = devices.empty(y._array.shape, y.dtype, y.device)
    if dx.size:
        backward(devices.contiguous(dy._array), devices.contiguous(y._array), dx)
    return wrap(dx)


class ReluFunction(Function):
    """y = max(x, 0)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, out: Array | None) -> Tensor:
        return _activation(kernels.relu_forward, ctx, x, out)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        if is_grad_enabled():
            return dy * (y > 0), None
        return _activation_grad(kernels.relu_backward, dy, y), None


class SigmoidFunction(Function):
    """y = 1 / (1 + exp(-x)); dy/dx = y (1 - y)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, out: Array | None) -> Tensor:
        return _activation(kernels.sigmoid_forward, ctx, x, out)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        if is_grad_enabled():
            return dy * (y * (1 - y)), None
        return _activation_grad(kernels.sigmoid_backward, dy, y), None


class TanhFunction(Function):
    """y = tanh(x); dy/dx = 1 - y^2."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, out: Array | None) -> Tensor:
        return _activation(kernels.tanh_forward, ctx, x, out)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        if is_grad_enabled():
            return dy * (1 - y * y), None
        return _activation_grad(kernels.tanh_backward, dy, y), None


# -------------------------------------------------------------------------------------------------------- softmax


def softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """exp(x) divided by its sum along a dimension, computed from x - max(x) so that nothing overflows.

    Args:
        input: any shape.
        dim: the dimension along which the result sums to 1. Left out, it is guessed, with a warning.
        dtype: convert to this floating dtype first.

    Raises:
        IndexError: for a dimension that input does not have.
        NotImplementedError: for integers without ``dtype``.
    """
    input, dim = _softmax_arguments("softmax", input, dim, dtype)
    return SoftmaxFunction.apply(input, dim)


def log_softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """The logarithm of ``softmax``, computed as x - max(x) - log(sum(exp(x - max(x)))). Arguments as ``softmax``."""
    input, dim = _softmax_arguments("log_softmax", input, dim, dtype)
    return LogSoftmaxFunction.apply(input, dim)


def _softmax_arguments(name: str, input: Any, dim: int | None, dtype: Any) -> tuple[Tensor, int]:
    if dtype is not None and isinstance(input, Tensor):
        input = input.to(dtype=dtype)
    if isinstance(input, Tensor) and input.dtype.kind != "f":
        raise NotImplementedError(
            f"{name}: expected input of a floating dtype, got {input.dtype}; convert it or pass dtype="
        )
    shapes.check_floating(name, input=input)
    if dim is None:
        dim = 0 if input.ndim in (0, 1, 3) else 1
        warnings.warn(f"{name}: dim was not given, and dim={dim} was guessed; pass dim", UserWarning, stacklevel=3)
    return input, shapes.normalize_dim(name, dim, input.ndim)


def _strip(shape: tuple[int, ...], dim: int) -> tuple[int, int, int]:
    """The shape as (outer, n, inner), where n is the size of ``dim``."""
    return prod(shape[:dim]), shape[dim] if shape else 1, prod(shape[dim + 1 :])


class SoftmaxFunction(Function):
    """y = softmax(x); dx = y (dy - sum(y dy))."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int) -> Tensor:
        ctx.dim = dim
        out = _softmax_like(softmax_kernels.softmax_forward, x, dim)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        if is_grad_enabled():
            return y * (dy - (dy * y).sum(ctx.dim, keepdim=True)), None
        return _softmax_grad(softmax_kernels.softmax_backward, dy, y, ctx.dim), None


class LogSoftmaxFunction(Function):
    """y = log(softmax(x)); dx = dy - exp(y) sum(dy)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int) -> Tensor:
        ctx.dim = dim
        out = _softmax_like(softmax_kernels.log_softmax_forward, x, dim)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        if is_grad_enabled():
            return dy - y.exp() * dy.sum(ctx.dim, keepdim=True), None
        return _softmax_grad(softmax_kernels.log_softmax_backward, dy, y, ctx.dim), None


def _softmax_like(forward: Any, x: Tensor, dim: int) -> Tensor:
    source = devices.contiguous(x._array)
    y = devices.empty(source.shape, source.dtype, x.device)
    if y.size:
        strip = _strip(source.shape, dim)
        forward(source.reshape(strip), y.reshape(strip))
    return wrap(y)


def _softmax_grad(backward: Any, dy: Tensor, y: Tensor, dim: int) -> Tensor:
    dx = devices.empty(y._array.shape, y.dtype, y.device)
    if dx.size:
        strip = _strip(dx.shape, dim)
        backward(
            devices.contiguous(dy._array).reshape(strip), devices.contiguous(y._array).reshape(strip), dx.reshape(strip)
        )
    return wrap(dx)
