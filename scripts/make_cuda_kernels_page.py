"""Write docs/cuda_kernels.md: the limits to expect of every CUDA kernel, from the compiler and the assembler.

python -m scripts.make_cuda_kernels_page (needs numba-cuda[cu13], no GPU)
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from numbanet.kernels.assemble import Assembled, assemble_for

PAGE = Path(__file__).parent.parent / "docs" / "cuda_kernels.md"

HEAD = """# What to expect of each CUDA kernel

Made by `python -m scripts.make_cuda_kernels_page` from the compiler's and the assembler's words for compute capability 9.0
(an H100 or H200); no GPU is needed for that, and nothing here was measured on one. `numbanet doctor --cuda-assemble 8.0 9.0` prints the same for any
capability, and fails where a kernel spills registers or a float32 kernel computes in float64.

| column | what it is |
| --- | --- |
| threads | threads of a block |
| registers | 32-bit registers of a thread, of 65,536 |
| shared | bytes of shared memory of a block, with 1 KiB of the system's own, of 227 KiB |
| blocks, occupancy | blocks that a multiprocessor holds at a time, and the share of its 64 warps that they are |
| read, written | bytes of global memory that a thread reads and writes |
| operations | floating-point operations of a thread; a fused multiply-add is two |
| divisions | divisions of 64-bit integers (strides that only the run knows): some twenty instructions where the numbers fit into 32 bits, seventy where they do not |
| limit | what ends first at the device's best, by operations per byte |

Bytes, operations and divisions are counted as they stand in the code: both arms of a branch, and the body of a loop once (or as
often as it is unrolled). For a kernel with one thread for each element, as most are, that is an element's share. Of an H200,
4.8 TB/s of memory and 67 TFLOP/s of float32, a kernel needs 14 operations for each byte before arithmetic is the limit; kernels that
keep tiles in shared memory (products, convolutions) or rows in the cache read most of their bytes from there, so that "memory" says for
them only that a tile is too small to be sure. Their bytes and operations for a whole layer are reckoned in
[implicit_gemm.md](implicit_gemm.md).
"""

COLUMNS = "threads | registers | shared | blocks, occupancy | read | written | operations | divisions | limit"
BALANCE = 67 / 4.8  # operations for each byte: an H200's float32 and memory, the data sheet's


def limit(kernel: Assembled) -> str:
    """What ends first: the memory's bytes, the arithmetic, or the tensor cores' (sixteen times as fast in halves)."""
    moved = kernel.read + kernel.written
    if "tensor_core" in kernel.name:
        return "shared memory"  # the reckoning stands in implicit_gemm.md
    if not moved:
        return "-"
    return "arithmetic" if kernel.operations > BALANCE * moved else "memory"


def row(kernel: Assembled) -> str:
    """A kernel's line."""
    arrays = kernel.signature.removeprefix("void(").removesuffix(")").split("], ")
    first = arrays[0].partition("[")[0]
    numbers = [
        kernel.threads,
        kernel.registers,
        f"{kernel.shared:,}",
        f"{kernel.blocks()}, {kernel.occupancy():.0%}",
        kernel.read,
        kernel.written,
        kernel.operations,
        kernel.divisions,
        limit(kernel),
    ]
    return f"| `{kernel.name}` ({first}) | {' | '.join(map(str, numbers))} |"


def page(kernels: Sequence[Assembled]) -> str:
    """The page's text."""
    parts = [HEAD]
    for module, group in groupby(kernels, key=lambda kernel: kernel.module):
        rule = "| --- " * (COLUMNS.count("|") + 2) + "|"
        parts.append(f"\n## {module}.py\n\n| kernel | {COLUMNS} |\n{rule}\n")
        parts += [row(kernel) + "\n" for kernel in group]
    return "".join(parts)


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(assemble_for([(9, 0)])[9, 0]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
