"""Fully convolutional networks: a class for every pixel.

A classifier without its last layers still says what is where, only coarsely: on a map 32 times smaller than the image. FCN
turns the fully connected layer into a 1 x 1 convolution, a score per class and place, and enlarges the scores with transposed
convolutions, which begin as bilinear interpolation and are learned like everything else. The finer maps within the network
know outlines better: FCN-16s and FCN-8s add their scores on the way up.

    stride 32:  scores of the last map ------------------------------------------------- x 32
    stride 16:  ... x 2, + scores of the map before -------------------------------------- x 16
    stride 8:   ... x 2, + scores of the map before, x 2, + scores of the map before that -- x 8

Reference:
    Long, Shelhamer, Darrell 2015, Fully convolutional networks for semantic segmentation, sections 3 and 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from numbanet import nn
from numbanet.models import registry
from numbanet.models.features import features
from numbanet.tensor import Tensor, from_numpy

__all__ = ["FCN", "bilinear_kernel", "fcn", "fcn_resnet18"]


def bilinear_kernel(in_channels: int, out_channels: int, kernel_size: int) -> Tensor:
    """The weight with which a transposed convolution interpolates: a pyramid for each channel, nothing between channels.

    With a stride of s it is made for kernel_size = 2 * s and padding = s / 2: the output is the input, s times larger.

    Args:
        in_channels, out_channels: where they differ, the channels without a partner get zeros.
        kernel_size: of both axes.

    Returns:
        float32 (in_channels, out_channels, kernel_size, kernel_size).
    """
    reach = (kernel_size + 1) // 2
    centre = (kernel_size - 1) / 2 if kernel_size % 2 == 0 else reach - 1
    slope = 1 - np.abs(np.arange(kernel_size) - centre) / reach
    weight = np.zeros((in_channels, out_channels, kernel_size, kernel_size), np.float32)
    partners = np.arange(min(in_channels, out_channels))
    weight[partners, partners] = np.outer(slope, slope)
    return from_numpy(weight)


def _enlarging(channels: int, factor: int, bias: bool = False) -> nn.ConvTranspose2d:
    layer = nn.ConvTranspose2d(channels, channels, 2 * factor, factor, factor // 2, bias=bias)
    layer.load_state_dict({"weight": bilinear_kernel(channels, channels, 2 * factor)}, strict=False)
    return layer


class FCN(nn.Module):
    """Scores for each pixel from feature maps.

    Args:
        backbone: from images to a mapping of maps, fine to coarse, such as ``models.features(net, names)``.
        channels: of these maps.
        strides: of these maps: by how much they are smaller than the image, even numbers, each twice the one before.
        num_classes: number of scores, the background's among them.

    One map makes an FCN-32s (if its stride is 32), two make an FCN-16s, three an FCN-8s. The paper keeps the last
    enlargement as interpolation: ``net.up[-1].requires_grad_(False)``.

    Shape:
        (N, C, H, W) gives (N, num_classes, H, W), for any H and W that the backbone takes.

    Raises:
        ValueError: for lists that do not fit, or (in forward) another number of maps.
    """

    def __init__(
        self, backbone: nn.Module, channels: Sequence[int], strides: Sequence[int], num_classes: int = 21
    ) -> None:
        super().__init__()
        if not channels or len(channels) != len(strides):
            raise ValueError(
                f"FCN: expected channels and strides of the same maps, got {list(channels)} and {list(strides)}"
            )
        if strides[0] % 2 or any(b != 2 * a for a, b in pairwise(strides)):
            raise ValueError(f"FCN: strides must be even and double from map to map, got {list(strides)}")
        self.backbone = backbone
        self.score = nn.ModuleList([nn.Conv2d(c, num_classes, 1) for c in channels])
        self.up = nn.ModuleList(
            [_enlarging(num_classes, 2) for _ in channels[1:]] + [_enlarging(num_classes, strides[0])]
        )
        # At first the finer maps have no say, and the network is the coarser FCN.
        for layer in self.score[:-1]:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.xavier_uniform_(self.score[-1].weight)
        nn.init.zeros_(self.score[-1].bias)

    def forward(self, x: Tensor) -> Tensor:
        maps: Mapping[str, Tensor] = self.backbone(x)
        if len(maps) != len(self.score):
            raise ValueError(f"FCN: made for {len(self.score)} maps, the backbone gave {len(maps)}: {', '.join(maps)}")
        scores = [score(map) for score, map in zip(self.score, maps.values(), strict=True)]
        result = scores.pop()
        for up in self.up:
            finer = scores.pop() if scores else None
            result = _corner(up(result), x if finer is None else finer)
            result = result if finer is None else result + finer
        return result


def _corner(scores: Tensor, like: Tensor) -> Tensor:
    """Halving rounds up, so that doubling may give a row too many at the lower and right borders."""
    return scores[:, :, : like.shape[2], : like.shape[3]]


_STAGES = {8: ("layer2", "layer3", "layer4"), 16: ("layer3", "layer4"), 32: ("layer4",)}


@registry.register(input_shape=(3, 224, 224), task="segmentation")
def fcn_resnet18(
    num_classes: int = 21, in_channels: int = 3, stride: int = 32, backbone: nn.Module | None = None
) -> FCN:
    """FCN-32s (or 16s, 8s) on ResNet-18: 12,993,621 parameters, images (N, 3, H, W), scores (N, 21, H, W).

        layer1            64 x 56 x 56
        layer2           128 x 28 x 28     scores added with stride 8
        layer3           256 x 14 x 14     scores added with stride 8 and 16
        layer4           512 x 7 x 7
        score             21 x 7 x 7
        up                21 x 224 x 224

    Args:
        num_classes: number of scores, the background's among them.
        in_channels: channels of the image.
        stride: 32, 16 or 8, of the finest map that is used.
        backbone: a network with stages of torchvision's names "layer2" to "layer4", of strides 8, 16 and 32, to use in
            place of a new ResNet-18; its own last layers, "avgpool" and "fc", are taken away.

    Raises:
        ValueError: for another stride.
    """
    if stride not in _STAGES:
        raise ValueError(f"fcn_resnet18: stride must be 8, 16 or 32, got {stride}")
    net = registry.build("resnet18", in_channels=in_channels) if backbone is None else backbone
    for unused in ("avgpool", "fc"):
        if hasattr(net, unused):
            delattr(net, unused)
    stages = _STAGES[stride]
    strides = [stride * 2**i for i in range(len(stages))]
    return FCN(features(net, stages), [16 * s for s in strides], strides, num_classes)


@registry.register(input_shape=(3, 320, 480), prefix=registry.NOTES, task="segmentation")
def fcn(num_classes: int = 21, in_channels: int = 3, backbone: nn.Module | None = None) -> nn.Sequential:
    """FCN as the notes write it: ResNet-18 without its head and two more layers, 12,993,642 parameters.

    The layers are a 1 x 1 convolution and a transposed one.

    Images whose sides are multiples of 32, (N, 3, 320, 480), give scores (N, 21, 320, 480).

        ResNet-18's layers    512 x 10 x 15
        final_conv             21 x 10 x 15
        transpose_conv         21 x 320 x 480

    Args:
        num_classes: number of scores, the background's among them.
        in_channels: channels of the image.
        backbone: layers in a row, from images to maps of 512 channels and stride 32, in place of ResNet-18's.
    """
    if backbone is None:
        backbone = nn.Sequential(*list(registry.build("resnet18", in_channels=in_channels).children())[:-2])
    net = nn.Sequential(*backbone.children())
    net.add_module("final_conv", nn.Conv2d(512, num_classes, 1))
    net.add_module("transpose_conv", _enlarging(num_classes, 32, bias=True))
    nn.init.xavier_uniform_(net.final_conv.weight)
    return net
