"""Convolutions beside conv2d, padding, columns: sizes of real networks."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.case import Case, forward, passes, random


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in shape)


def _conv1d(
    n: int, c: int, length: int, o: int, k: int, stride: int = 1, dilation: int = 1, groups: int = 1
) -> list[Case]:
    padding = dilation * (k - 1) // 2

    def convolve(library: Any, x: Any, weight: Any, bias: Any) -> Any:
        return library.nn.functional.conv1d(x, weight, bias, stride, padding, dilation, groups)

    def arrays() -> list[np.ndarray]:
        scale = np.float32((c // groups * k) ** -0.5)
        return [random("x", n, c, length), random("weight", o, c // groups, k) * scale, random("bias", o)]

    flops = 2.0 * n * o * (length // stride) * (c // groups) * k
    text = f"{n}x{c}x{length} {k} {c}->{o}" + "".join(
        f" {letter}{value}" for letter, value in (("s", stride), ("d", dilation), ("g", groups)) if value != 1
    )
    return passes("conv1d", text, "ops", convolve, arrays, flops, 2 * flops)


def _transposed(n: int, c: int, size: int, o: int, k: int, stride: int, padding: int = 0, extra: int = 0) -> list[Case]:
    def convolve(library: Any, x: Any, weight: Any, bias: Any) -> Any:
        return library.nn.functional.conv_transpose2d(x, weight, bias, stride, padding, extra)

    def arrays() -> list[np.ndarray]:
        return [
            random("x", n, c, size, size),
            random("weight", c, o, k, k) * np.float32((c * k) ** -0.5),
            random("bias", o),
        ]

    flops = 2.0 * n * c * o * (size * k) ** 2
    text = f"{n}x{c}x{size}x{size} {k}x{k} {c}->{o} s{stride}"
    return passes("conv_transpose2d", text, "ops", convolve, arrays, flops, 2 * flops)


def _pad(mode: str, shape: tuple[int, ...], *pad: int) -> list[Case]:
    text = f"{_text(shape)} {','.join(str(p) for p in pad)}"
    function = lambda library, x: library.nn.functional.pad(x, pad, mode)  # noqa: E731
    return passes(f"pad {mode}", text, "ops", function, lambda: [random("x", *shape)])


def _unfold(shape: tuple[int, ...], k: int, padding: int, stride: int) -> list[Case]:
    function = lambda library, x: library.nn.functional.unfold(x, k, 1, padding, stride)  # noqa: E731
    return passes("unfold", f"{_text(shape)} {k}x{k} s{stride}", "ops", function, lambda: [random("x", *shape)])


def _fold(shape: tuple[int, ...], k: int, padding: int, stride: int) -> Case:
    n, c, h, w = shape
    blocks = ((h + 2 * padding - k) // stride + 1) * ((w + 2 * padding - k) // stride + 1)
    function = lambda library, x: library.nn.functional.fold(x, (h, w), k, 1, padding, stride)  # noqa: E731
    arrays = lambda: [random("columns", n, c * k * k, blocks)]  # noqa: E731
    return Case(f"fold/{_text(shape)} {k}x{k} s{stride}", "ops", lambda library: forward(function, arrays(), library))


CASES: list[Case] = [
    *_conv1d(32, 64, 256, 64, 3),
    *_conv1d(8, 64, 4000, 64, 3),
    *_conv1d(4, 1, 16000, 64, 80, stride=4),
    *_conv1d(16, 64, 1000, 64, 3, dilation=4),
    *_conv1d(16, 64, 1000, 64, 3, groups=64),
    *_transposed(16, 128, 28, 64, 2, 2),
    *_transposed(16, 128, 28, 64, 4, 2, 1),
    *_transposed(16, 64, 56, 64, 3, 1, 1),
    *_transposed(64, 100, 1, 512, 4, 1),
    *[
        case
        for mode in ("constant", "reflect", "replicate", "circular")
        for case in _pad(mode, (32, 64, 56, 56), 1, 1, 1, 1)
    ],
    *_pad("constant", (16, 3, 224, 224), 3, 3, 3, 3),
    *_pad("reflect", (32, 64, 1000), 2, 2),
    *_unfold((16, 64, 28, 28), 3, 1, 1),
    *_unfold((32, 3, 224, 224), 16, 0, 16),
    _fold((16, 64, 28, 28), 3, 1, 1),
    _fold((32, 3, 224, 224), 16, 0, 16),
]
