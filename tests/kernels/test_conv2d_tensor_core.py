"""Convolution on tensor cores: the kernels' own source under emulation, against the plain references in float64."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import pytest

from numbanet.kernels import conv2d_tensor_core as module
from numbanet.kernels import mma
from numbanet.kernels.conv2d import (
    conv2d_forward_reference,
    conv2d_grad_input_reference,
    conv2d_grad_weight_reference,
)
from numbanet.kernels.mma import Tile
from tests.kernels.emulate import emulated, from_bits, rounded, to_bits

ONE_WARP = Tile(1, 1, 1, 2)  # 16 x 16 results
FOUR_WARPS = Tile(2, 2, 1, 2)  # 32 x 32


class Geometry(NamedTuple):
    """n images, c channels of h x w, o output channels, a kernel of kh x kw."""

    n: int
    c: int
    h: int
    w: int
    o: int
    kh: int
    kw: int
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def shapes(self):
        """Of x, the weight and y."""
        oh = (self.h + 2 * self.padding[0] - self.dilation[0] * (self.kh - 1) - 1) // self.stride[0] + 1
        ow = (self.w + 2 * self.padding[1] - self.dilation[1] * (self.kw - 1) - 1) // self.stride[1] + 1
        x, weight = (self.n, self.c, self.h, self.w), (self.o, self.c // self.groups, self.kh, self.kw)
        return x, weight, (self.n, self.o, oh, ow)

    @property
    def numbers(self):
        return (*self.stride, *self.padding, *self.dilation, self.groups)


# Every value of stride, padding, dilation, groups and kernel meets every value of each other one (a test counts them).
CROSSED = [
    Geometry(2, 3, 7, 6, 5, 3, 2, (1, 1), (0, 0), (2, 2), 1),
    Geometry(1, 4, 9, 8, 6, 3, 2, (2, 2), (1, 1), (1, 1), 2),
    Geometry(1, 6, 5, 6, 9, 3, 3, (1, 1), (2, 1), (1, 1), 3),
    Geometry(2, 3, 6, 7, 6, 1, 1, (2, 2), (0, 0), (1, 2), 3),
    Geometry(1, 5, 8, 9, 4, 3, 3, (2, 1), (1, 1), (1, 2), 1),
    Geometry(2, 2, 7, 5, 4, 1, 1, (2, 1), (2, 1), (2, 2), 2),
    Geometry(1, 6, 8, 7, 3, 3, 2, (2, 1), (0, 0), (1, 1), 3),
    Geometry(1, 3, 5, 5, 6, 1, 1, (1, 1), (1, 1), (2, 2), 3),
    Geometry(2, 4, 9, 7, 2, 3, 3, (2, 2), (0, 0), (2, 2), 2),
    Geometry(1, 2, 6, 8, 8, 3, 2, (1, 1), (2, 1), (1, 2), 2),
    Geometry(1, 7, 6, 6, 7, 1, 1, (2, 2), (2, 1), (1, 1), 1),
    Geometry(1, 3, 10, 8, 3, 3, 3, (3, 2), (0, 0), (3, 1), 3),
]
LARGER = Geometry(1, 18, 6, 5, 34, 2, 3, (1, 1), (1, 1))  # several tiles each way
EVEN = Geometry(3, 8, 4, 8, 18, 3, 3, (1, 1), (1, 1))  # images of whole 16-byte chunks
geometries = pytest.mark.parametrize("geometry", CROSSED, ids=lambda g: "-".join(map(str, g)).replace(" ", ""))
kinds = pytest.mark.parametrize("kind", mma.KINDS)


@pytest.fixture(autouse=True)
def emulation(monkeypatch):
    """Every kernel of the file emulated, with tiles of one warp."""
    for name in ("_product_kernel", "_grad_weight_kernel", "_add_splits_kernel"):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *options, real=real: emulated(real(*options)))
    monkeypatch.setattr(module, "_pack_cuda", emulated(module._pack_cuda))
    use(monkeypatch, ONE_WARP)


def use(monkeypatch, tile):
    monkeypatch.setattr(mma, "choose_tile", lambda *shape: tile)


def drawn(shape, kind, seed):
    """(values as the kernel takes them, what the instruction makes of them in float64)."""
    values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return to_bits(values, kind), rounded(values, kind).astype(np.float64)


def untouched(shape, kind):
    return to_bits(np.full(shape, np.nan), kind)


def check(result, expected, kind, depth):
    """Float32 sums of rounded inputs: an ulp of the largest partial sum per step of eight; halves: the last rounding too."""
    last = {"tf32": 0.0, "float16": 2.0**-11, "bfloat16": 2.0**-8}[kind]
    atol = 4 * np.sqrt(depth + 1) * (depth // 8 + 3) * 2.0**-24
    np.testing.assert_allclose(from_bits(result, kind), expected, rtol=1.01 * last, atol=atol)


def forward(geometry, kind, bias=True, add=False, relu=False):
    x_shape, weight_shape, y_shape = geometry.shapes
    (x, x64), (weight, weight64) = drawn(x_shape, kind, 1), drawn(weight_shape, kind, 2)
    shift = to_bits(np.arange(geometry.o if bias else 0) - 2.0, kind)
    more = to_bits(np.random.default_rng(3).standard_normal(y_shape), kind) if add else None
    y, expected = untouched(y_shape, kind), np.empty(y_shape)
    module.conv2d_forward_tensor_core(kind, x, weight, shift, y, *geometry.numbers, more, relu)
    conv2d_forward_reference(x64, weight64, from_bits(shift, kind).astype(float), expected, *geometry.numbers)
    if add:
        expected += from_bits(more, kind)
    if relu:
        assert (expected < 0).any()
        expected = np.maximum(expected, 0)
    check(y, expected, kind, np.prod(weight_shape[1:]))


def grad_input(geometry, kind):
    x_shape, weight_shape, y_shape = geometry.shapes
    (dy, dy64), (weight, weight64) = drawn(y_shape, kind, 4), drawn(weight_shape, kind, 5)
    dx, expected = untouched(x_shape, kind), np.empty(x_shape)
    module.conv2d_grad_input_tensor_core(kind, dy, weight, dx, *geometry.numbers)
    conv2d_grad_input_reference(dy64, weight64, expected, *geometry.numbers)
    check(dx, expected, kind, geometry.o * geometry.kh * geometry.kw)


def grad_weight(geometry, kind):
    x_shape, weight_shape, y_shape = geometry.shapes
    (dy, dy64), (x, x64) = drawn(y_shape, kind, 6), drawn(x_shape, kind, 7)
    dweight, expected = untouched(weight_shape, kind), np.empty(weight_shape)
    module.conv2d_grad_weight_tensor_core(kind, dy, x, dweight, *geometry.numbers)
    conv2d_grad_weight_reference(dy64, x64, np.empty(0), expected, *geometry.numbers)
    check(dweight, expected, kind, y_shape[0] * y_shape[2] * y_shape[3])


def test_the_geometries_cross_every_pair_of_options():
    options = [(g.stride, g.padding, g.dilation, g.groups, (g.kh, g.kw)) for g in CROSSED[:-1]]
    for i, j in itertools.combinations(range(5), 2):
        values = [{row[k] for row in options} for k in (i, j)]
        assert {(row[i], row[j]) for row in options} == set(itertools.product(*values))
        assert min(map(len, values)) == 3


@geometries
def test_forward(geometry):
    forward(geometry, "tf32")
    forward(geometry, "bfloat16")


@geometries
def test_grad_input(geometry):
    grad_input(geometry, "tf32")
    grad_input(geometry, "bfloat16")


@geometries
def test_grad_weight(geometry):
    grad_weight(geometry, "tf32")
    grad_weight(geometry, "bfloat16")


@kinds
@pytest.mark.parametrize("run", [forward, grad_input, grad_weight])
def test_several_warps_and_tiles(run, kind, monkeypatch):
    use(monkeypatch, FOUR_WARPS)
    run(LARGER, kind)


@kinds
def test_pixels_in_whole_chunks_are_copied_whole(kind, monkeypatch):
    """dy of grad_weight comes 16 bytes at a time, across the images' ends."""
    monkeypatch.setattr(mma, "is_aligned", lambda array: True)
    used = []
    emulation = module._grad_weight_kernel
    monkeypatch.setattr(module, "_grad_weight_kernel", lambda *options: used.append(options[2]) or emulation(*options))
    grad_weight(EVEN, kind)
    grad_weight(Geometry(9, 2, 2, 4, 3, 1, 1), kind)  # images shorter than a tile
    assert used == [True, True]


@kinds
@pytest.mark.parametrize("bias, add, relu", [(False, False, True), (False, True, False), (True, True, True)])
def test_the_epilogue(kind, bias, add, relu):
    forward(CROSSED[0], kind, bias, add, relu)


@pytest.mark.parametrize("kind", ["tf32", "bfloat16"])
def test_sums_are_split_and_added_in_order(kind, monkeypatch):
    monkeypatch.setattr(module, "_TERMS_OF_SPLIT", 1)
    monkeypatch.setattr(module, "_SPLIT_BLOCKS", 7)
    grad_weight(Geometry(3, 2, 7, 7, 3, 1, 1), kind)


def test_the_tile_that_ships(monkeypatch):
    use(monkeypatch, mma.SMALL)
    forward(Geometry(1, 3, 9, 9, 66, 3, 3, (1, 1), (1, 1)), "tf32")


def test_rows_of_x_that_no_output_reads_get_no_gradient():
    geometry = Geometry(1, 2, 8, 8, 3, 2, 2, (3, 3))
    grad_input(geometry, "tf32")
    grad_weight(geometry, "tf32")


def test_no_images_give_a_gradient_of_zero():
    geometry = Geometry(0, 2, 5, 5, 3, 3, 3)
    for kind in mma.KINDS:
        dweight = untouched(geometry.shapes[1], kind)
        x, dy = to_bits(np.empty(geometry.shapes[0]), kind), to_bits(np.empty(geometry.shapes[2]), kind)
        module.conv2d_grad_weight_tensor_core(kind, dy, x, dweight, *geometry.numbers)
        assert (from_bits(dweight, kind) == 0).all()


def test_nan_reaches_the_outputs_that_read_it_and_no_others():
    geometry = Geometry(1, 1, 6, 6, 1, 3, 3, (1, 1), (1, 1))
    x, weight, y = np.ones((1, 1, 6, 6), np.float32), np.ones((1, 1, 3, 3), np.float32), untouched((1, 1, 6, 6), "tf32")
    x[0, 0, 2, 3] = np.nan
    module.conv2d_forward_tensor_core("tf32", x, weight, np.empty(0, np.float32), y, *geometry.numbers, None, True)
    expected = np.zeros((6, 6), bool)
    expected[1:4, 2:5] = True
    np.testing.assert_array_equal(np.isnan(y[0, 0]), expected)


@pytest.mark.parametrize("size, kernel, stride, padding, dilation", [(7, 3, 2, 1, 1), (6, 5, 3, 0, 2), (5, 2, 4, 1, 2), (9, 3, 2, 2, 2)])  # fmt: skip
def test_residues_meet_every_tap_of_every_pixel_once(size, kernel, stride, padding, dilation):
    found = set()
    for residue, pixels, first, step, count, start, output_step in module._residues(
        size, kernel, stride, padding, dilation
    ):
        for q in range(pixels):
            for i in range(count):
                found.add((residue + q * stride, first + i * step, start + q + i * output_step))
    expected = {
        (pixel, k, (pixel + padding - k * dilation) // stride)
        for pixel in range(size)
        for k in range(kernel)
        if (pixel + padding - k * dilation) % stride == 0
    }
    assert found == expected


# ------------------------------------------------------------------------------------------------------------ dispatch


@pytest.mark.parametrize("on", [False, True])
def test_the_switch_chooses_the_way(on, monkeypatch):
    """conv2d's CUDA launchers go to tensor cores where they are switched on and the layer has work for them."""
    from numbanet import backends
    from numbanet.kernels import conv2d, conv2d_gather

    taken = []
    for home, way in ((module, "tensor_core"), (conv2d_gather, "cuda")):
        for name in ("forward", "grad_input", "grad_weight"):
            monkeypatch.setattr(home, f"conv2d_{name}_{way}", lambda *arguments, said=(name, way): taken.append(said))
    monkeypatch.setattr(mma.devices, "SIMULATOR", False)
    monkeypatch.setattr(mma, "_capability", lambda: (9, 0))
    monkeypatch.setitem(vars(backends.cuda), "tensor_cores", on)
    for o, allowed in ((32, True), (8, True), (32, False)):
        monkeypatch.setitem(vars(backends.cudnn), "allow_tf32", allowed)
        x, weight, y = (np.empty(shape, np.float32) for shape in Geometry(1, 2, 5, 5, o, 3, 3).shapes)
        none = np.empty(0, np.float32)
        conv2d._conv2d_forward_cuda(x, weight, none, y, 1, 1, 0, 0, 1, 1, 1)
        conv2d._conv2d_grad_input_cuda(y, weight, x, 1, 1, 0, 0, 1, 1, 1)
        conv2d._conv2d_grad_weight_cuda(y, x, none, weight, 1, 1, 0, 0, 1, 1, 1)
    first = "tensor_core" if on else "cuda"
    names = ["forward", "grad_input", "grad_weight"]
    assert taken == [(name, first) for name in names] + [(name, "cuda") for name in 2 * names]
