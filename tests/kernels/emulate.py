"""Run tensor-core kernels without a GPU: the kernel's own source, with emulated instructions.

``emulated(kernel)`` reads the source of a function under ``@cuda.jit``, and of the device functions that it calls, and
compiles it as Python with one change: every place where the lanes of a warp or the threads of a block must come
together (``mma``, ``ldmatrix``, ``syncthreads``) becomes a ``yield``. A thread is then a generator, and a small scheduler
runs 32 of them in step. Nothing of the kernel is written twice. What the hardware would punish is punished here:

- lanes of a warp that come to different instructions, or threads that miss a barrier, are an error;
- an index outside of an array, negative ones included, is an error, and so is a misaligned 16-byte copy or row;
- shared and local memory begins as NaN;
- cp.async destroys its target at once and delivers at the last moment that ``wait_group`` allows: a read too early, or a
  write into a tile that another warp still needs, gives NaN;
- a warp runs as far as it can before another one starts, from the first warp up or (in every second block) from the last
  down: a barrier that is missing is seen;
- an operand that was not rounded to TF32 is an error.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np
from numba.core.dispatcher import Dispatcher
from numba.np.numpy_support import as_dtype

from numbanet import devices
from numbanet.kernels import mma

POISON = 0xFFFFFFFF  # NaN as a float32, and as two halves of either kind
_LANES = range(32)
_LEFT = [np.array([mma.left_word(lane, r) for lane in _LANES]).T for r in range(4)]
_RIGHT = [np.array([mma.right_word(lane, r) for lane in _LANES]).T for r in range(2)]
_RESULT = [np.array([mma.result_element(lane, r) for lane in _LANES]).T for r in range(4)]
_LOADED = [np.array([mma.loaded_word(lane, r) for lane in _LANES]).T for r in range(4)]


# ------------------------------------------------------------------------------------------------------------ numbers


def round_tf32(values: Any) -> np.ndarray:
    """float32 values rounded to 10 bits of mantissa, to nearest, ties away from zero."""
    bits = np.asarray(values, np.float32).view(np.uint32)
    finite = (bits & 0x7F800000) != 0x7F800000
    rounded = ((bits.astype(np.uint64) + 0x1000) & 0xFFFFE000).astype(np.uint32)
    return np.where(finite, rounded, bits).astype(np.uint32).view(np.float32)


def to_bits(values: Any, kind: str) -> np.ndarray:
    """float32 values as the arrays that kernels of a kind take: themselves, or halves' bits (ties to even)."""
    values = np.asarray(values, np.float32)
    if kind == "tf32":
        return values
    if kind == "float16":
        with np.errstate(over="ignore"):
            return values.astype(np.float16).view(np.uint16)
    bits = values.view(np.uint32).astype(np.uint64)
    rounded = ((bits + 0x7FFF + (bits >> np.uint64(16) & np.uint64(1))) >> np.uint64(16)).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FFF), rounded).astype(np.uint16)


def from_bits(bits: Any, kind: str) -> np.ndarray:
    """The float32 values of such arrays."""
    if kind == "tf32":
        return np.asarray(bits, np.float32)
    bits = np.asarray(bits, np.uint16)
    if kind == "float16":
        return bits.view(np.float16).astype(np.float32)
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def rounded(values: Any, kind: str) -> np.ndarray:
    """What the instruction sees of float32 values, as float32."""
    return round_tf32(values) if kind == "tf32" else from_bits(to_bits(values, kind), kind)


# ------------------------------------------------------------------------------------------- instructions of a warp


def _terms(words: np.ndarray, kind: str) -> np.ndarray:
    """(rows, words) of bits -> (rows, terms) of float64."""
    if kind == "tf32":
        assert not (words & 0x1FFF).any() or np.isnan(words.view(np.float32)).any(), "not rounded to TF32"
        return words.view(np.float32).astype(np.float64)
    return from_bits(np.ascontiguousarray(words).view(np.uint16), kind).astype(np.float64)  # low half first


def multiply_add(kind: str, arguments: list[tuple]) -> list[tuple]:
    """The 32 lanes' ten registers each -> their four sums; products and sums exact, one rounding at the end."""
    left, right = np.empty((16, 8), np.uint32), np.empty((8, 8), np.uint32)
    sums = np.empty((16, 8), np.float64)
    columns = list(zip(*arguments, strict=True))
    for r in range(4):
        left[tuple(_LEFT[r])] = columns[r]
        sums[tuple(_RESULT[r])] = columns[6 + r]
    for r in range(2):
        right[tuple(_RIGHT[r])] = columns[4 + r]
    with np.errstate(invalid="ignore", over="ignore"):
        result = (sums + _terms(left, kind) @ _terms(right, kind).T).astype(np.float32)
    return list(zip(*(result[tuple(_RESULT[r])] for r in range(4)), strict=True))


def load_matrices(arguments: list[tuple]) -> list[tuple]:
    """ldmatrix.x4: every lane's row of four words -> every lane's four registers."""
    words = arguments[0][0]
    at = np.array([lane[1] for lane in arguments])
    assert (at % 4 == 0).all(), "ldmatrix: rows begin at multiples of 16 bytes"
    assert (at >= 0).all() and (at + 4 <= len(words)).all()
    rows = words[at[:, None] + np.arange(4)]
    return list(zip(*(rows[tuple(_LOADED[r])] for r in range(4)), strict=True))


# ------------------------------------------------------------------------------------------------------------- a thread


def _quotient(a: int, b: int) -> Any:
    assert 0 <= a < 1 << 31 and 0 < b < 1 << 31, f"quotient({a}, {b})"
    return np.int32(int(a) // int(b))


def _round_tf32(word: Any) -> Any:
    """``round_tf32`` of one word, in plain integers because the kernels call it most."""
    word = int(word)
    return np.uint32(word if word & 0x7F800000 == 0x7F800000 else (word + 0x1000) & 0xFFFFE000)


class _Memory:
    """A flat array in device memory: indices are checked."""

    def __init__(self, array: np.ndarray) -> None:
        assert array.ndim == 1
        self.array, self.shape, self.dtype, self.size = array, array.shape, array.dtype, array.size

    def __getitem__(self, i: Any) -> Any:
        assert 0 <= i < self.size, f"read at {i} of {self.size}"
        return self.array[i]

    def __setitem__(self, i: Any, value: Any) -> None:
        assert 0 <= i < self.size, f"write at {i} of {self.size}"
        self.array[i] = value


class _Thread:
    def __init__(self, number: int) -> None:
        self.index = SimpleNamespace(x=number, y=0, z=0)
        self.open: list[Any] = []  # copies since the last commit
        self.groups: list[list[Any]] = []  # committed ones that have not arrived
        self.arrays = 0  # shared arrays asked for so far
        self.body: Any = None


class _Cuda:
    """What stands for ``cuda`` in the kernel; the scheduler sets the thread."""

    def __init__(self) -> None:
        self.shared = SimpleNamespace(array=self._shared)
        self.local = SimpleNamespace(array=self._local)
        self.thread: _Thread
        self.blockIdx = self.blockDim = self.gridDim = SimpleNamespace(x=0, y=0, z=0)
        self.block: list[np.ndarray] = []

    @property
    def threadIdx(self) -> Any:
        return self.thread.index

    def grid(self, dimensions: int) -> int:
        assert dimensions == 1
        return self.thread.index.x + self.blockIdx.x * self.blockDim.x

    @staticmethod
    def _poisoned(size: int, dtype: Any) -> np.ndarray:
        dtype = as_dtype(dtype) if isinstance(dtype, numba.types.Type) else np.dtype(dtype)
        return np.frombuffer(bytes([255]) * (size * dtype.itemsize), dtype).copy()

    def _shared(self, size: int, dtype: Any, alignment: int = 0) -> np.ndarray:
        if self.thread.arrays == len(self.block):
            self.block.append(self._poisoned(size, dtype))
        self.thread.arrays += 1
        return self.block[self.thread.arrays - 1]

    def _local(self, size: int, dtype: Any) -> np.ndarray:
        return self._poisoned(size, dtype)

    # instructions of one thread

    def copy_16(self, words: np.ndarray, at: int, source: _Memory, index: int, valid: bool) -> None:
        assert at % 4 == 0 and 0 <= at <= len(words) - 4
        data = np.zeros(4, np.uint32)
        if valid:
            each = 16 // source.dtype.itemsize
            assert index % each == 0, f"a copy of 16 bytes from element {index}"
            assert 0 <= index <= source.size - each, f"a copy from {index} of {source.size}"
            data = source.array[index : index + each].copy().view(np.uint32)
        words[at : at + 4] = POISON
        self.thread.open.append((words, slice(at, at + 4), data))

    def copy_4(self, words: np.ndarray, at: int, source: _Memory, index: int, valid: bool) -> None:
        assert source.dtype.itemsize == 4
        assert 0 <= at < len(words)
        data = source[index].view(np.uint32) if valid else 0
        words[at] = POISON
        self.thread.open.append((words, at, data))

    def commit(self) -> None:
        self.thread.groups.append(self.thread.open)
        self.thread.open = []

    def wait(self, pending: int) -> Any:
        def wait() -> None:
            while len(self.thread.groups) > pending:
                for words, at, data in self.thread.groups.pop(0):
                    words[at] = data

        return wait


# ---------------------------------------------------------------------------------------------------- source to generator


class _Rewrite(ast.NodeTransformer):
    """Calls in which threads meet become ``yield``, calls of device functions ``yield from``."""

    def __init__(self, names: dict[str, Any], meeting: dict[int, str], alone: dict[int, Any]) -> None:
        self.names, self.meeting, self.alone = names, meeting, alone

    def _callee(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Name):
            return self.names.get(node.id)
        if isinstance(node, ast.Attribute):
            owner = self._callee(node.value)
            return None if owner is None or owner is devices.cuda else getattr(owner, node.attr, None)
        return None

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        if ast.unparse(node.func) == "cuda.syncthreads":
            return ast.Yield(ast.Constant(None))
        callee = self._callee(node.func)
        if id(callee) in self.meeting:
            arguments = ast.Tuple(node.args, ast.Load())
            return ast.Yield(ast.Tuple([ast.Constant(self.meeting[id(callee)]), arguments], ast.Load()))
        is_device_function = _source_of(callee) is not None and id(callee) not in self.alone
        return ast.YieldFrom(node) if is_device_function else node


def _source_of(value: Any) -> Any:
    """The Python function of something under ``@cuda.jit``; None for anything else."""
    if isinstance(value, Dispatcher):
        return None
    function = getattr(value, "py_func", None) or getattr(value, "fn", None)
    return function if inspect.isfunction(function) else None


class emulated:
    """``emulated(kernel)[grid, threads](*arrays_and_numbers)`` on NumPy arrays, as the kernel is launched on CUDA."""

    def __init__(self, kernel: Any) -> None:
        self.cuda = _Cuda()
        products = {kind: mma.multiply_add(kind) for kind in mma.KINDS}
        self.meeting = {id(product): kind for kind, product in products.items()}
        self.meeting[id(mma.load_matrices)] = "load_matrices"
        self.alone: dict[int, Any] = {
            id(mma.copy_16): self.cuda.copy_16,
            id(mma.copy_4): self.cuda.copy_4,
            id(mma.commit_copies): self.cuda.commit,
            id(mma.quotient): _quotient,
            id(mma.round_tf32): _round_tf32,
        }
        for pending in range(4):
            self.alone[id(mma.wait_copies(pending))] = self.cuda.wait(pending)
        for kind in mma.KINDS:
            self.alone[id(mma.widen(kind))] = lambda bits, kind=kind: from_bits(bits, kind)[()]
            self.alone[id(mma.narrow(kind))] = lambda value, kind=kind: to_bits(value, kind)[()]
        self.made: dict[int, Any] = {}
        self.body = self._compile(_source_of(kernel))

    def _compile(self, function: Any) -> Any:
        if id(function) not in self.made:
            cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
            names = {**function.__globals__, **{name: cell.cell_contents for name, cell in cells.items()}}
            tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
            definition = tree.body[0]
            assert isinstance(definition, ast.FunctionDef)
            definition.decorator_list = []
            _Rewrite(names, self.meeting, self.alone).visit(definition)
            # A generator also where nothing meets.
            definition.body.append(ast.parse("if False: yield").body[0])
            ast.fix_missing_locations(tree)
            ast.increment_lineno(tree, function.__code__.co_firstlineno - 1)  # for tracebacks
            used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
            space = {name: self._bind(value) for name, value in names.items() if name in used}
            space["__builtins__"] = __builtins__
            code = compile(tree, inspect.getsourcefile(function) or "?", "exec")
            exec(code, space)
            self.made[id(function)] = space[definition.name]
        return self.made[id(function)]

    def _bind(self, value: Any) -> Any:
        if value is devices.cuda:
            return self.cuda
        if value is numba:  # its types convert as NumPy's do, only slower
            return np
        if id(value) in self.alone:
            return self.alone[id(value)]
        if value is mma:
            return SimpleNamespace(**{name: self._bind(found) for name, found in vars(mma).items() if found is not mma})
        if isinstance(value, Dispatcher):
            return value.py_func
        function = _source_of(value)
        return value if function is None or id(value) in self.meeting else self._compile(function)

    def __getitem__(self, configuration: Any) -> Any:
        grid, threads = configuration
        grid = (grid,) if isinstance(grid, int) else tuple(grid)
        assert isinstance(threads, int) and threads % 32 == 0
        grid += (1,) * (3 - len(grid))
        assert 0 < grid[0] < 1 << 31 and all(0 < size < 65536 for size in grid[1:])

        def launch(*arguments: Any) -> None:
            arguments = tuple(_Memory(a) if isinstance(a, np.ndarray) else a for a in arguments)
            self.cuda.blockDim = SimpleNamespace(x=threads, y=1, z=1)
            self.cuda.gridDim = SimpleNamespace(**dict(zip("xyz", grid, strict=True)))
            for number, (z, y, x) in enumerate(itertools.product(*map(range, reversed(grid)))):
                self.cuda.blockIdx = SimpleNamespace(x=x, y=y, z=z)
                self._run_block(threads, arguments, backwards=number % 2 == 1)

        return launch

    def _run_block(self, count: int, arguments: tuple, backwards: bool) -> None:
        self.cuda.block = []
        threads = [_Thread(number) for number in range(count)]
        for thread in threads:
            thread.body = self.body(*arguments)
        warps = [threads[i : i + 32] for i in range(0, count, 32)]
        if backwards:
            warps.reverse()
        while True:
            at_barrier = [self._run_warp(warp) for warp in warps]
            if not any(at_barrier):
                return
            assert all(at_barrier), "some threads wait at a barrier that others never reach"

    def _run_warp(self, warp: list[_Thread]) -> bool:
        """Run a warp up to its next barrier; False when it has ended."""
        answers: list[Any] = [None] * 32
        while True:
            asked: list[Any] = []
            ended = 0
            for thread, answer in zip(warp, answers, strict=True):
                self.cuda.thread = thread
                try:
                    asked.append(thread.body.send(answer))
                except StopIteration:
                    ended += 1
            if ended:
                assert ended == 32, "lanes of one warp went different ways"
                return False
            names = {None if request is None else request[0] for request in asked}
            assert len(names) == 1, f"lanes of one warp came to different instructions: {names}"
            name = names.pop()
            if name is None:
                return True
            lanes = [request[1] for request in asked]
            answers = load_matrices(lanes) if name == "load_matrices" else multiply_add(name, lanes)
