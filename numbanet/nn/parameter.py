"""Parameter: a tensor that a module learns."""

from __future__ import annotations

from typing import Any

from numbanet.tensor import Tensor, empty

__all__ = ["Parameter"]


class Parameter(Tensor):
    """A tensor that registers itself as a parameter when assigned to a module's attribute.

    Args:
        data: the values, shared, not copied; None for an empty tensor.
        requires_grad: whether it gets gradients.

    Raises:
        TypeError: for data that is not a tensor.
        RuntimeError: for integers with ``requires_grad``.
    """

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True) -> None:
        if data is None:
            data = empty(0)
        if not isinstance(data, Tensor):
            raise TypeError(
                f"Parameter: expected a Tensor, got {type(data).__name__}; make one with numbanet.tensor(...)"
            )
        self._array = data._array
        data._share_changes(self)
        self.requires_grad_(requires_grad)

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()

    def __deepcopy__(self, memo: Any) -> Parameter:
        if id(self) in memo:
            return memo[id(self)]
        return super().__deepcopy__(memo)  # type: ignore[return-value]
