"""The operators, family by family: each file here has its ``CASES``, found by their place in this folder."""

from importlib import import_module
from pkgutil import iter_modules


def cases() -> list:
    """Every family's cases, in the order of the files' names."""
    names = sorted(module.name for module in iter_modules(__path__))
    return [case for name in names for case in import_module(f"{__name__}.{name}").CASES]
