"""Optimiser steps against their formulas and against torch.optim over several steps."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from numbanet.kernels import launch
from numbanet.kernels import update as U
from tests.kernels.twins import DEVICES, FLOATS, check, check_threads

# The simulator computes with NumPy numbers, which warn where hardware silently makes NaN and infinity.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

EMPTY = {dtype: np.empty(0, dtype) for dtype in FLOATS}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(launch, "THREADS", 8)


def arrays(count, size=37, dtype=np.float32):
    return list(np.random.default_rng(0).normal(size=(count, size)).astype(dtype))


def check_step(kernel, device, updated, gradient, rest, *numbers):
    """As ``check``, for kernels whose gradient stands between the arrays they update."""
    eps = np.finfo(gradient.dtype).eps

    class Reordered:
        name = kernel.name

        def __call__(self, gradient, parameter, *others):
            kernel(parameter, gradient, *others)

        def reference(self, gradient, parameter, *others):
            kernel.reference(parameter, gradient, *others)

    return check(Reordered(), device, [gradient], [updated, *rest], *numbers, rtol=32 * eps, atol=8 * eps)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FLOATS)
def test_sgd(dtype, device):
    p, g, buffer = arrays(3, dtype=dtype)
    for maximize in (False, True):
        check_step(U.sgd_step, device, p, g, [EMPTY[dtype]], 0.1, 0.0, 0.0, 0.01, False, maximize, False)
    for nesterov, maximize, first in itertools.product((False, True), repeat=3):
        dampening = 0.0 if nesterov else 0.1
        check_step(U.sgd_step, device, p, g, [buffer], 0.1, 0.9, dampening, 0.01, nesterov, maximize, first)


def test_first_step_does_not_read_the_buffer():
    p, g = arrays(2)
    (_, buffer) = check_step(U.sgd_step, "cpu", p, g, [np.full_like(p, np.nan)], 0.1, 0.9, 0.1, 0.0, False, False, True)
    np.testing.assert_array_equal(buffer, g)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FLOATS)
def test_adam(dtype, device):
    p, g, m, v, most = arrays(5, dtype=dtype)
    v, most = abs(v), abs(most)
    for amsgrad, maximize, decoupled in itertools.product((False, True), repeat=3):
        for step in (1, 1000) if device == "cpu" else (3,):
            rest = [m, v, most if amsgrad else EMPTY[dtype]]
            numbers = (0.01, 0.9, 0.999, 1e-8, 0.1, amsgrad, maximize, decoupled, step)
            check_step(U.adam_step, device, p, g, rest, *numbers)


def test_threads_and_nan():
    p, g, m, v = arrays(4, 10007)
    g[77] = np.nan
    v = abs(v)

    class Reordered:
        name = "adam_step"

        def __call__(self, gradient, parameter, *others):
            U.adam_step(parameter, gradient, *others)

    numbers = (0.01, 0.9, 0.999, 1e-8, 0.1, False, False, True, 3)
    check_threads(Reordered(), [g], [p, m, v, EMPTY[np.float32]], *numbers)
    U.adam_step(p, g, m, v, EMPTY[np.float32], *numbers)
    assert np.isnan(p[77])
    assert np.isnan(p).sum() == 1


@pytest.mark.torch
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("maximize", [False, True])
def test_sgd_against_pytorch(nesterov, momentum, maximize):
    torch = pytest.importorskip("torch")
    if nesterov and not momentum:
        return
    dampening = 0.2 if momentum and not nesterov else 0.0
    p = arrays(1)[0]
    leaf = torch.nn.Parameter(torch.from_numpy(p.copy()))
    options = {"momentum": momentum, "dampening": dampening, "weight_decay": 0.05, "nesterov": nesterov}
    optimiser = torch.optim.SGD([leaf], lr=0.1, maximize=maximize, **options)
    buffer = np.empty(p.size if momentum else 0, np.float32)
    for step in range(6):
        g = np.random.default_rng(step).normal(size=p.size).astype(np.float32)
        leaf.grad = torch.from_numpy(g.copy())
        optimiser.step()
        U.sgd_step(p, g, buffer, 0.1, momentum, dampening, 0.05, nesterov, maximize, step == 0)
        np.testing.assert_allclose(p, leaf.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.torch
@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("maximize", [False, True])
def test_adam_against_pytorch(amsgrad, decoupled, maximize):
    torch = pytest.importorskip("torch")
    p = arrays(1)[0]
    leaf = torch.nn.Parameter(torch.from_numpy(p.copy()))
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    optimiser = kind([leaf], lr=0.01, betas=(0.8, 0.99), weight_decay=0.05, amsgrad=amsgrad, maximize=maximize)
    m, v = np.zeros((2, p.size), np.float32)
    most = np.zeros(p.size if amsgrad else 0, np.float32)
    for step in range(6):
        g = np.random.default_rng(step).normal(size=p.size).astype(np.float32) * 2.0**-step
        leaf.grad = torch.from_numpy(g.copy())
        optimiser.step()
        U.adam_step(p, g, m, v, most, 0.01, 0.8, 0.99, 1e-8, 0.05, amsgrad, maximize, decoupled, step + 1)
        np.testing.assert_allclose(p, leaf.detach(), rtol=1e-5, atol=1e-6)
