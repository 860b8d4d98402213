"""Batch normalisation over (N, C, S) views: S = H * W for images, 1 for (N, C) inputs (the caller reshapes).

Per channel c, over the N * S elements of x[:, c, :]:

``batch_norm_train_forward(x, weight, bias, add, y, mean, inv_std, var, eps, relu)``
    mean, var (biased) of the batch, inv_std = 1 / sqrt(var + eps), y = (x - mean) * inv_std * weight + bias + add, and
    where ``relu`` (0 or 1): y = 0 where that is <= 0.
``batch_norm_eval_forward(x, weight, bias, running_mean, running_var, add, y, eps, relu)``
    y = (x - running_mean) / sqrt(running_var + eps) * weight + bias + add, and ReLU likewise.
``batch_norm_train_backward(dy, x, weight, mean, inv_std, y, dx, dweight, dbias, dadd)``
    With g = dy, but 0 where y <= 0, and h = (x - mean) * inv_std: dadd = g, dbias = sum g, dweight = sum g * h,
    dx = weight * inv_std * (g - dbias / (N S) - h * dweight / (N S)).
``batch_norm_eval_backward(dy, x, weight, running_mean, running_var, y, dx, dweight, dbias, dadd, eps)``
    The same sums with the running statistics; dx = weight * inv_std * g.
``batch_norm_update_running(running_mean, running_var, mean, var, momentum, count)``
    In place: running = (1 - momentum) * running + momentum * batch, where the batch's variance is made unbiased by
    count / (count - 1), count = N * S.

x, y, dx, dy (N, C, S); weight, bias (C,), or (0,) for none (1 and 0); add (N, C, S), or (0,) for none; the backward passes' y
(0,) where there was no ReLU (g is dy then, and no dadd is written); the others (C,); dweight, dbias and dadd may be (0,): not
wanted. All C-contiguous, one dtype (float32 or float64). The caller allocates; outputs are overwritten. An empty channel
(N S = 0) has mean NaN and var NaN, and sums 0. NaN and infinity anywhere in a channel of x make that channel NaN; NaN stays NaN
under ReLU, and dy passes where y is NaN. y is rounded before add is added, as the sum of two arrays would have it.

Statistics: the CPU takes two passes over pieces of a channel, the second about the mean that the first found, with sums
of at most _RUN elements in vector lanes and float64 from there on, and merges the pieces in order (Chan et al.); y uses the mean to twice the precision it is saved in, so that data with a large offset keeps its digits. CUDA does
the same with compensated sums, a block for each piece. Pieces follow from the shapes alone, so the number of threads changes nothing.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from numbanet.devices import cuda, device_of, empty
from numbanet.kernels import launch
from numbanet.kernels.index import address, read_at, select
from numbanet.kernels.kernel import Kernel, jit
from numbanet.kernels.parallel import run_stages
from numbanet.kernels.simd import Vectors, lanes
from numbanet.kernels.simd import loop as vector_loop

_PIECE = 16384  # elements of a channel that are summed together: the second pass finds them in the second-level cache
_MOST = 64  # pieces of a channel at most
_CUDA_PIECE = 8192  # elements of a channel that a block on CUDA should have at least: sixteen for each thread
_RUN = 2048  # elements that are summed in vector lanes
_COLUMNS = 64  # channels of one task where S = 1
_ABREAST = 4  # vectors of a sum kept apart, or each addition would wait for the one before

# Rows of the table (_ROWS + 4 * pieces, C) that the tasks share.
_WEIGHT, _BIAS, _MEAN, _INV_STD, _VAR, _EPS, _ROWS = 0, 1, 2, 3, 4, 5, 6
_DWEIGHT, _DBIAS = 4, 5  # in the backward pass
_TRAIN, _EVAL = 1, 0
_VECTOR = lanes(np.dtype(np.int8))  # bytes of a vector
_RELU, _ADD = 1, 2  # what follows the normalisation, as bits


@lru_cache(maxsize=1024)
def _plan(
    n: int, c: int, s: int, train: int, after: int, threads: int, lanes: int
) -> tuple[np.ndarray, tuple[int, int], int]:
    """(the plan that the tasks read, tasks of the two stages, rows of the table).

    A task is a group of whole channels, read from memory once, or, where the channels are too few for the threads, one
    piece of a channel; then the second stage begins when all sums are there. Neither choice touches the result. Groups
    hold up to 8 KiB of each sample, which streams where single small channels would jump from page to page: 1.5x on
    (256, 16, 8, 8) and (32, 512, 7, 7). ``after``: _RELU and _ADD, for the tasks. The plan's last number is for an address.
    """
    each = max(1, -(-n // max(1, min(_MOST, n * s // _PIECE))))  # samples of a piece
    pieces = max(1, -(-n // each))
    if s == 1:
        return np.array([n, c, s, n, 1, train, 0, 1, lanes, after, 0], np.int64), (-(-c // _COLUMNS), 0), _ROWS
    whole = pieces == 1 or -(-c // threads) * threads <= 1.5 * c
    group = max(1, min(2048 // s, c // threads)) if whole else 1
    plan = np.array([n, c, s, each, pieces, train, int(not whole), group, lanes, after, 0], np.int64)
    return plan, (-(-c // group), 0) if whole else (c * pieces, c * pieces), _ROWS + 4 * pieces


@jit
def _split(table, row, c, channels, value):  # type: ignore[no-untyped-def]
    """Keep a float64 in two numbers of the table's type, rows ``row`` and ``row + 1``."""
    high = table.dtype.type(value)
    table[row * channels + c] = high
    rest = value - np.float64(high)
    table[(row + 1) * channels + c] = table.dtype.type(rest if rest == rest else 0.0)  # infinity has no rest


@jit
def _joined(table, row, c, channels):  # type: ignore[no-untyped-def]
    return np.float64(table[row * channels + c]) + np.float64(table[(row + 1) * channels + c])


# ---------------------------------------------------------------------------------------- runs of vectors, for CPUs
#
# Masked vectors for the ends, since most images of a late layer are shorter than the loops that LLVM would make of
# this: 3x on (32, 512, 7, 7).


def _over_run(v: Vectors, n: Any, held: list[Any], step: Any) -> list[Any]:
    """``held = step(i, mask, held)`` for the vectors at i < n; the mask is None but for the last."""
    rest = v.builder.and_(n, v.index(v.lanes - 1))
    bulk = v.builder.sub(n, rest)
    held = vector_loop(v.builder, bulk, v.lanes, held, lambda i, held: step(i, None, held))
    return vector_loop(v.builder, rest, v.lanes, held, lambda i, held: step(bulk, v.first(rest, v.lanes), held))


def _zeros(v: Vectors) -> Any:
    return ir.Constant(ir.VectorType(v.scalar, v.lanes), [0.0] * v.lanes)


def _deviation(v: Vectors, pointer: Any, i: Any, mask: Any, center: Any) -> Any:
    """x - center, 0 outside of the mask."""
    value = v.builder.fsub(v.load(pointer, i, v.lanes, mask), center)
    return value if mask is None else v.builder.select(mask, value, _zeros(v))


def _add_sums(v: Vectors, n: Any, sums: Any, step: Any) -> None:
    """Add ``step(i, mask)``, a vector and a product of two, of all i < n to the two vectors at ``sums``."""
    builder, second = v.builder, v.index(v.lanes)
    zero = v.index(0)

    def both(i: Any, mask: Any, held: list[Any]) -> list[Any]:
        value, weight, other = step(i, mask)
        return [
            builder.fadd(held[0], value),
            builder.fadd(held[1], builder.fmul(weight, other, flags=("contract",)), flags=("contract",)),
        ]

    def many(i: Any, held: list[Any]) -> list[Any]:
        new = []
        for k in range(_ABREAST):
            new += both(builder.add(i, v.index(k * v.lanes)), None, held[2 * k : 2 * k + 2])
        return new

    def finish(held: list[Any]) -> None:
        v.store(held[0], sums, zero, v.lanes)
        v.store(held[1], sums, second, v.lanes)

    def start() -> list[Any]:
        return [v.load(sums, zero, v.lanes), v.load(sums, second, v.lanes)]

    rest = builder.and_(n, v.index(_ABREAST * v.lanes - 1))
    bulk = builder.sub(n, rest)
    with builder.if_then(builder.icmp_signed(">", bulk, zero)):
        held = vector_loop(builder, bulk, _ABREAST * v.lanes, start() + [_zeros(v)] * (2 * _ABREAST - 2), many)
        while len(held) > 2:
            half = len(held) // 2
            held = [builder.fadd(a, b) for a, b in zip(held[:half], held[half:], strict=True)]
        finish(held)

    def last(i: Any, mask: Any, held: list[Any]) -> list[Any]:
        return both(builder.add(bulk, i), mask, held)

    with builder.if_then(builder.icmp_signed(">", rest, zero)):
        finish(_over_run(v, rest, start(), last))


@intrinsic
def _add_moments(typingctx, x, at, sums, k, n, center):  # type: ignore[no-untyped-def]
    """Add d, and d * d, for d = x[at : at + n] - center, to the two vectors from sums[k]."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        v = Vectors(context, builder, signature, args, 0)
        source, middle = v.pointer(0), v.splat(args[5], v.lanes)

        def step(i: Any, mask: Any) -> Any:
            return (_deviation(v, source, i, mask, middle),) * 3

        _add_sums(v, args[4], v.pointer(2), step)
        return context.get_dummy_value()

    p = types.intp
    return types.void(x, p, sums, p, p, x.dtype), codegen


@intrinsic
def _add_products(typingctx, dy, d0, x, at, sums, k, n, center):  # type: ignore[no-untyped-def]
    """Add dy, and dy * (x - center), of n elements from dy[d0] and x[at] to the two vectors from sums[k]."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        v = Vectors(context, builder, signature, args, 0)
        gradient, source, middle = v.pointer(0), v.pointer(2), v.splat(args[7], v.lanes)

        def step(i: Any, mask: Any) -> Any:
            g = v.load(gradient, i, v.lanes, mask)
            return g, g, _deviation(v, source, i, mask, middle)

        _add_sums(v, args[6], v.pointer(4), step)
        return context.get_dummy_value()

    p = types.intp
    return types.void(dy, p, x, p, sums, p, p, x.dtype), codegen


@intrinsic
def _add_rectified(typingctx, dy, d0, x, at, sums, k, kept, k0, n, center, y):  # type: ignore[no-untyped-def]
    """As ``_add_products``, of g = dy, but 0 where y <= 0, with y's array at an address; g is written to kept[k0] too."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        v = Vectors(context, builder, signature, args, 0)
        gradient, source, target, middle = v.pointer(0), v.pointer(2), v.pointer(6), v.splat(args[9], v.lanes)
        level = builder.gep(builder.inttoptr(args[10], v.scalar.as_pointer()), [args[3]])

        def step(i: Any, mask: Any) -> Any:
            low = builder.fcmp_ordered("<=", v.load(level, i, v.lanes, mask), _zeros(v))  # NaN is not: it passes
            g = builder.select(low, _zeros(v), v.load(gradient, i, v.lanes, mask))
            v.store(g, target, i, v.lanes, mask)
            return g, g, _deviation(v, source, i, mask, middle)

        _add_sums(v, args[8], v.pointer(4), step)
        return context.get_dummy_value()

    p = types.intp
    return types.void(dy, p, x, p, sums, p, kept, p, p, x.dtype, types.int64), codegen


@intrinsic
def _lane_sum(typingctx, sums, k):  # type: ignore[no-untyped-def]
    """The sum of the vector from sums[k]."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        v = Vectors(context, builder, signature, args, 0)
        return v.total(v.load(v.pointer(0), v.index(0), v.lanes))

    return sums.dtype(sums, types.intp), codegen


@intrinsic
def _scale_run(typingctx, x, at, y, y0, n, center, scale, shift):  # type: ignore[no-untyped-def]
    """y = (x - center) * scale + shift over n elements from x[at] and y[y0]."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        v = Vectors(context, builder, signature, args, 0)
        source, target = v.pointer(0), v.pointer(2)
        middle, factor, rest = (v.splat(value, v.lanes) for value in args[5:])

        def step(i: Any, mask: Any, held: list[Any]) -> list[Any]:
            value = builder.fmul(_deviation(v, source, i, mask, middle), factor, flags=("contract",))
            v.store(builder.fadd(value, rest, flags=("contract",)), target, i, v.lanes, mask)
            return held

        _over_run(v, args[4], [], step)
        return context.get_dummy_value()

    p, number = types.intp, x.dtype
    return types.void(x, p, y, p, p, number, number, number), codegen


@intrinsic
def _finish_run(typingctx, x, at, y, y0, add, a0, n, center, scale, shift, adds, least):  # type: ignore[no-untyped-def]
    """As ``_scale_run``, then y += add if ``adds``, then y = least where y <= least."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        v = Vectors(context, builder, signature, args, 0)
        source, target, more = v.pointer(0), v.pointer(2), v.pointer(4)
        middle, factor, rest = (v.splat(value, v.lanes) for value in args[7:10])
        floor = v.splat(args[11], v.lanes)
        fused = ("contract",)  # the product and one sum; their order stays, which fastmath would change

        def run(adding: bool) -> None:
            def step(i: Any, mask: Any, held: list[Any]) -> list[Any]:
                value = builder.fmul(_deviation(v, source, i, mask, middle), factor, flags=fused)
                value = builder.fadd(value, rest, flags=fused)
                if adding:
                    value = builder.fadd(value, v.load(more, i, v.lanes, mask), flags=fused)
                value = builder.select(builder.fcmp_ordered("<=", value, floor), floor, value)
                v.store(value, target, i, v.lanes, mask)
                return held

            _over_run(v, args[6], [], step)

        with builder.if_else(builder.icmp_signed("!=", args[10], v.index(0))) as (then, otherwise):
            for branch, adding in ((then, True), (otherwise, False)):
                with branch:
                    run(adding)
        return context.get_dummy_value()

    p, number = types.intp, x.dtype
    return types.void(x, p, y, p, add, p, p, number, number, number, types.int64, number), codegen


@intrinsic
def _gradient_run(typingctx, dy, d0, x, at, dx, o0, n, center, scale, slope, shift):  # type: ignore[no-untyped-def]
    """dx = dy * scale - (x - center) * slope - shift over n elements."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        v = Vectors(context, builder, signature, args, 0)
        gradient, source, target = v.pointer(0), v.pointer(2), v.pointer(4)
        middle, factor, tilt, rest = (v.splat(value, v.lanes) for value in args[7:])

        def step(i: Any, mask: Any, held: list[Any]) -> list[Any]:
            value = builder.fmul(v.load(gradient, i, v.lanes, mask), factor, flags=("contract",))
            value = builder.fsub(value, rest, flags=("contract",))
            lean = builder.fmul(_deviation(v, source, i, mask, middle), tilt, flags=("contract",))
            v.store(builder.fsub(value, lean, flags=("contract",)), target, i, v.lanes, mask)
            return held

        _over_run(v, args[6], [], step)
        return context.get_dummy_value()

    p, number = types.intp, x.dtype
    return types.void(dy, p, x, p, dx, p, p, number, number, number, number), codegen


# -------------------------------------------------------------------------------------------------------------- forward


def _finish_reference(values: np.ndarray, add: np.ndarray, relu: int) -> np.ndarray:
    """What follows the normalisation."""
    if add.size:
        values = values + add.astype(np.float64)
    return np.maximum(values, 0) if relu else values


def batch_norm_train_forward_reference(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, add: np.ndarray,
    y: np.ndarray, mean: np.ndarray, inv_std: np.ndarray, var: np.ndarray, eps: float, relu: int,
) -> None:  # fmt: skip
    for c in range(x.shape[1]):
        values = x[:, c, :].astype(np.float64)  # (N, S)
        center = values.sum() / values.size if values.size else np.nan
        spread = np.square(values - center).sum() / values.size if values.size else np.nan
        mean[c], var[c], inv_std[c] = center, spread, 1 / np.sqrt(spread + eps)
        scale = 1 / np.sqrt(spread + eps) * (float(weight[c]) if weight.size else 1.0)
        normal = (values - center) * scale + (float(bias[c]) if bias.size else 0.0)
        y[:, c, :] = _finish_reference(normal, add[:, c, :] if add.size else add, relu)


@jit
def _flush_cpu(sums, totals, length):  # type: ignore[no-untyped-def]
    """Add the lanes of each vector to its float64 total, and clear them."""
    for k in range(totals.size):
        totals[k] += _lane_sum(sums, k * length)
    sums[:] = 0


@jit
def _moments_cpu(x, c0, c1, piece, table, plan):  # type: ignore[no-untyped-def]
    """Mean and sum of squared deviations of one piece of channels c0 .. c1, into the table."""
    n, channels, s, each, length = plan[0], plan[1], plan[2], plan[3], plan[8]
    first, last = min(n, piece * each), min(n, piece * each + each)
    count = max(1, (last - first) * s)
    sums, center = np.zeros(2 * length * (c1 - c0), x.dtype), np.empty(c1 - c0, x.dtype)
    block = max(1, _RUN // s)
    # About the first element, so that a large offset costs no digits; then about the mean, for the sake of outliers.
    for c in range(c0, c1):
        center[c - c0] = x[(min(first, n - 1) * channels + c) * s]
    for again in range(2):
        totals = np.zeros(2 * (c1 - c0))
        for i0 in range(first, last, block):
            for j in range(0, s, _RUN):
                for i in range(i0, min(last, i0 + block)):
                    for c in range(c0, c1):
                        at = (i * channels + c) * s + j
                        _add_moments(x, at, sums, (c - c0) * 2 * length, min(_RUN, s - j), center[c - c0])
                _flush_cpu(sums, totals, length)
        for c in range(c0, c1):
            total, squares = totals[2 * (c - c0)], totals[2 * (c - c0) + 1]
            mean = center[c - c0] + total / count
            center[c - c0] = mean
            if again:
                squares -= total * total / count
                _split(table, _ROWS + 4 * piece, c, channels, mean)
                _split(table, _ROWS + 4 * piece + 2, c, channels, 0.0 if squares < 0.0 else squares)


@jit
def _merge_cpu(c, table, plan):  # type: ignore[no-untyped-def]
    """The channel's mean and variance from its pieces'."""
    n, channels, s, each, pieces = plan[0], plan[1], plan[2], plan[3], plan[4]
    mean, squares, count = 0.0, 0.0, 0
    for piece in range(pieces):
        more = (min(n, piece * each + each) - min(n, piece * each)) * s
        gap = _joined(table, _ROWS + 4 * piece, c, channels) - mean
        count += more
        share = more / max(1, count)
        mean += gap * share
        squares += _joined(table, _ROWS + 4 * piece + 2, c, channels) + gap * gap * share * (count - more)
    return mean, squares / count


@jit
def _coefficients_cpu(x, c, table, plan):  # type: ignore[no-untyped-def]
    """(center, scale, shift) of channel c: y = (x - center) * scale + shift."""
    channels = plan[1]
    eps = np.float64(table[_EPS * channels])
    if plan[5] == _TRAIN:
        mean, var = _merge_cpu(c, table, plan)
    else:
        mean, var = np.float64(table[_MEAN * channels + c]), np.float64(table[_VAR * channels + c])
    scale = table[_WEIGHT * channels + c] / math.sqrt(var + eps)
    # The mean in the array's type, and what that leaves over in the shift: see the module's docstring.
    center = x.dtype.type(mean)
    shift = table[_BIAS * channels + c] + (np.float64(center) - mean) * scale
    return center, x.dtype.type(scale), x.dtype.type(shift), var


@jit
def _forward_task(stage, task, thread, x, y, add, _, table, plan):  # type: ignore[no-untyped-def]
    n, channels, s, each, pieces, train, parted, group, after = (
        plan[0], plan[1], plan[2], plan[3], plan[4], plan[5], plan[6], plan[7], plan[9]
    )  # fmt: skip
    c0, piece = (task // pieces, task % pieces) if parted else (task * group, 0)
    c1, last = (c0 + 1, piece + 1) if parted else (min(channels, c0 + group), pieces)
    if stage == 0 and train == _TRAIN:
        for here in range(piece, last):
            _moments_cpu(x, c0, c1, here, table, plan)
    if stage == 0 and parted:
        return
    coefficients = np.empty((c1 - c0, 3), x.dtype)
    for c in range(c0, c1):
        center, scale, shift, var = _coefficients_cpu(x, c, table, plan)
        coefficients[c - c0, 0], coefficients[c - c0, 1], coefficients[c - c0, 2] = center, scale, shift
        if train == _TRAIN and piece == 0:
            table[_MEAN * channels + c], table[_VAR * channels + c] = center, var
            table[_INV_STD * channels + c] = 1.0 / math.sqrt(var + np.float64(table[_EPS * channels]))
    if after:
        least = x.dtype.type(0.0 if after & _RELU else -np.inf)
        for i in range(min(n, piece * each), min(n, last * each)):
            for c in range(c0, c1):
                at, k = (i * channels + c) * s, c - c0
                _finish_run(
                    x, at, y, at, add, at, s,
                    coefficients[k, 0], coefficients[k, 1], coefficients[k, 2], after & _ADD, least,
                )  # fmt: skip
        return
    for i in range(min(n, piece * each), min(n, last * each)):
        for c in range(c0, c1):
            at, k = (i * channels + c) * s, c - c0
            _scale_run(x, at, y, at, s, coefficients[k, 0], coefficients[k, 1], coefficients[k, 2])


@jit
def _forward_columns_task(stage, task, thread, x, y, add, _, table, plan):  # type: ignore[no-untyped-def]
    """S = 1: x is (N, C), and vectors run across the channels."""
    n, channels, after = plan[0], plan[1], plan[9]
    first = task * _COLUMNS
    wide = min(_COLUMNS, channels - first)
    mean, var = np.zeros(wide), np.zeros(wide)
    eps = np.float64(table[_EPS * channels])
    if plan[5] == _TRAIN:
        for i in range(n):
            row = x[i * channels + first :][:wide]
            for j in range(wide):
                mean[j] += row[j]
        for j in range(wide):
            mean[j] /= n
        for i in range(n):
            row = x[i * channels + first :][:wide]
            for j in range(wide):
                var[j] += (row[j] - mean[j]) * (row[j] - mean[j])
        for j in range(wide):
            var[j] /= n
            table[_MEAN * channels + first + j], table[_VAR * channels + first + j] = mean[j], var[j]
            table[_INV_STD * channels + first + j] = 1.0 / math.sqrt(var[j] + eps)
    else:
        for j in range(wide):
            mean[j], var[j] = table[_MEAN * channels + first + j], table[_VAR * channels + first + j]
    center, scale, shift = np.empty(wide, x.dtype), np.empty(wide, x.dtype), np.empty(wide, x.dtype)
    for j in range(wide):
        scale[j] = table[_WEIGHT * channels + first + j] / math.sqrt(var[j] + eps)
        center[j] = mean[j]
        shift[j] = table[_BIAS * channels + first + j] + (np.float64(center[j]) - mean[j]) * np.float64(scale[j])
    for i in range(n):
        source, target = x[i * channels + first :][:wide], y[i * channels + first :][:wide]
        for j in range(wide):
            target[j] = (source[j] - center[j]) * scale[j] + shift[j]
        if after & _ADD:
            more = add[i * channels + first :][:wide]
            for j in range(wide):
                target[j] += more[j]
        if after & _RELU:
            zero = x.dtype.type(0)
            for j in range(wide):
                target[j] = select(target[j] <= zero, zero, target[j])


def _after(add: Any, relu: int) -> int:
    return (_RELU if relu else 0) + (_ADD if add.size else 0)


def _batch_norm_train_forward_cpu(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, add: np.ndarray,
    y: np.ndarray, mean: np.ndarray, inv_std: np.ndarray, var: np.ndarray, eps: float, relu: int,
) -> None:  # fmt: skip
    n, c, s = x.shape
    if x.size == 0:
        for statistic in (mean, inv_std, var):
            statistic.fill(np.nan)
        return
    plan, tasks, rows = _plan(n, c, s, _TRAIN, _after(add, relu), numba.get_num_threads(), _VECTOR // x.itemsize)
    table = empty((rows, c), x.dtype)
    table[_WEIGHT] = weight if weight.size else 1
    table[_BIAS] = bias if bias.size else 0
    table[_EPS] = eps
    flat, out = x.reshape(-1), y.reshape(-1)
    body = _forward_columns_task if s == 1 else _forward_task
    run_stages(body, tasks, flat, out, add.reshape(-1) if add.size else out, out, table.reshape(-1), plan)
    mean[:], inv_std[:], var[:] = table[_MEAN], table[_INV_STD], table[_VAR]


# On CUDA a block takes a piece of a channel. Where a channel is one piece, one launch does all; else the first launch leaves each
# piece's sums in ``partial`` (channels, pieces, numbers), and every block of the second one joins those of its channel, in order.
_WHOLE, _SUMS, _APPLY = 0, 1, 2


def _threads() -> int:
    """Threads of a block."""
    return min(1024, 2 * launch.THREADS)


def _cuda_pieces(channels: int, count: int) -> tuple[int, int]:
    """(pieces of a channel of ``count`` elements, elements of each but the last): eight blocks for each of 128 multiprocessors, if they
    have enough to do."""
    length = -(-count // max(1, min(-(-1024 // channels), count // _CUDA_PIECE)))
    return max(1, -(-count // max(1, length))), length


@cuda.jit(device=True, inline="always")
def _sum_of_block(value, tree, t, threads):  # type: ignore[no-untyped-def]
    """The sum of the threads' values, for each of them."""
    tree[t] = value
    cuda.syncthreads()
    width = threads
    while width > 1:
        half = (width + 1) // 2
        if t + half < width:
            tree[t] += tree[t + half]
        cuda.syncthreads()
        width = half
    total = tree[0]
    cuda.syncthreads()
    return total


@cuda.jit(device=True, inline="always")
def _walk(start, threads, channels, c, s):  # type: ignore[no-untyped-def]
    """How a thread comes by the elements start, start + threads, ... of channel c without dividing for each.

    Returns (address, position in its image) of the first one, (gain of the address, gain of the position) of each step, and what the
    address gains besides where the position passes the image's end s and goes back by it.
    """
    image, aside = start // s, threads % s
    p = start - image * s
    return (image * channels + c) * s + p, p, threads // s * channels * s + aside, aside, (channels - 1) * s


@cache
def _train_forward_cuda_kernel(threads: int) -> Any:
    """The kernel for blocks of ``threads`` threads."""

    @cuda.jit(**launch.bounds(threads, 3))
    def batch_norm_train_forward_cuda(
        x, weight, bias, add, y, mean, inv_std, var, partial, channels, s, count, pieces, length, stage, eps, relu
    ):  # type: ignore[no-untyped-def]
        tree = cuda.shared.array(threads, dtype=x.dtype)
        number = x.dtype.type
        zero = number(0)
        t = cuda.threadIdx.x
        c = cuda.blockIdx.x // pieces
        piece = cuda.blockIdx.x - c * pieces
        first = piece * length
        last = min(first + length, count)
        start = first + t
        at0, p0, step, aside, jump = _walk(start, threads, channels, c, s)
        # The mean in two parts, as of data with a large offset one number holds too few digits; then squares about it.
        center, rest, squares = zero, zero, zero
        if stage != _APPLY:
            for moment in range(3):
                total, lost = zero, zero  # Kahan
                at, p = at0, p0
                for _ in range(start, last, threads):
                    value = (x[at] - center) - rest
                    if moment == 2:
                        value = value * value
                    value -= lost
                    new = total + value
                    lost = (new - total) - value
                    total = new
                    at += step
                    p += aside
                    if p >= s:
                        p -= s
                        at += jump
                total = _sum_of_block(total, tree, t, threads)
                if moment == 0:
                    center = total / number(last - first)
                elif moment == 1:
                    rest = total / number(last - first)
                else:
                    squares = total
            if stage == _SUMS:
                if t == 0:
                    place = (c * pieces + piece) * 3
                    partial[place], partial[place + 1], partial[place + 2] = center, rest, squares
                return
        else:
            base = c * pieces * 3
            center = partial[base]
            for k in range(pieces):
                n = number(min(length, count - k * length))
                rest += n * ((partial[base + 3 * k] - center) + partial[base + 3 * k + 1])
            rest /= number(count)
            for k in range(pieces):
                n = number(min(length, count - k * length))
                gap = (partial[base + 3 * k] - center) + (partial[base + 3 * k + 1] - rest)
                squares += partial[base + 3 * k + 2] + n * gap * gap
        spread = squares / number(count)
        inverse = number(1) / math.sqrt(spread + eps)
        if t == 0 and piece == 0:
            mean[c], inv_std[c], var[c] = center + rest, inverse, spread
        scale = inverse * weight[c] if weight.size > 0 else inverse
        shift = bias[c] if bias.size > 0 else zero
        at, p = at0, p0
        for _ in range(start, last, threads):
            value = ((x[at] - center) - rest) * scale + shift
            if add.size > 0:
                value += add[at]
            if relu != 0 and value <= zero:
                value = zero
            y[at] = value
            at += step
            p += aside
            if p >= s:
                p -= s
                at += jump

    return batch_norm_train_forward_cuda


def _batch_norm_train_forward_cuda(
    x: Any, weight: Any, bias: Any, add: Any, y: Any, mean: Any, inv_std: Any, var: Any, eps: float, relu: int
) -> None:
    n, c, s = x.shape
    if c:
        threads, (pieces, length) = _threads(), _cuda_pieces(c, n * s)
        number = np.dtype(x.dtype).type  # a Python float would bring float64 arithmetic into the kernel
        partial = empty((c * pieces * 3 if pieces > 1 else 0,), x.dtype, device_of(x))
        arrays = x.reshape(x.size), weight, bias, add.reshape(add.size), y.reshape(y.size), mean, inv_std, var, partial
        for stage in (_SUMS, _APPLY) if pieces > 1 else (_WHOLE,):
            _train_forward_cuda_kernel(threads)[c * pieces, threads](
                *arrays, c, max(s, 1), n * s, pieces, length, stage, number(eps), int(relu)
            )


batch_norm_train_forward = Kernel(
    "batch_norm_train_forward",
    reference=batch_norm_train_forward_reference,
    cpu=_batch_norm_train_forward_cpu,
    cuda=_batch_norm_train_forward_cuda,
)


def batch_norm_eval_forward_reference(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray,
    running_mean: np.ndarray, running_var: np.ndarray, add: np.ndarray, y: np.ndarray, eps: float, relu: int,
) -> None:  # fmt: skip
    for c in range(x.shape[1]):
        scale = (float(weight[c]) if weight.size else 1.0) / np.sqrt(float(running_var[c]) + eps)
        normal = (x[:, c, :].astype(np.float64) - float(running_mean[c])) * scale
        normal += float(bias[c]) if bias.size else 0.0
        y[:, c, :] = _finish_reference(normal, add[:, c, :] if add.size else add, relu)


def _batch_norm_eval_forward_cpu(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray,
    running_mean: np.ndarray, running_var: np.ndarray, add: np.ndarray, y: np.ndarray, eps: float, relu: int,
) -> None:  # fmt: skip
    n, c, s = x.shape
    if x.size == 0:
        return
    plan, tasks, _ = _plan(n, c, s, _EVAL, _after(add, relu), numba.get_num_threads(), _VECTOR // x.itemsize)
    table = empty((_ROWS, c), x.dtype)
    table[_WEIGHT] = weight if weight.size else 1
    table[_BIAS] = bias if bias.size else 0
    table[_MEAN], table[_VAR], table[_EPS] = running_mean, running_var, eps
    flat, out = x.reshape(-1), y.reshape(-1)
    body = _forward_columns_task if s == 1 else _forward_task
    run_stages(body, tasks, flat, out, add.reshape(-1) if add.size else out, out, table.reshape(-1), plan)


@cuda.jit
def _batch_norm_eval_forward_cuda_kernel(x, weight, bias, running_mean, running_var, add, y, eps, channels, s, relu):  # type: ignore[no-untyped-def]
    i = cuda.grid(1)
    if i < x.size:
        c = i // s % channels
        value = (x[i] - running_mean[c]) / math.sqrt(running_var[c] + eps)
        if weight.size > 0:
            value *= weight[c]
        if bias.size > 0:
            value += bias[c]
        if add.size > 0:
            value += add[i]
        zero = x.dtype.type(0)
        y[i] = zero if relu != 0 and value <= zero else value


def _batch_norm_eval_forward_cuda(
    x: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, add: Any, y: Any, eps: float, relu: int
) -> None:
    if x.size:
        _batch_norm_eval_forward_cuda_kernel[launch.line(x.size)](
            x.reshape(x.size), weight, bias, running_mean, running_var, add.reshape(add.size), y.reshape(y.size),
            np.dtype(x.dtype).type(eps), *x.shape[1:], int(relu),
        )  # fmt: skip


batch_norm_eval_forward = Kernel(
    "batch_norm_eval_forward",
    reference=batch_norm_eval_forward_reference,
    cpu=_batch_norm_eval_forward_cpu,
    cuda=_batch_norm_eval_forward_cuda,
)


# ------------------------------------------------------------------------------------------------------------- backward


def _rectified_reference(dy: np.ndarray, y: np.ndarray, dadd: np.ndarray) -> np.ndarray:
    """The gradient before the ReLU, in float64; written to dadd where that is wanted."""
    if not y.size:
        return dy.astype(np.float64)
    gradient = np.where(y <= 0, 0, dy)
    if dadd.size:
        dadd[...] = gradient
    return gradient.astype(np.float64)


def batch_norm_train_backward_reference(
    dy: np.ndarray, x: np.ndarray, weight: np.ndarray, mean: np.ndarray, inv_std: np.ndarray, y: np.ndarray,
    dx: np.ndarray, dweight: np.ndarray, dbias: np.ndarray, dadd: np.ndarray,
) -> None:  # fmt: skip
    rectified = _rectified_reference(dy, y, dadd)
    for c in range(x.shape[1]):
        gradient = rectified[:, c, :]  # (N, S)
        hat = (x[:, c, :].astype(np.float64) - float(mean[c])) * float(inv_std[c])
        if dweight.size:
            dweight[c] = np.sum(gradient * hat)
        if dbias.size:
            dbias[c] = np.sum(gradient)
        scale = float(inv_std[c]) * (float(weight[c]) if weight.size else 1.0)
        if gradient.size:
            dx[:, c, :] = scale * (gradient - gradient.mean() - hat * (gradient * hat).mean())


@jit
def _gradient_sums_cpu(dy, x, kept, c0, c1, piece, table, plan):  # type: ignore[no-untyped-def]
    """Of one piece of channels c0 .. c1: sum g, and sum g * (x - mean), into the table; and g into ``kept`` if it is not dy."""
    n, channels, s, each, length, after, y = plan[0], plan[1], plan[2], plan[3], plan[8], plan[9], plan[10]
    first, last = min(n, piece * each), min(n, piece * each + each)
    sums, totals = np.zeros(2 * length * (c1 - c0), x.dtype), np.zeros(2 * (c1 - c0))
    block = max(1, _RUN // s)
    for i0 in range(first, last, block):
        for j in range(0, s, _RUN):
            if after:
                for i in range(i0, min(last, i0 + block)):
                    for c in range(c0, c1):
                        at, mean, k = (i * channels + c) * s + j, table[_MEAN * channels + c], (c - c0) * 2 * length
                        _add_rectified(dy, at, x, at, sums, k, kept, at, min(_RUN, s - j), mean, y)
            else:
                for i in range(i0, min(last, i0 + block)):
                    for c in range(c0, c1):
                        at, mean = (i * channels + c) * s + j, table[_MEAN * channels + c]
                        _add_products(dy, at, x, at, sums, (c - c0) * 2 * length, min(_RUN, s - j), mean)
            _flush_cpu(sums, totals, length)
    for c in range(c0, c1):
        _split(table, _ROWS + 4 * piece, c, channels, totals[2 * (c - c0)])
        _split(table, _ROWS + 4 * piece + 2, c, channels, totals[2 * (c - c0) + 1])


@jit
def _backward_task(stage, task, thread, dy, x, dx, kept, table, plan):  # type: ignore[no-untyped-def]
    n, channels, s, each, pieces, train, parted, group = (
        plan[0], plan[1], plan[2], plan[3], plan[4], plan[5], plan[6], plan[7]
    )  # fmt: skip
    c0, piece = (task // pieces, task % pieces) if parted else (task * group, 0)
    c1, last = (c0 + 1, piece + 1) if parted else (min(channels, c0 + group), pieces)
    if stage == 0:
        for here in range(piece, last):
            _gradient_sums_cpu(dy, x, kept, c0, c1, here, table, plan)
    if stage == 0 and parted:
        return
    coefficients = np.empty((c1 - c0, 4), x.dtype)
    for c in range(c0, c1):
        plain, weighted = 0.0, 0.0
        for here in range(pieces):
            plain += _joined(table, _ROWS + 4 * here, c, channels)
            weighted += _joined(table, _ROWS + 4 * here + 2, c, channels)
        inverse = np.float64(table[_INV_STD * channels + c])
        if piece == 0:
            table[_DBIAS * channels + c], table[_DWEIGHT * channels + c] = plain, weighted * inverse
        scale = table[_WEIGHT * channels + c] * inverse
        slope, shift = 0.0, 0.0
        if train == _TRAIN:
            slope, shift = scale * inverse * inverse * weighted / (n * s), scale * plain / (n * s)
        coefficients[c - c0, 0], coefficients[c - c0, 1] = table[_MEAN * channels + c], scale
        coefficients[c - c0, 2], coefficients[c - c0, 3] = slope, shift
    for i in range(min(n, piece * each), min(n, last * each)):
        for c in range(c0, c1):
            at, k = (i * channels + c) * s, c - c0
            if train != _TRAIN:  # x has no part in it, not even where it is NaN
                gradient, out, scale = kept[at:][:s], dx[at:][:s], coefficients[k, 1]
                for j in range(s):
                    out[j] = gradient[j] * scale
                continue
            _gradient_run(
                kept, at, x, at, dx, at, s,
                coefficients[k, 0], coefficients[k, 1], coefficients[k, 2], coefficients[k, 3],
            )  # fmt: skip


@jit
def _backward_columns_task(stage, task, thread, dy, x, dx, kept, table, plan):  # type: ignore[no-untyped-def]
    """S = 1: the arrays are (N, C), and vectors run across the channels."""
    n, channels, train, after, y = plan[0], plan[1], plan[5], plan[9], plan[10]
    first = task * _COLUMNS
    wide = min(_COLUMNS, channels - first)
    plain, weighted = np.zeros(wide), np.zeros(wide)
    mean = table[_MEAN * channels + first :][:wide]
    for i in range(n):
        at = i * channels + first
        gradient, row = kept[at:][:wide], x[at:][:wide]
        if after:
            source, zero = dy[at:][:wide], x.dtype.type(0)
            for j in range(wide):
                gradient[j] = select(read_at(x, y, at + j) <= zero, zero, source[j])
        for j in range(wide):
            plain[j] += gradient[j]
            weighted[j] += gradient[j] * (np.float64(row[j]) - mean[j])
    scale, slope, shift = np.empty(wide, x.dtype), np.zeros(wide, x.dtype), np.zeros(wide, x.dtype)
    for j in range(wide):
        inverse = np.float64(table[_INV_STD * channels + first + j])
        table[_DBIAS * channels + first + j], table[_DWEIGHT * channels + first + j] = plain[j], weighted[j] * inverse
        factor = table[_WEIGHT * channels + first + j] * inverse
        scale[j] = factor
        if train == _TRAIN:
            slope[j], shift[j] = factor * inverse * inverse * weighted[j] / n, factor * plain[j] / n
    for i in range(n):
        at = i * channels + first
        gradient, row, out = kept[at:][:wide], x[at:][:wide], dx[at:][:wide]
        if train != _TRAIN:
            for j in range(wide):
                out[j] = gradient[j] * scale[j]
            continue
        for j in range(wide):
            out[j] = gradient[j] * scale[j] - (row[j] - mean[j]) * slope[j] - shift[j]


def _backward_cpu(
    dy: np.ndarray, x: np.ndarray, weight: np.ndarray, mean: np.ndarray, inv_std: np.ndarray, y: np.ndarray,
    dx: np.ndarray, dweight: np.ndarray, dbias: np.ndarray, dadd: np.ndarray, train: int,
) -> None:  # fmt: skip
    n, c, s = x.shape
    if x.size == 0:
        dweight.fill(0)
        dbias.fill(0)
        return
    plan, tasks, _ = _plan(n, c, s, train, _RELU if y.size else 0, numba.get_num_threads(), _VECTOR // x.itemsize)
    table = empty((_ROWS + 4 * int(plan[4]), c), x.dtype)
    table[_WEIGHT] = weight if weight.size else 1
    table[_MEAN], table[_INV_STD] = mean, inv_std
    source, flat, out = dy.reshape(-1), x.reshape(-1), dx.reshape(-1)
    kept = source
    if y.size:  # the sums' pass writes g, which the second pass reads: over dx, or into dadd, and y is read once
        plan, kept = plan.copy(), dadd.reshape(-1) if dadd.size else out
        plan[-1] = address(y)
    body = _backward_columns_task if s == 1 else _backward_task
    run_stages(body, tasks, source, flat, out, kept, table.reshape(-1), plan)
    if dweight.size:
        dweight[:] = table[_DWEIGHT]
    if dbias.size:
        dbias[:] = table[_DBIAS]


def _batch_norm_train_backward_cpu(
    dy: np.ndarray, x: np.ndarray, weight: np.ndarray, mean: np.ndarray, inv_std: np.ndarray, y: np.ndarray,
    dx: np.ndarray, dweight: np.ndarray, dbias: np.ndarray, dadd: np.ndarray,
) -> None:  # fmt: skip
    _backward_cpu(dy, x, weight, mean, inv_std, y, dx, dweight, dbias, dadd, _TRAIN)


@cache
def _backward_cuda_kernel(threads: int) -> Any:
    """The kernel for blocks of ``threads`` threads. ``spread``: inv_std, or the running variance."""

    @cuda.jit(**launch.bounds(threads, 4))
    def batch_norm_backward_cuda(
        dy,
        x,
        weight,
        mean,
        spread,
        y,
        dx,
        dweight,
        dbias,
        dadd,
        partial,
        channels,
        s,
        count,
        pieces,
        length,
        stage,
        eps,
        train,
    ):  # type: ignore[no-untyped-def]
        tree = cuda.shared.array(threads, dtype=x.dtype)
        number = x.dtype.type
        zero = number(0)
        t = cuda.threadIdx.x
        c = cuda.blockIdx.x // pieces
        piece = cuda.blockIdx.x - c * pieces
        first = piece * length
        last = min(first + length, count)
        start = first + t
        at0, p0, step, aside, jump = _walk(start, threads, channels, c, s)
        center = mean[c]
        inverse = spread[c] if train != 0 else number(1) / math.sqrt(spread[c] + eps)
        plain, weighted = zero, zero  # sum dy, and sum dy * (x - mean) * inv_std
        if stage != _APPLY:
            plain_lost, weighted_lost = zero, zero  # Kahan
            at, p = at0, p0
            for _ in range(start, last, threads):
                value = dy[at]
                if y.size > 0 and y[at] <= zero:
                    value = zero
                product = value * ((x[at] - center) * inverse) - weighted_lost
                new = weighted + product
                weighted_lost = (new - weighted) - product
                weighted = new
                value -= plain_lost
                new = plain + value
                plain_lost = (new - plain) - value
                plain = new
                at += step
                p += aside
                if p >= s:
                    p -= s
                    at += jump
            plain = _sum_of_block(plain, tree, t, threads)
            weighted = _sum_of_block(weighted, tree, t, threads)
            if stage == _SUMS:
                if t == 0:
                    place = (c * pieces + piece) * 2
                    partial[place], partial[place + 1] = plain, weighted
                return
        else:
            for k in range(c * pieces, (c + 1) * pieces):
                plain += partial[2 * k]
                weighted += partial[2 * k + 1]
        if t == 0 and piece == 0:
            if dweight.size > 0:
                dweight[c] = weighted
            if dbias.size > 0:
                dbias[c] = plain
        scale = inverse * weight[c] if weight.size > 0 else inverse
        slope, shift = zero, zero
        if train != 0:
            slope, shift = weighted / number(count), plain / number(count)
        at, p = at0, p0
        for _ in range(start, last, threads):
            value = dy[at]
            if y.size > 0:
                if y[at] <= zero:
                    value = zero
                if dadd.size > 0:
                    dadd[at] = value
            if train != 0:
                value -= shift + (x[at] - center) * inverse * slope
            dx[at] = scale * value
            at += step
            p += aside
            if p >= s:
                p -= s
                at += jump

    return batch_norm_backward_cuda


def _backward_cuda(
    dy: Any, x: Any, weight: Any, mean: Any, spread: Any, y: Any,
    dx: Any, dweight: Any, dbias: Any, dadd: Any, eps: float, train: int,
) -> None:  # fmt: skip
    n, c, s = x.shape
    if c:
        threads, (pieces, length) = _threads(), _cuda_pieces(c, n * s)
        number = np.dtype(x.dtype).type
        partial = empty((c * pieces * 2 if pieces > 1 else 0,), x.dtype, device_of(x))
        arrays = (
            dy.reshape(dy.size), x.reshape(x.size), weight, mean, spread, y.reshape(y.size),
            dx.reshape(dx.size), dweight, dbias, dadd.reshape(dadd.size), partial,
        )  # fmt: skip
        for stage in (_SUMS, _APPLY) if pieces > 1 else (_WHOLE,):
            _backward_cuda_kernel(threads)[c * pieces, threads](
                *arrays, c, max(s, 1), n * s, pieces, length, stage, number(eps), train
            )


def _batch_norm_train_backward_cuda(
    dy: Any, x: Any, weight: Any, mean: Any, inv_std: Any, y: Any, dx: Any, dweight: Any, dbias: Any, dadd: Any
) -> None:
    _backward_cuda(dy, x, weight, mean, inv_std, y, dx, dweight, dbias, dadd, 0.0, _TRAIN)


batch_norm_train_backward = Kernel(
    "batch_norm_train_backward",
    reference=batch_norm_train_backward_reference,
    cpu=_batch_norm_train_backward_cpu,
    cuda=_batch_norm_train_backward_cuda,
)


def batch_norm_eval_backward_reference(
    dy: np.ndarray, x: np.ndarray, weight: np.ndarray, running_mean: np.ndarray, running_var: np.ndarray, y: np.ndarray,
    dx: np.ndarray, dweight: np.ndarray, dbias: np.ndarray, dadd: np.ndarray, eps: float,
) -> None:  # fmt: skip
    rectified = _rectified_reference(dy, y, dadd)
    for c in range(x.shape[1]):
        gradient = rectified[:, c, :]  # (N, S)
        inverse = 1 / np.sqrt(float(running_var[c]) + eps)
        if dweight.size:
            dweight[c] = np.sum(gradient * (x[:, c, :].astype(np.float64) - float(running_mean[c])) * inverse)
        if dbias.size:
            dbias[c] = np.sum(gradient)
        dx[:, c, :] = gradient * inverse * (float(weight[c]) if weight.size else 1.0)


def _batch_norm_eval_backward_cpu(
    dy: np.ndarray, x: np.ndarray, weight: np.ndarray, running_mean: np.ndarray, running_var: np.ndarray, y: np.ndarray,
    dx: np.ndarray, dweight: np.ndarray, dbias: np.ndarray, dadd: np.ndarray, eps: float,
) -> None:  # fmt: skip
    inv_std = 1 / np.sqrt(running_var.astype(np.float64) + eps)
    _backward_cpu(dy, x, weight, running_mean, inv_std, y, dx, dweight, dbias, dadd, _EVAL)


def _batch_norm_eval_backward_cuda(
    dy: Any, x: Any, weight: Any, running_mean: Any, running_var: Any, y: Any,
    dx: Any, dweight: Any, dbias: Any, dadd: Any, eps: float,
) -> None:  # fmt: skip
    _backward_cuda(dy, x, weight, running_mean, running_var, y, dx, dweight, dbias, dadd, eps, _EVAL)


batch_norm_eval_backward = Kernel(
    "batch_norm_eval_backward",
    reference=batch_norm_eval_backward_reference,
    cpu=_batch_norm_eval_backward_cpu,
    cuda=_batch_norm_eval_backward_cuda,
)


# --------------------------------------------------------------------------------------------------- running statistics


def batch_norm_update_running_reference(
    running_mean: np.ndarray, running_var: np.ndarray, mean: np.ndarray, var: np.ndarray, momentum: float, count: int
) -> None:
    for c in range(mean.size):
        unbiased = float(var[c]) * count / (count - 1) if count > 1 else float(var[c])
        running_mean[c] = (1 - momentum) * float(running_mean[c]) + momentum * float(mean[c])
        running_var[c] = (1 - momentum) * float(running_var[c]) + momentum * unbiased


def _batch_norm_update_running_cpu(
    running_mean: np.ndarray, running_var: np.ndarray, mean: np.ndarray, var: np.ndarray, momentum: float, count: int
) -> None:
    # A few hundred numbers: NumPy, no kernel to compile.
    running_mean *= 1 - momentum
    running_mean += momentum * mean
    running_var *= 1 - momentum
    running_var += (momentum * count / max(count - 1, 1)) * var


@cuda.jit
def _batch_norm_update_running_cuda_kernel(running_mean, running_var, mean, var, keep, momentum, unbiased):  # type: ignore[no-untyped-def]
    c = cuda.grid(1)
    if c < mean.size:
        running_mean[c] = keep * running_mean[c] + momentum * mean[c]
        running_var[c] = keep * running_var[c] + unbiased * var[c]


def _batch_norm_update_running_cuda(
    running_mean: Any, running_var: Any, mean: Any, var: Any, momentum: float, count: int
) -> None:
    if mean.size:
        number = np.dtype(mean.dtype).type
        unbiased = momentum * count / max(count - 1, 1)
        _batch_norm_update_running_cuda_kernel[launch.line(mean.size)](
            running_mean, running_var, mean, var, number(1 - momentum), number(momentum), number(unbiased)
        )


batch_norm_update_running = Kernel(
    "batch_norm_update_running",
    reference=batch_norm_update_running_reference,
    cpu=_batch_norm_update_running_cpu,
    cuda=_batch_norm_update_running_cuda,
)

_FLAT = "float32[::1]"
CUDA_KERNELS = (
    (
        lambda: _train_forward_cuda_kernel(_threads()),
        f"void({', '.join([_FLAT] * 9)}, {'int64, ' * 6}float32, int64)",
    ),
    (_batch_norm_eval_forward_cuda_kernel, f"void({', '.join([_FLAT] * 7)}, float32, int64, int64, int64)"),
    (
        lambda: _backward_cuda_kernel(_threads()),
        f"void({', '.join([_FLAT] * 11)}, {'int64, ' * 6}float32, int64)",
    ),
    (_batch_norm_update_running_cuda_kernel, f"void({', '.join([_FLAT] * 4)}, float32, float32, float32)"),
)
