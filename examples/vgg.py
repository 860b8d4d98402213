"""VGG-11 on Fashion-MNIST: the shapes after each block, then training.

    python examples/vgg.py                      # a sixteenth of the channels, the embedded sample
    python examples/vgg.py --full               # as the notes train it: a quarter of the channels, 60,000 images
    python examples/vgg.py --full --ratio 1     # the whole VGG-11: 128.8 million parameters

Blocks of 3 x 3 convolutions; each block halves height and width, and most double the channels.
"""

from _course import course

from numbanet import nn


def vgg_block(num_convs, in_channels, out_channels):
    layers = []
    for _ in range(num_convs):
        layers.append(nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1))
        layers.append(nn.ReLU())
        in_channels = out_channels
    layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
    return nn.Sequential(*layers)


def vgg(conv_arch):
    conv_blks = []
    in_channels = 1
    for num_convs, out_channels in conv_arch:
        conv_blks.append(vgg_block(num_convs, in_channels, out_channels))
        in_channels = out_channels
    return nn.Sequential(
        *conv_blks, nn.Flatten(),
        nn.Linear(out_channels * 7 * 7, 4096), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(4096, 10),
    )  # fmt: skip


conv_arch = ((1, 64), (1, 128), (2, 256), (2, 512), (2, 512))


def small_vgg(ratio):
    return vgg([(num_convs, channels // ratio) for num_convs, channels in conv_arch])


if __name__ == "__main__":
    course(
        small_vgg,
        __doc__,
        full={"ratio": 4, "resize": 224, "batch_size": 128, "optimizer": "sgd", "lr": 0.05, "epochs": 10},
        sample={"ratio": 16, "resize": 224, "batch_size": 25, "optimizer": "adam", "lr": 0.0005, "epochs": 3},
    )
