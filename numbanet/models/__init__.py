"""Networks by name.

``models.resnet18()`` makes one; ``models.build("resnet18", num_classes=10, in_channels=1)`` does so by name, and
``models.list()`` lists the names. ``models.notes`` holds the course notes' networks.
"""

from numbanet.models import notes, registry
from numbanet.models.lenet import lenet, lenet_bn
from numbanet.models.registry import ModelInfo, build, info, names, register

list = names

__all__ = ["ModelInfo", "build", "info", "lenet", "lenet_bn", "list", "names", "notes", "register", "registry"]
