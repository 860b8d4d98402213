"""load_torch_state_dict: what it reads, what it refuses and how it says so."""

from __future__ import annotations

import pickle
import zipfile

import numpy as np
import pytest

import numbanet
from numbanet import io, models, nn, train
from numbanet.models import load_torch_state_dict


class Net(nn.Module):
    def __init__(self, classes=3, channels=1):
        super().__init__()
        self.conv = nn.Conv2d(channels, 2, 3)
        self.bn = nn.BatchNorm2d(2)
        self.fc = nn.Linear(2, classes)


def arrays(net, seed=1):
    """Another network's weights: random numbers of the right shapes."""
    rng = np.random.default_rng(seed)
    return {
        key: (rng.standard_normal(tuple(value.shape)) if value.dtype.kind == "f" else np.array(7)).astype(value.dtype)
        for key, value in net.state_dict().items()
    }


def assert_holds(net, expected):
    for key, value in net.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), expected[key], err_msg=key)


@pytest.fixture
def forms(tmp_path):
    """The same weights in every form in which they may come."""
    given = arrays(Net())
    tensors = {key: numbanet.from_numpy(value) for key, value in given.items()}
    np.savez(tmp_path / "w.npz", **given)
    np.savez_compressed(tmp_path / "c.npz", **given)
    io.save(tensors, tmp_path / "w.safetensors")
    other = Net()
    other.load_state_dict(tensors)
    train.save_checkpoint(tmp_path / "last.safetensors", other)
    return given, {
        "arrays": given,
        "tensors": tensors,
        "lists of both": {"state_dict": {**given, "fc.bias": tensors["fc.bias"]}, "epoch": 3},
        "npz": tmp_path / "w.npz",
        "compressed npz": str(tmp_path / "c.npz"),
        "safetensors": tmp_path / "w.safetensors",
        "checkpoint": tmp_path / "last.safetensors",
        "DataParallel": {f"module.{key}": value for key, value in given.items()},
        "float64": {key: value.astype(np.float64) for key, value in given.items()},
    }


def test_every_source(forms):
    given, sources = forms
    for name, source in sources.items():
        net = Net()
        assert load_torch_state_dict(net, source) == ([], [], {}), name
        assert_holds(net, given)
        assert all(value.dtype.name in ("float32", "int64") for value in net.state_dict().values()), name


@pytest.mark.torch
def test_pytorchs_tensors():
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    ours = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    load_torch_state_dict(ours, theirs.state_dict())
    assert_holds(ours, {key: value.numpy() for key, value in theirs.state_dict().items()})
    load_torch_state_dict(ours, dict(theirs.named_parameters()), strict=False)


def test_a_net_with_a_module_called_module_keeps_the_prefix():
    net = nn.ModuleDict({"module": nn.Linear(1, 2)})
    given = arrays(net)
    load_torch_state_dict(net, given)
    assert_holds(net, given)


def test_counters_may_be_missing_and_have_one_dimension():
    net, given = Net(), arrays(Net())
    load_torch_state_dict(net, {key: value for key, value in given.items() if "num_batches" not in key})
    assert net.bn.num_batches_tracked.item() == 0
    load_torch_state_dict(net, {**given, "bn.num_batches_tracked": np.array([5])})
    assert net.bn.num_batches_tracked.item() == 5


def test_first_densenet_files():
    net = nn.ModuleDict({"denselayer1": nn.ModuleDict({"norm1": nn.BatchNorm2d(2), "conv2": nn.Conv2d(2, 2, 1)})})
    given = arrays(net)
    old = {k.replace("norm1", "norm.1").replace("conv2", "conv.2"): v for k, v in given.items()}
    assert "denselayer1.norm.1.running_mean" in old
    load_torch_state_dict(net, old)
    assert_holds(net, given)


def test_everything_that_does_not_fit_is_named_and_nothing_is_changed():
    net = Net()
    before = {key: value.numpy().copy() for key, value in net.state_dict().items()}
    given = arrays(Net(classes=5, channels=4))
    given["conv.weight"] = given["conv.weight"][:, :, :2]
    given["bn.weight"] = given["bn.weight"].reshape(1, 2)
    given["bn.bias"] = np.array(["a", "b"])
    del given["bn.running_var"]
    given["classifier.weight"] = np.zeros((2, 1), np.float32)
    with pytest.raises(RuntimeError) as caught:
        load_torch_state_dict(net, given)
    assert str(caught.value).split("\n")[1:] == [
        "    missing: bn.running_var, expected shape (2,)",
        "    unexpected: classifier.weight, shape (2, 1)",
        "    does not fit: conv.weight: dimension 1 is 4, expected 1, dimension 2 is 2, expected 3; shape (2, 4, 2, 3), "
        "expected (2, 1, 3, 3)",
        "    does not fit: bn.weight: 2 dimensions, expected 1; shape (1, 2), expected (2,)",
        "    does not fit: bn.bias: dtype <U1, expected numbers",
        "    does not fit: fc.weight: dimension 0 is 5, expected 3; shape (5, 2), expected (3, 2)",
        "    does not fit: fc.bias: dimension 0 is 5, expected 3; shape (5,), expected (3,)",
    ]
    assert "these weights are not Net's (strict=False loads those that fit)" in str(caught.value)
    assert_holds(net, before)

    missing, unexpected, misfits = load_torch_state_dict(net, given, strict=False)
    assert (missing, unexpected) == (["bn.running_var"], ["classifier.weight"])
    assert list(misfits) == ["conv.weight", "bn.weight", "bn.bias", "fc.weight", "fc.bias"]
    assert_holds(net, {**before, **{k: given[k] for k in ("conv.bias", "bn.running_mean", "bn.num_batches_tracked")}})


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.torch
def test_pytorchs_own_files_are_not_executed(tmp_path, old):
    torch = pytest.importorskip("torch")
    path = tmp_path / "net.pth"
    torch.save(torch.nn.Linear(3, 2).state_dict(), path, _use_new_zipfile_serialization=not old)
    with pytest.raises(ValueError, match=r"a pickle, as torch\.save writes them") as caught:
        load_torch_state_dict(nn.Linear(3, 2), path)
    lines = [line.strip() for line in str(caught.value).split("\n") if line.startswith("    ")]
    for recipe, suffix in [(lines[:2], ".npz"), (lines[2:], ".safetensors")]:  # what the message advises works
        exec("\n".join(recipe), {})
        load_torch_state_dict(nn.Linear(3, 2), path.with_suffix(suffix))


def test_bad_files_are_explained(tmp_path):
    class Evil:
        def __reduce__(self):
            return (exec, ("raise SystemExit('executed')",))

    evil = pickle.dumps({"weight": Evil()})
    (tmp_path / "pickle.pt").write_bytes(evil)
    np.savez(tmp_path / "objects.npz", weight=np.array([Evil()], dtype=object))
    np.savez(tmp_path / "whole.npz", weight=np.zeros((2, 3)))
    whole = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:-40])
    (tmp_path / "wrong.npz").write_bytes(whole.replace(b"float64", b"float99").replace(b"'<f8'", b"'<x8'"))
    with zipfile.ZipFile(tmp_path / "text.zip", "w") as file:
        file.writestr("readme.txt", "nothing")
    (tmp_path / "text").write_text("no weights")
    for name, text in [
        ("pickle.pt", "a pickle, as torch.save writes them"),
        ("objects.npz", "a damaged NumPy archive, or one of objects"),
        ("cut.npz", "a damaged zip file"),
        ("wrong.npz", "a damaged NumPy archive"),
        ("text.zip", "a zip file, but not one of numpy.savez: it holds readme.txt"),
        ("text", "not a file of numbanet.save, nor any other safetensors file"),
    ]:
        with pytest.raises(ValueError, match=text) as caught:
            load_torch_state_dict(nn.Linear(3, 2), tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
    with pytest.raises(FileNotFoundError, match="there is no such file; weights are read from"):
        load_torch_state_dict(nn.Linear(3, 2), tmp_path / "absent.npz")
    with pytest.raises(TypeError, match="expected a mapping from names to tensors, or a file, got list"):
        load_torch_state_dict(nn.Linear(3, 2), [1])
    with pytest.raises(TypeError, match="'weight': expected a tensor or an array, got str"):
        load_torch_state_dict(nn.Linear(3, 2), {"weight": "w"})


def test_builders_take_weights(tmp_path):
    given = arrays(models.notes.lenet())
    np.savez(tmp_path / "lenet.npz", **given)
    assert_holds(models.build("lenet", weights=tmp_path / "lenet.npz"), given)
    assert_holds(models.lenet(weights=given), given)
    with pytest.raises(RuntimeError, match=r"does not fit: 11\.weight: dimension 0 is 10, expected 7"):
        models.lenet(num_classes=7, weights=given)
