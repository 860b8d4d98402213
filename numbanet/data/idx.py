"""Reader for IDX files, the format of MNIST and its relatives.

An IDX file is: two zero bytes, a byte for the dtype, a byte for the number of dimensions, the sizes as big-endian
uint32, then the values, big-endian, last dimension fastest. It may be gzip-compressed; the first bytes tell, not the
name. A file is read whole or refused whole.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

__all__ = ["read_idx", "read_idx_images", "read_idx_labels"]

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_WHAT_TO_DO = "Delete the file and let numbanet download it again, or put an intact copy in its place"
# Deflate cannot shrink by more than this factor, so a header that claims more is wrong: no need to allocate for it.
_MAX_DEFLATE = 1032
_CHUNK = 1 << 20


def _bad(path: Path, problem: str, advice: str = _WHAT_TO_DO) -> ValueError:
    return ValueError(f"{path}: {problem}. {advice}.")


def read_idx(
    path: str | os.PathLike[str],
    *,
    file: BinaryIO | None = None,
    dtype: Any = None,
    ndim: int | None = None,
    item_shape: Sequence[int] | None = None,
) -> np.ndarray:
    """Read an IDX file, plain or gzip-compressed.

    Args:
        path: The file.
        file: The open file to read, if that is part of an archive; ``path`` then names it in errors.
        dtype: The dtype it must hold; None: any.
        ndim: The number of dimensions it must have; None: any.
        item_shape: The sizes it must have after the first; None: any.

    Returns:
        An array of the file's shape, in native byte order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is truncated, too long, corrupt, or holds something else than asked for; the message names
            the file, what is wrong with it, what was expected, and what to do.
    """
    path = Path(path)
    if file is not None:
        return _read(path, file, dtype, ndim, item_shape)
    with open(path, "rb") as opened:
        return _read(path, opened, dtype, ndim, item_shape)


def _read(path: Path, file: BinaryIO, dtype: Any, ndim: int | None, item_shape: Sequence[int] | None) -> np.ndarray:
    import gzip
    import zlib

    start = file.read(16)
    stored = file.seek(0, os.SEEK_END)
    file.seek(0)
    compressed = start[:2] == b"\x1f\x8b"
    if not compressed:
        _refuse_other_formats(path, start)
    source: Any = gzip.GzipFile(fileobj=file) if compressed else file
    limit = stored * _MAX_DEFLATE + 1024 if compressed else stored
    try:
        shape, kind = _read_header(path, source, dtype, ndim, item_shape)
        expected = int(np.prod(shape, dtype=object)) * np.dtype(kind).itemsize
        if expected > limit:
            raise _bad(
                path,
                f"truncated: the header announces shape {shape}, that is {expected} bytes of values, which a file "
                f"of {stored} bytes cannot hold",
            )
        values = np.empty(expected, np.uint8)
        got = _fill(values, source)
        # Reading on shows a file that is too long, and makes gzip check its checksum.
        more = got == expected and source.read(1)
    except EOFError:
        raise _bad(path, "truncated: the gzip stream ends early") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise _bad(path, f"corrupt gzip data ({error})") from None
    if got < expected:
        raise _bad(path, f"truncated: shape {shape} needs {expected} bytes of values, the file has {got}")
    if more:
        raise _bad(path, f"size mismatch: shape {shape} needs {expected} bytes of values, the file has more")
    array = values.view(kind).reshape(shape)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _fill(values: np.ndarray, source: Any) -> int:
    """Read into the array until it is full or the source ends; returns the number of bytes read."""
    view, got = values.data, 0
    while got < len(view) and (count := source.readinto(view[got : got + _CHUNK])):
        got += count
    return got


def _refuse_other_formats(path: Path, start: bytes) -> None:
    if not start:
        raise _bad(path, "the file is empty")
    if start.lstrip()[:1] == b"<":
        raise _bad(path, "this is an HTML or XML page, most likely an error page saved in place of the file")
    if start.startswith(b"version https:"):
        raise _bad(path, "this is a Git LFS pointer, not the file itself", "Fetch the real file with `git lfs pull`")
    if start.startswith(b"PK"):
        raise _bad(path, "this is a zip archive", "Unpack it and keep the IDX files that are inside")


def _read_header(
    path: Path, source: Any, dtype: Any, ndim: int | None, item_shape: Sequence[int] | None
) -> tuple[tuple[int, ...], str]:
    """Read and check magic number and sizes; return shape and NumPy type string."""
    magic = source.read(4)
    if len(magic) < 4:
        raise _bad(path, f"truncated: {len(magic)} bytes, too short for an IDX header")
    zeros, code, dims = struct.unpack(">HBB", magic)
    if zeros != 0:
        raise _bad(path, f"not an IDX file: bad magic number 0x{magic.hex()}, an IDX file starts with 0x0000")
    if code not in _DTYPES:
        known = ", ".join(f"0x{c:02x}" for c in _DTYPES)
        raise _bad(path, f"not an IDX file: unknown dtype code 0x{code:02x} in the header, known are {known}")
    kind = _DTYPES[code]
    if dtype is not None and np.dtype(kind).newbyteorder("=") != np.dtype(dtype):
        raise _bad(path, f"wrong dtype: the header says {np.dtype(kind).name}, expected {np.dtype(dtype).name}")
    if ndim is not None and dims != ndim:
        raise _bad(
            path,
            f"wrong number of dimensions: the header says {dims} ({_likely(dims)}), expected {ndim} ({_likely(ndim)})",
            "Check that the file is in its right place under its right name",
        )
    if dims == 0:
        raise _bad(path, "not an IDX file: the header says 0 dimensions")
    sizes = source.read(4 * dims)
    if len(sizes) < 4 * dims:
        raise _bad(path, f"truncated: the file ends within the header's {dims} sizes")
    shape = struct.unpack(f">{dims}I", sizes)
    if item_shape is not None and shape[1:] != tuple(item_shape):
        raise _bad(
            path,
            f"wrong size: the header says items of shape {shape[1:]}, expected {tuple(item_shape)}",
            "Check that the file belongs to this dataset",
        )
    return shape, kind


def _likely(dims: int) -> str:
    return {1: "a file of labels", 3: "a file of images"}.get(dims, "neither labels nor images")


def read_idx_images(
    path: str | os.PathLike[str], item_shape: Sequence[int] | None = None, file: BinaryIO | None = None
) -> np.ndarray:
    """Read an IDX file of images: uint8 (N, H, W). Arguments and errors as :func:`read_idx`."""
    return read_idx(path, file=file, dtype=np.uint8, ndim=3, item_shape=item_shape)


def read_idx_labels(path: str | os.PathLike[str], classes: int = 10, file: BinaryIO | None = None) -> np.ndarray:
    """Read an IDX file of labels 0 ... classes - 1 stored as uint8: int64 (N,). Arguments as :func:`read_idx`.

    Raises:
        ValueError: as :func:`read_idx`, and for a label out of range.
    """
    labels = read_idx(path, file=file, dtype=np.uint8, ndim=1)
    if labels.size and int(labels.max()) >= classes:
        at = int(np.argmax(labels >= classes))
        raise _bad(Path(path), f"label {int(labels[at])} at position {at} is out of range, expected 0 to {classes - 1}")
    return labels.astype(np.int64)
