"""Modules: registering, loading, hooks, containers, and layers with wrong arguments."""

from __future__ import annotations

import numpy as np

from tests.bad_calls import Bad


def _uninitialised(lib):
    class Forgetful(lib.nn.Module):
        def __init__(self):
            self.layer = lib.nn.Linear(2, 2)

    return Forgetful()


def _forgetful_parameter(lib):
    class Forgetful(lib.nn.Module):
        def __init__(self):
            self.weight = lib.nn.Parameter(lib.ones(2))

    return Forgetful()


def _with_buffer(lib):
    module = lib.nn.Module()
    module.register_buffer("count", lib.zeros(1))
    return module


def _bad_pre_hook(lib):
    module = lib.nn.Identity()
    module.register_forward_pre_hook(lambda m, args, kwargs: 5, with_kwargs=True)
    return module(lib.ones(2))


def _state(lib, **changes):
    state = dict(lib.nn.Linear(2, 3).state_dict())
    for key, value in changes.items():
        if value is None:
            del state[key]
        else:
            state[key] = value
    return state


BAD = [
    # registering
    Bad("module before __init__", _uninitialised, AttributeError, r"__init__"),
    Bad("parameter before __init__", _forgetful_parameter, AttributeError, r"__init__"),
    Bad("parameter named with a dot", lambda lib: lib.nn.Module().register_parameter("a.b", None), KeyError, r"\."),
    Bad("parameter without a name", lambda lib: lib.nn.Module().register_parameter("", None), KeyError, r"empty|\"\""),
    Bad("parameter named by a number", lambda lib: lib.nn.Module().register_parameter(3, None), TypeError, r"int|str"),
    Bad("parameter over a method", lambda lib: lib.nn.Module().register_parameter("forward", None), KeyError, r"forward"),
    Bad("parameter that is none", lambda lib: lib.nn.Module().register_parameter("w", lib.ones(2)), TypeError, r"w|Parameter"),
    Bad("parameter within a graph", lambda lib: lib.nn.Module().register_parameter("w", lib.nn.Parameter(lib.ones(2)).view(2)), (TypeError, ValueError), r"w|Parameter"),
    Bad("buffer named with a dot", lambda lib: lib.nn.Module().register_buffer("a.b", None), KeyError, r"\."),
    Bad("buffer without a name", lambda lib: lib.nn.Module().register_buffer("", None), KeyError, r"empty|\"\""),
    Bad("buffer over an attribute", lambda lib: lib.nn.Linear(2, 2).register_buffer("in_features", lib.ones(1)), KeyError, r"in_features"),
    Bad("buffer that is none", lambda lib: lib.nn.Module().register_buffer("b", 5), TypeError, r"b|int"),
    Bad("module named with a dot", lambda lib: lib.nn.Module().add_module("a.b", lib.nn.Identity()), KeyError, r"\."),
    Bad("module without a name", lambda lib: lib.nn.Module().add_module("", lib.nn.Identity()), KeyError, r"empty|\"\""),
    Bad("module over a method", lambda lib: lib.nn.Module().add_module("train", lib.nn.Identity()), KeyError, r"train"),
    Bad("module that is none", lambda lib: lib.nn.Module().add_module("m", 5), TypeError, r"int"),
    Bad("number in a parameter's place", lambda lib: setattr(lib.nn.Linear(2, 2), "weight", 5), TypeError, r"weight"),
    Bad("tensor in a parameter's place", lambda lib: setattr(lib.nn.Linear(2, 2), "weight", lib.ones(2, 2)), TypeError, r"weight"),
    Bad("number in a buffer's place", lambda lib: setattr(_with_buffer(lib), "count", 5), TypeError, r"count"),
    Bad("number in a module's place", lambda lib: setattr(lib.nn.Sequential(lib.nn.Identity()), "0", 5), TypeError, r"0"),
    Bad("unknown attribute", lambda lib: lib.nn.Linear(2, 2).wieght, AttributeError, r"wieght"),
    Bad("unknown submodule", lambda lib: lib.nn.Linear(2, 2).get_submodule("a"), AttributeError, r"a"),
    Bad("unknown parameter", lambda lib: lib.nn.Linear(2, 2).get_parameter("a"), AttributeError, r"a"),
    Bad("unknown buffer", lambda lib: lib.nn.Linear(2, 2).get_buffer("weight"), AttributeError, r"weight"),
    # calling
    Bad("no forward", lambda lib: lib.nn.Module()(1), NotImplementedError, r"forward"),
    Bad("missing argument", lambda lib: lib.nn.Linear(2, 2)(), TypeError, r"argument"),
    Bad("unknown argument", lambda lib: lib.nn.ReLU()(lib.ones(2), colour=1), TypeError, r"colour"),
    Bad("mode that is no bool", lambda lib: lib.nn.Linear(2, 2).train(1), ValueError, r"boolean"),
    Bad("to an integer dtype", lambda lib: lib.nn.Linear(2, 2).to(lib.int64), TypeError, r"int64"),
    Bad("pre-hook that returns a number", _bad_pre_hook, RuntimeError, r"5|None"),
    # loading
    Bad("state that is no dict", lambda lib: lib.nn.Linear(2, 3).load_state_dict([1]), TypeError, r"list"),
    Bad("missing key", lambda lib: lib.nn.Linear(2, 3).load_state_dict(_state(lib, bias=None)), RuntimeError, r'Missing.*"bias"'),
    Bad("unexpected key", lambda lib: lib.nn.Linear(2, 3).load_state_dict(_state(lib, extra=lib.ones(1))), RuntimeError, r'Unexpected.*"extra"'),
    Bad("other shape", lambda lib: lib.nn.Linear(2, 3).load_state_dict(_state(lib, bias=lib.ones(4))), RuntimeError, r"bias.*4.*3"),
    Bad("other shape, not strict", lambda lib: lib.nn.Linear(2, 3).load_state_dict(_state(lib, bias=lib.ones(4)), strict=False), RuntimeError, r"bias.*4.*3"),
    Bad("a number as value", lambda lib: lib.nn.Linear(2, 3).load_state_dict(_state(lib, bias=5)), RuntimeError, r"bias.*int"),
    Bad("another layer's state", lambda lib: lib.nn.Linear(2, 3).load_state_dict(lib.nn.BatchNorm1d(3).state_dict()), RuntimeError, r"running_mean"),
    Bad("a nested state", lambda lib: lib.nn.Sequential(lib.nn.Linear(2, 3)).load_state_dict(_state(lib)), RuntimeError, r'"0\.weight"'),
    # containers
    Bad("sequence of a number", lambda lib: lib.nn.Sequential(5), TypeError, r"int"),
    Bad("sequence of a class", lambda lib: lib.nn.Sequential(lib.nn.ReLU), TypeError, r"ReLU|type"),
    Bad("sequence too short", lambda lib: lib.nn.Sequential(lib.nn.ReLU())[1], IndexError, r"1|range"),
    Bad("list of a number", lambda lib: lib.nn.ModuleList([5]), TypeError, r"int"),
    Bad("list too short", lambda lib: lib.nn.ModuleList([lib.nn.ReLU()])[2], IndexError, r"2|range"),
    Bad("list called", lambda lib: lib.nn.ModuleList([lib.nn.ReLU()])(lib.ones(2)), NotImplementedError, r"forward"),
    Bad("extend by a number", lambda lib: lib.nn.ModuleList().extend(5), TypeError, r"int"),
    Bad("dict of a number", lambda lib: lib.nn.ModuleDict({"a": 5}), TypeError, r"int"),
    Bad("dict without the key", lambda lib: lib.nn.ModuleDict({})["a"], KeyError, r"a"),
    # layers
    Bad("linear of a negative size", lambda lib: lib.nn.Linear(-1, 2), RuntimeError, r"-1"),
    Bad("linear of a half", lambda lib: lib.nn.Linear(2.5, 2), TypeError, r"2\.5|float"),
    Bad("linear of other features", lambda lib: lib.nn.Linear(2, 3)(lib.ones(4, 5)), RuntimeError, r"5.*2"),
    Bad("linear of another dtype", lambda lib: lib.nn.Linear(2, 3)(lib.ones(4, 2).double()), RuntimeError, r"float64.*float32"),
    Bad("linear of an array", lambda lib: lib.nn.Linear(2, 3)(np.ones((4, 2), np.float32)), TypeError, r"ndarray"),
    Bad("convolution of groups that do not divide", lambda lib: lib.nn.Conv2d(3, 4, 3, groups=2), ValueError, r"groups|2"),
    Bad("convolution of other channels", lambda lib: lib.nn.Conv2d(3, 4, 3)(lib.ones(1, 2, 5, 5)), RuntimeError, r"2.*3"),
    Bad("convolution with unknown padding", lambda lib: lib.nn.Conv2d(3, 4, 3, padding="sam"), ValueError, r"sam"),
    Bad("convolution with unknown padding mode", lambda lib: lib.nn.Conv2d(3, 4, 3, padding_mode="zero"), ValueError, r"zero"),
    Bad("batch norm of other channels", lambda lib: lib.nn.BatchNorm2d(3).eval()(lib.ones(2, 4, 5, 5)), RuntimeError, r"3.*4|4.*3"),
    Bad("batch norm of three dimensions", lambda lib: lib.nn.BatchNorm2d(3)(lib.ones(2, 3, 5)), ValueError, r"3"),
    Bad("dropout above one", lambda lib: lib.nn.Dropout(1.5), ValueError, r"1\.5"),
    Bad("flatten too far", lambda lib: lib.nn.Flatten(3)(lib.ones(2, 3)), IndexError, r"3"),
]  # fmt: skip
