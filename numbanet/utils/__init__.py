"""PyTorch's ``utils`` names."""

from numbanet.utils import checkpoint, data

__all__ = ["checkpoint", "data"]
