"""Small groups of layers that many networks are made of, under torchvision's names and keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numbanet import shapes
from numbanet.functional import layer_norm
from numbanet.nn.activation import ReLU
from numbanet.nn.batch_norm import BatchNorm2d
from numbanet.nn.containers import Sequential
from numbanet.nn.conv import Conv2d
from numbanet.nn.module import Module
from numbanet.nn.normalization import LayerNorm
from numbanet.tensor import Tensor

__all__ = ["Conv2dNormActivation", "LayerNorm2d", "Permute"]


class Conv2dNormActivation(Sequential):
    """A convolution, its normalization, its activation: children "0", "1" and "2"; as ``torchvision.ops.Conv2dNormActivation``.

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: (KH, KW), or an int for both.
        stride, dilation, groups: see ``functional.conv2d``.
        padding: see ``functional.conv2d``; None keeps H and W for odd kernels and stride 1.
        norm_layer: makes the normalization from O; None for none.
        activation_layer: makes the activation; None for none.
        inplace: goes to the activation; None for activations that do not take it.
        bias: whether the convolution has a bias; None: where nothing normalizes.

    Shape:
        (N, C, H, W) gives (N, O, OH, OW).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any = 3,
        stride: Any = 1,
        padding: Any = None,
        groups: int = 1,
        norm_layer: Callable[..., Module] | None = BatchNorm2d,
        activation_layer: Callable[..., Module] | None = ReLU,
        dilation: Any = 1,
        inplace: bool | None = True,
        bias: bool | None = None,
    ) -> None:
        if padding is None:
            sizes = shapes.pair("Conv2dNormActivation", kernel_size, "kernel_size")
            steps = shapes.pair("Conv2dNormActivation", dilation, "dilation")
            padding = tuple((size - 1) // 2 * step for size, step in zip(sizes, steps, strict=True))
        if bias is None:
            bias = norm_layer is None
        layers: list[Module] = [
            Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias=bias)
        ]
        if norm_layer is not None:
            layers.append(norm_layer(out_channels))
        if activation_layer is not None:
            layers.append(activation_layer() if inplace is None else activation_layer(inplace=inplace))
        super().__init__(*layers)
        self.out_channels = out_channels


class Permute(Module):
    """``Tensor.permute`` as a layer, for use in a Sequential.

    Args:
        dims: the input's dimension that becomes dimension 0, 1, ...
    """

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__()
        self.dims = list(dims)

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(*self.dims)

    def extra_repr(self) -> str:
        return f"dims={self.dims}"


class LayerNorm2d(LayerNorm):
    """``LayerNorm`` over the channels of each pixel by itself: (N, C, H, W) gives the same.

    Args:
        normalized_shape, eps, elementwise_affine, bias: as ``LayerNorm`` takes them, ``normalized_shape`` being C.
    """

    def forward(self, input: Tensor) -> Tensor:
        pixels = input.permute(0, 2, 3, 1)
        return layer_norm(pixels, self.normalized_shape, self.weight, self.bias, self.eps).permute(0, 3, 1, 2)
