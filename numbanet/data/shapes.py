"""Images that are drawn when they are asked for: coloured shapes on textured ground, with boxes, masks and classes.

For segmentation and detection where no photographs can be had. Sample i of a seed is always the same image, whoever asks for it
and in what order; another seed gives other images, for testing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from numbanet.data.collate import default_collate
from numbanet.data.dataset import Dataset
from numbanet.tensor import Tensor, from_numpy

__all__ = ["SyntheticShapes", "detection_collate"]

_VISIBLE = 0.7  # the part of a shape that those in front of it leave, at least


class SyntheticShapes(Dataset):
    """Circles, squares and triangles of random colours, sizes and angles, which may hide parts of each other.

    Args:
        length: number of samples.
        size: H = W of the images, 16 at least.
        max_shapes: each image has 1 to this many shapes.
        seed: of all samples.
        target: "detection" or "segmentation".

    Each sample is a pair of the image, float32 (3, H, W) from 0 to 1, and

        for detection        a dictionary with M shapes, back to front: "boxes" float32 (M, 4), xyxy in pixels, of what is
                             visible; "labels" int64 (M,), 1 to 3; "masks" uint8 (M, H, W), 1 where a shape is visible.
                             Their loader needs ``collate_fn=detection_collate``.
        for segmentation     the class of each pixel, int64 (H, W), 0 to 3.

    Attributes:
        classes: the names of classes 0 to 3.

    Raises:
        ValueError: for a negative length, a size below 16, no shapes, or another target.
    """

    classes: ClassVar[list[str]] = ["background", "circle", "square", "triangle"]

    def __init__(
        self, length: int = 1000, size: int = 64, max_shapes: int = 3, seed: int = 0, target: str = "detection"
    ) -> None:
        if length < 0 or size < 16 or max_shapes < 1:
            raise ValueError(
                f"SyntheticShapes: expected length >= 0, size >= 16 and max_shapes >= 1, got {length}, {size} and {max_shapes}"
            )
        if target not in ("detection", "segmentation"):
            raise ValueError(f"SyntheticShapes: expected target 'detection' or 'segmentation', got {target!r}")
        self.length, self.size, self.max_shapes, self.seed, self.target = length, size, max_shapes, seed, target

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        if not -self.length <= index < self.length:
            raise IndexError(f"SyntheticShapes: index {index} is out of range for {self.length} samples")
        image, masks, labels = _draw(
            np.random.default_rng((self.seed, index % self.length)), self.size, self.max_shapes
        )
        if self.target == "segmentation":
            return from_numpy(image), from_numpy((masks * labels[:, None, None]).sum(axis=0))
        boxes = np.array([_box(mask) for mask in masks], np.float32)
        target = {"boxes": boxes, "labels": labels, "masks": masks.astype(np.uint8)}
        return from_numpy(image), {name: from_numpy(array) for name, array in target.items()}

    def __repr__(self) -> str:
        return (
            f"SyntheticShapes(length={self.length}, size={self.size}, max_shapes={self.max_shapes}, seed={self.seed}, "
            f"target={self.target!r})"
        )


def detection_collate(samples: Sequence[tuple[Any, Any]]) -> tuple[Any, list[Any]]:
    """Samples (image, target) as a batch of images and a list of targets, which differ in how many boxes they have."""
    return default_collate([image for image, _ in samples]), [target for _, target in samples]


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """The smallest box (x1, y1, x2, y2) around the pixels of a mask (H, W)."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def _draw(rng: np.random.Generator, size: int, max_shapes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image float32 (3, H, W), its shapes' visible masks bool (M, H, W), and their classes int64 (M,)."""
    y, x = np.mgrid[:size, :size] + 0.5
    image = _ground(rng, x, y, size)
    masks: list[np.ndarray] = []
    areas: list[int] = []  # of the whole shapes
    labels: list[int] = []
    wanted = int(rng.integers(1, max_shapes + 1))
    for _ in range(10 * wanted):
        label = int(rng.integers(1, 4))
        radius = rng.uniform(0.12, 0.28) * size
        centre = rng.uniform(radius, size - radius, 2)
        outside = _distance(label, x - centre[0], y - centre[1], radius, rng.uniform(0, 2 * np.pi))
        inside = outside < 0
        left = [mask & ~inside for mask in masks]
        if any(mask.sum() < _VISIBLE * area for mask, area in zip(left, areas)):
            continue
        masks, areas, labels = [*left, inside], [*areas, int(inside.sum())], [*labels, label]
        cover = np.clip(0.5 - outside, 0, 1)  # how much of each pixel: edges are smooth
        paint = _vivid(rng)[:, None, None] * (0.75 + 0.25 * _noise(rng, size, 3))
        image += cover * (paint - image)
        if len(masks) == wanted:
            break
    return np.clip(image, 0, 1).astype(np.float32), np.stack(masks), np.array(labels, np.int64)


def _distance(label: int, x: np.ndarray, y: np.ndarray, radius: float, angle: float) -> np.ndarray:
    """How far pixels are from a shape around (0, 0); negative within. All corners lie on one circle."""
    if label == 1:
        return np.hypot(x, y) - radius
    corners = 4 if label == 2 else 3
    # The farthest of the distances from the sides' lines, whose normals point away from the middle.
    normals = angle + 2 * np.pi * np.arange(corners) / corners
    sides = np.multiply.outer(np.cos(normals), x) + np.multiply.outer(np.sin(normals), y)
    return sides.max(axis=0) - radius * np.cos(np.pi / corners)


def _vivid(rng: np.random.Generator) -> np.ndarray:
    """A strong colour (3,): one channel high, one low, one anywhere."""
    return rng.permutation([rng.uniform(0.8, 1.0), rng.uniform(0.0, 0.25), rng.uniform(0.0, 1.0)])


def _noise(rng: np.random.Generator, size: int, cells: int) -> np.ndarray:
    """Smooth random values (size, size) from 0 to 1: random points, and bilinear interpolation between them."""
    place = np.linspace(0, cells, size)
    low = np.minimum(place.astype(int), cells - 1)
    weights = np.zeros((size, cells + 1))
    weights[np.arange(size), low] = 1 - (place - low)
    weights[np.arange(size), low + 1] = place - low
    return weights @ rng.random((cells + 1, cells + 1)) @ weights.T


def _ground(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, size: int) -> np.ndarray:
    """A texture (3, size, size): two dull colours in clouds and stripes, and a little grain."""
    grey = rng.uniform(0.15, 0.85, 2)
    colours = grey[:, None] + rng.uniform(-0.12, 0.12, (2, 3))
    angle, wave = rng.uniform(0, np.pi), rng.uniform(0.08, 0.25) * size
    stripes = 0.5 + 0.5 * np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / wave)
    share = rng.uniform(0, 0.6)
    mix = (1 - share) * _noise(rng, size, 5) + share * stripes
    ground = colours[0][:, None, None] + mix * (colours[1] - colours[0])[:, None, None]
    return ground + rng.normal(0, 0.03, (3, size, size))
