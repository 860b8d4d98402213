"""Losses of pairs, element by element, and the negative log likelihood of classes.

Contract::

    <loss>_forward(x, t, w, p, losses)                   losses[i] = w[i] * f(x[i], t[i], p[i])
    <loss>_total(x, t, w, p, total, scale)               total[0] = scale * the sum of those losses
    <loss>_backward(x, t, w, p, dlosses, dx, scale)      dx[i] = scale * dlosses[i] * w[i] * df/dx

    nll_forward(log_p, target, weight, losses, sums, ignore_index)  losses[o, j] = -weight[t] * log_p[o, t, j]; sums = (the
                                                                    sum of the losses, of weight[t], how many targets are
                                                                    out of range)
    nll_backward(target, weight, scale, dlog_p, ignore_index)       dlog_p[o, t, j] = -weight[t] * scale[o, j], 0 elsewhere

of mse, l1, smooth_l1, huber, bce, bce_with_logits, soft_margin, kl_div, kl_div_of_logs, poisson, hinge_embedding,
cosine_embedding, margin_ranking and margin. x, t, losses and dx are (n,);
w (weights), p (beta, delta, pos_weight or margin; unused elsewhere) and dlosses are (n,) or (1,), where one number serves all;
total is (1,). log_p and dlog_p are (outer, C, inner), weight (C,), t = target[o, j] int64; one that is ignore_index or out of
[0, C) counts for nothing (loss and gradient 0). target, losses and scale are (outer, inner), losses (0, 0) where nobody
wants them, scale (1, 1) where one number serves all; sums is (3,). One float dtype per call, n >= 1. The caller
allocates outputs; they are overwritten. NaN goes through. Logarithms of bce are limited to -100, so that a certain
mistake has a finite loss.

Sums: on the CPU lanes of x's dtype for BLOCK elements, then float64; pieces are cut by n alone and added in order, so
that the number of threads changes nothing. On CUDA the losses are written down, and summed as ``reduction.sum_`` does.

Each pair loss is one row of a table: f and df/dx as functions of plain numbers (x, t, p, number), ``number`` being
their type, from which ``_pairs`` builds three kernels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from numbanet.devices import constant, cuda, device_of, empty
from numbanet.kernels import launch, reduction
from numbanet.kernels.index import (
    exp_,
    log1p_,
    log_,
    read,
    read_at,
    scalar,
    sigmoid_,
    write,
)
from numbanet.kernels.kernel import Kernel, jit
from numbanet.kernels.parallel import run_stages, tasks
from numbanet.kernels.softmax import NOTHING, add_sums, counts, plan_with_targets, put_sums, targets_of

TASK = 1 << 13  # elements of one task
PIECE = 1 << 11  # elements that one call of a compiled loop writes; one number is spread over as many
BLOCK = 512  # elements whose losses are summed in vector lanes before the float64 total takes them over

NLL_TASK = 1 << 12  # targets of one task of the negative log likelihood
NLL_COLUMNS = 512  # neighbouring targets of one task of its gradient
NLL_WORK = 1 << 16  # elements that one task of its gradient writes, where it takes several o

_cuda_kernels: list[tuple[Any, str]] = []


class Pairs(NamedTuple):
    """The kernels of one loss."""

    forward: Kernel
    total: Kernel
    backward: Kernel


def _spread(numbers: np.ndarray) -> tuple[np.ndarray, int]:
    """(an array that a piece can be read from, the step from element to element: 0 for one number)."""
    return (numbers, 1) if numbers.size > 1 else (constant(PIECE, numbers.item(), numbers.dtype), 0)


def _pairs(
    name: str,
    numpy: Callable[..., Any],
    numpy_slope: Callable[..., Any],
    f: Callable[..., Any],
    slope: Callable[..., Any],
    f_cuda: Callable[..., Any] | None = None,
    slope_cuda: Callable[..., Any] | None = None,
) -> Pairs:
    """The kernels of one loss; ``f_cuda`` and ``slope_cuda`` where CUDA's own functions are the better ones."""
    on_cuda, slope_on_cuda = scalar(f_cuda or f), scalar(slope_cuda or slope)
    f, slope = scalar(f), scalar(slope)

    def forward_reference(x, t, w, p, losses):  # type: ignore[no-untyped-def]
        with np.errstate(all="ignore"):
            losses[...] = w * numpy(*[a.astype(np.float64) for a in (x, t, p)])

    def total_reference(x, t, w, p, total, scale):  # type: ignore[no-untyped-def]
        with np.errstate(all="ignore"):
            losses = w.astype(np.float64) * numpy(*[a.astype(np.float64) for a in (x, t, p)])
            total[0] = scale * losses.sum()

    def backward_reference(x, t, w, p, dlosses, dx, scale):  # type: ignore[no-untyped-def]
        with np.errstate(all="ignore"):
            dx[...] = scale * dlosses * w * numpy_slope(*[a.astype(np.float64) for a in (x, t, p)])

    # -------------------------------------------------------------------------------------------------------- CPU

    @jit(name=f"{name}_write")
    def write_losses(x, t, at, w, in_w, p, in_p, losses, n):  # type: ignore[no-untyped-def]
        number = x.dtype.type
        for i in range(n):
            loss = f(read(x, at + i), read(t, at + i), read(p, in_p + i), number)
            write(losses, at + i, read(w, in_w + i) * loss)

    @jit(name=f"{name}_add")
    def add_losses(x, t, at, w, in_w, p, in_p, n):  # type: ignore[no-untyped-def]
        number = x.dtype.type
        part = number(0)
        for i in range(n):
            part += read(w, in_w + i) * f(read(x, at + i), read(t, at + i), read(p, in_p + i), number)
        return np.float64(part)

    @jit(name=f"{name}_write_slopes")
    def write_slopes(x, t, at, w, in_w, p, in_p, dlosses, in_d, dx, n):  # type: ignore[no-untyped-def]
        number = x.dtype.type
        for i in range(n):
            derivative = slope(read(x, at + i), read(t, at + i), read(p, in_p + i), number)
            write(dx, at + i, read(dlosses, in_d + i) * read(w, in_w + i) * derivative)

    @tasks(name=f"{name}_forward_cpu")
    def forward(task, x, t, w, sw, p, sp, losses):  # type: ignore[no-untyped-def]
        at = task * PIECE
        write_losses(x, t, at, w, at * sw, p, at * sp, losses, min(PIECE, x.size - at))

    @tasks(name=f"{name}_total_cpu")
    def add_up(task, x, t, w, sw, p, sp, partial):  # type: ignore[no-untyped-def]
        start = task * TASK
        end = min(start + TASK, x.size)
        part = 0.0
        for at in range(start, end, BLOCK):
            part += add_losses(x, t, at, w, at * sw, p, at * sp, min(BLOCK, end - at))
        partial[task] = part

    @tasks(name=f"{name}_backward_cpu")
    def backward(task, x, t, w, sw, p, sp, dlosses, sd, dx):  # type: ignore[no-untyped-def]
        at = task * PIECE
        write_slopes(x, t, at, w, at * sw, p, at * sp, dlosses, at * sd, dx, min(PIECE, x.size - at))

    def forward_cpu(x: Any, t: Any, w: Any, p: Any, losses: Any) -> None:
        forward(-(-x.size // PIECE), x.size, x, t, *_spread(w), *_spread(p), losses)

    def total_cpu(x: Any, t: Any, w: Any, p: Any, total: Any, scale: float) -> None:
        count = -(-x.size // TASK)
        partial = np.empty(count, np.float64)
        add_up(count, x.size, x, t, *_spread(w), *_spread(p), partial)
        total[0] = scale * sum(partial.tolist())

    def backward_cpu(x: Any, t: Any, w: Any, p: Any, dlosses: Any, dx: Any, scale: float) -> None:
        if scale != 1:
            dlosses = dlosses * x.dtype.type(scale)
        backward(-(-x.size // PIECE), x.size, x, t, *_spread(w), *_spread(p), *_spread(dlosses), dx)

    # ------------------------------------------------------------------------------------------------------- CUDA

    @cuda.jit
    def forward_cuda_flat(x, t, w, p, losses, sw, sp, scale):  # type: ignore[no-untyped-def]
        i = cuda.grid(1)
        if i < x.size:
            losses[i] = scale * w[i * sw] * on_cuda(x[i], t[i], p[i * sp], x.dtype.type)

    @cuda.jit
    def backward_cuda_flat(x, t, w, p, dlosses, dx, sw, sp, sd, scale):  # type: ignore[no-untyped-def]
        i = cuda.grid(1)
        if i < x.size:
            derivative = slope_on_cuda(x[i], t[i], p[i * sp], x.dtype.type)
            dx[i] = scale * dlosses[i * sd] * w[i * sw] * derivative

    def forward_cuda(x: Any, t: Any, w: Any, p: Any, losses: Any) -> None:
        n, one = x.size, x.dtype.type(1)
        forward_cuda_flat[launch.line(n)](x, t, w, p, losses, int(w.size > 1), int(p.size > 1), one)

    def total_cuda(x: Any, t: Any, w: Any, p: Any, total: Any, scale: float) -> None:
        n, losses = x.size, empty((x.size,), x.dtype, device_of(x))
        factor = x.dtype.type(scale)
        forward_cuda_flat[launch.line(n)](x, t, w, p, losses, int(w.size > 1), int(p.size > 1), factor)
        reduction.sum_(losses.reshape(1, n, 1), total.reshape(1, 1))

    def backward_cuda(x: Any, t: Any, w: Any, p: Any, dlosses: Any, dx: Any, scale: float) -> None:
        steps = [int(a.size > 1) for a in (w, p, dlosses)]
        backward_cuda_flat[launch.line(x.size)](x, t, w, p, dlosses, dx, *steps, x.dtype.type(scale))

    floats = "float32[::1]"
    _cuda_kernels.append((forward_cuda_flat, f"void({', '.join([floats] * 5)}, int64, int64, float32)"))
    _cuda_kernels.append((backward_cuda_flat, f"void({', '.join([floats] * 6)}, int64, int64, int64, float32)"))
    return Pairs(
        Kernel(f"{name}_forward", reference=forward_reference, cpu=forward_cpu, cuda=forward_cuda),
        Kernel(f"{name}_total", reference=total_reference, cpu=total_cpu, cuda=total_cuda),
        Kernel(f"{name}_backward", reference=backward_reference, cpu=backward_cpu, cuda=backward_cuda),
    )


# ------------------------------------------------------------------------------------------------- the functions


def _l1_slope(x, t, p, number):  # type: ignore[no-untyped-def]
    return number(x > t) - number(x < t)  # 0 for NaN, as in PyTorch


def _smooth_l1(x, t, p, number):  # type: ignore[no-untyped-def]
    d = abs(x - t)
    return number(0.5) * d * d / p if d < p else d - number(0.5) * p


def _smooth_l1_slope(x, t, p, number):  # type: ignore[no-untyped-def]
    d = x - t
    return number(-1) if d <= -p else number(1) if d >= p else d / p


def _huber(x, t, p, number):  # type: ignore[no-untyped-def]
    d = abs(x - t)
    return number(0.5) * d * d if d < p else p * (d - number(0.5) * p)


def _huber_slope(x, t, p, number):  # type: ignore[no-untyped-def]
    d = x - t
    return -p if d < -p else p if d > p else d


def _bce(x, t, p, number):  # type: ignore[no-untyped-def]
    # Of x and 1 - x, the smaller one goes through the logarithm; the larger one's is log(1 + ...), which loses nothing
    # (1 - x is exact for x in [1/2, 1]; log1p_'s series serves -1/2 to 1).
    low, half = number(-100), x < number(0.5)
    smaller = x if half else number(1) - x
    of_smaller, of_larger = log_(smaller), log1p_(-smaller)
    yes, no = of_smaller if half else of_larger, of_larger if half else of_smaller
    yes, no = low if yes < low else yes, low if no < low else no
    return (t - number(1)) * no - t * yes


def _bce_cuda(x, t, p, number):  # type: ignore[no-untyped-def]
    yes, no, low = math.log(x), math.log1p(-x), number(-100)
    yes, no = low if yes < low else yes, low if no < low else no
    return (t - number(1)) * no - t * yes


def _bce_slope(x, t, p, number):  # type: ignore[no-untyped-def]
    area, least = (number(1) - x) * x, number(1e-12)
    return (x - t) / (least if area < least else area)


def _bce_with_logits(x, t, p, number):  # type: ignore[no-untyped-def]
    softplus = log1p_(exp_(-abs(x))) + (-x if x < number(0) else number(0))  # log(1 + exp(-x))
    return (number(1) - t) * x + (number(1) + (p - number(1)) * t) * softplus


def _bce_with_logits_cuda(x, t, p, number):  # type: ignore[no-untyped-def]
    softplus = math.log1p(math.exp(-abs(x))) + (-x if x < number(0) else number(0))
    return (number(1) - t) * x + (number(1) + (p - number(1)) * t) * softplus


def _bce_with_logits_slope(x, t, p, number):  # type: ignore[no-untyped-def]
    e = exp_(-abs(x))
    small, large = e / (number(1) + e), number(1) / (number(1) + e)
    yes, no = small if x < number(0) else large, large if x < number(0) else small
    return (number(1) - t) * yes - p * t * no


def _bce_with_logits_slope_cuda(x, t, p, number):  # type: ignore[no-untyped-def]
    e = math.exp(-abs(x))
    small, large = e / (number(1) + e), number(1) / (number(1) + e)
    yes, no = small if x < number(0) else large, large if x < number(0) else small
    return (number(1) - t) * yes - p * t * no


def _soft_margin(x, t, p, number):  # type: ignore[no-untyped-def]
    z = t * x
    return log1p_(exp_(-abs(z))) + (-z if z < number(0) else number(0))


def _soft_margin_cuda(x, t, p, number):  # type: ignore[no-untyped-def]
    z = t * x
    return math.log1p(math.exp(-abs(z))) + (-z if z < number(0) else number(0))


def _soft_margin_slope(x, t, p, number):  # type: ignore[no-untyped-def]
    return -t * sigmoid_(-t * x, number)


def _soft_margin_slope_cuda(x, t, p, number):  # type: ignore[no-untyped-def]
    z = t * x
    e = math.exp(-abs(z))
    return -t * (number(1) if z < number(0) else e) / (number(1) + e)


def _kl_div(x, t, p, number):  # type: ignore[no-untyped-def]
    logarithm = log_(t)
    return t * ((number(0) if t == number(0) else logarithm) - x)


def _kl_div_cuda(x, t, p, number):  # type: ignore[no-untyped-def]
    logarithm = number(0) if t == number(0) else math.log(t)
    return t * (logarithm - x)


# Where a margin is met exactly, the slope is the one on its costly side, as in PyTorch; NaN has none.


def _hinge_embedding(x, t, p, number):  # type: ignore[no-untyped-def]
    far = number(0) if x > p else p - x
    return (far if t != number(1) else number(0)) + (x if t != number(-1) else number(0))


def _hinge_embedding_slope(x, t, p, number):  # type: ignore[no-untyped-def]
    far = number(-1) if x <= p else number(0)
    return (far if t != number(1) else number(0)) + (number(1) if t != number(-1) else number(0))


def _cosine_embedding(x, t, p, number):  # type: ignore[no-untyped-def]
    near = number(0) if x < p else x - p
    return number(1) - x if t == number(1) else near if t == number(-1) else number(0)


def _cosine_embedding_slope(x, t, p, number):  # type: ignore[no-untyped-def]
    near = number(1) if x >= p else number(0)
    return number(-1) if t == number(1) else near if t == number(-1) else number(0)


def _margin_ranking(x, t, p, number):  # type: ignore[no-untyped-def]
    gap = p - t * x
    return number(0) if gap < number(0) else gap


def _margin_ranking_slope(x, t, p, number):  # type: ignore[no-untyped-def]
    return -t if p - t * x >= number(0) else number(0)


def _margin(x, t, p, number):  # type: ignore[no-untyped-def]
    gap = p + x - t
    return number(0) if gap < number(0) else gap


def _margin_slope(x, t, p, number):  # type: ignore[no-untyped-def]
    return number(1) if p + x - t >= number(0) else number(0)


# The references, in NumPy's float64.


def _softplus_reference(x):  # type: ignore[no-untyped-def]
    return np.logaddexp(0, x)


def _sigmoid_reference(x):  # type: ignore[no-untyped-def]
    return 1 / (1 + np.exp(-x))


def _smooth_l1_reference(x, t, p):  # type: ignore[no-untyped-def]
    d = np.abs(x - t)
    return np.where(d < p, d * d / (2 * p), d - p / 2)


def _huber_reference(x, t, p):  # type: ignore[no-untyped-def]
    d = np.abs(x - t)
    return np.where(d < p, d * d / 2, p * (d - p / 2))


def _bce_reference(x, t, p):  # type: ignore[no-untyped-def]
    return -t * np.maximum(np.log(x), -100) - (1 - t) * np.maximum(np.log1p(-x), -100)


def _kl_div_reference(x, t, p):  # type: ignore[no-untyped-def]
    return np.where(t == 0, 0, t * np.log(t)) - t * x


mse = _pairs(
    "mse",
    lambda x, t, p: (x - t) ** 2,
    lambda x, t, p: 2 * (x - t),
    lambda x, t, p, number: (x - t) * (x - t),
    lambda x, t, p, number: number(2) * (x - t),
)
l1 = _pairs(
    "l1",
    lambda x, t, p: np.abs(x - t),
    lambda x, t, p: np.where(np.isnan(x - t), 0, np.sign(x - t)),
    lambda x, t, p, number: abs(x - t),
    _l1_slope,
)
smooth_l1 = _pairs(
    "smooth_l1",
    _smooth_l1_reference,
    lambda x, t, p: np.clip((x - t) / p, -1, 1),
    _smooth_l1,
    _smooth_l1_slope,
)
huber = _pairs(
    "huber",
    _huber_reference,
    lambda x, t, p: np.clip(x - t, -p, p),
    _huber,
    _huber_slope,
)
bce = _pairs(
    "bce",
    _bce_reference,
    lambda x, t, p: (x - t) / np.maximum(x * (1 - x), 1e-12),
    _bce,
    _bce_slope,
    _bce_cuda,
)
bce_with_logits = _pairs(
    "bce_with_logits",
    lambda x, t, p: (1 - t) * x + (1 + (p - 1) * t) * _softplus_reference(-x),
    lambda x, t, p: (1 - t) * _sigmoid_reference(x) - p * t * _sigmoid_reference(-x),
    _bce_with_logits,
    _bce_with_logits_slope,
    _bce_with_logits_cuda,
    _bce_with_logits_slope_cuda,
)
soft_margin = _pairs(
    "soft_margin",
    lambda x, t, p: _softplus_reference(-t * x),
    lambda x, t, p: -t * _sigmoid_reference(-t * x),
    _soft_margin,
    _soft_margin_slope,
    _soft_margin_cuda,
    _soft_margin_slope_cuda,
)
kl_div = _pairs(
    "kl_div",
    _kl_div_reference,
    lambda x, t, p: -t,
    _kl_div,
    lambda x, t, p, number: -t,
    _kl_div_cuda,
)
kl_div_of_logs = _pairs(
    "kl_div_of_logs",
    lambda x, t, p: np.exp(t) * (t - x),
    lambda x, t, p: -np.exp(t),
    lambda x, t, p, number: exp_(t) * (t - x),
    lambda x, t, p, number: -exp_(t),
    lambda x, t, p, number: math.exp(t) * (t - x),
    lambda x, t, p, number: -math.exp(t),
)
poisson = _pairs(
    "poisson",
    lambda x, t, p: np.exp(x) - t * x,
    lambda x, t, p: np.exp(x) - t,
    lambda x, t, p, number: exp_(x) - t * x,
    lambda x, t, p, number: exp_(x) - t,
    lambda x, t, p, number: math.exp(x) - t * x,
    lambda x, t, p, number: math.exp(x) - t,
)
hinge_embedding = _pairs(
    "hinge_embedding",
    lambda x, t, p: np.where(t != 1, np.maximum(p - x, 0), 0) + np.where(t != -1, x, 0),
    lambda x, t, p: np.where((t != 1) & (x <= p), -1.0, 0.0) + (t != -1),
    _hinge_embedding,
    _hinge_embedding_slope,
)
cosine_embedding = _pairs(
    "cosine_embedding",
    lambda x, t, p: np.where(t == 1, 1 - x, np.where(t == -1, np.maximum(x - p, 0), 0)),
    lambda x, t, p: np.where(t == 1, -1.0, np.where((t == -1) & (x >= p), 1.0, 0.0)),
    _cosine_embedding,
    _cosine_embedding_slope,
)
margin_ranking = _pairs(
    "margin_ranking",
    lambda x, t, p: np.maximum(p - t * x, 0),
    lambda x, t, p: np.where(p - t * x >= 0, -t, 0),
    _margin_ranking,
    _margin_ranking_slope,
)
margin = _pairs(
    "margin",
    lambda x, t, p: np.maximum(p + x - t, 0),
    lambda x, t, p: np.where(p + x - t >= 0, 1.0, 0.0),
    _margin,
    _margin_slope,
)


# ------------------------------------------------------------------------------------------ negative log likelihood


def nll_forward_reference(log_p, target, weight, losses, sums, ignore_index):  # type: ignore[no-untyped-def]
    every, n = np.zeros(target.shape), log_p.shape[1]
    inside = (target >= 0) & (target < n)
    counted = inside & (target != ignore_index)
    for o, j in np.argwhere(counted):
        t = target[o, j]
        every[o, j] = -np.float64(weight[t]) * log_p[o, t, j]
    sums[0], sums[1] = every.sum(), weight.astype(np.float64)[target[counted]].sum()
    sums[2] = (~inside & (target != ignore_index)).sum()
    if losses.size:
        losses[...] = every


@jit
def _nll_forward_task(stage, task, thread, log_p, weight, losses, d, sums, plan):  # type: ignore[no-untyped-def]
    """Blocks of targets, with one division each: a division for each target took longer than all else.

    plan: n, inner, targets, ignore_index, tasks; see ``plan_with_targets``.
    """
    n, inner, size, ignore_index, tasks = plan[0], plan[1], plan[2], plan[3], plan[4]
    if stage == 1:
        add_sums(plan, tasks, sums)
        return
    target = targets_of(plan, tasks)
    total, mass, missed = 0.0, 0.0, 0.0
    first = task * NLL_TASK
    o, j = first // inner, first % inner
    for at in range(first, min(first + NLL_TASK, size)):
        t = read_at(np.int64, target, at)
        loss = log_p.dtype.type(0)
        if counts(t, n, ignore_index):
            w = read(weight, t)
            loss = -w * read(log_p, (o * n + t) * inner + j)
            total += np.float64(loss)
            mass += np.float64(w)
        elif t != ignore_index:
            missed += 1.0
        if losses.size > 0:
            write(losses, at, loss)
        j += 1
        if j == inner:
            o, j = o + 1, 0
    put_sums(plan, task, total, mass, missed)


def _nll_forward_cpu(log_p: Any, target: Any, weight: Any, losses: Any, sums: Any, ignore_index: int) -> None:
    _, n, inner = log_p.shape
    tasks = -(-target.size // NLL_TASK)
    plan = plan_with_targets((n, inner, target.size, ignore_index, tasks), target, tasks)
    flat = [array.reshape(-1) for array in (log_p, weight, losses)]
    run_stages(_nll_forward_task, (tasks, 1), *[*flat, NOTHING[log_p.dtype], sums, plan])


@cuda.jit
def _nll_forward_cuda_flat(log_p, target, weight, losses, each, n, inner, ignore_index):  # type: ignore[no-untyped-def]
    i = cuda.grid(1)
    if i < target.size:
        number = log_p.dtype.type
        t = target[i]
        loss, mass = number(0), number(0)
        counted = counts(t, n, ignore_index)
        if counted:
            mass = weight[t]
            loss = -mass * log_p[(i // inner * n + t) * inner + i % inner]
        if losses.size > 0:
            losses[i] = loss
        each[i] = loss
        each[target.size + i] = mass
        each[2 * target.size + i] = number(t != ignore_index and not counted)


def _nll_forward_cuda(log_p: Any, target: Any, weight: Any, losses: Any, sums: Any, ignore_index: int) -> None:
    _, n, inner = log_p.shape
    each = empty((3, target.size, 1), log_p.dtype, device_of(log_p))
    if target.size:
        flat = [array.reshape(array.size) for array in (log_p, target, weight, losses, each)]
        _nll_forward_cuda_flat[launch.line(target.size)](*flat, n, inner, ignore_index)
    reduction.sum_(each, sums.reshape(3, 1))


nll_forward = Kernel("nll_forward", reference=nll_forward_reference, cpu=_nll_forward_cpu, cuda=_nll_forward_cuda)


def nll_backward_reference(target, weight, scale, dlog_p, ignore_index):  # type: ignore[no-untyped-def]
    scale = np.broadcast_to(scale, target.shape)
    dlog_p[...] = 0
    for o, j in np.ndindex(target.shape):
        t = target[o, j]
        if 0 <= t < dlog_p.shape[1] and t != ignore_index:
            dlog_p[o, t, j] = -weight[t] * scale[o, j]


@jit
def _nll_backward_task(stage, task, thread, weight, scale, dlog_p, d, scratch, plan):  # type: ignore[no-untyped-def]
    """Tasks are blocks of targets of one o, or of several where they are few; each writes its columns.

    plan: outer, n, inner, how many o a task takes, the blocks of one o, ignore_index; see ``plan_with_targets``.
    """
    outer, n, inner, some, blocks, ignore_index = plan[0], plan[1], plan[2], plan[3], plan[4], plan[5]
    target = targets_of(plan, 0)
    step = 1 if scale.size > 1 else 0
    begin, first = task // blocks * some, task % blocks * NLL_COLUMNS
    last, end = min(first + NLL_COLUMNS, inner), min(begin + some, outer)
    zero = dlog_p.dtype.type(0)
    if blocks == 1:
        for i in range(begin * n * inner, end * n * inner):
            write(dlog_p, i, zero)
    else:
        for c in range(n):
            for i in range((begin * n + c) * inner + first, (begin * n + c) * inner + last):
                write(dlog_p, i, zero)
    for o in range(begin, end):
        for j in range(first, last):
            t = read_at(np.int64, target, o * inner + j)
            if counts(t, n, ignore_index):
                dlog_p[(o * n + t) * inner + j] = -weight[t] * scale[(o * inner + j) * step]


def _nll_backward_cpu(target: Any, weight: Any, scale: Any, dlog_p: Any, ignore_index: int) -> None:
    outer, n, inner = dlog_p.shape
    blocks = -(-inner // NLL_COLUMNS)
    some = max(1, NLL_WORK // max(1, n * min(inner, NLL_COLUMNS))) if blocks == 1 else 1
    plan = plan_with_targets((outer, n, inner, some, blocks, ignore_index), target, 0)
    nothing = NOTHING[dlog_p.dtype]
    flat = [array.reshape(-1) for array in (weight, scale, dlog_p)]
    run_stages(_nll_backward_task, (-(-outer // some) * blocks, 0), *[*flat, nothing, nothing, plan])


@cuda.jit
def _nll_backward_cuda_flat(target, weight, scale, dlog_p, n, inner, ignore_index):  # type: ignore[no-untyped-def]
    i = cuda.grid(1)
    if i < dlog_p.size:
        at = i // (n * inner) * inner + i % inner
        t = target[at]
        if (t == ignore_index) | (t != i // inner % n):
            dlog_p[i] = dlog_p.dtype.type(0)
        else:
            dlog_p[i] = -weight[t] * scale[at if scale.size > 1 else 0]


def _nll_backward_cuda(target: Any, weight: Any, scale: Any, dlog_p: Any, ignore_index: int) -> None:
    _, n, inner = dlog_p.shape
    _nll_backward_cuda_flat[launch.line(dlog_p.size)](
        target.reshape(-1), weight, scale.reshape(-1), dlog_p.reshape(-1), n, inner, ignore_index
    )


nll_backward = Kernel("nll_backward", reference=nll_backward_reference, cpu=_nll_backward_cpu, cuda=_nll_backward_cuda)

_FLOATS = "float32[::1]"
CUDA_KERNELS = (
    *_cuda_kernels,
    (_nll_forward_cuda_flat, f"void({_FLOATS}, int64[::1], {_FLOATS}, {_FLOATS}, {_FLOATS}, int64, int64, int64)"),
    (_nll_backward_cuda_flat, f"void(int64[::1], {_FLOATS}, {_FLOATS}, {_FLOATS}, int64, int64, int64)"),
)
