"""Dropout layers."""

from __future__ import annotations

from numbanet.functional.dropout import dropout
from numbanet.nn.module import Module
from numbanet.tensor import Tensor

__all__ = ["Dropout"]


class Dropout(Module):
    """``functional.dropout`` in training, nothing in evaluation.

    Raises:
        ValueError: for p outside 0 to 1.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: dropout probability has to be between 0 and 1, but got {p}")
        self.p, self.inplace = p, inplace

    def forward(self, input: Tensor) -> Tensor:
        return dropout(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"
