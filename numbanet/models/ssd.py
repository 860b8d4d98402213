"""SSD, the single shot detector: every object found by one pass of one network.

R-CNN's successors first propose regions and then look at each. SSD has a set of default boxes around every pixel of several
feature maps, and predicts for all of them at once, by a 3 x 3 convolution on each map, a class and an offset. Fine maps
find what is small, coarse maps what is large.

Here is a small one for small images, with five maps. The paper's, SSD300, has VGG-16 below and six maps with 8,732 boxes; how
boxes are matched, which negatives are learned from and what the loss is are the paper's.

Reference:
    Liu, Anguelov, Erhan, Szegedy, Reed, Fu, Berg 2016, SSD: single shot multibox detector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numbanet import nn
from numbanet.autograd import no_grad
from numbanet.functional import cat
from numbanet.models.detection import detections, multibox_loss, multibox_prior
from numbanet.models.registry import register
from numbanet.tensor import Tensor, tensor

__all__ = ["TinySSD", "tiny_ssd"]

_SIZES = ((0.2, 0.272), (0.37, 0.447), (0.54, 0.619), (0.71, 0.79), (0.88, 0.961))
_RATIOS = ((1.0, 2.0, 0.5),) * 5


def _halving(in_channels: int, out_channels: int) -> nn.Sequential:
    """Two 3 x 3 convolutions with batch normalisation and ReLU, and a pooling."""
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        layers += [nn.Conv2d(channels, out_channels, 3, padding=1), nn.BatchNorm2d(out_channels), nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(2))


def _along_anchors(predictions: Tensor, numbers: int) -> Tensor:
    """(N, anchors * numbers, H, W) as (N, H * W * anchors, numbers)."""
    return predictions.permute(0, 2, 3, 1).reshape(predictions.shape[0], -1, numbers)


class TinySSD(nn.Module):
    """A small single shot detector, the one of "Dive into deep learning".

    Args:
        num_classes: C, the kinds of objects, without the background.
        in_channels: channels of the image.
        sizes: of the anchors of each of the five maps, in parts of the image's height.
        ratios: of the anchors of each map.

    Shape:
        images (N, in_channels, H, W), H and W at least 64, give three tensors: anchors (1, A, 4) in pixels, scores
        (N, A, C + 1), class 0 for nothing, and offsets (N, A, 4).

    Raises:
        ValueError: for other than five lists of sizes or ratios, or (in forward) an image that is too small.
    """

    def __init__(
        self,
        num_classes: int = 1,
        in_channels: int = 3,
        sizes: Sequence[Sequence[float]] = _SIZES,
        ratios: Sequence[Sequence[float]] = _RATIOS,
    ) -> None:
        super().__init__()
        if len(sizes) != 5 or len(ratios) != 5:
            raise ValueError(f"TinySSD: expected sizes and ratios of 5 maps, got {len(sizes)} and {len(ratios)}")
        self.num_classes, self.sizes, self.ratios = num_classes, sizes, ratios
        blocks = [
            nn.Sequential(*[_halving(a, b) for a, b in ((in_channels, 16), (16, 32), (32, 64))]),
            _halving(64, 128),
            _halving(128, 128),
            _halving(128, 128),
            nn.AdaptiveMaxPool2d(1),
        ]
        for i, (block, channels) in enumerate(zip(blocks, (64, 128, 128, 128, 128), strict=True)):
            anchors = len(sizes[i]) + len(ratios[i]) - 1
            setattr(self, f"blk_{i}", block)
            setattr(self, f"cls_{i}", nn.Conv2d(channels, anchors * (num_classes + 1), 3, padding=1))
            setattr(self, f"bbox_{i}", nn.Conv2d(channels, anchors * 4, 3, padding=1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if x.ndim != 4 or min(x.shape[2:]) < 64:
            raise ValueError(f"TinySSD: expected images (N, C, H, W) of 64 x 64 pixels at least, got {tuple(x.shape)}")
        height, width = x.shape[2:]
        pixels = tensor([width, height, width, height], dtype=x.dtype, device=x.device)
        anchors, scores, offsets = [], [], []
        for i, (sizes, ratios) in enumerate(zip(self.sizes, self.ratios, strict=True)):
            x = getattr(self, f"blk_{i}")(x)
            anchors.append(multibox_prior(x, sizes, ratios) * pixels)
            scores.append(_along_anchors(getattr(self, f"cls_{i}")(x), self.num_classes + 1))
            offsets.append(_along_anchors(getattr(self, f"bbox_{i}")(x), 4))
        return cat(anchors, 1), cat(scores, 1), cat(offsets, 1)

    def loss(self, x: Tensor, targets: Sequence[Mapping[str, Tensor]], **options: Any) -> dict[str, Tensor]:
        """:func:`~numbanet.models.detection.multibox_loss` of images and their targets, which says what these are."""
        anchors, scores, offsets = self(x)
        return multibox_loss(scores, offsets, anchors, targets, **options)

    def detect(self, x: Tensor, **options: Any) -> list[dict[str, Tensor]]:
        """What is in the images; :func:`~numbanet.models.detection.detections` has the options and tells the results."""
        with no_grad():
            anchors, scores, offsets = self(x)
        return detections(scores, offsets, anchors, tuple(x.shape[2:]), **options)


@register(input_shape=(3, 256, 256), task="detection")
def tiny_ssd(num_classes: int = 1, in_channels: int = 3, **options: Any) -> TinySSD:
    """A small SSD for images of 64 pixels and more: 1,010,376 parameters, 5,444 anchors in images of 256 x 256.

        blk_0     64 x 32 x 32     4,096 anchors of 0.2 to 0.27 of the image
        blk_1    128 x 16 x 16     1,024              0.37    0.45
        blk_2    128 x 8 x 8         256              0.54    0.62
        blk_3    128 x 4 x 4          64              0.71    0.79
        blk_4    128 x 1 x 1           4              0.88    0.96

    Args:
        num_classes: the kinds of objects, without the background.
        in_channels: channels of the image.
        options: see :class:`TinySSD`.
    """
    return TinySSD(num_classes, in_channels, **options)
