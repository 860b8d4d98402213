"""Bad calls raise what users of PyTorch expect, before any kernel runs, and say what was wrong in numbers."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

import pytest

import numbanet
from numbanet.kernels.kernel import Kernel
from tests import bad_calls
from tests.bad_calls import Bad

try:
    import torch
except ImportError:
    torch = None

FAMILIES = sorted(module.name for module in iter_modules(bad_calls.__path__))
CASES = [
    pytest.param(bad, id=f"{family}: {bad.name}")
    for family in FAMILIES
    for bad in import_module(f"tests.bad_calls.{family}").BAD
]


def test_the_table_is_long_and_its_names_differ():
    assert len(CASES) >= 150
    assert len({case.id for case in CASES}) == len(CASES)


@pytest.fixture
def kernels_run(monkeypatch):
    """The names of the kernels that ran on arrays that are not empty."""
    ran: list[str] = []
    run = Kernel.__call__
    monkeypatch.setattr(Kernel, "__call__", lambda self, *args: (ran.append(self.name), run(self, *args))[1])
    return ran


@pytest.mark.parametrize("bad", CASES)
def test_refused(bad: Bad, kernels_run):
    with pytest.raises(bad.error, match=bad.message):
        bad.call(numbanet)
    assert set(kernels_run) <= {bad.checked_by}, f"ran before the error: {kernels_run}"


@pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("bad", [case for case in CASES if case.values[0].torch])
def test_pytorch_refuses_it_with_the_same_exception(bad: Bad):
    with pytest.raises(bad.error):
        bad.call(torch)
