"""Pooling: sizes of real networks beyond those among the layers, one axis, unpooling, power averages, whole planes."""

from typing import Any

import numpy as np

from benchmarks.case import Case, passes, random


def _case(name: str, text: str, shape: tuple[int, ...], *args: Any, **options: Any) -> list[Case]:
    """The function of that name with these arguments; ``text`` says what they are."""

    def pool(library: Any, x: Any) -> Any:
        return getattr(library.nn.functional, name)(x, *args, **options)

    title = f"{'x'.join(map(str, shape))} {text}"
    return passes(name, title, "ops", pool, lambda: [random("x", *shape)])


def _positive(name: str, text: str, shape: tuple[int, ...], *args: Any) -> list[Case]:
    def pool(library: Any, x: Any) -> Any:
        return getattr(library.nn.functional, name)(x, *args)

    title = f"{'x'.join(map(str, shape))} {text}"
    return passes(name, title, "ops", pool, lambda: [np.abs(random("x", *shape)) + np.float32(0.1)])


def _unpool(n: int, c: int, size: int) -> list[Case]:
    """Windows of 2 x 2, each maximum at a place of its own."""

    def places() -> np.ndarray:
        corner = np.random.default_rng(0).integers(0, 2, (2, n, c, size, size))
        row, column = np.indices((size, size))
        return (2 * row + corner[0]) * 2 * size + 2 * column + corner[1]

    def unpool(library: Any, x: Any, indices: Any) -> Any:
        return library.nn.functional.max_unpool2d(x, indices, 2)

    return passes(
        "max_unpool2d", f"{n}x{c}x{size}x{size} 2/2", "ops", unpool, lambda: [random("x", n, c, size, size), places()]
    )


BIG = (32, 64, 56, 56)
CASES: list[Case] = [
    *_case("max_pool2d", "3/2 p1", (32, 64, 112, 112), 3, 2, 1),
    *_case("max_pool2d", "3/1 p1", BIG, 3, 1, 1),
    *_case("max_pool2d", "3/2 dilation 2", BIG, 3, 2, 0, 2),
    _case("max_pool2d", "2/2 indices", BIG, 2, return_indices=True)[0],
    *_case("avg_pool2d", "3/1 p1", (32, 192, 28, 28), 3, 1, 1),
    *_case("avg_pool2d", "2/2", BIG, 2),
    *_case("adaptive_avg_pool2d", "1", (32, 512, 14, 14), 1),
    *_case("adaptive_avg_pool2d", "6", (32, 256, 13, 13), 6),
    *_case("adaptive_avg_pool2d", "7", BIG, 7),
    *_case("adaptive_max_pool2d", "1", (32, 512, 7, 7), 1),
    *_case("adaptive_max_pool2d", "1", (32, 512, 14, 14), 1),
    *_case("adaptive_max_pool2d", "6", (32, 256, 13, 13), 6),
    *_case("adaptive_max_pool2d", "7", BIG, 7),
    *_case("max_pool1d", "2/2", (64, 64, 1024), 2),
    *_case("max_pool1d", "3/2 p1", (64, 64, 1024), 3, 2, 1),
    *_case("avg_pool1d", "2/2", (64, 64, 1024), 2),
    *_case("adaptive_avg_pool1d", "1", (64, 64, 1024), 1),
    *_positive("lp_pool2d", "p2 2/2", BIG, 2, 2),
    *_positive("lp_pool2d", "p3 3/2", (32, 64, 28, 28), 3, 3, 2),
    *_unpool(32, 64, 28),
]
