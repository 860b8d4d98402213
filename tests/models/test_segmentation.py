"""Feature maps from within networks, and what is built on them: FCN, U-Net, feature pyramids."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import numbanet
from numbanet import models, nn, optim
from numbanet.models.fcn import bilinear_kernel
from numbanet.nn import functional as F
from numbanet.nn import init

from_numpy = numbanet.from_numpy


class Residual(nn.Module):
    """The notes' residual block."""

    def __init__(self, input_channels, num_channels, use_1x1conv=False, strides=1):
        super().__init__()
        self.conv1 = nn.Conv2d(input_channels, num_channels, kernel_size=3, padding=1, stride=strides)
        self.conv2 = nn.Conv2d(num_channels, num_channels, kernel_size=3, padding=1)
        self.conv3 = nn.Conv2d(input_channels, num_channels, kernel_size=1, stride=strides) if use_1x1conv else None
        self.bn1 = nn.BatchNorm2d(num_channels)
        self.bn2 = nn.BatchNorm2d(num_channels)

    def forward(self, X):
        Y = F.relu(self.bn1(self.conv1(X)))
        Y = self.bn2(self.conv2(Y))
        if self.conv3:
            X = self.conv3(X)
        Y += X
        return F.relu(Y)


def residual_net(width: int = 4) -> nn.Sequential:
    """The notes' ResNet, narrow and with one block per stage: children 0 to 6, those of strides 8, 16 and 32 being 2, 3, 4."""
    stem = nn.Sequential(nn.Conv2d(3, width, 7, 2, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    stages = [nn.Sequential(Residual(width * 2**i, width * 2 ** (i + 1), True, 2)) for i in range(3)]
    head = (nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(8 * width, 10))
    return nn.Sequential(stem, nn.Sequential(Residual(width, width)), *stages, *head)


class Staged(nn.Module):
    """Stages of torchvision's names, strides and channels, and nothing in them."""

    def __init__(self):
        super().__init__()
        self.layer1 = nn.Conv2d(3, 2, 1, 4)
        self.layer2 = nn.Conv2d(2, 128, 1, 2)
        self.layer3 = nn.Conv2d(128, 256, 1, 2)
        self.layer4 = nn.Conv2d(256, 512, 1, 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512, 7)

    def forward(self, x):
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


def train_losses(net: nn.Module, x: numbanet.Tensor, y: numbanet.Tensor, steps: int, lr: float) -> list[float]:
    optimizer = optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


# ---------------------------------------------------------------------------------------------------- feature maps


def test_features_are_the_outputs_of_the_modules_named():
    net, x = residual_net(), numbanet.randn(2, 3, 40, 40)
    net.eval()
    body = models.features(net, {"3": "coarse", "1": "fine", "2.0.conv1": "inner"})
    maps = body(x)
    assert list(maps) == ["coarse", "fine", "inner"]
    second = net[1](net[0](x))
    expected = {"fine": second, "inner": net[2][0].conv1(second), "coarse": net[3](net[2](second))}
    for name, value in expected.items():
        np.testing.assert_array_equal(maps[name].detach().numpy(), value.detach().numpy(), err_msg=name)


def test_features_are_the_network_with_another_forward():
    net, x = residual_net(), numbanet.randn(1, 3, 32, 32)
    body = models.features(net, ["2"])
    assert list(body.state_dict()) == list(net.state_dict())
    assert all(a is b for a, b in zip(body.parameters(), net.parameters(), strict=True))
    body.eval()
    assert not any(module.training for module in net.modules())
    body.train()
    assert all(module.training for module in net.modules())
    body(x)["2"].sum().backward()
    assert net[0][0].weight.grad.abs().sum().item() > 0
    assert net[3][0].conv1.weight.grad is None
    body.double()
    assert net[0][0].weight.dtype == numbanet.float64
    twin = copy.deepcopy(body)
    twin.net[0][0].weight.data.fill_(0.0)
    assert twin.state_dict()["0.0.weight"].abs().sum().item() == 0
    assert net[0][0].weight.abs().sum().item() > 0


def test_features_stop_where_nothing_more_is_wanted():
    class Forbidden(nn.Module):
        def forward(self, x):
            raise AssertionError("this ought not to run")

    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), Forbidden())
    assert models.features(net, ["1"])(numbanet.zeros(1, 1, 5, 5))["1"].shape == (1, 2, 3, 3)
    with pytest.raises(AssertionError, match="ought not"):
        models.features(net, ["1"]).net(numbanet.zeros(1, 1, 5, 5))
    assert not net[1]._hooks.after  # also after an error
    with pytest.raises(RuntimeError, match="conv2d"):
        models.features(net, ["1"])(numbanet.zeros(1, 3, 5, 5))
    assert not net[1]._hooks.after


def test_features_within_features():
    inner = models.features(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten()), ["1"])

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = inner
            self.last = nn.Conv2d(2, 3, 1)

        def forward(self, x):
            return self.last(self.inner(x)["1"])

    maps = models.features(Outer(), ["inner", "last"])(numbanet.zeros(1, 1, 5, 5))
    assert maps["inner"]["1"].shape == (1, 2, 3, 3) and maps["last"].shape == (1, 3, 3, 3)
    # The module that the outer one waits for lies within the inner one.
    assert list(models.features(Outer(), ["inner.0"])(numbanet.zeros(1, 1, 5, 5))) == ["inner.0"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["9"], "Sequential has no module '9'; it has 0, 1, 2"),
        ([""], "has no module ''"),
        ([], "name at least one module of Sequential, such as one of 0, 1"),
        ({"0": "a", "1": "a"}, "two maps of one name"),
    ],
)
def test_wrong_features(names, message):
    with pytest.raises(ValueError, match=message):
        models.features(residual_net(), names)


def test_a_module_that_does_not_run_is_named():
    net = Staged()
    net.spare = nn.ReLU()
    with pytest.raises(RuntimeError, match="Staged did not run spare"):
        models.features(net, ["layer1", "spare"])(numbanet.zeros(1, 3, 32, 32))


# --------------------------------------------------------------------------------------------------------------- FCN


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_the_bilinear_kernel_interpolates(factor):
    """Within the image; at its border a transposed convolution fades to zero where interpolation repeats the edge."""
    x = numbanet.randn(1, 3, 5, 6)
    y = F.conv_transpose2d(x, bilinear_kernel(3, 3, 2 * factor), stride=factor, padding=factor // 2)
    expected = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    inside = slice(factor, -factor)
    np.testing.assert_allclose(y.numpy()[..., inside, inside], expected.numpy()[..., inside, inside], atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
def test_the_bilinear_kernel_is_a_pyramid(size):
    weight = bilinear_kernel(2, 3, size).numpy()
    reach = (size + 1) // 2
    centre = reach - 1 if size % 2 else reach - 0.5
    for i in range(size):
        for j in range(size):
            pyramid = (1 - abs(i - centre) / reach) * (1 - abs(j - centre) / reach)
            assert weight[0, 0, i, j] == weight[1, 1, i, j] == pytest.approx(pyramid)
    assert not weight[0, 1].any() and not weight[1, 0].any() and not weight[:, 2].any()


def fcn(finest: int) -> models.FCN:
    names = {8: ["2", "3", "4"], 16: ["3", "4"], 32: ["4"]}[finest]
    strides = [finest * 2**i for i in range(len(names))]
    return models.FCN(models.features(residual_net(), names), [s // 8 * 8 for s in strides], strides, num_classes=3)


@pytest.mark.parametrize("finest", [32, 16, 8])
@pytest.mark.parametrize("size", [(64, 64), (33, 70), (47, 31)])
def test_fcn_scores_every_pixel_of_any_image(finest, size):
    assert fcn(finest)(numbanet.randn(2, 3, *size)).shape == (2, 3, *size)


@pytest.mark.parametrize("finest", [16, 8])
def test_finer_maps_have_no_say_at_first_and_learn(finest):
    net, x = fcn(finest), numbanet.randn(2, 3, 64, 64)
    net.eval()
    coarse = net.score[-1](net.backbone(x)["4"])
    for up in net.up:
        coarse = up(coarse)
    np.testing.assert_allclose(net(x).detach().numpy(), coarse.detach().numpy(), atol=1e-6)
    net.train()
    F.cross_entropy(net(x), numbanet.randint(3, (2, 64, 64))).backward()
    assert all(p.grad is not None and p.grad.abs().sum().item() > 0 for p in net.score.parameters())


def test_fcn_overfits_one_batch():
    x = numbanet.randn(2, 3, 32, 32)
    y = (x[:, 0] > 0).long() + (F.avg_pool2d(x[:, 1], 5, 1, 2) > 0).long()
    net = models.FCN(models.features(residual_net(), ["2", "3", "4"]), [8, 16, 32], [8, 16, 32], num_classes=3)
    losses = train_losses(net, x, y, 8, 0.1)
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("stride", [32, 16, 8])
def test_fcn_resnet18_takes_a_backbone_with_torchvisions_stages(stride):
    net = models.build("fcn_resnet18", num_classes=2, stride=stride, backbone=Staged())
    assert net(numbanet.zeros(1, 3, 64, 32)).shape == (1, 2, 64, 32)
    keys = {key.split(".")[1] for key in net.state_dict() if key.startswith("backbone.")}
    assert keys == {"layer1", "layer2", "layer3", "layer4"}  # not fc
    assert [s.in_channels for s in net.score] == {32: [512], 16: [256, 512], 8: [128, 256, 512]}[stride]


@pytest.mark.parametrize("backbone", models.list("resnet18"))  # for as long as there is one
def test_fcn_resnet18_is_resnet18_with_scores_and_enlargements(backbone):
    """ResNet-18's 11,689,512 parameters without its last layer, a score per map, kernels of twice the strides."""
    body = sum(p.numel() for p in models.build(backbone).parameters()) - 513 * 1000
    for stride, channels in ((32, [512]), (16, [256, 512]), (8, [128, 256, 512])):
        sides = [4] * (len(channels) - 1) + [2 * stride]
        expected = body + sum(21 * (c + 1) for c in channels) + sum(21 * 21 * side**2 for side in sides)
        with init.skipped():
            net = models.fcn_resnet18(stride=stride)
        assert sum(p.numel() for p in net.parameters()) == expected
    assert body == 11_689_512 - 513_000


def test_the_notes_fcn_is_layers_in_a_row():
    body = nn.Sequential(*list(Staged().children())[:4])
    net = models.build("fcn", num_classes=2, backbone=body)
    assert [name for name, _ in net.named_children()] == ["0", "1", "2", "3", "final_conv", "transpose_conv"]
    assert net.transpose_conv.kernel_size == (64, 64) and net.transpose_conv.stride == (32, 32)
    np.testing.assert_array_equal(net.transpose_conv.weight.detach().numpy(), bilinear_kernel(2, 2, 64).numpy())
    assert net(numbanet.zeros(1, 3, 64, 96)).shape == (1, 2, 64, 96)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: models.FCN(nn.Identity(), [4, 8], [8]), r"of the same maps, got \[4, 8\] and \[8\]"),
        (lambda: models.FCN(nn.Identity(), [4, 8], [8, 32]), r"double from map to map, got \[8, 32\]"),
        (lambda: models.FCN(nn.Identity(), [4], [3]), r"must be even .* got \[3\]"),
        (lambda: models.fcn_resnet18(stride=4), "stride must be 8, 16 or 32, got 4"),
        (lambda: models.FCN(models.features(residual_net(), ["3", "4"]), [32], [32])(numbanet.zeros(2, 3, 32, 32)),
         "made for 1 maps, the backbone gave 2: 3, 4"),
    ],
)  # fmt: skip
def test_wrong_fcns(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ------------------------------------------------------------------------------------------------------------- U-Net


def test_unet_is_the_papers():
    with init.skipped():
        net = models.unet()
    assert sum(p.numel() for p in net.parameters()) == 31_030_658
    assert net.output_size(572) == 388  # figure 1
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(convolutions) == 23  # "in total the network has 23 convolutional layers"


OPTIONS = [{}, {"padding": 1}, {"up": "bilinear"}, {"padding": 1, "up": "bilinear", "batch_norm": True}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_unet_fits_the_sizes_that_it_says_and_no_others(options):
    net = models.UNet(2, 1, (2, 3, 4), **options).eval()
    sizes = []
    for length in range(1, 64) if options.get("padding") else (*range(1, 45), 60):
        size = net.output_size(length)
        if size:
            sizes.append(length)
            if len(sizes) < 6:
                assert net(numbanet.zeros(1, 1, length, sizes[0])).shape[2:] == (size, net.output_size(sizes[0]))
        else:
            with pytest.raises(ValueError, match=f"images of {length} x 60 do not fit 3 levels"):
                net(numbanet.zeros(1, 1, length, 60))
    assert sizes == (list(range(4, 64)) if options.get("padding") else [44, 60])


def test_unet_says_which_size_would_fit():
    message = "images of 45 x 60 do not fit 3 levels with padding=0; 48 x 60 would, or any size with padding=1"
    with pytest.raises(ValueError, match=message):
        models.UNet(2, 1, (2, 3, 4))(numbanet.zeros(1, 1, 45, 60))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_unet_overfits_one_batch(options):
    net = models.UNet(2, 1, (6, 8), dropout=0.0, **options)
    x = numbanet.randn(2, 1, 20, 20)
    y = (F.avg_pool2d(x[:, 0], 3, 1, 1) > 0).long()
    border = (20 - net.output_size(20)) // 2
    losses = train_losses(net, x, y[:, border : 20 - border, border : 20 - border], 15, 0.05)
    assert losses[-1] < 0.85 * losses[0]


def test_unets_bridges_carry_the_encoders_maps():
    """Without padding the cut is in the middle: each output pixel sees the image around the same place."""
    net = models.UNet(1, 1, (2, 2), dropout=0.0)
    for parameter in net.parameters():  # all positive: no ReLU closes
        parameter.data.uniform_(0.1, 1.0)
    x = numbanet.rand(1, 1, 20, 20, requires_grad=True)
    y = net(x)
    y[0, 0, 1, 1].backward()
    seen = np.argwhere(x.grad.numpy()[0, 0] != 0)
    offset = (20 - y.shape[2]) // 2 + 1
    assert seen.min() >= 0 and (seen.min(0) + seen.max(0) - 2 * offset <= 2).all()
    # Coarse maps alone cannot tell neighbours apart that were pooled together; the bridge can.
    for module in (net.up[0],):
        module.weight.data.fill_(0.0)
        module.bias.data.fill_(0.0)
    x.grad = None
    net(x)[0, 0, 1, 1].backward()
    seen = np.argwhere(x.grad.numpy()[0, 0] != 0)
    np.testing.assert_array_equal([seen.min(0), seen.max(0)], [[offset - 4] * 2, [offset + 4] * 2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": 2}, "padding must be 0 or 1, got 2"),
        ({"up": "nearest"}, "expected up 'transposed' or 'bilinear', got 'nearest'"),
        ({"channels": (4,)}, r"two levels at least, got \(4,\)"),
    ],
)
def test_wrong_unets(options, message):
    with pytest.raises(ValueError, match=message):
        models.UNet(**options)
    with pytest.raises(ValueError, match=r"expected images \(N, C, H, W\), got shape \(1, 8, 8\)"):
        models.UNet(2, 1, (2, 3), padding=1)(numbanet.zeros(1, 8, 8))


# --------------------------------------------------------------------------------------------------- feature pyramid


def test_a_backbone_with_a_pyramid():
    net = models.BackboneWithFPN(residual_net(), {"2": "fine", "3": "middle", "4": "coarse"}, [8, 16, 32], 6)
    levels = net(numbanet.randn(1, 3, 72, 40))
    assert {name: tuple(level.shape) for name, level in levels.items()} == {
        "fine": (1, 6, 9, 5),
        "middle": (1, 6, 5, 3),
        "coarse": (1, 6, 3, 2),
        "pool": (1, 6, 2, 1),
    }
    levels["fine"].sum().backward()
    assert net.body.net[4][0].conv1.weight.grad.abs().sum().item() > 0  # by way of the coarser levels
    with pytest.raises(ValueError, match=r"2 maps \(2, 3\) but in_channels_list has 1 numbers"):
        models.BackboneWithFPN(residual_net(), ["2", "3"], [8], 6)
