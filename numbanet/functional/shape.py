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
from numbanet.autograd import Function
from numbanet.functional import inplace
from numbanet.functional.arithmetic import clone, unbroadcast, where
from numbanet.kernels import elementwise
from numbanet.random import Generator, default_generator
from numbanet.shapes import broadcast_shapes, normalize_dim, shape_argument
from numbanet.tensor import Tensor, tensor, wrap

__all__ = [
    "bernoulli_",
    "broadcast_tensors",
    "broadcast_to",
    "cat",
    "chunk",
    "clone",
    "concat",
    "concatenate",
    "contiguous",
    "copy_",
    "expand",
    "expand_as",
    "fill_",
    "flatten",
    "flip",
    "hstack",
    "masked_fill",
    "masked_fill_",
    "movedim",
    "narrow",
    "normal_",
    "numel",
    "one_hot",
    "permute",
    "random_",
    "ravel",
    "repeat",
    "reshape",
    "select",
    "split",
    "squeeze",
    "stack",
    "swapaxes",
    "t",
    "tile",
    "to",
    "transpose",
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
    dim = normalize_dim("unflatten", dim, input.ndim)
    shape = input._array.shape
    known = prod(s for s in sizes if s != -1)
    if (known == 0) or shape[dim] % known or (-1 not in sizes and known != shape[dim]):
        raise RuntimeError(f"unflatten: sizes {tuple(sizes)} do not multiply to dimension {dim} of size {shape[dim]}")
    inner = tuple(shape[dim] // known if s == -1 else s for s in sizes)
    return reshape(input, shape[:dim] + inner + shape[dim + 1 :])


def squeeze(input: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """Without its dimensions of size 1 (or those of ``dim`` that have size 1)."""
    shape = input._array.shape
    dims = range(len(shape)) if dim is None else [dim] if not isinstance(dim, Sequence) else dim
    drop = {normalize_dim("squeeze", d, input.ndim) for d in dims}
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
    order = tuple(normalize_dim("permute", d, input.ndim) for d in shape_argument(dims))
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


swapaxes = transpose


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
    """``length`` elements from ``start`` along ``dim``, as a view."""
    dim = normalize_dim("narrow", dim, input.ndim)
    size = input._array.shape[dim]
    start = start + size if start < 0 else start
    if length < 0 or start < 0 or start + length > size:
        raise RuntimeError(f"narrow: start={start}, length={length} go beyond dimension {dim} of size {size}")
    return input[(slice(None),) * dim + (slice(start, start + length),)]


def select(input: Tensor, dim: int, index: int) -> Tensor:
    """The part at ``index`` along ``dim``, without that dimension, as a view."""
    return input[(slice(None),) * normalize_dim("select", dim, input.ndim) + (index,)]


def split(input: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Views of consecutive parts along ``dim``: of one size (the last may be smaller), or of the sizes listed.

    Raises:
        RuntimeError: where the sizes do not add up, or are not positive.
    """
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
    size = input._array.shape[normalize_dim("chunk", dim, input.ndim)]
    return split(input, max(1, -(-size // chunks)), dim)


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
        RuntimeError: for an empty sequence or sizes that disagree.
    """
    tensors = list(tensors)
    if not tensors:
        raise RuntimeError("cat: expected at least one tensor, got none")
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
    dtype = kept[0].dtype
    for x in kept[1:]:
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
            np.concatenate([x._array for x in tensors], axis=dim, out=out)
            return wrap(out)
        start = 0
        for x, size in zip(tensors, ctx.sizes, strict=True):
            index = (slice(None),) * dim + (slice(start, start + size),)
            devices.assign(devices.view(out, itemgetter(index)), x._array)
            start += size
        return wrap(out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return (None, *split(grad, ctx.sizes, ctx.dim))


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
    return cat([unsqueeze(x, dim) for x in tensors], normalize_dim("stack", dim, tensors[0].ndim + 1))


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors joined as rows (along dimension 0)."""
    return cat([x if x.ndim >= 2 else reshape(x, (1, -1)) for x in tensors], 0)


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors joined as columns (along dimension 1; vectors along dimension 0)."""
    return cat([x if x.ndim else reshape(x, (1,)) for x in tensors], 0 if tensors[0].ndim <= 1 else 1)


def repeat(input: Tensor, *repeats: Any) -> Tensor:
    """The tensor repeated ``repeats[i]`` times along each dimension (new dimensions come at the front).

    Raises:
        RuntimeError: for fewer numbers than dimensions.
    """
    times = shape_argument(repeats)
    if len(times) < input.ndim or any(n < 0 for n in times):
        raise RuntimeError(
            f"repeat: expected at least {input.ndim} non-negative repeats for shape {tuple(input.shape)}, got {times}"
        )
    shape = (1,) * (len(times) - input.ndim) + input._array.shape
    interleaved = tuple(s for size in shape for s in (1, size))
    widened = tuple(s for n, size in zip(times, shape, strict=True) for s in (n, size))
    return reshape(
        expand(reshape(input, interleaved), widened), tuple(n * s for n, s in zip(times, shape, strict=True))
    )


def tile(input: Tensor, *dims: Any) -> Tensor:
    """``repeat``, where missing numbers count as 1."""
    times = shape_argument(dims)
    return repeat(input, (1,) * (input.ndim - len(times)) + times)


def flip(input: Tensor, *dims: Any) -> Tensor:
    """A copy with the order along the given dimensions reversed."""
    return Flip.apply(input, tuple(normalize_dim("flip", d, input.ndim) for d in shape_argument(dims)))


class Flip(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dims: tuple[int, ...]) -> Tensor:
        ctx.dims = dims
        return wrap(devices.contiguous(devices.view(x._array, lambda a: np.flip(a, dims))))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return flip(grad, ctx.dims), None


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """``input`` with ``value`` where the bool ``mask`` (broadcast to its shape) holds."""
    return where(mask, value, input)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """An int64 tensor with a further dimension that is 1 at each element's class and 0 elsewhere.

    Raises:
        RuntimeError: for classes that are negative or not below ``num_classes``.
    """
    if tensor.dtype != dtypes.int64:
        raise RuntimeError(f"one_hot: expected int64 classes, got {tensor.dtype}")
    classes = devices.to_host(tensor._array)
    low, high = (int(classes.min()), int(classes.max())) if classes.size else (0, -1)
    count = high + 1 if num_classes == -1 else num_classes
    if low < 0 or high >= count:
        raise RuntimeError(f"one_hot: classes run from {low} to {high}, expected 0 to {count - 1}")
    return wrap(devices.to_device((classes[..., None] == np.arange(count)).astype(np.int64), tensor.device))


def numel(input: Tensor) -> int:
    """The number of elements."""
    return input._array.size


# ---------------------------------------------------------------------------------------------- dtypes and devices


def to(input: Tensor, device: Any, dtype: Any, copy: bool = False) -> Tensor:
    """``input`` on another device and/or of another dtype; itself where neither changes (unless ``copy``)."""
    if (device is None or device == input.device) and (dtype is None or dtype == input.dtype):
        return clone(input) if copy else input
    return To.apply(input, device or input.device, dtype or input.dtype)


class To(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, device: Any, dtype: Any) -> Tensor:
        ctx.back = x.device, x.dtype
        array = devices.to_device(devices.contiguous(x._array), device)
        if array.dtype != dtype:
            source, array = array, devices.empty(array.shape, dtype, device)
            elementwise.cast(source, array)
        return wrap(array)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return to(grad, *ctx.back), None, None


# --------------------------------------------------------------------------------------------------- in-place forms


def copy_(input: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """Make ``src`` (broadcast, converted) the value of input. Returns input."""
    if not isinstance(src, Tensor):
        src = tensor(src)
    src = to(src, input.device, input.dtype)
    return inplace.assign("copy_", input, expand(src, tuple(input.shape)))


def fill_(input: Tensor, value: Any) -> Tensor:
    """Make ``value`` the value of all elements. Returns input."""
    return copy_(input, value if isinstance(value, Tensor) else wrap(np.full((), value, input.dtype)))


def zero_(input: Tensor) -> Tensor:
    """Fill with zeros. Returns input."""
    return fill_(input, 0)


def masked_fill_(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """``masked_fill`` in place. Returns input."""
    return inplace.assign("masked_fill_", input, masked_fill(clone(input), mask, value))


def _draw(input: Tensor, values: np.ndarray) -> Tensor:
    return copy_(input, wrap(np.asarray(values, input.dtype if input.dtype.kind != "b" else None)))


def uniform_(input: Tensor, from_: float = 0.0, to: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with random numbers uniform in [from_, to). Returns input."""
    source = (generator or default_generator).numpy_generator()
    return _draw(input, source.uniform(from_, to, input._array.shape))


def normal_(input: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with random numbers of a normal distribution. Returns input."""
    source = (generator or default_generator).numpy_generator()
    return _draw(input, source.normal(mean, std, input._array.shape))


def random_(input: Tensor, low: int = 0, high: int | None = None, generator: Generator | None = None) -> Tensor:
    """Fill with random ints from low (included) to high (excluded; one argument is the high end). Returns input."""
    if high is None:
        low, high = (0, low) if low else (0, 2**24 if input.dtype.kind == "f" else 2 ** (8 * input.dtype.itemsize - 1))
    source = (generator or default_generator).numpy_generator()
    return _draw(input, source.integers(low, high, input._array.shape))


def bernoulli_(input: Tensor, p: float = 0.5, generator: Generator | None = None) -> Tensor:
    """Fill with 1 with probability p, else 0. Returns input."""
    source = (generator or default_generator).numpy_generator()
    return _draw(input, source.random(input._array.shape) < p)
