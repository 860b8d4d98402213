"""What the image datasets share: images in memory, and files that are looked for and fetched.

Files are looked for in this order: ``root`` if given; the folder named by the environment variable ``NUMBANET_DATA``;
the user's cache folder; folders where a system's package puts them. What is nowhere is downloaded.
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

__all__ = ["ArrayImages", "StoredImages"]

# Datasets whose mirrors have failed in this process, and why: no second wait for a network that is not there.
_unreachable: dict[str, _download.DownloadError] = {}
_said: set[str] = set()


class ArrayImages(Dataset):
    """A dataset of equal-sized images that lie in memory. Samples are (PIL image, int), after the transforms.

    Attributes:
        data: Images, uint8 (N, H, W) or (N, H, W, 3).
        targets: Labels, int64 (N,).
        classes: Names of the labels.
    """

    data: np.ndarray
    targets: np.ndarray
    classes: list[str]
    transform: Callable[[Any], Any] | None = None
    target_transform: Callable[[Any], Any] | None = None

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
        if whole is not None and type(self).__getitem__ is ArrayImages.__getitem__:
            rows = np.asarray(indices, dtype=np.intp)
            return Columns([whole(self.data.take(rows, axis=0)), self.targets.take(rows)], scalar_columns=[1])
        return fetch_one_by_one(self, indices)

    @property
    def class_to_idx(self) -> dict[str, int]:
        """Class name -> label."""
        return {name: i for i, name in enumerate(self.classes)}


class StoredImages(ArrayImages):
    """An :class:`ArrayImages` whose files are found on disk or downloaded.

    A subclass names its files (:meth:`_needed`), finds them in a folder (:meth:`_find_in`) and reads them (:meth:`_read`).
    """

    mirrors: ClassVar[Sequence[str]]
    md5: ClassVar[dict[str, str]]
    _folder_names: ClassVar[tuple[str, ...]]  # sub-folders of root that may hold the files
    _system_folders: ClassVar[tuple[str, ...]] = ()

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

    # ---- what a subclass says ----

    def _find_in(self, folder: Path) -> tuple[Path, ...] | None:
        """The files, if all that are needed are in the folder."""
        raise NotImplementedError

    def _read(self, files: tuple[Path, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Images and labels in what ``_find_in`` returned."""
        raise NotImplementedError

    def _needed(self, folder: Path) -> list[str]:
        """Names of the files to download into the folder."""
        raise NotImplementedError

    def _wanted(self) -> str:
        """The files in words, for the error that they are not there."""
        raise NotImplementedError

    def _hint(self) -> str:
        """More to say where the files are not found; begins with a space."""
        return ""

    def _fallback(self) -> tuple[np.ndarray, np.ndarray, str] | None:
        """Images, labels and their folder to use where there are no files and no network; None: there are none."""
        return None

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

    def _load(self, download: bool) -> tuple[np.ndarray, np.ndarray, str]:
        files = next((found for folder in self._folders() if (found := self._find_in(folder)) is not None), None)
        if files is None and not download:
            raise RuntimeError(
                f"{type(self).__name__} not found: {self._wanted()} in none of {', '.join(map(str, self._folders()))}. "
                f"Pass download=True to download it{self._hint()}"
            )
        if files is None:
            files = self._fetch()
        if files is None:
            fallback = self._fallback()
            assert fallback is not None  # or _fetch would have raised
            return fallback
        images, labels = self._read(files)
        self._say_where(files[0].parent)
        return images, labels, str(files[0].parent)

    def _say_where(self, folder: Path) -> None:
        """One line, once, where the folder that the caller named does not hold the files."""
        name = f"{type(self).__name__} in {self.root}"
        if self.root is not None and not folder.is_relative_to(self.root) and name not in _said:
            _said.add(name)
            print(f"{type(self).__name__}: no files in {self.root}; read from {folder}", file=sys.stderr)

    # ---- fetching them ----

    def _fetch(self) -> tuple[Path, ...] | None:
        """Download the files; return None if that failed and there is something to fall back on."""
        name, folder = type(self).__name__, self._download_folder()
        if name not in _unreachable:
            try:
                for file_name in self._needed(folder):
                    _download.download_file(file_name, self.mirrors, folder, self.md5[file_name])
                print(f"{name}: downloaded to {folder}", file=sys.stderr)
                return self._find_in(folder)
            except _download.DownloadError as error:
                _unreachable[name] = error.with_traceback(None)
        if self._fallback() is None:
            raise RuntimeError(
                f"{name}: {_unreachable[name]}. Put {', '.join(self.md5)} in {folder}, or in a folder named by root or "
                f"by the environment variable NUMBANET_DATA{self._hint()}"
            )
        self._say_fallback(folder, _unreachable[name])
        return None

    def _say_fallback(self, folder: Path, error: _download.DownloadError) -> None:
        """Say, once, what is used in place of the files, which would belong in ``folder``."""

    # ---- looking at it ----

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
