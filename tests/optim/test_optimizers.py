"""Optimisers against NumPy written out, penalties, memory, states and errors."""

from __future__ import annotations

import copy
import gc
import time
import weakref

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
    with pytest.raises(KeyError, match="'state' and 'param_groups'"):
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
        (KeyError, "needs the key 'params'", lambda: optim.SGD([{"lr": 0.1}])),
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


ELEMENTWISE = ["SGD", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "Adagrad", "Adadelta", "RMSprop", "ASGD"]


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_l1_and_elastic_net_are_parts_of_the_gradient(name):
    """A step with the penalties equals one whose gradient had theirs added by hand."""
    rng = np.random.default_rng(4)
    values, gradient = rng.standard_normal((2, 3, 5))
    values[1, 2] = 0.0  # where the penalty has no slope
    decoupled = name == "AdamW"
    for l1, l2 in ((0.3, 0.0), (0.3, 0.2)):
        p, q = from_numpy(values.copy()).requires_grad_(), from_numpy(values.copy()).requires_grad_()
        p.grad = from_numpy(gradient.copy())
        q.grad = from_numpy(gradient + l1 * np.sign(values) + (0 if decoupled else l2 * values))
        make = getattr(optim, name)
        make([p], lr=0.1, weight_decay=l2, l1_decay=l1).step()
        make([q], lr=0.1, weight_decay=l2 if decoupled else 0).step()
        np.testing.assert_allclose(p.tolist(), q.tolist(), rtol=1e-12)


def test_l1_decay_of_a_group_and_in_states():
    a, b = numbanet.ones(2, requires_grad=True), -numbanet.ones(2)
    b.requires_grad_()
    optimizer = optim.SGD([{"params": [a]}, {"params": [b], "l1_decay": 0.5}], lr=1.0)
    a.grad, b.grad = numbanet.zeros(2), numbanet.zeros(2)
    optimizer.step()
    assert (a.tolist(), b.tolist()) == ([1.0, 1.0], [-0.5, -0.5])
    groups = optimizer.state_dict()["param_groups"]
    assert "l1_decay" not in groups[0]
    assert groups[1]["l1_decay"] == 0.5
    other = optim.SGD([{"params": [a], "l1_decay": 0.25}, {"params": [b]}], lr=1.0)
    other.load_state_dict(optimizer.state_dict())
    assert [group["l1_decay"] for group in other.param_groups] == [0, 0.5]


def test_l1_decay_makes_weights_small_and_zero_stays_zero():
    p = numbanet.tensor([0.05, -1.0, 0.0], requires_grad=True)
    optimizer = optim.SGD([p], lr=0.1, l1_decay=1.0)
    for _ in range(20):
        p.grad = numbanet.zeros(3)
        optimizer.step()
    np.testing.assert_array_less(abs(p.detach().numpy()), 0.1)
    assert p.tolist()[2] == 0


def test_penalties_as_a_loss():
    rng = np.random.default_rng(5)
    values = [rng.standard_normal(shape).astype(np.float32) for shape in SHAPES[:2]]
    params = [from_numpy(v.copy()).requires_grad_() for v in values]
    loss = optim.elastic_net_penalty(params, 0.3, 0.2)
    loss.backward()
    expected = sum(0.3 * abs(v).sum() + 0.1 * (v * v).sum() for v in values)
    np.testing.assert_allclose(loss.item(), expected, rtol=1e-6)
    for p, v in zip(params, values, strict=True):
        np.testing.assert_allclose(p.grad.numpy(), 0.3 * np.sign(v) + 0.2 * v, rtol=1e-6)
    np.testing.assert_allclose(optim.l1_penalty(params[0], 2.0).item(), 2 * abs(values[0]).sum(), rtol=1e-6)
    with pytest.raises(ValueError, match="l1 must not be negative, got -1"):
        optim.l1_penalty(params, -1)


def test_new_gradients_values_and_states_are_found():
    """The table of addresses follows arrays that others take the place of."""
    p = numbanet.ones(3, requires_grad=True)
    optimizer = optim.SGD([p], lr=1.0, momentum=0.5)
    for gradient in (1.0, 2.0):
        p.grad = numbanet.full((3,), gradient)
        optimizer.step()  # v = 1, then 2.5
    assert p.tolist() == [-2.5] * 3
    p.data = numbanet.zeros(3)
    p.grad.fill_(0.0)
    optimizer.step()
    assert p.tolist() == [-1.25] * 3
    optimizer.state[p]["momentum_buffer"] = numbanet.full((3,), 4.0)
    optimizer.step()
    assert p.tolist() == [-3.25] * 3
    optimizer.state[p]["momentum_buffer"] = numbanet.ones(2)
    with pytest.raises(
        RuntimeError, match=r"a state of shape \(2,\) and dtype float32 does not fit its parameter of shape \(3,\)"
    ):
        optimizer.step()


def test_parameters_that_come_and_go():
    a, b = numbanet.ones(3, requires_grad=True), numbanet.ones(4, requires_grad=True)
    optimizer = optim.Adam([a, b], lr=0.1)
    for on_a, on_b in ((True, False), (True, True), (False, True), (True, True)):
        a.grad = numbanet.ones(3) if on_a else None
        b.grad = numbanet.ones(4) if on_b else None
        optimizer.step()
    # With a constant gradient each step is lr.
    np.testing.assert_allclose(a.tolist(), [0.7] * 3, rtol=1e-6)
    np.testing.assert_allclose(b.tolist(), [0.7] * 4, rtol=1e-6)
    assert [optimizer.state[p]["step"] for p in (a, b)] == [3, 3]


def test_gradients_are_not_kept_alive():
    p = numbanet.zeros(70000, requires_grad=True)
    optimizer = optim.SGD([p], lr=0.1)
    p.grad = numbanet.ones(70000)
    watched = weakref.ref(p.grad._array)
    optimizer.step()
    optimizer.zero_grad()
    gc.collect()
    assert watched() is None


def test_a_copy_of_an_optimizer_changes_its_own_parameters():
    p = numbanet.ones(3, requires_grad=True)
    optimizer = optim.SGD([p], lr=1.0, momentum=0.5)
    p.grad = numbanet.ones(3)
    optimizer.step()
    twin = copy.deepcopy(optimizer)
    (other,) = twin.param_groups[0]["params"]
    other.grad = numbanet.ones(3)
    twin.step()
    assert p.tolist() == [0.0] * 3
    assert other.tolist() == [-1.5] * 3


def test_one_group_of_two_dtypes():
    a = numbanet.ones(3, requires_grad=True)
    b = numbanet.ones(5, dtype=numbanet.float64, requires_grad=True)
    c = numbanet.ones(2, requires_grad=True)
    optimizer = optim.Adam([a, b, c], lr=0.1)
    for _ in range(2):
        for p in (a, b, c):
            p.grad = numbanet.ones(*p.shape, dtype=p.dtype)
        optimizer.step()
    for p in (a, b, c):
        np.testing.assert_allclose(p.tolist(), [0.8] * len(p), rtol=1e-6)


def test_gradients_that_do_not_fit_are_refused():
    p = numbanet.ones(3, requires_grad=True)
    p._grad = p.grad = None
    optimizer = optim.SGD([p], lr=0.1)

    class Other:
        _array = np.ones(3)
        device = "cpu"

    p.__dict__["grad"] = Other()
    with pytest.raises(RuntimeError, match="dtype float32 on cpu has a gradient of dtype float64 on cpu"):
        optimizer.step()


def test_a_parameter_that_stands_twice_is_changed_twice():
    w = numbanet.ones(40000, requires_grad=True)
    with pytest.warns(UserWarning, match="stands twice in one group"):
        optimizer = optim.SGD([w, w], lr=0.5, momentum=1.0)
    w.grad = numbanet.ones(40000)
    optimizer.step()  # v = 1, then v = 2
    assert np.unique(w.detach().numpy()).tolist() == [-0.5]


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
