"""Sorting, the largest few, medians, and what is found by sorting."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from numbanet import devices, dtypes
from numbanet.autograd import Function, is_grad_enabled
from numbanet.functional import finding
from numbanet.functional.arithmetic import (
    clone,
    eq,
    ge,
    gt,
    isnan,
    logical_and,
    logical_not,
    logical_or,
    lt,
    where,
)
from numbanet.functional.indexing import AddElements, gather
from numbanet.functional.reduction import diff
from numbanet.functional.reduction import sum as total
from numbanet.functional.shape import cat, narrow, ravel, reshape, squeeze, transpose
from numbanet.kernels import elementwise, search, sorting
from numbanet.kernels import gather as kernels
from numbanet.shapes import check_one_device, normalize_dim
from numbanet.tensor import Tensor, as_tensor, wrap

__all__ = ["argsort", "bincount", "isin", "kthvalue", "median", "msort", "searchsorted", "sort", "topk", "unique"]


class Sorted(NamedTuple):
    """What ``sort``, ``topk``, ``kthvalue`` and ``median`` return."""

    values: Tensor
    indices: Tensor


class Rows(Function):
    """Values chosen from the rows of a matrix, and where they stood: the first of the sorted rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Any, count: int, down: bool) -> tuple[Tensor, Tensor]:
        rows, ctx.n = x._array.shape
        values = devices.empty((rows, count), x.dtype, x.device)
        indices = devices.empty((rows, count), dtypes.int64, x.device)
        kernel(devices.contiguous(x._array), values, indices, down)
        places = wrap(indices)
        ctx.save_for_backward(places)
        ctx.mark_non_differentiable(places)
        ctx.set_materialize_grads(False)
        return wrap(values), places

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Any) -> Any:
        (places,) = ctx.saved_tensors
        shape = (*tuple(grad.shape), 1)
        if not is_grad_enabled():
            out = devices.empty((shape[0], ctx.n), grad.dtype, grad.device)
            values = devices.contiguous(grad._array).reshape(shape)
            if grad.is_cuda and out.size:  # no place is named twice: a thread for each value, not for each row
                elementwise.fill(out, 0)
                search.put(values.reshape(shape[:2]), places._array, out)
                return wrap(out), None, None, None
            kernels.spread(values, places._array.reshape(shape), out.reshape((shape[0], ctx.n, 1)))
            return wrap(out), None, None, None
        return AddElements.apply(grad, places._array.reshape(shape), ctx.n, 1), None, None, None


def _sorted(kernel: Any, input: Tensor, dim: int, count: int, down: bool) -> Sorted:
    """Run a kernel over rows along ``dim``."""
    if input.ndim == 0:
        values, indices = Rows.apply(reshape(input, (1, 1)), kernel, 1, down)
        return Sorted(reshape(values, ()), reshape(indices, ()))
    shape = list(input.shape)
    last = len(shape) - 1
    turned = input if dim == last else transpose(input, dim, last)
    n, leading = turned.shape[-1], tuple(turned.shape[:-1])
    if len(shape) == 2:
        values, indices = Rows.apply(turned, kernel, count, down)
    else:
        flat = reshape(turned, (int(np.prod(leading, dtype=np.int64)), n))
        values, indices = (reshape(t, (*leading, count)) for t in Rows.apply(flat, kernel, count, down))
    if dim != last:
        values, indices = clone(transpose(values, dim, last)), clone(transpose(indices, dim, last))
    return Sorted(values, indices)


def sort(input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = True) -> Sorted:
    """The values in order along ``dim``, and where each stood.

    Args:
        input: any tensor; NaN counts as the largest value.
        dim: the dimension.
        descending: largest first.
        stable: equal elements keep their order, in either direction; they always do.

    Returns:
        A named tuple (values, indices).

    Raises:
        IndexError: for a dimension out of range.
    """
    if isinstance(dim, bool):
        raise TypeError(f"sort: dim must be an int, got {dim}")
    dim = normalize_dim("sort", dim, input.ndim)
    return _sorted(sorting.sort, input, dim, input._array.shape[dim] if input.ndim else 1, bool(descending))


def argsort(input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = True) -> Tensor:
    """The indices of ``sort``."""
    return sort(input.detach(), dim, descending).indices


def msort(input: Tensor) -> Tensor:
    """The values of ``sort`` along the first dimension."""
    return sort(input, 0).values


def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Sorted:
    """The ``k`` largest (or smallest) elements along ``dim``, in order, and where they stood.

    Of equal elements the first come first. NaN counts as the largest value. ``sorted`` makes no difference.

    Returns:
        A named tuple (values, indices).

    Raises:
        RuntimeError: for k that is negative, or larger than the dimension, and for bool tensors.
        IndexError: for a dimension out of range.
    """
    try:
        k = k.__index__()
    except AttributeError:
        raise TypeError(f"topk: k must be an int, got {k!r}") from None
    if input.dtype.kind == "b":
        raise RuntimeError(
            f"topk: not defined for bool tensors, got shape {tuple(input.shape)}; convert it with .int()"
        )
    dim = normalize_dim("topk", dim, input.ndim)
    n = input._array.shape[dim] if input.ndim else 1
    if not 0 <= k <= n:
        raise RuntimeError(
            f"topk: k={k} must be between 0 and {n}, the size of dimension {dim} of {tuple(input.shape)}"
        )
    if k > _BY_INSERTION:
        values, indices = _sorted(sorting.sort, input, dim, n, bool(largest))
        return Sorted(*(clone(narrow(t, dim, 0, k)) if k < n else t for t in (values, indices)))
    return _sorted(sorting.topk, input, dim, k, bool(largest))


_BY_INSERTION = 64  # the largest k for which keeping the best so far beats sorting rows of 1000


def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Sorted:
    """The ``k``-th smallest element along ``dim`` (counted from 1), and where it stands.

    Raises:
        RuntimeError: for k below 1 or beyond the dimension.
        IndexError: for a dimension out of range, or one without elements.
    """
    dim = normalize_dim("kthvalue", dim, input.ndim)
    n = input._array.shape[dim] if input.ndim else 1
    if not n:
        raise IndexError(f"kthvalue: expected at least one element along {dim}, got shape {tuple(input.shape)}")
    if not 1 <= k <= n:
        raise RuntimeError(
            f"kthvalue: k={k} must be between 1 and {n}, the size of dimension {dim} of {tuple(input.shape)}"
        )
    indices = sort(input.detach(), dim).indices
    return _at(input, narrow(indices, dim, k - 1, 1) if input.ndim else indices, dim, keepdim)


def _at(input: Tensor, indices: Tensor, dim: int, keepdim: bool) -> Sorted:
    """input's elements at one index for each line along ``dim``."""
    if not input.ndim:
        return Sorted(clone(input), indices)
    values = gather(input, dim, indices)
    return Sorted(values, clone(indices)) if keepdim else Sorted(squeeze(values, dim), clone(squeeze(indices, dim)))


def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle one of the sorted elements, the lower of two; NaN where there is any.

    Without ``dim`` equal elements share the gradient.

    Returns:
        Without ``dim`` a 0-d tensor, else a named tuple (values, indices).

    Raises:
        IndexError: for a dimension out of range, or one without elements.
        NotImplementedError: for bool tensors.
    """
    if input.dtype.kind == "b":
        raise NotImplementedError(f"median: not defined for bool tensors, got shape {tuple(input.shape)}")
    if dim is None:
        if not input._array.size:
            nothing = np.nan if input.is_floating_point() else np.iinfo(input.dtype).min
            return wrap(devices.full((), nothing, input.dtype, input.device))
        return Middle.apply(input)
    dim = normalize_dim("median", dim, input.ndim)
    n = input._array.shape[dim] if input.ndim else 1
    if not n:
        raise IndexError(f"median: expected at least one element along {dim}, got shape {tuple(input.shape)}")
    values, indices = sort(input.detach(), dim)
    if not input.ndim:
        return Sorted(clone(input), indices)
    if input.is_cuda:
        if not input.is_floating_point():
            return _at(input, narrow(indices, dim, (n - 1) // 2, 1), dim, keepdim)
        nans = total(isnan(values).to(dtype=dtypes.int64), dim, keepdim=True)
        return _at(input, gather(indices, dim, where(nans > 0, n - nans, (n - 1) // 2)), dim, keepdim)
    ordered = values._array
    place = np.full([1 if d == dim else s for d, s in enumerate(ordered.shape)], (n - 1) // 2, np.int64)
    if input.is_floating_point():
        missing = np.isnan(ordered).sum(axis=dim, keepdims=True)
        place = np.where(missing > 0, n - missing, place)  # the first NaN
    return _at(input, gather(indices, dim, wrap(np.ascontiguousarray(place))), dim, keepdim)


class Middle(Function):
    """The median of all elements; those equal to it, or all that are NaN if it is, share the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = median(ravel(x.detach()), 0).values
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, y = ctx.saved_tensors
        chosen = logical_or(eq(x, y), logical_and(isnan(x), isnan(y)))
        return where(chosen, grad / total(chosen).to(dtype=grad.dtype), 0.0)


def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The different elements in order (or, along ``dim``, the different parts: these are found on the host).

    Args:
        input: any tensor.
        sorted: the result is always sorted.
        return_inverse: also where each element went, in input's shape.
        return_counts: also how often each occurs.
        dim: compare whole parts along this dimension.

    Returns:
        A tensor, or a tuple of the tensors asked for.

    Raises:
        IndexError: for a dimension out of range.
        RuntimeError: for parts without elements.
    """
    if dim is not None:
        dim = normalize_dim("unique", dim, input.ndim)
        if 0 in [size for d, size in enumerate(input._array.shape) if d != dim]:
            raise RuntimeError(f"unique: the parts along dim={dim} of shape {tuple(input.shape)} have no elements")
    if dim is None and input.is_cuda:
        made = _unique_there(input, return_inverse, return_counts)
        return made if len(made) > 1 else made[0]
    array = devices.to_host(input._array)
    values, inverse, counts = np.unique(array, return_inverse=True, return_counts=True, axis=dim, equal_nan=False)
    inverse = inverse.reshape(array.shape if dim is None else -1)
    found = [values] + ([inverse] if return_inverse else []) + ([counts] if return_counts else [])
    made = tuple(wrap(devices.to_device(np.asarray(a, order="C"), input.device)) for a in found)
    return made if len(made) > 1 else made[0]


def _unique_there(input: Tensor, return_inverse: bool, return_counts: bool) -> tuple[Tensor, ...]:
    """``unique`` on CUDA: sort, and see where the sorted elements change."""
    line, order = finding.ordered(input._array)
    starts, ends = finding.groups(line)
    found = [wrap(finding.taken(line, starts))]
    if return_inverse:
        shape = (1, line.size)
        inverse = finding.new(line.size)
        search.put((wrap(ends) - 1)._array.reshape(shape), order.reshape(shape), inverse.reshape(shape))
        found.append(reshape(wrap(inverse), tuple(input.shape)))
    if return_counts:
        end = wrap(devices.full((1,), line.size, dtypes.int64, input.device))
        found.append(diff(cat((wrap(starts), end))))
    return tuple(found)


def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each of 0, 1, 2, ... occurs in a vector of ints; with weights the sums of theirs.

    Raises:
        RuntimeError: for another dtype or shape, negative numbers, weights of another length, or a negative minlength.
    """
    if input.dtype.kind not in "iu" or input.ndim != 1:
        raise RuntimeError(f"bincount: expected a vector of ints, got {input.dtype} of shape {tuple(input.shape)}")
    if minlength < 0:
        raise RuntimeError(f"bincount: minlength must not be negative, got {minlength}")
    if weights is not None and tuple(weights.shape) != tuple(input.shape):
        raise RuntimeError(f"bincount: weights have shape {tuple(weights.shape)}, input {tuple(input.shape)}")
    check_one_device("bincount", input, weights)
    numbers = input._array
    low, high = finding.extent(numbers) if numbers.size else (0, -1)
    if low < 0:
        raise RuntimeError(f"bincount: expected numbers from 0 on, got {low}")
    if input.is_cuda:
        line, order = finding.ordered(input.to(dtype=dtypes.int64)._array)
        edges = finding.new(max(high + 1, minlength) + 1)
        search.edges(line, edges)
        if weights is None:
            return diff(wrap(edges))
        kind = dtypes.float32 if weights.dtype == dtypes.float32 else dtypes.float64
        sums = finding.new(edges.size - 1, kind)
        given = devices.contiguous(weights.detach().to(dtype=kind, device=input.device)._array)
        search.segment_sums(given, order, edges, sums)
        return wrap(sums)
    if weights is None:
        counts = np.bincount(numbers, minlength=minlength).astype(np.int64)
    else:
        counts = np.bincount(numbers, devices.to_host(weights._array), minlength)
        counts = counts.astype(weights.dtype if weights.dtype == dtypes.float32 else np.float64)
    return wrap(devices.to_device(counts, input.device))


def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Whether each element is one of ``test_elements``."""
    check_one_device("isin", elements, test_elements)
    a, b = as_tensor(elements), as_tensor(test_elements)
    if a.is_cuda:
        kind = np.promote_types(a.dtype, b.dtype)
        line, _ = finding.ordered(b.detach().to(dtype=kind, device=a.device)._array)
        out = finding.new(a._array.size, dtypes.bool)
        search.isin(line, devices.contiguous(a.detach().to(dtype=kind)._array).reshape(-1), out)
        members = reshape(wrap(out), tuple(a.shape))
        return logical_not(members) if invert else members
    a, b = (x.float() if dtypes.is_half(x.dtype) else x for x in (a, b))
    found = np.isin(devices.to_host(a._array), devices.to_host(b._array), invert=invert)
    return wrap(devices.to_device(np.asarray(found), a.device))


def searchsorted(
    sorted_sequence: Tensor,
    values: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:
    """Where in a sorted vector each value belongs, before (or, to the right, behind) equal ones.

    Args:
        sorted_sequence: shape (N,), or (..., N): a vector for each row of values.
        values: a tensor of any shape (of (..., M) for rows), or a number for one vector.
        out_int32: int32 places instead of int64.
        right, side: behind equal ones, ``right=True`` or ``side="right"``.
        sorter: int64 indices, of sorted_sequence's shape, that put it in order if it is not (as ``argsort`` gives them).

    Returns:
        The places, in values' shape.

    Raises:
        RuntimeError: for shapes that do not fit, sides that contradict, or a sorter that is not int64 or out of range.
    """
    if not sorted_sequence.ndim:
        raise RuntimeError("searchsorted: expected a sorted vector, got a 0-d tensor")
    if side not in (None, "left", "right") or (side == "left" and right):
        raise RuntimeError(f"searchsorted: side must be 'left' or 'right' and fit right={right}, got {side!r}")
    check_one_device("searchsorted", sorted_sequence, values, sorter)
    wanted = as_tensor(values)
    if sorter is not None:
        if sorter.dtype != dtypes.int64 or sorter.shape != sorted_sequence.shape:
            raise RuntimeError(
                f"searchsorted: expected an int64 sorter of shape {tuple(sorted_sequence.shape)}, got {sorter.dtype} of "
                f"shape {tuple(sorter.shape)}"
            )
        sorted_sequence = gather(sorted_sequence.detach(), -1, sorter)
    if sorted_sequence.ndim > 1:
        if not isinstance(values, Tensor) or values.shape[:-1] != sorted_sequence.shape[:-1] or not values.ndim:
            raise RuntimeError(
                f"searchsorted: values for rows of shape {tuple(sorted_sequence.shape)} must be a tensor with the same "
                f"leading sizes, got {tuple(wanted.shape)}"
            )
        places = _search_rows(sorted_sequence.detach(), values.detach(), right or side == "right")
        return places.to(dtype=dtypes.int32) if out_int32 else places
    if sorted_sequence.is_cuda:
        kind = np.promote_types(sorted_sequence.dtype, wanted.dtype)
        values = wanted.detach().to(dtype=kind, device=sorted_sequence.device)
        out = finding.new(values._array.size, dtypes.int32 if out_int32 else dtypes.int64)
        line = devices.contiguous(sorted_sequence.detach().to(dtype=kind)._array)
        search.searchsorted(line, devices.contiguous(values._array).reshape(-1), out, right or side == "right")
        return reshape(wrap(out), tuple(values.shape))
    if any(t.is_floating_point() and bool(isnan(t.detach()).any()) for t in (sorted_sequence, wanted)):
        places = _search_rows(sorted_sequence.detach(), ravel(wanted.detach()), right or side == "right")
        return reshape(places.to(dtype=dtypes.int32) if out_int32 else places, tuple(wanted.shape))
    way: Any = "right" if right or side == "right" else "left"
    found = np.searchsorted(devices.to_host(sorted_sequence._array), devices.to_host(wanted._array), way)
    made = np.asarray(found, np.int32 if out_int32 else np.int64)
    return wrap(devices.to_device(made, sorted_sequence.device))


def _search_rows(rows: Tensor, values: Tensor, right: bool) -> Tensor:
    """``searchsorted`` of (..., M) values in (..., N) rows, all by bisection at once."""
    n = rows.shape[-1]
    low = values.new_zeros(tuple(values.shape), dtype=dtypes.int64)
    high = low + n
    for _ in range(n.bit_length()):
        middle = (low + high) // 2
        found = gather(rows, -1, middle.clamp(max=n - 1))
        beyond = logical_not(gt(found, values) if right else ge(found, values))  # NaN, too, lies beyond
        open_ = lt(low, high)
        low, high = (
            where(logical_and(open_, beyond), middle + 1, low),
            where(logical_and(open_, logical_not(beyond)), middle, high),
        )
    return low
