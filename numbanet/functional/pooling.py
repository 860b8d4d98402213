"""2-D pooling: maximum and average, over windows or to a given output size."""

from __future__ import annotations

from math import prod
from typing import Any

from numbanet import devices, dtypes, shapes
from numbanet.autograd import Function
from numbanet.devices import Array
from numbanet.kernels import pooling as kernels
from numbanet.tensor import Tensor, wrap

__all__ = ["adaptive_avg_pool2d", "adaptive_max_pool2d", "avg_pool2d", "max_pool2d"]


def _batched(function: Any, input: Tensor, *args: Any) -> Any:
    """(C, H, W) by way of (1, C, H, W)."""
    result = function(input.unsqueeze(0), *args)
    return tuple([r.squeeze(0) for r in result]) if isinstance(result, tuple) else result.squeeze(0)


# -------------------------------------------------------------------------------------------------------- maximum


def max_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum of each window, channel by channel, as ``torch.nn.functional.max_pool2d``.

    Notation: N images, C channels of H x W pixels; windows of KH x KW pixels.

        OH = floor((H + 2 * PH - DH * (KH - 1) - 1) / SH) + 1, and OW likewise

    With ``ceil_mode`` it is rounded up, but a last window must start inside the input or its left padding. Padding never
    wins: it counts as minus infinity. Where several pixels share the maximum, the first in row order gets the gradient;
    NaN wins over everything.

    Args:
        input: shape (N, C, H, W) or (C, H, W).
        kernel_size: (KH, KW), or an int for both.
        stride: (SH, SW), or an int for both; None for ``kernel_size``.
        padding: (PH, PW), or an int for both; at most half the window.
        dilation: (DH, DW), or an int for both.
        ceil_mode: round the output size up.
        return_indices: also return where each maximum stands in its H x W plane (int64).

    Returns:
        Shape (N, C, OH, OW), or (C, OH, OW); with ``return_indices`` a pair of such.

    Raises:
        RuntimeError: for sizes that do not fit.

    Reference: D. Scherer et al., "Evaluation of pooling operations in convolutional architectures" (2010), section 3.
    """
    shapes.check_floating("max_pool2d", input=input)
    if input._array.ndim == 3:
        return _batched(max_pool2d, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)
    out_shape, geometry = shapes.pool2d_geometry(
        "max_pool2d",
        input._array.shape,
        shapes.hashable(kernel_size),
        shapes.hashable(stride),
        shapes.hashable(padding),
        shapes.hashable(dilation),
        ceil_mode,
    )
    return MaxPool2dFunction.apply(input, out_shape, geometry, return_indices)


class MaxPool2dFunction(Function):
    """The maxima, and their positions if wanted; the gradient goes to the positions."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, out_shape: tuple[int, ...], geometry: tuple[int, ...], return_indices: bool
    ) -> Any:
        y = devices.empty(out_shape, x.dtype, x.device)
        indices = _positions(ctx, x, out_shape, return_indices)
        if y.size:
            kernels.max_pool2d_forward(devices.contiguous(x._array), y, indices, *geometry)
        return _with_positions(ctx, x, y, indices, return_indices)

    @staticmethod
    def backward(ctx: Any, dy: Tensor, _: Any = None) -> Any:
        (positions,) = ctx.saved_tensors
        return MaxPool2dGradFunction.apply(dy, positions, ctx.shape), None, None, None


def _positions(ctx: Any, x: Tensor, out_shape: tuple[int, ...], return_indices: bool) -> Array:
    """The array for the positions: int64 for users, int32 (half the traffic) for backward alone, empty for nobody."""
    if return_indices or prod(x._array.shape[2:]) >= 1 << 31:
        return devices.empty(out_shape, dtypes.int64, x.device)
    return devices.empty(out_shape if ctx.needs_input_grad[0] else (0,), dtypes.int32, x.device)


def _with_positions(ctx: Any, x: Tensor, y: Array, indices: Array, return_indices: bool) -> Any:
    pooled, positions = wrap(y), wrap(indices)
    ctx.shape = x._array.shape
    ctx.save_for_backward(positions)
    if not return_indices:
        return pooled
    ctx.mark_non_differentiable(positions)
    ctx.set_materialize_grads(False)
    return pooled, positions


class MaxPool2dGradFunction(Function):
    """dx[position] = the sum of dy over the windows that chose the position: linear in dy, with gather as its gradient."""

    @staticmethod
    def forward(ctx: Any, dy: Tensor, positions: Tensor, shape: tuple[int, ...]) -> Tensor:
        ctx.save_for_backward(positions)
        dx = devices.empty(shape, dy.dtype, dy.device)
        if dx.size:
            kernels.max_pool2d_backward(devices.contiguous(dy._array), positions._array, dx)
        return wrap(dx)

    @staticmethod
    def backward(ctx: Any, ddx: Tensor) -> Any:
        (positions,) = ctx.saved_tensors
        n, c, oh, ow = positions._array.shape
        picked = ddx.reshape(n, c, -1).gather(2, positions.reshape(n, c, -1).long())
        return picked.reshape(n, c, oh, ow), None, None


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The maxima of OH x OW windows that cover the input: window i has the rows floor(i H / OH) to ceil((i + 1) H / OH) - 1.

    Args:
        input: shape (N, C, H, W) or (C, H, W).
        output_size: (OH, OW), or an int for both; None keeps H or W.
        return_indices: also return where each maximum stands in its H x W plane (int64).

    Returns:
        Shape (N, C, OH, OW), or (C, OH, OW); with ``return_indices`` a pair of such.
    """
    shapes.check_floating("adaptive_max_pool2d", input=input)
    if input._array.ndim == 3:
        return _batched(adaptive_max_pool2d, input, output_size, return_indices)
    out_shape = shapes.adaptive_pool2d_geometry("adaptive_max_pool2d", input._array.shape, shapes.hashable(output_size))
    return AdaptiveMaxPool2dFunction.apply(input, out_shape, return_indices)


class AdaptiveMaxPool2dFunction(Function):
    """As ``MaxPool2dFunction`` with windows of differing sizes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, out_shape: tuple[int, ...], return_indices: bool) -> Any:
        y = devices.empty(out_shape, x.dtype, x.device)
        indices = _positions(ctx, x, out_shape, return_indices)
        if y.size:
            kernels.adaptive_max_pool2d_forward(devices.contiguous(x._array), y, indices)
        return _with_positions(ctx, x, y, indices, return_indices)

    @staticmethod
    def backward(ctx: Any, dy: Tensor, _: Any = None) -> Any:
        (positions,) = ctx.saved_tensors
        return MaxPool2dGradFunction.apply(dy, positions, ctx.shape), None, None


# -------------------------------------------------------------------------------------------------------- average


def avg_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The average of each window, channel by channel, as ``torch.nn.functional.avg_pool2d``.

    Notation and output size as in ``max_pool2d`` (without dilation). A window's sum is divided by its number of
    pixels: those in the padding count with ``count_include_pad``, those that ``ceil_mode`` adds beyond it never.

    Args:
        input: shape (N, C, H, W) or (C, H, W).
        kernel_size: (KH, KW), or an int for both.
        stride: (SH, SW), or an int for both; None for ``kernel_size``.
        padding: (PH, PW) zeros on each side, or an int for both; at most half the window.
        ceil_mode: round the output size up.
        count_include_pad: whether padding counts in the divisor.
        divisor_override: divide by this instead.

    Returns:
        Shape (N, C, OH, OW), or (C, OH, OW).

    Raises:
        RuntimeError: for sizes that do not fit, or a divisor of 0.

    Reference: Y. LeCun et al., "Gradient-based learning applied to document recognition" (1998), section II.B (layer S2).
    """
    shapes.check_floating("avg_pool2d", input=input)
    if input._array.ndim == 3:
        return _batched(avg_pool2d, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    if divisor_override is not None and divisor_override == 0:
        raise RuntimeError("avg_pool2d: divisor_override must not be zero")
    out_shape, geometry = shapes.pool2d_geometry(
        "avg_pool2d",
        input._array.shape,
        shapes.hashable(kernel_size),
        shapes.hashable(stride),
        shapes.hashable(padding),
        1,
        ceil_mode,
    )
    # Bottom and right padding are those of the top and left.
    options = (*geometry[:6], *geometry[4:6], int(count_include_pad), int(divisor_override or 0))
    return AvgPool2dFunction.apply(input, out_shape, options)


class AvgPool2dFunction(Function):
    """The averages: linear, so each of the two directions is the other's gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, out_shape: tuple[int, ...], options: tuple[int, ...]) -> Tensor:
        ctx.shape, ctx.options = x._array.shape, options
        y = devices.empty(out_shape, x.dtype, x.device)
        if y.size:
            kernels.avg_pool2d_forward(devices.contiguous(x._array), y, *options)
        return wrap(y)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        return AvgPool2dGradFunction.apply(dy, ctx.shape, ctx.options), None, None


class AvgPool2dGradFunction(Function):
    """dx: each window's gradient divided over its pixels."""

    @staticmethod
    def forward(ctx: Any, dy: Tensor, shape: tuple[int, ...], options: tuple[int, ...]) -> Tensor:
        ctx.shape, ctx.options = dy._array.shape, options
        dx = devices.empty(shape, dy.dtype, dy.device)
        if dx.size:
            kernels.avg_pool2d_backward(devices.contiguous(dy._array), dx, *options)
        return wrap(dx)

    @staticmethod
    def backward(ctx: Any, ddx: Tensor) -> Any:
        return AvgPool2dFunction.apply(ddx, ctx.shape, ctx.options), None, None


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """The averages of OH x OW windows that cover the input: window i has the rows floor(i H / OH) to ceil((i + 1) H / OH) - 1.

    With output_size 1 it is global average pooling (M. Lin et al., "Network in network" (2014), section 3.2).

    Args:
        input: shape (N, C, H, W) or (C, H, W).
        output_size: (OH, OW), or an int for both; None keeps H or W.

    Returns:
        Shape (N, C, OH, OW), or (C, OH, OW).
    """
    shapes.check_floating("adaptive_avg_pool2d", input=input)
    if input._array.ndim == 3:
        return _batched(adaptive_avg_pool2d, input, output_size)
    out_shape = shapes.adaptive_pool2d_geometry("adaptive_avg_pool2d", input._array.shape, shapes.hashable(output_size))
    return AdaptiveAvgPool2dFunction.apply(input, out_shape)


class AdaptiveAvgPool2dFunction(Function):
    """The averages of windows that cover the input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, out_shape: tuple[int, ...]) -> Tensor:
        ctx.shape = x._array.shape
        y = devices.empty(out_shape, x.dtype, x.device)
        if y.size:
            kernels.adaptive_avg_pool2d_forward(devices.contiguous(x._array), y)
        return wrap(y)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        return AdaptiveAvgPool2dGradFunction.apply(dy, ctx.shape), None


class AdaptiveAvgPool2dGradFunction(Function):
    """dx: each window's gradient divided over its pixels."""

    @staticmethod
    def forward(ctx: Any, dy: Tensor, shape: tuple[int, ...]) -> Tensor:
        ctx.shape = dy._array.shape
        dx = devices.empty(shape, dy.dtype, dy.device)
        if not dy._array.size:
            return wrap(devices.full(shape, 0, dy.dtype, dy.device))
        if dx.size:
            kernels.adaptive_avg_pool2d_backward(devices.contiguous(dy._array), dx)
        return wrap(dx)

    @staticmethod
    def backward(ctx: Any, ddx: Tensor) -> Any:
        return AdaptiveAvgPool2dFunction.apply(ddx, ctx.shape), None
