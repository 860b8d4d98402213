"""Random erasing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from numbanet.data import sample_random
from numbanet.data.transforms.base import Batch, Transform, check_probability
from numbanet.data.transforms.geometry import check_range, random_boxes

__all__ = ["RandomErasing"]


class RandomErasing(Transform):
    """Overwrite a rectangle of random area, shape and place with probability ``p``; for Tensors (..., C, H, W).

    Args:
        p: Probability that the image is changed.
        scale: Smallest and largest area of the rectangle, as fractions of the image's.
        ratio: Smallest and largest height / width.
        value: What to write: a number, one for each channel, or "random" for numbers from a normal distribution.
        inplace: Change the given tensor itself.

    Raises:
        ValueError: a bad argument, or values that do not fit the image's channels.
        TypeError: the image is not a Tensor.

    Reference:
        Zhong, Zheng, Kang, Li, Yang 2017, Random Erasing Data Augmentation.
    """

    keeps_shape = True
    after_tensor = True

    def __init__(
        self,
        p: float = 0.5,
        scale: Sequence[float] = (0.02, 0.33),
        ratio: Sequence[float] = (0.3, 3.3),
        value: float | str | Sequence[float] = 0,
        inplace: bool = False,
    ) -> None:
        self.p = check_probability(p, "RandomErasing")
        self.scale = check_range(scale, "RandomErasing", "scale", 0.0, 1.0)
        self.ratio = check_range(ratio, "RandomErasing", "ratio", 1e-6, 1e6)
        if isinstance(value, str) and value != "random":
            raise ValueError(f"RandomErasing: value must be a number, one for each channel, or 'random', got {value!r}")
        self.value = value
        self.inplace = inplace

    def apply_batch(self, images: np.ndarray, rows: int) -> Batch:
        count, channels = len(images), images.shape[rows - 1]
        value = None if isinstance(self.value, str) else np.asarray(self.value, images.dtype).reshape(-1, 1, 1)
        if value is not None and len(value) not in (1, channels):
            raise ValueError(f"RandomErasing: value has {len(value)} numbers, the image has {channels} channels")
        height, width = images.shape[rows : rows + 2]
        u = sample_random.uniforms(count, 2)
        wide = (1 / self.ratio[1], 1 / self.ratio[0])
        boxes, found = random_boxes(count, (height, width), self.scale, wide, smaller=True)
        chosen = np.flatnonzero((u[0] < self.p) & found)
        if chosen.size and not self.inplace:
            images = images.copy()
        for i in chosen.tolist():
            top, left, h, w = boxes[i].tolist()
            if value is None:
                noise = np.random.Generator(np.random.PCG64(int(u[1, i] * 2.0**53)))
                fresh = noise.standard_normal((channels, h, w), np.float32).astype(images.dtype)
            images[i, ..., top : top + h, left : left + w] = fresh if value is None else value
        return images, rows

    def __repr__(self) -> str:
        return (
            f"RandomErasing(p={self.p}, scale={self.scale}, ratio={self.ratio}, value={self.value}, "
            f"inplace={self.inplace})"
        )
