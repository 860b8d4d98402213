"""Shape arithmetic and argument checks, in plain Python; every message carries the numbers a user needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import prod
from typing import Any


class Size(tuple[int, ...]):
    """A tensor's shape: a tuple that prints like PyTorch's."""

    __slots__ = ()

    def numel(self) -> int:
        """The number of elements."""
        return prod(self)

    def __repr__(self) -> str:
        return f"numbanet.Size({list(self)})"

    def __getitem__(self, index: Any) -> Any:
        item = tuple.__getitem__(self, index)
        return Size(item) if isinstance(index, slice) else item

    def __add__(self, other: Any) -> Any:
        return Size(tuple.__add__(self, tuple(other)))


def shape_argument(shape: tuple[Any, ...]) -> tuple[int, ...]:
    """A shape from what a user wrote: ``f(2, 3)`` or ``f((2, 3))``."""
    if len(shape) == 1 and isinstance(shape[0], Iterable):
        shape = tuple(shape[0])
    try:
        return tuple([size.__index__() for size in shape])
    except AttributeError:
        raise TypeError(f"a shape is made of ints, got {tuple(shape)}") from None


def check_sizes(name: str, shape: Sequence[int]) -> None:
    """Refuse negative sizes."""
    if any(size < 0 for size in shape):
        raise RuntimeError(f"{name}: sizes must not be negative, got {tuple(shape)}")


def normalize_dim(name: str, dim: int, ndim: int) -> int:
    """A dimension counted from 0; negative ones count from the end. A 0-d tensor has the dimensions 0 and -1."""
    try:
        dim = dim.__index__()
    except AttributeError:
        raise TypeError(f"{name}: dim must be an int, got {dim!r}") from None
    span = max(ndim, 1)
    if not -span <= dim < span:
        raise IndexError(
            f"{name}: dimension out of range: dim={dim} for a tensor of {ndim} dimensions (expected {-span} to {span - 1})"
        )
    return dim % span


def normalize_dims(name: str, dim: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """Dimensions as a tuple counted from 0, sorted; None (or an empty sequence) means all of them."""
    if dim is None or (isinstance(dim, Sequence) and len(dim) == 0):
        return tuple(range(ndim))
    if not isinstance(dim, Sequence):
        dim = (dim,)
    dims = sorted(normalize_dim(name, d, ndim) for d in dim)
    if len(set(dims)) != len(dims):
        raise RuntimeError(f"{name}: a dimension appears twice in dim={tuple(dim)}")
    return tuple(d for d in dims if d < ndim)


def broadcast_shapes(name: str, *shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape to which all shapes broadcast: aligned at the right, sizes equal or 1."""
    shapes = tuple([tuple(shape) for shape in shapes])  # the CUDA simulator's own shapes know no negative index
    result: list[int] = []
    for position in range(1, max(map(len, shapes), default=0) + 1):
        sizes = {shape[-position] for shape in shapes if len(shape) >= position}
        sizes.discard(1)
        if len(sizes) > 1:
            listing = " and ".join(str(tuple(shape)) for shape in shapes)
            raise RuntimeError(
                f"{name}: shapes {listing} do not broadcast: at dimension {-position} the sizes are "
                f"{' and '.join(str(s) for s in sorted(sizes))}; they must be equal or 1"
            )
        result.append(sizes.pop() if sizes else 1)
    return tuple(reversed(result))


def pair(name: str, value: Any, argument: str) -> tuple[int, int]:
    """(height, width) from an int or a sequence of one or two ints."""
    if hasattr(value, "__index__"):
        one = value.__index__()
        return one, one
    try:
        items = tuple([v.__index__() for v in value])
    except (TypeError, AttributeError):
        raise TypeError(f"{name}: {argument} must be an int or a pair of ints, got {value!r}") from None
    if len(items) == 1:
        return items[0], items[0]
    if len(items) != 2:
        raise ValueError(f"{name}: {argument} must be an int or a pair of ints, got {value!r}")
    return items[0], items[1]


# ------------------------------------------------------------------------------- checks of the network functions


def check_floating(name: str, **tensors: Any) -> None:
    """Refuse arguments that are not tensors of one floating dtype that the kernels know; None passes."""
    found = None
    for argument, tensor in tensors.items():
        if tensor is None and (found is not None and argument not in ("target", "grid")):
            continue  # what comes first is needed
        try:
            dtype = tensor._array.dtype
        except AttributeError:
            raise TypeError(f"{name}: argument {argument!r} must be a Tensor, not {type(tensor).__name__}") from None
        if found is None:
            found = dtype, argument
        if dtype != found[0]:
            raise RuntimeError(
                f"{name}: {found[1]} is {found[0]} but {argument} is {dtype}; convert one of them with .to()"
            )
        if dtype.kind not in "fV":  # floating, see dtypes.is_floating
            raise RuntimeError(
                f"{name}: expected {argument} of a floating dtype, got {dtype}; convert it with .float()"
            )


def check_floating_mixed(name: str, *, input: Any, **tensors: Any) -> None:
    """``check_floating``, but beside an input of half precision any of the others may be float32."""
    dtype = getattr(getattr(input, "_array", None), "dtype", None)
    if dtype is not None and dtype.itemsize == 2 and dtype.kind in "fV":
        tensors = {
            argument: tensor
            for argument, tensor in tensors.items()
            if getattr(getattr(tensor, "_array", None), "dtype", None) != "float32"
        }
    check_floating(name, input=input, **tensors)


def check_one_device(name: str, *values: Any) -> None:
    """Refuse tensors on different devices, before any is copied to the host; what is no tensor passes."""
    found = None
    for value in values:
        device = getattr(value, "device", None) if hasattr(value, "_array") else None
        if device is not None and found is not None and device != found:
            raise RuntimeError(f"{name}: tensors on {found} and on {device}; move them to one device with .to()")
        found = found or device


def hashable(value: Any) -> Any:
    """Lists as tuples, so that geometries can be cached."""
    return tuple(value) if isinstance(value, list) else value


def _pair(name: str, value: Any, argument: str) -> tuple[int, int]:
    """``pair`` for functions, where PyTorch's error for a wrong length is RuntimeError."""
    try:
        return pair(name, value, argument)
    except ValueError as error:
        raise RuntimeError(str(error)) from None


@lru_cache(maxsize=4096, typed=True)
def conv2d_geometry(
    x: tuple[int, ...],
    weight: tuple[int, ...],
    bias: tuple[int, ...] | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int, int, int, int]]:
    """Check conv2d's arguments, and work out its output.

    Cached: a training step repeats the same few geometries, and the checks cost more than a small kernel.

    Args:
        x: shape (N, C, H, W).
        weight: shape (O, C / groups, KH, KW).
        bias: shape (O,), or None.
        stride, padding, dilation: ints or pairs; padding may be "valid" or "same".
        groups: number of groups.

    Returns:
        The output's shape (N, O, OH, OW), and the kernels' numbers (SH, SW, PT, PL, DH, DW, groups).

    Raises:
        RuntimeError: for sizes that do not fit.
    """
    both = f"(input {x}, weight {weight})"
    if len(x) != 4:
        raise RuntimeError(f"conv2d: expected input of shape (N, C, H, W) or (C, H, W), got {x}")
    if len(weight) != 4:
        raise RuntimeError(f"conv2d: expected weight of shape (O, C / groups, KH, KW), got {weight}")
    n, c, h, w = x
    o, channels, kh, kw = weight
    if groups < 1:
        raise RuntimeError(f"conv2d: groups must be positive, got {groups}")
    if o < 1 or o % groups:
        raise RuntimeError(
            f"conv2d: weight has O={o} output channels, expected a positive multiple of groups={groups} {both}"
        )
    if c != channels * groups:
        raise RuntimeError(
            f"conv2d: input has C={c} channels but weight expects {channels} * groups={groups} = {channels * groups} {both}"
        )
    if bias is not None and bias != (o,):
        raise RuntimeError(f"conv2d: expected bias of shape ({o},) for weight {weight}, got {bias}")
    sh, sw = _pair("conv2d", stride, "stride")
    dh, dw = _pair("conv2d", dilation, "dilation")
    if sh < 1 or sw < 1:
        raise RuntimeError(f"conv2d: stride must be positive, got {(sh, sw)}")
    if dh < 1 or dw < 1:
        raise RuntimeError(f"conv2d: dilation must be positive, got {(dh, dw)}")
    if kh < 1 or kw < 1:
        raise RuntimeError(f"conv2d: kernel sizes must be positive, got weight {weight}")
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise RuntimeError(f"conv2d: padding must be an int, a pair, 'same' or 'valid', got {padding!r}")
        if padding == "same" and (sh, sw) != (1, 1):
            raise RuntimeError(f"conv2d: padding='same' works with stride 1 only, got stride {(sh, sw)}")
        both_h, both_w = (dh * (kh - 1), dw * (kw - 1)) if padding == "same" else (0, 0)
        pt, pl = both_h // 2, both_w // 2  # an odd one out goes to the bottom and the right
    else:
        pt, pl = _pair("conv2d", padding, "padding")
        both_h, both_w = 2 * pt, 2 * pl
    if pt < 0 or pl < 0:
        raise RuntimeError(f"conv2d: padding must not be negative, got {(pt, pl)}")
    oh = (h + both_h - dh * (kh - 1) - 1) // sh + 1
    ow = (w + both_w - dw * (kw - 1) - 1) // sw + 1
    if oh < 1 or ow < 1:
        raise RuntimeError(
            f"conv2d: the kernel {(kh, kw)} with dilation {(dh, dw)} spans {(dh * (kh - 1) + 1, dw * (kw - 1) + 1)}, more than "
            f"the padded input {(h + both_h, w + both_w)} {both}"
        )
    return (n, o, oh, ow), (sh, sw, pt, pl, dh, dw, int(groups))


@lru_cache(maxsize=4096, typed=True)
def pool_geometry(
    name: str,
    dims: int,
    x: tuple[int, ...],
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Check a pooling function's arguments, and work out its output.

    Per axis OH = (H + 2 * padding - dilation * (KH - 1) - 1) / stride + 1, rounded down, or up with ``ceil_mode``, where
    a last window must still start inside the input or its left padding.

    Args:
        name: the function's name, for messages.
        dims: the number of axes with windows, 1 or 2.
        x: shape (N, C, H, W) or (C, H, W), or with ``dims`` 1 (N, C, L) or (C, L).
        kernel_size, stride, padding, dilation: ints or a tuple of ``dims``; stride None means ``kernel_size``.
        ceil_mode: round up.

    Returns:
        The input's shape as (N, C, H, W), the output's as (N, C, OH, OW), the output's own, and the kernels' numbers (KH,
        KW, SH, SW, PT, PL, DH, DW). An axis L is W, with H = 1.

    Raises:
        RuntimeError: for sizes that do not fit.
    """
    image = _pool_image(name, dims, x)
    if min(image[1:]) < 1:
        raise RuntimeError(f"{name}: expected an input without empty dimensions (but for the batch), got {x}")
    kernel = _window(name, dims, kernel_size, "kernel_size")
    steps = kernel if stride is None or stride == () else _window(name, dims, stride, "stride")
    pads = _window(name, dims, padding, "padding")
    spread = _window(name, dims, dilation, "dilation")
    for argument, values in (("kernel_size", kernel), ("stride", steps), ("dilation", spread)):
        if min(values) < 1:
            raise RuntimeError(f"{name}: {argument} must be positive, got {values}")
    sizes = []
    for size, k, s, p, d in zip(x[-dims:], kernel, steps, pads, spread, strict=True):
        if p < 0 or 2 * p > k:
            raise RuntimeError(
                f"{name}: padding must be between 0 and half the window, got padding {pads} with kernel_size {kernel}"
            )
        last = size + 2 * p - d * (k - 1) - 1
        out = -(-last // s) + 1 if ceil_mode else last // s + 1
        if ceil_mode and (out - 1) * s >= size + p:
            out -= 1
        sizes.append(out)
    if min(sizes) < 1:
        raise RuntimeError(
            f"{name}: the output of input {x} would be {tuple(sizes)}: too small for kernel_size {kernel}, stride {steps}, "
            f"padding {pads}, dilation {spread}"
        )
    shape = (*x[:-dims], *sizes)
    if dims == 1:
        kernel, steps, pads, spread = (1, *kernel), (1, *steps), (0, *pads), (1, *spread)
    return image, _as_image(dims, shape), shape, (*kernel, *steps, *pads, *spread)


def _pool_image(name: str, dims: int, x: tuple[int, ...]) -> tuple[int, ...]:
    """A pooling function's input shape as (N, C, H, W)."""
    if len(x) not in (dims + 1, dims + 2):
        expected = "(N, C, H, W) or (C, H, W)" if dims == 2 else "(N, C, L) or (C, L)"
        raise RuntimeError(f"{name}: expected input of shape {expected}, got {x}")
    return _as_image(dims, x)


def _as_image(dims: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """(N, C, H, W) of a shape whose last ``dims`` axes are windowed, with 1 for what is not there."""
    batch = shape[:-dims] if len(shape) == dims + 2 else (1, *shape[:-dims])
    return (*batch, *(1,) * (2 - dims), *shape[-dims:])


def _window(name: str, dims: int, value: Any, argument: str) -> tuple[int, ...]:
    """``dims`` ints from an int or a sequence of one or ``dims`` ints."""
    if dims == 2:
        return _pair(name, value, argument)
    try:
        items = (value.__index__(),) if hasattr(value, "__index__") else tuple([v.__index__() for v in value])
    except (TypeError, AttributeError):
        raise TypeError(f"{name}: {argument} must be an int or a tuple of one, got {value!r}") from None
    if len(items) != 1:
        raise RuntimeError(f"{name}: {argument} must be an int or a tuple of one, got {value!r}")
    return items


@lru_cache(maxsize=4096, typed=True)
def adaptive_pool_geometry(
    name: str, dims: int, x: tuple[int, ...], output_size: Any
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Check an adaptive pooling function's arguments, and work out its output; a size of None among two keeps the input's.

    Returns:
        The input's shape as (N, C, H, W), the output's as (N, C, OH, OW), and the output's own, as ``pool_geometry``.

    Raises:
        RuntimeError: for sizes that do not fit.
        TypeError: for sizes that are not ints.
    """
    image = _pool_image(name, dims, x)
    wanted = output_size if isinstance(output_size, tuple) else (output_size,) * dims
    if dims == 2 and len(wanted) == 2 and output_size is not None:
        wanted = tuple([x[i - 2] if size is None else size for i, size in enumerate(wanted)])
    try:
        sizes = tuple([size.__index__() for size in wanted])
    except AttributeError:
        raise TypeError(f"{name}: output_size must be made of ints, got {output_size!r}") from None
    if len(sizes) != dims:
        raise RuntimeError(
            f"{name}: output_size must be an int or a tuple of {'two' if dims == 2 else 'one'}, got {output_size!r}"
        )
    if min(sizes) < 0:
        raise RuntimeError(f"{name}: output_size must not be negative, got {sizes}")
    if min(image[1:]) < 1:
        raise RuntimeError(f"{name}: expected an input without empty dimensions (but for the batch), got {x}")
    shape = (*x[:-dims], *sizes)
    return image, _as_image(dims, shape), shape


def unpool_geometry(
    name: str, dims: int, x: tuple[int, ...], kernel_size: Any, stride: Any, padding: Any, output_size: Any
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Check an unpooling function's arguments, and work out its output: per axis (OH - 1) * stride + KH - 2 * padding.

    Args:
        name, dims, x, kernel_size, stride, padding: as for ``pool_geometry``; x is the pooled shape.
        output_size: another size that pools to x, less than a stride away; all dimensions, or the last ``dims``; or None.

    Returns:
        The input's shape as (N, C, OH, OW), the output's as (N, C, H, W), and the output's own.

    Raises:
        RuntimeError: for sizes that do not fit.
        ValueError: for an output size that is none.
    """
    image = _pool_image(name, dims, x)
    if min(image[1:]) < 1:
        raise RuntimeError(f"{name}: expected an input without empty dimensions (but for the batch), got {x}")
    kernel = _window(name, dims, kernel_size, "kernel_size")
    steps = kernel if stride is None else _window(name, dims, stride, "stride")
    pads = _window(name, dims, padding, "padding")
    usual = tuple([(n - 1) * s + k - 2 * p for n, k, s, p in zip(x[-dims:], kernel, steps, pads, strict=True)])
    sizes = usual
    if output_size is not None:
        try:
            sizes = tuple([size.__index__() for size in output_size])
        except (TypeError, AttributeError):
            raise TypeError(f"{name}: output_size must be a tuple of ints, got {output_size!r}") from None
        if len(sizes) == dims + 2:
            sizes = sizes[2:]
        if len(sizes) != dims:
            raise ValueError(f"{name}: output_size must have {dims} or {dims + 2} sizes, got {tuple(output_size)}")
        for size, middle, s in zip(sizes, usual, steps, strict=True):
            if not middle - s < size < middle + s:
                raise ValueError(
                    f"{name}: output_size must be less than the stride {steps} away from {usual}, got {tuple(output_size)}"
                )
    if min(sizes) < 0:
        raise ValueError(
            f"{name}: the output of input {x} would be {sizes}, with kernel_size {kernel}, stride {steps}, padding {pads}"
        )
    shape = (*x[:-dims], *sizes)
    return image, _as_image(dims, shape), shape


@lru_cache(maxsize=4096, typed=True)
def linear_geometry(
    x: tuple[int, ...], weight: tuple[int, ...], bias: tuple[int, ...] | None
) -> tuple[int, tuple[int, ...]]:
    """Check linear's arguments; returns (rows, output shape): (..., I) with weight (O, I) gives (..., O).

    Raises:
        RuntimeError: for sizes that do not fit.
    """
    x, weight = tuple(x), tuple(weight)  # the simulator's shapes know no negative index
    if len(weight) not in (1, 2):
        raise RuntimeError(f"linear: expected weight of shape (O, I) or (I,), got {weight}")
    if not x or x[-1] != weight[-1]:
        raise RuntimeError(
            f"linear: input has {x[-1] if x else 'no'} features but weight expects {weight[-1]} (input {x}, weight {weight})"
        )
    outputs = weight[:-1]
    if bias is not None and bias not in (outputs, (1,), ()):
        raise RuntimeError(f"linear: expected bias of shape {outputs} for weight {weight}, got {bias}")
    return prod(x[:-1]), (*x[:-1], *outputs)


@lru_cache(maxsize=4096, typed=True)
def batch_norm_geometry(
    caller: str, x: tuple[int, ...], training: bool, *parameters: tuple[int, ...] | None
) -> tuple[int, int, int]:
    """Check batch_norm's arguments; returns input's shape as (N, C, S), S the number of positions.

    Args:
        caller: the function that errors name.
        x: shape (N, C, ...).
        training: whether batch statistics are used, which need more than one value per channel.
        parameters: shapes of running_mean, running_var, weight and bias, each (C,) or None.

    Raises:
        RuntimeError: for shapes that do not fit.
        ValueError: for a single value per channel in training.
    """
    if len(x) < 2:
        raise RuntimeError(f"{caller}: expected input of shape (N, C, ...), got {x}")
    n, c, s = x[0], x[1], prod(x[2:])
    for name, shape in zip(("running_mean", "running_var", "weight", "bias"), parameters, strict=True):
        if shape is not None and shape != (c,):
            raise RuntimeError(
                f"{caller}: expected {name} of shape ({c},) for input {x} with C={c} channels, got {shape}"
            )
    if training and n * s == 1:
        raise ValueError(f"{caller}: expected more than 1 value per channel when training, got input {x}")
    return n, c, s
