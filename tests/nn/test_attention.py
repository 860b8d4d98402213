"""Attention layers against their formulas in NumPy (gradients: tests/test_semantics.py)."""

import numpy as np
import pytest

import numbanet
from numbanet import nn, ops
from tests.checks import assert_close

rng = np.random.default_rng(7)
X = rng.standard_normal((2, 32, 5, 4)).astype(np.float32)


def sigmoid(x):
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def through(layer, x):
    """A 1 x 1 convolution of (N, C) as a matrix product."""
    return x @ layer.weight.detach().numpy()[:, :, 0, 0].T + layer.bias.detach().numpy()


def compare(layer, weights):
    """The layer's output is its input times ``weights``."""
    assert_close(layer(numbanet.from_numpy(X)).detach().numpy(), (X * weights).astype(np.float32), rtol=1e-4)


def test_squeeze_and_excitation():
    layer = nn.SqueezeExcitation(32, 3)
    hidden = np.maximum(through(layer.fc1, X.mean((2, 3))), 0)
    compare(layer, sigmoid(through(layer.fc2, hidden))[:, :, None, None])
    assert ops.SqueezeExcitation is nn.SqueezeExcitation


def test_squeeze_and_excitation_with_other_nonlinearities():
    layer = nn.SqueezeExcitation(32, activation=nn.SiLU, scale_activation=nn.Hardsigmoid)
    assert layer.fc1.out_channels == 2  # 32 / 16
    hidden = through(layer.fc1, X.mean((2, 3)))
    hidden = hidden * sigmoid(hidden)
    compare(layer, np.clip(through(layer.fc2, hidden) / 6 + 0.5, 0, 1)[:, :, None, None])


def channel_weights(layer, x):
    one, _, two = layer.mlp
    result = 0
    for means in (x.mean((2, 3)), x.max((2, 3))):
        result = result + through(two, np.maximum(through(one, means), 0))
    return sigmoid(result)[:, :, None, None]


def spatial_weights(layer, x):
    kernel = layer.conv.weight.detach().numpy()[0]
    size = kernel.shape[-1]
    maps = np.stack((x.mean(1), x.max(1)), 1)
    n, _, height, width = maps.shape
    padded = np.pad(maps, ((0, 0), (0, 0), (size // 2, size // 2), (size // 2, size // 2)))
    result = np.zeros((n, 1, height, width))
    for i in range(height):
        for j in range(width):
            result[:, 0, i, j] = (padded[:, :, i : i + size, j : j + size] * kernel).sum((1, 2, 3))
    return sigmoid(result)


def test_channel_attention():
    layer = nn.ChannelAttention(32, reduction=8)
    assert layer.mlp[0].out_channels == 4
    compare(layer, channel_weights(layer, X))


@pytest.mark.parametrize("kernel_size", [3, 7])
def test_spatial_attention(kernel_size):
    layer = nn.SpatialAttention(kernel_size)
    compare(layer, spatial_weights(layer, X))


def test_cbam_weighs_channels_and_then_pixels():
    layer = nn.CBAM(32, 4, 3)
    by_channel = channel_weights(layer.channel, X)
    compare(layer, by_channel * spatial_weights(layer.spatial, X * by_channel))


@pytest.mark.parametrize(("channels", "size"), [(1, 1), (16, 3), (64, 3), (128, 5), (512, 5), (2048, 7)])
def test_eca_has_the_papers_kernel_size(channels, size):
    assert nn.ECA(channels).conv.kernel_size == (size,)


def test_eca():
    layer = nn.ECA(32, 5)
    kernel = layer.conv.weight.detach().numpy()[0, 0]
    means = np.pad(X.mean((2, 3)), ((0, 0), (2, 2)))
    compare(layer, sigmoid(sum(kernel[t] * means[:, t : t + 32] for t in range(5)))[:, :, None, None])


@pytest.mark.parametrize("channels", [1, 5])
def test_few_channels_are_not_squeezed_to_none(channels):
    x = numbanet.rand(1, channels, 3, 3)
    for layer in (nn.SqueezeExcitation(channels), nn.CBAM(channels), nn.ECA(channels)):
        assert layer(x).shape == x.shape


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.SqueezeExcitation(8, 0), "SqueezeExcitation: squeeze_channels must be at least 1, got 0"),
        (lambda: nn.SqueezeExcitation(0), "SqueezeExcitation: input_channels must be at least 1, got 0"),
        (lambda: nn.ChannelAttention(8, 0), "ChannelAttention: reduction must be at least 1, got 0"),
        (lambda: nn.SpatialAttention(4), "SpatialAttention: kernel_size must be odd, .* got 4"),
        (lambda: nn.CBAM(8, kernel_size=-1), "SpatialAttention: kernel_size must be at least 1, got -1"),
        (lambda: nn.ECA(0), "ECA: channels must be at least 1, got 0"),
        (lambda: nn.ECA(8, 2), "ECA: kernel_size must be odd, .* got 2"),
    ],
)
def test_sizes_that_do_not_fit(make, message):
    with pytest.raises(ValueError, match=message):
        make()
