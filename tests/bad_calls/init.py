"""Initialisation."""

from __future__ import annotations

from typing import Any

from tests.bad_calls import Bad


def fill(name: str, *shape: int, dtype: str = "float32", **options: Any) -> Any:
    return lambda library: getattr(library.nn.init, name)(
        library.zeros(shape, dtype=getattr(library, dtype)), **options
    )


def gain(*args: Any) -> Any:
    return lambda library: library.nn.init.calculate_gain(*args)


CALLS = [
    # function, shape, options, exception, message, whether PyTorch raises it too
    ("uniform_", (3,), {"a": 1.0, "b": 0.0}, RuntimeError, r"uniform_: expected a <= b, got a=1.0, b=0.0", True),
    ("uniform_", (3,), {"dtype": "int64"}, NotImplementedError, "uniform_: .* floating tensors, got int64", True),
    ("uniform_", (3,), {"generator": 1}, TypeError, "generator must be .*Generator, got int", True),
    ("normal_", (3,), {"std": -1.0}, RuntimeError, "normal_: expected std >= 0, got std=-1.0", True),
    ("normal_", (3,), {"dtype": "int64"}, NotImplementedError, "normal_: .* floating tensors, got int64", True),
    ("normal_", (3,), {"generator": "x"}, TypeError, "generator must be .*Generator, got str", True),
    ("trunc_normal_", (3,), {"a": 2.0, "b": 1.0}, ValueError, "trunc_normal_: expected a < b, got a=2.0, b=1.0", False),
    ("trunc_normal_", (3,), {"std": -1.0}, ValueError, "trunc_normal_: expected std > 0, got std=-1.0", False),
    ("trunc_normal_", (3,), {"dtype": "int64"}, NotImplementedError, "trunc_normal_: .* got int64", True),
    ("eye_", (3,), {}, ValueError, r"eye_: .* 2 dimensions .* got shape \(3,\)", True),
    ("eye_", (2, 2, 2), {}, ValueError, r"eye_: .* 2 dimensions .* got shape \(2, 2, 2\)", True),
    ("dirac_", (3, 3), {}, ValueError, r"dirac_: .* 3, 4, or 5 dimensions .* got shape \(3, 3\)", True),
    ("dirac_", (1,) * 6, {}, ValueError, "dirac_: .* 3, 4, or 5 dimensions", True),
    ("dirac_", (3, 3, 1, 1), {"groups": 2}, ValueError, "dirac_: dim 0 must be divisible by groups=2", True),
    ("dirac_", (3, 3, 1), {"groups": 0}, ValueError, "dirac_: groups must be at least 1, got 0", False),
    ("xavier_uniform_", (3,), {}, ValueError, r"xavier_uniform_: .* 2 or more dimensions, got shape \(3,\)", True),
    ("xavier_uniform_", (0, 0), {}, ZeroDivisionError, r"xavier_uniform_: .* are 0 for shape \(0, 0\)", True),
    ("xavier_normal_", (), {}, ValueError, r"xavier_normal_: .* 2 or more dimensions, got shape \(\)", True),
    ("xavier_normal_", (4, 1), {"groups": 3}, ValueError, "xavier_normal_: groups must divide .* got groups=3", False),
    ("xavier_normal_", (3, 3), {"dtype": "int64"}, NotImplementedError, "floating tensors, got int64", True),
    ("kaiming_uniform_", (3,), {}, ValueError, r"kaiming_uniform_: .* got shape \(3,\)", True),
    ("kaiming_uniform_", (3, 3), {"mode": "fan"}, ValueError, "kaiming_uniform_: mode 'fan' is not supported", True),
    ("kaiming_uniform_", (3, 3), {"a": "x"}, ValueError, "negative_slope 'x' is not a valid number", True),
    ("kaiming_normal_", (3,), {}, ValueError, r"kaiming_normal_: .* got shape \(3,\)", True),
    ("kaiming_normal_", (3, 3), {"mode": "both"}, ValueError, "kaiming_normal_: mode 'both' is not supported", True),
    ("kaiming_normal_", (3, 3), {"nonlinearity": "swish"}, ValueError, "unsupported nonlinearity 'swish'", True),
    ("kaiming_normal_", (4, 1), {"groups": 0}, ValueError, "kaiming_normal_: groups must divide .* got groups=0", False),
    ("orthogonal_", (3,), {}, ValueError, r"orthogonal_: .* 2 or more dimensions .* got shape \(3,\)", True),
    ("orthogonal_", (3, 3), {"dtype": "int64"}, NotImplementedError, "orthogonal_: .* got int64", True),
    ("sparse_", (3,), {"sparsity": 0.1}, ValueError, r"sparse_: .* 2 dimensions .* got shape \(3,\)", True),
    ("sparse_", (3, 3), {"sparsity": 0.1, "dtype": "int64"}, NotImplementedError, "sparse_: .* got int64", True),
]  # fmt: skip

BAD = [
    *[
        Bad(f"{name} {shape} {options}", fill(name, *shape, **options), error, message, torch)
        for name, shape, options, error, message, torch in CALLS
    ],
    Bad("gain of an unknown function", gain("swish"), ValueError, "calculate_gain: unsupported nonlinearity 'swish'"),
    Bad("gain of None", gain(None), ValueError, "calculate_gain: unsupported nonlinearity None"),
    Bad("gain of a word", gain("leaky_relu", "x"), ValueError, "negative_slope 'x' is not a valid number"),
    Bad("gain of a truth", gain("leaky_relu", True), ValueError, "negative_slope True is not a valid number"),
]
