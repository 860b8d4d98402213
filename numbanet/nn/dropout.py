"""Dropout layers."""

from __future__ import annotations

from numbanet.functional import (
    alpha_dropout,
    dropout,
    dropout1d,
    dropout2d,
    feature_alpha_dropout,
    stochastic_depth,
)
from numbanet.nn.module import Module
from numbanet.tensor import Tensor

__all__ = ["AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "FeatureAlphaDropout", "StochasticDepth"]


class _Dropout(Module):
    """The constructor and the printing that all have in common.

    Raises:
        ValueError: for p outside 0 to 1.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: dropout probability has to be between 0 and 1, but got {p}")
        self.p, self.inplace = p, inplace

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """``functional.dropout`` in training, nothing in evaluation."""

    def forward(self, input: Tensor) -> Tensor:
        return dropout(input, self.p, self.training, self.inplace)


class Dropout1d(_Dropout):
    """``functional.dropout1d`` in training, nothing in evaluation."""

    def forward(self, input: Tensor) -> Tensor:
        return dropout1d(input, self.p, self.training, self.inplace)


class Dropout2d(_Dropout):
    """``functional.dropout2d`` in training, nothing in evaluation."""

    def forward(self, input: Tensor) -> Tensor:
        return dropout2d(input, self.p, self.training, self.inplace)


class AlphaDropout(_Dropout):
    """``functional.alpha_dropout`` in training, nothing in evaluation."""

    def forward(self, input: Tensor) -> Tensor:
        return alpha_dropout(input, self.p, self.training, self.inplace)


class FeatureAlphaDropout(_Dropout):
    """``functional.feature_alpha_dropout`` in training, nothing in evaluation."""

    def forward(self, input: Tensor) -> Tensor:
        return feature_alpha_dropout(input, self.p, self.training, self.inplace)


class StochasticDepth(Module):
    """``functional.stochastic_depth`` in training, nothing in evaluation; as ``torchvision.ops.StochasticDepth``.

    Args:
        p: probability of a sample being zeroed, 0 to 1.
        mode: "row" for each sample by itself, "batch" for all at once.

    Raises:
        ValueError: for p outside 0 to 1, or another mode.
    """

    def __init__(self, p: float, mode: str) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"StochasticDepth: drop probability has to be between 0 and 1, but got {p}")
        if mode not in ("batch", "row"):
            raise ValueError(f"StochasticDepth: mode has to be 'batch' or 'row', but got {mode!r}")
        self.p, self.mode = p, mode

    def forward(self, input: Tensor) -> Tensor:
        return stochastic_depth(input, self.p, self.mode, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}, mode={self.mode}"
