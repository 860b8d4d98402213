"""Shape arithmetic and argument checks, in plain Python; every message carries the numbers a user needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any


class Size(tuple[int, ...]):
    """A tensor's shape: a tuple that prints like PyTorch's."""

    __slots__ = ()

    def numel(self) -> int:
        """The number of elements."""
        return prod(self)

    def __repr__(self) -> str:
        return f"numbanet.Size({list(self)})"

    def __getitem__(self, index: Any) -> Any:
        item = tuple.__getitem__(self, index)
        return Size(item) if isinstance(index, slice) else item

    def __add__(self, other: Any) -> Any:
        return Size(tuple.__add__(self, tuple(other)))


def shape_argument(shape: tuple[Any, ...]) -> tuple[int, ...]:
    """A shape from what a user wrote: ``f(2, 3)`` or ``f((2, 3))``."""
    if len(shape) == 1 and isinstance(shape[0], Iterable):
        shape = tuple(shape[0])
    try:
        return tuple([size.__index__() for size in shape])
    except AttributeError:
        raise TypeError(f"a shape is made of ints, got {tuple(shape)}") from None


def check_sizes(name: str, shape: Sequence[int]) -> None:
    """Refuse negative sizes."""
    if any(size < 0 for size in shape):
        raise RuntimeError(f"{name}: sizes must not be negative, got {tuple(shape)}")


def normalize_dim(name: str, dim: int, ndim: int) -> int:
    """A dimension counted from 0; negative ones count from the end. A 0-d tensor has the dimensions 0 and -1."""
    try:
        dim = dim.__index__()
    except AttributeError:
        raise TypeError(f"{name}: dim must be an int, got {dim!r}") from None
    span = max(ndim, 1)
    if not -span <= dim < span:
        raise IndexError(f"{name}: dimension out of range: dim={dim} for a tensor of {ndim} dimensions (expected {-span} to {span - 1})")
    return dim % span


def normalize_dims(name: str, dim: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """Dimensions as a tuple counted from 0, sorted; None (or an empty sequence) means all of them."""
    if dim is None or (isinstance(dim, Sequence) and len(dim) == 0):
        return tuple(range(ndim))
    if not isinstance(dim, Sequence):
        dim = (dim,)
    dims = sorted(normalize_dim(name, d, ndim) for d in dim)
    if len(set(dims)) != len(dims):
        raise RuntimeError(f"{name}: a dimension appears twice in dim={tuple(dim)}")
    return tuple(d for d in dims if d < ndim)


def broadcast_shapes(name: str, *shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape to which all shapes broadcast: aligned at the right, sizes equal or 1."""
    result: list[int] = []
    for position in range(1, max(map(len, shapes), default=0) + 1):
        sizes = {shape[-position] for shape in shapes if len(shape) >= position}
        sizes.discard(1)
        if len(sizes) > 1:
            listing = " and ".join(str(tuple(shape)) for shape in shapes)
            raise RuntimeError(
                f"{name}: shapes {listing} do not broadcast: at dimension {-position} the sizes are "
                f"{' and '.join(str(s) for s in sorted(sizes))}; they must be equal or 1"
            )
        result.append(sizes.pop() if sizes else 1)
    return tuple(reversed(result))


def pair(name: str, value: Any, argument: str) -> tuple[int, int]:
    """(height, width) from an int or a sequence of one or two ints."""
    if hasattr(value, "__index__"):
        one = value.__index__()
        return one, one
    try:
        items = tuple([v.__index__() for v in value])
    except (TypeError, AttributeError):
        raise TypeError(f"{name}: {argument} must be an int or a pair of ints, got {value!r}") from None
    if len(items) == 1:
        return items[0], items[0]
    if len(items) != 2:
        raise ValueError(f"{name}: {argument} must be an int or a pair of ints, got {value!r}")
    return items[0], items[1]
