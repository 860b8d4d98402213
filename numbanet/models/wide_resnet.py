"""Wide ResNet: fewer blocks, more channels.

What was new: the finding that a thousand thin layers win little over a few dozen wide ones, which train several times faster,
since wide convolutions keep a processor busier than many thin ones. For small images the paper's networks are
pre-activation ResNets of three stages with k times the channels; for ImageNet, ResNet-50 with bottlenecks twice as wide.

Reference:
    S. Zagoruyko and N. Komodakis, "Wide residual networks" (2016).
"""

from __future__ import annotations

from typing import Any

from numbanet.models.preact_resnet import PreActBlock, PreActResNet
from numbanet.models.registry import register
from numbanet.models.resnet import Bottleneck, ResNet


@register(input_shape=(3, 224, 224))
def wide_resnet50_2(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """Wide ResNet-50-2: 68,883,240 parameters, the bottlenecks' 3 x 3 convolutions twice as wide as ResNet-50's.

    Shapes after the stages: (256, 56, 56) x 3, (512, 28, 28) x 4, (1024, 14, 14) x 6, (2048, 7, 7) x 3.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the images.
        options: as for ``ResNet``.
    """
    options = {"width_per_group": 128, **options}
    return ResNet(Bottleneck, [3, 4, 6, 3], num_classes, in_channels=in_channels, **options)


@register(input_shape=(3, 224, 224))
def wide_resnet101_2(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """Wide ResNet-101-2: 126,886,696 parameters, the bottlenecks' 3 x 3 convolutions twice as wide as ResNet-101's.

    Shapes after the stages: (256, 56, 56) x 3, (512, 28, 28) x 4, (1024, 14, 14) x 23, (2048, 7, 7) x 3.

    Args: as for ``wide_resnet50_2``.
    """
    options = {"width_per_group": 128, **options}
    return ResNet(Bottleneck, [3, 4, 23, 3], num_classes, in_channels=in_channels, **options)


@register(input_shape=(3, 32, 32))
def wide_resnet28_10(num_classes: int = 10, in_channels: int = 3, **options: Any) -> PreActResNet:
    """WRN-28-10 for CIFAR: 36,479,194 parameters, blocks of two convolutions ten times as wide.

    Shapes after the stages: (160, 32, 32) x 4, (320, 16, 16) x 4, (640, 8, 8) x 4.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the images.
        options: as for ``PreActResNet``.
    """
    options = {"planes": (160, 320, 640), "small_images": True, **options}
    return PreActResNet(PreActBlock, [4, 4, 4], num_classes, in_channels, **options)
