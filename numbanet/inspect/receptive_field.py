"""Receptive fields: which pixels of the input a pixel of a feature map can depend on, computed from the graph.

Every operation on the tape says which positions of its input one position of its output reads, and the reaches
are put together along the graph. Along one axis, position i of a feature map sees the pixels from ``start + i stride`` to
``end + i stride``; a layer of kernel size k, stride s, padding p and dilation d makes of it

    start - p stride,    end + ((k - 1) d - p) stride,    stride s.

Where branches meet, the field is the union of theirs, that is, the largest. Padding counts as pixels, so that fields at the
border reach beyond the image: ``padding`` is by how much. ``attribution.receptive_field_gradient`` measures the same.

Reference:
    A. Araujo, W. Norris, J. Sim, "Computing receptive fields of convolutional neural networks", Distill (2019).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, prod
from typing import Any, NamedTuple

import numpy as np

from numbanet.autograd.tape import Node
from numbanet.functional import activation, arithmetic, conv, indexing, normalization, pooling, reduction, shape
from numbanet.functional.dropout import ChannelAffineFunction, _Dropout
from numbanet.functional.interpolate import ResampleFunction, _taps
from numbanet.functional.linear import LinearFunction
from numbanet.functional.pad import PadFunction
from numbanet.inspect.trace import (
    Edge,
    Trace,
    input_shape_of,
    layer_name,
    output_shape_of,
    saved_shapes,
    trace,
)
from numbanet.kernels.pad import CIRCULAR
from numbanet.nn.module import IdentityFunction, Module

Number = int | Fraction


@dataclass(frozen=True)
class ReceptiveField:
    """What a feature map's pixels see of the input, axis by axis (rows, columns).

    Attributes:
        size: the field's size in pixels. Behind enlarging layers, whose pixels see fields of several sizes, the largest.
        stride: pixels of the input from one field to the next; 0 where there is but one position, a fraction behind layers
            that enlarge.
        padding: by how many pixels the first field begins outside the image.
        whole: True if values from all over the image come in besides: by way of a branch that pools it (a
            squeeze-and-excitation gate), of a normalisation over positions, or of circular padding.
    """

    size: tuple[int, ...]
    stride: tuple[Number, ...]
    padding: tuple[Number, ...]
    whole: bool = False

    def window(self, position: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """The first and the last pixel that ``position`` of the feature map sees, per axis; padding has negative numbers."""
        spans = []
        for size, stride, before, i in zip(self.size, self.stride, self.padding, position, strict=True):
            first = ceil(stride * i - before)
            spans.append((first, first + size - 1))
        return tuple(spans)

    def __str__(self) -> str:
        return by_axes(self.size) + ("*" if self.whole else "")


def by_axes(values: Sequence[Any]) -> str:
    """Numbers per axis in short: "7", or "7x1" where they differ."""
    return str(values[0]) if len(set(values)) == 1 else "x".join(map(str, values))


# -------------------------------------------------------------------------------------------------------- the walk


class Axis(NamedTuple):
    """Along one axis of the input, position i sees from ``start + i stride`` to ``end + i stride``."""

    start: Number
    end: Number
    stride: Number
    whole: bool = False

    def through(self, reach: Reach) -> Axis:
        """The field of a window over positions with this field."""
        return Axis(
            self.start + self.stride * reach.first,
            self.end + self.stride * reach.last,
            self.stride * reach.step,
            self.whole,
        )


class Reach(NamedTuple):
    """Position i of an output reads the positions from ``first + i step`` to ``last + i step`` of the input."""

    first: Number
    last: Number
    step: Number


# Per axis of the input: the dimension of the tensor whose positions run along it (None: none does), and the field.
Map = tuple[tuple[int | None, Axis], ...]
Shape = tuple[int, ...]


class Fields:
    """The receptive fields of everything in a trace."""

    def __init__(self, traced: Trace) -> None:
        self._maps: dict[Node, Map | None] = {}
        self._sources: dict[Edge, Map] = {
            edge: tuple((dim, Axis(0, 0, 1)) for dim in range(2, len(shape)))
            for edge, shape in traced.sources.items()
            if len(shape) > 2
        }
        for node in traced.owner:
            self._maps[node] = self._map_of(node)

    def of(self, edge: Edge) -> ReceptiveField | None:
        """The field of the tensor at ``edge``; None where no image with two axes or a sequence leads to it."""
        found = self._at(edge)
        if not found:
            return None
        axes = [axis for _, axis in found]
        return ReceptiveField(
            tuple(floor(a.end - a.start) + 1 for a in axes),
            tuple(a.stride for a in axes),
            tuple(-a.start for a in axes),
            any(a.whole for a in axes),
        )

    def _at(self, edge: Edge) -> Map | None:
        node, _ = edge
        return self._sources.get(edge) or (self._maps.get(node) if node is not None else None)

    def _map_of(self, node: Node) -> Map | None:
        out = output_shape_of(node)
        arriving: list[tuple[Map, Shape]] = []
        for position, edge in enumerate(node.next_functions):
            found, size = self._at(edge), input_shape_of(node, position)
            if found and size is not None:
                arriving.append((found, size))
        axes = max((len(found) for found, _ in arriving), default=0)
        # Images of one number of axes: a network of images and sequences has no one field.
        arriving = [(found, size) for found, size in arriving if len(found) == axes]
        if not arriving:
            return None
        rule = _rule_of(node)
        return _union([(rule(node, found, size, out), out) for found, size in arriving], out)


def _move(
    found: Map,
    size: Shape,
    reaches: Mapping[int, Reach] | None = None,
    mixed: Sequence[int] = (),
    dims: Callable[[int], int | None] = lambda d: d,
) -> Map:
    """The map behind an operation: windows along some dimensions, others mixed, and dimensions under new numbers."""
    result: list[tuple[int | None, Axis]] = []
    for dim, axis in found:
        if dim is None:
            result.append((None, axis))
            continue
        if reaches and dim in reaches:
            axis = axis.through(reaches[dim])
        new = None if dim in mixed else dims(dim)
        if new is None:  # whoever reads this reads all positions
            axis = axis.through(Reach(0, size[dim] - 1, 0))
        result.append((new, axis))
    return tuple(result)


def _union(maps: Sequence[tuple[Map, Shape]], out: Shape) -> Map:
    """The field of values that come from several places at once."""
    result: list[tuple[int | None, Axis]] = []
    for along in zip(*[found for found, _ in maps], strict=True):
        dims = {dim for dim, _ in along if dim is not None}
        if len(dims) == 1:
            (dim,) = dims
            local = [axis for at, axis in along if at is not None]
            # Lines of one slope that bound all the others over the positions there are.
            step, ends = min(axis.stride for axis in local), (0, out[dim] - 1)
            start = min(axis.start + (axis.stride - step) * i for axis in local for i in ends)
            end = max(axis.end + (axis.stride - step) * i for axis in local for i in ends)
            whole = len(local) < len(along) or any(axis.whole for axis in local)
            result.append((dim, Axis(start, end, step, whole)))
        else:
            flat = [
                axis if dim is None else axis.through(Reach(0, size[dim] - 1, 0))
                for (dim, axis), (_, size) in zip(along, maps, strict=True)
            ]
            joined = Axis(min(a.start for a in flat), max(a.end for a in flat), 0, any(a.whole for a in flat))
            result.append((None, joined))
    return tuple(result)


# ------------------------------------------------------------------------------------------- what operations read

Rule = Callable[[Any, Map, Shape, Shape], Map]  # of an operation, an input's map and shape, and the output's shape


def _pointwise(node: Any, found: Map, size: Shape, out: Shape) -> Map:
    """Element by element; what is broadcast along an axis is the same for all its positions."""
    shift = len(out) - len(size)
    return _move(found, size, mixed=[d for d, n in enumerate(size) if n != out[d + shift]], dims=lambda d: d + shift)


def _convolution(node: Any, found: Map, size: Shape, out: Shape) -> Map:
    weight = saved_shapes(node)[1]
    assert weight is not None
    axes = len(size) - 2
    steps, before, spread = (node.geometry[k : k + 2][-axes:] for k in (0, 2, 4))
    reaches = {2 + j: Reach(-before[j], (weight[2 + j] - 1) * spread[j] - before[j], steps[j]) for j in range(axes)}
    return _move(found, size, reaches, mixed=(1,))


def _transposed(node: Any, found: Map, size: Shape, out: Shape) -> Map:
    weight = saved_shapes(node)[1]
    assert weight is not None
    axes = len(size) - 2
    steps, before, spread = (node.geometry[k : k + 2][-axes:] for k in (0, 2, 4))
    reaches = {}
    for j in range(axes):  # output i is made of the inputs r with r step + k spread - before = i
        back = before[j] - (weight[2 + j] - 1) * spread[j]
        reaches[2 + j] = Reach(Fraction(back, steps[j]), Fraction(before[j], steps[j]), Fraction(1, steps[j]))
    return _move(found, size, reaches, mixed=(1,))


def _windows(window: Sequence[int] | None, size: Shape, out: Shape) -> dict[int, Reach]:
    """Of pooling: the numbers (KH, KW, SH, SW, PT, PL, DH, DW), or None for windows that follow from the sizes."""
    reaches = {}
    axes = len(size) - 2
    for j in range(axes):
        dim = 2 + j
        if window is None:
            inputs, outputs = size[dim], out[dim]
            first = [i * inputs // outputs for i in range(outputs)]
            last = [-(-(i + 1) * inputs // outputs) - 1 for i in range(outputs)]
            reaches[dim] = _fit(first, last, inputs)
        else:
            kernel, step, before, spread = (window[k : k + 2][-axes:][j] for k in (0, 2, 4, 6))
            reaches[dim] = Reach(-before, (kernel - 1) * spread - before, step)
    return reaches


def _fit(first: Sequence[int], last: Sequence[int], inputs: int) -> Reach:
    """The closest line below and above what each output position reads; their slope is the ratio of the sizes."""
    outputs = len(first)
    step: Number = Fraction(inputs, outputs) if outputs > 1 else 0
    if step and step.denominator == 1:
        step = int(step)
    return Reach(min(f - step * i for i, f in enumerate(first)), max(e - step * i for i, e in enumerate(last)), step)


def _max_pool(node: Any, found: Map, size: Shape, out: Shape) -> Map:
    return _move(found, size, _windows(node.numbers, size, out))


def _avg_pool(node: Any, found: Map, size: Shape, out: Shape) -> Map:
    return _move(found, size, _windows(None if node.options is None else (*node.options[:6], 1, 1), size, out))


def _lp_pool(node: Any, found: Map, size: Shape, out: Shape) -> Map:
    return _move(found, size, _windows((*node.numbers[2], 0, 0, 1, 1), size, out))


def _resample(node: Any, found: Map, size: Shape, out: Shape) -> Map:
    axes, _ = node.options
    reaches = {}
    for dim, axis in zip((2, 3), axes, strict=True):
        pixels, weights = _taps(axis, np.dtype(np.float64))
        there = (pixels >= 0) & (weights != 0)
        first = np.where(there, pixels, axis.inputs).min(1).tolist()
        last = np.where(there, pixels, -1).max(1).tolist()
        reaches[dim] = _fit(first, last, axis.inputs)
    return _move(found, size, reaches)


def _pad(node: Any, found: Map, size: Shape, out: Shape) -> Map:
    top, left, mode, _ = node.numbers
    (planes, h, w), _ = node.sizes
    rows = max(d for d, n in enumerate(size) if (prod(size[:d]), n, prod(size[d + 1 :])) == (planes, h, w))
    # Whatever padding is filled with, it counts as pixels of its own; but what comes from the other side comes from far.
    shifted = _move(found, size, {rows: Reach(-top, -top, 1), rows + 1: Reach(-left, -left, 1)})
    return tuple((dim, axis._replace(whole=axis.whole or mode == CIRCULAR)) for dim, axis in shifted)


def _reshape(node: Any, found: Map, size: Shape, out: Shape) -> Map:
    """A dimension lives on where one of its size has as many elements before it."""
    places = {(prod(out[:d]), n): d for d, n in reversed(list(enumerate(out)))}
    return _move(found, size, dims=lambda d: places.get((prod(size[:d]), size[d])))


def _permute(node: Any, found: Map, size: Shape, out: Shape) -> Map:
    return _move(found, size, dims=lambda d: node.back[d])


def _cat(node: Any, found: Map, size: Shape, out: Shape) -> Map:
    return _move(found, size, mixed=(node.dim,))


def _stack(node: Any, found: Map, size: Shape, out: Shape) -> Map:
    return _move(found, size, dims=lambda d: d + (d >= node.dim))


def _slice(node: Any, found: Map, size: Shape, out: Shape) -> Map:
    parts: list[Any] = []
    used = sum(part is not None and part is not Ellipsis for part in node.index)
    for part in node.index:
        parts += [slice(None)] * (len(size) - used) if part is Ellipsis else [part]
    reaches, places, dim, new = {}, {}, 0, 0
    for part in parts + [slice(None)] * (len(size) - sum(p is not None for p in parts)):
        if part is None:
            new += 1
            continue
        if isinstance(part, slice):
            start, _, step = part.indices(size[dim])
            if step > 0:
                reaches[dim], places[dim] = Reach(start, start, step), new
            new += 1
        dim += 1
    return _move(found, size, reaches, dims=places.get)


def _reduced(node: Any, found: Map, size: Shape, out: Shape) -> Map:
    """Sums and their like, over ``node.dims`` or the one ``node.dim``."""
    gone = node.dims if hasattr(node, "dims") else (node.dim,)
    kept = len(out) == len(size)
    return _move(found, size, mixed=gone, dims=lambda d: d if kept else d - sum(g < d for g in gone))


def _along(node: Any, found: Map, size: Shape, out: Shape) -> Map:
    """Softmax and its like: each value depends on all along ``node.dim``."""
    return _move(found, size, mixed=(node.dim,))


def _linear(node: Any, found: Map, size: Shape, out: Shape) -> Map:
    return _move(found, size, mixed=(len(size) - 1,))


def _normalized(node: Any, found: Map, size: Shape, out: Shape) -> Map:
    """Statistics are taken over all dimensions behind the first ``strip[0]`` rows."""
    first = next(d for d in range(len(size) + 1) if prod(size[:d]) == node.strip[0])
    return tuple(
        (dim, axis._replace(whole=True) if dim is not None and dim >= first and size[dim] > 1 else axis)
        for dim, axis in found
    )


def _enlarge(node: Any, found: Map, size: Shape, out: Shape) -> Map:
    r, last = node.r, len(size) - 1
    reach = Reach(Fraction(1 - r, r), 0, Fraction(1, r))
    return _move(found, size, {last - 1: reach, last: reach}, mixed=(last - 2,))


def _gather(node: Any, found: Map, size: Shape, out: Shape) -> Map:
    r, last = node.r, len(size) - 1
    reach = Reach(0, r - 1, r)
    return _move(found, size, {last - 1: reach, last: reach}, mixed=(last - 2,))


def _mixing(node: Any, found: Map, size: Shape, out: Shape) -> Map:
    """Of an operation of which nothing is known: everything may depend on everything."""
    return _move(found, size, mixed=range(len(size)))


_POINTWISE = (
    arithmetic.Abs, arithmetic.Add, arithmetic.Addcdiv, arithmetic.Addcmul, arithmetic.AddScaled, arithmetic.Atan2,
    arithmetic.Clamp, arithmetic.Clone, arithmetic.Div, arithmetic.Exp, arithmetic.Extremum, arithmetic.Fmod,
    arithmetic.Hypot, arithmetic.Lerp, arithmetic.Limit, arithmetic.Mul, arithmetic.Neg, arithmetic.Pow,
    arithmetic.Remainder, arithmetic.Sqrt, arithmetic.Square, arithmetic.Sub, arithmetic.Where,
    activation._Pointwise, activation.PreluFunction, _Dropout, ChannelAffineFunction, shape.To,
    shape.ChannelShuffle, normalization.BatchNormEvalFunction, normalization.BatchNormTrainFunction,
    normalization.LocalResponseNormFunction, reduction.Deviation, IdentityFunction,
)  # fmt: skip

_RULES: dict[type, Rule] = {
    **dict.fromkeys(_POINTWISE, _pointwise),
    activation.GluFunction: _along,
    activation.SoftmaxFunction: _along,
    activation.LogSoftmaxFunction: _along,
    conv.Conv2dFunction: _convolution,
    conv.ConvTranspose2dFunction: _transposed,
    indexing.Slice: _slice,
    ResampleFunction: _resample,
    LinearFunction: _linear,
    normalization.GroupNormFunction: _normalized,
    PadFunction: _pad,
    pooling.MaxPoolFunction: _max_pool,
    pooling.AvgPoolFunction: _avg_pool,
    pooling.LpPoolFunction: _lp_pool,
    reduction.Sum: _reduced,
    reduction.Prod: _reduced,
    reduction.Extremes: _reduced,
    reduction.AlongDim: _reduced,
    reduction.Moments: _reduced,
    reduction.LogSumExp: _reduced,
    reduction.Norm: _reduced,
    shape.Reshape: _reshape,
    shape.Permute: _permute,
    shape.Expand: _pointwise,
    shape.Cat: _cat,
    shape.Stack: _stack,
    shape.PixelShuffle: _enlarge,
    shape.PixelUnshuffle: _gather,
}


def _rule_of(node: Node) -> Rule:
    for kind in node.function.__mro__:
        if kind in _RULES:
            return _RULES[kind]
    return _mixing


def receptive_field(net: Module, input: Any, layer: str | Module | None = None) -> ReceptiveField:
    """What a pixel of a layer's output can see of the input, computed from the network's graph.

    Args:
        net: a module; it runs once, in evaluation mode.
        input: shape of the input with the batch size first, (N, C, H, W) or (N, C, L); or a tensor; or a list of them for a
            network of several inputs, whose fields are then one.
        layer: a layer's dotted name, or the layer; None for the network's output. Of a layer that is called several times, the
            last call.

    Returns:
        Size, stride and padding per axis. Batch normalisation is taken as in evaluation, where it mixes no positions.

    Raises:
        TypeError: if net is not a module.
        ValueError: for a layer that is not there, did not run or sees no image, or an input that the network refuses.

    Reference: Araujo, Norris, Sim 2019, "Computing receptive fields of convolutional neural networks", sections 2 and 3.
    """
    name = layer_name("receptive_field", net, layer)
    traced = trace("receptive_field", net, input)
    calls = [call for call in traced.calls() if call.name == name and call.outputs]
    if not calls:
        raise ValueError(f"receptive_field: layer {name!r} did not run, or gave no tensor")
    found = Fields(traced).of(calls[-1].outputs[0][0])
    if found is None:
        raise ValueError(
            f"receptive_field: layer {name!r} sees no image: no input has the shape (N, C, H, W) or (N, C, L)"
        )
    return found
