"""Every public operator with a tiny example: what ``docs/operators.md``, ``test_semantics.py`` and the fuzz test run.

A new operator gets one line in one of the tables at the end: ``FUNCTIONS`` (``numbanet.functional``), ``LAYERS``
(``numbanet.nn``), ``OPTIMIZERS``, ``SCHEDULERS`` or ``INITIALISERS``. ``test_operators_doc.py`` fails where one is missing.
"""

from __future__ import annotations

import importlib
import inspect
import operator
import pkgutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np

import numbanet
from numbanet import functional, kernels, nn, optim, precision
from numbanet.functional import keywords
from numbanet.kernels.kernel import Kernel
from numbanet.optim import lr_scheduler

# ------------------------------------------------------------------------------------------- arrays, described


@dataclass(frozen=True)
class Array:
    """An array to be drawn: its printed form is all one needs to draw it again.

    Attributes:
        shape: the shape.
        kind: "float" (the run's dtype), "int" or "bool".
        low, high: uniform between them (ints: high excluded); None for normal random floats.
        values: of floats "ties" for a few distinct values, "nan" with some NaN and infinities, "signs" for -1 and 1; of ints
            "order" for a permutation, "even" for 0, 2, 4, ..., "windows" for one position in each 2 x 2 window of 4 x 4; "".
        layout: how it lies in memory: "c", "sliced" (every other element), "turned" (transposed), "flipped" (negative strides).
        grad: whether gradients with respect to it are wanted (floats only).
    """

    shape: tuple[int, ...]
    kind: str = "float"
    low: float | None = None
    high: float | None = None
    values: str = ""
    layout: str = "c"
    grad: bool = True

    def __repr__(self) -> str:
        letter = {"float": "f", "int": "i", "bool": "b"}[self.kind]
        shown = [", ".join(map(str, self.shape))] if self.shape else []
        for name, default in (("low", None), ("high", None), ("values", ""), ("layout", "c"), ("grad", True)):
            if (value := getattr(self, name)) != default:
                shown.append(f"{name}={value!r}")
        return f"{letter}({', '.join(shown)})"

    def draw(self, rng: np.random.Generator, dtype: Any) -> np.ndarray:
        """The array, its values by ``rng``."""
        if self.kind == "bool":
            array = np.asarray(rng.random(self.shape) < 0.5)
        elif self.kind == "int":
            low, high = int(self.low or 0), int(10 if self.high is None else self.high)
            array = np.asarray(rng.integers(low, max(high, low + 1), self.shape), np.int64)
            if self.values == "order":
                array = np.asarray(rng.permutation(int(np.prod(self.shape))), np.int64).reshape(self.shape)
            if self.values == "even":
                array = np.asarray(2 * np.arange(int(np.prod(self.shape))), np.int64).reshape(self.shape)
            if self.values == "windows":
                array = np.resize(np.array([0, 3, 9, 14]), self.shape)
        else:
            if self.low is None and self.high is None:
                array = rng.standard_normal(self.shape)
            else:
                array = rng.uniform(self.low or 0.0, 1.0 if self.high is None else self.high, self.shape)
            if self.values == "ties":
                array = np.round(array)
            if self.values == "signs":
                array = np.where(array < 0, -1.0, 1.0)
            if self.values == "nan":
                chance = rng.random(self.shape)
                array = np.where(chance < 0.05, np.nan, np.where(chance < 0.08, np.inf, array))
            array = np.asarray(array, dtype)
        return laid_out(array, self.layout)


def laid_out(array: np.ndarray, layout: str) -> np.ndarray:
    """The same values, lying in memory in another way."""
    if array.ndim == 0 or layout == "c":
        return np.array(array, order="C")
    if layout == "sliced":
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    if layout == "turned":
        return np.array(array.T, order="C").T
    return np.array(array[(slice(None, None, -1),) * array.ndim], order="C")[(slice(None, None, -1),) * array.ndim]


def f(*shape: int, **options: Any) -> Array:
    """A floating array."""
    return Array(shape, "float", **options)


def i(*shape: int, **options: Any) -> Array:
    """An array of int64."""
    return Array(shape, "int", **options)


def b(*shape: int) -> Array:
    """An array of bools."""
    return Array(shape, "bool")


def mapped(value: Any, change: Callable[[Array], Any]) -> Any:
    """``value`` with every ``Array`` in its lists, tuples and dicts changed."""
    if isinstance(value, Array):
        return change(value)
    if isinstance(value, list | tuple):
        items = [mapped(item, change) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    if isinstance(value, dict):
        return {key: mapped(item, change) for key, item in value.items()}
    return value


def tensors_in(value: Any) -> list[Any]:
    """The tensors (of either library) in nested lists, tuples and dicts, in order."""
    if hasattr(value, "requires_grad") and hasattr(value, "detach"):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for item in value for t in tensors_in(item)] if isinstance(value, list | tuple) else []


# ------------------------------------------------------------------------------------------------------ examples


@dataclass(frozen=True)
class Example:
    """A call of a function, with arrays described by ``Array``.

    Attributes:
        args, kwargs: the arguments.
        ours: what to call instead of ``numbanet.functional.<name>``.
        theirs: what to call of PyTorch instead of the function of that name; False where there is none.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    ours: Any = None
    theirs: Any = None

    def function(self, name: str, library: Any) -> Any:
        """The function of that name in numbanet or PyTorch; None where PyTorch has none."""
        if library is numbanet:
            return self.ours or getattr(functional, name)
        if self.theirs is not None:
            return self.theirs or None
        places = (library.nn.functional, library, library.special, library.linalg, library.Tensor)
        return next((getattr(place, name) for place in places if hasattr(place, name)), None)

    def call(self, name: str, library: Any, args: Any, kwargs: Any) -> Any:
        """Call it; an in-place function gets a copy of its first argument, which it may change within the graph."""
        if changes_in_place(name):
            args = (args[0].clone(), *args[1:])
            result = self.function(name, library)(*args, **kwargs)
            return args[0] if result is None else result
        return self.function(name, library)(*args, **kwargs)


def changes_in_place(name: str) -> bool:
    return name.endswith("_") or name == "setitem"


def call(*args: Any, ours: Any = None, theirs: Any = None, **kwargs: Any) -> Example:
    return Example(args, kwargs, ours, theirs)


@dataclass(frozen=True)
class Layer:
    """A layer: arguments of its class, and of its call.

    Attributes:
        args, kwargs: the constructor's arguments.
        inputs: the call's.
        theirs: False where PyTorch has no such class.
    """

    inputs: tuple[Any, ...]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    theirs: bool = True


def layer(inputs: Any, *args: Any, theirs: bool = True, **kwargs: Any) -> Layer:
    return Layer(inputs if isinstance(inputs, tuple) else (inputs,), args, kwargs, theirs)


def draw_all(value: Any, library: Any, dtype: Any, seed: int = 0, grad: bool = True) -> Any:
    """``value`` with arrays drawn as tensors of the library; floats require gradients."""
    rng = np.random.default_rng(seed)

    def tensor(array: Array) -> Any:
        drawn = array.draw(rng, dtype)
        made = of_array(library, drawn if library is numbanet else np.array(drawn, order="C"))  # no negative strides
        if grad and array.grad and array.kind == "float":
            made = made.detach().requires_grad_()
        return made

    return mapped(value, tensor)


# ----------------------------------------------------------------------------------------------------- discovery


def public_functions() -> dict[str, list[str]]:
    """The functions in ``numbanet.functional``'s ``__all__``s, family by family."""
    families = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(functional.__path__)):
        page = importlib.import_module(f"numbanet.functional.{module}")
        exported = [n for n in getattr(page, "__all__", []) if callable(getattr(functional, n, None))]
        names = [n for n in exported if not inspect.isclass(getattr(functional, n))]
        if names:
            families[module] = sorted(names)
    return families


CONTAINERS = {"Module", "ModuleDict", "ModuleList", "Parameter", "ParameterDict", "ParameterList", "Sequential"}


def public_layers() -> list[str]:
    """The layers and losses in ``numbanet.nn``, without the containers."""
    classes = [n for n in nn.__all__ if inspect.isclass(getattr(nn, n)) and issubclass(getattr(nn, n), nn.Module)]
    return sorted(set(classes) - CONTAINERS)


def public_optimizers() -> list[str]:
    return sorted(n for n in optim.__all__ if inspect.isclass(getattr(optim, n)) and n != "Optimizer")


def public_schedulers() -> list[str]:
    def own(value: Any) -> bool:
        return inspect.isclass(value) and value.__module__.startswith("numbanet.") and hasattr(value, "step")

    names = [n for n, value in vars(lr_scheduler).items() if own(value) and not n.startswith("_")]
    return sorted(set(names) - {"LRScheduler", "Optimizer"})


def public_initialisers() -> list[str]:
    own = [n for n, v in vars(nn.init).items() if inspect.isfunction(v) and v.__module__ == nn.init.__name__]
    return sorted(n for n in own if not n.startswith("_") and n != "skipped")  # a context, not an initialiser


def all_kernels() -> dict[str, Kernel]:
    """Every kernel, all modules imported."""
    for module in pkgutil.iter_modules(kernels.__path__):
        importlib.import_module(f"numbanet.kernels.{module.name}")
    return Kernel.table


@contextmanager
def recorded() -> Iterator[set[str]]:
    """Collects the names of the kernels that are called."""
    names: set[str] = set()
    run = Kernel.__call__

    def noting(self: Kernel, *args: Any) -> None:
        names.add(self.name)
        run(self, *args)

    Kernel.__call__ = noting  # type: ignore[method-assign]
    try:
        yield names
    finally:
        Kernel.__call__ = run  # type: ignore[method-assign]


@contextmanager
def functions_called_by_layers() -> Iterator[set[str]]:
    """Collects the names of the public functions that code in ``numbanet/nn`` calls itself."""
    names: set[str] = set()
    codes: dict[CodeType, str] = {}
    for family in public_functions().values():
        for name in family:
            if (code := getattr(inspect.unwrap(getattr(functional, name)), "__code__", None)) is not None:
                codes.setdefault(code, name)
    folder = str(Path(nn.__file__).parent)

    def look(frame: Any, event: str, _: Any) -> None:
        above = frame.f_back
        while above is not None and above.f_code.co_filename in (precision.__file__, keywords.__file__):
            above = above.f_back  # what looks for autocast, and for other names of arguments, first
        caller = above.f_code.co_filename if above is not None else ""
        if event == "call" and caller.startswith(folder) and frame.f_code in codes:
            names.add(codes[frame.f_code])

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        yield names
    finally:
        sys.setprofile(before)


# --------------------------------------------------------------------------------------------- what an example does


@dataclass
class Run:
    """What one run of an example gave.

    Attributes:
        outputs: all outputs, as arrays (or plain numbers).
        leaves: how many inputs wanted a gradient.
        floating: how many outputs are floating tensors.
        gradients: by input, None where there is none; empty where no output has a gradient.
        doubles: gradients of a random sum of the gradients; None where the library refuses, or was not asked.
        error: what the second backward raised.
    """

    outputs: list[Any]
    leaves: int
    floating: int
    gradients: list[Any]
    doubles: list[Any] | None = None
    error: BaseException | None = None


def run_example(forward: Callable[[Any], Any], library: Any, tensors: Any, twice: bool = True) -> Run:
    """Call ``forward(tensors)`` and differentiate it once or twice, with random cotangents of a fixed seed."""
    rng = np.random.default_rng(7)
    leaves = [t for t in tensors_in(tensors) if t.requires_grad]
    results = forward(tensors)
    outputs = tensors_in(results) or (list(results) if isinstance(results, tuple) else [results])
    shown = [_plain(o) for o in outputs]
    floating = [o for o in outputs if hasattr(o, "requires_grad") and _dtype(o).kind in "fV"]
    linked = [o for o in floating if o.requires_grad]
    run = Run(shown, len(leaves), len(floating), [])
    if not linked or not leaves:
        return run

    def random_like(t: Any) -> Any:
        return of_array(library, np.asarray(rng.standard_normal(tuple(t.shape)), _dtype(t)))

    seeds = [random_like(o) for o in linked]
    grad = library.autograd.grad
    run.gradients = [_plain(g) for g in grad(linked, leaves, seeds, retain_graph=twice, allow_unused=True)]
    if not twice:
        return run
    try:
        seeds = [seed.requires_grad_() for seed in seeds]
        grads = [g for g in grad(linked, leaves, seeds, create_graph=True, allow_unused=True) if g is not None]
        again = [g for g in grads if g.requires_grad]
        if again:
            doubles = grad(again, [*leaves, *seeds], [random_like(g) for g in again], allow_unused=True)
            run.doubles = [_plain(d) for d in doubles]
    except RuntimeError as error:  # NotImplementedError too: it has a gradient, but that one has none
        run.error = error
    return run


def _plain(value: Any) -> Any:
    if not hasattr(value, "detach"):
        return value
    value = value.detach()
    if _dtype(value) == numbanet.bfloat16:  # which PyTorch gives to no NumPy array
        return np.array(value.float().numpy()).astype(numbanet.bfloat16)
    return np.array(value.numpy())


def of_array(library: Any, array: np.ndarray) -> Any:
    """A tensor of the library over an array's values."""
    if array.dtype == numbanet.bfloat16 and library is not numbanet:
        return library.from_numpy(array.astype(np.float32)).bfloat16()
    return library.from_numpy(array)


def _dtype(value: Any) -> np.dtype:
    return np.dtype(str(value.dtype).removeprefix("torch."))


def run_function(name: str, library: Any = numbanet, dtype: Any = np.float64, twice: bool = True) -> Run:
    """Run a function's example."""
    example = FUNCTIONS[name]
    library.manual_seed(0)
    drawn = draw_all((example.args, example.kwargs), library, dtype)
    return run_example(lambda given: example.call(name, library, *given), library, drawn, twice)


def make_layer(name: str, args: Any, kwargs: Any, library: Any = numbanet, dtype: Any = np.float64) -> Any:
    """A layer, a lazy one after a first call; PyTorch's gets the weights of ours."""
    numbanet.manual_seed(0)
    given = draw_all((args, kwargs), library, dtype, grad=False)
    made = getattr(library.nn, name)(*given[0], **given[1])
    made = made.double() if dtype == np.float64 else made.bfloat16() if dtype == numbanet.bfloat16 else made
    if library is numbanet and hasattr(made, "has_uninitialized_params"):
        made(*draw_all(LAYERS[name].inputs, library, dtype))
    if library is not numbanet and made.state_dict():
        ours = make_layer(name, args, kwargs, numbanet, dtype).state_dict()
        made.load_state_dict({key: of_array(library, np.array(value.numpy())) for key, value in ours.items()})
    return made


def run_layer(name: str, library: Any = numbanet, dtype: Any = np.float64, twice: bool = True) -> Run:
    """Run a layer's example, in training mode."""
    made = make_layer(name, LAYERS[name].args, LAYERS[name].kwargs, library, dtype)
    library.manual_seed(0)
    inputs = draw_all(LAYERS[name].inputs, library, dtype)
    return run_example(lambda given: made(*given[0]), library, (inputs, list(made.parameters())), twice)


def run_optimizer(name: str, library: Any = numbanet, dtype: Any = np.float64, steps: int = 2) -> list[Any]:
    """The parameter after each step of an optimiser's example."""
    parameter = draw_all(f(3, 4), library, dtype)
    made = getattr(library.optim, name)([parameter], **OPTIMIZERS[name])
    values = []

    def closure() -> Any:
        made.zero_grad()
        loss = ((parameter - 1) ** 2).sum()
        loss.backward()
        return loss

    for _ in range(steps):
        made.step(closure)
        values.append(parameter.detach().numpy().copy())
    return values


def run_scheduler(name: str, library: Any = numbanet, steps: int = 8) -> list[float]:
    """The learning rates of a schedule's example."""
    parameter = draw_all(f(3), library, np.float64)
    optimizer = library.optim.SGD([parameter], lr=0.5, momentum=0.9)
    build = SCHEDULERS[name]
    made = build(library.optim.lr_scheduler, optimizer)
    rates = []
    for step in range(steps):
        parameter.grad = library.ones_like(parameter)
        optimizer.step()
        if "metrics" in inspect.signature(made.step).parameters:
            made.step(1.0 / (1 + min(step, 2)))
        else:
            made.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def run_initialiser(name: str, library: Any = numbanet, dtype: Any = np.float64) -> Any:
    """What an initialiser's example fills a tensor with (or returns)."""
    library.manual_seed(0)
    args, kwargs = draw_all(INITIALISERS[name], library, dtype, grad=False)
    result = getattr(library.nn.init, name)(*args, **kwargs)
    return result.numpy() if hasattr(result, "numpy") else result


# ------------------------------------------------------------------------------------------------------- functions

X = f(2, 3)
POSITIVE = f(2, 3, low=0.5, high=2.0)
UNIT = f(2, 3, low=0.1, high=0.9)
WIDE = f(2, 3, low=-4.0, high=4.0)
IMAGE = f(2, 4, 6, 6)


def _then_relu(name: str) -> Any:
    """PyTorch's function of that name, and relu."""

    def function(*args: Any) -> Any:
        functions = importlib.import_module("torch").nn.functional
        return functions.relu(getattr(functions, name)(*args))

    return function


def _norm_add_relu(*args: Any, add: Any) -> Any:
    """``batch_norm_relu`` of PyTorch's operators."""
    functions = importlib.import_module("torch").nn.functional
    return functions.relu(functions.batch_norm(*args) + add)


LINE = f(2, 4, 7)


PERMUTED = i(4, values="order")
EVEN_1D, EVEN_2D = i(1, 1, 3, values="even"), i(1, 1, 2, 2, values="windows")
SIGNS = f(3, 4, values="signs", grad=False)


def _set(x: Any, index: Any, value: Any) -> Any:
    x[index] = value


def _to(x: Any, device: Any, dtype: Any) -> Any:
    import torch

    return x.to(getattr(torch, np.dtype(dtype).name))


FUNCTIONS: dict[str, Example] = {
    # activation
    **{name: call(X) for name in ("relu", "relu_", "sigmoid", "sigmoid_", "tanh", "tanh_", "relu6", "silu", "mish")},
    **{name: call(X) for name in ("celu", "celu_", "elu", "elu_", "selu", "selu_", "gelu", "softplus", "softsign")},
    **{name: call(WIDE) for name in ("hardsigmoid", "hardswish", "hardtanh", "hardtanh_", "logsigmoid", "tanhshrink")},
    **{name: call(WIDE) for name in ("hardshrink", "softshrink", "leaky_relu", "leaky_relu_")},
    **{name: call(X, 1) for name in ("softmax", "log_softmax", "softmin")},
    **{name: call(WIDE, 0.1, -1.5) for name in ("threshold", "threshold_")},
    **{name: call(X, 0.1, 0.3, True) for name in ("rrelu", "rrelu_")},
    "glu": call(f(2, 6), 1),
    "gumbel_softmax": call(X, 0.5),
    "prelu": call(f(2, 3, 4), f(3)),
    # arithmetic
    **{name: call(X, f(3)) for name in ("add", "sub", "subtract", "mul", "multiply", "maximum", "minimum")},
    **{name: call(X, POSITIVE) for name in ("div", "divide", "floor_divide", "remainder", "div_")},
    **{name: call(X, f(3)) for name in ("add_", "sub_", "mul_", "eq", "ne", "lt", "le", "gt", "ge")},
    **{name: call(X, X) for name in ("isclose", "allclose", "equal")},
    **{name: call(b(2, 3), b(3)) for name in ("logical_and", "logical_or", "logical_xor")},
    **{name: call(i(2, 3), i(3)) for name in ("bitwise_and", "bitwise_or", "bitwise_xor")},
    **{name: call(X) for name in ("abs", "abs_", "absolute", "neg", "neg_", "negative", "square", "sign")},
    **{name: call(X) for name in ("exp", "exp_", "expm1", "sin", "cos", "erf", "ceil", "floor", "round")},
    **{name: call(X) for name in ("isnan", "isinf", "isfinite", "clone")},
    **{name: call(POSITIVE) for name in ("log", "log_", "log1p", "sqrt", "sqrt_", "rsqrt", "reciprocal")},
    **{name: call(POSITIVE, 2.5) for name in ("pow", "pow_")},
    **{name: call(X, -0.5, 0.5) for name in ("clamp", "clamp_", "clip")},
    **{name: call(X, 0.25) for name in ("clamp_min", "clamp_max")},
    **{name: call(X) for name in ("atan", "arctan", "sinh", "cosh", "tan", "exp2")},
    **{name: call(UNIT) for name in ("asin", "arcsin", "acos", "arccos")},
    **{name: call(POSITIVE) for name in ("log10", "log2")},
    **{name: call(f(2, 3, low=-3.0, high=3.0)) for name in ("trunc", "fix", "frac")},
    **{name: call(X, POSITIVE) for name in ("atan2", "arctan2", "fmod", "true_divide", "hypot")},
    **{name: call(X, X, POSITIVE, value=0.5) for name in ("addcdiv", "addcdiv_")},
    **{name: call(X, X, X, value=0.5) for name in ("addcmul", "addcmul_")},
    **{name: call(X, X, 0.3) for name in ("lerp", "lerp_")},
    **{name: call(X, 0.25) for name in ("clamp_min_", "clamp_max_")},
    "logical_not": call(b(2, 3)),
    "bitwise_not": call(i(2, 3)),
    "where": call(b(2, 3), X, f(3)),
    # conv
    "conv1d": call(LINE, f(6, 2, 3), f(6), 2, 1, 1, 2),
    "conv2d": call(IMAGE, f(6, 2, 3, 3), f(6), 2, 1, 1, 2),
    "conv2d_relu": call(IMAGE, f(6, 2, 3, 3), f(6), 2, 1, 1, 2, theirs=_then_relu("conv2d")),
    "conv_transpose1d": call(LINE, f(4, 3, 3), f(6), 2, 1, 1, 2),
    "conv_transpose2d": call(IMAGE, f(4, 3, 3, 3), f(6), 2, 1, 1, 2),
    "deform_conv2d": call(f(2, 2, 5, 5), f(2, 18, 5, 5), f(3, 2, 3, 3), f(3), padding=1),
    # pad, fold, resize
    "pad": call(IMAGE, (1, 2, 2, 1), "reflect"),
    "unfold": call(IMAGE, 3, 1, 1, 2),
    "fold": call(f(2, 36, 9), (6, 6), 3, 1, 1, 2),
    "pixel_shuffle": call(IMAGE, 2),
    "pixel_unshuffle": call(IMAGE, 2),
    "channel_shuffle": call(IMAGE, 2),
    "interpolate": call(IMAGE, (9, 4), mode="bilinear"),
    "upsample": call(IMAGE, scale_factor=2),
    "grid_sample": call(IMAGE, f(2, 3, 5, 2, low=-1.2, high=1.2), align_corners=False),
    "affine_grid": call(f(2, 2, 3), (2, 4, 5, 6), align_corners=False),
    # dropout
    **{name: call(X, 0.5) for name in ("dropout", "alpha_dropout")},
    "dropout1d": call(LINE, 0.5),
    "dropout2d": call(IMAGE, 0.5),
    "feature_alpha_dropout": call(IMAGE, 0.5, True),
    "stochastic_depth": call(IMAGE, 0.5, "row", theirs=False),
    # indexing
    "getitem": call(f(3, 4), (slice(0, 2), i(3, high=4)), theirs=operator.getitem),
    "setitem": call(f(3, 4), (1, slice(1, 3)), f(2), theirs=_set),
    "gather": call(f(3, 4), 1, i(3, 2, high=4)),
    "index_select": call(f(3, 4), 1, i(5, high=4)),
    **{name: call(f(3, 4), 1, PERMUTED, f(3, 4)) for name in ("index_add", "index_add_", "index_copy", "index_copy_")},
    **{name: call(f(3, 4), 1, PERMUTED, 2.0) for name in ("index_fill", "index_fill_")},
    **{name: call(f(3, 4), (i(2, high=3), i(2, high=4)), f(2), True) for name in ("index_put", "index_put_")},
    **{
        name: call(f(3, 4), 0, i(1, 4, high=3), f(1, 4))
        for name in ("scatter", "scatter_", "scatter_add", "scatter_add_")
    },
    "scatter_reduce": call(f(3, 4), 0, i(2, 4, high=3), f(2, 4), "sum"),
    "masked_select": call(f(3, 4), b(3, 4)),
    "take": call(f(3, 4), i(5, high=12)),
    "take_along_dim": call(f(3, 4), i(3, 2, high=4), 1),
    "nonzero": call(f(3, 4, values="ties")),
    "argwhere": call(f(3, 4, values="ties")),
    "embedding": call(i(2, 3, high=5), f(5, 4)),
    "searchsorted": call(i(3, values="even"), i(4, high=6)),
    # linear
    "linear": call(f(2, 5), f(3, 5), f(3)),
    "linear_relu": call(f(2, 5), f(3, 5), f(3), theirs=_then_relu("linear")),
    "matmul": call(f(2, 3, 4), f(4, 5)),
    "mm": call(f(3, 4), f(4, 2)),
    "bmm": call(f(2, 3, 4), f(2, 4, 2)),
    "mv": call(f(3, 4), f(4)),
    "dot": call(f(4), f(4)),
    **{name: call(f(3), f(4)) for name in ("outer", "ger")},
    "addmm": call(f(2), f(3, 4), f(4, 2), beta=0.5, alpha=2),
    "addmv": call(f(3), f(3, 4), f(4)),
    "baddbmm": call(f(2, 3, 2), f(2, 3, 4), f(2, 4, 2)),
    "einsum": call("ij,jk->ik", f(3, 4), f(4, 2)),
    "tensordot": call(f(3, 4), f(4, 2), 1),
    "inner": call(f(3, 4), f(2, 4)),
    "vdot": call(f(4), f(4)),
    "trace": call(f(3, 4)),
    # loss
    "cross_entropy": call(f(4, 5), i(4, high=5), label_smoothing=0.1),
    "nll_loss": call(f(4, 5), i(4, high=5)),
    **{name: call(f(3, 4), f(3, 4)) for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")},
    "binary_cross_entropy": call(f(3, 4, low=0.1, high=0.9), f(3, 4, low=0.1, high=0.9, grad=False)),
    "binary_cross_entropy_with_logits": call(f(3, 4), f(3, 4, low=0.1, high=0.9)),
    "kl_div": call(f(3, 4), f(3, 4, low=0.1, high=0.9), reduction="batchmean"),
    "poisson_nll_loss": call(f(3, 4), f(3, 4, low=0.5, high=3.0)),
    "gaussian_nll_loss": call(f(3, 4), f(3, 4), f(3, 4, low=0.5, high=2.0)),
    "hinge_embedding_loss": call(f(3, 4), SIGNS),
    "soft_margin_loss": call(f(3, 4), f(3, 4, grad=False)),
    "margin_ranking_loss": call(f(4), f(4), f(4, grad=False)),
    "multi_margin_loss": call(f(4, 5), i(4, high=5)),
    "multilabel_margin_loss": call(f(4, 5), i(4, 5, low=-1, high=5)),
    "multilabel_soft_margin_loss": call(f(4, 5), f(4, 5, low=0.0, high=1.0)),
    "cosine_embedding_loss": call(f(4, 5), f(4, 5), i(4, low=1, high=2)),
    "triplet_margin_loss": call(f(4, 5), f(4, 5), f(4, 5)),
    "triplet_margin_with_distance_loss": call(f(4, 5), f(4, 5), f(4, 5)),
    "sigmoid_focal_loss": call(f(3, 4), f(3, 4, low=0.0, high=1.0)),
    "dice_loss": call(f(2, 3, 4), i(2, 4, high=3)),
    "focal_loss": call(f(4, 5), i(4, high=5)),
    "contrastive_loss": call(f(4, 5), f(4, 5), i(4, high=2)),
    "quadruplet_loss": call(f(4, 5), f(4, 5), f(4, 5), f(4, 5)),
    # distance
    "cosine_similarity": call(f(3, 4), f(3, 4), 1),
    "pairwise_distance": call(f(3, 4), f(3, 4)),
    "cdist": call(f(3, 4), f(2, 4)),
    # normalization
    "batch_norm": call(IMAGE, f(4, grad=False), f(4, low=0.5, high=2.0, grad=False), f(4), f(4), True),
    "batch_norm_relu": call(
        IMAGE, f(4, grad=False), f(4, low=0.5, high=2.0, grad=False), f(4), f(4), True, add=IMAGE, theirs=_norm_add_relu
    ),
    "instance_norm": call(IMAGE, None, None, f(4), f(4)),
    "layer_norm": call(f(2, 3, 4), (3, 4), f(3, 4), f(3, 4)),
    "rms_norm": call(f(2, 3, 4), (4,), f(4)),
    "group_norm": call(IMAGE, 2, f(4), f(4)),
    "local_response_norm": call(IMAGE, 3),
    "normalize": call(f(3, 4), 2.0, 1),
    # pooling
    "max_pool2d": call(IMAGE, 3, 2, 1),
    "avg_pool2d": call(IMAGE, 3, 2, 1),
    "adaptive_avg_pool2d": call(IMAGE, (4, 3)),
    "adaptive_max_pool2d": call(IMAGE, (4, 3)),
    **{name: call(LINE, 3, 2, 1) for name in ("max_pool1d", "avg_pool1d")},
    **{name: call(LINE, 3) for name in ("adaptive_avg_pool1d", "adaptive_max_pool1d")},
    **{f"{name}_with_indices": call(IMAGE, 3) for name in ("max_pool2d", "adaptive_max_pool2d")},
    **{f"{name}_with_indices": call(LINE, 3) for name in ("max_pool1d", "adaptive_max_pool1d")},
    "lp_pool1d": call(f(2, 4, 7, low=0.5, high=2.0), 2.0, 3),
    "lp_pool2d": call(f(2, 4, 6, 6, low=0.5, high=2.0), 2.0, 3),
    "max_unpool1d": call(f(1, 1, 3), EVEN_1D, 2),
    "max_unpool2d": call(f(1, 1, 2, 2), EVEN_2D, 2),
    # reduction
    **{name: call(X, 1) for name in ("sum", "mean", "amax", "amin", "max", "min", "argmax", "argmin", "prod")},
    **{name: call(X, 1) for name in ("logsumexp", "std", "var", "var_mean")},
    **{name: call(b(2, 3), 1) for name in ("any", "all")},
    "norm": call(X, 2, 1),
    "vector_norm": call(X, 2, 1),
    **{name: call(X, 1) for name in ("cumsum", "cumprod", "median")},
    **{name: call(X, 1) for name in ("sort", "argsort", "std_mean", "count_nonzero")},
    **{name: call(X, 1) for name in ("cumsum_", "cumprod_")},
    "msort": call(X),
    "topk": call(f(3, 5), 2),
    "kthvalue": call(f(3, 5), 2),
    "aminmax": call(X, dim=1),
    "diff": call(X),
    "unique": call(i(7, high=4)),
    "bincount": call(i(7, high=4)),
    # shape
    "broadcast_tensors": call(X, f(3)),
    "broadcast_to": call(f(3), (2, 3)),
    **{name: call([X, X], 0) for name in ("cat", "concat", "concatenate", "stack")},
    **{name: call([X, X]) for name in ("vstack", "hstack")},
    **{name: call(f(6, 2), 3) for name in ("chunk", "split")},
    **{name: call(X) for name in ("contiguous", "flatten", "ravel", "t", "zero_")},
    "copy_": call(X, f(3)),
    "expand": call(f(1, 3), 2, -1),
    "expand_as": call(f(1, 3), X),
    "fill_": call(X, 2.0),
    "flip": call(X, [1], theirs=lambda x, dims: x.flip(dims)),
    **{name: call(X, b(2, 3), 2.0) for name in ("masked_fill", "masked_fill_")},
    "movedim": call(f(2, 3, 4), 0, 2),
    "narrow": call(f(3, 4), 1, 1, 2),
    "numel": call(X),
    "one_hot": call(i(4, high=3), 3),
    "permute": call(f(2, 3, 4), (2, 0, 1)),
    "repeat": call(X, 2, 1),
    "reshape": call(X, (3, 2)),
    "select": call(f(3, 4), 1, 2),
    "squeeze": call(f(2, 1, 3), 1),
    **{name: call(f(2, 3, 4), 0, 2) for name in ("swapaxes", "transpose")},
    "tile": call(X, (2, 2)),
    "to": call(X, None, np.dtype(np.float32), theirs=_to),
    "unbind": call(X, 1),
    "unflatten": call(f(2, 6), 1, (2, 3)),
    "unsqueeze": call(X, 1),
    "view": call(X, 3, 2),
    "view_as": call(X, f(3, 2)),
    **{name: call(X) for name in ("uniform_", "normal_", "bernoulli_")},
    "random_": call(X, 0, 10),
    **{name: call(f(3, 4), 1) for name in ("triu", "tril", "triu_", "tril_", "diag")},
    **{name: call(f(3, 4)) for name in ("diagonal", "fliplr", "flipud")},
    "diag_embed": call(X),
    "roll": call(f(3, 4), 1, 0),
    "rot90": call(f(3, 4), 1, [0, 1]),
    "repeat_interleave": call(X, 2, 1),
    "meshgrid": call(f(2), f(3), indexing="ij"),
    **{name: call([X, X]) for name in ("dstack", "column_stack")},
    **{name: call(f(2, 3, 4), 0, 2) for name in ("swapdims", "moveaxis")},
    **{name: call(f(2, 3)) for name in ("atleast_1d", "atleast_2d", "atleast_3d")},
    "isin": call(i(5, high=4), i(2, high=4)),
}

# Results that are drawn: shapes and dtypes are compared, values are not.
RANDOM = {
    *("dropout", "dropout1d", "dropout2d", "alpha_dropout", "feature_alpha_dropout", "rrelu", "rrelu_"),
    *("stochastic_depth", "StochasticDepth"),
    *("gumbel_softmax", "uniform_", "normal_", "bernoulli_", "random_"),
    *("Dropout", "Dropout1d", "Dropout2d", "AlphaDropout", "FeatureAlphaDropout", "RReLU"),
}

# ---------------------------------------------------------------------------------------------------------- layers

LAYERS: dict[str, Layer] = {
    **{
        name: layer(X)
        for name in ("ReLU", "Sigmoid", "Tanh", "Identity", "ReLU6", "SiLU", "Mish", "CELU", "ELU", "SELU")
    },
    **{name: layer(X) for name in ("GELU", "Softplus", "Softsign", "LeakyReLU", "PReLU", "RReLU")},
    **{
        name: layer(WIDE) for name in ("Hardsigmoid", "Hardswish", "Hardtanh", "Hardshrink", "Softshrink", "Tanhshrink")
    },
    **{name: layer(X, 1) for name in ("Softmax", "LogSoftmax", "Softmin")},
    "LogSigmoid": layer(WIDE),
    "Threshold": layer(WIDE, 0.1, -1.5),
    "GLU": layer(f(2, 6)),
    "Softmax2d": layer(IMAGE),
    "BatchNorm1d": layer(LINE, 4),
    "BatchNorm2d": layer(IMAGE, 4),
    "InstanceNorm1d": layer(LINE, 4, affine=True),
    "InstanceNorm2d": layer(IMAGE, 4, affine=True),
    "LayerNorm": layer(f(2, 3, 4), (3, 4)),
    "RMSNorm": layer(f(2, 3, 4), 4),
    "GroupNorm": layer(IMAGE, 2, 4),
    "LocalResponseNorm": layer(IMAGE, 3),
    "Conv1d": layer(LINE, 4, 6, 3, 2, 1, 1, 2),
    "Conv2d": layer(IMAGE, 4, 6, 3, 2, 1, 1, 2),
    "ConvTranspose1d": layer(LINE, 4, 6, 3, 2, 1, 1, 2),
    "ConvTranspose2d": layer(IMAGE, 4, 6, 3, 2, 1, 1, 2),
    "LazyLinear": layer(f(2, 5), 3),
    **{f"Lazy{name}1d": layer(LINE, 6, 3) for name in ("Conv", "ConvTranspose")},
    **{f"Lazy{name}2d": layer(IMAGE, 6, 3) for name in ("Conv", "ConvTranspose")},
    **{f"LazyBatchNorm{n}d": layer(x) for n, x in ((1, LINE), (2, IMAGE))},
    # PyTorch's lazy instance norms cannot be called once they have loaded weights.
    **{f"LazyInstanceNorm{n}d": layer(x, affine=True, theirs=False) for n, x in ((1, LINE), (2, IMAGE))},
    "DepthwiseSeparableConv2d": layer(IMAGE, 4, 6, 3, theirs=False),
    **{name: layer(IMAGE, 4, theirs=False) for name in ("SqueezeExcitation", "ChannelAttention", "CBAM", "ECA")},
    "SpatialAttention": layer(IMAGE, theirs=False),
    "Conv2dNormActivation": layer(IMAGE, 4, 6, 3, theirs=False),
    "Permute": layer(IMAGE, (0, 2, 3, 1), theirs=False),
    "LayerNorm2d": layer(IMAGE, 4, theirs=False),
    "DeformConv2d": layer((f(2, 2, 5, 5), f(2, 18, 5, 5)), 2, 3, 3, padding=1, theirs=False),
    **{f"{kind}Pad1d": layer(LINE, (1, 2)) for kind in ("Zero", "Reflection", "Replication", "Circular")},
    **{f"{kind}Pad2d": layer(IMAGE, (1, 2, 2, 1)) for kind in ("Zero", "Reflection", "Replication", "Circular")},
    "ConstantPad1d": layer(LINE, (1, 2), 0.5),
    "ConstantPad2d": layer(IMAGE, (1, 2, 2, 1), 0.5),
    "Fold": layer(f(2, 36, 9), (6, 6), 3, 1, 1, 2),
    "Unfold": layer(IMAGE, 3, 1, 1, 2),
    **{name: layer(IMAGE, 2) for name in ("PixelShuffle", "PixelUnshuffle", "ChannelShuffle")},
    "Upsample": layer(IMAGE, scale_factor=2),
    "UpsamplingNearest2d": layer(IMAGE, scale_factor=2),
    "UpsamplingBilinear2d": layer(IMAGE, scale_factor=2),
    "Dropout": layer(X, 0.5),
    "Dropout1d": layer(LINE, 0.5),
    "Dropout2d": layer(IMAGE, 0.5),
    "AlphaDropout": layer(X, 0.5),
    "FeatureAlphaDropout": layer(IMAGE, 0.5),
    "StochasticDepth": layer(IMAGE, 0.5, "row", theirs=False),
    "Flatten": layer(IMAGE),
    "Unflatten": layer(f(2, 6), 1, (2, 3)),
    "Linear": layer(f(2, 5), 5, 3),
    "Embedding": layer(i(2, 3, high=5), 5, 4),
    "CrossEntropyLoss": layer((f(4, 5), i(4, high=5))),
    "NLLLoss": layer((f(4, 5), i(4, high=5))),
    **{name: layer((f(3, 4), f(3, 4))) for name in ("L1Loss", "MSELoss", "SmoothL1Loss", "HuberLoss")},
    "BCELoss": layer((f(3, 4, low=0.1, high=0.9), f(3, 4, low=0.1, high=0.9, grad=False))),
    "BCEWithLogitsLoss": layer((f(3, 4), f(3, 4, low=0.1, high=0.9))),
    "KLDivLoss": layer((f(3, 4), f(3, 4, low=0.1, high=0.9)), reduction="batchmean"),
    "PoissonNLLLoss": layer((f(3, 4), f(3, 4, low=0.5, high=3.0))),
    "GaussianNLLLoss": layer((f(3, 4), f(3, 4), f(3, 4, low=0.5, high=2.0))),
    "HingeEmbeddingLoss": layer((f(3, 4), SIGNS)),
    "SoftMarginLoss": layer((f(3, 4), f(3, 4, grad=False))),
    "MarginRankingLoss": layer((f(4), f(4), f(4, grad=False))),
    "MultiMarginLoss": layer((f(4, 5), i(4, high=5))),
    "MultiLabelMarginLoss": layer((f(4, 5), i(4, 5, low=-1, high=5))),
    "MultiLabelSoftMarginLoss": layer((f(4, 5), f(4, 5, low=0.0, high=1.0))),
    "CosineEmbeddingLoss": layer((f(4, 5), f(4, 5), i(4, low=1, high=2))),
    "TripletMarginLoss": layer((f(4, 5), f(4, 5), f(4, 5))),
    "TripletMarginWithDistanceLoss": layer((f(4, 5), f(4, 5), f(4, 5))),
    "DiceLoss": layer((f(2, 3, 4), i(2, 4, high=3))),
    "FocalLoss": layer((f(4, 5), i(4, high=5))),
    "ContrastiveLoss": layer((f(4, 5), f(4, 5), i(4, high=2))),
    "QuadrupletLoss": layer((f(4, 5), f(4, 5), f(4, 5), f(4, 5))),
    **{name: layer(IMAGE) for name in ("GlobalAvgPool2d", "GlobalMaxPool2d")},
    "CosineSimilarity": layer((f(3, 4), f(3, 4)), 1),
    "PairwiseDistance": layer((f(3, 4), f(3, 4))),
    **{name: layer(IMAGE, 2) for name in ("MaxPool2d", "AvgPool2d", "AdaptiveAvgPool2d", "AdaptiveMaxPool2d")},
    **{name: layer(LINE, 2) for name in ("MaxPool1d", "AvgPool1d", "AdaptiveAvgPool1d", "AdaptiveMaxPool1d")},
    "LPPool1d": layer(f(2, 4, 7, low=0.5, high=2.0), 2.0, 3),
    "LPPool2d": layer(f(2, 4, 6, 6, low=0.5, high=2.0), 2.0, 3),
    "MaxUnpool1d": layer((f(1, 1, 3), EVEN_1D), 2),
    "MaxUnpool2d": layer((f(1, 1, 2, 2), EVEN_2D), 2),
}

# --------------------------------------------------------------------------- optimisers, schedules, initialisation

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01},
    **{name: {"lr": 0.1} for name in ("Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adadelta")},
    **{name: {"lr": 0.1} for name in ("ASGD", "Rprop", "LBFGS")},
}

SCHEDULERS: dict[str, Callable[[Any, Any], Any]] = {
    "LambdaLR": lambda m, o: m.LambdaLR(o, lambda epoch: 0.9**epoch),
    "MultiplicativeLR": lambda m, o: m.MultiplicativeLR(o, lambda epoch: 0.9),
    "StepLR": lambda m, o: m.StepLR(o, 2),
    "MultiStepLR": lambda m, o: m.MultiStepLR(o, [2, 5]),
    "ConstantLR": lambda m, o: m.ConstantLR(o),
    "ExponentialLR": lambda m, o: m.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda m, o: m.PolynomialLR(o, 5, 2.0),
    "LinearLR": lambda m, o: m.LinearLR(o),
    "CosineAnnealingLR": lambda m, o: m.CosineAnnealingLR(o, 5),
    "CosineAnnealingWarmRestarts": lambda m, o: m.CosineAnnealingWarmRestarts(o, 3, 2),
    "ReduceLROnPlateau": lambda m, o: m.ReduceLROnPlateau(o, patience=1),
    "CyclicLR": lambda m, o: m.CyclicLR(o, 0.01, 0.1, 3),
    "OneCycleLR": lambda m, o: m.OneCycleLR(o, 0.1, 9),
    "SequentialLR": lambda m, o: m.SequentialLR(o, [m.ConstantLR(o), m.ExponentialLR(o, 0.9)], [3]),
    "ChainedScheduler": lambda m, o: m.ChainedScheduler([m.ConstantLR(o), m.ExponentialLR(o, 0.9)], o),
}

W = f(4, 6, grad=False)
INITIALISERS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    **{name: ((W,), {}) for name in ("uniform_", "normal_", "trunc_normal_", "ones_", "zeros_", "eye_")},
    **{name: ((W,), {}) for name in ("xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_")},
    "orthogonal_": ((W,), {}),
    "calculate_gain": (("leaky_relu", 0.2), {}),
    "calculate_fan_in_and_fan_out": ((W,), {}),
    "constant_": ((W, 0.3), {}),
    "dirac_": ((f(4, 2, 3, 3),), {}),
    "sparse_": ((W, 0.3), {}),
}
