"""Padding: twins against the slow references, for odd shapes, modes and paddings that cut; thread counts; guard zones."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from numbanet.kernels import launch
from numbanet.kernels import pad as P
from tests.kernels.twins import DEVICES, FLOATS, check, check_threads

MODES = [P.CONSTANT, P.REFLECT, P.REPLICATE, P.CIRCULAR]


@pytest.fixture(autouse=True)
def _tiny_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "THREADS", 5)


def paddings(mode: int, h: int, w: int) -> list[tuple[int, int, int, int]]:
    """(top, bottom, left, right) that the mode allows for the size, cutting ones among them."""
    most = {P.REFLECT: (h - 1, w - 1), P.CIRCULAR: (h, w)}.get(mode, (7, 9))
    found = []
    for (top, bottom), (left, right) in product(
        ((0, 0), (1, 2), (-1, 1), (3, -2), (7, 7)), ((0, 0), (2, 1), (9, 0), (-2, 3), (-1, -1))
    ):
        cut = mode == P.CIRCULAR and min(top, bottom, left, right) < 0
        fits = max(top, bottom) <= most[0] and max(left, right) <= most[1] and not cut
        if fits and h + top + bottom > 0 and w + left + right > 0:
            found.append((top, bottom, left, right))
    return found


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("mode", MODES)
def test_pad_twins(device: str, dtype: Any, mode: int) -> None:
    rng = np.random.default_rng(mode)
    for h, w in ((1, 1), (4, 5), (8, 19)):
        for top, bottom, left, right in paddings(mode, h, w)[:: 1 if device == "cpu" else 5]:
            x = rng.standard_normal((3, h, w)).astype(dtype)
            y = np.empty((3, h + top + bottom, w + left + right), dtype)
            check(P.pad_forward, device, [x], [y], top, left, mode, 2.5)
            dy = rng.standard_normal(y.shape).astype(dtype)
            check(P.pad_backward, device, [dy], [np.full_like(x, np.nan)], top, left, mode, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_many_tasks_and_any_number_of_threads(mode: int) -> None:
    rng = np.random.default_rng(4)
    x = rng.standard_normal((50, 31, 33)).astype(np.float32)
    y = np.empty((50, 36, 37), np.float32)
    check_threads(P.pad_forward, [x], [y], 2, 1, mode, 0.5)
    dy = rng.standard_normal(y.shape).astype(np.float32)
    check_threads(P.pad_backward, [dy], [x], 2, 1, mode)
    check(P.pad_forward, "cpu", [x[:3]], [y[:3]], 2, 1, mode, 0.5)


def test_backward_is_the_adjoint_of_forward() -> None:
    rng = np.random.default_rng(5)
    for mode in MODES:
        x, dy = rng.standard_normal((2, 5, 6)), rng.standard_normal((2, 9, 11))
        y, dx = np.empty_like(dy), np.empty_like(x)
        P.pad_forward(x, y, 3, 2, mode, 0.0)
        P.pad_backward(dy, dx, 3, 2, mode)
        assert (y * dy).sum() == pytest.approx((x * dx).sum(), rel=1e-12)


def test_values_are_moved_as_they_are() -> None:
    x = np.array([[[np.nan, -0.0, np.inf]]], np.float32)
    y = np.empty((1, 1, 5), np.float32)
    P.pad_forward(x, y, 0, 1, P.CONSTANT, float("nan"))
    assert np.isnan(y[0, 0, [0, 1, 4]]).all() and np.signbit(y[0, 0, 2]) and y[0, 0, 3] == np.inf
