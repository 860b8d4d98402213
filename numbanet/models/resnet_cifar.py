"""ResNets for images of 32 x 32 pixels: thin, and of any depth 6 n + 2.

The paper's experiment about depth: three stages of n basic blocks with 16, 32 and 64 channels, nothing else, so that depth alone
decides. Their shortcuts have no parameters ("option A"): where a stage halves the image, every second pixel of every
second row goes on, and the new channels are zeros. 110 layers train well; with 1202 it still trains, and overfits.

========= =========================== =================
stage     for images (3, 32, 32)      shape
========= =========================== =================
conv1     3 x 3                       (N, 16, 32, 32)
layer1    n basic blocks              (N, 16, 32, 32)
layer2    n, the first of them halves (N, 32, 16, 16)
layer3    n, the first of them halves (N, 64, 8, 8)
avgpool   mean over the image         (N, 64, 1, 1)
fc        Linear                      (N, num_classes)
========= =========================== =================

Reference:
    K. He, X. Zhang, S. Ren and J. Sun, "Deep residual learning for image recognition" (2015), section 4.2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numbanet import nn
from numbanet.models.registry import register
from numbanet.models.resnet import BasicBlock, conv1x1, conv3x3, draw_weights
from numbanet.nn import functional as F
from numbanet.nn.fused import norm_relu
from numbanet.tensor import Tensor


class ZeroPaddedShortcut(nn.Module):
    """Option A: (N, C, H, W) gives (N, C + new_channels, H / stride, W / stride) without parameters.

    Args:
        stride: the distance of the pixels that go on.
        new_channels: how many channels of zeros are added.
    """

    def __init__(self, stride: int, new_channels: int) -> None:
        super().__init__()
        self.stride, self.new_channels = stride, new_channels

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))

    def extra_repr(self) -> str:
        return f"stride={self.stride}, new_channels={self.new_channels}"


class CIFARResNet(nn.Module):
    """A ResNet for images (N, in_channels, H, W), made for 32 x 32; the shapes of its stages are in the table above.

    Args:
        depth: 6 n + 2 layers for n blocks in each stage.
        num_classes: number of outputs.
        in_channels: channels of the images.
        shortcut: "A", or "B" for a 1 x 1 convolution where a stage changes the shape.
        norm_layer: makes a normalisation of so many channels; None for ``nn.BatchNorm2d``.
        attention: makes, for so many channels, a layer for the end of each residual branch: ``nn.SqueezeExcitation``, ``nn.CBAM``.

    Raises:
        ValueError: for a depth that is not 8, 14, 20, ..., or another shortcut.
    """

    def __init__(
        self,
        depth: int,
        num_classes: int = 10,
        in_channels: int = 3,
        shortcut: str = "A",
        norm_layer: Callable[[int], nn.Module] | None = None,
        attention: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise ValueError(f"CIFARResNet: depth must be 6 n + 2 (8, 14, 20, 26, 32, ...), got {depth}")
        if shortcut not in ("A", "B"):
            raise ValueError(f"CIFARResNet: shortcut must be 'A' or 'B', got {shortcut!r}")
        norm = norm_layer or nn.BatchNorm2d
        self.conv1 = conv3x3(in_channels, 16)
        self.bn1 = norm(16)
        self.relu = nn.ReLU()

        def stage(inplanes: int, planes: int) -> nn.Sequential:
            stride = 1 if inplanes == planes else 2
            change: nn.Module | None = None
            if stride == 2 and shortcut == "A":
                change = ZeroPaddedShortcut(stride, planes - inplanes)
            elif stride == 2:
                change = nn.Sequential(conv1x1(inplanes, planes, stride), norm(planes))
            options: dict[str, Any] = {"norm_layer": norm_layer, "attention": attention}
            blocks = [BasicBlock(inplanes, planes, stride, change, **options)]
            blocks += [BasicBlock(planes, planes, **options) for _ in range(1, (depth - 2) // 6)]
            return nn.Sequential(*blocks)

        self.layer1 = stage(16, 16)
        self.layer2 = stage(16, 32)
        self.layer3 = stage(32, 64)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(64, num_classes)
        draw_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        x = norm_relu(self.bn1, self.relu, self.conv1(x))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.avgpool(x).flatten(1))


@register(input_shape=(3, 32, 32))
def resnet20(num_classes: int = 10, in_channels: int = 3, **options: Any) -> CIFARResNet:
    """ResNet-20 for CIFAR: 269,722 parameters.

    Shapes after the stages: (16, 32, 32) x 3, (32, 16, 16) x 3, (64, 8, 8) x 3.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the images.
        options: as for ``CIFARResNet``.
    """
    return CIFARResNet(20, num_classes, in_channels, **options)


@register(input_shape=(3, 32, 32))
def resnet32(num_classes: int = 10, in_channels: int = 3, **options: Any) -> CIFARResNet:
    """ResNet-32 for CIFAR: 464,154 parameters.

    Shapes after the stages: (16, 32, 32) x 5, (32, 16, 16) x 5, (64, 8, 8) x 5.

    Args: as for ``resnet20``.
    """
    return CIFARResNet(32, num_classes, in_channels, **options)


@register(input_shape=(3, 32, 32))
def resnet44(num_classes: int = 10, in_channels: int = 3, **options: Any) -> CIFARResNet:
    """ResNet-44 for CIFAR: 658,586 parameters.

    Shapes after the stages: (16, 32, 32) x 7, (32, 16, 16) x 7, (64, 8, 8) x 7.

    Args: as for ``resnet20``.
    """
    return CIFARResNet(44, num_classes, in_channels, **options)


@register(input_shape=(3, 32, 32))
def resnet56(num_classes: int = 10, in_channels: int = 3, **options: Any) -> CIFARResNet:
    """ResNet-56 for CIFAR: 853,018 parameters.

    Shapes after the stages: (16, 32, 32) x 9, (32, 16, 16) x 9, (64, 8, 8) x 9.

    Args: as for ``resnet20``.
    """
    return CIFARResNet(56, num_classes, in_channels, **options)


@register(input_shape=(3, 32, 32))
def resnet110(num_classes: int = 10, in_channels: int = 3, **options: Any) -> CIFARResNet:
    """ResNet-110 for CIFAR: 1,727,962 parameters.

    Shapes after the stages: (16, 32, 32) x 18, (32, 16, 16) x 18, (64, 8, 8) x 18.

    Args: as for ``resnet20``.
    """
    return CIFARResNet(110, num_classes, in_channels, **options)


@register(input_shape=(3, 32, 32))
def resnet1202(num_classes: int = 10, in_channels: int = 3, **options: Any) -> CIFARResNet:
    """ResNet-1202 for CIFAR: 19,421,274 parameters.

    Shapes after the stages: (16, 32, 32) x 200, (32, 16, 16) x 200, (64, 8, 8) x 200.

    Args: as for ``resnet20``.
    """
    return CIFARResNet(1202, num_classes, in_channels, **options)
