"""Boxes in an image: areas, overlaps, formats, and the choice among boxes that overlap.

A box is (x1, y1, x2, y2), "xyxy": the left upper corner and the right lower one, x to the right and y down, in pixels or in
fractions of the image; x2 - x1 is the width. Arithmetic on boxes can be differentiated. Choosing boxes is a sequence of
decisions, and is done with NumPy on the host wherever the boxes lie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from numbanet import devices, dtypes
from numbanet.functional import clamp, clamp_min, maximum, minimum, stack
from numbanet.tensor import Tensor, wrap

__all__ = [
    "batched_nms",
    "box_area",
    "box_convert",
    "box_iou",
    "clip_boxes_to_image",
    "generalized_box_iou",
    "nms",
    "remove_small_boxes",
]


def _check_boxes(name: str, any_rank: bool = False, **boxes: Tensor) -> None:
    for argument, value in boxes.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name}: argument '{argument}' must be a Tensor, not {type(value).__name__}")
        shape = tuple(value.shape)
        if not shape or shape[-1] != 4 or not (any_rank or len(shape) == 2):
            raise ValueError(
                f"{name}: expected {argument} of shape {'(..., 4)' if any_rank else '(N, 4)'}, got {shape}"
            )


def _wide(boxes: Tensor) -> Tensor:
    """In a dtype whose products do not overflow and whose differences may be negative."""
    if boxes.is_floating_point():
        return boxes.to(dtype=dtypes.float32) if boxes.dtype == dtypes.float16 else boxes
    return boxes.to(dtype=dtypes.int64)


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def box_area(boxes: Tensor) -> Tensor:
    """(x2 - x1) * (y2 - y1), as ``torchvision.ops.box_area``.

    Args:
        boxes: shape (N, 4), xyxy.

    Returns:
        Shape (N,).

    Raises:
        ValueError: for another shape.
    """
    _check_boxes("box_area", boxes=boxes)
    return _areas(_wide(boxes))


def _intersection_and_union(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both of shape (N, M)."""
    sides = clamp_min(minimum(a[:, None, 2:], b[:, 2:]) - maximum(a[:, None, :2], b[:, :2]), 0)  # (N, M, 2)
    shared = sides[..., 0] * sides[..., 1]
    return shared, _areas(a)[:, None] + _areas(b) - shared


def box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Intersection over union (Jaccard index) of each box with each other, as ``torchvision.ops.box_iou``.

    Args:
        boxes1: shape (N, 4), xyxy.
        boxes2: shape (M, 4), xyxy.

    Returns:
        Shape (N, M), 0 to 1; NaN for two boxes without area.

    Raises:
        ValueError: for other shapes.

    Reference: P. Jaccard, "The distribution of the flora in the alpine zone" (1912).
    """
    _check_boxes("box_iou", boxes1=boxes1, boxes2=boxes2)
    shared, union = _intersection_and_union(_wide(boxes1), _wide(boxes2))
    return shared / union


def generalized_box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """IoU less the part of the smallest box around both that neither fills, as ``torchvision.ops.generalized_box_iou``.

    Boxes that do not meet have an IoU of 0 however far apart they are; this goes on falling, to -1, with their distance,
    and so has a gradient.

    Args:
        boxes1: shape (N, 4), xyxy.
        boxes2: shape (M, 4), xyxy.

    Returns:
        Shape (N, M), -1 to 1.

    Raises:
        ValueError: for other shapes.

    Reference: H. Rezatofighi et al., "Generalized intersection over union" (2019), algorithm 1.
    """
    _check_boxes("generalized_box_iou", boxes1=boxes1, boxes2=boxes2)
    a, b = _wide(boxes1), _wide(boxes2)
    shared, union = _intersection_and_union(a, b)
    sides = clamp_min(maximum(a[:, None, 2:], b[:, 2:]) - minimum(a[:, None, :2], b[:, :2]), 0)
    hull = sides[..., 0] * sides[..., 1]
    return shared / union - (hull - union) / hull


def _to_centre(boxes: Tensor) -> Tensor:
    x1, y1, x2, y2 = boxes.unbind(-1)
    return stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], -1)


def _from_centre(boxes: Tensor) -> Tensor:
    x, y, width, height = boxes.unbind(-1)
    return stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], -1)


def _to_corner_and_size(boxes: Tensor) -> Tensor:
    x1, y1, x2, y2 = boxes.unbind(-1)
    return stack([x1, y1, x2 - x1, y2 - y1], -1)


def _from_corner_and_size(boxes: Tensor) -> Tensor:
    x, y, width, height = boxes.unbind(-1)
    return stack([x, y, x + width, y + height], -1)


def _same(boxes: Tensor) -> Tensor:
    return boxes


_FORMATS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "xyxy": (_same, _same),
    "xywh": (_to_corner_and_size, _from_corner_and_size),
    "cxcywh": (_to_centre, _from_centre),
}


def box_convert(boxes: Tensor, in_fmt: str, out_fmt: str) -> Tensor:
    """Boxes in another format, as ``torchvision.ops.box_convert`` (without its formats of turned boxes).

    Args:
        boxes: shape (..., 4).
        in_fmt, out_fmt: "xyxy" (two corners), "xywh" (left upper corner, width, height) or "cxcywh" (centre, width,
            height).

    Returns:
        The same shape; a copy, also where the formats are equal.

    Raises:
        ValueError: for another format or shape.
    """
    _check_boxes("box_convert", any_rank=True, boxes=boxes)
    for argument, given in (("in_fmt", in_fmt), ("out_fmt", out_fmt)):
        if given not in _FORMATS:
            raise ValueError(f"box_convert: expected {argument} {', '.join(_FORMATS)}, got {given!r}")
    if in_fmt == out_fmt:
        return boxes.clone()
    return _FORMATS[out_fmt][0](_FORMATS[in_fmt][1](boxes))


def clip_boxes_to_image(boxes: Tensor, size: Sequence[int]) -> Tensor:
    """Boxes cut off at the image's border, as ``torchvision.ops.clip_boxes_to_image``.

    Args:
        boxes: shape (..., 4), xyxy, in pixels.
        size: (H, W).

    Returns:
        The same shape: x from 0 to W, y from 0 to H.

    Raises:
        ValueError: for another shape, or a size that is no pair.
    """
    _check_boxes("clip_boxes_to_image", any_rank=True, boxes=boxes)
    if len(size) != 2:
        raise ValueError(f"clip_boxes_to_image: expected size (H, W), got {tuple(size)}")
    x, y = clamp(boxes[..., 0::2], 0, size[1]), clamp(boxes[..., 1::2], 0, size[0])
    return stack([x, y], -1).reshape(boxes.shape)


def remove_small_boxes(boxes: Tensor, min_size: float) -> Tensor:
    """The numbers of the boxes whose sides are both of ``min_size`` at least, as ``torchvision.ops.remove_small_boxes``.

    Args:
        boxes: shape (N, 4), xyxy.
        min_size: the smallest side that is kept.

    Returns:
        int64 (K,), ascending.

    Raises:
        ValueError: for another shape.
    """
    _check_boxes("remove_small_boxes", boxes=boxes)
    on_host = devices.to_host(boxes._array)
    kept = np.flatnonzero(((on_host[:, 2:] - on_host[:, :2]) >= min_size).all(axis=1))
    return wrap(devices.to_device(kept, boxes.device))


# ------------------------------------------------------------------------------------------- non-maximum suppression


def _check_scores(name: str, boxes: Tensor, **columns: Tensor) -> None:
    _check_boxes(name, boxes=boxes)
    for argument, value in columns.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name}: argument '{argument}' must be a Tensor, not {type(value).__name__}")
        if tuple(value.shape) != tuple(boxes.shape[:1]):
            raise ValueError(
                f"{name}: expected {argument} of shape {tuple(boxes.shape[:1])} for boxes {tuple(boxes.shape)}, "
                f"got {tuple(value.shape)}"
            )


def _best_first(scores: np.ndarray) -> np.ndarray:
    return np.argsort(-scores.astype(np.float64), kind="stable")


def _suppress(boxes: np.ndarray, order: np.ndarray, threshold: float) -> list[int]:
    """Of the boxes (N, 4), those that are kept when one goes through ``order``, in that order."""
    x1, y1, x2, y2 = np.ascontiguousarray(boxes[order].T)
    areas = (x2 - x1) * (y2 - y1)
    dropped = np.zeros(len(order), bool)
    kept = []
    for i in range(len(order)):
        if dropped[i]:
            continue
        kept.append(int(order[i]))
        rest = slice(i + 1, None)
        shared = np.maximum(np.minimum(x2[rest], x2[i]) - np.maximum(x1[rest], x1[i]), 0)
        shared *= np.maximum(np.minimum(y2[rest], y2[i]) - np.maximum(y1[rest], y1[i]), 0)
        with np.errstate(invalid="ignore", divide="ignore"):  # NaN, of two empty boxes, is no overlap
            dropped[rest] |= shared / (areas[i] + areas[rest] - shared) > threshold
    return kept


def _on_host(boxes: Tensor) -> np.ndarray:
    on_host = devices.to_host(boxes._array)
    return on_host.astype(np.float64 if on_host.dtype == np.float64 else np.float32)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Non-maximum suppression, as ``torchvision.ops.nms``: of boxes that overlap much, only the one with the best score.

    The best box is kept, and all whose IoU with it is greater than the threshold are dropped; then the best of what is
    left; and so on. Of equal scores the earlier box goes first; NaN goes last.

    Args:
        boxes: shape (N, 4), xyxy.
        scores: shape (N,).
        iou_threshold: 0 to 1.

    Returns:
        int64 (K,): the numbers of the boxes that are kept, best first.

    Raises:
        ValueError: for shapes that do not fit.
    """
    _check_scores("nms", boxes, scores=scores)
    kept = _suppress(_on_host(boxes), _best_first(devices.to_host(scores._array)), iou_threshold)
    return wrap(devices.to_device(np.array(kept, np.int64), boxes.device))


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """:func:`nms` among the boxes of each category alone, as ``torchvision.ops.batched_nms``.

    Args:
        boxes: shape (N, 4), xyxy.
        scores: shape (N,).
        idxs: the boxes' categories, shape (N,), ints.
        iou_threshold: 0 to 1.

    Returns:
        int64 (K,): the numbers of the boxes that are kept, of all categories together, best first.

    Raises:
        ValueError: for shapes that do not fit.
    """
    _check_scores("batched_nms", boxes, scores=scores, idxs=idxs)
    places, order, categories = (
        _on_host(boxes),
        _best_first(devices.to_host(scores._array)),
        devices.to_host(idxs._array),
    )
    chosen = np.zeros(len(order), bool)
    for category in np.unique(categories):
        chosen[_suppress(places, order[categories[order] == category], iou_threshold)] = True
    return wrap(devices.to_device(order[chosen[order]], boxes.device))
