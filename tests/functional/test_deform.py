"""Deformable convolution: against a slow formula in plain NumPy, finite differences, and conv2d where offsets are zero."""

import itertools

import numpy as np
import pytest

import numbanet
import numbanet.nn.functional as F
from tests.checks import assert_close, check_op

rng = np.random.default_rng(9)


def draw(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def between_pixels(*shape: int) -> np.ndarray:
    """Offsets up to three pixels whose fractions stay away from 0 and 1, where the bilinear value has kinks."""
    return (rng.integers(-3, 3, shape) + rng.uniform(0.2, 0.8, shape)).astype(np.float32)


def by_hand(x, offset, weight, bias, stride, padding, dilation, mask):
    """The sum of the documentation, term by term."""
    n, c, h, w = x.shape
    o, per, kh, kw = weight.shape
    oh, ow = ((s + 2 * padding - dilation * (k - 1) - 1) // stride + 1 for s, k in ((h, kh), (w, kw)))
    groups, d = c // per, offset.shape[1] // (2 * kh * kw)
    y = np.zeros((n, o, oh, ow))

    def value(image, r, s):
        total = 0.0
        for i, j in itertools.product(
            (int(np.floor(r)), int(np.floor(r)) + 1), (int(np.floor(s)), int(np.floor(s)) + 1)
        ):
            if 0 <= i < h and 0 <= j < w:
                total += image[i, j] * (1 - abs(r - i)) * (1 - abs(s - j))
        return total

    for b, f, k, m, i, j in np.ndindex(n, o, kh, kw, oh, ow):
        for q in range(per):
            channel = f // (o // groups) * per + q
            t = channel // (c // d) * kh * kw + k * kw + m
            r = i * stride - padding + k * dilation + offset[b, 2 * t, i, j]
            s = j * stride - padding + m * dilation + offset[b, 2 * t + 1, i, j]
            scale = 1 if mask is None else mask[b, t, i, j]
            y[b, f, i, j] += weight[f, q, k, m] * scale * value(x[b, channel], r, s)
    return y + bias[None, :, None, None]


CROSSED = list(itertools.product([1, 2], [1, 2], [1, 2], [1, 2], [0, 1], [False, True]))


@pytest.mark.parametrize("part", range(4))
def test_deform_conv2d_crosses_groups_options_and_mask(part):
    for groups, offset_groups, stride, dilation, padding, masked in CROSSED[part::4]:
        oh, ow = ((s + 2 * padding - dilation * (k - 1) - 1) // stride + 1 for s, k in ((6, 2), (7, 3)))
        arrays = [
            draw(2, 4, 6, 7),
            between_pixels(2, 2 * offset_groups * 6, oh, ow),
            draw(4, 4 // groups, 2, 3),
            draw(4),
        ]
        arrays += [draw(2, offset_groups * 6, oh, ow)] if masked else []

        def convolve(x, offset, w, b, mask=None, options=(stride, padding, dilation)):
            return F.deform_conv2d(x, offset, w, b, *options, mask)

        check_op(convolve, None, arrays, atol=1e-4)
        exact = [a.astype(np.float64) for a in arrays]
        y = convolve(*[numbanet.from_numpy(a) for a in exact]).numpy()
        expected = by_hand(*exact[:4], stride, padding, dilation, exact[4] if masked else None)
        np.testing.assert_allclose(y, expected, 1e-10, 1e-10)


@pytest.mark.parametrize("groups", [1, 2])
def test_without_offsets_it_is_conv2d(groups):
    x, w, b = (numbanet.from_numpy(draw(*s)).requires_grad_() for s in ((2, 4, 9, 8), (6, 4 // groups, 3, 3), (6,)))
    offset, mask = numbanet.zeros(2, 18, 5, 4), numbanet.ones(2, 9, 5, 4)
    y, z = F.deform_conv2d(x, offset, w, b, 2, 1, 1, mask), F.conv2d(x, w, b, 2, 1, 1, groups)
    assert_close(y.detach(), z.detach(), 1e-4, 1e-4)
    dy = numbanet.from_numpy(draw(*y.shape))
    for ours, plain in zip(
        numbanet.autograd.grad(y, [x, w, b], dy), numbanet.autograd.grad(z, [x, w, b], dy), strict=True
    ):
        assert_close(ours, plain, 1e-4, 1e-4)


def test_a_batch_of_one_with_groups():
    arrays = [draw(1, 4, 5, 4), between_pixels(1, 8, 4, 3), draw(4, 1, 2, 2)]
    check_op(F.deform_conv2d, None, arrays, atol=1e-4)


def test_points_outside_of_the_image_are_zero_without_gradients():
    x, w = numbanet.ones(1, 1, 4, 4).requires_grad_(), numbanet.ones(1, 1, 1, 1)
    for far in (100.0, -100.0, 4.0, -5.0, float("nan"), float("inf")):
        offset = numbanet.full((1, 2, 4, 4), far).requires_grad_()
        y = F.deform_conv2d(x, offset, w)
        assert float(y.detach().abs().sum()) == 0
        dx, doffset = numbanet.autograd.grad(y.sum(), [x, offset])
        assert float(dx.abs().sum()) == 0 and float(doffset.abs().sum()) == 0


def test_an_empty_batch():
    x, w = numbanet.zeros(0, 2, 5, 5).requires_grad_(), numbanet.zeros(3, 2, 3, 3).requires_grad_()
    y = F.deform_conv2d(x, numbanet.zeros(0, 18, 3, 3), w)
    assert tuple(y.shape) == (0, 3, 3, 3)
    y.sum().backward()
    assert tuple(x.grad.shape) == (0, 2, 5, 5) and float(w.grad.abs().sum()) == 0


def test_it_goes_by_torchvisions_names_too():
    assert numbanet.ops.deform_conv2d is F.deform_conv2d
    assert numbanet.ops.DeformConv2d is numbanet.nn.DeformConv2d
