"""Sorting, searching, masks and index tensors on CUDA: the CPU's results and gradients, and its refusals."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import numbanet
from numbanet import devices
from numbanet import functional as F
from numbanet.devices import SIMULATOR, cuda_is_available
from numbanet.kernels import launch, scan, sorting
from tests.checks import assert_close

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not cuda_is_available(), reason="no GPU and no simulator (NUMBA_ENABLE_CUDASIM=1)"),
]

RNG = np.random.default_rng(0)
X = RNG.permutation(12).reshape(3, 4).astype(np.float32)
WITH_NAN = np.where(X == 5, np.float32(np.nan), X)
NUMBERS = RNG.integers(0, 4, 11)
WEIGHTS = RNG.random(11).astype(np.float32)
TABLE = RNG.random((4, 3)).astype(np.float32)
LABELS = np.array([[3, 0, -1, 1], [2, 2, 1, -1], [-1, 0, 0, 0]])


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    if SIMULATOR:
        monkeypatch.setattr(launch, "THREADS", 4)
        monkeypatch.setattr(sorting, "WIDTH", 8)
        monkeypatch.setattr(scan, "SHARE", 2)
        scan._tiles_cuda_kernel.cache_clear()
    yield
    scan._tiles_cuda_kernel.cache_clear()


def written(x: Any, index: Any, value: Any) -> Any:
    x = x.clone()
    x[index] = value
    return x


def shortened(numbers: Any, table: Any) -> Any:
    table = table.detach().clone()
    return F.embedding(numbers, table, max_norm=0.5), table


def index(*values: Any) -> np.ndarray:
    return np.array(values)


CASES: dict[str, Any] = {
    "sort": (lambda t: t.sort(0), X),
    "argsort": (lambda t: t.argsort(1, True), WITH_NAN),
    "topk": (lambda t: t.topk(2, 0), X),
    "median of all": (lambda t: t.median(), WITH_NAN),
    "median along": (lambda t: t.median(1), WITH_NAN),
    "median of ints": (lambda t: t.median(0), NUMBERS),
    "kthvalue": (lambda t: t.kthvalue(2, 0), X),
    "unique": (lambda t: F.unique(t, return_inverse=True, return_counts=True), NUMBERS.reshape(11, 1)),
    "unique NaN": (lambda t: F.unique(t.detach(), return_counts=True), np.array([2.0, np.nan, 1.0, np.nan, 2.0])),
    "unique of nothing": (lambda t: F.unique(t, return_inverse=True, return_counts=True), NUMBERS[:0]),
    "unique parts": (lambda t: F.unique(t, dim=0), index([1, 2], [0, 1], [1, 2])),
    "bincount": (lambda t: F.bincount(t, minlength=6), NUMBERS),
    "bincount with weights": (lambda t, w: F.bincount(t, w.detach()), NUMBERS, WEIGHTS),
    "bincount with ints": (lambda t: F.bincount(t, t + 1), NUMBERS),
    "bincount of nothing": (lambda t: F.bincount(t), NUMBERS[:0]),
    "isin": (lambda t, other: F.isin(t, other), NUMBERS, index(1, 3)),
    "isin of a number": (lambda t: F.isin(t, 2.0, invert=True), NUMBERS.reshape(1, 11)),
    "searchsorted": (lambda a, v: F.searchsorted(a.detach(), v.detach(), right=True), np.sort(X[0]), X),
    "searchsorted of ints": (lambda a, v: F.searchsorted(a, v.detach(), out_int32=True), np.sort(NUMBERS), X),
    "nonzero": (lambda t: numbanet.nonzero(t), (X > 5).astype(np.float32)),
    "nonzero by dimension": (lambda t: numbanet.nonzero(t, as_tuple=True), X > 5),
    "nonzero of a number": (lambda t: (*numbanet.nonzero(t, as_tuple=True), numbanet.nonzero(t)), np.array(1)),
    "nonzero of nothing": (lambda t: numbanet.nonzero(t), np.zeros((2, 0), np.int64)),
    "nonzero of zeros": (lambda t: numbanet.nonzero(t), np.zeros((2, 3), np.int64)),
    "masked_select": (lambda t, m: F.masked_select(t, m), X, X > 4),
    "mask": (lambda t, m: t[m], X, index(True, False, True)),
    "mask and list": (lambda t, m: t[m, [0, 1]], X, index(True, False, True)),
    "mask of a number": (lambda t, m: t[m], X, np.array(True)),
    "mask of bytes": (lambda t, m: t[m], X, (X > 4).astype(np.uint8)),
    "rows": (lambda t, i: t[i], X, index(2, -1, 0)),
    "columns": (lambda t, i: t[:, i], X, index(3, -1, 0, 0)),
    "two vectors": (lambda t, i, j: t[i, j], X, index([2], [0]), index(1, -1).astype(np.int32)),
    "apart": (lambda t, i, j: t[i, :, j], X.reshape(3, 2, 2), index(2, 0), index(1, -1)),
    "no rows": (lambda t, i: t[i], X, np.zeros(0, np.int64)),
    "writing by mask": (lambda t, m: written(t, m, 7.0), X, X > 4),
    "writing by rows": (lambda t, i, v: written(t, i, v), X, index(2, 0), X[:2]),
    "index_put": (lambda t, i, j: F.index_put(t, (i, j), t[0, 1:], True), X, index(2, 0, 2), index(1, 1, 1)),
    "take": (lambda t, i: F.take(t, i), X, index([2, -1], [0, 5])),
    "repeat_interleave": (lambda t, n: F.repeat_interleave(t, n, 0), X, index(2, 0, 3)),
    "repeat_interleave of repeats": (lambda n: F.repeat_interleave(n), index(2, 0, 3)),
    "products": (lambda t, i, v: F.scatter_reduce(t, 0, i, v, "prod"), X + 1, index([2, 2], [2, 0]), X[:2] + 1),
    "extremes": (lambda t, i, v: F.scatter_reduce(t, 1, i, v, "amax", include_self=False), X, index([1, 1]), X[1:2]),
    "one_hot": (lambda t: F.one_hot(t), NUMBERS),
    "embedding": (lambda t, w: F.embedding(t, w, padding_idx=1, scale_grad_by_freq=True), NUMBERS, TABLE),
    "embedding that shortens": (shortened, NUMBERS, TABLE),
    "multilabel_margin_loss": (lambda x, t: F.multilabel_margin_loss(x, t), X, LABELS),
    "floor_divide": (lambda a, b: a // b, NUMBERS, NUMBERS + 1),
    "cumsum of ints": (lambda t: F.cumsum(t, 1), RNG.integers(0, 9, (2, 19))),
}


@pytest.mark.parametrize("name", CASES)
def test_the_cpus_results_without_an_array_on_the_host(name, monkeypatch):
    function, *arrays = CASES[name]
    fetched, to_host = [], devices.to_host

    def noting(array: Any) -> Any:
        if (
            sys._getframe(1).f_globals["__name__"].startswith("numbanet.functional")
        ):  # copies in the simulator do not count
            fetched.append(array.size)
        return to_host(array)

    def run(device: str) -> list[Any]:
        given = [numbanet.from_numpy(array.copy()).to(device) for array in arrays]
        leaves = [t.requires_grad_() for t in given if t.dtype.kind == "f"]
        results = function(*given)
        results = results if isinstance(results, tuple) else (results,)
        linked = [t for t in results if t.requires_grad]
        grads = []
        if linked:
            starts = [numbanet.ones_like(t) * 2 for t in linked]
            grads = list(numbanet.autograd.grad(linked, leaves, starts, allow_unused=True))
        assert {t.device.type for t in results} == {device}
        return [*results, *grads]

    here = run("cpu")
    with monkeypatch.context() as patch:
        patch.setattr(devices, "to_host", noting)
        there = run("cuda")
    assert name == "unique parts" or max(fetched, default=0) <= 1, "an array came to the host"
    assert len(here) == len(there)
    for a, b in zip(here, there, strict=True):
        if a is not None or b is not None:
            assert_close(b.detach().cpu().numpy(), a.detach().numpy(), 1e-6, 1e-6, name)


def there(*values: Any) -> Any:
    return numbanet.tensor(list(values), device="cuda")


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (IndexError, lambda: there(1.0, 2.0)[there(0, 2)]),
        (IndexError, lambda: there(1.0, 2.0)[there(True, False, True)]),
        (IndexError, lambda: F.take(there(1.0), there(1))),
        (IndexError, lambda: F.index_select(there(1.0), 0, there(-1))),
        (IndexError, lambda: F.embedding(there(2), there([1.0], [2.0]))),
        (RuntimeError, lambda: F.one_hot(there(0, 3), 3)),
        (RuntimeError, lambda: F.bincount(there(1, -2))),
        (RuntimeError, lambda: there(1, 2) // there(1, 0)),
        (RuntimeError, lambda: F.repeat_interleave(there(1.0, 2.0), there(1, -1), 0)),
        (RuntimeError, lambda: F.scatter(there(1.0, 2.0), 0, there(2), there(5.0))),
        (RuntimeError, lambda: F.multilabel_margin_loss(there(1.0, 2.0), there(2, -1))),
    ],
)
def test_refusals(error, refused):
    with pytest.raises(error):
        refused()
