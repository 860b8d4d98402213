"""Convolutions and their transposes: option combinations against PyTorch and finite differences, second derivatives, errors."""

import itertools

import numpy as np
import pytest

import numbanet
import numbanet.nn.functional as F
from numbanet import autograd
from tests.checks import assert_close, check_op, torch

rng = np.random.default_rng(3)


def draw(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def theirs(**options):
    return None if torch is None else lambda *a: torch.nn.functional.conv2d(*a, **options)


OPTIONS = list(itertools.product([1, 2, 4], [1, 2, (2, 1)], [1, 2, (1, 2)], [0, 1, (2, 1)], [1, 3, (3, 2)]))


@pytest.mark.parametrize("part", range(9))
def test_conv2d_crosses_groups_stride_dilation_padding_and_kernel(part):
    for index, (groups, stride, dilation, padding, kernel) in list(enumerate(OPTIONS))[part::9]:
        kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        bias = [draw(8)] if index % 2 else []
        check_op(
            lambda *a, o=options: F.conv2d(*a, **o),
            theirs(**options),
            [draw(2, 4, 9, 7), draw(8, 4 // groups, kh, kw), *bias],
            atol=1e-4,
            numeric=index % 3 == 0,
        )


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kernel", [(3, 3), (2, 4), (1, 1)])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_conv2d_pads_by_name(padding, kernel, dilation):
    options = {"padding": padding, "dilation": dilation}
    check_op(lambda *a: F.conv2d(*a, **options), theirs(**options), [draw(1, 2, 8, 9), draw(3, 2, *kernel)], atol=1e-4)


@pytest.mark.parametrize("bias, groups, stride", [(True, 1, 1), (False, 2, 2)])
def test_conv2d_relu(bias, groups, stride):
    arrays = [draw(2, 4, 6, 5), draw(6, 4 // groups, 3, 3), *([draw(6)] if bias else [])]
    options = {"stride": stride, "padding": 1, "groups": groups}
    reference = None if torch is None else lambda *args: torch.relu(torch.nn.functional.conv2d(*args, **options))
    check_op(lambda *args: F.conv2d_relu(*args, **options), reference, arrays, rtol=1e-4, atol=1e-4)


def test_conv2d_relu_is_the_two_operators():
    """Bit by bit, NaN too; without a batch; under autocast; both derivatives."""
    arrays = draw(2, 3, 6, 6), draw(4, 3, 3, 3), draw(4), draw(2, 4, 4, 4)
    arrays[0][1, 2, 3, 3] = np.nan
    two = lambda *args: F.relu(F.conv2d(*args))  # noqa: E731
    found = []
    for function in (F.conv2d_relu, two):
        *leaves, dy = [numbanet.from_numpy(a.copy()).requires_grad_() for a in arrays]
        y = function(*leaves)
        found.append([y.detach(), *autograd.grad(y, leaves, dy.detach()), function(leaves[0][0], *leaves[1:]).detach()])
        with numbanet.autocast("cpu"):
            half = function(*leaves)
            assert half.dtype == numbanet.bfloat16
            found[-1] += [half.detach().float(), *autograd.grad(half.float(), leaves, dy.detach())]
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    shapes = (1, 2, 3, 3), (2, 2, 2, 2), (2,), (1, 2, 2, 2)
    x, w, b, dy = [numbanet.tensor(np.random.default_rng(2).standard_normal(s), requires_grad=True) for s in shapes]
    assert autograd.gradcheck(
        lambda x, w, b, dy: autograd.grad(F.conv2d_relu(x, w, b) ** 2, [x, w, b], dy, create_graph=True), (x, w, b, dy)
    )


def test_conv2d_takes_an_image_without_a_batch():
    check_op(
        lambda *a: F.conv2d(*a, padding=1), theirs(padding=1), [draw(3, 6, 5), draw(4, 3, 3, 3), draw(4)], atol=1e-4
    )


def test_conv2d_of_an_empty_batch_has_zero_weight_gradients():
    x, w, b = numbanet.zeros(0, 3, 5, 5), numbanet.from_numpy(draw(4, 3, 3, 3)), numbanet.zeros(4)
    w.requires_grad_(), b.requires_grad_()
    y = F.conv2d(x, w, b)
    assert tuple(y.shape) == (0, 4, 3, 3)
    y.sum().backward()
    assert (w.grad.numpy() == 0).all() and (b.grad.numpy() == 0).all()


def test_conv2d_takes_lists_for_pairs():
    x, w = numbanet.from_numpy(draw(1, 2, 6, 6)), numbanet.from_numpy(draw(2, 2, 3, 3))
    assert_close(F.conv2d(x, w, stride=[2, 1], padding=[0, 1]), F.conv2d(x, w, stride=(2, 1), padding=(0, 1)))


@pytest.mark.parametrize("stride, dilation, groups", [(1, 1, 1), (2, 1, 2), ((1, 2), 2, 1)])
def test_conv2d_can_be_differentiated_twice(stride, dilation, groups):
    def gradients(x, w, dy):
        y = F.conv2d(x, w, None, stride, 1, dilation, groups)
        return autograd.grad(y, [x, w], dy[:, :, : y.shape[2], : y.shape[3]], create_graph=True)

    inputs = [rng.standard_normal(s) for s in ((1, 2, 5, 4), (4, 2 // groups, 2, 3), (1, 4, 6, 5))]
    assert autograd.gradcheck(gradients, [numbanet.tensor(a, requires_grad=True) for a in inputs])


def test_conv2d_bias_gradient_can_be_differentiated_twice():
    x, w, b = [numbanet.tensor(rng.standard_normal(s), requires_grad=True) for s in ((1, 1, 3, 3), (2, 1, 2, 2), (2,))]
    assert autograd.gradcheck(
        lambda x, w, b: autograd.grad((F.conv2d(x, w, b) ** 3).sum(), [x, w, b], create_graph=True), (x, w, b)
    )


MISFITS = [
    ((8, 5, 32, 32), (4, 3, 3, 3), {"groups": 2}, "input has C=5 channels but weight expects 3 * groups=2 = 6 (input (8, 5, 32, 32), weight (4, 3, 3, 3))"),
    ((1, 2, 4, 4), (3, 1, 3, 3), {"groups": 2}, "weight has O=3 output channels, expected a positive multiple of groups=2"),
    ((1, 1, 4, 4), (1, 1, 5, 3), {}, "the kernel (5, 3) with dilation (1, 1) spans (5, 3), more than the padded input (4, 4)"),
    ((1, 1, 4, 4), (1, 1, 3, 3), {"stride": 0}, "stride must be positive, got (0, 0)"),
    ((1, 1, 4, 4), (1, 1, 3, 3), {"stride": (1, 2, 3)}, "stride must be an int or a pair of ints, got (1, 2, 3)"),
    ((1, 1, 4, 4), (1, 1, 3, 3), {"padding": -1}, "padding must not be negative, got (-1, -1)"),
    ((1, 1, 4, 4), (1, 1, 3, 3), {"padding": "full"}, "padding must be an int, a pair, 'same' or 'valid', got 'full'"),
    ((1, 1, 4, 4), (1, 1, 3, 3), {"padding": "same", "stride": 2}, "padding='same' works with stride 1 only, got stride (2, 2)"),
    ((1, 1, 4, 4), (1, 1, 3, 3), {"dilation": 0}, "dilation must be positive, got (0, 0)"),
    ((1, 1, 4, 4), (1, 1, 3, 3), {"groups": 0}, "groups must be positive, got 0"),
    ((4, 4), (1, 1, 3, 3), {}, "expected input of shape (N, C, H, W) or (C, H, W), got (4, 4)"),
    ((1, 1, 4, 4), (1, 3, 3), {}, "expected weight of shape (O, C / groups, KH, KW), got (1, 3, 3)"),
    ((1, 1, 4, 4), (2, 1, 3, 3), {"bias": numbanet.zeros(3)}, "expected bias of shape (2,) for weight (2, 1, 3, 3), got (3,)"),
]  # fmt: skip


@pytest.mark.parametrize("x, w, options, message", MISFITS)
def test_conv2d_names_what_does_not_fit(x, w, options, message):
    with pytest.raises(RuntimeError) as error:
        F.conv2d(numbanet.zeros(x), numbanet.zeros(w), **options)
    assert str(error.value).startswith("conv2d: ") and message in str(error.value)
    if torch is not None:
        if "bias" in options:
            options = {"bias": torch.zeros(3)}
        with pytest.raises(RuntimeError):
            torch.nn.functional.conv2d(torch.zeros(x), torch.zeros(w), **options)


def test_conv2d_refuses_other_types_and_mixed_dtypes():
    x, w = numbanet.zeros(1, 1, 4, 4), numbanet.zeros(1, 1, 3, 3)
    with pytest.raises(TypeError, match="conv2d: argument 'weight' must be a Tensor, not list"):
        F.conv2d(x, [[1.0]])
    with pytest.raises(TypeError, match=r"stride must be an int or a pair of ints, got 1\.5"):
        F.conv2d(x, w, stride=1.5)
    with pytest.raises(RuntimeError, match="conv2d: input is float32 but weight is float64"):
        F.conv2d(x, w.double())
    with pytest.raises(RuntimeError, match="conv2d: expected input of a floating dtype, got int64"):
        F.conv2d(x.long(), w.long())


def test_conv2d_gradients_of_a_shared_weight_add_up():
    x, w = draw(1, 2, 6, 6), draw(2, 2, 3, 3)
    check_op(
        lambda x, w: F.conv2d(F.conv2d(x, w, padding=1), w, padding=1),
        None if torch is None else lambda x, w: torch.conv2d(torch.conv2d(x, w, padding=1), w, padding=1),
        [x, w],
        atol=1e-4,
    )


# ---------------------------------------------------------------------------------------------- conv1d and transposed


def torchs(name: str, **options):
    return None if torch is None else lambda *a: getattr(torch.nn.functional, name)(*a, **options)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_conv1d_crosses_stride_dilation_padding_and_kernel(groups):
    crossed = itertools.product([1, 2, (3,)], [1, 2], [0, 1, (2,), "same", "valid"], [1, 2, 3])
    for index, (stride, dilation, padding, kernel) in enumerate(crossed):
        if padding == "same" and stride != 1:
            continue
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        batch = (2,) if index % 5 else ()
        bias = [draw(8)] if index % 2 else []
        check_op(
            lambda *a, o=options: F.conv1d(*a, **o),
            torchs("conv1d", **options),
            [draw(*batch, 4, 13), draw(8, 4 // groups, kernel), *bias],
            atol=1e-4,
            numeric=index % 4 == 0,
        )


TRANSPOSED = list(
    itertools.product([1, 2, 4], [1, 2, (2, 3)], [1, 2, (1, 2)], [0, 1, (2, 1)], [1, 3, (3, 2)], [0, 1, (0, 1)])
)


def two(value):
    return (value, value) if isinstance(value, int) else value


def fits(size, stride, dilation, padding, kernel, extra):
    """Whether PyTorch takes the combination, and its output is not empty."""
    axes = list(zip(size, *map(two, (stride, dilation, padding, kernel, extra)), strict=True))
    return all(e < max(s, d) and (n - 1) * s - 2 * p + d * (k - 1) + e >= 0 for n, s, d, p, k, e in axes)


@pytest.mark.parametrize("part", range(4))
def test_conv_transpose2d_crosses_all_options(part):
    for index, (groups, stride, dilation, padding, kernel, extra) in list(enumerate(TRANSPOSED))[part::4]:
        if not fits((4, 3), stride, dilation, padding, kernel, extra) or index % 3 == 0:
            continue
        options = {
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
            "groups": groups,
            "output_padding": extra,
        }
        bias = [draw(8)] if index % 2 else []
        check_op(
            lambda *a, o=options: F.conv_transpose2d(*a, **o),
            torchs("conv_transpose2d", **options),
            [draw(2, 4, 4, 3), draw(4, 8 // groups, *two(kernel)), *bias],
            atol=1e-4,
            numeric=index % 5 == 0,
        )


def test_conv_transpose1d_crosses_all_options():
    crossed = itertools.product([1, 2], [1, 2, (3,)], [1, 2], [0, 1], [1, 2, 3], [0, 1])
    for index, (groups, stride, dilation, padding, kernel, extra) in enumerate(crossed):
        if not fits((5, 5), stride if isinstance(stride, int) else stride * 2, dilation, padding, kernel, extra):
            continue
        options = {
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
            "groups": groups,
            "output_padding": extra,
        }
        batch = (2,) if index % 3 else ()
        bias = [draw(6)] if index % 2 else []
        check_op(
            lambda *a, o=options: F.conv_transpose1d(*a, **o),
            torchs("conv_transpose1d", **options),
            [draw(*batch, 4, 5), draw(4, 6 // groups, kernel), *bias],
            atol=1e-4,
            numeric=index % 4 == 0,
        )


def test_conv_transpose2d_takes_an_image_without_a_batch():
    arrays = [draw(3, 4, 5), draw(3, 2, 3, 3), draw(2)]
    check_op(lambda *a: F.conv_transpose2d(*a, stride=2), torchs("conv_transpose2d", stride=2), arrays, atol=1e-4)


def test_conv_transpose2d_holds_the_bias_where_nothing_falls():
    y = F.conv_transpose2d(numbanet.ones(1, 1, 2, 2), numbanet.ones(1, 1, 1, 1), numbanet.full((1,), 5.0), stride=3)
    expected = np.full((4, 4), 5, np.float32)
    expected[::3, ::3] = 6
    assert_close(y[0, 0], expected)


def test_conv_transpose2d_is_the_transpose_of_conv2d():
    """<conv(x), y> = <x, conv_transpose(y)> for one and the same weight."""
    x, w, y = (numbanet.from_numpy(rng.standard_normal(s)) for s in ((2, 4, 9, 8), (6, 2, 3, 2), (2, 6, 4, 4)))
    options = {"stride": 2, "padding": (0, 1), "dilation": (1, 2), "groups": 2}
    across = float((F.conv2d(x, w, **options) * y).sum())
    back = F.conv_transpose2d(y, w, output_padding=(0, 1), **options)
    assert tuple(back.shape) == tuple(x.shape)
    assert abs(across - float((back * x).sum())) < 1e-10 * max(abs(across), 1)


@pytest.mark.parametrize("name, shapes", [
    ("conv_transpose2d", ((1, 2, 3, 3), (2, 3, 2, 3), (1, 3, 6, 7))),
    ("conv_transpose1d", ((2, 2, 4), (2, 2, 3), (2, 2, 9))),
    ("conv1d", ((2, 2, 9), (3, 2, 3), (2, 3, 4))),
])  # fmt: skip
def test_the_others_can_be_differentiated_twice(name, shapes):
    def gradients(x, w, b, dy):
        y = getattr(F, name)(x, w, b, stride=2)
        return autograd.grad(y * y, [x, w, b], dy, create_graph=True)

    x, w, dy = [numbanet.tensor(rng.standard_normal(s), requires_grad=True) for s in shapes]
    b = numbanet.tensor(rng.standard_normal(shapes[2][1]), requires_grad=True)
    assert autograd.gradcheck(gradients, [x, w, b, dy])


@pytest.mark.parametrize(
    "name, x, w", [("conv1d", (0, 3, 5), (4, 3, 3)), ("conv_transpose2d", (0, 3, 5, 5), (3, 4, 3, 3))]
)
def test_an_empty_batch_has_zero_weight_gradients(name, x, w):
    x, w, b = numbanet.zeros(x), numbanet.from_numpy(draw(*w)).requires_grad_(), numbanet.zeros(4).requires_grad_()
    y = getattr(F, name)(x, w, b)
    assert y.shape[0] == 0 and y.shape[1] == 4
    y.sum().backward()
    assert (w.grad.numpy() == 0).all() and (b.grad.numpy() == 0).all()
