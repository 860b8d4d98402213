"""Grid sampling: twins against the reference, options crossed, odd shapes, bits and guard zones."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from numbanet.kernels import grid_sample as G
from numbanet.kernels import launch
from tests.kernels.twins import DEVICES, FLOATS, check, check_threads

OPTIONS = list(product((0, 1, 2), (0, 1, 2), (0, 1)))  # mode, padding, align
SHAPES = [((2, 3, 5, 4), (3, 7)), ((1, 17, 3, 3), (2, 2)), ((1, 1, 1, 1), (2, 3)), ((3, 2, 9, 2), (1, 1))]


@pytest.fixture(autouse=True)
def _tiny_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "THREADS", 5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_grid_sample(device: str, dtype: type, options: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype is np.float32 else {"rtol": 1e-10, "atol": 1e-10}
    for shape, out in SHAPES if device == "cpu" else SHAPES[:1]:
        x = rng.standard_normal(shape).astype(dtype)
        dy = rng.standard_normal((*shape[:2], *out)).astype(dtype)
        # Away from where nearest jumps, and float32 falls on the other side.
        grid = (rng.integers(-30, 30, (shape[0], *out, 2)) / 16 + 0.021).astype(dtype)
        dgrid = np.empty_like(grid)
        check(G.grid_sample_forward, device, [x, grid], [np.empty_like(dy)], *options, **tolerance)
        check(G.grid_sample_grad_input, device, [dy, grid], [np.empty_like(x)], *options, **tolerance)
        check(G.grid_sample_grad_grid, device, [dy, x, grid], [dgrid], *options, **tolerance)


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_one_thread_and_many_give_the_same_bits(mode: int) -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2, 20, 12, 11)).astype(np.float32)
    grid = rng.uniform(-1.3, 1.3, (2, 30, 31, 2)).astype(np.float32)
    dy = rng.standard_normal((2, 20, 30, 31)).astype(np.float32)
    check_threads(G.grid_sample_forward, [x, grid], [dy], mode, 0, 0)
    check_threads(G.grid_sample_grad_input, [dy, grid], [x], mode, 0, 0)
    check_threads(G.grid_sample_grad_grid, [dy, x, grid], [grid], mode, 0, 0)


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_many_points_are_taken_in_chunks(mode: int) -> None:
    """More points than a task takes at once, on a plane that is copied and on one that is not."""
    rng = np.random.default_rng(2)
    grid = (rng.integers(-30, 30, (1, 100, 131, 2)) / 16 + 0.021).astype(np.float32)
    for size in (4, 150):
        x = rng.standard_normal((1, 2, size, size)).astype(np.float32)
        dy = rng.standard_normal((1, 2, 100, 131)).astype(np.float32)
        check(G.grid_sample_forward, "cpu", [x, grid], [np.empty_like(dy)], mode, 0, 0, rtol=1e-3, atol=1e-3)
        check(G.grid_sample_grad_input, "cpu", [dy, grid], [np.empty_like(x)], mode, 0, 0, rtol=1e-3, atol=1e-3)


def test_the_two_directions_are_adjoint() -> None:
    """<dy, sample(x)> = <sample^T(dy), x>, exactly what makes one the other's gradient."""
    rng = np.random.default_rng(3)
    x, dy = rng.standard_normal((2, 3, 6, 5)), rng.standard_normal((2, 3, 4, 4))
    grid = rng.uniform(-1.5, 1.5, (2, 4, 4, 2))
    for options in OPTIONS:
        y, dx = np.empty_like(dy), np.empty_like(x)
        G.grid_sample_forward(x, grid, y, *options)
        G.grid_sample_grad_input(dy, grid, dx, *options)
        assert abs((y * dy).sum() - (x * dx).sum()) < 1e-10
