"""Compare with PyTorch on a GPU: ``python benchmarks/compare_torch.py --device cuda [--output FILE.md]``.

Each library runs in a process of its own, one after the other, and writes a line of JSON for each case; this process
joins the lines to tables. Where PyTorch with CUDA is not installed, numbanet is measured alone.

What is timed lies between two CUDA events, after a warm-up; a figure is the median of several rounds. Inputs go round
through so many copies that none is found in the L2 cache. PyTorch runs with cuDNN's benchmark mode, contiguous and in
channels_last, and the better of the two counts. In the simulator (``--dry-run``) everything runs at toy sizes and the times
mean nothing.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
if not __package__:
    sys.path[0] = str(ROOT)

from benchmarks.case import random  # noqa: E402
from benchmarks.cases import CONVOLUTIONS, Convolution  # noqa: E402
from benchmarks.networks import NETWORKS, Network, give_weights, images, multiply_adds  # noqa: E402

OURS, THEIRS = "numbanet", "torch"
PRECISIONS = ("tf32", "bf16")
LAYOUTS = {OURS: ("contiguous",), THEIRS: ("contiguous", "channels_last")}


class NotAvailable(Exception):
    """Something that a library or this device does not offer: the table says so, and nothing has failed."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        networks: names of ``NETWORKS``.
        batches: images of a step.
        convolutions: layers.
        numbers: elements of the arrays of memory-bound operations.
        square: edge of the matrices whose product is taken for the device's peak.
        rounds: figures of which the median is taken.
        seconds: length of a round.
        warmup: calls before the first round.
    """

    networks: tuple[str, ...]
    batches: tuple[int, ...]
    convolutions: tuple[Convolution, ...]
    numbers: int
    square: int
    rounds: int
    seconds: float
    warmup: int


FULL = Sizes(
    networks=tuple(NETWORKS), batches=(128, 256), convolutions=tuple(CONVOLUTIONS), numbers=1 << 26, square=8192,
    rounds=7, seconds=0.5, warmup=3,
)  # fmt: skip
QUICK = replace(FULL, batches=(128,), rounds=3, seconds=0.1)


def _toy(library: Any) -> Any:
    nn = library.nn
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2, 10))


TOY_NETWORK = Network(_toy, 2, 4, 50)
DRY = Sizes(
    networks=("toy",), batches=(2,), convolutions=(Convolution(1, 1, 4, 2, 3),), numbers=24, square=4,
    rounds=2, seconds=0.0, warmup=1,
)  # fmt: skip


# ------------------------------------------------------------------------------------------- one library on a device


class Library:
    """What differs between the two libraries.

    Args:
        name: "numbanet" or "torch".
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.module = importlib.import_module(name)
        if not self.module.cuda.is_available():
            raise NotAvailable(f"{name}: CUDA is not available")
        self.simulated = False
        if name == OURS:
            from numbanet import devices

            self.simulated = devices.SIMULATOR
            if self.simulated:  # which runs a thread of the system for each of the kernel's
                from numbanet.kernels import launch

                launch.THREADS, launch.TILE = 8, 2
        else:
            self.module.backends.cudnn.benchmark = True

    def tensor(self, array: np.ndarray, layout: str = "contiguous") -> Any:
        there = self.module.from_numpy(array).to("cuda")
        if layout == "channels_last" and there.ndim == 4:
            there = there.to(memory_format=self.module.channels_last)
        return there

    def network(self, build: Callable[[Any], Any], layout: str) -> Any:
        net = build(self.module)
        give_weights(self.module, net)
        net = net.to("cuda")
        return net.to(memory_format=self.module.channels_last) if layout == "channels_last" else net

    def precise(self, precision: str) -> Callable[[], Any]:
        """Makes the context in which forward passes run.

        Raises:
            NotAvailable: where the library has no such precision.
        """
        if precision == "bf16":
            if self.name == THEIRS:
                return lambda: self.module.autocast("cuda", dtype=self.module.bfloat16)
            try:
                amp = importlib.import_module("numbanet.amp")
                half = self.module.bfloat16
            except (ImportError, AttributeError):
                raise NotAvailable("not available: numbanet has no bfloat16 autocast") from None
            if self.simulated:
                raise NotAvailable("not available: the simulator has no bfloat16")
            self._tensor_cores()
            return lambda: amp.autocast("cuda", dtype=half)
        if self.name == THEIRS:
            self.module.backends.cuda.matmul.allow_tf32 = self.module.backends.cudnn.allow_tf32 = True
        elif not self.simulated:
            self._tensor_cores()
        return nullcontext

    def _tensor_cores(self) -> None:
        """Switch numbanet's kernels on tensor cores on, where there are some."""
        try:
            backends = importlib.import_module("numbanet.backends")
        except ImportError:
            return  # plain float32
        backends.cuda.tensor_cores = backends.cuda.matmul.allow_tf32 = backends.cudnn.allow_tf32 = True

    def l2_cache(self) -> int:
        return int(self.module.cuda.get_device_properties("cuda").L2_cache_size) or 1 << 26

    def milliseconds(self, run: Callable[[int], Any], sizes: Sizes) -> float:
        """Median time of ``run(i)``, i counting its calls, between CUDA events."""
        calls = 0

        def several(count: int) -> float:
            nonlocal calls
            start, end = (self.module.cuda.Event(enable_timing=True) for _ in range(2))
            before = time.perf_counter()
            start.record()
            for _ in range(count):
                run(calls)
                calls += 1
            end.record()
            end.synchronize()
            if self.simulated:
                return (time.perf_counter() - before) * 1e3 / count
            return float(start.elapsed_time(end)) / count

        for _ in range(sizes.warmup):
            once = several(1)
        count = max(1, min(1000, math.ceil(sizes.seconds * 1e3 / max(once, 1e-3))))
        return statistics.median(several(count) for _ in range(sizes.rounds))


# ------------------------------------------------------------------------------------------------------------- cases


@dataclass(frozen=True)
class Row:
    """A case of one section: how it is called, and what makes the function to time.

    Attributes:
        section: "networks", "convolutions", "bandwidth" or "peak".
        case: its name.
        make: (library, layout) -> (function of the call's number, what else the row says).
        layouts: whether other memory layouts may be tried.
    """

    section: str
    case: str
    make: Callable[[Library, str], tuple[Callable[[int], Any], dict[str, Any]]]
    layouts: bool = True


def rounds_past_cache(library: Library, make: Callable[[], Any], nbytes: int) -> list[Any]:
    """So many copies of an input that going through them leaves none in the L2 cache (8 at most)."""
    count = 2 if library.simulated else min(8, max(2, math.ceil(2 * library.l2_cache() / max(nbytes, 1)) + 1))
    return [make() for _ in range(count)]


def network_rows(name: str, batch: int, precision: str) -> Iterator[Row]:
    network = TOY_NETWORK if name == "toy" else NETWORKS[name]

    def inputs(library: Library, layout: str) -> list[tuple[Any, Any]]:
        x, y = images(network, batch)
        return rounds_past_cache(library, lambda: (library.tensor(x, layout), library.tensor(y)), x.nbytes)

    def training(library: Library, layout: str) -> tuple[Callable[[int], Any], dict[str, Any]]:
        context, module = library.precise(precision), library.module
        net, given = library.network(network.build, layout), inputs(library, layout)
        optimizer, loss_of = module.optim.SGD(net.parameters(), lr=0.01), module.nn.CrossEntropyLoss()

        def run(i: int) -> Any:
            x, y = given[i % len(given)]
            optimizer.zero_grad()
            with context():
                loss = loss_of(net(x), y)
            loss.backward()
            optimizer.step()
            return loss

        total, first = multiply_adds(module, network)
        return run, {"flops": 2.0 * batch * (3 * total - first), "images": batch, "peak": True}

    def inference(library: Library, layout: str) -> tuple[Callable[[int], Any], dict[str, Any]]:
        context, module = library.precise(precision), library.module
        net, given = library.network(network.build, layout).eval(), inputs(library, layout)

        def run(i: int) -> Any:
            with module.no_grad(), context():
                return net(given[i % len(given)][0])

        return run, {"flops": 2.0 * batch * multiply_adds(module, network)[0], "images": batch}

    yield Row("networks", f"train/{name} {batch} {precision}", training)
    yield Row("networks", f"infer/{name} {batch} {precision}", inference)


def convolution_rows(layer: Convolution, precision: str) -> Iterator[Row]:
    def forward(library: Library, layout: str) -> tuple[Callable[[int], Any], dict[str, Any]]:
        context, arrays = library.precise(precision), layer.arrays()
        weight, bias = library.tensor(arrays[1], layout), library.tensor(arrays[2])
        given = rounds_past_cache(library, lambda: library.tensor(arrays[0], layout), arrays[0].nbytes)

        def run(i: int) -> Any:
            with library.module.no_grad(), context():
                return layer.apply(library.module, given[i % len(given)], weight, bias)

        return run, {"flops": layer.flops, "precision": precision}

    def backward(library: Library, layout: str) -> tuple[Callable[[int], Any], dict[str, Any]]:
        context, arrays = library.precise(precision), layer.arrays()
        weight = library.tensor(arrays[1], layout).requires_grad_()

        def one() -> tuple[Any, Any, Any]:
            x = library.tensor(arrays[0], layout).requires_grad_()
            with context():
                y = layer.apply(library.module, x, weight)
            return x, y, library.tensor(arrays[3], layout).to(y.dtype)

        given = rounds_past_cache(library, one, arrays[0].nbytes + arrays[3].nbytes)

        def run(i: int) -> Any:
            x, y, dy = given[i % len(given)]
            return library.module.autograd.grad(y, [x, weight], dy, retain_graph=True)

        return run, {"flops": 2 * layer.flops, "precision": precision}

    yield Row("convolutions", f"conv2d/forward/{layer} {precision}", forward)
    yield Row("convolutions", f"conv2d/backward/{layer} {precision}", backward)


def bandwidth_rows(numbers: int) -> Iterator[Row]:
    """Operations that are bound by memory: (name, function of the library and a tensor, bytes for each float32)."""
    size = max(2, math.isqrt(numbers // 6))
    size -= size % 2
    shape = (1, 6, size, size)
    operations: list[tuple[str, Callable[[Any, Any], Any], float]] = [
        ("copy", lambda library, x: x.clone(), 8),
        ("relu", lambda library, x: library.relu(x), 8),
        ("add", lambda library, x: x + x, 8),
        ("sigmoid", lambda library, x: library.sigmoid(x), 8),
        ("sum", lambda library, x: x.sum(), 4),
        ("softmax", lambda library, x: library.softmax(x, 3), 8),
        ("max_pool2d 2/2", lambda library, x: library.nn.functional.max_pool2d(x, 2), 5),
        ("avg_pool2d 2/2", lambda library, x: library.nn.functional.avg_pool2d(x, 2), 5),
        ("transpose", lambda library, x: x.transpose(2, 3).contiguous(), 8),
    ]
    for name, function, each in operations:

        def make(library: Library, layout: str, function: Any = function, each: float = each) -> Any:
            array = random("x", *shape)
            given = rounds_past_cache(library, lambda: library.tensor(array), array.nbytes)

            def run(i: int) -> Any:
                with library.module.no_grad():
                    return function(library.module, given[i % len(given)])

            return run, {"bytes": each * array.size}

        yield Row("bandwidth", name, make, layouts=False)


def peak_rows(square: int) -> Iterator[Row]:
    """A large matrix product in each precision: what the convolutions are measured by."""
    for precision in PRECISIONS:

        def make(library: Library, layout: str, precision: str = precision) -> Any:
            context = library.precise(precision)
            a, b = (library.tensor(random(letter, square, square)) for letter in "ab")

            def run(i: int) -> Any:
                with library.module.no_grad(), context():
                    return a @ b

            return run, {"flops": 2.0 * square**3, "precision": precision}

        yield Row("peak", f"matmul {square} {precision}", make, layouts=False)


def all_rows(sizes: Sizes) -> list[Row]:
    """Every case, in the order of the tables."""
    rows = [*peak_rows(sizes.square)]
    for name in sizes.networks:
        for batch in sizes.batches:
            for precision in PRECISIONS:
                rows += network_rows(name, batch, precision)
    for layer in sizes.convolutions:
        for precision in PRECISIONS:
            rows += convolution_rows(layer, precision)
    return [*rows, *bandwidth_rows(sizes.numbers)]


def measure(library: Library, row: Row, sizes: Sizes) -> dict[str, Any]:
    """One case by one library: the best layout's time, and peak memory; or why there is none."""
    found: dict[str, Any] = {"section": row.section, "case": row.case}
    cuda = library.module.cuda
    for layout in LAYOUTS[library.name] if row.layouts else ("contiguous",):
        try:
            cuda.empty_cache()
            run, more = row.make(library, layout)
            cuda.reset_peak_memory_stats()
            ms = library.milliseconds(run, sizes)
            peak = cuda.max_memory_allocated()
        except NotAvailable as reason:
            return found | {"problem": str(reason)}
        except RuntimeError as error:  # out of memory, a missing twin: the others are still wanted
            found.setdefault("problem", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
            continue
        if ms < found.get("ms", math.inf):
            found |= more | {"ms": ms, "layout": layout}
            if found.pop("peak", False):
                found["memory"] = peak
        del run
    if "ms" in found:
        found.pop("problem", None)
    return found


def work(name: str, sizes: Sizes, only: str = "") -> int:
    """A library's process: a line of JSON about it, then one for each case."""
    try:
        library = Library(name)
    except (ImportError, NotAvailable) as reason:
        print(json.dumps({"missing": str(reason) or name}), flush=True)
        return 0
    cuda = library.module.cuda
    about = {
        "library": name,
        "version": library.module.__version__,
        "device": cuda.get_device_name(),
        "capability": list(cuda.get_device_capability()),
    }
    if name == THEIRS:
        about |= {"cuda": library.module.version.cuda, "cudnn": library.module.backends.cudnn.version()}
    print(json.dumps(about), flush=True)
    for row in all_rows(sizes):
        if only in row.case:
            print(json.dumps(measure(library, row, sizes)), flush=True)
    return 0


# ------------------------------------------------------------------------------------------------------------ tables


def join(ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of both libraries by case, with the ratio of their times, and shares of the measured peaks."""
    other = {row["case"]: row for row in theirs}
    best: dict[str, float] = {}
    for row in [*ours, *theirs]:
        if row["section"] == "peak" and "ms" in row:
            key = row["precision"]
            best[key] = max(best.get(key, 0.0), row["flops"] / row["ms"] / 1e9)
        if row["section"] == "bandwidth" and "ms" in row:
            best["bytes"] = max(
                best.get("bytes", 0.0), row["bytes"] / row["ms"] / 1e6 if row["case"] == "copy" else 0.0
            )
    joined = []
    for row in ours:
        made: dict[str, Any] = {"section": row["section"], "case": row["case"], OURS: row}
        if row["case"] in other:
            made[THEIRS] = other[row["case"]]
            if "ms" in row and "ms" in made[THEIRS]:
                made["ratio"] = made[THEIRS]["ms"] / row["ms"]
        if "ms" in row:
            if row["section"] == "convolutions" and best.get(row["precision"]):
                made["share"] = row["flops"] / row["ms"] / 1e9 / best[row["precision"]]
            if row["section"] == "bandwidth" and best.get("bytes"):
                made["share"] = row["bytes"] / row["ms"] / 1e6 / best["bytes"]
        joined.append(made)
    return joined


def markdown(about: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]], dry: bool) -> str:
    """The tables, as docs/performance.md has them."""

    def ms(row: dict[str, Any] | None) -> str:
        if row is None:
            return "-"
        return f"{row['ms']:.3f}" if "ms" in row else "not available" if "not avail" in row["problem"] else "failed"

    def ratio(row: dict[str, Any]) -> str:
        return f"{row['ratio']:.2f}" if "ratio" in row else "-"

    def mb(row: dict[str, Any] | None) -> str:
        return f"{row['memory'] / 1e6:.0f}" if row and "memory" in row else "-"

    first = about[0]
    lines = [f"# {first['device']}, compute capability {first['capability'][0]}.{first['capability'][1]}", ""]
    if dry:
        lines += ["A dry run at toy sizes: the times mean nothing.", ""]
    for found in about:
        if "missing" in found:
            lines.append(f"- {found['missing']}: not measured")
            continue
        extra = "".join(f", {key} {found[key]}" for key in ("cuda", "cudnn") if found.get(key))
        lines.append(f"- {found['library']} {found['version']}{extra}")
    titles = {
        "peak": "Matrix products: the measured peak",
        "networks": "Networks",
        "convolutions": "Convolutions",
        "bandwidth": "Operations bound by memory",
    }
    for section, title in titles.items():
        chosen = [row for row in rows if row["section"] == section]
        if not chosen:
            continue
        lines += ["", f"## {title}", ""]
        heads = ["case", "numbanet ms", "torch ms", "ratio"]
        heads += {"networks": ["images/s", "peak MB", "torch's"], "bandwidth": ["GB/s", "share of a copy's"]}.get(
            section, ["TFLOP/s"] + (["share of peak"] if section == "convolutions" else [])
        )
        lines += ["| " + " | ".join(heads) + " |", "| --- |" + " ---: |" * (len(heads) - 1)]
        for row in chosen:
            ours, theirs = row[OURS], row.get(THEIRS)
            cells = [row["case"], ms(ours), ms(theirs), ratio(row)]
            timed = "ms" in ours
            if section == "networks":
                cells += [f"{ours['images'] / ours['ms'] * 1e3:.0f}" if timed else "-", mb(ours), mb(theirs)]
            elif section == "bandwidth":
                cells.append(f"{ours['bytes'] / ours['ms'] / 1e6:.0f}" if timed else "-")
            else:
                cells.append(f"{ours['flops'] / ours['ms'] / 1e9:.1f}" if timed else "-")
            if section in ("bandwidth", "convolutions"):
                cells.append(f"{row['share']:.0%}" if "share" in row else "-")
            lines.append("| " + " | ".join(cells) + " |")
        ratios = [row["ratio"] for row in chosen if "ratio" in row]
        if len(ratios) > 1:
            lines += ["", f"Geometric mean of {len(ratios)} ratios: {statistics.geometric_mean(ratios):.2f}"]
    failed = [(row["case"], row[OURS]["problem"]) for row in rows if "problem" in row[OURS]]
    if failed:
        lines += ["", "## What did not run", "", *(f"- {case}: {problem}" for case, problem in failed)]
    lines += [
        "",
        "Ratio: PyTorch's time (the better of contiguous and channels_last) / numbanet's; above 1 numbanet is faster.",
    ]
    return "\n".join(lines) + "\n"


def run_library(name: str, arguments: Sequence[str]) -> tuple[dict[str, Any], list[dict[str, Any]], bool]:
    """(about the library, its rows, whether its process ended well)."""
    command = [sys.executable, "-m", "benchmarks.compare_cuda", "--worker", name, *arguments]
    about: dict[str, Any] = {"missing": f"{name} gave no answer"}
    rows: list[dict[str, Any]] = []
    with subprocess.Popen(command, cwd=ROOT, env=dict(os.environ), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for i, line in enumerate(process.stdout):
            if i == 0:
                about = json.loads(line)
                continue
            rows.append(json.loads(line))
            last = rows[-1]
            print(f"{name:<9} {last['case']:<48} {last['ms']:.3f} ms" if "ms" in last
                  else f"{name:<9} {last['case']:<48} {last['problem']}", flush=True)  # fmt: skip
    return about, rows, process.returncode == 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the tables and the figures; returns 0 where all of numbanet's cases ran."""
    parser = argparse.ArgumentParser(description="Compare numbanet with PyTorch on a GPU.")
    parser.add_argument("--device", default="cuda", choices=["cuda"], help=argparse.SUPPRESS)
    parser.add_argument(
        "--output", default="gpu-report.md", metavar="FILE", help="tables (default: %(default)s); JSON beside it"
    )
    parser.add_argument("--filter", default="", metavar="TEXT", help="only cases that have TEXT in their names")
    parser.add_argument("--quick", action="store_true", help="one batch size, shorter rounds")
    parser.add_argument("--dry-run", action="store_true", help="toy sizes, also in the simulator: does it all run?")
    parser.add_argument("--worker", choices=[OURS, THEIRS], help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    sizes = DRY if options.dry_run else QUICK if options.quick else FULL
    if options.worker:
        return work(options.worker, sizes, options.filter)
    passed = ["--filter", options.filter]
    passed += ["--quick"] * options.quick + ["--dry-run"] * options.dry_run
    about, found, well = zip(*(run_library(name, passed) for name in (OURS, THEIRS)), strict=True)
    if "missing" in about[0]:
        print(f"numbanet was not measured: {about[0]['missing']}", file=sys.stderr)
        return 2
    rows = join(found[0], found[1])
    output = Path(options.output)
    output.write_text(markdown(about, rows, options.dry_run), encoding="utf-8")
    output.with_suffix(".json").write_text(json.dumps({"about": about, "rows": rows}, indent=1), encoding="utf-8")
    print(f"tables in {output}, figures in {output.with_suffix('.json')}")
    failed = [row["case"] for row in rows if "problem" in row[OURS] and "not available" not in row[OURS]["problem"]]
    if failed or not well[0]:
        print(
            f"{len(failed)} case(s) failed{'' if well[0] else '; the process broke off'}: {', '.join(failed)}",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
