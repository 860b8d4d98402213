"""Norms and distances of vectors against PyTorch and finite differences."""

import itertools

import numpy as np
import pytest

import numbanet
import numbanet.nn.functional as F
from tests.checks import assert_close, check_op, torch

rng = np.random.default_rng(31)


def draw(*shape):
    return np.asarray(rng.standard_normal(shape), np.float32)


def of(name, **options):
    ours = getattr(F, name)
    theirs = None if torch is None else getattr(torch if name == "cdist" else torch.nn.functional, name)
    return [
        None if function is None else (lambda *tensors, function=function: function(*tensors, **options))
        for function in (ours, theirs)
    ]


PAIRS = [((3, 4), (3, 4)), ((3, 4), (4,)), ((2, 1, 4), (3, 4)), ((2, 3, 4), (2, 3, 4))]


@pytest.mark.parametrize("one, two", PAIRS)
def test_cosine_similarity(one, two):
    for dim, eps in itertools.product([0, 1, -1], [1e-8, 1.5]):
        # A norm that is raised to eps keeps its gradient, as in PyTorch, which is not the slope.
        check_op(*of("cosine_similarity", dim=dim, eps=eps), [draw(*one), draw(*two)], numeric=eps < 1)


@pytest.mark.parametrize("one, two", [*PAIRS, ((4,), (4,))])
def test_pairwise_distance(one, two):
    for p, eps, keepdim in itertools.product([2.0, 1, 3.5, float("inf"), 0.5], [1e-6, 0.5], [False, True]):
        check_op(*of("pairwise_distance", p=p, eps=eps, keepdim=keepdim), [draw(*one), draw(*two)])


@pytest.mark.parametrize("p", [0, float("-inf"), -1.0])
def test_pairwise_distance_of_rare_norms(p):
    check_op(*of("pairwise_distance", p=p), [draw(3, 4), draw(3, 4)])


@pytest.mark.parametrize("shape, dim", [((3, 4), 1), ((3, 4), 0), ((2, 3, 5, 4), 1), ((2, 3, 4), -1), ((5,), 0)])
def test_normalize(shape, dim):
    for p, eps in itertools.product([2.0, 1, 3.0, float("inf")], [1e-12, 2.0]):
        check_op(*of("normalize", p=p, dim=dim, eps=eps), [draw(*shape)])


@pytest.mark.parametrize(
    "one, two", [((3, 4), (5, 4)), ((2, 3, 4), (5, 4)), ((2, 1, 3, 4), (6, 5, 4)), ((30, 3), (4, 3))]
)
def test_cdist(one, two):
    for p in (2.0, 1.0, 3.0, float("inf")):
        check_op(*of("cdist", p=p), [draw(*one), draw(*two)], atol=1e-4)
    for mode in ("use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist"):
        check_op(*of("cdist", compute_mode=mode), [draw(*one), draw(*two)], atol=1e-4)


@pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("name, count, options", [
    ("cosine_similarity", 2, {}), ("normalize", 1, {}), ("pairwise_distance", 2, {"eps": 0.0}),
    ("cdist", 2, {}), ("cdist", 2, {"compute_mode": "use_mm_for_euclid_dist"}), ("pairwise_distance", 2, {"eps": 0.0, "p": 3.0}),
])  # fmt: skip
def test_the_gradient_at_zero_is_finite(name, count, options):
    """Zero vectors, or equal ones, where the norm has no derivative."""
    arrays = [np.zeros((2, 3), np.float32) for _ in range(count)]
    if name in ("cosine_similarity", "normalize"):
        arrays[0][0], arrays[-1][0] = 1, 1
    check_op(*of(name, **options), arrays, numeric=False)


def test_empty_and_large_inputs():
    assert tuple(F.pairwise_distance(numbanet.zeros(0, 3), numbanet.zeros(0, 3)).shape) == (0,)
    assert tuple(F.cdist(numbanet.zeros(0, 3), numbanet.zeros(2, 3)).shape) == (0, 2)
    check_op(*of("normalize"), [draw(3, 700)])
    check_op(*of("normalize"), [draw(2, 700, 3)])
    check_op(*of("normalize"), [draw(2, 3, 300)])
    check_op(*of("cosine_similarity"), [draw(300, 70), draw(300, 70)])
    check_op(*of("pairwise_distance"), [draw(300, 70), draw(300, 70)])


def test_distances_can_be_differentiated_twice():
    def gradients(function, count):
        inputs = [numbanet.tensor(draw(2, 3), dtype=numbanet.float64, requires_grad=True) for _ in range(count)]
        return numbanet.autograd.gradcheck(
            lambda *given: numbanet.autograd.grad(function(*given).sum(), given, create_graph=True), inputs
        )

    assert gradients(F.cosine_similarity, 2)
    assert gradients(F.pairwise_distance, 2)
    assert gradients(lambda x: F.normalize(x) ** 2 * numbanet.arange(3), 1)
    assert gradients(lambda x: F.normalize(x, dim=0) ** 2 * numbanet.arange(3), 1)
    for options in ({}, {"compute_mode": "use_mm_for_euclid_dist"}, {"p": 3.0}, {"p": 1.0}):
        assert gradients(lambda a, b, options=options: F.cdist(a, b, **options) ** 2, 2)


def test_names_at_the_top_level():
    a, b = numbanet.from_numpy(draw(2, 3)), numbanet.from_numpy(draw(2, 3))
    for name in ("cosine_similarity", "pairwise_distance", "cdist"):
        assert_close(getattr(numbanet, name)(a, b), getattr(F, name)(a, b))
