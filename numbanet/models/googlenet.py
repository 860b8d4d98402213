"""GoogLeNet: blocks of parallel paths.

Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke, Rabinovich 2015, Going deeper with convolutions.

New in it: the Inception block, which looks at its input through windows of several sizes side by side and lets training
decide how much each counts; 1 x 1 convolutions that make channels few before the large windows; a global average in place of
large fully connected layers, so that 22 layers have a twelfth of the parameters of AlexNet's 8; and two auxiliary
classifiers on inner layers, which bring a gradient to the early ones and are gone after training.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numbanet import nn
from numbanet.models.inception import BasicConv2d, Branches, check_transform_input, path, to_half_range
from numbanet.models.registry import register
from numbanet.nn import functional as F
from numbanet.tensor import Tensor


class GoogLeNetOutputs(NamedTuple):
    """What GoogLeNet gives in training, each (N, num_classes). ``train.AuxiliaryLoss`` takes it whole."""

    logits: Tensor
    aux_logits2: Tensor
    aux_logits1: Tensor

    @property
    def aux_weight(self) -> float:
        """How much each auxiliary loss counts: the paper's section 5."""
        return 0.3


class Inception(Branches):
    """An Inception block (figure 2b of the paper), (N, C, H, W) to (N, c1 + c2[1] + c3[1] + c4, H, W).

    Args:
        in_channels: C.
        c1: channels of the 1 x 1 convolution.
        c2: channels of the 1 x 1 convolution and of the 3 x 3 one after it.
        c3: channels of the 1 x 1 convolution and of the large one after it.
        c4: channels of the 1 x 1 convolution behind the max pooling.
        large: size of the large window.
    """

    def __init__(
        self, in_channels: int, c1: int, c2: tuple[int, int], c3: tuple[int, int], c4: int, large: int = 3
    ) -> None:
        super().__init__(
            branch1=BasicConv2d(in_channels, c1, kernel_size=1),
            branch2=path(in_channels, (c2[0], 1), (c2[1], 3)),
            branch3=path(in_channels, (c3[0], 1), (c3[1], large)),
            branch4=nn.Sequential(
                nn.MaxPool2d(kernel_size=3, stride=1, padding=1), BasicConv2d(in_channels, c4, kernel_size=1)
            ),
        )


class InceptionAux(nn.Module):
    """An auxiliary classifier, (N, C, H, W) to (N, num_classes)."""

    def __init__(self, in_channels: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.conv = BasicConv2d(in_channels, 128, kernel_size=1)
        self.fc1 = nn.Linear(2048, 1024)
        self.fc2 = nn.Linear(1024, num_classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(F.adaptive_avg_pool2d(x, (4, 4)))  # (N, 128, 4, 4)
        x = F.relu(self.fc1(x.flatten(1)))
        return self.fc2(self.dropout(x))


class GoogLeNet(nn.Module):
    """GoogLeNet with batch normalisation, which the paper, a few months older, lacks; see :func:`googlenet`."""

    def __init__(
        self,
        num_classes: int = 1000,
        aux_logits: bool = True,
        transform_input: bool = False,
        init_weights: bool = True,
        dropout: float = 0.2,
        dropout_aux: float = 0.7,
        *,
        in_channels: int = 3,
        large: int = 3,
    ) -> None:
        super().__init__()
        check_transform_input("GoogLeNet", transform_input, in_channels)
        self.aux_logits, self.transform_input = aux_logits, transform_input

        self.conv1 = BasicConv2d(in_channels, 64, kernel_size=7, stride=2, padding=3)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2 = BasicConv2d(64, 64, kernel_size=1)
        self.conv3 = BasicConv2d(64, 192, kernel_size=3, padding=1)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)

        self.inception3a = Inception(192, 64, (96, 128), (16, 32), 32, large)
        self.inception3b = Inception(256, 128, (128, 192), (32, 96), 64, large)
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)

        self.inception4a = Inception(480, 192, (96, 208), (16, 48), 64, large)
        self.inception4b = Inception(512, 160, (112, 224), (24, 64), 64, large)
        self.inception4c = Inception(512, 128, (128, 256), (24, 64), 64, large)
        self.inception4d = Inception(512, 112, (144, 288), (32, 64), 64, large)
        self.inception4e = Inception(528, 256, (160, 320), (32, 128), 128, large)
        self.maxpool4 = nn.MaxPool2d(2, stride=2, ceil_mode=True)

        self.inception5a = Inception(832, 256, (160, 320), (32, 128), 128, large)
        self.inception5b = Inception(832, 384, (192, 384), (48, 128), 128, large)

        if aux_logits:
            self.aux1 = InceptionAux(512, num_classes, dropout_aux)
            self.aux2 = InceptionAux(528, num_classes, dropout_aux)

        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(1024, num_classes)

        if init_weights:
            for layer in self.modules():
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    nn.init.trunc_normal_(layer.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor | GoogLeNetOutputs:
        heads = self.aux_logits and self.training
        if self.transform_input:
            x = to_half_range(x)
        x = self.maxpool1(self.conv1(x))
        x = self.maxpool2(self.conv3(self.conv2(x)))
        x = self.maxpool3(self.inception3b(self.inception3a(x)))
        x = self.inception4a(x)
        aux1: Any = self.aux1(x) if heads else None
        x = self.inception4d(self.inception4c(self.inception4b(x)))
        aux2: Any = self.aux2(x) if heads else None
        x = self.maxpool4(self.inception4e(x))
        x = self.inception5b(self.inception5a(x))
        x = self.fc(self.dropout(self.avgpool(x).flatten(1)))
        return GoogLeNetOutputs(x, aux2, aux1) if heads else x


@register(input_shape=(3, 224, 224))
def googlenet(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> GoogLeNet:
    """GoogLeNet: 13,004,888 parameters, of which the auxiliary classifiers have 6,379,984.

    ======================  ==============  ==========================
    layers                  output          then
    ======================  ==============  ==========================
    conv1, maxpool1         64 x 56 x 56
    conv2, conv3, maxpool2  192 x 28 x 28
    inception3a, 3b         480 x 28 x 28   maxpool3: 14 x 14
    inception4a ... 4e      832 x 14 x 14   maxpool4: 7 x 7
    inception5a, 5b         1024 x 7 x 7    average, dropout, linear
    ======================  ==============  ==========================

    Layers, keys and numbers are torchvision's, and differ from the paper in two things: each convolution is followed by
    batch normalisation in place of a bias, and the windows of 5 x 5 are 3 x 3. ``large=5`` has the paper's windows.

    Args:
        num_classes: number of outputs.
        in_channels: 3 for colour, 1 for grey images.
        options: ``aux_logits=True``: in training, give :class:`GoogLeNetOutputs` with the auxiliary classifiers' scores,
            else scores alone; ``transform_input=False``: take images normalised by ImageNet's mean and deviation as if by
            0.5 and 0.5; ``dropout=0.2``, ``dropout_aux=0.7``; ``large=3``; ``init_weights=True``: draw weights from a
            normal distribution of deviation 0.01, truncated at 2.

    Raises:
        ValueError: for ``transform_input`` with other than 3 channels.
    """
    return GoogLeNet(num_classes, in_channels=in_channels, **options)
