"""The course notes' networks, as the notes write them: for Fashion-MNIST, grey images in ten classes.

    from numbanet import models, train
    from numbanet.train import notes as d2l

    net = models.notes.resnet18()
    train_iter, test_iter = d2l.load_data_fashion_mnist(256, resize=96)
    d2l.train_ch6(net, train_iter, test_iter, 10, 0.05, d2l.try_gpu())

Layers, widths, biases and the order of things are the notes'. They are smaller than the papers' networks, which have the same
names directly in ``numbanet.models``, and differ in detail: AlexNet's first convolution pads by 1, GoogLeNet has no
auxiliary classifiers, VGG-11 a quarter of the channels. Each is registered with the notes' learning rate, batch size and
resolution, under its name with the prefix "notes.".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numbanet import nn
from numbanet.functional import cat
from numbanet.models.registry import NOTES, register
from numbanet.nn.fused import norm_relu, then_relu

__all__ = [
    "DenseBlock",
    "Inception",
    "Reshape",
    "Residual",
    "alexnet",
    "conv_block",
    "densenet",
    "googlenet",
    "lenet",
    "lenet_bn",
    "nin",
    "nin_block",
    "resnet18",
    "resnet_block",
    "transition_block",
    "vgg",
    "vgg11",
    "vgg_block",
]


# ------------------------------------------------------------------------------------------------------------- LeNet


class Reshape(nn.Module):
    """Images (N, 1, 28, 28) from any tensor of N * 784 elements: ``nn.Sequential(Reshape(), *lenet())`` takes flat ones."""

    def forward(self, x: Any) -> Any:
        return x.view(-1, 1, 28, 28)


@register(input_shape=(1, 28, 28), prefix=NOTES, lr=0.9, batch_size=256)
def lenet(num_classes: int = 10, in_channels: int = 1) -> nn.Sequential:
    """LeNet with sigmoids and average pooling: 61,706 parameters, images (N, 1, 28, 28).

    ============================ ============
    convolution 5 x 5, padding 2 6 x 28 x 28
    average pooling              6 x 14 x 14
    convolution 5 x 5            16 x 10 x 10
    average pooling              16 x 5 x 5
    linear                       120, 84, 10
    ============================ ============

    Reference:
        LeCun, Bottou, Bengio, Haffner 1998, Gradient-based learning applied to document recognition, section II. What the
        paper has and this has not is in ``models.lenet5``.
    """
    return nn.Sequential(
        nn.Conv2d(in_channels, 6, kernel_size=5, padding=2), nn.Sigmoid(),
        nn.AvgPool2d(kernel_size=2, stride=2),
        nn.Conv2d(6, 16, kernel_size=5), nn.Sigmoid(),
        nn.AvgPool2d(kernel_size=2, stride=2),
        nn.Flatten(),
        nn.Linear(16 * 5 * 5, 120), nn.Sigmoid(),
        nn.Linear(120, 84), nn.Sigmoid(),
        nn.Linear(84, num_classes),
    )  # fmt: skip


@register(input_shape=(1, 28, 28), prefix=NOTES, lr=1.0, batch_size=256)
def lenet_bn(num_classes: int = 10, in_channels: int = 1) -> nn.Sequential:
    """LeNet with batch normalisation, max pooling and no padding: 44,878 parameters, images (N, 1, 28, 28).

    ================= ============
    convolution 5 x 5 6 x 24 x 24
    max pooling       6 x 12 x 12
    convolution 5 x 5 16 x 8 x 8
    max pooling       16 x 4 x 4
    linear            120, 84, 10
    ================= ============

    Reference:
        Ioffe, Szegedy 2015, Batch normalization, section 3.
    """
    return nn.Sequential(
        nn.Conv2d(in_channels, 6, kernel_size=5), nn.BatchNorm2d(6), nn.Sigmoid(),
        nn.MaxPool2d(kernel_size=2, stride=2),
        nn.Conv2d(6, 16, kernel_size=5), nn.BatchNorm2d(16), nn.Sigmoid(),
        nn.MaxPool2d(kernel_size=2, stride=2),
        nn.Flatten(),
        nn.Linear(16 * 4 * 4, 120), nn.BatchNorm1d(120), nn.Sigmoid(),
        nn.Linear(120, 84), nn.BatchNorm1d(84), nn.Sigmoid(),
        nn.Linear(84, num_classes),
    )  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- AlexNet


@register(input_shape=(1, 224, 224), prefix=NOTES, lr=0.01, batch_size=128)
def alexnet(num_classes: int = 10, in_channels: int = 1) -> nn.Sequential:
    """AlexNet: 46,764,746 parameters, images (N, 1, 224, 224).

    ========================================== =============
    convolution 11 x 11, stride 4, padding 1   96 x 54 x 54
    max pooling 3 x 3, stride 2                96 x 26 x 26
    convolution 5 x 5, padding 2               256 x 26 x 26
    max pooling                                256 x 12 x 12
    three convolutions 3 x 3, padding 1        384, 384, 256
    max pooling                                256 x 5 x 5
    linear, with dropout 0.5                   4096, 4096, 10
    ========================================== =============

    Reference:
        Krizhevsky, Sutskever, Hinton 2012, ImageNet classification with deep convolutional neural networks.
    """
    return nn.Sequential(
        nn.Conv2d(in_channels, 96, kernel_size=11, stride=4, padding=1), nn.ReLU(),
        nn.MaxPool2d(kernel_size=3, stride=2),
        nn.Conv2d(96, 256, kernel_size=5, padding=2), nn.ReLU(),
        nn.MaxPool2d(kernel_size=3, stride=2),
        nn.Conv2d(256, 384, kernel_size=3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 384, kernel_size=3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, kernel_size=3, padding=1), nn.ReLU(),
        nn.MaxPool2d(kernel_size=3, stride=2),
        nn.Flatten(),
        nn.Linear(6400, 4096), nn.ReLU(), nn.Dropout(p=0.5),
        nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(p=0.5),
        nn.Linear(4096, num_classes),
    )  # fmt: skip


# --------------------------------------------------------------------------------------------------------------- VGG

CONV_ARCH = ((1, 64), (1, 128), (2, 256), (2, 512), (2, 512))  # (convolutions, channels) of VGG-11's blocks


def vgg_block(num_convs: int, in_channels: int, out_channels: int) -> nn.Sequential:
    """``num_convs`` 3 x 3 convolutions with ReLU, then pooling: (N, in_channels, H, W) -> (N, out_channels, H/2, W/2)."""
    layers: list[nn.Module] = []
    for _ in range(num_convs):
        layers.append(nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1))
        layers.append(nn.ReLU())
        in_channels = out_channels
    layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
    return nn.Sequential(*layers)


def vgg(conv_arch: Sequence[tuple[int, int]], num_classes: int = 10, in_channels: int = 1) -> nn.Sequential:
    """Five VGG blocks, given as (convolutions, channels), and three linear layers; images (N, C, 224, 224)."""
    conv_blks = []
    for num_convs, out_channels in conv_arch:
        conv_blks.append(vgg_block(num_convs, in_channels, out_channels))
        in_channels = out_channels
    return nn.Sequential(
        *conv_blks, nn.Flatten(),
        nn.Linear(in_channels * 7 * 7, 4096), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(4096, num_classes),
    )  # fmt: skip


@register(input_shape=(1, 224, 224), prefix=NOTES, lr=0.05, batch_size=128)
def vgg11(num_classes: int = 10, in_channels: int = 1, ratio: int = 4) -> nn.Sequential:
    """VGG-11 with a quarter of the channels, which the notes train: 43,093,322 parameters, images (N, 1, 224, 224).

    ======= ========================= ====================
    block   ``ratio=4``               ``ratio=1``
    ======= ========================= ====================
    1       16 x 112 x 112            64 x 112 x 112
    2       32 x 56 x 56              128 x 56 x 56
    3       64 x 28 x 28              256 x 28 x 28
    4       128 x 14 x 14             512 x 14 x 14
    5       128 x 7 x 7               512 x 7 x 7
    linear  4096, 4096, 10            4096, 4096, 10
    ======= ========================= ====================

    Args:
        num_classes: number of outputs.
        in_channels: channels of the images.
        ratio: what the channels of VGG-11 are divided by; 1 for the whole network of 128,806,154 parameters.

    Reference:
        Simonyan, Zisserman 2015, Very deep convolutional networks for large-scale image recognition, configuration A.
    """
    small_conv_arch = [(num_convs, channels // ratio) for num_convs, channels in CONV_ARCH]
    return vgg(small_conv_arch, num_classes, in_channels)


# --------------------------------------------------------------------------------------------------------------- NiN


def nin_block(in_channels: int, out_channels: int, kernel_size: int, strides: int, padding: int) -> nn.Sequential:
    """A convolution and two 1 x 1 convolutions, which are a small dense network at every pixel; ReLU after each."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, strides, padding), nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, kernel_size=1), nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, kernel_size=1), nn.ReLU(),
    )  # fmt: skip


@register(input_shape=(1, 224, 224), prefix=NOTES, lr=0.1, batch_size=128)
def nin(num_classes: int = 10, in_channels: int = 1) -> nn.Sequential:
    """Network in network: 1,992,166 parameters, images (N, 1, 224, 224) or of any size from 67.

    ============================== =============
    block 11 x 11, stride 4        96 x 54 x 54
    max pooling 3 x 3, stride 2    96 x 26 x 26
    block 5 x 5, padding 2         256 x 26 x 26
    max pooling                    256 x 12 x 12
    block 3 x 3, padding 1         384 x 12 x 12
    max pooling, dropout 0.5       384 x 5 x 5
    block 3 x 3, padding 1         10 x 5 x 5
    average over each channel      10
    ============================== =============

    Reference:
        Lin, Chen, Yan 2014, Network in network.
    """
    return nn.Sequential(
        nin_block(in_channels, 96, kernel_size=11, strides=4, padding=0),
        nn.MaxPool2d(3, stride=2),
        nin_block(96, 256, kernel_size=5, strides=1, padding=2),
        nn.MaxPool2d(3, stride=2),
        nin_block(256, 384, kernel_size=3, strides=1, padding=1),
        nn.MaxPool2d(3, stride=2),
        nn.Dropout(0.5),
        nin_block(384, num_classes, kernel_size=3, strides=1, padding=1),
        nn.AdaptiveAvgPool2d((1, 1)),
        nn.Flatten(),
    )


# --------------------------------------------------------------------------------------------------------- GoogLeNet


class Inception(nn.Module):
    """Four paths side by side, their channels joined: (N, in_channels, H, W) -> (N, c1 + c2[1] + c3[1] + c4, H, W).

    Args:
        in_channels: channels of the input.
        c1: channels of the path 1 x 1.
        c2: channels of the path 1 x 1, 3 x 3.
        c3: channels of the path 1 x 1, 5 x 5.
        c4: channels of the path max pooling, 1 x 1.
    """

    def __init__(self, in_channels: int, c1: int, c2: tuple[int, int], c3: tuple[int, int], c4: int) -> None:
        super().__init__()
        self.p1_1 = nn.Conv2d(in_channels, c1, kernel_size=1)
        self.p2_1 = nn.Conv2d(in_channels, c2[0], kernel_size=1)
        self.p2_2 = nn.Conv2d(c2[0], c2[1], kernel_size=3, padding=1)
        self.p3_1 = nn.Conv2d(in_channels, c3[0], kernel_size=1)
        self.p3_2 = nn.Conv2d(c3[0], c3[1], kernel_size=5, padding=2)
        self.p4_1 = nn.MaxPool2d(kernel_size=3, stride=1, padding=1)
        self.p4_2 = nn.Conv2d(in_channels, c4, kernel_size=1)

    def forward(self, x: Any) -> Any:
        p1 = then_relu(self.p1_1, None, x)
        p2 = then_relu(self.p2_2, None, then_relu(self.p2_1, None, x))
        p3 = then_relu(self.p3_2, None, then_relu(self.p3_1, None, x))
        p4 = then_relu(self.p4_2, None, self.p4_1(x))
        return cat((p1, p2, p3, p4), dim=1)


@register(input_shape=(1, 96, 96), prefix=NOTES, lr=0.1, batch_size=128)
def googlenet(num_classes: int = 10, in_channels: int = 1) -> nn.Sequential:
    """GoogLeNet: 5,977,530 parameters, images (N, 1, 96, 96) or of any size.

    ============================================ ============
    convolution 7 x 7, stride 2; max pooling     64 x 24 x 24
    convolutions 1 x 1 and 3 x 3; max pooling    192 x 12 x 12
    2 inception blocks; max pooling              480 x 6 x 6
    5 inception blocks; max pooling              832 x 3 x 3
    2 inception blocks; average                  1024
    linear                                       10
    ============================================ ============

    Reference:
        Szegedy et al. 2015, Going deeper with convolutions.
    """
    b1 = nn.Sequential(
        nn.Conv2d(in_channels, 64, kernel_size=7, stride=2, padding=3), nn.ReLU(),
        nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
    )  # fmt: skip
    b2 = nn.Sequential(
        nn.Conv2d(64, 64, kernel_size=1), nn.ReLU(),
        nn.Conv2d(64, 192, kernel_size=3, padding=1),
        nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
    )  # fmt: skip
    b3 = nn.Sequential(
        Inception(192, 64, (96, 128), (16, 32), 32),
        Inception(256, 128, (128, 192), (32, 96), 64),
        nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
    )
    b4 = nn.Sequential(
        Inception(480, 192, (96, 208), (16, 48), 64),
        Inception(512, 160, (112, 224), (24, 64), 64),
        Inception(512, 128, (128, 256), (24, 64), 64),
        Inception(512, 112, (144, 288), (32, 64), 64),
        Inception(528, 256, (160, 320), (32, 128), 128),
        nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
    )
    b5 = nn.Sequential(
        Inception(832, 256, (160, 320), (32, 128), 128),
        Inception(832, 384, (192, 384), (48, 128), 128),
        nn.AdaptiveAvgPool2d((1, 1)),
        nn.Flatten(),
    )
    return nn.Sequential(b1, b2, b3, b4, b5, nn.Linear(1024, num_classes))


# ------------------------------------------------------------------------------------------------------------ ResNet


class Residual(nn.Module):
    """Two 3 x 3 convolutions with batch normalisation, and the input added to what they give.

    Args:
        input_channels: channels of the input.
        num_channels: channels of the output.
        use_1x1conv: whether the input goes through a 1 x 1 convolution first, so that channels and size fit.
        strides: of the first convolution and the 1 x 1 convolution.
    """

    def __init__(self, input_channels: int, num_channels: int, use_1x1conv: bool = False, strides: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(input_channels, num_channels, kernel_size=3, padding=1, stride=strides)
        self.conv2 = nn.Conv2d(num_channels, num_channels, kernel_size=3, padding=1)
        if use_1x1conv:
            self.conv3: nn.Module | None = nn.Conv2d(input_channels, num_channels, kernel_size=1, stride=strides)
        else:
            self.conv3 = None
        self.bn1 = nn.BatchNorm2d(num_channels)
        self.bn2 = nn.BatchNorm2d(num_channels)

    def forward(self, X: Any) -> Any:
        Y = norm_relu(self.bn1, None, self.conv1(X))
        return norm_relu(self.bn2, None, self.conv2(Y), lambda: self.conv3(X) if self.conv3 else X)


def resnet_block(
    input_channels: int, num_channels: int, num_residuals: int, first_block: bool = False
) -> list[Residual]:
    """``num_residuals`` residual blocks, the first of which halves the size, except in the network's first stage."""
    blk = []
    for i in range(num_residuals):
        if i == 0 and not first_block:
            blk.append(Residual(input_channels, num_channels, use_1x1conv=True, strides=2))
        else:
            blk.append(Residual(num_channels, num_channels))
    return blk


def _stem(in_channels: int) -> nn.Sequential:
    """The first module of ResNet and DenseNet: (N, C, H, W) -> (N, 64, H/4, W/4)."""
    return nn.Sequential(
        nn.Conv2d(in_channels, 64, kernel_size=7, stride=2, padding=3), nn.BatchNorm2d(64), nn.ReLU(),
        nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
    )  # fmt: skip


@register(input_shape=(1, 96, 96), prefix=NOTES, lr=0.05, batch_size=256)
def resnet18(num_classes: int = 10, in_channels: int = 1) -> nn.Sequential:
    """ResNet-18: 11,178,378 parameters, images (N, 1, 96, 96) or of any size.

    ======================================== ============
    convolution 7 x 7, stride 2; max pooling 64 x 24 x 24
    2 residual blocks                        64 x 24 x 24
    2 residual blocks                        128 x 12 x 12
    2 residual blocks                        256 x 6 x 6
    2 residual blocks                        512 x 3 x 3
    average                                  512
    linear                                   10
    ======================================== ============

    Reference:
        He, Zhang, Ren, Sun 2016, Deep residual learning for image recognition.
    """
    b1 = _stem(in_channels)
    b2 = nn.Sequential(*resnet_block(64, 64, 2, first_block=True))
    b3 = nn.Sequential(*resnet_block(64, 128, 2))
    b4 = nn.Sequential(*resnet_block(128, 256, 2))
    b5 = nn.Sequential(*resnet_block(256, 512, 2))
    return nn.Sequential(
        b1, b2, b3, b4, b5,
        nn.AdaptiveAvgPool2d((1, 1)),
        nn.Flatten(),
        nn.Linear(512, num_classes),
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------------------- DenseNet


def conv_block(input_channels: int, num_channels: int) -> nn.Sequential:
    """Batch normalisation, ReLU, then a 3 x 3 convolution."""
    return nn.Sequential(
        nn.BatchNorm2d(input_channels), nn.ReLU(),
        nn.Conv2d(input_channels, num_channels, kernel_size=3, padding=1),
    )  # fmt: skip


class DenseBlock(nn.Module):
    """Each convolution sees the channels of all before it: (N, C, H, W) -> (N, C + num_convs * num_channels, H, W).

    Args:
        num_convs: how many convolutions.
        input_channels: C.
        num_channels: channels that each of them adds, the growth rate.
    """

    def __init__(self, num_convs: int, input_channels: int, num_channels: int) -> None:
        super().__init__()
        layer = []
        for i in range(num_convs):
            layer.append(conv_block(num_channels * i + input_channels, num_channels))
        self.net = nn.Sequential(*layer)

    def forward(self, X: Any) -> Any:
        for blk in self.net:
            Y = blk(X)
            X = cat((X, Y), dim=1)
        return X


def transition_block(input_channels: int, num_channels: int) -> nn.Sequential:
    """A 1 x 1 convolution to fewer channels, and average pooling to half the size."""
    return nn.Sequential(
        nn.BatchNorm2d(input_channels), nn.ReLU(),
        nn.Conv2d(input_channels, num_channels, kernel_size=1),
        nn.AvgPool2d(kernel_size=2, stride=2),
    )  # fmt: skip


@register(input_shape=(1, 96, 96), prefix=NOTES, lr=0.1, batch_size=256)
def densenet(num_classes: int = 10, in_channels: int = 1, head: str = "max") -> nn.Sequential:
    """DenseNet: 758,226 parameters, images (N, 1, 96, 96) or of any size from 29.

    ======================================== ============
    convolution 7 x 7, stride 2; max pooling 64 x 24 x 24
    dense block of 4; transition             96 x 12 x 12
    dense block of 4; transition             112 x 6 x 6
    dense block of 4; transition             120 x 3 x 3
    dense block of 4                         248 x 3 x 3
    ``head`` over each channel               248
    linear                                   10
    ======================================== ============

    Args:
        num_classes: number of outputs.
        in_channels: channels of the images.
        head: how a channel becomes one number: "max", as the notes have it, or "avg", as the paper has.

    Raises:
        ValueError: for another head.

    Reference:
        Huang, Liu, van der Maaten, Weinberger 2017, Densely connected convolutional networks.
    """
    heads = {"max": nn.AdaptiveMaxPool2d, "avg": nn.AdaptiveAvgPool2d}
    if head not in heads:
        raise ValueError(f"densenet: head must be 'max' or 'avg', got {head!r}")
    num_channels, growth_rate = 64, 32
    num_convs_in_dense_blocks = [4, 4, 4, 4]
    blks: list[nn.Module] = []
    for i, num_convs in enumerate(num_convs_in_dense_blocks):
        blks.append(DenseBlock(num_convs, num_channels, growth_rate))
        num_channels += num_convs * growth_rate
        if i != len(num_convs_in_dense_blocks) - 1:
            blks.append(transition_block(num_channels, num_channels // 2))
            num_channels //= 2
    return nn.Sequential(
        _stem(in_channels),
        *blks,
        nn.BatchNorm2d(num_channels), nn.ReLU(),
        heads[head]((1, 1)),
        nn.Flatten(),
        nn.Linear(num_channels, num_classes),
    )  # fmt: skip
