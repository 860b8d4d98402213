"""Module: the base of layers and networks. It keeps parameters, buffers and submodules by name.

What is assigned to an attribute decides where it goes: a ``Parameter`` among the parameters, a ``Module`` among the
submodules, anything else in the instance's ``__dict__`` as usual. Names and order are those of assignment, so
that state_dict keys are PyTorch's.
"""

from __future__ import annotations

import difflib
import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

from numbanet import dtypes
from numbanet.autograd import Function, RemovableHandle, no_grad
from numbanet.devices import Device, as_device
from numbanet.nn.parameter import Parameter, Uninitialized
from numbanet.tensor import Tensor, from_numpy

__all__ = ["Module"]

Self = TypeVar("Self", bound="Module")


class IncompatibleKeys(NamedTuple):
    """What ``load_state_dict`` did not find, and what it did not know."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


class _Hooks:
    """A module's hooks; most modules have none, and then no such object."""

    def __init__(self) -> None:
        self.before: list[tuple[Callable[..., Any], bool]] = []  # (hook, whether it wants keyword arguments)
        self.after: list[tuple[Callable[..., Any], bool]] = []
        self.backward: list[Callable[..., Any]] = []


class Module:
    """A layer or network, as ``torch.nn.Module``: subclass it, assign parts in ``__init__``, compute in ``forward``.

    Example::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = nn.Conv2d(1, 6, 5)
                self.fc = nn.Linear(6 * 24 * 24, 10)

            def forward(self, x):
                return self.fc(self.conv(x).relu().flatten(1))

    Attributes:
        training: True after ``train()``, False after ``eval()``; Dropout and BatchNorm look at it.
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _not_saved: set[str]  # names of the buffers outside state_dict
    _hooks: _Hooks | None = None
    _may_be_missing: frozenset[str] = frozenset()  # names that load_state_dict does without

    def __init__(self) -> None:
        put = super().__setattr__
        put("training", True)
        put("_parameters", {})
        put("_buffers", {})
        put("_modules", {})
        put("_not_saved", set())

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The computation; every subclass defines it."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._hooks is None:
            return self.forward(*args, **kwargs)
        return self._call_with_hooks(self._hooks, args, kwargs)

    # ---------------------------------------------------------------------------------------------- attributes

    def __setattr__(self, name: str, value: Any) -> None:
        fields = self.__dict__
        if isinstance(value, Parameter):
            self._require_init(name, "parameters")
            _remove_from(name, fields, self._buffers, self._modules)
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            self._require_init(name, "modules")
            _remove_from(name, fields, self._parameters, self._buffers)
            self._check_name(name, "module")
            self._modules[name] = value
        elif name in fields.get("_parameters", ()):
            if value is not None:
                raise TypeError(
                    f"cannot assign a {type(value).__name__} as parameter '{name}' of {type(self).__name__}: expected an "
                    "nn.Parameter or None (wrap it: nn.Parameter(tensor))"
                )
            self._parameters[name] = None
        elif name in fields.get("_modules", ()):
            if value is not None:
                raise TypeError(
                    f"cannot assign a {type(value).__name__} as child module '{name}' of {type(self).__name__}: expected "
                    "an nn.Module or None"
                )
            self._modules[name] = None
        elif name in fields.get("_buffers", ()):
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(
                    f"cannot assign a {type(value).__name__} as buffer '{name}' of {type(self).__name__}: expected a "
                    "Tensor or None"
                )
            self._buffers[name] = value
        else:
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:  # called for what is not found in the usual way
        fields = self.__dict__
        for place in ("_parameters", "_buffers", "_modules"):
            if place in fields and name in fields[place]:
                return fields[place][name]
        raise AttributeError(self._no_such_attribute(name))

    def __delattr__(self, name: str) -> None:
        for place in (self._parameters, self._buffers, self._modules):
            if name in place:
                del place[name]
                self._not_saved.discard(name)
                return
        super().__delattr__(name)

    def __dir__(self) -> list[str]:
        names = {*super().__dir__(), *self._parameters, *self._buffers, *self._modules}
        return sorted(name for name in names if not name[0].isdigit())

    def _no_such_attribute(self, name: str) -> str:
        if "_modules" not in self.__dict__ and not name.startswith("__"):
            return f"'{type(self).__name__}' object has no attribute '{name}': super().__init__() was not called yet"
        message = f"'{type(self).__name__}' object has no attribute '{name}'"
        if not name.startswith("__"):
            close = difflib.get_close_matches(name, self.__dir__(), n=1, cutoff=0.75)
            if close:
                message += f". Did you mean: '{close[0]}'?"
        return message

    def _require_init(self, name: str, what: str) -> None:
        if "_modules" not in self.__dict__:
            raise AttributeError(
                f"cannot assign {what} before Module.__init__() call: call super().__init__() first in "
                f"{type(self).__name__}.__init__, then set '{name}'"
            )

    def _check_name(self, name: Any, what: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{what} name should be a string, got {type(name).__name__}")
        if "." in name:
            raise KeyError(f'{what} name can\'t contain ".", got: {name}')
        if name == "":
            raise KeyError(f'{what} name can\'t be empty string ""')

    def _refuse_taken(self, name: str, place: Mapping[str, Any]) -> None:
        """KeyError for a name that is taken, unless in its own place. No hasattr: __getattr__ writes a message on every miss."""
        if name in place:
            return
        others = (self.__dict__, self._parameters, self._buffers, self._modules)
        if any(name in other for other in others) or hasattr(type(self), name):
            raise KeyError(f"attribute '{name}' already exists")

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Keep a tensor that is no parameter but moves with the module: running statistics, for instance.

        Args:
            name: the attribute's name.
            tensor: its value, or None.
            persistent: whether it belongs to ``state_dict``.
        """
        self._require_init(name, "buffers")
        self._check_name(name, "buffer")
        self._refuse_taken(name, self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"cannot assign a {type(tensor).__name__} to buffer '{name}': expected a Tensor or None")
        self._buffers[name] = tensor
        if persistent:
            self._not_saved.discard(name)
        else:
            self._not_saved.add(name)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Keep a parameter, or None for one that this instance does without, under an attribute's name."""
        self._require_init(name, "parameters")
        self._check_name(name, "parameter")
        self._refuse_taken(name, self._parameters)
        if param is not None:
            if not isinstance(param, Parameter):
                raise TypeError(
                    f"cannot assign a {type(param).__name__} to parameter '{name}': expected an nn.Parameter or None"
                )
            if param.grad_fn is not None:
                raise ValueError(
                    f"cannot assign a tensor with a grad_fn to parameter '{name}': parameters are leaves; compute it in forward()"
                )
        self._parameters[name] = param

    def add_module(self, name: str, module: Module | None) -> None:
        """Keep a submodule under a name, which becomes an attribute."""
        self._require_init(name, "modules")
        if module is not None and not isinstance(module, Module):
            raise TypeError(
                f"{module!r} ({type(module).__name__}) is not a Module subclass; it was to become child '{name}'"
            )
        self._check_name(name, "module")
        self._refuse_taken(name, self._modules)
        self._modules[name] = module

    register_module = add_module

    # --------------------------------------------------------------------------------------------------- walks

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below it, with dotted names; a module met twice only once."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """This module and all below it."""
        for _, module in self.named_modules():
            yield module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The submodules directly below this one, with their names."""
        seen: set[Module] = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """The submodules directly below this one."""
        for _, module in self.named_children():
            yield module

    def _named_members(
        self, place: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        for path, module in modules:
            for name, value in module.__dict__[place].items():
                if value is None or id(value) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(value))
                yield f"{path}.{name}" if path else name, value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """The parameters with dotted names; one that several modules share only once."""
        return self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, as optimizers take them."""
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """The buffers with dotted names."""
        return self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def get_submodule(self, target: str) -> Module:
        """The module of a dotted name, such as "features.0"; this one for ""."""
        module = self
        for name in target.split(".") if target else ():
            found = getattr(module, name, None)
            if not isinstance(found, Module):
                raise AttributeError(f"{type(module).__name__} has no submodule '{name}' (looking for '{target}')")
            module = found
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter of a dotted name, such as "features.0.weight"."""
        path, _, name = target.rpartition(".")
        found = self.get_submodule(path)._parameters.get(name)
        if found is None:
            raise AttributeError(f"{type(self).__name__} has no parameter '{target}'")
        return found

    def get_buffer(self, target: str) -> Tensor:
        """The buffer of a dotted name, such as "bn.running_mean"."""
        path, _, name = target.rpartition(".")
        found = self.get_submodule(path)._buffers.get(name)
        if found is None:
            raise AttributeError(f"{type(self).__name__} has no buffer '{target}'")
        return found

    # ----------------------------------------------------------------------------------------------- the state

    def state_dict(
        self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> OrderedDict[str, Any]:
        """Parameters and persistent buffers by dotted names, outside the graph but sharing memory.

        Args:
            destination: a dict to fill; None for a new one.
            prefix: goes before every name.
            keep_vars: give the parameters themselves instead of detached tensors.
        """
        destination = OrderedDict() if destination is None else destination
        for name, value in self._own_state().items():
            destination[prefix + name] = value if keep_vars else value.detach()
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        return destination

    def _own_state(self) -> dict[str, Tensor]:
        """This module's own parameters and persistent buffers."""
        state: dict[str, Any] = {name: value for name, value in self._parameters.items() if value is not None}
        for name, value in self._buffers.items():
            if value is not None and name not in self._not_saved:
                state[name] = value
        return state

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copy values into parameters and buffers by name.

        Args:
            state_dict: tensors (or NumPy arrays) by dotted names.
            strict: refuse missing and unexpected names. ``num_batches_tracked``, which old files lack, may be missing.
            assign: put the given tensors in place of the values instead of copying.

        Returns:
            (missing_keys, unexpected_keys).

        Raises:
            RuntimeError: listing everything that does not fit; nothing is changed then.
            TypeError: for a state_dict that is not a dict.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        places: dict[str, tuple[Module, str, Tensor]] = {}
        grown: dict[Any, Module] = {}  # lazy layers, and the regular ones that they will be
        for path, module in self.named_modules(remove_duplicate=False):
            prefix = f"{path}." if path else ""
            regular = grown.get(module) or module._for_loading(prefix, state_dict)
            if regular is not module:
                grown[module] = regular
            for name, value in regular._own_state().items():
                places[prefix + name] = module, name, value
        missing = [
            key
            for key, (module, name, _) in places.items()
            if key not in state_dict and name not in module._may_be_missing
        ]
        unexpected = [key for key in state_dict if key not in places]
        problems = []
        if strict and missing:
            problems.append("Missing key(s) in state_dict: " + ", ".join(f'"{k}"' for k in missing) + ". ")
        if strict and unexpected:
            problems.append("Unexpected key(s) in state_dict: " + ", ".join(f'"{k}"' for k in unexpected) + ". ")
        values: dict[str, Tensor] = {}
        for key, (_, _, current) in places.items():
            if key not in state_dict:
                continue
            value = state_dict[key]
            if isinstance(value, np.ndarray):
                value = from_numpy(value)
            if not isinstance(value, Tensor):
                problems.append(
                    f'While copying the parameter named "{key}", expected a Tensor but received {type(value)}. '
                )
                continue
            if isinstance(value, Uninitialized) or isinstance(current, Uninitialized):
                if type(value) is not type(current):
                    where = "state_dict" if isinstance(value, Uninitialized) else "current model"
                    problems.append(f'"{key}" has no values yet in the {where}: call that network once with a batch. ')
                continue
            if tuple(value.shape) == (1,) and tuple(current.shape) == ():  # as old PyTorch files have it
                value = value.reshape(())
            if tuple(value.shape) != tuple(current.shape):
                problems.append(
                    f"size mismatch for {key}: copying a param with shape {tuple(value.shape)} from checkpoint, the shape in "
                    f"current model is {tuple(current.shape)}."
                )
                continue
            values[key] = value
        if problems:
            listing = "".join(f"\n\t{problem}" for problem in problems)
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:{listing}")
        for lazy, regular in grown.items():
            lazy._become(regular)
        with no_grad():
            for key, value in values.items():
                module, name, current = places[key]
                if not assign:
                    current.copy_(value)
                elif name in module._parameters:
                    module._parameters[name] = (
                        value if isinstance(value, Parameter) else Parameter(value.detach(), current.requires_grad)
                    )
                else:
                    module._buffers[name] = value
        return IncompatibleKeys(missing, unexpected)

    def _for_loading(self, prefix: str, state_dict: Mapping[str, Any]) -> Module:
        """The module with the parameters that ``state_dict`` is for: this one, or what a lazy layer will be."""
        return self

    # ----------------------------------------------------------------------------------------------- all at once

    def train(self: Self, mode: bool = True) -> Self:
        """Put this module and all below it into training mode (or, with False, evaluation mode); returns it."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self: Self) -> Self:
        """Put this module and all below it into evaluation mode; returns it."""
        return self.train(False)

    def apply(self: Self, fn: Callable[[Module], Any]) -> Self:
        """Call ``fn`` on every module below this one and last on this one; returns it."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def requires_grad_(self: Self, requires_grad: bool = True) -> Self:
        """Switch gradients of all parameters on or off; returns the module."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the parameters' gradients (or fill them with zeros)."""
        for parameter in self.parameters():
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad = parameter.grad.detach()
                parameter.grad.zero_()

    def _apply(self: Self, fn: Callable[[Tensor], Tensor]) -> Self:
        """Put ``fn(value)`` in place of every parameter, gradient and buffer; parameters stay the same objects."""
        done: set[int] = set()
        with no_grad():
            for module in self.modules():
                for parameter in module._parameters.values():
                    if parameter is None or id(parameter) in done:
                        continue
                    done.add(id(parameter))
                    parameter.data = fn(parameter.data)
                    if parameter.grad is not None:
                        parameter.grad = fn(parameter.grad.detach())
                for name, buffer in module._buffers.items():
                    if buffer is not None:
                        module._buffers[name] = fn(buffer)
        return self

    def to(self: Self, *args: Any, device: Any = None, dtype: Any = None, non_blocking: bool = False) -> Self:
        """Move parameters and buffers to a device and/or convert the floating ones to a dtype; returns the module.

        ``to("cuda")``, ``to(numbanet.float64)``, ``to("cpu", numbanet.float64)``, ``to(tensor)``.
        """
        for argument in args:
            if isinstance(argument, Tensor):
                device, dtype = argument.device, argument.dtype
            elif (isinstance(argument, Device | int) and not isinstance(argument, bool)) or (
                isinstance(argument, str) and argument.partition(":")[0] in ("cpu", "cuda")
            ):
                device = argument
            elif argument is not None and not isinstance(argument, bool):
                dtype = argument
        where = None if device is None else as_device(device)
        wanted = None if dtype is None else dtypes.as_dtype(dtype)
        if wanted is not None and not dtypes.is_floating(wanted):
            raise TypeError(f"Module.to: only accepts floating dtypes, but got desired dtype={wanted}")
        return self._apply(lambda t: t.to(device=where, dtype=wanted if t.is_floating_point() else None))

    def cpu(self: Self) -> Self:
        """Move to the CPU; returns the module."""
        return self.to("cpu")

    def cuda(self: Self, device: Any = None) -> Self:
        """Move to a CUDA device; returns the module."""
        return self.to("cuda" if device is None else device)

    def type(self: Self, dst_type: Any) -> Self:
        """Convert all parameters and buffers to a dtype; returns the module."""
        wanted = dtypes.as_dtype(dst_type)
        return self._apply(lambda t: t.to(dtype=wanted))

    def float(self: Self) -> Self:
        """Convert the floating parameters and buffers to float32; returns the module."""
        return self.to(dtype=dtypes.float32)

    def double(self: Self) -> Self:
        """Convert the floating parameters and buffers to float64; returns the module."""
        return self.to(dtype=dtypes.float64)

    def half(self: Self) -> Self:
        """Convert the floating parameters and buffers to float16; returns the module."""
        return self.to(dtype=dtypes.float16)

    def bfloat16(self: Self) -> Self:
        """Convert the floating parameters and buffers to bfloat16; returns the module."""
        return self.to(dtype=dtypes.bfloat16)

    # ---------------------------------------------------------------------------------------------------- hooks

    def _register(self, kind: str, entry: Any, prepend: bool) -> RemovableHandle:
        if self._hooks is None:
            self._hooks = _Hooks()
        entries = getattr(self._hooks, kind)
        entries.insert(0 if prepend else len(entries), entry)
        return RemovableHandle(entries, entry)

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args)`` before forward; what it returns, if not None, takes the arguments' place.

        With ``with_kwargs`` it is ``hook(module, args, kwargs)`` and returns a pair. ``handle.remove()`` takes it away.
        """
        return self._register("before", (hook, with_kwargs), prepend)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after forward; what it returns, if not None, takes the output's place.

        With ``with_kwargs`` it is ``hook(module, args, kwargs, output)``. ``always_call`` is accepted for PyTorch's sake.
        """
        return self._register("after", (hook, with_kwargs), prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` when the gradients of the module's inputs are known.

        Both are tuples, None where there is no gradient; a tuple that it returns takes grad_input's place.
        """
        return self._register("backward", hook, prepend)

    def _call_with_hooks(self, hooks: _Hooks, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for hook, with_kwargs in list(hooks.before):
            changed = hook(self, args, kwargs) if with_kwargs else hook(self, args)
            if changed is None:
                continue
            if with_kwargs:
                if not isinstance(changed, tuple) or len(changed) != 2:
                    raise RuntimeError(f"forward pre-hook must return None or a pair (args, kwargs), got {changed!r}")
                args, kwargs = changed
            else:
                args = changed if isinstance(changed, tuple) else (changed,)
        watch = _BackwardWatch(self, list(hooks.backward)) if hooks.backward else None
        if watch is not None:
            args = watch.inputs(args)
        result = self.forward(*args, **kwargs)
        for hook, with_kwargs in list(hooks.after):
            changed = hook(self, args, kwargs, result) if with_kwargs else hook(self, args, result)
            result = result if changed is None else changed
        return result if watch is None else watch.outputs(result)

    # -------------------------------------------------------------------------------------------------- printing

    def extra_repr(self) -> str:
        """What stands between the parentheses of the module's repr; layers define it."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def _child_lines(self) -> list[str]:
        return [f"({name}): {_indented(repr(module))}" for name, module in self._modules.items()]

    def __repr__(self) -> str:
        extra = self.extra_repr()
        own, below = extra.split("\n") if extra else [], self._child_lines()
        if not own and not below:
            return f"{self._get_name()}()"
        if len(own) == 1 and not below:
            return f"{self._get_name()}({own[0]})"
        return f"{self._get_name()}(\n  " + "\n  ".join(own + below) + "\n)"

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def _indented(text: str) -> str:
    """All lines but the first, two to the right."""
    return text.replace("\n", "\n  ")


def _remove_from(name: str, *places: Any) -> None:
    for place in places:
        if name in place:
            del place[name]


# ----------------------------------------------------------------------------------------------- backward hooks


class IdentityFunction(Function):
    """Passes tensors and gradients through: a node of the graph to hang hooks on."""

    @staticmethod
    def forward(ctx: Any, *tensors: Any) -> Any:
        ctx.set_materialize_grads(False)
        return tensors

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads


class _BackwardWatch:
    """One call's backward hooks: notes the gradients at the module's outputs, and calls the hooks at its inputs."""

    def __init__(self, module: Module, hooks: list[Callable[..., Any]]) -> None:
        self.module, self.hooks = module, hooks
        self.grad_output: tuple[Any, ...] = ()
        self.at_inputs = False

    def inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        watched, node = _pass_through(args)
        if node is not None:
            self.at_inputs = True
            node.register_hook(lambda results, grads: self._call(tuple(results)))
        self.count = len(args)
        return watched

    def outputs(self, result: Any) -> Any:
        several = isinstance(result, tuple)
        watched, node = _pass_through(result if several else (result,))
        if node is not None:
            node.register_hook(lambda results, grads: self._note(tuple(grads)))
        return watched if several else watched[0]

    def _note(self, grads: tuple[Any, ...]) -> None:
        self.grad_output = grads
        if not self.at_inputs:  # no input has a gradient: there will be no later moment
            self._call((None,) * self.count)

    def _call(self, grad_input: tuple[Any, ...]) -> Any:
        changed_any = False
        for hook in self.hooks:
            changed = hook(self.module, grad_input, self.grad_output)
            if changed is not None:
                grad_input = changed if isinstance(changed, tuple) else (changed,)
                changed_any = True
        return grad_input if changed_any else None


def _pass_through(values: tuple[Any, ...]) -> tuple[tuple[Any, ...], Any]:
    """The values, their tensors led through one identity node; and that node, if gradients will reach it."""
    if not any(isinstance(v, Tensor) and v.requires_grad for v in values):
        return values, None
    passed = IdentityFunction.apply(*values)
    nodes = (v._node for v in passed if isinstance(v, Tensor) and v._node is not None)
    return passed, next(itertools.chain(nodes, (None,)))
