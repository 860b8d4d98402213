"""Pictures of a classifier's decisions: which classes it takes for which, and the images that it gets wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from numbanet.inspect.figures import Path, finish, grid_of, new_figure, show_image, to_array


def plot_confusion_matrix(
    matrix: Any, classes: Sequence[str] | None = None, path: Path | None = None, title: str = "Confusion matrix"
) -> Any:
    """Draw which classes are taken for which: shares of each label's images as colours, their numbers as text.

    Of more than 30 classes there are the colours alone, and places in the list for names.

    Args:
        matrix: counts (classes, classes), a row for each label and a column for each prediction, as
            ``numbanet.train.confusion_matrix`` makes it.
        classes: the classes' names; None for their numbers.
        path: the picture's file, its kind told by its ending (.png, .svg, .pdf); None: write none.
        title: stands above, and behind it the accuracy.

    Returns:
        The matplotlib figure.

    Raises:
        ValueError: for what is not a square of counts, or another number of names.
        ModuleNotFoundError: without matplotlib.
    """
    counts, names = _checked("plot_confusion_matrix", matrix, classes)
    n = len(counts)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    accuracy = np.trace(counts) / max(counts.sum(), 1)
    side = max(4.5, 0.52 * n + 1.8) if n <= 30 else 9.0
    figure = new_figure(side + 1.2, side, f"{title}: {counts.sum():,} images, accuracy {accuracy:.3f}")
    axes = figure.subplots()
    mappable = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if n <= 30:
        for i, j in np.argwhere(counts):
            axes.text(
                j,
                i,
                counts[i, j],
                ha="center",
                va="center",
                fontsize=8,
                color="white" if shares[i, j] > 0.5 else "black",
            )
        axes.set_xticks(range(n), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=9)
        axes.set_yticks(range(n), names, fontsize=9)
    axes.set(xlabel="prediction", ylabel="label")
    figure.colorbar(mappable, ax=axes, label="share of the label's images", fraction=0.046)
    return finish(figure, path)


def plot_class_accuracy(
    matrix: Any, classes: Sequence[str] | None = None, path: Path | None = None, title: str = "Accuracy by class"
) -> Any:
    """Draw for each class which share of its images is found (recall) and which share of what is taken for it is right (precision).

    Words stand for the bars of a class that has no images or is never predicted: there is no such share.

    Args:
        matrix: counts (classes, classes), a row for each label and a column for each prediction.
        classes: the classes' names; None for their numbers.
        path: the picture's file; None: write none.
        title: stands above.

    Returns:
        The matplotlib figure.

    Raises:
        ValueError: for what is not a square of counts, or another number of names.
        ModuleNotFoundError: without matplotlib.
    """
    counts, names = _checked("plot_class_accuracy", matrix, classes)
    n = len(counts)
    right = np.diag(counts)
    figure = new_figure(6.5, 0.34 * n + 1.3, title)
    axes = figure.subplots()
    places = np.arange(n)
    bars = ((-0.2, 1, "recall", "#5b8dc9", "no images"), (0.2, 0, "precision", "#d99a3d", "never predicted"))
    for shift, among, label, color, none in bars:
        totals = counts.sum(among)
        axes.barh(places + shift, right / np.maximum(totals, 1), 0.38, label=label, color=color)
        for place in places[totals == 0]:
            axes.text(0.01, place + shift, none, va="center", fontsize=7, color=color)
    axes.set_yticks(places, names, fontsize=9)
    axes.set(xlim=(0, 1), xlabel="share of images")
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    return finish(figure, path)


def plot_misclassified(
    images: Any,
    labels: Any,
    scores: Any,
    classes: Sequence[str] | None = None,
    path: Path | None = None,
    limit: int = 24,
) -> Any:
    """Draw images that a classifier takes for something else, those first of which it is most certain.

    Args:
        images: shape (N, C, H, W), as the network gets them; tensors or arrays, as all three.
        labels: the right classes (N,).
        scores: the network's outputs (N, classes), before the softmax.
        classes: the classes' names; None for their numbers.
        path: the picture's file; None: write none.
        limit: how many to show at most.

    Returns:
        The matplotlib figure. Above each image stands its label, and what it is taken for with which probability.

    Raises:
        ValueError: for arrays that do not belong together, or a limit below 1.
        ModuleNotFoundError: without matplotlib.
    """
    pictures, truth, values = to_array(images), to_array(labels), to_array(scores).astype(np.float64)
    if pictures.ndim != 4 or truth.shape != pictures.shape[:1] or values.shape[:1] != truth.shape or values.ndim != 2:
        raise ValueError(
            "plot_misclassified: expected images (N, C, H, W), labels (N,) and scores (N, classes), got shapes "
            f"{pictures.shape}, {truth.shape} and {values.shape}"
        )
    names = [str(i) for i in range(values.shape[1])] if classes is None else list(classes)
    if len(names) != values.shape[1]:
        raise ValueError(f"plot_misclassified: got {len(names)} names for scores of {values.shape[1]} classes")
    if truth.size and not 0 <= truth.min() <= truth.max() < values.shape[1]:
        raise ValueError(
            f"plot_misclassified: labels from {truth.min()} to {truth.max()} for scores of {values.shape[1]} classes"
        )
    if limit < 1:
        raise ValueError(f"plot_misclassified: limit must be at least 1, got {limit}")
    shares = np.exp(values - values.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    taken = shares.argmax(1)
    wrong = np.flatnonzero(taken != truth)
    wrong = wrong[np.argsort(-shares[wrong, taken[wrong]], kind="stable")]
    shown = wrong[:limit]
    rows, columns = grid_of(max(len(shown), 1), 8)
    title = f"{len(wrong):,} of {len(truth):,} images are taken for something else"
    if len(shown) < len(wrong):
        title += f"; the {len(shown)} of which the network is most certain"
    figure = new_figure(max(1.35 * columns, 7.0), 1.75 * rows + 0.5, title)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, i in zip(grid.flat, shown, strict=False):
        show_image(axes, pictures[i])
        axes.set_title(f"{names[truth[i]]}\n", fontsize=8, color="#2e7d32", pad=4)
        said = f"{names[taken[i]]} {shares[i, taken[i]]:.2f}"
        axes.text(0.5, 1.03, said, transform=axes.transAxes, ha="center", va="bottom", fontsize=8, color="#c62828")
    for axes in grid.flat[len(shown) :]:
        axes.axis("off")
    figure.supxlabel("green: label; red: what it is taken for, with the probability", fontsize=9)
    return finish(figure, path)


def _checked(caller: str, matrix: Any, classes: Sequence[str] | None) -> tuple[np.ndarray, list[str]]:
    """A confusion matrix as an array, and the classes' names."""
    counts = to_array(matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size or counts.min() < 0:
        raise ValueError(f"{caller}: expected counts (classes, classes), got an array of shape {counts.shape}")
    names = [str(i) for i in range(len(counts))] if classes is None else list(classes)
    if len(names) != len(counts):
        raise ValueError(f"{caller}: got {len(names)} names for {len(counts)} classes")
    return counts, names
