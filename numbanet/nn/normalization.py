"""Normalization layers beside batch normalization: layer, group, instance, RMS and local response norm."""

from __future__ import annotations

import warnings
from typing import Any

from numbanet.functional import group_norm, instance_norm, layer_norm, local_response_norm, rms_norm
from numbanet.nn import init
from numbanet.nn.batch_norm import _BatchNorm
from numbanet.nn.module import Module
from numbanet.nn.parameter import Parameter
from numbanet.tensor import Tensor, empty

__all__ = ["GroupNorm", "InstanceNorm1d", "InstanceNorm2d", "LayerNorm", "LocalResponseNorm", "RMSNorm"]


class _Affine(Module):
    """A layer with a weight, ones at first, and perhaps a bias, zeros at first; None where they are not wanted."""

    def _make_parameters(self, shape: Any, weight: bool, bias: bool | None, device: Any, dtype: Any) -> None:
        """Register both; ``bias`` None registers no bias, not even as None."""
        for name, wanted in (("weight", weight), ("bias", bias)):
            if wanted is not None:
                value = Parameter(empty(shape, device=device, dtype=dtype)) if wanted else None
                self.register_parameter(name, value)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the weight to ones and the bias to zeros."""
        if self.weight is not None:
            init.ones_(self.weight)
        if getattr(self, "bias", None) is not None:
            init.zeros_(self.bias)


def _shape(normalized_shape: Any) -> tuple[int, ...]:
    """The shape as a tuple, of an int too."""
    return (normalized_shape,) if hasattr(normalized_shape, "__index__") else tuple(normalized_shape)


class LayerNorm(_Affine):
    """Normalization over the last dimensions; see ``functional.layer_norm``.

    Args:
        normalized_shape: the sizes of the last dimensions, or an int for one.
        eps: added to the variance.
        elementwise_affine: whether there are a weight (ones at first) and a bias (zeros at first) of that shape.
        bias: whether an affine layer has a bias.
        device, dtype: of the parameters.
    """

    def __init__(
        self,
        normalized_shape: Any,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape, self.eps, self.elementwise_affine = _shape(normalized_shape), eps, elementwise_affine
        self._make_parameters(
            self.normalized_shape, elementwise_affine, bool(elementwise_affine and bias), device, dtype
        )

    def forward(self, input: Tensor) -> Tensor:
        return layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )


class RMSNorm(_Affine):
    """Division by the root of the mean square over the last dimensions; see ``functional.rms_norm``.

    Args:
        normalized_shape: the sizes of the last dimensions, or an int for one.
        eps: added to the mean square; None for the dtype's epsilon.
        elementwise_affine: whether there is a weight (ones at first) of that shape.
        device, dtype: of the weight.
    """

    def __init__(
        self,
        normalized_shape: Any,
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape, self.eps, self.elementwise_affine = _shape(normalized_shape), eps, elementwise_affine
        self._make_parameters(self.normalized_shape, elementwise_affine, None, device, dtype)

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(_Affine):
    """Normalization of groups of channels, sample by sample; see ``functional.group_norm``.

    Args:
        num_groups: G, which divides ``num_channels``.
        num_channels: C.
        eps: added to the variance.
        affine: whether there are a weight (ones at first) and a bias (zeros at first), shape (C,).
        device, dtype: of the parameters.
        bias: whether an affine layer has a bias.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if num_channels % num_groups:
            raise ValueError(f"GroupNorm: num_groups={num_groups} must divide num_channels={num_channels}")
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        self._make_parameters(num_channels, affine, bool(affine and bias), device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        return group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


class _InstanceNorm(_BatchNorm):
    """``functional.instance_norm`` with parameters and running statistics, by default without either.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: the share of the newest batch in the running statistics; None for 0.
        affine: whether there are a weight (ones at first) and a bias (zeros at first), shape (C,).
        track_running_stats: whether there are running statistics, which evaluation then uses.
        device, dtype: of parameters and statistics.
        bias: whether an affine layer has a bias.
    """

    _ndim: int  # of a sample

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def _check_input(self, input: Tensor) -> None:
        name, ndim = type(self).__name__, self._ndim
        if input.ndim not in (ndim, ndim + 1):
            raise ValueError(
                f"{name}: expected {ndim}D or {ndim + 1}D input (got {input.ndim}D input of shape {tuple(input.shape)})"
            )
        dim = input.ndim - ndim
        if input.shape[dim] != self.num_features:
            text = f"{name}: the size {input.shape[dim]} at dim={dim} is not num_features={self.num_features}"
            if self.affine:
                raise ValueError(text)
            warnings.warn(f"{text}, which has no effect as affine=False", stacklevel=4)

    def forward(self, input: Tensor) -> Tensor:
        self._check_input(input)
        y = instance_norm(
            input.unsqueeze(0) if input.ndim == self._ndim else input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )
        return y.squeeze(0) if input.ndim == self._ndim else y


class InstanceNorm1d(_InstanceNorm):
    """Instance normalization of (N, C, L) or (C, L)."""

    __doc__ += "".join(_InstanceNorm.__doc__.partition("\n")[1:])  # type: ignore[operator, union-attr]
    _ndim = 2


class InstanceNorm2d(_InstanceNorm):
    """Instance normalization of (N, C, H, W) or (C, H, W)."""

    __doc__ += "".join(_InstanceNorm.__doc__.partition("\n")[1:])  # type: ignore[operator, union-attr]
    _ndim = 3


class LocalResponseNorm(Module):
    """Division by a power of the sum of squares over neighbouring channels; see ``functional.local_response_norm``.

    Args:
        size: the number of channels of a window.
        alpha, beta, k: y = x / (k + alpha / size * sum of squares) ^ beta.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input: Tensor) -> Tensor:
        return local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
