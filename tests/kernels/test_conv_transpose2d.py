"""Transposed convolution with a bias: the twin against the slow reference, options crossed."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from numbanet.devices import cuda_is_available
from numbanet.kernels import conv2d_gather, launch
from numbanet.kernels.conv_transpose2d import conv_transpose2d_forward
from tests.kernels.twins import FLOATS, check, check_threads, pairwise

CASES = list(product((1, 2), (1, 2, 3), (1, 2), (0, 1), ((1, 1), (3, 2)), (False, True), (0, 1)))


def arrays(dtype: Any, case: Any, shape: tuple[int, ...] = (2, 4, 5, 4), out: int = 6) -> Any:
    groups, s, d, p, (kh, kw), biased, extra = case
    rng = np.random.default_rng(0)
    h, w = ((n - 1) * s - 2 * p + d * (k - 1) + 1 + extra for n, k in zip(shape[2:], (kh, kw), strict=True))
    inputs = [rng.standard_normal(a).astype(dtype) for a in (shape, (shape[1], out // groups, kh, kw), (out * biased,))]
    return inputs, [np.full((shape[0], out, h, w), np.nan, dtype)], (s, s, p, p, d, d, groups)


@pytest.mark.parametrize("dtype", FLOATS)
def test_twins(dtype: Any) -> None:
    atol = 1e-4 if dtype == np.float32 else 1e-11
    for case in CASES[:: 2 if dtype == np.float32 else 5]:
        inputs, outputs, numbers = arrays(dtype, case)
        check(conv_transpose2d_forward, "cpu", inputs, outputs, *numbers, rtol=1e-4, atol=atol)


PAIRS = pairwise((2, 3), FLOATS, (1, 2, 4), (1, 2, 3), (1, 2), (0, 1), ((1, 1), (3, 2)), (False, True), (0, 1))


@pytest.mark.cuda
@pytest.mark.skipif(not cuda_is_available(), reason="no CUDA")
@pytest.mark.parametrize("tile", [2, 3])
def test_cuda_twin(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options crossed in pairs, with the block's size and depthwise groups among them."""
    monkeypatch.setattr(launch, "TILE", tile)
    monkeypatch.setattr(launch, "THREADS", 2 * tile + 1)
    monkeypatch.setattr(conv2d_gather, "_MICRO", 2)
    for block, dtype, *case in PAIRS:
        if block == tile:
            inputs, outputs, numbers = arrays(dtype, case, (1, 4, 3, 2), 4)
            atol = 1e-5 if dtype == np.float32 else 1e-12
            check(conv_transpose2d_forward, "cuda", inputs, outputs, *numbers, rtol=1e-5, atol=atol)


def test_any_number_of_threads() -> None:
    inputs, outputs, numbers = arrays(np.float32, (1, 2, 1, 1, (4, 4), True, 0), (9, 32, 14, 14), 24)
    check_threads(conv_transpose2d_forward, inputs, outputs, *numbers)
