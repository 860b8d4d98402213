"""Norms of vectors and matrices against PyTorch."""

from __future__ import annotations

from itertools import product
from math import inf

import numpy as np
import pytest

import numbanet
from numbanet import linalg
from tests.checks import check_op, torch

x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)


@pytest.mark.parametrize(
    "ord, dim, keepdim", list(product(["fro", inf, -inf, 1, -1], [(-2, -1), (0, 2), (2, 0)], [False, True]))
)
def test_matrix_norm(ord, dim, keepdim):
    check_op(
        lambda t: linalg.matrix_norm(t, ord, dim, keepdim),
        torch and (lambda t: torch.linalg.matrix_norm(t, ord, dim, keepdim)),
        [x],
        rtol=1e-4,
    )


@pytest.mark.parametrize(
    "ord, dim", [(None, None), (None, 1), (None, (0, 2)), (3, 1), (inf, (2,)), ("fro", (0, 1)), (1, (1, 2)), (0, 0)]
)
def test_norm(ord, dim):
    check_op(
        lambda t: linalg.norm(t, ord, dim),
        torch and (lambda t: torch.linalg.norm(t, ord, dim)),
        [x],
        rtol=1e-4,
        numeric=ord != 0,
    )


@pytest.mark.parametrize("ord, shape", [(1, (3,)), (1, (3, 2)), (inf, (3, 2)), ("fro", (3, 2))])
def test_norm_goes_by_the_number_of_dimensions(ord, shape):
    a = x.reshape(-1)[: np.prod(shape)].reshape(shape)
    check_op(lambda t: linalg.norm(t, ord), torch and (lambda t: torch.linalg.norm(t, ord)), [a], rtol=1e-4)


@pytest.mark.parametrize(
    "call, error",
    [
        (lambda lib: lib.linalg.matrix_norm(lib.ones(3)), RuntimeError),
        (lambda lib: lib.linalg.matrix_norm(lib.ones(3, 2), dim=(0, 0)), RuntimeError),
        (lambda lib: lib.linalg.matrix_norm(lib.ones(3, 2), dim=(0, 2)), IndexError),
        (lambda lib: lib.linalg.matrix_norm(lib.ones(3, 2), "max"), RuntimeError),
        (lambda lib: lib.linalg.matrix_norm(lib.ones(3, 2), 3), RuntimeError),
        (lambda lib: lib.linalg.matrix_norm(lib.tensor([[1, 2]])), RuntimeError),
        (lambda lib: lib.linalg.norm(lib.ones(3, 2, 2), 2), RuntimeError),
        (lambda lib: lib.linalg.norm(lib.ones(3), "fro"), RuntimeError),
    ],
)
def test_errors(call, error):
    with pytest.raises(error, match="norm"):
        call(numbanet)
    if torch is not None:
        with pytest.raises(error):
            call(torch)


def test_norms_by_singular_values_say_so():
    with pytest.raises(NotImplementedError, match="singular"):
        linalg.matrix_norm(numbanet.ones(2, 2), 2)
