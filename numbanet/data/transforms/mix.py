"""Transforms that mix the samples of a batch, and their labels in the same proportion."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from numbanet.data.collate import default_collate
from numbanet.data.dataset import Columns
from numbanet.data.sample_random import batch_generator
from numbanet.data.transforms.base import as_tensor, is_tensor

__all__ = ["CutMix", "MixUp"]


class _Mix:
    """What MixUp and CutMix share: each sample is mixed with the one before it (the first with the last)."""

    def __init__(self, *, alpha: float = 1.0, num_classes: int | None = None) -> None:
        if not alpha > 0:
            raise ValueError(f"{type(self).__name__}: alpha must be above 0, got {alpha}")
        self.alpha = float(alpha)
        self.num_classes = num_classes

    def __call__(self, *batch: Any) -> Any:
        """Mix a batch: ``mix(images, labels)``, ``mix([images, labels])``, or as a loader's ``collate_fn``."""
        inputs = batch[0] if len(batch) == 1 else batch
        if isinstance(inputs, Columns) or (isinstance(inputs, list) and inputs and not is_tensor(inputs[0])):
            inputs = default_collate(inputs)
        if not (isinstance(inputs, (list, tuple)) and len(inputs) == 2 and all(is_tensor(part) for part in inputs)):
            raise TypeError(f"{self!r} takes images and labels, two Tensors, got {[type(part) for part in inputs]}")
        images, labels = inputs
        if images.is_cuda or labels.is_cuda:
            raise ValueError(f"{self!r} works on the CPU: mix the batch first, then move it to {images.device}")
        if len(images.shape) != 4 or len(labels.shape) not in (1, 2) or images.shape[0] != labels.shape[0]:
            raise ValueError(
                f"{self!r} takes images (N, C, H, W) and labels (N,) or (N, classes), got shapes {tuple(images.shape)} "
                f"and {tuple(labels.shape)}"
            )
        shares = self._shares(labels.numpy())
        mixed, own = self._mixed(images.numpy())
        kept = np.float32(own)
        parts = as_tensor(mixed), as_tensor(np.roll(shares, 1, axis=0) * (np.float32(1) - kept) + shares * kept)
        return list(parts) if isinstance(inputs, list) else parts

    def _shares(self, labels: np.ndarray) -> np.ndarray:
        """Labels as shares of the classes, float (N, classes)."""
        if labels.ndim == 2:
            if self.num_classes not in (None, labels.shape[1]):
                raise ValueError(f"{self!r}: the labels have shares of {labels.shape[1]} classes: {labels.shape}")
            return labels if labels.dtype.kind == "f" else labels.astype(np.float32)
        if self.num_classes is None:
            raise ValueError(f"{self!r}: labels (N,) need num_classes")
        if labels.dtype.kind not in "iu":
            raise TypeError(f"{self!r}: labels (N,) are whole numbers, got dtype {labels.dtype}")
        if labels.size and not 0 <= labels.min() <= labels.max() < self.num_classes:
            raise ValueError(
                f"{self!r}: labels must be 0 to {self.num_classes - 1}, got {labels.min()} to {labels.max()}"
            )
        return np.eye(self.num_classes, dtype=np.float32)[labels]

    def _mixed(self, images: np.ndarray) -> tuple[np.ndarray, float]:
        """The mixed images, and the share that each keeps of its own."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}(alpha={self.alpha}, num_classes={self.num_classes})"


class MixUp(_Mix):
    """Mix images and labels: lam * own + (1 - lam) * other's, with one lam for the batch, from Beta(alpha, alpha).

    Give it to a loader as ``collate_fn``, or call it with a batch; the batch should be shuffled, as neighbours are mixed.
    In a loader lam depends on its generator alone, not on the number of workers.

    Args:
        alpha: Parameter of the Beta distribution: small values mix little, 1 all shares alike.
        num_classes: Number of classes; None: labels are given as shares (N, classes).

    Shapes:
        images float (N, C, H, W) and labels (N,) or (N, classes) -> images (N, C, H, W), labels float (N, classes),
        which ``cross_entropy`` takes.

    Raises:
        TypeError: something else than a batch of two Tensors, or images that are not float.
        ValueError: shapes or labels that do not fit.

    Reference:
        Zhang, Cisse, Dauphin, Lopez-Paz 2017, mixup: Beyond Empirical Risk Minimization.
    """

    def _mixed(self, images: np.ndarray) -> tuple[np.ndarray, float]:
        if images.dtype.kind != "f":
            raise TypeError(f"{self!r} takes float images, got {images.dtype}: put ToTensor() into the transform")
        own = batch_generator().beta(self.alpha, self.alpha)
        kept = images.dtype.type(own)
        return np.roll(images, 1, axis=0) * (1 - kept) + images * kept, own


class CutMix(_Mix):
    """Paste a rectangle of another image into each image, the same for all of a batch, and mix the labels by area.

    The rectangle covers a share of 1 - lam of the image, lam from Beta(alpha, alpha), less what lies outside. It is used
    as :class:`MixUp`, with the same arguments, shapes and errors; images may have any dtype.

    Reference:
        Yun, Han, Oh, Chun, Choe, Yoo 2019, CutMix: Regularization Strategy to Train Strong Classifiers with Localizable
        Features.
    """

    def _mixed(self, images: np.ndarray) -> tuple[np.ndarray, float]:
        height, width = images.shape[2:]
        generator = batch_generator()
        half = 0.5 * math.sqrt(1.0 - generator.beta(self.alpha, self.alpha))
        x, y = int(generator.integers(width)), int(generator.integers(height))
        left, right = max(0, x - int(half * width)), min(width, x + int(half * width))
        top, bottom = max(0, y - int(half * height)), min(height, y + int(half * height))
        mixed = images.copy()
        mixed[:, :, top:bottom, left:right] = np.roll(images[:, :, top:bottom, left:right], 1, axis=0)
        return mixed, 1.0 - (right - left) * (bottom - top) / (width * height)
