"""Runs course notes' code, kept in ``snippets/`` as it stands in the notes, with numbanet's or with PyTorch's import lines.

A ``Session`` is a notebook: snippets run one after another in one namespace, and what they print is kept. Functions that
the notes mark with ``#@save`` become part of ``d2l``, the notes' own package of helpers. Comments in the snippets say which
typing slips of the notes were mended; nothing else was changed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

HAS_TORCH = importlib.util.find_spec("torch") is not None
FRAMEWORKS = ["numbanet", *(["torch"] if HAS_TORCH else [])]
SNIPPETS = Path(__file__).parent / "snippets"

# The import lines that change, and nothing else.
_IMPORTS = {
    "import torch": "import numbanet as torch",
    "import torch.nn as nn": "import numbanet.nn as nn",
    "from torch import nn": "from numbanet import nn",
    "from torch.nn import functional as F": "from numbanet.nn import functional as F",
    "from torch.backends import cudnn": "from numbanet.backends import cudnn",
}


class Session:
    """One run of a chapter of the notes.

    Args:
        framework: "numbanet" or "torch".
    """

    def __init__(self, framework: str) -> None:
        self.framework = framework
        if framework == "numbanet":
            from numbanet.train import notes
        else:
            from tests.notes import torch_helpers as notes
        self.d2l = SimpleNamespace(**vars(notes))
        self.names: dict[str, Any] = {"__name__": "notes", "d2l": self.d2l}

    def run(self, *snippets: str) -> str:
        """Run snippets by name; returns what they printed."""
        printed = io.StringIO()
        for name in snippets:
            path = SNIPPETS / f"{name}.py"
            lines = []
            for line in path.read_text(encoding="utf-8").split("\n"):
                if line == "from d2l import torch as d2l":
                    line = ""  # it is there already
                elif self.framework == "numbanet":
                    line = _IMPORTS.get(line, line)
                lines.append(line)
            text = "\n".join(lines)
            with contextlib.redirect_stdout(printed):
                exec(compile(text, str(path), "exec"), self.names)
            for saved in re.findall(r"^def (\w+)\(.*#@save", text, re.MULTILINE):
                setattr(self.d2l, saved, self.names[saved])
        return printed.getvalue().replace(f"{self.framework}.Size(", "Size(")

    def __getitem__(self, name: str) -> Any:
        return self.names[name]

    def array(self, name: str) -> np.ndarray:
        """A tensor of the notebook, by name, as a NumPy array."""
        return self.names[name].detach().numpy()


def copy_weights(source: Any, target: Any) -> None:
    """Give a PyTorch network the parameters and buffers of one of ours, which must have the same names and shapes."""
    import torch

    state = {name: torch.from_numpy(np.array(value.numpy())) for name, value in source.state_dict().items()}
    target.load_state_dict(state)
