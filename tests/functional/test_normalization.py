"""Normalization against PyTorch and finite differences, running statistics, second derivatives, errors."""

from itertools import product

import numpy as np
import pytest

import numbanet
import numbanet.nn.functional as F
from numbanet import autograd, nn
from tests.checks import assert_close, check_op, torch

rng = np.random.default_rng(13)


def draw(*shape: int) -> np.ndarray:
    return (rng.standard_normal(shape) * 2 + 1).astype(np.float32)


def call(library, training, affine, stats, momentum=0.3, eps=1e-3):
    function = F.batch_norm if library is numbanet else library.nn.functional.batch_norm

    def run(x, *parameters):
        mean, var = [library.from_numpy(s.astype(str(x.dtype).removeprefix("torch."))) for s in stats]
        weight, bias = parameters if affine else (None, None)
        return function(x, mean, var, weight, bias, training, momentum, eps)

    return run


SHAPES = [(4, 3), (4, 3, 5), (2, 3, 4, 5), (1, 2, 3, 3), (64, 5, 7, 1), (2, 1, 2, 2, 3)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("affine", [False, True])
def test_batch_norm(shape, training, affine):
    c = shape[1]
    stats = draw(c), draw(c) ** 2 + 0.5
    arrays = [draw(*shape)] + ([draw(c), draw(c)] if affine else [])
    theirs = None if torch is None else call(torch, training, affine, stats)
    check_op(call(numbanet, training, affine, stats), theirs, arrays, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("momentum", [0.1, 0.0, 1.0])
def test_batch_norm_updates_running_statistics_with_the_unbiased_variance(momentum):
    x = draw(3, 2, 4, 5)
    mean, var = numbanet.tensor([0.5, -1.0]), numbanet.tensor([2.0, 3.0])
    before = mean.numpy().copy(), var.numpy().copy()
    F.batch_norm(numbanet.from_numpy(x), mean, var, training=True, momentum=momentum)
    wide = x.astype(np.float64).transpose(1, 0, 2, 3).reshape(2, -1)
    assert_close(mean, ((1 - momentum) * before[0] + momentum * wide.mean(1)).astype(np.float32))
    assert_close(var, ((1 - momentum) * before[1] + momentum * wide.var(1, ddof=1)).astype(np.float32))
    after = mean.numpy().copy()
    F.batch_norm(numbanet.from_numpy(x), mean, var, training=False)
    assert_close(mean, after)


def test_batch_norm_updates_running_statistics_that_are_views():
    x = numbanet.from_numpy(draw(4, 3, 2, 2))
    both = numbanet.zeros(3, 2)
    F.batch_norm(x, both[:, 0], both[:, 1], training=True)
    mean, var = numbanet.zeros(3), numbanet.zeros(3)
    F.batch_norm(x, mean, var, training=True)
    assert_close(both[:, 0].numpy(), mean)
    assert_close(both[:, 1].numpy(), var)


def test_batch_norm_is_exact_for_data_far_from_zero():
    x = (rng.standard_normal((8, 2, 6, 6)) + 1000).astype(np.float32)
    wide = x.astype(np.float64)
    mean, var = wide.mean((0, 2, 3), keepdims=True), wide.var((0, 2, 3), keepdims=True)
    y = F.batch_norm(numbanet.from_numpy(x), None, None, training=True)
    assert_close(y, ((wide - mean) / np.sqrt(var + 1e-5)).astype(np.float32), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shape", [(4, 2), (2, 2, 3, 2)])
def test_batch_norm_can_be_differentiated_twice(training, shape):
    x, dy = [numbanet.tensor(rng.standard_normal(shape), requires_grad=True) for _ in range(2)]
    w, b = [numbanet.tensor(rng.standard_normal(2), requires_grad=True) for _ in range(2)]

    def gradients(x, w, b, dy):
        mean, var = numbanet.zeros(2).double(), numbanet.ones(2).double()
        return autograd.grad(F.batch_norm(x, mean, var, w, b, training) ** 2, [x, w, b], dy, create_graph=True)

    assert autograd.gradcheck(gradients, (x, w, b, dy), atol=1e-4)


def test_batch_norm_names_what_does_not_fit():
    x = numbanet.zeros(2, 3, 4, 4)
    with pytest.raises(
        RuntimeError,
        match=r"batch_norm: expected weight of shape \(3,\) for input \(2, 3, 4, 4\) with C=3 channels, got \(4,\)",
    ):
        F.batch_norm(x, None, None, numbanet.ones(4), training=True)
    with pytest.raises(RuntimeError, match=r"expected running_var of shape \(3,\)"):
        F.batch_norm(x, numbanet.zeros(3), numbanet.zeros(2))
    with pytest.raises(RuntimeError, match="batch_norm: running_mean and running_var are needed unless training=True"):
        F.batch_norm(x, None, None)
    with pytest.raises(
        ValueError, match=r"batch_norm: expected more than 1 value per channel when training, got input \(1, 3, 1, 1\)"
    ):
        F.batch_norm(numbanet.zeros(1, 3, 1, 1), None, None, training=True)
    with pytest.raises(RuntimeError, match=r"batch_norm: expected input of shape \(N, C, ...\), got \(3,\)"):
        F.batch_norm(numbanet.zeros(3), None, None, training=True)
    with pytest.raises(TypeError, match="batch_norm: argument 'weight' must be a Tensor, not int"):
        F.batch_norm(x, None, None, 1, training=True)


def test_batch_norm_of_nothing_gives_nothing():
    mean, var = numbanet.zeros(3), numbanet.ones(3)
    x = numbanet.zeros(0, 3, 4, requires_grad=True)
    y = F.batch_norm(x, mean, var, training=True)
    y.sum().backward()
    assert tuple(y.shape) == tuple(x.grad.shape) == (0, 3, 4)
    assert mean.tolist() == [0, 0, 0] and var.tolist() == [1, 1, 1]


def norm_relu(library, training, adds, stats):
    """``batch_norm_relu`` of x, weight, bias and perhaps what is added; of PyTorch, or with ``fused`` False, in single steps."""

    def run(x, weight, bias, *add, fused=library is numbanet):
        mean, var = [library.from_numpy(s.copy()).to(x.dtype) for s in stats]
        functions = F if library is numbanet else library.nn.functional
        if fused:
            return functions.batch_norm_relu(x, mean, var, weight, bias, training, add=add[0] if adds else None)
        y = functions.batch_norm(x, mean, var, weight, bias, training)
        return functions.relu(y + add[0] if adds else y)

    return run


@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 4, 5), (6, 70)])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("adds", [False, True])
def test_batch_norm_relu(shape, training, adds):
    c = shape[1]
    stats = draw(c), draw(c) ** 2 + 0.5
    arrays = [draw(*shape), draw(c), draw(c), *([draw(*shape)] if adds else [])]
    theirs = None if torch is None else norm_relu(torch, training, adds, stats)
    check_op(norm_relu(numbanet, training, adds, stats), theirs, arrays, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("training, adds", list(product([False, True], [False, True])))
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_batch_norm_relu_is_the_three_operators(training, adds, dtype):
    """Half dtypes: of the three in float32, rounded once."""
    made = np.random.default_rng(5)
    x, more, dy = made.standard_normal((3, 4, 3, 5, 7)).astype(np.float32)
    weight, bias, mean = (np.round(made.standard_normal((3, 3)) * 4) / 4).astype(np.float32)  # exact in every dtype
    half = dtype in ("float16", "bfloat16")
    run = norm_relu(numbanet, training, adds, (mean, mean**2 + 0.5))
    found = []
    for fused in (True, False):
        tensors = [numbanet.from_numpy(a).to(dtype) for a in (x, weight, bias / 8, *([more] if adds else []), dy)]
        if half and not fused:
            tensors = [t.float() for t in tensors]
        *leaves, cotangent = [t.requires_grad_() for t in tensors]
        y = run(*leaves, fused=fused)
        found.append([y.detach(), *autograd.grad(y, leaves, cotangent.detach())])
    assert str(found[0][0].dtype) == dtype and 0.02 < (found[0][0] == 0).float().mean().item() < 0.98
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours.float().numpy(), theirs.to(dtype).float().numpy())


def test_batch_norm_relu_adds_another_dtype_by_the_operators():
    x, add = numbanet.from_numpy(draw(2, 3, 4)).bfloat16(), numbanet.from_numpy(draw(2, 3, 4))
    y = F.batch_norm_relu(x, None, None, training=True, add=add)
    assert y.dtype == numbanet.float32
    assert_close(y.numpy(), F.relu(F.batch_norm(x, None, None, training=True) + add).numpy(), 0, 0)


@pytest.mark.parametrize("training", [False, True])
def test_batch_norm_relu_under_autocast_takes_what_it_gets(training):
    x, add = numbanet.from_numpy(draw(4, 3, 6)), numbanet.from_numpy(draw(4, 3, 6))
    mean, var, weight = numbanet.zeros(3), numbanet.ones(3), numbanet.ones(3, requires_grad=True)
    with numbanet.autocast("cpu"):
        for dtype in (numbanet.float32, numbanet.bfloat16):
            y = F.batch_norm_relu(x.to(dtype), mean, var, weight, None, training, add=add.to(dtype))
            plain = F.relu(F.batch_norm(x.to(dtype), mean, var, weight, None, training) + add.to(dtype))
            assert y.dtype == plain.dtype == dtype
            y.sum().backward()
            assert weight.grad.dtype == numbanet.float32


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shape", [(4, 2), (2, 2, 3, 2)])
def test_batch_norm_relu_can_be_differentiated_twice(training, shape):
    x, add, dy = [numbanet.tensor(rng.standard_normal(shape), requires_grad=True) for _ in range(3)]
    w, b = [numbanet.tensor(rng.standard_normal(2), requires_grad=True) for _ in range(2)]

    def gradients(x, w, b, add, dy):
        mean, var = numbanet.zeros(2).double(), numbanet.ones(2).double()
        y = F.batch_norm_relu(x, mean, var, w, b, training, add=add)
        return autograd.grad(y**2, [x, w, b, add], dy, create_graph=True)

    assert autograd.gradcheck(gradients, (x, w, b, add, dy), atol=1e-4)


@pytest.mark.parametrize("training", [False, True])
def test_batch_norm_relu_sends_nan_where_the_operators_send_it(training):
    data, more, dy = draw(3, 3, 4), draw(3, 3, 4), draw(3, 3, 4)
    data[0, 0, 0], more[1, 1, 2], more[0, 2, 1], more[0, 2, 2] = np.nan, np.nan, np.inf, -np.inf
    run = norm_relu(numbanet, training, True, (np.zeros(3, np.float32), np.ones(3, np.float32)))
    found = []
    for fused in (True, False):
        tensors = [numbanet.from_numpy(a.copy()).requires_grad_() for a in (data, draw(3) * 0 + 1, draw(3) * 0, more)]
        y = run(*tensors, fused=fused)
        found.append([y.detach(), *autograd.grad(y, tensors, numbanet.from_numpy(dy))])
    assert np.isnan(found[0][0].numpy()).any() and found[0][4].numpy()[1, 1, 2] == dy[1, 1, 2]
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize("wanted", ["add", "input", "weight"])
def test_batch_norm_relu_computes_what_is_wanted(wanted):
    tensors = {name: numbanet.from_numpy(draw(*shape)) for name, shape in
               (("input", (2, 3, 5)), ("weight", (3,)), ("bias", (3,)), ("add", (2, 3, 5)))}  # fmt: skip
    tensors[wanted].requires_grad_()
    grads = []
    for fused in (True, False):
        x, w, b, add = tensors.values()
        y = F.batch_norm_relu(x, None, None, w, b, True, add=add) if fused else None
        y = F.relu(F.batch_norm(x, None, None, w, b, True) + add) if y is None else y
        grads.append(autograd.grad((y * y).sum(), tensors[wanted])[0].numpy())
    assert_close(*grads, rtol=0, atol=0)


def test_batch_norm_relu_of_nothing_gives_nothing():
    x, add = [numbanet.zeros(0, 3, 4, requires_grad=True) for _ in range(2)]
    mean, var = numbanet.zeros(3), numbanet.ones(3)
    weight = numbanet.ones(3, requires_grad=True)
    y = F.batch_norm_relu(x, mean, var, weight, None, training=True, add=add)
    y.sum().backward()
    assert tuple(y.shape) == tuple(x.grad.shape) == tuple(add.grad.shape) == (0, 3, 4)
    assert weight.grad.tolist() == mean.tolist() == [0, 0, 0]


def test_batch_norm_relu_refuses_backward_where_its_result_was_overwritten():
    x = numbanet.from_numpy(draw(2, 3, 4)).requires_grad_()
    y = F.batch_norm_relu(x, None, None, training=True)
    y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an in-place operation"):
        y.sum().backward()


@pytest.mark.parametrize("layer, shape", [(nn.BatchNorm1d, (6, 3)), (nn.BatchNorm2d, (4, 3, 5, 2))])
def test_batch_norm_written_by_hand_is_the_layer(layer, shape):
    """(X - mean) / sqrt(var + eps) * gamma + beta with public functions on tensors: the same values, the same gradients."""
    dims = (0,) if len(shape) == 2 else (0, 2, 3)
    data, dy = numbanet.from_numpy(draw(*shape)), numbanet.from_numpy(draw(*shape))

    def by_hand(x, gamma, beta):
        mean = x.mean(dim=dims, keepdim=True)
        var = ((x - mean) ** 2).mean(dim=dims, keepdim=True)
        return gamma * ((x - mean) / numbanet.sqrt(var + 1e-5)) + beta

    net = layer(3)
    per_channel = (1, 3) + (1,) * (len(shape) - 2)
    with numbanet.no_grad():
        net.weight.copy_(numbanet.tensor([0.5, -1.5, 2.0]))
        net.bias.copy_(numbanet.tensor([1.0, 0.0, -2.0]))
    gamma = net.weight.detach().reshape(per_channel).clone().requires_grad_()
    beta = net.bias.detach().reshape(per_channel).clone().requires_grad_()
    x, again = data.clone().requires_grad_(), data.clone().requires_grad_()
    y, z = net(x), by_hand(again, gamma, beta)
    assert_close(y.detach(), z.detach(), atol=1e-5)
    y.backward(dy)
    z.backward(dy)
    assert_close(x.grad, again.grad, rtol=1e-4, atol=1e-5)
    assert_close(net.weight.grad, gamma.grad.reshape(3), rtol=1e-4, atol=1e-4)
    assert_close(net.bias.grad, beta.grad.reshape(3), rtol=1e-4, atol=1e-4)


# -------------------------------------------------------------------------------------- groups, rows, instances, windows


def library_of(tensor):
    return F if isinstance(tensor, numbanet.Tensor) else torch.nn.functional


def both(name, *args, **options):
    """(our call, PyTorch's) with further tensors in front of the options."""

    def run(x, *parameters):
        return getattr(library_of(x), name)(x, *args, *parameters, **options)

    return run, None if torch is None else run


@pytest.mark.parametrize("shape", [(3, 6), (2, 6, 5), (2, 6, 3, 4), (1, 6, 1, 1), (2, 6, 2, 2, 2)])
@pytest.mark.parametrize("groups, affine", list(product([1, 2, 3], [False, True])))
def test_group_norm(shape, groups, affine):
    arrays = [draw(*shape)] + ([draw(6), draw(6)] if affine else [])
    check_op(*both("group_norm", groups, eps=1e-3), arrays, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape, dims", [((4, 5), 1), ((2, 3, 7), 1), ((2, 3, 4, 5), 3), ((6,), 1), ((3, 1, 4), 2)])
@pytest.mark.parametrize("affine", [0, 1, 2])
def test_layer_norm(shape, dims, affine):
    arrays = [draw(*shape), draw(*shape[-dims:]), draw(*shape[-dims:])][: 1 + affine]
    check_op(*both("layer_norm", shape[-dims:], eps=1e-3), arrays, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape, dims", [((4, 5), 1), ((2, 3, 4, 5), 2), ((6,), 1)])
@pytest.mark.parametrize("affine, eps", list(product([False, True], [None, 0.1])))
def test_rms_norm(shape, dims, affine, eps):
    arrays = [draw(*shape), draw(*shape[-dims:])][: 1 + affine]
    check_op(*both("rms_norm", shape[-dims:], eps=eps), arrays, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(2, 3, 5), (3, 3, 4, 2), (1, 3, 2, 2, 2)])
@pytest.mark.parametrize("stats, own, affine", [(s, o, a) for s, o, a in product([0, 1], [0, 1], [0, 1]) if s or o])
def test_instance_norm(shape, stats, own, affine):
    running = [draw(3), draw(3) ** 2 + 0.5] if stats else [None, None]
    after = []

    def run(x, *parameters):
        library = numbanet if isinstance(x, numbanet.Tensor) else torch
        dtype = str(x.dtype).removeprefix("torch.")
        statistics = [None if r is None else library.from_numpy(r.astype(dtype)) for r in running]
        weight, bias = parameters or (None, None)
        y = library_of(x).instance_norm(x, *statistics, weight, bias, bool(own), 0.3, 1e-3)
        if dtype == "float32":
            after.append([np.asarray(s) for s in statistics if s is not None])
        return y

    arrays = [draw(*shape)] + ([draw(3), draw(3)] if affine else [])
    check_op(run, None if torch is None else run, arrays, rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(after[0], after[-1], strict=True):  # the last run is PyTorch's
        assert_close(ours, theirs, rtol=1e-5)


@pytest.mark.parametrize("shape", [(2, 7, 5), (2, 7, 3, 4), (1, 7, 1, 1, 3), (2, 1, 4)])
@pytest.mark.parametrize("size, beta, k", list(product([1, 2, 5, 20], [0.75, 0.5, 1.0, 0.3], [1.0, 2.0])))
def test_local_response_norm(shape, size, beta, k):
    options = {"alpha": 0.5, "beta": beta, "k": k}
    check_op(*both("local_response_norm", size, **options), [draw(*shape)], rtol=1e-4, atol=1e-5, numeric=k == 2.0)


NORMS = {
    "group_norm": ((3, 4, 2, 3), lambda x, w, b: F.group_norm(x, 2, w, b), 4),
    "layer_norm": ((3, 2, 4), lambda x, w, b: F.layer_norm(x, (4,), w, b), 4),
    "rms_norm": ((3, 4), lambda x, w, b: F.rms_norm(x, (4,), w) + b, 4),
    "instance_norm": ((2, 4, 3), lambda x, w, b: F.instance_norm(x, None, None, w, b), 4),
    "local_response_norm": ((2, 4, 3), lambda x, w, b: F.local_response_norm(x, 3, 0.5, 0.75, 2.0) * w.sum() + b.sum(), 4),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(NORMS))
def test_norms_can_be_differentiated_twice(name):
    shape, function, channels = NORMS[name]
    x, dy = [numbanet.tensor(rng.standard_normal(shape), requires_grad=True) for _ in range(2)]
    w, b = [numbanet.tensor(rng.standard_normal(channels), requires_grad=True) for _ in range(2)]

    def gradients(x, w, b, dy):
        return autograd.grad(function(x, w, b) ** 2, [x, w, b], dy, create_graph=True)

    assert autograd.gradcheck(gradients, (x, w, b, dy), atol=1e-4)


@pytest.mark.parametrize("name", sorted(NORMS))
def test_the_gradient_is_the_same_with_and_without_a_graph_of_its_own(name):
    shape, function, channels = NORMS[name]
    tensors = [numbanet.from_numpy(draw(*s)).requires_grad_() for s in (shape, (channels,), (channels,))]
    dy = numbanet.from_numpy(draw(*shape))
    plain = autograd.grad(function(*tensors), tensors, dy)
    for one, other in zip(plain, autograd.grad(function(*tensors), tensors, dy, create_graph=True), strict=True):
        assert_close(one, other.detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "function, shape",
    [
        (lambda x: F.group_norm(x, 2), (0, 4, 3)),
        (lambda x: F.group_norm(x, 2), (2, 4, 0)),
        (lambda x: F.group_norm(x, 2), (2, 0, 3)),
        (lambda x: F.layer_norm(x, (4,)), (0, 4)),
        (lambda x: F.layer_norm(x, (0,)), (3, 0)),
        (lambda x: F.rms_norm(x, (4,)), (0, 4)),
        (lambda x: F.instance_norm(x), (0, 4, 3)),
        (lambda x: F.instance_norm(x), (2, 0, 3)),
        (lambda x: F.instance_norm(x), (2, 4, 0)),
        (lambda x: F.local_response_norm(x, 2), (0, 4, 3)),
    ],
)
def test_norms_of_nothing_give_nothing(function, shape):
    x = numbanet.zeros(*shape, requires_grad=True)
    y = function(x)
    y.sum().backward()
    assert tuple(y.shape) == tuple(x.grad.shape) == shape


def test_group_and_layer_norm_are_exact_for_data_far_from_zero():
    x = (rng.standard_normal((8, 4, 30)) + 1000).astype(np.float32)
    wide = x.astype(np.float64)
    for y, axes in (
        (F.layer_norm(numbanet.from_numpy(x), (30,), eps=0.0), (2,)),
        (F.group_norm(numbanet.from_numpy(x), 2, eps=0.0).reshape(8, 2, 2, 30), (2, 3)),
    ):
        rows = wide.reshape(y.shape)
        expected = (rows - rows.mean(axes, keepdims=True)) / rows.std(axes, keepdims=True)
        assert_close(y, expected.astype(np.float32), rtol=1e-5, atol=2e-6)


def test_nan_stays_in_its_group():
    x = draw(2, 4, 3)
    x[0, 1, 2] = np.nan
    y = F.group_norm(numbanet.from_numpy(x), 2).numpy()
    assert np.isnan(y[0, :2]).all() and np.isfinite(y[0, 2:]).all() and np.isfinite(y[1]).all()
    y = F.local_response_norm(numbanet.from_numpy(x), 2).numpy()  # channels c - 1 and c
    assert np.isnan(y[0, 1:3, 2]).all() and np.isnan(y).sum() == 2


def test_layer_norm_with_a_bias_alone():
    bias = numbanet.zeros(5, 5, requires_grad=True)
    F.layer_norm(numbanet.ones(2, 5, 5), (5, 5), None, bias).sum().backward()
    assert (bias.grad == 2).all()


@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 4)])
def test_the_gradient_of_evaluated_batch_norm_does_not_spread_what_is_not_finite(shape):
    data = np.ones(shape, np.float32)
    data[(0,) * len(shape)] = np.nan
    x = numbanet.from_numpy(data).requires_grad_()
    F.batch_norm(x, numbanet.zeros(2), numbanet.ones(2), eps=0.0).sum().backward()
    assert (x.grad == 1).all()
