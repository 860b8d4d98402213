"""Image transforms with torchvision's names and semantics.

A transform takes one image: a PIL image, a uint8 array (H, W) or (H, W, C), or a Tensor (C, H, W), and returns one. The
transforms here can also take a whole batch of equal-sized images as one array (``apply_batch``); datasets use that
through :func:`batched`, so that a loader pays for NumPy calls per batch and not per image. Both ways give the same
numbers, bit for bit, random transforms included.

:class:`MixUp` and :class:`CutMix` take a batch of images with its labels.
"""

from numbanet.data.transforms.base import Compose, InterpolationMode, Lambda, RandomApply, Transform, batched
from numbanet.data.transforms.colour import ColorJitter, Grayscale, RandomGrayscale
from numbanet.data.transforms.convert import Normalize, ToTensor
from numbanet.data.transforms.erasing import RandomErasing
from numbanet.data.transforms.geometry import (
    CenterCrop,
    Pad,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomVerticalFlip,
    Resize,
)
from numbanet.data.transforms.mix import CutMix, MixUp
from numbanet.data.transforms.warp import RandomAffine, RandomRotation

__all__ = [
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "CutMix",
    "Grayscale",
    "InterpolationMode",
    "Lambda",
    "MixUp",
    "Normalize",
    "Pad",
    "RandomAffine",
    "RandomApply",
    "RandomCrop",
    "RandomErasing",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomVerticalFlip",
    "Resize",
    "ToTensor",
    "Transform",
    "batched",
]
