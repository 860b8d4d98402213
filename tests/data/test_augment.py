"""Augmentation: torchvision's numbers, one image as a batch, nothing that hangs on threads, and what chance does."""

from __future__ import annotations

import json
import traceback
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import numbanet.random
from numbanet.data import Columns, DataLoader, TensorDataset, batch_generator, sample_random
from numbanet.data import transforms as T
from numbanet.data.image_dataset import ArrayImages
from numbanet.data.transforms.geometry import random_boxes
from numbanet.tensor import Tensor, from_numpy

RECORDED = np.load(Path(__file__).with_name("torchvision.npz"))
CASES = json.loads(str(RECORDED["cases"]))
GREY, COLOUR, FLOATS = RECORDED["grey"], RECORDED["rgb"], RECORDED["float"]
INPUTS = {
    "pil grey": lambda: Image.fromarray(GREY),
    "pil rgb": lambda: Image.fromarray(COLOUR),
    "tensor rgb": lambda: from_numpy(FLOATS.copy()),
    "tensor grey": lambda: from_numpy(FLOATS[:1].copy()),
    "tensor uint8": lambda: from_numpy(COLOUR.transpose(2, 0, 1).copy()),
}


@pytest.fixture(autouse=True)
def seeded():
    before = numbanet.random.default_generator.get_state()
    numbanet.random.default_generator.manual_seed(0)
    yield
    numbanet.random.default_generator.set_state(before)


def generator(seed: int = 0) -> numbanet.random.Generator:
    return numbanet.random.Generator().manual_seed(seed)


def as_array(image) -> np.ndarray:
    return image.numpy() if isinstance(image, Tensor) else np.asarray(image)


# ---- torchvision's numbers ----


def of_case(name: str, arguments: dict, monkeypatch) -> T.Transform:
    if name != "affine":
        return getattr(T, name)(**arguments)
    # The class draws what the function is told: limits of no width, and draws that give the shifts.
    arguments = dict(arguments)
    angle, scale = arguments.pop("angle"), arguments.pop("scale")
    (x, y), (shear_x, shear_y) = arguments.pop("translate"), arguments.pop("shear")
    u = np.array([[0.5], [(1 + x / 8) / 2], [(1 + y / 11) / 2], [0.5], [0.5], [0.5]])
    monkeypatch.setattr(sample_random, "uniforms", lambda count, draws: u)
    shear = (shear_x, shear_x, shear_y, shear_y)
    return T.RandomAffine((angle, angle), (1, 1), (scale, scale), shear, **arguments)


@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{i}-{name}" for i, (name, _) in enumerate(CASES)])
def test_torchvisions_numbers(number, monkeypatch):
    name, arguments = CASES[number]
    kinds = [kind for kind in INPUTS if f"{number} {kind}" in RECORDED]
    assert len(kinds) >= 2
    for kind in kinds:
        expected = RECORDED[f"{number} {kind}"]
        if (name, arguments, kind) == ("Grayscale", {"num_output_channels": 3}, "tensor grey"):
            expected = np.repeat(expected, 3, axis=0)  # torchvision leaves one channel, whatever was asked for
        got = as_array(of_case(name, arguments, monkeypatch)(INPUTS[kind]()))
        assert got.dtype == expected.dtype and got.shape == expected.shape, kind
        if name == "RandomResizedCrop" and kind == "tensor uint8":
            # torchvision resizes in float and rounds, Pillow in fixed point.
            assert np.abs(got.astype(int) - expected).max() <= 1
        elif got.dtype == np.uint8:
            np.testing.assert_array_equal(got, expected, err_msg=kind)
        else:
            np.testing.assert_allclose(got, expected, atol=2e-6, rtol=5e-6, err_msg=kind)


def test_alpha_is_left_alone():
    image = np.random.default_rng(0).integers(0, 256, (6, 5, 4), dtype=np.uint8)
    for options in ({"brightness": (2, 2)}, {"contrast": (2, 2)}, {"saturation": (2, 2)}, {"hue": (0.2, 0.2)}):
        out = T.ColorJitter(**options)(Image.fromarray(image))
        assert out.mode == "RGBA"
        np.testing.assert_array_equal(np.asarray(out)[..., 3], image[..., 3])
        np.testing.assert_array_equal(np.asarray(out)[..., :3], T.ColorJitter(**options)(image[..., :3]))
    two = np.stack([image[..., 0], image[..., 3]], axis=-1)
    out = T.ColorJitter(brightness=(2, 2), hue=0.3)(Image.fromarray(two, "LA"))
    np.testing.assert_array_equal(np.asarray(out)[..., 1], image[..., 3])


def test_leading_axes_are_images_of_their_own():
    """A tensor (B, C, H, W): the same change for all, but contrast about each one's own mean."""
    stack = np.stack([FLOATS, FLOATS[::-1] ** 2])
    for transform in (
        T.ColorJitter(contrast=(0.3, 0.3)),
        T.ColorJitter(hue=(0.2, 0.2)),
        T.RandomRotation((20, 20), "bilinear", fill=(1, 2, 3)),
        T.Pad(1),
    ):
        got = transform(from_numpy(stack)).numpy()
        for image, expected in zip(stack, got, strict=True):
            np.testing.assert_array_equal(transform(from_numpy(image.copy())).numpy(), expected)


def test_quarter_turns_move_whole_pixels():
    square = np.arange(49, dtype=np.float32).reshape(1, 7, 7)
    for mode in ("nearest", "bilinear"):
        for turns in (1, 2, 3):
            turned = T.RandomRotation((90 * turns, 90 * turns), mode)(from_numpy(square)).numpy()
            np.testing.assert_allclose(turned, np.rot90(square, turns, axes=(1, 2)), atol=1e-4)
    long = np.arange(32, dtype=np.float32).reshape(1, 8, 4)
    expanded = T.RandomRotation((90, 90), expand=True)(from_numpy(long)).numpy()
    assert expanded.shape == (1, 4, 8)
    np.testing.assert_array_equal(expanded, np.rot90(long, axes=(1, 2)))


# ---- one image and a batch; the number of threads ----

BEFORE = [  # for images
    T.RandomVerticalFlip(),
    T.RandomHorizontalFlip(0.7),
    T.Pad((1, 2), fill=(3, 4, 5)),
    T.Pad(2, padding_mode="edge"),
    T.RandomCrop(12, padding=3),
    T.RandomResizedCrop((9, 12)),
    T.RandomResizedCrop(16, interpolation="bicubic"),
    T.RandomRotation(40),
    T.RandomRotation(40, "bilinear", fill=(9, 8, 7)),
    T.RandomAffine(20, (0.2, 0.1), (0.7, 1.4), 10, "bilinear"),
    T.ColorJitter(0.4),
    T.ColorJitter(0.4, 0.5, 0.6, 0.2),
    T.Grayscale(),
    T.Grayscale(3),
    T.RandomGrayscale(0.5),
    T.RandomApply([T.ColorJitter(0.4, 0.5), T.RandomHorizontalFlip(0.3)], 0.6),
    T.RandomApply([T.RandomApply([T.RandomVerticalFlip()]), T.RandomRotation(10)]),
]
AFTER = [  # for tensors
    *(step for step in BEFORE if not isinstance(step, T.Grayscale)),
    T.RandomErasing(0.8),
    T.RandomErasing(0.8, value="random"),
    T.RandomErasing(1.0, (0.2, 0.3), (1, 2), value=(1, 2, 3), inplace=True),
    T.RandomApply([T.Normalize(0.5, 0.5), T.RandomErasing(1.0, value=7)]),
]
CHAINS = [T.Compose([step, T.RandomHorizontalFlip(), T.ToTensor()]) for step in BEFORE]
CHAINS += [T.Compose([T.ToTensor(), step, T.RandomHorizontalFlip()]) for step in AFTER]


class Images(ArrayImages):
    """Colour images in memory, with the fast path of the real datasets."""

    def __init__(self, transform=None, size: int = 13) -> None:
        rng = np.random.default_rng(7)
        self.data = rng.integers(0, 256, (size, 16, 12, 3), dtype=np.uint8)
        self.targets = rng.integers(0, 10, size)
        self.transform = transform


class OneByOne(Images):
    __getitems__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: " ".join(repr(chain).split())[:90])
def test_batch_and_single_image_give_the_same_bits(chain):
    """The flip at the end shows whether both drew equally often."""
    assert T.batched(chain) is not None
    batches = [
        [x.numpy() for x, _ in DataLoader(kind(chain), 5, generator=generator(3))] for kind in (Images, OneByOne)
    ]
    for fast, slow in zip(*batches, strict=True):
        assert fast.dtype == slow.dtype
        np.testing.assert_array_equal(fast, slow)


EVERYTHING = [
    T.RandomApply([T.RandomRotation(20, "bilinear")], 0.5),
    T.RandomResizedCrop(14, (0.5, 1.0)),
    T.RandomHorizontalFlip(),
    T.RandomVerticalFlip(0.3),
    T.ColorJitter(0.4, 0.4, 0.4, 0.1),
    T.RandomGrayscale(0.2),
    T.ToTensor(),
    T.Normalize((0.5, 0.4, 0.3), (0.2, 0.2, 0.2)),
    T.RandomErasing(value="random"),
]


@pytest.mark.parametrize("mix", [None, T.MixUp(num_classes=10), T.CutMix(num_classes=10)], ids=str)
def test_batches_do_not_depend_on_the_number_of_workers(mix):
    def epochs(workers, dataset):
        loader = DataLoader(dataset, 4, True, num_workers=workers, collate_fn=mix, generator=generator(8))
        return [[column.numpy() for column in batch] for _ in range(2) for batch in loader]

    reference = epochs(0, Images(T.Compose(EVERYTHING)))
    assert len(reference) == 8
    assert not np.array_equal(reference[0][0], reference[4][0])  # another epoch, another picture
    if mix is not None:
        assert reference[0][1].shape == (4, 10)
    with_lambda = Images(T.Compose([T.Lambda(lambda image: image), *EVERYTHING]))
    for workers, dataset in [
        (1, Images(T.Compose(EVERYTHING))),
        (4, Images(T.Compose(EVERYTHING))),
        (4, OneByOne(T.Compose(EVERYTHING))),
        (3, with_lambda),
    ]:
        for batch, expected in zip(epochs(workers, dataset), reference, strict=True):
            for column, expected_column in zip(batch, expected, strict=True):
                np.testing.assert_array_equal(column, expected_column)


def test_samples_get_changes_of_their_own():
    class Same(Images):
        def __init__(self, transform):
            super().__init__(transform, size=40)
            self.data[:] = self.data[0]

    for step in (T.ColorJitter(0.5), T.RandomRotation(90), T.RandomResizedCrop(12), T.RandomAffine(0, (0.5, 0.5))):
        (images, _) = next(iter(DataLoader(Same(T.Compose([step, T.ToTensor()])), 40, generator=generator())))
        assert len(np.unique(images.numpy().reshape(40, -1), axis=0)) > 20


def test_random_apply_does_not_disturb_what_comes_after():
    """Samples that it leaves alone draw afterwards what they would have drawn if it had not left them alone."""
    flips = {}
    for p in (0.0, 0.5, 1.0):
        chain = T.Compose([T.RandomApply([T.RandomVerticalFlip()], p), T.ToTensor(), T.RandomHorizontalFlip()])
        images = next(iter(DataLoader(Images(chain), 13, generator=generator(1))))[0].numpy()
        sums = images.sum(axis=(1, 2))  # of columns: up or down makes no difference
        plain = Images(T.ToTensor())
        flips[p] = [not np.allclose(row, plain[i][0].numpy().sum(axis=(0, 1))) for i, row in enumerate(sums)]
    assert flips[0.0] == flips[0.5] == flips[1.0] and 0 < sum(flips[0.0]) < 13


def test_what_cannot_go_in_one_batch_is_done_image_by_image():
    for steps in (
        [T.RandomRotation(30, expand=True), T.Resize((8, 8)), T.ToTensor()],
        [T.RandomApply([T.Resize(8)]), T.Resize((9, 9)), T.ToTensor()],
        [T.RandomApply([T.Lambda(lambda image: image)]), T.ToTensor()],
        [T.RandomErasing(), T.ToTensor()],
        [T.RandomApply([T.Normalize(0.5, 0.5)]), T.ToTensor()],
    ):
        assert T.batched(T.Compose(steps)) is None
    images, _ = next(
        iter(DataLoader(Images(T.Compose([T.RandomRotation(30, expand=True), T.Resize((8, 8)), T.ToTensor()])), 5))
    )
    assert images.shape == (5, 3, 8, 8)
    with pytest.raises(TypeError, match=r"RandomErasing.*put ToTensor\(\) before it"):
        next(iter(DataLoader(Images(T.Compose([T.RandomErasing(), T.ToTensor()])), 5)))


def test_a_transform_of_ones_own_works_on_batches_too():
    class Darken(T.Transform):
        keeps_shape = True

        def apply_batch(self, images, rows):
            shade = sample_random.uniform(len(images)).reshape(-1, *[1] * (images.ndim - 1))
            return (images * shade).astype(images.dtype), rows

    class Inverted(Darken):
        def __call__(self, image):
            return super().__call__(image)

    chain = T.Compose([T.RandomApply([Darken()]), T.ToTensor()])
    assert T.batched(chain) is not None and T.batched(T.Compose([Inverted(), T.ToTensor()])) is None
    fast, slow = (next(iter(DataLoader(kind(chain), 6, generator=generator())))[0] for kind in (Images, OneByOne))
    np.testing.assert_array_equal(fast.numpy(), slow.numpy())


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_an_error_in_a_transform_shows_where_it_was_raised(workers):
    def break_down(image):
        raise ArithmeticError("nothing works")

    loader = DataLoader(Images(T.Compose([T.Lambda(break_down), T.ToTensor()])), 3, num_workers=workers)
    with pytest.raises(ArithmeticError, match="nothing works") as caught:
        list(loader)
    text = "".join(traceback.format_exception(caught.value))
    assert 'raise ArithmeticError("nothing works")' in text and "in break_down" in text
    assert "while loading the sample at index 0 of Images" in text
    assert ("in DataLoader worker thread" in text) == (workers > 0)

    grey = DataLoader(Images(T.Compose([T.ToTensor(), T.Normalize((1, 2), (1, 1))])), 3, num_workers=workers)
    with pytest.raises(ValueError, match="mean has 2 values, the image has 3 channels") as caught:
        list(grey)
    assert "in apply_batch" in "".join(traceback.format_exception(caught.value))


# ---- what chance does ----


def many(step, count: int = 2000, image=None) -> np.ndarray:
    """The step's results for many copies of one image, as one batch."""
    images = np.repeat(COLOUR[None] if image is None else image[None], count, axis=0)
    with sample_random.sample_scope(sample_random.sample_keys(1, 0, count)):
        return step.apply_batch(images, 1 if images.shape[-1] == 3 else images.ndim - 2)[0]


def test_factors_fill_their_limits_evenly():
    image = np.full((3, 4, 4), 0.25, np.float32)
    levels = many(T.ColorJitter(brightness=(0.5, 2.0)), image=image)[:, 0, 0, 0] / 0.25
    assert 0.5 <= levels.min() < 0.52 and 1.98 < levels.max() <= 2.0
    counts = np.histogram(levels, bins=4, range=(0.5, 2.0))[0]
    assert np.all(np.abs(counts - 500) < 6 * 19.4)  # binomial: sigma 19.4
    assert T.ColorJitter(brightness=1.5).brightness == (0.0, 2.5)
    assert T.ColorJitter(hue=0.1).hue == (-0.1, 0.1)
    assert repr(T.ColorJitter(0.4, (1, 1), 0, 0.1)) == (
        "ColorJitter(brightness=(0.6, 1.4), contrast=None, saturation=None, hue=(-0.1, 0.1))"
    )
    np.testing.assert_array_equal(T.ColorJitter()(COLOUR), COLOUR)


def test_colour_changes_come_in_every_order():
    # Brightness 4 then contrast 0 differs from contrast 0 then brightness 4; other orders of these two there are not.
    image = np.full((3, 2, 2), 0.5, np.float32)
    image[:, 0] = 0.1
    out = many(T.ColorJitter(brightness=(4, 4), contrast=(0, 0)), image=image)[:, 0, 0, 0]
    values, counts = np.unique(out.round(4), return_counts=True)
    assert values.tolist() == pytest.approx(
        [0.7, 1.0], abs=1e-3
    )  # mean of 0.4 and 1; four times the mean of 0.1 and 0.5
    assert abs(counts[0] - 1000) < 6 * 22.4


@pytest.mark.parametrize("smaller", [False, True])
def test_boxes_have_the_areas_and_shapes_asked_for(smaller):
    with sample_random.sample_scope(sample_random.sample_keys(0, 0, 4000)):
        boxes, found = random_boxes(4000, (300, 200), (0.1, 0.5), (0.5, 2.0), smaller=smaller)
    assert found.all()
    top, left, height, width = boxes.T
    assert np.all((top >= 0) & (left >= 0) & (top + height <= 300) & (left + width <= 200))
    area, shape = height * width / 60_000, width / height
    assert 0.098 < area.min() < 0.105 and 0.45 < area.max() < 0.505
    assert 0.49 < shape.min() < 0.53 and 1.85 < shape.max() < 2.03
    assert abs(np.log(shape).mean()) < 0.05 and abs(area.mean() - 0.3) < 0.02
    # Places are even: the middle of the room that a box has.
    assert abs((top / np.maximum(1, 300 - height)).mean() - 0.5) < 0.03


def test_resized_crop_of_an_image_that_no_shape_fits_is_the_middle():
    strip = np.arange(40, dtype=np.uint8)[None].repeat(2, axis=0)  # 2 x 40
    crop = T.RandomResizedCrop((2, 3), (1.0, 1.0), (1.0, 1.5), "nearest")
    np.testing.assert_array_equal(crop(strip), strip[:, 18:21])
    np.testing.assert_array_equal(
        T.RandomResizedCrop((3, 2), (1.0, 1.0), (0.67, 1.0), "nearest")(strip.T), strip.T[18:21]
    )


def test_random_erasing_erases_one_rectangle_of_the_right_size():
    images = np.zeros((2000, 3, 20, 30), np.float32)
    with sample_random.sample_scope(sample_random.sample_keys(2, 0, 2000)):
        out, rows = T.RandomErasing(0.4, (0.1, 0.3), (0.5, 2.0), value=(1, 2, 3)).apply_batch(images, 2)
    assert rows == 2 and not images.any()
    area = np.count_nonzero(out[:, 0], axis=(1, 2)) / 600
    assert abs(np.mean(area > 0) - 0.4) < 6 * 0.011
    some = area[area > 0]
    assert 0.08 < some.min() < 0.11 and 0.28 < some.max() < 0.32
    for image in out[area > 0][:50]:
        ys, xs = np.nonzero(image[0])
        box = image[:, ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
        np.testing.assert_array_equal(box, np.broadcast_to([[[1]], [[2]], [[3]]], box.shape))
        assert 0.4 < box.shape[1] / box.shape[2] < 2.5


def test_random_erasing_with_noise_and_in_place():
    x = from_numpy(np.full((3, 40, 40), 9, np.float32))
    step = T.RandomErasing(1.0, (0.3, 0.3), (1, 1), value="random", inplace=True)
    assert step(x).numpy() is not None
    noise = x.numpy()[x.numpy() != 9]
    assert noise.size == 3 * 22 * 22 and abs(noise.mean()) < 0.15 and abs(noise.std() - 1) < 0.1
    y = from_numpy(np.zeros((1, 9, 9), np.float32))
    T.RandomErasing(1.0, value=1)(y)
    assert not y.numpy().any()


def test_shifts_of_affine_maps_are_whole_pixels_within_their_limits():
    image = np.zeros((1, 21, 31), np.float32)
    image[0, 10, 15] = 1
    places = np.argwhere(many(T.RandomAffine(0, (0.2, 0.1)), 1500, image)[:, 0])
    assert len(places) == 1500  # the point is there once, whole
    down, right = places[:, 1] - 10, places[:, 2] - 15
    assert (down.min(), down.max(), right.min(), right.max()) == (-2, 2, -6, 6)


# ---- mixup, cutmix ----


def batch(n: int = 6, classes: int = 4):
    images = np.random.default_rng(0).random((n, 2, 8, 10), dtype=np.float32)
    return images, np.arange(n) % classes


def test_mixup():
    images, labels = batch()
    got, shares = T.MixUp(num_classes=4)(from_numpy(images), from_numpy(labels))
    own = np.eye(4, dtype=np.float32)[labels]
    lam = shares.numpy()[0, 0]
    assert 0 < lam < 1 and got.dtype == shares.dtype == np.float32
    np.testing.assert_allclose(shares.numpy(), lam * own + (1 - lam) * np.roll(own, 1, axis=0), atol=1e-6)
    np.testing.assert_allclose(got.numpy(), lam * images + (1 - lam) * np.roll(images, 1, axis=0), atol=1e-6)


def test_cutmix():
    images, labels = batch()
    seen = set()
    for _ in range(30):
        got, shares = (part.numpy() for part in T.CutMix(num_classes=4)([from_numpy(images), from_numpy(labels)]))
        pasted = np.any(got != images, axis=1)
        for i in range(6):
            np.testing.assert_array_equal(pasted[i], pasted[0])
        np.testing.assert_array_equal(got, np.where(pasted[:, None], np.roll(images, 1, axis=0), images))
        ys, xs = np.nonzero(pasted[0])
        assert not ys.size or pasted[0, ys.min() : ys.max() + 1, xs.min() : xs.max() + 1].all()
        kept = 1 - pasted[0].mean()
        own = np.eye(4, dtype=np.float32)[labels]
        np.testing.assert_allclose(shares, kept * own + (1 - kept) * np.roll(own, 1, axis=0), atol=1e-6)
        seen.add(int(pasted[0].sum()))
    assert len(seen) > 10 and max(seen) > 30


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_the_share_has_the_beta_distributions_spread(alpha):
    mix = T.MixUp(alpha=alpha, num_classes=2)
    images, labels = from_numpy(np.zeros((2, 1, 1, 1), np.float32)), from_numpy(np.array([0, 1]))
    lam = np.array([mix(images, labels)[1].numpy()[0, 0] for _ in range(1000)])
    assert abs(lam.mean() - 0.5) < 0.06
    assert abs(lam.var() - 0.25 / (2 * alpha + 1)) < 0.03


def test_mixed_labels_train_as_shares():
    from numbanet.nn import functional as F

    images, labels = batch(8)
    loader = DataLoader(TensorDataset(images, labels), 4, collate_fn=T.MixUp(num_classes=4), generator=generator())
    for x, y in loader:
        assert isinstance(x, Tensor) and y.shape == (4, 4)
        np.testing.assert_allclose(y.numpy().sum(axis=1), 1, atol=1e-6)
        scores = from_numpy(np.random.default_rng(1).random((4, 4)).astype(np.float32))
        p = np.exp(scores.numpy()) / np.exp(scores.numpy()).sum(axis=1, keepdims=True)
        assert F.cross_entropy(scores, y).item() == pytest.approx(-(y.numpy() * np.log(p)).sum(axis=1).mean(), rel=1e-5)
    soft = T.MixUp()(x, y)
    assert isinstance(soft, tuple) and soft[1].shape == (4, 4)
    samples = [(from_numpy(images[i]), int(labels[i])) for i in range(3)]
    assert T.CutMix(num_classes=4)(samples)[0].shape == (3, 2, 8, 10)
    assert T.CutMix(num_classes=4)(Columns([images[:3], labels[:3]]))[1].shape == (3, 4)


def test_batch_generator_belongs_to_the_batch():
    def collate(samples):
        return [batch_generator().random(), batch_generator().random(), len(samples)]

    drawn = [
        list(DataLoader(Images(T.ToTensor()), 4, num_workers=workers, collate_fn=collate, generator=generator()))
        for workers in (0, 3)
    ]
    assert drawn[0] == drawn[1] and len({number for first, second, _ in drawn[0] for number in (first, second)}) == 8
    first, second = batch_generator().random(2), batch_generator().random(2)  # outside: the default generator
    assert len({*first, *second}) == 4


# ---- refusals ----

TENSOR = from_numpy(FLOATS.copy())
REFUSED = [
    (lambda: T.RandomVerticalFlip(1.5), ValueError, r"RandomVerticalFlip: p must be within \[0, 1\], got 1.5"),
    (lambda: T.RandomApply([T.ToTensor()], -1), ValueError, "RandomApply: p must be"),
    (lambda: T.RandomApply([3]), TypeError, "RandomApply takes a list of callables, got 3"),
    (lambda: T.Pad(-1), ValueError, "Pad: padding must be 1, 2 or 4 ints"),
    (lambda: T.Pad(1, padding_mode="wrap"), ValueError, "Pad: padding_mode must be"),
    (lambda: T.Pad(1, (1, 2))(COLOUR), ValueError, "fill has 2 values, the image has 3 channels"),
    (lambda: T.RandomResizedCrop(0), ValueError, "size must be positive"),
    (lambda: T.RandomResizedCrop(4, (0.5, 0.1)), ValueError, r"scale must be a pair \(min, max\) within \[0, 1\]"),
    (lambda: T.RandomResizedCrop(4, 0.5), ValueError, r"scale must be a pair \(min, max\), got 0.5"),
    (lambda: T.RandomResizedCrop(4, ratio=(0, 1)), ValueError, "ratio must be"),
    (lambda: T.RandomResizedCrop(4, interpolation="smooth"), ValueError, "one of nearest, bilinear"),
    (lambda: T.RandomResizedCrop(4, antialias=False)(TENSOR), ValueError, "antialias=False"),
    (lambda: T.RandomResizedCrop(4)(GREY.astype(np.int32)), TypeError, "uint8 or float images, got int32"),
    (lambda: T.RandomRotation(-5), ValueError, "degrees as a single number must not be negative"),
    (lambda: T.RandomRotation((5, 1)), ValueError, "degrees must be a pair"),
    (lambda: T.RandomRotation(5, "box"), ValueError, "one of nearest, bilinear, bicubic"),
    (lambda: T.RandomRotation(5, center=(1,)), ValueError, r"center must be \(x, y\)"),
    (lambda: T.RandomRotation(5, "bicubic")(TENSOR), ValueError, "not by bicubic"),
    (lambda: T.RandomRotation(5, fill=(1, 2))(TENSOR), ValueError, "fill has 2 values"),
    (lambda: T.RandomAffine(0, (2, 0)), ValueError, "translate must be two fractions"),
    (lambda: T.RandomAffine(0, scale=(0, 1)), ValueError, "scale must be"),
    (lambda: T.RandomAffine(0, shear=(1, 2, 3)), ValueError, "shear must be a pair"),
    (lambda: T.ColorJitter(-0.1), ValueError, "brightness as a single number must not be negative"),
    (lambda: T.ColorJitter(contrast=(2, 1)), ValueError, "contrast must be a pair"),
    (lambda: T.ColorJitter(saturation="x"), ValueError, "saturation must be a number or a pair"),
    (lambda: T.ColorJitter(hue=0.6), ValueError, r"hue must be a pair \(min, max\) within \[-0.5, 0.5\]"),
    (lambda: T.ColorJitter(0.1)(GREY.astype(np.float32)), TypeError, "uint8 images or Tensors, got an array of dtype"),
    (lambda: T.ColorJitter(0.1)(from_numpy(FLOATS[:2].copy())), ValueError, "1 or 3 channels"),
    (
        lambda: T.ColorJitter(0.1)(from_numpy(GREY[None].astype(np.int64))),
        TypeError,
        "uint8 or float tensors, got int64",
    ),
    (lambda: T.ColorJitter(0.1)(np.zeros((4, 4, 5), np.uint8)), ValueError, "1 to 4 channels, got 5"),
    (lambda: T.ColorJitter(0.1)(Image.fromarray(COLOUR).convert("P")), TypeError, r"mode P has no shades to mix"),
    (lambda: T.RandomRotation(5, "bilinear")(Image.fromarray(GREY > 9)), TypeError, "mode 1 has no shades"),
    (lambda: T.RandomVerticalFlip()(Image.fromarray(COLOUR).convert("CMYK")), TypeError, r"use image.convert\('RGB'\)"),
    (lambda: T.Grayscale(2), ValueError, "either 1 or 3, got 2"),
    (lambda: T.RandomErasing(value="noise"), ValueError, "or 'random', got 'noise'"),
    (lambda: T.RandomErasing(1.0, value=(1, 2))(TENSOR), ValueError, "value has 2 numbers, the image has 3"),
    (lambda: T.RandomErasing()(COLOUR), TypeError, r"put ToTensor\(\) before it"),
    (lambda: T.MixUp(alpha=0), ValueError, "alpha must be above 0"),
    (lambda: T.MixUp(num_classes=3)(TENSOR), TypeError, "images and labels, two Tensors"),
    (lambda: T.MixUp(num_classes=3)(TENSOR, TENSOR), ValueError, r"images \(N, C, H, W\) and labels"),
    (lambda: T.CutMix()(*map(from_numpy, batch())), ValueError, r"labels \(N,\) need num_classes"),
    (lambda: T.CutMix(num_classes=3)(*map(from_numpy, batch())), ValueError, "labels must be 0 to 2, got 0 to 3"),
    (
        lambda: T.MixUp(num_classes=4)(*(from_numpy(a.astype(np.uint8)) for a in batch())),
        TypeError,
        "float images, got uint8",
    ),
    (
        lambda: T.MixUp(num_classes=4)(*(from_numpy(a.astype(np.float32)) for a in batch())),
        TypeError,
        "whole numbers, got",
    ),
    (lambda: T.MixUp(num_classes=5)(from_numpy(batch(4)[0]), from_numpy(np.eye(4))), ValueError, "shares of 4 classes"),
]


@pytest.mark.parametrize(("call", "error", "match"), REFUSED, ids=[match[:40] for _, _, match in REFUSED])
def test_refusals(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_reprs_are_torchvisions():
    expected = {
        T.RandomVerticalFlip(): "RandomVerticalFlip(p=0.5)",
        T.Pad(2): "Pad(padding=2, fill=0, padding_mode=constant)",
        T.RandomResizedCrop(224): (
            "RandomResizedCrop(size=(224, 224), scale=(0.08, 1.0), ratio=(0.75, 1.3333), interpolation=bilinear, antialias=True)"
        ),
        T.RandomRotation(30): "RandomRotation(degrees=[-30.0, 30.0], interpolation=nearest, expand=False, fill=0)",
        T.RandomAffine(10, (0.1, 0.2), shear=5): (
            "RandomAffine(degrees=[-10.0, 10.0], translate=(0.1, 0.2), shear=[-5.0, 5.0])"
        ),
        T.Grayscale(3): "Grayscale(num_output_channels=3)",
        T.RandomGrayscale(): "RandomGrayscale(p=0.1)",
        T.RandomErasing(): "RandomErasing(p=0.5, scale=(0.02, 0.33), ratio=(0.3, 3.3), value=0, inplace=False)",
        T.RandomApply([T.Pad(1)]): "RandomApply(\n    p=0.5\n    Pad(padding=1, fill=0, padding_mode=constant)\n)",
    }
    for transform, text in expected.items():
        assert repr(transform) == text
