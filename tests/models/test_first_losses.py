"""Same weights, same batches: the first twenty losses of the notes' networks follow PyTorch's."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import numbanet
from numbanet import models
from tests.models.first_losses import CASES, STEPS, first_losses, pytorchs_net, recorded
from tests.notes.session import HAS_TORCH


@cache
def ours(name):
    with numbanet.nn.init.skipped():
        net = models.build(f"notes.{name}")
    return first_losses(numbanet, net, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CASES))
def test_losses_follow_those_that_pytorch_recorded(name):
    expected = recorded()[name]
    assert len(expected) == STEPS
    np.testing.assert_allclose(ours(name), expected, rtol=CASES[name].tolerance)


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed")
@pytest.mark.parametrize("name", list(CASES))
def test_losses_follow_pytorchs(name):
    import torch

    expected = first_losses(torch, pytorchs_net(name), name)
    np.testing.assert_allclose(ours(name), expected, rtol=CASES[name].tolerance)
