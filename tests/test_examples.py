"""The example scripts run, each in a process of its own, and print what they promise."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from numbanet import nn
from numbanet.data import FashionMNIST
from numbanet.kernels.kernel import user_cache_folder

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"

if not EXAMPLES.is_dir():
    pytest.skip("the examples are not part of the installed package", allow_module_level=True)


def run(name: str, *arguments: str, **environment: str) -> str:
    kept = {k: v for k, v in os.environ.items() if k not in ("NUMBA_ENABLE_CUDASIM", "NUMBANET_CUDA_ASSEMBLE")}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        env={**kept, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_learn_edge_kernel():
    out = run("learn_edge_kernel.py")
    first, second = map(float, re.search(r"learnt: tensor\(\[\[\s*(-?[\d.]+), (-?[\d.]+)\]\]\)", out).groups())
    assert abs(first - 1) < 0.05
    assert abs(second + 1) < 0.05
    losses = [float(text) for text in re.findall(r"loss ([\d.]+)", out)]
    assert len(losses) == 10
    assert losses[-1] < 0.01


# The notes' networks: what a script prints at tiny settings, and how many parameters its network has at the notes'.
COURSE = {
    "lenet.py": ("", "Conv2d output shape:\t numbanet.Size([1, 6, 28, 28])", "lenet", 61_706),
    "lenet_bn.py": ("", "BatchNorm2d output shape:\t numbanet.Size([1, 6, 24, 24])", "lenet_bn", 44_878),
    "alexnet.py": ("--ratio 32", "MaxPool2d output shape:\t numbanet.Size([1, 8, 5, 5])", "alexnet", 46_764_746),
    "vgg.py": ("--ratio 64", "Sequential output shape:\t numbanet.Size([1, 8, 7, 7])", "small_vgg", 43_093_322),
    "nin.py": ("", "Sequential output shape:\t numbanet.Size([1, 10, 1, 1])", "nin", 1_992_166),
    "resnet.py": ("", "Sequential output shape:\t numbanet.Size([1, 512, 1, 1])", "resnet18", 11_178_378),
    "densenet.py": ("", "DenseBlock output shape:\t numbanet.Size([1, 248, 1, 1])", "densenet", 758_226),
}


@pytest.mark.parametrize("name", COURSE)
def test_networks_of_the_notes(name, tmp_path):
    options, shape, network, parameters = COURSE[name]
    # An empty folder for data instead of the user's own: the sample that comes with the package.
    environment = {"XDG_CACHE_HOME": str(tmp_path), "NUMBANET_DATA": str(tmp_path)}
    environment["NUMBANET_CACHE_DIR"] = str(user_cache_folder())
    out = run(name, *options.split(), "--images", "20", "--batch-size", "10", "--epochs", "1", **environment)
    assert shape in out
    assert re.search(r"epoch 1(/1)?:? +loss \d+\.\d{3},? +train acc [01]\.\d{3},? +test acc [01]\.\d{3}", out)
    module = script(name)
    with nn.init.skipped():
        net = getattr(module, network)(**({"ratio": 4} if name == "vgg.py" else {}))
    assert sum(p.numel() for p in net.parameters()) == parameters


def script(name: str) -> ModuleType:
    """A script as a module, not run."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        return importlib.import_module(name.removesuffix(".py"))
    finally:
        sys.path.remove(str(EXAMPLES))


def test_settings_of_the_notes(monkeypatch):
    """--full: the notes' settings and all images; what is given on the command line counts more than either."""
    course = script("_course")
    full, sample = {"resize": 28, "lr": 0.9, "epochs": 10}, {"resize": 32, "lr": 0.1, "epochs": 3, "images": 50}
    for arguments, expected in (
        ("", (32, 0.1, 3, 50, False)),
        ("--full", (28, 0.9, 10, None, True)),
        ("--full --lr 0.5 --images 7", (28, 0.5, 10, 7, True)),
    ):
        monkeypatch.setattr(sys, "argv", ["script.py", *arguments.split()])
        args = course.settings("text", full, sample)
        assert (args.resize, args.lr, args.epochs, args.images, args.full) == expected

    asked = []

    class Recorded(FashionMNIST):
        def __init__(self, **options):
            asked.append(options["sample"])
            super().__init__(**{**options, "sample": True})

    monkeypatch.setattr(course, "FashionMNIST", Recorded)
    monkeypatch.setattr(sys, "argv", ["script.py", "--full", "--batch-size", "250"])
    train_iter, test_iter = course.load_data(course.settings("text", full, sample))
    assert asked == [False, False] and (len(train_iter), len(test_iter)) == (20, 4)


def test_batch_norm_from_scratch():
    out = run("batch_norm_from_scratch.py")
    assert float(re.search(r"two gradients: (\S+)", out).group(1)) < 1e-5


def test_residual():
    out = run("residual.py")
    assert "same shape:      numbanet.Size([4, 3, 6, 6])" in out
    assert "half the size:   numbanet.Size([4, 6, 3, 3])" in out
    without, with_ = (float(text) for text in re.findall(r"first layer ([\de.+-]+)", out))
    assert with_ > 1000 * without


def test_every_example_has_a_test():
    source = Path(__file__).read_text(encoding="utf-8")
    scripts = [path.name for path in EXAMPLES.glob("*.py") if not path.name.startswith("_")]
    assert not [name for name in scripts if f'"{name}"' not in source]
