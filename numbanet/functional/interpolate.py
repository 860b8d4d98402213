"""Resizing images: nearest, linear, cubic and area interpolation."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from numbanet import devices, dtypes, shapes
from numbanet.autograd import Function
from numbanet.devices import Array, Device
from numbanet.functional.pooling import adaptive_avg_pool2d
from numbanet.kernels import interpolate as kernels
from numbanet.tensor import Tensor, wrap

__all__ = ["interpolate", "upsample"]

_MODES = ("nearest", "nearest-exact", "area", "linear", "bilinear", "bicubic")


def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Resize images (or signals) to ``size``, or by ``scale_factor``, as ``torch.nn.functional.interpolate``.

    Pixel i of OH lies at the place t of H, where pixels are squares and t counts from the middle of the first:

        t = (i + 0.5) * s - 0.5,  s = H / OH or 1 / scale_factor;      align_corners: t = i * (H - 1) / (OH - 1)

    "linear" and "bilinear" weigh the 2 pixels around t, "bicubic" 4 by Keys' cubic with a = -0.75; pixels beyond the edge are
    those on it. "nearest" takes pixel floor(i * s), "nearest-exact" floor((i + 0.5) * s); "area" the average of the pixels
    that it covers (``adaptive_avg_pool2d``). Rows and columns are treated alike, one after the other.

    Args:
        input: shape (N, C, L) or (N, C, H, W). uint8 is taken for the two nearest modes.
        size: L, or (OH, OW), or an int for both.
        scale_factor: the output's size as a multiple of the input's, rounded down: a number, or one for each axis. It is
            used as it is for s.
        mode: "nearest", "nearest-exact", "area", "linear" (3 dimensions), "bilinear" or "bicubic" (4 dimensions).
        align_corners: put the middles of the corner pixels onto each other; for the linear and cubic modes only.
        recompute_scale_factor: use ``scale_factor`` for the output's size alone, and s = H / OH.
        antialias: when shrinking, widen the kernel by s, as image editors do; "bilinear" and "bicubic" (with a = -0.5) only.

    Returns:
        Shape (N, C, L) or (N, C, OH, OW).

    Raises:
        ValueError: for options that exclude each other, or of the wrong length.
        NotImplementedError: for a mode that does not fit the number of dimensions.
        RuntimeError: for sizes that are not positive, and dtypes that are not floating.
        TypeError: for sizes that are not ints.

    Reference: R. Keys, "Cubic convolution interpolation for digital image processing" (1981), for the cubic.
    """
    if not isinstance(input, Tensor):
        raise TypeError(f"interpolate: argument 'input' must be a Tensor, not {type(input).__name__}")
    shape = tuple(input._array.shape)
    if len(shape) not in (3, 4):
        _check_mode(mode, shape)
    sizes, scales = _sizes(shape, size, scale_factor, mode, align_corners, recompute_scale_factor)
    ndim = len(shape)
    if antialias and not (mode in ("bilinear", "bicubic") and ndim == 4):
        raise ValueError(
            f"interpolate: antialias is for the modes bilinear and bicubic of 4-D input, got mode {mode!r} for shape {shape}"
        )
    _check_mode(mode, shape)
    if (min(sizes) < 1 and mode != "area") or min(shape[1:]) < 1:
        raise RuntimeError(
            f"interpolate: sizes must be positive, got input {shape} and output {sizes} (only the batch may be empty)"
        )
    if input.dtype == dtypes.uint8 and mode in ("nearest", "nearest-exact"):
        size, scale_factor = (sizes, None) if scales is None else (None, scales)
        return interpolate(input.float(), size, scale_factor, mode).to(dtypes.uint8)
    shapes.check_floating("interpolate", input=input)
    if ndim == 3:
        input, sizes = input.unsqueeze(2), (1, *sizes)
        scales = None if scales is None else (1.0, *scales)
    if min(sizes) < 1:
        resized = adaptive_avg_pool2d(input, sizes)
    else:
        option = _Option(mode, bool(align_corners), bool(antialias))
        axes = tuple(
            [
                _Axis(option, inputs, outputs, 0.0 if scales is None else float(scales[i]))
                for i, (inputs, outputs) in enumerate(zip(input._array.shape[2:], sizes, strict=True))
            ]
        )
        resized = ResampleFunction.apply(input, axes, False)
    return resized.squeeze(2) if ndim == 3 else resized


def upsample(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> Tensor:
    """An older name of ``interpolate``."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def _sizes(
    shape: tuple[int, ...],
    size: Any,
    scale_factor: Any,
    mode: str,
    align_corners: bool | None,
    recompute_scale_factor: bool | None,
) -> tuple[tuple[int, ...], tuple[float, ...] | None]:
    """(the output's sizes, the scale factors to use or None where they follow from the sizes)."""
    if mode in ("nearest", "nearest-exact", "area") and align_corners is not None:
        raise ValueError(f"interpolate: align_corners is for the linear and cubic modes, got mode {mode!r}")
    if (size is None) == (scale_factor is None):
        raise ValueError(
            f"interpolate: expected either size or scale_factor, got size={size!r} and scale_factor={scale_factor!r}"
        )
    axes = len(shape) - 2
    if size is not None:
        wanted = tuple(size) if isinstance(size, list | tuple) else (size,) * axes
        if len(wanted) != axes:
            raise ValueError(
                f"interpolate: size has {len(wanted)} numbers, expected {axes} for input {shape}: {size!r}"
            )
        if recompute_scale_factor:
            raise ValueError("interpolate: recompute_scale_factor means nothing where size is given")
        try:
            return tuple([one.__index__() for one in wanted]), None
        except AttributeError:
            raise TypeError(f"interpolate: size must be made of ints, got {size!r}") from None
    scales = tuple(scale_factor) if isinstance(scale_factor, list | tuple) else (scale_factor,) * axes
    if len(scales) != axes:
        raise ValueError(
            f"interpolate: scale_factor has {len(scales)} numbers, expected {axes} for input {shape}: {scale_factor!r}"
        )
    try:
        sizes = tuple([int(n * float(scale)) for n, scale in zip(shape[2:], scales, strict=True)])
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"interpolate: scale_factor must be made of finite numbers, got {scale_factor!r}") from None
    again = recompute_scale_factor or mode == "area"
    return sizes, None if again else tuple([float(scale) for scale in scales])


def _check_mode(mode: str, shape: tuple[int, ...]) -> None:
    needs = {"linear": 3, "bilinear": 4, "bicubic": 4}.get(mode)
    if mode not in _MODES:
        raise NotImplementedError(
            f"interpolate: expected mode nearest, nearest-exact, linear, bilinear, bicubic or area, got {mode!r}"
        )
    if len(shape) not in (3, 4) or needs not in (None, len(shape)):
        raise NotImplementedError(
            f"interpolate: mode {mode!r} takes input of {needs or '3 or 4'} dimensions, got shape {shape}"
        )


# ------------------------------------------------------------------------------------------------------- the tables


class _Option(NamedTuple):
    mode: str
    align_corners: bool
    antialias: bool


class _Axis(NamedTuple):
    """How one axis is resampled; ``scale`` is the scale factor, 0 where it follows from the sizes."""

    option: _Option
    inputs: int
    outputs: int
    scale: float


_Taps = tuple[np.ndarray, np.ndarray]  # per output the input pixels, int64, and their weights: both (outputs, taps)


def _taps(axis: _Axis, dtype: np.dtype) -> _Taps:
    """The input pixels that each output pixel of an axis is made of; places are worked out in ``dtype``, as PyTorch does.

    Returns:
        Input pixels and weights, each of shape (outputs, taps); a tap of weight 0 beyond the end is number -1.
    """
    (mode, align_corners, antialias), inputs, outputs, scale = axis
    number = dtype.type
    if align_corners:
        s = number(inputs - 1) / number(outputs - 1) if outputs > 1 else number(0)
    else:
        s = number(1.0 / scale) if scale > 0 else number(inputs) / number(outputs)
    if mode == "area":
        return _averages(inputs, outputs, dtype)
    i = np.arange(outputs).astype(dtype)
    if mode in ("nearest", "nearest-exact"):
        place = i * s
        if mode == "nearest-exact":  # PyTorch takes half a pixel off, rounded once, and adds it again
            wide = np.longdouble if number is np.float64 else np.float64
            place = ((i + number(0.5)).astype(wide) * wide(s) - wide(0.5)).astype(dtype) + number(0.5)
        return np.minimum(np.floor(place).astype(np.int64), inputs - 1)[:, None], np.ones((outputs, 1), dtype)
    if antialias:
        return _wide_taps(mode, inputs, s, i)
    t = i * s if align_corners else (i + number(0.5)) * s - number(0.5)
    if mode != "bicubic":
        t = np.maximum(t, number(0))
        first = np.minimum(np.floor(t).astype(np.int64), inputs - 1)
        weight = np.clip(t - first.astype(dtype), number(0), number(1))
        return np.stack((first, np.minimum(first + 1, inputs - 1)), 1), np.stack((number(1) - weight, weight), 1)
    first = np.floor(t).astype(np.int64)
    first = np.minimum(first, inputs - 1)
    u = np.clip(t - first.astype(dtype), number(0), number(1))
    weights = [_cubic(abs(u - number(k)), -0.75) for k in (-1, 0, 1, 2)]
    return np.clip(first[:, None] + np.arange(-1, 3), 0, inputs - 1), np.stack(weights, 1)


def _cubic(x: np.ndarray, a: float) -> np.ndarray:
    """Keys' cubic of |x| <= 2."""
    number = x.dtype.type
    near = ((number(a + 2) * x - number(a + 3)) * x) * x + number(1)
    far = ((number(a) * x - number(5 * a)) * x + number(8 * a)) * x - number(4 * a)
    return np.where(x <= 1, near, np.where(x < 2, far, number(0)))


def _averages(inputs: int, outputs: int, dtype: np.dtype) -> _Taps:
    """The windows of adaptive average pooling."""
    i = np.arange(outputs)
    first, end = i * inputs // outputs, -(-(i + 1) * inputs // outputs)
    k = np.arange((end - first).max())
    there = k < (end - first)[:, None]
    return np.where(there, first[:, None] + k, -1), there / (end - first)[:, None].astype(dtype)


def _wide_taps(mode: str, inputs: int, s: Any, i: np.ndarray) -> _Taps:
    """Taps of a kernel that is s times as wide where s > 1, and sums to 1."""
    number = i.dtype.type
    wider = max(s, number(1))
    reach = number(1 if mode == "bilinear" else 2) * wider
    middle = s * (i + number(0.5))
    first = np.maximum((middle - reach + number(0.5)).astype(np.int64), 0)
    counts = np.minimum((middle + reach + number(0.5)).astype(np.int64), inputs) - first
    pixels = first[:, None] + np.arange(counts.max())
    x = abs((pixels.astype(i.dtype) - middle[:, None] + number(0.5)) / wider)
    weights = np.maximum(number(1) - x, number(0)) if mode == "bilinear" else _cubic(x, -0.5)
    there = np.arange(counts.max()) < counts[:, None]
    weights = np.where(there, weights, number(0))
    return np.where(there, pixels, -1), weights / weights.sum(1, keepdims=True)


def _turned(taps: _Taps, inputs: int) -> _Taps:
    """The taps of the gradient: for each input pixel the outputs that it went into."""
    pixels, weights = taps
    outputs, k = np.nonzero(pixels >= 0)  # in the order of outputs
    pixels, weights = pixels[outputs, k], weights[outputs, k]
    order = np.argsort(pixels, kind="stable")
    pixels, weights, outputs = pixels[order], weights[order], outputs[order]
    counts = np.bincount(pixels, minlength=inputs)
    place = np.arange(pixels.size) - np.repeat(np.cumsum(counts) - counts, counts)
    turned = np.full((inputs, max(int(counts.max()), 1)), -1)
    turned_weights = np.zeros(turned.shape, weights.dtype)
    turned[pixels, place], turned_weights[pixels, place] = outputs, weights
    return turned, turned_weights


@lru_cache(maxsize=256)
def _tables(axes: tuple[_Axis, ...], turned: bool, dtype: np.dtype, device: Device) -> tuple[Array, Array]:
    """The plan and the weights that ``kernels.resample`` takes, for the map itself or for its gradient."""
    plan: list[Any] = [None]
    weights = []
    numbers = [0, 0, 1, 0]
    for position, axis in enumerate(axes):
        pixels, weight = _taps(axis, dtype)
        inputs = axis.inputs
        if turned:
            pixels, weight = _turned((pixels, weight), inputs)
            inputs = axis.outputs
        there = pixels >= 0
        if position == 0:
            last = np.maximum(pixels.max(1), 0)
            numbers[2] = int((last - np.maximum(pixels[:, 0], 0)).max()) + 1
        taps = pixels.shape[1]
        if position == 1 and taps == 2:
            numbers[3] = int(np.array_equal(pixels.reshape(-1), np.arange(pixels.size)))
        if position == 1 and taps > 2:  # a multiple of 4; what is not there reads the 0 behind the row
            taps = -(-taps // 4) * 4
        numbers[position] = taps
        index = np.full((taps, len(pixels)), inputs, np.int64)
        index[: pixels.shape[1]] = np.where(there, pixels, inputs).T
        values = np.zeros((taps, len(pixels)), dtype)
        values[: pixels.shape[1]] = weight.T
        plan += [there.sum(1), index.reshape(-1)]
        weights.append(values.reshape(-1))
    plan[0] = numbers
    whole = np.concatenate([np.asarray(part, np.int64) for part in plan])
    return devices.to_device(whole, device), devices.to_device(np.concatenate(weights), device)


class ResampleFunction(Function):
    """The weighted sums that ``axes`` (rows, columns) describe, or with ``turned`` their gradient: each is the other's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, axes: tuple[_Axis, _Axis], turned: bool) -> Tensor:
        ctx.options = axes, turned
        rows, columns = [axis.inputs if turned else axis.outputs for axis in axes]
        y = devices.empty((*x._array.shape[:2], rows, columns), x.dtype, x.device)
        if y.size:
            plan, weights = _tables(axes, turned, dtypes.widened(x.dtype), x.device)
            kernels.resample(devices.contiguous(x._array), plan, weights, y)
        return wrap(y)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        axes, turned = ctx.options
        return ResampleFunction.apply(dy, axes, not turned), None, None
