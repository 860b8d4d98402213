"""Sampling images at given points, and the grids of affine maps (spatial transformers)."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

import numpy as np

from numbanet import devices, shapes
from numbanet.autograd import Function
from numbanet.functional.linear import matmul
from numbanet.kernels import grid_sample as kernels
from numbanet.tensor import Tensor, wrap

__all__ = ["affine_grid", "grid_sample"]

_MODES = {"bilinear": 0, "nearest": 1, "bicubic": 2}
_PADDINGS = {"zeros": 0, "border": 1, "reflection": 2}


def _aligned(name: str, align_corners: bool | None) -> bool:
    if align_corners is None:
        warnings.warn(
            f"{name}: align_corners is False unless given; pass it to say which corners are meant", stacklevel=3
        )
    return bool(align_corners)


def grid_sample(
    input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None
) -> Tensor:
    """The values of images at the points of a grid, as ``torch.nn.functional.grid_sample``.

    Point (gx, gy) of the grid has -1 at the left (upper) edge and 1 at the right (lower) one: the edges of the outermost pixels,
    or with ``align_corners`` their middles:

        px = ((gx + 1) W - 1) / 2;    align_corners: px = (gx + 1) (W - 1) / 2

    Args:
        input: shape (N, C, H, W).
        grid: shape (N, OH, OW, 2), the points as (gx, gy).
        mode: "bilinear" (2 x 2 pixels), "nearest" (ties to the even pixel) or "bicubic" (4 x 4 pixels, a = -0.75).
        padding_mode: what lies beyond the image: "zeros", "border" (its outermost pixels) or "reflection".
        align_corners: see above; leaving it out means False, with a warning.

    Returns:
        Shape (N, C, OH, OW). Points that are NaN give NaN ("bilinear" with "zeros", and "bicubic"), 0 ("nearest" with
        "zeros") or the first pixel.

    Raises:
        ValueError: for other modes.
        RuntimeError: for shapes that do not fit, or tensors of different dtypes or devices.

    Reference: M. Jaderberg et al., "Spatial transformer networks" (2015), section 3.3.
    """
    if mode not in _MODES:
        raise ValueError(f"grid_sample: expected mode 'bilinear', 'nearest' or 'bicubic', got {mode!r}")
    if padding_mode not in _PADDINGS:
        raise ValueError(f"grid_sample: expected padding_mode 'zeros', 'border' or 'reflection', got {padding_mode!r}")
    aligned = _aligned("grid_sample", align_corners)
    shapes.check_floating("grid_sample", input=input, grid=grid)
    x, g = tuple(input._array.shape), tuple(grid._array.shape)
    if len(x) != 4 or len(g) != 4:
        raise RuntimeError(f"grid_sample: expected input (N, C, H, W) and grid (N, OH, OW, 2), got {x} and {g}")
    if x[0] != g[0] or g[3] != 2:
        raise RuntimeError(
            f"grid_sample: expected a grid of shape ({x[0]}, OH, OW, 2) for input {x}, got {g}: one image, one grid of pairs"
        )
    if min(x[1:]) < 1:
        raise RuntimeError(f"grid_sample: expected an input without empty dimensions (but for the batch), got {x}")
    if input.device != grid.device:
        raise RuntimeError(f"grid_sample: input is on {input.device} but grid on {grid.device}")
    return GridSampleFunction.apply(input, grid, (_MODES[mode], _PADDINGS[padding_mode], int(aligned)))


class GridSampleFunction(Function):
    """y = the weighted sums of pixels around each point: linear in x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, grid: Tensor, options: tuple[int, int, int]) -> Tensor:
        ctx.save_for_backward(x, grid)
        ctx.options = options
        y = devices.empty((*x._array.shape[:2], *grid._array.shape[1:3]), x.dtype, x.device)
        if y.size:
            kernels.grid_sample_forward(devices.contiguous(x._array), devices.contiguous(grid._array), y, *options)
        return wrap(y)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, grid = ctx.saved_tensors
        dx = dgrid = None
        if ctx.needs_input_grad[0]:
            dx = GridSampleGradInputFunction.apply(dy, grid, tuple(x._array.shape), ctx.options)
        if ctx.needs_input_grad[1]:
            dgrid = GridSampleGradGridFunction.apply(dy, x, grid, ctx.options)
        return dx, dgrid, None


class GridSampleGradInputFunction(Function):
    """dx: each point's gradient given to its pixels; the transpose of sampling, whose gradient by dy is sampling."""

    @staticmethod
    def forward(ctx: Any, dy: Tensor, grid: Tensor, shape: tuple[int, ...], options: tuple[int, int, int]) -> Tensor:
        ctx.save_for_backward(dy, grid)
        ctx.options = options
        dx = devices.empty(shape, dy.dtype, dy.device)
        if not dy._array.size:
            return wrap(devices.full(shape, 0, dy.dtype, dy.device))
        kernels.grid_sample_grad_input(devices.contiguous(dy._array), devices.contiguous(grid._array), dx, *options)
        return wrap(dx)

    @staticmethod
    def backward(ctx: Any, ddx: Tensor) -> Any:
        dy, grid = ctx.saved_tensors
        ddy = dgrid = None
        if ctx.needs_input_grad[0]:
            ddy = GridSampleFunction.apply(ddx, grid, ctx.options)
        if ctx.needs_input_grad[1]:
            dgrid = GridSampleGradGridFunction.apply(dy, ddx, grid, ctx.options)
        return ddy, dgrid, None, None


class GridSampleGradGridFunction(Function):
    """dgrid: the sums over channels of dy times the slopes of the image; not differentiated again."""

    @staticmethod
    def forward(ctx: Any, dy: Tensor, x: Tensor, grid: Tensor, options: tuple[int, int, int]) -> Tensor:
        dgrid = devices.empty(tuple(grid._array.shape), dy.dtype, dy.device)
        if dgrid.size:
            arrays = [devices.contiguous(t._array) for t in (dy, x, grid)]
            kernels.grid_sample_grad_grid(*arrays, dgrid, *options)
        return wrap(dgrid)

    @staticmethod
    def backward(ctx: Any, ddgrid: Tensor) -> Any:
        raise RuntimeError("grid_sample: the gradient with respect to the grid cannot be differentiated again")


def affine_grid(theta: Tensor, size: Any, align_corners: bool | None = None) -> Tensor:
    """The grid that ``grid_sample`` needs to move images by affine maps: grid[n, i, j] = theta[n] (x_j, y_i, 1).

    Args:
        theta: shape (N, 2, 3), from points of the result to points of the image; or (N, 3, 4) for volumes.
        size: the shape of the result, (N, C, H, W) or (N, C, D, H, W).
        align_corners: whether -1 and 1 are the middles of the outermost pixels, not their edges; leaving it out means
            False, with a warning.

    Returns:
        Shape (N, H, W, 2) or (N, D, H, W, 3).

    Raises:
        ValueError: for a theta of another shape, or one that is not floating, and for sizes that are not positive.
        NotImplementedError: for a size of other than 4 or 5 numbers.
        RuntimeError: for a batch that does not fit.

    Reference: M. Jaderberg et al., "Spatial transformer networks" (2015), section 3.2.
    """
    if not isinstance(theta, Tensor):
        raise TypeError(f"affine_grid: argument 'theta' must be a Tensor, not {type(theta).__name__}")
    aligned = _aligned("affine_grid", align_corners)
    if not theta.is_floating_point():
        raise ValueError(f"affine_grid: expected theta of a floating dtype, got {theta.dtype}")
    sizes, found = tuple(size), tuple(theta.shape)
    if len(sizes) not in (4, 5):
        raise NotImplementedError(f"affine_grid: expected a size of 4 or 5 numbers, got {sizes}")
    axes = len(sizes) - 2
    if len(found) != 3 or found[1:] != (axes, axes + 1):
        raise ValueError(
            f"affine_grid: expected theta of shape (N, {axes}, {axes + 1}) for size {sizes}, got shape {found}"
        )
    if aligned and min(sizes[2:]) == 1:
        warnings.warn(f"affine_grid: with align_corners a size of 1 lies in the middle, at 0: {sizes}", stacklevel=2)
    elif min(sizes) <= 0:
        raise ValueError(f"affine_grid: sizes must be positive, got {sizes}")
    if found[0] != sizes[0]:
        raise RuntimeError(f"affine_grid: theta has {found[0]} maps, expected {sizes[0]} for size {sizes}")
    points = devices.to_device(_points(sizes[2:], aligned, theta.dtype), theta.device)
    return matmul(wrap(points), theta.transpose(1, 2)).reshape(sizes[0], *sizes[2:], axes)


@lru_cache(maxsize=32)
def _points(sizes: tuple[int, ...], aligned: bool, dtype: np.dtype) -> np.ndarray:
    """The points (x, y, 1) of a result, or (x, y, z, 1), row by row: shape (points, axes + 1)."""
    lines = []
    for size in sizes:
        line = np.linspace(-1, 1, size) if size > 1 else np.zeros(1)
        lines.append(line if aligned else line * (size - 1) / size)
    mesh = np.meshgrid(*lines, indexing="ij")
    return np.stack([*[axis.reshape(-1) for axis in mesh[::-1]], np.ones(mesh[0].size)], 1).astype(dtype)
