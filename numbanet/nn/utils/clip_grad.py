"""Clipping gradients, by their norm or by their values."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from types import GeneratorType

from numbanet.autograd import no_grad
from numbanet.functional.gradients import clamp_all_, scale_, total_norm
from numbanet.tensor import Tensor


def _listed(tensors: Tensor | Iterable[Tensor]) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    return [p.grad for p in _listed(parameters) if p.grad is not None]


@no_grad()
def get_total_norm(
    tensors: Tensor | Iterable[Tensor],
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of all tensors' elements as one vector, in one pass over memory.

    Args:
        tensors: a tensor or several.
        norm_type: which norm; ``math.inf`` for the largest absolute value.
        error_if_nonfinite: raise where the norm is NaN or infinite.
        foreach: without effect.

    Returns:
        A 0-d tensor.

    Raises:
        RuntimeError: for a norm that is not finite, if asked.
    """
    total = total_norm(_listed(tensors), float(norm_type))
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise RuntimeError(f"clip_grad_norm_: the gradients' norm of order {norm_type} is {total.item()}")
    return total


@no_grad()
def clip_grads_with_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scale all gradients, in place, by max_norm / (total_norm + 1e-6) where that is below 1 (or NaN).

    Args:
        parameters: a tensor or several; those without a gradient are passed over.
        max_norm: the largest norm allowed.
        total_norm: what ``get_total_norm`` returned for the gradients.
        foreach: without effect.
    """
    gradients = _gradients(parameters)
    if not gradients:
        return
    if total_norm.is_cuda or any([gradient.is_cuda for gradient in gradients]):  # without waiting for the norm
        factors = (float(max_norm) / (total_norm + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(factors.to(gradient.device))
        return
    factor = float(max_norm) / (total_norm.item() + 1e-6)
    if not factor >= 1:  # smaller, or NaN
        scale_(gradients, factor)


@no_grad()
def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale all gradients together, in place, so that their norm as one vector is at most ``max_norm``.

    One pass over memory to read them, and one to write them where they are too long.

    Args:
        parameters: a tensor or several; those without a gradient are passed over.
        max_norm: the largest norm allowed.
        norm_type: which norm; ``math.inf`` for the largest absolute value.
        error_if_nonfinite: raise where the norm is NaN or infinite.
        foreach: without effect.

    Returns:
        The norm before scaling, a 0-d tensor.

    Raises:
        RuntimeError: for a norm that is not finite, if asked; the gradients are as they were.

    Reference: R. Pascanu et al., "On the difficulty of training recurrent neural networks" (2013), section 3.2.
    """
    listed = _listed(parameters)
    if isinstance(parameters, GeneratorType) and not listed:
        warnings.warn("clip_grad_norm_: `parameters` is an empty generator, nothing is clipped", stacklevel=2)
    total = get_total_norm(_gradients(listed), norm_type, error_if_nonfinite)
    clip_grads_with_norm_(listed, max_norm, total)
    return total


@no_grad()
def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None) -> None:
    """Clamp every element of the gradients, in place, to [-clip_value, clip_value].

    Args:
        parameters: a tensor or several; those without a gradient are passed over.
        clip_value: the largest absolute value allowed.
        foreach: without effect.
    """
    clip_value = float(clip_value)
    clamp_all_(_gradients(parameters), -clip_value, clip_value)
