"""What all pictures share: figures without a window system, images made fit to be shown."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from numbanet.tensor import Tensor

Path = str | os.PathLike[str]


def new_figure(width: float, height: float, title: str | None = None) -> Any:
    """An empty figure, its size in inches.

    Raises:
        ModuleNotFoundError: without matplotlib, saying what to install.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("plotting needs matplotlib: pip install 'numbanet[plot]'", name=error.name) from None
    # Figure and canvas by hand: pyplot would choose a window system and keep every figure alive.
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def finish(figure: Any, path: Path | None) -> Any:
    """Write the figure if there is a path, its kind told by its ending (.png, .svg, .pdf); returns it."""
    if path is not None:
        figure.savefig(path, dpi=120)
    return figure


def to_array(values: Any) -> np.ndarray:
    """Values on the host, outside the graph."""
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def show_image(axes: Any, image: Any) -> None:
    """An image (C, H, W), in grey or in colours, without ticks."""
    pixels = _between_0_and_1(image)
    if pixels.shape[0] == 3:
        axes.imshow(pixels.transpose(1, 2, 0), interpolation="nearest")
    else:
        axes.imshow(pixels[0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])


def brightness(image: Any) -> np.ndarray:
    """An image's (C, H, W) brightness (H, W), from 0 to 1."""
    return _between_0_and_1(image).mean(0)


def _between_0_and_1(image: Any) -> np.ndarray:
    """Numbers beyond 0 and 1 are scaled to what there is."""
    pixels = to_array(image).astype(np.float64)
    low, high = pixels.min(), pixels.max()
    return (pixels - low) / max(high - low, 1e-12) if low < 0 or high > 1 else pixels


def grid_of(count: int, widest: int = 8) -> tuple[int, int]:
    """Rows and columns for a number of small pictures."""
    columns = min(widest, max(1, int(np.ceil(np.sqrt(count * 1.6)))))
    return -(-count // columns), columns
