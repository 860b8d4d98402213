"""Loss functions of classes: cross entropy and its relatives, and the overlap of segmentations.

Cross-entropy is fused with softmax. The others are expressions of differentiable functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from numbanet import devices, shapes
from numbanet.autograd import Function, is_grad_enabled
from numbanet.functional.activation import log_softmax, softmax
from numbanet.functional.arithmetic import clamp_min, exp
from numbanet.functional.loss import check_constant, check_tensors, reduced, reduction_name
from numbanet.kernels import loss as kernels
from numbanet.kernels import reduction as reduction_kernels
from numbanet.kernels import softmax as softmax_kernels
from numbanet.tensor import Tensor, wrap

__all__ = [
    "cross_entropy",
    "dice_loss",
    "focal_loss",
    "nll_loss",
]


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
    reduction = reduction_name("cross_entropy", reduction, size_average, reduce)
    shapes.check_floating("cross_entropy", input=input, weight=weight)
    check_tensors("cross_entropy", target=target)
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"cross_entropy: label_smoothing must be between 0 and 1, got {label_smoothing}")
    if target.dtype.kind == "f":
        if ignore_index >= 0:
            raise RuntimeError(f"cross_entropy: a floating target has no ignore_index, got {ignore_index}")
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
    check_constant(name, weight=weight)
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
    return reduced(losses, reduction)


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
            q = (q * _scales_with_graph(ctx, dloss, target)).masked_fill(ignored, 0.0)
            dx = softmax(x.reshape(shape), 1) * q.sum(1, keepdim=True) - q
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
    reduction = reduction_name("nll_loss", reduction, size_average, reduce)
    shapes.check_floating("nll_loss", input=input, weight=weight)
    check_tensors("nll_loss", target=target)
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
    reduction = reduction_name("focal_loss", reduction)
    if not gamma >= 0:
        raise ValueError(f"focal_loss: gamma must not be negative, got {gamma}")
    shapes.check_floating("focal_loss", input=input, weight=weight)
    check_tensors("focal_loss", target=target)
    _check_classes("focal_loss", input, target, weight, ignore_index)
    surprise = CrossEntropyFunction.apply(input, target, None, "none", ignore_index, 0.0, False)
    losses = surprise if gamma == 0 else surprise * clamp_min(1 - exp(-surprise), 0) ** gamma
    if weight is None and reduction != "mean":
        return reduced(losses, reduction)
    counted = target != ignore_index
    shares = counted.to(dtype=input.dtype)
    if weight is not None:
        shares = shares * weight[target.masked_fill(counted.logical_not(), 0).long()]
        losses = losses * shares
    return losses.sum() / shares.sum() if reduction == "mean" else reduced(losses, reduction)


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
    reduction = reduction_name(name, reduction)
    if not smooth >= 0:
        raise ValueError(f"{name}: smooth must not be negative, got {smooth}")
    shapes.check_floating(name, input=input)
    check_tensors(name, target=target)
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
    return reduced(1 - (overlap * 2 + smooth) / (sizes[0] + sizes[1] + smooth), reduction)
