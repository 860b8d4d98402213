"""Reductions against PyTorch, NumPy and finite differences."""

from __future__ import annotations

import numpy as np
import pytest

import numbanet
from numbanet import functional as F
from tests.checks import assert_close, check_op, torch

rng = np.random.default_rng(0)
DIMS = [None, 0, 1, -1, (0, 2), (1, 2), (0, 1, 2), (0, 3), (0, 2, 3)]


def normal(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("name", ["sum", "mean", "amax", "amin", "var", "std", "logsumexp", "norm"])
def test_reduction(name, dim, keepdim):
    x = normal(2, 3, 4, 5)
    options = {"dim": dim, "keepdim": keepdim}
    theirs = torch and (torch.linalg.vector_norm if name == "norm" else getattr(torch, name))
    if torch is not None and dim is None and name in ("mean", "amax", "amin", "logsumexp"):
        options["dim"] = (0, 1, 2, 3)
    check_op(lambda t: getattr(F, name)(t, **options), torch and (lambda t: theirs(t, **options)), [x], rtol=1e-4)


@pytest.mark.parametrize("name", ["max", "min"])
def test_extremes_along_a_dimension(name):
    x = rng.permutation(60).reshape(3, 4, 5).astype(np.float32)
    for dim in (0, 1, -1):
        for keepdim in (False, True):
            check_op(lambda t, d=dim, k=keepdim: tuple(getattr(F, name)(t, d, k)),
                     torch and (lambda t, d=dim, k=keepdim: tuple(getattr(torch, name)(t, d, k))), [x])  # fmt: skip
    check_op(getattr(F, name), torch and getattr(torch, name), [x])
    assert getattr(F, name)(numbanet.tensor(x), dim=0)._fields == ("values", "indices")


def test_ties_and_nan():
    x = numbanet.tensor([[1.0, 3.0, 3.0], [float("nan"), 5.0, float("nan")]], requires_grad=True)
    values, indices = x.max(dim=1)
    assert indices.tolist() == [1, 0] and values.tolist()[0] == 3.0 and np.isnan(values.tolist()[1])
    y = numbanet.tensor([2.0, 2.0, 1.0], requires_grad=True)
    y.max().backward()
    assert y.grad.tolist() == [0.5, 0.5, 0.0]


def test_argmax_and_argmin():
    x = normal(3, 4, 5)
    t = numbanet.tensor(x)
    assert t.argmax().item() == x.argmax() and t.argmin().item() == x.argmin()
    for dim in (0, 1, 2):
        assert_close(t.argmax(dim), x.argmax(dim))
        assert_close(t.argmin(dim=dim, keepdim=True), x.argmin(dim, keepdims=True))


def test_prod():
    for values in ([1.5, -2.0, 3.0], [1.5, 0.0, 3.0], [0.0, 0.0, 3.0]):
        x = np.array([values, [1.0, 2.0, 3.0]], np.float32)
        check_op(lambda t: F.prod(t), torch and (lambda t: t.prod()), [x])
        check_op(lambda t: F.prod(t, 1), torch and (lambda t: t.prod(1)), [x])


def test_integers_and_bools():
    x = rng.integers(-5, 5, (4, 6))
    t = numbanet.from_numpy(x)
    assert_close(t.sum(), np.asarray(x.sum()))
    assert_close((t > 0).sum(1), (x > 0).sum(1))
    assert_close(numbanet.tensor(x.astype(np.uint8)).sum(0), x.astype(np.uint8).sum(0).astype(np.int64))
    assert_close((t > 0).any(0), (x > 0).any(0))
    assert_close((t > 0).all(1), (x > 0).all(1))
    assert bool(t.any()) and not bool((t > 10).any())
    with pytest.raises(RuntimeError, match="mean: expected a floating tensor, got int64"):
        t.mean()


def test_sums_are_accurate_to_rounding():
    x = np.full(1_000_003, 0.1, np.float32)
    exact = x.astype(np.float64).sum()
    assert abs(float(numbanet.from_numpy(x).sum()) - exact) / exact < 1e-6


def test_empty_reductions():
    x = numbanet.zeros(0, 3)
    assert x.sum().item() == 0 and x.sum(0).tolist() == [0, 0, 0] and x.sum(1).shape == (0,)
    assert np.isnan(x.mean().item())
    with pytest.raises(IndexError, match=r"max: expected at least one element"):
        x.max()
    assert x.max(dim=1).values.shape == (0,)


def test_bad_dimensions():
    with pytest.raises(IndexError, match=r"sum: dimension out of range: dim=2 for a tensor of 2 dimensions"):
        numbanet.ones(2, 3).sum(2)
    with pytest.raises(RuntimeError, match="appears twice"):
        numbanet.ones(2, 3).sum((0, 0))
    with pytest.raises(TypeError, match="dim must be an int"):
        numbanet.ones(2, 3).sum(1.5)


def test_scalars_reduce_to_themselves():
    x = numbanet.tensor(3.0, requires_grad=True)
    (x.sum() + x.mean() + x.max() + x.sum(0)).backward()
    assert x.grad.item() == 4
