"""The resampling kernel: twins against the reference on tables of every kind, odd shapes, bits and guard zones."""

from __future__ import annotations

import numpy as np
import pytest

from numbanet.devices import CPU
from numbanet.functional.interpolate import _Axis, _Option, _tables
from numbanet.kernels import launch
from numbanet.kernels.interpolate import resample
from tests.kernels.twins import DEVICES, FLOATS, check, check_threads

MODES = ["nearest", "nearest-exact", "bilinear", "bicubic", "area"]
SIZES = [((5, 7), (9, 3)), ((1, 1), (4, 5)), ((8, 6), (1, 1)), ((6, 8), (3, 4)), ((3, 4), (6, 8)), ((4, 40), (40, 4))]


@pytest.fixture(autouse=True)
def _tiny_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "THREADS", 5)


def tables(mode: str, inputs: tuple[int, int], outputs: tuple[int, int], turned: bool, dtype: type, wide: bool = False):
    option = _Option(mode, False, wide)
    axes = tuple(_Axis(option, i, o, 0.0) for i, o in zip(inputs, outputs, strict=True))
    return _tables(axes, turned, np.dtype(dtype), CPU)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("mode", MODES)
def test_resample(device: str, dtype: type, mode: str) -> None:
    rng = np.random.default_rng(0)
    for inputs, outputs in SIZES:
        for turned in (False, True):
            before, after = (outputs, inputs) if turned else (inputs, outputs)
            plan, weights = tables(mode, inputs, outputs, turned, dtype)
            x, y = rng.standard_normal((2, 3, *before)).astype(dtype), np.empty((2, 3, *after), dtype)
            tolerance = 64 * np.finfo(dtype).eps
            check(resample, device, [x, plan, weights], [y], rtol=tolerance, atol=tolerance)
            if device == "cpu":
                check_threads(resample, [x, plan, weights], [y])


@pytest.mark.parametrize("device", DEVICES)
def test_wide_tables(device: str) -> None:
    rng = np.random.default_rng(1)
    for mode in ("bilinear", "bicubic"):
        for turned in (False, True):
            plan, weights = tables(mode, (23, 17), (4, 5), turned, np.float32, wide=True)
            before, after = ((4, 5), (23, 17)) if turned else ((23, 17), (4, 5))
            x, y = rng.standard_normal((1, 2, *before)).astype(np.float32), np.empty((1, 2, *after), np.float32)
            check(resample, device, [x, plan, weights], [y], rtol=1e-5, atol=1e-5)


def test_bands_of_one_large_plane() -> None:
    """A single plane is cut into bands of rows, each with a ring of its own."""
    rng = np.random.default_rng(2)
    for mode, inputs, outputs in (("bicubic", (60, 33), (200, 70)), ("bilinear", (200, 70), (90, 33))):
        for turned in (False, True):
            before, after = (outputs, inputs) if turned else (inputs, outputs)
            plan, weights = tables(mode, inputs, outputs, turned, np.float32)
            x, y = rng.standard_normal((1, 1, *before)).astype(np.float32), np.empty((1, 1, *after), np.float32)
            check(resample, "cpu", [x, plan, weights], [y], rtol=1e-4, atol=1e-4)
            check_threads(resample, [x, plan, weights], [y])


def test_pixels_without_taps_are_zero() -> None:
    plan, weights = tables("nearest", (9, 9), (2, 3), True, np.float32)
    (dx,) = check(
        resample, "cpu", [np.ones((1, 1, 2, 3), np.float32), plan, weights], [np.empty((1, 1, 9, 9), np.float32)]
    )
    assert dx.sum() == 6 and (dx == 0).sum() == 75


def test_an_infinity_stays_in_its_row_and_column() -> None:
    """Taps that fill a table up to a multiple of 4 read a 0, not a pixel."""
    plan, weights = tables("bilinear", (7, 7), (3, 3), True, np.float32)
    dy = np.zeros((1, 1, 3, 3), np.float32)
    dy[0, 0, 0, 0] = np.inf
    y = np.empty((1, 1, 7, 7), np.float32)
    resample(dy, plan, weights, y)
    assert np.isfinite(y[0, 0, 4:]).all() and np.isfinite(y[0, 0, :, 4:]).all() and np.isinf(y[0, 0, 1, 1])
