"""Inception-ResNet v2: Inception blocks that add to their input.

Szegedy, Ioffe, Vanhoucke, Alemi 2017, Inception-v4, Inception-ResNet and the impact of residual connections on learning.

New in it: each Inception block ends in a 1 x 1 convolution without activation, whose output is added to the block's input, as
in a residual network. Trained that way it learns much faster than Inception v4 of the same cost. With more than a thousand
channels training became unstable, until what is added was scaled down, by 0.1 to 0.3.
"""

from __future__ import annotations

from numbanet import nn
from numbanet.functional import cat
from numbanet.models.inception import BasicConv2d, Branches, kaiming_weights, path
from numbanet.models.registry import register
from numbanet.nn import functional as F
from numbanet.tensor import Tensor


class ResidualBranches(Branches):
    """x + scale * conv2d(paths side by side), then ReLU: (N, C, H, W) to the same.

    Args:
        channels: C.
        scale: of what is added.
        joined: channels of all paths together.
        activation: whether a ReLU follows.
        branches: name -> path.
    """

    def __init__(
        self, channels: int, scale: float, joined: int, activation: bool = True, **branches: nn.Module
    ) -> None:
        super().__init__(**branches)
        self.conv2d = nn.Conv2d(joined, channels, kernel_size=1)
        self.scale, self.activation = scale, activation

    def forward(self, x: Tensor) -> Tensor:
        *branches, conv2d = self.children()
        x = x + self.scale * conv2d(cat([branch(x) for branch in branches], dim=1))
        return F.relu(x) if self.activation else x


def mixed_5b() -> Branches:
    """(N, 192, 35, 35) to (N, 320, 35, 35), the one block without addition."""
    pool = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return Branches(
        branch0=BasicConv2d(192, 96, kernel_size=1),
        branch1=path(192, (48, 1), (64, 5)),
        branch2=path(192, (64, 1), (96, 3), (96, 3)),
        branch3=nn.Sequential(pool, BasicConv2d(192, 64, kernel_size=1)),
    )


def block_a(scale: float = 0.17) -> ResidualBranches:
    """Figure 16, of 320 instead of 384 channels: (N, 320, 35, 35) to the same."""
    return ResidualBranches(
        320,
        scale,
        joined=128,
        branch0=BasicConv2d(320, 32, kernel_size=1),
        branch1=path(320, (32, 1), (32, 3)),
        branch2=path(320, (32, 1), (48, 3), (64, 3)),
    )


def reduction_a() -> Branches:
    """Figure 7 with (k, l, m, n) = (256, 256, 384, 384): (N, 320, 35, 35) to (N, 1088, 17, 17)."""
    return Branches(
        branch0=BasicConv2d(320, 384, kernel_size=3, stride=2),
        branch1=path(320, (256, 1), (256, 3), (384, 3, 2)),
        branch2=nn.MaxPool2d(3, stride=2),
    )


def block_b(scale: float = 0.1) -> ResidualBranches:
    """Figure 17, of 1088 instead of 1152 channels: (N, 1088, 17, 17) to the same."""
    return ResidualBranches(
        1088,
        scale,
        joined=384,
        branch0=BasicConv2d(1088, 192, kernel_size=1),
        branch1=path(1088, (128, 1), (160, (1, 7)), (192, (7, 1))),
    )


def reduction_b() -> Branches:
    """Figure 18: (N, 1088, 17, 17) to (N, 2080, 8, 8)."""
    return Branches(
        branch0=path(1088, (256, 1), (384, 3, 2)),
        branch1=path(1088, (256, 1), (288, 3, 2)),
        branch2=path(1088, (256, 1), (288, 3), (320, 3, 2)),
        branch3=nn.MaxPool2d(3, stride=2),
    )


def block_c(scale: float = 0.2, activation: bool = True) -> ResidualBranches:
    """Figure 19, of 2080 instead of 2144 channels: (N, 2080, 8, 8) to the same."""
    return ResidualBranches(
        2080,
        scale,
        joined=448,
        activation=activation,
        branch0=BasicConv2d(2080, 192, kernel_size=1),
        branch1=path(2080, (192, 1), (224, (1, 3)), (256, (3, 1))),
    )


class InceptionResNetV2(nn.Module):
    """Inception-ResNet v2; see :func:`inception_resnet_v2`."""

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.2,
        blocks: tuple[int, int, int] = (10, 20, 10),
    ) -> None:
        super().__init__()
        self.conv2d_1a = BasicConv2d(in_channels, 32, kernel_size=3, stride=2)
        self.conv2d_2a = BasicConv2d(32, 32, kernel_size=3)
        self.conv2d_2b = BasicConv2d(32, 64, kernel_size=3, padding=1)
        self.maxpool_3a = nn.MaxPool2d(3, stride=2)
        self.conv2d_3b = BasicConv2d(64, 80, kernel_size=1)
        self.conv2d_4a = BasicConv2d(80, 192, kernel_size=3)
        self.maxpool_5a = nn.MaxPool2d(3, stride=2)
        self.mixed_5b = mixed_5b()
        self.repeat = nn.Sequential(*[block_a() for _ in range(blocks[0])])
        self.mixed_6a = reduction_a()
        self.repeat_1 = nn.Sequential(*[block_b() for _ in range(blocks[1])])
        self.mixed_7a = reduction_b()
        self.repeat_2 = nn.Sequential(*[block_c() for _ in range(blocks[2] - 1)])
        self.block8 = block_c(scale=1.0, activation=False)
        self.conv2d_7b = BasicConv2d(2080, 1536, kernel_size=1)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(dropout)
        self.classif = nn.Linear(1536, num_classes)
        kaiming_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool_3a(self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(x))))
        x = self.maxpool_5a(self.conv2d_4a(self.conv2d_3b(x)))
        x = self.repeat(self.mixed_5b(x))
        x = self.repeat_1(self.mixed_6a(x))
        x = self.block8(self.repeat_2(self.mixed_7a(x)))
        x = self.avgpool(self.conv2d_7b(x)).flatten(1)
        return self.classif(self.dropout(x))


@register(input_shape=(3, 299, 299))
def inception_resnet_v2(
    num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.2, blocks: tuple[int, int, int] = (10, 20, 10)
) -> InceptionResNetV2:
    """Inception-ResNet v2: 55,843,464 parameters.

    ========================  ==============
    layers                    output
    ========================  ==============
    conv2d_1a, 2a, 2b         64 x 147 x 147
    maxpool_3a                64 x 73 x 73
    conv2d_3b, 4a             192 x 71 x 71
    maxpool_5a                192 x 35 x 35
    mixed_5b                  320 x 35 x 35
    10 blocks A (repeat)      320 x 35 x 35
    mixed_6a                  1088 x 17 x 17
    20 blocks B (repeat_1)    1088 x 17 x 17
    mixed_7a                  2080 x 8 x 8
    10 blocks C (repeat_2,    2080 x 8 x 8
    block8)
    conv2d_7b                 1536 x 8 x 8
    average, dropout, linear  num_classes
    ========================  ==============

    This is the network that the authors released, and that all know by this name; the keys are those under which PyTorch
    weights of it are usually published (timm). The paper's figure 15 has half as many blocks (5, 10, 5) behind Inception
    v4's stem, which gives 384 channels where this one has 320; hence the other widths further on. The last block adds its
    paths unscaled and has no ReLU, and conv2d_7b is not in the paper.

    Args:
        num_classes: number of outputs.
        in_channels: 3 for colour, 1 for grey images. They must have at least 75 x 75 pixels.
        dropout: probability; the paper keeps 0.8.
        blocks: how many of A, B and C; of C at least one.
    """
    return InceptionResNetV2(num_classes, in_channels, dropout, blocks)
