"""A network with a feature pyramid on it: maps of several sizes, all of as many channels and all of equal meaning.

The pyramid itself is ``numbanet.ops.FeaturePyramidNetwork``; here it is put on a network.

Reference:
    Lin, Dollar, Girshick, He, Hariharan, Belongie 2017, Feature pyramid networks for object detection.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from numbanet import nn
from numbanet.models.features import features
from numbanet.ops.feature_pyramid import ExtraFPNBlock, FeaturePyramidNetwork, LastLevelMaxPool
from numbanet.tensor import Tensor

__all__ = ["BackboneWithFPN", "FeaturePyramidNetwork"]


class BackboneWithFPN(nn.Module):
    """Maps of ``backbone`` made into a feature pyramid.

    Args:
        backbone: any network, such as ``models.resnet18()``.
        return_layers: the modules whose outputs are taken, fine to coarse: names, or a mapping to the levels' names.
        in_channels_list: the channels of these outputs.
        out_channels: channels of each level.
        extra_blocks: makes more levels at the coarse end; None: :class:`~numbanet.ops.LastLevelMaxPool`.
        norm_layer: see :class:`~numbanet.ops.FeaturePyramidNetwork`.

    Shape:
        images (N, C, H, W) give an ordered dictionary of levels (N, out_channels, H_i, W_i). For ``resnet18()`` and
        ``["layer1", "layer2", "layer3", "layer4"]``, images of 224 x 224 give levels of 56, 28, 14, 7 and (pool) 4.

    Raises:
        ValueError: for names that the network does not have, or channels that do not fit the names.
    """

    def __init__(
        self,
        backbone: nn.Module,
        return_layers: Mapping[str, str] | Iterable[str],
        in_channels_list: Sequence[int],
        out_channels: int = 256,
        extra_blocks: ExtraFPNBlock | None = None,
        norm_layer: Any = None,
    ) -> None:
        super().__init__()
        self.body = features(backbone, return_layers)
        if len(self.body.names) != len(in_channels_list):
            raise ValueError(
                f"BackboneWithFPN: {len(self.body.names)} maps ({', '.join(self.body.names)}) but in_channels_list has "
                f"{len(in_channels_list)} numbers"
            )
        self.fpn = FeaturePyramidNetwork(in_channels_list, out_channels, extra_blocks or LastLevelMaxPool(), norm_layer)
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        return self.fpn(self.body(x))
