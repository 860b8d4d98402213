"""Networks by name.

``models.resnet18()`` makes one; ``models.build("resnet18", num_classes=10, in_channels=1)`` does so by name, and
``models.list()`` lists the names. ``models.notes`` holds the course notes' networks.
"""

from numbanet.models import notes, registry
from numbanet.models.fcn import FCN, fcn_resnet18
from numbanet.models.features import features
from numbanet.models.fpn import BackboneWithFPN
from numbanet.models.lenet import lenet, lenet_bn
from numbanet.models.multitask import MultiTaskLoss, MultiTaskNetwork
from numbanet.models.registry import ModelInfo, build, info, names, register
from numbanet.models.siamese import QuadrupletNetwork, SiameseNetwork, TripletNetwork
from numbanet.models.ssd import TinySSD, tiny_ssd
from numbanet.models.unet import UNet, unet

list = names

__all__ = [
    "FCN",
    "BackboneWithFPN",
    "ModelInfo",
    "MultiTaskLoss",
    "MultiTaskNetwork",
    "QuadrupletNetwork",
    "SiameseNetwork",
    "TinySSD",
    "TripletNetwork",
    "UNet",
    "build",
    "fcn_resnet18",
    "features",
    "info",
    "lenet",
    "lenet_bn",
    "list",
    "names",
    "notes",
    "register",
    "registry",
    "tiny_ssd",
    "unet",
]
