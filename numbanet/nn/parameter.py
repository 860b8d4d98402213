"""Parameter: a tensor that a module learns; and the places of those whose shape is not known yet."""

from __future__ import annotations

from typing import Any

from numbanet.tensor import Tensor, empty

__all__ = ["Parameter", "UninitializedBuffer", "UninitializedParameter"]


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


class Uninitialized(Tensor):
    """A tensor that has a device and a dtype, but no shape and no values until ``materialize``."""

    _grown: Any  # the class that it then has

    def __init__(self, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> None:
        self._place = empty(0, device=device, dtype=dtype)  # has the device and the dtype
        self.requires_grad_(requires_grad)

    @property
    def _array(self) -> Any:
        kind = type(self).__name__
        raise ValueError(
            f"{kind}: this tensor of a lazy layer has no values yet: call the network once with a batch, for instance "
            "net(numbanet.zeros(2, 1, 28, 28)), before you use it"
        )

    @_array.setter
    def _array(self, array: Any) -> None:
        raise ValueError(f"{type(self).__name__}: use materialize(shape)")

    @property
    def shape(self) -> Any:
        raise RuntimeError(
            f"can't access the shape of an uninitialized parameter or buffer ({type(self).__name__}): call the network once "
            "with a batch first"
        )

    dtype = property(lambda self: self._place.dtype)
    device = property(lambda self: self._place.device)
    is_cuda = property(lambda self: self._place.is_cuda)

    @property
    def data(self) -> Tensor:
        return self._place

    @data.setter
    def data(self, value: Tensor) -> None:
        self._place = value

    def is_floating_point(self) -> bool:
        return self._place.is_floating_point()

    def detach(self) -> Tensor:
        return self

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Become a tensor of this shape (values undefined), of the same device and dtype unless others are given; still the same object."""
        device, dtype = self.device if device is None else device, self.dtype if dtype is None else dtype
        self._grow(empty(shape, device=device, dtype=dtype))

    def _grow(self, value: Tensor) -> None:
        """Become what ``value`` is, over its memory."""
        del self._place
        self.__class__ = self._grown
        self.data = value

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __deepcopy__(self, memo: Any) -> Any:
        if id(self) not in memo:
            kind, arguments = self.__reduce__()
            memo[id(self)] = kind(*arguments)
        return memo[id(self)]

    def __reduce__(self) -> Any:
        return type(self), (self.requires_grad, str(self.device), self.dtype)


class UninitializedParameter(Uninitialized, Parameter):
    """A parameter whose shape is not known yet, as lazy layers have them.

    Args:
        requires_grad: whether it gets gradients.
        device, dtype: of the values to come.

    Raises:
        RuntimeError: for integers with ``requires_grad``; for its shape before ``materialize``.
        ValueError: for what needs values before ``materialize``.
    """

    _grown = Parameter


class UninitializedBuffer(Uninitialized):
    """A buffer whose shape is not known yet, as lazy layers have them.

    Args:
        requires_grad: whether it gets gradients.
        device, dtype: of the values to come.

    Raises:
        RuntimeError: for integers with ``requires_grad``; for its shape before ``materialize``.
        ValueError: for what needs values before ``materialize``.
    """

    _grown = Tensor

    def __init__(self, requires_grad: bool = False, device: Any = None, dtype: Any = None) -> None:
        super().__init__(requires_grad, device, dtype)

    def to(self, *args: Any, **kwargs: Any) -> UninitializedBuffer:
        """The same on another device or in another dtype; see ``Tensor.to``."""
        place = self._place.to(*args, **kwargs)
        return UninitializedBuffer(self.requires_grad, place.device, place.dtype)
