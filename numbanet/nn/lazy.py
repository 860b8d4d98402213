"""Lazy layers: they take their number of input channels or features from the first batch.

``LazyConv2d(6, 5)`` is ``Conv2d(C, 6, 5)`` with a C that the first input tells. Until then the parameters are
``UninitializedParameter``s; after it they have values, drawn as ever, and the layer is of the regular class. The parameters
stay the same objects, so that an optimiser may be made before.

Example::

    net = nn.Sequential(nn.LazyConv2d(6, 5), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10))
    net(numbanet.zeros(1, 1, 28, 28))  # now Conv2d(1, 6, ...) and Linear(3456, 10)
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from numbanet.nn.batch_norm import BatchNorm1d, BatchNorm2d
from numbanet.nn.conv import Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d
from numbanet.nn.linear import Linear
from numbanet.nn.module import Module
from numbanet.nn.normalization import InstanceNorm1d, InstanceNorm2d
from numbanet.nn.parameter import Uninitialized, UninitializedBuffer, UninitializedParameter
from numbanet.tensor import Tensor

__all__ = [
    "LazyBatchNorm1d",
    "LazyBatchNorm2d",
    "LazyConv1d",
    "LazyConv2d",
    "LazyConvTranspose1d",
    "LazyConvTranspose2d",
    "LazyInstanceNorm1d",
    "LazyInstanceNorm2d",
    "LazyLinear",
]


class _Lazy(Module):
    """What lazy layers share. A subclass's last base is the regular layer, whose first argument is the size that is not known."""

    _regular: Any  # the class that it becomes
    _size: str  # the regular layer's first argument, and the attribute
    _dims: range  # how many dimensions an input may have
    _axis: int  # of an input, which has the size
    _refusal: type[Exception] = RuntimeError  # what the regular layer raises for other dimensions

    def __init_subclass__(cls) -> None:
        if len(cls.__bases__) > 1:
            cls._regular = cls.__bases__[-1]
            signature = inspect.signature(cls._regular)
            size, *others = signature.parameters.values()
            cls._size = size.name
            cls.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(0, *args, **kwargs)  # type: ignore[call-arg]
        self._arguments = args, kwargs
        for name, parameter in self._parameters.items():
            if parameter is not None:
                self._parameters[name] = UninitializedParameter(True, parameter.device, parameter.dtype)
        for name, buffer in self._buffers.items():
            if buffer is not None and buffer.ndim:  # not the number of batches
                self._buffers[name] = UninitializedBuffer(False, buffer.device, buffer.dtype)

    def has_uninitialized_params(self) -> bool:
        """Whether there are parameters or buffers without values."""
        return any(isinstance(v, Uninitialized) for v in (*self._parameters.values(), *self._buffers.values()))

    def reset_parameters(self) -> None:
        """Nothing as yet: values are drawn when the shapes are known."""

    def forward(self, input: Tensor, *args: Any, **kwargs: Any) -> Any:
        if input.ndim not in self._dims:
            least, most = self._dims[0], self._dims[-1]
            raise self._refusal(
                f"{type(self).__name__}: expected an input of {least if least == most else f'{least} to {most}'} dimensions, "
                f"got shape {tuple(input.shape)}"
            )
        self._become(self._sized(input.shape[self._axis]))
        return self.forward(input, *args, **kwargs)  # the regular layer's

    def _sized(self, size: int) -> Module:
        """A regular layer for inputs of this size, where this one is and in its dtypes."""
        args, kwargs = self._arguments
        made = self._regular(size, *args, **kwargs)
        for name, value in (*self._parameters.items(), *self._buffers.items()):
            if value is not None:
                its = getattr(made, name)
                its.data = its.data.to(device=value.device, dtype=value.dtype)
        return made

    def _become(self, made: Module) -> None:
        """Take over a regular layer's values, size and class; what else was set stays."""
        pairs: Any = ((self._parameters, made._parameters), (self._buffers, made._buffers))
        for place, its in pairs:
            for name, value in place.items():
                if isinstance(value, Uninitialized):
                    value._grow(its[name])
                elif value is not None:
                    place[name] = its[name]
        setattr(self, self._size, getattr(made, self._size))
        del self._arguments
        self.__class__ = self._regular

    def _for_loading(self, prefix: str, state_dict: Mapping[str, Any]) -> Module:
        weight = state_dict.get(prefix + "weight", state_dict.get(prefix + "running_mean"))
        if isinstance(weight, Uninitialized) or not getattr(weight, "shape", ()):
            return self
        return self._sized(self._size_of(tuple(weight.shape)))

    def _size_of(self, weight: tuple[int, ...]) -> int:
        """The size, told from the shape of a weight (or of statistics)."""
        return weight[0]


class LazyLinear(_Lazy, Linear):
    """``Linear`` that takes ``in_features`` from its first input (..., I).

    Args:
        out_features, bias, device, dtype: see ``Linear``.

    Raises:
        RuntimeError: for a first input without dimensions.
    """

    _dims, _axis = range(1, 65), -1

    def _size_of(self, weight: tuple[int, ...]) -> int:
        return weight[-1]


class _LazyConv(_Lazy):  # not the transposed ones, whose weight begins with the input's channels
    groups: int

    def _size_of(self, weight: tuple[int, ...]) -> int:
        return weight[1] * self.groups if len(weight) > 1 else 0


class LazyConv1d(_LazyConv, Conv1d):
    """``Conv1d`` that takes ``in_channels`` from its first input (N, C, L) or (C, L).

    Args:
        out_channels, kernel_size and the others: see ``Conv1d``.

    Raises:
        RuntimeError: for a first input of other than 2 or 3 dimensions.
    """

    _dims, _axis = range(2, 4), -2


class LazyConv2d(_LazyConv, Conv2d):
    """``Conv2d`` that takes ``in_channels`` from its first input (N, C, H, W) or (C, H, W).

    Args:
        out_channels, kernel_size and the others: see ``Conv2d``.

    Raises:
        RuntimeError: for a first input of other than 3 or 4 dimensions.
    """

    _dims, _axis = range(3, 5), -3


class LazyConvTranspose1d(_Lazy, ConvTranspose1d):
    """``ConvTranspose1d`` that takes ``in_channels`` from its first input (N, C, L) or (C, L).

    Args:
        out_channels, kernel_size and the others: see ``ConvTranspose1d``.

    Raises:
        RuntimeError: for a first input of other than 2 or 3 dimensions.
    """

    _dims, _axis = range(2, 4), -2


class LazyConvTranspose2d(_Lazy, ConvTranspose2d):
    """``ConvTranspose2d`` that takes ``in_channels`` from its first input (N, C, H, W) or (C, H, W).

    Args:
        out_channels, kernel_size and the others: see ``ConvTranspose2d``.

    Raises:
        RuntimeError: for a first input of other than 3 or 4 dimensions.
    """

    _dims, _axis = range(3, 5), -3


class _LazyNorm(_Lazy):
    _refusal = ValueError


class LazyBatchNorm1d(_LazyNorm, BatchNorm1d):
    """``BatchNorm1d`` that takes ``num_features`` from its first input (N, C) or (N, C, L).

    Args:
        eps and the others: see ``BatchNorm1d``.

    Raises:
        ValueError: for a first input of other than 2 or 3 dimensions.
    """

    _dims, _axis = range(2, 4), 1


class LazyBatchNorm2d(_LazyNorm, BatchNorm2d):
    """``BatchNorm2d`` that takes ``num_features`` from its first input (N, C, H, W).

    Args:
        eps and the others: see ``BatchNorm2d``.

    Raises:
        ValueError: for a first input of other than 4 dimensions.
    """

    _dims, _axis = range(4, 5), 1


class LazyInstanceNorm1d(_LazyNorm, InstanceNorm1d):
    """``InstanceNorm1d`` that takes ``num_features`` from its first input (N, C, L) or (C, L).

    Args:
        eps and the others: see ``InstanceNorm1d``.

    Raises:
        ValueError: for a first input of other than 2 or 3 dimensions.
    """

    _dims, _axis = range(2, 4), -2


class LazyInstanceNorm2d(_LazyNorm, InstanceNorm2d):
    """``InstanceNorm2d`` that takes ``num_features`` from its first input (N, C, H, W) or (C, H, W).

    Args:
        eps and the others: see ``InstanceNorm2d``.

    Raises:
        ValueError: for a first input of other than 3 or 4 dimensions.
    """

    _dims, _axis = range(3, 5), -3
