"""U-Net: an encoder, a decoder as its mirror image, and a bridge at every size.

FCN adds scores of a coarse map to scores of a finer one. U-Net hands the encoder's whole feature maps over, beside those that
come up from below, so that the decoder can draw fine outlines around what the coarse maps have recognised; and it learns
this from a few dozen images.

Reference:
    Ronneberger, Fischer, Brox 2015, U-Net: convolutional networks for biomedical image segmentation.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count, pairwise
from typing import Any

from numbanet import nn
from numbanet.functional import cat, pad
from numbanet.models.registry import register
from numbanet.tensor import Tensor

__all__ = ["UNet", "unet"]


class DoubleConv(nn.Sequential):
    """Two 3 x 3 convolutions, each followed by (batch normalisation and) ReLU."""

    def __init__(self, in_channels: int, out_channels: int, padding: int, batch_norm: bool) -> None:
        layers: list[nn.Module] = []
        for channels in (in_channels, out_channels):
            layers.append(nn.Conv2d(channels, out_channels, 3, padding=padding, bias=not batch_norm))
            if batch_norm:
                layers.append(nn.BatchNorm2d(out_channels))
            layers.append(nn.ReLU())
        super().__init__(*layers)


class BilinearUp(nn.Sequential):
    """Twice the size by interpolation, and half the channels by a 1 x 1 convolution: less to learn than a transposed one."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(in_channels, out_channels, 1))


class UNet(nn.Module):
    """U-Net for images of any size that the halvings leave something of.

    Args:
        num_classes: channels of the output, the background's among them.
        in_channels: channels of the image.
        channels: of the encoder's levels, fine to coarse.
        padding: 0, the paper's: every 3 x 3 convolution costs a border, so that the output is smaller than the image, and
            no pixel of it has seen a made-up one; images must have a size that halves without remainder. Or 1: the output
            has the image's size, whatever that is.
        up: how the decoder doubles the size: "transposed" (the paper's convolutions of 2 x 2) or "bilinear".
        batch_norm: normalise after each 3 x 3 convolution; the paper does not.
        dropout: probability at the end of the encoder, where the paper drops out too (without saying how much).

    Shape:
        (N, in_channels, H, W) gives scores (N, num_classes, OH, OW).

    Raises:
        ValueError: for another padding or way up, fewer than two levels, or (in forward) an image that is too small or, with
            padding 0, does not halve without remainder.
    """

    def __init__(
        self,
        num_classes: int = 2,
        in_channels: int = 1,
        channels: Sequence[int] = (64, 128, 256, 512, 1024),
        padding: int = 0,
        up: str = "transposed",
        batch_norm: bool = False,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if padding not in (0, 1):
            raise ValueError(f"UNet: padding must be 0 or 1, got {padding}")
        if up not in ("transposed", "bilinear"):
            raise ValueError(f"UNet: expected up 'transposed' or 'bilinear', got {up!r}")
        if len(channels) < 2:
            raise ValueError(f"UNet: expected channels of two levels at least, got {tuple(channels)}")
        self.padding = padding
        ins = (in_channels, *channels[:-1])
        self.down = nn.ModuleList([DoubleConv(c, d, padding, batch_norm) for c, d in zip(ins, channels, strict=True)])
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(dropout)
        coarse_to_fine = list(pairwise(reversed(channels)))
        self.up = nn.ModuleList(
            [BilinearUp(c, d) if up == "bilinear" else nn.ConvTranspose2d(c, d, 2, 2) for c, d in coarse_to_fine]
        )
        self.conv = nn.ModuleList([DoubleConv(2 * d, d, padding, batch_norm) for _, d in coarse_to_fine])
        self.head = nn.Conv2d(channels[0], num_classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)  # the paper's sqrt(2 / N), N the number of inputs
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        self._check_size(tuple(x.shape))
        bridges = []
        for block in self.down[:-1]:
            x = block(x)
            bridges.append(x)
            x = self.pool(x)
        x = self.dropout(self.down[-1](x))
        for up, conv in zip(self.up, self.conv, strict=True):
            x = conv(_join(bridges.pop(), up(x)))
        return self.head(x)

    def output_size(self, length: int) -> int:
        """The side of the output for an image with this side; 0 for a side that does not fit."""
        border = 0 if self.padding else 4
        sizes: list[int] = []
        size = length
        for level in range(len(self.down)):
            if level and size % 2 and not self.padding:
                return 0
            size = (size // 2 if level else size) - border
            if size < 1:
                return 0
            sizes.append(size)
        for own in sizes[-2::-1]:
            size = (own if self.padding else 2 * size) - border
            if size < 1:
                return 0
        return size

    def _check_size(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 4:
            raise ValueError(f"UNet: expected images (N, C, H, W), got shape {shape}")
        if not all(map(self.output_size, shape[2:])):
            height, width = (next(filter(self.output_size, count(length))) for length in shape[2:])
            raise ValueError(
                f"UNet: images of {shape[2]} x {shape[3]} do not fit {len(self.down)} levels with padding={self.padding}; "
                f"{height} x {width} would" + ("" if self.padding else ", or any size with padding=1")
            )


def _join(bridge: Tensor, x: Tensor) -> Tensor:
    """The encoder's map, cut to the size of ``x``, beside ``x``; a row or column that halving lost is repeated first."""
    missing = [b - a for a, b in zip(x.shape[2:], bridge.shape[2:], strict=True)]
    if max(missing) == 1 and min(missing) >= 0:  # with padding: 2 * floor(size / 2)
        x = pad(x, (0, missing[1], 0, missing[0]), mode="replicate")
    top, left = ((b - a) // 2 for a, b in zip(x.shape[2:], bridge.shape[2:], strict=True))
    return cat([bridge[:, :, top : top + x.shape[2], left : left + x.shape[3]], x], 1)


@register(input_shape=(1, 572, 572), task="segmentation")
def unet(num_classes: int = 2, in_channels: int = 1, **options: Any) -> UNet:
    """U-Net as in the paper: 31,030,658 parameters, images (N, 1, 572, 572), scores (N, 2, 388, 388).

        level      encoder              decoder
        1          64 x 568 x 568       64 x 388 x 388
        2          128 x 280 x 280      128 x 196 x 196
        3          256 x 136 x 136      256 x 100 x 100
        4          512 x 64 x 64        512 x 52 x 52
        5          1024 x 28 x 28

    Args:
        num_classes: channels of the output.
        in_channels: channels of the image.
        options: see :class:`UNet`; ``padding=1`` for scores of the image's size.
    """
    return UNet(num_classes, in_channels, **options)
