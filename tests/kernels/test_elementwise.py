"""Elementwise kernels against NumPy: values, broadcasting, dtypes, special numbers, aliasing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numbanet.devices import as_device, to_device, to_host
from numbanet.kernels import elementwise as E
from numbanet.kernels import launch
from tests.kernels.twins import DEVICES, FLOATS, check, check_threads, run

# The simulator computes with NumPy numbers, which warn where hardware silently makes NaN and infinity.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

ARITHMETIC = [
    E.add, E.subtract, E.multiply, E.divide, E.power, E.maximum, E.minimum, E.remainder, E.floor_divide, E.fmod, E.atan2,
    E.hypot,
]  # fmt: skip
COMPARISONS = [E.equal, E.not_equal, E.less, E.less_equal, E.greater, E.greater_equal]
LOGIC = [E.logical_and, E.logical_or, E.logical_xor]
UNARY = [
    E.negative, E.absolute, E.sign, E.square, E.reciprocal, E.sqrt, E.rsqrt, E.exp, E.expm1, E.log, E.log1p, E.sin,
    E.cos, E.tanh_, E.erf_, E.floor, E.ceil, E.round_, E.isnan_, E.logical_not, E.trunc, E.log2, E.log10, E.sinh, E.cosh,
    E.asin, E.acos, E.atan,
]  # fmt: skip
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, -0.3, 7.0, np.inf, -np.inf, np.nan]


def name(kernel):
    return kernel.name


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(launch, "THREADS", 8)


def result_of(kernel, like):
    boolean = kernel in COMPARISONS or kernel in LOGIC or kernel in (E.isnan_, E.logical_not)
    return np.zeros(like.shape, bool if boolean else like.dtype)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kernel", ARITHMETIC + COMPARISONS + LOGIC, ids=name)
def test_binary_values(kernel, device):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 7, 5)).astype(np.float32)
    a = abs(a) if kernel is E.power else a
    b[2] = a[2]  # some equal ones
    b[3, 0] = 0 if kernel in LOGIC else b[3, 0]
    out = result_of(kernel, a)
    check(kernel, device, [a, b], [out])
    if kernel in (E.subtract, E.less):  # one kernel of each kind: all come from one factory
        check(kernel, device, [a, b[0]], [out])
        check(kernel, device, [a, b[:, :1].copy()], [out])
    check(kernel, device, [a, np.array(0.75, np.float32)], [out])
    check(kernel, device, [np.array([[0.75]], np.float32), b], [out])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kernel", [k for k in ARITHMETIC if k is not E.power] + COMPARISONS + LOGIC, ids=name)
def test_binary_special_numbers(kernel, device):
    # NumPy itself computes inf // b and a % inf by other conventions than C's fmod only where both are infinite
    special = np.array(SPECIAL, np.float32)
    a, b = (grid.ravel().copy() for grid in np.meshgrid(special, special))
    if kernel in (E.remainder, E.floor_divide, E.fmod):
        a, b = a[np.isfinite(a) & (b != 0)], b[np.isfinite(a) & (b != 0)]
    check(kernel, device, [a, b], [result_of(kernel, a)])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [np.int64, np.uint8])
def test_integers(dtype, device):
    rng = np.random.default_rng(2)
    low = 0 if dtype is np.uint8 else -9
    a, b = rng.integers(low, 10, size=(2, 33)).astype(dtype)
    b[b == 0] = 3
    for kernel in (E.subtract, E.multiply, E.remainder, E.floor_divide, E.less) if dtype is np.int64 else (E.maximum,):
        check(kernel, device, [a, b], [result_of(kernel, a)])
    for kernel in (E.absolute, E.sign):
        check(kernel, device, [a], [result_of(kernel, a)])
    if dtype is np.int64:
        check(E.power, device, [a, b % 3], [a])


def test_small_integers_wrap_around():
    check(E.subtract, "cpu", [np.array([3, 250], np.uint8), np.array([5, 1], np.uint8)], [np.empty(2, np.uint8)])
    check(E.square, "cpu", [np.array([3, 250], np.uint8)], [np.empty(2, np.uint8)])


def test_integer_division_by_zero_does_not_crash():
    a, zero, out = np.arange(4), np.zeros(4, np.int64), np.empty(4, np.int64)
    E.floor_divide(a, zero, out)
    E.remainder(a, zero, out)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kernel", UNARY, ids=name)
@pytest.mark.parametrize("dtype", FLOATS)
def test_unary(kernel, dtype, device):
    x = np.concatenate([SPECIAL, np.random.default_rng(3).normal(size=40) * 3]).astype(dtype)
    if kernel in (E.sin, E.cos):
        x = x[np.isfinite(x)]
    check(
        kernel,
        device,
        [x],
        [result_of(kernel, x)],
        atol=1e-6 if kernel in (E.sin, E.cos) and dtype is np.float32 else 0,
    )


@pytest.mark.parametrize("kernel", [E.exp, E.expm1, E.log, E.tanh_, E.log2], ids=name)
@pytest.mark.parametrize("dtype", FLOATS)
def test_accuracy_in_units_of_the_last_place(kernel, dtype):
    limits = np.finfo(dtype)
    if kernel in (E.log, E.log2):
        x = np.concatenate([np.exp2(np.linspace(-1074, 1023, 20001)), np.linspace(0.5, 2, 20001)])
    else:
        top = np.log(limits.max)
        x = np.concatenate(
            [np.linspace(-1.3 * top, 1.01 * top, 20001), np.linspace(-2, 2, 20001), np.geomspace(1e-9, 1, 99)]
        )
    with np.errstate(over="ignore"):
        x = x.astype(dtype)
    (y,) = run(kernel, "cpu", [x], [x])
    with np.errstate(all="ignore"):
        exact = getattr(np, kernel.name)(x.astype(np.longdouble))
        exact = exact.astype(dtype)
        wrong = ~((y == exact) | (abs(y - exact) <= 2 * np.spacing(abs(exact))))
    assert not wrong.any(), (x[wrong][:3], y[wrong][:3], exact[wrong][:3])


@pytest.mark.parametrize("dtype", FLOATS)
def test_whole_numbers_beyond_the_mantissa(dtype):
    x = np.array([2.0**23 + 1, 2.0**31, -(2.0**40), 2.0**60, 2.0**80, -(2.0**100)], dtype)
    for kernel in (E.floor, E.ceil, E.round_, E.trunc):
        np.testing.assert_array_equal(run(kernel, "cpu", [x], [x])[0], x)


@st.composite
def broadcast_shapes(draw):
    shape = draw(st.lists(st.integers(1, 4), max_size=6))
    hide = st.lists(st.booleans(), min_size=len(shape), max_size=len(shape))
    a, b = ([1 if hidden else n for n, hidden in zip(shape, draw(hide))] for _ in range(2))
    out = np.broadcast_shapes(tuple(a), tuple(b))
    if draw(st.booleans()):  # leading ones may be left out
        while b and b[0] == 1:
            b = b[1:]
    return tuple(a), tuple(b), out


@settings(max_examples=60, deadline=None, derandomize=True)
@given(broadcast_shapes())
def test_broadcasting(shapes):
    a_shape, b_shape, out_shape = shapes
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=a_shape).astype(np.float32), rng.normal(size=b_shape).astype(np.float32)
    check(E.subtract, "cpu", [np.asarray(a, np.float32), np.asarray(b, np.float32)], [np.empty(out_shape, np.float32)])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("a_shape", "b_shape"),
    [
        ((2, 3, 4), (3, 1)),
        ((2, 1, 4), (1, 3, 1)),
        ((1, 3, 1, 2), (2, 1, 2, 1)),
        ((2, 1, 2, 1, 2, 1), (1, 2, 1, 2, 1, 2)),  # six loops: the leading ones are walked outside of the kernel
        ((), (3,)),
        ((0, 3), (3,)),
    ],
)
def test_broadcasting_by_hand(a_shape, b_shape, device):
    rng = np.random.default_rng(0)
    a = np.asarray(rng.normal(size=a_shape), np.float32)
    b = np.asarray(rng.normal(size=b_shape), np.float32)
    check(E.subtract, device, [a, b], [np.empty(np.broadcast_shapes(a_shape, b_shape), np.float32)])


def test_long_rows_and_many_rows(monkeypatch):
    rng = np.random.default_rng(0)
    for a_shape, b_shape in [((3, 20001), (20001,)), ((5001, 3), (3,)), ((2, 5, 9000), (5, 1)), ((70001,), (1,))]:
        a, b = rng.normal(size=a_shape).astype(np.float32), rng.normal(size=b_shape).astype(np.float32)
        check(E.subtract, "cpu", [a, b], [np.empty(a_shape, np.float32)])
        check_threads(E.subtract, [a, b], [np.empty(a_shape, np.float32)])


@pytest.mark.parametrize("device", DEVICES)
def test_in_place(device):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 3, 45)).astype(np.float32)
    place = as_device(device)
    for kernel, other in [(E.add, y), (E.multiply, y[:1]), (E.subtract, y[:, :1].copy())]:
        expected = np.empty_like(x)
        kernel.reference(x, other, expected)
        inside = to_device(x.copy(), place)
        kernel(inside, to_device(other.copy(), place), inside)
        np.testing.assert_array_equal(to_host(inside), expected)
    inside = to_device(x.copy(), place)
    E.exp(inside, inside)
    np.testing.assert_allclose(to_host(inside), np.exp(x), rtol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_where_clamp_axpy_fill(device):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 3, 7)).astype(np.float32)
    a[0, :2] = np.nan, np.inf
    condition, one = rng.random((3, 7)) > 0.5, np.full((1, 1), 2.5, np.float32)
    for left, right in [(a, b), (one, b), (a, one), (one, one)]:
        check(E.where, device, [condition, left, right], [b])
    for low, high in [(-0.5, 0.5), (-np.inf, 0.0), (0.5, -0.5)]:
        check(E.clamp, device, [a], [b], low, high)
        check(E.clamp_backward, device, [a, b], [b], low, high)
    for largest in (True, False):
        check(E.extremum_backward, device, [np.round(a), np.round(b), b], [b, b], largest)
    for left, middle, last in [(a, b, b), (a, b, one), (one, b, a)]:
        check(E.addcmul, device, [left, middle, last], [b], 0.5, rtol=1e-5)
        check(E.addcdiv, device, [left, middle, last], [b], -2.0, rtol=1e-5)
        check(E.lerp, device, [left, middle, last / 3], [b], rtol=1e-5, atol=1e-6)
    integers = rng.integers(0, 9, 20)
    check(E.clamp, device, [integers], [integers], -np.inf, 4)
    check(E.axpy, device, [a], [b], 0.5, rtol=1e-5)
    check(E.fill, device, [], [b], -1.5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("source", "target"),
    [("f4", "f8"), ("f8", "f4"), ("f4", "i8"), ("i8", "f4"), ("u1", "f4"), ("f4", "?"), ("?", "f4")],
)
def test_cast(source, target, device):
    x = (
        (np.random.default_rng(0).normal(size=(3, 5)) * 4).astype(source)
        if source != "u1"
        else np.arange(15, dtype="u1")
    )
    x.flat[2] = 0
    check(E.cast, device, [x], [np.zeros(x.shape, target)])


@pytest.mark.torch
def test_against_pytorch():
    torch = pytest.importorskip("torch")
    a, b = (grid.ravel().copy() for grid in np.meshgrid(*[np.array(SPECIAL, np.float32)] * 2))
    for kernel, theirs in [(E.maximum, torch.maximum), (E.minimum, torch.minimum), (E.divide, torch.divide)]:
        np.testing.assert_array_equal(
            run(kernel, "cpu", [a, b], [a])[0], theirs(torch.from_numpy(a), torch.from_numpy(b))
        )
    finite = np.isfinite(a) & (b != 0)
    a, b = a[finite], b[finite]
    for kernel, theirs in [(E.remainder, torch.remainder), (E.floor_divide, torch.floor_divide)]:
        np.testing.assert_array_equal(
            run(kernel, "cpu", [a, b], [a])[0], theirs(torch.from_numpy(a), torch.from_numpy(b))
        )
    for kernel, theirs in [(E.round_, torch.round), (E.rsqrt, torch.rsqrt)]:
        np.testing.assert_allclose(run(kernel, "cpu", [a], [a])[0], theirs(torch.from_numpy(a)), rtol=1e-6)
