"""Convolution and correlation in the strict sense of mathematics, under ``scipy.signal``'s names.

What deep learning calls convolution (``functional.conv2d``) slides the kernel over the image as it is, which is
cross-correlation. Strict convolution turns the kernel by 180 degrees first; this makes it commutative and associative. A
network that learns its kernels does not notice the difference; a formula from a book does.
"""

from __future__ import annotations

from typing import Any

from numbanet import shapes
from numbanet.functional import cat, conv2d, flip, pad
from numbanet.tensor import Tensor

__all__ = ["convolve2d", "correlate2d"]


def convolve2d(in1: Tensor, in2: Tensor, mode: str = "full", boundary: str = "fill", fillvalue: float = 0) -> Tensor:
    """The convolution of two matrices, as ``scipy.signal.convolve2d``; differentiable in both.

        full[i, j] = sum over k, l of in1[k, l] * in2[i - k, j - l]

    Args:
        in1: shape (H, W).
        in2: shape (KH, KW), of the same dtype.
        mode: "full" for all (H + KH - 1, W + KW - 1) sums; "same" for the middle of them, (H, W); "valid" for those where
            one lies wholly within the other: (H - KH + 1, W - KW + 1), or the same with their roles exchanged.
        boundary: what in1 continues with beyond its edges: "fill" (``fillvalue``), "wrap" (around) or "symm" (mirrored, the
            edge repeated).
        fillvalue: for "fill".

    Returns:
        A matrix.

    Raises:
        ValueError: for an unknown mode or boundary, inputs that are not matrices, or with "valid" ones of which neither
            holds the other.

    Reference: A. Oppenheim and R. Schafer, "Discrete-time signal processing", section 2.3.
    """
    _check("convolve2d", in1, in2, mode, boundary)
    if mode == "valid" and _exchange("convolve2d", in1, in2):
        in1, in2 = in2, in1
    return _slide("convolve2d", in1, flip(in2, (0, 1)), mode, boundary, fillvalue)


def correlate2d(in1: Tensor, in2: Tensor, mode: str = "full", boundary: str = "fill", fillvalue: float = 0) -> Tensor:
    """The cross-correlation of two matrices, as ``scipy.signal.correlate2d``: ``convolve2d`` with in2 turned by 180 degrees.

        full[i, j] = sum over k, l of in1[i - (KH - 1) + k, j - (KW - 1) + l] * in2[k, l]

    ``mode="valid"`` is conv2d's sum. Where that exchanges the roles because in2 holds in1, the result is turned by 180 degrees, so that
    its indices still count how far in2 lies to the left of and above in1.

    Args:
        in1, in2, mode, boundary, fillvalue: see ``convolve2d``.

    Returns:
        A matrix.

    Raises:
        ValueError: as ``convolve2d``.
    """
    _check("correlate2d", in1, in2, mode, boundary)
    if mode == "valid" and _exchange("correlate2d", in1, in2):
        return flip(_slide("correlate2d", in2, in1, mode, boundary, fillvalue), (0, 1))
    return _slide("correlate2d", in1, in2, mode, boundary, fillvalue)


def _check(name: str, in1: Any, in2: Any, mode: str, boundary: str) -> None:
    shapes.check_floating(name, in1=in1, in2=in2)
    if in1.ndim != 2 or in2.ndim != 2:
        raise ValueError(f"{name}: expected two matrices, got shapes {tuple(in1.shape)} and {tuple(in2.shape)}")
    if mode not in ("full", "same", "valid"):
        raise ValueError(f"{name}: mode must be 'full', 'same' or 'valid', got {mode!r}")
    if boundary not in ("fill", "wrap", "symm"):
        raise ValueError(f"{name}: boundary must be 'fill', 'wrap' or 'symm', got {boundary!r}")
    if 0 in (*in1.shape, *in2.shape):
        raise ValueError(f"{name}: expected matrices that are not empty, got {tuple(in1.shape)} and {tuple(in2.shape)}")


def _exchange(name: str, in1: Tensor, in2: Tensor) -> bool:
    """Whether in2 is the one that holds the other."""
    pairs = list(zip(in1.shape, in2.shape, strict=True))
    if all(a >= b for a, b in pairs):
        return False
    if all(a <= b for a, b in pairs):
        return True
    raise ValueError(
        f"{name}: mode='valid' needs one matrix that holds the other, got {tuple(in1.shape)} and {tuple(in2.shape)}"
    )


def _slide(name: str, image: Tensor, kernel: Tensor, mode: str, boundary: str, fillvalue: float) -> Tensor:
    """The sums of the kernel, as it is, over the image with an edge."""
    sides: list[int] = []  # (left, right, top, bottom)
    for size in reversed(kernel.shape):
        if (
            mode == "same"
        ):  # the middle of the full result: where the sizes are even, the two functions lean to opposite sides
            before = size // 2 if name == "convolve2d" else (size - 1) // 2
            sides += [before, size - 1 - before]
        else:
            sides += [size - 1] * 2 if mode == "full" else [0] * 2
    if mode != "valid" and boundary == "fill":
        image = pad(image, sides, value=fillvalue)
    elif mode != "valid":
        for dim in (0, 1):
            before, after = sides[2 - 2 * dim], sides[3 - 2 * dim]
            image = _continue(image, dim, before, after, boundary == "symm")
    return conv2d(image[None, None], kernel[None, None])[0, 0]


def _continue(image: Tensor, dim: int, before: int, after: int, mirror: bool) -> Tensor:
    """The image with ``before`` and ``after`` rows (or columns) of its endless repetition, every other one mirrored or not."""
    size = image.shape[dim]
    period = cat([image, flip(image, (dim,))], dim) if mirror else image
    length = period.shape[dim]
    repeats = -(-before // length) + -(-(size + after) // length)
    return cat([period] * repeats, dim).narrow(dim, -before % length, before + size + after)
