"""AlexNet on Fashion-MNIST: the shapes after each layer, then training.

    python examples/alexnet.py           # a quarter of the channels, the embedded sample
    python examples/alexnet.py --full    # as in the notes: 46.8 million parameters, 60,000 images of 224 x 224

A larger LeNet with other parts: rectified linear units, max pooling, dropout between the linear layers.
"""

from _course import course

from numbanet import nn


def alexnet(ratio=1):
    return nn.Sequential(
        # A large window and large steps, for the images are large.
        nn.Conv2d(1, 96 // ratio, kernel_size=11, stride=4, padding=1), nn.ReLU(),
        nn.MaxPool2d(kernel_size=3, stride=2),
        # A smaller window, padded so that height and width stay, and more channels.
        nn.Conv2d(96 // ratio, 256 // ratio, kernel_size=5, padding=2), nn.ReLU(),
        nn.MaxPool2d(kernel_size=3, stride=2),
        # Three convolutions in a row, with no pooling between them.
        nn.Conv2d(256 // ratio, 384 // ratio, kernel_size=3, padding=1), nn.ReLU(),
        nn.Conv2d(384 // ratio, 384 // ratio, kernel_size=3, padding=1), nn.ReLU(),
        nn.Conv2d(384 // ratio, 256 // ratio, kernel_size=3, padding=1), nn.ReLU(),
        nn.MaxPool2d(kernel_size=3, stride=2),
        nn.Flatten(),
        # Nearly all parameters are here: dropout keeps them from learning the images by heart.
        nn.Linear(6400 // ratio, 4096 // ratio), nn.ReLU(), nn.Dropout(p=0.5),
        nn.Linear(4096 // ratio, 4096 // ratio), nn.ReLU(), nn.Dropout(p=0.5),
        nn.Linear(4096 // ratio, 10),
    )  # fmt: skip


if __name__ == "__main__":
    course(
        alexnet,
        __doc__,
        full={"ratio": 1, "resize": 224, "batch_size": 128, "optimizer": "sgd", "lr": 0.01, "epochs": 10},
        sample={"ratio": 4, "resize": 224, "batch_size": 50, "optimizer": "adam", "lr": 0.001, "epochs": 4},
    )
