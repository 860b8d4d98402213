"""For all CUDA tests: the simulator runs a thread of the system for each of the kernel's, so few of them, please."""

from __future__ import annotations

import pytest

from numbanet.devices import SIMULATOR
from numbanet.kernels import launch


@pytest.fixture(autouse=True)
def few_threads(monkeypatch):
    """Small blocks in the simulator; no result depends on them, and several blocks to an array test more than one."""
    if SIMULATOR:
        monkeypatch.setattr(launch, "THREADS", 16)
        monkeypatch.setattr(launch, "TILE", 4)
