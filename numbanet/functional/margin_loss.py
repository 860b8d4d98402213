"""Loss functions of margins and distances: losses of pairs, and expressions of differentiable functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from numbanet import devices, shapes
from numbanet.functional import finding
from numbanet.functional.arithmetic import clamp_min, logical_and, logical_not, minimum, where
from numbanet.functional.distance import cosine_similarity, pairwise_distance
from numbanet.functional.loss import (
    COSINE_EMBEDDING,
    HINGE_EMBEDDING,
    MARGIN,
    MARGIN_RANKING,
    broadcast,
    check_constant,
    check_tensors,
    floats,
    pair_loss,
    reduced,
    reduction_name,
)
from numbanet.functional.reduction import cumsum
from numbanet.tensor import Tensor, operands, wrap, zeros_like

__all__ = [
    "contrastive_loss",
    "cosine_embedding_loss",
    "hinge_embedding_loss",
    "margin_ranking_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "quadruplet_loss",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]


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
    reduction = reduction_name(name, reduction, size_average, reduce)
    if p not in (1, 2):
        raise ValueError(f"{name}: p must be 1 or 2, got {p}")
    shapes.check_floating(name, input=input, weight=weight)
    check_tensors(name, target=target)
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
    check_constant(name, weight=weight)
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
    return reduced(losses.reshape(t), reduction)


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
    reduction = reduction_name(name, reduction, size_average, reduce)
    shapes.check_floating(name, input=input)
    check_tensors(name, target=target)
    x, t = tuple(input.shape), tuple(target.shape)
    if len(x) not in (1, 2) or not x[-1]:
        raise RuntimeError(f"{name}: expected input of shape (N, C) or (C,) with C > 0, got {x}")
    if t != x:
        raise RuntimeError(f"{name}: expected target of input's shape {x}, got {t}")
    if target.dtype != np.int64:
        raise RuntimeError(f"{name}: expected target of dtype int64, got {target.dtype}")
    shapes.check_one_device(name, input, target)
    classes = x[-1]
    if target.is_cuda and x[0]:
        low, high = finding.extent(target._array)
        if low < -1 or high >= classes:
            raise RuntimeError(f"{name}: target {low if low < -1 else high} is out of range for C={classes} classes")
        written, classes_of, apart = _written_labels(target.reshape(-1, classes))
        gaps = clamp_min(
            1 - input.reshape(-1, classes).gather(1, classes_of).unsqueeze(2) + input.reshape(-1, 1, classes), 0
        )
        gaps = gaps.masked_fill(logical_not(logical_and(written.unsqueeze(2), apart.unsqueeze(1))), 0.0)
        return reduced((gaps.sum((1, 2)) / classes).reshape(x[:-1]), reduction)
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
    return reduced((gaps.sum((1, 2)) / classes).reshape(x[:-1]), reduction)


def _written_labels(target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """On CUDA, of labels (rows, classes): which are given, they (0 elsewhere), and which classes are none of them."""
    given = cumsum((target < 0).to(dtype=np.int64), 1) == 0  # before a row's first negative number
    labels = where(given, target, 0)
    apart = zeros_like(labels).scatter_add(1, labels, given.to(dtype=np.int64)) == 0
    return given, labels, apart


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
    reduction = reduction_name(name, reduction, size_average, reduce)
    check_tensors(name, target=target)
    shapes.check_floating(name, input=input)
    shapes.broadcast_shapes(name, input.shape, target.shape)
    x, t = broadcast(name, input, target.detach().to(dtype=input.dtype))
    return pair_loss(HINGE_EMBEDDING, x, t, None, reduction, margin)


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
    reduction = reduction_name(name, reduction, size_average, reduce)
    check_tensors(name, input1=input1, input2=input2, target=target)
    sizes = [tuple(tensor.shape) for tensor in (input1, input2, target)]
    if len({len(size) for size in sizes}) != 1:
        raise RuntimeError(
            f"{name}: expected tensors of as many dimensions, got input1 {sizes[0]}, input2 {sizes[1]}, target {sizes[2]}"
        )
    shapes.broadcast_shapes(name, *sizes)
    one, two, t = operands(name, input1, input2, target)
    if not one.is_floating_point():
        return reduced(clamp_min(-t * (one - two) + margin, 0), reduction)
    return pair_loss(MARGIN_RANKING, *broadcast(name, one - two, t), None, reduction, margin)


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
    reduction = reduction_name(name, reduction, size_average, reduce)
    a, b = floats(name, input1=input1, input2=input2)
    check_tensors(name, target=target)
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
    x, t = broadcast(name, cosine, target.detach().to(dtype=cosine.dtype))
    return pair_loss(COSINE_EMBEDDING, x, t, None, reduction, margin)


def _check_ranks(name: str, **tensors: Any) -> None:
    """Tensors of as many dimensions that broadcast."""
    check_tensors(name, **tensors)
    sizes = {argument: tuple(tensor.shape) for argument, tensor in tensors.items()}
    if len({len(size) for size in sizes.values()}) != 1:
        listing = ", ".join(f"{argument} {size}" for argument, size in sizes.items())
        raise RuntimeError(f"{name}: expected tensors of as many dimensions, got {listing}")
    shapes.broadcast_shapes(name, *sizes.values())


def check_margin(name: str, margin: float, argument: str = "margin") -> None:
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
    reduction = reduction_name(name, reduction, size_average, reduce)
    check_margin(name, margin)
    _check_ranks(name, anchor=anchor, positive=positive, negative=negative)

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return pairwise_distance(a, b, p, eps)

    return _triplets(anchor, positive, negative, distance, margin, swap, reduction)


def _triplets(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    distance: Callable[[Tensor, Tensor], Tensor],
    margin: float,
    swap: bool,
    reduction: str,
) -> Tensor:
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = minimum(far, distance(positive, negative))
    if near.is_floating_point() and near.dtype == far.dtype:
        return pair_loss(MARGIN, *broadcast("triplet_margin_loss", near, far), None, reduction, margin)
    return reduced(clamp_min(margin + near - far, 0), reduction)


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
    reduction = reduction_name(name, reduction)
    check_margin(name, margin)
    _check_ranks(name, anchor=anchor, positive=positive, negative=negative)
    distance = pairwise_distance if distance_function is None else distance_function
    return _triplets(anchor, positive, negative, distance, margin, swap, reduction)


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
    reduction = reduction_name(name, reduction)
    check_margin(name, margin)
    check_margin(name, margin2, "margin2")
    _check_ranks(name, anchor=anchor, positive=positive, negative=negative, other=other)
    near = _squared_distance(anchor, positive)
    first = clamp_min(near - _squared_distance(anchor, negative) + margin, 0)
    return reduced(first + clamp_min(near - _squared_distance(other, negative) + margin2, 0), reduction)


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
    reduction = reduction_name(name, reduction)
    check_margin(name, margin)
    a, b = floats(name, input1=input1, input2=input2)
    _check_ranks(name, input1=a, input2=b)
    check_tensors(name, target=target)
    expected = shapes.broadcast_shapes(name, a.shape, b.shape)[:-1]
    if tuple(target.shape) != expected or not a.ndim:
        raise RuntimeError(
            f"{name}: expected target of shape {expected} for inputs {tuple(a.shape)} and {tuple(b.shape)}, "
            f"got {tuple(target.shape)}"
        )
    dissimilar = target.to(dtype=a.dtype)
    gap = clamp_min(margin - pairwise_distance(a, b), 0)
    losses = ((1 - dissimilar) * _squared_distance(a, b) + dissimilar * (gap * gap)) * 0.5
    return reduced(losses, reduction)
