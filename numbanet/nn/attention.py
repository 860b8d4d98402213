"""Attention layers: they look at a whole feature map, and weigh its channels or its pixels.

What comes out has the shape (N, C, H, W) of what went in, so that one can stand after any layer of any network::

    nn.Sequential(nn.Conv2d(3, 64, 3), nn.CBAM(64), nn.ReLU())

The residual networks of ``models`` put one at the end of every residual branch, made by a function of the number of channels:
``models.resnet50(attention=nn.CBAM)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from numbanet.functional import cat
from numbanet.nn.activation import ReLU, Sigmoid
from numbanet.nn.containers import Sequential
from numbanet.nn.conv import Conv1d, Conv2d
from numbanet.nn.module import Module
from numbanet.nn.pooling import AdaptiveAvgPool2d, AdaptiveMaxPool2d
from numbanet.tensor import Tensor

__all__ = ["CBAM", "ECA", "ChannelAttention", "SpatialAttention", "SqueezeExcitation"]


def _check(name: str, **sizes: int) -> None:
    for argument, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name}: {argument} must be at least 1, got {size}")
        if argument == "kernel_size" and size % 2 == 0:
            raise ValueError(f"{name}: kernel_size must be odd, so that it has a middle, got {size}")


class SqueezeExcitation(Module):
    """Each channel is weighed by a number in 0 .. 1 that two small layers compute from the means of all channels.

    Args:
        input_channels: C.
        squeeze_channels: the width between the two layers; None for C / 16, the paper's.
        activation: makes the nonlinearity between them.
        scale_activation: makes the one that gives the weights.

    Attributes:
        fc1, fc2: the two layers, as 1 x 1 convolutions; names as in torchvision.

    Raises:
        ValueError: for a width below 1.

    Reference: J. Hu, L. Shen and G. Sun, "Squeeze-and-excitation networks" (2017), section 3.
    """

    def __init__(
        self,
        input_channels: int,
        squeeze_channels: int | None = None,
        activation: Callable[[], Module] = ReLU,
        scale_activation: Callable[[], Module] = Sigmoid,
    ) -> None:
        super().__init__()
        if squeeze_channels is None:
            squeeze_channels = max(input_channels // 16, 1)
        _check("SqueezeExcitation", input_channels=input_channels, squeeze_channels=squeeze_channels)
        self.avgpool = AdaptiveAvgPool2d(1)
        self.fc1 = Conv2d(input_channels, squeeze_channels, 1)
        self.fc2 = Conv2d(squeeze_channels, input_channels, 1)
        self.activation = activation()
        self.scale_activation = scale_activation()

    def forward(self, input: Tensor) -> Tensor:
        squeezed = self.activation(self.fc1(self.avgpool(input)))
        return input * self.scale_activation(self.fc2(squeezed))


class ChannelAttention(Module):
    """Channel weights as in squeeze-and-excitation, from the channels' maxima too.

    The same two layers see the means and the maxima; their two results are added before the sigmoid.

    Args:
        channels: C.
        reduction: C over the width between the two layers.

    Raises:
        ValueError: for a number below 1.

    Reference: S. Woo, J. Park, J. Lee and I. Kweon, "CBAM: convolutional block attention module" (2018), equation 2.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        _check("ChannelAttention", channels=channels, reduction=reduction)
        width = max(channels // reduction, 1)
        self.avgpool = AdaptiveAvgPool2d(1)
        self.maxpool = AdaptiveMaxPool2d(1)
        self.mlp = Sequential(Conv2d(channels, width, 1), ReLU(), Conv2d(width, channels, 1))

    def forward(self, input: Tensor) -> Tensor:
        return input * (self.mlp(self.avgpool(input)) + self.mlp(self.maxpool(input))).sigmoid()


class SpatialAttention(Module):
    """Each pixel is weighed by a number in 0 .. 1: a convolution of the means and maxima over all channels.

    Args:
        kernel_size: of that convolution, odd.

    Raises:
        ValueError: for an even kernel size, or one below 1.

    Reference: S. Woo, J. Park, J. Lee and I. Kweon, "CBAM: convolutional block attention module" (2018), equation 3.
    """

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        _check("SpatialAttention", kernel_size=kernel_size)
        self.conv = Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        mean, largest = input.mean(1, keepdim=True), input.max(1, keepdim=True).values
        return input * self.conv(cat((mean, largest), 1)).sigmoid()


class CBAM(Module):
    """Channel attention, then spatial attention.

    Args:
        channels: C.
        reduction: of the channel attention.
        kernel_size: of the spatial attention, odd.

    Raises:
        ValueError: as those two.

    Reference: S. Woo, J. Park, J. Lee and I. Kweon, "CBAM: convolutional block attention module" (2018).
    """

    def __init__(self, channels: int, reduction: int = 16, kernel_size: int = 7) -> None:
        super().__init__()
        self.channel = ChannelAttention(channels, reduction)
        self.spatial = SpatialAttention(kernel_size)

    def forward(self, input: Tensor) -> Tensor:
        return self.spatial(self.channel(input))


class ECA(Module):
    """Each channel's weight is computed from the means of the few channels next to it.

    One convolution along the channels takes the place of squeeze-and-excitation's two layers: its kernel is all that there
    is to learn.

    Args:
        channels: C.
        kernel_size: odd; None for the paper's, the odd number next to log2(C) / 2 + 1 / 2 (5 for 512 channels).

    Raises:
        ValueError: for an even kernel size, or a number below 1.

    Reference: Q. Wang et al., "ECA-Net: efficient channel attention for deep convolutional neural networks" (2019), section 3.
    """

    def __init__(self, channels: int, kernel_size: int | None = None) -> None:
        super().__init__()
        _check("ECA", channels=channels)
        if kernel_size is None:
            kernel_size = int((math.log2(channels) + 1) / 2) | 1
        _check("ECA", kernel_size=kernel_size)
        self.avgpool = AdaptiveAvgPool2d(1)
        self.conv = Conv1d(1, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        means = self.avgpool(input)
        along_channels = means.flatten(1).unsqueeze(1)  # (N, 1, C)
        return input * self.conv(along_channels).reshape(means.shape).sigmoid()
