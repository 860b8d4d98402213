"""Networks by name.

``models.resnet18()`` makes one; ``models.build("resnet18", num_classes=10, in_channels=1)`` does so by name, and
``models.list()`` lists the names. ``models.notes`` holds the course notes' networks. ``weights=`` starts from a file of weights
under torchvision's keys; ``load_torch_state_dict`` loads one into a network that is there already.
"""

from numbanet.models import notes, registry
from numbanet.models.alexnet import AlexNet, alexnet
from numbanet.models.cbam import cbam_resnet18, cbam_resnet50
from numbanet.models.densenet import DenseNet, densenet121, densenet161, densenet169, densenet201
from numbanet.models.googlenet import GoogLeNet, GoogLeNetOutputs, googlenet
from numbanet.models.inception_resnet_v2 import InceptionResNetV2, inception_resnet_v2
from numbanet.models.inception_v2 import InceptionV2, inception_v2
from numbanet.models.inception_v3 import Inception3, InceptionOutputs, inception_v3
from numbanet.models.inception_v4 import InceptionV4, inception_v4
from numbanet.models.lenet5 import LeNet5, lenet5
from numbanet.models.nin import NiN, nin, nin_cifar
from numbanet.models.notes import densenet, lenet, lenet_bn
from numbanet.models.preact_resnet import (
    PreActResNet,
    preact_resnet18,
    preact_resnet34,
    preact_resnet50,
    preact_resnet101,
    preact_resnet110,
    preact_resnet152,
    preact_resnet164,
    preact_resnet200,
    preact_resnet1001,
)
from numbanet.models.registry import ModelInfo, build, info, names, register
from numbanet.models.resnet import BasicBlock, Bottleneck, ResNet, resnet18, resnet34, resnet50, resnet101, resnet152
from numbanet.models.resnet_cifar import CIFARResNet, resnet20, resnet32, resnet44, resnet56, resnet110, resnet1202
from numbanet.models.resnext import resnext50_32x4d, resnext101_32x8d
from numbanet.models.senet import se_resnet18, se_resnet34, se_resnet50, se_resnet101, se_resnet152, se_resnext50_32x4d
from numbanet.models.vgg import VGG, vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn
from numbanet.models.weights import LoadedWeights, load_torch_state_dict
from numbanet.models.wide_resnet import wide_resnet28_10, wide_resnet50_2, wide_resnet101_2
from numbanet.models.zfnet import ZFNet, zfnet

list = names

__all__ = [
    "VGG",
    "AlexNet",
    "BasicBlock",
    "Bottleneck",
    "CIFARResNet",
    "DenseNet",
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
    "PreActResNet",
    "ResNet",
    "ZFNet",
    "alexnet",
    "build",
    "cbam_resnet18",
    "cbam_resnet50",
    "densenet",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
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
    "preact_resnet18",
    "preact_resnet34",
    "preact_resnet50",
    "preact_resnet101",
    "preact_resnet110",
    "preact_resnet152",
    "preact_resnet164",
    "preact_resnet200",
    "preact_resnet1001",
    "register",
    "registry",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet44",
    "resnet50",
    "resnet56",
    "resnet101",
    "resnet110",
    "resnet152",
    "resnet1202",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "se_resnet18",
    "se_resnet34",
    "se_resnet50",
    "se_resnet101",
    "se_resnet152",
    "se_resnext50_32x4d",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
    "wide_resnet28_10",
    "wide_resnet50_2",
    "wide_resnet101_2",
    "zfnet",
]
