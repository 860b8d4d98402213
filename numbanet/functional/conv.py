"""Convolution in one and two dimensions, and its transpose.

Four functions stand on three linear maps, which are each other's gradients: ``Conv2dFunction`` (image and weight to
output), ``Conv2dGradInputFunction`` (output and weight to image) and ``Conv2dGradWeightFunction`` (output and image to
weight). A transposed convolution is the second of them with a bias. Sequences (N, C, L) go the same way as images of one row,
by another description of the same memory.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from numbanet import devices, shapes
from numbanet.autograd import Function, is_grad_enabled
from numbanet.devices import Array
from numbanet.functional.activation import before_relu
from numbanet.functional.linear import no_bias
from numbanet.kernels import conv2d as kernels
from numbanet.kernels.conv_transpose2d import conv_transpose2d_forward
from numbanet.kernels.rectified import conv2d_relu as conv2d_relu_forward
from numbanet.tensor import Tensor, wrap

__all__ = ["conv1d", "conv2d", "conv2d_relu", "conv_transpose1d", "conv_transpose2d"]


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """1-D cross-correlation of sequences, as ``torch.nn.functional.conv1d``.

        y[n, o, i] = bias[o] + sum over c, k of weight[o, c, k] * x[n, c, i * S + k * D - P]

        OL = floor((L + 2 * P - D * (K - 1) - 1) / S) + 1

    Args:
        input: shape (N, C, L) or (C, L).
        weight: shape (O, C / groups, K).
        bias: shape (O,), or None.
        stride: S, an int or a tuple of one.
        padding: P zeros on each side; "valid" for none; "same" for as many as keep L with stride 1 (where their number
            is odd, the right side gets one more).
        dilation: D, the distance of kernel elements.
        groups: the channels are split into this many groups that do not see each other; C and O are multiples of it.

    Returns:
        Shape (N, O, OL), or (O, OL) for input without N.

    Raises:
        RuntimeError: for shapes that do not fit, or tensors of different dtypes or devices.
        TypeError: for arguments that are not tensors.

    Reference: A. Waibel et al., "Phoneme recognition using time-delay neural networks" (1989), section II.
    """
    _check_tensors("conv1d", input, weight, bias)
    if input.ndim == 2:
        return conv1d(input.unsqueeze(0), weight, bias, stride, padding, dilation, groups).squeeze(0)
    out_shape, geometry = _conv1d_geometry(
        tuple(input._array.shape),
        tuple(weight._array.shape),
        None if bias is None else tuple(bias._array.shape),
        shapes.hashable(stride),
        shapes.hashable(padding),
        shapes.hashable(dilation),
        groups,
    )
    return Conv2dFunction.apply(input, weight, bias, out_shape, geometry)


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
    return _convolved("conv2d", input, weight, bias, stride, padding, dilation, groups, False)


def conv2d_relu(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """``relu(conv2d(...))`` without a tensor in between; numbanet's own.

        y[n, o, i, j] = max(0, bias[o] + the sum of conv2d)

    Tensor cores rectify what they have in registers, other kernels in place. Values, gradients and NaN are those of the two
    operators one after the other; float16 and bfloat16 are rounded once, at the end. Arguments, shapes and errors as ``conv2d``.

    Reference: V. Nair and G. Hinton, "Rectified linear units improve restricted Boltzmann machines" (2010), for the ReLU.
    """
    return _convolved("conv2d_relu", input, weight, bias, stride, padding, dilation, groups, True)


def _convolved(
    name: str,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    rectify: bool,
) -> Tensor:
    _check_tensors(name, input, weight, bias)
    if input.ndim == 3:
        return _convolved(name, input.unsqueeze(0), weight, bias, stride, padding, dilation, groups, rectify).squeeze(0)
    out_shape, geometry = shapes.conv2d_geometry(
        input._array.shape,
        weight._array.shape,
        None if bias is None else bias._array.shape,
        shapes.hashable(stride),
        shapes.hashable(padding),
        shapes.hashable(dilation),
        groups,
    )
    return Conv2dFunction.apply(input, weight, bias, out_shape, geometry, rectify)


def _check_tensors(name: str, input: Any, weight: Any, bias: Any) -> None:
    """Tensors of one floating dtype; only the bias may be None."""
    if weight is None:
        raise TypeError(f"{name}: argument 'weight' must be a Tensor, not NoneType")
    shapes.check_floating(name, input=input, weight=weight, bias=bias)


class Conv2dFunction(Function):
    """y = x * weight + bias, of images (N, C, H, W), or of sequences (N, C, L) as images of one row.

    With a ReLU at its end if ``rectify``, which backward undoes first, from y.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        out_shape: tuple[int, ...],
        geometry: tuple[int, ...],
        rectify: bool = False,
    ) -> Tensor:
        ctx.geometry = geometry
        dtype, device = x.dtype, x.device
        b = no_bias(dtype, device) if bias is None else devices.contiguous(bias._array)
        y = devices.empty(out_shape, dtype, device)
        if y.size:
            kernel = conv2d_relu_forward if rectify else kernels.conv2d_forward
            kernel(_images(x._array), _images(weight._array), b, _images(y), *geometry)
        result = wrap(y)
        ctx.save_for_backward(x, weight, *((result,) if rectify else ()))
        return result

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, weight, *rectified = ctx.saved_tensors
        if rectified:
            dy = before_relu(dy, rectified[0])
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        dx = Conv2dGradInputFunction.apply(dy, weight, x._array.shape, ctx.geometry) if needs_x else None
        if needs_weight and needs_bias and not is_grad_enabled():  # one pass over dy for both
            return dx, *_grad_weight(dy, x, weight._array.shape, ctx.geometry, True), None, None, None
        dweight = Conv2dGradWeightFunction.apply(dy, x, weight._array.shape, ctx.geometry) if needs_weight else None
        dbias = _grad_bias(dy) if needs_bias else None
        return dx, dweight, dbias, None, None, None


class Conv2dGradInputFunction(Function):
    """dx from dy and weight: linear in both, so its own gradients are the other two convolutions."""

    @staticmethod
    def forward(ctx: Any, dy: Tensor, weight: Tensor, shape: tuple[int, ...], geometry: tuple[int, ...]) -> Tensor:
        ctx.save_for_backward(dy, weight)
        ctx.geometry = geometry
        dx = devices.empty(shape, dy.dtype, dy.device)
        if dx.size:
            kernels.conv2d_grad_input(_images(dy._array), _images(weight._array), _images(dx), *geometry)
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
    kernels.conv2d_grad_weight(_images(dy._array), _images(x._array), dbias, _images(dweight), *geometry)
    return wrap(dweight), wrap(dbias)


def _grad_bias(dy: Tensor) -> Tensor:
    if is_grad_enabled() or not dy._array.size:
        return dy.sum((0, *range(2, dy.ndim)))
    dbias = devices.empty(dy._array.shape[1:2], dy.dtype, dy.device)
    kernels.conv2d_grad_bias(_images(dy._array), dbias)
    return wrap(dbias)


def _images(array: Array) -> Array:
    """The array, C-contiguous, as images: (N, C, L) as (N, C, 1, L), over the same memory."""
    array = devices.contiguous(array)
    return array if array.ndim == 4 else array.reshape(*array.shape[:2], 1, array.shape[2])


# ------------------------------------------------------------------------------------------------------ transposed


def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """The transpose of 1-D cross-correlation, as ``torch.nn.functional.conv_transpose1d``; see ``conv_transpose2d``.

        OL = (L - 1) * S - 2 * P + D * (K - 1) + output_padding + 1

    Args:
        input: shape (N, C, L) or (C, L).
        weight: shape (C, O / groups, K).
        bias: shape (O,), or None.
        stride, padding, output_padding, dilation: ints or tuples of one.
        groups: number of groups; C is a multiple of it.

    Returns:
        Shape (N, O, OL), or (O, OL) for input without N.

    Raises:
        RuntimeError: for shapes that do not fit, or tensors of different dtypes or devices.
        TypeError: for arguments that are not tensors.
    """
    return _transposed("conv_transpose1d", 1, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """The transpose of 2-D cross-correlation, as ``torch.nn.functional.conv_transpose2d``.

    What conv2d with this weight (its O and C exchanged) does to gradients: each input pixel is multiplied with
    the kernel, and the products are added up where they fall, ``stride`` pixels apart.

        y[n, o, i, j] = bias[o] + sum over c, k, l and all (r, s) with r * SH + k * DH - PH = i, s * SW + l * DW - PW = j
                        of weight[c, o, k, l] * x[n, c, r, s]

        OH = (H - 1) * SH - 2 * PH + DH * (KH - 1) + output_padding + 1, and OW likewise

    Args:
        input: shape (N, C, H, W) or (C, H, W).
        weight: shape (C, O / groups, KH, KW).
        bias: shape (O,), or None.
        stride: (SH, SW), or an int for both.
        padding: (PH, PW) rows and columns that are cut off on each side, or an int for both.
        output_padding: rows at the bottom and columns at the right to add to the output: several input sizes have one
            output size under a strided convolution, and this says which one is meant. Less than stride or dilation.
        groups: number of groups; C is a multiple of it.
        dilation: (DH, DW) distance of kernel elements, or an int for both.

    Returns:
        Shape (N, O, OH, OW), or (O, OH, OW) for input without N.

    Raises:
        RuntimeError: for shapes that do not fit, or tensors of different dtypes or devices.
        TypeError: for arguments that are not tensors.

    Reference: M. Zeiler et al., "Deconvolutional networks" (2010); V. Dumoulin and F. Visin, "A guide to convolution
    arithmetic for deep learning" (2016), section 4.
    """
    return _transposed("conv_transpose2d", 2, input, weight, bias, stride, padding, output_padding, groups, dilation)


def _transposed(
    name: str,
    dims: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
) -> Tensor:
    _check_tensors(name, input, weight, bias)
    single = input.ndim == dims + 1
    x = input.unsqueeze(0) if single else input
    out_shape, geometry = _transpose_geometry(
        name,
        dims,
        tuple(x._array.shape),
        tuple(weight._array.shape),
        None if bias is None else tuple(bias._array.shape),
        shapes.hashable(stride),
        shapes.hashable(padding),
        shapes.hashable(output_padding),
        shapes.hashable(dilation),
        groups,
    )
    y = ConvTranspose2dFunction.apply(x, weight, bias, out_shape, geometry)
    return y.squeeze(0) if single else y


class ConvTranspose2dFunction(Function):
    """y = bias + the x for which conv2d with this geometry would have had the gradient; see ``Conv2dGradInputFunction``."""

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
            conv_transpose2d_forward(_images(x._array), _images(weight._array), b, _images(y), *geometry)
        return wrap(y)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        dx = Conv2dFunction.apply(dy, weight, None, x._array.shape, ctx.geometry) if needs_x else None
        dweight = Conv2dGradWeightFunction.apply(x, dy, weight._array.shape, ctx.geometry) if needs_weight else None
        return dx, dweight, _grad_bias(dy) if needs_bias else None, None, None


# -------------------------------------------------------------------------------------------------------- geometry


def _numbers(name: str, value: Any, argument: str, dims: int) -> tuple[int, ...]:
    """One int per spatial dimension, from an int or a sequence of one or ``dims`` ints."""
    if hasattr(value, "__index__"):
        return (value.__index__(),) * dims
    wanted = "an int or a tuple of one int" if dims == 1 else "an int or a pair of ints"
    try:
        items = tuple([v.__index__() for v in value])
    except (TypeError, AttributeError):
        raise TypeError(f"{name}: {argument} must be {wanted}, got {value!r}") from None
    if len(items) not in (1, dims):
        raise RuntimeError(f"{name}: {argument} must be {wanted}, got {value!r}")
    return items * dims if len(items) == 1 else items


def _check_options(name: str, dims: int, groups: Any, **options: Any) -> list[tuple[int, ...]]:
    """groups, strides and dilations are positive, paddings not negative; returns the options as tuples."""
    if groups < 1:
        raise RuntimeError(f"{name}: groups must be positive, got {groups}")
    results = []
    for argument, value in options.items():
        numbers = _numbers(name, value, argument, dims)
        least = 0 if "padding" in argument else 1
        if min(numbers) < least:
            what = "positive" if least else "not be negative"
            shown = numbers[0] if dims == 1 else numbers
            raise RuntimeError(f"{name}: {argument} must {'be ' if least else ''}{what}, got {shown}")
        results.append(numbers)
    return results


@lru_cache(maxsize=4096, typed=True)
def _conv1d_geometry(
    x: tuple[int, ...],
    weight: tuple[int, ...],
    bias: tuple[int, ...] | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> tuple[tuple[int, int, int], tuple[int, int, int, int, int, int, int]]:
    """As ``shapes.conv2d_geometry``, for (N, C, L) and (O, C / groups, K): the numbers are those of an image of one row."""
    if len(x) != 3:
        raise RuntimeError(f"conv1d: expected input of shape (N, C, L) or (C, L), got {x}")
    if len(weight) != 3:
        raise RuntimeError(f"conv1d: expected weight of shape (O, C / groups, K), got {weight}")
    named = isinstance(padding, str)
    if named and padding not in ("same", "valid"):
        raise RuntimeError(f"conv1d: padding must be an int, 'same' or 'valid', got {padding!r}")
    options = {"stride": stride, "padding": 0 if named else padding, "dilation": dilation}
    (s,), (p,), (d,) = _check_options("conv1d", 1, groups, **options)
    (n, c, length), (o, channels, k) = x, weight
    both = f"(input {x}, weight {weight})"
    if o < 1 or o % groups:
        raise RuntimeError(
            f"conv1d: weight has O={o} output channels, expected a positive multiple of groups={groups} {both}"
        )
    if c != channels * groups:
        raise RuntimeError(
            f"conv1d: input has C={c} channels but weight expects {channels} * groups={groups} = {channels * groups} {both}"
        )
    if bias is not None and bias != (o,):
        raise RuntimeError(f"conv1d: expected bias of shape ({o},) for weight {weight}, got {bias}")
    if k < 1:
        raise RuntimeError(f"conv1d: the kernel's size must be positive, got weight {weight}")
    if padding == "same" and s != 1:
        raise RuntimeError(f"conv1d: padding='same' works with stride 1 only, got stride {s}")
    total = d * (k - 1) if padding == "same" else 2 * p
    out = (length + total - d * (k - 1) - 1) // s + 1
    if out < 1:
        raise RuntimeError(
            f"conv1d: the kernel {k} with dilation {d} spans {d * (k - 1) + 1}, more than the padded input {length + total} {both}"
        )
    return (n, o, out), (1, s, 0, total // 2, 1, d, int(groups))  # an odd one out goes to the right


@lru_cache(maxsize=4096, typed=True)
def _transpose_geometry(
    name: str,
    dims: int,
    x: tuple[int, ...],
    weight: tuple[int, ...],
    bias: tuple[int, ...] | None,
    stride: Any,
    padding: Any,
    output_padding: Any,
    dilation: Any,
    groups: int,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The output's shape, and the numbers of the convolution whose transpose it is, for the kernels."""
    spatial = "L" if dims == 1 else "H, W"
    if len(x) != dims + 2:
        raise RuntimeError(f"{name}: expected input of shape (N, C, {spatial}) or (C, {spatial}), got {x}")
    if len(weight) != dims + 2:
        kernel = "K" if dims == 1 else "KH, KW"
        raise RuntimeError(f"{name}: expected weight of shape (C, O / groups, {kernel}), got {weight}")
    strides, pads, extra, dilations = _check_options(
        name, dims, groups, stride=stride, padding=padding, output_padding=output_padding, dilation=dilation
    )
    both = f"(input {x}, weight {weight})"
    if weight[0] < 1 or weight[0] % groups:
        raise RuntimeError(
            f"{name}: weight has C={weight[0]} input channels, expected a positive multiple of groups={groups} {both}"
        )
    if x[1] != weight[0]:
        raise RuntimeError(f"{name}: input has C={x[1]} channels but weight expects {weight[0]} {both}")
    outputs = weight[1] * groups
    if bias is not None and bias != (outputs,):
        raise RuntimeError(
            f"{name}: expected bias of shape ({outputs},) for weight {weight}, groups={groups}, got {bias}"
        )
    if outputs < 1 or min(weight[2:]) < 1:
        raise RuntimeError(f"{name}: the weight must not be empty, got {weight}")
    if any(e >= max(s, d) for e, s, d in zip(extra, strides, dilations, strict=True)):
        raise RuntimeError(
            f"{name}: output_padding must be smaller than stride or dilation, got output_padding {extra}, stride {strides}, "
            f"dilation {dilations}"
        )
    sizes = tuple(
        (size - 1) * s - 2 * p + d * (k - 1) + e + 1
        for size, k, s, p, e, d in zip(x[2:], weight[2:], strides, pads, extra, dilations, strict=True)
    )
    if min(sizes) < 1 or min(x[2:]) < 1:
        raise RuntimeError(
            f"{name}: the output of input {x} would be {sizes}: too small for weight {weight}, stride {strides}, padding {pads}, "
            f"dilation {dilations}, output_padding {extra}"
        )
    if dims == 1:
        strides, pads, dilations = (1, *strides), (0, *pads), (1, *dilations)
    return (x[0], outputs, *sizes), (*strides, *pads, *dilations, int(groups))
