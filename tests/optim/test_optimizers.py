"""Optimisers against NumPy written out, against PyTorch, and their states and errors."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pytest

import numbanet
from numbanet import optim
from numbanet.devices import cuda_is_available
from numbanet.tensor import Tensor, from_numpy

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)] if cuda_is_available() else ["cpu"]
SHAPES = [(3, 4), (7,), (), (2, 3, 2, 2)]

SGD_OPTIONS = [
    {},
    {"weight_decay": 0.1},
    {"momentum": 0.9},
    {"momentum": 0.9, "dampening": 0.5, "weight_decay": 0.01},
    {"momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
    {"momentum": 0.8, "maximize": True, "weight_decay": 0.1},
]
ADAM_OPTIONS = [
    {},
    {"betas": (0.7, 0.9), "eps": 1e-3},
    {"weight_decay": 0.1},
    {"amsgrad": True},
    {"amsgrad": True, "weight_decay": 0.05, "maximize": True},
]
CASES = [(optim.SGD, "SGD", o) for o in SGD_OPTIONS] + [
    (cls, cls.__name__, o) for cls in (optim.Adam, optim.AdamW) for o in ADAM_OPTIONS
]


def parameters(rng: np.random.Generator, dtype: type = np.float64, device: str = "cpu") -> list[Tensor]:
    values = [np.asarray(rng.standard_normal(shape), dtype) for shape in SHAPES]
    return [from_numpy(v).to(device).detach().requires_grad_() for v in values]


def set_gradients(params: list[Tensor], rng: np.random.Generator) -> list[np.ndarray]:
    gradients = [np.asarray(rng.standard_normal(tuple(p.shape)), p.dtype) for p in params]
    for p, g in zip(params, gradients, strict=True):
        p.grad = from_numpy(g.copy()).to(p.device)
    return gradients


def host(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def written_out(kind: str, values: np.ndarray, gradients: list[np.ndarray], lr: float, options: dict) -> np.ndarray:
    """The parameter after all steps, by the formulas of the papers."""
    o = {
        "momentum": 0.0,
        "dampening": 0.0,
        "nesterov": False,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "amsgrad": False,
    } | options
    decay = options.get("weight_decay", 0.01 if kind == "AdamW" else 0.0)
    p, v, m, s, top = values.copy(), None, 0.0, 0.0, 0.0
    for t, g in enumerate(gradients, 1):
        if options.get("maximize"):
            g = -g
        if kind == "AdamW":
            p = p * (1 - lr * decay)
        else:
            g = g + decay * p
        if kind == "SGD":
            if o["momentum"]:
                v = g if v is None else o["momentum"] * v + (1 - o["dampening"]) * g
                g = g + o["momentum"] * v if o["nesterov"] else v
            p = p - lr * g
            continue
        b1, b2 = o["betas"]
        m, s = b1 * m + (1 - b1) * g, b2 * s + (1 - b2) * g * g
        top = np.maximum(top, s) if o["amsgrad"] else s
        p = p - lr * (m / (1 - b1**t)) / (np.sqrt(top / (1 - b2**t)) + o["eps"])
    return p


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("cls", "name", "options"), CASES)
def test_four_steps_equal_the_formulas(cls, name, options, device):
    rng = np.random.default_rng(0)
    params = parameters(rng, device=device)
    start = [host(p).copy() for p in params]
    optimizer = cls(params, lr=0.05, **options)
    gradients = []
    for _ in range(4):
        gradients.append(set_gradients(params, rng))
        optimizer.step()
    for i, p in enumerate(params):
        expected = written_out(name, start[i], [g[i] for g in gradients], 0.05, options)
        np.testing.assert_allclose(host(p), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.torch
@pytest.mark.parametrize(("cls", "name", "options"), CASES)
def test_steps_and_states_equal_pytorch_and_states_load_across(cls, name, options):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    params = parameters(rng, np.float32)
    theirs = [torch.nn.Parameter(torch.tensor(host(p).copy())) for p in params]
    ours, other = cls(params, lr=0.05, **options), getattr(torch.optim, name)(theirs, lr=0.05, **options)

    def step():
        for g, t in zip(set_gradients(params, rng), theirs, strict=True):
            t.grad = torch.tensor(g)
        ours.step()
        other.step()

    for _ in range(3):
        step()
    state = other.state_dict()
    arrays = {
        n: {k: v.numpy().copy() if v is not None else None for k, v in s.items()} for n, s in state["state"].items()
    }
    arrays = {n: {k: v if k == "step" or v is None else from_numpy(v) for k, v in s.items()} for n, s in arrays.items()}
    ours = cls(params, lr=1.0)
    ours.load_state_dict({"state": arrays, "param_groups": state["param_groups"]})
    assert ours.param_groups[0]["lr"] == 0.05
    step()
    for p, t in zip(params, theirs, strict=True):
        np.testing.assert_allclose(host(p), t.detach().numpy(), rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parameters_of_odd_layout_are_changed_in_place(dtype):
    rng = np.random.default_rng(2)
    base = rng.standard_normal((4, 6)).astype(dtype)
    views = [base.copy().T, base.copy()[:, ::-2], np.asfortranarray(base)]
    for view in views:
        parameter = from_numpy(view).requires_grad_()
        gradient = rng.standard_normal((*view.shape, 2)).astype(dtype)[..., 0]
        parameter.grad = from_numpy(gradient)
        before = view.copy()
        optim.SGD([parameter], lr=0.5).step()
        np.testing.assert_allclose(view, before - dtype(0.5) * gradient, rtol=1e-6)
        assert np.shares_memory(view, parameter.detach().numpy())


def test_step_skips_parameters_without_gradient_and_empty_ones():
    a, b = numbanet.ones(3, requires_grad=True), numbanet.ones(3, requires_grad=True)
    empty = numbanet.ones(0, requires_grad=True)
    a.grad, empty.grad = numbanet.ones(3), numbanet.ones(0)
    optimizer = optim.SGD([a, b, empty], lr=0.5, momentum=0.9)
    optimizer.step()
    assert a.tolist() == [0.5] * 3
    assert b.tolist() == [1.0] * 3
    assert list(optimizer.state_dict()["state"]) == [0]


def test_step_changes_only_the_parameter():
    p = numbanet.ones(5, requires_grad=True)
    p.grad = numbanet.full((5,), 2.0)
    optim.SGD([p], lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True).step()
    assert p.grad.tolist() == [2.0] * 5


def test_backward_notices_that_a_step_changed_what_it_saved():
    w = numbanet.ones(3, requires_grad=True)
    y = (w * w).sum()
    w.grad = numbanet.ones(3)
    optim.SGD([w], lr=0.1).step()
    with pytest.raises(RuntimeError, match="modified by an in-place operation"):
        y.backward()


def test_closure_is_run_with_recording_and_its_loss_returned():
    w = numbanet.ones(3, requires_grad=True)
    optimizer = optim.SGD([w], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    with numbanet.no_grad():
        loss = optimizer.step(closure)
    assert loss.item() == 3.0
    np.testing.assert_allclose(w.tolist(), [0.8] * 3, rtol=1e-6)


def test_zero_grad_forgets_or_zeroes():
    w = numbanet.ones(3, requires_grad=True)
    optimizer = optim.SGD([w], lr=0.1)
    w.grad = gradient = numbanet.ones(3)
    optimizer.zero_grad(set_to_none=False)
    assert w.grad is gradient
    assert gradient.tolist() == [0.0] * 3
    optimizer.zero_grad()
    assert w.grad is None


def test_groups_have_options_of_their_own():
    a, b = numbanet.ones(2, requires_grad=True), numbanet.ones(2, requires_grad=True)
    optimizer = optim.SGD([{"params": [a]}, {"params": b, "lr": 0.5}], lr=0.1)
    c = numbanet.ones(2, requires_grad=True)
    optimizer.add_param_group({"params": [("name", c)], "lr": 1.0})
    for p in (a, b, c):
        p.grad = numbanet.ones(2)
    optimizer.step()
    np.testing.assert_allclose([p.tolist()[0] for p in (a, b, c)], [0.9, 0.5, 0.0], rtol=1e-6)
    state = optimizer.state_dict()
    assert [group["params"] for group in state["param_groups"]] == [[0], [1], [2]]
    assert state["param_groups"][2]["param_names"] == ["name"]


@pytest.mark.parametrize("cls", [optim.SGD, optim.Adam])
def test_state_goes_on_where_it_was(cls):
    options = {"momentum": 0.9} if cls is optim.SGD else {"amsgrad": True}
    rng = np.random.default_rng(3)
    params = parameters(rng)
    optimizer = cls(params, lr=0.1, **options)
    set_gradients(params, rng)
    optimizer.step()
    twins = [from_numpy(host(p).copy()).requires_grad_() for p in params]
    twin = cls(twins, lr=0.7, **options)
    saved = optimizer.state_dict()
    twin.load_state_dict(saved)
    for t, g in zip(twins, set_gradients(params, rng), strict=True):
        t.grad = from_numpy(g)
    optimizer.step()
    twin.step()
    for p, t in zip(params, twins, strict=True):
        assert np.array_equal(host(p), host(t))
    for number, values in twin.state_dict()["state"].items():
        for key, value in values.items():
            if isinstance(value, Tensor):
                assert not np.shares_memory(value.numpy(), optimizer.state_dict()["state"][number][key].numpy())


def test_states_that_do_not_fit_are_refused():
    a, b = numbanet.ones(2, requires_grad=True), numbanet.ones(3, requires_grad=True)
    optimizer = optim.SGD([a], lr=0.1, momentum=0.9)
    a.grad = numbanet.ones(2)
    optimizer.step()
    state = optimizer.state_dict()
    with pytest.raises(ValueError, match=r"different number of parameter groups: 1, expected 2"):
        optim.SGD([{"params": [a]}, {"params": [b]}]).load_state_dict(state)
    with pytest.raises(
        ValueError, match=r"doesn't match the size of optimizer's group: group 0 has 1 parameters, expected 2"
    ):
        optim.SGD([a, b]).load_state_dict(state)
    with pytest.raises(ValueError, match=r"momentum_buffer of parameter 0 has shape \(2,\), expected \(3,\)"):
        optim.SGD([b]).load_state_dict(state)
    with pytest.raises(ValueError, match="'state' and 'param_groups'"):
        optim.SGD([b]).load_state_dict({})


def test_arguments_that_make_no_sense_are_refused():
    w = numbanet.ones(2, requires_grad=True)
    refused = [
        (ValueError, "Invalid learning rate: -1", lambda: optim.SGD([w], lr=-1)),
        (ValueError, "Invalid learning rate: nan", lambda: optim.SGD([w], lr=float("nan"))),
        (ValueError, "Invalid momentum value: -0.1", lambda: optim.SGD([w], momentum=-0.1)),
        (ValueError, "Invalid weight_decay value: -0.1", lambda: optim.SGD([w], weight_decay=-0.1)),
        (ValueError, "Nesterov momentum requires a momentum and zero dampening", lambda: optim.SGD([w], nesterov=True)),
        (ValueError, "Invalid beta parameter at index 1: 1.0", lambda: optim.Adam([w], betas=(0.9, 1.0))),
        (ValueError, "Invalid beta parameter at index 0: -0.1", lambda: optim.Adam([w], betas=(-0.1, 0.9))),
        (ValueError, "Invalid epsilon value: -1", lambda: optim.Adam([w], eps=-1)),
        (ValueError, "optimizer got an empty parameter list", lambda: optim.SGD([])),
        (ValueError, "optimizer got an empty parameter list", lambda: optim.SGD(iter(()))),
        (TypeError, "got a single Tensor", lambda: optim.SGD(w)),
        (TypeError, "ordered iterable", lambda: optim.SGD({w})),
        (TypeError, "can only optimize Tensors, but one of the params is int", lambda: optim.SGD([w, 1])),
        (ValueError, "can't optimize a non-leaf Tensor", lambda: optim.SGD([w * 2])),
        (ValueError, "more than one parameter group", lambda: optim.SGD([{"params": [w]}, {"params": [w]}])),
        (ValueError, "SGD has no option 'mometum'", lambda: optim.SGD([{"params": [w], "mometum": 0.9}])),
        (ValueError, "needs the key 'params'", lambda: optim.SGD([{"lr": 0.1}])),
        (ValueError, "Invalid learning rate: -2", lambda: optim.SGD([{"params": [w], "lr": -2}])),
    ]
    for error, text, make in refused:
        with pytest.raises(error, match=text):
            make()


def test_forgotten_parentheses_are_explained():
    class Net:
        def parameters(self):
            return iter([numbanet.ones(2, requires_grad=True)])

    with pytest.raises(TypeError, match=r"write SGD\(net.parameters\(\), ...\) with the parentheses"):
        optim.SGD(Net().parameters, lr=0.1)
    with pytest.raises(TypeError, match=r"params is a Net; write SGD\(net.parameters\(\), ...\)"):
        optim.SGD(Net(), lr=0.1)


def test_twice_in_one_group_warns():
    w = numbanet.ones(2, requires_grad=True)
    with pytest.warns(UserWarning, match="stands twice in one group"):
        optim.SGD([w, w])


def test_gradient_of_another_shape_is_refused():
    w = numbanet.ones(2, 3, requires_grad=True)
    w.grad = numbanet.ones(3, 2)
    with pytest.raises(RuntimeError, match=r"shape \(2, 3\) has a gradient of shape \(3, 2\)"):
        optim.SGD([w]).step()


def test_hooks_and_repr():
    w = numbanet.ones(2, requires_grad=True)
    w.grad = numbanet.ones(2)
    optimizer = optim.SGD([w], lr=0.1)
    calls = []
    before = optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    optimizer.step()
    before.remove()
    optimizer.step()
    assert calls == ["before", "after", "after"]
    assert repr(optimizer).splitlines()[:2] == ["SGD (", "Parameter Group 0"]
    assert "    lr: 0.1" in repr(optimizer)


def test_own_optimizer_by_update():
    class SignSGD(optim.Optimizer):
        def update(self, parameter, values, gradient, state, options):
            values -= options["lr"] * np.sign(gradient)

    w = numbanet.ones(2, 2, requires_grad=True)
    w.grad = numbanet.tensor([[3.0, -2.0], [0.0, 1.0]])
    SignSGD([w], {"lr": 0.5}).step()
    assert w.tolist() == [[0.5, 1.5], [1.0, 0.5]]


def test_a_step_over_ten_small_tensors_costs_little():
    """Generous: it catches a lost fast path (milliseconds), not noise."""
    params = [numbanet.ones(*shape, requires_grad=True) for shape in [(6, 1, 5, 5), (6,), (16, 6, 5, 5), (16,)] * 2]
    for p in params:
        p.grad = numbanet.ones(*p.shape)
    optimizer = optim.SGD(params, lr=0.1)
    optimizer.step()
    best = float("inf")
    for _ in range(50):
        start = time.perf_counter()
        optimizer.step()
        best = min(best, time.perf_counter() - start)
    assert best < 1e-3


# ------------------------------------------------------------------------------------------------------- schedules

SCHEDULES = [
    ("StepLR", {"step_size": 3, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [2, 5, 5], "gamma": 0.1}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("CosineAnnealingLR", {"T_max": 4, "eta_min": 0.01}),
    ("LambdaLR", {"lr_lambda": lambda epoch: 0.95**epoch}),
    ("LinearLR", {"start_factor": 0.25, "total_iters": 5}),
    ("LinearLR", {"start_factor": 1.0, "end_factor": 0.1, "total_iters": 3}),
]


def rates(schedule, optimizer, epochs):
    found = [[group["lr"] for group in optimizer.param_groups]]
    for _ in range(epochs):
        optimizer.step()
        schedule.step()
        assert schedule.get_last_lr() == [group["lr"] for group in optimizer.param_groups]
        found.append(schedule.get_last_lr())
    return np.array(found)


def two_groups(module=optim, ones=numbanet.ones):
    return module.SGD(
        [{"params": [ones(2, requires_grad=True)]}, {"params": [ones(2, requires_grad=True)], "lr": 0.2}], lr=0.5
    )


@pytest.mark.torch
@pytest.mark.parametrize(("name", "options"), SCHEDULES)
def test_schedules_equal_pytorch(name, options):
    torch = pytest.importorskip("torch")
    ours, theirs = two_groups(), two_groups(torch.optim, torch.ones)
    mine = getattr(optim.lr_scheduler, name)(ours, **options)
    other = getattr(torch.optim.lr_scheduler, name)(theirs, **options)
    np.testing.assert_allclose(rates(mine, ours, 11), rates(other, theirs, 11), rtol=1e-12, atol=1e-15)


def test_schedules_written_out():
    epochs = np.arange(9)

    def run(name, **options):
        optimizer = optim.SGD([numbanet.ones(2, requires_grad=True)], lr=0.8)
        return rates(getattr(optim.lr_scheduler, name)(optimizer, **options), optimizer, 8)[:, 0]

    np.testing.assert_allclose(run("StepLR", step_size=3), 0.8 * 0.1 ** (epochs // 3))
    np.testing.assert_allclose(run("ExponentialLR", gamma=0.5), 0.8 * 0.5**epochs)
    np.testing.assert_allclose(run("MultiStepLR", milestones=[1, 4]), 0.8 * 0.1 ** ((epochs >= 1) + 0 + (epochs >= 4)))
    np.testing.assert_allclose(run("CosineAnnealingLR", T_max=8), 0.4 * (1 + np.cos(np.pi * epochs / 8)), atol=1e-12)
    np.testing.assert_allclose(run("LinearLR", start_factor=0.5, total_iters=4), 0.8 * np.minimum(1, 0.5 + epochs / 8))


@pytest.mark.parametrize(("name", "options"), SCHEDULES)
def test_schedule_goes_on_where_it_was(name, options):
    whole = two_groups()
    expected = rates(getattr(optim.lr_scheduler, name)(whole, **options), whole, 8)
    first = two_groups()
    schedule = getattr(optim.lr_scheduler, name)(first, **options)
    rates(schedule, first, 5)
    second = two_groups()
    again = getattr(optim.lr_scheduler, name)(second, **options)
    second.load_state_dict(first.state_dict())
    again.load_state_dict(schedule.state_dict())
    np.testing.assert_allclose(rates(again, second, 3), expected[5:], rtol=1e-12)


def test_schedules_can_be_chained():
    optimizer = optim.SGD([numbanet.ones(2, requires_grad=True)], lr=1.0)
    schedules = [
        optim.lr_scheduler.ExponentialLR(optimizer, 0.5),
        optim.lr_scheduler.StepLR(optimizer, 2),
        optim.lr_scheduler.CosineAnnealingLR(optimizer, 100),
    ]
    optimizer.step()
    for _ in range(2):
        for schedule in schedules:
            schedule.step()
    np.testing.assert_allclose(optimizer.param_groups[0]["lr"], 0.025 * (1 + np.cos(np.pi / 50)) / 2)


def test_schedule_before_the_first_step_warns_once():
    optimizer = optim.SGD([numbanet.ones(2, requires_grad=True)], lr=1.0)
    schedule = optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    with pytest.warns(UserWarning, match="before the first optimizer.step"):
        schedule.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schedule.step()


def test_schedules_refuse_nonsense():
    optimizer = optim.SGD([numbanet.ones(2, requires_grad=True)], lr=1.0)
    s = optim.lr_scheduler
    for error, make in [
        (TypeError, lambda: s.StepLR("optimizer", 1)),
        (ValueError, lambda: s.StepLR(optimizer, 0)),
        (ValueError, lambda: s.LinearLR(optimizer, start_factor=0)),
        (ValueError, lambda: s.LinearLR(optimizer, end_factor=2)),
        (ValueError, lambda: s.CosineAnnealingLR(optimizer, 0)),
        (ValueError, lambda: s.LambdaLR(optimizer, [lambda e: 1.0] * 2)),
    ]:
        with pytest.raises(error):
            make()
