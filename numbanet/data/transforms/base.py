"""What all transforms share: one image or a whole batch, chains of transforms, transforms applied now and then."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from numbanet.data import sample_random
from numbanet.tensor import Tensor, from_numpy

__all__ = ["Batch", "Compose", "InterpolationMode", "Lambda", "RandomApply", "Transform", "batched"]

# A batch on its way through the transforms: the array and the axis of its rows. Images (N, H, W) or (N, H, W, C) have
# rows on axis 1, tensors (N, ..., C, H, W) on a later one; columns always follow rows.
Batch = tuple[np.ndarray, int]

# Pillow's modes whose pixels an array shows as they are. An array of four channels would come back as RGBA, whatever
# the image was.
_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16", "F")


class InterpolationMode(enum.Enum):
    """How new pixels are computed from those of the image."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


class Transform:
    """Base of the transforms that can work on a batch. A subclass writes ``apply_batch``; one image is a batch of one.

    Random transforms draw with :func:`numbanet.data.sample_random.uniform`, the same number of draws for each sample
    whatever comes out, so that later transforms draw the same numbers too.

    Attributes:
        keeps_shape: Results have the images' shape and dtype.
        makes_tensor: Turns images into Tensors.
        after_tensor: Takes Tensors only: stands after ``ToTensor()``.
        mixes_pixels: Computes with pixel values, which in a palette image are numbers of colours.
    """

    keeps_shape: bool = False
    makes_tensor: bool = False
    after_tensor: bool = False
    mixes_pixels: bool = False

    def apply_batch(self, images: np.ndarray, rows: int) -> Batch:
        """Transform a batch.

        Args:
            images: (N, H, W) or (N, H, W, C), or tensors (N, ..., C, H, W). After ``ToTensor`` it may be overwritten.
            rows: The axis of the image rows.

        Returns:
            The new array, and the axis of its rows.
        """
        raise NotImplementedError

    def can_batch(self) -> bool:
        """Whether all images of a batch get the same shape."""
        return True

    def __call__(self, image: Any) -> Any:
        """Transform one image; the result is of the same kind."""
        if is_tensor(image):
            return self._of_tensor(image)
        if isinstance(image, np.ndarray) and not self.after_tensor:
            check_array_image(image, repr(self))
            return self.apply_batch(image[None], 1)[0][0]
        if is_pil(image) and not self.after_tensor:
            return self._of_pil(image)
        what = (
            "a Tensor (put ToTensor() before it)" if self.after_tensor else "a PIL image, a uint8 ndarray or a Tensor"
        )
        raise TypeError(f"{self!r} takes {what}, got {type(image)}")

    def _of_tensor(self, image: Tensor) -> Tensor:
        array = image.numpy()
        if array.ndim < 2:
            raise ValueError(f"{self!r}: a tensor image has shape (..., H, W), got {tuple(image.shape)}")
        if array.ndim == 2:  # a channel, so that rows cannot be taken for those of an array image
            return as_tensor(self.apply_batch(array[None, None], 2)[0][0, 0])
        return as_tensor(self.apply_batch(array[None], array.ndim - 1)[0][0])

    def _of_pil(self, image: Any) -> Any:
        from PIL import Image

        if image.mode not in _MODES:
            raise TypeError(f"{self!r}: images of mode {image.mode} are not supported, use image.convert('RGB')")
        if self.mixes_pixels and image.mode in ("1", "P"):
            raise TypeError(f"{self!r}: an image of mode {image.mode} has no shades to mix, use image.convert('RGB')")
        result = Image.fromarray(self.apply_batch(np.asarray(image)[None], 1)[0][0])
        if image.mode == "P":  # the pixels are numbers of palette colours
            result.putpalette(image.getpalette())
        return result

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def is_pil(image: Any) -> bool:
    """Whether this is a PIL image."""
    # Asking the class's module first spares programs without images the import of PIL.
    if not any(base.__module__.partition(".")[0] == "PIL" for base in type(image).__mro__):
        return False
    from PIL import Image

    return isinstance(image, Image.Image)


def is_tensor(image: Any) -> bool:
    """Whether this is a Tensor."""
    return isinstance(image, Tensor)


def as_tensor(array: np.ndarray) -> Any:
    """A Tensor over the array, which is copied where it is not contiguous."""
    return from_numpy(np.ascontiguousarray(array))


def check_array_image(image: np.ndarray, who: str) -> None:
    """Refuse an array that is neither (H, W) nor (H, W, C)."""
    if image.ndim not in (2, 3):
        raise ValueError(f"{who}: an array image has shape (H, W) or (H, W, C), got {image.shape}")


def channel_axis(images: np.ndarray, rows: int) -> int | None:
    """The axis of the channels of a batch; None: grey images without one."""
    if rows > 1:
        return rows - 1
    return 3 if images.ndim == 4 else None


def check_probability(p: float, who: str) -> float:
    """Return ``p`` if it is a probability, else raise ValueError."""
    if not 0 <= p <= 1:
        raise ValueError(f"{who}: p must be within [0, 1], got {p}")
    return p


def as_mode(
    interpolation: InterpolationMode | str, who: str, allowed: Sequence[InterpolationMode]
) -> InterpolationMode:
    """The mode of this name, if it is an allowed one; else raise ValueError."""
    for mode in allowed:
        if interpolation in (mode, mode.value):
            return mode
    names = ", ".join(mode.value for mode in allowed)
    raise ValueError(f"{who}: interpolation must be one of {names}, got {interpolation!r}")


def size_pair(size: int | Sequence[int], who: str) -> tuple[int, int]:
    """(H, W) of a size given as one int or as two; raises ValueError for anything else."""
    if isinstance(size, (int, np.integer)):
        pair = (int(size), int(size))
    elif isinstance(size, Sequence) and not isinstance(size, str) and len(size) in (1, 2):
        pair = (int(size[0]), int(size[-1]))
    else:
        raise ValueError(f"{who}: size must be an int or a sequence of 1 or 2 ints, got {size!r}")
    if min(pair) <= 0:
        raise ValueError(f"{who}: size must be positive, got {size!r}")
    return pair


# ---- chains ----


class Compose:
    """Apply transforms one after the other.

    Args:
        transforms: The transforms, each a callable of one image.

    Raises:
        TypeError: one of them cannot be called.
    """

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = _callables(transforms, "Compose")

    def __call__(self, image: Any) -> Any:
        for transform in self.transforms:
            image = transform(image)
        return image

    def __repr__(self) -> str:
        return f"Compose({_lines(self.transforms)}\n)"


class Lambda:
    """Wrap a function as a transform.

    Raises:
        TypeError: ``lambd`` cannot be called.
    """

    def __init__(self, lambd: Callable[[Any], Any]) -> None:
        if not callable(lambd):
            raise TypeError(f"Argument lambd should be callable, got {type(lambd).__name__}")
        self.lambd = lambd

    def __call__(self, image: Any) -> Any:
        return self.lambd(image)

    def __repr__(self) -> str:
        return "Lambda()"


class RandomApply(Transform):
    """Apply a list of transforms, one after the other, with probability ``p``; else leave the image as it is.

    Args:
        transforms: The transforms, each a callable of one image.
        p: Probability that they are applied.

    Raises:
        TypeError: one of them cannot be called.
        ValueError: ``p`` is no probability.
    """

    keeps_shape = True  # of batches: other chains are applied image by image

    def __init__(self, transforms: Sequence[Callable[[Any], Any]], p: float = 0.5) -> None:
        self.transforms = _callables(transforms, "RandomApply")
        self.p = check_probability(p, "RandomApply")

    @property
    def after_tensor(self) -> bool:  # type: ignore[override]
        """Whether one of the transforms takes Tensors only."""
        return any(step.after_tensor for step in self._steps() if isinstance(step, Transform))

    def _steps(self) -> list[Any]:
        return [step for transform in self.transforms for step in _flattened(transform)]

    def can_batch(self) -> bool:
        """Whether the transforms work on batches, and leave shape and dtype alone: not all images go through them."""
        return all(_works_on_batches(step) and step.keeps_shape for step in self._steps())

    def __call__(self, image: Any) -> Any:
        chosen = sample_random.uniform(1) < self.p
        with sample_random.chosen_samples(chosen):
            if chosen[0]:
                for transform in self.transforms:
                    image = transform(image)
        return image

    def apply_batch(self, images: np.ndarray, rows: int) -> Batch:
        chosen = sample_random.uniform(len(images)) < self.p
        with sample_random.chosen_samples(chosen):
            if not chosen.any():
                return images, rows
            changed = images[chosen]
            for step in self._steps():
                changed, rows = step.apply_batch(changed, rows)
        if chosen.all():
            return changed, rows
        out = images.copy()
        out[chosen] = changed
        return out, rows

    def __repr__(self) -> str:
        return f"RandomApply(\n    p={self.p}{_lines(self.transforms)}\n)"


def _callables(transforms: Sequence[Callable[[Any], Any]], who: str) -> list[Callable[[Any], Any]]:
    for transform in transforms:
        if not callable(transform):
            raise TypeError(f"{who} takes a list of callables, got {transform!r}")
    return list(transforms)


def _lines(transforms: Sequence[Any]) -> str:
    return "".join(f"\n    {line}" for t in transforms for line in repr(t).splitlines())


# ---- batches ----


def batched(transform: Any) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return a function that applies ``transform`` to uint8 images (N, H, W[, C]) at once, or None if it cannot.

    Only chains of :class:`Transform` that turn images into tensors qualify. What they compute, and what they draw, is
    the same as image by image.
    """
    steps = _flattened(transform)
    if not all(_works_on_batches(step) for step in steps):
        return None
    to_tensor = [i for i, step in enumerate(steps) if step.makes_tensor]
    if len(to_tensor) != 1 or any(step.after_tensor for step in steps[: to_tensor[0]]):
        return None  # image by image it is refused with a clear error

    def apply(images: np.ndarray) -> np.ndarray:
        rows = 1
        for step in steps:
            images, rows = step.apply_batch(images, rows)
        return images

    return apply


def _flattened(transform: Any) -> list[Any]:
    if type(transform) is not Compose:
        return [transform]
    return [step for part in transform.transforms for step in _flattened(part)]


def _works_on_batches(step: Any) -> bool:
    if not isinstance(step, Transform):
        return False
    # A subclass that changed __call__ alone must be asked image by image.
    order = type(step).__mro__
    batch, single = (
        next(i for i, cls in enumerate(order) if name in vars(cls)) for name in ("apply_batch", "__call__")
    )
    return batch <= single and step.can_batch()
