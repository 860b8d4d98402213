"""ShuffleNet V2: a network designed by the stopwatch.

New in it: four guidelines found by measuring instead of counting multiply-adds, and a unit that follows them.
Convolutions with as many inputs as outputs read and write least memory; many groups cost memory too; small pieces
side by side keep a processor waiting; elementwise steps are not free. So half of the channels pass a unit untouched,
the other half goes through plain 1 x 1 and depthwise convolutions of equal width, the halves are joined without a
sum, and the shuffle mixes them.

Reference:
    N. Ma, X. Zhang, H.-T. Zheng, J. Sun, "ShuffleNet V2: practical guidelines for efficient CNN architecture design"
    (2018), section 3 and table 5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numbanet import nn
from numbanet.functional import cat, channel_shuffle
from numbanet.models.registry import register
from numbanet.tensor import Tensor


class InvertedResidual(nn.Module):
    """With stride 1 half of the channels stay, with stride 2 both branches see all; joined, then shuffled.

    Args:
        inp: C.
        oup: O, even; with stride 1 as many as C.
        stride: 1 or 2.

    Shape:
        (N, C, H, W) gives (N, O, H / stride, W / stride), rounded up.

    Raises:
        ValueError: for another stride, an odd O, or with stride 1 another O than C.
    """

    def __init__(self, inp: int, oup: int, stride: int) -> None:
        super().__init__()
        if stride not in (1, 2):
            raise ValueError(f"InvertedResidual: stride must be 1 or 2, got {stride}")
        if oup % 2 or (stride == 1 and inp != oup):
            raise ValueError(f"InvertedResidual: oup must be even, with stride 1 equal to inp={inp}, got oup={oup}")
        self.stride = stride
        half = oup // 2
        self.branch1 = nn.Sequential() if stride == 1 else nn.Sequential(*_depthwise(inp, half, stride))
        self.branch2 = nn.Sequential(
            *_pointwise(half if stride == 1 else inp, half),
            *_depthwise(half, half, stride),
        )

    def forward(self, x: Tensor) -> Tensor:
        kept, changed = x.chunk(2, 1) if self.stride == 1 else (self.branch1(x), x)
        return channel_shuffle(cat([kept, self.branch2(changed)], 1), 2)


def _pointwise(inp: int, oup: int) -> list[nn.Module]:
    return [nn.Conv2d(inp, oup, 1, bias=False), nn.BatchNorm2d(oup), nn.ReLU(inplace=True)]


def _depthwise(inp: int, oup: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(inp, inp, 3, stride, 1, groups=inp, bias=False), nn.BatchNorm2d(inp), *_pointwise(inp, oup)]


class ShuffleNetV2(nn.Module):
    """The network of table 5; see the module's documentation. Weights begin as ``Conv2d`` and ``Linear`` begin.

    Args:
        stages_repeats: units of stages 2, 3 and 4.
        stages_out_channels: channels of the first convolution, of the three stages and of the last convolution.
        num_classes: number of results.
        inverted_residual: makes a unit from (C, O, stride).
        in_channels: C.

    Shape:
        (N, C, H, W) gives (N, num_classes), for images of any size.

    Raises:
        ValueError: for other than three stages and five numbers of channels.
    """

    def __init__(
        self,
        stages_repeats: Sequence[int],
        stages_out_channels: Sequence[int],
        num_classes: int = 1000,
        inverted_residual: Callable[..., nn.Module] = InvertedResidual,
        *,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if len(stages_repeats) != 3 or len(stages_out_channels) != 5:
            raise ValueError(
                "ShuffleNetV2: stages_repeats must be 3 numbers and stages_out_channels 5, got "
                f"{stages_repeats} and {stages_out_channels}"
            )
        first, *wide, last = stages_out_channels
        self.conv1 = nn.Sequential(
            nn.Conv2d(in_channels, first, 3, 2, 1, bias=False), nn.BatchNorm2d(first), nn.ReLU(inplace=True)
        )
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        stages, channels = [], first
        for repeats, out_channels in zip(stages_repeats, wide):
            units = [inverted_residual(channels, out_channels, 2)]
            units += [inverted_residual(out_channels, out_channels, 1) for _ in range(repeats - 1)]
            stages.append(nn.Sequential(*units))
            channels = out_channels
        self.stage2, self.stage3, self.stage4 = stages
        self.conv5 = nn.Sequential(*_pointwise(channels, last))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(last, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.conv1(x))
        x = self.conv5(self.stage4(self.stage3(self.stage2(x))))
        return self.fc(self.avgpool(x).flatten(1))


@register(input_shape=(3, 224, 224))
def shufflenet_v2_x0_5(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ShuffleNetV2:
    """ShuffleNet V2 at half width: 1,366,792 parameters.

    Shapes as for :func:`shufflenet_v2_x1_0`, with 48, 96 and 192 channels in the stages.

    Args:
        num_classes: number of classes.
        in_channels: channels of the images.
        options: as :class:`ShuffleNetV2` takes them.
    """
    return ShuffleNetV2([4, 8, 4], [24, 48, 96, 192, 1024], num_classes, in_channels=in_channels, **options)


@register(input_shape=(3, 224, 224))
def shufflenet_v2_x1_0(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ShuffleNetV2:
    """ShuffleNet V2: 2,278,604 parameters.

    Shapes for images of 224 x 224::

        conv 3x3 / 2             24 x 112 x 112
        max pool 3x3 / 2         24 x 56 x 56
        stage 2, 4 units         116 x 28 x 28
        stage 3, 8 units         232 x 14 x 14
        stage 4, 4 units         464 x 7 x 7
        conv 1x1                 1024 x 7 x 7
        average, linear          1000

    Args:
        num_classes: number of classes.
        in_channels: channels of the images.
        options: as :class:`ShuffleNetV2` takes them.
    """
    return ShuffleNetV2([4, 8, 4], [24, 116, 232, 464, 1024], num_classes, in_channels=in_channels, **options)


@register(input_shape=(3, 224, 224))
def shufflenet_v2_x1_5(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ShuffleNetV2:
    """ShuffleNet V2 at one and a half times its width: 3,503,624 parameters.

    Shapes as for :func:`shufflenet_v2_x1_0`, with 176, 352 and 704 channels in the stages.

    Args:
        num_classes: number of classes.
        in_channels: channels of the images.
        options: as :class:`ShuffleNetV2` takes them.
    """
    return ShuffleNetV2([4, 8, 4], [24, 176, 352, 704, 1024], num_classes, in_channels=in_channels, **options)


@register(input_shape=(3, 224, 224))
def shufflenet_v2_x2_0(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ShuffleNetV2:
    """ShuffleNet V2 at twice its width: 7,393,996 parameters.

    Shapes as for :func:`shufflenet_v2_x1_0`, with 244, 488 and 976 channels in the stages and 2048 after them.

    Args:
        num_classes: number of classes.
        in_channels: channels of the images.
        options: as :class:`ShuffleNetV2` takes them.
    """
    return ShuffleNetV2([4, 8, 4], [24, 244, 488, 976, 2048], num_classes, in_channels=in_channels, **options)
