"""MnasNet: a mobile network found by a search that timed its candidates on a telephone.

New in it: the search's reward joins accuracy with latency measured on the device, not estimated from multiply-adds;
and its space is factorized, so that each stage finds a kernel, an expansion and a number of blocks of its own, where
searches before repeated one cell. This is variant B1, without squeeze and excitation.

Reference:
    M. Tan, B. Chen, R. Pang, V. Vasudevan, M. Sandler, A. Howard, Q. Le, "MnasNet: platform-aware neural architecture
    search for mobile" (2019), section 4 and figure 7.
"""

from __future__ import annotations

from typing import Any

from numbanet import nn
from numbanet.models.mobile import make_divisible, reset_weights
from numbanet.models.registry import register
from numbanet.tensor import Tensor

# (channels, kernel, stride of the first, expansion, blocks) of each stage.
_TABLE = [(24, 3, 2, 3, 3), (40, 5, 2, 3, 3), (80, 5, 2, 6, 3), (96, 3, 1, 6, 2), (192, 5, 2, 6, 4), (320, 3, 1, 6, 1)]
# TensorFlow's momentum of 0.9997, counted from the other end.
_BN_MOMENTUM = 1 - 0.9997


def _conv(inp: int, oup: int, kernel: int = 1, stride: int = 1, groups: int = 1, relu: bool = True) -> list[nn.Module]:
    layers: list[nn.Module] = [
        nn.Conv2d(inp, oup, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(oup, momentum=_BN_MOMENTUM),
    ]
    return [*layers, nn.ReLU(inplace=True)] if relu else layers


class _InvertedResidual(nn.Module):
    """MobileNet V2's block with a kernel of 3 or 5: (N, C, H, W) gives (N, O, H / stride, W / stride), rounded up."""

    def __init__(self, inp: int, oup: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inp * expansion
        self.apply_residual = inp == oup and stride == 1
        self.layers = nn.Sequential(
            *_conv(inp, wide), *_conv(wide, wide, kernel, stride, groups=wide), *_conv(wide, oup, relu=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.apply_residual else self.layers(x)


class MNASNet(nn.Module):
    """The network that the search found; see the module's documentation.

    Args:
        alpha: multiplies the channels of all layers but the last convolution; they are rounded to multiples of 8.
        num_classes: number of results.
        dropout: probability before the linear layer.
        in_channels: C.

    Shape:
        (N, C, H, W) gives (N, num_classes), for images of any size.

    Raises:
        ValueError: for alpha that is not positive.
    """

    def __init__(self, alpha: float, num_classes: int = 1000, dropout: float = 0.2, *, in_channels: int = 3) -> None:
        super().__init__()
        if not alpha > 0:
            raise ValueError(f"MNASNet: alpha must be positive, got {alpha}")
        stem, channels = make_divisible(32 * alpha), make_divisible(16 * alpha)
        layers = [
            *_conv(in_channels, stem, 3, stride=2),
            *_conv(stem, stem, 3, groups=stem),
            *_conv(stem, channels, relu=False),
        ]
        for wanted, kernel, stride, expansion, blocks in _TABLE:
            out_channels = make_divisible(wanted * alpha)
            stage = [_InvertedResidual(channels, out_channels, kernel, stride, expansion)]
            stage += [_InvertedResidual(out_channels, out_channels, kernel, 1, expansion) for _ in range(blocks - 1)]
            layers.append(nn.Sequential(*stage))
            channels = out_channels
        self.layers = nn.Sequential(*layers, *_conv(channels, 1280))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(dropout, inplace=True), nn.Linear(1280, num_classes))
        reset_weights(self, lambda w: nn.init.kaiming_uniform_(w, mode="fan_out", nonlinearity="sigmoid"))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.layers(x)).flatten(1))


@register(input_shape=(3, 224, 224))
def mnasnet0_5(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> MNASNet:
    """MnasNet at half width: 2,218,512 parameters.

    Shapes as for :func:`mnasnet1_0`, with half the channels up to the last convolution.

    Args:
        num_classes: number of classes.
        in_channels: channels of the images.
        options: ``dropout``, as :class:`MNASNet` takes it.
    """
    return MNASNet(0.5, num_classes, in_channels=in_channels, **options)


@register(input_shape=(3, 224, 224))
def mnasnet0_75(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> MNASNet:
    """MnasNet at three quarters of its width: 3,170,208 parameters.

    Shapes as for :func:`mnasnet1_0`, with three quarters of the channels up to the last convolution.

    Args:
        num_classes: number of classes.
        in_channels: channels of the images.
        options: ``dropout``, as :class:`MNASNet` takes it.
    """
    return MNASNet(0.75, num_classes, in_channels=in_channels, **options)


@register(input_shape=(3, 224, 224))
def mnasnet1_0(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> MNASNet:
    """MnasNet B1: 4,383,312 parameters.

    Shapes for images of 224 x 224; t is how many times wider a block is inside::

        conv 3x3 / 2                  32 x 112 x 112
        separable 3x3                 16 x 112 x 112
        3 blocks 3x3, t = 3           24 x 56 x 56
        3 blocks 5x5, t = 3           40 x 28 x 28
        3 blocks 5x5, t = 6           80 x 14 x 14
        2 blocks 3x3, t = 6           96 x 14 x 14
        4 blocks 5x5, t = 6           192 x 7 x 7
        1 block 3x3, t = 6            320 x 7 x 7
        conv 1x1                      1280 x 7 x 7
        average, linear               1000

    Args:
        num_classes: number of classes.
        in_channels: channels of the images.
        options: ``dropout``, as :class:`MNASNet` takes it.
    """
    return MNASNet(1.0, num_classes, in_channels=in_channels, **options)


@register(input_shape=(3, 224, 224))
def mnasnet1_3(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> MNASNet:
    """MnasNet at 1.3 times its width: 6,282,256 parameters.

    Shapes as for :func:`mnasnet1_0`, with 1.3 times the channels up to the last convolution.

    Args:
        num_classes: number of classes.
        in_channels: channels of the images.
        options: ``dropout``, as :class:`MNASNet` takes it.
    """
    return MNASNet(1.3, num_classes, in_channels=in_channels, **options)
