"""Moving elements: shuffles, joining, indexing, sorting; elementwise functions of several tensors; sums of products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.case import Case, forward, passes, random

BIG = (32, 64, 56, 56)


def _text(*shapes: tuple[int, ...]) -> str:
    return ", ".join("x".join(str(size) for size in shape) for shape in shapes)


def _both(name: str, function: Callable[..., Any], *shapes: tuple[int, ...], text: str = "") -> list[Case]:
    arrays = lambda: [random(f"input {i}", *shape) for i, shape in enumerate(shapes)]  # noqa: E731
    return passes(name, text or _text(*shapes), "ops", function, arrays)


def _indexed(
    name: str, function: Callable[..., Any], shape: tuple[int, ...], index: tuple[int, ...], largest: int
) -> list[Case]:
    """A function of (library, values, int64 index)."""
    arrays: Callable[[], Sequence[np.ndarray]] = lambda: [  # noqa: E731
        random("x", *shape),
        np.random.default_rng(1).integers(0, largest, index),
    ]
    return passes(name, _text(shape, index), "ops", function, arrays)


def _forward(name: str, function: Callable[..., Any], *shapes: tuple[int, ...], positive: bool = False) -> Case:
    made = lambda i, shape: random(f"input {i}", *shape)  # noqa: E731
    arrays = lambda: [abs(made(i, s)) + np.float32(1e-6) if positive else made(i, s) for i, s in enumerate(shapes)]  # noqa: E731
    return Case(f"{name}/forward/{_text(*shapes)}", "ops", lambda library: forward(function, arrays(), library))


CASES: list[Case] = [
    *_both("pixel_shuffle", lambda lib, x: lib.nn.functional.pixel_shuffle(x, 2), (16, 256, 28, 28)),
    *_both("pixel_unshuffle", lambda lib, x: lib.nn.functional.pixel_unshuffle(x, 2), (16, 64, 56, 56)),
    _forward("channel_shuffle", lambda lib, x: lib.nn.functional.channel_shuffle(x, 4), (32, 116, 28, 28)),
    _forward("permute", lambda lib, x: x.permute(0, 2, 3, 1).contiguous(), BIG),
    *_indexed("embedding", lambda lib, w, i: lib.nn.functional.embedding(i, w), (30000, 256), (4096,), 30000),
    *_indexed("gather", lambda lib, x, i: lib.gather(x, 1, i), (256, 1000), (256, 1000), 1000),
    *_indexed("index_select", lambda lib, x, i: lib.index_select(x, 1, i), (256, 1000), (500,), 1000),
    *_indexed("index", lambda lib, x, i: x[i], (2048, 512), (4096,), 2048),
    *_both("topk", lambda lib, x: lib.topk(x, 5)[0], (256, 1000)),
    *_both("sort", lambda lib, x: lib.sort(x)[0], (256, 1000)),
    *_both("stack", lambda lib, *t: lib.stack(t, 1), (32, 64, 28, 28), (32, 64, 28, 28)),
    *_both("repeat", lambda lib, x: x.repeat(2, 1, 2, 1), (32, 64, 28, 28)),
    *_both("repeat_interleave", lambda lib, x: x.repeat_interleave(2, 1), (32, 64, 28, 28)),
    *_both("roll", lambda lib, x: lib.roll(x, (3, 3), (2, 3)), (32, 64, 28, 28)),
    *_both("flip", lambda lib, x: lib.flip(x, (3,)), (32, 64, 28, 28)),
    *_both("clamp", lambda lib, x: lib.clamp(x, 0.0, 6.0), BIG),
    *_both("maximum", lambda lib, a, b: lib.maximum(a, b), BIG, BIG),
    *_both("masked_fill", lambda lib, x: x.masked_fill(x > 0, 0.5), BIG),
    *_both("lerp", lambda lib, a, b: lib.lerp(a, b, 0.3), BIG, BIG),
    _forward("addcmul", lambda lib, a, b, c: lib.addcmul(a, b, c, value=0.5), BIG, BIG, BIG),
    _forward("log2", lambda lib, x: lib.log2(x), BIG, positive=True),
    *_both("einsum", lambda lib, a, b: lib.einsum("bhqd,bhkd->bhqk", a, b), (8, 8, 128, 64), (8, 8, 128, 64)),
    *_both("einsum", lambda lib, x, w: lib.einsum("nchw,oc->nohw", x, w), (16, 64, 28, 28), (128, 64)),
]
