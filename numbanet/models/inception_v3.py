"""Inception v3: convolutions taken apart.

Szegedy, Vanhoucke, Ioffe, Shlens, Wojna 2016, Rethinking the Inception architecture for computer vision.

New in it: large windows are factorised, 5 x 5 into two of 3 x 3, and n x n into 1 x n and n x 1 behind each other; maps shrink
by convolution and pooling side by side, so that no layer is a bottleneck; the last blocks fan out instead of growing deeper;
labels are smoothed (``nn.CrossEntropyLoss(label_smoothing=0.1)``); and the one auxiliary classifier that is left has batch
normalisation, which makes it a regulariser.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numbanet import nn
from numbanet.functional import cat
from numbanet.models.inception import BasicConv2d, check_transform_input, to_half_range
from numbanet.models.registry import register
from numbanet.nn import functional as F
from numbanet.tensor import Tensor


class InceptionOutputs(NamedTuple):
    """What Inception v3 gives in training, each (N, num_classes). ``train.AuxiliaryLoss`` takes it whole."""

    logits: Tensor
    aux_logits: Tensor

    @property
    def aux_weight(self) -> float:
        """How much the auxiliary loss counts, as in the authors' own training."""
        return 0.4


class InceptionA(nn.Module):
    """Figure 5 of the paper: (N, C, H, W) to (N, 224 + pool_features, H, W)."""

    def __init__(self, in_channels: int, pool_features: int) -> None:
        super().__init__()
        self.branch1x1 = BasicConv2d(in_channels, 64, kernel_size=1)
        self.branch5x5_1 = BasicConv2d(in_channels, 48, kernel_size=1)
        self.branch5x5_2 = BasicConv2d(48, 64, kernel_size=5, padding=2)
        self.branch3x3dbl_1 = BasicConv2d(in_channels, 64, kernel_size=1)
        self.branch3x3dbl_2 = BasicConv2d(64, 96, kernel_size=3, padding=1)
        self.branch3x3dbl_3 = BasicConv2d(96, 96, kernel_size=3, padding=1)
        self.branch_pool = BasicConv2d(in_channels, pool_features, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.branch1x1(x)
        five = self.branch5x5_2(self.branch5x5_1(x))
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        pool = self.branch_pool(F.avg_pool2d(x, 3, stride=1, padding=1))
        return cat([one, five, double, pool], dim=1)


class InceptionB(nn.Module):
    """Figure 10, to half the size: (N, C, H, W) to (N, 480 + C, (H - 1) // 2, (W - 1) // 2)."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch3x3 = BasicConv2d(in_channels, 384, kernel_size=3, stride=2)
        self.branch3x3dbl_1 = BasicConv2d(in_channels, 64, kernel_size=1)
        self.branch3x3dbl_2 = BasicConv2d(64, 96, kernel_size=3, padding=1)
        self.branch3x3dbl_3 = BasicConv2d(96, 96, kernel_size=3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3(x)
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return cat([three, double, F.max_pool2d(x, 3, stride=2)], dim=1)


class InceptionC(nn.Module):
    """Figure 6 with n = 7: (N, C, H, W) to (N, 768, H, W), c7 channels inside."""

    def __init__(self, in_channels: int, channels_7x7: int) -> None:
        super().__init__()
        c7, wide, tall = (
            channels_7x7,
            {"kernel_size": (1, 7), "padding": (0, 3)},
            {"kernel_size": (7, 1), "padding": (3, 0)},
        )
        self.branch1x1 = BasicConv2d(in_channels, 192, kernel_size=1)
        self.branch7x7_1 = BasicConv2d(in_channels, c7, kernel_size=1)
        self.branch7x7_2 = BasicConv2d(c7, c7, **wide)
        self.branch7x7_3 = BasicConv2d(c7, 192, **tall)
        self.branch7x7dbl_1 = BasicConv2d(in_channels, c7, kernel_size=1)
        self.branch7x7dbl_2 = BasicConv2d(c7, c7, **tall)
        self.branch7x7dbl_3 = BasicConv2d(c7, c7, **wide)
        self.branch7x7dbl_4 = BasicConv2d(c7, c7, **tall)
        self.branch7x7dbl_5 = BasicConv2d(c7, 192, **wide)
        self.branch_pool = BasicConv2d(in_channels, 192, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.branch1x1(x)
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        pool = self.branch_pool(F.avg_pool2d(x, 3, stride=1, padding=1))
        return cat([one, seven, double, pool], dim=1)


class InceptionD(nn.Module):
    """To half the size again: (N, C, H, W) to (N, 512 + C, (H - 1) // 2, (W - 1) // 2)."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch3x3_1 = BasicConv2d(in_channels, 192, kernel_size=1)
        self.branch3x3_2 = BasicConv2d(192, 320, kernel_size=3, stride=2)
        self.branch7x7x3_1 = BasicConv2d(in_channels, 192, kernel_size=1)
        self.branch7x7x3_2 = BasicConv2d(192, 192, kernel_size=(1, 7), padding=(0, 3))
        self.branch7x7x3_3 = BasicConv2d(192, 192, kernel_size=(7, 1), padding=(3, 0))
        self.branch7x7x3_4 = BasicConv2d(192, 192, kernel_size=3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_2(self.branch3x3_1(x))
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return cat([three, seven, F.max_pool2d(x, 3, stride=2)], dim=1)


class InceptionE(nn.Module):
    """Figure 7, paths that fan out: (N, C, H, W) to (N, 2048, H, W)."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch1x1 = BasicConv2d(in_channels, 320, kernel_size=1)
        self.branch3x3_1 = BasicConv2d(in_channels, 384, kernel_size=1)
        self.branch3x3_2a = BasicConv2d(384, 384, kernel_size=(1, 3), padding=(0, 1))
        self.branch3x3_2b = BasicConv2d(384, 384, kernel_size=(3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = BasicConv2d(in_channels, 448, kernel_size=1)
        self.branch3x3dbl_2 = BasicConv2d(448, 384, kernel_size=3, padding=1)
        self.branch3x3dbl_3a = BasicConv2d(384, 384, kernel_size=(1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = BasicConv2d(384, 384, kernel_size=(3, 1), padding=(1, 0))
        self.branch_pool = BasicConv2d(in_channels, 192, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.branch1x1(x)
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pool = self.branch_pool(F.avg_pool2d(x, 3, stride=1, padding=1))
        fans = [self.branch3x3_2a(three), self.branch3x3_2b(three)]
        fans += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)]
        return cat([one, *fans, pool], dim=1)


class InceptionAux(nn.Module):
    """The auxiliary classifier, (N, 768, H, W) to (N, num_classes); H and W at least 17."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv0 = BasicConv2d(in_channels, 128, kernel_size=1)
        self.conv1 = BasicConv2d(128, 768, kernel_size=5)
        self.fc = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        if min(x.shape[2:]) < 17:
            raise ValueError(
                f"inception_v3: the auxiliary classifier needs maps of at least 17 x 17, which images of 299 x 299 give, and "
                f"got {tuple(x.shape)}; aux_logits=False does without it"
            )
        x = self.conv1(self.conv0(F.avg_pool2d(x, 5, stride=3)))  # 17 x 17, 5 x 5, 1 x 1
        return self.fc(F.adaptive_avg_pool2d(x, (1, 1)).flatten(1))


class Inception3(nn.Module):
    """Inception v3; see :func:`inception_v3`."""

    def __init__(
        self,
        num_classes: int = 1000,
        aux_logits: bool = True,
        transform_input: bool = False,
        init_weights: bool = True,
        dropout: float = 0.5,
        *,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        check_transform_input("Inception3", transform_input, in_channels)
        self.aux_logits, self.transform_input = aux_logits, transform_input

        self.Conv2d_1a_3x3 = BasicConv2d(in_channels, 32, kernel_size=3, stride=2)
        self.Conv2d_2a_3x3 = BasicConv2d(32, 32, kernel_size=3)
        self.Conv2d_2b_3x3 = BasicConv2d(32, 64, kernel_size=3, padding=1)
        self.maxpool1 = nn.MaxPool2d(3, stride=2)
        self.Conv2d_3b_1x1 = BasicConv2d(64, 80, kernel_size=1)
        self.Conv2d_4a_3x3 = BasicConv2d(80, 192, kernel_size=3)
        self.maxpool2 = nn.MaxPool2d(3, stride=2)

        self.Mixed_5b = InceptionA(192, pool_features=32)
        self.Mixed_5c = InceptionA(256, pool_features=64)
        self.Mixed_5d = InceptionA(288, pool_features=64)
        self.Mixed_6a = InceptionB(288)
        self.Mixed_6b = InceptionC(768, channels_7x7=128)
        self.Mixed_6c = InceptionC(768, channels_7x7=160)
        self.Mixed_6d = InceptionC(768, channels_7x7=160)
        self.Mixed_6e = InceptionC(768, channels_7x7=192)
        if aux_logits:
            self.AuxLogits = InceptionAux(768, num_classes)
        self.Mixed_7a = InceptionD(768)
        self.Mixed_7b = InceptionE(1280)
        self.Mixed_7c = InceptionE(2048)

        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(2048, num_classes)

        if init_weights:
            small = {"AuxLogits.conv1.conv": 0.01, "AuxLogits.fc": 0.001}
            for name, layer in self.named_modules():
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    nn.init.trunc_normal_(layer.weight, std=small.get(name, 0.1))

    def forward(self, x: Tensor) -> Tensor | InceptionOutputs:
        head = self.aux_logits and self.training
        if self.transform_input:
            x = to_half_range(x)
        x = self.maxpool1(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))))
        x = self.maxpool2(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        aux: Any = self.AuxLogits(x) if head else None
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        x = self.fc(self.dropout(self.avgpool(x)).flatten(1))
        return InceptionOutputs(x, aux) if head else x


@register(input_shape=(3, 299, 299))
def inception_v3(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Inception3:
    """Inception v3: 27,161,264 parameters, of which the auxiliary classifier has 3,326,696.

    ======================================  ==============
    layers                                  output
    ======================================  ==============
    Conv2d_1a_3x3, 2a_3x3, 2b_3x3           64 x 147 x 147
    maxpool1                                64 x 73 x 73
    Conv2d_3b_1x1, 4a_3x3                   192 x 71 x 71
    maxpool2                                192 x 35 x 35
    Mixed_5b, 5c, 5d                        288 x 35 x 35
    Mixed_6a ... 6e                         768 x 17 x 17
    Mixed_7a                                1280 x 8 x 8
    Mixed_7b, 7c                            2048 x 8 x 8
    average, dropout, linear                num_classes
    ======================================  ==============

    Layers and keys are torchvision's, which are the authors' released network. The paper's table 1 has a first stage of
    other widths.

    Args:
        num_classes: number of outputs.
        in_channels: 3 for colour, 1 for grey images.
        options: ``aux_logits=True``: in training, give :class:`InceptionOutputs` with the auxiliary classifier's scores, else
            scores alone; ``transform_input=False``: take images normalised by ImageNet's mean and deviation as if by 0.5 and
            0.5; ``dropout=0.5``; ``init_weights=True``: draw weights from a normal distribution of deviation 0.1, truncated
            at 2.

    Raises:
        ValueError: for ``transform_input`` with other than 3 channels; in training, for images below 299 x 299 with
            ``aux_logits`` (without, 75 x 75 will do).
    """
    return Inception3(num_classes, in_channels=in_channels, **options)
