"""Activations and softmax against PyTorch and finite differences, extreme values, in place, second derivatives."""

import itertools

import numpy as np
import pytest

import numbanet
from numbanet import autograd
from numbanet import functional as F
from tests.checks import assert_close, check_op, torch

rng = np.random.default_rng(11)


def draw(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


# (name, keyword arguments): every option of every activation, crossed where there is more than one.
ACTIVATIONS = [
    *[(name, {}) for name in ("relu", "relu6", "selu", "silu", "mish", "hardswish", "hardsigmoid", "sigmoid", "tanh",
                              "logsigmoid", "softsign", "tanhshrink")],
    *[("leaky_relu", options) for options in ({}, {"negative_slope": 0.3}, {"negative_slope": 0}, {"negative_slope": -0.7})],
    *[("rrelu", options) for options in ({}, {"lower": -0.5, "upper": 0.1})],
    *[(name, options) for name in ("elu", "celu") for options in ({}, {"alpha": 2.5}, {"alpha": -0.5})],
    *[("gelu", {"approximate": approximate}) for approximate in ("none", "tanh")],
    *[("hardtanh", {"min_val": low, "max_val": high}) for low, high in itertools.product((-1, -0.3), (0.4, 2.5))],
    *[("threshold", {"threshold": t, "value": v}) for t, v in itertools.product((-0.4, 0.8), (-3.0, 0.5, 7.0))],
    *[("softplus", {"beta": b, "threshold": t}) for b, t in itertools.product((1, 0.3, 4, -2), (20, 1.5))],
    *[(name, options) for name in ("hardshrink", "softshrink") for options in ({}, {"lambd": 0}, {"lambd": 1.3})],
    ("hardshrink", {"lambd": -1}),
]  # fmt: skip
WITH_INPLACE = ["relu", "relu6", "leaky_relu", "rrelu", "elu", "selu", "celu", "silu", "mish", "hardswish", "hardsigmoid",
                "hardtanh", "threshold"]  # fmt: skip
WITH_UNDERSCORE = ["relu", "leaky_relu", "rrelu", "elu", "selu", "celu", "hardtanh", "threshold"]
by_activation = pytest.mark.parametrize("name, options", ACTIVATIONS, ids=[f"{n} {o or ''}" for n, o in ACTIVATIONS])


def theirs(name, options=(), inplace=False):
    if torch is None:
        return None
    function = getattr(torch.nn.functional, name)
    return lambda x: function(x * 1.5 if inplace else x, **dict(options), **({"inplace": True} if inplace else {}))


@by_activation
def test_activation(name, options):
    # no value within a finite difference's reach of a kink
    check_op(lambda x: getattr(F, name)(x, **options), theirs(name, options), [draw(3, 5, 7) * 3])


@pytest.mark.parametrize("shape", [(), (1,), (0, 4), (2, 3, 0), (130,)])
@pytest.mark.parametrize("name", sorted({name for name, _ in ACTIVATIONS} - {"threshold"}))
def test_activation_of_shape(name, shape):
    check_op(getattr(F, name), theirs(name), [np.asarray(draw(*shape), np.float32)], numeric=False)


@by_activation
def test_activation_can_be_differentiated_twice(name, options):
    x, dy = [numbanet.tensor(rng.standard_normal(9), requires_grad=True) for _ in range(2)]
    assert autograd.gradcheck(
        lambda x, dy: autograd.grad(getattr(F, name)(x, **options), x, dy, create_graph=True), (x, dy)
    )


SPECIAL = np.array(
    [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-30, -1e-30, 1e-42, 80.0, -80.0, 1000.0, -1000.0, 1e30, -1e30]
    + [3, -3, 1, -1, 0.5, -0.5, 6, 20, 20.5],  # kinks
    np.float32,
)


@pytest.mark.skipif(torch is None, reason="compares with PyTorch")
@by_activation
def test_activation_of_special_values(name, options):
    """NaN, infinities, denormals, large values and kinks: PyTorch's values, and its gradients where it has them."""
    a, b = numbanet.from_numpy(SPECIAL).requires_grad_(), torch.from_numpy(SPECIAL).requires_grad_()
    y, z = getattr(F, name)(a, **options), theirs(name, options)(b)
    dy = np.full_like(SPECIAL, 1.5)
    y.backward(numbanet.from_numpy(dy)), z.backward(torch.from_numpy(dy))
    expected, gradient = z.detach().numpy().copy(), b.grad.numpy().copy()
    if name == "gelu":
        expected[1] = np.inf  # PyTorch's vector code makes infinity NaN
        assert np.isnan(gradient).sum() >= 3
    assert_close(y.detach(), expected, rtol=1e-5, atol=1e-6, what="value")
    # where PyTorch multiplies infinity by 0, the derivative is its limit here
    # (and at NaN, its vector code and its scalar code disagree)
    known = np.isfinite(gradient) & ~np.isnan(SPECIAL)
    assert_close(a.grad.numpy()[known], gradient[known], rtol=1e-5, atol=1e-6, what="gradient")
    assert name in ("softplus", "elu", "celu") or np.isfinite(a.grad.numpy()[~known & ~np.isnan(SPECIAL)]).all()


@pytest.mark.parametrize("name", ["relu", "relu6", "hardtanh", "hardshrink", "softshrink"])
def test_gradient_passes_nan_and_is_zero_where_flat(name):
    """Also where the incoming gradient is infinite or NaN: it is chosen away, not multiplied by 0."""
    inside = 2.0 if name.endswith("shrink") else 0.5
    flat = 0.0 if name.endswith("shrink") else -1.0
    x = numbanet.tensor([inside, flat, flat, flat, inside], requires_grad=True)
    getattr(F, name)(x).backward(numbanet.tensor([1.0, 1.0, float("inf"), float("nan"), float("nan")]))
    assert_close(x.grad, np.array([1, 0, 0, 0, np.nan], np.float32))


@pytest.mark.parametrize("name", WITH_INPLACE)
@pytest.mark.parametrize("layout", ["whole", "strided"])
def test_activation_in_place(name, layout):
    options = {"threshold": 0.3, "value": 2.0} if name == "threshold" else {}
    step = 1 if layout == "whole" else 2

    def ours(x):
        y = x * 1.5
        part = y[:, ::step]
        assert getattr(F, name)(part, **options, inplace=True) is part
        return y

    def same(x):
        y = x * 1.5
        getattr(torch.nn.functional, name)(y[:, ::step], **options, inplace=True)
        return y

    check_op(ours, torch and same, [draw(4, 6)])


@pytest.mark.parametrize("name", [*WITH_UNDERSCORE, "sigmoid", "tanh"])
def test_activation_with_an_underscore(name):
    x, numbers = draw(4, 5), (0.3, 2.0) if name == "threshold" else ()
    in_place = getattr(F, name + "_")
    check_op(
        lambda x: in_place(x * 1.5, *numbers),
        torch and (lambda x: getattr(torch.nn.functional if numbers else torch, name, None)(x * 1.5, *numbers)
                   if name not in ("leaky_relu", "elu", "hardtanh") else getattr(torch.nn.functional, name)(x * 1.5)),
        [x],
    )  # fmt: skip
    plain = numbanet.from_numpy(x.copy())
    assert in_place(plain, *numbers) is plain
    assert_close(plain, getattr(F, name)(numbanet.from_numpy(x), *numbers))


@pytest.mark.parametrize("name, options", [("leaky_relu", {"negative_slope": -0.5}), ("elu", {"alpha": -2.0}),
                                           ("threshold", {"threshold": 0.1, "value": 0.7})])  # fmt: skip
def test_in_place_where_the_output_does_not_tell_the_derivative(name, options):
    x = draw(40)
    check_op(lambda x: getattr(F, name)(x * 1.5, **options, inplace=True), None, [x])
    a, b = numbanet.from_numpy(x).requires_grad_(), numbanet.from_numpy(x).requires_grad_()
    getattr(F, name)(a * 1.5, **options, inplace=True).sum().backward()
    getattr(F, name)(b * 1.5, **options).sum().backward()
    assert_close(a.grad, b.grad)


def test_in_place_keeps_no_copy_where_the_output_will_do():
    for name in ("relu", "relu6", "leaky_relu", "hardtanh"):
        x = numbanet.ones(1000, requires_grad=True) * 1.0
        (saved, *_), *others = getattr(F, name)(x, inplace=True)._node._saved
        assert saved._array.ctypes.data == x._array.ctypes.data and not others


def test_relu_in_place_refuses_leaves_and_spoils_what_backward_needs():
    leaf = numbanet.ones(3, requires_grad=True)
    for name in WITH_INPLACE:
        numbers = (0.0, 1.0) if name == "threshold" else ()
        with pytest.raises(RuntimeError, match=f"{name}_: a leaf that requires grad"):
            getattr(F, name)(leaf, *numbers, inplace=True)
    y = leaf * 1.0
    z = y * y
    F.relu_(y)
    with pytest.raises(RuntimeError, match="modified by an in-place operation"):
        z.sum().backward()


def test_activation_of_integers():
    x = numbanet.tensor([-2, 0, 3, 9])
    assert F.relu(x).tolist() == [0, 0, 3, 9] and F.relu(x).dtype == numbanet.int64
    assert F.relu_(numbanet.tensor([-2, 3])).tolist() == [0, 3]
    assert F.relu6(x).tolist() == [0, 0, 3, 6] and F.relu6(x).dtype == numbanet.int64
    assert F.hardtanh(x, -1.5, 2.9).tolist() == [-1, 0, 2, 2]
    assert F.threshold(x, 0, 7).tolist() == [7, 7, 3, 9]
    for name in ("sigmoid", "tanh", "softsign", "tanhshrink"):
        assert_close(getattr(F, name)(x), getattr(F, name)(x.float()))


# ------------------------------------------------------------------------------------------- prelu, rrelu, glu, gumbel


@pytest.mark.parametrize(
    "shape", [(), (4,), (5, 4), (1, 1), (2, 4, 3), (2, 3, 4, 5), (0, 3), (2, 3, 0), (2, 2, 2, 2, 2)]
)
@pytest.mark.parametrize("slopes", ["one", "0-d", "each"])
def test_prelu(shape, slopes):
    channels = shape[1] if len(shape) > 1 else 1
    weight = draw(*{"one": (1,), "0-d": (), "each": (channels,)}[slopes])
    if slopes == "each" and not shape:
        return
    check_op(F.prelu, torch and torch.nn.functional.prelu, [np.asarray(draw(*shape), np.float32), np.asarray(weight)],
             numeric=0 not in shape)  # fmt: skip


def test_prelu_can_be_differentiated_twice():
    x, dy = [numbanet.tensor(rng.standard_normal((2, 3, 4)), requires_grad=True) for _ in range(2)]
    w = numbanet.tensor(rng.standard_normal(3), requires_grad=True)
    assert autograd.gradcheck(lambda x, w, dy: autograd.grad(F.prelu(x, w), (x, w), dy, create_graph=True), (x, w, dy))


def test_rrelu_in_training_draws_a_slope_for_each_negative_element():
    x = numbanet.full((300, 100), -2.0, requires_grad=True)
    y = F.rrelu(x, 0.1, 0.4, training=True)
    slopes = y.detach().numpy() / -2
    assert slopes.min() >= 0.1 and slopes.max() <= 0.4 and len(np.unique(slopes)) > 20_000
    assert abs(slopes.mean() - 0.25) < 5 * 0.3 / np.sqrt(12 * slopes.size)
    y.sum().backward()
    assert_close(x.grad, slopes)
    positive = numbanet.rand(50)
    assert_close(F.rrelu(positive, training=True), positive)
    numbanet.manual_seed(1)
    expected = F.rrelu(numbanet.from_numpy(x.detach().numpy()[:3]), training=True)
    numbanet.manual_seed(1)
    plain = numbanet.full((3, 100), -2.0)
    assert F.rrelu_(plain, training=True) is plain
    assert_close(plain, expected)
    assert_close(F.rrelu(plain, 0.2, 0.2, True), F.leaky_relu(plain, 0.2))


@pytest.mark.parametrize("shape, dim", [((4,), 0), ((3, 4), -1), ((4, 3), 0), ((2, 6, 3, 2), 1), ((2, 3, 4), -2), ((0, 2), 1),
                                        ((2, 0), 1), ((2, 6, 3), 1)])  # fmt: skip
def test_glu(shape, dim):
    if shape[dim] % 2:
        with pytest.raises(RuntimeError, match="glu: the halved dimension must be even"):
            F.glu(numbanet.zeros(*shape), dim)
        return
    check_op(lambda x: F.glu(x, dim), torch and (lambda x: torch.nn.functional.glu(x, dim)), [draw(*shape)],
             numeric=0 not in shape)  # fmt: skip


def test_glu_can_be_differentiated_twice():
    x = numbanet.tensor(rng.standard_normal((2, 4, 3)), requires_grad=True)
    dy = numbanet.tensor(rng.standard_normal((2, 2, 3)), requires_grad=True)
    assert autograd.gradcheck(lambda x, dy: autograd.grad(F.glu(x, 1), x, dy, create_graph=True), (x, dy))


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_gumbel_softmax(dim):
    logits = numbanet.from_numpy(draw(4, 3, 5)).requires_grad_()
    soft = F.gumbel_softmax(logits, tau=0.7, dim=dim)
    assert_close(soft.sum(dim).detach(), np.ones(np.delete((4, 3, 5), dim), np.float32))
    numbanet.manual_seed(2)
    soft = F.gumbel_softmax(logits, tau=0.7, dim=dim)
    numbanet.manual_seed(2)
    hard = F.gumbel_softmax(logits, tau=0.7, dim=dim, hard=True)
    chosen = soft.detach().numpy()
    assert_close(hard.detach(), (chosen == chosen.max(dim, keepdims=True)).astype(np.float32))
    dy = numbanet.from_numpy(draw(4, 3, 5))
    for a, b in zip(autograd.grad(hard, logits, dy), autograd.grad(soft, logits, dy), strict=True):
        assert_close(a, b)


def test_gumbel_softmax_chooses_with_the_probabilities_of_softmax():
    logits = numbanet.tensor([0.0, 1.0, 2.0])
    share = F.gumbel_softmax(logits.expand(40_000, 3), hard=True).mean(0).numpy()
    expected = F.softmax(logits, 0).numpy()
    assert (abs(share - expected) < 5 * np.sqrt(expected * (1 - expected) / 40_000)).all()


# ------------------------------------------------------------------------------------------------------------- softmax


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin"])
@pytest.mark.parametrize(
    "shape, dim", [((5,), 0), ((4, 10), 1), ((4, 10), 0), ((2, 3, 4, 5), 1), ((2, 3, 4), -1), ((), 0), ((3, 1), 1)]
)
def test_softmax(name, shape, dim):
    x = np.asarray(draw(*shape) * 4, np.float32)
    check_op(
        lambda x: getattr(F, name)(x, dim),
        None if torch is None else lambda x: getattr(torch.nn.functional, name)(x, dim),
        [x],
    )


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
    with pytest.warns(UserWarning, match="softmin: dim was not given, and dim=1"):
        assert_close(F.softmin(x), F.softmax(-x, 1))
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
