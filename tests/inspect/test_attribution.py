"""Saliency, Grad-CAM and occlusion against what they must be for networks that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

import numbanet
from numbanet import nn
from numbanet.inspect import grad_cam, occlusion_map, receptive_field_gradient, saliency


class Pooled(nn.Module):
    """Maps, their means, and scores: for which Grad-CAM is what the last layer's weights say."""

    def __init__(self, inplace=False):
        super().__init__()
        self.maps = nn.Conv2d(3, 5, 3, padding=1)
        self.rectify = nn.ReLU(inplace)
        self.scores = nn.Linear(5, 4)

    def forward(self, x):
        return self.scores(self.rectify(self.maps(x)).mean((2, 3)))


@pytest.mark.parametrize("target", [None, 0, 3])
def test_grad_cam_of_pooled_maps_is_their_weighted_sum(target):
    net, x = Pooled(), numbanet.randn(1, 3, 6, 8)
    maps = net.rectify(net.maps(x)).detach().numpy()[0]
    scores = net(x).detach().numpy()[0]
    chosen = scores.argmax() if target is None else target
    expected = np.maximum(np.tensordot(net.scores.weight.detach().numpy()[chosen] / 48, maps, 1), 0)
    np.testing.assert_allclose(grad_cam(net, x, "rectify", target), expected, rtol=1e-4, atol=1e-6)


def test_grad_cam_of_a_layer_whose_output_the_next_changes_in_place():
    net, x = Pooled(inplace=True), numbanet.randn(1, 3, 6, 8)
    apart = Pooled()
    apart.load_state_dict(net.state_dict())
    np.testing.assert_allclose(grad_cam(net, x, net.maps, 1), grad_cam(apart, x, "maps", 1), rtol=1e-5, atol=1e-7)
    assert (grad_cam(net, x, "maps", 1) != grad_cam(net, x, "rectify", 1)).any()


def test_saliency_is_the_gradient():
    net, x = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), numbanet.randn(1, 3, 2, 2)
    weights = np.abs(net[1].weight.detach().numpy().reshape(3, 3, 2, 2)).max(1)
    for target in range(3):
        np.testing.assert_allclose(saliency(net, x, target), weights[target], rtol=1e-6)
        np.testing.assert_allclose(saliency(net, x[0], target), weights[target], rtol=1e-6)


def test_guided_backpropagation_lets_no_negative_gradient_through_relu():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 1))
    net[1].weight.data = numbanet.tensor([[1.0, 2, 3, 4], [5, 6, 7, 8]])
    net[1].bias.data = numbanet.zeros(2)
    net[3].weight.data = numbanet.tensor([[1.0, -1.0]])
    x = numbanet.ones(1, 1, 2, 2)
    assert saliency(net, x).tolist() == [[4, 4], [4, 4]]
    assert saliency(net, x, guided=True).tolist() == [[1, 2], [3, 4]]


class Corner(nn.Module):
    """Class 1 if there is light in the upper left corner of 2 x 2 pixels."""

    def forward(self, x):
        light = x[:, 0, :2, :2].sum((1, 2))
        return numbanet.stack([light * 0, light * 3 - 1], 1)


def test_occlusion_hurts_where_the_square_hides_what_counts():
    x = numbanet.ones(1, 1, 6, 8)
    whole = 1 / (1 + np.exp(-(3 * 4 - 1)))
    found = occlusion_map(Corner(), x, size=2, stride=1)
    assert found.shape == (6, 8)
    np.testing.assert_allclose(found[3:], whole)
    np.testing.assert_allclose(found[:, 3:], whole)
    # A square of 2 x 2 with its middle at (1, 1) hides all of it, at (0, 0) a single pixel, at (0, 1) two.
    np.testing.assert_allclose(found[1, 1], 1 / (1 + np.exp(1.0)))
    np.testing.assert_allclose(found[0, 0], 1 / (1 + np.exp(-(3 * 3 - 1.0))))
    np.testing.assert_allclose(found[0, 1], 1 / (1 + np.exp(-(3 * 2 - 1.0))))
    other = occlusion_map(Corner(), x, target=0, size=2, stride=1, batch_size=5)
    np.testing.assert_allclose(other, 1 - found, atol=1e-12)


def test_occlusion_in_steps_and_with_another_value():
    x = numbanet.zeros(1, 1, 9, 6)
    found = occlusion_map(Corner(), x, target=1, size=3, stride=3, value=1.0)
    assert found.shape == (3, 2)
    dark = 1 / (1 + np.exp(1.0))
    assert found[0, 0] > 0.99
    np.testing.assert_allclose(found.ravel()[1:], dark)
    assert x.numpy().sum() == 0


def test_looking_changes_nothing():
    net, x = Pooled(), numbanet.randn(1, 3, 6, 8)
    net.rectify.eval()
    for look in (
        lambda: grad_cam(net, x, "maps"),
        lambda: saliency(net, x, guided=True),
        lambda: occlusion_map(net, x),
    ):
        look()
        assert [m.training for m in net.modules()] == [True, True, False, True]
        assert all(p.grad is None for p in net.parameters())
        assert all(m._hooks is None or not m._hooks.after for m in net.modules())
    assert x.grad is None
    assert not x.requires_grad


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: saliency(Pooled(), numbanet.zeros(2, 3, 6, 8)), ValueError, r"saliency: expected one image.*\(2, 3, 6, 8\)"),
        (lambda: saliency(Pooled(), np.zeros((1, 3, 6, 8))), TypeError, "expected an image as a tensor.*ndarray"),
        (lambda: saliency(Pooled(), numbanet.zeros(1, 3, 6, 8), 4), ValueError, "no class 4; the network knows 4"),
        (lambda: saliency(nn.ReLU(), numbanet.zeros(1, 3, 6, 8)), ValueError, r"expected a classifier's scores \(1, classes\)"),
        (lambda: grad_cam(Pooled(), numbanet.zeros(1, 3, 6, 8), "scores"), ValueError, r"\(1, 4\) of layer 'scores' is no feature map"),
        (lambda: grad_cam(Pooled(), numbanet.zeros(1, 3, 6, 8), "map"), ValueError, "no layer 'map'; did you mean 'maps'"),
        (lambda: grad_cam(Pooled(), numbanet.zeros(1, 2, 6, 8), "maps"), ValueError, r"grad_cam: Pooled refuses the input \(1, 2, 6, 8\)"),
        (lambda: occlusion_map(Pooled(), numbanet.zeros(1, 3, 6, 8), size=0), ValueError, "must be at least 1, got 0, 4, 64"),
        (lambda: occlusion_map(max, numbanet.zeros(1, 3, 6, 8)), TypeError, "occlusion_map: net must be an nn.Module"),
    ],
)  # fmt: skip
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_no_grad_around_them_does_not_matter():
    net, x = Pooled(), numbanet.randn(1, 3, 6, 8)
    calls = (
        lambda: grad_cam(net, x, "rectify", 1),
        lambda: saliency(net, x, 1),
        lambda: saliency(net, x, 1, guided=True),
        lambda: receptive_field_gradient(net, x, "maps"),
    )
    for call in calls:
        expected = call()
        with numbanet.no_grad():
            np.testing.assert_array_equal(call(), expected)
