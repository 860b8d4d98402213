"""Sums of products by an equation (Einstein's convention), as matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from numbanet.functional.linear import bmm, matmul
from numbanet.functional.reduction import sum as sum_
from numbanet.functional.shape import diagonal, expand, permute, reshape
from numbanet.shapes import normalize_dim
from numbanet.tensor import Tensor

__all__ = ["einsum", "tensordot"]


def einsum(equation: str, *operands: Any) -> Tensor:
    """The sum of products that an equation describes: ``einsum("bik,bkj->bij", a, b)`` multiplies matrices.

    A letter names a dimension. Letters of equal name have equal sizes (or 1); those that the output does not name are summed
    over. A letter twice in one operand takes its diagonal; "..." stands for dimensions that broadcast. Without "->" the
    output has "..." first and then the letters that occur once, in the alphabet's order. Operands are multiplied from left
    to right, two at a time, each as one batched matrix product.

    Args:
        equation: letters for each operand, between commas, and the output.
        operands: a tensor for each (or one sequence of them).

    Raises:
        RuntimeError: for an equation that cannot be read, or does not fit the operands.
    """
    tensors = list(operands[0]) if len(operands) == 1 and isinstance(operands[0], Sequence) else list(operands)
    for position, x in enumerate(tensors):
        if not isinstance(x, Tensor):
            raise TypeError(f"einsum: operand {position} is a {type(x).__name__}, expected tensors")
    inputs, output = _parse(equation, tensors)
    sizes: dict[str, int] = {}
    for position, (names, x) in enumerate(zip(inputs, tensors, strict=True)):
        for name, size in zip(names, x.shape, strict=True):
            known = sizes.get(name, 1)
            if known != size and 1 not in (known, size):
                raise RuntimeError(
                    f"einsum: {name!r} has size {known} before operand {position}, and {size} in its shape "
                    f"{tuple(x.shape)} (equation {equation!r})"
                )
            sizes[name] = size if known == 1 else known
    left, result = _diagonals(inputs[0], tensors[0])
    for i in range(1, len(tensors)):
        right, x = _diagonals(inputs[i], tensors[i])
        later = {*output, *(name for names in inputs[i + 1 :] for name in names)}
        left, result = _pair(left, result, right, x, later, sizes)
    dropped = [d for d, name in enumerate(left) if name not in output]
    if dropped:
        result = sum_(result, dropped).to(dtype=result.dtype)
        left = [name for name in left if name in output]
    return permute(result, tuple(left.index(name) for name in output)) if list(output) != left else result


def _parse(equation: str, tensors: list[Tensor]) -> tuple[list[list[str]], list[str]]:
    """The names of each operand's dimensions and of the output's; the dimensions of "..." are named "0", "1", ..."""
    text = equation.replace(" ", "")
    start, arrow, end = text.partition("->")
    terms = start.split(",")
    if len(terms) != len(tensors):
        raise RuntimeError(f"einsum: the equation {equation!r} has {len(terms)} operands, got {len(tensors)}")
    inputs: list[list[str]] = []
    deepest = 0
    for position, (term, x) in enumerate(zip(terms, tensors, strict=True)):
        head, dots, tail = term.partition("...")
        if not all(letter.isascii() and letter.isalpha() for letter in head + tail):
            raise RuntimeError(f"einsum: operand {position} reads {term!r}; expected letters and at most one '...'")
        hidden = x.ndim - len(head) - len(tail)
        if hidden < 0 or (hidden and not dots):
            raise RuntimeError(
                f"einsum: operand {position} reads {term!r}, which does not fit its {x.ndim} dimensions, shape {tuple(x.shape)}"
            )
        deepest = max(deepest, hidden)
        inputs.append([*head, *[f"{i}" for i in range(-hidden, 0)], *tail])
    ellipsis = [f"{i}" for i in range(-deepest, 0)]
    if arrow:
        head, dots, tail = end.partition("...")
        named = head + tail
        if not all(letter.isascii() and letter.isalpha() for letter in named):
            raise RuntimeError(f"einsum: the output reads {end!r}; expected letters and at most one '...'")
        output = [*head, *(ellipsis if dots else []), *tail]
    else:
        every = [name for names in inputs for name in names if name.isalpha()]
        named = "".join(sorted(name for name in set(every) if every.count(name) == 1))
        output = [*ellipsis, *named]
    known = {name for names in inputs for name in names}
    for letter in named:
        if letter not in known:
            raise RuntimeError(f"einsum: the output names {letter!r}, which no operand of {equation!r} has")
        if named.count(letter) > 1:
            raise RuntimeError(f"einsum: the output of {equation!r} names {letter!r} twice")
    return inputs, output


def _diagonals(names: list[str], x: Tensor) -> tuple[list[str], Tensor]:
    """Each name once: where one stands twice, the diagonal of its dimensions."""
    names = list(names)
    for name in dict.fromkeys(names):
        while names.count(name) > 1:
            first = names.index(name)
            second = names.index(name, first + 1)
            if x.shape[first] != x.shape[second]:
                raise RuntimeError(
                    f"einsum: {name!r} stands twice in an operand, for sizes {x.shape[first]} and {x.shape[second]}"
                )
            x = diagonal(x, 0, first, second)
            names = [n for d, n in enumerate(names) if d not in (first, second)] + [name]
    return names, x


def _pair(
    left: list[str], a: Tensor, right: list[str], b: Tensor, later: set[str], sizes: dict[str, int]
) -> tuple[list[str], Tensor]:
    """The product of two operands, summed over what neither the output nor a later operand names."""
    a, left = _without(a, left, {*right, *later})
    b, right = _without(b, right, {*left, *later})
    shared = [name for name in left if name in right]
    batch = [name for name in shared if name in later]
    summed = [name for name in shared if name not in later]
    mine = [name for name in left if name not in shared]
    theirs = [name for name in right if name not in shared]
    a = _in_order(a, left, [*batch, *mine, *summed], shared, sizes)
    b = _in_order(b, right, [*batch, *summed, *theirs], shared, sizes)
    shape = [*[sizes[name] for name in batch], *a.shape[len(batch) : len(batch) + len(mine)], *b.shape[len(shared) :]]
    many, rows = prod(sizes[name] for name in batch), prod(a.shape[len(batch) : len(batch) + len(mine)])
    columns = prod(b.shape[len(shared) :])
    inner = prod(sizes[name] for name in summed)
    if not summed:  # nothing to sum: elementwise, with broadcasting
        product = reshape(a, (many, rows, 1)) * reshape(b, (many, 1, columns))
    elif batch:
        product = bmm(reshape(a, (many, rows, inner)), reshape(b, (many, inner, columns)))
    else:
        product = matmul(reshape(a, (rows, inner)), reshape(b, (inner, columns)))
    return [*batch, *mine, *theirs], reshape(product, tuple(shape))


def _without(x: Tensor, names: list[str], needed: set[str]) -> tuple[Tensor, list[str]]:
    """Summed over the dimensions that nobody needs."""
    dropped = [d for d, name in enumerate(names) if name not in needed]
    if not dropped:
        return x, names
    return sum_(x, dropped).to(dtype=x.dtype), [name for name in names if name in needed]


def _in_order(x: Tensor, names: list[str], order: list[str], shared: list[str], sizes: dict[str, int]) -> Tensor:
    """The dimensions in the given order, those of both operands at their common size."""
    if names != order:
        x = permute(x, tuple(names.index(name) for name in order))
    wanted = tuple(sizes[name] if name in shared else size for name, size in zip(order, x.shape, strict=True))
    return x if tuple(x.shape) == wanted else expand(x, wanted)


def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """Products summed over pairs of dimensions: the last ``dims`` of a with the first of b, or two lists of dimensions.

    Raises:
        RuntimeError: for negative dims, lists of different lengths, or sizes that disagree.
    """
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, int):
        if dims < 0 or dims > min(a.ndim, b.ndim):
            raise RuntimeError(f"tensordot: dims={dims} must be between 0 and {min(a.ndim, b.ndim)}")
        dims = list(range(a.ndim - dims, a.ndim)), list(range(dims))
    first, second = ([d] if isinstance(d, int) else list(d) for d in dims)
    if len(first) != len(second):
        raise RuntimeError(f"tensordot: {len(first)} dimensions of a and {len(second)} of b; they must be pairs")
    first = [normalize_dim("tensordot", d, a.ndim) for d in first]
    second = [normalize_dim("tensordot", d, b.ndim) for d in second]
    for i, j in zip(first, second, strict=True):
        if a.shape[i] != b.shape[j]:
            raise RuntimeError(
                f"tensordot: dimension {i} of {tuple(a.shape)} has size {a.shape[i]}, dimension {j} of {tuple(b.shape)} {b.shape[j]}"
            )
    mine = [d for d in range(a.ndim) if d not in first]
    theirs = [d for d in range(b.ndim) if d not in second]
    shape = tuple(a.shape[d] for d in mine) + tuple(b.shape[d] for d in theirs)
    inner = prod(a.shape[d] for d in first)
    rows, columns = prod(a.shape[d] for d in mine), prod(b.shape[d] for d in theirs)
    left = reshape(permute(a, (*mine, *first)), (rows, inner))
    return reshape(matmul(left, reshape(permute(b, (*second, *theirs)), (inner, columns))), shape)
