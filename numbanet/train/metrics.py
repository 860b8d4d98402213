"""How good predictions are. All take scores and labels as tensors (on any device) or NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from numbanet import devices
from numbanet.tensor import Tensor


class Accumulator:
    """Sums of n quantities over batches.

    Args:
        n: how many.
    """

    def __init__(self, n: int) -> None:
        self.data = [0.0] * n

    def add(self, *args: Any) -> None:
        """Add one number (or tensor of one element) to each sum."""
        if len(args) != len(self.data):
            raise ValueError(f"Accumulator: has {len(self.data)} sums, got {len(args)} numbers")
        self.data = [a + float(b) for a, b in zip(self.data, args, strict=True)]

    def reset(self) -> None:
        """Back to zero."""
        self.data = [0.0] * len(self.data)

    def __getitem__(self, index: int) -> float:
        return self.data[index]


def to_numpy(values: Any) -> np.ndarray:
    """Values on the host, outside the graph."""
    return devices.to_host(values._array) if isinstance(values, Tensor) else np.asarray(values)


def _scores_and_labels(name: str, output: Any, target: Any) -> tuple[np.ndarray, np.ndarray]:
    scores, labels = to_numpy(output), to_numpy(target)
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise ValueError(
            f"{name}: expected scores (N, classes) and labels (N,), got shapes {tuple(scores.shape)} and {tuple(labels.shape)}"
        )
    return scores, labels


def count_correct(output: Any, target: Any) -> int:
    """How many of N predictions, scores (N, classes) or classes (N,), agree with the labels (N,)."""
    predictions, labels = to_numpy(output), to_numpy(target)
    if predictions.ndim > 1 and predictions.shape[1] > 1:
        predictions = predictions.argmax(axis=1)
    predictions = predictions.reshape(-1)
    if predictions.shape != labels.shape:
        raise ValueError(f"accuracy: {predictions.shape[0]} predictions for labels of shape {tuple(labels.shape)}")
    return int(np.count_nonzero(predictions.astype(labels.dtype, copy=False) == labels))


def accuracy(output: Any, target: Any) -> float:
    """The fraction of right predictions.

    Args:
        output: scores (N, classes), or predicted classes (N,).
        target: labels (N,).
    """
    count = to_numpy(target).shape[0]
    return count_correct(output, target) / count if count else float("nan")


def top_k_accuracy(output: Any, target: Any, k: int = 5) -> float:
    """The fraction of samples whose label is among the k highest scores; equal scores count against the label.

    Args:
        output: scores (N, classes).
        target: labels (N,).
        k: from 1 to the number of classes.
    """
    scores, labels = _scores_and_labels("top_k_accuracy", output, target)
    if not 1 <= k <= scores.shape[1]:
        raise ValueError(f"top_k_accuracy: k must be from 1 to the number of classes {scores.shape[1]}, got {k}")
    own = np.take_along_axis(scores, labels[:, None].astype(np.intp), axis=1)
    at_least = (scores >= own).sum(axis=1)  # NaN compares false: a row of NaN would seem right
    return float(((at_least <= k) & np.isfinite(own[:, 0])).mean()) if len(labels) else float("nan")


def confusion_matrix(output: Any, target: Any, num_classes: int | None = None) -> np.ndarray:
    """How often each class was taken for each other.

    Args:
        output: scores (N, classes), or predicted classes (N,).
        target: labels (N,).
        num_classes: size of the matrix; None: from the scores, else from the largest class that occurs.

    Returns:
        int64 (classes, classes): rows are labels, columns predictions.
    """
    predictions, labels = to_numpy(output), to_numpy(target).astype(np.int64)
    if predictions.ndim == 2:
        num_classes = num_classes or predictions.shape[1]
        predictions = predictions.argmax(axis=1)
    predictions = predictions.astype(np.int64)
    if predictions.shape != labels.shape:
        raise ValueError(f"confusion_matrix: {predictions.shape} predictions for labels of shape {labels.shape}")
    if num_classes is None:
        num_classes = int(max(predictions.max(initial=-1), labels.max(initial=-1))) + 1
    for name, values in (("prediction", predictions), ("label", labels)):
        if values.size and not 0 <= values.min() <= values.max() < num_classes:
            raise ValueError(f"confusion_matrix: a {name} lies outside 0 ... {num_classes - 1}")
    counts = np.bincount(labels * num_classes + predictions, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)
