"""Loss functions."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from numbanet import devices, shapes
from numbanet.autograd import Function, is_grad_enabled
from numbanet.functional.activation import log_softmax, softmax
from numbanet.kernels import reduction as reduction_kernels
from numbanet.kernels import softmax as kernels
from numbanet.tensor import Tensor, wrap

__all__ = ["cross_entropy", "l1_loss", "mse_loss", "nll_loss"]


def _reduction(name: str, reduction: str, size_average: bool | None, reduce: bool | None) -> str:
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
        target: classes (int64), shape (), (N,) or (N, d1, ...); or probabilities, of input's shape and a floating dtype.
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
    if not isinstance(target, Tensor):
        raise TypeError(f"cross_entropy: argument 'target' must be a Tensor, not {type(target).__name__}")
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"cross_entropy: label_smoothing must be between 0 and 1, got {label_smoothing}")
    if target.dtype.kind == "f":
        return _cross_entropy_of_probabilities(input, target, weight, reduction, label_smoothing)
    _check_classes("cross_entropy", input, target, weight, ignore_index)
    if weight is not None or label_smoothing:
        log_p = log_softmax(input, 1 if input.ndim > 1 else 0)
        return _weighted_nll(log_p, target, weight, ignore_index, reduction, label_smoothing)
    if input.ndim == 2:
        return CrossEntropyFunction.apply(input, target, reduction, ignore_index)
    if input.ndim == 1:  # (C,) to (1, C)
        loss = CrossEntropyFunction.apply(input.unsqueeze(0), target.reshape(1), reduction, ignore_index)
        return loss.reshape(()) if reduction == "none" else loss
    classes = input.shape[1]  # (N, C, d1, ...) to (N d1 ..., C)
    rows = input.movedim(1, -1).reshape(-1, classes)
    loss = CrossEntropyFunction.apply(rows, target.reshape(-1), reduction, ignore_index)
    return loss.reshape(target.shape) if reduction == "none" else loss


def _check_classes(name: str, input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int) -> None:
    """Check the shapes of logits and class targets, and (on the CPU) that every target is a class."""
    x, t = input._array.shape, target._array.shape
    if not x:
        raise RuntimeError(f"{name}: expected input of shape (C,), (N, C) or (N, C, d1, ...), got ()")
    classes = x[0] if len(x) == 1 else x[1]
    if len(x) > 1 and t and t[0] != x[0]:
        raise ValueError(f"{name}: input has N={x[0]} samples but target has {t[0]} (input {x}, target {t})")
    expected = () if len(x) == 1 else (x[0], *x[2:])
    if t != expected:
        raise RuntimeError(f"{name}: expected target of shape {expected} for input {x}, got {t}")
    if target.dtype.kind not in "iu":
        raise RuntimeError(f"{name}: expected target of dtype int64, got {target.dtype}")
    if weight is not None and weight._array.shape != (classes,):
        raise RuntimeError(f"{name}: expected weight of shape ({classes},) for input {x}, got {weight._array.shape}")
    values = target._array
    # On CUDA looking at the values would wait for the device at every step.
    if type(values) is not np.ndarray or not values.size:
        return
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= classes:
        wrong = values[(values != ignore_index) & ((values < 0) | (values >= classes))]
        if wrong.size:
            raise IndexError(f"{name}: target {int(wrong[0])} is out of bounds for C={classes} classes (input {x})")


def _cross_entropy_of_probabilities(
    input: Tensor, target: Tensor, weight: Tensor | None, reduction: str, label_smoothing: float
) -> Tensor:
    """-sum over classes of w * p * log_softmax(input); the mean is over samples, not over weights."""
    x = input._array.shape
    if target._array.shape != x:
        raise RuntimeError(
            f"cross_entropy: a floating target holds probabilities and needs input's shape {x}, got {target._array.shape}"
        )
    dim = 1 if len(x) > 1 else 0
    classes = x[dim]
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / classes
    scores = log_softmax(input, dim) * target
    if weight is not None:
        scores = scores * weight.reshape(classes, *(1,) * (len(x) - dim - 1))
    losses = -scores.sum(dim)
    if reduction == "mean":
        return losses.sum() / max(1, losses.numel())
    return _reduce(losses, reduction)


def _weighted_nll(
    log_p: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float = 0.0,
) -> Tensor:
    """The loss of log-probabilities by tensor operations: with class weights, smoothing, or dimensions after C."""
    dim = 1 if log_p.ndim > 1 else 0
    classes = log_p.shape[dim]
    counted = target != ignore_index
    index = target.masked_fill(counted.logical_not(), 0).long()
    share = counted.to(dtype=log_p.dtype)  # 1 for counted samples, 0 for ignored ones
    if weight is not None:
        share = share * weight[index]
    # An ignored sample's logits may be infinite, and 0 * inf is NaN: hence where, not only the product.
    picked = -log_p.gather(dim, index.unsqueeze(dim)).squeeze(dim)
    losses = picked.masked_fill(counted.logical_not(), 0.0) * share
    if label_smoothing:
        scaled = log_p if weight is None else log_p * weight.reshape(classes, *(1,) * (log_p.ndim - dim - 1))
        smooth = (-scaled.sum(dim)).masked_fill(counted.logical_not(), 0.0)
        losses = losses * (1 - label_smoothing) + smooth * (label_smoothing / classes)
    if reduction == "mean":
        return losses.sum() / share.sum()
    return _reduce(losses, reduction)


class CrossEntropyFunction(Function):
    """loss[n] = log(sum(exp(x[n]))) - x[n, t[n]], fused with the reduction; dx = (softmax(x) - onehot(t)) * dloss."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, target: Tensor, reduction: str, ignore_index: int) -> Tensor:
        logits = devices.contiguous(x._array)
        classes = devices.contiguous(target._array if target._array.dtype == np.int64 else target.long()._array)
        n = logits.shape[0]
        losses, lse = [devices.empty((n,), logits.dtype, x.device) for _ in range(2)]
        if logits.size:
            kernels.cross_entropy_forward(logits, classes, losses, lse, ignore_index)
        ctx.settings = reduction, ignore_index
        ctx.count = _count(classes, ignore_index) if reduction == "mean" else 1
        ctx.save_for_backward(x, wrap(classes), wrap(lse))
        if reduction == "none":
            return wrap(losses)
        total = devices.empty((1, 1), logits.dtype, x.device)
        reduction_kernels.sum_(losses.reshape(1, n, 1), total)
        loss = wrap(total.reshape(()))
        if reduction == "sum":
            return loss
        if x.is_cuda:
            return loss / ctx.count
        with np.errstate(invalid="ignore"):  # no target counts: NaN
            total /= ctx.count
        return loss

    @staticmethod
    def backward(ctx: Any, dloss: Tensor) -> Any:
        x, target, lse = ctx.saved_tensors
        reduction, ignore_index = ctx.settings
        on_host = reduction != "none" and not x.is_cuda and not is_grad_enabled()
        scale = dloss if reduction != "mean" or on_host else dloss / ctx.count  # () or (N,)
        if is_grad_enabled():
            counted = (target != ignore_index).unsqueeze(1)
            index = target.masked_fill(target == ignore_index, 0)
            p = softmax(x, 1) - index.unsqueeze(1).eq(_arange(x)).to(dtype=x.dtype)
            return (p * scale.reshape(-1, 1)).masked_fill(counted.logical_not(), 0.0), None, None, None
        dx = devices.empty(x._array.shape, x.dtype, x.device)
        n = x._array.shape[0]
        if on_host:
            with np.errstate(divide="ignore", invalid="ignore"):
                scales = devices.full((n,), float(scale._array) / ctx.count, x.dtype)
        else:
            scales = devices.contiguous(scale.expand(n)._array)
        if dx.size:
            kernels.cross_entropy_backward(
                devices.contiguous(x._array),
                target._array,
                lse._array,
                scales,
                dx,
                ignore_index,
            )
        return wrap(dx), None, None, None


def _count(classes: Any, ignore_index: int) -> Any:
    """How many targets count: an int on the CPU, a 0-d tensor on CUDA, where reading it would wait for the device."""
    if type(classes) is np.ndarray:
        # A count of 0 makes the mean NaN, as in PyTorch.
        return np.float64(classes.size - np.count_nonzero(classes == ignore_index))
    return (wrap(classes) != ignore_index).sum()


def _arange(x: Tensor) -> Tensor:
    return wrap(devices.to_device(np.arange(x.shape[1]), x.device))


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
        target: classes (int64), shape (), (N,) or (N, d1, ...).
        weight, size_average, ignore_index, reduce, reduction: as in ``cross_entropy``.
    """
    reduction = _reduction("nll_loss", reduction, size_average, reduce)
    shapes.check_floating("nll_loss", input=input, weight=weight)
    if not isinstance(target, Tensor):
        raise TypeError(f"nll_loss: argument 'target' must be a Tensor, not {type(target).__name__}")
    _check_classes("nll_loss", input, target, weight, ignore_index)
    return _weighted_nll(input, target, weight, ignore_index, reduction)


# ------------------------------------------------------------------------------------------------------ regression


def _pairs(name: str, input: Any, target: Any) -> None:
    for argument, value in (("input", input), ("target", target)):
        if not isinstance(value, Tensor):
            raise TypeError(f"{name}: argument {argument!r} must be a Tensor, not {type(value).__name__}")
    if input._array.shape != target._array.shape:
        warnings.warn(
            f"{name}: input {tuple(input.shape)} and target {tuple(target.shape)} differ in shape and will be broadcast, "
            "which is seldom meant; make them agree",
            UserWarning,
            stacklevel=3,
        )


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
    """
    reduction = _reduction("mse_loss", reduction, size_average, reduce)
    _pairs("mse_loss", input, target)
    difference = input - target
    return _weighted_mean("mse_loss", difference * difference, weight, reduction)


def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """The absolute differences |input - target|, averaged, summed or as they are. Arguments as ``mse_loss``."""
    reduction = _reduction("l1_loss", reduction, size_average, reduce)
    _pairs("l1_loss", input, target)
    return _weighted_mean("l1_loss", (input - target).abs(), weight, reduction)


def _weighted_mean(name: str, losses: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    if weight is None:
        return _reduce(losses, reduction)
    if weight._array.shape != losses._array.shape:
        raise ValueError(f"{name}: expected weight of shape {tuple(losses.shape)}, got {tuple(weight.shape)}")
    losses = losses * weight
    return losses.sum() / weight.sum() if reduction == "mean" else _reduce(losses, reduction)
