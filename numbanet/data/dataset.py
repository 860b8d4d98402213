"""Datasets: anything with a length and an index, and ways to cut and join them."""

from __future__ import annotations

import bisect
import itertools
import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from numbanet.data.sample_random import begin_sample, numpy_generator
from numbanet.tensor import Tensor, from_numpy

__all__ = ["Columns", "ConcatDataset", "Dataset", "Subset", "TensorDataset", "random_split"]


class Dataset:
    """A map-style dataset: ``len(dataset)`` samples, ``dataset[i]`` being the i-th.

    Subclasses write ``__len__`` and ``__getitem__``. One that can fetch many samples faster than one by one may also
    write ``__getitems__(indices)``, returning a list of samples or, faster still, a :class:`Columns`.
    """

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__")

    def __add__(self, other: Dataset) -> ConcatDataset:
        return ConcatDataset([self, other])


class Columns(Sequence[Any]):
    """A batch kept as whole columns, which reads as the list of its samples.

    ``Columns((images, labels))[3]`` is ``(images[3], labels[3])``; :func:`default_collate` takes the columns as they
    are, so that a batch costs one indexing per column and not one per sample. Columns are NumPy arrays or Tensors whose
    first axis is the sample.

    Args:
        columns: The columns.
        scalar_columns: Numbers of the columns whose samples are plain Python numbers (labels).
    """

    def __init__(self, columns: Sequence[Any], scalar_columns: Sequence[int] = ()) -> None:
        self.columns = tuple(columns)
        self._scalar = frozenset(scalar_columns)

    def __len__(self) -> int:
        return len(self.columns[0])

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of a batch of {len(self)}")
        return tuple(
            column[index].item() if i in self._scalar else _as_tensor(column[index])
            for i, column in enumerate(self.columns)
        )

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))


def _as_tensor(value: Any) -> Any:
    return value if isinstance(value, Tensor) else from_numpy(np.asarray(value))


class TensorDataset(Dataset):
    """Samples are the rows of one or more tensors: ``dataset[i]`` is ``(tensors[0][i], tensors[1][i], ...)``.

    Args:
        *tensors: Tensors or NumPy arrays with equal first sizes.

    Raises:
        ValueError: no tensor, a tensor without axes, or first sizes that differ.
    """

    def __init__(self, *tensors: Any) -> None:
        if not tensors:
            raise ValueError("TensorDataset needs at least one tensor")
        self.tensors = tuple(_as_tensor(t) for t in tensors)
        shapes = [tuple(t.shape) for t in self.tensors]
        if any(len(shape) == 0 for shape in shapes):
            raise ValueError(f"TensorDataset: each tensor needs a first axis that counts samples, got shapes {shapes}")
        if any(shape[0] != shapes[0][0] for shape in shapes):
            raise ValueError(f"Size mismatch between tensors: first sizes must be equal, got shapes {shapes}")

    def __getitem__(self, index: Any) -> tuple[Any, ...]:
        return tuple(t[index] for t in self.tensors)

    def __getitems__(self, indices: Sequence[int]) -> Columns:
        rows = np.asarray(indices, dtype=np.intp)
        # numpy.take is several times faster than fancy indexing on rows of a few hundred bytes or more.
        return Columns([t[rows] if t.is_cuda else host_array(t).take(rows, axis=0) for t in self.tensors])

    def __len__(self) -> int:
        return int(self.tensors[0].shape[0])


def host_array(tensor: Tensor) -> np.ndarray:
    """The values of a CPU tensor, which may be one that requires grad: batches are outside the graph."""
    return tensor.detach().numpy() if tensor.requires_grad else tensor.numpy()


class Subset(Dataset):
    """The samples of ``dataset`` at ``indices``, in that order."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices: Sequence[int]) -> Sequence[Any]:
        return fetch_samples(self.dataset, [self.indices[i] for i in indices])

    def __len__(self) -> int:
        return len(self.indices)


class ConcatDataset(Dataset):
    """The samples of several datasets, one after the other.

    Raises:
        ValueError: there is no dataset to join.
    """

    def __init__(self, datasets: Any) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError("ConcatDataset: datasets should not be an empty iterable")
        self.cumulative_sizes = list(itertools.accumulate(len(d) for d in self.datasets))

    def __getitem__(self, index: int) -> Any:
        if not -len(self) <= index < len(self):
            raise IndexError(f"ConcatDataset: index {index} is out of range for {len(self)} samples")
        index += len(self) if index < 0 else 0
        which = bisect.bisect_right(self.cumulative_sizes, index)
        return self.datasets[which][index - (self.cumulative_sizes[which - 1] if which else 0)]

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]


def fetch_samples(dataset: Any, indices: Sequence[Any]) -> Sequence[Any]:
    """Fetch many samples: by the dataset's ``__getitems__`` if it has one, else one by one."""
    if getattr(dataset, "__getitems__", None):
        samples: Sequence[Any] = dataset.__getitems__(indices)
        return samples
    return fetch_one_by_one(dataset, indices)


def fetch_one_by_one(dataset: Any, indices: Sequence[Any]) -> list[Any]:
    """Fetch many samples by ``dataset[index]``; an exception gets a note that names the index."""
    samples = []
    for position, index in enumerate(indices):
        begin_sample(position)
        try:
            samples.append(dataset[index])
        except Exception as error:
            error.add_note(f"while loading the sample at index {index!r} of {type(dataset).__name__}")
            raise
    return samples


def random_split(dataset: Any, lengths: Sequence[int | float], generator: Any = None) -> list[Subset]:
    """Split a dataset at random into parts that do not overlap.

    Args:
        dataset: The dataset to split.
        lengths: Lengths of the parts, or fractions that sum to 1 (samples left over by rounding down go to the parts in
            turn).
        generator: Source of the permutation; None: the default generator.

    Returns:
        One :class:`Subset` for each length.

    Raises:
        ValueError: lengths that do not sum to the dataset's length, or a fraction outside [0, 1].
    """
    size = len(dataset)
    parts = list(lengths)
    if math.isclose(sum(parts), 1) and sum(parts) <= 1:
        for i, fraction in enumerate(parts):
            if not 0 <= fraction <= 1:
                raise ValueError(f"Fraction at index {i} is not between 0 and 1, got {fraction}")
        parts = [math.floor(size * fraction) for fraction in parts]
        for i in range(size - int(sum(parts))):
            parts[i % len(parts)] += 1
        for i, length in enumerate(parts):
            if length == 0:
                warnings.warn(f"Length of split at index {i} is 0: that part is empty", stacklevel=2)
    if sum(parts) != size:
        raise ValueError(
            f"Sum of input lengths does not equal the length of the input dataset: {list(lengths)} sum to "
            f"{sum(parts)}, the dataset has {size} samples"
        )
    if any(length < 0 or length != int(length) for length in parts):
        raise ValueError(f"random_split: lengths must be non-negative integers, got {list(lengths)}")
    order = numpy_generator(generator).permutation(size).tolist()
    ends = itertools.accumulate(int(length) for length in parts)
    return [Subset(dataset, order[end - int(length) : end]) for end, length in zip(ends, parts, strict=True)]
