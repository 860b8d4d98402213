"""The networks that are measured, each written once for both libraries.

A builder takes the library itself (the module ``numbanet`` or ``torch``) and uses nothing but names that both have.
Images have one channel and there are ten classes, as with Fashion-MNIST.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np

CLASSES = 10


def lenet(library: Any) -> Any:
    """LeNet with sigmoids and average pooling, 28 x 28."""
    nn = library.nn
    return nn.Sequential(
        nn.Conv2d(1, 6, kernel_size=5, padding=2), nn.Sigmoid(), nn.AvgPool2d(kernel_size=2, stride=2),
        nn.Conv2d(6, 16, kernel_size=5), nn.Sigmoid(), nn.AvgPool2d(kernel_size=2, stride=2), nn.Flatten(),
        nn.Linear(16 * 5 * 5, 120), nn.Sigmoid(),
        nn.Linear(120, 84), nn.Sigmoid(),
        nn.Linear(84, CLASSES),
    )  # fmt: skip


def lenet_bn(library: Any) -> Any:
    """LeNet with batch normalisation and max pooling, 28 x 28."""
    nn = library.nn
    return nn.Sequential(
        nn.Conv2d(1, 6, kernel_size=5), nn.BatchNorm2d(6), nn.Sigmoid(), nn.MaxPool2d(kernel_size=2, stride=2),
        nn.Conv2d(6, 16, kernel_size=5), nn.BatchNorm2d(16), nn.Sigmoid(), nn.MaxPool2d(kernel_size=2, stride=2), nn.Flatten(),
        nn.Linear(16 * 4 * 4, 120), nn.BatchNorm1d(120), nn.Sigmoid(),
        nn.Linear(120, 84), nn.BatchNorm1d(84), nn.Sigmoid(),
        nn.Linear(84, CLASSES),
    )  # fmt: skip


def alexnet(library: Any) -> Any:
    """AlexNet for one channel, 224 x 224."""
    nn = library.nn
    return nn.Sequential(
        nn.Conv2d(1, 96, kernel_size=11, stride=4, padding=1), nn.ReLU(), nn.MaxPool2d(kernel_size=3, stride=2),
        nn.Conv2d(96, 256, kernel_size=5, padding=2), nn.ReLU(), nn.MaxPool2d(kernel_size=3, stride=2),
        nn.Conv2d(256, 384, kernel_size=3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 384, kernel_size=3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(kernel_size=3, stride=2), nn.Flatten(),
        nn.Linear(6400, 4096), nn.ReLU(), nn.Dropout(p=0.5),
        nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(p=0.5),
        nn.Linear(4096, CLASSES),
    )  # fmt: skip


def vgg11(library: Any, ratio: int = 4) -> Any:
    """VGG-11 with its channels divided by ``ratio``, 224 x 224."""
    nn = library.nn
    layers: list[Any] = []
    before = 1
    for convolutions, channels in ((1, 64), (1, 128), (2, 256), (2, 512), (2, 512)):
        for _ in range(convolutions):
            layers += [nn.Conv2d(before, channels // ratio, kernel_size=3, padding=1), nn.ReLU()]
            before = channels // ratio
        layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
    return nn.Sequential(
        *layers, nn.Flatten(),
        nn.Linear(before * 7 * 7, 4096), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(4096, CLASSES),
    )  # fmt: skip


def nin(library: Any) -> Any:
    """Network in network, 224 x 224."""
    nn = library.nn

    def block(before: int, channels: int, kernel_size: int, stride: int, padding: int) -> list[Any]:
        return [
            nn.Conv2d(before, channels, kernel_size, stride, padding), nn.ReLU(),
            nn.Conv2d(channels, channels, kernel_size=1), nn.ReLU(),
            nn.Conv2d(channels, channels, kernel_size=1), nn.ReLU(),
        ]  # fmt: skip

    return nn.Sequential(
        *block(1, 96, 11, 4, 0), nn.MaxPool2d(3, stride=2),
        *block(96, 256, 5, 1, 2), nn.MaxPool2d(3, stride=2),
        *block(256, 384, 3, 1, 1), nn.MaxPool2d(3, stride=2), nn.Dropout(0.5),
        *block(384, CLASSES, 3, 1, 1),
        nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(),
    )  # fmt: skip


def googlenet(library: Any) -> Any:
    """GoogLeNet, 96 x 96."""
    nn = library.nn

    def conv(before: int, channels: int, kernel_size: int, **options: int) -> list[Any]:
        return [nn.Conv2d(before, channels, kernel_size, **options), nn.ReLU()]

    class Inception(nn.Module):
        """Four paths side by side, joined along the channels."""

        def __init__(self, before: int, c1: int, c2: tuple[int, int], c3: tuple[int, int], c4: int) -> None:
            super().__init__()
            self.path1 = nn.Sequential(*conv(before, c1, 1))
            self.path2 = nn.Sequential(*conv(before, c2[0], 1), *conv(*c2, 3, padding=1))
            self.path3 = nn.Sequential(*conv(before, c3[0], 1), *conv(*c3, 5, padding=2))
            self.path4 = nn.Sequential(nn.MaxPool2d(kernel_size=3, stride=1, padding=1), *conv(before, c4, 1))

        def forward(self, x: Any) -> Any:
            return library.cat((self.path1(x), self.path2(x), self.path3(x), self.path4(x)), dim=1)

    def pool() -> Any:
        return nn.MaxPool2d(kernel_size=3, stride=2, padding=1)

    return nn.Sequential(
        *conv(1, 64, 7, stride=2, padding=3), pool(),
        *conv(64, 64, 1), *conv(64, 192, 3, padding=1), pool(),
        Inception(192, 64, (96, 128), (16, 32), 32),
        Inception(256, 128, (128, 192), (32, 96), 64), pool(),
        Inception(480, 192, (96, 208), (16, 48), 64),
        Inception(512, 160, (112, 224), (24, 64), 64),
        Inception(512, 128, (128, 256), (24, 64), 64),
        Inception(512, 112, (144, 288), (32, 64), 64),
        Inception(528, 256, (160, 320), (32, 128), 128), pool(),
        Inception(832, 256, (160, 320), (32, 128), 128),
        Inception(832, 384, (192, 384), (48, 128), 128),
        nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(),
        nn.Linear(1024, CLASSES),
    )  # fmt: skip


def _stem(nn: Any) -> list[Any]:
    """The first layers of ResNet and DenseNet."""
    return [
        nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3), nn.BatchNorm2d(64), nn.ReLU(),
        nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
    ]  # fmt: skip


def resnet18(library: Any) -> Any:
    """ResNet-18, 96 x 96."""
    nn = library.nn

    class Residual(nn.Module):
        """Two 3 x 3 convolutions, and the input added to their result."""

        def __init__(self, before: int, channels: int, stride: int = 1) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(before, channels, kernel_size=3, padding=1, stride=stride)
            self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
            self.conv3 = nn.Conv2d(before, channels, kernel_size=1, stride=stride) if stride != 1 else None
            self.bn1 = nn.BatchNorm2d(channels)
            self.bn2 = nn.BatchNorm2d(channels)
            self.relu = nn.ReLU()

        def forward(self, x: Any) -> Any:
            y = self.relu(self.bn1(self.conv1(x)))
            y = self.bn2(self.conv2(y))
            y += x if self.conv3 is None else self.conv3(x)
            return self.relu(y)

    return nn.Sequential(
        *_stem(nn),
        Residual(64, 64), Residual(64, 64),
        Residual(64, 128, stride=2), Residual(128, 128),
        Residual(128, 256, stride=2), Residual(256, 256),
        Residual(256, 512, stride=2), Residual(512, 512),
        nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(),
        nn.Linear(512, CLASSES),
    )  # fmt: skip


def densenet(library: Any, growth: int = 32) -> Any:
    """DenseNet of four blocks of four convolutions, 96 x 96."""
    nn = library.nn

    def conv(before: int, channels: int, kernel_size: int, padding: int) -> list[Any]:
        return [
            nn.BatchNorm2d(before),
            nn.ReLU(),
            nn.Conv2d(before, channels, kernel_size=kernel_size, padding=padding),
        ]

    class Dense(nn.Module):
        """Convolutions that each see what all before them made."""

        def __init__(self, before: int, convolutions: int) -> None:
            super().__init__()
            self.net = nn.Sequential(
                *[nn.Sequential(*conv(before + i * growth, growth, 3, 1)) for i in range(convolutions)]
            )

        def forward(self, x: Any) -> Any:
            for layer in self.net:
                x = library.cat((x, layer(x)), dim=1)
            return x

    layers, channels = _stem(nn), 64
    for block in range(4):
        layers.append(Dense(channels, 4))
        channels += 4 * growth
        if block < 3:
            layers += [*conv(channels, channels // 2, 1, 0), nn.AvgPool2d(kernel_size=2, stride=2)]
            channels //= 2
    return nn.Sequential(
        *layers,
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d((1, 1)),
        nn.Flatten(),
        nn.Linear(channels, CLASSES),
    )


@dataclass(frozen=True)
class Network:
    """How a network is measured.

    Attributes:
        build: makes it for a library.
        batch: images of one step.
        size: pixels of an image's side.
        parameters: how many it has.
    """

    build: Callable[[Any], Any]
    batch: int
    size: int
    parameters: int


NETWORKS = {
    "lenet": Network(lenet, 256, 28, 61_706),
    "lenet_bn": Network(lenet_bn, 256, 28, 44_878),
    "alexnet": Network(alexnet, 32, 224, 46_764_746),
    "vgg11": Network(vgg11, 32, 224, 43_093_322),
    "nin": Network(nin, 32, 224, 1_992_166),
    "googlenet": Network(googlenet, 32, 96, 5_977_530),
    "resnet18": Network(resnet18, 32, 96, 11_178_378),
    "densenet": Network(densenet, 32, 96, 758_226),
}


def images(network: Network, batch: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Random images (N, 1, size, size) in float32 and labels (N,) in int64, always the same."""
    rng = np.random.default_rng(7)
    n = batch or network.batch
    pixels = rng.random((n, 1, network.size, network.size), dtype=np.float32)
    return pixels, rng.integers(0, CLASSES, n)


def give_weights(library: Any, net: Any) -> None:
    """Set all parameters to values that depend on their names and shapes alone, so that both libraries begin alike."""
    state = net.state_dict()
    for name, parameter in net.named_parameters():
        shape = tuple(parameter.shape)
        rng = np.random.default_rng(crc32(name.encode()))
        values = rng.random(shape, dtype=np.float32) * 2 - 1  # in [-1, 1)
        if len(shape) > 1:  # He's bound, so that deep networks keep their scale
            values *= np.float32((6 / np.prod(shape[1:])) ** 0.5)
        elif name.endswith("weight"):  # batch normalisation
            values = 1 + values / 8
        else:
            values /= 8
        state[name] = library.from_numpy(values.astype(np.float32))
    net.load_state_dict(state)


class Training:
    """A network and what one training step needs: calling it does one step and returns the loss."""

    def __init__(self, library: Any, network: Network, batch: int | None = None, lr: float = 0.01) -> None:
        self.net = network.build(library)
        give_weights(library, self.net)
        self.optimizer = library.optim.SGD(self.net.parameters(), lr=lr)
        self.loss = library.nn.CrossEntropyLoss()
        x, y = images(network, batch)
        self.x, self.y = library.from_numpy(x), library.from_numpy(y)

    def __call__(self) -> Any:
        self.optimizer.zero_grad()
        loss = self.loss(self.net(self.x), self.y)
        loss.backward()
        self.optimizer.step()
        return loss


class Inference:
    """A network that answers for a batch: calling it returns the logits."""

    def __init__(self, library: Any, network: Network, batch: int | None = None) -> None:
        self.no_grad = library.no_grad
        self.net = network.build(library)
        give_weights(library, self.net)
        self.net.eval()
        self.x = library.from_numpy(images(network, batch)[0])

    def __call__(self) -> Any:
        with self.no_grad():
            return self.net(self.x)


def multiply_adds(library: Any, network: Network) -> tuple[int, int]:
    """(multiply-adds of one image's forward pass, those of the first layer, whose input needs no gradient)."""
    counts: list[int] = []

    def count(module: Any, inputs: Any, output: Any) -> None:
        weight = tuple(module.weight.shape)
        counts.append(int(np.prod(weight[1:])) * int(np.prod(tuple(output.shape)[1:])))

    net = network.build(library).eval()
    for module in net.modules():
        if isinstance(module, (library.nn.Conv2d, library.nn.Linear)):
            module.register_forward_hook(count)
    with library.no_grad():
        net(library.from_numpy(images(network, 1)[0]))
    return sum(counts), counts[0]
