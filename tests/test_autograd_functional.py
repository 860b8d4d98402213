"""Jacobians, Hessians and their products against PyTorch's; a gradient penalty; strict mode."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

import numbanet
from numbanet import autograd
from numbanet.autograd import functional as ours
from tests.checks import assert_close

torch = pytest.importorskip("torch")
rng = np.random.default_rng(6)

A, B = rng.standard_normal((2, 3)), rng.standard_normal((3,))

# name: (function, inputs): tensors in, a tensor or a tuple out.
FUNCTIONS: dict[str, tuple[Any, Any]] = {
    "one to one": (lambda x: x.exp() * x, A),
    "two to one": (lambda x, y: (x * y).tanh().sum(1), (A, B)),
    "one to two": (lambda x: (x.sin(), (x * x).sum()), A),
    "two to two": (lambda x, y: (x * y * y, y.exp()), (A, B)),
    "a tuple of one": (lambda x: (x**3,), (B,)),
    "an unused input": (lambda x, y: x**2, (A, B)),
    "linear": (lambda x, y: 2 * x + 3 * y, (A, B)),
    "to a number": (lambda x: (x**3).sum(), A),
}
# Functions of one element, for Hessians.
SCALARS: dict[str, tuple[Any, Any]] = {
    "cubic": (lambda x: (x**3).sum(), A),
    "two inputs": (lambda x, y: (x * x * y).sum() + y.exp().prod(), (A, B)),
    "an unused input": (lambda x, y: (x**3).sum(), (A, B)),
    "no second derivative": (lambda x: (2 * x).sum(), B),
    "one element": (lambda x: x.sin().reshape(1, 1), np.array([0.3])),
}


def tensors(library: Any, arrays: Any, requires_grad: bool = False) -> Any:
    make = lambda array: library.tensor(array, requires_grad=requires_grad)  # noqa: E731
    return tuple([make(a) for a in arrays]) if isinstance(arrays, tuple) else make(arrays)


def flat(result: Any) -> list[Any]:
    return [leaf for part in result for leaf in flat(part)] if isinstance(result, tuple) else [result]


def nested(result: Any) -> Any:
    return tuple(nested(part) for part in result) if isinstance(result, tuple) else None


def compare(result: Any, expected: Any) -> None:
    assert nested(result) == nested(expected), "tensors and tuples are nested otherwise"
    for a, b in zip(flat(result), flat(expected), strict=True):
        assert a.requires_grad == b.requires_grad
        assert_close(a.detach(), b.detach(), 1e-10, 1e-12)


def both(name: str, function: Any, arrays: Any, *vectors: Any, **options: Any) -> None:
    results = []
    for library, module in ((numbanet, ours), (torch, torch.autograd.functional)):
        given = tensors(library, arrays, options.get("create_graph", False))
        v = [tensors(library, vector) for vector in vectors]
        results.append(getattr(module, name)(function, given, *v, **options))
    compare(*results)


def like(value: Any) -> Any:
    """Random vectors of the shapes of tensors."""
    return tuple(like(v) for v in value) if isinstance(value, tuple) else rng.standard_normal(tuple(value.shape))


@pytest.mark.parametrize("name, create_graph", list(product(FUNCTIONS, (False, True))))
def test_first_derivatives(name, create_graph):
    function, inputs = FUNCTIONS[name]
    both("jacobian", function, inputs, create_graph=create_graph)
    output = function(*flat(tensors(torch, inputs)))
    both("vjp", function, inputs, like(output), create_graph=create_graph)
    both("jvp", function, inputs, like(inputs), create_graph=create_graph)


@pytest.mark.parametrize("name, create_graph", list(product(SCALARS, (False, True))))
def test_second_derivatives(name, create_graph):
    function, inputs = SCALARS[name]
    both("hessian", function, inputs, create_graph=create_graph)
    both("vhp", function, inputs, like(inputs), create_graph=create_graph)
    both("hvp", function, inputs, like(inputs), create_graph=create_graph)


def test_v_may_be_left_out_for_one_element():
    both("vjp", lambda x: (x**2).sum(), A)
    one = np.array([1.5])
    both("jvp", lambda x: x**2, one)
    both("vhp", lambda x: (x**3).sum(), one)
    both("hvp", lambda x: (x**3).sum(), one)


def test_results_with_create_graph_can_be_differentiated():
    grads = []
    for library, module in ((numbanet, ours), (torch, torch.autograd.functional)):
        x = library.tensor(A, requires_grad=True)
        total = module.jacobian(lambda x: x.exp() * x.sum(), x, create_graph=True).pow(2).sum()
        total = total + module.hessian(lambda x: (x**4).sum(), x, create_graph=True).sum()
        total.backward()
        grads.append(x.grad.numpy())
    assert_close(*grads, 1e-10, 1e-10)


def test_the_inputs_are_left_alone():
    x = numbanet.tensor(A, requires_grad=True)
    ours.jacobian(lambda x: x * 2, x)
    ours.hvp(lambda x: (x**3).sum(), x, numbanet.tensor(A))
    assert x.grad is None and x.is_leaf
    with numbanet.no_grad():
        assert not ours.vjp(lambda x: x.sum(), x)[1].requires_grad


STRICT = [
    ("jacobian", lambda x, y: x**2, "independent of input 1"),
    ("vjp", lambda x, y: (x**2).sum(), "independent of input 1"),
    ("jvp", lambda x, y: x**2, "independent of input 1"),
    ("vjp", lambda x, y: x.detach().sum(), "output 0 of the function does not require grad"),
    ("hessian", lambda x, y: (x**2).sum(), "independent of"),
    ("vhp", lambda x, y: (2 * x + y.sum()).sum(), "jacobian of the function .* is independent"),
    ("hvp", lambda x, y: (2 * x + y.sum()).sum(), "jacobian of the function .* is independent"),
]


@pytest.mark.parametrize("name, function, message", STRICT)
def test_strict_mode_refuses_independence(name, function, message):
    v = [] if name in ("jacobian", "hessian") else [like(torch.ones(()))] if name == "vjp" else [(A, B)]
    for library, module in ((numbanet, ours), (torch, torch.autograd.functional)):
        given = tensors(library, (A, B)), *[tensors(library, vector) for vector in v]
        getattr(module, name)(function, *given)
        with pytest.raises(RuntimeError, match=message if library is numbanet else None):
            getattr(module, name)(function, *given, strict=True)


# ------------------------------------------------------------------------------------------------ gradient penalty


def critic(library: Any) -> Any:
    """A critic as in WGAN-GP, small; its activations are differentiable twice."""
    nn = library.nn
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1),
        nn.Tanh(),
        nn.Conv2d(4, 3, 3),
        nn.Sigmoid(),
        nn.Flatten(),
        nn.Linear(12, 1),
    )


def penalty(library: Any, model: Any, x: Any) -> Any:
    """(|dD/dx| - 1)^2 on average: I. Gulrajani et al., "Improved training of Wasserstein GANs" (2017), equation 3."""
    (gradient,) = library.autograd.grad(model(x).sum(), x, create_graph=True)
    return ((gradient.reshape(len(x), -1).pow(2).sum(1).sqrt() - 1) ** 2).mean()


def test_gradient_penalty():
    torch.manual_seed(0)
    theirs, mine = critic(torch).double(), critic(numbanet).double()
    mine.load_state_dict({k: numbanet.from_numpy(v.numpy().copy()) for k, v in theirs.state_dict().items()})
    array = rng.standard_normal((3, 2, 8, 8))
    losses, grads = [], []
    for library, model in ((numbanet, mine), (torch, theirs)):
        x = library.tensor(array, requires_grad=True)
        loss = penalty(library, model, x) + model(x).mean()
        loss.backward()
        losses.append(loss.item())
        grads.append([x.grad.numpy(), *[p.grad.numpy() for p in model.parameters()]])
    assert abs(losses[0] - losses[1]) < 1e-10
    for a, b in zip(*grads, strict=True):
        assert_close(a, b, 1e-8, 1e-10)


def test_gradient_penalty_by_finite_differences():
    model = critic(numbanet).double()
    x = numbanet.tensor(rng.standard_normal((1, 2, 8, 8)), requires_grad=True)
    assert autograd.gradcheck(lambda x: penalty(numbanet, model, x), (x,), atol=1e-6)
