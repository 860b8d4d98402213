"""Penalties on weights as part of a loss.

The optimisers have the same penalties built in: ``weight_decay=b`` adds the gradient b * p of the L2 penalty b / 2 * sum(p**2),
``l1_decay=a`` the gradient a * sign(p) of the L1 penalty a * sum(|p|), both without a further pass over memory; with both options
they descend on the elastic net. The functions here are for a loss that is to show them, and for ``LBFGS``.

References:
    Tibshirani 1996, Regression shrinkage and selection via the lasso; Zou, Hastie 2005, Regularization and variable selection
    via the elastic net.
"""

from __future__ import annotations

from collections.abc import Iterable

from numbanet.tensor import Tensor, tensor


def l1_penalty(parameters: Tensor | Iterable[Tensor], factor: float) -> Tensor:
    """factor * sum(|p|) over all elements of all parameters, a 0-d tensor."""
    return elastic_net_penalty(parameters, factor, 0.0)


def elastic_net_penalty(parameters: Tensor | Iterable[Tensor], l1: float, l2: float) -> Tensor:
    """l1 * sum(|p|) + l2 / 2 * sum(p**2) over all elements of all parameters, a 0-d tensor.

    Args:
        parameters: a tensor or several.
        l1: as an optimiser's ``l1_decay``; not negative.
        l2: as an optimiser's ``weight_decay``; not negative.

    Raises:
        ValueError: for a factor that is negative or NaN.
    """
    for name, value in (("l1", l1), ("l2", l2)):
        if not value >= 0:
            raise ValueError(f"elastic_net_penalty: {name} must not be negative, got {value}")
    listed = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    total = tensor(0.0)
    for parameter in listed:
        if l1 != 0:
            total = total + parameter.abs().sum() * l1
        if l2 != 0:
            total = total + (parameter * parameter).sum() * (l2 / 2)
    return total
