"""Sorting and what rests on it: against PyTorch, with ties, NaN, every dimension and gradients."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import numbanet
from numbanet import functional as F
from tests.checks import assert_close, check_op, torch

rng = np.random.default_rng(0)
needs_torch = pytest.mark.skipif(torch is None, reason="compares with PyTorch")


def different(*shape: int) -> np.ndarray:
    return rng.permutation(int(np.prod(shape))).reshape(shape).astype(np.float32)


def both(function, arrays, **options):
    check_op(
        lambda *t: tuple(function(numbanet, *t)), torch and (lambda *t: tuple(function(torch, *t))), arrays, **options
    )


@pytest.mark.parametrize(
    ("shape", "dim"), [((3, 4, 5), 0), ((3, 4, 5), 1), ((3, 4, 5), -1), ((70,), 0), ((), 0), ((2, 0), 1)]
)
@pytest.mark.parametrize("down", [False, True])
def test_sort_and_topk(shape, dim, down):
    x = np.asarray(different(*shape))
    some = dict(numeric=x.size > 0)
    both(lambda lib, t: lib.sort(t, dim, down), [x], **some)
    n = x.shape[dim] if x.ndim else 1
    for k in {0 if x.ndim else 1, min(2, n), n}:
        both(lambda lib, t, k=k: lib.topk(t, k, dim, down), [x], numeric=k > 0 and x.size > 0)
    if n:
        for keepdim in (False, True):
            both(lambda lib, t, keep=keepdim: lib.kthvalue(t, (n + 1) // 2, dim, keep), [x])
            both(lambda lib, t, keep=keepdim: lib.median(t, dim, keep), [x])


@needs_torch
@pytest.mark.parametrize(
    ("down", "dtype"), list(product([False, True], [np.float32, np.float64, np.int64, np.uint8, bool]))
)
def test_ties_keep_their_order(down, dtype):
    x = rng.integers(0, 4, (5, 90)).astype(dtype)
    if np.dtype(dtype).kind == "f":
        x[1, ::7] = np.nan
        x[2, ::5] = -np.inf
        x[3, ::3], x[3, 1::3] = 0.0, -0.0
    ours = numbanet.from_numpy(x).sort(dim=1, descending=down, stable=True)
    theirs = torch.from_numpy(x).sort(dim=1, descending=down, stable=True)
    assert_close(ours.values, theirs.values.numpy())
    assert_close(ours.indices, theirs.indices.numpy())
    assert_close(numbanet.from_numpy(x).argsort(1, down), theirs.indices.numpy())
    for k in () if dtype is bool else (3, 70):  # by insertion and by sorting; PyTorch has no topk of bools
        assert_close(numbanet.topk(numbanet.from_numpy(x), k, 1, down).indices, theirs.indices.numpy()[:, :k])


@needs_torch
def test_median_and_nan():
    x = different(4, 6)
    x[1, 2] = x[1, 4] = x[3, 0] = np.nan
    ours, theirs = numbanet.from_numpy(x).median(1), torch.from_numpy(x).median(1)
    assert_close(ours.values, theirs.values.numpy())
    assert ours.indices.tolist()[1] == 2 and ours.indices.tolist()[3] == 0
    assert np.isnan(numbanet.from_numpy(x).median().item())
    assert numbanet.tensor([4, 1, 3, 2]).median().item() == 2
    assert np.isnan(numbanet.zeros(0).median().item())


def test_gradients_go_to_the_chosen():
    x = numbanet.tensor([[3.0, 1.0, 2.0]], requires_grad=True)
    numbanet.topk(x, 2).values.backward(numbanet.tensor([[10.0, 20.0]]))
    assert x.grad.tolist() == [[10, 0, 20]]
    assert numbanet.autograd.gradcheck(
        lambda t: numbanet.autograd.grad((t.sort().values ** 3).sum(), t, create_graph=True)[0],
        numbanet.tensor([[3.0, 1.0, 2.0]], dtype=numbanet.float64, requires_grad=True),
    )


@needs_torch
@pytest.mark.parametrize("dim", [None, 0, 1])
def test_unique(dim):
    x = rng.integers(0, 3, (5, 4))
    ours = F.unique(numbanet.from_numpy(x), return_inverse=True, return_counts=True, dim=dim)
    theirs = torch.unique(torch.from_numpy(x), return_inverse=True, return_counts=True, dim=dim)
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a, b.numpy())
    assert_close(F.unique(numbanet.from_numpy(x), dim=dim), theirs[0].numpy())


@needs_torch
def test_counting_and_searching():
    x, weights = rng.integers(0, 5, 30), rng.random(30).astype(np.float32)
    t = numbanet.from_numpy(x)
    assert_close(F.bincount(t), torch.bincount(torch.from_numpy(x)).numpy())
    assert_close(F.bincount(t, minlength=9), torch.bincount(torch.from_numpy(x), minlength=9).numpy())
    assert_close(F.bincount(t, numbanet.from_numpy(weights)),
                 torch.bincount(torch.from_numpy(x), torch.from_numpy(weights)).numpy())  # fmt: skip
    assert F.bincount(t[:0]).tolist() == []
    assert_close(F.isin(t, numbanet.tensor([1, 3])), np.isin(x, [1, 3]))
    assert_close(F.isin(t, 2, invert=True), x != 2)
    edges = np.array([0.0, 1.0, 1.0, 2.5], np.float32)
    for right in (False, True):
        wanted = torch.searchsorted(torch.from_numpy(edges), torch.tensor([-1.0, 1.0, 3.0]), right=right).numpy()
        assert_close(F.searchsorted(numbanet.from_numpy(edges), numbanet.tensor([-1.0, 1.0, 3.0]), right=right), wanted)
    assert F.msort(numbanet.tensor([[3, 1], [2, 5]])).tolist() == [[2, 1], [3, 5]]
