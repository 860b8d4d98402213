"""Operators that PyTorch's users find in ``torchvision.ops``, under the same names."""

from numbanet.functional import deform_conv2d, stochastic_depth
from numbanet.nn.attention import SqueezeExcitation
from numbanet.nn.blocks import Conv2dNormActivation, Permute
from numbanet.nn.conv import DeformConv2d
from numbanet.nn.dropout import StochasticDepth
from numbanet.ops.boxes import (
    batched_nms,
    box_area,
    box_convert,
    box_iou,
    clip_boxes_to_image,
    generalized_box_iou,
    nms,
    remove_small_boxes,
)
from numbanet.ops.feature_pyramid import ExtraFPNBlock, FeaturePyramidNetwork, LastLevelMaxPool, LastLevelP6P7

__all__ = [
    "Conv2dNormActivation",
    "DeformConv2d",
    "ExtraFPNBlock",
    "FeaturePyramidNetwork",
    "LastLevelMaxPool",
    "LastLevelP6P7",
    "Permute",
    "SqueezeExcitation",
    "StochasticDepth",
    "batched_nms",
    "box_area",
    "box_convert",
    "box_iou",
    "clip_boxes_to_image",
    "deform_conv2d",
    "generalized_box_iou",
    "nms",
    "remove_small_boxes",
    "stochastic_depth",
]
