"""All parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

from numbanet.functional import cat
from numbanet.tensor import Tensor


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All values one after another in one vector, part of the graph.

    Raises:
        TypeError: for parameters on different devices.
    """
    listed = list(parameters)
    _on_one_device("parameters_to_vector", listed)
    return cat([p.reshape(-1) for p in listed])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Make the parameters slices of a vector, one after another; they share its memory from then on, as in PyTorch.

    Raises:
        TypeError: for a vec that is not a tensor, or parameters on different devices.
        RuntimeError: for a vector that is too short; no parameter is changed.
    """
    if not isinstance(vec, Tensor):
        raise TypeError(f"vector_to_parameters: expected a Tensor, got {type(vec).__name__}")
    listed = list(parameters)
    _on_one_device("vector_to_parameters", listed)
    wanted = sum(p.numel() for p in listed)
    if vec.ndim != 1 or vec.numel() < wanted:
        raise RuntimeError(
            f"vector_to_parameters: the parameters have {wanted} elements, got a vec of shape {tuple(vec.shape)}"
        )
    at = 0
    values = vec.detach()
    for parameter in listed:
        parameter.data = values[at : at + parameter.numel()].reshape(tuple(parameter.shape))
        at += parameter.numel()


def _on_one_device(name: str, parameters: list[Tensor]) -> None:
    places = {parameter.device for parameter in parameters}
    if len(places) > 1:
        raise TypeError(f"{name}: the parameters lie on different devices: {', '.join(sorted(map(str, places)))}")
