"""Fashion-MNIST: 70,000 grey images of 28 x 28 pixels in 10 classes of clothes.

Where the files are looked for, see :mod:`numbanet.data.image_dataset`; for Fashion-MNIST the folder of Debian's package
dataset-fashion-mnist too. Where they can neither be found nor downloaded, a sample that comes with numbanet (5,000 training
and 1,000 test images) takes their place, and one line says so.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from numbanet.data import download as _download
from numbanet.data import image_dataset as _image_dataset
from numbanet.data import transforms as _transforms
from numbanet.data.loader import DataLoader
from numbanet.data.mnist import IdxImages

__all__ = ["FashionMNIST", "load_data_fashion_mnist", "load_fashion_mnist_sample"]

_CLASSES = [
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
_SAMPLE_FOLDER = Path(__file__).with_name("sample")


class FashionMNIST(IdxImages):
    """Zalando's article images: 60,000 for training, 10,000 for testing.

    Args:
        root: Folder that holds the four files (itself, or in ``FashionMNIST/raw`` or ``fashion-mnist``); files that
            must be downloaded go to ``root/FashionMNIST/raw``. None: look in the usual places, download to the cache.
        train: The training images, or the test images.
        transform: Applied to each PIL image.
        target_transform: Applied to each label.
        download: Download what is missing; if that fails, use the embedded sample and say so.
        sample: Look for no files, use the embedded sample.

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

    classes = _CLASSES
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

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        train: bool = True,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        download: bool = True,
        *,
        sample: bool = False,
    ) -> None:
        self._sample = sample
        super().__init__(root, train, transform, target_transform, download)

    def _load(self, download: bool) -> tuple[np.ndarray, np.ndarray, str]:
        return self._fallback() if self._sample else super()._load(download)

    def _fallback(self) -> tuple[np.ndarray, np.ndarray, str]:
        images, labels = load_fashion_mnist_sample(self.train)
        return images, labels, str(_SAMPLE_FOLDER)

    def _say_fallback(self, folder: Path, error: _download.DownloadError) -> None:
        if "FashionMNIST" not in _image_dataset._said:
            _image_dataset._said.add("FashionMNIST")
            print(
                f"FashionMNIST: no files found and no download possible ({error.brief}); using the embedded sample "
                "(5000 training, 1000 test images). For all 70000: `apt-get install dataset-fashion-mnist`, or put the "
                f"four *-ubyte.gz files in {folder}, or set NUMBANET_DATA to their folder.".replace("\n", " "),
                file=sys.stderr,
            )


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
