"""Transposed convolution with a bias: the twin against the slow reference, options crossed."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from numbanet.kernels import launch
from numbanet.kernels.conv_transpose2d import conv_transpose2d_forward
from tests.kernels.twins import DEVICES, FLOATS, check, check_threads

CASES = list(product((1, 2), (1, 2, 3), (1, 2), (0, 1), ((1, 1), (3, 2)), (False, True), (0, 1)))


@pytest.fixture(autouse=True)
def _tiny_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "THREADS", 5)


def arrays(dtype: Any, case: Any, shape: tuple[int, ...] = (2, 4, 5, 4), out: int = 6) -> Any:
    groups, s, d, p, (kh, kw), biased, extra = case
    rng = np.random.default_rng(0)
    h, w = ((n - 1) * s - 2 * p + d * (k - 1) + 1 + extra for n, k in zip(shape[2:], (kh, kw), strict=True))
    inputs = [rng.standard_normal(a).astype(dtype) for a in (shape, (shape[1], out // groups, kh, kw), (out * biased,))]
    return inputs, [np.full((shape[0], out, h, w), np.nan, dtype)], (s, s, p, p, d, d, groups)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FLOATS)
def test_twins(device: str, dtype: Any) -> None:
    atol = 1e-4 if dtype == np.float32 else 1e-11
    for case in CASES[:: 2 if dtype == np.float32 else 5] if device == "cpu" else CASES[::97]:
        inputs, outputs, numbers = arrays(dtype, case)
        check(conv_transpose2d_forward, device, inputs, outputs, *numbers, rtol=1e-4, atol=atol)


def test_any_number_of_threads() -> None:
    inputs, outputs, numbers = arrays(np.float32, (1, 2, 1, 1, (4, 4), True, 0), (9, 32, 14, 14), 24)
    check_threads(conv_transpose2d_forward, inputs, outputs, *numbers)
