"""Reductions against PyTorch, NumPy and finite differences."""

from __future__ import annotations

import numpy as np
import pytest

import numbanet
from numbanet import functional as F
from numbanet.functional import reduction
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
    with pytest.raises(RuntimeError, match=r"max: expected at least one element"):
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


@pytest.mark.parametrize("dim", [None, 0, (0, 2), (1, 2), (0, 2, 3)])
@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("p", [0, 0.5, 1, 1.5, 2, 3, "fro", float("inf"), float("-inf")])
def test_norms(p, dim, keepdim):
    x = np.round(normal(2, 3, 4, 5) * 4) / 4  # with ties, for the infinite ones
    x[0] = normal(3, 4, 5)
    if p == 0.5:
        x = np.abs(x) + 0.5
    call = lambda lib, t: lib.norm(t, p, dim, keepdim)  # noqa: E731
    if p == "fro" and dim == (0, 2, 3):
        pytest.skip("PyTorch takes at most two dimensions here")
    check_op(
        lambda t: call(numbanet, t), torch and (lambda t: call(torch, t)), [x], rtol=1e-4, numeric=p in (1.5, 2, 3)
    )


def test_norm_of_zeros_and_of_vectors():
    for p in (1, 2, 3, float("inf")):
        x = np.zeros((2, 3), np.float32)
        check_op(lambda t, p=p: F.norm(t, p, 1), torch and (lambda t, p=p: t.norm(p, 1)), [x], numeric=False)
    check_op(lambda t: F.vector_norm(t, 3, (0, 1)),
             torch and (lambda t: torch.linalg.vector_norm(t, 3, (0, 1))), [normal(2, 3)])  # fmt: skip
    assert F.norm(numbanet.tensor(-2.0)).item() == 2 and F.norm(numbanet.zeros(0)).item() == 0


@pytest.mark.parametrize("dim", [None, 0, 1, (0, 2, 3), (1, 3)])
@pytest.mark.parametrize("correction", [0, 1, 2.5])
@pytest.mark.parametrize("name", ["var_mean", "std_mean"])
def test_deviations_and_mean(name, correction, dim):
    options = {"dim": dim, "correction": correction, "keepdim": dim is not None}
    check_op(
        lambda t: getattr(F, name)(t, **options),
        torch and (lambda t: getattr(torch, name)(t, **options)),
        [normal(3, 4, 2, 5) + 3],
        rtol=1e-4,
    )


@pytest.mark.filterwarnings("ignore:var")
def test_deviations_of_few_and_of_far_values():
    for values in ([[2.0]], [[1.0, 3.0]]):
        x = np.array(values, np.float32)
        for correction in (0, 1, 2):
            options = {"dim": 1, "correction": correction}
            with np.errstate(invalid="ignore"):
                ours = F.var(numbanet.from_numpy(x), **options).numpy()
            if torch is not None:
                assert_close(ours, torch.from_numpy(x).var(**options).numpy())
    x = (normal(64, 3, 40) + 10000).astype(np.float32)
    assert_close(
        F.var(numbanet.from_numpy(x), (0, 2)), x.astype(np.float64).var((0, 2), ddof=1).astype(np.float32), rtol=1e-4
    )
    assert F.var(numbanet.ones(4, 2), True).item() == 0 and np.isnan(F.var(numbanet.zeros(0)).item())


@pytest.mark.parametrize("dim", [None, 0, 1, (0, 2)])
@pytest.mark.parametrize("name", ["amax", "amin"])
def test_equal_extremes_share(name, dim):
    x = np.round(normal(3, 4, 5))
    dims = (0, 1, 2) if dim is None else dim
    check_op(
        lambda t: getattr(F, name)(t, dims), torch and (lambda t: getattr(torch, name)(t, dims)), [x], numeric=False
    )


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("name", ["cumsum", "cumprod"])
def test_running(name, dim):
    for zeros in (0, 1, 3):
        x = normal(3, 4, 5)
        x.reshape(-1)[:zeros] = 0
        check_op(lambda t: getattr(F, name)(t, dim), torch and (lambda t: getattr(torch, name)(t, dim)), [x], rtol=1e-4)
    assert getattr(numbanet.tensor([True, True]), name)(0).dtype == numbanet.int64
    assert getattr(numbanet.zeros(2, 0), name)(1).shape == (2, 0)
    assert getattr(numbanet.tensor(3.0), name)(0).item() == 3
    t = numbanet.tensor([1.0, 2.0, 3.0])
    assert getattr(t, f"{name}_")(0) is t and t[2].item() == 6


@pytest.mark.parametrize(("n", "dim"), [(0, 0), (1, -1), (2, 1), (9, 1)])
def test_diff(n, dim):
    x = normal(3, 4)
    check_op(lambda t: F.diff(t, n, dim), torch and (lambda t: torch.diff(t, n, dim)), [x], numeric=n < 9)
    y = normal(3, 2)
    check_op(lambda t, s: F.diff(t, prepend=s, append=s),
             torch and (lambda t, s: torch.diff(t, prepend=s, append=s)), [x, y])  # fmt: skip


def test_counting_and_trace():
    x = np.round(normal(3, 4)) * (rng.random((3, 4)) > 0.5)
    t = numbanet.from_numpy(x)
    assert F.count_nonzero(t).item() == np.count_nonzero(x)
    assert_close(F.count_nonzero(t, 0), np.count_nonzero(x, 0))
    check_op(F.trace, torch and torch.trace, [normal(3, 4)])
    low, high = F.aminmax(t, dim=1)
    assert_close(low, x.min(1)), assert_close(high, x.max(1))


def test_logsumexp_of_infinities():
    x = np.array([[-np.inf, -np.inf], [np.inf, 1], [1e4, 1e4], [0, -np.inf]], np.float32)
    assert_close(F.logsumexp(numbanet.from_numpy(x), 1), np.array([-np.inf, np.inf, 1e4 + np.log(2), 0], np.float32))
    assert F.logsumexp(numbanet.zeros(2, 0), 1).tolist() == [-np.inf, -np.inf]


def test_double_backward():
    for function in (
        lambda x: F.var(x, 1),
        lambda x: F.std(x, (0, 1)),
        lambda x: F.logsumexp(x, 0),
        lambda x: F.norm(x, 2, 1) + F.norm(x, 3, 1),
        lambda x: F.cumprod(x, 1) + F.cumsum(x * x, 0),
        lambda x: F.amax(x * x, 1),
    ):
        x = numbanet.tensor((rng.random((2, 3)) + 0.5).astype(np.float64), requires_grad=True)

        def first(x, f=function):
            return numbanet.autograd.grad((f(x) ** 2).sum(), x, create_graph=True)[0]

        assert numbanet.autograd.gradcheck(first, x)


@pytest.mark.filterwarnings("ignore:(std|var)")
@pytest.mark.parametrize("correction", [0, 1])
@pytest.mark.parametrize("name", ["std", "std_mean", "var"])
@pytest.mark.parametrize("values", [[[2.0] * 3, [1.0, 2.0, 4.0]], [[0.1] * 3, [0.3] * 3], [[3.0], [4.0]]])
def test_deviations_of_equal_values(name, values, correction):
    options = {"dim": 1, "correction": correction}
    check_op(lambda t: getattr(F, name)(t, **options), torch and (lambda t: getattr(torch, name)(t, **options)),
             [np.array(values, np.float32)], numeric=False)  # fmt: skip


@pytest.mark.parametrize("values", [[1.0, float("nan"), 3.0, float("nan")], [1.0, 1.0, 3.0, 3.0]])
@pytest.mark.parametrize("name", ["min", "max", "amin", "amax"])
def test_gradients_of_extremes_with_nan(name, values):
    x = np.array([values], np.float32)
    check_op(getattr(F, name), torch and getattr(torch, name), [x], numeric=False)
    if name.startswith("a"):
        check_op(lambda t: getattr(F, name)(t, 1), torch and (lambda t: getattr(torch, name)(t, 1)), [x], numeric=False)


@pytest.mark.parametrize(
    "shape, dims",
    [
        ((4, 3, 1), (0, 2)),
        ((1, 3, 1), (0, 2)),
        ((3, 1, 2), (0, 2)),
        ((3, 1), (1,)),
        ((1, 1), (0, 1)),
        ((2, 1, 3, 1, 4), (1, 2, 4)),
    ],
)
@pytest.mark.parametrize("name", ["sum", "mean", "amax", "var", "std", "logsumexp", "norm"])
def test_dimensions_of_size_one(name, shape, dims):
    options = {"correction": 0} if name in ("var", "std") else {}
    theirs = torch and (torch.linalg.vector_norm if name == "norm" else getattr(torch, name))
    for keepdim in (False, True):
        arguments = {"dim": dims, "keepdim": keepdim, **options}
        check_op(lambda t, a=arguments: getattr(F, name)(t, **a), torch and (lambda t, a=arguments: theirs(t, **a)),
                 [normal(*shape)], rtol=1e-4, numeric=False)  # fmt: skip


def test_dimensions_of_size_one_do_not_choose_the_loops():
    assert reduction._groups((32, 7, 1), (0, 2)) == [(0, 0)]
    assert reduction._groups((32, 1, 7), (0, 2)) == [(0, 2)]
    assert reduction._groups((2, 3, 4, 5), (0, 2, 3)) == [(2, 3), (0, 0)]
    assert reduction._groups((5, 1), (1,)) == [(0, -1)]
