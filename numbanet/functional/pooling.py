"""Pooling over one or two axes: maximum, average and power average, over windows or to a given output size; unpooling."""

from __future__ import annotations

from math import inf, prod
from typing import Any

import numpy as np

from numbanet import devices, dtypes, shapes
from numbanet.autograd import Function, is_grad_enabled
from numbanet.devices import Array
from numbanet.functional.activation import relu
from numbanet.functional.arithmetic import abs as absolute
from numbanet.functional.arithmetic import sign
from numbanet.kernels import pooling as kernels
from numbanet.tensor import Tensor, wrap

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_max_pool1d",
    "adaptive_max_pool1d_with_indices",
    "adaptive_max_pool2d",
    "adaptive_max_pool2d_with_indices",
    "avg_pool1d",
    "avg_pool2d",
    "lp_pool1d",
    "lp_pool2d",
    "max_pool1d",
    "max_pool1d_with_indices",
    "max_pool2d",
    "max_pool2d_with_indices",
    "max_unpool1d",
    "max_unpool2d",
]

# A function along one axis is the function of images with one row; the kernels see (N, C, H, W) alone. The autograd
# Functions take an input's and an output's shape as the user sees them and as images ("geometry").


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
    return _max_pool("max_pool2d", 2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d_with_indices(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Tensor, Tensor]:
    """``max_pool2d`` with the indices, whatever ``return_indices`` says."""
    return _max_pool("max_pool2d", 2, input, kernel_size, stride, padding, dilation, ceil_mode, True)


def max_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """``max_pool2d`` along one axis, as ``torch.nn.functional.max_pool1d``.

    Args:
        input: shape (N, C, L) or (C, L).
        kernel_size, stride, padding, dilation: ints, or tuples of one; stride None for ``kernel_size``.
        ceil_mode: round the output size up.
        return_indices: also return where along L each maximum stands (int64).

    Returns:
        Shape (N, C, OL), or (C, OL); with ``return_indices`` a pair of such.

    Raises:
        RuntimeError: for sizes that do not fit.
    """
    return _max_pool("max_pool1d", 1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool1d_with_indices(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Tensor, Tensor]:
    """``max_pool1d`` with the indices, whatever ``return_indices`` says."""
    return _max_pool("max_pool1d", 1, input, kernel_size, stride, padding, dilation, ceil_mode, True)


def _max_pool(
    name: str,
    dims: int,
    input: Tensor,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    """Along the last ``dims`` axes."""
    shapes.check_floating(name, input=input)
    *geometry, numbers = shapes.pool_geometry(
        name,
        dims,
        tuple(input._array.shape),
        shapes.hashable(kernel_size),
        shapes.hashable(stride),
        shapes.hashable(padding),
        shapes.hashable(dilation),
        bool(ceil_mode),
    )
    return MaxPoolFunction.apply(input, geometry, numbers, return_indices)


class MaxPoolFunction(Function):
    """The maxima, and their positions if wanted; the gradient goes to the positions.

    ``numbers`` None: windows of differing sizes that cover the input (adaptive pooling).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, geometry: Any, numbers: tuple[int, ...] | None, return_indices: bool) -> Any:
        image, pooled, shape = geometry
        dtype, device = x.dtype, x.device
        y = devices.empty(pooled, dtype, device)
        # int64 for users, int32 (half the traffic) for backward alone, empty for nobody
        if return_indices or image[2] * image[3] >= 1 << 31:
            indices = devices.empty(pooled, dtypes.int64, device)
        else:
            indices = devices.empty(pooled if ctx.needs_input_grad[0] else (0,), dtypes.int32, device)
        if y.size:
            source = devices.contiguous(x._array).reshape(image)
            if numbers is None:
                kernels.adaptive_max_pool2d_forward(source, y, indices)
            else:
                kernels.max_pool2d_forward(source, y, indices, *numbers)
        positions = wrap(indices.reshape(shape) if indices.shape == pooled else indices)
        ctx.geometry, ctx.numbers = (x._array.shape, image, pooled), numbers
        ctx.save_for_backward(positions)
        if not return_indices:
            return wrap(y.reshape(shape))
        ctx.mark_non_differentiable(positions)
        ctx.set_materialize_grads(False)
        return wrap(y.reshape(shape)), positions

    @staticmethod
    def backward(ctx: Any, dy: Tensor, _: Any = None) -> Any:
        (positions,) = ctx.saved_tensors
        return MaxPoolGradFunction.apply(dy, positions, *ctx.geometry), None, None, None


class MaxPoolGradFunction(Function):
    """dx[position] = the sum of dy over the windows that chose the position: linear in dy, with picking as its gradient."""

    @staticmethod
    def forward(
        ctx: Any, dy: Tensor, positions: Tensor, shape: tuple[int, ...], image: Any, pooled: tuple[int, ...]
    ) -> Tensor:
        ctx.save_for_backward(positions)
        ctx.geometry = image, pooled
        dx = devices.empty(shape, dy.dtype, dy.device)
        if dx.size:
            kernels.max_pool2d_backward(
                devices.contiguous(dy._array).reshape(pooled), _indices(positions, pooled), dx.reshape(image)
            )
        return wrap(dx)

    @staticmethod
    def backward(ctx: Any, ddx: Tensor) -> Any:
        (positions,) = ctx.saved_tensors
        return PickFunction.apply(ddx, positions, *ctx.geometry), None, None, None, None


class PickFunction(Function):
    """The elements at the positions: linear, with ``MaxPoolGradFunction`` as its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, positions: Tensor, image: Any, pooled: tuple[int, ...]) -> Tensor:
        ctx.save_for_backward(positions)
        ctx.geometry = x._array.shape, image, pooled
        y = devices.empty(pooled, x.dtype, x.device)
        if y.size:
            kernels.max_unpool2d_backward(devices.contiguous(x._array).reshape(image), _indices(positions, pooled), y)
        return wrap(y.reshape(positions._array.shape))

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        (positions,) = ctx.saved_tensors
        return MaxPoolGradFunction.apply(dy, positions, *ctx.geometry), None, None, None


def _indices(positions: Tensor, pooled: tuple[int, ...]) -> Array:
    """The kernels' array of positions."""
    return devices.contiguous(positions._array).reshape(pooled)


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The maxima of OH x OW windows that cover the input: window i has the rows floor(i H / OH) to ceil((i + 1) H / OH) - 1.

    With output_size 1 it is global maximum pooling.

    Args:
        input: shape (N, C, H, W) or (C, H, W).
        output_size: (OH, OW), or an int for both; None in the pair keeps H or W.
        return_indices: also return where each maximum stands in its H x W plane (int64).

    Returns:
        Shape (N, C, OH, OW), or (C, OH, OW); with ``return_indices`` a pair of such.

    Raises:
        RuntimeError: for sizes that do not fit.
    """
    return _adaptive_max_pool("adaptive_max_pool2d", 2, input, output_size, return_indices)


def adaptive_max_pool2d_with_indices(
    input: Tensor, output_size: Any, return_indices: bool = False
) -> tuple[Tensor, Tensor]:
    """``adaptive_max_pool2d`` with the indices, whatever ``return_indices`` says."""
    return _adaptive_max_pool("adaptive_max_pool2d", 2, input, output_size, True)


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """``adaptive_max_pool2d`` along one axis.

    Args:
        input: shape (N, C, L) or (C, L).
        output_size: OL, or a tuple of it.
        return_indices: also return where along L each maximum stands (int64).

    Returns:
        Shape (N, C, OL), or (C, OL); with ``return_indices`` a pair of such.

    Raises:
        RuntimeError: for sizes that do not fit.
    """
    return _adaptive_max_pool("adaptive_max_pool1d", 1, input, output_size, return_indices)


def adaptive_max_pool1d_with_indices(
    input: Tensor, output_size: Any, return_indices: bool = False
) -> tuple[Tensor, Tensor]:
    """``adaptive_max_pool1d`` with the indices, whatever ``return_indices`` says."""
    return _adaptive_max_pool("adaptive_max_pool1d", 1, input, output_size, True)


def _adaptive_max_pool(name: str, dims: int, input: Tensor, output_size: Any, return_indices: bool) -> Any:
    shapes.check_floating(name, input=input)
    geometry = shapes.adaptive_pool_geometry(name, dims, tuple(input._array.shape), shapes.hashable(output_size))
    return MaxPoolFunction.apply(input, geometry, None, return_indices)


# ------------------------------------------------------------------------------------------------------ unpooling


def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """Put the maxima back where ``max_pool2d`` took them from, zeros elsewhere, as ``torch.nn.functional.max_unpool2d``.

        H = (OH - 1) * SH - 2 * PH + KH, and W likewise

    Where two maxima came from one place, the last in row order stays; the gradient goes to both.

    Args:
        input: shape (N, C, OH, OW) or (C, OH, OW).
        indices: the places in an H x W plane, as ``max_pool2d`` returns them (int64, input's shape).
        kernel_size, stride, padding: as they were for ``max_pool2d``.
        output_size: the size to restore, where pooling made several sizes one: (H, W) or all dimensions; less than a stride
            away from the size above.

    Returns:
        Shape (N, C, H, W), or (C, H, W).

    Raises:
        RuntimeError: for indices of another shape or dtype, or outside of the plane.
        ValueError: for an output size that pooling would not make into input's.

    Reference: M. D. Zeiler and R. Fergus, "Visualizing and understanding convolutional networks" (2014), section 2.1.
    """
    return _max_unpool("max_unpool2d", 2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool1d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """``max_unpool2d`` along one axis.

    Args:
        input: shape (N, C, OL) or (C, OL).
        indices: the places along L, as ``max_pool1d`` returns them (int64, input's shape).
        kernel_size, stride, padding: as they were for ``max_pool1d``.
        output_size: (L,) or all dimensions.

    Returns:
        Shape (N, C, L), or (C, L).

    Raises:
        RuntimeError: for indices of another shape or dtype, or outside of the axis.
        ValueError: for an output size that pooling would not make into input's.
    """
    return _max_unpool("max_unpool1d", 1, input, indices, kernel_size, stride, padding, output_size)


def _max_unpool(
    name: str, dims: int, input: Tensor, indices: Tensor, kernel_size: Any, stride: Any, padding: Any, output_size: Any
) -> Tensor:
    shapes.check_floating(name, input=input)
    if not isinstance(indices, Tensor):
        raise TypeError(f"{name}: argument 'indices' must be a Tensor, not {type(indices).__name__}")
    if indices.dtype != dtypes.int64:
        raise RuntimeError(f"{name}: expected indices of int64, got {indices.dtype}")
    x = tuple(input._array.shape)
    if tuple(indices._array.shape) != x:
        raise RuntimeError(f"{name}: expected indices of input's shape {x}, got {tuple(indices._array.shape)}")
    geometry = shapes.unpool_geometry(name, dims, x, kernel_size, stride, padding, output_size)
    inside = prod(geometry[1][2:])
    found = indices._array
    if found.size and not indices.is_cuda:
        # One pass for both ends: negative indices are large unsigned ones.
        highest = np.asarray(found).view(np.uint64).max()
        if highest >= inside:
            raise RuntimeError(
                f"{name}: indices run from {found.min()} to {found.max()}, expected 0 to {inside - 1} for an output of "
                f"shape {geometry[2]}"
            )
    return MaxUnpoolFunction.apply(input, indices, geometry)


class MaxUnpoolFunction(Function):
    """y = 0 but for y[index] = x; its gradient picks."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, indices: Tensor, geometry: Any) -> Tensor:
        pooled, image, shape = geometry
        ctx.save_for_backward(indices)
        ctx.geometry = image, pooled
        y = devices.empty(shape, x.dtype, x.device)
        if y.size:
            kernels.max_unpool2d_forward(
                devices.contiguous(x._array).reshape(pooled), _indices(indices, pooled), y.reshape(image)
            )
        return wrap(y)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        (indices,) = ctx.saved_tensors
        return PickFunction.apply(dy, indices, *ctx.geometry), None, None


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
    if divisor_override is not None:
        if not hasattr(divisor_override, "__index__"):
            raise TypeError(f"avg_pool2d: divisor_override must be an int, got {divisor_override!r}")
        if divisor_override == 0:
            raise RuntimeError("avg_pool2d: divisor_override must not be zero")
    return _avg_pool(
        "avg_pool2d", 2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


def avg_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """``avg_pool2d`` along one axis, as ``torch.nn.functional.avg_pool1d``.

    Args:
        input: shape (N, C, L) or (C, L).
        kernel_size, stride, padding: ints, or tuples of one; stride None for ``kernel_size``.
        ceil_mode: round the output size up.
        count_include_pad: whether padding counts in the divisor.

    Returns:
        Shape (N, C, OL), or (C, OL).

    Raises:
        RuntimeError: for sizes that do not fit.
    """
    return _avg_pool("avg_pool1d", 1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def _avg_pool(
    name: str,
    dims: int,
    input: Tensor,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:
    """Along the last ``dims`` axes."""
    shapes.check_floating(name, input=input)
    *geometry, numbers = shapes.pool_geometry(
        name,
        dims,
        tuple(input._array.shape),
        shapes.hashable(kernel_size),
        shapes.hashable(stride),
        shapes.hashable(padding),
        1,
        bool(ceil_mode),
    )
    # Bottom and right padding are those of the top and left.
    options = (*numbers[:6], *numbers[4:6], int(count_include_pad), int(divisor_override or 0))
    return AvgPoolFunction.apply(input, geometry, options)


class AvgPoolFunction(Function):
    """The averages: linear, so each of the two directions is the other's gradient.

    ``options`` None: windows of differing sizes that cover the input (adaptive pooling).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, geometry: Any, options: tuple[int, ...] | None) -> Tensor:
        image, pooled, shape = geometry
        ctx.geometry, ctx.options = (x._array.shape, image, pooled), options
        y = devices.empty(pooled, x.dtype, x.device)
        if y.size:
            source = devices.contiguous(x._array).reshape(image)
            if options is None:
                kernels.adaptive_avg_pool2d_forward(source, y)
            else:
                kernels.avg_pool2d_forward(source, y, *options)
        return wrap(y.reshape(shape))

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        return AvgPoolGradFunction.apply(dy, ctx.geometry, ctx.options), None, None


class AvgPoolGradFunction(Function):
    """dx: each window's gradient divided over its pixels."""

    @staticmethod
    def forward(ctx: Any, dy: Tensor, geometry: Any, options: tuple[int, ...] | None) -> Tensor:
        shape, image, pooled = geometry
        ctx.geometry, ctx.options = (image, pooled, dy._array.shape), options
        if not dy._array.size:
            return wrap(devices.full(shape, 0, dy.dtype, dy.device))
        dx = devices.empty(shape, dy.dtype, dy.device)
        gradient, target = devices.contiguous(dy._array).reshape(pooled), dx.reshape(image)
        if options is None:
            kernels.adaptive_avg_pool2d_backward(gradient, target)
        else:
            kernels.avg_pool2d_backward(gradient, target, *options)
        return wrap(dx)

    @staticmethod
    def backward(ctx: Any, ddx: Tensor) -> Any:
        return AvgPoolFunction.apply(ddx, ctx.geometry, ctx.options), None, None


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """The averages of OH x OW windows that cover the input: window i has the rows floor(i H / OH) to ceil((i + 1) H / OH) - 1.

    With output_size 1 it is global average pooling (M. Lin et al., "Network in network" (2014), section 3.2).

    Args:
        input: shape (N, C, H, W) or (C, H, W).
        output_size: (OH, OW), or an int for both; None in the pair keeps H or W.

    Returns:
        Shape (N, C, OH, OW), or (C, OH, OW).

    Raises:
        RuntimeError: for sizes that do not fit.
    """
    return _adaptive_avg_pool("adaptive_avg_pool2d", 2, input, output_size)


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """``adaptive_avg_pool2d`` along one axis.

    Args:
        input: shape (N, C, L) or (C, L).
        output_size: OL, or a tuple of it.

    Returns:
        Shape (N, C, OL), or (C, OL).

    Raises:
        RuntimeError: for sizes that do not fit.
    """
    return _adaptive_avg_pool("adaptive_avg_pool1d", 1, input, output_size)


def _adaptive_avg_pool(name: str, dims: int, input: Tensor, output_size: Any) -> Tensor:
    shapes.check_floating(name, input=input)
    geometry = shapes.adaptive_pool_geometry(name, dims, tuple(input._array.shape), shapes.hashable(output_size))
    return AvgPoolFunction.apply(input, geometry, None)


# -------------------------------------------------------------------------------------------------- power average


def lp_pool2d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """The p-th root of each window's sum of p-th powers, as ``torch.nn.functional.lp_pool2d``.

        y = (sum of x^p over the window)^(1 / p)

    p = 1 is sum pooling, and infinity the largest magnitude (minus infinity: the smallest). Powers are of x itself, not of
    its magnitude, so that an odd p can give NaN. Output size as in ``max_pool2d``, without padding; a window that ``ceil_mode``
    lets reach beyond the input counts as full of its own average. Where the sum is 0, so is the gradient.

    Args:
        input: shape (N, C, H, W) or (C, H, W).
        norm_type: p, not 0.
        kernel_size: (KH, KW), or an int for both.
        stride: (SH, SW), or an int for both; None for ``kernel_size``.
        ceil_mode: round the output size up.

    Returns:
        Shape (N, C, OH, OW), or (C, OH, OW).

    Raises:
        RuntimeError: for sizes that do not fit.
        ZeroDivisionError: for p = 0.

    Reference: P. Sermanet, S. Chintala and Y. LeCun, "Convolutional neural networks applied to house numbers digit
    classification" (2012), section 2.2.
    """
    return _lp_pool("lp_pool2d", 2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool1d(input: Tensor, norm_type: float, kernel_size: int, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """``lp_pool2d`` along one axis.

    Args:
        input: shape (N, C, L) or (C, L).
        norm_type: p, not 0.
        kernel_size: an int.
        stride: an int; None for ``kernel_size``.
        ceil_mode: round the output size up.

    Returns:
        Shape (N, C, OL), or (C, OL).

    Raises:
        RuntimeError: for sizes that do not fit.
        ZeroDivisionError: for p = 0.
    """
    if not hasattr(kernel_size, "__index__"):
        raise TypeError(f"lp_pool1d: kernel_size must be an int, got {kernel_size!r}")
    return _lp_pool("lp_pool1d", 1, input, norm_type, kernel_size, stride, ceil_mode)


def _lp_pool(
    name: str, dims: int, input: Tensor, norm_type: float, kernel_size: Any, stride: Any, ceil_mode: bool
) -> Tensor:
    shapes.check_floating(name, input=input)
    if not isinstance(norm_type, (int, float)):
        raise TypeError(f"{name}: norm_type must be a number, got {norm_type!r}")
    if norm_type == 0:
        raise ZeroDivisionError(f"{name}: norm_type must not be 0")
    *geometry, numbers = shapes.pool_geometry(
        name,
        dims,
        tuple(input._array.shape),
        shapes.hashable(kernel_size),
        shapes.hashable(stride),
        0,
        1,
        bool(ceil_mode),
    )
    if norm_type == inf:
        return _max_pool(name, dims, absolute(input), kernel_size, stride, 0, 1, ceil_mode, False)
    if norm_type == -inf:
        return -_max_pool(name, dims, -absolute(input), kernel_size, stride, 0, 1, ceil_mode, False)
    if norm_type in (2, 3):
        return LpPoolFunction.apply(input, int(norm_type), geometry, numbers[:4])
    power = input**norm_type
    average = _avg_pool(name, dims, power, kernel_size, stride, 0, ceil_mode, True, None)
    # As it is where it is not 0, and without a gradient where it is.
    average = sign(average.detach()) * relu(absolute(average))
    return (average * (numbers[0] * numbers[1])) ** (1.0 / norm_type)


class LpPoolFunction(Function):
    """The p-th root of the sum of p-th powers, for p = 2 and 3: in one pass, with the powers of a plane kept in the cache."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: int, geometry: Any, window: tuple[int, ...]) -> Tensor:
        image, pooled, shape = geometry
        pooled_array = devices.empty(pooled, x.dtype, x.device)
        if pooled_array.size:
            kernels.lp_pool2d_forward(devices.contiguous(x._array).reshape(image), pooled_array, p, *window)
        y = wrap(pooled_array.reshape(shape))
        ctx.numbers = p, geometry, window
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, y = ctx.saved_tensors
        p, (image, pooled, _), window = ctx.numbers
        if is_grad_enabled():
            y = LpPoolFunction.apply(x, *ctx.numbers)
            empty_sum = (y.detach() == 0).to(dtype=y.dtype)
            share = dy * (1 - empty_sum) * (window[0] * window[1]) / (y + empty_sum) ** (p - 1)
            options = (*window, 0, 0, 0, 0, 1, 0)
            return AvgPoolGradFunction.apply(share, (x._array.shape, image, pooled), options) * x ** (p - 1), *[
                None
            ] * 3
        if not y._array.size:
            return wrap(devices.full(x._array.shape, 0, x.dtype, x.device)), None, None, None
        dx = devices.empty(x._array.shape, x.dtype, x.device)
        arrays = (devices.contiguous(dy._array).reshape(pooled), devices.contiguous(x._array).reshape(image))
        kernels.lp_pool2d_backward(*arrays, devices.contiguous(y._array).reshape(pooled), dx.reshape(image), p, *window)
        return wrap(dx), None, None, None
