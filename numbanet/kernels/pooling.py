"""Pooling over windows of images: maximum, average, and their adaptive forms; power averages.

Arrays are C-contiguous, float32 or float64: x, dx (N, C, H, W); y, dy (N, C, OH, OW). The caller allocates; outputs are
overwritten. A window of output (r, c) begins at row r * sh - pt and column c * sw - pl of x and takes KH x KW elements
that lie dh and dw apart; OH and OW come with the arrays, so ceil mode and lopsided padding need no argument of their own.

``max_pool2d_forward(x, y, indices, kh, kw, sh, sw, pt, pl, dh, dw)``
    indices: int64 (or int32, which is faster) of y's shape, the position h * W + w of each maximum in its plane; or a
    (0,) array: not wanted. The first of equal maxima wins, -0.0 equals 0.0. NaN beats every number, and the last NaN
    of a window wins. Padding is -inf; a window of nothing but -inf points to its first element inside x.
``max_pool2d_backward(dy, indices, dx)``
    dx = the sum of dy over the outputs whose index points there. Also the backward pass of adaptive max pooling.
``max_unpool2d_forward(x, indices, y)``
    x, indices (N, C, OH, OW), y (N, C, H, W): y = 0 but for y[index] = x, plane by plane; the last of equal indices wins.
``max_unpool2d_backward(dy, indices, dx)``
    dx[...] = dy[index]: the elements at the indices. Indices must lie in the plane, also those of the two above.
``avg_pool2d_forward(x, y, kh, kw, sh, sw, pt, pl, pb, pr, count_include_pad, divisor_override)``
    The sum over the window (padding counts as 0) divided by ``divisor_override`` or, where that is 0, by the number of
    elements in the window: those inside the padded image (rows -pt .. H + pb, columns -pl .. W + pr) when
    ``count_include_pad``, else those inside x. A window wholly in the padding gives 0.
``avg_pool2d_backward(dy, dx, kh, kw, sh, sw, pt, pl, pb, pr, count_include_pad, divisor_override)``
``adaptive_avg_pool2d_forward(x, y)``, ``adaptive_avg_pool2d_backward(dy, dx)``, ``adaptive_max_pool2d_forward(x, y, indices)``
    Window r covers rows floor(r * H / OH) up to ceil((r + 1) * H / OH), columns likewise; H, W > 0 where OH, OW > 0.
``lp_pool2d_forward(x, y, p, kh, kw, sh, sw)``
    y = s^(1 / p), s = KH * KW times the average of x^p over the part of a window inside x; p is 2 or 3. NaN where s < 0.
``lp_pool2d_backward(dy, x, y, dx, p, kh, kw, sh, sw)``
    dx = x^(p - 1) times the sum over x's windows of dy * y^(1 - p), each times KH * KW over the window's number of elements
    inside x; windows with y = 0 give nothing.

Sums are kept in the arrays' dtype, large windows row by row in float64 (CPU) or compensated (CUDA). Every value is
computed by one thread in a fixed order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from numbanet.devices import cuda, empty
from numbanet.kernels import launch
from numbanet.kernels.index import exp_, log_, read, reread, scalar, write
from numbanet.kernels.kernel import Kernel, jit
from numbanet.kernels.parallel import _stages, run_stages
from numbanet.kernels.simd import Vectors, best_of_row
from numbanet.kernels.simd import loop as vector_loop


@lru_cache(maxsize=1024)
def _plan(planes: int, inside: int, *numbers: int) -> tuple[np.ndarray, int]:
    """(the plain numbers of a call as the array that the tasks read, the number of tasks).

    A task is some planes: small ones go together, since to begin a task takes as long as to pool 20 rows of them (4x on
    the global average of (32, 512, 7, 7)).
    """
    chunk = max(1, min(8192 // max(inside, 1), planes // 32))
    return np.array((planes, chunk, *numbers), np.int64), -(-planes // chunk)


@scalar
def _divisor(r, c, h, w, kh, kw, sh, sw, pt, pl, pb, pr, count_include_pad, divisor_override):  # type: ignore[no-untyped-def]
    """What the sum over window (r, c) is divided by; at least 1."""
    top, left = r * sh - pt, c * sw - pl
    bottom, right = min(top + kh, h + pb), min(left + kw, w + pr)
    if divisor_override != 0:
        count = divisor_override
    elif count_include_pad:
        count = (bottom - top) * (right - left)
    else:
        count = (min(bottom, h) - max(top, 0)) * (min(right, w) - max(left, 0))
    return max(count, 1) if divisor_override == 0 else count


# ------------------------------------------------------------------------------------------------- vectors, for CPUs

_INT = ir.IntType(32)


def _window_loop(
    v: Vectors,
    source: Any,
    c: Any,
    window: tuple[Any, ...],
    stride: int,
    held: list[Any],
    step: Callable[..., list[Any]],
    masked: bool = True,
) -> list[Any]:
    """For the outputs c .. c + lanes, go through the window: ``held = step(held, elements, inside, positions)``.

    ``window`` is (step, rows, dw, kw, left, w) as in ``_max_row``. ``elements`` are zeros where not ``inside``;
    positions count from the first of the rows. Without ``masked`` all elements are known to be inside, and ``inside`` and
    ``positions`` are None.
    """
    builder, lanes = v.builder, v.lanes
    row_step, rows, dw, kw, left, w = window
    begin = builder.add(builder.mul(c, v.index(stride)), left)  # column of the first output's first element
    across = stride * lanes
    ramp = ir.Constant(ir.VectorType(_INT, across), list(range(across)))
    every = list(range(0, across, stride))
    width = v.splat(builder.trunc(w, _INT), across)

    def over_row(i: Any, held: list[Any]) -> list[Any]:
        row = builder.mul(i, row_step)

        def over_column(j: Any, held: list[Any]) -> list[Any]:
            column = builder.add(begin, builder.mul(j, dw))
            if not masked:
                loaded = v.load(source, builder.add(row, column), across)
                return step(held, v.shuffle(loaded, loaded, every) if stride > 1 else loaded, None, None)
            columns = builder.add(v.splat(builder.trunc(column, _INT), across), ramp)
            inside = builder.icmp_unsigned("<", columns, width)  # a negative column is a large unsigned one
            loaded = v.load(source, builder.add(row, column), across, inside)
            if stride > 1:
                columns, inside, loaded = (v.shuffle(part, part, every) for part in (columns, inside, loaded))
            return step(held, loaded, inside, builder.add(columns, v.splat(builder.trunc(row, _INT), lanes)))

        return vector_loop(builder, kw, 1, held, over_column)

    return vector_loop(builder, rows, 1, held, over_row)


@cache
def _max_row(stride: int, store: bool) -> Any:
    """One row of outputs of max pooling: ``row(x, at, step, rows, dw, kw, left, w, y, y0, n, where, i0, position)``.

    Output c < n is the maximum of ``x[at + i * step + c * stride + left + j * dw]`` over i < rows, j < kw, where the
    column (without ``at + i * step``) lies in [0, w); it goes to y[y0 + c], and its place, ``position`` more than the
    offset from ``at``, to where[i0 + c]. All by masked vectors, so that padding and short rows cost nothing extra:
    against a scalar loop 7x on (256, 6, 28, 28) by 2 x 2, 10x on (32, 64, 112, 112) by 3 x 3 with stride 2.
    """

    @intrinsic
    def row(typingctx, x, at, step, rows, dw, kw, left, w, y, y0, n, where, i0, position):  # type: ignore[no-untyped-def]
        p = types.intp

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            v = Vectors(context, builder, signature, args, 0)
            lanes = v.lanes
            source, target = v.pointer(0), v.pointer(8)
            numbers, indices = ir.VectorType(v.scalar, lanes), ir.VectorType(_INT, lanes)
            lowest = ir.Constant(numbers, [float("-inf")] * lanes)
            nowhere = ir.Constant(indices, [-1] * lanes)

            def compare(held: list[Any], value: Any, inside: Any, positions: Any) -> list[Any]:
                better = builder.fcmp_ordered(">", value, held[0])
                better = builder.or_(better, builder.fcmp_unordered("uno", value, value))
                if store:  # the first element inside counts even if it is -inf
                    better = builder.or_(better, builder.icmp_signed("<", held[1], ir.Constant(indices, [0] * lanes)))
                better = builder.and_(better, inside)
                best = builder.select(better, value, held[0])
                return [best, builder.select(better, positions, held[1])] if store else [best]

            def largest(held: list[Any], value: Any, *_: Any) -> list[Any]:
                better = builder.fcmp_ordered(">", value, held[0])
                better = builder.or_(better, builder.fcmp_unordered("uno", value, value))
                return [builder.select(better, value, held[0])]

            def strip(c: Any) -> None:
                """Without indices: a strip that lies wholly inside x needs no masks, 4x on (64, 64, 1, 1024) by 1 x 3."""
                begin = builder.add(builder.mul(c, v.index(stride)), args[6])
                reach = builder.mul(builder.sub(args[5], v.index(1)), args[4])
                reach = builder.add(builder.add(begin, v.index(stride * lanes)), reach)
                inside = builder.icmp_signed(">=", begin, v.index(0))
                inside = builder.and_(inside, builder.icmp_signed("<=", reach, args[7]))
                whole = builder.icmp_signed("<=", builder.add(c, v.index(lanes)), args[10])
                with builder.if_else(builder.and_(inside, whole)) as (plain, edge):
                    with plain:
                        held = _window_loop(v, source, c, args[2:8], stride, [lowest], largest, masked=False)
                        v.store(held[0], target, c, lanes)
                    with edge:
                        held = _window_loop(v, source, c, args[2:8], stride, [lowest], compare)
                        v.store(held[0], target, c, lanes, v.first(builder.sub(args[10], c), lanes))

            with v.steps(args[10], lanes) as (c, _):
                if not store:
                    strip(c)
                else:
                    wanted = v.first(builder.sub(args[10], c), lanes)
                    held = _window_loop(v, source, c, args[2:8], stride, [lowest, nowhere], compare)
                    v.store(held[0], target, c, lanes, wanted)
                    kind = ir.IntType(signature.args[11].dtype.bitwidth)
                    found = builder.add(held[1], v.splat(builder.trunc(args[13], _INT), lanes))
                    found = builder.select(
                        builder.icmp_signed("<", held[1], ir.Constant(indices, [0] * lanes)),
                        ir.Constant(indices, [0] * lanes),
                        found,
                    )
                    found = builder.sext(found, ir.VectorType(kind, lanes)) if kind.width > 32 else found
                    v.store(found, v.pointer(11), c, lanes, wanted)
            return context.get_dummy_value()

        return types.void(x, p, p, p, p, p, p, p, y, p, p, where, p, p), codegen

    return row


@cache
def _sum_row(stride: int) -> Any:
    """The same for sums: ``row(x, at, step, rows, dw, kw, left, w, y, y0, n, scale)``, y = scale * sum."""

    @intrinsic
    def row(typingctx, x, at, step, rows, dw, kw, left, w, y, y0, n, scale):  # type: ignore[no-untyped-def]
        p = types.intp

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            v = Vectors(context, builder, signature, args, 0)
            source, target = v.pointer(0), v.pointer(8)
            zero = ir.Constant(ir.VectorType(v.scalar, v.lanes), [0.0] * v.lanes)
            factor = v.splat(args[11], v.lanes)
            with v.steps(args[10], v.lanes) as (c, _):
                (total,) = _window_loop(
                    v, source, c, args[2:8], stride, [zero], lambda held, value, *_: [builder.fadd(held[0], value)]
                )
                wanted = v.first(builder.sub(args[10], c), v.lanes)
                v.store(builder.fmul(total, factor), target, c, v.lanes, wanted)
            return context.get_dummy_value()

        return types.void(x, p, p, p, p, p, p, p, y, p, p, x.dtype), codegen

    return row


@intrinsic
def _sum_run(typingctx, x, at, n):  # type: ignore[no-untyped-def]
    """The sum of x[at : at + n], a sum per vector lane."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        v = Vectors(context, builder, signature, args, 0)
        source = v.pointer(0)
        zero = ir.Constant(ir.VectorType(v.scalar, v.lanes), [0.0] * v.lanes)

        rest = builder.and_(args[2], v.index(v.lanes - 1))
        bulk = builder.sub(args[2], rest)
        most = builder.and_(bulk, v.index(-4 * v.lanes))  # four vectors abreast: no addition waits for the one before

        def four(i: Any, held: list[Any]) -> list[Any]:
            places = [builder.add(i, v.index(k * v.lanes)) for k in range(4)]
            return [builder.fadd(one, v.load(source, at, v.lanes)) for one, at in zip(held, places, strict=True)]

        def add(i: Any, held: list[Any]) -> list[Any]:
            return [builder.fadd(held[0], v.load(source, builder.add(most, i), v.lanes))]

        a, b, c, d = vector_loop(builder, most, 4 * v.lanes, [zero] * 4, four)
        sums = builder.fadd(builder.fadd(a, b), builder.fadd(c, d))
        (total,) = vector_loop(builder, builder.sub(bulk, most), v.lanes, [sums], add)
        total = builder.fadd(total, v.load(source, bulk, v.lanes, v.first(rest, v.lanes)))
        return v.total(total)

    return x.dtype(x, types.intp, types.intp), codegen


def _strips(v: Vectors, rows: Any, n: Any, strip: Callable[..., None]) -> None:
    """``strip(r, c, one, two)`` for the lanes of outputs from column c of row r on, for all r < rows and c < n.

    ``one`` and ``two`` mask the outputs and the pairs of inputs that there are; both None in all but the last strip of
    a row. The masks are the same for all rows and made once.
    """
    builder, lanes = v.builder, v.lanes
    rest = builder.and_(n, v.index(lanes - 1))
    bulk = builder.sub(n, rest)
    one, two = v.first(rest, lanes), v.first(builder.mul(rest, v.index(2)), 2 * lanes)
    with v.steps(rows, 1) as (r, _):
        with v.steps(bulk, lanes) as (c, _):
            strip(r, c, None, None)
        with builder.if_then(builder.icmp_signed(">", rest, v.index(0))):
            strip(r, bulk, one, two)


@cache
def _halve(kind: str) -> Any:
    """2 x 2 windows with stride 2 that lie inside x: ``halve(x, at, w, y, y0, rows, n, scale, where, i0)``.

    ``y[y0 + r * n + c]`` = the ``scale`` * sum (kind "sum") or the maximum ("max", "index") of the four elements from
    ``x[at + 2 * r * w + 2 * c]`` on, r < rows and c < n; kind "index" also writes the maximum's place, counted from
    ``at``, to ``where[i0 + r * n + c]``. Both rows are read whole and parted by shuffles: against ``_sum_row`` 3.7x on
    (256, 6, 28, 28) and 5x on (256, 16, 10, 10), two threads.
    """

    @intrinsic
    def halve(typingctx, x, at, w, y, y0, rows, n, scale, where, i0):  # type: ignore[no-untyped-def]
        p = types.intp

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            v = Vectors(context, builder, signature, args, 0)
            lanes, w, n = v.lanes, args[2], args[6]
            source, target, factor = v.pointer(0), v.pointer(3), v.splat(args[7], v.lanes)
            sides = list(range(0, 2 * lanes, 2)), list(range(1, 2 * lanes, 2))
            ramp = ir.Constant(ir.VectorType(_INT, lanes), sides[0])
            narrow = builder.trunc(w, _INT)
            steps = (ir.Constant(_INT, 0), ir.Constant(_INT, 1), narrow, builder.add(narrow, ir.Constant(_INT, 1)))
            places = [v.splat(step, lanes) for step in steps]

            def strip(r: Any, c: Any, one: Any, two: Any) -> None:
                begin = builder.add(builder.mul(builder.mul(r, w), v.index(2)), builder.mul(c, v.index(2)))
                out = builder.add(builder.mul(r, n), c)
                upper = v.load(source, begin, 2 * lanes, two)
                lower = v.load(source, builder.add(begin, w), 2 * lanes, two)
                if kind == "sum":
                    both = builder.fadd(upper, lower)
                    total = builder.fadd(*(v.shuffle(both, both, side) for side in sides))
                    v.store(builder.fmul(total, factor), target, out, lanes, one)
                    return
                values = [v.shuffle(row, row, side) for row in (upper, lower) for side in sides]
                best, place = values[0], places[0]
                for value, here in zip(values[1:], places[1:], strict=True):
                    better = builder.fcmp_ordered(">", value, best)
                    better = builder.or_(better, builder.fcmp_unordered("uno", value, value))
                    best = builder.select(better, value, best)
                    place = builder.select(better, here, place)
                v.store(best, target, out, lanes, one)
                if kind == "index":
                    place = builder.add(place, builder.add(v.splat(builder.trunc(begin, _INT), lanes), ramp))
                    bits = signature.args[8].dtype.bitwidth
                    place = builder.sext(place, ir.VectorType(ir.IntType(bits), lanes)) if bits > 32 else place
                    v.store(place, v.pointer(8), out, lanes, one)

            _strips(v, args[5], n, strip)
            return context.get_dummy_value()

        return types.void(x, p, p, y, p, p, p, x.dtype, where, p), codegen

    return halve


@intrinsic
def _double(typingctx, dy, d0, rows, n, scale, dx, x0, w):  # type: ignore[no-untyped-def]
    """``dx[x0 + (2 * r + i) * w + 2 * c + j] = scale * dy[d0 + r * n + c]`` for r < rows, c < n and i, j < 2."""
    p = types.intp

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        v = Vectors(context, builder, signature, args, 0)
        lanes, n, w = v.lanes, args[3], args[7]
        source, target, factor = v.pointer(0), v.pointer(5), v.splat(args[4], lanes)
        twice = [lane // 2 for lane in range(2 * lanes)]

        def strip(r: Any, c: Any, one: Any, two: Any) -> None:
            value = builder.fmul(v.load(source, builder.add(builder.mul(r, n), c), lanes, one), factor)
            value = v.shuffle(value, value, twice)
            to = builder.add(builder.mul(builder.mul(r, w), v.index(2)), builder.mul(c, v.index(2)))
            v.store(value, target, to, 2 * lanes, two)
            v.store(value, target, builder.add(to, w), 2 * lanes, two)

        _strips(v, args[2], n, strip)
        return context.get_dummy_value()

    return types.void(dy, p, p, p, dy.dtype, dx, p, p), codegen


_max_row_1, _max_row_2, _index_row_1, _index_row_2 = (
    _max_row(1, False), _max_row(2, False), _max_row(1, True), _max_row(2, True)
)  # fmt: skip
_sum_row_1, _sum_row_2 = _sum_row(1), _sum_row(2)
_halve_sum, _halve_max, _halve_index = _halve("sum"), _halve("max"), _halve("index")


def _halves(image: tuple[int, ...], pooled: tuple[int, ...], window: tuple[int, ...]) -> bool:
    """Whether windows (kh, kw, sh, sw, pt, pl) are 2 x 2 with stride 2 and lie wholly inside the image.

    Or 1 x 2 in an image of one row: the routines take that row for both rows of a window, 4x on (64, 64, 1, 1024).
    """
    if 2 * pooled[3] > image[3]:
        return False
    if image[2] == 1:
        return window[:2] == (1, 2) and window[3:] == (2, 0, 0)
    return window == (2, 2, 2, 2, 0, 0) and 2 * pooled[2] <= image[2]


# ------------------------------------------------------------------------------------------------ running tasks

_addresses: dict[tuple[Any, np.dtype, np.dtype], int] = {}


def _run(body: Any, a: np.ndarray, b: np.ndarray, indices: np.ndarray, planned: tuple[np.ndarray, int]) -> None:
    """``run_stages`` for bodies whose third array holds indices."""
    plan, tasks = planned
    address = _addresses.get((body, a.dtype, indices.dtype))
    a, b, indices = a.reshape(-1), b.reshape(-1), indices.reshape(-1)
    if address is None:
        x, i = numba.typeof(a), numba.typeof(indices)
        number = numba.types.int64
        signature = (number, number, number, x, x, i, x, x, numba.typeof(plan))
        body.compile(signature)
        compiled = body.overloads[signature]
        address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
        _addresses[body, a.dtype, indices.dtype] = address
    _stages(address, tasks, 0, a, b, indices, b, b, plan)


# -------------------------------------------------------------------------------------------------------- max pooling


def max_pool2d_forward_reference(
    x: np.ndarray, y: np.ndarray, indices: np.ndarray,
    kh: int, kw: int, sh: int, sw: int, pt: int, pl: int, dh: int, dw: int,
) -> None:  # fmt: skip
    h, w = x.shape[2:]
    for n, c, r, s in np.ndindex(*y.shape):
        best, where = -np.inf, -1
        for i in range(kh):
            for j in range(kw):
                row, column = r * sh - pt + i * dh, s * sw - pl + j * dw
                if 0 <= row < h and 0 <= column < w:
                    value = x[n, c, row, column]
                    if where < 0 or value > best or np.isnan(value):
                        best, where = value, row * w + column
        y[n, c, r, s] = best
        if indices.size:
            indices[n, c, r, s] = max(where, 0)


@jit
def _max_outputs_cpu(x, at, step, rows, dw, kw, left, sw, w, y, y0, n, where, i0, position, store):  # type: ignore[no-untyped-def]
    """``_max_row`` for any stride, an element at a time."""
    for c in range(n):
        best, index = y.dtype.type(-np.inf), -1
        for i in range(rows):
            for j in range(kw):
                column = c * sw + left + j * dw
                if column >= 0 and column < w:
                    value = x[at + i * step + column]
                    if index < 0 or value > best or value != value:
                        best, index = value, position + i * step + column
        y[y0 + c] = best
        if store:
            where[i0 + c] = max(index, 0)


@jit
def _max_plane_cpu(x, x0, y, y0, indices, store, h, w, oh, ow, kh, kw, sh, sw, pt, pl, dh, dw):  # type: ignore[no-untyped-def]
    """One plane: H * W elements of x from x0, OH * OW of y and indices from y0."""
    for r in range(oh):
        top = r * sh - pt
        first = 0 if top >= 0 else (-top + dh - 1) // dh
        rows = max(0, min(kh, (h - 1 - top) // dh + 1) - first)  # of the window, inside the image
        position, step, out = (top + first * dh) * w, dh * w, y0 + r * ow
        at = x0 + position
        if sw == 1 and store:
            _index_row_1(x, at, step, rows, dw, kw, -pl, w, y, out, ow, indices, out, position)
        elif sw == 2 and store:
            _index_row_2(x, at, step, rows, dw, kw, -pl, w, y, out, ow, indices, out, position)
        elif sw == 1:
            _max_row_1(x, at, step, rows, dw, kw, -pl, w, y, out, ow, indices, 0, position)
        elif sw == 2:
            _max_row_2(x, at, step, rows, dw, kw, -pl, w, y, out, ow, indices, 0, position)
        else:
            _max_outputs_cpu(x, at, step, rows, dw, kw, -pl, sw, w, y, out, ow, indices, out, position, store)


@jit
def _max_task(stage, task, thread, x, y, indices, _, __, plan):  # type: ignore[no-untyped-def]
    h, w, oh, ow = plan[2], plan[3], plan[4], plan[5]
    kh, kw, sh, sw, pt, pl, dh, dw = plan[6], plan[7], plan[8], plan[9], plan[10], plan[11], plan[12], plan[13]
    for p in range(task * plan[1], min(plan[0], task * plan[1] + plan[1])):
        _max_plane_cpu(
            x, p * h * w, y, p * oh * ow, indices, indices.size > 0, h, w, oh, ow, kh, kw, sh, sw, pt, pl, dh, dw
        )


@jit
def _max_halves_task(stage, task, thread, x, y, indices, _, __, plan):  # type: ignore[no-untyped-def]
    h, w, oh, ow = plan[2], plan[3], plan[4], plan[5]
    step = w if h > 1 else 0  # from a window's first row to its second
    for p in range(task * plan[1], min(plan[0], task * plan[1] + plan[1])):
        at, out = p * h * w, p * oh * ow
        if indices.size > 0:
            _halve_index(x, at, step, y, out, oh, ow, y.dtype.type(1), indices, out)
        else:
            _halve_max(x, at, step, y, out, oh, ow, y.dtype.type(1), indices, 0)


def _max_pool2d_forward_cpu(
    x: np.ndarray, y: np.ndarray, indices: np.ndarray,
    kh: int, kw: int, sh: int, sw: int, pt: int, pl: int, dh: int, dw: int,
) -> None:  # fmt: skip
    n, c, h, w = x.shape
    if y.size:
        numbers = (h, w, y.shape[2], y.shape[3], kh, kw, sh, sw, pt, pl, dh, dw)
        halves = dh == dw == 1 and _halves(x.shape, y.shape, (kh, kw, sh, sw, pt, pl))
        _run(_max_halves_task if halves else _max_task, x, y, indices, _plan(n * c, h * w, *numbers))


@cuda.jit
def _max_pool2d_forward_cuda_kernel(x, y, indices, h, w, oh, ow, kh, kw, sh, sw, pt, pl, dh, dw):  # type: ignore[no-untyped-def]
    o = cuda.grid(1)
    if o < y.size:
        plane = o // (oh * ow) * h * w
        top, left = o // ow % oh * sh - pt, o % ow * sw - pl
        best, where = y.dtype.type(-np.inf), -1
        for i in range(kh):
            row = top + i * dh
            if row >= 0 and row < h:
                for j in range(kw):
                    column = left + j * dw
                    if column >= 0 and column < w:
                        value = x[plane + row * w + column]
                        if where < 0 or value > best or value != value:
                            best, where = value, row * w + column
        y[o] = best
        if indices.size > 0:
            indices[o] = max(where, 0)


def _max_pool2d_forward_cuda(x: Any, y: Any, indices: Any, *window: int) -> None:
    if y.size:
        _max_pool2d_forward_cuda_kernel[launch.line(y.size)](
            x.reshape(x.size), y.reshape(y.size), indices.reshape(indices.size), *x.shape[2:], *y.shape[2:], *window
        )


max_pool2d_forward = Kernel(
    "max_pool2d_forward",
    reference=max_pool2d_forward_reference,
    cpu=_max_pool2d_forward_cpu,
    cuda=_max_pool2d_forward_cuda,
)


def max_pool2d_backward_reference(dy: np.ndarray, indices: np.ndarray, dx: np.ndarray) -> None:
    dx[...] = 0
    w = dx.shape[3]
    for n, c, r, s in np.ndindex(*dy.shape):
        dx[n, c, indices[n, c, r, s] // w, indices[n, c, r, s] % w] += dy[n, c, r, s]


@jit
def _scatter_task(stage, task, thread, dy, dx, indices, _, __, plan):  # type: ignore[no-untyped-def]
    # A plane is zeroed just before it is filled, while it is in the first-level cache.
    inside, outside = plan[2], plan[3]
    for p in range(task * plan[1], min(plan[0], task * plan[1] + plan[1])):
        for i in range(p * inside, (p + 1) * inside):
            write(dx, i, 0)
        for o in range(p * outside, (p + 1) * outside):
            i = p * inside + read(indices, o)
            write(dx, i, reread(dx, i) + read(dy, o))


def _max_pool2d_backward_cpu(dy: np.ndarray, indices: np.ndarray, dx: np.ndarray) -> None:
    n, c, h, w = dx.shape
    if dx.size:
        _run(_scatter_task, dy, dx, indices, _plan(n * c, h * w, h * w, dy.shape[2] * dy.shape[3]))


@cuda.jit
def _max_pool2d_backward_cuda_kernel(dy, indices, dx, inside, outside):  # type: ignore[no-untyped-def]
    # A thread owns one element of dx and looks through all outputs of its plane. Their indices are the same for all
    # threads of a block, so that the reads are broadcasts; no atomics, so that the sums have one order.
    i = cuda.grid(1)
    if i < dx.size:
        plane = i // inside
        here = i - plane * inside
        total = dx.dtype.type(0)
        for o in range(plane * outside, (plane + 1) * outside):
            if indices[o] == here:
                total += dy[o]
        dx[i] = total


def _max_pool2d_backward_cuda(dy: Any, indices: Any, dx: Any) -> None:
    if dx.size:
        inside, outside = dx.shape[2] * dx.shape[3], dy.shape[2] * dy.shape[3]
        _max_pool2d_backward_cuda_kernel[launch.line(dx.size)](
            dy.reshape(dy.size), indices.reshape(indices.size), dx.reshape(dx.size), inside, outside
        )


max_pool2d_backward = Kernel(
    "max_pool2d_backward",
    reference=max_pool2d_backward_reference,
    cpu=_max_pool2d_backward_cpu,
    cuda=_max_pool2d_backward_cuda,
)


# ---------------------------------------------------------------------------------------------------------- unpooling


def max_unpool2d_forward_reference(x: np.ndarray, indices: np.ndarray, y: np.ndarray) -> None:
    y[...] = 0
    w = y.shape[3]
    for n, c, r, s in np.ndindex(*x.shape):
        y[n, c, indices[n, c, r, s] // w, indices[n, c, r, s] % w] = x[n, c, r, s]


@jit
def _place_task(stage, task, thread, x, y, indices, _, __, plan):  # type: ignore[no-untyped-def]
    inside, outside = plan[2], plan[3]
    for p in range(task * plan[1], min(plan[0], task * plan[1] + plan[1])):
        for i in range(p * inside, (p + 1) * inside):
            write(y, i, 0)
        for o in range(p * outside, (p + 1) * outside):
            write(y, p * inside + read(indices, o), read(x, o))


def _max_unpool2d_forward_cpu(x: np.ndarray, indices: np.ndarray, y: np.ndarray) -> None:
    n, c, h, w = y.shape
    if y.size:
        _run(_place_task, x, y, indices, _plan(n * c, h * w, h * w, x.shape[2] * x.shape[3]))


@cuda.jit
def _max_unpool2d_forward_cuda_kernel(x, indices, y, inside, outside):  # type: ignore[no-untyped-def]
    # A thread owns one element of y and looks through the indices of its plane, as in max pooling's backward pass.
    i = cuda.grid(1)
    if i < y.size:
        plane = i // inside
        here = i - plane * inside
        value = y.dtype.type(0)
        for o in range(plane * outside, (plane + 1) * outside):
            if indices[o] == here:
                value = x[o]
        y[i] = value


def _max_unpool2d_forward_cuda(x: Any, indices: Any, y: Any) -> None:
    if y.size:
        inside, outside = y.shape[2] * y.shape[3], x.shape[2] * x.shape[3]
        _max_unpool2d_forward_cuda_kernel[launch.line(y.size)](
            x.reshape(x.size), indices.reshape(indices.size), y.reshape(y.size), inside, outside
        )


max_unpool2d_forward = Kernel(
    "max_unpool2d_forward",
    reference=max_unpool2d_forward_reference,
    cpu=_max_unpool2d_forward_cpu,
    cuda=_max_unpool2d_forward_cuda,
)


def max_unpool2d_backward_reference(dy: np.ndarray, indices: np.ndarray, dx: np.ndarray) -> None:
    w = dy.shape[3]
    for n, c, r, s in np.ndindex(*dx.shape):
        dx[n, c, r, s] = dy[n, c, indices[n, c, r, s] // w, indices[n, c, r, s] % w]


@jit
def _pick_task(stage, task, thread, dy, dx, indices, _, __, plan):  # type: ignore[no-untyped-def]
    inside, outside = plan[2], plan[3]
    for p in range(task * plan[1], min(plan[0], task * plan[1] + plan[1])):
        for o in range(p * outside, (p + 1) * outside):
            write(dx, o, read(dy, p * inside + read(indices, o)))


def _max_unpool2d_backward_cpu(dy: np.ndarray, indices: np.ndarray, dx: np.ndarray) -> None:
    n, c, h, w = dy.shape
    if dx.size:
        _run(_pick_task, dy, dx, indices, _plan(n * c, h * w, h * w, dx.shape[2] * dx.shape[3]))


@cuda.jit
def _max_unpool2d_backward_cuda_kernel(dy, indices, dx, inside, outside):  # type: ignore[no-untyped-def]
    o = cuda.grid(1)
    if o < dx.size:
        dx[o] = dy[o // outside * inside + indices[o]]


def _max_unpool2d_backward_cuda(dy: Any, indices: Any, dx: Any) -> None:
    if dx.size:
        inside, outside = dy.shape[2] * dy.shape[3], dx.shape[2] * dx.shape[3]
        _max_unpool2d_backward_cuda_kernel[launch.line(dx.size)](
            dy.reshape(dy.size), indices.reshape(indices.size), dx.reshape(dx.size), inside, outside
        )


max_unpool2d_backward = Kernel(
    "max_unpool2d_backward",
    reference=max_unpool2d_backward_reference,
    cpu=_max_unpool2d_backward_cpu,
    cuda=_max_unpool2d_backward_cuda,
)


# ---------------------------------------------------------------------------------------------------- average pooling


def avg_pool2d_forward_reference(
    x: np.ndarray, y: np.ndarray, kh: int, kw: int, sh: int, sw: int, pt: int, pl: int, pb: int, pr: int,
    count_include_pad: bool, divisor_override: int,
) -> None:  # fmt: skip
    h, w = x.shape[2:]
    for n, c, r, s in np.ndindex(*y.shape):
        total, inside, padded = 0.0, 0, 0
        for row in range(r * sh - pt, r * sh - pt + kh):
            for column in range(s * sw - pl, s * sw - pl + kw):
                if row < h + pb and column < w + pr:
                    padded += 1
                if 0 <= row < h and 0 <= column < w:
                    inside += 1
                    total += float(x[n, c, row, column])
        count = divisor_override or (padded if count_include_pad else inside)
        y[n, c, r, s] = total / count if inside else 0.0


@jit
def _window_sum_cpu(x, at, w, rows, columns):  # type: ignore[no-untyped-def]
    """The sum of x[at + i * w + j]; a row at a time in the array's own type, by vectors, the rows in float64."""
    total = 0.0
    for i in range(rows):
        total += _sum_run(x, at + i * w, columns)
    return total


@jit
def _divide_row_cpu(out, r, h, w, kh, kw, sh, sw, pt, pl, pb, pr, include, override):  # type: ignore[no-untyped-def]
    for c in range(out.size):
        out[c] = out[c] / out.dtype.type(_divisor(r, c, h, w, kh, kw, sh, sw, pt, pl, pb, pr, include, override))


@jit
def _avg_plane_cpu(x, x0, y, y0, h, w, oh, ow, kh, kw, sh, sw, pt, pl, pb, pr, include, override):  # type: ignore[no-untyped-def]
    """One plane: H * W elements of x from x0, OH * OW of y from y0."""
    plain = override != 0 or (pt == 0 and pl == 0 and (oh - 1) * sh + kh <= h and (ow - 1) * sw + kw <= w)
    scale = y.dtype.type(1) / y.dtype.type(override if override != 0 else kh * kw)
    for r in range(oh):
        low, high, out = max(r * sh - pt, 0), min(r * sh - pt + kh, h), y0 + r * ow
        rows, at = max(high - low, 0), x0 + low * w
        if kw < 16 and sw == 1:  # narrow windows: vectors along the row of outputs
            _sum_row_1(x, at, w, rows, 1, kw, -pl, w, y, out, ow, scale if plain else y.dtype.type(1))
        elif kw < 16 and sw == 2:
            _sum_row_2(x, at, w, rows, 1, kw, -pl, w, y, out, ow, scale if plain else y.dtype.type(1))
        else:  # wide ones, global pooling: vectors along the window
            for c in range(ow):
                left, right = max(c * sw - pl, 0), min(c * sw - pl + kw, w)
                total = y.dtype.type(_window_sum_cpu(x, at + left, w, rows, max(right - left, 0)))
                y[out + c] = total * scale if plain else total
        if not plain:
            _divide_row_cpu(y[out:][:ow], r, h, w, kh, kw, sh, sw, pt, pl, pb, pr, include, override)


@jit
def _avg_task(stage, task, thread, x, y, _, __, ___, plan):  # type: ignore[no-untyped-def]
    h, w, oh, ow, kh, kw, sh, sw = plan[2], plan[3], plan[4], plan[5], plan[6], plan[7], plan[8], plan[9]
    pt, pl, pb, pr, include, override = plan[10], plan[11], plan[12], plan[13], plan[14], plan[15]
    for p in range(task * plan[1], min(plan[0], task * plan[1] + plan[1])):
        _avg_plane_cpu(x, p * h * w, y, p * oh * ow, h, w, oh, ow, kh, kw, sh, sw, pt, pl, pb, pr, include, override)


@jit
def _avg_halves_task(stage, task, thread, x, y, _, __, ___, plan):  # type: ignore[no-untyped-def]
    h, w, oh, ow, override = plan[2], plan[3], plan[4], plan[5], plan[15]
    step, twice = (w, 1) if h > 1 else (0, 2)  # a single row is added twice
    scale = y.dtype.type(1) / y.dtype.type(override * twice if override != 0 else 4)
    for p in range(task * plan[1], min(plan[0], task * plan[1] + plan[1])):
        _halve_sum(x, p * h * w, step, y, p * oh * ow, oh, ow, scale, y, 0)


def _avg_pool2d_forward_cpu(x: np.ndarray, y: np.ndarray, *window: int) -> None:
    n, c, h, w = x.shape
    if y.size:
        plan, tasks = _plan(n * c, h * w, h, w, y.shape[2], y.shape[3], *map(int, window))
        body = _avg_halves_task if _halves(x.shape, y.shape, window[:6]) else _avg_task
        x, y = x.reshape(-1), y.reshape(-1)
        run_stages(body, (tasks, 0), x, y, y, y, y, plan)


@cuda.jit
def _avg_pool2d_forward_cuda_kernel(x, y, h, w, oh, ow, kh, kw, sh, sw, pt, pl, pb, pr, include, override):  # type: ignore[no-untyped-def]
    o = cuda.grid(1)
    if o < y.size:
        plane = o // (oh * ow) * h * w
        r, c = o // ow % oh, o % ow
        total, lost = y.dtype.type(0), y.dtype.type(0)  # Kahan: global windows have thousands of elements
        for row in range(max(r * sh - pt, 0), min(r * sh - pt + kh, h)):
            for column in range(max(c * sw - pl, 0), min(c * sw - pl + kw, w)):
                value = x[plane + row * w + column] - lost
                new = total + value
                lost = (new - total) - value
                total = new
        count = _divisor(r, c, h, w, kh, kw, sh, sw, pt, pl, pb, pr, include, override)
        y[o] = total / y.dtype.type(count)


def _avg_pool2d_forward_cuda(x: Any, y: Any, *window: int) -> None:
    if y.size:
        _avg_pool2d_forward_cuda_kernel[launch.line(y.size)](
            x.reshape(x.size), y.reshape(y.size), *x.shape[2:], *y.shape[2:], *map(int, window)
        )


avg_pool2d_forward = Kernel(
    "avg_pool2d_forward",
    reference=avg_pool2d_forward_reference,
    cpu=_avg_pool2d_forward_cpu,
    cuda=_avg_pool2d_forward_cuda,
)


def avg_pool2d_backward_reference(
    dy: np.ndarray, dx: np.ndarray, kh: int, kw: int, sh: int, sw: int, pt: int, pl: int, pb: int, pr: int,
    count_include_pad: bool, divisor_override: int,
) -> None:  # fmt: skip
    h, w = dx.shape[2:]
    dx[...] = 0
    for n, c, r, s in np.ndindex(*dy.shape):
        rows = [row for row in range(r * sh - pt, r * sh - pt + kh) if row < h + pb]
        columns = [column for column in range(s * sw - pl, s * sw - pl + kw) if column < w + pr]
        inside = [(row, column) for row in rows for column in columns if 0 <= row < h and 0 <= column < w]
        count = divisor_override or (len(rows) * len(columns) if count_include_pad else len(inside))
        for row, column in inside:
            dx[n, c, row, column] += dy[n, c, r, s] / count


@jit
def _spread_tap_cpu(share, stride, out, n):  # type: ignore[no-untyped-def]
    if stride == 1:
        for c in range(n):
            out[c] += share[c]
    else:
        for c in range(n):
            out[stride * c] += share[c]


@jit
def _avg_plane_backward_cpu(dy, dx, share, h, w, oh, ow, kh, kw, sh, sw, pt, pl, pb, pr, include, override):  # type: ignore[no-untyped-def]
    """One plane; ``share`` (OW,) is scratch: what each output of a row gives to each element of its window."""
    dx[:] = 0
    for r in range(oh):
        gradient = dy[r * ow :][:ow]
        for c in range(ow):
            share[c] = gradient[c]
        _divide_row_cpu(share, r, h, w, kh, kw, sh, sw, pt, pl, pb, pr, include, override)
        for row in range(max(r * sh - pt, 0), min(r * sh - pt + kh, h)):
            if kw >= 8:
                for c in range(ow):
                    low, high = max(c * sw - pl, 0), min(c * sw - pl + kw, w)
                    if high > low:
                        out = dx[row * w + low :][: high - low]
                        for j in range(high - low):
                            out[j] += share[c]
            else:
                for j in range(kw):
                    offset = j - pl
                    low = 0 if offset >= 0 else (-offset + sw - 1) // sw
                    high = min(ow, (w - 1 - offset) // sw + 1) if w > offset else 0
                    if high > low:
                        _spread_tap_cpu(share[low:high], sw, dx[row * w + low * sw + offset :], high - low)


@jit
def _avg_backward_task(stage, task, thread, dy, dx, _, __, work, plan):  # type: ignore[no-untyped-def]
    h, w, oh, ow, kh, kw, sh, sw = plan[2], plan[3], plan[4], plan[5], plan[6], plan[7], plan[8], plan[9]
    pt, pl, pb, pr, include, override = plan[10], plan[11], plan[12], plan[13], plan[14], plan[15]
    for p in range(task * plan[1], min(plan[0], task * plan[1] + plan[1])):
        source, target = dy[p * oh * ow :][: oh * ow], dx[p * h * w :][: h * w]
        share = work[thread * ow :][:ow]
        _avg_plane_backward_cpu(source, target, share, h, w, oh, ow, kh, kw, sh, sw, pt, pl, pb, pr, include, override)


@jit
def _avg_halves_backward_task(stage, task, thread, dy, dx, _, __, ___, plan):  # type: ignore[no-untyped-def]
    h, w, oh, ow, override = plan[2], plan[3], plan[4], plan[5], plan[15]
    step, count = (w, 4) if h > 1 else (0, 2)
    scale = dx.dtype.type(1) / dx.dtype.type(override if override != 0 else count)
    for p in range(task * plan[1], min(plan[0], task * plan[1] + plan[1])):
        if (h > 1 and 2 * oh < h) or 2 * ow < w:
            dx[p * h * w :][: h * w] = 0
        _double(dy, p * oh * ow, oh, ow, scale, dx, p * h * w, step)


def _avg_pool2d_backward_cpu(dy: np.ndarray, dx: np.ndarray, *window: int) -> None:
    n, c, h, w = dx.shape
    if dx.size:
        halves = _halves(dx.shape, dy.shape, window[:6])
        oh, ow = dy.shape[2:]
        plan, tasks = _plan(n * c, h * w, h, w, oh, ow, *map(int, window))
        work = dx if halves else empty((numba.config.NUMBA_NUM_THREADS * ow,), dx.dtype)
        dy, dx = dy.reshape(-1), dx.reshape(-1)
        body = _avg_halves_backward_task if halves else _avg_backward_task
        run_stages(body, (tasks, 0), dy, dx, dx, dx, work.reshape(-1), plan)


@cuda.jit
def _avg_pool2d_backward_cuda_kernel(dy, dx, h, w, oh, ow, kh, kw, sh, sw, pt, pl, pb, pr, include, override):  # type: ignore[no-untyped-def]
    i = cuda.grid(1)
    if i < dx.size:
        plane = i // (h * w) * oh * ow
        row, column = i // w % h + pt, i % w + pl  # in the padded image
        total = dx.dtype.type(0)
        # The windows over this row are those with r * sh <= row < r * sh + kh.
        for r in range(max(row - kh + sh, 0) // sh, min(row // sh + 1, oh)):
            for c in range(max(column - kw + sw, 0) // sw, min(column // sw + 1, ow)):
                count = _divisor(r, c, h, w, kh, kw, sh, sw, pt, pl, pb, pr, include, override)
                total += dy[plane + r * ow + c] / dx.dtype.type(count)
        dx[i] = total


def _avg_pool2d_backward_cuda(dy: Any, dx: Any, *window: int) -> None:
    if dx.size:
        _avg_pool2d_backward_cuda_kernel[launch.line(dx.size)](
            dy.reshape(dy.size), dx.reshape(dx.size), *dx.shape[2:], *dy.shape[2:], *map(int, window)
        )


avg_pool2d_backward = Kernel(
    "avg_pool2d_backward",
    reference=avg_pool2d_backward_reference,
    cpu=_avg_pool2d_backward_cpu,
    cuda=_avg_pool2d_backward_cuda,
)


# ---------------------------------------------------------------------------------------------------- power averages


def _lp_windows(x: np.ndarray, y: np.ndarray, kh: int, kw: int, sh: int, sw: int) -> Any:
    """(an output's index, its window inside x) for all outputs, for the references."""
    for n, c, r, s in np.ndindex(*y.shape):
        yield (n, c, r, s), (n, c, slice(r * sh, r * sh + kh), slice(s * sw, s * sw + kw))


def lp_pool2d_forward_reference(x: np.ndarray, y: np.ndarray, p: int, kh: int, kw: int, sh: int, sw: int) -> None:
    for place, window in _lp_windows(x, y, kh, kw, sh, sw):
        total = kh * kw * np.mean(x[window].astype(np.float64) ** p)
        y[place] = total ** (1 / p) if total >= 0 else np.nan


def lp_pool2d_backward_reference(
    dy: np.ndarray, x: np.ndarray, y: np.ndarray, dx: np.ndarray, p: int, kh: int, kw: int, sh: int, sw: int
) -> None:
    total = np.zeros(dx.shape)
    for place, window in _lp_windows(x, y, kh, kw, sh, sw):
        if y[place] != 0:
            total[window] += float(dy[place]) * float(y[place]) ** (1 - p) * kh * kw / x[window].size
    dx[...] = total * x.astype(np.float64) ** (p - 1)


@jit
def _lp_task(stage, task, thread, x, y, _, __, work, plan):  # type: ignore[no-untyped-def]
    """The powers of a plane stay in the first-level cache, and the roots are taken where the averages stand."""
    h, w, oh, ow, kh, kw, sh, sw = plan[2], plan[3], plan[4], plan[5], plan[6], plan[7], plan[8], plan[9]
    cube, halves = plan[10] == 3, plan[11]
    number = y.dtype.type
    size, third = number(kh * kw), number(1 / 3)
    powers = work[thread * h * w :][: h * w]
    for p in range(task * plan[1], min(plan[0], task * plan[1] + plan[1])):
        source, target = x[p * h * w :][: h * w], y[p * oh * ow :][: oh * ow]
        if cube:
            for i in range(h * w):
                write(powers, i, read(source, i) * read(source, i) * read(source, i))
        else:
            for i in range(h * w):
                write(powers, i, read(source, i) * read(source, i))
        if halves > 0:
            _halve_sum(powers, 0, w, target, 0, oh, ow, number(0.25), target, 0)
        else:
            _avg_plane_cpu(powers, 0, target, 0, h, w, oh, ow, kh, kw, sh, sw, 0, 0, 0, 0, 1, 0)
        if cube:
            for i in range(oh * ow):
                write(target, i, exp_(log_(reread(target, i) * size) * third))
        else:
            for i in range(oh * ow):
                write(target, i, math.sqrt(reread(target, i) * size))


@jit
def _lp_backward_task(stage, task, thread, dy, dx, x, y, work, plan):  # type: ignore[no-untyped-def]
    h, w, oh, ow, kh, kw, sh, sw = plan[2], plan[3], plan[4], plan[5], plan[6], plan[7], plan[8], plan[9]
    cube, halves = plan[10] == 3, plan[11]
    number = dx.dtype.type
    size = number(kh * kw)
    shares, share = work[thread * (oh + 1) * ow :][: oh * ow], work[(thread * (oh + 1) + oh) * ow :][:ow]
    for p in range(task * plan[1], min(plan[0], task * plan[1] + plan[1])):
        at = p * oh * ow
        target, source = dx[p * h * w :][: h * w], x[p * h * w :][: h * w]
        for i in range(oh * ow):
            root = read(y, at + i)
            divisor = root * root if cube else root
            write(shares, i, number(0) if root == number(0) else read(dy, at + i) * size / divisor)
        if halves > 0:
            if 2 * oh < h or 2 * ow < w:
                target[:] = 0
            _double(shares, 0, oh, ow, number(0.25), target, 0, w)
        else:
            _avg_plane_backward_cpu(shares, target, share, h, w, oh, ow, kh, kw, sh, sw, 0, 0, 0, 0, 1, 0)
        if cube:
            for i in range(h * w):
                write(target, i, reread(target, i) * (read(source, i) * read(source, i)))
        else:
            for i in range(h * w):
                write(target, i, reread(target, i) * read(source, i))


def _lp_plan(image: Any, pooled: Any, p: int, *window: int) -> tuple[np.ndarray, int]:
    (n, c, h, w), (oh, ow) = image, pooled[2:]
    halves = h > 1 and _halves(image, pooled, (*window, 0, 0))
    return _plan(n * c, h * w, h, w, oh, ow, *map(int, window), int(p), int(halves))


def _lp_pool2d_forward_cpu(x: np.ndarray, y: np.ndarray, p: int, kh: int, kw: int, sh: int, sw: int) -> None:
    if y.size:
        plan, tasks = _lp_plan(x.shape, y.shape, p, kh, kw, sh, sw)
        work = empty((numba.config.NUMBA_NUM_THREADS * x.shape[2] * x.shape[3],), x.dtype)
        x, y = x.reshape(-1), y.reshape(-1)
        run_stages(_lp_task, (tasks, 0), x, y, y, y, work, plan)


def _lp_pool2d_backward_cpu(
    dy: np.ndarray, x: np.ndarray, y: np.ndarray, dx: np.ndarray, p: int, kh: int, kw: int, sh: int, sw: int
) -> None:
    if dx.size:
        plan, tasks = _lp_plan(x.shape, y.shape, p, kh, kw, sh, sw)
        work = empty((numba.config.NUMBA_NUM_THREADS * (y.shape[2] + 1) * y.shape[3],), x.dtype)
        dy, x, y, dx = dy.reshape(-1), x.reshape(-1), y.reshape(-1), dx.reshape(-1)
        run_stages(_lp_backward_task, (tasks, 0), dy, dx, x, y, work, plan)


@cuda.jit
def _lp_pool2d_forward_cuda_kernel(x, y, h, w, oh, ow, p, kh, kw, sh, sw):  # type: ignore[no-untyped-def]
    o = cuda.grid(1)
    if o < y.size:
        number = y.dtype.type
        plane = o // (oh * ow) * h * w
        top, left = o // ow % oh * sh, o % ow * sw
        bottom, right = min(top + kh, h), min(left + kw, w)
        total = number(0)
        for row in range(top, bottom):
            for column in range(left, right):
                value = x[plane + row * w + column]
                total += value * value * (value if p == 3 else number(1))
        total *= number(kh * kw) / number((bottom - top) * (right - left))
        if total > number(0):
            y[o] = math.exp(math.log(total) / number(3)) if p == 3 else math.sqrt(total)
        else:
            y[o] = number(0) if total == number(0) else number(math.nan)


@cuda.jit
def _lp_pool2d_backward_cuda_kernel(dy, x, y, dx, h, w, oh, ow, p, kh, kw, sh, sw):  # type: ignore[no-untyped-def]
    i = cuda.grid(1)
    if i < dx.size:
        number = dx.dtype.type
        plane = i // (h * w) * oh * ow
        row, column = i // w % h, i % w
        total = number(0)
        for r in range(max(row - kh + sh, 0) // sh, min(row // sh + 1, oh)):
            for c in range(max(column - kw + sw, 0) // sw, min(column // sw + 1, ow)):
                root = y[plane + r * ow + c]
                inside = (min(r * sh + kh, h) - r * sh) * (min(c * sw + kw, w) - c * sw)
                if root != number(0):
                    divisor = root * (root if p == 3 else number(1)) * number(inside)
                    total += dy[plane + r * ow + c] * number(kh * kw) / divisor
        dx[i] = total * x[i] * (x[i] if p == 3 else number(1))


def _lp_pool2d_forward_cuda(x: Any, y: Any, *numbers: int) -> None:
    if y.size:
        _lp_pool2d_forward_cuda_kernel[launch.line(y.size)](
            x.reshape(x.size), y.reshape(y.size), *x.shape[2:], *y.shape[2:], *map(int, numbers)
        )


def _lp_pool2d_backward_cuda(dy: Any, x: Any, y: Any, dx: Any, *numbers: int) -> None:
    if dx.size:
        flat = (array.reshape(array.size) for array in (dy, x, y, dx))
        _lp_pool2d_backward_cuda_kernel[launch.line(dx.size)](*flat, *dx.shape[2:], *dy.shape[2:], *map(int, numbers))


lp_pool2d_forward = Kernel(
    "lp_pool2d_forward",
    reference=lp_pool2d_forward_reference,
    cpu=_lp_pool2d_forward_cpu,
    cuda=_lp_pool2d_forward_cuda,
)
lp_pool2d_backward = Kernel(
    "lp_pool2d_backward",
    reference=lp_pool2d_backward_reference,
    cpu=_lp_pool2d_backward_cpu,
    cuda=_lp_pool2d_backward_cuda,
)


# --------------------------------------------------------------------------------------------------- adaptive pooling


@scalar
def _begin(r, h, oh):  # type: ignore[no-untyped-def]
    """The first row of adaptive window r."""
    return r * h // oh


@scalar
def _end(r, h, oh):  # type: ignore[no-untyped-def]
    """One past the last row of adaptive window r."""
    return ((r + 1) * h + oh - 1) // oh


def adaptive_avg_pool2d_forward_reference(x: np.ndarray, y: np.ndarray) -> None:
    (h, w), (oh, ow) = x.shape[2:], y.shape[2:]
    for n, c, r, s in np.ndindex(*y.shape):
        rows, columns = slice(r * h // oh, -(-(r + 1) * h // oh)), slice(s * w // ow, -(-(s + 1) * w // ow))
        y[n, c, r, s] = np.mean(x[n, c, rows, columns].astype(np.float64))


@jit
def _global_avg_task(stage, task, thread, x, y, _, __, ___, plan):  # type: ignore[no-untyped-def]
    """A plane of one row, or a whole small one, is contiguous: one long row. Against ``_adaptive_avg_task`` 1.6x on (32, 512, 14, 14)."""
    inside = plan[2] * plan[3]
    scale = x.dtype.type(1) / x.dtype.type(inside)
    for p in range(task * plan[1], min(plan[0], task * plan[1] + plan[1])):
        y[p] = _sum_run(x, p * inside, inside) * scale


@jit
def _adaptive_avg_task(stage, task, thread, x, y, _, __, ___, plan):  # type: ignore[no-untyped-def]
    """The rows of a window are added up in one go for all windows beside it, by vectors; then the columns."""
    h, w, oh, ow = plan[2], plan[3], plan[4], plan[5]
    scale = 1.0 / (h * w)
    columns = np.empty(w, x.dtype)
    for p in range(task * plan[1], min(plan[0], task * plan[1] + plan[1])):
        if oh * ow == 1:
            y[p] = _window_sum_cpu(x, p * h * w, w, h, w) * scale
            continue
        for r in range(oh):
            top, bottom = _begin(r, h, oh), _end(r, h, oh)
            first = x[(p * h + top) * w :][:w]
            for j in range(w):
                write(columns, j, read(first, j))
            for i in range(top + 1, bottom):
                row = x[(p * h + i) * w :][:w]
                for j in range(w):
                    write(columns, j, reread(columns, j) + read(row, j))
            for c in range(ow):
                left, right = _begin(c, w, ow), _end(c, w, ow)
                total = 0.0
                for j in range(left, right):
                    total += columns[j]
                y[(p * oh + r) * ow + c] = total / ((bottom - top) * (right - left))


def _adaptive_avg_pool2d_forward_cpu(x: np.ndarray, y: np.ndarray) -> None:
    n, c, h, w = x.shape
    oh, ow = y.shape[2:]
    if y.size == 0:
        return
    x, y = x.reshape(-1), y.reshape(-1)
    plan, tasks = _plan(n * c, h * w, h, w, oh, ow)
    body = _global_avg_task if oh == ow == 1 and (h == 1 or h * w <= 512) else _adaptive_avg_task
    run_stages(body, (tasks, 0), x, y, y, y, y, plan)


@cuda.jit
def _adaptive_avg_pool2d_forward_cuda_kernel(x, y, h, w, oh, ow):  # type: ignore[no-untyped-def]
    o = cuda.grid(1)
    if o < y.size:
        plane = o // (oh * ow) * h * w
        r, c = o // ow % oh, o % ow
        top, bottom, left, right = _begin(r, h, oh), _end(r, h, oh), _begin(c, w, ow), _end(c, w, ow)
        total, lost = y.dtype.type(0), y.dtype.type(0)  # Kahan
        for row in range(top, bottom):
            for column in range(left, right):
                value = x[plane + row * w + column] - lost
                new = total + value
                lost = (new - total) - value
                total = new
        y[o] = total / y.dtype.type((bottom - top) * (right - left))


def _adaptive_avg_pool2d_forward_cuda(x: Any, y: Any) -> None:
    if y.size:
        _adaptive_avg_pool2d_forward_cuda_kernel[launch.line(y.size)](
            x.reshape(x.size), y.reshape(y.size), *x.shape[2:], *y.shape[2:]
        )


adaptive_avg_pool2d_forward = Kernel(
    "adaptive_avg_pool2d_forward",
    reference=adaptive_avg_pool2d_forward_reference,
    cpu=_adaptive_avg_pool2d_forward_cpu,
    cuda=_adaptive_avg_pool2d_forward_cuda,
)


def adaptive_avg_pool2d_backward_reference(dy: np.ndarray, dx: np.ndarray) -> None:
    (h, w), (oh, ow) = dx.shape[2:], dy.shape[2:]
    dx[...] = 0
    for n, c, r, s in np.ndindex(*dy.shape):
        window = dx[n, c, r * h // oh : -(-(r + 1) * h // oh), s * w // ow : -(-(s + 1) * w // ow)]
        window += dy[n, c, r, s] / window.size


@jit
def _adaptive_avg_backward_task(stage, task, thread, dy, dx, _, __, ___, plan):  # type: ignore[no-untyped-def]
    h, w, oh, ow = plan[2], plan[3], plan[4], plan[5]
    columns = np.empty(w, dx.dtype)
    for p in range(task * plan[1], min(plan[0], task * plan[1] + plan[1])):
        if oh * ow == 1:
            dx[p * h * w :][: h * w] = dy[p] / dx.dtype.type(h * w)
            continue
        done = 0  # rows of dx that have a value
        for r in range(oh):
            top, bottom = _begin(r, h, oh), _end(r, h, oh)
            columns[:] = 0
            for c in range(ow):
                left, right = _begin(c, w, ow), _end(c, w, ow)
                share = dy[(p * oh + r) * ow + c] / dx.dtype.type((bottom - top) * (right - left))
                for j in range(left, right):
                    columns[j] += share
            for i in range(top, bottom):
                out = dx[(p * h + i) * w :][:w]
                if i < done:
                    for j in range(w):
                        write(out, j, reread(out, j) + read(columns, j))
                else:
                    for j in range(w):
                        write(out, j, read(columns, j))
            done = bottom
        dx[(p * h + done) * w : (p + 1) * h * w] = 0  # all of it where there is no window


def _adaptive_avg_pool2d_backward_cpu(dy: np.ndarray, dx: np.ndarray) -> None:
    n, c, h, w = dx.shape
    oh, ow = dy.shape[2:]
    if dx.size == 0:
        return
    if oh == ow == 1:
        h, w = 1, h * w
    dy, dx = dy.reshape(-1), dx.reshape(-1)
    plan, tasks = _plan(n * c, h * w, h, w, oh, ow)
    run_stages(_adaptive_avg_backward_task, (tasks, 0), dy, dx, dx, dx, dx, plan)


@cuda.jit
def _adaptive_avg_pool2d_backward_cuda_kernel(dy, dx, h, w, oh, ow):  # type: ignore[no-untyped-def]
    i = cuda.grid(1)
    if i < dx.size:
        plane = i // (h * w) * oh * ow
        row, column = i // w % h, i % w
        total = dx.dtype.type(0)
        # Window r covers the row when r * h // oh <= row < ceil((r + 1) * h / oh).
        for r in range(row * oh // h, ((row + 1) * oh - 1) // h + 1):
            height = _end(r, h, oh) - _begin(r, h, oh)
            for c in range(column * ow // w, ((column + 1) * ow - 1) // w + 1):
                width = _end(c, w, ow) - _begin(c, w, ow)
                total += dy[plane + r * ow + c] / dx.dtype.type(height * width)
        dx[i] = total


def _adaptive_avg_pool2d_backward_cuda(dy: Any, dx: Any) -> None:
    if dx.size:
        _adaptive_avg_pool2d_backward_cuda_kernel[launch.line(dx.size)](
            dy.reshape(dy.size), dx.reshape(dx.size), *dx.shape[2:], *dy.shape[2:]
        )


adaptive_avg_pool2d_backward = Kernel(
    "adaptive_avg_pool2d_backward",
    reference=adaptive_avg_pool2d_backward_reference,
    cpu=_adaptive_avg_pool2d_backward_cpu,
    cuda=_adaptive_avg_pool2d_backward_cuda,
)


def adaptive_max_pool2d_forward_reference(x: np.ndarray, y: np.ndarray, indices: np.ndarray) -> None:
    (h, w), (oh, ow) = x.shape[2:], y.shape[2:]
    for n, c, r, s in np.ndindex(*y.shape):
        best, where = -np.inf, -1
        for row in range(r * h // oh, -(-(r + 1) * h // oh)):
            for column in range(s * w // ow, -(-(s + 1) * w // ow)):
                value = x[n, c, row, column]
                if where < 0 or value > best or np.isnan(value):
                    best, where = value, row * w + column
        y[n, c, r, s] = best
        if indices.size:
            indices[n, c, r, s] = where


_highest = best_of_row(">")


@jit
def _global_max_task(stage, task, thread, x, y, indices, _, __, plan):  # type: ignore[no-untyped-def]
    """A whole plane per output: the largest value by vectors, then where it stands."""
    inside = plan[2]
    for p in range(task * plan[1], min(plan[0], task * plan[1] + plan[1])):
        begin = p * inside
        best = _highest(x, begin, inside)
        if best == best:
            at = begin
            while x[at] != best:
                at += 1
        else:  # of several NaN the last
            at = begin + inside - 1
            while x[at] == x[at]:
                at -= 1
        y[p] = x[at]
        if indices.size > 0:
            indices[p] = at - begin


@jit
def _adaptive_max_task(stage, task, thread, x, y, indices, _, __, plan):  # type: ignore[no-untyped-def]
    """The rows of a window are compared in one go for all windows beside it, by vectors; then the columns."""
    h, w, oh, ow = plan[2], plan[3], plan[4], plan[5]
    best, where = np.empty(w, x.dtype), np.empty(w, np.int32)
    for p in range(task * plan[1], min(plan[0], task * plan[1] + plan[1])):
        for r in range(oh):
            top, bottom = _begin(r, h, oh), _end(r, h, oh)
            first = x[(p * h + top) * w :][:w]
            for j in range(w):
                write(best, j, read(first, j))
                write(where, j, np.int32(top))
            for i in range(top + 1, bottom):
                row, here = x[(p * h + i) * w :][:w], np.int32(i)
                for j in range(w):
                    value, held, place = read(row, j), reread(best, j), reread(where, j)
                    better = (value > held) | (value != value)
                    write(best, j, value if better else held)
                    write(where, j, here if better else place)
            for c in range(ow):
                left, right = _begin(c, w, ow), _end(c, w, ow)
                value, row, column = best[left], where[left], left
                for j in range(left + 1, right):
                    other, its_row = best[j], where[j]
                    # The first of equals, in row order; of several NaN the last.
                    if value != value:
                        better = other != other and its_row >= row
                    else:
                        better = other > value or other != other or (other == value and its_row < row)
                    if better:
                        value, row, column = other, its_row, j
                y[(p * oh + r) * ow + c] = value
                if indices.size > 0:
                    indices[(p * oh + r) * ow + c] = np.int64(row) * w + column


def _adaptive_max_pool2d_forward_cpu(x: np.ndarray, y: np.ndarray, indices: np.ndarray) -> None:
    n, c, h, w = x.shape
    if y.shape[2] == y.shape[3] == 1 and y.size:
        _run(_global_max_task, x, y, indices, _plan(n * c, h * w, h * w))
    elif y.size:
        _run(_adaptive_max_task, x, y, indices, _plan(n * c, h * w, h, w, y.shape[2], y.shape[3]))


@cuda.jit
def _adaptive_max_pool2d_forward_cuda_kernel(x, y, indices, h, w, oh, ow):  # type: ignore[no-untyped-def]
    o = cuda.grid(1)
    if o < y.size:
        plane = o // (oh * ow) * h * w
        r, c = o // ow % oh, o % ow
        top, bottom, left, right = _begin(r, h, oh), _end(r, h, oh), _begin(c, w, ow), _end(c, w, ow)
        at = top * w + left
        best = x[plane + at]
        for row in range(top, bottom):
            for column in range(left, right):
                value = x[plane + row * w + column]
                if value > best or value != value:
                    best, at = value, row * w + column
        y[o] = best
        if indices.size > 0:
            indices[o] = at


def _adaptive_max_pool2d_forward_cuda(x: Any, y: Any, indices: Any) -> None:
    if y.size:
        _adaptive_max_pool2d_forward_cuda_kernel[launch.line(y.size)](
            x.reshape(x.size), y.reshape(y.size), indices.reshape(indices.size), *x.shape[2:], *y.shape[2:]
        )


adaptive_max_pool2d_forward = Kernel(
    "adaptive_max_pool2d_forward",
    reference=adaptive_max_pool2d_forward_reference,
    cpu=_adaptive_max_pool2d_forward_cpu,
    cuda=_adaptive_max_pool2d_forward_cuda,
)

_INTS = ", ".join(["int64"] * 14)
CUDA_KERNELS = (
    (_max_pool2d_forward_cuda_kernel, f"void(float32[::1], float32[::1], int64[::1], {', '.join(['int64'] * 12)})"),
    (_max_pool2d_backward_cuda_kernel, "void(float32[::1], int64[::1], float32[::1], int64, int64)"),
    (_max_unpool2d_forward_cuda_kernel, "void(float32[::1], int64[::1], float32[::1], int64, int64)"),
    (_max_unpool2d_backward_cuda_kernel, "void(float32[::1], int64[::1], float32[::1], int64, int64)"),
    (_avg_pool2d_forward_cuda_kernel, f"void(float32[::1], float32[::1], {_INTS})"),
    (_avg_pool2d_backward_cuda_kernel, f"void(float32[::1], float32[::1], {_INTS})"),
    (_lp_pool2d_forward_cuda_kernel, f"void(float32[::1], float32[::1]{', int64' * 9})"),
    (_lp_pool2d_backward_cuda_kernel, f"void({'float32[::1], ' * 4}{', '.join(['int64'] * 9)})"),
    (_adaptive_avg_pool2d_forward_cuda_kernel, "void(float32[::1], float32[::1], int64, int64, int64, int64)"),
    (_adaptive_avg_pool2d_backward_cuda_kernel, "void(float32[::1], float32[::1], int64, int64, int64, int64)"),
    (
        _adaptive_max_pool2d_forward_cuda_kernel,
        "void(float32[::1], float32[::1], int64[::1], int64, int64, int64, int64)",
    ),
)
