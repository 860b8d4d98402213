"""DenseNet: every layer sees the outputs of all layers before it.

What was new: where a ResNet adds, a dense block joins along the channels. Each layer makes only a few new channels (the growth
rate) from everything that is there, so that features are used again instead of learnt again: DenseNet-201 does as well
as ResNet-101 with less than half of the parameters. Between blocks a transition halves channels and image.

============ ============================ ===================== =====================
stage        for images (3, 224, 224)     densenet121           densenet161
============ ============================ ===================== =====================
conv0        7 x 7, stride 2              (N, 64, 112, 112)     (N, 96, 112, 112)
pool0        3 x 3, stride 2              (N, 64, 56, 56)       (N, 96, 56, 56)
denseblock1  6 layers                     (N, 256, 56, 56)      (N, 384, 56, 56)
transition1  1 x 1, mean of 2 x 2         (N, 128, 28, 28)      (N, 192, 28, 28)
denseblock2  12 layers                    (N, 512, 28, 28)      (N, 768, 28, 28)
transition2  1 x 1, mean of 2 x 2         (N, 256, 14, 14)      (N, 384, 14, 14)
denseblock3  24 layers (161: 36)          (N, 1024, 14, 14)     (N, 2112, 14, 14)
transition3  1 x 1, mean of 2 x 2         (N, 512, 7, 7)        (N, 1056, 7, 7)
denseblock4  16 layers (161: 24)          (N, 1024, 7, 7)       (N, 2208, 7, 7)
classifier   mean over the image, Linear  (N, num_classes)      (N, num_classes)
============ ============================ ===================== =====================

Reference:
    G. Huang, Z. Liu, L. van der Maaten and K. Weinberger, "Densely connected convolutional networks" (2016); for
    ``memory_efficient``, G. Pleiss et al., "Memory-efficient implementation of DenseNets" (2017).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from numbanet import nn
from numbanet.models.registry import register
from numbanet.nn import functional as F
from numbanet.nn.fused import norm_relu
from numbanet.tensor import Tensor
from numbanet.utils.checkpoint import checkpoint


class DenseLayer(nn.Module):
    """The maps before it, of C channels together, give (N, growth_rate, H, W).

    A 1 x 1 convolution makes the many channels few (the bottleneck), a 3 x 3 makes the new ones; normalisation and ReLU
    go before both.

    Args:
        num_input_features: C.
        growth_rate: the number of new channels.
        bn_size: the bottleneck's width over the growth rate.
        drop_rate: probability of an element of the result being dropped.
        memory_efficient: in training, do not keep the joined and normalised maps but make them again in backward. All of a
            block's maps joined once per layer are most of a DenseNet's memory.
    """

    def __init__(
        self,
        num_input_features: int,
        growth_rate: int,
        bn_size: int = 4,
        drop_rate: float = 0.0,
        memory_efficient: bool = False,
    ) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(num_input_features)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(num_input_features, bn_size * growth_rate, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(bn_size * growth_rate)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(bn_size * growth_rate, growth_rate, 3, padding=1, bias=False)
        self.drop_rate, self.memory_efficient = float(drop_rate), memory_efficient

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        if self.memory_efficient:
            x = checkpoint(self._bottleneck, *maps, context_fn=lambda: (nullcontext(), self._counted_already()))
        else:
            x = self._bottleneck(*maps)
        x = self.conv2(norm_relu(self.norm2, self.relu2, x))
        return F.dropout(x, self.drop_rate, self.training)

    def _bottleneck(self, *maps: Tensor) -> Tensor:
        return self.conv1(norm_relu(self.norm1, self.relu1, F.cat(maps, 1)))

    @contextmanager
    def _counted_already(self) -> Iterator[None]:
        """While a batch is computed again it must not go into the running statistics again."""
        self.norm1.track_running_stats = False
        try:
            yield
        finally:
            self.norm1.track_running_stats = True


class DenseBlock(nn.Module):
    """Dense layers: (N, C, H, W) gives (N, C + num_layers * growth_rate, H, W).

    Args:
        num_layers: how many.
        num_input_features: C.
        growth_rate, bn_size, drop_rate, memory_efficient: of each layer.
    """

    def __init__(self, num_layers: int, num_input_features: int, growth_rate: int, *options: Any) -> None:
        super().__init__()
        for i in range(num_layers):
            self.add_module(
                f"denselayer{i + 1}", DenseLayer(num_input_features + i * growth_rate, growth_rate, *options)
            )

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for layer in self.children():
            maps.append(layer(maps))
        return F.cat(maps, 1)


class Transition(nn.Sequential):
    """Between two blocks: (N, C, H, W) gives (N, num_output_features, H / 2, W / 2).

    Args:
        num_input_features, num_output_features: numbers of channels.
    """

    def __init__(self, num_input_features: int, num_output_features: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(num_input_features)
        self.relu = nn.ReLU()
        self.conv = nn.Conv2d(num_input_features, num_output_features, 1, bias=False)
        self.pool = nn.AvgPool2d(2, stride=2)


class DenseNet(nn.Module):
    """A DenseNet for images (N, in_channels, H, W), made for 224 x 224; the shapes of its stages are in the table above.

    Args:
        growth_rate: how many channels each layer adds.
        block_config: the number of layers of each block.
        num_init_features: channels of the first convolution.
        bn_size: the width of the layers' bottlenecks over the growth rate.
        drop_rate: probability of an element of a layer's result being dropped.
        num_classes: number of outputs.
        memory_efficient: less memory in training, more time; see ``DenseLayer``.
        in_channels: channels of the images.

    Raises:
        ValueError: for a drop rate outside 0 .. 1.
    """

    def __init__(
        self,
        growth_rate: int = 32,
        block_config: Sequence[int] = (6, 12, 24, 16),
        num_init_features: int = 64,
        bn_size: int = 4,
        drop_rate: float = 0.0,
        num_classes: int = 1000,
        memory_efficient: bool = False,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if not 0 <= drop_rate <= 1:
            raise ValueError(f"DenseNet: drop_rate must be from 0 to 1, got {drop_rate}")
        self.features = nn.Sequential()
        self.features.add_module("conv0", nn.Conv2d(in_channels, num_init_features, 7, stride=2, padding=3, bias=False))
        self.features.add_module("norm0", nn.BatchNorm2d(num_init_features))
        self.features.add_module("relu0", nn.ReLU())
        self.features.add_module("pool0", nn.MaxPool2d(3, stride=2, padding=1))
        channels = num_init_features
        for i, num_layers in enumerate(block_config, 1):
            block = DenseBlock(num_layers, channels, growth_rate, bn_size, drop_rate, memory_efficient)
            self.features.add_module(f"denseblock{i}", block)
            channels += num_layers * growth_rate
            if i < len(block_config):
                self.features.add_module(f"transition{i}", Transition(channels, channels // 2))
                channels //= 2
        self.features.add_module(f"norm{len(block_config) + 1}", nn.BatchNorm2d(channels))
        self.classifier = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.features(x))
        return self.classifier(F.adaptive_avg_pool2d(x, 1).flatten(1))


@register(input_shape=(3, 224, 224))
def densenet121(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> DenseNet:
    """DenseNet-121: 7,978,856 parameters, growth rate 32.

    Shapes after the blocks: (256, 56, 56), (512, 28, 28), (1024, 14, 14), (1024, 7, 7).

    Args:
        num_classes: number of outputs.
        in_channels: channels of the images.
        options: as for ``DenseNet``.
    """
    options = {"growth_rate": 32, "block_config": (6, 12, 24, 16), "num_init_features": 64, **options}
    return DenseNet(num_classes=num_classes, in_channels=in_channels, **options)


@register(input_shape=(3, 224, 224))
def densenet161(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> DenseNet:
    """DenseNet-161: 28,681,000 parameters, growth rate 48.

    Shapes after the blocks: (384, 56, 56), (768, 28, 28), (2112, 14, 14), (2208, 7, 7).

    Args: as for ``densenet121``.
    """
    options = {"growth_rate": 48, "block_config": (6, 12, 36, 24), "num_init_features": 96, **options}
    return DenseNet(num_classes=num_classes, in_channels=in_channels, **options)


@register(input_shape=(3, 224, 224))
def densenet169(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> DenseNet:
    """DenseNet-169: 14,149,480 parameters, growth rate 32.

    Shapes after the blocks: (256, 56, 56), (512, 28, 28), (1280, 14, 14), (1664, 7, 7).

    Args: as for ``densenet121``.
    """
    options = {"growth_rate": 32, "block_config": (6, 12, 32, 32), "num_init_features": 64, **options}
    return DenseNet(num_classes=num_classes, in_channels=in_channels, **options)


@register(input_shape=(3, 224, 224))
def densenet201(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> DenseNet:
    """DenseNet-201: 20,013,928 parameters, growth rate 32.

    Shapes after the blocks: (256, 56, 56), (512, 28, 28), (1792, 14, 14), (1920, 7, 7).

    Args: as for ``densenet121``.
    """
    options = {"growth_rate": 32, "block_config": (6, 12, 48, 32), "num_init_features": 64, **options}
    return DenseNet(num_classes=num_classes, in_channels=in_channels, **options)
