"""Batch normalisation: twins against the float64 references and PyTorch, finite differences, hard data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from numbanet.kernels import batch_norm as B
from numbanet.kernels import launch
from tests.kernels.twins import DEVICES, FLOATS, check, check_threads, run

SHAPES = [(4, 3, 5), (1, 2, 7), (6, 5, 1), (3, 1, 1), (2, 4, 1), (1, 1, 1)]
LARGE = [(32, 2, 1100), (256, 3, 576), (5, 70, 49), (300, 130, 1), (2, 1, 40000)]
EPS = 1e-5


@pytest.fixture(autouse=True)
def _tiny_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "THREADS", 3)
    monkeypatch.setattr(B, "_threads", lambda: 3)
    monkeypatch.setattr(B, "_CUDA_PIECE", 8)


def cases(device: str) -> list[tuple[int, int, int]]:
    return SHAPES + LARGE if device == "cpu" else SHAPES


def make(shape: tuple[int, int, int], dtype: Any, affine: bool, seed: int = 0) -> Any:
    """(x, dy, weight, bias, some statistics)."""
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal(shape) * 2 + rng.standard_normal((1, shape[1], 1))).astype(dtype)
    dy = rng.standard_normal(shape).astype(dtype)
    weight, bias, mean = rng.standard_normal((3, shape[1])).astype(dtype)
    var = (rng.random(shape[1]) + 0.5).astype(dtype)
    return x, dy, weight if affine else weight[:0], bias if affine else bias[:0], mean, var


def following(shape: tuple[int, int, int], dtype: Any, adds: bool, relu: bool) -> Any:
    """(what to add, y of a ReLU, room for the gradient of what was added), each (0,) for none."""
    rng = np.random.default_rng(5)
    add, y = rng.standard_normal(shape).astype(dtype), np.maximum(rng.standard_normal(shape), 0).astype(dtype)
    nothing = np.empty(0, dtype)
    return add if adds else nothing, y if relu else nothing, np.empty_like(y) if adds and relu else nothing


def statistics(shape: tuple[int, int, int], dtype: Any) -> list[np.ndarray]:
    return [np.full(shape, np.nan, dtype), *(np.full(shape[1], np.nan, dtype) for _ in range(3))]


def tolerance(dtype: Any) -> dict[str, float]:
    return {"rtol": 1e-5, "atol": 1e-5} if dtype == np.float32 else {"rtol": 1e-11, "atol": 1e-11}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("affine", "adds", "relu"), [(False, 0, 0), (True, 0, 0), (True, 0, 1), (True, 1, 0), (False, 1, 1)]
)
def test_twins(device: str, dtype: Any, affine: bool, adds: int, relu: int) -> None:
    near = tolerance(dtype)
    for shape in cases(device):
        x, dy, weight, bias, mean, var = make(shape, dtype, affine)
        add, y, dadd = following(shape, dtype, bool(adds), bool(relu))
        n = shape[0] * shape[2]
        outputs = statistics(shape, dtype)
        inputs = [x, weight, bias, add]
        _, batch_mean, inv_std, _ = check(B.batch_norm_train_forward, device, inputs, outputs, EPS, relu, **near)
        check(B.batch_norm_eval_forward, device, [x, weight, bias, mean, var, add], outputs[:1], EPS, relu, **near)
        sums = [np.empty_like(mean), np.empty_like(mean)]
        far = {"rtol": near["rtol"], "atol": near["atol"] * max(1.0, n**0.5 / 4)}
        if n > 1:  # the gradient through one element's statistics is 0 times a number of 1 / sqrt(eps)
            check(
                B.batch_norm_train_backward,
                device,
                [dy, x, weight, batch_mean, inv_std, y],
                [np.empty_like(x), *sums, dadd],
                **far,
            )
        inputs = [dy, x, weight, mean, var, y]
        check(B.batch_norm_eval_backward, device, inputs, [np.empty_like(x), *sums, dadd], EPS, **far)
        wanted_not = [np.empty_like(x), mean[:0], mean[:0], mean[:0]]
        check(B.batch_norm_eval_backward, device, inputs, wanted_not, EPS, **far)


@pytest.mark.parametrize("shape", [*LARGE, (4, 3, 5), (6, 5, 1)])
def test_the_number_of_threads_changes_no_bit(shape: tuple[int, int, int]) -> None:
    x, dy, weight, bias, mean, var = make(shape, np.float32, True)
    for follows in (False, True):
        add, y, dadd = following(shape, np.float32, follows, follows)
        gradients = [np.empty_like(x), np.empty_like(mean), np.empty_like(mean), dadd]
        relu = int(follows)
        check_threads(B.batch_norm_train_forward, [x, weight, bias, add], statistics(shape, np.float32), EPS, relu)
        check_threads(B.batch_norm_eval_forward, [x, weight, bias, mean, var, add], [np.empty_like(x)], EPS, relu)
        check_threads(B.batch_norm_train_backward, [dy, x, weight, mean, var, y], gradients)
        check_threads(B.batch_norm_eval_backward, [dy, x, weight, mean, var, y], gradients, EPS)


@pytest.mark.parametrize("shape", [(5, 3, 70), (40, 2, 1100), (6, 70, 1)])
@pytest.mark.parametrize("train", [True, False])
def test_what_follows_has_the_bits_of_kernels_of_its_own(shape: tuple[int, int, int], train: bool) -> None:
    x, dy, weight, bias, mean, var = make(shape, np.float32, True)
    add, _, dadd = following(shape, np.float32, True, True)
    nothing = add[:0].reshape(0)

    def forward(add: np.ndarray, relu: int) -> np.ndarray:
        y, *moments = statistics(shape, np.float32)
        if train:
            B.batch_norm_train_forward(x, weight, bias, add, y, *moments, EPS, relu)
        else:
            B.batch_norm_eval_forward(x, weight, bias, mean, var, add, y, EPS, relu)
        return y

    def backward(dy: np.ndarray, y: np.ndarray, dadd: np.ndarray) -> list[np.ndarray]:
        gradients = [np.empty_like(x), np.empty_like(mean), np.empty_like(mean), dadd]
        if train:
            B.batch_norm_train_backward(dy, x, weight, mean, var, y, *gradients)
        else:
            B.batch_norm_eval_backward(dy, x, weight, mean, var, y, *gradients, EPS)
        return gradients

    for adds, relu in ((False, 1), (True, 0), (True, 1)):
        wanted = forward(nothing, 0) + (add if adds else np.float32(0))
        np.testing.assert_array_equal(
            forward(add if adds else nothing, relu), np.maximum(wanted, 0) if relu else wanted
        )
    y = forward(add, 1)
    rectified = np.where(y <= 0, np.float32(0), dy)
    wanted = backward(rectified, nothing, nothing)
    for room in (nothing, dadd):
        for found, expected in zip(
            backward(dy, y, room), [*wanted[:3], rectified][: 4 if room.size else 3], strict=False
        ):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("device", DEVICES)
def test_relu_passes_nan_on_both_ways(device: str) -> None:
    for shape in ((3, 4, 20), (3, 4, 1)):
        x, dy, weight, bias, mean, var = make(shape, np.float32, True)
        add, _, dadd = following(shape, np.float32, True, True)
        add[1, 2, 0] = np.nan
        (y,) = run(B.batch_norm_eval_forward, device, [x, weight, bias, mean, var, add], [x], EPS, 1)
        assert np.isnan(y[1, 2, 0]) and np.isnan(y).sum() == 1 and (y == 0).any() and (y > 0).any()
        outputs = [np.empty_like(x), mean, mean, dadd]
        *_, dadd = run(B.batch_norm_eval_backward, device, [dy, x, weight, mean, var, y], outputs, EPS)
        np.testing.assert_array_equal(dadd, np.where(y <= 0, 0, dy))
        assert dadd[1, 2, 0] == dy[1, 2, 0] != 0


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("spatial", [1, 6])
def test_data_with_a_large_offset_keeps_its_digits(device: str, spatial: int) -> None:
    shape = (200 if device == "cpu" else 12, 2, spatial)
    x = (1e4 + np.random.default_rng(1).standard_normal(shape)).astype(np.float32)
    x[0, 1, 0] = -1e4  # and an outlier, first of its channel
    none = np.empty(0, np.float32)
    outputs = statistics(shape, np.float32)
    check(B.batch_norm_train_forward, device, [x, none, none, none], outputs, EPS, 0, rtol=2e-6, atol=2e-6)


def test_blocks_of_a_channel_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [B._cuda_pieces(3, count) for count in (0, 1, 15, 16, 20, 73)]
    assert found == [(1, 0), (1, 1), (1, 15), (2, 8), (2, 10), (9, 9)]  # as in the tests above
    monkeypatch.undo()
    assert B._cuda_pieces(64, 32 * 56 * 56) == (12, 8363)
    assert B._cuda_pieces(512, 32 * 14 * 14) == (1, 6272)
    assert B._cuda_pieces(1, 1 << 30) == (1024, 1 << 20)
    for count in range(1, 300):  # no piece is empty
        pieces, length = B._cuda_pieces(7, 1000 * count)
        assert 0 < 1000 * count - (pieces - 1) * length <= length


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_nan_and_infinity_stay_in_their_channel(device: str) -> None:
    for shape in ((3, 4, 6), (5, 4, 1)):
        x, _, weight, bias, *_ = make(shape, np.float32, True)
        x[1, 1, 0], x[2, 3, 0] = np.nan, np.inf
        y, mean, inv_std, var = run(
            B.batch_norm_train_forward, device, [x, weight, bias, x[:0, 0, 0]], statistics(shape, np.float32), EPS, 1
        )
        for array in (y.swapaxes(0, 1), inv_std, var):
            assert np.isnan(array[[1, 3]]).all() and np.isfinite(array[[0, 2]]).all()
        assert not np.isfinite(mean[[1, 3]]).any() and np.isfinite(mean[[0, 2]]).all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_empty_inputs(device: str) -> None:
    for shape in ((0, 3, 4), (2, 3, 0), (2, 0, 4), (0, 3, 1)):
        x, dy, weight, bias, mean, var = make(shape, np.float32, True)
        outputs = statistics(shape, np.float32)
        _, *moments = run(B.batch_norm_train_forward, device, [x, weight, bias, x], outputs, EPS, 1)
        assert all(np.isnan(moment).all() for moment in moments)
        run(B.batch_norm_eval_forward, device, [x, weight, bias, mean, var, x], [x], EPS, 1)
        inputs, outputs = [dy, x, weight, mean, var, x], [x, mean, mean, x]
        _, dweight, dbias, _ = run(B.batch_norm_eval_backward, device, inputs, outputs, EPS)
        assert not dweight.any() and not dbias.any()
        _, dweight, dbias, _ = run(B.batch_norm_train_backward, device, inputs, outputs)
        assert not dweight.any() and not dbias.any()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("count", [1, 2, 50])
def test_update_running(device: str, dtype: Any, count: int) -> None:
    *_, mean, var = make((2, 7, 3), dtype, True)
    running = make((2, 7, 3), dtype, True, seed=1)[4:]
    for momentum in (0.1, 1.0):
        check(B.batch_norm_update_running, device, [], [*running, mean, var], momentum, count, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shape", [(8, 3, 4, 5), (16, 6)])
def test_agrees_with_pytorch(shape: tuple[int, ...], training: bool) -> None:
    torch = pytest.importorskip("torch")
    view = (shape[0], shape[1], int(np.prod(shape[2:])))
    x, dy, weight, bias, mean, var = make(view, np.float64, True)
    leaves = [torch.from_numpy(a).requires_grad_() for a in (x.reshape(shape), weight, bias)]
    running = [torch.from_numpy(a.copy()) for a in (mean, var)]
    expected = torch.nn.functional.batch_norm(leaves[0], *running, leaves[1], leaves[2], training, 0.3, EPS)
    gradients = torch.autograd.grad(expected, leaves, torch.from_numpy(dy.reshape(shape)))
    y, batch_mean, inv_std, batch_var = statistics(view, np.float64)
    dx, dweight, dbias = np.empty_like(x), np.empty_like(mean), np.empty_like(mean)
    none = np.empty(0)
    if training:
        B.batch_norm_train_forward(x, weight, bias, none, y, batch_mean, inv_std, batch_var, EPS, 0)
        B.batch_norm_train_backward(dy, x, weight, batch_mean, inv_std, none, dx, dweight, dbias, none)
        B.batch_norm_update_running(mean, var, batch_mean, batch_var, 0.3, view[0] * view[2])
    else:
        B.batch_norm_eval_forward(x, weight, bias, mean, var, none, y, EPS, 0)
        B.batch_norm_eval_backward(dy, x, weight, mean, var, none, dx, dweight, dbias, none, EPS)
    pairs = zip((y, dx, dweight, dbias, mean, var), (expected.detach(), *gradients, *running), strict=True)
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours.reshape(theirs.shape), theirs.numpy(), 1e-9, 1e-11)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shape", [(4, 3, 5), (6, 2, 1)])
def test_gradients_by_finite_differences(shape: tuple[int, int, int], training: bool) -> None:
    rng = np.random.default_rng(3)
    x, dy, weight, bias, mean, var = make(shape, np.float64, True)
    dx, dweight, dbias = np.empty_like(x), np.empty_like(mean), np.empty_like(mean)
    y, batch_mean, inv_std, batch_var = statistics(shape, np.float64)
    add, relu = rng.standard_normal(shape), 1
    dadd = np.empty_like(x)
    if training:
        B.batch_norm_train_forward.reference(x, weight, bias, add, y, batch_mean, inv_std, batch_var, EPS, relu)
        B.batch_norm_train_backward.reference(dy, x, weight, batch_mean, inv_std, y, dx, dweight, dbias, dadd)
    else:
        B.batch_norm_eval_forward.reference(x, weight, bias, mean, var, add, y, EPS, relu)
        B.batch_norm_eval_backward.reference(dy, x, weight, mean, var, y, dx, dweight, dbias, dadd, EPS)
    u, (v, t), w = rng.standard_normal(shape), rng.standard_normal((2, shape[1])), rng.standard_normal(shape)

    def loss(step: float) -> float:
        moved = x + step * u, weight + step * v, bias + step * t
        if training:
            B.batch_norm_train_forward.reference(*moved, add + step * w, y, batch_mean, inv_std, batch_var, EPS, relu)
        else:
            B.batch_norm_eval_forward.reference(*moved, mean, var, add + step * w, y, EPS, relu)
        return float((y * dy).sum())

    slope = (loss(1e-5) - loss(-1e-5)) / 2e-5
    wanted = (dx * u).sum() + (dweight * v).sum() + (dbias * t).sum() + (dadd * w).sum()
    assert slope == pytest.approx(wanted, rel=1e-6, abs=1e-7)
