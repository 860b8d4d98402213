"""linear and matrix products against PyTorch and finite differences, second derivatives, errors."""

import numpy as np
import pytest

import numbanet
import numbanet.nn.functional as F
from numbanet import autograd
from tests.checks import assert_close, check_op, torch

rng = np.random.default_rng(7)


def draw(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("leading", [(), (4,), (2, 3), (1, 1, 5), (0,)])
@pytest.mark.parametrize("bias", [False, True])
def test_linear(leading, bias):
    arrays = [draw(*leading, 7), draw(5, 7)] + ([draw(5)] if bias else [])
    check_op(F.linear, None if torch is None else torch.nn.functional.linear, arrays, numeric=0 not in leading)


@pytest.mark.parametrize("leading, bias", [((4,), True), ((2, 3), False), ((0,), True)])
def test_linear_relu(leading, bias):
    arrays = [draw(*leading, 5), draw(3, 5), *([draw(3)] if bias else [])]
    theirs = None if torch is None else lambda *args: torch.relu(torch.nn.functional.linear(*args))
    check_op(F.linear_relu, theirs, arrays)


def test_linear_relu_is_the_two_operators():
    """Bit by bit, NaN too; of parameters of other shapes as well; both derivatives."""
    arrays = draw(4, 5), draw(3, 5), draw(3), draw(4, 3)
    arrays[0][1, 2] = np.nan
    found = []
    for function in (F.linear_relu, lambda *args: F.relu(F.linear(*args))):
        *leaves, dy = [numbanet.from_numpy(a.copy()).requires_grad_() for a in arrays]
        y = function(*leaves)
        found.append([y.detach(), *autograd.grad(y, leaves, dy.detach())])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    vector = numbanet.from_numpy(draw(5))
    np.testing.assert_array_equal(
        F.linear_relu(leaves[0], vector).detach().numpy(), F.relu(F.linear(leaves[0], vector)).detach().numpy()
    )
    x, w, b, dy = [numbanet.tensor(rng.standard_normal(s), requires_grad=True) for s in ((2, 3), (2, 3), (2,), (2, 2))]
    assert autograd.gradcheck(
        lambda x, w, b, dy: autograd.grad(F.linear_relu(x, w, b) ** 2, [x, w, b], dy, create_graph=True), (x, w, b, dy)
    )


def test_linear_takes_a_vector_as_weight():
    check_op(F.linear, None if torch is None else torch.nn.functional.linear, [draw(3, 7), draw(7)])


def test_linear_can_be_differentiated_twice():
    x, w, b, dy = [
        numbanet.tensor(rng.standard_normal(s), requires_grad=True) for s in ((2, 3, 4), (5, 4), (5,), (2, 3, 5))
    ]
    assert autograd.gradcheck(
        lambda x, w, b, dy: autograd.grad(F.linear(x, w, b) ** 2, [x, w, b], dy, create_graph=True), (x, w, b, dy)
    )


SHAPES = [
    ((3,), (3,)), ((3,), (3, 4)), ((2, 3), (3,)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((5, 2, 3), (3,)), ((3,), (5, 3, 4)),
    ((5, 2, 3), (5, 3, 4)), ((1, 2, 3), (5, 3, 4)), ((5, 2, 3), (1, 3, 4)), ((6, 1, 2, 3), (5, 3, 4)), ((2, 3), (5, 3, 4)),
    ((2, 1, 4), (1, 2, 4, 3)), ((6, 5, 2, 3), (6, 5, 3, 4)), ((6, 1, 2, 3), (1, 5, 3, 4)), ((1, 1, 2, 3), (4, 5, 3, 2)), ((1, 1), (1, 1)), ((2, 2, 2, 3), (3,)),
]  # fmt: skip


@pytest.mark.parametrize("a, b", SHAPES)
def test_matmul_broadcasts(a, b):
    check_op(F.matmul, None if torch is None else torch.matmul, [draw(*a), draw(*b)])


@pytest.mark.parametrize(
    "a, b",
    [((2, 3), (3, 4)), ((1, 2, 3), (4, 3, 2)), ((4, 2, 3), (1, 3, 2)), ((3,), (3, 2)), ((2, 1, 2, 3), (2, 3, 2))],
)
def test_matmul_can_be_differentiated_twice(a, b):
    x, y = [numbanet.tensor(rng.standard_normal(s), requires_grad=True) for s in (a, b)]
    assert autograd.gradcheck(lambda x, y: autograd.grad(((x @ y) ** 2).sum(), [x, y], create_graph=True), (x, y))


def test_matmul_reads_transposed_views_in_place():
    x, y = draw(3, 2), draw(4, 3)
    check_op(lambda x, y: x.T @ y.T, None if torch is None else lambda x, y: x.T @ y.T, [x, y])
    x, y = draw(5, 3, 2), draw(5, 4, 3)
    check_op(lambda x, y: x.mT @ y.mT, None if torch is None else lambda x, y: x.mT @ y.mT, [x, y])


@pytest.mark.parametrize(
    "a, b", [((0, 3), (3, 2)), ((2, 0), (0, 3)), ((2, 3), (3, 0)), ((0, 2, 3), (0, 3, 2)), ((4, 2, 0), (4, 0, 2))]
)
def test_matmul_of_nothing(a, b):
    x, y = numbanet.zeros(a, requires_grad=True), numbanet.zeros(b, requires_grad=True)
    product = x @ y
    assert product.tolist() == np.matmul(np.zeros(a), np.zeros(b)).tolist()
    product.sum().backward()
    assert tuple(x.grad.shape) == a and tuple(y.grad.shape) == b
    assert (x.grad.numpy() == 0).all() and (y.grad.numpy() == 0).all()


def test_the_named_products():
    pairs = [
        ("mm", (2, 3), (3, 4)),
        ("bmm", (5, 2, 3), (5, 3, 4)),
        ("mv", (2, 3), (3,)),
        ("dot", (3,), (3,)),
        ("outer", (2,), (3,)),
    ]
    for name, a, b in pairs:
        check_op(getattr(F, name), None if torch is None else getattr(torch, name), [draw(*a), draw(*b)])


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_matmul_of_integers_is_exact(dtype):
    x, y = rng.integers(0, 9, (3, 4)).astype(dtype), rng.integers(0, 9, (4, 2)).astype(dtype)
    assert_close(numbanet.from_numpy(x) @ numbanet.from_numpy(y), x @ y)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: F.linear(numbanet.zeros(2, 3), numbanet.zeros(4, 5)), RuntimeError, "linear: input has 3 features but weight expects 5 (input (2, 3), weight (4, 5))"),
        (lambda: F.linear(numbanet.zeros(2, 5), numbanet.zeros(4, 5), numbanet.zeros(3)), RuntimeError, "linear: expected bias of shape (4,)"),
        (lambda: F.linear(numbanet.zeros(2, 5), numbanet.zeros(4, 5).double()), RuntimeError, "linear: input is float32 but weight is float64"),
        (lambda: F.linear([1.0], numbanet.zeros(4, 5)), TypeError, "linear: argument 'input' must be a Tensor, not list"),
        (lambda: numbanet.zeros(2, 3) @ numbanet.zeros(2, 3), RuntimeError, "matmul: the last dimension of (2, 3) is 3, expected 2 to fit (2, 3)"),
        (lambda: numbanet.zeros(3) @ numbanet.zeros(()), RuntimeError, "matmul: both tensors need at least one dimension, got (3,) and ()"),
        (lambda: numbanet.zeros(2, 2, 3) @ numbanet.zeros(3, 3, 1), RuntimeError, "matmul: shapes (2,) and (3,) do not broadcast"),
        (lambda: numbanet.zeros(2, 3) @ numbanet.zeros(3, 2).double(), RuntimeError, "matmul: expected tensors of one dtype, got float32 and float64"),
        (lambda: F.mm(numbanet.zeros(2, 3), numbanet.zeros(4, 2)), RuntimeError, "mm: shapes (2, 3) and (4, 2) cannot be multiplied"),
        (lambda: F.mm(numbanet.zeros(2), numbanet.zeros(2)), RuntimeError, "mm: expected two matrices"),
        (lambda: F.bmm(numbanet.zeros(2, 2, 3), numbanet.zeros(1, 3, 1)), RuntimeError, "bmm: expected shapes (B, M, K) and (B, K, N)"),
        (lambda: F.dot(numbanet.zeros(2), numbanet.zeros(3)), RuntimeError, "dot: expected two vectors of one length, got shapes (2,) and (3,)"),
        (lambda: F.matmul(numbanet.zeros(2), 3.0), TypeError, "matmul: expected two tensors, got a float"),
    ],
)  # fmt: skip
def test_products_name_what_does_not_fit(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)


@pytest.mark.parametrize(("beta", "alpha"), [(1, 1), (0.5, -2), (0, 1)])
@pytest.mark.parametrize("name", ["addmm", "addmv", "baddbmm"])
def test_products_added_to_something(name, beta, alpha):
    shapes = {"addmm": ((4,), (2, 3), (3, 4)), "addmv": ((), (2, 3), (3,)), "baddbmm": ((2, 1), (5, 2, 3), (5, 3, 4))}[
        name
    ]
    random = np.random.default_rng(0)
    arrays = [np.asarray(random.standard_normal(shape), np.float32) for shape in shapes]
    call = lambda library, *t: getattr(library, name)(*t, beta=beta, alpha=alpha)  # noqa: E731
    check_op(lambda *t: call(numbanet, *t), torch and (lambda *t: call(torch, *t)), arrays)


@pytest.mark.parametrize("shapes", [((3,), (3,)), ((2, 3), (3,)), ((2, 3), (4, 5, 3)), ((), (2, 3))])
def test_inner(shapes):
    random = np.random.default_rng(0)
    arrays = [np.asarray(random.standard_normal(shape), np.float32) for shape in shapes]
    check_op(lambda *t: numbanet.inner(*t), torch and (lambda *t: torch.inner(*t)), arrays)
