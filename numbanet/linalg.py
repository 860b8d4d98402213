"""Norms of vectors and matrices, under ``torch.linalg``'s names.

Those that need a singular value decomposition (``ord`` 2, -2 and "nuc" of matrices) are not written.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

from numbanet import functional, shapes
from numbanet.functional import vector_norm
from numbanet.tensor import Tensor

__all__ = ["matrix_norm", "norm", "vector_norm"]

_SPECTRAL = (2, -2, "nuc")


def matrix_norm(
    A: Tensor, ord: Any = "fro", dim: Sequence[int] = (-2, -1), keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """The norms of the matrices that lie along two dimensions.

    Args:
        A: a floating tensor of at least two dimensions.
        ord: "fro" for the square root of the sum of squares; inf or -inf for the largest or smallest row, 1 or -1 for the
            largest or smallest column, each measured by the sum of its absolute values.
        dim: the dimensions of the rows and of the columns.
        keepdim: keep both with a size of 1.
        dtype: the dtype to convert to first.

    Returns:
        A tensor without the two dimensions.

    Raises:
        RuntimeError: for fewer dimensions, twice the same one, other than two of them, integers or an unknown ord.
        IndexError: for a dimension out of range.
        NotImplementedError: for the norms that need singular values.
    """
    if A.ndim < 2:
        raise RuntimeError(f"matrix_norm: expected at least 2 dimensions, got shape {tuple(A.shape)}")
    if isinstance(dim, int) or len(dim) != 2:
        raise RuntimeError(f"matrix_norm: dim must be two dimensions, got {dim!r}")
    rows, columns = (shapes.normalize_dim("matrix_norm", d, A.ndim) for d in dim)
    if rows == columns:
        raise RuntimeError(f"matrix_norm: a dimension appears twice in dim={tuple(dim)}")
    if ord in _SPECTRAL:
        raise NotImplementedError(f"matrix_norm: ord={ord!r} needs singular values, which are not written")
    if ord == "fro":
        return vector_norm(A, 2, (rows, columns), keepdim, dtype=dtype)
    if ord not in (1, -1, inf, -inf):
        raise RuntimeError(f"matrix_norm: ord must be 'fro', 'nuc', inf, -inf, 1, -1, 2 or -2, got {ord!r}")
    summed, compared = (rows, columns) if ord in (1, -1) else (columns, rows)
    sums = vector_norm(A, 1, summed, True, dtype=dtype)
    extreme = (functional.amax if ord > 0 else functional.amin)(sums, compared, True)
    return extreme if keepdim else functional.squeeze(extreme, (rows, columns))


def norm(A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The norm of vectors, or of matrices.

    Without ``ord`` it is the square root of the sum of squares over ``dim`` (or all). With one, it is ``matrix_norm`` where
    two dimensions are given (or A has two and none is given), else ``vector_norm``.

    Raises:
        RuntimeError: for an ord without dim where A has neither one nor two dimensions, and as the two others do.
    """
    if ord is None:
        return vector_norm(A, 2, dim, keepdim, dtype=dtype)
    if dim is None and A.ndim not in (1, 2):
        raise RuntimeError(f"norm: with ord={ord!r} and no dim expected 1 or 2 dimensions, got shape {tuple(A.shape)}")
    dims = tuple(range(A.ndim)) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    if len(dims) == 2:
        return matrix_norm(A, ord, dims, keepdim, dtype=dtype)
    if isinstance(ord, str):
        raise RuntimeError(f"norm: ord={ord!r} is defined for matrices, got dim={dims}")
    return vector_norm(A, ord, dims, keepdim, dtype=dtype)
