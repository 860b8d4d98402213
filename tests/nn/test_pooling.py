"""Pooling layers against PyTorch's: printing, outputs, indices and gradients, with and without a batch."""

import numpy as np
import pytest

import numbanet
from numbanet import nn
from tests.checks import assert_close, torch

rng = np.random.default_rng(31)

IMAGES, ROWS = (2, 3, 6, 5), (2, 3, 7)
LAYERS = [
    ("MaxPool1d(2)", ROWS),
    ("MaxPool1d(3, 2, 1, 1, True, True)", ROWS),
    ("MaxPool1d(2, stride=1, dilation=3)", ROWS),
    ("MaxPool2d((3, 2), (2, 1), (1, 0), return_indices=True)", IMAGES),
    ("AvgPool1d(2)", ROWS),
    ("AvgPool1d(3, 2, 1, True, False)", ROWS),
    ("AvgPool2d(3, 2, 1, True, False, 5)", IMAGES),
    ("LPPool1d(2, 3, 2, True)", ROWS),
    ("LPPool1d(1.5, 2)", ROWS),
    ("LPPool2d(2, (3, 2), stride=(2, 1))", IMAGES),
    ("AdaptiveAvgPool1d(3)", ROWS),
    ("AdaptiveMaxPool1d(3)", ROWS),
    ("AdaptiveMaxPool1d(1, return_indices=True)", ROWS),
    ("AdaptiveAvgPool2d((None, 2))", IMAGES),
    ("AdaptiveMaxPool2d((2, None), return_indices=True)", IMAGES),
]


def make(library, source):
    return eval(source, dict(vars(library)))


@pytest.mark.torch
@pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("source, shape", LAYERS)
@pytest.mark.parametrize("batch", [True, False])
def test_layer_is_pytorchs(source, shape, batch):
    ours, theirs = make(nn, source), make(torch.nn, source)
    assert repr(ours) == repr(theirs)
    assert not ours.state_dict()
    shape = shape if batch else shape[1:]
    x = (rng.permutation(np.prod(shape)).reshape(shape) + 1).astype(np.float32) / 7
    a, b = numbanet.from_numpy(x.copy()).requires_grad_(), torch.from_numpy(x.copy()).requires_grad_()
    y, z = ours(a), theirs(b)
    if isinstance(z, tuple):
        assert y[1].dtype == numbanet.int64 and y[1].tolist() == z[1].tolist()
        y, z = y[0], z[0]
    dy = rng.standard_normal(tuple(z.shape)).astype(np.float32)
    y.backward(numbanet.from_numpy(dy)), z.backward(torch.from_numpy(dy))
    assert_close(y.detach(), z.detach(), rtol=1e-5, what="output")
    assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5, what="gradient")


@pytest.mark.torch
@pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("dims, size", [(1, None), (1, (7,)), (2, (6, 5)), (2, (2, 3, 6, 5))])
def test_unpooling_layers_are_pytorchs(dims, size):
    shape = IMAGES if dims == 2 else ROWS
    x = rng.permutation(np.prod(shape)).reshape(shape).astype(np.float32)
    results = []
    for library in (numbanet, torch):
        pool = getattr(library.nn, f"MaxPool{dims}d")(2, return_indices=True)
        unpool = getattr(library.nn, f"MaxUnpool{dims}d")(2)
        pooled, indices = pool(library.from_numpy(x))
        results.append((repr(unpool), unpool(pooled, indices, output_size=size).numpy()))
    assert results[0][0] == results[1][0]
    assert_close(results[0][1], results[1][1])


@pytest.mark.parametrize("shape", [(2, 3, 6, 5), (3, 6, 5)])
def test_global_pooling_keeps_the_channels(shape):
    x = rng.standard_normal(shape).astype(np.float32)
    t = numbanet.from_numpy(x).requires_grad_()
    assert_close(nn.GlobalAvgPool2d()(t).detach(), x.mean((-2, -1), keepdims=True), atol=1e-6)
    y, where = nn.GlobalMaxPool2d(return_indices=True)(t)
    assert_close(y.detach(), x.max((-2, -1), keepdims=True))
    assert where.tolist() == x.reshape(*shape[:-2], -1).argmax(-1)[..., None, None].tolist()
    (nn.GlobalAvgPool2d()(t) * 30).sum().backward()
    assert_close(t.grad, np.ones_like(x), atol=1e-6)
