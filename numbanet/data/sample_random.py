"""Random numbers that belong to a sample, not to a thread.

A random transform must give the same picture whether one thread or eight load the batch, and whether the batch is
transformed image by image or in one NumPy call. A shared generator cannot do that. So every sample of an epoch gets a
64-bit key, made from the epoch's base seed and the sample's position in the epoch (not its index: indices may be any
object, and a sampler with replacement may yield one index twice), and the k-th number it draws is a hash of (key, k).
The hash is SplitMix64's output function (Steele, Lea, Flood 2014), which NumPy computes for a whole batch at once.
What mixes the samples of a batch with one another (mixup, cutmix) has a generator of the batch, made from the first
sample's key.

Outside a loader, numbers come from numbanet's default generator.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from numbanet.random import default_generator

__all__ = [
    "LoadCancelled",
    "batch_generator",
    "begin_sample",
    "chosen_samples",
    "numpy_generator",
    "sample_generator",
    "sample_keys",
    "sample_scope",
    "uniform",
    "uniforms",
]

_GAMMA = np.uint64(0x9E3779B97F4A7C15)


class _Scope(threading.local):
    keys: np.ndarray | None = None  # uint64 [batch] while a batch is being loaded by this thread
    position: int | None = None  # the one sample at work, or None while the whole batch is
    draws: int = 0  # that each sample has made
    batch_draws: int = 0  # generators that were made for the batch as a whole
    cancelled: threading.Event | None = None


class LoadCancelled(BaseException):
    """Nobody waits for this batch any more. Not an Exception, so that no dataset's handler keeps it."""


_scope = _Scope()


def numpy_generator(generator: Any = None) -> np.random.Generator:
    """Return the NumPy generator behind ``generator`` (None: numbanet's default one).

    Raises:
        TypeError: ``generator`` is neither a numbanet nor a NumPy generator.
    """
    if isinstance(generator, np.random.Generator):
        return generator
    if generator is None:
        generator = default_generator
    if not hasattr(generator, "numpy_generator"):
        raise TypeError(f"generator must be a numbanet Generator or a numpy.random.Generator, got {generator!r}")
    found: np.random.Generator = generator.numpy_generator()
    return found


def _mix(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = z ^ (z >> np.uint64(31))
    return mixed


def sample_keys(base_seed: int, first: int, count: int) -> np.ndarray:
    """Keys, uint64 [count], of the samples at positions first, first + 1, ... of the epoch with this base seed."""
    position = np.arange(first + 1, first + count + 1, dtype=np.uint64)
    return _mix(np.uint64(base_seed % 2**64) + position * _GAMMA)


@contextmanager
def sample_scope(keys: np.ndarray, cancelled: threading.Event | None = None) -> Iterator[None]:
    """Let this thread draw from the given samples' keys, the whole batch at once, until the block ends."""
    before = _scope.keys, _scope.position, _scope.draws, _scope.batch_draws, _scope.cancelled
    _scope.keys, _scope.position, _scope.draws, _scope.batch_draws, _scope.cancelled = keys, None, 0, 0, cancelled
    try:
        yield
    finally:
        _scope.keys, _scope.position, _scope.draws, _scope.batch_draws, _scope.cancelled = before


def begin_sample(position: int) -> None:
    """Draw from the batch's sample at ``position`` from here on.

    Raises:
        LoadCancelled: the batch was given up meanwhile.
    """
    _scope.position, _scope.draws = position, 0
    if _scope.cancelled is not None and _scope.cancelled.is_set():
        raise LoadCancelled


def _bits(keys: np.ndarray, count: int, draws: int) -> np.ndarray:
    """The next ``draws`` random words of each of ``count`` samples: uint64 [draws, count]."""
    if _scope.position is not None or len(keys) != count:
        # One sample at work; or a dataset's own __getitems__ that transforms image by image: still reproducible.
        keys = keys[[_scope.position or 0]] if len(keys) else np.zeros(1, np.uint64)
        if count > 1:
            keys = _mix(keys + np.arange(count, dtype=np.uint64) * _GAMMA)
    numbers = np.arange(_scope.draws + 1, _scope.draws + draws + 1, dtype=np.uint64)
    _scope.draws += draws
    return _mix(keys + numbers[:, None] * _GAMMA)


def uniforms(count: int, draws: int) -> np.ndarray:
    """Draw ``draws`` numbers in [0, 1) for each of ``count`` samples: float64 [draws, count].

    Inside a loader column j belongs to the batch's j-th sample (or to the one sample at work).
    """
    if _scope.keys is None:
        return numpy_generator().random((draws, count))
    # The top 53 bits fill a float64's mantissa.
    return (_bits(_scope.keys, count, draws) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def uniform(count: int) -> np.ndarray:
    """Draw one number in [0, 1) for each of ``count`` samples: float64 [count]."""
    one: np.ndarray = uniforms(count, 1)[0]
    return one


@contextmanager
def chosen_samples(chosen: np.ndarray) -> Iterator[None]:
    """Let only some of the batch's samples draw, until the block ends, each from a stream of its own.

    What they draw there moves nobody's position in the outer stream, so that samples which were not chosen draw the
    same numbers afterwards as those which were.

    Args:
        chosen: bool [number of samples].
    """
    if _scope.keys is None:
        yield
        return
    keys = _bits(_scope.keys, len(chosen), 1)[0][chosen]
    before = _scope.keys, _scope.position, _scope.draws
    _scope.keys, _scope.position, _scope.draws = keys, None, 0
    try:
        yield
    finally:
        _scope.keys, _scope.position, _scope.draws = before


def sample_generator() -> np.random.Generator:
    """Return a NumPy generator for the sample being loaded, for use in your own random transforms.

    Inside a DataLoader it depends only on the loader's generator, the epoch and the sample's position, so results do
    not change with ``num_workers``. Outside a loader it is numbanet's default generator.
    """
    if _scope.keys is None:
        return numpy_generator()
    return np.random.Generator(np.random.PCG64(int(uniform(1)[0] * 2.0**53)))


def batch_generator() -> np.random.Generator:
    """Return a NumPy generator for the batch being collated, for use in your own ``collate_fn``.

    Inside a DataLoader it depends only on the loader's generator, the epoch and where in the epoch the batch begins;
    several calls for one batch give independent generators. Outside a loader it is numbanet's default generator.
    """
    if _scope.keys is None or not len(_scope.keys):
        return numpy_generator()
    _scope.batch_draws += 1
    return np.random.Generator(np.random.PCG64([int(_scope.keys[0]), _scope.batch_draws]))
