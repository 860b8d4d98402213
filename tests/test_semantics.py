"""Every operator's example against PyTorch: values, both gradients, dtypes, shapes, empty batches, 0-d tensors, memory layouts.

The examples are those of ``tests/operators.py``; an operator that has one is tested here without another line.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import numbanet
from tests.checks import assert_close
from tests.operators import (
    FUNCTIONS,
    INITIALISERS,
    LAYERS,
    OPTIMIZERS,
    RANDOM,
    SCHEDULERS,
    Array,
    Run,
    draw_all,
    laid_out,
    make_layer,
    mapped,
    public_functions,
    public_initialisers,
    public_layers,
    public_optimizers,
    public_schedulers,
    run_example,
    run_initialiser,
    run_optimizer,
    run_scheduler,
)

try:
    import torch
except ImportError:
    torch = None

needs_torch = pytest.mark.skipif(torch is None, reason="PyTorch is not installed")

# (operator, what is compared): why it is not PyTorch's.
DIFFERENT: dict[tuple[str, str], str] = {
    ("fill_", "gradients"): "no gradient where PyTorch has one of zeros",
    ("zero_", "gradients"): "no gradient where PyTorch has one of zeros",
    ("uniform_", "gradients"): "no gradient where PyTorch has one of zeros",
    ("normal_", "gradients"): "no gradient where PyTorch has one of zeros",
    ("random_", "gradients"): "no gradient where PyTorch has one of zeros",
    ("bernoulli_", "gradients"): "no gradient where PyTorch has one of zeros",
    ("floor_divide", "gradients"): "no gradient; PyTorch refuses to compute one",
    ("grid_sample", "twice"): "the grid's gradient cannot be differentiated again, and says so",
    **{
        (name, "empty is refused"): "PyTorch's backward fails, its forward gives the empty result"
        for name in ("pixel_shuffle", "pixel_unshuffle", "PixelShuffle", "PixelUnshuffle")
    },
    **{
        (name, "empty is refused"): "an empty batch has nothing to normalise"
        for name in ("instance_norm", "InstanceNorm1d", "InstanceNorm2d")
    },
    ("floor_divide", "empty is refused"): "PyTorch refuses the gradient, not the empty batch",
}

# Operators for which PyTorch's float64 result is not one to all digits.
LOOSE = {
    "hardsigmoid": 1e-6,  # PyTorch's 1 / 6 is a float32 one
    "Hardsigmoid": 1e-6,
}


def _in_torch(kind: str, name: str) -> bool:
    if torch is None:
        return False
    if kind == "function":
        return FUNCTIONS[name].function(name, torch) is not None
    return LAYERS[name].theirs and hasattr(torch.nn, name)


ALL = [("function", name) for family in public_functions().values() for name in family if name in FUNCTIONS] + [
    ("layer", name) for name in public_layers() if name in LAYERS
]
BOTH = [case for case in ALL if _in_torch(*case)]


def ids(case: Any) -> str:
    return str(case[1]) if isinstance(case, tuple) else str(case)


every = pytest.mark.parametrize("case", ALL, ids=ids)
every_in_torch = pytest.mark.parametrize("case", BOTH, ids=ids)


def run(case: tuple[str, str], library: Any, dtype: Any, change: Any = None, layout: Any = None) -> Run:
    """The example's run, its arrays' descriptions changed, or the drawn arrays laid out in memory in another way."""
    kind, name = case
    if kind == "function":
        given: Any = (FUNCTIONS[name].args, FUNCTIONS[name].kwargs)
    else:
        given = LAYERS[name].inputs
        made = make_layer(name, LAYERS[name].args, LAYERS[name].kwargs, library, dtype)
    given = mapped(given, change) if change else given
    if layout:
        given = mapped(given, lambda array: replace(array, layout=layout))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library.manual_seed(0)
        drawn = draw_all(given, library, dtype)
        if kind == "function":
            return run_example(lambda g: FUNCTIONS[name].call(name, library, *g), library, drawn)
        return run_example(lambda g: made(*g[0]), library, (drawn, list(made.parameters())))


def attempt(*args: Any, **options: Any) -> tuple[Run | None, BaseException | None]:
    try:
        return run(*args, **options), None
    except Exception as error:
        return None, error


def same_class(ours: BaseException, theirs: BaseException) -> bool:
    return isinstance(ours, type(theirs)) or isinstance(theirs, type(ours))


def compare(ours: list[Any], theirs: list[Any], tolerance: float, what: str, values: bool = True) -> None:
    assert len(ours) == len(theirs), f"{what}: {len(ours)} of them, PyTorch has {len(theirs)}"
    for position, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if a is None or b is None:  # no gradient is a gradient of zeros
            assert not np.any(np.asarray(0 if a is None else a)) and not np.any(np.asarray(0 if b is None else b)), what
            continue
        a, b = np.asarray(a), np.asarray(b)
        if not values:
            assert (a.shape, a.dtype) == (b.shape, b.dtype), f"{what} {position}"
            continue
        assert_close(a, b, tolerance, tolerance * max(1.0, float(np.abs(b).max(initial=0))), f"{what} {position}")


# ------------------------------------------------------------------------------------------------- against PyTorch


@needs_torch
@every_in_torch
def test_values_and_gradients_of_both_orders_are_pytorchs(case):
    name = case[1]
    ours = run(case, numbanet, np.float64)
    if (name, "gradients") in DIFFERENT:
        return
    theirs = run(case, torch, np.float64)
    random = name in RANDOM
    tolerance = LOOSE.get(name, 1e-8)
    compare(ours.outputs, theirs.outputs, tolerance, "output", not random)
    compare(ours.gradients, theirs.gradients, tolerance, "gradient", not random)
    if ours.doubles is not None and theirs.doubles is not None:
        compare(ours.doubles, theirs.doubles, 10 * tolerance, "second gradient", not random)


@needs_torch
@every_in_torch
def test_a_gradient_that_pytorch_can_differentiate_ours_can(case):
    name = case[1]
    if (name, "gradients") in DIFFERENT:
        return
    ours, theirs = run(case, numbanet, np.float64), run(case, torch, np.float64)
    if theirs.doubles is not None and (name, "twice") not in DIFFERENT:
        assert ours.doubles is not None, f"PyTorch differentiates the gradient; here: {ours.error!r}"


@needs_torch
@every_in_torch
def test_float32_gives_pytorchs_dtypes_and_shapes(case):
    ours = run(case, numbanet, np.float32)
    theirs, error = attempt(case, torch, np.float32)
    if error is None:
        compare(ours.outputs, theirs.outputs, 0, "output", values=False)


@needs_torch
@every_in_torch
def test_an_empty_batch_gives_pytorchs_shapes_or_its_exception(case):
    kind, name = case
    arrays: list[Array] = []
    mapped(FUNCTIONS[name].args if kind == "function" else LAYERS[name].inputs, lambda a: arrays.append(a) or a)
    if not arrays or not arrays[0].shape or (name, "empty") in DIFFERENT:
        return
    batch = arrays[0].shape[0]

    def emptied(array: Array) -> Array:
        return replace(array, shape=(0, *array.shape[1:])) if array.shape[:1] == (batch,) else array

    theirs, their_error = attempt(case, torch, np.float32, change=emptied)
    ours, our_error = attempt(case, numbanet, np.float32, change=emptied)
    if their_error is None:
        assert our_error is None, f"PyTorch gives {[np.shape(o) for o in theirs.outputs]}; here: {our_error!r}"
        compare(ours.outputs, theirs.outputs, 0, "output", values=False)
        if (name, "gradients") not in DIFFERENT:
            compare(ours.gradients, theirs.gradients, 0, "gradient", values=False)
    elif our_error is not None:
        assert same_class(our_error, their_error), f"{our_error!r}, PyTorch's {their_error!r}"
    elif (name, "empty is refused") not in DIFFERENT:
        pytest.fail(f"gives {[np.shape(o) for o in ours.outputs]}, PyTorch raises {their_error!r}")


@needs_torch
@every_in_torch
def test_zero_dimensions_where_pytorch_takes_them(case):
    if (case[1], "0-d") in DIFFERENT:
        return

    def scalar(array: Array) -> Array:
        return replace(array, shape=())

    theirs, error = attempt(case, torch, np.float64, change=scalar)
    if error is None:
        ours = run(case, numbanet, np.float64, change=scalar)
        random = case[1] in RANDOM
        compare(ours.outputs, theirs.outputs, 1e-9, "output", not random)
        if (case[1], "gradients") not in DIFFERENT:
            compare(ours.gradients, theirs.gradients, 1e-8, "gradient", not random)


# ------------------------------------------------------------------------------------------------- memory layouts


@pytest.mark.parametrize("layout", ["sliced", "turned", "flipped"])
@every
def test_how_the_inputs_lie_in_memory_changes_nothing(case, layout):
    if case[1] in ("view", "view_as", "as_strided") or (case[1], "layouts") in DIFFERENT:
        return  # which views there are is a matter of strides
    plain, other = run(case, numbanet, np.float64), run(case, numbanet, np.float64, layout=layout)
    compare(other.outputs, plain.outputs, 1e-12, "output")
    compare(other.gradients, plain.gradients, 1e-12, "gradient")


@pytest.mark.parametrize("layout", ["c", "sliced", "turned", "flipped"])
def test_the_layouts_are_what_they_are_called(layout):
    array = np.arange(24.0).reshape(2, 3, 4)
    other = laid_out(array, layout)
    np.testing.assert_array_equal(other, array)
    assert other.flags.c_contiguous == (layout == "c")
    assert (min(other.strides) < 0) == (layout == "flipped")


# ----------------------------------------------------------------------- optimisers, schedules, initialisation


@needs_torch
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", [n for n in public_optimizers() if n in OPTIMIZERS])
def test_optimisers_walk_pytorchs_way(name, dtype):
    if not hasattr(torch.optim, name) or (name, "steps") in DIFFERENT:
        return
    for ours, theirs in zip(run_optimizer(name, dtype=dtype), run_optimizer(name, torch, dtype), strict=True):
        assert_close(ours, theirs, 1e-5 if dtype == np.float32 else 1e-6, 1e-6 if dtype == np.float32 else 1e-7, name)


@needs_torch
@pytest.mark.parametrize("name", [n for n in public_schedulers() if n in SCHEDULERS])
def test_schedules_give_pytorchs_rates(name):
    if not hasattr(torch.optim.lr_scheduler, name):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_allclose(run_scheduler(name), run_scheduler(name, torch), rtol=1e-12, atol=1e-15)


@needs_torch
@pytest.mark.parametrize("name", [n for n in public_initialisers() if n in INITIALISERS])
def test_initialisers_give_pytorchs_shapes_and_dtypes(name):
    if not hasattr(torch.nn.init, name):
        return
    for dtype in (np.float32, np.float64):
        ours, theirs = run_initialiser(name, dtype=dtype), run_initialiser(name, torch, dtype)
        assert np.shape(ours) == np.shape(theirs)
        assert np.asarray(ours).dtype == np.asarray(theirs).dtype
        if name in ("ones_", "zeros_", "constant_", "eye_", "dirac_", "calculate_gain"):
            np.testing.assert_allclose(ours, theirs, rtol=1e-6)
