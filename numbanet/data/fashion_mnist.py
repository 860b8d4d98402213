"""Fashion-MNIST and MNIST: 70,000 grey images of 28 x 28 pixels in 10 classes.

The four IDX files of each dataset are looked for, plain or gzip-compressed, in this order: ``root`` if given; the
folder named by the environment variable ``NUMBANET_DATA``; the user's cache folder; for Fashion-MNIST, the folder of
Debian's package dataset-fashion-mnist. What is nowhere is downloaded. Where Fashion-MNIST cannot be downloaded either,
a sample of it that comes with numbanet (5,000 training and 1,000 test images) takes its place, and one line says so.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from numbanet.data import download as _download
from numbanet.data import transforms as _transforms
from numbanet.data.dataset import Columns, Dataset, fetch_one_by_one
from numbanet.data.idx import read_idx_images, read_idx_labels
from numbanet.data.loader import DataLoader

__all__ = ["MNIST", "FashionMNIST", "load_data_fashion_mnist", "load_fashion_mnist_sample"]

_FILES = {
    True: ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    False: ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
# The first ten labels of the full datasets.
_FIRST_LABELS = {
    True: {"MNIST": "5041921314", "FashionMNIST": "9003027255"},
    False: {"MNIST": "7210414959", "FashionMNIST": "9211614657"},
}
_SAMPLE_FOLDER = Path(__file__).with_name("sample")
# Datasets whose mirrors have failed in this process, and why: no second wait for a network that is not there.
_unreachable: dict[str, _download.DownloadError] = {}
_said: set[str] = set()


class _ImageDataset(Dataset):
    """What :class:`MNIST` and :class:`FashionMNIST` share."""

    classes: ClassVar[list[str]]
    mirrors: ClassVar[Sequence[str]]
    md5: ClassVar[dict[str, str]]
    _folder_names: ClassVar[tuple[str, ...]]  # sub-folders of root that may hold the files
    _system_folders: ClassVar[tuple[str, ...]] = ()

    data: np.ndarray
    targets: np.ndarray

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        train: bool = True,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        download: bool = True,
    ) -> None:
        self.root = None if root is None else Path(root).expanduser()
        self.train = bool(train)
        self.transform = transform
        self.target_transform = target_transform
        self.data, self.targets, self.source = self._load(download)

    # ---- finding the files ----

    def _folders(self) -> list[Path]:
        roots = [self.root] if self.root is not None else []
        if os.environ.get("NUMBANET_DATA"):
            roots.append(Path(os.environ["NUMBANET_DATA"]).expanduser())
        folders = [folder for r in roots for folder in (r, *(r / name for name in self._folder_names))]
        return [*folders, self._cache_folder(), *(Path(f) for f in type(self)._system_folders)]

    def _cache_folder(self) -> Path:
        return _download.cache_dir(self._folder_names[-1])

    def _download_folder(self) -> Path:
        return self._cache_folder() if self.root is None else self.root / self._folder_names[0]

    def _find(self) -> tuple[Path, Path] | None:
        for folder in self._folders():
            found = [_existing(folder / name) for name in _FILES[self.train]]
            if found[0] is not None and found[1] is not None:
                return found[0], found[1]
        return None

    def _load(self, download: bool) -> tuple[np.ndarray, np.ndarray, str]:
        files = self._find()
        if files is None and not download:
            raise RuntimeError(
                f"{type(self).__name__} not found: neither {' nor '.join(_FILES[self.train])} (or .gz) in any of "
                f"{', '.join(map(str, self._folders()))}. Pass download=True to download it"
            )
        if files is None:
            files = self._fetch()
        if files is None:
            images, labels = load_fashion_mnist_sample(self.train)
            return images, labels, str(_SAMPLE_FOLDER)
        images = read_idx_images(files[0], (28, 28))
        labels = read_idx_labels(files[1], len(self.classes))
        if len(images) != len(labels):
            raise ValueError(
                f"{files[0]} holds {len(images)} images but {files[1]} holds {len(labels)} labels. "
                "The two files do not belong together: put the right pair in their place."
            )
        self._refuse_the_other_dataset(labels, files[1])
        self._say_where(files[0].parent)
        return images, labels, str(files[0].parent)

    def _say_where(self, folder: Path) -> None:
        """One line, once, where the folder that the caller named does not hold the files."""
        name = f"{type(self).__name__} in {self.root}"
        if self.root is not None and not folder.is_relative_to(self.root) and name not in _said:
            _said.add(name)
            print(f"{type(self).__name__}: no files in {self.root}; read from {folder}", file=sys.stderr)

    def _refuse_the_other_dataset(self, labels: np.ndarray, path: Path) -> None:
        # The two datasets' files have the same names and shapes.
        for name, first in _FIRST_LABELS[self.train].items():
            if name != type(self).__name__ and len(labels) >= 10_000 and "".join(map(str, labels[:10])) == first:
                raise ValueError(
                    f"{path}: this is a file of {name}, expected {type(self).__name__}. "
                    "Keep the datasets in the sub-folders MNIST/raw and FashionMNIST/raw."
                )

    # ---- fetching them ----

    def _fetch(self) -> tuple[Path, Path] | None:
        """Download the two files; return None if that failed and there is a sample to fall back on."""
        name, folder = type(self).__name__, self._download_folder()
        if name not in _unreachable:
            try:
                images, labels = (self._fetch_file(folder, f"{stem}.gz") for stem in _FILES[self.train])
                print(f"{name}: downloaded to {folder}", file=sys.stderr)
                return images, labels
            except _download.DownloadError as error:
                _unreachable[name] = error.with_traceback(None)
        self._without_files(folder, _unreachable[name])
        return None

    def _fetch_file(self, folder: Path, file_name: str) -> Path:
        there = _existing(folder / file_name.removesuffix(".gz"))  # from a download that broke off between the files
        return there or _download.download_file(file_name, self.mirrors, folder, self.md5[file_name])

    def _without_files(self, folder: Path, error: _download.DownloadError) -> None:
        """Raise, or say what is used in place of the files."""
        raise RuntimeError(
            f"{type(self).__name__}: {error}. Put the files {', '.join(n + '.gz' for n in self._all_files())} in "
            f"{folder}, or in a folder named by root or by the environment variable NUMBANET_DATA"
        )

    @staticmethod
    def _all_files() -> list[str]:
        return [name for pair in _FILES.values() for name in pair]

    # ---- samples ----

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        from PIL import Image

        image: Any = Image.fromarray(self.data[index])
        target: Any = int(self.targets[index])
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return image, target

    def __getitems__(self, indices: Sequence[int]) -> Sequence[Any]:
        whole = _transforms.batched(self.transform) if self.target_transform is None else None
        # A subclass with its own __getitem__ must be asked sample by sample.
        if whole is not None and type(self).__getitem__ is _ImageDataset.__getitem__:
            rows = np.asarray(indices, dtype=np.intp)
            return Columns([whole(self.data.take(rows, axis=0)), self.targets.take(rows)], scalar_columns=[1])
        return fetch_one_by_one(self, indices)

    @property
    def class_to_idx(self) -> dict[str, int]:
        """Class name -> label."""
        return {name: i for i, name in enumerate(self.classes)}

    def __repr__(self) -> str:
        lines = [
            f"Dataset {type(self).__name__}",
            f"    Number of datapoints: {len(self)}",
            f"    Root location: {self.source}",
            f"    Split: {'Train' if self.train else 'Test'}",
        ]
        if self.transform is not None:
            lines.append("    Transform: " + repr(self.transform).replace("\n", "\n               "))
        return "\n".join(lines)


def _existing(path: Path) -> Path | None:
    compressed = path.with_name(path.name + ".gz")
    return next((p for p in (path, compressed) if p.is_file()), None)


class FashionMNIST(_ImageDataset):
    """Zalando's article images: 60,000 for training, 10,000 for testing.

    Args:
        root: Folder that holds the four files (itself, or in ``FashionMNIST/raw`` or ``fashion-mnist``); files that
            must be downloaded go to ``root/FashionMNIST/raw``. None: look in the usual places, download to the cache.
        train: The training images, or the test images.
        transform: Applied to each PIL image.
        target_transform: Applied to each label.
        download: Download what is missing; if that fails, use the embedded sample and say so.

    Attributes:
        data: Images, uint8 (N, 28, 28).
        targets: Labels, int64 (N,).
        classes: Names of the labels.
        source: Folder the files were read from.

    Raises:
        RuntimeError: the files are missing and ``download`` is False.
        ValueError: a file is damaged or is the wrong one.

    Reference:
        Xiao, Rasul, Vollgraf 2017, Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms.
    """

    classes: ClassVar[list[str]] = [
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ]
    mirrors: ClassVar[Sequence[str]] = (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    )
    md5: ClassVar[dict[str, str]] = {
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    }
    _folder_names: ClassVar[tuple[str, ...]] = ("FashionMNIST/raw", "fashion-mnist")
    _system_folders: ClassVar[tuple[str, ...]] = ("/usr/share/datasets/fashion-mnist",)

    def _without_files(self, folder: Path, error: _download.DownloadError) -> None:
        if "FashionMNIST" not in _said:
            _said.add("FashionMNIST")
            print(
                f"FashionMNIST: no files found and no download possible ({error.brief}); using the embedded sample "
                "(5000 training, 1000 test images). For all 70000: `apt-get install dataset-fashion-mnist`, or put the "
                f"four *-ubyte.gz files in {folder}, or set NUMBANET_DATA to their folder.".replace("\n", " "),
                file=sys.stderr,
            )


class MNIST(_ImageDataset):
    """Handwritten digits: 60,000 images for training, 10,000 for testing.

    Arguments and attributes as :class:`FashionMNIST`, the sub-folders of ``root`` being ``MNIST/raw`` and ``mnist``.
    There is no embedded sample.

    Raises:
        RuntimeError: the files are missing and cannot be downloaded, or ``download`` is False.
        ValueError: a file is damaged or is the wrong one.

    Reference:
        LeCun, Bottou, Bengio, Haffner 1998, Gradient-based learning applied to document recognition, section III-A.
    """

    classes: ClassVar[list[str]] = [
        "0 - zero",
        "1 - one",
        "2 - two",
        "3 - three",
        "4 - four",
        "5 - five",
        "6 - six",
        "7 - seven",
        "8 - eight",
        "9 - nine",
    ]
    mirrors: ClassVar[Sequence[str]] = (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    )
    md5: ClassVar[dict[str, str]] = {
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    }
    _folder_names: ClassVar[tuple[str, ...]] = ("MNIST/raw", "mnist")


def load_fashion_mnist_sample(train: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Return the sample of Fashion-MNIST that comes with numbanet.

    Args:
        train: 5,000 training images, or 1,000 test images.

    Returns:
        Images, uint8 (N, 28, 28), and labels, int64 (N,): the first N / 10 images of each class in the full dataset's
        order, class after class in turn (0, 1, ..., 9, 0, 1, ...), so that any first part is balanced.
    """
    from PIL import Image

    with Image.open(_SAMPLE_FOLDER / f"fashion_mnist_{'train_5000' if train else 'test_1000'}.png") as picture:
        mosaic = np.asarray(picture)
    # The picture shows rows of 100 images, class after class: (rows * 28, 100 * 28) -> (10, N / 10, 28, 28).
    images = mosaic.reshape(mosaic.shape[0] // 28, 28, 100, 28).swapaxes(1, 2).reshape(10, -1, 28, 28)
    labels = np.tile(np.arange(10), images.shape[1])
    return np.ascontiguousarray(images.swapaxes(0, 1)).reshape(-1, 28, 28), labels


def load_data_fashion_mnist(
    batch_size: int, resize: int | Sequence[int] | None = None, root: str | os.PathLike[str] | None = None
) -> tuple[DataLoader, DataLoader]:
    """Return loaders of Fashion-MNIST's training images, shuffled, and test images, as Tensors in [0, 1].

    Args:
        batch_size: Images per batch.
        resize: New size of the images, as for :class:`~numbanet.data.transforms.Resize`.
        root: As for :class:`FashionMNIST`.

    Returns:
        The training loader and the test loader. Batches are ``[X, y]``, X float32 (batch_size, 1, H, W), y int64
        (batch_size,).
    """
    steps: list[Any] = [_transforms.ToTensor()]
    if resize is not None:
        steps.insert(0, _transforms.Resize(resize))
    transform = _transforms.Compose(steps)
    # Without resizing a batch costs less than handing it to another thread would.
    workers = 0 if resize is None else min(2, os.cpu_count() or 1)
    return (
        DataLoader(FashionMNIST(root, True, transform), batch_size, shuffle=True, num_workers=workers),
        DataLoader(FashionMNIST(root, False, transform), batch_size, shuffle=False, num_workers=workers),
    )
