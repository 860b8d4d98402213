"""Register tiles: the vector micro-kernels on which every matrix-like CPU kernel stands.

Numba does not register-block a loop nest, so the innermost loops are written here as LLVM vector code: a block of
accumulators that stays in vector registers for the whole sum. Three tiles cover matrix products, convolution and its
gradients, and row copies bring short rows in and out of their padded scratch without scalar remainders:

``fma_tile(rows, vectors)``
    ``c[r, j] (+)= sum_t a[t, r] * b[taps[t] + j]``: an outer product per step, ``rows`` broadcast values against
    ``vectors`` vectors. ``taps`` says where in ``b`` the vectors of step t begin, so that b can be a packed matrix
    panel (taps = t * width) or an image read in place (taps = the offsets of the kernel's elements).
``dot_tile(rows, columns)``
    ``c[r, j] += sum_i a[r, i] * b[taps[j] + i]``: lanes run along the sum (in pieces, an image each), for weight gradients.
``place_tile(rows, vectors)``
    ``fma_tile`` with tables for both operands and a place of its own for each vector: where a vector is one pixel of
    many images, any pixels can share a tile.
``best_of_row``
    the largest (or smallest) number of a row, NaN if one is there.
``read_row``, ``read_alternate``, ``write_row`` and ``write_alternate``
    a row, or every other element of it, copied with zeros around it, and a row copied with a number added, by masked
    vectors.
``read_lanes`` and ``write_lanes``
    the same pixels of several images turned into one vector per pixel, and back: transposition in registers.

The vector width is the machine's: 512 bits with AVX-512, 256 with AVX, else 128 (SSE, NEON). Measured on one Zen 5
core: 285 GFLOP/s in float32 with 24 accumulators, which is its peak (2 x 16 lanes x 2 at 4.4 GHz).
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

_features = llvm.get_host_cpu_features()
VECTOR_BITS = 512 if _features.get("avx512f") else 256 if _features.get("avx") else 128
_MANY_REGISTERS = VECTOR_BITS == 512 or llvm.get_process_triple().startswith(("aarch64", "arm64"))

# (rows, vectors) of the outer-product tile: 24 accumulators of 32 vector registers, or 12 of 16.
TILE_ROWS, TILE_VECTORS = (8, 3) if _MANY_REGISTERS else (4, 3)


def lanes(dtype: np.dtype) -> int:
    """Elements of ``dtype`` in one vector register."""
    return VECTOR_BITS // 8 // np.dtype(dtype).itemsize


_INDEX, _INT = ir.IntType(64), ir.IntType(32)


def _index(value: int) -> ir.Constant:
    return ir.Constant(_INDEX, value)


class Vectors:
    """LLVM vector instructions on 1-D arrays of one floating type, for the code generators of intrinsics.

    Where nothing else is said, a vector is as wide as the machine's registers: ``lanes`` elements.
    """

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any, position: int) -> None:
        """For arrays of the dtype of the call's argument number ``position``."""
        self.context, self.builder, self.signature, self.args = context, builder, signature, args
        single = signature.args[position].dtype == types.float32
        self.scalar, self.bytes = (ir.FloatType(), 4) if single else (ir.DoubleType(), 8)
        self.lanes = VECTOR_BITS // 8 // self.bytes
        self.vector = ir.VectorType(self.scalar, self.lanes)
        self.zero = ir.Constant(self.vector, [0.0] * self.lanes)

    def pointer(self, position: int) -> Any:
        """Where the array at argument ``position`` begins, moved on by the argument that follows it."""
        array = make_array(self.signature.args[position])(self.context, self.builder, self.args[position])
        return self.builder.gep(array.data, [self.args[position + 1]])

    def index(self, value: int) -> Any:
        return _index(value)

    def at(self, pointer: Any, offset: Any, width: int) -> Any:
        """The address of ``width`` elements, as a pointer to a vector."""
        return self.builder.bitcast(self.builder.gep(pointer, [offset]), ir.VectorType(self.scalar, width).as_pointer())

    def splat(self, value: Any, width: int | None = None) -> Any:
        """Copies of a scalar."""
        kind = ir.VectorType(value.type, width or self.lanes)
        one = self.builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(_INT, 0))
        return self.shuffle(one, one, [0] * (width or self.lanes))

    def shuffle(self, x: Any, y: Any, picks: list[int]) -> Any:
        """A vector of chosen lanes of two others, y's counted on from x's."""
        return self.builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(_INT, len(picks)), picks))

    def first(self, count: Any, width: int) -> Any:
        """The mask of the first ``count`` of ``width`` lanes."""
        lanes = ir.Constant(ir.VectorType(_INT, width), list(range(width)))
        return self.builder.icmp_signed("<", lanes, self.splat(self.builder.trunc(count, _INT), width))

    def within(self, i: Any, low: Any, high: Any) -> Any:
        """The mask of the lanes l with low <= i + l < high (indices below 2^31)."""
        offset = self.splat(self.builder.trunc(self.builder.sub(i, low), _INT))
        limit = self.splat(self.builder.trunc(self.builder.sub(high, low), _INT))
        lane = self.builder.add(offset, ir.Constant(ir.VectorType(_INT, self.lanes), list(range(self.lanes))))
        return self.builder.icmp_unsigned("<", lane, limit)

    def inside(self, i: Any, count: int, low: Any, high: Any) -> Any:
        """Whether low <= i and i + count <= high."""
        return self.builder.and_(
            self.builder.icmp_signed("<=", low, i),
            self.builder.icmp_signed("<=", self.builder.add(i, _index(count)), high),
        )

    def load(self, pointer: Any, offset: Any, width: int | None = None, mask: Any = None) -> Any:
        """Elements at any alignment; with a mask, zeros where it is false, and nothing is read there."""
        width = width or self.lanes
        vector = ir.VectorType(self.scalar, width)
        if mask is None:
            value = self.builder.load(self.at(pointer, offset, width))
            value.align = self.bytes
            return value
        kind = ir.FunctionType(vector, [vector.as_pointer(), _INT, mask.type, vector])
        name = f"llvm.masked.load.v{width}f{8 * self.bytes}.p0"
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        zero = ir.Constant(vector, [0.0] * width)
        return self.builder.call(function, [self.at(pointer, offset, width), ir.Constant(_INT, self.bytes), mask, zero])

    def store(self, value: Any, pointer: Any, offset: Any, width: int | None = None, mask: Any = None) -> None:
        """Store a vector of ``width`` floats or integers; with a mask, only where it is true."""
        width = width or self.lanes
        to = self.builder.bitcast(self.builder.gep(pointer, [offset]), value.type.as_pointer())
        element = value.type.element
        letter, bits = ("i", element.width) if isinstance(element, ir.IntType) else ("f", 8 * self.bytes)
        if mask is None:
            self.builder.store(value, to).align = bits // 8
            return
        kind = ir.FunctionType(ir.VoidType(), [value.type, to.type, _INT, mask.type])
        name = f"llvm.masked.store.v{width}{letter}{bits}.p0"
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        self.builder.call(function, [value, to, ir.Constant(_INT, bits // 8), mask])

    def store_until(self, value: Any, pointer: Any, offset: Any, i: Any, end: Any) -> None:
        """Store the lanes l with i + l < end (none where end is 0), i >= 0.

        A whole vector goes the plain way: AMD's processors take 12 cycles for a masked store (Zen 3, AVX2).
        """
        whole = self.builder.icmp_signed("<=", self.builder.add(i, _index(self.lanes)), end)
        with self.builder.if_else(whole, likely=True) as (then, otherwise):
            with then:
                self.store(value, pointer, offset)
            with otherwise:
                self.store(value, pointer, offset, mask=self.within(i, _index(0), end))

    def within_reach(self, i: Any, n: Any) -> Any:
        """i, or where a vector from i on would go past n, the last place where one fits (if any does)."""
        last = self.builder.sub(n, _index(self.lanes))
        back = self.builder.and_(
            self.builder.icmp_signed(">", i, last), self.builder.icmp_signed(">=", last, _index(0))
        )
        return self.builder.select(back, last, i)

    def broadcast(self, pointer: Any, offset: Any) -> Any:
        """Copies of one element."""
        return self.splat(self.builder.load(self.builder.gep(pointer, [offset])))

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """a * b + c, rounded once."""
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        name = f"llvm.fma.v{self.lanes}f{8 * self.bytes}"
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), [a, b, c])

    def total(self, vector: Any) -> Any:
        """The sum of a vector's lanes, by halving."""
        width = self.lanes
        while width > 1:
            width //= 2
            low, high = list(range(width)), list(range(width, 2 * width))
            vector = self.builder.fadd(self.shuffle(vector, vector, low), self.shuffle(vector, vector, high))
        return self.builder.extract_element(vector, ir.Constant(_INT, 0))

    def sums(self, vectors: list[Any]) -> list[Any]:
        """The sum of each vector's lanes.

        Two vectors are added half against half into one, again and again, until one vector holds a sum per lane: a
        third of the shuffles that summing each vector by itself takes.
        """
        results: list[Any] = []
        for first in range(0, len(vectors), self.lanes):
            group = vectors[first : first + self.lanes]
            wanted = len(group)
            block = self.lanes
            while block > 1:
                half = block // 2
                starts = [start for start in range(0, 2 * self.lanes, block)]
                low = [start + i for start in starts for i in range(half)]
                high = [i + half for i in low]
                group += [self.zero] * (len(group) % 2)
                group = [
                    self.builder.fadd(
                        self.shuffle(group[i], group[i + 1], low), self.shuffle(group[i], group[i + 1], high)
                    )
                    for i in range(0, len(group), 2)
                ]
                block = half
            results += [self.builder.extract_element(group[0], ir.Constant(_INT, i)) for i in range(wanted)]
        return results

    def transpose(self, rows: list[Any]) -> list[Any]:
        """As many vectors as there are lanes, as a square: vector i of the result holds lane i of each.

        Blocks of lanes are exchanged between pairs of vectors, half a vector at first, then a quarter, ...
        """
        rows, half = list(rows), self.lanes // 2
        while half:
            low = [i if i & half == 0 else i - half + self.lanes for i in range(self.lanes)]
            high = [i + half if i & half == 0 else i + self.lanes for i in range(self.lanes)]
            for i in range(self.lanes):
                if i & half == 0:
                    a, b = rows[i], rows[i + half]
                    rows[i], rows[i + half] = self.shuffle(a, b, low), self.shuffle(a, b, high)
            half //= 2
        return rows

    def steps(self, count: Any, step: int) -> Any:
        """``for i in range(0, count, step)``."""
        return cgutils.for_range_slice(self.builder, _index(0), count, _index(step), _INDEX)


def loop(builder: Any, count: Any, step: int, accumulators: list[Any], body: Any) -> list[Any]:
    """Emit ``for i in range(0, count, step): accumulators = body(i, accumulators)``; returns the final values."""
    entry = builder.basic_block
    loop, done = builder.append_basic_block("loop"), builder.append_basic_block("done")
    starts = builder.icmp_signed(">", count, _index(0))
    builder.cbranch(starts, loop, done)
    builder.position_at_end(loop)
    i = builder.phi(_INDEX)
    i.add_incoming(_index(0), entry)
    held = []
    for value in accumulators:
        phi = builder.phi(value.type)
        phi.add_incoming(value, entry)
        held.append(phi)
    new = body(i, held)
    following = builder.add(i, _index(step))
    i.add_incoming(following, builder.basic_block)
    for phi, value in zip(held, new, strict=True):
        phi.add_incoming(value, builder.basic_block)
    end = builder.basic_block
    builder.cbranch(builder.icmp_signed("<", following, count), loop, done)
    builder.position_at_end(done)
    results = []
    for start, value in zip(accumulators, new, strict=True):
        phi = builder.phi(value.type)
        phi.add_incoming(start, entry)
        phi.add_incoming(value, end)
        results.append(phi)
    return results


@cache
def fma_tile(rows: int, vectors: int) -> Any:
    """The outer-product tile, callable inside ``@jit`` functions.

    ``tile(k, a, a0, b, b0, taps, t0, c, c0, ldc, accumulate)`` computes, for r < rows and
    j < vectors * lanes(dtype)::

        c[c0 + r * ldc + j] = [c[...] if accumulate] + sum_{t < k} a[a0 + t * rows + r] * b[b0 + taps[t0 + t] + j]

    a, b, c are 1-D C-contiguous arrays of one dtype (float32 or float64); taps is 1-D int64; the others are integers.
    Nothing is checked: every index must be in range.
    """

    @intrinsic
    def tile(typingctx, k, a, a0, b, b0, taps, t0, c, c0, ldc, accumulate):  # type: ignore[no-untyped-def]
        n = types.intp
        signature = types.void(n, a, n, b, n, taps, n, c, n, n, n)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            emit = Vectors(context, builder, signature, args, 1)
            count, ldc, accumulate = args[0], args[9], args[10]
            a, b, taps, c = emit.pointer(1), emit.pointer(3), emit.pointer(5), emit.pointer(7)

            def step(t: Any, held: list[Any]) -> list[Any]:
                tap = builder.load(builder.gep(taps, [t]))
                images = [emit.load(b, builder.add(tap, _index(v * emit.lanes))) for v in range(vectors)]
                first = builder.mul(t, _index(rows))
                new = []
                for r in range(rows):
                    weight = emit.broadcast(a, builder.add(first, _index(r)))
                    new += [emit.fma(weight, images[v], held[r * vectors + v]) for v in range(vectors)]
                return new

            total = loop(builder, count, 1, [emit.zero] * (rows * vectors), step)
            add = builder.icmp_signed("!=", accumulate, _index(0))
            with builder.if_else(add) as (then, otherwise):
                for branch, adding in ((then, True), (otherwise, False)):
                    with branch:
                        for r in range(rows):
                            row = builder.mul(ldc, _index(r))
                            for v in range(vectors):
                                at = builder.add(row, _index(v * emit.lanes))
                                value = total[r * vectors + v]
                                emit.store(builder.fadd(emit.load(c, at), value) if adding else value, c, at)
            return context.get_dummy_value()

        return signature, codegen

    return tile


@cache
def place_tile(rows: int, vectors: int) -> Any:
    """The outer-product tile on vectors that stand anywhere, callable inside ``@jit`` functions.

    ``tile(k, a, a0, b, b0, terms, t0, places, p0, c, c0, ldc, accumulate)`` computes, for r < rows, v < vectors and
    j < lanes(dtype), with (left, right) = terms[t0 + 2 t], terms[t0 + 2 t + 1] for term t
    and (source, target) = places[p0 + 2 v], places[p0 + 2 v + 1] for vector v::

        c[c0 + r * ldc + target + j] = [c[...] if accumulate] + sum_{t < k} a[a0 + left + r] * b[b0 + source + right + j]

    terms and places are 1-D int64. Targets of one tile must differ. Otherwise as ``fma_tile``.
    """

    @intrinsic
    def tile(typingctx, k, a, a0, b, b0, terms, t0, places, p0, c, c0, ldc, accumulate):  # type: ignore[no-untyped-def]
        n = types.intp
        signature = types.void(n, a, n, b, n, terms, n, places, n, c, n, n, n)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            emit = Vectors(context, builder, signature, args, 1)
            count, ldc, accumulate = args[0], args[11], args[12]
            a, b, terms, places, c = (emit.pointer(position) for position in (1, 3, 5, 7, 9))

            def place(i: int) -> Any:
                return builder.load(builder.gep(places, [_index(i)]))

            sources = [builder.gep(b, [place(2 * v)]) for v in range(vectors)]

            def step(t: Any, held: list[Any]) -> list[Any]:
                left = builder.load(builder.gep(terms, [t]))
                right = builder.load(builder.gep(terms, [builder.add(t, _index(1))]))
                images = [emit.load(source, right) for source in sources]
                new = []
                for r in range(rows):
                    weight = emit.broadcast(a, builder.add(left, _index(r)))
                    new += [emit.fma(weight, images[v], held[r * vectors + v]) for v in range(vectors)]
                return new

            total = loop(builder, builder.mul(count, _index(2)), 2, [emit.zero] * (rows * vectors), step)
            targets = [place(2 * v + 1) for v in range(vectors)]
            add = builder.icmp_signed("!=", accumulate, _index(0))
            with builder.if_else(add) as (then, otherwise):
                for branch, adding in ((then, True), (otherwise, False)):
                    with branch:
                        for r in range(rows):
                            row = builder.mul(ldc, _index(r))
                            for v in range(vectors):
                                at = builder.add(row, targets[v])
                                value = total[r * vectors + v]
                                emit.store(builder.fadd(emit.load(c, at), value) if adding else value, c, at)
            return context.get_dummy_value()

        return signature, codegen

    return tile


@cache
def dot_tile(rows: int, columns: int) -> Any:
    """The inner-product tile, callable inside ``@jit`` functions.

    ``tile(pieces, k, a, a0, lda, a_step, b, b0, b_step, taps, t0, c, c0, ldc)`` computes, for r < rows and j < columns::

        c[c0 + r * ldc + j] += sum_{p < pieces} sum_{i < k} a[a0 + p * a_step + r * lda + i]
                                                          * b[b0 + p * b_step + taps[t0 + j] + i]

    Lanes are added up once, after the last piece. k counts as rounded up to a multiple of lanes(dtype): pad a (or b) with
    zeros. Otherwise as ``fma_tile``.
    """

    @intrinsic
    def tile(typingctx, pieces, k, a, a0, lda, a_step, b, b0, b_step, taps, t0, c, c0, ldc):  # type: ignore[no-untyped-def]
        n = types.intp
        signature = types.void(n, n, a, n, n, n, b, n, n, taps, n, c, n, n)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            emit = Vectors(context, builder, signature, args, 2)
            pieces, count, lda, a_step, b_step, ldc = (args[i] for i in (0, 1, 4, 5, 8, 13))
            a, b, taps, c = emit.pointer(2), emit.pointer(6), emit.pointer(9), emit.pointer(11)
            offsets = [builder.load(builder.gep(taps, [_index(j)])) for j in range(columns)]

            def piece(p: Any, held: list[Any]) -> list[Any]:
                here_a = builder.gep(a, [builder.mul(p, a_step)])
                here_b = builder.gep(b, [builder.mul(p, b_step)])
                return loop(builder, count, emit.lanes, held, partial(step, here_a, here_b))

            def step(a: Any, b: Any, i: Any, held: list[Any]) -> list[Any]:
                def left(r: int, i: Any) -> Any:
                    return emit.load(a, builder.add(builder.mul(lda, _index(r)), i))

                def right(j: int, i: Any) -> Any:
                    return emit.load(b, builder.add(offsets[j], i))

                # The shorter side is held in registers, the other passes through one: 24 accumulators leave room for 7.
                new = [None] * (rows * columns)
                held_lefts = [left(r, i) for r in range(rows)] if rows <= columns else []
                held_rights = [] if rows <= columns else [right(j, i) for j in range(columns)]
                for outer in range(max(rows, columns)):
                    passing = right(outer, i) if rows <= columns else left(outer, i)
                    for inner in range(min(rows, columns)):
                        at = inner * columns + outer if rows <= columns else outer * columns + inner
                        factor = held_lefts[inner] if rows <= columns else held_rights[inner]
                        new[at] = emit.fma(factor, passing, held[at])
                return new

            total = emit.sums(loop(builder, pieces, 1, [emit.zero] * (rows * columns), piece))
            for r in range(rows):
                for j in range(columns):
                    at = builder.gep(c, [builder.add(builder.mul(ldc, _index(r)), _index(j))])
                    builder.store(builder.fadd(builder.load(at), total[r * columns + j]), at)
            return context.get_dummy_value()

        return signature, codegen

    return tile


@cache
def best_of_row(sign: str) -> Any:
    """``best(x, start, n)``: the extremum of x[start : start + n] (n >= 1), NaN if one is there; ``sign`` is ">" or "<".

    Four vectors at a time, with one NaN test for two of them: LLVM vectorises float maxima only where NaN may get lost.
    Rows of 3136 take 0.3 of the time of maxima of integer keys (two Zen 3 cores).
    """

    @intrinsic
    def best(typingctx, x, start, n):  # type: ignore[no-untyped-def]
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            emit = Vectors(context, builder, signature, args, 0)
            x, n = emit.pointer(0), args[2]

            def better(a: Any, b: Any) -> Any:
                return builder.select(builder.fcmp_ordered(sign, a, b), a, b)

            def step(i: Any, held: list[Any]) -> list[Any]:
                v = [emit.load(x, builder.add(i, _index(k * emit.lanes))) for k in range(4)]
                odd = builder.or_(builder.fcmp_unordered("uno", v[0], v[1]), builder.fcmp_unordered("uno", v[2], v[3]))
                return [*map(better, v, held), builder.or_(held[4], odd)]

            def rest(i: Any, held: list[Any]) -> list[Any]:
                i = builder.add(i, whole)
                mask = emit.within(i, _index(0), n)
                v = builder.select(mask, emit.load(x, i, mask=mask), held[0])
                return [better(v, held[0]), builder.or_(held[1], builder.fcmp_unordered("uno", v, v))]

            first = emit.broadcast(x, _index(0))
            odd = builder.fcmp_unordered("uno", first, first)
            whole = builder.and_(n, _index(-4 * emit.lanes))
            *lanes, odd = loop(builder, whole, 4 * emit.lanes, [first] * 4 + [odd], step)
            most = better(better(lanes[0], lanes[1]), better(lanes[2], lanes[3]))
            most, odd = loop(builder, builder.sub(n, whole), emit.lanes, [most, odd], rest)
            width = emit.lanes
            while width > 1:
                width //= 2
                low, high = list(range(width)), list(range(width, 2 * width))
                most = better(emit.shuffle(most, most, low), emit.shuffle(most, most, high))
                odd = builder.or_(emit.shuffle(odd, odd, low), emit.shuffle(odd, odd, high))
            most, odd = (builder.extract_element(each, ir.Constant(_INT, 0)) for each in (most, odd))
            return builder.select(odd, ir.Constant(emit.scalar, float("nan")), most)

        return x.dtype(x, types.intp, types.intp), codegen

    return best


@intrinsic
def read_row(typingctx, n, source, s0, low, high, target, t0):  # type: ignore[no-untyped-def]
    """``target[t0 + i] = source[s0 + i] if low <= i < high else 0`` for i < n, callable inside ``@jit`` functions.

    Writes whole vectors: up to lanes - 1 zeros past n. Reads nothing outside [low, high). The arrays are 1-D,
    C-contiguous and of one dtype; n and high - low are below 2^31. Nothing is checked.
    """
    index = types.intp
    signature = types.void(index, source, index, index, index, target, index)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = Vectors(context, builder, signature, args, 1)
        source, target = emit.pointer(1), emit.pointer(5)

        def step(i: Any, held: list[Any]) -> list[Any]:
            with builder.if_else(emit.inside(i, emit.lanes, args[3], args[4]), likely=True) as (then, otherwise):
                with then:  # without AVX-512, making masks takes several times as long as the copy
                    emit.store(emit.load(source, i), target, i)
                with otherwise:
                    emit.store(emit.load(source, i, mask=emit.within(i, args[3], args[4])), target, i)
            return held

        loop(builder, args[0], emit.lanes, [], step)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def read_alternate(typingctx, n, source, s0, low, high, target, t0):  # type: ignore[no-untyped-def]
    """``target[t0 + i] = source[s0 + 2 * i] if low <= i < high else 0`` for i < n; otherwise as ``read_row``.

    Two vectors and a shuffle: a quarter of the time of a loop over elements (rows of 56, measured on Zen 5).
    """
    index = types.intp
    signature = types.void(index, source, index, index, index, target, index)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = Vectors(context, builder, signature, args, 1)
        source, target = emit.pointer(1), emit.pointer(5)
        two = _index(2)
        low = builder.mul(args[3], two)
        high = builder.sub(builder.mul(args[4], two), _index(1))  # the last one's neighbour may lie outside the array
        high = builder.select(builder.icmp_signed(">", args[4], args[3]), high, low)

        def step(i: Any, held: list[Any]) -> list[Any]:
            first = builder.mul(i, two)
            second = builder.add(first, _index(emit.lanes))
            even = list(range(0, 2 * emit.lanes, 2))
            with builder.if_else(emit.inside(first, 2 * emit.lanes, low, high), likely=True) as (then, otherwise):
                with then:  # as in read_row
                    a, b = (emit.load(source, at) for at in (first, second))
                    emit.store(emit.shuffle(a, b, even), target, i)
                with otherwise:
                    a, b = (emit.load(source, at, mask=emit.within(at, low, high)) for at in (first, second))
                    emit.store(emit.shuffle(a, b, even), target, i)
            return held

        loop(builder, args[0], emit.lanes, [], step)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def write_row(typingctx, n, source, s0, shift, target, t0):  # type: ignore[no-untyped-def]
    """``target[t0 + i] = source[s0 + i] + shift`` for i < n, callable inside ``@jit`` functions.

    Reads whole vectors: up to lanes - 1 elements of ``source`` past n. Otherwise as ``read_row``; the arrays must not overlap.
    """
    index = types.intp
    signature = types.void(index, source, index, source.dtype, target, index)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = Vectors(context, builder, signature, args, 1)
        source, target = emit.pointer(1), emit.pointer(4)
        shift = emit.splat(args[3])

        def step(i: Any, held: list[Any]) -> list[Any]:
            i = emit.within_reach(i, args[0])  # the last vector goes over its neighbour again rather than past the end
            value = builder.fadd(emit.load(source, i), shift)
            emit.store_until(value, target, i, i, args[0])
            return held

        loop(builder, args[0], emit.lanes, [], step)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def write_alternate(typingctx, n, source, s0, s1, shift, target, t0):  # type: ignore[no-untyped-def]
    """``target[t0 + 2 * i] = source[s0 + i] + shift`` and ``target[t0 + 2 * i + 1] = source[s1 + i] + shift`` for i < n.

    Reads as ``write_row`` does; writes nothing past the n pairs.
    """
    index = types.intp
    signature = types.void(index, source, index, index, source.dtype, target, index)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = Vectors(context, builder, signature, args, 1)
        source, target = emit.pointer(1), emit.pointer(5)
        between = builder.sub(args[3], args[2])
        shift, two = emit.splat(args[4]), _index(2)
        end = builder.mul(args[0], two)

        def step(i: Any, held: list[Any]) -> list[Any]:
            i = emit.within_reach(i, args[0])
            a, b = [builder.fadd(emit.load(source, at), shift) for at in (i, builder.add(i, between))]
            for half in range(2):
                lanes = [half * emit.lanes // 2 + k // 2 + k % 2 * emit.lanes for k in range(emit.lanes)]
                at = builder.add(builder.mul(i, two), _index(half * emit.lanes))
                emit.store_until(emit.shuffle(a, b, lanes), target, at, at, end)
            return held

        loop(builder, args[0], emit.lanes, [], step)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def read_lanes(typingctx, n, source, s0, step, images, target, t0, t1, pitch):  # type: ignore[no-untyped-def]
    """``target[t + i // 2 * pitch + j] = source[s0 + j * step + i] if j < images else 0`` for i < n and j < lanes.

    t is t0 for even i and t1 for odd ones: pixels in a row (t1 = t0 + lanes, pitch = 2 * lanes), or the two phases of a
    stride of 2 apart. Writes whole squares, zeros for up to lanes - 1 pixels past the last one. Reads nothing else of
    ``source``. Otherwise as ``read_row``.
    """
    index = types.intp
    signature = types.void(index, source, index, index, index, target, index, index, index)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = Vectors(context, builder, signature, args, 1)
        count, step, images, pitch = args[0], args[3], args[4], args[8]
        source, even = emit.pointer(1), emit.pointer(5)
        targets = even, builder.gep(even, [builder.sub(args[7], args[6])])
        whole = builder.icmp_signed(">=", images, _index(emit.lanes))
        ends = [
            builder.select(builder.icmp_signed("<", _index(j), images), count, _index(0)) for j in range(emit.lanes)
        ]

        def square(i: Any, held: list[Any]) -> list[Any]:
            places = [builder.add(builder.mul(step, _index(j)), i) for j in range(emit.lanes)]
            inside = builder.icmp_signed("<=", builder.add(i, _index(emit.lanes)), count)
            found = []
            with builder.if_else(builder.and_(whole, inside), likely=True) as branches:
                for branch, masked in zip(branches, (False, True), strict=True):
                    with branch:
                        masks = [emit.within(i, _index(0), end) if masked else None for end in ends]
                        rows = [emit.load(source, at, mask=mask) for at, mask in zip(places, masks, strict=True)]
                        found.append((rows, builder.basic_block))
            rows = []
            for j in range(emit.lanes):
                row = builder.phi(emit.vector)
                for values, block in found:
                    row.add_incoming(values[j], block)
                rows.append(row)
            first = builder.mul(builder.ashr(i, _index(1)), pitch)
            for j, pixel in enumerate(emit.transpose(rows)):
                emit.store(pixel, targets[j % 2], builder.add(first, builder.mul(pitch, _index(j // 2))))
            return held

        loop(builder, count, emit.lanes, [], square)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def write_lanes(typingctx, n, source, s0, shift, target, t0, step, images):  # type: ignore[no-untyped-def]
    """``target[t0 + j * step + i] = source[s0 + i * lanes + j] + shift`` for i < n and j < images.

    Reads whole squares: up to (lanes - 1) * lanes elements of ``source`` past the last one. Otherwise as ``read_row``.
    """
    index = types.intp
    signature = types.void(index, source, index, source.dtype, target, index, index, index)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = Vectors(context, builder, signature, args, 1)
        count, step, images = args[0], args[6], args[7]
        source, target = emit.pointer(1), emit.pointer(4)
        shift = emit.splat(args[3])
        whole = builder.icmp_signed(">=", images, _index(emit.lanes))
        ends = [
            builder.select(builder.icmp_signed("<", _index(j), images), count, _index(0)) for j in range(emit.lanes)
        ]

        def square(i: Any, held: list[Any]) -> list[Any]:
            i = emit.within_reach(i, count)
            first = builder.mul(i, _index(emit.lanes))
            pixels = [emit.load(source, builder.add(first, _index(j * emit.lanes))) for j in range(emit.lanes)]
            rows = [builder.fadd(row, shift) for row in emit.transpose(pixels)]
            places = [builder.add(builder.mul(step, _index(j)), i) for j in range(emit.lanes)]
            inside = builder.icmp_signed("<=", builder.add(i, _index(emit.lanes)), count)
            with builder.if_else(builder.and_(whole, inside), likely=True) as (then, otherwise):
                with then:
                    for row, at in zip(rows, places, strict=True):
                        emit.store(row, target, at)
                with otherwise:
                    for row, at, end in zip(rows, places, ends, strict=True):
                        emit.store_until(row, target, at, i, end)
            return held

        loop(builder, count, emit.lanes, [], square)
        return context.get_dummy_value()

    return signature, codegen
