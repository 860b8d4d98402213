"""Initialisation of weights, as ``torch.nn.init``: each function fills its tensor in place and returns it.

Notation: weight (O, I, KH, KW) or (O, I). fan_in = I KH KW is how many inputs an output is summed from, fan_out = O KH KW how many
outputs an input goes to. In a convolution of G groups the weight's I is the number of channels of one group already, so that fan_in
is right; but an input meets only the O / G outputs of its own group, and PyTorch's fan_out counts all O. The functions here count
as PyTorch does unless told the number of groups: ``kaiming_normal_(conv.weight, mode="fan_out", groups=conv.groups)``.
"""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np

from numbanet.autograd import no_grad
from numbanet.random import Generator, default_generator
from numbanet.tensor import Tensor, from_numpy

__all__ = [
    "calculate_fan_in_and_fan_out",
    "calculate_gain",
    "constant_",
    "dirac_",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "skipped",
    "sparse_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]

_GAINS = {
    "linear": 1.0, "conv1d": 1.0, "conv2d": 1.0, "conv3d": 1.0, "conv_transpose1d": 1.0, "conv_transpose2d": 1.0,
    "conv_transpose3d": 1.0, "sigmoid": 1.0, "tanh": 5.0 / 3, "relu": math.sqrt(2.0), "selu": 3.0 / 4,
}  # fmt: skip


class _Skip(threading.local):
    draws = False


_skip = _Skip()


@contextmanager
def skipped() -> Iterator[None]:
    """A context in which the functions here draw no random numbers and leave tensors as they are.

    For networks whose weights are about to be loaded, or that are made only to be counted: VGG-19 is there at once instead
    of after a second. What constants fill (biases, batch normalisation) is filled as ever.
    """
    before, _skip.draws = _skip.draws, True
    try:
        yield
    finally:
        _skip.draws = before


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """By how much weights are scaled so that a nonlinearity keeps the variance: sqrt(2) for "relu", 5/3 for "tanh".

    Args:
        nonlinearity: a function's name, such as "relu", "leaky_relu", "tanh", "linear".
        param: leaky_relu's negative slope (0.01 where left out).

    Raises:
        ValueError: for an unknown name or a param that is not a number.
    """
    if nonlinearity == "leaky_relu":
        if param is None:
            param = 0.01
        elif isinstance(param, bool) or not isinstance(param, int | float):
            raise ValueError(f"calculate_gain: negative_slope {param!r} is not a valid number")
        return math.sqrt(2.0 / (1 + param**2))
    if nonlinearity not in _GAINS:
        raise ValueError(
            f"calculate_gain: unsupported nonlinearity {nonlinearity!r}, expected one of {[*_GAINS, 'leaky_relu']}"
        )
    return _GAINS[nonlinearity]


def _fill(tensor: Tensor, values: np.ndarray) -> Tensor:
    with no_grad():
        return tensor.copy_(from_numpy(values))


def _numpy(generator: Generator | None) -> np.random.Generator:
    if generator is not None and not isinstance(generator, Generator):
        raise TypeError(f"generator must be a numbanet.Generator, got {type(generator).__name__}")
    return (generator or default_generator).numpy_generator()


def _draw_dtype(name: str, tensor: Tensor) -> Any:
    if not tensor.is_floating_point():
        raise NotImplementedError(f"{name}: random numbers are for floating tensors, got {tensor.dtype}")
    return np.float64 if tensor.dtype == np.float64 else np.float32


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with numbers uniform in [a, b).

    Raises:
        RuntimeError: for a > b.
    """
    if a > b:
        raise RuntimeError(f"uniform_: expected a <= b, got a={a}, b={b}")
    dtype = _draw_dtype("uniform_", tensor)
    if _skip.draws:
        return tensor
    values = _numpy(generator).random(tuple(tensor.shape), dtype=dtype)
    return _fill(tensor, np.asarray(values * dtype(b - a) + dtype(a)))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with normally distributed numbers.

    Raises:
        RuntimeError: for std < 0.
    """
    if not std >= 0:
        raise RuntimeError(f"normal_: expected std >= 0, got std={std}")
    dtype = _draw_dtype("normal_", tensor)
    if _skip.draws:
        return tensor
    values = _numpy(generator).standard_normal(tuple(tensor.shape), dtype=dtype)
    return _fill(tensor, np.asarray(values * dtype(std) + dtype(mean)))


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """Fill with normally distributed numbers, those outside [a, b] drawn again."""
    if a >= b:
        raise ValueError(f"trunc_normal_: expected a < b, got a={a}, b={b}")
    if not std > 0:
        raise ValueError(f"trunc_normal_: expected std > 0, got std={std}")
    _draw_dtype("trunc_normal_", tensor)
    if _skip.draws:
        return tensor
    low, high = (a - mean) / std, (b - mean) / std
    source = _numpy(generator)
    if low > 4 or high < -4:  # almost nothing would be accepted: draw in the tail by its exponential envelope
        values = _normal_tail(source, tensor.numel(), low, high)
    else:
        values = source.standard_normal(tensor.numel())
        outside = np.flatnonzero((values < low) | (values > high))
        while outside.size:
            again = source.standard_normal(outside.size)
            values[outside] = again
            outside = outside[(again < low) | (again > high)]
    # Rounding to the tensor's dtype may step over a bound.
    dtype = tensor.dtype
    rounded = np.clip((values * std + mean).astype(dtype), *_bounds(a, b, dtype))
    return _fill(tensor, rounded.reshape(tuple(tensor.shape)))


def _bounds(a: float, b: float, dtype: np.dtype) -> tuple[Any, Any]:
    return np.asarray(a, dtype), np.asarray(b, dtype)


def _normal_tail(source: np.random.Generator, count: int, low: float, high: float) -> np.ndarray:
    """Normal numbers in [low, high], far from 0 (C. Robert, "Simulation of truncated normal variables", 1995)."""
    sign, near, far = (1.0, low, high) if low > 0 else (-1.0, -high, -low)
    values = np.empty(count)
    todo = np.arange(count)
    while todo.size:
        drawn = near + source.exponential(1 / near, todo.size)
        good = (drawn <= far) & (source.random(todo.size) <= np.exp(-((drawn - near) ** 2) / 2))
        values[todo[good]] = sign * drawn[good]
        todo = todo[~good]
    return values


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with one value."""
    with no_grad():
        return tensor.fill_(val)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with ones."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with zeros."""
    return constant_(tensor, 0.0)


def eye_(tensor: Tensor) -> Tensor:
    """Make a matrix the identity (ones on the diagonal)."""
    if tensor.ndim != 2:
        raise ValueError(f"eye_: only tensors with 2 dimensions are supported, got shape {tuple(tensor.shape)}")
    return _fill(tensor, np.eye(*tensor.shape, dtype=tensor.dtype))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Make a convolution's weight (O, I, ...) pass its input through: in each group, channel d to channel d."""
    shape = tuple(tensor.shape)
    if len(shape) not in (3, 4, 5):
        raise ValueError(f"dirac_: only tensors with 3, 4, or 5 dimensions are supported, got shape {shape}")
    if groups < 1:
        raise ValueError(f"dirac_: groups must be at least 1, got {groups}")
    if shape[0] % groups:
        raise ValueError(f"dirac_: dim 0 must be divisible by groups={groups}, got shape {shape}")
    values = np.zeros(shape, tensor.dtype)
    outputs = shape[0] // groups
    center = tuple(size // 2 for size in shape[2:])
    for group in range(groups):
        for channel in range(min(outputs, shape[1])):
            values[(group * outputs + channel, channel, *center)] = 1
    return _fill(tensor, values)


def calculate_fan_in_and_fan_out(tensor: Tensor, groups: int = 1) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight (O, I, ...): how many inputs an output has, and how many outputs an input.

    Args:
        tensor: the weight.
        groups: of the convolution that the weight belongs to; with 1, PyTorch's counts, see the module's docstring.

    Raises:
        ValueError: for fewer than 2 dimensions, or groups that do not divide O.
    """
    return _fans("calculate_fan_in_and_fan_out", tensor, groups)


_calculate_fan_in_and_fan_out = calculate_fan_in_and_fan_out  # the name that PyTorch's users know


def _fans(name: str, tensor: Tensor, groups: int) -> tuple[int, int]:
    shape = tuple(tensor.shape)
    if len(shape) < 2:
        raise ValueError(f"{name}: fan in and fan out need a tensor with 2 or more dimensions, got shape {shape}")
    if groups < 1 or shape[0] % groups:
        raise ValueError(f"{name}: groups must divide the {shape[0]} outputs of shape {shape}, got groups={groups}")
    field = prod(shape[2:])
    return shape[1] * field, shape[0] // groups * field


def _xavier_std(name: str, tensor: Tensor, gain: float, groups: int) -> float:
    fans = sum(_fans(name, tensor, groups))
    if fans == 0:
        raise ZeroDivisionError(f"{name}: fan in and fan out are 0 for shape {tuple(tensor.shape)}")
    return gain * math.sqrt(2.0 / fans)


def xavier_uniform_(
    tensor: Tensor, gain: float = 1.0, generator: Generator | None = None, *, groups: int = 1
) -> Tensor:
    """Fill from U(-a, a), a = gain * sqrt(6 / (fan_in + fan_out)).

    Args:
        tensor: shape (O, I, ...).
        gain: see ``calculate_gain``.
        generator: where the numbers come from.
        groups: of a grouped convolution, see ``calculate_fan_in_and_fan_out``.

    Reference: X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks"
    (2010), equation 16.
    """
    bound = math.sqrt(3.0) * _xavier_std("xavier_uniform_", tensor, gain, groups)
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None, *, groups: int = 1) -> Tensor:
    """Fill from N(0, std^2), std = gain * sqrt(2 / (fan_in + fan_out)). Arguments and reference as ``xavier_uniform_``."""
    return normal_(tensor, 0.0, _xavier_std("xavier_normal_", tensor, gain, groups), generator)


def _kaiming_std(name: str, tensor: Tensor, a: float, mode: str, nonlinearity: str, groups: int) -> float:
    if not isinstance(mode, str) or mode.lower() not in ("fan_in", "fan_out"):
        raise ValueError(f"{name}: mode {mode!r} is not supported, use 'fan_in' or 'fan_out'")
    fan = _fans(name, tensor, groups)[0 if mode.lower() == "fan_in" else 1]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
    *,
    groups: int = 1,
) -> Tensor:
    """Fill from U(-b, b), b = gain * sqrt(3 / fan).

    Args:
        tensor: shape (O, I, ...).
        a: negative slope of the leaky_relu that follows.
        mode: "fan_in" keeps the variance forward, "fan_out" backward.
        nonlinearity: what follows: "relu" or "leaky_relu".
        generator: where the numbers come from.
        groups: of a grouped convolution, see ``calculate_fan_in_and_fan_out``.

    Reference: K. He et al., "Delving deep into rectifiers" (2015), section 2.2.
    """
    if 0 in tensor.shape:
        warnings.warn("kaiming_uniform_: initializing zero-element tensors is a no-op", stacklevel=2)
        return tensor
    bound = math.sqrt(3.0) * _kaiming_std("kaiming_uniform_", tensor, a, mode, nonlinearity, groups)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
    *,
    groups: int = 1,
) -> Tensor:
    """Fill from N(0, std^2), std = gain / sqrt(fan). Arguments and reference as ``kaiming_uniform_``."""
    if 0 in tensor.shape:
        warnings.warn("kaiming_normal_: initializing zero-element tensors is a no-op", stacklevel=2)
        return tensor
    return normal_(tensor, 0.0, _kaiming_std("kaiming_normal_", tensor, a, mode, nonlinearity, groups), generator)


def orthogonal_(tensor: Tensor, gain: float = 1, generator: Generator | None = None) -> Tensor:
    """Fill so that (O, I KH KW) has orthonormal rows or columns, whichever are fewer, times ``gain``.

    Reference: A. Saxe et al., "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks" (2013).
    """
    if tensor.ndim < 2:
        raise ValueError(
            f"orthogonal_: only tensors with 2 or more dimensions are supported, got shape {tuple(tensor.shape)}"
        )
    if tensor.numel() == 0:
        return tensor
    _draw_dtype("orthogonal_", tensor)
    if _skip.draws:
        return tensor
    rows = tensor.shape[0]
    columns = tensor.numel() // rows
    normal = _numpy(generator).standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(normal)
    q = q * np.sign(np.diag(r))  # makes the distribution uniform
    values = gain * (q.T if rows < columns else q)
    return _fill(tensor, np.ascontiguousarray(values.reshape(tuple(tensor.shape)).astype(tensor.dtype)))


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None) -> Tensor:
    """Fill a matrix from N(0, std^2), with a share ``sparsity`` of each column zero.

    Reference: J. Martens, "Deep learning via Hessian-free optimization" (2010), section 5.
    """
    if tensor.ndim != 2:
        raise ValueError(f"sparse_: only tensors with 2 dimensions are supported, got shape {tuple(tensor.shape)}")
    _draw_dtype("sparse_", tensor)
    if _skip.draws:
        return tensor
    rows, columns = tensor.shape
    source = _numpy(generator)
    values = source.standard_normal((rows, columns)) * std
    for column in range(columns):
        values[source.permutation(rows)[: math.ceil(sparsity * rows)], column] = 0
    return _fill(tensor, values.astype(tensor.dtype))
