"""Detection: anchors, the coding of boxes, matching, mining, the loss, and a small SSD."""

from __future__ import annotations

import math

import numpy as np
import pytest

import numbanet
from numbanet import models, nn, optim
from numbanet.models.detection import (
    BoxCoder,
    DefaultBoxGenerator,
    detections,
    hard_negatives,
    match_anchors,
    multibox_loss,
    multibox_prior,
)
from tests.checks import assert_close, check_op
from tests.test_ops import BOXES, naive_nms, overlap, random_boxes, wave

from_numpy = numbanet.from_numpy

# The example of "Dive into deep learning", section 14.4: a dog and a cat, five anchors.
DOG_AND_CAT = np.array([[0.1, 0.08, 0.52, 0.92], [0.55, 0.2, 0.9, 0.88]], np.float32)
FIVE = np.array(
    [[0, 0.1, 0.2, 0.3], [0.15, 0.2, 0.4, 0.4], [0.63, 0.05, 0.88, 0.98], [0.66, 0.45, 0.8, 0.8], [0.57, 0.3, 0.92, 0.9]],
    np.float32,
)  # fmt: skip


def iou(a, b):
    shared, union, _ = overlap(a, b)
    return shared / union if union else 0.0


# ----------------------------------------------------------------------------------------------------------- anchors


@pytest.mark.parametrize("shape", [(3, 5), (4, 4), (1, 1)])
def test_multibox_prior_is_that_of_loops(shape):
    sizes, ratios = [0.75, 0.5, 0.25], [2, 1, 0.5]
    height, width = shape
    expected = []
    for i in range(height):
        for j in range(width):
            for size, ratio in [(0.75, 2), (0.5, 2), (0.25, 2), (0.75, 1), (0.75, 0.5)]:
                w, h = size * math.sqrt(ratio) * height / width, size / math.sqrt(ratio)
                x, y = (j + 0.5) / width, (i + 0.5) / height
                expected.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
    found = multibox_prior(numbanet.zeros(2, 3, *shape), sizes, ratios)
    assert_close(found.numpy(), np.array([expected], np.float32))


def test_multibox_prior_gives_the_notes_numbers():
    """As printed in the book for an image of 561 x 728."""
    boxes = multibox_prior(numbanet.zeros(1, 1, 561, 728), [0.75, 0.5, 0.25], [1, 2, 0.5])
    assert boxes.shape == (1, 2042040, 4)
    first = boxes.reshape(561, 728, 5, 4)[250, 250, 0].numpy()
    np.testing.assert_allclose(first, [0.06, 0.07, 0.63, 0.82], atol=0.005)


def test_default_boxes_of_ssd300_are_torchvisions():
    scales = [0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05]
    make = DefaultBoxGenerator([[2], [2, 3], [2, 3], [2, 3], [2], [2]], scales=scales, steps=[8, 16, 32, 64, 100, 300])
    assert make.num_anchors_per_location() == [4, 6, 6, 6, 4, 4]
    boxes = make((300, 300), [(38, 38), (19, 19), (10, 10), (5, 5), (3, 3), (1, 1)]).numpy()
    assert boxes.shape == (8732, 4)
    recorded = {
        0: [-6.5, -6.5, 14.5, 14.5],
        3: [-3.424621105194092, -10.849242210388184, 11.42462158203125, 18.849241256713867],
        5775: [292.57537841796875, 285.1507568359375, 307.4245910644531, 314.8492431640625],
        5781: [-4.990380764007568, -30.971141815185547, 20.990381240844727, 46.97114562988281],
        7000: [209.5, 145.5, 254.49998474121094, 190.5],
        8690: [155.4980926513672, 243.83270263671875, 420.50189208984375, 332.16729736328125],
        8731: [57.72256851196289, 0.0, 242.27743530273438, 300.0],
    }
    np.testing.assert_allclose(boxes[list(recorded)], list(recorded.values()), atol=1e-4)
    total = [1157388.8383276463, 1157388.8383276463, 1508979.1625099182, 1508979.1625099182]
    np.testing.assert_allclose(boxes.sum(axis=0, dtype=np.float64), total, rtol=1e-6)


def test_default_boxes_without_steps_and_scales_are_torchvisions():
    boxes = DefaultBoxGenerator([[2], []])((60, 80), [(2, 3), (1, 2)]).numpy()
    recorded = {
        0: [7.333333492279053, 10.5, 19.33333396911621, 19.5],
        1: [-1.363605260848999, 3.9772958755493164, 28.030271530151367, 26.022705078125],
        2: [4.848052024841309, 11.81801986694336, 21.818614959716797, 18.18198013305664],
        23: [62.42402648925781, 38.63603973388672, 70.9093017578125, 51.36396026611328],
        24: [-15.999999046325684, 3.0000007152557373, 56.0, 57.0],
        27: [22.05266761779785, 1.53950035572052, 97.94732666015625, 58.46049880981445],
    }
    assert boxes.shape == (28, 4)
    np.testing.assert_allclose(boxes[list(recorded)], list(recorded.values()), atol=1e-4)


# ------------------------------------------------------------------------------------------------------------ coding


def test_coding_is_torchvisions():
    coder = BoxCoder((10.0, 10.0, 5.0, 5.0))
    encoded = [
        [20.0, 0.0, 4.581453800201416, -3.465735912322998],
        [20.625, 0.1315789520740509, 4.324987411499023, -2.9653189182281494],
        [-9.625, -9.5, -3.7222025394439697, -2.989184856414795],
    ]
    found = coder.encode_single(from_numpy(BOXES[:3]), from_numpy(BOXES[5:8]))
    assert_close(found.numpy(), np.float32(encoded), 1e-5)
    codes = 10 * wave(3, 4)
    codes[2, 2] = 40  # farther than is believed
    decoded = [
        [4.977883815765381, 52.107913970947266, 7.750439167022705, 60.6358757019043],
        [10.14315414428711, 33.94574737548828, 11.52035140991211, 52.507957458496094],
        [-1151.119873046875, 37.31959533691406, 1348.88037109375, 91.30068969726562],
    ]
    assert_close(coder.decode_single(from_numpy(codes), from_numpy(BOXES[5:8])).numpy(), np.float32(decoded), 1e-5)


def test_decoding_undoes_encoding():
    rng = np.random.default_rng(0)
    boxes, anchors = (from_numpy(random_boxes(rng, 20).reshape(4, 5, 4)) for _ in range(2))
    coder = BoxCoder((3.0, 2.0, 1.0, 0.5), bbox_xform_clip=10)
    again = coder.decode_single(coder.encode_single(boxes, anchors), anchors)
    np.testing.assert_allclose(again.numpy(), boxes.numpy(), rtol=1e-4, atol=1e-4)


def test_coding_can_be_differentiated():
    rng = np.random.default_rng(1)
    a, b = random_boxes(rng, 3), random_boxes(rng, 3)
    check_op(BoxCoder().encode_single, None, [a, b])
    check_op(BoxCoder().decode_single, None, [rng.normal(0, 2, (3, 4)).astype(np.float32), b])


# ------------------------------------------------------------------------------------------------ matching and mining


def test_matching_gives_the_notes_answer():
    """The book's classes: background, dog, cat, background, cat."""
    matches = match_anchors(from_numpy(FIVE), from_numpy(DOG_AND_CAT))
    assert matches.tolist() == [-1, 0, 1, -1, 1]
    matched = np.flatnonzero(matches.numpy() >= 0)
    offsets = BoxCoder().encode_single(from_numpy(DOG_AND_CAT[matches.numpy()[matched]]), from_numpy(FIVE[matched]))
    printed = [[1.40, 10.0, 2.59, 7.18], [-1.20, 0.269, 1.68, -1.57], [-0.571, -1.00, 0.0, 0.626]]
    np.testing.assert_allclose(offsets.numpy(), printed, atol=0.006)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.9])
def test_matching_is_that_of_loops(threshold):
    rng = np.random.default_rng(3)
    anchors, boxes = random_boxes(rng, 60), random_boxes(rng, 6)
    boxes[1] = boxes[0] + np.float32(0.5)  # two boxes that want the same anchor
    pairs = {(m, a): iou(boxes[m], anchors[a]) for m in range(6) for a in range(60)}
    expected = []
    for a in range(60):
        best = max(range(6), key=lambda m: pairs[m, a])
        expected.append(best if pairs[best, a] >= threshold else -1)
    left = dict(pairs)
    while left:
        m, a = max(left, key=left.get)
        expected[a] = m
        left = {pair: value for pair, value in left.items() if pair[0] != m and pair[1] != a}
    found = match_anchors(from_numpy(anchors), from_numpy(boxes), threshold)
    assert found.tolist() == expected
    assert set(range(6)) <= set(expected)
    assert match_anchors(from_numpy(anchors), numbanet.zeros(0, 4)).tolist() == [-1] * 60
    with pytest.raises(ValueError, match="6 boxes but only 5 anchors"):
        match_anchors(from_numpy(anchors[:5]), from_numpy(boxes))


def test_hard_negatives_are_the_largest_losses():
    losses = np.array([[0.1, 0.9, 0.5, 0.7, 0.3], [0.2, 0.4, 0.6, 0.8, 1.0], [5, 4, 3, 2, 1.0]])
    positive = np.array([[0, 1, 0, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 0, 0]], bool)
    assert hard_negatives(losses, positive, 2).tolist() == [[0, 0, 1, 1, 0], [0] * 5, [0, 0, 0, 1, 1]]
    assert hard_negatives(from_numpy(losses), from_numpy(positive), 1)[0].tolist() == [0, 0, 0, 1, 0]
    with pytest.raises(ValueError, match=r"got \(2, 3\) and \(2,\)"):
        hard_negatives(np.zeros((2, 3)), np.zeros(2, bool))


# ------------------------------------------------------------------------------------------------------------- loss


def loss_example():
    anchors = np.concatenate([BOXES + np.float32(k) for k in (0, 3, 7, 15, 25, 40)])
    targets = [
        {"boxes": from_numpy(BOXES[[0, 3]] + 1), "labels": numbanet.tensor([1, 2])},
        {"boxes": numbanet.zeros(0, 4), "labels": numbanet.zeros(0, dtype=numbanet.int64)},
    ]
    return 2 * wave(2, len(anchors), 3), wave(2, len(anchors), 4), anchors, targets


def test_multibox_loss_and_its_gradient_are_torchvisions():
    scores, offsets, anchors, targets = loss_example()
    cls, reg = (from_numpy(a).requires_grad_() for a in (scores, offsets))
    losses = multibox_loss(cls, reg, from_numpy(anchors), targets)
    assert losses["classification"].item() == pytest.approx(11.692663192749023, rel=1e-5)
    assert losses["bbox_regression"].item() == pytest.approx(2.0609912872314453, rel=1e-5)
    sum(losses.values()).backward()
    assert cls.grad.abs().sum().item() == pytest.approx(7.135544300079346, rel=1e-5)
    assert reg.grad.abs().sum().item() == pytest.approx(2.966813087463379, rel=1e-5)
    recorded = [[0.0197423100, -0.0235311128, 0.0037888072], [0.0025067728, -0.0403843522, 0.0378775820]]
    np.testing.assert_allclose(cls.grad.numpy()[0, :2], recorded, rtol=1e-4)
    assert not reg.grad.numpy()[1].any()  # an image without boxes


def test_multibox_loss_against_finite_differences():
    scores, offsets, anchors, targets = loss_example()

    def total(cls, reg):
        parts = multibox_loss(cls, reg, from_numpy(anchors).to(dtype=cls.dtype), targets)
        return parts["classification"] + parts["bbox_regression"]

    check_op(total, None, [scores, offsets])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cls_preds": numbanet.zeros(2, 5, 3)}, r"expected cls_preds \(N, 72, C \+ 1\) .* got \(2, 5, 3\)"),
        ({"bbox_preds": numbanet.zeros(2, 72, 3)}, r"got \(2, 72, 3\) and \(2, 72, 3\)"),
        ({"targets": []}, "2 images but 0 targets"),
        ({"targets": [{"boxes": numbanet.zeros(1, 4), "labels": numbanet.tensor([3])}] * 2},
         "labels of image 0 are from 3 to 3; classes are 1 to 2"),
    ],
)  # fmt: skip
def test_wrong_losses(change, message):
    scores, offsets, anchors, targets = loss_example()
    given = {"cls_preds": scores, "bbox_preds": offsets, "anchors": anchors}
    given = {name: from_numpy(value) for name, value in given.items()} | {"targets": targets} | change
    with pytest.raises(ValueError, match=message):
        multibox_loss(**given)


# ------------------------------------------------------------------------------------------------------- prediction


def test_detections_give_the_notes_answer():
    """The book's example: three boxes of the dog, of which the surest is kept, and the cat."""
    anchors = np.array(
        [[0.1, 0.08, 0.52, 0.92], [0.08, 0.2, 0.56, 0.95], [0.15, 0.3, 0.62, 0.91], [0.55, 0.2, 0.9, 0.88]]
    )
    probabilities = np.array([[1e-6, 0.9, 0.1], [1e-6, 0.8, 0.2], [1e-6, 0.7, 0.3], [1e-6, 0.1, 0.9]])
    (found,) = detections(
        from_numpy(np.log(probabilities, dtype=np.float32)[None]),
        numbanet.zeros(1, 4, 4),
        from_numpy(anchors.astype(np.float32)),
        (1, 1),
        score_threshold=0.5,
        nms_threshold=0.5,
    )
    assert found["labels"].tolist() == [1, 2]
    np.testing.assert_allclose(found["scores"].numpy(), [0.9, 0.9], atol=1e-5)
    np.testing.assert_allclose(found["boxes"].numpy(), anchors[[0, 3]], atol=1e-6)


def test_detections_are_those_of_loops():
    rng = np.random.default_rng(4)
    anchors = random_boxes(rng, 40, 50.0)
    scores, offsets = rng.normal(0, 2, (2, 40, 4)).astype(np.float32), rng.normal(0, 1, (2, 40, 4)).astype(np.float32)
    given = [from_numpy(a) for a in (scores, offsets, anchors)]
    found = detections(*given, (45, 60), score_threshold=0.3, nms_threshold=0.4, top_k=9)
    boxes = BoxCoder().decode_single(from_numpy(offsets), from_numpy(anchors)).numpy()
    boxes = np.stack([boxes[..., 0::2].clip(0, 60), boxes[..., 1::2].clip(0, 45)], -1).reshape(2, 40, 4)
    for i in range(2):
        shares = np.exp(scores[i]) / np.exp(scores[i]).sum(axis=1, keepdims=True)
        expected = []
        for label in (1, 2, 3):
            rows = np.flatnonzero(shares[:, label] >= 0.3)
            kept = rows[naive_nms(boxes[i][rows], shares[rows, label], 0.4)]
            expected += [(shares[row, label], label, *boxes[i][row]) for row in kept]
        expected = sorted(expected, reverse=True)
        assert len(expected) > 9
        columns = [found[i][name].numpy() for name in ("scores", "labels", "boxes")]
        ours = np.concatenate([columns[0][:, None], columns[1][:, None], columns[2]], axis=1)
        np.testing.assert_allclose(ours, expected[:9], rtol=1e-4, atol=1e-4)


# ---------------------------------------------------------------------------------------------------------- TinySSD


def test_tiny_ssd_has_the_books_shapes():
    net = models.build("tiny_ssd")
    net.eval()
    with numbanet.no_grad():
        anchors, scores, offsets = net(numbanet.zeros(1, 3, 256, 256))
    assert anchors.shape == (1, 5444, 4) and scores.shape == (1, 5444, 2) and offsets.shape == (1, 5444, 4)
    widths = (anchors[0, :4, 2] - anchors[0, :4, 0]).tolist()
    assert widths == pytest.approx([0.2 * 256, 0.272 * 256, 0.2 * 256 * 2**0.5, 0.2 * 256 / 2**0.5], rel=1e-4)


def test_tiny_ssd_has_as_many_weights_as_its_layers():
    def conv(a, b):
        return 9 * a * b + b

    body = [(3, 16), (16, 16), (16, 32), (32, 32), (32, 64), (64, 64), (64, 128), *[(128, 128)] * 5]
    heads = [(channels, numbers) for channels in (64, *[128] * 4) for numbers in (4 * 3, 4 * 4)]
    expected = sum(conv(*c) for c in body + heads) + 2 * sum(b for _, b in body)
    assert sum(p.numel() for p in models.tiny_ssd(num_classes=2).parameters()) == expected


def test_predictions_belong_to_their_anchors():
    """A bias that only one anchor of a place has shows up at that anchor of all places, in anchors and predictions alike."""
    net = models.tiny_ssd(num_classes=2)
    for i in range(5):
        for head, numbers in (("cls", 3), ("bbox", 4)):
            layer = getattr(net, f"{head}_{i}")
            layer.weight.data.fill_(0.0)
            layer.bias.data = numbanet.arange(4 * numbers).float()
    anchors, scores, offsets = net(numbanet.zeros(2, 3, 64, 96))
    assert anchors.shape[1] == 4 * (8 * 12 + 4 * 6 + 2 * 3 + 1 + 1)
    kinds = np.arange(anchors.shape[1]) % 4
    np.testing.assert_array_equal(scores.detach().numpy()[1, :, 2], 3 * kinds + 2)
    np.testing.assert_array_equal(offsets.detach().numpy()[0, :, 1], 4 * kinds + 1)
    boxes = anchors.numpy()[0]
    np.testing.assert_allclose((boxes[1] + boxes[1][[2, 3, 0, 1]])[:2] / 2, [4, 4], atol=1e-4)  # stride 8
    np.testing.assert_allclose((boxes[4] + boxes[4][[2, 3, 0, 1]])[:2] / 2, [12, 4], atol=1e-4)


def test_tiny_ssd_overfits_one_batch_and_finds_its_boxes():
    net = models.tiny_ssd(num_classes=2)
    x = numbanet.full((2, 3, 64, 64), 0.5)
    boxes = [[8.0, 8.0, 32.0, 32.0], [30.0, 36.0, 62.0, 60.0]]
    for i, (x1, y1, x2, y2) in enumerate(boxes):
        x[i, i, int(y1) : int(y2), int(x1) : int(x2)] = 1.0
    targets = [{"boxes": numbanet.tensor([box]), "labels": numbanet.tensor([i + 1])} for i, box in enumerate(boxes)]
    optimizer = optim.Adam(net.parameters(), lr=0.005)
    totals = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = sum(net.loss(x, targets).values())
        loss.backward()
        optimizer.step()
        totals.append(loss.item())
    assert totals[-1] < 0.1 * totals[0]
    scores, offsets = net(x)[1:]
    found = detections(scores, offsets, net(x)[0], (64, 64), score_threshold=0.5)
    for i, image in enumerate(found):
        assert image["labels"].tolist()[0] == i + 1
        assert iou(image["boxes"].numpy()[0], boxes[i]) > 0.6


def test_tiny_ssd_detects_in_evaluation_mode_without_gradients():
    net = models.tiny_ssd()
    net.eval()
    found = net.detect(numbanet.rand(2, 3, 64, 64), score_threshold=0.2, top_k=7)
    assert len(found) == 2 and all(len(image["boxes"]) <= 7 for image in found)
    boxes = found[0]["boxes"].numpy()
    assert len(boxes) and boxes.min() >= 0 and boxes.max() <= 64
    assert not found[0]["scores"].requires_grad


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: multibox_prior(numbanet.zeros(1, 1, 2, 2), [], [1]), r"got \[\] and \[1\]"),
        (lambda: multibox_prior(numbanet.zeros(1, 1, 2, 2), [0.5], [1, -1]), r"got \[0.5\] and \[1, -1\]"),
        (lambda: DefaultBoxGenerator([[2], [2]], scales=[0.1, 0.2]), "2 maps need 3 scales, got 2"),
        (lambda: DefaultBoxGenerator([[2], [2]], steps=[8]), "2 maps but 1 steps"),
        (lambda: DefaultBoxGenerator([[2]])((8, 8), [(2, 2)] * 2), "made for 1 maps, got 2"),
        (lambda: models.TinySSD(sizes=[[0.1]]), "sizes and ratios of 5 maps, got 1 and 5"),
        (lambda: models.tiny_ssd()(numbanet.zeros(1, 3, 32, 64)), r"64 x 64 pixels at least, got \(1, 3, 32, 64\)"),
    ],
)
def test_wrong_calls(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_detector_can_be_built_on_any_backbone():
    """Feature maps of a network, the paper's default boxes, two convolutions per map: the pieces fit."""
    body = models.features(nn.Sequential(nn.Conv2d(3, 4, 3, 4, 1), nn.ReLU(), nn.Conv2d(4, 8, 3, 2, 1)), ["1", "2"])
    make = DefaultBoxGenerator([[2], [2]])
    x = numbanet.randn(2, 3, 32, 32)
    maps = list(body(x).values())
    boxes = make((32, 32), [tuple(m.shape[2:]) for m in maps])
    heads = [nn.Conv2d(m.shape[1], 4 * (3 + 4), 3, padding=1) for m in maps]
    predictions = [head(m).permute(0, 2, 3, 1).reshape(2, -1, 7) for head, m in zip(heads, maps, strict=True)]
    joined = numbanet.cat(predictions, 1)
    targets = [{"boxes": numbanet.tensor([[2.0, 2.0, 20.0, 20.0]]), "labels": numbanet.tensor([1])}] * 2
    sum(multibox_loss(joined[..., :3], joined[..., 3:], boxes, targets).values()).backward()
    assert all(p.grad.abs().sum().item() > 0 for p in body.parameters())
