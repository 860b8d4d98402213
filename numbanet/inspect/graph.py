"""A network as a picture: boxes for its layers, lines for what flows, as Graphviz's DOT or drawn as SVG.

What is drawn is what ran: the graph comes from the tape of one run, so that shortcuts and branches are there whatever a
``forward`` looks like.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

from numbanet import nn
from numbanet.autograd.tape import Node
from numbanet.inspect.layout import Layout, lay_out
from numbanet.inspect.receptive_field import by_axes
from numbanet.inspect.trace import Call, operation_name, output_shape_of, trace
from numbanet.nn import Module

TIMES = "\N{MULTIPLICATION SIGN}"

# Kinds of boxes with the colours of their ground and rim.
COLORS = {
    "input": ("#eceff1", "#90a4ae"),
    "convolution": ("#dbe9f9", "#5b8dc9"),
    "pooling": ("#fdebd3", "#d99a3d"),
    "linear": ("#dff1dd", "#66a861"),
    "joint": ("#ffffff", "#78909c"),
    "block": ("#ece6f6", "#8e75bf"),
    "other": ("#f5f3ec", "#a39b80"),
}
_OPERATIONS = {"add": "+", "add_scaled": "+", "mul": TIMES, "sub": "-", "div": "/", "avg_pool": "average pool"}


@dataclass
class Box:
    """A layer, an operation or a whole module of the picture.

    Attributes:
        title: what it is: "conv 3x3, 64".
        name: the layer's dotted name; "" for an operation.
        kind: which colour it has.
        group: names of the modules that it is inside of, the outermost first (with a number where called again).
        more: what follows it without a box of its own: normalisations and activations.
        shape: of its output, without the batch.
    """

    title: str
    name: str
    kind: str
    group: tuple[str, ...]
    more: list[str] = field(default_factory=list)
    shape: str = ""


@dataclass
class Graph:
    """The picture: numbered boxes and lines between them, with the shapes that flow along the lines.

    ``save("net.svg")`` or ``save("net.dot")`` writes it; in a notebook it shows itself.
    """

    boxes: dict[int, Box]
    lines: dict[tuple[int, int], str]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file: SVG or DOT, as its ending says (.svg, .dot, .gv).

        Raises:
            ValueError: for another ending.
        """
        kind = Path(path).suffix.lower()
        if kind not in (".svg", ".dot", ".gv"):
            raise ValueError(f"graph: {path}: expected a file ending in .svg, .dot or .gv")
        Path(path).write_text(self.to_svg() if kind == ".svg" else self.to_dot(), encoding="utf-8")

    def _repr_svg_(self) -> str:
        return self.to_svg()

    def to_dot(self) -> str:
        """The graph in Graphviz's language."""
        text = ["digraph {", '  node [shape=box, style="rounded,filled", fontname="Helvetica", fontsize=12];']
        text += ['  edge [fontname="Helvetica", fontsize=10, color="#546e7a"];']
        clusters: dict[tuple[str, ...], list[int]] = {(): []}
        for number, box in self.boxes.items():
            for depth in range(len(box.group) + 1):
                clusters.setdefault(box.group[:depth], [])
            clusters[box.group].append(number)

        def write(group: tuple[str, ...]) -> Iterator[str]:
            indent = "  " * (len(group) + 1)
            for number in clusters[group]:
                box = self.boxes[number]
                ground, rim = COLORS[box.kind]
                label = "\\n".join(_quoted(line) for line in (box.title, *box.more, _local(box)) if line)
                yield f'{indent}n{number} [label="{label}", fillcolor="{ground}", color="{rim}"];'
            for inner in clusters:
                if len(inner) == len(group) + 1 and inner[: len(group)] == group:
                    name = "_".join(inner).replace(".", "_").replace(" ", "_")
                    yield f'{indent}subgraph "cluster_{_quoted(name)}" {{'
                    yield f'{indent}  label="{_quoted(inner[-1])}"; style="rounded"; color="#b0bec5"; fontsize=10;'
                    yield from write(inner)
                    yield indent + "}"

        text += write(())
        for (tail, head), shape in self.lines.items():
            text.append(f'  n{tail} -> n{head} [label="{_quoted(shape)}"];')
        return "\n".join([*text, "}"]) + "\n"

    def to_svg(self) -> str:
        """The graph drawn as SVG, in boxes from top to bottom; needs no Graphviz."""
        return _draw(self)


def graph(net: Module, input_shape: Any, *, depth: int | None = None, fuse: bool = True) -> Graph:
    """A network as boxes and lines.

    Layers that hand their input on unchanged, as dropout does in evaluation, are not there.

    Args:
        net: a module; it runs once, in evaluation mode.
        input_shape: shape of the input, the batch size first: (1, 3, 224, 224); or a tensor; or a list of them for a network of
            several inputs.
        depth: how many levels of modules to look into; None for all. With 1 the network's own parts are boxes.
        fuse: draw normalisations and activations in the box of what they follow.

    Raises:
        TypeError: if net is not a module.
        ValueError: for a depth below 1, what is not a shape, or a shape that the network refuses, with the layer's name.
    """
    if depth is not None and depth < 1:
        raise ValueError(f"graph: depth must be at least 1, got {depth}")
    traced = trace("graph", net, input_shape)
    boxes: dict[int, Box] = {}
    lines: dict[tuple[int, int], str] = {}
    numbers: dict[Any, int] = {}

    def add(key: Any, box: Box) -> int:
        numbers[key] = len(boxes)
        boxes[len(boxes)] = box
        return numbers[key]

    for edge, shape in traced.sources.items():
        add(edge, Box("input", "", "input", (), shape=_flow(shape)))
    for node, call in traced.owner.items():
        shown = _shown(call, depth)
        key: Any = node if shown is None else shown
        number = numbers[key] if key in numbers else add(key, _box(key, call))
        boxes[number].shape = _flow(output_shape_of(node))
        for following, index in node.next_functions:
            source: Any = (following, index)
            if source not in traced.sources:
                if following not in traced.owner:
                    continue
                inner = _shown(traced.owner[following], depth)
                source = following if inner is None else inner
            if source != key:
                shape = output_shape_of(following, index) if following is not None else ()
                lines[numbers[source], number] = _flow(shape)
    for edge, shape in traced.root.outputs:
        if edge[0] in traced.owner:
            inner = _shown(traced.owner[edge[0]], depth)
            number = numbers[edge[0] if inner is None else inner]
            lines[number, add(("output", edge), Box("output", "", "input", ()))] = _flow(shape)
    if fuse:
        boxes, lines = _fused(boxes, lines)
    for box in boxes.values():  # no frame round a single box, whose name says it all
        box.group = tuple(name for name in box.group if sum(name in other.group for other in boxes.values()) > 1)
    return Graph(boxes, lines)


def _shown(call: Call, depth: int | None) -> Call | None:
    """The call that an operation is drawn as a part of: the outermost that is not looked into; None if all are."""
    found = None
    at: Call | None = call
    while at is not None:
        if at.parent is not None and (not at.calls() or at.depth == depth):
            found = at
        at = at.parent
    return found


def _box(key: Call | Node, call: Call) -> Box:
    if isinstance(key, Node):
        name = operation_name(key)
        inputs = sum(following is not None for following, _ in key.next_functions)
        kind = "pooling" if name.endswith("_pool") else "joint" if inputs > 1 else "other"
        return Box(_OPERATIONS.get(name, name.replace("_", " ")), "", kind, _group(call))
    again = " (again)" if key.again else ""
    title, kind = describe(key.module)
    return Box(title + again, key.name, "block" if key.calls() else kind, _group(key.parent))


def _group(call: Call | None) -> tuple[str, ...]:
    """The names of the calls around something, the network itself left out."""
    names: list[str] = []
    while call is not None and call.parent is not None:
        names.insert(0, call.name + " (again)" * call.again)
        call = call.parent
    return tuple(names)


def describe(module: Module) -> tuple[str, str]:
    """A layer in a few words, and its kind."""
    if isinstance(module, nn.Conv2d | nn.Conv1d):
        text = f"conv {_sizes(module.kernel_size)}, {module.out_channels}" + _step(module.stride)
        if set(module.dilation) != {1}:
            text += f", dilation {by_axes(module.dilation)}"
        return text + (f", {module.groups} groups" if module.groups > 1 else ""), "convolution"
    if isinstance(module, nn.ConvTranspose2d | nn.ConvTranspose1d):
        times = f", {TIMES}{by_axes(module.stride)}" if set(module.stride) != {1} else ""
        return f"transposed conv {_sizes(module.kernel_size)}, {module.out_channels}{times}", "convolution"
    if isinstance(module, nn.Linear):
        return f"linear, {module.out_features}", "linear"
    name = type(module).__name__
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        size = _pair(module.kernel_size)
        step = _pair(module.stride if module.stride is not None else size)
        return f"{'max' if name.startswith('Max') else 'average'} pool {_sizes(size)}{_step(step)}", "pooling"
    if isinstance(module, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
        word = "max" if "Max" in name else "average"
        return f"{word} pool to {_sizes(_pair(module.output_size))}", "pooling"
    return name, "other"


def _pair(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value, value)


def _sizes(sizes: Any) -> str:
    return TIMES.join(map(str, sizes))


def _flow(shape: tuple[int, ...]) -> str:
    """A tensor's shape without the batch."""
    return _sizes(shape[1:])


def _step(stride: Any) -> str:
    return f", /{by_axes(stride)}" if set(stride) != {1} else ""


def _fused(
    boxes: dict[int, Box], lines: dict[tuple[int, int], str]
) -> tuple[dict[int, Box], dict[tuple[int, int], str]]:
    """Layers that work element by element, drawn in the box of the only thing that feeds them and feeds nothing else."""
    after: dict[int, list[int]] = {}
    before: dict[int, list[int]] = {}
    for tail, head in lines:
        after.setdefault(tail, []).append(head)
        before.setdefault(head, []).append(tail)
    into: dict[int, int] = {}  # box -> the box that it is drawn in
    kept: dict[int, Box] = {}
    for number, box in boxes.items():
        feeds = before.get(number, [])
        if len(feeds) == 1 and len(after[feeds[0]]) == 1 and box.kind == "other" and box.title in _ATTACHED:
            host = into[number] = into.get(feeds[0], feeds[0])
            if boxes[host].kind in ("convolution", "linear", "joint", "other"):
                kept[host].more.append(box.title)
                kept[host].shape = box.shape
                continue
        into[number] = number
        kept[number] = box
    joined = {(into[tail], into[head]): shape for (tail, head), shape in lines.items() if into[tail] != into[head]}
    return kept, joined


_ATTACHED = {
    *(name for name in nn.__all__ if "Norm" in name or "Dropout" in name),
    *(name for name in nn.activation.__all__ if name != "MultiheadAttention"),
    *("relu", "relu6", "sigmoid", "tanh", "silu", "gelu", "hardswish", "hardsigmoid", "leaky relu", "elu", "mish"),
    *("batch norm eval", "batch norm train", "local response norm", "group norm"),
}


def _local(box: Box) -> str:
    """A layer's name within the innermost module around it."""
    return box.name.removeprefix(box.group[-1].removesuffix(" (again)") + "." if box.group else "")


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


# -------------------------------------------------------------------------------------------------------------- SVG

_FONT = 'font-family="Helvetica, Arial, sans-serif"'
_TITLE, _SMALL = 12.0, 10.0  # sizes of letters
_GROUND = ("#fafbfd", "#f1f4f9")  # of modules within one another, in turn


def _width(text: str, size: float) -> float:
    """About how wide a text is in Helvetica."""
    narrow, wide = "iljtfr.,:;|!'()[]/ ", "mwMW+" + TIMES
    return size * sum(0.31 if c in narrow else 0.84 if c in wide else 0.68 if c.isupper() else 0.56 for c in text)


def _texts(box: Box) -> list[tuple[str, float, str]]:
    """A box's lines of text with the sizes and colours of their letters."""
    lines = [(box.title, _TITLE, "#263238")]
    if box.more:
        lines.append((" · ".join(box.more), _SMALL, "#37474f"))
    if _local(box):
        lines.append((_local(box), _SMALL, "#78909c"))
    return lines


def _draw(found: Graph) -> str:
    sizes = {}
    for number, box in found.boxes.items():
        lines = _texts(box)
        width = max(_width(text, size) for text, size, _ in lines) + 20
        sizes[number] = (max(width, 34.0), 10 + sum(size + 3 for _, size, _ in lines))
    gaps = _gaps(found)
    placed = lay_out(sizes, list(found.lines), gaps, margin=24.0)
    ends: dict[int, list[tuple[float, tuple[int, int]]]] = {}
    for (tail, head), path in placed.paths.items():
        ends.setdefault(head, []).append((path[-2][0], (tail, head)))
    for head, arriving in ends.items():  # lines that end at one box, side by side
        step = min(16.0, sizes[head][0] * 0.6 / len(arriving))
        for k, (_, line) in enumerate(sorted(arriving)):
            (x, y) = placed.paths[line][-1]
            placed.paths[line][-1] = (x + (k - (len(arriving) - 1) / 2) * step, y)
    labels = _labels(found, placed)
    frames = list(_frames(found, placed, sizes, labels))
    ends_of_labels = [end for *_, end in labels]
    start = min(0.0, min([*ends_of_labels, *(frame[0] for frame in frames)], default=0.0) - 5)
    end = max(placed.width, max([*ends_of_labels, *(frame[2] for frame in frames)], default=0.0) + 5)
    area = f'width="{end - start:.0f}" height="{placed.height:.0f}"'
    text = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {area} '
        f'viewBox="{start:.0f} 0 {end - start:.0f} {placed.height:.0f}" {_FONT}>',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0.5 L8,4 L0,7.5 z" fill="#546e7a"/></marker></defs>',
        f'<rect x="{start:.0f}" {area} fill="white"/>',
    ]
    for left, top, right, bottom, ground, _ in frames:
        text.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}" rx="8" '
            f'fill="{ground}" stroke="#cfd8dc"/>'
        )
    for path in placed.paths.values():
        text.append(
            f'<path d="{_curve(path)}" fill="none" stroke="#546e7a" stroke-width="1.2" marker-end="url(#tip)"/>'
        )
    for left, top, _, _, ground, name in frames:  # over the lines, which may pass under the name
        text.append(
            f'<rect x="{left + 4:.1f}" y="{top + 2:.1f}" width="{_width(name, _SMALL) + 6:.1f}" height="11" rx="2" '
            f'fill="{ground}" fill-opacity="0.85"/>'
        )
        text.append(_text(left + 7, top + 11, name, _SMALL, "#78909c", "start"))
    for tail, shape, away, _ in labels:
        x, y = placed.x[tail], placed.y[tail] + sizes[tail][1] / 2
        text.append(_text(x + 5 * away, y + 11, shape, _SMALL, "#546e7a", "start" if away > 0 else "end"))
    for number, box in found.boxes.items():
        ground, rim = COLORS[box.kind]
        (x, y), (w, h) = (placed.x[number], placed.y[number]), sizes[number]
        text.append(
            f'<rect x="{x - w / 2:.1f}" y="{y - h / 2:.1f}" width="{w:.1f}" height="{h:.1f}" rx="6" '
            f'fill="{ground}" stroke="{rim}"/>'
        )
        top = y - h / 2 + 5
        for line_, size, color in _texts(box):
            top += size + 3
            text.append(_text(x, top - 3.5, line_, size, color, "middle"))
    return "\n".join([*text, "</svg>"]) + "\n"


def _labels(found: Graph, placed: Layout) -> list[tuple[int, str, int, float]]:
    """The shapes that leave the boxes, one for all lines that carry the same from one box.

    Box, shape, whether it stands right (1) or left (-1) of the line, and the x where it ends, a tenth further for wider fonts.
    """
    turns: dict[tuple[int, str], list[float]] = {}
    for line, path in placed.paths.items():
        turns.setdefault((line[0], found.lines[line]), []).append(path[1][0] - path[0][0])
    labels = []
    for (tail, shape), t in turns.items():
        away = -1 if max(t) > 2 and min(t) > -2 else 1  # not where the line goes
        labels.append((tail, shape, away, placed.x[tail] + away * (1.1 * _width(shape, _SMALL) + 5)))
    return labels


def _text(x: float, y: float, text: str, size: float, color: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:.0f}" fill="{color}" text-anchor="{anchor}">{escape(text)}</text>'


def _curve(path: list[tuple[float, float]]) -> str:
    """A line that leaves and arrives upright; straight where it passes a rank."""
    parts = [f"M{path[0][0]:.1f},{path[0][1]:.1f}"]
    for (a, b), (c, d) in pairwise(path):
        bend = (d - b) * 0.5
        parts.append(
            f"C{a:.1f},{b + bend:.1f} {c:.1f},{d - bend:.1f} {c:.1f},{d:.1f}" if a != c else f"L{c:.1f},{d:.1f}"
        )
    return " ".join(parts)


_HEAD, _SIDE, _FOOT = 15.0, 7.0, 6.0  # room that a module's frame takes around what is in it, and below
_LABEL = 10.0  # more for the innermost, below: the shape of what leaves


def _members(found: Graph) -> dict[tuple[str, ...], list[int]]:
    """The boxes in each module, at any depth."""
    members: dict[tuple[str, ...], list[int]] = {}
    for number, box in found.boxes.items():
        for depth in range(1, len(box.group) + 1):
            members.setdefault(box.group[:depth], []).append(number)
    return members


def _gaps(found: Graph) -> dict[int, float]:
    """How much room each box needs above: for the lines and their shapes, and for the frames that begin or end there."""
    feeds: dict[int, list[int]] = {number: [] for number in found.boxes}
    fed: dict[int, int] = dict.fromkeys(found.boxes, 0)
    for tail, head in found.lines:
        feeds[head].append(tail)
        fed[tail] += 1
    gaps = {}
    for number, box in found.boxes.items():
        before = [found.boxes[tail].group for tail in feeds[number]]
        begins = len(box.group) - min((_common(group, box.group) for group in before), default=0)
        ends = max((len(group) - _common(group, box.group) for group in before), default=0)
        ways = max([len(before), *(fed[tail] for tail in feeds[number])])
        gaps[number] = 26.0 + 4.0 * min(max(ways - 1, 0), 5) + _HEAD * begins + (_LABEL + _FOOT * ends if ends else 0.0)
    return gaps


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """How many modules two boxes are inside of together."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _frames(
    found: Graph, placed: Layout, sizes: dict[int, tuple[float, float]], labels: list[tuple[int, str, int, float]]
) -> Iterator[tuple[float, float, float, float, str, str]]:
    """A frame round each module's boxes, where nothing else would be in it: left, top, right, bottom, its ground and name."""
    for group, inside in sorted(_members(found).items(), key=lambda item: len(item[0])):
        tops, bottoms, sides = [], [], []
        for n in inside:
            levels = len(found.boxes[n].group) - len(group) + 1
            (x, y), (w, h) = (placed.x[n], placed.y[n]), sizes[n]
            tops.append(y - h / 2 - _HEAD * levels)
            bottoms.append(y + h / 2 + _LABEL + _FOOT * levels)
            sides += [x - w / 2 - _SIDE * levels, x + w / 2 + _SIDE * levels]
        top, bottom = min(tops), max(bottoms)
        for n, _, away, end in labels:
            if n in inside:
                sides.append(end + away * _SIDE * (len(found.boxes[n].group) - len(group) + 1))
        for (tail, head), path in placed.paths.items():  # lines that pass by
            if head in inside or tail in inside:
                levels = min(len(found.boxes[n].group) for n in (tail, head) if n in inside) - len(group) + 1
                reach = 4 + _SIDE * max(levels, 1)
                sides += [x + shift for x, y in path[1:-1] if top < y < bottom for shift in (-reach, reach)]
        name = group[-1].removeprefix(group[-2] + "." if len(group) > 1 else "")
        arriving = [path[-1][0] for (tail, head), path in placed.paths.items() if head in inside and tail not in inside]
        # The name stands to the left of the lines that come in.
        left, right = min([*sides, *(x - _width(name, _SMALL) - 16 for x in arriving)]), max(sides)
        if any(left < placed.x[n] < right and top < placed.y[n] < bottom for n in found.boxes if n not in inside):
            continue
        yield left, top, right, bottom, _GROUND[len(group) % 2], name
