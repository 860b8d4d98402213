"""Bisection, members, places and segments: twins against the slow references, with NaN, ties and nothing at all."""

from __future__ import annotations

import numpy as np
import pytest

from numbanet.kernels import launch
from numbanet.kernels import search as S
from tests.kernels.twins import DEVICES, FLOATS, check, run

pytestmark = pytest.mark.parametrize("device", DEVICES)
KINDS = [*FLOATS, np.int64, bool]


@pytest.fixture(autouse=True, params=[3, 8])
def small_blocks(request, monkeypatch):
    monkeypatch.setattr(launch, "THREADS", request.param)


def sample(n, dtype, seed=0, nan=True):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        x = rng.integers(-3, 4, n) * dtype(0.5)
        x[rng.random(n) > 0.8] = -0.0
        x[rng.random(n) > (0.8 if nan else 1)] = np.nan
        return x
    return rng.integers(0, 5, n).astype(dtype)


@pytest.mark.parametrize("dtype", KINDS)
def test_bisection(dtype, device):
    values = sample(9, dtype, 1)
    for n in (0, 1, 7):
        line = np.sort(sample(n, dtype))
        for right, out in ((False, np.int32), (True, np.int64)):
            check(S.searchsorted, device, [line, values], [np.zeros(9, out)], right)
        check(S.isin, device, [line, values], [np.zeros(9, bool)])
    check(S.searchsorted, device, [line, values[:0]], [np.zeros(0, np.int64)], True)
    check(S.isin, device, [line, values[:0]], [np.zeros(0, bool)])


def test_edges(device):
    for line in ([0, 0, 2, 2, 2, 5], [3], []):
        check(S.edges, device, [np.array(line, np.int64)], [np.zeros(7, np.int64)])


@pytest.mark.parametrize("dtype", KINDS)
def test_changes(dtype, device):
    for n in (0, 1, 12):
        check(S.changes, device, [np.sort(sample(n, dtype))], [np.zeros(n, bool)])


def test_repeated(device):
    for counts in ([2, 0, 3, 0, 0, 1], [0, 0], [9], []):
        ends = np.cumsum(np.array(counts, np.int64))
        check(S.repeated, device, [ends], [np.zeros(sum(counts), np.int64)])
    mask = np.array([0, 1, 1, 0, 1])
    places = run(S.repeated, device, [np.cumsum(mask)], [np.zeros(3, np.int64)])[0]
    np.testing.assert_array_equal(places, np.flatnonzero(mask))


def test_coordinates(device):
    places = np.array([0, 5, 23, 11])
    for column, (step, size) in enumerate([(12, 2), (4, 3), (1, 4)]):
        out = run(S.coordinates, device, [places], [np.full((4, 3), -1)], step, size, column)[0]
        np.testing.assert_array_equal(out[:, column], np.unravel_index(places, (2, 3, 4))[column])
        assert (np.delete(out, column, 1) == -1).all()
        check(S.coordinates, device, [places], [np.zeros((4, 3), np.int64)], step, size, column)
    check(S.coordinates, device, [places[:0]], [np.zeros((0, 1), np.int64)], 1, 2, 0)


@pytest.mark.parametrize("dtype", KINDS)
def test_put(dtype, device):
    rng = np.random.default_rng(0)
    index = np.stack([rng.permutation(7)[:4] for _ in range(3)])
    check(S.put, device, [sample(12, dtype).reshape(3, 4), index], [sample(21, dtype, 2).reshape(3, 7)])


@pytest.mark.parametrize("dtype", FLOATS)
def test_segment_sums(dtype, device):
    values = np.random.default_rng(0).normal(size=80).astype(dtype)
    order = np.random.default_rng(1).permutation(80)
    for edges in ([0, 0, 3, 70, 70, 80], [2, 5], [0]):
        edges = np.array(edges)
        tolerance = 40 * np.finfo(dtype).eps
        check(S.segment_sums, device, [values, order, edges], [np.zeros(edges.size - 1, dtype)], atol=tolerance)


def test_segment_sums_do_not_depend_on_the_launch(device, monkeypatch):
    values = np.random.default_rng(0).normal(size=50).astype(np.float32)
    arguments = [values, np.arange(50), np.array([0, 45, 50])], [np.zeros(2, np.float32)]
    first = run(S.segment_sums, device, *arguments)[0]
    monkeypatch.setattr(launch, "THREADS", 5)
    assert first.tobytes() == run(S.segment_sums, device, *arguments)[0].tobytes()
