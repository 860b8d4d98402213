"""A row of a table of measurements, and what makes one: an operation written once for both libraries.

A case's ``make`` takes the library (the module ``numbanet`` or ``torch``) and returns a function without arguments that
does the work once and returns the tensors to compare. Inputs come from NumPy with a fixed seed. An operation's
gradients are timed apart from its forward pass: the forward pass has run, and the backward pass runs again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np

Run = Callable[[], Any]


@dataclass(frozen=True)
class Case:
    """One row of a table.

    Attributes:
        name: parts joined by "/": operation, pass, shape.
        section: "networks", "layers" or "ops".
        make: makes the function to time, for a library.
        flops: floating-point operations of one call, or a function of the library that counts them; 0 where it makes no
            sense to.
        tolerance: the largest difference from PyTorch that passes, relative to the largest value of the same tensor.
        floor: that largest value counts as at least this share of the largest of all tensors.
        check: makes the results to compare, where the timed function's own will not do; None compares nothing.
    """

    name: str
    section: str
    make: Callable[[Any], Run]
    flops: float | Callable[[Any], float] = 0
    tolerance: float = 1e-3
    check: Callable[[Any, Run], Sequence[Any]] | None = lambda library, run: results(run())
    floor: float = 1e-3


def results(value: Any) -> Sequence[Any]:
    """A function's tensors as a sequence."""
    return value if isinstance(value, (tuple, list)) else (value,)


def random(name: str, *shape: int) -> np.ndarray:
    """Normal float32 values that depend on the name and the shape alone."""
    return np.random.default_rng(crc32(name.encode())).standard_normal(shape, dtype=np.float32)


# ----------------------------------------------------------------------------------------------------- differentiable


def forward(function: Callable[..., Any], arrays: Sequence[np.ndarray], library: Any) -> Run:
    """Times ``function(library, *tensors)`` alone."""
    tensors = [library.from_numpy(a) for a in arrays]

    def run() -> Any:
        with library.no_grad():
            return function(library, *tensors)

    return run


def backward(function: Callable[..., Any], arrays: Sequence[np.ndarray], library: Any) -> Run:
    """Times the gradients with respect to all floating inputs, from random gradients of the result."""
    tensors = [library.from_numpy(a) for a in arrays]
    inputs = [t.requires_grad_() for t, a in zip(tensors, arrays) if a.dtype.kind == "f"]
    y = function(library, *tensors)
    dy = library.from_numpy(random("dy", *y.shape)) if y.ndim else None
    return lambda: library.autograd.grad(y, inputs, dy, retain_graph=True)


def passes(
    name: str,
    shape: str,
    section: str,
    function: Callable[..., Any],
    arrays: Callable[[], Sequence[np.ndarray]],
    flops: float = 0,
    backward_flops: float = 0,
) -> list[Case]:
    """The forward and the backward pass of a function as two cases; ``arrays`` makes the inputs when they are needed."""
    return [
        Case(f"{name}/forward/{shape}", section, lambda library: forward(function, arrays(), library), flops),
        Case(
            f"{name}/backward/{shape}", section, lambda library: backward(function, arrays(), library), backward_flops
        ),
    ]
