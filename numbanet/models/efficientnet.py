"""EfficientNet: depth, width and resolution scaled together.

New in it: networks used to be made larger in one direction, deeper or wider or with larger images; here all three
grow by fixed powers, 1.2, 1.1 and 1.15 to the power of phi, so that the work doubles with phi. What is scaled, B0,
was found by MnasNet's search: MobileNet V2's blocks with swish and with squeeze and excitation.

Reference:
    M. Tan, Q. Le, "EfficientNet: rethinking model scaling for convolutional neural networks" (2019), sections 3 and 4,
    table 1.
    Stochastic depth: G. Huang et al., "Deep networks with stochastic depth" (2016).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from numbanet import nn
from numbanet.models.mobile import make_divisible, reset_weights
from numbanet.models.registry import register
from numbanet.tensor import Tensor


@dataclass
class MBConvConfig:
    """A stage of table 1, scaled: channels are rounded to multiples of 8, blocks are rounded up.

    Attributes:
        expand_ratio: how many times wider a block is inside.
        kernel: of the depthwise convolution, odd.
        stride: of the first block's, 1 or 2.
        input_channels, out_channels: before and after the stage.
        num_layers: blocks.
        width_mult, depth_mult: multiply channels and blocks.
    """

    expand_ratio: float
    kernel: int
    stride: int
    input_channels: int
    out_channels: int
    num_layers: int
    width_mult: float = 1.0
    depth_mult: float = 1.0

    def __post_init__(self) -> None:
        if self.stride not in (1, 2):
            raise ValueError(f"MBConvConfig: stride must be 1 or 2, got {self.stride}")
        self.input_channels = make_divisible(self.input_channels * self.width_mult)
        self.out_channels = make_divisible(self.out_channels * self.width_mult)
        self.num_layers = math.ceil(self.num_layers * self.depth_mult)


# Table 1, from its second row on.
_B0 = [
    (1, 3, 1, 32, 16, 1),
    (6, 3, 2, 16, 24, 2),
    (6, 5, 2, 24, 40, 2),
    (6, 3, 2, 40, 80, 3),
    (6, 5, 1, 80, 112, 3),
    (6, 5, 2, 112, 192, 4),
    (6, 3, 1, 192, 320, 1),
]


class MBConv(nn.Module):
    """Widen by 1 x 1, convolve each channel, squeeze and excite, narrow by 1 x 1; the input is added where shapes allow it.

    Args:
        in_channels: C.
        out_channels: O.
        kernel: of the depthwise convolution, odd.
        stride: of the depthwise convolution.
        expand_ratio: how many times wider it is inside; with 1 the first convolution is left out.
        stochastic_depth_prob: probability that a sample passes by the shortcut alone.
        norm_layer: makes the normalization from the number of channels.

    Shape:
        (N, C, H, W) gives (N, O, H / stride, W / stride), rounded up.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int,
        expand_ratio: float,
        stochastic_depth_prob: float,
        norm_layer: Callable[..., nn.Module],
    ) -> None:
        super().__init__()
        self.use_res_connect = stride == 1 and in_channels == out_channels
        wide = make_divisible(in_channels * expand_ratio)
        options: dict[str, Any] = {"norm_layer": norm_layer, "activation_layer": nn.SiLU}
        layers: list[nn.Module] = []
        if wide != in_channels:
            layers.append(nn.Conv2dNormActivation(in_channels, wide, 1, **options))
        layers += [
            nn.Conv2dNormActivation(wide, wide, kernel, stride, groups=wide, **options),
            nn.SqueezeExcitation(wide, max(1, in_channels // 4), activation=nn.SiLU),
            nn.Conv2dNormActivation(wide, out_channels, 1, norm_layer=norm_layer, activation_layer=None),
        ]
        self.block = nn.Sequential(*layers)
        self.stochastic_depth = nn.StochasticDepth(stochastic_depth_prob, "row")

    def forward(self, x: Tensor) -> Tensor:
        return x + self.stochastic_depth(self.block(x)) if self.use_res_connect else self.block(x)


class EfficientNet(nn.Module):
    """The network of a table of stages; see the module's documentation.

    Args:
        inverted_residual_setting: the stages.
        dropout: probability before the linear layer.
        stochastic_depth_prob: of dropping the last block; it grows from 0 in equal steps.
        num_classes: number of results.
        norm_layer: makes the normalization from the number of channels; None for batch normalization.
        last_channel: channels of the last convolution; None for four times what the stages give.
        in_channels: C.

    Shape:
        (N, C, H, W) gives (N, num_classes), for images of any size.

    Raises:
        ValueError: for an empty table.
    """

    def __init__(
        self,
        inverted_residual_setting: Sequence[MBConvConfig],
        dropout: float,
        stochastic_depth_prob: float = 0.2,
        num_classes: int = 1000,
        norm_layer: Callable[..., nn.Module] | None = None,
        last_channel: int | None = None,
        *,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if not inverted_residual_setting:
            raise ValueError("EfficientNet: inverted_residual_setting must have at least one stage, got none")
        norm_layer = norm_layer or nn.BatchNorm2d
        options: dict[str, Any] = {"norm_layer": norm_layer, "activation_layer": nn.SiLU}
        channels = inverted_residual_setting[0].input_channels
        layers: list[nn.Module] = [nn.Conv2dNormActivation(in_channels, channels, 3, stride=2, **options)]
        done, blocks = 0, sum(stage.num_layers for stage in inverted_residual_setting)
        for stage in inverted_residual_setting:
            parts = []
            for position in range(stage.num_layers):
                parts.append(
                    MBConv(
                        channels,
                        stage.out_channels,
                        stage.kernel,
                        stage.stride if position == 0 else 1,
                        stage.expand_ratio,
                        stochastic_depth_prob * done / blocks,
                        norm_layer,
                    )
                )
                channels, done = stage.out_channels, done + 1
            layers.append(nn.Sequential(*parts))
        wide = last_channel or 4 * channels
        self.features = nn.Sequential(*layers, nn.Conv2dNormActivation(channels, wide, 1, **options))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(dropout, inplace=True), nn.Linear(wide, num_classes))
        bound = 1 / math.sqrt(num_classes)
        reset_weights(self, lambda weight: nn.init.uniform_(weight, -bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def _make(width_mult: float, depth_mult: float, dropout: float, options: dict[str, Any]) -> EfficientNet:
    stages = [MBConvConfig(*row, width_mult, depth_mult) for row in _B0]
    return EfficientNet(stages, **{"dropout": dropout, **options})


@register(input_shape=(3, 224, 224))
def efficientnet_b0(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> EfficientNet:
    """EfficientNet B0, the one that is scaled: 5,288,548 parameters.

    Shapes for images of 224 x 224; t is how many times wider a block is inside::

        conv 3x3 / 2                  32 x 112 x 112
        1 block 3x3, t = 1            16 x 112 x 112
        2 blocks 3x3, t = 6           24 x 56 x 56
        2 blocks 5x5                  40 x 28 x 28
        3 blocks 3x3                  80 x 14 x 14
        3 blocks 5x5                  112 x 14 x 14
        4 blocks 5x5                  192 x 7 x 7
        1 block 3x3                   320 x 7 x 7
        conv 1x1                      1280 x 7 x 7
        average, linear               1000

    Args:
        num_classes: number of classes.
        in_channels: channels of the images.
        options: ``dropout``, ``stochastic_depth_prob``, ``norm_layer``, as :class:`EfficientNet` takes them.
    """
    return _make(1.0, 1.0, 0.2, {"num_classes": num_classes, "in_channels": in_channels, **options})


@register(input_shape=(3, 240, 240))
def efficientnet_b1(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> EfficientNet:
    """EfficientNet B1, as wide, 1.1 times as deep as B0, for 240 x 240: 7,794,184 parameters.

    Args:
        num_classes: number of classes.
        in_channels: channels of the images.
        options: as for :func:`efficientnet_b0`.
    """
    return _make(1.0, 1.1, 0.2, {"num_classes": num_classes, "in_channels": in_channels, **options})


@register(input_shape=(3, 260, 260))
def efficientnet_b2(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> EfficientNet:
    """EfficientNet B2, 1.1 times as wide, 1.2 times as deep as B0, for 260 x 260: 9,109,994 parameters.

    Args:
        num_classes: number of classes.
        in_channels: channels of the images.
        options: as for :func:`efficientnet_b0`.
    """
    return _make(1.1, 1.2, 0.3, {"num_classes": num_classes, "in_channels": in_channels, **options})


@register(input_shape=(3, 300, 300))
def efficientnet_b3(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> EfficientNet:
    """EfficientNet B3, 1.2 times as wide, 1.4 times as deep as B0, for 300 x 300: 12,233,232 parameters.

    Args:
        num_classes: number of classes.
        in_channels: channels of the images.
        options: as for :func:`efficientnet_b0`.
    """
    return _make(1.2, 1.4, 0.3, {"num_classes": num_classes, "in_channels": in_channels, **options})


@register(input_shape=(3, 380, 380))
def efficientnet_b4(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> EfficientNet:
    """EfficientNet B4, 1.4 times as wide, 1.8 times as deep as B0, for 380 x 380: 19,341,616 parameters.

    Args:
        num_classes: number of classes.
        in_channels: channels of the images.
        options: as for :func:`efficientnet_b0`.
    """
    return _make(1.4, 1.8, 0.4, {"num_classes": num_classes, "in_channels": in_channels, **options})


# The larger networks were trained by TensorFlow, whose numbers these are.
_LATE_NORM = partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)


@register(input_shape=(3, 456, 456))
def efficientnet_b5(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> EfficientNet:
    """EfficientNet B5, 1.6 times as wide, 2.2 times as deep as B0, for 456 x 456: 30,389,784 parameters.

    Args:
        num_classes: number of classes.
        in_channels: channels of the images.
        options: as for :func:`efficientnet_b0`.
    """
    return _make(
        1.6, 2.2, 0.4, {"num_classes": num_classes, "in_channels": in_channels, "norm_layer": _LATE_NORM, **options}
    )


@register(input_shape=(3, 528, 528))
def efficientnet_b6(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> EfficientNet:
    """EfficientNet B6, 1.8 times as wide, 2.6 times as deep as B0, for 528 x 528: 43,040,704 parameters.

    Args:
        num_classes: number of classes.
        in_channels: channels of the images.
        options: as for :func:`efficientnet_b0`.
    """
    return _make(
        1.8, 2.6, 0.5, {"num_classes": num_classes, "in_channels": in_channels, "norm_layer": _LATE_NORM, **options}
    )


@register(input_shape=(3, 600, 600))
def efficientnet_b7(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> EfficientNet:
    """EfficientNet B7, twice as wide, 3.1 times as deep as B0, for 600 x 600: 66,347,960 parameters.

    Args:
        num_classes: number of classes.
        in_channels: channels of the images.
        options: as for :func:`efficientnet_b0`.
    """
    return _make(
        2.0, 3.1, 0.5, {"num_classes": num_classes, "in_channels": in_channels, "norm_layer": _LATE_NORM, **options}
    )
