"""The table of networks by name.

There are two families. The papers' networks have plain names ("resnet18"); the course notes' networks, smaller and for
grey images of ten classes, have the prefix "notes." ("notes.resnet18"). A name that only the notes have needs no prefix.
"""

from __future__ import annotations

import difflib
import fnmatch
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any

from numbanet.nn import init

NOTES = "notes."


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a network before it is made.

    Attributes:
        name: its full name, the prefix included.
        make: makes it; takes ``num_classes``, ``in_channels``, ``weights`` and what options the network has.
        input_shape: (C, H, W) of the images it is made for.
        summary: one line about it.
        lr: learning rate for plain SGD with which it is known to train; None where nobody said.
        batch_size: images per step that goes with ``lr``.
    """

    name: str
    make: Callable[..., Any]
    input_shape: tuple[int, int, int]
    summary: str
    lr: float | None = None
    batch_size: int | None = None


_table: dict[str, ModelInfo] = {}


def register(
    input_shape: tuple[int, int, int], *, prefix: str = "", lr: float | None = None, batch_size: int | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function that makes a network under its own name; the first line of its docstring describes it.

    The entered function also takes ``weights``: a file of weights (see ``load_torch_state_dict``), or a state dict, to
    start from; initial weights are not drawn then.

    Args:
        input_shape: (C, H, W) of the images the network is made for.
        prefix: of the name: ``NOTES`` for the notes' family.
        lr: learning rate for plain SGD with which it is known to train.
        batch_size: images per step that goes with ``lr``.
    """

    def enter(make: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(make)
        def build(*args: Any, weights: str | os.PathLike[str] | Mapping[str, Any] | None = None, **options: Any) -> Any:
            if weights is None:
                return make(*args, **options)
            from numbanet.models.weights import load_torch_state_dict

            with init.skipped():
                net = make(*args, **options)
            load_torch_state_dict(net, weights)
            return net

        name = prefix + make.__name__
        if name in _table:
            raise ValueError(f"model {name!r} is registered twice")
        summary = (make.__doc__ or "").strip().partition("\n")[0]
        _table[name] = ModelInfo(name, build, input_shape, summary, lr, batch_size)
        return build

    return enter


def names(pattern: str = "*") -> list[str]:
    """The names of all networks, those of the notes with their prefix.

    Args:
        pattern: a shell pattern that the names must match, such as "resnet*" or "notes.*".
    """
    return sorted(fnmatch.filter(_table, pattern))


def info(name: str) -> ModelInfo:
    """What is known of the network ``name``.

    Args:
        name: a full name, or the notes' name without prefix where the other family has no such name.

    Raises:
        ValueError: for an unknown name, with those that come close.
    """
    found = _table.get(name) or _table.get(NOTES + name)
    if found is None:
        short = [full.removeprefix(NOTES) for full in _table]
        known = [full if short.count(plain) > 1 else plain for full, plain in zip(_table, short, strict=True)]
        close = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(close)}?" if close else f"models.list() gives all {len(_table)} names"
        raise ValueError(f"no model is called {name!r}; {hint}")
    return found


def build(name: str, **options: Any) -> Any:
    """Make the network ``name``.

    Args:
        name: as :func:`info` takes it.
        options: go to the function that makes it: ``num_classes``, ``in_channels``, ``weights``, and the network's own.

    Raises:
        ValueError: for an unknown name.
        TypeError: for an option that the network does not have.
    """
    return info(name).make(**options)
