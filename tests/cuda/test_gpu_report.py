"""The report of a GPU: its tables from made-up figures, and a run of the whole way at toy sizes in the simulator."""

from __future__ import annotations

import json
import shutil

import pytest

from benchmarks import compare_cuda, compare_torch, gpu_report
from benchmarks.networks import NETWORKS
from numbanet.devices import cuda_is_available
from numbanet.kernels import launch

needs_cuda = pytest.mark.skipif(not cuda_is_available(), reason="no GPU and no simulator (NUMBA_ENABLE_CUDASIM=1)")


def rows(**times):
    """Rows of one library: a product at 100 TFLOP/s or less, a copy, and what else is named."""
    made = [
        {"section": "peak", "case": "matmul 8 tf32", "precision": "tf32", "flops": 1e11, "ms": times["matmul"]},
        {"section": "bandwidth", "case": "copy", "bytes": 4e9, "ms": times["copy"]},
        {"section": "bandwidth", "case": "relu", "bytes": 4e9, "ms": times["relu"]},
        {"section": "convolutions", "case": "conv2d/forward/a", "precision": "tf32", "flops": 1e11, "ms": times["conv"]},
        {"section": "networks", "case": "train/lenet 128 tf32", "images": 128, "flops": 1e9, "ms": times["train"],
         "memory": times.get("memory", 0)},
    ]  # fmt: skip
    return [row for row in made if row["ms"]]


ABOUT = [
    {"library": "numbanet", "version": "0.1.0", "device": "A GPU", "capability": [9, 0]},
    {"library": "torch", "version": "2.13", "device": "A GPU", "capability": [9, 0], "cuda": "13.0", "cudnn": 91000},
]


def test_rows_of_both_libraries_are_joined():
    ours = rows(matmul=2.0, copy=2.0, relu=4.0, conv=4.0, train=0.5, memory=2_000_000)
    theirs = rows(matmul=1.0, copy=1.0, relu=1.0, conv=2.0, train=1.0, memory=3_000_000)
    found = {row["case"]: row for row in compare_cuda.join(ours, theirs)}
    assert found["train/lenet 128 tf32"]["ratio"] == 2
    assert found["conv2d/forward/a"]["ratio"] == 0.5
    assert found["conv2d/forward/a"]["share"] == pytest.approx(0.25), "of the faster library's product"
    assert found["relu"]["share"] == pytest.approx(0.25), "of the faster library's copy"
    text = compare_cuda.markdown(ABOUT, list(found.values()), False)
    assert "# A GPU, compute capability 9.0" in text
    assert "- torch 2.13, cuda 13.0, cudnn 91000" in text
    assert "| train/lenet 128 tf32 | 0.500 | 1.000 | 2.00 | 256000 | 2 | 3 |" in text
    assert "| conv2d/forward/a | 4.000 | 2.000 | 0.50 | 25.0 | 25% |" in text
    assert "| relu | 4.000 | 1.000 | 0.25 | 1000 | 25% |" in text
    assert "| matmul 8 tf32 | 2.000 | 1.000 | 0.50 | 50.0 |" in text
    assert "toy sizes" not in text


def test_tables_without_pytorch_and_with_failures():
    ours = rows(matmul=1.0, copy=1.0, relu=1.0, conv=0, train=1.0)
    ours.append({"section": "convolutions", "case": "conv2d/forward/a", "problem": "OutOfMemoryError: no room"})
    ours.append({"section": "peak", "case": "matmul 8 bf16", "problem": "not available: no bfloat16"})
    joined = compare_cuda.join(ours, [])
    assert all("ratio" not in row for row in joined)
    text = compare_cuda.markdown([ABOUT[0], {"missing": "torch: CUDA is not available"}], joined, True)
    assert "- torch: CUDA is not available: not measured" in text
    assert "| conv2d/forward/a | failed | - | - | - | - |" in text
    assert "| matmul 8 bf16 | not available | - | - | - |" in text
    assert "- conv2d/forward/a: OutOfMemoryError: no room" in text
    assert "A dry run" in text


def test_the_cases():
    names = [row.case for row in compare_cuda.all_rows(compare_cuda.FULL)]
    assert len(set(names)) == len(names)
    for name in NETWORKS:
        for batch in (128, 256):
            for precision in ("tf32", "bf16"):
                assert {f"train/{name} {batch} {precision}", f"infer/{name} {batch} {precision}"} <= set(names)
    assert sum(name.startswith("conv2d/backward/") for name in names) == 2 * len(compare_cuda.CONVOLUTIONS)


def test_inputs_go_round_past_the_cache():
    class Library:
        simulated = False

        def l2_cache(self):
            return 50 << 20

    assert len(compare_cuda.rounds_past_cache(Library(), object, 60 << 20)) == 3
    assert len(compare_cuda.rounds_past_cache(Library(), object, 1000)) == 8


def test_the_steps_of_the_report(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: "/opt/compute-sanitizer")
    found = dict(gpu_report.steps("out.md", dry=False, quick=True))
    assert list(found) == [
        "doctor",
        "tests",
        "compute-sanitizer memcheck",
        "compute-sanitizer racecheck",
        "measurements",
    ]
    assert found["tests"][-2:] == ["-m", "cuda"], "the whole suite"
    assert found["measurements"][-3:] == ["--output", "out.md", "--quick"]
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert list(dict(gpu_report.steps("out.md", dry=False, quick=False))) == ["doctor", "tests", "measurements"]
    for test in [*gpu_report.SANITIZED, *gpu_report.DRY]:
        file, _, name = test.partition("::")
        assert name in (gpu_report.ROOT / file).read_text(encoding="utf-8")


@pytest.mark.skipif(cuda_is_available(), reason="CUDA is here")
def test_without_a_gpu_the_report_says_so(capsys, tmp_path):
    assert gpu_report.main([str(tmp_path / "report.md")]) == 2
    assert "CUDA is not available" in capsys.readouterr().err
    assert compare_torch.main(["--device", "cuda", "--output", str(tmp_path / "report.md")]) == 2
    assert "numbanet was not measured: numbanet: CUDA is not available" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.cuda
@needs_cuda
def test_a_dry_run_writes_its_tables(tmp_path, capfd):
    file = tmp_path / "report.md"
    assert compare_torch.main(["--device", "cuda", "--dry-run", "--filter", "u", "--output", str(file)]) == 0
    text = file.read_text(encoding="utf-8")
    assert "A dry run at toy sizes" in text and "| relu |" in text and "| matmul 4 tf32 |" in text
    figures = json.loads(file.with_suffix(".json").read_text())
    found = {row["case"]: row["numbanet"] for row in figures["rows"]}
    assert found["relu"]["ms"] > 0
    assert "problem" not in found["matmul 4 tf32"]


@pytest.mark.cuda
@needs_cuda
def test_a_dry_run_of_a_training_step(capfd, monkeypatch):
    for name in ("THREADS", "TILE"):  # put back what the simulator's run changes
        monkeypatch.setattr(launch, name, getattr(launch, name))
    assert compare_cuda.work("numbanet", compare_cuda.DRY, "train/toy 2 tf32") == 0
    about, row = map(json.loads, capfd.readouterr().out.splitlines())
    assert about["library"] == "numbanet"
    assert row["ms"] > 0 and row["memory"] > 0 and row["images"] == 2
