"""Sliding blocks of images as columns, and columns added up to images."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from numbanet import devices, shapes
from numbanet.autograd import Function
from numbanet.kernels import unfold as kernels
from numbanet.tensor import Tensor, wrap

__all__ = ["fold", "unfold"]


def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """Each block under a sliding window as a column ("im2col"), as ``torch.nn.functional.unfold``.

        y[n, (c * KH + k) * KW + l, i * OW + j] = x[n, c, i * SH + k * DH - PH, j * SW + l * DW - PW], or 0 outside

        OH = floor((H + 2 * PH - DH * (KH - 1) - 1) / SH) + 1, and OW likewise

    ``weight.reshape(O, -1) @ unfold(x, ...)`` is a convolution, reshaped; conv2d itself does not take this way, since
    the columns are KH * KW times as large as the image.

    Args:
        input: shape (N, C, H, W) or (C, H, W).
        kernel_size: (KH, KW), or an int for both.
        dilation: (DH, DW), or an int for both.
        padding: (PH, PW) zeros on each side, or an int for both.
        stride: (SH, SW), or an int for both.

    Returns:
        Shape (N, C * KH * KW, OH * OW), or without N.

    Raises:
        RuntimeError: for sizes that do not fit.

    Reference: K. Chellapilla et al., "High performance convolutional neural networks for document processing" (2006),
    section 3.
    """
    shapes.check_floating("unfold", input=input)
    if input.ndim == 3:
        return unfold(input.unsqueeze(0), kernel_size, dilation, padding, stride).squeeze(0)
    shape = tuple(input._array.shape)
    if len(shape) != 4 or min(shape[1:]) < 1:
        raise RuntimeError(
            f"unfold: expected input of shape (N, C, H, W) or (C, H, W), empty in N alone, got {tuple(input.shape)}"
        )
    window = _window("unfold", *map(shapes.hashable, (kernel_size, dilation, padding, stride)))
    return UnfoldFunction.apply(input, _columns("unfold", shape, window), window)


def fold(
    input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """Add columns up to the images that ``unfold`` takes them from ("col2im"), as ``torch.nn.functional.fold``.

    Pixels that several blocks share get the sum, so ``fold(unfold(x))`` is x times the number of blocks over each pixel.

    Args:
        input: shape (N, C * KH * KW, L) or (C * KH * KW, L), where L = OH * OW is the number of blocks.
        output_size: (H, W), or an int for both.
        kernel_size, dilation, padding, stride: see ``unfold``.

    Returns:
        Shape (N, C, H, W), or (C, H, W).

    Raises:
        RuntimeError: for sizes that do not fit.
    """
    shapes.check_floating("fold", input=input)
    if input.ndim == 2:
        return fold(input.unsqueeze(0), output_size, kernel_size, dilation, padding, stride).squeeze(0)
    shape = tuple(input._array.shape)
    if len(shape) != 3 or min(shape[1:]) < 1:
        raise RuntimeError(
            f"fold: expected input of shape (N, C * KH * KW, L) or (C * KH * KW, L), empty in N alone, got {shape}"
        )
    window = _window("fold", *map(shapes.hashable, (kernel_size, dilation, padding, stride)))
    h, w = _two("fold", output_size, "output_size", 1)
    elements = window[0] * window[1]
    if shape[1] % elements:
        raise RuntimeError(
            f"fold: input {shape} has {shape[1]} rows, expected a multiple of the kernel's {elements} elements {window[:2]}"
        )
    images = (shape[0], shape[1] // elements, h, w)
    columns = _columns("fold", images, window)
    if columns[2] * columns[3] != shape[2]:
        raise RuntimeError(
            f"fold: input {shape} has {shape[2]} blocks, expected {columns[2]} * {columns[3]} = {columns[2] * columns[3]} for "
            f"output_size {(h, w)}, kernel_size {window[:2]}, stride {window[2:4]}, padding {window[4:6]}, dilation {window[6:]}"
        )
    return FoldFunction.apply(input, images, columns, window)


class UnfoldFunction(Function):
    """Linear, with ``FoldFunction`` as its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, columns: tuple[int, ...], window: tuple[int, ...]) -> Tensor:
        ctx.images, ctx.columns, ctx.window = tuple(x._array.shape), columns, window
        y = devices.empty(columns, x.dtype, x.device)
        if y.size:
            kernels.unfold(devices.contiguous(x._array), y, *window)
        return wrap(y.reshape(*columns[:2], columns[2] * columns[3]))

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        return FoldFunction.apply(dy, ctx.images, ctx.columns, ctx.window), None, None


class FoldFunction(Function):
    """Linear, with ``UnfoldFunction`` as its gradient."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, images: tuple[int, ...], columns: tuple[int, ...], window: tuple[int, ...]
    ) -> Tensor:
        ctx.columns, ctx.window = columns, window
        y = devices.empty(images, x.dtype, x.device)
        if y.size:
            kernels.fold(devices.contiguous(x._array).reshape(columns), y, *window)
        return wrap(y)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        return UnfoldFunction.apply(dy, ctx.columns, ctx.window), None, None, None


def _two(name: str, value: Any, argument: str, least: int) -> tuple[int, int]:
    try:
        both = shapes.pair(name, value, argument)
    except ValueError as error:
        raise RuntimeError(str(error)) from None
    if min(both) < least:
        raise RuntimeError(f"{name}: {argument} must be {'positive' if least else 'at least 0'}, got {both}")
    return both


@lru_cache(maxsize=1024, typed=True)
def _window(name: str, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> tuple[int, ...]:
    """(KH, KW, SH, SW, PH, PW, DH, DW), checked."""
    return (
        *_two(name, kernel_size, "kernel_size", 1),
        *_two(name, stride, "stride", 1),
        *_two(name, padding, "padding", 0),
        *_two(name, dilation, "dilation", 1),
    )


def _columns(name: str, images: tuple[int, ...], window: tuple[int, ...]) -> tuple[int, int, int, int]:
    """(N, C * KH * KW, OH, OW) of images (N, C, H, W)."""
    (n, c, *size), (kh, kw) = images, window[:2]
    oh, ow = (
        (s + 2 * window[4 + i] - window[6 + i] * (window[i] - 1) - 1) // window[2 + i] + 1 for i, s in enumerate(size)
    )
    if oh < 1 or ow < 1:
        raise RuntimeError(
            f"{name}: {oh} x {ow} blocks of kernel_size {(kh, kw)}, dilation {window[6:]} fit into images of {tuple(size)} with "
            f"padding {window[4:6]}: expected at least one"
        )
    return n, c * kh * kw, oh, ow
