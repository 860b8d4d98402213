"""Write docs/models.md: every network by name, with its paper, size and work.

python -m scripts.make_models_page
"""

from __future__ import annotations

import inspect as python_inspect
import re
import sys
from pathlib import Path

from tqdm import tqdm

import numbanet
from numbanet import models, nn
from numbanet.inspect import summary

PAGE = Path(__file__).parent.parent / "docs" / "models.md"

HEAD = """# Networks

`models.build("resnet18", num_classes=10, in_channels=1)` or `models.resnet18(...)` makes one, `numbanet summary resnet18` describes
its layers, `numbanet train resnet18` trains it. Every builder takes `num_classes`, `in_channels` and `weights=` (a file of weights
with torchvision's keys, or a state dict). Names with the prefix `notes.` are the course notes' networks, for grey images of
ten classes; `lenet`, `lenet_bn` and `densenet`, which only the notes have, need no prefix.

Parameters and multiply-adds (of one image of the size given, the classifier for the usual number of classes) are counted from the
networks themselves. This page is made by `python -m scripts.make_models_page`.
"""


def number(value: float) -> str:
    """With three digits: 1.23 G."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return str(value)


def row(name: str) -> str:
    """A network's line in the table."""
    info = models.info(name)
    with nn.init.skipped():
        net = info.make()
    with numbanet.no_grad():
        for parameter in net.parameters():  # whatever stood in the memory may be slow to compute with
            parameter.fill_(0.01)
    found = summary(net, (1, *info.input_shape))
    size = " x ".join(map(str, info.input_shape))
    return f"| `{name}` | {size} | {found.parameters:,} | {number(found.macs)} | {text(info.summary)} |"


def text(summary_line: str) -> str:
    """A builder's first line without what the table's columns say."""
    line = re.sub(r":? [\d,]+ parameters(, of which[^.;]*)?", "", summary_line)
    line = re.sub(r",? ?images \(N, [^)]*\)( or of any size[^.;]*)?", "", line)
    return line.rstrip(" .,;:") + "."


def page() -> str:
    """The whole page."""
    files: dict[str, list[str]] = {}
    for name in models.list():
        module = python_inspect.unwrap(models.info(name).make).__module__
        files.setdefault(module, []).append(name)
    parts = [HEAD]
    bar = tqdm(total=len(models.list()), file=sys.stderr)
    for module in sorted(files, key=lambda name: (name.endswith(".notes"), name)):
        title = (sys.modules[module].__doc__ or "").strip().partition("\n")[0].rstrip(".")
        parts.append(f"## {title}\n\n`{module.replace('.', '/')}.py`\n")
        rows = []
        for name in sorted(
            files[module], key=lambda name: [int(t) if t.isdigit() else t for t in re.split(r"(\d+)", name)]
        ):
            rows.append(row(name))
            bar.update()
        parts.append("| name | image | parameters | multiply-adds | what it is |\n| --- | --- | ---: | ---: | --- |")
        parts.append("\n".join(rows) + "\n")
    bar.close()
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE}: {len(models.list())} networks")
