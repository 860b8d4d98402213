"""The other names under which PyTorch takes arguments: NumPy's ``axis`` and ``keepdims``, and some of single functions.

The functions themselves know one name for each argument; ``accept_public`` gives those that ``functional`` offers the others.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

_NUMPYS = {"axis": "dim", "keepdims": "keepdim"}

# By function: PyTorch's names for arguments that have another one here.
_OTHERS: dict[str, dict[str, str]] = {
    "broadcast_to": {"size": "shape"},
    "one_hot": {"input": "tensor"},
    "random_": {"from": "low", "to": "high"},
    "searchsorted": {"input": "values"},
    "split": {"tensor": "input"},
    "swapaxes": {"axis0": "dim0", "axis1": "dim1"},
    "uniform_": {"from": "from_"},
    "vdot": {"other": "tensor"},
}

# By function: the name of the ints that come one by one, ``permute(x, 1, 0)``, for all of them, ``permute(x, dims=(1, 0))``.
_GATHERED = {
    "expand": "size",
    "flip": "dims",
    "permute": "dims",
    "repeat": "repeats",
    "reshape": "shape",
    "tile": "dims",
    "view": "size",
}


def _accepting(
    function: Callable[..., Any], others: dict[str, str], gathered: str | None, module: str
) -> Callable[..., Any]:
    name = function.__name__

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            for other in others.keys() & kwargs.keys():
                if others[other] in kwargs:
                    raise TypeError(f"{name}() got both {others[other]!r} and {other!r}, which mean the same")
                kwargs[others[other]] = kwargs.pop(other)
            if gathered in kwargs:
                first = (kwargs.pop("input"),) if "input" in kwargs else ()
                args = (*first, *args, kwargs.pop(gathered))
        return function(*args, **kwargs)

    wrapped.__module__ = module  # where it is found by its name
    return wrapped


def accept_public(namespace: dict[str, Any]) -> None:
    """Let the functions among a module's names take their arguments under PyTorch's other names, too."""
    for name, function in list(namespace.items()):
        if name.startswith("_") or not inspect.isfunction(function):
            continue
        code = inspect.unwrap(function).__code__
        own = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        others = {other: ours for other, ours in _NUMPYS.items() if ours in own and other not in own}
        others.update(_OTHERS.get(name, {}))
        if others or name in _GATHERED:
            namespace[name] = _accepting(function, others, _GATHERED.get(name), namespace["__name__"])
