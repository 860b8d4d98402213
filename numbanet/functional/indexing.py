"""Reading and writing by index: basic (ints, slices, None, ...: views), boolean and integer arrays (copies).

Everything that is not a view comes down to four operations on (outer, n, inner) views: take rows or elements along the
middle axis, and add them back. They are each other's gradients, so all of it can be differentiated again, and sums over
places that are named twice are taken in the order of the index.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from numbanet import devices, dtypes
from numbanet.autograd import Function, is_grad_enabled
from numbanet.functional import finding, inplace
from numbanet.functional.arithmetic import clone, eq, mul, ne, where
from numbanet.functional.shape import Permute, copy_, expand, ravel, reshape
from numbanet.kernels import elementwise, search
from numbanet.kernels import gather as kernels
from numbanet.shapes import broadcast_shapes, check_one_device, normalize_dim
from numbanet.tensor import Tensor, tensor, wrap

__all__ = [
    "argwhere",
    "gather",
    "getitem",
    "index_add",
    "index_add_",
    "index_copy",
    "index_copy_",
    "index_fill",
    "index_fill_",
    "index_put",
    "index_put_",
    "index_select",
    "masked_select",
    "nonzero",
    "scatter",
    "scatter_",
    "scatter_add",
    "scatter_add_",
    "scatter_reduce",
    "setitem",
    "take",
    "take_along_dim",
]  # fmt: skip


def _zeros(shape: tuple[int, ...], like: Tensor) -> Any:
    out = devices.empty(shape, like.dtype, like.device)
    if out.size:
        elementwise.fill(out, 0)
    return out


# ---------------------------------------------------------------------------------------------- the four operations


class TakeRows(Function):
    """x at the positions ``index`` (M,) along dimension ``dim``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Any, dim: int) -> Tensor:
        shape = x._array.shape
        outer, ctx.n, inner = _around(shape, dim)
        ctx.index, ctx.dim = index, dim
        out = devices.empty((*shape[:dim], index.size, *shape[dim + 1 :]), x.dtype, x.device)
        kernels.take_rows(
            devices.contiguous(x._array).reshape((outer, ctx.n, inner)), index, out.reshape((outer, index.size, inner))
        )
        return wrap(out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return AddRows.apply(grad, ctx.index, ctx.n, ctx.dim), None, None


class AddRows(Function):
    """Zeros, of size n along ``dim``, with the parts of ``values`` added at the positions ``index`` (M,)."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, index: Any, n: int, dim: int) -> Tensor:
        ctx.index, ctx.dim = index, dim
        shape = values._array.shape
        outer, m, inner = _around(shape, dim)
        out = _zeros((*shape[:dim], n, *shape[dim + 1 :]), values)
        kernels.add_rows(
            devices.contiguous(values._array).reshape((outer, m, inner)), index, out.reshape((outer, n, inner))
        )
        return wrap(out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return TakeRows.apply(grad, ctx.index, ctx.dim), None, None, None


class TakeElements(Function):
    """x at the positions ``index`` (O, M, J) along ``dim``: out[o, i, j] = x[o, index[o, i, j], j]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Any, dim: int) -> Tensor:
        shape = x._array.shape
        sizes = _around(shape, dim)
        ctx.index, ctx.n, ctx.dim = index, sizes[1], dim
        out = devices.empty(_along(shape, dim, index.shape[1]), x.dtype, x.device)
        outside = devices.empty((1,), dtypes.bool, x.device)
        kernels.gather(devices.contiguous(x._array).reshape(sizes), index, out.reshape(tuple(index.shape)), outside)
        if devices.to_host(outside)[0]:
            _check_range("gather", wrap(index), ctx.n, RuntimeError)
        return wrap(out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return AddElements.apply(grad, ctx.index, ctx.n, ctx.dim), None, None


class AddElements(Function):
    """Zeros, of size n along ``dim``, with ``values`` added at the positions ``index`` (O, M, J) along it."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, index: Any, n: int, dim: int) -> Tensor:
        ctx.index, ctx.dim = index, dim
        outer, _, inner = sizes = tuple(index.shape)
        out = devices.empty(_along(values._array.shape, dim, n), values.dtype, values.device)
        kernels.spread(devices.contiguous(values._array).reshape(sizes), index, out.reshape((outer, n, inner)))
        return wrap(out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return TakeElements.apply(grad, ctx.index, ctx.dim), None, None, None


class WriteRows(Function):
    """x (O, N, J) with the rows at ``index`` (M,) replaced by, or increased by, those of ``values`` (O, M, J)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, values: Tensor, index: Any, add: bool) -> Tensor:
        ctx.index, ctx.add = index, add
        out = devices.copy(x._array)
        (kernels.add_rows if add else kernels.put_rows)(devices.contiguous(values._array), index, out)
        return wrap(out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        grad_x = grad_values = None
        if ctx.needs_input_grad[0]:
            grad_x = grad if ctx.add else WriteRows.apply(grad, _no_rows(grad, ctx.index), ctx.index, False)
        if ctx.needs_input_grad[1]:
            grad_values = TakeRows.apply(grad, ctx.index, 1)
        return grad_x, grad_values, None, None


def _no_rows(like: Tensor, index: Any) -> Tensor:
    outer, _, inner = like._array.shape
    return wrap(_zeros((outer, index.size, inner), like))


class WriteElements(Function):
    """x (O, N, J) with values[o, i, j] written, or added, at [o, index[o, i, j], j]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, values: Tensor, index: Any, add: bool) -> Tensor:
        ctx.index, ctx.add = index, add
        out = devices.copy(x._array)
        (kernels.scatter_add if add else kernels.scatter)(devices.contiguous(values._array), index, out)
        return wrap(out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        grad_x = grad_values = None
        if ctx.needs_input_grad[0]:
            zeros = wrap(_zeros(tuple(ctx.index.shape), grad))
            grad_x = grad if ctx.add else WriteElements.apply(grad, zeros, ctx.index, False)
        if ctx.needs_input_grad[1]:
            grad_values = TakeElements.apply(grad, ctx.index, 1)
        return grad_x, grad_values, None, None


def _around(shape: tuple[int, ...], dim: int) -> tuple[int, int, int]:
    """(outer, n, inner) of a shape around a dimension; of () it is (1, 1, 1)."""
    return (prod(shape[:dim]), shape[dim], prod(shape[dim + 1 :])) if shape else (1, 1, 1)


def _along(shape: tuple[int, ...], dim: int, size: int) -> tuple[int, ...]:
    """The shape with another size along a dimension; () stays as it is."""
    return (*shape[:dim], size, *shape[dim + 1 :]) if shape else ()


# ------------------------------------------------------------------------------------------------------ brackets


def _plain(x: Tensor, index: Any) -> tuple[tuple[Any, ...], bool]:
    """The index with tensors and lists turned into arrays, and whether it is basic (gives a view)."""
    basic = True
    parts = []
    for part in index if isinstance(index, tuple) else (index,):
        if isinstance(part, Tensor):
            if part.is_cuda and not x.is_cuda:  # the other way round is allowed, as in PyTorch
                raise RuntimeError(f"index: a tensor on {x.device} with an index on {part.device}; use .cpu() first")
            if part.ndim == 0 and part.dtype.kind in "iu":
                part = int(part)
            elif part.dtype.kind in "iub" and part.is_cuda and x.is_cuda:  # stays there
                part = ne(part, 0) if part.dtype == dtypes.uint8 else part.detach()
                basic = False
            elif part.dtype.kind in "iub":
                part = np.asarray(devices.to_host(part._array))
                if part.dtype == np.uint8:
                    part = part.astype(bool)  # PyTorch's masks of old
                basic = False
            else:
                raise IndexError(f"index: tensors used as indices must be integers or bools, got {part.dtype}")
        elif isinstance(part, bool | np.bool_ | list | tuple | np.ndarray | range):
            part = np.asarray(part)
            if part.size == 0 and part.dtype.kind == "f":
                part = part.astype(np.int64)
            if part.dtype.kind not in "iub":
                raise IndexError(f"index: arrays used as indices must be integers or bools, got {part.dtype}")
            basic = False
        elif isinstance(part, slice):
            steps = [s if s is None else s.__index__() for s in (part.start, part.stop, part.step)]
            if steps[2] is not None and steps[2] <= 0:
                raise ValueError(f"index: slice steps must be positive, got {steps[2]}; use flip to reverse")
            part = slice(*steps)
        elif part is not None and part is not Ellipsis:
            try:
                part = part.__index__()
            except AttributeError:
                raise TypeError(
                    f"index: expected ints, slices, None, ..., bool or integer tensors, got {type(part).__name__}"
                ) from None
        parts.append(part)
    return tuple(parts), basic


def _read(array: np.ndarray, index: tuple[Any, ...]) -> Any:
    try:
        return array[index]
    except IndexError as error:
        raise IndexError(f"index: {error} (tensor of shape {array.shape})") from None


def getitem(input: Tensor, index: Any) -> Tensor:
    """``input[index]``: a view for ints, slices, None and ...; a copy for boolean and integer arrays.

    Raises:
        IndexError: out of range, or of the wrong type.
        ValueError: for slice steps that are not positive.
    """
    plain, basic = _plain(input, index)
    if basic:
        return Slice.apply(input, plain)
    look, rows, shape = _locate(input, plain)
    return reshape(TakeRows.apply(reshape(look.tensor, look.sizes), rows, 1), shape)


class _Look:
    """A view of a tensor whose dimensions that arrays index stand side by side, and its (outer, n, inner)."""

    def __init__(self, tensor: Tensor, sizes: tuple[int, int, int]) -> None:
        self.tensor, self.sizes = tensor, sizes


def _locate(input: Tensor, plain: tuple[Any, ...]) -> tuple[_Look, Any, tuple[int, ...]]:
    """What an index with arrays reads: (a view, the rows of its middle axis, the result's shape).

    As in PyTorch, ints, slices, None and ... look first; what the arrays index is then one axis of many rows. Where the
    arrays stand apart, their dimensions come first in the result.
    """
    size = tuple(input._array.shape)
    parts: list[Any] = []
    used = sum(_consumed(part) for part in plain)
    if used > len(size):
        raise IndexError(f"index: too many indices: {used} for a tensor of {len(size)} dimensions, shape {size}")
    for part in plain if any(part is Ellipsis for part in plain) else (*plain, Ellipsis):
        parts.extend([slice(None)] * (len(size) - used) if part is Ellipsis else [part])
    basic: list[Any] = []
    arrays: dict[int, Any] = {}  # by the dimension of the view that each indexes
    place = source = 0
    for part in parts:
        if isinstance(part, np.ndarray | Tensor):
            if part.dtype.kind == "b" and tuple(part.shape) != size[source : source + part.ndim]:
                raise IndexError(
                    f"index: a mask of shape {tuple(part.shape)} does not match {size[source : source + part.ndim]}, "
                    f"the dimensions of {size} from {source} on"
                )
            found: list[Any] = [part] if part.dtype.kind != "b" else _places(part)
            basic.extend([slice(None)] * part.ndim if part.dtype.kind == "b" and part.ndim else [])
            if part.dtype.kind != "b":
                basic.append(slice(None))
            elif part.ndim == 0:
                basic.append(None)
            for array in found:
                known = isinstance(array, Tensor)
                arrays[place] = array.to(dtype=dtypes.int64) if known else array.astype(np.int64, copy=False)
                place += 1
        else:
            basic.append(part)
            place += part is None or isinstance(part, slice)
        source += _consumed(part)
    whole = all(isinstance(part, slice) and part == slice(None) for part in basic)
    look = input if whole else Slice.apply(input, tuple(basic))
    dims = sorted(arrays)
    try:
        indexed = np.broadcast_shapes(*[tuple(arrays[d].shape) for d in dims])
    except ValueError:
        listing = " and ".join(str(tuple(arrays[d].shape)) for d in dims)
        raise IndexError(f"index: arrays of shapes {listing} do not broadcast") from None
    shape = tuple(look._array.shape)
    there = any(isinstance(array, Tensor) for array in arrays.values())
    rows: Any = np.zeros(indexed, np.int64)
    for d in dims:
        n = shape[d]
        array = arrays[d]
        if there and isinstance(array, np.ndarray):
            array = wrap(devices.to_device(array, input.device))
        values = array._array if there else array
        low, high = finding.extent(values) if values.size and prod(indexed) else (0, -1)
        if low < -n or high >= n:
            raise IndexError(
                f"index: {low if low < -n else high} is out of bounds for dimension {d} with size {n} (tensor of shape {size})"
            )
        counted = array if low >= 0 else (where if there else np.where)(array < 0, array + n, array)
        rows = counted if there and d == dims[0] else rows * n + counted
    first = dims[0]
    if dims[-1] - first != len(dims) - 1:  # apart: to the front
        order = (*dims, *[d for d in range(len(shape)) if d not in arrays])
        look, first = Permute.apply(look, order), 0
        shape = tuple(shape[d] for d in order)
    outer, middle, inner = shape[:first], shape[first : first + len(dims)], shape[first + len(dims) :]
    if there:
        flat = devices.contiguous(expand(rows, indexed)._array).reshape(-1)
    else:
        flat = devices.to_device(np.ascontiguousarray(rows).reshape(-1), input.device)
    return _Look(look, (prod(outer), prod(middle), prod(inner))), flat, (*outer, *indexed, *inner)


def _consumed(part: Any) -> int:
    """How many dimensions one part of an index stands for."""
    if isinstance(part, np.ndarray | Tensor) and part.dtype.kind == "b":
        return part.ndim
    return 0 if part is None or part is Ellipsis else 1


def _places(mask: Any) -> list[Any]:
    """Where a mask holds, dimension by dimension; one without dimensions has one place, or none."""
    if isinstance(mask, Tensor) and mask.ndim:
        return list(nonzero(mask, as_tuple=True))
    return list(np.nonzero(mask)) if mask.ndim else [np.zeros(int(mask), np.int64)]


class Slice(Function):
    _is_view = True

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: tuple[Any, ...]) -> Tensor:
        ctx.index, ctx.shape = index, x._array.shape
        # an int for every dimension gives a number in NumPy: the Ellipsis keeps it an array, and a view
        whole = index if Ellipsis in index else (*index, Ellipsis)
        return wrap(devices.view(x._array, lambda a: _read(a, whole)))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return Unslice.apply(grad, ctx.shape, ctx.index), None


class Unslice(Function):
    """Zeros of ``shape`` with ``values`` at ``index``: what a slice's gradient is."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, shape: tuple[int, ...], index: tuple[Any, ...]) -> Tensor:
        ctx.index = index
        whole = index if Ellipsis in index else (*index, Ellipsis)
        out = devices.full(shape, 0, values.dtype, values.device)
        devices.assign(devices.view(out, lambda a: a[whole]), values._array)
        return wrap(out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return getitem(grad, ctx.index), None, None


def setitem(input: Tensor, index: Any, value: Any) -> None:
    """``input[index] = value``: numbers, arrays or tensors that broadcast to the indexed part; differentiable.

    Raises:
        IndexError, ValueError: as for reading.
        RuntimeError: for shapes that do not broadcast, or a leaf that requires grad.
    """
    plain, basic = _plain(input, index)
    if not isinstance(value, Tensor):
        value = tensor(value, dtype=input.dtype, device=input.device)
    if basic:
        part = Slice.apply(input, plain)
        shape = tuple(value.shape)
        while len(shape) > part.ndim and shape[0] == 1:  # leading ones do not count, as in PyTorch
            shape = shape[1:]
        try:
            copy_(part, value.reshape(shape))
        except RuntimeError as error:
            if not any(text in str(error) for text in ("expand", "broadcast", "cannot be put")):
                raise
            raise RuntimeError(
                f"index: a value of shape {tuple(value.shape)} does not broadcast to the indexed part of shape {tuple(part.shape)}"
            ) from None
        return
    _put("index", input, plain, value, False)


def _put(name: str, input: Tensor, plain: tuple[Any, ...], value: Tensor, accumulate: bool) -> Tensor:
    if value.ndim:  # single values are moved, as in PyTorch
        check_one_device(name, input, value)
    look, rows, shape = _locate(input, plain)
    value = value.to(dtype=input.dtype, device=input.device)
    given = tuple(value.shape)
    while len(given) > len(shape) and given[0] == 1:
        given = given[1:]
    try:
        value = expand(reshape(value, given), shape)
    except RuntimeError:
        raise RuntimeError(
            f"{name}: a value of shape {tuple(value.shape)} does not broadcast to the indexed part of shape {shape}"
        ) from None
    if not shape or 0 in shape:
        value = reshape(value, shape)
    outer, n, inner = look.sizes
    values = reshape(value, (outer, rows.size, inner))
    view = look.tensor
    recording = is_grad_enabled() and (input.requires_grad or value.requires_grad)
    if not recording and view.is_contiguous():  # straight into the memory
        if values._array.size:
            source = inplace.disjoint(devices.contiguous(values._array), input._array)
            kernel = kernels.add_rows if accumulate else kernels.put_rows
            kernel(source, rows, view._array.reshape((outer, n, inner)))
        input._count_change()
        return input
    if view is input:
        whole = reshape(clone(input), (outer, n, inner))
        return inplace.assign(
            name, input, reshape(WriteRows.apply(whole, values, rows, accumulate), tuple(input.shape))
        )
    whole = reshape(clone(view), (outer, n, inner))
    inplace.assign(name, view, reshape(WriteRows.apply(whole, values, rows, accumulate), tuple(view.shape)))
    return input


def index_put_(input: Tensor, indices: Sequence[Tensor], values: Tensor, accumulate: bool = False) -> Tensor:
    """``input[indices] = values``, or ``+=`` with every place that is named twice added twice. Returns input."""
    plain, _ = _plain(input, tuple(indices))
    plain = tuple(np.asarray(part) if isinstance(part, int) else part for part in plain)
    return _put("index_put_", input, plain, values, accumulate)


def index_put(input: Tensor, indices: Sequence[Tensor], values: Tensor, accumulate: bool = False) -> Tensor:
    """A copy of ``input`` after ``index_put_``."""
    return index_put_(clone(input), indices, values, accumulate)


# ---------------------------------------------------------------------------------------------------- along a dimension


def _rows_argument(name: str, index: Any, n: int) -> Any:
    """A vector of row numbers as a contiguous int64 array on its device, checked to lie in 0 ... n - 1."""
    if not isinstance(index, Tensor):
        raise TypeError(f"{name}: index must be a tensor, got {type(index).__name__}")
    if index.ndim > 1:
        raise IndexError(f"{name}: index must have at most one dimension, got shape {tuple(index.shape)}")
    if index.dtype not in (dtypes.int64, dtypes.int32):
        raise RuntimeError(f"{name}: index must be int32 or int64, got {index.dtype}")
    _check_range(name, index, n, IndexError)
    return devices.contiguous(index.to(dtype=dtypes.int64)._array).reshape(-1)


def _check_range(name: str, index: Tensor, n: int, error: type[Exception]) -> None:
    if index.is_cuda:
        low, high = finding.extent(index._array) if index._array.size else (0, -1)
        if low < 0 or high >= n:
            raise error(f"{name}: indices run from {low} to {high}, expected 0 to {n - 1}")
        return
    values = index._array
    # Negative numbers are the largest of all when read as unsigned: one pass finds whatever is out of range.
    if values.size and int(values.view(f"u{values.itemsize}").max()) >= n:
        raise error(f"{name}: indices run from {values.min()} to {values.max()}, expected 0 to {n - 1}")


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The parts of ``input`` at the positions in ``index`` (one dimension, int64 or int32) along ``dim``, as a copy.

    Raises:
        IndexError: for positions or a dimension out of range, or an index of more dimensions.
        RuntimeError: for an index of another dtype.
    """
    dim = normalize_dim("index_select", dim, input.ndim)
    shape = tuple(input._array.shape)
    rows = _rows_argument("index_select", index, shape[dim] if shape else 1)
    if not shape:
        if rows.size != 1:
            raise RuntimeError(f"index_select: a tensor without dimensions takes one index, got {rows.size}")
        return clone(input)
    return TakeRows.apply(input, rows, dim)


def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """A copy of ``input`` with ``alpha`` times the parts of ``source`` added at the positions in ``index`` along ``dim``.

    Raises:
        IndexError: for positions out of range, or an index of more than one dimension.
        RuntimeError: for shapes or dtypes that do not fit.
    """
    return _write_rows("index_add", input, dim, index, source if alpha == 1 else mul(source, alpha), True)


def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """A copy of ``input`` with the parts at the positions in ``index`` along ``dim`` replaced by those of ``source``.

    Raises:
        IndexError: for positions out of range, or an index of more than one dimension.
        RuntimeError: for an index that is not int64, and shapes or dtypes that do not fit.
    """
    if isinstance(index, Tensor) and index.dtype != dtypes.int64:
        raise RuntimeError(f"index_copy: index must be int64, got {index.dtype}")
    return _write_rows("index_copy", input, dim, index, source, False)


def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """A copy of ``input`` with ``value`` (a number or a 0-d tensor) at the positions in ``index`` along ``dim``.

    Raises:
        IndexError: for positions out of range (negative ones count from the end), or an index that is not int64.
        RuntimeError: for a value with dimensions.
    """
    if isinstance(value, Tensor) and value.ndim:
        raise RuntimeError(f"index_fill: expected a value without dimensions, got shape {tuple(value.shape)}")
    dim = normalize_dim("index_fill", dim, input.ndim)
    if isinstance(index, Tensor) and index.dtype != dtypes.int64:
        raise IndexError(f"index_fill: index must be int64, got {index.dtype}")
    if not isinstance(value, Tensor):
        value = tensor(value, dtype=input.dtype, device=input.device)
    shape = list(input._array.shape)
    n = shape[dim] if shape else 1
    if isinstance(index, Tensor) and index._array.size and -n <= finding.extent(index._array)[0] < 0:
        index = where(index < 0, index + n, index)
    if not shape:
        return index_fill(reshape(input, (1,)), 0, index, value).reshape(())
    shape[dim] = index._array.size
    return _write_rows("index_fill", input, dim, index, expand(value.to(dtype=input.dtype), tuple(shape)), False)


def _write_rows(name: str, input: Tensor, dim: int, index: Tensor, source: Tensor, add: bool) -> Tensor:
    dim = normalize_dim(name, dim, input.ndim)
    shape = tuple(input._array.shape)
    outer, n, inner = _around(shape, dim)
    rows = _rows_argument(name, index, n)
    if source.dtype != input.dtype:
        raise RuntimeError(f"{name}: input is {input.dtype} but source {source.dtype}; convert one of them with .to()")
    if not shape and rows.size != 1:
        raise IndexError(f"{name}: a tensor without dimensions takes one index, got {rows.size}")
    wanted = (*shape[:dim], rows.size, *shape[dim + 1 :]) if shape else ()
    if tuple(source.shape) != wanted and not (not shape and source._array.size == 1):
        raise RuntimeError(
            f"{name}: expected source of shape {wanted} for input {shape}, dim={dim} and {rows.size} indices, got {tuple(source.shape)}"
        )
    written = WriteRows.apply(reshape(input, (outer, n, inner)), reshape(source, (outer, rows.size, inner)), rows, add)
    return reshape(written, shape)


def _fitting(name: str, input: Tensor, dim: int, index: Any, src: Tensor | None) -> int:
    """The checks of gather and scatter; returns the dimension counted from 0. gather looks at the range as it reads."""
    dim = normalize_dim(name, dim, input.ndim)
    if not isinstance(index, Tensor):
        raise TypeError(f"{name}: index must be a tensor, got {type(index).__name__}")
    if index.dtype not in (dtypes.int64, dtypes.int32):
        raise RuntimeError(f"{name}: index must be int64, got {index.dtype}")
    if not index._array.size:
        return dim
    sizes, limits = tuple(index.shape) or (1,), tuple(input.shape) or (1,)
    fits = len(sizes) == len(limits) and all(
        i <= s for d, (i, s) in enumerate(zip(sizes, limits, strict=True)) if d != dim
    )
    if not fits:
        raise RuntimeError(
            f"{name}: index of shape {tuple(index.shape)} does not fit input {tuple(input.shape)} along dim={dim}"
        )
    if src is not None:
        given = tuple(src.shape) or (1,)
        if len(given) != len(sizes) or any(i > s for i, s in zip(sizes, given, strict=True)):
            raise RuntimeError(f"{name}: index of shape {sizes} goes beyond src of shape {tuple(src.shape)}")
        if src.dtype != input.dtype:
            raise RuntimeError(f"{name}: input is {input.dtype} but src {src.dtype}; convert one of them with .to()")
    if name != "gather":
        _check_range(name, index, limits[dim], RuntimeError)
    return dim


def _part(x: Tensor, sizes: tuple[int, ...], whole: int | None = None) -> Tensor:
    """The part of x that an index of ``sizes`` reaches; dimension ``whole`` stays as it is."""
    window = tuple(slice(0, s if d != whole else None) for d, s in enumerate(sizes))
    shape = tuple(x._array.shape)
    return x if all(d == whole or s == shape[d] for d, s in enumerate(sizes)) else Slice.apply(x, window)


def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """``out[i][j][k] = input[index[i][j][k]][j][k]`` for dim=0, and likewise for the others.

    Args:
        input: any tensor.
        dim: the dimension that the index's values count along.
        index: int64, of as many dimensions as input, and no larger in the others.
        sparse_grad: without effect.

    Returns:
        A tensor of index's shape.

    Raises:
        RuntimeError: for shapes that do not fit, and indices out of range.
    """
    dim = _fitting("gather", input, dim, index, None)
    shape = tuple(index.shape)
    if not index._array.size:
        return reshape(getitem(ravel(input), slice(0, 0)), shape)
    part = _part(input, shape, dim)
    place = devices.contiguous(index.to(dtype=dtypes.int64)._array).reshape(_around(shape, dim))
    taken = TakeElements.apply(part, place, dim)
    return taken if taken._array.shape == shape else reshape(taken, shape)


def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """``gather`` with input and indices broadcast in the other dimensions; without ``dim`` of the flattened input.

    Raises:
        RuntimeError: for different numbers of dimensions, shapes that do not fit, and indices out of range.
    """
    if dim is None:
        return gather(ravel(input), 0, ravel(indices))
    if input.ndim != indices.ndim:
        raise RuntimeError(
            f"take_along_dim: input has {input.ndim} dimensions and indices {indices.ndim}: {tuple(input.shape)} and {tuple(indices.shape)}"
        )
    dim = normalize_dim("take_along_dim", dim, input.ndim)
    a, b = list(input.shape), list(indices.shape)
    n, m, a[dim], b[dim] = a[dim], b[dim], 1, 1
    shape = list(broadcast_shapes("take_along_dim", a, b))
    shape[dim] = n
    widened = expand(input, tuple(shape))
    shape[dim] = m
    return gather(widened, dim, expand(indices, tuple(shape)))


def _scattered(name: str, input: Tensor, dim: int, index: Tensor, src: Any, add: bool) -> Tensor:
    given = src if isinstance(src, Tensor) else None
    dim = _fitting(name, input, dim, index, given)
    if not index._array.size:
        return clone(input)
    if given is None:
        given = expand(tensor(src, dtype=input.dtype, device=input.device), tuple(index.shape))
    sizes, shape = tuple(index.shape), tuple(input.shape)
    place = devices.contiguous(index.to(dtype=dtypes.int64)._array).reshape(_around(sizes, dim))
    values = reshape(_part(given, sizes), _around(sizes, dim))
    part = _part(input, sizes, dim)
    written = WriteElements.apply(reshape(part, _around(tuple(part.shape), dim)), values, place, add)
    written = reshape(written, tuple(part.shape))
    if part is input:
        return reshape(written, shape)
    whole = clone(input)
    setitem(whole, tuple(slice(0, s) for s in part.shape), written)
    return whole


def scatter(
    input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None, reduce: str | None = None
) -> Tensor:
    """A copy of ``input`` with ``out[index[i][j][k]][j][k] = src[i][j][k]`` for dim=0, and likewise for the others.

    Args:
        input: any tensor.
        dim: the dimension that the index's values count along.
        index: int64, of as many dimensions as input.
        src: a tensor at least as large as the index, or a number. Of values for one place the last one stays.
        value: a number, in src's place.
        reduce: None, "add" or "multiply": what to do with the values instead of writing them.

    Raises:
        RuntimeError: for shapes or dtypes that do not fit, and indices out of range.
        TypeError: unless there is a src or a value.
    """
    src = value if src is None else src
    if src is None:
        raise TypeError("scatter: src or value must be given")
    if reduce == "multiply":
        if not isinstance(src, Tensor):
            src = expand(tensor(src, dtype=input.dtype, device=input.device), tuple(index.shape))
        return scatter_reduce(input, dim, index, src, "prod")
    if reduce not in (None, "add"):
        raise RuntimeError(f"scatter: reduce must be None, 'add' or 'multiply', got {reduce!r}")
    return _scattered("scatter", input, dim, index, src, reduce == "add")


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """A copy of ``input`` with ``out[index[i][j][k]][j][k] += src[i][j][k]`` for dim=0, and likewise for the others.

    Values for one place are added in the order of the index, so the result does not depend on the number of threads.
    """
    return _scattered("scatter_add", input, dim, index, src, True)


_FOLDS = {"prod": 0, "amax": 1, "amin": 2}


def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """A copy of ``input`` whose places named by ``index`` along ``dim`` hold the sum, product, mean or extreme of src there.

    Args:
        input, dim, index, src: as ``scatter_add``.
        reduce: "sum", "prod", "mean", "amax" or "amin".
        include_self: whether the value that stood there takes part.

    Raises:
        RuntimeError: for another reduce, and as ``scatter_add``.
    """
    if reduce not in ("sum", "mean", *_FOLDS):
        raise RuntimeError(f"scatter_reduce: reduce must be one of sum, prod, mean, amax and amin, got {reduce!r}")
    dim = _fitting("scatter_reduce", input, dim, index, src)
    if not index._array.size:
        return clone(input)
    if input.dtype == dtypes.bool and reduce in _FOLDS:
        numbers = [t.to(dtype=dtypes.uint8) for t in (input, src)]
        folded = scatter_reduce(numbers[0], dim, index, numbers[1], reduce, include_self=include_self)
        return folded.to(dtype=dtypes.bool)
    neutral: Any = 0
    if reduce in _FOLDS:
        limits = None if input.is_floating_point() else np.iinfo(input.dtype)
        lowest, highest = (-np.inf, np.inf) if limits is None else (limits.min, limits.max)
        neutral = {"prod": 1, "amax": lowest, "amin": highest}[reduce]
    start = input if include_self else scatter(input, dim, index, neutral)
    if reduce == "sum":
        return scatter_add(start, dim, index, src)
    if reduce == "mean":
        total = scatter_add(start, dim, index, src)
        ones = wrap(devices.full(tuple(input.shape), int(include_self), input.dtype, input.device))
        count = scatter_add(ones, dim, index, wrap(devices.full(tuple(src.shape), 1, src.dtype, src.device)))
        count = where(eq(count, 0), 1, count)
        return total / count if input.is_floating_point() else total // count
    return ScatterReduce.apply(start, src, index, dim, reduce)


class ScatterReduce(Function):
    """The product or extreme of x's element and those of src that go to its place."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, src: Tensor, index: Tensor, dim: int, reduce: str) -> Tensor:
        ctx.numbers = index, dim, reduce
        sizes = tuple(index.shape)
        part = _part(x, sizes, dim)
        values, out = devices.contiguous(_part(src, sizes)._array), devices.copy(part._array)
        place = devices.contiguous(index.to(dtype=dtypes.int64)._array).reshape(_around(sizes, dim))
        folded = out.reshape(_around(tuple(part.shape), dim))
        kernels.scatter_fold(values.reshape(place.shape), place, folded, _FOLDS[reduce])
        y = wrap(out)
        if part is not x:
            y = clone(x.detach())
            setitem(y, tuple(slice(0, s) for s in part.shape), wrap(out))
        ctx.save_for_backward(x, src, y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, src, y = ctx.saved_tensors
        index, dim, reduce = ctx.numbers
        part = _part(src, tuple(index.shape))
        mine, theirs = gather(y, dim, index), gather(grad, dim, index)
        if reduce == "prod":
            if bool((eq(x, 0)).any()) or bool((eq(part, 0)).any()):
                raise NotImplementedError(
                    "scatter_reduce: the gradient of a product with factors of 0 is not written yet"
                )
            grad_x, grad_part = grad * y / x, theirs * mine / part
        else:  # equal elements share the gradient
            here, there = eq(x, y).to(dtype=grad.dtype), eq(part, mine).to(dtype=grad.dtype)
            count = scatter_add(here, dim, index, there)
            grad_x, grad_part = grad * here / count, theirs * there / gather(count, dim, index)
        if part is not src:
            full = wrap(_zeros(tuple(src.shape), grad))
            setitem(full, tuple(slice(0, s) for s in index.shape), grad_part)
            grad_part = full
        return grad_x, grad_part, None, None, None


def take(input: Tensor, index: Tensor) -> Tensor:
    """The elements of the flattened input at the positions in ``index``, in index's shape.

    Raises:
        IndexError: for positions out of range (negative ones count from the end).
        RuntimeError: for an index that is not int64.
    """
    if index.dtype != dtypes.int64:
        raise RuntimeError(f"take: index must be int64, got {index.dtype}")
    check_one_device("take", input, index)
    values, n = index._array, input._array.size
    low, high = finding.extent(values) if values.size else (0, -1)
    if low < -n or high >= n:
        raise IndexError(f"take: indices run from {low} to {high}, expected {-n} to {n - 1}")
    if index.is_cuda:
        values = index._array if low >= 0 else where(index < 0, index + n, index)._array
        rows = devices.contiguous(values).reshape(-1)
    else:
        rows = np.ascontiguousarray(np.where(values < 0, values + n, values)).reshape(-1)
    taken = TakeRows.apply(reshape(input, (1, n, 1)), devices.to_device(rows, input.device), 1)
    return reshape(taken, tuple(index.shape))


def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where the bool ``mask`` holds, in one dimension; input and mask broadcast.

    Raises:
        RuntimeError: for a mask that is not bool, or shapes that do not broadcast.
    """
    if mask.dtype != dtypes.bool:
        raise RuntimeError(f"masked_select: expected a bool mask, got {mask.dtype}")
    check_one_device("masked_select", input, mask)
    shape = broadcast_shapes("masked_select", input.shape, mask.shape)
    if not shape:
        return getitem(reshape(input, (1,)), reshape(mask, (1,)))
    return getitem(expand(input, shape), expand(mask, shape))


def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """The places of the elements that are not zero, in order: (count, dimensions) int64, or a tuple of a vector for each."""
    if input.is_cuda and input.ndim:
        found = finding.holding(input._array)
        columns = [devices.empty((found.size, 1), dtypes.int64, input.device) for _ in input.shape if as_tuple]
        table = devices.empty((found.size, 0 if as_tuple else input.ndim), dtypes.int64, input.device)
        step = input._array.size
        for d, size in enumerate(input.shape if found.size else ()):
            step //= size
            search.coordinates(found, columns[d] if as_tuple else table, step, size, 0 if as_tuple else d)
        return tuple(wrap(column.reshape(-1)) for column in columns) if as_tuple else wrap(table)
    values = devices.to_host(input._array)
    if not values.ndim and as_tuple:
        values = values.reshape(1)
    found = np.nonzero(values) if values.ndim else ()
    if as_tuple:
        return tuple(wrap(devices.to_device(np.ascontiguousarray(p), input.device)) for p in found)
    if not values.ndim:
        return wrap(devices.to_device(np.zeros((int(bool(values)), 0), np.int64), input.device))
    return wrap(devices.to_device(np.ascontiguousarray(np.stack(found, axis=1)), input.device))


def argwhere(input: Tensor) -> Tensor:
    """``nonzero(input)``."""
    return nonzero(input)


# --------------------------------------------------------------------------------------------------- in-place forms


def scatter_(
    input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None, reduce: str | None = None
) -> Tensor:
    """``scatter`` in place. Returns input."""
    return inplace.assign("scatter_", input, scatter(_apart(input), dim, index, src, value=value, reduce=reduce))


def scatter_add_(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """``scatter_add`` in place. Returns input."""
    return inplace.assign("scatter_add_", input, scatter_add(_apart(input), dim, index, src))


def index_add_(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """``index_add`` in place. Returns input."""
    return inplace.assign("index_add_", input, index_add(_apart(input), dim, index, source, alpha=alpha))


def index_copy_(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """``index_copy`` in place. Returns input."""
    return inplace.assign("index_copy_", input, index_copy(_apart(input), dim, index, source))


def index_fill_(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """``index_fill`` in place. Returns input."""
    return inplace.assign("index_fill_", input, index_fill(_apart(input), dim, index, value))


def _apart(input: Tensor) -> Tensor:
    """A copy to work on where the graph must keep the old value; the functions above copy their input anyway."""
    return clone(input) if is_grad_enabled() and input.requires_grad else input.detach()
