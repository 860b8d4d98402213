"""Strided copies: every element in its place, the others untouched."""

from __future__ import annotations

import numpy as np
import pytest

from numbanet.kernels import launch
from numbanet.kernels.copies import copy_strided
from tests.kernels.twins import DEVICES, check


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [np.int8, np.float32, np.int64])
@pytest.mark.parametrize(
    "numbers",
    [
        (1, 1, 1, 1, 12, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0),  # as it is
        (1, 1, 2, 3, 4, 0, 0, 1, 2, 6, 0, 0, 12, 4, 1, 0, 1),  # turned
        (1, 1, 1, 3, 4, 0, 0, 0, -8, -2, 0, 0, 0, 1, 5, 22, 2),  # backwards, into columns
        (2, 1, 3, 2, 2, 0, 0, 0, 1, 0, 12, 12, 4, 2, 1, 3, 0),  # repeated
        (2, 2, 2, 2, 1, 8, 4, 2, 1, 1, 1, 2, 4, 8, 1, 1, 7),  # all dimensions
        (0, 1, 1, 1, 4, 4, 1, 1, 1, 1, 4, 1, 1, 1, 1, 0, 0),  # nothing
    ],
)
def test_copy_strided(numbers, dtype, device, monkeypatch):
    monkeypatch.setattr(launch, "THREADS", 8)
    x = np.arange(25).astype(dtype)
    check(copy_strided, device, [x], [np.full(30, 100, dtype)], *numbers)
