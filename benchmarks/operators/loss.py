"""Losses and distances: feature maps, a segmentation of 21 classes, and batches of embeddings."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np

from benchmarks.case import Case, passes, random

_BIG, _SMALL = (32, 64, 56, 56), (256, 10)

Make = Callable[[], np.ndarray]  # arrays are made when they are needed


def _functional(name: str, **options: Any) -> Callable[..., Any]:
    return lambda library, *tensors: getattr(library.nn.functional, name)(*tensors, **options)


def _with_constants(name: str, *fixed: Make, **options: Any) -> Callable[..., Any]:
    """Targets and weights follow the tensors that are differentiated."""
    made: dict[Any, list[Any]] = {}

    def function(library: Any, *tensors: Any) -> Any:
        if library not in made:
            made[library] = [library.from_numpy(make()) for make in fixed]
        return getattr(library.nn.functional, name)(*tensors, *made[library], **options)

    return function


def _pairs(name: str, shape: tuple[int, ...], target: Make, label: str = "", **options: Any) -> list[Case]:
    text = "x".join(map(str, shape)) + label
    return passes(name, text, "ops", _with_constants(name, target, **options), lambda: [random(name, *shape)])


@cache  # one array for all cases: a target of this size takes 26 MB
def _normal(*shape: int) -> np.ndarray:
    return random("target", *shape)


def _probabilities(name: str, *shape: int) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-random(name, *shape))), np.float32)


def _bce(shape: tuple[int, ...]) -> list[Case]:
    name = "binary_cross_entropy"
    function = _with_constants(name, partial(_probabilities, "target", *shape))
    return passes(name, "x".join(map(str, shape)), "ops", function, lambda: [_probabilities(name, *shape)])


def _segmentation(name: str, label: str, weighted: bool = False, **options: Any) -> list[Case]:
    shape = (16, 21, 64, 64)
    fixed: list[Make] = [lambda: np.random.default_rng(0).integers(0, 21, (16, 64, 64))]
    if weighted:
        fixed.append(lambda: np.abs(random("weight", 21)) + np.float32(0.1))
    return passes(
        name, f"16x21x64x64{label}", "ops", _with_constants(name, *fixed, **options), lambda: [random(name, *shape)]
    )


def _embeddings(name: str, count: int, *fixed: Make, **options: Any) -> list[Case]:
    function = _with_constants(name, *fixed, **options)
    return passes(name, "256x512", "ops", function, lambda: [random(f"{name}{i}", 256, 512) for i in range(count)])


def _signs(*shape: int) -> Make:
    return lambda: np.sign(random("signs", *shape))


CASES: list[Case] = [
    *[
        case
        for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "soft_margin_loss")
        for case in _pairs(name, _BIG, partial(_normal, *_BIG))
    ],
    *_pairs("mse_loss", _SMALL, partial(_normal, *_SMALL)),
    *_pairs("mse_loss", _BIG, partial(_normal, *_BIG), "/none", reduction="none"),
    *_pairs("binary_cross_entropy_with_logits", _BIG, partial(_probabilities, "target", *_BIG)),
    *_pairs("kl_div", (256, 1000), partial(_probabilities, "target", 256, 1000), reduction="batchmean"),
    *_pairs("poisson_nll_loss", (256, 1000), partial(_probabilities, "target", 256, 1000)),
    *_bce(_BIG),
    *_segmentation("cross_entropy", ""),
    *_segmentation("cross_entropy", "/weight", True),
    *_segmentation("cross_entropy", "/smoothing", label_smoothing=0.1),
    *_segmentation("nll_loss", ""),
    *_pairs("multi_margin_loss", (256, 1000), lambda: np.arange(256) % 1000),
    *_pairs("hinge_embedding_loss", (256, 1000), _signs(256, 1000)),
    *_embeddings("triplet_margin_loss", 3),
    *_embeddings("cosine_embedding_loss", 2, _signs(256)),
    *_embeddings("cosine_similarity", 2),
    *_embeddings("pairwise_distance", 2),
    *_embeddings("normalize", 1),
    *passes("normalize", "32x64x56x56", "ops", _functional("normalize"), lambda: [random("normalize", *_BIG)]),
    *passes("cdist", "256x512", "ops", lambda library, a, b: library.cdist(a, b),
            lambda: [random("a", 256, 512), random("b", 256, 512)]),
]  # fmt: skip
