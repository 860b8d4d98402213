"""Optimizer: parameter groups, state and its saving; the subclasses hold the update of one parameter.

A step is one kernel per parameter, which reads and writes each number once; see ``kernels/update.py``.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import numpy as np

from numbanet import devices
from numbanet.autograd import RemovableHandle, enable_grad, no_grad
from numbanet.devices import Array
from numbanet.tensor import Tensor, wrap


class Optimizer:
    """Base of the optimisers, as ``torch.optim.Optimizer``.

    A subclass gives its default options and defines ``update(parameter, values, gradient, state, group)``.

    Args:
        params: tensors to optimise, or (name, tensor) pairs, or dicts that each describe a group: its ``"params"`` and the
            options in which it differs from the defaults.
        defaults: the options of groups that do not give their own.

    Attributes:
        param_groups: a dict for each group: ``"params"`` and its options, which may be changed between steps.
        state: for each parameter what the method remembers of it.

    Raises:
        TypeError: for something that is not an iterable of tensors.
        ValueError: for no parameters, a parameter in two groups, a tensor that is not a leaf.
    """

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self._before: list[Callable[..., Any]] = []
        self._after: list[Callable[..., Any]] = []
        self._step_count = 0
        given = self._listed(params)
        if not given:
            raise ValueError("optimizer got an empty parameter list")
        groups = given if isinstance(given[0], dict) else [{"params": given}]
        for group in groups:
            self.add_param_group(group)

    def _listed(self, params: Any) -> list[Any]:
        """``params`` as a list, refusing what users pass by mistake."""
        name = type(self).__name__
        if isinstance(params, Tensor):
            raise TypeError(
                f"{name}: params must be an iterable of tensors or dicts, got a single Tensor; write [tensor]"
            )
        if isinstance(params, dict | set | frozenset | str):
            raise TypeError(
                f"{name}: params must be an ordered iterable of tensors or dicts, got {type(params).__name__}"
            )
        if callable(params) and hasattr(params, "__self__"):
            raise TypeError(
                f"{name}: params is the method {params.__name__!r} itself, not what it returns; "
                f"write {name}(net.{params.__name__}(), ...) with the parentheses"
            )
        if hasattr(params, "parameters"):
            raise TypeError(f"{name}: params is a {type(params).__name__}; write {name}(net.parameters(), ...)")
        try:
            return list(params)
        except TypeError:
            raise TypeError(
                f"{name}: params must be an iterable of tensors or dicts, got {type(params).__name__}"
            ) from None

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Optimise more parameters: a dict with ``"params"`` and the options that differ from the defaults."""
        if not isinstance(param_group, dict):
            raise TypeError(f"a parameter group must be a dict, got {type(param_group).__name__}")
        if "params" not in param_group:
            raise ValueError(f"a parameter group needs the key 'params', got {sorted(param_group)}")
        unknown = set(param_group) - set(self.defaults) - {"params", "param_names", "initial_lr"}
        if unknown:
            raise ValueError(
                f"{type(self).__name__} has no option {', '.join(sorted(map(repr, unknown)))}; its options are "
                f"{', '.join(self.defaults)}"
            )
        given = param_group["params"]
        entries = [given] if isinstance(given, Tensor) else self._listed(given)
        named = [entry for entry in entries if isinstance(entry, tuple) and len(entry) == 2]
        if named and len(named) != len(entries):
            raise ValueError("either all parameters of an optimizer have names or none; got a mixture")
        parameters = [entry[1] for entry in named] or entries
        for parameter in parameters:
            if not isinstance(parameter, Tensor):
                raise TypeError(
                    f"optimizer can only optimize Tensors, but one of the params is {type(parameter).__name__}"
                )
            if not parameter.is_leaf:
                raise ValueError(
                    f"can't optimize a non-leaf Tensor (shape {tuple(parameter.shape)}, {parameter.grad_fn!r})"
                )
            if parameter.dtype.kind != "f":
                raise ValueError(f"can't optimize a Tensor of dtype {parameter.dtype}: it has no gradient")
        if len(set(map(id, parameters))) != len(parameters):
            warnings.warn("a parameter stands twice in one group: each step will change it twice", stacklevel=3)
        present = {id(p) for group in self.param_groups for p in group["params"]}
        if any(id(parameter) in present for parameter in parameters):
            raise ValueError("some parameters appear in more than one parameter group")
        group = {**self.defaults, **param_group, "params": parameters}
        if named:
            group["param_names"] = [name for name, _ in named]
        self.check(group)
        self.param_groups.append(group)

    def check(self, group: dict[str, Any]) -> None:
        """Refuse options that make no sense; subclasses add theirs."""
        if not float(group.get("lr", 0)) >= 0:
            raise ValueError(f"Invalid learning rate: {group['lr']}")

    # ------------------------------------------------------------------ stepping

    def prepare(self, group: dict[str, Any]) -> Any:
        """What ``update`` is to get as ``options`` of a group, worked out once for all its parameters in a step."""
        return group

    def update(self, parameter: Tensor, values: Array, gradient: Array, state: dict[str, Any], options: Any) -> None:
        """Change ``values``, the parameter's numbers in one dimension, in place.

        Args:
            parameter: the parameter itself, for its shape and device.
            values: its numbers, shape (n,), C-contiguous.
            gradient: its gradient, shape (n,), C-contiguous, not to be changed.
            state: what the method remembers of this parameter; empty before its first step.
            options: what ``prepare`` made of its group.
        """
        raise NotImplementedError(f"{type(self).__name__}: define update, or override step")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change all parameters that have a gradient.

        Args:
            closure: evaluates the model again and returns the loss; called first, with recording on.

        Returns:
            What the closure returned, or None.
        """
        for hook in self._before:
            hook(self, (closure,), {})
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        state = self.state
        for group in self.param_groups:
            options = self.prepare(group)
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is None:
                    continue
                array, slope = parameter._array, gradient._array
                if array.shape != slope.shape:
                    raise RuntimeError(
                        f"{type(self).__name__}: a parameter of shape {tuple(array.shape)} has a gradient of shape "
                        f"{tuple(slope.shape)}"
                    )
                if array.size == 0:
                    continue
                if not devices.is_contiguous(slope):
                    slope = devices.contiguous(slope)
                if devices.is_contiguous(array):
                    self.update(parameter, array.reshape(-1), slope.reshape(-1), state[parameter], options)
                    parameter._count_change()
                else:
                    values = devices.copy(array)
                    self.update(parameter, values.reshape(-1), slope.reshape(-1), state[parameter], options)
                    with no_grad():
                        parameter.copy_(wrap(values))
        self._step_count += 1
        for hook in self._after:
            hook(self, (closure,), {})
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients: set them to None, or to zeros in place."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if set_to_none:
                    parameter.grad = None
                elif parameter.grad is not None:
                    parameter.grad.detach_()
                    parameter.grad.zero_()

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` before each step."""
        self._before.append(hook)
        return RemovableHandle(self._before, hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` after each step."""
        self._after.append(hook)
        return RemovableHandle(self._after, hook)

    # ------------------------------------------------------------------ saving

    def state_dict(self) -> dict[str, Any]:
        """The state and the options in PyTorch's layout, parameters numbered in order of their groups."""
        numbers: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for parameter in group["params"]:
                numbers.setdefault(id(parameter), len(numbers))
            groups.append(
                {k: v for k, v in group.items() if k != "params"}
                | {"params": [numbers[id(p)] for p in group["params"]]}
            )
        state = {numbers[id(p)]: dict(values) for p, values in self.state.items() if id(p) in numbers and values}
        return {"state": dict(sorted(state.items())), "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a state that ``state_dict`` gave (PyTorch's own, with tensors converted, will do); copies it.

        Raises:
            ValueError: where it does not fit this optimiser's groups or parameters.
        """
        if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= set(state_dict):
            raise ValueError("load_state_dict: expected a dict with the keys 'state' and 'param_groups'")
        saved_groups = state_dict["param_groups"]
        if len(saved_groups) != len(self.param_groups):
            raise ValueError(
                "loaded state dict has a different number of parameter groups: "
                f"{len(saved_groups)}, expected {len(self.param_groups)}"
            )
        by_number: dict[Any, Tensor] = {}
        for position, (group, saved) in enumerate(zip(self.param_groups, saved_groups, strict=True)):
            if len(saved["params"]) != len(group["params"]):
                raise ValueError(
                    "loaded state dict contains a parameter group that doesn't match the size of optimizer's group: "
                    f"group {position} has {len(saved['params'])} parameters, expected {len(group['params'])}"
                )
            by_number.update(zip(saved["params"], group["params"], strict=True))
        state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        for number, values in state_dict["state"].items():
            if number not in by_number:
                raise ValueError(f"loaded state dict has a state for parameter {number}, which stands in no group")
            state[by_number[number]] = self._loaded(number, by_number[number], values)
        groups = [
            {
                **group,
                **deepcopy({k: v for k, v in saved.items() if k != "params" and (k in group or k == "initial_lr")}),
            }
            for group, saved in zip(self.param_groups, saved_groups, strict=True)
        ]
        for group in groups:
            self.check(group)
        for group, new in zip(self.param_groups, groups, strict=True):
            group.update(new)
        self.state = state

    def _loaded(self, number: Any, parameter: Tensor, values: Mapping[str, Any]) -> dict[str, Any]:
        """A parameter's saved state, copied to its device and dtype."""
        loaded: dict[str, Any] = {}
        for key, value in values.items():
            if isinstance(value, np.ndarray):
                value = wrap(value)
            if isinstance(value, Tensor) and value.numel() == 1 and key == "step":  # PyTorch keeps it as a tensor
                value = int(value.item())
            if isinstance(value, Tensor):
                if tuple(value.shape) != tuple(parameter.shape):
                    raise ValueError(
                        f"loaded state dict: {key} of parameter {number} has shape {tuple(value.shape)}, expected "
                        f"{tuple(parameter.shape)}"
                    )
                host = devices.copy(devices.to_host(value._array)).astype(parameter.dtype, copy=False)
                loaded[key] = wrap(devices.to_device(host, parameter.device))
            elif value is not None:
                loaded[key] = deepcopy(value)
        return loaded

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for position, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {position}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key not in ("params", "param_names")]
        return "\n".join([*lines, ")"])


_absent: dict[np.dtype, Array] = {}


def no_array(values: Array) -> Array:
    """The empty array that stands in a kernel's arguments for a buffer that is not used."""
    if type(values) is np.ndarray:
        return values[:0]
    if values.dtype not in _absent:
        _absent[values.dtype] = devices.empty((0,), values.dtype, devices.device_of(values))
    return _absent[values.dtype]


def zeros_like_parameter(parameter: Tensor) -> Tensor:
    """A C-contiguous tensor of zeros with the parameter's shape, dtype and device."""
    return wrap(devices.full(tuple(parameter.shape), 0, parameter.dtype, parameter.device))


def in_range(name: str, value: Any, low: float = 0.0, high: float = float("inf")) -> None:
    """Refuse an option outside [low, high); NaN too."""
    if not low <= value < high:
        raise ValueError(f"Invalid {name}: {value}")
