"""batch_norm against PyTorch and finite differences, running statistics, second derivatives, errors."""

import numpy as np
import pytest

import numbanet
import numbanet.nn.functional as F
from numbanet import autograd
from tests.checks import assert_close, check_op, torch

rng = np.random.default_rng(13)


def draw(*shape: int) -> np.ndarray:
    return (rng.standard_normal(shape) * 2 + 1).astype(np.float32)


def call(library, training, affine, stats, momentum=0.3, eps=1e-3):
    function = F.batch_norm if library is numbanet else library.nn.functional.batch_norm

    def run(x, *parameters):
        mean, var = [library.from_numpy(s.astype(str(x.dtype).removeprefix("torch."))) for s in stats]
        weight, bias = parameters if affine else (None, None)
        return function(x, mean, var, weight, bias, training, momentum, eps)

    return run


SHAPES = [(4, 3), (4, 3, 5), (2, 3, 4, 5), (1, 2, 3, 3), (64, 5, 7, 1), (2, 1, 2, 2, 3)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("affine", [False, True])
def test_batch_norm(shape, training, affine):
    c = shape[1]
    stats = draw(c), draw(c) ** 2 + 0.5
    arrays = [draw(*shape)] + ([draw(c), draw(c)] if affine else [])
    theirs = None if torch is None else call(torch, training, affine, stats)
    check_op(call(numbanet, training, affine, stats), theirs, arrays, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("momentum", [0.1, 0.0, 1.0])
def test_batch_norm_updates_running_statistics_with_the_unbiased_variance(momentum):
    x = draw(3, 2, 4, 5)
    mean, var = numbanet.tensor([0.5, -1.0]), numbanet.tensor([2.0, 3.0])
    before = mean.numpy().copy(), var.numpy().copy()
    F.batch_norm(numbanet.from_numpy(x), mean, var, training=True, momentum=momentum)
    wide = x.astype(np.float64).transpose(1, 0, 2, 3).reshape(2, -1)
    assert_close(mean, ((1 - momentum) * before[0] + momentum * wide.mean(1)).astype(np.float32))
    assert_close(var, ((1 - momentum) * before[1] + momentum * wide.var(1, ddof=1)).astype(np.float32))
    after = mean.numpy().copy()
    F.batch_norm(numbanet.from_numpy(x), mean, var, training=False)
    assert_close(mean, after)


def test_batch_norm_updates_running_statistics_that_are_views():
    x = numbanet.from_numpy(draw(4, 3, 2, 2))
    both = numbanet.zeros(3, 2)
    F.batch_norm(x, both[:, 0], both[:, 1], training=True)
    mean, var = numbanet.zeros(3), numbanet.zeros(3)
    F.batch_norm(x, mean, var, training=True)
    assert_close(both[:, 0].numpy(), mean)
    assert_close(both[:, 1].numpy(), var)


def test_batch_norm_is_exact_for_data_far_from_zero():
    x = (rng.standard_normal((8, 2, 6, 6)) + 1000).astype(np.float32)
    wide = x.astype(np.float64)
    mean, var = wide.mean((0, 2, 3), keepdims=True), wide.var((0, 2, 3), keepdims=True)
    y = F.batch_norm(numbanet.from_numpy(x), None, None, training=True)
    assert_close(y, ((wide - mean) / np.sqrt(var + 1e-5)).astype(np.float32), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shape", [(4, 2), (2, 2, 3, 2)])
def test_batch_norm_can_be_differentiated_twice(training, shape):
    x, dy = [numbanet.tensor(rng.standard_normal(shape), requires_grad=True) for _ in range(2)]
    w, b = [numbanet.tensor(rng.standard_normal(2), requires_grad=True) for _ in range(2)]

    def gradients(x, w, b, dy):
        mean, var = numbanet.zeros(2).double(), numbanet.ones(2).double()
        return autograd.grad(F.batch_norm(x, mean, var, w, b, training) ** 2, [x, w, b], dy, create_graph=True)

    assert autograd.gradcheck(gradients, (x, w, b, dy), atol=1e-4)


def test_batch_norm_names_what_does_not_fit():
    x = numbanet.zeros(2, 3, 4, 4)
    with pytest.raises(
        RuntimeError,
        match=r"batch_norm: expected weight of shape \(3,\) for input \(2, 3, 4, 4\) with C=3 channels, got \(4,\)",
    ):
        F.batch_norm(x, None, None, numbanet.ones(4), training=True)
    with pytest.raises(RuntimeError, match=r"expected running_var of shape \(3,\)"):
        F.batch_norm(x, numbanet.zeros(3), numbanet.zeros(2))
    with pytest.raises(RuntimeError, match="batch_norm: running_mean and running_var are needed unless training=True"):
        F.batch_norm(x, None, None)
    with pytest.raises(
        ValueError, match=r"batch_norm: expected more than 1 value per channel when training, got input \(1, 3, 1, 1\)"
    ):
        F.batch_norm(numbanet.zeros(1, 3, 1, 1), None, None, training=True)
    with pytest.raises(RuntimeError, match=r"batch_norm: expected input of shape \(N, C, ...\), got \(3,\)"):
        F.batch_norm(numbanet.zeros(3), None, None, training=True)
    with pytest.raises(TypeError, match="batch_norm: argument 'weight' must be a Tensor, not int"):
        F.batch_norm(x, None, None, 1, training=True)
