"""Pooling against PyTorch and finite differences; ties, NaN and infinities apart."""

from itertools import product

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
@pytest.mark.parametrize("dilation, ceil_mode", list(product([1, (2, 1)], [False, True])))
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
    "ceil_mode, count_include_pad, divisor", list(product([False, True], [False, True], [None, 3]))
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


@pytest.mark.parametrize("shape", [(2, 3, 11), (3, 11)])
@pytest.mark.parametrize("window", [(2, None, 0), (3, 2, 1), ((5,), (1,), (2,)), (4, 3, 0)])
@pytest.mark.parametrize("option, ceil_mode", list(product([1, 2], [False, True])))
def test_pooling_along_one_axis(shape, window, option, ceil_mode):
    """``option`` is the dilation of maximum pooling, and says what average pooling counts."""
    kernel, stride, padding = window
    options = {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    x, counted = distinct(*shape), {**options, "count_include_pad": option == 1}
    check_op(lambda x: F.avg_pool1d(x, **counted), theirs("avg_pool1d", **counted), [x])
    for indices in (False, True):
        spread = {**options, "dilation": option, "return_indices": indices}
        check_op(lambda x, spread=spread: F.max_pool1d(x, **spread), theirs("max_pool1d", **spread), [x])


@pytest.mark.parametrize("shape", [(2, 3, 9), (3, 9)])
@pytest.mark.parametrize("size", [1, 3, 4, (5,), [9], 12])
def test_adaptive_pooling_along_one_axis(shape, size):
    x = distinct(*shape)
    check_op(lambda x: F.adaptive_avg_pool1d(x, size), theirs("adaptive_avg_pool1d", output_size=size), [x], atol=1e-4)
    for indices in (False, True):
        options = {"output_size": size, "return_indices": indices}
        check_op(
            lambda x, options=options: F.adaptive_max_pool1d(x, **options),
            theirs("adaptive_max_pool1d", **options),
            [x],
        )


@pytest.mark.parametrize(
    "name, options",
    [
        ("max_pool2d", {"kernel_size": 2}),
        ("max_pool2d", {"kernel_size": 2, "return_indices": True}),
        ("max_pool2d_with_indices", {"kernel_size": 2}),
        ("avg_pool2d", {"kernel_size": 2}),
        ("lp_pool2d", {"norm_type": 2, "kernel_size": 2}),
        ("adaptive_avg_pool2d", {"output_size": 2}),
        ("adaptive_max_pool2d", {"output_size": (2, None)}),
        ("adaptive_max_pool2d_with_indices", {"output_size": 1}),
    ],
)
def test_pooling_takes_images_without_a_batch(name, options):
    check_op(lambda x: getattr(F, name)(x, **options), theirs(name, **options), [distinct(3, 6, 5)], atol=1e-4)


def test_the_functions_with_indices_always_return_them():
    x, row = numbanet.from_numpy(distinct(1, 2, 4, 4)), numbanet.from_numpy(distinct(1, 2, 4))
    for function, plain, argument in (
        (F.max_pool2d_with_indices, F.max_pool2d, x),
        (F.max_pool1d_with_indices, F.max_pool1d, row),
        (F.adaptive_max_pool2d_with_indices, F.adaptive_max_pool2d, x),
        (F.adaptive_max_pool1d_with_indices, F.adaptive_max_pool1d, row),
    ):
        for one, other in zip(function(argument, 2), plain(argument, 2, return_indices=True), strict=True):
            assert one.tolist() == other.tolist()


@pytest.mark.parametrize("shape", [(2, 3, 6, 5), (3, 6, 5)])
@pytest.mark.parametrize("p", [2, 1, 3, 1.5, 4.0, float("inf"), -float("inf")])
@pytest.mark.parametrize("window", [(2, None), ((3, 2), (2, 1)), (3, 2)])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_lp_pool(shape, p, window, ceil_mode):
    x = distinct(*shape) + 0.1  # odd and broken powers of negative numbers are NaN
    options = {"norm_type": p, "kernel_size": window[0], "stride": window[1], "ceil_mode": ceil_mode}
    check_op(lambda x: F.lp_pool2d(x, **options), theirs("lp_pool2d", **options), [x], rtol=1e-4, numeric=p != 4.0)
    if window[0] != (3, 2):
        check_op(lambda x: F.lp_pool1d(x, **options), theirs("lp_pool1d", **options), [x.reshape(-1, 5)], rtol=1e-4)


def test_lp_pool_of_negative_numbers_and_zeros_is_pytorchs():
    x = (rng.standard_normal((1, 2, 4, 4)) * 3).astype(np.float32)
    x[0, 0, :2, :2] = 0
    for p in (1, 2, 3):
        options = {"norm_type": p, "kernel_size": 2}
        check_op(
            lambda x, options=options: F.lp_pool2d(x, **options), theirs("lp_pool2d", **options), [x], numeric=False
        )


UNPOOLED = [  # kernel_size, stride, padding, the plane, output_size
    (2, None, 0, (6, 4), None),
    (2, None, 0, (7, 5), (7, 5)),
    (2, 3, 0, (7, 5), [2, 3, 7, 5]),
    (3, 2, 1, (7, 5), None),
    ((3, 2), (1, 2), (1, 0), (5, 6), None),
]


@pytest.mark.parametrize("batch", [(2, 3), (3,)])
@pytest.mark.parametrize("kernel, stride, padding, plane, size", UNPOOLED)
def test_max_unpool2d(batch, kernel, stride, padding, plane, size):
    x = numbanet.from_numpy(distinct(*batch, *plane))
    pooled, where = [t.numpy() for t in F.max_pool2d(x, kernel, stride, padding, return_indices=True)]

    def unpool(x):
        library = numbanet if isinstance(x, numbanet.Tensor) else torch
        return library.nn.functional.max_unpool2d(x, library.from_numpy(where), kernel, stride, padding, size)

    # Windows that overlap share a place, where a step of one value alone is no derivative.
    check_op(unpool, None if torch is None else unpool, [pooled], numeric=kernel == 2)


@pytest.mark.parametrize("batch", [(2, 3), (3,)])
@pytest.mark.parametrize("kernel, stride, padding, size", [(2, None, 0, (9,)), (3, 2, 1, None), ((2,), (3,), 0, (9,))])
def test_max_unpool1d(batch, kernel, stride, padding, size):
    x = numbanet.from_numpy(distinct(*batch, 9))
    pooled, where = [t.numpy() for t in F.max_pool1d(x, kernel, stride, padding, return_indices=True)]

    def unpool(x):
        library = numbanet if isinstance(x, numbanet.Tensor) else torch
        return library.nn.functional.max_unpool1d(x, library.from_numpy(where), kernel, stride, padding, size)

    check_op(unpool, None if torch is None else unpool, [pooled], numeric=kernel != 3)


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
        lambda x: F.max_pool1d(x[0], 2, 1),
        lambda x: F.max_unpool2d(x, F.max_pool2d(numbanet.zeros(1, 2, 8, 10), 2, return_indices=True)[1], 2),
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
    for pooled in (
        F.max_pool2d(x, 2),
        F.avg_pool2d(x, 2),
        F.lp_pool2d(x, 2, 2),
        F.adaptive_avg_pool2d(x, 2),
        F.adaptive_max_pool2d(x, 2),
        F.max_unpool2d(x, numbanet.zeros(0, 2, 4, 4).long(), 2, padding=3),
    ):
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
