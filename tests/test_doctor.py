"""What stands in CUDA's way, told apart and with its remedy; and the command that looks at everything."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from types import SimpleNamespace

import pytest

from numbanet import cli, devices, doctor
from numbanet.kernels import kernel


@pytest.fixture
def machine(monkeypatch):
    """Makes a machine with a driver, a toolkit, a numba.cuda or an error at its import, and packages."""

    def make(driver=(13, 0), toolkit=(13, 1), absent=(), module=None, packages=None):
        class Module:
            gpus = ("one",)
            is_available = staticmethod(lambda: True)
            cuda_error = staticmethod(lambda: None)

        def load():
            if isinstance(module, Exception):
                raise module
            return module or Module

        def version(name):
            if packages is not None and name not in packages:
                raise importlib.metadata.PackageNotFoundError(name)
            return (packages or {}).get(name, "1.0")

        for name in ("SIMULATOR", "ASSEMBLING"):
            monkeypatch.setattr(devices, name, False)
        monkeypatch.setattr(devices, "driver_version", lambda: driver)
        monkeypatch.setattr(devices, "toolkit_version", lambda: toolkit)
        monkeypatch.setattr(devices, "missing_compilers", lambda: list(absent))
        monkeypatch.setattr(devices, "_import_cuda", load)
        if packages is not None:
            monkeypatch.setattr(importlib.metadata, "version", version)
        devices._gpu_problem.cache_clear()
        found, missing = devices._find_cuda()
        monkeypatch.setattr(devices, "cuda", found)
        monkeypatch.setattr(devices, "_missing", missing)
        return devices.unavailable_reason()

    yield make
    devices._gpu_problem.cache_clear()


def test_a_machine_with_everything(machine):
    assert machine() == ""
    assert machine(driver=(13, 4), toolkit=(12, 8)) == "", "an older toolkit is fine"
    assert machine(toolkit=None) == "", "the system's toolkit, whose version nobody knows"


def test_no_driver(machine):
    reason = machine(driver=None)
    for words in ("CUDA is not available: no CUDA driver library", "install its driver", "nvidia-smi",
                  "pip install 'numbanet[cuda]'", "device='cpu'", "NUMBA_ENABLE_CUDASIM=1"):  # fmt: skip
        assert words in reason
    with pytest.raises(RuntimeError, match="no CUDA driver library"):
        devices.as_device("cuda")
    with pytest.raises(RuntimeError, match="no CUDA driver library"):
        devices.cuda.jit(lambda x: None)[1, 1](0)


def test_no_numba_cuda(machine):
    reason = machine(module=ModuleNotFoundError("No module named 'numba.cuda'"), packages={"numba": "0.68.1"})
    assert "the package numba-cuda is not installed. pip install 'numbanet[cuda]' brings it" in reason
    assert "driver" not in reason


def test_no_toolkit(machine):
    packages = {"numba": "0.68.1", "numba-cuda": "0.30.4"}
    reason = machine(module=ModuleNotFoundError("No module named 'cuda'", name="cuda.bindings"), packages=packages)
    assert "toolkit's Python packages are not installed" in reason and "pip install 'numbanet[cuda]'" in reason
    reason = machine(absent=("nvvm", "nvJitLink"))
    assert "compilers (nvvm, nvJitLink) cannot be found" in reason
    assert "pip install 'numbanet[cuda]'" in reason and "CUDA_HOME" in reason


def test_packages_that_clash(machine):
    packages = {"numba": "0.70.0", "numba-cuda": "0.30.4", "cuda-bindings": "13.5.0"}
    reason = machine(module=ImportError("cannot import name 'sigutils'"), packages=packages)
    assert "ImportError: cannot import name 'sigutils'" in reason
    assert "numba 0.70.0, numba-cuda 0.30.4, cuda-bindings 13.5.0, no cuda-core" in reason
    assert "pip install --upgrade 'numbanet[cuda]'" in reason


def test_a_driver_too_old_for_the_toolkit(machine):
    reason = machine(driver=(12, 4), toolkit=(13, 1))
    assert "the driver knows CUDA up to 12.4, and the installed toolkit is 13.1" in reason
    assert "nvidia-smi" in reason and "pip install 'numba-cuda[cu12]'" in reason


def test_no_gpu_behind_the_driver(machine):
    class Module:
        is_available = staticmethod(lambda: False)
        cuda_error = staticmethod(lambda: "CUDA_ERROR_NO_DEVICE")

    reason = machine(module=Module)
    assert "no usable GPU (CUDA_ERROR_NO_DEVICE)" in reason and "nvidia-smi" in reason


def test_what_is_really_here():
    """The questions to the machine themselves: they answer, whatever there is."""
    driver = devices.driver_version()
    assert driver is None or driver >= (0, 0)
    assert set(devices.missing_compilers()) <= {"nvvm", "nvrtc", "nvJitLink"}
    if importlib.util.find_spec("nvidia") is not None and sys.platform == "linux":
        assert devices.toolkit_version() is not None
        assert devices.missing_compilers() == []


# ------------------------------------------------------------------------------------------------------ the command


def lines(capsys, *argv):
    status = cli.main(["doctor", *argv])
    said = capsys.readouterr().out
    return status, {line[:14].strip(): (line[15:23].strip(), line[24:]) for line in said.splitlines()}


def test_a_machine_without_a_gpu_has_no_problem(capsys, machine):
    machine(driver=None)
    status, found = lines(capsys)
    assert status == 0
    assert {found[name][0] for name in ("python", "numba", "processor", "threads", "kernel cache")} == {"ok"}
    assert "vectors of" in found["processor"][1] and "threading layer" in found["threads"][1]
    assert found["fashion-mnist"][0] in ("ok", "missing")
    for name in ("cuda driver", "cuda device", "cuda memory", "cuda kernel"):
        assert found[name][0] == "missing"
    assert "install its driver" in found["cuda device"][1]


def test_a_gpu_without_a_driver_is_a_problem(capsys, machine, monkeypatch):
    machine(driver=None)
    monkeypatch.setattr(doctor, "_nvidia_hardware", lambda: True)
    status, found = lines(capsys)
    assert status == 1
    assert found["cuda driver"] == (
        "problem", "there is an NVIDIA GPU, but no driver: install it (then nvidia-smi shows the GPU)")  # fmt: skip


def test_a_driver_that_cannot_be_used_is_a_problem(capsys, machine):
    machine(driver=(12, 4))
    status, found = lines(capsys)
    assert status == 1
    assert found["cuda driver"][1] == "knows CUDA up to 12.4"
    assert found["cuda device"][0] == "problem" and "Install a newer driver" in found["cuda device"][1]


def test_a_cache_that_cannot_be_written_is_a_problem(capsys, monkeypatch, tmp_path):
    plain = tmp_path / "a file"
    plain.write_text("")
    monkeypatch.setattr(kernel, "cache_folder", lambda: plain / "kernels")
    status, found = lines(capsys)
    assert status == 1
    assert found["kernel cache"][0] == "problem" and "NUMBANET_CACHE_DIR" in found["kernel cache"][1]


def test_a_check_that_fails_hides_no_other(capsys, monkeypatch):
    monkeypatch.setattr(devices, "unavailable_reason", lambda: 1 / 0)
    status, found = lines(capsys)
    assert status == 1
    assert found["cuda device"] == ("problem", "ZeroDivisionError: division by zero")
    assert found["processor"][0] == "ok"


@pytest.mark.cuda
@pytest.mark.skipif(not devices.cuda_is_available(), reason="no GPU and no simulator (NUMBA_ENABLE_CUDASIM=1)")
def test_a_kernel_is_run(capsys):
    _, found = lines(capsys)
    assert found["cuda kernel"][0] == "ok" and "compared with NumPy" in found["cuda kernel"][1]
    assert found["cuda device"][0] == "ok" and "compute capability" in found["cuda device"][1]


def test_assembling(capsys, monkeypatch):
    from numbanet.kernels import assemble

    good = assemble.Assembled("copies", "move", "void(float32[::1])", 128, 20, 0, 0, 0, 0, 1000, 4, 4, 0, 0)
    bad = assemble.Assembled("copies", "hold", "void(float32[::1])", 128, 255, 0, 0, 16, 0, 1000, 4, 4, 0, 0)
    asked = []

    def found(capabilities, only=()):
        asked.append(list(capabilities))
        return {cc: [good] if cc != (7, 5) else [good, bad] for cc in capabilities}

    monkeypatch.setattr(devices, "missing_compilers", lambda: [])
    monkeypatch.setattr(assemble, "assemble_for", found)
    assert cli.main(["doctor", "--cuda-assemble", "8.0", "9.0"]) == 0
    said = capsys.readouterr().out
    assert asked == [[(8, 0), (9, 0)]]
    assert "compute capability 8.0" in said and said.count("copies.move") == 2 and "1 kernels, none spills" in said
    assert cli.main(["doctor", "--cuda-assemble", "7.5"]) == 1
    assert "problem: copies.hold void(float32[::1]): 16 bytes of spilled registers" in capsys.readouterr().out
    monkeypatch.setattr(devices, "missing_compilers", lambda: ["nvvm"])
    assert cli.main(["doctor", "--cuda-assemble", "9.0"]) == 1
    assert "pip install 'numbanet[cuda]'" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["doctor", "--cuda-assemble", "sm_90"])
    assert "compute capability such as 9.0" in capsys.readouterr().err


def test_a_second_gpu_is_not_quietly_the_first(monkeypatch):
    monkeypatch.setattr(devices, "SIMULATOR", False)
    monkeypatch.setattr(devices, "require_cuda", lambda what: None)
    monkeypatch.setattr(devices, "cuda", SimpleNamespace(gpus=[0, 1]))
    assert devices.as_device("cuda:0") == devices.CUDA
    assert devices.as_device("cuda:1", to_compute=False).index == 1
    with pytest.raises(RuntimeError, match=r"'cuda:1'.*one CUDA device.*CUDA_VISIBLE_DEVICES=1"):
        devices.as_device(1)
    with pytest.raises(RuntimeError, match=r"'cuda:2'.*this machine has 2"):
        devices.as_device("cuda:2")
