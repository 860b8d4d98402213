"""Dropout: its statistics, its mask in backward, its reproducibility."""

import numpy as np
import pytest

import numbanet
from numbanet import autograd, nn
from numbanet import functional as F
from tests.checks import assert_close, check_op, torch

rng = np.random.default_rng(31)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_zeroes_a_share_and_scales_the_rest(p):
    y = F.dropout(numbanet.ones(200, 500), p).numpy()
    n = y.size
    assert abs((y == 0).mean() - p) < 5 * np.sqrt(p * (1 - p) / n)
    np.testing.assert_allclose(y[y != 0], 1 / (1 - p), rtol=1e-6)


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(
    "name, shape",
    [("dropout", (3, 4)), ("dropout", ()), ("dropout", (0, 3)), ("alpha_dropout", (3, 4)), ("dropout1d", (3, 4, 5)),
     ("dropout1d", (4, 5)), ("dropout2d", (2, 3, 4, 5)), ("feature_alpha_dropout", (3, 4)),
     ("feature_alpha_dropout", (2, 3, 4, 5)), ("dropout2d", (2, 0, 4, 5))],
)  # fmt: skip
def test_gradients(name, shape, p, inplace):
    def seeded(x):
        numbanet.manual_seed(7)
        return getattr(F, name)(x * 1.0, p, True, inplace)

    check_op(seeded, None, [np.asarray(rng.standard_normal(shape), np.float32)], numeric=0 not in shape)


@pytest.mark.skipif(torch is None, reason="compares with PyTorch")
@pytest.mark.parametrize("name", ["dropout", "dropout1d", "dropout2d", "alpha_dropout", "feature_alpha_dropout"])
@pytest.mark.parametrize("p, training", [(0.0, True), (1.0, True), (0.4, False)])
def test_ends_as_pytorch(name, p, training):
    """Where nothing is left to chance, all values are PyTorch's, NaN and infinity too."""
    x = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)[:, :, : 1 if name == "dropout1d" else 4]
    x = x.reshape(2, 3, 5) if name == "dropout1d" else x
    x.reshape(-1)[:3] = np.nan, np.inf, -np.inf
    ours = getattr(F, name)(numbanet.from_numpy(x.copy()), p, training)
    assert_close(ours, getattr(torch.nn.functional, name)(torch.from_numpy(x.copy()), p, training))


@pytest.mark.skipif(torch is None, reason="compares with PyTorch")
@pytest.mark.parametrize("name", ["alpha_dropout", "feature_alpha_dropout"])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_alpha_dropout_has_pytorchs_two_values(name, p):
    """Ones become one of two numbers, which depend on p."""
    ours = np.unique(getattr(F, name)(numbanet.ones(40, 50), p, True).numpy())
    assert_close(ours, np.unique(getattr(torch.nn.functional, name)(torch.ones(40, 50), p, True).numpy()))


@pytest.mark.parametrize(
    "name, spatial", [("dropout1d", (5,)), ("dropout2d", (3, 2)), ("feature_alpha_dropout", (3, 2))]
)
def test_whole_channels_are_dropped(name, spatial):
    y = getattr(F, name)(numbanet.ones(100, 40, *spatial), 0.3, True).numpy().reshape(4000, -1)
    assert (y == y[:, :1]).all()
    dropped = y[:, 0] == y.min()
    assert abs(dropped.mean() - 0.3) < 5 * np.sqrt(0.21 / 4000)
    assert len(np.unique(y)) == 2
    per_image = dropped.reshape(100, 40)
    assert (per_image != per_image[0]).any(axis=1).sum() > 90  # each image for itself


def test_an_image_without_a_batch_loses_whole_channels():
    y = F.dropout1d(numbanet.ones(200, 6), 0.5).numpy()
    assert (y == y[:, :1]).all() and 0.3 < (y[:, 0] == 0).mean() < 0.7


@pytest.mark.parametrize("name", ["alpha_dropout", "feature_alpha_dropout"])
def test_alpha_dropout_keeps_mean_and_variance_of_selu(name):
    x = F.selu(numbanet.randn(500, 400))  # mean 0, variance 1
    y = getattr(F, name)(x, 0.2, training=True)
    assert abs(y.mean().item()) < 0.015 and abs(y.var().item() - 1) < 0.03
    assert abs(F.dropout(x, 0.2).var().item() - 1) > 0.1  # which plain dropout does not


def test_dropout2d_warns_of_other_numbers_of_dimensions():
    for shape in ((2, 3), (2, 3, 4), (1, 2, 3, 4, 5)):
        with pytest.warns(UserWarning, match="dropout2d: expected input of shape"):
            assert F.dropout2d(numbanet.ones(*shape), 0.0).shape == shape


def test_masks_are_the_same_at_any_number_of_threads():
    def draw():
        numbanet.manual_seed(3)
        x = numbanet.ones(7, 5, 61, 59)
        drops = (F.dropout, F.dropout2d, F.alpha_dropout, F.feature_alpha_dropout)
        return [f(x, 0.4, True).numpy() for f in drops] + [F.stochastic_depth(x, 0.4, "row").numpy()]

    many, threads = draw(), numbanet.get_num_threads()
    numbanet.set_num_threads(1)
    try:
        for a, b in zip(many, draw(), strict=True):
            assert a.tobytes() == b.tobytes()
    finally:
        numbanet.set_num_threads(threads)


def test_dropout_backward_uses_the_mask_of_forward():
    x = numbanet.randn(50, 40).requires_grad_()
    y = F.dropout(x, 0.3)
    dy = numbanet.randn(50, 40)
    y.backward(dy)
    kept = y.detach().numpy() != 0
    assert_close(x.grad, np.where(kept, dy.numpy() / np.float32(0.7), 0).astype(np.float32))


def test_dropout_repeats_with_the_seed_and_differs_between_calls():
    x = numbanet.ones(1000)
    numbanet.manual_seed(5)
    first, second = F.dropout(x).numpy(), F.dropout(x).numpy()
    numbanet.manual_seed(5)
    assert_close(F.dropout(x), first)
    assert (first != second).mean() > 0.3


def test_dropout_outside_training_or_with_p_0_does_nothing():
    x = numbanet.randn(4)
    assert F.dropout(x, 0.5, training=False) is x
    assert F.dropout(x, 0.0) is x
    assert F.alpha_dropout(x, 0.5) is x and F.feature_alpha_dropout(x, 0.5) is x  # training is False unless given


def test_dropout_with_p_1_gives_zeros():
    x = numbanet.ones(5, requires_grad=True)
    F.dropout(x, 1.0).sum().backward()
    assert x.grad.tolist() == [0.0] * 5


def test_dropout_in_place():
    x = numbanet.ones(1000)
    y = F.dropout(x, 0.5, inplace=True)
    assert y is x and 0.3 < (x.numpy() == 0).mean() < 0.7
    leaf = numbanet.ones(1000, requires_grad=True)
    with pytest.raises(RuntimeError, match="dropout: a leaf that requires grad"):
        F.dropout(leaf, inplace=True)
    z = leaf * 3.0
    F.dropout(z, 0.5, inplace=True)
    z.sum().backward()
    assert_close(leaf.grad, z.detach())


@pytest.mark.parametrize("name", ["dropout", "alpha_dropout", "feature_alpha_dropout"])
def test_dropout_can_be_differentiated_twice(name):
    x, dy = [numbanet.tensor(rng.standard_normal((4, 3)), requires_grad=True) for _ in range(2)]

    def gradient(x, dy):
        numbanet.manual_seed(1)
        return autograd.grad(getattr(F, name)(x, 0.4, True) ** 2, x, dy, create_graph=True)

    assert autograd.gradcheck(gradient, (x, dy))


def test_dropout_of_a_strided_view():
    x = numbanet.ones(40, 30)
    numbanet.manual_seed(2)
    expected = F.dropout(x.T.contiguous())
    numbanet.manual_seed(2)
    assert_close(F.dropout(x.T), expected)


def test_dropout_refuses_probabilities_outside_0_to_1():
    for p in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="dropout: probability has to be between 0 and 1, got p="):
            F.dropout(numbanet.ones(2), p)


@pytest.mark.parametrize("shape", [(4000,), (4000, 3), (4000, 2, 2, 2)])
def test_stochastic_depth_drops_whole_rows(shape):
    y = F.stochastic_depth(numbanet.ones(*shape), 0.3, "row").numpy().reshape(4000, -1)
    assert (y == y[:, :1]).all()
    dropped = y[:, 0] == 0
    assert abs(dropped.mean() - 0.3) < 5 * np.sqrt(0.21 / 4000)
    np.testing.assert_allclose(y[~dropped], 1 / 0.7, rtol=1e-6)


def test_stochastic_depth_drops_all_rows_of_a_batch_or_none():
    ys = [F.stochastic_depth(numbanet.ones(5, 3), 0.4, "batch").numpy() for _ in range(200)]
    assert all((y == y[0, 0]).all() for y in ys)
    assert {round(float(y[0, 0]), 5) for y in ys} == {0.0, round(1 / 0.6, 5)}
    assert 0.2 < np.mean([y[0, 0] == 0 for y in ys]) < 0.6


@pytest.mark.parametrize(("p", "training"), [(0.0, True), (0.5, False)])
def test_stochastic_depth_may_do_nothing(p, training):
    x = numbanet.ones(3, 2)
    assert F.stochastic_depth(x, p, "row", training) is x


@pytest.mark.parametrize("mode", ["row", "batch"])
def test_stochastic_depth_with_p_1_gives_zeros(mode):
    assert not F.stochastic_depth(numbanet.ones(3, 2), 1.0, mode).numpy().any()


@pytest.mark.parametrize("p", [0.4, 1.0])
@pytest.mark.parametrize("mode, shape", [("row", (4, 2, 3)), ("row", (0, 3)), ("batch", (4, 2)), ("batch", ())])
def test_stochastic_depth_gradients(mode, shape, p):
    def seeded(x):
        numbanet.manual_seed(3)
        return F.stochastic_depth(x, p, mode)

    check_op(seeded, None, [np.asarray(rng.standard_normal(shape), np.float32)], numeric=0 not in shape)


def test_stochastic_depth_layer_follows_its_mode_of_training():
    layer, x = nn.StochasticDepth(0.5, "row"), numbanet.ones(200, 2)
    assert 0 < (layer(x).numpy() == 0).mean() < 1
    assert layer.eval()(x) is x
    assert repr(layer) == "StochasticDepth(p=0.5, mode=row)"


@pytest.mark.parametrize("make", [lambda *a: F.stochastic_depth(numbanet.ones(2), *a), nn.StochasticDepth])
def test_stochastic_depth_refuses(make):
    for p in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="probability has to be between 0 and 1, "):
            make(p, "row")
    with pytest.raises(ValueError, match=r"mode has to be 'batch' or 'row', .*'rows'"):
        make(0.5, "rows")


def test_stochastic_depth_refuses_rows_of_a_number():
    with pytest.raises(ValueError, match=r"stochastic_depth: mode 'row' needs an input of shape \(N, ...\), got \(\)"):
        F.stochastic_depth(numbanet.tensor(1.0), 0.5, "row")
    with pytest.raises(RuntimeError, match=r"stochastic_depth: .*int64"):
        F.stochastic_depth(numbanet.tensor([1, 2]), 0.5, "row")
    with pytest.raises(TypeError, match="stochastic_depth: argument 'input' must be a Tensor, not list"):
        F.stochastic_depth([1.0], 0.5, "row")
