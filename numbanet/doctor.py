"""``numbanet doctor``: what this machine has, what is missing, and what is wrong, each with what to do about it."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

OK, MISSING, PROBLEM = "ok", "missing", "problem"


class Finding(NamedTuple):
    """What one check found.

    Attributes:
        state: "ok"; "missing" for what one can do without; "problem" for what is there and does not work.
        text: what was found, and what to do about it.
    """

    state: str
    text: str


def checks() -> Iterator[tuple[str, Callable[[], Finding]]]:
    """The checks by name, in the order in which they are shown."""
    yield "python", _python
    for name in ("numba", "llvmlite", "numpy", "safetensors", "pillow", "tqdm"):
        yield name, partial(_package, name)
    yield "matplotlib", partial(_package, "matplotlib", "pictures and curves: pip install 'numbanet[plot]'")
    yield "numba-cuda", partial(_package, "numba-cuda", "GPUs and the simulator: pip install 'numbanet[cuda]'")
    yield "processor", _processor
    yield "threads", _threads
    yield "kernel cache", _cache
    for name in ("fashion-mnist", "mnist", "kmnist", "cifar10", "cifar100"):
        yield name, partial(_dataset, name)
    yield "cuda driver", _driver
    yield "cuda toolkit", _toolkit
    yield "cuda device", _gpu
    yield "cuda memory", _memory
    yield "cuda kernel", _launch


def report() -> int:
    """Print a line for each check; returns 1 where there is a problem, else 0."""
    from numbanet import __version__

    print(f"numbanet {__version__}")
    wrong = 0
    for name, check in checks():
        try:
            found = check()
        except Exception as error:  # one thing that is broken must not hide the others: finding it is the point
            found = Finding(PROBLEM, f"{type(error).__name__}: {' '.join(str(error).split())}")
        wrong += found.state == PROBLEM
        print(f"{name:<14} {found.state:<8} {found.text}")
    if wrong:
        print(f"{wrong} problem{'s' if wrong > 1 else ''} found")
    return int(bool(wrong))


# ------------------------------------------------------------------------------------------------------ the CPU side


def _python() -> Finding:
    return Finding(OK, f"{sys.version.split()[0]} on {sys.platform} ({sys.executable})")


def _package(name: str, wanted_for: str = "") -> Finding:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return Finding(OK, version(name))
    except PackageNotFoundError:
        if wanted_for:
            return Finding(MISSING, f"not installed; for {wanted_for}")
        return Finding(PROBLEM, "not installed: pip install numbanet brings it")


def _processor() -> Finding:
    import llvmlite.binding as llvm

    from numbanet.kernels.simd import VECTOR_BITS

    return Finding(OK, f"{llvm.get_host_cpu_name()}, {os.cpu_count()} cores, vectors of {VECTOR_BITS} bits")


def _threads() -> Finding:
    import warnings

    from numba import config

    from numbanet.threads import get_num_threads, threading_layer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the slow layer, which the line tells
        layer = threading_layer()
    text = f"{get_num_threads()} of {config.NUMBA_NUM_THREADS}, threading layer {layer}"
    if layer == "workqueue":
        return Finding(MISSING, f"{text}, which is slow; install OpenMP (the system's libgomp), or pip install tbb")
    return Finding(OK, text)


def _cache() -> Finding:
    from numbanet.kernels.kernel import cache_folder

    folder = cache_folder()
    files = list(folder.glob("*.nbc"))
    size = sum(file.stat().st_size for file in files)
    state = f"{len(files)} kernels, {size / 1e6:.1f} MB" if files else "empty: 'numbanet warmup' fills it"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"1")
    except OSError as error:
        return Finding(
            PROBLEM,
            f"{folder} ({state}) cannot be written ({error.strerror}), so that every process compiles anew; set "
            "NUMBANET_CACHE_DIR to a folder that can",
        )
    return Finding(OK, f"{folder} ({state}, writable)")


def _dataset(name: str) -> Finding:
    from numbanet import data

    try:
        found = data.by_name(name, train=True, download=False)
    except RuntimeError:
        instead = " (the embedded sample is used)" if name == "fashion-mnist" else ""
        return Finding(
            MISSING, f"not on this machine{instead}; --data DIR or NUMBANET_DATA name the folder that has it"
        )
    return Finding(OK, f"{len(found):,} training images in {found.source}")


# ---------------------------------------------------------------------------------------------------------- CUDA


def _nvidia_hardware() -> bool:
    """Whether the system (Linux) shows an NVIDIA display or compute device, driver or none."""
    for device in Path("/sys/bus/pci/devices").glob("*"):
        try:
            kind = (device / "class").read_text()[:4]
            if (device / "vendor").read_text().strip() == "0x10de" and kind == "0x03":
                return True
        except OSError:
            continue
    return False


def _driver() -> Finding:
    from numbanet import devices

    found = devices.driver_version()
    if found is not None:
        return Finding(OK, f"knows CUDA up to {found[0]}.{found[1]}")
    if _nvidia_hardware():
        return Finding(PROBLEM, "there is an NVIDIA GPU, but no driver: install it (then nvidia-smi shows the GPU)")
    return Finding(MISSING, "no driver library; without an NVIDIA GPU none is needed")


def _toolkit() -> Finding:
    from numbanet import devices

    version, absent = devices.toolkit_version(), devices.missing_compilers()
    if absent:
        state = PROBLEM if devices.driver_version() is not None else MISSING
        return Finding(state, f"cannot load {', '.join(absent)}; for GPUs: pip install 'numbanet[cuda]'")
    return Finding(OK, f"wheels of {version[0]}.{version[1]}" if version else "the system's")


def _gpu() -> Finding:
    from numbanet import cuda, devices

    if reason := devices.unavailable_reason():
        return Finding(PROBLEM if devices.driver_version() is not None else MISSING, reason)
    found = cuda.get_device_properties()
    text = (
        f"{found.name}, compute capability {found.major}.{found.minor}, {found.multi_processor_count} multiprocessors"
        + (f" (the first of {cuda.device_count()})" if cuda.device_count() > 1 else "")
    )
    toolkit = devices.toolkit_version()
    if not devices.SIMULATOR and toolkit and toolkit[0] >= 13 and (found.major, found.minor) < (7, 5):
        return Finding(PROBLEM, f"{text}; CUDA 13 compiles for 7.5 and above: pip install 'numba-cuda[cu12]'")
    return Finding(OK, text)


def _memory() -> Finding:
    from numbanet import cuda, devices
    from numbanet.cuda import in_words

    if devices.unavailable_reason():
        return Finding(MISSING, "no device")
    free, total = cuda.mem_get_info()
    return Finding(OK, f"{in_words(free)} of {in_words(total)} free")


def _launch() -> Finding:
    """Compile and run one kernel, and compare."""
    import numpy as np

    from numbanet import devices
    from numbanet.kernels import elementwise

    if devices.unavailable_reason():
        return Finding(MISSING, "no device to run one on")
    start = time.perf_counter()
    numbers = np.arange(1000, dtype=np.float32)
    x, y = devices.to_device(numbers, devices.CUDA), devices.to_device(numbers[::-1].copy(), devices.CUDA)
    elementwise.axpy(x, y, 2.0)
    found = devices.to_host(y)
    seconds = time.perf_counter() - start
    if not np.array_equal(found, numbers[::-1] + 2 * numbers):
        return Finding(PROBLEM, "a small kernel ran and gave wrong numbers; see nvidia-smi for errors of the device")
    where = "in the simulator" if devices.SIMULATOR else "on the GPU"
    return Finding(OK, f"compiled, run {where} and compared with NumPy in {seconds:.1f} s")


def assemble(capabilities: Sequence[tuple[int, int]]) -> int:
    """Print what the assembler says of every CUDA kernel for each compute capability; returns 0 where all is well."""
    from numbanet import devices
    from numbanet.kernels import assemble

    if absent := devices.missing_compilers():
        print(f"the CUDA toolkit's compilers ({', '.join(absent)}) are missing: pip install 'numbanet[cuda]'")
        return 1
    wrong = 0
    for cc, results in assemble.assemble_for(capabilities).items():
        print(f"compute capability {assemble.in_words(cc)}\n{assemble.table(results)}")
        found = assemble.problems(results)
        wrong += len(found)
        print("\n".join(f"problem: {line}" for line in found) or f"{len(results)} kernels, none spills\n")
    return int(bool(wrong))
