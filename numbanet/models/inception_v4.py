"""Inception v4: the same few blocks, many times over.

Szegedy, Ioffe, Vanhoucke, Alemi 2017, Inception-v4, Inception-ResNet and the impact of residual connections on learning.

New in it: nothing that Inception v3 has not, said more simply. Blocks of one size are all alike, which earlier versions could
not afford, since they had to be cut in pieces to fit the machines they were trained on. The stem, too, is made of paths.
"""

from __future__ import annotations

from numbanet import nn
from numbanet.functional import cat
from numbanet.models.inception import BasicConv2d, Branches, kaiming_weights, path
from numbanet.models.registry import register
from numbanet.tensor import Tensor


def stem(in_channels: int) -> list[nn.Module]:
    """Figure 3: (N, C, 299, 299) to (N, 384, 35, 35)."""
    return [
        BasicConv2d(in_channels, 32, kernel_size=3, stride=2),
        BasicConv2d(32, 32, kernel_size=3),
        BasicConv2d(32, 64, kernel_size=3, padding=1),
        Branches(maxpool=nn.MaxPool2d(3, stride=2), conv=BasicConv2d(64, 96, kernel_size=3, stride=2)),
        Branches(
            branch0=path(160, (64, 1), (96, 3, 1, 0)),
            branch1=path(160, (64, 1), (64, (1, 7)), (64, (7, 1)), (96, 3, 1, 0)),
        ),
        Branches(conv=BasicConv2d(192, 192, kernel_size=3, stride=2), maxpool=nn.MaxPool2d(3, stride=2)),
    ]


def average_path(in_channels: int, channels: int) -> nn.Sequential:
    """An average of 3 x 3, at the border of those pixels that there are, then a 1 x 1 convolution."""
    pool = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return nn.Sequential(pool, BasicConv2d(in_channels, channels, kernel_size=1))


def inception_a() -> Branches:
    """Figure 4: (N, 384, 35, 35) to the same."""
    return Branches(
        branch0=BasicConv2d(384, 96, kernel_size=1),
        branch1=path(384, (64, 1), (96, 3)),
        branch2=path(384, (64, 1), (96, 3), (96, 3)),
        branch3=average_path(384, 96),
    )


def reduction_a() -> Branches:
    """Figure 7 with (k, l, m, n) = (192, 224, 256, 384): (N, 384, 35, 35) to (N, 1024, 17, 17)."""
    return Branches(
        branch0=BasicConv2d(384, 384, kernel_size=3, stride=2),
        branch1=path(384, (192, 1), (224, 3), (256, 3, 2)),
        branch2=nn.MaxPool2d(3, stride=2),
    )


def inception_b() -> Branches:
    """Figure 5: (N, 1024, 17, 17) to the same."""
    return Branches(
        branch0=BasicConv2d(1024, 384, kernel_size=1),
        branch1=path(1024, (192, 1), (224, (1, 7)), (256, (7, 1))),
        branch2=path(1024, (192, 1), (192, (7, 1)), (224, (1, 7)), (224, (7, 1)), (256, (1, 7))),
        branch3=average_path(1024, 128),
    )


def reduction_b() -> Branches:
    """Figure 8: (N, 1024, 17, 17) to (N, 1536, 8, 8)."""
    return Branches(
        branch0=path(1024, (192, 1), (192, 3, 2)),
        branch1=path(1024, (256, 1), (256, (1, 7)), (320, (7, 1)), (320, 3, 2)),
        branch2=nn.MaxPool2d(3, stride=2),
    )


class InceptionC(nn.Module):
    """Figure 6, paths that fan out: (N, 1536, 8, 8) to the same."""

    def __init__(self) -> None:
        super().__init__()
        wide, tall = {"kernel_size": (1, 3), "padding": (0, 1)}, {"kernel_size": (3, 1), "padding": (1, 0)}
        self.branch0 = BasicConv2d(1536, 256, kernel_size=1)
        self.branch1_0 = BasicConv2d(1536, 384, kernel_size=1)
        self.branch1_1a = BasicConv2d(384, 256, **wide)
        self.branch1_1b = BasicConv2d(384, 256, **tall)
        self.branch2_0 = BasicConv2d(1536, 384, kernel_size=1)
        self.branch2_1 = BasicConv2d(384, 448, **tall)
        self.branch2_2 = BasicConv2d(448, 512, **wide)
        self.branch2_3a = BasicConv2d(512, 256, **wide)
        self.branch2_3b = BasicConv2d(512, 256, **tall)
        self.branch3 = average_path(1536, 256)

    def forward(self, x: Tensor) -> Tensor:
        short = self.branch1_0(x)
        long = self.branch2_2(self.branch2_1(self.branch2_0(x)))
        fans = [self.branch1_1a(short), self.branch1_1b(short), self.branch2_3a(long), self.branch2_3b(long)]
        return cat([self.branch0(x), *fans, self.branch3(x)], dim=1)


class InceptionV4(nn.Module):
    """Inception v4; see :func:`inception_v4`."""

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.2,
        blocks: tuple[int, int, int] = (4, 7, 3),
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *stem(in_channels),
            *[inception_a() for _ in range(blocks[0])],
            reduction_a(),
            *[inception_b() for _ in range(blocks[1])],
            reduction_b(),
            *[InceptionC() for _ in range(blocks[2])],
        )
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(dropout)
        self.last_linear = nn.Linear(1536, num_classes)
        kaiming_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.last_linear(self.dropout(self.avgpool(self.features(x)).flatten(1)))


@register(input_shape=(3, 299, 299))
def inception_v4(
    num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.2, blocks: tuple[int, int, int] = (4, 7, 3)
) -> InceptionV4:
    """Inception v4: 42,679,816 parameters.

    ========================  ==============
    layers                    output
    ========================  ==============
    stem                      384 x 35 x 35
    4 blocks A                384 x 35 x 35
    reduction A               1024 x 17 x 17
    7 blocks B                1024 x 17 x 17
    reduction B               1536 x 8 x 8
    3 blocks C                1536 x 8 x 8
    average, dropout, linear  num_classes
    ========================  ==============

    The keys are those under which PyTorch weights of this network are usually published (timm).

    Args:
        num_classes: number of outputs.
        in_channels: 3 for colour, 1 for grey images. They must have at least 75 x 75 pixels.
        dropout: probability; the paper keeps 0.8.
        blocks: how many of A, B and C.
    """
    return InceptionV4(num_classes, in_channels, dropout, blocks)
