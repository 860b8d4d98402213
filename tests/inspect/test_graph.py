"""The graph picture: which boxes and lines there are, that nothing lies on anything else, and both formats."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from xml.etree import ElementTree

import numpy as np
import pytest

from numbanet import models, nn
from numbanet.functional import cat
from numbanet.inspect import graph
from numbanet.inspect.layout import SPACE, lay_out
from numbanet.nn import functional as F

TIMES = "\N{MULTIPLICATION SIGN}"


class Residual(nn.Module):
    def __init__(self, inputs, outputs, stride=1):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs)
        self.short = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 else None

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.short is None else self.short(x)))


class Inception(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.a, self.b = nn.Conv2d(inputs, 4, 1), nn.Sequential(nn.Conv2d(inputs, 2, 1), nn.Conv2d(2, 4, 3, padding=1))
        self.c, self.d = nn.Conv2d(inputs, 4, 5, padding=2), nn.MaxPool2d(3, 1, 1)

    def forward(self, x):
        return cat((self.a(x), self.b(x), self.c(x), self.d(x)), 1)


def residual():
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.Sequential(Residual(8, 8), Residual(8, 16, 2)), nn.Flatten())


def inception():
    return nn.Sequential(nn.Sequential(Inception(3), Inception(15)), nn.ReLU(), nn.AdaptiveAvgPool2d(1))


def dense():
    class Dense(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Conv2d(3 + 2 * i, 2, 3, padding=1) for i in range(5))

        def forward(self, x):
            found = [x]
            for layer in self.layers:
                found.append(F.relu(layer(cat(found, 1))))
            return cat(found, 1)

    return Dense()


NETWORKS = {
    "lenet": (models.lenet, (1, 1, 28, 28)),
    "residual": (residual, (1, 1, 12, 12)),
    "inception": (inception, (1, 3, 9, 9)),
    "dense": (dense, (1, 3, 8, 8)),
}


def drawn(name, **options):
    make, shape = NETWORKS[name]
    return graph(make(), shape, **options)


def test_lenet():
    found = drawn("lenet")
    assert [(box.title, box.more, box.name) for box in found.boxes.values()] == [
        ("input", [], ""),
        (f"conv 5{TIMES}5, 6", ["Sigmoid"], "0"),
        (f"average pool 2{TIMES}2, /2", [], "2"),
        (f"conv 5{TIMES}5, 16", ["Sigmoid"], "3"),
        (f"average pool 2{TIMES}2, /2", [], "5"),
        ("Flatten", [], "6"),
        ("linear, 120", ["Sigmoid"], "7"),
        ("linear, 84", ["Sigmoid"], "9"),
        ("linear, 10", [], "11"),
        ("output", [], ""),
    ]
    shapes = ["1x28x28", "6x28x28", "6x14x14", "16x10x10", "16x5x5", "400", "120", "84", "10"]
    assert [shape.replace(TIMES, "x") for shape in found.lines.values()] == shapes
    assert all(tail < head for tail, head in found.lines)


def test_every_layer_has_its_box_without_fusing():
    found = drawn("lenet", fuse=False)
    assert [box.title for box in found.boxes.values()].count("Sigmoid") == 4
    assert len(found.boxes) == 14
    assert len(found.lines) == 13


def test_shortcuts_join():
    found = drawn("residual")
    sums = [number for number, box in found.boxes.items() if box.title == "+"]
    assert len(sums) == 2
    for number in sums:
        assert found.boxes[number].more == ["relu"]
        assert sum(head == number for _, head in found.lines) == 2
    assert sum(tail == sums[0] for tail, _ in found.lines) == 2  # to the second block's convolution and to its shortcut
    assert [found.boxes[n].name for n in found.boxes if found.boxes[n].group == ("1", "1.1")] == [
        "1.1.conv1",
        "1.1.conv2",
        "1.1.short",
        "",
    ]


def test_depth_makes_modules_boxes():
    found = drawn("inception", depth=2)
    titles = [box.title for box in found.boxes.values()]
    assert titles == ["input", "Inception", "Inception", "ReLU", f"average pool to 1{TIMES}1", "output"]
    assert [box.kind for box in found.boxes.values()][1] == "block"
    assert [box.title for box in drawn("inception", depth=1).boxes.values()][1] == "Sequential"


def test_a_layer_called_twice_has_two_boxes():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 3)

        def forward(self, x):
            return self.conv(self.conv(x))

    found = graph(Twice(), (1, 2, 8, 8))
    assert [box.title for box in found.boxes.values()][1:3] == [f"conv 3{TIMES}3, 2", f"conv 3{TIMES}3, 2 (again)"]


def test_several_inputs_and_outputs():
    class Two(nn.Module):
        def forward(self, a, b):
            return (a + b).relu(), a * 2

    found = graph(Two(), [(1, 2, 3, 3), (1, 2, 3, 3)])
    assert [box.title for box in found.boxes.values()].count("input") == 2
    assert [box.title for box in found.boxes.values()].count("output") == 2


# ------------------------------------------------------------------------------------------------------------- SVG

SVG = "{http://www.w3.org/2000/svg}"


def numbers(element, *names):
    return [float(element.get(name)) for name in names]


@pytest.mark.parametrize("name", NETWORKS)
def test_svg_has_all_boxes_and_none_on_another(name):
    found = drawn(name)
    root = ElementTree.fromstring(found.to_svg())
    left, _, width, height = map(float, root.get("viewBox").split())
    assert numbers(root, "width", "height") == [width, height]
    for x, y, w, h in (numbers(r, "x", "y", "width", "height") for r in root.iter(SVG + "rect") if r.get("rx")):
        assert left <= x and x + w <= left + width and y >= 0 and y + h <= height
    boxes = [numbers(r, "x", "y", "width", "height") for r in root.iter(SVG + "rect") if r.get("rx") == "6"]
    assert len(boxes) == len(found.boxes)
    for (x, y, w, h), (a, b, c, d) in itertools.combinations(boxes, 2):
        assert x + w <= a or a + c <= x or y + h <= b or b + d <= y
    words = [text.text for text in root.iter(SVG + "text")]
    assert all(box.title in words for box in found.boxes.values())
    assert all(shape in words for shape in found.lines.values())
    paths = [p.get("d") for p in root.iter(SVG + "path") if p.get("marker-end")]
    assert len(paths) == len(found.lines)
    for path in paths:  # from the lower side of a box to the upper side of one further down
        x, y, *_, a, b = map(float, re.findall(r"-?[\d.]+", path))
        assert any(left <= x <= left + w and y == pytest.approx(top + h, abs=0.2) for left, top, w, h in boxes)
        assert any(left <= a <= left + w and b == pytest.approx(top, abs=0.2) for left, top, w, h in boxes)
        assert b > y


def test_frames_hold_what_belongs_together():
    root = ElementTree.fromstring(drawn("residual").to_svg())
    frames = [r for r in root.iter(SVG + "rect") if r.get("rx") == "8"]
    assert len(frames) == 3  # the pair of blocks, and each of them
    (x, y, w, h), *inner = [numbers(r, "x", "y", "width", "height") for r in frames]
    assert all(x < a and y < b and a + c < x + w and b + d < y + h for a, b, c, d in inner)


def test_frames_hold_the_shapes_that_stand_beside_narrow_boxes():
    net = nn.Sequential(nn.Sequential(nn.Conv2d(1, 1000, 1), nn.Flatten(2)), nn.Flatten())
    root = ElementTree.fromstring(graph(net, (1, 1, 100, 100)).to_svg())
    left, _, width, _ = map(float, root.get("viewBox").split())
    frames = [numbers(r, "x", "y", "width", "height") for r in root.iter(SVG + "rect") if r.get("rx") == "8"]
    labels = [t for t in root.iter(SVG + "text") if t.get("fill") == "#546e7a"]
    assert len(labels) == 4
    assert len(frames) == 1
    for label in labels:
        x, y = numbers(label, "x", "y")
        long = 0.55 * float(label.get("font-size")) * len(label.text)  # digits are .556 wide in Helvetica
        a, b = (x, x + long) if label.get("text-anchor") == "start" else (x - long, x)
        assert left <= a and b <= left + width
        for start, top, w, h in frames:
            if top < y < top + h and start < x < start + w:
                assert start < a and b < start + w


def test_names_are_escaped():
    class Odd(nn.Module):
        def forward(self, x):
            return x.relu()

    Odd.__name__ = 'A<B> & "C"'
    found = graph(nn.Sequential(nn.Conv2d(1, 1, 1), Odd()), (1, 1, 4, 4))
    assert 'A<B> & "C"' in [text.text for text in ElementTree.fromstring(found.to_svg()).iter(SVG + "text")]
    assert r'label="A<B> & \"C\"' in found.to_dot()


@pytest.mark.parametrize("seed", range(8))
def test_layout_of_random_graphs(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 30))
    sizes = {i: (float(rng.integers(20, 120)), float(rng.integers(20, 50))) for i in range(count)}
    lines = sorted(
        {tuple(sorted(pair)) for pair in rng.integers(0, count, (2 * count, 2)).tolist() if pair[0] != pair[1]}
    )
    found = lay_out(sizes, lines, dict.fromkeys(sizes, 30.0), margin=10)
    assert found == lay_out(sizes, lines, dict.fromkeys(sizes, 30.0), margin=10)
    for a, b in itertools.combinations(sizes, 2):
        beside = abs(found.x[a] - found.x[b]) >= (sizes[a][0] + sizes[b][0]) / 2 + SPACE - 1e-6
        assert beside or abs(found.y[a] - found.y[b]) >= (sizes[a][1] + sizes[b][1]) / 2
    for tail, head in lines:
        path = found.paths[tail, head]
        assert path[0] == (found.x[tail], found.y[tail] + sizes[tail][1] / 2)
        assert path[-1] == (found.x[head], found.y[head] - sizes[head][1] / 2)
        assert all(low <= high for (_, low), (_, high) in itertools.pairwise(path))
    assert min(found.x[i] - sizes[i][0] / 2 for i in sizes) >= 10 - 1e-6
    assert max(found.x[i] + sizes[i][0] / 2 for i in sizes) <= found.width - 10 + 1e-6
    assert max(found.y[i] + sizes[i][1] / 2 for i in sizes) <= found.height - 10 + 1e-6


# ------------------------------------------------------------------------------------------------------------- DOT


@pytest.mark.parametrize("name", NETWORKS)
def test_dot(name, tmp_path):
    found = drawn(name)
    text = found.to_dot()
    assert text.startswith("digraph {")
    assert text.count("{") == text.count("}")
    assert len(re.findall(r"^ *n\d+ \[label=", text, re.MULTILINE)) == len(found.boxes)
    assert len(re.findall(r"^ *n\d+ -> n\d+ ", text, re.MULTILINE)) == len(found.lines)
    found.save(tmp_path / "net.dot")
    assert (tmp_path / "net.dot").read_text(encoding="utf-8") == text
    if shutil.which("dot"):  # Graphviz itself, where it is installed
        done = subprocess.run(["dot", "-Tplain", tmp_path / "net.dot"], capture_output=True, text=True, check=True)
        assert len(re.findall("^node ", done.stdout, re.MULTILINE)) == len(found.boxes)
        assert len(re.findall("^edge ", done.stdout, re.MULTILINE)) == len(found.lines)


def test_save_and_what_is_refused(tmp_path):
    found = drawn("lenet")
    found.save(tmp_path / "net.svg")
    assert (tmp_path / "net.svg").read_text(encoding="utf-8") == found.to_svg() == found._repr_svg_()
    with pytest.raises(ValueError, match=r"net\.png: expected a file ending in \.svg, \.dot or \.gv"):
        found.save(tmp_path / "net.png")
    with pytest.raises(ValueError, match="graph: depth must be at least 1, got 0"):
        drawn("lenet", depth=0)
    with pytest.raises(ValueError, match=r"graph: input \(1, 3, 28, 28\) fails in Conv2d '0'"):
        graph(models.lenet(), (1, 3, 28, 28))
    with pytest.raises(TypeError, match=r"graph: net must be an nn\.Module"):
        graph(F.relu, (1, 3, 28, 28))
