"""Residual networks: numbers of parameters, keys, shapes, shortcuts, options, and that each kind learns."""

from __future__ import annotations

import numpy as np
import pytest

import numbanet
from numbanet import models, nn
from numbanet.models.preact_resnet import PreActBlock, PreActBottleneck, PreActResNet
from numbanet.models.resnet import BasicBlock, Bottleneck, ResNet
from numbanet.models.resnet_cifar import CIFARResNet, ZeroPaddedShortcut
from tests.models.checks import bare, check_keys, check_learns, count, images, output_shape

# torchvision's own numbers; its keys are in keys/.
TORCHVISION = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
    "wide_resnet50_2": 68_883_240,
    "wide_resnet101_2": 126_886_696,
}
# Parameters, and what the papers print of them in millions.
PAPERS = {
    "resnet20": (269_722, "0.27"),
    "resnet32": (464_154, "0.46"),
    "resnet44": (658_586, "0.66"),
    "resnet56": (853_018, "0.85"),
    "resnet110": (1_727_962, "1.7"),
    "resnet1202": (19_421_274, "19.4"),
    "preact_resnet110": (1_730_522, "1.7"),
    "preact_resnet164": (1_703_258, "1.7"),
    "wide_resnet28_10": (36_479_194, "36.5"),
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_parameters_and_keys_are_torchvisions(name):
    net = bare(name)
    assert count(net) == TORCHVISION[name]
    check_keys(net, name)


@pytest.mark.parametrize("name", PAPERS)
def test_parameters_are_the_papers(name):
    parameters, millions = PAPERS[name]
    assert count(bare(name)) == parameters
    assert f"{parameters / 1e6:.{len(millions.partition('.')[2])}f}" == millions


def test_the_paper_counts_1001_layers_without_their_normalisation():
    net = bare("preact_resnet1001")
    norms = sum(count(module) for module in net.modules() if isinstance(module, nn.BatchNorm2d))
    assert f"{(count(net) - norms) / 1e6:.1f}" == "10.2"
    assert sum(isinstance(module, nn.Conv2d) for module in net.modules()) == 1000 + 3  # and the three shortcuts'


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_pre_activation_moves_normalisation_and_drops_that_of_shortcuts(depth):
    """Inputs are normalised in the place of outputs: what is left over is the shortcuts' normalisation.

    Bottlenecks: the branch's three normalisations have C + p + p channels instead of p + p + 4 p.
    """
    after, before = bare(f"resnet{depth}"), bare(f"preact_resnet{depth}")
    shortcuts = sum(2 * width for width in ((128, 256, 512) if depth < 50 else (256, 512, 1024, 2048)))
    # Over the blocks of all stages, outputs minus inputs leave the last output less the stem's; the last
    # normalisation of the network takes the former, and the first block does without one of the stem's.
    assert count(after) - count(before) == shortcuts


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("resnet18", ["64x112x112", "64x56x56", "64x56x56", "128x28x28", "256x14x14", "512x7x7", "512x1x1"]),
        ("resnet50", ["64x112x112", "64x56x56", "256x56x56", "512x28x28", "1024x14x14", "2048x7x7", "2048x1x1"]),
        ("resnet20", ["16x32x32", "16x32x32", "32x16x16", "64x8x8", "64x1x1"]),
    ],
)
def test_shapes_after_the_stages(name, stages):
    net, seen = models.build(name), []
    for child, module in net.named_children():
        if child not in ("bn1", "relu", "fc"):
            module.register_forward_hook(lambda _, args, output: seen.append("x".join(map(str, output.shape[1:]))))
    assert output_shape(net, (1, *models.info(name).input_shape)) == (1, net.fc.out_features)
    assert seen == stages


@pytest.mark.parametrize(
    ("name", "shape"),
    [("resnet18", (2, 1, 32, 32)), ("preact_resnet18", (2, 1, 32, 32)), ("resnet20", (2, 1, 32, 32))],
)
def test_grey_images_and_few_classes(name, shape):
    assert output_shape(models.build(name, in_channels=1, num_classes=7), shape) == (2, 7)


# ------------------------------------------------------------------------------------------------------ shortcuts


def test_shortcuts_without_parameters():
    x = images((2, 3, 6, 5))
    y = ZeroPaddedShortcut(2, 4)(x).numpy()
    assert y.shape == (2, 7, 3, 3)
    np.testing.assert_array_equal(y[:, :3], x.numpy()[:, :, ::2, ::2])
    assert not y[:, 3:].any()


def test_shortcuts_with_parameters_cost_two_convolutions():
    more = count(bare("resnet20", shortcut="B")) - count(bare("resnet20"))
    assert more == (16 * 32 + 2 * 32) + (32 * 64 + 2 * 64)


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_residual_branches_can_begin_with_zero(block):
    net = ResNet(block, [2, 1, 1, 1], num_classes=2, zero_init_residual=True)
    inside = net.layer1[1]
    x = images((2, 64 * block.expansion, 4, 4))
    np.testing.assert_array_equal(inside(x).detach().numpy(), np.maximum(x.numpy(), 0))
    ordinary = ResNet(block, [2, 1, 1, 1], num_classes=2).layer1[1]
    assert np.abs(ordinary(x).detach().numpy() - np.maximum(x.numpy(), 0)).max() > 0.1


@pytest.mark.parametrize("block", [PreActBlock, PreActBottleneck])
def test_pre_activation_leaves_the_sum_alone(block):
    same = block(8 * block.expansion, 8)
    x = images((2, 8 * block.expansion, 4, 4))
    nn.init.zeros_(same.conv2.weight if block is PreActBlock else same.conv3.weight)
    np.testing.assert_array_equal(same(x).detach().numpy(), x.numpy())  # negative numbers too

    wider = block(8, 16, stride=2)
    nn.init.zeros_(wider.conv2.weight if block is PreActBlock else wider.conv3.weight)
    x = images((2, 8, 4, 4))
    shortcut = wider.downsample(wider.bn1(x).relu())
    np.testing.assert_array_equal(wider(x).detach().numpy(), shortcut.detach().numpy())


# -------------------------------------------------------------------------------------------------------- options


def test_dilation_takes_the_place_of_strides():
    net = ResNet(Bottleneck, [1, 2, 2, 2], 5, replace_stride_with_dilation=[False, True, True])
    geometry = [(b.conv2.stride[0], b.conv2.dilation[0]) for layer in (net.layer3, net.layer4) for b in layer]
    assert geometry == [(1, 1), (1, 2), (1, 2), (1, 4)]
    seen = []
    net.layer4.register_forward_hook(lambda _, args, output: seen.append(tuple(output.shape)))
    assert output_shape(net, (1, 3, 64, 64)) == (1, 5)
    assert seen == [(1, 2048, 8, 8)]


def test_another_normalisation():
    net = ResNet(BasicBlock, [1, 1, 1, 1], 5, norm_layer=lambda channels: nn.GroupNorm(8, channels))
    kinds = [type(module) for module in net.modules()]
    assert nn.BatchNorm2d not in kinds and kinds.count(nn.GroupNorm) == 1 + 8 + 3
    assert output_shape(net, (1, 3, 32, 32)) == (1, 5)


def test_first_weights_keep_the_variance_of_gradients():
    conv = ResNet(BasicBlock, [1, 1, 1, 1]).layer4[0].conv2
    assert float(conv.weight.std()) == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ResNet(BasicBlock, [2, 2, 2]), r"ResNet: there are four stages.* got layers=\[2, 2, 2\]"),
        (lambda: models.resnet50(replace_stride_with_dilation=[True]), r"replace_stride_with_dilation=\[True\]"),
        (lambda: models.resnet18(groups=2), "BasicBlock: takes groups=1, .* got groups=2"),
        (lambda: models.resnet18(replace_stride_with_dilation=[True] * 3), "BasicBlock: .* dilation=2"),
        (lambda: CIFARResNet(21), r"CIFARResNet: depth must be 6 n \+ 2 .* got 21"),
        (lambda: CIFARResNet(2), r"depth must be 6 n \+ 2"),
        (lambda: models.resnet20(shortcut="C"), "shortcut must be 'A' or 'B', got 'C'"),
        (lambda: PreActResNet(PreActBlock, [1, 1]), r"one number for each stage, got layers=\[1, 1\]"),
    ],
)
def test_options_that_do_not_fit(make, message):
    with nn.init.skipped(), pytest.raises(ValueError, match=message):
        make()


# ------------------------------------------------------------------------------------------------------- learning

SHORT = [1, 1, 1, 1]  # blocks: the widths, strides and shortcuts of the real ones, for a share of their time


@pytest.mark.parametrize(
    ("make", "size"),
    [
        pytest.param(lambda: models.resnet18(3), 32, id="resnet18"),
        pytest.param(lambda: ResNet(Bottleneck, SHORT, 3), 32, id="resnet50 and deeper"),
        pytest.param(lambda: ResNet(Bottleneck, SHORT, 3, groups=32, width_per_group=4), 32, id="resnext50_32x4d"),
        pytest.param(lambda: ResNet(Bottleneck, SHORT, 3, width_per_group=128), 32, id="wide_resnet50_2"),
        pytest.param(lambda: models.resnet20(3), 16, id="resnet20"),
        pytest.param(lambda: CIFARResNet(8, 3, shortcut="B"), 16, id="resnet8 with shortcuts B"),
        pytest.param(lambda: models.preact_resnet18(3), 32, id="preact_resnet18"),
        pytest.param(lambda: PreActResNet(PreActBottleneck, SHORT, 3), 32, id="preact_resnet50"),
        pytest.param(
            lambda: PreActResNet(PreActBottleneck, [2, 2, 2], 3, planes=(16, 32, 64), small_images=True), 16,
            id="preact_resnet164",
        ),
        pytest.param(
            lambda: PreActResNet(PreActBlock, [1, 1, 1], 3, planes=(64, 128, 256), small_images=True), 16,
            id="wide_resnet28_10",
        ),
    ],
)  # fmt: skip
def test_learns(make, size):
    numbanet.manual_seed(1)
    check_learns(make(), (4, 3, size, size), lr=0.02, steps=2)
