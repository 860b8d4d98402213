"""Networks by name.

``models.resnet18()`` makes one; ``models.build("resnet18", num_classes=10, in_channels=1)`` does so by name, and
``models.list()`` lists the names. ``models.notes`` holds the course notes' networks. ``weights=`` starts from a file of weights
under torchvision's keys; ``load_torch_state_dict`` loads one into a network that is there already.
"""

from numbanet.models import notes, registry
from numbanet.models.alexnet import AlexNet, alexnet
from numbanet.models.googlenet import GoogLeNet, GoogLeNetOutputs, googlenet
from numbanet.models.inception_resnet_v2 import InceptionResNetV2, inception_resnet_v2
from numbanet.models.inception_v2 import InceptionV2, inception_v2
from numbanet.models.inception_v3 import Inception3, InceptionOutputs, inception_v3
from numbanet.models.inception_v4 import InceptionV4, inception_v4
from numbanet.models.lenet5 import LeNet5, lenet5
from numbanet.models.nin import NiN, nin, nin_cifar
from numbanet.models.notes import densenet, lenet, lenet_bn
from numbanet.models.registry import ModelInfo, build, info, names, register
from numbanet.models.vgg import VGG, vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn
from numbanet.models.weights import LoadedWeights, load_torch_state_dict
from numbanet.models.zfnet import ZFNet, zfnet

list = names

__all__ = [
    "VGG",
    "AlexNet",
    "GoogLeNet",
    "GoogLeNetOutputs",
    "Inception3",
    "InceptionOutputs",
    "InceptionResNetV2",
    "InceptionV2",
    "InceptionV4",
    "LeNet5",
    "LoadedWeights",
    "ModelInfo",
    "NiN",
    "ZFNet",
    "alexnet",
    "build",
    "densenet",
    "googlenet",
    "inception_resnet_v2",
    "inception_v2",
    "inception_v3",
    "inception_v4",
    "info",
    "lenet",
    "lenet5",
    "lenet_bn",
    "list",
    "load_torch_state_dict",
    "names",
    "nin",
    "nin_cifar",
    "notes",
    "register",
    "registry",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
    "zfnet",
]
