"""Rotation and other affine maps of the image plane.

PIL images and array images go through Pillow one by one, which computes in fixed point. Tensors are sampled here, the
whole batch at once, as by PyTorch's ``grid_sample``: pixel (row i, column j) is a square whose centre lies at
(j + 0.5, i + 0.5), and what lies outside the image is zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from numbanet.data import sample_random
from numbanet.data.transforms.base import Batch, InterpolationMode, Transform, as_mode
from numbanet.data.transforms.geometry import check_range, fill_of, pillow_filter

__all__ = ["RandomAffine", "RandomRotation"]

_MODES = (InterpolationMode.NEAREST, InterpolationMode.BILINEAR, InterpolationMode.BICUBIC)


def _inverse_matrices(
    angle: np.ndarray, centre: tuple[float, float], translate: Any = 0.0, scale: Any = 1.0, shear: Any = (0.0, 0.0)
) -> np.ndarray:
    """Where in the source the pixels of the result come from: float64 [N, 2, 3], (x, y, 1) -> (x, y).

    The image is sheared along x, then along y, scaled and turned by ``angle`` degrees (clockwise as one sees it, for y
    points down) about ``centre``, then moved by ``translate``.

    Args:
        angle: [N], degrees.
        centre: (x, y).
        translate: [N, 2], pixels.
        scale: [N].
        shear: Two arrays [N], degrees.
    """
    turn, shear_x, shear_y = np.radians(angle), np.radians(shear[0]), np.radians(shear[1])
    # Rotation @ [[1, 0], [-tan(shear_y), 1]] @ [[1, -tan(shear_x)], [0, 1]] has determinant 1.
    cos, sin, tan_x, tan_y = np.cos(turn), np.sin(turn), np.tan(shear_x), np.tan(shear_y)
    a, c = cos + sin * tan_y, sin - cos * tan_y
    b, d = -a * tan_x - sin, -c * tan_x + cos
    matrix = np.empty((len(turn), 2, 3))
    matrix[:, 0, 0], matrix[:, 0, 1] = d / scale, -b / scale
    matrix[:, 1, 0], matrix[:, 1, 1] = -c / scale, a / scale
    middle = np.asarray(centre)
    matrix[:, :, 2] = (
        middle - (matrix[:, :, :2] @ np.broadcast_to(middle + translate, (len(turn), 2))[..., None])[..., 0]
    )
    return matrix


def _sample(images: np.ndarray, matrices: np.ndarray, bilinear: bool, fill: Any, size: tuple[int, int]) -> np.ndarray:
    """Sample tensors (N, ..., H, W) where ``matrices`` say, in coordinates that begin in the middle of the image."""
    height, width = images.shape[-2:]
    x, y = (np.arange(n) - (n / 2 - 0.5) for n in (size[1], size[0]))
    m = matrices[:, :, :, None, None]
    # Columns and rows in the source, [N, rows, columns]. The middle of the first pixel has index 0.
    column = m[:, 0, 0] * x + m[:, 0, 1] * y[:, None] + (m[:, 0, 2] + (width / 2 - 0.5))
    row = m[:, 1, 0] * x + m[:, 1, 1] * y[:, None] + (m[:, 1, 2] + (height / 2 - 0.5))

    dtype = np.dtype(np.float32) if images.dtype.kind != "f" else images.dtype
    planes = images.reshape(len(images), -1, height * width).astype(dtype, copy=False)
    sample, plane = np.arange(len(images))[:, None, None], np.arange(planes.shape[1])[:, None]

    def read(row: np.ndarray, column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The values [N, planes, pixels] at whole rows and columns, and whether they are inside, [N, 1, pixels]."""
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        index = np.where(inside, row * width + column, 0).astype(np.intp).reshape(len(images), 1, -1)
        return planes[sample, plane, index], inside.reshape(index.shape)

    if bilinear:
        left, top = np.floor(column), np.floor(row)
        right_part, lower_part = column - left, row - top
        values = np.zeros((*planes.shape[:2], size[0] * size[1]), dtype)
        weights = np.zeros((len(images), 1, size[0] * size[1]), dtype)
        for down in (0, 1):
            for right in (0, 1):
                found, inside = read(top + down, left + right)
                share = np.abs(1 - down - lower_part) * np.abs(1 - right - right_part)
                weight = share.astype(dtype).reshape(weights.shape) * inside
                values += weight * found
                weights += weight
        # At the border torchvision weighs twice: values that already count what is outside as zeros fade into the fill.
        values = values * weights + (1 - weights) * fill
    else:
        found, inside = read(np.floor(row + 0.5), np.floor(column + 0.5))
        values = np.where(inside, found, fill)
    if images.dtype.kind != "f":
        values = np.rint(values)
    return values.astype(images.dtype, copy=False).reshape(*images.shape[:-2], *size)


def _turned_size(matrix: np.ndarray, height: int, width: int) -> tuple[int, int]:
    """(H, W) of the upright rectangle round an image that was turned by ``matrix``."""
    corners = np.array([(x * width / 2, y * height / 2, 1) for x in (-1, 1) for y in (-1, 1)]) @ matrix.T
    corners += (width / 2, height / 2)
    # To four places, or a turn by 90 degrees would gain a pixel from rounding.
    high, low = np.ceil(corners.max(axis=0).round(4)), np.floor(corners.min(axis=0).round(4))
    return int(high[1] - low[1]), int(high[0] - low[0])


def _by_pillow(image: np.ndarray, fill: Any, change: Callable[[Any, Any, Any], Any], how: Any) -> np.ndarray:
    """``change(picture, fill, how)`` of an array image: of all channels together where Pillow has such pictures."""
    from PIL import Image

    together = image.ndim == 3 and image.dtype == np.uint8 and image.shape[-1] in (3, 4)
    if image.ndim == 3 and not together:
        fills = np.broadcast_to(np.reshape(fill, -1), image.shape[-1]).tolist()
        return np.stack([_by_pillow(image[..., i], value, change, how) for i, value in enumerate(fills)], axis=-1)
    fills = np.broadcast_to(np.reshape(fill, -1), image.shape[-1] if together else 1)
    fills = fills.tolist() if image.dtype.kind == "f" else fills.astype(int).tolist()
    return np.asarray(change(Image.fromarray(image), tuple(fills) if together else fills[0], how))


def _fills(fill: Any, planes: int) -> Any:
    """Fill values of the planes of a tensor (..., C, H, W), in a shape that fits [N, planes, pixels]."""
    return fill if np.isscalar(fill) else np.tile(np.reshape(fill, -1), planes // np.size(fill))[:, None]


def _degrees(value: float | Sequence[float], who: str, what: str) -> tuple[float, float]:
    """(min, max) of an angle given by its largest amount or by both."""
    if isinstance(value, (int, float, np.number)):
        if value < 0:
            raise ValueError(f"{who}: {what} as a single number must not be negative, got {value}")
        return -float(value), float(value)
    return check_range(value, who, what, -math.inf, math.inf)


class _RandomWarp(Transform):
    """What rotation and affine maps share."""

    interpolation: InterpolationMode
    fill: float | Sequence[float]
    center: tuple[float, float] | None

    @property
    def mixes_pixels(self) -> bool:  # type: ignore[override]
        """Whether new pixels are means of several."""
        return self.interpolation is not InterpolationMode.NEAREST

    def _options(self, interpolation: Any, center: Any, fill: Any) -> None:
        who = type(self).__name__
        self.interpolation = as_mode(interpolation, who, _MODES)
        if center is not None and len(center) != 2:
            raise ValueError(f"{who}: center must be (x, y), got {center!r}")
        self.center = center
        self.fill = 0 if fill is None else fill

    def _tensors(self, images: np.ndarray, matrices: np.ndarray, size: tuple[int, int], fill: Any) -> np.ndarray:
        if self.interpolation is InterpolationMode.BICUBIC:
            raise ValueError(f"{self!r}: tensors are sampled by nearest or bilinear interpolation, not by bicubic")
        bilinear = self.interpolation is InterpolationMode.BILINEAR
        planes = math.prod(images.shape[1:-2])
        return _sample(images, matrices, bilinear, _fills(fill, planes), size)

    def _from_middle(self, height: int, width: int) -> tuple[float, float]:
        if self.center is None:
            return 0.0, 0.0
        return self.center[0] - width / 2, self.center[1] - height / 2


class RandomRotation(_RandomWarp):
    """Turn the image about its centre by a random angle.

    Args:
        degrees: (min, max) of the angle, counter-clockwise; a number d stands for (-d, d).
        interpolation: NEAREST, BILINEAR, or (not for tensors) BICUBIC.
        expand: Make the result large enough to hold the whole turned image.
        center: (x, y) to turn about; None: the middle.
        fill: Value of pixels from outside the image, or one for each channel.

    Raises:
        ValueError: a bad argument, or a fill that does not fit the image's channels.
    """

    def __init__(
        self,
        degrees: float | Sequence[float],
        interpolation: InterpolationMode | str = InterpolationMode.NEAREST,
        expand: bool = False,
        center: Sequence[float] | None = None,
        fill: float | Sequence[float] = 0,
    ) -> None:
        self.degrees = _degrees(degrees, "RandomRotation", "degrees")
        self.expand = expand
        self.keeps_shape = not expand
        self._options(interpolation, center, fill)

    def can_batch(self) -> bool:
        """Whether all images of a batch get the same shape: not if each is as large as its angle makes it."""
        return not self.expand

    def apply_batch(self, images: np.ndarray, rows: int) -> Batch:
        height, width = images.shape[rows : rows + 2]
        low, high = self.degrees
        angles = low + sample_random.uniform(len(images)) * (high - low)
        fill = fill_of(self.fill, images, rows, "RandomRotation")
        if rows == 1:
            resample = pillow_filter(self.interpolation)

            def turn(picture: Any, fill: Any, angle: float) -> Any:
                return picture.rotate(angle, resample, self.expand, self.center, fillcolor=fill)

            turned = [
                _by_pillow(image, fill, turn, angle) for image, angle in zip(images, angles.tolist(), strict=True)
            ]
            return np.stack(turned), rows
        matrices = _inverse_matrices(-angles, self._from_middle(height, width))
        size = _turned_size(matrices[0], height, width) if self.expand else (height, width)
        return self._tensors(images, matrices, size, fill), rows

    def __repr__(self) -> str:
        center = "" if self.center is None else f", center={self.center}"
        return (
            f"RandomRotation(degrees={list(self.degrees)}, interpolation={self.interpolation.value}, "
            f"expand={self.expand}{center}, fill={self.fill})"
        )


class RandomAffine(_RandomWarp):
    """Turn, shift, scale and shear the image at random, about its centre.

    Args:
        degrees: (min, max) of the angle, clockwise; a number d stands for (-d, d); 0: no turn.
        translate: Largest shifts (right or left, up or down) as fractions of width and height; None: none.
        scale: (min, max) of the factor of size; None: 1.
        shear: (min, max) in degrees along x, a number s stands for (-s, s); or (min x, max x, min y, max y); None: none.
        interpolation: NEAREST, BILINEAR, or (not for tensors) BICUBIC.
        fill: Value of pixels from outside the image, or one for each channel.
        center: (x, y) to turn, scale and shear about; None: the middle.

    Raises:
        ValueError: a bad argument, or a fill that does not fit the image's channels.
    """

    keeps_shape = True

    def __init__(
        self,
        degrees: float | Sequence[float],
        translate: Sequence[float] | None = None,
        scale: Sequence[float] | None = None,
        shear: float | Sequence[float] | None = None,
        interpolation: InterpolationMode | str = InterpolationMode.NEAREST,
        fill: float | Sequence[float] = 0,
        center: Sequence[float] | None = None,
    ) -> None:
        who = "RandomAffine"
        self.degrees = _degrees(degrees, who, "degrees")
        if translate is not None and (len(translate) != 2 or not all(0 <= t <= 1 for t in translate)):
            raise ValueError(f"{who}: translate must be two fractions within [0, 1], got {translate!r}")
        self.translate = translate
        self.scale = None if scale is None else check_range(scale, who, "scale", 1e-6, math.inf)
        self.shear: tuple[float, ...] | None = None
        if shear is not None:
            if isinstance(shear, Sequence) and len(shear) == 4:
                self.shear = (*_degrees(shear[:2], who, "shear"), *_degrees(shear[2:], who, "shear"))
            else:
                self.shear = _degrees(shear, who, "shear")
        self._options(interpolation, center, fill)

    def apply_batch(self, images: np.ndarray, rows: int) -> Batch:
        height, width = images.shape[rows : rows + 2]
        u = sample_random.uniforms(len(images), 6)
        angle = self.degrees[0] + u[0] * (self.degrees[1] - self.degrees[0])
        most = np.array(self.translate or (0.0, 0.0)) * (width, height)
        translate = np.rint((2 * u[1:3].T - 1) * most)
        low, high = self.scale or (1.0, 1.0)
        scale = low + u[3] * (high - low)
        x_low, x_high, y_low, y_high = (*(self.shear or (0.0, 0.0)), 0.0, 0.0)[:4]
        shear = x_low + u[4] * (x_high - x_low), y_low + u[5] * (y_high - y_low)
        fill = fill_of(self.fill, images, rows, "RandomAffine")
        if rows > 1:
            matrices = _inverse_matrices(angle, self._from_middle(height, width), translate, scale, shear)
            return self._tensors(images, matrices, (height, width), fill), rows

        from PIL import Image

        matrices = _inverse_matrices(angle, self.center or (width / 2, height / 2), translate, scale, shear)
        resample = pillow_filter(self.interpolation)

        def move(picture: Any, fill: Any, matrix: list[float]) -> Any:
            return picture.transform((width, height), Image.Transform.AFFINE, matrix, resample, fillcolor=fill)

        moved = [
            _by_pillow(image, fill, move, matrix)
            for image, matrix in zip(images, matrices.reshape(-1, 6).tolist(), strict=True)
        ]
        return np.stack(moved), rows

    def __repr__(self) -> str:
        given: dict[str, Any] = {"degrees": list(self.degrees), "translate": self.translate, "scale": self.scale}
        given["shear"] = None if self.shear is None else list(self.shear)
        if self.interpolation is not InterpolationMode.NEAREST:
            given["interpolation"] = self.interpolation.value
        given |= {"fill": self.fill or None, "center": self.center}
        return f"RandomAffine({', '.join(f'{name}={value}' for name, value in given.items() if value is not None)})"
