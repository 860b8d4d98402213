"""Networks with attention: SENet, ResNets with CBAM, and the option that puts any layer into any residual network."""

from __future__ import annotations

import numpy as np
import pytest

import numbanet
from numbanet import models, nn
from numbanet.models.preact_resnet import PreActBlock, PreActBottleneck, PreActResNet
from numbanet.models.resnet import BasicBlock, Bottleneck, ResNet
from numbanet.models.resnet_cifar import CIFARResNet
from tests.models.checks import bare, check_learns, count, images, output_shape

# Two layers with biases make 2 C C / 16 + C / 16 + C parameters for each block of C channels.
SENETS = {
    "se_resnet18": 11_778_592,
    "se_resnet34": 21_958_868,
    "se_resnet50": 28_088_024,
    "se_resnet101": 49_326_872,
    "se_resnet152": 66_821_848,
    "se_resnext50_32x4d": 27_559_896,
}
CBAMS = {"cbam_resnet18": "se_resnet18", "cbam_resnet50": "se_resnet50"}


@pytest.mark.parametrize("name", SENETS)
def test_parameters_of_senets(name):
    assert count(bare(name)) == SENETS[name]


@pytest.mark.parametrize("name", CBAMS)
def test_spatial_attention_adds_98_weights_to_each_block(name):
    net = bare(name)
    blocks = sum(isinstance(module, nn.CBAM) for module in net.modules())
    assert count(net) == SENETS[CBAMS[name]] + blocks * 2 * 7 * 7


def test_published_millions():
    """Table 4 of the paper on CBAM: 28.09 million for ResNet-50 with either; 25.56 without."""
    found = [count(bare(name)) / 1e6 for name in ("se_resnet50", "cbam_resnet50", "resnet50")]
    assert [f"{millions:.2f}" for millions in found] == ["28.09", "28.09", "25.56"]


@pytest.mark.parametrize("attention", [nn.SqueezeExcitation, nn.CBAM, nn.ECA, lambda channels: nn.SpatialAttention()])
@pytest.mark.parametrize(
    ("make", "blocks"),
    [
        (lambda attention: CIFARResNet(8, 4, attention=attention), 3),
        (lambda attention: PreActResNet(PreActBlock, [1, 1], 4, planes=(8, 16), attention=attention), 2),
        (lambda attention: PreActResNet(PreActBottleneck, [2, 1], 4, planes=(8, 16), attention=attention), 3),
        (lambda attention: ResNet(BasicBlock, [1, 1, 1, 1], 4, attention=attention), 4),
    ],
    ids=["CIFARResNet", "PreActBlock", "PreActBottleneck", "BasicBlock"],
)
def test_every_residual_branch_ends_with_attention(make, blocks, attention):
    net = make(attention)
    kind = type(attention(8))
    assert sum(isinstance(module, kind) for module in net.modules()) == blocks
    assert output_shape(net, (2, 3, 16, 16)) == (2, 4)


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_attention_weighs_the_branch_and_not_the_shortcut(block):
    """A layer that gives zeros leaves the block with its shortcut."""

    class Nothing(nn.Module):
        def forward(self, x):
            return x * 0

    channels = 8 * block.expansion
    x = images((2, channels, 4, 4))
    made = block(channels, 8, attention=lambda channels: Nothing())
    np.testing.assert_array_equal(made(x).detach().numpy(), np.maximum(x.numpy(), 0))


def test_attention_in_any_network():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.CBAM(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 6 * 6, 2))
    check_learns(net, (4, 3, 8, 8), lr=0.1)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: models.se_resnet18(3), id="se_resnet18"),
        pytest.param(lambda: ResNet(Bottleneck, [1, 1, 1, 1], 3, attention=nn.SqueezeExcitation), id="se_resnet50"),
        pytest.param(lambda: ResNet(Bottleneck, [1, 1, 1, 1], 3, attention=nn.CBAM), id="cbam_resnet50"),
        pytest.param(lambda: models.resnet20(3, attention=nn.ECA), id="resnet20 with ECA"),
    ],
)
def test_learns(make):
    numbanet.manual_seed(1)
    check_learns(make(), (4, 3, 32, 32), lr=0.01)
