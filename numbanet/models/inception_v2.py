"""Inception v2, also known as BN-Inception: the network in which batch normalisation was introduced.

Ioffe, Szegedy 2015, Batch normalization: accelerating deep network training by reducing internal covariate shift.

New in it: batch normalisation before every nonlinearity, which allowed a learning rate thirty times GoogLeNet's and made dropout
and local response normalisation superfluous. The 5 x 5 windows became two 3 x 3 ones in a row; average pooling appears inside
blocks; and where maps shrink, blocks of stride 2 do it, without pooling between blocks.
"""

from __future__ import annotations

from numbanet import nn
from numbanet.models.inception import BasicConv2d, Branches, kaiming_weights, path
from numbanet.models.registry import register
from numbanet.tensor import Tensor

# Figure 5 of the paper, line by line: channels of 1 x 1; of 3 x 3, reduced and full; of the double 3 x 3, reduced and full;
# kind of pooling, and its projection. No 1 x 1 and no projection means stride 2.
_BLOCKS = {
    "inception3a": (64, (64, 64), (64, 96), "avg", 32),
    "inception3b": (64, (64, 96), (64, 96), "avg", 64),
    "inception3c": (0, (128, 160), (64, 96), "max", 0),
    "inception4a": (224, (64, 96), (96, 128), "avg", 128),
    "inception4b": (192, (96, 128), (96, 128), "avg", 128),
    "inception4c": (160, (128, 160), (128, 160), "avg", 128),
    "inception4d": (96, (128, 192), (160, 192), "avg", 128),
    "inception4e": (0, (128, 192), (192, 256), "max", 0),
    "inception5a": (352, (192, 320), (160, 224), "avg", 128),
    "inception5b": (352, (192, 320), (192, 224), "max", 128),
}


def inception_block(
    in_channels: int, one: int, three: tuple[int, int], double: tuple[int, int], pool: str, projection: int
) -> Branches:
    """A block of figure 5: up to four paths, (N, C, H, W) to (N, one + three[1] + double[1] + projection, H, W).

    Without ``one`` and ``projection`` it halves H and W, and the pooled input passes through: (N, three[1] + double[1] + C,
    H / 2, W / 2).
    """
    branches: dict[str, nn.Module] = {}
    if not one:
        branches["branch3x3"] = path(in_channels, (three[0], 1), (three[1], 3, 2, 1))
        branches["branch3x3dbl"] = path(in_channels, (double[0], 1), (double[1], 3), (double[1], 3, 2, 1))
        branches["branch_pool"] = nn.MaxPool2d(3, stride=2, padding=1)
        return Branches(**branches)
    pooling = (nn.AvgPool2d if pool == "avg" else nn.MaxPool2d)(3, stride=1, padding=1)
    branches["branch1x1"] = BasicConv2d(in_channels, one, kernel_size=1)
    branches["branch3x3"] = path(in_channels, (three[0], 1), (three[1], 3))
    branches["branch3x3dbl"] = path(in_channels, (double[0], 1), (double[1], 3), (double[1], 3))
    branches["branch_pool"] = nn.Sequential(pooling, BasicConv2d(in_channels, projection, kernel_size=1))
    return Branches(**branches)


class InceptionV2(nn.Module):
    """BN-Inception; see :func:`inception_v2`."""

    def __init__(self, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential()
        self.features.add_module("conv1", BasicConv2d(in_channels, 64, kernel_size=7, stride=2, padding=3))
        self.features.add_module("maxpool1", nn.MaxPool2d(3, stride=2, padding=1))
        self.features.add_module("conv2", BasicConv2d(64, 64, kernel_size=1))
        self.features.add_module("conv3", BasicConv2d(64, 192, kernel_size=3, padding=1))
        self.features.add_module("maxpool2", nn.MaxPool2d(3, stride=2, padding=1))
        channels = 192
        for name, (one, three, double, pool, projection) in _BLOCKS.items():
            self.features.add_module(name, inception_block(channels, one, three, double, pool, projection))
            channels = one + three[1] + double[1] + (projection or channels)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(channels, num_classes)
        kaiming_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.avgpool(self.features(x)).flatten(1))


@register(input_shape=(3, 224, 224))
def inception_v2(num_classes: int = 1000, in_channels: int = 3) -> InceptionV2:
    """Inception v2 (BN-Inception): 11,285,224 parameters.

    ======================  ==============
    layers                  output
    ======================  ==============
    conv1                   64 x 112 x 112
    maxpool1                64 x 56 x 56
    conv2, conv3            192 x 56 x 56
    maxpool2                192 x 28 x 28
    inception3a, 3b         320 x 28 x 28
    inception3c             576 x 14 x 14
    inception4a, 4b         576 x 14 x 14
    inception4c, 4d         608 x 14 x 14
    inception4e             1056 x 7 x 7
    inception5a, 5b         1024 x 7 x 7
    average, linear         num_classes
    ======================  ==============

    The channels are those of the paper's figure 5, as in the published weights of "BN-Inception" (which have biases before
    their batch normalisations, 10,016 numbers more: 11,295,240). The figure contradicts itself: its columns add up to 608
    channels for 4c and 4d and 1056 for 4e, its column of output sizes says 576 and 1024. The authors' later code follows the
    latter, with 96 instead of 128 channels behind the pooling of 4c and 4d. The figure's first convolution is a separable
    one; here, as in most versions, it is an ordinary one. Pooling goes with padding 1, so that sizes halve exactly.

    Other texts call the network of the third Inception paper's section 6 "Inception v2"; see ``inception_v3``.

    Args:
        num_classes: number of outputs.
        in_channels: 3 for colour, 1 for grey images.
    """
    return InceptionV2(num_classes, in_channels)
