"""Reductions, running sums, and arithmetic."""

from __future__ import annotations

from tests.bad_calls import Bad

REDUCTIONS = ("sum", "amax", "logsumexp", "var", "std", "cumsum", "cumprod", "argmax", "count_nonzero", "max")

BAD = [
    *[
        Bad(f"{name} out of range", lambda lib, name=name: getattr(lib, name)(lib.ones(2, 3), dim=2), IndexError,
            f"{name}: dimension out of range: dim=2" if name != "count_nonzero" else "dimension out of range: dim=2")
        for name in REDUCTIONS
    ],
    *[
        Bad(f"{name} over a dimension twice", lambda lib, name=name: getattr(lib, name)(lib.ones(2, 3), dim=(0, -2)),
            RuntimeError, f"{name}: a dimension appears twice")
        for name in ("sum", "amax", "logsumexp", "var")
    ],
    *[
        Bad(f"{name} of ints", lambda lib, name=name: getattr(lib, name)(lib.tensor([1, 2])), RuntimeError, f"{name}: .*int64")
        for name in ("mean", "var", "std", "norm", "frac")
    ],
    *[
        Bad(f"{name} of nothing", lambda lib, name=name: getattr(lib, name)(lib.ones(2, 0), 1), IndexError,
            rf"{name}: expected at least one element .*\(2, 0\)")
        for name in ("amax", "amin", "max", "argmin")
    ],
    *[
        Bad(f"{name} of nothing at all", lambda lib, name=name: getattr(lib, name)(lib.ones(0)), RuntimeError,
            rf"{name}: expected at least one element .*\(0,\)")
        for name in ("amax", "amin", "max", "min", "aminmax")
    ],
    Bad("a negative norm of nothing", lambda lib: lib.linalg.vector_norm(lib.ones(0), -1), RuntimeError, r"vector_norm: .*-1.*\(0,\)"),
    Bad("kthvalue of nothing", lambda lib: lib.kthvalue(lib.ones(2, 0), 1), IndexError, r"kthvalue: .*\(2, 0\)"),
    Bad("unique of parts without elements", lambda lib: lib.unique(lib.ones(2, 0), dim=0), RuntimeError, r"unique: .*\(2, 0\)"),
    Bad("cumsum_ to another dtype", lambda lib: lib.ones(2).cumsum_(0, dtype=lib.float64), RuntimeError, "cumsum_: .*float64.*float32"),
    Bad("norm's p", lambda lib: lib.norm(lib.ones(2), "one"), (RuntimeError, ValueError), "norm: .*'one'", torch=False),
    Bad("diff of -1", lambda lib: lib.diff(lib.ones(3), -1), RuntimeError, "diff: .*-1"),
    Bad("diff of a number", lambda lib: lib.diff(lib.tensor(1.0)), RuntimeError, "diff: .*0-d"),
    Bad("clamp without bounds", lambda lib: lib.clamp(lib.ones(2)), RuntimeError, "clamp: at least one"),
    Bad("lerp of two dtypes", lambda lib: lib.lerp(lib.ones(2), lib.ones(2).double(), 0.5), RuntimeError,
        "lerp: .*float32, float64"),
    Bad("lerp of other shapes", lambda lib: lib.lerp(lib.ones(2), lib.ones(3), 0.5), RuntimeError,
        r"lerp: shapes \(2,\) and \(3,\)"),
    Bad("addcmul of other shapes", lambda lib: lib.addcmul(lib.ones(2), lib.ones(3), lib.ones(3)), RuntimeError,
        r"addcmul: shapes \(2,\) and \(3,\)"),
    Bad("addcdiv of ints", lambda lib: lib.addcdiv(lib.ones(2), lib.tensor([1, 2]), lib.tensor([1, 2])), RuntimeError,
        "addcdiv: cannot divide int64 by int64"),
    Bad("fmod by 0", lambda lib: lib.fmod(lib.tensor([1, 2]), 0), RuntimeError, "fmod: integer division by zero"),
    Bad("maximum of other shapes", lambda lib: lib.maximum(lib.ones(2), lib.ones(3)), RuntimeError,
        r"maximum: shapes \(2,\) and \(3,\)"),
    Bad("masked_fill by ints", lambda lib: lib.ones(2).masked_fill(lib.tensor([0, 1]), 1.0), RuntimeError,
        "masked_fill: .*int64"),
    Bad("masked_fill with a vector", lambda lib: lib.ones(2).masked_fill(lib.tensor([True, False]), lib.ones(2)), RuntimeError,
        r"masked_fill: .*\(2,\)"),
    Bad("addmm of other shapes", lambda lib: lib.addmm(lib.ones(3), lib.ones(2, 3), lib.ones(2, 3)), RuntimeError,
        "mm: shapes"),
    Bad("addmm's input", lambda lib: lib.addmm(lib.ones(5), lib.ones(2, 3), lib.ones(3, 4)), RuntimeError,
        r"addmm: .*\(5,\).*\(2, 4\)"),
    Bad("baddbmm of matrices", lambda lib: lib.baddbmm(lib.ones(2, 2), lib.ones(2, 2), lib.ones(2, 2)),
        (IndexError, RuntimeError),
        "bmm: expected shapes"),
]  # fmt: skip
