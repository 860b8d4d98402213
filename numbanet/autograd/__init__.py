"""Reverse-mode automatic differentiation: ``tape.py`` records and runs backward, ``functional.py`` has Jacobians and the like.

The names are those of ``torch.autograd``.
"""

from numbanet.autograd import functional
from numbanet.autograd.tape import (
    AccumulateGrad,
    Function,
    GradcheckError,
    Node,
    RemovableHandle,
    Variable,
    backward,
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
    "backward",
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
