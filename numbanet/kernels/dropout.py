"""Random numbers from a counter, and dropout.

The generator is Philox-4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011): a
bijection of 128-bit counters under a 64-bit key, here the seed. It has no state: random number q of a seed is
word q % 4 of counter q // 4, whoever computes it, on any device with any number of threads.

Contract::

    dropout_forward(x, y, p, seed, offset)          y[i] = x[i] / (1 - p) where u(offset + i) >= p, else x[i] * 0
    dropout_backward(dy, dx, p, seed, offset)       dx[i] = dy[i] / (1 - p) or dy[i] * 0 likewise: no mask is stored
    alpha_dropout_forward(x, y, p, seed, offset)    y[i] = a x[i] + b where u(offset + i) >= p, else a (-ALPHA) + b
    alpha_dropout_backward(dy, dx, p, seed, offset) dx[i] = a dy[i] or dy[i] * 0 likewise
    uniform(out, low, high, seed, offset)           out[i] = low + (high - low) u(offset + i)
    normal(out, mean, std, seed, offset)            out[i] = mean + std z(offset + i)

i counts the elements of an array in C order; u(q) in [0, 1) is number q's upper 24 bits (32 bits for float64 output of
``uniform``); z(q) comes from the pair of numbers {q, q ^ 1} by Box and Muller. a and b keep mean 0 and variance 1, where
-ALPHA is what selu tends to at -infinity. seed is in [0, 2**63) and offset >= 0; the caller moves the offset on by the
array's size, rounded up to a multiple of 4 if it likes speed. Arrays are float32 or float64; outputs are overwritten and
may be the input. A dropped NaN or infinity is NaN (it is multiplied by 0, as PyTorch does). The bits are the same on
both devices; z is so up to the rounding of log, sin and cos.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import prange

from numbanet.devices import cuda
from numbanet.kernels import launch
from numbanet.kernels.index import fma, limit_threads, log_, read, reread, restore_threads, scalar, write
from numbanet.kernels.kernel import Kernel, jit

CHUNK = 1 << 12  # numbers of one task, made into a buffer in the first-level cache; a multiple of 4

_MULTIPLY_0, _MULTIPLY_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL_0, _WEYL_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


@scalar
def philox(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    """Ten rounds of Philox-4x32 on the counter (c0, c1, c2, c3) with the key (k0, k1): four 32-bit words as uint64."""
    c0, c1, c2, c3 = np.uint64(c0), np.uint64(c1), np.uint64(c2), np.uint64(c3)
    k0, k1 = np.uint64(k0), np.uint64(k1)
    for _ in range(10):
        left = _MULTIPLY_0 * c0
        right = _MULTIPLY_1 * c2
        c0, c1, c2, c3 = (right >> _HALF) ^ c1 ^ k0, right & _LOW, (left >> _HALF) ^ c3 ^ k1, left & _LOW
        k0, k1 = (k0 + _WEYL_0) & _LOW, (k1 + _WEYL_1) & _LOW
    return c0, c1, c2, c3


@scalar
def random_words(block, seed):  # type: ignore[no-untyped-def]
    """The numbers 4 block .. 4 block + 3 of a seed, 32 bits each."""
    low, high = np.uint64(block), np.uint64(seed)
    return philox(low & _LOW, low >> _HALF, np.uint64(0), np.uint64(0), high & _LOW, high >> _HALF)


@jit
def _fill_words(words, block, seed):  # type: ignore[no-untyped-def]
    """words[:] = the random numbers from 4 * block on (a whole number of blocks)."""
    first = np.uint64(block)
    for b in range(words.size // 4):
        w0, w1, w2, w3 = random_words(first + np.uint64(b), seed)
        write(words, 4 * b, w0)
        write(words, 4 * b + 1, w1)
        write(words, 4 * b + 2, w2)
        write(words, 4 * b + 3, w3)


def _reference_words(n: int, seed: int, offset: int) -> np.ndarray:
    """The numbers offset .. offset + n - 1 of a seed, by Python integers."""
    words = []
    for block in range(offset // 4, (offset + n + 3) // 4):
        counter, key = [block % 2**32, block >> 32, 0, 0], [seed % 2**32, seed >> 32]
        for _ in range(10):
            left, right = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
            counter = [
                (right >> 32) ^ counter[1] ^ key[0],
                right % 2**32,
                (left >> 32) ^ counter[3] ^ key[1],
                left % 2**32,
            ]
            key = [(key[0] + 0x9E3779B9) % 2**32, (key[1] + 0xBB67AE85) % 2**32]
        words += counter
    return np.array(words[offset % 4 : offset % 4 + n], np.uint64)


# ------------------------------------------------------------------------------------------------------- dropout


def dropout_forward_reference(x, y, p, seed, offset):  # type: ignore[no-untyped-def]
    u = (_reference_words(x.size, seed, offset) >> 8) * 2.0**-24
    with np.errstate(invalid="ignore"):
        y[...] = x * np.where(u.reshape(x.shape) >= p, 1 / (1 - p) if p < 1 else 0, 0).astype(x.dtype)


def dropout_backward_reference(dy, dx, p, seed, offset):  # type: ignore[no-untyped-def]
    dropout_forward_reference(dy, dx, p, seed, offset)


@jit(parallel=True)
def _dropout_flat(x, y, threshold, scale, shift, dropped, seed, offset):  # type: ignore[no-untyped-def]
    """y = x * scale + shift where a number's upper 24 bits are >= threshold, else x * 0 + dropped."""
    threads = limit_threads(x.size)
    number = x.dtype.type
    factor, kept_shift, dropped_shift = number(scale), number(shift), number(dropped)
    n = x.size
    skip = offset % 4
    for task in prange((skip + n + CHUNK - 1) // CHUNK):
        start = np.int64(task) * CHUNK  # in numbers, from the block in which offset lies
        words = np.empty(min(CHUNK, (skip + n - start + 3) // 4 * 4), np.uint32)
        _fill_words(words, (offset - skip + start) // 4, seed)
        first = max(start, skip)
        for i in range(min(start + CHUNK, skip + n) - first):
            kept = np.int32(reread(words, first - start + i) >> np.uint32(8)) >= np.int32(threshold)
            value = read(x, first - skip + i) * (factor if kept else number(0))
            write(y, first - skip + i, value + (kept_shift if kept else dropped_shift))
    restore_threads(threads)


@cuda.jit
def _dropout_cuda_flat(x, y, scale, shift, dropped, threshold, seed, offset):  # type: ignore[no-untyped-def]
    """A thread for each block of four numbers."""
    block = offset // 4 + cuda.grid(1)
    words = random_words(block, seed)
    for k in range(4):
        i = 4 * block + k - offset
        if i >= 0 and i < x.size:
            kept = np.int64(words[k] >> np.uint64(8)) >= threshold
            y[i] = x[i] * scale + shift if kept else x[i] * x.dtype.type(0) + dropped


def _dropout(
    name: str, reference: Callable[..., None], affine: Callable[[float], tuple[float, float, float]]
) -> Kernel:
    """The kernel ``name(x, y, p, seed, offset)``; ``affine(p)`` is (scale, shift, dropped) as in ``_dropout_flat``."""

    def cpu(x: Any, y: Any, p: float, seed: int, offset: int) -> None:
        threshold = math.ceil(p * 2**24)  # u >= p as a comparison of integers
        _dropout_flat(x.reshape(-1), y.reshape(-1), threshold, *affine(p), seed, offset)

    def cuda_(x: Any, y: Any, p: float, seed: int, offset: int) -> None:
        if x.size:
            numbers = [x.dtype.type(value) for value in affine(p)]
            _dropout_cuda_flat[launch.line(x.size // 4 + 2)](
                x.reshape(-1), y.reshape(-1), *numbers, math.ceil(p * 2**24), seed, offset
            )

    return Kernel(name, reference=reference, cpu=cpu, cuda=cuda_)


def _scale(p: float) -> tuple[float, float, float]:
    return (1 / (1 - p) if p < 1 else 0.0), 0.0, 0.0


dropout_forward = _dropout("dropout_forward", dropout_forward_reference, _scale)
dropout_backward = _dropout("dropout_backward", dropout_backward_reference, _scale)


# ------------------------------------------------------------------------------------------------- alpha dropout

ALPHA = 1.7580993408473766  # selu's scale times its alpha


def alpha_affine(p: float) -> tuple[float, float, float]:
    """(a, b, b - a ALPHA) for p < 1: a x + b has mean 0 and variance 1 where x is -ALPHA with probability p."""
    a = ((1 - p) * (1 + p * ALPHA**2)) ** -0.5 if p < 1 else 0.0
    b = a * p * ALPHA
    return a, b, b - a * ALPHA


def alpha_dropout_forward_reference(x, y, p, seed, offset):  # type: ignore[no-untyped-def]
    u = (_reference_words(x.size, seed, offset) >> 8) * 2.0**-24
    a = (1 - p + p * (1 - p) * ALPHA**2) ** -0.5
    y[...] = a * np.where(u.reshape(x.shape) >= p, x.astype(np.float64), -ALPHA) + a * p * ALPHA


def alpha_dropout_backward_reference(dy, dx, p, seed, offset):  # type: ignore[no-untyped-def]
    u = (_reference_words(dy.size, seed, offset) >> 8) * 2.0**-24
    dx[...] = np.where(u.reshape(dy.shape) >= p, dy / np.sqrt(1 - p + p * (1 - p) * ALPHA**2), 0)


alpha_dropout_forward = _dropout("alpha_dropout_forward", alpha_dropout_forward_reference, alpha_affine)
alpha_dropout_backward = _dropout(
    "alpha_dropout_backward", alpha_dropout_backward_reference, lambda p: (alpha_affine(p)[0], 0.0, 0.0)
)


# ------------------------------------------------------------------------------------------------------- uniform


def uniform_reference(out, low, high, seed, offset):  # type: ignore[no-untyped-def]
    words = _reference_words(out.size, seed, offset)
    u = (words >> 8) * 2.0**-24 if out.dtype == np.float32 else words * 2.0**-32
    out[...] = (low + (high - low) * u).reshape(out.shape)


def _unit(dtype: np.dtype) -> tuple[int, float]:
    """(bits to drop, value of one step) that turn a word into [0, 1) without rounding."""
    return (8, 2.0**-24) if dtype == np.float32 else (0, 2.0**-32)


@jit(parallel=True)
def _uniform_flat(out, low, span, unit, drop, seed, offset):  # type: ignore[no-untyped-def]
    threads = limit_threads(out.size)
    number = out.dtype.type
    least, step = number(low), number(span) * number(unit)
    n = out.size
    skip = offset % 4
    for task in prange((skip + n + CHUNK - 1) // CHUNK):
        start = np.int64(task) * CHUNK
        words = np.empty(min(CHUNK, (skip + n - start + 3) // 4 * 4), np.uint32)
        _fill_words(words, (offset - skip + start) // 4, seed)
        first = max(start, skip)
        for i in range(min(start + CHUNK, skip + n) - first):
            write(out, first - skip + i, fma(number(reread(words, first - start + i) >> np.uint32(drop)), step, least))
    restore_threads(threads)


def _uniform_cpu(out: Any, low: float, high: float, seed: int, offset: int) -> None:
    drop, unit = _unit(out.dtype)
    _uniform_flat(out.reshape(-1), float(low), float(high - low), unit, drop, seed, offset)


@cuda.jit
def _uniform_cuda_flat(out, low, step, drop, seed, offset):  # type: ignore[no-untyped-def]
    block = offset // 4 + cuda.grid(1)
    words = random_words(block, seed)
    for k in range(4):
        i = 4 * block + k - offset
        if i >= 0 and i < out.size:
            out[i] = low + step * out.dtype.type(words[k] >> np.uint64(drop))


def _uniform_cuda(out: Any, low: float, high: float, seed: int, offset: int) -> None:
    if out.size:
        drop, unit = _unit(out.dtype)
        number = out.dtype.type
        _uniform_cuda_flat[launch.line(out.size // 4 + 2)](
            out.reshape(-1), number(low), number(high - low) * number(unit), drop, seed, offset
        )


uniform = Kernel("uniform", reference=uniform_reference, cpu=_uniform_cpu, cuda=_uniform_cuda)


# -------------------------------------------------------------------------------------------------------- normal


def normal_reference(out, mean, std, seed, offset):  # type: ignore[no-untyped-def]
    start = offset - offset % 2
    words = _reference_words(out.size + 4, seed, start).astype(np.float64)
    words = words[: len(words) // 2 * 2].reshape(-1, 2)
    radius = np.sqrt(-2 * np.log((words[:, 0] + 1) * 2.0**-32))
    angle = 2 * np.pi * words[:, 1] * 2.0**-32
    z = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
    out[...] = (mean + std * z[offset - start :][: out.size]).reshape(out.shape)


@scalar
def _box_muller(a, b, number):  # type: ignore[no-untyped-def]
    """(a', cos t, sin t) of the words (a, b): a' = (a + 1) / 2**32 in (0, 1], t = 2 pi b / 2**32.

    The logarithm is left to the caller (each device has its own). The angle is reduced to an eighth of a turn and goes
    through the Taylor polynomials, since CUDA's sin and cos carry a float64 path for large angles.
    """
    quarters = number(b) * number(2.0**-30)  # in quarter turns
    quadrant = np.int64(quarters + number(0.5))
    x = (quarters - number(quadrant)) * number(math.pi / 2)
    z = x * x
    sine = number(0)
    cosine = number(0)
    for n in range(8, 0, -1):
        sine = (sine + number(1)) * z * (number(-1) / number(2 * n * (2 * n + 1)))
        cosine = (cosine + number(1)) * z * (number(-1) / number(2 * n * (2 * n - 1)))
    sine = x + x * sine
    cosine = number(1) + cosine
    odd = quadrant % 2 == 1
    first = sine if odd else cosine
    second = cosine if odd else sine
    first = -first if (quadrant == 1) | (quadrant == 2) else first
    second = -second if (quadrant == 2) | (quadrant == 3) else second
    return (number(a) + number(1)) * number(2.0**-32), first, second


@jit
def _fill_normals(words, normals):  # type: ignore[no-untyped-def]
    number = normals.dtype.type
    for pair in range(words.size // 2):
        a, x, y = _box_muller(reread(words, 2 * pair), reread(words, 2 * pair + 1), number)
        radius = math.sqrt(number(-2) * log_(a))
        write(normals, 2 * pair, radius * x)
        write(normals, 2 * pair + 1, radius * y)


@jit(parallel=True)
def _normal_flat(out, mean, std, seed, offset):  # type: ignore[no-untyped-def]
    threads = limit_threads(out.size)
    number = out.dtype.type
    centre, scale = number(mean), number(std)
    n = out.size
    skip = offset % 4
    for task in prange((skip + n + CHUNK - 1) // CHUNK):
        start = np.int64(task) * CHUNK
        words = np.empty(min(CHUNK, (skip + n - start + 3) // 4 * 4), np.uint32)
        normals = np.empty(words.size, out.dtype)
        _fill_words(words, (offset - skip + start) // 4, seed)
        _fill_normals(words, normals)
        first = max(start, skip)
        for i in range(min(start + CHUNK, skip + n) - first):
            write(out, first - skip + i, fma(reread(normals, first - start + i), scale, centre))
    restore_threads(threads)


def _normal_cpu(out: Any, mean: float, std: float, seed: int, offset: int) -> None:
    _normal_flat(out.reshape(-1), float(mean), float(std), seed, offset)


@cuda.jit
def _normal_cuda_flat(out, mean, std, seed, offset):  # type: ignore[no-untyped-def]
    number = out.dtype.type
    block = offset // 4 + cuda.grid(1)
    words = random_words(block, seed)
    for k in range(4):
        i = 4 * block + k - offset
        if i >= 0 and i < out.size:
            a, x, y = _box_muller(words[k // 2 * 2], words[k // 2 * 2 + 1], number)
            out[i] = mean + std * (math.sqrt(number(-2) * math.log(a)) * (x if k % 2 == 0 else y))


def _normal_cuda(out: Any, mean: float, std: float, seed: int, offset: int) -> None:
    if out.size:
        number = out.dtype.type
        _normal_cuda_flat[launch.line(out.size // 4 + 2)](out.reshape(-1), number(mean), number(std), seed, offset)


normal = Kernel("normal", reference=normal_reference, cpu=_normal_cpu, cuda=_normal_cuda)

CUDA_KERNELS = (
    (_dropout_cuda_flat, f"void(float32[::1], float32[::1]{', float32' * 3}{', int64' * 3})"),
    (_uniform_cuda_flat, "void(float32[::1], float32, float32, int64, int64, int64)"),
    (_normal_cuda_flat, "void(float32[::1], float32, float32, int64, int64)"),
)
