"""The command line: what it prints, writes and returns."""

from __future__ import annotations

import csv
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
    for command in ("train", "evaluate", "predict", "summary", "warmup", "doctor"):
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
        (["train", "lenet", "--device", "tpu"], "--device: "),
        (["train", "lenet", "--sample", "--dataset", "mnist"], "there is a sample of fashion-mnist only"),
        (["train", "lenet", "--sample", "--momentum", "0.9"], "--momentum belongs to --optimizer sgd"),
        (["train", "lenet", "--resume", "--out", "/nonexistent"], "there is no checkpoint"),
        (["summary", "resnet"], "no model is called 'resnet'"),
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
    import shutil

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


def test_doctor_works_everywhere(capsys, monkeypatch, tmp_path):
    assert run("doctor") == 0
    said = capsys.readouterr().out
    for word in (
        "numbanet ",
        "numba ",
        "processor",
        "vectors of",
        "threading layer",
        "kernel cache",
        "FashionMNIST",
        "cuda",
    ):
        assert word in said
    from numbanet import devices

    monkeypatch.setattr(devices, "unavailable_reason", lambda: 1 / 0)
    assert run("doctor") == 0
    assert "ZeroDivisionError" in capsys.readouterr().out
