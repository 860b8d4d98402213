"""What the CPU's two ways of convolving share: register tiles with their costs, and how work is cut into tasks.

Plans are made of plain integers in Python, once for every shape, and handed to the compiled functions as one int64
array, so that a call costs one more argument and no more.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from numbanet.devices import empty
from numbanet.kernels import simd
from numbanet.kernels.kernel import jit
from numbanet.kernels.parallel import run_stages

# Register tiles: rows of the left side (output channels) -> vectors of pixels, or columns (kernel elements).
FMA = {8: 3, 6: 4, 4: 6, 2: 10, 1: 12} if simd.TILE_ROWS == 8 else {6: 2, 4: 3, 2: 5, 1: 8}
DOT = {8: 3, 6: 4, 4: 6, 2: 9, 1: 9} if simd.TILE_ROWS == 8 else {6: 2, 4: 3, 2: 5, 1: 9}
# Their cost per multiply-add, measured (Zen 5): the flat ones wait for loads.
FMA_COST = {8: 1.0, 6: 1.0, 4: 1.0, 2: 1.35, 1: 2.4}
DOT_COST = {8: 1.0, 6: 1.0, 4: 1.0, 2: 1.2, 1: 2.2}

RESULT_ROWS = 256  # output channels of one task at most: for every 256 of them the source is copied once
WEIGHT_TASKS = 16  # tasks of a weight gradient, which make partial sums, at most
PARTIALS = 1 << 22  # elements of partial sums at most

# Compiled functions take their tiles from names of the module; four heights need no fifth name but share one.
HEIGHT_0, HEIGHT_1, HEIGHT_2, HEIGHT_3, HEIGHT_4 = ([*FMA] + [1])[:5]

# Positions of what both ways keep in their fields: images, groups, input (or source) channels and output (or target)
# channels of a group, input channels at a time, rows of a register tile, rows of a task, tasks that the rows are cut
# into, tasks; and of weight gradients: pieces that the images are cut into, kernel elements, columns (channels and
# kernel elements) at a time and of all, filled up to whole tiles, and where the tasks' partial sums begin.
(N, GROUPS, CHANNELS, ROWS, BLOCK_CHANNELS, TILE, PART_ROWS, PARTS, TASKS, CHUNKS, TERMS, COLUMNS, ALL_COLUMNS,
 PARTIALS_AT, COMMON) = range(15)  # fmt: skip


class Plan(NamedTuple):
    """One way to compute a pass on arrays of given shapes."""

    body: Any  # for run_stages
    fields: np.ndarray
    tasks: tuple[int, int]  # of the two stages
    scratch: int  # elements
    cost: float  # estimated cycles
    sums_bias: bool = False  # whether a weight gradient's body makes the bias's on its way


def run(plan: Plan, source: Any, weight: Any, bias: Any, target: Any) -> None:
    """Run a plan on arrays of any shape, which the compiled code sees as flat."""
    scratch = empty((plan.scratch,), target.dtype)
    run_stages(
        plan.body, plan.tasks, source.reshape(-1), weight.reshape(-1), bias, target.reshape(-1), scratch, plan.fields
    )


def cheapest(*plans: Plan | None) -> Plan:
    """The plan that costs least."""
    return min((plan for plan in plans if plan is not None), key=lambda plan: plan.cost)


def ceil(a: int, b: int) -> int:
    """a / b, rounded up."""
    return -(-a // b)


def append(plan: list[int], values: Any) -> int:
    """Append values to a plan; returns where they begin."""
    at = len(plan)
    plan.extend(values)
    return at


def makespan(tasks: int, cost: float) -> float:
    """Time for tasks of one cost on a few threads; which number of threads is not asked, for the results' sake."""
    return cost * (ceil(tasks, 2) * 2 + ceil(tasks, 8) * 8) / 2


def tile_rows(rows: int, cost: dict[int, float], tiles: dict[int, Any]) -> int:
    """The tile height that costs least for a number of rows."""
    return min(tiles, key=lambda height: (ceil(rows, height) * height * cost[height], -height))


def row_block_counts(row_blocks: int, height: int) -> list[int]:
    """Numbers of row blocks that a task may take: as many as fit, and fewer for more tasks, but 16 rows at least."""
    found: list[int] = []
    blocks = max(1, min(row_blocks, RESULT_ROWS // height))
    while not found or blocks * height >= 16:
        found.append(ceil(row_blocks, ceil(row_blocks, blocks)))
        blocks //= 2
    return found


_dot_0, _dot_1, _dot_2, _dot_3, _dot_4 = (
    simd.dot_tile(height, DOT[height]) for height in (HEIGHT_0, HEIGHT_1, HEIGHT_2, HEIGHT_3, HEIGHT_4)
)


@jit
def dots(rows, blocks, width, pieces, k, a, a0, lda, a_step, b, b0, b_step, taps, t0, columns, c, c0, ldc):  # type: ignore[no-untyped-def]
    """``dot_tile`` for blocks of rows and all columns."""
    for i in range(blocks):
        left = a0 + i * rows * lda
        for j in range(0, columns, width):
            to, tap = c0 + i * rows * ldc + j, t0 + j
            if rows == HEIGHT_0:
                _dot_0(pieces, k, a, left, lda, a_step, b, b0, b_step, taps, tap, c, to, ldc)
            elif rows == HEIGHT_1:
                _dot_1(pieces, k, a, left, lda, a_step, b, b0, b_step, taps, tap, c, to, ldc)
            elif rows == HEIGHT_2:
                _dot_2(pieces, k, a, left, lda, a_step, b, b0, b_step, taps, tap, c, to, ldc)
            elif rows == HEIGHT_3:
                _dot_3(pieces, k, a, left, lda, a_step, b, b0, b_step, taps, tap, c, to, ldc)
            else:
                _dot_4(pieces, k, a, left, lda, a_step, b, b0, b_step, taps, tap, c, to, ldc)


@jit
def add_partials(dweight, scratch, plan, o):  # type: ignore[no-untyped-def]
    """Sum one output channel's partial sums, chunk after chunk."""
    group, row = o // plan[ROWS], o % plan[ROWS]
    terms, columns = plan[TERMS], plan[ALL_COLUMNS]
    for chunk in range(plan[CHUNKS]):
        task = (chunk * plan[GROUPS] + group) * plan[PARTS] + row // plan[PART_ROWS]
        first = plan[PARTIALS_AT] + (task * plan[PART_ROWS] + row % plan[PART_ROWS]) * columns
        for c0 in range(0, plan[CHANNELS], plan[BLOCK_CHANNELS]):
            count = min(plan[BLOCK_CHANNELS], plan[CHANNELS] - c0) * terms
            s0 = first + c0 // plan[BLOCK_CHANNELS] * plan[COLUMNS]
            t0 = (o * plan[CHANNELS] + c0) * terms
            if chunk == 0:
                for i in range(count):
                    dweight[np.uint64(t0 + i)] = scratch[np.uint64(s0 + i)]
            else:
                for i in range(count):
                    dweight[np.uint64(t0 + i)] += scratch[np.uint64(s0 + i)]
