"""Pooling against PyTorch and finite differences; ties, NaN and infinities apart."""

import itertools

import numpy as np
import pytest

import numbanet
import numbanet.nn.functional as F
from numbanet import autograd
from tests.checks import assert_close, check_op, torch

rng = np.random.default_rng(5)


def distinct(*shape: int) -> np.ndarray:
    """Values far enough apart that finite differences change no maximum."""
    return rng.permutation(np.prod(shape)).reshape(shape).astype(np.float32) / 10


def theirs(name, **options):
    return None if torch is None else lambda x: getattr(torch.nn.functional, name)(x, **options)


WINDOWS = [(2, None, 0), (3, 2, 1), ((3, 2), (1, 2), (1, 0)), (2, 3, 1), (1, 1, 0), ((2, 5), 2, (0, 2))]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("dilation, ceil_mode", list(itertools.product([1, (2, 1)], [False, True])))
def test_max_pool2d(window, dilation, ceil_mode):
    kernel, stride, padding = window
    options = {
        "kernel_size": kernel,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "ceil_mode": ceil_mode,
    }
    x = distinct(2, 3, 9, 8)
    check_op(lambda x: F.max_pool2d(x, **options), theirs("max_pool2d", **options), [x])
    check_op(
        lambda x: F.max_pool2d(x, return_indices=True, **options),
        theirs("max_pool2d", return_indices=True, **options),
        [x],
    )


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(
    "ceil_mode, count_include_pad, divisor", list(itertools.product([False, True], [False, True], [None, 3]))
)
def test_avg_pool2d(window, ceil_mode, count_include_pad, divisor):
    kernel, stride, padding = window
    options = {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil_mode,
               "count_include_pad": count_include_pad, "divisor_override": divisor}  # fmt: skip
    check_op(lambda x: F.avg_pool2d(x, **options), theirs("avg_pool2d", **options), [distinct(2, 3, 9, 8)])


@pytest.mark.parametrize("size", [1, 3, (2, 5), (None, 2), (7, None), 9, (10, 4)])
@pytest.mark.parametrize("name", ["adaptive_avg_pool2d", "adaptive_max_pool2d"])
def test_adaptive_pooling(name, size):
    x = distinct(2, 3, 9, 8)
    check_op(lambda x: getattr(F, name)(x, size), theirs(name, output_size=size), [x], atol=1e-4)
    if name == "adaptive_max_pool2d":
        check_op(
            lambda x: F.adaptive_max_pool2d(x, size, True), theirs(name, output_size=size, return_indices=True), [x]
        )


def test_pooling_takes_images_without_a_batch():
    x = distinct(3, 6, 5)
    check_op(lambda x: F.max_pool2d(x, 2), theirs("max_pool2d", kernel_size=2), [x])
    check_op(
        lambda x: F.max_pool2d(x, 2, return_indices=True), theirs("max_pool2d", kernel_size=2, return_indices=True), [x]
    )
    check_op(lambda x: F.avg_pool2d(x, 2), theirs("avg_pool2d", kernel_size=2), [x])
    check_op(lambda x: F.adaptive_avg_pool2d(x, 2), theirs("adaptive_avg_pool2d", output_size=2), [x])
    check_op(lambda x: F.adaptive_max_pool2d(x, 2), theirs("adaptive_max_pool2d", output_size=2), [x])


def test_max_pool2d_takes_the_first_of_equals_and_lets_nan_win():
    x = numbanet.tensor([[[[1.0, 1.0, float("-inf"), float("-inf")], [1.0, 0.0, float("-inf"), float("-inf")]]]])
    y, where = F.max_pool2d(x, 2, return_indices=True)
    assert y.tolist() == [[[[1.0, float("-inf")]]]] and where.tolist() == [[[[0, 2]]]]
    x = numbanet.tensor([[[[1.0, float("nan")], [float("inf"), 0.0]]]], requires_grad=True)
    y = F.max_pool2d(x, 2)
    assert np.isnan(y.item())
    y.backward()
    assert x.grad.tolist() == [[[[0.0, 1.0], [0.0, 0.0]]]]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.max_pool2d(x, 2, 1),
        lambda x: F.avg_pool2d(x, 3, 2, 1),
        lambda x: F.adaptive_avg_pool2d(x, (2, 3)),
        lambda x: F.adaptive_max_pool2d(x, (2, 3)),
    ],
)
def test_pooling_can_be_differentiated_twice(function):
    x = numbanet.tensor(distinct(1, 2, 4, 5).astype(np.float64), requires_grad=True)
    dy = numbanet.tensor(rng.standard_normal(function(x).shape), requires_grad=True)
    assert autograd.gradcheck(lambda x, dy: autograd.grad(function(x) ** 2, x, dy, create_graph=True), (x, dy))


def test_pooling_of_an_empty_batch():
    x = numbanet.zeros(0, 2, 4, 4, requires_grad=True)
    for pooled in (F.max_pool2d(x, 2), F.avg_pool2d(x, 2), F.adaptive_avg_pool2d(x, 2), F.adaptive_max_pool2d(x, 2)):
        assert tuple(pooled.shape) == (0, 2, 2, 2)
        pooled.sum().backward()
        assert tuple(x.grad.shape) == (0, 2, 4, 4)


def test_max_pool2d_without_gradients_gives_the_same():
    x = numbanet.from_numpy(distinct(1, 2, 6, 6))
    assert_close(F.max_pool2d(x, 2), F.max_pool2d(x, 2, return_indices=True)[0])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda F, x: F.max_pool2d(x, 3, padding=2), "padding must be between 0 and half the window, got padding (2, 2) with kernel_size (3, 3)"),
        (lambda F, x: F.max_pool2d(x, 9), "would be (0, 0): too small for kernel_size (9, 9)"),
        (lambda F, x: F.max_pool2d(x, 2, 0), "stride must be positive, got (0, 0)"),
        (lambda F, x: F.avg_pool2d(x, 2, 0), "stride must be positive, got (0, 0)"),
        (lambda F, x: F.avg_pool2d(x, (1, 2, 3)), "kernel_size must be an int or a pair of ints, got (1, 2, 3)"),
        (lambda F, x: F.avg_pool2d(x, 2, divisor_override=0), "divisor_override must not be zero"),
        (lambda F, x: F.avg_pool2d(x[0, 0], 2), "expected input of shape (N, C, H, W) or (C, H, W), got (5, 5)"),
        (lambda F, x: F.adaptive_avg_pool2d(x, -1), "output_size must not be negative"),
    ],
)  # fmt: skip
def test_pooling_names_what_does_not_fit(call, message):
    with pytest.raises(RuntimeError) as error:
        call(F, numbanet.zeros(1, 1, 5, 5))
    assert "pool2d: " in str(error.value) and message in str(error.value)
    if torch is not None:
        with pytest.raises((RuntimeError, IndexError)):
            call(torch.nn.functional, torch.zeros(1, 1, 5, 5))


def test_pooling_refuses_other_types():
    with pytest.raises(TypeError, match="avg_pool2d: argument 'input' must be a Tensor, not ndarray"):
        F.avg_pool2d(np.zeros((1, 1, 2, 2)), 2)
    with pytest.raises(TypeError, match="kernel_size must be an int or a pair of ints"):
        F.max_pool2d(numbanet.zeros(1, 1, 4, 4), 2.0)
