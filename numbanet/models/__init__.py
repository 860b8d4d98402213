"""Networks by name.

``models.resnet18()`` makes one; ``models.build("resnet18", num_classes=10, in_channels=1)`` does so by name, and
``models.list()`` lists the names. ``models.notes`` holds the course notes' networks. ``weights=`` starts from a file of weights
under torchvision's keys; ``load_torch_state_dict`` loads one into a network that is there already.
"""

from numbanet.models import notes, registry
from numbanet.models.notes import densenet, lenet, lenet_bn
from numbanet.models.registry import ModelInfo, build, info, names, register
from numbanet.models.weights import LoadedWeights, load_torch_state_dict

list = names

__all__ = [
    "LoadedWeights",
    "ModelInfo",
    "build",
    "densenet",
    "info",
    "lenet",
    "lenet_bn",
    "list",
    "load_torch_state_dict",
    "names",
    "notes",
    "register",
    "registry",
]
