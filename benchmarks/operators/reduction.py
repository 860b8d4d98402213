"""Reductions and running sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.case import Case, passes, random

BIG, ROWS = (32, 64, 56, 56), (256, 1000)


def _both(name: str, function: Callable[..., Any], shape: tuple[int, ...], text: str) -> list[Case]:
    sizes = "x".join(str(size) for size in shape)
    return passes(name, f"{sizes} {text}".strip(), "ops", function, lambda: [random("x", *shape)])


CASES: list[Case] = [
    *_both("var", lambda lib, x: lib.var(x, (0, 2, 3)), BIG, "channels"),
    *_both("std", lambda lib, x: lib.std(x, (0, 2, 3)), BIG, "channels"),
    *_both("var", lambda lib, x: lib.var(x, 0), ROWS, "columns"),
    *_both("amax", lambda lib, x: lib.amax(x, (2, 3)), BIG, "images"),
    *_both("max", lambda lib, x: lib.max(x, 1)[0], ROWS, "rows"),
    *_both("logsumexp", lambda lib, x: lib.logsumexp(x, 1), ROWS, "rows"),
    *_both("norm", lambda lib, x: lib.norm(x), BIG, ""),
    *_both("norm", lambda lib, x: lib.norm(x, 1, 1), ROWS, "p=1 rows"),
    *_both("cumsum", lambda lib, x: lib.cumsum(x, 1), ROWS, "rows"),
    *_both("cumsum", lambda lib, x: lib.cumsum(x, 0), ROWS, "columns"),
    *_both("cumprod", lambda lib, x: lib.cumprod(x, 1), ROWS, "rows"),
]
