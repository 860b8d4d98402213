"""A table of a network's layers: shapes, parameters, work, memory, receptive fields, algorithms and times.

A convolution of kernel size K with C_in and C_out channels in G groups has

    parameters   (C_in / G * K * K + 1) * C_out
    MACs         C_in / G * K * K * H_out * W_out * C_out        multiply-adds
    FLOPs        C_in / G * 2 * K * K * H_out * W_out * C_out    a multiply-add counts as two, the bias is left out

and so have linear layers, with K = H_out = W_out = 1. A transposed convolution reads K * K elements of its kernel for every
pixel of its input, instead of its output. Other layers count as 0: their work is not in multiply-adds but in moving memory.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from math import prod
from statistics import median
from typing import Any

from numbanet.autograd.tape import Node
from numbanet.functional.conv import Conv2dFunction, ConvTranspose2dFunction
from numbanet.functional.linear import LinearFunction, MatmulFunction
from numbanet.inspect.receptive_field import Fields, ReceptiveField, by_axes
from numbanet.inspect.trace import Call, Trace, evaluating, operation_name, output_shape_of, saved_shapes, trace
from numbanet.kernels import conv2d
from numbanet.nn import Module


@dataclass(frozen=True)
class Row:
    """One call of a layer, or one operation that a module did by itself.

    Every number belongs to one row, so that a column's sum is the network's number: a module that contains others has what
    it does itself.

    Attributes:
        name: the layer's dotted name; for an operation that of the module that did it.
        label: what the table calls it: its name within the module above it, and its kind.
        kind: the layer's class, or the operation ("add").
        depth: how many modules it is inside of.
        operation: whether it is an operation rather than a layer.
        again: whether the layer was called before, with its parameters counted there.
        contains: whether rows of what is inside of it follow.
        output_shape: of its (first) output.
        parameters: their number.
        macs: multiply-adds, for the whole batch.
        activation_bytes: memory of its output; 0 for a view of its input, or where the input is handed on.
        field: the receptive field of its output; None where no image leads to it.
        algorithm: how a convolution goes on its device: forward, gradient of the input, gradient of the weight, as one word
            where all go the same way.
        forward_ms: measured time of the forward pass; None where it was not measured, or for an operation, whose time
            is with the module that did it.
        backward_ms: measured time of the backward pass.
    """

    name: str
    label: str
    kind: str
    depth: int
    operation: bool
    again: bool
    contains: bool
    output_shape: tuple[int, ...]
    parameters: int
    macs: int
    activation_bytes: int
    field: ReceptiveField | None
    algorithm: str
    forward_ms: float | None = None
    backward_ms: float | None = None

    @property
    def flops(self) -> int:
        """Floating-point operations, two for every multiply-add."""
        return 2 * self.macs


@dataclass(frozen=True)
class Summary:
    """A network's layers with what is known of them. ``str()`` makes a table of it.

    Attributes:
        name: the network's class.
        input_shapes: what it ran on.
        rows: its layers and operations, in the order in which they ran.
        parameters: number of all parameters, shared ones once.
        trainable: number of those that require a gradient.
        parameter_bytes: their memory, with that of buffers.
        idle: names of the layers that did not run (whose parameters count all the same).
        saved_bytes: memory that waits for backward between the passes, each piece once.
        apart: names of layers that ran on nothing that comes from the inputs, as under ``no_grad`` or after ``detach``: the
            graph does not lead there, and their work is not counted.
        unregistered: how many numbers are learnt that are no parameters of the network, as of layers in a plain list.
    """

    name: str
    input_shapes: list[tuple[int, ...]]
    rows: list[Row]
    parameters: int
    trainable: int
    parameter_bytes: int
    idle: list[str]
    saved_bytes: int
    apart: tuple[str, ...] = ()
    unregistered: int = 0

    @property
    def macs(self) -> int:
        """Multiply-adds of a forward pass."""
        return sum(row.macs for row in self.rows)

    @property
    def flops(self) -> int:
        """Floating-point operations of a forward pass, two for every multiply-add."""
        return 2 * self.macs

    @property
    def activation_bytes(self) -> int:
        """Memory of all layers' outputs together."""
        return sum(row.activation_bytes for row in self.rows)

    @property
    def forward_ms(self) -> float | None:
        """Time of the forward pass; None if nothing was measured."""
        return _total(row.forward_ms for row in self.rows)

    @property
    def backward_ms(self) -> float | None:
        """Time of the backward pass; None if nothing was measured."""
        return _total(row.backward_ms for row in self.rows)

    def __getitem__(self, name: str) -> Row:
        """The row of the layer's (first) call."""
        for row in self.rows:
            if row.name == name and not row.operation:
                return row
        raise KeyError(f"no layer {name!r} ran; there are {', '.join(repr(r.name) for r in self.rows if r.name)}")

    def to_dict(self) -> dict[str, Any]:
        """Everything as numbers, strings, lists and dicts, ready for JSON."""
        rows = [{**asdict(row), "flops": row.flops, "field": _plain(row.field)} for row in self.rows]
        totals = ("macs", "flops", "activation_bytes", "forward_ms", "backward_ms")
        return {**asdict(self), "rows": rows, **{name: getattr(self, name) for name in totals}}

    def to_csv(self) -> str:
        """The rows as comma-separated values under a header line."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        heads = ["name", "kind", "depth", "operation", "again", "parameters", "macs", "flops", "activation_bytes"]
        heads += ["algorithm", "forward_ms", "backward_ms"]
        writer.writerow([*heads, "output_shape", "field", "stride", "padding"])
        for row in self.rows:
            cells = [getattr(row, head) for head in heads]
            writer.writerow([*cells, "x".join(map(str, row.output_shape)), *_field_cells(row.field)])
        return text.getvalue()

    def __str__(self) -> str:
        return _table(self)


def summary(
    net: Module, input_shape: Any, *, depth: int | None = None, timing: bool = False, repeats: int = 5
) -> Summary:
    """Run a network once and describe what happened in it, layer by layer. ``print`` it to see a table.

    It runs in evaluation mode, on zeros. Functions called between layers (``F.relu``, ``cat``, ``+``) have rows too.

    Args:
        net: a module.
        input_shape: shape of the input, the batch size first: (1, 1, 28, 28); or a tensor; or a list of them for a network of
            several inputs.
        depth: how many levels of modules to show; the layers further down are added up. None shows all.
        timing: also measure the passes, ``repeats`` times after a first run; medians are shown.
        repeats: how often to measure.

    Raises:
        TypeError: if net is not a module.
        ValueError: for a depth or a number of repetitions below 1, what is not a shape, or a shape that the network refuses,
            with the layer's name.
    """
    if depth is not None and depth < 1:
        raise ValueError(f"summary: depth must be at least 1, got {depth}")
    if timing and repeats < 1:
        raise ValueError(f"summary: repeats must be at least 1, got {repeats}")
    traced = trace("summary", net, input_shape)
    counts, idle = _own_parameters(traced)
    rows = _rows(traced, counts)
    saved = traced.saved_bytes()
    if timing:
        rows = _with_times(rows, traced, repeats)
    everything = list(net.parameters())
    return Summary(
        type(net).__name__,
        [tuple(x.shape) for x in traced.inputs],
        rows if depth is None else _folded(rows, depth),
        sum(p.numel() for p in everything),
        sum(p.numel() for p in everything if p.requires_grad),
        sum(t.numel() * t.dtype.itemsize for t in (*everything, *net.buffers())),
        idle,
        saved,
        tuple(traced.apart()),
        sum(leaf.numel() for key, leaf in traced.leaves().items() if key not in set(map(id, everything))),
    )


@dataclass(frozen=True)
class Profile(Summary):
    """A summary whose table has times: what each row took of the forward and the backward pass, and how fast it went."""

    def __str__(self) -> str:
        return _profile_table(self)


def profile(net: Module, input: Any, *, depth: int | None = None, repeats: int = 10) -> Profile:
    """Measure a network's layers. ``print`` the result to see a table.

    The passes run in evaluation mode, ``repeats`` times after a first run; medians are shown.

    Args:
        net: a module.
        input: shape of the input with the batch size first; or a tensor; or a list of them.
        depth: how many levels of modules to show; the layers further down are added up. None shows all.
        repeats: how often to measure.

    Raises:
        TypeError, ValueError: as ``summary``.
    """
    found = summary(net, input, depth=depth, timing=True, repeats=repeats)
    return Profile(**{name: getattr(found, name) for name in found.__dataclass_fields__})


# ------------------------------------------------------------------------------------------------------------- rows


def _parts(call: Call) -> Iterator[Call | Node]:
    """What gets a row: calls, and the operations of those that contain other calls."""
    yield call
    if call.calls():
        for part in call.body:
            yield from _parts(part) if isinstance(part, Call) else (part,)


def _own_parameters(traced: Trace) -> tuple[dict[Module, int], list[str]]:
    """How many parameters count with which module that ran, each once; and the names of layers that did not run."""
    ran = {call.module for call in traced.calls()}
    used = traced.used_parameters()
    counts, idle, seen = dict.fromkeys(ran, 0), [], set()
    for name, module in traced.net.named_modules():
        own = [p for p in module._parameters.values() if p is not None]
        if module not in ran and own and not any(id(p) in used for p in own):
            idle.append(name)
            continue
        # A layer that is used without being called (for its weights) counts with the nearest one above it that is.
        above = name
        while traced.net.get_submodule(above) not in ran:
            above = above.rpartition(".")[0]
        for p in own:
            if id(p) not in seen:
                counts[traced.net.get_submodule(above)] += p.numel()
                seen.add(id(p))
    return counts, idle


def _rows(traced: Trace, counts: dict[Module, int]) -> list[Row]:
    fields = Fields(traced)
    rows = []
    for part in _parts(traced.root):
        if isinstance(part, Call):
            contains = bool(part.calls())
            nodes = [node for node in part.body if isinstance(node, Node)]
            edge, shape = part.outputs[0] if part.outputs else ((None, 0), ())
            rows.append(
                Row(
                    name=part.name,
                    label=part.label,
                    kind=type(part.module).__name__,
                    depth=part.depth,
                    operation=False,
                    again=part.again,
                    contains=contains,
                    output_shape=shape,
                    parameters=0 if part.again else counts[part.module],
                    macs=0 if contains else sum(map(_macs, nodes)),
                    activation_bytes=0 if contains else part.bytes,
                    field=fields.of(edge),
                    algorithm="" if contains else ", ".join(dict.fromkeys(filter(None, map(_algorithm, nodes)))),
                )
            )
        else:
            call, shape = traced.owner[part], output_shape_of(part)
            rows.append(
                Row(
                    name=call.name,
                    label=operation_name(part),
                    kind=operation_name(part),
                    depth=call.depth + 1,
                    operation=True,
                    again=False,
                    contains=False,
                    output_shape=shape,
                    parameters=0,
                    macs=_macs(part),
                    activation_bytes=0 if part.function._is_view else prod(shape) * part._shapes[0][1].itemsize,
                    field=fields.of((part, 0)),
                    algorithm=_algorithm(part),
                )
            )
    return rows


def _macs(node: Node) -> int:
    """The multiply-adds of an operation."""
    if node.function not in (Conv2dFunction, ConvTranspose2dFunction, LinearFunction, MatmulFunction):
        return 0
    x, weight = saved_shapes(node)[:2]
    assert x is not None and weight is not None
    if node.function is Conv2dFunction:
        return prod(output_shape_of(node)) * prod(weight[1:])
    if node.function is ConvTranspose2dFunction:
        return prod(x) * prod(weight[1:])
    if node.function is LinearFunction:
        return prod(output_shape_of(node)) * weight[1]
    return prod(output_shape_of(node)) * x[-2 if node.flags[0] else -1]  # type: ignore[attr-defined]


def _algorithm(node: Node) -> str:
    """The way that an operation goes, where there are several: "pixels", or one for each of the three passes."""
    if node.function in (LinearFunction, MatmulFunction):
        return "matmul"
    if node.function not in (Conv2dFunction, ConvTranspose2dFunction):
        return ""
    x, weight = (tensor for tensor, _, _ in node._saved[:2])
    if x.is_cuda:
        return "gather"
    image, kernel, result = (
        s if len(s) == 4 else (*s[:2], 1, s[2]) for s in (tuple(x.shape), tuple(weight.shape), output_shape_of(node))
    )
    if node.function is ConvTranspose2dFunction:
        image, result = result, image
    geometry = node.geometry  # type: ignore[attr-defined]
    options = geometry[:6], geometry[6], x.dtype.itemsize
    forward = conv2d._forward_plan(image, kernel, result, *options)
    grad_input = conv2d._grad_input_plan(result, kernel, image, *options)
    grad_weight = conv2d._grad_weight_plan(result, image, kernel, *options)
    if node.function is ConvTranspose2dFunction:
        forward, grad_input = grad_input, forward
    ways = [plan.body.py_func.__module__.rpartition("conv2d_")[2] for plan in (forward, grad_input, grad_weight)]
    return ways[0] if len(set(ways)) == 1 else "/".join(ways)


def _folded(rows: list[Row], depth: int) -> list[Row]:
    """The rows down to a depth, each with the sums of what is further down."""
    result: list[Row] = []
    for row in rows:
        if row.depth <= depth:
            result.append(replace(row, contains=row.contains and row.depth < depth))
            continue
        above = result[-1]
        ways = [way for way in above.algorithm.split(", ") if way]
        ways += [way for way in row.algorithm.split(", ") if way and way not in ways]
        result[-1] = replace(
            above,
            parameters=above.parameters + row.parameters,
            macs=above.macs + row.macs,
            activation_bytes=above.activation_bytes + row.activation_bytes,
            algorithm=", ".join(ways),
            forward_ms=_total((above.forward_ms, row.forward_ms)),
            backward_ms=_total((above.backward_ms, row.backward_ms)),
        )
    return result


# ------------------------------------------------------------------------------------------------------------- times


def _with_times(rows: list[Row], traced: Trace, repeats: int) -> list[Row]:
    """The rows with the medians of several runs' times."""
    traced.time_backward()  # kernels compile at their first call
    runs: list[list[tuple[float | None, float | None]]] = []
    with evaluating(traced.net):
        for _ in range(repeats):
            again = Trace(traced.caller, traced.net, traced.inputs)
            backward = again.time_backward()
            runs.append([_times(part, backward) for part in _parts(again.root)])
    return [
        replace(row, forward_ms=_median(f for f, _ in times), backward_ms=_median(b for _, b in times))
        for row, times in zip(rows, zip(*runs, strict=True), strict=True)
    ]


def _times(part: Call | Node, backward: dict[Node, float]) -> tuple[float | None, float | None]:
    """A part's own milliseconds, forward and backward."""
    if isinstance(part, Node):
        return None, backward[part] * 1e3 if part in backward else None
    inner = part.calls()
    own = part.seconds - sum(call.seconds for call in inner)
    nodes = [] if inner else [node for node in part.body if node in backward]
    return own * 1e3, sum(backward[node] for node in nodes) * 1e3 if nodes else None


def _median(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _total(values: Any) -> Any:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


# ---------------------------------------------------------------------------------------------------------- the table


def _table(found: Summary) -> str:
    seen = any(row.field is not None for row in found.rows)
    timed = found.forward_ms is not None
    columns = ["layer", "output shape", "parameters", "MACs", "FLOPs", "activations"]
    columns += ["field", "stride", "padding"] * seen + ["algorithm"] + ["forward ms", "backward ms"] * timed
    cells = [columns]
    for row in found.rows:
        shown = [
            "  " * row.depth + row.label,
            "" if row.contains else str(row.output_shape),
            f"{row.parameters:,}" if row.parameters else "",
            quantity(row.macs),
            quantity(row.flops),
            memory(row.activation_bytes),
        ]
        if seen:
            field = None if row.contains else row.field
            shown += _field_cells(field)
        shown.append(row.algorithm)
        if timed:
            shown += [milliseconds(row.forward_ms), milliseconds(row.backward_ms)]
        cells.append(shown)
    total = ["total", "", f"{found.parameters:,}", quantity(found.macs), quantity(found.flops)]
    total += [memory(found.activation_bytes), *([""] * 3 * seen), ""]
    total += [milliseconds(found.forward_ms), milliseconds(found.backward_ms)] * timed
    text = render(cells, total, left=("layer", "output shape", "algorithm"))
    notes = [
        f"input {', '.join(map(str, found.input_shapes))}; parameters and buffers {memory(found.parameter_bytes) or '0 B'}, "
        f"{found.trainable:,} parameters trainable; {memory(found.saved_bytes) or '0 B'} wait for backward"
    ]
    if found.idle:
        notes.append(f"layers that did not run: {', '.join(found.idle)}")
    if found.apart:
        notes.append(f"not counted, for nothing from the input reaches it (no_grad, detach?): {', '.join(found.apart)}")
    if found.unregistered:
        notes.append(
            f"{found.unregistered:,} numbers are learnt that are no parameters of the network, and an optimizer would not see: "
            "layers belong in a ModuleList, tensors in a Parameter"
        )
    if any(row.field is not None and row.field.whole for row in found.rows):
        notes.append("* and values of the whole image besides, by way of a branch that pools it or a normalisation")
    if any("/" in row.algorithm for row in found.rows):
        notes.append("algorithm: forward/gradient of the input/gradient of the weight")
    return text + "\n" + "\n".join(notes)


def _profile_table(found: Profile) -> str:
    cells = [["layer", "output shape", "forward ms", "backward ms", "share", "GFLOP/s forward"]]
    everything = (found.forward_ms or 0.0) + (found.backward_ms or 0.0)

    def timed(forward: float | None, backward: float | None, flops: int) -> list[str]:
        both = (forward or 0.0) + (backward or 0.0)
        speed = f"{flops / forward / 1e6:.1f}" if flops and forward else ""
        return [milliseconds(forward), milliseconds(backward), f"{both / everything:.1%}" if everything else "", speed]

    for row in found.rows:
        shape = "" if row.contains else str(row.output_shape)
        cells.append(["  " * row.depth + row.label, shape, *timed(row.forward_ms, row.backward_ms, row.flops)])
    total = ["total", "", *timed(found.forward_ms, found.backward_ms, found.flops)]
    return render(cells, total, left=("layer", "output shape"))


def render(cells: list[list[str]], total: list[str], left: Sequence[str]) -> str:
    """Rows of cells, the first of them the heads, as a table with a last row of sums; columns not in ``left`` to the right."""
    widths = [max(len(row[i]) for row in [*cells, total]) for i in range(len(total))]
    heads = cells[0]
    lines = [
        "  ".join(
            cell.ljust(width) if head in left else cell.rjust(width)
            for cell, width, head in zip(row, widths, heads, strict=True)
        ).rstrip()
        for row in [*cells, total]
    ]
    rule = "-" * (sum(widths) + 2 * len(widths) - 2)
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def quantity(n: float) -> str:
    """A number in three digits: "1.82 G"; "" for 0."""
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if n >= unit:
            value = n / unit
            return f"{value:,.{2 if value < 10 else 1 if value < 100 else 0}f}{name}"
    return f"{n:.0f}" if n else ""


def memory(n: int) -> str:
    """A number of bytes; "" for 0."""
    if n < 1 << 10:
        return f"{n} B" if n else ""
    return f"{n / (1 << 20):,.1f} MiB" if n >= 1 << 20 else f"{n / (1 << 10):.1f} KiB"


def milliseconds(value: float | None) -> str:
    """A time; "" for one that was not measured."""
    return "" if value is None else f"{value:.2f}"


def _field_cells(field: ReceptiveField | None) -> list[str]:
    """A field's size, stride and padding; where there is but one position there is no stride."""
    if field is None:
        return [""] * 3
    return [str(field), by_axes([s or "-" for s in field.stride]), by_axes(field.padding)]


def _plain(field: ReceptiveField | None) -> dict[str, Any] | None:
    """A field with numbers that JSON knows."""
    if field is None:
        return None
    return {
        k: v if isinstance(v, bool) else [float(n) if n != int(n) else int(n) for n in v]
        for k, v in asdict(field).items()
    }
