"""Every CUDA kernel compiles and assembles, on a machine without a GPU too (this test is not marked ``cuda``)."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace

import pytest

from numbanet.kernels import batch_norm, softmax
from numbanet.kernels.assemble import USES_FLOAT64, Assembled, assemble_for, capability, problems, table
from scripts import make_cuda_kernels_page

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("nvidia") is None or sys.platform != "linux",
    reason="the CUDA toolkit's wheels are not installed: pip install 'numbanet[cuda]'",
)


@pytest.fixture(scope="module")
def both() -> dict[tuple[int, int], list[Assembled]]:
    """What the assembler says of each kernel for compute capabilities 8.0 and 9.0 (compiled in other processes)."""
    return assemble_for([(8, 0), (9, 0)])


@pytest.fixture(params=[(8, 0), (9, 0)], ids=["8.0", "9.0"])
def assembled(both, request) -> list[Assembled]:
    return both[request.param]


def test_every_kernel_assembles(assembled):
    assert len(assembled) >= 100
    assert {"conv2d_gather", "matmul", "pooling", "batch_norm", "elementwise", "activation", "reduction", "softmax", "dropout",
            "update"} <= {kernel.module for kernel in assembled}  # fmt: skip
    assert all(kernel.code > 0 and kernel.registers > 0 for kernel in assembled)


def test_no_kernel_spills_registers(assembled):
    assert not [kernel for kernel in assembled if kernel.spills]
    assert not [kernel for kernel in assembled if kernel.stack and kernel.name not in USES_FLOAT64]


def test_float32_kernels_compute_in_float32(assembled):
    mixed = {kernel.name for kernel in assembled if kernel.f64 and "float64" not in kernel.signature}
    assert mixed == USES_FLOAT64


def test_blocks_fit_a_multiprocessor(assembled):
    """Registers of a block of 256 threads, and static shared memory, stay within what any device since 2016 has.

    From compute capability 9.0 on the system's own 1 KiB per block is counted in.
    """
    assert not [kernel for kernel in assembled if kernel.registers > 255 or kernel.shared > 49 << 10]


def test_tensor_core_kernels_leave_room_for_a_second_block(assembled):
    found = [kernel for kernel in assembled if kernel.name.endswith("_tensor_core")]
    assert {"matmul_tensor_core", "conv2d_tensor_core"} <= {kernel.module for kernel in found}
    assert not [kernel for kernel in found if kernel.shared > 40 << 10 and kernel.registers > 128]


def test_the_same_in_one_list(assembled):
    assert problems(assembled) == []
    good = next(kernel for kernel in assembled if kernel.name not in USES_FLOAT64 and "float32" in kernel.signature)
    wrong = [replace(good, spills=8), replace(good, stack=16), replace(good, f64=3), replace(good, shared=64 << 10)]
    found = problems([good, *wrong])
    assert [line.rpartition(": ")[2] for line in found] == [
        "8 bytes of spilled registers",
        "16 bytes of arrays in local memory",
        "3 instructions on float64",
        f"{good.registers} registers and 65536 bytes of shared memory are too much for a block",
    ]
    assert len(table(assembled).splitlines()) == len(assembled) + 1


def test_the_page_of_limits_names_every_kernel(both):
    """The figures depend on the compiler's version, the kernels do not: run the page's script after a change."""
    written = make_cuda_kernels_page.PAGE.read_text(encoding="utf-8")
    made = make_cuda_kernels_page.page(both[9, 0])
    names = [
        [line.split(" | ")[0] for line in text.splitlines() if line.startswith(("| `", "##"))]
        for text in (written, made)
    ]
    assert names[0] == names[1]
    assert written.startswith(make_cuda_kernels_page.HEAD)


def test_counts_of_simple_kernels(both):
    """Of kernels whose bytes and operations are known."""
    kernels = {f"{kernel.module}.{kernel.name}": kernel for kernel in reversed(both[9, 0])}  # of one name, the first
    add = kernels["elementwise._axpy_cuda_flat"]  # out += alpha a
    assert (add.threads, add.read, add.written, add.operations, add.divisions) == (128, 8, 4, 2, 0)
    relu = kernels["activation.relu_backward.flat_cuda"]
    assert (relu.read, relu.written) == (8, 4)
    assert {kernel.threads for kernel in both[9, 0] if kernel.module == "softmax"} == {softmax.LANES}
    assert kernels["batch_norm.batch_norm_backward_cuda"].threads == batch_norm._threads()
    product = kernels["matmul_tensor_core.matmul_tensor_core"]
    assert product.threads == 256 and product.blocks() == 2 and product.operations > 1000


def test_blocks_of_a_multiprocessor():
    """By each limit in turn: 32 blocks, threads, registers (by 8), shared memory."""
    kernel = Assembled("m", "f", "void()", 32, 16, 1024, 0, 0, 0, 1, 0, 0, 0, 0)
    assert kernel.blocks() == 32 and kernel.occupancy() == 0.5
    assert replace(kernel, threads=256).blocks() == 8 and replace(kernel, threads=256).occupancy() == 1
    assert replace(kernel, threads=256, registers=65).blocks() == 65536 // (256 * 72)
    assert replace(kernel, threads=256, shared=50_176).blocks() == 4


def test_compute_capabilities():
    assert [capability(text) for text in ("9.0", "8.6", "10.0", "7")] == [(9, 0), (8, 6), (10, 0), (7, 0)]
    for text in ("", "9.0a", "sm_90", "9.10"):
        with pytest.raises(ValueError, match="compute capability such as"):
            capability(text)


def test_a_kernel_that_does_not_compile_is_named(monkeypatch, tmp_path):
    code = "raise SystemExit('numbanet.kernels.example.wrong void(): no such type')"
    broken = tmp_path / "python"
    broken.write_text(f"#!{sys.executable}\n{code}\n")
    broken.chmod(0o755)
    monkeypatch.setattr("numbanet.kernels.assemble.sys.executable", str(broken))
    with pytest.raises(RuntimeError, match=r"example\.wrong void\(\)"):
        assemble_for([(9, 0)])
