"""Losses against PyTorch and finite differences: weights, smoothing, ignored targets, reductions, errors."""

import itertools
import math

import numpy as np
import pytest

import numbanet
import numbanet.nn.functional as F
from numbanet import autograd
from tests.checks import assert_close, check_op, torch

rng = np.random.default_rng(17)


def draw(*shape: int) -> np.ndarray:
    return np.asarray(rng.standard_normal(shape) * 2, np.float32)


def both(name, tensors, **options):
    """The loss in both libraries with fixed arguments: (input) -> loss."""

    def of(library):
        function = getattr(F if library is numbanet else library.nn.functional, name)

        def run(x):
            made = {k: library.from_numpy(np.asarray(v)) for k, v in tensors.items()}
            if "weight" in made:
                made["weight"] = made["weight"].to(x.dtype)
            if name == "cross_entropy" and tensors["target"].dtype.kind == "f":
                made["target"] = made["target"].to(x.dtype)
            return function(x, **made, **options)

        return run

    return of(numbanet), None if torch is None else of(torch)


SHAPES = [((5,), ()), ((6, 5), (6,)), ((2, 5, 3), (2, 3)), ((2, 5, 3, 2), (2, 3, 2))]


@pytest.mark.parametrize("shape, targets", SHAPES)
@pytest.mark.parametrize("weighted, ignoring", list(itertools.product([False, True], repeat=2)))
def test_cross_entropy_of_classes(shape, targets, weighted, ignoring):
    target = rng.integers(0, 5, targets)
    for reduction, smoothing in itertools.product(["mean", "sum", "none"], [0.0, 0.2]):
        tensors = {"target": target} | ({"weight": np.abs(draw(5)) + 0.1} if weighted else {})
        options = {"reduction": reduction, "label_smoothing": smoothing, "ignore_index": 2 if ignoring else -100}
        if ignoring and targets:
            target.flat[0], target.flat[1] = 2, 3
        elif ignoring:
            target = np.asarray(3)
            tensors["target"] = target
        check_op(*both("cross_entropy", tensors, **options), [draw(*shape)])


@pytest.mark.parametrize("shape", [s for s, _ in SHAPES])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_of_probabilities(shape, weighted):
    p = rng.random(shape).astype(np.float32)
    for reduction, smoothing in itertools.product(["mean", "sum", "none"], [0.0, 0.2]):
        tensors = {"target": p} | ({"weight": np.abs(draw(5)) + 0.1} if weighted else {})
        check_op(
            *both("cross_entropy", tensors, reduction=reduction, label_smoothing=smoothing), [draw(*shape)], atol=1e-4
        )


@pytest.mark.parametrize("shape, targets", SHAPES)
@pytest.mark.parametrize("weighted", [False, True])
def test_nll_loss(shape, targets, weighted):
    for reduction in ("mean", "sum", "none"):
        tensors = {"target": np.asarray(rng.integers(0, 5, targets))} | (
            {"weight": np.abs(draw(5)) + 0.1} if weighted else {}
        )
        check_op(*both("nll_loss", tensors, reduction=reduction), [draw(*shape)])


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_regression_losses(name, reduction):
    theirs = None if torch is None else lambda x, y: getattr(torch.nn.functional, name)(x, y, reduction=reduction)
    check_op(lambda x, y: getattr(F, name)(x, y, reduction=reduction), theirs, [draw(3, 4), draw(3, 4)])
    weight = np.abs(draw(3, 4))
    expected = weight * (np.abs if name == "l1_loss" else np.square)(np.float32(3))
    loss = getattr(F, name)(
        numbanet.full((3, 4), 3.0), numbanet.zeros(3, 4), reduction=reduction, weight=numbanet.from_numpy(weight)
    )
    assert_close(
        loss, {"mean": expected.sum() / weight.sum(), "sum": expected.sum(), "none": expected}[reduction], rtol=1e-4
    )


def test_cross_entropy_of_large_logits_does_not_overflow():
    x = numbanet.tensor([[1000.0, -1000.0], [0.0, 88.0]], requires_grad=True)
    loss = F.cross_entropy(x, numbanet.tensor([1, 1]), reduction="none")
    assert_close(loss.detach(), np.array([2000, 0], np.float32))
    loss.sum().backward()
    assert_close(x.grad, np.array([[1, -1], [0, 0]], np.float32))


def test_cross_entropy_with_everything_ignored_is_nan_on_average():
    x = numbanet.from_numpy(draw(3, 4)).requires_grad_()
    target = numbanet.tensor([-100, -100, -100])
    assert math.isnan(F.cross_entropy(x, target).item())
    loss = F.cross_entropy(x, target, reduction="sum")
    assert loss.item() == 0
    loss.backward()
    assert (x.grad.numpy() == 0).all()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_can_be_differentiated_twice(reduction):
    x = numbanet.tensor(rng.standard_normal((4, 3)), requires_grad=True)
    target = numbanet.tensor([0, 2, -100, 1])
    dy = numbanet.tensor(rng.standard_normal(4 if reduction == "none" else ()), requires_grad=True)
    assert autograd.gradcheck(
        lambda x, dy: autograd.grad(F.cross_entropy(x, target, reduction=reduction), x, dy, create_graph=True), (x, dy)
    )


def test_the_old_reduction_flags():
    x, target = numbanet.from_numpy(draw(3, 4)), numbanet.tensor([0, 1, 2])
    assert tuple(F.cross_entropy(x, target, reduce=False).shape) == (3,)
    assert_close(F.cross_entropy(x, target, size_average=False), F.cross_entropy(x, target, reduction="sum"))


def test_differing_shapes_are_broadcast_with_a_warning():
    with pytest.warns(UserWarning, match=r"mse_loss: input \(3, 1\) and target \(3,\) differ in shape"):
        assert F.mse_loss(numbanet.zeros(3, 1), numbanet.ones(3)).item() == 1


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda F, n: F.cross_entropy(n.zeros(2, 3), n.tensor([0, 3])), IndexError, "cross_entropy: target 3 is out of bounds for C=3 classes (input (2, 3))"),
        (lambda F, n: F.cross_entropy(n.zeros(2, 3), n.tensor([0, -1])), IndexError, "cross_entropy: target -1 is out of bounds for C=3"),
        (lambda F, n: F.cross_entropy(n.zeros(2, 3), n.tensor([0, 1, 2])), ValueError, "cross_entropy: input has N=2 samples but target has 3 (input (2, 3), target (3,))"),
        (lambda F, n: F.cross_entropy(n.zeros(2, 3), n.tensor([0.0, 1.0])), RuntimeError, "a floating target holds probabilities and needs input's shape (2, 3), got (2,)"),
        (lambda F, n: F.cross_entropy(n.zeros(2, 3, 4), n.zeros(2, 5).long()), RuntimeError, "cross_entropy: expected target of shape (2, 4) for input (2, 3, 4), got (2, 5)"),
        (lambda F, n: F.cross_entropy(n.zeros(2, 3), n.tensor([0, 1]), n.ones(4)), RuntimeError, "cross_entropy: expected weight of shape (3,)"),
        (lambda F, n: F.cross_entropy(n.zeros(2, 3), n.tensor([0, 1]), label_smoothing=1.5), RuntimeError, "cross_entropy: label_smoothing must be between 0 and 1, got 1.5"),
        (lambda F, n: F.cross_entropy(n.zeros(2, 3), n.tensor([0, 1]), reduction="average"), ValueError, "cross_entropy: reduction must be 'mean', 'sum' or 'none', got 'average'"),
        (lambda F, n: F.cross_entropy(n.zeros(2, 3), [0, 1]), TypeError, "cross_entropy: argument 'target' must be a Tensor, not list"),
        (lambda F, n: F.nll_loss(n.zeros(2, 3), n.tensor([0, 7])), IndexError, "nll_loss: target 7 is out of bounds for C=3 classes"),
    ],
)  # fmt: skip
def test_losses_name_what_does_not_fit(call, error, message):
    with pytest.raises(error) as caught:
        call(F, numbanet)
    assert message in str(caught.value)
    if torch is not None:
        with pytest.raises(error):
            call(torch.nn.functional, torch)


def test_mse_loss_refuses_other_types():
    with pytest.raises(TypeError, match="mse_loss: argument 'target' must be a Tensor, not float"):
        F.mse_loss(numbanet.zeros(2), 1.0)
