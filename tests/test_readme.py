"""What the README shows works, and its two commands stand where they should."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def blocks(kind: str, text: str = README) -> list[str]:
    return [textwrap.dedent(body) for _, language, body in FENCE.findall(text) if language == kind]


def test_quick_start_is_two_commands():
    section = README.partition("## Quick start\n")[2].partition("\n## ")[0]
    assert blocks("", section) == ["pip install . && numbanet train lenet\n", "pip install '.[test]' && pytest\n"]
    assert README.index("## Quick start") < 1000


def test_there_is_code_to_run():
    assert len(blocks("python")) >= 3


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_python_blocks_run(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = blocks("python")[number]
    exec(compile(code, f"README.md block {number}", "exec"), {"__name__": "readme"})


def test_links_to_files_are_good():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (ROOT / target).exists(), target


def test_commands_exist():
    from numbanet.cli import _parser

    usage = _parser().format_help()
    for command in set(re.findall(r"`numbanet (\w+)", README)):
        assert command in usage
