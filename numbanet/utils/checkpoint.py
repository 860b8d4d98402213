"""Trade time for memory: run a part of a network without keeping its inner values, and compute them again in backward.

``checkpoint(function, *args)`` records the graph as usual, but its nodes keep nothing of what they save (``saved_by``). The
first of them that backward visits runs the function once more on the kept arguments; the values that its operations save
this time are handed to the waiting nodes in order, and die node by node as backward passes. The graph is the ordinary one:
hooks, ``autograd.grad``, gradients of gradients, parameters that the function holds and checkpoints inside checkpoints
need nothing special.

Reference: T. Chen et al., "Training deep nets with sublinear memory cost" (2016), section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from weakref import ref

from numbanet.autograd import (
    Variable,
    autocast_as,
    current_autocast,
    current_saver,
    enable_grad,
    is_grad_enabled,
    saved_by,
)
from numbanet.random import get_rng_state, set_rng_state

__all__ = ["CheckpointError", "checkpoint", "checkpoint_sequential"]

_Entry = tuple[Any, int, int | None]  # a saved tensor (or None), its change count, its index among its node's outputs
_Contexts = Callable[[], tuple[AbstractContextManager[Any], AbstractContextManager[Any]]]


class CheckpointError(RuntimeError):
    """The function saved other values when it was computed again."""


def noop_context_fn() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """Contexts for forward and for computing again that do nothing."""
    return nullcontext(), nullcontext()


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: _Contexts = noop_context_fn,
    determinism_check: str = "default",
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """``function(*args, **kwargs)``, whose inner values are computed again in backward instead of being kept.

    Args:
        function: takes and returns anything; it must compute the same when it is called again.
        args, kwargs: its arguments. They are kept, and must not be changed in place before backward.
        use_reentrant: taken for PyTorch's sake; both values do the same here.
        context_fn: returns two contexts, one for running the function and one for running it again.
        determinism_check: "default" compares the shapes and dtypes of what is computed again, "none" does not.
        preserve_rng_state: start the random numbers from the same state again, so that dropout draws the same mask.

    Returns:
        What the function returns. Under ``no_grad`` this is a plain call.

    Raises:
        ValueError: for another ``determinism_check``.
        CheckpointError: in backward, where the function saved other values the second time.
        RuntimeError: in backward, where an argument was changed in place, or inside the function itself.
    """
    if determinism_check not in ("default", "none"):
        raise ValueError(f"checkpoint: determinism_check must be 'default' or 'none', got {determinism_check!r}")
    if not is_grad_enabled():
        return function(*args, **kwargs)
    first, again = context_fn()
    part = _Part(function, args, kwargs, preserve_rng_state, again, determinism_check == "default")
    with first, saved_by(part.save):
        result = function(*args, **kwargs)
    part.running = False
    return result


def checkpoint_sequential(
    functions: Iterable[Callable[[Any], Any]],
    segments: int,
    input: Any,
    use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
) -> Any:
    """A chain of modules in segments of equal length, all but the last of which are checkpoints.

    Args:
        functions: a ``Sequential``, or a list of functions of one argument.
        segments: the number of segments; what remains of the division goes to the last.
        input: goes into the first.
        use_reentrant, preserve_rng_state: as for ``checkpoint``.

    Raises:
        ValueError: for a number of segments that is not from 1 to the number of functions.
    """
    chain = list(functions)
    if not 1 <= segments <= max(len(chain), 1):
        raise ValueError(f"checkpoint_sequential: segments must be from 1 to {max(len(chain), 1)}, got {segments}")

    def run(start: int, end: int) -> Callable[[Any], Any]:
        def segment(x: Any) -> Any:
            for step in chain[start:end]:
                x = step(x)
            return x

        return segment

    length = len(chain) // segments
    last = length * (segments - 1)
    for start in range(0, last, length or 1):
        input = checkpoint(
            run(start, start + length), input, use_reentrant=use_reentrant, preserve_rng_state=preserve_rng_state
        )
    return run(last, len(chain))(input)


class _Enough(BaseException):
    """Ends computing again once all saved values are there; no ``except Exception`` stops it."""


class _Held:
    """What a node holds in place of its saved values: how to get them.

    Attributes:
        entries: the values, once they have been computed again.
    """

    def __init__(self, part: _Part, entries: tuple[_Entry, ...]) -> None:
        self._part = part
        self.entries: tuple[_Entry, ...] | None = None
        self.looks = tuple([_look(tensor) for tensor, _, _ in entries])
        self._origins = tuple([_origin(tensor) if place is None else None for tensor, _, place in entries])

    def fetch(self) -> tuple[_Entry, ...]:
        if self.entries is None:
            self._part.compute_again()
        assert self.entries is not None
        return tuple([_placed(entry, origin) for entry, origin in zip(self.entries, self._origins, strict=True)])


def _look(tensor: Any) -> Any:
    return None if tensor is None else (tuple(tensor.shape), tensor.dtype)


def _origin(tensor: Any) -> Any:
    """Where a saved input's gradient goes: a leaf itself (it lives outside anyway), else its (node, output)."""
    if tensor is None or not tensor.requires_grad:
        return None
    return (tensor, tensor._version) if tensor.grad_fn is None else tensor._edge()


def _placed(entry: _Entry, origin: Any) -> _Entry:
    """A value computed again, in the place in the graph that the first one had."""
    if origin is None:
        return entry
    if isinstance(origin[0], Variable):
        return (*origin, None)
    tensor, version, _ = entry
    alias = tensor.detach()
    alias._node, alias._output = origin
    alias._requires_grad = True
    return alias, version, None


class _Part:
    """A checkpointed call: what it takes to run it again, and the nodes that wait for its values."""

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        preserve_rng_state: bool,
        again: AbstractContextManager[Any],
        check: bool,
    ) -> None:
        self._function, self._again, self._check = function, again, check
        self._state = get_rng_state() if preserve_rng_state else None
        self._autocast = current_autocast()
        self._waiting: list[Any] = []  # weak references to each node's _Held, in the order of saving
        self._names = list(kwargs)
        self._values = [*args, *kwargs.values()]
        # Tensors among the arguments are saved as a node's values are: inside another checkpoint they are not kept either.
        self._places = [i for i, value in enumerate(self._values) if isinstance(value, Variable)]
        saved = tuple([(self._values[i], self._values[i]._version, None) for i in self._places])
        saver = current_saver()
        self._saved: Any = saved if saver is None or not saved else saver(saved)
        for i in self._places:
            self._values[i] = None
        self.running = True

    def save(self, entries: tuple[_Entry, ...]) -> _Held:
        """The saver while the function runs for the first time."""
        held = _Held(self, entries)
        self._waiting.append(ref(held))
        return held

    def compute_again(self) -> None:
        """Run the function again, and give each node that still waits its values."""
        if self.running:
            raise RuntimeError(
                "checkpoint: backward inside a checkpointed function needs values that are not kept; call it outside"
            )
        values = list(self._values)
        saved = self._saved if type(self._saved) is tuple else self._saved.fetch()
        for i, (tensor, version, _) in zip(self._places, saved, strict=True):
            if tensor._version != version:
                raise RuntimeError(
                    f"checkpoint: an argument of shape {tuple(tensor.shape)} was modified by an in-place operation: it is at "
                    f"version {tensor._version}, expected version {version}"
                )
            values[i] = tensor
        count = len(values) - len(self._names)
        kwargs = dict(zip(self._names, values[count:], strict=True))
        filler = _Filler(self._waiting, self._check)
        before = get_rng_state() if self._state is not None else None
        try:
            if self._state is not None:
                set_rng_state(self._state)
            with self._again, enable_grad(), autocast_as(self._autocast), saved_by(filler):
                self._function(*values[:count], **kwargs)
        except _Enough:
            pass
        finally:
            if before is not None:
                set_rng_state(before)
        if filler.count != len(self._waiting):
            raise CheckpointError(
                f"checkpoint: the function saved {len(self._waiting)} times in forward, but {filler.count} times when it was "
                "computed again; it must do the same both times"
            )


class _Filler:
    """The saver while the function runs again: passes what is saved on to the nodes that wait for it."""

    def __init__(self, waiting: list[Any], check: bool) -> None:
        self._waiting, self._check = waiting, check
        self.count = 0

    def __call__(self, entries: tuple[_Entry, ...]) -> Any:
        held = self._waiting[self.count]() if self.count < len(self._waiting) else None
        self.count += 1
        if held is not None:
            looks = tuple([_look(tensor) for tensor, _, _ in entries])
            if self._check and looks != held.looks:
                raise CheckpointError(
                    f"checkpoint: values of (shape, dtype) {held.looks} were saved in forward, but {looks} when the function "
                    "was computed again; it must do the same both times"
                )
            held.entries = entries
        if self.count == len(self._waiting):
            raise _Enough
        return held if held is not None else _Dropped()


class _Dropped:
    """In place of values that no node waits for any more."""

    entries = None
