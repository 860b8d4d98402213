"""docs/operators.md is what its generator writes, and every public operator has an example and a line there."""

from __future__ import annotations

import importlib
import pkgutil
import re
from functools import cache

import pytest

from numbanet import functional
from scripts import make_operators_page
from tests import operators

PAGE = make_operators_page.PAGE

try:
    import torch
except ImportError:
    torch = None


@cache
def written() -> str:
    return PAGE.read_text(encoding="utf-8")


TABLES = {
    "FUNCTIONS": (operators.FUNCTIONS, [name for family in operators.public_functions().values() for name in family]),
    "LAYERS": (operators.LAYERS, operators.public_layers()),
    "OPTIMIZERS": (operators.OPTIMIZERS, operators.public_optimizers()),
    "SCHEDULERS": (operators.SCHEDULERS, operators.public_schedulers()),
    "INITIALISERS": (operators.INITIALISERS, operators.public_initialisers()),
}


@pytest.mark.parametrize("table", TABLES)
def test_every_operator_has_an_example_and_every_example_an_operator(table):
    examples, public = TABLES[table]
    without = sorted(set(public) - set(examples))
    assert not without, f"add a line for each of {without} to {table} in tests/operators.py"
    stale = sorted(set(examples) - set(public))
    assert not stale, f"{table} in tests/operators.py has examples of what is not there: {stale}"


def test_the_page_is_up_to_date():
    made = make_operators_page.page().splitlines()
    on_file = written().splitlines()
    changed = [f"- {a}\n+ {b}" for a, b in zip(on_file, made, strict=False) if a != b]
    assert made == on_file, (
        "docs/operators.md is not up to date: run `python -m scripts.make_operators_page`. It has "
        f"{len(on_file)} lines, should have {len(made)}; first differences:\n" + "\n".join(changed[:3])
    )


@pytest.mark.parametrize("family", sorted(m.name for m in pkgutil.iter_modules(functional.__path__)))
def test_functional_exports_every_public_function(family):
    """A submodule of the same name must not stand in a function's place either."""
    page = importlib.import_module(f"numbanet.functional.{family}")
    absent = [name for name in getattr(page, "__all__", []) if not callable(getattr(functional, name, None))]
    if family == "gradients":  # in-place helpers of nn.utils
        return
    assert not absent, f"numbanet/functional/__init__.py does not export {absent}"


def test_nothing_on_the_page_is_unknown():
    assert "| ? |" not in written()
    for name in [name for _, public in TABLES.values() for name in public]:
        assert f"`{name}(" in written(), f"{name} has no line"


def test_every_operator_runs_on_the_cpu_and_most_have_cuda_twins_and_gradients():
    rows = re.findall(r"^\| `[^`]*` \|(?: [^|]* \|)? yes \| (yes|no) \|", written(), re.MULTILINE)
    assert len(rows) >= 150
    assert rows.count("yes") >= 0.5 * len(rows)


@pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
def test_pytorchs_names_on_the_page_are_pytorchs():
    unknown = []
    for name in sorted(set(re.findall(r"`(torch\.[\w.]+)`", written()))):
        place = torch
        for part in name.split(".")[1:]:
            place = getattr(place, part, None)
        if place is None:
            unknown.append(name)
    assert not unknown


def test_references_of_several_lines_are_read_whole():
    def documented() -> None:
        """Does something.

        Reference: A. Author, "A title that is long
            enough for two lines" (2001).

        Another paragraph.
        """

    read = make_operators_page.reference
    assert read(documented) == 'A. Author, "A title that is long enough for two lines" (2001).'
    assert read(lambda: None) is None
