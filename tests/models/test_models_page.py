"""docs/models.md names every network, with the parameters that its docstring says it has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from numbanet import models

PAGE = Path(__file__).parents[2] / "docs" / "models.md"

if not PAGE.is_file():
    pytest.skip("the documentation is not part of the installed package", allow_module_level=True)

ROWS = {
    name: (size, int(parameters.replace(",", "")))
    for name, size, parameters in re.findall(r"^\| `(\S+)` \| ([\d x]+) \| ([\d,]+) \|", PAGE.read_text("utf-8"), re.MULTILINE)
}  # fmt: skip


def test_the_page_has_every_network_and_no_other():
    assert sorted(ROWS) == models.list(), "run python -m scripts.make_models_page"


@pytest.mark.parametrize("name", models.list())
def test_sizes_and_parameters(name):
    info, (size, parameters) = models.info(name), ROWS[name]
    assert size == " x ".join(map(str, info.input_shape))
    assert f"{parameters:,} parameters" in info.make.__doc__, "run python -m scripts.make_models_page"
