"""The example scripts run, each in a process of its own, and print what they promise."""

from __future__ import annotations

import functools
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


def test_learn_edge_kernel_from_photographs(monkeypatch, capsys):
    example = script("learn_edge_kernel.py")
    monkeypatch.setattr(example, "FashionMNIST", functools.partial(FashionMNIST, sample=True))
    batches = example.Photographs()
    assert len(batches) == len(list(batches)) == 25
    example.learn(list(batches) * 4, lr=2e-3)
    out = capsys.readouterr().out
    first, second = map(float, re.search(r"learnt: tensor\(\[\[\s*(-?[\d.]+), (-?[\d.]+)\]\]\)", out).groups())
    assert abs(first - 1) < 0.05 and abs(second + 1) < 0.05


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


def test_googlenet():
    out = run("googlenet.py", "--images", "32", "--epochs", "1", "--batch-size", "16", "--resize", "32")
    shapes = re.findall(r"(\w+) output shape:\s+numbanet.Size\(\[1, (.*)\]\)", out)
    assert shapes == [
        ("Sequential", "64, 8, 8"),
        ("Sequential", "192, 4, 4"),
        ("Sequential", "480, 2, 2"),
        ("Sequential", "832, 1, 1"),
        ("Sequential", "1024"),
        ("Linear", "10"),
    ]
    assert "5,977,530 parameters" in out
    assert re.search(r"epoch 1/1  loss \d\.\d{3}  train acc 0\.\d{3}  test acc 0\.\d{3}", out)


def test_batch_norm_from_scratch():
    out = run("batch_norm_from_scratch.py", "--images", "300", "--epochs", "2")
    assert float(re.search(r"two gradients: (\S+)", out).group(1)) < 1e-5
    losses = numbers(r"loss (\d\.\d+)", out)
    assert len(losses) == 2 and losses[1] < losses[0]


def test_residual():
    out = run("residual.py")
    assert "same shape:      numbanet.Size([4, 3, 6, 6])" in out
    assert "half the size:   numbanet.Size([4, 6, 3, 3])" in out
    without, with_ = (float(text) for text in re.findall(r"first layer ([\de.+-]+)", out))
    assert with_ > 1000 * without


def test_depthwise_separable():
    out = run("depthwise_separable.py", "--images", "500", "--epochs", "1")
    # 3 x 3, 64 to 64 channels, by hand: (64 * 9 + 1) * 64 parameters; (9 + 1) * 64 + (64 + 1) * 64 in two steps.
    assert re.search(r"^one 3 x 3 +36,928 +28,901,376 +57,802,752 +\d+\.\d$", out, re.MULTILINE)
    assert re.search(r"^one 3 x 3, separable +4,800 +3,662,848 +7,325,696 +\d+\.\d$", out, re.MULTILINE)
    assert len(re.findall(r"test accuracy 0\.\d{3}", out)) == 2
    assert re.search(r"separable: 12 % of the parameters, 13 % of the MACs, \d+ % of the time", out)


def test_receptive_field(tmp_path):
    out = run("receptive_field.py", "--output", str(tmp_path))
    assert "Sequential   field 7, 6,960 parameters" in out
    assert "Conv2d       field 7, 12,560 parameters" in out
    assert "dilation 1, 2, 4, 8  field 31, stride 1, padding 15" in out
    assert "gradient outside the computed field: 0\n" in out
    assert float(re.search(r"middle quarter of it: ([\d.]+)", out).group(1)) > 0.5
    assert {path.name for path in tmp_path.iterdir()} == {"receptive_field.png", "net.svg"}


def test_gradcam(tmp_path):
    out = run("gradcam.py", "--epochs", "1", "--images", "300", "--output", str(tmp_path))
    assert re.search(r"^loss \d\.\d{3}, train acc 0\.\d{3}, test acc 0\.\d{3}$", out, re.MULTILINE)
    assert {path.stem for path in tmp_path.iterdir()} == {
        *("curves", "grad_cam", "occlusion", "saliency", "filters", "feature_maps"),
        *("confusion", "classes", "misclassified"),
    }


def numbers(pattern: str, text: str) -> list[float]:
    return [float(found) for found in re.findall(pattern, text)]


def is_picture(path: Path) -> bool:
    from PIL import Image

    with Image.open(path) as picture:
        return min(picture.size) > 300 and len(picture.convert("L").getcolors(65536) or []) > 30


def test_fcn_segmentation(tmp_path):
    picture = tmp_path / "new" / "segmentation.png"
    settings = ("--images", "80", "--epochs", "6", "--size", "32", "--batch-size", "10")
    out = run("fcn_segmentation.py", *settings, "--out", str(picture))
    for name in ("FCN", "U-Net"):
        losses = numbers(rf"{name}, epoch \d+: loss ([\d.]+)", out)
        assert len(losses) == 6
        assert losses[-1] < 0.6 * losses[0]
    # To call everything background gives a mean IoU of 0.21.
    assert numbers(r"U-Net, epoch 6: .* mean IoU ([\d.]+)", out)[0] > 0.3
    assert is_picture(picture)


@pytest.mark.parametrize("loss", ["triplet", "contrastive"])
def test_siamese_fashion(loss, tmp_path):
    picture = tmp_path / "new" / "siamese.png"
    settings = ("--loss", loss, "--images", "600", "--epochs", "3", "--each", "4")
    out = run("siamese_fashion.py", *settings, "--out", str(picture))
    losses = numbers(rf"epoch \d+: {loss} loss ([\d.]+)", out)
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    before, *after = numbers(r"five nearest ([\d.]+)", out)
    assert after[-1] > max(before, 0.65)
    assert is_picture(picture)


def test_ssd_shapes(tmp_path):
    picture = tmp_path / "new" / "ssd.png"
    settings = ("--images", "80", "--epochs", "6", "--size", "64", "--batch-size", "8")
    out = run("ssd_shapes.py", *settings, "--out", str(picture))
    classes, boxes = (numbers(rf"of {what} ([\d.]+)", out) for what in ("classes", "boxes"))
    assert len(classes) == len(boxes) == 6
    assert classes[-1] < 0.6 * classes[0] and boxes[-1] < 0.8 * boxes[0]
    precisions = numbers(r"mAP ([\d.]+)", out)
    assert precisions[-1] > max(0.04, 2 * precisions[0])
    assert is_picture(picture)


def test_every_example_has_a_test():
    source = Path(__file__).read_text(encoding="utf-8")
    scripts = [path.name for path in EXAMPLES.glob("*.py") if not path.name.startswith("_")]
    assert not [name for name in scripts if f'"{name}"' not in source]


def test_every_example_takes_full():
    for path in EXAMPLES.glob("*.py"):
        if path.name not in ("_course.py", "residual.py"):  # the latter has nothing to train
            source = path.read_text(encoding="utf-8")
            assert '"--full"' in source or "from _course import" in source, path.name
