"""Philox's published vectors, the bits drawn from it, dropout and the two distributions."""

from __future__ import annotations

import numpy as np
import pytest

from numbanet.devices import as_device, to_device, to_host
from numbanet.kernels import dropout as D
from numbanet.kernels import launch
from tests.kernels.twins import DEVICES, FLOATS, check, check_threads, run

# The simulator computes with NumPy numbers, which warn where hardware silently makes NaN and infinity.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

SEED = 0x123456789ABCDEF


def space(x):
    """Outputs of a forward pass: y and the mask."""
    return [x, np.full(D.mask_bytes(x.size), 0xA5, np.uint8)]


def bits(x):
    """A mask for x."""
    return np.packbits(np.random.default_rng(1).random(8 * D.mask_bytes(x.size)) < 0.6)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(launch, "THREADS", 8)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_published_vectors(counter, key, expected):
    assert list(D.philox(*counter, *key)) == expected
    assert list(D.philox.py_func(*[np.uint64(word) for word in counter + key])) == expected


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("size", "offset"), [(37, 0), (1, 3), (5, 2), (6, 2**34 + 1)])
def test_values(size, offset, dtype, device):
    x = np.random.default_rng(0).normal(size=size).astype(dtype)
    check(D.dropout_forward, device, [x], space(x), 0.3, SEED, offset)
    check(D.dropout_backward, device, [x, bits(x)], [x], 0.3)
    check(D.alpha_dropout_forward, device, [x], space(x), 0.3, SEED, offset, atol=4 * np.finfo(dtype).eps)
    check(D.alpha_dropout_backward, device, [x, bits(x)], [x], 0.3)
    check(D.uniform, device, [], [x], 0.0, 1.0, SEED, offset)
    check(D.uniform, device, [], [x], -1.0, 3.0, SEED, offset, atol=4 * np.finfo(dtype).eps)
    tolerance = 20 * np.finfo(dtype).eps
    check(D.normal, device, [], [x], 1.0, 2.0, SEED, offset, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(3, 5), (1, 1), (4, 0), (0, 3), (2, 70)])
def test_channel_affine(shape, dtype, device):
    x, factor, shift = (
        np.random.default_rng(2).normal(size=size).astype(dtype) for size in (shape, shape[0], shape[0])
    )
    check(D.channel_affine, device, [x, factor, shift], [x], atol=4 * np.finfo(dtype).eps)


def test_several_tasks_and_threads():
    x = np.random.default_rng(0).normal(size=9001).astype(np.float32)
    for offset in (0, 4099):
        check(D.dropout_forward, "cpu", [x], space(x), 0.3, SEED, offset)
        check_threads(D.dropout_forward, [x], space(x), 0.3, SEED, offset)
        check(D.dropout_backward, "cpu", [x, bits(x)], [x], 0.3)
        check_threads(D.dropout_backward, [x, bits(x)], [x], 0.3)
        for kernel in (D.uniform, D.normal):
            check(kernel, "cpu", [], [x], 0.0, 1.0, SEED, offset, rtol=1e-5, atol=2e-6)
            check_threads(kernel, [], [x], 0.0, 1.0, SEED, offset)


@pytest.mark.parametrize("device", DEVICES)
def test_pieces_continue_the_whole(device):
    """Number q is number q, in whatever array and from whatever offset it is drawn."""
    whole = np.empty(50, np.float32)
    for kernel in (D.uniform, D.normal):
        (all_at_once,) = run(kernel, device, [], [whole], 0.0, 1.0, SEED, 100)
        pieces = [
            run(kernel, device, [], [whole[a:b]], 0.0, 1.0, SEED, 100 + a)[0] for a, b in [(0, 7), (7, 30), (30, 50)]
        ]
        np.testing.assert_array_equal(all_at_once, np.concatenate(pieces))


@pytest.mark.parametrize("device", DEVICES)
def test_dropout_ends(device):
    x = np.array([1.0, np.nan, np.inf, -2.0, 3.0], np.float32)
    np.testing.assert_array_equal(run(D.dropout_forward, device, [x], space(x), 0.0, SEED, 0)[0], x)
    nan = np.nan  # as PyTorch: times 0
    np.testing.assert_array_equal(run(D.dropout_forward, device, [x], space(x), 1.0, SEED, 0)[0], [0, nan, nan, 0, 0])
    for forward, backward in (
        (D.dropout_forward, D.dropout_backward),
        (D.alpha_dropout_forward, D.alpha_dropout_backward),
    ):
        for p, expected in ((0.0, x), (1.0, [0, nan, nan, 0, 0])):
            y, mask = run(forward, device, [x], space(x), p, SEED, 0)
            np.testing.assert_array_equal(y, expected)
            np.testing.assert_array_equal(run(backward, device, [x, mask], [x], p)[0], expected)
    place = as_device(device)
    inside = to_device(x.copy(), place)
    D.dropout_forward(inside, inside, to_device(bits(x), place), 0.5, SEED, 3)
    np.testing.assert_array_equal(to_host(inside), run(D.dropout_forward, device, [x], space(x), 0.5, SEED, 3)[0])
    assert run(D.dropout_forward, device, [x[:0]], space(x[:0]), 0.5, SEED, 0)[0].size == 0


@pytest.mark.parametrize("p", [0.05, 0.5, 0.9])
def test_alpha_dropout_keeps_mean_and_variance(p):
    n = 400_000
    (z,) = run(D.normal, "cpu", [], [np.empty(n, np.float32)], 0.0, 1.0, SEED, 0)
    y, _ = run(D.alpha_dropout_forward, "cpu", [z], space(z), p, SEED, n)
    a, b, dropped = D.alpha_affine(p)
    assert abs((y == np.float32(dropped)).mean() - p) < 5 * np.sqrt(p * (1 - p) / n)
    assert abs(y.mean()) < 5 / np.sqrt(n)
    assert abs(y.var() - 1) < 10 / np.sqrt(n)
    kept = y != np.float32(dropped)
    np.testing.assert_allclose(y[kept], a * z[kept].astype(np.float64) + b, rtol=1e-5, atol=1e-6)


def test_statistics():
    ones = np.ones(200_000, np.float32)
    y, _ = run(D.dropout_forward, "cpu", [ones], space(ones), 0.3, SEED, 0)
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.7)}
    assert abs((y > 0).mean() - 0.7) < 5 * np.sqrt(0.21 / y.size)
    (u,) = run(D.uniform, "cpu", [], [ones], 0.0, 1.0, SEED, 0)
    assert u.min() >= 0
    assert u.max() < 1
    counts = np.histogram(u, 20, (0, 1))[0]
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 60  # chi-square with 19 degrees of freedom
    (z,) = run(D.normal, "cpu", [], [ones], 0.0, 1.0, SEED, 0)
    n = z.size
    assert abs(z.mean()) < 5 / np.sqrt(n)
    assert abs(z.var() - 1) < 5 * np.sqrt(2 / n)
    assert abs((z**3).mean()) < 5 * np.sqrt(15 / n)
    assert abs((z**4).mean() - 3) < 5 * np.sqrt(96 / n)
    assert abs((z[::2] * z[1::2]).mean()) < 5 / np.sqrt(n / 2)
    (other,) = run(D.normal, "cpu", [], [ones], 0.0, 1.0, SEED + 1, 0)
    assert abs((z * other).mean()) < 5 / np.sqrt(n)
