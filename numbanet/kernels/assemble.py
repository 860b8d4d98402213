"""Compile every CUDA kernel to PTX and to machine code, on a machine with or without a GPU.

``python -m numbanet.kernels.assemble`` prints a table of registers, shared memory and spills for each kernel; the tests
hold that nothing spills and that float32 kernels compute in float32. It needs the compilers of ``numba-cuda[cu13]``
(wheels), but no driver.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Any

from numbanet import devices
from numbanet.kernels.kernel import Kernel


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


def assemble_all(cc: tuple[int, int] = (9, 0)) -> list[Assembled]:
    """Compile and assemble each kernel in each module's ``CUDA_KERNELS``.

    Where this process has not imported ``numba.cuda`` (no driver was found), another process does the work.

    Args:
        cc: the compute capability to compile for.

    Raises:
        RuntimeError: naming every kernel that does not compile or assemble, and why.
    """
    if not devices_can_compile():
        return _assemble_elsewhere(cc)
    modules = kernel_modules()
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


def _assemble_elsewhere(cc: tuple[int, int]) -> list[Assembled]:
    """``assemble_all`` in a process that imports ``numba.cuda`` for compiling alone."""
    import json

    environment = {**os.environ, "NUMBANET_CUDA_ASSEMBLE": "1", "NUMBA_ENABLE_CUDASIM": "0"}
    command = [sys.executable, "-m", __name__, "--json", f"{cc[0]}.{cc[1]}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or f"{command} ended with {done.returncode}")
    return [Assembled(**row) for row in json.loads(done.stdout)]


def main(arguments: list[str]) -> int:
    """The table, or with ``--json`` the same as JSON; a compute capability such as 9.0 may follow."""
    import json

    as_json = "--json" in arguments
    major, _, minor = next((a for a in arguments if a != "--json"), "9.0").partition(".")
    results = assemble_all((int(major), int(minor or 0)))
    if as_json:
        print(json.dumps([asdict(result) for result in results]))
        return 0
    print(f"{'kernel':58} {'registers':>9} {'shared':>7} {'stack':>6} {'spills':>6} {'f64':>4} {'bytes':>7}")
    for r in results:
        print(
            f"{r.module + '.' + r.name:58} {r.registers:9} {r.shared:7} {r.stack:6} {r.spills:6} {r.f64:4} {r.code:7}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
