"""Networks by name.

``models.resnet18()`` makes one; ``models.build("resnet18", num_classes=10, in_channels=1)`` does so by name, and
``models.list()`` lists the names. ``models.notes`` holds the course notes' networks. ``weights=`` starts from a file of weights
under torchvision's keys; ``load_torch_state_dict`` loads one into a network that is there already.
"""

from numbanet.models import notes, registry
from numbanet.models.alexnet import AlexNet, alexnet
from numbanet.models.cbam import cbam_resnet18, cbam_resnet50
from numbanet.models.convnext import ConvNeXt, convnext_base, convnext_large, convnext_small, convnext_tiny
from numbanet.models.densenet import DenseNet, densenet121, densenet161, densenet169, densenet201
from numbanet.models.efficientnet import (
    EfficientNet,
    efficientnet_b0,
    efficientnet_b1,
    efficientnet_b2,
    efficientnet_b3,
    efficientnet_b4,
    efficientnet_b5,
    efficientnet_b6,
    efficientnet_b7,
)
from numbanet.models.fcn import FCN, fcn_resnet18
from numbanet.models.features import features
from numbanet.models.fpn import BackboneWithFPN
from numbanet.models.googlenet import GoogLeNet, GoogLeNetOutputs, googlenet
from numbanet.models.inception_resnet_v2 import InceptionResNetV2, inception_resnet_v2
from numbanet.models.inception_v2 import InceptionV2, inception_v2
from numbanet.models.inception_v3 import Inception3, InceptionOutputs, inception_v3
from numbanet.models.inception_v4 import InceptionV4, inception_v4
from numbanet.models.lenet5 import LeNet5, lenet5
from numbanet.models.mnasnet import MNASNet, mnasnet0_5, mnasnet0_75, mnasnet1_0, mnasnet1_3
from numbanet.models.mobilenetv1 import MobileNetV1, mobilenet_v1
from numbanet.models.mobilenetv2 import MobileNetV2, mobilenet_v2
from numbanet.models.mobilenetv3 import MobileNetV3, mobilenet_v3_large, mobilenet_v3_small
from numbanet.models.multitask import MultiTaskLoss, MultiTaskNetwork
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
from numbanet.models.shufflenetv1 import ShuffleNetV1, shufflenet_v1
from numbanet.models.shufflenetv2 import (
    ShuffleNetV2,
    shufflenet_v2_x0_5,
    shufflenet_v2_x1_0,
    shufflenet_v2_x1_5,
    shufflenet_v2_x2_0,
)
from numbanet.models.siamese import QuadrupletNetwork, SiameseNetwork, TripletNetwork
from numbanet.models.squeezenet import SqueezeNet, squeezenet1_0, squeezenet1_1
from numbanet.models.ssd import TinySSD, tiny_ssd
from numbanet.models.unet import UNet, unet
from numbanet.models.vgg import VGG, vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn
from numbanet.models.weights import LoadedWeights, load_torch_state_dict
from numbanet.models.wide_resnet import wide_resnet28_10, wide_resnet50_2, wide_resnet101_2
from numbanet.models.zfnet import ZFNet, zfnet

list = names

__all__ = [
    "FCN",
    "VGG",
    "AlexNet",
    "BackboneWithFPN",
    "BasicBlock",
    "Bottleneck",
    "CIFARResNet",
    "ConvNeXt",
    "DenseNet",
    "EfficientNet",
    "GoogLeNet",
    "GoogLeNetOutputs",
    "Inception3",
    "InceptionOutputs",
    "InceptionResNetV2",
    "InceptionV2",
    "InceptionV4",
    "LeNet5",
    "LoadedWeights",
    "MNASNet",
    "MobileNetV1",
    "MobileNetV2",
    "MobileNetV3",
    "ModelInfo",
    "MultiTaskLoss",
    "MultiTaskNetwork",
    "NiN",
    "PreActResNet",
    "QuadrupletNetwork",
    "ResNet",
    "ShuffleNetV1",
    "ShuffleNetV2",
    "SiameseNetwork",
    "SqueezeNet",
    "TinySSD",
    "TripletNetwork",
    "UNet",
    "ZFNet",
    "alexnet",
    "build",
    "cbam_resnet18",
    "cbam_resnet50",
    "convnext_base",
    "convnext_large",
    "convnext_small",
    "convnext_tiny",
    "densenet",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "efficientnet_b0",
    "efficientnet_b1",
    "efficientnet_b2",
    "efficientnet_b3",
    "efficientnet_b4",
    "efficientnet_b5",
    "efficientnet_b6",
    "efficientnet_b7",
    "fcn_resnet18",
    "features",
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
    "mnasnet0_5",
    "mnasnet0_75",
    "mnasnet1_0",
    "mnasnet1_3",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
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
    "shufflenet_v1",
    "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0",
    "shufflenet_v2_x1_5",
    "shufflenet_v2_x2_0",
    "squeezenet1_0",
    "squeezenet1_1",
    "tiny_ssd",
    "unet",
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
