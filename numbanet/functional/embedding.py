"""Tables of vectors looked up by number, and classes as rows of zeros and a one."""

from __future__ import annotations

from typing import Any

import numpy as np

from numbanet import devices, dtypes
from numbanet.autograd import Function, no_grad
from numbanet.functional import finding
from numbanet.functional.arithmetic import where
from numbanet.functional.indexing import AddRows, TakeRows, setitem
from numbanet.functional.reduction import norm
from numbanet.functional.shape import reshape
from numbanet.functional.sorting import bincount, unique
from numbanet.kernels import elementwise, gather
from numbanet.tensor import Tensor, wrap

__all__ = ["embedding", "one_hot"]


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """The rows of ``weight`` that the numbers in ``input`` name, as ``torch.nn.functional.embedding``.

    Args:
        input: int64 or int32, any shape.
        weight: shape (N, D).
        padding_idx: a row that gets no gradient (negative: from the end).
        max_norm: rows that are looked up and are longer are scaled to this norm, in place, before they are read.
        norm_type: p of that norm.
        scale_grad_by_freq: divide a row's gradient by how often it was looked up.
        sparse: sparse gradients are not supported; must be False.

    Returns:
        input's shape and one more dimension, D.

    Raises:
        IndexError: for numbers that are not a row's.
        RuntimeError: for a weight that is not a floating matrix, an input of another dtype, or a padding_idx out of range.
    """
    if not isinstance(input, Tensor) or not isinstance(weight, Tensor):
        wrong = weight if isinstance(input, Tensor) else input
        raise TypeError(f"embedding: expected tensors, got {type(wrong).__name__}")
    if input.dtype not in (dtypes.int64, dtypes.int32):
        raise RuntimeError(f"embedding: input must be int64 or int32, got {input.dtype}")
    if weight.ndim != 2:
        raise RuntimeError(f"embedding: expected weight of shape (N, D), got {tuple(weight.shape)}")
    if sparse:
        raise NotImplementedError("embedding: sparse gradients are not supported; use sparse=False")
    count, width = weight._array.shape
    if padding_idx is not None:
        if not -count <= padding_idx < count:
            raise RuntimeError(f"embedding: padding_idx={padding_idx} is out of range for {count} rows")
        padding_idx %= count
    numbers = input._array
    if not numbers.size:
        low, high = 0, -1
    elif input.is_cuda:
        low, high = finding.extent(numbers)
    else:  # negative numbers are the largest of all when read as unsigned: one pass finds whatever is out of range
        inside = int(numbers.view(f"u{numbers.itemsize}").max()) < count
        low, high = (0, count - 1) if inside else finding.extent(numbers)
    if low < 0 or high >= count:
        raise IndexError(f"embedding: index out of range: numbers run from {low} to {high}, expected 0 to {count - 1}")
    rows = devices.contiguous(input.to(dtype=dtypes.int64)._array).reshape(-1)
    if max_norm is not None:
        _shorten(weight, rows, max_norm, norm_type)
    if padding_idx is not None or scale_grad_by_freq:
        looked_up = EmbeddingRows.apply(weight, rows, padding_idx, scale_grad_by_freq)
    else:
        looked_up = TakeRows.apply(weight, rows, 0)
    return looked_up if input.ndim == 1 else reshape(looked_up, (*input.shape, width))


def _shorten(weight: Tensor, rows: Any, max_norm: float, norm_type: float) -> None:
    """Scale the named rows that are longer than ``max_norm``, in place."""
    with no_grad():
        named = unique(wrap(rows)).to(device=weight.device)
        held = weight.detach()
        found = held[named]
        sizes = norm(found, norm_type, 1, keepdim=True)
        setitem(held, named, where(sizes > max_norm, found * (max_norm / (sizes + 1e-7)), found))


class EmbeddingRows(Function):
    """``TakeRows`` whose gradient leaves out a row, or is divided by how often a row was taken."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Any, padding_idx: int | None, by_frequency: bool) -> Tensor:
        ctx.n, inner = x._array.shape
        ctx.index, ctx.padding_idx, ctx.by_frequency = index, padding_idx, by_frequency
        out = devices.empty((index.size, inner), x.dtype, x.device)
        gather.take_rows(devices.contiguous(x._array).reshape((1, ctx.n, inner)), index, out.reshape((1, *out.shape)))
        return wrap(out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        if grad.is_cuda:
            return AddRows.apply(grad * _shares(ctx, grad), ctx.index, ctx.n, 0), None, None, None
        rows = ctx.index
        share = np.ones((rows.size, 1), grad.dtype)
        if ctx.by_frequency and rows.size:
            share[:, 0] /= np.bincount(rows)[rows]
        if ctx.padding_idx is not None:
            share[rows == ctx.padding_idx] = 0
        scaled = grad * wrap(devices.to_device(share, grad.device))
        return AddRows.apply(scaled, ctx.index, ctx.n, 0), None, None, None


def _shares(ctx: Any, grad: Tensor) -> Tensor:
    """What of each row's gradient counts, (rows, 1), on CUDA."""
    rows = wrap(ctx.index)
    share = wrap(devices.full((ctx.index.size,), 1, grad.dtype, grad.device))
    if ctx.by_frequency and ctx.index.size:
        share = share / bincount(rows)[rows].to(dtype=grad.dtype)
    if ctx.padding_idx is not None:
        share = where(rows == ctx.padding_idx, 0.0, share)
    return reshape(share, (ctx.index.size, 1))


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """An int64 tensor with a further dimension that is 1 at each element's class and 0 elsewhere.

    Args:
        tensor: int64 classes.
        num_classes: the length of that dimension; -1 for one more than the largest class.

    Raises:
        RuntimeError: for classes that are negative or not below ``num_classes``, another dtype, or no classes to count.
    """
    if tensor.dtype != dtypes.int64:
        raise RuntimeError(f"one_hot: expected int64 classes, got {tensor.dtype}")
    classes = tensor._array
    if not classes.size and num_classes <= 0:
        raise RuntimeError(
            f"one_hot: num_classes={num_classes} cannot be counted from a tensor of shape {classes.shape}"
        )
    low, high = finding.extent(classes) if classes.size else (0, -1)
    count = high + 1 if num_classes == -1 else num_classes
    if low < 0 or high >= count:
        raise RuntimeError(f"one_hot: classes run from {low} to {high}, expected 0 to {count - 1}")
    shape = (classes.size, count, 1)
    out = devices.empty(shape, dtypes.int64, tensor.device)
    if out.size:
        elementwise.fill(out, 0)
        ones = devices.full((classes.size, 1, 1), 1, dtypes.int64, tensor.device)
        gather.scatter(ones, devices.contiguous(tensor._array).reshape((classes.size, 1, 1)), out)
    return wrap(out.reshape((*classes.shape, count)))
