"""Pictures: what stands on their axes, in their titles and beside their colour bars."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import numbanet
from numbanet import inspect, models, nn

pytest.importorskip("matplotlib")

NAMES = ["cat", "dog", "hen"]


def network():
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU()),
        nn.Conv2d(4, 6, 3, stride=2, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    )


def panels(figure):
    """The axes that hold a picture, without colour bars and hidden ones."""
    return [a for a in figure.axes if a.get_label() != "<colorbar>" and a.images]


def bars(figure):
    return [a.get_ylabel() for a in figure.axes if a.get_label() == "<colorbar>"]


def size_of(path):
    with Image.open(path) as picture:
        return picture.size


def images(count=2):
    return numbanet.rand(count, 1, 12, 10)


# Every picture with how many panels it has, its title and what its colour bar measures.
PICTURES = {
    "filters": (
        lambda path: inspect.plot_filters(network(), path=path),
        4,
        "0.0: Conv2d: 4 filters of 3 x 3",
        ["weight"],
    ),
    "filters of many channels": (
        lambda path: inspect.plot_filters(network(), "1", path, limit=8),
        8,
        "1: Conv2d: 2 of 6 filters of 3 x 3, 4 input channels",
        ["weight"],
    ),
    "filters in colours": (
        lambda path: inspect.plot_filters(nn.Conv2d(3, 5, 7), path=path),
        5,
        "Conv2d: 5 filters of 7 x 7",
        [],
    ),
    "feature maps": (
        lambda path: inspect.plot_feature_maps(network(), images(1), "1", path, limit=5),
        6,
        "1: Conv2d: 5 of 6 maps of 6 x 5 pixels",
        ["activation"],
    ),
    "receptive field": (
        lambda path: inspect.plot_receptive_field(network(), images(), ("0", "1"), path),
        2,
        "Sequential: what one output pixel sees of the input, computed (frame) and measured (heat)",
        ["gradient, relative to its largest\n(square-root scale)"],
    ),
    "grad-cam": (
        lambda path: inspect.plot_grad_cam(network(), images(), "1", path, classes=NAMES),
        4,
        "Grad-CAM at layer 1: Conv2d, 6 x 5 values",
        ["evidence, relative to\nits largest"],
    ),
    "occlusion": (
        lambda path: inspect.plot_occlusion(network(), images(1)[0], path, size=4, stride=3),
        2,
        "Occlusion: a square of 4 x 4 pixels hides a part, in steps of 3",
        ["probability while\nthis place is hidden"],
    ),
    "saliency": (
        lambda path: inspect.plot_saliency(network(), images(3), path, target=1, classes=NAMES),
        6,
        "Saliency: the gradient of the score by the pixels",
        ["|gradient|, relative to\nits largest"],
    ),
    "guided": (
        lambda path: inspect.plot_saliency(network(), images(1), path, guided=True),
        2,
        "Guided backpropagation",
        ["|gradient|, relative to\nits largest"],
    ),
    "confusion": (
        lambda path: inspect.plot_confusion_matrix([[5, 1, 0], [0, 2, 2], [0, 0, 0]], NAMES, path),
        1,
        "Confusion matrix: 10 images, accuracy 0.700",
        ["share of the label's images"],
    ),
    "misclassified": (
        lambda path: inspect.plot_misclassified(images(4), [0, 1, 2, 0], np.eye(3)[[0, 2, 0, 0]], NAMES, path),
        2,
        "2 of 4 images are taken for something else",
        [],
    ),
}


def nothing_collides(figure):
    """No text lies on another, or reaches beyond the figure."""
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    texts = [t for a in figure.axes for t in (a.title, a.xaxis.label, a.yaxis.label, *a.texts) if t.get_text().strip()]
    texts += [t for t in figure.texts if t.get_text()]
    places = [t.get_window_extent(renderer) for t in texts]
    for text, place in zip(texts, places):
        assert place.x0 >= -1 and place.y0 >= -1, text
        assert place.x1 <= figure.bbox.x1 + 1 and place.y1 <= figure.bbox.y1 + 1, text
    inside = {id(t) for a in figure.axes for t in a.texts}  # numbers in cells, and second lines of titles
    outer = [(t, p.shrunk(0.98, 0.9)) for t, p in zip(texts, places) if id(t) not in inside]
    for k, (text, place) in enumerate(outer):
        for other, there in outer[k + 1 :]:
            assert not place.overlaps(there), (text, other)


@pytest.mark.parametrize("name", PICTURES)
def test_panels_titles_and_colour_bars(name, tmp_path):
    draw, count, title, measured = PICTURES[name]
    path = tmp_path / "picture.png"
    figure = draw(path)
    assert len(panels(figure)) == count
    assert figure.get_suptitle() == title
    assert bars(figure) == measured
    wide, high = size_of(path)
    assert (wide, high) == tuple(round(inches * 120) for inches in figure.get_size_inches())
    assert 300 < wide < 2400
    nothing_collides(figure)


def test_filters_are_the_weights():
    net = network()
    figure = inspect.plot_filters(net)
    for axes, kernel in zip(panels(figure), net[0][0].weight.detach().numpy()[:, 0]):
        np.testing.assert_array_equal(axes.images[0].get_array(), kernel)
        assert axes.images[0].get_clim() == (
            -np.abs(net[0][0].weight.detach().numpy()).max(),
            np.abs(net[0][0].weight.detach().numpy()).max(),
        )


def test_feature_maps_are_the_activations():
    net, image = network(), images(1)
    maps = net[0](image).detach().numpy()[0]
    first, *rest = panels(inspect.plot_feature_maps(net, image, "0"))
    np.testing.assert_allclose(first.images[0].get_array(), image.numpy()[0, 0])
    assert len(rest) == 4
    for axes, one in zip(rest, maps):
        np.testing.assert_allclose(axes.images[0].get_array(), one)
        assert axes.images[0].get_clim() == (0, maps.max())


def test_receptive_fields_are_framed():
    net = network()
    figure = inspect.plot_receptive_field(net, (1, 1, 12, 10), ("0.0", net[1]), position=(3, 2))
    for axes, name, size in zip(panels(figure), ("0.0", "1"), (3, 5)):
        (frame,) = axes.patches
        (top, bottom), (left, right) = inspect.receptive_field(net, (1, 1, 12, 10), name).window((3, 2))
        assert (frame.get_x(), frame.get_y()) == (left - 0.5, top - 0.5)
        assert (frame.get_width(), frame.get_height()) == (size, size) == (right - left + 1, bottom - top + 1)
        heat = axes.images[-1].get_array()
        assert heat.max() == 1
        assert np.count_nonzero(heat) == np.count_nonzero(heat[max(top, 0) : bottom + 1, max(left, 0) : right + 1]) > 0
        assert f"field {size} px" in axes.get_title()


def test_maps_lie_over_the_images():
    net, x = network(), images(2)
    figure = inspect.plot_grad_cam(net, x, "1", classes=NAMES)
    shares = numbanet.softmax(net(x), 1).detach().numpy()
    for i, (above, below) in enumerate(zip(panels(figure)[:2], panels(figure)[2:])):
        found = inspect.grad_cam(net, x[i : i + 1], "1")
        np.testing.assert_allclose(below.images[0].get_array(), found / (found.max() or 1), rtol=1e-5)
        assert below.images[0].get_extent() == [-0.5, 9.5, 11.5, -0.5]
        assert (below.get_xlim(), below.get_ylim()) == ((-0.5, 9.5), (11.5, -0.5))
        assert above.get_title() == f"{NAMES[shares[i].argmax()]}\nprobability {shares[i].max():.2f}"
    (_, below) = panels(inspect.plot_occlusion(net, x[:1], size=4, stride=5))
    assert below.images[0].get_array().shape == (2, 2)
    assert below.images[0].get_extent() == [-0.5, 9.5, 9.5, -0.5]


def test_confusions():
    axes, bar = inspect.plot_confusion_matrix(np.array([[5, 1, 0], [0, 2, 2], [0, 0, 0]]), NAMES).axes
    np.testing.assert_allclose(axes.images[0].get_array(), [[5 / 6, 1 / 6, 0], [0, 0.5, 0.5], [0, 0, 0]])
    assert [(t.get_text(), t.get_position()) for t in axes.texts] == [
        ("5", (0, 0)), ("1", (1, 0)), ("2", (1, 1)), ("2", (2, 1)),
    ]  # fmt: skip
    assert [t.get_text() for t in axes.get_yticklabels()] == NAMES
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("prediction", "label")
    assert bar.get_ylabel() == "share of the label's images"


def test_accuracy_by_class():
    figure = inspect.plot_class_accuracy([[5, 1, 0], [0, 2, 2], [0, 0, 0]], NAMES)
    recall, precision = ([bar.get_width() for bar in bars] for bars in figure.axes[0].containers)
    np.testing.assert_allclose(recall, [5 / 6, 0.5, 0])
    np.testing.assert_allclose(precision, [1, 2 / 3, 0])
    assert figure.axes[0].get_xlabel() == "share of images"
    words = [(t.get_text(), t.get_position()[1]) for t in figure.axes[0].texts]
    assert words == [("no images", 1.8)]


def test_accuracy_by_class_tells_what_was_never_predicted():
    figure = inspect.plot_class_accuracy([[5, 0], [2, 0]])
    words = [(t.get_text(), t.get_position()[1]) for t in figure.axes[0].texts]
    assert words == [("never predicted", 1.2)]


def test_misclassified_begin_with_the_most_certain():
    scores = np.zeros((5, 3))
    scores[[0, 1, 2, 3], [1, 2, 0, 1]] = [1.0, 3.0, 2.0, 9.0]
    x = images(5)
    figure = inspect.plot_misclassified(x, np.array([0, 0, 0, 2, 0]), scores, NAMES, limit=2)
    first, second = panels(figure)
    np.testing.assert_allclose(first.images[0].get_array(), x.numpy()[3, 0])
    np.testing.assert_allclose(second.images[0].get_array(), x.numpy()[1, 0])
    assert (first.get_title().strip(), first.texts[0].get_text()) == ("hen", "dog 1.00")
    assert second.texts[0].get_text() == f"hen {np.exp(3) / (np.exp(3) + 2):.2f}"
    assert (
        figure.get_suptitle()
        == "3 of 5 images are taken for something else; the 2 of which the network is most certain"
    )
    assert "0 of 2 images" in inspect.plot_misclassified(x[:2], [1, 2], np.eye(3)[1:]).get_suptitle()


def test_curves():
    rows = [
        {"epoch": i + 1, "loss": 2.0 / (i + 1), "train_acc": 0.6 + 0.1 * i, "test_acc": 0.55 + 0.1 * i}
        for i in range(3)
    ]
    left, right = inspect.plot_curves(rows, title="LeNet").axes
    assert [t.get_text() for t in left.get_legend().get_texts()] == ["training: 0.667 at the end"]
    assert [t.get_text() for t in right.get_legend().get_texts()] == [
        "training: 0.800 at the end",
        "test: 0.750 at the end",
    ]
    np.testing.assert_allclose(left.lines[0].get_xydata(), [(1, 2), (2, 1), (3, 2 / 3)])
    assert left.get_xlim() == (0.9, 3.1)
    assert (left.get_ylabel(), right.get_ylabel(), right.get_ylim()) == ("loss", "accuracy", (0.5, 1))


def test_curves_of_one_epoch_and_of_one_that_ends_in_nan():
    figure = inspect.plot_curves([{"epoch": 4, "loss": 2.0}])
    figure.draw_without_rendering()
    low, high = figure.axes[0].get_xlim()
    assert [tick for tick in figure.axes[0].get_xticks() if low <= tick <= high] == [4]
    figure = inspect.plot_curves([{"epoch": i, "loss": 2.0 if i < 3 else float("nan")} for i in range(1, 6)])
    assert figure.axes[0].get_xlim() == (0.8, 5.2)


def test_many_classes_make_no_huge_picture():
    figure = inspect.plot_confusion_matrix(np.eye(100, dtype=int))
    assert max(figure.get_size_inches()) < 12
    assert not figure.axes[0].texts


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: inspect.plot_filters(nn.ReLU()), ValueError, "the ReLU has no convolution"),
        (lambda: inspect.plot_filters(network(), "4"), ValueError, "layer '4' has no weight"),
        (lambda: inspect.plot_feature_maps(network(), images(1), "4"), ValueError, r"\(1, 3\) of layer '4' is no feature map"),
        (lambda: inspect.plot_feature_maps(network(), images(2), "1"), ValueError, "expected one image"),
        (lambda: inspect.plot_receptive_field(network(), (1, 1, 12, 10), ()), ValueError, "at least one layer"),
        (lambda: inspect.plot_receptive_field(network(), (1, 1, 12, 10), ("4",)), ValueError, "no positions"),
        (lambda: inspect.plot_confusion_matrix(np.zeros((2, 3))), ValueError, r"expected counts .* shape \(2, 3\)"),
        (lambda: inspect.plot_class_accuracy(np.ones((3, 3)), ["a"]), ValueError, "got 1 names for 3 classes"),
        (lambda: inspect.plot_misclassified(images(2), [0], np.ones((2, 3))), ValueError, r"\(2, 1, 12, 10\), \(1,\) and \(2, 3\)"),
        (lambda: inspect.plot_misclassified(images(1), [0], np.ones((1, 3)), limit=0), ValueError, "limit must be at least 1"),
        (lambda: inspect.plot_misclassified(images(1), [0], np.ones((1, 3)), ["a"]), ValueError, "got 1 names for scores of 3"),
        (lambda: inspect.plot_misclassified(images(1), [3], np.ones((1, 3))), ValueError, "labels from 3 to 3 for scores of 3"),
        (lambda: inspect.plot_curves([]), ValueError, "history is empty"),
    ],
)  # fmt: skip
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'numbanet\[plot\]'"):
        inspect.plot_filters(models.lenet())
