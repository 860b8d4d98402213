"""A table of a network's layers, with output shapes and numbers of parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numbanet.autograd import no_grad
from numbanet.tensor import Tensor, zeros


def summary(net: Any, input_shape: Sequence[int]) -> str:
    """Run a network once on zeros and describe its layers.

    Args:
        net: a module.
        input_shape: shape of the input, the batch size first: (1, 1, 28, 28).

    Returns:
        A table: each layer without children, its output's shape, and its parameters; the sum at the end.
    """
    rows: list[tuple[str, str, int]] = []
    handles = []

    def watch(name: str, layer: Any) -> None:
        def hook(module: Any, args: Any, output: Any) -> None:
            shape = str(tuple(output.shape)) if isinstance(output, Tensor) else "-"
            own = sum(parameter.numel() for parameter in module.parameters())
            rows.append((f"{name}: {type(module).__name__}" if name else type(module).__name__, shape, own))

        handles.append(layer.register_forward_hook(hook))

    for name, layer in net.named_modules():
        if next(iter(layer.children()), None) is None:
            watch(name, layer)
    training = net.training
    net.eval()
    try:
        with no_grad():
            net(zeros(tuple(input_shape), device=next(iter(net.parameters())).device))
    finally:
        net.train(training)
        for handle in handles:
            handle.remove()
    total = sum(parameter.numel() for parameter in net.parameters())
    cells = [("layer", "output shape", "parameters"), *((a, b, f"{c:,}") for a, b, c in rows)]
    cells.append(("total", "", f"{total:,}"))
    widths = [max(len(row[i]) for row in cells) for i in range(3)]
    lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}".rstrip() for a, b, c in cells]
    rule = "-" * (sum(widths) + 4)
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])
