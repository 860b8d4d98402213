"""Images in folders, and datasets by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from numbanet.data import CIFAR10, EMNIST, DataLoader, DatasetFolder, FashionMNIST, ImageFolder, by_name, dataset_names
from numbanet.data import transforms as T
from numbanet.data.folder import find_classes, make_dataset
from numbanet.random import Generator

pytestmark = pytest.mark.usefixtures("isolated")


@pytest.fixture
def root(tmp_path):
    """dog: b.PNG, a.jpg, puppies/c.bmp, notes.txt; cat: one.png (grey); and a file beside the classes."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "animals"
    for name, size in (
        ("dog/b.PNG", (9, 7)),
        ("dog/a.jpg", (12, 20)),
        ("dog/puppies/c.bmp", (8, 8)),
        ("cat/one.png", (6,) * 2),
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, size if "one" in name else (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    (folder / "dog" / "notes.txt").write_text("good dogs")
    (folder / "about.txt").write_text("animals")
    return folder


def names(samples, root: Path) -> list[tuple[str, int]]:
    return [(str(Path(path).relative_to(root).as_posix()), label) for path, label in samples]


def test_image_folder(root):
    data = ImageFolder(root)
    assert data.classes == ["cat", "dog"] and data.class_to_idx == {"cat": 0, "dog": 1}
    expected = [("cat/one.png", 0), ("dog/a.jpg", 1), ("dog/b.PNG", 1), ("dog/puppies/c.bmp", 1)]
    assert names(data.samples, root) == expected and data.imgs is data.samples
    assert data.targets == [0, 1, 1, 1] and len(data) == 4
    image, label = data[0]
    assert image.mode == "RGB" and image.size == (6, 6) and label == 0
    np.testing.assert_array_equal(np.asarray(data[2][0]), np.asarray(Image.open(root / "dog" / "b.PNG")))
    assert repr(data).splitlines() == [
        "Dataset ImageFolder", "    Number of datapoints: 4", f"    Root location: {root}",
    ]  # fmt: skip


def test_transforms_and_batches(root):
    transform = T.Compose([T.RandomResizedCrop(8), T.RandomHorizontalFlip(), T.ToTensor()])
    data = ImageFolder(str(root), transform, target_transform=lambda label: label + 10)
    batches = []
    for workers in (0, 1, 4):
        loader = DataLoader(data, 3, num_workers=workers, generator=Generator().manual_seed(1))
        batches.append([[column.numpy() for column in batch] for batch in loader])
    assert [y.tolist() for _, y in batches[0]] == [[10, 11, 11], [11]] and batches[0][0][0].shape == (3, 3, 8, 8)
    for other in batches[1:]:
        for (x, _), (expected, _) in zip(other, batches[0], strict=True):
            np.testing.assert_array_equal(x, expected)


def test_files_of_ones_own_choice(root):
    texts = DatasetFolder(root, lambda path: Path(path).read_text(), (".txt",), allow_empty=True)
    assert texts.classes == ["cat", "dog"] and list(texts) == [("good dogs", 1)]
    large = ImageFolder(
        root, is_valid_file=lambda path: Path(path).stat().st_size > 150 and not path.endswith("txt"), allow_empty=True
    )
    assert all(Path(path).stat().st_size > 150 for path, _ in large.samples) and len(large) < 5
    gray = ImageFolder(root, loader=lambda path: Image.open(path).convert("L"))
    assert gray[1][0].mode == "L"

    class Flat(ImageFolder):
        def find_classes(self, directory):
            return ["dog"], {"dog": 7}

    assert Flat(root).targets == [7, 7, 7]
    assert names(make_dataset(root, extensions=".bmp", allow_empty=True), root) == [("dog/puppies/c.bmp", 1)]


def test_empty_classes(root):
    (root / "bird").mkdir()
    with pytest.raises(
        FileNotFoundError, match=r"No valid file for the classes bird in .*animals.* end in \.jpg, "
    ) as caught:
        ImageFolder(root)
    assert str(root) in str(caught.value)
    data = ImageFolder(root, allow_empty=True)
    assert data.classes == ["bird", "cat", "dog"] and data.targets == [1, 2, 2, 2]


def test_missing_folders_and_bad_arguments(root, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*nowhere"):
        ImageFolder(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"No class found in .*puppies"):
        find_classes(root / "dog" / "puppies")
    for options in ({}, {"extensions": (".png",), "is_valid_file": bool}):
        with pytest.raises(ValueError, match="either extensions or is_valid_file"):
            DatasetFolder(root, open, **options)
    with pytest.raises(ValueError, match="class_to_idx must have at least one entry"):
        make_dataset(root, {}, ".png")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_is_named(root, workers):
    (root / "dog" / "a.jpg").write_bytes((root / "dog" / "a.jpg").read_bytes()[:200])
    with pytest.raises(OSError) as caught:
        list(DataLoader(ImageFolder(root, T.Compose([T.Resize((4, 4)), T.ToTensor()])), 2, num_workers=workers))
    assert f"while reading {root / 'dog' / 'a.jpg'}" in caught.value.__notes__
    assert any("at index 1 of ImageFolder" in note for note in caught.value.__notes__)


# ---- by name ----


def test_names(tmp_path, monkeypatch):
    assert dataset_names()[:2] == ["fashion-mnist", "mnist"] and {"kmnist", "emnist", "cifar10", "cifar100"} <= {
        *dataset_names()
    }
    made = []

    class Recorded:
        def _load(self, download):
            made.append((type(self).__name__, self.root, self.train, getattr(self, "split", None), download))
            return np.zeros((1, 2, 2), np.uint8), np.zeros(1, np.int64), ""

    for kind in (FashionMNIST, EMNIST, CIFAR10):
        monkeypatch.setattr(kind, "_load", Recorded._load)
    by_name("fashion-mnist")
    by_name("emnist", tmp_path, train=False, download=False)
    by_name("emnist-letters", train=False)
    data = by_name("cifar10", transform=T.ToTensor(), target_transform=str)
    assert isinstance(data.transform, T.ToTensor) and data.target_transform is str
    assert made == [
        ("FashionMNIST", None, True, None, True),
        ("EMNIST", tmp_path, False, "balanced", False),
        ("EMNIST", None, False, "letters", True),
        ("CIFAR10", None, True, None, True),
    ]


def test_folder_as_a_name(root, tmp_path):
    (tmp_path / "set").mkdir()
    with pytest.raises(ValueError, match="expected a folder train in it"):
        by_name(str(tmp_path / "set"))
    root.rename(tmp_path / "set" / "train")
    train = by_name(str(tmp_path / "set"), transform=T.ToTensor())
    assert isinstance(train, ImageFolder) and train.classes == ["cat", "dog"] and train[0][0].shape == (3, 6, 6)
    with pytest.raises(ValueError, match="expected a folder test or val in it"):
        by_name(str(tmp_path / "set"), train=False)
    for part in ("cat", "dog"):
        (tmp_path / "set" / "val" / part).mkdir(parents=True)
        Image.new("L", (4, 4)).save(tmp_path / "set" / "val" / part / "x.png")
    assert len(by_name(tmp_path / "set", train=False)) == 2
    (tmp_path / "set" / "val" / "cat").rename(tmp_path / "set" / "val" / "eel")
    with pytest.raises(ValueError, match=r"val has the classes dog, eel, but .*train has cat, dog"):
        by_name(tmp_path / "set", train=False)
    with pytest.raises(
        ValueError, match="there is no dataset 'imagenet', and no such folder: the names are fashion-mnist, "
    ):
        by_name("imagenet")


def test_sixteen_bits_of_grey_keep_the_upper_eight(tmp_path):
    """Pillow's own conversion clips them: all that is brighter than 255 of 65535 would be white."""
    values = np.linspace(0, 65535, 48).astype(np.uint16).reshape(6, 8)
    (tmp_path / "c").mkdir()
    for name in ("grey.png", "grey.tif"):
        Image.fromarray(values).save(tmp_path / "c" / name)
    for image, _ in ImageFolder(tmp_path):
        assert image.mode == "RGB"
        for channel in np.asarray(image).transpose(2, 0, 1):
            np.testing.assert_array_equal(channel, values >> 8)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "CMYK"])
def test_all_kinds_of_images_become_colour_images(tmp_path, mode):
    (tmp_path / "c").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(tmp_path / "c" / "x.tif")
    image, _ = ImageFolder(tmp_path)[0]
    assert image.mode == "RGB" and image.size == (8, 6)
    np.testing.assert_array_equal(np.asarray(image), np.asarray(Image.fromarray(pixels).convert(mode).convert("RGB")))


def test_damaged_images_are_named(tmp_path):
    (tmp_path / "c").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(
        tmp_path / "c" / "b.png"
    )
    whole = (tmp_path / "c" / "b.png").read_bytes()
    (tmp_path / "c" / "a.png").write_bytes(b"no image")
    (tmp_path / "c" / "b.png").write_bytes(whole[: len(whole) // 2])
    data = ImageFolder(tmp_path)
    with pytest.raises(OSError, match=r"a\.png: not an image file that can be read"):
        data[0]
    with pytest.raises(OSError, match="truncated") as caught:
        data[1]
    assert caught.value.__notes__ == [f"while reading {tmp_path / 'c' / 'b.png'}"]
