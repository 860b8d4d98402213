"""L-BFGS beside PyTorch's: losses, points and numbers of evaluations, with and without the line search."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import numbanet
from numbanet import optim
from numbanet.tensor import from_numpy
from tests.checks import torch


def rosenbrock(library, tensors):
    (x, y) = tensors
    return ((1 - x) ** 2).sum() + 100 * ((y - x * x) ** 2).sum()


def quartic(library, tensors):
    (x, y) = tensors
    return ((x - 2) ** 4).sum() + ((x * y - 1) ** 2).sum() + 0.1 * (y * y).sum()


def run(library, tensors, function, steps, **options):
    optimizer = library.optim.LBFGS(tensors, **options)
    calls = []

    def closure():
        optimizer.zero_grad()
        loss = function(library, tensors)
        loss.backward()
        calls.append(loss.item())
        return loss

    losses = [optimizer.step(closure).item() for _ in range(steps)]
    return losses, calls, [t.detach().numpy().copy() for t in tensors], optimizer


def start(library):
    rng = np.random.default_rng(0)
    values = [rng.standard_normal(4) * 0.5, rng.standard_normal(4)]
    return [library.from_numpy(value.copy()).requires_grad_() for value in values]


@pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("function", [rosenbrock, quartic])
@pytest.mark.parametrize(
    ("line_search_fn", "history_size", "max_iter", "lr"),
    [
        *product(["strong_wolfe"], [2, 100], [1, 4, 20], [1, 0.1, 8.0]),
        *product([None], [2, 100], [4, 20], [0.01]),
    ],
)
def test_as_pytorch(function, line_search_fn, history_size, max_iter, lr):
    options = {"line_search_fn": line_search_fn, "history_size": history_size, "max_iter": max_iter, "lr": lr}
    steps = 2 if max_iter == 20 else 4  # the last bits of a sum grow with each iteration
    losses, calls, points, ours = run(numbanet, start(numbanet), function, steps, **options)
    other_losses, other_calls, other_points, theirs = run(torch, start(torch), function, steps, **options)
    assert len(calls) == len(other_calls)
    np.testing.assert_allclose(losses, other_losses, rtol=1e-5, atol=1e-9)
    for point, other in zip(points, other_points, strict=True):
        np.testing.assert_allclose(point, other, rtol=1e-5, atol=1e-6)
    mine, other = (next(iter(o.state_dict()["state"].values())) for o in (ours, theirs))
    assert [mine[key] for key in ("func_evals", "n_iter")] == [other[key] for key in ("func_evals", "n_iter")]


def test_it_finds_the_minimum():
    losses, _, points, _ = run(numbanet, start(numbanet), rosenbrock, 20, line_search_fn="strong_wolfe")
    assert losses[-1] < 1e-9
    for point in points:
        np.testing.assert_allclose(point, 1.0, rtol=1e-4)


def test_state_goes_on_where_it_was():
    options = {"max_iter": 3, "line_search_fn": "strong_wolfe"}
    _, _, expected, _ = run(numbanet, start(numbanet), rosenbrock, 6, **options)
    _, _, points, first = run(numbanet, start(numbanet), rosenbrock, 3, **options)
    tensors = [from_numpy(point).requires_grad_() for point in points]
    second = optim.LBFGS(tensors, **options)
    second.load_state_dict(first.state_dict())

    def closure():
        second.zero_grad()
        loss = rosenbrock(numbanet, tensors)
        loss.backward()
        return loss

    for _ in range(3):
        second.step(closure)
    for tensor, wanted in zip(tensors, expected, strict=True):
        np.testing.assert_array_equal(tensor.detach().numpy(), wanted)


def test_parameters_without_gradient_stay_and_closures_are_needed():
    used, unused = numbanet.ones(3, requires_grad=True), numbanet.ones(2, requires_grad=True)
    optimizer = optim.LBFGS([used, unused])

    def closure():
        optimizer.zero_grad()
        loss = (used * used).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert unused.tolist() == [1.0, 1.0]
    assert abs(used.detach().numpy()).max() < 1e-3
    with pytest.raises(TypeError, match="step needs a closure"):
        optimizer.step()
