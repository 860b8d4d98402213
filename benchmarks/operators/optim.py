"""Steps of every optimiser over whole networks' parameters, and clipping their gradients."""

from __future__ import annotations

from typing import Any

from benchmarks.case import Case, Run, random
from benchmarks.networks import NETWORKS


def _parameters(library: Any, network: str) -> list[Any]:
    """A network's parameters with gradients that stay."""
    shapes = [tuple(p.shape) for p in NETWORKS[network].build(library).parameters()]
    parameters = [library.from_numpy(random(f"p{i}", *s)).requires_grad_() for i, s in enumerate(shapes)]
    for i, (parameter, shape) in enumerate(zip(parameters, shapes)):
        parameter.grad = library.from_numpy(random(f"g{i}", *shape))
    return parameters


def _step(name: str, network: str, **options: Any) -> Case:
    def make(library: Any) -> Run:
        parameters = _parameters(library, network)
        optimizer = getattr(library.optim, name)(parameters, lr=1e-3, **options)

        def run() -> Any:
            optimizer.step()
            return parameters

        return run

    text = "".join(f" {key}={value}" for key, value in options.items())
    return Case(f"optim/{name}{text}/{network}", "ops", make)


def _clip(network: str, norm_type: float) -> Case:
    def make(library: Any) -> Run:
        parameters = _parameters(library, network)
        # The first call shortens the gradients, later ones hardly; all of them multiply.
        return lambda: library.nn.utils.clip_grad_norm_(parameters, 1.0, norm_type)

    # PyTorch adds the squares of millions of numbers in float32, and loses two thousandths of AlexNet's norm.
    return Case(f"optim/clip_grad_norm_ {norm_type}/{network}", "ops", make, tolerance=1e-2)


STEPS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "weight_decay": 1e-4, "nesterov": True}),
    ("Adam", {}),
    ("Adam", {"amsgrad": True}),
    ("AdamW", {}),
    ("Adamax", {}),
    ("NAdam", {}),
    ("RAdam", {}),
    ("Adagrad", {}),
    ("Adadelta", {}),
    ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.9, "centered": True}),
    ("ASGD", {}),
    ("Rprop", {}),
]

CASES: list[Case] = [
    *[
        _step(name, network, **options)
        for network in ("lenet", "resnet18", "alexnet")
        for name, options in STEPS
        if network == "alexnet" or len(options) < 2
    ],
    *[_clip(network, norm_type) for network in ("lenet", "resnet18", "alexnet") for norm_type in (2.0, float("inf"))],
]
