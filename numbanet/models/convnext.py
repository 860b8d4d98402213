"""ConvNeXt: a ResNet brought up to date with what vision transformers had taught.

New in it: no single part, but a walk from ResNet-50 to a pure convolutional network that keeps up with Swin
transformers. The stem cuts the image into patches of 4 x 4; a block is a depthwise 7 x 7 convolution, one layer
normalization, and a widening to four times the channels and back with one GELU between; images shrink in layers of
their own; each branch begins almost closed, multiplied by a learnt 1e-6 per channel ("layer scale"), and is dropped
for random samples ("stochastic depth").

Reference:
    Z. Liu, H. Mao, C.-Y. Wu, C. Feichtenhofer, T. Darrell, S. Xie, "A ConvNet for the 2020s" (2022), section 2 and
    table 9.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from numbanet import nn
from numbanet.models.registry import register
from numbanet.tensor import Tensor, ones


@dataclass
class CNBlockConfig:
    """A stage: its channels, the channels of the next (None: it is the last), and its blocks."""

    input_channels: int
    out_channels: int | None
    num_layers: int


class CNBlock(nn.Module):
    """Depthwise 7 x 7, layer normalization, and per pixel two linear layers with GELU between; the input is added.

    Args:
        dim: C.
        layer_scale: what the branch is multiplied by at first; learnt for each channel.
        stochastic_depth_prob: probability that a sample passes by the shortcut alone.
        norm_layer: makes the normalization of the last dimension from C; None for ``LayerNorm`` with eps 1e-6.

    Shape:
        (N, C, H, W) gives the same.
    """

    def __init__(
        self,
        dim: int,
        layer_scale: float,
        stochastic_depth_prob: float,
        norm_layer: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__()
        norm_layer = norm_layer or partial(nn.LayerNorm, eps=1e-6)
        self.layer_scale = nn.Parameter(ones(dim, 1, 1) * layer_scale)
        self.block = nn.Sequential(
            nn.Conv2d(dim, dim, 7, padding=3, groups=dim),
            nn.Permute([0, 2, 3, 1]),  # a linear layer is a 1 x 1 convolution where channels come last
            norm_layer(dim),
            nn.Linear(dim, 4 * dim),
            nn.GELU(),
            nn.Linear(4 * dim, dim),
            nn.Permute([0, 3, 1, 2]),
        )
        self.stochastic_depth = nn.StochasticDepth(stochastic_depth_prob, "row")

    def forward(self, x: Tensor) -> Tensor:
        return x + self.stochastic_depth(self.layer_scale * self.block(x))


class ConvNeXt(nn.Module):
    """The network of a list of stages; see the module's documentation.

    Args:
        block_setting: the stages.
        stochastic_depth_prob: of dropping the last block; it grows from 0 in equal steps.
        layer_scale: what branches are multiplied by at first.
        num_classes: number of results.
        block: makes a block from (C, layer_scale, stochastic_depth_prob); None for :class:`CNBlock`.
        norm_layer: makes the normalization between stages from C; None for ``LayerNorm2d`` with eps 1e-6.
        in_channels: C.

    Shape:
        (N, C, H, W) gives (N, num_classes); H and W of at least 32 pixels.

    Raises:
        ValueError: for an empty list.
    """

    def __init__(
        self,
        block_setting: Sequence[CNBlockConfig],
        stochastic_depth_prob: float = 0.0,
        layer_scale: float = 1e-6,
        num_classes: int = 1000,
        block: Callable[..., nn.Module] | None = None,
        norm_layer: Callable[..., nn.Module] | None = None,
        *,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if not block_setting:
            raise ValueError("ConvNeXt: block_setting must have at least one stage, got none")
        block, norm_layer = block or CNBlock, norm_layer or partial(nn.LayerNorm2d, eps=1e-6)
        channels = block_setting[0].input_channels
        layers: list[nn.Module] = [
            nn.Conv2dNormActivation(
                in_channels, channels, 4, stride=4, padding=0, norm_layer=norm_layer, activation_layer=None, bias=True
            )
        ]
        done, last = 0, max(1, sum(stage.num_layers for stage in block_setting) - 1)
        for stage in block_setting:
            parts = []
            for _ in range(stage.num_layers):
                parts.append(block(stage.input_channels, layer_scale, stochastic_depth_prob * done / last))
                done += 1
            layers.append(nn.Sequential(*parts))
            channels = stage.input_channels
            if stage.out_channels is not None:
                layers.append(nn.Sequential(norm_layer(channels), nn.Conv2d(channels, stage.out_channels, 2, stride=2)))
                channels = stage.out_channels
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(norm_layer(channels), nn.Flatten(1), nn.Linear(channels, num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)))


def _make(widths: Sequence[int], depths: Sequence[int], drop: float, options: dict[str, Any]) -> ConvNeXt:
    stages = [CNBlockConfig(*row) for row in zip(widths, [*widths[1:], None], depths)]
    return ConvNeXt(stages, **{"stochastic_depth_prob": drop, **options})


@register(input_shape=(3, 224, 224))
def convnext_tiny(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ConvNeXt:
    """ConvNeXt Tiny: 28,589,128 parameters.

    Shapes for images of 224 x 224::

        conv 4x4 / 4                 96 x 56 x 56
        3 blocks                     96 x 56 x 56
        conv 2x2 / 2, 3 blocks       192 x 28 x 28
        conv 2x2 / 2, 9 blocks       384 x 14 x 14
        conv 2x2 / 2, 3 blocks       768 x 7 x 7
        average, linear              1000

    Args:
        num_classes: number of classes.
        in_channels: channels of the images.
        options: as :class:`ConvNeXt` takes them: ``stochastic_depth_prob`` (0.1), ``layer_scale``, ...
    """
    return _make(
        (96, 192, 384, 768), (3, 3, 9, 3), 0.1, {"num_classes": num_classes, "in_channels": in_channels, **options}
    )


@register(input_shape=(3, 224, 224))
def convnext_small(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ConvNeXt:
    """ConvNeXt Small: 50,223,688 parameters.

    As :func:`convnext_tiny`, with 27 blocks in its third stage.

    Args:
        num_classes: number of classes.
        in_channels: channels of the images.
        options: as :class:`ConvNeXt` takes them: ``stochastic_depth_prob`` (0.4), ``layer_scale``, ...
    """
    return _make(
        (96, 192, 384, 768), (3, 3, 27, 3), 0.4, {"num_classes": num_classes, "in_channels": in_channels, **options}
    )


@register(input_shape=(3, 224, 224))
def convnext_base(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ConvNeXt:
    """ConvNeXt Base: 88,591,464 parameters.

    As :func:`convnext_tiny`, with 27 blocks in its third stage and 128, 256, 512, 1024 channels.

    Args:
        num_classes: number of classes.
        in_channels: channels of the images.
        options: as :class:`ConvNeXt` takes them: ``stochastic_depth_prob`` (0.5), ``layer_scale``, ...
    """
    return _make(
        (128, 256, 512, 1024), (3, 3, 27, 3), 0.5, {"num_classes": num_classes, "in_channels": in_channels, **options}
    )


@register(input_shape=(3, 224, 224))
def convnext_large(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ConvNeXt:
    """ConvNeXt Large: 197,767,336 parameters.

    As :func:`convnext_tiny`, with 27 blocks in its third stage and 192, 384, 768, 1536 channels.

    Args:
        num_classes: number of classes.
        in_channels: channels of the images.
        options: as :class:`ConvNeXt` takes them: ``stochastic_depth_prob`` (0.5), ``layer_scale``, ...
    """
    return _make(
        (192, 384, 768, 1536), (3, 3, 27, 3), 0.5, {"num_classes": num_classes, "in_channels": in_channels, **options}
    )
