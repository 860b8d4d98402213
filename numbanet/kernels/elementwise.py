"""Elementwise kernels: each output element from the elements at its own place.

Contract::

    name(a, b, out)               out = f(a, b); a and b broadcast to out.shape (NumPy's rule, any ndim, also 0)
    name(a, out)                  out = f(a); one shape
    where(condition, a, b, out)   out = a where condition, else b; a and b have out's shape or one element
    addcmul(a, b, c, out, value)  out = a + value * b * c; addcdiv with b / c; each of a, b, c as in ``where``
    lerp(a, b, c, out)            out = a + c * (b - a), exactly b for c = 1; as in ``where``
    clamp(a, out, low, high)      out = a limited to [low, high]; high wins where low > high; NaN passes
    clamp_backward(a, dy, dx, low, high)                dx = dy where low <= a <= high, else 0 (NaN: 0)
    extremum_backward(a, b, dy, da, db, largest)        da = dy where a beats b, dy / 2 where they are equal, else 0;
                                                        db the other way round; both dy where either is NaN
    axpy(a, out, alpha)           out += alpha * a; one shape
    cast(a, out)                  out = a, converted to out's dtype; one shape
    fill(out, value)              out = value

The caller allocates ``out`` and has promoted a and b to one dtype: out's, or bool for comparisons and logic. ``out``
is overwritten (``axpy`` accumulates) and may be an input of the same shape. Floats and integers. NaN goes through
everything arithmetic, through maximum and minimum too; ``remainder`` and ``floor_divide`` round down (Python's sign
rule); integer division by zero gives 0 and is the caller's to refuse. ``round`` takes ties to even.

Every kernel here is made from one function of plain numbers by ``_unary`` or ``_binary``, which build both twins
around it. The function's last argument, ``number``, is the operands' type: constants are written ``number(1)``, since a
bare ``1.0`` would turn float32 arithmetic into float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np

from numbanet.devices import cuda, device_of, empty, is_cuda_array, settle
from numbanet.dtypes import float32, is_half
from numbanet.kernels import launch
from numbanet.kernels.half import from_float32, to_float32
from numbanet.kernels.index import (
    exp_,
    expm1_,
    exponent_of,
    log_,
    mantissa_of,
    read,
    scalar,
    write,
)
from numbanet.kernels.index import tanh_ as _tanh_cpu
from numbanet.kernels.kernel import Kernel, jit
from numbanet.kernels.parallel import tasks

CHUNK = 1 << 13  # elements of one task: 32 KiB of float32, small enough to share out, large enough to hide its start

_cuda_kernels: list[tuple[Any, str]] = []


# ---------------------------------------------------------------------------------------------- broadcasting


@lru_cache(maxsize=4096)
def _levels(a: tuple[int, ...], b: tuple[int, ...], out: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """The fewest nested loops that walk ``out``, outermost first: (count, stride in a, stride in b) for each.

    Neighbouring dimensions melt into one where both inputs run on without a jump; a broadcast input has stride 0.
    """
    levels: list[tuple[int, int, int]] = []
    step_a = step_b = 1
    for axis in range(1, len(out) + 1):
        count = out[-axis]
        size_a = a[-axis] if axis <= len(a) else 1
        size_b = b[-axis] if axis <= len(b) else 1
        if count > 1:
            level = (count, step_a if size_a > 1 else 0, step_b if size_b > 1 else 0)
            if levels and all(level[k] == levels[-1][k] * levels[-1][0] for k in (1, 2)):
                level = (count * levels[-1][0], *levels.pop()[1:])
            levels.append(level)
        step_a *= size_a
        step_b *= size_b
    return levels[::-1]


def _broadcast(
    flat: Callable[..., None], rows: Callable[..., None], line: Callable[[Callable[..., None], int, int], Any]
) -> Callable[..., None]:
    """The launcher ``(a, b, out)`` over a kernel for equal shapes and scalars, and one for up to four loops."""

    def launcher(a: Any, b: Any, out: Any) -> None:
        n = out.size
        if n == 0:
            return
        if (a.size == n or a.size == 1) and (b.size == n or b.size == 1):
            line(flat, n, n)(a.reshape(-1), b.reshape(-1), out.reshape(-1), int(a.size == n), int(b.size == n))
            return
        levels = _levels(tuple(a.shape), tuple(b.shape), tuple(out.shape))
        if len(levels) > 4:  # rare: walk the leading dimension here
            a = a.reshape((1,) * (out.ndim - a.ndim) + tuple(a.shape))
            b = b.reshape((1,) * (out.ndim - b.ndim) + tuple(b.shape))
            for i in range(out.shape[0]):
                launcher(a[i if a.shape[0] > 1 else 0], b[i if b.shape[0] > 1 else 0], out[i])
            return
        (_, a0, b0), (d1, a1, b1), (d2, a2, b2), (d3, a3, b3) = [(1, 0, 0)] * (4 - len(levels)) + levels
        line(rows, n, d3)(a.reshape(-1), b.reshape(-1), out.reshape(-1), d1, d2, d3, a0, a1, a2, a3, b0, b1, b2, b3)

    return launcher


def _on_cpu(kernel: Callable[..., None], n: int, width: int) -> Callable[..., None]:
    """The kernel, with its number of tasks: blocks of rows of ``width`` elements, or pieces of longer rows."""
    count = -(-(n // width) // max(1, CHUNK // width)) * -(-width // CHUNK)
    return partial(kernel, count, n)


def _on_cuda(kernel: Any, n: int, width: int) -> Callable[..., None]:
    return kernel[launch.line(n)]


# ---------------------------------------------------------------------------------------------- the two factories


def _chunks(n: int) -> int:
    """How many tasks of CHUNK elements n elements are."""
    return -(-n // CHUNK)


def _reference(function: Callable[..., Any]) -> Callable[..., None]:
    """A reference kernel from a NumPy function."""

    def reference(*arrays: np.ndarray) -> None:
        *inputs, out = arrays
        with np.errstate(all="ignore"):
            out[...] = function(*inputs)

    return reference


def _unary(
    name: str,
    numpy: Callable[..., Any],
    f: Callable[..., Any],
    f_cuda: Callable[..., Any] | None = None,
    result: str = "float32",
) -> Kernel:
    """The kernel ``name(a, out)`` with out = f(a); ``f_cuda`` where CUDA's own function is the better one."""
    f = scalar(f)
    on_cuda = f if f_cuda is None else scalar(f_cuda)

    @tasks(name=f"{name}_flat")
    def flat(task, a, out):  # type: ignore[no-untyped-def]
        number = a.dtype.type
        start = task * CHUNK
        for i in range(start, min(start + CHUNK, out.size)):
            write(out, i, f(read(a, i), number))

    @cuda.jit
    def flat_cuda(a, out):  # type: ignore[no-untyped-def]
        i = cuda.grid(1)
        if i < out.size:
            out[i] = on_cuda(a[i], a.dtype.type)

    def cpu(a: Any, out: Any) -> None:
        flat(_chunks(out.size), out.size, a.reshape(-1), out.reshape(-1))

    def cuda_(a: Any, out: Any) -> None:
        if out.size:
            flat_cuda[launch.line(out.size)](a.reshape(-1), out.reshape(-1))

    _cuda_kernels.append((flat_cuda, f"void(float32[::1], {result}[::1])"))
    return Kernel(name, reference=_reference(numpy), cpu=cpu, cuda=cuda_)


def _binary(
    name: str, numpy: Callable[..., Any], f: Callable[..., Any], result: str = "float32", takes: str = "float32"
) -> Kernel:
    """The kernel ``name(a, b, out)`` with out = f(a, b) and broadcasting; for floats, or for ints alone."""
    f = scalar(f)

    @jit(name=f"{name}_segment")
    def segment(a, a0, sa, b, b0, sb, out, o0, n):  # type: ignore[no-untyped-def]
        number = a.dtype.type
        if sa == 0:
            left = read(a, a0)
            for i in range(n):
                write(out, o0 + i, f(left, read(b, b0 + i), number))
        elif sb == 0:
            right = read(b, b0)
            for i in range(n):
                write(out, o0 + i, f(read(a, a0 + i), right, number))
        else:
            for i in range(n):
                write(out, o0 + i, f(read(a, a0 + i), read(b, b0 + i), number))

    @tasks(name=f"{name}_flat")
    def flat(task, a, b, out, sa, sb):  # type: ignore[no-untyped-def]
        start = task * CHUNK
        segment(a, start * sa, sa, b, start * sb, sb, out, start, min(CHUNK, out.size - start))

    @tasks(name=f"{name}_rows")
    def rows(task, a, b, out, d1, d2, d3, a0, a1, a2, a3, b0, b1, b2, b3):  # type: ignore[no-untyped-def]
        """Rows of d3 elements; a task is a block of short rows or a piece of a long one (see ``_on_cpu``)."""
        total = out.size // d3
        block = max(1, CHUNK // d3)
        piece = min(d3, CHUNK)
        pieces = (d3 + piece - 1) // piece
        first = task // pieces * block
        start = task % pieces * piece
        n = min(piece, d3 - start)
        for row in range(first, min(first + block, total)):
            i = row // (d1 * d2)
            j = row // d2 % d1
            k = row % d2
            in_a = i * a0 + j * a1 + k * a2 + start * a3
            in_b = i * b0 + j * b1 + k * b2 + start * b3
            segment(a, in_a, a3, b, in_b, b3, out, row * d3 + start, n)

    @cuda.jit
    def flat_cuda(a, b, out, sa, sb):  # type: ignore[no-untyped-def]
        i = cuda.grid(1)
        if i < out.size:
            out[i] = f(a[i * sa], b[i * sb], a.dtype.type)

    @cuda.jit
    def rows_cuda(a, b, out, d1, d2, d3, a0, a1, a2, a3, b0, b1, b2, b3):  # type: ignore[no-untyped-def]
        place = cuda.grid(1)
        if place < out.size:
            row = place // d3
            i = row // (d1 * d2)
            j = row // d2 % d1
            k = row % d2
            m = place - row * d3
            left = a[i * a0 + j * a1 + k * a2 + m * a3]
            right = b[i * b0 + j * b1 + k * b2 + m * b3]
            out[place] = f(left, right, a.dtype.type)

    arrays = f"{takes}[::1], {takes}[::1], {result}[::1]"
    _cuda_kernels.append((flat_cuda, f"void({arrays}, int64, int64)"))
    _cuda_kernels.append((rows_cuda, f"void({arrays}{', int64' * 11})"))
    return Kernel(
        name,
        reference=_reference(numpy),
        cpu=_broadcast(flat, rows, _on_cpu),
        cuda=_broadcast(flat_cuda, rows_cuda, _on_cuda),
    )


# ------------------------------------------------------------------------------------------------- the functions
# The few that need more than one line, or differ between the devices, stand here; the others in the table itself.


def _power(a, b, number):  # type: ignore[no-untyped-def]
    return a**b


def _maximum(a, b, number):  # type: ignore[no-untyped-def]
    return a if (a > b) | (a != a) else b


def _minimum(a, b, number):  # type: ignore[no-untyped-def]
    return a if (a < b) | (a != a) else b


def _rsqrt(x, number):  # type: ignore[no-untyped-def]
    # LLVM may turn 1 / sqrt(x) into an estimate and a Newton step, which makes NaN of the two ends
    root = number(1) / math.sqrt(x)
    return number(0) if x == number(math.inf) else number(1) / x if x == number(0) else root


@scalar
def _floor_of(x, number):  # type: ignore[no-untyped-def]
    """The largest whole number <= x, by conversion and back; from 2**52 on (and for NaN) x is whole, or itself."""
    whole = number(np.int64(x)) if abs(x) < number(4503599627370496) else x
    return whole - number(1) if whole > x else whole


def _floor(x, number):  # type: ignore[no-untyped-def]
    return _floor_of(x, number)


def _ceil(x, number):  # type: ignore[no-untyped-def]
    return -_floor_of(-x, number)


def _round(x, number):  # type: ignore[no-untyped-def]
    below = _floor_of(x, number)
    odd = below - number(2) * _floor_of(below * number(0.5), number)
    twice = (x - below) + (x - below)  # against 1, not its half against 0.5, which no integer type holds
    return below + number(1) if (twice > number(1)) | ((twice == number(1)) & (odd == number(1))) else below


def _fmod(a, b, number):  # type: ignore[no-untyped-def]
    rest = abs(a) % abs(b)
    return -rest if a < number(0) else rest


def _trunc(x, number):  # type: ignore[no-untyped-def]
    below = _floor_of(abs(x), number)
    return -below if x < number(0) else below


def _log2(x, number):  # type: ignore[no-untyped-def]
    # exponent and mantissa apart, so that powers of two come out whole; zero, denormals, infinity and NaN go by log
    normal = (x >= number(1.2e-38)) & (x < number(math.inf))
    whole = exponent_of(x) if normal else number(0)
    rest = mantissa_of(x) if normal else x
    return whole + log_(rest) * number(1.4426950408889634)


# --------------------------------------------------------------------------------------------------- the table
# fmt: off

add           = _binary("add",           np.add,           lambda a, b, number: a + b)
subtract      = _binary("subtract",      np.subtract,      lambda a, b, number: a - b)
multiply      = _binary("multiply",      np.multiply,      lambda a, b, number: a * b)
divide        = _binary("divide",        np.divide,        lambda a, b, number: a / b)
power         = _binary("power",         np.power,         _power)
maximum       = _binary("maximum",       np.maximum,       _maximum)
minimum       = _binary("minimum",       np.minimum,       _minimum)
remainder     = _binary("remainder",     np.remainder,     lambda a, b, number: a % b)
floor_divide  = _binary("floor_divide",  np.floor_divide,  lambda a, b, number: a // b)
fmod          = _binary("fmod",          np.fmod,          _fmod)
atan2         = _binary("atan2",         np.arctan2,       lambda a, b, number: math.atan2(a, b))
hypot         = _binary("hypot",         np.hypot,         lambda a, b, number: math.hypot(a, b))

equal         = _binary("equal",         np.equal,         lambda a, b, number: a == b, "boolean")
not_equal     = _binary("not_equal",     np.not_equal,     lambda a, b, number: a != b, "boolean")
less          = _binary("less",          np.less,          lambda a, b, number: a < b,  "boolean")
less_equal    = _binary("less_equal",    np.less_equal,    lambda a, b, number: a <= b, "boolean")
greater       = _binary("greater",       np.greater,       lambda a, b, number: a > b,  "boolean")
greater_equal = _binary("greater_equal", np.greater_equal, lambda a, b, number: a >= b, "boolean")

logical_and   = _binary("logical_and",   np.logical_and,   lambda a, b, number: bool(a) & bool(b), "boolean")
logical_or    = _binary("logical_or",    np.logical_or,    lambda a, b, number: bool(a) | bool(b), "boolean")
logical_xor   = _binary("logical_xor",   np.logical_xor,   lambda a, b, number: bool(a) ^ bool(b), "boolean")
bitwise_and   = _binary("bitwise_and",   np.bitwise_and,   lambda a, b, number: a & b, "int64", "int64")
bitwise_or    = _binary("bitwise_or",    np.bitwise_or,    lambda a, b, number: a | b, "int64", "int64")
bitwise_xor   = _binary("bitwise_xor",   np.bitwise_xor,   lambda a, b, number: a ^ b, "int64", "int64")

negative      = _unary("negative",   np.negative,                lambda x, number: -x)
absolute      = _unary("absolute",   np.absolute,                lambda x, number: abs(x))
sign          = _unary("sign",       lambda a: np.sign(np.where(a != a, 0, a)),  # 0 of NaN, as PyTorch has it
                       lambda x, number: number(x > number(0)) - number(x < number(0)))
square        = _unary("square",     np.square,                  lambda x, number: x * x)
reciprocal    = _unary("reciprocal", np.reciprocal,              lambda x, number: number(1) / x)
sqrt          = _unary("sqrt",       np.sqrt,                    lambda x, number: math.sqrt(x))
rsqrt         = _unary("rsqrt",      lambda a: 1 / np.sqrt(a),   _rsqrt)
exp           = _unary("exp",        np.exp,                     lambda x, number: exp_(x), lambda x, number: math.exp(x))
expm1         = _unary("expm1",      np.expm1,                   lambda x, number: expm1_(x), lambda x, number: math.expm1(x))
log           = _unary("log",        np.log,                     lambda x, number: log_(x), lambda x, number: math.log(x))
log1p         = _unary("log1p",      np.log1p,                   lambda x, number: math.log1p(x))
log2          = _unary("log2",       np.log2,                    _log2, lambda x, number: math.log2(x))
log10         = _unary("log10",      np.log10,                   lambda x, number: log_(x) * number(0.4342944819032518),
                       lambda x, number: math.log10(x))
sinh          = _unary("sinh",       np.sinh,                    lambda x, number: math.sinh(x))
cosh          = _unary("cosh",       np.cosh,                    lambda x, number: math.cosh(x))
asin          = _unary("asin",       np.arcsin,                  lambda x, number: math.asin(x))
acos          = _unary("acos",       np.arccos,                  lambda x, number: math.acos(x))
atan          = _unary("atan",       np.arctan,                  lambda x, number: math.atan(x))
sin           = _unary("sin",        np.sin,                     lambda x, number: math.sin(x))
cos           = _unary("cos",        np.cos,                     lambda x, number: math.cos(x))
tanh_         = _unary("tanh",       np.tanh,                    _tanh_cpu.py_func, lambda x, number: math.tanh(x))
erf_          = _unary("erf",        np.vectorize(math.erf, otypes=[float]), lambda x, number: math.erf(x))
floor         = _unary("floor",      np.floor,                   _floor)
ceil          = _unary("ceil",       np.ceil,                    _ceil)
trunc         = _unary("trunc",      np.trunc,                   _trunc)
round_        = _unary("round",      np.round,                   _round)
isnan_        = _unary("isnan",      np.isnan,                   lambda x, number: x != x, result="boolean")
logical_not   = _unary("logical_not", np.logical_not,            lambda x, number: not bool(x), result="boolean")

# fmt: on


# --------------------------------------------------------------------------------- of three: where, addcmul, lerp


def _strides(n: int, *arrays: Any) -> list[int]:
    """1 for each array of n elements, 0 for one of a single element."""
    return [int(array.size == n) for array in arrays]


def where_reference(condition, a, b, out):  # type: ignore[no-untyped-def]
    out[...] = np.where(condition, a, b)


@jit
def _where_segment(condition, a, sa, b, sb, out, start, end):  # type: ignore[no-untyped-def]
    if sa == 0:
        left = read(a, 0)
        if sb == 0:
            right = read(b, 0)
            for i in range(start, end):
                write(out, i, left if read(condition, i) else right)
        else:
            for i in range(start, end):
                right = read(b, i)
                write(out, i, left if read(condition, i) else right)
    elif sb == 0:
        right = read(b, 0)
        for i in range(start, end):
            left = read(a, i)
            write(out, i, left if read(condition, i) else right)
    else:
        for i in range(start, end):
            left, right = read(a, i), read(b, i)
            write(out, i, left if read(condition, i) else right)


@tasks
def _where_flat(task, condition, a, b, out, sa, sb):  # type: ignore[no-untyped-def]
    start = task * CHUNK
    _where_segment(condition, a, sa, b, sb, out, start, min(start + CHUNK, out.size))


def _where_cpu(condition: Any, a: Any, b: Any, out: Any) -> None:
    if out.size:
        flat = condition.reshape(-1), a.reshape(-1), b.reshape(-1), out.reshape(-1)
        _where_flat(_chunks(out.size), out.size, *flat, *_strides(out.size, a, b))


@cuda.jit
def _where_cuda_flat(condition, a, b, out, sa, sb):  # type: ignore[no-untyped-def]
    i = cuda.grid(1)
    if i < out.size:
        out[i] = a[i * sa] if condition[i] else b[i * sb]


def _where_cuda(condition: Any, a: Any, b: Any, out: Any) -> None:
    if out.size:
        flat = condition.reshape(-1), a.reshape(-1), b.reshape(-1), out.reshape(-1)
        _where_cuda_flat[launch.line(out.size)](*flat, *_strides(out.size, a, b))


where = Kernel("where", reference=where_reference, cpu=_where_cpu, cuda=_where_cuda)


def _ternary(name: str, reference: Callable[..., None], f: Callable[..., Any], has_value: bool) -> Kernel:
    """The kernel ``name(a, b, c, out)`` or ``name(a, b, c, out, value)`` with out = f(a, b, c, value)."""
    f = scalar(f)

    @tasks(name=f"{name}_flat")
    def flat(task, a, b, c, out, sa, sb, sc, value):  # type: ignore[no-untyped-def]
        number = a.dtype.type
        factor = number(value)
        start = task * CHUNK
        end = min(start + CHUNK, out.size)
        if sa + sb + sc == 3:
            for i in range(start, end):
                write(out, i, f(read(a, i), read(b, i), read(c, i), factor, number))
        elif sa + sb == 2:
            last = read(c, 0)
            for i in range(start, end):
                write(out, i, f(read(a, i), read(b, i), last, factor, number))
        else:
            for i in range(start, end):
                write(out, i, f(read(a, i * sa), read(b, i * sb), read(c, i * sc), factor, number))

    @cuda.jit
    def flat_cuda(a, b, c, out, sa, sb, sc, value):  # type: ignore[no-untyped-def]
        i = cuda.grid(1)
        if i < out.size:
            out[i] = f(a[i * sa], b[i * sb], c[i * sc], value, a.dtype.type)

    def run(kernel: Any, a: Any, b: Any, c: Any, out: Any, value: Any) -> None:
        arrays = [array.reshape(-1) for array in (a, b, c, out)]
        kernel(*arrays, *_strides(out.size, a, b, c), value)

    def cpu(a: Any, b: Any, c: Any, out: Any, value: Any) -> None:
        if out.size:
            run(partial(flat, _chunks(out.size), out.size), a, b, c, out, value)

    def cuda_(a: Any, b: Any, c: Any, out: Any, value: Any) -> None:
        if out.size:
            run(flat_cuda[launch.line(out.size)], a, b, c, out, out.dtype.type(value))

    _cuda_kernels.append((flat_cuda, f"void({'float32[::1], ' * 4}int64, int64, int64, float32)"))
    if has_value:
        return Kernel(name, reference=reference, cpu=cpu, cuda=cuda_)

    def cpu_without(a: Any, b: Any, c: Any, out: Any) -> None:
        cpu(a, b, c, out, 1)

    def cuda_without(a: Any, b: Any, c: Any, out: Any) -> None:
        cuda_(a, b, c, out, 1)

    return Kernel(name, reference=reference, cpu=cpu_without, cuda=cuda_without)


def addcmul_reference(a, b, c, out, value):  # type: ignore[no-untyped-def]
    out[...] = a + value * (b * c)


def addcdiv_reference(a, b, c, out, value):  # type: ignore[no-untyped-def]
    out[...] = a + value * (b / c)


def lerp_reference(a, b, c, out):  # type: ignore[no-untyped-def]
    out[...] = np.where(np.abs(c) < 0.5, a + c * (b - a), b - (b - a) * (1 - c))


def _lerp(a, b, c, value, number):  # type: ignore[no-untyped-def]
    near, far = a + c * (b - a), b - (b - a) * (number(1) - c)
    return near if abs(c) < number(0.5) else far


addcmul = _ternary("addcmul", addcmul_reference, lambda a, b, c, value, number: a + value * (b * c), True)
addcdiv = _ternary("addcdiv", addcdiv_reference, lambda a, b, c, value, number: a + value * (b / c), True)
lerp = _ternary("lerp", lerp_reference, _lerp, False)


# ------------------------------------------------------------------------------------- clamp, gradients of extrema


def clamp_reference(a, out, low, high):  # type: ignore[no-untyped-def]
    out[...] = np.minimum(np.maximum(a, low), high)


@tasks
def _clamp_flat(task, a, out, low, high):  # type: ignore[no-untyped-def]
    number = a.dtype.type
    least, most = number(low), number(high)
    start = task * CHUNK
    for i in range(start, min(start + CHUNK, out.size)):
        x = read(a, i)
        x = least if x < least else x
        write(out, i, most if x > most else x)


def _clamp_cpu(a: Any, out: Any, low: float, high: float) -> None:
    _clamp_flat(_chunks(out.size), out.size, a.reshape(-1), out.reshape(-1), *_bounds(out.dtype, low, high))


@cuda.jit
def _clamp_cuda_flat(a, out, low, high):  # type: ignore[no-untyped-def]
    i = cuda.grid(1)
    if i < out.size:
        x = a[i]
        x = low if x < low else x
        out[i] = high if x > high else x


def _clamp_cuda(a: Any, out: Any, low: float, high: float) -> None:
    if out.size:
        least, most = _bounds(out.dtype, low, high)
        number = out.dtype.type  # the bounds travel in the array's type: a float64 argument would be float64 arithmetic
        _clamp_cuda_flat[launch.line(out.size)](a.reshape(-1), out.reshape(-1), number(least), number(most))


def _bounds(dtype: np.dtype, low: float, high: float) -> tuple[float, float]:
    """The limits as numbers of the dtype's kind; integers hold theirs within their own range."""
    if dtype.kind == "f":
        return float(low), float(high)
    limits = np.iinfo(dtype)
    least = math.ceil(low) if low > limits.min else limits.min
    most = math.floor(high) if high < limits.max else limits.max
    return int(min(least, limits.max)), int(max(most, limits.min))


clamp = Kernel("clamp", reference=clamp_reference, cpu=_clamp_cpu, cuda=_clamp_cuda)


def clamp_backward_reference(a, dy, dx, low, high):  # type: ignore[no-untyped-def]
    dx[...] = np.where((a >= low) & (a <= high), dy, 0)


@tasks
def _clamp_backward_flat(task, a, dy, dx, low, high):  # type: ignore[no-untyped-def]
    number = a.dtype.type
    least, most = number(low), number(high)
    start = task * CHUNK
    for i in range(start, min(start + CHUNK, a.size)):
        x, g = read(a, i), read(dy, i)
        write(dx, i, g if (x >= least) & (x <= most) else number(0))


def _clamp_backward_cpu(a: Any, dy: Any, dx: Any, low: float, high: float) -> None:
    flat = a.reshape(-1), dy.reshape(-1), dx.reshape(-1)
    _clamp_backward_flat(_chunks(a.size), a.size, *flat, float(low), float(high))


@cuda.jit
def _clamp_backward_cuda_flat(a, dy, dx, low, high):  # type: ignore[no-untyped-def]
    i = cuda.grid(1)
    if i < a.size:
        dx[i] = dy[i] if (a[i] >= low) & (a[i] <= high) else a.dtype.type(0)


def _clamp_backward_cuda(a: Any, dy: Any, dx: Any, low: float, high: float) -> None:
    if a.size:
        number = a.dtype.type
        flat = a.reshape(-1), dy.reshape(-1), dx.reshape(-1)
        _clamp_backward_cuda_flat[launch.line(a.size)](*flat, number(low), number(high))


clamp_backward = Kernel(
    "clamp_backward", reference=clamp_backward_reference, cpu=_clamp_backward_cpu, cuda=_clamp_backward_cuda
)


def extremum_backward_reference(a, b, dy, da, db, largest):  # type: ignore[no-untyped-def]
    share = np.where(a == b, dy / 2, dy)
    lower, higher = a < b, a > b
    da[...] = np.where(lower if largest else higher, 0, share)
    db[...] = np.where(higher if largest else lower, 0, share)


@tasks
def _extremum_backward_flat(task, a, b, dy, da, db, largest):  # type: ignore[no-untyped-def]
    number = a.dtype.type
    start = task * CHUNK
    for i in range(start, min(start + CHUNK, a.size)):
        x, y, g = read(a, i), read(b, i), read(dy, i)
        share = g * number(0.5) if x == y else g
        lower, higher = (x < y, x > y) if largest != 0 else (x > y, x < y)
        write(da, i, number(0) if lower else share)
        write(db, i, number(0) if higher else share)


def _extremum_backward_cpu(a: Any, b: Any, dy: Any, da: Any, db: Any, largest: bool) -> None:
    flat = [array.reshape(-1) for array in (a, b, dy, da, db)]
    _extremum_backward_flat(_chunks(a.size), 2 * a.size, *flat, int(largest))


@cuda.jit
def _extremum_backward_cuda_flat(a, b, dy, da, db, largest):  # type: ignore[no-untyped-def]
    i = cuda.grid(1)
    if i < a.size:
        number = a.dtype.type
        x = a[i]
        y = b[i]
        share = dy[i] * number(0.5) if x == y else dy[i]
        lower = x < y
        higher = x > y
        if largest == 0:
            lower = x > y
            higher = x < y
        da[i] = number(0) if lower else share
        db[i] = number(0) if higher else share


def _extremum_backward_cuda(a: Any, b: Any, dy: Any, da: Any, db: Any, largest: bool) -> None:
    if a.size:
        flat = [array.reshape(-1) for array in (a, b, dy, da, db)]
        _extremum_backward_cuda_flat[launch.line(a.size)](*flat, int(largest))


extremum_backward = Kernel(
    "extremum_backward",
    reference=extremum_backward_reference,
    cpu=_extremum_backward_cpu,
    cuda=_extremum_backward_cuda,
)


# ---------------------------------------------------------------------------------------- accumulate, cast, fill


def axpy_reference(a, out, alpha):  # type: ignore[no-untyped-def]
    out += np.asarray(alpha * a, out.dtype)


@tasks
def _axpy_flat(task, a, out, alpha):  # type: ignore[no-untyped-def]
    factor = out.dtype.type(alpha)
    start = task * CHUNK
    for i in range(start, min(start + CHUNK, out.size)):
        write(out, i, read(out, i) + factor * read(a, i))


def _axpy_cpu(a: Any, out: Any, alpha: float) -> None:
    _axpy_flat(_chunks(out.size), out.size, a.reshape(-1), out.reshape(-1), alpha)


@cuda.jit
def _axpy_cuda_flat(a, out, alpha):  # type: ignore[no-untyped-def]
    i = cuda.grid(1)
    if i < out.size:
        out[i] += alpha * a[i]


def _axpy_cuda(a: Any, out: Any, alpha: float) -> None:
    if out.size:
        _axpy_cuda_flat[launch.line(out.size)](a.reshape(-1), out.reshape(-1), out.dtype.type(alpha))


axpy = Kernel("axpy", reference=axpy_reference, cpu=_axpy_cpu, cuda=_axpy_cuda)


class _Cast(Kernel):
    """The one kernel whose two arrays differ in dtype; between a half dtype and another one by way of float32."""

    def __call__(self, a: Any, out: Any) -> None:
        settle(a)
        if is_half(a.dtype):
            wide = out if out.dtype == float32 else empty(a.shape, float32, device_of(a))
            to_float32(a, wide)
            if wide is out:
                return
            a = wide
        if is_half(out.dtype):
            if a.dtype != float32:
                wide = empty(a.shape, float32, device_of(a))
                self(a, wide)
                a = wide
            from_float32(a, out)
            return
        (_cast_cuda if is_cuda_array(out) else _cast_cpu)(a, out)


def cast_reference(a, out):  # type: ignore[no-untyped-def]
    out[...] = a.astype(out.dtype)


@tasks
def _cast_flat(task, a, out):  # type: ignore[no-untyped-def]
    start = task * CHUNK
    for i in range(start, min(start + CHUNK, out.size)):
        write(out, i, read(a, i))


def _cast_cpu(a: Any, out: Any) -> None:
    _cast_flat(_chunks(out.size), out.size, a.reshape(-1), out.reshape(-1))


@cuda.jit
def _cast_cuda_flat(a, out):  # type: ignore[no-untyped-def]
    i = cuda.grid(1)
    if i < out.size:
        out[i] = out.dtype.type(a[i])


def _cast_cuda(a: Any, out: Any) -> None:
    if out.size:
        _cast_cuda_flat[launch.line(out.size)](a.reshape(-1), out.reshape(-1))


cast = _Cast("cast", reference=cast_reference, cpu=_cast_cpu, cuda=_cast_cuda)


def fill_reference(out, value):  # type: ignore[no-untyped-def]
    out[...] = value


def _fill_cpu(out: Any, value: float) -> None:
    out.fill(value)


@cuda.jit
def _fill_cuda_flat(out, value):  # type: ignore[no-untyped-def]
    i = cuda.grid(1)
    if i < out.size:
        out[i] = value


def _fill_cuda(out: Any, value: float) -> None:
    if out.size:
        _fill_cuda_flat[launch.line(out.size)](out.reshape(-1), out.dtype.type(value))


fill = Kernel("fill", reference=fill_reference, cpu=_fill_cpu, cuda=_fill_cuda)

CUDA_KERNELS = (
    *_cuda_kernels,
    (_where_cuda_flat, "void(boolean[::1], float32[::1], float32[::1], float32[::1], int64, int64)"),
    (_clamp_cuda_flat, "void(float32[::1], float32[::1], float32, float32)"),
    (_clamp_backward_cuda_flat, "void(float32[::1], float32[::1], float32[::1], float32, float32)"),
    (_extremum_backward_cuda_flat, f"void({'float32[::1], ' * 5}int64)"),
    (_axpy_cuda_flat, "void(float32[::1], float32[::1], float32)"),
    (_cast_cuda_flat, "void(int64[::1], float32[::1])"),
    (_fill_cuda_flat, "void(float32[::1], float32)"),
)
