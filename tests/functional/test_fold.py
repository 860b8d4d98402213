"""unfold and fold: options crossed, against PyTorch and finite differences; each other's adjoints; convolution by hand."""

import itertools

import numpy as np
import pytest

import numbanet
import numbanet.nn.functional as F
from numbanet import autograd
from tests.checks import assert_close, check_op, torch

rng = np.random.default_rng(7)
OPTIONS = list(itertools.product([1, 3, (2, 3)], [1, 2, (1, 2)], [0, 1, (2, 0)], [1, 2, (3, 1)]))


def draw(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def theirs(name: str, *options):
    return None if torch is None else lambda x: getattr(torch.nn.functional, name)(x, *options)


@pytest.mark.parametrize("part", range(3))
def test_unfold_and_fold_cross_their_options(part):
    for index, options in list(enumerate(OPTIONS))[part::3]:
        x = draw(2, 3, 9, 8) if index % 4 else draw(3, 9, 8)
        check_op(lambda a, o=options: F.unfold(a, *o), theirs("unfold", *options), [x], numeric=index % 5 == 0)
        columns = draw(*F.unfold(numbanet.from_numpy(x), *options).shape)
        back = ((9, 8), *options)
        check_op(lambda a, o=back: F.fold(a, *o), theirs("fold", *back), [columns], numeric=index % 5 == 0)


def test_unfold_times_weight_is_conv2d():
    x, w = (numbanet.from_numpy(rng.standard_normal(s)) for s in ((2, 3, 8, 7), (4, 3, 3, 2)))
    y = w.reshape(4, -1) @ F.unfold(x, (3, 2), (1, 2), (1, 0), 2)
    expected = F.conv2d(x, w, None, 2, (1, 0), (1, 2))
    assert_close(y.reshape(expected.shape), expected, 1e-12, 1e-12)


def test_fold_of_unfold_counts_the_blocks():
    ones = numbanet.ones(1, 1, 4, 4)
    assert F.fold(F.unfold(ones, 3), 4, 3)[0, 0].tolist() == [[1, 2, 2, 1], [2, 4, 4, 2], [2, 4, 4, 2], [1, 2, 2, 1]]


def test_unfold_can_be_differentiated_twice():
    x = numbanet.tensor(rng.standard_normal((1, 2, 4, 5)), requires_grad=True)
    assert autograd.gradcheck(
        lambda x: autograd.grad((F.unfold(x, 2, padding=1, stride=2) ** 3).sum(), x, create_graph=True), (x,)
    )
    c = numbanet.tensor(rng.standard_normal((1, 8, 9)), requires_grad=True)
    assert autograd.gradcheck(
        lambda c: autograd.grad((F.fold(c, 4, 2, padding=1, stride=2) ** 3).sum(), c, create_graph=True), (c,)
    )


def test_an_empty_batch():
    x = numbanet.zeros(0, 2, 5, 5).requires_grad_()
    y = F.unfold(x, 3)
    assert tuple(y.shape) == (0, 18, 9) and tuple(F.fold(y, 5, 3).shape) == (0, 2, 5, 5)
    y.sum().backward()
    assert tuple(x.grad.shape) == (0, 2, 5, 5)
