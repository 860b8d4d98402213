"""Datasets by name, for the command line."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from numbanet.data.cifar import CIFAR10, CIFAR100
from numbanet.data.fashion_mnist import FashionMNIST
from numbanet.data.folder import ImageFolder, find_classes
from numbanet.data.mnist import EMNIST, KMNIST, MNIST

__all__ = ["by_name", "dataset_names"]

_DATASETS: dict[str, Callable[..., Any]] = {
    "fashion-mnist": FashionMNIST,
    "mnist": MNIST,
    "kmnist": KMNIST,
    "emnist": EMNIST,
    **{f"emnist-{split}": partial(EMNIST, split=split) for split in EMNIST.splits},
    "cifar10": CIFAR10,
    "cifar100": CIFAR100,
}
# Sub-folders of a folder of images, by what they are for.
_PARTS = {True: ("train",), False: ("test", "val")}


def dataset_names() -> list[str]:
    """The names that :func:`by_name` knows."""
    return list(_DATASETS)


def by_name(
    name: str,
    root: str | os.PathLike[str] | None = None,
    train: bool = True,
    transform: Callable[[Any], Any] | None = None,
    target_transform: Callable[[Any], Any] | None = None,
    download: bool = True,
) -> Any:
    """Return the dataset of a name, or the images of a folder.

    Args:
        name: One of :func:`dataset_names`; or the path of a folder that has ``train`` and ``test`` (or ``val``) in it, each with
            a sub-folder for each class.
        root: Where to look for the files, see :class:`FashionMNIST`.
        train: The training images, or the test images.
        transform: Applied to each PIL image.
        target_transform: Applied to each label.
        download: Download what is missing.

    Returns:
        A dataset with ``classes``.

    Raises:
        ValueError: neither a name nor a folder, or the folder has no such part, or other classes for testing than for training.
        RuntimeError: the files are missing and cannot be downloaded.
    """
    if name in _DATASETS:
        return _DATASETS[name](
            root, train=train, transform=transform, target_transform=target_transform, download=download
        )
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise ValueError(
            f"there is no dataset {name!r}, and no such folder: the names are {', '.join(dataset_names())}"
        )
    part = next((folder / part for part in _PARTS[train] if (folder / part).is_dir()), None)
    if part is None:
        raise ValueError(
            f"{folder}: expected a folder {' or '.join(_PARTS[train])} in it, with a sub-folder for each class"
        )
    images = ImageFolder(part, transform, target_transform)
    if not train and (folder / "train").is_dir():
        known = find_classes(folder / "train")[0]
        if images.classes != known:  # labels are places in the sorted list, and would mean something else
            raise ValueError(
                f"{part} has the classes {', '.join(images.classes)}, but {folder / 'train'} has {', '.join(known)}"
            )
    return images
