"""Tensor cores: the warp's matrix instructions, what they expect where, and the tile product built on them.

Contract. A *warp* (32 lanes) multiplies a 16 x 8 tile of words by an 8 x 8 tile of words and adds the product to a 16 x 8
tile of float32. A **word** is 32 bits: one float32 that is rounded to TF32 (8 bits of exponent, 10 of mantissa), or two
halves (float16 or bfloat16) that follow one another along the sum. In words, all three kinds have one and the same
layout, so that everything below is written once:

    kind        instruction                    words of depth   terms   rounding of the inputs
    tf32        mma.m16n8k8  (tf32, f32 sums)        8             8    to nearest, ties away (cvt.rna)
    float16     mma.m16n8k16 (f16,  f32 sums)        8            16    none, they are halves already
    bfloat16    mma.m16n8k16 (bf16, f32 sums)        8            16    none

Both operands lie in shared memory as rows of ``DEPTH`` words that run along the sum: rows of the left operand are rows
of the result, rows of the right operand are its columns. ``place`` says where a word lies (swizzled, see there). Halves travel as
uint16 bits. Nothing here allocates; ``multiply`` accumulates (+=) into the caller's registers; NaN and infinity go the
way of the multiplications and additions.

The functions of the first part say in plain Python which lane holds what; tests compare them with the tables of the PTX
manual (sections "Matrix fragments for mma.m16n8k8" and "mma.m16n8k16 with floating point type", and "ldmatrix") and run
the kernels with an emulation that is made of them. The second part is the instructions, PTX as inline assembly, and the only
place in the project that holds any. The third is the tile product that matrix products and convolutions share. All need
compute capability 8.0. **Not measured on hardware yet**: off by default, see ``numbanet.backends``.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba import types

from numbanet import backends, devices
from numbanet.devices import cuda, intrinsic
from numbanet.kernels.index import scalar

KINDS = ("tf32", "float16", "bfloat16")
DEPTH = 16  # words of a shared-memory row: two instructions deep, 64 bytes, four 16-byte chunks
CHUNK = 4  # words of a 16-byte chunk, the unit of ldmatrix and of the widest copies
STAGES = 3  # tiles in shared memory at a time: one being multiplied, two on their way

# ------------------------------------------------------------------------------------------- which lane holds which word


def left_word(lane: int, register: int) -> tuple[int, int]:
    """(row, word) of the left 16 x 8 tile that a lane holds in one of its four registers."""
    return lane // 4 + 8 * (register % 2), lane % 4 + 4 * (register // 2)


def right_word(lane: int, register: int) -> tuple[int, int]:
    """(column, word) of the right 8 x 8 tile that a lane holds in one of its two registers."""
    return lane // 4, lane % 4 + 4 * register


def result_element(lane: int, register: int) -> tuple[int, int]:
    """(row, column) of the 16 x 8 result that a lane holds in one of its four registers."""
    return lane // 4 + 8 * (register // 2), lane % 4 * 2 + register % 2


def loaded_word(lane: int, register: int) -> tuple[int, int]:
    """(the lane that named the row, word of that row) that ``load_matrices`` puts into a lane's register.

    The instruction reads four 8 x 4 tiles of words: lanes 8 r to 8 r + 7 name the eight rows of the tile that goes
    to register r, and each lane gets the word that the fragments above want.
    """
    return 8 * register + lane // 4, lane % 4


# What each lane names, so that four registers come out as one left fragment, or as two right fragments side by side:
#
#   left: words 0-3  4-7       right: words 0-3  4-7
#   rows 0-7   | r0 | r2 |     columns 0-7  | r0 | r1 |
#   rows 8-15  | r1 | r3 |     columns 8-15 | r2 | r3 |


@scalar
def left_row(lane):
    """(row, chunk of the instruction's two) of the left tile that a lane names to ``load_matrices``."""
    return lane % 16, lane // 16


@scalar
def right_row(lane):
    """(column, chunk of the instruction's two) of two right tiles side by side that a lane names to ``load_matrices``."""
    return lane % 8 + lane // 16 * 8, lane // 8 % 2


@scalar
def place(row, word):
    """Where a word lies in a shared-memory tile, in words from its start.

    Rows are 64 bytes, two of them cross all 32 banks. The chunks of a row trade places by bits 1 and 2 of the row's number,
    so that the eight chunks that ldmatrix reads together (one chunk number, eight rows) lie in different banks::

        row 0   0 1 2 3      row 1   0 1 2 3        the place of chunks 0 1 2 3
        row 2   1 0 3 2      row 3   1 0 3 2
        row 4   2 3 0 1      row 5   2 3 0 1
        row 6   3 2 1 0      row 7   3 2 1 0
    """
    return row * 16 + ((word // 4) ^ (row // 2 % 4)) * 4 + word % 4


# ------------------------------------------------------------------------------------------------------- instructions


def _address(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """Pointer to element ``index`` of a C-contiguous 1-D array."""
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [index])


def _shared(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """Word ``index`` of a shared array, as the 32-bit address that PTX instructions take."""
    pointer = context.make_array(array_type)(context, builder, array).data
    inside = builder.addrspacecast(pointer, ir.PointerType(pointer.type.pointee, addrspace=3))
    word = ir.IntType(32)
    offset = builder.mul(builder.trunc(index, word), ir.Constant(word, 4))
    return builder.add(builder.ptrtoint(inside, word), offset)


def _assemble(builder: Any, result: Any, code: str, constraints: str, args: Any, *, keep: str = "") -> Any:
    """One instruction. ``keep="order"``: it stays where it is among others of its kind and memory accesses;
    ``keep="lanes"``: the compiler must not let lanes part before it, either."""
    assembly = ir.InlineAsm(
        ir.FunctionType(result, [arg.type for arg in args]), code, constraints, side_effect=bool(keep)
    )
    return builder.call(assembly, args, attrs=("convergent",) if keep == "lanes" else ())


def _tuple(builder: Any, values: Any, element: Any, count: int) -> Any:
    """What assembly returned (a struct of registers) as numba's tuple (an array)."""
    result = ir.Constant(ir.ArrayType(element, count), ir.Undefined)
    for i in range(count):
        result = builder.insert_value(result, builder.extract_value(values, i), i)
    return result


@cache
def multiply_add(kind: str) -> Any:
    """``multiply_add(kind)(a0, a1, a2, a3, b0, b1, c0, c1, c2, c3)``: the warp's product; a lane's four new sums."""
    shape, name = {"tf32": ("m16n8k8", "tf32"), "float16": ("m16n8k16", "f16"), "bfloat16": ("m16n8k16", "bf16")}[kind]
    code = (
        f"mma.sync.aligned.{shape}.row.col.f32.{name}.{name}.f32 "
        "{$0,$1,$2,$3}, {$4,$5,$6,$7}, {$8,$9}, {$10,$11,$12,$13};"
    )

    @intrinsic
    def multiply_add(typingctx, a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):  # type: ignore[no-untyped-def]
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            real = ir.FloatType()
            sums = _assemble(
                builder, ir.LiteralStructType([real] * 4), code, "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f", args, keep="lanes"
            )
            return _tuple(builder, sums, real, 4)

        return types.UniTuple(types.float32, 4)(*[types.uint32] * 6, *[types.float32] * 4), codegen

    return multiply_add


@intrinsic
def load_matrices(typingctx, words, at):  # type: ignore[no-untyped-def]
    """``load_matrices(words, at)``: four 8 x 4 tiles of shared memory, a word of each to a lane (``loaded_word``).

    Each lane names in ``at`` the first word of one row of four words, a multiple of four.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = ir.IntType(32)
        address = _shared(context, builder, signature.args[0], args[0], args[1])
        code = "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {$0,$1,$2,$3}, [$4];"
        registers = ir.LiteralStructType([word] * 4)
        loaded = _assemble(builder, registers, code, "=r,=r,=r,=r,r,~{memory}", [address], keep="lanes")
        return _tuple(builder, loaded, word, 4)

    return types.UniTuple(types.uint32, 4)(words, types.intp), codegen


@intrinsic
def round_tf32(typingctx, word):  # type: ignore[no-untyped-def]
    """The bits of a float32, rounded to TF32: to nearest, ties away from zero."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = builder.bitcast(args[0], ir.FloatType())
        return _assemble(builder, ir.IntType(32), "cvt.rna.tf32.f32 $0, $1;", "=r,f", [value])

    return types.uint32(types.uint32), codegen


def _copy(width: int, cached: str) -> Any:
    """An asynchronous copy of ``width`` bytes: cp.async, whose source size of 0 writes zeros and reads nothing."""

    @intrinsic
    def copy(typingctx, words, at, source, index, valid):  # type: ignore[no-untyped-def]
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            word = ir.IntType(32)
            target = _shared(context, builder, signature.args[0], args[0], args[1])
            # Where nothing is read the address is the array's start, so that it is a legal one.
            index = builder.select(args[4], args[3], ir.Constant(args[3].type, 0))
            begin = _address(context, builder, signature.args[2], args[2], index)
            size = builder.select(args[4], ir.Constant(word, width), ir.Constant(word, 0))
            begin = builder.addrspacecast(begin, ir.PointerType(begin.type.pointee, addrspace=1))
            begin = builder.ptrtoint(begin, ir.IntType(64))
            code = f"cp.async.{cached}.shared.global [$0], [$1], {width}, $2;"
            _assemble(builder, ir.VoidType(), code, "r,l,r,~{memory}", [target, begin, size], keep="order")
            return context.get_dummy_value()

        return types.void(words, types.intp, source, types.intp, types.boolean), codegen

    return copy


# ``copy_16(words, at, source, index, valid)``: 16 bytes from source[index] on to words[at] on, both 16-byte aligned, or
# zeros where ``valid`` is false. They arrive when ``wait_copies`` says so, for this thread, and for others after the
# barrier that follows. ``copy_4`` copies one word. The first passes the first-level cache by, the second must not.
copy_16 = _copy(16, "cg")
copy_4 = _copy(4, "ca")


@intrinsic
def commit_copies(typingctx):  # type: ignore[no-untyped-def]
    """Close a group of copies: all that this thread has asked for since the last group."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _assemble(builder, ir.VoidType(), "cp.async.commit_group;", "~{memory}", [], keep="order")
        return context.get_dummy_value()

    return types.void(), codegen


@cache
def wait_copies(pending: int) -> Any:
    """``wait_copies(pending)()``: wait until at most ``pending`` of this thread's youngest groups are still on their way."""

    @intrinsic
    def wait_copies(typingctx):  # type: ignore[no-untyped-def]
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            _assemble(builder, ir.VoidType(), f"cp.async.wait_group {pending};", "~{memory}", [], keep="order")
            return context.get_dummy_value()

        return types.void(), codegen

    return wait_copies


@intrinsic
def quotient(typingctx, a, b):  # type: ignore[no-untyped-def]
    """``quotient(a, b)``: a // b of numbers from 0 to 2**31 - 1, in 32 bits (numba's ``//`` takes 64, several times as long)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.udiv(*args)

    return types.int32(types.int32, types.int32), codegen


@cache
def widen(kind: str) -> Any:
    """``widen(kind)(bits)``: the float32 of a half's 16 bits (of a float32 itself, for tf32)."""

    @intrinsic
    def widen(typingctx, bits):  # type: ignore[no-untyped-def]
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            if kind == "tf32":
                return args[0]
            if kind == "float16":
                return _assemble(builder, ir.FloatType(), "cvt.f32.f16 $0, $1;", "=f,h", args)
            high = builder.shl(builder.zext(args[0], ir.IntType(32)), ir.Constant(ir.IntType(32), 16))
            return builder.bitcast(high, ir.FloatType())

        return types.float32(types.float32 if kind == "tf32" else types.uint16), codegen

    return widen


@cache
def narrow(kind: str) -> Any:
    """``narrow(kind)(value)``: a float32 rounded to the nearest half (ties to even), as bits; itself for tf32."""
    code = {"float16": "cvt.rn.f16.f32 $0, $1;", "bfloat16": "cvt.rn.bf16.f32 $0, $1;"}.get(kind, "")

    @intrinsic
    def narrow(typingctx, value):  # type: ignore[no-untyped-def]
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return _assemble(builder, ir.IntType(16), code, "=h,f", args) if code else args[0]

        return (types.uint16 if code else types.float32)(types.float32), codegen

    return narrow


# ------------------------------------------------------------------------------------------------------ the tile product


class Tile(NamedTuple):
    """How a block of threads shares a tile of results: warps side by side, each with a grid of 16 x 8 results.

    ``down`` warps of ``high`` instructions make the rows, ``across`` warps of ``wide`` instructions the columns.
    """

    down: int
    across: int
    high: int
    wide: int  # even: right fragments are loaded in pairs

    @property
    def rows(self) -> int:
        return self.down * self.high * 16

    @property
    def columns(self) -> int:
        return self.across * self.wide * 8

    @property
    def threads(self) -> int:
        return 32 * self.down * self.across

    @property
    def stage(self) -> int:
        """Words of shared memory that one tile of both operands takes."""
        return (self.rows + self.columns) * DEPTH


_PROCESSORS = 132  # multiprocessors of an H100 or H200: fewer blocks leave some without work
LARGE = Tile(2, 4, 4, 4)  # 128 x 128 results, 8 warps, 48 KiB: as much as shared memory gives without asking
SMALL = Tile(2, 2, 2, 4)  # 64 x 64 results, 4 warps, 24 KiB: for few rows, or where large tiles leave the device idle


def terms_of_word(kind: str) -> int:
    """How many terms of the sum a word holds."""
    return 1 if kind == "tf32" else 2


@cache
def multiply_tile(kind: str, tile: Tile) -> Any:
    """``multiply(words, left, right, total)``: adds to a thread's results the product of two tiles of DEPTH words.

    ``left`` and ``right`` are where the tiles begin in shared memory; ``total`` is the thread's float32 results, four to
    each of high x wide instructions (``result_element``).
    """
    high, wide, across = tile.high, tile.wide, tile.across
    of_a, of_b = 4 * high, 2 * wide
    rounds = kind == "tf32"
    product = multiply_add(kind)

    @cuda.jit(device=True, inline="always")
    def multiply(words, left, right, total):
        a = cuda.local.array(of_a, numba.uint32)
        b = cuda.local.array(of_b, numba.uint32)
        thread = numba.uint32(cuda.threadIdx.x)
        lane, warp = thread % 32, thread // 32
        row, row_chunk = left_row(lane)
        column, column_chunk = right_row(lane)
        row += warp // across * high * 16
        column += warp % across * wide * 8
        for step in range(2):
            # 16 rows further on, all but the row's number is the same: the swizzle looks at its bits 1 and 2 alone
            at = numba.int32(left + place(row, (2 * step + row_chunk) * 4))
            for i in range(high):
                a[4 * i], a[4 * i + 1], a[4 * i + 2], a[4 * i + 3] = load_matrices(words, at + i * 256)
            at = numba.int32(right + place(column, (2 * step + column_chunk) * 4))
            for j in range(0, wide, 2):
                b[2 * j], b[2 * j + 1], b[2 * j + 2], b[2 * j + 3] = load_matrices(words, at + j * 128)
            if rounds:
                for i in range(of_a):
                    a[i] = round_tf32(a[i])
                for j in range(of_b):
                    b[j] = round_tf32(b[j])
            for i in range(high):
                for j in range(wide):
                    c = 4 * (i * wide + j)
                    total[c], total[c + 1], total[c + 2], total[c + 3] = product(
                        a[4 * i], a[4 * i + 1], a[4 * i + 2], a[4 * i + 3], b[2 * j], b[2 * j + 1],
                        total[c], total[c + 1], total[c + 2], total[c + 3],
                    )  # fmt: skip

    return multiply


def choose_tile(rows: int, columns: int, repeats: int) -> Tile:
    """Large tiles read each operand less often; small ones where large ones would be half empty or too few to go round."""
    blocks = -(-rows // LARGE.rows) * -(-columns // LARGE.columns) * repeats
    return LARGE if rows > SMALL.rows and columns > SMALL.columns and blocks >= _PROCESSORS else SMALL


@cache
def copy_rows(kind: str, rows: int, threads: int) -> Any:
    """``copy(words, at, source, begin, first, end, stride, inside)``: a tile of rows of 16-byte chunks, asynchronously.

    Row r of the tile is row ``first + r`` of the source, zeros from ``end`` on. A thread copies the same chunk of several
    rows: chunk ``threadIdx.x % 4``, which in row 0 of the source begins at ``source[begin]`` and counts only where ``inside``.
    Everything it reads is aligned to 16 bytes.
    """
    passes, step = rows * CHUNK // threads, threads // CHUNK

    @cuda.jit(device=True, inline="always")
    def copy(words, at, source, begin, first, end, stride, inside):
        thread = numba.uint32(cuda.threadIdx.x)
        chunk = thread % 4
        for i in range(passes):
            row = thread // 4 + i * step
            index = numba.int32(begin + (first + row) * stride)
            copy_16(words, at + place(row, chunk * 4), source, index, inside and first + row < end)

    return copy


# --------------------------------------------------------------------------------------------------------- the switch


@cache
def _capability() -> tuple[int, int]:
    return tuple(cuda.get_current_device().compute_capability)


def kind_of(dtype: np.dtype, tf32: bool) -> str | None:
    """How the tensor cores would take arrays of this dtype; None where they are switched off, missing or unfit.

    Args:
        dtype: of all floating arrays of the call.
        tf32: whether float32 may be rounded to TF32 here.
    """
    if not backends.cuda.tensor_cores or devices.SIMULATOR or _capability() < (8, 0):
        return None
    if dtype == np.float32:
        return "tf32" if tf32 else None
    return dtype.name if dtype.name in KINDS else None


def bits_of(array: Any) -> Any:
    """Halves as the uint16 that kernels see, flat; float32 arrays just flat."""
    flat = array if array.ndim == 1 else array.reshape(array.size)
    return flat if flat.dtype == np.float32 or flat.dtype == np.uint16 else flat.view(np.uint16)


def none_like(array: Any) -> Any:
    """An array of no elements, in place of a bias or summand that is not there."""
    return devices.constant(0, 0, array.dtype, devices.device_of(array))


def is_aligned(array: Any) -> bool:
    """Whether an array begins at a multiple of 16 bytes, as the widest copies need."""
    interface = getattr(array, "__cuda_array_interface__", None) or array.__array_interface__
    return interface["data"][0] % 16 == 0
