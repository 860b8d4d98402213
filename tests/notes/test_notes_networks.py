"""The notes' networks, their training loop, and batch normalisation from scratch."""

from __future__ import annotations

import numpy as np
import pytest

import numbanet
from numbanet.data import load_fashion_mnist_sample
from tests.notes.session import FRAMEWORKS, HAS_TORCH, Session, copy_weights

frameworks = pytest.mark.parametrize("framework", FRAMEWORKS)
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed")


def random(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def close(a, b, rtol=1e-4, atol=1e-5):
    assert np.isfinite(a).all()
    np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


LENET_SHAPES = """\
Conv2d output shape: \t Size([1, 6, 28, 28])
Sigmoid output shape: \t Size([1, 6, 28, 28])
AvgPool2d output shape: \t Size([1, 6, 14, 14])
Conv2d output shape: \t Size([1, 16, 10, 10])
Sigmoid output shape: \t Size([1, 16, 10, 10])
AvgPool2d output shape: \t Size([1, 16, 5, 5])
Flatten output shape: \t Size([1, 400])
Linear output shape: \t Size([1, 120])
Sigmoid output shape: \t Size([1, 120])
Linear output shape: \t Size([1, 84])
Sigmoid output shape: \t Size([1, 84])
Linear output shape: \t Size([1, 10])
"""


@frameworks
def test_lenet_prints_its_shapes(framework):
    assert Session(framework).run("lenet") == LENET_SHAPES
    assert Session(framework).run("lenet_reshape") == "Reshape output shape: \t Size([1, 1, 28, 28])\n" + LENET_SHAPES


def _batches(framework, train, count, size):
    images, labels = load_fashion_mnist_sample(train)
    make = numbanet.from_numpy if framework == "numbanet" else __import__("torch").from_numpy
    pixels = (images[: count * size, None] / 255).astype(np.float32)
    targets = labels[: count * size].astype(np.int64)
    return [
        (make(pixels[i : i + size].copy()), make(targets[i : i + size].copy())) for i in range(0, count * size, size)
    ]


def _train(framework, model, batches, epochs, lr):
    notes = Session(framework)
    notes.run("lenet_reshape", "evaluate", "train")
    if model:
        notes.run(*model)
    notes.names.update(
        train_iter=_batches(framework, True, batches, 64),
        test_iter=_batches(framework, False, 2, 100),
        num_epochs=epochs,
        lr=lr,
    )
    return notes


def _last_losses(printed):
    return [float(line.split("loss ")[1].split(",")[0]) for line in printed.split("\n") if "loss " in line]


@frameworks
def test_train_ch6_learns(framework):
    notes = _train(framework, ["batch_norm", "lenet_bn"], 8, 4, 0.5)
    printed = notes.run("train_run")
    assert printed.startswith("train on cpu")
    losses = _last_losses(printed)
    assert len(losses) == 4
    assert losses[-1] < 0.6 * losses[0]
    assert notes["evaluate_accuracy_gpu"](notes["net"], notes["test_iter"]) > 0.3


@needs_torch
@pytest.mark.torch
@pytest.mark.parametrize("model", [(), ("batch_norm", "lenet_bn"), ("lenet_bn_concise",)])
def test_train_ch6_takes_the_same_steps_as_pytorch(model):
    """From the same initial weights, which the notes' own init would draw anew, to the same losses and accuracies."""
    ours, theirs = (_train(framework, model, 4, 2, 0.3) for framework in ("numbanet", "torch"))
    for notes in (ours, theirs):
        notes.names["type"] = lambda m: None  # no layer is of a type whose weights init_weights draws
    copy_weights(ours["net"], theirs["net"])
    our_text, their_text = ours.run("train_run"), theirs.run("train_run")
    close(_last_losses(our_text), _last_losses(their_text), rtol=2e-3)
    for (name, mine), yours in zip(ours["net"].state_dict().items(), theirs["net"].state_dict().values(), strict=True):
        assert mine.numpy().dtype == yours.numpy().dtype, name
        close(mine.numpy(), yours.numpy(), 5e-3, 5e-4)


def test_train_ch6_draws_xavier_weights():
    notes = _train("numbanet", [], 1, 0, 0.1)
    notes.run("train_run")
    weight = notes["net"][1].weight.detach().numpy()
    bound = (6 / (25 + 6 * 25)) ** 0.5
    assert np.abs(weight).max() <= bound
    assert np.abs(weight).max() > 0.9 * bound


@frameworks
def test_evaluation_takes_lists_and_plain_functions(framework):
    notes = _train(framework, [], 1, 0, 0.1)
    first, labels = notes["test_iter"][0]
    evaluate = notes["evaluate_accuracy_gpu"]
    assert evaluate(lambda X: _constant(notes, X, 9), [(first, labels)], "cpu") == 0.1
    assert evaluate(lambda X: _constant(notes, X[0], 9), [([first], labels)], "cpu") == 0.1


def _constant(notes, X, label):
    scores = notes["torch"].zeros((X.shape[0], 10))
    scores[:, label] = 1
    return scores


@frameworks
def test_batch_norm_from_scratch(framework):
    notes = Session(framework)
    notes.run("batch_norm")
    torch = notes["torch"]
    layer = notes["BatchNorm"](3, num_dims=4)
    x = random(1, 4, 3, 5, 5) * 3 + 2
    X = torch.tensor(x, requires_grad=True)
    mean, variance = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
    Y = layer(X)
    close(Y.detach().numpy(), (x - mean) / np.sqrt(variance + 1e-5), atol=1e-4)
    close(layer.moving_mean.numpy(), 0.1 * mean)
    close(layer.moving_var.numpy(), 0.9 + 0.1 * variance)
    assert not layer.moving_mean.requires_grad
    weights = torch.tensor(random(2, 4, 3, 5, 5))
    (Y * weights).sum().backward()
    close(X.grad.numpy().sum((0, 2, 3)), np.zeros(3), atol=1e-4)  # a shift of all inputs changes nothing
    with torch.no_grad():
        close(layer(X).numpy(), (x - 0.1 * mean) / np.sqrt(0.9 + 0.1 * variance + 1e-5), atol=1e-4)
    dense = notes["BatchNorm"](3, num_dims=2)
    flat = torch.tensor(random(3, 6, 3))
    close(
        dense(flat).detach().numpy(), (flat - flat.mean(dim=0)).numpy() / np.sqrt(flat.numpy().var(0) + 1e-5), atol=1e-4
    )


@needs_torch
@pytest.mark.torch
def test_batch_norm_from_scratch_has_pytorchs_gradients():
    grads = []
    for framework in ("numbanet", "torch"):
        notes = Session(framework)
        notes.run("batch_norm")
        layer = notes["BatchNorm"](3, num_dims=4)
        X = notes["torch"].tensor(random(1, 2, 3, 4, 4), requires_grad=True)
        (layer(X) * notes["torch"].tensor(random(2, 2, 3, 4, 4))).sum().backward()
        grads.append([X.grad.numpy(), layer.gamma.grad.numpy(), layer.beta.grad.numpy()])
    for mine, yours in zip(*grads, strict=True):
        close(mine, yours)


@frameworks
def test_residual_blocks(framework):
    notes = Session(framework)
    notes.run("residual")
    torch, Residual = notes["torch"], notes["Residual"]
    X = torch.tensor(random(0, 2, 3, 6, 6))
    assert tuple(Residual(3, 3)(X).shape) == (2, 3, 6, 6)
    block = Residual(3, 6, use_1x1conv=True, strides=2)
    out = block(X)
    assert tuple(out.shape) == (2, 6, 3, 3)
    out.sum().backward()
    assert all(p.grad is not None and np.isfinite(p.grad.numpy()).all() for p in block.parameters())
    assert (X.numpy() == random(0, 2, 3, 6, 6)).all()  # Y += X changes Y alone


@frameworks
def test_the_terse_residual_block_fits_only_without_stride(framework):
    notes = Session(framework)
    notes.run("residual_terse")
    X = notes["torch"].tensor(random(0, 2, 3, 6, 6))
    assert tuple(notes["Residual"](3, 4, use_1x1cov=True)(X).shape) == (2, 4, 6, 6)
    with pytest.raises(RuntimeError):  # its second convolution halves the size once more than the shortcut
        notes["Residual"](3, 4, use_1x1cov=True, strides=2)(notes["torch"].tensor(random(0, 2, 3, 12, 12)))


@needs_torch
@pytest.mark.torch
@pytest.mark.parametrize("training", [True, False])
def test_residual_block_has_pytorchs_gradients(training):
    grads = []
    made = []
    for framework in ("numbanet", "torch"):
        notes = Session(framework)
        notes.run("residual")
        block = notes["Residual"](3, 4, use_1x1conv=True, strides=2)
        made.append(block)
        if framework == "torch":
            copy_weights(made[0], block)
        block.train(training)
        X = notes["torch"].tensor(random(1, 2, 3, 6, 6), requires_grad=True)
        (block(X) * notes["torch"].tensor(random(2, 2, 4, 3, 3))).sum().backward()
        # The biases before a batch norm in training have the gradient zero, and rounding: compared by size, not ratio.
        grads.append([X.grad.numpy(), *[p.grad.numpy() for p in block.parameters()]])
    for mine, yours in zip(*grads, strict=True):
        close(mine, yours, 1e-3, 1e-4)


def _forward(framework, snippets, shape, ours=None):
    notes = Session(framework)
    notes.run(*snippets)
    net = notes["net"]
    if ours is not None:
        copy_weights(ours, net)
    net.eval()
    x = random(5, *shape)
    with notes["torch"].no_grad():
        y = net(notes["torch"].tensor(x)).numpy()
    return net, y


@pytest.mark.parametrize(
    ("snippets", "shape", "parameters"),
    [
        (["lenet"], (2, 1, 28, 28), 61706),
        (["lenet", "lenet_bn_concise"], (2, 1, 28, 28), 44878),
        (["alexnet"], (1, 1, 224, 224), 46764746),
        (["vgg"], (1, 1, 224, 224), 43093322),
        (["nin"], (1, 1, 224, 224), 1992166),
        (["googlenet"], (1, 1, 96, 96), 5977530),
        (["residual", "resnet"], (1, 1, 64, 64), 11178378),
        (["densenet"], (1, 1, 64, 64), 758226),
    ],
    ids=["lenet", "lenet_bn", "alexnet", "vgg", "nin", "googlenet", "resnet", "densenet"],
)
def test_networks_give_pytorchs_outputs(snippets, shape, parameters):
    net, y = _forward("numbanet", snippets, shape)
    assert y.shape == (shape[0], 10)
    assert np.isfinite(y).all()
    assert sum(p.numel() for p in net.parameters()) == parameters
    if HAS_TORCH:
        close(y, _forward("torch", snippets, shape, net)[1], 1e-3, 1e-4 * max(1.0, float(np.abs(y).max())))
