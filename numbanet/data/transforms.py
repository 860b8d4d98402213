"""Image transforms with torchvision's names and semantics.

A transform takes one image: a PIL image, a uint8 array (H, W) or (H, W, C), or a Tensor (C, H, W), and returns one. The
transforms here can also take a whole batch of equal-sized images as one array (``apply_batch``); datasets use that
through :func:`batched`, so that a loader pays for NumPy calls per batch and not per image. Both ways give the same
numbers, bit for bit, random transforms included.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from numbanet.data import sample_random
from numbanet.tensor import Tensor, from_numpy

__all__ = [
    "CenterCrop",
    "Compose",
    "InterpolationMode",
    "Lambda",
    "Normalize",
    "RandomCrop",
    "RandomHorizontalFlip",
    "Resize",
    "ToTensor",
]


class InterpolationMode(enum.Enum):
    """How :class:`Resize` computes new pixels."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


# A batch on its way through the transforms: the array and the axis of its rows. Images (N, H, W) or (N, H, W, C) have
# rows on axis 1, tensors (N, C, H, W) on axis 2; columns always follow rows.
_Batch = tuple[np.ndarray, int]


class _Transform:
    """Base of the transforms that can work on a batch."""

    def apply_batch(self, images: np.ndarray, rows: int) -> _Batch:
        """Transform a batch; ``rows`` is the axis of the image rows. Returns the new array and axis."""
        raise NotImplementedError

    def __call__(self, image: Any) -> Any:
        """Transform one image; the result is of the same kind."""
        if _is_tensor(image):
            array, rows = image.numpy(), len(image.shape) - 1
            if array.ndim < 2:
                raise ValueError(f"{self!r}: a tensor image has shape (..., H, W), got {tuple(image.shape)}")
            return _from_numpy(self.apply_batch(array[None], rows)[0][0])
        if isinstance(image, np.ndarray):
            _check_array_image(image, repr(self))
            return self.apply_batch(image[None], 1)[0][0]
        if _is_pil(image):
            from PIL import Image

            result = Image.fromarray(self.apply_batch(np.asarray(image)[None], 1)[0][0])
            if image.mode == "P":  # the pixels are numbers of palette colours
                result.putpalette(image.getpalette())
            return result
        raise _wrong_type(self, image)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def _is_pil(image: Any) -> bool:
    # Asking the class's module first spares programs without images the import of PIL.
    if not any(base.__module__.partition(".")[0] == "PIL" for base in type(image).__mro__):
        return False
    from PIL import Image

    return isinstance(image, Image.Image)


def _is_tensor(image: Any) -> bool:
    return isinstance(image, Tensor)


def _from_numpy(array: np.ndarray) -> Any:
    return from_numpy(np.ascontiguousarray(array))


def _wrong_type(transform: Any, image: Any) -> TypeError:
    return TypeError(f"{transform!r} takes a PIL image, a uint8 ndarray or a Tensor, got {type(image)}")


def _check_array_image(image: np.ndarray, who: str) -> None:
    if image.ndim not in (2, 3):
        raise ValueError(f"{who}: an array image has shape (H, W) or (H, W, C), got {image.shape}")


def batched(transform: Any) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return a function that applies ``transform`` to uint8 images (N, H, W[, C]) at once, or None if it cannot.

    Only chains of this module's own classes that end in a tensor qualify: a subclass may have changed ``__call__``.
    """
    flat: list[Any] = _flattened(transform)
    if not all(type(step) in _BATCHABLE for step in flat):
        return None
    if sum(type(step) is ToTensor for step in flat) != 1:
        return None
    to_tensor = next(i for i, step in enumerate(flat) if type(step) is ToTensor)
    if any(type(step) is Normalize for step in flat[:to_tensor]):
        return None  # image by image it is refused with a clear error

    def apply(images: np.ndarray) -> np.ndarray:
        rows = 1
        for step in flat:
            images, rows = step.apply_batch(images, rows)
        return images

    return apply


def _flattened(transform: Any) -> list[Any]:
    if type(transform) is not Compose:
        return [transform]
    return [step for part in transform.transforms for step in _flattened(part)]


class Compose:
    """Apply transforms one after the other.

    Args:
        transforms: The transforms, each a callable of one image.
    """

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        for transform in transforms:
            if not callable(transform):
                raise TypeError(f"Compose takes a list of callables, got {transform!r}")
        self.transforms = list(transforms)

    def __call__(self, image: Any) -> Any:
        for transform in self.transforms:
            image = transform(image)
        return image

    def __repr__(self) -> str:
        lines = "".join(f"\n    {line}" for t in self.transforms for line in repr(t).splitlines())
        return f"Compose({lines}\n)"


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


class ToTensor(_Transform):
    """Turn a PIL image or an array (H, W) or (H, W, C) into a Tensor (C, H, W).

    uint8 (and 1-bit) images become float32 in [0, 1], that is pixel / 255; arrays and images of other dtypes keep their
    values and dtype.

    Raises:
        TypeError: something else than a PIL image or an array.
        ValueError: an array with another number of axes.
    """

    def __call__(self, image: Any) -> Any:
        if _is_pil(image):
            array = np.array(image)
            if array.dtype == np.bool_:
                array = array.astype(np.uint8) * np.uint8(255)
        elif isinstance(image, np.ndarray):
            array = image
            _check_array_image(array, "ToTensor()")
        else:
            raise TypeError(f"ToTensor() takes a PIL image or a ndarray, got {type(image)}")
        return _from_numpy(self.apply_batch(array[None], 1)[0][0])

    def apply_batch(self, images: np.ndarray, rows: int) -> _Batch:
        # (N, H, W) -> (N, 1, H, W); (N, H, W, C) -> (N, C, H, W)
        images = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
        if images.dtype == np.uint8:
            out = np.empty(images.shape, np.float32)
            np.divide(images, np.float32(255), out=out, dtype=np.float32)
            return out, 2
        return np.ascontiguousarray(images), 2


class Normalize(_Transform):
    """Compute (image - mean) / std channel by channel, for float Tensors (..., C, H, W).

    Args:
        mean: A number for each channel (or one for all).
        std: A number for each channel (or one for all).
        inplace: Change the given tensor itself.

    Raises:
        TypeError: the image is not a float Tensor.
        ValueError: a zero in ``std``, or sizes that do not fit.
    """

    def __init__(self, mean: Any, std: Any, inplace: bool = False) -> None:
        self.mean = mean
        self.std = std
        self.inplace = inplace
        # (C, 1, 1)
        self._mean = np.asarray(mean, np.float64).reshape(-1, 1, 1)
        self._std = np.asarray(std, np.float64).reshape(-1, 1, 1)
        if not np.all(self._std):
            raise ValueError(f"Normalize: std evaluated to zero, leading to division by zero: std={std}")

    def __call__(self, image: Any) -> Any:
        if not _is_tensor(image):
            raise TypeError(f"Normalize takes a Tensor (put ToTensor() before it), got {type(image)}")
        array = image.numpy()
        if array.dtype.kind != "f":
            raise TypeError(f"Normalize takes a float tensor, got {array.dtype}")
        if array.ndim < 3:
            raise ValueError(f"Normalize: a tensor image has shape (..., C, H, W), got {array.shape}")
        if not self.inplace:
            array = array.copy()
        self.apply_batch(array, array.ndim - 2)
        return image if self.inplace else _from_numpy(array)

    def apply_batch(self, images: np.ndarray, rows: int) -> _Batch:
        # Overwrites its input, which within a batch is always a fresh array.
        channels = images.shape[-3]
        for name, value in (("mean", self._mean), ("std", self._std)):
            if value.shape[0] not in (1, channels):
                raise ValueError(f"Normalize: {name} has {value.shape[0]} values, the image has {channels} channels")
        images -= self._mean.astype(images.dtype)
        images /= self._std.astype(images.dtype)
        return images, rows

    def __repr__(self) -> str:
        return f"Normalize(mean={self.mean}, std={self.std})"


class Resize(_Transform):
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
        try:
            self.interpolation = InterpolationMode(interpolation)
        except ValueError:
            names = ", ".join(mode.value for mode in InterpolationMode)
            raise ValueError(f"Resize: interpolation must be one of {names}, got {interpolation!r}") from None
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
        if _is_pil(image):
            height, width = self._output_size(image.height, image.width)
            return image.resize((width, height), self._filter())
        return super().__call__(image)

    def _filter(self) -> Any:
        from PIL import Image

        return getattr(Image.Resampling, self.interpolation.name)

    def apply_batch(self, images: np.ndarray, rows: int) -> _Batch:
        from PIL import Image

        height, width = images.shape[rows : rows + 2]
        new = self._output_size(height, width)
        if new == (height, width):
            return images, rows
        is_float = images.dtype.kind == "f"
        if not (images.dtype == np.uint8 or is_float):
            raise TypeError(f"Resize takes uint8 or float images, got {images.dtype}")
        if is_float and not self.antialias and self.interpolation is not InterpolationMode.NEAREST:
            raise ValueError("Resize: antialias=False is not offered for float images, which Pillow resizes smoothly")
        resample = self._filter()
        out = np.empty(images.shape[:rows] + new + images.shape[rows + 2 :], images.dtype)
        colour = not is_float and images.ndim == rows + 3 and images.shape[-1] in (3, 4)
        if colour:  # uint8 (N, H, W, 3 or 4): Pillow takes the channels together
            for source, target in zip(images, out, strict=True):
                target[...] = Image.fromarray(source).resize((new[1], new[0]), resample)
            return out, rows
        # Views in which each plane (H, W) is one entry of the leading axes.
        planes = np.moveaxis(images, (rows, rows + 1), (-2, -1))
        targets = np.moveaxis(out, (rows, rows + 1), (-2, -1))
        for where in np.ndindex(planes.shape[:-2]):
            plane = planes[where].astype(np.float32, copy=False) if is_float else planes[where]
            targets[where] = Image.fromarray(plane).resize((new[1], new[0]), resample)
        return out, rows

    def __repr__(self) -> str:
        return (
            f"Resize(size={self.size}, interpolation={self.interpolation.value}, max_size={self.max_size}, "
            f"antialias={self.antialias})"
        )


class RandomHorizontalFlip(_Transform):
    """Mirror the image left to right with probability ``p``."""

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"RandomHorizontalFlip: p must be within [0, 1], got {p}")
        self.p = p

    def apply_batch(self, images: np.ndarray, rows: int) -> _Batch:
        flip = sample_random.uniform(len(images)) < self.p
        if not flip.any():
            return images, rows
        out = images.copy()
        out[flip] = np.flip(images[flip], axis=rows + 1)
        return out, rows

    def __repr__(self) -> str:
        return f"RandomHorizontalFlip(p={self.p})"


def _size_pair(size: int | Sequence[int], who: str) -> tuple[int, int]:
    if isinstance(size, (int, np.integer)):
        pair = (int(size), int(size))
    elif isinstance(size, Sequence) and not isinstance(size, str) and len(size) in (1, 2):
        pair = (int(size[0]), int(size[-1]))
    else:
        raise ValueError(f"{who}: size must be an int or a sequence of 1 or 2 ints, got {size!r}")
    if min(pair) <= 0:
        raise ValueError(f"{who}: size must be positive, got {size!r}")
    return pair


def _pad(images: np.ndarray, rows: int, sides: tuple[int, int, int, int], mode: str, fill: float) -> np.ndarray:
    left, top, right, bottom = sides
    widths = [(0, 0)] * images.ndim
    widths[rows], widths[rows + 1] = (top, bottom), (left, right)
    if mode == "constant":
        # numpy.pad spends more on bookkeeping than on copying.
        out = np.full([n + sum(w) for n, w in zip(images.shape, widths, strict=True)], fill, images.dtype)
        inside = tuple(slice(w[0], w[0] + n) for n, w in zip(images.shape, widths, strict=True))
        out[inside] = images
        return out
    padded: np.ndarray = np.pad(images, widths, mode=mode)  # type: ignore[call-overload]
    return padded


class RandomCrop(_Transform):
    """Cut a window of the given size out at a random place.

    Args:
        size: (H, W), or one int for a square.
        padding: Pixels added first on each side: one int, (left and right, top and bottom), or (left, top, right,
            bottom).
        pad_if_needed: Pad an image that is smaller than ``size`` rather than refuse it.
        fill: Value of the added pixels, for ``padding_mode="constant"``.
        padding_mode: "constant", "edge", "reflect" or "symmetric".

    Raises:
        ValueError: the padded image is smaller than ``size``, or a bad argument.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        padding: int | Sequence[int] | None = None,
        pad_if_needed: bool = False,
        fill: float = 0,
        padding_mode: str = "constant",
    ) -> None:
        self.size = _size_pair(size, "RandomCrop")
        self.padding = padding
        self.pad_if_needed = pad_if_needed
        self.fill = fill
        self.padding_mode = padding_mode
        if padding_mode not in ("constant", "edge", "reflect", "symmetric"):
            raise ValueError(
                f"RandomCrop: padding_mode must be constant, edge, reflect or symmetric, got {padding_mode!r}"
            )
        given = [padding or 0] if padding is None or isinstance(padding, (int, np.integer)) else list(padding)
        if len(given) not in (1, 2, 4) or min(given) < 0:
            raise ValueError(f"RandomCrop: padding must be 1, 2 or 4 ints, none negative, got {padding!r}")
        left, top, right, bottom = (int(p) for p in given * (4 // len(given)))
        self._sides = (left, top, right, bottom)

    def apply_batch(self, images: np.ndarray, rows: int) -> _Batch:
        height, width = self.size
        if any(self._sides):
            images = _pad(images, rows, self._sides, self.padding_mode, self.fill)
        if self.pad_if_needed:
            short_h = max(0, height - images.shape[rows])
            short_w = max(0, width - images.shape[rows + 1])
            if short_h or short_w:
                images = _pad(images, rows, (short_w, short_h, short_w, short_h), self.padding_mode, self.fill)
        room_h, room_w = images.shape[rows] - height + 1, images.shape[rows + 1] - width + 1
        if room_h <= 0 or room_w <= 0:
            raise ValueError(
                f"Required crop size {self.size} is larger than input image size {images.shape[rows : rows + 2]}"
            )
        count = len(images)
        # Two draws always, so that what later transforms draw does not hang on the image's size.
        top = (sample_random.uniform(count) * room_h).astype(np.intp)
        left = (sample_random.uniform(count) * room_w).astype(np.intp)
        windows = np.lib.stride_tricks.sliding_window_view(images, self.size, axis=(rows, rows + 1))
        sample = np.arange(count)
        if rows == 1:  # (N, top, left[, C], h, w) -> (N, h, w[, C])
            out = windows[sample, top, left]
            return (np.moveaxis(out, 1, -1) if images.ndim == 4 else out), rows
        if rows == 2:  # (N, C, top, left, h, w) -> (N, C, h, w)
            return windows[sample, :, top, left], rows
        # A single Tensor (..., H, W) with other leading axes.
        t, s = int(top[0]), int(left[0])
        return images[..., t : t + height, s : s + width], rows

    def __repr__(self) -> str:
        return f"RandomCrop(size={self.size}, padding={self.padding})"


class CenterCrop(_Transform):
    """Cut a window of the given size out of the middle, padding a smaller image with zeros.

    Args:
        size: (H, W), or one int for a square.
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = _size_pair(size, "CenterCrop")

    def apply_batch(self, images: np.ndarray, rows: int) -> _Batch:
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


_BATCHABLE = (ToTensor, Normalize, Resize, RandomHorizontalFlip, RandomCrop, CenterCrop)
