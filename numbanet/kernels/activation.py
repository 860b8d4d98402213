"""Activations: element by element, with a slope for each channel (prelu), and gated (glu).

Contract, for each activation f of the table, with up to two parameters p and q (plain numbers)::

    <name>.forward(x, y, p, q)        y = f(x, p, q)
    <name>.backward(dy, s, dx, p, q)  dx = dy * f'(x, p, q), from s = x or s = y = f(x), as the table says

All arrays of one call have one shape (any) and one dtype (float32, float64). The caller allocates y and dx; they are
overwritten, and may be the same array as an input (relu in place: y is x; dx is dy). Where the derivative comes from
the output, the tape can drop x. NaN goes through the forward pass; what backward makes of it, and of the kinks, is
PyTorch's choice: relu's derivative at 0 is 0.

To add one, write its formulas into the table: the value and the gradient, each as a function of plain numbers (which
becomes both twins) with its NumPy reference. The last argument, ``number``, is the arrays' type: constants are written
``number(1)``, since a bare ``1.0`` would turn float32 arithmetic into float64. A choice between dy and 0 is written
``select(condition, zero, dy)`` (see ``_backward``). On CUDA the same functions run, with
CUDA's own exp, tanh, ... in place of the vectorisable ones (``_CUDA_MATHS``).

prelu and glu have contracts of their own, below.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np

from numbanet.devices import cuda
from numbanet.kernels import launch
from numbanet.kernels.index import (
    exp_,
    expm1_,
    fma,
    half_normal_,
    read,
    scalar,
    select,
    sigmoid_,
    sigmoids_,
    softplus_,
    tanh_,
    write,
)
from numbanet.kernels.kernel import Kernel
from numbanet.kernels.parallel import tasks

CHUNK = 1 << 12  # elements of one task
LANES = 32  # threads that share a row of prelu on CUDA: one warp, so a block's sums never depend on the launch

_cuda_kernels: list[tuple[Any, str]] = []


# -------------------------------------------------------------------------------------------------- the two factories


def _chunks(n: int) -> int:
    """How many tasks of CHUNK elements n elements are."""
    return -(-n // CHUNK)


def _on_cuda(f: Any) -> Any:
    """The same function of plain numbers, with CUDA's mathematics in place of the CPU's."""
    return scalar(FunctionType(f.__code__, {**f.__globals__, **_CUDA_MATHS}, f.__name__))


_CUDA_MATHS: dict[str, Any] = {"exp_": math.exp, "expm1_": math.expm1, "log1p_": math.log1p}
_CUDA_MATHS["select"] = scalar(lambda condition, a, b: a if condition else b)
_CUDA_MATHS["tanh_"] = scalar(lambda x, number: math.tanh(x))
_CUDA_MATHS["gelu_"] = scalar(lambda x, number: x * (number(0.5) * math.erfc(x * number(-math.sqrt(0.5)))))


@scalar
def _gelu_slope_on_cuda(x, number):  # type: ignore[no-untyped-def]
    bell = math.exp(number(-0.5) * x * x)
    return number(0.5) * math.erfc(x * number(-math.sqrt(0.5))) + _limited(x, number(40)) * (
        bell * number(1 / math.sqrt(2 * math.pi))
    )


_CUDA_MATHS["gelu_slope_"] = _gelu_slope_on_cuda
for _helper in (sigmoid_, sigmoids_, softplus_):
    _CUDA_MATHS[_helper.__name__] = _on_cuda(_helper.py_func)


def _forward(name: str, numpy: Callable[..., Any], f: Any) -> Kernel:
    """The kernel ``name(x, y, p, q)`` with y = f(x, p, q, number)."""
    on_cpu, on_cuda = scalar(f), _on_cuda(f)

    @tasks(name=f"_{name}_flat")
    def flat(task, x, y, p, q):  # type: ignore[no-untyped-def]
        # Tasks of one size: where vectors end and single elements begin, which LLVM may round otherwise, hangs on the size alone.
        number = x.dtype.type
        first, second = number(p), number(q)
        start = task * CHUNK
        for i in range(start, min(start + CHUNK, y.size)):
            write(y, i, on_cpu(read(x, i), first, second, number))

    @cuda.jit
    def flat_cuda(x, y, p, q):  # type: ignore[no-untyped-def]
        i = cuda.grid(1)
        if i < y.size:
            y[i] = on_cuda(x[i], p, q, x.dtype.type)

    def reference(x: Any, y: Any, p: float = 0.0, q: float = 0.0) -> None:
        with np.errstate(all="ignore"):
            y[...] = numpy(x.astype(np.float64), p, q)

    def cpu(x: Any, y: Any, p: float = 0.0, q: float = 0.0) -> None:
        flat(_chunks(y.size), y.size, x.reshape(-1), y.reshape(-1), float(p), float(q))

    def cuda_(x: Any, y: Any, p: float = 0.0, q: float = 0.0) -> None:
        if y.size:
            number = x.dtype.type
            flat_cuda[launch.line(y.size)](x.reshape(-1), y.reshape(-1), number(p), number(q))

    _cuda_kernels.append((flat_cuda, "void(float32[::1], float32[::1], float32, float32)"))
    return Kernel(name, reference=reference, cpu=cpu, cuda=cuda_)


def _backward(name: str, numpy: Callable[..., Any], f: Any) -> Kernel:
    """The kernel ``name(dy, s, dx, p, q)`` with dx = f(dy, s, p, q, zero, number).

    ``zero`` is 0, but LLVM does not know it: of a choice between dy and the constant 0 it makes a read of dy under a
    mask, and from memory that takes up to 1.7 times as long as reading all of dy (hardtanh, 32x64x56x56).
    """
    on_cpu, on_cuda = scalar(f), _on_cuda(f)

    @tasks(name=f"_{name}_flat")
    def flat(task, dy, s, dx, p, q):  # type: ignore[no-untyped-def]
        number = dy.dtype.type
        first, second, zero = number(p), number(q), number(task >> 40)
        start = task * CHUNK
        for i in range(start, min(start + CHUNK, dx.size)):
            write(dx, i, on_cpu(read(dy, i), read(s, i), first, second, zero, number))

    @cuda.jit
    def flat_cuda(dy, s, dx, p, q):  # type: ignore[no-untyped-def]
        i = cuda.grid(1)
        if i < dx.size:
            dx[i] = on_cuda(dy[i], s[i], p, q, dy.dtype.type(0), dy.dtype.type)

    def reference(dy: Any, s: Any, dx: Any, p: float = 0.0, q: float = 0.0) -> None:
        with np.errstate(all="ignore"):
            dx[...] = numpy(dy.astype(np.float64), s.astype(np.float64), p, q)

    def cpu(dy: Any, s: Any, dx: Any, p: float = 0.0, q: float = 0.0) -> None:
        flat(_chunks(dx.size), dx.size, dy.reshape(-1), s.reshape(-1), dx.reshape(-1), float(p), float(q))

    def cuda_(dy: Any, s: Any, dx: Any, p: float = 0.0, q: float = 0.0) -> None:
        if dx.size:
            number = dy.dtype.type
            flat_cuda[launch.line(dx.size)](dy.reshape(-1), s.reshape(-1), dx.reshape(-1), number(p), number(q))

    _cuda_kernels.append((flat_cuda, "void(float32[::1], float32[::1], float32[::1], float32, float32)"))
    return Kernel(name, reference=reference, cpu=cpu, cuda=cuda_)


class Activation(NamedTuple):
    """The two kernels of an activation."""

    forward: Kernel
    backward: Kernel


def _activation(name: str, y_reference: Any, y: Any, dx_reference: Any, dx: Any) -> Activation:
    return Activation(_forward(f"{name}_forward", y_reference, y), _backward(f"{name}_backward", dx_reference, dx))


# ------------------------------------------------------------------------------------------------------- the formulas
# The few that need more than one line stand here; the others in the table itself.


def _np_sigmoid(x: Any) -> Any:
    return np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x)))


_np_erfc = np.vectorize(math.erfc, otypes=[float])


@scalar
def _limited(x, bound):  # type: ignore[no-untyped-def]
    """x between -bound and bound; NaN stays. Beyond them a factor next to it is 0, and infinity times that is NaN."""
    below = -bound if x < -bound else x
    return bound if below > bound else below


# Helpers with branches of their own are called before a choice, never inside one: so the loop vectorises, and numba's
# inlining stays quiet.


def _elu(x, p, q, number):  # type: ignore[no-untyped-def]
    below = p * expm1_(x)
    return x * q if x > number(0) else below


def _elu_slope(dy, x, p, q, zero, number):  # type: ignore[no-untyped-def]
    below = p * exp_(x)
    return dy * (q if x > number(0) else below)


def _celu(x, p, q, number):  # type: ignore[no-untyped-def]
    below = p * expm1_(x * q)
    return x if x > number(0) else below


def _celu_slope(dy, x, p, q, zero, number):  # type: ignore[no-untyped-def]
    below = dy * exp_(x * q)
    return dy if x > number(0) else below


def _softplus(x, p, q, number):  # type: ignore[no-untyped-def]
    bent = softplus_(x * p, number) / p
    return x if x * p > q else bent


def _softplus_slope(dy, x, p, q, zero, number):  # type: ignore[no-untyped-def]
    bent = dy * sigmoid_(x * p, number)
    return dy if x * p > q else bent


# gelu: x P(Z <= x) of a standard normal Z is max(x, 0) - |x| P(Z > |x|), accurate far into the lower tail. Its slope is that
# of max(x, 0), plus or minus P(Z > |x|) - |x| exp(-x**2 / 2) / sqrt(2 pi).


@scalar
def gelu_(x, number):  # type: ignore[no-untyped-def]
    t, ratio, bell = half_normal_(x)
    return fma(-(t * bell), ratio, x if x > number(0) else x * number(0))


@scalar
def gelu_slope_(x, number):  # type: ignore[no-untyped-def]
    t, ratio, bell = half_normal_(x)
    rest = bell * fma(number(-1 / math.sqrt(2 * math.pi)), t, ratio)
    return rest if x < number(0) else number(1) - rest


@scalar
def _tanh_argument(x, number):  # type: ignore[no-untyped-def]
    """Twice the argument of the tanh that approximates gelu: (1 + tanh(z)) / 2 is sigmoid(2 z). |x| <= 30 suffices."""
    x = _limited(x, number(30))
    return number(math.sqrt(8 / math.pi)) * (x + number(0.044715) * (x * x * x))


def _gelu_tanh_slope(dy, x, p, q, zero, number):  # type: ignore[no-untyped-def]
    gate, rest = sigmoids_(_tanh_argument(x, number), number)
    x = _limited(x, number(30))
    inner = number(math.sqrt(8 / math.pi)) * (number(1) + number(3 * 0.044715) * (x * x))
    return dy * (gate * (number(1) + x * inner * rest))


def _np_gelu_tanh_slope(dy: Any, x: Any, p: float, q: float) -> Any:
    t = np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
    return dy * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x * x))


def _silu_slope(dy, x, p, q, zero, number):  # type: ignore[no-untyped-def]
    gate, rest = sigmoids_(x, number)
    return dy * (gate * (number(1) + _limited(x, number(800)) * rest))


# mish: tanh(log(1 + e)) = n / (n + 2) with e = exp(x) and n = e (e + 2); from x = 22 on it is 1 in either dtype.


def _mish(x, p, q, number):  # type: ignore[no-untyped-def]
    e = exp_(number(22) if x > number(22) else x)
    n = e * (e + number(2))
    gate = n / (n + number(2))
    return x * (number(1) if x > number(22) else gate)  # a plain product might be made of x * n, which may overflow


def _mish_slope(dy, x, p, q, zero, number):  # type: ignore[no-untyped-def]
    x = _limited(x, number(800))
    x = number(22) if x > number(22) else x
    e = exp_(x)
    n = e * (e + number(2))
    inverse = number(1) / (n + number(2))
    return dy * (n * inverse + x * (number(4) * e * (e + number(1)) * inverse * inverse))


def _np_mish_slope(dy: Any, x: Any, p: float, q: float) -> Any:
    t = np.tanh(np.logaddexp(0, x))
    return dy * (t + x * (1 - t * t) * _np_sigmoid(x))


def _hardswish(x, p, q, number):  # type: ignore[no-untyped-def]
    inside = x * (x + number(3)) * number(1 / 6)
    return x if x >= number(3) else x * number(0) if x <= number(-3) else inside


def _hardswish_slope(dy, x, p, q, zero, number):  # type: ignore[no-untyped-def]
    inside = dy * (x * number(1 / 3) + number(0.5))
    return select(x <= number(-3), zero, select(x < number(3), inside, dy))


def _hardsigmoid(x, p, q, number):  # type: ignore[no-untyped-def]
    inside = x * number(1 / 6) + number(0.5)
    return number(0) if x <= number(-3) else number(1) if x >= number(3) else inside


def _tanhshrink_slope(dy, x, p, q, zero, number):  # type: ignore[no-untyped-def]
    t = tanh_(x, number)
    return dy * (t * t)


def _softshrink(x, p, q, number):  # type: ignore[no-untyped-def]
    return x - p if x > p else x + p if x < -p else x * number(0)


# --------------------------------------------------------------------------------------------------------- the table
# Each: y in NumPy; y; dx in NumPy; dx. s is y in the first group, and x in the second.
# fmt: off

relu = _activation("relu",
    lambda x, p, q: np.maximum(x, 0),
    lambda x, p, q, number: number(0) if x <= number(0) else x,  # NaN is not <= 0: it passes
    lambda dy, s, p, q: np.where(s <= 0, 0, dy),
    lambda dy, s, p, q, zero, number: select(s <= number(0), zero, dy))

leaky_relu = _activation("leaky_relu",  # p: slope of the negatives; s may be y where p >= 0, and x always
    lambda x, p, q: np.where(x > 0, x, x * p),
    lambda x, p, q, number: x if x > number(0) else x * p,
    lambda dy, s, p, q: np.where(s > 0, dy, dy * p),
    lambda dy, s, p, q, zero, number: dy if s > number(0) else dy * p)

hardtanh = _activation("hardtanh",  # p, q: the least and the largest value
    lambda x, p, q: np.clip(x, p, q),
    lambda x, p, q, number: p if x < p else q if x > q else x,
    lambda dy, s, p, q: np.where((s <= p) | (s >= q), 0, dy),
    lambda dy, s, p, q, zero, number: select((s <= p) | (s >= q), zero, dy))

sigmoid = _activation("sigmoid",
    lambda x, p, q: _np_sigmoid(x),
    lambda x, p, q, number: sigmoid_(x, number),
    lambda dy, s, p, q: dy * (1 - s) * s,
    lambda dy, s, p, q, zero, number: dy * (number(1) - s) * s)

tanh = _activation("tanh",
    lambda x, p, q: np.tanh(x),
    lambda x, p, q, number: tanh_(x, number),
    lambda dy, s, p, q: dy * (1 - s * s),
    lambda dy, s, p, q, zero, number: dy * (number(1) - s * s))

logsigmoid = _activation("logsigmoid",  # its derivative, sigmoid(-x), is 1 - e**y: without the division it keeps up with memory
    lambda x, p, q: -np.logaddexp(0, -x),
    lambda x, p, q, number: -softplus_(-x, number),
    lambda dy, y, p, q: -dy * np.expm1(y),
    lambda dy, y, p, q, zero, number: -dy * expm1_(y))


threshold = _activation("threshold",  # q where x <= p
    lambda x, p, q: np.where(x <= p, q, x),
    lambda x, p, q, number: q if x <= p else x,
    lambda dy, x, p, q: np.where(x <= p, 0, dy),
    lambda dy, x, p, q, zero, number: select(x <= p, zero, dy))

elu = _activation("elu",  # p: factor of exp(x) - 1, q: factor of the positives
    lambda x, p, q: np.where(x > 0, x * q, p * np.expm1(np.minimum(x, 0))),
    _elu,
    lambda dy, x, p, q: dy * np.where(x > 0, q, p * np.exp(np.minimum(x, 0))),
    _elu_slope)

celu = _activation("celu",  # p: alpha, q: 1 / alpha
    lambda x, p, q: np.where(x > 0, x, p * np.expm1(x * q)),
    _celu,
    lambda dy, x, p, q: np.where(x > 0, dy, dy * np.exp(x * q)),
    _celu_slope)

gelu = _activation("gelu",
    lambda x, p, q: x * (0.5 * _np_erfc(x * -math.sqrt(0.5))),
    lambda x, p, q, number: gelu_(x, number),
    lambda dy, x, p, q: dy * (0.5 * _np_erfc(x * -math.sqrt(0.5)) + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)),
    lambda dy, x, p, q, zero, number: dy * gelu_slope_(x, number))

gelu_tanh = _activation("gelu_tanh",
    lambda x, p, q: x * _np_sigmoid(math.sqrt(8 / math.pi) * (x + 0.044715 * x**3)),
    lambda x, p, q, number: x * sigmoid_(_tanh_argument(x, number), number),
    _np_gelu_tanh_slope,
    _gelu_tanh_slope)

silu = _activation("silu",
    lambda x, p, q: x * _np_sigmoid(x),
    lambda x, p, q, number: x * sigmoid_(x, number),
    lambda dy, x, p, q: dy * _np_sigmoid(x) * (1 + x * _np_sigmoid(-x)),
    _silu_slope)

mish = _activation("mish",
    lambda x, p, q: x * np.tanh(np.logaddexp(0, x)),
    _mish,
    _np_mish_slope,
    _mish_slope)

hardswish = _activation("hardswish",
    lambda x, p, q: x * (np.clip(x + 3, 0, 6) / 6),
    _hardswish,
    lambda dy, x, p, q: np.where(x <= -3, 0, np.where(x < 3, dy * (x / 3 + 0.5), dy)),
    _hardswish_slope)

hardsigmoid = _activation("hardsigmoid",
    lambda x, p, q: np.clip(x + 3, 0, 6) / 6,
    _hardsigmoid,
    lambda dy, x, p, q: np.where((x > -3) & (x < 3), dy / 6, 0),
    lambda dy, x, p, q, zero, number: select((x > number(-3)) & (x < number(3)), dy * number(1 / 6), zero))

hardshrink = _activation("hardshrink",  # 0 from -p to p
    lambda x, p, q: np.where((x >= -p) & (x <= p), 0, x),
    lambda x, p, q, number: number(0) if (x >= -p) & (x <= p) else x,
    lambda dy, x, p, q: np.where((x >= -p) & (x <= p), 0, dy),
    lambda dy, x, p, q, zero, number: select((x >= -p) & (x <= p), zero, dy))

softshrink = _activation("softshrink",  # the gradient is hardshrink's
    lambda x, p, q: np.where(x > p, x - p, np.where(x < -p, x + p, x * 0)),
    _softshrink,
    lambda dy, x, p, q: np.where((x >= -p) & (x <= p), 0, dy),
    lambda dy, x, p, q, zero, number: select((x >= -p) & (x <= p), zero, dy))

softplus = _activation("softplus",  # p: beta; x itself where x * p > q
    lambda x, p, q: np.where(x * p > q, x, np.logaddexp(0, x * p) / p),
    _softplus,
    lambda dy, x, p, q: np.where(x * p > q, dy, dy * _np_sigmoid(x * p)),
    _softplus_slope)

softsign = _activation("softsign",
    lambda x, p, q: x / (1 + np.abs(x)),
    lambda x, p, q, number: x / (number(1) + abs(x)),
    lambda dy, x, p, q: dy / (1 + np.abs(x)) / (1 + np.abs(x)),
    lambda dy, x, p, q, zero, number: dy / (number(1) + abs(x)) / (number(1) + abs(x)))

tanhshrink = _activation("tanhshrink",
    lambda x, p, q: x - np.tanh(x),
    lambda x, p, q, number: x - tanh_(x, number),
    lambda dy, x, p, q: dy * np.tanh(x) ** 2,
    _tanhshrink_slope)

# fmt: on


# -------------------------------------------------------------------------------------------------------------- prelu
#   prelu_forward(x, weight, y)                    y = x where x > 0, else x * weight[c]
#   prelu_backward(dy, x, weight, dx, pieces)      dx = dy where x > 0, else dy * weight[c]; the sum of ``pieces`` over n
#                                                  and k is dweight
# x is (N, C, S), weight (C,), pieces (N, C, K) with K = piece_count(S): sums over CHUNK positions each.


def piece_count(positions: int) -> int:
    """K, the number of pieces in which prelu_backward sums a row."""
    return -(-positions // CHUNK)


def prelu_forward_reference(x, weight, y):  # type: ignore[no-untyped-def]
    y[...] = np.where(x > 0, x, x * weight[:, None])


def prelu_backward_reference(dy, x, weight, dx, pieces):  # type: ignore[no-untyped-def]
    dx[...] = np.where(x > 0, dy, dy * weight[:, None])
    terms = np.where(x > 0, 0, dy * x).astype(np.float64)
    for k in range(pieces.shape[2]):
        pieces[:, :, k] = terms[:, :, k * CHUNK : (k + 1) * CHUNK].sum(2)


@tasks
def _prelu_forward_flat(task, x, weight, y, width, each):  # type: ignore[no-untyped-def]
    """``each``: a row runs along the channels, and each element has its own slope; else along positions of one."""
    number = x.dtype.type
    per_row = (width + CHUNK - 1) // CHUNK
    row = task // per_row
    first = task % per_row * CHUNK
    start = row * width + first
    n = min(CHUNK, width - first)
    if each != 0:
        for i in range(n):
            value = read(x, start + i)
            below = value * read(weight, first + i)
            write(y, start + i, select(value > number(0), value, below))
    else:
        slope = read(weight, row % weight.size)
        for i in range(n):
            value = read(x, start + i)
            write(y, start + i, select(value > number(0), value, value * slope))


@tasks
def _prelu_backward_flat(task, dy, x, weight, dx, pieces, width, each):  # type: ignore[no-untyped-def]
    number = x.dtype.type
    zero = number(task >> 40)  # as in ``_backward``
    per_row = (width + CHUNK - 1) // CHUNK
    row = task // per_row
    first = task % per_row * CHUNK
    start = row * width + first
    n = min(CHUNK, width - first)
    if each != 0:
        for i in range(n):
            value, grad = read(x, start + i), read(dy, start + i)
            below = grad * read(weight, first + i)
            write(dx, start + i, select(value > number(0), grad, below))
            write(pieces, start + i, select(value > number(0), zero, grad * value))
    else:
        slope = read(weight, row % weight.size)
        total = number(0)
        for i in range(n):
            value, grad = read(x, start + i), read(dy, start + i)
            write(dx, start + i, select(value > number(0), grad, grad * slope))
            total += select(value > number(0), zero, grad * value)
        write(pieces, task, total)


def _rows(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(tasks, width of a row, each) of x (N, C, S): rows of one channel, or where S is 1 rows of all channels."""
    n, channels, positions = shape
    each = positions == 1 and channels > 1
    rows, width = (n, channels) if each else (n * channels, positions)
    return rows * _chunks(width), width, int(each)


def _prelu_forward_cpu(x: Any, weight: Any, y: Any) -> None:
    count, width, each = _rows(x.shape)
    _prelu_forward_flat(count, x.size, x.reshape(-1), weight, y.reshape(-1), width, each)


def _prelu_backward_cpu(dy: Any, x: Any, weight: Any, dx: Any, pieces: Any) -> None:
    count, width, each = _rows(x.shape)
    flat = dy.reshape(-1), x.reshape(-1), weight, dx.reshape(-1), pieces.reshape(-1)
    _prelu_backward_flat(count, x.size, *flat, width, each)


@cuda.jit
def _prelu_forward_cuda_flat(x, weight, y, positions):  # type: ignore[no-untyped-def]
    i = cuda.grid(1)
    if i < y.size:
        y[i] = x[i] if x[i] > x.dtype.type(0) else x[i] * weight[i // positions % weight.size]


@cuda.jit
def _prelu_backward_cuda_rows(dy, x, weight, dx, pieces, positions, per_row):  # type: ignore[no-untyped-def]
    """A block of LANES threads for each piece; their sums are added as a tree."""
    number = x.dtype.type
    totals = cuda.shared.array(LANES, x.dtype)
    task, lane = cuda.blockIdx.x, cuda.threadIdx.x
    row = task // per_row
    first = task % per_row * CHUNK
    slope = weight[row % weight.size]
    total = number(0)
    for i in range(row * positions + first + lane, row * positions + min(first + CHUNK, positions), LANES):
        dx[i] = dy[i] if x[i] > number(0) else dy[i] * slope
        total += number(0) if x[i] > number(0) else dy[i] * x[i]
    totals[lane] = total
    cuda.syncthreads()
    half = LANES // 2
    while half > 0:
        if lane < half:
            totals[lane] += totals[lane + half]
        cuda.syncthreads()
        half //= 2
    if lane == 0:
        pieces[task] = totals[0]


def _prelu_forward_cuda(x: Any, weight: Any, y: Any) -> None:
    if y.size:
        _prelu_forward_cuda_flat[launch.line(y.size)](x.reshape(-1), weight, y.reshape(-1), x.shape[2])


def _prelu_backward_cuda(dy: Any, x: Any, weight: Any, dx: Any, pieces: Any) -> None:
    if dx.size:
        arrays = dy.reshape(-1), x.reshape(-1), weight, dx.reshape(-1), pieces.reshape(-1)
        _prelu_backward_cuda_rows[pieces.size, LANES](*arrays, x.shape[2], pieces.shape[2])


_cuda_kernels.append((_prelu_forward_cuda_flat, "void(float32[::1], float32[::1], float32[::1], int64)"))
_cuda_kernels.append((_prelu_backward_cuda_rows, f"void({'float32[::1], ' * 5}int64, int64)"))

prelu_forward = Kernel(
    "prelu_forward", reference=prelu_forward_reference, cpu=_prelu_forward_cpu, cuda=_prelu_forward_cuda
)
prelu_backward = Kernel(
    "prelu_backward", reference=prelu_backward_reference, cpu=_prelu_backward_cpu, cuda=_prelu_backward_cuda
)


# ---------------------------------------------------------------------------------------------------------------- glu
#   glu_forward(x, y)          y[o, m] = x[o, 0, m] * sigmoid(x[o, 1, m])
#   glu_backward(dy, x, dx)    the gradients of both halves, where they stand in x
# x and dx are (O, 2, M), y and dy (O, M). No output may be an input.


def glu_forward_reference(x, y):  # type: ignore[no-untyped-def]
    x = x.astype(np.float64)
    y[...] = x[:, 0] * _np_sigmoid(x[:, 1])


def glu_backward_reference(dy, x, dx):  # type: ignore[no-untyped-def]
    x = x.astype(np.float64)
    dx[:, 0] = dy * _np_sigmoid(x[:, 1])
    dx[:, 1] = dy * x[:, 0] * _np_sigmoid(x[:, 1]) * _np_sigmoid(-x[:, 1])


@tasks
def _glu_forward_flat(task, x, y, m):  # type: ignore[no-untyped-def]
    number = x.dtype.type
    per_row = (m + CHUNK - 1) // CHUNK
    row = task // per_row
    first = task % per_row * CHUNK
    for i in range(first, min(first + CHUNK, m)):
        value, gate = read(x, 2 * row * m + i), read(x, (2 * row + 1) * m + i)
        write(y, row * m + i, value * sigmoid_(gate, number))


@tasks
def _glu_backward_flat(task, dy, x, dx, m):  # type: ignore[no-untyped-def]
    number = x.dtype.type
    per_row = (m + CHUNK - 1) // CHUNK
    row = task // per_row
    first = task % per_row * CHUNK
    for i in range(first, min(first + CHUNK, m)):
        grad, value, gate = read(dy, row * m + i), read(x, 2 * row * m + i), read(x, (2 * row + 1) * m + i)
        open_, shut = sigmoids_(gate, number)
        write(dx, 2 * row * m + i, grad * open_)
        write(dx, (2 * row + 1) * m + i, grad * value * open_ * shut)


def _glu_forward_cpu(x: Any, y: Any) -> None:
    outer, m = y.shape
    _glu_forward_flat(outer * _chunks(m), x.size, x.reshape(-1), y.reshape(-1), m)


def _glu_backward_cpu(dy: Any, x: Any, dx: Any) -> None:
    outer, m = dy.shape
    _glu_backward_flat(outer * _chunks(m), x.size, dy.reshape(-1), x.reshape(-1), dx.reshape(-1), m)


_sigmoids_cuda = _CUDA_MATHS["sigmoids_"]


@cuda.jit
def _glu_forward_cuda_flat(x, y, m):  # type: ignore[no-untyped-def]
    i = cuda.grid(1)
    if i < y.size:
        place = i + i // m * m
        y[i] = x[place] * _sigmoids_cuda(x[place + m], x.dtype.type)[0]


@cuda.jit
def _glu_backward_cuda_flat(dy, x, dx, m):  # type: ignore[no-untyped-def]
    i = cuda.grid(1)
    if i < dy.size:
        place = i + i // m * m
        open_, shut = _sigmoids_cuda(x[place + m], x.dtype.type)
        dx[place] = dy[i] * open_
        dx[place + m] = dy[i] * x[place] * open_ * shut


def _glu_forward_cuda(x: Any, y: Any) -> None:
    if y.size:
        _glu_forward_cuda_flat[launch.line(y.size)](x.reshape(-1), y.reshape(-1), y.shape[1])


def _glu_backward_cuda(dy: Any, x: Any, dx: Any) -> None:
    if dy.size:
        _glu_backward_cuda_flat[launch.line(dy.size)](dy.reshape(-1), x.reshape(-1), dx.reshape(-1), dy.shape[1])


_cuda_kernels.append((_glu_forward_cuda_flat, "void(float32[::1], float32[::1], int64)"))
_cuda_kernels.append((_glu_backward_cuda_flat, "void(float32[::1], float32[::1], float32[::1], int64)"))

glu_forward = Kernel("glu_forward", reference=glu_forward_reference, cpu=_glu_forward_cpu, cuda=_glu_forward_cuda)
glu_backward = Kernel("glu_backward", reference=glu_backward_reference, cpu=_glu_backward_cpu, cuda=_glu_backward_cuda)

CUDA_KERNELS = tuple(_cuda_kernels)
