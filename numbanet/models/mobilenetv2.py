"""MobileNet V2: inverted residuals with linear bottlenecks.

New in it: the residual block turned inside out. ResNet's bottleneck is narrow between wide ends; here the ends, which
the shortcut joins, are narrow, and the depthwise convolution works in between on six times as many channels. Nothing
follows the last 1 x 1 convolution but batch normalization: a ReLU would destroy what few channels hold.

Reference:
    M. Sandler, A. Howard, M. Zhu, A. Zhmoginov, L.-C. Chen, "MobileNetV2: inverted residuals and linear bottlenecks"
    (2018), sections 3 and 4, table 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numbanet import nn
from numbanet.models.mobile import make_divisible, reset_weights
from numbanet.models.registry import register
from numbanet.tensor import Tensor

# Table 2: (expansion t, channels c, repeats n, stride s of the first).
_TABLE = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]


class InvertedResidual(nn.Module):
    """Widen by 1 x 1, convolve each channel by 3 x 3, narrow by 1 x 1; the input is added where shapes allow it.

    Args:
        inp: C.
        oup: O.
        stride: of the depthwise convolution, 1 or 2.
        expand_ratio: how many times wider it is between the ends; with 1 the first convolution is left out.
        norm_layer: makes the normalization; None for batch normalization.

    Shape:
        (N, C, H, W) gives (N, O, H / stride, W / stride), rounded up.

    Raises:
        ValueError: for another stride.
    """

    def __init__(
        self, inp: int, oup: int, stride: int, expand_ratio: float, norm_layer: Callable[..., nn.Module] | None = None
    ) -> None:
        super().__init__()
        if stride not in (1, 2):
            raise ValueError(f"InvertedResidual: stride must be 1 or 2, got {stride}")
        norm_layer = norm_layer or nn.BatchNorm2d
        self.use_res_connect = stride == 1 and inp == oup
        wide = round(inp * expand_ratio)
        options: dict[str, Any] = {"norm_layer": norm_layer, "activation_layer": nn.ReLU6}
        layers: list[nn.Module] = []
        if expand_ratio != 1:
            layers.append(nn.Conv2dNormActivation(inp, wide, 1, **options))
        layers.append(nn.Conv2dNormActivation(wide, wide, 3, stride, groups=wide, **options))
        layers += [nn.Conv2d(wide, oup, 1, bias=False), norm_layer(oup)]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


class MobileNetV2(nn.Module):
    """The network of table 2, or of another table; see the module's documentation.

    Args:
        num_classes: number of results.
        width_mult: multiplies the channels of all layers; of the last convolution only where it is above 1.
        inverted_residual_setting: rows (expansion, channels, repeats, stride of the first); None for the paper's.
        round_nearest: channels are rounded to multiples of this.
        block: makes a block from (C, O, stride, expand_ratio=, norm_layer=); None for :class:`InvertedResidual`.
        norm_layer: makes the normalization from the number of channels; None for batch normalization.
        dropout: probability before the linear layer.
        in_channels: C.

    Shape:
        (N, C, H, W) gives (N, num_classes), for images of any size.

    Raises:
        ValueError: for a table that is empty or has rows of other than four numbers.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        width_mult: float = 1.0,
        inverted_residual_setting: Sequence[Sequence[int]] | None = None,
        round_nearest: int = 8,
        block: Callable[..., nn.Module] | None = None,
        norm_layer: Callable[..., nn.Module] | None = None,
        dropout: float = 0.2,
        *,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        table = _TABLE if inverted_residual_setting is None else inverted_residual_setting
        if not table or any(len(row) != 4 for row in table):
            raise ValueError(f"MobileNetV2: inverted_residual_setting must have rows (t, c, n, s), got {table}")
        block, norm_layer = block or InvertedResidual, norm_layer or nn.BatchNorm2d
        options: dict[str, Any] = {"norm_layer": norm_layer, "activation_layer": nn.ReLU6}
        channels = make_divisible(32 * width_mult, round_nearest)
        layers: list[nn.Module] = [nn.Conv2dNormActivation(in_channels, channels, 3, stride=2, **options)]
        for expansion, wanted, repeats, stride in table:
            out_channels = make_divisible(wanted * width_mult, round_nearest)
            for position in range(repeats):
                step = stride if position == 0 else 1
                layers.append(block(channels, out_channels, step, expand_ratio=expansion, norm_layer=norm_layer))
                channels = out_channels
        self.last_channel = make_divisible(1280 * max(1.0, width_mult), round_nearest)
        layers.append(nn.Conv2dNormActivation(channels, self.last_channel, 1, **options))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.last_channel, num_classes))
        reset_weights(self, lambda weight: nn.init.normal_(weight, 0, 0.01))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


@register(input_shape=(3, 224, 224))
def mobilenet_v2(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> MobileNetV2:
    """MobileNet V2, of inverted residuals: 3,504,872 parameters.

    Shapes for images of 224 x 224; t is how many times wider a block is inside::

        conv 3x3 / 2                32 x 112 x 112
        1 block, t = 1              16 x 112 x 112
        2 blocks, t = 6             24 x 56 x 56
        3 blocks                    32 x 28 x 28
        4 blocks                    64 x 14 x 14
        3 blocks                    96 x 14 x 14
        3 blocks                    160 x 7 x 7
        1 block                     320 x 7 x 7
        conv 1x1                    1280 x 7 x 7
        average, linear             1000

    Args:
        num_classes: number of classes.
        in_channels: channels of the images.
        options: as :class:`MobileNetV2` takes them: ``width_mult``, ``round_nearest``, ``dropout``, ...
    """
    return MobileNetV2(num_classes, in_channels=in_channels, **options)
