"""MobileNet V3: MobileNet V2's blocks, chosen by a search and with attention to channels.

New in it: an architecture search chose kernel, width and attention of each block; squeeze and excitation stands
inside the wide part of a block; swish is made of cheap pieces, x relu6(x + 3) / 6 ("hard swish"), and used where maps
are small; and the last stage is cut short, its wide 1 x 1 convolution working behind the average, on one pixel.

Reference:
    A. Howard, M. Sandler, G. Chu, L.-C. Chen, B. Chen, M. Tan, W. Wang, Y. Zhu, R. Pang, V. Vasudevan, Q. Le, H. Adam,
    "Searching for MobileNetV3" (2019), section 5, tables 1 and 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from numbanet import nn
from numbanet.models.mobile import make_divisible, reset_weights
from numbanet.models.registry import register
from numbanet.tensor import Tensor

# Tables 1 and 2: (kernel, channels inside, channels, squeeze and excitation, nonlinearity, stride) of each block.
_LARGE = [
    (3, 16, 16, False, "RE", 1),
    (3, 64, 24, False, "RE", 2),
    (3, 72, 24, False, "RE", 1),
    (5, 72, 40, True, "RE", 2),
    (5, 120, 40, True, "RE", 1),
    (5, 120, 40, True, "RE", 1),
    (3, 240, 80, False, "HS", 2),
    (3, 200, 80, False, "HS", 1),
    (3, 184, 80, False, "HS", 1),
    (3, 184, 80, False, "HS", 1),
    (3, 480, 112, True, "HS", 1),
    (3, 672, 112, True, "HS", 1),
    (5, 672, 160, True, "HS", 2),
    (5, 960, 160, True, "HS", 1),
    (5, 960, 160, True, "HS", 1),
]
_SMALL = [
    (3, 16, 16, True, "RE", 2),
    (3, 72, 24, False, "RE", 2),
    (3, 88, 24, False, "RE", 1),
    (5, 96, 40, True, "HS", 2),
    (5, 240, 40, True, "HS", 1),
    (5, 240, 40, True, "HS", 1),
    (5, 120, 48, True, "HS", 1),
    (5, 144, 48, True, "HS", 1),
    (5, 288, 96, True, "HS", 2),
    (5, 576, 96, True, "HS", 1),
    (5, 576, 96, True, "HS", 1),
]


@dataclass
class InvertedResidualConfig:
    """One row of the tables; channels are multiplied by ``width_mult`` and rounded to multiples of 8.

    Attributes:
        input_channels, expanded_channels, out_channels: before, inside and after the block.
        kernel: of the depthwise convolution, odd.
        use_se: whether squeeze and excitation follows it.
        activation: "RE" for ReLU, "HS" for hard swish.
        stride: of the depthwise convolution, 1 or 2.
        dilation: of the depthwise convolution; above 1 it takes the place of the stride.
        width_mult: see above.
    """

    input_channels: int
    kernel: int
    expanded_channels: int
    out_channels: int
    use_se: bool
    activation: str
    stride: int
    dilation: int = 1
    width_mult: float = 1.0

    def __post_init__(self) -> None:
        if self.activation not in ("RE", "HS"):
            raise ValueError(f"InvertedResidualConfig: activation must be 'RE' or 'HS', got {self.activation!r}")
        if self.stride not in (1, 2):
            raise ValueError(f"InvertedResidualConfig: stride must be 1 or 2, got {self.stride}")
        self.input_channels = make_divisible(self.input_channels * self.width_mult)
        self.expanded_channels = make_divisible(self.expanded_channels * self.width_mult)
        self.out_channels = make_divisible(self.out_channels * self.width_mult)


class InvertedResidual(nn.Module):
    """MobileNet V2's block with the activation, and perhaps the attention to channels, that ``cnf`` names.

    Args:
        cnf: a row of the table.
        norm_layer: makes the normalization from the number of channels.
        se_layer: makes squeeze and excitation from (channels, squeezed channels); None for ``SqueezeExcitation`` with a
            hard sigmoid.

    Shape:
        (N, input_channels, H, W) gives (N, out_channels, H / stride, W / stride), rounded up.
    """

    def __init__(
        self,
        cnf: InvertedResidualConfig,
        norm_layer: Callable[..., nn.Module],
        se_layer: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__()
        se_layer = se_layer or partial(nn.SqueezeExcitation, scale_activation=nn.Hardsigmoid)
        self.use_res_connect = cnf.stride == 1 and cnf.input_channels == cnf.out_channels
        wide = cnf.expanded_channels
        options: dict[str, Any] = {
            "norm_layer": norm_layer,
            "activation_layer": nn.Hardswish if cnf.activation == "HS" else nn.ReLU,
        }
        layers: list[nn.Module] = []
        if wide != cnf.input_channels:
            layers.append(nn.Conv2dNormActivation(cnf.input_channels, wide, 1, **options))
        stride = 1 if cnf.dilation > 1 else cnf.stride
        layers.append(
            nn.Conv2dNormActivation(wide, wide, cnf.kernel, stride, groups=wide, dilation=cnf.dilation, **options)
        )
        if cnf.use_se:
            layers.append(se_layer(wide, make_divisible(wide // 4)))
        options["activation_layer"] = None
        layers.append(nn.Conv2dNormActivation(wide, cnf.out_channels, 1, **options))
        self.block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.use_res_connect else self.block(x)


class MobileNetV3(nn.Module):
    """The network of a table; see the module's documentation.

    Args:
        inverted_residual_setting: the table's rows.
        last_channel: channels of the hidden linear layer.
        num_classes: number of results.
        block: makes a block from (row, norm_layer); None for :class:`InvertedResidual`.
        norm_layer: makes the normalization from the number of channels; None for batch normalization (eps 0.001,
            momentum 0.01).
        dropout: probability before the last layer.
        in_channels: C.

    Shape:
        (N, C, H, W) gives (N, num_classes), for images of any size.

    Raises:
        ValueError: for an empty table.
    """

    def __init__(
        self,
        inverted_residual_setting: Sequence[InvertedResidualConfig],
        last_channel: int,
        num_classes: int = 1000,
        block: Callable[..., nn.Module] | None = None,
        norm_layer: Callable[..., nn.Module] | None = None,
        dropout: float = 0.2,
        *,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if not inverted_residual_setting:
            raise ValueError("MobileNetV3: inverted_residual_setting must have at least one row, got none")
        block = block or InvertedResidual
        norm_layer = norm_layer or partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)
        options: dict[str, Any] = {"norm_layer": norm_layer, "activation_layer": nn.Hardswish}
        first, last = inverted_residual_setting[0].input_channels, inverted_residual_setting[-1].out_channels
        self.features = nn.Sequential(
            nn.Conv2dNormActivation(in_channels, first, 3, stride=2, **options),
            *(block(row, norm_layer) for row in inverted_residual_setting),
            nn.Conv2dNormActivation(last, 6 * last, 1, **options),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(6 * last, last_channel),
            nn.Hardswish(inplace=True),
            nn.Dropout(dropout, inplace=True),
            nn.Linear(last_channel, num_classes),
        )
        reset_weights(self, lambda weight: nn.init.normal_(weight, 0, 0.01))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def _make(
    table: Sequence[tuple[int, int, int, bool, str, int]],
    last_channel: int,
    width_mult: float = 1.0,
    reduced_tail: bool = False,
    dilated: bool = False,
    **options: Any,
) -> MobileNetV3:
    """The network of one of the paper's tables; for segmentation its last three blocks can be narrower or dilated."""
    rows, channels = [], 16
    for left, (kernel, inside, out, use_se, activation, stride) in zip(reversed(range(len(table))), table):
        if reduced_tail and left < 3:
            out //= 2
            inside = inside // 2 if left < 2 else inside
        dilation = 2 if dilated and left < 3 else 1
        rows.append(
            InvertedResidualConfig(channels, kernel, inside, out, use_se, activation, stride, dilation, width_mult)
        )
        channels = out
    last_channel = make_divisible(last_channel // (2 if reduced_tail else 1) * width_mult)
    return MobileNetV3(rows, last_channel, **options)


@register(input_shape=(3, 224, 224))
def mobilenet_v3_large(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> MobileNetV3:
    """MobileNet V3 Large: 5,483,032 parameters.

    Shapes for images of 224 x 224; SE: squeeze and excitation::

        conv 3x3 / 2                     16 x 112 x 112
        1 block 3x3                      16 x 112 x 112
        2 blocks 3x3                     24 x 56 x 56
        3 blocks 5x5, SE                 40 x 28 x 28
        4 blocks 3x3, hard swish         80 x 14 x 14
        2 blocks 3x3, hard swish, SE     112 x 14 x 14
        3 blocks 5x5, hard swish, SE     160 x 7 x 7
        conv 1x1                         960 x 7 x 7
        average, linear                  1280
        linear                           1000

    Args:
        num_classes: number of classes.
        in_channels: channels of the images.
        options: ``width_mult``, ``reduced_tail`` (the last three blocks half as wide), ``dilated`` (they keep 14 x 14, with a
            dilation of 2), and what :class:`MobileNetV3` takes: ``dropout``, ``norm_layer``, ...
    """
    return _make(_LARGE, 1280, num_classes=num_classes, in_channels=in_channels, **options)


@register(input_shape=(3, 224, 224))
def mobilenet_v3_small(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> MobileNetV3:
    """MobileNet V3 Small: 2,542,856 parameters.

    Shapes for images of 224 x 224; SE: squeeze and excitation::

        conv 3x3 / 2                     16 x 112 x 112
        1 block 3x3, SE                  16 x 56 x 56
        2 blocks 3x3                     24 x 28 x 28
        3 blocks 5x5, hard swish, SE     40 x 14 x 14
        2 blocks 5x5, hard swish, SE     48 x 14 x 14
        3 blocks 5x5, hard swish, SE     96 x 7 x 7
        conv 1x1                         576 x 7 x 7
        average, linear                  1024
        linear                           1000

    Args:
        num_classes: number of classes.
        in_channels: channels of the images.
        options: as for :func:`mobilenet_v3_large`.
    """
    return _make(_SMALL, 1024, num_classes=num_classes, in_channels=in_channels, **options)
