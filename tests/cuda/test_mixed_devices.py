"""Tensors on different devices: every operator that takes two says so, by name of both, before anything is computed."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest

import numbanet
from numbanet.devices import cuda_is_available
from tests.operators import FUNCTIONS, Array, draw_all, mapped, public_functions, tensors_in

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not cuda_is_available(), reason="no CUDA, and not in the simulator"),
]


def tensors_of(name: str) -> int:
    found: list[Array] = []
    mapped([FUNCTIONS[name].args, FUNCTIONS[name].kwargs], lambda array: found.append(array) or array)
    return len(found)


NAMES = sorted(
    name for family in public_functions().values() for name in family if name in FUNCTIONS and tensors_of(name) > 1
)

# What takes tensors on two devices, as PyTorch does: a shape or values that are copied there; and indices on the CPU.
SHAPES_ALONE = {"broadcast_tensors", "copy_", "expand_as", "setitem", "view_as"}  # setitem: its example writes a slice
INDEXED = {"getitem"}


def moved(value: Any, chosen: set[int], count: list[int]) -> Any:
    """The same arguments with the chosen tensors on CUDA, counted as they come."""
    if isinstance(value, numbanet.Tensor):
        count[0] += 1
        return value.detach().to("cuda") if count[0] - 1 in chosen else value.detach()
    if isinstance(value, dict):
        return {key: moved(item, chosen, count) for key, item in value.items()}
    return type(value)(moved(item, chosen, count) for item in value) if isinstance(value, list | tuple) else value


def call_mixed(name: str, chosen: set[int]) -> Any:
    example = FUNCTIONS[name]
    args, kwargs = moved(draw_all((example.args, example.kwargs), numbanet, np.float32), chosen, [0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return example.call(name, numbanet, args, kwargs)


@pytest.mark.parametrize("name", NAMES)
def test_two_devices_in_one_call_are_refused(name):
    count = tensors_of(name)
    for chosen in ({0}, set(range(1, count))):
        if name in SHAPES_ALONE:
            assert {t.device.type for t in tensors_in(call_mixed(name, chosen))} <= {"cpu", "cuda"}
            continue
        if name in INDEXED and chosen == {0}:
            (result,) = tensors_in(call_mixed(name, chosen))
            assert result.is_cuda
            continue
        with pytest.raises((RuntimeError, TypeError, ValueError)) as caught:
            call_mixed(name, chosen)
        said = str(caught.value)
        assert re.search(r"(?s)cpu.*cuda|cuda.*cpu", said), said


def test_the_table_has_what_it_should():
    assert len(NAMES) > 100
    assert set(NAMES) >= SHAPES_ALONE | INDEXED


def test_single_values_may_come_from_the_cpu():
    x = numbanet.zeros(3, device="cuda")
    x[numbanet.tensor([0, 2])] = numbanet.tensor(5.0)
    x[1] = numbanet.tensor([7.0])  # basic indices: a copy
    np.testing.assert_array_equal(x.cpu().numpy(), [5, 7, 5])
    with pytest.raises(RuntimeError, match=r"cuda.*cpu"):
        x[numbanet.tensor([0, 2])] = numbanet.tensor([1.0, 2.0])
    with pytest.raises(RuntimeError, match=r"cpu.*cuda"):
        numbanet.bincount(numbanet.tensor([0, 1]), numbanet.ones(2, device="cuda"))
