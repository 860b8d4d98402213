"""Strict convolution and correlation: SciPy's results to the last option, gradients, and the laws of convolution."""

import itertools

import numpy as np
import pytest

import numbanet
from numbanet import autograd, signal
from tests.checks import assert_close, check_op

rng = np.random.default_rng(11)
NAMES = ["convolve2d", "correlate2d"]
SIZES = [(5, 7), (4, 4), (3, 8), (1, 1)]
KERNELS = [(3, 3), (2, 4), (1, 2), (4, 3), (6, 9)]


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_scipys(name):
    theirs = getattr(pytest.importorskip("scipy.signal"), name)
    for a, b, mode, boundary in itertools.product(SIZES, KERNELS, ["full", "same", "valid"], ["fill", "wrap", "symm"]):
        x, y = rng.standard_normal(a), rng.standard_normal(b)
        options = {"mode": mode, "boundary": boundary, "fillvalue": 1.5 if boundary == "fill" else 0}
        tensors = numbanet.from_numpy(x), numbanet.from_numpy(y)
        try:
            expected = theirs(x, y, **options)
        except ValueError:
            with pytest.raises(ValueError, match=r"holds the other, got"):
                getattr(signal, name)(*tensors, **options)
            continue
        assert_close(getattr(signal, name)(*tensors, **options), expected, 1e-10, 1e-10, f"{a} {b} {options}")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode, boundary", [("full", "fill"), ("same", "wrap"), ("same", "symm"), ("valid", "fill")])
def test_gradients(name, mode, boundary):
    arrays = [rng.standard_normal(s).astype(np.float32) for s in ((5, 4), (2, 3))]
    check_op(lambda a, b: getattr(signal, name)(a, b, mode, boundary), None, arrays)


def test_both_can_be_differentiated_twice():
    a, b = (numbanet.tensor(rng.standard_normal(s), requires_grad=True) for s in ((3, 4), (2, 2)))
    assert autograd.gradcheck(
        lambda a, b: autograd.grad((signal.convolve2d(a, b) ** 3).sum(), [a, b], create_graph=True), (a, b)
    )


def test_convolution_commutes_and_associates_and_turns_the_kernel():
    a, b, c = (numbanet.from_numpy(rng.standard_normal(s)) for s in ((4, 5), (3, 2), (2, 2)))
    assert_close(signal.convolve2d(a, b), signal.convolve2d(b, a), 1e-10, 1e-10)
    left, right = signal.convolve2d(signal.convolve2d(a, b), c), signal.convolve2d(a, signal.convolve2d(b, c))
    assert_close(left, right, 1e-10, 1e-10)
    assert_close(signal.correlate2d(a, b), signal.convolve2d(a, b.flip((0, 1))), 1e-10, 1e-10)
    one = numbanet.zeros(3, 3, dtype=numbanet.float64)
    one[0, 0] = 1.0
    assert signal.convolve2d(one, b)[:3, :2].tolist() == b.tolist()


@pytest.mark.parametrize("options, message", [
    ({"mode": "middle"}, "mode must be 'full', 'same' or 'valid', got 'middle'"),
    ({"boundary": "reflect"}, "boundary must be 'fill', 'wrap' or 'symm', got 'reflect'"),
])  # fmt: skip
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        signal.convolve2d(numbanet.zeros(3, 3), numbanet.zeros(2, 2), **options)
    with pytest.raises(ValueError, match=r"expected two matrices, got shapes \(1, 3, 3\) and \(2, 2\)"):
        signal.correlate2d(numbanet.zeros(1, 3, 3), numbanet.zeros(2, 2))
