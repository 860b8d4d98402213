"""Metrics against loops written out."""

from __future__ import annotations

import numpy as np
import pytest

import numbanet
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
    assert [line.get_label() for line in losses.lines] == ["training", "test"]
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
