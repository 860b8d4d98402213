"""The command line: what it prints, writes and returns."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys

import numpy as np
import pytest

from numbanet import cli


def run(*argv: str) -> int:
    """Exit status, argparse's own exits included."""
    try:
        return cli.main(list(argv))
    except SystemExit as stop:
        return int(stop.code or 0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with two epochs of LeNet with batch normalisation on the sample."""
    folder = tmp_path_factory.mktemp("run") / "out"
    assert run("train", "lenet_bn", "--sample", "--epochs", "2", "--batch-size", "250", "--out", str(folder)) == 0
    return folder


def test_help_lists_the_commands(capsys):
    assert run("--help") == 0
    said = capsys.readouterr().out
    for command in ("train", "evaluate", "predict", "models", "summary", "warmup", "doctor"):
        assert command in said
    assert run("train", "--help") == 0
    assert "--batch-size" in capsys.readouterr().out


def test_version():
    done = subprocess.run([sys.executable, "-m", "numbanet", "--version"], capture_output=True, text=True, check=True)
    import numbanet

    assert done.stdout.strip() == f"numbanet {numbanet.__version__}"


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        ([], "required: COMMAND"),
        (["trian"], "invalid choice"),
        (["train", "lenet", "--epochs", "0"], "expected an int of at least 1, got '0'"),
        (["train", "lenet", "--lr", "fast"], "expected a number above 0, got 'fast'"),
        (["train", "lenet", "--lr", "nan"], "expected a number above 0, got 'nan'"),
        (["train", "lenett"], "no model is called 'lenett'; did you mean lenet"),
        (["train", "tiny_ssd"], "tiny_ssd is for detection, and this command trains classifiers"),
        (["train", "lenet", "--device", "tpu"], "--device: "),
        (["train", "lenet", "--sample", "--dataset", "mnist"], "there is a sample of fashion-mnist only"),
        (["train", "lenet", "--sample", "--momentum", "0.9"], "--momentum belongs to --optimizer sgd"),
        (["train", "lenet", "--resume", "--out", "/nonexistent"], "there is no checkpoint"),
        (["train", "lenet", "--option", "7"], "expected NAME=VALUE, got '7'"),
        (
            ["train", "lenet", "--option", "ratio=4"],
            "--option: notes.lenet: lenet() got an unexpected keyword argument",
        ),
        (
            ["train", "lenet", "--size", "32", "--sample"],
            "--size: notes.lenet is made for 28x28 pixels and does not take",
        ),
        (
            ["train", "zfnet", "--size", "52", "--sample"],
            "zfnet is made for 224x224 pixels and does not take images of 1x52x52",
        ),
        (["models", "xyz*"], "no network's name matches 'xyz*'"),
        (["summary", "resnett"], "no model is called 'resnett'"),
    ],
)
def test_wrong_usage_is_status_2(argv, text, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*argv) == 2
    said = capsys.readouterr().err
    assert text in said
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_errors_are_one_line_and_status_1(capsys, tmp_path):
    bad = tmp_path / "bad"
    bad.write_bytes(b"nothing of ours")
    for argv, text in [
        (["evaluate", str(tmp_path / "absent")], "No such file"),
        (["evaluate", str(bad)], "not a file of numbanet.save"),
        (["train", "lenet", "--data", str(tmp_path), "--sample", "--threads", "9999"], "expected 1 to"),
    ]:
        assert run(*argv) == 1
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert text in lines[0]
        assert lines[0].startswith(f"numbanet {argv[0]}: error: ")
    with pytest.raises(FileNotFoundError):
        run("evaluate", str(tmp_path / "absent"), "--traceback")


def test_an_interrupt_is_status_130(monkeypatch, capsys):
    def interrupted(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_summary", interrupted)
    assert run("summary", "lenet") == 130
    assert "interrupted" in capsys.readouterr().err


def test_train_writes_results(trained):
    with open(trained / "history.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[1]["loss"]) < float(rows[0]["loss"])
    from numbanet import io

    weights = io.load(trained / "weights.safetensors")
    assert weights["0.weight"].shape == (6, 1, 5, 5)
    assert (trained / "last.safetensors").is_file()
    pytest.importorskip("matplotlib")
    assert (trained / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_train_goes_on_with_its_settings(trained, tmp_path, capsys):
    shutil.copytree(trained, tmp_path / "o")
    assert run("train", "lenet_bn", "--resume", "--epochs", "3", "--out", str(tmp_path / "o")) == 0
    said = capsys.readouterr().out
    assert "batches of 250" in said
    assert "epoch 3/3" in said
    assert "epoch 2/3" not in said
    whole = tmp_path / "w"
    assert run("train", "lenet_bn", "--sample", "--epochs", "3", "--batch-size", "250", "--out", str(whole)) == 0
    assert (whole / "weights.safetensors").read_bytes() == (tmp_path / "o" / "weights.safetensors").read_bytes()
    assert run("train", "lenet", "--resume", "--out", str(whole)) == 2


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of train and test images of two classes, three of each, and a training of one epoch on it."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name, low in (("dim", 0), ("light", 120)):
            (folder / part / name).mkdir(parents=True)
            for i in range(3):
                Image.fromarray(rng.integers(low, low + 120, (12, 10, 3), dtype=np.uint8)).save(
                    folder / part / name / f"{i}.png"
                )
    argv = ["train", "lenet", "--dataset", str(folder), "--batch-size", "2", "--lr", "0.1", "--epochs", "1"]
    assert run(*argv, "--out", str(folder / "run")) == 0
    return folder


def test_resume_takes_a_new_learning_rate(pictures, tmp_path, capsys):
    from numbanet.train import load_checkpoint

    shutil.copytree(pictures / "run", tmp_path / "o")
    argv = ["train", "lenet", "--resume", "--out", str(tmp_path / "o")]
    assert run(*argv, "--epochs", "2", "--lr", "0.25", "--weight-decay", "0.5") == 0
    assert "sgd lr 0.25, batches of 2" in capsys.readouterr().out
    state = load_checkpoint(tmp_path / "o" / "last.safetensors")
    assert [row["lr"] for row in state["history"]] == [0.1, 0.25]
    assert (state["optimizer"]["param_groups"][0]["lr"], state["extra"]["settings"]["lr"]) == (0.25, 0.25)
    assert state["optimizer"]["param_groups"][0]["weight_decay"] == 0.5
    assert run(*argv, "--epochs", "3") == 0  # and keeps it
    assert "sgd lr 0.25, batches of 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--optimizer", "adam"], "was trained with --optimizer sgd, which cannot change on the way"),
        (["--size", "32"], "was trained with --size 28"),
        (["--option", "ratio=2"], "was trained with no --option"),
        (["--sample"], "was trained with no --sample"),
        (
            ["--dataset", "fashion-mnist", "--size", "28"],
            "was trained on the classes dim, light; these images have T-shirt/top",
        ),
    ],
)
def test_resume_refuses_what_cannot_change(pictures, options, text, capsys):
    before = (pictures / "run" / "last.safetensors").read_bytes()
    assert run("train", "lenet", "--resume", "--epochs", "2", "--out", str(pictures / "run"), *options) == 2
    assert text in capsys.readouterr().err
    assert (pictures / "run" / "last.safetensors").read_bytes() == before


def test_an_earlier_training_is_kept(pictures, tmp_path, capsys):
    shutil.copytree(pictures / "run", tmp_path / "o")
    before = (tmp_path / "o" / "last.safetensors").read_bytes()
    argv = ["train", "lenet", "--dataset", str(pictures), "--batch-size", "3", "--epochs", "1"]
    assert run(*argv, "--out", str(tmp_path / "o")) == 0
    assert "holds an earlier training, kept as earlier.safetensors" in capsys.readouterr().out
    second = (tmp_path / "o" / "last.safetensors").read_bytes()
    assert (tmp_path / "o" / "earlier.safetensors").read_bytes() == before != second
    assert run(*argv, "--out", str(tmp_path / "o")) == 0
    assert (tmp_path / "o" / "earlier.safetensors").read_bytes() == before
    assert (tmp_path / "o" / "earlier-2.safetensors").read_bytes() == second


def test_damaged_images_are_named(pictures, tmp_path, capsys):
    shutil.copytree(pictures, tmp_path / "p")
    path = tmp_path / "p" / "train" / "light" / "1.png"
    path.write_bytes(path.read_bytes()[:200])
    argv = ["train", "lenet", "--dataset", str(tmp_path / "p"), "--epochs", "1", "--out", str(tmp_path / "o")]
    assert run(*argv) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert "truncated" in said and f"while reading {path}" in said
    assert run("predict", str(pictures / "run" / "last.safetensors"), str(path)) == 1
    assert str(path) in capsys.readouterr().err


def test_the_folder_of_a_training_stands_for_its_checkpoint(pictures, capsys):
    said = []
    for path in ("run", "run/last.safetensors"):
        assert run("evaluate", str(pictures / path)) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] and "6 test images" in said[0]


def test_a_last_batch_of_one_image_does_not_end_the_training(pictures, tmp_path, capsys):
    argv = [
        "train",
        "lenet_bn",
        "--dataset",
        str(pictures),
        "--limit",
        "5",
        "--epochs",
        "1",
        "--out",
        str(tmp_path / "o"),
    ]
    assert run(*argv, "--batch-size", "2") == 0
    assert "on 5 images" in capsys.readouterr().out


def test_a_limit_takes_images_of_all_classes(pictures, monkeypatch, capsys):
    from numbanet import train

    labels = []
    monkeypatch.setattr(
        train,
        "evaluate",
        lambda net, loader, device: labels.extend(y.tolist() for _, y in loader) or dict(loss=0, accuracy=0),
    )
    for limit in ("2", "4", "99"):
        assert run("evaluate", str(pictures / "run"), "--limit", limit, "--batch-size", "99") == 0
    assert labels == [[0, 1], [0, 0, 1, 1], [0, 0, 0, 1, 1, 1]]


def test_of_own_images_no_dark_ground_is_expected(pictures, capsys):
    assert run("predict", str(pictures / "run" / "last.safetensors"), str(pictures / "test" / "light" / "0.png")) == 0
    assert capsys.readouterr().err == ""


def test_a_file_is_no_folder_for_results(pictures, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    argv = ["train", "lenet", "--dataset", str(pictures), "--out"]
    assert run(*argv, str(tmp_path / "file")) == 2
    assert "--output: the folder" in capsys.readouterr().err
    assert run(*argv, str(tmp_path / "file" / "o")) == 2
    assert "cannot be made: Not a directory" in capsys.readouterr().err


def test_train_in_half_precision(tmp_path, capsys):
    from numbanet import io

    argv = ["train", "lenet", "--sample", "--limit", "64", "--batch-size", "32", "--out", str(tmp_path)]
    assert run(*argv, "--epochs", "1", "--amp", "fp16") == 0
    assert "cpu, fp16" in capsys.readouterr().out
    checkpoint = io.load(tmp_path / "last.safetensors")
    assert checkpoint["scaler"]["_growth_tracker"] == 2
    assert {str(value.dtype) for value in checkpoint["model"].values()} == {"float32"}
    assert run(*argv, "--epochs", "2", "--resume", "--amp", "bf16") == 0
    assert "cpu, bf16" in capsys.readouterr().out


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A folder with an epoch of the notes' DenseNet, at another size, with another head, on a few images."""
    folder = tmp_path_factory.mktemp("small") / "out"
    asked = ["--sample", "--limit", "40", "--size", "32", "--option", "head=avg", "--epochs", "1", "--batch-size", "20"]
    assert run("train", "densenet", *asked, "--out", str(folder)) == 0
    return folder


def test_checkpoints_remember_options_and_size(small, tmp_path, capsys):
    """--resume, evaluate and predict make the same network for images of the same size."""

    from PIL import Image

    from numbanet.train import load_checkpoint

    extra = load_checkpoint(small / "last.safetensors")["extra"]
    assert extra["model"] == "notes.densenet"
    assert tuple(extra["input_shape"]) == (1, 32, 32)
    assert dict(extra["settings"]["options"]) == {"head": "avg"}
    shutil.copytree(small, tmp_path / "o")
    assert run("train", "notes.densenet", "--resume", "--epochs", "2", "--out", str(tmp_path / "o")) == 0
    said = capsys.readouterr().out
    assert "on 40 images of 1x32x32 (sample of fashion-mnist), adam" in said
    assert "epoch 2/2" in said
    assert run("evaluate", str(tmp_path / "o" / "last.safetensors"), "--sample", "--limit", "30") == 0
    assert "30 test images: loss" in capsys.readouterr().out
    Image.new("RGB", (50, 40)).save(tmp_path / "black.png")
    assert run("predict", str(tmp_path / "o" / "last.safetensors"), str(tmp_path / "black.png")) == 0
    assert "black.png: " in capsys.readouterr().out
    assert load_checkpoint(tmp_path / "o" / "last.safetensors")["extra"]["settings"]["options"] == [("head", "avg")]


def test_a_papers_network_is_made_for_the_data(tmp_path, capsys):
    """As many classes and channels as the images have; another resolution; a recipe where nobody published one."""
    asked = ["--sample", "--limit", "8", "--size", "9", "--epochs", "1", "--batch-size", "4", "--optimizer", "sgd"]
    assert run("train", "nin_cifar", *asked, "--out", str(tmp_path / "o")) == 0
    assert "nin_cifar on 8 images of 1x9x9 (sample of fashion-mnist), sgd lr 0.01" in capsys.readouterr().out
    from numbanet import io
    from numbanet.train import load_checkpoint

    weights = io.load(tmp_path / "o" / "weights.safetensors")
    assert weights["features.0.weight"].shape == (192, 1, 5, 5)
    state = load_checkpoint(tmp_path / "o" / "last.safetensors")
    assert state["optimizer"]["param_groups"][0]["momentum"] == 0.9
    assert len(state["extra"]["classes"]) == 10


@pytest.mark.parametrize(
    ("name", "images", "parameters", "recipe"),
    [
        ("notes.lenet", 60_000, 61_706, ("sgd", 0.9, 0.0, 256, 10)),
        ("notes.vgg11", 60_000, 43_093_322, ("sgd", 0.05, 0.0, 128, 10)),
        ("lenet5", 60_000, 60_000, ("sgd", 0.01, 0.0, 32, 10)),
        ("vgg11", 60_000, 132_863_336, ("sgd", 0.01, 0.9, 128, 10)),
        ("notes.lenet_bn", 5_000, 44_878, ("adam", 0.003, None, 32, 20)),
        ("notes.resnet18", 5_000, 11_178_378, ("adam", 0.0003, None, 32, 5)),
    ],
)
def test_recipes(name, images, parameters, recipe):
    from types import SimpleNamespace

    from numbanet import models

    info = models.info(name)
    args = cli._parser().parse_args(["train", name])
    net = SimpleNamespace(parameters=lambda: [SimpleNamespace(numel=lambda: parameters)])
    cli._fill_in(args, info, net, cli._Data(None, [], info.input_shape, images == 5_000, 0))
    assert (args.optimizer, args.lr, args.momentum, args.batch_size, args.epochs) == recipe


def test_training_starts_from_weights(trained, tmp_path, capsys):
    """What fits is loaded, and what does not is named."""
    from numbanet import io

    weights = {key: value.numpy() for key, value in io.load(trained / "weights.safetensors").items()}
    weights["extra"] = weights.pop("15.bias")
    weights["15.weight"] = weights["15.weight"][:7]
    np.savez(tmp_path / "w.npz", **weights)
    train = ["train", "lenet_bn", "--sample", "--limit", "10", "--epochs", "1", "--out", str(tmp_path / "o")]
    assert run(*train, "--weights", str(tmp_path / "w.npz"), "--lr", "1e-9") == 0
    said = capsys.readouterr().out
    assert "starts anew: 15.bias (not in the file)" in said
    assert "starts anew: 15.weight (dimension 0 is 7, expected 10; shape (7, 84), expected (10, 84))" in said
    assert "not used: extra" in said
    found = io.load(tmp_path / "o" / "weights.safetensors")
    np.testing.assert_allclose(found["0.weight"].numpy(), weights["0.weight"], atol=1e-6)
    np.savez(tmp_path / "none.npz", x=np.zeros(1))
    assert run(*train, "--weights", str(tmp_path / "none.npz")) == 1
    assert "nothing in this file fits the network" in capsys.readouterr().err
    assert run(*train, "--weights", str(tmp_path / "w.npz"), "--resume") == 2
    assert "give one of the two" in capsys.readouterr().err


def test_networks_that_do_not_classify_are_refused(monkeypatch, capsys, tmp_path):
    from numbanet import models, nn

    monkeypatch.setattr(models.registry, "_table", dict(models.registry._table))

    @models.register(input_shape=(3, 8, 8))
    def segments(num_classes: int = 5, in_channels: int = 3):
        """Gives a map."""
        return nn.Conv2d(in_channels, num_classes, 1)

    assert run("train", "segments", "--sample", "--out", str(tmp_path / "o")) == 2
    said = capsys.readouterr().err
    assert (
        "segments does not classify: for images of 1x8x8 it gives an output of shape (1, 10, 8, 8) rather than 10 scores"
        in said
    )
    assert not (tmp_path / "o").exists()


def test_a_users_own_folder_called_data_is_no_sample(tmp_path, monkeypatch):
    """The sample is known by where it lies, and by nothing that a user's folder may have too."""
    images, labels = np.zeros((12, 28, 28), np.uint8), np.arange(12, dtype=np.uint8) % 10
    folder = tmp_path / "data" / "fashion-mnist"
    folder.mkdir(parents=True)
    for prefix in ("train", "t10k"):
        header = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in images.shape)
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(
            b"\0\0\x08\x01" + (12).to_bytes(4, "big") + labels.tobytes()
        )
    args = cli._parser().parse_args(["train", "lenet", "--data", str(folder)])
    data = cli._dataset(args, True)
    assert (len(data.images), data.is_sample, data.shape) == (12, False, (1, 28, 28))
    args.sample = True
    assert cli._dataset(args, True).is_sample
    assert cli._dataset(args, False, (40, 40)).images[0][0].shape == (1, 40, 40)


def test_an_image_folder_and_an_unknown_dataset(tmp_path, capsys):
    from PIL import Image

    for part in ("train", "test"):
        for kind, shade in (("dark", 20), ("light", 220)):
            folder = tmp_path / part / kind
            folder.mkdir(parents=True)
            for i in range(3):
                Image.new("RGB", (20 + i, 30), (shade, shade, 10 * i)).save(folder / f"{i}.png")
    args = cli._parser().parse_args(["train", "resnet20", "--dataset", str(tmp_path)])
    data = cli._dataset(args, True, (32, 32))
    assert (len(data.images), data.classes, data.shape) == (6, ["dark", "light"], (3, 32, 32))
    assert run("train", "resnet20", "--dataset", "cifar11", "--out", str(tmp_path / "o")) == 2
    assert "there is no dataset 'cifar11', and no such folder; there are fashion-mnist, " in capsys.readouterr().err


def test_models(capsys):
    assert run("models", "notes.*") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9
    assert lines[0].startswith("notes.alexnet    1x224x224  AlexNet: 46,764,746 parameters")
    assert run("models", "lenet*") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "lenet5",
        "notes.lenet",
        "notes.lenet_bn",
    ]


def test_long_epochs_are_announced(monkeypatch, capsys):
    from numbanet import train

    clock = iter([0.0, 100.0, 103.0, 106.0, 109.0])
    monkeypatch.setattr(cli.time, "perf_counter", lambda: next(clock))
    speaker = cli._speaker(train, cold=True)
    trainer = type("Trainer", (), {"history": type("History", (), {"rows": []})})()
    speaker.on_epoch_start(trainer, 1, 100)
    for step in range(1, 5):
        speaker.on_batch_end(trainer, step, 8)
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "compiling kernels (once on this machine) ...",
        "compiled and first step done in 100.0 s",
        "an epoch takes about 5 minutes here; --size, --limit make it shorter",
    ]


def test_evaluate_agrees_with_training(trained, capsys):
    with open(trained / "history.csv", encoding="utf-8") as file:
        expected = list(csv.DictReader(file))[-1]
    assert run("evaluate", str(trained / "last.safetensors"), "--sample", "--confusion") == 0
    said = capsys.readouterr().out
    assert (
        f"1,000 test images: loss {float(expected['test_loss']):.3f}, test acc {float(expected['test_acc']):.4f}"
        in said
    )
    table = [line.split()[-11:-1] for line in said.splitlines()[2:]]
    assert np.array(table, int).sum(axis=1).tolist() == [100] * 10


def test_predict_names_classes(trained, tmp_path, capsys):
    from PIL import Image

    from numbanet.data import load_fashion_mnist_sample

    images, _ = load_fashion_mnist_sample(train=False)
    paths = [str(tmp_path / f"{i}.png") for i in range(2)]
    for path, image in zip(paths, images, strict=False):
        Image.fromarray(image).save(path)
    checkpoint = str(trained / "last.safetensors")
    assert run("predict", checkpoint, *paths, "--top", "10") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    shares = [float(part.split()[-1]) for part in lines[0].partition(": ")[2].split(", ")]
    assert sum(shares) == pytest.approx(1, abs=0.006)
    assert shares == sorted(shares, reverse=True)
    Image.fromarray(255 - images[0]).save(tmp_path / "light.png")
    assert run("predict", checkpoint, str(tmp_path / "light.png")) == 0
    assert "--invert may help" in capsys.readouterr().err
    (tmp_path / "text.png").write_text("no image")
    assert run("predict", checkpoint, str(tmp_path / "text.png")) == 1
    assert "not an image file" in capsys.readouterr().err


def test_summary(capsys, tmp_path):
    assert run("summary", "lenet", "--batch-size", "4") == 0
    said = capsys.readouterr().out
    assert "(4, 6, 28, 28)" in said
    assert "61,706" in said
    assert "forward ms" not in said
    graph = tmp_path / "lenet.svg"
    assert run("summary", "lenet", "--timing", "--input", "1,28,28", "--depth", "1", "--graph", str(graph)) == 0
    assert "forward ms" in capsys.readouterr().out
    assert graph.read_text(encoding="utf-8").startswith("<svg ")


def test_summary_refuses(capsys, tmp_path):
    assert run("summary", "lenet", "--input", "28,28") == 2
    assert "expected channels, height and width such as 1,224,224, got '28,28'" in capsys.readouterr().err
    assert run("summary", "lenet", "--graph", str(tmp_path / "lenet.png")) == 2
    assert "expected a file ending in .svg" in capsys.readouterr().err
    assert run("summary", "lenet", "--input", "1,32,32") == 1
    assert "fails in Linear '7'" in capsys.readouterr().err


def test_warmup(capsys):
    assert run("warmup") == 0
    assert "kernels ready in" in capsys.readouterr().out
