"""The drawn dataset: reproducible, and its boxes, masks and labels belong to what is to be seen."""

from __future__ import annotations

import numpy as np
import pytest

import numbanet
from numbanet.data import DataLoader, SyntheticShapes, detection_collate


def test_a_sample_is_an_image_and_what_is_in_it():
    image, target = SyntheticShapes(4, size=48)[2]
    assert image.shape == (3, 48, 48) and image.dtype == numbanet.float32
    assert 0 <= image.min().item() < image.max().item() <= 1
    count = len(target["labels"])
    assert 1 <= count <= 3
    assert target["boxes"].shape == (count, 4) and target["boxes"].dtype == numbanet.float32
    assert target["masks"].shape == (count, 48, 48) and target["masks"].dtype == numbanet.uint8
    assert target["labels"].dtype == numbanet.int64
    assert SyntheticShapes.classes == ["background", "circle", "square", "triangle"]


def test_a_sample_depends_on_seed_and_index_alone():
    data = SyntheticShapes(6, size=32, seed=5)
    first = [data[i] for i in range(6)]
    again = [SyntheticShapes(6, size=32, seed=5)[i] for i in (3, 1, -1)]
    for (image, target), (image2, target2) in zip([first[3], first[1], first[5]], again, strict=True):
        np.testing.assert_array_equal(image.numpy(), image2.numpy())
        for name in target:
            np.testing.assert_array_equal(target[name].numpy(), target2[name].numpy())
    images = [image.numpy() for image, _ in first] + [SyntheticShapes(1, size=32, seed=6)[0][0].numpy()]
    assert all(np.abs(a - b).mean() > 0.01 for i, a in enumerate(images) for b in images[:i])
    assert len(list(data)) == 6  # iteration ends


@pytest.mark.parametrize("size", [16, 64])
def test_boxes_hold_their_masks_and_masks_do_not_overlap(size):
    data = SyntheticShapes(40, size=size, max_shapes=4, seed=1)
    hidden = 0
    for _, target in data:
        masks = target["masks"].numpy().astype(bool)
        assert masks.sum(axis=0).max() == 1
        for mask, (x1, y1, x2, y2) in zip(masks, target["boxes"].numpy().astype(int), strict=True):
            assert mask.any()
            assert mask[y1:y2, x1:x2].sum() == mask.sum()
            edges = mask[y1, x1:x2], mask[y2 - 1, x1:x2], mask[y1:y2, x1], mask[y1:y2, x2 - 1]
            assert all(edge.any() for edge in edges)
        # Two boxes that overlap: one shape may hide part of the other.
        boxes = target["boxes"].numpy()
        hidden += any(
            (np.minimum(a[2:], b[2:]) > np.maximum(a[:2], b[:2])).all() for a in boxes for b in boxes if a is not b
        )
    assert hidden


def test_segmentation_is_the_masks_with_their_classes():
    things, classes = SyntheticShapes(10, seed=2), SyntheticShapes(10, seed=2, target="segmentation")
    seen = set()
    for i in range(10):
        (image, target), (same, pixels) = things[i], classes[i]
        np.testing.assert_array_equal(image.numpy(), same.numpy())
        assert pixels.shape == (64, 64) and pixels.dtype == numbanet.int64
        expected = np.zeros((64, 64), np.int64)
        for mask, label in zip(target["masks"].numpy(), target["labels"].numpy(), strict=True):
            expected[mask == 1] = label
        np.testing.assert_array_equal(pixels.numpy(), expected)
        seen |= set(np.unique(expected))
    assert seen == {0, 1, 2, 3}


def test_shapes_have_the_areas_of_their_kinds():
    """Of its box a circle fills pi / 4; a square between 1 / 2 and all; a triangle 1 / 2 at most."""
    fills: dict[int, list[float]] = {1: [], 2: [], 3: []}
    for _, target in SyntheticShapes(150, size=96, max_shapes=1, seed=3):
        (x1, y1, x2, y2), label = target["boxes"].numpy()[0], int(target["labels"][0])
        fills[label].append(target["masks"].numpy().sum() / ((x2 - x1) * (y2 - y1)))
    assert all(len(values) > 25 for values in fills.values())
    np.testing.assert_allclose(fills[1], np.pi / 4, atol=0.04)
    assert 0.46 < min(fills[2]) < 0.6 and 0.9 < max(fills[2]) <= 1
    assert min(fills[3]) > 0.38 and max(fills[3]) < 0.56


def test_shapes_stand_out_from_the_ground():
    stands_out = []
    for image, target in SyntheticShapes(30, max_shapes=1, seed=4):
        pixels, mask = image.numpy(), target["masks"].numpy()[0].astype(bool)
        stands_out.append(np.abs(pixels[:, mask].mean(axis=1) - pixels[:, ~mask].mean(axis=1)).max())
    assert min(stands_out) > 0.15


def test_most_of_each_shape_is_visible():
    """A circle's area tells from its box's larger side how much of it is hidden."""
    for _, target in SyntheticShapes(60, size=96, max_shapes=5, seed=5):
        sides = (target["boxes"][:, 2:] - target["boxes"][:, :2]).numpy().max(axis=1)
        for mask, label, side in zip(target["masks"].numpy(), target["labels"].numpy(), sides, strict=True):
            if label == 1:
                assert mask.sum() >= 0.66 * np.pi / 4 * side**2


@pytest.mark.parametrize("workers", [0, 2])
def test_loaders_give_the_same_batches_with_any_number_of_threads(workers):
    data = SyntheticShapes(6, size=16)
    images, targets = next(iter(DataLoader(data, 4, collate_fn=detection_collate, num_workers=workers)))
    assert images.shape == (4, 3, 16, 16) and len(targets) == 4
    for i, target in enumerate(targets):
        image, expected = data[i]
        np.testing.assert_array_equal(images[i].numpy(), image.numpy())
        np.testing.assert_array_equal(target["boxes"].numpy(), expected["boxes"].numpy())
    x, y = next(iter(DataLoader(SyntheticShapes(6, size=16, target="segmentation"), 4, num_workers=workers)))
    assert x.shape == (4, 3, 16, 16) and y.shape == (4, 16, 16)


def test_wrong_datasets():
    with pytest.raises(ValueError, match="size >= 16 and max_shapes >= 1, got 5, 8 and 3"):
        SyntheticShapes(5, size=8)
    with pytest.raises(ValueError, match="target 'detection' or 'segmentation', got 'boxes'"):
        SyntheticShapes(target="boxes")
    with pytest.raises(IndexError, match="index 3 is out of range for 3 samples"):
        SyntheticShapes(3)[3]
