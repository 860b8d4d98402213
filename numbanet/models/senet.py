"""SENet: ResNets whose blocks weigh their channels by what is in the whole image.

What was new: squeeze and excitation. At the end of each residual branch the image is averaged away (squeeze), two small layers
make of the C means C weights between 0 and 1 (excitation), and each channel is multiplied by its own. It adds a tenth to the
parameters and next to nothing to the work, and makes ResNet-50 about as good as ResNet-101. Stages and shapes are the
ResNets'.

Reference:
    J. Hu, L. Shen and G. Sun, "Squeeze-and-excitation networks" (2017).
"""

from __future__ import annotations

from typing import Any

from numbanet import nn
from numbanet.models.registry import register
from numbanet.models.resnet import BasicBlock, Bottleneck, ResNet


@register(input_shape=(3, 224, 224))
def se_resnet18(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """SE-ResNet-18: 11,778,592 parameters.

    Shapes after the stages: (64, 56, 56) x 2, (128, 28, 28) x 2, (256, 14, 14) x 2, (512, 7, 7) x 2.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the images.
        options: as for ``ResNet``.
    """
    options = {"attention": nn.SqueezeExcitation, **options}
    return ResNet(BasicBlock, [2, 2, 2, 2], num_classes, in_channels=in_channels, **options)


@register(input_shape=(3, 224, 224))
def se_resnet34(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """SE-ResNet-34: 21,958,868 parameters.

    Shapes after the stages: (64, 56, 56) x 3, (128, 28, 28) x 4, (256, 14, 14) x 6, (512, 7, 7) x 3.

    Args: as for ``se_resnet18``.
    """
    options = {"attention": nn.SqueezeExcitation, **options}
    return ResNet(BasicBlock, [3, 4, 6, 3], num_classes, in_channels=in_channels, **options)


@register(input_shape=(3, 224, 224))
def se_resnet50(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """SE-ResNet-50: 28,088,024 parameters.

    Shapes after the stages: (256, 56, 56) x 3, (512, 28, 28) x 4, (1024, 14, 14) x 6, (2048, 7, 7) x 3.

    Args: as for ``se_resnet18``.
    """
    options = {"attention": nn.SqueezeExcitation, **options}
    return ResNet(Bottleneck, [3, 4, 6, 3], num_classes, in_channels=in_channels, **options)


@register(input_shape=(3, 224, 224))
def se_resnet101(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """SE-ResNet-101: 49,326,872 parameters.

    Shapes after the stages: (256, 56, 56) x 3, (512, 28, 28) x 4, (1024, 14, 14) x 23, (2048, 7, 7) x 3.

    Args: as for ``se_resnet18``.
    """
    options = {"attention": nn.SqueezeExcitation, **options}
    return ResNet(Bottleneck, [3, 4, 23, 3], num_classes, in_channels=in_channels, **options)


@register(input_shape=(3, 224, 224))
def se_resnet152(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """SE-ResNet-152: 66,821,848 parameters.

    Shapes after the stages: (256, 56, 56) x 3, (512, 28, 28) x 8, (1024, 14, 14) x 36, (2048, 7, 7) x 3.

    Args: as for ``se_resnet18``.
    """
    options = {"attention": nn.SqueezeExcitation, **options}
    return ResNet(Bottleneck, [3, 8, 36, 3], num_classes, in_channels=in_channels, **options)


@register(input_shape=(3, 224, 224))
def se_resnext50_32x4d(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """SE-ResNeXt-50 (32 x 4d): 27,559,896 parameters.

    Shapes after the stages: (256, 56, 56) x 3, (512, 28, 28) x 4, (1024, 14, 14) x 6, (2048, 7, 7) x 3.

    Args: as for ``se_resnet18``.
    """
    options = {"groups": 32, "width_per_group": 4, "attention": nn.SqueezeExcitation, **options}
    return ResNet(Bottleneck, [3, 4, 6, 3], num_classes, in_channels=in_channels, **options)
