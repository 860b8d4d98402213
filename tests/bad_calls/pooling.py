"""Pooling and unpooling."""

from functools import partial
from typing import Any

from tests.bad_calls import Bad


def _call(name: str, shape: tuple[int, ...], *args: Any, **options: Any) -> Any:
    return lambda library: getattr(library.nn.functional, name)(library.zeros(*shape), *args, **options)


_max2, _max1, _avg2, _avg1 = (
    partial(_call, "max_pool2d"), partial(_call, "max_pool1d"), partial(_call, "avg_pool2d"), partial(_call, "avg_pool1d")
)  # fmt: skip
IMAGE, ROW = (2, 4, 5, 5), (2, 4, 9)


def _unpool(shape: tuple[int, ...], indices: Any, *args: Any, **options: Any) -> Any:
    """max_unpool1d or 2d of zeros with indices that ``indices`` makes from the library."""
    name = "max_unpool1d" if len(shape) == 3 and shape[0] == 2 else "max_unpool2d"
    return lambda library: getattr(library.nn.functional, name)(
        library.zeros(*shape), indices(library), *args, **options
    )


def _places(*shape: int, value: int = 0) -> Any:
    return lambda library: library.full(shape, value, dtype=library.int64)


BAD = [
    Bad("max_pool2d of a matrix", _max2((5, 5), 2), RuntimeError, r"max_pool2d: expected input of shape \(N, C, H, W\) or \(C, H, W\), got \(5, 5\)"),
    Bad("max_pool2d of five dimensions", _max2((1, *IMAGE), 2), RuntimeError, r"got \(1, 2, 4, 5, 5\)"),
    Bad("max_pool2d by no window", _max2(IMAGE, 0), RuntimeError, r"max_pool2d: kernel_size must be positive, got \(0, 0\)"),
    Bad("max_pool2d by a negative window", _max2(IMAGE, (2, -1)), RuntimeError, r"kernel_size must be positive, got \(2, -1\)"),
    Bad("max_pool2d by three sizes", _max2(IMAGE, (2, 2, 2)), RuntimeError, r"kernel_size must be an int or a pair of ints, got \(2, 2, 2\)"),
    Bad("max_pool2d by a float", _max2(IMAGE, 2.0), TypeError, "max_pool2d: kernel_size must be an int or a pair of ints, got 2.0"),
    Bad("max_pool2d by a text", _max2(IMAGE, "2"), TypeError, "kernel_size must be .* got '2'"),
    Bad("max_pool2d that stands still", _max2(IMAGE, 2, 0), RuntimeError, r"stride must be positive, got \(0, 0\)"),
    Bad("max_pool2d backwards", _max2(IMAGE, 2, -1), RuntimeError, r"stride must be positive, got \(-1, -1\)"),
    Bad("max_pool2d in halves", _max2(IMAGE, 2, 1.5), TypeError, "stride must be an int or a pair of ints, got 1.5"),
    Bad("max_pool2d with too much padding", _max2(IMAGE, 3, 1, 2), RuntimeError, r"padding must be between 0 and half the window, got padding \(2, 2\) with kernel_size \(3, 3\)"),
    Bad("max_pool2d with too much padding for all its dilation", _max2(IMAGE, 3, 1, 2, 2), RuntimeError, r"got padding \(2, 2\) with kernel_size \(3, 3\)"),
    Bad("max_pool2d with negative padding", _max2(IMAGE, 3, 1, -1), RuntimeError, r"got padding \(-1, -1\)"),
    Bad("max_pool2d with named padding", _max2(IMAGE, 3, 1, "same"), TypeError, "padding must be .* got 'same'"),
    Bad("max_pool2d without dilation", _max2(IMAGE, 2, dilation=0), RuntimeError, r"dilation must be positive, got \(0, 0\)"),
    Bad("max_pool2d by more than there is", _max2(IMAGE, 6), RuntimeError, r"the output of input \(2, 4, 5, 5\) would be \(0, 0\): too small for kernel_size \(6, 6\)"),
    Bad("max_pool2d of no channels", _max2((2, 0, 5, 5), 2), RuntimeError, r"without empty dimensions .* got \(2, 0, 5, 5\)"),
    Bad("max_pool2d of no columns", _max2((2, 4, 5, 0), 3, 1, 1), RuntimeError, r"without empty dimensions .* got \(2, 4, 5, 0\)"),
    Bad("max_pool2d of an array", lambda library: library.nn.functional.max_pool2d(library.zeros(1, 1, 4, 4).numpy(), 2), TypeError, "max_pool2d: argument 'input' must be a Tensor, not ndarray"),
    Bad("max_pool2d of bools", lambda library: library.nn.functional.max_pool2d(library.zeros(1, 1, 4, 4).bool(), 2), RuntimeError, "max_pool2d: expected input of a floating dtype, got bool"),
    Bad("max_pool1d of a vector", _max1((9,), 2), RuntimeError, r"max_pool1d: expected input of shape \(N, C, L\) or \(C, L\), got \(9,\)"),
    Bad("max_pool1d of an image", _max1(IMAGE, 2), RuntimeError, r"max_pool1d: .* got \(2, 4, 5, 5\)"),
    Bad("max_pool1d by two sizes", _max1(ROW, (2, 2)), RuntimeError, r"max_pool1d: kernel_size must be an int or a tuple of one, got \(2, 2\)"),
    Bad("max_pool1d by a float", _max1(ROW, 2.0), TypeError, "max_pool1d: kernel_size must be an int or a tuple of one, got 2.0"),
    Bad("max_pool1d with too much padding", _max1(ROW, 3, 1, 2), RuntimeError, r"got padding \(2,\) with kernel_size \(3,\)"),
    Bad("max_pool1d without dilation", _max1(ROW, 2, dilation=0), RuntimeError, r"dilation must be positive, got \(0,\)"),
    Bad("max_pool1d of no channels", _max1((2, 0, 9), 2), RuntimeError, r"got \(2, 0, 9\)"),
    Bad("avg_pool2d that stands still", _avg2(IMAGE, 2, 0), RuntimeError, r"avg_pool2d: stride must be positive, got \(0, 0\)"),
    Bad("avg_pool2d divided by nothing", _avg2(IMAGE, 2, divisor_override=0), RuntimeError, "avg_pool2d: divisor_override must not be zero"),
    Bad("avg_pool2d divided by a float", _avg2(IMAGE, 2, divisor_override=1.5), TypeError, "avg_pool2d: divisor_override must be an int, got 1.5"),
    Bad("avg_pool2d by more than there is", _avg2(IMAGE, (2, 9)), RuntimeError, r"would be \(2, 0\)"),
    Bad("avg_pool2d of five dimensions", _avg2((1, *IMAGE), 2), RuntimeError, r"got \(1, 2, 4, 5, 5\)"),
    Bad("avg_pool1d of a vector", _avg1((9,), 2), RuntimeError, r"avg_pool1d: .* got \(9,\)"),
    Bad("avg_pool1d with three strides", _avg1(ROW, 2, (1, 1, 1)), RuntimeError, r"avg_pool1d: stride must be .* got \(1, 1, 1\)"),
    Bad("avg_pool1d by more than there is", _avg1(ROW, 10), RuntimeError, r"would be \(0,\): too small for kernel_size \(10,\)"),
    Bad("adaptive_avg_pool2d to a negative size", _call("adaptive_avg_pool2d", IMAGE, -1), RuntimeError, r"adaptive_avg_pool2d: output_size must not be negative, got \(-1, -1\)"),
    Bad("adaptive_avg_pool2d to three sizes", _call("adaptive_avg_pool2d", IMAGE, (2, 2, 2)), RuntimeError, r"must be an int or a tuple of two, got \(2, 2, 2\)"),
    Bad("adaptive_avg_pool2d to half a pair", _call("adaptive_avg_pool2d", IMAGE, (2,)), RuntimeError, r"must be an int or a tuple of two, got \(2,\)"),
    Bad("adaptive_avg_pool2d to nothing", _call("adaptive_avg_pool2d", IMAGE, None), TypeError, "output_size must be made of ints, got None"),
    Bad("adaptive_avg_pool2d of no rows", _call("adaptive_avg_pool2d", (2, 4, 0, 5), 2), RuntimeError, r"without empty dimensions .* got \(2, 4, 0, 5\)"),
    Bad("adaptive_max_pool2d to a float", _call("adaptive_max_pool2d", IMAGE, 2.0), TypeError, "output_size must be made of ints, got 2.0"),
    Bad("adaptive_max_pool2d of a matrix", _call("adaptive_max_pool2d", (5, 5), 2), RuntimeError, r"got \(5, 5\)"),
    Bad("adaptive_max_pool2d of no channels", _call("adaptive_max_pool2d", (2, 0, 5, 5), 2), RuntimeError, r"got \(2, 0, 5, 5\)"),
    Bad("adaptive_max_pool1d to two sizes", _call("adaptive_max_pool1d", ROW, (2, 2)), RuntimeError, r"adaptive_max_pool1d: output_size must be an int or a tuple of one, got \(2, 2\)"),
    Bad("adaptive_avg_pool1d to what there is", _call("adaptive_avg_pool1d", ROW, None), TypeError, "adaptive_avg_pool1d: output_size must be made of ints, got None"),
    Bad("adaptive_avg_pool1d of a vector", _call("adaptive_avg_pool1d", (9,), 2), RuntimeError, r"got \(9,\)"),
    Bad("lp_pool2d by the power of nothing", _call("lp_pool2d", IMAGE, 0, 2), ZeroDivisionError, "lp_pool2d: norm_type must not be 0"),
    Bad("lp_pool2d by a named power", _call("lp_pool2d", IMAGE, "2", 2), TypeError, "lp_pool2d: norm_type must be a number, got '2'"),
    Bad("lp_pool2d that stands still", _call("lp_pool2d", IMAGE, 2, 2, 0), RuntimeError, r"lp_pool2d: stride must be positive, got \(0, 0\)"),
    Bad("lp_pool2d by more than there is", _call("lp_pool2d", IMAGE, 2, 9), RuntimeError, r"lp_pool2d: .* would be \(0, 0\)"),
    Bad("lp_pool1d by a tuple", _call("lp_pool1d", ROW, 2, (2,)), TypeError, r"lp_pool1d: kernel_size must be an int, got \(2,\)"),
    Bad("max_unpool2d with floating indices", _unpool((1, 4, 2, 2), lambda library: library.zeros(1, 4, 2, 2), 2), RuntimeError, "max_unpool2d: expected indices of int64, got float32"),
    Bad("max_unpool2d with int32 indices", _unpool((1, 4, 2, 2), lambda library: library.zeros(1, 4, 2, 2).int(), 2), RuntimeError, "expected indices of int64, got int32"),
    Bad("max_unpool2d with fewer indices", _unpool((1, 4, 2, 2), _places(1, 4, 2, 1), 2), RuntimeError, r"expected indices of input's shape \(1, 4, 2, 2\), got \(1, 4, 2, 1\)"),
    Bad("max_unpool2d with a large index", _unpool((1, 4, 2, 2), _places(1, 4, 2, 2, value=16), 2), RuntimeError, r"indices run from 16 to 16, expected 0 to 15 for an output of shape \(1, 4, 4, 4\)"),
    Bad("max_unpool2d with a negative index", _unpool((1, 4, 2, 2), _places(1, 4, 2, 2, value=-1), 2), RuntimeError, "indices run from -1 to -1, expected 0 to 15"),
    Bad("max_unpool2d to another size", _unpool((1, 4, 2, 2), _places(1, 4, 2, 2), 2, output_size=(6, 6)), ValueError, r"less than the stride \(2, 2\) away from \(4, 4\), got \(6, 6\)"),
    Bad("max_unpool2d to one size", _unpool((1, 4, 2, 2), _places(1, 4, 2, 2), 2, output_size=(4,)), ValueError, r"output_size must have 2 or 4 sizes, got \(4,\)"),
    Bad("max_unpool2d to an int", _unpool((1, 4, 2, 2), _places(1, 4, 2, 2), 2, output_size=4), TypeError, "output_size must be a tuple of ints, got 4"),
    Bad("max_unpool2d with more padding than image", _unpool((1, 4, 2, 2), _places(1, 4, 2, 2), 2, 2, 4), ValueError, r"would be \(-4, -4\)"),
    Bad("max_unpool2d of no channels", _unpool((1, 0, 2, 2), _places(1, 0, 2, 2), 2), RuntimeError, r"got \(1, 0, 2, 2\)"),
    Bad("max_unpool2d without indices", _unpool((1, 4, 2, 2), lambda library: None, 2), TypeError, "argument 'indices' must be a Tensor, not NoneType", torch=False),  # AttributeError there or TypeError, by version
    Bad("max_unpool1d with a large index", _unpool((2, 4, 4), _places(2, 4, 4, value=8), 2), RuntimeError, r"max_unpool1d: indices run from 8 to 8, expected 0 to 7"),
    Bad("MaxPool2d of no columns", lambda library: library.nn.MaxPool2d(2)(library.zeros(1, 2, 4, 0)), RuntimeError, r"max_pool2d: .*\(1, 2, 4, 0\)"),
    Bad("AvgPool1d of an image", lambda library: library.nn.AvgPool1d(2)(library.zeros(1, 2, 4, 4)), RuntimeError, r"avg_pool1d: .* got \(1, 2, 4, 4\)"),
]  # fmt: skip
