"""Transposed 2-D convolution with a bias.

Contract. N images, C input channels of H x W, O output channels of OH x OW, kernels of KH x KW, G groups; layout NCHW,
C-contiguous, float32 or float64::

    y[n, o, i, j] = bias[o] + sum of weight[c, o - g O/G, k, l] * x[n, c, r, s]
                    over the channels c of group g = o // (O/G), and all k, l, r, s with
                    r sh + k dh - pt = i and s sw + l dw - pl = j

``conv_transpose2d_forward(x, weight, bias, y, sh, sw, pt, pl, dh, dw, groups)``: weight (C, O/G, KH, KW); bias (O,), or
(0,) for none; y is overwritten, the caller allocates. Output pixels that nothing reaches hold the bias.

This is ``conv2d_grad_input`` (``conv2d.py``) with other letters: x takes the place of dy, and y that of dx. That kernel's tasks
add a number to each channel as they write it out, so the bias costs no pass over y of its own; its sums, and what it does
with NaN, are the same.
"""

from __future__ import annotations

from typing import Any

from numbanet.kernels import conv2d, elementwise
from numbanet.kernels.conv2d_plan import run
from numbanet.kernels.kernel import Kernel


def conv_transpose2d_forward_reference(x, weight, bias, y, sh, sw, pt, pl, dh, dw, groups):  # type: ignore[no-untyped-def]
    """Every input pixel adds its kernel, times its value, to the output; what falls outside is lost."""
    _, channels, h, w = x.shape
    _, per_group, kh, kw = weight.shape
    y[...] = bias[None, :, None, None] if bias.size else 0
    for c in range(channels):
        first = c // (channels // groups) * per_group
        for r in range(h):
            for s in range(w):
                for k in range(kh):
                    for m in range(kw):
                        i, j = r * sh + k * dh - pt, s * sw + m * dw - pl
                        if 0 <= i < y.shape[2] and 0 <= j < y.shape[3]:
                            y[:, first : first + per_group, i, j] += x[:, c, r, s, None] * weight[c, :, k, m]


def _conv_transpose2d_forward_cpu(x, weight, bias, y, sh, sw, pt, pl, dh, dw, groups):  # type: ignore[no-untyped-def]
    if y.size:
        plan = conv2d._grad_input_plan(x.shape, weight.shape, y.shape, (sh, sw, pt, pl, dh, dw), groups, x.itemsize)
        run(plan, x, weight, bias, y)


def _conv_transpose2d_forward_cuda(x, weight, bias, y, *geometry: Any):  # type: ignore[no-untyped-def]
    conv2d.conv2d_grad_input(x, weight, y, *geometry)
    if bias.size:
        elementwise.add(y, bias.reshape(1, bias.size, 1, 1), y)


conv_transpose2d_forward = Kernel(
    "conv_transpose2d_forward",
    reference=conv_transpose2d_forward_reference,
    cpu=_conv_transpose2d_forward_cpu,
    cuda=_conv_transpose2d_forward_cuda,
)
