"""Parallel loops over a body that is compiled by itself.

Numba optimises and emits the whole body of a ``prange`` again at every level it wraps around it: the body's function,
the loop's kernel, two wrappers and the caller. That is half a second of compiling for one line of arithmetic, and two
seconds and more for bodies of several register tiles. Here the body is an ordinary serial ``@jit`` function, compiled
once, and one parallel loop, the same for all bodies, calls it through its address. What passes the arguments on is a small
serial function for each combination of their types, a tenth of a second to compile.

``tasks`` is for a body of any arguments, ``run_stages`` for two stages of work in a row with scratch and a plan.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import get_thread_id, prange, typeof, types
from numba.core import cgutils
from numba.extending import intrinsic

from numbanet.kernels.index import limit_threads, restore_threads
from numbanet.kernels.kernel import jit

# ------------------------------------------------------------------------------------------------------------- tasks


class Tasks:
    """What ``tasks`` makes of a function ``body(task, *args)``."""

    def __init__(self, body: Any) -> None:
        self.body = body
        self._addresses: dict[int, int] = {}

    def __call__(self, count: int, work: int, *args: Any) -> None:
        """Call ``body(task, *args)`` for every task < count, in any order, on as many threads as the work is worth.

        Args:
            count: the number of tasks; one runs on the calling thread, and none at all is fine.
            work: the elements that all tasks together work on (see ``index.limit_threads``).
            args: C-contiguous arrays, ints and floats.
        """
        key = 1
        for argument in args:
            kind = type(argument)
            if kind is np.ndarray:
                key = (key << 8) + (argument.dtype.num << 3) + argument.ndim
            elif kind is int:
                key = (key << 8) + 248
            elif kind is float:
                key = (key << 8) + 249
            else:
                self(count, work, *map(_plain, args))
                return
        address = self._addresses.get(key)
        if address is None:
            address = self._addresses[key] = _address(self.body, (types.int64, *map(_type, args)))
        _run_tasks(_loop_address(), address, count, work, *args)


def tasks(function: Callable[..., None] | None = None, *, name: str | None = None) -> Any:
    """Decorate ``body(task, *args)``, one task of a parallel loop; see ``Tasks.__call__`` for how the loop is run.

    The body is compiled as a serial function (``jit``'s options). It returns nothing and must raise nothing. Results
    may depend neither on the order of tasks nor on the thread that runs one.
    """
    if function is None:
        return lambda function: tasks(function, name=name)
    return Tasks(jit(function, name=name))


def _plain(argument: Any) -> Any:
    """An argument as ``Tasks`` takes it: numbers of other kinds (bool, NumPy's) as int or float."""
    if isinstance(argument, np.ndarray):
        return np.asarray(argument)
    if isinstance(argument, float | np.floating):
        return float(argument)
    return int(operator.index(argument))  # of a bool it is one


def _type(argument: Any) -> Any:
    """The numba type for which a body is compiled: arrays that may be written, 64-bit numbers."""
    if isinstance(argument, np.ndarray):
        return types.Array(typeof(argument).dtype, argument.ndim, "C")
    return types.float64 if isinstance(argument, float) else types.int64


def _address(body: Any, signature: tuple[Any, ...]) -> int:
    """Compile the body for these types, or fetch it from the cache; returns the address of its native function."""
    body.compile(signature)
    compiled = body.overloads[signature]
    return int(compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name))


@intrinsic
def _run(typingctx, loop, address, count, work, args):  # type: ignore[no-untyped-def]
    """Call ``_loop`` at the address ``loop`` with the body at ``address`` and a tuple of its arguments.

    The loop knows nothing of the arguments. It is given where they stand, a copy of the tuple on this function's stack, and
    a function ``(address, task, kept)`` that calls a body with what stands there; that one is made here.
    """
    parameters = (types.int64, *args)
    given = (types.int64,) * 3

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        convention = context.call_conv
        kept = cgutils.alloca_once_value(builder, values[4])

        caller = ir.Function(
            builder.module,
            convention.get_function_type(types.none, given),
            name=builder.module.get_unique_name("numbanet.caller"),
        )
        caller.linkage = "internal"
        inside = ir.IRBuilder(caller.append_basic_block("entry"))
        body, task, place = convention.get_arguments(caller)
        body = inside.inttoptr(body, convention.get_function_type(types.none, parameters).as_pointer())
        items = inside.load(inside.inttoptr(place, context.get_value_type(args).as_pointer()))
        unpacked = [task, *cgutils.unpack_tuple(inside, items)]
        convention.call_function(inside, body, types.none, parameters, unpacked)
        convention.return_value(inside, context.get_dummy_value())

        taken = (types.int64,) * 5
        function = builder.inttoptr(values[0], convention.get_function_type(types.none, taken).as_pointer())
        number = ir.IntType(64)
        passed = [builder.ptrtoint(caller, number), values[1], builder.ptrtoint(kept, number), values[2], values[3]]
        convention.call_function(builder, function, types.none, taken, passed)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64, args), codegen


@jit
def _run_tasks(loop, address, count, work, *args):  # type: ignore[no-untyped-def]
    _run(loop, address, count, work, args)


@intrinsic
def _call_caller(typingctx, caller, address, task, kept):  # type: ignore[no-untyped-def]
    """Call what ``_run`` made."""
    given = (types.int64,) * 3

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = context.call_conv.get_function_type(types.none, given)
        function = builder.inttoptr(values[0], kind.as_pointer())
        context.call_conv.call_function(builder, function, types.none, given, values[1:])
        return context.get_dummy_value()

    return types.void(types.int64, *given), codegen


@jit
def _one_task(caller, address, task, kept):  # type: ignore[no-untyped-def]
    # A function of its own: numba takes an intrinsic for free of side effects and would drop the loop around it.
    _call_caller(caller, address, task, kept)


@jit(parallel=True)
def _loop(caller, address, kept, count, work):  # type: ignore[no-untyped-def]
    """The one parallel loop of all tasks, whatever their arguments."""
    if count == 1:  # no threads to wake, and none to wait for
        _one_task(caller, address, np.int64(0), kept)
    elif count > 1:
        threads = limit_threads(work)
        for task in prange(count):
            _one_task(caller, address, np.int64(task), kept)
        restore_threads(threads)


@cache
def _loop_address() -> int:
    return _address(_loop, (types.int64,) * 5)


# ------------------------------------------------------------------------------------------------------------ stages

_addresses: dict[tuple[Any, np.dtype], int] = {}


def run_stages(body: Any, tasks: tuple[int, ...], a: Any, b: Any, c: Any, d: Any, scratch: Any, plan: Any) -> None:
    """Call ``body(stage, i, thread, a, b, c, d, scratch, plan)`` for every i < tasks[stage], stage after stage.

    Args:
        body: a ``@jit`` function of three int64, five 1-D C-contiguous arrays of one floating dtype and one of int64,
            that returns nothing and raises nothing. Tasks of one stage run in parallel, in any order; ``thread`` (less
            than ``numba.config.NUMBA_NUM_THREADS``) is the number of the thread that runs one.
        tasks: the number of tasks of the first and of the second stage.
        a, b, c, d, scratch, plan: the arrays.
    """
    address = _addresses.get((body, scratch.dtype))
    if address is None:
        address = _addresses[body, scratch.dtype] = _compile(body, scratch.dtype)
    _stages(address, tasks[0], tasks[1], a, b, c, d, scratch, plan)


def _compile(body: Any, dtype: np.dtype) -> int:
    """Compile the body, or fetch it from the cache, and return the address of its native function."""
    array = types.Array(types.float32 if dtype == np.float32 else types.float64, 1, "C")
    return _address(body, (types.int64, types.int64, types.int64, *[array] * 5, types.Array(types.int64, 1, "C")))


@intrinsic
def _call(typingctx, address, stage, i, thread, a, b, c, d, scratch, plan):  # type: ignore[no-untyped-def]
    """Call the compiled function at ``address`` by numba's calling convention."""
    parameters = (types.int64, types.int64, types.int64, a, b, c, d, scratch, plan)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.call_conv.get_function_type(types.none, parameters)
        function = builder.inttoptr(args[0], kind.as_pointer())
        context.call_conv.call_function(builder, function, types.none, parameters, args[1:])
        return context.get_dummy_value()

    return types.void(types.int64, *parameters), codegen


@jit
def _one_of_stage(address, stage, i, thread, a, b, c, d, scratch, plan):  # type: ignore[no-untyped-def]
    # A function of its own: numba takes an intrinsic for free of side effects and would drop the loop around it.
    _call(address, stage, i, thread, a, b, c, d, scratch, plan)


@jit(parallel=True)
def _stages(address, first, second, a, b, c, d, scratch, plan):  # type: ignore[no-untyped-def]
    for stage in range(2):
        count = first if stage == 0 else second
        if count == 1:  # no threads to wake, and none to wait for
            _one_of_stage(address, stage, 0, 0, a, b, c, d, scratch, plan)
        elif count > 1:
            for i in prange(count):
                _one_of_stage(address, stage, np.int64(i), np.int64(get_thread_id()), a, b, c, d, scratch, plan)
