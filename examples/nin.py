"""Network in network on Fashion-MNIST: the shapes after each block, then training.

    python examples/nin.py           # images of 72 x 72, the embedded sample
    python examples/nin.py --full    # as in the notes: images of 224 x 224, all 60,000

No linear layers: 1 x 1 convolutions are a small dense network at every pixel, and the mean of the last block's ten channels
over all pixels gives the ten scores.
"""

from _course import course

from numbanet import nn


def nin_block(in_channels, out_channels, kernel_size, strides, padding):
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, strides, padding), nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, kernel_size=1), nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, kernel_size=1), nn.ReLU(),
    )  # fmt: skip


def nin():
    return nn.Sequential(
        nin_block(1, 96, kernel_size=11, strides=4, padding=0),
        nn.MaxPool2d(3, stride=2),
        nin_block(96, 256, kernel_size=5, strides=1, padding=2),
        nn.MaxPool2d(3, stride=2),
        nin_block(256, 384, kernel_size=3, strides=1, padding=1),
        nn.MaxPool2d(3, stride=2),
        nn.Dropout(0.5),
        nin_block(384, 10, kernel_size=3, strides=1, padding=1),  # a channel for each class
        nn.AdaptiveAvgPool2d((1, 1)),
        nn.Flatten(),
    )


if __name__ == "__main__":
    course(
        nin,
        __doc__,
        full={"resize": 224, "batch_size": 128, "optimizer": "sgd", "lr": 0.1, "epochs": 10},
        sample={"resize": 72, "batch_size": 25, "optimizer": "adam", "lr": 0.0005, "epochs": 4},
    )
