"""Tensors on CUDA: copies there and back, views, mixed devices, missing twins."""

from __future__ import annotations

import math

import numpy as np
import pytest

import numbanet
from numbanet import nn
from numbanet.devices import cuda_is_available
from numbanet.functional.gradients import total_norm
from numbanet.kernels.kernel import Kernel
from numbanet.nn import functional as F

cuda_test = pytest.mark.cuda
needs_cuda = pytest.mark.skipif(not cuda_is_available(), reason="no GPU and no simulator (NUMBA_ENABLE_CUDASIM=1)")

# Kernels that have no CUDA twin. A name goes in when a kernel is born without one, and out when it gets one.
WITHOUT_CUDA_TWIN: set[str] = set()


def there(array, **kwargs):
    return numbanet.tensor(array, device="cuda", **kwargs)


def values(tensor):
    assert tensor.device.type == "cuda"
    return tensor.detach().cpu().numpy()


def test_the_kernels_without_a_cuda_twin_are_known():
    from numbanet.kernels.assemble import kernel_modules

    kernel_modules()  # all kernels
    assert {name for name, kernel in Kernel.table.items() if kernel.cuda is None} == WITHOUT_CUDA_TWIN


@cuda_test
@needs_cuda
def test_a_missing_twin_names_kernel_and_device(monkeypatch):
    monkeypatch.setattr(Kernel, "table", dict(Kernel.table))
    kernel = Kernel("sharpen", reference=lambda x, y: None, cpu=lambda x, y: None)
    with pytest.raises(NotImplementedError, match=r"sharpen.*cuda"):
        kernel(there([1.0])._array, there([1.0])._array)
    other = Kernel("blur", reference=lambda x, y: None, cpu=None, cuda=lambda x, y: None)
    with pytest.raises(NotImplementedError, match=r"blur.*cpu"):
        other(np.ones(1), np.ones(1))


@cuda_test
@needs_cuda
@pytest.mark.parametrize("p", [1.0, 2.0, math.inf])
def test_the_norm_of_many_gradients(p):
    arrays = [np.linspace(-3, 2, n, dtype=np.float32) for n in (1, 12, 70)]
    total = total_norm([there(array) for array in arrays], p)
    np.testing.assert_allclose(values(total), np.linalg.norm(np.concatenate(arrays), p), rtol=1e-6)


@cuda_test
@needs_cuda
def test_round_trips():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    x = numbanet.tensor(array)
    moved = x.to("cuda")
    assert moved.device == numbanet.device("cuda")
    assert moved.is_cuda
    assert moved.to("cuda") is moved
    assert not x.is_cuda
    np.testing.assert_array_equal(moved.cpu().numpy(), array)
    np.testing.assert_array_equal(x.cuda().to("cpu").numpy(), array)
    labels = numbanet.tensor([3, 1], device="cuda")
    assert labels.dtype == numbanet.int64
    np.testing.assert_array_equal(values(labels), [3, 1])
    with pytest.raises(TypeError, match="cpu"):
        moved.numpy()


@cuda_test
@needs_cuda
def test_gradients_travel_between_devices():
    x = numbanet.tensor([1.0, -2.0], requires_grad=True)
    (x.to("cuda") * 3).cpu().sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [3, 3])
    assert x.grad.device.type == "cpu"


@cuda_test
@needs_cuda
def test_creation_and_arithmetic():
    a = numbanet.ones(2, 3, device="cuda")
    b = numbanet.zeros((3,), device="cuda") + 2
    np.testing.assert_array_equal(values(a * b - 0.5), np.full((2, 3), 1.5, np.float32))
    assert (a + b).sum().item() == 18
    assert bool((a < b).all().item())
    a += 1
    np.testing.assert_array_equal(values(a), np.full((2, 3), 2, np.float32))
    np.testing.assert_allclose(values(there([[1.0, 2.0]]) @ there([[3.0], [4.0]])), [[11]])


@cuda_test
@needs_cuda
def test_views_share_memory():
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    x = there(array)
    np.testing.assert_array_equal(values(x.view(2, 6)), array.reshape(2, 6))
    np.testing.assert_array_equal(values(x.t()), array.T)
    np.testing.assert_array_equal(values(x.t().reshape(2, 6)), array.T.reshape(2, 6))
    np.testing.assert_array_equal(values(x[1:, ::2]), array[1:, ::2])
    np.testing.assert_array_equal(values(x[1]), array[1])
    x[1:, 2] = 9
    array[1:, 2] = 9
    np.testing.assert_array_equal(values(x), array)
    row = x[0]
    row.zero_()
    array[0] = 0
    np.testing.assert_array_equal(values(x), array)
    np.testing.assert_array_equal(values(numbanet.cat((x, x + 1), 1)), np.concatenate((array, array + 1), 1))
    np.testing.assert_array_equal(values(numbanet.stack([x, x])), np.stack([array, array]))


@cuda_test
@needs_cuda
def test_gradients_of_views():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    found = []
    for device in ("cpu", "cuda"):
        x = numbanet.tensor(array, device=device, requires_grad=True)
        y = numbanet.cat((x[:, 1:], x.t()[:2].t()), 0)
        (y * y).sum().backward()
        found.append(x.grad.cpu().numpy())
    np.testing.assert_array_equal(*found)


@cuda_test
@needs_cuda
@pytest.mark.parametrize(
    "mix",
    [
        lambda x, y: x + y,
        lambda x, y: x @ y,
        lambda x, y: F.linear(x, y),
        lambda x, y: F.conv2d(x[None, None], y[None, None]),
        lambda x, y: numbanet.cat((x, y)),
        lambda x, y: F.mse_loss(x, y),
    ],
    ids=["add", "matmul", "linear", "conv2d", "cat", "mse_loss"],
)
def test_mixed_devices_are_refused(mix):
    with pytest.raises((RuntimeError, TypeError), match=r"(?s)cpu.*cuda|cuda.*cpu"):
        mix(numbanet.ones(2, 2), numbanet.ones(2, 2, device="cuda"))


@cuda_test
@needs_cuda
def test_modules_move():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    assert net.to("cuda") is net
    assert {p.device.type for p in net.parameters()} == {"cuda"}
    assert net[1].running_mean.device.type == "cuda"
    out = net(numbanet.ones(2, 1, 4, 4, device="cuda"))
    assert out.device.type == "cuda"
    with pytest.raises(RuntimeError, match=r"(?s)cpu.*cuda|cuda.*cpu"):
        net(numbanet.ones(2, 1, 4, 4))
    net.cpu()
    assert {p.device.type for p in net.parameters()} == {"cpu"}
    state = nn.Linear(2, 2).to("cuda").state_dict()
    again = nn.Linear(2, 2)
    again.load_state_dict(state)  # from one device to another
    assert again.weight.device.type == "cpu"


@pytest.mark.skipif(cuda_is_available(), reason="CUDA is here")
def test_without_cuda_the_error_says_what_to_do():
    with pytest.raises(RuntimeError, match=r"CUDA is not available.*numbanet\[cuda\].*NUMBA_ENABLE_CUDASIM"):
        numbanet.ones(2).to("cuda")
