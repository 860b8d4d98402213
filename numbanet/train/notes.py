"""Helpers under the names that course notes know: ``train_ch6``, ``evaluate_accuracy_gpu``, ``Accumulator``, ``Timer``, ...

``from numbanet.train import notes as d2l`` stands in for the notes' own helper package.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from numbanet import nn, optim
from numbanet.autograd import no_grad
from numbanet.data import load_data_fashion_mnist
from numbanet.devices import Device, cuda_is_available
from numbanet.tensor import Tensor, zeros
from numbanet.train.history import History
from numbanet.train.metrics import Accumulator, count_correct

__all__ = [
    "Accumulator",
    "Timer",
    "accuracy",
    "corr2d",
    "evaluate_accuracy",
    "evaluate_accuracy_gpu",
    "load_data_fashion_mnist",
    "train_ch6",
    "try_all_gpus",
    "try_gpu",
]


class Timer:
    """Measures stretches of time; starts at once."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.start()

    def start(self) -> None:
        """Begin a stretch."""
        self._began = time.perf_counter()

    def stop(self) -> float:
        """End the stretch; returns its seconds."""
        self.times.append(time.perf_counter() - self._began)
        return self.times[-1]

    def avg(self) -> float:
        """Mean seconds of a stretch."""
        return sum(self.times) / len(self.times)

    def sum(self) -> float:
        """Seconds of all stretches."""
        return sum(self.times)

    def cumsum(self) -> list[float]:
        """Seconds up to the end of each stretch."""
        return [sum(self.times[: i + 1]) for i in range(len(self.times))]


def try_gpu(i: int = 0) -> Device:
    """The CUDA device ``i`` where numbanet can compute on it (a process uses the first it sees), else the CPU."""
    if cuda_is_available():
        from numbanet.devices import as_device

        try:
            return as_device(f"cuda:{i}")
        except RuntimeError:
            pass
    return Device("cpu")


def try_all_gpus() -> list[Device]:
    """All CUDA devices, or the CPU alone."""
    found: list[Device] = []
    while (device := try_gpu(len(found))).type == "cuda":
        found.append(device)
    return found or [Device("cpu")]


def corr2d(X: Tensor, K: Tensor) -> Tensor:
    """The 2-D cross-correlation of an image (H, W) with a kernel (KH, KW), loop by loop, as the notes write it.

    Returns:
        Shape (H - KH + 1, W - KW + 1).
    """
    h, w = K.shape
    Y = zeros((X.shape[0] - h + 1, X.shape[1] - w + 1))
    for i in range(Y.shape[0]):
        for j in range(Y.shape[1]):
            Y[i, j] = (X[i : i + h, j : j + w] * K).sum()
    return Y


def accuracy(y_hat: Any, y: Any) -> float:
    """The number (not the fraction) of right predictions."""
    return float(count_correct(y_hat, y))


def evaluate_accuracy_gpu(net: Any, data_iter: Iterable[Any], device: Any = None) -> float:
    """The fraction of right predictions over ``data_iter``; leaves a module in evaluation mode, as the notes do.

    Args:
        net: a module, or any function of a batch.
        data_iter: batches [X, y].
        device: where to compute; None: where the module's parameters are.
    """
    if isinstance(net, nn.Module):
        net.eval()
        if not device:
            device = next(iter(net.parameters())).device
    metric = Accumulator(2)
    with no_grad():
        for X, y in data_iter:
            X = [x.to(device) for x in X] if isinstance(X, list) else X.to(device)
            metric.add(accuracy(net(X), y), y.numel())
    return metric[0] / metric[1]


evaluate_accuracy = evaluate_accuracy_gpu


def train_ch6(
    net: Any, train_iter: Iterable[Any], test_iter: Iterable[Any], num_epochs: int, lr: float, device: Any
) -> History:
    """Train a network from Xavier initial weights with SGD, as the notes' function of this name.

    Args:
        net: a module.
        train_iter: batches [X, y] to learn from.
        test_iter: batches to evaluate after each epoch.
        num_epochs: how many times to go through ``train_iter``.
        lr: learning rate.
        device: where to train.

    Returns:
        The history, which also has ``plot``.
    """
    from numbanet.train.trainer import Trainer

    print("training on", device)
    net.apply(init_weights)
    net.to(device)
    trainer = Trainer(net, optim.SGD(net.parameters(), lr=lr), device=device)
    timer = Timer()
    history = trainer.fit(train_iter, test_iter, num_epochs)
    timer.stop()
    if len(history):
        images = sum(row["images_per_second"] * row["seconds"] for row in history)
        print(history.summary())
        print(f"{images / timer.sum():.1f} examples/sec on {device}")
    return history


def init_weights(m: Any) -> None:
    """Xavier's uniform initialisation for linear and convolution layers: ``net.apply(init_weights)``."""
    if type(m) in (nn.Linear, nn.Conv2d):
        nn.init.xavier_uniform_(m.weight)
