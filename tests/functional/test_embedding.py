"""Embeddings against PyTorch: every option, gradients of rows read twice; one-hot rows."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import numbanet
from numbanet import functional as F
from tests.checks import assert_close, check_op, torch

rng = np.random.default_rng(0)
table = rng.standard_normal((5, 3)).astype(np.float32)
needs_torch = pytest.mark.skipif(torch is None, reason="compares with PyTorch")


@pytest.mark.parametrize(
    ("shape", "padding", "by_frequency"), list(product([(), (4,), (2, 3), (0,), (2, 0)], [None, 1, -2], [False, True]))
)
def test_embedding(shape, padding, by_frequency):
    numbers = np.asarray(rng.integers(0, 5, shape))

    def run(lib, weight):
        ids = lib.from_numpy(numbers)
        return lib.nn.functional.embedding(ids, weight, padding_idx=padding, scale_grad_by_freq=by_frequency)

    plain = padding is None and not by_frequency and numbers.size > 0  # else the gradient is not the derivative
    check_op(lambda w: run(numbanet, w), torch and (lambda w: run(torch, w)), [table], numeric=plain)


@needs_torch
@pytest.mark.parametrize("norm_type", [1.0, 2.0])
def test_long_rows_are_shortened_in_place(norm_type):
    numbers = np.array([0, 2, 2, 4], np.int32)

    def run(lib):
        weight = lib.from_numpy(table.copy())
        out = lib.nn.functional.embedding(lib.from_numpy(numbers), weight, max_norm=0.5, norm_type=norm_type)
        return out.numpy(), weight.numpy()

    for ours, theirs in zip(run(numbanet), run(torch), strict=True):
        assert_close(ours, theirs, rtol=1e-5)


def test_gradients_of_gradients():
    weight = numbanet.tensor(table.astype(np.float64), requires_grad=True)
    ids = numbanet.tensor([1, 1, 4])

    def first(w):
        return numbanet.autograd.grad((F.embedding(ids, w) ** 3).sum(), w, create_graph=True)[0]

    assert numbanet.autograd.gradcheck(first, weight)


@needs_torch
@pytest.mark.parametrize(("shape", "classes"), [((), -1), ((4,), -1), ((2, 3), 7), ((0,), 4)])
def test_one_hot(shape, classes):
    x = np.asarray(rng.integers(0, 5, shape))
    ours = F.one_hot(numbanet.from_numpy(x), classes)
    assert_close(ours, torch.nn.functional.one_hot(torch.from_numpy(x), classes).numpy())


def test_module():
    layer = numbanet.nn.Embedding(6, 4, padding_idx=-1)
    assert (
        layer.padding_idx == 5 and layer.weight[5].tolist() == [0, 0, 0, 0] and float(layer.weight[0].abs().sum()) > 0
    )
    assert repr(layer) == "Embedding(6, 4, padding_idx=5)" and list(layer.state_dict()) == ["weight"]
    ids = numbanet.tensor([[0, 5], [2, 2]])
    layer(ids).sum().backward()
    assert layer.weight.grad.sum(1).tolist() == [4, 0, 8, 0, 0, 0]
    fixed = numbanet.nn.Embedding.from_pretrained(numbanet.from_numpy(table))
    assert not fixed.weight.requires_grad and fixed(numbanet.tensor(2)).tolist() == table[2].tolist()
    if torch is not None:
        theirs = torch.nn.Embedding(6, 4, padding_idx=-1, max_norm=1.0)
        theirs.load_state_dict({"weight": torch.from_numpy(layer.weight.detach().numpy().copy())})
        ours = numbanet.nn.Embedding(6, 4, padding_idx=-1, max_norm=1.0)
        ours.load_state_dict(layer.state_dict())
        assert_close(ours(ids).detach().numpy(), theirs(torch.from_numpy(ids.numpy())).detach().numpy())
        assert repr(ours) == repr(theirs)


def test_module_shuffles():
    x = numbanet.arange(2 * 8 * 2 * 3).float().reshape(2, 8, 2, 3)
    nn = numbanet.nn
    assert repr(nn.Sequential(nn.PixelShuffle(2), nn.PixelUnshuffle(2), nn.ChannelShuffle(4))).count("factor=2") == 2
    assert nn.PixelUnshuffle(2)(nn.PixelShuffle(2)(x)).tolist() == x.tolist()
    assert nn.ChannelShuffle(4)(nn.ChannelShuffle(2)(x)).tolist() == x.tolist()
    assert nn.PixelShuffle(2)(x).shape == (2, 2, 4, 6)
