"""Training curves as a picture."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any


def plot_curves(rows: Sequence[Mapping[str, Any]], path: str | os.PathLike[str] | None = None) -> Any:
    """Draw losses and accuracies over the epochs.

    Args:
        rows: the rows of a history; columns that are missing are left out.
        path: the picture's file, its kind told by its ending (.png, .svg, .pdf); None: write none.

    Returns:
        The matplotlib figure.

    Raises:
        ModuleNotFoundError: without matplotlib, saying what to install.
        ValueError: for an empty history.
    """
    rows = list(rows)
    if not rows:
        raise ValueError("plot_curves: the history is empty")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("plotting needs matplotlib: pip install 'numbanet[plot]'", name=error.name) from None
    # Figure and canvas by hand: pyplot would choose a window system and keep every figure alive.
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    losses, accuracies = figure.subplots(1, 2)
    panels = (
        (losses, "loss", (("loss", "training", "-"), ("test_loss", "test", "--"))),
        (accuracies, "accuracy", (("train_acc", "training", "-"), ("test_acc", "test", "--"))),
    )
    for axes, label, lines in panels:
        for column, name, style in lines:
            points = [(row["epoch"], row[column]) for row in rows if row.get(column) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), style, label=name, marker="o" if len(points) == 1 else None)
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    accuracies.set_ylim(0, 1)
    if path is not None:
        figure.savefig(path, dpi=120)
    return figure
