"""Products with a ReLU behind them: twins against the references, NaN, and the way to the tensor cores' epilogue."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from numbanet import backends
from numbanet.kernels import conv2d, conv2d_gather, launch, mma
from numbanet.kernels import rectified as module
from numbanet.kernels.matmul import matmul
from tests.kernels.test_conv2d_tensor_core import Geometry
from tests.kernels.twins import DEVICES, FLOATS, check, check_threads, run

CASES = [
    Geometry(2, 3, 6, 5, 4, 3, 3, (1, 1), (1, 1)),
    Geometry(1, 4, 7, 7, 6, 3, 2, (2, 1), (1, 0), (1, 2), 2),
    Geometry(3, 5, 4, 4, 2, 1, 1),
    Geometry(2, 2, 3, 3, 3, 3, 3),
]


@pytest.fixture(autouse=True)
def _tiny_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "THREADS", 5)
    monkeypatch.setattr(launch, "TILE", 3)
    monkeypatch.setattr(conv2d_gather, "TILE", 3, raising=False)


def convolution(geometry: Geometry, dtype: Any, biased: bool) -> Any:
    """(inputs, outputs, numbers)."""
    rng = np.random.default_rng(0)
    x, weight, y = geometry.shapes
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in (x, weight, (y[1] * biased,))]
    return arrays, [np.full(y, np.nan, dtype)], geometry.numbers


def product(dtype: Any, biased: bool, ta: bool, tb: bool, m: int = 5, k: int = 7, n: int = 6) -> Any:
    rng = np.random.default_rng(0)
    shapes = (1, k, m) if ta else (1, m, k), (1, n, k) if tb else (1, k, n), (n * biased,)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes], [np.full((1, m, n), np.nan, dtype)], (ta, tb)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FLOATS)
def test_twins(device: str, dtype: Any) -> None:
    near = {"rtol": 1e-4, "atol": 1e-4} if dtype == np.float32 else {"rtol": 1e-10, "atol": 1e-11}
    for i, geometry in enumerate(CASES):
        inputs, outputs, numbers = convolution(geometry, dtype, bool(i % 2))
        (y,) = check(module.conv2d_relu, device, inputs, outputs, *numbers, **near)
        assert (y == 0).any() and (y > 0).any()
    for ta, tb in ((False, True), (True, False)):
        inputs, outputs, numbers = product(dtype, ta, ta, tb)
        (out,) = check(module.matmul_relu, device, inputs, outputs, *numbers, **near)
        assert (out == 0).any() and (out > 0).any()
    check(module.matmul_relu, device, *product(dtype, True, False, True, m=0)[:2], False, True)


def test_the_bits_are_those_of_two_kernels_at_any_number_of_threads() -> None:
    inputs, outputs, numbers = convolution(CASES[0], np.float32, True)
    check_threads(module.conv2d_relu, inputs, outputs, *numbers)
    (plain,), (y,) = (run(k, "cpu", inputs, outputs, *numbers) for k in (conv2d.conv2d_forward, module.conv2d_relu))
    np.testing.assert_array_equal(y, np.maximum(plain, 0))
    inputs, outputs, numbers = product(np.float32, True, False, True)
    (plain,), (out,) = (run(k, "cpu", inputs, outputs, *numbers) for k in (matmul, module.matmul_relu))
    np.testing.assert_array_equal(out, np.maximum(plain, 0))


@pytest.mark.parametrize("device", DEVICES)
def test_nan_passes(device: str) -> None:
    inputs, outputs, numbers = convolution(CASES[3], np.float32, True)
    inputs[0][1, 0, 2, 2] = np.nan
    (y,) = run(module.conv2d_relu, device, inputs, outputs, *numbers)
    assert np.isnan(y[1]).all() and not np.isnan(y[0]).any()
    inputs, outputs, numbers = product(np.float32, False, False, True)
    inputs[0][0, 2, 1] = np.nan
    (out,) = run(module.matmul_relu, device, inputs, outputs, *numbers)
    assert np.isnan(out[0, 2]).all() and np.isnan(out).sum() == out.shape[2]


@pytest.mark.parametrize("on", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_the_switch_leads_to_the_epilogue(on: bool, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Any] = []
    for name in ("matmul_tensor_core", "conv2d_forward_tensor_core"):
        monkeypatch.setattr(module, name, lambda *arguments, name=name, **options: taken.append((name, options)))
    for place, name in ((module.matmul, "matmul"), (module.conv2d, "conv2d_forward")):
        monkeypatch.setattr(place, name, lambda *arguments, name=name: taken.append(name))
    rectify = lambda x, y: taken.append("relu" if x is y else "relu of a copy")  # noqa: E731
    monkeypatch.setattr(module, "relu", SimpleNamespace(forward=rectify))
    monkeypatch.setattr(mma.devices, "SIMULATOR", False)
    monkeypatch.setattr(mma, "_capability", lambda: (9, 0))
    monkeypatch.setitem(vars(backends.cuda), "tensor_cores", on)
    monkeypatch.setitem(vars(backends.cuda.matmul), "allow_tf32", True)
    monkeypatch.setitem(vars(backends.cudnn), "allow_tf32", True)
    half = dtype == np.float16
    geometry = Geometry(1, 16, 5, 5, 32, 3, 3)
    inputs, outputs, numbers = convolution(geometry, dtype, True)
    answers = [(module._conv2d_relu_half if half else module._conv2d_relu_cuda)(*inputs, *outputs, *numbers)]
    inputs, outputs, numbers = product(dtype, True, False, True, 32, 32, 32)
    answers += [(module._matmul_relu_half if half else module._matmul_relu_cuda)(*inputs, *outputs, *numbers)]
    if on:
        assert taken == [("conv2d_forward_tensor_core", {"relu": True}), ("matmul_tensor_core", {"relu": True})]
    else:
        assert taken == ([] if half else ["conv2d_forward", "relu", "matmul", "relu"])
    assert answers == ([on, on] if half else [None, None])
