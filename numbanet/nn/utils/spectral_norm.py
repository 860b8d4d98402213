"""Weights divided by their largest singular value."""

from __future__ import annotations

from typing import Any

from numbanet.autograd import no_grad
from numbanet.functional import matmul
from numbanet.nn import init
from numbanet.nn.module import Module
from numbanet.nn.parameter import Parameter
from numbanet.nn.utils.weight_norm import _hook
from numbanet.tensor import Tensor, empty


class SpectralNorm:
    """The hook that computes a weight before each forward pass.

    Attributes:
        name: the weight's attribute.
        dim: the dimension that becomes the matrix's rows.
        n_power_iterations: iterations of the power method in each forward pass in training.
        eps: the least length that a vector is divided by.
    """

    def __init__(self, name: str, n_power_iterations: int, dim: int, eps: float) -> None:
        if n_power_iterations <= 0:
            raise ValueError(
                f"spectral_norm: expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.name, self.n_power_iterations, self.dim, self.eps = name, n_power_iterations, dim, eps

    def matrix(self, weight: Tensor) -> Tensor:
        """The weight as a matrix, (size of ``dim``, all others)."""
        if self.dim != 0:
            weight = weight.permute(self.dim, *[d for d in range(weight.ndim) if d != self.dim])
        return weight.reshape(weight.shape[0], -1)

    def unit(self, vector: Tensor) -> Tensor:
        """The vector at length 1."""
        return vector / (vector * vector).sum().sqrt().clamp(min=self.eps)

    def weight(self, module: Module, iterate: bool) -> Tensor:
        """W / sigma with sigma = u^T W v; with ``iterate``, u and v are brought closer to the singular vectors first."""
        weight = getattr(module, f"{self.name}_orig")
        u, v = getattr(module, f"{self.name}_u"), getattr(module, f"{self.name}_v")
        matrix = self.matrix(weight)
        if iterate:
            with no_grad():
                for _ in range(self.n_power_iterations):
                    v.copy_(self.unit(matmul(matrix.t(), u)))
                    u.copy_(self.unit(matmul(matrix, v)))
                u, v = u.clone(), v.clone()  # backward needs these values, which the next pass overwrites
        return weight / (u * matmul(matrix, v)).sum()

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.weight(module, module.training))


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """Divide a weight by its largest singular value, as ``torch.nn.utils.spectral_norm``.

    The value is followed by the power method, a step (or more) of it in every forward pass in training.

    Args:
        module: the layer, changed in place: its parameter ``name`` becomes ``name_orig``, with buffers ``name_u`` and ``name_v``.
        name: the weight.
        n_power_iterations: iterations of the power method in each forward pass in training.
        eps: the least length that a vector is divided by.
        dim: the dimension of the outputs (None: 0, of transposed convolutions 1).

    Returns:
        The module.

    Raises:
        RuntimeError: for a weight that has the norm already.
        KeyError: for a name that is no parameter of the module.
        ValueError: for a parameter that is None, or n_power_iterations below 1.

    Reference: T. Miyato et al., "Spectral normalization for generative adversarial networks" (2018), algorithm 1.
    """
    if dim is None:
        dim = 1 if type(module).__name__.startswith("ConvTranspose") else 0
    if _hook(module, SpectralNorm, name):
        raise RuntimeError(f"Cannot register two spectral_norm hooks on the same parameter {name}")
    hook = SpectralNorm(name, n_power_iterations, dim, eps)
    if name not in module._parameters:
        raise KeyError(f"spectral_norm: {name!r} is no parameter of {type(module).__name__}")
    weight = module._parameters[name]
    if weight is None:
        raise ValueError(f"spectral_norm cannot be applied as parameter `{name}` is None")
    with no_grad():
        sizes = hook.matrix(weight).shape
        u, v = (hook.unit(init.normal_(empty(size, dtype=weight.dtype, device=weight.device))) for size in sizes)
    delattr(module, name)
    module.register_parameter(f"{name}_orig", weight)
    setattr(module, name, weight.data)
    module.register_buffer(f"{name}_u", u)
    module.register_buffer(f"{name}_v", v)
    module.register_forward_pre_hook(hook)
    return module


def remove_spectral_norm(module: Module, name: str = "weight") -> Module:
    """Undo ``spectral_norm``: the divided weight becomes a parameter.

    Raises:
        ValueError: for a weight without the norm.
    """
    entry = _hook(module, SpectralNorm, name)
    if entry is None or module._hooks is None:
        raise ValueError(f"spectral_norm of '{name}' not found in {module}")
    with no_grad():
        weight = entry[0].weight(module, False)
    for attribute in (name, f"{name}_u", f"{name}_v", f"{name}_orig"):
        delattr(module, attribute)
    module.register_parameter(name, Parameter(weight))
    module._hooks.before.remove(entry)
    return module
