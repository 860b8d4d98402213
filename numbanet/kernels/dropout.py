"""Random numbers from a counter, and dropout.

The generator is Philox-4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011): a
bijection of 128-bit counters under a 64-bit key, here the seed. It has no state: random number q of a seed is
word q % 4 of counter q // 4, whoever computes it, on any device with any number of threads.

Contract::

    dropout_forward(x, y, mask, p, seed, offset)        y[i] = x[i] / (1 - p) where u(offset + i) >= p, else x[i] * 0
    dropout_backward(dy, mask, dx, p)                   dx[i] = dy[i] / (1 - p) or dy[i] * 0 by forward's mask
    alpha_dropout_forward(x, y, mask, p, seed, offset)  y[i] = a x[i] + b where u(offset + i) >= p, else a (-ALPHA) + b
    alpha_dropout_backward(dy, mask, dx, p)             dx[i] = a dy[i] or dy[i] * 0 likewise
    channel_affine(x, factor, shift, y)                 y[c, j] = x[c, j] * factor[c] + shift[c]
    uniform(out, low, high, seed, offset)           out[i] = low + (high - low) u(offset + i)
    normal(out, mean, std, seed, offset)            out[i] = mean + std z(offset + i)

i counts the elements of an array in C order; u(q) in [0, 1) is number q's upper 24 bits (32 bits for float64 output of
``uniform``); z(q) comes from the pair of numbers {q, q ^ 1} by Box and Muller. a and b keep mean 0 and variance 1, where
-ALPHA is what selu tends to at -infinity. mask is uint8 with 16 elements to each two bytes, ``mask_bytes(n)`` in all: bit
i % 8 of byte i // 8 says whether element i was kept, and bits beyond the last element are 0. In ``channel_affine`` x and y
are (C, J), factor and shift (C,), of one dtype. seed is in [0, 2**63) and offset >= 0; the caller moves the offset on by the
array's size, rounded up to a multiple of 4 if it likes speed. Arrays are float32 or float64; outputs are overwritten and
may be the input. A dropped NaN or infinity is NaN (it is multiplied by 0, as PyTorch does). The bits are the same on
both devices; z is so up to the rounding of log, sin and cos.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.np.arrayobj import make_array

from numbanet.devices import cuda
from numbanet.kernels import launch
from numbanet.kernels.index import fma, intrinsic, log_, read, reread, scalar, write
from numbanet.kernels.kernel import Kernel, jit
from numbanet.kernels.parallel import tasks
from numbanet.kernels.simd import Vectors

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


_FIRST = ir.Constant(ir.IntType(32), 0)
GROUP = 16  # elements whose bits are made, or used, at once


def _chunks(n: int) -> int:
    """How many tasks of CHUNK numbers n numbers are."""
    return -(-n // CHUNK)


def mask_bytes(n: int) -> int:
    """The bytes of the mask of n elements."""
    return (n + GROUP - 1) // GROUP * GROUP // 8


def _reference_kept(n: int, p: float, seed: int, offset: int, mask: np.ndarray) -> np.ndarray:
    """Whether each element is kept, as booleans; also written into the mask."""
    kept = (_reference_words(n, seed, offset) >> 8) * 2.0**-24 >= p
    bits = np.packbits(kept, bitorder="little")
    mask[...] = 0
    mask[: bits.size] = bits
    return kept


def dropout_forward_reference(x, y, mask, p, seed, offset):  # type: ignore[no-untyped-def]
    kept = _reference_kept(x.size, p, seed, offset, mask).reshape(x.shape)
    with np.errstate(invalid="ignore"):
        y[...] = x * np.where(kept, 1 / (1 - p) if p < 1 else 0, 0).astype(x.dtype)


def dropout_backward_reference(dy, mask, dx, p):  # type: ignore[no-untyped-def]
    kept = np.unpackbits(mask, bitorder="little")[: dy.size].reshape(dy.shape)
    with np.errstate(invalid="ignore"):
        dx[...] = dy * np.where(kept, 1 / (1 - p) if p < 1 else 0, 0).astype(dy.dtype)


@intrinsic
def _pack(typingctx, words, i, threshold):  # type: ignore[no-untyped-def]
    """The bits "upper 24 bits >= threshold" of the words i .. i + 15, the first word's the lowest."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.VectorType(ir.IntType(32), GROUP)
        array = make_array(signature.args[0])(context, builder, args[0])
        found = builder.load(builder.bitcast(builder.gep(array.data, [args[1]]), kind.as_pointer()))
        found.align = 4
        one = builder.insert_element(ir.Constant(kind, ir.Undefined), builder.trunc(args[2], ir.IntType(32)), _FIRST)
        limit = builder.shuffle_vector(one, one, ir.Constant(kind, [0] * GROUP))
        upper = builder.lshr(found, ir.Constant(kind, [8] * GROUP))
        return builder.bitcast(builder.icmp_unsigned(">=", upper, limit), ir.IntType(GROUP))

    return types.uint16(words, types.intp, types.int64), codegen


@intrinsic
def _apply(typingctx, x, x0, bits, factor, shift, dropped, y, y0):  # type: ignore[no-untyped-def]
    """``y[y0 + k] = x[x0 + k] * factor + shift`` where bit k is 1, else ``x[x0 + k] * 0 + dropped``, for k < 16."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        v = Vectors(context, builder, signature, args, 0)
        kept = builder.bitcast(args[2], ir.VectorType(ir.IntType(1), GROUP))
        zero = ir.Constant(ir.VectorType(v.scalar, GROUP), [0.0] * GROUP)
        factors = builder.select(kept, v.splat(args[3], GROUP), zero)
        shifts = builder.select(kept, v.splat(args[4], GROUP), v.splat(args[5], GROUP))
        value = v.load(v.pointer(0), v.index(0), GROUP)
        v.store(builder.fadd(builder.fmul(value, factors), shifts), v.pointer(6), v.index(0), GROUP)
        return context.get_dummy_value()

    n = x.dtype
    return types.void(x, types.intp, types.uint16, n, n, n, y, types.intp), codegen


@jit
def _apply_mask(x, y, mask, start, stop, factor, shift, dropped):  # type: ignore[no-untyped-def]
    """The elements start .. stop - 1 (start a multiple of 16) by the bits of the mask, 16 at a time."""
    number = x.dtype.type
    whole = start + (stop - start) // GROUP * GROUP
    for i in range(start, whole, GROUP):
        bits = np.uint16(mask[i // 8]) | np.uint16(np.uint16(mask[i // 8 + 1]) << np.uint16(8))
        _apply(x, i, np.uint16(bits), factor, shift, dropped, y, i)
    for i in range(whole, stop):
        kept = (mask[i // 8] >> np.uint8(i % 8)) & 1 == 1
        y[i] = x[i] * (factor if kept else number(0)) + (shift if kept else dropped)


@tasks
def _dropout_flat(task, x, y, mask, threshold, scale, shift, dropped, seed, offset):  # type: ignore[no-untyped-def]
    """y = x * scale + shift where a number's upper 24 bits are >= threshold, else x * 0 + dropped."""
    number = x.dtype.type
    skip = offset % 4
    start = task * CHUNK
    stop = min(start + CHUNK, x.size)
    words = np.empty(CHUNK + 4 + GROUP, np.uint32)
    _fill_words(words[: (skip + stop - start + 3) // 4 * 4], (offset - skip + start) // 4, seed)
    for i in range(start, stop, GROUP):
        bits = _pack(words, skip + i - start, threshold)
        if stop - i < GROUP:
            bits &= np.uint16((1 << (stop - i)) - 1)
        mask[i // 8] = np.uint8(bits & np.uint16(255))
        mask[i // 8 + 1] = np.uint8(bits >> np.uint16(8))
    _apply_mask(x, y, mask, start, stop, number(scale), number(shift), number(dropped))


@tasks
def _masked_flat(task, dy, mask, dx, scale):  # type: ignore[no-untyped-def]
    """dx = dy * scale where the mask's bit is 1, else dy * 0."""
    number = dy.dtype.type
    start = task * CHUNK
    _apply_mask(dy, dx, mask, start, min(start + CHUNK, dy.size), number(scale), number(0), number(0))


@cuda.jit
def _dropout_cuda_flat(x, y, mask, scale, shift, dropped, threshold, seed, offset):  # type: ignore[no-untyped-def]
    """A thread for each byte of the mask: eight elements, which two or three blocks of four numbers serve."""
    byte = cuda.grid(1)
    if byte < mask.size:
        bits = 0
        first = offset + 8 * byte
        for block in range(first // 4, (first + 11) // 4):
            words = random_words(block, seed)
            for k in range(4):
                place = 4 * block + k - first
                i = 8 * byte + place
                if place >= 0 and place < 8 and i < x.size:
                    kept = np.int64(words[k] >> np.uint64(8)) >= threshold
                    y[i] = x[i] * scale + shift if kept else x[i] * x.dtype.type(0) + dropped
                    bits |= (1 << place) if kept else 0
        mask[byte] = bits


@cuda.jit
def _masked_cuda_flat(dy, mask, dx, scale):  # type: ignore[no-untyped-def]
    i = cuda.grid(1)
    if i < dy.size:
        kept = (mask[i // 8] >> (i % 8)) & 1
        dx[i] = dy[i] * (scale if kept != 0 else dy.dtype.type(0))


def _dropout(
    name: str, reference: Callable[..., None], affine: Callable[[float], tuple[float, float, float]]
) -> Kernel:
    """The kernel ``name(x, y, mask, p, seed, offset)``; ``affine(p)`` is (scale, shift, dropped) as in ``_dropout_flat``."""

    def cpu(x: Any, y: Any, mask: Any, p: float, seed: int, offset: int) -> None:
        threshold = math.ceil(p * 2**24)  # u >= p as a comparison of integers
        scale, shift, dropped = map(float, affine(p))
        flat = x.reshape(-1), y.reshape(-1), mask
        _dropout_flat(_chunks(x.size), x.size, *flat, threshold, scale, shift, dropped, seed, offset)

    def cuda_(x: Any, y: Any, mask: Any, p: float, seed: int, offset: int) -> None:
        if x.size:
            numbers = [x.dtype.type(value) for value in affine(p)]
            _dropout_cuda_flat[launch.line(mask.size)](
                x.reshape(-1), y.reshape(-1), mask, *numbers, math.ceil(p * 2**24), seed, offset
            )

    return Kernel(name, reference=reference, cpu=cpu, cuda=cuda_)


def _masked(name: str, reference: Callable[..., None], scale: Callable[[float], float]) -> Kernel:
    """The kernel ``name(dy, mask, dx, p)``."""

    def cpu(dy: Any, mask: Any, dx: Any, p: float) -> None:
        _masked_flat(_chunks(dy.size), dy.size, dy.reshape(-1), mask, dx.reshape(-1), float(scale(p)))

    def cuda_(dy: Any, mask: Any, dx: Any, p: float) -> None:
        if dy.size:
            _masked_cuda_flat[launch.line(dy.size)](dy.reshape(-1), mask, dx.reshape(-1), dy.dtype.type(scale(p)))

    return Kernel(name, reference=reference, cpu=cpu, cuda=cuda_)


def _scale(p: float) -> float:
    return 1 / (1 - p) if p < 1 else 0.0


dropout_forward = _dropout("dropout_forward", dropout_forward_reference, lambda p: (_scale(p), 0.0, 0.0))
dropout_backward = _masked("dropout_backward", dropout_backward_reference, _scale)


# ------------------------------------------------------------------------------------------------- alpha dropout

ALPHA = 1.7580993408473766  # selu's scale times its alpha


def alpha_affine(p: float) -> tuple[float, float, float]:
    """(a, b, b - a ALPHA) for p < 1: a x + b has mean 0 and variance 1 where x is -ALPHA with probability p."""
    a = ((1 - p) * (1 + p * ALPHA**2)) ** -0.5 if p < 1 else 0.0
    b = a * p * ALPHA
    return a, b, b - a * ALPHA


def alpha_dropout_forward_reference(x, y, mask, p, seed, offset):  # type: ignore[no-untyped-def]
    kept = _reference_kept(x.size, p, seed, offset, mask).reshape(x.shape)
    a = (1 - p + p * (1 - p) * ALPHA**2) ** -0.5
    y[...] = a * np.where(kept, x.astype(np.float64), -ALPHA) + a * p * ALPHA


def alpha_dropout_backward_reference(dy, mask, dx, p):  # type: ignore[no-untyped-def]
    kept = np.unpackbits(mask, bitorder="little")[: dy.size].reshape(dy.shape)
    dx[...] = np.where(kept, dy / np.sqrt(1 - p + p * (1 - p) * ALPHA**2), 0)


alpha_dropout_forward = _dropout("alpha_dropout_forward", alpha_dropout_forward_reference, alpha_affine)
alpha_dropout_backward = _masked(
    "alpha_dropout_backward", alpha_dropout_backward_reference, lambda p: alpha_affine(p)[0]
)


# ------------------------------------------------------------------------------------------------- whole channels


def channel_affine_reference(x, factor, shift, y):  # type: ignore[no-untyped-def]
    with np.errstate(invalid="ignore"):
        y[...] = x * factor[:, None] + shift[:, None]


@tasks
def _channel_flat(task, x, factor, shift, y):  # type: ignore[no-untyped-def]
    scale, moved = factor[task], shift[task]
    source, target = x[task], y[task]
    for j in range(source.size):
        write(target, j, read(source, j) * scale + moved)


def _channel_affine_cpu(x: Any, factor: Any, shift: Any, y: Any) -> None:
    _channel_flat(x.shape[0], x.size, x, factor, shift, y)


@cuda.jit
def _channel_cuda_flat(x, factor, shift, y, inside):  # type: ignore[no-untyped-def]
    i = cuda.grid(1)
    if i < x.size:
        y[i] = x[i] * factor[i // inside] + shift[i // inside]


def _channel_affine_cuda(x: Any, factor: Any, shift: Any, y: Any) -> None:
    if x.size:
        _channel_cuda_flat[launch.line(x.size)](x.reshape(-1), factor, shift, y.reshape(-1), x.shape[1])


channel_affine = Kernel(
    "channel_affine", reference=channel_affine_reference, cpu=_channel_affine_cpu, cuda=_channel_affine_cuda
)


# ------------------------------------------------------------------------------------------------------- uniform


def uniform_reference(out, low, high, seed, offset):  # type: ignore[no-untyped-def]
    words = _reference_words(out.size, seed, offset)
    u = (words >> 8) * 2.0**-24 if out.dtype == np.float32 else words * 2.0**-32
    out[...] = (low + (high - low) * u).reshape(out.shape)


def _unit(dtype: np.dtype) -> tuple[int, float]:
    """(bits to drop, value of one step) that turn a word into [0, 1) without rounding."""
    return (8, 2.0**-24) if dtype == np.float32 else (0, 2.0**-32)


@tasks
def _uniform_flat(task, out, low, span, unit, drop, seed, offset):  # type: ignore[no-untyped-def]
    number = out.dtype.type
    least, step = number(low), number(span) * number(unit)
    n = out.size
    skip = offset % 4
    start = task * CHUNK
    words = np.empty(min(CHUNK, (skip + n - start + 3) // 4 * 4), np.uint32)
    _fill_words(words, (offset - skip + start) // 4, seed)
    first = max(start, skip)
    for i in range(min(start + CHUNK, skip + n) - first):
        write(out, first - skip + i, fma(number(reread(words, first - start + i) >> np.uint32(drop)), step, least))


def _uniform_cpu(out: Any, low: float, high: float, seed: int, offset: int) -> None:
    drop, unit = _unit(out.dtype)
    numbers = float(low), float(high - low), unit, drop, seed, offset
    _uniform_flat(_chunks(offset % 4 + out.size), out.size, out.reshape(-1), *numbers)


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


@tasks
def _normal_flat(task, out, mean, std, seed, offset):  # type: ignore[no-untyped-def]
    number = out.dtype.type
    centre, scale = number(mean), number(std)
    n = out.size
    skip = offset % 4
    start = task * CHUNK
    words = np.empty(min(CHUNK, (skip + n - start + 3) // 4 * 4), np.uint32)
    normals = np.empty(words.size, out.dtype)
    _fill_words(words, (offset - skip + start) // 4, seed)
    _fill_normals(words, normals)
    first = max(start, skip)
    for i in range(min(start + CHUNK, skip + n) - first):
        write(out, first - skip + i, fma(reread(normals, first - start + i), scale, centre))


def _normal_cpu(out: Any, mean: float, std: float, seed: int, offset: int) -> None:
    _normal_flat(_chunks(offset % 4 + out.size), out.size, out.reshape(-1), float(mean), float(std), seed, offset)


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
    (_dropout_cuda_flat, f"void(float32[::1], float32[::1], uint8[::1]{', float32' * 3}{', int64' * 3})"),
    (_masked_cuda_flat, "void(float32[::1], uint8[::1], float32[::1], float32)"),
    (_channel_cuda_flat, f"void({'float32[::1], ' * 4}int64)"),
    (_uniform_cuda_flat, "void(float32[::1], float32, float32, int64, int64, int64)"),
    (_normal_cuda_flat, "void(float32[::1], float32, float32, int64, int64)"),
)
