"""Deformable convolution."""

from __future__ import annotations

from math import prod
from typing import Any

from numbanet import devices, shapes
from numbanet.autograd import Function, once_differentiable
from numbanet.functional.linear import matmul, no_bias
from numbanet.kernels import deform_conv2d as kernels
from numbanet.tensor import Tensor, wrap

__all__ = ["deform_conv2d"]


def deform_conv2d(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = (1, 1),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    mask: Tensor | None = None,
) -> Tensor:
    """Convolution whose kernel elements are moved, place by place, by learned offsets, as ``torchvision.ops.deform_conv2d``.

        y[n, o, i, j] = bias[o] + sum over c, k, l of weight[o, c, k, l] * mask[n, d, k, l, i, j] * x[n, c](p + offset)

    p = (i * SH + k * DH - PH, j * SW + l * DW - PW) is where conv2d reads, and x[n, c](...) the bilinear value there; pixels outside
    of the image are zeros. Without a mask it is version 1, with one (usually a sigmoid) version 2. Without offsets (zeros) it
    is conv2d. It can be differentiated once.

    Args:
        input: shape (N, C, H, W).
        offset: shape (N, 2 * D * KH * KW, OH, OW): for each of the D offset groups and each kernel element how far down, and how
            far to the right. D follows from the shape; C is a multiple of it.
        weight: shape (O, C / groups, KH, KW); groups follows from the shape.
        bias: shape (O,), or None.
        stride, padding, dilation: ints, or pairs for height and width; see ``conv2d``.
        mask: shape (N, D * KH * KW, OH, OW), or None for ones.

    Returns:
        Shape (N, O, OH, OW).

    Raises:
        RuntimeError: for shapes that do not fit, or tensors of different dtypes or devices.
        TypeError: for arguments that are not tensors.

    Reference: J. Dai et al., "Deformable convolutional networks" (2017), section 2.1; X. Zhu et al., "Deformable ConvNets v2" (2019),
    section 3.2.
    """
    shapes.check_floating("deform_conv2d", input=input, offset=offset, weight=weight, bias=bias, mask=mask)
    given = [None if t is None else tuple(t._array.shape) for t in (input, offset, weight, bias, mask)]
    options = [
        _pair(value, argument) for value, argument in ((stride, "stride"), (padding, "padding"), (dilation, "dilation"))
    ]
    groups, places = _check(*given, *options)
    (n, c), (o, per_group, kh, kw) = input._array.shape[:2], weight._array.shape
    window = (kh, kw, *options[0], *options[1], *options[2])
    columns = DeformColumnsFunction.apply(input, offset, mask, (n, c * kh * kw, *places), window)
    length, depth = prod(places), per_group * kh * kw
    if groups == 1:
        y = matmul(weight.reshape(o, depth), columns)  # (O, C KH KW) (N, C KH KW, OH OW)
    else:
        y = matmul(weight.reshape(1, groups, o // groups, depth), columns.reshape(n, groups, depth, length))
    y = y.reshape(n, o, *places)
    return y if bias is None else y + bias.reshape(1, o, 1, 1)


class DeformColumnsFunction(Function):
    """The bilinear values under each kernel element as columns (N, C KH KW, OH OW)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, offset: Tensor, mask: Tensor | None, shape: tuple[int, ...], window: tuple[int, ...]
    ) -> Tensor:
        ctx.save_for_backward(x, offset, mask)
        ctx.shape, ctx.window = shape, window
        columns = devices.empty(shape, x.dtype, x.device)
        if columns.size:
            kernels.deform_columns(*_arrays(x, offset, mask), columns, *window)
        return wrap(columns.reshape(*shape[:2], shape[2] * shape[3]))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dcolumns: Tensor) -> Any:
        x, offset, mask = ctx.saved_tensors
        needs_x, needs_offset, needs_mask = ctx.needs_input_grad[:3]
        dtype, device = x.dtype, x.device
        grads = [devices.contiguous(dcolumns._array).reshape(ctx.shape)]
        image, moves, scales = _arrays(x, offset, mask)
        dx = doffset = dmask = None
        if needs_x:
            dx = wrap(devices.empty(image.shape, dtype, device))
            if image.size:
                kernels.deform_grad_input(*grads, moves, scales, dx._array, *ctx.window)
        if needs_offset or needs_mask:
            doffset = wrap(devices.empty(moves.shape, dtype, device))
            dmask = wrap(devices.empty(scales.shape, dtype, device))
            if moves.size:
                kernels.deform_grad_offset(*grads, image, moves, scales, doffset._array, dmask._array, *ctx.window)
        return dx, doffset if needs_offset else None, dmask if needs_mask else None, None, None


def _arrays(x: Tensor, offset: Tensor, mask: Tensor | None) -> tuple[Any, Any, Any]:
    scales = no_bias(x.dtype, x.device) if mask is None else devices.contiguous(mask._array)
    return devices.contiguous(x._array), devices.contiguous(offset._array), scales


def _pair(value: Any, argument: str) -> tuple[int, int]:
    try:
        return shapes.pair("deform_conv2d", value, argument)
    except ValueError as error:
        raise RuntimeError(str(error)) from None


def _check(
    x: Any, offset: Any, weight: Any, bias: Any, mask: Any, stride: Any, padding: Any, dilation: Any
) -> tuple[int, tuple[int, int]]:
    """(groups, (OH, OW))."""
    name = "deform_conv2d"
    for argument, shape in (("input", x), ("offset", offset), ("weight", weight), ("mask", mask)):
        if shape is not None and len(shape) != 4:
            raise RuntimeError(f"{name}: expected {argument} of 4 dimensions, got shape {shape}")
    (n, c, h, w), (o, per_group, kh, kw) = x, weight
    if min(weight) < 1 or min(x[1:]) < 1:
        raise RuntimeError(
            f"{name}: expected an input empty in N alone, and a weight that is not, got {x} and {weight}"
        )
    for argument, pair, least in (("stride", stride, 1), ("padding", padding, 0), ("dilation", dilation, 1)):
        if min(pair) < least:
            raise RuntimeError(f"{name}: {argument} must be {'positive' if least else 'at least 0'}, got {pair}")
    groups = c // per_group
    if groups * per_group != c or o % max(groups, 1) or groups < 1:
        raise RuntimeError(
            f"{name}: input has C={c} channels and weight {weight} takes {per_group} of them: expected C to be a multiple, and "
            f"O={o} a multiple of the {groups} groups"
        )
    if bias is not None and bias != (o,):
        raise RuntimeError(f"{name}: expected bias of shape ({o},) for weight {weight}, got {bias}")
    per_element = 2 * kh * kw
    offset_groups = offset[1] // per_element
    if offset_groups < 1 or offset[1] % per_element or c % offset_groups:
        raise RuntimeError(
            f"{name}: offset has {offset[1]} channels, expected 2 * KH * KW = {per_element} for each offset group, whose number "
            f"divides C={c} (offset {offset}, weight {weight})"
        )
    oh, ow = (
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, p, d, k, s in zip((h, w), padding, dilation, (kh, kw), stride, strict=True)
    )
    if oh < 1 or ow < 1:
        raise RuntimeError(
            f"{name}: the output of input {x} would be {(oh, ow)}: too small for weight {weight}, stride {stride}, padding "
            f"{padding}, dilation {dilation}"
        )
    for argument, shape, channels in (("offset", offset, offset[1]), ("mask", mask, offset_groups * kh * kw)):
        if shape is not None and shape != (n, channels, oh, ow):
            raise RuntimeError(
                f"{name}: expected {argument} of shape {(n, channels, oh, ow)} for input {x}, got {shape}"
            )
    return groups, (oh, ow)
