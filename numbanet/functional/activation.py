"""Activation functions.

Most are made of one kernel a pass (``kernels/activation.py``); a class under each function names its kernels and has
the derivative once more as differentiable functions, for gradients of gradients. ``inplace=True`` and the names with an
underscore write the result over ``input``; the memory is saved where backward can do with the output (relu, relu6,
leaky_relu, hardtanh, sigmoid, tanh, threshold), else a copy of the input is kept where a gradient is wanted.
"""

from __future__ import annotations

import math
import warnings
from math import prod
from typing import Any

import numpy as np

from numbanet import devices, dtypes, shapes
from numbanet.autograd import Function, is_grad_enabled
from numbanet.devices import Array
from numbanet.functional.arithmetic import erf, where
from numbanet.functional.inplace import assign, unary
from numbanet.functional.shape import cat
from numbanet.kernels import activation as kernels
from numbanet.kernels import dropout as random_kernels
from numbanet.kernels import softmax as softmax_kernels
from numbanet.random import default_generator
from numbanet.tensor import Tensor, from_numpy, wrap, zeros

__all__ = [
    "celu",
    "celu_",
    "elu",
    "elu_",
    "gelu",
    "glu",
    "gumbel_softmax",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "hardtanh_",
    "leaky_relu",
    "leaky_relu_",
    "log_softmax",
    "logsigmoid",
    "mish",
    "prelu",
    "relu",
    "relu6",
    "relu_",
    "rrelu",
    "rrelu_",
    "selu",
    "selu_",
    "sigmoid",
    "sigmoid_",
    "silu",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanh_",
    "tanhshrink",
    "threshold",
    "threshold_",
]


# ------------------------------------------------------------------------------------------------- what all have in common


class _Pointwise(Function):
    """y = f(x, *numbers), element by element.

    A subclass has ``kernels``, and ``derivative(s, *numbers)`` made of differentiable functions, where s is y if
    ``keeps_output(*numbers)``, else x.
    """

    kernels: kernels.Activation

    @staticmethod
    def keeps_output(*numbers: float) -> bool:
        return False

    @staticmethod
    def derivative(s: Tensor, *numbers: float) -> Any:
        raise NotImplementedError

    @staticmethod
    def forward(ctx: Any, x: Tensor, out: Array | None, *numbers: float) -> Tensor:
        source = devices.contiguous(x._array)
        y = devices.empty(source.shape, source.dtype, x.device) if out is None else out
        if y.size:
            ctx.function.kernels.forward(source, y, *numbers)
        result = wrap(y)
        ctx.numbers = numbers
        ctx.save_for_backward(result if ctx.function.keeps_output(*numbers) else x)
        return result

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        (s,) = ctx.saved_tensors
        others = (None,) * (1 + len(ctx.numbers))
        if is_grad_enabled():
            return dy * ctx.function.derivative(s, *ctx.numbers), *others
        dx = devices.empty(s._array.shape, s.dtype, s.device)
        if dx.size:
            ctx.function.kernels.backward(devices.contiguous(dy._array), devices.contiguous(s._array), dx, *ctx.numbers)
        return wrap(dx), *others


def _apply(name: str, function: type[_Pointwise], input: Tensor, inplace: bool, *numbers: float) -> Tensor:
    if inplace:
        return unary(name + "_", function, input, not function.keeps_output(*numbers), numbers)
    return function.apply(input, None, *numbers)


def _check(name: str, input: Any) -> None:
    """Refuse what is not a tensor of a floating dtype; PyTorch's class of error for integers."""
    if isinstance(input, Tensor) and not input.is_floating_point():
        raise NotImplementedError(
            f"{name}: expected input of a floating dtype, got {input.dtype}; convert it with .float()"
        )
    shapes.check_floating(name, input=input)


def _number(name: str, argument: str, value: Any) -> float:
    """A parameter as a float: numbers and tensors of one element."""
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if not isinstance(value, int | float | np.number):
        raise TypeError(f"{name}: argument {argument!r} must be a number, not {type(value).__name__}")
    return float(value)


def _floating(name: str, input: Any) -> Any:
    """Integers become the default floating dtype."""
    if isinstance(input, Tensor) and not input.is_floating_point():
        return input.to(dtype=dtypes.get_default_dtype())
    shapes.check_floating(name, input=input)
    return input


def _whole(name: str, input: Any) -> bool:
    """Whether input is of an integer dtype, for the functions that are defined on these, too; bools are refused."""
    if isinstance(input, Tensor) and not input.is_floating_point():
        if input.dtype == dtypes.bool:
            raise RuntimeError(f"{name}: bool tensors have no {name}; convert input with .float()")
        return True
    shapes.check_floating(name, input=input)
    return False


def _replace(name: str, input: Tensor, result: Tensor, inplace: bool) -> Tensor:
    return assign(name + "_", input, result) if inplace else result


# ---------------------------------------------------------------------------------------------------- relu and its kin


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0), element by element; NaN stays NaN, and the derivative at 0 is 0.

    Args:
        input: any shape.
        inplace: write the result over ``input``, which saves its memory.

    Reference: V. Nair and G. Hinton, "Rectified linear units improve restricted Boltzmann machines" (2010).
    """
    if _whole("relu", input):
        return _replace("relu", input, input.clamp(min=0), inplace)
    return _apply("relu", ReluFunction, input, inplace)


def relu_(input: Tensor) -> Tensor:
    """``relu`` in place."""
    return relu(input, inplace=True)


class ReluFunction(_Pointwise):
    kernels = kernels.relu

    @staticmethod
    def keeps_output(*numbers: float) -> bool:
        return True

    @staticmethod
    def derivative(y: Tensor, *numbers: float) -> Any:
        return y > 0


def before_relu(dy: Tensor, y: Tensor) -> Tensor:
    """The gradient before a ReLU that gave y, for operators with a ReLU at their end; differentiable where that is recorded."""
    if is_grad_enabled():
        return where(y <= 0, zeros((), dtype=dy.dtype, device=dy.device), dy)
    dx = devices.empty(dy._array.shape, dy.dtype, dy.device)
    if dx.size:
        kernels.relu.backward(devices.contiguous(dy._array), devices.contiguous(y._array), dx)
    return wrap(dx)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """x limited to 0 .. 6; the derivative at both ends is 0. Arguments as ``relu``.

    Reference: A. Krizhevsky, "Convolutional deep belief networks on CIFAR-10" (2010).
    """
    return _hardtanh("relu6", input, 0.0, 6.0, inplace)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """x limited to min_val .. max_val; the derivative is 0 there and beyond. NaN stays NaN.

    Raises:
        ValueError: for min_val above max_val.
        RuntimeError: for bool tensors.
    """
    low, high = _number("hardtanh", "min_val", min_val), _number("hardtanh", "max_val", max_val)
    if low > high:
        raise ValueError(f"hardtanh: min_val cannot be greater than max_val, got min_val={min_val}, max_val={max_val}")
    return _hardtanh("hardtanh", input, low, high, inplace)


def hardtanh_(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """``hardtanh`` in place."""
    return hardtanh(input, min_val, max_val, inplace=True)


def _hardtanh(name: str, input: Tensor, low: float, high: float, inplace: bool) -> Tensor:
    if _whole(name, input):
        limited = input.clamp(min=int(low), max=int(high))  # PyTorch cuts the bounds off to integers, too
        return _replace(name, input, limited, inplace)
    return _apply(name, HardtanhFunction, input, inplace, low, high)


class HardtanhFunction(_Pointwise):
    kernels = kernels.hardtanh

    @staticmethod
    def keeps_output(*numbers: float) -> bool:
        return True

    @staticmethod
    def derivative(y: Tensor, *numbers: float) -> Any:
        low, high = numbers
        return 1 - (y <= low).to(dtype=y.dtype) * (low < high) - (y >= high).to(dtype=y.dtype)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """``value`` where x <= threshold, else x.

    Raises:
        NotImplementedError: for bool tensors.
    """
    limit, value = _number("threshold", "threshold", threshold), _number("threshold", "value", value)
    if isinstance(input, Tensor) and input.dtype.kind in "iu":
        limit, value = int(limit), int(value)
        return _replace("threshold", input, where(input <= limit, value, input), inplace)
    _check("threshold", input)
    return _apply("threshold", ThresholdFunction, input, inplace, limit, value)


def threshold_(input: Tensor, threshold_: float, value: float) -> Tensor:
    """``threshold`` in place."""
    return threshold(input, threshold_, value, inplace=True)


class ThresholdFunction(_Pointwise):
    kernels = kernels.threshold

    @staticmethod
    def keeps_output(*numbers: float) -> bool:
        limit, value = numbers
        return value <= limit  # then y <= limit where x is, and there only

    @staticmethod
    def derivative(s: Tensor, *numbers: float) -> Any:
        return 1 - (s <= numbers[0]).to(dtype=s.dtype)  # 1 at NaN


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, else negative_slope * x; the derivative at 0 is negative_slope.

    Reference: A. Maas, A. Hannun and A. Ng, "Rectifier nonlinearities improve neural network acoustic models" (2013).
    """
    _check("leaky_relu", input)
    slope = _number("leaky_relu", "negative_slope", negative_slope)
    return _apply("leaky_relu", LeakyReluFunction, input, inplace, slope)


def leaky_relu_(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """``leaky_relu`` in place."""
    return leaky_relu(input, negative_slope, inplace=True)


class LeakyReluFunction(_Pointwise):
    kernels = kernels.leaky_relu

    @staticmethod
    def keeps_output(*numbers: float) -> bool:
        return numbers[0] >= 0  # then y has x's sign

    @staticmethod
    def derivative(s: Tensor, *numbers: float) -> Any:
        (slope,) = numbers
        return (s > 0).to(dtype=s.dtype) * (1 - slope) + slope


def rrelu(
    input: Tensor,
    lower: float = 1.0 / 8,
    upper: float = 1.0 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Tensor:
    """``leaky_relu`` with a slope drawn for each element from lower .. upper; outside training it is their mean.

    Raises:
        RuntimeError: for lower above upper.

    Reference: B. Xu, N. Wang, T. Chen and M. Li, "Empirical evaluation of rectified activations in convolutional
    network" (2015).
    """
    _check("rrelu", input)
    low, high = _number("rrelu", "lower", lower), _number("rrelu", "upper", upper)
    if not low <= high:
        raise RuntimeError(f"rrelu: lower must be at most upper, got lower={lower}, upper={upper}")
    if not training:
        return _apply("rrelu", LeakyReluFunction, input, inplace, (low + high) / 2)
    return _replace("rrelu", input, input * where(input <= 0, _uniform(input, low, high), 1.0), inplace)


def rrelu_(input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False) -> Tensor:
    """``rrelu`` in place."""
    return rrelu(input, lower, upper, training, inplace=True)


def _uniform(like: Tensor, low: float, high: float) -> Tensor:
    """Uniform random numbers of the default generator's counter-based stream (see ``dropout``)."""
    out = devices.empty(like._array.shape, like.dtype, like.device)
    if out.size:
        random_kernels.uniform(out, low, high, *default_generator.philox(out.size))
    return wrap(out)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x where x > 0, else weight * x, with one weight, or one for each channel.

    Args:
        input: shape (N, C, ...).
        weight: shape (C,), (1,) or ().

    Raises:
        RuntimeError: for a weight of another shape or dtype.

    Reference: K. He, X. Zhang, S. Ren and J. Sun, "Delving deep into rectifiers" (2015).
    """
    _check("prelu", input)
    shapes.check_floating("prelu", input=input, weight=weight)
    shape, slopes = input._array.shape, weight._array.shape
    if len(slopes) > 1:
        raise RuntimeError(f"prelu: expected weight of shape (C,), (1,) or (), got {tuple(slopes)}")
    strip = 1, 1, prod(shape)
    if weight._array.size != 1:
        channels = shape[1] if len(shape) > 1 else 1
        if weight._array.size != channels or not shape:
            raise RuntimeError(
                f"prelu: weight has {weight._array.size} elements, but input of shape {tuple(shape)} has {channels} channels"
            )
        strip = shape[0] if len(shape) > 1 else 1, channels, prod(shape[2:])
    return PreluFunction.apply(input, weight, strip)


class PreluFunction(Function):
    """dx = dy where x > 0, else weight dy; dweight = the sum of x dy over the elements that are not positive."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, strip: tuple[int, int, int]) -> Tensor:
        ctx.strip = strip
        ctx.save_for_backward(x, weight)
        y = devices.empty(x._array.shape, x.dtype, x.device)
        if y.size:
            slopes = devices.contiguous(weight._array).reshape(-1)
            kernels.prelu_forward(devices.contiguous(x._array).reshape(strip), slopes, y.reshape(strip))
        return wrap(y)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        n, channels, positions = ctx.strip
        if is_grad_enabled():
            x, dy, slopes = x.reshape(ctx.strip), dy.reshape(ctx.strip), weight.reshape(1, channels, 1)
            positive = x > 0
            dx, terms = where(positive, dy, dy * slopes), where(positive, 0.0, dy * x)
            return dx.reshape(ctx.saved_tensors[0].shape), terms.sum((0, 2)).reshape(weight.shape), None
        dx = devices.empty(x._array.shape, x.dtype, x.device)
        pieces = devices.empty((n, channels, kernels.piece_count(positions)), x.dtype, x.device)
        if dx.size:
            kernels.prelu_backward(
                devices.contiguous(dy._array).reshape(ctx.strip),
                devices.contiguous(x._array).reshape(ctx.strip),
                devices.contiguous(weight._array).reshape(-1),
                dx.reshape(ctx.strip),
                pieces,
            )
        dweight = None
        if ctx.needs_input_grad[1]:  # one dimension after the other: both at once is slow where the last one is short
            dweight = wrap(pieces).sum(0).sum(1).reshape(weight.shape)
        return wrap(dx), dweight, None


# ------------------------------------------------------------------------------------------------ exponential below 0


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha * (exp(x) - 1); the derivative at 0 is alpha.

    Reference: D. Clevert, T. Unterthiner and S. Hochreiter, "Fast and accurate deep network learning by exponential
    linear units (ELUs)" (2015).
    """
    _check("elu", input)
    return _apply("elu", EluFunction, input, inplace, _number("elu", "alpha", alpha), 1.0)


def elu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """``elu`` in place."""
    return elu(input, alpha, inplace=True)


SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """scale * elu(x, alpha), where alpha = 1.6733 and scale = 1.0507 keep mean 0 and variance 1 from layer to layer.

    Reference: G. Klambauer et al., "Self-normalizing neural networks" (2017).
    """
    _check("selu", input)
    return _apply("selu", EluFunction, input, inplace, SELU_ALPHA * SELU_SCALE, SELU_SCALE)


def selu_(input: Tensor) -> Tensor:
    """``selu`` in place."""
    return selu(input, inplace=True)


class EluFunction(_Pointwise):
    kernels = kernels.elu

    @staticmethod
    def derivative(x: Tensor, *numbers: float) -> Any:
        below, above = numbers
        return where(x > 0, above, x.clamp(max=0.0).exp() * below)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha * (exp(x / alpha) - 1): an elu whose derivative at 0 is 1 whatever alpha is.

    Raises:
        RuntimeError: for alpha = 0.

    Reference: J. Barron, "Continuously differentiable exponential linear units" (2017).
    """
    _check("celu", input)
    alpha = _number("celu", "alpha", alpha)
    if alpha == 0:
        raise RuntimeError("celu: alpha cannot be 0, got alpha=0")
    return _apply("celu", CeluFunction, input, inplace, alpha, 1 / alpha)


def celu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """``celu`` in place."""
    return celu(input, alpha, inplace=True)


class CeluFunction(_Pointwise):
    kernels = kernels.celu

    @staticmethod
    def derivative(x: Tensor, *numbers: float) -> Any:
        return where(x > 0, 1.0, (x.clamp(max=0.0) * numbers[1]).exp())


# -------------------------------------------------------------------------------------------------- x times a soft gate


def gelu(input: Tensor, *, approximate: str = "none") -> Tensor:
    """x * P(Z <= x) for a standard normal Z; ``approximate="tanh"`` takes tanh for the error function.

    Raises:
        RuntimeError: for another ``approximate``.

    Reference: D. Hendrycks and K. Gimpel, "Gaussian error linear units (GELUs)" (2016).
    """
    _check("gelu", input)
    if approximate not in ("none", "tanh"):
        raise RuntimeError(f"gelu: approximate must be 'none' or 'tanh', got {approximate!r}")
    return _apply("gelu", GeluFunction if approximate == "none" else GeluTanhFunction, input, False)


class GeluFunction(_Pointwise):
    kernels = kernels.gelu

    @staticmethod
    def derivative(x: Tensor, *numbers: float) -> Any:
        return 0.5 + 0.5 * erf(x * math.sqrt(0.5)) + x * (x * x * -0.5).exp() * (1 / math.sqrt(2 * math.pi))


class GeluTanhFunction(_Pointwise):
    kernels = kernels.gelu_tanh

    @staticmethod
    def derivative(x: Tensor, *numbers: float) -> Any:
        factor, cubic = math.sqrt(8 / math.pi), 0.044715
        gate = sigmoid(factor * (x + cubic * (x * x * x)))
        return gate + x * gate * (1 - gate) * (factor * (1 + 3 * cubic * (x * x)))


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x * sigmoid(x), also known as swish.

    Reference: S. Elfwing, E. Uchibe and K. Doya, "Sigmoid-weighted linear units for neural network function
    approximation in reinforcement learning" (2017).
    """
    _check("silu", input)
    return _apply("silu", SiluFunction, input, inplace)


class SiluFunction(_Pointwise):
    kernels = kernels.silu

    @staticmethod
    def derivative(x: Tensor, *numbers: float) -> Any:
        gate = sigmoid(x)
        return gate * (1 + x * (1 - gate))


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * tanh(softplus(x)).

    Reference: D. Misra, "Mish: a self regularized non-monotonic neural activation function" (2019).
    """
    _check("mish", input)
    return _apply("mish", MishFunction, input, inplace)


class MishFunction(_Pointwise):
    kernels = kernels.mish

    @staticmethod
    def derivative(x: Tensor, *numbers: float) -> Any:
        gate = tanh(softplus(x))
        return gate + x * (1 - gate * gate) * sigmoid(x)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * relu6(x + 3) / 6; the derivative is 0 at -3 and 1 at 3.

    Reference: A. Howard et al., "Searching for MobileNetV3" (2019).
    """
    _check("hardswish", input)
    return _apply("hardswish", HardswishFunction, input, inplace)


class HardswishFunction(_Pointwise):
    kernels = kernels.hardswish

    @staticmethod
    def derivative(x: Tensor, *numbers: float) -> Any:
        return where(x <= -3, 0.0, where(x < 3, x / 3 + 0.5, 1.0))


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """relu6(x + 3) / 6; the derivative at -3 and at 3 is 0."""
    _check("hardsigmoid", input)
    return _apply("hardsigmoid", HardsigmoidFunction, input, inplace)


class HardsigmoidFunction(_Pointwise):
    kernels = kernels.hardsigmoid

    @staticmethod
    def derivative(x: Tensor, *numbers: float) -> Any:
        return (abs(x) < 3).to(dtype=x.dtype) / 6


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half along a dimension times the sigmoid of the second half.

    Args:
        input: any shape of at least one dimension.
        dim: a dimension of even size, which is halved.

    Raises:
        IndexError: for a dimension that input does not have.
        RuntimeError: for an odd size.

    Reference: Y. Dauphin, A. Fan, M. Auli and D. Grangier, "Language modeling with gated convolutional networks" (2016).
    """
    _check("glu", input)
    if input.ndim == 0:
        raise RuntimeError("glu: a tensor of 0 dimensions cannot be halved")
    dim = shapes.normalize_dim("glu", dim, input.ndim)
    size = input._array.shape[dim]
    if size % 2:
        raise RuntimeError(f"glu: the halved dimension must be even, but dimension {dim} has size {size}")
    return GluFunction.apply(input, dim)


class GluFunction(Function):
    """y = a sigmoid(b); da = dy sigmoid(b), db = dy a sigmoid(b) sigmoid(-b)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int) -> Tensor:
        ctx.dim = dim
        ctx.save_for_backward(x)
        shape = tuple(x._array.shape)
        y = devices.empty((*shape[:dim], shape[dim] // 2, *shape[dim + 1 :]), x.dtype, x.device)
        if y.size:
            outer = prod(shape[:dim])
            kernels.glu_forward(devices.contiguous(x._array).reshape(outer, 2, -1), y.reshape(outer, -1))
        return wrap(y)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        if is_grad_enabled():
            a, b = x.chunk(2, ctx.dim)
            gate = sigmoid(b)
            return cat([dy * gate, dy * a * (gate * (1 - gate))], ctx.dim), None
        dx = devices.empty(x._array.shape, x.dtype, x.device)
        if dx.size:
            outer = prod(tuple(x._array.shape)[: ctx.dim])
            kernels.glu_backward(
                devices.contiguous(dy._array).reshape(outer, -1),
                devices.contiguous(x._array).reshape(outer, 2, -1),
                dx.reshape(outer, 2, -1),
            )
        return wrap(dx), None


# ----------------------------------------------------------------------------------------------- sigmoid, tanh and theirs


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x)), element by element."""
    return SigmoidFunction.apply(_floating("sigmoid", input), None)


def sigmoid_(input: Tensor) -> Tensor:
    """``sigmoid`` in place."""
    return unary("sigmoid_", SigmoidFunction, input, keeps_input=False)


class SigmoidFunction(_Pointwise):
    """y = 1 / (1 + exp(-x)); dy/dx = y (1 - y)."""

    kernels = kernels.sigmoid

    @staticmethod
    def keeps_output(*numbers: float) -> bool:
        return True

    @staticmethod
    def derivative(y: Tensor, *numbers: float) -> Any:
        return y * (1 - y)


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent, element by element."""
    return TanhFunction.apply(_floating("tanh", input), None)


def tanh_(input: Tensor) -> Tensor:
    """``tanh`` in place."""
    return unary("tanh_", TanhFunction, input, keeps_input=False)


class TanhFunction(_Pointwise):
    """y = tanh(x); dy/dx = 1 - y^2."""

    kernels = kernels.tanh

    @staticmethod
    def keeps_output(*numbers: float) -> bool:
        return True

    @staticmethod
    def derivative(y: Tensor, *numbers: float) -> Any:
        return 1 - y * y


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta * x)) / beta, and x itself where beta * x > threshold.

    Reference: C. Dugas et al., "Incorporating second-order functional knowledge for better option pricing" (2000).
    """
    _check("softplus", input)
    numbers = _number("softplus", "beta", beta), _number("softplus", "threshold", threshold)
    return _apply("softplus", SoftplusFunction, input, False, *numbers)


class SoftplusFunction(_Pointwise):
    kernels = kernels.softplus

    @staticmethod
    def derivative(x: Tensor, *numbers: float) -> Any:
        beta, limit = numbers
        return where(x * beta > limit, 1.0, sigmoid(x * beta))


def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x)), as min(x, 0) - log(1 + exp(-|x|))."""
    _check("logsigmoid", input)
    return LogSigmoidFunction.apply(input, None)


class LogSigmoidFunction(_Pointwise):
    kernels = kernels.logsigmoid

    @staticmethod
    def keeps_output(*numbers: float) -> bool:
        return True

    @staticmethod
    def derivative(y: Tensor, *numbers: float) -> Any:
        return -y.expm1()


def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|).

    Reference: X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks"
    (2010).
    """
    return SoftsignFunction.apply(_floating("softsign", input), None)


class SoftsignFunction(_Pointwise):
    kernels = kernels.softsign

    @staticmethod
    def derivative(x: Tensor, *numbers: float) -> Any:
        return (1 + abs(x)) ** -2


def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x), with a rounding error of x's size; the derivative is tanh(x)^2."""
    return TanhshrinkFunction.apply(_floating("tanhshrink", input), None)


class TanhshrinkFunction(_Pointwise):
    kernels = kernels.tanhshrink

    @staticmethod
    def derivative(x: Tensor, *numbers: float) -> Any:
        y = tanh(x)
        return y * y


# ------------------------------------------------------------------------------------------------------------- shrinking


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """0 where -lambd <= x <= lambd, else x."""
    _check("hardshrink", input)
    return HardshrinkFunction.apply(input, None, _number("hardshrink", "lambd", lambd))


class HardshrinkFunction(_Pointwise):
    kernels = kernels.hardshrink

    @staticmethod
    def derivative(x: Tensor, *numbers: float) -> Any:
        return 1 - (abs(x) <= numbers[0]).to(dtype=x.dtype)


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """0 where -lambd <= x <= lambd, else x moved towards 0 by lambd.

    Raises:
        RuntimeError: for a negative lambd.
    """
    _check("softshrink", input)
    lambd = _number("softshrink", "lambd", lambd)
    if not 0 <= lambd <= dtypes.finfo(input.dtype).max:
        raise RuntimeError(f"softshrink: lambd must be at least 0 and finite in {input.dtype}, got lambd={lambd}")
    return SoftshrinkFunction.apply(input, None, lambd)


class SoftshrinkFunction(HardshrinkFunction):
    kernels = kernels.softshrink


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


def softmin(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """``softmax`` of -x: the smallest value gets the largest share. Arguments as ``softmax``."""
    input, dim = _softmax_arguments("softmin", input, dim, dtype)
    return SoftmaxFunction.apply(-input, dim)


def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """A random one-hot choice with probabilities softmax(logits), softened so that it has a gradient.

    softmax((logits + g) / tau), where g are Gumbel-distributed, -log(-log(u)).

    Args:
        logits: unnormalised logarithms of probabilities, any shape.
        tau: the softness; close to 0 the result is close to one-hot.
        hard: return the one-hot choice itself; the gradient is that of the soft one.
        eps: has no effect; it is there for old code.
        dim: the dimension along which one is chosen.

    Raises:
        IndexError: for a dimension that logits do not have.

    Reference: E. Jang, S. Gu and B. Poole, "Categorical reparameterization with Gumbel-Softmax" (2016).
    """
    shapes.check_floating("gumbel_softmax", logits=logits)
    dim = shapes.normalize_dim("gumbel_softmax", dim, logits.ndim)
    # u = (q + 1/2) / 2^24 of the 2^24 numbers q, so that neither end is met
    uniform = _uniform(logits, 2.0**-25, 1 + 2.0**-25).clamp(max=1 - 2.0**-24)
    soft = softmax((logits - (-uniform.log()).log()) / tau, dim)
    if not hard:
        return soft
    places = np.arange(logits._array.shape[dim] if logits.ndim else 1).reshape(-1, *(1,) * (logits.ndim - 1 - dim))
    chosen = soft.detach().argmax(dim, keepdim=True) == from_numpy(places).to(logits.device)
    return chosen.reshape(logits.shape).to(dtype=soft.dtype) - soft.detach() + soft


def _softmax_arguments(name: str, input: Any, dim: int | None, dtype: Any) -> tuple[Tensor, int]:
    if dtype is not None and isinstance(input, Tensor):
        input = input.to(dtype=dtype)
    if isinstance(input, Tensor) and not input.is_floating_point():
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
