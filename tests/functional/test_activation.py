"""Activations and softmax against PyTorch and finite differences, extreme values, in place, second derivatives."""

import numpy as np
import pytest

import numbanet
import numbanet.nn.functional as F
from numbanet import autograd
from tests.checks import assert_close, check_op, torch

rng = np.random.default_rng(11)


def draw(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh"])
@pytest.mark.parametrize("shape", [(), (1,), (37,), (3, 5, 7), (0, 4)])
def test_activation(name, shape):
    x = np.asarray(draw(*shape) * 3, np.float32)
    check_op(getattr(F, name), None if torch is None else getattr(torch, name), [x], numeric=0 not in shape)


@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh"])
def test_activation_of_extreme_values(name):
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-30, 80.0, -80.0, 1000.0, -1000.0], np.float32)
    y = getattr(F, name)(numbanet.from_numpy(x)).numpy()
    with np.errstate(over="ignore"):
        expected = {"relu": np.maximum(x, 0), "sigmoid": 1 / (1 + np.exp(-x)), "tanh": np.tanh(x)}[name]
    assert_close(y, expected.astype(np.float32), rtol=1e-5, atol=1e-7)


def test_relu_gradient_passes_nan_and_is_zero_at_zero():
    x = numbanet.tensor([float("nan"), 0.0, -1.0, 2.0], requires_grad=True)
    F.relu(x).backward(numbanet.tensor([1.0, 1.0, 1.0, float("nan")]))
    assert_close(x.grad, np.array([1, 0, 0, np.nan], np.float32))


@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh"])
def test_activation_in_place(name):
    x = draw(4, 5)
    in_place = getattr(F, name + "_")
    check_op(lambda x: in_place(x * 1.5), None if torch is None else lambda x: getattr(torch, name)(x * 1.5), [x])
    plain = numbanet.from_numpy(x.copy())
    assert in_place(plain) is plain
    assert_close(plain, getattr(F, name)(numbanet.from_numpy(x)))


def test_relu_in_place_of_a_view_reaches_its_base():
    x = draw(4, 5)

    def ours(x):
        y = x * 2.0
        F.relu(y[1:3], inplace=True)
        return y

    def theirs(x):
        y = x * 2.0
        torch.relu_(y[1:3])
        return y

    check_op(ours, None if torch is None else theirs, [x])


def test_relu_in_place_refuses_leaves_and_spoils_what_backward_needs():
    leaf = numbanet.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="a leaf that requires grad"):
        F.relu(leaf, inplace=True)
    y = leaf * 1.0
    z = y * y
    F.relu_(y)
    with pytest.raises(RuntimeError, match="modified by an in-place operation"):
        z.sum().backward()


@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh"])
def test_activation_can_be_differentiated_twice(name):
    x = numbanet.tensor(rng.standard_normal(9), requires_grad=True)
    dy = numbanet.tensor(rng.standard_normal(9), requires_grad=True)
    assert autograd.gradcheck(lambda x, dy: autograd.grad(getattr(F, name)(x), x, dy, create_graph=True), (x, dy))


def test_activation_of_integers():
    x = numbanet.tensor([-2, 0, 3])
    assert F.relu(x).tolist() == [0, 0, 3] and F.relu(x).dtype == numbanet.int64
    assert F.sigmoid(x).dtype == numbanet.float32
    assert_close(F.tanh(x), np.tanh(np.array([-2, 0, 3], np.float32)))


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize(
    "shape, dim", [((5,), 0), ((4, 10), 1), ((4, 10), 0), ((2, 3, 4, 5), 1), ((2, 3, 4), -1), ((), 0), ((3, 1), 1)]
)
def test_softmax(name, shape, dim):
    x = np.asarray(draw(*shape) * 4, np.float32)
    check_op(lambda x: getattr(F, name)(x, dim), None if torch is None else lambda x: getattr(torch, name)(x, dim), [x])


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_can_be_differentiated_twice(name):
    x, dy = [numbanet.tensor(rng.standard_normal((3, 4)), requires_grad=True) for _ in range(2)]
    assert autograd.gradcheck(lambda x, dy: autograd.grad(getattr(F, name)(x, 1), x, dy, create_graph=True), (x, dy))


def test_softmax_of_large_values_does_not_overflow():
    x = numbanet.tensor([[1000.0, 1000.0, -1000.0], [float("-inf"), 0.0, 0.0]])
    assert_close(F.softmax(x, 1), np.array([[0.5, 0.5, 0], [0, 0.5, 0.5]], np.float32))
    assert_close(F.log_softmax(x, 1)[0], np.array([-np.log(2), -np.log(2), -2000 - np.log(2)], np.float32))


def test_softmax_guesses_the_dimension_with_a_warning():
    x = numbanet.from_numpy(draw(2, 3))
    with pytest.warns(UserWarning, match="softmax: dim was not given, and dim=1 was guessed"):
        assert_close(F.softmax(x), F.softmax(x, 1))
    with pytest.warns(UserWarning, match="dim=0"):
        F.log_softmax(numbanet.zeros(2, 3, 4))


def test_softmax_converts_and_refuses():
    assert F.softmax(numbanet.tensor([1, 2]), 0, dtype=numbanet.float64).dtype == numbanet.float64
    with pytest.raises(NotImplementedError, match="softmax: expected input of a floating dtype, got int64"):
        F.softmax(numbanet.tensor([1, 2]), 0)
    with pytest.raises(IndexError, match="log_softmax: dimension out of range: dim=2 for a tensor of 2 dimensions"):
        F.log_softmax(numbanet.zeros(2, 3), 2)
    with pytest.raises(TypeError, match="relu: argument 'input' must be a Tensor, not float"):
        F.relu(1.0)
    with pytest.raises(NotImplementedError, match="relu: float16 is not supported on the cpu"):
        F.relu(numbanet.from_numpy(np.zeros(2, np.float16)))
