"""What the small networks of several papers share: widths in multiples of eight, and how weights begin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numbanet import nn


def make_divisible(channels: float, divisor: int = 8) -> int:
    """The multiple of ``divisor`` nearest to ``channels``; the next one up where that would lose more than a tenth."""
    nearest = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return nearest if nearest >= 0.9 * channels else nearest + divisor


def reset_weights(net: nn.Module, linear: Callable[[Any], Any]) -> None:
    """Convolutions from N(0, 2 / fan_out), linear weights by ``linear``, all biases zero.

    Reference: K. He et al., "Delving deep into rectifiers" (2015), section 2.2.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, nn.Linear):
            linear(module.weight)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
