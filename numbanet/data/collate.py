"""Joining samples into a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from numbanet.data.dataset import Columns, host_array
from numbanet.tensor import Tensor, from_numpy

__all__ = ["default_collate", "default_convert"]


def _tensor(array: np.ndarray) -> Any:
    return from_numpy(np.ascontiguousarray(array) if array.ndim else array)


def default_collate(batch: Sequence[Any]) -> Any:
    """Join a list of samples into one batch, along a new first axis.

    Tensors and arrays of shape S become a Tensor (len(batch), *S) of the same dtype; Python floats a float64 Tensor,
    ints int64, bools bool; strings and bytes stay a list; mappings, named tuples, tuples and lists are joined entry by
    entry (plain tuples come back as lists, as in PyTorch).

    Raises:
        TypeError: the samples hold something else (a PIL image, say); pass your own ``collate_fn``.
        ValueError: samples whose shapes or lengths differ.
    """
    if isinstance(batch, Columns):
        return [_tensor(c) if isinstance(c, np.ndarray) else c for c in batch.columns]
    first = batch[0]
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        joined = {key: default_collate([sample[key] for sample in batch]) for key in first}
        try:
            return type(first)(joined)  # type: ignore[call-arg]
        except TypeError:  # a mapping type whose constructor takes something else
            return joined
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(default_collate(entries) for entries in _transposed(batch)))
    if isinstance(first, (tuple, list)):
        return [default_collate(entries) for entries in _transposed(batch)]
    return _stack(batch)


def _transposed(batch: Sequence[Any]) -> list[tuple[Any, ...]]:
    if len({len(sample) for sample in batch}) > 1:
        raise ValueError(
            f"default_collate: each sample must have the same number of entries, got {[len(s) for s in batch]}"
        )
    return list(zip(*batch, strict=True))


def _stack(batch: Sequence[Any]) -> Any:
    first = batch[0]
    if isinstance(first, Tensor):
        if not first.is_cuda:
            batch = [host_array(t) for t in batch]
    elif isinstance(first, np.ndarray) or np.isscalar(first):
        if np.asarray(first).dtype.kind not in "biufc":
            raise TypeError(f"default_collate: cannot make a tensor of dtype {np.asarray(first).dtype}")
    else:
        raise TypeError(
            "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found "
            f"{type(first)}. Give the dataset a transform (ToTensor() for images) or the loader a collate_fn"
        )
    shapes = {np.shape(sample) for sample in batch}
    if len(shapes) > 1:
        raise ValueError(
            f"default_collate: samples of one batch must have equal shapes, found {sorted(shapes)}. "
            "Resize or crop them, or pass a collate_fn"
        )
    if np.isscalar(first):
        return _tensor(np.array(batch))  # NumPy infers bool, int64 or float64
    if isinstance(first, Tensor) and first.is_cuda:
        joined = first.new_empty((len(batch), *first.shape))
        for i, sample in enumerate(batch):
            joined[i] = sample
        return joined
    return _tensor(np.stack(batch))


def default_convert(sample: Any) -> Any:
    """Turn the NumPy arrays within one sample into Tensors and leave the rest; used when ``batch_size=None``."""
    if isinstance(sample, np.ndarray):
        return _tensor(sample) if sample.dtype.kind in "biufc" else sample
    if isinstance(sample, np.generic) and sample.dtype.kind in "biufc":
        return _tensor(np.asarray(sample))
    if isinstance(sample, Mapping):
        return {key: default_convert(value) for key, value in sample.items()}
    if isinstance(sample, tuple) and hasattr(sample, "_fields"):
        return type(sample)(*(default_convert(value) for value in sample))
    if isinstance(sample, (tuple, list)):
        return [default_convert(value) for value in sample]
    return sample


def pinned(batch: Any) -> Any:
    """The same batch with its tensors in page-locked memory; those on CUDA, and what is no tensor, stay as they are."""
    if isinstance(batch, Tensor):
        return batch if batch.is_cuda else batch.pin_memory()
    if isinstance(batch, (str, bytes)):
        return batch
    if isinstance(batch, Mapping):
        held = {key: pinned(value) for key, value in batch.items()}
        try:
            return type(batch)(held)  # type: ignore[call-arg]
        except TypeError:  # a mapping type whose constructor takes something else
            return held
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(pinned(value) for value in batch))
    if isinstance(batch, (tuple, list)):
        return type(batch)([pinned(value) for value in batch])
    return batch.pin_memory() if hasattr(batch, "pin_memory") else batch
