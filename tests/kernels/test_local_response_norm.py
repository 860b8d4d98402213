"""Local response normalisation: twins against the float64 references, finite differences, threads, NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from numbanet.kernels import launch
from numbanet.kernels import local_response_norm as L
from tests.kernels.twins import DEVICES, FLOATS, check, check_threads, run

SHAPES = [(2, 6, 5), (1, 3, 9), (2, 1, 4), (2, 4, 1)]
LARGE = [(1, 130, 300), (2, 5, 1100)]
NUMBERS = [(5, 0.5, 0.75, 2.0), (2, 1.0, 0.5, 1.0), (1, 0.1, 1.0, 1.5), (4, 0.3, 0.3, 1.0), (9, 0.01, 2.0, 0.5)]


@pytest.fixture(autouse=True)
def _tiny_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "THREADS", 5)


def make(shape: tuple[int, int, int], dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return (rng.standard_normal(shape) * 2 + 1).astype(dtype), rng.standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("numbers", NUMBERS)
def test_twins(device: str, dtype: Any, numbers: tuple[Any, ...]) -> None:
    near = {"rtol": 1e-5, "atol": 1e-5} if dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-12}
    for shape in SHAPES + LARGE if device == "cpu" else SHAPES:
        x, dy = make(shape, dtype)
        check(L.local_response_norm_forward, device, [x], [np.full_like(x, np.nan)], *numbers, **near)
        check(L.local_response_norm_backward, device, [dy, x], [np.full_like(x, np.nan)], *numbers, **near)


@pytest.mark.parametrize("shape", [*LARGE, SHAPES[0]])
def test_the_number_of_threads_changes_no_bit(shape: tuple[int, int, int]) -> None:
    x, dy = make(shape, np.float32)
    check_threads(L.local_response_norm_forward, [x], [np.empty_like(x)], *NUMBERS[0])
    check_threads(L.local_response_norm_backward, [dy, x], [np.empty_like(x)], *NUMBERS[0])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_nan_reaches_the_windows_that_hold_it_and_no_other(device: str) -> None:
    x, _ = make((1, 8, 3), np.float32)
    x[0, 3, 1], x[0, 7, 0] = np.nan, np.inf
    (y,) = run(L.local_response_norm_forward, device, [x], [x], 4, 0.5, 0.75, 1.0)  # windows c - 2 .. c + 1
    bad = np.zeros(x.shape, bool)
    bad[0, 2:6, 1] = True  # those with channel 3
    bad[0, 7, 0] = True  # infinity over infinity
    np.testing.assert_array_equal(np.isnan(y), bad)
    assert y[0, 6, 0] == 0  # a number over infinity


@pytest.mark.parametrize("numbers", NUMBERS)
def test_gradient_by_finite_differences(numbers: tuple[Any, ...]) -> None:
    x, dy = make((2, 6, 4), np.float64)
    u, y, dx = np.random.default_rng(1).standard_normal(x.shape), np.empty_like(x), np.empty_like(x)
    L.local_response_norm_backward.reference(dy, x, dx, *numbers)

    def loss(step: float) -> float:
        L.local_response_norm_forward.reference(x + step * u, y, *numbers)
        return float((y * dy).sum())

    assert (loss(1e-6) - loss(-1e-6)) / 2e-6 == pytest.approx((dx * u).sum(), rel=1e-6, abs=1e-8)
