"""CIFAR-10 and CIFAR-100 in the official binary format, unpacked and in the archive."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from numbanet.data import CIFAR10, CIFAR100, DataLoader
from numbanet.data import transforms as T

pytestmark = pytest.mark.usefixtures("isolated")

TRAIN = {CIFAR10: [f"data_batch_{i}.bin" for i in range(1, 6)], CIFAR100: ["train.bin"]}
TEST = {CIFAR10: ["test_batch.bin"], CIFAR100: ["test.bin"]}
FOLDER = {CIFAR10: "cifar-10-batches-bin", CIFAR100: "cifar-100-binary"}
ARCHIVE = {CIFAR10: "cifar-10-binary.tar.gz", CIFAR100: "cifar-100-binary.tar.gz"}


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Files of four images instead of ten or fifty thousand."""
    for kind in (CIFAR10, CIFAR100):
        monkeypatch.setattr(kind, "_records", {True: 4, False: 4})


def pictures(name: str) -> np.ndarray:
    """Four colour images (4, 32, 32, 3), other ones for each file."""
    seed = int.from_bytes(hashlib.md5(name.encode()).digest()[:4], "big")
    return np.random.default_rng(seed).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)


def labels(kind: type, name: str) -> np.ndarray:
    first = sum(name.encode()) % 10
    fine = (np.arange(4) + first) % len(kind.classes)
    return fine if kind is CIFAR10 else np.stack([fine % 20, fine + 90 - first], axis=1)


def record_bytes(kind: type, name: str) -> bytes:
    """The file as the format describes it: label bytes, then the red, the green and the blue plane."""
    numbers = labels(kind, name).reshape(4, -1).astype(np.uint8)
    return b"".join(
        bytes(numbers[i]) + b"".join(pictures(name)[i, :, :, channel].tobytes() for channel in range(3))
        for i in range(4)
    )


def unpack(kind: type, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in TRAIN[kind] + TEST[kind]:
        (folder / name).write_bytes(record_bytes(kind, name))


def pack(kind: type, path: Path, leave_out: str = "") -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name in reversed(["readme.html", *TRAIN[kind], *TEST[kind]]):  # the order in the archive is nobody's
            content = b"<html>" if name == "readme.html" else record_bytes(kind, name)
            if name != leave_out:
                info = tarfile.TarInfo(f"{FOLDER[kind]}/{name}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path.read_bytes()


PLACES = {
    "files": lambda kind, root: unpack(kind, root),
    "unpacked": lambda kind, root: unpack(kind, root / FOLDER[kind]),
    "archive": lambda kind, root: pack(kind, root / ARCHIVE[kind]),
    "archive in its folder": lambda kind, root: pack(kind, root / kind.__name__ / ARCHIVE[kind]),
    "cache": lambda kind, root: pack(kind, root / "cache" / "numbanet" / kind.__name__.lower() / ARCHIVE[kind]),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", [CIFAR10, CIFAR100])
def test_reading(tmp_path, kind, place):
    PLACES[place](kind, tmp_path)
    for train, names in ((True, TRAIN[kind]), (False, TEST[kind])):
        data = kind(None if place == "cache" else tmp_path, train, download=False)
        assert data.data.dtype == np.uint8 and data.data.flags.c_contiguous and data.targets.dtype == np.int64
        np.testing.assert_array_equal(data.data, np.concatenate([pictures(name) for name in names]))
        expected = np.concatenate([labels(kind, name) for name in names])
        np.testing.assert_array_equal(data.targets, expected if kind is CIFAR10 else expected[:, 1])
        if kind is CIFAR100:
            np.testing.assert_array_equal(data.coarse_targets, expected[:, 0])


def test_samples_batches_and_classes(tmp_path):
    unpack(CIFAR10, tmp_path)
    data = CIFAR10(tmp_path, transform=T.Compose([T.RandomCrop(32, 4), T.ToTensor()]))
    image, label = CIFAR10(tmp_path)[5]
    assert image.mode == "RGB" and image.size == (32, 32) and type(label) is int
    np.testing.assert_array_equal(np.asarray(image), pictures("data_batch_2.bin")[1])
    x, y = next(iter(DataLoader(data, 8)))
    assert x.shape == (8, 3, 32, 32) and x.dtype == np.float32 and y.numpy().tolist() == data.targets[:8].tolist()
    assert data.classes[3] == "cat" and data.class_to_idx["truck"] == 9
    assert len(CIFAR100.classes) == len(set(CIFAR100.classes)) == 100 and len(CIFAR100.coarse_classes) == 20
    assert [CIFAR100.classes[i] for i in (0, 19, 50, 99)] == ["apple", "cattle", "mouse", "worm"]
    assert [CIFAR100.coarse_classes[i] for i in (0, 10, 19)] == [
        "aquatic_mammals", "large_natural_outdoor_scenes", "vehicles_2",
    ]  # fmt: skip
    assert repr(data).splitlines()[:2] == ["Dataset CIFAR10", "    Number of datapoints: 20"]


def test_real_files_have_these_sizes(monkeypatch):
    monkeypatch.undo()
    assert {kind: dict(kind._records) for kind in (CIFAR10, CIFAR100)} == {
        CIFAR10: {True: 10_000, False: 10_000},
        CIFAR100: {True: 50_000, False: 10_000},
    }


@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: content + b"x"])
@pytest.mark.parametrize("packed", [False, True])
def test_file_of_a_wrong_size(tmp_path, monkeypatch, change, packed):
    whole = record_bytes
    monkeypatch.setitem(globals(), "record_bytes", lambda kind, name: change(whole(kind, name)))
    (pack if packed else unpack)(CIFAR10, tmp_path / ARCHIVE[CIFAR10] if packed else tmp_path)
    with pytest.raises(
        ValueError, match=r"data_batch_1.bin: 12,29[13] bytes, expected 12,292 \(4 records of 3073\)"
    ) as caught:
        CIFAR10(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(("kind", "byte", "bad"), [(CIFAR10, 0, 10), (CIFAR100, 0, 20), (CIFAR100, 1, 100)])
def test_label_out_of_range(tmp_path, kind, byte, bad):
    unpack(kind, tmp_path)
    path = tmp_path / TRAIN[kind][-1]
    content = bytearray(path.read_bytes())
    content[2 * len(content) // 4 + byte] = bad
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"label {bad} in record 2 is out of range, expected 0 to {bad - 1}") as caught:
        kind(tmp_path)
    assert str(path) in str(caught.value)


def test_damaged_archive(tmp_path):
    path = tmp_path / ARCHIVE[CIFAR10]
    content = pack(CIFAR10, path)
    spoilt = bytearray(content)
    spoilt[len(content) // 2] ^= 255
    for bad in (content[: len(content) // 2], bytes(spoilt), content[:-8] + bytes(8), b"<html>"):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=r"damaged or no tar\.gz archive") as caught:
            CIFAR10(tmp_path)
        assert str(path) in str(caught.value)
    pack(CIFAR10, path, leave_out="data_batch_3.bin")
    with pytest.raises(ValueError, match=r"there is no cifar-10-batches-bin/data_batch_3\.bin in this archive"):
        CIFAR10(tmp_path)


@pytest.mark.parametrize("download", [True, False])
def test_the_version_for_python_is_not_read(tmp_path, download):
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(RuntimeError, match=r"cifar-10-batches-py is the version for Python: pickled") as caught:
        CIFAR10(tmp_path, download=download)
    assert "cifar-10-binary.tar.gz" in str(caught.value)
    (tmp_path / "CIFAR100").mkdir()
    (tmp_path / "CIFAR100" / "cifar-100-python.tar.gz").write_bytes(b"")
    with pytest.raises(RuntimeError, match=r"cifar-100-python\.tar\.gz is the version for Python"):
        CIFAR100(tmp_path, download=download)


def test_not_found(tmp_path, isolated):
    with pytest.raises(
        RuntimeError, match=r"neither cifar-10-binary\.tar\.gz nor .*/data_batch_1\.bin to data_batch_5\.bin"
    ):
        CIFAR10(tmp_path, download=False)
    assert isolated == []
    with pytest.raises(RuntimeError, match=r"could not download cifar-100-binary\.tar\.gz .*no network.*NUMBANET_DATA"):
        CIFAR100()
    assert isolated == ["https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"]


def test_download(tmp_path, server, monkeypatch):
    from numbanet.data import download, image_dataset

    content = pack(CIFAR100, tmp_path / "server" / ARCHIVE[CIFAR100])
    monkeypatch.setattr(CIFAR100, "mirrors", (server,))
    with pytest.raises(RuntimeError, match=r"wrong checksum.* expected 03b5dce01913d631647c71ecec9e9cb8"):
        CIFAR100(tmp_path / "root")
    monkeypatch.setattr(CIFAR100, "md5", {ARCHIVE[CIFAR100]: hashlib.md5(content).hexdigest()})
    monkeypatch.setattr(image_dataset, "_unreachable", {})
    data = CIFAR100(tmp_path / "root")
    np.testing.assert_array_equal(data.data, pictures("train.bin"))
    assert (tmp_path / "root" / "CIFAR100" / ARCHIVE[CIFAR100]).read_bytes() == content
    monkeypatch.setattr(download, "download_file", None)
    assert len(CIFAR100(tmp_path / "root", train=False)) == 4
