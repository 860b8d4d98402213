"""SqueezeNet: AlexNet's accuracy from a fiftieth of its weights.

New in it: the Fire module. A 1 x 1 convolution squeezes the channels, so that the 3 x 3 kernels which follow have few
inputs; and only half of what follows is 3 x 3, the rest is 1 x 1. Images are made smaller late, which costs time but
no weights, and the last convolution has a channel for each class, averaged over the image: there is no linear layer.
Version 1.1, from the authors' repository, shrinks images earlier and needs 2.4 times less work than 1.0.

Reference:
    F. Iandola, S. Han, M. Moskewicz, K. Ashraf, W. Dally, K. Keutzer, "SqueezeNet: AlexNet-level accuracy with 50x
    fewer parameters and <0.5MB model size" (2016), section 3 and table 1.
"""

from __future__ import annotations

from typing import Any

from numbanet import nn
from numbanet.functional import cat
from numbanet.models.registry import register
from numbanet.nn.fused import then_relu
from numbanet.tensor import Tensor

# (channels squeezed to, channels of each of the two expansions) of modules 2 to 9.
_FIRES = [(16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256)]


class Fire(nn.Module):
    """Squeeze by 1 x 1, expand by 1 x 1 and by 3 x 3 side by side.

    Args:
        inplanes: C.
        squeeze_planes: channels between squeeze and expand.
        expand1x1_planes, expand3x3_planes: channels of the two results, E1 and E3.

    Shape:
        (N, C, H, W) gives (N, E1 + E3, H, W).
    """

    def __init__(self, inplanes: int, squeeze_planes: int, expand1x1_planes: int, expand3x3_planes: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inplanes, squeeze_planes, 1)
        self.expand1x1 = nn.Conv2d(squeeze_planes, expand1x1_planes, 1)
        self.expand3x3 = nn.Conv2d(squeeze_planes, expand3x3_planes, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = then_relu(self.squeeze, self.relu, x)
        return self.relu(cat([self.expand1x1(x), self.expand3x3(x)], 1))


class SqueezeNet(nn.Module):
    """The network of Fire modules; see the module's documentation.

    Args:
        version: "1_0" (the paper's) or "1_1".
        num_classes: channels of the result.
        dropout: probability before the last convolution.
        in_channels: C.

    Shape:
        (N, C, H, W) gives (N, num_classes); H and W of at least 21 (1.0) or 17 (1.1) pixels.

    Raises:
        ValueError: for another version.
    """

    def __init__(
        self, version: str = "1_0", num_classes: int = 1000, dropout: float = 0.5, *, in_channels: int = 3
    ) -> None:
        super().__init__()
        if version == "1_0":
            stem, wide, pools = nn.Conv2d(in_channels, 96, 7, stride=2), 96, (0, 3, 7)
        elif version == "1_1":
            stem, wide, pools = nn.Conv2d(in_channels, 64, 3, stride=2), 64, (0, 2, 4)
        else:
            raise ValueError(f"SqueezeNet: version must be '1_0' or '1_1', got {version!r}")
        layers: list[nn.Module] = [stem, nn.ReLU(inplace=True)]
        for position, (squeeze, expand) in enumerate(_FIRES):
            if position in pools:
                layers.append(nn.MaxPool2d(3, stride=2, ceil_mode=True))
            layers.append(Fire(wide, squeeze, expand, expand))
            wide = 2 * expand
        self.features = nn.Sequential(*layers)
        last = nn.Conv2d(wide, num_classes, 1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), last, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                if module is last:
                    nn.init.normal_(module.weight, std=0.01)
                else:
                    nn.init.kaiming_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x)).flatten(1)


@register(input_shape=(3, 224, 224))
def squeezenet1_0(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> SqueezeNet:
    """SqueezeNet 1.0, the paper's: 1,248,424 parameters.

    Shapes for images of 224 x 224::

        conv 7x7 / 2               96 x 109 x 109
        max pool 3x3 / 2           96 x 54 x 54
        fire 2, 3, 4               128, 128, 256 x 54 x 54
        max pool 3x3 / 2           256 x 27 x 27
        fire 5, 6, 7, 8            256, 384, 384, 512 x 27 x 27
        max pool 3x3 / 2           512 x 13 x 13
        fire 9                     512 x 13 x 13
        conv 1x1, average          1000

    Args:
        num_classes: number of classes.
        in_channels: channels of the images.
        options: ``dropout``, as :class:`SqueezeNet` takes it.
    """
    return SqueezeNet("1_0", num_classes, in_channels=in_channels, **options)


@register(input_shape=(3, 224, 224))
def squeezenet1_1(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> SqueezeNet:
    """SqueezeNet 1.1, of less work: 1,235,496 parameters.

    Shapes for images of 224 x 224::

        conv 3x3 / 2               64 x 111 x 111
        max pool 3x3 / 2           64 x 55 x 55
        fire 2, 3                  128, 128 x 55 x 55
        max pool 3x3 / 2           128 x 27 x 27
        fire 4, 5                  256, 256 x 27 x 27
        max pool 3x3 / 2           256 x 13 x 13
        fire 6, 7, 8, 9            384, 384, 512, 512 x 13 x 13
        conv 1x1, average          1000

    Args:
        num_classes: number of classes.
        in_channels: channels of the images.
        options: ``dropout``, as :class:`SqueezeNet` takes it.
    """
    return SqueezeNet("1_1", num_classes, in_channels=in_channels, **options)
