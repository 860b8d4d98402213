"""Files of weights and states."""

from numbanet.io.files import load, save

__all__ = ["load", "save"]
