"""Optimizer: parameter groups, state and its saving; Elementwise: what the update rules of ``kernels/update.py`` share.

A step reads and writes each number once, and on the CPU all parameters of a group are one launch.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping
from copy import deepcopy
from operator import is_
from typing import Any
from weakref import ref

import numpy as np

from numbanet import devices
from numbanet.autograd import RemovableHandle, enable_grad, no_grad
from numbanet.devices import Array
from numbanet.dtypes import is_half
from numbanet.kernels.update import Step, Table, address
from numbanet.tensor import Tensor, wrap

# What schedules note in a group, besides its options.
_SCHEDULED = frozenset({"initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum"})
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
_NUMBERS = frozenset({"step", "eta", "mu", "mu_product"})  # states that are plain numbers
_Entry = tuple[Tensor, Array, Array]  # a parameter, its values and its gradient, both C-contiguous


class Optimizer:
    """Base of the optimisers, as ``torch.optim.Optimizer``.

    A subclass gives its default options and defines ``update(parameter, values, gradient, state, options)``.

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
            raise KeyError(f"a parameter group needs the key 'params', got {sorted(param_group)}")
        unknown = set(param_group) - set(self.defaults) - {"params", "param_names"} - _SCHEDULED
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
            if not parameter.is_floating_point():
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
        lr = group.get("lr", 0)
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError(f"Tensor lr must be 1-element, got shape {tuple(lr.shape)}")
        elif not isinstance(lr, int | float | np.number | Tensor):
            raise TypeError(f"{type(self).__name__}: lr must be a number, got {lr!r}")
        if not float(lr) >= 0:
            raise ValueError(f"Invalid learning rate: {lr}")
        if group.get("differentiable"):
            raise NotImplementedError(
                f"{type(self).__name__}: steps cannot be differentiated, differentiable must be False"
            )
        if group.get("fused") and group.get("foreach"):
            raise RuntimeError(f"{type(self).__name__}: `fused` and `foreach` cannot be `True` together.")

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
        for number, group in enumerate(self.param_groups):
            self._step_group(number, group)
        self._step_count += 1
        for hook in self._after:
            hook(self, (closure,), {})
        return loss

    def _step_group(self, number: int, group: dict[str, Any]) -> None:
        """Change the parameters of group ``number``."""
        options = self.prepare(group)
        for parameter, array, slope in self._entries(group):
            self.update(parameter, array.reshape(-1), slope.reshape(-1), self.state[parameter], options)
            self._put(parameter, array)

    def _entries(self, group: dict[str, Any]) -> list[_Entry]:
        """The parameters that have a gradient. Values are the parameter's own, or a copy where those are not contiguous."""
        found = []
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
            if array.dtype != slope.dtype or type(array) is not type(slope):
                raise RuntimeError(
                    f"{type(self).__name__}: a parameter of shape {tuple(array.shape)}, dtype {array.dtype} on "
                    f"{parameter.device} has a gradient of dtype {slope.dtype} on {gradient.device}"
                )
            if array.size:
                values = array if devices.is_contiguous(array) else devices.copy(array)
                found.append((parameter, values, slope if devices.is_contiguous(slope) else devices.contiguous(slope)))
        return found

    def _put(self, parameter: Tensor, values: Array) -> None:
        """The parameter's values, as ``_entries`` gave them, have changed."""
        if values is parameter._array:
            parameter._count_change()
        else:
            with no_grad():
                parameter.copy_(wrap(values))

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
                {k: v for k, v in group.items() if k != "params" and not (k == "l1_decay" and v == 0)}
                | {"params": [numbers[id(p)] for p in group["params"]]}
            )
        state = {numbers[id(p)]: dict(values) for p, values in self.state.items() if id(p) in numbers and values}
        return {"state": dict(sorted(state.items())), "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a state that ``state_dict`` gave (PyTorch's own, with tensors converted, will do); copies it.

        Raises:
            KeyError: where it is no such state.
            ValueError: where it does not fit this optimiser's groups or parameters.
        """
        if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= set(state_dict):
            raise KeyError("load_state_dict: expected a dict with the keys 'state' and 'param_groups'")
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
                **({"l1_decay": 0} if "l1_decay" in group else {}),  # left out where it is 0
                **deepcopy({k: v for k, v in saved.items() if k != "params" and (k in group or k in _SCHEDULED)}),
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
            if isinstance(value, Tensor) and key in _NUMBERS:  # PyTorch keeps them as tensors
                value = value.item()
            if key == "step":
                value = int(value)
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


class Elementwise(Optimizer):
    """Base of the optimisers whose rule is a ``Step`` of ``kernels/update.py``.

    A subclass defines ``rule``, ``begin`` and, where a step depends on more than the group, ``options``. Options that speak
    of how PyTorch computes (foreach, fused, capturable) are accepted and change nothing.
    """

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        # For each (group, dtype): sizes, table, the arrays whose addresses stand in it, and the gradients: weakly, for their
        # memory is to be free for the next backward pass.
        self._tables: dict[tuple[int, np.dtype], tuple[list[int], Table, list[Array], list[ref[Array]]]] = {}
        super().__init__(params, defaults)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tables": {}}  # a copy's arrays lie elsewhere

    def check(self, group: dict[str, Any]) -> None:
        super().check(group)
        in_range("weight_decay value", float(group.get("weight_decay", 0)))
        in_range("l1_decay value", float(group.get("l1_decay", 0)))

    def rule(self, group: dict[str, Any]) -> tuple[Step, tuple[str, ...]]:
        """The kernel of a group, and the names of its state arrays."""
        raise NotImplementedError(f"{type(self).__name__} must define rule")

    def begin(self, parameter: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Put into ``state`` what is missing there before a step."""

    def options(self, prepared: Any, state: dict[str, Any]) -> tuple[Any, ...]:
        """The kernel's options for one parameter, from what ``prepare`` made of its group; counts the step."""
        return prepared

    def _step_group(self, number: int, group: dict[str, Any]) -> None:
        entries = self._entries(group)
        if not entries:
            return
        step, names = self.rule(group)
        prepared = self.prepare(group)
        arrays = [[values] for _, values, _ in entries]  # the parameter's and the states'
        options = [prepared] * len(entries)
        if names:
            for i, (parameter, _, _) in enumerate(entries):
                state = self.state[parameter]
                self.begin(parameter, state, group)
                arrays[i] += [state[name]._array for name in names]
                options[i] = self.options(prepared, state)
        if all([type(values) is np.ndarray and not is_half(values.dtype) for _, values, _ in entries]):
            kinds = [values.dtype for _, values, _ in entries]
            if kinds.count(kinds[0]) == len(kinds):
                self._run((number, kinds[0]), step, entries, arrays, options)
            else:
                for dtype in set(kinds):
                    mine = [i for i, kind in enumerate(kinds) if kind == dtype]
                    self._run(
                        (number, dtype),
                        step,
                        [entries[i] for i in mine],
                        [arrays[i] for i in mine],
                        [options[i] for i in mine],
                    )
        else:
            for (_, _, slope), held, numbers in zip(entries, arrays, options, strict=True):
                step(slope.reshape(-1), *[array.reshape(-1) for array in held], *numbers)
        for parameter, values, _ in entries:
            self._put(parameter, values)

    def _run(
        self,
        key: tuple[int, np.dtype],
        step: Step,
        entries: list[_Entry],
        arrays: list[list[Array]],
        options: list[tuple[Any, ...]],
    ) -> None:
        """Launch the kernel over entries that lie on the CPU and have one dtype, ``key``'s."""
        if key[1] not in _FLOATS:
            raise TypeError(f"{type(self).__name__}: parameters must be float32 or float64, got {key[1]}")
        table = self._table(key, step, arrays, [slope for _, _, slope in entries])
        sets: dict[tuple[Any, ...], int] = {}
        table.rows[:, 0] = [sets.setdefault(chosen, len(sets)) for chosen in options]
        numbers = np.array([step.numbers(*chosen) for chosen in sets], key[1])
        if len({id(parameter) for parameter, _, _ in entries}) == len(entries):
            step.run(table, numbers)
        else:  # a parameter that stands there twice is changed twice, one time after the other
            for row, held in zip(table.rows, arrays, strict=True):
                alone = Table([held[0].size], len(held) + 1)
                alone.rows[0] = row
                step.run(alone, numbers)

    def _table(self, key: tuple[int, np.dtype], step: Step, arrays: list[list[Array]], gradients: list[Array]) -> Table:
        """The table of these arrays' addresses; that of the step before as far as nothing has moved."""
        flat = [array for held in arrays for array in held]
        sizes, table, known, slopes = self._tables.get(key, ([], None, [], []))
        if table is None or not _same(flat, known):
            wanted = [held[0].size for held in arrays]
            for held in arrays:
                for array in held:
                    if array.size != held[0].size or array.dtype != key[1] or not devices.is_contiguous(array):
                        raise RuntimeError(
                            f"{type(self).__name__}: a state of shape {array.shape} and dtype {array.dtype} does not fit "
                            f"its parameter of shape {held[0].shape} and dtype {key[1]}"
                        )
            if table is None or wanted != sizes or table.rows.shape[1] != 3 + step.states:
                table, slopes = Table(wanted, 2 + step.states), []
            table.rows[:, 2:] = [[address(array) for array in held] for held in arrays]
            sizes = wanted
        if not _same(gradients, [reference() for reference in slopes]):
            table.rows[:, 1] = [address(slope) for slope in gradients]
            slopes = [ref(slope) for slope in gradients]
        self._tables[key] = sizes, table, flat, slopes
        return table


def _same(some: list[Any], others: list[Any]) -> bool:
    """Whether two lists hold the very same objects."""
    return len(some) == len(others) and all(map(is_, some, others))


def zeros_like_parameter(parameter: Tensor) -> Tensor:
    """A C-contiguous tensor of zeros with the parameter's shape, dtype and device."""
    return wrap(devices.full(tuple(parameter.shape), 0, parameter.dtype, parameter.device))


def in_range(name: str, value: Any, low: float = 0.0, high: float = float("inf")) -> None:
    """Refuse an option outside [low, high); NaN too."""
    if not low <= value < high:
        raise ValueError(f"Invalid {name}: {value}")
