"""MobileNet: a network of depthwise separable convolutions.

New in it: every convolution but the first is made in two steps, a 3 x 3 kernel for each channel by itself, then a 1 x
1 convolution across channels, an eighth to a ninth of the work; and two numbers trade accuracy for work. The width
multiplier thins all layers; the resolution multiplier is the size of the images.

Reference:
    A. Howard, M. Zhu, B. Chen, D. Kalenichenko, W. Wang, T. Weyand, M. Andreetto, H. Adam, "MobileNets: efficient
    convolutional neural networks for mobile vision applications" (2017), section 3 and table 1.
"""

from __future__ import annotations

from typing import Any

from numbanet import nn
from numbanet.models.mobile import make_divisible, reset_weights
from numbanet.models.registry import register
from numbanet.tensor import Tensor

# (channels, stride) of each depthwise separable convolution.
_TABLE = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]


class MobileNetV1(nn.Module):
    """The network of table 1; see the module's documentation.

    Args:
        num_classes: number of results.
        width_mult: the paper's alpha; channels are rounded to multiples of 8.
        in_channels: C.

    Shape:
        (N, C, H, W) gives (N, num_classes), for images of any size.

    Raises:
        ValueError: for a width multiplier that is not positive.
    """

    def __init__(self, num_classes: int = 1000, width_mult: float = 1.0, *, in_channels: int = 3) -> None:
        super().__init__()
        if not width_mult > 0:
            raise ValueError(f"MobileNetV1: width_mult must be positive, got {width_mult}")
        channels = make_divisible(32 * width_mult)
        layers: list[nn.Module] = [nn.Conv2dNormActivation(in_channels, channels, 3, stride=2)]
        for wanted, stride in _TABLE:
            out_channels = make_divisible(wanted * width_mult)
            layers.append(
                nn.Sequential(
                    nn.Conv2dNormActivation(channels, channels, 3, stride, groups=channels),
                    nn.Conv2dNormActivation(channels, out_channels, 1),
                )
            )
            channels = out_channels
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, num_classes)
        reset_weights(self, lambda weight: nn.init.normal_(weight, 0, 0.01))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


@register(input_shape=(3, 224, 224))
def mobilenet_v1(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> MobileNetV1:
    """MobileNet, of depthwise separable convolutions: 4,231,976 parameters.

    Shapes for images of 224 x 224::

        conv 3x3 / 2                        32 x 112 x 112
        separable                           64 x 112 x 112
        separable / 2, separable            128 x 56 x 56
        separable / 2, separable            256 x 28 x 28
        separable / 2, 5 separable          512 x 14 x 14
        separable / 2, separable            1024 x 7 x 7
        average, linear                     1000

    The paper's table 7 has images of 224, 192, 160 and 128 pixels: 569, 418, 290 and 186 million multiply-adds.

    Args:
        num_classes: number of classes.
        in_channels: channels of the images.
        options: ``width_mult``, in the paper 1, 0.75, 0.5 or 0.25: 4.2, 2.6, 1.3 or 0.5 million parameters.
    """
    return MobileNetV1(num_classes, in_channels=in_channels, **options)
