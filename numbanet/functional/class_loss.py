"""Loss functions of classes: cross entropy and its relatives, and the overlap of segmentations.

Cross-entropy is fused with softmax. The others are expressions of differentiable functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from numbanet import devices, dtypes, shapes
from numbanet.autograd import Function, is_grad_enabled
from numbanet.functional.activation import log_softmax, softmax
from numbanet.functional.arithmetic import clamp_min, exp
from numbanet.functional.loss import check_constant, check_tensors, reduced, reduction_name
from numbanet.kernels import loss as kernels
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
    if target.is_floating_point():
        if ignore_index >= 0:
            raise RuntimeError(f"cross_entropy: a floating target has no ignore_index, got {ignore_index}")
        return _cross_entropy_of_probabilities(input, target, weight, reduction, label_smoothing)
    classes = _classes("cross_entropy", input, target, weight)
    return CrossEntropyFunction.apply(input, classes, reduction, ignore_index, float(label_smoothing))


class _Classes(NamedTuple):
    """Logits (or log-probabilities) and targets as the kernels want them."""

    name: str
    x: Any  # (outer, C, inner)
    target: Any  # (outer, inner), int64
    weight: Any  # (C,)
    shape: tuple[int, ...]  # of the logits as they were given


def _classes(name: str, input: Tensor, target: Tensor, weight: Tensor | None) -> _Classes:
    """Check the shapes and dtypes of logits and class targets.

    Raises:
        As ``cross_entropy``, but for targets out of range, which the kernels notice.
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
    dtype = target._array.dtype
    if dtype not in (dtypes.int64, dtypes.uint8):
        raise RuntimeError(f"{name}: expected target of dtype int64 (or uint8), got {dtype}")
    if weight is not None:
        if tuple(weight._array.shape) != (classes,):
            raise RuntimeError(
                f"{name}: expected weight of shape ({classes},) for input {x}, got {tuple(weight._array.shape)}"
            )
        check_constant(name, weight=weight)
    outer, inner = (1, 1) if len(x) == 1 else (x[0], math.prod(x[2:]))
    logits = devices.contiguous(input._array).reshape(outer, classes, inner)
    labels = devices.contiguous(target._array if dtype == dtypes.int64 else target.long()._array)
    if weight is None:
        weights = devices.constant(classes, 1.0, logits.dtype, input.device)
    else:
        weights = devices.contiguous(weight._array)
    return _Classes(name, logits, labels.reshape(outer, inner), weights, x)


def _check_targets(classes: _Classes, ignore_index: int) -> None:
    """Refuse targets that are no class, on the CPU: on CUDA looking at them would wait for the device at every step."""
    target, n = classes.target, classes.x.shape[1]
    if type(target) is np.ndarray:
        wrong = target[(target != ignore_index) & ((target < 0) | (target >= n))]
        if wrong.size:
            raise IndexError(
                f"{classes.name}: target {int(wrong[0])} is out of bounds for C={n} classes (input {classes.shape})"
            )


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
        return losses.sum() / math.prod((*x[:dim], *x[dim + 1 :]))
    return reduced(losses, reduction)


def _along(values: Tensor, dim: int, ndim: int) -> Tensor:
    """A (C,) tensor shaped to broadcast along one dimension of a tensor of ``ndim`` dimensions."""
    return values.reshape(-1, *(1,) * (ndim - dim - 1))


def _forward_of_classes(ctx: Any, x: Tensor, classes: _Classes, reduction: str, ignore_index: int, run: Any) -> Tensor:
    """What ``CrossEntropyFunction`` and ``NLLFunction`` have in common; ``run(losses, sums)`` calls the kernel."""
    shape, dtype = tuple(x._array.shape), x._array.dtype
    wide = dtypes.widened(dtype)
    if type(x._array) is np.ndarray:
        losses, sums = np.empty(classes.target.shape if reduction == "none" else (0, 0), dtype), np.empty(3, wide)
    else:
        losses = devices.empty(tuple(classes.target.shape) if reduction == "none" else (0, 0), dtype, x.device)
        sums = devices.empty((3,), wide, x.device)
    if classes.x.size:
        run(losses, sums)
        if type(sums) is np.ndarray and sums[2]:
            _check_targets(classes, ignore_index)
    else:  # no samples, or no classes, so that every target must be ignored
        _check_targets(classes, ignore_index)
        losses, sums = [devices.full(tuple(a.shape), 0, dtype, x.device) for a in (losses, sums)]
    if reduction != "mean":
        ctx.mass = 1
    else:  # of 0 it makes NaN, as in PyTorch; a number on the CPU, a tensor on CUDA, where reading it would wait
        ctx.mass = wrap(sums)[1] if x.is_cuda else sums[1].item()
    if reduction == "none":
        return wrap(losses.reshape((*shape[:1], *shape[2:]) if len(shape) > 1 else ()))
    if x.is_cuda:
        return (wrap(sums)[0] / ctx.mass if reduction == "mean" else wrap(sums)[0]).to(dtype=dtype)
    total = sums[0].item()
    return wrap(np.array(total / ctx.mass if ctx.mass else math.nan, dtype))


def _scales(ctx: Any, dloss: Tensor, target: Tensor) -> Any:
    """What each target's loss weighs in the gradient: an array (outer, inner), or (1, 1) where it is one number."""
    if dloss._array.ndim:
        return devices.contiguous(dloss._array).reshape(tuple(target._array.shape))
    if dloss.is_cuda:
        return (dloss / ctx.mass).to(dtype=dloss.dtype)._array.reshape(1, 1)
    value = dloss._array.item()
    return np.full((1, 1), value / ctx.mass if ctx.mass else math.copysign(math.inf, value), dloss._array.dtype)


def _scales_with_graph(ctx: Any, dloss: Tensor, target: Tensor) -> Tensor:
    """As ``_scales``, differentiable, and broadcasting with (outer, C, inner)."""
    return dloss.reshape(target.shape[0], 1, target.shape[1]) if dloss.ndim else dloss / ctx.mass


def _marks(target: Tensor, ignore_index: int, classes: int) -> tuple[Tensor, Tensor]:
    """(whether each target is ignored, (outer, 1, inner); whether each class is its target, (outer, classes, inner))."""
    target = target.unsqueeze(1)
    numbers = wrap(devices.to_device(np.arange(classes).reshape(1, classes, 1), target.device))
    return target == ignore_index, target == numbers


class CrossEntropyFunction(Function):
    """Softmax, logarithm, pick and reduction in one; dx = (sum of q * softmax(x) - q) * dloss (q: see the kernel)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, classes: _Classes, reduction: str, ignore_index: int, smoothing: float) -> Tensor:
        shape, wide = tuple(classes.target.shape), dtypes.widened(x._array.dtype)
        lse = np.empty(shape, wide) if type(x._array) is np.ndarray else devices.empty(shape, wide, x.device)
        ctx.settings = ignore_index, smoothing
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(x, wrap(classes.target), wrap(classes.weight), wrap(lse))

        def run(losses: Any, sums: Any) -> None:
            softmax_kernels.cross_entropy_forward(*classes[1:4], losses, lse, sums, ignore_index, smoothing)

        return _forward_of_classes(ctx, x, classes, reduction, ignore_index, run)

    @staticmethod
    def backward(ctx: Any, dloss: Tensor) -> Any:
        x, target, weight, lse = ctx.saved_tensors
        ignore_index, smoothing = ctx.settings
        outer, inner = target._array.shape
        shape = (outer, weight._array.size, inner)
        if is_grad_enabled():
            ignored, onehot = _marks(target, ignore_index, shape[1])
            weights = weight.reshape(1, -1, 1)
            q = onehot.to(dtype=x.dtype) * weights * (1 - smoothing) + weights * (smoothing / max(1, shape[1]))
            q = (q * _scales_with_graph(ctx, dloss, target)).masked_fill(ignored, 0.0)
            dx = softmax(x.reshape(shape), 1) * q.sum(1, keepdim=True) - q
            return dx.reshape(x.shape), None, None, None, None
        dx = devices.empty(shape, x._array.dtype, x.device)
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
        return wrap(dx.reshape(x._array.shape)), None, None, None, None


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
    classes = _classes("nll_loss", input, target, weight)
    return NLLFunction.apply(input, classes, reduction, ignore_index)


class NLLFunction(Function):
    """loss[n] = -w[t[n]] * x[n, t[n]], fused with the reduction; dx is -w[t[n]] * dloss at t[n], and 0 elsewhere."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, classes: _Classes, reduction: str, ignore_index: int) -> Tensor:
        ctx.ignore_index = ignore_index
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(x, wrap(classes.target), wrap(classes.weight))

        def run(losses: Any, sums: Any) -> None:
            kernels.nll_forward(*classes[1:4], losses, sums, ignore_index)

        return _forward_of_classes(ctx, x, classes, reduction, ignore_index, run)

    @staticmethod
    def backward(ctx: Any, dloss: Tensor) -> Any:
        x, target, weight = ctx.saved_tensors
        ignore_index = ctx.ignore_index
        outer, inner = target._array.shape
        shape = (outer, weight._array.size, inner)
        if is_grad_enabled():
            ignored, onehot = _marks(target, ignore_index, shape[1])
            q = (onehot.to(dtype=x.dtype) * weight.reshape(1, -1, 1)).masked_fill(ignored, 0.0)
            dx = -q * _scales_with_graph(ctx, dloss, target)
            return dx.reshape(x.shape), None, None, None
        dx = devices.empty(shape, x._array.dtype, x.device)
        if dx.size:
            kernels.nll_backward(target._array, weight._array, _scales(ctx, dloss, target), dx, ignore_index)
        return wrap(dx.reshape(x._array.shape)), None, None, None


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
    classes = _classes("focal_loss", input, target, weight)
    if weight is not None:
        classes = classes._replace(weight=devices.constant(classes.x.shape[1], 1.0, input._array.dtype, input.device))
    surprise = CrossEntropyFunction.apply(input, classes, "none", ignore_index, 0.0)
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
    if target.is_floating_point():
        if tuple(target.shape) != shape:
            raise RuntimeError(f"{name}: a floating target needs input's shape {shape}, got {tuple(target.shape)}")
        shapes.check_floating(name, input=input, target=target)
    else:
        _check_targets(_classes(name, input, target, None), -1)
        if type(target._array) is np.ndarray and target._array.size and target._array.min() < 0:
            raise IndexError(f"{name}: target {int(target._array.min())} is out of bounds for C={shape[1]} classes")
        numbers = wrap(devices.to_device(np.arange(shape[1]), input.device))
        target = (target.unsqueeze(1) == _along(numbers, 1, len(shape))).to(dtype=input.dtype)
    positions: Sequence[int] = tuple(range(2, len(shape)))
    overlap = (input * target).sum(positions)
    sizes = [(tensor * tensor if squared else tensor).sum(positions) for tensor in (input, target)]
    return reduced(1 - (overlap * 2 + smooth) / (sizes[0] + sizes[1] + smooth), reduction)
