"""relu, sigmoid and tanh: values to the last places, special numbers, derivatives, aliasing."""

from __future__ import annotations

import numpy as np
import pytest

from numbanet.devices import as_device, to_device, to_host
from numbanet.kernels import activation as A
from numbanet.kernels import launch
from tests.kernels.twins import DEVICES, FLOATS, check, check_threads, run

# The simulator computes with NumPy numbers, which warn where hardware silently makes NaN and infinity.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

PAIRS = [
    (A.relu_forward, A.relu_backward),
    (A.sigmoid_forward, A.sigmoid_backward),
    (A.tanh_forward, A.tanh_backward),
]
IDS = ["relu", "sigmoid", "tanh"]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(launch, "THREADS", 8)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("forward", "backward"), PAIRS, ids=IDS)
def test_values(forward, backward, dtype, device):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 19)).astype(dtype) * 2
    x[0, :5] = np.nan, np.inf, -np.inf, 0, -0.0
    dy = rng.normal(size=x.shape).astype(dtype)
    (y,) = check(forward, device, [x], [x])
    # 1 - y**2 of a y close to 1 keeps few digits, in the reference as in the twin
    check(backward, device, [dy, y], [dy], atol=2e-6 if dtype is np.float32 else 1e-15)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("forward", "backward"), PAIRS, ids=IDS)
def test_derivative_is_the_slope(forward, backward, dtype):
    x = np.random.default_rng(1).normal(size=200) * 2
    x = x[abs(x) > 1e-3]
    dy = np.random.default_rng(2).normal(size=x.size)
    (y,) = run(forward, "cpu", [x], [x])
    (dx,) = run(backward, "cpu", [dy, y], [x])
    h = 1e-6
    (above,), (below,) = run(forward, "cpu", [x + h], [x]), run(forward, "cpu", [x - h], [x])
    np.testing.assert_allclose(dx, dy * (above - below) / (2 * h), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("forward", [A.sigmoid_forward, A.tanh_forward], ids=["sigmoid", "tanh"])
def test_accuracy_in_units_of_the_last_place(forward, dtype):
    end = 1.05 * np.log(np.finfo(dtype).max)
    x = np.concatenate([np.linspace(-end, end, 20001), np.linspace(-3, 3, 20001), np.geomspace(1e-12, 1, 99)]).astype(
        dtype
    )
    (y,) = run(forward, "cpu", [x], [x])
    wide = x.astype(np.longdouble)
    exact = (1 / (1 + np.exp(-wide)) if forward is A.sigmoid_forward else np.tanh(wide)).astype(dtype)
    wrong = abs(y - exact) > 3 * np.spacing(abs(exact))
    assert not wrong.any(), (x[wrong][:3], y[wrong][:3], exact[wrong][:3])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("forward", "backward"), PAIRS, ids=IDS)
def test_in_place(forward, backward, device):
    x, dy = np.random.default_rng(0).normal(size=(2, 41)).astype(np.float32)
    (y,) = run(forward, device, [x], [x])
    (dx,) = run(backward, device, [dy, y], [dy])
    place = as_device(device)
    inside, cotangent = to_device(x.copy(), place), to_device(dy.copy(), place)
    forward(inside, inside)
    backward(cotangent, inside, cotangent)
    np.testing.assert_array_equal(to_host(inside), y)
    np.testing.assert_array_equal(to_host(cotangent), dx)


@pytest.mark.parametrize(("forward", "backward"), PAIRS, ids=IDS)
def test_threads_and_odd_sizes(forward, backward):
    x = np.random.default_rng(0).normal(size=10007).astype(np.float32)
    check_threads(forward, [x], [x])
    check_threads(backward, [x, x], [x])
    for size in (0, 1, 15, 17):
        check(forward, "cpu", [x[:size]], [x[:size]])


@pytest.mark.torch
@pytest.mark.parametrize(("forward", "backward"), PAIRS, ids=IDS)
def test_against_pytorch(forward, backward):
    torch = pytest.importorskip("torch")
    x = np.array([np.nan, np.inf, -np.inf, 0, 1, -1, 30, -30, 90, -90, 1e-30], np.float32)
    dy = np.random.default_rng(0).normal(size=x.size).astype(np.float32)
    theirs = torch.from_numpy(x).requires_grad_()
    output = {"relu": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh}[forward.name.split("_")[0]](theirs)
    output.backward(torch.from_numpy(dy))
    (y,) = run(forward, "cpu", [x], [x])
    np.testing.assert_allclose(y, output.detach(), rtol=1e-6, atol=1e-37)
    np.testing.assert_allclose(run(backward, "cpu", [dy, y], [x])[0], theirs.grad, rtol=1e-5, atol=1e-37)
