"""Group, instance, layer, RMS and local response norm; batch norm stands with the layers."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.case import Case, passes, random

Function = Callable[..., Any]


def _case(name: str, shape: tuple[int, ...], weights: Sequence[tuple[int, ...]], function: Function) -> list[Case]:
    def arrays() -> list[np.ndarray]:
        return [random("x", *shape), *[random(f"weight {i}", *size) for i, size in enumerate(weights)]]

    def call(library: Any, *tensors: Any) -> Any:
        return function(library.nn.functional, *tensors)

    return passes(name, "x".join(map(str, shape)), "ops", call, arrays)


def _images(*shape: int) -> list[Case]:
    channels = shape[1]
    return [
        *_case("group_norm 32", shape, [(channels,)] * 2, lambda F, x, w, b: F.group_norm(x, 32, w, b)),
        *_case("instance_norm", shape, [(channels,)] * 2, lambda F, x, w, b: F.instance_norm(x, None, None, w, b)),
        *_case("local_response_norm 5", shape, [], lambda F, x: F.local_response_norm(x, 5, 1e-4, 0.75, 2.0)),
    ]


def _rows(*shape: int) -> list[Case]:
    last = shape[-1:]
    return [
        *_case("layer_norm", shape, [last] * 2, lambda F, x, w, b: F.layer_norm(x, last, w, b)),
        *_case("rms_norm", shape, [last], lambda F, x, w: F.rms_norm(x, last, w)),
    ]


CASES: list[Case] = [
    *_images(32, 64, 56, 56),
    *_images(32, 256, 14, 14),
    *_case("local_response_norm 5", (32, 96, 27, 27), [], lambda F, x: F.local_response_norm(x, 5, 1e-4, 0.75, 2.0)),
    *_rows(4096, 768),
    *_rows(256, 1024),
]
