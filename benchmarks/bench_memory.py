"""Peak memory of a process that trains: that of Python, numba and the compiled kernels included."""

from __future__ import annotations

import numbanet
from benchmarks.networks import NETWORKS, Training
from numbanet import nn, optim  # noqa: F401 - imported at first use otherwise


class PeakMemory:
    """Three steps of training."""

    params = tuple(NETWORKS)
    param_names = ("network",)
    timeout = 600.0

    def peakmem_training(self, name: str) -> None:
        step = Training(numbanet, NETWORKS[name])
        for _ in range(3):
            step()


def peakmem_import() -> None:
    """The package alone."""
