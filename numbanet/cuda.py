"""CUDA by PyTorch's names: ``numbanet.cuda.is_available()`` and friends."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from numbanet import devices as _device
from numbanet.devices import cuda_is_available as is_available
from numbanet.devices import synchronize, unavailable_reason

__all__ = ["device_count", "is_available", "synchronize", "unavailable_reason"]


def __getattr__(name: str) -> Any:
    if name == "amp":  # torch.cuda.amp's names, fetched when asked for
        return import_module("numbanet.amp")
    raise AttributeError(f"module 'numbanet.cuda' has no attribute {name!r}")


def device_count() -> int:
    """How many CUDA devices can be used (the simulator counts as one)."""
    if not is_available():
        return 0
    return 1 if _device.SIMULATOR else len(_device.cuda.gpus)
