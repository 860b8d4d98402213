"""Dropout of elements, of whole channels, and of whole samples.

A mask comes from a (seed, offset) pair of the default generator's counter-based stream: it is the same on every device
and with any number of threads. Backward has it as one bit for each element (to draw the numbers again takes twice as long
as to read gradients). Where whole channels or samples are dropped, the mask has one number for each of them.
"""

from __future__ import annotations

import warnings
from math import prod
from typing import Any

from numbanet import devices, dtypes, shapes
from numbanet.autograd import Function, no_grad
from numbanet.devices import Array
from numbanet.functional.arithmetic import mul_
from numbanet.functional.inplace import unary
from numbanet.kernels import dropout as kernels
from numbanet.random import default_generator
from numbanet.tensor import Tensor, wrap

__all__ = ["alpha_dropout", "dropout", "dropout1d", "dropout2d", "feature_alpha_dropout", "stochastic_depth"]


def _check(name: str, input: Any, p: Any) -> None:
    """Refuse probabilities outside 0 to 1, and what is not a tensor."""
    if not isinstance(p, int | float):
        raise TypeError(f"{name}: the probability must be a number, not {type(p).__name__}")
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"{name}: probability has to be between 0 and 1, got p={p}")
    if not isinstance(input, Tensor):
        raise TypeError(f"{name}: argument 'input' must be a Tensor, not {type(input).__name__}")


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero each element with probability p and divide the others by 1 - p, so that the expectation stays.

    Args:
        input: any shape.
        p: probability of an element being zeroed, 0 to 1.
        training: without it, dropout does nothing.
        inplace: write the result over ``input``.

    Raises:
        ValueError: for p outside 0 to 1.

    Reference: N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting" (2014), section 4.
    """
    _check("dropout", input, p)
    if not training or p == 0.0:
        return input
    return _drop("dropout", DropoutFunction, input, p, inplace)


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout for networks of ``selu``: an element that is dropped becomes selu's value at -infinity, -1.758.

    Then all are scaled and shifted so that mean 0 and variance 1 stay what they are. Arguments as ``dropout``, but
    ``training`` is False unless given. With p = 1 all elements become 0.

    Raises:
        ValueError: for p outside 0 to 1.

    Reference: G. Klambauer et al., "Self-normalizing neural networks" (2017), section "New dropout technique".
    """
    _check("alpha_dropout", input, p)
    if not training or p == 0.0:
        return input
    if p == 1.0:
        shapes.check_floating("alpha_dropout", input=input)
        return mul_(input, 0.0) if inplace else input * 0.0
    return _drop("alpha_dropout", AlphaDropoutFunction, input, p, inplace)


def _drop(name: str, function: type[_Dropout], input: Tensor, p: float, inplace: bool) -> Tensor:
    shapes.check_floating(name, input=input)
    numbers = float(p), *default_generator.philox(input._array.size)
    if inplace:
        return unary(name, function, input, keeps_input=False, numbers=numbers)
    return function.apply(input, None, *numbers)


class _Dropout(Function):
    """y = f(x) by one kernel, which also makes the mask."""

    kernel: Any
    gradient: type[_DropoutGrad]

    @staticmethod
    def forward(ctx: Any, x: Tensor, out: Array | None, p: float, seed: int, offset: int) -> Tensor:
        source = devices.contiguous(x._array)
        y = devices.empty(source.shape, source.dtype, x.device) if out is None else out
        mask = devices.empty((kernels.mask_bytes(y.size),), dtypes.uint8, x.device)
        if y.size:
            ctx.function.kernel(source, y, mask, p, seed, offset)
        ctx.p = p
        ctx.save_for_backward(wrap(mask))
        return wrap(y)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        (mask,) = ctx.saved_tensors
        return ctx.function.gradient.apply(dy, mask, ctx.p), None, None, None, None


class _DropoutGrad(Function):
    """dx, which is linear in dy with the same mask: its own gradient is itself."""

    kernel: Any

    @staticmethod
    def forward(ctx: Any, dy: Tensor, mask: Tensor, p: float) -> Tensor:
        source = devices.contiguous(dy._array)
        dx = devices.empty(source.shape, source.dtype, dy.device)
        if dx.size:
            ctx.function.kernel(source, mask._array, dx, p)
        ctx.p = p
        ctx.save_for_backward(mask)
        return wrap(dx)

    @staticmethod
    def backward(ctx: Any, ddx: Tensor) -> Any:
        (mask,) = ctx.saved_tensors
        return ctx.function.apply(ddx, mask, ctx.p), None, None


class DropoutGradFunction(_DropoutGrad):
    """dx = mask dy / (1 - p)."""

    kernel = kernels.dropout_backward


class DropoutFunction(_Dropout):
    """y = mask x / (1 - p)."""

    kernel = kernels.dropout_forward
    gradient = DropoutGradFunction


class AlphaDropoutGradFunction(_DropoutGrad):
    """dx = a mask dy."""

    kernel = kernels.alpha_dropout_backward


class AlphaDropoutFunction(_Dropout):
    """y = a x + b where the mask is 1, else b - a 1.758."""

    kernel = kernels.alpha_dropout_forward
    gradient = AlphaDropoutGradFunction


# ------------------------------------------------------------------------------------------------------- whole channels


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """``dropout`` of whole channels of an input of shape (N, C, L), or (C, L).

    Raises:
        RuntimeError: for another number of dimensions.
        ValueError: for p outside 0 to 1.

    Reference: J. Tompson et al., "Efficient object localization using convolutional networks" (2015), section 3.3.
    """
    _check("dropout1d", input, p)
    if input.ndim not in (2, 3):
        raise RuntimeError(
            f"dropout1d: expected input of shape (N, C, L) or (C, L), got {tuple(input.shape)}, of {input.ndim} dimensions"
        )
    return _drop_channels("dropout1d", input, p, training, inplace, batched=input.ndim == 3)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """``dropout`` of whole channels of an input of shape (N, C, H, W).

    Pixels of one channel that lie next to each other are alike, and dropping single ones would hide nothing. An input of
    another number of dimensions (at least 2) is taken as (N, C, ...), with a warning.

    Raises:
        RuntimeError: for fewer than 2 dimensions.
        ValueError: for p outside 0 to 1.

    Reference: J. Tompson et al., "Efficient object localization using convolutional networks" (2015), section 3.3.
    """
    _check("dropout2d", input, p)
    if input.ndim != 4:
        warnings.warn(
            f"dropout2d: expected input of shape (N, C, H, W), got {tuple(input.shape)}; it is taken as (N, C, ...): "
            "a single image needs a dimension of size 1 before it",
            UserWarning,
            stacklevel=2,
        )
    return _drop_channels("dropout2d", input, p, training, inplace)


def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """``alpha_dropout`` of whole channels of an input of shape (N, C, ...).

    Raises:
        RuntimeError: for fewer than 2 dimensions.
        ValueError: for p outside 0 to 1.
    """
    _check("feature_alpha_dropout", input, p)
    return _drop_channels("feature_alpha_dropout", input, p, training, inplace, alpha=True)


def _drop_channels(
    name: str, input: Tensor, p: float, training: bool, inplace: bool, batched: bool = True, alpha: bool = False
) -> Tensor:
    if not training or p == 0.0:
        return input
    shapes.check_floating(name, input=input)
    shape = tuple(input.shape)
    if len(shape) < 2:
        raise RuntimeError(f"{name}: expected input of shape (N, C, ...), got {shape}, of {len(shape)} dimensions")
    return _drop_parts(name, input, 2 if batched else 1, p, inplace, alpha)


def _drop_parts(name: str, input: Tensor, leading: int, p: float, inplace: bool = False, alpha: bool = False) -> Tensor:
    """input * factor + shift, with one number of each for each index of the first ``leading`` dimensions."""
    kept = devices.empty((prod(tuple(input.shape)[:leading]),), input.dtype, input.device)
    factor = wrap(kept)
    with no_grad():
        factor.fill_(1.0)
        dropout(factor, p, inplace=True)  # 0 or 1 / (1 - p)
        if alpha:
            scale, moved, dropped = kernels.alpha_affine(p)
            factor = (factor > 0).to(dtype=input.dtype)
            factor, shift = factor * scale, factor * (moved - dropped) + dropped
        else:
            shift = factor * 0.0
    if inplace:
        return unary(name, ChannelAffineFunction, input, keeps_input=False, numbers=(factor, shift))
    return ChannelAffineFunction.apply(input, None, factor, shift)


class ChannelAffineFunction(Function):
    """y = factor x + shift, with a number of each for each of the first dimensions' channels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, out: Array | None, factor: Tensor, shift: Tensor) -> Tensor:
        source = devices.contiguous(x._array)
        y = devices.empty(source.shape, source.dtype, x.device) if out is None else out
        if y.size:
            planes = factor._array.size, y.size // factor._array.size
            kernels.channel_affine(source.reshape(planes), factor._array, shift._array, y.reshape(planes))
        ctx.save_for_backward(factor)
        return wrap(y)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        (factor,) = ctx.saved_tensors
        with no_grad():
            shift = factor * 0.0
        return ChannelAffineFunction.apply(dy, None, factor, shift), None, None, None


# -------------------------------------------------------------------------------------------------------- whole samples


def stochastic_depth(input: Tensor, p: float, mode: str, training: bool = True) -> Tensor:
    """Zero whole samples with probability p and divide the others by 1 - p: what a residual branch gives, or nothing.

    A network of residual blocks whose branches are dropped like this is, in each step, a random shallower one.

    Args:
        input: a residual branch's output, shape (N, ...).
        p: probability of being zeroed, 0 to 1.
        mode: "row" decides for each sample by itself, "batch" once for all.
        training: without it, nothing is done.

    Raises:
        ValueError: for p outside 0 to 1, another mode, or rows of an input without dimensions.

    Reference: G. Huang et al., "Deep networks with stochastic depth" (2016), section 3.
    """
    _check("stochastic_depth", input, p)
    if mode not in ("batch", "row"):
        raise ValueError(f"stochastic_depth: mode has to be 'batch' or 'row', got {mode!r}")
    if not training or p == 0.0:
        return input
    shapes.check_floating("stochastic_depth", input=input)
    if mode == "row" and input.ndim == 0:
        raise ValueError("stochastic_depth: mode 'row' needs an input of shape (N, ...), got (), of 0 dimensions")
    return _drop_parts("stochastic_depth", input, 1 if mode == "row" else 0, p)
