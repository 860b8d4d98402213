"""LeNet, and LeNet with batch normalisation, for images of 28 x 28 pixels.

Reference:
    LeCun, Bottou, Bengio, Haffner 1998, Gradient-based learning applied to document recognition, section II (LeNet-5,
    here without its Gaussian connections, with plain average pooling).
"""

from __future__ import annotations

from numbanet import nn
from numbanet.models.registry import NOTES, register


@register(input_shape=(1, 28, 28), prefix=NOTES, lr=0.9, batch_size=256)
def lenet(num_classes: int = 10) -> nn.Sequential:
    """LeNet-5 with sigmoids and average pooling: 61,706 parameters, images (N, 1, 28, 28).

    Args:
        num_classes: number of outputs.
    """
    return nn.Sequential(
        nn.Conv2d(1, 6, kernel_size=5, padding=2),
        nn.Sigmoid(),
        nn.AvgPool2d(kernel_size=2, stride=2),
        nn.Conv2d(6, 16, kernel_size=5),
        nn.Sigmoid(),
        nn.AvgPool2d(kernel_size=2, stride=2),
        nn.Flatten(),
        nn.Linear(16 * 5 * 5, 120),
        nn.Sigmoid(),
        nn.Linear(120, 84),
        nn.Sigmoid(),
        nn.Linear(84, num_classes),
    )


@register(input_shape=(1, 28, 28), prefix=NOTES, lr=1.0, batch_size=256)
def lenet_bn(num_classes: int = 10) -> nn.Sequential:
    """LeNet with batch normalisation, no padding, and max pooling: 44,878 parameters, images (N, 1, 28, 28).

    Args:
        num_classes: number of outputs.

    Reference:
        Ioffe, Szegedy 2015, Batch normalization, section 3.
    """
    return nn.Sequential(
        nn.Conv2d(1, 6, kernel_size=5),
        nn.BatchNorm2d(6),
        nn.Sigmoid(),
        nn.MaxPool2d(kernel_size=2, stride=2),
        nn.Conv2d(6, 16, kernel_size=5),
        nn.BatchNorm2d(16),
        nn.Sigmoid(),
        nn.MaxPool2d(kernel_size=2, stride=2),
        nn.Flatten(),
        nn.Linear(16 * 4 * 4, 120),
        nn.BatchNorm1d(120),
        nn.Sigmoid(),
        nn.Linear(120, 84),
        nn.BatchNorm1d(84),
        nn.Sigmoid(),
        nn.Linear(84, num_classes),
    )
