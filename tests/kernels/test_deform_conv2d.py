"""The columns of deformable convolution: twins against the slow references, finite differences, thread counts."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from numbanet.devices import cuda_is_available
from numbanet.kernels import deform_conv2d as D
from numbanet.kernels import launch
from tests.kernels.twins import FLOATS, check, check_threads, pairwise

OPTIONS = (1, 2), ((1, 1), (2, 3)), ((1, 1), (2, 1)), ((0, 0), (1, 2)), ((1, 1), (2, 1)), (False, True)
CASES = list(product(*OPTIONS))


def arrays(seed: int, dtype: Any, case: Any, shape: tuple[int, ...] = (2, 4, 6, 5)) -> Any:
    """x, offset, mask, columns and the window's numbers; some points are outside, some exactly on pixels."""
    groups, k, s, p, d, masked = case
    rng = np.random.default_rng(seed)
    n, c, h, w = shape
    oh, ow = ((size + 2 * q - e * (m - 1) - 1) // t + 1 for size, m, t, q, e in zip((h, w), k, s, p, d, strict=True))
    elements = k[0] * k[1]
    offset = rng.uniform(-4, 4, (n, 2 * groups * elements, oh, ow))
    offset.flat[::7] = np.round(offset.flat[::7])
    mask = rng.standard_normal((n, groups * elements, oh, ow) if masked else (0,))
    columns = np.empty((n, c * elements, oh, ow), dtype)
    return *(a.astype(dtype) for a in (rng.standard_normal(shape), offset, mask)), columns, (*k, *s, *p, *d)


def check_case(device: str, dtype: Any, seed: int, case: Any, *shape: Any) -> None:
    """The three kernels beside their references."""
    tolerance: Any = {"rtol": 1e-4, "atol": 1e-4} if dtype == np.float32 else {"rtol": 1e-11, "atol": 1e-11}
    x, offset, mask, columns, window = arrays(seed, dtype, case, *shape)
    check(D.deform_columns, device, [x, offset, mask], [columns], *window, **tolerance)
    dcolumns = np.random.default_rng(1).standard_normal(columns.shape).astype(dtype)
    check(D.deform_grad_input, device, [dcolumns, offset, mask], [np.full_like(x, np.nan)], *window, **tolerance)
    outputs = [np.full_like(offset, np.nan), np.full_like(mask, np.nan)]
    check(D.deform_grad_offset, device, [dcolumns, x, offset, mask], outputs, *window, **tolerance)


@pytest.mark.parametrize("dtype", FLOATS)
def test_twins(dtype: Any) -> None:
    for index, case in enumerate(CASES[::7] if dtype == np.float32 else CASES[::3]):
        check_case("cpu", dtype, index, case)


PAIRS = pairwise((3, 8), FLOATS, *OPTIONS)


@pytest.mark.cuda
@pytest.mark.skipif(not cuda_is_available(), reason="no CUDA")
@pytest.mark.parametrize("threads", [3, 8])
def test_cuda_twins(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options crossed in pairs, the block's size among them."""
    monkeypatch.setattr(launch, "THREADS", threads)
    for index, (block, dtype, *case) in enumerate(PAIRS):
        if block == threads:
            check_case("cuda", dtype, index, case, (1, 2, 4, 3))


def test_gradients_by_finite_differences() -> None:
    case = (2, (2, 3), (1, 1), (1, 1), (1, 1), True)
    x, offset, mask, columns, window = arrays(3, np.float64, case)
    rng = np.random.default_rng(4)
    offset[...] = np.floor(offset) + rng.uniform(0.2, 0.8, offset.shape)  # away from the kinks on pixels
    dcolumns = rng.standard_normal(columns.shape)
    dx, doffset, dmask = np.empty_like(x), np.empty_like(offset), np.empty_like(mask)
    D.deform_grad_input(dcolumns, offset, mask, dx, *window)
    D.deform_grad_offset(dcolumns, x, offset, mask, doffset, dmask, *window)
    for position, gradient in enumerate((dx, doffset, dmask)):
        direction = rng.standard_normal(gradient.shape)
        values = []
        for step in (1e-6, -1e-6):
            moved = [x, offset, mask]
            moved[position] = moved[position] + step * direction
            D.deform_columns(*moved, columns, *window)
            values.append((columns * dcolumns).sum())
        assert (values[0] - values[1]) / 2e-6 == pytest.approx((gradient * direction).sum(), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("shape", [(1, 40, 20, 20), (3, 4, 20, 21)])
def test_any_number_of_threads(shape: tuple[int, ...]) -> None:
    x, offset, mask, columns, window = arrays(5, np.float32, (2, (3, 3), (1, 1), (1, 1), (1, 1), True), shape)
    check_threads(D.deform_columns, [x, offset, mask], [columns], *window)
    dcolumns = np.random.default_rng(6).standard_normal(columns.shape).astype(np.float32)
    check_threads(D.deform_grad_input, [dcolumns, offset, mask], [x], *window)
    check_threads(D.deform_grad_offset, [dcolumns, x, offset, mask], [offset, mask], *window)
