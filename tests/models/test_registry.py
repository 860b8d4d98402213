"""The table of networks: every one of them has a name, options, and a docstring to go by."""

from __future__ import annotations

import inspect
import re

import pytest

from numbanet import models
from numbanet.models import registry


@pytest.mark.parametrize("name", models.list())
def test_entries(name):
    """What the command line and the documentation rely on."""
    info = models.info(name)
    assert info.name == name
    options = inspect.signature(info.make).parameters
    assert {"num_classes", "in_channels"} <= set(options), "every builder takes num_classes and in_channels"
    assert all(option.default is not inspect.Parameter.empty for option in options.values())
    assert len(info.input_shape) == 3
    assert info.input_shape[0] == options["in_channels"].default
    assert info.summary.endswith((".", ":", ";"))
    assert re.search(r"\d[\d,]* parameters", info.make.__doc__), "the docstring says how many parameters there are"
    assert (info.lr is None) == (info.batch_size is None)


@pytest.fixture
def table(monkeypatch):
    """A table of its own."""
    monkeypatch.setattr(registry, "_table", {})


def test_two_families(table):
    @models.register(input_shape=(3, 8, 8), lr=0.5, batch_size=4)
    def small(num_classes: int = 5, in_channels: int = 3, width: int = 2):
        """A small one. And more.

        Text.
        """
        return "paper", num_classes, in_channels, width

    def notes_small(num_classes: int = 10, in_channels: int = 1):
        """The notes' one."""
        return "notes", num_classes, in_channels

    def only_here(num_classes: int = 10, in_channels: int = 1):
        return "only"

    notes_small.__name__ = "small"
    models.register(input_shape=(1, 4, 4), prefix=models.registry.NOTES)(notes_small)
    models.register(input_shape=(1, 4, 4), prefix=models.registry.NOTES)(only_here)

    assert models.list() == ["notes.only_here", "notes.small", "small"]
    assert models.list("notes.*") == ["notes.only_here", "notes.small"]
    assert models.names("sm*") == ["small"]
    assert models.build("small", width=3) == ("paper", 5, 3, 3)
    assert models.build("notes.small", num_classes=2, in_channels=4) == ("notes", 2, 4)
    assert models.build("only_here") == "only"
    info = models.info("small")
    assert (info.summary, info.input_shape, info.lr, info.batch_size) == ("A small one. And more.", (3, 8, 8), 0.5, 4)
    assert models.info("only_here").name == "notes.only_here"
    assert models.info("only_here").summary == ""
    assert small.__name__ == "small"
    with pytest.raises(ValueError, match="model 'small' is registered twice"):
        models.register(input_shape=(3, 8, 8))(small)
    with pytest.raises(ValueError, match=r"no model is called 'smal'; did you mean small or notes\.small\?"):
        models.build("smal")
    with pytest.raises(ValueError, match=r"no model is called 'xyz'; models\.list\(\) gives all 3 names"):
        models.info("xyz")
    with pytest.raises(ValueError, match=r"no model is called 'only_her'; did you mean only_here\?"):
        models.info("only_her")
    with pytest.raises(TypeError, match="depth"):
        models.build("small", depth=3)
