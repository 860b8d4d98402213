"""CIFAR-10 and CIFAR-100: 60,000 colour images of 32 x 32 pixels, in the official binary format.

A record is one label byte (CIFAR-100: two, the coarse and the fine label), then 1024 bytes of red, 1024 of green and 1024
of blue, each row by row. Where the files are looked for, see :mod:`numbanet.data.image_dataset`: a folder may hold the
archive, from which they are read without unpacking it, or the unpacked files, or the sub-folder that unpacking makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from numbanet.data.image_dataset import StoredImages

__all__ = ["CIFAR10", "CIFAR100"]

_PIXELS = 3 * 32 * 32
_TEN = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


class _CIFAR(StoredImages):
    _stem: ClassVar[str]  # of the archives: STEM-binary.tar.gz, STEM-python.tar.gz
    _unpacked: ClassVar[str]  # the folder inside the binary archive
    _pickled: ClassVar[str]  # the folder inside the Python archive
    _names: ClassVar[dict[bool, tuple[str, ...]]]  # train -> files in reading order
    _records: ClassVar[dict[bool, int]]  # train -> records in each file
    _labels: ClassVar[tuple[int, ...]]  # classes of each label byte; the last one is the target
    mirrors: ClassVar[Sequence[str]] = ("https://www.cs.toronto.edu/~kriz/",)

    @property
    def _archive(self) -> str:
        return f"{self._stem}-binary.tar.gz"

    def _find_in(self, folder: Path) -> tuple[Path, ...] | None:
        for place in (folder / self._unpacked, folder):
            files = tuple(place / name for name in self._names[self.train])
            if all(file.is_file() for file in files):
                return files
        archive = folder / self._archive
        return (archive,) if archive.is_file() else None

    def _needed(self, folder: Path) -> list[str]:
        return [self._archive]

    def _wanted(self) -> str:
        names = self._names[self.train]
        files = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
        return f"neither {self._archive} nor {self._unpacked}/{files}"

    def _hint(self) -> str:
        for folder in self._folders():
            for name in (self._pickled, f"{self._stem}-python.tar.gz"):
                if (folder / name).exists():
                    return (
                        f". {folder / name} is the version for Python: pickled objects, which can run any code when they "
                        f"are loaded, and which numbanet does not read. It reads the binary version, {self._archive}"
                    )
        return ""

    def _read(self, files: tuple[Path, ...]) -> tuple[np.ndarray, np.ndarray]:
        if files[0].name == self._archive:
            contents = _from_tar(files[0], [f"{self._unpacked}/{name}" for name in self._names[self.train]])
        else:
            contents = {str(file): np.fromfile(file, np.uint8) for file in files}
        width, count = len(self._labels) + _PIXELS, self._records[self.train]
        for name, content in contents.items():
            if content.size != width * count:
                raise ValueError(
                    f"{name}: {content.size:,} bytes, expected {width * count:,} ({count:,} records of {width}). Delete the "
                    "file and let numbanet download it again, or put an intact copy in its place."
                )
        records = np.concatenate([content.reshape(count, width) for content in contents.values()])
        labels = records[:, : len(self._labels)].astype(np.int64)
        for column, classes in zip(labels.T, self._labels, strict=True):
            if column.max(initial=0) >= classes:
                at = int(np.argmax(column >= classes))
                raise ValueError(
                    f"{list(contents)[at // count]}: label {column[at]} in record {at % count} is out of range, expected 0 "
                    f"to {classes - 1}. Put an intact copy of the file in its place."
                )
        self._keep_labels(labels)
        images = records[:, len(self._labels) :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(images), np.ascontiguousarray(labels[:, -1])

    def _keep_labels(self, labels: np.ndarray) -> None:
        """Take what a record says besides the target."""


def _from_tar(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Contents of files in a .tar.gz, in the order of ``names``."""
    import gzip
    import tarfile
    import zlib

    found: dict[str, np.ndarray] = {}
    advice = "Delete the file and let numbanet download it again, or put an intact copy in its place."
    try:
        with gzip.open(path) as stream:
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                for member in archive:
                    content: Any = archive.extractfile(member) if member.name in names else None
                    if content is not None:
                        found[member.name] = np.frombuffer(content.read(), np.uint8)
            while stream.read(1 << 20):  # to the end, where the checksum is
                pass
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{path}: damaged or no tar.gz archive ({error}). {advice}") from None
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(f"{path}: there is no {' and no '.join(missing)} in this archive. {advice}")
    return {f"{path / name}": found[name] for name in names}


class CIFAR10(_CIFAR):
    """CIFAR-10: 50,000 colour images of 32 x 32 pixels for training, 10,000 for testing, in 10 classes.

    Args:
        root: Folder that holds ``cifar-10-binary.tar.gz`` or what it unpacks to (itself, or in ``CIFAR10`` or
            ``cifar10``); what must be downloaded goes to ``root/CIFAR10``. None: look in the usual places, download to
            the cache.
        train: The training images, or the test images.
        transform: Applied to each PIL image.
        target_transform: Applied to each label.
        download: Download what is missing (170 MB).

    Attributes:
        data: Images, uint8 (N, 32, 32, 3).
        targets: Labels, int64 (N,).
        classes: Names of the labels.
        source: Folder the files were read from.

    Raises:
        RuntimeError: the files are missing and cannot be downloaded, or ``download`` is False.
        ValueError: a file is damaged.

    Reference:
        Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images, chapter 3.
    """

    classes = _TEN
    md5: ClassVar[dict[str, str]] = {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"}
    _folder_names = ("CIFAR10", "cifar10")
    _stem, _unpacked, _pickled = "cifar-10", "cifar-10-batches-bin", "cifar-10-batches-py"
    _names: ClassVar[dict[bool, tuple[str, ...]]] = {
        True: tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        False: ("test_batch.bin",),
    }
    _records: ClassVar[dict[bool, int]] = {True: 10_000, False: 10_000}
    _labels = (10,)


# The coarse classes, each with its five fine ones.
_COARSE = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}


class CIFAR100(_CIFAR):
    """CIFAR-100: as :class:`CIFAR10`, in 100 classes that form 20 coarse ones.

    The archive is ``cifar-100-binary.tar.gz`` (169 MB), the sub-folders of ``root`` are ``CIFAR100`` and ``cifar100``.

    Attributes:
        coarse_targets: Coarse labels, int64 (N,).
        coarse_classes: Their names.
    """

    classes = sorted(name for names in _COARSE.values() for name in names.split())
    coarse_classes: ClassVar[Sequence[str]] = sorted(_COARSE)
    coarse_targets: np.ndarray
    md5: ClassVar[dict[str, str]] = {"cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8"}
    _folder_names = ("CIFAR100", "cifar100")
    _stem, _unpacked, _pickled = "cifar-100", "cifar-100-binary", "cifar-100-python"
    _names: ClassVar[dict[bool, tuple[str, ...]]] = {True: ("train.bin",), False: ("test.bin",)}
    _records: ClassVar[dict[bool, int]] = {True: 50_000, False: 10_000}
    _labels = (20, 100)

    def _keep_labels(self, labels: np.ndarray) -> None:
        self.coarse_targets = np.ascontiguousarray(labels[:, 0])
