"""The feature pyramid: maps of every size with the meaning of the coarsest.

A network's fine maps know where things are, its coarse maps what they are. The pyramid goes back down from the coarsest map:
each level is the level above, doubled in size, plus the network's own map of that size, brought to the same number of
channels by a 1 x 1 convolution; a 3 x 3 convolution smooths what the doubling left jagged.

    C5 -- 1x1 --------------------- + ----------------- 3x3 -- P5
                                    |  doubled
    C4 -- 1x1 --------------------- + ----------------- 3x3 -- P4
                                    |  doubled
    C3 -- 1x1 --------------------- + ----------------- 3x3 -- P3

Reference:
    Lin, Dollar, Girshick, He, Hariharan, Belongie 2017, Feature pyramid networks for object detection, section 3.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numbanet import nn
from numbanet.functional import interpolate, max_pool2d, relu
from numbanet.tensor import Tensor

__all__ = ["ExtraFPNBlock", "FeaturePyramidNetwork", "LastLevelMaxPool", "LastLevelP6P7"]


class ExtraFPNBlock(nn.Module):
    """What makes more, coarser, levels; subclasses define forward."""

    def forward(self, results: list[Tensor], x: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        """The levels and their names, the new ones at the end.

        Args:
            results: the pyramid's levels, fine to coarse.
            x: the maps that it was made of.
            names: the levels' names.
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward(results, x, names)")


class LastLevelMaxPool(ExtraFPNBlock):
    """One more level, "pool": every other pixel of the coarsest."""

    def forward(self, results: list[Tensor], x: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        return [*results, max_pool2d(results[-1], 1, 2, 0)], [*names, "pool"]


class LastLevelP6P7(ExtraFPNBlock):
    """Two more levels, "p6" and "p7", by 3 x 3 convolutions of stride 2, as RetinaNet has them.

    Args:
        in_channels: of the map that p6 is made of.
        out_channels: of both levels. Where the two are equal, p6 is made of the pyramid's coarsest level, else of the
            network's.

    Reference:
        Lin, Goyal, Girshick, He, Dollar 2017, Focal loss for dense object detection, section 4.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.p6 = nn.Conv2d(in_channels, out_channels, 3, 2, 1)
        self.p7 = nn.Conv2d(out_channels, out_channels, 3, 2, 1)
        for layer in (self.p6, self.p7):
            _initialise(layer)
        self.use_P5 = in_channels == out_channels

    def forward(self, results: list[Tensor], x: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        p6 = self.p6((results if self.use_P5 else x)[-1])
        return [*results, p6, self.p7(relu(p6))], [*names, "p6", "p7"]


def _initialise(conv: nn.Conv2d) -> None:
    nn.init.kaiming_uniform_(conv.weight, a=1)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


class FeaturePyramidNetwork(nn.Module):
    """A feature pyramid, as ``torchvision.ops.FeaturePyramidNetwork``, with its names in the state dict.

    Args:
        in_channels_list: channels of the network's maps, fine to coarse.
        out_channels: channels of each level; the paper has 256.
        extra_blocks: makes more levels at the coarse end.
        norm_layer: makes a normalisation layer from a number of channels, which follows each convolution (they have no
            bias then); None: none.

    Shape:
        a mapping of names to maps (N, C_i, H_i, W_i), fine to coarse, gives one of the same names to levels
        (N, out_channels, H_i, W_i), and those of the extra block.

    Raises:
        ValueError: for a map without channels, or (in forward) another number of maps than of channels.
        TypeError: for an extra block that is none.

    Example:
        >>> import numbanet
        >>> fpn = FeaturePyramidNetwork([16, 32], 8)
        >>> maps = {"fine": numbanet.rand(1, 16, 10, 10), "coarse": numbanet.rand(1, 32, 5, 5)}
        >>> {name: tuple(level.shape) for name, level in fpn(maps).items()}
        {'fine': (1, 8, 10, 10), 'coarse': (1, 8, 5, 5)}
    """

    def __init__(
        self,
        in_channels_list: Sequence[int],
        out_channels: int,
        extra_blocks: ExtraFPNBlock | None = None,
        norm_layer: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if not in_channels_list or min(in_channels_list) < 1:
            raise ValueError(
                f"FeaturePyramidNetwork: expected positive numbers of channels, got {list(in_channels_list)}"
            )
        if extra_blocks is not None and not isinstance(extra_blocks, ExtraFPNBlock):
            raise TypeError(
                f"FeaturePyramidNetwork: expected an ExtraFPNBlock as extra_blocks, got {type(extra_blocks).__name__}"
            )

        def block(channels: int, kernel_size: int) -> nn.Sequential:
            conv = nn.Conv2d(channels, out_channels, kernel_size, padding=kernel_size // 2, bias=norm_layer is None)
            _initialise(conv)
            return nn.Sequential(conv) if norm_layer is None else nn.Sequential(conv, norm_layer(out_channels))

        self.inner_blocks = nn.ModuleList([block(channels, 1) for channels in in_channels_list])
        self.layer_blocks = nn.ModuleList([block(out_channels, 3) for _ in in_channels_list])
        self.extra_blocks = extra_blocks

    def forward(self, x: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
        names: list[str] = list(x)
        maps: list[Any] = list(x.values())
        if len(maps) != len(self.inner_blocks):
            raise ValueError(
                f"FeaturePyramidNetwork: made for {len(self.inner_blocks)} maps, got {len(maps)} ({', '.join(names)})"
            )
        level = self.inner_blocks[-1](maps[-1])
        results = [self.layer_blocks[-1](level)]
        for i in range(len(maps) - 2, -1, -1):
            own = self.inner_blocks[i](maps[i])
            level = own + interpolate(level, size=tuple(own.shape[-2:]), mode="nearest")
            results.insert(0, self.layer_blocks[i](level))
        if self.extra_blocks is not None:
            results, names = self.extra_blocks(results, maps, names)
        return OrderedDict(zip(names, results, strict=True))
