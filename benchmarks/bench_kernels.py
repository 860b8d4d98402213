"""Layers and operations in the shapes of real networks, the same cases as in ``compare_torch.py``."""

from __future__ import annotations

from typing import Any

import numbanet
from benchmarks import operators
from benchmarks.cases import CASES, Case
from numbanet import nn, optim  # noqa: F401 - imported at first use otherwise


def names(*parts: str, section: str = "") -> tuple[str, ...]:
    """The cases whose names begin with one of the parts, or those of a section."""
    return tuple(c.name for c in CASES.values() if c.section == section or c.name.split("/")[0] in parts)


FAMILIES = tuple(case.name for case in operators.cases())


class _Timed:
    """Times the case that is the benchmark's parameter."""

    param_names = ("case",)
    number = 10
    repeat = (3, 10, 2.0)
    warmup_time = 0.0  # setup has compiled, or loaded from the cache, and run it
    timeout = 300.0

    def setup(self, name: str) -> None:
        case: Case = CASES[name]
        self.run: Any = case.make(numbanet)
        for _ in range(3):
            self.run()


class Convolution(_Timed):
    """Forward pass and both gradients."""

    params = names("conv2d")

    def time_conv2d(self, name: str) -> None:
        self.run()


class Layers(_Timed):
    """The other layers: linear, pooling, batch normalisation."""

    params = tuple(name for name in names(section="layers") if name not in names("conv2d"))

    def time_layer(self, name: str) -> None:
        self.run()


class Matmul(_Timed):
    """Matrix products."""

    params = names("matmul")

    def time_matmul(self, name: str) -> None:
        self.run()


class Operations(_Timed):
    """A few elementwise operations, reductions and losses that training steps consist of."""

    params = tuple(name for name in names(section="ops") if name not in {*names("matmul"), *FAMILIES})

    def time_operation(self, name: str) -> None:
        self.run()


class Operators(_Timed):
    """Every operator, family by family, in less time each."""

    params = FAMILIES
    repeat = (2, 5, 0.5)

    def time_operator(self, name: str) -> None:
        self.run()
