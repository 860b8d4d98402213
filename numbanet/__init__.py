"""numbanet: a CNN framework whose kernels are readable Python, and fast.

The names are PyTorch's: ``numbanet.tensor``, ``numbanet.nn``, ``numbanet.nn.functional``, ``numbanet.optim``. README.md
has a tour, docs/architecture.md says what lies where.
"""

import importlib
from typing import TYPE_CHECKING, Any

from numbanet import dtypes as _dtypes
from numbanet import threads
from numbanet.autograd import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
)
from numbanet.devices import Device as device
from numbanet.dtypes import (
    float16,
    float32,
    float64,
    get_default_dtype,
    int8,
    int16,
    int32,
    int64,
    promote_types,
    set_default_dtype,
    uint8,
)
from numbanet.random import (
    Generator,
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)
from numbanet.shapes import Size
from numbanet.tensor import (
    Tensor,
    arange,
    as_tensor,
    empty,
    empty_like,
    eye,
    from_dlpack,
    from_numpy,
    full,
    full_like,
    is_tensor,
    linspace,
    ones,
    ones_like,
    rand,
    rand_like,
    randint,
    randn,
    randn_like,
    randperm,
    tensor,
    zeros,
    zeros_like,
)
from numbanet.threads import get_num_threads, set_num_threads

__version__ = "0.1.0"

half, double, short, long = _dtypes.half, _dtypes.double, _dtypes.short, _dtypes.long
float, int, bool = _dtypes.float, _dtypes.int, _dtypes.bool
dtype = _dtypes.dtype

# Subpackages are imported at first use, and the functions on tensors found in ``functional``: `import numbanet` costs
# little more than `import numba`.
_SUBPACKAGES = ("autograd", "cuda", "data", "functional", "inspect", "io", "models", "nn", "optim", "train", "utils")


def __getattr__(name: str) -> Any:
    if name in _SUBPACKAGES:
        return importlib.import_module(f"numbanet.{name}")
    if name in ("save", "load"):
        return getattr(importlib.import_module("numbanet.io"), name)
    if not name.startswith("_"):
        functional = importlib.import_module("numbanet.functional")
        if name in _FUNCTIONS and hasattr(functional, name):
            function = getattr(functional, name)
            globals()[name] = function
            return function
    raise AttributeError(f"module 'numbanet' has no attribute {name!r}")


# The functions that PyTorch, too, has at the top level.
_FUNCTIONS = frozenset(
    [
        "abs",
        "absolute",
        "add",
        "all",
        "allclose",
        "amax",
        "amin",
        "any",
        "argmax",
        "argmin",
        "bmm",
        "broadcast_tensors",
        "broadcast_to",
        "cat",
        "ceil",
        "chunk",
        "clamp",
        "clip",
        "clone",
        "concat",
        "concatenate",
        "conv2d",
        "cos",
        "div",
        "divide",
        "dot",
        "dropout",
        "eq",
        "equal",
        "erf",
        "exp",
        "expm1",
        "flatten",
        "flip",
        "floor",
        "floor_divide",
        "gather",
        "ge",
        "gt",
        "hstack",
        "index_select",
        "isclose",
        "isfinite",
        "isinf",
        "isnan",
        "le",
        "log",
        "log1p",
        "log_softmax",
        "logical_and",
        "logical_not",
        "logical_or",
        "logical_xor",
        "logsumexp",
        "lt",
        "masked_fill",
        "matmul",
        "max",
        "maximum",
        "mean",
        "min",
        "minimum",
        "mm",
        "movedim",
        "mul",
        "multiply",
        "narrow",
        "ne",
        "neg",
        "negative",
        "norm",
        "numel",
        "outer",
        "permute",
        "pow",
        "prod",
        "ravel",
        "reciprocal",
        "relu",
        "remainder",
        "repeat",
        "reshape",
        "round",
        "rsqrt",
        "select",
        "sigmoid",
        "sign",
        "sin",
        "softmax",
        "split",
        "sqrt",
        "square",
        "squeeze",
        "stack",
        "std",
        "sub",
        "subtract",
        "sum",
        "swapaxes",
        "t",
        "tanh",
        "tile",
        "transpose",
        "unbind",
        "unflatten",
        "unsqueeze",
        "var",
        "var_mean",
        "vstack",
        "where",
    ]
)


def __dir__() -> list[str]:
    return sorted({*globals(), *_SUBPACKAGES, *_FUNCTIONS, "save", "load"})


if TYPE_CHECKING:
    from numbanet import autograd, cuda, data, functional, inspect, io, models, nn, optim, train, utils
