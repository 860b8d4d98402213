"""Loss functions of single pairs: of numbers, of probabilities, and of yes-or-no decisions.

Losses of pairs (input[i], target[i]) are a kernel each for the losses, their sum, and the gradient; they share
``PairLossFunction``. The other files of losses take what they have in common from here.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from numbanet import devices, dtypes, shapes
from numbanet.autograd import Function, is_grad_enabled
from numbanet.functional.activation import sigmoid
from numbanet.functional.arithmetic import clamp, clamp_min, exp, log, sign, where
from numbanet.kernels import loss as kernels
from numbanet.tensor import Tensor, of_one_kind, operands, wrap

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "gaussian_nll_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "mse_loss",
    "multilabel_soft_margin_loss",
    "poisson_nll_loss",
    "sigmoid_focal_loss",
    "smooth_l1_loss",
    "soft_margin_loss",
]


def reduction_name(name: str, reduction: str, size_average: bool | None = None, reduce: bool | None = None) -> str:
    """The reduction's name, also from PyTorch's two old flags."""
    if size_average is not None or reduce is not None:
        if reduce is False:
            return "none"
        return "sum" if size_average is False else "mean"
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{name}: reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    return reduction


def reduced(losses: Tensor, reduction: str) -> Tensor:
    return losses.mean() if reduction == "mean" else losses.sum() if reduction == "sum" else losses


def check_tensors(name: str, **tensors: Any) -> None:
    for argument, value in tensors.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name}: argument {argument!r} must be a Tensor, not {type(value).__name__}")


def check_constant(name: str, **tensors: Tensor | None) -> None:
    """Refuse weights that want a gradient: there is none for them, here as in PyTorch."""
    for argument, value in tensors.items():
        if value is not None and value.requires_grad and is_grad_enabled():
            raise RuntimeError(
                f"{name}: not differentiable with respect to {argument} (shape {tuple(value.shape)}); detach() it"
            )


def floats(name: str, **tensors: Any) -> list[Tensor]:
    """The tensors, promoted to one floating dtype."""
    if of_one_kind(tensors.values()):
        made = list(tensors.values())
        if made[0]._array.dtype in (dtypes.float32, dtypes.float64):
            return made
    check_tensors(name, **tensors)
    made = operands(name, *tensors.values())
    shapes.check_floating(name, **dict(zip(tensors, made, strict=True)))
    return made


class PairLoss(NamedTuple):
    """A loss of pairs (x, t): its kernels (``passes``), and its derivatives as differentiable functions of (x, t, p).

    ``target_slope`` None means that the loss is one of x - t, so that the target's gradient is input's, negated.
    """

    passes: kernels.Pairs
    slope: Callable[[Tensor, Tensor, Any], Tensor]
    target_slope: Callable[[Tensor, Tensor, Any], Tensor] | None = None


def pair_loss(
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
        array = x._array
        w, p = _numbers(1.0 if weight is None else weight, x), _numbers(p, x)
        ctx.loss = loss
        if True in ctx.needs_input_grad:
            ctx.save_for_backward(x, t, wrap(w), wrap(p))
        n = array.size
        ctx.scale = 1.0 / n if reduction == "mean" and n else 1.0
        if reduction == "none":
            losses = devices.empty(array.shape, array.dtype, x.device)
            if n:
                loss.passes.forward(_flat(x), _flat(t), w, p, losses.reshape(-1))
            return wrap(losses)
        if not n:
            return wrap(devices.full((), math.nan if reduction == "mean" else 0.0, array.dtype, x.device))
        total = devices.empty((1,), array.dtype, x.device)
        loss.passes.total(_flat(x), _flat(t), w, p, total, ctx.scale)
        return wrap(total.reshape(()))

    @staticmethod
    def backward(ctx: Any, dloss: Tensor) -> Any:
        x, t, w, p = ctx.saved_tensors
        loss, needs, with_graph = ctx.loss, ctx.needs_input_grad, is_grad_enabled()
        shape = x._array.shape
        symmetric = loss.target_slope is None
        wanted = needs[0] or symmetric
        dx = dt = None
        if with_graph or (needs[1] and not symmetric):
            w, p = [v.reshape(() if v.numel() == 1 else tuple(shape)) for v in (w, p)]
            factor = dloss * ctx.scale * w
            if needs[1] and not symmetric:
                dt = loss.target_slope(x, t, p) * factor
        if wanted and with_graph:
            dx = loss.slope(x, t, p) * factor
        elif wanted:
            made = devices.empty(shape, x._array.dtype, x.device)
            if made.size:
                loss.passes.backward(*[_flat(a) for a in (x, t, w, p, dloss)], made.reshape(-1), ctx.scale)
            dx = wrap(made)
        if needs[1] and symmetric:
            assert dx is not None
            dt = -dx
        return dx if needs[0] else None, dt, None, None, None, None


def _numbers(values: Tensor | float, like: Tensor) -> Any:
    """A (n,) array of ``like``'s dtype, or (1,) for one number."""
    if isinstance(values, Tensor):
        return _flat(values)
    return devices.constant(1, values, like._array.dtype, like.device)


def _flat(x: Tensor) -> Any:
    """The elements in order, (n,)."""
    return devices.contiguous(x._array).reshape(-1)


def broadcast(name: str, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Both tensors in the shape to which they broadcast."""
    a, b = tuple(x._array.shape), tuple(t._array.shape)
    if a == b:
        return x, t
    shape = shapes.broadcast_shapes(name, a, b)
    return x.expand(shape), t.expand(shape)


def _pairs(name: str, input: Any, target: Any) -> tuple[Tensor, Tensor]:
    """Input and target in one shape and floating dtype, with PyTorch's warning where the shapes differ."""
    x, t = floats(name, input=input, target=target)
    if x._array.shape == t._array.shape:
        return x, t
    warnings.warn(
        f"{name}: input {tuple(input.shape)} and target {tuple(target.shape)} differ in shape and will be broadcast, "
        "which is seldom meant; make them agree",
        UserWarning,
        stacklevel=3,
    )
    return broadcast(name, x, t)


def _weight_of(name: str, weight: Any, argument: str, x: Tensor) -> Tensor | None:
    """A weight that broadcasts to x's shape, as one number or in that shape, a constant of x's dtype."""
    if weight is None:
        return None
    check_tensors(name, **{argument: weight})
    check_constant(name, **{argument: weight})
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
HINGE_EMBEDDING = PairLoss(
    kernels.hinge_embedding, lambda x, t, p: _kind((t != 1) * (x <= p), x) * -1 + _kind(t != -1, x)
)
COSINE_EMBEDDING = PairLoss(kernels.cosine_embedding, lambda x, t, p: _kind((t == -1) * (x >= p), x) - _kind(t == 1, x))
MARGIN_RANKING = PairLoss(
    kernels.margin_ranking,
    lambda x, t, p: -t * _kind(p - t * x >= 0, x),
    lambda x, t, p: -x * _kind(p - t * x >= 0, x),
)
MARGIN = PairLoss(kernels.margin, lambda x, t, p: _kind(p + x - t >= 0, x))  # max(0, p + x - t)
_POISSON = PairLoss(kernels.poisson, lambda x, t, p: exp(x) - t, lambda x, t, p: -x)


def _kind(truth: Tensor, x: Tensor) -> Tensor:
    """1 and 0 of x's dtype for True and False."""
    return truth.to(dtype=x.dtype)


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
    """The absolute differences |input - target|, averaged, summed or as they are. Arguments as ``mse_loss``.

    Integers have no mean, and no weight; bools have no difference (RuntimeError).
    """
    check_tensors("l1_loss", input=input, target=target)
    kinds = {input.dtype.kind, target.dtype.kind}
    if "b" in kinds:
        raise RuntimeError(
            f"l1_loss: bools have no difference (input {input.dtype}, target {target.dtype}); convert them with .float()"
        )
    if kinds <= {"i", "u"} and weight is None:
        reduction = reduction_name("l1_loss", reduction, size_average, reduce)
        if reduction != "mean":
            shapes.broadcast_shapes("l1_loss", input.shape, target.shape)
            return reduced((input - target).abs(), reduction)
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
    reduction = reduction_name(name, reduction, size_average, reduce)
    if weight is None:
        return pair_loss(loss, *_pairs(name, input, target), None, reduction, p)
    given = tuple(input.shape) if isinstance(input, Tensor) else ()
    if not isinstance(weight, Tensor) or tuple(weight.shape) != given:
        raise ValueError(f"{name}: expected weight of input's shape {given}, got {tuple(getattr(weight, 'shape', ()))}")
    x, t = _pairs(name, input, target)
    if weight.requires_grad or weight.dtype != x.dtype or tuple(x.shape) != given:
        losses = pair_loss(loss, x, t, None, "none", p) * weight
        divided = reduction == "mean" and averages_weight
        return losses.sum() / weight.sum() if divided else reduced(losses, reduction)
    if reduction == "mean" and averages_weight:
        return pair_loss(loss, x, t, weight, "sum", p) / weight.sum()
    return pair_loss(loss, x, t, weight, reduction, p)


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
    reduction = reduction_name(name, reduction, size_average, reduce)
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
    return pair_loss(_BCE, input, target, weight, reduction)


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
    reduction = reduction_name(name, reduction, size_average, reduce)
    shapes.check_floating(name, input=input)
    shapes.check_floating(name, target=target)
    _check_same_shape(name, input, target)
    x, t = operands(name, input, target)
    weight, pos_weight = _weight_of(name, weight, "weight", x), _weight_of(name, pos_weight, "pos_weight", x)
    return pair_loss(_BCE_WITH_LOGITS, x, t, weight, reduction, 1.0 if pos_weight is None else pos_weight)


def _check_same_shape(name: str, input: Tensor, target: Tensor) -> None:
    if tuple(input.shape) != tuple(target.shape):
        raise ValueError(f"{name}: expected target of input's shape {tuple(input.shape)}, got {tuple(target.shape)}")


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
    reduction = reduction_name(name, reduction, size_average, reduce)
    x, t = broadcast(name, *floats(name, input=input, target=target))
    if input.ndim == 0:
        raise RuntimeError(f"{name}: expected input of shape (N, C), got ()")
    losses = pair_loss(_BCE_WITH_LOGITS, x, t, None, "none")
    if weight is not None:
        losses = losses * weight
    dim = input.ndim - 1
    return reduced(losses.sum(dim) / input.shape[dim], reduction)


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
    reduction = reduction_name(name, reduction)
    if not (0 <= alpha <= 1) and alpha != -1:
        raise ValueError(f"{name}: alpha must be between 0 and 1, or -1, got {alpha}")
    x, t = floats(name, inputs=inputs, targets=targets)
    _check_same_shape(name, inputs, targets)
    surprise = pair_loss(_BCE_WITH_LOGITS, x, t, None, "none")
    p = sigmoid(x)
    losses = surprise * (p + t - p * t * 2) ** gamma  # 1 - the target's probability
    if alpha >= 0:
        losses = losses * (t * (2 * alpha - 1) + (1 - alpha))
    return reduced(losses, reduction)


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
    reduction = reduction_name(name, reduction, size_average, reduce)
    x, t = broadcast(name, *floats(name, input=input, target=target))
    return pair_loss(_SOFT_MARGIN, x, t, None, reduction)


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
    reduction = "sum" if batchmean else reduction_name(name, reduction, size_average, reduce)
    x, t = broadcast(name, *floats(name, input=input, target=target))
    loss = pair_loss(_KL_DIV_OF_LOGS if log_target else _KL_DIV, x, t, None, reduction)
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
    reduction = reduction_name(name, reduction, size_average, reduce)
    x, t = broadcast(name, *floats(name, input=input, target=target))
    if log_input and not full:
        return pair_loss(_POISSON, x, t, None, reduction)
    losses = pair_loss(_POISSON, x, t, None, "none") if log_input else x - t * log(x + eps)
    if full:
        few = t <= 1
        many = t.masked_fill(few, 1.0)
        stirling = many * log(many) - many + log(many * (2 * math.pi)) * 0.5
        losses = losses + stirling.masked_fill(few, 0.0)
    return reduced(losses, reduction)


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
    check_tensors(name, input=input, target=target)
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
    reduction = reduction_name(name, reduction)
    x, t, v = floats(name, input=input, target=target, var=var)
    v = v + (clamp_min(v, eps) - v).detach()
    losses = (log(v) + (x - t) ** 2 / v) * 0.5
    if full:
        losses = losses + 0.5 * math.log(2 * math.pi)
    return reduced(losses, reduction)
