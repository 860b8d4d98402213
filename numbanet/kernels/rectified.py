"""Matrix products and convolutions with a ReLU behind them, for layers that are followed by one.

Contract::

    matmul_relu(a, b, bias, out, transpose_a, transpose_b)      as ``matmul.matmul``,         then out = 0 where out <= 0
    conv2d_relu(x, weight, bias, y, sh, sw, pt, pl, dh, dw, groups)   as ``conv2d.conv2d_forward``, then y = 0 where y <= 0

Shapes, dtypes and sums are those of the kernels named; the caller allocates, the output is overwritten, and NaN stays NaN.
float16 and bfloat16 are rounded once, after the ReLU.

On tensor cores the ReLU is part of the kernel's end, before results leave the registers. The other kernels write their result, and
relu's own kernel works on it in place: a third of the memory traffic of a result of its own is saved (half of ReLU's time
on a 1 x 1 convolution), and nothing to compile is added. (On the CPU, a register tile that rectifies as it stores would have to be
told which of its passes over a long sum is the last, to save what is left: a few hundredths of a 3 x 3 convolution's time.) There
is no CUDA kernel in this file.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from numbanet import backends
from numbanet.kernels import conv2d, matmul, mma
from numbanet.kernels.activation import relu
from numbanet.kernels.conv2d_tensor_core import conv2d_forward_tensor_core
from numbanet.kernels.kernel import Kernel
from numbanet.kernels.matmul_tensor_core import fits, matmul_tensor_core


def matmul_relu_reference(
    a: np.ndarray, b: np.ndarray, bias: np.ndarray, out: np.ndarray, transpose_a: bool, transpose_b: bool
) -> None:
    matmul.matmul_reference(a, b, bias, out, transpose_a, transpose_b)
    out[...] = np.maximum(out, 0)


def _matmul_relu_cpu(
    a: np.ndarray, b: np.ndarray, bias: np.ndarray, out: np.ndarray, transpose_a: bool, transpose_b: bool
) -> None:
    matmul.matmul(a, b, bias, out, transpose_a, transpose_b)
    if out.size:
        relu.forward(out, out)


def _matmul_relu_cuda(a: Any, b: Any, bias: Any, out: Any, transpose_a: bool, transpose_b: bool) -> None:
    kind = mma.kind_of(out.dtype, backends.cuda.matmul.allow_tf32)
    if kind and fits(a, b, out):
        matmul_tensor_core(kind, a, b, bias, out, transpose_a, transpose_b, relu=True)
    else:
        _matmul_relu_cpu(a, b, bias, out, transpose_a, transpose_b)  # the same two kernels, by their own twins


def _matmul_relu_half(a: Any, b: Any, bias: Any, out: Any, transpose_a: bool, transpose_b: bool) -> bool:
    """On tensor cores; False where they do not take it, and it is computed in float32."""
    kind = mma.kind_of(out.dtype, False)
    same = a.dtype == b.dtype == out.dtype and (bias.dtype == out.dtype or not bias.size)
    if not (kind and same and fits(a, b, out)):
        return False
    matmul_tensor_core(kind, a, b, bias, out, transpose_a, transpose_b, relu=True)
    return True


matmul_relu = Kernel(
    "matmul_relu",
    reference=matmul_relu_reference,
    cpu=_matmul_relu_cpu,
    cuda=_matmul_relu_cuda,
    half=_matmul_relu_half,
)


def conv2d_relu_reference(x, weight, bias, y, sh, sw, pt, pl, dh, dw, groups):
    conv2d.conv2d_forward_reference(x, weight, bias, y, sh, sw, pt, pl, dh, dw, groups)
    y[...] = np.maximum(y, 0)


def _conv2d_relu_cpu(x, weight, bias, y, sh, sw, pt, pl, dh, dw, groups):
    conv2d.conv2d_forward(x, weight, bias, y, sh, sw, pt, pl, dh, dw, groups)
    if y.size:
        relu.forward(y, y)


def _conv2d_relu_cuda(x, weight, bias, y, sh, sw, pt, pl, dh, dw, groups):
    kind = conv2d._tensor_core_kind(x, weight, y, groups)
    if kind:
        conv2d_forward_tensor_core(kind, x, weight, bias, y, sh, sw, pt, pl, dh, dw, groups, relu=True)
    else:
        _conv2d_relu_cpu(x, weight, bias, y, sh, sw, pt, pl, dh, dw, groups)


def _conv2d_relu_half(x, weight, bias, y, sh, sw, pt, pl, dh, dw, groups) -> bool:
    """On tensor cores; False where they do not take it, and it is computed in float32."""
    same = x.dtype == weight.dtype == y.dtype and (bias.dtype == y.dtype or not bias.size)
    kind = conv2d._tensor_core_kind(x, weight, y, groups) if same else None
    if kind:
        conv2d_forward_tensor_core(kind, x, weight, bias, y, sh, sw, pt, pl, dh, dw, groups, relu=True)
    return kind is not None


conv2d_relu = Kernel(
    "conv2d_relu",
    reference=conv2d_relu_reference,
    cpu=_conv2d_relu_cpu,
    cuda=_conv2d_relu_cuda,
    half=_conv2d_relu_half,
)
