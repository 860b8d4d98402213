"""Networks by name.

``models.resnet18()`` makes one; ``models.build("resnet18", num_classes=10, in_channels=1)`` does so by name, and
``models.list()`` lists the names. ``models.notes`` holds the course notes' networks.
"""

from numbanet.models import notes, registry
from numbanet.models.convnext import ConvNeXt, convnext_base, convnext_large, convnext_small, convnext_tiny
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
from numbanet.models.lenet import lenet, lenet_bn
from numbanet.models.mnasnet import MNASNet, mnasnet0_5, mnasnet0_75, mnasnet1_0, mnasnet1_3
from numbanet.models.mobilenetv1 import MobileNetV1, mobilenet_v1
from numbanet.models.mobilenetv2 import MobileNetV2, mobilenet_v2
from numbanet.models.mobilenetv3 import MobileNetV3, mobilenet_v3_large, mobilenet_v3_small
from numbanet.models.registry import ModelInfo, build, info, names, register
from numbanet.models.shufflenetv1 import ShuffleNetV1, shufflenet_v1
from numbanet.models.shufflenetv2 import (
    ShuffleNetV2,
    shufflenet_v2_x0_5,
    shufflenet_v2_x1_0,
    shufflenet_v2_x1_5,
    shufflenet_v2_x2_0,
)
from numbanet.models.squeezenet import SqueezeNet, squeezenet1_0, squeezenet1_1

list = names

__all__ = [
    "ConvNeXt",
    "EfficientNet",
    "MNASNet",
    "MobileNetV1",
    "MobileNetV2",
    "MobileNetV3",
    "ModelInfo",
    "ShuffleNetV1",
    "ShuffleNetV2",
    "SqueezeNet",
    "build",
    "convnext_base",
    "convnext_large",
    "convnext_small",
    "convnext_tiny",
    "efficientnet_b0",
    "efficientnet_b1",
    "efficientnet_b2",
    "efficientnet_b3",
    "efficientnet_b4",
    "efficientnet_b5",
    "efficientnet_b6",
    "efficientnet_b7",
    "info",
    "lenet",
    "lenet_bn",
    "list",
    "mnasnet0_5",
    "mnasnet0_75",
    "mnasnet1_0",
    "mnasnet1_3",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "names",
    "notes",
    "register",
    "registry",
    "shufflenet_v1",
    "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0",
    "shufflenet_v2_x1_5",
    "shufflenet_v2_x2_0",
    "squeezenet1_0",
    "squeezenet1_1",
]
