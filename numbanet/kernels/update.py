"""One optimiser step of a set of parameters, in one pass over memory and one launch; the norm of all gradients likewise.

Contract. A ``Step`` is a kernel of one parameter::

    step(gradient, parameter, *states, *options)

All arrays are 1-D and C-contiguous, of one length and one float dtype. The gradient is only read; parameter and states are
updated in place; nothing is allocated. Options are plain numbers; the references are PyTorch's formulas in terms of them.
Every rule but Rprop's begins with::

    g = (-gradient if maximize else gradient) + weight_decay * parameter + l1_decay * sign(parameter)

(AdamW, NAdam and RAdam with ``decoupled``: parameter *= 1 - lr * weight_decay instead of the middle term). ``step`` counts from 1.
NaN and infinity go through. Everything is computed in the arrays' dtype, from numbers worked out in float64.

For many parameters on the CPU, ``Step.run(table, numbers)`` does the same to every row of a ``Table`` in one launch. Such a
table holds bare addresses: whoever fills it keeps the arrays alive and where they are until ``run`` returns, and answers for their
dtype, length and contiguity, and for no element being written by two rows. The parameters, laid end to end, are cut into
tasks of ``CHUNK`` elements, so that ten small tensors are one task and a large one many, and all threads have work to the end.

A ``Norm`` measures::

    norm(x, out)          out[0] = sum(x**2), sum(|x|) or max(|x|), overwritten; NaN wins

and ``Norm.run(table)`` all arrays of a table together. Sums run in vector lanes for a few hundred elements, then in float64; each
task's part is rounded to x's dtype, and the parts are added in order in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numba.np.unsafe.ndarray import to_fixed_tuple

from numbanet.devices import cuda, device_of, empty
from numbanet.kernels import launch, reduction
from numbanet.kernels.half import OUTPUTS
from numbanet.kernels.index import WORK, address, key_value, read_at, rising_key, scalar, write_at
from numbanet.kernels.kernel import Kernel, jit
from numbanet.kernels.parallel import run_stages

CHUNK = WORK  # elements of one task
BLOCK = 512  # elements that are added in vector lanes before the float64 total takes them over

_NOTHING = {np.dtype(dtype): np.empty(0, dtype) for dtype in (np.float32, np.float64)}
_Array = np.ndarray
CUDA_KERNELS: tuple[tuple[Any, str], ...] = ()


# ------------------------------------------------------------------------------------------------------------- tables


class Table:
    """The addresses of many parameters' arrays, and how they are cut into tasks.

    Args:
        sizes: the number of elements of each parameter, at least 1.
        arrays: the number of arrays of each.

    Attributes:
        tasks: into how many tasks the parameters are cut.
        rows: int64, shape (parameters, 1 + arrays), for the caller to fill: the number of the row's set of numbers, then the
            addresses of the arrays in the kernel's order.
        plan: what the compiled code reads: where each task's pieces begin; the pieces (row, first element, last + 1); the rows.
    """

    def __init__(self, sizes: Sequence[int], arrays: int) -> None:
        plan = _cut(tuple(sizes), arrays, CHUNK)
        self.tasks = int(plan[0]) - 1
        self.plan = plan.copy()
        count = len(sizes) * (1 + arrays)
        self.rows = self.plan[plan.size - count :].reshape(len(sizes), 1 + arrays)


@lru_cache(maxsize=64)
def _cut(sizes: tuple[int, ...], arrays: int, chunk: int) -> _Array:
    """A table's plan, the rows empty."""
    pieces: list[int] = []
    starts = [0]
    room = chunk  # of the task that is being filled
    for row, size in enumerate(sizes):
        first = 0
        while first < size:
            if room == 0:
                starts.append(len(pieces))
                room = chunk
            stop = min(size, first + room)
            pieces += (row * (1 + arrays), first, stop)
            room -= stop - first
            first = stop
    starts.append(len(pieces))
    head = len(starts)
    begin = head + len(pieces)
    plan = np.zeros(begin + len(sizes) * (1 + arrays), np.int64)
    plan[:head] = starts
    plan[:head] += head
    plan[head:begin] = pieces
    plan[head:begin:3] += begin
    return plan


def _body(name: str, rule: Any, states: int, count: int) -> Any:
    """The compiled loop over the pieces of one task, as ``parallel.run_stages`` calls it.

    Args:
        name: of the step.
        rule: a scalar function (parameter, gradient, *states, numbers, dtype) that returns (parameter, *states) anew.
        states: the number of state arrays.
        count: how many numbers a rule takes.
    """

    @jit(name=f"{name}_body")
    def body(stage, i, thread, a, b, c, d, numbers, plan):  # type: ignore[no-untyped-def]
        number = numbers.dtype.type
        for piece in range(plan[i], plan[i + 1], 3):
            row = plan[piece]
            n = to_fixed_tuple(numbers[plan[row] * count : (plan[row] + 1) * count], count)
            g, p = plan[row + 1], plan[row + 2]
            first, stop = plan[piece + 1], plan[piece + 2]
            if states == 0:
                for j in range(first, stop):
                    (value,) = rule(read_at(numbers, p, j), read_at(numbers, g, j), n, number)
                    write_at(numbers, p, j, value)
            elif states == 1:
                s = plan[row + 3]
                for j in range(first, stop):
                    value, one = rule(read_at(numbers, p, j), read_at(numbers, g, j), read_at(numbers, s, j), n, number)
                    write_at(numbers, p, j, value)
                    write_at(numbers, s, j, one)
            elif states == 2:
                s, t = plan[row + 3], plan[row + 4]
                for j in range(first, stop):
                    value, one, two = rule(
                        read_at(numbers, p, j),
                        read_at(numbers, g, j),
                        read_at(numbers, s, j),
                        read_at(numbers, t, j),
                        n,
                        number,
                    )
                    write_at(numbers, p, j, value)
                    write_at(numbers, s, j, one)
                    write_at(numbers, t, j, two)
            else:
                s, t, u = plan[row + 3], plan[row + 4], plan[row + 5]
                for j in range(first, stop):
                    value, one, two, three = rule(
                        read_at(numbers, p, j), read_at(numbers, g, j),
                        read_at(numbers, s, j), read_at(numbers, t, j), read_at(numbers, u, j), n, number,
                    )  # fmt: skip
                    write_at(numbers, p, j, value)
                    write_at(numbers, s, j, one)
                    write_at(numbers, t, j, two)
                    write_at(numbers, u, j, three)

    return body


def _cuda_twin(rule: Any, states: int) -> Any:
    """The CUDA function of a rule: a thread per element."""
    if states == 0:

        @cuda.jit
        def flat0(gradient, parameter, n):  # type: ignore[no-untyped-def]
            i = cuda.grid(1)
            if i < parameter.size:
                (value,) = rule(parameter[i], gradient[i], n, parameter.dtype.type)
                parameter[i] = value

        return flat0
    if states == 1:

        @cuda.jit
        def flat1(gradient, parameter, s, n):  # type: ignore[no-untyped-def]
            i = cuda.grid(1)
            if i < parameter.size:
                value, one = rule(parameter[i], gradient[i], s[i], n, parameter.dtype.type)
                parameter[i] = value
                s[i] = one

        return flat1
    if states == 2:

        @cuda.jit
        def flat2(gradient, parameter, s, t, n):  # type: ignore[no-untyped-def]
            i = cuda.grid(1)
            if i < parameter.size:
                value, one, two = rule(parameter[i], gradient[i], s[i], t[i], n, parameter.dtype.type)
                parameter[i] = value
                s[i] = one
                t[i] = two

        return flat2

    @cuda.jit
    def flat3(gradient, parameter, s, t, u, n):  # type: ignore[no-untyped-def]
        i = cuda.grid(1)
        if i < parameter.size:
            value, one, two, three = rule(parameter[i], gradient[i], s[i], t[i], u[i], n, parameter.dtype.type)
            parameter[i] = value
            s[i] = one
            t[i] = two
            u[i] = three

    return flat3


class Step(Kernel):
    """An update rule: a kernel of one parameter, which can also be run over a table of many.

    Args:
        name: as in ``Kernel``.
        reference: as in ``Kernel``.
        rule: see ``_body``.
        numbers: makes the rule's numbers, in float64, from the step's options.
        states: the number of state arrays.
        count: how many numbers there are.
    """

    def __init__(
        self,
        name: str,
        *,
        reference: Callable[..., None],
        rule: Callable[..., Any],
        numbers: Callable[..., tuple[float, ...]],
        states: int,
        count: int,
    ) -> None:
        rule = scalar(rule)
        self.states, self.count, self.numbers = states, count, numbers
        self._body = _body(name, rule, states, count)
        arrays = 2 + states
        function = _cuda_twin(rule, states)

        def cpu(*args: Any) -> None:
            if args[1].size:
                table = Table([args[1].size], arrays)
                table.rows[0] = [0, *[address(array) for array in args[:arrays]]]
                self.run(table, np.array(numbers(*args[arrays:]), args[1].dtype))

        def cuda_(*args: Any) -> None:
            if args[1].size:
                number = args[1].dtype.type
                plain = tuple([number(value) for value in numbers(*args[arrays:])])
                function[launch.line(args[1].size)](*args[:arrays], plain)

        global CUDA_KERNELS
        signature = f"void({', '.join(['float32[::1]'] * arrays)}, UniTuple(float32, {count}))"
        CUDA_KERNELS += ((function, signature),)
        super().__init__(name, reference=reference, cpu=cpu, cuda=cuda_)
        OUTPUTS[name] = 1 + states

    def run(self, table: Table, numbers: _Array) -> None:
        """Update every row of a table.

        Args:
            table: filled in; see the module's docstring for what its caller answers for.
            numbers: the sets of numbers one after another, C-contiguous, of the arrays' dtype (float32 or float64).
        """
        nothing = _NOTHING[numbers.dtype]
        run_stages(self._body, (table.tasks, 0), nothing, nothing, nothing, nothing, numbers.reshape(-1), table.plan)


# --------------------------------------------------------------------------------------------- norms, scaling, clamping


@cuda.jit
def _magnitudes_cuda_flat(x, out):  # type: ignore[no-untyped-def]
    i = cuda.grid(1)
    if i < x.size:
        out[i] = abs(x[i])


@cuda.jit
def _zero_cuda_flat(out):  # type: ignore[no-untyped-def]
    i = cuda.grid(1)
    if i < out.size:
        out[i] = 0


CUDA_KERNELS += (
    (_magnitudes_cuda_flat, "void(float32[::1], float32[::1])"),
    (_zero_cuda_flat, "void(float32[::1])"),
)


class Norm(Kernel):
    """A fold of |x| over one array, or over all arrays of a table.

    Args:
        name, reference: as in ``Kernel``.
        step: (what was folded so far, an element) to what is folded with it, on the numbers or integers of ``start``.
        largest: whether the fold is a maximum (of integers that order as the floats do, so that it vectorises and NaN wins).
        fold: the kernel of ``reduction`` that does the same on CUDA, to magnitudes where it is a maximum.
    """

    def __init__(
        self, name: str, *, reference: Callable[..., None], step: Callable[..., Any], largest: bool, fold: Kernel
    ) -> None:
        self.largest = largest
        self._body = _norm_body(name, scalar(step), largest)

        def cpu(x: Any, out: Any) -> None:
            table = Table([x.size] if x.size else [], 1)
            if x.size:
                table.rows[0] = 0, address(x)
            out[0] = self.run(table, x.dtype)

        def cuda_(x: Any, out: Any) -> None:
            size = x.size
            if not size:
                _zero_cuda_flat[launch.line(1)](out)
                return
            if largest:
                magnitudes = empty((size,), x.dtype, device_of(x))
                _magnitudes_cuda_flat[launch.line(size)](x, magnitudes)
                x = magnitudes
            nothing = (empty((0, 0), np.dtype(np.int64), device_of(x)),) if largest else ()
            fold(x.reshape(1, size, 1), out.reshape(1, 1), *nothing)

        super().__init__(name, reference=reference, cpu=cpu, cuda=cuda_)

    def run(self, table: Table, dtype: Any) -> float:
        """The fold of all elements of all rows (one array each, of ``dtype``: float32 or float64)."""
        nothing = _NOTHING[np.dtype(dtype)]
        parts = np.zeros(table.tasks, dtype)
        if table.rows.size:
            run_stages(self._body, (table.tasks, 0), parts, nothing, nothing, nothing, nothing, table.plan)
        return float(parts.max() if self.largest else parts.sum(dtype=np.float64))


def _norm_body(name: str, step: Any, largest: bool) -> Any:
    @jit(name=f"{name}_body")
    def body(stage, i, thread, parts, b, c, d, numbers, plan):  # type: ignore[no-untyped-def]
        number = numbers.dtype.type
        if largest:
            most = rising_key(number(0))
            for piece in range(plan[i], plan[i + 1], 3):
                x = plan[plan[piece] + 1]
                for j in range(plan[piece + 1], plan[piece + 2]):
                    key = rising_key(abs(read_at(numbers, x, j)))
                    most = key if key > most else most
            parts[i] = key_value(most)
        else:
            total = 0.0
            for piece in range(plan[i], plan[i + 1], 3):
                x = plan[plan[piece] + 1]
                for first in range(plan[piece + 1], plan[piece + 2], BLOCK):
                    part = number(0)
                    for j in range(first, min(first + BLOCK, plan[piece + 2])):
                        part = step(part, read_at(numbers, x, j))
                    total += part
            parts[i] = total

    return body


def sum_of_squares_reference(x, out):  # type: ignore[no-untyped-def]
    out[0] = (x.astype(np.float64) ** 2).sum()


def sum_of_magnitudes_reference(x, out):  # type: ignore[no-untyped-def]
    out[0] = abs(x.astype(np.float64)).sum()


def largest_magnitude_reference(x, out):  # type: ignore[no-untyped-def]
    out[0] = abs(x).max(initial=0)


sum_of_squares = Norm(
    "sum_of_squares",
    reference=sum_of_squares_reference,
    step=lambda total, x: total + x * x,
    largest=False,
    fold=reduction.sum_squares,
)
sum_of_magnitudes = Norm(
    "sum_of_magnitudes",
    reference=sum_of_magnitudes_reference,
    step=lambda total, x: total + abs(x),
    largest=False,
    fold=reduction.sum_absolutes,
)
largest_magnitude = Norm(
    "largest_magnitude",
    reference=largest_magnitude_reference,
    step=lambda total, x: total,
    largest=True,
    fold=reduction.max_,
)


def scale_step_reference(gradient, parameter, factor):  # type: ignore[no-untyped-def]
    parameter[...] = gradient * factor


def _scale(p, g, n, number):  # type: ignore[no-untyped-def]
    return (g * n[0],)


def clamp_step_reference(gradient, parameter, low, high):  # type: ignore[no-untyped-def]
    parameter[...] = np.minimum(np.maximum(gradient, low), high)


def _clamp(p, g, n, number):  # type: ignore[no-untyped-def]
    low, high = n
    g = low if g < low else g
    return (high if g > high else g,)


def _as_they_are(*numbers: float) -> tuple[float, ...]:
    return tuple([float(number) for number in numbers])


# parameter = factor * gradient, and parameter = clamp(gradient, low, high); the two may be the same array.
scale_step = Step("scale_step", reference=scale_step_reference, rule=_scale, numbers=_as_they_are, states=0, count=1)
clamp_step = Step("clamp_step", reference=clamp_step_reference, rule=_clamp, numbers=_as_they_are, states=0, count=2)


# ------------------------------------------------------------------------------------------------- what rules share


def _slope_reference(gradient, parameter, weight_decay, l1_decay, maximize):  # type: ignore[no-untyped-def]
    return (-gradient if maximize else gradient) + weight_decay * parameter + l1_decay * np.sign(parameter)


@scalar
def _slope(p, g, sign, decay, l1, number):  # type: ignore[no-untyped-def]
    """The gradient with the penalties' gradients. Without a decay an infinite parameter must not become NaN."""
    push = (l1 if p > number(0) else number(0)) - (l1 if p < number(0) else number(0))
    return sign * g + (decay * p if decay != number(0) else number(0)) + push


@scalar
def _moved(held, value, weight):  # type: ignore[no-untyped-def]
    """held moved towards value by weight."""
    return held + weight * (value - held)


@scalar
def _larger(a, b):  # type: ignore[no-untyped-def]
    """The larger one; NaN where either is NaN."""
    return a if (a > b) | (a != a) else b


def _penalties(weight_decay: float, l1_decay: float, maximize: bool, decoupled: bool = False) -> tuple[float, ...]:
    """(sign, decay, l1) for ``_slope``."""
    return -1.0 if maximize else 1.0, 0.0 if decoupled else float(weight_decay), float(l1_decay)


# ----------------------------------------------------------------------------------------------------------- SGD


def sgd_step_reference(gradient, parameter, lr, weight_decay, l1_decay, maximize):  # type: ignore[no-untyped-def]
    parameter -= lr * _slope_reference(gradient, parameter, weight_decay, l1_decay, maximize)


def _sgd(p, g, n, number):  # type: ignore[no-untyped-def]
    sign, decay, l1, rate = n
    return (p - rate * _slope(p, g, sign, decay, l1, number),)


def _sgd_numbers(lr: float, weight_decay: float, l1_decay: float, maximize: bool) -> tuple[float, ...]:
    return (*_penalties(weight_decay, l1_decay, maximize), float(lr))


sgd_step = Step("sgd_step", reference=sgd_step_reference, rule=_sgd, numbers=_sgd_numbers, states=0, count=4)


def sgd_momentum_step_reference(  # type: ignore[no-untyped-def]
    gradient, parameter, momentum_buffer, lr, momentum, dampening, weight_decay, l1_decay, nesterov, maximize, first
):
    g = _slope_reference(gradient, parameter, weight_decay, l1_decay, maximize)
    momentum_buffer[...] = g if first else momentum * momentum_buffer + (1 - dampening) * g
    parameter -= lr * (g + momentum * momentum_buffer if nesterov else momentum_buffer)


def _sgd_momentum(p, g, held, n, number):  # type: ignore[no-untyped-def]
    sign, decay, l1, rate, keep, add, ahead, direct = n
    g = _slope(p, g, sign, decay, l1, number)
    # At the first step the buffer may hold anything.
    held = (keep * held if keep != number(0) else number(0)) + add * g
    return p - rate * (ahead * held + (direct * g if direct != number(0) else number(0))), held


def _sgd_momentum_numbers(
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    l1_decay: float,
    nesterov: bool,
    maximize: bool,
    first: bool,
) -> tuple[float, ...]:
    """buffer = keep * buffer + add * g, and the step goes along ahead * buffer + direct * g."""
    keep, add = (0.0, 1.0) if first else (float(momentum), 1.0 - dampening)
    ahead, direct = (float(momentum), 1.0) if nesterov else (1.0, 0.0)
    return (*_penalties(weight_decay, l1_decay, maximize), float(lr), keep, add, ahead, direct)


sgd_momentum_step = Step(
    "sgd_momentum_step",
    reference=sgd_momentum_step_reference,
    rule=_sgd_momentum,
    numbers=_sgd_momentum_numbers,
    states=1,
    count=8,
)


# ---------------------------------------------------------------------------------------------------------- Adam


def adam_step_reference(  # type: ignore[no-untyped-def]
    gradient, parameter, exp_avg, exp_avg_sq,
    lr, beta1, beta2, eps, weight_decay, l1_decay, maximize, decoupled, step,
):  # fmt: skip
    most = np.zeros_like(exp_avg_sq)
    adam_amsgrad_step_reference(
        gradient, parameter, exp_avg, exp_avg_sq, most,
        lr, beta1, beta2, eps, weight_decay, l1_decay, maximize, decoupled, step,
    )  # fmt: skip


def adam_amsgrad_step_reference(  # type: ignore[no-untyped-def]
    gradient, parameter, exp_avg, exp_avg_sq, max_exp_avg_sq,
    lr, beta1, beta2, eps, weight_decay, l1_decay, maximize, decoupled, step,
):  # fmt: skip
    g = _slope_reference(gradient, parameter, 0.0 if decoupled else weight_decay, l1_decay, maximize)
    if decoupled:
        parameter *= 1 - lr * weight_decay
    exp_avg[...] = beta1 * exp_avg + (1 - beta1) * g
    exp_avg_sq[...] = beta2 * exp_avg_sq + (1 - beta2) * g * g
    max_exp_avg_sq[...] = np.maximum(max_exp_avg_sq, exp_avg_sq)
    parameter -= lr / (1 - beta1**step) * exp_avg / (np.sqrt(max_exp_avg_sq / (1 - beta2**step)) + eps)


def _adam(p, g, m, v, n, number):  # type: ignore[no-untyped-def]
    sign, decay, l1, shrink, weight1, beta2, weight2, rate, correction, eps = n
    g = _slope(p, g, sign, decay, l1, number)
    m = _moved(m, g, weight1)
    v = beta2 * v + weight2 * g * g
    return shrink * p - rate * m / (math.sqrt(v) * correction + eps), m, v


def _adam_amsgrad(p, g, m, v, most, n, number):  # type: ignore[no-untyped-def]
    sign, decay, l1, shrink, weight1, beta2, weight2, rate, correction, eps = n
    g = _slope(p, g, sign, decay, l1, number)
    m = _moved(m, g, weight1)
    v = beta2 * v + weight2 * g * g
    most = _larger(v, most)
    return shrink * p - rate * m / (math.sqrt(most) * correction + eps), m, v, most


def _adam_numbers(
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    l1_decay: float,
    maximize: bool,
    decoupled: bool,
    step: int,
) -> tuple[float, ...]:
    return (
        *_penalties(weight_decay, l1_decay, maximize, decoupled),
        1.0 - lr * weight_decay if decoupled else 1.0,
        1.0 - beta1,
        float(beta2),
        1.0 - beta2,
        lr / (1.0 - beta1**step),
        1.0 / math.sqrt(1.0 - beta2**step),
        float(eps),
    )


adam_step = Step("adam_step", reference=adam_step_reference, rule=_adam, numbers=_adam_numbers, states=2, count=10)
adam_amsgrad_step = Step(
    "adam_amsgrad_step",
    reference=adam_amsgrad_step_reference,
    rule=_adam_amsgrad,
    numbers=_adam_numbers,
    states=3,
    count=10,
)


# -------------------------------------------------------------------------------------------------------- Adamax


def adamax_step_reference(  # type: ignore[no-untyped-def]
    gradient, parameter, exp_avg, exp_inf, lr, beta1, beta2, eps, weight_decay, l1_decay, maximize, step
):
    g = _slope_reference(gradient, parameter, weight_decay, l1_decay, maximize)
    exp_avg[...] = beta1 * exp_avg + (1 - beta1) * g
    exp_inf[...] = np.maximum(beta2 * exp_inf, abs(g) + eps)
    parameter -= lr / (1 - beta1**step) * exp_avg / exp_inf


def _adamax(p, g, m, u, n, number):  # type: ignore[no-untyped-def]
    sign, decay, l1, weight1, beta2, eps, rate = n
    g = _slope(p, g, sign, decay, l1, number)
    m = _moved(m, g, weight1)
    u = _larger(beta2 * u, abs(g) + eps)
    return p - rate * m / u, m, u


def _adamax_numbers(
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    l1_decay: float,
    maximize: bool,
    step: int,
) -> tuple[float, ...]:
    penalties = _penalties(weight_decay, l1_decay, maximize)
    return (*penalties, 1.0 - beta1, float(beta2), float(eps), lr / (1.0 - beta1**step))


adamax_step = Step(
    "adamax_step", reference=adamax_step_reference, rule=_adamax, numbers=_adamax_numbers, states=2, count=7
)


# --------------------------------------------------------------------------------------------------------- NAdam


def nadam_step_reference(  # type: ignore[no-untyped-def]
    gradient, parameter, exp_avg, exp_avg_sq,
    lr, beta1, beta2, eps, weight_decay, l1_decay, maximize, decoupled, step, mu, mu_next, mu_product,
):  # fmt: skip
    g = _slope_reference(gradient, parameter, 0.0 if decoupled else weight_decay, l1_decay, maximize)
    if decoupled:
        parameter *= 1 - lr * weight_decay
    exp_avg[...] = beta1 * exp_avg + (1 - beta1) * g
    exp_avg_sq[...] = beta2 * exp_avg_sq + (1 - beta2) * g * g
    bottom = np.sqrt(exp_avg_sq / (1 - beta2**step)) + eps
    parameter -= lr * (1 - mu) / (1 - mu_product) * g / bottom
    parameter -= lr * mu_next / (1 - mu_product * mu_next) * exp_avg / bottom


def _nadam(p, g, m, v, n, number):  # type: ignore[no-untyped-def]
    sign, decay, l1, shrink, weight1, beta2, weight2, correction, eps, along_g, along_m = n
    g = _slope(p, g, sign, decay, l1, number)
    m = _moved(m, g, weight1)
    v = beta2 * v + weight2 * g * g
    return shrink * p - (along_g * g + along_m * m) / (math.sqrt(v) * correction + eps), m, v


def _nadam_numbers(
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    l1_decay: float,
    maximize: bool,
    decoupled: bool,
    step: int,
    mu: float,
    mu_next: float,
    mu_product: float,
) -> tuple[float, ...]:
    """``mu_product`` is the product of all mu up to this step's."""
    return (
        *_penalties(weight_decay, l1_decay, maximize, decoupled),
        1.0 - lr * weight_decay if decoupled else 1.0,
        1.0 - beta1,
        float(beta2),
        1.0 - beta2,
        1.0 / math.sqrt(1.0 - beta2**step),
        float(eps),
        lr * (1.0 - mu) / (1.0 - mu_product),
        lr * mu_next / (1.0 - mu_product * mu_next),
    )


nadam_step = Step("nadam_step", reference=nadam_step_reference, rule=_nadam, numbers=_nadam_numbers, states=2, count=11)


# --------------------------------------------------------------------------------------------------------- RAdam


def radam_step_reference(  # type: ignore[no-untyped-def]
    gradient, parameter, exp_avg, exp_avg_sq,
    lr, beta1, beta2, eps, weight_decay, l1_decay, maximize, decoupled, step,
):  # fmt: skip
    g = _slope_reference(gradient, parameter, 0.0 if decoupled else weight_decay, l1_decay, maximize)
    if decoupled:
        parameter *= 1 - lr * weight_decay
    exp_avg[...] = beta1 * exp_avg + (1 - beta1) * g
    exp_avg_sq[...] = beta2 * exp_avg_sq + (1 - beta2) * g * g
    top = 2 / (1 - beta2) - 1
    length = top - 2 * step * beta2**step / (1 - beta2**step)
    m = exp_avg / (1 - beta1**step)
    if length > 5:
        r = math.sqrt((length - 4) * (length - 2) * top / ((top - 4) * (top - 2) * length))
        parameter -= lr * m * r * math.sqrt(1 - beta2**step) / (np.sqrt(exp_avg_sq) + eps)
    else:
        parameter -= lr * m


def _radam(p, g, m, v, n, number):  # type: ignore[no-untyped-def]
    sign, decay, l1, shrink, weight1, beta2, weight2, eps, rate, adaptive = n
    g = _slope(p, g, sign, decay, l1, number)
    m = _moved(m, g, weight1)
    v = beta2 * v + weight2 * g * g
    return shrink * p - rate * m / (math.sqrt(v) + eps if adaptive != number(0) else number(1)), m, v


def _radam_numbers(
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    l1_decay: float,
    maximize: bool,
    decoupled: bool,
    step: int,
) -> tuple[float, ...]:
    top = 2.0 / (1.0 - beta2) - 1.0
    left = 1.0 - beta2**step
    length = top - 2.0 * step * beta2**step / left
    rate = lr / (1.0 - beta1**step)
    adaptive = length > 5.0
    if adaptive:
        rate *= math.sqrt((length - 4) * (length - 2) * top / ((top - 4) * (top - 2) * length) * left)
    return (
        *_penalties(weight_decay, l1_decay, maximize, decoupled),
        1.0 - lr * weight_decay if decoupled else 1.0,
        1.0 - beta1,
        float(beta2),
        1.0 - beta2,
        float(eps),
        rate,
        float(adaptive),
    )


radam_step = Step("radam_step", reference=radam_step_reference, rule=_radam, numbers=_radam_numbers, states=2, count=10)


# --------------------------------------------------------------------------------------------- Adagrad, Adadelta


def adagrad_step_reference(  # type: ignore[no-untyped-def]
    gradient, parameter, total, lr, lr_decay, eps, weight_decay, l1_decay, maximize, step
):
    g = _slope_reference(gradient, parameter, weight_decay, l1_decay, maximize)
    total += g * g
    parameter -= lr / (1 + (step - 1) * lr_decay) * g / (np.sqrt(total) + eps)


def _adagrad(p, g, total, n, number):  # type: ignore[no-untyped-def]
    sign, decay, l1, rate, eps = n
    g = _slope(p, g, sign, decay, l1, number)
    total += g * g
    return p - rate * g / (math.sqrt(total) + eps), total


def _adagrad_numbers(
    lr: float, lr_decay: float, eps: float, weight_decay: float, l1_decay: float, maximize: bool, step: int
) -> tuple[float, ...]:
    return (*_penalties(weight_decay, l1_decay, maximize), lr / (1.0 + (step - 1) * lr_decay), float(eps))


adagrad_step = Step(
    "adagrad_step", reference=adagrad_step_reference, rule=_adagrad, numbers=_adagrad_numbers, states=1, count=5
)


def adadelta_step_reference(  # type: ignore[no-untyped-def]
    gradient, parameter, square_avg, acc_delta, lr, rho, eps, weight_decay, l1_decay, maximize
):
    g = _slope_reference(gradient, parameter, weight_decay, l1_decay, maximize)
    square_avg[...] = rho * square_avg + (1 - rho) * g * g
    delta = np.sqrt(acc_delta + eps) / np.sqrt(square_avg + eps) * g
    acc_delta[...] = rho * acc_delta + (1 - rho) * delta * delta
    parameter -= lr * delta


def _adadelta(p, g, square, acc, n, number):  # type: ignore[no-untyped-def]
    sign, decay, l1, rho, weight, eps, rate = n
    g = _slope(p, g, sign, decay, l1, number)
    square = rho * square + weight * g * g
    delta = math.sqrt(acc + eps) / math.sqrt(square + eps) * g
    return p - rate * delta, square, rho * acc + weight * delta * delta


def _adadelta_numbers(
    lr: float, rho: float, eps: float, weight_decay: float, l1_decay: float, maximize: bool
) -> tuple[float, ...]:
    return (*_penalties(weight_decay, l1_decay, maximize), float(rho), 1.0 - rho, float(eps), float(lr))


adadelta_step = Step(
    "adadelta_step", reference=adadelta_step_reference, rule=_adadelta, numbers=_adadelta_numbers, states=2, count=7
)


# ------------------------------------------------------------------------------------------------------- RMSprop


def rmsprop_step_reference(  # type: ignore[no-untyped-def]
    gradient, parameter, square_avg, lr, alpha, eps, weight_decay, l1_decay, momentum, maximize
):
    g = _slope_reference(gradient, parameter, weight_decay, l1_decay, maximize)
    square_avg[...] = alpha * square_avg + (1 - alpha) * g * g
    parameter -= lr * g / (np.sqrt(square_avg) + eps)


def rmsprop_momentum_step_reference(  # type: ignore[no-untyped-def]
    gradient, parameter, square_avg, buffer, lr, alpha, eps, weight_decay, l1_decay, momentum, maximize
):
    g = _slope_reference(gradient, parameter, weight_decay, l1_decay, maximize)
    square_avg[...] = alpha * square_avg + (1 - alpha) * g * g
    buffer[...] = momentum * buffer + g / (np.sqrt(square_avg) + eps)
    parameter -= lr * buffer


def rmsprop_centered_step_reference(  # type: ignore[no-untyped-def]
    gradient, parameter, square_avg, grad_avg, lr, alpha, eps, weight_decay, l1_decay, momentum, maximize
):
    g = _slope_reference(gradient, parameter, weight_decay, l1_decay, maximize)
    square_avg[...] = alpha * square_avg + (1 - alpha) * g * g
    grad_avg[...] = alpha * grad_avg + (1 - alpha) * g
    parameter -= lr * g / (np.sqrt(square_avg - grad_avg**2) + eps)


def rmsprop_centered_momentum_step_reference(  # type: ignore[no-untyped-def]
    gradient, parameter, square_avg, grad_avg, buffer, lr, alpha, eps, weight_decay, l1_decay, momentum, maximize
):
    g = _slope_reference(gradient, parameter, weight_decay, l1_decay, maximize)
    square_avg[...] = alpha * square_avg + (1 - alpha) * g * g
    grad_avg[...] = alpha * grad_avg + (1 - alpha) * g
    buffer[...] = momentum * buffer + g / (np.sqrt(square_avg - grad_avg**2) + eps)
    parameter -= lr * buffer


def _rmsprop(p, g, square, n, number):  # type: ignore[no-untyped-def]
    sign, decay, l1, alpha, weight, eps, rate, _ = n
    g = _slope(p, g, sign, decay, l1, number)
    square = alpha * square + weight * g * g
    return p - rate * g / (math.sqrt(square) + eps), square


def _rmsprop_momentum(p, g, square, held, n, number):  # type: ignore[no-untyped-def]
    sign, decay, l1, alpha, weight, eps, rate, momentum = n
    g = _slope(p, g, sign, decay, l1, number)
    square = alpha * square + weight * g * g
    held = momentum * held + g / (math.sqrt(square) + eps)
    return p - rate * held, square, held


def _rmsprop_centered(p, g, square, mean, n, number):  # type: ignore[no-untyped-def]
    sign, decay, l1, alpha, weight, eps, rate, _ = n
    g = _slope(p, g, sign, decay, l1, number)
    square = alpha * square + weight * g * g
    mean = _moved(mean, g, weight)
    return p - rate * g / (math.sqrt(square - mean * mean) + eps), square, mean


def _rmsprop_centered_momentum(p, g, square, mean, held, n, number):  # type: ignore[no-untyped-def]
    sign, decay, l1, alpha, weight, eps, rate, momentum = n
    g = _slope(p, g, sign, decay, l1, number)
    square = alpha * square + weight * g * g
    mean = _moved(mean, g, weight)
    held = momentum * held + g / (math.sqrt(square - mean * mean) + eps)
    return p - rate * held, square, mean, held


def _rmsprop_numbers(
    lr: float, alpha: float, eps: float, weight_decay: float, l1_decay: float, momentum: float, maximize: bool
) -> tuple[float, ...]:
    penalties = _penalties(weight_decay, l1_decay, maximize)
    return (*penalties, float(alpha), 1.0 - alpha, float(eps), float(lr), float(momentum))


def _rmsprop_step(name: str, reference: Callable[..., None], rule: Callable[..., Any], states: int) -> Step:
    return Step(name, reference=reference, rule=rule, numbers=_rmsprop_numbers, states=states, count=8)


rmsprop_step = _rmsprop_step("rmsprop_step", rmsprop_step_reference, _rmsprop, 1)
rmsprop_momentum_step = _rmsprop_step("rmsprop_momentum_step", rmsprop_momentum_step_reference, _rmsprop_momentum, 2)
rmsprop_centered_step = _rmsprop_step("rmsprop_centered_step", rmsprop_centered_step_reference, _rmsprop_centered, 2)
rmsprop_centered_momentum_step = _rmsprop_step(
    "rmsprop_centered_momentum_step", rmsprop_centered_momentum_step_reference, _rmsprop_centered_momentum, 3
)


# --------------------------------------------------------------------------------------------------- ASGD, Rprop


def asgd_step_reference(  # type: ignore[no-untyped-def]
    gradient, parameter, ax, lambd, eta, mu, weight_decay, l1_decay, maximize
):
    g = _slope_reference(gradient, parameter, weight_decay, l1_decay, maximize)
    parameter *= 1 - lambd * eta
    parameter -= eta * g
    ax[...] = parameter if mu == 1 else ax + (parameter - ax) * mu


def _asgd(p, g, ax, n, number):  # type: ignore[no-untyped-def]
    sign, decay, l1, shrink, eta, mu = n
    p = shrink * p - eta * _slope(p, g, sign, decay, l1, number)
    return p, (p if mu == number(1) else ax + (p - ax) * mu)


def _asgd_numbers(
    lambd: float, eta: float, mu: float, weight_decay: float, l1_decay: float, maximize: bool
) -> tuple[float, ...]:
    return (*_penalties(weight_decay, l1_decay, maximize), 1.0 - lambd * eta, float(eta), float(mu))


asgd_step = Step("asgd_step", reference=asgd_step_reference, rule=_asgd, numbers=_asgd_numbers, states=1, count=6)


def rprop_step_reference(  # type: ignore[no-untyped-def]
    gradient, parameter, prev, step_size, eta_minus, eta_plus, smallest, largest, maximize
):
    g = -gradient if maximize else gradient.copy()
    turn = np.sign(g * prev)
    step_size[...] = np.clip(step_size * np.choose(turn.astype(int) + 1, (eta_minus, 1, eta_plus)), smallest, largest)
    g[turn < 0] = 0
    parameter -= np.sign(g) * step_size
    prev[...] = g


def _rprop(p, g, prev, size, n, number):  # type: ignore[no-untyped-def]
    sign, minus, plus, smallest, largest = n
    g = sign * g
    turn = g * prev
    size = size * (plus if turn > number(0) else (minus if turn < number(0) else number(1)))
    size = smallest if size < smallest else size
    size = largest if size > largest else size
    g = number(0) if turn < number(0) else g
    return p - ((size if g > number(0) else number(0)) - (size if g < number(0) else number(0))), g, size


def _rprop_numbers(
    eta_minus: float, eta_plus: float, smallest: float, largest: float, maximize: bool
) -> tuple[float, ...]:
    return -1.0 if maximize else 1.0, float(eta_minus), float(eta_plus), float(smallest), float(largest)


rprop_step = Step("rprop_step", reference=rprop_step_reference, rule=_rprop, numbers=_rprop_numbers, states=2, count=5)
