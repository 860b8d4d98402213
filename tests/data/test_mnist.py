"""KMNIST and EMNIST: their files, loose and in EMNIST's archive; what is damaged or missing."""

from __future__ import annotations

import gzip
import hashlib
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from numbanet.data import EMNIST, KMNIST, DataLoader, mnist
from numbanet.data import transforms as T

pytestmark = pytest.mark.usefixtures("isolated")


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def images(count: int, mark: int = 0) -> np.ndarray:
    """Images of noise; the first pixel is ``mark``, no image is its own transpose."""
    found = np.random.default_rng(mark).integers(0, 256, (count, 28, 28), dtype=np.uint8)
    found[:, 0, 0] = mark
    return found


def emnist_stems(split: str, part: str) -> tuple[str, str]:
    return f"emnist-{split}-{part}-images-idx3-ubyte", f"emnist-{split}-{part}-labels-idx1-ubyte"


def archive(path: Path, split: str = "letters", labels=(1, 26, 3), mark: int = 0) -> bytes:
    """Write a gzip.zip with one split's four files, as EMNIST's: every file compressed, in a folder of the archive."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        for part in ("train", "test"):
            pictures, numbers = emnist_stems(split, part)
            file.writestr(f"gzip/{pictures}.gz", gzip.compress(idx(images(len(labels), mark))))
            file.writestr(f"gzip/{numbers}.gz", gzip.compress(idx(np.array(labels))))
    return path.read_bytes()


@pytest.mark.parametrize("folder", [".", "KMNIST/raw", "kmnist"])
def test_kmnist(tmp_path, folder):
    place = tmp_path / folder
    place.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", 5), ("t10k", 3)):
        (place / f"{part}-images-idx3-ubyte").write_bytes(idx(images(count)))
        (place / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(count)))
    train, test = KMNIST(tmp_path, download=False), KMNIST(tmp_path, train=False, download=False)
    assert (len(train), len(test)) == (5, 3)
    np.testing.assert_array_equal(train.data, images(5))
    assert train.classes[train[4][1]] == "na" and len(train.classes) == 10


def test_kmnist_knows_the_files_of_its_relatives(tmp_path):
    for name, first in mnist._FIRST_LABELS[True].items():
        labels = np.zeros(10_000, np.uint8)
        labels[:10] = [int(digit) for digit in first]
        (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((10_000, 28, 28))))
        (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(labels))
        with pytest.raises(ValueError, match=f"this is a file of {name}, expected KMNIST"):
            KMNIST(tmp_path)


def test_without_files_and_network(isolated, tmp_path):
    with pytest.raises(RuntimeError, match=r"KMNIST: could not download train-images.*no network.*NUMBANET_DATA"):
        KMNIST()
    with pytest.raises(RuntimeError, match=r"EMNIST: could not download gzip.zip.*Put gzip.zip in .*emnist"):
        EMNIST()
    assert [url.rpartition("/")[2] for url in isolated] == ["train-images-idx3-ubyte.gz", "gzip.zip"]
    with pytest.raises(
        RuntimeError, match=r"emnist-digits-test-images-idx3-ubyte.* or gzip.zip, in none of .*EMNIST/raw"
    ):
        EMNIST(tmp_path, "digits", train=False, download=False)


@pytest.mark.parametrize(
    ("split", "count", "some"),
    [
        ("byclass", 62, {0: "0", 10: "A", 36: "a", 61: "z"}),
        ("bymerge", 47, {9: "9", 12: "C", 36: "a", 38: "d", 46: "t"}),
        ("balanced", 47, {35: "Z", 37: "b", 43: "n"}),
        ("letters", 27, {0: "N/A", 1: "a", 26: "z"}),
        ("digits", 10, {7: "7"}),
        ("mnist", 10, {0: "0"}),
    ],
)
@pytest.mark.parametrize("compress", [False, True])
def test_emnist_splits(tmp_path, split, count, some, compress):
    suffix, pack = (".gz", gzip.compress) if compress else ("", bytes)
    for part in ("train", "test"):
        pictures, numbers = emnist_stems(split, part)
        (tmp_path / (pictures + suffix)).write_bytes(pack(idx(images(3, mark=len(part)))))
        (tmp_path / (numbers + suffix)).write_bytes(pack(idx(np.array([0, 1, count - 1]))))
    train, test = (EMNIST(tmp_path, split, train=part, download=False) for part in (True, False))
    assert train.data[0, 0, 0] == 5 and test.data[0, 0, 0] == 4
    np.testing.assert_array_equal(train.data, images(3, mark=5))  # as the file has them: transposed
    assert train.targets.tolist() == [0, 1, count - 1] and len(train.classes) == count
    assert {label: train.classes[label] for label in some} == some
    (tmp_path / (numbers + suffix)).write_bytes(pack(idx(np.array([0, 1, count]))))
    with pytest.raises(ValueError, match=f"label {count} at position 2 is out of range, expected 0 to {count - 1}"):
        EMNIST(tmp_path, split, train=False)


def test_emnist_is_read_from_its_archive(tmp_path):
    archive(tmp_path / "EMNIST" / "raw" / "gzip.zip")
    data = EMNIST(tmp_path, "letters", transform=T.ToTensor(), download=False)
    np.testing.assert_array_equal(data.data, images(3))
    assert data.targets.tolist() == [1, 26, 3] and data.source == str(tmp_path / "EMNIST" / "raw")
    x, y = next(iter(DataLoader(data, 2)))
    assert x.shape == (2, 1, 28, 28) and y.numpy().tolist() == [1, 26]
    assert sorted(p.name for p in (tmp_path / "EMNIST" / "raw").iterdir()) == ["gzip.zip"]
    # Loose files of the split go first.
    pictures, numbers = emnist_stems("letters", "train")
    (tmp_path / "EMNIST" / "raw" / pictures).write_bytes(idx(images(2, mark=9)))
    (tmp_path / "EMNIST" / "raw" / numbers).write_bytes(idx(np.array([5, 6])))
    assert EMNIST(tmp_path, "letters").targets.tolist() == [5, 6]
    assert EMNIST(tmp_path, "letters", train=False).targets.tolist() == [1, 26, 3]


def test_upright_images_as_the_documentation_says(tmp_path):
    from PIL import Image

    archive(tmp_path / "gzip.zip")
    upright = T.Compose([T.Lambda(lambda image: image.transpose(Image.Transpose.TRANSPOSE)), T.ToTensor()])
    x, _ = EMNIST(tmp_path, "letters", transform=upright)[1]
    np.testing.assert_array_equal(x.numpy()[0], images(3)[1].T / np.float32(255))


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda content: b"no archive", "damaged or no zip archive"),
        (lambda content: content[: len(content) // 2], "damaged or no zip archive"),
        (
            lambda content: content.replace(b"\x1f\x8b\x08\x00", b"\x1f\x8b\x08\x01"),
            "damaged or no zip archive .*CRC-32",
        ),
    ],
)
def test_damaged_archive(tmp_path, spoil, match):
    path = tmp_path / "gzip.zip"
    path.write_bytes(spoil(archive(path)))
    with pytest.raises(ValueError, match=match) as caught:
        EMNIST(tmp_path, "letters")
    assert str(path) in str(caught.value)


def test_archive_without_the_split_and_counts_that_differ(tmp_path):
    archive(tmp_path / "gzip.zip")
    with pytest.raises(
        ValueError, match=r"gzip\.zip: there is no gzip/emnist-digits-train-images-idx3-ubyte\.gz in this"
    ):
        EMNIST(tmp_path, "digits")
    with zipfile.ZipFile(tmp_path / "gzip.zip", "w") as file:
        pictures, numbers = emnist_stems("digits", "train")
        file.writestr(f"gzip/{pictures}.gz", gzip.compress(idx(images(3))))
        file.writestr(f"gzip/{numbers}.gz", gzip.compress(idx(np.zeros(2))))
    with pytest.raises(ValueError, match=r"gzip\.zip/gzip/emnist-digits-train-images.* 3 images .* 2 labels"):
        EMNIST(tmp_path, "digits")
    with pytest.raises(
        ValueError, match="split must be one of byclass, bymerge, balanced, letters, digits, mnist, got 'all'"
    ):
        EMNIST(tmp_path, "all")


def test_download(tmp_path, server, monkeypatch, capfd):
    content = archive(tmp_path / "server" / "gzip.zip", mark=7)
    monkeypatch.setattr(EMNIST, "mirrors", (server + "nowhere/", server))
    monkeypatch.setattr(EMNIST, "md5", {"gzip.zip": hashlib.md5(content).hexdigest()})
    data = EMNIST(tmp_path / "root", "letters")
    assert data.data[0, 0, 0] == 7 and data.source == str(tmp_path / "root" / "EMNIST" / "raw")
    assert f"EMNIST: downloaded to {data.source}" in capfd.readouterr().err
    (tmp_path / "server" / "gzip.zip").unlink()
    assert len(EMNIST(tmp_path / "root", "letters", train=False)) == 3


def test_download_of_a_wrong_file(tmp_path, server, monkeypatch):
    archive(tmp_path / "server" / "gzip.zip")
    monkeypatch.setattr(EMNIST, "mirrors", (server,))
    with pytest.raises(RuntimeError, match=r"wrong checksum: MD5 .* expected 58c8d27c78d21e728a6bc7b3cc06412e"):
        EMNIST(tmp_path / "root", "letters")
    assert not list((tmp_path / "root").rglob("*.*"))
