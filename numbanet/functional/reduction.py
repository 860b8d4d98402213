"""Reductions over one, several or all dimensions, and their gradients.

The kernels reduce the middle axis of a (outer, n, inner) view. Dimensions that lie side by side are reduced at once;
others one group after another, from the last, so that nothing is copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod as product
from typing import Any, NamedTuple

import numpy as np

from numbanet import devices, dtypes
from numbanet.autograd import Function
from numbanet.functional.arithmetic import _floating, eq, exp, isfinite, log, ne, sqrt, where
from numbanet.functional.arithmetic import abs as absolute
from numbanet.functional.arithmetic import pow as power
from numbanet.kernels import reduction
from numbanet.shapes import normalize_dim, normalize_dims
from numbanet.tensor import Tensor, wrap

__all__ = [
    "Extreme",
    "all",
    "amax",
    "amin",
    "any",
    "argmax",
    "argmin",
    "logsumexp",
    "max",
    "mean",
    "min",
    "norm",
    "prod",
    "std",
    "sum",
    "var",
    "var_mean",
]  # fmt: skip

Dims = int | Sequence[int] | None


class Extreme(NamedTuple):
    """What ``max`` and ``min`` along a dimension return."""

    values: Tensor
    indices: Tensor


def _groups(dims: tuple[int, ...]) -> list[tuple[int, int]]:
    """Sorted dimensions as (first, last) runs of neighbours, the last run first."""
    runs: list[list[int]] = []
    for d in dims:
        if runs and runs[-1][1] == d - 1:
            runs[-1][1] = d
        else:
            runs.append([d, d])
    return [(first, last) for first, last in reversed(runs)]


def _reduced_shape(shape: tuple[int, ...], dims: tuple[int, ...], keepdim: bool) -> tuple[int, ...]:
    if keepdim:
        return tuple(1 if d in dims else size for d, size in enumerate(shape))
    return tuple(size for d, size in enumerate(shape) if d not in dims)


def _reduce(kernel: Any, x: Tensor, dims: tuple[int, ...], keepdim: bool, dtype: np.dtype, *extra: Any) -> Tensor:
    """Run a reduction kernel over ``dims``; ``extra`` arrays go behind its output."""
    array = devices.contiguous(x._array)
    shape = array.shape
    for first, last in _groups(dims) if shape else [(0, 0)]:
        outer, n = product(shape[:first]), product(shape[first : last + 1])
        inner = product(shape[last + 1 :])
        out = devices.empty((outer, inner), dtype, x.device)
        kernel(array.reshape((outer, n, inner)), out, *extra)
        shape = shape[:first] + (1,) * (last + 1 - first) + shape[last + 1 :]
        array = out
    return wrap(array.reshape(_reduced_shape(x._array.shape, dims, keepdim)))


def _spread(grad: Tensor, shape: tuple[int, ...], dims: tuple[int, ...]) -> Tensor:
    """A gradient of a reduction's output put back to the input's shape."""
    return grad.reshape(_reduced_shape(shape, dims, True)).expand(shape)


def sum(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The sum over ``dim`` (an int, several, or all). Ints and bools are summed in int64."""
    dims = normalize_dims("sum", dim, input.ndim)
    wanted = dtypes.as_dtype(dtype) if dtype is not None else input.dtype if input.dtype.kind == "f" else dtypes.int64
    if input.dtype != wanted:
        input = input.to(dtype=wanted)
    return Sum.apply(input, dims, keepdim)


class Sum(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dims: tuple[int, ...], keepdim: bool) -> Tensor:
        ctx.shape, ctx.dims = x._array.shape, dims
        if not dims and x.ndim:  # nothing to reduce
            return x.clone()
        return _reduce(reduction.sum_, x, dims, keepdim, x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return _spread(grad, ctx.shape, ctx.dims), None, None


def mean(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The mean over ``dim`` (an int, several, or all).

    Raises:
        RuntimeError: for integer tensors without ``dtype``.
    """
    if dtype is not None:
        input = input.to(dtype=dtypes.as_dtype(dtype))
    if input.dtype.kind != "f":
        raise RuntimeError(f"mean: expected a floating tensor, got {input.dtype}; pass dtype= or convert with .float()")
    dims = normalize_dims("mean", dim, input.ndim)
    count = product(input._array.shape[d] for d in dims)
    return Sum.apply(input, dims, keepdim) / float(count)


def prod(input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The product over ``dim`` (or all). Ints and bools are multiplied in int64."""
    dims = normalize_dims("prod", dim, input.ndim)
    wanted = dtypes.as_dtype(dtype) if dtype is not None else input.dtype if input.dtype.kind == "f" else dtypes.int64
    return Prod.apply(input.to(dtype=wanted), dims, keepdim)


class Prod(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dims: tuple[int, ...], keepdim: bool) -> Tensor:
        ctx.dims = dims
        ctx.save_for_backward(x)
        return _reduce(reduction.prod, x, dims, keepdim, x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        # The product of the others: with one zero only that element has any, with two none has.
        zero = eq(x, 0)
        zeros_seen = sum(zero, ctx.dims, keepdim=True) if ctx.dims else zero.to(dtype=dtypes.int64)
        filled = where(zero, 1.0, x)
        rest = prod(filled, keepdim=True) if x.ndim == len(ctx.dims) else _prod_dims(filled, ctx.dims)
        rest = rest.reshape(_reduced_shape(x._array.shape, ctx.dims, True))
        others = where(zero, where(eq(zeros_seen, 1), rest, 0.0), where(eq(zeros_seen, 0), rest / filled, 0.0))
        return _spread(grad, x._array.shape, ctx.dims) * others, None, None


def _prod_dims(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    return Prod.apply(x, dims, True)


# -------------------------------------------------------------------------------------------------------- extremes


def _extreme(name: str, kernel: Any, input: Tensor, dim: Any, keepdim: bool) -> Any:
    if isinstance(dim, Tensor):  # max(a, b) of two tensors
        from numbanet.functional import arithmetic

        return arithmetic.maximum(input, dim) if name == "max" else arithmetic.minimum(input, dim)
    _check_not_empty(name, input, normalize_dims(name, dim, input.ndim))
    if dim is None:
        return Extremes.apply(input, normalize_dims(name, None, input.ndim), False, kernel)
    return Extreme(*AlongDim.apply(input, normalize_dim(name, dim, input.ndim), keepdim, kernel))


def _check_not_empty(name: str, input: Tensor, dims: tuple[int, ...]) -> None:
    if input.ndim and 0 in [input._array.shape[d] for d in dims]:
        raise IndexError(
            f"{name}: expected at least one element along {dims}, got a tensor of shape {tuple(input.shape)}"
        )


def max(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The largest element; with ``dim`` the largest along it and their indices; with a tensor ``maximum``.

    NaN counts as largest. The first of equal elements gives the index (and gets the gradient); without ``dim`` equal
    elements share the gradient.

    Returns:
        A 0-d tensor, or a named tuple (values, indices).

    Raises:
        IndexError: for a tensor without elements, or a dimension out of range.
    """
    return _extreme("max", reduction.max_, input, dim, keepdim)


def min(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The smallest element; otherwise as ``max``."""
    return _extreme("min", reduction.min_, input, dim, keepdim)


_NO_INDICES = np.empty(0, np.int64)


def _no_indices(x: Tensor) -> Any:
    return devices.to_device(_NO_INDICES, x.device)


class Extremes(Function):
    """The extreme over several dimensions; elements equal to it share the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dims: tuple[int, ...], keepdim: bool, kernel: Any) -> Tensor:
        ctx.dims = dims
        y = _reduce(kernel, x, dims, keepdim, x.dtype, _no_indices(x))
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, y = ctx.saved_tensors
        chosen = eq(x, _spread(y, x._array.shape, ctx.dims)).to(dtype=grad.dtype)
        share = _spread(grad, x._array.shape, ctx.dims) * chosen / sum(chosen, ctx.dims, keepdim=True)
        return share, None, None, None


class AlongDim(Function):
    """The extreme along one dimension and where it stands; the first of equals gets the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int, keepdim: bool, kernel: Any) -> tuple[Tensor, Tensor]:
        ctx.dim, ctx.shape, ctx.keepdim = dim, x._array.shape, keepdim
        shape = x._array.shape or (1,)
        outer, n, inner = product(shape[:dim]), shape[dim], product(shape[dim + 1 :])
        values = devices.empty((outer, inner), x.dtype, x.device)
        indices = devices.empty((outer, inner), dtypes.int64, x.device)
        kernel(devices.contiguous(x._array).reshape((outer, n, inner)), values, indices)
        reduced = _reduced_shape(x._array.shape, (dim,), keepdim)
        positions = wrap(indices.reshape(reduced))
        ctx.save_for_backward(positions)
        ctx.mark_non_differentiable(positions)
        return wrap(values.reshape(reduced)), positions

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Any) -> Any:
        (positions,) = ctx.saved_tensors
        if not ctx.shape:
            return grad, None, None, None
        if not ctx.keepdim:
            grad, positions = grad.unsqueeze(ctx.dim), positions.unsqueeze(ctx.dim)
        steps = np.arange(ctx.shape[ctx.dim]).reshape((-1,) + (1,) * (len(ctx.shape) - 1 - ctx.dim))
        chosen = eq(positions, wrap(devices.to_device(steps, grad.device)))
        return where(chosen, grad, 0.0), None, None, None


def amax(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The largest elements over ``dim`` (an int, several, or all); equal elements share the gradient."""
    dims = normalize_dims("amax", dim, input.ndim)
    _check_not_empty("amax", input, dims)
    return Extremes.apply(input, dims, keepdim, reduction.max_)


def amin(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The smallest elements over ``dim`` (an int, several, or all); equal elements share the gradient."""
    dims = normalize_dims("amin", dim, input.ndim)
    _check_not_empty("amin", input, dims)
    return Extremes.apply(input, dims, keepdim, reduction.min_)


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index (int64) of the largest element along ``dim``, or in the flattened tensor; the first of equals."""
    return _arg("argmax", reduction.max_, input, dim, keepdim)


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index (int64) of the smallest element along ``dim``, or in the flattened tensor; the first of equals."""
    return _arg("argmin", reduction.min_, input, dim, keepdim)


def _arg(name: str, kernel: Any, input: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    _check_not_empty(name, input, normalize_dims(name, dim, input.ndim))
    x = input.detach()
    if dim is not None:
        return AlongDim.apply(x, normalize_dim(name, dim, x.ndim), keepdim, kernel)[1]
    index = AlongDim.apply(x.reshape(-1), 0, False, kernel)[1]
    return index.reshape((1,) * input.ndim) if keepdim else index


def any(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether any element over ``dim`` (or all) is true (non-zero), as a bool tensor."""
    return _logical(reduction.any_, "any", input, dim, keepdim)


def all(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether all elements over ``dim`` (or all) are true (non-zero), as a bool tensor."""
    return _logical(reduction.all_, "all", input, dim, keepdim)


def _logical(kernel: Any, name: str, input: Tensor, dim: Dims, keepdim: bool) -> Tensor:
    truth = input if input.dtype == dtypes.bool else ne(input, 0)
    return _reduce(kernel, truth, normalize_dims(name, dim, input.ndim), keepdim, dtypes.bool)


# -------------------------------------------------------------------------------------------------- from the others


def var(
    input: Tensor, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float = 1
) -> Tensor:
    """The variance over ``dim``: the sum of squared deviations over (n - correction)."""
    return var_mean(input, dim, unbiased, keepdim, correction=correction)[0]


def var_mean(
    input: Tensor, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float = 1
) -> tuple[Tensor, Tensor]:
    """The variance and the mean over ``dim``."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if unbiased is not None:
        correction = int(unbiased)
    dims = normalize_dims("var", dim, input.ndim)
    count = product(input._array.shape[d] for d in dims)
    center = mean(input, dims if dims else None, keepdim=True)
    deviation = input - center
    divisor = float(np.maximum(count - correction, 0))
    variance = sum(deviation * deviation, dims if dims else None, keepdim=keepdim) / divisor
    return variance, center if keepdim else center.reshape(tuple(variance.shape))


def std(
    input: Tensor, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float = 1
) -> Tensor:
    """The standard deviation over ``dim``: the square root of ``var``."""
    return sqrt(var(input, dim, unbiased, keepdim, correction=correction))


def logsumexp(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """``log(sum(exp(input)))`` over ``dim``, without overflow."""
    input = _floating("logsumexp", input)
    dims = normalize_dims("logsumexp", dim, input.ndim)
    highest = amax(input.detach(), dims, keepdim=True)
    highest = where(isfinite(highest), highest, 0.0)
    result = log(sum(exp(input - highest), dims, keepdim=True)) + highest
    return result if keepdim else result.reshape(_reduced_shape(input._array.shape, dims, False))


def norm(input: Tensor, p: Any = 2, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The p-norm over ``dim``: (sum |x|^p)^(1/p); p may be inf, -inf, 0 or "fro" (2).

    Raises:
        RuntimeError: for integer tensors.
    """
    if input.dtype.kind != "f":
        raise RuntimeError(f"norm: expected a floating tensor, got {input.dtype}")
    if p in (2, 2.0, "fro", None):
        return sqrt(sum(input * input, dim, keepdim))
    if p == float("inf"):
        return amax(absolute(input), dim, keepdim)
    if p == float("-inf"):
        return amin(absolute(input), dim, keepdim)
    if p == 0:
        return sum(ne(input, 0).to(dtype=input.dtype), dim, keepdim)
    if p == 1:
        return sum(absolute(input), dim, keepdim)
    return power(sum(power(absolute(input), p), dim, keepdim), 1.0 / p)
