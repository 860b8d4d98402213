"""Dropout."""

from __future__ import annotations

from typing import Any

from numbanet import devices, shapes
from numbanet.autograd import Function
from numbanet.functional.inplace import assign
from numbanet.kernels import dropout as kernels
from numbanet.random import default_generator
from numbanet.tensor import Tensor, wrap

__all__ = ["dropout"]


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero each element with probability p and divide the others by 1 - p, so that the expectation stays.

    The mask is a (seed, offset) pair of the default generator's counter-based stream: it is the same on every device
    and with any number of threads, and backward makes it again instead of keeping it.

    Args:
        input: any shape.
        p: probability of an element being zeroed, 0 to 1.
        training: without it, dropout does nothing.
        inplace: write the result over ``input``.

    Raises:
        ValueError: for p outside 0 to 1.

    Reference: N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting" (2014), section 4.
    """
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout: probability has to be between 0 and 1, got p={p}")
    shapes.check_floating("dropout", input=input)
    if not training or p == 0.0:
        return input
    if p == 1.0:
        dropped = input * 0.0
    else:
        seed, offset = default_generator.philox(input._array.size)
        dropped = DropoutFunction.apply(input, float(p), seed, offset)
    return assign("dropout", input, dropped) if inplace else dropped


class DropoutFunction(Function):
    """y = mask x / (1 - p)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float, seed: int, offset: int) -> Tensor:
        ctx.mask = p, seed, offset
        source = devices.contiguous(x._array)
        y = devices.empty(source.shape, source.dtype, x.device)
        if y.size:
            kernels.dropout_forward(source, y, p, seed, offset)
        return wrap(y)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        return DropoutGradFunction.apply(dy, *ctx.mask), None, None, None


class DropoutGradFunction(Function):
    """dx = mask dy / (1 - p): its own gradient is itself."""

    @staticmethod
    def forward(ctx: Any, dy: Tensor, p: float, seed: int, offset: int) -> Tensor:
        ctx.mask = p, seed, offset
        source = devices.contiguous(dy._array)
        dx = devices.empty(source.shape, source.dtype, dy.device)
        if dx.size:
            kernels.dropout_backward(source, dx, p, seed, offset)
        return wrap(dx)

    @staticmethod
    def backward(ctx: Any, ddx: Tensor) -> Any:
        return DropoutGradFunction.apply(ddx, *ctx.mask), None, None, None
