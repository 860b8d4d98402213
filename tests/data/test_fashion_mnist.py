"""Fashion-MNIST and MNIST: where files are found, what happens without them, and the embedded sample."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from numbanet.data import MNIST, DataLoader, FashionMNIST, load_data_fashion_mnist, load_fashion_mnist_sample, mnist
from numbanet.data import download as download_module
from numbanet.data import fashion_mnist as module
from numbanet.data import transforms as T
from numbanet.data.idx import read_idx_images, read_idx_labels

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
NAMES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]


def idx_bytes(array: np.ndarray) -> bytes:
    """A uint8 array as the contents of an IDX file."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture(autouse=True)
def no_package(isolated, monkeypatch):
    """Debian's package is not seen either."""
    monkeypatch.setattr(FashionMNIST, "_system_folders", ())


def make_files(folder: Path, mark: int, count: int = 6, compress: bool = True) -> dict[str, bytes]:
    """Write four small files; the first pixel of each image is ``mark``."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {}
    for i, name in enumerate(NAMES):
        n = count if i < 2 else count // 2
        array = np.arange(n, dtype=np.uint8) % 10 if i % 2 else np.zeros((n, 28, 28), np.uint8)
        if i % 2 == 0:
            array[:, 0, 0] = mark
            array[:, 1, 1] = np.arange(n)
        content = gzip.compress(idx_bytes(array), mtime=0) if compress else idx_bytes(array)
        contents[name + ".gz" * compress] = content
        (folder / (name + ".gz" * compress)).write_bytes(content)
    return contents


def mark(**options) -> int:
    return int(FashionMNIST(download=False, **options).data[0, 0, 0])


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("sub", [".", "FashionMNIST/raw", "fashion-mnist"])
def test_root_and_its_sub_folders(tmp_path, sub, compress):
    make_files(tmp_path / "root" / sub, 5, compress=compress)
    train = FashionMNIST(tmp_path / "root", train=True, download=False)
    test = FashionMNIST(str(tmp_path / "root"), train=False, download=False)
    assert (len(train), len(test)) == (6, 3)
    assert train.data.dtype == np.uint8 and train.data.shape == (6, 28, 28)
    assert train.targets.dtype == np.int64 and train.targets.tolist() == [0, 1, 2, 3, 4, 5]
    assert Path(train.source) == tmp_path / "root" / sub


def test_search_order(tmp_path, monkeypatch):
    system, cache = tmp_path / "system", tmp_path / "cache" / "numbanet" / "fashion-mnist"
    monkeypatch.setattr(FashionMNIST, "_system_folders", (str(system),))
    make_files(system, 4)
    assert mark(root=tmp_path / "root") == 4
    make_files(cache, 3)
    assert mark(root=tmp_path / "root") == 3
    monkeypatch.setenv("NUMBANET_DATA", str(tmp_path / "env"))
    assert mark(root=tmp_path / "root") == 3
    make_files(tmp_path / "env" / "fashion-mnist", 2)
    assert mark(root=tmp_path / "root") == 2
    make_files(tmp_path / "root" / "FashionMNIST" / "raw", 1)
    assert mark(root=tmp_path / "root") == 1
    make_files(tmp_path / "root", 0)
    assert mark(root=tmp_path / "root") == 0
    assert mark() == 2


def test_says_once_that_a_named_folder_was_not_used(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(FashionMNIST, "_system_folders", (str(tmp_path / "system"),))
    make_files(tmp_path / "system", 4)
    for _ in range(2):
        mark(root=tmp_path / "root")
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and str(tmp_path / "root") in said and str(tmp_path / "system") in said
    make_files(tmp_path / "root", 1)
    mark(root=tmp_path / "root")
    mark()
    assert capfd.readouterr().err == ""


def test_folder_with_half_of_the_files_is_passed_over(tmp_path):
    make_files(tmp_path / "root", 1)
    (tmp_path / "root" / (NAMES[1] + ".gz")).unlink()
    make_files(tmp_path / "root" / "fashion-mnist", 2)
    assert mark(root=tmp_path / "root") == 2


def test_not_found_without_download_lists_the_folders(tmp_path, isolated):
    with pytest.raises(RuntimeError, match="download=True") as caught:
        FashionMNIST(tmp_path / "root", download=False)
    for folder in ("root", "root/FashionMNIST/raw", "cache/numbanet/fashion-mnist"):
        assert str(tmp_path / folder) in str(caught.value)
    assert isolated == []


def test_no_network_falls_back_to_the_sample_and_says_so_once(capfd, isolated, tmp_path):
    train, test = FashionMNIST(train=True), FashionMNIST(train=False)
    assert (len(train), len(test)) == (5000, 1000)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1 and captured.err.endswith("\n")
    for part in ("embedded sample", "apt-get install dataset-fashion-mnist", "NUMBANET_DATA", "no network"):
        assert part in captured.err
    assert str(tmp_path / "cache" / "numbanet" / "fashion-mnist") in captured.err
    # Both mirrors were tried for the first file, and never again.
    assert isolated == [mirror + NAMES[0] + ".gz" for mirror in FashionMNIST.mirrors]


def test_mnist_without_network_is_an_error(isolated, tmp_path):
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"could not download train-images.*no network.*NUMBANET_DATA"):
            MNIST()
    assert len(isolated) == len(MNIST.mirrors)


@pytest.mark.parametrize("with_root", [True, False])
def test_download_goes_to_root_or_cache_and_is_found_again(tmp_path, monkeypatch, capfd, with_root):
    contents = make_files(tmp_path / "server", 7)
    monkeypatch.setattr(FashionMNIST, "md5", {k: hashlib.md5(v).hexdigest() for k, v in contents.items()})
    asked = []

    def serve(url, folder, name, md5, *_):
        asked.append(url)
        assert md5 == hashlib.md5(contents[name]).hexdigest()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(contents[name])
        return folder / name

    monkeypatch.setattr(download_module, "_download_from", serve)
    root = tmp_path / "root" if with_root else None
    folder = tmp_path / ("root/FashionMNIST/raw" if with_root else "cache/numbanet/fashion-mnist")
    dataset = FashionMNIST(root)
    assert dataset.data[0, 0, 0] == 7 and len(dataset) == 6
    assert str(folder) in capfd.readouterr().err
    assert FashionMNIST(root, download=False).source == str(folder)
    assert len(asked) == 2
    (folder / f"{NAMES[1]}.gz").unlink()
    assert len(FashionMNIST(root)) == 6
    assert [url.rpartition("/")[2] for url in asked] == [f"{NAMES[i]}.gz" for i in (0, 1, 1)]


def test_damaged_file_is_an_error_not_a_reason_to_fall_back(tmp_path):
    make_files(tmp_path, 1)
    path = tmp_path / (NAMES[0] + ".gz")
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match=NAMES[0]):
        FashionMNIST(tmp_path)


def test_count_mismatch_and_swapped_files(tmp_path):
    make_files(tmp_path, 1)
    images, labels = (tmp_path / f"{name}.gz" for name in NAMES[:2])
    labels.write_bytes(gzip.compress(idx_bytes(np.zeros(5, np.uint8))))
    with pytest.raises(ValueError, match=r"6 images .* 5 labels") as caught:
        FashionMNIST(tmp_path)
    assert str(images) in str(caught.value) and str(labels) in str(caught.value)
    images.write_bytes(labels.read_bytes())
    with pytest.raises(ValueError, match=r"labels.*, expected 3"):
        FashionMNIST(tmp_path)


def test_wrong_image_size(tmp_path):
    make_files(tmp_path, 1)
    (tmp_path / f"{NAMES[0]}.gz").write_bytes(gzip.compress(idx_bytes(np.zeros((6, 32, 32), np.uint8))))
    with pytest.raises(ValueError, match=r"items of shape \(32, 32\), expected \(28, 28\)"):
        FashionMNIST(tmp_path)


def test_one_dataset_is_not_taken_for_the_other(tmp_path):
    make_files(tmp_path, 1)
    labels = np.zeros(10_000, np.uint8)
    labels[:10] = [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]  # Fashion-MNIST's test labels
    (tmp_path / f"{NAMES[2]}.gz").write_bytes(gzip.compress(idx_bytes(np.zeros((10_000, 28, 28), np.uint8))))
    (tmp_path / f"{NAMES[3]}.gz").write_bytes(gzip.compress(idx_bytes(labels)))
    assert len(FashionMNIST(tmp_path, train=False)) == 10_000
    with pytest.raises(ValueError, match="this is a file of FashionMNIST, expected MNIST"):
        MNIST(tmp_path, train=False)


def test_items_transforms_and_repr(tmp_path):
    make_files(tmp_path, 200)
    plain = FashionMNIST(tmp_path)
    image, label = plain[3]
    assert isinstance(image, Image.Image) and image.mode == "L" and image.size == (28, 28)
    assert type(label) is int and label == 3 and plain.classes[label] == "Dress"
    assert plain.class_to_idx["Ankle boot"] == 9 and len(plain.classes) == 10
    both = FashionMNIST(tmp_path, transform=T.ToTensor(), target_transform=lambda y: -y)
    image, label = both[3]
    assert image.shape == (1, 28, 28) and image.dtype == np.float32 and label == -3
    assert image.numpy()[0, 0, 0] == np.float32(200) / np.float32(255)
    with pytest.raises(IndexError):
        plain[6]
    assert repr(both).splitlines() == [
        "Dataset FashionMNIST",
        "    Number of datapoints: 6",
        f"    Root location: {tmp_path}",
        "    Split: Train",
        "    Transform: ToTensor()",
    ]


def test_subclass_getitem_is_respected(tmp_path):
    make_files(tmp_path, 1)

    class Shifted(FashionMNIST):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return image, label + 100

    _, labels = next(iter(DataLoader(Shifted(tmp_path, transform=T.ToTensor()), 4)))
    assert labels.numpy().tolist() == [100, 101, 102, 103]


@pytest.mark.parametrize("train", [True, False])
def test_sample_is_balanced(train):
    images, labels = load_fashion_mnist_sample(train)
    n = 5000 if train else 1000
    assert images.shape == (n, 28, 28) and images.dtype == np.uint8 and labels.dtype == np.int64
    assert np.bincount(labels).tolist() == [n // 10] * 10
    assert np.bincount(labels[:50]).tolist() == [5] * 10
    assert len(np.unique(images.reshape(n, -1), axis=0)) > 0.99 * n


def test_sample_on_request_looks_for_no_files(tmp_path, isolated, capfd):
    make_files(tmp_path, 1)
    for train, count in ((True, 5000), (False, 1000)):
        data = FashionMNIST(tmp_path, train, T.ToTensor(), sample=True)
        np.testing.assert_array_equal(data.data, load_fashion_mnist_sample(train)[0])
        assert len(data) == count and Path(data.source) == module._SAMPLE_FOLDER
    assert isolated == [] and capfd.readouterr() == ("", "")


def test_sample_is_small_and_comes_with_its_licence():
    folder = module._SAMPLE_FOLDER
    assert sum(p.stat().st_size for p in folder.iterdir()) <= 3_000_000
    notice = (folder / "NOTICE.txt").read_text(encoding="utf-8")
    assert "Copyright (c) 2017 Zalando SE" in notice and "The MIT License" in notice


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
@pytest.mark.parametrize("train", [True, False])
def test_sample_is_the_start_of_each_class_of_the_full_dataset(train):
    prefix = "train" if train else "t10k"
    full = read_idx_images(DEBIAN / f"{prefix}-images-idx3-ubyte.gz")
    full_labels = read_idx_labels(DEBIAN / f"{prefix}-labels-idx1-ubyte.gz")
    images, labels = load_fashion_mnist_sample(train)
    for c in range(10):
        mine = images[labels == c]
        np.testing.assert_array_equal(mine, full[np.flatnonzero(full_labels == c)[: len(mine)]])


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_full_dataset_from_debian(monkeypatch):
    monkeypatch.setattr(FashionMNIST, "_system_folders", (str(DEBIAN),))
    test = FashionMNIST(train=False, download=False)
    assert len(test) == 10_000
    assert "".join(map(str, test.targets[:10])) == mnist._FIRST_LABELS[False]["FashionMNIST"]


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
@pytest.mark.parametrize("name", NAMES)
def test_published_checksums_belong_to_these_contents(name):
    # Debian's package has the published files less name and time in the gzip header (10 bytes without them).
    body = (DEBIAN / f"{name}.gz").read_bytes()[10:]
    modified = 1504176606 if name.startswith("train") else 1504176627  # 2017-08-31
    header = struct.pack("<4sIBB", b"\x1f\x8b\x08\x08", modified, 0, 3) + name.encode() + b"\0"
    assert hashlib.md5(header + body).hexdigest() == FashionMNIST.md5[f"{name}.gz"]


def test_load_data_fashion_mnist(tmp_path):
    make_files(tmp_path, 255, count=20)
    train, test = load_data_fashion_mnist(8, root=tmp_path)
    assert (len(train), len(test)) == (3, 2)
    images, labels = next(iter(test))
    assert images.shape == (8, 1, 28, 28) and images.dtype == np.float32 and labels.dtype == np.int64
    assert images.numpy().max() == 1.0 and labels.numpy().tolist() == list(range(8))
    seen = np.concatenate([y.numpy() for _, y in train])
    assert sorted(seen) == sorted(list(range(10)) * 2)
    large, _ = load_data_fashion_mnist(8, resize=64, root=tmp_path)
    assert next(iter(large))[0].shape == (8, 1, 64, 64)
