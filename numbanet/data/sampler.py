"""Samplers: the order in which a loader visits a dataset."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sized
from typing import Any

import numpy as np

from numbanet.data.sample_random import numpy_generator

__all__ = [
    "BatchSampler",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "SubsetRandomSampler",
    "WeightedRandomSampler",
]


class Sampler:
    """Base of all samplers: iterates over indices (or lists of indices, for a batch sampler)."""

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} must define __iter__")


class SequentialSampler(Sampler):
    """Indices 0, 1, 2, ... in order."""

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler):
    """Indices in random order: a fresh permutation each epoch, or independent draws with replacement.

    Args:
        data_source: The dataset, of which only the length is used.
        replacement: Draw each index independently.
        num_samples: Indices per epoch (default: the dataset's length; more than that gives several permutations).
        generator: Source of randomness; None: each epoch takes one seed from the default generator.

    Raises:
        TypeError: ``replacement`` is not a bool.
        ValueError: ``num_samples`` is not a positive integer (an empty dataset included).
    """

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Any = None,
    ) -> None:
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = generator
        if not isinstance(replacement, bool):
            raise TypeError(f"replacement should be a boolean value, but got replacement={replacement}")
        if not isinstance(self.num_samples, int) or self.num_samples <= 0:
            raise ValueError(f"num_samples should be a positive integer value, but got num_samples={self.num_samples}")

    @property
    def num_samples(self) -> int:
        """Indices per epoch; follows a dataset that grows."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        # The whole order is drawn at once, so that a loader which prefetches leaves the generator in the same state
        # as one that does not.
        n, count = len(self.data_source), self.num_samples
        rng = numpy_generator(self.generator)
        if self.generator is None:
            rng = np.random.Generator(np.random.PCG64(int(rng.integers(2**63))))
        if self.replacement:
            return iter(rng.integers(n, size=count).tolist())
        rounds = [rng.permutation(n).tolist() for _ in range(-(-count // n))]
        return itertools.islice(itertools.chain.from_iterable(rounds), count)

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler):
    """The given indices in random order, without replacement."""

    def __init__(self, indices: Any, generator: Any = None) -> None:
        self.indices = indices
        self.generator = generator

    def __iter__(self) -> Iterator[Any]:
        order = numpy_generator(self.generator).permutation(len(self.indices)).tolist()
        return iter([self.indices[i] for i in order])

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler):
    """Indices drawn with given weights, for classes of which there are few samples among many.

    Example, as many images of each class of a folder as of any other::

        labels = numpy.array(folder.targets)
        counts = numpy.bincount(labels)
        sampler = WeightedRandomSampler(1 / counts[labels], len(labels))
        loader = DataLoader(folder, 64, sampler=sampler)

    Args:
        weights: (n,) numbers from 0, of index 0 to n - 1; they need not sum to 1.
        num_samples: Indices per epoch.
        replacement: Draw each index independently; False: none twice.
        generator: Source of randomness; None: the default generator.

    Raises:
        ValueError: ``num_samples`` is not a positive integer, ``replacement`` not a bool, ``weights`` are not a sequence of finite
            numbers from 0, or too few of them are above 0.
    """

    def __init__(self, weights: Any, num_samples: int, replacement: bool = True, generator: Any = None) -> None:
        if not isinstance(num_samples, int) or isinstance(num_samples, bool) or num_samples <= 0:
            raise ValueError(f"num_samples should be a positive integer value, but got num_samples={num_samples}")
        if not isinstance(replacement, bool):
            raise ValueError(f"replacement should be a boolean value, but got replacement={replacement}")
        self.weights = np.array(weights, dtype=np.float64)
        if self.weights.ndim != 1:
            raise ValueError(f"weights should be a 1d sequence but given weights have shape {self.weights.shape}")
        bad = np.flatnonzero(~(np.isfinite(self.weights) & (self.weights >= 0)))
        if len(bad):
            raise ValueError(
                f"weights should be finite numbers from 0, but {len(bad)} of {len(self.weights)} are not, the first being "
                f"{self.weights[bad[0]]} at index {bad[0]}"
            )
        chosen, wanted = int(np.count_nonzero(self.weights)), 1 if replacement else num_samples
        if chosen < wanted:
            raise ValueError(
                f"{wanted} of the weights should be above 0 to draw {num_samples} samples, but {chosen} of {len(self.weights)} are"
            )
        self.num_samples, self.replacement, self.generator = num_samples, replacement, generator

    def __iter__(self) -> Iterator[int]:
        shares = self.weights / self.weights.max()  # whose sum is finite
        rng = numpy_generator(self.generator)
        drawn = rng.choice(len(shares), self.num_samples, replace=self.replacement, p=shares / shares.sum())
        return iter(drawn.tolist())

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler):
    """Groups the indices of another sampler into lists of ``batch_size``.

    Args:
        sampler: Any iterable of indices.
        batch_size: Indices per batch.
        drop_last: Leave out a last batch that is not full.

    Raises:
        ValueError: ``batch_size`` is not a positive integer, or ``drop_last`` not a bool.
    """

    def __init__(self, sampler: Iterable[Any], batch_size: int, drop_last: bool) -> None:
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size <= 0:
            raise ValueError(f"batch_size should be a positive integer value, but got batch_size={batch_size}")
        if not isinstance(drop_last, bool):
            raise ValueError(f"drop_last should be a boolean value, but got drop_last={drop_last}")
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[Any]]:
        indices = iter(self.sampler)
        while batch := list(itertools.islice(indices, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self) -> int:
        count = len(self.sampler)  # type: ignore[arg-type]  # a sampler without a length raises TypeError here
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)
