"""Pooling: twins against the slow references and PyTorch, finite differences, and the rules for ties, -inf and NaN."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

from numbanet.kernels import launch
from numbanet.kernels import pooling as P
from tests.kernels.twins import DEVICES, FLOATS, check, check_threads, run

NONE = np.empty(0, np.int64)


@pytest.fixture(autouse=True)
def _tiny_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "THREADS", 5)


def out_size(n: int, k: int, s: int, p: int, d: int, ceil: bool) -> int:
    """PyTorch's output size; in ceil mode the last window begins inside the image or its left padding."""
    span = n + 2 * p - d * (k - 1) - 1
    size = (span + (s - 1 if ceil else 0)) // s + 1
    return size - 1 if ceil and (size - 1) * s >= n + p else size


def windows(dilations: tuple[int, ...] = (1, 2)) -> list[tuple[Any, ...]]:
    """(kernel, stride, padding, dilation, ceil mode) of every combination that PyTorch takes, rows and columns unlike."""
    found = []
    for (kh, kw), (sh, sw), (ph, pw), d, ceil in product(
        ((2, 2), (3, 3), (3, 2), (1, 4), (5, 9)),
        ((1, 1), (2, 2), (3, 2), (1, 3)),
        ((0, 0), (1, 1), (0, 1)),
        dilations,
        (False, True),
    ):
        if ph <= kh // 2 and pw <= kw // 2 and 7 + 2 * ph > d * (kh - 1) and 10 + 2 * pw > d * (kw - 1):
            found.append(((kh, kw), (sh, sw), (ph, pw), (d, d), ceil))
    return found


def sizes(shape: tuple[int, ...], k: Any, s: Any, p: Any, d: Any, ceil: bool) -> tuple[int, ...]:
    return (*shape[:2], *(out_size(shape[2 + i], k[i], s[i], p[i], d[i], ceil) for i in (0, 1)))


def distinct(rng: Any, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Values without ties."""
    return (rng.permutation(int(np.prod(shape))) - 20).reshape(shape).astype(dtype) / 8


def slope(
    function: Callable[[np.ndarray], np.ndarray], x: np.ndarray, u: np.ndarray, dy: np.ndarray, step: float
) -> float:
    return float(((function(x + step * u) - function(x - step * u)) * dy).sum() / (2 * step))


# -------------------------------------------------------------------------------------------------------- max pooling


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FLOATS)
def test_max_pool_twins(device: str, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    x = distinct(rng, (2, 2, 7, 10), dtype)
    for k, s, p, d, ceil in windows() if device == "cpu" else windows()[::17]:
        shape = sizes(x.shape, k, s, p, d, ceil)
        y, indices = np.empty(shape, dtype), np.empty(shape, np.int64)
        numbers = (*k, *s, *p, *d)
        _, found = check(P.max_pool2d_forward, device, [x], [y, indices], *numbers)
        dy = rng.standard_normal(shape).astype(dtype)
        check(P.max_pool2d_backward, device, [dy, found], [np.full_like(x, np.nan)], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(4, 4), (5, 5), (28, 28), (9, 70), (6, 33)])
def test_max_pool_of_long_rows_and_no_or_short_indices(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    x = distinct(rng, (1, 3, *size), np.float32)
    for k, s, p, d in ((2, 2, 0, 1), (3, 2, 1, 1), (3, 1, 1, 1), (3, 3, 1, 1), (2, 2, 1, 2)):
        shape = sizes(x.shape, (k, k), (s, s), (p, p), (d, d), False)
        y = np.empty(shape, np.float32)
        numbers = (k, k, s, s, p, p, d, d)
        wide, indices = check(P.max_pool2d_forward, "cpu", [x], [y, np.empty(shape, np.int64)], *numbers)
        narrow, short = check(P.max_pool2d_forward, "cpu", [x], [y, np.empty(shape, np.int32)], *numbers)
        (alone, _) = run(P.max_pool2d_forward, "cpu", [x], [y, NONE], *numbers)
        np.testing.assert_array_equal(indices, short)
        np.testing.assert_array_equal(narrow, wide)
        np.testing.assert_array_equal(alone, wide)
        check_threads(P.max_pool2d_forward, [x], [y, np.empty(shape, np.int64)], *numbers)
        dy = rng.standard_normal(shape).astype(np.float32)
        check(P.max_pool2d_backward, "cpu", [dy, short], [np.empty_like(x)], rtol=1e-5, atol=1e-6)
        check_threads(P.max_pool2d_backward, [dy, indices], [np.empty_like(x)])


def test_max_pool_agrees_with_pytorch() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(2)
    x = distinct(rng, (1, 2, 7, 10), np.float32)
    x[0, 0, 2, 3], x[0, 1, 5:, :] = np.nan, -np.inf
    x[0, 1, 0] = 0  # ties
    for k, s, p, d, ceil in windows():
        expected, where = torch.nn.functional.max_pool2d(
            torch.from_numpy(x), k, s, p, d, ceil_mode=ceil, return_indices=True
        )
        y, indices = np.empty(expected.shape, np.float32), np.empty(expected.shape, np.int64)
        for kernel in (P.max_pool2d_forward, P.max_pool2d_forward.reference):
            kernel(x, y, indices, *k, *s, *p, *d)
            np.testing.assert_array_equal(y, expected.numpy(), err_msg=str((k, s, p, d, ceil)))
            np.testing.assert_array_equal(indices, where.numpy(), err_msg=str((k, s, p, d, ceil)))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("window", [(2, 2, 0), (3, 2, 1), (3, 1, 1), (2, 3, 1)])
def test_max_pool_ties_infinities_and_nan(device: str, window: tuple[int, int, int]) -> None:
    k, s, p = window
    plain = np.zeros((1, 1, 6, 6), np.float32)
    nan, low = plain.copy(), plain.copy()
    nan[0, 0, 2, 2:4] = np.nan
    nan[0, 0, 0, 0] = np.inf
    low[...] = -np.inf
    zeros = plain.copy()
    zeros[0, 0, ::2] = -0.0
    shape = sizes(plain.shape, (k, k), (s, s), (p, p), (1, 1), False)
    for x in (plain, nan, low, zeros):
        check(
            P.max_pool2d_forward,
            device,
            [x],
            [np.empty(shape, np.float32), np.empty(shape, np.int64)],
            k,
            k,
            s,
            s,
            p,
            p,
            1,
            1,
        )
    if p == 0 and k == 2:
        _, indices = run(
            P.max_pool2d_forward,
            device,
            [plain],
            [np.empty(shape, np.float32), np.empty(shape, np.int64)],
            2,
            2,
            2,
            2,
            0,
            0,
            1,
            1,
        )
        np.testing.assert_array_equal(indices[0, 0], [[0, 2, 4], [12, 14, 16], [24, 26, 28]])


def test_max_pool_gradient_by_finite_differences() -> None:
    rng = np.random.default_rng(3)
    x = distinct(rng, (2, 2, 7, 10), np.float64)
    for k, s, p, d, ceil in windows()[::5]:
        shape = sizes(x.shape, k, s, p, d, ceil)
        numbers = (*k, *s, *p, *d)
        y, indices, dx = np.empty(shape), np.empty(shape, np.int64), np.empty_like(x)
        dy, u = rng.standard_normal(shape), rng.standard_normal(x.shape)
        P.max_pool2d_forward.reference(x, y, indices, *numbers)
        P.max_pool2d_backward.reference(dy, indices, dx)

        def forward(x: np.ndarray, y: np.ndarray = y, numbers: Any = numbers) -> np.ndarray:
            P.max_pool2d_forward.reference(x, y, NONE, *numbers)
            return y.copy()

        assert slope(forward, x, u, dy, 1e-4) == pytest.approx((dx * u).sum(), rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FLOATS)
def test_unpooling_twins(device: str, dtype: Any) -> None:
    rng = np.random.default_rng(4)
    for shape, plane in (
        ((2, 3, 3, 4), (6, 8)),
        ((1, 2, 1, 5), (1, 11)),
        ((1, 1, 4, 4), (2, 3)),
        ((2, 1, 0, 2), (3, 2)),
    ):
        x = rng.standard_normal(shape).astype(dtype)
        indices = rng.integers(0, plane[0] * plane[1], shape)  # some of them twice: the last stays
        y = np.full((*shape[:2], *plane), np.nan, dtype)
        check(P.max_unpool2d_forward, device, [x, indices], [y])
        dy = rng.standard_normal(y.shape).astype(dtype)
        check(P.max_unpool2d_backward, device, [dy, indices], [np.full_like(x, np.nan)])
        if device == "cpu":
            check_threads(P.max_unpool2d_forward, [x, indices], [y])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", [9, 10, 70])
def test_windows_of_two_along_one_axis(device: str, size: int) -> None:
    rng = np.random.default_rng(5)
    x = distinct(rng, (2, 3, 1, size), np.float32)
    x[0, 0, 0, :4] = 1  # ties
    if device == "cpu":
        x[0, 1, 0, 2:5] = np.nan
    shape = (2, 3, 1, size // 2)
    y, dy = np.empty(shape, np.float32), rng.standard_normal(shape).astype(np.float32)
    for stride in (1, 2):  # of the axis that is not there
        numbers = (1, 2, stride, 2, 0, 0)
        check(P.max_pool2d_forward, device, [x], [y, np.empty(shape, np.int64)], *numbers, 1, 1)
        for divisor in (0, 3):
            options = (*numbers, 0, 0, 1, divisor)
            check(P.avg_pool2d_forward, device, [x], [y], *options, rtol=1e-6, atol=1e-6)
            check(P.avg_pool2d_backward, device, [dy], [np.full_like(x, np.nan)], *options, rtol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4, 7)])
def test_adaptive_max_pool_takes_the_first_of_equals_and_the_last_nan(device: str, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(6)
    x = rng.integers(-1, 2, (3, 2, 7, 13)).astype(np.float32)  # ties everywhere, also between columns
    x[0, 0, 3, 4:9], x[0, 0, 5, 2] = np.nan, np.nan
    x[0, 1] = -np.inf
    y, indices = np.empty((3, 2, *size), np.float32), np.empty((3, 2, *size), np.int64)
    check(P.adaptive_max_pool2d_forward, device, [x], [y, indices])


# ---------------------------------------------------------------------------------------------------- average pooling


def average_numbers(k: Any, s: Any, p: Any, include: bool, override: int) -> tuple[Any, ...]:
    return (*k, *s, *p, *p, include, override)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FLOATS)
def test_avg_pool_twins(device: str, dtype: Any) -> None:
    rng = np.random.default_rng(4)
    x = rng.standard_normal((2, 2, 7, 10)).astype(dtype)
    cases = list(product(windows((1,)), (False, True), (0, 3)))
    for (k, s, p, d, ceil), include, override in cases if device == "cpu" else cases[::31]:
        shape = sizes(x.shape, k, s, p, d, ceil)
        numbers = average_numbers(k, s, p, include, override)
        atol = 1e-6 if dtype == np.float32 else 1e-14
        check(P.avg_pool2d_forward, device, [x], [np.empty(shape, dtype)], *numbers, atol=atol)
        dy = rng.standard_normal(shape).astype(dtype)
        check(P.avg_pool2d_backward, device, [dy], [np.full_like(x, np.nan)], *numbers, rtol=1e-5, atol=2 * atol)


@pytest.mark.parametrize("size", [(4, 4), (5, 5), (28, 28), (9, 70), (6, 33)])
def test_avg_pool_of_long_rows(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((1, 3, *size)).astype(np.float32)
    for k, s, p in ((2, 2, 0), (3, 2, 1), (3, 1, 1), (2, 2, 1), (4, 4, 0), (4, 3, 2)):
        shape = sizes(x.shape, (k, k), (s, s), (p, p), (1, 1), False)
        numbers = average_numbers((k, k), (s, s), (p, p), False, 0)
        check(P.avg_pool2d_forward, "cpu", [x], [np.empty(shape, np.float32)], *numbers, atol=1e-6)
        check_threads(P.avg_pool2d_forward, [x], [np.empty(shape, np.float32)], *numbers)
        dy = rng.standard_normal(shape).astype(np.float32)
        check(P.avg_pool2d_backward, "cpu", [dy], [np.empty_like(x)], *numbers, rtol=1e-5, atol=1e-6)
        check_threads(P.avg_pool2d_backward, [dy], [np.empty_like(x)], *numbers)


@pytest.mark.parametrize("size", [(6, 10), (7, 11), (4, 68)])
def test_halving_of_many_planes(size: tuple[int, int]) -> None:
    """2 x 2 windows with stride 2 where a task holds several planes, of even and of odd size."""
    rng = np.random.default_rng(11)
    x = distinct(rng, (9, 16, *size), np.float32)
    x[3, 5, 2:4, 2:4], x[4, 0, 1, 1] = -np.inf, np.nan
    shape = sizes(x.shape, (2, 2), (2, 2), (0, 0), (1, 1), False)
    outputs = [np.empty(shape, np.float32), np.empty(shape, np.int64)]
    check(P.max_pool2d_forward, "cpu", [x], outputs, 2, 2, 2, 2, 0, 0, 1, 1)
    check_threads(P.max_pool2d_forward, [x], outputs, 2, 2, 2, 2, 0, 0, 1, 1)
    x, dy = rng.standard_normal(x.shape).astype(np.float32), rng.standard_normal(shape).astype(np.float32)
    for override in (0, -3):
        numbers = average_numbers((2, 2), (2, 2), (0, 0), True, override)
        check(P.avg_pool2d_forward, "cpu", [x], [np.empty(shape, np.float32)], *numbers, atol=1e-6)
        check_threads(P.avg_pool2d_forward, [x], [np.empty(shape, np.float32)], *numbers)
        check(P.avg_pool2d_backward, "cpu", [dy], [np.full_like(x, np.nan)], *numbers, rtol=1e-5, atol=1e-6)
        check_threads(P.avg_pool2d_backward, [dy], [np.full_like(x, np.nan)], *numbers)


def test_avg_pool_agrees_with_pytorch() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(6)
    x = rng.standard_normal((1, 2, 7, 10)).astype(np.float32)
    for (k, s, p, _, ceil), include, override in product(windows((1,)), (False, True), (0, 3, -2)):
        held = torch.from_numpy(x).requires_grad_()
        expected = torch.nn.functional.avg_pool2d(held, k, s, p, ceil, include, override or None)
        dy = rng.standard_normal(expected.shape).astype(np.float32)
        (gradient,) = torch.autograd.grad(expected, held, torch.from_numpy(dy))
        y, dx = np.empty(expected.shape, np.float32), np.empty_like(x)
        numbers = average_numbers(k, s, p, include, override)
        for form in (lambda kernel: kernel, lambda kernel: kernel.reference):
            form(P.avg_pool2d_forward)(x, y, *numbers)
            np.testing.assert_allclose(y, expected.detach().numpy(), 1e-5, 1e-6, err_msg=str((numbers, ceil)))
            form(P.avg_pool2d_backward)(dy, dx, *numbers)
            np.testing.assert_allclose(dx, gradient.numpy(), 1e-5, 1e-6, err_msg=str((numbers, ceil)))


def test_avg_pool_gradient_by_finite_differences() -> None:
    rng = np.random.default_rng(7)
    x = rng.standard_normal((1, 2, 7, 10))
    for (k, s, p, d, ceil), include, override in list(product(windows((1,)), (False, True), (0, 3)))[::7]:
        shape = sizes(x.shape, k, s, p, d, ceil)
        numbers = average_numbers(k, s, p, include, override)
        dy, u, dx = rng.standard_normal(shape), rng.standard_normal(x.shape), np.empty_like(x)
        P.avg_pool2d_backward.reference(dy, dx, *numbers)

        def forward(x: np.ndarray, shape: Any = shape, numbers: Any = numbers) -> np.ndarray:
            y = np.empty(shape)
            P.avg_pool2d_forward.reference(x, y, *numbers)
            return y

        assert slope(forward, x, u, dy, 1e-3) == pytest.approx((dx * u).sum(), rel=1e-9, abs=1e-9)


def test_avg_pool_of_a_large_window_is_accurate() -> None:
    x = (1000 + np.random.default_rng(8).random((1, 2, 100, 100))).astype(np.float32)
    y = np.empty((1, 2, 1, 1), np.float32)
    expected = x.astype(np.float64).mean((2, 3), keepdims=True)
    P.avg_pool2d_forward(x, y, 100, 100, 1, 1, 0, 0, 0, 0, True, 0)
    np.testing.assert_allclose(y, expected, 2e-7)
    P.adaptive_avg_pool2d_forward(x, y)
    np.testing.assert_allclose(y, expected, 2e-7)


def test_a_window_wholly_in_the_padding_gives_zero() -> None:
    x, y, dx = np.ones((1, 1, 2, 2), np.float32), np.empty((1, 1, 3, 3), np.float32), np.empty((1, 1, 2, 2), np.float32)
    for kernel in (P.avg_pool2d_forward, P.avg_pool2d_forward.reference):
        kernel(x, y, 2, 2, 2, 2, 2, 2, 2, 2, False, 0)
        np.testing.assert_array_equal(y[0, 0], [[0, 0, 0], [0, 1, 0], [0, 0, 0]])
    for kernel in (P.avg_pool2d_backward, P.avg_pool2d_backward.reference):
        kernel(np.ones_like(y), dx, 2, 2, 2, 2, 2, 2, 2, 2, False, 0)
        np.testing.assert_array_equal(dx[0, 0], np.full((2, 2), 0.25))


# --------------------------------------------------------------------------------------------------- adaptive pooling

ADAPTIVE = [
    ((7, 10), (1, 1)),
    ((7, 10), (3, 4)),
    ((5, 5), (5, 5)),
    ((4, 3), (6, 7)),
    ((7, 7), (2, 7)),
    ((30, 40), (1, 1)),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("inside,outside", ADAPTIVE)
def test_adaptive_twins(device: str, dtype: Any, inside: tuple[int, int], outside: tuple[int, int]) -> None:
    rng = np.random.default_rng(9)
    if device == "cuda" and inside[0] == 30:
        inside = (6, 5)
    x = distinct(rng, (1, 2, *inside), dtype)
    y, indices = np.empty((1, 2, *outside), dtype), np.empty((1, 2, *outside), np.int64)
    dy = rng.standard_normal(y.shape).astype(dtype)
    check(P.adaptive_avg_pool2d_forward, device, [x], [y], rtol=4e-6 if dtype == np.float32 else 1e-13)
    check(P.adaptive_avg_pool2d_backward, device, [dy], [np.full_like(x, np.nan)], rtol=1e-5, atol=1e-6)
    _, found = check(P.adaptive_max_pool2d_forward, device, [x], [y, indices])
    check(P.max_pool2d_backward, device, [dy, found], [np.full_like(x, np.nan)], rtol=1e-5, atol=1e-6)
    if device == "cpu":
        check_threads(P.adaptive_avg_pool2d_forward, [x], [y])
        check_threads(P.adaptive_avg_pool2d_backward, [dy], [x])
        check_threads(P.adaptive_max_pool2d_forward, [x], [y, indices])


@pytest.mark.parametrize("inside,outside", ADAPTIVE)
def test_adaptive_agrees_with_pytorch(inside: tuple[int, int], outside: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(10)
    x = distinct(rng, (2, 2, *inside), np.float32)
    x[0, 0, 1, 1], x[0, 1] = np.nan, 0
    y, indices = np.empty((2, 2, *outside), np.float32), np.empty((2, 2, *outside), np.int64)
    best, where = torch.nn.functional.adaptive_max_pool2d(torch.from_numpy(x), outside, return_indices=True)
    P.adaptive_max_pool2d_forward(x, y, indices)
    np.testing.assert_array_equal(y, best.numpy())
    np.testing.assert_array_equal(indices, where.numpy())
    P.adaptive_max_pool2d_forward(x, y, NONE)
    np.testing.assert_array_equal(y, best.numpy())
    x[0, 0, 1, 1] = 0
    held = torch.from_numpy(x).requires_grad_()
    mean = torch.nn.functional.adaptive_avg_pool2d(held, outside)
    dy, dx = rng.standard_normal(y.shape).astype(np.float32), np.empty_like(x)
    (gradient,) = torch.autograd.grad(mean, held, torch.from_numpy(dy))
    P.adaptive_avg_pool2d_forward(x, y)
    P.adaptive_avg_pool2d_backward(dy, dx)
    np.testing.assert_allclose(y, mean.detach().numpy(), 1e-5, 1e-5)
    np.testing.assert_allclose(dx, gradient.numpy(), 1e-5, 1e-6)


@pytest.mark.parametrize("inside,outside", ADAPTIVE[:4])
def test_adaptive_gradient_by_finite_differences(inside: tuple[int, int], outside: tuple[int, int]) -> None:
    rng = np.random.default_rng(11)
    x, u = rng.standard_normal((2, 1, 2, *inside))
    dy, dx = rng.standard_normal((1, 2, *outside)), np.empty_like(x)
    P.adaptive_avg_pool2d_backward.reference(dy, dx)

    def forward(x: np.ndarray) -> np.ndarray:
        y = np.empty(dy.shape)
        P.adaptive_avg_pool2d_forward.reference(x, y)
        return y

    assert slope(forward, x, u, dy, 1e-3) == pytest.approx((dx * u).sum(), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("device", DEVICES)
def test_empty_batches(device: str) -> None:
    x, y, indices = (np.empty((0, 3, n, n), t) for n, t in ((4, np.float32), (2, np.float32), (2, np.int64)))
    run(P.max_pool2d_forward, device, [x], [y, indices], 2, 2, 2, 2, 0, 0, 1, 1)
    run(P.max_pool2d_backward, device, [y, indices], [x])
    run(P.avg_pool2d_forward, device, [x], [y], 2, 2, 2, 2, 0, 0, 0, 0, True, 0)
    run(P.avg_pool2d_backward, device, [y], [x], 2, 2, 2, 2, 0, 0, 0, 0, True, 0)
    run(P.adaptive_avg_pool2d_forward, device, [x], [y])
    run(P.adaptive_avg_pool2d_backward, device, [y], [x])
    run(P.adaptive_max_pool2d_forward, device, [x], [y, indices])
    x = np.ones((1, 2, 3, 3), np.float32)  # no output at all: the gradient is zero
    nothing = np.empty((1, 2, 0, 0), np.float32)
    (dx,) = run(P.adaptive_avg_pool2d_backward, device, [nothing], [x])
    np.testing.assert_array_equal(dx, np.zeros_like(x))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("p", [2, 3])
def test_lp_pool(p, dtype, device):
    rng = np.random.default_rng(5)
    for image, pooled, *window in (
        ((2, 3, 7, 10), (3, 4), 3, 3, 2, 2),
        ((1, 2, 6, 8), (3, 4), 2, 2, 2, 2),
        ((1, 2, 7, 9), (3, 4), 2, 2, 2, 2),
        ((1, 2, 7, 9), (4, 5), 2, 2, 2, 2),  # the last windows reach beyond the image
        ((1, 1, 5, 6), (2, 6), 2, 1, 3, 1),
        ((1, 2, 1, 9), (1, 3), 1, 3, 1, 3),
    ):
        x = (0.1 + rng.random(image)).astype(dtype)
        x[0, 0] = 0
        y = np.empty((*image[:2], *pooled), dtype)
        tolerance = 40 * np.finfo(dtype).eps
        (found,) = check(P.lp_pool2d_forward, device, [x], [y], p, *window, rtol=tolerance)
        dy = rng.normal(size=y.shape).astype(dtype)
        check(P.lp_pool2d_backward, device, [dy, x, found], [x], p, *window, rtol=tolerance, atol=tolerance)
    negative = np.full((1, 1, 2, 2), -1, dtype)
    (found,) = run(P.lp_pool2d_forward, device, [negative], [negative[:, :, :1, :1]], 3, 2, 2, 2, 2)
    assert np.isnan(found).all()
    if device == "cpu":
        x = rng.random((3, 40, 9, 9)).astype(dtype)
        check_threads(P.lp_pool2d_forward, [x], [x[:, :, :4, :4].copy()], p, 3, 3, 2, 2)
