"""Compare with PyTorch: ``python benchmarks/compare_torch.py [--networks] [--layers] [--ops] [--memory] [--start] ...``

Each library runs in a process of its own, with the same number of threads, inputs and weights. For every case both
first show that they compute the same; then they are timed in turn, round after round, while the other waits. A round
gives each library's best time; the ratio is PyTorch's time over ours (above 1: numbanet is faster), as the median over
the rounds and as the best of all rounds over the best of all rounds. README.md in this folder says how to read it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
if not __package__:  # run as a script: the folder that holds the package `benchmarks`, not this one
    sys.path[0] = str(ROOT)

from benchmarks.cases import CASES, Case  # noqa: E402

OURS, THEIRS = "numbanet", "torch"
SECTIONS = ("networks", "layers", "ops")
_BUSY = 0.05  # share of the machine that others may use before a row is marked


# ------------------------------------------------------------------------------------------------------------- workers


def physical_cores() -> int:
    """Cores this process may use, hyperthreads not counted where psutil can tell."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        import psutil
    except ImportError:
        return allowed
    return min(allowed, psutil.cpu_count(logical=False) or allowed)


def environment(threads: int) -> dict[str, str]:
    """What both processes are started with; OMP_* settings of the user go before ours."""
    counts = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    return {"OMP_PROC_BIND": "true", **os.environ, **dict.fromkeys(counts, str(threads))}


class Process:
    """A worker process (``worker.py``) and the line to it."""

    def __init__(self, library: str, threads: int) -> None:
        self.library = library
        command = [sys.executable, "-m", "benchmarks.worker", library, str(threads)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment(threads), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            self.about = self._answer()
        except BaseException:
            self.close()
            raise

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(
                f"the {self.library} process ended with code {self._process.wait()}; see its message above"
            )
        return json.loads(line)

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        """Send an order and wait for the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **order}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def machine_seconds() -> float | None:
    """CPU seconds that the whole machine has worked since it started; None where the system does not tell."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = [int(f) for f in fields[:8]]
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


# ---------------------------------------------------------------------------------------------------------- comparison


def difference(ours: Iterable[np.ndarray], theirs: Iterable[np.ndarray], floor: float = 1e-3) -> float:
    """The largest difference, relative to the largest value of the same array, which counts as at least ``floor`` times
    the largest of all. Infinite where shapes differ or a value is not finite."""
    ours, theirs = list(ours), list(theirs)
    if len(ours) != len(theirs):
        return math.inf
    largest = max((float(np.abs(t).max()) for t in theirs if t.size), default=0.0)
    worst = 0.0
    for a, b in zip(ours, theirs):
        if a.shape != b.shape or not np.isfinite(a).all() or not np.isfinite(b).all():
            return math.inf
        if b.size:
            scale = max(float(np.abs(b).max()), floor * largest) or 1.0
            worst = max(worst, float(np.abs(a - b).max()) / scale)
    return worst


def check(case: Case, pair: Sequence[Process], row: dict[str, Any], folder: str) -> None:
    """Let both prepare the case and compare their results; what went wrong goes to ``row["problem"]``."""
    arrays = []
    for process in pair:
        file = os.path.join(folder, f"{process.library}.npz")
        answer = process.ask("prepare", case=case.name, results=file)
        if "error" in answer:
            row["problem"] = f"{process.library}: {answer['error']}"
            return
        row[process.library] = {"first_seconds": answer["first_seconds"]}
        row["flops"] = answer["flops"]
        with np.load(file) as stored:
            arrays.append([stored[name] for name in stored.files])
        os.unlink(file)
    if case.check:
        row["difference"] = difference(*arrays, case.floor)
        if row["difference"] > case.tolerance:
            row["problem"] = f"the results differ by {row['difference']:.1e}, more than {case.tolerance:.0e}"


def measure(case: Case, pair: Sequence[Process], rounds: int, seconds: float) -> dict[str, Any]:
    """Check a case, then time it in turn; returns a row of the table."""
    row: dict[str, Any] = {"case": case.name, "section": case.section}
    with tempfile.TemporaryDirectory() as folder:
        check(case, pair, row, folder)
    if "problem" not in row:
        before, start, cpu = machine_seconds(), time.perf_counter(), 0.0
        turns: dict[str, list[dict[str, Any]]] = {process.library: [] for process in pair}
        for i in range(rounds):
            for process in pair if i % 2 == 0 else reversed(pair):  # whoever follows a turn must not always be the same
                time.sleep(0.01)  # until the other's threads have stopped spinning
                turn = process.ask("time", seconds=seconds)
                cpu += turn["cpu"]
                turns[process.library].append(turn)
        after, elapsed = machine_seconds(), time.perf_counter() - start
        if before is not None and after is not None:
            row["others"] = max(0.0, (after - before - cpu) / (elapsed * (os.cpu_count() or 1)))
        for library, results in turns.items():
            best = min(turn["best"] for turn in results)
            row[library] |= {"best": best, "median": statistics.median(t["median"] for t in results), "turns": results}
        ratios = [theirs["best"] / ours["best"] for ours, theirs in zip(turns[OURS], turns[THEIRS])]
        row |= {
            "ratios": ratios,
            "ratio": statistics.median(ratios),
            "ratio_best": row[THEIRS]["best"] / row[OURS]["best"],
        }
    for process in pair:
        process.ask("drop")
    return row


def measure_memory(case: Case, threads: int) -> dict[str, Any]:
    """Peak memory of three calls in a fresh process of each library, all kernels being in the cache already."""
    row: dict[str, Any] = {"case": case.name, "section": "memory"}
    for library in (OURS, OURS, THEIRS):  # the first only fills the cache: compiling takes memory, too
        with Process(library, threads) as process:
            answer = process.ask("memory", case=case.name, calls=3)
        if "error" in answer:
            return row | {"problem": f"{library}: {answer['error']}"}
        row[library] = answer
    ours, theirs = row[OURS], row[THEIRS]
    row["ratio"] = (ours["peak"] - ours["baseline"]) / (theirs["peak"] - theirs["baseline"])
    row["ratio_peak"] = ours["peak"] / theirs["peak"]
    return row


_FIRST_STEP = """
import sys, time
sys.path.insert(0, sys.argv[2])
import importlib
library = importlib.import_module(sys.argv[1])
library.set_num_threads(int(sys.argv[3]))
from benchmarks.networks import NETWORKS, Training
Training(library, NETWORKS["lenet"])().item()
print(time.time() - float(sys.argv[4]))
"""


def measure_start(threads: int, repeats: int) -> list[tuple[str, float]]:
    """(what, seconds) from the start of a process: imports, and LeNet's first training step at batch 256."""

    def once(*arguments: str, **variables: str) -> float:
        command = [sys.executable, "-c", *arguments]
        if len(arguments) > 1:
            command.append(repr(time.time()))
        done = subprocess.run(
            command, cwd=ROOT, env=environment(threads) | variables, capture_output=True, text=True, check=True
        )
        return float(done.stdout)

    imports = ("numpy", "numba", OURS, THEIRS)
    code = "import time; s = time.perf_counter(); import {}; print(time.perf_counter() - s)"
    times: dict[str, list[float]] = {}
    for _ in range(repeats):
        for name in imports:
            times.setdefault(f"import {name}", []).append(once(code.format(name)))
    first = [str(ROOT), str(threads)]
    with tempfile.TemporaryDirectory() as folder:
        times["first LeNet step, numbanet, empty kernel cache"] = [
            once(_FIRST_STEP, OURS, *first, NUMBANET_CACHE_DIR=folder)
        ]
        for _ in range(repeats):
            for name, library in (("numbanet, full kernel cache", OURS), ("torch", THEIRS)):
                seconds = once(_FIRST_STEP, library, *first, NUMBANET_CACHE_DIR=folder)
                times.setdefault(f"first LeNet step, {name}", []).append(seconds)
    rows = [(name, statistics.median(values)) for name, values in times.items()]
    ratios = [ours / numba for ours, numba in zip(times[f"import {OURS}"], times["import numba"])]
    return [*rows, ("import numbanet / import numba (ratio)", statistics.median(ratios))]


# -------------------------------------------------------------------------------------------------------------- tables


class Table:
    """Rows that are printed as they come, in columns; with ``markdown``, as a Markdown table."""

    def __init__(self, markdown: bool, headers: Sequence[str], widths: Sequence[int]) -> None:
        self._markdown = markdown
        self._widths = [max(len(h), w, 2) for h, w in zip(headers, widths)]
        self.line(headers)
        if markdown:
            bars = ["-" * w if i == 0 else "-" * (w - 1) + ":" for i, w in enumerate(self._widths)]
            print("| " + " | ".join(bars) + " |", flush=True)
        else:
            print("-" * (sum(self._widths) + 2 * len(widths) - 2), flush=True)

    def line(self, cells: Sequence[str]) -> None:
        """Print a row: the first cell flush left, numbers flush right."""
        padded = [c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, self._widths))]
        print("| " + " | ".join(padded) + " |" if self._markdown else "  ".join(padded).rstrip(), flush=True)

    def note(self, first: str, text: str) -> None:
        """Print a row that has words instead of numbers."""
        if self._markdown:
            self.line([first, text, *[""] * (len(self._widths) - 2)])
        else:
            print(f"{first.ljust(self._widths[0])}  {text}", flush=True)


def milliseconds(seconds: float) -> str:
    """Three digits or more."""
    ms = seconds * 1e3
    return f"{ms:.0f}" if ms >= 1000 else f"{ms:.1f}" if ms >= 100 else f"{ms:.2f}" if ms >= 10 else f"{ms:.3f}"


def cells(row: dict[str, Any]) -> list[str]:
    """A timed row as text."""
    ours, theirs = row[OURS]["best"], row[THEIRS]["best"]
    rates = [f"{row['flops'] / t / 1e9:.0f}" if row["flops"] else "" for t in (ours, theirs)]
    mark = "!" if row.get("others", 0) > _BUSY else ""
    error = f"{row['difference']:.0e}" if "difference" in row else "-"
    ratio = f"{row['ratio']:.2f}"
    return [
        row["case"],
        milliseconds(ours),
        milliseconds(theirs),
        ratio,
        f"{row['ratio_best']:.2f}",
        *rates,
        error,
        mark,
    ]


def report_section(title: str, rows: list[dict[str, Any]]) -> None:
    """The geometric means of a section's ratios, one for each kind of case."""
    kinds: dict[str, list[float]] = {}
    for row in rows:
        if "ratio" in row:
            kinds.setdefault(row["case"].rsplit("/", 1)[0], []).append(row["ratio"])
    everything = [ratio for ratios in kinds.values() for ratio in ratios]
    if len(everything) > 1:
        print(f"\n{title}, geometric mean of {len(everything)} ratios: {statistics.geometric_mean(everything):.2f}")
        several = [f"{kind} {statistics.geometric_mean(r):.2f}" for kind, r in kinds.items() if len(r) > 1]
        if several:
            print("  " + ", ".join(several))


def report_machine(threads: int, about: dict[str, Any]) -> dict[str, Any]:
    """Print and return where and with what the run took place; warns when the machine is at work already."""
    name = platform.processor() or platform.machine()
    try:
        names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        name = names[0] if names else name
    except OSError:
        pass
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    libraries = ", ".join(f"{library} {version['version']}" for library, version in about.items())
    print(f"{libraries}, numpy {np.__version__}, Python {platform.python_version()}; {name}, {threads} threads")
    if load > 0.25 * (os.cpu_count() or 1):
        print(
            f"WARNING: the load average is {load:.2f}: something else is running, and times will not be reliable",
            file=sys.stderr,
        )
    variables = {
        k: v for k, v in environment(threads).items() if k.startswith(("OMP_", "GOMP_", "NUMBA_", "MKL_", "KMP_"))
    }
    return {"libraries": about, "cpu": name, "threads": threads, "load": load, "environment": variables}


# ---------------------------------------------------------------------------------------------------------------- main


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare numbanet with PyTorch, in turn in one run.")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="cuda: see --device cuda --help")
    parser.add_argument("--networks", action="store_true", help="training steps and inference of whole networks")
    parser.add_argument("--layers", action="store_true", help="convolution, linear, pooling, batch normalisation")
    parser.add_argument("--ops", action="store_true", help="matmul, activations, losses, optimisers, ...")
    parser.add_argument("--memory", action="store_true", help="peak memory of the networks' steps")
    parser.add_argument("--start", action="store_true", help="imports, and the first training step of a process")
    parser.add_argument("--filter", default="", metavar="REGEX", help="only cases whose name matches")
    parser.add_argument("--list", action="store_true", help="list the names of the cases and stop")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: a rough picture")
    parser.add_argument("--threads", type=int, default=physical_cores(), help="of each library (default: %(default)s)")
    parser.add_argument("--rounds", type=int, help="turns of each library (default: 7, quick: 3)")
    parser.add_argument("--seconds", type=float, help="length of a turn (default: 0.25, quick: 0.05)")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    options = parser.parse_args(arguments)
    try:
        re.compile(options.filter)
    except re.error as error:
        parser.error(f"argument --filter: {options.filter!r} is no regular expression: {error}")
    parts = (*SECTIONS, "memory", "start")
    if not any(getattr(options, part) for part in parts):
        for part in parts:
            setattr(options, part, part != "start" or not options.filter)
    options.rounds = options.rounds or (3 if options.quick else 7)
    options.seconds = options.seconds or (0.05 if options.quick else 0.25)
    return options


def run_section(section: str, cases: Sequence[Case], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure and print the cases of a section."""
    pair: list[Process] = []

    def restart() -> None:
        for process in pair:
            process.close()
        pair[:] = [Process(library, options.threads) for library in (OURS, THEIRS)]

    print(f"\n{section.capitalize()} (ratio: torch's time / numbanet's)\n")
    headers = ("case", "numbanet ms", "torch ms", "ratio", "best", "GFLOP/s", "torch's", "error", "")
    table = Table(options.markdown, headers, (options.width, 11, 9, 6, 6, 7, 7, 6, 1))
    rows: list[dict[str, Any]] = []
    try:
        for case in cases:
            if section == "networks" or not pair:  # what one network leaves in memory must not be the next one's
                restart()
            row = measure(case, pair, options.rounds, options.seconds)
            if "problem" in row:
                table.note(case.name, row["problem"])
            else:
                table.line(cells(row))
            rows.append(row)
    finally:
        for process in pair:
            process.close()
    if any(row.get("others", 0) > _BUSY for row in rows):
        print("\n! other programs used more than 5 % of the machine meanwhile: measure again")
    report_section(section.capitalize(), rows)
    return rows


def run_memory(cases: Sequence[Case], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure and print the peak memory of networks."""
    print(
        "\nPeak memory in MB, beyond the import and in total (ratio: numbanet's / torch's, below 1: numbanet needs less)\n"
    )
    headers = ("case", "numbanet", "torch", "ratio", "numbanet total", "torch total", "ratio")
    table = Table(options.markdown, headers, (options.width, 8, 8, 6, 8, 8, 6))
    rows = []
    for case in cases:
        row = measure_memory(case, options.threads)
        rows.append(row)
        if "problem" in row:
            table.note(case.name, row["problem"])
            continue
        ours, theirs = row[OURS], row[THEIRS]
        beyond = [f"{(r['peak'] - r['baseline']) / 1e6:.0f}" for r in (ours, theirs)]
        total = [f"{r['peak'] / 1e6:.0f}" for r in (ours, theirs)]
        table.line([case.name, *beyond, f"{row['ratio']:.2f}", *total, f"{row['ratio_peak']:.2f}"])
    return rows


def run_start(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure and print what happens before the first step."""
    print("\nStart of a process\n")
    table = Table(options.markdown, ("what", "seconds"), (options.width, 8))
    rows = []
    for name, seconds in measure_start(options.threads, 3 if options.quick else 5):
        table.line([name, f"{seconds:.3f}"])
        rows.append({"case": name, "section": "start", "seconds": seconds})
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; returns 0 if everything ran and agreed."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if "--device=cuda" in given or ("--device", "cuda") in pairwise(given):
        from benchmarks import compare_cuda

        return compare_cuda.main(given)
    options = parse(given)
    chosen = [case for case in CASES.values() if re.search(options.filter, case.name)]
    if options.list:
        print("\n".join(case.name for case in chosen))
        return 0
    wanted = {section for section in SECTIONS if getattr(options, section)} | (
        {"networks"} if options.memory else set()
    )
    if not options.start and not any(case.section in wanted for case in chosen):
        print(f"no case of {', '.join(sorted(wanted))} matches {options.filter!r}; see --list", file=sys.stderr)
        return 2
    if importlib.util.find_spec(THEIRS) is None:
        print(
            "PyTorch is not installed: pip install torch --index-url https://download.pytorch.org/whl/cpu",
            file=sys.stderr,
        )
        return 2

    about = {}
    for library in (OURS, THEIRS):
        with Process(library, options.threads) as process:
            about[library] = process.about
    machine = report_machine(options.threads, about)
    options.width = max((len(case.name) for case in chosen), default=0)
    rows: list[dict[str, Any]] = []
    for section in SECTIONS:
        cases = [case for case in chosen if case.section == section]
        if cases and getattr(options, section):
            rows += run_section(section, cases, options)
    if options.memory:
        rows += run_memory([case for case in chosen if case.section == "networks"], options)
    if options.start:
        rows += run_start(options)

    if options.json:
        report = {"machine": machine, "rounds": options.rounds, "seconds": options.seconds, "rows": rows}
        Path(options.json).write_text(json.dumps(report, indent=1))
    problems = [row["case"] for row in rows if "problem" in row]
    if problems:
        print(f"\n{len(problems)} case(s) failed: {', '.join(problems)}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
