"""Datasets in folders: one sub-folder for each class."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from numbanet.data.dataset import Dataset

__all__ = ["IMG_EXTENSIONS", "DatasetFolder", "ImageFolder", "default_loader", "find_classes", "make_dataset"]

IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


def find_classes(directory: str | os.PathLike[str]) -> tuple[list[str], dict[str, int]]:
    """Find the classes of a folder: the names of its sub-folders, sorted.

    Returns:
        The names, and name -> label.

    Raises:
        FileNotFoundError: there is no such folder, or nothing in it is a folder.
    """
    if not os.path.isdir(directory):
        raise FileNotFoundError(
            f"There is no folder {os.fspath(directory)}: it should hold a sub-folder for each class"
        )
    with os.scandir(directory) as entries:
        classes = sorted(entry.name for entry in entries if entry.is_dir())
    if not classes:
        raise FileNotFoundError(
            f"No class found in {os.fspath(directory)}: it should hold a sub-folder for each class, with its samples"
        )
    return classes, {name: label for label, name in enumerate(classes)}


def make_dataset(
    directory: str | os.PathLike[str],
    class_to_idx: dict[str, int] | None = None,
    extensions: str | tuple[str, ...] | None = None,
    is_valid_file: Callable[[str], bool] | None = None,
    allow_empty: bool = False,
) -> list[tuple[str, int]]:
    """List the samples below a folder, class by class and sorted by path within each.

    Args:
        directory: The folder.
        class_to_idx: Classes to look for, name -> label; None: as :func:`find_classes` finds them.
        extensions: Endings of the files to take, in lower case; upper case is taken too.
        is_valid_file: Says of a path whether to take it; in place of ``extensions``.
        allow_empty: Accept classes without a file.

    Returns:
        (path, label) of each file, those in deeper folders included.

    Raises:
        FileNotFoundError: there is no such folder, or a class has no file.
        ValueError: ``class_to_idx`` is empty, or not exactly one of ``extensions`` and ``is_valid_file`` is given.
    """
    directory = os.path.expanduser(directory)
    if class_to_idx is None:
        class_to_idx = find_classes(directory)[1]
    elif not class_to_idx:
        raise ValueError("make_dataset: class_to_idx must have at least one entry")
    if (extensions is None) == (is_valid_file is None):
        raise ValueError("make_dataset: give either extensions or is_valid_file")
    endings = extensions or ()
    take = is_valid_file or (lambda path: path.lower().endswith(endings))

    samples: list[tuple[str, int]] = []
    empty = []
    for name in sorted(class_to_idx):
        before = len(samples)
        for folder, _, files in sorted(os.walk(os.path.join(directory, name), followlinks=True)):
            paths = (os.path.join(folder, file) for file in sorted(files))
            samples.extend((path, class_to_idx[name]) for path in paths if take(path))
        if len(samples) == before:
            empty.append(name)
    if empty and not allow_empty:
        wanted = ""
        if extensions is not None:
            wanted = (
                f". Files are taken that end in {extensions if isinstance(extensions, str) else ', '.join(extensions)}"
            )
        raise FileNotFoundError(f"No valid file for the classes {', '.join(empty)} in {directory}{wanted}")
    return samples


def default_loader(path: str) -> Any:
    """Read an image file: a PIL image of mode RGB. Of 16-bit grey values the upper 8 bits are kept.

    Raises:
        OSError: the file cannot be read or is no image; the message or a note names it.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with open(path, "rb") as file, Image.open(file) as image:
            if image.mode.startswith("I;16"):  # Pillow would clip them, and what is brighter than 255 become white
                return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
            return image.convert("RGB")
    except UnidentifiedImageError:
        raise UnidentifiedImageError(f"{path}: not an image file that can be read; repair it or take it away") from None
    except Exception as error:
        error.add_note(f"while reading {path}")
        raise


class DatasetFolder(Dataset):
    """Samples in files, those of a class in the folder ``root/CLASS`` or below it.

    Args:
        root: The folder.
        loader: Reads a file, given its path.
        extensions: Endings of the files to take.
        transform: Applied to each sample.
        target_transform: Applied to each label.
        is_valid_file: Says of a path whether to take it; in place of ``extensions``.
        allow_empty: Accept classes without a file.

    Attributes:
        classes: Names of the classes, sorted.
        class_to_idx: Class name -> label.
        samples: (path, label) of each sample.
        targets: Label of each sample.

    Raises:
        FileNotFoundError: there is no such folder, no class in it, or a class has no file.
        ValueError: not exactly one of ``extensions`` and ``is_valid_file`` is given.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        loader: Callable[[str], Any],
        extensions: str | tuple[str, ...] | None = None,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> None:
        self.root = os.path.expanduser(root)
        self.loader = loader
        self.extensions = extensions
        self.transform = transform
        self.target_transform = target_transform
        self.classes, self.class_to_idx = self.find_classes(self.root)
        self.samples = self.make_dataset(self.root, self.class_to_idx, extensions, is_valid_file, allow_empty)
        self.targets = [label for _, label in self.samples]

    def find_classes(self, directory: str | os.PathLike[str]) -> tuple[list[str], dict[str, int]]:
        """The classes of a folder, see :func:`find_classes`; for subclasses that mean something else by a class."""
        return find_classes(directory)

    @staticmethod
    def make_dataset(
        directory: str | os.PathLike[str],
        class_to_idx: dict[str, int],
        extensions: str | tuple[str, ...] | None = None,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> list[tuple[str, int]]:
        """The samples of a folder, see :func:`make_dataset`; for subclasses that find them elsewhere."""
        return make_dataset(directory, class_to_idx, extensions, is_valid_file, allow_empty)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        path, target = self.samples[index]
        sample = self.loader(path)
        if self.transform is not None:
            sample = self.transform(sample)
        return sample, target if self.target_transform is None else self.target_transform(target)

    def __repr__(self) -> str:
        lines = [
            f"Dataset {type(self).__name__}",
            f"    Number of datapoints: {len(self)}",
            f"    Root location: {self.root}",
        ]
        if self.transform is not None:
            lines.append("    Transform: " + repr(self.transform).replace("\n", "\n               "))
        return "\n".join(lines)


class ImageFolder(DatasetFolder):
    """Images in files, those of a class in the folder ``root/CLASS`` or below it. Samples are (PIL image, int).

    Images may differ in size: a batch needs a transform that makes them equal, such as :class:`RandomResizedCrop`.

    Args:
        root: The folder.
        transform: Applied to each image.
        target_transform: Applied to each label.
        loader: Reads a file, given its path; the default makes colour images of all.
        is_valid_file: Says of a path whether to take it; None: files take part whose ending is one of
            ``IMG_EXTENSIONS``.
        allow_empty: Accept classes without an image.

    Attributes:
        classes: Names of the classes, sorted.
        class_to_idx: Class name -> label.
        samples, imgs: (path, label) of each image.
        targets: Label of each image.

    Raises:
        FileNotFoundError: there is no such folder, no class in it, or a class has no image.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        loader: Callable[[str], Any] = default_loader,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> None:
        extensions = IMG_EXTENSIONS if is_valid_file is None else None
        super().__init__(root, loader, extensions, transform, target_transform, is_valid_file, allow_empty)
        self.imgs = self.samples
