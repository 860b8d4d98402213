"""The tape of reverse-mode automatic differentiation. Knows graphs and gradients, and no operation.

Forward: ``Function.apply`` runs an operation and, where an input wants a gradient, ties its outputs to a ``Node``
that remembers what backward needs and where the inputs came from. Backward: ``run_backward`` counts for each node how
many gradients it will receive, then visits nodes as they become complete: no recursion, so a chain of any
length works; a node's saved values are dropped as soon as it has run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any
from weakref import ref

import numpy as np

from numbanet.devices import device_of, full

# ----------------------------------------------------------------------------------------------------- grad mode


class _Mode(threading.local):
    enabled = True
    saver: Callable[[tuple[Any, ...]], Any] | None = None  # see saved_by
    autocast: Any = None  # what numbanet.precision does in this thread


_mode = _Mode()


def is_grad_enabled() -> bool:
    """Whether operations are being recorded for backward in this thread."""
    return _mode.enabled


class set_grad_enabled:
    """Record (or do not record) operations: as a context manager, or at once when called as a function."""

    def __init__(self, mode: bool) -> None:
        self._before = _mode.enabled
        self._wanted = bool(mode)
        _mode.enabled = self._wanted

    def __enter__(self) -> None:
        _mode.enabled = self._wanted

    def __exit__(self, *exc: object) -> None:
        _mode.enabled = self._before


class _GradMode:
    """A context manager and decorator that sets the grad mode, and puts the old one back."""

    _wanted: bool
    _before: list[bool]

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        instance = object.__new__(cls)
        instance._before = []
        return instance if function is None else instance(function)  # a function: used as a bare decorator, @no_grad

    def __enter__(self) -> None:
        self._before.append(_mode.enabled)
        _mode.enabled = self._wanted

    def __exit__(self, *exc: object) -> None:
        _mode.enabled = self._before.pop()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with type(self)():
                return function(*args, **kwargs)

        return wrapped


class no_grad(_GradMode):
    """Do not record operations: ``with no_grad():`` or ``@no_grad()``. Results do not require gradients."""

    _wanted = False


class enable_grad(_GradMode):
    """Record operations again inside ``no_grad``."""

    _wanted = True


inference_mode = no_grad


class saved_by:
    """A context in which ``saver`` decides how nodes keep what they save for backward; None: as they are.

    ``saver(entries)`` takes a node's saved values, triples (tensor, its change count, its index among the node's outputs or
    None), and returns what the node holds in their place: an object whose ``fetch()`` gives the triples back. Its
    attribute ``entries`` is the triples where it has them at hand, else None. ``utils.checkpoint`` saves nothing this way,
    and fetches by computing again.
    """

    def __init__(self, saver: Callable[[tuple[Any, ...]], Any] | None) -> None:
        self._saver = saver
        self._before: Callable[[tuple[Any, ...]], Any] | None = None

    def __enter__(self) -> None:
        self._before, _mode.saver = _mode.saver, self._saver

    def __exit__(self, *exc: object) -> None:
        _mode.saver = self._before


class autocast_as:
    """A context with the autocast of another time, as ``current_autocast`` gave it."""

    def __init__(self, state: Any) -> None:
        self._state = state

    def __enter__(self) -> None:
        self._before, _mode.autocast = _mode.autocast, self._state

    def __exit__(self, *exc: object) -> None:
        _mode.autocast = self._before


def current_autocast() -> Any:
    """What autocast does in this thread; None where it is off."""
    return _mode.autocast


def current_saver() -> Callable[[tuple[Any, ...]], Any] | None:
    """The saver of the innermost ``saved_by`` around this thread's calls."""
    return _mode.saver


# ---------------------------------------------------------------------------------------------------- the graph


class Variable:
    """What the tape knows of a tensor; ``tensor.Tensor`` adds everything else.

    Attributes are class defaults until set, which keeps making a tensor cheap.
    """

    _array: Any
    _requires_grad = False
    _node: Node | None = None  # the node whose output this is; None for leaves
    _output = 0  # which of its outputs
    _accumulator: Any = None  # weak reference to a leaf's AccumulateGrad
    grad: Any = None
    _retains_grad = False
    # In-place changes: tensors that share memory share one counter, a list of one int (None: never changed nor shared).
    _changes: list[int] | None = None
    # Differentiable views: the tensor viewed, the view functions that lead here from it, and its change count when this
    # tensor's place in the graph was worked out.
    _base: Variable | None = None
    _steps: tuple[tuple[type[Function], tuple[Any, ...]], ...] = ()
    _seen = 0

    @property
    def _version(self) -> int:
        return 0 if self._changes is None else self._changes[0]

    def _share_changes(self, alias: Variable) -> None:
        """Count in-place changes of this tensor and of ``alias``, which shares its memory, together."""
        if self._changes is None:
            self._changes = [0]
        alias._changes = self._changes

    def _count_change(self) -> None:
        """Note that this tensor's memory was written to, so that backward notices where it saved the old values."""
        if self._changes is None:
            self._changes = [0]
        self._changes[0] += 1

    def _edge(self) -> tuple[Node | None, int]:
        """Where this tensor's gradient goes: (node, output index), or (None, 0)."""
        base = self._base
        if base is not None and base._requires_grad and self._seen != self._version:
            _reattach(self)
        if self._node is not None:
            return self._node, self._output
        if not self._requires_grad:
            return _NOWHERE
        accumulator = self._accumulator() if self._accumulator is not None else None
        if accumulator is None:
            accumulator = AccumulateGrad(self)
            self._accumulator = ref(accumulator)
        return accumulator, 0


def _reattach(view: Variable) -> None:
    """Work out a view's place in the graph again after its base was changed in place."""
    base = view._base
    assert base is not None
    again: Any = base
    with enable_grad():
        for function, args in view._steps:
            again = function.apply(again, *args)
    view._node, view._output, view._requires_grad = again._node, again._output, again._requires_grad
    view._seen = view._version


_NOWHERE: tuple[Node | None, int] = (None, 0)  # the edge of an input that wants no gradient


class Node:
    """One recorded operation: a tensor's ``grad_fn``, and the ``ctx`` that a Function's forward and backward share.

    Attributes are class defaults until set: every operation makes a node.

    Attributes:
        next_functions: a pair (node, output index) for each input, (None, 0) where no gradient is wanted.
        needs_input_grad: a bool for each input.
    """

    function: type[Function]
    next_functions: tuple[tuple[Node | None, int], ...] = ()
    _saved: Any = ()
    _released = False
    _dirty: tuple[Any, ...] = ()
    _not_differentiable: tuple[Any, ...] = ()
    _materialize = True
    _shapes: tuple[Any, ...] = ()  # of each output: (shape, dtype, device)
    _hooks: dict[int, list[Callable[[Any], Any]]] | None = None  # of the outputs' gradients, see _add_hook
    _capture: dict[int, Variable] | None = None  # outputs that keep their gradient, see _keep_gradient
    _post_hooks: list[Callable[[Any, Any], Any]] | None = None

    def __init__(self, needs_input_grad: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs_input_grad

    # what forward calls
    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors (or None) for backward, which finds them in ``saved_tensors``."""
        self._saved = tensors

    def mark_dirty(self, *tensors: Any) -> None:
        """Say which inputs forward changed in place."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Say which outputs have no gradient (indices, for instance)."""
        self._not_differentiable = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether backward gets zeros (True, the default) or None for outputs that received no gradient."""
        self._materialize = value

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What forward saved.

        Raises:
            RuntimeError: if it was released by an earlier backward, or changed in place since forward saved it.
        """
        if self._released:
            raise RuntimeError(
                f"{self.name()}: trying to backward through the graph a second time: the values saved for it were "
                "released by the first backward. Call the first backward with retain_graph=True, or run forward again"
            )
        tensors = []
        for tensor, version, output in self._saved if type(self._saved) is tuple else self._saved.fetch():
            if tensor is not None and tensor._changes is not None and tensor._changes[0] != version:
                raise RuntimeError(
                    f"{self.name()}: a tensor of shape {tuple(tensor.shape)} that backward needs was modified by an "
                    f"in-place operation: it is at version {tensor._version}, expected version {version}. Use an "
                    "out-of-place operation (x = x + 1 rather than x += 1), or clone() it first"
                )
            if output is not None and _mode.enabled:  # backward is being recorded: an output depends on the inputs
                tensor = tensor._alias()
                tensor._node, tensor._output, tensor._requires_grad = self, output, True
            tensors.append(tensor)
        return tuple(tensors)

    def _pack(self, outputs: tuple[Any, ...]) -> None:
        """Note the versions of what was saved; an output is kept by an alias, or node and output would hold each other."""
        packed: list[tuple[Any, int, int | None]] = []
        for tensor in self._saved:
            if tensor is None:
                packed.append((None, 0, None))
                continue
            kept, place = tensor, None
            for index, output in enumerate(outputs):
                if tensor is output:
                    differentiable = not any([output is t for t in self._not_differentiable])
                    kept, place = output._alias(), index if differentiable else None
                    break
            packed.append((kept, 0 if kept._changes is None else kept._changes[0], place))
        self._saved = tuple(packed) if _mode.saver is None else _mode.saver(tuple(packed))

    def _recount(self, target: Variable) -> None:
        """Note that an operation in place has put what it saved into ``target``: a change that backward expects."""
        held = None if type(self._saved) is tuple else self._saved
        entries = self._saved if held is None else held.entries
        if not entries:
            return
        for tensor, _, _ in entries:
            target._share_changes(tensor)
        entries = tuple([(tensor, tensor._version, output) for tensor, _, output in entries])
        if held is None:
            self._saved = entries
        else:
            held.entries = entries

    def _attach(self, output: Any, index: int) -> Any:
        """Make an output of forward this node's; returns what zeros in place of its gradient look like."""
        if not isinstance(output, Variable):
            return None
        array = output._array
        dtype = array.dtype
        if dtype.kind in "fV" and not (  # floating, see dtypes.is_floating
            self._not_differentiable and any([output is t for t in self._not_differentiable])
        ):
            output._node, output._output, output._requires_grad = self, index, True
            if output._base is not None:
                output._seen = output._version
        return array.shape, dtype, device_of(array)

    def _release(self) -> None:
        self._released = bool(self._saved)
        self._saved = ()

    # what the engine calls
    def _run(self, grads: tuple[Any, ...]) -> Any:
        return self.function.backward(self, *grads)

    def name(self) -> str:
        """The node's name, such as "AddBackward"."""
        return type(self).__name__

    def register_hook(self, hook: Callable[[Any, Any], Any]) -> RemovableHandle:
        """Call ``hook(grad_inputs, grad_outputs)`` after this node has run in backward."""
        if self._post_hooks is None:
            self._post_hooks = []
        self._post_hooks.append(hook)
        return RemovableHandle(self._post_hooks, hook)

    # what tensors call
    def _add_hook(self, output: int, hook: Callable[[Any], Any]) -> RemovableHandle:
        """Call ``hook(gradient)`` when the gradient of an output is known."""
        if self._hooks is None:
            self._hooks = {}
        hooks = self._hooks.setdefault(output, [])
        hooks.append(hook)
        return RemovableHandle(hooks, hook)

    def _keep_gradient(self, output: int, variable: Variable) -> None:
        """Put the gradient of an output into ``variable.grad``."""
        if self._capture is None:
            self._capture = {}
        self._capture[output] = variable

    def __repr__(self) -> str:
        return f"<{self.name()} at {id(self):#x}>"


class AccumulateGrad(Node):
    """The end of a gradient's way: adds it to a leaf's ``.grad``."""

    def __init__(self, variable: Variable) -> None:
        super().__init__((True,))
        self.variable = variable

    def _release(self) -> None:
        pass


class RemovableHandle:
    """What registering a hook returns; ``remove()`` takes the hook away."""

    def __init__(self, hooks: list[Any], hook: Any) -> None:
        self._hooks, self._hook = hooks, hook

    def remove(self) -> None:
        if self._hook in self._hooks:
            self._hooks.remove(self._hook)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


class Function:
    """An operation with a gradient of its own, as ``torch.autograd.Function``.

    Subclass it with two static methods and call ``apply``::

        class Square(numbanet.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return x * x

            @staticmethod
            def backward(ctx, grad):
                (x,) = ctx.saved_tensors
                return 2 * x * grad

        y = Square.apply(x)

    ``forward`` runs without recording. ``backward`` gets a gradient for each output and returns one for each input of
    forward (None where there is none).
    """

    _is_view = False  # whether forward's output shares its first input's memory
    _node_type: type[Node]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._node_type = type(cls.__name__.removesuffix("Function") + "Backward", (Node,), {"function": cls})

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Any:
        """Compute the outputs from the inputs."""
        raise NotImplementedError("Function: define forward(ctx, *inputs) as a static method")

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """Compute the inputs' gradients from the outputs'."""
        raise NotImplementedError("Function: define backward(ctx, *grads) as a static method to use it with gradients")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run forward and record it where an input requires a gradient."""
        mode = _mode
        recording = mode.enabled
        if recording:  # forward itself records nothing, whatever tensors it gets hold of
            needs = tuple([isinstance(a, Variable) and a._requires_grad for a in args])
            recording = True in needs
            node = cls._node_type(needs)
            mode.enabled = False
            try:
                result = cls.forward(node, *args)
            finally:
                mode.enabled = True
        else:
            node = cls._node_type((False,) * len(args))
            result = cls.forward(node, *args)
        outputs = result if type(result) is tuple else (result,)
        if node._dirty:
            for tensor in node._dirty:
                tensor._count_change()
        else:
            for output in outputs:
                if any([output is a for a in args]):
                    outputs = tuple([_alias_of_input(o, args) for o in outputs])
                    break
        if cls._is_view:
            _attach_view(outputs[0], args[0], cls, args[1:])
        if recording:
            node.next_functions = tuple([a._edge() if need else _NOWHERE for a, need in zip(args, needs, strict=True)])
            if node._saved:
                node._pack(outputs)
            node._shapes = tuple([node._attach(output, index) for index, output in enumerate(outputs)])
        return outputs if type(result) is tuple else outputs[0]


def _alias_of_input(output: Any, args: tuple[Any, ...]) -> Any:
    """An output that is one of the inputs becomes a tensor of its own over the same memory."""
    if isinstance(output, Variable):
        for a in args:
            if output is a:
                return output._alias()  # type: ignore[attr-defined]
    return output


def _attach_view(view: Variable, source: Variable, function: type[Function], args: tuple[Any, ...]) -> None:
    """Note that ``view`` shares ``source``'s memory, and how it was taken."""
    source._share_changes(view)
    if source._base is None:
        view._base, view._steps = source, ((function, args),)
    else:
        view._base, view._steps = source._base, (*source._steps, (function, args))
    view._seen = view._version


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a Function's backward that works on raw arrays, so that differentiating it again is an error, not a silent zero.

    As ``torch.autograd.function.once_differentiable``.
    """

    @wraps(backward)
    def wrapped(ctx: Any, *grads: Any) -> Any:
        again = _mode.enabled
        with no_grad():
            results = backward(ctx, *grads)
        if again:
            for result in results if isinstance(results, tuple) else (results,):
                if isinstance(result, Variable) and result._node is None:
                    result._node, result._requires_grad = _OnceDifferentiable(ctx.name()), True
        return results

    return wrapped


class _OnceDifferentiable(Node):
    def __init__(self, of: str) -> None:
        super().__init__(())
        self._of = of

    def _run(self, grads: tuple[Any, ...]) -> Any:
        raise RuntimeError(f"{self._of}: differentiating this operation twice is not supported")


# ---------------------------------------------------------------------------------------------------- the engine


def _order(roots: Iterable[Node]) -> dict[Node, int]:
    """How many edges lead to each node that the roots reach."""
    counts: dict[Node, int] = dict.fromkeys(roots, 0)
    stack = list(counts)
    while stack:
        for following, _ in stack.pop().next_functions:
            if following is None:
                continue
            if following in counts:
                counts[following] += 1
            else:
                counts[following] = 1
                stack.append(following)
    return counts


def _leading_to(targets: set[Node], counts: dict[Node, int]) -> set[Node]:
    """Of the nodes in ``counts``, those from which some target can be reached (or that are one)."""
    sources: dict[Node, list[Node]] = {}
    for node in counts:
        for following, _ in node.next_functions:
            if following is not None:
                sources.setdefault(following, []).append(node)
    found = {target for target in targets if target in counts}
    stack = list(found)
    while stack:
        for source in sources.get(stack.pop(), ()):
            if source not in found:
                found.add(source)
                stack.append(source)
    return found


def run_backward(
    tensors: Sequence[Any],
    gradients: Sequence[Any],
    retain_graph: bool,
    create_graph: bool,
    inputs: Sequence[Any] | None = None,
    accumulate: bool = True,
) -> list[Any]:
    """Send ``gradients`` of ``tensors`` backward through the graph.

    Args:
        tensors: where to start.
        gradients: their gradients, of the same shapes.
        retain_graph: keep the saved values for another backward.
        create_graph: record backward itself, to differentiate it again.
        inputs: where to go; None for every leaf.
        accumulate: add to ``.grad`` of the leaves (or inputs).

    Returns:
        With ``inputs`` and not ``accumulate``: a gradient (or None) for each input.
    """
    # A waiting gradient is a pair: the tensor, and whether nothing else can see its memory.
    waiting: dict[Node, dict[int, tuple[Any, bool]]] = {}
    for tensor, gradient in zip(tensors, gradients, strict=True):
        node, index = tensor._edge()
        _add_waiting(waiting, node, index, gradient, False)
    counts = _order(waiting)
    targets: dict[tuple[Node, int], list[int]] = {}
    captured: list[Any] = [None] * len(inputs or ())
    active: set[Node] | None = None
    if inputs is not None:
        for position, tensor in enumerate(inputs):
            targets.setdefault(tensor._edge(), []).append(position)
        active = _leading_to({node for node, _ in targets}, counts)
    ready = [node for node in waiting if counts[node] == 0]  # what a root leads to has a count

    before, autocast = _mode.enabled, _mode.autocast
    _mode.enabled, _mode.autocast = create_graph, None
    try:
        while ready:
            node = ready.pop()
            received = waiting.pop(node, None)
            if received and (active is None or node in active):
                if node._hooks is not None:
                    for index, hooks in node._hooks.items():
                        if index in received:
                            received[index] = _call_hooks(hooks, received[index])
                if node._capture is not None:
                    for index, retaining in node._capture.items():
                        if index in received:
                            retaining.grad = received[index][0] if create_graph else received[index][0].detach()
                if inputs is not None:
                    for index, (gradient, _) in received.items():
                        for position in targets.get((node, index), ()):
                            captured[position] = gradient
                if isinstance(node, AccumulateGrad):
                    if accumulate and (inputs is None or (node, 0) in targets):
                        _accumulate(node.variable, *received[0], create_graph)
                elif active is None or any([n in active for n, _ in node.next_functions if n is not None]):
                    _visit(node, received, waiting, retain_graph)
            for following, _ in node.next_functions:
                if following is not None:
                    count = counts[following] - 1
                    counts[following] = count
                    if count == 0:
                        ready.append(following)
    finally:
        _mode.enabled, _mode.autocast = before, autocast
    if inputs is not None and accumulate:
        for position, tensor in enumerate(inputs):
            if tensor._node is not None and captured[position] is not None:
                _accumulate(tensor, captured[position], False, create_graph)
    return captured


def _visit(node: Node, received: dict[int, tuple[Any, bool]], waiting: dict[Any, Any], retain_graph: bool) -> None:
    """Run one node's backward and hand its results on."""
    if node._released:
        node.saved_tensors  # raises the error that explains a second backward  # noqa: B018
    if len(node._shapes) <= 1:
        grads: tuple[Any, ...] = (received[0][0],)
    else:
        grads = tuple(
            [
                received[i][0] if i in received else (_filled(0, *shape) if node._materialize and shape else None)
                for i, shape in enumerate(node._shapes)
            ]
        )
    results = node._run(grads)
    if type(results) is not tuple and not isinstance(results, tuple):
        results = (results,)
    edges = node.next_functions
    if len(results) != len(edges) and (
        len(results) < len(edges) or any([r is not None for r in results[len(edges) :]])
    ):
        raise RuntimeError(
            f"{node.name()}: backward returned {len(results)} gradients, expected {len(edges)} "
            "(one for each input of forward, None where there is none)"
        )
    if node._post_hooks is not None:
        for hook in list(node._post_hooks):
            changed = hook(results, grads)
            results = results if changed is None else changed
    for position, ((following, index), result) in enumerate(zip(edges, results, strict=False)):
        if following is None or result is None:
            continue
        try:
            base = result._base
        except AttributeError:
            raise TypeError(
                f"{node.name()}: backward returned a {type(result).__name__} as gradient {position}, expected a Tensor or None"
            ) from None
        owned = base is None and result._changes is None and not any([result is g for g in grads])
        if owned and len(results) > 1:
            owned = not any([result is r for i, r in enumerate(results) if i != position])
        taken = _fitting_gradient(node, following, index, result)
        _add_waiting(waiting, following, index, taken, owned or taken is not result)
    if not retain_graph:
        node._release()


def _fitting_gradient(node: Node, following: Node, index: int, gradient: Any) -> Any:
    """The gradient in the dtype of what it is the gradient of; refuses one of another shape."""
    if following._shapes:
        shape, dtype, _ = following._shapes[index]
    elif isinstance(following, AccumulateGrad):
        shape, dtype = following.variable._array.shape, following.variable._array.dtype
    else:
        return gradient
    given = gradient._array.shape
    if given != shape and tuple(given) != tuple(shape):
        raise RuntimeError(
            f"{node.name()}: backward returned a gradient of shape {tuple(given)} for an input of shape {tuple(shape)}"
        )
    found = gradient._array.dtype
    return gradient if found is dtype or found == dtype else gradient.to(dtype=dtype)


def _add_waiting(waiting: dict[Any, Any], node: Any, index: int, gradient: Any, owned: bool) -> None:
    slots = waiting.get(node)
    if slots is None:
        waiting[node] = {index: (gradient, owned)}
    elif index in slots:
        slots[index] = (slots[index][0] + gradient, True)
    else:
        slots[index] = (gradient, owned)


def _call_hooks(hooks: list[Callable[[Any], Any]], slot: tuple[Any, bool]) -> tuple[Any, bool]:
    gradient, owned = slot
    for hook in list(hooks):
        changed = hook(gradient)
        if changed is not None:
            gradient = changed
        owned = False  # the hook may have kept it
    return gradient, owned


def _filled(value: float, shape: Any, dtype: Any, device: Any) -> Any:
    from numbanet.tensor import wrap

    return wrap(full(tuple(shape), value, dtype, device))


def _accumulate(variable: Any, gradient: Any, owned: bool, create_graph: bool) -> None:
    """``variable.grad += gradient``, without copying a gradient that nobody else holds."""
    if create_graph:
        variable.grad = gradient if variable.grad is None else variable.grad + gradient
    elif variable.grad is None:
        variable.grad = gradient if owned else gradient.detach().clone()
    else:
        variable.grad.add_(gradient)


# ------------------------------------------------------------------------------------------------- public entries


def _start_gradients(tensors: Sequence[Any], gradients: Any, caller: str) -> list[Any]:
    if gradients is None:
        gradients = [None] * len(tensors)
    elif isinstance(gradients, Variable):
        gradients = [gradients]
    if len(gradients) != len(tensors):
        raise RuntimeError(f"{caller}: got {len(tensors)} tensors and {len(gradients)} gradients")
    starts = []
    for tensor, gradient in zip(tensors, gradients, strict=True):
        if not tensor.requires_grad:
            raise RuntimeError(
                f"{caller}: a tensor of shape {tuple(tensor.shape)} does not require grad and has no grad_fn: nothing "
                "that requires gradients went into it (or it was made under no_grad)"
            )
        array = tensor._array
        if gradient is None:
            if array.size != 1:
                raise RuntimeError(
                    f"{caller}: a gradient can be implied only for a tensor of one element, got shape "
                    f"{tuple(array.shape)}: reduce it to a scalar (.sum(), .mean()) or pass gradient="
                )
            gradient = _filled(1, array.shape, array.dtype, device_of(array))
        elif gradient._array.shape != array.shape and tuple(gradient.shape) != tuple(array.shape):
            raise RuntimeError(
                f"{caller}: the gradient has shape {tuple(gradient.shape)}, the tensor {tuple(array.shape)}; they must agree"
            )
        elif gradient._array.dtype != array.dtype or gradient.device != tensor.device:
            gradient = gradient.to(device=tensor.device, dtype=tensor.dtype)
        starts.append(gradient)
    return starts


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Add the gradients of ``tensors`` to ``.grad`` of the leaves they came from. See ``Tensor.backward``.

    Args:
        tensors: a tensor or a sequence of tensors.
        grad_tensors: their gradients; may be left out for tensors of one element (taken as 1).
        retain_graph: keep what was saved, so that backward can run again (default: ``create_graph``).
        create_graph: record backward, for gradients of gradients.
        inputs: tensors whose ``.grad`` to fill; None for all leaves.

    Raises:
        RuntimeError: where nothing requires grad, shapes disagree, or the graph was released.
    """
    tensors = [tensors] if isinstance(tensors, Variable) else list(tensors)
    starts = _start_gradients(tensors, grad_tensors, "backward")
    wanted = None if inputs is None else [inputs] if isinstance(inputs, Variable) else list(inputs)
    run_backward(tensors, starts, create_graph if retain_graph is None else retain_graph, create_graph, wanted)


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    *,
    materialize_grads: bool = False,
) -> tuple[Any, ...]:
    """The gradients of ``outputs`` with respect to ``inputs``, leaving every ``.grad`` alone.

    Args:
        outputs: a tensor or a sequence of tensors.
        inputs: a tensor or a sequence of tensors that require grad.
        grad_outputs: gradients of the outputs; may be left out for outputs of one element.
        retain_graph: keep what was saved, so that the graph can be used again (default: ``create_graph``).
        create_graph: record this, for gradients of gradients.
        only_inputs: without effect, as in PyTorch.
        allow_unused: return None for inputs that the outputs do not depend on, instead of raising (default:
            ``materialize_grads``).
        materialize_grads: zeros instead of None for those inputs.

    Returns:
        A tuple with a gradient for each input, of the input's shape.

    Raises:
        RuntimeError: for an input that requires no grad, or that is unused.
        ValueError: for allow_unused=False together with materialize_grads.
    """
    if materialize_grads and allow_unused is False:
        raise ValueError("grad: materialize_grads=True gives zeros for unused inputs, so allow_unused cannot be False")
    outputs = [outputs] if isinstance(outputs, Variable) else list(outputs)
    inputs = [inputs] if isinstance(inputs, Variable) else list(inputs)
    starts = _start_gradients(outputs, grad_outputs, "grad")
    for position, tensor in enumerate(inputs):
        if not tensor.requires_grad:
            raise RuntimeError(f"grad: input {position} of shape {tuple(tensor.shape)} does not require grad")
    retain = create_graph if retain_graph is None else retain_graph
    found = run_backward(outputs, starts, retain, create_graph, inputs, accumulate=False)
    if materialize_grads:
        return tuple(
            tensor.new_zeros(tuple(tensor.shape)) if gradient is None else gradient
            for tensor, gradient in zip(inputs, found, strict=True)
        )
    if not allow_unused:
        for position, gradient in enumerate(found):
            if gradient is None:
                raise RuntimeError(
                    f"grad: input {position} of shape {tuple(inputs[position].shape)} was not used in the graph of the "
                    "outputs; pass allow_unused=True to get None for it"
                )
    return tuple(found)


# ------------------------------------------------------------------------------------------------------ gradcheck


class GradcheckError(RuntimeError):
    """A gradient that disagrees with finite differences."""


def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
) -> bool:
    """Compare a function's gradients with central differences, element by element.

    For every float64 input x that requires grad and every element of it, (f(x + eps) - f(x - eps)) / (2 eps),
    contracted with a random cotangent, against backward's result.

    Args:
        func: takes the inputs, returns a tensor or a tuple of tensors.
        inputs: a tensor or a tuple; those to be checked are float64 and require grad.
        eps: the step.
        atol, rtol: allowed difference, absolute and relative to the finite difference.
        raise_exception: raise on disagreement (else return False).

    Raises:
        GradcheckError: where they disagree, naming the input, the element and both values.
        ValueError: if no input requires grad, or one that does is not float64.
    """
    args = (inputs,) if isinstance(inputs, Variable) else tuple(inputs)
    checked = [i for i, a in enumerate(args) if isinstance(a, Variable) and a._requires_grad]
    if not checked:
        raise ValueError("gradcheck: no input requires grad; set requires_grad=True on those to check")
    for i in checked:
        if args[i].dtype != np.float64:
            raise ValueError(
                f"gradcheck: input {i} is {args[i].dtype}, expected float64 (float32 is too coarse to difference)"
            )
    rng = np.random.default_rng(0)
    result = func(*args)
    outputs = [o for o in (result if isinstance(result, tuple) else (result,)) if o.requires_grad]
    if not outputs:
        raise ValueError("gradcheck: no output requires grad")
    cotangents = [rng.standard_normal(tuple(o.shape)) for o in outputs]
    from numbanet.tensor import from_numpy

    starts = [from_numpy(np.asarray(c)).to(o.device) for c, o in zip(cotangents, outputs, strict=True)]
    found = grad(outputs, [args[i] for i in checked], starts, allow_unused=True)

    def value() -> float:
        again = func(*args)
        again = [o for o in (again if isinstance(again, tuple) else (again,)) if o.is_floating_point()]
        return sum(float((o.detach().cpu().numpy() * c).sum()) for o, c in zip(again, cotangents, strict=True))

    for i, gradient in zip(checked, found, strict=True):
        held = args[i].detach()
        start = held.cpu().numpy().copy()
        analytic = np.zeros(start.shape) if gradient is None else gradient.detach().cpu().numpy()
        for index in np.ndindex(start.shape):
            values = []
            for sign in (1, -1):
                moved = start.copy()
                moved[index] += sign * eps
                held.copy_(from_numpy(moved))
                values.append(value())
            held.copy_(from_numpy(start))
            numeric = (values[0] - values[1]) / (2 * eps)
            if not abs(analytic[index] - numeric) <= atol + rtol * abs(numeric):
                message = (
                    f"gradcheck: input {i} of shape {start.shape}, element {index}: backward gives "
                    f"{analytic[index]:.8g}, finite differences {numeric:.8g}"
                )
                if raise_exception:
                    raise GradcheckError(message)
                return False
    return True
