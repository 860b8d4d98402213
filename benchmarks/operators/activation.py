"""Activations and dropout, on the feature maps of a network's early layers."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.case import Case, backward, forward, passes, random

BIG = (32, 64, 56, 56)

# name -> (function's name, keyword arguments); relu, sigmoid and tanh stand in ``cases.py``
ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    **{
        name: (name, {}) for name in ("relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish")
    },
    "gelu tanh": ("gelu", {"approximate": "tanh"}),
    **{name: (name, {}) for name in ("hardsigmoid", "hardtanh", "hardshrink", "softshrink", "softplus", "softsign")},
    **{name: (name, {}) for name in ("logsigmoid", "tanhshrink", "glu")},
    "threshold": ("threshold", {"threshold": 0.1, "value": 0.0}),
}


def _call(function: str, options: dict[str, Any], library: Any, *tensors: Any) -> Any:
    return getattr(library.nn.functional, function)(*tensors, **options)


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _activation(name: str, function: str, options: dict[str, Any], *shapes: tuple[int, ...]) -> list[Case]:
    arrays = lambda: [random(f"x{i}", *shape) for i, shape in enumerate(shapes)]  # noqa: E731
    return passes(name, " ".join(map(_shape, shapes)), "ops", partial(_call, function, options), arrays)


def _random(name: str, shape: tuple[int, ...], options: dict[str, Any]) -> list[Case]:
    """Forward and backward of a function whose random bits differ between the libraries: nothing is compared."""
    function, arrays = partial(_call, name, options), [random("x", *shape)]
    return [
        Case(f"{name}/forward/{_shape(shape)}", "ops", partial(forward, function, arrays), check=None),
        Case(f"{name}/backward/{_shape(shape)}", "ops", partial(backward, function, arrays), check=None),
    ]


CASES: list[Case] = [
    *[case for name, entry in ACTIVATIONS.items() for case in _activation(name, *entry, BIG)],
    *_activation("prelu", "prelu", {}, BIG, (64,)),
    *_activation("prelu", "prelu", {}, BIG, (1,)),
    *_activation("prelu", "prelu", {}, (256, 4096), (4096,)),
    *_activation("softmin", "softmin", {"dim": 1}, (256, 1000)),
    *[
        case
        for name in ("dropout", "dropout2d", "alpha_dropout", "feature_alpha_dropout", "rrelu")
        for case in _random(name, BIG, {"training": True})
    ],
]
