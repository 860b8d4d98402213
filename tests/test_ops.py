"""numbanet.ops: arithmetic on boxes, non-maximum suppression and the feature pyramid, beside loops and torchvision's numbers."""

from __future__ import annotations

import numpy as np
import pytest

import numbanet
from numbanet import nn, ops
from tests.checks import assert_close, check_op

from_numpy = numbanet.from_numpy

BOXES = np.array(
    [[10, 10, 30, 30], [12, 11, 31, 32], [12, 11, 31, 33], [50, 5, 70, 25], [52, 5, 70, 27], [0, 0, 8, 40], [1, 2, 9, 40],
     [40, 40, 80, 80], [45, 38, 85, 79], [10, 10, 30, 30], [60, 60, 61, 61], [20, 20, 60, 60]], np.float32,
)  # fmt: skip
SCORES = np.array([0.9, 0.8, 0.95, 0.3, 0.6, 0.5, 0.5, 0.7, 0.65, 0.9, 0.1, 0.4], np.float32)
CATEGORIES = np.array([1, 1, 2, 1, 1, 2, 2, 1, 1, 2, 2, 1])


def random_boxes(rng: np.random.Generator, count: int, span: float = 40.0) -> np.ndarray:
    corner, sides = rng.uniform(0, span, (count, 2)), rng.uniform(1, 20, (count, 2))
    return np.concatenate([corner, corner + sides], axis=1).astype(np.float32)


def overlap(a, b):
    """(intersection, union, area of the box around both) of two boxes."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared, union, (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))


def naive_nms(boxes, scores, threshold):
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        overlaps = [overlap(boxes[i], boxes[j]) for j in kept]
        if all(union == 0 or shared / union <= threshold for shared, union, _ in overlaps):
            kept.append(i)
    return kept


# ---------------------------------------------------------------------------------------------------- arithmetic


def test_areas_and_overlaps_are_those_of_loops():
    rng = np.random.default_rng(0)
    a, b = (random_boxes(rng, n).astype(np.float64) for n in (7, 5))
    pairs = [[overlap(x, y) for y in b] for x in a]
    iou = np.array([[shared / union for shared, union, _ in row] for row in pairs])
    giou = np.array([[shared / union - (hull - union) / hull for shared, union, hull in row] for row in pairs])
    ours = from_numpy(a), from_numpy(b)
    assert_close(ops.box_area(ours[0]).numpy(), np.array([overlap(x, x)[1] for x in a]))
    assert_close(ops.box_iou(*ours).numpy(), iou)
    assert_close(ops.generalized_box_iou(*ours).numpy(), giou)
    assert (iou > 0).any() and (iou == 0).any()


def test_overlaps_are_torchvisions():
    a, b = from_numpy(BOXES[:2]), from_numpy(BOXES[7:])
    iou = [[0.0, 0.0, 1.0, 0.0, 0.05263157933950424], [0.0, 0.0, 0.7483588457107544, 0.0, 0.07070165872573853]]
    giou = [
        [-0.5918367505073547, -0.6057971119880676, 1.0, -0.8458285331726074, -0.18736842274665833],
        [-0.5739556550979614, -0.5892425179481506, 0.7375363111495972, -0.8367347121238708, -0.1355058252811432],
    ]
    assert_close(ops.box_iou(a, b).numpy(), np.float32(iou), 1e-6)
    assert_close(ops.generalized_box_iou(a, b).numpy(), np.float32(giou), 1e-6)


def test_boxes_without_area():
    """As in torchvision: 0 where the other has one, NaN where neither has."""
    point = numbanet.tensor([[5.0, 5.0, 5.0, 5.0]])
    assert ops.box_iou(point, numbanet.tensor([[0.0, 0.0, 9.0, 9.0]])).item() == 0
    assert np.isnan(ops.box_iou(point, point).item())


def test_ints_do_not_overflow():
    boxes = numbanet.tensor([[0, 0, 200, 200], [100, 100, 250, 250]], dtype=numbanet.uint8)
    assert ops.box_area(boxes).tolist() == [40000, 22500]
    assert ops.box_iou(boxes, boxes)[0, 1].item() == pytest.approx(10000 / 52500)


@pytest.mark.parametrize(
    ("function", "counts"),
    [(ops.box_iou, (4, 3)), (ops.generalized_box_iou, (4, 3)), (ops.box_area, (4,))],
    ids=["box_iou", "generalized_box_iou", "box_area"],
)
def test_gradients(function, counts):
    rng = np.random.default_rng(1)
    check_op(function, None, [random_boxes(rng, count, 15.0) for count in counts])


@pytest.mark.parametrize("to", ["xyxy", "xywh", "cxcywh"])
@pytest.mark.parametrize("of", ["xyxy", "xywh", "cxcywh"])
def test_formats(of, to):
    x1, y1, x2, y2 = BOXES.T
    forms = {
        "xyxy": BOXES,
        "xywh": np.stack([x1, y1, x2 - x1, y2 - y1], 1),
        "cxcywh": np.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], 1),
    }
    check_op(lambda boxes: ops.box_convert(boxes, of, to), None, [forms[of]])
    given = from_numpy(forms[of].reshape(2, 6, 4))
    converted = ops.box_convert(given, of, to)
    assert_close(converted.numpy(), forms[to].reshape(2, 6, 4))
    assert converted.data_ptr() != given.data_ptr()


def test_clipping_and_small_boxes_are_torchvisions():
    boxes = from_numpy(BOXES)
    clipped = [[1.0, 2.0, 9.0, 40.0], [40.0, 40.0, 60.0, 50.0], [45.0, 38.0, 60.0, 50.0]]
    assert ops.clip_boxes_to_image(boxes[6:9], (50, 60)).tolist() == clipped
    assert ops.clip_boxes_to_image(numbanet.tensor([-3.0, -2.0, 1.0, 1.0]), (5, 5)).tolist() == [0, 0, 1, 1]
    small = ops.remove_small_boxes(boxes, 20)
    assert small.tolist() == [0, 3, 7, 8, 9, 11]
    assert small.dtype == numbanet.int64


# ------------------------------------------------------------------------------------------------- suppression


@pytest.mark.parametrize(
    ("threshold", "kept"),
    [
        (0.1, [2, 7, 4, 5, 10]),
        (0.5, [2, 7, 4, 5, 11, 10]),
        (0.7, [2, 7, 4, 5, 11, 10]),
        (0.85, [2, 0, 7, 8, 4, 5, 6, 11, 3, 10]),
    ],
)
def test_nms_is_torchvisions(threshold, kept):
    assert ops.nms(from_numpy(BOXES), from_numpy(SCORES), threshold).tolist() == kept


def test_batched_nms_is_torchvisions():
    kept = ops.batched_nms(from_numpy(BOXES), from_numpy(SCORES), from_numpy(CATEGORIES), 0.5)
    assert kept.tolist() == [2, 0, 7, 4, 5, 11, 10]


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.6, 1.0])
def test_nms_is_that_of_loops(threshold):
    rng = np.random.default_rng(2)
    boxes, scores = random_boxes(rng, 120), np.round(rng.random(120), 1)  # with ties
    categories = rng.integers(0, 3, 120)
    kept = naive_nms(boxes.astype(np.float64), scores, threshold)
    assert ops.nms(from_numpy(boxes.astype(np.float64)), from_numpy(scores), threshold).tolist() == kept
    by_category = [np.flatnonzero(categories == c) for c in range(3)]
    each = [rows[naive_nms(boxes[rows].astype(np.float64), scores[rows], threshold)] for rows in by_category]
    expected = sorted(np.concatenate(each).tolist(), key=lambda i: (-scores[i], i))
    given = from_numpy(boxes.astype(np.float64)), from_numpy(scores), from_numpy(categories)
    assert ops.batched_nms(*given, threshold).tolist() == expected


def test_nms_of_nothing_and_of_boxes_without_area():
    assert ops.nms(numbanet.zeros(0, 4), numbanet.zeros(0), 0.5).shape == (0,)
    assert ops.batched_nms(numbanet.zeros(0, 4), numbanet.zeros(0), numbanet.zeros(0), 0.5).dtype == numbanet.int64
    assert ops.nms(numbanet.zeros(3, 4), numbanet.tensor([0.1, 0.3, 0.2]), 0.5).tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ops.box_area(numbanet.zeros(2, 5)), ValueError, r"box_area: expected boxes of shape \(N, 4\), got \(2, 5\)"),
        (lambda: ops.box_iou(numbanet.zeros(2, 4), numbanet.zeros(4)), ValueError, r"expected boxes2 .* got \(4,\)"),
        (lambda: ops.box_area([[0, 0, 1, 1]]), TypeError, "argument 'boxes' must be a Tensor, not list"),
        (lambda: ops.box_convert(numbanet.zeros(1, 4), "xyxy", "yxyx"), ValueError, "expected out_fmt xyxy, .* got 'yxyx'"),
        (lambda: ops.clip_boxes_to_image(numbanet.zeros(1, 4), (3, 4, 5)), ValueError, r"\(H, W\), got \(3, 4, 5\)"),
        (lambda: ops.nms(numbanet.zeros(2, 4), numbanet.zeros(3), 0.5), ValueError, r"scores of shape \(2,\) .* got \(3,\)"),
        (lambda: ops.nms(numbanet.zeros(4), numbanet.zeros(1), 0.5), ValueError, r"got \(4,\)"),
        (lambda: ops.batched_nms(numbanet.zeros(2, 4), numbanet.zeros(2), [0, 1], 0.5), TypeError, "'idxs' must be a Tensor"),
    ],
)  # fmt: skip
def test_wrong_calls(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ------------------------------------------------------------------------------------------------ feature pyramid


def wave(*shape):
    """Numbers that torchvision was given too."""
    return np.sin(np.arange(np.prod(shape)) * 1.7 + 0.3).astype(np.float32).reshape(shape)


KEYS = [
    *("inner_blocks.0.0.weight", "inner_blocks.0.0.bias", "inner_blocks.1.0.weight", "inner_blocks.1.0.bias"),
    *("layer_blocks.0.0.weight", "layer_blocks.0.0.bias", "layer_blocks.1.0.weight", "layer_blocks.1.0.bias"),
]
# Level: shape, sum, first three numbers; of torchvision's module with the same weights.
LEVELS = {
    "fine": ((1, 2, 5, 6), 49.324579522, [3.97455, 0.63874, -6.88028]),
    "coarse": ((1, 2, 3, 3), 7.4196318388, [0.85564, -3.15442, 0.92708]),
    "pool": ((1, 2, 2, 2), 5.9300818443, [0.85564, 0.92708, -0.50605]),
    "p6": ((1, 2, 2, 2), 3.8310637474, [5.6698, -5.34737, -5.34737]),
    "p7": ((1, 2, 1, 1), 6.7063041925, [5.89989, 0.80642]),
}


@pytest.mark.parametrize("extra", ["pool", "p6 p7"])
def test_feature_pyramid_is_torchvisions(extra):
    blocks = {"pool": ops.LastLevelMaxPool(), "p6 p7": ops.LastLevelP6P7(3, 2)}[extra]
    fpn = ops.FeaturePyramidNetwork([2, 3], 2, blocks)
    more = [] if extra == "pool" else [f"extra_blocks.{p}.{kind}" for p in ("p6", "p7") for kind in ("weight", "bias")]
    assert list(fpn.state_dict()) == KEYS + more
    fpn.load_state_dict({name: from_numpy(wave(*value.shape)) for name, value in fpn.state_dict().items()})
    levels = fpn({"fine": from_numpy(wave(1, 2, 5, 6)), "coarse": from_numpy(wave(1, 3, 3, 3))})
    assert list(levels) == ["fine", "coarse", *extra.split()]
    for name, level in levels.items():
        shape, total, first = LEVELS[name]
        assert tuple(level.shape) == shape
        assert float(level.detach().numpy().sum(dtype=np.float64)) == pytest.approx(total, abs=1e-4)
        np.testing.assert_allclose(level.detach().numpy().reshape(-1)[:3], first, atol=2e-5)


def test_feature_pyramid_with_normalisation_has_no_biases():
    fpn = ops.FeaturePyramidNetwork([2, 3], 4, norm_layer=nn.BatchNorm2d)
    kinds = ("0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked")
    blocks = [f"{part}_blocks.{i}" for part in ("inner", "layer") for i in (0, 1)]
    assert list(fpn.state_dict()) == [f"{block}.{kind}" for block in blocks for kind in kinds]


def test_every_level_teaches_what_lies_above_it():
    fpn = ops.FeaturePyramidNetwork([2, 3], 4)
    fine, coarse = numbanet.randn(1, 2, 8, 8, requires_grad=True), numbanet.randn(1, 3, 4, 4, requires_grad=True)
    fpn({"fine": fine, "coarse": coarse})["fine"].sum().backward()
    assert coarse.grad.abs().sum().item() > 0 and fine.grad.abs().sum().item() > 0
    assert fpn.layer_blocks[1][0].weight.grad is None  # the coarse level's own smoothing


def test_wrong_pyramids():
    with pytest.raises(ValueError, match=r"positive numbers of channels, got \[4, 0\]"):
        ops.FeaturePyramidNetwork([4, 0], 2)
    with pytest.raises(TypeError, match="expected an ExtraFPNBlock as extra_blocks, got ReLU"):
        ops.FeaturePyramidNetwork([4], 2, nn.ReLU())
    with pytest.raises(ValueError, match=r"made for 2 maps, got 1 \(only\)"):
        ops.FeaturePyramidNetwork([4, 4], 2)({"only": numbanet.zeros(1, 4, 2, 2)})
