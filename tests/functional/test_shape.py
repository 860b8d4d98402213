"""Views, copies, joining and splitting."""

from __future__ import annotations

import numpy as np
import pytest

import numbanet
from numbanet import functional as F
from tests.checks import assert_close, check_op, torch

x234 = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
VIEWS = {
    "view": lambda t: t.view(6, 4),
    "view -1": lambda t: t.view(-1, 2),
    "permute": lambda t: t.permute(2, 0, 1),
    "transpose": lambda t: t.transpose(0, -1),
    "squeeze": lambda t: t[:, :1].squeeze(1),
    "unsqueeze": lambda t: t.unsqueeze(-1),
    "expand": lambda t: t[:, :, :1].expand(-1, -1, 5),
    "narrow": lambda t: t.narrow(1, 1, 2),
    "select": lambda t: t.select(2, 3),
    "slice": lambda t: t[1:, ::2, 1:3],
    "int and None": lambda t: t[0, None, ..., 1],
    "flatten": lambda t: t.flatten(1),
    "T of a matrix": lambda t: t[0].T,
    "unflatten": lambda t: t.unflatten(2, (2, -1)),
    "movedim": lambda t: t.movedim(0, 2),
    "swapaxes": lambda t: t.swapaxes(0, 1),
    "split": lambda t: t.split(2, 2)[1],
    "chunk": lambda t: t.chunk(2, 1)[0],
    "unbind": lambda t: t.unbind(1)[2],
}
COPIES = {
    "reshape of a transpose": lambda t: t.transpose(0, 1).reshape(4, 6),
    "repeat": lambda t: t.repeat(2, 1, 3),
    "tile": lambda t: t.tile(2, 1),
    "flip": lambda t: t.flip(0, 2),
    "clone": lambda t: t.clone(),
    "contiguous": lambda t: t.permute(1, 2, 0).contiguous(),
    "boolean": lambda t: t[t > 7.5],
    "integers": lambda t: t[:, [2, 0, 0]],
}


@pytest.mark.parametrize("name", [*VIEWS, *COPIES])
def test_against_pytorch(name):
    function = {**VIEWS, **COPIES}[name]
    if name.startswith("view"):  # a view needs a fitting layout
        function = lambda t, f=function: f(t.contiguous())  # noqa: E731
    check_op(function, torch and function, [x234])


@pytest.mark.parametrize("name", list(VIEWS))
def test_views_share_memory(name):
    t = numbanet.tensor(x234)
    v = VIEWS[name](t)
    t.fill_(7)
    assert (v == 7).all()


@pytest.mark.parametrize("name", list(COPIES))
def test_copies_do_not(name):
    t = numbanet.tensor(x234)
    v = COPIES[name](t)
    before = v.numpy().copy()
    t.fill_(-1)
    np.testing.assert_array_equal(v.numpy(), before)


def test_joining():
    a, b, c = [np.random.default_rng(i).standard_normal((2, 3 + i, 4)).astype(np.float32) for i in range(3)]
    check_op(lambda *t: F.cat(t, 1), torch and (lambda *t: torch.cat(t, 1)), [a, b, c])
    check_op(lambda *t: F.cat(t, dim=-2), torch and (lambda *t: torch.cat(t, dim=-2)), [a, b])
    for dim in (0, 1, -1):
        check_op(lambda *t, d=dim: F.stack(t, d), torch and (lambda *t, d=dim: torch.stack(t, d)), [a, a + 1])
    assert F.cat([numbanet.ones(2), numbanet.ones(2, dtype=numbanet.int64)]).dtype == numbanet.float32
    assert F.cat([numbanet.zeros(0), numbanet.ones(2, 2)]).shape == (2, 2)


ERRORS = [
    (lambda: numbanet.ones(2, 3).view(4), RuntimeError, r"view: shape \(4,\) is invalid for an input of 6 elements"),
    (lambda: numbanet.ones(2, 3).reshape(-1, -1), RuntimeError, "at most one size may be -1"),
    (lambda: numbanet.ones(2, 3).T.view(6), RuntimeError, "cannot be viewed as"),
    (lambda: numbanet.ones(2, 3).permute(0, 0), RuntimeError, "do not name each of the 2 dimensions once"),
    (lambda: numbanet.ones(2, 3).expand(2, 4), RuntimeError, r"\(2, 3\) cannot be expanded to \(2, 4\)"),
    (lambda: F.cat([]), RuntimeError, "at least one tensor"),
    (
        lambda: F.cat([numbanet.ones(2, 3), numbanet.ones(3, 2)]),
        RuntimeError,
        r"element 1 of shape \(3, 2\) does not fit \(2, 3\)",
    ),
    (lambda: F.stack([numbanet.ones(2), numbanet.ones(3)]), RuntimeError, r"element 1 has shape \(3,\)"),
    (lambda: numbanet.ones(5).split([2, 2]), RuntimeError, "add up to 4, dimension 0 has size 5"),
    (lambda: numbanet.ones(5).narrow(0, 3, 3), RuntimeError, "go beyond dimension 0 of size 5"),
    (lambda: numbanet.ones(2, 3)[2], IndexError, "out of bounds"),
    (lambda: numbanet.ones(2, 3)[0, 0, 0], IndexError, "too many indices"),
    (lambda: numbanet.ones(3)[::-1], ValueError, "slice steps must be positive, got -1"),
    (lambda: numbanet.ones(3)[1.5], TypeError, "expected ints"),
    (lambda: numbanet.ones(3)[numbanet.tensor([0.5])], IndexError, "must be integers or bools"),
    (
        lambda: numbanet.ones(3).__setitem__(slice(0, 2), numbanet.ones(3)),
        RuntimeError,
        r"shape \(3,\) does not broadcast",
    ),
    (lambda: numbanet.ones(2, 2, 2).t(), RuntimeError, "at most 2 dimensions"),
    (lambda: numbanet.ones(2).unsqueeze(3), IndexError, "dimension out of range"),
    (lambda: numbanet.zeros(-1), RuntimeError, "must not be negative"),
    (lambda: F.one_hot(numbanet.tensor([0, 3]), 3), RuntimeError, "classes run from 0 to 3, expected 0 to 2"),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS)
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_writing_by_index():
    def run(library):
        a = library.arange(12.0).reshape(3, 4).requires_grad_()
        b = library.ones(4).requires_grad_()
        t = a * 2
        t[1] = b
        t[0, 1:3] = 5.0
        t[library.tensor([0, 2]), library.tensor([3, 0])] = b[:2] * 3
        t[t > 20] = 1.5
        (t * t).sum().backward()
        return t.detach().numpy(), a.grad.numpy(), b.grad.numpy()

    ours = run(numbanet)
    assert ours[0][1].tolist() == [1, 1, 1, 1] and ours[0][0].tolist() == [0, 5, 5, 3]
    if torch is not None:
        for x, y in zip(ours, run(torch), strict=True):
            assert_close(x, y)


def test_changes_through_views_reach_the_gradient():
    def run(library):
        a = library.ones(3, 4).requires_grad_()
        b = a * 2
        row, column = b[1], b[:, 1]
        row.mul_(3)
        column += a[:, 0]
        b[0, 0] = a[2, 2] * 5
        ((b * b).sum() + (row * row * row).sum() + column.sum()).backward()
        return a.grad.numpy()

    ours = run(numbanet)
    if torch is not None:
        assert_close(ours, run(torch))
    assert ours.shape == (3, 4) and np.isfinite(ours).all()


def test_gather_and_index_select():
    index = np.array([[0, 2, 1, 0], [1, 1, 0, 2]])
    check_op(lambda t: F.gather(t, 1, numbanet.from_numpy(index[:, None, :])),
             torch and (lambda t: torch.gather(t, 1, torch.from_numpy(index[:, None, :]))), [x234])  # fmt: skip
    check_op(lambda t: F.index_select(t, 2, numbanet.tensor([3, 3, 0])),
             torch and (lambda t: torch.index_select(t, 2, torch.tensor([3, 3, 0]))), [x234])  # fmt: skip


def test_dtype_conversion_is_differentiable():
    x = numbanet.tensor([1.0, 2.0], requires_grad=True)
    (x.double() * 3).sum().backward()
    assert x.grad.dtype == numbanet.float32 and x.grad.tolist() == [3, 3]
    assert numbanet.tensor([1.7, -1.7]).long().tolist() == [1, -1]
    assert numbanet.tensor([0.0, 2.0]).bool().tolist() == [False, True]


def test_random_fills():
    x = numbanet.empty(10000)
    assert abs(float(x.uniform_(2, 4).mean()) - 3) < 0.05 and float(x.min()) >= 2 and float(x.max()) <= 4
    assert abs(float(x.normal_(1, 2).std()) - 2) < 0.1
    assert set(numbanet.empty(100, dtype=numbanet.int64).random_(0, 3).tolist()) == {0, 1, 2}
    assert 0.4 < float(x.bernoulli_(0.5).mean()) < 0.6
