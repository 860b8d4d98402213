"""CUDA block and grid shapes. Tests patch the two constants: no result may depend on them."""

from __future__ import annotations

from typing import Any

from numbanet import devices

THREADS = 128  # threads of a one-dimensional block
TILE = 16  # edge of a square block and of its shared-memory tiles


def line(n: int) -> tuple[int, int]:
    """(blocks, threads) with a thread for each of n elements; kernels check ``i < n`` (an empty array gets one block)."""
    return max(1, -(-n // THREADS)), THREADS


def tiles(rows: int, columns: int, depth: int = 1) -> tuple[tuple[int, int, int], tuple[int, int]]:
    """(grid, block) of TILE x TILE blocks that cover a (depth, rows, columns) array; x runs along the columns."""
    return (max(1, -(-columns // TILE)), max(1, -(-rows // TILE)), max(1, depth)), (TILE, TILE)


def bounds(threads: int, blocks: int) -> dict[str, Any]:
    """Options for ``cuda.jit``: registers such that ``blocks`` blocks share a multiprocessor (the simulator knows no bounds)."""
    return {} if devices.SIMULATOR else {"launch_bounds": (threads, blocks)}
