"""Reductions over one, several or all dimensions, and their gradients.

The kernels reduce the middle axis of a (outer, n, inner) view. Dimensions that lie side by side are reduced at once;
others one group after another, from the last, so that nothing is copied.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from math import prod as product
from typing import Any, NamedTuple

import numpy as np

from numbanet import devices, dtypes
from numbanet.autograd import Function, is_grad_enabled
from numbanet.functional import inplace
from numbanet.functional.arithmetic import _floating, clone, eq, exp, ne, sign, sqrt, where
from numbanet.functional.arithmetic import abs as absolute
from numbanet.functional.arithmetic import pow as power
from numbanet.functional.indexing import AddElements
from numbanet.functional.shape import cat, diagonal, narrow
from numbanet.kernels import gather, reduction, scan
from numbanet.shapes import normalize_dim, normalize_dims
from numbanet.tensor import Tensor, wrap

__all__ = [
    "Extreme",
    "all",
    "amax",
    "amin",
    "aminmax",
    "any",
    "argmax",
    "argmin",
    "count_nonzero",
    "cumprod",
    "cumprod_",
    "cumsum",
    "cumsum_",
    "diff",
    "logsumexp",
    "max",
    "mean",
    "min",
    "norm",
    "prod",
    "std",
    "std_mean",
    "sum",
    "trace",
    "var",
    "var_mean",
    "vector_norm",
]  # fmt: skip

Dims = int | Sequence[int] | None


class Extreme(NamedTuple):
    """What ``max`` and ``min`` along a dimension return."""

    values: Tensor
    indices: Tensor


def _groups(shape: tuple[int, ...], dims: tuple[int, ...]) -> list[tuple[int, int]]:
    """Sorted dimensions as (first, last) runs of neighbours, the last run first.

    Dimensions of size 1 cost nothing: they end no run and begin none. Where there are no others the one run is (0, -1),
    which has no dimensions and lies before all: n = 1, and whatever the tensor holds is inner.
    """
    runs: list[list[int]] = []
    for d in dims:
        if shape[d] == 1:
            continue
        if runs and product(shape[runs[-1][1] + 1 : d]) == 1:
            runs[-1][1] = d
        else:
            runs.append([d, d])
    return [(first, last) for first, last in reversed(runs)] or [(0, -1)]


def _reduced_shape(shape: tuple[int, ...], dims: tuple[int, ...], keepdim: bool) -> tuple[int, ...]:
    if keepdim:
        return tuple(1 if d in dims else size for d, size in enumerate(shape))
    return tuple(size for d, size in enumerate(shape) if d not in dims)


def _reduce(
    kernel: Any, x: Tensor, dims: tuple[int, ...], keepdim: bool, dtype: np.dtype, *extra: Any, then: Any = None
) -> Tensor:
    """Run a reduction kernel over ``dims``, and ``then`` (the same) over its results; ``extra`` go behind its output."""
    array = devices.contiguous(x._array)
    shape = array.shape
    if len(dims) == len(shape) and not keepdim:  # the common case: everything into one number
        out = devices.empty((1, 1), dtype, x.device)
        kernel(array.reshape((1, array.size, 1)), out, *extra)
        return wrap(out.reshape(()))
    for first, last in _groups(shape, dims):
        outer, n = product(shape[:first]), product(shape[first : last + 1])
        inner = product(shape[last + 1 :])
        out = devices.empty((outer, inner), dtype, x.device)
        kernel(array.reshape((outer, n, inner)), out, *extra)
        kernel = then or kernel
        shape = shape[:first] + (1,) * (last + 1 - first) + shape[last + 1 :]
        array = out
    return wrap(array.reshape(_reduced_shape(x._array.shape, dims, keepdim)))


def _along(kernel: Any, x: Tensor, dims: tuple[int, ...], *small: Tensor) -> Tensor:
    """``kernel(x, *small, out)`` along ``dims``, where the small tensors have a size of 1."""
    shape = x._array.shape
    first, last = _groups(shape, dims)[0]
    held = tuple(1 if first <= d <= last else size for d, size in enumerate(shape))
    outer, inner = product(shape[:first]), product(shape[last + 1 :])
    sizes = outer, product(shape[first : last + 1]), inner
    out = devices.empty(shape, x.dtype, x.device)
    spread = [t if tuple(t._array.shape) == held else t.expand(held) for t in small]
    values = [devices.contiguous(t._array).reshape((outer, inner)) for t in spread]
    kernel(devices.contiguous(x._array).reshape(sizes), *values, out.reshape(sizes))
    return wrap(out)


def _spread(grad: Tensor, shape: tuple[int, ...], dims: tuple[int, ...]) -> Tensor:
    """A gradient of a reduction's output put back to the input's shape."""
    return grad.reshape(_reduced_shape(shape, dims, True)).expand(shape)


def sum(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The sum over ``dim`` (an int, several, or all). Ints and bools are summed in int64."""
    dims = normalize_dims("sum", dim, input.ndim)
    wanted = dtypes.as_dtype(dtype) if dtype is not None else input.dtype if input.is_floating_point() else dtypes.int64
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
    if not input.is_floating_point():
        raise RuntimeError(f"mean: expected a floating tensor, got {input.dtype}; pass dtype= or convert with .float()")
    return Mean.apply(input, normalize_dims("mean", dim, input.ndim), keepdim)


class Mean(Function):
    """Sums run and are divided in float64 on the CPU, and rounded once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dims: tuple[int, ...], keepdim: bool) -> Tensor:
        ctx.shape, ctx.dims = x._array.shape, dims
        if not dims and x.ndim:  # nothing to reduce
            return x.clone()
        return _reduce(reduction.mean, x, dims, keepdim, x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        count = product(ctx.shape[d] for d in ctx.dims)
        return _spread(grad / float(count), ctx.shape, ctx.dims), None, None


def prod(input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The product over ``dim`` (or all). Ints and bools are multiplied in int64."""
    dims = normalize_dims("prod", dim, input.ndim)
    wanted = dtypes.as_dtype(dtype) if dtype is not None else input.dtype if input.is_floating_point() else dtypes.int64
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
    _check_not_empty(name, input, normalize_dims(name, dim, input.ndim), dim is None)
    if dim is None:
        return Extremes.apply(input, normalize_dims(name, None, input.ndim), False, kernel, True)
    return Extreme(*AlongDim.apply(input, normalize_dim(name, dim, input.ndim), keepdim, kernel))


def _check_not_empty(name: str, input: Tensor, dims: tuple[int, ...], whole: bool = False) -> None:
    """Refuse reductions of nothing; ``whole`` where all dimensions are meant, not ones that were named."""
    if input.ndim and 0 in [input._array.shape[d] for d in dims]:
        error = RuntimeError if whole else IndexError
        raise error(f"{name}: expected at least one element along {dims}, got a tensor of shape {tuple(input.shape)}")


def max(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The largest element; with ``dim`` the largest along it and their indices; with a tensor ``maximum``.

    NaN counts as largest. The first of equal elements gives the index (and gets the gradient); without ``dim`` equal
    elements share the gradient.

    Returns:
        A 0-d tensor, or a named tuple (values, indices).

    Raises:
        RuntimeError: for a tensor without elements.
        IndexError: for a dimension without elements, or out of range.
    """
    return _extreme("max", reduction.max_, input, dim, keepdim)


def min(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The smallest element; otherwise as ``max``."""
    return _extreme("min", reduction.min_, input, dim, keepdim)


_NO_INDICES = np.empty(0, np.int64)


def _no_indices(x: Tensor) -> Any:
    return devices.to_device(_NO_INDICES, x.device)


class Extremes(Function):
    """The extreme over several dimensions; elements equal to it share the gradient.

    NaN is equal to nothing: the gradient is then NaN, or, with ``nan_shares``, that of the elements that are NaN.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, dims: tuple[int, ...], keepdim: bool, kernel: Any, nan_shares: bool) -> Tensor:
        ctx.dims, ctx.nan_shares = dims, nan_shares
        y = _reduce(kernel, x, dims, keepdim, x.dtype, _no_indices(x)) if dims or not x.ndim else x.clone()
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, y = ctx.saved_tensors
        kept = _reduced_shape(x._array.shape, ctx.dims, True)
        if not ctx.dims:
            return grad, None, None, None, None
        chosen = ne(x, x) if ctx.nan_shares and np.isnan(y.item()) else eq(x, y.reshape(kept))
        share = grad.reshape(kept) / sum(chosen, ctx.dims, keepdim=True).to(dtype=grad.dtype)
        return where(chosen, share, share * 0), None, None, None, None


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
        ctx.set_materialize_grads(False)
        return wrap(values.reshape(reduced)), positions

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Any) -> Any:
        (positions,) = ctx.saved_tensors
        if not ctx.shape:
            return grad, None, None, None
        dim, shape = ctx.dim, ctx.shape
        one = product(shape[:dim]), 1, product(shape[dim + 1 :])
        if not is_grad_enabled():
            dx = devices.empty(shape, grad.dtype, grad.device)
            values = devices.contiguous(grad._array).reshape(one)
            gather.spread(values, positions._array.reshape(one), dx.reshape((one[0], shape[dim], one[2])))
            return wrap(dx), None, None, None
        spread = AddElements.apply(grad.reshape(one), positions._array.reshape(one), shape[dim], 1)
        return spread.reshape(shape), None, None, None


def amax(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The largest elements over ``dim`` (an int, several, or all); equal elements share the gradient."""
    dims = normalize_dims("amax", dim, input.ndim)
    _check_not_empty("amax", input, dims, _is_all(dim))
    return Extremes.apply(input, dims, keepdim, reduction.max_, False)


def amin(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The smallest elements over ``dim`` (an int, several, or all); equal elements share the gradient."""
    dims = normalize_dims("amin", dim, input.ndim)
    _check_not_empty("amin", input, dims, _is_all(dim))
    return Extremes.apply(input, dims, keepdim, reduction.min_, False)


def _is_all(dim: Dims) -> bool:
    return dim is None or (isinstance(dim, Sequence) and not dim)


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index (int64) of the largest element along ``dim``, or in the flattened tensor; the first of equals."""
    return _arg("argmax", reduction.max_, input, dim, keepdim)


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index (int64) of the smallest element along ``dim``, or in the flattened tensor; the first of equals."""
    return _arg("argmin", reduction.min_, input, dim, keepdim)


def _arg(name: str, kernel: Any, input: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    if input.dtype == dtypes.bool:
        raise RuntimeError(
            f"{name}: not defined for bool tensors, got shape {tuple(input.shape)}; convert it with .int()"
        )
    _check_not_empty(name, input, normalize_dims(name, dim, input.ndim))
    x = input.detach()
    if dim is not None:
        return AlongDim.apply(x, normalize_dim(name, dim, x.ndim), keepdim, kernel)[1]
    index = AlongDim.apply(x.reshape(-1), 0, False, kernel)[1]
    return index.reshape((1,) * input.ndim) if keepdim else index


def any(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether any element over ``dim`` (an int, several, or all) is true (non-zero), as a bool tensor.

    As in PyTorch, the result is uint8 for uint8 tensors, and an empty ``dim`` means no dimension: each element for itself.
    """
    return _logical(reduction.any_, "any", input, dim, keepdim)


def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> Any:
    """A named tuple (min, max) of ``amin`` and ``amax``.

    Raises:
        RuntimeError: for a tensor without elements.
        IndexError: for a dimension without elements, or out of range.
    """
    _check_not_empty("aminmax", input, normalize_dims("aminmax", dim, input.ndim), dim is None)
    return Both(amin(input, dim, keepdim), amax(input, dim, keepdim))


class Both(NamedTuple):
    """What ``aminmax`` returns."""

    min: Tensor
    max: Tensor


def all(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether all elements over ``dim`` (an int, several, or all) are true (non-zero); otherwise as ``any``."""
    return _logical(reduction.all_, "all", input, dim, keepdim)


def _logical(kernel: Any, name: str, input: Tensor, dim: Dims, keepdim: bool) -> Tensor:
    truth = input if input.dtype == dtypes.bool else ne(input, 0)
    if isinstance(dim, Sequence) and not dim and input.ndim:
        found = clone(truth)
    else:
        found = _reduce(kernel, truth, normalize_dims(name, dim, input.ndim), keepdim, dtypes.bool)
    return found.to(dtype=dtypes.uint8) if input.dtype == dtypes.uint8 else found


# --------------------------------------------------------------------------------------------------- deviations


def var(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """The variance over ``dim``: the sum of squared deviations over (n - correction); correction is 1 unless given.

    Raises:
        RuntimeError: for integer tensors.
    """
    return _var_mean("var", input, dim, unbiased, keepdim, correction)[0]


def var_mean(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:
    """The variance and the mean over ``dim``."""
    return _var_mean("var_mean", input, dim, unbiased, keepdim, correction)


def std(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """The standard deviation over ``dim``: the square root of ``var``."""
    return Deviation.apply(_var_mean("std", input, dim, unbiased, keepdim, correction)[0])


def std_mean(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:
    """The standard deviation and the mean over ``dim``."""
    variance, center = _var_mean("std_mean", input, dim, unbiased, keepdim, correction)
    return Deviation.apply(variance), center


class Deviation(Function):
    """The square root of a variance; its gradient counts as 0 where the variance is 0."""

    @staticmethod
    def forward(ctx: Any, variance: Tensor) -> Tensor:
        y = sqrt(variance)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        return where(eq(y, 0), 0.0, grad / (y * 2))


def _var_mean(
    name: str, input: Tensor, dim: Any, unbiased: bool | None, keepdim: bool, correction: float | None
) -> tuple[Tensor, Tensor]:
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if unbiased is not None and correction is not None:
        raise TypeError(f"{name}: got both unbiased={unbiased} and correction={correction}")
    if not input.is_floating_point():
        raise RuntimeError(f"{name}: expected a floating tensor, got {input.dtype}; convert it with .float()")
    correction = 1 if correction is None else correction
    dims = normalize_dims(name, dim, input.ndim)
    return Moments.apply(input, dims, keepdim, float(correction if unbiased is None else int(unbiased)))


class Moments(Function):
    """The variance and the mean, in one pass over the input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dims: tuple[int, ...], keepdim: bool, correction: float) -> tuple[Tensor, Tensor]:
        shape = x._array.shape
        count = product(shape[d] for d in dims)
        kept, reduced = _reduced_shape(shape, dims, True), _reduced_shape(shape, dims, keepdim)
        with np.errstate(divide="ignore"):
            ctx.dims, ctx.factor = dims, float(np.divide(1.0, np.maximum(count - correction, 0)))
        mean_, squares = _moments(x, dims) if count and x._array.size else (x.new_full(reduced, np.nan),) * 2
        ctx.save_for_backward(x, mean_.reshape(kept))
        return squares.reshape(reduced) * ctx.factor, mean_.reshape(reduced)

    @staticmethod
    def backward(ctx: Any, grad_var: Tensor, grad_mean: Tensor) -> Any:
        x, center = ctx.saved_tensors
        if is_grad_enabled():
            center = mean(x, ctx.dims, keepdim=True) if ctx.dims else x
        kept = tuple(center.shape)
        count = float(product(x._array.shape[d] for d in ctx.dims))
        if not is_grad_enabled() and ctx.dims and x._array.size:
            if type(x._array) is np.ndarray:
                factor, size = x.dtype.type(2 * ctx.factor), x.dtype.type(count)
                scale, shift = wrap(grad_var._array.reshape(kept) * factor), wrap(grad_mean._array.reshape(kept) / size)
            else:
                scale, shift = grad_var.reshape(kept) * (2 * ctx.factor), grad_mean.reshape(kept) / count
            small = center, scale, shift
            return _along(reduction.moments_backward, x, ctx.dims, *small), None, None, None
        grad = (x - center) * (grad_var.reshape(kept) * (2 * ctx.factor))
        return grad + grad_mean.reshape(kept) / count, None, None, None


def _moments(x: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The mean, and the sum of squared deviations from it, over ``dims``, which keep a size of 1.

    The input is read once, over the last run of dimensions; the few values that come of it are joined run by run: the
    deviations of their means count as often as there are elements behind each.
    """
    if not dims:
        return x, x.new_zeros(tuple(x.shape)) if x.ndim else x.new_zeros(())
    shape = x._array.shape
    (first, last), *others = _groups(shape, dims)
    outer, n, inner = product(shape[:first]), product(shape[first : last + 1]), product(shape[last + 1 :])
    means, squares = (devices.empty((outer, inner), x.dtype, x.device) for _ in range(2))
    reduction.moments(devices.contiguous(x._array).reshape((outer, n, inner)), means, squares)
    kept = _reduced_shape(shape, tuple(range(first, last + 1)), True)
    center, spread = wrap(means.reshape(kept)), wrap(squares.reshape(kept))
    for start, end in others:
        run = tuple(range(start, end + 1))
        middle = mean(center, run, keepdim=True)
        gap = center - middle
        center, spread = middle, sum(spread, run, keepdim=True) + sum(gap * gap, run, keepdim=True) * float(n)
        n *= product(shape[d] for d in run)
    return center, spread


# ----------------------------------------------------------------------------------------------- logsumexp and norms


def logsumexp(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """``log(sum(exp(input)))`` over ``dim``, without overflow."""
    input = _floating("logsumexp", input)
    return LogSumExp.apply(input, normalize_dims("logsumexp", dim, input.ndim), keepdim)


class LogSumExp(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dims: tuple[int, ...], keepdim: bool) -> Tensor:
        ctx.dims = dims
        shape = x._array.shape
        if 0 in [shape[d] for d in dims] and x.ndim:
            y = x.new_full(_reduced_shape(shape, dims, keepdim), -np.inf)
        else:
            y = _reduce(reduction.logsumexp, x, dims, keepdim, x.dtype) if dims or not x.ndim else x.clone()
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, y = ctx.saved_tensors
        shape, dims = x._array.shape, ctx.dims
        kept = _reduced_shape(shape, dims, True)
        groups = _groups(shape, dims)
        if is_grad_enabled() or len(groups) != 1 or not x._array.size:
            return grad.reshape(kept) * exp(x - y.reshape(kept)), None, None
        first, last = groups[0]
        outer, n, inner = product(shape[:first]), product(shape[first : last + 1]), product(shape[last + 1 :])
        dx = devices.empty(shape, x.dtype, x.device)
        reduction.logsumexp_backward(
            devices.contiguous(x._array).reshape((outer, n, inner)),
            devices.contiguous(y._array).reshape((outer, inner)),
            devices.contiguous(grad._array).reshape((outer, inner)),
            dx.reshape((outer, n, inner)),
        )
        return wrap(dx), None, None


def norm(input: Tensor, p: Any = "fro", dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The p-norm over ``dim`` (or of all elements): (sum |x|^p)^(1/p).

    Args:
        input: floating.
        p: a number, inf, -inf, 0 (how many elements are not zero), or "fro" (2). The gradient of a norm of 0 is 0.
        dim: an int, several, or None for all.
        keepdim: keep the dimensions with size 1.
        dtype: convert to this first.

    Raises:
        RuntimeError: for integer tensors.
        ValueError: for another p.
    """
    if p == "nuc" or (isinstance(p, str) and p != "fro"):
        raise ValueError(f"norm: p must be a number, inf, -inf or 'fro', got {p!r}")
    return _norm("norm", input, 2.0 if p in ("fro", None) else float(p), dim, keepdim, dtype)


def vector_norm(x: Tensor, ord: float = 2, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """``norm`` under the name and arguments of ``torch.linalg.vector_norm``."""
    return _norm("vector_norm", x, float(ord), dim, keepdim, dtype)


def _norm(name: str, input: Tensor, p: float, dim: Dims, keepdim: bool, dtype: Any) -> Tensor:
    if dtype is not None:
        input = input.to(dtype=dtypes.as_dtype(dtype))
    if not input.is_floating_point():
        raise RuntimeError(f"{name}: expected a floating tensor, got {input.dtype}; convert it with .float()")
    dims = normalize_dims(name, dim, input.ndim)
    if (np.isinf(p) or p < 0) and 0 in [input._array.shape[d] for d in dims]:
        raise RuntimeError(f"{name}: p={p} is not defined over dimensions without elements, shape {tuple(input.shape)}")
    return Norm.apply(input, p, dims, keepdim)


class Norm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float, dims: tuple[int, ...], keepdim: bool) -> Tensor:
        ctx.p, ctx.dims = p, dims
        if not dims and x.ndim:
            y = absolute(x) if p else ne(x, 0).to(dtype=x.dtype)
        elif p == 2:
            y = sqrt(_reduce(reduction.sum_squares, x, dims, keepdim, x.dtype, then=reduction.sum_))
        elif p == 1:
            y = _reduce(reduction.sum_absolutes, x, dims, keepdim, x.dtype, then=reduction.sum_)
        elif p == 0:
            y = sum(ne(x, 0), dims, keepdim).to(dtype=x.dtype)
        elif np.isinf(p):
            y = (amax if p > 0 else amin)(absolute(x), dims, keepdim)
        else:
            y = power(sum(power(absolute(x), p), dims, keepdim), 1.0 / p)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, y = ctx.saved_tensors
        p, kept = ctx.p, _reduced_shape(x._array.shape, ctx.dims, True)
        if p == 1 and not is_grad_enabled() and ctx.dims and x._array.size:
            grad = wrap(devices.contiguous(grad._array).reshape(kept))
            return _along(reduction.sum_absolutes_backward, x, ctx.dims, grad), None, None, None
        grad, y = grad.reshape(kept), y.reshape(kept)
        if p == 0:
            return x * 0 * grad, None, None, None
        if p == 1:
            return grad * sign(x), None, None, None
        if p == 2:
            return x * where(eq(y, 0), 0.0, grad / y), None, None, None
        if np.isinf(p):
            chosen = eq(absolute(x), y)
            count = sum(chosen, ctx.dims, keepdim=True).to(dtype=grad.dtype) if ctx.dims else 1.0
            return where(chosen, sign(x) * (grad / count), 0.0), None, None, None
        scaled = where(eq(y, 0), 0.0, grad / power(y, p - 1))
        if p < 1:  # |x|^(p-1) is infinite at 0, where the gradient counts as 0
            return where(eq(x, 0), 0.0, sign(x) * power(absolute(x), p - 1)) * scaled, None, None, None
        if p < 2:
            return sign(x) * power(absolute(x), p - 1) * scaled, None, None, None
        return x * power(absolute(x), p - 2) * scaled, None, None, None


# ------------------------------------------------------------------------------------------------------ running sums


def cumsum(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """The running sums along ``dim``. Ints and bools are summed in int64."""
    return CumulativeSum.apply(_whole(input, dtype), normalize_dim("cumsum", dim, input.ndim), False)


def cumprod(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """The running products along ``dim``. Ints and bools are multiplied in int64."""
    return CumulativeProduct.apply(_whole(input, dtype), normalize_dim("cumprod", dim, input.ndim))


def _whole(input: Tensor, dtype: Any) -> Tensor:
    wanted = dtypes.as_dtype(dtype) if dtype is not None else input.dtype if input.is_floating_point() else dtypes.int64
    return input.to(dtype=wanted)


def _lines(array: Any, dim: int) -> tuple[int, int, int]:
    shape = array.shape or (1,)
    return product(shape[:dim]), shape[dim], product(shape[dim + 1 :])


class CumulativeSum(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int, reverse: bool) -> Tensor:
        ctx.dim, ctx.reverse = dim, reverse
        out, lines = devices.empty(x._array.shape, x.dtype, x.device), _lines(x._array, dim)
        scan.cumsum(devices.contiguous(x._array).reshape(lines), out.reshape(lines), reverse)
        return wrap(out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return CumulativeSum.apply(grad, ctx.dim, not ctx.reverse), None, None


class CumulativeProduct(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int) -> Tensor:
        ctx.dim = dim
        ctx.save_for_backward(x)
        out, lines = devices.empty(x._array.shape, x.dtype, x.device), _lines(x._array, dim)
        scan.cumprod(devices.contiguous(x._array).reshape(lines), out.reshape(lines), False)
        return wrap(out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        if is_grad_enabled():  # without zeros: y = cumprod(x) contains x[k] in every y[i], i >= k
            if bool(eq(x, 0).any()):
                raise NotImplementedError("cumprod: the gradient of its gradient is not written for inputs that hold 0")
            return CumulativeSum.apply(grad * cumprod(x, ctx.dim), ctx.dim, True) / x, None
        dx, lines = devices.empty(x._array.shape, x.dtype, x.device), _lines(x._array, ctx.dim)
        inputs = [devices.contiguous(t._array).reshape(lines) for t in (x, grad)]
        scan.cumprod_backward(*inputs, dx.reshape(lines))
        return wrap(dx), None


def cumsum_(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """``cumsum`` in place; ``dtype`` can be input's only. Returns input."""
    return inplace.assign("cumsum_", input, cumsum(clone(input), dim, dtype=_own("cumsum_", input, dtype)))


def cumprod_(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """``cumprod`` in place; ``dtype`` can be input's only. Returns input."""
    return inplace.assign("cumprod_", input, cumprod(clone(input), dim, dtype=_own("cumprod_", input, dtype)))


def _own(name: str, input: Tensor, dtype: Any) -> np.dtype:
    if dtype is not None and dtypes.as_dtype(dtype) != input.dtype:
        raise RuntimeError(f"{name}: dtype {dtypes.as_dtype(dtype)} is not that of the {input.dtype} tensor")
    return input.dtype


def diff(
    input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """The differences of neighbours along ``dim``, n times over; prepend and append are joined on first.

    Raises:
        RuntimeError: for a negative n, or a tensor without dimensions.
        IndexError: for a dimension out of range.
    """
    if n < 0:
        raise RuntimeError(f"diff: n must not be negative, got {n}")
    if not input.ndim:
        raise RuntimeError("diff: expected at least one dimension, got a 0-d tensor")
    dim = normalize_dim("diff", dim, input.ndim)
    if n == 0:
        return input
    parts = [t for t in (prepend, input, append) if t is not None]
    x = cat(parts, dim) if len(parts) > 1 else input
    for _ in range(builtins.min(n, x.shape[dim])):
        size = x.shape[dim] - 1
        upper, lower = narrow(x, dim, 1, size), narrow(x, dim, 0, size)
        x = ne(upper, lower) if x.dtype == dtypes.bool else upper - lower
    return x


# ---------------------------------------------------------------------------------------------------------- counting


def count_nonzero(input: Tensor, dim: Dims = None) -> Tensor:
    """How many elements are not zero, over ``dim`` (an int, several, or all), as int64."""
    dims = normalize_dims("count_nonzero", dim, input.ndim)
    return Sum.apply((input if input.dtype == dtypes.bool else ne(input, 0)).to(dtype=dtypes.int64), dims, False)


def trace(input: Tensor) -> Tensor:
    """The sum of a matrix's diagonal.

    Raises:
        RuntimeError: for other numbers of dimensions.
    """
    if input.ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, got shape {tuple(input.shape)}")
    return sum(diagonal(input))
