"""Network in network: small dense networks at every pixel, and no linear layer at the end.

What was new, and stayed in almost all networks since: the 1 x 1 convolution, which mixes channels without looking at neighbours; and
global average pooling, which reads one score per class off the last feature maps, has no parameters that could overfit, and makes
those maps pictures of where each class is seen.

Reference:
    Lin, Chen, Yan 2014, Network in network, sections 3 and 4. Widths as in the authors' published models.
"""

from __future__ import annotations

from numbanet import nn
from numbanet.models.registry import register
from numbanet.tensor import Tensor

__all__ = ["NiN", "mlpconv", "nin", "nin_cifar"]


def mlpconv(
    in_channels: int, widths: tuple[int, int, int], kernel_size: int, stride: int = 1, padding: int = 0
) -> list[nn.Module]:
    """A convolution to ``widths[0]`` channels and two 1 x 1 convolutions to the other widths, ReLU after each."""
    first, second, third = widths
    return [
        nn.Conv2d(in_channels, first, kernel_size, stride, padding), nn.ReLU(inplace=True),
        nn.Conv2d(first, second, kernel_size=1), nn.ReLU(inplace=True),
        nn.Conv2d(second, third, kernel_size=1), nn.ReLU(inplace=True),
    ]  # fmt: skip


class NiN(nn.Module):
    """Feature maps, of which the last are one per class, averaged to scores.

    Args:
        layers: modules that give (N, classes, H, W).
    """

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.avgpool(self.features(x)).flatten(1)


@register(input_shape=(3, 224, 224))
def nin(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> NiN:
    """Network in network for ImageNet: 7,595,176 parameters, images (N, 3, 224, 224) or of any size from 39.

    ====================================== =============
    block 11 x 11, stride 4                96 x 54 x 54
    max pooling 3 x 3, stride 2            96 x 27 x 27
    block 5 x 5, padding 2                 256 x 27 x 27
    max pooling                            256 x 13 x 13
    block 3 x 3, padding 1                 384 x 13 x 13
    max pooling, dropout                   384 x 6 x 6
    block 3 x 3, padding 1                 1024, 1024, 1000
    average over each channel              1000
    ====================================== =============

    Args:
        num_classes: number of outputs.
        in_channels: channels of the images.
        dropout: probability with which a number is dropped before the last block.
    """
    return NiN(
        *mlpconv(in_channels, (96, 96, 96), kernel_size=11, stride=4),
        nn.MaxPool2d(3, stride=2, ceil_mode=True),
        *mlpconv(96, (256, 256, 256), kernel_size=5, padding=2),
        nn.MaxPool2d(3, stride=2, ceil_mode=True),
        *mlpconv(256, (384, 384, 384), kernel_size=3, padding=1),
        nn.MaxPool2d(3, stride=2, ceil_mode=True),
        nn.Dropout(dropout),
        *mlpconv(384, (1024, 1024, num_classes), kernel_size=3, padding=1),
    )


@register(input_shape=(3, 32, 32))
def nin_cifar(num_classes: int = 10, in_channels: int = 3, dropout: float = 0.5) -> NiN:
    """Network in network for CIFAR-10: 966,986 parameters, images (N, 3, 32, 32) or of any size from 4.

    ========================================= =============
    block 5 x 5, padding 2                    192, 160, 96
    max pooling 3 x 3, stride 2, dropout      96 x 16 x 16
    block 5 x 5, padding 2                    192, 192, 192
    average pooling 3 x 3, stride 2, dropout  192 x 8 x 8
    block 3 x 3, padding 1                    192, 192, 10
    average over each channel                 10
    ========================================= =============

    Args:
        num_classes: number of outputs.
        in_channels: channels of the images.
        dropout: probability with which a number is dropped between the blocks.
    """
    return NiN(
        *mlpconv(in_channels, (192, 160, 96), kernel_size=5, padding=2),
        nn.MaxPool2d(3, stride=2, ceil_mode=True),
        nn.Dropout(dropout),
        *mlpconv(96, (192, 192, 192), kernel_size=5, padding=2),
        nn.AvgPool2d(3, stride=2, ceil_mode=True),
        nn.Dropout(dropout),
        *mlpconv(192, (192, 192, num_classes), kernel_size=3, padding=1),
    )
