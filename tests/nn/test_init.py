"""Initialisation: bounds, moments, special matrices, seeds, errors."""

import math

import numpy as np
import pytest

import numbanet
from numbanet import nn
from numbanet.nn import init
from tests.checks import assert_close, torch


def moments(tensor):
    values = tensor.detach().numpy().astype(np.float64)
    return values.mean(), values.std(), np.abs(values).max()


@pytest.mark.parametrize(
    "fill, std, bound",
    [
        (lambda t: init.uniform_(t, -2, 2), 2 / math.sqrt(3), 2),
        (lambda t: init.normal_(t, 0, 3), 3, math.inf),
        (lambda t: init.trunc_normal_(t), 0.8796, 2),
        (lambda t: init.trunc_normal_(t, std=0.02), 0.02, 2),
        (lambda t: init.xavier_uniform_(t, gain=2), 2 * math.sqrt(2 / (450 + 900)), 2 * math.sqrt(6 / (450 + 900))),
        (lambda t: init.xavier_normal_(t), math.sqrt(2 / (450 + 900)), math.inf),
        (lambda t: init.kaiming_uniform_(t, nonlinearity="relu"), math.sqrt(2 / 450), math.sqrt(6 / 450)),
        (lambda t: init.kaiming_uniform_(t, a=math.sqrt(5)), 1 / math.sqrt(3 * 450), 1 / math.sqrt(450)),
        (lambda t: init.kaiming_normal_(t, mode="fan_out", nonlinearity="relu"), math.sqrt(2 / 900), math.inf),
        (lambda t: init.kaiming_normal_(t, a=0.5), math.sqrt(2 / 1.25 / 450), math.inf),
    ],
)
def test_distributions(fill, std, bound):
    weight = numbanet.empty(100, 50, 3, 3)
    assert fill(weight) is weight
    mean, found, highest = moments(weight)
    n = weight.numel()
    assert abs(mean) < 5 * std / math.sqrt(n)
    assert abs(found - std) < 5 * std / math.sqrt(2 * n) * 1.5
    assert highest <= bound * (1 + 1e-6)


def test_trunc_normal_keeps_its_bounds_also_in_the_tail():
    weight = numbanet.empty(5000)
    init.trunc_normal_(weight, 0, 1, 6, 7)
    values = weight.numpy()
    assert values.min() >= 6 and values.max() <= 7 and abs(values.mean() - 6.158) < 0.02
    init.trunc_normal_(weight, 0, 1, -7, -6)
    assert weight.numpy().min() >= -7 and weight.numpy().max() <= -6
    with pytest.raises(ValueError, match="trunc_normal_: expected a < b, got a=2, b=1"):
        init.trunc_normal_(weight, a=2, b=1)


def test_constants_and_special_matrices():
    t = numbanet.empty(3, 4)
    assert (
        (init.constant_(t, 2.5).numpy() == 2.5).all()
        and (init.ones_(t).numpy() == 1).all()
        and (init.zeros_(t).numpy() == 0).all()
    )
    assert_close(init.eye_(t), np.eye(3, 4, dtype=np.float32))
    x = numbanet.randn(2, 4, 5, 5)
    weight = init.dirac_(numbanet.empty(4, 4, 3, 3))
    assert_close(nn.functional.conv2d(x, weight, padding=1), x)
    weight = init.dirac_(numbanet.empty(4, 2, 3, 3), groups=2)
    assert_close(nn.functional.conv2d(x, weight, padding=1, groups=2), x)
    sparse = init.sparse_(numbanet.empty(10, 6), 0.35).numpy()
    assert ((sparse == 0).sum(0) == 4).all()


@pytest.mark.parametrize("shape", [(4, 4), (3, 7), (7, 3), (6, 2, 3, 3)])
def test_orthogonal(shape):
    q = init.orthogonal_(numbanet.empty(shape), gain=2).numpy().reshape(shape[0], -1).astype(np.float64)
    small = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-5)


def test_parameters_are_filled_in_place_and_stay_leaves():
    p = nn.Parameter(numbanet.empty(3, 4))
    for fill in (init.xavier_uniform_, init.kaiming_normal_, init.orthogonal_, init.zeros_):
        assert fill(p) is p
    assert p.is_leaf and p.requires_grad and p.grad_fn is None


def test_generators_and_seeds_decide_the_numbers():
    a, b = numbanet.empty(5, 5), numbanet.empty(5, 5)
    for fill in (
        init.uniform_,
        init.normal_,
        init.trunc_normal_,
        init.xavier_uniform_,
        init.kaiming_normal_,
        init.orthogonal_,
    ):
        fill(a, generator=numbanet.Generator().manual_seed(4))
        fill(b, generator=numbanet.Generator().manual_seed(4))
        assert_close(a, b)
        fill(b)
        assert a.tolist() != b.tolist()


def test_double_precision_is_filled_with_double_precision():
    t = init.uniform_(numbanet.empty(1000, dtype=numbanet.float64)).numpy()
    assert (t != t.astype(np.float32)).mean() > 0.9


def test_calculate_gain():
    names = ["linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"]
    assert init.calculate_gain("tanh") == 5 / 3 and init.calculate_gain("relu") == math.sqrt(2)
    if torch is not None:
        assert [init.calculate_gain(n) for n in names] == [torch.nn.init.calculate_gain(n) for n in names]
        assert init.calculate_gain("leaky_relu", 0.3) == torch.nn.init.calculate_gain("leaky_relu", 0.3)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: init.calculate_gain("swish"), "calculate_gain: unsupported nonlinearity 'swish'"),
        (lambda: init.calculate_gain("leaky_relu", "x"), "negative_slope 'x' is not a valid number"),
        (lambda: init.xavier_uniform_(numbanet.empty(3)), "xavier_uniform_: fan in and fan out need a tensor with 2 or more dimensions, got shape (3,)"),
        (lambda: init.kaiming_normal_(numbanet.empty(3, 3), mode="fan"), "kaiming_normal_: mode 'fan' is not supported"),
        (lambda: init.eye_(numbanet.empty(3)), "eye_: only tensors with 2 dimensions are supported"),
        (lambda: init.dirac_(numbanet.empty(3, 3)), "dirac_: only tensors with 3, 4, or 5 dimensions"),
        (lambda: init.dirac_(numbanet.empty(3, 3, 1, 1), groups=2), "dim 0 must be divisible by groups=2"),
        (lambda: init.orthogonal_(numbanet.empty(3)), "orthogonal_: only tensors with 2 or more dimensions"),
        (lambda: init.sparse_(numbanet.empty(3), 0.1), "sparse_: only tensors with 2 dimensions"),
    ],
)  # fmt: skip
def test_init_names_what_does_not_fit(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value)
