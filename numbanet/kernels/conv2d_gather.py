"""Convolution on CUDA: matrix products tiled through shared memory ("implicit im2col").

The right side is gathered from the image as it is needed: a block of tile x tile threads makes
(tile * micro) x (tile * micro) results, micro x micro to a thread, tile terms at a time. ``total`` takes the sum of every
tile of terms, so that rounding errors grow with the number of tiles, not of terms.

``conv2d.py`` holds the contract.
"""

from __future__ import annotations

from functools import lru_cache, partial

import numba
import numpy as np

from numbanet.devices import CUDA, cuda, empty
from numbanet.kernels import launch
from numbanet.kernels.conv2d_plan import ceil

_MICRO = 4  # results of a thread per side: 16 multiply-adds for 8 reads of shared memory
_SPLIT_BLOCKS = 528  # blocks that grad_weight is cut into along its pixels: four for each of 132 multiprocessors


def _real(array):
    return numba.float32 if array.dtype == np.float32 else numba.float64


@lru_cache(maxsize=64)
def _forward_cuda_kernel(tile, micro, real):
    """The kernel for one block shape and element type; rows are output channels, columns pixels of y."""
    wide = tile * micro

    @cuda.jit
    def _conv2d_forward_cuda(x, weight, bias, y, sh, sw, pt, pl, dh, dw, groups):
        left = cuda.shared.array((wide, tile), real)
        right = cuda.shared.array((tile, wide), real)  # a line of its own: the simulator tells arrays by their lines
        total, part = cuda.local.array((micro, micro), real), cuda.local.array((micro, micro), real)
        image, top, side = (
            cuda.local.array(micro, numba.int64),
            cuda.local.array(micro, numba.int64),
            cuda.local.array(micro, numba.int64),
        )
        zero = y.dtype.type(0)
        tx, ty, group = cuda.threadIdx.x, cuda.threadIdx.y, cuda.blockIdx.z
        row0, column0 = cuda.blockIdx.y * wide, cuda.blockIdx.x * wide
        rows, channels, height, width = weight.shape[0] // groups, weight.shape[1], x.shape[2], x.shape[3]
        kw = weight.shape[3]
        terms = weight.shape[2] * kw
        depth = channels * terms
        pixels = y.shape[2] * y.shape[3]
        columns = y.shape[0] * pixels
        for j in range(micro):
            column = column0 + tx + j * tile
            pixel = column % pixels
            image[j] = column // pixels
            top[j] = pixel // y.shape[3] * sh - pt
            side[j] = pixel % y.shape[3] * sw - pl
            if column >= columns:
                top[j] = -(1 << 40)  # reads nothing
            for i in range(micro):
                total[i, j] = zero
        for k0 in range(0, depth, tile):
            k = k0 + tx
            for i in range(micro):
                row = row0 + ty + i * tile
                value = zero
                if row < rows and k < depth:
                    value = weight[group * rows + row, k // terms, k % terms // kw, k % kw]
                left[ty + i * tile, tx] = value
            k = k0 + ty
            channel, down, across = group * channels + k // terms, k % terms // kw * dh, k % kw * dw
            for j in range(micro):
                value = zero
                iy, ix = top[j] + down, side[j] + across
                if k < depth and iy >= 0 and iy < height and ix >= 0 and ix < width:
                    value = x[image[j], channel, iy, ix]
                right[ty, tx + j * tile] = value
            cuda.syncthreads()
            for i in range(micro):
                for j in range(micro):
                    part[i, j] = zero
            for t in range(tile):
                for i in range(micro):
                    for j in range(micro):
                        part[i, j] += left[ty + i * tile, t] * right[t, tx + j * tile]
            for i in range(micro):
                for j in range(micro):
                    total[i, j] += part[i, j]
            cuda.syncthreads()
        for i in range(micro):
            row = row0 + ty + i * tile
            if row < rows:
                o = group * rows + row
                shift = zero
                if bias.shape[0] > 0:
                    shift = bias[o]
                for j in range(micro):
                    column = column0 + tx + j * tile
                    if column < columns:
                        pixel = column % pixels
                        y[image[j], o, pixel // y.shape[3], pixel % y.shape[3]] = total[i, j] + shift

    return _conv2d_forward_cuda


@lru_cache(maxsize=64)
def _grad_input_cuda_kernel(tile, micro, real):
    """Rows are input channels, columns pixels of dx, terms the output channels and kernel elements."""
    wide = tile * micro

    @cuda.jit
    def _conv2d_grad_input_cuda(dy, weight, dx, sh, sw, pt, pl, dh, dw, groups):
        left = cuda.shared.array((wide, tile), real)
        right = cuda.shared.array((tile, wide), real)  # a line of its own: the simulator tells arrays by their lines
        total, part = cuda.local.array((micro, micro), real), cuda.local.array((micro, micro), real)
        image, top, side = (
            cuda.local.array(micro, numba.int64),
            cuda.local.array(micro, numba.int64),
            cuda.local.array(micro, numba.int64),
        )
        zero = dx.dtype.type(0)
        tx, ty, group = cuda.threadIdx.x, cuda.threadIdx.y, cuda.blockIdx.z
        row0, column0 = cuda.blockIdx.y * wide, cuda.blockIdx.x * wide
        rows, outputs = weight.shape[1], weight.shape[0] // groups
        kw = weight.shape[3]
        terms = weight.shape[2] * kw
        depth = outputs * terms
        pixels = dx.shape[2] * dx.shape[3]
        columns = dx.shape[0] * pixels
        for j in range(micro):
            column = column0 + tx + j * tile
            pixel = column % pixels
            image[j] = column // pixels
            top[j] = pixel // dx.shape[3] + pt
            side[j] = pixel % dx.shape[3] + pl
            if column >= columns:
                top[j] = -1  # reads nothing
            for i in range(micro):
                total[i, j] = zero
        for k0 in range(0, depth, tile):
            k = k0 + tx
            for i in range(micro):
                row = row0 + ty + i * tile
                value = zero
                if row < rows and k < depth:
                    value = weight[group * outputs + k // terms, row, k % terms // kw, k % kw]
                left[ty + i * tile, tx] = value
            k = k0 + ty
            o, down, across = group * outputs + k // terms, k % terms // kw * dh, k % kw * dw
            for j in range(micro):
                value = zero
                above, before = top[j] - down, side[j] - across
                oy, ox = above // sh, before // sw
                aligned = above >= 0 and before >= 0 and oy * sh == above and ox * sw == before
                if k < depth and aligned and oy < dy.shape[2] and ox < dy.shape[3]:
                    value = dy[image[j], o, oy, ox]
                right[ty, tx + j * tile] = value
            cuda.syncthreads()
            for i in range(micro):
                for j in range(micro):
                    part[i, j] = zero
            for t in range(tile):
                for i in range(micro):
                    for j in range(micro):
                        part[i, j] += left[ty + i * tile, t] * right[t, tx + j * tile]
            for i in range(micro):
                for j in range(micro):
                    total[i, j] += part[i, j]
            cuda.syncthreads()
        for i in range(micro):
            row = row0 + ty + i * tile
            if row < rows:
                for j in range(micro):
                    column = column0 + tx + j * tile
                    if column < columns:
                        pixel = column % pixels
                        dx[image[j], group * rows + row, pixel // dx.shape[3], pixel % dx.shape[3]] = total[i, j]

    return _conv2d_grad_input_cuda


@lru_cache(maxsize=64)
def _grad_weight_cuda_kernel(tile, micro, real):
    """Rows are output channels, columns kernel elements, terms pixels of dy; a split sums over some of the pixels."""
    wide = tile * micro

    @cuda.jit
    def _conv2d_grad_weight_cuda(dy, x, partials, kh, kw, sh, sw, pt, pl, dh, dw, groups):
        left = cuda.shared.array((wide, tile), real)
        right = cuda.shared.array((tile, wide), real)  # a line of its own: the simulator tells arrays by their lines
        total, part = cuda.local.array((micro, micro), real), cuda.local.array((micro, micro), real)
        channel, down, across = (
            cuda.local.array(micro, numba.int64),
            cuda.local.array(micro, numba.int64),
            cuda.local.array(micro, numba.int64),
        )
        zero = dy.dtype.type(0)
        tx, ty, group, split = cuda.threadIdx.x, cuda.threadIdx.y, cuda.blockIdx.z % groups, cuda.blockIdx.z // groups
        row0, column0 = cuda.blockIdx.y * wide, cuda.blockIdx.x * wide
        rows, channels, height, width = dy.shape[1] // groups, x.shape[1] // groups, x.shape[2], x.shape[3]
        terms = kh * kw
        columns = channels * terms
        pixels = dy.shape[2] * dy.shape[3]
        depth = dy.shape[0] * pixels
        tiles = (depth + tile - 1) // tile
        first, last = split * tiles // partials.shape[0] * tile, (split + 1) * tiles // partials.shape[0] * tile
        for j in range(micro):
            column = column0 + tx + j * tile
            channel[j] = group * channels + column // terms
            down[j] = column % terms // kw * dh - pt
            across[j] = column % kw * dw - pl
            if column >= columns:
                down[j] = -(1 << 40)  # reads nothing
            for i in range(micro):
                total[i, j] = zero
        for k0 in range(first, last, tile):
            k = k0 + tx
            image, oy, ox = k // pixels, k % pixels // dy.shape[3], k % pixels % dy.shape[3]
            for i in range(micro):
                row = row0 + ty + i * tile
                value = zero
                if row < rows and k < depth:
                    value = dy[image, group * rows + row, oy, ox]
                left[ty + i * tile, tx] = value
            k = k0 + ty
            image, oy, ox = k // pixels, k % pixels // dy.shape[3], k % pixels % dy.shape[3]
            for j in range(micro):
                value = zero
                iy, ix = oy * sh + down[j], ox * sw + across[j]
                if k < depth and iy >= 0 and iy < height and ix >= 0 and ix < width:
                    value = x[image, channel[j], iy, ix]
                right[ty, tx + j * tile] = value
            cuda.syncthreads()
            for i in range(micro):
                for j in range(micro):
                    part[i, j] = zero
            for t in range(tile):
                for i in range(micro):
                    for j in range(micro):
                        part[i, j] += left[ty + i * tile, t] * right[t, tx + j * tile]
            for i in range(micro):
                for j in range(micro):
                    total[i, j] += part[i, j]
            cuda.syncthreads()
        for i in range(micro):
            row = row0 + ty + i * tile
            if row < rows:
                for j in range(micro):
                    column = column0 + tx + j * tile
                    if column < columns:
                        partials[split, group * rows + row, column] = total[i, j]

    return _conv2d_grad_weight_cuda


@cuda.jit
def _add_splits_cuda(partials, dweight):
    """dweight[i] = sum over the splits of partials[split, i], one after another."""
    i = cuda.grid(1)
    if i < dweight.shape[0]:
        total = partials[0, i]
        for split in range(1, partials.shape[0]):
            total += partials[split, i]
        dweight[i] = total


@lru_cache(maxsize=64)
def _sum_cuda_kernel(threads, real):
    """sums[chunk, o] = the sum of dy[i, o, pixel] over one chunk of the images: a block each, a tree at its end."""

    @cuda.jit
    def _sum_channels_cuda(dy, sums):
        shared = cuda.shared.array(threads, real)
        o, chunk, thread = cuda.blockIdx.x, cuda.blockIdx.y, cuda.threadIdx.x
        pixels, chunks = dy.shape[2], sums.shape[0]
        first = chunk * dy.shape[0] // chunks
        count = ((chunk + 1) * dy.shape[0] // chunks - first) * pixels
        total, lost = dy.dtype.type(0), dy.dtype.type(0)
        for i in range(thread, count, threads):  # compensated: what an addition rounds off is kept for the next one
            value = dy[first + i // pixels, o, i % pixels] - lost
            longer = total + value
            lost = (longer - total) - value
            total = longer
        shared[thread] = total
        cuda.syncthreads()
        size = threads
        while size > 1:
            half = (size + 1) // 2
            if thread < size - half:
                shared[thread] += shared[thread + half]
            cuda.syncthreads()
            size = half
        if thread == 0:
            sums[chunk, o] = shared[0]

    return _sum_channels_cuda


def _grid(columns: int, rows: int, depth: int, micro: int):
    wide = launch.TILE * micro
    return (ceil(columns, wide), ceil(rows, wide), depth), (launch.TILE, launch.TILE)


def _micro(rows: int) -> int:
    """Results of a thread per side: fewer where a group has so few rows that threads would be idle."""
    return _MICRO if rows > launch.TILE else 1


def conv2d_forward_cuda(x, weight, bias, y, sh, sw, pt, pl, dh, dw, groups):
    """The contract's conv2d_forward."""
    if y.size == 0:
        return
    rows = weight.shape[0] // groups
    micro = _micro(rows)
    grid, block = _grid(y.size // y.shape[1], rows, groups, micro)
    _forward_cuda_kernel(launch.TILE, micro, _real(y))[grid, block](x, weight, bias, y, sh, sw, pt, pl, dh, dw, groups)


def conv2d_grad_input_cuda(dy, weight, dx, sh, sw, pt, pl, dh, dw, groups):
    """The contract's conv2d_grad_input."""
    if dx.size == 0:
        return
    rows = weight.shape[1]
    micro = _micro(rows)
    grid, block = _grid(dx.size // dx.shape[1], rows, groups, micro)
    _grad_input_cuda_kernel(launch.TILE, micro, _real(dx))[grid, block](dy, weight, dx, sh, sw, pt, pl, dh, dw, groups)


def conv2d_grad_weight_cuda(dy, x, dbias, dweight, sh, sw, pt, pl, dh, dw, groups):
    """The contract's conv2d_grad_weight."""
    if dbias.size:
        conv2d_grad_bias_cuda(dy, dbias)
    out, per_group, kh, kw = dweight.shape
    if dweight.size == 0:
        return
    rows, columns = out // groups, per_group * kh * kw
    micro = _micro(min(rows, columns))
    (across, down, _), block = _grid(columns, rows, groups, micro)
    tiles = ceil(dy.size // out, launch.TILE)
    splits = max(1, min(_SPLIT_BLOCKS // (across * down * groups), tiles // 8))
    kernel = _grad_weight_cuda_kernel(launch.TILE, micro, _real(dy))[(across, down, groups * splits), block]
    if splits == 1:
        kernel(dy, x, dweight.reshape(1, out, columns), kh, kw, sh, sw, pt, pl, dh, dw, groups)
        return
    partials = empty((splits, out, columns), dweight.dtype, CUDA)
    kernel(dy, x, partials, kh, kw, sh, sw, pt, pl, dh, dw, groups)
    _add_splits_cuda[launch.line(dweight.size)](partials.reshape(splits, dweight.size), dweight.reshape(dweight.size))


def conv2d_grad_bias_cuda(dy, dbias):
    """The contract's conv2d_grad_bias."""
    n, out, oh, ow = dy.shape
    if out == 0:
        return
    kernel = _sum_cuda_kernel(launch.THREADS, _real(dy))
    chunks = max(1, min(n, _SPLIT_BLOCKS // out))
    partials = empty((chunks, out), dy.dtype, CUDA)
    kernel[(out, chunks), launch.THREADS](dy.reshape(n, out, oh * ow), partials)
    kernel[(out, 1), launch.THREADS](partials.reshape(chunks, out, 1), dbias.reshape(1, out))


_SCALARS = ", ".join(["int64"] * 7)
_A2, _A3, _A4 = "float32[:, ::1]", "float32[:, :, ::1]", "float32[:, :, :, ::1]"
CUDA_KERNELS = (
    *(
        entry
        for micro in (1, _MICRO)
        for entry in (
            (
                partial(_forward_cuda_kernel, 16, micro, numba.float32),
                f"void({_A4}, {_A4}, float32[::1], {_A4}, {_SCALARS})",
            ),
            (partial(_grad_input_cuda_kernel, 16, micro, numba.float32), f"void({_A4}, {_A4}, {_A4}, {_SCALARS})"),
            (
                partial(_grad_weight_cuda_kernel, 16, micro, numba.float32),
                f"void({_A4}, {_A4}, {_A3}, int64, int64, {_SCALARS})",
            ),
        )
    ),
    (_add_splits_cuda, f"void({_A2}, float32[::1])"),
    (partial(_sum_cuda_kernel, 128, numba.float32), f"void({_A3}, {_A2})"),
)
