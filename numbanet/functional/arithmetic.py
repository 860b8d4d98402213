"""Elementwise arithmetic, comparisons and their gradients, with broadcasting and PyTorch's dtype promotion.

Binary functions take tensors and Python numbers; two tensors' shapes must broadcast: aligned at the right, sizes equal
or 1. Every backward is written in these same functions, so it can be differentiated again.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from numbanet import devices, dtypes
from numbanet.autograd import Function, is_grad_enabled
from numbanet.functional import finding, inplace
from numbanet.kernels import elementwise, gather
from numbanet.shapes import broadcast_shapes
from numbanet.tensor import Tensor, operands, wrap

__all__ = [
    "abs",
    "abs_",
    "absolute",
    "acos",
    "add",
    "add_",
    "addcdiv",
    "addcdiv_",
    "addcmul",
    "addcmul_",
    "allclose",
    "arccos",
    "arcsin",
    "arctan",
    "arctan2",
    "asin",
    "atan",
    "atan2",
    "bitwise_and",
    "bitwise_not",
    "bitwise_or",
    "bitwise_xor",
    "ceil",
    "clamp",
    "clamp_",
    "clamp_max",
    "clamp_max_",
    "clamp_min",
    "clamp_min_",
    "clip",
    "cos",
    "cosh",
    "div",
    "div_",
    "divide",
    "eq",
    "equal",
    "erf",
    "exp",
    "exp2",
    "exp_",
    "expm1",
    "fix",
    "floor",
    "floor_divide",
    "fmod",
    "frac",
    "ge",
    "gt",
    "hypot",
    "isclose",
    "isfinite",
    "isinf",
    "isnan",
    "le",
    "lerp",
    "lerp_",
    "log",
    "log1p",
    "log2",
    "log10",
    "log_",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "lt",
    "maximum",
    "minimum",
    "mul",
    "mul_",
    "multiply",
    "ne",
    "neg",
    "neg_",
    "negative",
    "pow",
    "pow_",
    "reciprocal",
    "remainder",
    "round",
    "rsqrt",
    "sign",
    "sin",
    "sinh",
    "sqrt",
    "sqrt_",
    "square",
    "sub",
    "sub_",
    "subtract",
    "tan",
    "true_divide",
    "trunc",
    "where",
]  # fmt: skip


def _binary(kernel: Any, a: Tensor, b: Tensor, dtype: np.dtype | None = None, out: Any = None) -> Tensor:
    """Run a binary kernel: allocate (or write to ``out``), broadcasting."""
    x, y = devices.contiguous(a._array), devices.contiguous(b._array)
    if out is None:
        if x.shape == y.shape or not y.shape:
            shape = x.shape
        else:
            shape = broadcast_shapes(kernel.name, x.shape, y.shape) if x.shape else y.shape
        out = devices.empty(shape, dtype or x.dtype, a.device)
    else:
        x, y = inplace.disjoint(x, out), inplace.disjoint(y, out)
    kernel(x, y, out)
    return wrap(out)


def _unary(kernel: Any, x: Tensor, dtype: np.dtype | None = None, out: Any = None) -> Tensor:
    array = devices.contiguous(x._array)
    if out is None:
        out = devices.empty(array.shape, dtype or array.dtype, x.device)
    kernel(array, out)
    return wrap(out)


def unbroadcast(grad: Tensor | None, shape: tuple[int, ...]) -> Tensor | None:
    """Sum a gradient over the dimensions that broadcasting to its shape repeated."""
    if grad is None or grad._array.shape == shape:
        return grad
    extra = grad.ndim - len(shape)
    repeated = tuple(range(extra)) + tuple(
        extra + i for i, size in enumerate(shape) if size == 1 and grad._array.shape[extra + i] != 1
    )
    return grad.sum(dim=repeated).reshape(shape) if repeated else grad.reshape(shape)


# ---------------------------------------------------------------------------------------------------- + - * / **


def add(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """``input + alpha * other``."""
    a, b = operands("add", input, other)
    if type(alpha) is not int or alpha != 1:
        _check_alpha("add", a, alpha)
        if alpha != 1:
            if a._array.shape == b._array.shape and a.is_floating_point() and not isinstance(alpha, Tensor):
                return AddScaled.apply(a, b, float(alpha))
            b = mul(b, alpha)
    return Add.apply(a, b, None)


def _check_alpha(name: str, a: Tensor, alpha: Any) -> None:
    """Refuse a factor of another kind than the promoted operand ``a``."""
    kind = dtypes.of_number(alpha) if not isinstance(alpha, Tensor) else alpha.dtype
    if kind == dtypes.bool and a.dtype != dtypes.bool:
        raise RuntimeError(f"{name}: a bool alpha is for bool results, got alpha={alpha} for {a.dtype}")
    if dtypes.is_floating(kind) and not a.is_floating_point():
        raise RuntimeError(f"{name}: alpha must be an int for {a.dtype}, got alpha={alpha}")


class Add(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, out: Any) -> Tensor:
        ctx.shapes = a._array.shape, b._array.shape
        return _binary(elementwise.logical_or if a.dtype == dtypes.bool else elementwise.add, a, b, out=out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        a, b = ctx.needs_input_grad[:2]
        return unbroadcast(grad, ctx.shapes[0]) if a else None, unbroadcast(grad, ctx.shapes[1]) if b else None, None


class AddScaled(Function):
    """a + alpha * b of one shape."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, alpha: float) -> Tensor:
        ctx.alpha = alpha
        out = devices.copy(a._array)
        elementwise.axpy(devices.contiguous(b._array), out, alpha)
        return wrap(out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return grad, mul(grad, ctx.alpha) if ctx.needs_input_grad[1] else None, None


def sub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """``input - alpha * other``."""
    _refuse_bools("sub", input, other)
    a, b = operands("sub", input, other)
    if type(alpha) is not int or alpha != 1:
        _check_alpha("sub", a, alpha)
        b = mul(b, alpha)
    return Sub.apply(a, b, None)


def _refuse_bools(name: str, *values: Any) -> None:
    if any(isinstance(v, bool | np.bool_) or getattr(v, "dtype", None) == dtypes.bool for v in values):
        raise RuntimeError(
            f"{name}: subtraction with bools is not defined; use logical_xor or logical_not, or convert to a number dtype"
        )


class Sub(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, out: Any) -> Tensor:
        ctx.shapes = a._array.shape, b._array.shape
        return _binary(elementwise.subtract, a, b, out=out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        a, b = ctx.needs_input_grad[:2]
        return (
            unbroadcast(grad, ctx.shapes[0]) if a else None,
            unbroadcast(neg(grad), ctx.shapes[1]) if b else None,
            None,
        )


def mul(input: Any, other: Any) -> Tensor:
    """``input * other``."""
    a, b = operands("mul", input, other)
    return Mul.apply(a, b, None)


class Mul(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, out: Any) -> Tensor:
        ctx.shapes = a._array.shape, b._array.shape
        need_a, need_b = ctx.needs_input_grad[:2]
        ctx.save_for_backward(a if need_b else None, b if need_a else None)
        return _binary(elementwise.logical_and if a.dtype == dtypes.bool else elementwise.multiply, a, b, out=out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        a, b = ctx.saved_tensors
        grad_a = None if b is None else unbroadcast(grad * b, ctx.shapes[0])
        grad_b = None if a is None else unbroadcast(grad * a, ctx.shapes[1])
        return grad_a, grad_b, None


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """``input / other``; ints are divided as floats. ``rounding_mode="floor"`` rounds down, ``"trunc"`` towards zero.

    The gradient of a rounded quotient is zero.

    Raises:
        RuntimeError: for another rounding_mode, or a rounded division of integers by zero.
        NotImplementedError: for a rounded division of bools.
    """
    if rounding_mode not in (None, "floor", "trunc"):
        raise RuntimeError(f"div: rounding_mode must be None, 'floor' or 'trunc', got {rounding_mode!r}")
    a, b = operands("div", input, other)
    whole = not a.is_floating_point()
    if rounding_mode is not None:
        if a.dtype == dtypes.bool:
            raise NotImplementedError("div: a rounded division of bools is not defined")
        _refuse_zero("div", a, b)
        if not whole:
            return WholeQuotient.apply(a, b, rounding_mode)
        quotient = _binary(elementwise.floor_divide, a, b)
        if rounding_mode == "floor" or a.dtype.kind == "u":
            return quotient
        return quotient + logical_and(lt(quotient, 0), ne(quotient * b, a))
    if whole:
        a, b = a.to(dtype=dtypes.get_default_dtype()), b.to(dtype=dtypes.get_default_dtype())
    return Div.apply(a, b, None)


class WholeQuotient(Function):
    """The quotient of floats rounded down or towards zero, constant between jumps."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, rounding_mode: str) -> Tensor:
        ctx.shapes = a._array.shape, b._array.shape
        if rounding_mode == "floor":
            return _binary(elementwise.floor_divide, a, b)
        return _unary(elementwise.trunc, _binary(elementwise.divide, a, b))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        zeros = [
            grad.new_zeros(shape) if need else None
            for shape, need in zip(ctx.shapes, ctx.needs_input_grad, strict=False)
        ]
        return *zeros, None


class Div(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, out: Any) -> Tensor:
        ctx.shapes = a._array.shape, b._array.shape
        ctx.save_for_backward(a if ctx.needs_input_grad[1] else None, b)
        return _binary(elementwise.divide, a, b, out=out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        a, b = ctx.saved_tensors
        grad_a = unbroadcast(grad / b, ctx.shapes[0]) if ctx.needs_input_grad[0] else None
        grad_b = None if a is None else unbroadcast(neg(grad) * a / (b * b), ctx.shapes[1])
        return grad_a, grad_b, None


def pow(input: Any, exponent: Any) -> Tensor:
    """``input ** exponent``.

    Raises:
        RuntimeError: for integers to negative integer powers.
    """
    a, b = operands("pow", input, exponent)
    if not a.is_floating_point():
        if isinstance(exponent, int | np.integer) and exponent < 0:
            raise RuntimeError(f"pow: integers to negative integer powers are not defined, got exponent {exponent}")
        if a.dtype == dtypes.bool:
            raise NotImplementedError("pow: not defined for bools to the power of bools")
        if a.dtype.kind == "i" and isinstance(exponent, Tensor):
            return _power_of_ints(a, b)
    elif not isinstance(exponent, Tensor):
        if exponent == 2:
            return square(a)
        if exponent == 1:
            return clone(a)
    return Pow.apply(a, b, None)


def _power_of_ints(a: Tensor, b: Tensor) -> Tensor:
    """a ** b; what a negative power makes a fraction of is cut to 0."""
    negative = lt(b, 0)
    whole = _binary(elementwise.power, a, where(negative, 0, b))
    ones = where(eq(bitwise_and(b, 1), 1), a, 1)  # of 1 and -1
    return where(negative, where(logical_or(eq(a, 1), eq(a, -1)), ones, 0), whole)


class Pow(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, out: Any) -> Tensor:
        ctx.save_for_backward(a, b)
        return _binary(elementwise.power, a, b, out=out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        a, b = ctx.saved_tensors
        grad_a = grad_b = None
        if ctx.needs_input_grad[0]:  # b a^(b-1), and 0 where b = 0 whatever a is
            grad_a = unbroadcast(where(b == 0, 0.0, grad * b * Pow.apply(a, b - 1, None)), a._array.shape)
        if ctx.needs_input_grad[1]:  # a^b log a, and 0 where a = 0 and b >= 0
            zero = logical_and(a == 0, b >= 0)
            grad_b = unbroadcast(
                where(zero, 0.0, grad * Pow.apply(a, b, None) * log(where(zero, 1.0, a))), b._array.shape
            )
        return grad_a, grad_b, None


def floor_divide(input: Any, other: Any) -> Tensor:
    """``floor(input / other)``; not differentiable.

    Raises:
        RuntimeError: for an integer division by zero.
    """
    a, b = operands("floor_divide", input, other)
    _refuse_bool("floor_divide", a)
    _refuse_zero("floor_divide", a, b)
    return _binary(elementwise.floor_divide, a.detach(), b.detach())


def remainder(input: Any, other: Any) -> Tensor:
    """The remainder of ``input / other``, with the sign of ``other`` (Python's ``%``).

    Raises:
        RuntimeError: for an integer division by zero.
    """
    a, b = operands("remainder", input, other)
    _refuse_bool("remainder", a)
    _refuse_zero("remainder", a, b)
    return Remainder.apply(a, b)


class Remainder(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return _binary(elementwise.remainder, a, b)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # a - b floor(a / b)
        a, b = ctx.saved_tensors
        grad_b = unbroadcast(neg(grad) * floor_divide(a, b), b._array.shape) if ctx.needs_input_grad[1] else None
        return unbroadcast(grad, a._array.shape) if ctx.needs_input_grad[0] else None, grad_b


def fmod(input: Any, other: Any) -> Tensor:
    """The remainder of ``input / other``, with the sign of ``input`` (C's ``fmod``).

    Raises:
        RuntimeError: for an integer division by zero.
    """
    a, b = operands("fmod", input, other)
    _refuse_zero("fmod", a, b)
    return Fmod.apply(a, b)


class Fmod(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return _binary(elementwise.fmod, a, b)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # a - b trunc(a / b)
        a, b = ctx.saved_tensors
        grad_b = unbroadcast(neg(grad) * trunc(a / b), b._array.shape) if ctx.needs_input_grad[1] else None
        return unbroadcast(grad, a._array.shape) if ctx.needs_input_grad[0] else None, grad_b


def _refuse_bool(name: str, x: Tensor) -> None:
    if x.dtype == dtypes.bool:
        raise NotImplementedError(f"{name}: not defined for bool tensors, got shape {tuple(x.shape)}")


def _refuse_zero(name: str, dividend: Tensor, divisor: Tensor) -> None:
    if divisor.is_floating_point() or not dividend._array.size:
        return
    array = divisor._array
    if not (finding.all_hold(array) if divisor.is_cuda and array.size > 1 else devices.to_host(array).all()):
        raise RuntimeError(f"{name}: integer division by zero (divisor of shape {tuple(divisor.shape)} holds 0)")


# ------------------------------------------------------------------------------------------- maximum, clamp, where


def maximum(input: Any, other: Any) -> Tensor:
    """The larger of each pair; NaN where either is NaN. Where both are equal each gets half of the gradient."""
    a, b = operands("maximum", input, other)
    return Extremum.apply(a, b, elementwise.maximum)


def minimum(input: Any, other: Any) -> Tensor:
    """The smaller of each pair; NaN where either is NaN. Where both are equal each gets half of the gradient."""
    a, b = operands("minimum", input, other)
    return Extremum.apply(a, b, elementwise.minimum)


class Extremum(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, kernel: Any) -> Tensor:
        ctx.save_for_backward(a, b)
        ctx.largest = kernel is elementwise.maximum
        return _binary(kernel, a, b)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        a, b = ctx.saved_tensors
        x, y, dy = a._array, b._array, grad._array
        if not is_grad_enabled() and x.shape == y.shape and all(ctx.needs_input_grad[:2]):
            da, db = (devices.empty(x.shape, a.dtype, a.device) for _ in range(2))
            inputs = [devices.contiguous(array) for array in (x, y, dy)]
            elementwise.extremum_backward(*inputs, da, db, ctx.largest)
            return wrap(da), wrap(db), None
        share = where(eq(a, b), grad * 0.5, grad)
        beaten = [lt(a, b), gt(a, b)] if ctx.largest else [gt(a, b), lt(a, b)]
        grads = [
            unbroadcast(where(loses, 0.0, share), t._array.shape) if needed else None
            for loses, t, needed in zip(beaten, (a, b), ctx.needs_input_grad[:2], strict=True)
        ]
        return *grads, None


def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Values below ``min`` become min, above ``max`` max (also where min > max); NaN stays.

    The gradient passes where the input lies within the bounds, themselves included.

    Args:
        input: any tensor of numbers; a float bound turns integers into floats.
        min, max: numbers, tensors that broadcast, or None for no bound.

    Raises:
        RuntimeError: if both bounds are None.
    """
    if min is None and max is None:
        raise RuntimeError("clamp: at least one of min and max must be given")
    numbers = [bound for bound in (min, max) if isinstance(bound, bool | int | float | np.generic)]
    if len(numbers) == 2 - (min is None) - (max is None) and not any(bound != bound for bound in numbers):
        (x, *_) = operands("clamp", input, *numbers)
        min, max = [bound if bound is None else dtypes.fitting_number("clamp", bound, x.dtype) for bound in (min, max)]
        return Clamp.apply(x, None, -np.inf if min is None else min, np.inf if max is None else max)
    given = [bound for bound in (min, max) if bound is not None]
    x, *bounds = operands("clamp", input, *given)
    low = None if min is None else bounds[0]
    high = None if max is None else bounds[-1]
    return Limit.apply(x, low, high, broadcast_shapes("clamp", *[t._array.shape for t in (x, *bounds)]))


class Clamp(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, out: Any, low: Any, high: Any) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bounds = low, high
        if out is None:
            out = devices.empty(x._array.shape, x.dtype, x.device)
        elementwise.clamp(devices.contiguous(x._array), out, low, high)
        return wrap(out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        low, high = ctx.bounds
        if is_grad_enabled():
            return where(logical_and(ge(x, low), le(x, high)), grad, 0.0), None, None, None
        dx = devices.empty(x._array.shape, x.dtype, x.device)
        elementwise.clamp_backward(devices.contiguous(x._array), devices.contiguous(grad._array), dx, low, high)
        return wrap(dx), None, None, None


class Limit(Function):
    """``clamp`` between tensors; a bound of NaN gives NaN, and none of the three a gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: Tensor | None, high: Tensor | None, shape: tuple[int, ...]) -> Tensor:
        ctx.save_for_backward(x, low, high)
        y = x
        if low is not None:
            y = where(logical_or(lt(y, low), ne(low, low)), low, y)
        if high is not None:
            y = where(logical_or(gt(y, high), ne(high, high)), high, y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, low, high = ctx.saved_tensors
        passes = [test(x, bound) for test, bound in ((ge, low), (le, high)) if bound is not None]
        reaches: list[Any] = [passes[0] if len(passes) == 1 else logical_and(*passes), None, None]
        if low is not None:
            below = lt(x, low)
            reaches[1] = below if high is None else logical_and(below, lt(low, high))
        if high is not None:
            above = gt(x, high)
            reaches[2] = above if low is None else logical_or(above, lt(high, low))
        grads = [
            unbroadcast(where(reach, grad, 0.0), t._array.shape) if needed else None
            for reach, t, needed in zip(reaches, (x, low, high), ctx.needs_input_grad[:3], strict=True)
        ]
        return *grads, None


clip = clamp


def clamp_min(input: Tensor, min: Any) -> Tensor:
    """``clamp`` from below."""
    return clamp(input, min=min)


def clamp_max(input: Tensor, max: Any) -> Tensor:
    """``clamp`` from above."""
    return clamp(input, max=max)


def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """``input`` where the condition holds, else ``other``; all three broadcast together.

    With the condition alone: the places where it holds, as ``nonzero(condition, as_tuple=True)``.

    Raises:
        TypeError: if the condition is not a tensor, or one value is missing.
        RuntimeError: if the condition is not bool, or the devices differ.
    """
    if not isinstance(condition, Tensor):
        raise TypeError(f"where: condition must be a bool tensor, got {type(condition).__name__}")
    if input is None and other is None:
        from numbanet.functional.indexing import nonzero

        return nonzero(condition, as_tuple=True)
    if condition.dtype != dtypes.bool:
        raise RuntimeError(f"where: condition must be a bool tensor, got {condition.dtype}")
    a, b = operands("where", input, other)
    if condition.device != a.device:
        if a.ndim == 0 and b.ndim == 0 and not isinstance(input, Tensor) and not isinstance(other, Tensor):
            a, b = a.to(condition.device), b.to(condition.device)
        else:
            raise RuntimeError(
                f"where: condition is on {condition.device}, the values on {a.device}; move them with .to()"
            )
    shape = broadcast_shapes("where", condition._array.shape, a._array.shape, b._array.shape)
    return Where.apply(condition, a, b, shape)


def _filling(x: Tensor, shape: tuple[int, ...]) -> Any:
    """A contiguous array of ``shape`` with x's values, or of one element where x has one: what kernels of three take."""
    array = x._array
    if array.shape != shape and array.size != 1:
        array = devices.view(array, lambda a: np.broadcast_to(a, shape))
    return devices.contiguous(array)


class Where(Function):
    @staticmethod
    def forward(ctx: Any, condition: Tensor, a: Tensor, b: Tensor, shape: tuple[int, ...]) -> Tensor:
        ctx.save_for_backward(condition)
        ctx.shapes = a._array.shape, b._array.shape
        out = devices.empty(shape, a.dtype, a.device)
        full = condition if condition._array.shape == shape else condition.expand(shape)
        elementwise.where(devices.contiguous(full._array), _filling(a, shape), _filling(b, shape), out)
        return wrap(out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (condition,) = ctx.saved_tensors
        need = ctx.needs_input_grad
        grad_a = unbroadcast(where(condition, grad, 0.0), ctx.shapes[0]) if need[1] else None
        return None, grad_a, unbroadcast(where(condition, 0.0, grad), ctx.shapes[1]) if need[2] else None, None


# --------------------------------------------------------------------------------------------- functions of three


def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """``input + weight * (end - input)``, exactly ``end`` for a weight of 1; all three broadcast.

    Raises:
        RuntimeError: for tensors of different dtypes, or not floating ones.
    """
    given = [t for t in (input, end, weight) if isinstance(t, Tensor)]
    if any(t.dtype != input.dtype for t in given) or not input.is_floating_point():
        raise RuntimeError(
            f"lerp: expected floating tensors of one dtype, got {', '.join(str(t.dtype) for t in given)}"
        )
    a, b, c = operands("lerp", input, end, weight)
    shape = broadcast_shapes("lerp", a._array.shape, b._array.shape, c._array.shape)
    return Lerp.apply(a, b, c, shape)


class Lerp(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, c: Tensor, shape: tuple[int, ...]) -> Tensor:
        ctx.save_for_backward(a, b, c)
        out = devices.empty(shape, a.dtype, a.device)
        elementwise.lerp(*[_filling(t, shape) for t in (a, b, c)], out)
        return wrap(out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        a, b, c = ctx.saved_tensors
        need = ctx.needs_input_grad
        return (
            unbroadcast(grad * (1 - c), a._array.shape) if need[0] else None,
            unbroadcast(grad * c, b._array.shape) if need[1] else None,
            unbroadcast(grad * (b - a), c._array.shape) if need[2] else None,
            None,
        )


def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """``input + value * tensor1 * tensor2``; all three broadcast. Of a float value integers take the whole part."""
    a, b, c = operands("addcmul", input, tensor1, tensor2)
    value = value if a.is_floating_point() else int(value)
    return Addcmul.apply(a, b, c, value, broadcast_shapes("addcmul", a._array.shape, b._array.shape, c._array.shape))


class Addcmul(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, c: Tensor, value: Any, shape: tuple[int, ...]) -> Tensor:
        ctx.save_for_backward(b, c)
        ctx.shape, ctx.value = a._array.shape, value
        out = devices.empty(shape, a.dtype, a.device)
        elementwise.addcmul(*[_filling(t, shape) for t in (a, b, c)], out, value)
        return wrap(out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        b, c = ctx.saved_tensors
        need = ctx.needs_input_grad
        return (
            unbroadcast(grad, ctx.shape) if need[0] else None,
            unbroadcast(grad * (c * ctx.value), b._array.shape) if need[1] else None,
            unbroadcast(grad * (b * ctx.value), c._array.shape) if need[2] else None,
            None,
            None,
        )


def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """``input + value * tensor1 / tensor2``; all three broadcast.

    Raises:
        RuntimeError: where both divided tensors are integers.
    """
    if not tensor1.is_floating_point() and not tensor2.is_floating_point():
        raise RuntimeError(
            f"addcdiv: cannot divide {tensor1.dtype} by {tensor2.dtype}; convert one of them with .float()"
        )
    a, b, c = operands("addcdiv", input, tensor1, tensor2)
    return Addcdiv.apply(a, b, c, value, broadcast_shapes("addcdiv", a._array.shape, b._array.shape, c._array.shape))


class Addcdiv(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, c: Tensor, value: Any, shape: tuple[int, ...]) -> Tensor:
        ctx.save_for_backward(b, c)
        ctx.shape, ctx.value = a._array.shape, value
        out = devices.empty(shape, a.dtype, a.device)
        elementwise.addcdiv(*[_filling(t, shape) for t in (a, b, c)], out, value)
        return wrap(out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        b, c = ctx.saved_tensors
        need = ctx.needs_input_grad
        scaled = grad * ctx.value / c
        return (
            unbroadcast(grad, ctx.shape) if need[0] else None,
            unbroadcast(scaled, b._array.shape) if need[1] else None,
            unbroadcast(neg(scaled) * b / c, c._array.shape) if need[2] else None,
            None,
            None,
        )


# ----------------------------------------------------------------------------------------------------- comparisons


def _comparison(name: str, kernel: Any, symbol: str) -> Any:
    def compare(input: Any, other: Any) -> Tensor:
        a, b = operands(name, input, other)
        return _binary(kernel, a, b, dtypes.bool)

    compare.__name__ = compare.__qualname__ = name
    compare.__doc__ = f"``input {symbol} other`` for each element, as a bool tensor."
    return compare


eq = _comparison("eq", elementwise.equal, "==")
ne = _comparison("ne", elementwise.not_equal, "!=")
lt = _comparison("lt", elementwise.less, "<")
le = _comparison("le", elementwise.less_equal, "<=")
gt = _comparison("gt", elementwise.greater, ">")
ge = _comparison("ge", elementwise.greater_equal, ">=")


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape and elements.

    Raises:
        TypeError: for something that is not a tensor.
    """
    for value in (input, other):
        if not isinstance(value, Tensor):
            raise TypeError(f"equal: expected tensors, got {type(value).__name__}")
    return input.shape == other.shape and bool(eq(input, other).all())


def isclose(input: Tensor, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Tensor:
    """``|input - other| <= atol + rtol * |other|`` for each element, as a bool tensor.

    Raises:
        TypeError: for something that is not a tensor.
        RuntimeError: for two dtypes, or a negative rtol or atol.
    """
    for value in (input, other):
        if not isinstance(value, Tensor):
            raise TypeError(f"isclose: expected tensors, got {type(value).__name__}")
    if input.dtype != other.dtype:
        raise RuntimeError(f"isclose: input is {input.dtype} but other {other.dtype}; convert one of them with .to()")
    if not (rtol >= 0 and atol >= 0):
        raise RuntimeError(f"isclose: rtol and atol must not be negative, got rtol={rtol} and atol={atol}")
    a, b = operands("isclose", input, other)
    if a.dtype == dtypes.bool:
        return eq(a, b)
    near = logical_or(eq(a, b), logical_and(isfinite(b), le(abs(a - b), atol + rtol * abs(b))))
    return logical_or(near, logical_and(isnan(a), isnan(b))) if equal_nan else near


def allclose(input: Tensor, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether all elements are close (see ``isclose``)."""
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


def _truth(x: Tensor) -> Tensor:
    return x if x.dtype == dtypes.bool else ne(x, 0)


def _truths(name: str, *values: Any) -> list[Tensor]:
    for value in values:
        if not isinstance(value, Tensor):
            raise TypeError(f"{name}: expected tensors, got {type(value).__name__}")
    return operands(name, *[_truth(value) for value in values])


def logical_and(input: Tensor, other: Tensor) -> Tensor:
    """Whether both are true (non-zero)."""
    a, b = _truths("logical_and", input, other)
    return _binary(elementwise.logical_and, a, b)


def logical_or(input: Tensor, other: Tensor) -> Tensor:
    """Whether either is true (non-zero)."""
    a, b = _truths("logical_or", input, other)
    return _binary(elementwise.logical_or, a, b)


def logical_xor(input: Tensor, other: Tensor) -> Tensor:
    """Whether exactly one is true (non-zero)."""
    a, b = _truths("logical_xor", input, other)
    return _binary(elementwise.logical_xor, a, b)


def logical_not(input: Tensor) -> Tensor:
    """Whether it is false (zero)."""
    return _unary(elementwise.logical_not, _truth(input))


def _bitwise(name: str, input: Any, other: Any) -> Tensor:
    a, b = operands(name, input, other)
    if a.dtype.kind not in "iub":
        raise NotImplementedError(f"{name}: expected integers or bools, got {a.dtype}")
    kernel = name.replace("bitwise", "logical") if a.dtype == dtypes.bool else name
    return _binary(getattr(elementwise, kernel), a, b)


def bitwise_and(input: Any, other: Any) -> Tensor:
    """``input & other``, bit by bit, of integers; of bools whether both are true. Broadcasts.

    Raises:
        NotImplementedError: for floating tensors.
    """
    return _bitwise("bitwise_and", input, other)


def bitwise_or(input: Any, other: Any) -> Tensor:
    """``input | other``, bit by bit, of integers; of bools whether either is true. Broadcasts.

    Raises:
        NotImplementedError: for floating tensors.
    """
    return _bitwise("bitwise_or", input, other)


def bitwise_xor(input: Any, other: Any) -> Tensor:
    """``input ^ other``, bit by bit, of integers; of bools whether exactly one is true. Broadcasts.

    Raises:
        NotImplementedError: for floating tensors.
    """
    return _bitwise("bitwise_xor", input, other)


def bitwise_not(input: Tensor) -> Tensor:
    """``~input``, bit by bit, of integers (-x - 1); of bools the opposite.

    Raises:
        NotImplementedError: for floating tensors.
    """
    if not isinstance(input, Tensor):
        raise TypeError(f"bitwise_not: expected a tensor, got {type(input).__name__}")
    if input.dtype == dtypes.bool:
        return logical_not(input)
    if input.dtype.kind not in "iu":
        raise NotImplementedError(f"bitwise_not: expected integers or bools, got {input.dtype}")
    return neg(input) - 1


def isnan(input: Tensor) -> Tensor:
    """Whether each element is NaN.

    Raises:
        TypeError: for something that is not a tensor.
    """
    if not isinstance(input, Tensor):
        raise TypeError(f"isnan: expected a tensor, got {type(input).__name__}")
    return _unary(elementwise.isnan_, input, dtypes.bool)


def isinf(input: Tensor) -> Tensor:
    """Whether each element is infinite."""
    if not input.is_floating_point():
        return input.new_zeros(tuple(input.shape), dtype=dtypes.bool)
    return eq(abs(input), float("inf"))


def isfinite(input: Tensor) -> Tensor:
    """Whether each element is neither infinite nor NaN."""
    if not input.is_floating_point():
        return input.new_ones(tuple(input.shape), dtype=dtypes.bool)
    return lt(abs(input), float("inf"))


# ------------------------------------------------------------------------------------------- functions of one tensor


def _floating(name: str, x: Any) -> Tensor:
    """A tensor on which transcendental functions are defined: ints become the default floating dtype."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}: expected a tensor, got {type(x).__name__}")
    return x if x.is_floating_point() else x.to(dtype=dtypes.get_default_dtype())


def neg(input: Tensor) -> Tensor:
    """``-input``."""
    if input.dtype == dtypes.bool:
        raise RuntimeError("neg: the negative of a bool tensor is not defined; use logical_not")
    return Neg.apply(input, None)


class Neg(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, out: Any) -> Tensor:
        return _unary(elementwise.negative, x, out=out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return neg(grad), None


def exp(input: Tensor) -> Tensor:
    """e to the power of each element."""
    return Exp.apply(_floating("exp", input), None)


class Exp(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, out: Any) -> Tensor:
        y = _unary(elementwise.exp, x, out=out)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        return grad * y, None


def sqrt(input: Tensor) -> Tensor:
    """The square root of each element (NaN for negative ones)."""
    return Sqrt.apply(_floating("sqrt", input), None)


class Sqrt(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, out: Any) -> Tensor:
        y = _unary(elementwise.sqrt, x, out=out)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        return grad / (y * 2), None


def _differentiable(name: str, kernel: Any, doc: str, derivative: Any) -> Any:
    """A function of one tensor whose derivative is a formula in its input x."""

    def forward(ctx: Any, x: Tensor, out: Any) -> Tensor:
        ctx.save_for_backward(x)
        return _unary(kernel, x, out=out)

    def backward(ctx: Any, grad: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return grad * derivative(x), None

    members = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    operation: Any = type(name.capitalize(), (Function,), members)

    def function(input: Tensor) -> Tensor:
        return operation.apply(_floating(name, input), None)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


log: Any = _differentiable("log", elementwise.log, "The natural logarithm.", lambda x: reciprocal(x))
log1p: Any = _differentiable(
    "log1p", elementwise.log1p, "``log(1 + input)``, accurate near 0.", lambda x: reciprocal(x + 1)
)
expm1: Any = _differentiable("expm1", elementwise.expm1, "``exp(input) - 1``, accurate near 0.", lambda x: exp(x))
log2: Any = _differentiable(
    "log2", elementwise.log2, "The logarithm to base 2.", lambda x: reciprocal(x * math.log(2.0))
)
log10: Any = _differentiable(
    "log10", elementwise.log10, "The logarithm to base 10.", lambda x: reciprocal(x * math.log(10.0))
)
sinh: Any = _differentiable("sinh", elementwise.sinh, "The hyperbolic sine.", lambda x: cosh(x))
cosh: Any = _differentiable("cosh", elementwise.cosh, "The hyperbolic cosine.", lambda x: sinh(x))
asin: Any = _differentiable("asin", elementwise.asin, "The inverse sine.", lambda x: rsqrt(1 - square(x)))
acos: Any = _differentiable("acos", elementwise.acos, "The inverse cosine.", lambda x: neg(rsqrt(1 - square(x))))
atan: Any = _differentiable("atan", elementwise.atan, "The inverse tangent.", lambda x: reciprocal(square(x) + 1))
sin: Any = _differentiable("sin", elementwise.sin, "The sine.", lambda x: cos(x))
cos: Any = _differentiable("cos", elementwise.cos, "The cosine.", lambda x: neg(sin(x)))
rsqrt: Any = _differentiable("rsqrt", elementwise.rsqrt, "``1 / sqrt(input)``.", lambda x: rsqrt(x) / x * -0.5)
reciprocal: Any = _differentiable(
    "reciprocal", elementwise.reciprocal, "``1 / input``.", lambda x: neg(reciprocal(square(x)))
)
erf: Any = _differentiable(
    "erf", elementwise.erf_, "The error function.", lambda x: exp(neg(square(x))) * (2 / np.sqrt(np.pi)).item()
)


def tan(input: Tensor) -> Tensor:
    """The tangent."""
    x = _floating("tan", input)
    return sin(x) / cos(x)


def exp2(input: Tensor) -> Tensor:
    """2 to the power of each element."""
    return pow(2.0, _floating("exp2", input))


def atan2(input: Tensor, other: Any) -> Tensor:
    """The angle of the point (other, input), from -pi to pi."""
    a, b = operands("atan2", input, other)
    return Atan2.apply(_floating("atan2", a), _floating("atan2", b))


class Atan2(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return _binary(elementwise.atan2, a, b)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        a, b = ctx.saved_tensors
        scaled = grad / (square(a) + square(b))
        grad_a = unbroadcast(scaled * b, a._array.shape) if ctx.needs_input_grad[0] else None
        return grad_a, unbroadcast(neg(scaled) * a, b._array.shape) if ctx.needs_input_grad[1] else None


def hypot(input: Tensor, other: Tensor) -> Tensor:
    """``sqrt(input**2 + other**2)`` without overflow on the way.

    Raises:
        RuntimeError: for integer tensors.
    """
    a, b = operands("hypot", input, other)
    if not a.is_floating_point():
        raise RuntimeError(f"hypot: expected floating tensors, got {a.dtype}; convert with .float()")
    return Hypot.apply(a, b)


class Hypot(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        y = _binary(elementwise.hypot, a, b)
        ctx.save_for_backward(a, b, y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        a, b, y = ctx.saved_tensors
        grad_a = unbroadcast(grad * (a / y), a._array.shape) if ctx.needs_input_grad[0] else None
        return grad_a, unbroadcast(grad * (b / y), b._array.shape) if ctx.needs_input_grad[1] else None


def square(input: Tensor) -> Tensor:
    """``input * input``; of bools as int64."""
    return Square.apply(input if input.dtype != dtypes.bool else input.to(dtype=dtypes.int64))


class Square(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return _unary(elementwise.square, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return grad * (x * 2)


def abs(input: Tensor) -> Tensor:
    """The absolute value; its gradient at 0 is 0.

    Raises:
        NotImplementedError: for bool tensors.
    """
    _refuse_bool("abs", input)
    return Abs.apply(input, None)


class Abs(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, out: Any) -> Tensor:
        ctx.save_for_backward(x)
        return _unary(elementwise.absolute, x, out=out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return grad * sign(x), None


def _step(name: str, kernel: Any, doc: str, rounds: bool = True) -> Any:
    """A function that is constant between jumps: its gradient is zero. One that ``rounds`` leaves integers alone."""

    def forward(ctx: Any, x: Tensor) -> Tensor:
        return wrap(_copy(x._array)) if x.dtype.kind in ("iu" if rounds else "b") else _unary(kernel, x)

    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad.new_zeros(tuple(grad.shape))

    operation: Any = type(
        name.capitalize(), (Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    )

    def function(input: Tensor) -> Tensor:
        if rounds:
            _refuse_bool(name, input)
        return operation.apply(input)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


sign = _step("sign", elementwise.sign, "-1, 0 or 1 by the sign of each element.", rounds=False)
floor = _step("floor", elementwise.floor, "The largest whole number not above each element.")
ceil = _step("ceil", elementwise.ceil, "The smallest whole number not below each element.")
_nearest = _step("round", elementwise.round_, "The nearest whole number, halves to even.")
trunc = _step("trunc", elementwise.trunc, "The nearest whole number towards zero.")


def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """The nearest number of so many decimals (negative: the nearest multiple of ten, a hundred, ...), halves to even.

    Raises:
        NotImplementedError: for bool tensors, and integers with ``decimals``.
    """
    if not decimals:
        return _nearest(input)
    if not input.is_floating_point():
        raise NotImplementedError(f"round: decimals={decimals} is for floating tensors, got {input.dtype}")
    scale = 10.0**-decimals if decimals < 0 else 10.0**decimals
    return _nearest(input / scale) * scale if decimals < 0 else _nearest(input * scale) / scale


def frac(input: Tensor) -> Tensor:
    """What ``trunc`` takes away: ``input - trunc(input)``.

    Raises:
        RuntimeError: for integer tensors.
    """
    if not input.is_floating_point():
        raise RuntimeError(f"frac: expected a floating tensor, got {input.dtype}")
    return input - trunc(input)


_REARRANGED = 1 << 14  # elements from which a kernel's copy beats NumPy's


def _copy(array: Any) -> Any:
    """A C-contiguous copy; of a large transposed, strided or repeated array by the kernel, in tiles and in parallel."""
    if type(array) is not np.ndarray or array.flags.c_contiguous or array.size < _REARRANGED:
        return devices.copy(array)
    size = array.dtype.itemsize
    levels: list[tuple[int, int]] = []  # (count, step) of the fewest nested loops, outermost first
    for count, stride in zip(array.shape, array.strides, strict=True):
        if stride < 0 or stride % size:
            return devices.copy(array)
        if count > 1:
            level = count, stride // size
            if levels and levels[-1][1] == level[0] * level[1]:
                level = levels.pop()[0] * count, level[1]
            levels.append(level)
    if len(levels) > 5 or not levels:
        return devices.copy(array)
    span = 1 + sum((count - 1) * step for count, step in levels)
    flat = np.lib.stride_tricks.as_strided(array, (span,), (size,))
    counts, steps = zip(*[(1, 0)] * (5 - len(levels)), *levels, strict=True)
    out = devices.empty(array.shape, array.dtype)
    gather.rearrange(flat, out, *counts[1:], *steps)
    return out


class Clone(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return wrap(_copy(x._array))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return grad


def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy with memory of its own; gradients pass through."""
    return Clone.apply(input)


# --------------------------------------------------------------------------------------------------- in-place forms


def add_(input: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    """``input += alpha * other``. Returns input."""
    if alpha != 1:
        inplace.check("add_", input, other, alpha)
        if _scales_into(input, other, alpha):
            elementwise.axpy(
                inplace.disjoint(devices.contiguous(other._array), input._array), input._array, float(alpha)
            )
            input._count_change()
            return input
        other = mul(other, alpha)
    return inplace.binary("add_", Add, input, other, keeps_input=False)


def _scales_into(input: Tensor, other: Any, alpha: Any) -> bool:
    """Whether ``input += alpha * other`` is one pass of ``axpy``: nothing to record, convert or broadcast."""
    return (
        isinstance(other, Tensor)
        and not isinstance(alpha, Tensor)
        and input._array.shape == other._array.shape
        and input.dtype == other.dtype
        and input.is_floating_point()
        and input.device == other.device
        and input.is_contiguous()
        and not (is_grad_enabled() and (input.requires_grad or other.requires_grad))
    )


def sub_(input: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    """``input -= alpha * other``. Returns input."""
    _refuse_bools("sub_", input, other)
    if alpha != 1:
        inplace.check("sub_", input, other, alpha)
        other = mul(other, alpha)
    return inplace.binary("sub_", Sub, input, other, keeps_input=False)


def mul_(input: Tensor, other: Any) -> Tensor:
    """``input *= other``. Returns input."""
    return inplace.binary("mul_", Mul, input, other)


def div_(input: Tensor, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """``div`` in place. Returns input.

    Raises:
        RuntimeError: for an integer input, which cannot hold a result that is not rounded; and as ``div``.
    """
    if rounding_mode is not None:
        inplace.check("div_", input, other)
        return inplace.assign("div_", input, div(clone(input), other, rounding_mode=rounding_mode))
    if not input.is_floating_point():
        raise RuntimeError(f"div_: the result is floating, and cannot be put into a {input.dtype} tensor")
    return inplace.binary("div_", Div, input, other)


def pow_(input: Tensor, exponent: Any) -> Tensor:
    """``input **= exponent``. Returns input."""
    if not input.is_floating_point():
        inplace.check("pow_", input, exponent)
        return inplace.assign("pow_", input, pow(clone(input), exponent))
    return inplace.binary("pow_", Pow, input, exponent)


def exp_(input: Tensor) -> Tensor:
    """``exp`` in place. Returns input."""
    return inplace.unary("exp_", Exp, input, keeps_input=False)


def sqrt_(input: Tensor) -> Tensor:
    """``sqrt`` in place. Returns input."""
    return inplace.unary("sqrt_", Sqrt, input, keeps_input=False)


def neg_(input: Tensor) -> Tensor:
    """``-input`` in place. Returns input."""
    return inplace.unary("neg_", Neg, input, keeps_input=False, integers=True)


def abs_(input: Tensor) -> Tensor:
    """``abs`` in place. Returns input."""
    return inplace.unary("abs_", Abs, input, integers=True)


def log_(input: Tensor) -> Tensor:
    """``log`` in place. Returns input."""
    return inplace.assign("log_", input, log(clone(input)))


def clamp_(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """``clamp`` in place. Returns input."""
    numbers = not isinstance(min, Tensor) and not isinstance(max, Tensor) and (min is None) + (max is None) < 2
    if numbers and input.is_floating_point() and min == min and max == max:
        bounds = -np.inf if min is None else min, np.inf if max is None else max
        return inplace.unary("clamp_", Clamp, input, numbers=bounds)
    inplace.check("clamp_", input, min, max)
    return inplace.assign("clamp_", input, clamp(clone(input), min, max))


def clamp_min_(input: Tensor, min: Any) -> Tensor:
    """``clamp_min`` in place. Returns input."""
    return clamp_(input, min=min)


def clamp_max_(input: Tensor, max: Any) -> Tensor:
    """``clamp_max`` in place. Returns input."""
    return clamp_(input, max=max)


def lerp_(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """``lerp`` in place. Returns input."""
    inplace.check("lerp_", input, end, weight)
    return inplace.assign("lerp_", input, lerp(clone(input), end, weight))


def addcmul_(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """``addcmul`` in place. Returns input."""
    inplace.check("addcmul_", input, tensor1, tensor2)
    return inplace.assign("addcmul_", input, addcmul(clone(input), tensor1, tensor2, value=value))


def addcdiv_(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """``addcdiv`` in place. Returns input."""
    inplace.check("addcdiv_", input, tensor1, tensor2)
    return inplace.assign("addcdiv_", input, addcdiv(clone(input), tensor1, tensor2, value=value))


absolute, negative, subtract, multiply, divide = abs, neg, sub, mul, div
true_divide, fix, arcsin, arccos, arctan, arctan2 = div, trunc, asin, acos, atan, atan2
