"""Activations with a kernel of their own: relu, sigmoid, tanh.

Contract::

    <name>_forward(x, y)         y = f(x)
    <name>_backward(dy, y, dx)   dx = dy * f'(x), with f' taken from the output y = f(x)

All arrays of one call have one shape (any) and one dtype (float32, float64). The caller allocates y and dx; they are
overwritten, and may be the same array as an input (relu in place: y is x; dx is dy). Taking the derivative from the
output lets the tape drop x. NaN goes through in both directions; relu's derivative at 0 is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import prange

from numbanet.devices import cuda
from numbanet.kernels import launch
from numbanet.kernels.index import limit_threads, read, restore_threads, scalar, sigmoid_, tanh_, write
from numbanet.kernels.kernel import Kernel, jit

_cuda_kernels: list[tuple[Any, str]] = []


def _forward(name: str, reference: Callable[..., None], f: Callable[..., Any], f_cuda: Callable[..., Any]) -> Kernel:
    """The kernel ``name(x, y)`` with y = f(x, number); ``number`` is the arrays' type, for constants."""
    on_cpu, on_cuda = scalar(f), scalar(f_cuda)

    @jit(parallel=True, name=f"_{name}_flat")
    def flat(x, y):  # type: ignore[no-untyped-def]
        threads = limit_threads(y.size)
        number = x.dtype.type
        for i in prange(y.size):
            write(y, i, on_cpu(read(x, i), number))
        restore_threads(threads)

    @cuda.jit
    def flat_cuda(x, y):  # type: ignore[no-untyped-def]
        i = cuda.grid(1)
        if i < y.size:
            y[i] = on_cuda(x[i], x.dtype.type)

    def cpu(x: Any, y: Any) -> None:
        flat(x.reshape(-1), y.reshape(-1))

    def cuda_(x: Any, y: Any) -> None:
        if y.size:
            flat_cuda[launch.line(y.size)](x.reshape(-1), y.reshape(-1))

    _cuda_kernels.append((flat_cuda, "void(float32[::1], float32[::1])"))
    return Kernel(name, reference=reference, cpu=cpu, cuda=cuda_)


def _backward(name: str, reference: Callable[..., None], f: Callable[..., Any]) -> Kernel:
    """The kernel ``name(dy, y, dx)`` with dx = f(dy, y, number)."""
    f = scalar(f)

    @jit(parallel=True, name=f"_{name}_flat")
    def flat(dy, y, dx):  # type: ignore[no-untyped-def]
        threads = limit_threads(y.size)
        number = y.dtype.type
        for i in prange(dx.size):
            write(dx, i, f(read(dy, i), read(y, i), number))
        restore_threads(threads)

    @cuda.jit
    def flat_cuda(dy, y, dx):  # type: ignore[no-untyped-def]
        i = cuda.grid(1)
        if i < dx.size:
            dx[i] = f(dy[i], y[i], y.dtype.type)

    def cpu(dy: Any, y: Any, dx: Any) -> None:
        flat(dy.reshape(-1), y.reshape(-1), dx.reshape(-1))

    def cuda_(dy: Any, y: Any, dx: Any) -> None:
        if dx.size:
            flat_cuda[launch.line(dx.size)](dy.reshape(-1), y.reshape(-1), dx.reshape(-1))

    _cuda_kernels.append((flat_cuda, "void(float32[::1], float32[::1], float32[::1])"))
    return Kernel(name, reference=reference, cpu=cpu, cuda=cuda_)


# ---------------------------------------------------------------------------------------------------------- relu


def relu_forward_reference(x, y):  # type: ignore[no-untyped-def]
    y[...] = np.maximum(x, 0)


def relu_backward_reference(dy, y, dx):  # type: ignore[no-untyped-def]
    dx[...] = np.where(y <= 0, 0, dy)


def _relu(x, number):  # type: ignore[no-untyped-def]
    return number(0) if x <= number(0) else x  # NaN is not <= 0: it passes


def _relu_backward(dy, y, number):  # type: ignore[no-untyped-def]
    return number(0) if y <= number(0) else dy


relu_forward = _forward("relu_forward", relu_forward_reference, _relu, _relu)
relu_backward = _backward("relu_backward", relu_backward_reference, _relu_backward)


# ------------------------------------------------------------------------------------------------------- sigmoid


def sigmoid_forward_reference(x, y):  # type: ignore[no-untyped-def]
    with np.errstate(over="ignore"):
        y[...] = 1 / (1 + np.exp(-x.astype(np.float64)))


def sigmoid_backward_reference(dy, y, dx):  # type: ignore[no-untyped-def]
    dx[...] = dy * (1 - y) * y


def _sigmoid_cuda(x, number):  # type: ignore[no-untyped-def]
    return number(1) / (number(1) + math.exp(-x))


def _sigmoid_backward(dy, y, number):  # type: ignore[no-untyped-def]
    return dy * (number(1) - y) * y


sigmoid_forward = _forward("sigmoid_forward", sigmoid_forward_reference, sigmoid_.py_func, _sigmoid_cuda)
sigmoid_backward = _backward("sigmoid_backward", sigmoid_backward_reference, _sigmoid_backward)


# ---------------------------------------------------------------------------------------------------------- tanh


def tanh_forward_reference(x, y):  # type: ignore[no-untyped-def]
    y[...] = np.tanh(x)


def tanh_backward_reference(dy, y, dx):  # type: ignore[no-untyped-def]
    dx[...] = dy * (1 - y * y)


def _tanh_cuda(x, number):  # type: ignore[no-untyped-def]
    return math.tanh(x)


def _tanh_backward(dy, y, number):  # type: ignore[no-untyped-def]
    return dy * (number(1) - y * y)


tanh_forward = _forward("tanh_forward", tanh_forward_reference, tanh_.py_func, _tanh_cuda)
tanh_backward = _backward("tanh_backward", tanh_backward_reference, _tanh_backward)

CUDA_KERNELS = tuple(_cuda_kernels)
