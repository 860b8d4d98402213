"""What docs/operators.md says of CUDA: every operator with a yes runs there, forward and backward, with the CPU's values."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest

import numbanet
from numbanet.devices import cuda_is_available
from scripts.make_operators_page import PAGE
from tests.checks import assert_close
from tests.operators import FUNCTIONS, RANDOM, draw_all, public_functions, tensors_in

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not cuda_is_available(), reason="no CUDA, and not in the simulator"),
]

NAMES = sorted(name for family in public_functions().values() for name in family if name in FUNCTIONS)
LOOSE = 1e-4


def says_yes(name: str) -> bool:
    line = re.search(rf"^\| `{re.escape(name)}\(.*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return line is not None and bool(re.search(r"` \| yes \| yes \|", line.group()))


def moved(value: Any) -> Any:
    """The tensors in nested tuples, lists and dicts on CUDA, as leaves."""
    if isinstance(value, numbanet.Tensor):
        there = value.detach().to("cuda")
        return there.requires_grad_() if value.requires_grad else there
    if isinstance(value, dict):
        return {key: moved(item) for key, item in value.items()}
    return type(value)(moved(item) for item in value) if isinstance(value, list | tuple) else value


def run(name: str, change: Any) -> list[Any]:
    example = FUNCTIONS[name]
    args, kwargs = change(draw_all((example.args, example.kwargs), numbanet, np.float32))
    numbanet.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = example.call(name, numbanet, args, kwargs)
    outputs = tensors_in(results)
    floating = [o for o in outputs if o.requires_grad]
    leaves = [t for t in tensors_in([args, kwargs]) if t.requires_grad]
    grads = []
    if floating and leaves:
        starts = [numbanet.ones_like(o) for o in floating]
        grads = list(numbanet.autograd.grad(floating, leaves, starts, allow_unused=True))
    return [None if t is None else t.detach().cpu().numpy() for t in [*outputs, *grads]]


@pytest.mark.parametrize("name", NAMES)
def test_an_operator_with_a_cuda_twin_gives_the_cpus_values(name):
    if not says_yes(name):
        pytest.skip("the page says no")
    here, there = run(name, lambda given: given), run(name, moved)
    assert len(here) == len(there)
    if name in RANDOM:
        return
    for a, b in zip(here, there, strict=True):
        if a is not None or b is not None:
            assert_close(b, a, LOOSE, LOOSE, name)
