"""Linear layers, and the layer that does nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from numbanet.functional import linear
from numbanet.nn import init
from numbanet.nn.module import Module
from numbanet.nn.parameter import Parameter
from numbanet.tensor import Tensor, empty

__all__ = ["Identity", "Linear"]


class Linear(Module):
    """y = x weight^T + bias, with a weight (O, I) and a bias (O,) of its own.

    Both start from U(-b, b), b = 1 / sqrt(I).

    Args:
        in_features: I.
        out_features: O.
        bias: whether there is a bias.
        device, dtype: of the parameters.

    Shape:
        (..., I) gives (..., O).
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(empty((out_features, in_features), device=device, dtype=dtype))
        if bias:
            self.bias: Any = Parameter(empty(out_features, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        bound = 1 / math.sqrt(self.in_features) if self.in_features else 0.0
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        return self._multiply(linear, input)

    def _multiply(self, function: Callable[..., Tensor], input: Tensor) -> Tensor:
        """The layer by ``linear``, or a function of the same arguments that does more."""
        return function(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Identity(Module):
    """Returns its input; takes any arguments, so that it can stand in for any layer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        return input
