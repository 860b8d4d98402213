"""The helpers that the notes take from their own package, for the runs with PyTorch."""

from __future__ import annotations

from typing import Any

import torch


class Accumulator:
    def __init__(self, n: int) -> None:
        self.data = [0.0] * n

    def add(self, *args: Any) -> None:
        self.data = [a + float(b) for a, b in zip(self.data, args, strict=True)]

    def __getitem__(self, index: int) -> float:
        return self.data[index]


def accuracy(y_hat: Any, y: Any) -> float:
    if y_hat.ndim > 1:
        y_hat = y_hat.argmax(dim=1)
    return float((y_hat == y).sum())


def try_gpu(i: int = 0) -> Any:
    return torch.device("cpu")
