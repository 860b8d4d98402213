"""ResNet: layers that learn what to add to their input.

Deeper networks of plain layers did worse, even on the images that they were trained on: a stack of layers finds it hard to
learn the identity. Here every two or three convolutions have a shortcut around them, y = F(x) + x, so that the identity is
F = 0, a block more can only add something, and gradients reach the first layers undamped. Where a block halves the image
and changes the number of channels, a 1 x 1 convolution does the same to x ("option B").

========= ============================ ==================== ====================
stage     for images (3, 224, 224)     of basic blocks      of bottlenecks
========= ============================ ==================== ====================
conv1     7 x 7, stride 2              (N, 64, 112, 112)    (N, 64, 112, 112)
maxpool   3 x 3, stride 2              (N, 64, 56, 56)      (N, 64, 56, 56)
layer1    residual blocks              (N, 64, 56, 56)      (N, 256, 56, 56)
layer2    the first of them halves     (N, 128, 28, 28)     (N, 512, 28, 28)
layer3    the first of them halves     (N, 256, 14, 14)     (N, 1024, 14, 14)
layer4    the first of them halves     (N, 512, 7, 7)       (N, 2048, 7, 7)
avgpool   mean over the image          (N, 512, 1, 1)       (N, 2048, 1, 1)
fc        Linear                       (N, num_classes)     (N, num_classes)
========= ============================ ==================== ====================

Reference:
    K. He, X. Zhang, S. Ren and J. Sun, "Deep residual learning for image recognition" (2015). As in torchvision, a bottleneck's
    stride is that of its 3 x 3 convolution; in the paper it is that of the first 1 x 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numbanet import nn
from numbanet.models.registry import register
from numbanet.nn.fused import norm_relu
from numbanet.tensor import Tensor


def conv3x3(in_planes: int, out_planes: int, stride: int = 1, groups: int = 1, dilation: int = 1) -> nn.Conv2d:
    """A 3 x 3 convolution without bias that keeps the image's size, up to the stride."""
    return nn.Conv2d(in_planes, out_planes, 3, stride, dilation, dilation, groups, bias=False)


def conv1x1(in_planes: int, out_planes: int, stride: int = 1) -> nn.Conv2d:
    """A 1 x 1 convolution without bias."""
    return nn.Conv2d(in_planes, out_planes, 1, stride, bias=False)


def draw_weights(net: nn.Module) -> None:
    """Draw the convolutions' first weights so that gradients keep their variance (He et al. 2015, fan_out)."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions with a shortcut: (N, inplanes, H, W) gives (N, planes, H / stride, W / stride).

    Args:
        inplanes, planes: channels of input and output.
        stride: of the first convolution.
        downsample: what the shortcut does to x; None: nothing.
        groups, base_width, dilation: only 1, 64 and 1 here; other values are for ``Bottleneck``.
        norm_layer: makes a normalisation of so many channels; None for ``nn.BatchNorm2d``.
        attention: makes, for so many channels, a layer that goes before the addition; None for no such layer.

    Raises:
        ValueError: for other groups, width or dilation.
    """

    expansion = 1

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        groups: int = 1,
        base_width: int = 64,
        dilation: int = 1,
        norm_layer: Callable[[int], nn.Module] | None = None,
        attention: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if (groups, base_width, dilation) != (1, 64, 1):
            raise ValueError(
                f"BasicBlock: takes groups=1, base_width=64 and dilation=1 only, got groups={groups}, "
                f"base_width={base_width}, dilation={dilation}; Bottleneck takes others"
            )
        norm = norm_layer or nn.BatchNorm2d
        self.conv1 = conv3x3(inplanes, planes, stride)
        self.bn1 = norm(planes)
        self.relu = nn.ReLU()
        self.conv2 = conv3x3(planes, planes)
        self.bn2 = norm(planes)
        self.attention = attention(planes) if attention else None
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        def shortcut() -> Tensor:
            return x if self.downsample is None else self.downsample(x)

        out = self.conv2(norm_relu(self.bn1, self.relu, self.conv1(x)))
        if self.attention is None:
            return norm_relu(self.bn2, self.relu, out, shortcut)
        return self.relu(self.attention(self.bn2(out)) + shortcut())


class Bottleneck(nn.Module):
    """A 3 x 3 convolution between two 1 x 1 that make it cheap: (N, inplanes, H, W) gives (N, 4 planes, H / stride, W / stride).

    The 3 x 3 has planes * base_width / 64 channels in each of its groups.

    Args:
        inplanes: channels of the input.
        planes: a quarter of the output's channels.
        stride: of the 3 x 3 convolution.
        downsample: what the shortcut does to x; None: nothing.
        groups, base_width, dilation: of the 3 x 3 convolution.
        norm_layer, attention: as for ``BasicBlock``.
    """

    expansion = 4

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        groups: int = 1,
        base_width: int = 64,
        dilation: int = 1,
        norm_layer: Callable[[int], nn.Module] | None = None,
        attention: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        norm = norm_layer or nn.BatchNorm2d
        width = planes * base_width // 64 * groups
        outplanes = planes * self.expansion
        self.conv1 = conv1x1(inplanes, width)
        self.bn1 = norm(width)
        self.conv2 = conv3x3(width, width, stride, groups, dilation)
        self.bn2 = norm(width)
        self.conv3 = conv1x1(width, outplanes)
        self.bn3 = norm(outplanes)
        self.relu = nn.ReLU()
        self.attention = attention(outplanes) if attention else None
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        def shortcut() -> Tensor:
            return x if self.downsample is None else self.downsample(x)

        out = norm_relu(self.bn1, self.relu, self.conv1(x))
        out = self.conv3(norm_relu(self.bn2, self.relu, self.conv2(out)))
        if self.attention is None:
            return norm_relu(self.bn3, self.relu, out, shortcut)
        return self.relu(self.attention(self.bn3(out)) + shortcut())


class ResNet(nn.Module):
    """A ResNet for images (N, in_channels, H, W), made for 224 x 224; the shapes of its stages are in the table above.

    Args:
        block: ``BasicBlock`` or ``Bottleneck``.
        layers: the numbers of blocks of the four stages.
        num_classes: number of outputs.
        zero_init_residual: begin with F = 0: the last normalisation of each block multiplies by 0.
        groups, width_per_group: of the bottlenecks' 3 x 3 convolutions (ResNeXt, wide ResNet).
        replace_stride_with_dilation: for each of the last three stages, whether it keeps the image's size and spreads its
            kernels instead; None for three times False.
        norm_layer: makes a normalisation of so many channels; None for ``nn.BatchNorm2d``.
        in_channels: channels of the images.
        attention: makes, for so many channels, a layer for the end of each residual branch: ``nn.SqueezeExcitation``, ``nn.CBAM``.

    Raises:
        ValueError: unless there are four stages, and three values in ``replace_stride_with_dilation``.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        layers: Sequence[int],
        num_classes: int = 1000,
        zero_init_residual: bool = False,
        groups: int = 1,
        width_per_group: int = 64,
        replace_stride_with_dilation: Sequence[bool] | None = None,
        norm_layer: Callable[[int], nn.Module] | None = None,
        in_channels: int = 3,
        attention: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        dilate = [False, *(replace_stride_with_dilation or (False, False, False))]
        if len(layers) != 4 or len(dilate) != 4:
            raise ValueError(
                "ResNet: there are four stages, so layers has four numbers and replace_stride_with_dilation three values; "
                f"got layers={layers}, replace_stride_with_dilation={replace_stride_with_dilation}"
            )
        norm = norm_layer or nn.BatchNorm2d
        shared = (groups, width_per_group)
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = norm(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)

        inplanes, dilation = 64, 1
        for stage, (planes, count) in enumerate(zip((64, 128, 256, 512), layers, strict=True)):
            stride, before = (1 if stage == 0 else 2), dilation
            if dilate[stage]:
                stride, dilation = 1, 2 * dilation
            outplanes = planes * block.expansion
            downsample = None
            if stride != 1 or inplanes != outplanes:
                downsample = nn.Sequential(conv1x1(inplanes, outplanes, stride), norm(outplanes))
            # The first block's input still has the spacing of the stage before.
            blocks = [block(inplanes, planes, stride, downsample, *shared, before, norm_layer, attention)]
            for _ in range(1, count):
                blocks.append(block(outplanes, planes, 1, None, *shared, dilation, norm_layer, attention))
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
            inplanes = outplanes

        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(inplanes, num_classes)
        draw_weights(self)
        if zero_init_residual:
            for module in self.modules():
                if isinstance(module, Bottleneck):
                    nn.init.zeros_(module.bn3.weight)
                elif isinstance(module, BasicBlock):
                    nn.init.zeros_(module.bn2.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(norm_relu(self.bn1, self.relu, self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


@register(input_shape=(3, 224, 224))
def resnet18(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """ResNet-18: 11,689,512 parameters, basic blocks.

    Shapes after the stages: (64, 56, 56) x 2, (128, 28, 28) x 2, (256, 14, 14) x 2, (512, 7, 7) x 2.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the images.
        options: as for ``ResNet``.
    """
    return ResNet(BasicBlock, [2, 2, 2, 2], num_classes, in_channels=in_channels, **options)


@register(input_shape=(3, 224, 224))
def resnet34(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """ResNet-34: 21,797,672 parameters, basic blocks.

    Shapes after the stages: (64, 56, 56) x 3, (128, 28, 28) x 4, (256, 14, 14) x 6, (512, 7, 7) x 3.

    Args: as for ``resnet18``.
    """
    return ResNet(BasicBlock, [3, 4, 6, 3], num_classes, in_channels=in_channels, **options)


@register(input_shape=(3, 224, 224))
def resnet50(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """ResNet-50: 25,557,032 parameters, bottlenecks.

    Shapes after the stages: (256, 56, 56) x 3, (512, 28, 28) x 4, (1024, 14, 14) x 6, (2048, 7, 7) x 3.

    Args: as for ``resnet18``.
    """
    return ResNet(Bottleneck, [3, 4, 6, 3], num_classes, in_channels=in_channels, **options)


@register(input_shape=(3, 224, 224))
def resnet101(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """ResNet-101: 44,549,160 parameters, bottlenecks.

    Shapes after the stages: (256, 56, 56) x 3, (512, 28, 28) x 4, (1024, 14, 14) x 23, (2048, 7, 7) x 3.

    Args: as for ``resnet18``.
    """
    return ResNet(Bottleneck, [3, 4, 23, 3], num_classes, in_channels=in_channels, **options)


@register(input_shape=(3, 224, 224))
def resnet152(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """ResNet-152: 60,192,808 parameters, bottlenecks.

    Shapes after the stages: (256, 56, 56) x 3, (512, 28, 28) x 8, (1024, 14, 14) x 36, (2048, 7, 7) x 3.

    Args: as for ``resnet18``.
    """
    return ResNet(Bottleneck, [3, 8, 36, 3], num_classes, in_channels=in_channels, **options)
