"""Transforms of colour: brightness, contrast, saturation, hue, and away with all colour.

uint8 images come out as Pillow's ``ImageEnhance`` and its HSV conversion make them, to the last bit: rounded after each
step. Tensors are computed as torchvision does, in their own float dtype (uint8 tensors in float32).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from numbanet.data import sample_random
from numbanet.data.transforms.base import Batch, Transform, channel_axis, check_probability

__all__ = ["ColorJitter", "Grayscale", "RandomGrayscale"]

# ---- uint8 images: (N, H, W) or (N, H, W, C) with 2 (grey, alpha), 3 or 4 (colour, alpha) channels ----


def _by_pillow(images: np.ndarray, mode: str, target: str) -> np.ndarray:
    """Convert images (N, H, W, 3) between Pillow's modes, all of them as one tall image."""
    from PIL import Image

    count, height, width = images.shape[:3]
    tall = Image.frombytes(mode, (width, count * height), np.ascontiguousarray(images).tobytes())
    converted = np.asarray(tall.convert(target))
    return converted.reshape(count, height, width, *converted.shape[2:])


def _grey_of_images(images: np.ndarray) -> np.ndarray:
    """Luma (N, H, W)."""
    if images.ndim == 3:
        return images
    return images[..., 0] if images.shape[-1] < 3 else _by_pillow(images[..., :3], "RGB", "L")


def _blend_images(images: np.ndarray, other: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """other + factor * (image - other), cut off at 0 and 255 and at the point; alpha channels stay."""
    alpha = images.shape[-1] in (2, 4) if images.ndim == 4 else False
    colours = images[..., :-1] if alpha else images
    mixed = np.subtract(colours, other, dtype=np.float32)
    mixed *= factor.astype(np.float32).reshape(-1, *[1] * (images.ndim - 1))
    mixed += other
    np.clip(mixed, 0, 255, out=mixed)
    if not alpha:
        return mixed.astype(np.uint8)
    out = images.copy()
    out[..., :-1] = mixed
    return out


def _image_brightness(images: np.ndarray, factor: np.ndarray) -> np.ndarray:
    return _blend_images(images, np.zeros([1] * images.ndim, np.uint8), factor)


def _image_contrast(images: np.ndarray, factor: np.ndarray) -> np.ndarray:
    grey = _grey_of_images(images).reshape(len(images), -1)
    mean = np.floor(grey.mean(axis=1, dtype=np.float64) + 0.5)
    return _blend_images(images, mean.astype(np.uint8).reshape(-1, *[1] * (images.ndim - 1)), factor)


def _image_saturation(images: np.ndarray, factor: np.ndarray) -> np.ndarray:
    if images.ndim == 3 or images.shape[-1] < 3:
        return images
    return _blend_images(images, _grey_of_images(images)[..., None], factor)


def _image_hue(images: np.ndarray, factor: np.ndarray) -> np.ndarray:
    if images.ndim == 3 or images.shape[-1] < 3:
        return images
    hsv = _by_pillow(images[..., :3], "RGB", "HSV")
    hsv = hsv if hsv.flags.writeable else hsv.copy()
    hsv[..., 0] += (factor * 255).astype(np.int32).astype(np.uint8)[:, None, None]  # goes round
    rgb = _by_pillow(hsv, "HSV", "RGB")
    return rgb if images.shape[-1] == 3 else np.concatenate([rgb, images[..., 3:]], axis=-1)


# ---- tensors: (N, ..., C, H, W) with 1 or 3 channels ----

# Weights of red, green and blue in luma (ITU-R BT.601), and the factors of floats that become uint8.
_LUMA = (0.2989, 0.587, 0.114)
_TO_UINT8 = np.float32(255.999)


def _grey_of_tensors(images: np.ndarray) -> np.ndarray:
    """Luma (N, ..., 1, H, W)."""
    if images.shape[-3] == 1:
        return images
    r, g, b = (images[..., i : i + 1, :, :] for i in range(3))
    kind = np.float32 if images.dtype == np.uint8 else images.dtype.type
    return (kind(_LUMA[0]) * r + kind(_LUMA[1]) * g + kind(_LUMA[2]) * b).astype(images.dtype, copy=False)


def _blend_tensors(images: np.ndarray, other: np.ndarray | None, factor: np.ndarray) -> np.ndarray:
    """factor * image + (1 - factor) * other (None: zeros), cut off at 0 and at the dtype's white."""
    kind = np.float32 if images.dtype == np.uint8 else images.dtype
    factor = factor.reshape(-1, *[1] * (images.ndim - 1))
    mixed = images * factor.astype(kind)
    if other is not None:
        mixed += (1.0 - factor).astype(kind) * other
    np.clip(mixed, 0, 255 if images.dtype == np.uint8 else 1, out=mixed)
    return mixed.astype(images.dtype, copy=False)


def _tensor_brightness(images: np.ndarray, factor: np.ndarray) -> np.ndarray:
    return _blend_tensors(images, None, factor)


def _tensor_contrast(images: np.ndarray, factor: np.ndarray) -> np.ndarray:
    grey = _grey_of_tensors(images)
    # One sum along one contiguous axis, so that an image's mean does not hang on the size of the batch.
    flat = np.ascontiguousarray(grey).reshape(-1, grey.shape[-2] * grey.shape[-1])
    mean = flat.mean(axis=1, dtype=np.float64).reshape(*grey.shape[:-2], 1, 1)
    kind = np.float32 if images.dtype == np.uint8 else images.dtype
    return _blend_tensors(images, mean.astype(kind), factor)


def _tensor_saturation(images: np.ndarray, factor: np.ndarray) -> np.ndarray:
    return images if images.shape[-3] == 1 else _blend_tensors(images, _grey_of_tensors(images), factor)


def _tensor_hue(images: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Turn the hue, a position on the circle red, yellow, green, cyan, blue, magenta, by ``factor`` rounds.

    The largest and the smallest of the three colours stay what they are. With h the hue in sixths of the circle, a colour
    whose own place is p has the value max - (max - min) * clip(distance of h from p - 1, 0, 1).
    """
    if images.shape[-3] == 1:
        return images
    values = images.astype(np.float32) / np.float32(255) if images.dtype == np.uint8 else images
    r, g, b = (values[..., i, :, :] for i in range(3))
    high, low = np.maximum(np.maximum(r, g), b), np.minimum(np.minimum(r, g), b)
    chroma = high - low
    divisor = np.where(chroma == 0, values.dtype.type(1), chroma)  # grey has no hue, and needs none
    hue = np.where(high == r, (g - b) / divisor, np.where(high == g, 2 + (b - r) / divisor, 4 + (r - g) / divisor))
    hue += 6 * factor.astype(values.dtype).reshape(-1, *[1] * (hue.ndim - 1))
    out = np.empty_like(values)
    for channel, place in enumerate((0, 2, 4)):
        distance = np.abs((hue - place + 3) % 6 - 3)
        out[..., channel, :, :] = high - chroma * np.clip(distance - 1, 0, 1)
    return (out * _TO_UINT8).astype(np.uint8) if images.dtype == np.uint8 else out


_OPERATIONS: dict[bool, tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], ...]] = {
    True: (_image_brightness, _image_contrast, _image_saturation, _image_hue),
    False: (_tensor_brightness, _tensor_contrast, _tensor_saturation, _tensor_hue),
}


def _check(images: np.ndarray, rows: int, who: str) -> bool:
    """Whether these are uint8 images; the alternative is tensors. Raises TypeError or ValueError for anything else."""
    axis = channel_axis(images, rows)
    channels = 1 if axis is None else images.shape[axis]
    if rows == 1:
        if images.dtype != np.uint8:
            raise TypeError(f"{who} takes uint8 images or Tensors, got an array of dtype {images.dtype}")
        if channels not in (1, 2, 3, 4):
            raise ValueError(f"{who} takes images of 1 to 4 channels, got {channels}")
        return True
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise TypeError(f"{who} takes uint8 or float tensors, got {images.dtype}")
    if channels not in (1, 3):
        raise ValueError(f"{who} takes tensors (..., C, H, W) of 1 or 3 channels, got shape {images.shape[1:]}")
    return False


_ORDERS = np.array(list(itertools.permutations(range(4))))


class ColorJitter(Transform):
    """Change brightness, contrast, saturation and hue by random amounts, in random order.

    Args:
        brightness: (min, max) of the factor; a number b stands for (max(0, 1 - b), 1 + b); 0: leave it.
        contrast: Likewise, away from or towards the grey of the image's mean.
        saturation: Likewise, away from or towards the image's own grey; without effect on grey images.
        hue: (min, max) of the turn on the colour circle, within [-0.5, 0.5] rounds; a number h stands for (-h, h).

    Raises:
        ValueError: a negative number, or limits that are no interval or out of range.
        TypeError: an image that is neither uint8 nor a Tensor.
    """

    keeps_shape = True
    mixes_pixels = True

    def __init__(
        self,
        brightness: float | Sequence[float] = 0,
        contrast: float | Sequence[float] = 0,
        saturation: float | Sequence[float] = 0,
        hue: float | Sequence[float] = 0,
    ) -> None:
        self.brightness = _limits(brightness, "brightness", 1.0, 0.0, float("inf"))
        self.contrast = _limits(contrast, "contrast", 1.0, 0.0, float("inf"))
        self.saturation = _limits(saturation, "saturation", 1.0, 0.0, float("inf"))
        self.hue = _limits(hue, "hue", 0.0, -0.5, 0.5)

    def apply_batch(self, images: np.ndarray, rows: int) -> Batch:
        operations = _OPERATIONS[_check(images, rows, repr(self))]
        u = sample_random.uniforms(len(images), 5)
        limits = (self.brightness, self.contrast, self.saturation, self.hue)
        active = [i for i in range(4) if limits[i] is not None]
        factors = {i: low + u[i] * (high - low) for i in active for low, high in [limits[i] or (0.0, 0.0)]}
        if len(active) == 1:
            return operations[active[0]](images, factors[active[0]]), rows
        order = _ORDERS[(u[4] * len(_ORDERS)).astype(int)]
        out = images.copy()
        for place in range(4):
            for i in active:
                here = np.flatnonzero(order[:, place] == i)
                if here.size:
                    out[here] = operations[i](out[here], factors[i][here])
        return out, rows

    def __repr__(self) -> str:
        return (
            f"ColorJitter(brightness={self.brightness}, contrast={self.contrast}, saturation={self.saturation}, "
            f"hue={self.hue})"
        )


def _limits(value: float | Sequence[float], name: str, centre: float, low: float, high: float) -> Any:
    """(min, max) of a factor; None: it never does anything."""
    if isinstance(value, (int, float, np.number)):
        if value < 0:
            raise ValueError(f"ColorJitter: {name} as a single number must not be negative, got {value}")
        pair = (max(centre - value, low) if centre else centre - value, centre + value)
    elif isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2:
        pair = (float(value[0]), float(value[1]))
    else:
        raise ValueError(f"ColorJitter: {name} must be a number or a pair (min, max), got {value!r}")
    if not low <= pair[0] <= pair[1] <= high:
        raise ValueError(f"ColorJitter: {name} must be a pair (min, max) within [{low:g}, {high:g}], got {pair}")
    return None if pair[0] == pair[1] == centre else (float(pair[0]), float(pair[1]))


class Grayscale(Transform):
    """Turn colours into shades of grey.

    Args:
        num_output_channels: 1, or 3 equal ones.

    Raises:
        ValueError: another number.
    """

    mixes_pixels = True

    def __init__(self, num_output_channels: int = 1) -> None:
        if num_output_channels not in (1, 3):
            raise ValueError(f"Grayscale: num_output_channels should be either 1 or 3, got {num_output_channels}")
        self.num_output_channels = num_output_channels

    def apply_batch(self, images: np.ndarray, rows: int) -> Batch:
        return _grey(images, rows, self.num_output_channels, repr(self)), rows

    def __repr__(self) -> str:
        return f"Grayscale(num_output_channels={self.num_output_channels})"


def _grey(images: np.ndarray, rows: int, channels: int, who: str) -> np.ndarray:
    if _check(images, rows, who):
        grey = _grey_of_images(images)
        return grey if channels == 1 else np.repeat(grey[..., None], channels, axis=-1)
    grey = _grey_of_tensors(images)
    return grey if grey.shape[-3] == channels else np.repeat(grey, channels, axis=-3)


class RandomGrayscale(Transform):
    """Turn colours into shades of grey with probability ``p``; the number of channels stays."""

    keeps_shape = True
    mixes_pixels = True

    def __init__(self, p: float = 0.1) -> None:
        self.p = check_probability(p, "RandomGrayscale")

    def apply_batch(self, images: np.ndarray, rows: int) -> Batch:
        chosen = sample_random.uniform(len(images)) < self.p
        axis = channel_axis(images, rows)
        _check(images, rows, repr(self))
        if axis is None or images.shape[axis] < 3 or not chosen.any():
            return images, rows
        out = images.copy()
        colours = (slice(None),) * axis + (slice(3),)  # not alpha
        out[colours][chosen] = _grey(images[chosen][colours], rows, 3, repr(self))
        return out, rows

    def __repr__(self) -> str:
        return f"RandomGrayscale(p={self.p})"
