"""ResNet with pre-activation: normalisation and ReLU go before each convolution, and nothing after the addition.

What was new: a block gives y = x + F(x) and no ReLU of it, so that from the first block to the last there is a path that
only adds. A thousand layers train on it. The branch begins with its own normalisation and ReLU; a ReLU and a normalisation
after the last block make up for those that are missing there. Two corner cases, as in the paper's appendix: the first block has
no activation of its own, since conv1's serves both its paths; and where a block changes the shape, its 1 x 1 shortcut
(without normalisation) sees the activated input.

========= ======================= =========================== ========================== =====================
stage     (3, 224, 224)           blocks / bottlenecks        (3, 32, 32)                blocks / bottlenecks
========= ======================= =========================== ========================== =====================
conv1     7 x 7, stride 2, pool   (N, 64, 56, 56)             3 x 3                      (N, 16, 32, 32)
layer1                            (N, 64 / 256, 56, 56)                                  (N, 16 / 64, 32, 32)
layer2    the first halves        (N, 128 / 512, 28, 28)      the first halves           (N, 32 / 128, 16, 16)
layer3    the first halves        (N, 256 / 1024, 14, 14)     the first halves           (N, 64 / 256, 8, 8)
layer4    the first halves        (N, 512 / 2048, 7, 7)
========= ======================= =========================== ========================== =====================

Reference:
    K. He, X. Zhang, S. Ren and J. Sun, "Identity mappings in deep residual networks" (2016).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numbanet import nn
from numbanet.models.registry import register
from numbanet.models.resnet import conv1x1, conv3x3, draw_weights
from numbanet.nn.fused import norm_relu
from numbanet.tensor import Tensor


class PreActBlock(nn.Module):
    """Two 3 x 3 convolutions: (N, inplanes, H, W) gives (N, planes, H / stride, W / stride).

    Args:
        inplanes, planes: channels of input and output.
        stride: of the first convolution.
        activated: whether the input is normalised and activated already.
        attention: makes, for so many channels, a layer that goes before the addition; None for no such layer.
    """

    expansion = 1

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        activated: bool = False,
        attention: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.bn1 = nn.Identity() if activated else nn.BatchNorm2d(inplanes)
        self.relu = nn.ReLU()  # changes nothing of what is activated already
        self.conv1 = conv3x3(inplanes, planes, stride)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = conv3x3(planes, planes)
        self.attention = attention(planes) if attention else None
        self.downsample = conv1x1(inplanes, planes, stride) if stride != 1 or inplanes != planes else None

    def forward(self, x: Tensor) -> Tensor:
        active = norm_relu(self.bn1, self.relu, x)
        out = self.conv1(active)
        out = self.conv2(norm_relu(self.bn2, self.relu, out))
        if self.attention is not None:
            out = self.attention(out)
        return out + (x if self.downsample is None else self.downsample(active))


class PreActBottleneck(nn.Module):
    """A 3 x 3 convolution between two 1 x 1: (N, inplanes, H, W) gives (N, 4 planes, H / stride, W / stride).

    Args: as for ``PreActBlock``; the stride is that of the 3 x 3 convolution.
    """

    expansion = 4

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        activated: bool = False,
        attention: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        outplanes = planes * self.expansion
        self.bn1 = nn.Identity() if activated else nn.BatchNorm2d(inplanes)
        self.relu = nn.ReLU()
        self.conv1 = conv1x1(inplanes, planes)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = conv3x3(planes, planes, stride)
        self.bn3 = nn.BatchNorm2d(planes)
        self.conv3 = conv1x1(planes, outplanes)
        self.attention = attention(outplanes) if attention else None
        self.downsample = conv1x1(inplanes, outplanes, stride) if stride != 1 or inplanes != outplanes else None

    def forward(self, x: Tensor) -> Tensor:
        active = norm_relu(self.bn1, self.relu, x)
        out = self.conv1(active)
        out = self.conv2(norm_relu(self.bn2, self.relu, out))
        out = self.conv3(norm_relu(self.bn3, self.relu, out))
        if self.attention is not None:
            out = self.attention(out)
        return out + (x if self.downsample is None else self.downsample(active))


class PreActResNet(nn.Module):
    """A pre-activation ResNet for images (N, in_channels, H, W); the shapes of its stages are in the table above.

    Args:
        block: ``PreActBlock`` or ``PreActBottleneck``.
        layers: the number of blocks of each stage.
        num_classes: number of outputs.
        in_channels: channels of the images.
        planes: the width of each stage's 3 x 3 convolutions; all stages but the first halve the image.
        small_images: begin with a 3 x 3 convolution of 16 channels instead of a 7 x 7 of 64 with pooling behind it.
        attention: makes, for so many channels, a layer for the end of each residual branch: ``nn.SqueezeExcitation``, ``nn.CBAM``.

    Raises:
        ValueError: unless ``layers`` and ``planes`` have one number for each stage.
    """

    def __init__(
        self,
        block: type[PreActBlock] | type[PreActBottleneck],
        layers: Sequence[int],
        num_classes: int = 1000,
        in_channels: int = 3,
        planes: Sequence[int] = (64, 128, 256, 512),
        small_images: bool = False,
        attention: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if len(layers) != len(planes):
            raise ValueError(
                f"PreActResNet: layers and planes have one number for each stage, got layers={layers}, planes={planes}"
            )
        inplanes = 16 if small_images else 64
        if small_images:
            self.conv1 = conv3x3(in_channels, inplanes)
        else:
            self.conv1 = nn.Conv2d(in_channels, inplanes, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(inplanes)
        self.relu = nn.ReLU()
        self.maxpool = nn.Identity() if small_images else nn.MaxPool2d(3, stride=2, padding=1)

        stages = []
        for stage, (width, count) in enumerate(zip(planes, layers, strict=True)):
            blocks = []
            for i in range(count):
                stride = 2 if stage > 0 and i == 0 else 1
                blocks.append(block(inplanes, width, stride, activated=stage == i == 0, attention=attention))
                inplanes = width * block.expansion
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)

        self.bn = nn.BatchNorm2d(inplanes)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(inplanes, num_classes)
        draw_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(norm_relu(self.bn1, self.relu, self.conv1(x)))
        x = norm_relu(self.bn, self.relu, self.stages(x))
        return self.fc(self.avgpool(x).flatten(1))


@register(input_shape=(3, 224, 224))
def preact_resnet18(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> PreActResNet:
    """Pre-activation ResNet-18: 11,687,720 parameters, blocks of two convolutions.

    Shapes after the stages: (64, 56, 56) x 2, (128, 28, 28) x 2, (256, 14, 14) x 2, (512, 7, 7) x 2.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the images.
        options: as for ``PreActResNet``.
    """
    return PreActResNet(PreActBlock, [2, 2, 2, 2], num_classes, in_channels, **options)


@register(input_shape=(3, 224, 224))
def preact_resnet34(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> PreActResNet:
    """Pre-activation ResNet-34: 21,795,880 parameters, blocks of two convolutions.

    Shapes after the stages: (64, 56, 56) x 3, (128, 28, 28) x 4, (256, 14, 14) x 6, (512, 7, 7) x 3.

    Args: as for ``preact_resnet18``.
    """
    return PreActResNet(PreActBlock, [3, 4, 6, 3], num_classes, in_channels, **options)


@register(input_shape=(3, 224, 224))
def preact_resnet50(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> PreActResNet:
    """Pre-activation ResNet-50: 25,549,352 parameters, bottlenecks.

    Shapes after the stages: (256, 56, 56) x 3, (512, 28, 28) x 4, (1024, 14, 14) x 6, (2048, 7, 7) x 3.

    Args: as for ``preact_resnet18``.
    """
    return PreActResNet(PreActBottleneck, [3, 4, 6, 3], num_classes, in_channels, **options)


@register(input_shape=(3, 224, 224))
def preact_resnet101(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> PreActResNet:
    """Pre-activation ResNet-101: 44,541,480 parameters, bottlenecks.

    Shapes after the stages: (256, 56, 56) x 3, (512, 28, 28) x 4, (1024, 14, 14) x 23, (2048, 7, 7) x 3.

    Args: as for ``preact_resnet18``.
    """
    return PreActResNet(PreActBottleneck, [3, 4, 23, 3], num_classes, in_channels, **options)


@register(input_shape=(3, 224, 224))
def preact_resnet152(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> PreActResNet:
    """Pre-activation ResNet-152: 60,185,128 parameters, bottlenecks.

    Shapes after the stages: (256, 56, 56) x 3, (512, 28, 28) x 8, (1024, 14, 14) x 36, (2048, 7, 7) x 3.

    Args: as for ``preact_resnet18``.
    """
    return PreActResNet(PreActBottleneck, [3, 8, 36, 3], num_classes, in_channels, **options)


@register(input_shape=(3, 224, 224))
def preact_resnet200(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> PreActResNet:
    """Pre-activation ResNet-200: 64,666,152 parameters, bottlenecks.

    Shapes after the stages: (256, 56, 56) x 3, (512, 28, 28) x 24, (1024, 14, 14) x 36, (2048, 7, 7) x 3.

    Args: as for ``preact_resnet18``.
    """
    return PreActResNet(PreActBottleneck, [3, 24, 36, 3], num_classes, in_channels, **options)


@register(input_shape=(3, 32, 32))
def preact_resnet110(num_classes: int = 10, in_channels: int = 3, **options: Any) -> PreActResNet:
    """Pre-activation ResNet-110 for CIFAR: 1,730,522 parameters, blocks of two convolutions.

    Shapes after the stages: (16, 32, 32) x 18, (32, 16, 16) x 18, (64, 8, 8) x 18.

    Args: as for ``preact_resnet18``.
    """
    options = {"planes": (16, 32, 64), "small_images": True, **options}
    return PreActResNet(PreActBlock, [18, 18, 18], num_classes, in_channels, **options)


@register(input_shape=(3, 32, 32))
def preact_resnet164(num_classes: int = 10, in_channels: int = 3, **options: Any) -> PreActResNet:
    """Pre-activation ResNet-164 for CIFAR: 1,703,258 parameters, bottlenecks.

    Shapes after the stages: (64, 32, 32) x 18, (128, 16, 16) x 18, (256, 8, 8) x 18.

    Args: as for ``preact_resnet18``.
    """
    options = {"planes": (16, 32, 64), "small_images": True, **options}
    return PreActResNet(PreActBottleneck, [18, 18, 18], num_classes, in_channels, **options)


@register(input_shape=(3, 32, 32))
def preact_resnet1001(num_classes: int = 10, in_channels: int = 3, **options: Any) -> PreActResNet:
    """Pre-activation ResNet-1001 for CIFAR: 10,327,706 parameters, bottlenecks.

    Shapes after the stages: (64, 32, 32) x 111, (128, 16, 16) x 111, (256, 8, 8) x 111.

    Args: as for ``preact_resnet18``.
    """
    options = {"planes": (16, 32, 64), "small_images": True, **options}
    return PreActResNet(PreActBottleneck, [111, 111, 111], num_classes, in_channels, **options)
