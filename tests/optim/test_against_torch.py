"""Every optimiser with its options crossed, fifty steps beside PyTorch's, and states that are loaded across."""

from __future__ import annotations

import inspect
from itertools import product

import numpy as np
import pytest

from numbanet import optim
from numbanet.tensor import Tensor, from_numpy
from tests.checks import torch

pytestmark = pytest.mark.skipif(torch is None, reason="PyTorch is not installed")

SHAPES = [(3, 4), (7,), (), (2, 3, 2, 2)]


def crossed(name, **options):
    """All combinations of the listed values; None leaves the option at its default."""
    for values in product(*options.values()):
        yield name, {key: value for key, value in zip(options, values, strict=True) if value is not None}


DECAY, UP = (None, 0.1), (None, True)
CASES = [
    *crossed("SGD", momentum=(None, 0.8), dampening=(None, 0.3), weight_decay=DECAY, maximize=UP),
    *crossed("SGD", momentum=(0.9,), nesterov=(True,), weight_decay=DECAY, maximize=UP),
    *crossed("Adam", betas=(None, (0.7, 0.9)), eps=(None, 1e-3), weight_decay=DECAY, amsgrad=UP, maximize=UP),
    *crossed("Adam", decoupled_weight_decay=(True,), weight_decay=DECAY, amsgrad=UP),
    *crossed("AdamW", betas=(None, (0.7, 0.9)), weight_decay=(None, 0, 0.1), amsgrad=UP, maximize=UP),
    *crossed("Adamax", betas=(None, (0.7, 0.9)), eps=(None, 1e-2), weight_decay=DECAY, maximize=UP),
    *crossed(
        "NAdam", betas=(None, (0.7, 0.9)), momentum_decay=(None, 0.1), weight_decay=DECAY, decoupled_weight_decay=UP, maximize=UP
    ),
    *crossed("RAdam", betas=(None, (0.7, 0.9)), weight_decay=DECAY, decoupled_weight_decay=UP, maximize=UP),
    *crossed("Adagrad", lr_decay=(None, 0.1), initial_accumulator_value=(None, 0.5), weight_decay=DECAY, maximize=UP),
    *crossed("Adadelta", lr=(None, 0.5), rho=(None, 0.5), eps=(None, 1e-3), weight_decay=DECAY, maximize=UP),
    *crossed("RMSprop", alpha=(None, 0.8), momentum=(None, 0.7), centered=UP, weight_decay=DECAY, maximize=UP),
    *crossed("ASGD", lambd=(None, 0.1), alpha=(None, 0.5), t0=(None, 5), weight_decay=DECAY, maximize=UP),
    *crossed("Rprop", etas=(None, (0.3, 1.5)), step_sizes=(None, (1e-3, 0.2)), maximize=UP),
]  # fmt: skip
NAMES = sorted({name for name, _ in CASES} | {"LBFGS"})


def pairs(rng, dtype=np.float32):
    """The same parameters for both libraries."""
    values = [np.asarray(rng.standard_normal(shape), dtype) for shape in SHAPES]
    ours = [from_numpy(value.copy()).requires_grad_() for value in values]
    return ours, [torch.nn.Parameter(torch.from_numpy(value.copy())) for value in values]


def both_step(ours, theirs, params, others, rng):
    for p, q in zip(params, others, strict=True):
        gradient = np.asarray(rng.standard_normal(tuple(p.shape)), p.dtype)
        p.grad, q.grad = from_numpy(gradient.copy()), torch.from_numpy(gradient)
    ours.step()
    theirs.step()


def assert_equal(params, others, rtol=2e-4, atol=2e-5):
    for p, q in zip(params, others, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=rtol, atol=atol)


def as_ours(value):
    """A state of PyTorch's with its tensors converted."""
    if isinstance(value, dict):
        return {key: as_ours(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [as_ours(entry) for entry in value]
    return from_numpy(value.numpy().copy()) if isinstance(value, torch.Tensor) else value


def as_theirs(value):
    if isinstance(value, dict):
        return {key: as_theirs(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [as_theirs(entry) for entry in value]
    return torch.from_numpy(value.numpy().copy()) if isinstance(value, Tensor) else value


@pytest.mark.parametrize(("name", "options"), CASES, ids=lambda v: v if isinstance(v, str) else str(v)[1:-1])
def test_fifty_steps(name, options):
    rng = np.random.default_rng(1)
    params, others = pairs(rng)
    ours, theirs = getattr(optim, name)(params, **options), getattr(torch.optim, name)(others, **options)
    for step in range(50):
        both_step(ours, theirs, params, others, rng)
        if step in (0, 49):
            assert_equal(params, others)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("LBFGS", "ASGD", "NAdam")])
def test_ten_steps_in_double_precision(name):
    """Tighter; PyTorch keeps two numbers of ASGD's and NAdam's states in float32."""
    rng = np.random.default_rng(2)
    params, others = pairs(rng, np.float64)
    ours, theirs = getattr(optim, name)(params, lr=0.05), getattr(torch.optim, name)(others, lr=0.05)
    for _ in range(10):
        both_step(ours, theirs, params, others, rng)
    assert_equal(params, others, 1e-11, 1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_signatures(name):
    """PyTorch's, in its order, and after it only keywords of our own."""
    theirs = inspect.signature(getattr(torch.optim, name)).parameters.values()
    ours = list(inspect.signature(getattr(optim, name)).parameters.values())
    assert [(p.name, p.default, p.kind) for p in theirs] == [
        (p.name, p.default, p.kind) for p in ours if p.name != "l1_decay"
    ]
    assert all(p.kind is p.KEYWORD_ONLY and p.default == 0 for p in ours if p.name == "l1_decay")


LARGEST = {  # the variants with the most states
    "SGD": {"momentum": 0.9},
    "Adam": {"amsgrad": True},
    "AdamW": {"amsgrad": True},
    "RMSprop": {"momentum": 0.9, "centered": True},
    "ASGD": {"t0": 2},
    "LBFGS": {"max_iter": 3, "history_size": 4},
}


@pytest.mark.parametrize("name", NAMES)
def test_states_have_pytorchs_structure_and_load_across(name):
    rng = np.random.default_rng(3)
    options = LARGEST.get(name, {})
    params, others = pairs(rng)
    make, make_other = getattr(optim, name), getattr(torch.optim, name)
    ours, theirs = make(params, lr=0.05, **options), make_other(others, lr=0.05, **options)

    def step(ours, theirs):
        if name != "LBFGS":
            return both_step(ours, theirs, params, others, rng)

        def closure(optimizer, tensors):
            optimizer.zero_grad()
            loss = sum(((t - 1) ** 4).sum() + (t * t).sum() for t in tensors)
            loss.backward()
            return loss

        ours.step(lambda: closure(ours, params))
        theirs.step(lambda: closure(theirs, others))

    for _ in range(3):
        step(ours, theirs)
    state, other = ours.state_dict(), theirs.state_dict()
    assert set(state) == set(other)
    assert [set(group) for group in state["param_groups"]] == [set(group) for group in other["param_groups"]]
    assert list(state["state"]) == list(other["state"])
    for number, values in other["state"].items():
        wanted = {key for key in values if key != "al"}  # LBFGS's scratch
        assert set(state["state"][number]) == wanted
        for key in wanted:
            mine, value = state["state"][number][key], values[key]
            if isinstance(value, list):
                assert len(mine) == len(value)
            else:
                value = value.numpy() if isinstance(value, torch.Tensor) else value
                mine = mine.numpy() if isinstance(mine, Tensor) else mine
                np.testing.assert_allclose(mine, value, rtol=2e-4, atol=1e-5, err_msg=key)
    crossing, other_crossing = make(params, lr=1.0, **options), make_other(others, lr=1.0, **options)
    crossing.load_state_dict(as_ours(other))
    other_crossing.load_state_dict(as_theirs(state))
    assert crossing.param_groups[0]["lr"] == 0.05
    for _ in range(2):
        step(crossing, other_crossing)
    assert_equal(params, others)
