"""Small groups of layers: shapes, keys, formulas."""

import numpy as np
import pytest

import numbanet
from numbanet import nn, ops
from tests.checks import assert_close

rng = np.random.default_rng(43)


def draw(*shape):
    return numbanet.from_numpy(rng.standard_normal(shape).astype(np.float32))


@pytest.mark.parametrize(
    ("options", "size", "layers"),
    [
        ({}, (9, 8), ["Conv2d", "BatchNorm2d", "ReLU"]),
        ({"kernel_size": (1, 5), "dilation": (1, 2)}, (9, 8), ["Conv2d", "BatchNorm2d", "ReLU"]),
        ({"kernel_size": 5, "stride": 2, "groups": 2}, (5, 4), ["Conv2d", "BatchNorm2d", "ReLU"]),
        ({"padding": 0, "norm_layer": None}, (7, 6), ["Conv2d", "ReLU"]),
        ({"padding": (2, 0), "activation_layer": None}, (11, 6), ["Conv2d", "BatchNorm2d"]),
        ({"activation_layer": nn.GELU, "inplace": None, "bias": True}, (9, 8), ["Conv2d", "BatchNorm2d", "GELU"]),
    ],
)
def test_conv_norm_activation(options, size, layers):
    block = nn.Conv2dNormActivation(4, 6, **options)
    assert block(draw(2, 4, 9, 8)).shape == (2, 6, *size)
    assert [type(layer).__name__ for layer in block] == layers
    assert block.out_channels == 6
    assert (block[0].bias is not None) == options.get("bias", "norm_layer" in options)
    assert next(iter(block.state_dict())) == "0.weight"
    if layers[-1] == "ReLU":
        assert block[-1].inplace


def test_conv_norm_activation_is_its_layers_one_after_another():
    block, x = nn.Conv2dNormActivation(3, 4, activation_layer=nn.Hardswish), draw(2, 3, 5, 5)
    conv, norm, activation = block
    assert_close(block(x).detach(), activation(norm(conv(x))).detach())


@pytest.mark.parametrize("name", ["kernel_size", "dilation"])
def test_conv_norm_activation_refuses_three_numbers(name):
    with pytest.raises(ValueError, match=f"Conv2dNormActivation: {name} must be an int or a pair of ints"):
        nn.Conv2dNormActivation(3, 4, **{name: (3, 3, 3)})


def test_squeeze_excitation_weighs_channels_by_their_means():
    block, x = nn.SqueezeExcitation(6, 2), draw(2, 6, 4, 5)
    weight1, bias1, weight2, bias2 = [p.detach().numpy().reshape(len(p), -1) for p in block.parameters()]
    means = x.numpy().mean((2, 3))
    hidden = np.maximum(means @ weight1.T + bias1[:, 0], 0)
    scale = 1 / (1 + np.exp(-(hidden @ weight2.T + bias2[:, 0])))
    assert_close(block(x).detach(), x.numpy() * scale[:, :, None, None])
    assert list(block.state_dict()) == ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]


def test_squeeze_excitation_takes_other_functions():
    block = nn.SqueezeExcitation(4, 2, activation=nn.SiLU, scale_activation=nn.Hardsigmoid)
    assert isinstance(block.activation, nn.SiLU)
    nn.init.constant_(block.fc2.bias, 100.0)
    x = draw(1, 4, 3, 3)
    assert_close(block(x).detach(), x)  # a hard sigmoid that is 1


def test_permute():
    x = draw(2, 3, 4, 5)
    layer = nn.Permute([0, 2, 3, 1])
    np.testing.assert_array_equal(layer(x).numpy(), x.numpy().transpose(0, 2, 3, 1))
    assert repr(layer) == "Permute(dims=[0, 2, 3, 1])"


def test_layer_norm_2d_normalizes_the_channels_of_each_pixel():
    layer, x = nn.LayerNorm2d(5, eps=1e-6), draw(2, 5, 3, 4)
    nn.init.uniform_(layer.weight)
    nn.init.uniform_(layer.bias)
    mean, var = x.numpy().mean(1, keepdims=True), x.numpy().var(1, keepdims=True)
    weight, bias = [p.detach().numpy()[:, None, None] for p in layer.parameters()]
    assert_close(layer(x).detach(), (x.numpy() - mean) / np.sqrt(var + np.float32(1e-6)) * weight + bias, atol=1e-5)
    assert list(layer.state_dict()) == ["weight", "bias"]


def test_torchvision_ops_has_them():
    for name in ("Conv2dNormActivation", "Permute", "SqueezeExcitation", "StochasticDepth"):
        assert getattr(ops, name) is getattr(nn, name)
    assert ops.stochastic_depth is nn.functional.stochastic_depth
