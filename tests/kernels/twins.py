"""Run a kernel's twin beside its reference: every test of a small kernel goes through ``check``."""

from __future__ import annotations

from itertools import combinations, product
from typing import Any

import numba
import numpy as np
import pytest

from numbanet.devices import as_device, cuda_is_available, to_device, to_host
from numbanet.kernels.kernel import Kernel

DEVICES = ["cpu", *([pytest.param("cuda", marks=pytest.mark.cuda)] if cuda_is_available() else [])]
FLOATS = [np.float32, np.float64]
_GUARD = 64  # elements of the zones before and after an output


def pairwise(*options: Any) -> list[tuple[Any, ...]]:
    """Few choices of one value of each option in which every two values of two options meet: a small crossed table."""
    choices = list(product(*(range(len(option)) for option in options)))
    met = lambda choice: {(a, choice[a], b, choice[b]) for a, b in combinations(range(len(choice)), 2)}  # noqa: E731
    waiting = set().union(*map(met, choices))
    table = []
    while waiting:
        table.append(max(choices, key=lambda choice: len(met(choice) & waiting)))
        waiting -= met(table[-1])
    return [tuple(option[i] for option, i in zip(options, choice, strict=True)) for choice in table]


def guarded(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(a copy of the array inside a larger buffer, the buffer)."""
    buffer = np.frombuffer(bytes([171]) * (array.dtype.itemsize * (array.size + 2 * _GUARD)), np.uint8).copy()
    inside = buffer.view(array.dtype)[_GUARD : _GUARD + array.size].reshape(array.shape)
    inside[...] = array
    return inside, buffer


def assert_guards_intact(array: np.ndarray, buffer: np.ndarray) -> None:
    zone = _GUARD * array.dtype.itemsize
    assert (buffer[:zone] == 171).all() and (buffer[-zone:] == 171).all(), "the kernel wrote outside of its output"


def run(kernel: Kernel, device: str, inputs: Any, outputs: Any, *numbers: Any) -> list[np.ndarray]:
    """The outputs of the twin, started from copies of ``outputs``; inputs must come back as they were."""
    if device == "cuda":
        place = as_device("cuda")
        held = [to_device(array.copy(), place) for array in inputs]
        made = [to_device(array.copy(), place) for array in outputs]
        kernel(*held, *made, *numbers)
        results = [to_host(array).reshape(like.shape) for array, like in zip(made, outputs, strict=True)]
        held = [to_host(array) for array in held]
    else:
        held = [array.copy() for array in inputs]
        pairs = [guarded(array) for array in outputs]
        kernel(*held, *[inside for inside, _ in pairs], *numbers)
        for inside, buffer in pairs:
            assert_guards_intact(inside, buffer)
        results = [inside for inside, _ in pairs]
    for before, after in zip(inputs, held, strict=True):
        assert before.tobytes() == after.tobytes(), f"{kernel.name} changed an input of shape {before.shape}"
    return results


def check(
    kernel: Kernel, device: str, inputs: Any, outputs: Any, *numbers: Any, rtol: Any = None, atol: float = 0
) -> Any:
    """The twin's outputs equal the reference's; returns the twin's."""
    results = run(kernel, device, inputs, outputs, *numbers)
    expected = [array.copy() for array in outputs]
    kernel.reference(*[array.copy() for array in inputs], *expected, *numbers)
    for result, wanted in zip(results, expected, strict=True):
        assert result.dtype == wanted.dtype
        if result.dtype.kind == "f":
            tolerance = rtol or 8 * np.finfo(result.dtype).eps
            np.testing.assert_allclose(result, wanted, tolerance, atol or 1e-30, err_msg=kernel.name)
        else:
            np.testing.assert_array_equal(result, wanted, err_msg=kernel.name)
    return results


def check_threads(kernel: Kernel, inputs: Any, outputs: Any, *numbers: Any) -> None:
    """One thread and all threads give the same bits."""
    many = run(kernel, "cpu", inputs, outputs, *numbers)
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        one = run(kernel, "cpu", inputs, outputs, *numbers)
    finally:
        numba.set_num_threads(threads)
    for a, b in zip(many, one, strict=True):
        assert a.tobytes() == b.tobytes(), f"{kernel.name} depends on the number of threads"
