"""How good predictions are. All take scores and labels as tensors (on any device) or NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from numbanet import devices
from numbanet.dtypes import bfloat16
from numbanet.ops.boxes import box_iou
from numbanet.tensor import Tensor, from_numpy


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
    if not isinstance(values, Tensor):
        return np.asarray(values)
    host = devices.to_host(values._array)
    return host.astype(np.float32) if host.dtype == bfloat16 else host


def _scores_and_labels(name: str, output: Any, target: Any) -> tuple[np.ndarray, np.ndarray]:
    scores, labels = to_numpy(output), to_numpy(target)
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise ValueError(
            f"{name}: expected scores (N, classes) and labels (N,), got shapes {tuple(scores.shape)} and {tuple(labels.shape)}"
        )
    return scores, labels


def count_correct(output: Any, target: Any) -> int:
    """How many of N predictions, scores (N, classes) or classes (N,), agree with the labels (N,).

    Of labels that are probabilities (N, classes), as mixup makes them, the most probable class counts.
    """
    predictions, labels = to_numpy(output), to_numpy(target)
    if labels.ndim == 2 and labels.dtype.kind == "f" and labels.shape == predictions.shape and labels.shape[1] > 1:
        labels = labels.argmax(axis=1)
    if predictions.ndim > 1 and predictions.shape[1] > 1:
        predictions = predictions.argmax(axis=1)
    predictions = predictions.reshape(-1)
    if predictions.shape != labels.shape:
        raise ValueError(
            "accuracy: expected scores (N, classes) or classes (N,), and labels (N,), got shapes "
            f"{np.shape(to_numpy(output))} and {labels.shape}"
        )
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


def mean_iou(confusion: np.ndarray) -> float:
    """Intersection over union of each class's pixels, averaged over the classes that occur.

    Args:
        confusion: what :func:`confusion_matrix` gives for the classes of all pixels, (classes, classes).

    Returns:
        0 to 1; NaN where there are no pixels.

    Raises:
        ValueError: for an array that is not square.

    Reference:
        Everingham, Eslami, Van Gool, Williams, Winn, Zisserman 2015, The PASCAL visual object classes challenge: a
        retrospective, section 3.3 (segmentation).
    """
    confusion = np.asarray(confusion)
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1]:
        raise ValueError(f"mean_iou: expected a confusion matrix (classes, classes), got shape {confusion.shape}")
    right = np.diag(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - right
    occurs = union > 0
    return float((right[occurs] / union[occurs]).mean()) if occurs.any() else float("nan")


# -------------------------------------------------------------------------------------------------------- detection


def average_precisions(
    predictions: Sequence[Mapping[str, Any]],
    targets: Sequence[Mapping[str, Any]],
    iou_threshold: float = 0.5,
    eleven_points: bool = False,
) -> dict[int, float]:
    """Average precision of each class, as PASCAL VOC counts it.

    Detections of a class, of all images together, are gone through from the best score down. One is right if the true box
    of its image that it overlaps most has an IoU of the threshold at least, and nobody found that box before; a second find
    is wrong. Precision is the part of right ones among those so far, recall the part of the true boxes found so far.

    Args:
        predictions: for each image "boxes" (K, 4), xyxy, "scores" (K,) and "labels" (K,).
        targets: for each image "boxes" (M, 4) and "labels" (M,).
        iou_threshold: the IoU that is enough.
        eleven_points: average the precision at recalls 0, 0.1, ..., 1, as until 2009; else the area under the curve of
            precision over recall. Both take at each recall the best precision at that recall or above.

    Returns:
        class -> 0 to 1, for the classes that occur in ``targets``.

    Raises:
        ValueError: for lists of different lengths.

    Reference:
        Everingham, Van Gool, Williams, Winn, Zisserman 2010, The PASCAL visual object classes challenge, section 4.2.
    """
    if len(predictions) != len(targets):
        raise ValueError(f"average_precisions: {len(predictions)} predictions for {len(targets)} targets")
    said = [{name: to_numpy(image[name]) for name in ("boxes", "scores", "labels")} for image in predictions]
    true = [{name: to_numpy(image[name]) for name in ("boxes", "labels")} for image in targets]
    classes = np.unique(np.concatenate([image["labels"].reshape(-1) for image in true] or [np.zeros(0, np.int64)]))
    found = {}
    for label in classes.tolist():
        right, total = _right_detections(said, true, label, iou_threshold)
        hits = np.cumsum(right)
        found[int(label)] = _area(hits / total, hits / np.arange(1, len(hits) + 1), eleven_points)
    return found


def mean_average_precision(
    predictions: Sequence[Mapping[str, Any]],
    targets: Sequence[Mapping[str, Any]],
    iou_threshold: float = 0.5,
    eleven_points: bool = False,
) -> float:
    """The mean of :func:`average_precisions` over the classes, which takes the same arguments; NaN without true boxes."""
    found = average_precisions(predictions, targets, iou_threshold, eleven_points)
    return sum(found.values()) / len(found) if found else float("nan")


def _right_detections(
    said: list[dict[str, np.ndarray]], true: list[dict[str, np.ndarray]], label: int, threshold: float
) -> tuple[np.ndarray, int]:
    """Of the detections of a class, best first, which are right; and how many true boxes there are."""
    scores, right = [np.zeros(0)], [np.zeros(0, bool)]
    total = 0
    for image, target in zip(said, true, strict=True):
        own, boxes = image["labels"] == label, target["boxes"][target["labels"] == label]
        total += len(boxes)
        values = image["scores"][own]
        hits = np.zeros(len(values), bool)
        if len(boxes) and len(values):
            iou = box_iou(_boxes(image["boxes"][own]), _boxes(boxes)).numpy()
            taken = np.zeros(len(boxes), bool)
            for i in np.argsort(-values, kind="stable"):
                best = iou[i].argmax()
                hits[i] = iou[i, best] >= threshold and not taken[best]
                taken[best] |= hits[i]
        scores.append(values)
        right.append(hits)
    order = np.argsort(-np.concatenate(scores), kind="stable")
    return np.concatenate(right)[order], total


def _boxes(array: np.ndarray) -> Tensor:
    return from_numpy(np.ascontiguousarray(array, np.float64).reshape(-1, 4))


def _area(recall: np.ndarray, precision: np.ndarray, eleven_points: bool) -> float:
    best = np.maximum.accumulate(precision[::-1])[::-1]  # at this recall or above
    if eleven_points:
        # Recall is a fraction of small integers, whose rounding must not decide.
        reached = [best[recall >= point / 10 - 1e-9] for point in range(11)]
        return float(sum(values[0] if len(values) else 0.0 for values in reached) / 11)
    return float((np.diff(recall, prepend=0.0) * best).sum())
