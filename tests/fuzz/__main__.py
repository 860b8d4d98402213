"""Run random cases: ``python -m tests.fuzz [--family NAME] [--seed N] [--count N] [--torch]``.

Each case runs twice, plain and under ``guards.Guards``, forward and backward, and must give the same bits, or refuse with
the same exception. Before a case runs, it is written to the file ``--case``, so that it is known if the process dies.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import numbanet
from numbanet import optim
from tests.fuzz.families import FAMILIES, Case, draw_case
from tests.fuzz.guards import Guards, KernelFault
from tests.operators import FUNCTIONS, RANDOM, Array, Example, all_kernels, draw_all, make_layer, tensors_in

# What a call may raise; anything else (KeyError, AssertionError, numba's errors, ...) is a bug.
REFUSALS = (ValueError, TypeError, RuntimeError, IndexError, NotImplementedError, OverflowError)
PLENTY = 30  # failures after which a run stops


def run_case(case: Case, library: Any = numbanet) -> list[Any]:
    """What a case gives: outputs, then gradients, as arrays."""
    library.manual_seed(case.seed)
    dtype = np.dtype(case.dtype)
    if case.kind == "kernel":
        rng = np.random.default_rng(case.seed)
        arrays = [a.draw(rng, dtype) if isinstance(a, Array) else a for a in case.args]
        all_kernels()[case.name](*arrays)
        return [a for a in arrays if isinstance(a, np.ndarray)]
    if case.kind == "optimizer":
        return _run_optimizer(case, library, dtype)
    if case.kind == "layer":
        layer = make_layer(case.name, case.args, case.kwargs, library, dtype)
        given: Any = draw_all(case.inputs, library, dtype, case.seed)
        leaves = [t for t in [*tensors_in(given), *layer.parameters()] if t.requires_grad]
        outputs = layer(*given)
    else:
        given = draw_all((case.args, case.kwargs), library, dtype, case.seed)
        leaves = [t for t in tensors_in(given) if t.requires_grad]
        like = FUNCTIONS.get(case.name)
        called = Example((), {}, like.ours if like else None, like.theirs if like else None)
        outputs = called.call(case.name, library, *given)
    results = tensors_in(outputs) if isinstance(outputs, list | tuple) or tensors_in(outputs) else [outputs]
    floating = [o for o in results if getattr(o, "requires_grad", False)]
    values = [_plain(o) for o in results]
    if floating and leaves:
        rng = np.random.default_rng(case.seed + 1)
        starts = [library.from_numpy(np.asarray(rng.standard_normal(tuple(o.shape)), _dtype(o))) for o in floating]
        values += [_plain(g) for g in library.autograd.grad(floating, leaves, starts, allow_unused=True)]
    values += [_plain(t) for t in tensors_in(given)]  # a function may change only what it is meant to change
    return values


def _dtype(tensor: Any) -> np.dtype:
    return np.dtype(str(tensor.dtype).removeprefix("torch."))


def _plain(value: Any) -> Any:
    return np.array(value.detach().numpy()) if hasattr(value, "detach") else value


def _run_optimizer(case: Case, library: Any, dtype: Any) -> list[Any]:
    parameters = [p.detach().requires_grad_() for p in draw_all(case.inputs, library, dtype, case.seed)]
    optimizer = getattr(library.optim if library is not numbanet else optim, case.name)(parameters, **case.kwargs)
    rng = np.random.default_rng(case.seed + 1)
    for _ in range(3):
        for parameter in parameters:
            parameter.grad = library.from_numpy(np.asarray(rng.standard_normal(tuple(parameter.shape)), dtype))
        optimizer.step()
    return [_plain(p) for p in parameters]


def attempt(case: Case, library: Any = numbanet) -> tuple[list[Any] | None, BaseException | None]:
    """(results, None) or (None, the exception)."""
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return run_case(case, library), None
    except KernelFault:
        raise
    except Exception as error:
        return None, error


def same_bits(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.shape == b.shape and a.dtype == b.dtype and bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))
    return type(a) is type(b) and (a == b or a != a)


def check(case: Case, guards: Guards) -> tuple[str, str | None]:
    """("ran" or "refused", what is wrong with it or None)."""
    plain, error = attempt(case)
    if error is not None and (not isinstance(error, REFUSALS) or type(error).__module__.startswith("numba.")):
        return "refused", f"raised {type(error).__module__}.{type(error).__name__}: {str(error)[:300]}"
    try:
        with guards:
            guarded, error_again = attempt(case)
    except KernelFault as fault:
        return "ran", str(fault)
    if type(error) is not type(error_again):
        return "refused", f"raised {error!r:.200} and between guards {error_again!r:.200}"
    if plain is None or guarded is None:
        return "refused", None
    if len(plain) != len(guarded):
        return "ran", f"gave {len(plain)} results, and between guards {len(guarded)}"
    for position, (a, b) in enumerate(zip(plain, guarded, strict=True)):
        if not same_bits(a, b):
            return (
                "ran",
                f"result {position} differs between guards (something outside was read, or not all written): {a!r:.200} {b!r:.200}",
            )
    return "ran", None


def against_torch(case: Case) -> str | None:
    """Where PyTorch's answer is another; None where both agree or PyTorch has no such function."""
    import torch

    like = FUNCTIONS.get(case.name, Example(()))
    if case.kind == "kernel" or (case.kind == "function" and like.function(case.name, torch) is None):
        return None
    if case.kind != "function" and not hasattr(torch.nn if case.kind == "layer" else torch.optim, case.name):
        return None
    ours, our_error = attempt(case)
    theirs, their_error = attempt(case, torch)
    if (our_error is None) != (their_error is None):
        return f"numbanet: {our_error!r:.250}; PyTorch: {their_error!r:.250}"
    if ours is None or theirs is None or case.name in RANDOM:
        return None
    tolerance = 1e-3 if case.dtype == "float32" else 1e-8
    for position, (a, b) in enumerate(zip(ours, theirs, strict=False)):
        if a is None or b is None:
            if (a is None) != (b is None) and np.any(np.asarray(a if b is None else b) != 0):
                return f"result {position}: {a!r:.150} but PyTorch's {b!r:.150}"
            continue
        a, b = np.asarray(a), np.asarray(b)
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"result {position}: {a.dtype}{a.shape} but PyTorch's {b.dtype}{b.shape}"
        if a.dtype.kind == "f":
            finite = b[np.isfinite(b)]
            scale = float(np.abs(finite).max()) if finite.size else 0.0
            if not np.allclose(a, b, tolerance, tolerance * min(scale, 1e30) + 1e-12, equal_nan=True):
                return f"result {position}: {a!r:.150} but PyTorch's {b!r:.150}"
        elif not np.array_equal(a, b):
            return f"result {position}: {a!r:.150} but PyTorch's {b!r:.150}"
    return None


def cases(family: str | None, seed: int, count: int) -> Iterator[tuple[str, Case]]:
    """``count`` cases, the families in their proportions; the same for the same seed."""
    chosen = {make: share for make, share in FAMILIES.items() if family in (None, make.__name__)}
    order = [make for make, share in chosen.items() for _ in range(share)]
    np.random.default_rng(seed).shuffle(order)  # type: ignore[arg-type]
    for number in range(count):
        make = order[number % len(order)]
        yield make.__name__, draw_case(make, seed * 1_000_003 + number)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--family", choices=[make.__name__ for make in FAMILIES])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--case", type=Path, default=Path(tempfile.gettempdir()) / "numbanet_fuzz_case.txt")
    parser.add_argument("--report", type=Path, help="write what was found as JSON")
    parser.add_argument("--torch", action="store_true", help="also compare with PyTorch (nothing fails for it)")
    options = parser.parse_args(arguments)
    guards, tally, failures, start = Guards(), {}, [], time.perf_counter()
    seen: Counter[tuple[str, str]] = Counter()
    with options.case.open("w+b") as note:
        for family, case in cases(options.family, options.seed, options.count):
            note.seek(0)
            note.truncate()
            note.write(repr(case).encode())
            note.flush()
            outcome, wrong = check(case, guards)
            counts = tally.setdefault(family, Counter())
            counts[outcome] += 1
            if wrong is not None:
                counts["failed"] += 1
                failures.append({"family": family, "case": repr(case), "wrong": wrong})
                print(f"{case}\n    {wrong}", file=sys.stderr)
            elif options.torch and (different := against_torch(case)) is not None:
                seen[case.name, different[:12]] += 1
                if seen[case.name, different[:12]] <= 3:
                    print(f"{case}\n    {different}", file=sys.stderr)
            if len(failures) >= PLENTY:
                break
    report = {
        "seconds": round(time.perf_counter() - start, 1),
        "families": tally,
        "failures": failures,
        "kernels": dict(guards.calls),
        "judged": guards.judged,
    }
    if options.report:
        options.report.write_text(json.dumps(report, indent=1))
    for family, counts in tally.items():
        print(f"{family:15}", ", ".join(f"{counts[key]} {key}" for key in ("ran", "refused", "failed")))
    print(f"{guards.judged} calls of {sum(guards.calls.values())} beside the reference, {report['seconds']} s")
    return 1 if failures else 0


def replay(text: str) -> list[Any]:
    """Run a case from its printed form."""
    from tests.operators import b, f, i

    names = {"Case": Case, "f": f, "i": i, "b": b, "dtype": np.dtype, "nan": np.nan, "inf": np.inf, "Ellipsis": ...}
    return run_case(eval(text, names))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
