"""What is done to a model's parameters together: clipping gradients, and one vector of all values."""

from __future__ import annotations

import math
from collections.abc import Iterable

from numbanet.autograd import no_grad
from numbanet.functional.shape import cat, stack
from numbanet.tensor import Tensor, tensor

__all__ = ["clip_grad_norm_", "clip_grad_value_", "parameters_to_vector", "vector_to_parameters"]


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    listed = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [p.grad.detach() for p in listed if p.grad is not None]


@no_grad()
def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """Scale all gradients together, in place, so that their norm as one vector is at most ``max_norm``.

    Args:
        parameters: a tensor or several; those without a gradient are passed over.
        max_norm: the largest norm allowed.
        norm_type: which norm; ``math.inf`` for the largest absolute value.
        error_if_nonfinite: raise where the norm is NaN or infinite.

    Returns:
        The norm before scaling, a 0-d tensor.

    Raises:
        RuntimeError: for a norm that is not finite, if asked.

    Reference: R. Pascanu et al., "On the difficulty of training recurrent neural networks" (2013), section 3.2.
    """
    gradients = _gradients(parameters)
    if not gradients:
        return tensor(0.0)
    sizes = [g.abs().max() if norm_type == math.inf else (g.abs() ** norm_type).sum() for g in gradients]
    total = stack(sizes).max() if norm_type == math.inf else stack(sizes).sum() ** (1.0 / norm_type)
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise RuntimeError(f"clip_grad_norm_: the gradients' norm of order {norm_type} is {total.item()}")
    factor = (max_norm / (total + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor)
    return total


@no_grad()
def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Clamp every element of the gradients, in place, to [-clip_value, clip_value]."""
    for gradient in _gradients(parameters):
        gradient.clamp_(-clip_value, clip_value)


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All values one after another in one vector."""
    return cat([p.reshape(-1) for p in parameters])


@no_grad()
def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Copy a vector's values into the parameters, one after another."""
    at = 0
    for parameter in parameters:
        count = parameter.numel()
        parameter.copy_(vec[at : at + count].reshape(parameter.shape))
        at += count
