"""Calls, one a line, that give what PyTorch gives: names of arguments, numbers beyond a dtype, bools, nothing, and ties."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import numbanet
from tests.checks import assert_close, torch

NAN = float("nan")


def _bytes(lib: Any) -> Any:
    return lib.tensor([5, 200, 0], dtype=lib.uint8)


def _grid(lib: Any) -> Any:
    return lib.arange(6).reshape(2, 3)


def _slope(function: Any, values: Any) -> Any:
    """The gradient of the sum of what a function gives of float values."""

    def call(lib: Any) -> Any:
        x = lib.tensor(values, dtype=lib.float64, requires_grad=True)
        return lib.autograd.grad(function(lib, x).sum(), x)

    return call


def _changed(function: Any, start: Any) -> Any:
    """A tensor after a statement that changes it."""

    def call(lib: Any) -> Any:
        x = start(lib)
        function(lib, x)
        return x

    return call


def _ints(lib: Any) -> Any:
    return lib.tensor([5, -3])


def _statement(text: str, start: Any = _ints) -> Any:
    return _changed(lambda lib, x: exec(text, {"x": x, "lib": lib}), start)


ROWS = [[1.0, 3.0, 5.0], [2.0, 4.0, 4.0]]

CALLS = {
    "sign of NaN": lambda lib: lib.tensor([NAN, -2.0, 0.0] * 9).sign(),
    "slope of abs at NaN": _slope(lambda lib, x: x.abs(), [NAN, -2.0, 0.0] * 9),
    # other names of arguments
    **{
        f"{name} along an axis": lambda lib, name=name: getattr(lib, name)(_grid(lib).float(), axis=1)
        for name in ("sum", "mean", "amax", "argmin", "softmax", "cumsum", "prod", "std", "max", "sort", "all", "unsqueeze")
    },
    "a method along an axis": lambda lib: _grid(lib).sum(axis=0, keepdims=True),
    "stack along an axis": lambda lib: lib.stack([_grid(lib), _grid(lib)], axis=1),
    "squeeze an axis": lambda lib: lib.ones(2, 1).squeeze(axis=1),
    "index_select along an axis": lambda lib: lib.index_select(_grid(lib), axis=1, index=lib.tensor([2, 0])),
    "permute's dims": lambda lib: _grid(lib).permute(dims=(1, 0)),
    "permute's dims and input": lambda lib: lib.permute(input=_grid(lib), dims=(1, 0)),
    "flip's dims": lambda lib: _grid(lib).flip(dims=(1,)),
    "tile's dims": lambda lib: _grid(lib).tile(dims=(1, 2)),
    "repeat's repeats": lambda lib: _grid(lib).repeat(repeats=(1, 2)),
    "expand's size": lambda lib: lib.ones(1, 2).expand(size=(3, 2)),
    "view's size": lambda lib: _grid(lib).view(size=(3, 2)),
    "reshape's shape": lambda lib: lib.reshape(_grid(lib), shape=(3, 2)),
    "broadcast_to's size": lambda lib: lib.broadcast_to(lib.ones(2), size=(2, 2)),
    "split's tensor": lambda lib: lib.split(tensor=_grid(lib), split_size_or_sections=1),
    "swapaxes's axes": lambda lib: lib.swapaxes(_grid(lib), axis0=0, axis1=1),
    "vdot's other": lambda lib: lib.vdot(lib.ones(2), other=lib.ones(2)),
    "one_hot's input": lambda lib: lib.nn.functional.one_hot(input=lib.tensor([1]), num_classes=3),
    "uniform_ from and to": lambda lib: lib.ones(2).uniform_(**{"from": 2.0, "to": 2.0}),
    "random_ from and to": lambda lib: lib.ones(2).random_(**{"from": 3, "to": 4}),
    "arange to an end": lambda lib: lib.arange(end=3),
    "arange of a tensor": lambda lib: lib.arange(lib.tensor(3)),
    "randint's size": lambda lib: lib.randint(high=1, size=(2,)),
    "randperm's dtype": lambda lib: lib.randperm(1, dtype=lib.int32),
    "new_zeros": lambda lib: lib.ones(1).double().new_zeros(2, requires_grad=True).requires_grad,
    "cumsum_'s dtype": lambda lib: lib.ones(3).cumsum_(0, dtype=lib.float32),
    "unused inputs as zeros": lambda lib: lib.autograd.grad(
        lib.ones(2, requires_grad=True).sum(), [lib.ones(3, requires_grad=True)], materialize_grads=True
    ),
    # ints beyond a dtype
    "uint8 + -1": lambda lib: _bytes(lib) + -1,
    "uint8 + 300": lambda lib: _bytes(lib) + 300,
    "int8 * 10^10": lambda lib: lib.tensor([5, -3], dtype=lib.int8) * 10**10,
    "int64 + 2^63": lambda lib: lib.tensor([1]) + 2**63,
    "uint8 & -2": lambda lib: _bytes(lib) & -2,
    "uint8 // -1": lambda lib: _bytes(lib) // -1,
    "uint8 clamped to -1": lambda lib: _bytes(lib).clamp(-1, 3),
    "uint8 filled with -1": lambda lib: _bytes(lib).fill_(-1),
    "uint8 filled with 2.7": lambda lib: _bytes(lib).fill_(2.7),
    "full of -1": lambda lib: lib.full((2,), -1, dtype=lib.uint8),
    "ints masked by 2.7": lambda lib: _bytes(lib).masked_fill(lib.tensor([True, False, True]), 2.7),
    "bools masked by 0.5": lambda lib: lib.tensor([True, False]).masked_fill(lib.tensor([True, True]), 0.5),
    # powers and quotients of ints
    "negative powers": lambda lib: lib.pow(lib.tensor([2, 1, -1, -1, 0, 3]), lib.tensor([-1, -2, -3, -2, -1, 2])),
    "negative powers of 2": lambda lib: lib.pow(2, lib.tensor([-1, 2, 0])),
    "negative powers in place": lambda lib: lib.tensor([2, 1, -1]).pow_(lib.tensor([-1, -2, -3])),
    "large quotients": lambda lib: lib.div(lib.tensor([2**30 + 1, -(2**40) - 1, 7, -7, 7]), lib.tensor([1, 1, 2, 2, -2]), rounding_mode="trunc"),
    "quotients of int8": lambda lib: lib.div(lib.tensor([5, -3], dtype=lib.int8), 2, rounding_mode="trunc"),
    "quotients of floats": lambda lib: lib.div(lib.tensor([7.0, -7.0, -0.5, 1.0]), lib.tensor([2.0, 2.0, 1.0, 0.0]), rounding_mode="trunc"),
    "div_ rounding down": lambda lib: lib.tensor([7.0, -7.0]).div_(2, rounding_mode="floor"),
    "div_ of ints": lambda lib: lib.tensor([7, -7]).div_(2, rounding_mode="trunc"),
    "the remainder of nothing by 0": lambda lib: lib.fmod(lib.ones(2, 0, dtype=lib.int64), 0),
    "addcmul of ints by 0.5": lambda lib: lib.addcmul(lib.tensor([1]), lib.tensor([3]), lib.tensor([2]), value=0.5),
    "half minus scaled ints": lambda lib: lib.sub(lib.ones(2).bfloat16(), lib.tensor([1, 2], dtype=lib.int8), alpha=0.5).float(),
    # rounding
    "one decimal": lambda lib: lib.round(lib.tensor([1.25, 1.35, -2.675, 1234.5]), decimals=1),
    "hundreds": lambda lib: lib.round(lib.tensor([125.0, 1350.0, -2675.0]), decimals=-2),
    "no decimals": lambda lib: lib.tensor([2.5, 3.5]).round(decimals=0),
    # bools and uint8
    "square of bools": lambda lib: lib.square(lib.tensor([True, False])),
    "sign of bools": lambda lib: lib.sign(lib.tensor([True, False])),
    "isinf of ints": lambda lib: (lib.isinf(_bytes(lib)), lib.isfinite(lib.tensor([True]))),
    "isclose of bools": lambda lib: lib.isclose(lib.tensor([True, False]), lib.tensor([True, True])),
    **{
        f"{name} of uint8": lambda lib, name=name: (
            getattr(_bytes(lib), name)(), getattr(_bytes(lib), name)(0), getattr(_bytes(lib), name)(())
        )
        for name in ("any", "all")
    },
    **{f"{name} over no dimension": lambda lib, name=name: getattr(_grid(lib), name)(()) for name in ("any", "all")},
    "products of bools": lambda lib: lib.tensor([True, True, False]).scatter(0, lib.tensor([0, 2]), False, reduce="multiply"),
    "extremes of bools": lambda lib: lib.tensor([True, True]).scatter_reduce(0, lib.tensor([0, 0]), lib.tensor([False, True]), "amin"),
    # operators
    "//=": _statement("x //= 2"),
    "%=": _statement("x %= 3"),
    "&=": _statement("x &= 6"),
    "|=": _statement("x |= 2"),
    "^=": _statement("x ^= 1"),
    "//= of floats": _statement("x //= 2", lambda lib: lib.tensor([5.0, -5.0])),
    "an int & a tensor": lambda lib: (3 & _ints(lib), 3 | _ints(lib), 3 ^ _ints(lib)),
    # nothing, and tensors without dimensions
    "roll of nothing": lambda lib: lib.roll(lib.ones(2, 0, 3), 1, 0),
    "cat with nothing": lambda lib: lib.cat([lib.tensor([1], dtype=lib.uint8), lib.tensor([], dtype=lib.int16)]),
    "unique of one": lambda lib: lib.unique(lib.tensor(3), return_inverse=True, return_counts=True),
    "index_fill of one": lambda lib: lib.tensor(3.0).index_fill(0, lib.tensor([], dtype=lib.int64), 1.0),
    "index_fill from the end": lambda lib: _grid(lib).index_fill(1, lib.tensor([-1, 0]), 9),
    "distances of nothing": lambda lib: lib.cdist(lib.ones(2, 0), lib.ones(3, 0), p=float("inf")),
    "cross entropy of no probabilities": lambda lib: lib.nn.functional.cross_entropy(lib.ones(0, 3), lib.ones(0, 3)),
    "alpha dropout of all": lambda lib: lib.nn.functional.alpha_dropout(lib.ones(3), 1.0, training=True),
    "alpha dropout of all in place": lambda lib: lib.nn.functional.alpha_dropout(lib.ones(3), 1.0, True, inplace=True),
    "normalize over two dimensions": lambda lib: lib.nn.functional.normalize(_grid(lib).float(), dim=(0, 1)),
    "bernoulli_ of probabilities": lambda lib: lib.ones(2).bernoulli_(lib.tensor([0.0, 1.0])),
    # searching
    "searchsorted in rows": lambda lib: lib.searchsorted(lib.tensor(ROWS), lib.tensor([[3.0, 9.0], [4.0, 1.0]])),
    "searchsorted in rows, right": lambda lib: lib.searchsorted(lib.tensor(ROWS), lib.tensor([[3.0], [4.0]]), side="right", out_int32=True),
    "searchsorted in no rows": lambda lib: lib.searchsorted(lib.ones(2, 0), lib.ones(2, 3)),
    "searchsorted by a sorter": lambda lib: lib.searchsorted(lib.tensor([5, 1, 3]), lib.tensor([2, 3, 9]), sorter=lib.tensor([1, 2, 0])),
    "searchsorted's input": lambda lib: lib.searchsorted(lib.tensor([1, 3]), input=lib.tensor([2])),
    "searchsorted of NaN": lambda lib: lib.searchsorted(lib.tensor([1.0, 3.0, NAN]), lib.tensor([3.0, NAN, 9.0])),
    "isin of half precision": lambda lib: lib.isin(lib.tensor([1.0, 2.0]).bfloat16(), lib.tensor([2, 3])),
    # gradients
    "the median's ties": _slope(lambda lib, x: x.median(), [3.0, 1.0, 1.0, 1.0, 2.0]),
    "the median's NaN": _slope(lambda lib, x: x.median(), [[3.0, NAN], [1.0, NAN]]),
    "the median of one": _slope(lambda lib, x: x.median(), 3.0),
    "a quotient rounded down": _slope(lambda lib, x: lib.div(x, 2.0, rounding_mode="floor"), [3.0, -3.0]),
    "a quotient rounded to zero": _slope(lambda lib, x: lib.div(1.0, x, rounding_mode="trunc"), [3.0, 0.0]),
}  # fmt: skip


def _plain(value: Any) -> list[np.ndarray]:
    if isinstance(value, tuple | list):
        return [array for item in value for array in _plain(item)]
    return [np.asarray(value.detach().numpy() if hasattr(value, "detach") else value)]


@pytest.mark.skipif(torch is None, reason="compares with PyTorch")
@pytest.mark.parametrize("name", CALLS)
def test_gives_pytorchs(name):
    ours, theirs = _plain(CALLS[name](numbanet)), _plain(CALLS[name](torch))
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a, b, what=name)


def test_one_argument_under_two_names():
    with pytest.raises(TypeError, match=r"sum\(\).*'dim' and 'axis'"):
        numbanet.ones(2).sum(dim=0, axis=0)
