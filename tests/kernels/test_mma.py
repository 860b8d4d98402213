"""Tensor-core products: the maps against the manual's tables, and the kernels' own source under emulation."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from numbanet import backends
from numbanet.kernels import matmul_tensor_core as module
from numbanet.kernels import mma
from numbanet.kernels.matmul import matmul_reference
from numbanet.kernels.mma import Tile
from tests.kernels import emulate

LANES = range(32)
ONE_WARP = Tile(1, 1, 1, 2)  # 16 x 16 results
FOUR_WARPS = Tile(2, 2, 1, 2)  # 32 x 32


# ------------------------------------------------------------------------- the fragments, as the PTX manual gives them


def test_tf32_fragments_are_the_manuals():
    """Section "Matrix Fragments for mma.m16n8k8", .tf32."""
    for lane in LANES:
        group, within = lane >> 2, lane % 4
        a = [(group, within), (group + 8, within), (group, within + 4), (group + 8, within + 4)]
        assert [mma.left_word(lane, i) for i in range(4)] == a
        b = [(within, group), (within + 4, group)]  # (row of B: the sum, column)
        assert [mma.right_word(lane, i)[::-1] for i in range(2)] == b
        c = [(group + (8 if i >= 2 else 0), within * 2 + (i & 1)) for i in range(4)]
        assert [mma.result_element(lane, i) for i in range(4)] == c


def test_half_fragments_are_the_manuals():
    """Section "Matrix Fragments for mma.m16n8k16 with floating point type", .f16 and .bf16: two elements to a word."""
    for lane in LANES:
        group, within = lane >> 2, lane % 4
        for i in range(8):
            row = group if i < 2 or 4 <= i < 6 else group + 8
            column = within * 2 + (i & 1) + (0 if i < 4 else 8)
            at, word = mma.left_word(lane, i // 2)
            assert (at, 2 * word + i % 2) == (row, column)
        for i in range(4):
            row = within * 2 + (i & 1) + (0 if i < 2 else 8)
            at, word = mma.right_word(lane, i // 2)
            assert (2 * word + i % 2, at) == (row, group)


def test_ldmatrix_brings_the_fragments():
    """What lanes name, and what ldmatrix hands out, together are the fragments of the instruction."""
    for lane in LANES:
        for register in range(4):
            source, word = mma.loaded_word(lane, register)
            row, chunk = mma.left_row.py_func(source)
            assert (row, 4 * chunk + word) == mma.left_word(lane, register)
            column, chunk = mma.right_row.py_func(source)
            fragment, half = divmod(register, 2)
            at, expected = mma.right_word(lane, half)
            assert (column, 4 * chunk + word) == (8 * fragment + at, expected)


def test_the_swizzle_is_a_permutation_without_bank_conflicts():
    place = mma.place.py_func
    assert sorted(place(row, word) for row in range(32) for word in range(16)) == list(range(512))
    assert all(place(row, 4 * c) % 4 == 0 and place(row, 4 * c + 3) == place(row, 4 * c) + 3 for row in range(16) for c in range(4))  # fmt: skip
    for chunk in range(4):  # what ldmatrix reads, and what lanes write word by word, together
        words = [place(row, 4 * chunk + word) % 32 for row in range(8) for word in range(4)]
        assert sorted(words) == list(range(32))
    for row in range(0, 8, 2):  # what eight lanes copy 16 bytes each
        assert sorted(place(row + i, word) % 32 for i in range(2) for word in range(16)) == list(range(32))


# ----------------------------------------------------------------------------------------------------- rounding, emulated


@pytest.mark.parametrize("kind", mma.KINDS)
def test_rounding_of_the_emulation(kind):
    bits = {"tf32": 10, "float16": 10, "bfloat16": 7}[kind]
    step = 2.0**-bits
    values = np.float32(
        [1, 1 + step, 1 + 0.49 * step, 1 + 0.51 * step, 1 + 0.5 * step, 1 + 1.5 * step, -1 - 0.51 * step]
    )
    even = kind != "tf32"  # ties: to even, or away from zero
    expected = [1, 1 + step, 1, 1 + step, 1 if even else 1 + step, 1 + 2 * step, -1 - step]
    np.testing.assert_array_equal(emulate.rounded(values, kind), np.float32(expected))
    if kind == "tf32":
        one_by_one = [emulate._round_tf32(word) for word in values.view(np.uint32)]
        np.testing.assert_array_equal(np.uint32(one_by_one).view(np.float32), np.float32(expected))
    special = np.float32([np.inf, -np.inf, np.nan, 0.0])
    np.testing.assert_array_equal(emulate.rounded(special, kind), special)


def test_bfloat16_agrees_with_ml_dtypes():
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    np.testing.assert_array_equal(
        emulate.to_bits(values, "bfloat16"), values.astype(ml_dtypes.bfloat16).view(np.uint16)
    )


# ------------------------------------------------------------------------------------------------------------- matmul


@pytest.fixture
def run(monkeypatch):
    """Runs ``matmul_tensor_core`` on float32 values under emulation; returns (result, what the reference says)."""
    real = module._matmul_kernel

    def run(kind, tile, a, b, bias, out_shape, transpose_a, transpose_b, add=None, relu=False):
        monkeypatch.setattr(mma, "choose_tile", lambda *shape: tile)
        monkeypatch.setattr(module, "_matmul_kernel", lambda *options: emulate.emulated(real(*options)))
        inputs = [emulate.to_bits(array, kind) for array in (a, b, bias)]
        out = emulate.to_bits(np.full(out_shape, np.nan), kind)
        more = None if add is None else emulate.to_bits(add, kind)
        module.matmul_tensor_core(kind, *inputs, out, transpose_a, transpose_b, more, relu)
        expected = np.empty(out_shape)
        exact = [emulate.rounded(array, kind).astype(np.float64) for array in (a, b)]
        shift = emulate.from_bits(inputs[2], kind).astype(np.float64)
        matmul_reference(*exact, shift, expected, transpose_a, transpose_b)
        if add is not None:
            expected += emulate.from_bits(more, kind)
        return emulate.from_bits(out, kind), np.maximum(expected, 0) if relu else expected

    return run


def check(result, expected, depth, kind):
    """Float32 sums of rounded inputs: an ulp of the largest partial sum per step of eight; halves: the last rounding too."""
    scale = 4 * np.sqrt(depth + 1)  # inputs are standard normal
    steps = depth // 8 + 3
    last = {"tf32": 0.0, "float16": 2.0**-11, "bfloat16": 2.0**-8}[kind]
    np.testing.assert_allclose(result, expected, rtol=1.01 * last, atol=scale * steps * 2.0**-24)


SHAPES = [(1, 1, 1), (16, 16, 16), (17, 5, 33), (7, 40, 50), (33, 18, 64), (16, 16, 80)]  # M, N, K


@pytest.mark.parametrize("kind", mma.KINDS)
@pytest.mark.parametrize("transpose_a, transpose_b", [(False, False), (False, True), (True, False), (True, True)])
def test_matmul_at_ragged_sizes(run, kind, transpose_a, transpose_b):
    random = np.random.default_rng(7)
    for i, (m, n, depth) in enumerate(SHAPES):
        a = random.standard_normal((1, depth, m) if transpose_a else (1, m, depth))
        b = random.standard_normal((1, n, depth) if transpose_b else (1, depth, n))
        bias = random.standard_normal(n if i % 2 else 0)
        result, expected = run(kind, ONE_WARP, a, b, bias, (1, m, n), transpose_a, transpose_b)
        check(result, expected, depth, kind)


@pytest.mark.parametrize("kind", mma.KINDS)
@pytest.mark.parametrize("batch_a, batch_b", [(1, 2), (2, 1)])
def test_batches_warps_and_the_epilogue(run, kind, batch_a, batch_b):
    random = np.random.default_rng(8)
    m, n, depth = 35, 18, 56
    a, b = random.standard_normal((batch_a, m, depth)), random.standard_normal((batch_b, n, depth))
    bias, add = random.standard_normal(n), random.standard_normal((2, m, n))
    result, expected = run(kind, FOUR_WARPS, a, b, bias, (2, m, n), False, True, add, True)
    assert (result == 0).any() and (result > 0).any()
    check(result, expected, depth, kind)


@pytest.mark.parametrize("kind, tile", [("tf32", mma.LARGE), ("bfloat16", mma.SMALL)])
def test_the_tiles_that_ship(run, kind, tile):
    random = np.random.default_rng(9)
    m, n, depth = tile.rows + 3, tile.columns - 5, 40
    a, b = random.standard_normal((1, m, depth)), random.standard_normal((1, depth, n))
    result, expected = run(kind, tile, a, b, np.empty(0), (1, m, n), False, False)
    check(result, expected, depth, kind)


@pytest.mark.parametrize("kind", mma.KINDS)
def test_an_empty_sum_is_the_bias(run, kind):
    bias = np.arange(3.0)
    result, _ = run(kind, ONE_WARP, np.empty((1, 2, 0)), np.empty((1, 0, 3)), bias, (1, 2, 3), False, False)
    np.testing.assert_array_equal(result, np.broadcast_to(bias, (1, 2, 3)))


@pytest.mark.parametrize("kind", mma.KINDS)
def test_nan_and_infinity_pass(run, kind):
    a, b = np.ones((1, 3, 20)), np.ones((1, 20, 4))
    a[0, 1, 2], b[0, 5, 3] = np.nan, np.inf
    result, _ = run(kind, ONE_WARP, a, b, np.empty(0), (1, 3, 4), False, False, None, True)
    assert np.isnan(result[0, 1]).all()
    assert (result[0, ::2, :3] == 20).all() and np.isinf(result[0, ::2, 3]).all()


@pytest.mark.parametrize("kind", ["tf32", "float16"])
def test_operands_that_are_not_aligned_go_word_by_word(run, kind, monkeypatch):
    """Depths of whole chunks, but arrays that begin between two multiples of 16 bytes."""
    monkeypatch.setattr(mma, "is_aligned", lambda array: False)
    random = np.random.default_rng(10)
    a, b = random.standard_normal((1, 9, 32)), random.standard_normal((1, 20, 32))
    check(*run(kind, ONE_WARP, a, b, np.empty(0), (1, 9, 20), False, True), 32, kind)
    assert mma.is_aligned(np.empty(4)) is False


def test_alignment_is_read_from_the_address():
    memory = np.zeros(16, np.float32)
    first = (-memory.ctypes.data % 16) // 4
    assert mma.is_aligned(memory[first:])
    assert not mma.is_aligned(memory[first + 1 :])


# ------------------------------------------------------------------------------------- the emulation sees what it should


def broken(kernel, old, new):
    """The emulated kernel with one piece of its source changed."""
    import inspect

    read = inspect.getsource

    def changed(function):
        text = read(function)
        return text.replace(old, new)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspect, "getsource", changed)
        return emulate.emulated(kernel)


@pytest.mark.parametrize(
    "old, new",
    [
        ("cuda.syncthreads()", "pass"),
        ("wait()", "pass"),
        ("a[i] = round_tf32(a[i])", "pass"),
        ("k < terms", "k <= terms"),
        ("row < m", "row <= m"),
    ],
)
def test_mistakes_are_seen(old, new):
    kernel = broken(module._matmul_kernel("tf32", FOUR_WARPS, False, False), old, new)
    random = np.random.default_rng(11)
    a, b = random.standard_normal((33, 49)).astype(np.float32), random.standard_normal((49, 33)).astype(np.float32)
    out, none = np.full(33 * 33, np.nan, np.float32), np.empty(0, np.float32)
    arguments = (a.ravel(), b.ravel(), none, none, out, 33, 33, 49, 0, 49, 1, 0, 1, 33, 0)
    try:
        kernel[4, 128](*arguments)
    except AssertionError:
        return
    assert not np.allclose(out.reshape(33, 33), a @ b, atol=0.1)


# --------------------------------------------------------------------------------------------------------- the switches


def test_switches_have_pytorchs_names_and_defaults():
    assert backends.cudnn.allow_tf32 is True
    assert backends.cuda.matmul.allow_tf32 is False
    assert backends.get_float32_matmul_precision() == "highest"
    with pytest.raises(AttributeError, match="allow_tf23"):
        backends.cuda.matmul.allow_tf23 = True
    with pytest.raises(TypeError, match="True or False"):
        backends.cuda.tensor_cores = 1


def test_matmul_precision_is_the_matmul_switch():
    try:
        backends.set_float32_matmul_precision("medium")
        assert backends.cuda.matmul.allow_tf32 is True
        assert backends.get_float32_matmul_precision() == "medium"
        backends.cuda.matmul.allow_tf32 = False
        assert backends.get_float32_matmul_precision() == "highest"
        with pytest.raises(RuntimeError, match="'low'"):
            backends.set_float32_matmul_precision("low")
    finally:
        backends.set_float32_matmul_precision("highest")


def test_tensor_cores_are_chosen_by_switch_dtype_and_capability(monkeypatch):
    float32, float16 = np.dtype(np.float32), np.dtype(np.float16)
    monkeypatch.setattr(mma, "_capability", lambda: (9, 0))
    monkeypatch.setattr(mma.devices, "SIMULATOR", False)
    monkeypatch.setitem(vars(backends.cuda), "tensor_cores", False)
    assert mma.kind_of(float16, True) is None
    monkeypatch.setitem(vars(backends.cuda), "tensor_cores", True)
    assert mma.kind_of(float16, False) == "float16"
    assert mma.kind_of(float32, True) == "tf32"
    assert mma.kind_of(float32, False) is None
    assert mma.kind_of(np.dtype(np.float64), True) is None
    monkeypatch.setattr(mma, "_capability", lambda: (7, 5))
    assert mma.kind_of(float16, True) is None


def test_the_switches_lead_matmul_to_tensor_cores(monkeypatch):
    import numbanet.kernels.matmul as plain

    taken = []
    monkeypatch.setattr(module, "matmul_tensor_core", lambda kind, *arguments: taken.append(kind))
    monkeypatch.setattr(mma, "_capability", lambda: (8, 0))
    monkeypatch.setattr(mma.devices, "SIMULATOR", False)
    monkeypatch.setitem(vars(backends.cuda), "tensor_cores", True)
    monkeypatch.setitem(vars(backends.cuda.matmul), "allow_tf32", True)
    arrays = [np.empty((1, 4, 4), np.float32)] * 2 + [np.empty(0, np.float32), np.empty((1, 4, 4), np.float32)]
    plain._matmul_cuda(*arrays, False, False)
    assert taken == ["tf32"]
