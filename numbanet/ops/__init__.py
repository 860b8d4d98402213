"""Operators that PyTorch's users find in ``torchvision.ops``, under the same names."""

from numbanet.functional.deform import deform_conv2d
from numbanet.nn.conv import DeformConv2d
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
    "DeformConv2d",
    "ExtraFPNBlock",
    "FeaturePyramidNetwork",
    "LastLevelMaxPool",
    "LastLevelP6P7",
    "batched_nms",
    "box_area",
    "box_convert",
    "box_iou",
    "clip_boxes_to_image",
    "deform_conv2d",
    "generalized_box_iou",
    "nms",
    "remove_small_boxes",
]
