"""Tensor-core kernels on the GPU itself (compute capability 8.0 or later; ``tests/kernels`` has their emulation)."""

from __future__ import annotations

import numpy as np
import pytest

from numbanet import backends, devices
from numbanet.devices import as_device, cuda_is_available, to_device, to_host
from numbanet.kernels import conv2d_tensor_core, matmul_tensor_core, mma
from numbanet.kernels.conv2d import conv2d_forward, conv2d_grad_input, conv2d_grad_weight
from numbanet.kernels.matmul import matmul, matmul_reference
from tests.kernels.emulate import from_bits, rounded, to_bits
from tests.kernels.test_conv2d_tensor_core import CROSSED, EVEN, LARGER, Geometry

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(
        devices.SIMULATOR or not cuda_is_available() or mma._capability() < (8, 0),
        reason="needs a GPU of compute capability 8.0 or later",
    ),
]
kinds = pytest.mark.parametrize("kind", mma.KINDS)
LAYERS = [Geometry(8, 64, 28, 28, 128, 3, 3, (1, 1), (1, 1)), Geometry(4, 3, 64, 64, 64, 7, 7, (2, 2), (3, 3))]


def run(launch, kind, inputs, shape):
    """(the result of a launcher, as float32; the inputs as the instruction sees them, as float64)."""
    place = as_device("cuda")
    held = [to_device(to_bits(array, kind), place) for array in inputs]
    out = to_device(to_bits(np.full(shape, np.nan), kind), place)
    launch(*held, out)
    return from_bits(to_host(out), kind), [rounded(array, kind).astype(np.float64) for array in inputs]


def check(result, expected, kind, depth):
    """Tensor cores may truncate when they add: an ulp of the largest sum per instruction."""
    last = {"tf32": 0.0, "float16": 2.0**-11, "bfloat16": 2.0**-8}[kind]
    atol = 4 * np.sqrt(depth + 1) * (depth // 8 + 3) * 2.0**-23
    np.testing.assert_allclose(result, expected, rtol=1.01 * last, atol=atol)


@kinds
@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize("m, n, depth", [(17, 5, 33), (257, 130, 128), (1000, 640, 512)])
def test_matmul(kind, transpose_a, transpose_b, m, n, depth):
    random = np.random.default_rng(0)
    a = random.standard_normal((1, depth, m) if transpose_a else (1, m, depth))
    b = random.standard_normal((1, n, depth) if transpose_b else (1, depth, n))
    bias = random.standard_normal(n)

    def launch(a, b, bias, out):
        matmul_tensor_core.matmul_tensor_core(kind, a, b, bias, out, transpose_a, transpose_b)

    result, (a, b, bias) = run(launch, kind, (a, b, bias), (1, m, n))
    left, right = a[0].T if transpose_a else a[0], b[0].T if transpose_b else b[0]
    check(result[0], left @ right + bias, kind, depth)


@kinds
@pytest.mark.parametrize("geometry", [*CROSSED, LARGER, EVEN, *LAYERS], ids=str)
def test_conv2d(kind, geometry):
    random = np.random.default_rng(1)
    x_shape, weight_shape, y_shape = geometry.shapes
    x, weight, dy = (random.standard_normal(shape) for shape in geometry.shapes)
    none = np.empty(0)
    numbers = geometry.numbers

    def forward(x, weight, bias, y):
        conv2d_tensor_core.conv2d_forward_tensor_core(kind, x, weight, bias, y, *numbers)

    result, (x64, weight64, _) = run(forward, kind, (x, weight, none), y_shape)
    expected = np.empty(y_shape)
    conv2d_forward.reference(x64, weight64, none, expected, *numbers)
    check(result, expected, kind, np.prod(weight_shape[1:]))

    def grad_input(dy, weight, dx):
        conv2d_tensor_core.conv2d_grad_input_tensor_core(kind, dy, weight, dx, *numbers)

    result, (dy64, weight64) = run(grad_input, kind, (dy, weight), x_shape)
    expected = np.empty(x_shape)
    conv2d_grad_input.reference(dy64, weight64, expected, *numbers)
    check(result, expected, kind, geometry.o * geometry.kh * geometry.kw)

    def grad_weight(dy, x, dweight):
        conv2d_tensor_core.conv2d_grad_weight_tensor_core(kind, dy, x, dweight, *numbers)

    result, (dy64, x64) = run(grad_weight, kind, (dy, x), weight_shape)
    again, _ = run(grad_weight, kind, (dy, x), weight_shape)
    assert result.tobytes() == again.tobytes()
    expected = np.empty(weight_shape)
    conv2d_grad_weight.reference(dy64, x64, none, expected, *numbers)
    check(result, expected, kind, y_shape[0] * y_shape[2] * y_shape[3])


def test_the_switch_leads_there(monkeypatch):
    monkeypatch.setitem(vars(backends.cuda), "tensor_cores", True)
    monkeypatch.setitem(vars(backends.cuda.matmul), "allow_tf32", True)
    random = np.random.default_rng(2)
    a, b = (random.standard_normal((1, 64, 64)).astype(np.float32) for _ in range(2))
    place = as_device("cuda")
    out = to_device(np.empty((1, 64, 64), np.float32), place)
    matmul(to_device(a, place), to_device(b, place), to_device(np.empty(0, np.float32), place), out, False, False)
    exact = np.empty((1, 64, 64))
    matmul_reference(a.astype(float), b.astype(float), np.empty(0), exact, False, False)
    error = np.abs(to_host(out) - exact).max()
    assert 1e-4 < error < 0.05  # TF32's, not float32's
