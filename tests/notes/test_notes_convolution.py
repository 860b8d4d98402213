"""The notes' sections on correlation, learning a kernel, channels, padding, stride and pooling."""

from __future__ import annotations

import inspect
from itertools import pairwise

import numpy as np
import pytest

from numbanet import nn
from tests.notes.session import FRAMEWORKS, HAS_TORCH, Session

frameworks = pytest.mark.parametrize("framework", FRAMEWORKS)
EDGES = np.zeros((6, 7), np.float32)
EDGES[:, 1], EDGES[:, 5] = 1, -1


def close(a, b, rtol=1e-5):
    np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6)


@frameworks
def test_correlation_gives_the_numbers_printed_in_the_notes(framework):
    notes = Session(framework)
    printed = notes.run("correlation")
    np.testing.assert_array_equal(notes.array("Y"), [[19, 25], [37, 43]])
    assert [float(number) for number in printed.replace("tensor", "").replace("[", " ").replace("]", " ").replace(",", " ")
            .replace("(", " ").replace(")", " ").split()] == [19, 25, 37, 43]  # fmt: skip
    notes.run("correlation_terse")
    np.testing.assert_array_equal(notes.array("Y"), [[19, 25], [37, 43]])


@frameworks
def test_a_convolution_layer_from_scratch_trains(framework):
    notes = Session(framework)
    notes.run("correlation", "conv_layer", "conv_layer_use")
    layer = notes["layer"]
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
    assert notes.array("out").shape == (2, 2)
    # The gradient of the sum is the sum of the pixels under each element of the kernel.
    np.testing.assert_array_equal(np.asarray(layer.weight.grad), [[8, 12], [20, 24]])
    np.testing.assert_array_equal(np.asarray(layer.bias.grad), [4])


@frameworks
def test_several_channels(framework):
    notes = Session(framework)
    notes.run("correlation", "channels")
    np.testing.assert_array_equal(notes.array("one"), [[56, 72], [104, 120]])
    np.testing.assert_array_equal(
        notes.array("several"), [[[56, 72], [104, 120]], [[76, 100], [148, 172]], [[96, 128], [192, 224]]]
    )


@frameworks
def test_the_edge_image_gives_the_matrix_printed_in_the_notes(framework):
    notes = Session(framework)
    printed = notes.run("correlation", "edge_image")
    image = np.ones((6, 8), np.float32)
    image[:, 2:6] = 0
    np.testing.assert_array_equal(notes.array("X"), image)
    np.testing.assert_array_equal(notes.array("edges"), EDGES)
    np.testing.assert_array_equal(notes.array("Y"), EDGES)
    assert "tensor([[ 0.,  1.,  0.,  0.,  0., -1.,  0.],\n        [ 0.,  1.,  0.,  0.,  0., -1.,  0.]," in printed


def _learn(framework, learning):
    notes = Session(framework)
    notes.run("correlation", "edge_image", "edge_layer")
    weight = notes["conv2d"].weight
    weight.data[:] = notes["torch"].tensor([[[[0.3, -0.2]]]])
    printed = notes.run(learning)
    return notes, printed


@frameworks
def test_the_edge_kernel_is_learnt(framework):
    notes, printed = _learn(framework, "edge_learn")
    lines = printed.split("\n")
    assert [line.split(",")[0] for line in lines[:5]] == [f"epoch {i}" for i in (2, 4, 6, 8, 10)]
    losses = [float(line.split()[-1]) for line in lines[:5]]
    assert all(later < earlier for earlier, later in pairwise(losses))
    assert losses[-1] < 0.1
    close(np.asarray(notes["conv2d"].weight.detach()).ravel(), [1, -1], 0.1)


@pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed")
@pytest.mark.torch
@pytest.mark.parametrize("learning", ["edge_learn", "edge_learn_terse"])
def test_learning_takes_the_same_steps_as_pytorch(learning):
    (ours, our_text), (theirs, their_text) = (_learn(framework, learning) for framework in ("numbanet", "torch"))
    close(ours["conv2d"].weight.detach().numpy(), theirs["conv2d"].weight.detach().numpy())
    assert our_text == their_text


def test_accumulated_gradients_make_the_kernel_swing():
    """The notes' short version never clears the gradients; it runs, and does what that does."""
    _, printed = _learn("numbanet", "edge_learn_terse")
    losses = [float(line.split("loss")[1]) for line in printed.split()]
    assert len(losses) == 5
    assert np.isfinite(losses).all()


@frameworks
def test_padding_and_stride_give_the_shapes_of_the_notes(framework):
    printed = Session(framework).run("correlation", "padding_stride")
    shapes = printed.split("\n")[-5:-1]
    assert shapes == ["Size([8, 8])", "Size([8, 8])", "Size([4, 4])", "Size([2, 2])"]


@frameworks
def test_a_kernel_set_by_hand(framework):
    notes = Session(framework)
    printed = notes.run("kernel_by_hand")
    # Padded by one pixel, with stride (3, 2): the corners of the notes' second figure.
    np.testing.assert_array_equal(notes.array("B"), [[[[0, 8], [6, 8]]]])
    assert notes["conv2d"].weight.requires_grad
    assert notes["B"].requires_grad
    assert printed.count("tensor") == 3


@frameworks
def test_pooling_from_scratch(framework):
    notes = Session(framework)
    notes.run("pooling")
    np.testing.assert_array_equal(notes.array("largest"), [[4, 5], [7, 8]])
    np.testing.assert_array_equal(notes.array("means"), [[2, 3], [5, 6]])


@frameworks
def test_pooling_layers(framework):
    notes = Session(framework)
    notes.run("pooling", "pooling_layers")
    wide, square, default, mean, padded_mean, two = [result.numpy() for result in notes["results"]]
    np.testing.assert_array_equal(wide, [[[[1, 3], [9, 11], [13, 15]]]])
    np.testing.assert_array_equal(square, [[[[5, 7], [13, 15]]]])
    np.testing.assert_array_equal(default, [[[[10]]]])
    np.testing.assert_array_equal(mean, [[[[2.5, 4.5], [10.5, 12.5]]]])
    close(padded_mean, np.array([[[[10, 24], [51, 90]]]]) / 9)
    np.testing.assert_array_equal(two, [[[[5, 7], [13, 15]], [[6, 8], [14, 16]]]])


def defaults(cls):
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}


def test_layers_have_the_arguments_that_the_notes_list():
    assert list(defaults(nn.Conv2d).items())[:5] == [
        ("stride", 1), ("padding", 0), ("dilation", 1), ("groups", 1), ("bias", True)
    ]  # fmt: skip
    assert list(defaults(nn.MaxPool2d).items()) == [
        ("stride", None), ("padding", 0), ("dilation", 1), ("return_indices", False), ("ceil_mode", False)
    ]  # fmt: skip
    assert list(defaults(nn.BatchNorm2d).items())[:4] == [
        ("eps", 1e-05), ("momentum", 0.1), ("affine", True), ("track_running_stats", True)
    ]  # fmt: skip


def test_parameters_of_a_convolution_as_the_notes_count_them():
    channels, out, size = 3, 5, 4
    layer = nn.Conv2d(channels, out, size)
    assert sum(p.numel() for p in layer.parameters()) == (channels * (size * size) + 1) * out


@frameworks
def test_the_notes_check_of_the_device(framework):
    printed = Session(framework).run("device_check").split("\n")
    assert printed[1] in ("True", "False")
    assert printed[2].startswith("cpu ")
    assert printed[4] == printed[1]
    assert printed[5] in ("True", "False")
    assert (printed[6] == "None") == (printed[5] == "False")
