"""What is done to many gradients at once, in place and outside the graph: one norm over all of them, scaling, clamping.

Arrays on the CPU go through ``kernels/update.py`` in one launch per dtype; others (on CUDA, not contiguous) one by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce

import numpy as np

from numbanet import devices
from numbanet.autograd import no_grad
from numbanet.dtypes import is_half, promote_types
from numbanet.functional.shape import stack
from numbanet.kernels.update import (
    Step,
    Table,
    address,
    clamp_step,
    largest_magnitude,
    scale_step,
    sum_of_magnitudes,
    sum_of_squares,
)
from numbanet.tensor import Tensor, tensor, wrap

__all__ = ["clamp_all_", "scale_", "total_norm"]

_NORMS = {1.0: sum_of_magnitudes, 2.0: sum_of_squares, math.inf: largest_magnitude}
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def _grouped(tensors: Sequence[Tensor]) -> tuple[dict[np.dtype, list[Tensor]], list[Tensor]]:
    """The tensors that fit a table, by dtype, and the others; empty ones are left out."""
    fitting: dict[np.dtype, list[Tensor]] = {}
    others = []
    for each in tensors:
        array = each._array
        if type(array) is np.ndarray and array.flags.c_contiguous and array.dtype in _FLOATS:
            if array.size:
                fitting.setdefault(array.dtype, []).append(each)
        else:
            others.append(each)
    return fitting, others


def _table(tensors: Sequence[Tensor], arrays: int) -> Table:
    """The table whose rows hold each tensor's address ``arrays`` times."""
    table = Table([each._array.size for each in tensors], arrays)
    table.rows[:, 0] = 0
    table.rows[:, 1:] = [[address(each._array)] for each in tensors]
    return table


@no_grad()
def total_norm(tensors: Sequence[Tensor], norm_type: float) -> Tensor:
    """The norm of all elements of all tensors as one vector, a 0-d tensor of their (promoted) dtype.

    Args:
        tensors: any shapes and floating dtypes; none: 0.
        norm_type: p of (sum |x|**p)**(1 / p); ``math.inf`` and ``-math.inf``: the largest and smallest |x|; 0: how many are not 0.
    """
    if not tensors:
        return tensor(0.0)
    dtype = reduce(promote_types, [each.dtype for each in tensors])
    tensors = [each.float() if is_half(each.dtype) else each for each in tensors]  # squares of float16 would overflow
    fitting, others = _grouped(tensors)
    if norm_type not in _NORMS or any([each.is_cuda for each in others]):
        parts = stack([_norm(each, norm_type) for each in tensors])
        return (parts[0] if len(tensors) == 1 else _norm(parts, norm_type)).to(dtype=dtype)
    measure = _NORMS[norm_type]
    power = 2 if norm_type == 2 else 1
    values = [measure.run(_table(listed, 1), dtype) for dtype, listed in fitting.items()]
    values += [float(_norm(each, norm_type)) ** power for each in others if each.numel()]
    if norm_type == math.inf:
        total = math.nan if any([value != value for value in values]) else max(values, default=0.0)
    else:
        total = sum(values) ** (1 / power)
    return wrap(np.array(total, dtype))


def _norm(x: Tensor, p: float) -> Tensor:
    """The norm of one tensor; of several tensors' norms, the norm of all."""
    if x.is_cuda and x._array.dtype in _FLOATS and p in _NORMS:
        out = devices.empty((1,), x._array.dtype, x.device)
        _NORMS[p](devices.contiguous(x._array).reshape(x.numel()), out)
        total = wrap(out).reshape(())
        return total**0.5 if p == 2 else total
    sizes = x.abs()
    if p == math.inf:
        return sizes.max()
    if p == -math.inf:
        return sizes.min()
    if p == 0:
        return (sizes != 0).sum().to(x.dtype)
    return (sizes**p).sum() ** (1.0 / p)


@no_grad()
def scale_(tensors: Sequence[Tensor], factor: float) -> None:
    """Multiply every element of all tensors, in place."""
    _update(tensors, scale_step, (factor,), lambda each: each.mul_(factor))


@no_grad()
def clamp_all_(tensors: Sequence[Tensor], low: float, high: float) -> None:
    """Clamp every element of all tensors to [low, high], in place; NaN stays."""
    _update(tensors, clamp_step, (low, high), lambda each: each.clamp_(low, high))


def _update(tensors: Sequence[Tensor], step: Step, options: tuple[float, ...], one: Callable[[Tensor], Tensor]) -> None:
    different = list({id(each._array): each for each in tensors}.values())
    if len(different) < len(tensors):  # a tensor that stands there twice is changed twice, as it would be one by one
        for each in tensors:
            one(each)
        return
    fitting, others = _grouped(tensors)
    for dtype, listed in fitting.items():
        step.run(_table(listed, 2), np.array(step.numbers(*options), dtype))
        for each in listed:
            each._count_change()
    for each in others:
        one(each)
