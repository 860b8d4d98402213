"""Make the sample of Fashion-MNIST that comes with numbanet.

Reads the four IDX files and writes two grey PNG pictures: the first 500 training images and the first 100 test images
of each class, in the dataset's order. A picture shows rows of 100 images, class after class, so the place of an image
tells its label and there is no label file. The result depends on nothing but the IDX files (and, in its compressed
bytes, on Pillow's version). Of the formats tried on these 6,000 images (zlib 2.61 MB, PNG 2.35, lossless WebP 2.36,
xz 2.25) PNG is close to the smallest, loads in 0.03 s against 0.12 s for xz, and can be looked at.

Usage:
    python scripts/make_fashion_mnist_sample.py                      # from Debian's dataset-fashion-mnist
    python scripts/make_fashion_mnist_sample.py --source DIR --out DIR
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image

from numbanet.data.idx import read_idx_images, read_idx_labels

ROOT = Path(__file__).resolve().parent.parent


def mosaic(images: np.ndarray, labels: np.ndarray, per_class: int) -> np.ndarray:
    """The first ``per_class`` images (28, 28) of each class as one picture, (10 * per_class / 100 * 28, 2800)."""
    chosen = np.concatenate([np.flatnonzero(labels == c)[:per_class] for c in range(10)])
    if len(chosen) != 10 * per_class:
        raise SystemExit(f"error: some class has fewer than {per_class} images")
    # (rows, 100, 28, 28) -> (rows * 28, 100 * 28)
    return images[chosen].reshape(-1, 100, 28, 28).swapaxes(1, 2).reshape(-1, 2800)


def find(folder: Path, name: str) -> Path:
    """The file ``name`` in ``folder``, plain or compressed."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise SystemExit(f"error: neither {name} nor {name}.gz in {folder}")


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description="Make the embedded sample of Fashion-MNIST from its IDX files.")
    parser.add_argument(
        "--source",
        type=Path,
        default=Path("/usr/share/datasets/fashion-mnist"),
        help="folder with the four IDX files, plain or .gz (default: %(default)s)",
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "numbanet" / "data" / "sample", help="output folder (default: %(default)s)"
    )
    arguments = parser.parse_args()
    for prefix, name, per_class in (("train", "train_5000", 500), ("t10k", "test_1000", 100)):
        images = read_idx_images(find(arguments.source, f"{prefix}-images-idx3-ubyte"), (28, 28))
        labels = read_idx_labels(find(arguments.source, f"{prefix}-labels-idx1-ubyte"))
        buffer = io.BytesIO()
        Image.fromarray(mosaic(images, labels, per_class)).save(buffer, "PNG", optimize=True)
        path = arguments.out / f"fashion_mnist_{name}.png"
        path.write_bytes(buffer.getvalue())
        print(f"{path}: {10 * per_class} images, {len(buffer.getvalue()):,} bytes")


if __name__ == "__main__":
    main()
