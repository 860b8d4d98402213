"""2-D convolution."""

from __future__ import annotations

from typing import Any

from numbanet import devices, shapes
from numbanet.autograd import Function, is_grad_enabled
from numbanet.functional.linear import no_bias
from numbanet.kernels import conv2d as kernels
from numbanet.tensor import Tensor, wrap

__all__ = ["conv2d"]


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """2-D cross-correlation, which deep learning calls convolution, as ``torch.nn.functional.conv2d``.

    Notation: N images, C channels of H x W pixels; O output channels of OH x OW pixels; kernels of KH x KW elements.

        y[n, o, i, j] = bias[o] + sum over c, k, l of weight[o, c, k, l] * x[n, c, i * SH + k * DH - PH, j * SW + l * DW - PW]

        OH = floor((H + 2 * PH - DH * (KH - 1) - 1) / SH) + 1, and OW likewise

    Args:
        input: shape (N, C, H, W) or (C, H, W).
        weight: shape (O, C / groups, KH, KW).
        bias: shape (O,), or None.
        stride: (SH, SW), or an int for both.
        padding: (PH, PW) zeros on each side, or an int for both; "valid" for none; "same" for as many as keep H and W
            with stride 1 (where their number is odd, the bottom and the right get one more).
        dilation: (DH, DW) distance of kernel elements, or an int for both.
        groups: the channels are split into this many groups that do not see each other; C and O are multiples of it.

    Returns:
        Shape (N, O, OH, OW), or (O, OH, OW) for input without N.

    Raises:
        RuntimeError: for shapes that do not fit, or tensors of different dtypes or devices.
        TypeError: for arguments that are not tensors.

    Reference: Y. LeCun et al., "Gradient-based learning applied to document recognition" (1998), section II.A;
    V. Dumoulin and F. Visin, "A guide to convolution arithmetic for deep learning" (2016), sections 2 and 4.
    """
    shapes.check_floating("conv2d", input=input, weight=weight, bias=bias)
    if input.ndim == 3:
        return conv2d(input.unsqueeze(0), weight, bias, stride, padding, dilation, groups).squeeze(0)
    out_shape, geometry = shapes.conv2d_geometry(
        input._array.shape,
        weight._array.shape,
        None if bias is None else bias._array.shape,
        shapes.hashable(stride),
        shapes.hashable(padding),
        shapes.hashable(dilation),
        groups,
    )
    return Conv2dFunction.apply(input, weight, bias, out_shape, geometry)


class Conv2dFunction(Function):
    """y = x * weight + bias."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, out_shape: tuple[int, ...], geometry: tuple[int, ...]
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        dtype, device = x.dtype, x.device
        b = no_bias(dtype, device) if bias is None else devices.contiguous(bias._array)
        y = devices.empty(out_shape, dtype, device)
        if y.size:
            kernels.conv2d_forward(devices.contiguous(x._array), devices.contiguous(weight._array), b, y, *geometry)
        return wrap(y)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        dx = Conv2dGradInputFunction.apply(dy, weight, x._array.shape, ctx.geometry) if needs_x else None
        if needs_weight and needs_bias and not is_grad_enabled():  # one pass over dy for both
            return dx, *_grad_weight(dy, x, weight._array.shape, ctx.geometry, True), None, None
        dweight = Conv2dGradWeightFunction.apply(dy, x, weight._array.shape, ctx.geometry) if needs_weight else None
        dbias = _grad_bias(dy) if needs_bias else None
        return dx, dweight, dbias, None, None


class Conv2dGradInputFunction(Function):
    """dx from dy and weight: linear in both, so its own gradients are the other two convolutions."""

    @staticmethod
    def forward(ctx: Any, dy: Tensor, weight: Tensor, shape: tuple[int, ...], geometry: tuple[int, ...]) -> Tensor:
        ctx.save_for_backward(dy, weight)
        ctx.geometry = geometry
        dx = devices.empty(shape, dy.dtype, dy.device)
        if dx.size:
            kernels.conv2d_grad_input(devices.contiguous(dy._array), devices.contiguous(weight._array), dx, *geometry)
        return wrap(dx)

    @staticmethod
    def backward(ctx: Any, ddx: Tensor) -> Any:
        dy, weight = ctx.saved_tensors
        needs_dy, needs_weight = ctx.needs_input_grad[:2]
        grad_dy = Conv2dFunction.apply(ddx, weight, None, dy._array.shape, ctx.geometry) if needs_dy else None
        grad_weight = (
            Conv2dGradWeightFunction.apply(dy, ddx, weight._array.shape, ctx.geometry) if needs_weight else None
        )
        return grad_dy, grad_weight, None, None


class Conv2dGradWeightFunction(Function):
    """dweight from dy and x."""

    @staticmethod
    def forward(ctx: Any, dy: Tensor, x: Tensor, shape: tuple[int, ...], geometry: tuple[int, ...]) -> Tensor:
        ctx.save_for_backward(dy, x)
        ctx.geometry = geometry
        return _grad_weight(dy, x, shape, geometry, False)[0]

    @staticmethod
    def backward(ctx: Any, ddweight: Tensor) -> Any:
        dy, x = ctx.saved_tensors
        needs_dy, needs_x = ctx.needs_input_grad[:2]
        grad_dy = Conv2dFunction.apply(x, ddweight, None, dy._array.shape, ctx.geometry) if needs_dy else None
        grad_x = Conv2dGradInputFunction.apply(dy, ddweight, x._array.shape, ctx.geometry) if needs_x else None
        return grad_dy, grad_x, None, None


def _grad_weight(
    dy: Tensor, x: Tensor, shape: tuple[int, ...], geometry: tuple[int, ...], bias: bool
) -> tuple[Tensor, Tensor]:
    """The gradients of the weight and, if asked for, of the bias (else an empty tensor)."""
    size = shape[:1] if bias else (0,)
    if not dy._array.size:
        return wrap(devices.full(shape, 0, dy.dtype, dy.device)), wrap(devices.full(size, 0, dy.dtype, dy.device))
    dweight, dbias = devices.empty(shape, dy.dtype, dy.device), devices.empty(size, dy.dtype, dy.device)
    kernels.conv2d_grad_weight(devices.contiguous(dy._array), devices.contiguous(x._array), dbias, dweight, *geometry)
    return wrap(dweight), wrap(dbias)


def _grad_bias(dy: Tensor) -> Tensor:
    if is_grad_enabled() or not dy._array.size:
        return dy.sum((0, 2, 3))
    dbias = devices.empty(dy._array.shape[1:2], dy.dtype, dy.device)
    kernels.conv2d_grad_bias(devices.contiguous(dy._array), dbias)
    return wrap(dbias)
