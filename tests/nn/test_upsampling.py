"""Upsampling layers against PyTorch's."""

import numpy as np
import pytest

import numbanet
from numbanet import nn
from tests.checks import torch

LAYERS = [
    ("Upsample", {"scale_factor": 2}),
    ("Upsample", {"size": (5, 7), "mode": "bicubic"}),
    ("Upsample", {"scale_factor": (1.5, 2.0), "mode": "bilinear", "align_corners": True}),
    ("Upsample", {"scale_factor": 1.4, "mode": "bilinear", "recompute_scale_factor": True}),
    ("UpsamplingNearest2d", {"scale_factor": 3}),
    ("UpsamplingBilinear2d", {"size": 6}),
]


@pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("name, options", LAYERS)
def test_layers(name, options):
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 3)).astype(np.float32)
    ours, theirs = getattr(nn, name)(**options), getattr(torch.nn, name)(**options)
    assert repr(ours) == repr(theirs) and ours.name == theirs.name
    assert not ours.state_dict()
    np.testing.assert_allclose(ours(numbanet.from_numpy(x)).numpy(), theirs(torch.from_numpy(x)).numpy(), 1e-5, 1e-5)
