"""Reverse-mode automatic differentiation: ``tape.py`` records and runs backward, ``functional.py`` has Jacobians and the like.

The names are those of ``torch.autograd``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from numbanet.autograd.tape import (
    AccumulateGrad,
    Function,
    GradcheckError,
    Node,
    RemovableHandle,
    Variable,
    autocast_as,
    backward,
    current_autocast,
    current_saver,
    enable_grad,
    grad,
    gradcheck,
    inference_mode,
    is_grad_enabled,
    no_grad,
    once_differentiable,
    run_backward,
    saved_by,
    set_grad_enabled,
)

__all__ = [
    "AccumulateGrad",
    "Function",
    "GradcheckError",
    "Node",
    "RemovableHandle",
    "Variable",
    "autocast_as",
    "backward",
    "current_autocast",
    "current_saver",
    "enable_grad",
    "functional",
    "grad",
    "gradcheck",
    "inference_mode",
    "is_grad_enabled",
    "no_grad",
    "once_differentiable",
    "run_backward",
    "saved_by",
    "set_grad_enabled",
]


def __getattr__(name: str) -> Any:
    if name == "functional":  # imported at its first use: training loops do without
        return import_module("numbanet.autograd.functional")
    raise AttributeError(f"module 'numbanet.autograd' has no attribute {name!r}")


if TYPE_CHECKING:
    from numbanet.autograd import functional
