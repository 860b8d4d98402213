"""conv2d: option combinations against PyTorch and finite differences, second derivatives, errors."""

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
