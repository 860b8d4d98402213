"""What cases are drawn from: per family of operators a function that draws one call.

Most draws are valid; ``spoiled`` changes one thing in some of them, which may make them invalid. Operators without a
generator of their own are drawn from their example (``examples``), so that a new operator is fuzzed from the
day it has one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from numbanet import functional, optim
from tests.operators import FUNCTIONS, LAYERS, Array, all_kernels, b, f, i, mapped, public_functions, public_layers


@dataclass(frozen=True)
class Case:
    """One call, which its printed form describes whole.

    Attributes:
        kind: "function", "layer", "optimizer" or "kernel".
        name: of the function or class.
        args, kwargs: its arguments (of a layer: of its class).
        inputs: a layer's inputs, an optimiser's parameters.
        dtype: of floats.
        seed: for the values.
    """

    kind: str
    name: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    inputs: tuple[Any, ...] = ()
    dtype: str = "float32"
    seed: int = 0


class Draw:
    """Random choices from one seed."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def int(self, low: int, high: int) -> int:
        """From low to high, both included."""
        return int(self.rng.integers(low, high + 1))

    def of(self, *choices: Any) -> Any:
        return choices[self.int(0, len(choices) - 1)]

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def shape(self, low: int, high: int, largest: int = 7) -> tuple[int, ...]:
        """Of low to high dimensions."""
        sizes = [self.int(1, largest) for _ in range(self.int(low, high))]
        if sizes and self.chance(0.05):
            sizes[self.int(0, len(sizes) - 1)] = 0
        return tuple(sizes)

    def layout(self) -> str:
        return self.of("c", "c", "c", "sliced", "turned", "flipped")

    def array(self, *shape: int, **options: Any) -> Array:
        """Floats, now and then with ties, NaN, or lying in memory in another way."""
        values = self.of("", "", "", "", "", "ties", "ties", "nan")
        return f(*shape, **{"values": values, "layout": self.layout(), **options})

    def finite(self, *shape: int, **options: Any) -> Array:
        """Floats without NaN and infinities: weights, whose product with padding's zeros may or may not be computed."""
        return self.array(*shape, **{"values": self.of("", "", "", "ties"), "grad": self.chance(0.85), **options})

    def one_or_each(self, dims: int, low: int, high: int) -> Any:
        """An int, or one for each dimension."""
        if self.chance(0.5):
            return self.int(low, high)
        return tuple(self.int(low, high) for _ in range(dims))


# ---------------------------------------------------------------------------------------- changing one thing


def spoiled(draw: Draw, value: Any) -> Any:
    """``value`` (arguments) with one leaf changed, so that it probably no longer fits.

    A tensor stays a tensor: what is no tensor at all is the business of ``tests/bad_calls``.
    """
    count = _leaves(value)
    return _change(value, [draw.int(0, count - 1)], draw) if count else value


def _leaves(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return sum(_leaves(item) for item in value) if isinstance(value, list | tuple) else 1


def _change(value: Any, left: list[int], draw: Draw) -> Any:
    if isinstance(value, dict):
        return {key: _change(item, left, draw) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_change(item, left, draw) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    left[0] -= 1
    return _other(value, draw) if left[0] == -1 else value


def _other(value: Any, draw: Draw) -> Any:
    """Something else in place of an argument."""
    if isinstance(value, Array):
        shape = list(value.shape)
        kind = draw.int(0, 5)
        if kind == 0 and shape:
            shape.pop(draw.int(0, len(shape) - 1))
        elif kind == 1:
            shape.insert(draw.int(0, len(shape)), draw.int(1, 3))
        elif kind in (2, 3) and shape:
            shape[draw.int(0, len(shape) - 1)] += draw.of(-1, 1, 1)
        elif kind == 4 and shape:
            shape[draw.int(0, len(shape) - 1)] = 0
        elif kind == 5:
            return draw.of(replace(value, kind="int", low=None, high=None), replace(value, kind="bool"))
        if value.kind == "int" and draw.chance(0.5):
            return replace(value, low=draw.int(-3, 3), high=draw.int(4, 12))
        return replace(value, shape=tuple(max(size, 0) for size in shape))
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return draw.of(-3, -1, 0, 1, 2, 3, 5, 1.5, None)
    if isinstance(value, float):
        return draw.of(-1.0, 0.0, 0.5, 1.0, float("nan"), float("inf"), 2)
    if isinstance(value, str):
        return draw.of("none", "nonsense", "mean", "")
    return draw.of(None, 0, 1, -1, "nonsense") if value is None else value


# ---------------------------------------------------------------------------------------------------- families


def convolution(draw: Draw) -> Case:
    name = draw.of(*_present("conv1d", "conv2d", "conv2d", "conv3d", *(f"conv_transpose{d}d" for d in (1, 2, 3))))
    dims, transposed = int(name[-2]), "transpose" in name
    groups = draw.of(1, 1, 1, 2, 3)
    inputs, outputs = groups * draw.int(1, 4), groups * draw.int(1, 4)
    if groups == 1 and draw.chance(0.15):  # several tiles of channels
        inputs, outputs = draw.int(8, 40), draw.int(8, 40)
    n = draw.of(1, 2, 3, 16, 17, 33) if dims < 3 else draw.of(1, 2)
    if draw.chance(0.02):
        n = 0
    largest = {1: 40, 2: 12, 3: 6}[dims] if n < 16 else 7
    kernel = tuple(draw.int(1, 4 if dims < 3 else 3) for _ in range(dims))
    dilation = draw.one_or_each(dims, 1, draw.of(1, 1, 2, 3))
    spread = (dilation,) * dims if isinstance(dilation, int) else dilation
    padding: Any = draw.one_or_each(dims, 0, draw.of(0, 1, 3))
    smallest = [d * (k - 1) + 1 for d, k in zip(spread, kernel, strict=True)]
    size = tuple(draw.int(s if not transposed else 1, max(s, largest)) for s in smallest)
    stride: Any = draw.one_or_each(dims, 1, draw.of(1, 2, 3))
    bias = draw.finite(outputs) if draw.chance(0.5) else None
    x = draw.finite(n, inputs, *size) if draw.chance(0.9) else draw.finite(inputs, *size)
    if transposed:
        weight = draw.finite(inputs, outputs // groups, *kernel)
        extra = draw.int(0, 1) if draw.chance(0.3) else 0
        return Case("function", name, (x, weight, bias, stride, padding, extra, groups, dilation))
    if draw.chance(0.1):
        padding, stride = draw.of("same", "valid"), 1
    weight = draw.finite(outputs, inputs // groups, *kernel)
    return Case("function", name, (x, weight, bias, stride, padding, dilation, groups))


def pooling(draw: Draw) -> Case:
    name = draw.of(*(n for n in public_functions().get("pooling", []) if "pool" in n and "unpool" not in n))
    dims = int(name[-2]) if name[-2].isdigit() else 2
    largest = {1: 40, 2: 14, 3: 7}[dims]
    lead = (draw.int(1, 3), draw.int(1, 4)) if draw.chance(0.9) else (draw.int(1, 4),)
    kernel = draw.one_or_each(dims, 1, draw.of(2, 3, 4))
    each = (kernel,) * dims if isinstance(kernel, int) else kernel
    x = draw.array(*lead, *(draw.int(k, largest) for k in each))
    if name.startswith("adaptive"):
        return Case("function", name, (x, draw.one_or_each(dims, 1, largest)))
    if name.startswith("fractional"):
        return Case("function", name, (x, kernel), {"output_ratio": 0.5})
    stride = draw.of(None, draw.one_or_each(dims, 1, 4))
    padding = draw.int(0, min(each) // 2)
    kwargs: dict[str, Any] = {"ceil_mode": draw.chance(0.4)}
    if name.startswith("lp"):
        return Case("function", name, (x, draw.of(1.0, 2.0, 3.0), kernel, stride), kwargs)
    if name.startswith("avg"):
        kwargs |= {"padding": padding, "count_include_pad": draw.chance(0.5)}
        if dims > 1 and draw.chance(0.2):
            kwargs["divisor_override"] = draw.int(1, 5)
    else:
        kwargs |= {"padding": padding, "dilation": draw.of(1, 1, 2), "return_indices": draw.chance(0.2)}
    return Case("function", name, (x, kernel, stride), kwargs)


def normalization(draw: Draw) -> Case:
    name = draw.of(*public_functions().get("normalization", []))
    c = draw.int(1, 6)
    shape = (draw.of(1, 2, 3, 5, 17), c, *draw.shape(0, 3, 6))
    if draw.chance(0.15):
        shape = (draw.int(1, 4), c, draw.int(10, 30), draw.int(10, 30))
    x = draw.finite(*shape)  # how far one NaN reaches depends on the order of the statistics' sums
    weight, bias = (draw.finite(c), draw.finite(c)) if draw.chance(0.7) else (None, None)
    running = (f(c, grad=False), f(c, low=0.5, high=2.0, grad=False)) if draw.chance(0.7) else (None, None)
    training = draw.chance(0.7)
    if name == "batch_norm":
        return Case("function", name, (x, *running, weight, bias, training, 0.1, 1e-5))
    if name == "batch_norm_relu":
        add = draw.of(None, draw.array(*shape))
        return Case("function", name, (x, *running, weight, bias, training, 0.1, 1e-5), {"add": add})
    if name == "instance_norm":
        return Case("function", name, (x, *running, weight, bias, training))
    if name == "group_norm":
        return Case("function", name, (x, draw.of(*(g for g in range(1, c + 1) if c % g == 0)), weight, bias))
    if name in ("layer_norm", "rms_norm"):
        inner = shape[draw.int(1, len(shape) - 1) :]
        parts = [draw.finite(*inner) if draw.chance(0.7) else None for _ in range(1 if name == "rms_norm" else 2)]
        return Case("function", name, (x, inner, *parts))
    return example(draw, [name])


def products(draw: Draw) -> Case:
    name = draw.of("linear", "linear", "matmul", "matmul", "matmul", "mm", "bmm", "mv", "dot", "outer")
    large = 70 if draw.chance(0.1) else 9
    m, k, n, batch = draw.int(1, large), draw.int(1, large), draw.int(1, large), draw.int(1, 3)
    if draw.chance(0.05):
        m, k, n = draw.of((0, k, n), (m, 0, n), (m, k, 0))
    if name == "linear":
        lead = draw.shape(0, 3, 5)
        return Case("function", name, (draw.array(*lead, k), draw.array(n, k), draw.of(None, draw.array(n))))
    if name == "matmul":
        left, right = draw.of(
            ((m, k), (k, n)), ((k,), (k, n)), ((m, k), (k,)), ((k,), (k,)), ((batch, m, k), (k, n)),
            ((batch, m, k), (batch, k, n)), ((m, k), (batch, k, n)), ((2, 1, m, k), (3, k, n)), ((batch, m, k), (k,)),
        )  # fmt: skip
        return Case("function", name, (draw.array(*left), draw.array(*right)))
    shapes: dict[str, tuple[Any, Any]] = {
        "mm": ((m, k), (k, n)),
        "bmm": ((batch, m, k), (batch, k, n)),
        "mv": ((m, k), (k,)),
        "dot": ((k,), (k,)),
        "outer": ((m,), (n,)),
    }
    left, right = shapes[name]
    return Case("function", name, (draw.array(*left), draw.array(*right)))


_BINARY = ("add", "sub", "mul", "div", "maximum", "minimum", "remainder", "floor_divide", "eq", "ne", "lt", "le", "gt")
_BINARY_MORE = ("ge", "pow", "logical_and", "logical_or", "logical_xor", "isclose", "atan2", "hypot", "fmod")


_NO_UNARY = {"t", "numel", "one_hot", "contiguous", "nonzero", "argwhere", "unique"}  # or of fixed ranks


def elementwise(draw: Draw) -> Case:
    examples = [(name, FUNCTIONS[name]) for name in _present(*FUNCTIONS)]
    unary = [n for n, e in examples if len(e.args) == 1 and isinstance(e.args[0], Array) and n not in _NO_UNARY]
    if draw.chance(0.4) and unary:
        name = draw.of(*unary)
        like = FUNCTIONS[name].args[0]
        shape = draw.shape(0, 4) if draw.chance(0.8) else (draw.int(1, 300),)
        return Case("function", name, (replace(like, shape=shape, layout=draw.layout()),), FUNCTIONS[name].kwargs)
    shape = draw.shape(0, 4)
    shapes = [_broadcastable(draw, shape) for _ in range(3)]
    drawn = [draw.array(*s) for s in shapes]
    if draw.chance(0.15):
        drawn[1] = i(*shapes[1], low=1, high=5)
    if draw.chance(0.3):
        return Case("function", "where", (b(*shapes[2]), drawn[0], drawn[1]))
    name = draw.of(*_present(*_BINARY, *_BINARY_MORE))
    other = drawn[1] if name.startswith("logical") or draw.chance(0.85) else draw.of(2, 0.5, -1.5, True)
    return Case("function", name, (drawn[0], other))


def _broadcastable(draw: Draw, shape: tuple[int, ...]) -> tuple[int, ...]:
    sizes = [1 if draw.chance(0.25) else size for size in shape]
    return tuple(sizes[draw.int(0, len(sizes)) if draw.chance(0.3) else 0 :])


def reduction(draw: Draw) -> Case:
    name = draw.of(*public_functions().get("reduction", []))
    shape = draw.shape(0, 4)
    if draw.chance(0.1):
        shape = draw.of((2000,), (3, 700), (700, 3), (2, 300, 5))
    one = name in ("max", "min", "argmax", "argmin", "prod") or draw.chance(0.5)
    dims: Any = draw.int(-max(len(shape), 1), max(len(shape), 1) - 1)
    if not one:
        dims = tuple(sorted(set(draw.int(0, max(len(shape), 1) - 1) for _ in range(2))))
    x = draw.array(*shape) if name not in ("any", "all") or draw.chance(0.5) else b(*shape)
    if "var" in name or "std" in name:  # infinities less their mean: when, depends on how partial moments are joined
        x = draw.finite(*shape)
    if name not in FUNCTIONS or len(FUNCTIONS[name].args) != 2:
        return example(draw, [name])
    if draw.chance(0.25):
        return Case("function", name, (x,))
    return Case("function", name, (x, dims), {"keepdim": draw.chance(0.5)})


def classes(draw: Draw) -> Case:
    """Softmax and the losses over classes."""
    name = draw.of("softmax", "log_softmax", "cross_entropy", "cross_entropy", "nll_loss")
    if "softmax" in name:
        shape = draw.shape(1, 4) if draw.chance(0.8) else (draw.int(1, 5), draw.int(20, 200))
        return Case("function", name, (draw.array(*shape), draw.int(-len(shape), len(shape) - 1)))
    c, places = draw.int(1, 12), draw.shape(0, 2, 4)
    n = draw.of(1, 2, 5, 40)
    target: Any = i(n, *places, high=c, layout=draw.layout())
    if name == "cross_entropy" and draw.chance(0.2):
        target = f(n, c, *places, low=0.0, high=1.0)
    kwargs: dict[str, Any] = {"reduction": draw.of("mean", "sum", "none")}
    if draw.chance(0.3):
        kwargs["weight"] = f(c, low=0.1, high=1.0, grad=False)
    if draw.chance(0.3):
        kwargs["ignore_index"] = draw.int(0, c)
    if name == "cross_entropy" and draw.chance(0.3):
        kwargs["label_smoothing"] = draw.of(0.1, 0.5)
    return Case("function", name, (draw.array(n, c, *places), target), kwargs)


def losses(draw: Draw) -> Case:
    """The losses of two tensors of one shape."""
    names = [
        name
        for name in public_functions().get("loss", [])
        if (e := FUNCTIONS.get(name)) and [type(a) for a in e.args] == [Array, Array] and e.args[0] == e.args[1]
    ]
    name = draw.of(*names)
    shape = draw.shape(0, 4) if draw.chance(0.9) else (draw.int(100, 3000),)
    like = FUNCTIONS[name].args[0]
    arrays = [replace(like, shape=shape, layout=draw.layout()) for _ in range(2)]
    kwargs = dict(FUNCTIONS[name].kwargs)
    if "reduction" in inspect.signature(getattr(functional, name)).parameters:
        kwargs["reduction"] = draw.of("mean", "sum", "none")
    return Case("function", name, tuple(arrays), kwargs)


def indexing(draw: Draw) -> Case:
    shape = draw.shape(1, 4)
    x = draw.array(*shape)
    dim = draw.int(-len(shape), len(shape) - 1)
    size = shape[dim]
    name = draw.of(*_present("getitem", "getitem", "setitem", "gather", "index_select", "narrow", "select", "flip"))
    if name in ("getitem", "setitem"):
        index = tuple(_index(draw, s) for s in shape[: draw.int(1, len(shape))])
        if draw.chance(0.2):
            index = (*index, Ellipsis)
        if draw.chance(0.1):
            index = (None, *index)
        if draw.chance(0.1):
            index = (b(*shape[: draw.int(1, len(shape))]),)
        return Case("function", name, (x, index) if name == "getitem" else (x, index, draw.of(2.0, f(1))))
    if name == "gather":
        wanted = tuple(draw.int(0 if draw.chance(0.1) else 1, max(s, 1)) for s in shape)
        return Case("function", name, (x, dim, i(*wanted, high=size)))
    if name == "index_select":
        return Case("function", name, (x, dim, i(draw.int(0, 6), high=size)))
    if name == "narrow":
        start = draw.int(0, size)
        return Case("function", name, (x, dim, start, draw.int(0, size - start)))
    if name == "select":
        return Case("function", name, (x, dim, draw.int(-size, max(size - 1, 0))))
    return Case("function", name, (x, [dim]))


def _index(draw: Draw, size: int) -> Any:
    kind = draw.int(0, 4)
    if kind == 0:
        return draw.int(-size, max(size - 1, 0))
    if kind == 1:
        return i(draw.int(1, 4), high=size, low=-size)
    ends = [draw.of(None, draw.int(-size - 1, size + 1)) for _ in range(2)]
    return slice(*ends, draw.of(None, 1, 2, 3))


def shapes(draw: Draw) -> Case:
    """Functions that move elements about."""
    shape = draw.shape(1, 4)
    x = draw.array(*shape)
    name = draw.of(*_present("reshape", "permute", "transpose", "expand", "cat", "stack", "repeat", "tile", "flip",
                             "split", "unbind", "squeeze", "unsqueeze", "flatten", "roll", "diagonal", "triu", "tril"))  # fmt: skip
    dims = [int(d) for d in draw.rng.permutation(len(shape))]
    dim = draw.int(-len(shape), len(shape) - 1)
    arguments: dict[str, tuple[Any, ...]] = {
        "reshape": ((tuple(shape[d] for d in dims)),),
        "permute": (tuple(dims),),
        "transpose": (dim, dims[0]),
        "expand": (draw.int(1, 3), *shape),
        "repeat": tuple(draw.int(0 if draw.chance(0.1) else 1, 3) for _ in shape),
        "tile": (tuple(draw.int(1, 3) for _ in range(draw.int(1, 4))),),
        "flip": (dims[: draw.int(1, len(dims))],),
        "split": (draw.int(1, 4), dim),
        "unbind": (dim,),
        "squeeze": (dim,),
        "unsqueeze": (dim,),
        "flatten": (min(dims[0], dims[-1]), max(dims[0], dims[-1])),
        "roll": (draw.int(-5, 5), dim),
        "diagonal": (draw.int(-3, 3),),
        "triu": (draw.int(-3, 3),),
        "tril": (draw.int(-3, 3),),
    }
    if name in ("cat", "stack"):
        others = [list(shape) for _ in range(draw.int(0, 3))]
        if name == "cat":
            for other in others:
                other[dim] = draw.int(0, 4)
        return Case("function", name, ([x, *(draw.array(*other) for other in others)], dim))
    return Case("function", name, (x, *arguments[name]))


def images(draw: Draw) -> Case:
    """Padding, patches, and sampling of images."""
    name = draw.of(*_present("pad", "fold", "unfold", "interpolate", "grid_sample", "affine_grid", "pixel_shuffle",
                             "pixel_unshuffle", "channel_shuffle", "flip"))  # fmt: skip
    dims = draw.of(1, 2, 2, 3)
    n, c, size = draw.int(1, 3), draw.int(1, 4), tuple(draw.int(1, 8 if dims < 3 else 5) for _ in range(dims))
    x = draw.finite(n, c, *size) if name == "interpolate" else draw.array(n, c, *size)
    if name == "pad":
        mode = draw.of("constant", "constant", "reflect", "replicate", "circular")
        widths = []
        for s in reversed(size):
            most = {"constant": 4, "reflect": s - 1, "replicate": 4, "circular": s}[mode]
            widths += [draw.int(-min(s // 2, 2) if mode == "constant" else 0, most) for _ in range(2)]
        return Case("function", name, (x, widths, mode, *((draw.of(0.0, 1.5),) if mode == "constant" else ())))
    if name == "interpolate":
        plain = {1: "linear", 2: "bilinear", 3: "trilinear"}[dims]
        mode = draw.of("nearest", "nearest-exact", "area", plain, *(["bicubic"] if dims == 2 else []))
        kwargs: dict[str, Any] = {"mode": mode}
        if mode in (plain, "bicubic"):
            kwargs["align_corners"] = draw.chance(0.5)
        if draw.chance(0.5):
            return Case("function", name, (x, draw.one_or_each(dims, 1, 9)), kwargs)
        return Case("function", name, (x,), {**kwargs, "scale_factor": draw.of(0.5, 2.0, 1.3, 0.3)})
    if name == "grid_sample":
        dims = draw.of(2, 2, 3)
        size, out = tuple(draw.int(1, 6) for _ in range(dims)), tuple(draw.int(1, 5) for _ in range(dims))
        mode = draw.of("bilinear", "nearest", *(["bicubic"] if dims == 2 else []))
        grid = f(n, *out, dims, low=-1.6, high=1.6, values=draw.of("", "", "ties"))
        padding = draw.of("zeros", "border", "reflection")
        return Case("function", name, (draw.finite(n, c, *size), grid, mode, padding, draw.chance(0.5)))
    if name in ("unfold", "fold"):
        kernel, dilation = draw.one_or_each(2, 1, 3), draw.int(1, 2)
        padding, stride = draw.int(0, 2), draw.one_or_each(2, 1, 3)
        size = (draw.int(5, 9), draw.int(5, 9))
        if name == "unfold":
            return Case("function", name, (draw.array(n, c, *size), kernel, dilation, padding, stride))
        each, steps = ((v, v) if isinstance(v, int) else v for v in (kernel, stride))
        blocks = [
            (s + 2 * padding - dilation * (k - 1) - 1) // t + 1 for s, k, t in zip(size, each, steps, strict=True)
        ]
        columns = draw.array(n, c * each[0] * each[1], blocks[0] * blocks[1])
        return Case("function", name, (columns, size, kernel, dilation, padding, stride))
    if name == "pixel_shuffle":
        r = draw.int(1, 3)
        return Case("function", name, (draw.array(n, c * r * r, draw.int(1, 4), draw.int(1, 4)), r))
    if name == "pixel_unshuffle":
        r = draw.int(1, 3)
        return Case("function", name, (draw.array(n, c, r * draw.int(1, 4), r * draw.int(1, 4)), r))
    if name == "flip":
        return Case("function", name, (x, list(range(2, 2 + dims))))
    return example(draw, [name])


def dropout(draw: Draw) -> Case:
    name = draw.of(*public_functions().get("dropout", ["dropout"]))
    if name not in FUNCTIONS or len(FUNCTIONS[name].args) > 2:
        return example(draw, [name])
    dims = next((int(c) for c in name if c.isdigit()), 0)
    shape = (draw.int(1, 3), draw.int(1, 4), *draw.shape(dims, dims, 5)) if dims else draw.shape(0, 4)
    alpha = "alpha" in name  # its scale is no number where everything is dropped
    x = draw.finite(*shape) if alpha else draw.array(*shape)
    p = draw.of(0.0, 0.1, 0.5, 0.9, 0.3 if alpha else 1.0)
    return Case("function", name, (x, p), {"training": draw.chance(0.8)})


def casts(draw: Draw) -> Case:
    """Between all pairs of dtypes."""
    x = draw.of(draw.array(*draw.shape(0, 3)), i(*draw.shape(0, 3), low=-3, high=100), b(*draw.shape(0, 3)))
    to = draw.of("float32", "float64", "int64", "int32", "uint8", "bool")
    return Case("function", "to", (x, None, np.dtype(to)))


_PARAMETER_SHAPES = ((), (1,), (7,), (3, 5), (2, 3, 2, 2), (40, 30), (0,), (65,))


def optimizer(draw: Draw) -> Case:
    """A few steps of an optimiser with options drawn by their names."""
    name = draw.of(
        *(n for n in optim.__all__ if inspect.isclass(getattr(optim, n)) and n not in ("Optimizer", "LBFGS"))
    )
    choices: dict[str, tuple[Any, ...]] = {
        "lr": (0.1, 0.01, 0.0),
        "weight_decay": (0.0, 0.0, 0.1),
        "momentum": (0.0, 0.9),
        "dampening": (0.0, 0.0, 0.5),
        "betas": ((0.9, 0.999), (0.5, 0.9), (0.0, 0.0)),
        "eps": (1e-8, 1e-3),
        "alpha": (0.99, 0.5),
        "rho": (0.9, 0.5),
        "lr_decay": (0.0, 0.1),
        "initial_accumulator_value": (0.0, 0.1),
        "etas": ((0.5, 1.2),),
    }
    flags = ("nesterov", "amsgrad", "maximize", "centered", "decoupled_weight_decay")
    kwargs = {}
    for option in inspect.signature(getattr(optim, name)).parameters:
        if option in choices and (option == "lr" or draw.chance(0.5)):
            kwargs[option] = draw.of(*choices[option])
        elif option in flags and draw.chance(0.3):
            kwargs[option] = True
    parameters = [f(*draw.of(*_PARAMETER_SHAPES)) for _ in range(draw.int(1, 3))]
    return Case("optimizer", name, (), kwargs, tuple(parameters))


def example(draw: Draw, names: Sequence[str] | None = None) -> Case:
    """An operator's example with other sizes: every size of 2 and more becomes another, wherever it stands."""
    present = {name for family in public_functions().values() for name in family}
    name = draw.of(*(names or sorted(present & FUNCTIONS.keys())))
    given = FUNCTIONS.get(name)
    if given is None:
        return Case("function", name, (f(2, 3),))
    args, kwargs = _resized(draw, (given.args, given.kwargs))
    return Case("function", name, args, kwargs)


def kernel(draw: Draw) -> Case:
    """Kernels that no public function calls on the CPU, or seldom."""
    size = draw.of(1, 2, 7, 64, 1000, 5000)
    x, out = draw.array(size, layout="c"), f(size)
    arguments: dict[str, tuple[Any, ...]] = {
        "axpy": (draw.finite(size, layout="c"), draw.finite(size, layout="c"), draw.of(0.5, -2.0)),
        "cast": (f(size, low=-90.0, high=90.0), draw.of(i(size), f(size))),
        "clamp": (x, out, -0.5, draw.of(0.5, float("inf"))),
        "fill": (out, draw.of(0.0, 2.5)),
        "isnan": (x, b(size)),
        "normal": (out, 1.0, 0.5, draw.int(0, 2**40), draw.int(0, 2**33)),
        "tanh": (x, out),
        "uniform": (out, -1.0, 3.0, draw.int(0, 2**40), draw.int(0, 2**33)),
    }
    name = draw.of(*(n for n in arguments if n in all_kernels()))
    return Case("kernel", name, arguments[name])


def layer(draw: Draw) -> Case:
    """A layer's example with other batch sizes and values."""
    present = set(public_layers())
    name = draw.of(*sorted(present & LAYERS.keys()))
    given = LAYERS[name]
    batch = draw.of(1, 2, 3, 5)
    first = given.inputs[0].shape[:1] if isinstance(given.inputs[0], Array) else ()

    def resized(array: Array) -> Array:
        same = bool(first) and array.shape[:1] == first
        return replace(array, shape=(batch, *array.shape[1:]) if same else array.shape, layout=draw.layout())

    return Case("layer", name, given.args, given.kwargs, mapped(given.inputs, resized))


def _resized(draw: Draw, value: Any) -> Any:
    sizes: dict[int, int] = {}

    def size(old: int) -> int:
        if old not in sizes:
            sizes[old] = old if old < 2 or draw.chance(0.5) else draw.of(old, old + 1, 2 * old, draw.int(1, 9))
        return sizes[old]

    def change(array: Array) -> Array:
        high = size(array.high) if array.kind == "int" and isinstance(array.high, int) else array.high
        layout = draw.layout() if array.layout == "c" else array.layout
        return replace(array, shape=tuple(size(s) for s in array.shape), high=high, layout=layout)

    return mapped(value, change)


def _present(*names: str) -> list[str]:
    return [name for name in names if hasattr(functional, name)]


# How many cases of a family a hundred cases hold, nearly.
FAMILIES: dict[Callable[[Draw], Case], int] = {
    convolution: 16,
    pooling: 10,
    normalization: 7,
    products: 8,
    elementwise: 10,
    reduction: 8,
    classes: 6,
    losses: 5,
    indexing: 6,
    shapes: 6,
    images: 8,
    dropout: 3,
    casts: 2,
    optimizer: 5,
    example: 14,
    layer: 5,
    kernel: 2,
}
SPOILED = 0.15  # the share of cases in which one thing is changed


def draw_case(family: Callable[[Draw], Case], seed: int) -> Case:
    """The case of a family that belongs to a seed."""
    draw = Draw(seed)
    case = family(draw)
    args, kwargs, inputs = case.args, case.kwargs, case.inputs
    if family not in (casts, kernel) and draw.chance(SPOILED):
        args, kwargs, inputs = spoiled(draw, (args, kwargs, inputs))
    return replace(case, args=args, kwargs=kwargs, inputs=inputs, dtype=draw.of("float32", "float64"), seed=seed)
