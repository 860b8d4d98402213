"""Batch norm, addition and ReLU as one kernel: when, that nothing else is different, and that watchers see the layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import numbanet
from numbanet import autograd, inspect, nn
from numbanet.models.densenet import DenseNet
from numbanet.models.inception import BasicConv2d
from numbanet.models.notes import Inception, Residual
from numbanet.models.preact_resnet import PreActBlock, PreActBottleneck
from numbanet.models.resnet import BasicBlock, Bottleneck, conv1x1
from numbanet.models.squeezenet import Fire
from numbanet.nn.fused import norm_relu, separately
from numbanet.utils.checkpoint import checkpoint

rng = np.random.default_rng(3)


def draw(*shape: int) -> numbanet.Tensor:
    return numbanet.from_numpy(rng.standard_normal(shape).astype(np.float32))


def operations(y: Any) -> list[str]:
    """The names of a graph's operations."""
    found, waiting = {}, [y.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found[node] = node.name()
            waiting += [following for following, _ in node.next_functions]
    return sorted(found.values())


def results(net: nn.Module, x: numbanet.Tensor, training: bool) -> list[np.ndarray]:
    """Output, gradients of input and parameters, and the buffers afterwards; everything starts from the same state."""
    state = {name: value.clone() for name, value in net.state_dict().items()}
    net.train(training)
    leaf = x.detach().clone().requires_grad_()
    y = net(leaf)
    parameters = list(net.parameters())
    cotangent = numbanet.from_numpy(np.random.default_rng(7).standard_normal(tuple(y.shape)).astype(np.float32))
    grads = autograd.grad(y, [leaf, *parameters], cotangent)
    values = [t.detach().numpy().copy() for t in (y, *grads, *net.buffers())]
    net.load_state_dict(state)
    return values


def stirred(net: nn.Module) -> nn.Module:
    """With scales, shifts and statistics that are not those of the beginning."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for name, value in module.state_dict().items():
                if value.is_floating_point():
                    value.copy_(draw(*value.shape).abs() + 0.5 if name == "running_var" else draw(*value.shape) * 0.5)
    return net


NETWORKS = {
    "Sequential": lambda: nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.BatchNorm2d(6), nn.ReLU(inplace=True)),
    "products": lambda: nn.Sequential(
        nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), nn.ReLU(), nn.Conv2d(6, 2, 3, bias=False), nn.ReLU(inplace=True),
        nn.Flatten(), nn.Linear(70, 5), nn.ReLU(), nn.Linear(5, 2),
    ),
    "Conv2dNormActivation": lambda: nn.Conv2dNormActivation(4, 6),
    "BasicBlock": lambda: BasicBlock(4, 4),
    "BasicBlock, halving": lambda: BasicBlock(4, 6, 2, nn.Sequential(conv1x1(4, 6, 2), nn.BatchNorm2d(6))),
    "BasicBlock with attention": lambda: BasicBlock(4, 4, attention=nn.SqueezeExcitation),
    "Bottleneck": lambda: Bottleneck(4, 2, 1, nn.Sequential(conv1x1(4, 8, 1), nn.BatchNorm2d(8))),
    "PreActBlock": lambda: PreActBlock(4, 4),
    "PreActBlock, activated": lambda: PreActBlock(4, 6, activated=True),
    "PreActBottleneck": lambda: PreActBottleneck(4, 2),
    "Residual": lambda: Residual(4, 6, True, 2),
    "Inception": lambda: Inception(4, 2, (2, 3), (2, 3), 2),
    "Fire": lambda: Fire(4, 2, 3, 3),
    "BasicConv2d": lambda: BasicConv2d(4, 6, kernel_size=3),
    "DenseNet": lambda: DenseNet(4, (2, 2), 8, in_channels=4, num_classes=3),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("training", [True, False])
def test_networks_give_the_same_bits_fused_and_layer_by_layer(name, training):
    numbanet.manual_seed(0)
    net = stirred(NETWORKS[name]())
    x = draw(2, 4, 32, 32) if name == "DenseNet" else draw(3, 4, 9, 7)
    fused = results(net, x, training)
    with separately():
        apart = results(net, x, training)
    for one, other in zip(fused, apart, strict=True):
        np.testing.assert_array_equal(one, other)
    count = operations(net(x)).count("ReluBackward")
    with separately():
        assert operations(net(x)).count("ReluBackward") > count


def pair(relu: Any = None) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(3), relu or nn.ReLU())


def is_fused(net: nn.Module, x: Any = None) -> bool:
    names = operations(net(draw(2, 3, 4, 4) if x is None else x))
    assert names.count("BatchNormTrainBackward") == 1
    return "ReluBackward" not in names


def test_a_plain_pair_is_fused_and_keeps_its_tree():
    net = pair()
    before = repr(net), list(net.state_dict())
    assert is_fused(net) and is_fused(pair(nn.ReLU(inplace=True)))
    assert (repr(net), list(net.state_dict())) == before
    assert net[0].num_batches_tracked.item() == 1
    rows = nn.Sequential(nn.BatchNorm1d(3), nn.ReLU())
    assert is_fused(rows, draw(4, 3)) and is_fused(rows, draw(4, 3, 5))


@pytest.mark.parametrize("layer", [lambda: nn.Conv2d(3, 4, 3), lambda: nn.Linear(4, 5)])
def test_a_product_and_a_relu_are_one_operator_unless_watched(layer):
    net = nn.Sequential(layer(), nn.ReLU(), nn.ReLU())
    x = draw(2, 3, 4, 4)
    assert operations(net(x)).count("ReluBackward") == 1
    handle = net[0].register_forward_hook(lambda *args: None)
    assert operations(net(x)).count("ReluBackward") == 2
    handle.remove()
    nn.utils.weight_norm(net[0])
    assert operations(net(x)).count("ReluBackward") == 2
    nn.utils.remove_weight_norm(net[0])
    assert operations(net(x)).count("ReluBackward") == 1


def hooks(module: nn.Module) -> list[Any]:
    nothing = lambda *args: None  # noqa: E731
    return [module.register_forward_pre_hook, module.register_forward_hook, module.register_full_backward_hook], nothing


@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize("kind", [0, 1, 2])
def test_a_hook_on_either_layer_keeps_both_apart_until_it_is_removed(position, kind):
    net = pair()
    registers, hook = hooks(net[position])
    handle = registers[kind](hook)
    assert not is_fused(net)
    handle.remove()
    assert is_fused(net)


def keeping(seen: dict[str, np.ndarray], name: str) -> Any:
    def hook(module: Any, args: Any, output: Any) -> None:
        seen[name] = output.detach().numpy().copy()

    return hook


def test_hooks_see_what_the_layers_pass_on():
    numbanet.manual_seed(0)
    for block in (BasicBlock(4, 6, 2, nn.Sequential(conv1x1(4, 6, 2), nn.BatchNorm2d(6))), Residual(4, 6, True, 2)):
        seen: dict[str, np.ndarray] = {}
        x = draw(2, 4, 8, 8)
        expected = block.bn1(block.conv1(x)).detach().numpy()
        for name, module in block.named_modules():
            module.register_forward_hook(keeping(seen, name))
        block(x)
        order = [name for name in seen if name.startswith(("bn", "conv", "downsample."))]
        shortcut = ["downsample.0", "downsample.1"] if isinstance(block, BasicBlock) else ["conv3"]
        assert order == ["conv1", "bn1", "conv2", "bn2", *shortcut]
        np.testing.assert_array_equal(seen["bn1"], expected)
        assert (seen["bn1"] < 0).any() and (seen["bn2"] < 0).any()


class Louder(nn.BatchNorm2d):
    def forward(self, input):
        return super().forward(input) * 2


class Leaky(nn.ReLU):
    def forward(self, input):
        return nn.functional.leaky_relu(input)


def test_classes_and_forwards_of_ones_own_are_called():
    assert "MulBackward" in operations(nn.Sequential(Louder(3), nn.ReLU())(draw(2, 3, 4, 4)))
    assert "LeakyReluBackward" in operations(pair(Leaky())(draw(2, 3, 4, 4)))
    net = pair()
    net[1].forward = lambda input: input.tanh()
    assert "TanhBackward" in operations(net(draw(2, 3, 4, 4)))


def test_what_does_not_fit_is_added_as_ever():
    norm, x = nn.BatchNorm2d(3), draw(2, 3, 4, 4)
    for more in (draw(3, 1, 1), draw(2, 3, 4, 4).double(), 2.0):
        y = norm_relu(norm, None, x, lambda more=more: more)
        expected = nn.functional.relu(norm(x) + more)
        assert y.dtype == expected.dtype
        np.testing.assert_array_equal(y.detach().numpy(), expected.detach().numpy())
    with pytest.raises(ValueError, match="BatchNorm2d: expected 4D input"):
        norm_relu(norm, nn.ReLU(), draw(2, 3, 4), lambda: draw(2, 3, 4))


def test_checkpoints_and_second_derivatives():
    numbanet.manual_seed(0)
    net = stirred(BasicBlock(3, 3))
    x = draw(2, 3, 5, 5).requires_grad_()
    plain = autograd.grad(net(x).square().sum(), x)[0].numpy()
    again = autograd.grad(checkpoint(net, x).square().sum(), x)[0].numpy()
    np.testing.assert_array_equal(plain, again)
    found = []
    net, x = net.double(), x.detach().double().requires_grad_()
    for mode in (True, False):
        with separately() if mode else numbanet.enable_grad():
            (slope,) = autograd.grad(net(x).square().sum(), x, create_graph=True)
            found.append(autograd.grad(slope.square().sum(), x)[0].numpy())
    np.testing.assert_allclose(*found, rtol=1e-9, atol=1e-9 * np.abs(found[0]).max())


def test_separately_can_be_nested():
    net = pair()
    with separately():
        with separately():
            pass
        assert not is_fused(net)
    assert is_fused(net)


def test_guided_backpropagation_still_finds_the_rectified_layers():
    numbanet.manual_seed(1)
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)]  # fmt: skip
    net = nn.Sequential(*layers)
    image = draw(1, 1, 8, 8)
    guided = inspect.saliency(net, image, 0, guided=True)
    with separately():
        np.testing.assert_array_equal(guided, inspect.saliency(net, image, 0, guided=True))
        assert not np.array_equal(guided, inspect.saliency(net, image, 0))
