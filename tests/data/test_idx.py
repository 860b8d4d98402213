"""IDX files: what is read, and what is refused with which words."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from numbanet.data.idx import read_idx, read_idx_images, read_idx_labels

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array: np.ndarray) -> bytes:
    kind = array.dtype.str[1:]
    header = struct.pack(f">HBB{array.ndim}I", 0, CODES[kind], array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


IMAGES = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
LABELS = np.array([9, 0, 4], np.uint8)


def write(tmp_path, content: bytes, name: str = "file-idx"):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def refused(path, match: str, reader=read_idx, **options) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        reader(path, **options)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 3, 4), (0, 3)])
def test_reads_every_dtype_in_native_order(tmp_path, kind, shape):
    array = (np.arange(np.prod(shape)) * 3).astype(kind).reshape(shape)
    read = read_idx(write(tmp_path, idx_bytes(array)))
    assert read.dtype == np.dtype(kind) and read.dtype.isnative and read.flags.writeable
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize("name", ["plain-idx3-ubyte", "images.gz", "compressed-without-suffix"])
def test_contents_tell_compression_not_the_name(tmp_path, name):
    content = idx_bytes(IMAGES)
    path = write(tmp_path, content if name.startswith("plain") else gzip.compress(content), name)
    np.testing.assert_array_equal(read_idx(path), IMAGES)
    plain = write(tmp_path, content, "plain.gz")
    np.testing.assert_array_equal(read_idx(plain), IMAGES)


def test_gzip_of_several_members_is_read_whole(tmp_path):
    content = idx_bytes(IMAGES)
    path = write(tmp_path, gzip.compress(content[:20]) + gzip.compress(content[20:]))
    np.testing.assert_array_equal(read_idx(path), IMAGES)


@pytest.mark.parametrize("compress", [False, True])
def test_every_truncation_is_refused(tmp_path, compress):
    content = idx_bytes(IMAGES)
    if compress:
        content = gzip.compress(content)
    for length in range(len(content)):
        with pytest.raises(ValueError, match=r"truncated|empty|corrupt gzip|not an IDX file"):
            read_idx(write(tmp_path, content[:length]))


def test_truncated_contents_inside_intact_gzip(tmp_path):
    refused(write(tmp_path, gzip.compress(idx_bytes(IMAGES)[:-1])), r"truncated: .*needs 60 bytes .* has 59")


@pytest.mark.parametrize("compress", [False, True])
def test_extra_bytes_are_refused(tmp_path, compress):
    content = idx_bytes(IMAGES) + b"\0"
    refused(write(tmp_path, gzip.compress(content) if compress else content), "size mismatch")


def test_corrupt_gzip(tmp_path):
    content = bytearray(gzip.compress(idx_bytes(np.random.default_rng(0).integers(0, 255, (50, 9, 9)).astype("u1"))))
    wrong_crc = bytearray(content)
    wrong_crc[-6] ^= 1
    refused(write(tmp_path, bytes(wrong_crc)), "corrupt gzip data")
    content[len(content) // 2] ^= 0xFF
    refused(write(tmp_path, bytes(content)), "corrupt gzip data|size mismatch|truncated")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "empty"),
        (b"\0\0", "too short for an IDX header"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "bad magic number 0x89504e47"),
        (struct.pack(">HBBI", 0, 0x07, 1, 0), "unknown dtype code 0x07"),
        (struct.pack(">HBB", 0, 0x08, 0), "0 dimensions"),
        (b"<!DOCTYPE html><html>", "HTML or XML page"),
        (b"\n  <?xml version='1.0'?><Error>", "HTML or XML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"PK\x03\x04" + b"\0" * 30, "zip archive"),
        (struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1), "cannot hold"),
        (gzip.compress(struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1), mtime=0), "cannot hold"),
    ],
)
def test_other_contents_are_refused(tmp_path, content, match):
    refused(write(tmp_path, content), match)


def test_expectations(tmp_path):
    images = write(tmp_path, idx_bytes(IMAGES), "images")
    labels = write(tmp_path, idx_bytes(LABELS), "labels")
    refused(images, "wrong dtype: the header says uint8, expected float32", dtype=np.float32)
    refused(labels, r"1 \(a file of labels\), expected 3 \(a file of images\)", read_idx_images)
    refused(images, r"3 \(a file of images\), expected 1 \(a file of labels\)", read_idx_labels)
    refused(images, r"items of shape \(4, 5\), expected \(28, 28\)", read_idx_images, item_shape=(28, 28))
    assert read_idx_images(images, (4, 5)).shape == (3, 4, 5)


def test_labels_out_of_range(tmp_path):
    good = read_idx_labels(write(tmp_path, idx_bytes(LABELS)))
    assert good.dtype == np.int64 and good.tolist() == [9, 0, 4]
    refused(
        write(tmp_path, idx_bytes(np.array([1, 10, 3], np.uint8))),
        "label 10 at position 1 is out of range, expected 0 to 9",
        read_idx_labels,
    )


def test_advice_is_given_and_missing_file_is_its_own_error(tmp_path):
    refused(write(tmp_path, b"junkjunk"), "Delete the file and let numbanet download it again")
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "nowhere")
