"""Networks by name.

``models.lenet()`` makes one; ``models.create("lenet")`` does so by name, and ``models.names()`` lists the names.
"""

from numbanet.models import notes, registry
from numbanet.models.lenet import lenet, lenet_bn
from numbanet.models.registry import ModelInfo, create, info, names, register

__all__ = ["ModelInfo", "create", "info", "lenet", "lenet_bn", "names", "notes", "register", "registry"]
