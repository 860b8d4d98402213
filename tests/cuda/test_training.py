"""Whole paths on CUDA, a GPU or the simulator: a training step there equals the CPU's."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import numbanet
from numbanet import nn, optim
from numbanet.devices import SIMULATOR, cuda_is_available
from numbanet.kernels import launch
from numbanet.nn import functional as F

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not cuda_is_available(), reason="no GPU and no simulator (NUMBA_ENABLE_CUDASIM=1)"),
]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """The simulator runs an operating system's thread for each CUDA thread: few of them, please."""
    if SIMULATOR:
        monkeypatch.setattr(launch, "THREADS", 32)
        monkeypatch.setattr(launch, "TILE", 4)


def random(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def close(a, b, rtol=1e-4, atol=1e-5):
    a, b = np.asarray(a), np.asarray(b)
    assert a.dtype == b.dtype
    assert np.isfinite(a).all()
    np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def host(tensor):
    return tensor.detach().cpu().numpy()


def small_lenet():
    """LeNet's layers for images of 8 x 8."""
    return nn.Sequential(
        nn.Conv2d(1, 2, kernel_size=5, padding=2),
        nn.Sigmoid(),
        nn.AvgPool2d(kernel_size=2, stride=2),
        nn.Conv2d(2, 3, kernel_size=3),
        nn.Sigmoid(),
        nn.AvgPool2d(kernel_size=2, stride=2),
        nn.Flatten(),
        nn.Linear(3, 6),
        nn.Sigmoid(),
        nn.Linear(6, 5),
    )


def small_lenet_bn():
    return nn.Sequential(
        nn.Conv2d(1, 3, kernel_size=3),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.MaxPool2d(kernel_size=2, stride=2),
        nn.Flatten(),
        nn.Linear(12, 6),
        nn.BatchNorm1d(6),
        nn.Tanh(),
        nn.Linear(6, 5),
    )


def steps(net, optimizer, images, labels, device, count):
    """Losses of some training steps on a device, and the gradients of the last one."""
    net = net.to(device)
    x, y = numbanet.tensor(images).to(device), numbanet.tensor(labels).to(device)
    losses = []
    update = optimizer(net.parameters())
    for _ in range(count):
        update.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        update.step()
        assert loss.device.type == device
        losses.append(loss.item())
    return losses, [host(p.grad) for p in net.parameters()]


def check_steps(net, images, labels, optimizer, count=2):
    on_cpu, on_cuda = net, copy.deepcopy(net)
    cpu_losses, cpu_grads = steps(on_cpu, optimizer, images, labels, "cpu", count)
    cuda_losses, cuda_grads = steps(on_cuda, optimizer, images, labels, "cuda", count)
    np.testing.assert_allclose(cuda_losses, cpu_losses, rtol=1e-5)
    assert cuda_losses[-1] < cuda_losses[0] or count == 1
    for ours, theirs in zip(cuda_grads, cpu_grads, strict=True):
        close(ours, theirs, 1e-3, 1e-6)
    for (name, ours), theirs in zip(on_cuda.state_dict().items(), on_cpu.state_dict().values(), strict=True):
        assert ours.device.type == "cuda", name
        close(host(ours), host(theirs), 1e-3, 1e-6)


def test_lenet_step_equals_the_cpus():
    check_steps(small_lenet(), random(0, 2, 1, 8, 8), np.array([1, 4]), lambda p: optim.SGD(p, lr=0.5))


def test_lenet_with_batch_norm_and_momentum_equals_the_cpus():
    net = small_lenet_bn()
    check_steps(
        net,
        random(1, 4, 1, 6, 6),
        np.array([0, 1, 2, 3]),
        lambda p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    )


def test_adam_equals_the_cpus():
    net = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    check_steps(net, random(2, 3, 5), np.array([0, 2, 1]), lambda p: optim.Adam(p, lr=0.01))


def test_results_do_not_depend_on_the_launch(monkeypatch):
    """The whole of a step, with other blocks."""
    images, labels = random(3, 2, 1, 8, 8), np.array([0, 1])
    net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Sigmoid(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32, 3))
    found = []
    for threads, tile in ((8, 2), (32, 4)):
        monkeypatch.setattr(launch, "THREADS", threads)
        monkeypatch.setattr(launch, "TILE", tile)
        found.append(steps(copy.deepcopy(net), lambda p: optim.SGD(p, lr=0.1), images, labels, "cuda", 1))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-6)
    for a, b in zip(found[0][1], found[1][1], strict=True):
        close(a, b, 1e-4, 1e-6)


@pytest.mark.slow
def test_the_real_lenet_step_equals_the_cpus(monkeypatch):
    """One image; in the simulator the 58,000 weights of the dense layers get gradients, but only the small ones a step."""
    if SIMULATOR:
        monkeypatch.setattr(launch, "TILE", 8)
    from numbanet.models import lenet

    def small_ones(parameters):
        return optim.SGD([p for p in parameters if p.numel() < 1000 or not SIMULATOR], lr=0.9)

    check_steps(lenet(), random(4, 1, 1, 28, 28), np.array([3]), small_ones, count=1)


def test_evaluation_mode():
    net = small_lenet_bn()
    x = random(5, 3, 1, 6, 6)
    net(numbanet.tensor(x))  # moves the running statistics
    net.eval()
    there = copy.deepcopy(net).to("cuda")
    with numbanet.no_grad():
        close(host(there(numbanet.tensor(x).to("cuda"))), net(numbanet.tensor(x)).numpy())


def test_the_trainer_equals_the_cpus():
    """An epoch with evaluation: batches are copied in the background, results are fetched some steps at a time."""
    from numbanet.data import DataLoader, TensorDataset
    from numbanet.train import Trainer

    images, labels = numbanet.tensor(random(6, 5, 1, 2, 2)), numbanet.tensor([0, 2, 1, 1, 0])
    loader = DataLoader(TensorDataset(images, labels), 2)
    start = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    rows = []
    for device in ("cpu", "cuda"):
        net = copy.deepcopy(start)
        trainer = Trainer(net, lr=0.5, device=device, progress=False)
        rows.append(trainer.fit(loader, loader, epochs=1)[-1])
        assert net[1].weight.device.type == device
    for name in ("loss", "train_acc", "test_loss", "test_acc"):
        np.testing.assert_allclose(rows[1][name], rows[0][name], rtol=1e-5)
