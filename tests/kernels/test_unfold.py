"""unfold and fold: twins against the slow references over crossed windows; adjoints; thread counts; guard zones."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from numbanet.kernels import launch
from numbanet.kernels import unfold as U
from tests.kernels.twins import DEVICES, FLOATS, check, check_threads

WINDOWS = [
    (*k, *s, *p, *d) for k, s, p, d in product(((1, 1), (3, 2), (2, 3)), ((1, 1), (2, 1), (3, 2)), ((0, 0), (1, 2)), ((1, 1), (2, 3)))
]  # fmt: skip


@pytest.fixture(autouse=True)
def _tiny_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "THREADS", 5)


def columns_of(x: np.ndarray, kh: int, kw: int, sh: int, sw: int, ph: int, pw: int, dh: int, dw: int) -> np.ndarray:
    """An array for all blocks of the images."""
    n, c, h, w = x.shape
    oh, ow = (h + 2 * ph - dh * (kh - 1) - 1) // sh + 1, (w + 2 * pw - dw * (kw - 1) - 1) // sw + 1
    return np.empty((n, c * kh * kw, oh, ow), x.dtype)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FLOATS)
def test_twins(device: str, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    for size in ((8, 9), (9, 21)):
        for window in WINDOWS if device == "cpu" else WINDOWS[::9]:
            x = rng.standard_normal((2, 2, *size)).astype(dtype)
            columns = columns_of(x, *window)
            check(U.unfold, device, [x], [columns], *window)
            columns = rng.standard_normal(columns.shape).astype(dtype)
            check(U.fold, device, [columns], [np.full_like(x, np.nan)], *window, rtol=1e-5, atol=1e-5)


def test_fewer_places_than_fit_leave_the_rest_of_the_image_unread() -> None:
    rng = np.random.default_rng(1)
    x, columns = rng.standard_normal((1, 2, 7, 7)), np.empty((1, 8, 2, 3))
    window = (2, 2, 1, 1, 0, 0, 1, 1)
    check(U.unfold, "cpu", [x], [columns], *window)
    (folded,) = check(U.fold, "cpu", [rng.standard_normal(columns.shape)], [x], *window)
    assert (folded[:, :, 3:] == 0).all() and (folded[:, :, :, 4:] == 0).all()


def test_any_number_of_threads_and_adjoints() -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((4, 16, 20, 21)).astype(np.float32)
    for window in ((3, 3, 1, 1, 1, 1, 1, 1), (3, 2, 2, 3, 0, 1, 1, 2)):
        columns = columns_of(x, *window)
        check_threads(U.unfold, [x], [columns], *window)
        given = rng.standard_normal(columns.shape).astype(np.float32)
        check_threads(U.fold, [given], [x], *window)
        wide, back = x.astype(np.float64), np.empty(x.shape)
        columns = columns_of(wide, *window)
        U.unfold(wide, columns, *window)
        U.fold(given.astype(np.float64), back, *window)
        assert (columns * given).sum() == pytest.approx((wide * back).sum(), rel=1e-9)
