"""Dropout: its statistics, its mask in backward, its reproducibility."""

import numpy as np
import pytest

import numbanet
import numbanet.nn.functional as F
from numbanet import autograd
from tests.checks import assert_close


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_zeroes_a_share_and_scales_the_rest(p):
    y = F.dropout(numbanet.ones(200, 500), p).numpy()
    n = y.size
    assert abs((y == 0).mean() - p) < 5 * np.sqrt(p * (1 - p) / n)
    np.testing.assert_allclose(y[y != 0], 1 / (1 - p), rtol=1e-6)


def test_dropout_backward_uses_the_mask_of_forward():
    x = numbanet.randn(50, 40).requires_grad_()
    y = F.dropout(x, 0.3)
    dy = numbanet.randn(50, 40)
    y.backward(dy)
    kept = y.detach().numpy() != 0
    assert_close(x.grad, np.where(kept, dy.numpy() / np.float32(0.7), 0).astype(np.float32))


def test_dropout_repeats_with_the_seed_and_differs_between_calls():
    x = numbanet.ones(1000)
    numbanet.manual_seed(5)
    first, second = F.dropout(x).numpy(), F.dropout(x).numpy()
    numbanet.manual_seed(5)
    assert_close(F.dropout(x), first)
    assert (first != second).mean() > 0.3


def test_dropout_outside_training_or_with_p_0_does_nothing():
    x = numbanet.randn(4)
    assert F.dropout(x, 0.5, training=False) is x
    assert F.dropout(x, 0.0) is x


def test_dropout_with_p_1_gives_zeros():
    x = numbanet.ones(5, requires_grad=True)
    F.dropout(x, 1.0).sum().backward()
    assert x.grad.tolist() == [0.0] * 5


def test_dropout_in_place():
    x = numbanet.ones(1000)
    y = F.dropout(x, 0.5, inplace=True)
    assert y is x and 0.3 < (x.numpy() == 0).mean() < 0.7
    leaf = numbanet.ones(1000, requires_grad=True)
    with pytest.raises(RuntimeError, match="dropout: a leaf that requires grad"):
        F.dropout(leaf, inplace=True)
    z = leaf * 3.0
    F.dropout(z, 0.5, inplace=True)
    z.sum().backward()
    assert_close(leaf.grad, z.detach())


def test_dropout_can_be_differentiated_twice():
    x, dy = [numbanet.tensor(np.random.default_rng(0).standard_normal(12), requires_grad=True) for _ in range(2)]

    def gradient(x, dy):
        numbanet.manual_seed(1)
        return autograd.grad(F.dropout(x, 0.4) ** 2, x, dy, create_graph=True)

    assert autograd.gradcheck(gradient, (x, dy))


def test_dropout_of_a_strided_view():
    x = numbanet.ones(40, 30)
    numbanet.manual_seed(2)
    expected = F.dropout(x.T.contiguous())
    numbanet.manual_seed(2)
    assert_close(F.dropout(x.T), expected)


def test_dropout_refuses_probabilities_outside_0_to_1():
    for p in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="dropout: probability has to be between 0 and 1, got p="):
            F.dropout(numbanet.ones(2), p)
