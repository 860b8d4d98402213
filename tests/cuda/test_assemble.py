"""Every CUDA kernel compiles and assembles, on a machine without a GPU too (this test is not marked ``cuda``)."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from numbanet import kernels
from numbanet.kernels.assemble import USES_FLOAT64, Assembled, assemble_all, assemble_for, capability, problems, table

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("nvidia") is None or sys.platform != "linux",
    reason="the CUDA toolkit's wheels are not installed: pip install 'numbanet[cuda]'",
)


@pytest.fixture(scope="module")
def assembled() -> list[Assembled]:
    """What the assembler says of each kernel for compute capability 9.0 (compiled in another process)."""
    return assemble_all((9, 0))


def test_every_kernel_assembles(assembled):
    assert len(assembled) >= 100
    assert {"conv2d", "matmul", "pooling", "batch_norm", "elementwise", "activation", "reduction", "softmax", "dropout",
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


def by_device() -> list[str]:
    """Modules whose code is not the same for every device: those with instructions of their own; and one that has none."""
    files = Path(kernels.__file__).parent.glob("*.py")
    own = [file.stem for file in files if file.stem != "assemble" and "InlineAsm" in file.read_text(encoding="utf-8")]
    return sorted({*own, "copies"})


def test_an_older_device_too():
    """``numbanet doctor --cuda-assemble 8.0`` takes them all; here those that may differ."""
    found = assemble_for([(8, 0)], by_device())
    assert list(found) == [(8, 0)]
    assert "copies" in {kernel.module for kernel in found[8, 0]}
    assert problems(found[8, 0]) == []


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
    monkeypatch.setattr("numbanet.kernels.assemble.devices_can_compile", lambda: False, raising=True)
    with pytest.raises(RuntimeError, match=r"example\.wrong void\(\)"):
        assemble_all((9, 0))
    with pytest.raises(RuntimeError, match=r"compute capability 8\.0: numbanet.*example\.wrong void\(\)"):
        assemble_for([(9, 0), (8, 0)][1:])
