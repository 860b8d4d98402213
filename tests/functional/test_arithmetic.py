"""Elementwise arithmetic against PyTorch, finite differences and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import numbanet
from numbanet import functional as F
from tests.checks import assert_close, check_op, torch

rng = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def positive(*shape: int) -> np.ndarray:
    return (rng.random(shape) + 0.5).astype(np.float32)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "maximum", "minimum", "atan2", "hypot", "fmod"])
@pytest.mark.parametrize(
    "shapes", [((3, 4), (3, 4)), ((2, 3, 4), (4,)), ((3, 1), (1, 4)), ((2, 1, 3), (4, 1)), ((), (3,)), ((2, 0), (1, 1))]
)
def test_binary(name, shapes):
    a, b = normal(*shapes[0]), positive(*shapes[1])
    check_op(getattr(F, name), torch and getattr(torch, name), [a, b], numeric=a.size > 0)


@pytest.mark.parametrize("name", ["exp", "sqrt", "log", "log1p", "expm1", "sin", "cos", "rsqrt", "reciprocal", "erf", "square",
                                  "abs", "neg", "sign", "floor", "ceil", "round", "trunc", "frac", "tan", "sinh", "cosh", "asin",
                                  "acos", "atan", "log2", "log10", "exp2"])  # fmt: skip
def test_unary(name):
    check_op(
        getattr(F, name),
        torch and getattr(torch, name),
        [positive(3, 5) * (0.6 if name in ("asin", "acos") else 1)],
        rtol=1e-4 if name in ("tan", "asin", "acos") else 1e-5,
        numeric=name not in ("floor", "ceil", "round", "trunc"),
    )


def test_pow():
    check_op(F.pow, torch and torch.pow, [positive(3, 4), normal(4)])
    for exponent in (0, 1, 2, 3, -1, 0.5):
        check_op(lambda x, e=exponent: x**e, torch and (lambda x, e=exponent: x**e), [positive(3, 4)])
    check_op(lambda x: 2.0**x, torch and (lambda x: 2.0**x), [normal(3, 4)])
    zeros = np.array([0.0, 1.0, -2.0], np.float32)
    check_op(lambda x: x**2.0, torch and (lambda x: x**2.0), [zeros])
    check_op(lambda x: x**3, torch and (lambda x: x**3), [zeros], numeric=False)


def test_numbers_on_either_side():
    x = normal(2, 3)
    for f in (
        lambda t: 1 + t,
        lambda t: 2 - t,
        lambda t: 3 * t,
        lambda t: t / 2,
        lambda t: 1 / (t * t + 1),
        lambda t: -t,
    ):
        check_op(f, f, [x])


def test_clamp_and_where():
    x = normal(4, 5)
    check_op(lambda t: F.clamp(t, -0.5, 0.5), torch and (lambda t: torch.clamp(t, -0.5, 0.5)), [x])
    check_op(lambda t: t.clamp(min=0.1), torch and (lambda t: t.clamp(min=0.1)), [x])
    condition = x > 0
    check_op(lambda a, b: F.where(numbanet.from_numpy(condition), a, b),
             torch and (lambda a, b: torch.where(torch.from_numpy(condition), a, b)), [normal(4, 5), normal(5)])  # fmt: skip
    check_op(lambda a: F.masked_fill(a, a > 0, 3.0), torch and (lambda a: a.masked_fill(a > 0, 3.0)), [x])


BOUNDS = [
    (-0.5, 0.5),
    (None, 0.2),
    (-0.3, None),
    (0.5, -0.5),
    (0, 1),
    (float("-inf"), float("inf")),
    (float("nan"), 1.0),
]


@pytest.mark.parametrize("bounds", BOUNDS)
def test_clamp(bounds):
    x = np.concatenate([normal(20), [-0.5, 0.5, 0.0, 1.0, np.inf, -np.inf]]).astype(
        np.float32
    )  # bounds themselves, too
    check_op(lambda t: F.clamp(t, *bounds), torch and (lambda t: torch.clamp(t, *bounds)), [x], numeric=False)
    check_op(lambda t: t.clone().clamp_(*bounds), torch and (lambda t: t.clone().clamp_(*bounds)), [x], numeric=False)


@pytest.mark.skipif(torch is None, reason="compares with PyTorch")
@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float64])
@pytest.mark.parametrize("bounds", [(1, 3), (-2.5, 2.5), (0.5, None), (None, 2), (-5, 300)])
def test_clamp_promotes(dtype, bounds):
    x = np.arange(6).astype(dtype)
    if dtype is np.uint8 and bounds == (-5, 300):
        bounds = (0, 255)  # PyTorch wraps what uint8 cannot hold
    assert_close(F.clamp(numbanet.from_numpy(x), *bounds), torch.clamp(torch.from_numpy(x), *bounds).numpy())


def test_clamp_by_tensors():
    x, low, high = normal(3, 4), normal(4) - 1, positive(3, 1)
    check_op(F.clamp, torch and torch.clamp, [x, low, high])
    check_op(lambda t, h: F.clamp(t, max=h), torch and (lambda t, h: torch.clamp(t, max=h)), [x, high])
    x[0, 0] = np.nan
    assert np.isnan(F.clamp(numbanet.from_numpy(x), numbanet.from_numpy(low)).numpy()[0, 0])


@pytest.mark.parametrize("name", ["maximum", "minimum"])
@pytest.mark.parametrize("shapes", [((4, 5), (4, 5)), ((4, 5), (5,)), ((4, 5), ())])
def test_ties_share_the_gradient(name, shapes):
    a, b = [np.asarray(np.round(normal(*shape)), np.float32) for shape in shapes]
    check_op(getattr(F, name), torch and getattr(torch, name), [a, b], numeric=False)
    a.reshape(-1)[0] = np.nan
    check_op(getattr(F, name), torch and getattr(torch, name), [a, b], numeric=False)


@pytest.mark.parametrize("shapes", [((3, 4),) * 3, ((3, 4), (4,), (3, 1)), ((), (3, 4), (3, 4)), ((3, 4), (3, 4), ())])
def test_functions_of_three(shapes):
    a, b, c = normal(*shapes[0]), normal(*shapes[1]), positive(*shapes[2])
    arrays = [np.asarray(x, np.float32) for x in (a, b, c)]
    check_op(F.lerp, torch and torch.lerp, arrays)
    for value in (1, -0.5):
        for name in ("addcmul", "addcdiv"):
            check_op(
                lambda *t, n=name, v=value: getattr(F, n)(*t, value=v),
                torch and (lambda *t, n=name, v=value: getattr(torch, n)(*t, value=v)),
                arrays,
            )


def test_lerp_by_a_number_and_the_in_place_forms():
    a, b = normal(3, 4), positive(3, 4)
    for weight in (0.0, 0.3, 0.8, 1.0):
        check_op(lambda x, y, w=weight: F.lerp(x, y, w), torch and (lambda x, y, w=weight: torch.lerp(x, y, w)), [a, b])
    for call in (
        lambda x, y: x.clone().lerp_(y, 0.25),
        lambda x, y: x.clone().addcmul_(x, y, value=2),
        lambda x, y: x.clone().addcdiv_(x, y, value=2),
        lambda x, y: x.clone().add_(y, alpha=-3),
        lambda x, y: x.add(y, alpha=0.5),
        lambda x, y: x.clone().clamp_min_(0.1).clamp_max_(0.5),
    ):
        check_op(call, torch and call, [a, b])


def test_adding_scaled_in_place_without_a_graph():
    x, y = normal(3, 4), normal(3, 4)
    t = numbanet.from_numpy(x.copy())
    memory = t.data_ptr()
    t.add_(numbanet.from_numpy(y), alpha=0.5)
    assert t.data_ptr() == memory
    assert_close(t, x + np.float32(0.5) * y)
    t.t().add_(t.t(), alpha=2)  # not contiguous, and from itself
    assert_close(t, 3 * (x + np.float32(0.5) * y), rtol=1e-6)
    z = numbanet.ones(6)
    z[1:].add_(z[:-1], alpha=2)
    assert z.tolist() == [1, 3, 3, 3, 3, 3]


@pytest.mark.parametrize("shapes", [((4, 5), (4, 5), (4, 5)), ((4, 1), (5,), ()), ((), (4, 5), (5,)), ((5,), (), ())])
def test_where_broadcasts(shapes):
    condition = np.asarray(normal(*shapes[0]) > 0)
    a, b = np.asarray(normal(*shapes[1]), np.float32), np.asarray(normal(*shapes[2]), np.float32)
    check_op(lambda x, y: F.where(numbanet.from_numpy(condition), x, y),
             torch and (lambda x, y: torch.where(torch.from_numpy(condition), x, y)), [a, b])  # fmt: skip


@pytest.mark.skipif(torch is None, reason="compares with PyTorch")
def test_special_numbers_of_new_functions():
    special = np.array(
        [0.0, -0.0, 1.0, -1.0, 8.0, 1000.0, 1e-40, np.inf, -np.inf, np.nan, -2.5, 89.0, 100.0], np.float32
    )
    for name in ("log2", "log10", "exp2", "sinh", "cosh", "asin", "acos", "atan", "trunc", "frac"):
        ours, theirs = getattr(F, name)(numbanet.from_numpy(special)), getattr(torch, name)(torch.from_numpy(special))
        assert_close(ours, theirs.numpy(), rtol=2e-6, what=name)
    assert F.log2(numbanet.tensor([8.0, 0.25, 2.0**60])).tolist() == [3, -2, 60]
    special = special[special != np.float32(1e-40)]  # PyTorch's remainder by a denormal is NaN
    a, b = (grid.ravel() for grid in np.meshgrid(special, special))
    for name in ("atan2", "hypot", "fmod"):
        ours = getattr(F, name)(numbanet.from_numpy(a), numbanet.from_numpy(b))
        assert_close(ours, getattr(torch, name)(torch.from_numpy(a), torch.from_numpy(b)).numpy(), what=name)
    i, j = numbanet.tensor([7, -7, 7, -7]), numbanet.tensor([2, 2, -2, -2])
    assert F.fmod(i, j).tolist() == [1, -1, 1, -1] and F.log2(i[:1]).dtype == numbanet.float32


@pytest.mark.parametrize("name", ["eq", "ne", "lt", "le", "gt", "ge"])
def test_comparisons(name):
    a, b = rng.integers(0, 3, (4, 5)), rng.integers(0, 3, (5,))
    expected = {"eq": a == b, "ne": a != b, "lt": a < b, "le": a <= b, "gt": a > b, "ge": a >= b}[name]
    for dtype in (np.int64, np.float32):
        assert_close(
            getattr(F, name)(numbanet.from_numpy(a.astype(dtype)), numbanet.from_numpy(b.astype(dtype))), expected
        )
    assert_close(getattr(numbanet.from_numpy(a), f"__{name}__")(1),
                 {"eq": a == 1, "ne": a != 1, "lt": a < 1, "le": a <= 1, "gt": a > 1, "ge": a >= 1}[name])  # fmt: skip


def test_integer_division_rules():
    a, b = np.array([7, -7, 7, -7]), np.array([2, 2, -2, -2])
    x, y = numbanet.from_numpy(a), numbanet.from_numpy(b)
    assert_close(x // y, a // b)
    assert_close(x % y, a % b)
    assert_close(x / y, (a / b).astype(np.float32))
    assert_close(F.div(x, y, rounding_mode="trunc"), np.array([3, -3, -3, 3]))
    with pytest.raises(RuntimeError, match="integer division by zero"):
        x // 0
    with pytest.raises(RuntimeError, match="integer division by zero"):
        x % numbanet.tensor([1, 0, 1, 1])
    check_op(
        lambda a, b: a % b, lambda a, b: a % b, [np.array([5.5, -5.5], np.float32), np.array([2.0, 3.0], np.float32)]
    )


@pytest.mark.skipif(torch is None, reason="compares with PyTorch")
@pytest.mark.parametrize("left", ["bool", "uint8", "int32", "int64", "float32", "float64"])
@pytest.mark.parametrize("right", ["bool", "uint8", "int64", "float32", "float64", "1", "True", "1.5", "0d"])
def test_dtype_promotion(left, right):
    def both(library):
        a = library.ones(2).to(dtype=getattr(library, left))
        b = {"1": 1, "True": True, "1.5": 1.5, "0d": library.tensor(2.0).to(dtype=library.float64)}.get(right)
        return a, library.ones(2).to(dtype=getattr(library, right)) if b is None else b

    for name in ("add", "mul", "div"):
        ours, theirs = [str(getattr(lib, name)(*both(lib)).dtype).rpartition(".")[2] for lib in (numbanet, torch)]
        assert ours == theirs, name


shape_pairs = st.lists(st.tuples(st.integers(1, 4), st.booleans(), st.booleans()), min_size=0, max_size=4)


@given(shape_pairs, st.integers(0, 2), st.integers(0, 2))
@settings(max_examples=30, deadline=None)
def test_any_broadcast(dims, drop_a, drop_b):
    a_shape = tuple(1 if one_a else n for n, one_a, _ in dims)[drop_a:]
    b_shape = tuple(1 if one_b else n for n, _, one_b in dims)[drop_b:]
    a, b = normal(*a_shape), normal(*b_shape)
    x, y = numbanet.tensor(a, requires_grad=True), numbanet.tensor(b, requires_grad=True)
    z = x * y
    assert_close(z.detach(), np.asarray(a * b))
    cotangent = normal(*z.shape)
    z.backward(numbanet.tensor(cotangent))
    assert x.grad.shape == a_shape and y.grad.shape == b_shape
    extra = len(z.shape) - len(a_shape)
    full = cotangent * b
    dims_a = tuple(range(extra)) + tuple(extra + i for i, n in enumerate(a_shape) if n == 1)
    assert_close(x.grad, np.asarray(full.sum(dims_a, keepdims=True)).reshape(a_shape).astype(np.float32), atol=1e-5)


def test_shapes_that_do_not_broadcast():
    with pytest.raises(RuntimeError, match=r"add: shapes \(2, 3\) and \(2,\) do not broadcast.*2 and 3"):
        numbanet.ones(2, 3) + numbanet.ones(2)


def test_other_operands_are_refused():
    with pytest.raises(TypeError, match="mul: expected a tensor or a number, got str"):
        numbanet.ones(2) * "3"


@pytest.mark.parametrize("name", ["add_", "sub_", "mul_", "div_", "pow_"])
def test_inplace_binary(name):
    a, b = positive(3, 4), positive(4)

    def run(library):
        x, y = library.from_numpy(a.copy()).requires_grad_(), library.from_numpy(b.copy()).requires_grad_()
        t = x * 1
        memory = t.data_ptr()
        result = getattr(t, name)(y)
        assert result is t and t.data_ptr() == memory
        (t * t).sum().backward()
        return t.detach().numpy(), x.grad.numpy(), y.grad.numpy()

    ours = run(numbanet)
    expected = {"add_": a + b, "sub_": a - b, "mul_": a * b, "div_": a / b, "pow_": a**b}[name]
    assert_close(ours[0], expected)
    if torch is not None:
        for x, y in zip(ours, run(torch), strict=True):
            assert_close(x, y, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["exp_", "sqrt_", "neg_", "abs_", "log_"])
def test_inplace_unary(name):
    a = positive(3, 4)

    def run(library):
        x = library.from_numpy(a.copy()).requires_grad_()
        t = x * 1
        assert getattr(t, name)() is t
        (t * t).sum().backward()
        return t.detach().numpy(), x.grad.numpy()

    ours = run(numbanet)
    assert_close(ours[0], getattr(np, {"neg_": "negative"}.get(name, name[:-1]))(a))
    if torch is not None:
        for x, y in zip(ours, run(torch), strict=True):
            assert_close(x, y, atol=1e-5)


def test_inplace_between_overlapping_parts():
    x = numbanet.arange(1000.0)
    x[1:] += x[:-1]
    assert_close(x, np.concatenate([[0.0], np.arange(1, 1000) + np.arange(999)]).astype(np.float32))


def test_inplace_refuses_what_does_not_fit():
    with pytest.raises(RuntimeError, match=r"cannot be put into a tensor of shape \(3,\)"):
        numbanet.ones(3).add_(numbanet.ones(2, 3))
    with pytest.raises(RuntimeError, match="float32, and cannot be put into a int64 tensor"):
        numbanet.ones(3, dtype=numbanet.int64).add_(1.5)
    with pytest.raises(RuntimeError, match="div_"):
        numbanet.ones(3, dtype=numbanet.int64).div_(2)


def test_nan_and_infinity_keep_their_meaning():
    nan, inf = float("nan"), float("inf")
    x = numbanet.tensor([nan, inf, -inf, 1.0])
    assert x.isnan().tolist() == [True, False, False, False]
    assert x.isinf().tolist() == [False, True, True, False]
    assert x.isfinite().tolist() == [False, False, False, True]
    assert np.isnan(F.maximum(x, numbanet.zeros(4)).numpy()[0]) and np.isnan(F.clamp(x, 0, 1).numpy()[0])
    assert_close(F.clamp(x, 0, 1).numpy()[1:], np.array([1, 0, 1], np.float32))


def test_double_backward():
    for f in (
        lambda x: x * x * x,
        lambda x: (x * 2).exp(),
        lambda x: x.log() / x,
        lambda x: x**1.5,
        lambda x: x.sqrt() + x.sin(),
        lambda x: F.clamp(x, 0.7, 1.3) ** 2,
        lambda x: F.maximum(x * x, x) + F.hypot(x, x * 2) + F.atan2(x, x * x),
        lambda x: F.lerp(x, x * x, x * x) + F.addcmul(x, x, x * x) + F.addcdiv(x, x, 1 + x * x),
        lambda x: x.log2() + x.sinh() * x.cosh() + x.atan() + F.tan(x / 2),
    ):
        x = numbanet.tensor(positive(3).astype(np.float64), requires_grad=True)

        def first(x, f=f):
            (g,) = numbanet.autograd.grad(f(x).sum(), x, create_graph=True)
            return g

        assert numbanet.autograd.gradcheck(first, x)


def test_allclose_and_equal():
    a = numbanet.tensor([1.0, float("inf")])
    assert F.allclose(a, a + 1e-9) and not F.allclose(a, a - 1e-2)
    assert F.equal(a, a) and not F.equal(a, numbanet.ones(3))


@pytest.mark.parametrize("name", ["round", "floor", "ceil", "trunc"])
@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_integers_are_whole_already(name, dtype):
    values = [0, 1, 2, 3, 5, 254]
    x = numbanet.tensor(values, dtype=getattr(numbanet, dtype))
    y = getattr(F, name)(x)
    assert y.tolist() == values and y.dtype == x.dtype and y.data_ptr() != x.data_ptr()


def test_integers_in_place():
    x = numbanet.tensor([-1, 2, -3])
    assert x.abs_() is x and x.tolist() == [1, 2, 3]
    assert x[::2].neg_().tolist() == [-1, -3] and x.tolist() == [-1, 2, -3]


@pytest.mark.parametrize("name", ["sign", "floor", "ceil", "round", "trunc"])
def test_steps_stop_every_gradient(name):
    x = numbanet.tensor([1.0, -1.5, 0.0], requires_grad=True)
    getattr(F, name)(x).backward(numbanet.tensor([float("inf"), float("nan"), 1.0]))
    assert x.grad.tolist() == [0.0, 0.0, 0.0]


NAN = float("nan")
PAIRS = np.array([1.0, NAN, 3.0, NAN, 2.0], np.float32), np.array([NAN, 1.0, 3.0, NAN, 5.0], np.float32)


@pytest.mark.parametrize("wide", [False, True], ids=["one shape", "broadcast"])
@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_extremes_of_nan(name, wide):
    a, b = PAIRS
    arrays = [a[:, None], b] if wide else [a, b]
    check_op(getattr(F, name), torch and getattr(torch, name), arrays, numeric=False)


@pytest.mark.parametrize(
    "bounds", [(-0.5, NAN), (NAN, 0.5), (NAN, NAN), (None, NAN), (NAN, None), (-0.5, 0.5), (0.5, -0.5)]
)
def test_clamp_of_and_to_nan(bounds):
    x = np.array([-1.0, 0.0, 2.0, NAN, -0.5, 0.5], np.float32)
    check_op(lambda t: F.clip(t, *bounds), torch and (lambda t: torch.clip(t, *bounds)), [x], numeric=False)
    in_place = numbanet.from_numpy(x.copy()).clamp_(*bounds)
    assert_close(in_place, F.clip(numbanet.from_numpy(x), *bounds).numpy())
    arrays = [x, *[np.full((2, 1), b, np.float32) for b in bounds if b is not None]]

    def clamp(library):
        def call(t, *given):
            given = iter(given)
            low, high = (None if b is None else next(given) for b in bounds)
            return library.clamp(t, low, high)

        return call

    check_op(clamp(F), torch and clamp(torch), arrays, numeric=False)


def test_bools_beside_logical_operators():
    x = numbanet.tensor([True, False])
    assert (x & True).tolist() == [True, False] and (x | True).tolist() == [True, True]
    assert (x ^ True).tolist() == [False, True]


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, bool])
def test_bitwise_operators(dtype):
    a, b = (rng.integers(0, 2 if dtype is bool else 100, (3, 4)).astype(dtype) for _ in range(2))
    x, y = numbanet.from_numpy(a), numbanet.from_numpy(b)
    for ours, want in (
        (x & y, a & b), (x | y, a | b), (x ^ y, a ^ b), (~x, ~a), (x & y[0], a & b[0]),
        *(() if dtype is bool else ((x & 6, a & 6), (x | 1, a | 1))),
    ):  # fmt: skip
        assert_close(ours.numpy(), want)
    if dtype is bool:
        assert_close((x & True).numpy(), a)


def test_bitwise_operators_refuse_floats():
    with pytest.raises(NotImplementedError, match="bitwise_and: expected integers or bools, got float32"):
        numbanet.zeros(2) & numbanet.ones(2)
    with pytest.raises(TypeError, match=r"~.*float32"):
        ~numbanet.zeros(2)
