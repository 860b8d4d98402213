"""MNIST and its relatives in the same format: images of 28 x 28 grey pixels, two IDX files for each part.

Where the files are looked for, see :mod:`numbanet.data.image_dataset`; plain or gzip-compressed.
"""

from __future__ import annotations

import io
import os
import string
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from numbanet.data.idx import read_idx_images, read_idx_labels
from numbanet.data.image_dataset import StoredImages

__all__ = ["EMNIST", "KMNIST", "MNIST", "IdxImages"]

# The first ten labels of full datasets whose files have the same names and shapes.
_FIRST_LABELS = {
    True: {"MNIST": "5041921314", "FashionMNIST": "9003027255"},
    False: {"MNIST": "7210414959", "FashionMNIST": "9211614657"},
}

_DIGITS = [
    f"{i} - {name}"
    for i, name in enumerate(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
]
_KUZUSHIJI = ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]


class IdxImages(StoredImages):
    """A dataset in MNIST's files: images and labels for training, images and labels for testing."""

    def _stems(self) -> tuple[str, str]:
        part = "train" if self.train else "t10k"
        return f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"

    def _find_in(self, folder: Path) -> tuple[Path, ...] | None:
        images, labels = (_existing(folder / stem) for stem in self._stems())
        return None if images is None or labels is None else (images, labels)

    def _needed(self, folder: Path) -> list[str]:
        # One of them may be there, from a download that broke off between the files.
        return [f"{stem}.gz" for stem in self._stems() if _existing(folder / stem) is None]

    def _wanted(self) -> str:
        return f"{' and '.join(self._stems())} (or .gz)"

    def _read(self, files: tuple[Path, ...]) -> tuple[np.ndarray, np.ndarray]:
        images = read_idx_images(files[0], (28, 28))
        labels = read_idx_labels(files[1], len(self.classes))
        _check_pair(images, labels, *files)
        for name, first in _FIRST_LABELS[self.train].items():
            if name != type(self).__name__ and len(labels) >= 10_000 and "".join(map(str, labels[:10])) == first:
                raise ValueError(
                    f"{files[1]}: this is a file of {name}, expected {type(self).__name__}. "
                    "Keep the datasets in sub-folders of their own, such as MNIST/raw and FashionMNIST/raw."
                )
        return images, labels


def _existing(path: Path) -> Path | None:
    compressed = path.with_name(path.name + ".gz")
    return next((p for p in (path, compressed) if p.is_file()), None)


def _check_pair(images: np.ndarray, labels: np.ndarray, image_file: Path, label_file: Path) -> None:
    if len(images) != len(labels):
        raise ValueError(
            f"{image_file} holds {len(images)} images but {label_file} holds {len(labels)} labels. "
            "The two files do not belong together: put the right pair in their place."
        )


class MNIST(IdxImages):
    """Handwritten digits: 60,000 images for training, 10,000 for testing.

    Arguments and attributes as :class:`FashionMNIST`, the sub-folders of ``root`` being ``MNIST/raw`` and ``mnist``.
    There is no embedded sample.

    Raises:
        RuntimeError: the files are missing and cannot be downloaded, or ``download`` is False.
        ValueError: a file is damaged or is the wrong one.

    Reference:
        LeCun, Bottou, Bengio, Haffner 1998, Gradient-based learning applied to document recognition, section III-A.
    """

    classes = _DIGITS
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


class KMNIST(IdxImages):
    """Kuzushiji-MNIST, characters of old Japanese print: 60,000 images for training, 10,000 for testing, 10 classes.

    Arguments and attributes as :class:`FashionMNIST`, the sub-folders of ``root`` being ``KMNIST/raw`` and ``kmnist``.
    There is no embedded sample.

    Raises:
        RuntimeError: the files are missing and cannot be downloaded, or ``download`` is False.
        ValueError: a file is damaged or is the wrong one.

    Reference:
        Clanuwat, Bober-Irizar, Kitamoto, Lamb, Yamamoto, Ha 2018, Deep Learning for Classical Japanese Literature.
    """

    classes = _KUZUSHIJI
    mirrors: ClassVar[Sequence[str]] = ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",)
    md5: ClassVar[dict[str, str]] = {
        "train-images-idx3-ubyte.gz": "bdb82020997e1d708af4cf47b453dcf7",
        "train-labels-idx1-ubyte.gz": "e144d726b3acfaa3e44228e80efcd344",
        "t10k-images-idx3-ubyte.gz": "5c965bf0a639b31b8f53240b1b52f4d7",
        "t10k-labels-idx1-ubyte.gz": "7320c461ea6c1c855c0b718fb2a4b134",
    }
    _folder_names: ClassVar[tuple[str, ...]] = ("KMNIST/raw", "kmnist")


# Letters whose capital looks like the small one are one class in two of the splits.
_MERGED = "cijklmopsuvwxyz"
_UNMERGED = [c for c in string.digits + string.ascii_uppercase + string.ascii_lowercase if c not in _MERGED]


class EMNIST(StoredImages):
    """Handwritten digits and letters in MNIST's format, in six splits.

    | split | classes | training images | test images |
    | --- | --- | --- | --- |
    | byclass | 62: digits, capitals, small letters | 697,932 | 116,323 |
    | bymerge | 47: capitals and small letters of one shape merged | 697,932 | 116,323 |
    | balanced | 47, with equally many images each | 112,800 | 18,800 |
    | letters | 26, labels 1 to 26 (class 0 is "N/A") | 124,800 | 20,800 |
    | digits | 10 | 240,000 | 40,000 |
    | mnist | 10 | 60,000 | 10,000 |

    The files hold the images transposed, and so do ``data`` and the samples, as in torchvision. To see them upright, begin
    the transform with ``Lambda(lambda image: image.transpose(Image.Transpose.TRANSPOSE))``.

    Args:
        root: As for :class:`FashionMNIST`. A folder (itself, or its ``EMNIST/raw`` or ``emnist``) holds either the two files
            of the split and part, ``emnist-SPLIT-train-images-idx3-ubyte`` and so on, plain or compressed, or the
            archive ``gzip.zip`` with those of all splits, from which they are read without unpacking it. A download is
            the archive (562 MB).
        split: One of the six.
        train, transform, target_transform, download: As for :class:`FashionMNIST`. There is no embedded sample.

    Raises:
        RuntimeError: the files are missing and cannot be downloaded, or ``download`` is False.
        ValueError: there is no such split, or a file is damaged.

    Reference:
        Cohen, Afshar, Tapson, van Schaik 2017, EMNIST: an extension of MNIST to handwritten letters.
    """

    splits: ClassVar[tuple[str, ...]] = ("byclass", "bymerge", "balanced", "letters", "digits", "mnist")
    classes_split_dict: ClassVar[dict[str, list[str]]] = {
        "byclass": [*string.digits, *string.ascii_uppercase, *string.ascii_lowercase],
        "bymerge": _UNMERGED,
        "balanced": _UNMERGED,
        "letters": ["N/A", *string.ascii_lowercase],
        "digits": [*string.digits],
        "mnist": [*string.digits],
    }
    mirrors: ClassVar[Sequence[str]] = ("https://biometrics.nist.gov/cs_links/EMNIST/",)
    md5: ClassVar[dict[str, str]] = {"gzip.zip": "58c8d27c78d21e728a6bc7b3cc06412e"}
    _folder_names: ClassVar[tuple[str, ...]] = ("EMNIST/raw", "emnist")

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        split: str = "balanced",
        train: bool = True,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        download: bool = True,
    ) -> None:
        if split not in self.splits:
            raise ValueError(f"EMNIST: split must be one of {', '.join(self.splits)}, got {split!r}")
        self.split = split
        self.classes = self.classes_split_dict[split]
        super().__init__(root, train, transform, target_transform, download)

    def _stems(self) -> tuple[str, str]:
        prefix = f"emnist-{self.split}-{'train' if self.train else 'test'}"
        return f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"

    def _find_in(self, folder: Path) -> tuple[Path, ...] | None:
        images, labels = (_existing(folder / stem) for stem in self._stems())
        if images is not None and labels is not None:
            return images, labels
        archive = folder / "gzip.zip"
        return (archive,) if archive.is_file() else None

    def _needed(self, folder: Path) -> list[str]:
        return ["gzip.zip"]

    def _wanted(self) -> str:
        return f"{' and '.join(self._stems())} (or .gz), or gzip.zip,"

    def _read(self, files: tuple[Path, ...]) -> tuple[np.ndarray, np.ndarray]:
        if len(files) == 2:
            image_file, label_file = files
            images = read_idx_images(image_file, (28, 28))
            labels = read_idx_labels(label_file, len(self.classes))
        else:
            image_file, label_file = (files[0] / "gzip" / f"{stem}.gz" for stem in self._stems())
            images = read_idx_images(image_file, (28, 28), _from_zip(files[0], image_file.name))
            labels = read_idx_labels(label_file, len(self.classes), _from_zip(files[0], label_file.name))
        _check_pair(images, labels, image_file, label_file)
        return images, labels


def _from_zip(path: Path, name: str) -> io.BytesIO:
    import zipfile
    import zlib

    advice = "Delete the file and let numbanet download it again, or put EMNIST's own gzip.zip in its place."
    try:
        with zipfile.ZipFile(path) as archive:
            return io.BytesIO(archive.read(f"gzip/{name}"))
    except KeyError:
        raise ValueError(f"{path}: there is no gzip/{name} in this archive. {advice}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{path}: damaged or no zip archive ({error}). {advice}") from None
