"""Linear layers and matrix products."""

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any

import numpy as np

from numbanet import devices, dtypes, shapes
from numbanet.autograd import Function, is_grad_enabled
from numbanet.devices import Array, Device
from numbanet.functional.activation import before_relu, relu
from numbanet.kernels import matmul as kernels
from numbanet.kernels.rectified import matmul_relu
from numbanet.tensor import Tensor, wrap

__all__ = [
    "addmm",
    "addmv",
    "baddbmm",
    "bmm",
    "dot",
    "ger",
    "inner",
    "linear",
    "linear_relu",
    "matmul",
    "mm",
    "mv",
    "outer",
    "vdot",
]


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y = x weight^T + bias, as ``torch.nn.functional.linear``.

    Args:
        input: shape (..., I).
        weight: shape (O, I), or (I,) for a single output without a dimension of its own.
        bias: shape (O,), or None.

    Returns:
        Shape (..., O).

    Raises:
        RuntimeError: for shapes that do not fit, or tensors of different dtypes or devices.
        TypeError: for arguments that are not tensors.
    """
    shapes.check_floating("linear", input=input, weight=weight, bias=bias)
    w = weight._array.shape
    rows, out_shape = shapes.linear_geometry(input._array.shape, w, None if bias is None else bias._array.shape)
    if len(w) == 1 or (bias is not None and bias._array.shape != w[:1]):
        product = matmul(input, weight.t() if len(w) == 2 else weight)
        return product if bias is None else product + bias
    return LinearFunction.apply(input, weight, bias, rows, out_shape)


def linear_relu(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``relu(linear(input, weight, bias))`` without a tensor in between; numbanet's own.

        y = max(0, x weight^T + bias)

    Tensor cores rectify what they have in registers, other kernels in place. Values, gradients and NaN are those of the two
    operators one after the other; float16 and bfloat16 are rounded once, at the end. Arguments, shapes and errors as ``linear``.

    Reference: V. Nair and G. Hinton, "Rectified linear units improve restricted Boltzmann machines" (2010), for the ReLU.
    """
    shapes.check_floating("linear_relu", input=input, weight=weight, bias=bias)
    w = weight._array.shape
    rows, out_shape = shapes.linear_geometry(input._array.shape, w, None if bias is None else bias._array.shape)
    if len(w) == 1 or (bias is not None and bias._array.shape != w[:1]):
        return relu(linear(input, weight, bias))
    return LinearFunction.apply(input, weight, bias, rows, out_shape, True)


@cache
def no_bias(dtype: np.dtype, device: Device) -> Array:
    """What kernels take for a bias (or another vector) that is not there: an array of shape (0,)."""
    return devices.empty((0,), dtype, device)


class LinearFunction(Function):
    """y (R, O) = x (R, I) weight (O, I)^T + bias (O,), where R counts the rows of all leading dimensions together.

    With a ReLU at its end if ``rectify``, which backward undoes first, from y.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        rows: int,
        out_shape: tuple[int, ...],
        rectify: bool = False,
    ) -> Tensor:
        dtype, device = x.dtype, x.device
        outputs, inputs = weight._array.shape
        b = no_bias(dtype, device) if bias is None else devices.contiguous(bias._array)
        y = devices.empty(out_shape, dtype, device)
        (matmul_relu if rectify else kernels.matmul)(
            devices.contiguous(x._array).reshape(1, rows, inputs),
            devices.contiguous(weight._array).reshape(1, outputs, inputs),
            b,
            y.reshape(1, rows, outputs),
            False,
            True,
        )
        result = wrap(y)
        ctx.save_for_backward(x, weight, *((result,) if rectify else ()))
        return result

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, weight, *rectified = ctx.saved_tensors
        if rectified:
            dy = before_relu(dy, rectified[0])
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        shape = x._array.shape
        outputs, inputs = weight._array.shape
        if len(shape) != 2:  # (..., I) and (..., O) to (R, I) and (R, O)
            rows = prod(shape[:-1])
            x, dy = x.reshape(rows, inputs), dy.reshape(rows, outputs)
        dx = dweight = dbias = None
        if needs_x:
            dx = MatmulFunction.apply(dy, weight, False, False)  # (R, O) (O, I)
            if len(shape) != 2:
                dx = dx.reshape(shape)
        if needs_weight:
            dweight = MatmulFunction.apply(dy, x, True, False)  # (R, O)^T (R, I)
        if needs_bias:
            dbias = _grad_bias(dy)
        return dx, dweight, dbias, None, None, None


def _grad_bias(dy: Tensor) -> Tensor:
    """The sums of the columns of (R, O)."""
    if is_grad_enabled():
        return dy.sum(0)
    dbias = devices.empty(dy._array.shape[1:], dy.dtype, dy.device)
    kernels.matmul_grad_bias(devices.contiguous(dy._array), dbias)
    return wrap(dbias)


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The matrix product, as ``torch.matmul`` and ``input @ other``.

    Both of one dimension give the dot product. A vector on the left is a row, on the right a column, and its dimension
    disappears from the result. With more than two dimensions, the last two are matrices and the ones before them
    broadcast.

    Args:
        input: shape (..., M, K), or (K,).
        other: shape (..., K, N), or (K,).

    Returns:
        Shape (..., M, N), less the dimension of a vector.

    Raises:
        RuntimeError: for shapes that do not fit, or tensors of different dtypes or devices.
        TypeError: for arguments that are not tensors.
    """
    a, b = _shapes_of("matmul", input, other)
    if not a or not b:
        raise RuntimeError(f"matmul: both tensors need at least one dimension, got {a} and {b}")
    if a[-1] != b[max(0, len(b) - 2)]:
        raise RuntimeError(f"matmul: the last dimension of {a} is {a[-1]}, expected {b[max(0, len(b) - 2)]} to fit {b}")
    if len(a) == 2 and len(b) == 2:
        return _multiply("matmul", input, other)
    if len(b) == 1:  # a vector on the right: (..., K) (K, 1)
        return _multiply_rows(input, other.unsqueeze(1)).squeeze(-1)
    if len(a) == 1:  # a vector on the left: (1, K) (..., K, N)
        return matmul(input.unsqueeze(0), other).squeeze(-2)
    if len(b) == 2:
        return _multiply_rows(input, other)
    batch = shapes.broadcast_shapes("matmul", a[:-2], b[:-2])
    product = _multiply("matmul", _one_batch(input, batch), _one_batch(other, batch))  # (B, M, N)
    return product.reshape(*batch, a[-2], b[-1])


def _multiply_rows(a: Tensor, b: Tensor) -> Tensor:
    """(..., K) (K, N): all leading dimensions are rows of one product."""
    if a.ndim == 2:
        return _multiply("matmul", a, b)
    leading, (k, n) = a._array.shape[:-1], b._array.shape
    return _multiply("matmul", a.reshape(prod(leading), k), b).reshape(*leading, n)


def _one_batch(x: Tensor, batch: tuple[int, ...]) -> Tensor:
    """(..., M, K) with one batch dimension: of size 1 where all of it is broadcast, else of the whole batch."""
    shape = x._array.shape
    count = prod(shape[:-2])
    if count != 1:
        if shape[:-2] != batch:
            x = x.expand(*batch, *shape[-2:])
        count = prod(batch)
    return x if x._array.ndim == 3 and x._array.shape[0] == count else x.reshape(count, *shape[-2:])


def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of (M, K) and (K, N), without broadcasting."""
    a, b = _shapes_of("mm", input, mat2)
    if len(a) != 2 or len(b) != 2:
        raise RuntimeError(f"mm: expected two matrices, got shapes {a} and {b}")
    if a[1] != b[0]:
        raise RuntimeError(f"mm: shapes {a} and {b} cannot be multiplied: {a[1]} columns but {b[0]} rows")
    return _multiply("mm", input, mat2)


def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """The products of B pairs of matrices, (B, M, K) and (B, K, N), without broadcasting."""
    a, b = _shapes_of("bmm", input, mat2)
    if len(a) != 3 or len(b) != 3 or a[0] != b[0] or a[2] != b[1]:
        raise RuntimeError(f"bmm: expected shapes (B, M, K) and (B, K, N), got {a} and {b}")
    return _multiply("bmm", input, mat2)


def mv(input: Tensor, vec: Tensor) -> Tensor:
    """The product of (M, K) and (K,)."""
    a, b = _shapes_of("mv", input, vec)
    if len(a) != 2 or len(b) != 1 or a[1] != b[0]:
        raise RuntimeError(f"mv: expected shapes (M, K) and (K,), got {a} and {b}")
    return matmul(input, vec)


def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The dot product of two vectors of one length: a 0-d tensor."""
    a, b = _shapes_of("dot", input, tensor)
    if len(a) != 1 or len(b) != 1 or a != b:
        raise RuntimeError(f"dot: expected two vectors of one length, got shapes {a} and {b}")
    return _multiply("dot", input.unsqueeze(0), tensor.unsqueeze(1)).reshape(())


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """The products of all pairs: (M,) and (N,) give (M, N)."""
    a, b = _shapes_of("outer", input, vec2)
    if len(a) != 1 or len(b) != 1:
        raise RuntimeError(f"outer: expected two vectors, got shapes {a} and {b}")
    return input.unsqueeze(1) * vec2.unsqueeze(0)


ger, vdot = outer, dot


def inner(input: Tensor, other: Tensor) -> Tensor:
    """The products summed over the last dimensions of both: (..., K) and (---, K) give (..., ---)."""
    a, b = _shapes_of("inner", input, other)
    if not a or not b:
        return input * other
    if a[-1] != b[-1]:
        raise RuntimeError(f"inner: the last dimensions of {a} and {b} have sizes {a[-1]} and {b[-1]}")
    product = _multiply("inner", input.reshape(prod(a[:-1]), a[-1]), other.reshape(prod(b[:-1]), b[-1]).t())
    return product.reshape(*a[:-1], *b[:-1])


def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """``beta * input + alpha * mat1 @ mat2`` of matrices; input broadcasts. With beta = 0 input is not looked at.

    Raises:
        RuntimeError: for shapes that do not fit.
    """
    return _added("addmm", input, mm, mat1, mat2, beta, alpha)


def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """``beta * input + alpha * mat @ vec``; input broadcasts."""
    return _added("addmv", input, mv, mat, vec, beta, alpha)


def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """``beta * input + alpha * bmm(batch1, batch2)``; input broadcasts. With beta = 0 input is not looked at."""
    return _added("baddbmm", input, bmm, batch1, batch2, beta, alpha)


def _added(name: str, input: Tensor, multiply: Any, a: Tensor, b: Tensor, beta: Any, alpha: Any) -> Tensor:
    left, right = _shapes_of(name, a, b)
    shape = (*left[:-1], *right[max(0, len(left) - 1) :])
    if not isinstance(input, Tensor):
        raise TypeError(f"{name}: expected three tensors, got a {type(input).__name__}")
    if shapes.broadcast_shapes(name, tuple(input.shape), shape) != shape:
        raise RuntimeError(
            f"{name}: input of shape {tuple(input.shape)} does not broadcast to the product's shape {shape}"
        )
    if input.dtype != a.dtype:
        raise RuntimeError(f"{name}: input is {input.dtype}, the matrices {a.dtype}; convert one of them with .to()")
    product = multiply(a, b)
    if alpha != 1:
        product = product * alpha
    return product if beta == 0 else product + (input if beta == 1 else input * beta)


def _shapes_of(name: str, a: Any, b: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    try:
        return tuple(a._array.shape), tuple(b._array.shape)  # the simulator's shapes know no negative index
    except AttributeError:
        wrong = b if isinstance(a, Tensor) else a
        raise TypeError(f"{name}: expected two tensors, got a {type(wrong).__name__}") from None


def _multiply(name: str, a: Tensor, b: Tensor) -> Tensor:
    """(M, K) (K, N), or batches of them, where a batch of 1 broadcasts."""
    if a.dtype != b.dtype:
        raise RuntimeError(
            f"{name}: expected tensors of one dtype, got {a.dtype} and {b.dtype}; convert one of them with .to()"
        )
    if not a.is_floating_point():  # by way of float64, which is exact to 2**53
        wanted = a.dtype if a.dtype != dtypes.bool else dtypes.int64
        return MatmulFunction.apply(a.to(dtypes.float64), b.to(dtypes.float64), False, False).to(wanted)
    shapes.check_floating(name, input=a, other=b)
    return MatmulFunction.apply(a, b, False, False)


class MatmulFunction(Function):
    """op(a) op(b), where op exchanges the last two dimensions if its flag is true.

    Shapes (M, K) and (K, N), or (B, M, K) and (B, K, N) with either B possibly 1. The flags close the function under
    differentiation: each gradient is such a product again.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, transpose_a: bool, transpose_b: bool) -> Tensor:
        ctx.save_for_backward(a, b)
        ctx.flags = transpose_a, transpose_b
        x, transpose_a = _orient(a._array, transpose_a)
        y, transpose_b = _orient(b._array, transpose_b)
        m = x.shape[-2:][int(transpose_a)]
        n = y.shape[-2:][int(not transpose_b)]
        flat = x.ndim == 2
        if flat:
            x, y = x.reshape(1, *x.shape), y.reshape(1, *y.shape)
        out = devices.empty((x.shape[0] if x.shape[0] != 1 else y.shape[0], m, n), a.dtype, a.device)
        if out.size:
            kernels.matmul(x, y, no_bias(a.dtype, a.device), out, transpose_a, transpose_b)
        return wrap(out.reshape(m, n) if flat else out)

    @staticmethod
    def backward(ctx: Any, dc: Tensor) -> Any:
        a, b = ctx.saved_tensors
        ta, tb = ctx.flags
        da = db = None
        if ctx.needs_input_grad[0]:
            da = MatmulFunction.apply(b, dc, tb, True) if ta else MatmulFunction.apply(dc, b, False, not tb)
            da = _unbroadcast(da, a)
        if ctx.needs_input_grad[1]:
            db = MatmulFunction.apply(dc, a, True, ta) if tb else MatmulFunction.apply(a, dc, not ta, False)
            db = _unbroadcast(db, b)
        return da, db, None, None


def _orient(array: Array, transposed: bool) -> tuple[Array, bool]:
    """A C-contiguous array and its flag: a transposed view is read in place, with the flag turned, instead of copied."""
    if devices.is_contiguous(array):
        return array, transposed
    turned = devices.view(array, lambda a: a.swapaxes(-1, -2))
    if devices.is_contiguous(turned):
        return turned, not transposed
    return devices.contiguous(array), transposed


def _unbroadcast(gradient: Tensor, like: Tensor) -> Tensor:
    """The gradient of a batch of 1 that was broadcast."""
    if gradient._array.shape != like._array.shape:
        return gradient.sum(0, keepdim=True)
    return gradient
