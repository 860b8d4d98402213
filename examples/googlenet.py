"""GoogLeNet on Fashion-MNIST: the shapes after each part, then training.

    python examples/googlenet.py           # the embedded sample, at half the notes' resolution
    python examples/googlenet.py --full    # as in the notes: all 60,000 images, at 96 x 96

Inception blocks look at an image through windows of several sizes side by side, and join what they see.
"""

from _course import course

import numbanet
from numbanet import nn
from numbanet.nn import functional as F


class Inception(nn.Module):
    # c1 to c4 are the channels that each path gives; those of c2 and c3 have two convolutions.
    def __init__(self, in_channels, c1, c2, c3, c4):
        super().__init__()
        # Path 1: 1 x 1.
        self.p1_1 = nn.Conv2d(in_channels, c1, kernel_size=1)
        # Path 2: 1 x 1, then 3 x 3.
        self.p2_1 = nn.Conv2d(in_channels, c2[0], kernel_size=1)
        self.p2_2 = nn.Conv2d(c2[0], c2[1], kernel_size=3, padding=1)
        # Path 3: 1 x 1, then 5 x 5.
        self.p3_1 = nn.Conv2d(in_channels, c3[0], kernel_size=1)
        self.p3_2 = nn.Conv2d(c3[0], c3[1], kernel_size=5, padding=2)
        # Path 4: max pooling of 3 x 3, then 1 x 1.
        self.p4_1 = nn.MaxPool2d(kernel_size=3, stride=1, padding=1)
        self.p4_2 = nn.Conv2d(in_channels, c4, kernel_size=1)

    def forward(self, x):
        p1 = F.relu(self.p1_1(x))
        p2 = F.relu(self.p2_2(F.relu(self.p2_1(x))))
        p3 = F.relu(self.p3_2(F.relu(self.p3_1(x))))
        p4 = F.relu(self.p4_2(self.p4_1(x)))
        return numbanet.cat((p1, p2, p3, p4), dim=1)


def googlenet():
    b1 = nn.Sequential(
        nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3), nn.ReLU(),
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
    return nn.Sequential(b1, b2, b3, b4, b5, nn.Linear(1024, 10))


if __name__ == "__main__":
    course(
        googlenet,
        __doc__,
        full={"resize": 96, "batch_size": 128, "optimizer": "sgd", "lr": 0.1, "epochs": 10},
        # Without batch normalisation the first few hundred steps change little: small images and batches, to have more of them.
        sample={"resize": 48, "batch_size": 16, "optimizer": "adam", "lr": 0.001, "epochs": 5, "images": 1500},
    )
