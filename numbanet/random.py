"""Random numbers: seeded generators and the default one that ``manual_seed`` seeds.

Initial weights, ``rand``/``randn`` and shuffling come from NumPy's Philox generator. Dropout, which runs inside
kernels, uses the same algorithm by counter (``kernels/dropout.py``): a mask is a (seed, offset) pair, so that it
has the same bits at any number of threads and on any device, and backward makes it again instead of storing it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_MASK = (1 << 64) - 1


class Generator:
    """A stream of random numbers, as ``torch.Generator``: ``Generator().manual_seed(0)``.

    Args:
        device: accepted for PyTorch's sake; the stream is the same for every device.
    """

    def __init__(self, device: object = "cpu") -> None:
        self.device = device
        self._seed = 0
        self._offset = 0
        self._numpy: np.random.Generator | None = None  # made at first use, so that importing costs nothing
        self.seed()

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream that belongs to ``seed`` (any int); returns the generator."""
        self._seed = int(seed) & _MASK
        self._offset = 0
        self._numpy = None
        return self

    def seed(self) -> int:
        """Seed from the system's entropy; returns the seed."""
        self.manual_seed(int(np.random.SeedSequence().generate_state(1, np.uint64)[0]))
        return self._seed

    def initial_seed(self) -> int:
        """The seed that the stream started from."""
        return self._seed

    def numpy_generator(self) -> np.random.Generator:
        """The NumPy generator of this stream; drawing from it advances the stream."""
        if self._numpy is None:
            self._numpy = np.random.Generator(np.random.Philox(self._seed))
        return self._numpy

    def philox(self, n: int) -> tuple[int, int]:
        """Reserve ``n`` numbers of the counter-based stream; returns (seed, offset), both non-negative and below 2**63."""
        offset = self._offset
        self._offset += n
        return self._seed >> 1, offset

    def get_state(self) -> dict[str, Any]:
        """Everything needed to go on from here; give it back with ``set_state``."""
        return {"seed": self._seed, "offset": self._offset, "numpy": self.numpy_generator().bit_generator.state}

    def set_state(self, state: dict[str, Any]) -> Generator:
        """Go on from a state that ``get_state`` returned."""
        self.manual_seed(state["seed"])
        self._offset = state["offset"]
        self.numpy_generator().bit_generator.state = state["numpy"]
        return self


default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Seed the default generator (weights, ``rand``, shuffling, dropout); returns it."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Seed the default generator from the system's entropy; returns the seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """The default generator's seed."""
    return default_generator.initial_seed()


def get_rng_state() -> dict[str, Any]:
    """The default generator's state."""
    return default_generator.get_state()


def set_rng_state(state: dict[str, Any]) -> None:
    """Put the default generator into a state that ``get_rng_state`` returned."""
    default_generator.set_state(state)
