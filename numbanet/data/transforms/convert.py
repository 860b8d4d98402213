"""From images to tensors, and to numbers of a useful size."""

from __future__ import annotations

from typing import Any

import numpy as np

from numbanet.data.transforms.base import Batch, Transform, as_tensor, check_array_image, is_pil, is_tensor

__all__ = ["Normalize", "ToTensor"]


class ToTensor(Transform):
    """Turn a PIL image or an array (H, W) or (H, W, C) into a Tensor (C, H, W).

    uint8 (and 1-bit) images become float32 in [0, 1], that is pixel / 255; arrays and images of other dtypes keep their
    values and dtype.

    Raises:
        TypeError: something else than a PIL image or an array.
        ValueError: an array with another number of axes.
    """

    makes_tensor = True

    def __call__(self, image: Any) -> Any:
        if is_pil(image):
            array = np.array(image)
            if array.dtype == np.bool_:
                array = array.astype(np.uint8) * np.uint8(255)
        elif isinstance(image, np.ndarray):
            array = image
            check_array_image(array, "ToTensor()")
        else:
            raise TypeError(f"ToTensor() takes a PIL image or a ndarray, got {type(image)}")
        return as_tensor(self.apply_batch(array[None], 1)[0][0])

    def apply_batch(self, images: np.ndarray, rows: int) -> Batch:
        # (N, H, W) -> (N, 1, H, W); (N, H, W, C) -> (N, C, H, W)
        images = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
        if images.dtype == np.uint8:
            out = np.empty(images.shape, np.float32)
            np.divide(images, np.float32(255), out=out, dtype=np.float32)
            return out, 2
        return np.ascontiguousarray(images), 2


class Normalize(Transform):
    """Compute (image - mean) / std channel by channel, for float Tensors (..., C, H, W).

    Args:
        mean: A number for each channel (or one for all).
        std: A number for each channel (or one for all).
        inplace: Change the given tensor itself.

    Raises:
        TypeError: the image is not a float Tensor.
        ValueError: a zero in ``std``, or sizes that do not fit.
    """

    keeps_shape = True
    after_tensor = True

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
        if not is_tensor(image):
            raise TypeError(f"Normalize takes a Tensor (put ToTensor() before it), got {type(image)}")
        array = image.numpy()
        if array.dtype.kind != "f":
            raise TypeError(f"Normalize takes a float tensor, got {array.dtype}")
        if array.ndim < 3:
            raise ValueError(f"Normalize: a tensor image has shape (..., C, H, W), got {array.shape}")
        if not self.inplace:
            array = array.copy()
        self.apply_batch(array, array.ndim - 2)
        return image if self.inplace else as_tensor(array)

    def apply_batch(self, images: np.ndarray, rows: int) -> Batch:
        channels = images.shape[-3]
        for name, value in (("mean", self._mean), ("std", self._std)):
            if value.shape[0] not in (1, channels):
                raise ValueError(f"Normalize: {name} has {value.shape[0]} values, the image has {channels} channels")
        images -= self._mean.astype(images.dtype)
        images /= self._std.astype(images.dtype)
        return images, rows

    def __repr__(self) -> str:
        return f"Normalize(mean={self.mean}, std={self.std})"
