"""interpolate against PyTorch and finite differences, its options crossed; what it does to NaN, and layers on it."""

from itertools import product

import numpy as np
import pytest

import numbanet
import numbanet.nn.functional as F
from numbanet import autograd
from tests.checks import assert_close, check_op, torch

rng = np.random.default_rng(3)

NEAREST = [("nearest", None), ("nearest-exact", None), ("area", None)]
SMOOTH = [(mode, align) for mode in ("bilinear", "bicubic") for align in (False, True)]
# How the output's size is given: up, down, both, unchanged, to one pixel, by factors that fit and that do not.
SIZES = [
    {"size": (14, 10)},
    {"size": (3, 11)},
    {"size": 1},
    {"size": (7, 5)},
    {"scale_factor": 2},
    {"scale_factor": (0.6, 2.3)},
    {"scale_factor": 1.7, "recompute_scale_factor": True},
]


def both(array: np.ndarray, **options: object) -> None:
    theirs = None if torch is None else lambda x: torch.nn.functional.interpolate(x, **options)
    check_op(lambda x: F.interpolate(x, **options), theirs, [array], rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("mode, align", NEAREST + SMOOTH)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_images(mode, align, size):
    both(rng.standard_normal((2, 3, 7, 5)).astype(np.float32), mode=mode, align_corners=align, **size)


@pytest.mark.parametrize("mode, align", SMOOTH)
@pytest.mark.parametrize("size", [(3, 2), (5, 9), (14, 10), (2, 20)])
def test_antialias(mode, align, size):
    both(
        rng.standard_normal((2, 2, 7, 9)).astype(np.float32), size=size, mode=mode, align_corners=align, antialias=True
    )


def test_antialias_to_one_column():
    """Against two steps: PyTorch 2.13 gives other values here when the height grows at the same time."""
    x = numbanet.from_numpy(rng.standard_normal((1, 2, 7, 5)))
    once = F.interpolate(x, (20, 1), mode="bilinear", antialias=True)
    narrow = F.interpolate(x, (7, 1), mode="bilinear", antialias=True)
    assert_close(once, F.interpolate(narrow, (20, 1), mode="bilinear", antialias=True), 1e-12, 1e-12)


@pytest.mark.parametrize("mode, align", [*NEAREST, ("linear", False), ("linear", True)])
@pytest.mark.parametrize("size", [{"size": 12}, {"size": 3}, {"scale_factor": 1.7}, {"scale_factor": 0.4}], ids=str)
def test_signals(mode, align, size):
    both(rng.standard_normal((2, 3, 8)).astype(np.float32), mode=mode, align_corners=align, **size)


@pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("mode, dtype", list(product(("nearest", "nearest-exact"), (np.float32, np.float64))))
def test_nearest_takes_pytorchs_pixels(mode, dtype):
    """Where places are rounded, every size: one ulp decides."""
    for inputs, outputs in product((1, 2, 3, 7, 10, 33), range(1, 60)):
        x = np.arange(inputs, dtype=dtype).reshape(1, 1, inputs)
        ours = F.interpolate(numbanet.from_numpy(x), outputs, mode=mode)
        theirs = torch.nn.functional.interpolate(torch.from_numpy(x), outputs, mode=mode)
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=f"{inputs} to {outputs}")


@pytest.mark.parametrize("mode, align", NEAREST + SMOOTH)
def test_the_gradients_gradient_is_the_map_itself(mode, align):
    x = numbanet.tensor(rng.standard_normal((1, 2, 4, 3)), requires_grad=True)
    resize = lambda x: F.interpolate(x, (3, 5), mode=mode, align_corners=align)  # noqa: E731
    dy = numbanet.tensor(rng.standard_normal((1, 2, 3, 5)), requires_grad=True)
    assert autograd.gradcheck(lambda x, dy: autograd.grad(resize(x) ** 2, x, dy, create_graph=True), (x, dy))


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic", "area"])
def test_an_empty_batch(mode):
    x = numbanet.zeros(0, 2, 4, 4, requires_grad=True)
    y = F.interpolate(x, (3, 8), mode=mode)
    assert tuple(y.shape) == (0, 2, 3, 8)
    y.sum().backward()
    assert tuple(x.grad.shape) == (0, 2, 4, 4)


@pytest.mark.parametrize("mode, align", NEAREST + SMOOTH)
def test_infinities_and_nan_stay_where_they_have_a_tap(mode, align):
    x = rng.standard_normal((1, 1, 6, 6)).astype(np.float32)
    x[0, 0, 1, 1], x[0, 0, 4, 4] = np.inf, np.nan
    for size in ((12, 12), (3, 9)):
        both_ways = {"size": size, "mode": mode, "align_corners": align}
        y = F.interpolate(numbanet.from_numpy(x), **both_ways).numpy()
        assert np.isfinite(y).any() and not np.isfinite(y).all()
        if torch is not None:
            theirs = torch.nn.functional.interpolate(torch.from_numpy(x), **both_ways).numpy()
            np.testing.assert_allclose(y, theirs, 1e-4, 1e-5)


def test_uint8_images_are_taken_by_the_nearest_modes():
    x = rng.integers(0, 256, (1, 3, 4, 5)).astype(np.uint8)
    for mode in ("nearest", "nearest-exact"):
        y = F.interpolate(numbanet.from_numpy(x), scale_factor=2.0, mode=mode)
        assert y.dtype == numbanet.uint8
        np.testing.assert_array_equal(y.numpy(), x.repeat(2, 2).repeat(2, 3))


def test_upsample_is_the_older_name():
    x = numbanet.from_numpy(rng.standard_normal((1, 1, 3, 3)))
    assert_close(F.upsample(x, scale_factor=2, mode="bilinear", align_corners=True),
                 F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True))  # fmt: skip
