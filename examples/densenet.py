"""DenseNet on Fashion-MNIST: the shapes after each module, then training.

    python examples/densenet.py           # images of 32 x 32, the embedded sample
    python examples/densenet.py --full    # as in the notes: images of 96 x 96, all 60,000

Each convolution in a block sees the outputs of all before it, side by side; transition layers halve the channels again.
"""

from _course import course

import numbanet
from numbanet import nn


def conv_block(input_channels, num_channels):
    return nn.Sequential(
        nn.BatchNorm2d(input_channels), nn.ReLU(), nn.Conv2d(input_channels, num_channels, kernel_size=3, padding=1)
    )


class DenseBlock(nn.Module):
    def __init__(self, num_convs, input_channels, num_channels):
        super().__init__()
        layer = []
        for i in range(num_convs):
            layer.append(conv_block(num_channels * i + input_channels, num_channels))
        self.net = nn.Sequential(*layer)

    def forward(self, X):
        for blk in self.net:
            Y = blk(X)
            X = numbanet.cat((X, Y), dim=1)
        return X


def transition_block(input_channels, num_channels):
    return nn.Sequential(
        nn.BatchNorm2d(input_channels), nn.ReLU(), nn.Conv2d(input_channels, num_channels, kernel_size=1),
        nn.AvgPool2d(kernel_size=2, stride=2),
    )  # fmt: skip


def densenet(num_convs_in_dense_blocks=(4, 4, 4, 4)):
    b1 = nn.Sequential(
        nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3), nn.BatchNorm2d(64), nn.ReLU(),
        nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
    )  # fmt: skip
    num_channels, growth_rate = 64, 32
    blks = []
    for i, num_convs in enumerate(num_convs_in_dense_blocks):
        blks.append(DenseBlock(num_convs, num_channels, growth_rate))
        num_channels += num_convs * growth_rate
        if i != len(num_convs_in_dense_blocks) - 1:
            blks.append(transition_block(num_channels, num_channels // 2))
            num_channels //= 2
    return nn.Sequential(
        b1, *blks,
        nn.BatchNorm2d(num_channels), nn.ReLU(),
        nn.AdaptiveMaxPool2d((1, 1)), nn.Flatten(),
        nn.Linear(num_channels, 10),
    )  # fmt: skip


if __name__ == "__main__":
    course(
        densenet,
        __doc__,
        full={"resize": 96, "batch_size": 256, "optimizer": "sgd", "lr": 0.1, "epochs": 10},
        sample={"resize": 32, "batch_size": 50, "optimizer": "sgd", "lr": 0.1, "epochs": 5},
    )
