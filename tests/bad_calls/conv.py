"""Convolutions, padding, folding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.bad_calls import Bad


def call(name: str, *shapes: tuple[int, ...], **options: Any) -> Callable[[Any], Any]:
    """``functional.name`` of zeros of these shapes."""
    return lambda lib: getattr(lib.nn.functional, name)(*[lib.zeros(shape) for shape in shapes], **options)


def layer(name: str, *args: Any, **options: Any) -> Callable[[Any], Any]:
    return lambda lib: getattr(lib.nn, name)(*args, **options)


def pad(shape: tuple[int, ...], *args: Any, **options: Any) -> Callable[[Any], Any]:
    return lambda lib: lib.nn.functional.pad(lib.zeros(shape), *args, **options)


def unfold(shape: tuple[int, ...], *args: Any) -> Callable[[Any], Any]:
    return lambda lib: lib.nn.functional.unfold(lib.zeros(shape), *args)


def fold(shape: tuple[int, ...], *args: Any) -> Callable[[Any], Any]:
    return lambda lib: lib.nn.functional.fold(lib.zeros(shape), *args)


def deform(*shapes: tuple[int, ...], **options: Any) -> Callable[[Any], Any]:
    return call("deform_conv2d", *shapes, **options)


BAD = [
    Bad("conv1d: channels", call("conv1d", (2, 3, 9), (4, 2, 3)), RuntimeError, r"conv1d: input has C=3 .* expects 2 \* groups=1 = 2"),
    Bad("conv1d: groups", call("conv1d", (2, 4, 9), (3, 2, 3), groups=2), RuntimeError, r"conv1d: weight has O=3 .* groups=2"),
    Bad("conv1d: groups of 0", call("conv1d", (2, 4, 9), (3, 4, 3), groups=0), RuntimeError, r"conv1d: groups must be positive, got 0"),
    Bad("conv1d: four dimensions", call("conv1d", (2, 3, 9, 9), (4, 3, 3)), RuntimeError, r"conv1d: .*\(N, C, L\).*\(2, 3, 9, 9\)"),
    Bad("conv1d: a 2-D kernel", call("conv1d", (2, 3, 9), (4, 3, 3, 3)), RuntimeError, r"conv1d: .*\(O, C / groups, K\).*\(4, 3, 3, 3\)"),
    Bad("conv1d: a long kernel", call("conv1d", (2, 3, 4), (4, 3, 3), dilation=2), RuntimeError, r"conv1d: .* spans 5, .* input 4"),
    Bad("conv1d: stride of 0", call("conv1d", (2, 3, 9), (4, 3, 3), stride=0), RuntimeError, r"conv1d: stride must be positive, got 0"),
    Bad("conv1d: a pair", call("conv1d", (2, 3, 9), (4, 3, 3), stride=(1, 2)), RuntimeError, r"conv1d: stride .* one int, got \(1, 2\)"),
    Bad("conv1d: dilation of 0", call("conv1d", (2, 3, 9), (4, 3, 3), dilation=0), RuntimeError, r"conv1d: dilation must be positive"),
    Bad("conv1d: padding of -1", call("conv1d", (2, 3, 9), (4, 3, 3), padding=-1), RuntimeError, r"conv1d: padding .* negative, got -1"),
    Bad("conv1d: a float", call("conv1d", (2, 3, 9), (4, 3, 3), stride=1.5), TypeError, r"conv1d: stride must be an int .* got 1\.5"),
    Bad("conv1d: same with stride", call("conv1d", (2, 3, 9), (4, 3, 3), padding="same", stride=2), RuntimeError, r"conv1d: padding='same' .* stride 2"),
    Bad("conv1d: a padding's name", call("conv1d", (2, 3, 9), (4, 3, 3), padding="full"), RuntimeError, r"conv1d: padding .* got 'full'"),
    Bad("conv1d: bias", call("conv1d", (2, 3, 9), (4, 3, 3), (3,)), RuntimeError, r"conv1d: expected bias of shape \(4,\) .* got \(3,\)"),
    Bad("conv1d: dtypes", lambda lib: lib.nn.functional.conv1d(lib.zeros(1, 1, 4), lib.zeros(1, 1, 2).double()), RuntimeError, r"conv1d: input is float32 but weight is float64"),
    Bad("conv1d: a list", lambda lib: lib.nn.functional.conv1d(lib.zeros(1, 1, 4), [[[1.0]]]), TypeError, r"conv1d: argument 'weight' must be a Tensor, not list"),
    Bad("conv_transpose2d: channels", call("conv_transpose2d", (2, 3, 5, 5), (4, 3, 3, 3)), RuntimeError, r"conv_transpose2d: input has C=3 .* expects 4"),
    Bad("conv_transpose2d: groups", call("conv_transpose2d", (2, 3, 5, 5), (3, 2, 3, 3), groups=2), RuntimeError, r"conv_transpose2d: weight has C=3 .* groups=2"),
    Bad("conv_transpose2d: output_padding", call("conv_transpose2d", (2, 3, 5, 5), (3, 2, 3, 3), output_padding=1), RuntimeError, r"conv_transpose2d: output_padding .* \(1, 1\), stride \(1, 1\)"),
    Bad("conv_transpose2d: negative output_padding", call("conv_transpose2d", (2, 3, 5, 5), (3, 2, 3, 3), output_padding=-1), RuntimeError, r"conv_transpose2d: output_padding .*\(-1, -1\)"),
    Bad("conv_transpose2d: negative padding", call("conv_transpose2d", (2, 3, 5, 5), (3, 2, 3, 3), padding=-1), RuntimeError, r"conv_transpose2d: padding .*\(-1, -1\)"),
    Bad("conv_transpose2d: bias", call("conv_transpose2d", (2, 3, 5, 5), (3, 2, 3, 3), (3,)), RuntimeError, r"conv_transpose2d: expected bias of shape \(2,\).* got \(3,\)"),
    Bad("conv_transpose2d: too much padding", call("conv_transpose2d", (2, 3, 2, 2), (3, 2, 3, 3), padding=3), RuntimeError, r"conv_transpose2d: the output .*\(-2, -2\).*padding \(3, 3\)"),
    Bad("conv_transpose2d: dimensions", call("conv_transpose2d", (3, 5), (3, 2, 3, 3)), RuntimeError, r"conv_transpose2d: expected input of shape .*\(3, 5\)"),
    Bad("conv_transpose1d: dimensions", call("conv_transpose1d", (2, 3, 5, 5), (3, 2, 3)), RuntimeError, r"conv_transpose1d: expected input of shape \(N, C, L\).*\(2, 3, 5, 5\)"),
    Bad("conv_transpose1d: stride", call("conv_transpose1d", (2, 3, 5), (3, 2, 3), stride=0), RuntimeError, r"conv_transpose1d: stride must be positive, got 0"),
    Bad("conv_transpose1d: dilation", call("conv_transpose1d", (2, 3, 5), (3, 2, 3), dilation=(1, 1)), RuntimeError, r"conv_transpose1d: dilation .* got \(1, 1\)"),
    Bad("Conv1d: groups", layer("Conv1d", 3, 4, 3, groups=2), ValueError, r"Conv1d: in_channels .* in_channels=3, groups=2"),
    Bad("Conv1d: padding_mode", layer("Conv1d", 3, 4, 3, padding_mode="wrap"), ValueError, r"Conv1d: padding_mode .* got 'wrap'"),
    Bad("ConvTranspose2d: groups", layer("ConvTranspose2d", 4, 3, 3, groups=2), ValueError, r"ConvTranspose2d: out_channels .* out_channels=3, groups=2"),
    Bad("ConvTranspose2d: padding_mode", layer("ConvTranspose2d", 4, 4, 3, padding_mode="reflect"), ValueError, r"ConvTranspose2d: padding_mode .* got 'reflect'"),
    Bad("ConvTranspose2d: output_size", lambda lib: lib.nn.ConvTranspose2d(1, 1, 2, 2)(lib.zeros(1, 1, 3, 3), output_size=(8, 6)), ValueError, r"ConvTranspose2d: output_size \(8, 6\) must lie between \(6, 6\) and \(7, 7\)"),
    Bad("ConvTranspose2d: length of output_size", lambda lib: lib.nn.ConvTranspose2d(1, 1, 2, 2)(lib.zeros(1, 1, 3, 3), output_size=(6,)), ValueError, r"ConvTranspose2d: output_size must have 2 or 4 elements"),
    Bad("pad: an odd number", pad((2, 3), (1,)), RuntimeError, r"pad: .* even number of elements, got 1"),
    Bad("pad: too many", pad((2, 3), (1, 1, 1, 1, 1, 1)), RuntimeError, r"pad: pad has 6 elements .* at most 4 .*\(2, 3\)"),
    Bad("pad: floats", pad((2, 3), (1, 1.5)), TypeError, r"pad: pad must be a sequence of ints, got \(1, 1\.5\)"),
    Bad("pad: a mode", pad((2, 3), (1, 1), "mirror"), NotImplementedError, r"pad: mode must be one of .* got 'mirror'"),
    Bad("pad: cut below nothing", pad((2, 3), (-2, -2)), RuntimeError, r"pad: input \(2, 3\) padded by .* shape \(2, -1\)"),
    Bad("pad: reflection of all", pad((2, 3, 4), (4, 0), "reflect"), RuntimeError, r"pad: mode 'reflect' takes paddings of at most 3 .* size 4, got \(4, 0\)"),
    Bad("pad: around more than once", pad((2, 3, 4), (0, 5), "circular"), RuntimeError, r"pad: mode 'circular' takes paddings of at most 4 .* got \(0, 5\)"),
    Bad("pad: reflection of a vector", pad((4,), (1, 1), "reflect"), NotImplementedError, r"pad: mode 'reflect' pads 1, 2 or 3 dimensions .* got 1 of input \(4,\)"),
    Bad("pad: one of four dimensions", pad((1, 2, 3, 4), (1, 1), "replicate"), NotImplementedError, r"pad: mode 'replicate' .* got 1 of input \(1, 2, 3, 4\)"),
    Bad("pad: reflection with a value", pad((2, 3, 4), (1, 1), "reflect", 2.0), RuntimeError, r"pad: mode 'reflect' takes no value, got value=2\.0"),
    Bad("pad: edges of nothing", pad((2, 3, 0), (1, 1), "replicate"), RuntimeError, r"pad: mode 'replicate' needs .*\(2, 3, 0\)"),
    Bad("pad: an array", lambda lib: lib.nn.functional.pad([1.0, 2.0], (1, 1)), TypeError, r"pad: argument 'input' must be a Tensor, not list"),
    Bad("CircularPad2d: dimensions", lambda lib: lib.nn.CircularPad2d(1)(lib.zeros(3, 4)), ValueError, r"CircularPad2d: expected an input of 3 or 4 dimensions, got shape \(3, 4\)"),
    Bad("unfold: dimensions", unfold((1, 1, 2, 4, 4), 2), RuntimeError, r"unfold: expected input of shape .*\(1, 1, 2, 4, 4\)"),
    Bad("unfold: no channels", unfold((2, 0, 4, 4), 2), RuntimeError, r"unfold: .*\(2, 0, 4, 4\)"),
    Bad("unfold: a large kernel", unfold((1, 2, 4, 4), 5), RuntimeError, r"unfold: 0 x 0 blocks of kernel_size \(5, 5\)"),
    Bad("unfold: stride", unfold((1, 2, 4, 4), 2, 1, 0, 0), RuntimeError, r"unfold: stride must be positive, got \(0, 0\)"),
    Bad("unfold: padding", unfold((1, 2, 4, 4), 2, 1, -1), RuntimeError, r"unfold: padding must be at least 0, got \(-1, -1\)"),
    Bad("unfold: three numbers", unfold((1, 2, 4, 4), (1, 2, 3)), RuntimeError, r"unfold: kernel_size must be an int or a pair of ints, got \(1, 2, 3\)"),
    Bad("fold: dimensions", fold((1, 2, 3, 4), 4, 2), RuntimeError, r"fold: expected input of shape .*\(1, 2, 3, 4\)"),
    Bad("fold: rows", fold((1, 7, 9), 4, 2), RuntimeError, r"fold: input \(1, 7, 9\) has 7 rows, .* 4 elements \(2, 2\)"),
    Bad("fold: blocks", fold((1, 8, 8), 4, 2), RuntimeError, r"fold: input \(1, 8, 8\) has 8 blocks, expected 3 \* 3 = 9"),
    Bad("fold: output_size", fold((1, 8, 9), (4, 4, 4), 2), RuntimeError, r"fold: output_size must be an int or a pair of ints, got \(4, 4, 4\)"),
    Bad("fold: dilation", fold((1, 8, 9), 4, 2, 0), RuntimeError, r"fold: dilation must be positive, got \(0, 0\)"),
    Bad("deform_conv2d: offset channels", deform((1, 2, 5, 5), (1, 17, 3, 3), (3, 2, 3, 3)), RuntimeError, r"deform_conv2d: offset has 17 channels, expected 2 \* KH \* KW = 18", torch=False),
    Bad("deform_conv2d: offset places", deform((1, 2, 5, 5), (1, 18, 4, 3), (3, 2, 3, 3)), RuntimeError, r"deform_conv2d: expected offset of shape \(1, 18, 3, 3\) .* got \(1, 18, 4, 3\)", torch=False),
    Bad("deform_conv2d: offset groups", deform((1, 2, 5, 5), (1, 54, 3, 3), (3, 2, 3, 3)), RuntimeError, r"deform_conv2d: .* divides C=2", torch=False),
    Bad("deform_conv2d: channels", deform((1, 5, 5, 5), (1, 18, 3, 3), (3, 2, 3, 3)), RuntimeError, r"deform_conv2d: input has C=5 channels .* takes 2", torch=False),
    Bad("deform_conv2d: mask", lambda lib: lib.nn.functional.deform_conv2d(*[lib.zeros(s) for s in ((1, 2, 5, 5), (1, 18, 3, 3), (3, 2, 3, 3))], mask=lib.zeros(1, 18, 3, 3)), RuntimeError, r"deform_conv2d: expected mask of shape \(1, 9, 3, 3\) .* got \(1, 18, 3, 3\)", torch=False),
    Bad("deform_conv2d: bias", deform((1, 2, 5, 5), (1, 18, 3, 3), (3, 2, 3, 3), (2,)), RuntimeError, r"deform_conv2d: expected bias of shape \(3,\) .* got \(2,\)", torch=False),
    Bad("deform_conv2d: dimensions", deform((2, 5, 5), (1, 18, 3, 3), (3, 2, 3, 3)), RuntimeError, r"deform_conv2d: expected input of 4 dimensions, got shape \(2, 5, 5\)", torch=False),
    Bad("deform_conv2d: stride", deform((1, 2, 5, 5), (1, 18, 3, 3), (3, 2, 3, 3), stride=0), RuntimeError, r"deform_conv2d: stride must be positive, got \(0, 0\)", torch=False),
    Bad("deform_conv2d: batch", deform((2, 2, 5, 5), (1, 18, 3, 3), (3, 2, 3, 3)), RuntimeError, r"deform_conv2d: expected offset of shape \(2, 18, 3, 3\)", torch=False),
]  # fmt: skip
