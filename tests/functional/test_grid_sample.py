"""grid_sample and affine_grid against PyTorch and finite differences, their options crossed."""

from itertools import product

import numpy as np
import pytest

import numbanet
import numbanet.nn.functional as F
from numbanet import autograd
from tests.checks import assert_close, check_op, torch

rng = np.random.default_rng(4)

OPTIONS = list(product(("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection"), (False, True)))


def points(n: int, oh: int, ow: int, reach: float = 1.6) -> np.ndarray:
    """Points in and around the image."""
    return rng.uniform(-reach, reach, (n, oh, ow, 2)).astype(np.float32)


@pytest.mark.parametrize("mode, padding_mode, align", OPTIONS)
@pytest.mark.parametrize("shape, out", [((2, 3, 5, 4), (3, 6)), ((1, 1, 1, 3), (4, 4))])
def test_grid_sample(mode, padding_mode, align, shape, out):
    x, grid = rng.standard_normal(shape).astype(np.float32), points(shape[0], *out)
    theirs = torch and (lambda x, g: torch.nn.functional.grid_sample(x, g, mode, padding_mode, align))
    check_op(lambda x, g: F.grid_sample(x, g, mode, padding_mode, align), theirs, [x, grid], rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("mode, padding_mode, align", OPTIONS)
def test_points_on_pixels_and_edges(mode, padding_mode, align):
    """Where floor, ties and clipping decide: the gradient of a point at the edge, or beyond, too."""
    x = rng.standard_normal((1, 2, 4, 4)).astype(np.float32)
    ramp = np.linspace(-2, 2, 17, dtype=np.float32)
    grid = np.stack(np.meshgrid(ramp, ramp), -1)[None]
    results = []
    for library in (numbanet, torch):
        a, b = library.from_numpy(x.copy()).requires_grad_(), library.from_numpy(grid.copy()).requires_grad_()
        y = library.nn.functional.grid_sample(a, b, mode, padding_mode, align)
        y.backward(library.from_numpy(np.cos(np.arange(y.detach().numpy().size)).reshape(y.shape).astype(np.float32)))
        results.append([t.detach().numpy() for t in (y, a.grad, b.grad)])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, 1e-4, 1e-4)


@pytest.mark.parametrize(
    "mode, padding_mode, value",
    [("bilinear", "zeros", np.nan), ("bilinear", "border", 9.4), ("bilinear", "reflection", 9.4), ("nearest", "zeros", 0.0),
     ("nearest", "border", 9.0), ("nearest", "reflection", 9.0), ("bicubic", "zeros", np.nan), ("bicubic", "border", np.nan)],
)  # fmt: skip
def test_nan_points(mode, padding_mode, value):
    """PyTorch's values; its backward pass reads out of bounds here."""
    x = numbanet.arange(1.0, 17.0).reshape(1, 1, 4, 4).requires_grad_()
    grid = numbanet.tensor([[[[float("nan"), 0.3]]]], requires_grad=True)
    y = F.grid_sample(x, grid, mode, padding_mode, False)
    np.testing.assert_allclose(y.item(), value, 1e-5)
    y.backward()
    np.testing.assert_equal(grid.grad[0, 0, 0, 0].item(), np.nan if mode == "bicubic" else 0.0)


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_far_points_and_infinite_pixels(mode):
    x = np.full((1, 1, 3, 3), np.inf, np.float32)
    grid = np.array([[[[1e30, 0.0], [-3e9, 0.0], [5.0, 5.0]]]], np.float32)
    y = F.grid_sample(numbanet.from_numpy(x), numbanet.from_numpy(grid), mode, "zeros", False)
    assert y.tolist() == [[[[0.0, 0.0, 0.0]]]]


@pytest.mark.parametrize("mode, padding_mode", list(product(("bilinear", "bicubic"), ("zeros", "reflection"))))
def test_the_input_gradient_can_be_differentiated(mode, padding_mode):
    x = numbanet.tensor(rng.standard_normal((1, 2, 3, 4)), requires_grad=True)
    grid = numbanet.tensor(points(1, 2, 3, 0.7).astype(np.float64), requires_grad=True)
    sample = lambda x, g: F.grid_sample(x, g, mode, padding_mode, False)  # noqa: E731
    dy = numbanet.tensor(rng.standard_normal((1, 2, 2, 3)), requires_grad=True)

    def gradient(x, grid, dy):
        return autograd.grad(sample(x, grid), x, dy, create_graph=True)

    assert autograd.gradcheck(gradient, (x, grid, dy))
    (dgrid,) = autograd.grad(sample(x, grid), grid, dy, create_graph=True)
    with pytest.raises(
        RuntimeError, match="grid_sample: the gradient with respect to the grid cannot be differentiated"
    ):
        dgrid.sum().backward()


def test_empty_batches_and_grids():
    x = numbanet.zeros(0, 2, 3, 3, requires_grad=True)
    y = F.grid_sample(x, numbanet.zeros(0, 4, 5, 2), align_corners=False)
    assert tuple(y.shape) == (0, 2, 4, 5)
    x = numbanet.ones(1, 2, 3, 3, requires_grad=True)
    y = F.grid_sample(x, numbanet.zeros(1, 0, 5, 2), align_corners=False)
    y.sum().backward()
    assert tuple(y.shape) == (1, 2, 0, 5) and not x.grad.any()


def test_align_corners_should_be_given():
    for call in (
        lambda: F.grid_sample(numbanet.ones(1, 1, 2, 2), numbanet.zeros(1, 1, 1, 2)),
        lambda: F.affine_grid(numbanet.ones(1, 2, 3), (1, 1, 2, 2)),
    ):
        with pytest.warns(UserWarning, match="align_corners is False unless given"):
            call()


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("size", [(2, 3, 4, 5), (2, 1, 2, 3, 4), (2, 1, 7, 2)])
def test_affine_grid(align, size):
    theta = rng.standard_normal((2, len(size) - 2, len(size) - 1)).astype(np.float32)
    theirs = torch and (lambda t: torch.nn.functional.affine_grid(t, size, align))
    check_op(lambda t: F.affine_grid(t, size, align), theirs, [theta])


def test_the_identity_map_gives_the_image_back():
    x = numbanet.from_numpy(rng.standard_normal((1, 2, 4, 6)))
    theta = numbanet.tensor([[[1.0, 0, 0], [0, 1, 0]]], dtype=numbanet.float64)
    for align in (False, True):
        for mode in ("bilinear", "nearest", "bicubic"):
            y = F.grid_sample(x, F.affine_grid(theta, (1, 2, 4, 6), align), mode, align_corners=align)
            assert_close(y, x, 1e-10, 1e-12)
