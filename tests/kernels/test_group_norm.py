"""Group normalisation: twins against the float64 references, finite differences, hard data, threads."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from numbanet.kernels import group_norm as G
from numbanet.kernels import launch
from tests.kernels.twins import DEVICES, FLOATS, check, check_threads, run

EPS = 1e-5
SHAPES = [
    ((4, 6, 5), 3),
    ((2, 4, 7), 4),
    ((3, 4, 2), 1),
    ((5, 7, 1), 1),
    ((3, 6, 1), 2),
    ((1, 1, 1), 1),
]  # (N, C, S), G
LARGE = [((9, 3, 2500), 1), ((2, 130, 49), 2), ((300, 37, 1), 1), ((5, 5000, 1), 1), ((1030, 3, 1), 1)]


@pytest.fixture(autouse=True)
def _tiny_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "THREADS", 3)
    monkeypatch.setattr(G, "_threads", lambda: 3)


def make(shape: tuple[int, int, int], dtype: Any, affine: bool, seed: int = 0) -> Any:
    """(x, dy, weight, bias)."""
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal(shape) * 2 + rng.standard_normal((1, shape[1], 1))).astype(dtype)
    dy = rng.standard_normal(shape).astype(dtype)
    weight, bias = rng.standard_normal((2, shape[1])).astype(dtype)
    return x, dy, weight if affine else weight[:0], bias if affine else bias[:0]


def outputs(shape: tuple[int, int, int], groups: int, dtype: Any) -> list[np.ndarray]:
    return [np.full(size, np.nan, dtype) for size in (shape, (shape[0], groups), (shape[0], groups))]


def gradients(shape: tuple[int, int, int], dtype: Any) -> list[np.ndarray]:
    return [np.full(size, np.nan, dtype) for size in (shape, shape[1], shape[1])]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("affine, center", list(product([False, True], [0, 1])))
def test_twins(device: str, dtype: Any, affine: bool, center: int) -> None:
    near = {"rtol": 1e-5, "atol": 2e-5} if dtype == np.float32 else {"rtol": 1e-10, "atol": 1e-10}
    # The simulator takes a second for a shape: where both options differ, two shapes show that they are told apart.
    on_cuda = SHAPES if affine == bool(center) else SHAPES[:2]
    for shape, groups in SHAPES + LARGE if device == "cpu" else on_cuda:
        x, dy, weight, bias = make(shape, dtype, affine)
        numbers = EPS, center
        _, mean, inv_std = check(
            G.group_norm_forward, device, [x, weight, bias], outputs(shape, groups, dtype), *numbers, **near
        )
        if x.size == groups * shape[0] and center:  # one element: its gradient is 0 times a number of 1 / sqrt(eps)
            continue
        far = {"rtol": near["rtol"], "atol": near["atol"] * max(1.0, (shape[0] * shape[2]) ** 0.5)}
        inputs = [dy, x, weight, mean, inv_std]
        check(G.group_norm_backward, device, inputs, gradients(shape, dtype), center, **far)
        unwanted = [np.full(shape, np.nan, dtype), weight[:0], weight[:0]]
        check(G.group_norm_backward, device, inputs, unwanted, center, **far)


@pytest.mark.parametrize("shape, groups", [*LARGE, *SHAPES[:4]])
def test_the_number_of_threads_changes_no_bit(shape: tuple[int, int, int], groups: int) -> None:
    x, dy, weight, bias = make(shape, np.float32, True)
    check_threads(G.group_norm_forward, [x, weight, bias], outputs(shape, groups, np.float32), EPS, 1)
    _, mean, inv_std = run(G.group_norm_forward, "cpu", [x, weight, bias], outputs(shape, groups, np.float32), EPS, 1)
    check_threads(G.group_norm_backward, [dy, x, weight, mean, inv_std], gradients(shape, np.float32), 1)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape, groups", [((6, 4, 1), 1), ((6, 4, 30), 2)])
def test_data_with_a_large_offset_keeps_its_digits(device: str, shape: tuple[int, int, int], groups: int) -> None:
    x = (1e4 + np.random.default_rng(1).standard_normal(shape)).astype(np.float32)
    x[1, 0, 0] = -1e4  # and an outlier, first of its group
    none = np.empty(0, np.float32)
    wanted = outputs(shape, groups, np.float32)
    check(G.group_norm_forward, device, [x, none, none], wanted, EPS, 1, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("shape, groups", [((3, 4, 6), 2), ((3, 4, 1), 2)])
def test_nan_and_infinity_stay_in_their_group(device: str, shape: tuple[int, int, int], groups: int) -> None:
    x, _, weight, bias = make(shape, np.float32, True)
    x[0, 1, 0], x[2, 3, 0] = np.nan, np.inf
    y, _, inv_std = run(G.group_norm_forward, device, [x, weight, bias], outputs(shape, groups, np.float32), EPS, 1)
    bad = np.array([[True, False], [False, False], [False, True]])
    np.testing.assert_array_equal(np.isnan(inv_std), bad)
    np.testing.assert_array_equal(np.isnan(y), np.broadcast_to(np.repeat(bad, 2, 1)[:, :, None], shape))


@pytest.mark.parametrize("device", DEVICES)
def test_empty_inputs_have_gradients_of_zero(device: str) -> None:
    for shape in ((0, 4, 3), (2, 4, 0), (0, 4, 1)):
        x, dy, weight, bias = make(shape, np.float32, True)
        statistics = outputs(shape, 2, np.float32)
        run(G.group_norm_forward, device, [x, weight, bias], statistics, EPS, 1)
        _, dweight, dbias = run(
            G.group_norm_backward, device, [dy, x, weight, *statistics[1:]], gradients(shape, np.float32), 1
        )
        assert not dweight.any() and not dbias.any()


@pytest.mark.parametrize("center", [0, 1])
@pytest.mark.parametrize("shape, groups", [((3, 4, 5), 2), ((4, 5, 1), 1)])
def test_gradients_by_finite_differences(shape: tuple[int, int, int], groups: int, center: int) -> None:
    rng = np.random.default_rng(3)
    x, dy, weight, bias = make(shape, np.float64, True)
    y, mean, inv_std = outputs(shape, groups, np.float64)
    dx, dweight, dbias = gradients(shape, np.float64)
    G.group_norm_forward.reference(x, weight, bias, y, mean, inv_std, EPS, center)
    G.group_norm_backward.reference(dy, x, weight, mean, inv_std, dx, dweight, dbias, center)
    u, (v, t) = rng.standard_normal(shape), rng.standard_normal((2, shape[1]))

    def loss(step: float) -> float:
        moved = x + step * u, weight + step * v, bias + step * t
        G.group_norm_forward.reference(*moved, y, mean, inv_std, EPS, center)
        return float((y * dy).sum())

    slope = (loss(1e-5) - loss(-1e-5)) / 2e-5
    assert slope == pytest.approx((dx * u).sum() + (dweight * v).sum() + (dbias * t).sum(), rel=1e-6, abs=1e-7)
