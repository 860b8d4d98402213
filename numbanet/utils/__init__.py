"""PyTorch's ``utils`` names."""

from numbanet.utils import data

__all__ = ["data"]
