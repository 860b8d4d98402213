"""2-D cross-correlation ("convolution") and its gradients, any stride, padding, dilation and groups.

Contract. N images, C input channels of H x W, O output channels of OH x OW, kernels of KH x KW, G groups; layout NCHW,
C-contiguous, float32 or float64::

    y[n, o, oy, ox] = bias[o] + sum_{c, kh, kw} weight[o, c, kh, kw] * x[n, g C/G + c, oy sh + kh dh - pt, ox sw + kw dw - pl]

with g = o // (O/G), weight (O, C/G, KH, KW), and x zero outside its H x W. Top and left padding pt, pl are arguments;
bottom and right padding follow from OH and OW, so any padding per side is covered, and rows or columns of x that no
output reads are allowed. Every kernel overwrites its output, which the caller allocates:

- ``conv2d_forward(x, weight, bias, y, sh, sw, pt, pl, dh, dw, groups)``: bias (O,), or (0,) for none.
- ``conv2d_grad_input(dy, weight, dx, sh, sw, pt, pl, dh, dw, groups)``: zero where nothing contributes.
- ``conv2d_grad_weight(dy, x, dbias, dweight, sh, sw, pt, pl, dh, dw, groups)``: dbias as below, or (0,) for none.
- ``conv2d_grad_bias(dy, dbias)``: dbias (O,), sums over N, OH and OW.

Sums run in the arrays' dtype, in vector lanes and blocks (grad_bias: in float64 on the CPU), and come out the same
whatever the number of threads. An infinity or NaN in x or dy makes NaN of every element of dweight that its image and
channel touch, also of those whose own sum leaves that pixel out; elsewhere it goes just where the sums take it.

Two ways lead there on the CPU: ``conv2d_pixels.py`` for any shape and ``conv2d_images.py`` for small images; their
plans' costs decide. A kernel as large as the image makes matrix products of all three passes (``matmul.py``). On CUDA it is
``conv2d_gather.py``, or ``conv2d_tensor_core.py`` for who switches tensor cores on (``numbanet.backends``).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from numbanet import backends
from numbanet.kernels import conv2d_gather, conv2d_images, conv2d_pixels, conv2d_tensor_core, mma
from numbanet.kernels.conv2d_plan import Plan, cheapest, run
from numbanet.kernels.kernel import Kernel, jit
from numbanet.kernels.matmul import matmul

# ------------------------------------------------------------------------------------------------------ references


def _elements(weight, x, y, sh, sw, pt, pl, dh, dw, groups):
    """For references: every kernel element and group as (output channels, input channels, i, j, the pixels of the
    padded input that its outputs read), with the padded input's shape and the place of the input in it."""
    out, per_group, kh, kw = weight
    bottom = max(0, (y[2] - 1) * sh + (kh - 1) * dh + 1 - pt - x[2])
    right = max(0, (y[3] - 1) * sw + (kw - 1) * dw + 1 - pl - x[3])
    shape = (x[0], x[1], pt + x[2] + bottom, pl + x[3] + right)
    inner = (slice(None), slice(None), slice(pt, pt + x[2]), slice(pl, pl + x[3]))
    elements = []
    for g, i, j in np.ndindex(groups, kh, kw):
        o = slice(g * (out // groups), (g + 1) * (out // groups))
        c = slice(g * per_group, (g + 1) * per_group)
        rows = slice(i * dh, i * dh + (y[2] - 1) * sh + 1, sh)
        columns = slice(j * dw, j * dw + (y[3] - 1) * sw + 1, sw)
        elements.append((o, c, i, j, (slice(None), c, rows, columns)))
    return shape, inner, elements


def conv2d_forward_reference(x, weight, bias, y, sh, sw, pt, pl, dh, dw, groups):
    """One product of weights and pixels per kernel element and group, on an image padded with zeros."""
    shape, inner, elements = _elements(weight.shape, x.shape, y.shape, sh, sw, pt, pl, dh, dw, groups)
    padded = np.zeros(shape, x.dtype)
    padded[inner] = x
    y[...] = bias[None, :, None, None] if bias.size else 0
    for o, _, i, j, pixels in elements:
        y[:, o] += np.einsum("oc,nchw->nohw", weight[o, :, i, j], padded[pixels])


def conv2d_grad_input_reference(dy, weight, dx, sh, sw, pt, pl, dh, dw, groups):
    """Every output pixel hands its gradient on to the input pixels that it read; what falls on the padding is lost."""
    shape, inner, elements = _elements(weight.shape, dx.shape, dy.shape, sh, sw, pt, pl, dh, dw, groups)
    padded = np.zeros(shape, dx.dtype)
    for o, _, i, j, pixels in elements:
        padded[pixels] += np.einsum("oc,nohw->nchw", weight[o, :, i, j], dy[:, o])
    dx[...] = padded[inner]


def conv2d_grad_weight_reference(dy, x, dbias, dweight, sh, sw, pt, pl, dh, dw, groups):
    """Every kernel element gathers the products of the gradients and the pixels that it brought together."""
    shape, inner, elements = _elements(dweight.shape, x.shape, dy.shape, sh, sw, pt, pl, dh, dw, groups)
    padded = np.zeros(shape, x.dtype)
    padded[inner] = x
    for o, _, i, j, pixels in elements:
        dweight[o, :, i, j] = np.einsum("nohw,nchw->oc", dy[:, o], padded[pixels])
    if dbias.size:
        conv2d_grad_bias_reference(dy, dbias)


def conv2d_grad_bias_reference(dy, dbias):
    """The sum over images and pixels, in float64."""
    dbias[...] = dy.sum(axis=(0, 2, 3), dtype=np.float64)


# ------------------------------------------------------------------------------------------------------------- CPU


def _is_product(x, weight, y, pt, pl, groups) -> bool:
    """Whether every output is one product of a whole image: y (N, O) = x (N, C KH KW) @ weight (O, C KH KW)^T."""
    return y.shape[2:] == (1, 1) and weight.shape[2:] == x.shape[2:] and pt == 0 and pl == 0 and groups == 1


def _rows(*arrays):
    """Each array as a batch of one matrix, a row for its first axis."""
    return [array.reshape(1, array.shape[0], -1) for array in arrays]


@lru_cache(maxsize=1024)
def _forward_plan(*shapes) -> Plan:
    return cheapest(conv2d_pixels.forward_plan(*shapes), conv2d_images.forward_plan(*shapes))


def _conv2d_forward_cpu(x, weight, bias, y, sh, sw, pt, pl, dh, dw, groups):
    if y.size and _is_product(x, weight, y, pt, pl, groups):
        a, b, out = _rows(x, weight, y)
        matmul(a, b, bias, out, False, True)
    elif y.size:
        plan = _forward_plan(x.shape, weight.shape, y.shape, (sh, sw, pt, pl, dh, dw), groups, x.itemsize)
        run(plan, x, weight, bias, y)


@lru_cache(maxsize=1024)
def _grad_input_plan(*shapes) -> Plan:
    return cheapest(conv2d_pixels.grad_input_plan(*shapes), conv2d_images.grad_input_plan(*shapes))


def _conv2d_grad_input_cpu(dy, weight, dx, sh, sw, pt, pl, dh, dw, groups):
    if dx.size and dy.size and _is_product(dx, weight, dy, pt, pl, groups):
        a, b, out = _rows(dy, weight, dx)
        matmul(a, b, np.empty(0, dx.dtype), out, False, False)
    elif dx.size:
        plan = _grad_input_plan(dy.shape, weight.shape, dx.shape, (sh, sw, pt, pl, dh, dw), groups, dy.itemsize)
        run(plan, dy, weight, np.empty(0, dx.dtype), dx)


@lru_cache(maxsize=1024)
def _grad_weight_plan(*shapes) -> Plan:
    return cheapest(conv2d_pixels.grad_weight_plan(*shapes), conv2d_images.grad_weight_plan(*shapes))


def _conv2d_grad_weight_cpu(dy, x, dbias, dweight, sh, sw, pt, pl, dh, dw, groups):
    plan = None
    if dy.size and x.size and dweight.size and _is_product(x, dweight, dy, pt, pl, groups):
        # 512 channels of 4 x 4 to 100, batch 64: a seventh of the time
        a, b, out = _rows(dy, x, dweight)
        matmul(a, b, np.empty(0, x.dtype), out, True, False)
    elif dy.size and x.size and dweight.size:
        plan = _grad_weight_plan(dy.shape, x.shape, dweight.shape, (sh, sw, pt, pl, dh, dw), groups, dy.itemsize)
        run(plan, x, dy, dbias, dweight)
    else:
        dweight[...] = 0
    if dbias.size and not (plan and plan.sums_bias):
        _conv2d_grad_bias_cpu(dy, dbias)


_BIAS_CHUNKS = 16


@jit
def _sum_channels(stage, i, thread, dy, a, b, dbias, scratch, plan):  # type: ignore[no-untyped-def]
    """Stage 0 sums one channel over chunks of the images, stage 1 the chunks of all channels; all in float64."""
    n, channels, pixels = plan[0], plan[1], plan[2]
    if stage == 0:
        chunk, o = i // channels, i % channels
        total = np.float64(0)
        for image in range(chunk * n // _BIAS_CHUNKS, (chunk + 1) * n // _BIAS_CHUNKS):
            first = np.uint64((image * channels + o) * pixels)
            for j in range(np.uint64(pixels)):
                total += dy[first + j]
        # float32 scratch holds a float64 sum as a rounded part and the rest
        rounded = dbias.dtype.type(total)
        scratch[np.uint64(2 * i)] = rounded
        scratch[np.uint64(2 * i + 1)] = total - rounded
    else:
        for o in range(channels):
            total = np.float64(0)
            for chunk in range(_BIAS_CHUNKS):
                at = 2 * (chunk * channels + o)
                total += np.float64(scratch[np.uint64(at)]) + np.float64(scratch[np.uint64(at + 1)])
            dbias[np.uint64(o)] = total


@lru_cache(maxsize=1024)
def _grad_bias_plan(shape):
    n, channels, h, w = shape
    fields = np.array([n, channels, h * w], np.int64)
    return Plan(_sum_channels, fields, (_BIAS_CHUNKS * channels, 1), 2 * _BIAS_CHUNKS * channels, 0)


def _conv2d_grad_bias_cpu(dy, dbias):
    none = np.empty(0, dy.dtype)
    run(_grad_bias_plan(dy.shape), dy, none, none, dbias)


# ------------------------------------------------------------------------------------------------------------ on CUDA


def _tensor_core_kind(x, weight, y, groups) -> str | None:
    """How the tensor cores take this convolution; None where ``conv2d_gather`` does it."""
    kind = mma.kind_of(x.dtype, backends.cudnn.allow_tf32)
    return kind if kind and conv2d_tensor_core.fits(kind, x, weight, y, groups) else None


def _conv2d_forward_cuda(x, weight, bias, y, sh, sw, pt, pl, dh, dw, groups):
    kind = _tensor_core_kind(x, weight, y, groups)
    if kind:
        conv2d_tensor_core.conv2d_forward_tensor_core(kind, x, weight, bias, y, sh, sw, pt, pl, dh, dw, groups)
    else:
        conv2d_gather.conv2d_forward_cuda(x, weight, bias, y, sh, sw, pt, pl, dh, dw, groups)


def _conv2d_grad_input_cuda(dy, weight, dx, sh, sw, pt, pl, dh, dw, groups):
    kind = _tensor_core_kind(dx, weight, dy, groups)
    if kind:
        conv2d_tensor_core.conv2d_grad_input_tensor_core(kind, dy, weight, dx, sh, sw, pt, pl, dh, dw, groups)
    else:
        conv2d_gather.conv2d_grad_input_cuda(dy, weight, dx, sh, sw, pt, pl, dh, dw, groups)


def _conv2d_grad_weight_cuda(dy, x, dbias, dweight, sh, sw, pt, pl, dh, dw, groups):
    kind = _tensor_core_kind(x, dweight, dy, groups)
    if kind:
        if dbias.size:
            conv2d_gather.conv2d_grad_bias_cuda(dy, dbias)
        conv2d_tensor_core.conv2d_grad_weight_tensor_core(kind, dy, x, dweight, sh, sw, pt, pl, dh, dw, groups)
    else:
        conv2d_gather.conv2d_grad_weight_cuda(dy, x, dbias, dweight, sh, sw, pt, pl, dh, dw, groups)


# With float16 or bfloat16 arrays; False where the tensor cores do not take them. Then they are computed in float32.


def _conv2d_forward_half(x, weight, bias, y, *geometry) -> bool:
    same = x.dtype == weight.dtype == y.dtype and (bias.dtype == y.dtype or not bias.size)
    kind = _tensor_core_kind(x, weight, y, geometry[-1]) if same else None
    if kind:
        conv2d_tensor_core.conv2d_forward_tensor_core(kind, x, weight, bias, y, *geometry)
    return kind is not None


def _conv2d_grad_input_half(dy, weight, dx, *geometry) -> bool:
    kind = _tensor_core_kind(dx, weight, dy, geometry[-1]) if dx.dtype == weight.dtype == dy.dtype else None
    if kind:
        conv2d_tensor_core.conv2d_grad_input_tensor_core(kind, dy, weight, dx, *geometry)
    return kind is not None


def _conv2d_grad_weight_half(dy, x, dbias, dweight, *geometry) -> bool:
    kind = _tensor_core_kind(x, dweight, dy, geometry[-1]) if x.dtype == dweight.dtype == dy.dtype else None
    if kind:
        if dbias.size:
            conv2d_grad_bias(dy, dbias)
        conv2d_tensor_core.conv2d_grad_weight_tensor_core(kind, dy, x, dweight, *geometry)
    return kind is not None


conv2d_forward = Kernel(
    "conv2d_forward",
    reference=conv2d_forward_reference,
    cpu=_conv2d_forward_cpu,
    cuda=_conv2d_forward_cuda,
    half=_conv2d_forward_half,
)
conv2d_grad_input = Kernel(
    "conv2d_grad_input",
    reference=conv2d_grad_input_reference,
    cpu=_conv2d_grad_input_cpu,
    cuda=_conv2d_grad_input_cuda,
    half=_conv2d_grad_input_half,
)
conv2d_grad_weight = Kernel(
    "conv2d_grad_weight",
    reference=conv2d_grad_weight_reference,
    cpu=_conv2d_grad_weight_cpu,
    cuda=_conv2d_grad_weight_cuda,
    half=_conv2d_grad_weight_half,
)
conv2d_grad_bias = Kernel(
    "conv2d_grad_bias",
    reference=conv2d_grad_bias_reference,
    cpu=_conv2d_grad_bias_cpu,
    cuda=conv2d_gather.conv2d_grad_bias_cuda,
)
