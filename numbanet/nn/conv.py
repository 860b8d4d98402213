"""Convolution layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from numbanet import shapes
from numbanet.functional import conv1d, conv2d, conv_transpose1d, conv_transpose2d, deform_conv2d, pad
from numbanet.nn import init
from numbanet.nn.module import Module
from numbanet.nn.parameter import Parameter
from numbanet.tensor import Tensor, empty

__all__ = ["Conv1d", "Conv2d", "ConvTranspose1d", "ConvTranspose2d", "DeformConv2d", "DepthwiseSeparableConv2d"]


class _Conv(Module):
    """What all convolution layers share: checks, parameters and their first values, printing.

    ``dims`` is the number of spatial dimensions, ``transposed`` whether the weight is (C, O / groups, ...).
    """

    dims = 2
    transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        output_padding: Any,
        groups: int,
        bias: bool,
        padding_mode: str,
        device: Any,
        dtype: Any,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if groups <= 0:
            raise ValueError(f"{name}: groups must be a positive integer, got {groups}")
        for argument, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if channels % groups:
                raise ValueError(
                    f"{name}: {argument} must be divisible by groups, got {argument}={channels}, groups={groups}"
                )
        modes = ("zeros",) if self.transposed else ("zeros", "reflect", "replicate", "circular")
        if padding_mode not in modes:
            raise ValueError(f"{name}: padding_mode must be one of {modes}, got {padding_mode!r}")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = self._numbers(kernel_size, "kernel_size")
        self.stride = self._numbers(stride, "stride")
        self.dilation = self._numbers(dilation, "dilation")
        self.output_padding = self._numbers(output_padding, "output_padding")
        if isinstance(padding, str):
            if padding not in ("same", "valid") or self.transposed:
                raise ValueError(f"{name}: invalid padding string {padding!r}, should be 'valid' or 'same'")
            if padding == "same" and max(self.stride) != 1:
                raise ValueError(
                    f"{name}: padding='same' is not supported for strided convolutions, got stride {self.stride}"
                )
            self.padding: Any = padding
        else:
            self.padding = self._numbers(padding, "padding")
        self.groups, self.padding_mode = groups, padding_mode
        per_group = (in_channels, out_channels // groups) if self.transposed else (out_channels, in_channels // groups)
        self.weight = Parameter(empty(*per_group, *self.kernel_size, device=device, dtype=dtype))
        if bias:
            self.bias: Any = Parameter(empty(out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def _numbers(self, value: Any, argument: str) -> tuple[int, ...]:
        """An int per spatial dimension."""
        name = type(self).__name__
        if self.dims == 2:
            return shapes.pair(name, value, argument)
        try:
            numbers = tuple([v.__index__() for v in ((value,) if hasattr(value, "__index__") else value)])
        except (TypeError, AttributeError):
            raise TypeError(f"{name}: {argument} must be an int or a tuple of one int, got {value!r}") from None
        if len(numbers) != 1:
            raise ValueError(f"{name}: {argument} must be an int or a tuple of one int, got {value!r}")
        return numbers

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        _reset(self.weight, self.bias)

    def _convolve(self, function: Callable[..., Tensor], input: Tensor) -> Tensor:
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            input, padding = pad(input, self._padding_per_side(), mode=self.padding_mode), 0
        return function(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def _padding_per_side(self) -> list[int]:
        """As ``functional.pad`` takes it: (left, right), or (left, right, top, bottom)."""
        sides = []
        for axis in reversed(range(self.dims)):
            if self.padding == "same":
                both = self.dilation[axis] * (self.kernel_size[axis] - 1)
                sides += [both // 2, both - both // 2]
            else:
                sides += [0 if self.padding == "valid" else self.padding[axis]] * 2
        return sides

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        none, one = (0,) * self.dims, (1,) * self.dims
        if self.padding != none:
            text += f", padding={self.padding}"
        if self.dilation != one:
            text += f", dilation={self.dilation}"
        if self.output_padding != none:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text


class Conv1d(_Conv):
    """``functional.conv1d`` with a weight (O, C / groups, K) and a bias (O,) of its own.

    Both start from U(-b, b), b = 1 / sqrt(C / groups * K).

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: K, an int or a tuple of one.
        stride, padding, dilation, groups: see ``functional.conv1d``.
        bias: whether there is a bias.
        padding_mode: what the padding holds: "zeros", "reflect", "replicate" or "circular".
        device, dtype: of the parameters.

    Shape:
        (N, C, L) gives (N, O, OL); (C, L) gives (O, OL).

    Raises:
        ValueError: for channels that are not multiples of groups, or an unknown padding.
    """

    dims = 1

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, 0, groups, bias, padding_mode, device, dtype
        )  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:
        return self._convolve(conv1d, input)


class Conv2d(_Conv):
    """``functional.conv2d`` with a weight (O, C / groups, KH, KW) and a bias (O,) of its own.

    Both start from U(-b, b), b = 1 / sqrt(C / groups * KH * KW).

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: (KH, KW), or an int for both.
        stride, padding, dilation, groups: see ``functional.conv2d``.
        bias: whether there is a bias.
        padding_mode: what the padding holds: "zeros", "reflect", "replicate" or "circular".
        device, dtype: of the parameters.

    Shape:
        (N, C, H, W) gives (N, O, OH, OW); (C, H, W) gives (O, OH, OW).

    Raises:
        ValueError: for channels that are not multiples of groups, or an unknown padding.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, 0, groups, bias, padding_mode, device, dtype
        )  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:
        return self._convolve(conv2d, input)


class _ConvTranspose(_Conv):
    """What the transposed layers share: the output size that the caller may ask for."""

    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, output_padding, groups, bias, padding_mode,
            device, dtype,
        )  # fmt: skip

    def _output_padding(self, input: Tensor, output_size: Sequence[int] | None) -> tuple[int, ...]:
        """The output padding that leads to ``output_size``, or the layer's own where that is None."""
        if output_size is None:
            return self.output_padding
        name, leading = type(self).__name__, input.ndim - self.dims
        wanted = tuple(output_size)
        if len(wanted) == input.ndim:
            wanted = wanted[leading:]
        if len(wanted) != self.dims:
            raise ValueError(
                f"{name}: output_size must have {self.dims} or {input.ndim} elements for input {tuple(input.shape)}, got "
                f"{tuple(output_size)}"
            )
        least = tuple(
            (size - 1) * s - 2 * p + d * (k - 1) + 1
            for size, s, p, d, k in zip(
                input.shape[leading:], self.stride, self.padding, self.dilation, self.kernel_size, strict=True
            )
        )
        if any(not low <= size < low + s for size, low, s in zip(wanted, least, self.stride, strict=True)):
            most = tuple(low + s - 1 for low, s in zip(least, self.stride, strict=True))
            raise ValueError(
                f"{name}: output_size {wanted} must lie between {least} and {most} for input {tuple(input.shape)}"
            )
        return tuple(size - low for size, low in zip(wanted, least, strict=True))

    def _transpose(self, function: Callable[..., Tensor], input: Tensor, output_size: Sequence[int] | None) -> Tensor:
        extra = self._output_padding(input, output_size)
        return function(input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation)


class ConvTranspose1d(_ConvTranspose):
    """``functional.conv_transpose1d`` with a weight (C, O / groups, K) and a bias (O,) of its own.

    Both start from U(-b, b), b = 1 / sqrt(O / groups * K).

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: K, an int or a tuple of one.
        stride, padding, output_padding, groups, dilation: see ``functional.conv_transpose1d``.
        bias: whether there is a bias.
        padding_mode: "zeros" only.
        device, dtype: of the parameters.

    Shape:
        (N, C, L) gives (N, O, OL); (C, L) gives (O, OL).

    Raises:
        ValueError: for channels that are not multiples of groups, or another padding mode.
    """

    dims = 1

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """``output_size`` ((OL,), or a whole shape) chooses among the sizes that a stride leaves open."""
        return self._transpose(conv_transpose1d, input, output_size)


class ConvTranspose2d(_ConvTranspose):
    """``functional.conv_transpose2d`` with a weight (C, O / groups, KH, KW) and a bias (O,) of its own.

    Both start from U(-b, b), b = 1 / sqrt(O / groups * KH * KW).

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: (KH, KW), or an int for both.
        stride, padding, output_padding, groups, dilation: see ``functional.conv_transpose2d``.
        bias: whether there is a bias.
        padding_mode: "zeros" only.
        device, dtype: of the parameters.

    Shape:
        (N, C, H, W) gives (N, O, OH, OW); (C, H, W) gives (O, OH, OW).

    Raises:
        ValueError: for channels that are not multiples of groups, or another padding mode.
    """

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """``output_size`` ((OH, OW), or a whole shape) chooses among the sizes that a stride leaves open."""
        return self._transpose(conv_transpose2d, input, output_size)


class DeformConv2d(_Conv):
    """``functional.deform_conv2d`` with a weight (O, C / groups, KH, KW) and a bias (O,) of its own; offsets come with the input.

    As ``torchvision.ops.DeformConv2d``. The offsets are usually made by a Conv2d with as many output channels, whose weight and
    bias begin at zero.

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: (KH, KW), or an int for both.
        stride, padding, dilation: see ``functional.deform_conv2d``.
        groups: number of groups.
        bias: whether there is a bias.

    Shape:
        (N, C, H, W) with offset (N, 2 * D * KH * KW, OH, OW), and mask (N, D * KH * KW, OH, OW) or None, gives (N, O, OH, OW).

    Raises:
        ValueError: for channels that are not multiples of groups.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, 0, groups, bias, "zeros", None, None
        )

    def forward(self, input: Tensor, offset: Tensor, mask: Tensor | None = None) -> Tensor:
        return deform_conv2d(input, offset, self.weight, self.bias, self.stride, self.padding, self.dilation, mask)


class DepthwiseSeparableConv2d(Module):
    """A convolution in two steps: each channel by itself with a kernel of its own, then all channels, pixel by pixel.

    A standard convolution has O * C * KH * KW weights and makes as many multiply-adds per output pixel; the two steps
    have C * KH * KW (depthwise) and O * C (pointwise). That is the share 1 / O + 1 / (KH * KW) of weights and of work: between
    an eighth and a ninth for 3 x 3 kernels and many channels. Nothing stands between the two steps here; MobileNet puts
    batch normalisation and ReLU after each.

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: (KH, KW) of the depthwise step, or an int for both.
        stride, padding, dilation: of the depthwise step; see ``functional.conv2d``.
        bias: whether both steps have a bias.
        padding_mode: what the padding holds; see ``Conv2d``.
        device, dtype: of the parameters.

    Attributes:
        depthwise: ``Conv2d`` from C to C channels with groups=C.
        pointwise: ``Conv2d`` from C to O channels, 1 x 1.

    Shape:
        (N, C, H, W) gives (N, O, OH, OW); (C, H, W) gives (O, OH, OW).

    Reference: A. Howard et al., "MobileNets: efficient convolutional neural networks for mobile vision applications"
    (2017), section 3.1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.depthwise = Conv2d(
            in_channels, in_channels, kernel_size, stride, padding, dilation, in_channels, bias, padding_mode, device, dtype
        )  # fmt: skip
        self.pointwise = Conv2d(in_channels, out_channels, 1, bias=bias, device=device, dtype=dtype)

    def forward(self, input: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(input))


def _reset(weight: Tensor, bias: Tensor | None) -> None:
    """U(-b, b) with b = 1 / sqrt(fan_in), for weight and bias: He et al.'s formula with a slope of sqrt(5)."""
    if weight.numel():
        init.kaiming_uniform_(weight, a=math.sqrt(5))
    fan_in = math.prod(weight.shape[1:])
    if bias is not None:
        bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
        init.uniform_(bias, -bound, bound)
