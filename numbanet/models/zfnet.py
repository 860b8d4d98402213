"""ZFNet: AlexNet mended by looking into it; the best network of ImageNet's competition of 2013.

What was new: deconvolution pictures of what each feature map responds to. They showed that AlexNet's first layer had filters of very
high and very low frequency with little between, and its second layer artefacts of the first one's large stride. Hence 7 x 7 kernels
with stride 2 in place of 11 x 11 with stride 4; the rest stayed.

Reference:
    Zeiler, Fergus 2014, Visualizing and understanding convolutional networks, section 4.1 and figure 3.
"""

from __future__ import annotations

from numbanet import nn
from numbanet.models.registry import register
from numbanet.tensor import Tensor

__all__ = ["ZFNet", "zfnet"]


def _pool_and_normalize() -> list[nn.Module]:
    """Pooling, then "contrast normalized across feature maps": AlexNet's local response normalisation."""
    return [nn.MaxPool2d(kernel_size=3, stride=2, padding=1), nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2)]


class ZFNet(nn.Module):
    """ZFNet; see :func:`zfnet`."""

    def __init__(self, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 96, kernel_size=7, stride=2, padding=1), nn.ReLU(inplace=True),
            *_pool_and_normalize(),
            nn.Conv2d(96, 256, kernel_size=5, stride=2), nn.ReLU(inplace=True),
            *_pool_and_normalize(),
            nn.Conv2d(256, 384, kernel_size=3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(384, 384, kernel_size=3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, kernel_size=3, padding=1), nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
        )  # fmt: skip
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))  # changes nothing at 224 x 224, and lets other sizes in
        self.classifier = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(256 * 6 * 6, 4096), nn.ReLU(inplace=True),
            nn.Dropout(dropout), nn.Linear(4096, 4096), nn.ReLU(inplace=True),
            nn.Linear(4096, num_classes),
        )  # fmt: skip
        # The paper fills all weights with 0.01 times a normal number, with which eight layers take many epochs to wake up.
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


@register(input_shape=(3, 224, 224))
def zfnet(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> ZFNet:
    """ZFNet: 62,357,608 parameters, images (N, 3, 224, 224) or of any size from 53.

    ======================================== ==============
    convolution 7 x 7, stride 2, padding 1   96 x 110 x 110
    max pooling 3 x 3, stride 2              96 x 55 x 55
    convolution 5 x 5, stride 2              256 x 26 x 26
    max pooling                              256 x 13 x 13
    three convolutions 3 x 3, padding 1      384, 384, 256
    max pooling                              256 x 6 x 6
    linear, with dropout before them         4096, 4096
    linear                                   1000
    ======================================== ==============

    Args:
        num_classes: number of outputs.
        in_channels: channels of the images.
        dropout: probability with which a number is dropped before the first two linear layers.
    """
    return ZFNet(num_classes, in_channels, dropout)
