"""The one check that every differentiable function goes through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import numbanet

try:
    import torch
except ImportError:  # PyTorch is a second oracle where it is installed
    torch = None


def assert_close(actual: Any, expected: Any, rtol: float = 1e-5, atol: float = 1e-6, what: str = "") -> None:
    """Shapes and dtypes agree, values are close, NaN only where NaN is expected."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, expected {expected.shape}"
    assert actual.dtype == expected.dtype, f"{what}: dtype {actual.dtype}, expected {expected.dtype}"
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol, equal_nan=True, err_msg=what)


def layouts(array: np.ndarray) -> list[np.ndarray]:
    """The same values contiguous, as a strided slice, and with negative strides."""
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype) if array.ndim else array.copy()
    if array.ndim:
        wide[..., ::2] = array
    forms = [array.copy(), wide[..., ::2] if array.ndim else wide]
    if array.ndim:
        forms.append(array[::-1].copy()[::-1])
    return forms


def check_op(
    ours: Callable[..., Any],
    theirs: Callable[..., Any] | None,
    arrays: Sequence[np.ndarray],
    *,
    differentiable: Sequence[int] | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    numeric: bool = True,
) -> None:
    """Run a function through values, gradients, layouts and purity.

    Args:
        ours: takes numbanet tensors, returns a tensor (or a tuple).
        theirs: the same for PyTorch tensors; None where PyTorch has no such function.
        arrays: the inputs, float32 (or integers).
        differentiable: positions of the inputs with gradients (default: all floating ones).
        rtol, atol: for float32 against PyTorch.
        numeric: compare float64 gradients with finite differences along a random direction.
    """
    rng = np.random.default_rng(0)
    where = [i for i, a in enumerate(arrays) if a.dtype.kind == "f"] if differentiable is None else list(differentiable)

    def run(library: Any, function: Any, inputs: Sequence[np.ndarray], cotangents: Any) -> Any:
        tensors = [library.from_numpy(a) for a in inputs]
        for i in where:
            tensors[i].requires_grad_()
        outputs = function(*tensors)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        floating = [o for o in outputs if o.requires_grad]
        if cotangents is None:
            cotangents = [rng.standard_normal(tuple(o.shape)) for o in floating]
        starts = [library.from_numpy(np.asarray(c.astype(inputs[where[0]].dtype))) for c in cotangents] if where else []
        if floating:
            library.autograd.backward(floating, starts)
        grads = [tensors[i].grad for i in where] if floating else []
        return (
            [np.asarray(o.detach().numpy()) for o in outputs],
            [None if g is None else g.numpy() for g in grads],
            cotangents,
        )

    values, grads, cotangents = run(numbanet, ours, [a.copy() for a in arrays], None)
    for forms in zip(*[layouts(a) for a in arrays if a.ndim] or [[]], strict=True):
        forms = iter(forms)
        inputs = [next(forms) if a.ndim else a.copy() for a in arrays]
        again, grads_again, _ = run(numbanet, ours, inputs, cotangents)
        for a, b in zip(values + grads, again + grads_again, strict=True):
            if a is not None:
                assert_close(b, a, rtol, atol, "another memory layout")
        for given, kept in zip(inputs, arrays, strict=True):
            np.testing.assert_array_equal(given, kept, err_msg="an input was changed")
    if torch is not None and theirs is not None:
        their_values, their_grads, _ = run(torch, theirs, [a.copy() for a in arrays], cotangents)
        for a, b in zip(values, their_values, strict=True):
            assert_close(a, b, rtol, atol, "value against PyTorch")
        for i, a, b in zip(where, grads, their_grads, strict=False):
            if a is not None or b is not None:
                assert_close(a if a is not None else np.zeros_like(b), b if b is not None else np.zeros_like(a), rtol, atol,
                             f"gradient of input {i} against PyTorch")  # fmt: skip
    if numeric and where and any(g is not None for g in grads):
        check_gradient(ours, arrays, where, cotangents)


def check_gradient(
    ours: Callable[..., Any], arrays: Sequence[np.ndarray], where: Sequence[int], cotangents: Any
) -> None:
    """Float64 gradients against central differences along a random direction."""
    rng = np.random.default_rng(1)
    inputs = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays]
    directions = {i: rng.standard_normal(inputs[i].shape) for i in where}

    def value(step: float) -> float:
        moved = [a + step * directions[i] if i in directions else a for i, a in enumerate(inputs)]
        with numbanet.no_grad():
            outputs = ours(*[numbanet.from_numpy(np.asarray(m)) for m in moved])
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        floating = [o for o in outputs if o.dtype.kind == "f"]
        return sum(float((o.numpy() * c).sum()) for o, c in zip(floating, cotangents, strict=True))

    tensors = [numbanet.from_numpy(a.copy()) for a in inputs]
    for i in where:
        tensors[i].requires_grad_()
    outputs = ours(*tensors)
    floating = [o for o in (outputs if isinstance(outputs, tuple) else (outputs,)) if o.requires_grad]
    numbanet.autograd.backward(floating, [numbanet.from_numpy(np.asarray(c)) for c in cotangents])
    analytic = sum(float((tensors[i].grad.numpy() * directions[i]).sum()) for i in where if tensors[i].grad is not None)
    step = 1e-6
    numeric = (value(step) - value(-step)) / (2 * step)
    assert abs(analytic - numeric) <= 1e-6 + 1e-5 * abs(numeric), (
        f"backward gives {analytic}, finite differences {numeric}"
    )
