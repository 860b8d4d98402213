"""Compile every CUDA kernel to PTX and to machine code, on a machine with or without a GPU.

``numbanet doctor --cuda-assemble 8.0 9.0`` prints a table of registers, shared memory and spills for each kernel and each
compute capability; nothing may spill, and float32 kernels compute in float32. It needs the compilers of
``numba-cuda[cu13]`` (wheels), but no driver.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

from numbanet import devices
from numbanet.kernels import launch
from numbanet.kernels.kernel import Kernel

# CUDA's own sin and cos reduce huge arguments (above 100,000) with three float64 multiplications and a table.
_ARITHMETIC = frozenset(
    ["add", "sub", "mul", "fma", "div", "rcp", "sqrt", "rsqrt", "ex2", "lg2", "sin", "cos", "tanh", "max", "min"]
)

# Threads of a block where it is not ``launch.THREADS`` and the kernel asks for none itself.
_BLOCKS = {
    r"matmul\..*": launch.TILE**2,
    r"conv2d_gather\..*(forward|grad_input|grad_weight).*": launch.TILE**2,
    r"batch_norm\..*(forward|backward)_cuda": 2 * launch.THREADS,
    r"group_norm\..*(forward|backward|sums)_cuda": 4 * launch.THREADS,
    r"softmax\..*|activation\..*prelu_backward.*": 32,  # their LANES
}

USES_FLOAT64 = frozenset({"sin.flat_cuda", "cos.flat_cuda"})


@dataclass(frozen=True)
class Assembled:
    """What the assembler said of one kernel.

    Attributes:
        module: the kernel file.
        name: the kernel's function, with the operation's name where a factory makes many functions of one name.
        signature: the argument types it was compiled for.
        threads: of a block.
        registers: 32-bit registers of a thread.
        shared: bytes of shared memory of a block.
        stack: bytes of local memory of a thread, for arrays that did not fit into registers.
        spills: bytes written to and read from local memory for want of registers.
        f64: instructions on float64 in the PTX.
        code: bytes of machine code, with the tables around it.
        read, written: bytes of global memory that a thread reads and writes; here and below what stands in the code
            counts once, however often a loop goes round.
        operations: floating-point operations of a thread (a fused multiply-add is two).
        divisions: of 64-bit integers, a call of some seventy instructions each.
    """

    module: str
    name: str
    signature: str
    threads: int
    registers: int
    shared: int
    stack: int
    spills: int
    f64: int
    code: int
    read: int
    written: int
    operations: int
    divisions: int

    def blocks(self, registers: int = 65536, shared: int = 227 << 10, threads: int = 2048, blocks: int = 32) -> int:
        """Blocks that a multiprocessor holds at a time (the defaults are compute capability 9.0's).

        Registers are given to warps by 256, so by eight for each thread; a block's shared memory has 1 KiB of the system's.
        """
        warps = -(-self.threads // 32)
        held = warps * 32 * (-(-self.registers // 8) * 8)
        return min(blocks, threads // (warps * 32), registers // held, shared // (max(self.shared, 1024)))

    def occupancy(self) -> float:
        """The share of a multiprocessor's 64 warps (compute capability 9.0) that its registers and shared memory let run."""
        return self.blocks() * -(-self.threads // 32) / 64


def kernel_modules() -> list[Any]:
    """Every module of this package that lists CUDA kernels."""
    package = importlib.import_module(__package__)
    names = sorted(found.name for found in pkgutil.iter_modules(package.__path__) if found.name != "assemble")
    modules = [importlib.import_module(f"{__package__}.{name}") for name in names]
    return [module for module in modules if hasattr(module, "CUDA_KERNELS")]


def assemble_here(
    capabilities: Sequence[tuple[int, int]], only: Sequence[str] = (), share: tuple[int, int] = (0, 1)
) -> dict[tuple[int, int], list[Assembled]]:
    """Compile and assemble each kernel in each module's ``CUDA_KERNELS``, in this process.

    Python is typed and lowered once for all compute capabilities (two thirds of the time); machine code is made for each.

    Args:
        capabilities: the compute capabilities to compile for.
        only: the names of the modules to look at, such as "matmul"; none: all.
        share: (i, n): every n-th kernel, from the i-th on.

    Raises:
        RuntimeError: naming every kernel that does not compile or assemble, and why.
    """
    modules = [m for m in kernel_modules() if not only or m.__name__.rpartition(".")[2] in only]
    entries = [(module, *entry) for module in modules for entry in module.CUDA_KERNELS]
    operations = _operations()
    results: dict[tuple[int, int], list[Assembled]] = {cc: [] for cc in capabilities}
    failures = []
    for module, entry, signature in entries[share[0] :: share[1]]:
        dispatcher = entry if hasattr(entry, "py_func") else entry()
        name = ".".join([*operations.get(id(dispatcher), ()), dispatcher.py_func.__name__])
        kernel = f"{module.__name__}.{name} {signature}"
        try:
            lowered = _lower(dispatcher, signature, min(capabilities))
        except Exception as error:
            failures.append(f"{kernel}: {error}")
            continue
        for cc in capabilities:
            try:
                ptx = lowered.get_asm_str(cc=cc)
                log, code = _assemble(ptx, cc)
            except Exception as error:
                failures.append(f"compute capability {in_words(cc)}: {kernel}: {error}")
                continue
            results[cc].append(
                Assembled(
                    module.__name__.rpartition(".")[2],
                    name,
                    signature,
                    threads=_threads(module.__name__.rpartition(".")[2], name, ptx),
                    registers=_number(r"Used (\d+) registers", log),
                    shared=_number(r"(\d+) bytes smem", log),
                    stack=_number(r"(\d+) bytes stack frame", log),
                    spills=_number(r"(\d+) bytes spill stores", log) + _number(r"(\d+) bytes spill loads", log),
                    f64=len(re.findall(r"^\s*(?:@!?%p\d+\s+)?[a-z]\S*\.f64", ptx, re.MULTILINE)),
                    code=code,
                    **_counts(ptx),
                )
            )
    if failures:
        raise RuntimeError("\n\n".join(failures))
    return results


def _lower(dispatcher: Any, signature: str, cc: tuple[int, int]) -> Any:
    """The kernel as numba-cuda's library object: typed and lowered to NVVM's language, machine code still to be made.

    ``numba.cuda.compile_ptx`` is this and ``get_asm_str`` in one, and would do this part again for each capability.
    """
    bounds = dispatcher.targetoptions.get("launch_bounds")
    lowered, _ = devices.cuda.compiler._compile_pyfunc_with_fixup(
        dispatcher.py_func, signature, device=False, abi="numba", cc=cc, launch_bounds=bounds, lto=False
    )
    return lowered


def _threads(module: str, name: str, ptx: str) -> int:
    """Threads of a block: what the kernel asked for, or what its caller gives."""
    if asked := re.search(r"\.maxntid\s+(\d+)", ptx):
        return int(asked[1])
    return next(
        (threads for where, threads in _BLOCKS.items() if re.fullmatch(where, f"{module}.{name}")), launch.THREADS
    )


def _counts(ptx: str) -> dict[str, int]:
    """Bytes and operations as they stand in the code."""
    read = written = operations = divisions = 0
    for line in ptx.splitlines():
        words = re.sub(r"^\s*(@!?%p\d+\s+)?", "", line).split()
        if not words:
            continue
        kind, *parts = words[0].split(".")
        if kind in ("ld", "st") and not {"param", "shared", "local", "const"} & set(parts):
            bits = int(re.sub(r"\D", "", parts[-1]))
            count = next((int(part[1]) for part in parts if re.fullmatch(r"v\d", part)), 1)
            read, written = read + (kind == "ld") * bits * count // 8, written + (kind == "st") * bits * count // 8
        elif words[0].startswith(("cp.async.ca", "cp.async.cg")):
            read += int(re.findall(r"\], (\d+)", line)[0])
        elif kind == "mma":
            operations += 2 * prod(map(int, re.findall(r"m(\d+)n(\d+)k(\d+)", line)[0])) // 32
        elif parts and parts[-1] in ("f32", "f16", "bf16") and kind in _ARITHMETIC:
            operations += 2 if kind == "fma" else 1
        elif kind in ("div", "rem") and parts[-1] in ("s64", "u64"):
            divisions += 1
    return {"read": read, "written": written, "operations": operations, "divisions": divisions}


def _operations() -> dict[int, tuple[str]]:
    """The operation of each compiled function that the CUDA twin's closure holds, by the function's id."""
    found: dict[int, tuple[str]] = {}
    for operation in Kernel.table.values():
        for cell in getattr(operation.cuda, "__closure__", None) or ():
            found.setdefault(id(cell.cell_contents), (operation.name,))
    return found


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    return int(found.group(1)) if found else 0


def _assemble(ptx: str, cc: tuple[int, int]) -> tuple[str, int]:
    """(what the assembler said, bytes of machine code) of one PTX module, by nvJitLink."""
    from cuda.bindings import nvjitlink  # type: ignore

    options = [f"-arch=sm_{cc[0]}{cc[1]}", "-verbose", "-O3"]
    handle = nvjitlink.create(len(options), options)
    try:
        data = ptx.encode()
        try:
            nvjitlink.add_data(handle, nvjitlink.InputType.PTX, data, len(data), "kernel.ptx")
            nvjitlink.complete(handle)
        except nvjitlink.nvJitLinkError as error:
            size = nvjitlink.get_error_log_size(handle)
            said = bytearray(size)
            nvjitlink.get_error_log(handle, said)
            raise RuntimeError(said.decode(errors="replace").strip("\0\n") or str(error)) from error
        said = bytearray(nvjitlink.get_info_log_size(handle))
        nvjitlink.get_info_log(handle, said)
        return said.decode(errors="replace").strip("\0"), nvjitlink.get_linked_cubin_size(handle)
    finally:
        nvjitlink.destroy(handle)


def assemble_for(
    capabilities: Sequence[tuple[int, int]], only: Sequence[str] = ()
) -> dict[tuple[int, int], list[Assembled]]:
    """``assemble_here`` in processes that import ``numba.cuda`` for compiling alone, one on each core.

    Raises:
        RuntimeError: as ``assemble_here``.
    """
    wanted = list(dict.fromkeys(capabilities))
    processes = os.cpu_count() or 1
    environment = {**os.environ, "NUMBANET_CUDA_ASSEMBLE": "1", "NUMBA_ENABLE_CUDASIM": "0"}

    def one(i: int) -> list[list[Assembled]]:
        words = [*map(in_words, wanted), *only]
        command = [sys.executable, "-m", f"{__package__}.assemble", "--json", f"--share={i}/{processes}", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr.strip() or f"{command} ended with {done.returncode}")
        return [[Assembled(**row) for row in rows] for rows in json.loads(done.stdout)]

    with ThreadPoolExecutor(processes) as pool:
        shares = list(pool.map(one, range(processes)))
    found = {}
    for k, cc in enumerate(wanted):
        total = sum(len(share[k]) for share in shares)
        found[cc] = [shares[i % processes][k][i // processes] for i in range(total)]
    return found


def problems(results: Sequence[Assembled]) -> list[str]:
    """What is wrong with assembled kernels: registers that spill, float64 in float32 kernels; a line for each."""
    found = []
    for r in results:
        name = f"{r.module}.{r.name} {r.signature}"
        if r.spills:
            found.append(f"{name}: {r.spills} bytes of spilled registers")
        if r.stack and r.name not in USES_FLOAT64:
            found.append(f"{name}: {r.stack} bytes of arrays in local memory")
        if r.f64 and "float64" not in r.signature and r.name not in USES_FLOAT64:
            found.append(f"{name}: {r.f64} instructions on float64")
        if r.registers > 255 or r.shared > 49 << 10:  # 48 KiB, and 1 KiB of the system's own from 9.0 on
            found.append(
                f"{name}: {r.registers} registers and {r.shared} bytes of shared memory are too much for a block"
            )
    return found


def table(results: Sequence[Assembled]) -> str:
    """What is known of each kernel, a line for each."""
    heads = ("threads", "registers", "shared", "blocks", "stack", "spills", "f64", "read", "written", "operations")
    lines = [f"{'kernel':58} {' '.join(heads)}"]
    for r in results:
        numbers = (
            r.threads,
            r.registers,
            r.shared,
            r.blocks(),
            r.stack,
            r.spills,
            r.f64,
            r.read,
            r.written,
            r.operations,
        )
        columns = " ".join(f"{number:{len(head)}}" for head, number in zip(heads, numbers, strict=True))
        lines.append(f"{r.module + '.' + r.name:58} {columns}")
    return "\n".join(lines)


def in_words(cc: tuple[int, int]) -> str:
    """(9, 0) as "9.0"."""
    return f"{cc[0]}.{cc[1]}"


def capability(text: str) -> tuple[int, int]:
    """ "9.0" as (9, 0).

    Raises:
        ValueError: for what is no compute capability.
    """
    found = re.fullmatch(r"(\d{1,2})(?:\.(\d))?", text.strip())
    if found is None:
        raise ValueError(f"expected a compute capability such as 9.0, got {text!r}")
    return int(found[1]), int(found[2] or 0)


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m numbanet.kernels.assemble [CAPABILITY ...] [MODULE ...]``: the table of each (default: 9.0, all modules)."""
    parser = argparse.ArgumentParser(prog="python -m numbanet.kernels.assemble")
    parser.add_argument("words", nargs="*", metavar="CAPABILITY or MODULE", help="such as 8.0 9.0 matmul")
    parser.add_argument("--json", action="store_true", help="all that is known of a share, in this process")
    parser.add_argument("--share", default="0/1", help="I/N: every N-th kernel from the I-th on (with --json)")
    options = parser.parse_args(arguments)
    capabilities = [capability(word) for word in options.words if word[0].isdigit()] or [(9, 0)]
    only = [word for word in options.words if not word[0].isdigit()]
    if options.json:
        i, n = map(int, options.share.split("/"))
        found = assemble_here(capabilities, only, (i, n))
        print(json.dumps([[asdict(kernel) for kernel in found[cc]] for cc in capabilities]))
        return 0
    wrong = 0
    for cc, results in assemble_for(capabilities, only).items():
        print(f"compute capability {in_words(cc)}", table(results), *problems(results), sep="\n")
        wrong += len(problems(results))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
