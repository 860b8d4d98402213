"""The code in docs/data.md runs, and its tables name what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from numbanet import data
from numbanet.data import transforms

PAGE = Path(__file__).parents[2] / "docs" / "data.md"
if not PAGE.is_file():
    pytest.skip("the documentation is not part of the installed package", allow_module_level=True)
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(4))
def test_code_runs(number, isolated, monkeypatch, capsys):
    monkeypatch.setattr(data.FashionMNIST, "_system_folders", ())  # the embedded sample: quicker than the full set
    assert len(BLOCKS) == 4
    exec(compile(BLOCKS[number], f"docs/data.md block {number}", "exec"), {"__name__": "docs"})
    printed = ("Size([128, 1, 28, 28])", "Size([64, 10]) tensor(1.", "True", "Size([1000, 1, 28, 28]) tensor(True)")
    assert printed[number] in capsys.readouterr().out


def test_every_transform_is_named():
    named = set(re.findall(r"`(\w+)`", TEXT))
    assert {name for name in transforms.__all__ if name[0].isupper()} - {"InterpolationMode"} <= named
    assert {"EMNIST", *(name for name in data.__all__ if name.endswith(("MNIST", "10", "100", "Folder")))} <= named | {
        "EMNIST"
    }
