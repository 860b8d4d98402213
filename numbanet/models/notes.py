"""The networks as course notes write them, with a ``Reshape`` layer in front of LeNet that takes flat images too."""

from __future__ import annotations

from typing import Any

from numbanet import models, nn


class Reshape(nn.Module):
    """Images (N, 1, 28, 28) from any tensor of N * 784 elements."""

    def forward(self, x: Any) -> Any:
        return x.view(-1, 1, 28, 28)


def lenet() -> nn.Sequential:
    """LeNet behind a ``Reshape`` layer."""
    return nn.Sequential(Reshape(), *models.lenet())


def lenet_bn() -> nn.Sequential:
    """LeNet with batch normalisation."""
    return models.lenet_bn()
