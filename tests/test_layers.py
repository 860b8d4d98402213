"""Who may import whom: every import in the package, read from the source, goes down the rooms of docs/architecture.md."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parent.parent / "numbanet"

# Every room with the rooms that it may import. Nothing else is allowed, and no two rooms reach one another.
FOUNDATION = {"devices", "dtypes", "shapes", "threads"}
TENSOR = {"tensor", "autograd", "random"} | FOUNDATION
FUNCTIONAL = {"functional", "kernels", "precision"} | TENSOR
LAYERS = (FUNCTIONAL - {"kernels"}) | {"nn"}
MAY_IMPORT = {
    "backends": set(),
    "cuda_memory": set(),
    "devices": {"cuda_memory"},
    "dtypes": set(),
    "shapes": set(),
    "threads": set(),
    "kernels": {"backends", "devices", "dtypes"},
    "autograd": {"devices"},
    "random": FOUNDATION,
    "tensor": {"autograd", "random"} | FOUNDATION,
    "precision": TENSOR,
    "functional": {"kernels", "precision"} | TENSOR,
    "amp": {"functional", "precision"} | TENSOR,
    "nn": (FUNCTIONAL - {"kernels"}),
    "linalg": (FUNCTIONAL - {"kernels"}),
    "signal": (FUNCTIONAL - {"kernels"}),
    "ops": LAYERS,
    "optim": {"functional", "kernels"} | TENSOR,  # a step is one kernel, and nothing differentiates it
    "data": TENSOR,
    "io": TENSOR,
    "inspect": LAYERS | {"kernels"},  # which way a convolution goes is the kernels' own decision
    "models": LAYERS | {"io", "ops", "utils"},  # utils: checkpoints
    "train": LAYERS | {"optim", "data", "io", "inspect", "ops", "amp"},
    "doctor": {"cuda", "data", "devices", "kernels", "random", "threads", "__init__"},
    "cli": LAYERS | {"optim", "data", "io", "inspect", "models", "train", "kernels", "doctor", "__init__"},
    # Names only: they import what they offer again.
    "cuda": {"amp", "cuda_memory", "devices", "random"},
    "utils": {"data", "autograd", "random"},  # and checkpoint, which is a way to save what the tape saves
    "__main__": {"cli"},
    "__init__": {"autograd", "backends", "devices", "dtypes", "precision", "random", "shapes", "tensor", "threads"},
}

# Imports inside functions that go up: (file, room), each for a reason.
UPWARD = {
    ("devices.py", "kernels"),  # arrays on CUDA are filled, and copied where they have gaps, by kernels
    ("tensor.py", "functional"),  # Tensor's methods are functional's functions, fetched at their first call
    ("autograd/tape.py", "tensor"),  # gradients that nobody passed are made as tensors of ones and zeros
    ("autograd/functional.py", "functional"),  # a Jacobian's rows are stacked
}


class Import(NamedTuple):
    file: str
    line: int
    room: str  # that is imported
    name: str
    late: bool  # inside a function


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@cache
def imports(file: Path) -> list[Import]:
    """The imports of numbanet's own modules, and of others by their full names, in one file."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    late = {
        inner
        for outer in ast.walk(tree)
        if isinstance(outer, (ast.FunctionDef, ast.AsyncFunctionDef))
        for inner in ast.walk(outer)
    }
    checking = {  # imports for type checkers alone
        inner
        for outer in ast.walk(tree)
        if isinstance(outer, ast.If) and isinstance(outer.test, ast.Name) and outer.test.id == "TYPE_CHECKING"
        for inner in ast.walk(outer)
    }
    found = []
    for node in ast.walk(tree):
        if node in checking:
            continue
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            room = parts[1] if parts[0] == "numbanet" and len(parts) > 1 else ""
            if parts[0] == "numbanet" and room not in MAY_IMPORT:
                room = "__init__"  # `import numbanet`, or a name of the package itself
            found.append(Import(str(file.relative_to(PACKAGE)), node.lineno, room, name, node in late))
    return found


@pytest.mark.parametrize("file", modules(), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_go_down(file):
    room = room_of(file)
    assert room in MAY_IMPORT, f"{room} has no line in MAY_IMPORT"
    wrong = [
        f"{i.file}:{i.line}: {room} imports {i.name}"
        for i in imports(file)
        if i.name.startswith("numbanet") and i.room != room and i.room not in MAY_IMPORT[room]
        if not (i.late and (i.file, i.room) in UPWARD)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_rooms_have_an_order():
    """The table itself holds no circle."""
    left = dict(MAY_IMPORT)
    done: set[str] = {"__init__"}  # cli asks it for the version
    while left:
        lowest = [room for room, below in left.items() if below - {room} <= done]
        assert lowest, f"a circle among {sorted(left)}"
        for room in lowest:
            del left[room]
        done |= set(lowest)


def test_kernels_know_neither_tensors_nor_the_tape():
    assert not MAY_IMPORT["kernels"] & {"tensor", "autograd", "functional"}
    assert "kernels" not in MAY_IMPORT["nn"] | MAY_IMPORT["models"] | MAY_IMPORT["train"] | MAY_IMPORT["data"]


def test_numba_cuda_is_imported_in_one_place():
    found = {
        i.file
        for file in modules()
        for i in imports(file)
        if i.name.split(".")[:2] == ["numba", "cuda"] or i.name.split(".")[0] in ("numba_cuda", "numba_cuda_mlir")
    }
    assert found == {"devices.py"}


def test_every_exception_is_in_use():
    used = {(i.file, i.room) for file in modules() for i in imports(file) if i.late}
    assert used >= UPWARD
