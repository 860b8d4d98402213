"""The table of networks by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a network before it is made.

    Attributes:
        name: its name.
        make: makes it.
        input_shape: (C, H, W) of the images it takes.
        summary: one line about it.
    """

    name: str
    make: Callable[..., Any]
    input_shape: tuple[int, int, int]
    summary: str


_table: dict[str, ModelInfo] = {}


def register(input_shape: tuple[int, int, int]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function that makes a network under its own name; the first line of its docstring describes it.

    Args:
        input_shape: (C, H, W) of the images the network takes.
    """

    def enter(make: Callable[..., Any]) -> Callable[..., Any]:
        name = make.__name__
        if name in _table:
            raise ValueError(f"model {name!r} is registered twice")
        _table[name] = ModelInfo(name, make, input_shape, (make.__doc__ or "").strip().partition("\n")[0])
        return make

    return enter


def names() -> list[str]:
    """The names of all networks."""
    return sorted(_table)


def info(name: str) -> ModelInfo:
    """What is known of the network ``name``.

    Raises:
        ValueError: for an unknown name, with the names that come close.
    """
    if name not in _table:
        close = difflib.get_close_matches(name.lower(), _table, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(names())}"
        raise ValueError(f"no model is called {name!r}; {hint}")
    return _table[name]


def create(name: str, **options: Any) -> Any:
    """Make the network ``name``; options go to the function that makes it."""
    return info(name).make(**options)
