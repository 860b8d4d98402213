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
    "diagonal": lambda t: t.diagonal(),
    "diagonal above": lambda t: t.diagonal(1, 2, 1),
    "diagonal below": lambda t: t.diagonal(-2, 1, 2),
}
COPIES = {
    "reshape of a transpose": lambda t: t.transpose(0, 1).reshape(4, 6),
    "repeat": lambda t: t.repeat(2, 1, 3),
    "tile": lambda t: t.tile(2, 1),
    "flip": lambda t: t.flip(0, 2),
    "clone": lambda t: t.clone(),
    "contiguous": lambda t: t.permute(1, 2, 0).contiguous(),
    "roll": lambda t: t.roll(1),
    "roll back": lambda t: t.roll((-1, 5), (0, 2)),
    "roll around": lambda t: t.roll(4, 2),
    "rot90": lambda t: t.rot90(1, (1, 2)),
    "rot180": lambda t: t.rot90(2, (0, 2)),
    "rot270": lambda t: t.rot90(-1, (2, 0)),
    "fliplr": lambda t: t.fliplr(),
    "flipud": lambda t: t.flipud(),
    "repeat_interleave": lambda t: t.repeat_interleave(3, 1),
    "repeat_interleave all": lambda t: t.repeat_interleave(2),
    "tril": lambda t: t.tril(),
    "tril above": lambda t: t.tril(1),
    "triu": lambda t: t.triu(),
    "triu below": lambda t: t.triu(-1),
    "diag of a matrix": lambda t: t[0].diag(1),
    "diag of a vector": lambda t: t[0, 0].diag(-2),
    "diag_embed": lambda t: t.diag_embed(),
    "diag_embed elsewhere": lambda t: t.diag_embed(-1, 0, 2),
    "tril in place": lambda t: t.clone().tril_().triu_(-1),
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


def test_stacked_numbers_get_gradients():
    a, b = numbanet.ones(3, requires_grad=True), numbanet.ones(2, requires_grad=True)
    (F.stack([a.sum(), b.sum()]) * numbanet.tensor([2.0, 3.0])).sum().backward()
    np.testing.assert_array_equal(a.grad.numpy(), [2, 2, 2])
    np.testing.assert_array_equal(b.grad.numpy(), [3, 3])


def library_of(t):
    return numbanet if isinstance(t, numbanet.Tensor) else torch


FUNCTIONS = {
    "repeat_interleave by a vector": lambda lib, a, b: lib.repeat_interleave(a, lib.tensor([2, 0, 1]), dim=1),
    "meshgrid": lambda lib, a, b: tuple(lib.meshgrid(a[0, 0], b[0], indexing="ij")),
    "meshgrid xy": lambda lib, a, b: tuple(lib.meshgrid(a[0, 0], b[0], a[1, 1, :2], indexing="xy")),
    "atleast": lambda lib, a, b: (*lib.atleast_1d(a[0, 0, 0], b), *lib.atleast_2d(a, b[0]), *lib.atleast_3d(b, b[0])),
    "dstack": lambda lib, a, b: lib.dstack([b, b * 2]),
    "column_stack": lambda lib, a, b: lib.column_stack([b[:, 0], b]),
    "hstack": lambda lib, a, b: lib.hstack([b, b * 2]),
    "vstack": lambda lib, a, b: lib.vstack([b, b[0]]),
    "moveaxis": lambda lib, a, b: lib.moveaxis(a, 0, 2),
    "tile": lambda lib, a, b: lib.tile(a, (2, 1, 3)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_several(name):
    call = FUNCTIONS[name]
    b = np.random.default_rng(0).standard_normal((3, 2)).astype(np.float32)
    check_op(lambda *t: call(numbanet, *t), torch and (lambda *t: call(torch, *t)), [x234, b])


PIXELS = [
    (1, (2, 3, 4, 5)),
    (2, (2, 8, 3, 2)),
    (3, (9, 2, 4)),
    (2, (2, 1, 4, 3, 3)),
    (2, (0, 4, 2, 2)),
    (2, (1, 4, 0, 2)),
]


@pytest.mark.parametrize(("r", "shape"), PIXELS)
def test_pixel_shuffle(r, shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    F_of = lambda t: library_of(t).nn.functional  # noqa: E731
    there, some = lambda t: F_of(t).pixel_shuffle(t, r), dict(numeric=x.size > 0)
    theirs = torch is not None and x.size > 0  # PyTorch's own gradient fails on empty tensors
    check_op(there, there if theirs else None, [x], **some)
    y = there(numbanet.from_numpy(x)).numpy()
    back = lambda t: F_of(t).pixel_unshuffle(t, r)  # noqa: E731
    check_op(back, back if theirs else None, [y], **some)
    np.testing.assert_array_equal(back(numbanet.from_numpy(y)).numpy(), x)


@pytest.mark.parametrize(
    ("groups", "shape"), [(1, (2, 4, 3)), (2, (2, 6, 3, 2)), (3, (1, 6, 2, 3, 2)), (4, (2, 4, 5)), (2, (0, 4, 2))]
)
def test_channel_shuffle(groups, shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    n, c, *rest = shape
    y = F.channel_shuffle(numbanet.from_numpy(x), groups).numpy()
    np.testing.assert_array_equal(y, x.reshape(n, groups, c // groups, *rest).swapaxes(1, 2).reshape(shape))
    check_op(lambda t: F.channel_shuffle(t, groups), None, [x], numeric=x.size > 0)


def test_large_copies_go_by_tiles():
    """Copies of views above the size from which the kernel copies them: transposed, strided, repeated, in several dtypes."""
    x = np.random.default_rng(0).standard_normal((3, 40, 50, 30)).astype(np.float32)
    for dtype in (np.float32, np.int64, bool):
        a = x.astype(dtype)
        for look in (
            lambda t: t.transpose(0, 3, 1, 2),
            lambda t: t.transpose(3, 2, 1, 0),
            lambda t: t[:, ::2, 1:],
            lambda t: t[..., ::3],
            lambda t: np.broadcast_to(t[:, :, :1], t.shape),
            lambda t: t[::-1],
        ):
            view = look(a)
            np.testing.assert_array_equal(numbanet.functional.arithmetic._copy(view), view)
    t = numbanet.from_numpy(x).permute(0, 2, 3, 1)
    assert t.contiguous().is_contiguous() and t.contiguous().tolist() == x.transpose(0, 2, 3, 1).tolist()


ERRORS = [
    (lambda: numbanet.ones(2, 3).view(4), RuntimeError, r"view: shape \(4,\) is invalid for an input of 6 elements"),
    (lambda: numbanet.ones(2, 3).reshape(-1, -1), RuntimeError, "at most one size may be -1"),
    (lambda: numbanet.ones(2, 3).T.view(6), RuntimeError, "cannot be viewed as"),
    (lambda: numbanet.ones(2, 3).permute(0, 0), RuntimeError, "do not name each of the 2 dimensions once"),
    (lambda: numbanet.ones(2, 3).expand(2, 4), RuntimeError, r"\(2, 3\) cannot be expanded to \(2, 4\)"),
    (lambda: F.cat([]), ValueError, "at least one tensor"),
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


@pytest.mark.parametrize("shape, chunks, dim", [((0, 2), 3, 0), ((2, 0), 2, 1), ((0,), 1, -1), ((5, 2), 3, 0)])
def test_chunks_of_nothing(shape, chunks, dim):
    sizes = [tuple(part.shape) for part in numbanet.zeros(shape).chunk(chunks, dim)]
    expected = [(min(2, 5 - start), 2) for start in (0, 2, 4)] if shape == (5, 2) else [shape] * chunks
    assert sizes == expected
    if torch is not None:
        assert sizes == [tuple(part.shape) for part in torch.zeros(shape).chunk(chunks, dim)]


@pytest.mark.parametrize("dims", [(0,), (-1,), ()])
def test_flip_without_dimensions(dims):
    x = numbanet.tensor(3.0, requires_grad=True)
    y = F.flip(x, dims)
    y.backward()
    assert y.shape == () and y.item() == 3.0 and y.data_ptr() != x.data_ptr() and x.grad.item() == 1.0
