"""The first steps of training the notes' networks, the same for numbanet and for PyTorch: weights, batches, and the loop.

``python -m scripts.record_first_losses`` writes first_losses.json with PyTorch; test_first_losses.py compares.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from numbanet.data import load_fashion_mnist_sample
from tests.notes.session import Session

RECORDED = Path(__file__).with_name("first_losses.json")
STEPS = 20


class Case(NamedTuple):
    """One of the notes' networks, at the notes' resolution and learning rate but for ResNet-18, with small batches."""

    snippets: tuple[str, ...]  # of the notes, which define the network
    lr: float
    size: int
    batch: int
    dtype: str
    tolerance: float  # some ten times the largest relative difference seen


# Where rounding puts a unit on the other side of a ReLU, small batches behind batch normalisation turn 1e-7 into 1e-2 in one step:
# PyTorch's own float32 leaves its float64 so. In float64 no unit is that near, and the losses stay together (those of AlexNet and VGG to
# the last digit); ResNet-18 does so at a lower rate than the notes' 0.05.
CASES = {
    "lenet": Case(("lenet",), 0.9, 28, 32, "float32", 1e-5),
    "lenet_bn": Case(("lenet", "lenet_bn_concise"), 1.0, 28, 32, "float32", 5e-4),
    "alexnet": Case(("alexnet",), 0.01, 224, 2, "float64", 1e-9),
    "vgg11": Case(("vgg",), 0.05, 224, 2, "float64", 1e-9),
    "nin": Case(("nin",), 0.1, 224, 2, "float32", 1e-5),
    "googlenet": Case(("googlenet",), 0.1, 96, 2, "float64", 1e-9),
    "resnet18": Case(("residual", "resnet"), 0.02, 96, 2, "float64", 1e-5),
    "densenet": Case(("densenet",), 0.1, 96, 2, "float64", 1e-5),
}


def weights(name: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Xavier's uniform weights, as the notes', and small biases; each array from a seed of its own.

    Args:
        name: the network's.
        shapes: of the parameters, by their keys. Those of one dimension called "weight" belong to batch normalisation.
    """
    values = {}
    for key, shape in shapes.items():
        rng = np.random.default_rng(zlib.crc32(f"{name} {key}".encode()))
        bound = np.sqrt(6 / (np.prod(shape[2:]) * (shape[0] + shape[1]))) if len(shape) > 1 else 0.05
        values[key] = rng.random(shape, dtype=np.float32) * np.float32(2 * bound) - np.float32(bound)
        if len(shape) == 1 and key.endswith("weight"):
            values[key] += 1
    return values


def batches(case: Case) -> list[tuple[np.ndarray, np.ndarray]]:
    """Batches (X, y) of the embedded sample: X float32 (batch, 1, size, size) by linear interpolation, y int64 (batch,)."""
    images, labels = load_fashion_mnist_sample()
    images, labels = images[: STEPS * case.batch], labels[: STEPS * case.batch]
    place = np.clip((np.arange(case.size) + 0.5) * 28 / case.size - 0.5, 0, 27)
    left = np.minimum(place.astype(int), 26)
    spread = np.zeros((case.size, 28))  # a row of new pixels from a row of old ones
    spread[np.arange(case.size), left] = 1 - (place - left)
    spread[np.arange(case.size), left + 1] += place - left
    pixels = (spread @ (images / 255) @ spread.T).astype(np.float32)[:, None]
    cuts = range(0, len(images), case.batch)
    return [(pixels[i : i + case.batch], labels[i : i + case.batch]) for i in cuts]


def first_losses(library: Any, net: Any, name: str) -> list[float]:
    """The losses of the first steps of plain SGD, without dropout.

    Args:
        library: numbanet or torch.
        net: the network, made by that library.
        name: the network's.
    """
    case = CASES[name]
    for module in net.modules():
        if isinstance(module, library.nn.Dropout):  # the libraries' random numbers differ
            module.p = 0.0
    parameters = dict(net.named_parameters())
    start = weights(name, {key: tuple(p.shape) for key, p in parameters.items()})
    with library.no_grad():
        for key, parameter in parameters.items():
            parameter.copy_(library.from_numpy(start[key]))
    dtype = getattr(library, case.dtype)
    net = net.to(dtype).train()
    optimizer = library.optim.SGD(net.parameters(), lr=case.lr)
    loss_function = library.nn.CrossEntropyLoss()
    losses = []
    for x, y in batches(case):
        inputs = library.from_numpy(x).to(dtype)
        optimizer.zero_grad()
        loss = loss_function(net(inputs), library.from_numpy(y))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def pytorchs_net(name: str) -> Any:
    """The network as PyTorch makes it of the notes' own text."""
    session = Session("torch")
    session.run(*CASES[name].snippets)
    return session["net"]


def recorded() -> dict[str, Any]:
    """What ``scripts.record_first_losses`` wrote."""
    return json.loads(RECORDED.read_text(encoding="utf-8"))
