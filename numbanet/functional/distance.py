"""Norms and distances of vectors.

Euclidean ones have kernels; the others are expressions of differentiable functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import prod
from typing import Any

from numbanet import devices, shapes
from numbanet.autograd import Function, is_grad_enabled
from numbanet.functional.arithmetic import abs as absolute
from numbanet.functional.arithmetic import clamp_min, sign, sqrt
from numbanet.functional.linear import no_bias
from numbanet.kernels import distance as kernels
from numbanet.kernels.matmul import matmul as matmul_kernel
from numbanet.tensor import Tensor, operands, wrap

__all__ = ["cdist", "cosine_similarity", "normalize", "pairwise_distance"]


def _vectors(name: str, **tensors: Any) -> list[Tensor]:
    """The tensors, promoted to one floating dtype, and checked to broadcast."""
    for argument, value in tensors.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name}: argument {argument!r} must be a Tensor, not {type(value).__name__}")
    made = operands(name, *tensors.values())
    shapes.check_floating(name, **dict(zip(tensors, made, strict=True)))
    return made


def _vector_norm(x: Tensor, p: float, dim: int | Sequence[int], keepdim: bool) -> Tensor:
    """(sum |x|^p)^(1/p) along a dimension. The gradient at 0 is 0, where the square root's would be infinite."""
    if p == math.inf:
        return absolute(x).amax(dim, keepdim)
    if p == -math.inf:
        return absolute(x).amin(dim, keepdim)
    if p == 0:
        return (x != 0).to(dtype=x.dtype).sum(dim, keepdim) + (x * 0).sum(dim, keepdim)
    if p == 1:
        return absolute(x).sum(dim, keepdim)
    total = (x * x if p == 2 else _power(absolute(x), p)).sum(dim, keepdim)
    return _root(total) if p == 2 else _power(total, 1 / p)


def _root(x: Tensor) -> Tensor:
    """The square root, with the derivative 0 at 0."""
    zero = x == 0
    return sqrt(x.masked_fill(zero, 1.0)).masked_fill(zero, 0.0)


def _power(x: Tensor, p: float) -> Tensor:
    """x^p, for p > 0 with the derivative 0 at 0."""
    if p < 0:
        return x**p
    zero = x == 0
    return (x.masked_fill(zero, 1.0) ** p).masked_fill(zero, 0.0)


def _rows(x: Tensor) -> Any:
    """The tensor's array as a matrix of its vectors, which lie along the last dimension."""
    return devices.contiguous(x._array).reshape((-1, tuple(x._array.shape)[-1]))


def _like(x: Tensor) -> Any:
    return devices.empty(tuple(x._array.shape), x.dtype, x.device)


def _has_kernels(x: Tensor) -> bool:
    """Whether the kernels take this tensor: it has elements, of float32 or float64."""
    return bool(x._array.size) and x._array.dtype.itemsize > 2


def normalize(input: Tensor, p: float = 2.0, dim: int | Sequence[int] = 1, eps: float = 1e-12) -> Tensor:
    """Vectors divided by their p-norms along a dimension, which count as eps where they are smaller.

    Args:
        input: any shape that has ``dim``.
        p: the norm's exponent.
        dim: the dimension of the vectors; of several, their elements are one vector.
        eps: the smallest divisor.

    Returns:
        A tensor of input's shape.

    Raises:
        IndexError: for a dimension that input does not have.
        RuntimeError: for integers.
    """
    (x,) = _vectors("normalize", input=input)
    if isinstance(dim, Sequence):
        return x / clamp_min(_vector_norm(x, p, shapes.normalize_dims("normalize", dim, x.ndim), True), eps)
    dim = shapes.normalize_dim("normalize", dim, x.ndim)
    if p == 2 and eps > 0 and x.ndim and _has_kernels(x):
        return NormalizeFunction.apply(x, dim, eps)
    return x / clamp_min(_vector_norm(x, p, dim, True), eps)


class NormalizeFunction(Function):
    """y = x / max(|x|, eps) along a dimension; dx = (dy - y (dy.y)) / |x|, or dy / eps where the norm is less."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int, eps: float) -> Tensor:
        shape = tuple(x._array.shape)
        strip = prod(shape[:dim]), shape[dim], prod(shape[dim + 1 :])
        norms, y = devices.empty((strip[0], strip[2]), x.dtype, x.device), _like(x)
        kernels.normalize_forward(devices.contiguous(x._array).reshape(strip), y.reshape(strip), norms, eps)
        out = wrap(y)
        ctx.strip, ctx.dim, ctx.eps = strip, dim, eps
        ctx.save_for_backward(x, out, wrap(norms))
        return out

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, y, norms = ctx.saved_tensors
        if is_grad_enabled():
            norm = _vector_norm(x, 2, ctx.dim, True)
            along = (dy * y).sum(ctx.dim, keepdim=True).masked_fill(norm < ctx.eps, 0.0)
            return (dy - y * along) / clamp_min(norm, ctx.eps), None, None
        dx = _like(y)
        gradient, result = [devices.contiguous(t._array).reshape(ctx.strip) for t in (dy, y)]
        kernels.normalize_backward(gradient, result, norms._array, dx.reshape(ctx.strip), ctx.eps)
        return wrap(dx), None, None


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors: sum of (x1 / max(|x1|, eps)) * (x2 / max(|x2|, eps)) along a dimension.

    Args:
        x1, x2: of shapes that broadcast.
        dim: the dimension of the vectors, in the broadcast shape.
        eps: the smallest norm. A norm that is raised to it keeps its gradient, as in PyTorch.

    Returns:
        The broadcast shape without ``dim``.

    Raises:
        IndexError: for a dimension that the inputs do not have.
        RuntimeError: for shapes that do not broadcast, or integers.
    """
    name = "cosine_similarity"
    a, b = _vectors(name, x1=x1, x2=x2)
    shape = shapes.broadcast_shapes(name, a.shape, b.shape)
    dim = shapes.normalize_dim(name, dim, len(shape))
    a, b = [x if tuple(x.shape) == shape else x.expand(shape) for x in (a, b)]
    if dim == len(shape) - 1 and eps > 0 and _has_kernels(a):
        return CosineFunction.apply(a, b, eps)
    norms = [_vector_norm(x, 2, dim, True) for x in (a, b)]
    norms = [norm + (clamp_min(norm, eps) - norm).detach() for norm in norms]
    return (a / norms[0] * (b / norms[1])).sum(dim)


class CosineFunction(Function):
    """c = a.b / (A B) along the last dimension, A = max(|a|, eps) and B likewise; da = dc / A (b / B - c a / |a|)."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, eps: float) -> Tensor:
        one, two = _rows(a), _rows(b)
        n = one.shape[0]
        out, norms = [devices.empty(shape, a.dtype, a.device) for shape in ((n,), (2, n))]
        kernels.cosine_forward(one, two, out, norms, eps)
        result = wrap(out.reshape(tuple(a._array.shape)[:-1]))
        ctx.eps = eps
        ctx.save_for_backward(a, b, result, wrap(norms))
        return result

    @staticmethod
    def backward(ctx: Any, dc: Tensor) -> Any:
        a, b, c, norms = ctx.saved_tensors
        if is_grad_enabled():
            lengths = [_vector_norm(x, 2, -1, True) for x in (a, b)]
            large, wide = [norm + (clamp_min(norm, ctx.eps) - norm).detach() for norm in lengths]
            parts = [x / norm.masked_fill(norm == 0, 1.0) for x, norm in zip((a, b), lengths, strict=True)]
            slope, cosine = dc.unsqueeze(-1), c.unsqueeze(-1)
            da = slope / large * (b / wide - parts[0] * cosine)
            return da, slope / wide * (a / large - parts[1] * cosine), None
        one, two, da, db = _rows(a), _rows(b), _like(a), _like(b)
        kernels.cosine_backward(
            one,
            two,
            c._array.reshape(-1),
            norms._array,
            devices.contiguous(dc._array).reshape(-1),
            da.reshape(one.shape),
            db.reshape(one.shape),
            ctx.eps,
        )
        return wrap(da), wrap(db), None


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The p-norm of x1 - x2 + eps along the last dimension.

    Args:
        x1, x2: vectors, shape (N, D) or (D,), or others that broadcast.
        p: the norm's exponent; may be negative, 0 or infinite.
        eps: added to the differences, which keeps the gradient of equal vectors finite.
        keepdim: keep the last dimension, with size 1.

    Returns:
        Shape (N,), (N, 1) with ``keepdim``, and so on.

    Raises:
        RuntimeError: for shapes that do not broadcast, or integers.
    """
    name = "pairwise_distance"
    a, b = _vectors(name, x1=x1, x2=x2)
    shape = shapes.broadcast_shapes(name, a.shape, b.shape)
    if p != 2 or not shape or not prod(shape) or not _has_kernels(a):
        return _vector_norm(a - b + eps, p, -1, keepdim)
    a, b = [x if tuple(x.shape) == shape else x.expand(shape) for x in (a, b)]
    out = DistanceFunction.apply(a, b, eps)
    return out.unsqueeze(-1) if keepdim else out


class DistanceFunction(Function):
    """d = |a - b + eps| along the last dimension; da = dd (a - b + eps) / d, and db = -da."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, eps: float) -> Tensor:
        one, two = _rows(a), _rows(b)
        out = devices.empty(one.shape[:1], a.dtype, a.device)
        kernels.distance_forward(one, two, out, eps)
        result = wrap(out.reshape(tuple(a._array.shape)[:-1]))
        ctx.eps = eps
        ctx.save_for_backward(a, b, result)
        return result

    @staticmethod
    def backward(ctx: Any, dd: Tensor) -> Any:
        a, b, d = ctx.saved_tensors
        need = ctx.needs_input_grad
        if is_grad_enabled():
            da = (a - b + ctx.eps) * (dd / d.masked_fill(d == 0, 1.0)).unsqueeze(-1)
            return da if need[0] else None, -da if need[1] else None, None
        one, two = _rows(a), _rows(b)
        nothing = devices.empty((0, 0), a.dtype, a.device)
        da, db = [_like(a) if wanted else nothing for wanted in need[:2]]
        kernels.distance_backward(
            one,
            two,
            d._array.reshape(-1),
            devices.contiguous(dd._array).reshape(-1),
            da.reshape(one.shape) if need[0] else nothing,
            db.reshape(one.shape) if need[1] else nothing,
            ctx.eps,
        )
        return wrap(da) if need[0] else None, wrap(db) if need[1] else None, None


def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str = "use_mm_for_euclid_dist_if_necessary") -> Tensor:
    """The p-norm of the difference of each vector of x1 with each one of x2.

    Args:
        x1: shape (..., P, M).
        x2: shape (..., R, M); the leading dimensions broadcast.
        p: the norm's exponent, not negative.
        compute_mode: whether Euclidean distances are computed by a matrix product, |a|^2 + |b|^2 - 2 a.b, which is
            faster and less accurate for vectors that are close: "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist",
            or "use_mm_for_euclid_dist_if_necessary", for more than 25 vectors.

    Returns:
        Shape (..., P, R). The gradient of a distance of 0 is 0.

    Raises:
        RuntimeError: for shapes that do not fit, or a negative p.
        ValueError: for another compute_mode.
    """
    name = "cdist"
    a, b = _vectors(name, x1=x1, x2=x2)
    one, two = tuple(a.shape), tuple(b.shape)
    if len(one) < 2 or len(two) < 2:
        raise RuntimeError(f"{name}: expected x1 (..., P, M) and x2 (..., R, M), got {one} and {two}")
    if one[-1] != two[-1]:
        raise RuntimeError(f"{name}: x1 has vectors of {one[-1]} and x2 of {two[-1]} elements (x1 {one}, x2 {two})")
    if not p >= 0:
        raise RuntimeError(f"{name}: p must not be negative, got {p}")
    modes = ("use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist")
    if compute_mode not in modes:
        raise ValueError(f"{name}: compute_mode must be one of {modes}, got {compute_mode!r}")
    lead = shapes.broadcast_shapes(name, one[:-2], two[:-2])
    fits = prod(lead) > 0 and _has_kernels(a) and _has_kernels(b)
    if fits:
        a, b = [x if tuple(x.shape[:-2]) == lead else x.expand(*lead, *x.shape[-2:]) for x in (a, b)]
    many = one[-2] > 25 or two[-2] > 25
    if p == 2 and (compute_mode == modes[1] or (compute_mode == modes[0] and many)):
        if fits:
            return CdistFunction.apply(a, b)
        squares = (a * a).sum(-1, keepdim=True) + (b * b).sum(-1).unsqueeze(-2) - (a @ b.transpose(-2, -1)) * 2
        return _root(clamp_min(squares, 0))
    if fits and p > 0:
        return CdistNormFunction.apply(a, b, float(p))
    gaps = a.unsqueeze(-2) - b.unsqueeze(-3)
    return _vector_norm(gaps, p, -1, False) if one[-1] else gaps.sum(-1)


class CdistFunction(Function):
    """d[p, r] = |a[p] - b[r]| from |a|^2 + |b|^2 - 2 a.b; with s = dd / d: da[p] = (sum over r of s) a[p] - s b."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        one, two = _matrices(a), _matrices(b)
        out = devices.empty((one.shape[0], one.shape[1], two.shape[1]), a.dtype, a.device)
        matmul_kernel(one, two, no_bias(a.dtype, a.device), out, False, True)
        kernels.cdist_finish(one, two, out)
        result = wrap(out.reshape((*tuple(a._array.shape)[:-1], two.shape[1])))
        ctx.save_for_backward(a, b, result)
        return result

    @staticmethod
    def backward(ctx: Any, dd: Tensor) -> Any:
        a, b, d = ctx.saved_tensors
        need = ctx.needs_input_grad
        if is_grad_enabled():
            zero = d == 0
            s = (dd / d.masked_fill(zero, 1.0)).masked_fill(zero, 0.0)
            da = a * s.sum(-1, keepdim=True) - s @ b if need[0] else None
            db = b * s.sum(-2).unsqueeze(-1) - s.transpose(-2, -1) @ a if need[1] else None
            return da, db
        one, two, lengths = _matrices(a), _matrices(b), _matrices(d)
        (batch, p, m), r = one.shape, two.shape[1]
        slopes = devices.empty((batch, p, r), a.dtype, a.device)
        rows, columns = [devices.empty((batch, size), a.dtype, a.device) for size in (p, r)]
        kernels.cdist_slopes(_matrices(dd), lengths, slopes, rows, columns)
        made: list[Any] = [None, None]
        for i, (like, vectors, sums, others) in enumerate(((a, one, rows, two), (b, two, columns, one))):
            if need[i]:
                gradient = _like(like)
                matmul_kernel(
                    slopes, others, no_bias(a.dtype, a.device), gradient.reshape(vectors.shape), i == 1, False
                )
                kernels.cdist_combine(vectors.reshape(-1, m), sums.reshape(-1), gradient.reshape(-1, m))
                made[i] = wrap(gradient)
        return tuple(made)


class CdistNormFunction(Function):
    """d[p, r] = |a[p] - b[r]|, element by element, in any norm; da[p] = sum over r of dd * the norm's slope."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, p: float) -> Tensor:
        one, two = _matrices(a), _matrices(b)
        out = devices.empty((*tuple(a._array.shape)[:-1], two.shape[1]), a.dtype, a.device)
        kernels.cdist_norm(one, two, out.reshape((one.shape[0], one.shape[1], two.shape[1])), p)
        ctx.p = p
        result = wrap(out)
        ctx.save_for_backward(a, b, result)
        return result

    @staticmethod
    def backward(ctx: Any, dd: Tensor) -> Any:
        a, b, d = ctx.saved_tensors
        need, p = ctx.needs_input_grad, ctx.p
        if is_grad_enabled():
            gaps = a.unsqueeze(-2) - b.unsqueeze(-3)
            lengths, nothing = d.unsqueeze(-1), (gaps == 0).logical_or((d == 0).unsqueeze(-1))
            if p == math.inf:
                slopes = sign(gaps) * (absolute(gaps) == lengths).to(dtype=gaps.dtype)
            elif p == 2:
                slopes = gaps / lengths.masked_fill(lengths == 0, 1.0)
            else:
                shares = absolute(gaps).masked_fill(nothing, 1.0) / lengths.masked_fill(lengths == 0, 1.0)
                slopes = sign(gaps) * shares ** (p - 1)
            slopes = dd.unsqueeze(-1) * slopes.masked_fill(nothing, 0.0)
            return slopes.sum(-2) if need[0] else None, -slopes.sum(-3) if need[1] else None, None
        arrays = _matrices(dd), _matrices(d)
        made: list[Any] = [None, None]
        for i, (x, y) in enumerate(((a, b), (b, a))):
            if need[i]:
                gradient, vectors = _like(x), _matrices(x)
                kernels.cdist_norm_backward(*arrays, vectors, _matrices(y), gradient.reshape(vectors.shape), p, i == 1)
                made[i] = wrap(gradient)
        return made[0], made[1], None


def _matrices(x: Tensor) -> Any:
    """The tensor's array as a batch of matrices."""
    return devices.contiguous(x._array).reshape((-1, *tuple(x._array.shape)[-2:]))
