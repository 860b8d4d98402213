"""LeNet-5, AlexNet, ZFNet, VGG and NiN, as in their papers."""

from __future__ import annotations

import numpy as np
import pytest

import numbanet
from numbanet import models, nn
from numbanet.models.lenet5 import CONNECTIONS, DigitDistance, ScaledTanh, Subsampling, TableConv2d
from numbanet.models.vgg import VGG
from tests.models.checks import bare, check_keys, check_learns, count, filled, images, output_shape

TORCHVISIONS = {
    "alexnet": 61_100_840,
    "vgg11": 132_863_336,
    "vgg11_bn": 132_868_840,
    "vgg13": 133_047_848,
    "vgg13_bn": 133_053_736,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "vgg19": 143_667_240,
    "vgg19_bn": 143_678_248,
}


@pytest.mark.parametrize("name", TORCHVISIONS)
def test_torchvisions_keys_and_parameters(name):
    net = bare(name)
    check_keys(net, name)
    assert count(net) == TORCHVISIONS[name]


# The published numbers: LeNet-5's paper counts 60,000; the others are counted from the papers' tables of layers.
@pytest.mark.parametrize(
    ("name", "parameters"), [("lenet5", 60_000), ("zfnet", 62_357_608), ("nin", 7_595_176), ("nin_cifar", 966_986)]
)
def test_parameters(name, parameters):
    assert count(bare(name)) == parameters


@pytest.mark.parametrize(
    ("name", "size"),
    [("lenet5", 32), ("alexnet", 63), ("zfnet", 53), ("vgg11", 32), ("vgg13_bn", 33), ("nin", 39), ("nin_cifar", 32)],
)
def test_output_shapes(name, size):
    """At the least size that the docstring allows, or another odd one; for other numbers of classes and channels."""
    assert output_shape(filled(name, num_classes=5, in_channels=2), (2, 2, size, size)) == (2, 5)


def test_stages_have_the_shapes_of_the_papers():
    """At full size, up to the last maps."""
    for name, shape in [("alexnet", (256, 6, 6)), ("zfnet", (256, 6, 6)), ("nin", (10, 6, 6))]:
        net = filled(name, num_classes=10)
        with numbanet.no_grad():
            assert tuple(net.features(images((1, 3, 224, 224))).shape) == (1, *shape), name


@pytest.mark.parametrize(
    ("make", "shape", "options"),
    [
        (models.lenet5, (4, 1, 32, 32), {"lr": 0.003, "steps": 6}),
        (lambda **kw: models.lenet5(output="linear", **kw), (4, 1, 32, 32), {"lr": 0.1, "steps": 8}),
        (models.alexnet, (2, 3, 63, 63), {"lr": 0.03}),
        (models.zfnet, (2, 3, 53, 53), {}),
        (models.nin, (2, 3, 63, 63), {"lr": 0.0003, "steps": 6}),
        (models.nin_cifar, (2, 3, 9, 9), {}),
        (lambda **kw: VGG((1, 1, 2, 2, 2), channels=(4, 8, 8, 8, 8), **kw), (2, 3, 32, 32), {"lr": 0.03}),
        (lambda **kw: VGG((1, 1, 2, 2, 2), channels=(4, 8, 8, 8, 8), batch_norm=True, **kw), (2, 3, 64, 64), {}),
    ],
    ids=["lenet5", "lenet5 linear", "alexnet", "zfnet", "nin", "nin_cifar", "vgg", "vgg with bn"],
)
def test_they_learn(make, shape, options):
    check_learns(make(num_classes=3), shape, **options)


def test_vgg_starts_as_torchvisions():
    net = VGG((1, 1, 1, 1, 1), num_classes=10, channels=(16, 16, 16, 16, 16))
    weights = net.features[3].weight.detach().numpy()
    assert abs(weights.std() / np.sqrt(2 / (9 * 16)) - 1) < 0.05
    assert abs(net.classifier[3].weight.detach().numpy().std() / 0.01 - 1) < 0.01
    assert not net.features[3].bias.detach().numpy().any()


# ------------------------------------------------------------------------------------------------------- LeNet-5's parts


def test_lenet5_counts_as_the_paper():
    """Section II-B: the parameters of every layer."""
    net = bare("lenet5")
    layers = {"c1": 156, "s2": 12, "c3": 1_516, "s4": 32, "c5": 48_120, "f6": 10_164, "output": 0}
    assert {name: count(net.get_submodule(name)) for name in layers} == layers


def test_subsampling_is_a_scaled_sum():
    layer = Subsampling(2)
    x = images((1, 2, 4, 4))
    a, b = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    sums = x.numpy().reshape(1, 2, 2, 2, 2, 2).sum((3, 5))
    np.testing.assert_allclose(
        layer(x).detach().numpy(), sums * a[:, None, None] + b[:, None, None], rtol=1e-5, atol=1e-6
    )


def test_a_table_convolution_sees_only_the_maps_of_its_table():
    layer = TableConv2d(6, CONNECTIONS, 3)
    x = images((2, 6, 5, 5))
    y = layer(x).detach().numpy()
    weight, start = layer.weight.detach(), 0
    for o, row in enumerate(CONNECTIONS):  # map by map, with ordinary convolutions of the maps that it sees
        kernel = weight[start : start + len(row)].unsqueeze(0)
        start += len(row)
        alone = nn.functional.conv2d(x[:, list(row)], kernel, layer.bias[o : o + 1].detach()).numpy()
        np.testing.assert_allclose(y[:, o : o + 1], alone, rtol=1e-5, atol=1e-6)
    assert start == len(weight) == 60
    assert {len(set(row)) for row in CONNECTIONS} == {3, 4, 6}
    assert len(set(CONNECTIONS)) == 16  # no two maps see the same ones


def test_distance_scores_know_the_pictures():
    layer = DigitDistance()
    codes = layer.codes.numpy()
    assert codes.shape == (10, 84)
    assert set(np.unique(codes)) == {-1, 1}
    scores = layer(layer.codes).numpy()
    assert (scores.argmax(1) == np.arange(10)).all()
    np.testing.assert_allclose(scores, -((codes[:, None] - codes[None]) ** 2).sum(2))
    assert np.sort(scores, 1)[:, -2].max() == -32  # the nearest two differ in eight pixels
    assert not list(layer.state_dict())
    assert abs(ScaledTanh()(numbanet.ones(1)).item() - 1) < 1e-4
    with pytest.raises(ValueError, match=r"lenet5: there are pictures of 10 classes, num_classes=11"):
        models.lenet5(num_classes=11)
    with pytest.raises(ValueError, match=r"lenet5: output must be 'distance' or 'linear', got 'rbf'"):
        models.lenet5(output="rbf")
    assert tuple(models.lenet5(num_classes=11, output="linear")(images((1, 1, 32, 32))).shape) == (1, 11)
