"""Networks by name.

``models.resnet18()`` makes one; ``models.build("resnet18", num_classes=10, in_channels=1)`` does so by name, and
``models.list()`` lists the names. ``models.notes`` holds the course notes' networks.
"""

from numbanet.models import notes, registry
from numbanet.models.googlenet import GoogLeNet, GoogLeNetOutputs, googlenet
from numbanet.models.inception_resnet_v2 import InceptionResNetV2, inception_resnet_v2
from numbanet.models.inception_v2 import InceptionV2, inception_v2
from numbanet.models.inception_v3 import Inception3, InceptionOutputs, inception_v3
from numbanet.models.inception_v4 import InceptionV4, inception_v4
from numbanet.models.lenet import lenet, lenet_bn
from numbanet.models.registry import ModelInfo, build, info, names, register

list = names

__all__ = [
    "GoogLeNet",
    "GoogLeNetOutputs",
    "Inception3",
    "InceptionOutputs",
    "InceptionResNetV2",
    "InceptionV2",
    "InceptionV4",
    "ModelInfo",
    "build",
    "googlenet",
    "inception_resnet_v2",
    "inception_v2",
    "inception_v3",
    "inception_v4",
    "info",
    "lenet",
    "lenet_bn",
    "list",
    "names",
    "notes",
    "register",
    "registry",
]
