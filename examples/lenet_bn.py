"""LeNet with batch normalisation on Fashion-MNIST: the shapes after each layer, then training.

    python examples/lenet_bn.py           # the embedded sample
    python examples/lenet_bn.py --full    # as in the notes: all 60,000 images, learning rate 1

The normalisation's own arithmetic is written out in examples/batch_norm_from_scratch.py.
"""

from _course import course

from numbanet import nn


def lenet_bn():
    return nn.Sequential(
        nn.Conv2d(1, 6, kernel_size=5), nn.BatchNorm2d(6), nn.Sigmoid(),
        nn.MaxPool2d(kernel_size=2, stride=2),
        nn.Conv2d(6, 16, kernel_size=5), nn.BatchNorm2d(16), nn.Sigmoid(),
        nn.MaxPool2d(kernel_size=2, stride=2),
        nn.Flatten(),
        nn.Linear(256, 120), nn.BatchNorm1d(120), nn.Sigmoid(),
        nn.Linear(120, 84), nn.BatchNorm1d(84), nn.Sigmoid(),
        nn.Linear(84, 10),
    )  # fmt: skip


if __name__ == "__main__":
    course(
        lenet_bn,
        __doc__,
        full={"resize": 28, "batch_size": 256, "optimizer": "sgd", "lr": 1.0, "epochs": 10},
        sample={"resize": 28, "batch_size": 100, "optimizer": "sgd", "lr": 1.0, "epochs": 15},
    )
