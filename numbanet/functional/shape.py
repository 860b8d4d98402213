"""Shapes: views (no copying), copies, joining and splitting, and moving between dtypes and devices.

A view function's autograd Function has ``_is_view`` set: its output shares its input's memory, an in-place change of
either shows in both, and the graph follows (see ``inplace``). Backward functions are written in these same functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from operator import itemgetter
from typing import Any

import numpy as np

from numbanet import devices, dtypes
from numbanet.autograd import Function, is_grad_enabled
from numbanet.functional import finding, inplace
from numbanet.functional.arithmetic import clone, unbroadcast, where
from numbanet.kernels import elementwise, gather
from numbanet.random import Generator, default_generator
from numbanet.shapes import broadcast_shapes, check_one_device, normalize_dim, shape_argument
from numbanet.tensor import Tensor, check_numel, tensor, wrap

__all__ = [
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "bernoulli_",
    "broadcast_tensors",
    "broadcast_to",
    "cat",
    "channel_shuffle",
    "chunk",
    "clone",
    "column_stack",
    "concat",
    "concatenate",
    "contiguous",
    "copy_",
    "diag",
    "diag_embed",
    "diagonal",
    "dstack",
    "expand",
    "expand_as",
    "fill_",
    "flatten",
    "flip",
    "fliplr",
    "flipud",
    "hstack",
    "masked_fill",
    "masked_fill_",
    "meshgrid",
    "moveaxis",
    "movedim",
    "narrow",
    "normal_",
    "numel",
    "permute",
    "pixel_shuffle",
    "pixel_unshuffle",
    "random_",
    "ravel",
    "repeat",
    "repeat_interleave",
    "reshape",
    "roll",
    "rot90",
    "select",
    "split",
    "squeeze",
    "stack",
    "swapaxes",
    "swapdims",
    "t",
    "tile",
    "to",
    "transpose",
    "tril",
    "tril_",
    "triu",
    "triu_",
    "unbind",
    "unflatten",
    "uniform_",
    "unsqueeze",
    "view",
    "view_as",
    "vstack",
    "zero_",
]  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ views


def _resolve(name: str, tensor: Tensor, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape with its -1, if it has one, worked out."""
    count = tensor._array.size
    unknown = [i for i, size in enumerate(shape) if size == -1]
    if len(unknown) > 1 or any(size < -1 for size in shape):
        raise RuntimeError(f"{name}: at most one size may be -1 and none below it, got {shape}")
    known = prod(size for size in shape if size != -1)
    if unknown and known == 0:
        raise RuntimeError(f"{name}: -1 is ambiguous in shape {shape} for a tensor of {count} elements")
    if (count % known if unknown else count - known) != 0:
        raise RuntimeError(
            f"{name}: shape {shape} is invalid for an input of {count} elements (input shape {tuple(tensor.shape)})"
        )
    return tuple(count // known if size == -1 else size for size in shape) if unknown else shape


def view(input: Tensor, *shape: Any) -> Tensor:
    """The same memory as another shape; one size may be -1. With a dtype instead of a shape: ``input.to(dtype)`` is not
    meant, and raises.

    Raises:
        RuntimeError: where the number of elements differs, or the memory's layout does not allow it (use ``reshape``).
    """
    if len(shape) == 1 and isinstance(shape[0], np.dtype):
        raise TypeError("view: reinterpreting the memory as another dtype is not supported; use .to(dtype) to convert")
    return Reshape.apply(input, _resolve("view", input, shape_argument(shape)))


def reshape(input: Tensor, *shape: Any, size: Any = None) -> Tensor:
    """The elements, in order, as another shape; one size may be -1. A view where the memory's layout allows it.

    Raises:
        RuntimeError: where the number of elements differs.
    """
    wanted = _resolve("reshape", input, shape_argument(shape if size is None else (size,)))
    return Reshape.apply(input if _can_view(input, wanted) else clone(input), wanted)


def _can_view(input: Tensor, shape: tuple[int, ...]) -> bool:
    if input.is_contiguous():
        return True
    try:
        devices.view(input._array, lambda a: a.reshape(shape, copy=False))
    except ValueError:
        return False
    return True


class Reshape(Function):
    _is_view = True

    @staticmethod
    def forward(ctx: Any, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        ctx.shape = x._array.shape
        try:
            if type(x._array) is np.ndarray:
                return wrap(x._array.reshape(shape, copy=False))
            return wrap(devices.view(x._array, lambda a: a.reshape(shape, copy=False)))
        except ValueError:
            raise RuntimeError(
                f"view: a tensor of shape {tuple(x.shape)} and strides {x.stride()} cannot be viewed as {shape} without a "
                "copy; use reshape"
            ) from None

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return reshape(grad, ctx.shape), None


def view_as(input: Tensor, other: Tensor) -> Tensor:
    """``input.view(other.shape)``."""
    return view(input, tuple(other.shape))


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions start_dim to end_dim (included) made into one.

    Raises:
        IndexError, RuntimeError: for dimensions out of range or in the wrong order.
    """
    first, last = normalize_dim("flatten", start_dim, input.ndim), normalize_dim("flatten", end_dim, input.ndim)
    if first > last:
        raise RuntimeError(f"flatten: start_dim={start_dim} comes after end_dim={end_dim} (input {tuple(input.shape)})")
    shape = input._array.shape
    if not shape:
        return reshape(input, (1,))
    return reshape(input, shape[:first] + (prod(shape[first : last + 1]),) + shape[last + 1 :])


def ravel(input: Tensor) -> Tensor:
    """All elements in one dimension."""
    return reshape(input, (-1,)) if input._array.size else reshape(input, (0,))


def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Dimension ``dim`` made into several, of the given sizes (one may be -1)."""
    _check_dims("unflatten", input)
    dim = normalize_dim("unflatten", dim, input.ndim)
    shape = input._array.shape
    known = prod(s for s in sizes if s != -1)
    if not sizes or list(sizes).count(-1) > 1:
        raise RuntimeError(f"unflatten: sizes must not be empty, and at most one -1, got {tuple(sizes)}")
    if (known == 0) or shape[dim] % known or (-1 not in sizes and known != shape[dim]):
        raise RuntimeError(f"unflatten: sizes {tuple(sizes)} do not multiply to dimension {dim} of size {shape[dim]}")
    inner = tuple(shape[dim] // known if s == -1 else s for s in sizes)
    return reshape(input, shape[:dim] + inner + shape[dim + 1 :])


def squeeze(input: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """Without its dimensions of size 1 (or those of ``dim`` that have size 1)."""
    shape = input._array.shape
    dims = range(len(shape)) if dim is None else [dim] if not isinstance(dim, Sequence) else dim
    drop = [normalize_dim("squeeze", d, input.ndim) for d in dims]
    if len(set(drop)) != len(drop):
        raise RuntimeError(f"squeeze: a dimension appears twice in dim={dim}")
    return view(input, tuple(size for i, size in enumerate(shape) if not (i in drop and size == 1)))


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With a dimension of size 1 put in at ``dim``."""
    dim = normalize_dim("unsqueeze", dim, input.ndim + 1)
    shape = input._array.shape
    return view(input, (*shape[:dim], 1, *shape[dim:]))


def permute(input: Tensor, *dims: Any) -> Tensor:
    """Its dimensions in another order: ``permute(0, 2, 3, 1)``.

    Raises:
        RuntimeError: unless every dimension is named exactly once.
    """
    order = shape_argument(dims)
    if len(order) == input.ndim:
        order = tuple(normalize_dim("permute", d, input.ndim) for d in order)
    if sorted(order) != list(range(input.ndim)):
        raise RuntimeError(
            f"permute: dims {order} do not name each of the {input.ndim} dimensions once (input {tuple(input.shape)})"
        )
    return Permute.apply(input, order)


class Permute(Function):
    _is_view = True

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: tuple[int, ...]) -> Tensor:
        ctx.back = tuple(int(i) for i in np.argsort(order))
        return wrap(devices.view(x._array, lambda a: a.transpose(order)))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return Permute.apply(grad, ctx.back), None


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """With dimensions dim0 and dim1 exchanged."""
    a, b = normalize_dim("transpose", dim0, input.ndim), normalize_dim("transpose", dim1, input.ndim)
    order = list(range(input.ndim))
    if order:
        order[a], order[b] = b, a
    return Permute.apply(input, tuple(order))


swapaxes = swapdims = transpose


def t(input: Tensor) -> Tensor:
    """The transpose of a matrix (vectors stay as they are).

    Raises:
        RuntimeError: for more than two dimensions.
    """
    if input.ndim > 2:
        raise RuntimeError(f"t: expected at most 2 dimensions, got {input.ndim} (input {tuple(input.shape)})")
    return transpose(input, 0, 1) if input.ndim == 2 else input


def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """With the dimensions ``source`` moved to the positions ``destination``."""
    sources = [source] if not isinstance(source, Sequence) else source
    targets = [destination] if not isinstance(destination, Sequence) else destination
    if len(sources) != len(targets):
        raise RuntimeError(f"movedim: {len(sources)} source and {len(targets)} destination dimensions")
    moved = [normalize_dim("movedim", d, input.ndim) for d in sources]
    places = {normalize_dim("movedim", d, input.ndim): m for d, m in zip(targets, moved, strict=True)}
    rest = iter(d for d in range(input.ndim) if d not in moved)
    return permute(input, tuple(places[i] if i in places else next(rest) for i in range(input.ndim)))


moveaxis = movedim


def expand(input: Tensor, *sizes: Any) -> Tensor:
    """Dimensions of size 1 repeated to a larger size without copying; -1 keeps a size. New dimensions come at the front.

    Raises:
        RuntimeError: where a size other than 1 would have to change.
    """
    wanted = shape_argument(sizes)
    shape = input._array.shape
    extra = len(wanted) - len(shape)
    full = tuple((shape[i - extra] if i >= extra else size) if size == -1 else size for i, size in enumerate(wanted))
    if (
        extra < 0
        or any(s < 0 for s in full)
        or any(s not in (1, f) for s, f in zip(shape, full[max(extra, 0) :], strict=False))
    ):
        raise RuntimeError(
            f"expand: a tensor of shape {tuple(shape)} cannot be expanded to {wanted}; only sizes of 1 can grow"
        )
    check_numel("expand", full, input.dtype.itemsize)
    return input if full == shape else Expand.apply(input, full)


class Expand(Function):
    _is_view = True

    @staticmethod
    def forward(ctx: Any, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        ctx.shape = x._array.shape
        return wrap(devices.view(x._array, lambda a: np.broadcast_to(a, shape)))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return unbroadcast(grad, ctx.shape), None


def broadcast_to(input: Tensor, shape: Any) -> Tensor:
    """``input.expand(shape)``."""
    return expand(input, shape)


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """``input.expand(other.shape)``."""
    return expand(input, tuple(other.shape))


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors expanded to the shape to which all of them broadcast."""
    shape = broadcast_shapes("broadcast_tensors", *[tuple(x.shape) for x in tensors])
    return tuple(expand(x, shape) for x in tensors)


def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """``length`` elements from ``start`` along ``dim``, as a view.

    Raises:
        IndexError: for a start beyond the dimension, or a dimension out of range.
        RuntimeError: for a length that goes beyond it, or a tensor without dimensions.
    """
    _check_dims("narrow", input)
    dim = normalize_dim("narrow", dim, input.ndim)
    size = input._array.shape[dim]
    if not -size <= start <= size and length >= 0:
        raise IndexError(f"narrow: start={start} is out of range for dimension {dim} of size {size}")
    start = start + size if start < 0 else start
    if length < 0 or start < 0 or start + length > size:
        raise RuntimeError(f"narrow: start={start}, length={length} go beyond dimension {dim} of size {size}")
    return input[(slice(None),) * dim + (slice(start, start + length),)]


def _check_dims(name: str, input: Tensor) -> None:
    if not input._array.ndim:
        raise RuntimeError(f"{name}: expected at least one dimension, got a 0-d tensor")


def select(input: Tensor, dim: int, index: int) -> Tensor:
    """The part at ``index`` along ``dim``, without that dimension, as a view."""
    return input[(slice(None),) * normalize_dim("select", dim, input.ndim) + (index,)]


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonals of the matrices along dim1 and dim2, as a view whose last dimension runs along them.

    Args:
        input: at least two dimensions.
        offset: 0 for the main diagonal, above it for positive, below it for negative numbers.
        dim1, dim2: the matrices' rows and columns.

    Raises:
        RuntimeError: where dim1 and dim2 are the same.
        IndexError: for dimensions out of range.
    """
    first, second = normalize_dim("diagonal", dim1, input.ndim), normalize_dim("diagonal", dim2, input.ndim)
    if first == second:
        raise RuntimeError(f"diagonal: dim1={dim1} and dim2={dim2} are the same dimension of {tuple(input.shape)}")
    return Diagonal.apply(input, int(offset), first, second)


def _diagonal_of(array: np.ndarray, offset: int, dim1: int, dim2: int) -> np.ndarray:
    """NumPy's own view is read-only: this one can be written."""
    rows, columns = array.shape[dim1], array.shape[dim2]
    length = max(0, min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns))
    start = [slice(None)] * array.ndim
    if length:
        start[dim1 if offset < 0 else dim2] = slice(abs(offset), None)
    rest = [d for d in range(array.ndim) if d not in (dim1, dim2)]
    shape = tuple(array.shape[d] for d in rest) + (length,)
    strides = tuple(array.strides[d] for d in rest) + (array.strides[dim1] + array.strides[dim2],)
    return np.lib.stride_tricks.as_strided(array[tuple(start)], shape, strides)


class Diagonal(Function):
    _is_view = True

    @staticmethod
    def forward(ctx: Any, x: Tensor, offset: int, dim1: int, dim2: int) -> Tensor:
        ctx.shape, ctx.numbers = x._array.shape, (offset, dim1, dim2)
        return wrap(devices.view(x._array, lambda a: _diagonal_of(a, offset, dim1, dim2)))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return Undiagonal.apply(grad, ctx.shape, *ctx.numbers), None, None, None


class Undiagonal(Function):
    """Zeros of ``shape`` with ``values`` on the diagonal: what a diagonal's gradient is."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, shape: tuple[int, ...], offset: int, dim1: int, dim2: int) -> Tensor:
        ctx.numbers = offset, dim1, dim2
        out = devices.full(shape, 0, values.dtype, values.device)
        devices.assign(devices.view(out, lambda a: _diagonal_of(a, offset, dim1, dim2)), values._array)
        return wrap(out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return Diagonal.apply(grad, *ctx.numbers), None, None, None, None


def split(input: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Views of consecutive parts along ``dim``: of one size (the last may be smaller), or of the sizes listed.

    Raises:
        RuntimeError: where the sizes do not add up, or are not positive.
    """
    _check_dims("split", input)
    dim = normalize_dim("split", dim, input.ndim)
    size = input._array.shape[dim]
    if isinstance(split_size_or_sections, int):
        step = split_size_or_sections
        if step <= 0 and not (step == 0 and size == 0):
            raise RuntimeError(f"split: split_size must be positive, got {step}")
        sections = [min(step, size - start) for start in range(0, size, step or 1)] or [0]
    else:
        sections = [int(s) for s in split_size_or_sections]
        if sum(sections) != size or any(s < 0 for s in sections):
            raise RuntimeError(f"split: sizes {sections} add up to {sum(sections)}, dimension {dim} has size {size}")
    starts = np.cumsum([0, *sections[:-1]]).tolist()
    return tuple(narrow(input, dim, start, length) for start, length in zip(starts, sections, strict=True))


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of (at most) ``chunks`` consecutive parts along ``dim``, equal but for the last."""
    if chunks <= 0:
        raise RuntimeError(f"chunk: chunks must be positive, got {chunks}")
    _check_dims("chunk", input)
    size = input._array.shape[normalize_dim("chunk", dim, input.ndim)]
    return split(input, -(-size // chunks) if size else [0] * chunks, dim)


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The parts along ``dim``, each without that dimension, as views."""
    return tuple(select(input, dim, i) for i in range(input._array.shape[normalize_dim("unbind", dim, input.ndim)]))


# ----------------------------------------------------------------------------------------------------------- copies


def contiguous(input: Tensor, memory_format: Any = None) -> Tensor:
    """Itself where its elements lie in C order in memory, else a copy that does."""
    return input if input.is_contiguous() else clone(input)


def cat(tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """The tensors joined along an existing dimension.

    Args:
        tensors: tensors that agree in all sizes but that of ``dim``; dtypes are promoted. As in PyTorch, tensors of
            shape (0,) are passed over.

    Raises:
        ValueError: for an empty sequence.
        RuntimeError: for sizes that disagree.
    """
    tensors = list(tensors)
    if not tensors:
        raise ValueError("cat: expected at least one tensor, got none")
    for position, x in enumerate(tensors):
        if not isinstance(x, Tensor):
            raise TypeError(f"cat: element {position} is a {type(x).__name__}, expected tensors")
        if x.ndim == 0:
            raise RuntimeError(f"cat: element {position} has no dimensions; use stack to join 0-d tensors")
    kept = [x for x in tensors if x._array.shape != (0,)] or tensors[:1]
    dim = normalize_dim("cat", dim if axis is None else axis, kept[0].ndim)
    first = kept[0]._array.shape
    for position, x in enumerate(kept):
        shape = x._array.shape
        if len(shape) != len(first) or shape[:dim] + shape[dim + 1 :] != first[:dim] + first[dim + 1 :]:
            listing = ", ".join(str(tuple(k.shape)) for k in kept)
            raise RuntimeError(
                f"cat: element {position} of shape {shape} does not fit {first} along dim={dim} (all: {listing})"
            )
        if x.device != kept[0].device:
            raise RuntimeError(
                f"cat: tensors on {kept[0].device} and on {x.device}; move them to one device with .to()"
            )
    dtype = tensors[0].dtype
    for x in tensors[1:]:
        dtype = dtypes.promote_types(dtype, x.dtype)
    return Cat.apply(dim, *[x if x.dtype == dtype else x.to(dtype=dtype) for x in kept])


class Cat(Function):
    @staticmethod
    def forward(ctx: Any, dim: int, *tensors: Tensor) -> Tensor:
        ctx.dim = dim
        ctx.sizes = [x._array.shape[dim] for x in tensors]
        first = tensors[0]
        shape = list(first._array.shape)
        shape[dim] = sum(ctx.sizes)
        out = devices.empty(tuple(shape), first.dtype, first.device)
        if type(out) is np.ndarray:
            _join([x._array for x in tensors], out, prod(shape[dim + 1 :]), sum(ctx.sizes), dim)
            return wrap(out)
        start = 0
        for x, size in zip(tensors, ctx.sizes, strict=True):
            index = (slice(None),) * dim + (slice(start, start + size),)
            devices.assign(devices.view(out, itemgetter(index)), x._array)
            start += size
        return wrap(out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        if is_grad_enabled():
            return (None, *split(grad, ctx.sizes, ctx.dim))
        # Views, as split's, but no places in a graph that nobody asked for: networks join hundreds of tensors.
        array, start = grad._array, 0
        parts: list[Any] = [None]
        for size, needed in zip(ctx.sizes, ctx.needs_input_grad[1:], strict=True):
            index = (slice(None),) * ctx.dim + (slice(start, start + size),)
            start += size
            if needed:
                part = wrap(devices.view(array, itemgetter(index)))
                grad._share_changes(part)
                parts.append(part)
            else:
                parts.append(None)
        return tuple(parts)


_JOINED = 1 << 17  # elements from which on copying in parallel is faster than NumPy's joining


def _join(arrays: list[np.ndarray], out: np.ndarray, inner: int, n: int, dim: int) -> None:
    """NumPy arrays, of n rows of ``inner`` elements together, joined along a dimension of ``out``."""
    if out.size < _JOINED or not all(array.flags.c_contiguous for array in arrays):
        np.concatenate(arrays, axis=dim, out=out)
        return
    start, step = 0, n * inner
    for array in arrays:
        width = step * array.size // out.size
        gather.place(array, out, max(width, 1), step, start)
        start += width


concat = concatenate = cat


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape joined along a new dimension.

    Raises:
        RuntimeError: for an empty sequence or shapes that disagree.
    """
    tensors = list(tensors)
    if not tensors:
        raise RuntimeError("stack: expected at least one tensor, got none")
    for position, x in enumerate(tensors):
        if x.shape != tensors[0].shape:
            raise RuntimeError(
                f"stack: element {position} has shape {tuple(x.shape)}, element 0 {tuple(tensors[0].shape)}; all must agree"
            )
    dim = normalize_dim("stack", dim, tensors[0].ndim + 1)
    if any(x.dtype != tensors[0].dtype or x.device != tensors[0].device or x.is_cuda for x in tensors):
        return cat([unsqueeze(x, dim) for x in tensors], dim)
    return Stack.apply(dim, *tensors)


class Stack(Function):
    """Tensors of one dtype on the CPU joined along a new dimension."""

    @staticmethod
    def forward(ctx: Any, dim: int, *tensors: Tensor) -> Tensor:
        ctx.dim = dim
        shape = tensors[0]._array.shape
        out = devices.empty((*shape[:dim], len(tensors), *shape[dim:]), tensors[0].dtype)
        arrays = [x._array.reshape((*shape[:dim], 1, *shape[dim:])) for x in tensors]
        _join(arrays, out, prod(shape[dim:]), len(tensors), dim)
        return wrap(out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        if is_grad_enabled():
            return (None, *unbind(grad, ctx.dim))
        parts = np.moveaxis(grad._array, ctx.dim, 0)
        # Of a vector parts[i] would be a number; parts[i, ...] is an array.
        return (None, *[wrap(parts[i, ...]) for i in range(len(parts))])


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors joined as rows (along dimension 0)."""
    return cat([x if x.ndim >= 2 else reshape(x, (1, -1)) for x in tensors], 0)


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors joined as columns (along dimension 1; vectors along dimension 0)."""
    return cat([x if x.ndim else reshape(x, (1,)) for x in tensors], 0 if tensors[0].ndim <= 1 else 1)


def dstack(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors joined along dimension 2; ones of fewer dimensions as ``atleast_3d`` makes them."""
    return cat([atleast_3d(x) for x in tensors], 2)


def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors joined along dimension 1, vectors as columns."""
    return cat([x if x.ndim >= 2 else reshape(x, (-1, 1)) for x in tensors], 1)


def atleast_1d(*tensors: Any) -> Any:
    """The tensor (or each of several) with at least one dimension."""
    return _each(tensors, lambda x: x if x.ndim else reshape(x, (1,)))


def atleast_2d(*tensors: Any) -> Any:
    """The tensor (or each of several) with at least two dimensions: a vector becomes a row."""
    return _each(tensors, lambda x: x if x.ndim >= 2 else reshape(x, (1, x._array.size)))


def atleast_3d(*tensors: Any) -> Any:
    """The tensor (or each of several) with at least three dimensions: (N,) becomes (1, N, 1), (M, N) (M, N, 1)."""
    return _each(
        tensors,
        lambda x: x if x.ndim >= 3 else unsqueeze(x, -1) if x.ndim == 2 else reshape(x, (1, x._array.size, 1)),
    )


def _each(tensors: tuple[Any, ...], function: Any) -> Any:
    if len(tensors) == 1 and isinstance(tensors[0], Tensor):
        return function(tensors[0])
    return tuple(function(x) for x in (tensors[0] if len(tensors) == 1 else tensors))


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """A grid's coordinates: for n vectors n tensors of n dimensions, views in which vector i runs along dimension i.

    Args:
        tensors: vectors (or numbers as 0-d tensors), or one sequence of them.
        indexing: "ij", or "xy" to exchange the first two dimensions.

    Raises:
        RuntimeError: for another indexing, more than one dimension, or different dtypes.
    """
    given = list(tensors[0]) if len(tensors) == 1 and not isinstance(tensors[0], Tensor) else list(tensors)
    if indexing not in ("ij", "xy"):
        raise RuntimeError(f"meshgrid: indexing must be 'ij' or 'xy', got {indexing!r}")
    if not given:
        raise RuntimeError("meshgrid: expected at least one tensor, got none")
    for position, x in enumerate(given):
        if x.ndim > 1:
            raise RuntimeError(
                f"meshgrid: element {position} has shape {tuple(x.shape)}, expected at most one dimension"
            )
        if x.dtype != given[0].dtype:
            raise RuntimeError(f"meshgrid: element {position} is {x.dtype}, element 0 {given[0].dtype}; all must agree")
    check_one_device("meshgrid", *given)
    swapped = indexing == "xy" and len(given) >= 2
    if swapped:
        given[0], given[1] = given[1], given[0]
    shape = tuple(x._array.size for x in given)
    ones = len(given) - 1
    grids = [expand(reshape(x, (1,) * i + (-1,) + (1,) * (ones - i)), shape) for i, x in enumerate(given)]
    if swapped:
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)


def repeat(input: Tensor, *repeats: Any) -> Tensor:
    """The tensor repeated ``repeats[i]`` times along each dimension (new dimensions come at the front).

    Raises:
        RuntimeError: for fewer numbers than dimensions, or negative ones.
    """
    times = shape_argument(repeats)
    if len(times) < input.ndim or any(n < 0 for n in times):
        raise RuntimeError(
            f"repeat: expected at least {input.ndim} non-negative repeats for shape {tuple(input.shape)}, got {times}"
        )
    shape = (1,) * (len(times) - input.ndim) + input._array.shape
    check_numel("repeat", tuple(n * s for n, s in zip(times, shape, strict=True)), input.dtype.itemsize)
    interleaved = tuple(s for size in shape for s in (1, size))
    widened = tuple(s for n, size in zip(times, shape, strict=True) for s in (n, size))
    spread = clone(expand(reshape(input, interleaved), widened))
    return reshape(spread, tuple(n * s for n, s in zip(times, shape, strict=True)))


def tile(input: Tensor, *dims: Any) -> Tensor:
    """``repeat``, where missing numbers count as 1."""
    times = shape_argument(dims)
    return repeat(input, (1,) * (input.ndim - len(times)) + times)


def repeat_interleave(
    input: Tensor, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Each element (or each part along ``dim``) repeated in place: [a, b] becomes [a, a, b, b].

    Args:
        input: without ``dim`` it is flattened. Alone, without repeats: how often to repeat 0, 1, 2, ...
        repeats: an int, or int64 numbers of repeats, one for all or one for each part.
        dim: the dimension.
        output_size: the length of the result, if it is known.

    Raises:
        RuntimeError: for negative repeats, or a number of them that does not fit.
    """
    from numbanet.functional.indexing import index_select

    if repeats is None:
        counts = input._array
        if input.ndim != 1 or counts.dtype.kind != "i" or (counts.size and finding.extent(counts)[0] < 0):
            raise RuntimeError(
                f"repeat_interleave: repeats must be non-negative ints of one dimension, got {input.dtype} of shape {tuple(input.shape)}"
            )
        return wrap(_repeated(counts))
    if dim is None:
        input, dim = ravel(input), 0
    dim = normalize_dim("repeat_interleave", dim, input.ndim)
    if input.ndim == 0:
        input = reshape(input, (1,))
    counts = repeats._array if isinstance(repeats, Tensor) else np.asarray(repeats)
    counts = devices.to_host(counts) if counts.size == 1 else counts
    size = input._array.shape[dim]
    fits = counts.dtype.kind == "i" and counts.ndim <= 1 and counts.size in (1, size)
    if not fits or (counts.size and finding.extent(counts)[0] < 0):
        raise RuntimeError(
            f"repeat_interleave: repeats must be a non-negative int or {size} of them for dimension {dim} of size {size}, "
            f"got {counts.dtype} of shape {counts.shape}"
        )
    if counts.size == 1:
        n = int(counts.reshape(-1)[0])
        shape = input._array.shape
        widened = (*shape[: dim + 1], n, *shape[dim + 1 :])
        return reshape(clone(expand(unsqueeze(input, dim + 1), widened)), (*shape[:dim], size * n, *shape[dim + 1 :]))
    index = wrap(devices.to_device(_repeated(counts), input.device))
    if output_size is not None and output_size != index._array.size:
        raise RuntimeError(f"repeat_interleave: output_size={output_size}, but repeats add up to {index._array.size}")
    return index_select(input, dim, index)


def _repeated(counts: Any) -> Any:
    """0, 1, 2, ... each as often as ``counts`` says, on its device."""
    if not devices.is_cuda_array(counts):
        return np.repeat(np.arange(counts.size), counts)
    return finding.repeated(wrap(counts).to(dtype=dtypes.int64)._array)


def flip(input: Tensor, *dims: Any) -> Tensor:
    """A copy with the order along the given dimensions reversed.

    Raises:
        RuntimeError: where a dimension is named twice.
    """
    order = tuple(normalize_dim("flip", d, input.ndim) for d in shape_argument(dims))
    if len(set(order)) != len(order):
        raise RuntimeError(f"flip: a dimension appears twice in dims={shape_argument(dims)}")
    return Flip.apply(input, order if input.ndim else ())


class Flip(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dims: tuple[int, ...]) -> Tensor:
        ctx.dims = dims
        shape = x._array.shape
        levels: list[tuple[int, int]] = []  # (count, step) of the fewest nested loops, innermost first
        start, step, before = 0, 1, False
        for d in range(len(shape) - 1, -1, -1):
            turned = d in dims
            if turned:
                start += (shape[d] - 1) * step
            if levels and turned == before:
                levels[-1] = levels[-1][0] * shape[d], levels[-1][1]
            else:
                levels.append((shape[d], -step if turned else step))
            step, before = step * shape[d], turned
        if len(levels) > 5 or not x._array.size:
            return wrap(devices.contiguous(devices.copy(devices.view(x._array, lambda a: np.flip(a, dims)))))
        out = devices.empty(shape, x.dtype, x.device)
        counts, steps = zip(*([(1, 0)] * (5 - len(levels)) + levels[::-1]), strict=True)
        gather.rearrange(devices.contiguous(x._array), out, *counts[1:], *steps, start)
        return wrap(out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return flip(grad, ctx.dims), None


def fliplr(input: Tensor) -> Tensor:
    """``flip(input, 1)``: columns in reverse order."""
    if input.ndim < 2:
        raise RuntimeError(f"fliplr: expected at least 2 dimensions, got shape {tuple(input.shape)}")
    return flip(input, 1)


def flipud(input: Tensor) -> Tensor:
    """``flip(input, 0)``: rows in reverse order."""
    if input.ndim < 1:
        raise RuntimeError(f"flipud: expected at least 1 dimension, got shape {tuple(input.shape)}")
    return flip(input, 0)


def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """Elements moved by ``shifts`` places along ``dims``, those beyond the end to the start.

    Args:
        input: any tensor.
        shifts: an int, or one for each of several dimensions.
        dims: the dimensions; None rolls the flattened tensor, and gives it its shape back.

    Raises:
        RuntimeError: unless there is one shift for each dimension.
    """
    moves = tuple(shifts) if isinstance(shifts, Sequence) else (shifts,)
    where_ = () if dims is None else tuple(dims) if isinstance(dims, Sequence) else (dims,)
    if not where_ and len(moves) == 1:
        return reshape(roll(ravel(input), moves[0], 0), tuple(input.shape))
    if len(moves) != len(where_) or not moves:
        raise RuntimeError(f"roll: expected one shift for each dimension, got shifts={moves} and dims={where_}")
    places = [normalize_dim("roll", d, input.ndim) for d in where_]
    if not input._array.size or not input.ndim:
        return clone(input)
    sizes = input._array.shape
    by: dict[int, int] = {}
    for move, d in zip(moves, places, strict=True):
        by[d] = (by.get(d, 0) + int(move)) % sizes[d]
    return Roll.apply(input, tuple(sorted((d, move) for d, move in by.items() if move)))


class Roll(Function):
    """Two dimensions a pass: the rows of planes move down, what is in them to the right."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, moves: tuple[tuple[int, int], ...]) -> Tensor:
        shape = x._array.shape
        ctx.back = tuple((d, shape[d] - move) for d, move in moves)
        array = devices.contiguous(x._array) if moves else devices.copy(x._array)
        for k in range(0, len(moves), 2):
            first, down = moves[k]
            last, right = moves[k + 1] if k + 1 < len(moves) else (first, 0)
            between = prod(shape[first + 1 : last]) if last > first else 1
            width = prod(shape[last + (last == first) :])
            step = prod(shape[last + 1 :])
            out = devices.empty(shape, x.dtype, x.device)
            gather.roll(array, out, shape[first] * between, width, down * between, right * step)
            array = out
        return wrap(array)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return Roll.apply(grad, ctx.back), None


def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """A copy turned by ``k`` times 90 degrees in the plane of two dimensions, from the first towards the second.

    Raises:
        RuntimeError: unless dims are two different dimensions.
    """
    if len(dims) != 2 or input.ndim < 2:
        raise RuntimeError(f"rot90: expected two of the dimensions of {tuple(input.shape)}, got dims={tuple(dims)}")
    first, second = (normalize_dim("rot90", d, input.ndim) for d in dims)
    if first == second:
        raise RuntimeError(f"rot90: dims={tuple(dims)} name one dimension twice")
    turns = k % 4
    if turns == 0:
        return clone(input)
    if turns == 2:
        return flip(input, first, second)
    return clone(transpose(flip(input, second if turns == 1 else first), first, second))


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The lower triangles of the matrices in the last two dimensions, up to a diagonal; zeros above."""
    return _triangle("tril", input, diagonal)


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The upper triangles of the matrices in the last two dimensions, from a diagonal on; zeros below."""
    return _triangle("triu", input, diagonal)


def _triangle(name: str, input: Tensor, diagonal: int) -> Tensor:
    if input.ndim < 2:
        raise RuntimeError(f"{name}: expected at least 2 dimensions, got shape {tuple(input.shape)}")
    rows, columns = input._array.shape[-2:] if not input.is_cuda else tuple(input._array.shape)[-2:]
    lower = np.tri(rows, columns, diagonal if name == "tril" else diagonal - 1, bool)
    keep = wrap(devices.to_device(lower if name == "tril" else ~lower, input.device))
    return where(keep, input, 0 if input.dtype != dtypes.bool else False)


def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """The diagonal of a matrix, as a copy; of a vector the matrix with it on the diagonal.

    Raises:
        RuntimeError: for other numbers of dimensions.
    """
    if input.ndim == 1:
        return diag_embed(input, diagonal)
    if input.ndim != 2:
        raise RuntimeError(f"diag: expected 1 or 2 dimensions, got shape {tuple(input.shape)}")
    return clone(Diagonal.apply(input, int(diagonal), 0, 1))


def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Matrices of zeros, along dim1 and dim2 of the result, with the last dimension of ``input`` on their diagonals.

    Raises:
        RuntimeError: where dim1 and dim2 are the same.
        IndexError: for dimensions out of range.
    """
    ndim = input.ndim + 1
    first, second = normalize_dim("diag_embed", dim1, ndim), normalize_dim("diag_embed", dim2, ndim)
    if first == second:
        raise RuntimeError(f"diag_embed: dim1={dim1} and dim2={dim2} are the same dimension")
    *leading, length = input._array.shape
    shape = list(leading)
    for d in sorted((first, second)):
        shape.insert(d, length + abs(offset))
    return Undiagonal.apply(input, tuple(shape), offset, first, second)


# -------------------------------------------------------------------------------------- channels and pixels


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """Channels spread over a finer grid: (..., C r^2, H, W) becomes (..., C, H r, W r).

    Reference: W. Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
    Convolutional Neural Network", CVPR 2016.

    Args:
        input: at least three dimensions.
        upscale_factor: r.

    Raises:
        RuntimeError: for fewer dimensions, r below 1, or channels that are no multiple of r^2.
    """
    r = _factor("pixel_shuffle", "upscale_factor", input, upscale_factor)
    *leading, channels, h, w = input._array.shape
    if channels % (r * r):
        raise RuntimeError(
            f"pixel_shuffle: {channels} channels are no multiple of upscale_factor^2 = {r * r} (input {tuple(input.shape)})"
        )
    return PixelShuffle.apply(input, r, (*leading, channels // (r * r), h * r, w * r))


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """What ``pixel_shuffle`` did undone: (..., C, H r, W r) becomes (..., C r^2, H, W).

    Raises:
        RuntimeError: for fewer than three dimensions, r below 1, or a height or width that is no multiple of r.
    """
    r = _factor("pixel_unshuffle", "downscale_factor", input, downscale_factor)
    *leading, channels, h, w = input._array.shape
    if h % r or w % r:
        raise RuntimeError(
            f"pixel_unshuffle: height {h} and width {w} must be multiples of downscale_factor={r} (input {tuple(input.shape)})"
        )
    return PixelUnshuffle.apply(input, r, (*leading, channels * r * r, h // r, w // r))


def _factor(name: str, argument: str, input: Tensor, factor: int) -> int:
    if input.ndim < 3:
        raise RuntimeError(f"{name}: expected input of shape (..., C, H, W), got {tuple(input.shape)}")
    try:
        r = factor.__index__()
    except AttributeError:
        raise TypeError(f"{name}: {argument} must be an int, got {factor!r}") from None
    if r < 1:
        raise RuntimeError(f"{name}: {argument} must be positive, got {r}")
    return r


def _rearranged(x: Tensor, shape: tuple[int, ...], sizes: tuple[int, ...], steps: tuple[int, ...]) -> Tensor:
    out = devices.empty(shape, x.dtype, x.device)
    gather.rearrange(devices.contiguous(x._array), out, *sizes, *steps)
    return wrap(out)


class PixelShuffle(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, r: int, shape: tuple[int, ...]) -> Tensor:
        ctx.r = r
        h, w = shape[-2] // r, shape[-1] // r  # out is (C, H, r, W, r), x (C, r, r, H, W)
        return _rearranged(x, shape, (h, r, w, r), (r * r * h * w, w, r * h * w, 1, h * w))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return pixel_unshuffle(grad, ctx.r), None, None


class PixelUnshuffle(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, r: int, shape: tuple[int, ...]) -> Tensor:
        ctx.r = r
        h, w = shape[-2:]  # out is (C, r, r, H, W), x (C, H, r, W, r)
        return _rearranged(x, shape, (r, r, h, w), (r * r * h * w, w * r, 1, r * r * w, r))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return pixel_shuffle(grad, ctx.r), None, None


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Channels dealt out anew: the (N, groups, C / groups, ...) of the input read as (N, C / groups, groups, ...).

    Reference: X. Zhang et al., "ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices",
    CVPR 2018.

    Args:
        input: shape (N, C, ...), at least three dimensions.
        groups: a divisor of C.

    Raises:
        RuntimeError: for fewer dimensions, or C that is no multiple of groups.
    """
    if input.ndim < 3:
        raise RuntimeError(f"channel_shuffle: expected input of shape (N, C, ...), got {tuple(input.shape)}")
    if not isinstance(groups, int | np.integer):
        raise TypeError(f"channel_shuffle: groups must be an int, got {groups!r}")
    channels = input._array.shape[1]
    if groups < 1 or channels % groups:
        raise RuntimeError(
            f"channel_shuffle: groups={groups} must be positive and divide the {channels} channels (input {tuple(input.shape)})"
        )
    return ChannelShuffle.apply(input, int(groups))


class ChannelShuffle(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, groups: int) -> Tensor:
        shape = tuple(x._array.shape)
        each, size = shape[1] // groups, prod(shape[2:])
        ctx.each = each
        return _rearranged(x, shape, (1, each, groups, size), (shape[1] * size, 0, size, each * size, 1))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return channel_shuffle(grad, max(ctx.each, 1)), None


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """``input`` with ``value``, a number or a 0-d tensor, where the bool ``mask`` holds; both broadcast.

    Integer tensors take the whole part of a float.

    Raises:
        RuntimeError: for a mask that is not bool, a value with dimensions, or a number that input's dtype does not reach.
    """
    if mask.dtype != dtypes.bool:
        raise RuntimeError(f"masked_fill: expected a bool mask, got {mask.dtype}")
    if isinstance(value, Tensor):
        if value.ndim:
            raise RuntimeError(f"masked_fill: expected a value without dimensions, got shape {tuple(value.shape)}")
        value = to(value, input.device, input.dtype)
    else:
        value = dtypes.fitting_number("masked_fill", value, input.dtype)
        value = wrap(devices.to_device(np.asarray(value).astype(input.dtype), input.device))
    return where(mask, value, input)


def numel(input: Tensor) -> int:
    """The number of elements."""
    return input._array.size


# ---------------------------------------------------------------------------------------------- dtypes and devices


def to(input: Tensor, device: Any, dtype: Any, copy: bool = False, non_blocking: bool = False) -> Tensor:
    """``input`` on another device and/or of another dtype; itself where neither changes (unless ``copy``).

    With ``non_blocking`` page-locked memory is copied to CUDA in the background; what uses the result waits for it.
    """
    if (device is None or device == input.device) and (dtype is None or dtype == input.dtype):
        return clone(input) if copy else input
    return To.apply(input, device or input.device, dtype or input.dtype, non_blocking)


class To(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, device: Any, dtype: Any, non_blocking: bool) -> Tensor:
        ctx.back = x.device, x.dtype
        array = devices.to_device(devices.contiguous(x._array), device, non_blocking)
        if array.dtype != dtype:
            source, array = array, devices.empty(array.shape, dtype, device)
            elementwise.cast(source, array)
        return wrap(array)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return to(grad, *ctx.back), None, None, None


# --------------------------------------------------------------------------------------------------- in-place forms


def copy_(input: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """Make ``src`` (broadcast, converted) the value of input. Returns input."""
    if not isinstance(src, Tensor):
        src = tensor(src)
    inplace.check("copy_", input, src, promotes=False)
    src = to(src, input.device, input.dtype)
    return inplace.assign("copy_", input, expand(src, tuple(input.shape)))


def fill_(input: Tensor, value: Any) -> Tensor:
    """Make ``value``, a number or a 0-d tensor, the value of all elements. Returns input.

    Raises:
        RuntimeError: for a value with dimensions, or a number that input's dtype does not reach.
    """
    if isinstance(value, Tensor):
        if value.ndim:
            raise RuntimeError(f"fill_: expected a value without dimensions, got shape {tuple(value.shape)}")
        return copy_(input, value)
    return copy_(input, wrap(np.full((), dtypes.fitting_number("fill_", value, input.dtype), input.dtype)))


def zero_(input: Tensor) -> Tensor:
    """Fill with zeros. Returns input."""
    return fill_(input, 0)


def masked_fill_(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """``masked_fill`` in place. Returns input."""
    inplace.check("masked_fill_", input, mask, promotes=False)
    return inplace.assign("masked_fill_", input, masked_fill(clone(input), mask, value))


def tril_(input: Tensor, diagonal: int = 0) -> Tensor:
    """``tril`` in place. Returns input."""
    return inplace.assign("tril_", input, tril(clone(input), diagonal))


def triu_(input: Tensor, diagonal: int = 0) -> Tensor:
    """``triu`` in place. Returns input."""
    return inplace.assign("triu_", input, triu(clone(input), diagonal))


def _draw(input: Tensor, values: np.ndarray) -> Tensor:
    return copy_(input, wrap(np.asarray(values, input.dtype if input.dtype.kind != "b" else None)))


def _check_drawn(name: str, input: Tensor) -> None:
    if not input.is_floating_point():
        raise NotImplementedError(f"{name}: expected a floating tensor, got {input.dtype}")


def uniform_(input: Tensor, from_: float = 0.0, to: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with random numbers uniform in [from_, to). Returns input.

    Raises:
        NotImplementedError: for tensors that are not floating.
        RuntimeError: for from_ > to.
    """
    _check_drawn("uniform_", input)
    if not from_ <= to:
        raise RuntimeError(f"uniform_: expected from <= to, got {from_} and {to}")
    source = (generator or default_generator).numpy_generator()
    return _draw(input, source.uniform(from_, to, input._array.shape))


def normal_(input: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with random numbers of a normal distribution. Returns input.

    Raises:
        NotImplementedError: for tensors that are not floating.
        RuntimeError: for a negative std.
    """
    _check_drawn("normal_", input)
    if not std >= 0:
        raise RuntimeError(f"normal_: std must not be negative, got {std}")
    source = (generator or default_generator).numpy_generator()
    return _draw(input, source.normal(mean, std, input._array.shape))


def random_(input: Tensor, low: int = 0, high: int | None = None, generator: Generator | None = None) -> Tensor:
    """Fill with random ints from low (included) to high (excluded; one argument is the high end). Returns input.

    Raises:
        RuntimeError: unless low < high.
    """
    if high is None:
        low, high = (
            (0, low) if low else (0, 2**24 if input.is_floating_point() else 2 ** (8 * input.dtype.itemsize - 1))
        )
    if not low < high:
        raise RuntimeError(f"random_: expected low < high, got {low} and {high}")
    source = (generator or default_generator).numpy_generator()
    return _draw(input, source.integers(low, high, input._array.shape))


def bernoulli_(input: Tensor, p: Any = 0.5, generator: Generator | None = None) -> Tensor:
    """Fill with 1 with probability p (a number, or a tensor that broadcasts), else 0. Returns input.

    Raises:
        RuntimeError: for a number p outside 0 to 1.
    """
    if isinstance(p, Tensor):
        p = devices.to_host(p.detach()._array)
    elif not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_: p must be between 0 and 1, got {p}")
    source = (generator or default_generator).numpy_generator()
    return _draw(input, source.random(input._array.shape) < p)
