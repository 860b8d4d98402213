"""Modules that hold modules: Sequential, ModuleList, ModuleDict; and that hold parameters: ParameterList, ParameterDict."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any

from numbanet.nn.fused import BEFORE_RELU, RELUS, then_relu
from numbanet.nn.module import Module, _indented
from numbanet.nn.parameter import Parameter
from numbanet.tensor import Tensor

__all__ = ["ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential"]


class _Numbered(Module):
    """Children named "0", "1", ...: what Sequential and ModuleList share."""

    def _position(self, index: Any) -> int:
        position = operator.index(index)
        if not -len(self) <= position < len(self):
            raise IndexError(f"index {position} is out of range for a {type(self).__name__} of {len(self)} modules")
        return position % len(self)

    def _names(self, index: Any) -> list[str]:
        """The children's names at an index or slice."""
        names = list(self._modules)
        return names[index] if isinstance(index, slice) else [names[self._position(index)]]

    def _renumber(self, modules: Iterable[Any]) -> None:
        self._modules.clear()
        for position, module in enumerate(modules):
            self.add_module(str(position), module)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._modules.values())

    def __setitem__(self, index: Any, module: Module) -> None:
        setattr(self, self._names(index)[0], module)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.isdigit()]

    def insert(self, index: int, module: Module) -> Any:
        """Put a module before the one at ``index``."""
        if not isinstance(module, Module):
            raise AssertionError(f"module should be of type: {Module}, got {type(module).__name__}")
        modules = list(self._modules.values())
        if not -len(modules) <= index <= len(modules):
            raise IndexError(f"index {index} is out of range for a {type(self).__name__} of {len(modules)} modules")
        modules.insert(index, module)
        self._renumber(modules)
        return self

    def append(self, module: Module) -> Any:
        """Put a module at the end; returns the container."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        """Put modules at the end; returns the container."""
        for module in list(modules):
            self.append(module)
        return self

    def pop(self, index: Any = -1) -> Module:
        """Take out the module at ``index`` and return it."""
        module = self[index]
        del self[index]
        return module

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError

    def __delitem__(self, index: Any) -> None:
        for name in self._names(index):
            del self._modules[name]
        self._renumber(list(self._modules.values()))


class Sequential(_Numbered):
    """Modules called one after another, each with the output of the one before.

    ``Sequential(a, b)`` names them "0" and "1"; ``Sequential(OrderedDict(conv=a, relu=b))`` as the dict does. Indexing
    gives a module, slicing a Sequential of the same modules. A batch norm, convolution or linear layer and the ReLU
    behind it run as one operator where nothing watches them (``nn/fused.py``).
    """

    def __init__(self, *args: Any) -> None:
        super().__init__()
        if len(args) == 1 and isinstance(args[0], OrderedDict):
            for name, module in args[0].items():
                self.add_module(name, module)
        else:
            for position, module in enumerate(args):
                self.add_module(str(position), module)

    def forward(self, input: Any) -> Any:
        waiting: Any = None  # a layer that may be one operator with the module behind it
        for module in self._modules.values():
            kind = type(module)
            if waiting is not None:
                last, waiting = waiting, None
                if kind in RELUS:
                    input = then_relu(last, module, input)  # type: ignore[arg-type]
                    continue
                input = last(input)
            if kind in BEFORE_RELU:
                waiting = module
            else:
                input = module(input)  # type: ignore[misc]
        return input if waiting is None else waiting(input)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)(OrderedDict((name, self._modules[name]) for name in self._names(index)))
        return self._modules[self._names(index)[0]]

    def __add__(self, other: Any) -> Sequential:
        if not isinstance(other, Sequential):
            raise ValueError(f"add operator supports only objects of Sequential class, but {type(other)} is given")
        return Sequential(*self, *other)

    def __iadd__(self, other: Any) -> Sequential:
        if not isinstance(other, Sequential):
            raise ValueError(f"add operator supports only objects of Sequential class, but {type(other)} is given")
        return self.extend(other)

    def __mul__(self, times: int) -> Sequential:
        if not isinstance(times, int):
            raise TypeError(f"unsupported operand type(s) for *: {type(self)} and {type(times)}")
        if times <= 0:
            raise ValueError(f"Non-positive multiplication factor {times} for {type(self)}")
        return Sequential(*(module for _ in range(times) for module in self))


class ModuleList(_Numbered):
    """A list of modules whose parameters are seen; it has no forward of its own."""

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.extend(modules)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)([self._modules[name] for name in self._names(index)])  # type: ignore[misc]
        return self._modules[self._names(index)[0]]

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])

    def __iadd__(self, modules: Iterable[Module]) -> ModuleList:
        return self.extend(modules)

    def _child_lines(self) -> list[str]:
        """Neighbours that print alike share a line."""
        runs: list[tuple[int, int, str]] = []
        for position, module in enumerate(self):
            text = repr(module)
            if runs and runs[-1][2] == text:
                runs[-1] = runs[-1][0], position, text
            else:
                runs.append((position, position, text))
        return [
            f"({first}): {_indented(text)}"
            if first == last
            else f"({first}-{last}): {_indented(f'{last - first + 1} x {text}')}"
            for first, last, text in runs
        ]


class ModuleDict(Module):
    """A dict of modules whose parameters are seen; it has no forward of its own."""

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __getitem__(self, key: str) -> Any:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: object) -> bool:
        return key in self._modules

    def clear(self) -> None:
        """Take all modules out."""
        self._modules.clear()

    def pop(self, key: str) -> Any:
        """Take a module out and return it."""
        return self._modules.pop(key)

    def keys(self) -> Any:
        """The names."""
        return self._modules.keys()

    def items(self) -> Any:
        """(name, module) pairs."""
        return self._modules.items()

    def values(self) -> Any:
        """The modules."""
        return self._modules.values()

    def update(self, modules: Any) -> None:
        """Add modules from a mapping or from (name, module) pairs."""
        for name, module in modules.items() if hasattr(modules, "items") else modules:
            self[name] = module


class ParameterList(Module):
    """A list of parameters that the module sees; tensors become parameters."""

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        self._length = 0
        if values is not None:
            self.extend(values)

    def _name(self, index: Any) -> str:
        position = operator.index(index)
        if not -self._length <= position < self._length:
            raise IndexError(f"index {position} is out of range for a ParameterList of {self._length}")
        return str(position % self._length)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)([self[i] for i in range(*index.indices(self._length))])
        return getattr(self, self._name(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        setattr(self, self._name(index), _as_parameter(value))

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(self._length))

    def append(self, value: Any) -> ParameterList:
        """Put a value at the end; returns the list."""
        self._length += 1
        self[self._length - 1] = value
        return self

    def extend(self, values: Iterable[Any]) -> ParameterList:
        """Put values at the end; returns the list."""
        for value in list(values):
            self.append(value)
        return self

    def __iadd__(self, values: Iterable[Any]) -> ParameterList:
        return self.extend(values)

    def extra_repr(self) -> str:
        return _listing(enumerate(self))


class ParameterDict(Module, MutableMapping[str, Any]):
    """A dict of parameters that the module sees, in the order of insertion; tensors become parameters.

    Args:
        parameters: a mapping, or (name, value) pairs; None for an empty dict.

    Raises:
        TypeError: for a name that is not a string.
        KeyError: for a name with a dot, or the name of an attribute of modules ("training", "forward").
    """

    def __init__(self, parameters: Any = None) -> None:
        super().__init__()
        self._keys: dict[str, None] = {}
        if parameters is not None:
            self.update(parameters)

    __eq__ = object.__eq__  # a module is itself and no other, whatever it holds
    __hash__ = object.__hash__

    def __getitem__(self, key: str) -> Any:
        if key not in self._keys:
            raise KeyError(key)
        return getattr(self, key)

    def __setitem__(self, key: str, value: Any) -> None:
        self._check_name(key, "parameter")
        if key not in self._keys and (key in self.__dict__ or hasattr(type(self), key)):
            raise KeyError(f"ParameterDict: '{key}' is an attribute of modules and cannot name a parameter")
        setattr(self, key, _as_parameter(value))
        self._keys[key] = None

    def __delitem__(self, key: str) -> None:
        if key not in self._keys:
            raise KeyError(key)
        delattr(self, key)
        del self._keys[key]

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def popitem(self) -> tuple[str, Any]:
        """Take out what was put in last, and return its name and value."""
        key = next(reversed(self), None)
        if key is None:
            raise KeyError("popitem(): the ParameterDict is empty")
        return key, self.pop(key)

    def copy(self) -> ParameterDict:
        """Another dict of the same parameters."""
        return ParameterDict(self)

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> ParameterDict:
        """Another dict, with these names and one value for all."""
        return ParameterDict((key, default) for key in keys)

    def __or__(self, other: Mapping[str, Any]) -> ParameterDict:
        both = self.copy()
        both.update(other)
        return both

    def __ror__(self, other: Mapping[str, Any]) -> ParameterDict:
        both = ParameterDict(other)
        both.update(self)
        return both

    def __ior__(self, other: Mapping[str, Any]) -> ParameterDict:
        self.update(other)
        return self

    def extra_repr(self) -> str:
        return _listing(self.items())


def _listing(entries: Iterable[tuple[Any, Any]]) -> str:
    """A line for each value of a list or dict of parameters."""
    lines = []
    for name, value in entries:
        if isinstance(value, Tensor):
            kind = "Parameter" if isinstance(value, Parameter) else "Tensor"
            size = "x".join(str(s) for s in value.shape)
            where = f" ({value.device})" if value.is_cuda else ""
            lines.append(f"  ({name}): {kind} containing: [numbanet.{value.dtype.name} of size {size}{where}]")
        else:
            lines.append(f"  ({name}): Object of type: {type(value).__name__}")
    return "\n".join(lines)


def _as_parameter(value: Any) -> Any:
    return Parameter(value) if isinstance(value, Tensor) and not isinstance(value, Parameter) else value
