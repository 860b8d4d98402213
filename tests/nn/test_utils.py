"""Clipping gradients, and one vector of all parameters."""

import math

import numpy as np
import pytest

import numbanet
from numbanet import nn
from tests.checks import assert_close, torch


def with_gradients():
    values = [np.array([3.0, -4.0], np.float32), np.array([[12.0]], np.float32)]
    parameters = [nn.Parameter(numbanet.zeros(2)), nn.Parameter(numbanet.zeros(1, 1)), nn.Parameter(numbanet.zeros(3))]
    for p, g in zip(parameters, values, strict=False):
        p.grad = numbanet.tensor(g)
    return parameters


@pytest.mark.parametrize("max_norm", [1.0, 100.0])
@pytest.mark.parametrize("norm_type, norm", [(2.0, 13.0), (1.0, 19.0), (math.inf, 12.0)])
def test_clip_grad_norm(max_norm, norm_type, norm):
    parameters = with_gradients()
    total = nn.utils.clip_grad_norm_(parameters, max_norm, norm_type)
    assert abs(total.item() - norm) < 1e-5
    factor = min(1.0, max_norm / (norm + 1e-6))
    assert_close(parameters[0].grad, np.array([3, -4], np.float32) * np.float32(factor))
    if torch is not None:
        theirs = torch.nn.Parameter(torch.zeros(2))
        theirs.grad = torch.tensor([3.0, -4.0])
        ours = nn.Parameter(numbanet.zeros(2))
        ours.grad = numbanet.tensor([3.0, -4.0])
        assert_close(
            nn.utils.clip_grad_norm_(ours, max_norm, norm_type),
            torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type),
        )
        assert_close(ours.grad, theirs.grad)


def test_clip_grad_norm_of_no_gradients_and_of_bad_ones():
    assert nn.utils.clip_grad_norm_([nn.Parameter(numbanet.zeros(2))], 1.0).item() == 0
    p = nn.Parameter(numbanet.zeros(2))
    p.grad = numbanet.tensor([float("nan"), 1.0])
    with pytest.raises(RuntimeError, match=r"clip_grad_norm_: the gradients' norm of order 2\.0 is nan"):
        nn.utils.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)


def test_clip_grad_value():
    parameters = with_gradients()
    nn.utils.clip_grad_value_(parameters, 3.5)
    assert parameters[0].grad.tolist() == [3.0, -3.5] and parameters[1].grad.tolist() == [[3.5]]


def test_parameters_as_one_vector():
    layer, other = nn.Linear(2, 3), nn.Linear(2, 3)
    vector = nn.utils.parameters_to_vector(layer.parameters())
    assert tuple(vector.shape) == (9,)
    nn.utils.vector_to_parameters(vector, other.parameters())
    assert_close(other.weight.detach(), layer.weight.detach())
    assert_close(other.bias.detach(), layer.bias.detach())
