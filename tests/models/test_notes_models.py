"""The notes' networks: the notes' own text, kept in tests/notes/snippets, is what they are compared with."""

from __future__ import annotations

import numpy as np
import pytest

import numbanet
from numbanet import models
from numbanet.models import notes
from tests.models.checks import bare, check_learns, count, output_shape
from tests.notes.session import Session

# (snippets of the notes, parameters, learning rate, batch size, resolution), as the notes have them
NOTES = {
    "lenet": (["lenet"], 61_706, 0.9, 256, 28),
    "lenet_bn": (["lenet", "lenet_bn_concise"], 44_878, 1.0, 256, 28),
    "alexnet": (["alexnet"], 46_764_746, 0.01, 128, 224),
    "vgg11": (["vgg"], 43_093_322, 0.05, 128, 224),
    "nin": (["nin"], 1_992_166, 0.1, 128, 224),
    "googlenet": (["googlenet"], 5_977_530, 0.1, 128, 96),
    "resnet18": (["residual", "resnet"], 11_178_378, 0.05, 256, 96),
    "densenet": (["densenet"], 758_226, 0.1, 256, 96),
}


@pytest.mark.parametrize("name", NOTES)
def test_they_are_the_notes_networks(name):
    """Layer by layer, with every option that a layer prints, and in the state_dict's keys and shapes."""
    session = Session("numbanet")
    snippets, parameters, lr, batch_size, size = NOTES[name]
    with numbanet.nn.init.skipped():
        session.run(*snippets)
        net = models.build(f"notes.{name}")
    theirs = session["net"]
    assert [(k, tuple(v.shape)) for k, v in net.state_dict().items()] == [
        (k, tuple(v.shape)) for k, v in theirs.state_dict().items()
    ]
    leaves = [[repr(m) for m in n.modules() if not list(m.children())] for n in (net, theirs)]
    leaves[1] = [text for text in leaves[1] if name != "resnet18" or text != "ReLU(inplace=True)"]  # made, never called
    assert leaves[0] == leaves[1]
    assert count(net) == parameters
    info = models.info(f"notes.{name}")
    assert (info.lr, info.batch_size, info.input_shape) == (lr, batch_size, (1, size, size))


@pytest.mark.parametrize("name", ["nin", "googlenet", "resnet18", "densenet"])
def test_they_compute_what_the_notes_networks_compute(name):
    session = Session("numbanet")
    snippets = NOTES[name][0]
    session.run(*snippets)
    size = {"nin": 67, "densenet": 32}.get(name, 16)
    theirs, net = session["net"].eval(), models.build(f"notes.{name}", weights=session["net"].state_dict()).eval()
    x = numbanet.from_numpy(np.random.default_rng(0).random((2, 1, size, size), np.float32))
    with numbanet.no_grad():
        a, b = net(x).numpy(), theirs(x).numpy()
    np.testing.assert_array_equal(a, b)
    assert a.any()


@pytest.mark.parametrize(
    ("make", "shape", "options"),
    [
        (notes.lenet, (4, 1, 28, 28), {"lr": 0.1, "steps": 10, "fall": 0.005}),
        (notes.lenet_bn, (4, 1, 28, 28), {"lr": 0.1}),
        (notes.alexnet, (2, 1, 224, 224), {"lr": 0.03, "steps": 4, "fall": 0.01}),
        (notes.vgg11, (1, 1, 224, 224), {"lr": 0.1, "steps": 2, "fall": 0.01}),
        (notes.nin, (2, 1, 67, 67), {"lr": 0.1, "steps": 6, "fall": 0.001}),
        (notes.googlenet, (2, 1, 33, 33), {"lr": 0.1, "steps": 4, "fall": 0.01}),
        (notes.resnet18, (4, 1, 32, 32), {}),
        (notes.densenet, (2, 1, 64, 64), {}),
        (lambda **kw: notes.densenet(head="avg", **kw), (2, 1, 64, 64), {}),
    ],
    ids=[*NOTES, "densenet avg"],
)
def test_they_learn(make, shape, options):
    check_learns(make(num_classes=3), shape, **options)


def test_other_channels_and_classes():
    for name in ("lenet", "lenet_bn", "googlenet", "resnet18", "densenet"):
        size = 28 if name.startswith("lenet") else 32
        assert output_shape(models.build(f"notes.{name}", num_classes=4, in_channels=3), (2, 3, size, size)) == (2, 4)


def test_whole_vgg11():
    with numbanet.nn.init.skipped():
        assert count(notes.vgg11(ratio=1)) == 128_806_154
    assert [m.out_channels for m in bare("notes.vgg11").modules() if hasattr(m, "out_channels")] == [
        16, 32, 64, 64, 128, 128, 128, 128,
    ]  # fmt: skip


def test_densenets_heads():
    with pytest.raises(ValueError, match=r"densenet: head must be 'max' or 'avg', got 'mean'"):
        notes.densenet(head="mean")
    x = numbanet.from_numpy(np.random.default_rng(0).random((1, 1, 64, 64), np.float32))
    net = notes.densenet().eval()
    other = notes.densenet(head="avg", weights=net.state_dict()).eval()
    weight, bias = (p.numpy() for p in net[-1].state_dict().values())
    with numbanet.no_grad():
        maps = net[:-3](x).numpy()
        np.testing.assert_allclose(net(x).numpy(), maps.max((2, 3)) @ weight.T + bias, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(other(x).numpy(), maps.mean((2, 3)) @ weight.T + bias, rtol=1e-4, atol=1e-5)


def test_reshape_lets_flat_images_in():
    net = notes.lenet().eval()
    flat = numbanet.nn.Sequential(notes.Reshape(), *net)
    x = numbanet.from_numpy(np.random.default_rng(0).random((3, 784), np.float32))
    assert (flat(x) == net(x.reshape(3, 1, 28, 28))).all()


def test_names_that_only_the_notes_have_need_no_prefix():
    assert models.lenet is notes.lenet
    assert models.lenet_bn is notes.lenet_bn
    assert models.densenet is notes.densenet
    assert models.info("densenet").name == "notes.densenet"
