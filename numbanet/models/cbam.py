"""ResNets with convolutional block attention: their blocks weigh channels, then pixels.

What was new: after squeeze and excitation's question of what is in the image, the question where it is. Each residual branch
ends with channel attention (from the channels' means and maxima) and spatial attention (a 7 x 7 convolution of each pixel's
mean and maximum). Stages and shapes are the ResNets'.

Reference:
    S. Woo, J. Park, J. Lee and I. Kweon, "CBAM: convolutional block attention module" (2018).
"""

from __future__ import annotations

from typing import Any

from numbanet import nn
from numbanet.models.registry import register
from numbanet.models.resnet import BasicBlock, Bottleneck, ResNet


@register(input_shape=(3, 224, 224))
def cbam_resnet18(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """ResNet-18 with CBAM: 11,779,376 parameters.

    Shapes after the stages: (64, 56, 56) x 2, (128, 28, 28) x 2, (256, 14, 14) x 2, (512, 7, 7) x 2.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the images.
        options: as for ``ResNet``.
    """
    options = {"attention": nn.CBAM, **options}
    return ResNet(BasicBlock, [2, 2, 2, 2], num_classes, in_channels=in_channels, **options)


@register(input_shape=(3, 224, 224))
def cbam_resnet50(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """ResNet-50 with CBAM: 28,089,592 parameters.

    Shapes after the stages: (256, 56, 56) x 3, (512, 28, 28) x 4, (1024, 14, 14) x 6, (2048, 7, 7) x 3.

    Args: as for ``cbam_resnet18``.
    """
    options = {"attention": nn.CBAM, **options}
    return ResNet(Bottleneck, [3, 4, 6, 3], num_classes, in_channels=in_channels, **options)
