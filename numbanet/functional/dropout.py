"""Dropout of elements and of whole channels.

A mask is a (seed, offset) pair of the default generator's counter-based stream: it is the same on every device and with
any number of threads, and backward makes it again instead of keeping it. Where whole channels are dropped, the mask has
one number for each channel, and is kept.
"""

from __future__ import annotations

import warnings
from typing import Any

from numbanet import devices, shapes
from numbanet.autograd import Function, no_grad
from numbanet.devices import Array
from numbanet.functional.inplace import assign, unary
from numbanet.kernels import dropout as kernels
from numbanet.random import default_generator
from numbanet.tensor import Tensor, wrap

__all__ = ["alpha_dropout", "dropout", "dropout1d", "dropout2d", "feature_alpha_dropout"]


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
    return _drop("alpha_dropout", AlphaDropoutFunction, input, p, inplace)


def _drop(name: str, function: type[_Dropout], input: Tensor, p: float, inplace: bool) -> Tensor:
    shapes.check_floating(name, input=input)
    numbers = float(p), *default_generator.philox(input._array.size)
    if inplace:
        return unary(name, function, input, keeps_input=False, numbers=numbers)
    return function.apply(input, None, *numbers)


class _Dropout(Function):
    """y = f(x) by one kernel; the gradient, which is linear in dy with the same mask, is its own gradient's formula."""

    kernel: Any
    gradient: type[_Dropout]

    @staticmethod
    def forward(ctx: Any, x: Tensor, out: Array | None, p: float, seed: int, offset: int) -> Tensor:
        ctx.mask = p, seed, offset
        source = devices.contiguous(x._array)
        y = devices.empty(source.shape, source.dtype, x.device) if out is None else out
        if y.size:
            ctx.function.kernel(source, y, p, seed, offset)
        return wrap(y)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        return ctx.function.gradient.apply(dy, None, *ctx.mask), None, None, None, None


class DropoutGradFunction(_Dropout):
    """dx = mask dy / (1 - p): its own gradient is itself."""

    kernel = kernels.dropout_backward


class DropoutFunction(_Dropout):
    """y = mask x / (1 - p)."""

    kernel = kernels.dropout_forward
    gradient = DropoutGradFunction


class AlphaDropoutGradFunction(_Dropout):
    """dx = a mask dy: its own gradient is itself."""

    kernel = kernels.alpha_dropout_backward


class AlphaDropoutFunction(_Dropout):
    """y = a x + b where the mask is 1, else b - a 1.758."""

    kernel = kernels.alpha_dropout_forward
    gradient = AlphaDropoutGradFunction


DropoutGradFunction.gradient = DropoutGradFunction
AlphaDropoutGradFunction.gradient = AlphaDropoutGradFunction


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
    """input * mask (+ shift), with a number for each channel of each image."""
    if not training or p == 0.0:
        return input
    shapes.check_floating(name, input=input)
    shape = tuple(input.shape)
    if len(shape) < 2:
        raise RuntimeError(f"{name}: expected input of shape (N, C, ...), got {shape}, of {len(shape)} dimensions")
    channels = 2 if batched else 1
    kept = devices.empty((*shape[:channels], *(1,) * (len(shape) - channels)), input.dtype, input.device)
    mask = wrap(kept)
    with no_grad():
        mask.fill_(1.0)
        dropout(mask, p, inplace=True)  # 0 or 1 / (1 - p)
        if alpha:
            scale, shift, dropped = kernels.alpha_affine(p)
            mask = (mask > 0).to(dtype=input.dtype)
            mask, moved = mask * scale, mask * (shift - dropped) + dropped
    result = input * mask + moved if alpha else input * mask
    return assign(name, input, result) if inplace else result
