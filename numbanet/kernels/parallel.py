"""Parallel stages over a body that is compiled by itself.

Numba optimises and emits the whole body of a ``prange`` again at every level it wraps around it: the body's function,
the loop's kernel, two wrappers and the caller. For bodies of several register tiles that is two seconds of compiling
each. Here the body is an ordinary serial ``@jit`` function, compiled once, and the parallel loop calls it through its
address: the loop itself is small, and common to all bodies that take arrays of the same types.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import get_thread_id, prange, types
from numba.extending import intrinsic

from numbanet.kernels.kernel import jit

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
    signature = (types.int64, types.int64, types.int64, *[array] * 5, types.Array(types.int64, 1, "C"))
    body.compile(signature)
    compiled = body.overloads[signature]
    return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)


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
def _task(address, stage, i, thread, a, b, c, d, scratch, plan):  # type: ignore[no-untyped-def]
    # A function of its own: numba takes an intrinsic for free of side effects and would drop the loop around it.
    _call(address, stage, i, thread, a, b, c, d, scratch, plan)


@jit(parallel=True)
def _stages(address, first, second, a, b, c, d, scratch, plan):  # type: ignore[no-untyped-def]
    for stage in range(2):
        count = first if stage == 0 else second
        if count == 1:  # no threads to wake, and none to wait for
            _task(address, stage, 0, 0, a, b, c, d, scratch, plan)
        elif count > 1:
            for i in prange(count):
                _task(address, stage, np.int64(i), np.int64(get_thread_id()), a, b, c, d, scratch, plan)
