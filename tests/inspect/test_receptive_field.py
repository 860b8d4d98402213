"""Receptive fields: against published numbers, against what gradients reach, and through every kind of operation."""

from __future__ import annotations

import numpy as np
import pytest

import numbanet
from numbanet import models, nn
from numbanet.autograd import Function
from numbanet.functional import cat
from numbanet.inspect import receptive_field, receptive_field_gradient
from numbanet.nn import functional as F
from numbanet.nn import init


def conv(inputs, outputs, size, stride=1, padding=0, **more):
    return nn.Sequential(nn.Conv2d(inputs, outputs, size, stride, padding, **more), nn.ReLU(inplace=True))


class Shifted(nn.Module):
    """A convolution with stride 2 padded below and to the right alone, as TensorFlow's "SAME" does for even sizes."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride=2)

    def forward(self, x):
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Bottleneck(nn.Module):
    def __init__(self, stride):
        super().__init__()
        self.narrow, self.middle, self.wide = conv(2, 1, 1), conv(1, 1, 3, stride, 1), nn.Conv2d(1, 2, 1)
        self.shortcut = nn.MaxPool2d(1, stride)

    def forward(self, x):
        return F.relu(self.wide(self.middle(self.narrow(x))) + self.shortcut(x))


def alexnet():
    sizes = [(11, 4, 0), "pool", (5, 1, 2), "pool", (3, 1, 1), (3, 1, 1), (3, 1, 1), "pool"]
    return nn.Sequential(*[nn.MaxPool2d(3, 2) if size == "pool" else conv(1, 1, *size) for size in sizes])


def vgg16():
    blocks = [[conv(1, 1, 3, 1, 1) for _ in range(n)] + [nn.MaxPool2d(2)] for n in (2, 2, 3, 3, 3)]
    return nn.Sequential(*[layer for block in blocks for layer in block])


def mobilenet():
    return nn.Sequential(
        *[Shifted(1, 1) if s == 2 else conv(1, 1, 3, 1, 1) for s in (2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)]
    )


def resnet50():
    """With strides in the last block of each stage, and the pool's padding below and to the right: as the source has it."""
    stages = [Bottleneck(s) for n, last in ((3, 2), (4, 2), (6, 2), (3, 1)) for s in [1] * (n - 1) + [last]]
    return nn.Sequential(conv(1, 2, 7, 2, 3), nn.MaxPool2d(3, 2, ceil_mode=True), *stages)


# Size, stride and padding as Araujo, Norris and Sim (2019) list them.
PUBLISHED = {
    "alexnet_v2": (alexnet, 195, 32, 64),
    "vgg_16": (vgg16, 212, 32, 90),
    "mobilenet_v1": (mobilenet, 315, 32, 126),
    "resnet_v1_50": (resnet50, 483, 32, 239),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published(name):
    make, size, stride, padding = PUBLISHED[name]
    found = receptive_field(make(), (1, 1, 224, 224))
    assert (found.size, found.stride, found.padding) == ((size, size), (stride, stride), (padding, padding))
    assert not found.whole


# The same source, and sums of (K - 1) * stride by hand for networks that it does not list.
OF_MODELS = {
    "vgg16": ("features", 212, 32, 90),
    "inception_v3": ("Mixed_7c", 1311, 32, 618),
    "inception_resnet_v2": ("conv2d_7b", 3039, 32, 1482),
    "resnet18": ("layer4", 435, 32, 217),
    "notes.googlenet": ("4.1", 715, 32, 357),
}


@pytest.mark.parametrize("name", ["notes.lenet", *OF_MODELS])
def test_registered_networks(name):
    layer, size, stride, padding = OF_MODELS.get(name, ("5", 16, 4, 2))
    with init.skipped():
        net = models.build(name)
    found = receptive_field(net, (1, *models.info(name).input_shape), layer)
    assert (found.size[0], found.stride[0], found.padding[0]) == (size, stride, padding)


# ------------------------------------------------------------------------------------- computed against measured


class Call(nn.Module):
    """A function, or several branches of layers and what joins them, as a layer."""

    def __init__(self, function, *layers):
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, x):
        return self.function(x, *self.layers)


def layer(*args, **options):
    return nn.Conv2d(2, 2, *args, **options)


# Networks in which positive weights let every pixel of the field reach the output: the two must be equal.
EXACT = {
    "one": lambda: layer(3),
    "stride, padding": lambda: nn.Sequential(layer(5, stride=3, padding=2), layer(3, stride=2, padding=1)),
    "dilation": lambda: nn.Sequential(layer(3, dilation=1), layer(2, dilation=2), layer(3, padding=2)),
    "two sizes": lambda: nn.Sequential(layer((1, 5), stride=(1, 2)), layer((3, 2), padding=(1, 0))),
    "same": lambda: nn.Sequential(layer(4, padding="same"), layer(3, stride=2)),
    "groups": lambda: nn.Sequential(layer(3, groups=2), layer(1)),
    "average pool": lambda: nn.Sequential(layer(3), nn.AvgPool2d(3, 2, padding=1), layer(3, padding=1)),
    "average pool, ceil": lambda: nn.Sequential(nn.AvgPool2d(2, ceil_mode=True), layer(3, padding=1)),
    "lp pool": lambda: nn.Sequential(nn.LPPool2d(2, 2), layer(3)),
    "residual": lambda: Call(lambda x, a, b: F.relu(b(a(x)) + x), layer(3, padding=1), layer(3, padding=1)),
    "branches": lambda: Call(lambda x, a, b: cat((a(x), b(x)), 1), layer(1), layer(5, padding=2)),
    "branches to one side": lambda: Call(lambda x, a, b: a(x)[:, :, 2:] * b(x), layer(1), layer((3, 1))),
    "batch norm, activations": lambda: nn.Sequential(layer(3), nn.BatchNorm2d(2), nn.Sigmoid(), nn.GELU(), layer(2)),
    "in place": lambda: nn.Sequential(layer(3), nn.ReLU(inplace=True), layer(3, padding=1), nn.LeakyReLU(inplace=True)),
    "pad": lambda: Call(lambda x, a: a(F.pad(x, (2, 0, 1, 2))), layer(3)),
    "crop": lambda: Call(lambda x, a: a(x[:, :, 3:-2, ::2]), layer(3)),
    "channels last": lambda: Call(
        lambda x, a, b: a(b(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)), layer(3), nn.Linear(2, 2)
    ),
    "channel shuffle": lambda: nn.Sequential(layer(3), nn.ChannelShuffle(2), layer(2)),
    "space to depth": lambda: Call(lambda x, a: a(F.pixel_unshuffle(x, 2)), nn.Conv2d(8, 2, 2)),
    "reshape": lambda: Call(lambda x, a: a(x.reshape(1, 2, 1, 24, 24).flatten(1, 2)), layer(3)),
}  # fmt: skip

# Here the field is a bound: maxima choose one pixel, enlarged pixels see fields of several sizes, borders are clamped.
BOUND = {
    "max pool": lambda: nn.Sequential(layer(3, padding=1), nn.MaxPool2d(3, 2, padding=1), layer(3)),
    "max pool, dilated": lambda: nn.MaxPool2d(2, 1, dilation=3),
    "adaptive": lambda: nn.Sequential(layer(3), nn.AdaptiveAvgPool2d(5), layer(2)),
    "transposed": lambda: nn.Sequential(layer(3, stride=2), nn.ConvTranspose2d(2, 2, 3, stride=2, padding=1)),
    "transposed, dilated": lambda: nn.Sequential(layer(2, stride=4), nn.ConvTranspose2d(2, 2, 2, stride=3, dilation=2)),
    "nearest": lambda: nn.Sequential(layer(3, stride=2), nn.Upsample(scale_factor=2), layer(3, padding=1)),
    "bilinear": lambda: nn.Sequential(layer(3, stride=2), nn.Upsample(scale_factor=2, mode="bilinear"), layer(3)),
    "bilinear, corners": lambda: Call(
        lambda x, a: F.interpolate(a(x), size=17, mode="bilinear", align_corners=True), layer(3, stride=3)
    ),
    "bicubic, smaller": lambda: Call(lambda x, a: F.interpolate(a(x), size=9, mode="bicubic"), layer(3)),
    "pixel shuffle": lambda: Call(lambda x, a: F.pixel_shuffle(a(x), 2), nn.Conv2d(2, 8, 3, stride=2)),
    "u-net": lambda: Call(
        lambda x, down, up, side: cat((up(down(x)), side(x)), 1),
        layer(3, stride=2, padding=1), nn.ConvTranspose2d(2, 2, 2, stride=2), layer(5, padding=2),
    ),
    "reflect": lambda: layer(5, padding=2, padding_mode="reflect"),
    "replicate": lambda: layer(5, padding=2, padding_mode="replicate"),
    "softmax over channels": lambda: nn.Sequential(layer(3), nn.Softmax(1), layer(2)),
    "lrn": lambda: nn.Sequential(layer(3), nn.LocalResponseNorm(3), layer(2)),
    "layer norm of channels": lambda: Call(
        lambda x, a, n: n(a(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2), layer(3), nn.LayerNorm(2)
    ),
    "flip": lambda: Call(lambda x, a: a(x).flip(3), layer(3)),
}  # fmt: skip


def positive(net):
    """Weights between 1/2 and 1, so that nothing cancels."""
    for parameter in net.parameters():
        parameter.data = numbanet.rand(tuple(parameter.shape)) / 2 + 0.5
    return net


def check(net, exact, shape=(1, 2, 24, 24)):
    field = receptive_field(net, shape)
    x = numbanet.rand(shape) + 0.5
    out = tuple(net.eval()(x).shape)[2:]
    for position in {tuple(n // d for n in out) for d in (2, 3)} | {(0,) * len(out), tuple(n - 1 for n in out)}:
        seen = np.argwhere(receptive_field_gradient(net, x, position=position) > 0)
        if field.whole or 0 in field.stride:
            continue
        window = [(max(first, 0), min(last, n - 1)) for (first, last), n in zip(field.window(position), shape[2:])]
        if exact:
            assert [tuple(pair) for pair in np.stack((seen.min(0), seen.max(0)), 1).tolist()] == window, position
        else:
            assert all(a <= low and high <= b for (a, b), low, high in zip(window, seen.min(0), seen.max(0))), position
            size = seen.max(0) - seen.min(0) + 1
            assert all(n <= most for n, most in zip(size, field.size)), position
    return field


@pytest.mark.parametrize("name", EXACT)
def test_gradients_fill_the_field(name):
    assert not check(positive(EXACT[name]()), exact=True).whole


@pytest.mark.parametrize("name", BOUND)
def test_gradients_stay_in_the_field(name):
    assert not check(positive(BOUND[name]()), exact=False).whole


def test_sequences():
    net = positive(nn.Sequential(nn.Conv1d(2, 2, 5, stride=2, padding=2), nn.AvgPool1d(2), nn.Conv1d(2, 2, 3)))
    field = check(net, exact=True, shape=(1, 2, 40))
    assert (field.size, field.stride, field.padding) == ((15,), (4,), (2,))


def test_enlarged_maps_have_fractions_for_strides():
    net = nn.Sequential(layer(3, stride=2), nn.Upsample(scale_factor=4))
    assert [float(s) for s in receptive_field(net, (1, 2, 24, 24)).stride] == [0.5, 0.5]


def test_one_position_has_no_stride():
    net = nn.Sequential(layer(3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3))
    for name in ("1", "2", "3", None):
        field = receptive_field(net, (1, 2, 24, 24), name)
        assert (field.size, field.stride) == ((24, 24), (0, 0)), name


@pytest.mark.parametrize(
    "make",
    [
        lambda: Call(lambda x, a, b: a(x) * b(x.mean((2, 3), keepdim=True)).sigmoid(), layer(3, padding=1), layer(1)),
        lambda: nn.Sequential(layer(3, padding=1), nn.GroupNorm(1, 2)),
        lambda: nn.Sequential(layer(3, padding=1), nn.InstanceNorm2d(2)),
        lambda: layer(3, padding=1, padding_mode="circular"),
    ],
    ids=["gate", "group norm", "instance norm", "circular padding"],
)
def test_the_whole_image_besides(make):
    net = make()
    field = receptive_field(net, (1, 2, 24, 24))
    assert field.whole
    assert (field.size, field.stride) == ((3, 3), (1, 1))
    assert str(field) == "3*"
    heat = receptive_field_gradient(net, numbanet.rand(1, 2, 24, 24), position=(0, 0))
    assert heat[20:, 20:].any()


def test_an_operation_that_nobody_knows_mixes_everything():
    class Backwards(Function):
        @staticmethod
        def forward(ctx, x):
            return x.flip(2)

        @staticmethod
        def backward(ctx, grad):
            return grad.flip(2)

    net = Call(lambda x, a: a(Backwards.apply(x)), layer(3))
    field = receptive_field(net, (1, 2, 24, 24))
    assert (field.size, field.stride) == ((24, 24), (0, 0))


def test_windows_of_positions():
    field = receptive_field(nn.Sequential(layer(5, stride=3, padding=2)), (1, 2, 24, 24))
    assert field.window((0, 0)) == ((-2, 2), (-2, 2))
    assert field.window((3, 7)) == ((7, 11), (19, 23))


def test_layers_by_name_and_by_themselves():
    net = nn.Sequential(nn.Sequential(layer(3), layer(3)), layer(3))
    sizes = [receptive_field(net, (1, 2, 24, 24), one).size[0] for one in ("0.0", "0", net[0][1], net[1], None)]
    assert sizes == [3, 5, 5, 7, 7]


@pytest.mark.parametrize("measure", [receptive_field, receptive_field_gradient])
@pytest.mark.parametrize(
    "net, shape, layer, message",
    [
        (nn.Sequential(nn.Conv2d(1, 1, 3)), (1, 1, 8, 8), "conv", "has no layer 'conv'"),
        (nn.Sequential(nn.Conv2d(1, 1, 3)), (1, 1, 8, 8), nn.ReLU(), "this ReLU is not a part of the Sequential"),
        (nn.Sequential(nn.Conv2d(1, 1, 3)), (1, 3, 8, 8), None, "channels"),
        (Call(lambda x, a: x.relu(), nn.Conv2d(1, 1, 3)), (1, 1, 8, 8), "layers.0", "'layers.0' did not run"),
        (nn.Sequential(nn.Linear(4, 4)), (1, 4), None, "sees no image|no positions"),
    ],
)
def test_refused(measure, net, shape, layer, message):
    with pytest.raises(ValueError, match=f"{measure.__name__}: .*({message})"):
        measure(net, shape, layer)


def test_refused_positions():
    net = nn.Conv2d(1, 1, 3)
    with pytest.raises(ValueError, match=r"position \(6, 0\) is not in the output \(1, 1, 6, 6\)"):
        receptive_field_gradient(net, (1, 1, 8, 8), position=(6, 0))
    with pytest.raises(TypeError, match=r"must be an nn.Module"):
        receptive_field(F.relu, (1, 1, 8, 8))


def test_the_measured_field_is_the_mean_over_images_and_the_same_every_time():
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 3))
    images = numbanet.randn(2, 2, 9, 9)
    both = receptive_field_gradient(net, images)
    each = [receptive_field_gradient(net, images[i : i + 1]) for i in range(2)]
    np.testing.assert_allclose(both, np.mean(each, 0), rtol=1e-5)
    once, again = (receptive_field_gradient(net, (2, 2, 9, 9)) for _ in range(2))
    assert np.array_equal(once, again)
    assert all(p.grad is None for p in net.parameters())
