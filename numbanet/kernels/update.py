"""One optimiser step of one parameter, in one pass over memory.

Contract (all arrays 1-D, of one length and one float dtype; updated in place, gradient only read)::

    sgd_step(parameter, gradient, momentum_buffer, lr, momentum, dampening, weight_decay, nesterov, maximize, first)
        g = (-gradient if maximize else gradient) + weight_decay * parameter
        with momentum: buffer = g if first else momentum * buffer + (1 - dampening) * g
                       g = g + momentum * buffer if nesterov else buffer
        parameter -= lr * g

    adam_step(parameter, gradient, exp_avg, exp_avg_sq, max_exp_avg_sq,
              lr, beta1, beta2, eps, weight_decay, amsgrad, maximize, decoupled, step)
        decoupled (AdamW): parameter *= 1 - lr * weight_decay;  else: g += weight_decay * parameter
        exp_avg = beta1 * exp_avg + (1 - beta1) * g;  exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * g**2
        v = max_exp_avg_sq = max(max_exp_avg_sq, exp_avg_sq) with amsgrad, else exp_avg_sq
        parameter -= lr / (1 - beta1**step) * exp_avg / (sqrt(v / (1 - beta2**step)) + eps)

These are PyTorch's formulas. momentum_buffer is a (0,) array where momentum is 0, max_exp_avg_sq where amsgrad is
False; ``first`` says that the buffer holds nothing yet; step counts from 1. NaN and infinity go through.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from numbanet.devices import cuda
from numbanet.kernels import launch
from numbanet.kernels.index import limit_threads, read, restore_threads, scalar, write
from numbanet.kernels.kernel import Kernel, jit

# ----------------------------------------------------------------------------------------------------------- SGD


def sgd_step_reference(
    parameter, gradient, momentum_buffer, lr, momentum, dampening, weight_decay, nesterov, maximize, first
):  # type: ignore[no-untyped-def]
    g = (-gradient if maximize else gradient) + weight_decay * parameter
    if momentum_buffer.size:
        momentum_buffer[...] = g if first else momentum * momentum_buffer + (1 - dampening) * g
        g = g + momentum * momentum_buffer if nesterov else momentum_buffer
    parameter -= lr * g


@jit(parallel=True)
def _sgd_flat(parameter, gradient, lr, sign, weight_decay):  # type: ignore[no-untyped-def]
    threads = limit_threads(parameter.size)
    number = parameter.dtype.type
    rate, sign, decay = number(lr), number(sign), number(weight_decay)
    for i in prange(parameter.size):
        p = read(parameter, i)
        write(parameter, i, p - rate * (sign * read(gradient, i) + decay * p))
    restore_threads(threads)


@jit(parallel=True)
def _sgd_momentum_flat(  # type: ignore[no-untyped-def]
    parameter, gradient, momentum_buffer, lr, sign, weight_decay, keep, add, ahead, direct
):
    threads = limit_threads(parameter.size)
    number = parameter.dtype.type
    rate, sign, decay = number(lr), number(sign), number(weight_decay)
    keep, add, ahead, direct = number(keep), number(add), number(ahead), number(direct)
    for i in prange(parameter.size):
        p = read(parameter, i)
        g = sign * read(gradient, i) + decay * p
        held = read(momentum_buffer, i)
        held = (keep * held if keep != number(0) else number(0)) + add * g
        write(momentum_buffer, i, held)
        write(parameter, i, p - rate * (ahead * held + (direct * g if direct != number(0) else number(0))))
    restore_threads(threads)


def _momentum_factors(
    momentum: float, dampening: float, nesterov: bool, first: bool
) -> tuple[float, float, float, float]:
    """(keep, add, ahead, direct): buffer = keep * buffer + add * g, and the step goes along ahead * buffer + direct * g."""
    keep, add = (0.0, 1.0) if first else (float(momentum), 1.0 - dampening)
    ahead, direct = (float(momentum), 1.0) if nesterov else (1.0, 0.0)
    return keep, add, ahead, direct


def _sgd_cpu(  # type: ignore[no-untyped-def]
    parameter, gradient, momentum_buffer, lr, momentum, dampening, weight_decay, nesterov, maximize, first
) -> None:
    sign = -1.0 if maximize else 1.0
    if momentum_buffer.size == 0:
        _sgd_flat(parameter, gradient, float(lr), sign, float(weight_decay))
    else:
        factors = _momentum_factors(momentum, dampening, nesterov, first)
        _sgd_momentum_flat(parameter, gradient, momentum_buffer, float(lr), sign, float(weight_decay), *factors)


@cuda.jit
def _sgd_cuda_flat(  # type: ignore[no-untyped-def]
    parameter, gradient, momentum_buffer, lr, sign, weight_decay, keep, add, ahead, direct
):
    i = cuda.grid(1)
    if i < parameter.size:
        number = parameter.dtype.type
        p = parameter[i]
        g = sign * gradient[i] + weight_decay * p
        if momentum_buffer.size > 0:
            held = add * g
            if keep != number(0):
                held += keep * momentum_buffer[i]
            momentum_buffer[i] = held
            held *= ahead
            if direct != number(0):
                held += direct * g
            g = held
        parameter[i] = p - lr * g


def _sgd_cuda(  # type: ignore[no-untyped-def]
    parameter, gradient, momentum_buffer, lr, momentum, dampening, weight_decay, nesterov, maximize, first
) -> None:
    if parameter.size:
        factors = _momentum_factors(momentum, dampening, nesterov, first)
        numbers = (lr, -1.0 if maximize else 1.0, weight_decay, *factors)
        number = parameter.dtype.type
        _sgd_cuda_flat[launch.line(parameter.size)](
            parameter, gradient, momentum_buffer, *[number(value) for value in numbers]
        )


sgd_step = Kernel("sgd_step", reference=sgd_step_reference, cpu=_sgd_cpu, cuda=_sgd_cuda)


# ---------------------------------------------------------------------------------------------------------- Adam


def adam_step_reference(  # type: ignore[no-untyped-def]
    parameter, gradient, exp_avg, exp_avg_sq, max_exp_avg_sq,
    lr, beta1, beta2, eps, weight_decay, amsgrad, maximize, decoupled, step,
):  # fmt: skip
    g = -gradient if maximize else gradient.copy()
    if decoupled:
        parameter *= 1 - lr * weight_decay
    else:
        g += weight_decay * parameter
    exp_avg[...] = beta1 * exp_avg + (1 - beta1) * g
    exp_avg_sq[...] = beta2 * exp_avg_sq + (1 - beta2) * g * g
    v = exp_avg_sq
    if amsgrad:
        v = max_exp_avg_sq[...] = np.maximum(max_exp_avg_sq, exp_avg_sq)
    parameter -= lr / (1 - beta1**step) * exp_avg / (np.sqrt(v / (1 - beta2**step)) + eps)


@scalar
def _moment(held, value, weight):  # type: ignore[no-untyped-def]
    """held moved towards value by weight."""
    return held + weight * (value - held)


@jit(parallel=True)
def _adam_flat(  # type: ignore[no-untyped-def]
    parameter, gradient, exp_avg, exp_avg_sq, sign, shrink, decay, weight1, beta2, weight2, rate, correction, eps
):
    threads = limit_threads(parameter.size)
    number = parameter.dtype.type
    sign, shrink, decay, weight1 = number(sign), number(shrink), number(decay), number(weight1)
    beta2, weight2, rate = number(beta2), number(weight2), number(rate)
    correction, eps = number(correction), number(eps)
    for i in prange(parameter.size):
        p = read(parameter, i)
        g = sign * read(gradient, i) + decay * p
        m = _moment(read(exp_avg, i), g, weight1)
        v = beta2 * read(exp_avg_sq, i) + weight2 * g * g
        write(exp_avg, i, m)
        write(exp_avg_sq, i, v)
        write(parameter, i, shrink * p - rate * m / (math.sqrt(v) * correction + eps))
    restore_threads(threads)


@jit(parallel=True)
def _adam_amsgrad_flat(  # type: ignore[no-untyped-def]
    parameter, gradient, exp_avg, exp_avg_sq, max_exp_avg_sq,
    sign, shrink, decay, weight1, beta2, weight2, rate, correction, eps,
):  # fmt: skip
    threads = limit_threads(parameter.size)
    number = parameter.dtype.type
    sign, shrink, decay, weight1 = number(sign), number(shrink), number(decay), number(weight1)
    beta2, weight2, rate = number(beta2), number(weight2), number(rate)
    correction, eps = number(correction), number(eps)
    for i in prange(parameter.size):
        p = read(parameter, i)
        g = sign * read(gradient, i) + decay * p
        m = _moment(read(exp_avg, i), g, weight1)
        v = beta2 * read(exp_avg_sq, i) + weight2 * g * g
        most = read(max_exp_avg_sq, i)
        most = v if (v > most) | (v != v) else most
        write(exp_avg, i, m)
        write(exp_avg_sq, i, v)
        write(max_exp_avg_sq, i, most)
        write(parameter, i, shrink * p - rate * m / (math.sqrt(most) * correction + eps))
    restore_threads(threads)


def _adam_numbers(  # type: ignore[no-untyped-def]
    lr, beta1, beta2, eps, weight_decay, maximize, decoupled, step
) -> tuple[float, ...]:
    """The plain numbers of the kernels, in float64: sign, shrink, decay, 1 - beta1, beta2, 1 - beta2, rate, ..."""
    return (
        -1.0 if maximize else 1.0,
        1.0 - lr * weight_decay if decoupled else 1.0,
        0.0 if decoupled else float(weight_decay),
        1.0 - beta1,
        float(beta2),
        1.0 - beta2,
        lr / (1.0 - beta1**step),
        1.0 / math.sqrt(1.0 - beta2**step),
        float(eps),
    )


def _adam_cpu(  # type: ignore[no-untyped-def]
    parameter, gradient, exp_avg, exp_avg_sq, max_exp_avg_sq,
    lr, beta1, beta2, eps, weight_decay, amsgrad, maximize, decoupled, step,
) -> None:  # fmt: skip
    numbers = _adam_numbers(lr, beta1, beta2, eps, weight_decay, maximize, decoupled, step)
    if amsgrad:
        _adam_amsgrad_flat(parameter, gradient, exp_avg, exp_avg_sq, max_exp_avg_sq, *numbers)
    else:
        _adam_flat(parameter, gradient, exp_avg, exp_avg_sq, *numbers)


@cuda.jit
def _adam_cuda_flat(  # type: ignore[no-untyped-def]
    parameter, gradient, exp_avg, exp_avg_sq, max_exp_avg_sq,
    sign, shrink, decay, weight1, beta2, weight2, rate, correction, eps,
):  # fmt: skip
    i = cuda.grid(1)
    if i < parameter.size:
        p = parameter[i]
        g = sign * gradient[i] + decay * p
        m = _moment(exp_avg[i], g, weight1)
        v = beta2 * exp_avg_sq[i] + weight2 * g * g
        exp_avg[i] = m
        exp_avg_sq[i] = v
        if max_exp_avg_sq.size > 0:
            most = max_exp_avg_sq[i]
            v = most if most > v else v
            max_exp_avg_sq[i] = v
        parameter[i] = shrink * p - rate * m / (math.sqrt(v) * correction + eps)


def _adam_cuda(  # type: ignore[no-untyped-def]
    parameter, gradient, exp_avg, exp_avg_sq, max_exp_avg_sq,
    lr, beta1, beta2, eps, weight_decay, amsgrad, maximize, decoupled, step,
) -> None:  # fmt: skip
    if parameter.size:
        numbers = _adam_numbers(lr, beta1, beta2, eps, weight_decay, maximize, decoupled, step)
        number = parameter.dtype.type
        _adam_cuda_flat[launch.line(parameter.size)](
            parameter, gradient, exp_avg, exp_avg_sq, max_exp_avg_sq, *[number(value) for value in numbers]
        )


adam_step = Kernel("adam_step", reference=adam_step_reference, cpu=_adam_cpu, cuda=_adam_cuda)

_ARRAY = "float32[::1]"
CUDA_KERNELS = (
    (_sgd_cuda_flat, f"void({', '.join([_ARRAY] * 3 + ['float32'] * 7)})"),
    (_adam_cuda_flat, f"void({', '.join([_ARRAY] * 5 + ['float32'] * 9)})"),
)
