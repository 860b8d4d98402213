"""Thousands of random calls in a process of its own: no crash, no hang, nothing outside an array, the reference's values."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numbanet.kernels.kernel import Kernel
from tests.fuzz.families import FAMILIES, draw_case
from tests.fuzz.guards import Guards, KernelFault
from tests.operators import all_kernels

COUNT = 6000
PATIENCE = 900  # seconds: cold, kernels are compiled on the way

# Kernels that no case reaches, each for a reason.
UNREACHED: dict[str, str] = {
    **{
        name: "steps run over tables of addresses, past Kernel.__call__; their results are compared with plain runs"
        for name in all_kernels()
        if name.endswith("_step")
    },
    **{
        name: "gradient clipping is no function"
        for name in ("largest_magnitude", "sum_of_magnitudes", "sum_of_squares")
    },
    **{
        name: "an option that no case draws yet"
        for name in (
            "gelu_tanh_forward",
            "gelu_tanh_backward",
            "sum_absolutes",
            "sum_absolutes_backward",
            "bitwise_and",
            "bitwise_or",
            "bitwise_xor",
            *("cdist_finish", "cdist_slopes", "cdist_combine"),
            "scatter_fold",
            *("hinge_embedding_forward", "cosine_embedding_forward", "margin_ranking_forward", "margin_forward"),
        )
    },
    **{
        name: "serves CUDA; on the CPU NumPy does it"
        for name in (
            *("changes", "coordinates", "copy_strided", "edges", "isin"),
            *("put", "repeated", "running_count", "searchsorted", "segment_sums"),
        )
    },
    **{name: "half precision has tests of its own" for name in ("to_float32", "from_float32")},
    "place": "serves tensors of 2^17 elements and more",
    **{
        name: "an option that no case draws yet"
        for name in all_kernels()
        if name.startswith("kl_div_") or name in ("bce_forward", "poisson_forward", "soft_margin_forward", "cast")
    },
}


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> dict[str, Any]:
    """What the process found; its last case where it died."""
    folder = tmp_path_factory.mktemp("fuzz")
    case, found = folder / "case.txt", folder / "report.json"
    root = Path(__file__).parent.parent.parent
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.fuzz", "--count", str(COUNT)]
    environment = {**os.environ, "PYTHONPATH": str(root), "NUMBA_ENABLE_CUDASIM": "0"}
    try:
        done = subprocess.run(
            [*command, "--case", str(case), "--report", str(found)],
            cwd=root, env=environment, capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        pytest.fail(f"did not end within {PATIENCE} s; the last case was {case.read_text()}")
    if not found.exists():
        last = case.read_text() if case.exists() else "none"
        pytest.fail(f"ended with {done.returncode} in the case {last}\n{done.stderr[-3000:]}")
    return json.loads(found.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("family", [make.__name__ for make in FAMILIES])
def test_no_case_of_the_family_goes_wrong(report, family):
    wrong = [f"{entry['case']}\n    {entry['wrong']}" for entry in report["failures"] if entry["family"] == family]
    assert not wrong, "\n".join(wrong)
    assert report["families"][family]["ran"] >= 20, "too few of the family's cases are valid"


@pytest.mark.slow
def test_there_were_thousands_of_cases_and_most_were_valid(report):
    counts = report["families"].values()
    ran, refused = (sum(c.get(key, 0) for c in counts) for key in ("ran", "refused"))
    assert ran + refused >= 3000
    assert ran >= 2000
    assert refused >= 100
    assert report["judged"] >= 1000, "too few calls were compared with a reference"


@pytest.mark.slow
def test_every_kernel_was_called(report):
    never = sorted(set(all_kernels()) - set(report["kernels"]) - set(UNREACHED))
    assert not never, f"no case reaches these kernels: {never}"
    assert set(UNREACHED) <= set(all_kernels()), "exceptions for kernels that are not there"


# ------------------------------------------------------------------------------- the guards see what they should


def _kernel(cpu: Any) -> Kernel:
    def reference(x: np.ndarray, y: np.ndarray) -> None:
        y[...] = 2 * x

    kernel = Kernel("guarded for a test", reference=reference, cpu=cpu)
    del Kernel.table[kernel.name]
    return kernel


def _outside(x: np.ndarray) -> np.ndarray:
    """The elements of a guarded array with their neighbours."""
    return np.lib.stride_tricks.as_strided(x, (x.size + 1,), x.strides)


def right(x: np.ndarray, y: np.ndarray) -> None:
    y[...] = 2 * x


def wrong(x: np.ndarray, y: np.ndarray) -> None:
    y[...] = 3 * x


def changes_input(x: np.ndarray, y: np.ndarray) -> None:
    y[...] = 2 * x
    x[0] += 1


def writes_outside(x: np.ndarray, y: np.ndarray) -> None:
    y[...] = 2 * x
    _outside(y)[-1] = 0


def reads_outside(x: np.ndarray, y: np.ndarray) -> None:
    y[...] = 2 * x + 0 * _outside(x)[-1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_right_kernel_passes_the_guards(dtype):
    x, y = np.arange(5, dtype=dtype), np.zeros(5, dtype)
    with Guards() as guards:
        _kernel(right)(x, y)
    assert (y == 2 * np.arange(5)).all()
    assert sum(guards.calls.values()) == guards.judged == 1


@pytest.mark.parametrize("cpu", [wrong, changes_input, writes_outside, reads_outside])
def test_a_faulty_kernel_does_not(cpu):
    with pytest.raises(KernelFault), Guards():
        _kernel(cpu)(np.arange(5.0), np.zeros(5))


def test_fresh_memory_is_nonsense_under_guard():
    from numbanet import devices

    with Guards():
        assert np.isnan(devices.empty((3,), np.dtype(np.float32))).all()
    assert not any(getattr(module, "empty", None) is None for module in [devices])


@pytest.mark.parametrize("make", FAMILIES, ids=lambda make: make.__name__)
def test_a_seed_gives_one_case(make):
    assert repr(draw_case(make, 5)) == repr(draw_case(make, 5))
    assert len({repr(draw_case(make, seed)) for seed in range(20)}) >= 15
