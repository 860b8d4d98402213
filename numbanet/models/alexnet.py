"""AlexNet, which won ImageNet's competition of 2012 and began the age of deep networks.

What was new: ReLU, which let a network of eight layers learn several times faster than tanh; dropout; and training on GPUs. The
network here is Krizhevsky's own later form for one GPU, which PyTorch's users know as AlexNet. The first form was split over two
GPUs, whose halves met in some layers only (a convolution with ``groups=2``), had 96, 256, 384, 384 and 256 channels, and local
response normalisation after the first two convolutions (``nn.LocalResponseNorm(5, 1e-4, 0.75, 2)``); ``models.zfnet`` still has it.

Reference:
    Krizhevsky, Sutskever, Hinton 2012, ImageNet classification with deep convolutional neural networks.
    Krizhevsky 2014, One weird trick for parallelizing convolutional neural networks.
"""

from __future__ import annotations

from numbanet import nn
from numbanet.models.registry import register
from numbanet.tensor import Tensor

__all__ = ["AlexNet", "alexnet"]


class AlexNet(nn.Module):
    """AlexNet; see :func:`alexnet`."""

    def __init__(self, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 64, kernel_size=11, stride=4, padding=2), nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(64, 192, kernel_size=5, padding=2), nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(192, 384, kernel_size=3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, kernel_size=3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, kernel_size=3, padding=1), nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
        )  # fmt: skip
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))  # changes nothing at 224 x 224, and lets other sizes in
        self.classifier = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(256 * 6 * 6, 4096), nn.ReLU(inplace=True),
            nn.Dropout(dropout), nn.Linear(4096, 4096), nn.ReLU(inplace=True),
            nn.Linear(4096, num_classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


@register(input_shape=(3, 224, 224))
def alexnet(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> AlexNet:
    """AlexNet for one GPU: 61,100,840 parameters, images (N, 3, 224, 224) or of any size from 63.

    ========================================== ==============
    convolution 11 x 11, stride 4, padding 2   64 x 55 x 55
    max pooling 3 x 3, stride 2                64 x 27 x 27
    convolution 5 x 5, padding 2               192 x 27 x 27
    max pooling                                192 x 13 x 13
    three convolutions 3 x 3, padding 1        384, 256, 256
    max pooling                                256 x 6 x 6
    linear, with dropout before them           4096, 4096
    linear                                     1000
    ========================================== ==============

    Args:
        num_classes: number of outputs.
        in_channels: channels of the images.
        dropout: probability with which a number is dropped before the first two linear layers.
    """
    return AlexNet(num_classes, in_channels, dropout)
