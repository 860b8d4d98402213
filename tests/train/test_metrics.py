"""Metrics against loops written out."""

from __future__ import annotations

import numpy as np
import pytest

import numbanet
from numbanet import train
from numbanet.train import Accumulator, accuracy, confusion_matrix, notes, top_k_accuracy
from numbanet.train.history import History


def scores(n=50, classes=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, classes)).astype(np.float32), rng.integers(classes, size=n)


def test_accuracy_counts_the_largest_score():
    output, labels = scores()
    expected = sum(max(range(6), key=lambda c: row[c]) == y for row, y in zip(output, labels, strict=True)) / 50
    assert accuracy(numbanet.from_numpy(output), numbanet.from_numpy(labels)) == pytest.approx(expected)
    assert accuracy(output.argmax(1), labels) == pytest.approx(expected)
    assert notes.accuracy(numbanet.from_numpy(output), numbanet.from_numpy(labels)) == expected * 50


@pytest.mark.parametrize("k", [1, 2, 6])
def test_top_k_looks_among_the_k_largest(k):
    output, labels = scores()
    expected = np.mean(
        [y in sorted(range(6), key=lambda c: -row[c])[:k] for row, y in zip(output, labels, strict=True)]
    )
    assert top_k_accuracy(numbanet.from_numpy(output), numbanet.from_numpy(labels), k) == pytest.approx(expected)


def test_top_k_does_not_count_nan_as_right():
    output, labels = scores()
    assert top_k_accuracy(np.full_like(output, np.nan), labels, 5) == 0
    with pytest.raises(ValueError, match="k must be from 1 to the number of classes 6, got 7"):
        top_k_accuracy(output, labels, 7)


def test_confusion_matrix_has_labels_in_rows():
    output, labels = scores()
    expected = np.zeros((6, 6), int)
    for row, y in zip(output, labels, strict=True):
        expected[y, row.argmax()] += 1
    found = confusion_matrix(numbanet.from_numpy(output), numbanet.from_numpy(labels))
    assert np.array_equal(found, expected)
    assert np.array_equal(confusion_matrix([1, 1], [0, 2]), [[0, 1, 0], [0, 0, 0], [0, 1, 0]])
    with pytest.raises(ValueError, match=r"a label lies outside 0 \.\.\. 1"):
        confusion_matrix([0, 1], [0, 2], num_classes=2)


def test_accumulator_sums_numbers_and_tensors():
    sums = Accumulator(2)
    sums.add(1, numbanet.tensor(2.5))
    sums.add(2.0, 3)
    assert (sums[0], sums[1]) == (3.0, 5.5)
    sums.reset()
    assert sums[0] == 0
    with pytest.raises(ValueError, match="has 2 sums, got 1 numbers"):
        sums.add(1)


def test_history_is_rows_and_columns(tmp_path):
    history = History([{"epoch": 1, "loss": 2.0}])
    history.append({"epoch": 2, "loss": 1.0, "test_acc": 0.5})
    assert history["loss"] == [2.0, 1.0]
    assert history["test_acc"] == [None, 0.5]
    assert history[-1]["epoch"] == 2
    with pytest.raises(KeyError, match="no column 'los'; it has epoch, loss, test_acc"):
        history["los"]
    history.to_csv(tmp_path / "h.csv")
    assert (tmp_path / "h.csv").read_text().splitlines() == ["epoch,loss,test_acc", "1,2.0,", "2,1.0,0.5"]
    assert history.summary() == "loss 1.000, test acc 0.500"


def test_curves_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    rows = [
        {"epoch": e, "loss": 1 / e, "train_acc": 1 - 1 / e, "test_loss": 1.1 / e, "test_acc": 0.9} for e in range(1, 4)
    ]
    figure = History(rows).plot(tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    losses, accuracies = figure.axes
    assert [line.get_label().partition(":")[0] for line in losses.lines] == ["training", "test"]
    assert list(losses.lines[0].get_ydata()) == [1, 0.5, 1 / 3]
    assert list(accuracies.lines[1].get_ydata()) == [0.9] * 3
    with pytest.raises(ValueError, match="history is empty"):
        History().plot()


def test_timer_and_gpu_helpers():
    timer = notes.Timer()
    assert timer.stop() >= 0
    timer.start()
    timer.stop()
    assert timer.sum() == pytest.approx(sum(timer.times))
    assert timer.avg() == pytest.approx(timer.sum() / 2)
    assert timer.cumsum()[-1] == pytest.approx(timer.sum())
    if not numbanet.cuda.is_available():
        assert str(notes.try_gpu()) == "cpu"
        assert [str(d) for d in notes.try_all_gpus()] == ["cpu"]


# -------------------------------------------------------------------------------------- segmentation and detection


def test_mean_iou_of_a_matrix_by_hand():
    matrix = np.array([[50, 5, 0], [10, 30, 0], [0, 0, 0]])  # the third class does not occur
    assert train.mean_iou(matrix) == pytest.approx((50 / 65 + 30 / 45) / 2)
    assert train.mean_iou(np.eye(4, dtype=int)) == 1
    assert np.isnan(train.mean_iou(np.zeros((2, 2))))
    with pytest.raises(ValueError, match=r"got shape \(2, 3\)"):
        train.mean_iou(np.zeros((2, 3)))


def detected(*rows):
    """(class, score, x1, y1, x2, y2) per detection; a score of None for a true box."""
    table = np.array([[label, score or 0.0, *box] for label, score, *box in rows]).reshape(-1, 6)
    return {"labels": table[:, 0].astype(np.int64), "scores": table[:, 1], "boxes": table[:, 2:].astype(np.float32)}


TRUE = [
    detected((1, None, 0, 0, 10, 10), (1, None, 20, 20, 30, 30), (2, None, 0, 20, 10, 30)),
    detected((1, None, 5, 5, 15, 15)),
]
# Of class 1, by score: right, wrong (found before), right, wrong (place), and one box is never found.
SAID = [
    detected((1, 0.9, 0, 0, 10, 11), (1, 0.8, 0, 0, 11, 10), (1, 0.6, 40, 40, 50, 50), (2, 0.5, 0, 20, 10, 30)),
    detected((1, 0.7, 5, 6, 15, 16), (3, 0.9, 5, 5, 15, 15)),
]


def test_average_precision_by_hand():
    """Recall 1/3, 1/3, 2/3, 2/3 with precision 1, 1/2, 2/3, 1/2: an area of 1/3 + 1/3 * 2/3."""
    found = train.average_precisions(SAID, TRUE)
    assert found == pytest.approx({1: 1 / 3 + 2 / 9, 2: 1.0})  # class 3 is nowhere: it has no average
    assert train.mean_average_precision(SAID, TRUE) == pytest.approx((5 / 9 + 1) / 2)
    # Recalls 0 to 0.3 have precision 1, 0.4 to 0.6 have 2/3, the rest none.
    eleven = train.average_precisions(SAID, TRUE, eleven_points=True)
    assert eleven == pytest.approx({1: (4 * 1 + 3 * 2 / 3) / 11, 2: 1.0})


def test_average_precision_asks_for_the_overlap():
    """IoU 10 / 11 and 9 / 11: with 0.9 only the first find is near enough."""
    assert train.average_precisions(SAID, TRUE, 0.9)[1] == pytest.approx(1 / 3)
    assert train.average_precisions(SAID, TRUE, 0.95)[1] == 0
    assert train.average_precisions(SAID, TRUE, 10 / 11 - 1e-6)[1] > 0


def test_perfect_and_absent_detections():
    perfect = [{**image, "scores": np.linspace(1, 0.5, len(image["labels"]))} for image in TRUE]
    for eleven in (False, True):
        assert train.mean_average_precision(perfect, TRUE, eleven_points=eleven) == pytest.approx(1)
        assert train.mean_average_precision([detected(), detected()], TRUE, eleven_points=eleven) == 0
    assert np.isnan(train.mean_average_precision([detected((1, 0.5, 0, 0, 1, 1))], [detected()]))
    with pytest.raises(ValueError, match="2 predictions for 1 targets"):
        train.average_precisions(SAID, TRUE[:1])


def test_average_precision_is_that_of_loops():
    rng = np.random.default_rng(0)

    def image(count):
        corner = rng.uniform(0, 20, (count, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(5, 12, (count, 2))], axis=1)
        return {"boxes": boxes, "scores": np.round(rng.random(count), 2), "labels": rng.integers(1, 3, count)}

    targets = [image(4) for _ in range(8)]
    said = [image(12) for _ in range(8)]
    for label in (1, 2):
        rows = []
        for n, prediction in enumerate(said):
            mine = np.flatnonzero(prediction["labels"] == label)
            rows += [(-prediction["scores"][i], n, k, prediction["boxes"][i]) for k, i in enumerate(mine)]
        found, points, total = set(), [], sum((t["labels"] == label).sum() for t in targets)
        for rank, (_, n, _, box) in enumerate(sorted(rows, key=lambda row: row[:3]), 1):
            best, chosen = 0.0, None
            for k in np.flatnonzero(targets[n]["labels"] == label):
                other = targets[n]["boxes"][k]
                sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
                shared = np.prod(np.maximum(sides, 0))
                overlap = shared / (np.prod(box[2:] - box[:2]) + np.prod(other[2:] - other[:2]) - shared)
                if overlap > best:
                    best, chosen = overlap, (n, k)
            if best >= 0.3 and chosen not in found:
                found.add(chosen)
            points.append((len(found) / total, len(found) / rank))
        area, last = 0.0, 0.0
        for recall, _ in points:
            area += (recall - last) * max(p for r, p in points if r >= recall)
            last = recall
        assert 0.02 < area < 0.98
        assert train.average_precisions(said, targets, 0.3)[label] == pytest.approx(area)


def test_soft_labels_count_by_their_most_probable_class():
    scores = numbanet.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 3.0]])
    assert accuracy(scores, numbanet.tensor([[0.6, 0.4, 0.0], [0.7, 0.0, 0.3]])) == 0.5
