"""VGG: depth out of nothing but 3 x 3 convolutions.

What was new: small kernels, many of them. Two 3 x 3 convolutions see as much as one of 5 x 5, three as much as one of 7 x 7, with
fewer weights and a ReLU more between; and the same block, with twice the channels each time the size is halved, serves for the
whole network, which can so be made as deep as one likes. The forms with batch normalisation came later.

Reference:
    Simonyan, Zisserman 2015, Very deep convolutional networks for large-scale image recognition, table 1 (A, B, D, E).
"""

from __future__ import annotations

from collections.abc import Sequence

from numbanet import nn
from numbanet.models.registry import register
from numbanet.tensor import Tensor

__all__ = ["VGG", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn"]

CHANNELS = (64, 128, 256, 512, 512)  # of the five blocks


class VGG(nn.Module):
    """VGG from five blocks of convolutions, each followed by max pooling, and three linear layers.

    Args:
        depths: how many convolutions each block has.
        num_classes: number of outputs.
        in_channels: channels of the images.
        batch_norm: whether batch normalisation follows each convolution.
        dropout: probability with which a number is dropped after the first two linear layers.
        channels: of each block.
    """

    def __init__(
        self,
        depths: Sequence[int],
        num_classes: int = 1000,
        in_channels: int = 3,
        batch_norm: bool = False,
        dropout: float = 0.5,
        channels: Sequence[int] = CHANNELS,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for depth, width in zip(depths, channels, strict=True):
            for _ in range(depth):
                layers.append(nn.Conv2d(in_channels, width, kernel_size=3, padding=1))
                if batch_norm:
                    layers.append(nn.BatchNorm2d(width))
                layers.append(nn.ReLU(inplace=True))
                in_channels = width
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))  # changes nothing at 224 x 224, and lets other sizes in
        self.classifier = nn.Sequential(
            nn.Linear(in_channels * 7 * 7, 4096), nn.ReLU(inplace=True), nn.Dropout(dropout),
            nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout(dropout),
            nn.Linear(4096, num_classes),
        )  # fmt: skip
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0.0, 0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


@register(input_shape=(3, 224, 224))
def vgg11(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> VGG:
    """VGG-11: 132,863,336 parameters, images (N, 3, 224, 224) or of any size from 32.

    ===== ================================ ===============
    block convolutions of VGG-11/13/16/19  output
    ===== ================================ ===============
    1     1 / 2 / 2 / 2                    64 x 112 x 112
    2     1 / 2 / 2 / 2                    128 x 56 x 56
    3     2 / 2 / 3 / 4                    256 x 28 x 28
    4     2 / 2 / 3 / 4                    512 x 14 x 14
    5     2 / 2 / 3 / 4                    512 x 7 x 7
          linear, with dropout after them  4096, 4096
          linear                           1000
    ===== ================================ ===============

    Args:
        num_classes: number of outputs.
        in_channels: channels of the images.
        dropout: probability with which a number is dropped after the first two linear layers.
    """
    return VGG((1, 1, 2, 2, 2), num_classes, in_channels, False, dropout)


@register(input_shape=(3, 224, 224))
def vgg11_bn(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> VGG:
    """VGG-11 with batch normalisation: 132,868,840 parameters; stages and arguments as vgg11."""
    return VGG((1, 1, 2, 2, 2), num_classes, in_channels, True, dropout)


@register(input_shape=(3, 224, 224))
def vgg13(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> VGG:
    """VGG-13: 133,047,848 parameters; stages and arguments as vgg11."""
    return VGG((2, 2, 2, 2, 2), num_classes, in_channels, False, dropout)


@register(input_shape=(3, 224, 224))
def vgg13_bn(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> VGG:
    """VGG-13 with batch normalisation: 133,053,736 parameters; stages and arguments as vgg11."""
    return VGG((2, 2, 2, 2, 2), num_classes, in_channels, True, dropout)


@register(input_shape=(3, 224, 224))
def vgg16(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> VGG:
    """VGG-16: 138,357,544 parameters; stages and arguments as vgg11."""
    return VGG((2, 2, 3, 3, 3), num_classes, in_channels, False, dropout)


@register(input_shape=(3, 224, 224))
def vgg16_bn(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> VGG:
    """VGG-16 with batch normalisation: 138,365,992 parameters; stages and arguments as vgg11."""
    return VGG((2, 2, 3, 3, 3), num_classes, in_channels, True, dropout)


@register(input_shape=(3, 224, 224))
def vgg19(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> VGG:
    """VGG-19: 143,667,240 parameters; stages and arguments as vgg11."""
    return VGG((2, 2, 4, 4, 4), num_classes, in_channels, False, dropout)


@register(input_shape=(3, 224, 224))
def vgg19_bn(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> VGG:
    """VGG-19 with batch normalisation: 143,678,248 parameters; stages and arguments as vgg11."""
    return VGG((2, 2, 4, 4, 4), num_classes, in_channels, True, dropout)
