"""The tape: order, accumulation, hooks, in-place detection, release, modes, users' functions."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import numbanet
from numbanet import autograd
from numbanet import functional as F


def leaf(*values: float) -> numbanet.Tensor:
    return numbanet.tensor(list(values), requires_grad=True)


def test_gradients_accumulate_over_calls_and_paths():
    x = leaf(1.0, 2.0)
    y = x * x
    (y + y * x).sum().backward()  # 2x + 3x^2
    assert x.grad.tolist() == [5.0, 16.0]
    (x * 3).sum().backward()
    assert x.grad.tolist() == [8.0, 19.0]


def test_a_chain_of_five_thousand_nodes():
    x = leaf(1.0)
    y = x
    for _ in range(5000):
        y = y + 1
    y.backward()
    assert x.grad.tolist() == [1.0]


def test_a_wide_graph_is_visited_once():
    x = leaf(1.0)
    y = x
    for _ in range(60):
        y = y + y  # 2^60 paths
    y.backward()
    assert x.grad.item() == 2.0**60


def test_second_backward_is_explained():
    x = leaf(1.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 4
    with pytest.raises(RuntimeError, match=r"second time.*retain_graph=True"):
        y.backward()


def test_saved_values_are_released_as_backward_passes():
    x = leaf(1.0, 2.0)
    middle = x * 2
    y = (middle * middle).sum()
    array = weakref.ref(middle)
    node = y.grad_fn.next_functions[0][0]
    del middle
    assert array() is not None
    y.backward()
    assert array() is None
    with pytest.raises(RuntimeError, match="second time"):
        node.saved_tensors  # noqa: B018


def test_a_graph_frees_itself_without_the_garbage_collector():
    def make(x):
        return F.sqrt(F.exp(x) + 1)  # each keeps its own output

    make(leaf(1.0, 2.0))  # compiling a kernel leaves tracebacks behind that hold frames
    gc.collect()
    gc.disable()
    try:
        y = make(leaf(1.0, 2.0))
        reference = weakref.ref(y)
        del y
        assert reference() is None
    finally:
        gc.enable()


def test_changes_of_saved_values_are_detected():
    x = leaf(1.0, 2.0)
    y = x.exp()
    y += 1
    with pytest.raises(RuntimeError, match=r"ExpBackward.*shape \(2,\).*version 1, expected version 0"):
        y.sum().backward()
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    c = a * 1
    d = c * b
    c.detach().zero_()  # by way of an alias
    with pytest.raises(RuntimeError, match="in-place"):
        d.sum().backward()


def test_leaves_are_not_changed_in_place():
    x = leaf(1.0)
    with pytest.raises(RuntimeError, match="a leaf that requires grad"):
        x += 1
    with pytest.raises(RuntimeError, match="a view of a leaf"):
        x[0] = 2
    with numbanet.no_grad():
        x += 1
    x.data[:] -= 0.5
    assert x.item() == 1.5 and x.is_leaf


def test_grad_modes():
    x = leaf(1.0)
    with numbanet.no_grad():
        assert not (x * 2).requires_grad
        with numbanet.enable_grad():
            assert (x * 2).requires_grad
    assert (x * 2).requires_grad

    @numbanet.no_grad()
    def f():
        return x * 2

    @numbanet.no_grad
    def g():
        return x * 2

    assert not f().requires_grad and not g().requires_grad
    with numbanet.set_grad_enabled(False):
        assert not numbanet.is_grad_enabled()
    with pytest.raises(ZeroDivisionError), numbanet.no_grad():
        1 / 0  # noqa: B018
    assert numbanet.is_grad_enabled()


def test_grad_leaves_grad_alone():
    x, y = leaf(2.0), leaf(3.0)
    gx, gy = autograd.grad((x * x * y).sum(), (x, y))
    assert (gx.item(), gy.item()) == (12, 4) and x.grad is None
    middle = x * 2
    (gm,) = autograd.grad((middle * middle).sum(), middle)
    assert gm.item() == 8
    with pytest.raises(RuntimeError, match="was not used"):
        autograd.grad((x * 2).sum(), y)
    assert autograd.grad((x * 2).sum(), y, allow_unused=True) == (None,)


def test_backward_with_inputs_fills_only_those():
    x, y = leaf(2.0), leaf(3.0)
    (x * y).sum().backward(inputs=[x])
    assert x.grad.item() == 3 and y.grad is None


def test_gradient_argument():
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match=r"implied only for a tensor of one element, got shape \(2,\)"):
        (x * 2).backward()
    with pytest.raises(RuntimeError, match=r"gradient has shape \(3,\), the tensor \(2,\)"):
        (x * 2).backward(numbanet.ones(3))
    (x * 2).backward(numbanet.tensor([1.0, 10.0]))
    assert x.grad.tolist() == [2, 20]
    with pytest.raises(RuntimeError, match="does not require grad"):
        numbanet.ones(1).backward()


def test_gradients_do_not_share_memory():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    (x + y).sum().backward()
    x.grad.zero_()
    assert y.grad.tolist() == [1, 1]
    start = numbanet.ones(2)
    z = leaf(0.0, 0.0)
    (z + 0).backward(start)
    z.grad.zero_()
    assert start.tolist() == [1, 1]


def test_hooks():
    x = leaf(1.0, 2.0)
    y = x * 2
    y.retain_grad()
    seen = []
    handle = y.register_hook(lambda g: seen.append(g.tolist()))
    y.register_hook(lambda g: g * 10)
    x.register_hook(lambda g: g + 1)
    y.sum().backward(retain_graph=True)
    assert seen == [[1, 1]] and y.grad.tolist() == [10, 10] and x.grad.tolist() == [21, 21]
    handle.remove()
    y.sum().backward()
    assert len(seen) == 1


def test_the_graph_can_be_looked_at():
    x = leaf(1.0)
    y = (x * 2).sum()
    assert y.grad_fn.name() == "SumBackward"
    product = y.grad_fn.next_functions[0][0]
    assert product.name() == "MulBackward"
    assert product.next_functions[0][0].variable is x
    assert x.grad_fn is None and x.is_leaf and not y.is_leaf


class Cube(autograd.Function):
    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(x)
        ctx.scale = scale
        return x * x * x * scale

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 3 * x * x * grad * ctx.scale, None


def test_users_functions():
    x = leaf(1.0, 2.0)
    y = Cube.apply(x, 2)
    y.sum().backward()
    assert y.grad_fn.name() == "CubeBackward" and x.grad.tolist() == [6, 24]
    d = numbanet.tensor([1.0, 2.0], dtype=numbanet.float64, requires_grad=True)
    assert autograd.gradcheck(lambda t: Cube.apply(t, 2), d)
    (first,) = autograd.grad(Cube.apply(d, 1).sum(), d, create_graph=True)
    (second,) = autograd.grad(first.sum(), d)
    assert second.tolist() == [6, 12]


class TwoOutputs(autograd.Function):
    @staticmethod
    def forward(ctx, x):
        index = numbanet.tensor([0, 1])
        ctx.mark_non_differentiable(index)
        return x * 2, x * 3, index

    @staticmethod
    def backward(ctx, a, b, _):
        return a * 2 + b * 3


def test_several_outputs_get_zeros_where_unused():
    x = leaf(1.0, 1.0)
    a, b, index = TwoOutputs.apply(x)
    assert not index.requires_grad
    b.sum().backward()
    assert x.grad.tolist() == [3, 3]
    a, b, _ = TwoOutputs.apply(x)
    (a + b).sum().backward()
    assert x.grad.tolist() == [8, 8]


class Wrong(autograd.Function):
    @staticmethod
    def forward(ctx, x, y):
        return x + y

    @staticmethod
    def backward(ctx, grad):
        return grad


class WrongShape(autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.sum()

    @staticmethod
    def backward(ctx, grad):
        return grad


class WrongKind(autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, grad):
        return grad.numpy() * 2


def test_wrong_backwards_are_explained():
    with pytest.raises(
        TypeError, match="WrongKindBackward: backward returned a ndarray as gradient 0, expected a Tensor"
    ):
        WrongKind.apply(numbanet.ones(2, requires_grad=True)).sum().backward()
    with pytest.raises(RuntimeError, match="WrongBackward: backward returned 1 gradients, expected 2"):
        Wrong.apply(leaf(1.0), leaf(1.0)).backward()
    with pytest.raises(
        RuntimeError,
        match=r"WrongShapeBackward: backward returned a gradient of shape \(\) for an input of shape \(2,\)",
    ):
        WrongShape.apply(leaf(1.0, 2.0)).backward()


def test_gradcheck_finds_a_wrong_gradient():
    class Bad(autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            return grad * 2.01

    x = numbanet.tensor([1.0, 2.0], dtype=numbanet.float64, requires_grad=True)
    with pytest.raises(autograd.GradcheckError, match=r"input 0 of shape \(2,\), element \(0,\)"):
        autograd.gradcheck(Bad.apply, x)
    assert not autograd.gradcheck(Bad.apply, x, raise_exception=False)
    with pytest.raises(ValueError, match="expected float64"):
        autograd.gradcheck(lambda t: t * 2, leaf(1.0))


def test_once_differentiable_says_so():
    class Once(autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @autograd.once_differentiable
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return grad * 2 * x

    x = leaf(3.0)
    (g,) = autograd.grad(Once.apply(x).sum(), x, create_graph=True)
    assert g.item() == 6
    with pytest.raises(RuntimeError, match="OnceBackward: differentiating this operation twice is not supported"):
        g.sum().backward()


def test_detach_and_requires_grad():
    x = leaf(1.0)
    y = (x * 2).detach()
    assert not y.requires_grad and y.data_ptr() != 0
    with pytest.raises(RuntimeError, match="only floating tensors"):
        numbanet.tensor([1]).requires_grad_()
    with pytest.raises(RuntimeError, match="only on leaves"):
        (x * 2).requires_grad_(False)


def test_exceptions_in_backward_leave_the_grad_mode_alone():
    class Fails(autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, grad):
            raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        Fails.apply(leaf(1.0)).backward()
    assert numbanet.is_grad_enabled()


def test_random_graphs_agree_with_finite_differences():
    rng = np.random.default_rng(0)
    for _ in range(5):
        x = numbanet.tensor(rng.standard_normal((2, 3)), requires_grad=True)

        seed = int(rng.integers(1 << 30))

        def f(x, seed=seed):
            local = np.random.default_rng(seed)
            pool = [x, x * 2]
            for _ in range(8):
                a, b = (pool[i] for i in local.integers(0, len(pool), 2))
                pool.append([lambda a, b: a + b, lambda a, b: a * b, lambda a, b: (a - b).sin(), lambda a, b: a[:, [1, 0, 2]]]
                            [local.integers(0, 4)](a, b))  # fmt: skip
            return sum(p.sum() for p in pool)

        assert autograd.gradcheck(f, x)


def test_second_gradients_through_a_change_in_place():
    """d/dc of |d(c . y)/dx|^2, where y is x with its middle replaced: the middle belongs to v alone."""
    for write in (lambda y, v: y.__setitem__(slice(1, 2), v), lambda y, v: y[1:].view(2, 1)[:1, 0].copy_(v)):
        x, v, c = leaf(1.0, 2.0, 3.0), leaf(5.0), leaf(1.0, 1.0, 1.0)
        y = x * 1
        write(y, v)
        grad_x, grad_v = autograd.grad(y, [x, v], c, create_graph=True)
        assert grad_x.tolist() == [1.0, 0.0, 1.0] and grad_v.tolist() == [1.0]
        (grad_c,) = autograd.grad((grad_x * grad_x).sum() + 2.5 * (grad_v * grad_v).sum(), [c])
        assert grad_c.tolist() == [2.0, 5.0, 2.0]
