"""Compile every CUDA kernel to PTX and to machine code, on a machine with or without a GPU.

``numbanet doctor --cuda-assemble 8.0 9.0`` prints a table of registers, shared memory and spills for each kernel and each
compute capability; nothing may spill, and float32 kernels compute in float32. It needs the compilers of
``numba-cuda[cu13]`` (wheels), but no driver.
"""

from __future__ import annotations

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
from typing import Any

from numbanet import devices
from numbanet.kernels.kernel import Kernel

# CUDA's own sin and cos reduce huge arguments (above 100,000) with three float64 multiplications and a table.
USES_FLOAT64 = frozenset({"sin.flat_cuda", "cos.flat_cuda"})


@dataclass(frozen=True)
class Assembled:
    """What the assembler said of one kernel.

    Attributes:
        module: the kernel file.
        name: the kernel's function, with the operation's name where a factory makes many functions of one name.
        signature: the argument types it was compiled for.
        registers: 32-bit registers of a thread.
        shared: bytes of shared memory of a block.
        stack: bytes of local memory of a thread, for arrays that did not fit into registers.
        spills: bytes written to and read from local memory for want of registers.
        f64: instructions on float64 in the PTX.
        code: bytes of machine code, with the tables around it.
    """

    module: str
    name: str
    signature: str
    registers: int
    shared: int
    stack: int
    spills: int
    f64: int
    code: int


def kernel_modules() -> list[Any]:
    """Every module of this package that lists CUDA kernels."""
    package = importlib.import_module(__package__)
    names = sorted(found.name for found in pkgutil.iter_modules(package.__path__) if found.name != "assemble")
    modules = [importlib.import_module(f"{__package__}.{name}") for name in names]
    return [module for module in modules if hasattr(module, "CUDA_KERNELS")]


def assemble_all(cc: tuple[int, int] = (9, 0), only: Sequence[str] = ()) -> list[Assembled]:
    """Compile and assemble each kernel in each module's ``CUDA_KERNELS``.

    Where this process has not imported ``numba.cuda`` (no driver was found), another process does the work.

    Args:
        cc: the compute capability to compile for.
        only: the names of the modules to look at, such as "matmul"; none: all.

    Raises:
        RuntimeError: naming every kernel that does not compile or assemble, and why.
    """
    if not devices_can_compile():
        return _assemble_elsewhere(cc, only)
    modules = [m for m in kernel_modules() if not only or m.__name__.rpartition(".")[2] in only]
    operations = _operations()
    results, failures = [], []
    for module in modules:
        for entry, signature in module.CUDA_KERNELS:
            dispatcher = entry if hasattr(entry, "py_func") else entry()
            function = dispatcher.py_func
            name = ".".join([*operations.get(id(dispatcher), ()), function.__name__])
            try:
                bounds = dispatcher.targetoptions.get("launch_bounds")
                ptx, _ = devices.cuda.compile_ptx(function, signature, cc=cc, launch_bounds=bounds)
                log, code = _assemble(ptx, cc)
            except Exception as error:
                failures.append(f"{module.__name__}.{name} {signature}: {error}")
                continue
            results.append(
                Assembled(
                    module.__name__.rpartition(".")[2],
                    name,
                    signature,
                    registers=_number(r"Used (\d+) registers", log),
                    shared=_number(r"(\d+) bytes smem", log),
                    stack=_number(r"(\d+) bytes stack frame", log),
                    spills=_number(r"(\d+) bytes spill stores", log) + _number(r"(\d+) bytes spill loads", log),
                    f64=len(re.findall(r"^\s*(?:@!?%p\d+\s+)?[a-z]\S*\.f64", ptx, re.MULTILINE)),
                    code=code,
                )
            )
    if failures:
        raise RuntimeError("\n\n".join(failures))
    return results


def devices_can_compile() -> bool:
    """Whether this process has the real ``numba.cuda``."""
    return not devices.SIMULATOR and not isinstance(devices.cuda, devices._CudaMissing)


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


def _assemble_elsewhere(cc: tuple[int, int], only: Sequence[str] = ()) -> list[Assembled]:
    """``assemble_all`` in a process that imports ``numba.cuda`` for compiling alone."""
    environment = {**os.environ, "NUMBANET_CUDA_ASSEMBLE": "1", "NUMBA_ENABLE_CUDASIM": "0"}
    command = [sys.executable, "-m", f"{__package__}.assemble", "--json", in_words(cc), *only]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or f"{command} ended with {done.returncode}")
    return [Assembled(**row) for row in json.loads(done.stdout)]


def assemble_for(
    capabilities: Sequence[tuple[int, int]], only: Sequence[str] = ()
) -> dict[tuple[int, int], list[Assembled]]:
    """``assemble_all`` for each compute capability, each in a process of its own, as many at once as there are cores.

    Raises:
        RuntimeError: as ``assemble_all``; with the capability.
    """

    def one(cc: tuple[int, int]) -> list[Assembled]:
        try:
            return _assemble_elsewhere(cc, only)
        except RuntimeError as error:
            raise RuntimeError(f"compute capability {in_words(cc)}: {error}") from None

    wanted = list(dict.fromkeys(capabilities))
    with ThreadPoolExecutor(min(len(wanted), os.cpu_count() or 1) or 1) as pool:
        return dict(zip(wanted, pool.map(one, wanted), strict=True))


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
    """Registers, shared memory and spills of each kernel, a line for each."""
    lines = [f"{'kernel':58} {'registers':>9} {'shared':>7} {'stack':>6} {'spills':>6} {'f64':>4} {'bytes':>7}"]
    for r in results:
        name = f"{r.module}.{r.name}"
        lines.append(f"{name:58} {r.registers:9} {r.shared:7} {r.stack:6} {r.spills:6} {r.f64:4} {r.code:7}")
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


def main(arguments: list[str]) -> int:
    """The table for a compute capability (default 9.0), of all modules or those named after it; ``--json``: as JSON."""
    cc, *only = [argument for argument in arguments if argument != "--json"] or ["9.0"]
    results = assemble_all(capability(cc), only)
    if "--json" in arguments:
        print(json.dumps([asdict(result) for result in results]))
        return 0
    print(table(results))
    for problem in problems(results):
        print(problem)
    return int(bool(problems(results)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
