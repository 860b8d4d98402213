"""What the tests of every family of networks share: parameters, state_dict keys, output shapes, and one small training.

For example::

    @pytest.mark.parametrize(("name", "parameters"), [("vgg11", 132_863_336), ...])
    def test_parameters(name, parameters):
        assert count(bare(name)) == parameters

    def test_keys():
        check_keys(bare("vgg11"), "vgg11")          # against keys/vgg11.txt

    def test_learns():
        check_learns(models.build("vgg11", num_classes=3), (2, 3, 32, 32))
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

import numbanet
from numbanet import models, nn, optim

KEYS = Path(__file__).with_name("keys")


def bare(name: str, **options: Any) -> Any:
    """The network ``name`` with weights that nobody drew: quick, for counting and for looking at keys."""
    with nn.init.skipped():
        return models.build(name, **options)


def filled(name: str, **options: Any) -> Any:
    """The network ``name`` with all weights 0.01: for looking at shapes, where any finite numbers do."""
    net = bare(name, **options)
    with numbanet.no_grad():
        for parameter in net.parameters():
            parameter.fill_(0.01)
    return net


def count(net: Any) -> int:
    """The number of learnt parameters."""
    return sum(p.numel() for p in net.parameters())


def images(shape: tuple[int, ...], seed: int = 0) -> Any:
    """A batch of random images (N, C, H, W)."""
    return numbanet.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def output_shape(net: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of what a network gives, in evaluation mode, for a batch of this shape; its values must be finite."""
    net.eval()
    with numbanet.no_grad():
        output = net(images(shape))
    assert np.isfinite(output.numpy()).all()
    return tuple(output.shape)


def read_keys(name: str) -> list[tuple[str, tuple[int, ...]]]:
    """The recorded (key, shape) pairs of keys/NAME.txt, whose lines are a key and a shape such as (64, 3, 7, 7)."""
    lines = (KEYS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split(maxsplit=1) for line in lines if line]
    return [(pair[0], tuple(int(n) for n in re.findall(r"\d+", pair[1]))) for pair in pairs]


def check_keys(net: Any, name: str) -> None:
    """The state_dict has the recorded keys and shapes, in the recorded order."""
    ours = [(key, tuple(value.shape)) for key, value in net.state_dict().items()]
    theirs = read_keys(name)
    wrong = [f"{a} here, {b} recorded" for a, b in zip(ours, theirs, strict=False) if a != b]
    assert not wrong, f"{name}: " + "; ".join(wrong[:5])
    assert len(ours) == len(theirs), f"{name}: {len(ours)} keys, {len(theirs)} recorded"


def check_learns(
    net: Any,
    shape: tuple[int, ...],
    *,
    lr: float = 0.01,
    steps: int = 3,
    fall: float = 0.05,
    dead: Iterable[str] = (),
    classes: int | None = None,
) -> None:
    """A few steps on one tiny batch: each parameter has a gradient, and the loss falls.

    Args:
        net: gives scores (N, classes), in training mode perhaps a tuple whose first item they are.
        shape: (N, C, H, W) of the batch.
        lr: of SGD with momentum 0.9.
        steps: how many.
        fall: the share of the first loss that the last one must have lost.
        dead: patterns of parameters whose gradient may be zero all over, each for a reason that the test states.
        classes: the number of labels; None: as many as there are scores.
    """
    net.train()
    for module in net.modules():
        if isinstance(module, nn.Dropout):  # a loss that jumps says nothing in three steps
            module.p = 0.0
    inputs = images(shape)
    loss_function = nn.CrossEntropyLoss()
    optimizer = optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    losses = []
    for step in range(steps + 1):
        output = net(inputs)
        scores = output[0] if isinstance(output, tuple) else output
        classes = classes or scores.shape[1]
        target = numbanet.from_numpy(np.arange(shape[0], dtype=np.int64) % classes)
        loss = loss_function(scores, target)
        if isinstance(output, tuple):  # heads for training alone count too, or their weights would learn nothing
            for extra in output[1:]:
                loss = loss + 0.3 * loss_function(extra, target)
        losses.append(loss.item())
        if step == steps:
            break
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            _check_gradients(net, dead)
        optimizer.step()
    assert np.isfinite(losses).all(), losses
    assert losses[-1] < (1 - fall) * losses[0], losses


def _check_gradients(net: Any, dead: Iterable[str]) -> None:
    silent = []
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        gradient = parameter.grad.numpy()
        assert np.isfinite(gradient).all(), f"the gradient of {name} is not finite"
        if not gradient.any() and not any(re.fullmatch(pattern, name) for pattern in dead):
            silent.append(name)
    assert not silent, f"gradients that are zero all over: {silent}"
