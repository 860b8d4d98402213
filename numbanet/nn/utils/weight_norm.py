"""Weights as a length and a direction."""

from __future__ import annotations

from typing import Any

from numbanet.autograd import no_grad
from numbanet.nn.module import Module
from numbanet.nn.parameter import Parameter
from numbanet.tensor import Tensor


class WeightNorm:
    """The hook that computes a weight before each forward pass.

    Attributes:
        name: the weight's attribute.
        dim: the dimension whose slices have lengths of their own; -1: one length for all.
    """

    def __init__(self, name: str, dim: int) -> None:
        self.name, self.dim = name, dim

    def lengths(self, weight: Tensor) -> Tensor:
        """The norm of each slice, in a shape that multiplies with the weight."""
        if self.dim == -1:
            return (weight * weight).sum().sqrt()
        others = [d for d in range(weight.ndim) if d != self.dim]
        return (weight * weight).sum(others, keepdim=True).sqrt() if others else weight.abs()

    def weight(self, module: Module) -> Tensor:
        """g * v / ||v||."""
        g, v = getattr(module, f"{self.name}_g"), getattr(module, f"{self.name}_v")
        return v * (g / self.lengths(v))

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.weight(module))


def _hook(module: Module, kind: Any, name: str) -> tuple[Any, bool] | None:
    """The entry of a hook of a kind for a weight among a module's hooks."""
    for entry in [] if module._hooks is None else module._hooks.before:
        if isinstance(entry[0], kind) and entry[0].name == name:
            return entry
    return None


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Make a weight of lengths and directions, w = g * v / ||v||, and these two the parameters, as ``torch.nn.utils.weight_norm``.

    Args:
        module: the layer, changed in place: its parameter ``name`` becomes ``name_g`` and ``name_v``.
        name: the weight.
        dim: the dimension whose slices (output channels: 0) have lengths of their own; None: one length for all.

    Returns:
        The module.

    Raises:
        RuntimeError: for a weight that has the norm already.
        AttributeError: for a name that is no parameter of the module.

    Reference: T. Salimans and D. Kingma, "Weight normalization" (2016), equation 2.
    """
    if _hook(module, WeightNorm, name):
        raise RuntimeError(f"Cannot register two weight_norm hooks on the same parameter {name}")
    weight = getattr(module, name)
    if not isinstance(weight, Parameter):
        raise AttributeError(f"weight_norm: {name!r} is no parameter of {type(module).__name__}")
    hook = WeightNorm(name, -1 if dim is None else dim)
    if hook.dim >= weight.ndim or hook.dim < -weight.ndim:
        raise IndexError(f"weight_norm: dim {dim} is out of range for a weight of shape {tuple(weight.shape)}")
    with no_grad():
        lengths = hook.lengths(weight)
    delattr(module, name)
    module.register_parameter(f"{name}_g", Parameter(lengths))
    module.register_parameter(f"{name}_v", Parameter(weight.data))
    setattr(module, name, hook.weight(module))
    module.register_forward_pre_hook(hook)
    return module


def remove_weight_norm(module: Module, name: str = "weight") -> Module:
    """Undo ``weight_norm``: the weight, as it is, becomes a parameter again.

    Raises:
        ValueError: for a weight without the norm.
    """
    entry = _hook(module, WeightNorm, name)
    if entry is None or module._hooks is None:
        raise ValueError(f"weight_norm of '{name}' not found in {module}")
    with no_grad():
        weight = entry[0].weight(module)
    for attribute in (name, f"{name}_g", f"{name}_v"):
        delattr(module, attribute)
    setattr(module, name, Parameter(weight))
    module._hooks.before.remove(entry)
    return module
