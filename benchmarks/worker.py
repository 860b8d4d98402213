"""A process that runs cases with one library, on orders from ``compare_torch.py``: ``python -m benchmarks.worker LIBRARY``.

Orders come as one line of JSON each on the standard input, and each is answered by a line of JSON on the standard
output: ``{"do": "prepare", "case": NAME, "results": FILE}``, ``{"do": "time", "seconds": S}``, ``{"do": "drop"}``,
``{"do": "memory", "case": NAME, "calls": N}``. Before the first, a line tells of the library. The process ends with its input.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from typing import Any

import numpy as np

from benchmarks.cases import CASES

_SHORTEST = 0.002  # seconds: calls are timed in groups that last at least so long
_LONG = 0.1  # seconds: longer calls need no further ones to warm up


def peak_memory() -> int:
    """The most memory this process has had, in bytes; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Worker:
    """Does what the orders say; ``threads`` are those of the library's kernels."""

    def __init__(self, library: str, threads: int) -> None:
        start = time.perf_counter()
        self.library = importlib.import_module(library)
        if library == "numbanet":
            from numbanet import nn, optim  # noqa: F401 - imported at first use otherwise
        self.import_seconds = time.perf_counter() - start
        self.library.set_num_threads(threads)
        self.baseline = peak_memory()
        self.run: Any = None
        self.number = 1
        self.long = False

    def hello(self) -> dict[str, Any]:
        """The library's version and what its import cost."""
        version = str(self.library.__version__)
        return {"version": version, "import_seconds": self.import_seconds, "import_bytes": self.baseline}

    def prepare(self, case: str, results: str) -> dict[str, Any]:
        """Make the case's function, write what it returns at its first call to ``results`` (.npz), and warm up."""
        chosen = CASES[case]
        flops = chosen.flops(self.library) if callable(chosen.flops) else chosen.flops
        start = time.perf_counter()
        self.run = chosen.make(self.library)
        values = chosen.check(self.library, self.run) if chosen.check else []
        np.savez(results, *[np.asarray(v.detach().numpy()) for v in values])
        del values
        first = time.perf_counter() - start
        took = self._once(1)
        self.long = took > _LONG
        if not self.long:
            took = min(self._once(1) for _ in range(3))
        self.number = max(1, int(_SHORTEST / took))
        return {"flops": flops, "first_seconds": first}

    def _once(self, number: int) -> float:
        """Seconds of one call, from ``number`` of them."""
        run = self.run
        start = time.perf_counter()
        for _ in range(number):
            run()
        return (time.perf_counter() - start) / number

    def time(self, seconds: float) -> dict[str, Any]:
        """Seconds of one call, best and median, from as many groups of calls as fit into ``seconds``: three at least, or one where a
        single call takes long."""
        if not self.long:
            self._once(1)  # wakes the threads, and brings the data back into the caches after the other library's turn
        collecting = gc.isenabled()
        gc.disable()
        cpu, start = time.process_time(), time.perf_counter()
        samples: list[float] = []
        least = 1 if self.long else 3
        while len(samples) < least or (time.perf_counter() - start < seconds and len(samples) < 1000):
            samples.append(self._once(self.number))
        cpu = time.process_time() - cpu
        if collecting:
            gc.enable()
        return {"best": min(samples), "median": float(np.median(samples)), "samples": len(samples), "cpu": cpu}

    def drop(self) -> dict[str, Any]:
        """Forget the case."""
        self.run = None
        gc.collect()
        return {}

    def memory(self, case: str, calls: int) -> dict[str, Any]:
        """The peak of a process that does nothing else: makes the case's function and calls it some times."""
        run = CASES[case].make(self.library)
        for _ in range(calls):
            run()
        return {"peak": peak_memory(), "baseline": self.baseline}


def main() -> None:
    # What a library prints must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    library, threads = sys.argv[1], int(sys.argv[2])
    worker = Worker(library, threads)
    print(json.dumps(worker.hello()), file=answers, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = getattr(worker, order.pop("do"))(**order)
        except Exception as error:
            worker.run = None
            answer = {"error": f"{type(error).__name__}: {error}".partition("\n")[0]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
