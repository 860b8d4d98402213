"""Resizing images and sampling them at given points, as networks for segmentation and registration do."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.case import Case, passes, random


def _interpolate(size: int, out: int, mode: str, **options: Any) -> list[Case]:
    def resize(library: Any, x: Any) -> Any:
        return library.nn.functional.interpolate(x, size=(out, out), mode=mode, **options)

    text = " ".join([f"16x64x{size}x{size}->{out}x{out}", *options])
    return passes(f"interpolate_{mode}", text, "ops", resize, lambda: [random("x", 16, 64, size, size)])


def _grid(n: int, size: int) -> np.ndarray:
    """A rotation by 20 degrees with noise of half a pixel, which leaves the image at its corners."""
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    x, y = np.meshgrid(ramp, ramp)
    turn = np.float32(np.pi / 9)
    grid = np.stack((np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y), -1)
    return (grid + random("grid", n, size, size, 2) / size).astype(np.float32)


def _grid_sample(mode: str, padding_mode: str) -> list[Case]:
    def sample(library: Any, x: Any, grid: Any) -> Any:
        return library.nn.functional.grid_sample(x, grid, mode, padding_mode, align_corners=False)

    text = f"16x64x56x56 {padding_mode}"
    return passes(f"grid_sample_{mode}", text, "ops", sample, lambda: [random("x", 16, 64, 56, 56), _grid(16, 56)])


def _affine_grid(n: int, size: int) -> list[Case]:
    def grid(library: Any, theta: Any) -> Any:
        return library.nn.functional.affine_grid(theta, [n, 1, size, size], align_corners=False)

    return passes("affine_grid", f"{n}x{size}x{size}", "ops", grid, lambda: [random("theta", n, 2, 3)])


CASES: list[Case] = [
    *_interpolate(56, 112, "nearest"),
    *_interpolate(56, 112, "nearest-exact"),
    *_interpolate(56, 112, "bilinear"),
    *_interpolate(56, 112, "bilinear", align_corners=True),
    *_interpolate(56, 112, "bicubic"),
    *_interpolate(112, 56, "area"),
    *_interpolate(112, 56, "bilinear"),
    *_interpolate(112, 56, "bilinear", antialias=True),
    *_interpolate(7, 112, "bilinear"),
    *_grid_sample("bilinear", "zeros"),
    *_grid_sample("bilinear", "reflection"),
    *_grid_sample("nearest", "border"),
    *_grid_sample("bicubic", "zeros"),
    *_affine_grid(16, 56),
]
