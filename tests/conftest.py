"""Fixtures for all tests: nothing a test sets may leak into the next."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # idle threads of two libraries must not spin against each other
if "PYTEST_XDIST_WORKER" in os.environ:  # processes share the cores; two threads show what many would
    os.environ.setdefault("NUMBA_NUM_THREADS", str(min(2, os.cpu_count() or 1)))
    if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1" and hasattr(os, "sched_setaffinity"):
        # The simulator's threads take turns at Python's lock, on one core three times as fast as on two.
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(os.environ["PYTEST_XDIST_WORKER"][2:]) % len(cores)]})

import pytest

import numbanet
from numbanet import devices
from numbanet.kernels import launch, softmax

# Files that take longest begin first, so that no process is left alone with one at the end. The first two call every operator,
# one from the first to the last and one the other way round: between them they compile each kernel once.
LONGEST = (
    "test_semantics.py",
    "test_half.py",
    "test_examples.py",
    "cuda/test_assemble.py",
    "fuzz/test_fuzz.py",
    "models/test_first_losses.py",
    "test_readme.py",
    "test_cli.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files of ``LONGEST`` first, then all others as they come."""
    ranks = {Path(__file__).parent / name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path, len(LONGEST)))


@pytest.fixture(autouse=True, scope="module")
def memory_goes_back():
    """The large networks of one file leave no gigabytes in the pool for the next."""
    yield
    devices.empty_cache()


@pytest.fixture(autouse=True)
def nothing_leaks():
    """Every test starts seeded, with gradients on, and must leave grad mode, default dtype and threads as they were."""
    numbanet.manual_seed(0)
    threads = numbanet.get_num_threads()
    yield
    leaked = []
    if not numbanet.is_grad_enabled():
        leaked.append("gradients are off")
        numbanet.set_grad_enabled(True)
    if numbanet.get_default_dtype() != numbanet.float32:
        leaked.append(f"the default dtype is {numbanet.get_default_dtype()}")
        numbanet.set_default_dtype(numbanet.float32)
    if numbanet.get_num_threads() != threads:
        leaked.append(f"the number of threads is {numbanet.get_num_threads()}")
        numbanet.set_num_threads(threads)
    assert not leaked, f"the test left behind: {leaked}"


@pytest.fixture(autouse=True)
def few_threads(monkeypatch):
    """Small blocks in the simulator, which runs a thread of the system for each of the kernel's.

    No result depends on them, and several blocks to an array test more than one.
    """
    if devices.SIMULATOR:
        monkeypatch.setattr(launch, "THREADS", 16)
        monkeypatch.setattr(launch, "TILE", 4)
        monkeypatch.setattr(softmax, "LANES", 8)
