"""Training curves as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numbanet.inspect.figures import Path, finish, new_figure

_PANELS = (
    ("loss", (("loss", "training", "-"), ("test_loss", "test", "--"))),
    ("accuracy", (("train_acc", "training", "-"), ("test_acc", "test", "--"))),
)


def plot_curves(rows: Sequence[Mapping[str, Any]], path: Path | None = None, title: str | None = None) -> Any:
    """Draw losses and accuracies over the epochs; the legend has the last epoch's numbers.

    Args:
        rows: the rows of a history; columns that are missing are left out.
        path: the picture's file, its kind told by its ending (.png, .svg, .pdf); None: write none.
        title: stands above; None for none.

    Returns:
        The matplotlib figure.

    Raises:
        ModuleNotFoundError: without matplotlib, saying what to install.
        ValueError: for an empty history.
    """
    rows = list(rows)
    if not rows:
        raise ValueError("plot_curves: the history is empty")
    figure = new_figure(9, 3.6, title)
    from matplotlib.ticker import MaxNLocator

    # All epochs, also those whose loss is no number; a single one in the middle.
    first, last = min(row["epoch"] for row in rows), max(row["epoch"] for row in rows)
    margin = 0.05 * (last - first) or 0.5
    for axes, (label, lines) in zip(figure.subplots(1, 2), _PANELS, strict=True):
        lowest = 1.0
        for column, name, style in lines:
            points = [(row["epoch"], row[column]) for row in rows if row.get(column) is not None]
            if points:
                legend = f"{name}: {points[-1][1]:.3f} at the end"
                axes.plot(*zip(*points, strict=True), style, label=legend, marker="o" if len(points) == 1 else None)
                lowest = min(lowest, *(value for _, value in points))
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_xlim(first - margin, last + margin)
        axes.grid(alpha=0.3)
        if label == "accuracy":
            axes.set_ylim(0 if lowest < 0.5 else 0.5, 1)
        if axes.lines:
            axes.legend()
    return finish(figure, path)
