"""Checkpoints: the same values and gradients as without, less memory in between, and what is refused."""

from __future__ import annotations

import gc
import weakref
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import numbanet
from numbanet import autograd, nn
from numbanet.utils.checkpoint import CheckpointError, checkpoint, checkpoint_sequential
from tests.checks import assert_close

rng = np.random.default_rng(7)


def network() -> nn.Sequential:
    numbanet.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Dropout(0.3), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.Sigmoid()
    )  # fmt: skip


X = rng.standard_normal((5, 6)).astype(np.float32)

# name: how the network is run on x.
WAYS: dict[str, Any] = {
    "whole": lambda net, x: checkpoint(net, x),
    "reentrant": lambda net, x: checkpoint(net, x, use_reentrant=True),
    "not reentrant": lambda net, x: checkpoint(net, x, use_reentrant=False),
    "keywords": lambda net, x: checkpoint(lambda *, input: net(input), input=x),
    "two in a row": lambda net, x: checkpoint(net[3:], checkpoint(net[:3], x)),
    "nested": lambda net, x: checkpoint(lambda x: checkpoint(net[3:], checkpoint(net[:3], x)), x),
    "nested thrice": lambda net, x: checkpoint(
        lambda x: net[6](checkpoint(lambda x: net[5](checkpoint(net[:5], x)), x)), x
    ),
    "sequential": lambda net, x: checkpoint_sequential(net, 3, x),
    "sequential of functions": lambda net, x: checkpoint_sequential([net[:2], *net[2:]], 6, x, use_reentrant=False),
    "other arguments": lambda net, x: checkpoint(lambda n, flag, x, y: net(x) if flag else y, 3, True, x, None),
    "several outputs": lambda net, x: checkpoint(lambda x: (1, net(x), x.detach()), x)[1],
}


def gradients(way: Any, twice: bool) -> list[np.ndarray]:
    net = network()
    x = numbanet.from_numpy(X.copy()).requires_grad_()
    numbanet.manual_seed(5)
    y = way(net, x)
    state = numbanet.get_rng_state()["offset"]
    loss = (y * y).sum()
    if twice:
        (gradient,) = autograd.grad(loss, x, create_graph=True)
        loss = loss + (gradient * gradient).sum()
    loss.backward()
    assert numbanet.get_rng_state()["offset"] == state, "backward moved the random numbers on"
    return [y.detach().numpy(), x.grad.numpy(), *[p.grad.numpy() for p in net.parameters()]]


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_the_same_gradients(way, twice):
    plain = gradients(lambda net, x: net(x), twice)
    for a, b in zip(gradients(WAYS[way], twice), plain, strict=True):
        np.testing.assert_array_equal(a, b)  # dropout draws the same bits


def test_against_pytorch():
    torch = pytest.importorskip("torch")
    from torch.utils.checkpoint import checkpoint as theirs

    results = []
    for library, point in ((numbanet, checkpoint), (torch, theirs)):
        x = library.tensor(X.astype(np.float64), requires_grad=True)
        weight = library.ones(3, 6, dtype=library.float64, requires_grad=True)
        part = lambda x, scale: library.nn.functional.linear(x.exp(), weight).tanh() * scale  # noqa: B023, E731
        y = point(part, x, 2.0, use_reentrant=False)
        (y.sum() + point(part, x.sin(), 0.5, use_reentrant=False).sum()).backward()
        results.append((y.detach().numpy(), x.grad.numpy(), weight.grad.numpy()))
    for a, b in zip(*results, strict=True):
        assert_close(a, b, 1e-10, 1e-12)


def test_inputs_without_gradients():
    """Parameters inside the function get theirs all the same."""
    weight = numbanet.ones(3, requires_grad=True)
    x = numbanet.tensor([1.0, 2.0, 3.0])
    checkpoint(lambda x: (x * weight).exp() * weight, x).sum().backward()
    reference = numbanet.ones(3, requires_grad=True)
    ((x * reference).exp() * reference).sum().backward()
    assert_close(weight.grad, reference.grad)


def test_hooks_and_retained_graphs():
    x = numbanet.tensor([1.0, 2.0], requires_grad=True)
    seen = []
    y = checkpoint(lambda x: x.exp().sin(), x)
    y.register_hook(lambda g: seen.append(g.tolist()))
    y.sum().backward(retain_graph=True)
    first = x.grad.numpy().copy()
    y.sum().backward()
    assert_close(x.grad, 2 * first)
    assert seen == [[1.0, 1.0]] * 2
    with pytest.raises(RuntimeError, match="second time"):
        y.sum().backward()


def test_no_grad_is_a_plain_call():
    calls = []
    x = numbanet.ones(2, requires_grad=True)
    with numbanet.no_grad():
        y = checkpoint(lambda x: calls.append(1) or x * 2, x)
    assert not y.requires_grad and len(calls) == 1


# ------------------------------------------------------------------------------------------------------------- memory


class Seen:
    """Keeps weak references to the inner values of a chain of products."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.calls = 0

    def __call__(self, x: Any) -> Any:
        self.calls += 1
        for _ in range(4):
            x = (x * x).sin()
            self.values.append(weakref.ref(x))
        return x

    def alive(self) -> int:
        return sum(value() is not None for value in self.values)


@contextmanager
def counting_only() -> Any:
    """No garbage collector: what is released is released at once."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def test_inner_values_are_not_kept():
    chain, plain = Seen(), Seen()
    x = numbanet.from_numpy(X.copy()).requires_grad_()
    plain(x).sum().backward()  # compiles
    x.grad = None
    with counting_only():
        y = chain(x)
        assert chain.alive() == 4
        del y
        assert chain.alive() == 0
        y = checkpoint(chain, x)
        assert chain.alive() == 1  # the result alone
        loss = y.sum()
        del y
        assert chain.alive() == 0
        loss.backward()
        assert chain.calls == 3 and chain.alive() == 0
    assert_close(x.grad, plain_gradient())


def plain_gradient() -> np.ndarray:
    x = numbanet.from_numpy(X.copy()).requires_grad_()
    Seen()(x).sum().backward()
    return x.grad.numpy()


def test_an_inner_checkpoint_keeps_nothing_for_the_outer_one():
    chain = Seen()
    x = numbanet.from_numpy(X.copy()).requires_grad_()
    between: list[Any] = []

    def outer(x: Any) -> Any:
        y = chain(x)
        between.append(weakref.ref(y))
        return checkpoint(chain, y)

    with counting_only():
        y = checkpoint(outer, x)
        assert chain.alive() == 1 and between[0]() is None
        y.sum().backward()
        del y
        assert chain.alive() == 0


def test_the_memory_pool_needs_fewer_blocks(monkeypatch):
    """The most bytes of large arrays alive at once, in forward and backward of a chain of 4 pieces."""
    from numbanet import devices

    alive, most = [0], [0]
    make, give = devices._pooled_empty, devices._Block.__del__

    def counting(shape, dtype, nbytes):
        alive[0] += nbytes
        most[0] = max(most[0], alive[0])
        return make(shape, dtype, nbytes)

    def giving(self):
        alive[0] -= (
            int(np.prod(self.__array_interface__["shape"])) * np.dtype(self.__array_interface__["typestr"]).itemsize
        )
        give(self)

    monkeypatch.setattr(devices, "_pooled_empty", counting)
    monkeypatch.setattr(devices._Block, "__del__", giving)
    peaks = []
    for point in (lambda f, x: f(x), checkpoint):
        alive[0] = most[0] = 0
        x = numbanet.ones(256, 256, requires_grad=True)
        y = x
        for _ in range(4):
            y = point(lambda x: x.sin().exp().tanh().sin().exp().tanh().sin().exp().tanh(), y)
        loss = y.sum()
        del y
        loss.backward()
        peaks.append(most[0])
        del x, loss
    assert peaks[1] < 0.6 * peaks[0], peaks


# ------------------------------------------------------------------------------------------------------- what is refused


def test_another_result_the_second_time_is_noticed():
    calls: list[int] = []

    def changing(x: Any) -> Any:
        calls.append(1)
        return x.exp() if len(calls) % 2 else x.sum().exp()

    def fewer(x: Any) -> Any:
        calls.append(1)
        return x.exp().exp() if len(calls) == 1 else x.exp()

    x = numbanet.ones(3, requires_grad=True)
    y = checkpoint(changing, x)
    with pytest.raises(CheckpointError, match=r"\(3,\).*saved in forward, but .*\(\)"):
        y.sum().backward()
    calls.clear()
    y = checkpoint(fewer, x)
    with pytest.raises(CheckpointError, match="saved 2 times in forward, but 1 times"):
        y.sum().backward()


def test_an_argument_changed_in_place_is_noticed():
    x = numbanet.ones(3, requires_grad=True) * 2
    y = checkpoint(lambda x: x.exp(), x)
    x.detach().zero_()
    message = r"checkpoint: an argument of shape \(3,\) .*version 1, expected version 0"
    with pytest.raises(RuntimeError, match=message):
        y.sum().backward()
    y = checkpoint(nn.ReLU(inplace=True), numbanet.ones(3, requires_grad=True) * 2)  # by the function itself, too
    with pytest.raises(RuntimeError, match=message):
        y.sum().backward()


def test_backward_inside_the_function_is_refused():
    x = numbanet.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="checkpoint: backward inside a checkpointed function"):
        checkpoint(lambda x: x.exp().sum().backward(), x)


def test_errors_of_the_function_pass_and_leave_no_trace():
    x = numbanet.ones(3, requires_grad=True)

    def failing(x: Any) -> Any:
        x.exp()
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        checkpoint(failing, x)
    assert autograd.current_saver() is None
    x.exp().sum().backward()
    assert x.grad is not None


def test_contexts_are_entered():
    entered = []

    @contextmanager
    def note(name):
        entered.append(name)
        yield

    x = numbanet.ones(3, requires_grad=True)
    y = checkpoint(lambda x: x.exp(), x, context_fn=lambda: (note("forward"), note("again")))
    assert entered == ["forward"]
    y.sum().backward()
    assert entered == ["forward", "again"]


def test_arguments():
    x = numbanet.ones(3)
    with pytest.raises(ValueError, match="determinism_check must be 'default' or 'none', got 'all'"):
        checkpoint(lambda x: x, x, determinism_check="all")
    with pytest.raises(ValueError, match="segments must be from 1 to 2, got 3"):
        checkpoint_sequential([nn.Tanh(), nn.Tanh()], 3, x)
