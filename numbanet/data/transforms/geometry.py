"""Transforms that move pixels or resize: padding, crops, flips, resizing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from numbanet.data import sample_random
from numbanet.data.transforms.base import (
    Batch,
    InterpolationMode,
    Transform,
    as_mode,
    channel_axis,
    check_probability,
    is_pil,
    size_pair,
)

__all__ = [
    "CenterCrop",
    "Pad",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomVerticalFlip",
    "Resize",
]

# ---- resizing ----


def pillow_filter(interpolation: InterpolationMode) -> Any:
    """Pillow's name of a mode."""
    from PIL import Image

    return getattr(Image.Resampling, interpolation.name)


def _resize(images: Iterable[np.ndarray], rows: int, out: np.ndarray, resample: Any) -> None:
    """Resize images, which may differ in size, with Pillow into ``out``, whose axis of rows is ``rows``."""
    from PIL import Image

    height, width = out.shape[rows : rows + 2]
    for source, target in zip(images, out, strict=True):
        if rows == 1 and source.ndim == 3 and source.shape[-1] in (3, 4) and source.dtype == np.uint8:
            target[...] = Image.fromarray(source).resize((width, height), resample)  # the channels together
            continue
        # Views in which each plane (H, W) is one entry of the leading axes.
        planes = np.moveaxis(source, (rows - 1, rows), (-2, -1))
        targets = np.moveaxis(target, (rows - 1, rows), (-2, -1))
        for where in np.ndindex(planes.shape[:-2]):
            plane = planes[where] if source.dtype == np.uint8 else planes[where].astype(np.float32, copy=False)
            targets[where] = Image.fromarray(plane).resize((width, height), resample)


def _check_resizable(images: np.ndarray, who: str, interpolation: InterpolationMode, antialias: bool | None) -> None:
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise TypeError(f"{who} takes uint8 or float images, got {images.dtype}")
    if images.dtype.kind == "f" and not antialias and interpolation is not InterpolationMode.NEAREST:
        raise ValueError(f"{who}: antialias=False is not offered for float images, which Pillow resizes smoothly")


class Resize(Transform):
    """Resize an image with Pillow.

    Tensors and float arrays are resized channel by channel in float32; uint8 images are rounded to uint8.

    Args:
        size: (H, W), or one int for the shorter side, the longer one following in proportion.
        interpolation: An :class:`InterpolationMode` or its name.
        max_size: With an int ``size``: no side may be longer than this.
        antialias: Widen the filter when shrinking. Pillow always does so; False is refused for tensors.

    Raises:
        ValueError: sizes that are not positive, or an unknown interpolation.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        interpolation: InterpolationMode | str = InterpolationMode.BILINEAR,
        max_size: int | None = None,
        antialias: bool | None = True,
    ) -> None:
        if isinstance(size, (int, np.integer)):
            sizes: tuple[int, ...] = (int(size),)
        elif isinstance(size, Sequence) and not isinstance(size, str) and len(size) in (1, 2):
            sizes = tuple(int(s) for s in size)
        else:
            raise ValueError(f"Resize: size must be an int or a sequence of 1 or 2 ints, got {size!r}")
        if min(sizes) <= 0:
            raise ValueError(f"Resize: size must be positive, got {size!r}")
        if max_size is not None and (len(sizes) == 2 or max_size <= sizes[0]):
            raise ValueError(f"Resize: max_size={max_size} needs an int size smaller than itself, got size={size!r}")
        self.size = size
        self._sizes = sizes
        self.interpolation = as_mode(interpolation, "Resize", list(InterpolationMode))
        self.max_size = max_size
        self.antialias = antialias

    def _output_size(self, height: int, width: int) -> tuple[int, int]:
        if len(self._sizes) == 2:
            return self._sizes[0], self._sizes[1]
        short, long = min(height, width), max(height, width)
        new_short = self._sizes[0]
        new_long = int(new_short * long / short)
        if self.max_size is not None and new_long > self.max_size:
            new_short, new_long = int(self.max_size * new_short / new_long), self.max_size
        return (new_short, new_long) if height <= width else (new_long, new_short)

    def __call__(self, image: Any) -> Any:
        if is_pil(image):
            height, width = self._output_size(image.height, image.width)
            return image.resize((width, height), pillow_filter(self.interpolation))
        return super().__call__(image)

    def apply_batch(self, images: np.ndarray, rows: int) -> Batch:
        size = images.shape[rows : rows + 2]
        new = self._output_size(*size)
        if new == size:
            return images, rows
        _check_resizable(images, "Resize", self.interpolation, self.antialias)
        out = np.empty(images.shape[:rows] + new + images.shape[rows + 2 :], images.dtype)
        _resize(images, rows, out, pillow_filter(self.interpolation))
        return out, rows

    def __repr__(self) -> str:
        return (
            f"Resize(size={self.size}, interpolation={self.interpolation.value}, max_size={self.max_size}, "
            f"antialias={self.antialias})"
        )


# ---- flips ----


class _RandomFlip(Transform):
    keeps_shape = True
    _axis: int  # after the rows' axis

    def __init__(self, p: float = 0.5) -> None:
        self.p = check_probability(p, type(self).__name__)

    def apply_batch(self, images: np.ndarray, rows: int) -> Batch:
        flip = sample_random.uniform(len(images)) < self.p
        if not flip.any():
            return images, rows
        out = images.copy()
        out[flip] = np.flip(images[flip], axis=rows + self._axis)
        return out, rows

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p={self.p})"


class RandomHorizontalFlip(_RandomFlip):
    """Mirror the image left to right with probability ``p``."""

    _axis = 1


class RandomVerticalFlip(_RandomFlip):
    """Mirror the image top to bottom with probability ``p``."""

    _axis = 0


# ---- padding ----

_PADDING_MODES = ("constant", "edge", "reflect", "symmetric")


def _sides(padding: int | Sequence[int], who: str) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of a padding given by 1, 2 or 4 ints."""
    given = [padding] if isinstance(padding, (int, np.integer)) else list(padding)
    if len(given) not in (1, 2, 4) or min(given) < 0:
        raise ValueError(f"{who}: padding must be 1, 2 or 4 ints, none negative, got {padding!r}")
    left, top, right, bottom = (int(p) for p in given * (4 // len(given)))
    return left, top, right, bottom


def _check_padding_mode(mode: str, who: str) -> str:
    if mode not in _PADDING_MODES:
        raise ValueError(f"{who}: padding_mode must be constant, edge, reflect or symmetric, got {mode!r}")
    return mode


def fill_of(fill: float | Sequence[float], images: np.ndarray, rows: int, who: str) -> Any:
    """The value of new pixels: a number, or one for each channel, in a shape that fits the batch."""
    if isinstance(fill, (int, float, np.number)):
        return fill
    axis = channel_axis(images, rows)
    channels = 1 if axis is None else images.shape[axis]
    if len(fill) not in (1, channels):
        raise ValueError(f"{who}: fill has {len(fill)} values, the image has {channels} channels")
    if len(fill) == 1:
        return fill[0]
    return np.asarray(fill, images.dtype).reshape([-1 if i == axis else 1 for i in range(images.ndim)])


def _pad(images: np.ndarray, rows: int, sides: tuple[int, int, int, int], mode: str, fill: Any) -> np.ndarray:
    left, top, right, bottom = sides
    widths = [(0, 0)] * images.ndim
    widths[rows], widths[rows + 1] = (top, bottom), (left, right)
    if mode == "constant":
        # numpy.pad spends more on bookkeeping than on copying.
        out = np.empty([n + sum(w) for n, w in zip(images.shape, widths, strict=True)], images.dtype)
        out[...] = fill
        inside = tuple(slice(w[0], w[0] + n) for n, w in zip(images.shape, widths, strict=True))
        out[inside] = images
        return out
    padded: np.ndarray = np.pad(images, widths, mode=mode)  # type: ignore[call-overload]
    return padded


class Pad(Transform):
    """Add pixels on all sides.

    Args:
        padding: How many: one int, (left and right, top and bottom), or (left, top, right, bottom).
        fill: Value of the added pixels, or one for each channel, for ``padding_mode="constant"``.
        padding_mode: "constant", "edge" (the last pixel), "reflect" (mirrored at it) or "symmetric" (mirrored, with it).

    Raises:
        ValueError: a bad argument, or a fill that does not fit the image's channels.
    """

    def __init__(
        self, padding: int | Sequence[int], fill: float | Sequence[float] = 0, padding_mode: str = "constant"
    ) -> None:
        self.padding = padding
        self.fill = fill
        self.padding_mode = _check_padding_mode(padding_mode, "Pad")
        self._sides = _sides(padding, "Pad")

    def apply_batch(self, images: np.ndarray, rows: int) -> Batch:
        fill = fill_of(self.fill, images, rows, "Pad")
        return _pad(images, rows, self._sides, self.padding_mode, fill), rows

    def __repr__(self) -> str:
        return f"Pad(padding={self.padding}, fill={self.fill}, padding_mode={self.padding_mode})"


# ---- crops ----


class RandomCrop(Transform):
    """Cut a window of the given size out at a random place.

    Args:
        size: (H, W), or one int for a square.
        padding: Pixels added first on each side: one int, (left and right, top and bottom), or (left, top, right,
            bottom).
        pad_if_needed: Pad an image that is smaller than ``size`` rather than refuse it.
        fill: Value of the added pixels, or one for each channel, for ``padding_mode="constant"``.
        padding_mode: "constant", "edge", "reflect" or "symmetric".

    Raises:
        ValueError: the padded image is smaller than ``size``, or a bad argument.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        padding: int | Sequence[int] | None = None,
        pad_if_needed: bool = False,
        fill: float | Sequence[float] = 0,
        padding_mode: str = "constant",
    ) -> None:
        self.size = size_pair(size, "RandomCrop")
        self.padding = padding
        self.pad_if_needed = pad_if_needed
        self.fill = fill
        self.padding_mode = _check_padding_mode(padding_mode, "RandomCrop")
        self._sides = _sides(padding or 0, "RandomCrop")

    def apply_batch(self, images: np.ndarray, rows: int) -> Batch:
        height, width = self.size
        fill = fill_of(self.fill, images, rows, "RandomCrop")
        if any(self._sides):
            images = _pad(images, rows, self._sides, self.padding_mode, fill)
        if self.pad_if_needed:
            short_h = max(0, height - images.shape[rows])
            short_w = max(0, width - images.shape[rows + 1])
            if short_h or short_w:
                images = _pad(images, rows, (short_w, short_h, short_w, short_h), self.padding_mode, fill)
        room_h, room_w = images.shape[rows] - height + 1, images.shape[rows + 1] - width + 1
        if room_h <= 0 or room_w <= 0:
            raise ValueError(
                f"Required crop size {self.size} is larger than input image size {images.shape[rows : rows + 2]}"
            )
        u = sample_random.uniforms(len(images), 2)
        tops, lefts = (u[0] * room_h).astype(int).tolist(), (u[1] * room_w).astype(int).tolist()
        out = np.empty(images.shape[:rows] + self.size + images.shape[rows + 2 :], images.dtype)
        before = (slice(None),) * (rows - 1)
        for source, target, top, left in zip(images, out, tops, lefts, strict=True):
            target[...] = source[(*before, slice(top, top + height), slice(left, left + width))]
        return out, rows

    def __repr__(self) -> str:
        return f"RandomCrop(size={self.size}, padding={self.padding})"


class CenterCrop(Transform):
    """Cut a window of the given size out of the middle, padding a smaller image with zeros.

    Args:
        size: (H, W), or one int for a square.
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = size_pair(size, "CenterCrop")

    def apply_batch(self, images: np.ndarray, rows: int) -> Batch:
        height, width = self.size
        short_h, short_w = max(0, height - images.shape[rows]), max(0, width - images.shape[rows + 1])
        if short_h or short_w:
            sides = (short_w // 2, short_h // 2, (short_w + 1) // 2, (short_h + 1) // 2)
            images = _pad(images, rows, sides, "constant", 0)
        # Python rounds half to even, as torchvision does.
        top = round((images.shape[rows] - height) / 2.0)
        left = round((images.shape[rows + 1] - width) / 2.0)
        window = (slice(None),) * rows + (slice(top, top + height), slice(left, left + width))
        return images[window], rows

    def __repr__(self) -> str:
        return f"CenterCrop(size={self.size})"


# Rectangles are drawn until one fits into the image, but so many times at most.
_TRIES = 10


def check_range(pair: Sequence[float], who: str, what: str, low: float, high: float) -> tuple[float, float]:
    """(min, max) as floats, if low <= min <= max <= high; else raise ValueError."""
    if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
        raise ValueError(f"{who}: {what} must be a pair (min, max), got {pair!r}")
    if not low <= pair[0] <= pair[1] <= high:
        raise ValueError(f"{who}: {what} must be a pair (min, max) within [{low:g}, {high:g}], got {pair!r}")
    return float(pair[0]), float(pair[1])


def random_boxes(
    count: int, size: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float], *, smaller: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a rectangle for each sample: its share of the image's area within ``scale``, width / height within ``ratio``.

    Args:
        count: Samples.
        size: (H, W) of the image.
        scale: Smallest and largest area, as fractions of the image's.
        ratio: Smallest and largest width / height; their logarithms are drawn uniformly.
        smaller: Rectangles must be smaller than the image on both sides; else they may fill it.

    Returns:
        Boxes, int [count, 4], each (top, left, height, width); and bool [count], whether one was found that fits.
    """
    height, width = size
    u = sample_random.uniforms(count, 2 * _TRIES + 2)  # the same number of draws, whichever try fits
    area = height * width * (scale[0] + u[:_TRIES] * (scale[1] - scale[0]))
    log_ratio = np.log(ratio)
    aspect = np.exp(log_ratio[0] + u[_TRIES : 2 * _TRIES] * (log_ratio[1] - log_ratio[0]))
    w, h = np.rint(np.sqrt(area * aspect)).astype(int), np.rint(np.sqrt(area / aspect)).astype(int)
    fits = (w < width) & (h < height) if smaller else (w > 0) & (w <= width) & (h > 0) & (h <= height)
    first, sample = fits.argmax(axis=0), np.arange(count)
    h, w = h[first, sample], w[first, sample]
    top, left = (u[-2] * (height - h + 1)).astype(int), (u[-1] * (width - w + 1)).astype(int)
    return np.stack([top, left, h, w], axis=1), fits.any(axis=0)


class RandomResizedCrop(Transform):
    """Cut out a rectangle of random area, shape and place, and resize it to ``size``.

    Args:
        size: (H, W) of the result, or one int for a square.
        scale: Smallest and largest area, as fractions of the image's.
        ratio: Smallest and largest width / height.
        interpolation: An :class:`InterpolationMode` or its name.
        antialias: As for :class:`Resize`.

    Raises:
        ValueError: a bad argument.

    Reference:
        Szegedy et al. 2015, Going Deeper with Convolutions, section 6.
    """

    mixes_pixels = True

    def __init__(
        self,
        size: int | Sequence[int],
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3.0 / 4.0, 4.0 / 3.0),
        interpolation: InterpolationMode | str = InterpolationMode.BILINEAR,
        antialias: bool | None = True,
    ) -> None:
        self.size = size_pair(size, "RandomResizedCrop")
        self.scale = check_range(scale, "RandomResizedCrop", "scale", 0.0, 1.0)
        self.ratio = check_range(ratio, "RandomResizedCrop", "ratio", 1e-6, 1e6)
        self.interpolation = as_mode(interpolation, "RandomResizedCrop", list(InterpolationMode))
        self.antialias = antialias

    def apply_batch(self, images: np.ndarray, rows: int) -> Batch:
        _check_resizable(images, "RandomResizedCrop", self.interpolation, self.antialias)
        height, width = images.shape[rows : rows + 2]
        boxes, found = random_boxes(len(images), (height, width), self.scale, self.ratio, smaller=False)
        boxes[~found] = self._central(height, width)
        before = (slice(None),) * (rows - 1)
        parts = (
            image[(*before, slice(top, top + h), slice(left, left + w))]
            for image, (top, left, h, w) in zip(images, boxes.tolist(), strict=True)
        )
        out = np.empty(images.shape[:rows] + self.size + images.shape[rows + 2 :], images.dtype)
        _resize(parts, rows, out, pillow_filter(self.interpolation))
        return out, rows

    def _central(self, height: int, width: int) -> tuple[int, int, int, int]:
        """The largest rectangle in the middle whose shape is allowed, for images too long for any."""
        low, high = self.ratio
        if width / height < low:
            w, h = width, max(1, round(width / low))
        elif width / height > high:
            w, h = max(1, round(height * high)), height
        else:
            w, h = width, height
        return (height - h) // 2, (width - w) // 2, h, w

    def __repr__(self) -> str:
        scale, ratio = (tuple(round(v, 4) for v in pair) for pair in (self.scale, self.ratio))
        return (
            f"RandomResizedCrop(size={self.size}, scale={scale}, ratio={ratio}, "
            f"interpolation={self.interpolation.value}, antialias={self.antialias})"
        )
