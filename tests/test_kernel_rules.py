"""What holds for every kernel file, for importing the package, and for the cache of compiled kernels."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import pkgutil
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import numbanet
from numbanet import kernels
from numbanet.kernels.kernel import Kernel

PACKAGE = Path(numbanet.__file__).parent
FOLDER = PACKAGE / "kernels"
FILES = sorted(FOLDER.glob("*.py"))
MODULES = [importlib.import_module(f"numbanet.kernels.{m.name}") for m in pkgutil.iter_modules(kernels.__path__)]
FILES_WITH_KERNELS = [Path(m.__file__) for m in MODULES if any(isinstance(v, Kernel) for v in vars(m).values())]

by_name = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


# ------------------------------------------------------------------------------------------------- every kernel file


@pytest.mark.parametrize("name", sorted(Kernel.table))
def test_every_kernel_has_a_reference_and_a_cpu_twin(name):
    kernel = Kernel.table[name]
    assert callable(kernel.reference)
    assert callable(kernel.cpu)
    functions = [getattr(f, "py_func", f) for f in (kernel.reference, kernel.cpu, kernel.cuda) if f is not None]
    counts = {
        len(parameters)
        for parameters in (inspect.signature(function).parameters.values() for function in functions)
        if not any(p.kind is p.VAR_POSITIONAL for p in parameters)
    }
    assert len(counts) <= 1, f"reference and twins differ in arguments: {functions}"


@by_name
def test_every_module_says_what_it_is(file):
    if file.name != "__init__.py":
        text = ast.get_docstring(tree(file))
        assert text
        if file in FILES_WITH_KERNELS:
            assert len(text.split()) >= 60, "the docstring is the contract: shapes, layout, dtypes, who allocates, NaN"
            assert re.search(r"overw|in place|\(\+=\)|allocat", text), "does it overwrite, and who allocates?"


def test_options_of_the_compiler_stand_in_one_file():
    """fastmath sets, cache=True and signatures in decorators: only kernel.py decides how a twin is compiled."""
    wrong = []
    for file in sorted(PACKAGE.rglob("*.py")):
        if file == FOLDER / "kernel.py":
            continue
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.Call):
                wrong += [f"{file.name}:{node.lineno}: {k.arg}=" for k in node.keywords if k.arg in ("fastmath", "cache")
                          and isinstance(node.func, (ast.Name, ast.Attribute))
                          and (node.func.id if isinstance(node.func, ast.Name) else node.func.attr) in ("jit", "njit")]  # fmt: skip
            for decorator in getattr(node, "decorator_list", []):
                call = decorator if isinstance(decorator, ast.Call) else None
                name = ast.unparse(call.func if call else decorator)
                if name in ("njit", "numba.njit", "numba.jit", "jit", "cuda.jit") and call and call.args:
                    wrong.append(f"{file.name}:{node.lineno}: a signature in @{name}")
                if name in ("njit", "numba.njit") and not any(
                    k.arg == "inline" for k in (call.keywords if call else [])
                ):
                    wrong.append(f"{file.name}:{node.lineno}: @{name} where kernel.jit is meant")
    assert not wrong, "\n".join(wrong)


MATRIX_LIBRARY = {f"np.{name}" for name in ("dot", "matmul", "einsum", "tensordot", "vdot", "inner", "linalg")}


@by_name
def test_no_twin_calls_a_matrix_library(file):
    allowed = set()
    root = tree(file)
    for node in ast.walk(root):
        if isinstance(node, ast.FunctionDef) and node.name.endswith("_reference"):
            allowed |= set(ast.walk(node))
    wrong = []
    for node in ast.walk(root):
        if node in allowed:
            continue
        if isinstance(node, (ast.BinOp, ast.AugAssign)) and isinstance(node.op, ast.MatMult):
            wrong.append(f"{file.name}:{node.lineno}: @")
        if isinstance(node, ast.Attribute) and ast.unparse(node) in MATRIX_LIBRARY:
            wrong.append(f"{file.name}:{node.lineno}: {ast.unparse(node)}")
    assert not wrong, "\n".join(wrong)


def _cuda_kernels(file: Path) -> list[str]:
    """The names of the functions under @cuda.jit."""
    return [
        node.name
        for node in ast.walk(tree(file))
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
        if ast.unparse(decorator).startswith("cuda.jit") and "device=True" not in ast.unparse(decorator)
    ]


@by_name
def test_every_cuda_kernel_is_listed_for_assembling(file):
    """Each function under @cuda.jit appears in the file's CUDA_KERNELS, itself or made by a factory listed there."""
    written = set(_cuda_kernels(file))
    if not written:
        return
    module = importlib.import_module(f"numbanet.kernels.{file.stem}")
    assert hasattr(module, "CUDA_KERNELS"), f"{file.name} has {sorted(written)} and no CUDA_KERNELS"
    listed = set()
    for entry, signature in module.CUDA_KERNELS:
        assert signature.startswith("void("), signature
        assert "float32" in signature or "int" in signature, signature
        kernel = entry if hasattr(entry, "py_func") or hasattr(entry, "fn") else entry()
        function = getattr(kernel, "py_func", None) or kernel.fn  # the simulator's name for it
        listed |= {function.__name__, function.__code__.co_name}
    assert written <= listed, f"{file.name}: not in CUDA_KERNELS: {sorted(written - listed)}"


# --------------------------------------------------------------------------------------------------------- importing


def python(
    code: str, *, cwd: Path | None = None, check: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh process, without simulator or assembling unless asked for."""
    kept = {k: v for k, v in os.environ.items() if k not in ("NUMBA_ENABLE_CUDASIM", "NUMBANET_CUDA_ASSEMBLE")}
    path = str(cwd or PACKAGE.parent)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, "PYTHONPATH": path, **environment},
        cwd=path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def test_import_is_light():
    """Nothing is compiled, and nothing heavy comes along."""
    code = """
import sys
from numba.core.dispatcher import Dispatcher
from numba.core import compiler
compiled = []
compile_extra = compiler.compile_extra
compiler.compile_extra = lambda *a, **k: compiled.append(a) or compile_extra(*a, **k)
import numbanet
import numbanet.nn, numbanet.optim, numbanet.functional
import gc
kernels = [o for o in gc.get_objects() if isinstance(o, Dispatcher) and o.py_func.__module__.startswith("numbanet")]
assert kernels
print([k for k in kernels if k.overloads], compiled)
print([m for m in ("PIL", "tqdm", "matplotlib", "torch", "safetensors") if m in sys.modules])
print("numba.cuda" in sys.modules or "numba_cuda" in sys.modules, numbanet.cuda.is_available())
"""
    compiled, heavy, cuda = python(code).stdout.strip().split("\n")
    assert compiled == "[] []"
    assert heavy == "[]"
    loaded, _ = cuda.split()
    assert loaded == "False" or numbanet.cuda.is_available(), "numba.cuda is imported on a machine without a driver"


def test_import_leaves_numbas_settings_alone():
    code = """
from numba import config
before = {k: getattr(config, k) for k in dir(config) if k.isupper()}
import numbanet, numbanet.nn
print([k for k in before if getattr(config, k) != before[k]])
"""
    assert python(code).stdout.strip() in ("[]", "['THREADING_LAYER_PRIORITY']")


# --------------------------------------------------------------------------------------------- the cache of kernels

# relu of 10 elements: one small kernel. Prints the sum, and whether the kernel was compiled here or loaded.
SMALL = """
from numba.core import compiler
compiled = []
compile_extra = compiler.compile_extra
def counting(typingctx, targetctx, func, *a, **k):
    compiled.append(func.__module__)
    return compile_extra(typingctx, targetctx, func, *a, **k)
compiler.compile_extra = counting
import numbanet
x = numbanet.arange(10.0) - 5
print(float(numbanet.relu(x).numpy().sum()), sum(m.startswith("numbanet") for m in compiled))
"""


def _small(folder: Path, cwd: Path | None = None) -> tuple[float, int]:
    total, compiled = python(SMALL, cwd=cwd, NUMBANET_CACHE_DIR=str(folder)).stdout.split()
    return float(total), int(compiled)


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.nbc"))


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """A cache folder that one process has filled."""
    folder = tmp_path_factory.mktemp("kernels")
    total, compiled = _small(folder)
    assert total == 10
    assert compiled > 0
    return folder


def _copy(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def test_a_second_process_loads_what_the_first_compiled(warm):
    entries = _entries(warm)
    assert entries
    times = [entry.stat().st_mtime_ns for entry in entries]
    assert _small(warm) == (10, 0)
    assert _entries(warm) == entries
    assert [entry.stat().st_mtime_ns for entry in entries] == times


def test_processes_that_start_cold_at_once_all_succeed(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k not in ("NUMBA_ENABLE_CUDASIM", "NUMBANET_CUDA_ASSEMBLE")}
    environment |= {"NUMBANET_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(PACKAGE.parent)}
    racing = [
        subprocess.Popen([sys.executable, "-c", SMALL], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    for process in racing:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err.decode()
        assert out.split()[0] == b"10.0"
    assert not list(tmp_path.rglob("*.tmp"))
    assert _small(tmp_path) == (10, 0)


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage"])
def test_a_damaged_cache_file_is_compiled_again(warm, tmp_path, damage):
    folder = _copy(warm, tmp_path / "copy")
    whole = {entry: entry.stat().st_size for entry in _entries(folder)}
    for entry, size in whole.items():
        content = entry.read_bytes()
        entry.write_bytes({"truncated": content[: size // 2], "empty": b"", "garbage": os.urandom(size)}[damage])
    total, compiled = _small(folder)
    assert total == 10
    assert compiled > 0
    assert _small(folder) == (10, 0)  # and was written again


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no read-only mode there")
def test_a_cache_folder_that_cannot_be_written_is_no_error(warm, tmp_path):
    plain = tmp_path / "a file, not a folder"
    plain.write_text("")
    total, compiled = _small(plain)
    assert (total, compiled > 0) == (10, True)
    folder = _copy(warm, tmp_path / "copy")
    for path in [folder, *folder.rglob("*")]:
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    try:
        assert _small(folder) == (10, 0)  # reading is enough
    finally:
        for path in [folder, *folder.rglob("*")]:
            path.chmod(path.stat().st_mode | stat.S_IWUSR)


def test_a_changed_kernel_source_gets_a_folder_of_its_own(warm, tmp_path):
    """Also where the change is in another file than the cached function's, which numba's own cache does not notice."""
    copy = _copy(PACKAGE, tmp_path / "numbanet")
    folder = _copy(warm, tmp_path / "cache")
    before = {path.name for path in (folder / "kernels").iterdir()}
    assert _small(folder, tmp_path) == (10, 0)
    with (copy / "kernels" / "index.py").open("a") as source:
        source.write("\n# changed\n")
    total, compiled = _small(folder, tmp_path)
    assert (total, compiled > 0) == (10, True)
    assert len({path.name for path in (folder / "kernels").iterdir()} - before) == 1
