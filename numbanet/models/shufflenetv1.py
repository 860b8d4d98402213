"""ShuffleNet: grouped 1 x 1 convolutions, and channels dealt out anew between them.

New in it: with depthwise convolutions, most of the work is in the 1 x 1 convolutions, and groups divide it. But a
channel would then see its own group for ever; so the channels are shuffled after the first 1 x 1 convolution, each
group of the next taking some from every group before. More groups pay for more channels: the table keeps the work at
140 million multiply-adds.

Reference:
    X. Zhang, X. Zhou, M. Lin, J. Sun, "ShuffleNet: an extremely efficient convolutional neural network for mobile
    devices" (2017), section 3 and table 1.
"""

from __future__ import annotations

from typing import Any

from numbanet import nn
from numbanet.functional import cat
from numbanet.models.mobile import make_divisible, reset_weights
from numbanet.models.registry import register
from numbanet.tensor import Tensor

# Table 1: channels of stage 2, by groups; each further stage has twice as many.
_CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
_REPEATS = (4, 8, 4)


class ShuffleUnit(nn.Module):
    """Grouped 1 x 1, shuffle, depthwise 3 x 3, grouped 1 x 1; the input is added, or with stride 2 joined after pooling.

    Args:
        in_channels: C.
        out_channels: O, with stride 1 as many as C.
        stride: 1 or 2.
        groups: of the 1 x 1 convolutions; divides C (unless ``first``), O and, with stride 2, O - C.
        first: whether this is the network's first unit, whose few input channels are not grouped.

    Shape:
        (N, C, H, W) gives (N, O, H / stride, W / stride), rounded up.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, groups: int, first: bool = False) -> None:
        super().__init__()
        inside = make_divisible(out_channels // 4, groups)
        made = out_channels if stride == 1 else out_channels - in_channels
        self.reduce = nn.Conv2dNormActivation(in_channels, inside, 1, groups=1 if first else groups)
        self.shuffle = nn.ChannelShuffle(groups)
        self.depthwise = nn.Conv2dNormActivation(inside, inside, 3, stride, groups=inside, activation_layer=None)
        self.expand = nn.Conv2dNormActivation(inside, made, 1, groups=groups, activation_layer=None)
        self.pool = nn.AvgPool2d(3, 2, padding=1) if stride == 2 else None
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.expand(self.depthwise(self.shuffle(self.reduce(x))))
        return self.relu(x + branch if self.pool is None else cat([self.pool(x), branch], 1))


class ShuffleNetV1(nn.Module):
    """The network of table 1; see the module's documentation.

    Args:
        num_classes: number of results.
        groups: 1, 2, 3, 4 or 8.
        width_mult: the paper's scale s of all channels; where groups do not divide a number of channels, it is rounded.
        in_channels: C.

    Shape:
        (N, C, H, W) gives (N, num_classes), for images of any size.

    Raises:
        ValueError: for another number of groups, or a width multiplier that is not positive.
    """

    def __init__(
        self, num_classes: int = 1000, groups: int = 3, width_mult: float = 1.0, *, in_channels: int = 3
    ) -> None:
        super().__init__()
        if groups not in _CHANNELS:
            raise ValueError(f"ShuffleNetV1: groups must be one of {', '.join(map(str, _CHANNELS))}, got {groups}")
        if not width_mult > 0:
            raise ValueError(f"ShuffleNetV1: width_mult must be positive, got {width_mult}")
        channels = make_divisible(24 * width_mult, groups)
        self.conv1 = nn.Conv2dNormActivation(in_channels, channels, 3, stride=2)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        stages = []
        for position, repeats in enumerate(_REPEATS):
            out_channels = make_divisible(_CHANNELS[groups] * 2**position * width_mult, groups)
            units = [ShuffleUnit(channels, out_channels, 2, groups, first=position == 0)]
            units += [ShuffleUnit(out_channels, out_channels, 1, groups) for _ in range(repeats - 1)]
            stages.append(nn.Sequential(*units))
            channels = out_channels
        self.stage2, self.stage3, self.stage4 = stages
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        reset_weights(self, lambda weight: nn.init.normal_(weight, 0, 0.01))

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.conv1(x))
        x = self.stage4(self.stage3(self.stage2(x)))
        return self.fc(self.avgpool(x).flatten(1))


@register(input_shape=(3, 224, 224))
def shufflenet_v1(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ShuffleNetV1:
    """ShuffleNet with 3 groups: 1,865,728 parameters.

    Shapes for images of 224 x 224, by groups::

        groups                      1      2      3      4      8
        conv 3x3 / 2               24     24     24     24     24   x 112 x 112
        max pool 3x3 / 2           24     24     24     24     24   x 56 x 56
        stage 2, 4 units          144    200    240    272    384   x 28 x 28
        stage 3, 8 units          288    400    480    544    768   x 14 x 14
        stage 4, 4 units          576    800    960   1088   1536   x 7 x 7
        average, linear          1000   1000   1000   1000   1000

    Args:
        num_classes: number of classes.
        in_channels: channels of the images.
        options: ``groups`` and ``width_mult``, as :class:`ShuffleNetV1` takes them.
    """
    return ShuffleNetV1(num_classes, in_channels=in_channels, **options)
