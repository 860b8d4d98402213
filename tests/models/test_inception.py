"""GoogLeNet and the Inception networks: sizes, keys, outputs that PyTorch's versions gave, and one small training each."""

from __future__ import annotations

import numpy as np
import pytest

import numbanet
from numbanet import models, nn, train
from numbanet.models.inception import path, to_half_range
from tests.models.checks import bare, check_keys, check_learns, count, images, output_shape

SHALLOW = {"blocks": (1, 1, 1)}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("googlenet", 13_004_888),
        ("inception_v3", 27_161_264),
        ("inception_v4", 42_679_816),
        ("inception_resnet_v2", 55_843_464),
    ],
)
def test_parameters_and_keys(name, parameters):
    net = bare(name)
    assert count(net) == parameters
    check_keys(net, name)


@pytest.mark.parametrize(("name", "parameters"), [("googlenet", 6_624_904), ("inception_v3", 23_834_568)])
def test_parameters_without_heads(name, parameters):
    assert count(bare(name, aux_logits=False)) == parameters


def test_parameters_of_inception_v2():
    """Published with biases before batch normalisation, which we do without: one for each output channel."""
    net = bare("inception_v2")
    biases = sum(layer.out_channels for layer in net.modules() if isinstance(layer, nn.Conv2d))
    assert count(net) + biases == 11_295_240


def test_googlenet_with_the_papers_windows():
    large = [(16, 32), (32, 96), (16, 48), (24, 64), (24, 64), (32, 64), (32, 128), (32, 128), (48, 128)]
    net = bare("googlenet", aux_logits=False, large=5)
    assert count(net) == 6_624_904 + sum((25 - 9) * a * b for a, b in large)
    assert tuple(net.inception3a.branch3[1].conv.padding) == (2, 2)


def state_from_seeds(net):
    """Weights and statistics that are a function of key order and shape alone."""
    state = {}
    for seed, (key, value) in enumerate(net.state_dict().items()):
        rng, shape = np.random.default_rng(seed), tuple(value.shape)
        if key.endswith("num_batches_tracked"):
            state[key] = value
            continue
        if len(shape) > 1:
            made = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        elif key.endswith(("running_var", "bn.weight")):
            made = rng.uniform(0.5, 1.5, shape)
        else:
            made = rng.standard_normal(shape) * 0.1
        state[key] = numbanet.from_numpy(made.astype(np.float32))
    return state


@pytest.mark.parametrize(
    ("name", "options", "size", "scores"),
    [
        ("googlenet", {}, 64, [[-10.27767, 34.26562, -18.34629], [-10.68577, 34.58241, -17.06498]]),
        ("inception_v3", {}, 107, [[3.785571, -0.319719, 4.864639], [3.953513, -0.327064, 4.657905]]),
        ("inception_v4", SHALLOW, 107, [[2.377192, 2.390482, -1.284544], [1.051478, 2.104234, -1.463734]]),
        (
            "inception_resnet_v2",
            {"blocks": (2, 2, 2)},
            107,
            [[8.073692, 11.528815, 31.839783], [8.539795, 9.133815, 30.676271]],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_scores_of_pytorchs_versions(name, options, size, scores):
    """Recorded from torchvision 0.29 and timm 1.0 in float64, with these weights, images and numbers of blocks."""
    net = bare(name, num_classes=3, **options).eval()
    net.load_state_dict(state_from_seeds(net))
    with numbanet.no_grad():
        given = net(images((2, 3, size, size))).numpy()
    np.testing.assert_allclose(given, scores, rtol=0, atol=3e-5 * np.abs(scores).max())


@pytest.mark.parametrize(
    ("name", "options", "stages"),
    [
        (
            "googlenet",
            {},
            {
                "maxpool1": (64, 56, 56), "maxpool2": (192, 28, 28), "inception3b": (480, 28, 28),
                "inception4a": (512, 14, 14), "inception4e": (832, 14, 14), "inception5b": (1024, 7, 7),
            },
        ),
        (
            "inception_v2",
            {},
            {
                "features.conv1": (64, 112, 112), "features.conv3": (192, 56, 56), "features.maxpool2": (192, 28, 28),
                "features.inception3b": (320, 28, 28), "features.inception3c": (576, 14, 14),
                "features.inception4d": (608, 14, 14), "features.inception4e": (1056, 7, 7),
                "features.inception5b": (1024, 7, 7),
            },
        ),
        (
            "inception_v3",
            {},
            {
                "Conv2d_2b_3x3": (64, 147, 147), "maxpool1": (64, 73, 73), "Conv2d_4a_3x3": (192, 71, 71),
                "Mixed_5d": (288, 35, 35), "Mixed_6a": (768, 17, 17), "Mixed_6e": (768, 17, 17),
                "Mixed_7a": (1280, 8, 8), "Mixed_7c": (2048, 8, 8),
            },
        ),
        (
            "inception_v4",
            SHALLOW,
            {
                "features.5": (384, 35, 35), "features.6": (384, 35, 35), "features.7": (1024, 17, 17),
                "features.9": (1536, 8, 8), "features.10": (1536, 8, 8),
            },
        ),
        (
            "inception_resnet_v2",
            SHALLOW,
            {
                "conv2d_2b": (64, 147, 147), "conv2d_4a": (192, 71, 71), "mixed_5b": (320, 35, 35),
                "repeat": (320, 35, 35), "mixed_6a": (1088, 17, 17), "mixed_7a": (2080, 8, 8), "conv2d_7b": (1536, 8, 8),
            },
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_shapes_after_each_stage(name, options, stages):
    net = models.build(name, num_classes=7, **options)
    seen = {}
    for stage in stages:
        module = net.get_submodule(stage)
        module.register_forward_hook(lambda m, args, output, stage=stage: seen.update({stage: tuple(output.shape[1:])}))
    assert output_shape(net, (1, *models.info(name).input_shape)) == (1, 7)
    assert seen == stages


@pytest.mark.parametrize(
    ("name", "options", "size", "lr"),
    [
        ("googlenet", {}, 64, 0.01),
        ("inception_v2", {}, 64, 0.003),
        ("inception_v3", {"aux_logits": False, "init_weights": False}, 107, 0.003),
        ("inception_v4", SHALLOW, 75, 0.001),
        ("inception_resnet_v2", SHALLOW, 75, 0.001),
    ],
)
def test_learns(name, options, size, lr):
    check_learns(models.build(name, num_classes=3, in_channels=1, **options), (4, 1, size, size), lr=lr, steps=2)


def test_the_trainer_trains_googlenet_with_its_heads():
    net = models.googlenet(num_classes=3)
    x, y = images((2, 3, 32, 32)), numbanet.tensor([0, 2])
    seen = []
    net.register_forward_hook(lambda module, args, output: seen.append(output))
    before = net.aux1.fc2.bias.detach().numpy().copy()
    history = train.Trainer(net, lr=0.1, progress=False).fit([(x, y)], epochs=1)
    main, second, first = (nn.functional.cross_entropy(scores, y).item() for scores in seen[0])
    assert history[0]["loss"] == pytest.approx(main + 0.3 * (second + first), rel=1e-5)
    assert not np.array_equal(net.aux1.fc2.bias.detach().numpy(), before)


def test_heads_are_there_in_training_alone():
    net = models.googlenet(num_classes=3)
    output = net(images((2, 3, 32, 32)))
    assert isinstance(output, models.GoogLeNetOutputs)
    assert output._fields == ("logits", "aux_logits2", "aux_logits1")
    assert [tuple(scores.shape) for scores in output] == [(2, 3)] * 3
    assert output.aux_weight == 0.3
    output.aux_logits1.sum().backward()  # the first head stands before the fourth block's second part
    assert net.inception4a.branch1.conv.weight.grad is not None
    assert net.inception4b.branch1.conv.weight.grad is None
    assert tuple(net.eval()(images((2, 3, 32, 32))).shape) == (2, 3)
    assert tuple(models.googlenet(num_classes=3, aux_logits=False)(images((2, 3, 32, 32))).shape) == (2, 3)


@pytest.fixture(scope="module")
def inception_v3():
    numbanet.manual_seed(0)
    return models.inception_v3(num_classes=7)


def test_the_head_of_inception_v3(inception_v3):
    with numbanet.no_grad():
        output = inception_v3.train()(images((2, 3, 299, 299)))
    assert isinstance(output, models.InceptionOutputs)
    assert output._fields == ("logits", "aux_logits")
    assert [tuple(scores.shape) for scores in output] == [(2, 7)] * 2
    assert output.aux_weight == 0.4


def test_small_images_are_refused_by_the_head_of_inception_v3(inception_v3):
    with pytest.raises(ValueError, match=r"at least 17 x 17.* got \(2, 768, 16, 17\); aux_logits=False does without"):
        inception_v3.AuxLogits(images((2, 768, 16, 17)))


def test_half_range():
    raw = np.random.default_rng(0).random((2, 3, 4, 5)).astype(np.float32)
    mean, deviation = (np.reshape(v, (3, 1, 1)) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    x = numbanet.from_numpy(((raw - mean) / deviation).astype(np.float32))
    np.testing.assert_allclose(to_half_range(x).numpy(), (raw - 0.5) / 0.5, atol=1e-5)
    net = models.googlenet(num_classes=3, aux_logits=False, transform_input=True).eval()
    with numbanet.no_grad():
        given = net(nn.functional.interpolate(x, size=(32, 32))).numpy()
        net.transform_input = False
        direct = net(nn.functional.interpolate(to_half_range(x), size=(32, 32))).numpy()
    np.testing.assert_allclose(given, direct, rtol=1e-4)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_transform_input_is_for_colours(name):
    with pytest.raises(ValueError, match="transform_input is for 3 colour channels, got in_channels=1"):
        models.build(name, in_channels=1, transform_input=True)


def test_initial_weights(inception_v3):
    weight = models.googlenet(num_classes=3).inception5b.branch2[1].conv.weight.detach().numpy()
    assert weight.std() == pytest.approx(0.01, rel=0.02)
    own = models.googlenet(num_classes=3, init_weights=False).inception5b.branch2[1].conv.weight.detach().numpy()
    assert own.std() == pytest.approx(
        (1 / 3) ** 0.5 * (9 * 192) ** -0.5, rel=0.02
    )  # uniform, as a layer draws by itself
    net = inception_v3
    for layer, deviation in [
        (net.Mixed_7c.branch1x1.conv, 0.1),
        (net.AuxLogits.conv1.conv, 0.01),
        (net.AuxLogits.fc, 0.001),
    ]:
        assert layer.weight.detach().numpy().std() == pytest.approx(deviation, rel=0.02)


def test_path_pads_to_keep_the_size_unless_told():
    x = images((1, 2, 9, 8))
    shape = lambda *steps: tuple(path(2, *steps)(x).shape[1:])  # noqa: E731
    assert shape((3, 5)) == (3, 9, 8)
    assert shape((3, (1, 7)), (4, (3, 1))) == (4, 9, 8)
    assert shape((3, 3, 2)) == (3, 4, 3)
    assert shape((3, 3, 1, 0)) == (3, 7, 6)
    assert shape((3, 3, 2, 1)) == (3, 5, 4)
