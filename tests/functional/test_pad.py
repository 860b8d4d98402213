"""pad: modes, shapes and paddings crossed, against PyTorch and finite differences; negative paddings, integers, errors."""

import itertools

import numpy as np
import pytest

import numbanet
import numbanet.nn.functional as F
from numbanet import autograd
from tests.checks import check_op, torch

rng = np.random.default_rng(5)
MODES = ["constant", "reflect", "replicate", "circular"]
SHAPES = [(2, 3, 5, 7), (3, 5, 20), (2, 17), (2, 2, 3, 4, 5)]
PADS = [
    (1, 2), (0, 3), (-1, 2), (2, -1), (-1, -1), (1, 1, 1, 1), (3, 0, 0, 2), (-1, 2, 2, -1), (0, 0, 1, 2), (1, 1, 1, 1, 1, 1),
    (0, 0, 1, 0, 2, 1), (1, 0, 0, 0, 0, 1, 2, 1), (0, 0), (4, 4, 4, 4), (-1, 0, -2, -1),
]  # fmt: skip


def draw(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def taken(shape, pad, mode) -> bool:
    """Whether PyTorch takes the combination (its rules, in our words)."""
    dims = len(pad) // 2
    if mode == "constant":
        return dims <= len(shape) and all(shape[-1 - i] + sum(pad[2 * i : 2 * i + 2]) >= 0 for i in range(dims))
    if dims > 3 or len(shape) - dims not in (1, 2):
        return False
    limit = {"reflect": -1, "circular": 0, "replicate": 99}[mode]
    return all(max(pad[2 * i : 2 * i + 2]) <= shape[-1 - i] + limit for i in range(dims))


@pytest.mark.parametrize("mode", MODES)
def test_pad_crosses_shapes_and_paddings(mode):
    found = 0
    for index, (shape, pad) in enumerate(itertools.product(SHAPES, PADS)):
        x, options = draw(*shape), {"value": 1.5} if mode == "constant" else {}
        if not taken(shape, pad, mode):
            with pytest.raises((RuntimeError, NotImplementedError)) as ours:
                F.pad(numbanet.from_numpy(x), pad, mode)
            if torch is not None:
                with pytest.raises(type(ours.value)):
                    torch.nn.functional.pad(torch.from_numpy(x), pad, mode)
            continue
        theirs = None if torch is None else lambda a, p=pad, o=options: torch.nn.functional.pad(a, p, mode, **o)
        check_op(lambda a, p=pad, o=options: F.pad(a, p, mode, **o), theirs, [x], atol=1e-6, numeric=index % 3 == 0)
        found += 1
    assert found >= 20


@pytest.mark.parametrize("mode, name", [("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")])
def test_pad_is_numpys(mode, name):
    x = rng.standard_normal((2, 3, 6, 5))
    expected = np.pad(x, ((0, 0), (0, 0), (3, 1), (2, 4)), name)
    np.testing.assert_array_equal(F.pad(numbanet.from_numpy(x), (2, 4, 3, 1), mode).numpy(), expected)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_])
def test_pad_moves_integers_and_bools(mode, dtype):
    x = rng.integers(0, 2, (2, 4, 6)).astype(dtype)
    for pad in ((1, 2), (-1, 2), (2, 1, 1, 3)):
        theirs = F.pad(numbanet.from_numpy(x.astype(np.float64)), pad, mode).numpy().astype(dtype)
        y = F.pad(numbanet.from_numpy(x), pad, mode)
        assert y.dtype == x.dtype
        np.testing.assert_array_equal(y.numpy(), theirs)
    assert F.pad(numbanet.tensor([1, 2]), (1, 0), value=7).tolist() == [7, 1, 2]


def test_pad_copies_even_where_it_adds_nothing():
    x = numbanet.zeros(2, 3)
    y = F.pad(x, (0, 0))
    y[0, 0] = 1
    assert float(x.sum()) == 0


@pytest.mark.parametrize("mode", MODES)
def test_pad_passes_nan_and_the_sign_of_zero(mode):
    x = np.zeros((1, 1, 4), np.float32)
    x[0, 0, 1], x[0, 0, 2] = np.nan, -0.0
    y = F.pad(numbanet.from_numpy(x), (2, 2), mode, *([np.nan] if mode == "constant" else [])).numpy()
    assert np.isnan(y[0, 0, 3]) and np.signbit(y[0, 0, 4])
    assert np.isnan(y[0, 0, :2]).all() == (mode == "constant")


@pytest.mark.parametrize(
    "shape, pad", [((0, 2, 3), (1, 1)), ((2, 0), (2, 1)), ((2, 0, 3), (0, 0, 1, 1)), ((3, 2), (-1, -1))]
)
def test_pad_of_and_to_empty_tensors(shape, pad):
    x = numbanet.zeros(shape).requires_grad_()
    y = F.pad(x, pad, value=2.0)
    expected = np.pad(np.zeros(shape), ((0, 0),) * (len(shape) - len(pad) // 2) + tuple(
        (max(pad[i], 0), max(pad[i + 1], 0)) for i in range(len(pad) - 2, -1, -2)), constant_values=2.0)  # fmt: skip
    if min(pad) >= 0:
        np.testing.assert_array_equal(y.detach().numpy(), expected)
    assert tuple(y.shape) == tuple(s + (sum(pad[2 * (len(shape) - 1 - i) :][:2])) for i, s in enumerate(shape))
    y.sum().backward()
    assert tuple(x.grad.shape) == shape


@pytest.mark.parametrize("mode", MODES)
def test_pad_can_be_differentiated_twice(mode):
    x = numbanet.tensor(rng.standard_normal((2, 3, 4)), requires_grad=True)
    assert autograd.gradcheck(
        lambda x: autograd.grad((F.pad(x, (2, 1, -1, 2), mode) ** 3).sum(), x, create_graph=True),
        (x[None].detach().requires_grad_(),),
    )


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
def test_pad_of_an_empty_batch(mode):
    x = numbanet.zeros(0, 3, 4, 4, requires_grad=True)
    y = F.pad(x, (1, 1, 1, 1), mode)
    y.sum().backward()
    assert y.shape == (0, 3, 6, 6) and x.grad.shape == x.shape
