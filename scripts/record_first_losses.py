"""Write tests/models/first_losses.json: the first losses of the notes' networks as PyTorch computes them.

Usage (PyTorch must be installed):
    python -m scripts.record_first_losses [NAME ...]    # default: all networks
"""

from __future__ import annotations

import json
import sys

import torch

from tests.models.first_losses import CASES, RECORDED, first_losses, pytorchs_net, recorded


def main() -> None:
    losses = recorded() if RECORDED.exists() else {}
    for name in sys.argv[1:] or CASES:
        losses[name] = first_losses(torch, pytorchs_net(name), name)
        print(name, losses[name], flush=True)
        RECORDED.write_text(json.dumps({n: losses[n] for n in CASES if n in losses}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
