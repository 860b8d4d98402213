"""Make docs/operators.md: every public operator, and what it can do, found out by running it.

Each operator's example in ``tests/operators.py`` is run with and without gradients while the kernels that it calls are
noted. Nothing on the page is written by hand; ``tests/test_operators_doc.py`` fails where the page is not what this
script would write.

Usage:
    python -m scripts.make_operators_page            # write the page
    python -m scripts.make_operators_page --check    # exit with 1 where it is not up to date
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import numbanet
from numbanet import functional, nn, optim
from numbanet.optim import lr_scheduler
from numbanet.tensor import METHODS
from tests import operators

PAGE = Path(__file__).resolve().parent.parent / "docs" / "operators.md"

HEAD = """# Operators

Made by `python -m scripts.make_operators_page`, which runs a small example of each operator; not to be edited by hand.

- **CPU**: every operator runs on the CPU, in float32 and float64.
- **CUDA**: *yes* where every kernel that the example calls, forward and backward, has a CUDA twin.
- **gradient**, **twice**: whether it can be differentiated once, and whether the gradient can be differentiated again. A dash stands
  where there is nothing to differentiate: results that are integers or bools, or do not depend on a floating input.
- **source**: the paper or formula that the implementation follows, where its documentation names one; otherwise PyTorch's function,
  whose behaviour it has.
"""


# Where PyTorch keeps what our lists of names do not tell.
ELSEWHERE = {"mv": "torch.mv", "repeat": "torch.Tensor.repeat"}
# What PyTorch does not have.
OURS_ALONE = {
    "ContrastiveLoss",
    "Conv2dNormActivation",
    "DeformConv2d",
    "DiceLoss",
    "FocalLoss",
    "GlobalAvgPool2d",
    "GlobalMaxPool2d",
    "LayerNorm2d",
    "Permute",
    "QuadrupletLoss",
    "conv2d_relu",
    "linear_relu",
    "StochasticDepth",
    "calculate_fan_in_and_fan_out",
}


@dataclass(frozen=True)
class Facts:
    """What running an example showed: kernels without a CUDA twin, and what can be differentiated (None: nothing to)."""

    cuda: bool
    gradient: bool | None
    twice: bool | None


def on_cuda(called: Iterable[str]) -> bool:
    """Whether every kernel has a CUDA twin."""
    kernels = operators.all_kernels()
    return all(kernels[name].cuda is not None for name in called)


def facts(run: Any) -> Facts:
    """``run(create_graph)`` gives a ``Run``; kernels are noted without the second backward."""
    with operators.recorded() as called:
        once = run(False)
    twice = run(True)
    cuda = on_cuda(called)
    if not once.leaves or not once.floating:
        return Facts(cuda, None, None)
    if not any(gradient is not None for gradient in once.gradients):
        return Facts(cuda, False, False)
    return Facts(cuda, True, twice.doubles is not None)


def mark(value: bool | None) -> str:
    return "-" if value is None else "yes" if value else "no"


def signature(function: Any) -> str:
    """Names and defaults of the parameters, without their types; a default that is a class by its name."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return "(...)"
    parameters = [p.replace(annotation=inspect.Parameter.empty) for p in parameters if p.name != "self"]
    text = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", str(inspect.Signature(parameters)))
    return text.replace("|", "\\|")


def reference(thing: Any) -> str | None:
    """The first reference in the documentation, on one line."""
    found = re.search(
        r"^[ \t]*References?:[ \t]*\n?(.*?)(?:\n[ \t]*\n|\Z)", thing.__doc__ or "", re.DOTALL | re.MULTILINE
    )
    if found is None:
        return None
    return " ".join(found.group(1).split()).replace("|", "\\|")


def pytorch_name(name: str) -> str:
    """Where PyTorch has the function, by our own lists of names (this must not depend on PyTorch being installed)."""
    said = re.search(r"``(torch\.[\w.]+)``", getattr(functional, name).__doc__ or "")
    if said is not None and said.group(1).rpartition(".")[2] == name:
        return f"`{said.group(1)}`"
    if name in OURS_ALONE:
        return "-"
    if name in ELSEWHERE:
        return f"`{ELSEWHERE[name]}`"
    if name in numbanet._FUNCTIONS:
        return f"`torch.{name}`"
    special = {"getitem": "__getitem__", "setitem": "__setitem__"}
    if name in special or name in METHODS or name in ("to", "requires_grad_"):
        return f"`torch.Tensor.{special.get(name, name)}`"
    return f"`torch.nn.functional.{name}`"


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    columns = list(columns)
    lines = [columns, ["---"] * len(columns), *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def function_row(name: str, layers: dict[str, list[str]]) -> list[str]:
    function = getattr(functional, name)
    source = reference(function) or pytorch_name(name)
    shown = f"`{name}{signature(function)}`"
    modules = ", ".join(f"`{layer}`" for layer in layers.get(name, [])) or "-"
    if name not in operators.FUNCTIONS:
        return [shown, *["?"] * 4, modules, source]
    found = facts(lambda graph: operators.run_function(name, twice=graph))
    return [shown, "yes", mark(found.cuda), mark(found.gradient), mark(found.twice), modules, source]


def layer_row(name: str, called: set[str]) -> list[str]:
    layer = getattr(nn, name)
    source = reference(layer) or ("-" if name in OURS_ALONE else f"`torch.nn.{name}`")
    shown = f"`{name}{signature(layer)}`"
    by = ", ".join(f"`{function}`" for function in sorted(called)) or "-"
    if name not in operators.LAYERS:
        return [shown, by, *["?"] * 4, source]
    found = facts(lambda graph: operators.run_layer(name, twice=graph))
    return [shown, by, "yes", mark(found.cuda), mark(found.gradient), mark(found.twice), source]


def optimizer_row(name: str) -> list[str]:
    cls = getattr(optim, name)
    source = reference(cls) or f"`torch.optim.{name}`"
    if name not in operators.OPTIMIZERS:
        return [f"`{name}{signature(cls)}`", "?", "?", source]
    with operators.recorded() as called:
        operators.run_optimizer(name)
    return [f"`{name}{signature(cls)}`", "yes", mark(on_cuda(called)), source]


def page() -> str:
    """The page's text."""
    operators.all_kernels()
    called: dict[str, set[str]] = {}
    layers: dict[str, list[str]] = defaultdict(list)
    for name in operators.public_layers():
        called[name] = set()
        if name in operators.LAYERS:
            with operators.functions_called_by_layers() as names:
                operators.run_layer(name, twice=False)
            called[name] = set(names)
        for function in called[name]:
            layers[function].append(name)
    families = operators.public_functions()
    parts = [HEAD]
    parts.append("## Functions\n\n`numbanet.nn.functional`; many are also methods of `Tensor` or at the top level.\n")
    for family, names in families.items():
        rows = [function_row(name, layers) for name in names]
        parts.append(f"### {family.replace('_', ' ').strip().capitalize()}\n")
        parts.append(table(["function", "CPU", "CUDA", "gradient", "twice", "layer", "source"], rows))
    parts.append("## Layers and losses\n\n`numbanet.nn`, besides its containers.\n")
    columns = ["layer", "calls", "CPU", "CUDA", "gradient", "twice", "source"]
    parts.append(table(columns, [layer_row(name, called[name]) for name in operators.public_layers()]))
    parts.append("## Optimisers\n\n`numbanet.optim`.\n")
    rows = [optimizer_row(name) for name in operators.public_optimizers()]
    parts.append(table(["optimiser", "CPU", "CUDA", "source"], rows))
    parts.append("## Learning-rate schedules\n\n`numbanet.optim.lr_scheduler`.\n")
    schedules = [(name, getattr(lr_scheduler, name)) for name in operators.public_schedulers()]
    shown = [
        [f"`{name}{signature(cls)}`", reference(cls) or f"`torch.optim.lr_scheduler.{name}`"] for name, cls in schedules
    ]
    parts.append(table(["schedule", "source"], shown))
    parts.append("## Initialisation\n\n`numbanet.nn.init`; all fill a tensor in place.\n")
    fills = [(name, getattr(nn.init, name)) for name in operators.public_initialisers()]
    shown = [
        [f"`{name}{signature(f)}`", reference(f) or ("-" if name in OURS_ALONE else f"`torch.nn.init.{name}`")]
        for name, f in fills
    ]
    parts.append(table(["function", "source"], shown))
    return "\n".join(parts)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    options = parser.parse_args(arguments)
    with np.errstate(all="ignore"):
        text = page()
    if options.check:
        same = PAGE.exists() and PAGE.read_text(encoding="utf-8") == text
        print("up to date" if same else f"{PAGE} is not up to date; run python -m scripts.make_operators_page")
        return 0 if same else 1
    PAGE.write_text(text, encoding="utf-8")
    print(f"wrote {PAGE}: {text.count(chr(10))} lines")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
