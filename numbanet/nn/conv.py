"""Convolution layers."""

from __future__ import annotations

import math
from typing import Any

import numbanet.functional as F
from numbanet import shapes
from numbanet.functional.conv import conv2d
from numbanet.nn import init
from numbanet.nn.module import Module
from numbanet.nn.parameter import Parameter
from numbanet.tensor import Tensor, empty

__all__ = ["Conv2d"]


class Conv2d(Module):
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
        (N, C, H, W) gives (N, O, OH, OW).

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
        super().__init__()
        if groups <= 0:
            raise ValueError(f"Conv2d: groups must be a positive integer, got {groups}")
        if in_channels % groups:
            raise ValueError(
                f"Conv2d: in_channels must be divisible by groups, got in_channels={in_channels}, groups={groups}"
            )
        if out_channels % groups:
            raise ValueError(
                f"Conv2d: out_channels must be divisible by groups, got out_channels={out_channels}, groups={groups}"
            )
        if padding_mode not in ("zeros", "reflect", "replicate", "circular"):
            raise ValueError(
                f"Conv2d: padding_mode must be one of 'zeros', 'reflect', 'replicate', 'circular', got {padding_mode!r}"
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = shapes.pair("Conv2d", kernel_size, "kernel_size")
        self.stride = shapes.pair("Conv2d", stride, "stride")
        self.dilation = shapes.pair("Conv2d", dilation, "dilation")
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(f"Conv2d: invalid padding string {padding!r}, should be 'valid' or 'same'")
            if padding == "same" and self.stride != (1, 1):
                raise ValueError(
                    f"Conv2d: padding='same' is not supported for strided convolutions, got stride {self.stride}"
                )
            self.padding: Any = padding
        else:
            self.padding = shapes.pair("Conv2d", padding, "padding")
        self.groups, self.padding_mode = groups, padding_mode
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.weight = Parameter(empty(shape, device=device, dtype=dtype))
        if bias:
            self.bias: Any = Parameter(empty(out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        _reset(self.weight, self.bias)

    def forward(self, input: Tensor) -> Tensor:
        if self.padding_mode != "zeros":
            return conv2d(self._padded(input), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)
        return conv2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def _padded(self, input: Tensor) -> Tensor:
        pad = getattr(F, "pad", None)
        if pad is None:
            raise NotImplementedError(f"Conv2d: padding_mode={self.padding_mode!r} is not supported yet")
        if self.padding == "same":
            both = [d * (k - 1) for k, d in zip(self.kernel_size, self.dilation, strict=True)]
            (top, bottom), (left, right) = [(total // 2, total - total // 2) for total in both]
        else:
            top, left = (0, 0) if self.padding == "valid" else self.padding
            bottom, right = top, left
        return pad(input, (left, right, top, bottom), mode=self.padding_mode)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0, 0):
            text += f", padding={self.padding!r}" if not isinstance(self.padding, str) else f", padding={self.padding}"
        if self.dilation != (1, 1):
            text += f", dilation={self.dilation}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text


def _reset(weight: Tensor, bias: Tensor | None) -> None:
    """U(-b, b) with b = 1 / sqrt(fan_in), for weight and bias: He et al.'s formula with a slope of sqrt(5)."""
    if weight.numel():
        init.kaiming_uniform_(weight, a=math.sqrt(5))
    fan_in = math.prod(weight.shape[1:])
    if bias is not None:
        bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
        init.uniform_(bias, -bound, bound)
