"""Everything that wants a GPU, in one command: ``python -m benchmarks.gpu_report [FILE.md]`` (or ``make gpu``).

1. ``numbanet doctor``.
2. The CUDA tests on the device.
3. ``compute-sanitizer`` on a few of them, where it is installed.
4. The measurements of ``compare_torch.py --device cuda``: tables in FILE.md (default: gpu-report.md), figures beside it in JSON.

It goes on after a failure, so that one run tells all, and ends with 0 only where nothing failed. ``--dry-run`` goes the
whole way at toy sizes, also in the simulator.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Small tests that launch a kernel of each kind: elementwise, shared memory, strided copies, an update.
SANITIZED = [
    "tests/kernels/test_copies.py",
    "tests/cuda/test_training.py::test_lenet_step_equals_the_cpus",
    "tests/cuda/test_tensors.py",
]
DRY = ["tests/kernels/test_copies.py"]


def steps(output: str, dry: bool, quick: bool) -> list[tuple[str, list[str]]]:
    """(title, command) of each step that this machine can do."""
    python = sys.executable
    tests = [python, "-m", "pytest", "-m", "cuda"]
    found = [("doctor", [python, "-m", "numbanet", "doctor"]), ("tests", [*tests, *(["-n0", *DRY] if dry else [])])]
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer and not dry:
        checked = [*tests, "-n0", "-x", *SANITIZED]
        for tool in ("memcheck", "racecheck"):
            command = [sanitizer, "--tool", tool, "--error-exitcode", "9", "--target-processes", "all", *checked]
            found.append((f"compute-sanitizer {tool}", command))
    measured = [python, "-m", "benchmarks.compare_cuda", "--output", output]
    found.append(("measurements", [*measured, *["--dry-run"] * dry, *["--quick"] * quick]))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all steps; returns 0 where none failed."""
    parser = argparse.ArgumentParser(description="Test and measure numbanet on this machine's GPU.")
    parser.add_argument("output", nargs="?", default="gpu-report.md", help="file for the tables (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="shorter measurements, one batch size")
    parser.add_argument("--dry-run", action="store_true", help="toy sizes, also in the simulator: does it all run?")
    options = parser.parse_args(arguments)
    output = str(Path(options.output).resolve())
    from numbanet import cuda

    if not cuda.is_available():
        print(cuda.unavailable_reason(), file=sys.stderr)
        return 2
    failed = []
    chosen = steps(output, options.dry_run, options.quick)
    if shutil.which("compute-sanitizer") is None:
        print("compute-sanitizer is not installed (it comes with the CUDA toolkit): that step is left out")
    for title, command in chosen:
        print(f"== {title}: {' '.join(command)}", flush=True)
        start = time.perf_counter()
        status = subprocess.run(command, cwd=ROOT, env=dict(os.environ)).returncode
        print(
            f"== {title}: {'passed' if status == 0 else f'FAILED with {status}'} ({time.perf_counter() - start:.0f} s)"
        )
        if status:
            failed.append(title)
    print(f"FAILED: {', '.join(failed)}" if failed else f"all passed; tables in {output}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
