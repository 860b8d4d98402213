"""Losses of pairs and of classes: twins against references, odd shapes, extreme inputs, threads."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from numbanet.kernels import loss as L
from tests.kernels.twins import DEVICES, FLOATS, check, check_threads, run

# The simulator computes with NumPy numbers, which warn where hardware silently makes NaN and infinity.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

PAIRS = {
    "mse": L.mse,
    "l1": L.l1,
    "smooth_l1": L.smooth_l1,
    "huber": L.huber,
    "bce": L.bce,
    "bce_with_logits": L.bce_with_logits,
    "soft_margin": L.soft_margin,
    "kl_div": L.kl_div,
    "kl_div_of_logs": L.kl_div_of_logs,
    "poisson": L.poisson,
    "hinge_embedding": L.hinge_embedding,
    "cosine_embedding": L.cosine_embedding,
    "margin_ranking": L.margin_ranking,
    "margin": L.margin,
}
SIGNS = ("hinge_embedding", "cosine_embedding", "margin_ranking")  # their targets are 1 and -1
rng = np.random.default_rng(5)


def sample(name, n, dtype):
    """(x, t) in the loss's domain."""
    x, t = rng.standard_normal(n) * 2, rng.standard_normal(n) * 2
    if name == "bce":
        x = rng.random(n)
    if name in ("bce", "bce_with_logits", "kl_div"):
        t = rng.random(n)
    if name in SIGNS:
        t = rng.integers(-1, 2, n)
    return x.astype(dtype), t.astype(dtype)


def close(dtype):
    eps = float(np.finfo(dtype).eps)
    return {"rtol": 32 * eps, "atol": 32 * eps}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", PAIRS)
def test_pairs(name, dtype, device):
    """Every combination of one number or many for w, p and dlosses; sizes around a block's."""
    kernels = PAIRS[name]
    sizes = [1, 37] if device == "cuda" else [1, 37, L.BLOCK + 1, L.PIECE + 1]
    for n, many_w, many_p, many_d in itertools.product(sizes, *[[False, True]] * 3):
        x, t = sample(name, n, dtype)
        w, p, d = (np.asarray(rng.random(n if many else 1) + 0.3, dtype) for many in (many_w, many_p, many_d))
        check(kernels.backward, device, [x, t, w, p, d], [x], 0.5, **close(dtype))
        if not many_d:
            check(kernels.forward, device, [x, t, w, p], [x], **close(dtype))
            check(kernels.total, device, [x, t, w, p], [np.zeros(1, dtype)], 0.25, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", PAIRS)
def test_long_pairs_and_threads(name):
    """Two tasks and a piece: the total is the reference's to rounding, and no bit depends on the threads."""
    kernels, n = PAIRS[name], 2 * L.TASK + 77
    x, t = sample(name, n, np.float32)
    one = np.ones(1, np.float32)
    inputs = [x, t, one, one]
    check(kernels.total, "cpu", inputs, [one], 1 / n, rtol=3e-7, atol=1e-9)
    check_threads(kernels.total, inputs, [one], 1.0)
    check_threads(kernels.forward, inputs, [x])
    check_threads(kernels.backward, [*inputs, one], [x], 1.0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", PAIRS)
def test_extreme_pairs(name, device):
    """NaN comes through, certain mistakes of bce cost 100, and nothing overflows on the way."""
    values = np.array([np.nan, 0, 1, 0.5, 1e-30, 1e-6, 1 - 1e-6, 80, -80, 1e30, -1e30, np.inf, -np.inf], np.float32)
    if name == "bce":
        values = values[:7]
    x, t = (a.reshape(-1) for a in np.meshgrid(values, np.array([0, 1, 0.25, -1], np.float32)))
    if name not in ("mse", "l1", "smooth_l1", "huber", "soft_margin", "kl_div_of_logs", "poisson", "margin", *SIGNS):
        x, t = x[t >= 0], t[t >= 0]
    if name in ("bce_with_logits", "soft_margin", "margin_ranking"):  # infinity less infinity, and 0 * infinity
        x, t = x[np.isfinite(x) | np.isnan(x)], t[np.isfinite(x) | np.isnan(x)]
    x, t = np.ascontiguousarray(x), np.ascontiguousarray(t)
    one = np.ones(1, np.float32)
    kernels = PAIRS[name]
    expected = np.empty_like(x)
    kernels.forward.reference(x, t, one, one, expected)
    finite = np.abs(expected) < 1e37
    small = 1e-6 if name in ("margin", *SIGNS) else 1e-30  # differences from a margin of 1 lose digits
    check(kernels.forward, device, [x[finite], t[finite], one, one], [x[finite]], rtol=4e-6, atol=small)
    assert finite.sum() > 8
    unknown = np.full(3, np.nan, np.float32)
    (losses,) = run(kernels.forward, device, [unknown, np.ones(3, np.float32), one, one], [np.zeros(3, np.float32)])
    assert np.isnan(losses).all()


NLL_SHAPES = [(5, 4, 1), (2, 3, 7), (3, 1, 2), (1, 2, 600), (600, 3, 1)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", NLL_SHAPES)
@pytest.mark.parametrize("ignore_index", [-100, 0])
def test_nll(shape, dtype, ignore_index, device):
    outer, n, inner = shape
    if device == "cuda":
        outer, inner = min(outer, 60), min(inner, 60)
        shape = outer, n, inner
    log_p, weight = rng.standard_normal(shape).astype(dtype), (rng.random(n) + 0.1).astype(dtype)
    target = rng.integers(0, n, (outer, inner))
    target[0, 0] = ignore_index
    target[-1, -1] = n  # no class: counted, and otherwise ignored
    inputs, sums = [log_p, target, weight], np.zeros(3, dtype)
    losses, totals = check(
        L.nll_forward, device, inputs, [np.zeros((outer, inner), dtype), sums], ignore_index, atol=1e-6
    )
    assert losses[0, 0] == losses[-1, -1] == 0 and totals[2] == 1
    _, same = run(L.nll_forward, device, inputs, [np.zeros((0, 0), dtype), sums], ignore_index)
    np.testing.assert_allclose(totals, same, 1e-6)
    scale = rng.standard_normal((outer, inner)).astype(dtype)
    for factors in (scale, scale[:1, :1]):
        (dlog_p,) = check(L.nll_backward, device, [target, weight, factors], [log_p], ignore_index)
        assert (dlog_p[0, :, 0] == 0).all() and (dlog_p[-1, :, -1] == 0).all()


def test_nll_threads():
    log_p, weight = rng.standard_normal((6, 5, 700)).astype(np.float32), np.ones(5, np.float32)
    target = rng.integers(0, 5, (6, 700))
    scale = rng.standard_normal((6, 700)).astype(np.float32)
    check_threads(L.nll_forward, [log_p, target, weight], [scale, np.zeros(3, np.float32)], -100)
    check_threads(L.nll_backward, [target, weight, scale], [log_p], -100)
