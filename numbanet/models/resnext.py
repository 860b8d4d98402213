"""ResNeXt: bottlenecks whose 3 x 3 convolution works in groups.

What was new: beside depth and width a third number, the cardinality: how many small transformations a block adds up.
Written as a grouped convolution that is one argument of a ResNet, and at equal cost 32 groups of 4 channels classify better than
one of 64. Stages and shapes are ResNet-50's (or 101's).

Reference:
    S. Xie, R. Girshick, P. Dollar, Z. Tu and K. He, "Aggregated residual transformations for deep neural networks" (2016).
"""

from __future__ import annotations

from typing import Any

from numbanet.models.registry import register
from numbanet.models.resnet import Bottleneck, ResNet


@register(input_shape=(3, 224, 224))
def resnext50_32x4d(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """ResNeXt-50 (32 x 4d): 25,028,904 parameters, 32 groups of 4 channels in the first stage's bottlenecks.

    Shapes after the stages: (256, 56, 56) x 3, (512, 28, 28) x 4, (1024, 14, 14) x 6, (2048, 7, 7) x 3.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the images.
        options: as for ``ResNet``.
    """
    options = {"groups": 32, "width_per_group": 4, **options}
    return ResNet(Bottleneck, [3, 4, 6, 3], num_classes, in_channels=in_channels, **options)


@register(input_shape=(3, 224, 224))
def resnext101_32x8d(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """ResNeXt-101 (32 x 8d): 88,791,336 parameters, 32 groups of 8 channels in the first stage's bottlenecks.

    Shapes after the stages: (256, 56, 56) x 3, (512, 28, 28) x 4, (1024, 14, 14) x 23, (2048, 7, 7) x 3.

    Args: as for ``resnext50_32x4d``.
    """
    options = {"groups": 32, "width_per_group": 8, **options}
    return ResNet(Bottleneck, [3, 4, 23, 3], num_classes, in_channels=in_channels, **options)
