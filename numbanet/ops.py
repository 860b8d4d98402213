"""Operators that PyTorch's users find in ``torchvision.ops``, under the same names."""

from numbanet.functional.deform import deform_conv2d
from numbanet.nn.attention import SqueezeExcitation
from numbanet.nn.conv import DeformConv2d

__all__ = ["DeformConv2d", "SqueezeExcitation", "deform_conv2d"]
