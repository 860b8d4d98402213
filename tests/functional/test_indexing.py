"""Reading and writing by index: against PyTorch, values, gradients, gradients of gradients, places named twice."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import numbanet
from numbanet import functional as F
from tests.checks import assert_close, check_op, torch

rng = np.random.default_rng(0)
needs_torch = pytest.mark.skipif(torch is None, reason="compares with PyTorch")


def normal(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def both(function, arrays, **options):
    """One function of (library, *tensors) through ``check_op``."""
    check_op(lambda *t: function(numbanet, *t), torch and (lambda *t: function(torch, *t)), arrays, **options)


def ints(library, *values):
    return library.tensor(list(values))


# ------------------------------------------------------------------------------------------------------ brackets

mask = np.array([[True, False, True], [False, False, True]])
INDICES = {
    "one vector": lambda lib: ints(lib, 1, 0, 1),
    "negative": lambda lib: ints(lib, -1, 0),
    "a matrix": lambda lib: lib.tensor([[0, 1], [1, 1]]),
    "a list": lambda lib: [1, 0],
    "the second": lambda lib: (slice(None), ints(lib, 2, 0, 0)),
    "the last": lambda lib: (Ellipsis, ints(lib, 3, 1)),
    "two neighbours": lambda lib: (slice(None), ints(lib, 2, 0), ints(lib, 1, 3)),
    "two that broadcast": lambda lib: (lib.tensor([[0], [1]]), ints(lib, 2, 0, 1)),
    "two apart": lambda lib: (ints(lib, 1, 0), slice(None), ints(lib, 1, 3)),
    "an int before": lambda lib: (1, ints(lib, 2, 0)),
    "an int and a slice before": lambda lib: (0, slice(None), ints(lib, 2, 0)),
    "slices": lambda lib: (slice(0, 1), ints(lib, 2, 0), slice(None, None, 2)),
    "None": lambda lib: (None, slice(None), ints(lib, 2, 0, 1)),
    "None between": lambda lib: (ints(lib, 1, 0), None, ints(lib, 2, 0)),
    "a mask of two dimensions": lambda lib: lib.from_numpy(mask),
    "a mask of the last": lambda lib: (Ellipsis, lib.tensor([True, False, True, True])),
    "a mask and ints": lambda lib: (lib.from_numpy(mask), ints(lib, 0, 1, 3)),
    "an empty mask": lambda lib: lib.from_numpy(np.zeros((2, 3), bool)),
    "nothing": lambda lib: lib.tensor([]).long(),
}


@pytest.mark.parametrize("name", INDICES)
def test_reading(name):
    def read(lib, x):
        return x[INDICES[name](lib)]

    both(read, [normal(2, 3, 4)], numeric="nothing" not in name and "empty" not in name)


@needs_torch
@pytest.mark.parametrize("name", INDICES)
@pytest.mark.parametrize("records", [False, True])
def test_writing(name, records):
    """A tensor of the part's shape, one that broadcasts, a number; where autograd records and where it does not."""
    values, base = normal(2, 3, 4), normal(2, 3, 4)

    def run(lib, source):
        x = lib.from_numpy(base.copy())
        x.requires_grad = records
        t, index = x * 2, INDICES[name](lib)
        shape = tuple(t[index].shape)
        given = {
            "all": lambda: lib.from_numpy(np.resize(values, shape).copy()),
            "one": lambda: lib.from_numpy(np.resize(values, shape[-1:]).copy()),
            "number": lambda: 5.0,
        }[source]()
        if records and source != "number":
            given.requires_grad_()
        t[index] = given
        if not records:
            return [t.numpy()]
        (t * t).sum().backward()
        return [t.detach().numpy(), x.grad.numpy(), *([given.grad.numpy()] if source != "number" else [])]

    for source in ("all", "one", "number"):
        for ours, theirs in zip(run(numbanet, source), run(torch, source), strict=True):
            assert_close(ours, theirs, what=source)


def test_places_named_twice_are_added_twice():
    x = numbanet.zeros(4, requires_grad=True)
    x[numbanet.tensor([1, 1, 3, 1])].backward(numbanet.tensor([1.0, 2.0, 4.0, 8.0]))
    assert x.grad.tolist() == [0, 11, 0, 4]
    t = numbanet.zeros(4)
    F.index_put_(t, (numbanet.tensor([1, 1, 3]),), numbanet.ones(3), accumulate=True)
    assert t.tolist() == [0, 2, 0, 1]
    assert F.index_put(t, (numbanet.tensor([0]),), numbanet.tensor([7.0])).tolist() == [7, 2, 0, 1]
    assert t.tolist() == [0, 2, 0, 1]


def test_writing_into_views_and_from_itself():
    t = numbanet.arange(12.0).reshape(3, 4)
    t.t()[numbanet.tensor([0, 3])] = -1.0
    assert t.tolist() == [[-1, 1, 2, -1], [-1, 5, 6, -1], [-1, 9, 10, -1]]
    x = numbanet.arange(6.0)
    x[numbanet.tensor([1, 2, 3])] = x[:3]
    assert x.tolist() == [0, 0, 1, 2, 4, 5]


def test_gradients_of_gradients():
    index = numbanet.tensor([2, 0, 2])
    x = numbanet.tensor(normal(3, 2).astype(np.float64), requires_grad=True)

    def first(x, function):
        (g,) = numbanet.autograd.grad((function(x) ** 3).sum(), x, create_graph=True)
        return g

    for function in (
        lambda t: t[index],
        lambda t: F.gather(t, 0, index.reshape(3, 1)),
        lambda t: F.index_add(t, 0, index, t),
        lambda t: F.scatter(t, 0, numbanet.tensor([[1, 0]]), t[:1]),
    ):
        assert numbanet.autograd.gradcheck(lambda x, f=function: first(x, f), x)


# --------------------------------------------------------------------------------------------- along a dimension


@pytest.mark.parametrize(("dim", "count"), [(0, 3), (1, 5), (-1, 1), (2, 0)])
def test_rows(dim, count):
    x = normal(2, 3, 4)
    shape = list(x.shape)
    n, shape[dim] = shape[dim], count
    index, source = rng.permutation(max(n, count))[:count] % n, normal(*shape)
    some = dict(numeric=count > 0)
    both(lambda lib, t: lib.index_select(t, dim, lib.from_numpy(index)), [x], **some)
    for alpha in (1, 0.5):
        both(lambda lib, t, s, a=alpha: lib.index_add(t, dim, lib.from_numpy(index), s, alpha=a), [x, source])
    if len(set(index.tolist())) == count:  # of rows named twice any may stay
        both(lambda lib, t, s: lib.index_copy(t, dim, lib.from_numpy(index), s), [x, source])
    both(lambda lib, t: lib.index_fill(t, dim, lib.from_numpy(index), 2.5), [x])


SMALLER = [((2, 3, 4), 1), ((2, 3, 4), 0), ((1, 2, 3), 2), ((2, 5, 4), 1), ((2, 0, 4), 1)]


@pytest.mark.parametrize(("shape", "dim"), SMALLER)
def test_gather_and_scatter(shape, dim):
    """Indices of input's size, smaller in other dimensions, longer and empty along dim."""
    x, index = normal(2, 3, 4), rng.integers(0, (2, 3, 4)[dim], shape)
    src = normal(*shape)
    some = dict(numeric=0 not in shape)
    both(lambda lib, t: lib.gather(t, dim, lib.from_numpy(index)), [x], **some)
    both(lambda lib, t, s: lib.scatter_add(t, dim, lib.from_numpy(index), s), [x, src])
    both(lambda lib, t: lib.scatter(t, dim, lib.from_numpy(index), 1.5), [x])
    once = np.argsort(rng.random(shape), axis=dim) % (2, 3, 4)[dim]  # no place twice, where dim is no longer than x's
    if shape[dim] <= x.shape[dim]:
        both(lambda lib, t, s: lib.scatter(t, dim, lib.from_numpy(once), s), [x, src])


@needs_torch
def test_scatter_reads_no_more_of_src_than_the_index_reaches():
    x, src, index = normal(3, 4), normal(5, 6), rng.integers(0, 3, (2, 3))
    for name in ("scatter", "scatter_add"):
        ours, theirs = [
            getattr(lib, name)(lib.from_numpy(x), 0, lib.from_numpy(np.sort(index, 0)), lib.from_numpy(src))
            for lib in (numbanet, torch)
        ]
        assert_close(ours, theirs.numpy())


@needs_torch
@pytest.mark.parametrize(
    ("reduce", "include_self"), list(product(["sum", "mean", "prod", "amax", "amin"], [True, False]))
)
def test_scatter_reduce(reduce, include_self):
    x, src = normal(3, 4), np.round(normal(5, 4) * 2) + 0.5
    index = rng.integers(0, 3, (5, 4))

    def run(lib, t, s):
        return lib.scatter_reduce(t, 0, lib.from_numpy(index), s, reduce, include_self=include_self)

    both(run, [x, src.astype(np.float32)], rtol=1e-4, numeric=reduce not in ("amax", "amin"))


def test_in_place_forms():
    index, values = np.array([[0, 2, 1, 0]]), normal(1, 4)

    def run(lib):
        results = []
        for call in (
            lambda t, i, s: t.scatter_(0, i, s),
            lambda t, i, s: t.scatter_add_(0, i, s),
            lambda t, i, s: t.scatter_(0, i, 3.0),
            lambda t, i, s: t.index_add_(0, i[0, :2], s.repeat(2, 1)),
            lambda t, i, s: t.index_copy_(0, i[0, :2], s.repeat(2, 1)),
            lambda t, i, s: t.index_fill_(1, i[0, :2], -1.0),
        ):
            x = lib.from_numpy(np.ones((3, 4), np.float32)).requires_grad_()
            s = lib.from_numpy(values.copy()).requires_grad_()
            t = x * 2
            assert call(t, lib.from_numpy(index), s) is t
            (t * t).sum().backward()
            results += [t.detach().numpy(), x.grad.numpy(), None if s.grad is None else s.grad.numpy()]
        return results

    ours = run(numbanet)
    assert ours[0][1].tolist() == [2, 2, values[0, 2], 2]
    if torch is not None:
        for a, b in zip(ours, run(torch), strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                assert_close(a, b)


def test_take_and_masked_select():
    x = normal(3, 4)
    index = np.array([[0, 11, -1], [5, 5, -12]])
    both(lambda lib, t: lib.take(t, lib.from_numpy(index)), [x])
    both(lambda lib, t: lib.masked_select(t, t.detach() > 0), [x])
    both(lambda lib, t: lib.masked_select(t, lib.tensor([True, False, True, True])), [x])
    places = np.argsort(x, axis=1)
    both(lambda lib, t: lib.take_along_dim(t, lib.from_numpy(places), 1), [x])
    both(lambda lib, t: lib.take_along_dim(t, lib.from_numpy(places[:1, :2]), 1), [x])
    both(lambda lib, t: lib.take_along_dim(t, lib.tensor([3, 1])), [x])


@needs_torch
@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (0, 3), (2, 2, 2)])
def test_nonzero(shape):
    x = np.asarray(rng.integers(0, 2, shape))
    ours, theirs = numbanet.from_numpy(x), torch.from_numpy(x)
    assert_close(ours.nonzero(), theirs.nonzero().numpy())
    for a, b in zip(numbanet.nonzero(ours, as_tuple=True), torch.nonzero(theirs, as_tuple=True), strict=True):
        assert_close(a, b.numpy())
    for a, b in zip(numbanet.where(ours > 0), torch.where(theirs > 0), strict=True):
        assert_close(a, b.numpy())


@pytest.mark.parametrize("shape, dim", [((0, 4), 0), ((3, 0), 1), ((0,), 0), ((0, 4, 5), 0)])
def test_gather_of_nothing(shape, dim):
    x = numbanet.ones(3, 4, requires_grad=True)
    y = F.gather(x, dim, numbanet.zeros(shape, dtype=numbanet.int64))
    y.sum().backward()
    assert tuple(y.shape) == shape and x.grad.tolist() == [[0.0] * 4] * 3
    if torch is not None:
        assert tuple(torch.gather(torch.ones(3, 4), dim, torch.zeros(shape, dtype=torch.int64)).shape) == shape
