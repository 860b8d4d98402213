"""Calls that must be refused, family by family: each file here has a table ``BAD``, which ``tests/test_bad_calls.py`` runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Bad:
    """One call that must raise.

    Attributes:
        name: what is wrong, unique within its family.
        call: takes the library (the module ``numbanet`` or ``torch``) and makes the call.
        error: the exception that users of PyTorch expect, or a tuple of such.
        message: a regular expression that our message must match: the operation's name and the numbers involved.
        checked_by: the kernel, if any, that finds the fault itself while it reads its indices, and reads nothing by them.
        torch: whether PyTorch raises the same; False only where PyTorch accepts the call, crashes, or has no such function.
    """

    name: str
    call: Callable[[Any], Any]
    error: type[Exception] | tuple[type[Exception], ...]
    message: str
    torch: bool = True
    checked_by: str = ""
