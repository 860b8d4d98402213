"""The small networks: SqueezeNet, MobileNet V1 to V3, ShuffleNet V1 and V2, MnasNet, EfficientNet, and ConvNeXt."""

import math
from functools import partial

import numpy as np
import pytest

from numbanet import models, nn, no_grad
from numbanet.models import convnext, efficientnet, mobilenetv2, mobilenetv3, shufflenetv2
from tests.models.checks import bare, check_keys, check_learns, count, filled, images, output_shape

# (name, options, parameters): the numbers are torchvision's; those of MobileNet V1 are Keras's trainable ones.
PARAMETERS = [
    ("squeezenet1_0", {}, 1_248_424),
    ("squeezenet1_1", {}, 1_235_496),
    ("mobilenet_v1", {}, 4_231_976),
    ("mobilenet_v1", {"width_mult": 0.75}, 2_585_560),
    ("mobilenet_v1", {"width_mult": 0.5}, 1_331_592),
    ("mobilenet_v1", {"width_mult": 0.25}, 470_072),
    ("mobilenet_v2", {}, 3_504_872),
    ("mobilenet_v2", {"width_mult": 0.5}, 1_968_680),
    ("mobilenet_v2", {"width_mult": 1.4}, 6_108_776),
    ("mobilenet_v2", {"width_mult": 0.35, "round_nearest": 1}, 1_670_588),
    ("mobilenet_v2", {"inverted_residual_setting": [[1, 16, 1, 1], [4, 24, 2, 2]]}, 1_325_448),
    ("mobilenet_v2", {"num_classes": 10}, 2_236_682),
    ("mobilenet_v3_small", {}, 2_542_856),
    ("mobilenet_v3_small", {"reduced_tail": True}, 1_099_672),
    ("mobilenet_v3_large", {}, 5_483_032),
    ("mobilenet_v3_large", {"width_mult": 0.75}, 3_377_576),
    ("mobilenet_v3_large", {"reduced_tail": True, "width_mult": 0.5}, 842_224),
    ("shufflenet_v2_x0_5", {}, 1_366_792),
    ("shufflenet_v2_x1_0", {}, 2_278_604),
    ("shufflenet_v2_x1_5", {}, 3_503_624),
    ("shufflenet_v2_x2_0", {}, 7_393_996),
    ("mnasnet0_5", {}, 2_218_512),
    ("mnasnet0_75", {}, 3_170_208),
    ("mnasnet1_0", {}, 4_383_312),
    ("mnasnet1_3", {}, 6_282_256),
    ("efficientnet_b0", {}, 5_288_548),
    ("efficientnet_b1", {}, 7_794_184),
    ("efficientnet_b2", {}, 9_109_994),
    ("efficientnet_b3", {}, 12_233_232),
    ("efficientnet_b4", {}, 19_341_616),
    ("efficientnet_b5", {}, 30_389_784),
    ("efficientnet_b6", {}, 43_040_704),
    ("efficientnet_b7", {}, 66_347_960),
    ("convnext_tiny", {}, 28_589_128),
    ("convnext_small", {}, 50_223_688),
    ("convnext_base", {}, 88_591_464),
    ("convnext_large", {}, 197_767_336),
]


# Those with a list of torchvision's keys; the others of a family have the same layers, wider or more of them.
RECORDED = {
    *("squeezenet1_0", "squeezenet1_1", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "mnasnet1_0"),
    *("shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0"),
    *("efficientnet_b0", "convnext_tiny"),
}


@pytest.mark.parametrize(("name", "options", "parameters"), PARAMETERS)
def test_parameters_and_keys(name, options, parameters):
    net = bare(name, **options)
    assert count(net) == parameters
    if not options:
        assert f"{parameters:,} parameters" in models.info(name).summary
        if name in RECORDED:
            check_keys(net, name)


# Shapes (channels, height or width) of modules' outputs for images of 224 x 224, as the builders' documentation has them.
SHAPES = {
    "squeezenet1_0": {
        "features.0": (96, 109), "features.2": (96, 54), "features.5": (256, 54), "features.6": (256, 27),
        "features.10": (512, 27), "features.11": (512, 13), "features.12": (512, 13),
    },
    "squeezenet1_1": {
        "features.0": (64, 111), "features.2": (64, 55), "features.4": (128, 55), "features.5": (128, 27),
        "features.7": (256, 27), "features.8": (256, 13), "features.12": (512, 13),
    },
    "mobilenet_v1": {
        "features.0": (32, 112), "features.1": (64, 112), "features.3": (128, 56), "features.5": (256, 28),
        "features.11": (512, 14), "features.13": (1024, 7),
    },
    "mobilenet_v2": {
        "features.0": (32, 112), "features.1": (16, 112), "features.3": (24, 56), "features.6": (32, 28),
        "features.10": (64, 14), "features.13": (96, 14), "features.16": (160, 7), "features.17": (320, 7),
        "features.18": (1280, 7),
    },
    "mobilenet_v3_large": {
        "features.0": (16, 112), "features.1": (16, 112), "features.3": (24, 56), "features.6": (40, 28),
        "features.10": (80, 14), "features.12": (112, 14), "features.15": (160, 7), "features.16": (960, 7),
    },
    "mobilenet_v3_small": {
        "features.0": (16, 112), "features.1": (16, 56), "features.3": (24, 28), "features.6": (40, 14),
        "features.8": (48, 14), "features.11": (96, 7), "features.12": (576, 7),
    },
    "shufflenet_v1": {
        "conv1": (24, 112), "maxpool": (24, 56), "stage2": (240, 28), "stage3": (480, 14), "stage4": (960, 7),
    },
    "shufflenet_v2_x1_0": {
        "conv1": (24, 112), "maxpool": (24, 56), "stage2": (116, 28), "stage3": (232, 14), "stage4": (464, 7),
        "conv5": (1024, 7),
    },
    "mnasnet1_0": {
        "layers.2": (32, 112), "layers.7": (16, 112), "layers.8": (24, 56), "layers.9": (40, 28), "layers.10": (80, 14),
        "layers.11": (96, 14), "layers.12": (192, 7), "layers.13": (320, 7), "layers.16": (1280, 7),
    },
    "efficientnet_b0": {
        "features.0": (32, 112), "features.1": (16, 112), "features.2": (24, 56), "features.3": (40, 28),
        "features.4": (80, 14), "features.5": (112, 14), "features.6": (192, 7), "features.7": (320, 7),
        "features.8": (1280, 7),
    },
    "convnext_tiny": {
        "features.0": (96, 56), "features.1": (96, 56), "features.3": (192, 28), "features.5": (384, 14),
        "features.7": (768, 7),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_after_each_stage(name):
    net = filled(name, num_classes=7)
    seen = {}
    modules = dict(net.named_modules())
    for path in SHAPES[name]:
        modules[path].register_forward_hook(lambda module, args, output, path=path: seen.update({path: output.shape}))
    net.eval()
    with no_grad():
        scores = net(images((1, 3, 224, 224)))
    assert scores.shape == (1, 7) and np.isfinite(scores.numpy()).all()
    assert seen == {path: (1, channels, size, size) for path, (channels, size) in SHAPES[name].items()}


@pytest.mark.parametrize(
    "name",
    ["mnasnet0_5", "mnasnet0_75", "mnasnet1_3", "shufflenet_v2_x0_5", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0",
     "efficientnet_b1"],
)  # fmt: skip
def test_other_widths_and_depths(name):
    assert output_shape(filled(name, num_classes=7, in_channels=1), (2, 1, 33, 40)) == (2, 7)


def macs(net, size, linear=True):
    """Multiply-adds of one image, in millions."""
    total = []

    def add(module, args, output):
        total.append(output.numel() * math.prod(module.weight.shape[1:]))

    for module in net.modules():
        if isinstance(module, nn.Conv2d) or (linear and isinstance(module, nn.Linear)):
            module.register_forward_hook(add)
    net.eval()
    with no_grad():
        net(images((1, 3, size, size)))
    return sum(total) / 1e6


@pytest.mark.parametrize(
    ("size", "width_mult", "published"),
    [
        (224, 1.0, 569),
        (192, 1.0, 418),
        (160, 1.0, 290),
        (128, 1.0, 186),
        (224, 0.75, 325),
        (224, 0.5, 149),
        (224, 0.25, 41),
    ],
)
def test_mobilenet_v1_costs_what_the_paper_says(size, width_mult, published):
    """Tables 6 and 7; 290.7 is rounded down there."""
    assert abs(macs(bare("mobilenet_v1", width_mult=width_mult), size) - published) < 0.7


@pytest.mark.parametrize(
    ("groups", "parameters", "published"),
    [(1, 1_531_936, 143), (2, 1_733_848, 140), (3, 1_865_728, 137), (4, 1_968_344, 133), (8, 2_434_768, 137)],
)
def test_shufflenet_v1_costs_what_the_paper_says(groups, parameters, published):
    """Table 1, whose numbers leave out the linear layer; it has no counts of parameters."""
    net = bare("shufflenet_v1", groups=groups)
    assert count(net) == parameters
    assert round(macs(net, 224, linear=False)) == published


@pytest.mark.parametrize(("groups", "channels"), [(1, 576), (2, 800), (3, 960), (4, 1088), (8, 1536)])
@pytest.mark.parametrize("width_mult", [0.25, 0.5, 1.5])
def test_shufflenet_v1_has_whole_groups_at_any_width(groups, channels, width_mult):
    net = bare("shufflenet_v1", groups=groups, width_mult=width_mult)
    unit = net.stage3[1]
    assert unit.reduce[0].groups == unit.expand[0].groups == groups
    assert net.fc.in_features == pytest.approx(channels * width_mult, abs=groups)


LEARNS = [
    ("squeezenet1_0", {}, 36, 0.002),
    ("squeezenet1_1", {}, 36, 0.003),
    ("mobilenet_v1", {"width_mult": 0.25}, 64, 0.1),
    ("mobilenet_v2", {"width_mult": 0.35}, 64, 0.03),
    ("mobilenet_v3_small", {"width_mult": 0.5}, 64, 0.3),
    ("mobilenet_v3_large", {"width_mult": 0.35, "reduced_tail": True, "dilated": True}, 48, 0.3),
    ("shufflenet_v1", {"width_mult": 0.25}, 64, 0.01),
    ("shufflenet_v1", {"width_mult": 0.25, "groups": 8}, 64, 0.01),
    ("shufflenet_v2_x0_5", {}, 64, 0.03),
    ("mnasnet0_5", {}, 64, 0.03),
]


@pytest.mark.parametrize(("name", "options", "size", "lr"), LEARNS)
def test_learns(name, options, size, lr):
    net = models.build(name, num_classes=100, in_channels=1, **options)
    check_learns(net, (4, 1, size, size), lr=lr, fall=0.1, classes=3)


def test_efficientnet_learns():
    stages = [
        efficientnet.MBConvConfig(1, 3, 1, 16, 8, 1),
        efficientnet.MBConvConfig(6, 5, 2, 8, 16, 2),
        efficientnet.MBConvConfig(6, 3, 2, 16, 24, 2),
    ]
    net = models.EfficientNet(stages, 0.2, 0.0, num_classes=100, in_channels=1)
    check_learns(net, (4, 1, 32, 32), lr=0.03, fall=0.1, classes=3)


def test_convnext_learns():
    stages = [convnext.CNBlockConfig(8, 16, 1), convnext.CNBlockConfig(16, None, 2)]
    check_learns(models.ConvNeXt(stages, num_classes=3, in_channels=1), (4, 1, 32, 32), lr=0.1)


@pytest.mark.parametrize(
    ("name", "last", "blocks"),
    [
        ("efficientnet_b0", 0.2, 16),
        ("efficientnet_b1", 0.2, 23),
        ("convnext_tiny", 0.1, 18),
        ("convnext_small", 0.4, 36),
    ],
)
def test_stochastic_depth_grows_in_equal_steps(name, last, blocks):
    """From 0; ConvNeXt's last block has the probability itself, EfficientNet's is one step short of it."""
    drops = [module.p for module in bare(name).modules() if isinstance(module, nn.StochasticDepth)]
    steps = blocks - 1 if name.startswith("convnext") else blocks
    np.testing.assert_allclose(drops, [last * i / steps for i in range(blocks)], rtol=1e-12)


def test_stochastic_depth_is_for_training_alone():
    stages = [efficientnet.MBConvConfig(1, 3, 1, 8, 8, 3)]
    net = models.EfficientNet(stages, 0.0, 0.9, num_classes=4)
    x = images((8, 3, 16, 16))
    with no_grad():
        assert not np.array_equal(net(x).numpy(), net(x).numpy())
        net.eval()
        np.testing.assert_array_equal(net(x).numpy(), net(x).numpy())


def test_weights_begin_as_the_papers_implementations_let_them():
    def std(weight):
        return float(weight.detach().numpy().std())

    def largest(weight):
        return float(np.abs(weight.detach().numpy()).max())

    net = models.mobilenet_v2()
    assert std(net.features[18][0].weight) == pytest.approx(math.sqrt(2 / 1280), rel=0.02)  # fan_out: 1280 x 1 x 1
    assert std(net.features[17].conv[1][0].weight) == pytest.approx(math.sqrt(2 / (960 * 9)), rel=0.05)
    assert std(net.classifier[1].weight) == pytest.approx(0.01, rel=0.02)
    assert largest(net.classifier[1].bias) == 0
    assert largest(models.mnasnet0_5(num_classes=50).classifier[1].weight) == pytest.approx(math.sqrt(3 / 50), rel=0.01)
    assert largest(models.efficientnet_b0(num_classes=50).classifier[1].weight) == pytest.approx(
        1 / math.sqrt(50), rel=0.01
    )
    squeeze = models.squeezenet1_1()
    assert std(squeeze.classifier[1].weight) == pytest.approx(0.01, rel=0.02)
    assert largest(squeeze.features[12].expand3x3.weight) == pytest.approx(math.sqrt(6 / (64 * 9)), rel=0.01)
    tiny = models.ConvNeXt([convnext.CNBlockConfig(64, None, 1)])
    assert std(tiny.features[1][0].block[3].weight) == pytest.approx(0.02, rel=0.05)
    np.testing.assert_array_equal(
        tiny.features[1][0].layer_scale.detach().numpy(), np.full((64, 1, 1), 1e-6, np.float32)
    )


@pytest.mark.parametrize(
    ("name", "eps", "momentum"),
    [("mobilenet_v2", 1e-5, 0.1), ("mobilenet_v3_small", 1e-3, 0.01), ("mnasnet1_0", 1e-5, 3e-4),
     ("efficientnet_b4", 1e-5, 0.1), ("efficientnet_b5", 1e-3, 0.01)],
)  # fmt: skip
def test_batch_normalization_is_set_as_in_torchvision(name, eps, momentum):
    layers = [module for module in bare(name).modules() if isinstance(module, nn.BatchNorm2d)]
    assert {layer.eps for layer in layers} == {eps}
    assert [layer.momentum for layer in layers] == pytest.approx([momentum] * len(layers))


def test_dilated_tail_keeps_the_resolution():
    net = bare("mobilenet_v3_large", dilated=True)
    dilated = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.dilation != (1, 1)]
    assert [(m.stride, m.dilation, m.padding) for m in dilated] == [((1, 1), (2, 2), (4, 4))] * 3


def test_another_normalization():
    net = models.mobilenet_v2(5, width_mult=0.35, norm_layer=partial(nn.GroupNorm, 4))
    kinds = {type(module).__name__ for module in net.modules()}
    assert "GroupNorm" in kinds and "BatchNorm2d" not in kinds
    assert output_shape(net, (1, 3, 32, 32)) == (1, 5)


REFUSED = [
    (lambda: models.SqueezeNet("1_2"), r"version must be '1_0' or '1_1', got '1_2'"),
    (lambda: models.mobilenet_v1(width_mult=0.0), r"MobileNetV1: width_mult must be positive, got 0.0"),
    (lambda: models.mobilenet_v2(inverted_residual_setting=[]), r"rows \(t, c, n, s\), got \[\]"),
    (lambda: models.mobilenet_v2(inverted_residual_setting=[[1, 16, 1]]), r"rows \(t, c, n, s\), got \[\[1, 16, 1\]\]"),
    (lambda: mobilenetv2.InvertedResidual(8, 8, 3, 6), r"InvertedResidual: stride must be 1 or 2, got 3"),
    (
        lambda: mobilenetv3.InvertedResidualConfig(16, 3, 16, 16, False, "GE", 1),
        r"activation must be 'RE' or 'HS', got 'GE'",
    ),
    (lambda: mobilenetv3.InvertedResidualConfig(16, 3, 16, 16, False, "HS", 4), r"stride must be 1 or 2, got 4"),
    (lambda: models.MobileNetV3([], 1280), r"MobileNetV3: inverted_residual_setting must have at least one row"),
    (lambda: models.shufflenet_v1(groups=5), r"ShuffleNetV1: groups must be one of 1, 2, 3, 4, 8, got 5"),
    (lambda: models.shufflenet_v1(width_mult=-1), r"ShuffleNetV1: width_mult must be positive, got -1"),
    (
        lambda: models.ShuffleNetV2([4, 8], [24, 48, 96]),
        r"stages_repeats must be 3 numbers .* got \[4, 8\] and \[24, 48, 96\]",
    ),
    (lambda: shufflenetv2.InvertedResidual(8, 16, 1), r"oup must be even, with stride 1 equal to inp=8, got oup=16"),
    (lambda: shufflenetv2.InvertedResidual(8, 15, 2), r"oup must be even, .* got oup=15"),
    (lambda: shufflenetv2.InvertedResidual(8, 16, 3), r"InvertedResidual: stride must be 1 or 2, got 3"),
    (lambda: models.MNASNet(0), r"MNASNet: alpha must be positive, got 0"),
    (lambda: efficientnet.MBConvConfig(6, 3, 3, 8, 8, 1), r"MBConvConfig: stride must be 1 or 2, got 3"),
    (lambda: models.EfficientNet([], 0.2), r"EfficientNet: inverted_residual_setting must have at least one stage"),
    (lambda: models.ConvNeXt([]), r"ConvNeXt: block_setting must have at least one stage"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
