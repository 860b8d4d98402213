"""What GoogLeNet and its successors are built of: convolutions with batch normalisation, and paths side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numbanet import nn
from numbanet.functional import cat
from numbanet.nn.fused import norm_relu
from numbanet.tensor import Tensor, tensor


class BasicConv2d(nn.Module):
    """Convolution without bias, batch normalisation, ReLU.

    Args:
        in_channels: C of the input.
        out_channels: C of the output.
        options: go to ``nn.Conv2d``: ``kernel_size``, ``stride``, ``padding``.
    """

    def __init__(self, in_channels: int, out_channels: int, **options: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, bias=False, **options)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return norm_relu(self.bn, None, self.conv(x))


class Branches(nn.Module):
    """Modules that all see the same input, their outputs joined along the channels: what an Inception block is.

    Args:
        branches: name -> module, in the order of the outputs. Their H and W must agree.
    """

    def __init__(self, **branches: nn.Module) -> None:
        super().__init__()
        for name, branch in branches.items():
            self.add_module(name, branch)

    def forward(self, x: Tensor) -> Tensor:
        return cat([branch(x) for branch in self.children()], dim=1)


def path(in_channels: int, *convolutions: Sequence[Any]) -> nn.Sequential:
    """Convolutions one after another, each with batch normalisation and ReLU.

    Args:
        in_channels: C of the input.
        convolutions: (channels, kernel size), padded so that H and W stay; or (channels, kernel size, stride), without
            padding; or (channels, kernel size, stride, padding).
    """
    layers = []
    for channels, kernel_size, *rest in convolutions:
        same = tuple(k // 2 for k in kernel_size) if isinstance(kernel_size, tuple) else kernel_size // 2
        stride, padding = (*rest, 0)[:2] if rest else (1, same)
        layers.append(BasicConv2d(in_channels, channels, kernel_size=kernel_size, stride=stride, padding=padding))
        in_channels = channels
    return nn.Sequential(*layers)


def check_transform_input(name: str, transform_input: bool, in_channels: int) -> None:
    """Refuse ``transform_input`` for images that have no three colours.

    Raises:
        ValueError: naming the number of channels.
    """
    if transform_input and in_channels != 3:
        raise ValueError(f"{name}: transform_input is for 3 colour channels, got in_channels={in_channels}")


def to_half_range(x: Tensor) -> Tensor:
    """Images normalised by ImageNet's mean and deviation of each colour, as if by 0.5 and 0.5 instead.

    The first published weights of GoogLeNet and Inception v3 expect the latter.
    """
    means, deviations = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    factor = tensor([d / 0.5 for d in deviations], dtype=x.dtype, device=x.device).reshape(1, 3, 1, 1)
    shift = tensor([(m - 0.5) / 0.5 for m in means], dtype=x.dtype, device=x.device).reshape(1, 3, 1, 1)
    return x * factor + shift


def kaiming_weights(net: nn.Module) -> None:
    """Draw all convolutions' weights by He's rule, normal, so that each layer keeps its input's variance."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
