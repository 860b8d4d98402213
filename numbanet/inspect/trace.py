"""One recorded run of a network: which module made which operation, how long it took, and what flowed from one to the next.

Hooks tell when a module is entered and left. The operations in between are found on the tape: whatever hangs on a module's
output and was not there before belongs to the innermost module that was running. So functions that are called between modules
(``F.relu``, ``cat``, ``+``) are seen as well as layers, and nothing about a network has to be declared.
"""

from __future__ import annotations

import difflib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numbanet import autograd, devices
from numbanet.autograd import enable_grad
from numbanet.autograd.tape import AccumulateGrad, Node
from numbanet.nn import Module
from numbanet.tensor import Tensor, zeros

Edge = tuple[
    Node | None, int
]  # a tensor's place in the graph: the operation that made it, and which of its outputs it is


@dataclass(eq=False)
class Call:
    """One call of a module.

    Attributes:
        name: the module's dotted name, "" for the network itself.
        module: the module.
        parent: the call in whose course it happened.
        depth: how many calls it is inside of.
        again: whether the module had been called before.
        body: what happened in its course, in order: calls of other modules, and operations of its own.
        outputs: its output tensors' places and shapes.
        bytes: the memory of its outputs, but for those that are its inputs (also if changed in place) or views.
        seconds: how long it took, all inner calls included.
    """

    name: str
    module: Module
    parent: Call | None
    depth: int
    again: bool
    body: list[Call | Node] = field(default_factory=list)
    outputs: list[tuple[Edge, tuple[int, ...]]] = field(default_factory=list)
    bytes: int = 0
    seconds: float = 0.0

    @property
    def label(self) -> str:
        """Its name within the module that called it, and its class."""
        above = self.parent.name + "." if self.parent is not None and self.parent.name else ""
        name, kind = self.name.removeprefix(above), type(self.module).__name__
        return (f"{name}: {kind}" if name else kind) + " (again)" * self.again

    def calls(self) -> list[Call]:
        """The calls directly inside of it."""
        return [part for part in self.body if isinstance(part, Call)]

    def walk(self) -> Iterator[Call]:
        """It and all calls inside of it."""
        yield self
        for call in self.calls():
            yield from call.walk()


class Trace:
    """A network's run.

    Attributes:
        root: the call of the network.
        inputs: the tensors that went in.
        sources: the places of the inputs in the graph, with their shapes.
        outputs: the tensors that came out.
        owner: for every operation on the way from the inputs the call that it belongs to, in the order in which they happened.
    """

    def __init__(self, caller: str, net: Module, inputs: Sequence[Tensor]) -> None:
        self.caller, self.net, self.inputs = caller, net, list(inputs)
        self.sources: dict[Edge, tuple[int, ...]] = {}
        self.owner: dict[Node, Call] = {}
        self.outputs: list[Tensor] = []
        self._aside: set[Node] = set()  # operations on parameters alone
        self._stack: list[Call] = []
        self._seen: set[Module] = set()
        self._names = {module: name for name, module in net.named_modules()}
        self._idle = 0.0  # seconds spent in hooks
        self._cuda = any(x.is_cuda for x in self.inputs)
        self.root = self._run()

    # -------------------------------------------------------------------------------------------------- forward

    def _run(self) -> Call:
        handles = [m.register_forward_pre_hook(self._enter, with_kwargs=True) for m in self._names]
        handles += [m.register_forward_hook(self._leave, with_kwargs=True) for m in self._names]
        try:
            with enable_grad():
                entering = []
                for x in self.inputs:
                    if x.is_floating_point():
                        # A copy goes in: a leaf must not be changed in place, which is a layer's right.
                        x = x.detach().requires_grad_().clone()
                        self.sources[x._edge()] = tuple(x.shape)
                    entering.append(x)
                self.net(*entering)
        except (ValueError, RuntimeError, TypeError, IndexError) as error:
            if not self._stack:
                raise
            # The stack stands as it was when a layer refused its input.
            call = self._stack[-1]
            where = f"in {type(call.module).__name__} {call.name!r}" if call.name else f"in {type(self.net).__name__}"
            shapes = ", ".join(str(tuple(x.shape)) for x in self.inputs)
            raise ValueError(f"{self.caller}: input {shapes} fails {where}: {error}") from error
        finally:
            for handle in handles:
                handle.remove()
        return self._root

    def _now(self) -> float:
        if self._cuda:
            devices.synchronize()
        return time.perf_counter()

    def _enter(self, module: Module, args: Any, kwargs: Any) -> None:
        now = self._now()
        if self._stack:
            for x in tensors((args, kwargs)):
                self._claim(x._edge()[0])  # what the module above did to the inputs
        parent = self._stack[-1] if self._stack else None
        call = Call(self._names[module], module, parent, len(self._stack), module in self._seen)
        self._seen.add(module)
        if parent is None:
            self._root = call
        else:
            parent.body.append(call)
        self._stack.append(call)
        self._idle += time.perf_counter() - now
        call.seconds = -(time.perf_counter() - self._idle)

    def _leave(self, module: Module, args: Any, kwargs: Any, output: Any) -> None:
        now = self._now()
        call = self._stack[-1]
        call.seconds += now - self._idle
        found, given = tensors(output), tensors((args, kwargs))
        for x in found:
            edge = x._edge()
            self._claim(edge[0])
            call.outputs.append((edge, tuple(x.shape)))
            if x._base is None and not any(x is y for y in given):
                call.bytes += x.numel() * x.dtype.itemsize
        self._stack.pop()
        if not self._stack:
            self.outputs = found
        self._idle += time.perf_counter() - now

    def _claim(self, node: Node | None) -> None:
        """Give the innermost call every operation that leads to ``node`` and has no owner yet, in the order of their inputs."""
        stack = [(node, False)] if node is not None else []
        while stack:
            node, ready = stack.pop()
            if node in self.owner or node in self._aside or (node, 0) in self.sources or type(node) is AccumulateGrad:
                continue
            if not ready:
                stack.append((node, True))
                stack += [(n, False) for n, _ in reversed(node.next_functions) if n is not None]
            elif not self.sources or any((n, i) in self.sources or n in self.owner for n, i in node.next_functions):
                self.owner[node] = self._stack[-1]
                self._stack[-1].body.append(node)
            else:
                self._aside.add(node)

    # ------------------------------------------------------------------------------------------------- backward

    def time_backward(self) -> dict[Node, float]:
        """Send ones back through the graph, which this uses up; the seconds that each operation took.

        Gradients of parameters are computed, and dropped.
        """
        outputs = [y for y in self.outputs if y.requires_grad]
        wanted = [p for p in self.net.parameters() if p.requires_grad]
        if not outputs or not wanted:
            return {}
        seconds: dict[Node, float] = {}
        last = 0.0

        def stop(node: Node) -> Any:
            def hook(results: Any, grads: Any) -> None:
                nonlocal last
                now = self._now()
                seconds[node] = now - last
                last = now

            return hook

        for node in self.owner:
            node.register_hook(stop(node))
        ones = [y.detach().new_ones(tuple(y.shape)) for y in outputs]
        last = self._now()
        autograd.grad(outputs, wanted, ones, allow_unused=True)
        return seconds

    # -------------------------------------------------------------------------------------------------- lookups

    def calls(self) -> list[Call]:
        """All calls, in order."""
        return list(self.root.walk())

    def leaves(self) -> dict[int, Any]:
        """The tensors that are leaves of the graph, by their ids: parameters, and what should have been some."""
        found = [n for node in (*self.owner, *self._aside) for n, _ in node.next_functions if type(n) is AccumulateGrad]
        return {id(leaf.variable): leaf.variable for leaf in found}

    def used_parameters(self) -> set[int]:
        """The ids of the tensors that are leaves of the graph."""
        return set(self.leaves())

    def apart(self) -> list[str]:
        """The names of layers with parameters that worked on nothing that comes from the inputs."""
        calls = [
            c
            for c in self.calls()
            if not c.body and c.outputs and any(True for _ in c.module.parameters(recurse=False))
        ]
        return list(dict.fromkeys(c.name or type(c.module).__name__ for c in calls))

    def saved_bytes(self) -> int:
        """The memory that waits for backward: what the operations saved, each piece once, without parameters and buffers."""
        own = {_span(t._array)[0] for t in (*self.net.parameters(), *self.net.buffers())}
        kept = [x._array for node in self.owner for x, _, _ in node._saved if x is not None]
        total, reached = 0, 0
        for start, stop in sorted(span for span in map(_span, kept) if span[0] not in own):
            total += max(0, stop - max(start, reached))
            reached = max(reached, stop)
        return total


def tensors(values: Any) -> list[Tensor]:
    """The tensors in nested tuples, lists and mappings, in order."""
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, Mapping):
        values = values.values()
    elif not isinstance(values, tuple | list):
        return []
    return [x for value in values for x in tensors(value)]


def input_shape_of(node: Node, position: int) -> tuple[int, ...] | None:
    """The shape of an operation's input that a gradient goes to; None for one that gets none."""
    following, index = node.next_functions[position]
    if following is None:
        return None
    if isinstance(following, AccumulateGrad):
        return tuple(following.variable._array.shape)
    return tuple(following._shapes[index][0])


def output_shape_of(node: Node, index: int = 0) -> tuple[int, ...]:
    """The shape of an operation's output."""
    return tuple(node._shapes[index][0])


def saved_shapes(node: Node) -> list[tuple[int, ...] | None]:
    """The shapes of what an operation saved for backward."""
    return [None if x is None else tuple(x._array.shape) for x, _, _ in node._saved]


def operation_name(node: Node) -> str:
    """An operation's name in the spelling of functions: "max_pool", "add"."""
    name = node.function.__name__.removesuffix("Function").lstrip("_")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _span(array: Any) -> tuple[int, int]:
    """The addresses at which an array's memory begins and ends."""
    about = getattr(array, "__array_interface__", None) or array.__cuda_array_interface__
    start = about["data"][0]
    return start, start + int(array.size) * array.dtype.itemsize


# ------------------------------------------------------------------------------------------------------------ running


def make_inputs(caller: str, net: Module, inputs: Any) -> list[Tensor]:
    """The tensors to run a network on: as given, or zeros of the shapes given, where and as the parameters are."""
    if not isinstance(net, Module):
        raise TypeError(f"{caller}: net must be an nn.Module, got a {type(net).__name__}")
    several = isinstance(inputs, tuple | list) and bool(inputs) and isinstance(inputs[0], tuple | list | Tensor)
    made = []
    for one in inputs if several else (inputs,):
        if isinstance(one, Tensor):
            made.append(one)
            continue
        good = isinstance(one, tuple | list) and len(one) >= 2
        if not good or not all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in one):
            raise ValueError(
                f"{caller}: expected a tensor, or its shape with the batch size first such as (1, 3, 224, 224), or a list "
                f"of them for a network of several inputs; got {one!r}"
            )
        like = next((p for p in net.parameters() if p.is_floating_point()), None)
        made.append(zeros(tuple(one)) if like is None else zeros(tuple(one), dtype=like.dtype, device=like.device))
    return made


class evaluating:
    """A context in which a network and its parts are in evaluation mode; each gets its own mode back afterwards."""

    def __init__(self, net: Module) -> None:
        self._modes = [(module, module.training) for module in net.modules()]
        self._net = net

    def __enter__(self) -> None:
        self._net.eval()

    def __exit__(self, *exc: object) -> None:
        for module, training in self._modes:
            module.training = training


def trace(caller: str, net: Any, inputs: Any) -> Trace:
    """Run a network once in evaluation mode, recorded.

    Args:
        caller: whose name errors carry.
        net: a module.
        inputs: a shape, a tensor, or a list of them for a network of several inputs.

    Raises:
        TypeError: for what is not a module.
        ValueError: for what is not a shape, or one that the network refuses, with the layer's name.
    """
    made = make_inputs(caller, net, inputs)
    with evaluating(net):
        return Trace(caller, net, made)


def run_and_keep(caller: str, net: Module, x: Tensor, names: Sequence[str], pass_on: bool = False) -> list[Tensor]:
    """Run a network in evaluation mode, recorded; the outputs that the layers of these names had, in their last call.

    What is kept does not change if the next layer works in place: the network goes on with a copy of it (``pass_on``, which
    puts the kept tensor on the way to the output), or the kept tensor is the copy.
    """
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: Module, args: Any, output: Any) -> Any:
            found = tensors(output)
            if not found:
                return None
            if pass_on and isinstance(output, Tensor):
                kept[name] = output
                return output.clone()
            kept[name] = found[0].clone()
            return None

        return hook

    handles = [net.get_submodule(name).register_forward_hook(keep(name)) for name in dict.fromkeys(names)]
    try:
        with evaluating(net), enable_grad():
            net(x.clone() if x.requires_grad else x)
    except (ValueError, RuntimeError, TypeError, IndexError) as error:
        raise ValueError(f"{caller}: {type(net).__name__} refuses the input {tuple(x.shape)}: {error}") from error
    finally:
        for handle in handles:
            handle.remove()
    missing = next((name for name in names if name not in kept), None)
    if missing is not None:
        raise ValueError(f"{caller}: layer {missing!r} did not run, or gave no tensor")
    return [kept[name] for name in names]


def layer_name(caller: str, net: Any, layer: str | Module | None) -> str:
    """A layer's dotted name, "" for the network itself."""
    if not isinstance(net, Module):
        raise TypeError(f"{caller}: net must be an nn.Module, got a {type(net).__name__}")
    if layer is None:
        return ""
    names = [name for name, _ in net.named_modules()]
    if isinstance(layer, Module):
        found = next((name for name, module in net.named_modules() if module is layer), None)
        if found is None:
            raise ValueError(f"{caller}: this {type(layer).__name__} is not a part of the {type(net).__name__}")
        return found
    if layer not in names:
        close = difflib.get_close_matches(str(layer), names, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"it has {', '.join(names[1:10])}, ..."
        raise ValueError(f"{caller}: the {type(net).__name__} has no layer {layer!r}; {hint}")
    return layer
