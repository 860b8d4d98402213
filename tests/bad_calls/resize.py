"""Bad calls of interpolate, Upsample, grid_sample and affine_grid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.bad_calls import Bad


def resize(*shape: int, **options: Any) -> Callable[[Any], Any]:
    return lambda library: library.nn.functional.interpolate(library.zeros(*shape), **options)


def sample(x: tuple[int, ...], grid: tuple[int, ...], *options: Any) -> Callable[[Any], Any]:
    def call(library: Any) -> Any:
        return library.nn.functional.grid_sample(library.zeros(*x), library.zeros(*grid), *options, align_corners=False)

    return call


def affine(theta: tuple[int, ...], size: Any) -> Callable[[Any], Any]:
    return lambda library: library.nn.functional.affine_grid(library.zeros(*theta), size, align_corners=False)


def mixed(library: Any) -> Any:
    x, grid = library.zeros(1, 1, 2, 2), library.zeros(1, 2, 2, 2, dtype=library.float64)
    return library.nn.functional.grid_sample(x, grid, align_corners=False)


IMAGE = (1, 2, 4, 4)

BAD = [
    Bad("an input of one dimension", resize((6,), size=3), NotImplementedError, r"interpolate: .*3 or 4 dimensions.*\(6,\)"),
    Bad("neither size nor factor", resize(*IMAGE), ValueError, "interpolate: expected either size or scale_factor, got size=None and scale_factor=None"),
    Bad("size and factor", resize(*IMAGE, size=2, scale_factor=2), ValueError, "size=2 and scale_factor=2"),
    Bad("size of three", resize(*IMAGE, size=(2, 2, 2)), ValueError, r"size has 3 numbers, expected 2 for input \(1, 2, 4, 4\)"),
    Bad("size of one for an image", resize(*IMAGE, size=(2,)), ValueError, "size has 1 numbers, expected 2"),
    Bad("factor of three", resize(*IMAGE, scale_factor=(2, 2, 2)), ValueError, "scale_factor has 3 numbers, expected 2"),
    Bad("size of two for a signal", resize(1, 2, 4, size=(2, 2)), ValueError, r"size has 2 numbers, expected 1 for input \(1, 2, 4\)"),
    Bad("floats as size", resize(*IMAGE, size=(2.5, 2.5)), TypeError, r"size must be made of ints, got \(2.5, 2.5\)"),
    Bad("text as size", resize(*IMAGE, size=("2", "2")), TypeError, "size must be made of ints"),
    Bad("text as factor", resize(*IMAGE, scale_factor="big"), TypeError, "scale_factor must be made of finite numbers, got 'big'"),
    Bad("size 0", resize(*IMAGE, size=0), RuntimeError, r"sizes must be positive, got input \(1, 2, 4, 4\) and output \(0, 0\)"),
    Bad("negative size", resize(*IMAGE, size=(4, -1), mode="bilinear"), RuntimeError, r"output \(4, -1\)"),
    Bad("factor that leaves nothing", resize(*IMAGE, scale_factor=0.1), RuntimeError, r"output \(0, 0\)"),
    Bad("negative factor", resize(*IMAGE, scale_factor=-1.0), RuntimeError, r"output \(-4, -4\)"),
    Bad("no channels", resize(1, 0, 4, 4, size=2), RuntimeError, r"got input \(1, 0, 4, 4\)"),
    Bad("empty image", resize(1, 2, 0, 4, size=2), RuntimeError, r"got input \(1, 2, 0, 4\)"),
    Bad("unknown mode", resize(*IMAGE, size=2, mode="cubic"), NotImplementedError, "expected mode nearest, .* got 'cubic'"),
    Bad("linear of an image", resize(*IMAGE, size=2, mode="linear"), NotImplementedError, r"'linear' takes input of 3 dimensions, got shape \(1, 2, 4, 4\)"),
    Bad("bilinear of a signal", resize(1, 2, 4, size=2, mode="bilinear"), NotImplementedError, r"'bilinear' takes input of 4 dimensions, got shape \(1, 2, 4\)"),
    Bad("bicubic of a signal", resize(1, 2, 4, size=2, mode="bicubic"), NotImplementedError, "'bicubic' takes input of 4 dimensions"),
    Bad("two dimensions", resize(4, 4, size=()), NotImplementedError, r"3 or 4 dimensions, got shape \(4, 4\)"),
    Bad("volumes", resize(1, 1, 2, 2, 2, size=2), NotImplementedError, r"3 or 4 dimensions, got shape \(1, 1, 2, 2, 2\)", torch=False),
    Bad("align_corners of nearest", resize(*IMAGE, size=2, align_corners=True), ValueError, "align_corners is for the linear and cubic modes, got mode 'nearest'"),
    Bad("align_corners of area", resize(*IMAGE, size=2, mode="area", align_corners=False), ValueError, "got mode 'area'"),
    Bad("antialias of nearest", resize(*IMAGE, size=2, antialias=True), ValueError, "antialias is for the modes bilinear and bicubic of 4-D input, got mode 'nearest'"),
    Bad("antialias of a signal", resize(1, 2, 4, size=2, mode="linear", antialias=True), ValueError, "antialias is for"),
    Bad("recompute_scale_factor with size", resize(*IMAGE, size=2, recompute_scale_factor=True), ValueError, "recompute_scale_factor means nothing where size is given"),
    Bad("ints, bilinear", lambda library: library.nn.functional.interpolate(library.ones(1, 1, 2, 2, dtype=library.int64), size=4, mode="bilinear"), RuntimeError, "interpolate: expected input of a floating dtype, got int64"),
    Bad("a list", lambda library: library.nn.functional.interpolate([[1.0]], size=2), (TypeError, AttributeError), "must be a Tensor, not list"),
    Bad("Upsample without sizes", lambda library: library.nn.Upsample()(library.zeros(1, 1, 2, 2)), ValueError, "expected either size or scale_factor"),
    Bad("grid_sample: mode", sample(IMAGE, (1, 2, 2, 2), "linear"), ValueError, "grid_sample: expected mode .* got 'linear'"),
    Bad("grid_sample: padding", sample(IMAGE, (1, 2, 2, 2), "bilinear", "reflect"), ValueError, "expected padding_mode .* got 'reflect'"),
    Bad("grid_sample: other batch", sample(IMAGE, (3, 2, 2, 2)), RuntimeError, r"expected a grid of shape \(1, OH, OW, 2\) .* got \(3, 2, 2, 2\)"),
    Bad("grid_sample: points of three", sample(IMAGE, (1, 2, 2, 3)), RuntimeError, r"got \(1, 2, 2, 3\)"),
    Bad("grid_sample: grid of three dimensions", sample(IMAGE, (1, 2, 2)), RuntimeError, r"got \(1, 2, 4, 4\) and \(1, 2, 2\)"),
    Bad("grid_sample: an image without a batch", sample((2, 4, 4), (1, 2, 2, 2)), RuntimeError, r"got \(2, 4, 4\)"),
    Bad("grid_sample: empty image", sample((1, 2, 0, 4), (1, 2, 2, 2)), RuntimeError, r"without empty dimensions .* got \(1, 2, 0, 4\)"),
    Bad("grid_sample: two dtypes", mixed, RuntimeError, "grid_sample: input is float32 but grid is float64"),
    Bad("grid_sample: an array as grid", lambda library: library.nn.functional.grid_sample(library.zeros(1, 1, 2, 2), [[0.0]], align_corners=False), TypeError, "argument 'grid' must be a Tensor, not list"),
    Bad("affine_grid: theta of 3 x 3", affine((1, 3, 3), (1, 1, 2, 2)), ValueError, r"expected theta of shape \(N, 2, 3\) for size \(1, 1, 2, 2\), got shape \(1, 3, 3\)"),
    Bad("affine_grid: theta without a batch", affine((2, 3), (1, 1, 2, 2)), ValueError, r"got shape \(2, 3\)"),
    Bad("affine_grid: size of three", affine((1, 2, 3), (1, 2, 2)), NotImplementedError, r"size of 4 or 5 numbers, got \(1, 2, 2\)"),
    Bad("affine_grid: size 0", affine((1, 2, 3), (1, 1, 0, 2)), ValueError, r"sizes must be positive, got \(1, 1, 0, 2\)"),
    Bad("affine_grid: other batch", affine((2, 2, 3), (3, 1, 2, 2)), RuntimeError, "theta has 2 maps, expected 3"),
    Bad("affine_grid: ints", lambda library: library.nn.functional.affine_grid(library.ones(1, 2, 3, dtype=library.int64), (1, 1, 2, 2), align_corners=False), ValueError, "expected theta of a floating dtype, got int64"),
]  # fmt: skip
