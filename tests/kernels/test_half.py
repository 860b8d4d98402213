"""Half precision under all kernels: the conversions' every bit, and the route of a kernel that meets half arrays."""

from __future__ import annotations

import importlib
import pkgutil

import numpy as np
import pytest

from numbanet import kernels
from numbanet.devices import as_device, to_device, to_host
from numbanet.dtypes import bfloat16, float16
from numbanet.kernels import elementwise, half, launch
from numbanet.kernels.kernel import Kernel
from tests.kernels.twins import DEVICES, run

HALVES = [float16, bfloat16]
by_dtype = pytest.mark.parametrize("dtype", HALVES, ids=str)
by_device = pytest.mark.parametrize("device", DEVICES)

ALL_BITS = np.arange(1 << 16, dtype=np.uint16)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(launch, "THREADS", 32)


def chosen(values: np.ndarray, device: str) -> np.ndarray:
    """All of them, or few enough for the simulator."""
    return values if device == "cpu" else values[:: max(1, values.size // 300)]


def bits(array: np.ndarray) -> np.ndarray:
    """The bits, all NaNs alike."""
    unsigned = array.view(f"u{array.itemsize}").copy()
    with np.errstate(invalid="ignore"):  # signalling NaNs
        unsigned[np.isnan(array.astype(np.float64))] = 0xFFFF
    return unsigned


@by_dtype
@by_device
def test_every_half_number_becomes_its_float32(dtype, device):
    a = chosen(ALL_BITS, device).view(dtype)
    with np.errstate(invalid="ignore"):  # comparing signalling NaNs
        (found,) = run(half.to_float32, device, [a], [np.zeros(a.shape, np.float32)])
    expected = np.zeros(a.shape, np.float32)
    half.to_float32.reference(a, expected)
    np.testing.assert_array_equal(bits(found), bits(expected))
    assert np.array_equal(np.isnan(found), np.isnan(a.astype(np.float32)))


@by_dtype
@by_device
def test_float32_is_rounded_to_the_nearest_ties_to_even(dtype, device):
    """Halfway numbers and their neighbours, numbers of all sizes, overflow, NaN, infinities, subnormal numbers."""
    rng = np.random.default_rng(0)
    wide = ALL_BITS.view(dtype).astype(np.float32).view(np.uint32).astype(np.int64)
    step = 1 << (15 if dtype == bfloat16 else 12)
    near = [wide + d for d in (0, step, step - 1, step + 1, 1, -1)]
    x = np.concatenate([*near, rng.integers(0, 1 << 32, 1 << 16), rng.integers(0x32000000, 0x48000000, 1 << 16)])
    x = chosen((x & 0xFFFFFFFF).astype(np.uint32), device).view(np.float32)
    (found,) = run(half.from_float32, device, [x], [np.zeros(x.shape, dtype)])
    expected = np.zeros(x.shape, dtype)
    half.from_float32.reference(x, expected)
    np.testing.assert_array_equal(bits(found), bits(expected))


@by_dtype
def test_casts_to_and_from_every_other_dtype(dtype):
    whole = np.array([0, 1, 2, 3, 100], np.float32)
    for other in (np.float64, np.int64, np.int32, np.uint8, np.int8, float16, bfloat16):
        out = np.empty(5, other)
        elementwise.cast(whole.astype(dtype), out)
        np.testing.assert_array_equal(out.astype(np.float32), whole)
        back = np.empty(5, dtype)
        elementwise.cast(out, back)
        np.testing.assert_array_equal(back.astype(np.float32), whole)
    out = np.empty(2, bool)
    elementwise.cast(np.array([0, 0.5], dtype), out)
    assert out.tolist() == [False, True]


# ------------------------------------------------------------------------------------------ kernels on half arrays


@by_dtype
@by_device
def test_a_kernel_computes_in_float32_and_rounds_once(dtype, device):
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal(20).astype(dtype) for _ in range(2))
    (found,) = run(elementwise.multiply, device, [a, b], [np.zeros(20, dtype)])
    expected = (a.astype(np.float32) * b.astype(np.float32)).astype(dtype)
    assert found.tobytes() == expected.tobytes()


@by_dtype
@by_device
def test_inputs_may_be_read_only_and_keep_their_bits(dtype, device):
    a = np.array([1, np.nan, 3], dtype)
    a.setflags(write=False)
    before = a.tobytes()
    place = as_device(device)
    held, out = to_device(a, place), to_device(np.zeros(3, dtype), place)
    elementwise.negative(held, out)
    assert a.tobytes() == before == to_host(held).tobytes()
    assert to_host(out).astype(np.float32)[[0, 2]].tolist() == [-1, -3]


@by_dtype
def test_what_a_kernel_adds_to_is_read_first(dtype):
    out = np.array([1, 2, 3], dtype)
    elementwise.axpy(np.array([10, 20, 30], dtype), out, 0.5)
    assert out.astype(np.float32).tolist() == [6, 12, 18]


@by_dtype
def test_float32_beside_half(dtype):
    """Batch norm's weights, say; float64 is refused."""
    out = np.zeros(3, np.float32)
    elementwise.add(np.array([1, 2, 3], dtype), np.full(3, 0.25, np.float32), out)
    assert out.tolist() == [1.25, 2.25, 3.25]
    with pytest.raises(TypeError, match=f"add: arrays of float64 and {dtype} in one call"):
        elementwise.add(np.zeros(3, dtype), np.zeros(3), np.zeros(3))
    with pytest.raises(TypeError, match="arrays of float32 and float64 in one call"):
        elementwise.add(np.zeros(3, np.float32), np.zeros(3), np.zeros(3))


@pytest.mark.parametrize("taken", [True, False])
def test_a_kernel_with_a_half_twin_of_its_own_may_take_the_call_or_leave_it(taken):
    """On CUDA; here the device is only pretended."""
    calls = []

    def twin(a, out):
        calls.append(a.dtype)
        if taken:
            out[...] = 7
        return taken

    kernel = Kernel.__new__(Kernel)
    kernel.name, kernel.half = "example", twin
    out = np.zeros(2, bfloat16)
    kernel._call_with_half(lambda a, out: np.copyto(out, a + 1), (np.ones(2, bfloat16), out), True, None)
    assert calls == [bfloat16]
    assert out.astype(np.float32).tolist() == ([7, 7] if taken else [2, 2])


def test_the_tables_name_kernels_that_there_are():
    for module in pkgutil.iter_modules(kernels.__path__):
        importlib.import_module(f"numbanet.kernels.{module.name}")
    assert {*half.OUTPUTS, *half.MOVING} <= set(Kernel.table)
