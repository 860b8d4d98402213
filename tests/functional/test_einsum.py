"""Equations of sums of products against PyTorch: diagonals, broadcasting, implicit outputs, several operands."""

from __future__ import annotations

import numpy as np
import pytest

import numbanet
from numbanet import functional as F
from tests.checks import check_op, torch

rng = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


EQUATIONS = [
    ("ij->ji", (2, 3)),
    ("ij", (2, 3)),
    ("ba", (2, 3)),
    ("ij->", (2, 3)),
    ("ij->j", (2, 3)),
    ("ii->i", (3, 3)),
    ("ii", (3, 3)),
    ("iji->j", (3, 2, 3)),
    ("iii->i", (2, 2, 2)),
    ("...ii->...i", (2, 3, 3)),
    ("i,i->", (4,), (4,)),
    ("i,j->ij", (2,), (3,)),
    ("i,i->i", (4,), (4,)),
    ("ij,jk->ik", (2, 3), (3, 4)),
    ("ij,jk", (2, 3), (3, 4)),
    ("ij,kj->ik", (2, 3), (4, 3)),
    ("ij,ji->", (2, 3), (3, 2)),
    ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
    ("bij, bkj -> bik", (2, 3, 4), (2, 5, 4)),
    ("bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5)),
    ("...ij,...jk->...ik", (2, 3, 4), (4, 5)),
    ("...ij,...jk", (2, 1, 3, 4), (3, 4, 2)),
    ("i...,j...->ij...", (2, 3), (4, 3)),
    ("ij,jk->ik", (2, 1), (3, 4)),  # a size of 1 broadcasts
    ("bi,bj->bij", (1, 2), (3, 4)),
    ("ijk,l->ijl", (2, 3, 4), (2,)),  # k is in one operand alone
    ("nchw,oc->nohw", (2, 3, 2, 2), (4, 3)),
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 2)),
    ("i,ij,j->", (2,), (2, 3), (3,)),
    ("ab,ab,ab->b", (2, 3), (2, 3), (2, 3)),
    ("ii,ij->j", (3, 3), (3, 2)),
    ("aB,Bc", (2, 3), (3, 2)),
    ("ij,jk->ik", (0, 3), (3, 4)),
    ("ij,jk->ik", (2, 0), (0, 4)),
    ("->", ()),
    (",i->i", (), (3,)),
]


@pytest.mark.parametrize("case", EQUATIONS, ids=str)
def test_einsum(case):
    equation, *shapes = case
    arrays = [np.asarray(normal(*shape)) for shape in shapes]
    check_op(
        lambda *t: F.einsum(equation, *t),
        torch and (lambda *t: torch.einsum(equation, *t)),
        arrays,
        rtol=1e-4,
        numeric=all(a.size for a in arrays),
    )


def test_operands_in_a_list_and_integers():
    a, b = numbanet.arange(6).reshape(2, 3), numbanet.arange(3)
    assert F.einsum("ij,j->i", [a, b]).tolist() == [5, 14]


@pytest.mark.parametrize(
    ("a", "b", "dims"),
    [
        ((2, 3, 4), (3, 4, 5), 2),
        ((2, 3), (4,), 0),
        ((2, 3, 4), (4, 3, 2), ([1, 2], [1, 0])),
        ((2, 3, 4), (5, 4), ([2], [1])),
        ((2, 3), (2, 3), ([0, -1], [0, -1])),
    ],
)
def test_tensordot(a, b, dims):
    check_op(
        lambda *t: F.tensordot(*t, dims),
        torch and (lambda *t: torch.tensordot(*t, dims)),
        [normal(*a), normal(*b)],
        rtol=1e-4,
    )


def test_gradients_of_gradients():
    x = numbanet.tensor(normal(2, 3).astype(np.float64), requires_grad=True)

    def first(x):
        return numbanet.autograd.grad(F.einsum("ij,kj,ik->", x, x, x @ x.t()), x, create_graph=True)[0]

    assert numbanet.autograd.gradcheck(first, x)
