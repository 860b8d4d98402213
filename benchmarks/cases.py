"""What is measured, besides whole networks: layers and operations, each written once for both libraries (``case.py``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks import operators
from benchmarks.case import Case, Run, forward, passes, random, results
from benchmarks.networks import NETWORKS, Inference, Network, Training, multiply_adds

# --------------------------------------------------------------------------------------------------------- convolution


@dataclass(frozen=True)
class Convolution:
    """A layer: N images of ``channels`` x ``size`` x ``size`` to ``out`` channels."""

    n: int
    channels: int
    size: int
    out: int
    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1

    def __str__(self) -> str:
        text = (
            f"{self.n}x{self.channels}x{self.size}x{self.size} {self.kernel}x{self.kernel} {self.channels}->{self.out}"
        )
        for letter, value, usual in (("s", self.stride, 1), ("d", self.dilation, 1), ("g", self.groups, 1)):
            text += f" {letter}{value}" if value != usual else ""
        return text

    @property
    def out_size(self) -> int:
        return (self.size + 2 * self.padding - self.dilation * (self.kernel - 1) - 1) // self.stride + 1

    @property
    def flops(self) -> float:
        return 2.0 * self.n * self.out * self.out_size**2 * (self.channels // self.groups) * self.kernel**2

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """x, weight, bias and the result's gradient."""
        per_group = self.channels // self.groups
        weight = random("weight", self.out, per_group, self.kernel, self.kernel)
        x = random("x", self.n, self.channels, self.size, self.size)
        dy = random("dy", self.n, self.out, self.out_size, self.out_size)
        return x, weight * np.float32((per_group * self.kernel**2) ** -0.5), random("bias", self.out), dy

    def apply(self, library: Any, x: Any, weight: Any, bias: Any = None) -> Any:
        return library.nn.functional.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def forward(self, library: Any) -> Run:
        return forward(self.apply, self.arrays()[:3], library)

    def gradient(self, wanted: str, library: Any) -> Run:
        """The gradient with respect to "input" or "weight" alone."""
        x, weight, _, dy = [library.from_numpy(a) for a in self.arrays()]
        if library.__name__ == "torch":  # straight to the operator, without the cost of autograd
            mask = [wanted == "input", wanted == "weight", False]
            options = ([self.stride] * 2, [self.padding] * 2, [self.dilation] * 2, False, [0, 0], self.groups)
            place = mask.index(True)
            return lambda: library.ops.aten.convolution_backward(dy, x, weight, None, *options, mask)[place]
        tensor = (x if wanted == "input" else weight).requires_grad_()
        y = self.apply(library, x, weight)
        return lambda: library.autograd.grad(y, tensor, dy, retain_graph=True)

    def cases(self) -> list[Case]:
        return [
            Case(f"conv2d/forward/{self}", "layers", self.forward, self.flops),
            Case(f"conv2d/grad_input/{self}", "layers", partial(self.gradient, "input"), self.flops),
            Case(f"conv2d/grad_weight/{self}", "layers", partial(self.gradient, "weight"), self.flops),
        ]


CONVOLUTIONS = [
    Convolution(16, 64, 56, 64, 3, padding=1),
    Convolution(16, 128, 28, 128, 3, padding=1),
    Convolution(16, 256, 14, 256, 3, padding=1),
    Convolution(16, 512, 7, 512, 3, padding=1),
    Convolution(16, 64, 112, 128, 3, padding=1),
    Convolution(128, 16, 32, 16, 3, padding=1),
    Convolution(128, 64, 8, 64, 3, padding=1),
    Convolution(8, 256, 56, 64, 1),
    Convolution(16, 1024, 14, 256, 1),
    Convolution(16, 192, 28, 32, 5, padding=2),
    Convolution(16, 1, 224, 16, 3, padding=1),  # the first layers: VGG's, ResNet's, AlexNet's, LeNet's
    Convolution(8, 3, 224, 64, 7, stride=2, padding=3),
    Convolution(16, 1, 224, 96, 11, stride=4, padding=1),
    Convolution(256, 1, 28, 6, 5, padding=2),
    Convolution(256, 6, 14, 16, 5),
    Convolution(16, 64, 56, 128, 3, stride=2, padding=1),  # ResNet's strided layers
    Convolution(16, 64, 56, 128, 1, stride=2),
    Convolution(16, 64, 56, 64, 3, padding=1, groups=64),  # depthwise
    Convolution(16, 64, 56, 64, 3, stride=2, padding=1, groups=64),
    Convolution(16, 64, 56, 64, 3, padding=1, groups=4),
    Convolution(16, 64, 28, 64, 3, padding=2, dilation=2),
]


# -------------------------------------------------------------------------------------------------------- other layers


def _linear(n: int, inputs: int, outputs: int) -> list[Case]:
    def arrays() -> Sequence[np.ndarray]:
        weight = random("weight", outputs, inputs) * np.float32(inputs**-0.5)
        return random("x", n, inputs), weight, random("bias", outputs)

    flops = 2.0 * n * inputs * outputs
    linear = lambda library, *tensors: library.nn.functional.linear(*tensors)  # noqa: E731
    return passes("linear", f"{n}x{inputs}->{outputs}", "layers", linear, arrays, flops, 2 * flops)


def _pooling(kind: str, n: int, c: int, size: int, *window: int) -> list[Case]:
    def pool(library: Any, x: Any) -> Any:
        return getattr(library.nn.functional, kind)(x, *window)

    text = "/".join(str(w) for w in window[:2]) + (f" p{window[2]}" if len(window) > 2 else "")
    return passes(kind, f"{n}x{c}x{size}x{size} {text}", "layers", pool, lambda: [random("x", n, c, size, size)])


def _batch_norm(*shape: int) -> list[Case]:
    channels = shape[1]

    def train(library: Any, x: Any, weight: Any, bias: Any) -> Any:
        return library.nn.functional.batch_norm(x, None, None, weight, bias, True)

    def evaluate(library: Any, x: Any, weight: Any, bias: Any) -> Any:
        mean, var = library.zeros(channels), library.ones(channels)
        return library.nn.functional.batch_norm(x, mean, var, weight, bias, False)

    def followed(library: Any, x: Any, weight: Any, bias: Any, add: Any) -> Any:
        functions = library.nn.functional
        if hasattr(functions, "batch_norm_relu"):
            return functions.batch_norm_relu(x, None, None, weight, bias, True, add=add)
        return functions.relu(functions.batch_norm(x, None, None, weight, bias, True) + add)

    def arrays() -> Sequence[np.ndarray]:
        return random("x", *shape), random("weight", channels), random("bias", channels)

    text = "x".join(str(s) for s in shape)
    return [
        *passes("batch_norm", text, "layers", train, arrays),
        *passes("batch_norm_relu", text, "layers", followed, lambda: [*arrays(), random("add", *shape)]),
        Case(f"batch_norm/evaluation/{text}", "layers", lambda library: forward(evaluate, arrays(), library)),
    ]


def _layers() -> list[Case]:
    return [
        *[case for convolution in CONVOLUTIONS for case in convolution.cases()],
        *_linear(256, 400, 120),
        *_linear(32, 6400, 4096),
        *_linear(32, 4096, 4096),
        *_pooling("max_pool2d", 16, 96, 54, 3, 2),
        *_pooling("max_pool2d", 16, 64, 112, 2, 2),
        *_pooling("max_pool2d", 32, 256, 12, 3, 1, 1),
        *_pooling("avg_pool2d", 256, 6, 28, 2, 2),
        *_pooling("avg_pool2d", 32, 192, 24, 2, 2),
        *_pooling("adaptive_avg_pool2d", 32, 512, 7, 1),
        *_batch_norm(32, 64, 56, 56),
        *_batch_norm(32, 512, 3, 3),
        *_batch_norm(256, 6, 24, 24),
        *_batch_norm(256, 120),
    ]


# ---------------------------------------------------------------------------------------------------------- operations


def _matmul(m: int, k: int, n: int, transposed: str = "") -> Case:
    def product(library: Any, a: Any, b: Any) -> Any:
        return (a.t() if transposed == "a" else a) @ (b.t() if transposed == "b" else b)

    def make(library: Any) -> Run:
        a = random("a", k, m) if transposed == "a" else random("a", m, k)
        b = random("b", n, k) if transposed == "b" else random("b", k, n)
        return forward(product, [a, b], library)

    name = f"matmul/{m}x{k}x{n}" + (f" {transposed}^T" if transposed else "")
    return Case(name, "ops", make, 2.0 * m * k * n)


def _elementwise(name: str, function: Callable[..., Any], *shapes: tuple[int, ...]) -> list[Case]:
    text = ", ".join("x".join(str(s) for s in shape) for shape in shapes)
    arrays = lambda: [random(f"input {i}", *shape) for i, shape in enumerate(shapes)]  # noqa: E731
    return passes(name, text, "ops", function, arrays)


def _cross_entropy(n: int, classes: int) -> list[Case]:
    def loss(library: Any, x: Any, target: Any) -> Any:
        return library.nn.functional.cross_entropy(x, target)

    target = lambda: np.random.default_rng(1).integers(0, classes, n)  # noqa: E731
    return passes("cross_entropy", f"{n}x{classes}", "ops", loss, lambda: [random("x", n, classes), target()])


def _dropout(n: int, size: int) -> Case:
    def drop(library: Any, x: Any) -> Any:
        return library.nn.functional.dropout(x, 0.5, True)

    make = lambda library: forward(drop, [random("x", n, size)], library)  # noqa: E731
    return Case(f"dropout/forward/{n}x{size}", "ops", make, check=None)  # each library has random bits of its own


def _ops() -> list[Case]:
    big, small = (32, 64, 56, 56), (256, 6, 28, 28)
    functional: Callable[[str], Callable[..., Any]] = lambda name: (  # noqa: E731
        lambda library, *tensors: getattr(library.nn.functional, name)(*tensors)
    )
    return [
        *[_matmul(n, n, n) for n in (256, 512, 1024, 2048)],
        _matmul(1024, 1024, 1024, "a"),
        _matmul(1024, 1024, 1024, "b"),
        _matmul(256, 400, 120, "b"),
        *_elementwise("relu", functional("relu"), big),
        *_elementwise("sigmoid", functional("sigmoid"), big),
        *_elementwise("sigmoid", functional("sigmoid"), small),
        *_elementwise("tanh", functional("tanh"), big),
        *_elementwise("add", lambda library, a, b: a + b, big, big),
        *_elementwise("multiply", lambda library, a, b: a * b, big, (1, 64, 1, 1)),
        *_elementwise("cat", lambda library, *tensors: library.cat(tensors, dim=1), (32, 64, 28, 28), (32, 32, 28, 28)),
        *_elementwise("mean", lambda library, x: x.mean((0, 2, 3)), big),
        *_elementwise("softmax", lambda library, x: library.softmax(x, 1), (256, 1000)),
        *_cross_entropy(256, 10),
        *_cross_entropy(256, 1000),
        _dropout(256, 4096),
    ]


# ------------------------------------------------------------------------------------------------------------ networks


def _network_results(library: Any, run: Any) -> Sequence[Any]:
    """The loss and all gradients of a step without dropout, whose random bits differ; or the logits."""
    if isinstance(run, Inference):
        return results(run())
    dropouts = [m for m in run.net.modules() if isinstance(m, library.nn.Dropout)]
    kept = [m.p for m in dropouts]
    for module in dropouts:
        module.p = 0.0
    loss = run()
    for module, p in zip(dropouts, kept):
        module.p = p
    return [loss, *[p.grad for p in run.net.parameters()]]


def _network_flops(network: Network, training: bool, library: Any) -> float:
    """Of one call: the forward pass, and twice that for the gradients, which the first layer's input does without."""
    total, first = multiply_adds(library, network)
    return 2.0 * network.batch * (3 * total - first if training else total)


def _networks() -> list[Case]:
    cases = []
    for name, network in NETWORKS.items():
        text = f"{name} {network.batch}x1x{network.size}x{network.size}"
        for kind, action in (("train", Training), ("infer", Inference)):
            make = lambda library, action=action, network=network: action(library, network)  # noqa: E731
            flops = partial(_network_flops, network, action is Training)
            # ReLU and max pooling choose, and a choice that rounding turns over moves a whole gradient elsewhere; a wrong
            # gradient is off by much more. The floor: the bias of a convolution before batch normalisation has a gradient
            # of zero, but for the rounding of a long sum.
            tolerance, floor = (0.1, 0.05) if action is Training else (1e-3, 1e-3)
            cases.append(Case(f"{kind}/{text}", "networks", make, flops, tolerance, _network_results, floor))
    return cases


CASES = {case.name: case for case in [*_networks(), *_layers(), *_ops(), *operators.cases()]}
