"""Normalization layers against PyTorch's: printing, state_dict, outputs, gradients, statistics, errors."""

from itertools import product

import numpy as np
import pytest

import numbanet
from numbanet import nn
from tests.checks import assert_close, torch

rng = np.random.default_rng(29)


def options(**choices):
    """Every combination of keyword arguments, as their source."""
    return [
        ", ".join(f"{k}={v!r}" for k, v in zip(choices, values, strict=True)) for values in product(*choices.values())
    ]


LAYERS = [
    *[
        (f"BatchNorm{len(shape) - 2 or 1}d(3, {text})", shape)
        for shape in ((4, 3), (4, 3, 5), (2, 3, 4, 2))
        for text in options(momentum=[0.2, None], affine=[True, False], track_running_stats=[True, False])
    ],
    *[
        (f"InstanceNorm{dims}d(3, {text})", shape)
        for dims, shape in ((1, (2, 3, 5)), (1, (3, 5)), (2, (2, 3, 4, 2)), (2, (3, 4, 2)))
        for text in options(momentum=[0.2, None], affine=[True, False], track_running_stats=[True, False])
    ],
    ("BatchNorm1d(3, bias=False)", (4, 3)),
    ("InstanceNorm1d(3, affine=True, bias=False)", (2, 3, 4)),
    *[(f"LayerNorm({shape!r}, 0.01, {text})", (2, 3, 4)) for shape in (4, (4,), [3, 4])
      for text in options(elementwise_affine=[True, False], bias=[True, False])],
    *[(f"RMSNorm({shape!r}, {text})", (2, 3, 4)) for shape in (4, (3, 4))
      for text in options(eps=[None, 0.1], elementwise_affine=[True, False])],
    *[(f"GroupNorm(2, 4, {text})", shape) for shape in ((3, 4), (2, 4, 3, 3))
      for text in options(eps=[1e-3], affine=[True, False], bias=[True, False])],
    ("LocalResponseNorm(2)", (1, 5, 3, 3)),
    ("LocalResponseNorm(5, alpha=0.5, beta=0.5, k=2.0)", (2, 6, 4)),
]  # fmt: skip


def make(library, source):
    return eval(source, dict(vars(library)))


@pytest.mark.torch
@pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("source, shape", LAYERS)
def test_layer_is_pytorchs(source, shape):
    ours, theirs = make(nn, source), make(torch.nn, source)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for (name, p), q in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        assert_close(p, q, what=f"first {name}")
    with torch.no_grad():
        for p in theirs.parameters():
            p.copy_(torch.from_numpy(rng.standard_normal(tuple(p.shape)).astype(np.float32)))
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    for training in (True, True, False):
        ours.train(training), theirs.train(training)
        x = (rng.standard_normal(shape) * 2 + 1).astype(np.float32)
        a, b = numbanet.from_numpy(x.copy()).requires_grad_(), torch.from_numpy(x.copy()).requires_grad_()
        y, z = ours(a), theirs(b)
        dy = rng.standard_normal(shape).astype(np.float32)
        ours.zero_grad(), theirs.zero_grad()
        y.backward(numbanet.from_numpy(dy)), z.backward(torch.from_numpy(dy))
        assert_close(y.detach(), z.detach(), rtol=1e-4, atol=1e-4, what="output")
        assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-4, what="input's gradient")
        for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-4, what=name)
        for (name, p), q in zip(ours.named_buffers(), theirs.buffers(), strict=True):
            assert_close(p, q, rtol=1e-5, what=name)


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(2), nn.BatchNorm1d(2, affine=False)])
def test_batch_norm_evaluates_without_running_statistics_by_the_batch(layer):
    x = numbanet.from_numpy(rng.standard_normal((5, 2)).astype(np.float32))
    expected = layer(x)
    layer.running_mean = layer.running_var = None
    assert_close(layer.eval()(x).detach(), expected.detach())


def test_instance_norm_warns_of_another_number_of_channels():
    with pytest.warns(UserWarning, match=r"InstanceNorm1d: the size 4 at dim=1 is not num_features=3"):
        nn.InstanceNorm1d(3)(numbanet.ones(1, 4, 2))


def test_layers_take_a_dtype():
    for layer in (nn.LayerNorm(2, dtype=numbanet.float64), nn.GroupNorm(1, 2, dtype=numbanet.float64),
                  nn.RMSNorm(2, dtype=numbanet.float64), nn.InstanceNorm2d(2, affine=True, dtype=numbanet.float64)):  # fmt: skip
        assert [p.dtype for p in layer.parameters()] and all(p.dtype == numbanet.float64 for p in layer.parameters())
