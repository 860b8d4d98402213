"""The networks as course notes write them, with a ``Reshape`` layer in front of LeNet that takes flat images too."""

from __future__ import annotations

from typing import Any

from numbanet import nn
from numbanet.models.lenet import lenet as _lenet
from numbanet.models.lenet import lenet_bn as _lenet_bn


class Reshape(nn.Module):
    """Images (N, 1, 28, 28) from any tensor of N * 784 elements."""

    def forward(self, x: Any) -> Any:
        return x.view(-1, 1, 28, 28)


def lenet() -> nn.Sequential:
    """LeNet behind a ``Reshape`` layer."""
    return nn.Sequential(Reshape(), *_lenet())


def lenet_bn() -> nn.Sequential:
    """LeNet with batch normalisation."""
    return _lenet_bn()
