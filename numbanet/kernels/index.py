"""Scalar helpers of the kernels: what both twins share, and vectorisable mathematics for the CPU.

Three groups:

*Shared scalars* (``scalar`` decorates them) take and give numbers only, never arrays, and melt into the CPU twin, the
CUDA twin and the simulator alike. A literal such as ``0.5`` would turn float32 arithmetic into float64 on CUDA, so a
helper that needs a constant takes ``number``, the NumPy type of its operands, and writes ``number(0.5)``.

*Array access of one-loop CPU kernels*: ``read`` and ``write`` are ``a[i]`` and ``a[i] = value`` without wrap-around
of negative indices, and with the promise that no element read is one written by **another** iteration. LLVM then
vectorises without asking whether input and output overlap; asked, it answers "yes" for an operation in place, and
runs that one element by one. ``read_at`` and ``write_at`` do the same at an address (``address`` gives an array's), for arrays
that are many or of another dtype than their kernel's; who passes an address holds the array.

*CPU mathematics*: ``exp_``, ``expm1_``, ``log_``, ``log1p_`` (of 0 to 1), ``tanh_``, ``sigmoid_``, ``sigmoids_``, ``softplus_``,
``half_normal_``: polynomials after exact argument reduction, in plain arithmetic without calls, so that LLVM vectorises
them; good to a few units in the last place in float32 and float64, with the IEEE results for NaN, infinities, overflow
and denormals. CUDA has its own ``math.exp``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic as _intrinsic
from numba.extending import overload
from numba.np.arrayobj import make_array

intrinsic: Any = _intrinsic  # its declared type is the typing side's, whose first argument callers do not write


def scalar(function: Any) -> Any:
    """Decorate a helper of plain numbers that both twins (and the simulator) inline."""
    return njit(inline="always", error_model="numpy")(function)


# ---------------------------------------------------------------------------------------------------- array access


def _scope(builder: Any) -> Any:
    """The alias scope of everything ``read``; ``write`` declares itself outside of it."""
    module = builder.module
    domain = module.add_metadata(["numbanet.elementwise"])
    return module.add_metadata([module.add_metadata(["numbanet.read", domain])])


@intrinsic
def read(typingctx, a, i):  # type: ignore[no-untyped-def]
    """``a[i]`` of a C-contiguous 1-D array; i must be in range (see the module's docstring for the promise made)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = make_array(signature.args[0])(context, builder, args[0])
        loaded = builder.load(builder.gep(array.data, [args[1]]))
        loaded.set_metadata("alias.scope", _scope(builder))
        return context.data_model_manager[signature.args[0].dtype].from_data(builder, loaded)

    return a.dtype(a, types.intp), codegen


@intrinsic
def reread(typingctx, a, i):  # type: ignore[no-untyped-def]
    """``a[i]`` as ``read``, of an array that an earlier loop of the same function may have written: no promise."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = make_array(signature.args[0])(context, builder, args[0])
        loaded = builder.load(builder.gep(array.data, [args[1]]))
        return context.data_model_manager[signature.args[0].dtype].from_data(builder, loaded)

    return a.dtype(a, types.intp), codegen


@intrinsic
def write(typingctx, a, i, value):  # type: ignore[no-untyped-def]
    """``a[i] = value`` of a C-contiguous 1-D array, converted to its dtype; i must be in range."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = make_array(signature.args[0])(context, builder, args[0])
        dtype = signature.args[0].dtype
        converted = context.cast(builder, args[2], signature.args[2], dtype)
        stored = builder.store(
            context.data_model_manager[dtype].as_data(builder, converted), builder.gep(array.data, [args[1]])
        )
        stored.set_metadata("noalias", _scope(builder))
        return context.get_dummy_value()

    return types.void(a, types.intp, value), codegen


@intrinsic
def read_at(typingctx, like, address, i):  # type: ignore[no-untyped-def]
    """Element i of the array at an address, as ``read``; of the dtype of ``like``, an array or a NumPy type."""
    dtype = like.dtype

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[1], context.get_data_type(dtype).as_pointer())
        loaded = builder.load(builder.gep(pointer, [args[2]]))
        loaded.set_metadata("alias.scope", _scope(builder))
        return context.data_model_manager[dtype].from_data(builder, loaded)

    return dtype(like, types.int64, types.int64), codegen


@intrinsic
def write_at(typingctx, like, address, i, value):  # type: ignore[no-untyped-def]
    """Store element i of the array at an address, as ``write``."""
    dtype = like.dtype

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[1], context.get_data_type(dtype).as_pointer())
        converted = context.cast(builder, args[3], signature.args[3], dtype)
        stored = builder.store(
            context.data_model_manager[dtype].as_data(builder, converted), builder.gep(pointer, [args[2]])
        )
        stored.set_metadata("noalias", _scope(builder))
        return context.get_dummy_value()

    return types.void(like, types.int64, types.int64, value), codegen


@intrinsic
def select(typingctx, condition, a, b):  # type: ignore[no-untyped-def]
    """``a if condition else b`` without a branch, into which LLVM would move the reading of a or b, for CPU twins."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(*args)

    return a(types.boolean, a, a), codegen


def address(array: np.ndarray) -> int:
    """Where a NumPy array's first element lies."""
    return array.__array_interface__["data"][0]


# ----------------------------------------------------------------------------------------------- threads by work


WORK = 1 << 15  # elements that are worth one more thread


@intrinsic
def limit_threads(typingctx, work):  # type: ignore[no-untyped-def]
    """Lower this thread's number of threads to one per WORK elements; returns the former number, for ``restore_threads``.

    A parallel function calls it before its loop. Waking a sleeping thread costs up to 30 microseconds, and more on a
    busy machine; an array of LeNet's parameters takes two on the thread that is awake.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        i64 = ir.IntType(64)
        former = _call(builder, "get_num_threads", i64, [])
        wanted = builder.add(builder.ashr(args[0], ir.Constant(i64, WORK.bit_length() - 1)), ir.Constant(i64, 1))
        fewer = builder.select(builder.icmp_signed("<", wanted, former), wanted, former)
        _call(builder, "set_num_threads", ir.VoidType(), [fewer])
        return former

    return types.intp(types.intp), codegen


@intrinsic
def restore_threads(typingctx, former):  # type: ignore[no-untyped-def]
    """Undo ``limit_threads``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _call(builder, "set_num_threads", ir.VoidType(), [args[0]])
        return context.get_dummy_value()

    return types.void(types.intp), codegen


# ---------------------------------------------------------------------------------------- building blocks in LLVM


def _float(value: Any) -> tuple[Any, str, Any, int, int]:
    """(LLVM type, intrinsic suffix, integer type, mantissa bits, bytes) of a numba float type."""
    if value == types.float32:
        return ir.FloatType(), "f32", ir.IntType(32), 23, 4
    return ir.DoubleType(), "f64", ir.IntType(64), 52, 8


def _call(builder: Any, name: str, result: Any, args: Any) -> Any:
    function_type = ir.FunctionType(result, [argument.type for argument in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), args)


@intrinsic
def fma(typingctx, a, b, c):  # type: ignore[no-untyped-def]
    """a * b + c, rounded once. Unlike a written sum it is never reordered, which exact argument reduction needs."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        real, suffix, *_ = _float(signature.return_type)
        return _call(builder, f"llvm.fma.{suffix}", real, args)

    return a(a, a, a), codegen


@intrinsic
def fence(typingctx, x):  # type: ignore[no-untyped-def]
    """x, as it is: sums are not reordered across it. Not for vectorised loops."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        real, suffix, *_ = _float(signature.return_type)
        return _call(builder, f"llvm.arithmetic.fence.{suffix}", real, args)

    return x(x), codegen


@intrinsic
def nearest(typingctx, x):  # type: ignore[no-untyped-def]
    """x rounded to the nearest integer, ties to even."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        real, suffix, *_ = _float(signature.return_type)
        return _call(builder, f"llvm.rint.{suffix}", real, args)

    return x(x), codegen


@intrinsic
def times_power_of_two(typingctx, x, k):  # type: ignore[no-untyped-def]
    """x * 2**k for x in [0.5, 2] and integral k (a float) of any size a float's exponent can have, and twice that.

    Half of k is added to the exponent's bits and the other half multiplied on, so that results round once into the
    denormals and overflow to infinity.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        real, _, integer, mantissa, size = _float(signature.return_type)
        x, k = args
        whole = builder.fptosi(k, integer)
        half = builder.ashr(whole, ir.Constant(integer, 1))
        bits = builder.add(builder.bitcast(x, integer), builder.shl(half, ir.Constant(integer, mantissa)))
        bias = ir.Constant(integer, 127 if size == 4 else 1023)
        other = builder.shl(builder.add(builder.sub(whole, half), bias), ir.Constant(integer, mantissa))
        return builder.fmul(builder.bitcast(bits, real), builder.bitcast(other, real))

    return x(x, x), codegen


@intrinsic
def times_power_in_place(typingctx, x, shifted):  # type: ignore[no-untyped-def]
    """x * 2**k for a normal result, with k as the last bits of ``shifted``: k + 1.5 * 2**(bits of the mantissa).

    Adding that number rounds to a whole k, and leaves it where no conversion is needed to add it to x's exponent.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        real, _, integer, mantissa, _ = _float(signature.return_type)
        x, shifted = (builder.bitcast(arg, integer) for arg in args)
        return builder.bitcast(builder.add(x, builder.shl(shifted, ir.Constant(integer, mantissa))), real)

    return x(x, x), codegen


def _split(mantissa_wanted: bool) -> Any:
    @intrinsic
    def part(typingctx, x):  # type: ignore[no-untyped-def]
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            real, _, integer, mantissa, size = _float(signature.return_type)
            root_half = ir.Constant(integer, 0x3F3504F3 if size == 4 else 0x3FE6A09E667F3BCD)
            bits = builder.bitcast(args[0], integer)
            exponent = builder.ashr(builder.sub(bits, root_half), ir.Constant(integer, mantissa))
            if not mantissa_wanted:
                return builder.sitofp(exponent, real)
            return builder.bitcast(builder.sub(bits, builder.shl(exponent, ir.Constant(integer, mantissa))), real)

        return x(x), codegen

    return part


# x = mantissa_of(x) * 2**exponent_of(x) with the mantissa in [sqrt(1/2), sqrt(2)), for normal x > 0.
mantissa_of = _split(mantissa_wanted=True)
exponent_of = _split(mantissa_wanted=False)


@intrinsic
def rising_key(typingctx, x):  # type: ignore[no-untyped-def]
    """An integer that orders as x does, with NaN above everything and -0.0 equal to 0.0: sorts and integer maxima vectorise."""

    def of_integer(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return args[0]

    def of_float(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, _, integer, _, size = _float(signature.args[0])
        bits = builder.bitcast(args[0], integer)
        sign = builder.ashr(bits, ir.Constant(integer, 8 * size - 1))  # -1 for negative x, else 0
        largest = ir.Constant(integer, (1 << (8 * size - 1)) - 1)
        magnitude = builder.and_(bits, largest)
        key = builder.sub(builder.xor(magnitude, sign), sign)
        return builder.select(builder.fcmp_unordered("uno", args[0], args[0]), largest, key)

    if not isinstance(x, types.Float):
        return x(x), of_integer
    return (types.int32 if x == types.float32 else types.int64)(x), of_float


@intrinsic
def key_value(typingctx, key):  # type: ignore[no-untyped-def]
    """The float whose ``rising_key`` this is."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        real, _, integer, _, size = _float(signature.return_type)
        sign = builder.ashr(args[0], ir.Constant(integer, 8 * size - 1))
        magnitude = builder.sub(builder.xor(args[0], sign), sign)
        return builder.bitcast(
            builder.or_(magnitude, builder.and_(sign, ir.Constant(integer, -1 << (8 * size - 1)))), real
        )

    return (types.float32 if key == types.int32 else types.float64)(key), codegen


# ------------------------------------------------------------------------------------------------ CPU mathematics


def horner(coefficients: tuple[float, ...]) -> Any:
    """The polynomial c[0] + c[1] x + c[2] x**2 + ... as a chain of FMAs."""

    @intrinsic
    def polynomial(typingctx, x):  # type: ignore[no-untyped-def]
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            real, suffix, *_ = _float(signature.return_type)
            value = ir.Constant(real, coefficients[-1])
            for coefficient in coefficients[-2::-1]:
                value = _call(builder, f"llvm.fma.{suffix}", real, [value, args[0], ir.Constant(real, coefficient)])
            return value

        return x(x), codegen

    return polynomial


def _logarithm(number: Any, terms: int, ln2_high: float, ln2_low: float) -> Any:
    """log of one float type: x = m * 2**k, and log m = 2 artanh(s) with s = (m - 1) / (m + 1), by its power series."""
    series = horner(tuple(number(2 / (2 * n + 1)) for n in range(1, terms)))
    smallest = np.finfo(number).smallest_normal
    shift = number(np.finfo(number).nmant + 2)
    lift = number(2.0) ** shift
    ln2_high, ln2_low, one, two, zero = (number(value) for value in (ln2_high, ln2_low, 1.0, 2.0, 0.0))
    infinity, nan = number(np.inf), number(np.nan)

    def log(x):  # type: ignore[no-untyped-def]
        denormal = x < smallest
        lifted = x * lift if denormal else x
        k = exponent_of(lifted) - (shift if denormal else zero)
        f = mantissa_of(lifted) - one
        s = f / (f + two)
        square = s * s
        # log m = f - s (f - square * series): f is exact, and what is taken from it small
        tail = fma(s, fma(square, series(square), -f), k * ln2_low)
        result = fma(k, ln2_high, f + tail)
        result = infinity if x == infinity else -infinity if x == zero else result
        return result if x >= zero else nan

    return log


def _exponentials(number: Any, degree: int, low: float, high: float, flat: float, ln2_high: float) -> tuple[Any, Any]:
    """(exp, expm1) of one float type, by x = k ln 2 + r with |r| <= ln 2 / 2 and the Taylor polynomial of exp(r) - 1.

    Args:
        number: np.float32 or np.float64.
        degree: of the polynomial: the first one whose remainder is below a tenth of a unit in the last place.
        low: exp is 0 from here down.
        high: exp is infinite from here up.
        flat: expm1 is -1 from here down.
        ln2_high: ln 2 cut so short that its product with any k is exact.
    """
    from math import factorial

    whole = horner(tuple(number(1 / factorial(n)) for n in range(degree + 1)))
    beyond_linear = horner(tuple(number(1 / factorial(n)) for n in range(2, degree + 1)))
    per_ln2 = number(1.4426950408889634)
    minus_high = number(-ln2_high)
    minus_low = number(ln2_high - 0.6931471805599453 + (-2.3190468138462996e-17 if number is np.float64 else 0.0))
    low, high, flat, half, one, two = (number(value) for value in (low, high, flat, 0.5, 1.0, 2.0))

    def exp(x):  # type: ignore[no-untyped-def]
        inside = low if x < low else x
        inside = high if inside > high else inside
        k = nearest(inside * per_ln2)
        r = fma(k, minus_low, fma(k, minus_high, inside))
        return times_power_of_two(whole(r), k) if x == x else x

    def expm1(x):  # type: ignore[no-untyped-def]
        inside = flat if x < flat else x
        inside = high if inside > high else inside
        k = nearest(inside * per_ln2)
        r = fma(k, minus_low, fma(k, minus_high, inside))
        r = fma(r * r, beyond_linear(r), r)
        power = times_power_of_two(one, k - one)  # half of 2**k, which may itself be beyond the largest float
        return two * fma(power, r, power - half) if x == x else x

    return exp, expm1


_exp_float32, _expm1_float32 = _exponentials(np.float32, 7, -104.0, 89.0, -20.0, 0.693359375)
_exp_float64, _expm1_float64 = _exponentials(np.float64, 13, -746.0, 710.0, -40.0, 0.6931471803691238)


_log_float32 = _logarithm(np.float32, 6, 0.693359375, -2.121944400546905e-4)
_log_float64 = _logarithm(np.float64, 12, 0.6931471803691238, 1.9082149292705877e-10)


def _log1p(number: Any, terms: int) -> Any:
    """log(1 + x) of one float type for 0 <= x <= 1: 2 artanh(s) with s = x / (x + 2) <= 1/3, by its power series."""
    series = horner(tuple(number(1 / (2 * n + 1)) for n in range(terms)))
    two = number(2)

    def log1p(x):  # type: ignore[no-untyped-def]
        s = x / (x + two)
        return two * s * series(s * s)

    return log1p


_log1p_float32, _log1p_float64 = _log1p(np.float32, 8), _log1p(np.float64, 17)


def _half_normal(
    number: Any,
    center: float,
    mills: tuple[float, ...],
    exponential: tuple[float, ...],
    ln2_high: float,
    ln2_low: float,
) -> Any:
    """(t, ratio, bell) of one float type, of a standard normal Z: t = |x|, bell = exp(-t**2 / 2), ratio = P(Z > t) / bell.

    The ratio (Mills' ratio over sqrt(2 pi)) is series(u) / (t + center): u = (t - center) / (t + center) puts t = 0 .. infinity onto
    -1 .. 1, where (t + center) times the ratio is smooth. The bell is 2**k times a polynomial in r = t**2 + 2 k ln 2, which
    is rounded once, so that the exponential does not magnify the rounding of the square.

    Args:
        number: np.float32 or np.float64.
        center: which t is put onto 0.
        mills: coefficients of the series in u, from the constant on.
        exponential: coefficients of exp(s) for |s| <= ln 2 / 2; s is -r / 2.
        ln2_high: ln 2 cut so short that its product with any k is exact.
        ln2_low: the rest.
    """
    ratio_series = horner(tuple(number(c) for c in mills))
    bell_series = horner(tuple(number(c * (-0.5) ** n) for n, c in enumerate(exponential)))
    information = np.finfo(number)
    # Where k is one less than normal numbers have and r a little below 0: added to its exponent, this k makes the bell vanish.
    end = number((2 * (1 - information.minexp) * (ln2_high + ln2_low)) ** 0.5 * (1 - 8 * information.eps))
    rounder = number(1.5 * 2.0**information.nmant)
    per_ln2, high, low = number(-0.5 / (ln2_high + ln2_low)), number(2 * ln2_high), number(2 * ln2_low)
    center, one = number(center), number(1)

    def half_normal(x):  # type: ignore[no-untyped-def]
        t = abs(x)
        t = end if t > end else t
        shifted = fma(t * t, per_ln2, rounder)
        k = shifted - rounder
        r = fma(k, low, fma(t, t, k * high))
        w = one / (t + center)
        return t, ratio_series((t - center) * w) * w, times_power_in_place(bell_series(r), shifted)

    return half_normal


# fmt: off
# Coefficients of the ratio: for float64 its Chebyshev interpolation, in powers of u, up to the first one below the rounding; for
# float32 the polynomial with the least relative error, 4e-8, over 0 <= t <= 13.2. Likewise the exponential: Taylor's polynomial, and
# the one with the least relative error, 3e-9.
_MILLS_FLOAT32 = (
    0.72908367090803282, -0.50933221940943532, 0.23001924323018139, -0.047257378557463877, -0.010479439845331643,
    0.0069303036961575138, 0.0010776508596908158, -0.00091263333635382174, -0.00027299459700423607,
)
_EXP_FLOAT32 = (
    1.0, 1.0, 0.4999999342905617, 0.16666520353939357, 0.04166839132260708, 0.008368750558082085, 0.0013814528223921405,
)
_MILLS_FLOAT64 = (
    0.75528513041575149, -0.6078966419718923, 0.38713740074221492, -0.18652185795963661, 0.060396574890917872,
    -0.0075401889673863126, -0.0034796923670479736, 0.0016308184674099085, 1.3334430941183254e-4,
    -2.3109501736277426e-4, -1.9082463514145711e-6, 3.5145111902837651e-5, 7.166587641195121e-7, -5.9216110459239774e-6,
    -6.2983673384923691e-7, 1.0247851016552773e-6, 2.7246296951145872e-7, -1.597739614223922e-7, -8.6866470159978928e-8,
    1.7844927772981416e-8, 2.1427603843452356e-8, -5.8736267649871907e-10, -3.7306450818683703e-9,
    -1.1997782031253095e-10, 3.4033123086494946e-10,
)
_EXP_FLOAT64 = tuple(1 / math.factorial(n) for n in range(14))
# fmt: on

_half_normal_float32 = _half_normal(np.float32, 3.0, _MILLS_FLOAT32, _EXP_FLOAT32, 0.693359375, -2.121944400546905e-4)
_half_normal_float64 = _half_normal(
    np.float64, 4.0, _MILLS_FLOAT64, _EXP_FLOAT64, 0.6931471803691238, 1.9082149292705877e-10
)


def exp_(x):  # type: ignore[no-untyped-def]
    """e**x, vectorisable, for CPU twins."""
    return np.exp(x)


def expm1_(x):  # type: ignore[no-untyped-def]
    """e**x - 1 without cancellation, vectorisable, for CPU twins."""
    return np.expm1(x)


def log_(x):  # type: ignore[no-untyped-def]
    """The natural logarithm, vectorisable, for CPU twins."""
    return np.log(x)


def log1p_(x):  # type: ignore[no-untyped-def]
    """log(1 + x) for 0 <= x <= 1, vectorisable, for CPU twins."""
    return np.log1p(x)


def half_normal_(x):  # type: ignore[no-untyped-def]
    """(t, ratio, bell) with t = |x|, bell = e**(-t**2 / 2) and ratio = P(Z > t) / bell of a standard normal Z, vectorisable, for CPU twins.

    From |x| = 13.2 (float64: 37.6) on, where bell would be below the normal numbers, it is next to 0, and t grows no more.
    """
    raise NotImplementedError("compiled code only")


@overload(exp_, inline="always")
def _overload_exp(x):  # type: ignore[no-untyped-def]
    return _exp_float32 if x == types.float32 else _exp_float64


@overload(expm1_, inline="always")
def _overload_expm1(x):  # type: ignore[no-untyped-def]
    return _expm1_float32 if x == types.float32 else _expm1_float64


@overload(log_, inline="always")
def _overload_log(x):  # type: ignore[no-untyped-def]
    return _log_float32 if x == types.float32 else _log_float64


@overload(log1p_, inline="always")
def _overload_log1p(x):  # type: ignore[no-untyped-def]
    return _log1p_float32 if x == types.float32 else _log1p_float64


@overload(half_normal_, inline="always")
def _overload_half_normal(x):  # type: ignore[no-untyped-def]
    return _half_normal_float32 if x == types.float32 else _half_normal_float64


@scalar
def sigmoid_(x, number):  # type: ignore[no-untyped-def]
    """1 / (1 + e**-x) as t / (1 + t) or 1 / (1 + t) with t = e**-|x|, so that nothing overflows, for CPU twins."""
    t = exp_(-abs(x))
    return (t if x < number(0) else number(1)) / (number(1) + t)


@scalar
def sigmoids_(x, number):  # type: ignore[no-untyped-def]
    """(sigmoid x, sigmoid -x) of one exponential: the second is 1 minus the first, without cancellation."""
    t = exp_(-abs(x))
    whole = number(1) / (number(1) + t)
    part = t * whole
    return (part if x < number(0) else whole), (whole if x < number(0) else part)


@scalar
def tanh_(x, number):  # type: ignore[no-untyped-def]
    """tanh x = -m / (m + 2) with m = e**(-2 |x|) - 1, which loses nothing near 0, for CPU twins."""
    m = expm1_(number(-2) * abs(x))
    t = m / (m + number(2))
    return t if x < number(0) else -t


@scalar
def softplus_(x, number):  # type: ignore[no-untyped-def]
    """log(1 + e**x) as max(x, 0) + log(1 + e**-|x|), so that nothing overflows, for CPU twins."""
    return (x if x > number(0) else number(0)) + log1p_(exp_(-abs(x)))
