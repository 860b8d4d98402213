"""Loss functions: of classes, of numbers, of probabilities, of margins and distances, and of segmentations.

Losses of single pairs (input[i], target[i]) are a kernel each for the losses, their sum, and the gradient; they share
``PairLossFunction``. Cross-entropy is fused with softmax. The others are expressions of differentiable functions.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from numbanet import devices, shapes
from numbanet.autograd import Function, is_grad_enabled
from numbanet.functional.activation import log_softmax, sigmoid, softmax
from numbanet.functional.arithmetic import clamp, clamp_min, exp, log, minimum, sign, where
from numbanet.functional.distance import cosine_similarity, pairwise_distance
from numbanet.kernels import loss as kernels
from numbanet.kernels import reduction as reduction_kernels
from numbanet.kernels import softmax as softmax_kernels
from numbanet.tensor import Tensor, operands, wrap

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "contrastive_loss",
    "cosine_embedding_loss",
    "cross_entropy",
    "dice_loss",
    "focal_loss",
    "gaussian_nll_loss",
    "hinge_embedding_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "margin_ranking_loss",
    "mse_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "nll_loss",
    "poisson_nll_loss",
    "quadruplet_loss",
    "sigmoid_focal_loss",
    "smooth_l1_loss",
    "soft_margin_loss",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]


def _reduction(name: str, reduction: str, size_average: bool | None = None, reduce: bool | None = None) -> str:
    """The reduction's name, also from PyTorch's two old flags."""
    if size_average is not None or reduce is not None:
        if reduce is False:
            return "none"
        return "sum" if size_average is False else "mean"
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{name}: reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    return reduction


def _reduce(losses: Tensor, reduction: str) -> Tensor:
    return losses.mean() if reduction == "mean" else losses.sum() if reduction == "sum" else losses


def _check_tensors(name: str, **tensors: Any) -> None:
    for argument, value in tensors.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name}: argument {argument!r} must be a Tensor, not {type(value).__name__}")


def _check_constant(name: str, **tensors: Tensor | None) -> None:
    """Refuse weights that want a gradient: there is none for them, here as in PyTorch."""
    for argument, value in tensors.items():
        if value is not None and value.requires_grad and is_grad_enabled():
            raise RuntimeError(
                f"{name}: not differentiable with respect to {argument} (shape {tuple(value.shape)}); detach() it"
            )


def _floats(name: str, **tensors: Any) -> list[Tensor]:
    """The tensors, promoted to one floating dtype."""
    _check_tensors(name, **tensors)
    made = operands(name, *tensors.values())
    shapes.check_floating(name, **dict(zip(tensors, made, strict=True)))
    return made


# -------------------------------------------------------------------------------------------------- classification


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The cross entropy of logits and classes, as ``torch.nn.functional.cross_entropy``.

    Notation: N samples, C classes, t the target class, w the class weights.

        loss[n] = -w[t[n]] * log_softmax(input[n])[t[n]],    mean = sum of losses / sum of w[t[n]]

    over the samples whose target is not ``ignore_index``. With ``label_smoothing`` e the target distribution is
    (1 - e) at t plus e / C everywhere.

    Args:
        input: logits, shape (C,), (N, C) or (N, C, d1, ...).
        target: classes (int64 or uint8), shape (), (N,) or (N, d1, ...); or probabilities, of input's shape and a floating
            dtype.
        weight: shape (C,), or None for ones.
        size_average: deprecated, use ``reduction``.
        ignore_index: a target that counts for nothing.
        reduce: deprecated, use ``reduction``.
        reduction: "mean", "sum" or "none".
        label_smoothing: 0 to 1.

    Returns:
        A 0-d tensor, or with reduction "none" one loss per sample, shaped like class targets.

    Raises:
        IndexError: for a target class outside 0 ... C-1.
        ValueError: for a batch size that differs, or an unknown reduction.
        RuntimeError: for shapes or dtypes that do not fit.

    Reference: label smoothing from C. Szegedy et al., "Rethinking the Inception architecture" (2016), section 7.
    """
    reduction = _reduction("cross_entropy", reduction, size_average, reduce)
    shapes.check_floating("cross_entropy", input=input, weight=weight)
    _check_tensors("cross_entropy", target=target)
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"cross_entropy: label_smoothing must be between 0 and 1, got {label_smoothing}")
    if target.dtype.kind == "f":
        return _cross_entropy_of_probabilities(input, target, weight, reduction, label_smoothing)
    whole = _check_classes("cross_entropy", input, target, weight, ignore_index)
    return CrossEntropyFunction.apply(input, target, weight, reduction, ignore_index, float(label_smoothing), whole)


def _check_classes(name: str, input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int) -> bool:
    """Check the shapes of logits and class targets, and (on the CPU) that every target is a class.

    Returns:
        Whether no target can be ``ignore_index``, which then need not be looked for.
    """
    x, t = tuple(input._array.shape), tuple(target._array.shape)
    if not x:
        raise RuntimeError(f"{name}: expected input of shape (C,), (N, C) or (N, C, d1, ...), got ()")
    classes = x[0] if len(x) == 1 else x[1]
    if len(x) > 1 and t and t[0] != x[0]:
        raise ValueError(f"{name}: input has N={x[0]} samples but target has {t[0]} (input {x}, target {t})")
    expected = () if len(x) == 1 else (x[0], *x[2:])
    if t != expected:
        raise RuntimeError(f"{name}: expected target of shape {expected} for input {x}, got {t}")
    if target.dtype not in (np.int64, np.uint8):
        raise RuntimeError(f"{name}: expected target of dtype int64 (or uint8), got {target.dtype}")
    if weight is not None and tuple(weight._array.shape) != (classes,):
        raise RuntimeError(
            f"{name}: expected weight of shape ({classes},) for input {x}, got {tuple(weight._array.shape)}"
        )
    _check_constant(name, weight=weight)
    values = target._array
    # On CUDA looking at the values would wait for the device at every step.
    if type(values) is not np.ndarray or not values.size:
        return False
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= classes:
        wrong = values[(values != ignore_index) & ((values < 0) | (values >= classes))]
        if wrong.size:
            raise IndexError(f"{name}: target {int(wrong[0])} is out of bounds for C={classes} classes (input {x})")
    return not low <= ignore_index <= high


def _cross_entropy_of_probabilities(
    input: Tensor, target: Tensor, weight: Tensor | None, reduction: str, label_smoothing: float
) -> Tensor:
    """-sum over classes of w * p * log_softmax(input); the mean is over samples, not over weights."""
    x = tuple(input._array.shape)
    if tuple(target._array.shape) != x:
        raise RuntimeError(
            f"cross_entropy: a floating target holds probabilities and needs input's shape {x}, "
            f"got {tuple(target._array.shape)}"
        )
    dim = 1 if len(x) > 1 else 0
    classes = x[dim]
    if weight is not None and tuple(weight._array.shape) != (classes,):
        raise RuntimeError(
            f"cross_entropy: expected weight of shape ({classes},) for input {x}, got {tuple(weight._array.shape)}"
        )
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / classes
    scores = log_softmax(input, dim) * target
    if weight is not None:
        scores = scores * _along(weight, dim, len(x))
    losses = -scores.sum(dim)
    if reduction == "mean":
        return losses.sum() / max(1, losses.numel())
    return _reduce(losses, reduction)


def _along(values: Tensor, dim: int, ndim: int) -> Tensor:
    """A (C,) tensor shaped to broadcast along one dimension of a tensor of ``ndim`` dimensions."""
    return values.reshape(-1, *(1,) * (ndim - dim - 1))


class _Classes(NamedTuple):
    """Logits (or log-probabilities) and targets as the kernels want them."""

    x: Any  # (outer, C, inner)
    target: Any  # (outer, inner), int64
    weight: Any  # (C,)


def _classes(x: Tensor, target: Tensor, weight: Tensor | None) -> _Classes:
    logits = devices.contiguous(x._array)
    shape = tuple(logits.shape)
    outer, classes = (1, shape[0]) if len(shape) == 1 else shape[:2]
    inner = math.prod(shape[2:])
    labels = devices.contiguous(target._array if target._array.dtype == np.int64 else target.long()._array)
    weights = _ones(classes, x.dtype, x.device) if weight is None else devices.contiguous(weight._array)
    return _Classes(logits.reshape(outer, classes, inner), labels.reshape(outer, inner), weights)


@lru_cache(maxsize=64)
def _ones(classes: int, dtype: np.dtype, device: Any) -> Any:
    """Weights for who gave none: made once, never written to."""
    return devices.full((classes,), 1, dtype, device)


def _mass(classes: _Classes, ignore_index: int, weighted: bool, whole: bool) -> Any:
    """The sum of the weights of the targets that count, which divides a mean: of 0 it makes NaN, as in PyTorch.

    A number on the CPU, a 0-d tensor on CUDA, where reading it would wait for the device.
    """
    target, weight = classes.target, classes.weight
    if type(target) is not np.ndarray:
        counted = wrap(target) != ignore_index
        if not weighted:
            return counted.sum()
        index = wrap(target).masked_fill(counted.logical_not(), 0)
        return (wrap(weight)[index] * counted.to(dtype=weight.dtype)).sum()
    if not weighted:
        return target.size if whole else target.size - int(np.count_nonzero(target == ignore_index))
    labels = target.reshape(-1)
    if not whole:
        labels = labels[labels != ignore_index]
    return float((np.bincount(labels, minlength=weight.size) * weight.astype(np.float64)).sum())


def _forward_of_classes(
    ctx: Any,
    x: Tensor,
    target: Tensor,
    weight: Tensor | None,
    reduction: str,
    ignore_index: int,
    whole: bool,
    run: Callable[[_Classes, Any, Any], None],
) -> Tensor:
    """What ``CrossEntropyFunction`` and ``NLLFunction`` have in common; ``run(classes, losses, lse)`` fills the two."""
    classes = _classes(x, target, weight)
    shape = tuple(classes.target.shape)
    losses, lse = [devices.empty(shape, x.dtype, x.device) for _ in range(2)]
    if classes.x.size:
        run(classes, losses, lse)
    elif losses.size:  # no classes at all, so every target is ignored
        losses = devices.full(shape, 0, x.dtype, x.device)
    ctx.settings = reduction, ignore_index
    ctx.mass = _mass(classes, ignore_index, weight is not None, whole) if reduction == "mean" else 1
    ctx.save_for_backward(x, wrap(classes.target), wrap(classes.weight), wrap(lse))
    if reduction == "none":
        return wrap(losses.reshape(tuple(target._array.shape)))
    total = devices.empty((1, 1), x.dtype, x.device)
    reduction_kernels.sum_(losses.reshape(1, losses.size, 1), total)
    loss = wrap(total.reshape(()))
    if reduction == "sum":
        return loss
    if x.is_cuda:
        return loss / ctx.mass
    total.fill(total.item() / ctx.mass if ctx.mass else math.nan)
    return loss


def _scales(ctx: Any, dloss: Tensor, target: Tensor) -> Any:
    """What each target's loss weighs in the gradient: an array (outer, inner)."""
    shape = tuple(target._array.shape)
    if ctx.settings[0] == "none":
        return devices.contiguous(dloss._array).reshape(shape)
    if not dloss.is_cuda:
        value = dloss._array.item()
        return devices.full(shape, value / ctx.mass if ctx.mass else math.copysign(math.inf, value), dloss.dtype)
    scale = dloss if ctx.settings[0] == "sum" else dloss / ctx.mass
    return devices.contiguous(scale.to(dtype=dloss.dtype).expand(*shape)._array)


def _scales_with_graph(ctx: Any, dloss: Tensor, target: Tensor) -> Tensor:
    """As ``_scales``, differentiable, and broadcasting with (outer, C, inner)."""
    if ctx.settings[0] == "none":
        return dloss.reshape(target.shape[0], 1, target.shape[1])
    return dloss if ctx.settings[0] == "sum" else dloss / ctx.mass


def _marks(target: Tensor, ignore_index: int, classes: int) -> tuple[Tensor, Tensor]:
    """(whether each target is ignored, (outer, 1, inner); whether each class is its target, (outer, classes, inner))."""
    target = target.unsqueeze(1)
    numbers = wrap(devices.to_device(np.arange(classes).reshape(1, classes, 1), target.device))
    return target == ignore_index, target == numbers


class CrossEntropyFunction(Function):
    """Softmax, logarithm, pick and reduction in one; dx = (sum of q * softmax(x) - q) * dloss (q: see the kernel)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        target: Tensor,
        weight: Tensor | None,
        reduction: str,
        ignore_index: int,
        smoothing: float,
        whole: bool,
    ) -> Tensor:
        def run(classes: _Classes, losses: Any, lse: Any) -> None:
            softmax_kernels.cross_entropy_forward(*classes, losses, lse, ignore_index, smoothing)

        ctx.smoothing = smoothing
        return _forward_of_classes(ctx, x, target, weight, reduction, ignore_index, whole, run)

    @staticmethod
    def backward(ctx: Any, dloss: Tensor) -> Any:
        x, target, weight, lse = ctx.saved_tensors
        ignore_index, smoothing = ctx.settings[1], ctx.smoothing
        outer, inner = target.shape
        shape = (outer, weight.shape[0], inner)
        if is_grad_enabled():
            ignored, onehot = _marks(target, ignore_index, shape[1])
            weights = weight.reshape(1, -1, 1)
            q = onehot.to(dtype=x.dtype) * weights * (1 - smoothing) + weights * (smoothing / max(1, shape[1]))
            dx = softmax(x.reshape(shape), 1) * q.sum(1, keepdim=True) - q
            dx = (dx * _scales_with_graph(ctx, dloss, target)).masked_fill(ignored, 0.0)
            return dx.reshape(x.shape), None, None, None, None, None, None
        dx = devices.empty(shape, x.dtype, x.device)
        if dx.size:
            softmax_kernels.cross_entropy_backward(
                devices.contiguous(x._array).reshape(shape),
                target._array,
                weight._array,
                lse._array,
                _scales(ctx, dloss, target),
                dx,
                ignore_index,
                smoothing,
            )
        return wrap(dx.reshape(tuple(x._array.shape))), None, None, None, None, None, None


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The negative log likelihood of classes under log-probabilities: ``cross_entropy`` after ``log_softmax``.

    Args:
        input: log-probabilities, shape (C,), (N, C) or (N, C, d1, ...).
        target: classes (int64 or uint8), shape (), (N,) or (N, d1, ...).
        weight, size_average, ignore_index, reduce, reduction: as in ``cross_entropy``.

    Raises:
        As ``cross_entropy``.
    """
    reduction = _reduction("nll_loss", reduction, size_average, reduce)
    shapes.check_floating("nll_loss", input=input, weight=weight)
    _check_tensors("nll_loss", target=target)
    whole = _check_classes("nll_loss", input, target, weight, ignore_index)
    return NLLFunction.apply(input, target, weight, reduction, ignore_index, whole)


class NLLFunction(Function):
    """loss[n] = -w[t[n]] * x[n, t[n]], fused with the reduction; dx is -w[t[n]] * dloss at t[n], and 0 elsewhere."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, target: Tensor, weight: Tensor | None, reduction: str, ignore_index: int, whole: bool
    ) -> Tensor:
        def run(classes: _Classes, losses: Any, lse: Any) -> None:
            kernels.nll_forward(*classes, losses, ignore_index)

        return _forward_of_classes(ctx, x, target, weight, reduction, ignore_index, whole, run)

    @staticmethod
    def backward(ctx: Any, dloss: Tensor) -> Any:
        x, target, weight, _ = ctx.saved_tensors
        ignore_index = ctx.settings[1]
        outer, inner = target.shape
        shape = (outer, weight.shape[0], inner)
        if is_grad_enabled():
            ignored, onehot = _marks(target, ignore_index, shape[1])
            q = (onehot.to(dtype=x.dtype) * weight.reshape(1, -1, 1)).masked_fill(ignored, 0.0)
            dx = -q * _scales_with_graph(ctx, dloss, target)
            return dx.reshape(x.shape), None, None, None, None, None
        dx = devices.empty(shape, x.dtype, x.device)
        if dx.size:
            kernels.nll_backward(target._array, weight._array, _scales(ctx, dloss, target), dx, ignore_index)
        return wrap(dx.reshape(tuple(x._array.shape))), None, None, None, None, None


def focal_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    gamma: float = 2.0,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """The focal loss of logits and classes: cross entropy that all but forgets what is already classified well.

        loss[n] = w[t[n]] * (1 - p)^gamma * -log(p),    p = softmax(input[n])[t[n]]

    The mean divides by the sum of w[t[n]], so that gamma = 0 is ``cross_entropy``.

    Args:
        input: logits, shape (C,), (N, C) or (N, C, d1, ...).
        target: classes, shape (), (N,) or (N, d1, ...).
        weight: shape (C,), or None for ones; the paper's alpha.
        gamma: how fast a sample that is classified well loses its weight; not negative.
        ignore_index: a target that counts for nothing.
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: for a negative gamma, otherwise as ``cross_entropy``.

    Reference: T.-Y. Lin et al., "Focal loss for dense object detection" (2017).
    """
    reduction = _reduction("focal_loss", reduction)
    if not gamma >= 0:
        raise ValueError(f"focal_loss: gamma must not be negative, got {gamma}")
    shapes.check_floating("focal_loss", input=input, weight=weight)
    _check_tensors("focal_loss", target=target)
    _check_classes("focal_loss", input, target, weight, ignore_index)
    surprise = CrossEntropyFunction.apply(input, target, None, "none", ignore_index, 0.0, False)
    losses = surprise if gamma == 0 else surprise * clamp_min(1 - exp(-surprise), 0) ** gamma
    if weight is None and reduction != "mean":
        return _reduce(losses, reduction)
    counted = target != ignore_index
    shares = counted.to(dtype=input.dtype)
    if weight is not None:
        shares = shares * weight[target.masked_fill(counted.logical_not(), 0).long()]
        losses = losses * shares
    return losses.sum() / shares.sum() if reduction == "mean" else _reduce(losses, reduction)


def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The hinge loss of classes: each other class should score less than the target by a margin.

        loss[n] = sum over c != t of w[t] * max(0, margin - x[n, t] + x[n, c])^p / C

    Args:
        input: scores, shape (N, C) or (C,).
        target: classes (int64), shape (N,), or () or (1,).
        p: 1 or 2.
        margin: the margin.
        weight: shape (C,), or None for ones.
        size_average, reduce: deprecated, use ``reduction``.
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: for another p, or an unknown reduction.
        RuntimeError: for shapes that do not fit, or a target that is no class.
    """
    name = "multi_margin_loss"
    reduction = _reduction(name, reduction, size_average, reduce)
    if p not in (1, 2):
        raise ValueError(f"{name}: p must be 1 or 2, got {p}")
    shapes.check_floating(name, input=input, weight=weight)
    _check_tensors(name, target=target)
    x, t = tuple(input.shape), tuple(target.shape)
    if input.ndim not in (1, 2) or not x[-1]:
        raise RuntimeError(f"{name}: expected input of shape (N, C) or (C,) with C > 0, got {x}")
    rows, classes = input.reshape(-1, x[-1]), x[-1]
    if not (t == x[:1] if input.ndim == 2 else t in ((), (1,))):
        raise RuntimeError(
            f"{name}: expected target of shape {x[:1] if input.ndim == 2 else ()} for input {x}, got {t}"
        )
    if target.dtype != np.int64:
        raise RuntimeError(f"{name}: expected target of dtype int64, got {target.dtype}")
    if weight is not None and weight.ndim != 1:
        raise ValueError(f"{name}: expected weight of shape ({classes},), got {tuple(weight.shape)}")
    if weight is not None and tuple(weight.shape) != (classes,):
        raise RuntimeError(f"{name}: expected weight of shape ({classes},) for input {x}, got {tuple(weight.shape)}")
    _check_constant(name, weight=weight)
    values = target._array
    if type(values) is np.ndarray and values.size and (values.min() < 0 or values.max() >= classes):
        wrong = values[(values < 0) | (values >= classes)]
        raise RuntimeError(f"{name}: target {int(wrong.reshape(-1)[0])} is out of range for C={classes} classes")
    index = target.reshape(-1, 1)
    gaps = clamp_min(margin - rows.gather(1, index) + rows, 0)
    numbers = wrap(devices.to_device(np.arange(classes), input.device))
    gaps = (gaps if p == 1 else gaps * gaps).masked_fill(index == numbers, 0.0)
    losses = gaps.sum(1) / classes
    if weight is not None:
        losses = losses * weight[index.squeeze(1)]
    return _reduce(losses.reshape(t), reduction)


def multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The hinge loss of several labels per sample: each of them should score 1 more than each class that is none.

        loss[n] = sum over labels j, other classes i of max(0, 1 - x[n, j] + x[n, i]) / C

    Args:
        input: scores, shape (N, C) or (C,).
        target: labels (int64), of input's shape: what stands before the first negative number of a row.
        size_average, reduce: deprecated, use ``reduction``.
        reduction: "mean", "sum" or "none".

    Raises:
        RuntimeError: for shapes that do not fit, or a label that is no class.
    """
    name = "multilabel_margin_loss"
    reduction = _reduction(name, reduction, size_average, reduce)
    shapes.check_floating(name, input=input)
    _check_tensors(name, target=target)
    x, t = tuple(input.shape), tuple(target.shape)
    if len(x) not in (1, 2) or not x[-1]:
        raise RuntimeError(f"{name}: expected input of shape (N, C) or (C,) with C > 0, got {x}")
    if t != x:
        raise RuntimeError(f"{name}: expected target of input's shape {x}, got {t}")
    if target.dtype != np.int64:
        raise RuntimeError(f"{name}: expected target of dtype int64, got {target.dtype}")
    classes = x[-1]
    labels = devices.to_host(target._array).reshape(-1, classes)
    if labels.size and (labels.min() < -1 or labels.max() >= classes):
        wrong = labels[(labels < -1) | (labels >= classes)]
        raise RuntimeError(f"{name}: target {int(wrong[0])} is out of range for C={classes} classes")
    given = np.cumsum(labels < 0, axis=1) == 0  # before a row's first negative number
    is_label = np.zeros(labels.shape, bool)
    is_label[np.nonzero(given)[0], labels[given]] = True
    # A label that is written twice counts twice: rows are pairs of (written label, class).
    counts = given[:, :, None] & ~is_label[:, None, :]
    rows = input.reshape(-1, classes)
    index = wrap(devices.to_device(np.where(given, labels, 0), input.device))
    gaps = clamp_min(1 - rows.gather(1, index).unsqueeze(2) + rows.unsqueeze(1), 0)
    gaps = gaps.masked_fill(wrap(devices.to_device(~counts, input.device)), 0.0)
    return _reduce((gaps.sum((1, 2)) / classes).reshape(x[:-1]), reduction)


def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``binary_cross_entropy_with_logits`` of each class, averaged over the classes (the last dimension).

    Args:
        input: logits, shape (N, C) or (..., C).
        target: probabilities, of input's shape (others broadcast).
        weight: broadcasts with input, usually (C,).
        size_average, reduce: deprecated, use ``reduction``.
        reduction: "mean", "sum" or "none" (shape (N,) then).

    Raises:
        RuntimeError: for shapes that do not fit.
    """
    name = "multilabel_soft_margin_loss"
    reduction = _reduction(name, reduction, size_average, reduce)
    x, t = _broadcast(name, *_floats(name, input=input, target=target))
    if input.ndim == 0:
        raise RuntimeError(f"{name}: expected input of shape (N, C), got ()")
    losses = _pair_loss(_BCE_WITH_LOGITS, x, t, None, "none")
    if weight is not None:
        losses = losses * weight
    dim = input.ndim - 1
    return _reduce(losses.sum(dim) / input.shape[dim], reduction)


# --------------------------------------------------------------------------------------------- losses of single pairs


class PairLoss(NamedTuple):
    """A loss of pairs (x, t): its kernels (``passes``), and its derivatives as differentiable functions of (x, t, p).

    ``target_slope`` None means that the loss is one of x - t, so that the target's gradient is input's, negated.
    """

    passes: kernels.Pairs
    slope: Callable[[Tensor, Tensor, Any], Tensor]
    target_slope: Callable[[Tensor, Tensor, Any], Tensor] | None = None


def _pair_loss(
    loss: PairLoss, x: Tensor, t: Tensor, weight: Tensor | None, reduction: str, p: Tensor | float = 1.0
) -> Tensor:
    """``loss`` of two tensors of one shape and dtype, reduced; weight and p are of that shape, or one number."""
    return PairLossFunction.apply(x, t, weight, p, loss, reduction)


class PairLossFunction(Function):
    """w * f(x, t, p) and its reduction in one pass; dx = w * df/dx * dloss in another."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, t: Tensor, weight: Tensor | None, p: Tensor | float, loss: PairLoss, reduction: str
    ) -> Tensor:
        shape = tuple(x._array.shape)
        w, p = _numbers(1.0 if weight is None else weight, x), _numbers(p, x)
        ctx.loss, ctx.reduction = loss, reduction
        ctx.save_for_backward(x, t, wrap(w), wrap(p))
        arrays = [devices.contiguous(a._array).reshape(-1) for a in (x, t)]
        n = arrays[0].size
        ctx.scale = 1.0 / n if reduction == "mean" and n else 1.0
        if reduction == "none":
            losses = devices.empty(shape, x.dtype, x.device)
            if n:
                loss.passes.forward(*arrays, w, p, losses.reshape(-1))
            return wrap(losses)
        if not n:
            return wrap(devices.full((), math.nan if reduction == "mean" else 0.0, x.dtype, x.device))
        total = devices.empty((1,), x.dtype, x.device)
        loss.passes.total(*arrays, w, p, total, ctx.scale)
        return wrap(total.reshape(()))

    @staticmethod
    def backward(ctx: Any, dloss: Tensor) -> Any:
        x, t, w, p = ctx.saved_tensors
        loss, needs = ctx.loss, ctx.needs_input_grad
        shape = tuple(x._array.shape)
        symmetric = loss.target_slope is None
        wanted = needs[0] or symmetric
        dx = dt = None
        if is_grad_enabled() or (needs[1] and not symmetric):
            w, p = [v.reshape(() if v.numel() == 1 else shape) for v in (w, p)]
            factor = dloss * ctx.scale * w
            if needs[1] and not symmetric:
                dt = loss.target_slope(x, t, p) * factor
        if wanted and is_grad_enabled():
            dx = loss.slope(x, t, p) * factor
        elif wanted:
            made = devices.empty(shape, x.dtype, x.device)
            if made.size:
                arrays = [devices.contiguous(a._array).reshape(-1) for a in (x, t, w, p, dloss)]
                loss.passes.backward(*arrays, made.reshape(-1), ctx.scale)
            dx = wrap(made)
        if needs[1] and symmetric:
            assert dx is not None
            dt = -dx
        return dx if needs[0] else None, dt, None, None, None, None


def _numbers(values: Tensor | float, like: Tensor) -> Any:
    """A (n,) array of ``like``'s dtype, or (1,) for one number."""
    if isinstance(values, Tensor):
        return devices.contiguous(values._array).reshape(-1)
    return devices.full((1,), values, like.dtype, like.device)


def _broadcast(name: str, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Both tensors in the shape to which they broadcast."""
    a, b = tuple(x._array.shape), tuple(t._array.shape)
    if a == b:
        return x, t
    shape = shapes.broadcast_shapes(name, a, b)
    return x.expand(shape), t.expand(shape)


def _pairs(name: str, input: Any, target: Any) -> tuple[Tensor, Tensor]:
    """Input and target in one shape and floating dtype, with PyTorch's warning where the shapes differ."""
    x, t = _floats(name, input=input, target=target)
    if tuple(x._array.shape) != tuple(t._array.shape):
        warnings.warn(
            f"{name}: input {tuple(input.shape)} and target {tuple(target.shape)} differ in shape and will be broadcast, "
            "which is seldom meant; make them agree",
            UserWarning,
            stacklevel=3,
        )
    return _broadcast(name, x, t)


def _weight_of(name: str, weight: Any, argument: str, x: Tensor) -> Tensor | None:
    """A weight that broadcasts to x's shape, as one number or in that shape, a constant of x's dtype."""
    if weight is None:
        return None
    _check_tensors(name, **{argument: weight})
    _check_constant(name, **{argument: weight})
    shape, given = tuple(x._array.shape), tuple(weight._array.shape)
    try:
        fits = shapes.broadcast_shapes(name, shape, given) == shape
    except RuntimeError:
        fits = False
    if not fits:
        raise RuntimeError(f"{name}: {argument} {given} does not broadcast to the shape of input {shape}")
    if weight.dtype != x.dtype:
        weight = weight.to(dtype=x.dtype)
    weight = weight.detach()
    return weight if given == shape or weight.numel() == 1 else weight.expand(shape).contiguous()


_MSE = PairLoss(kernels.mse, lambda x, t, p: (x - t) * 2)
_L1 = PairLoss(kernels.l1, lambda x, t, p: sign(x - t))
_SMOOTH_L1 = PairLoss(kernels.smooth_l1, lambda x, t, p: clamp((x - t) / p, -1, 1))
_HUBER = PairLoss(kernels.huber, lambda x, t, p: _clamped(x - t, p))
_BCE = PairLoss(
    kernels.bce,
    lambda x, t, p: (x - t) / clamp_min((1 - x) * x, 1e-12),
    lambda x, t, p: clamp_min(log(1 - x), -100) - clamp_min(log(x), -100),
)
_BCE_WITH_LOGITS = PairLoss(
    kernels.bce_with_logits,
    lambda x, t, p: (1 - t) * sigmoid(x) - p * t * sigmoid(-x),
    lambda x, t, p: -x - (p - 1) * _log_sigmoid(x),
)
_SOFT_MARGIN = PairLoss(kernels.soft_margin, lambda x, t, p: -t * sigmoid(-t * x), lambda x, t, p: -x * sigmoid(-t * x))
_KL_DIV = PairLoss(kernels.kl_div, lambda x, t, p: -t, lambda x, t, p: log(t) + 1 - x)
_KL_DIV_OF_LOGS = PairLoss(kernels.kl_div_of_logs, lambda x, t, p: -exp(t), lambda x, t, p: exp(t) * (t - x + 1))
_POISSON = PairLoss(kernels.poisson, lambda x, t, p: exp(x) - t, lambda x, t, p: -x)


def _clamped(d: Tensor, limit: Tensor) -> Tensor:
    """d within [-limit, limit], for a 0-d limit; where d is limited, its derivative is 0."""
    return where(d.abs() < limit, d, sign(d) * limit)


def _log_sigmoid(x: Tensor) -> Tensor:
    """log(1 / (1 + exp(-x))) without overflow."""
    return clamp(x, max=0) - (exp(-x.abs()) + 1).log()


def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """The squared differences (input - target)^2, averaged, summed or as they are.

    Args:
        input, target: of one shape (others broadcast, with a warning).
        size_average, reduce: deprecated, use ``reduction``.
        reduction: "mean", "sum" or "none".
        weight: of input's shape: scales the squares, and "mean" divides by its sum.

    Raises:
        ValueError: for an unknown reduction, or a weight of another shape.
        RuntimeError: for shapes that do not broadcast, or integers.
    """
    return _difference("mse_loss", _MSE, input, target, reduction, size_average, reduce, weight)


def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """The absolute differences |input - target|, averaged, summed or as they are. Arguments as ``mse_loss``."""
    return _difference("l1_loss", _L1, input, target, reduction, size_average, reduce, weight)


def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """|d| - beta / 2 for differences d of at least beta, d^2 / (2 beta) for smaller ones.

    Args:
        input, target: of one shape (others broadcast, with a warning).
        size_average, reduce: deprecated, use ``reduction``.
        reduction: "mean", "sum" or "none".
        beta: where the parabola goes over into lines; 0 is ``l1_loss``.

    Raises:
        RuntimeError: for a negative beta, shapes that do not broadcast, or integers.

    Reference: R. Girshick, "Fast R-CNN" (2015), equation 3.
    """
    if beta < 0:
        raise RuntimeError(f"smooth_l1_loss: beta must not be negative, got {beta}")
    loss = _SMOOTH_L1 if beta else _L1
    return _difference("smooth_l1_loss", loss, input, target, reduction, size_average, reduce, None, beta)


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """d^2 / 2 for differences d within delta, delta * (|d| - delta / 2) for larger ones.

    Args:
        input, target: of one shape (others broadcast, with a warning).
        reduction: "mean", "sum" or "none".
        delta: where the parabola goes over into lines.
        weight: of input's shape: scales the losses; "mean" divides by their number.

    Raises:
        ValueError: for an unknown reduction, or a weight of another shape.
        RuntimeError: for a delta that is not positive, shapes that do not broadcast, or integers.

    Reference: P. Huber, "Robust estimation of a location parameter" (1964).
    """
    if not delta > 0:
        raise RuntimeError(f"huber_loss: delta must be positive, got {delta}")
    return _difference("huber_loss", _HUBER, input, target, reduction, None, None, weight, delta, averages_weight=False)


def _difference(
    name: str,
    loss: PairLoss,
    input: Tensor,
    target: Tensor,
    reduction: str,
    size_average: bool | None,
    reduce: bool | None,
    weight: Tensor | None,
    p: float = 1.0,
    averages_weight: bool = True,
) -> Tensor:
    """A loss of input - target with an optional weight, which (as in PyTorch) may want a gradient here."""
    reduction = _reduction(name, reduction, size_average, reduce)
    given = tuple(input.shape) if isinstance(input, Tensor) else ()
    if weight is not None and (not isinstance(weight, Tensor) or tuple(weight.shape) != given):
        raise ValueError(f"{name}: expected weight of input's shape {given}, got {tuple(getattr(weight, 'shape', ()))}")
    x, t = _pairs(name, input, target)
    if weight is None:
        return _pair_loss(loss, x, t, None, reduction, p)
    if weight.requires_grad or weight.dtype != x.dtype or tuple(x.shape) != given:
        losses = _pair_loss(loss, x, t, None, "none", p) * weight
        divided = reduction == "mean" and averages_weight
        return losses.sum() / weight.sum() if divided else _reduce(losses, reduction)
    if reduction == "mean" and averages_weight:
        return _pair_loss(loss, x, t, weight, "sum", p) / weight.sum()
    return _pair_loss(loss, x, t, weight, reduction, p)


def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-t log(x) - (1 - t) log(1 - x) of probabilities x; each logarithm is at least -100, so that losses stay finite.

    Args:
        input: probabilities, any shape.
        target: probabilities, of input's shape and dtype.
        weight: broadcasts to input's shape; scales the losses ("mean" divides by their number).
        size_average, reduce: deprecated, use ``reduction``.
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: for shapes that differ, or an unknown reduction.
        RuntimeError: for dtypes that differ, or (on the CPU) values outside 0 to 1.
    """
    name = "binary_cross_entropy"
    reduction = _reduction(name, reduction, size_average, reduce)
    shapes.check_floating(name, input=input, target=target)
    _check_same_shape(name, input, target)
    weight = _weight_of(name, weight, "weight", input)
    for argument, tensor in (("input", input), ("target", target)):
        values = tensor._array
        if type(values) is np.ndarray and values.size:
            low, high = values.min(), values.max()
            if not (low >= 0 and high <= 1):
                raise RuntimeError(
                    f"{name}: all elements of {argument} must be between 0 and 1, got {low} to {high} (shape {values.shape})"
                )
    return _pair_loss(_BCE, input, target, weight, reduction)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """``binary_cross_entropy`` of sigmoid(input), computed from the logits, so that nothing overflows or is clamped.

        loss = w * (-q t log(sigmoid(x)) - (1 - t) log(1 - sigmoid(x)))

    Args:
        input: logits, any shape.
        target: probabilities, of input's shape.
        weight: w, broadcasts to input's shape ("mean" divides by the number of losses).
        size_average, reduce: deprecated, use ``reduction``.
        reduction: "mean", "sum" or "none".
        pos_weight: q, broadcasts to input's shape: the weight of positive targets, often one per class.

    Raises:
        ValueError: for shapes that differ, or an unknown reduction.
        RuntimeError: for weights that do not broadcast, or integers.
    """
    name = "binary_cross_entropy_with_logits"
    reduction = _reduction(name, reduction, size_average, reduce)
    shapes.check_floating(name, input=input)
    shapes.check_floating(name, target=target)
    _check_same_shape(name, input, target)
    x, t = operands(name, input, target)
    weight, pos_weight = _weight_of(name, weight, "weight", x), _weight_of(name, pos_weight, "pos_weight", x)
    return _pair_loss(_BCE_WITH_LOGITS, x, t, weight, reduction, 1.0 if pos_weight is None else pos_weight)


def _check_same_shape(name: str, input: Tensor, target: Tensor) -> None:
    if tuple(input.shape) != tuple(target.shape):
        raise ValueError(f"{name}: expected target of input's shape {tuple(input.shape)}, got {tuple(target.shape)}")


def sigmoid_focal_loss(
    inputs: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2, reduction: str = "none"
) -> Tensor:
    """The focal loss of independent yes-or-no decisions, as ``torchvision.ops.sigmoid_focal_loss``.

        loss = a * (1 - p)^gamma * -log(p)

    where p is the probability that sigmoid(inputs) gives to the target, and a is alpha for targets of 1, 1 - alpha for 0.

    Args:
        inputs: logits, any shape.
        targets: 0 or 1, of inputs' shape and a floating dtype.
        alpha: the weight of positive targets, 0 to 1, or -1 for none.
        gamma: how fast a decision that is right loses its weight.
        reduction: "none", "mean" or "sum".

    Raises:
        ValueError: for shapes that differ, an alpha outside of its range, or an unknown reduction.

    Reference: T.-Y. Lin et al., "Focal loss for dense object detection" (2017).
    """
    name = "sigmoid_focal_loss"
    reduction = _reduction(name, reduction)
    if not (0 <= alpha <= 1) and alpha != -1:
        raise ValueError(f"{name}: alpha must be between 0 and 1, or -1, got {alpha}")
    x, t = _floats(name, inputs=inputs, targets=targets)
    _check_same_shape(name, inputs, targets)
    surprise = _pair_loss(_BCE_WITH_LOGITS, x, t, None, "none")
    p = sigmoid(x)
    losses = surprise * (p + t - p * t * 2) ** gamma  # 1 - the target's probability
    if alpha >= 0:
        losses = losses * (t * (2 * alpha - 1) + (1 - alpha))
    return _reduce(losses, reduction)


def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """log(1 + exp(-target * input)): logistic regression with targets of 1 and -1, without overflow.

    Args:
        input, target: of shapes that broadcast.
        size_average, reduce: deprecated, use ``reduction``.
        reduction: "mean", "sum" or "none".

    Raises:
        RuntimeError: for shapes that do not broadcast, or integers.
    """
    name = "soft_margin_loss"
    reduction = _reduction(name, reduction, size_average, reduce)
    x, t = _broadcast(name, *_floats(name, input=input, target=target))
    return _pair_loss(_SOFT_MARGIN, x, t, None, reduction)


def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """The Kullback-Leibler divergence of log-probabilities from a target distribution, element by element.

        loss = t * (log(t) - x),    0 * log(0) = 0;    with log_target: exp(t) * (t - x)

    Args:
        input: x, log-probabilities, any shape.
        target: t, probabilities (or their logarithms); broadcasts with input.
        size_average, reduce: deprecated, use ``reduction``.
        reduction: "batchmean" (the divergence itself: the sum over the batch size), "sum", "none", or "mean", which
            divides by the number of elements and warns, as PyTorch does.
        log_target: target holds logarithms.

    Raises:
        ValueError: for an unknown reduction.
        RuntimeError: for shapes that do not broadcast, or integers.
    """
    name = "kl_div"
    old = size_average is not None or reduce is not None
    if not old and reduction == "mean":
        warnings.warn(
            "kl_div: reduction 'mean' divides by the number of elements; 'batchmean' divides by the batch size, and is the "
            "Kullback-Leibler divergence",
            UserWarning,
            stacklevel=2,
        )
    batchmean = not old and reduction == "batchmean"
    reduction = "sum" if batchmean else _reduction(name, reduction, size_average, reduce)
    x, t = _broadcast(name, *_floats(name, input=input, target=target))
    loss = _pair_loss(_KL_DIV_OF_LOGS if log_target else _KL_DIV, x, t, None, reduction)
    return loss / input.shape[0] if batchmean and input.ndim else loss


def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The negative log likelihood of counts under Poisson distributions.

        loss = exp(x) - t * x,    without log_input: x - t * log(x + eps)

    Args:
        input: x, the logarithm of the expected count (or the count itself), any shape.
        target: t, counts; broadcasts with input.
        log_input: input holds logarithms.
        full: add Stirling's approximation of log(t!), t log(t) - t + log(2 pi t) / 2, for targets above 1.
        size_average, reduce: deprecated, use ``reduction``.
        eps: keeps the logarithm finite.
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: for an unknown reduction.
        RuntimeError: for shapes that do not broadcast, or integers.
    """
    name = "poisson_nll_loss"
    reduction = _reduction(name, reduction, size_average, reduce)
    x, t = _broadcast(name, *_floats(name, input=input, target=target))
    if log_input and not full:
        return _pair_loss(_POISSON, x, t, None, reduction)
    losses = _pair_loss(_POISSON, x, t, None, "none") if log_input else x - t * log(x + eps)
    if full:
        few = t <= 1
        many = t.masked_fill(few, 1.0)
        stirling = many * log(many) - many + log(many * (2 * math.pi)) * 0.5
        losses = losses + stirling.masked_fill(few, 0.0)
    return _reduce(losses, reduction)


def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """The negative log likelihood of values under normal distributions: (log(v) + (x - t)^2 / v) / 2, v = max(var, eps).

    Args:
        input: x, the expected values.
        target: t, values; broadcasts with input.
        var: variances: a number, or of input's shape, or without its last dimension, or with one dimension of size 1. A
            variance that is raised to eps keeps its gradient.
        full: add log(2 pi) / 2.
        eps: the smallest variance.
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: for negative variances (on the CPU), a var of another shape, or an unknown reduction.

    Reference: D. Nix and A. Weigend, "Estimating the mean and variance of the target probability distribution" (1994).
    """
    name = "gaussian_nll_loss"
    _check_tensors(name, input=input, target=target)
    if isinstance(var, Tensor):
        given, shape = tuple(var.shape), tuple(input.shape)
        if type(var._array) is np.ndarray and (var._array < 0).any():
            raise ValueError(f"{name}: var must not be negative, got {var._array.min()} (shape {given})")
        if given != shape:
            one_apart = len(given) == len(shape) and [b for a, b in zip(shape, given, strict=True) if a != b] == [1]
            if given == shape[:-1]:
                var = var.unsqueeze(-1)
            elif not one_apart:
                raise ValueError(f"{name}: expected var of input's shape {shape}, or fitting it, got {given}")
    elif isinstance(var, float):
        if var < 0:
            raise ValueError(f"{name}: var must not be negative, got {var}")
        var = wrap(devices.full(tuple(input.shape), var, input.dtype, input.device))
    else:
        raise TypeError(f"{name}: argument 'var' must be a Tensor or a float, not {type(var).__name__}")
    reduction = _reduction(name, reduction)
    x, t, v = _floats(name, input=input, target=target, var=var)
    v = v + (clamp_min(v, eps) - v).detach()
    losses = (log(v) + (x - t) ** 2 / v) * 0.5
    if full:
        losses = losses + 0.5 * math.log(2 * math.pi)
    return _reduce(losses, reduction)


# -------------------------------------------------------------------------------------------- margins and distances


def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Of distances: x where the target is 1, max(0, margin - x) where it is -1.

    Args:
        input: x, distances, any shape.
        target: 1 or -1; broadcasts with input.
        margin: the distance that is far enough.
        size_average, reduce: deprecated, use ``reduction``.
        reduction: "mean", "sum" or "none".

    Raises:
        RuntimeError: for shapes that do not broadcast.
    """
    name = "hinge_embedding_loss"
    reduction = _reduction(name, reduction, size_average, reduce)
    _check_tensors(name, target=target)
    shapes.check_floating(name, input=input)
    shapes.broadcast_shapes(name, input.shape, target.shape)
    far = where(target != 1, clamp_min(margin - input, 0), 0.0)
    return _reduce(where(target != -1, input, 0.0) + far, reduction)


def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, -y (x1 - x2) + margin): where y is 1, x1 should rank above x2, where it is -1, below.

    Args:
        input1, input2: x1 and x2, scores.
        target: y, 1 or -1. All three have as many dimensions, and broadcast.
        margin: the difference that is enough.
        size_average, reduce: deprecated, use ``reduction``.
        reduction: "mean", "sum" or "none".

    Raises:
        RuntimeError: for shapes that do not fit.
    """
    name = "margin_ranking_loss"
    reduction = _reduction(name, reduction, size_average, reduce)
    _check_tensors(name, input1=input1, input2=input2, target=target)
    sizes = [tuple(tensor.shape) for tensor in (input1, input2, target)]
    if len({len(size) for size in sizes}) != 1:
        raise RuntimeError(
            f"{name}: expected tensors of as many dimensions, got input1 {sizes[0]}, input2 {sizes[1]}, target {sizes[2]}"
        )
    shapes.broadcast_shapes(name, *sizes)
    return _reduce(clamp_min(-target * (input1 - input2) + margin, 0), reduction)


def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Of the cosine c of the angle between vectors: 1 - c where the target is 1, max(0, c - margin) where it is -1.

    c is ``cosine_similarity`` with an eps of 1e-6.

    Args:
        input1, input2: vectors, shape (N, D), or (D,).
        target: 1 or -1, shape (N,), or ().
        margin: -1 to 1.
        size_average, reduce: deprecated, use ``reduction``.
        reduction: "mean", "sum" or "none".

    Raises:
        RuntimeError: for shapes that do not fit.
    """
    name = "cosine_embedding_loss"
    reduction = _reduction(name, reduction, size_average, reduce)
    a, b = _floats(name, input1=input1, input2=input2)
    _check_tensors(name, target=target)
    one, two, marks = tuple(a.shape), tuple(b.shape), tuple(target.shape)
    if len(marks) > 1:
        raise RuntimeError(f"{name}: expected target of shape (N,) or (), got {marks}")
    if len(one) != len(marks) + 1 or len(two) != len(marks) + 1:
        raise RuntimeError(
            f"{name}: expected inputs of {len(marks) + 1} dimensions for target {marks}, got {one} and {two}"
        )
    shape = shapes.broadcast_shapes(name, one, two)
    shapes.broadcast_shapes(name, shape[:-1], marks)
    cosine = cosine_similarity(a, b, -1, 1e-6)
    losses = where(target == 1, 1 - cosine, 0.0) + where(target == -1, clamp_min(cosine - margin, 0), 0.0)
    return _reduce(losses, reduction)


def _check_ranks(name: str, **tensors: Any) -> None:
    """Tensors of as many dimensions that broadcast."""
    _check_tensors(name, **tensors)
    sizes = {argument: tuple(tensor.shape) for argument, tensor in tensors.items()}
    if len({len(size) for size in sizes.values()}) != 1:
        listing = ", ".join(f"{argument} {size}" for argument, size in sizes.items())
        raise RuntimeError(f"{name}: expected tensors of as many dimensions, got {listing}")
    shapes.broadcast_shapes(name, *sizes.values())


def _check_margin(name: str, margin: float, argument: str = "margin") -> None:
    if not margin > 0:
        raise ValueError(f"{name}: {argument} must be greater than 0, got {margin}")


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, d(anchor, positive) - d(anchor, negative) + margin), d being ``pairwise_distance``.

    Args:
        anchor, positive, negative: vectors, shape (N, D) or (D,).
        margin: by how much the negative should be farther away; greater than 0.
        p: the distance's norm.
        eps: the distance's eps.
        swap: use d(positive, negative) where it is smaller than d(anchor, negative).
        size_average, reduce: deprecated, use ``reduction``.
        reduction: "mean", "sum" or "none" (shape (N,), or ()).

    Raises:
        ValueError: for a margin that is not positive, or an unknown reduction.
        RuntimeError: for shapes that do not fit.

    Reference: V. Balntas et al., "Learning local feature descriptors with triplets and shallow convolutional neural
    networks" (2016).
    """
    name = "triplet_margin_loss"
    reduction = _reduction(name, reduction, size_average, reduce)
    _check_margin(name, margin)
    _check_ranks(name, anchor=anchor, positive=positive, negative=negative)

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return pairwise_distance(a, b, p, eps)

    return _reduce(_triplets(anchor, positive, negative, distance, margin, swap), reduction)


def _triplets(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    distance: Callable[[Tensor, Tensor], Tensor],
    margin: float,
    swap: bool,
) -> Tensor:
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = minimum(far, distance(positive, negative))
    return clamp_min(margin + near - far, 0)


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """``triplet_margin_loss`` with any distance.

    Args:
        anchor, positive, negative: of as many dimensions.
        distance_function: (a, b) -> distances; None is ``pairwise_distance``.
        margin: by how much the negative should be farther away; greater than 0.
        swap: use the distance of positive and negative where it is smaller than that of anchor and negative.
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: for a margin that is not positive, or an unknown reduction.
        RuntimeError: for shapes that do not fit.
    """
    name = "triplet_margin_with_distance_loss"
    reduction = _reduction(name, reduction)
    _check_margin(name, margin)
    _check_ranks(name, anchor=anchor, positive=positive, negative=negative)
    distance = pairwise_distance if distance_function is None else distance_function
    return _reduce(_triplets(anchor, positive, negative, distance, margin, swap), reduction)


def quadruplet_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    other: Tensor,
    margin: float = 1.0,
    margin2: float = 0.5,
    reduction: str = "mean",
) -> Tensor:
    """The triplet loss with a second term, which pushes apart two samples that the anchor has no part in.

        loss = max(0, d(anchor, positive) - d(anchor, negative) + margin)
             + max(0, d(anchor, positive) - d(other, negative) + margin2)

    d is the squared Euclidean distance. Anchor and positive are of one class; negative and other of two more.

    Args:
        anchor, positive, negative, other: vectors, shape (N, D) or (D,).
        margin: of the first term; greater than 0.
        margin2: of the second term; greater than 0, and usually smaller than the first.
        reduction: "mean", "sum" or "none" (shape (N,), or ()).

    Raises:
        ValueError: for a margin that is not positive, or an unknown reduction.
        RuntimeError: for shapes that do not fit.

    Reference: W. Chen et al., "Beyond triplet loss: a deep quadruplet network for person re-identification" (2017),
    equation 8.
    """
    name = "quadruplet_loss"
    reduction = _reduction(name, reduction)
    _check_margin(name, margin)
    _check_margin(name, margin2, "margin2")
    _check_ranks(name, anchor=anchor, positive=positive, negative=negative, other=other)
    near = _squared_distance(anchor, positive)
    first = clamp_min(near - _squared_distance(anchor, negative) + margin, 0)
    return _reduce(first + clamp_min(near - _squared_distance(other, negative) + margin2, 0), reduction)


def _squared_distance(a: Tensor, b: Tensor) -> Tensor:
    difference = a - b
    return (difference * difference).sum(-1)


def contrastive_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 1.0, reduction: str = "mean"
) -> Tensor:
    """Of the distance d of two embeddings: d^2 / 2 for similar pairs, max(0, margin - d)^2 / 2 for dissimilar ones.

    Args:
        input1, input2: vectors, shape (N, D) or (D,).
        target: 0 for similar, 1 for dissimilar pairs (the paper's Y), shape (N,) or (), of any dtype.
        margin: the distance that is far enough; greater than 0.
        reduction: "mean", "sum" or "none" (shape (N,), or ()).

    Raises:
        ValueError: for a margin that is not positive, or an unknown reduction.
        RuntimeError: for shapes that do not fit.

    Reference: R. Hadsell, S. Chopra and Y. LeCun, "Dimensionality reduction by learning an invariant mapping" (2006),
    equation 4.
    """
    name = "contrastive_loss"
    reduction = _reduction(name, reduction)
    _check_margin(name, margin)
    a, b = _floats(name, input1=input1, input2=input2)
    _check_ranks(name, input1=a, input2=b)
    _check_tensors(name, target=target)
    expected = shapes.broadcast_shapes(name, a.shape, b.shape)[:-1]
    if tuple(target.shape) != expected or not a.ndim:
        raise RuntimeError(
            f"{name}: expected target of shape {expected} for inputs {tuple(a.shape)} and {tuple(b.shape)}, "
            f"got {tuple(target.shape)}"
        )
    dissimilar = target.to(dtype=a.dtype)
    gap = clamp_min(margin - pairwise_distance(a, b), 0)
    losses = ((1 - dissimilar) * _squared_distance(a, b) + dissimilar * (gap * gap)) * 0.5
    return _reduce(losses, reduction)


# ----------------------------------------------------------------------------------------------------- segmentation


def dice_loss(
    input: Tensor,
    target: Tensor,
    smooth: float = 1.0,
    squared: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """1 - Dice's coefficient, the overlap of a prediction with a target, for each sample and class.

        loss[n, c] = 1 - (2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth),    sums over the positions

    Args:
        input: p, probabilities, shape (N, C, d1, ...) with at least one position: softmax or sigmoid of logits.
        target: t, of input's shape and dtype; or classes (int64), shape (N, d1, ...), which are taken as one-hot.
        smooth: keeps the loss defined where a class is in neither; with 0, such a class is NaN.
        squared: sum p^2 and t^2 in the denominator, as the paper does.
        reduction: "mean", "sum" or "none" (shape (N, C)).

    Raises:
        IndexError: for a target class outside 0 ... C-1.
        ValueError: for a negative smooth, or an unknown reduction.
        RuntimeError: for shapes that do not fit.

    Reference: F. Milletari, N. Navab and S.-A. Ahmadi, "V-Net: fully convolutional neural networks for volumetric medical
    image segmentation" (2016).
    """
    name = "dice_loss"
    reduction = _reduction(name, reduction)
    if not smooth >= 0:
        raise ValueError(f"{name}: smooth must not be negative, got {smooth}")
    shapes.check_floating(name, input=input)
    _check_tensors(name, target=target)
    shape = tuple(input.shape)
    if len(shape) < 3:
        raise RuntimeError(f"{name}: expected input of shape (N, C, d1, ...), got {shape}")
    if target.dtype.kind == "f":
        if tuple(target.shape) != shape:
            raise RuntimeError(f"{name}: a floating target needs input's shape {shape}, got {tuple(target.shape)}")
        shapes.check_floating(name, input=input, target=target)
    else:
        _check_classes(name, input, target, None, -1)
        if type(target._array) is np.ndarray and target._array.size and target._array.min() < 0:
            raise IndexError(f"{name}: target {int(target._array.min())} is out of bounds for C={shape[1]} classes")
        numbers = wrap(devices.to_device(np.arange(shape[1]), input.device))
        target = (target.unsqueeze(1) == _along(numbers, 1, len(shape))).to(dtype=input.dtype)
    positions: Sequence[int] = tuple(range(2, len(shape)))
    overlap = (input * target).sum(positions)
    sizes = [(tensor * tensor if squared else tensor).sum(positions) for tensor in (input, target)]
    return _reduce(1 - (overlap * 2 + smooth) / (sizes[0] + sizes[1] + smooth), reduction)
