"""What detectors are made of: anchors, their coding, which anchor learns which box, and the loss; boxes are xyxy (x1, y1, x2, y2).

A detector of one stage looks at a fixed set of boxes, the anchors, thousands of them, at every place of several feature maps and
of several sizes and shapes. For each it predicts a class (0 is "nothing here") and by how much the box must be moved.

    training:    anchors + true boxes -> match_anchors -> labels and, by BoxCoder, offsets -> multibox_loss
    prediction:  scores and offsets -> BoxCoder back to boxes -> scores above a threshold -> batched_nms -> detections

References:
    Ren, He, Girshick, Sun 2015, Faster R-CNN, section 3.1 (anchors, the coding of boxes).
    Liu, Anguelov, Erhan, Szegedy, Reed, Fu, Berg 2016, SSD: single shot multibox detector, section 2.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from numbanet import devices
from numbanet.autograd import no_grad
from numbanet.functional import cat, clamp_max, cross_entropy, exp, log, smooth_l1_loss, softmax
from numbanet.ops.boxes import batched_nms, box_convert, box_iou, clip_boxes_to_image
from numbanet.tensor import Tensor, from_numpy, wrap

__all__ = [
    "BoxCoder",
    "DefaultBoxGenerator",
    "detections",
    "hard_negatives",
    "match_anchors",
    "multibox_loss",
    "multibox_prior",
]

# --------------------------------------------------------------------------------------------------------- anchors


def _boxes_at(centres: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Boxes float32 (places * kinds, 4), each of the sides (kinds, 2) around each of the centres (places, 2); x first."""
    centres, half = centres[:, None], sides / 2
    return np.concatenate([centres - half, centres + half], axis=2).reshape(-1, 4).astype(np.float32)


def _pixel_centres(height: int, width: int) -> np.ndarray:
    """(height * width, 2): x and y of the middle of each pixel, in fractions of the map, row after row."""
    y, x = np.divmod(np.arange(height * width), width)
    return np.stack([(x + 0.5) / width, (y + 0.5) / height], axis=1)


def multibox_prior(data: Tensor, sizes: Sequence[float], ratios: Sequence[float]) -> Tensor:
    """Anchors around each pixel of a map, as the notes make them: all sizes in the first ratio, all ratios in the first size.

    An anchor of size s and ratio r covers a part s of the image's height, s / sqrt(r), and is r times as wide as it is high.

    Args:
        data: any tensor (..., H, W); only its shape matters.
        sizes: parts of the image's height, 0 to 1.
        ratios: width / height.

    Returns:
        float32 (1, H * W * (len(sizes) + len(ratios) - 1), 4), xyxy in fractions of the map, anchors of a pixel together.

    Raises:
        ValueError: for no size, no ratio, or one that is not positive.
    """
    if not len(sizes) or not len(ratios) or min(*sizes, *ratios) <= 0:
        raise ValueError(f"multibox_prior: expected positive sizes and ratios, got {list(sizes)} and {list(ratios)}")
    height, width = data.shape[-2:]
    kinds = [(size, ratios[0]) for size in sizes] + [(sizes[0], ratio) for ratio in ratios[1:]]
    sides = np.array([(s * math.sqrt(r) * height / width, s / math.sqrt(r)) for s, r in kinds])
    return wrap(devices.to_device(_boxes_at(_pixel_centres(height, width), sides)[None], data.device))


class DefaultBoxGenerator:
    """The paper's default boxes, with the arguments of ``torchvision.models.detection.ssd.DefaultBoxGenerator``.

    Each map has a scale s_k, from ``min_ratio`` on the finest to ``max_ratio`` on the coarsest; around each pixel stand a
    square of side s_k, one of sqrt(s_k * s_(k+1)), and for each aspect ratio r two boxes of s_k * sqrt(r) and s_k / sqrt(r).

    Args:
        aspect_ratios: of each map, such as [[2], [2, 3], [2]].
        min_ratio, max_ratio: the scales between which the maps' are spread evenly.
        scales: the scales themselves instead, one more than maps.
        steps: pixels of the image from one place of each map to the next; None: as the sizes of the maps tell.
        clip: cut sides off at 1.

    Raises:
        ValueError: for numbers of scales or steps that do not fit.
    """

    def __init__(
        self,
        aspect_ratios: Sequence[Sequence[float]],
        min_ratio: float = 0.15,
        max_ratio: float = 0.9,
        scales: Sequence[float] | None = None,
        steps: Sequence[int] | None = None,
        clip: bool = True,
    ) -> None:
        maps = len(aspect_ratios)
        if steps is not None and len(steps) != maps:
            raise ValueError(f"DefaultBoxGenerator: {maps} maps but {len(steps)} steps")
        if scales is None:
            spread = np.linspace(min_ratio, max_ratio, maps).tolist() if maps > 1 else [min_ratio]
            scales = [*spread, 1.0 if maps > 1 else max_ratio]
        if len(scales) != maps + 1:
            raise ValueError(f"DefaultBoxGenerator: {maps} maps need {maps + 1} scales, got {len(scales)}")
        self.aspect_ratios, self.steps = aspect_ratios, steps
        self.sides = []
        for k, ratios in enumerate(aspect_ratios):
            pairs = [(scales[k], scales[k])] + [(math.sqrt(scales[k] * scales[k + 1]),) * 2]
            for ratio in ratios:
                wide, narrow = scales[k] * math.sqrt(ratio), scales[k] / math.sqrt(ratio)
                pairs += [(wide, narrow), (narrow, wide)]
            self.sides.append(np.clip(pairs, 0, 1) if clip else np.array(pairs))

    def num_anchors_per_location(self) -> list[int]:
        """How many boxes there are around each pixel of each map."""
        return [2 + 2 * len(ratios) for ratios in self.aspect_ratios]

    def __call__(self, image_size: Sequence[int], map_sizes: Sequence[Sequence[int]]) -> Tensor:
        """All boxes, those of the first map first.

        Args:
            image_size: (H, W).
            map_sizes: (H, W) of each map.

        Returns:
            float32 (A, 4), xyxy in pixels of the image.

        Raises:
            ValueError: for another number of maps.
        """
        if len(map_sizes) != len(self.sides):
            raise ValueError(f"DefaultBoxGenerator: made for {len(self.sides)} maps, got {len(map_sizes)}")
        boxes = []
        for k, (height, width) in enumerate(map_sizes):
            centres = _pixel_centres(height, width)
            if self.steps is not None:
                centres *= np.array([width, height]) * self.steps[k] / np.array([image_size[1], image_size[0]])
            boxes.append(_boxes_at(centres, self.sides[k]))
        return from_numpy(np.concatenate(boxes) * np.array([image_size[1], image_size[0]] * 2, np.float32))


# ---------------------------------------------------------------------------------------------------------- coding


class BoxCoder:
    """Boxes as offsets from anchors and back, as ``torchvision.models.detection._utils.BoxCoder``.

        dx = wx * (x - xa) / wa      dy = wy * (y - ya) / ha      (x, y: centres; w, h: sides; a: the anchor's)
        dw = ww * log(w / wa)        dh = wh * log(h / ha)

    The weights bring the four to a similar spread; (10, 10, 5, 5) is SSD's, whose "variances" 0.1 and 0.2 they divide by.

    Args:
        weights: (wx, wy, ww, wh).
        bbox_xform_clip: the largest log(w / wa) that is believed when boxes are decoded.
    """

    def __init__(
        self,
        weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0),
        bbox_xform_clip: float = math.log(1000.0 / 16),
    ) -> None:
        self.weights = weights
        self.bbox_xform_clip = bbox_xform_clip

    def encode_single(self, reference_boxes: Tensor, proposals: Tensor) -> Tensor:
        """Offsets (..., 4) that lead from the proposals, which are anchors (..., 4), to the reference boxes (..., 4)."""
        box, anchor = (box_convert(b, "xyxy", "cxcywh") for b in (reference_boxes, proposals))
        weights = _row(self.weights, anchor)
        moved = (box[..., :2] - anchor[..., :2]) / anchor[..., 2:]
        return cat([moved, log(box[..., 2:] / anchor[..., 2:])], -1) * weights

    def decode_single(self, rel_codes: Tensor, boxes: Tensor) -> Tensor:
        """Boxes (..., 4) to which the offsets (..., 4) lead from the anchors ``boxes`` (..., 4)."""
        codes, anchor = rel_codes / _row(self.weights, rel_codes), box_convert(boxes, "xyxy", "cxcywh")
        centre = codes[..., :2] * anchor[..., 2:] + anchor[..., :2]
        sides = exp(clamp_max(codes[..., 2:], self.bbox_xform_clip)) * anchor[..., 2:]
        return box_convert(cat([centre, sides], -1), "cxcywh", "xyxy")


def _row(values: Sequence[float], like: Tensor) -> Tensor:
    return wrap(devices.to_device(np.array(values, like.dtype), like.device))


# ----------------------------------------------------------------------------------------- matching, mining, the loss


def match_anchors(anchors: Tensor, boxes: Tensor, iou_threshold: float = 0.5) -> Tensor:
    """Which true box each anchor shall find.

    Every true box gets an anchor: of all pairs the one with the greatest IoU is taken, then the greatest of those of other
    anchors and other boxes, and so on. Each anchor that is left gets the box that it overlaps most, if that is enough.

    Args:
        anchors: shape (A, 4).
        boxes: the true boxes, shape (M, 4).
        iou_threshold: the IoU that is enough.

    Returns:
        int64 (A,): a number of a box, or -1 for none.

    Raises:
        ValueError: for other shapes, or more boxes than anchors.

    Reference: W. Liu et al., "SSD" (2016), section 2.2, matching strategy.
    """
    with no_grad():
        iou = np.nan_to_num(devices.to_host(box_iou(boxes, anchors)._array))  # (M, A)
    if iou.shape[0] > iou.shape[1]:
        raise ValueError(f"match_anchors: {iou.shape[0]} boxes but only {iou.shape[1]} anchors")
    if not len(iou):
        matches = np.full(iou.shape[1], -1)
    else:
        matches = np.where(iou.max(axis=0) >= iou_threshold, iou.argmax(axis=0), -1)
        left = iou.copy()
        for _ in range(len(iou)):
            box, anchor = np.unravel_index(left.argmax(), left.shape)
            matches[anchor] = box
            left[box], left[:, anchor] = -1, -1
    return wrap(devices.to_device(matches.astype(np.int64), anchors.device))


def hard_negatives(losses: Any, positive: Any, ratio: float = 3.0) -> np.ndarray:
    """The anchors without a box that the network takes for something most firmly, a few for each anchor with one.

    Nearly all anchors show nothing; learning from all of them would teach a network to see nothing anywhere.

    Args:
        losses: of the class of each anchor, shape (N, A).
        positive: bool (N, A): the anchors with a box.
        ratio: how many are taken for each positive one of the same image.

    Returns:
        bool (N, A), a NumPy array: those whose losses are largest, at most ratio times as many as positive ones.

    Raises:
        ValueError: for shapes that differ.

    Reference: W. Liu et al., "SSD" (2016), section 2.2, hard negative mining.
    """
    values, is_positive = _host(losses), _host(positive)
    if values.ndim != 2 or values.shape != is_positive.shape:
        raise ValueError(
            f"hard_negatives: expected losses and positive (N, A), got {values.shape} and {is_positive.shape}"
        )
    hardest_first = np.argsort(np.where(is_positive, np.inf, -values), axis=1, kind="stable")
    rank = np.empty_like(hardest_first)
    np.put_along_axis(rank, hardest_first, np.arange(values.shape[1])[None], axis=1)
    return (rank < ratio * is_positive.sum(axis=1, keepdims=True)) & ~is_positive


def _host(values: Any) -> np.ndarray:
    return devices.to_host(values._array) if isinstance(values, Tensor) else np.asarray(values)


def multibox_loss(
    cls_preds: Tensor,
    bbox_preds: Tensor,
    anchors: Tensor,
    targets: Sequence[Mapping[str, Tensor]],
    iou_threshold: float = 0.5,
    negative_ratio: float = 3.0,
    coder: BoxCoder | None = None,
) -> dict[str, Tensor]:
    """SSD's loss in its two parts, each divided by the number of anchors with a box (or 1); their sum is to be minimised.

        bbox_regression   smooth L1 of the offsets, anchors with a box
        classification    cross-entropy, anchors with a box and the hardest of those without

    Args:
        cls_preds: scores, shape (N, A, C + 1), class 0 for nothing.
        bbox_preds: offsets, shape (N, A, 4).
        anchors: shape (A, 4), or (1, A, 4), in the targets' unit.
        targets: for each image "boxes" (M, 4) and "labels" int64 (M,), 1 to C; M may be 0.
        iou_threshold: see :func:`match_anchors`.
        negative_ratio: see :func:`hard_negatives`.
        coder: makes offsets of boxes; None: ``BoxCoder()``.

    Returns:
        {"classification": a number, "bbox_regression": a number}.

    Raises:
        ValueError: for shapes that do not fit, or a label that is no class.

    Reference: W. Liu et al., "SSD" (2016), equation 1.
    """
    coder = coder or BoxCoder()
    anchors = anchors.reshape(-1, 4)
    images, count, classes = _check_predictions("multibox_loss", cls_preds, bbox_preds, anchors)
    if len(targets) != images:
        raise ValueError(f"multibox_loss: {images} images but {len(targets)} targets")
    labels, offsets = np.zeros((images, count), np.int64), np.zeros((images, count, 4), np.float32)
    with no_grad():
        for i, target in enumerate(targets):
            own = _host(target["labels"])
            if len(own) and not 1 <= own.min() <= own.max() < classes:
                raise ValueError(
                    f"multibox_loss: labels of image {i} are from {own.min()} to {own.max()}; classes are 1 to {classes - 1}"
                )
            if not len(own):
                continue
            boxes = target["boxes"].to(device=anchors.device, dtype=anchors.dtype)
            matches = _host(match_anchors(anchors, boxes, iou_threshold))
            found = np.flatnonzero(matches >= 0)
            labels[i, found] = own[matches[found]]
            chosen, places = (wrap(devices.to_device(rows, anchors.device)) for rows in (matches[found], found))
            offsets[i, found] = _host(coder.encode_single(boxes[chosen], anchors[places]))
    positive = labels > 0

    def on_device(array: np.ndarray) -> Tensor:
        return wrap(devices.to_device(array, cls_preds.device))

    losses = cross_entropy(cls_preds.reshape(-1, classes), on_device(labels.reshape(-1)), reduction="none").reshape(
        images, count
    )
    learned_from = positive | hard_negatives(losses, positive, negative_ratio)
    number = max(int(positive.sum()), 1)
    classification = (losses * on_device(learned_from.astype(losses.dtype))).sum() / number
    is_positive = on_device(positive[..., None].astype(bbox_preds.dtype))
    # Where there is no box, both sides are 0, and so is the gradient.
    regression = smooth_l1_loss(bbox_preds * is_positive, on_device(offsets.astype(bbox_preds.dtype)), reduction="sum")
    return {"classification": classification, "bbox_regression": regression / number}


def _check_predictions(name: str, cls_preds: Tensor, bbox_preds: Tensor, anchors: Tensor) -> tuple[int, int, int]:
    """(images, anchors, classes)."""
    scores, offsets, count = tuple(cls_preds.shape), tuple(bbox_preds.shape), anchors.shape[0]
    if len(scores) != 3 or scores[1] != count or scores[2] < 2 or offsets != (scores[0], count, 4):
        raise ValueError(
            f"{name}: expected cls_preds (N, {count}, C + 1) and bbox_preds (N, {count}, 4) for {count} anchors, got {scores} "
            f"and {offsets}"
        )
    return scores[0], scores[1], scores[2]


# ------------------------------------------------------------------------------------------------------- prediction


def detections(
    cls_preds: Tensor,
    bbox_preds: Tensor,
    anchors: Tensor,
    image_size: Sequence[int],
    score_threshold: float = 0.01,
    nms_threshold: float = 0.45,
    top_k: int = 200,
    coder: BoxCoder | None = None,
) -> list[dict[str, Tensor]]:
    """What a detector has found, from what it says of its anchors.

    Args:
        cls_preds: scores before softmax, shape (N, A, C + 1), class 0 for nothing.
        bbox_preds: offsets, shape (N, A, 4).
        anchors: shape (A, 4), or (1, A, 4), in pixels.
        image_size: (H, W), at which boxes are cut off.
        score_threshold: probabilities below are left out.
        nms_threshold: of two boxes of a class whose IoU is greater, the one with the better score is kept.
        top_k: the largest number of detections per image.
        coder: makes boxes of offsets; None: ``BoxCoder()``.

    Returns:
        For each image, best first: "boxes" float32 (K, 4) in pixels, "scores" float32 (K,), "labels" int64 (K,), 1 to C.

    Raises:
        ValueError: for shapes that do not fit.
    """
    coder = coder or BoxCoder()
    anchors = anchors.reshape(-1, 4)
    _check_predictions("detections", cls_preds, bbox_preds, anchors)
    found = []
    with no_grad():
        probabilities = _host(softmax(cls_preds, -1))
        boxes = _host(clip_boxes_to_image(coder.decode_single(bbox_preds, anchors), image_size))
        for own, places in zip(probabilities, boxes, strict=True):
            anchor, label = np.nonzero(own[:, 1:] >= score_threshold)
            columns = {"boxes": places[anchor], "scores": own[anchor, label + 1], "labels": label + 1}
            tensors = {name: from_numpy(np.ascontiguousarray(column)) for name, column in columns.items()}
            kept = batched_nms(tensors["boxes"], tensors["scores"], tensors["labels"], nms_threshold)[:top_k]
            found.append({name: column[kept].to(cls_preds.device) for name, column in tensors.items()})
    return found
