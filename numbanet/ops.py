"""Operators that PyTorch's users find in ``torchvision.ops``, under the same names."""

from numbanet.functional.deform import deform_conv2d
from numbanet.functional.dropout import stochastic_depth
from numbanet.nn.attention import SqueezeExcitation
from numbanet.nn.blocks import Conv2dNormActivation, Permute
from numbanet.nn.conv import DeformConv2d
from numbanet.nn.dropout import StochasticDepth

__all__ = [
    "Conv2dNormActivation",
    "DeformConv2d",
    "Permute",
    "SqueezeExcitation",
    "StochasticDepth",
    "deform_conv2d",
    "stochastic_depth",
]
