"""Initialisation: bounds, moments, special matrices, seeds, errors."""

import inspect
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


SHAPES = [(6, 4), (8, 2, 3, 3), (6, 1, 5), (4, 3, 1, 2, 3)]


@pytest.mark.parametrize("shape", SHAPES)
def test_fans(shape):
    ours = init.calculate_fan_in_and_fan_out(numbanet.empty(*shape))
    assert ours == (math.prod(shape[1:]), shape[0] * math.prod(shape[2:]))
    if torch is not None:
        assert ours == torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(*shape))
        assert init._calculate_fan_in_and_fan_out is init.calculate_fan_in_and_fan_out


def test_fans_of_grouped_convolutions():
    """Counted on the layer itself: how many elements of the weight an output, and an input, meets."""
    for groups in (1, 2, 4, 8):
        conv = nn.Conv2d(8, 16, 3, groups=groups, bias=False)
        init.ones_(conv.weight)
        x = numbanet.zeros(1, 8, 5, 5)
        x[0, 3, 2, 2] = 1.0
        reached = conv(x).sum().item()  # no padding, and the middle pixel meets every element of its filters
        inputs = conv(numbanet.ones(1, 8, 3, 3))[0, 0, 0, 0].item()
        assert init.calculate_fan_in_and_fan_out(conv.weight, groups) == (inputs, reached)


@pytest.mark.parametrize("groups", [1, 4, 32])
def test_groups_keep_the_variance_of_depthwise_convolutions(groups):
    weight = numbanet.empty(4096, 4, 3, 3)
    generator = numbanet.Generator().manual_seed(0)
    fan_in, fan_out = 4 * 9, 4096 // groups * 9
    for fill, variance in (
        (lambda: init.kaiming_normal_(weight, 0, "fan_out", "relu", generator, groups=groups), 2 / fan_out),
        (lambda: init.kaiming_uniform_(weight, 0, "fan_out", "relu", generator, groups=groups), 2 / fan_out),
        (lambda: init.kaiming_normal_(weight, 0, "fan_in", "relu", generator, groups=groups), 2 / fan_in),
        (lambda: init.xavier_normal_(weight, 1.0, generator, groups=groups), 2 / (fan_in + fan_out)),
        (lambda: init.xavier_uniform_(weight, 1.0, generator, groups=groups), 2 / (fan_in + fan_out)),
    ):
        values = fill().numpy().astype(np.float64)
        np.testing.assert_allclose(values.var(), variance, rtol=0.02)


def kolmogorov(values, cumulative):
    """The largest distance between the drawn numbers' distribution function and the wanted one, times sqrt(n)."""
    values = np.sort(values)
    wanted = cumulative(values)
    steps = np.arange(values.size + 1) / values.size
    return max((steps[1:] - wanted).max(), (wanted - steps[:-1]).max()) * math.sqrt(values.size)


def normal_below(x):
    return np.array([(1 + math.erf(v / math.sqrt(2))) / 2 for v in x])


def truncated_below(low, high):
    a, b = normal_below([low])[0], normal_below([high])[0]
    return lambda x: (normal_below(x) - a) / (b - a)


@pytest.mark.parametrize("dtype", [numbanet.float32, numbanet.float64])
@pytest.mark.parametrize(
    "fill, cumulative",
    [
        (lambda t, g: init.uniform_(t, -2, 3, g), lambda x: (x + 2) / 5),
        (lambda t, g: init.normal_(t, 0.5, 2, g), lambda x: normal_below((x - 0.5) / 2)),
        (lambda t, g: init.trunc_normal_(t, generator=g), truncated_below(-2, 2)),
        (lambda t, g: init.trunc_normal_(t, 0, 1, 0.5, 0.9, g), truncated_below(0.5, 0.9)),
        (lambda t, g: init.trunc_normal_(t, 0, 1, 4.5, 6, g), truncated_below(4.5, 6)),
        (lambda t, g: init.xavier_uniform_(t, 1, g), lambda x: (x / math.sqrt(6 / 150) + 1) / 2),
        (lambda t, g: init.xavier_normal_(t, 1, g), lambda x: normal_below(x / math.sqrt(2 / 150))),
        (lambda t, g: init.kaiming_uniform_(t, generator=g), lambda x: (x / math.sqrt(6 / 50) + 1) / 2),
        (lambda t, g: init.kaiming_normal_(t, generator=g), lambda x: normal_below(x / math.sqrt(2 / 50))),
    ],
)
def test_distribution_functions(fill, cumulative, dtype):
    """Kolmogorov's test: the statistic is above 1.95 for one seed in a thousand, and in the hundreds for a wrong distribution."""
    weight = numbanet.empty(100, 50, dtype=dtype)
    fill(weight, numbanet.Generator().manual_seed(1))
    assert kolmogorov(weight.numpy().reshape(-1).astype(np.float64), cumulative) < 1.95


def test_kolmogorovs_test_notices_other_distributions():
    values = np.random.default_rng(0).standard_normal(5000)
    assert kolmogorov(values, normal_below) < 1.95
    assert kolmogorov(values * 1.15, normal_below) > 2
    assert kolmogorov(values + 0.1, normal_below) > 2


def test_orthogonal_matrices_have_no_preferred_direction():
    """The first entry of a uniform orthogonal 2x2 matrix is the cosine of a uniform angle."""
    generator = numbanet.Generator().manual_seed(2)
    firsts = [init.orthogonal_(numbanet.empty(2, 2), generator=generator).numpy()[0, 0] for _ in range(2000)]
    assert kolmogorov(np.array(firsts, np.float64), lambda x: 1 - np.arccos(np.clip(x, -1, 1)) / np.pi) < 1.95


@pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("shape, groups", [((4, 4, 3, 3), 1), ((6, 2, 3), 3), ((4, 2, 2, 4), 2), ((4, 6, 1, 2, 3), 2)])
def test_special_matrices_equal_pytorchs(shape, groups):
    ours, theirs = init.dirac_(numbanet.empty(*shape), groups), torch.nn.init.dirac_(torch.empty(*shape), groups)
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    ours, theirs = init.eye_(numbanet.empty(*shape[:2])), torch.nn.init.eye_(torch.empty(*shape[:2]))
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("name", [name for name in init.__all__ if name.endswith("_")])
def test_signatures_are_pytorchs(name):
    theirs = inspect.signature(getattr(torch.nn.init, name)).parameters.values()
    ours = [p for p in inspect.signature(getattr(init, name)).parameters.values() if p.kind is not p.KEYWORD_ONLY]
    assert [(p.name, p.default) for p in ours] == [(p.name, p.default) for p in theirs]


@pytest.mark.parametrize("fill", [init.kaiming_uniform_, init.kaiming_normal_])
def test_zero_elements_are_left_alone(fill):
    with pytest.warns(UserWarning, match="initializing zero-element tensors is a no-op"):
        assert fill(numbanet.empty(0, 3)).shape == (0, 3)


@pytest.mark.parametrize(
    "fill", [init.uniform_, init.normal_, init.orthogonal_, init.zeros_, init.eye_, init.kaiming_normal_]
)
def test_views_are_filled_through(fill):
    base = numbanet.full((6, 8), 7.0)
    fill(base[1:5, ::2])
    assert (base.numpy()[1:5, ::2] != 7).all()
    assert (base.numpy()[:, 1::2] == 7).all() and (base.numpy()[[0, 5]] == 7).all()
