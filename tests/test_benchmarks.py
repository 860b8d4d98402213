"""The benchmarks run and check what they time; no test here looks at a time."""

from __future__ import annotations

import argparse
import functools
import importlib
import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import numbanet
from benchmarks import bench_import, bench_kernels, bench_memory, bench_training, compare_torch, train_notes
from benchmarks.cases import CASES, CONVOLUTIONS, Convolution
from benchmarks.networks import NETWORKS, Training, multiply_adds
from numbanet import nn, optim  # noqa: F401 - imported at first use otherwise
from numbanet.data import FashionMNIST

ROOT = Path(__file__).resolve().parent.parent
needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")

SMALL = Convolution(2, 3, 9, 4, 3, stride=2, padding=1)


# --------------------------------------------------------------------------------------------------- networks, cases


@pytest.mark.parametrize("name", ["lenet", "lenet_bn", "nin", "googlenet", "densenet"])
def test_networks_have_their_number_of_parameters(name):
    net = NETWORKS[name].build(numbanet)
    assert sum(p.numel() for p in net.parameters()) == NETWORKS[name].parameters


def test_multiply_adds_of_lenet():
    first = 28 * 28 * 6 * 25
    rest = 10 * 10 * 16 * 6 * 25 + 400 * 120 + 120 * 84 + 84 * 10
    assert multiply_adds(numbanet, NETWORKS["lenet"]) == (first + rest, first)


@pytest.mark.parametrize("name", ["lenet", "lenet_bn"])
def test_training_steps_lower_the_loss(name):
    step = Training(numbanet, NETWORKS[name], batch=8, lr=0.05)
    losses = [step().item() for _ in range(12)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("library", ["numbanet", pytest.param("torch", marks=needs_torch)])
def test_a_training_goes_on_from_its_file_to_the_same_numbers(library, tmp_path, monkeypatch):
    monkeypatch.setattr(train_notes, "FashionMNIST", functools.partial(FashionMNIST, sample=True))
    library = importlib.import_module(library)

    def train(steps, checkpoint):
        args = argparse.Namespace(steps=steps, test_images=100, checkpoint=checkpoint)
        return train_notes.train(library, "lenet_bn", 0, args)

    whole = train(23, None)  # an epoch of the sample is 20 steps
    file = tmp_path / "training.safetensors"
    parts = [train(steps, file) for steps in (3, 20, 21, 23)]
    assert parts[-1]["losses"] == whole["losses"]
    assert parts[-1]["test_acc"] == whole["test_acc"]
    assert [row["epochs"] for row in whole["by_epoch"]] == [1, 23 / 20]
    assert [row["epochs"] for row in parts[-1]["by_epoch"]] == [3 / 20, 1, 21 / 20, 23 / 20]
    with pytest.raises(SystemExit, match="is of another training"):
        train_notes.train(library, "lenet", 0, argparse.Namespace(steps=1, test_images=100, checkpoint=file))


def test_case_names_are_unique_and_name_their_kind():
    assert len({str(c) for c in CONVOLUTIONS}) == len(CONVOLUTIONS)
    assert {case.section for case in CASES.values()} == set(compare_torch.SECTIONS)
    assert all("/" in name for name in CASES)


def test_convolution_counts_its_operations():
    x, weight, _, dy = SMALL.arrays()
    assert SMALL.apply(numbanet, numbanet.from_numpy(x), numbanet.from_numpy(weight)).shape == dy.shape
    assert SMALL.flops == 2 * dy.size * weight[0].size


def test_convolution_gradients_are_apart():
    for wanted, array in (("input", SMALL.arrays()[0]), ("weight", SMALL.arrays()[1])):
        result = SMALL.gradient(wanted, numbanet)()
        (gradient,) = result if isinstance(result, tuple) else (result,)
        assert gradient.shape == array.shape


@needs_torch
@pytest.mark.torch
@pytest.mark.parametrize("case", SMALL.cases(), ids=lambda case: case.name.split("/")[1])
def test_small_convolutions_agree_with_pytorch(case):
    values = []
    for name in ("numbanet", "torch"):
        library = importlib.import_module(name)
        values.append([v.numpy() for v in case.check(library, case.make(library))])
    assert compare_torch.difference(*values) < 1e-5


# -------------------------------------------------------------------------------------------------------- comparison


@needs_torch
@pytest.mark.torch
def test_comparison_runs_and_checks(tmp_path, capfd):
    file = tmp_path / "figures.json"
    chosen = ["--filter", r"^cross_entropy/(forward|backward)/256x10$", "--ops", "--threads", "1"]
    assert compare_torch.main([*chosen, "--rounds", "2", "--seconds", "0.001", "--json", str(file), "--markdown"]) == 0
    table = [line for line in capfd.readouterr().out.splitlines() if line.startswith("| cross_entropy")]
    assert len(table) == 2
    rows = json.loads(file.read_text())["rows"]
    for row in rows:
        assert 0 <= row["difference"] < 1e-5
        assert len(row["ratios"]) == 2 and all(ratio > 0 for ratio in row["ratios"])
        assert row["numbanet"]["best"] > 0 and row["torch"]["best"] > 0


class _Liar:
    """A worker that gives ``answer``, and results of its own."""

    def __init__(self, library, values):
        self.library, self.values = library, values

    def ask(self, do, **order):
        if do == "prepare":
            if isinstance(self.values, str):
                return {"error": self.values}
            np.savez(order["results"], *self.values)
        return {"first_seconds": 0.0, "flops": 0}


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ([np.array([1.0, 2.1])], "differ by 5.0e-02"),
        ([np.array([1.0, np.nan])], "differ by inf"),
        ([np.array([[1.0, 2.0]])], "differ by inf"),
        ([], "differ by inf"),
        ("NotImplementedError: no twin", "numbanet: NotImplementedError: no twin"),
    ],
)
def test_comparison_does_not_time_what_differs(values, problem):
    case = next(c for c in CASES.values() if c.section == "ops")
    pair = [_Liar("numbanet", values), _Liar("torch", [np.array([1.0, 2.0])])]
    row = compare_torch.measure(case, pair, rounds=1, seconds=0.0)
    assert problem in row["problem"]
    assert "ratio" not in row


def test_difference_is_relative_to_each_array_but_not_to_rounding_noise():
    one, noise = np.array([1.0, -4.0]), np.array([1e-9])
    assert compare_torch.difference([one * 1.01], [one]) == pytest.approx(0.01)
    assert compare_torch.difference([one, 3 * noise], [one, noise]) < 1e-6
    assert compare_torch.difference([np.zeros(3)], [np.zeros(3)]) == 0
    assert math.isinf(compare_torch.difference([one[:1]], [one]))


def test_comparison_lists_cases(capsys):
    assert compare_torch.main(["--list", "--filter", "^train/"]) == 0
    assert capsys.readouterr().out.split("\n")[0] == "train/lenet 256x1x28x28"


def test_comparison_of_nothing_is_wrong_usage(capsys):
    assert compare_torch.main(["--ops", "--filter", "^train/"]) == 2
    assert "no case of ops matches '^train/'; see --list" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        compare_torch.main(["--filter", "("])
    assert stop.value.code == 2
    assert "'(' is no regular expression" in capsys.readouterr().err


def test_comparison_script_starts_from_anywhere(tmp_path):
    script = ROOT / "benchmarks" / "compare_torch.py"
    command = [sys.executable, str(script), "--list", "--filter", "^optim/SGD/lenet$"]
    assert (
        subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout == "optim/SGD/lenet\n"
    )


# --------------------------------------------------------------------------------------------------------------- asv


def _benchmarks():
    """(class, method, parameter) of each asv benchmark in a class, once."""
    chosen = {
        bench_kernels.Convolution: str(CONVOLUTIONS[-1]),
        bench_kernels.Layers: "avg_pool2d/forward/256x6x28x28 2/2",
        bench_kernels.Matmul: "matmul/256x256x256",
        bench_kernels.Operators: "optim/SGD/lenet",
        bench_training.TrainingStep: "lenet",
        bench_training.ForwardPass: "lenet",
        bench_memory.PeakMemory: "lenet",
    }
    for cls, wanted in chosen.items():
        (parameter, *_) = [p for p in cls.params if wanted in p]
        for method in dir(cls):
            if method.startswith(("time_", "peakmem_")):
                yield pytest.param(cls, method, parameter, id=f"{cls.__name__}.{method}")


@pytest.mark.parametrize(("cls", "method", "parameter"), list(_benchmarks()))
def test_asv_benchmark_runs(cls, method, parameter):
    benchmark = cls()
    if hasattr(benchmark, "setup"):
        benchmark.setup(parameter)
    getattr(benchmark, method)(parameter)


def test_asv_kernel_benchmarks_cover_every_layer_and_operation():
    classes = [getattr(bench_kernels, name) for name in ("Convolution", "Layers", "Matmul", "Operations", "Operators")]
    covered = [name for cls in classes for name in cls.params]
    assert sorted(covered) == sorted(c.name for c in CASES.values() if c.section != "networks")


def test_import_benchmark_times_a_fresh_process():
    code = f"import numbanet; print(float(numbanet.__file__ == {numbanet.__file__!r}))"
    assert bench_import.seconds(code) == 1.0


def test_asv_configuration_names_what_is_there():
    lines = (ROOT / "asv.conf.json").read_text().splitlines()
    settings = json.loads("\n".join(line for line in lines if not line.strip().startswith("//")))
    assert settings["project"] == "numbanet"
    assert (ROOT / settings["benchmark_dir"] / "bench_kernels.py").is_file()
    assert all(settings[key].split("/")[0] == ".asv" for key in ("env_dir", "results_dir", "html_dir"))


def test_workers_get_equal_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("OMP_PROC_BIND", "false")
    variables = compare_torch.environment(2)
    assert variables["OMP_NUM_THREADS"] == variables["NUMBA_NUM_THREADS"] == "2"
    assert variables["OMP_PROC_BIND"] == "false"
    assert variables["PATH"] == os.environ["PATH"]
