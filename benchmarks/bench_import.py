"""What a user waits for: the import, and the first training step of a process."""

from __future__ import annotations

import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent

_IMPORT = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"

_FIRST_STEP = """
import sys, time
sys.path.append(sys.argv[1])  # behind what is installed: the networks come from there, numbanet does not
import numbanet
from benchmarks.networks import NETWORKS, Training
Training(numbanet, NETWORKS["lenet"])().item()
print(time.time() - float(sys.argv[2]))
"""


def seconds(code: str, *arguments: str, **variables: str) -> float:
    """The number that ``code`` prints in a fresh process, which sees the same numbanet as this one."""
    found = importlib.util.find_spec("numbanet")
    assert found is not None and found.origin is not None
    path = os.pathsep.join([str(Path(found.origin).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": path, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def first_step(cache: str) -> float:
    """Seconds from the start of a process to the end of LeNet's first training step at batch 256."""
    return seconds(_FIRST_STEP, str(_ROOT), repr(time.time()), NUMBANET_CACHE_DIR=cache)


class Import:
    """``import numbanet`` against ``import numba``, in turn."""

    timeout = 300.0

    def track_import(self) -> float:
        return statistics.median(seconds(_IMPORT.format("numbanet")) for _ in range(5))

    track_import.unit = "s"  # type: ignore[attr-defined]

    def track_import_ratio(self) -> float:
        pairs = [(seconds(_IMPORT.format("numbanet")), seconds(_IMPORT.format("numba"))) for _ in range(5)]
        return statistics.median(ours / numba for ours, numba in pairs)

    track_import_ratio.unit = "numbanet / numba"  # type: ignore[attr-defined]


class FirstStep:
    """LeNet's first training step in a new process, everything included, with an empty and a full kernel cache."""

    timeout = 600.0

    def setup(self) -> None:
        self.folder = tempfile.TemporaryDirectory()

    def teardown(self) -> None:
        self.folder.cleanup()

    def track_cold(self) -> float:
        return first_step(self.folder.name)

    track_cold.unit = "s"  # type: ignore[attr-defined]

    def track_warm(self) -> float:
        first_step(self.folder.name)
        return statistics.median(first_step(self.folder.name) for _ in range(3))

    track_warm.unit = "s"  # type: ignore[attr-defined]
