"""DenseNet: parameters, keys, shapes, its memory-efficient form, and that it learns."""

from __future__ import annotations

import numpy as np
import pytest

import numbanet
from numbanet import models, nn
from numbanet.models.densenet import DenseLayer, DenseNet
from tests.models.checks import bare, check_keys, check_learns, count, images, output_shape

SMALL = {"growth_rate": 8, "block_config": (2, 3, 2), "num_init_features": 16, "num_classes": 3}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("densenet121", 7_978_856), ("densenet161", 28_681_000), ("densenet169", 14_149_480), ("densenet201", 20_013_928)],
)
def test_parameters_and_keys_are_torchvisions(name, parameters):
    net = bare(name)
    assert count(net) == parameters
    check_keys(net, name)


def test_shapes_after_the_stages():
    net, seen = models.densenet121(), {}
    for name, module in net.features.named_children():
        module.register_forward_hook(lambda _, args, y, name=name: seen.update({name: tuple(y.shape[1:])}))
    assert output_shape(net, (1, 3, 224, 224)) == (1, 1000)
    stages = {name: shape for name, shape in seen.items() if name[:4] in ("conv", "pool", "dens", "tran")}
    assert stages == {
        "conv0": (64, 112, 112),
        "pool0": (64, 56, 56),
        "denseblock1": (256, 56, 56),
        "transition1": (128, 28, 28),
        "denseblock2": (512, 28, 28),
        "transition2": (256, 14, 14),
        "denseblock3": (1024, 14, 14),
        "transition3": (512, 7, 7),
        "denseblock4": (1024, 7, 7),
    }


def test_grey_images_and_few_classes():
    assert output_shape(models.densenet121(num_classes=7, in_channels=1), (2, 1, 32, 32)) == (2, 7)


def test_less_memory_and_the_same_numbers():
    """Loss, gradients, and running statistics, which must not count a batch that is computed again."""
    results = []
    for memory_efficient in (False, True):
        numbanet.manual_seed(3)
        net = DenseNet(**SMALL, memory_efficient=memory_efficient)
        for step in range(2):
            loss = nn.CrossEntropyLoss()(net(images((4, 3, 32, 32), step)), numbanet.tensor([0, 1, 2, 0]))
            loss.backward()
        gradients = [parameter.grad.numpy() for parameter in net.parameters()]
        results.append([loss.detach().numpy(), *gradients, *(buffer.numpy() for buffer in net.buffers())])
    for plain, efficient in zip(*results, strict=True):
        np.testing.assert_array_equal(efficient, plain)


def test_less_memory_means_that_joined_maps_are_not_kept():
    """What the nodes of the graph hold: all maps joined and normalised, or none of them."""
    maps = [images((2, 4, 8, 8), seed).requires_grad_() for seed in range(3)]
    kept = {}
    for memory_efficient in (False, True):
        held = []
        layer = DenseLayer(12, 4, memory_efficient=memory_efficient)
        with numbanet.autograd.saved_by(lambda entries, held=held: held.extend(entries) or entries):
            layer(maps)
        kept[memory_efficient] = sum(t is not None and tuple(t.shape) == (2, 12, 8, 8) for t, *_ in held)
    assert kept == {False: 3, True: 0}


def test_features_are_dropped_in_training_only():
    numbanet.manual_seed(0)
    layer = DenseLayer(4, 8, drop_rate=0.5)
    maps = [images((2, 4, 8, 8))]
    assert 0.4 < np.mean(layer(maps).detach().numpy() == 0) < 0.6
    assert np.mean(layer.eval()(maps).detach().numpy() == 0) < 0.01
    with pytest.raises(ValueError, match="DenseNet: drop_rate must be from 0 to 1, got 2"):
        DenseNet(drop_rate=2)


@pytest.mark.parametrize("options", [{}, {"memory_efficient": True}], ids=["plain", "memory-efficient"])
def test_learns(options):
    numbanet.manual_seed(1)
    check_learns(DenseNet(**SMALL, **options), (4, 3, 32, 32), lr=0.05)
