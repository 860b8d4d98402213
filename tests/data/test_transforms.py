"""Transforms: torchvision's semantics, checked against Pillow, PyTorch and written-out formulas."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import numbanet.random
from numbanet.data import transforms as T
from numbanet.tensor import Tensor, from_numpy

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (11, 8), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (11, 8, 3), dtype=np.uint8)
FLOATS = RNG.random((3, 11, 8), dtype=np.float32)  # (C, H, W)


@pytest.fixture(autouse=True)
def seeded():
    before = numbanet.random.default_generator.get_state()
    numbanet.random.default_generator.manual_seed(0)
    yield
    numbanet.random.default_generator.set_state(before)


# ---- ToTensor ----


@pytest.mark.parametrize("as_pil", [True, False])
@pytest.mark.parametrize("image", [GREY, COLOUR], ids=["grey", "colour"])
def test_to_tensor_scales_and_moves_channels_first(image, as_pil):
    torch = pytest.importorskip("torch")
    out = T.ToTensor()(Image.fromarray(image) if as_pil else image)
    array = image[:, :, None] if image.ndim == 2 else image
    expected = torch.from_numpy(array.copy()).permute(2, 0, 1).to(torch.float32).div(255).numpy()
    assert isinstance(out, Tensor) and out.dtype == np.float32
    assert out.shape == expected.shape
    np.testing.assert_array_equal(out.numpy(), expected)
    assert out.numpy().flags.c_contiguous


def test_to_tensor_keeps_values_of_other_types():
    floats = T.ToTensor()(GREY.astype(np.float64) * 3)
    assert floats.dtype == np.float64 and floats.numpy().max() == GREY.max() * 3.0
    modes = {"I": np.int32, "F": np.float32}
    for mode, dtype in modes.items():
        out = T.ToTensor()(Image.fromarray(GREY).convert(mode))
        assert out.dtype == dtype
        np.testing.assert_array_equal(out.numpy()[0], GREY)
    bits = T.ToTensor()(Image.fromarray(GREY > 127))
    np.testing.assert_array_equal(bits.numpy()[0], (GREY > 127).astype(np.float32))


def test_to_tensor_does_not_share_memory_and_takes_strided_arrays():
    image = np.ones((4, 4), np.float32)
    out = T.ToTensor()(image[::-1, ::2])
    assert out.shape == (1, 4, 2)
    np.testing.assert_array_equal(T.ToTensor()(GREY[::-1, ::2]).numpy()[0], GREY[::-1, ::2] / np.float32(255))


def test_to_tensor_errors():
    with pytest.raises(TypeError, match="PIL image or a ndarray"):
        T.ToTensor()(from_numpy(FLOATS))
    with pytest.raises(ValueError, match=r"\(H, W\) or \(H, W, C\), got \(1, 2, 3, 4\)"):
        T.ToTensor()(np.zeros((1, 2, 3, 4)))


# ---- Normalize ----


@pytest.mark.parametrize(
    ("mean", "std"), [((0.5, 0.4, 0.3), (0.1, 0.2, 0.3)), ([0.5], [0.25]), (0.1, 2.0), ((0.1, 0.2, 0.3), 1.5)]
)
def test_normalize_as_pytorchs_formula(mean, std):
    torch = pytest.importorskip("torch")
    x = from_numpy(FLOATS.copy())
    out = T.Normalize(mean, std)(x)
    column = [torch.as_tensor(v, dtype=torch.float32).reshape(-1, 1, 1) for v in (mean, std)]
    np.testing.assert_array_equal(out.numpy(), (torch.from_numpy(FLOATS) - column[0]).div(column[1]).numpy())
    np.testing.assert_array_equal(x.numpy(), FLOATS)  # not changed
    assert out.dtype == np.float32


def test_normalize_inplace_and_batches():
    x = from_numpy(FLOATS.copy())
    assert T.Normalize(0.5, 2.0, inplace=True)(x) is x
    np.testing.assert_array_equal(x.numpy(), (FLOATS - np.float32(0.5)) / np.float32(2))
    batch = from_numpy(np.stack([FLOATS, FLOATS * 2]))
    means = (0.1, 0.2, 0.3)
    np.testing.assert_array_equal(
        T.Normalize(means, means)(batch).numpy()[0], T.Normalize(means, means)(from_numpy(FLOATS)).numpy()
    )


def test_normalize_errors():
    with pytest.raises(ValueError, match="division by zero"):
        T.Normalize((0.5, 0.5), (1.0, 0.0))
    with pytest.raises(TypeError, match="put ToTensor"):
        T.Normalize(0.5, 0.5)(Image.fromarray(GREY))
    with pytest.raises(TypeError, match="float tensor, got uint8"):
        T.Normalize(0.5, 0.5)(from_numpy(COLOUR))
    with pytest.raises(ValueError, match="mean has 2 values, the image has 3 channels"):
        T.Normalize((0.5, 0.5), 0.5)(from_numpy(FLOATS))
    with pytest.raises(ValueError, match=r"\(\.\.\., C, H, W\)"):
        T.Normalize(0.5, 0.5)(from_numpy(FLOATS[0]))


# ---- Resize ----


@pytest.mark.parametrize(
    ("size", "max_size", "expected"),
    [
        (4, None, (5, 4)),  # (11, 8): the shorter side becomes 4, the longer int(4 * 11 / 8)
        ([4], None, (5, 4)),
        (16, None, (22, 16)),
        ((7, 30), None, (7, 30)),
        (16, 20, (20, 14)),
        (8, None, (11, 8)),
    ],
)
def test_resize_sizes(size, max_size, expected):
    resize = T.Resize(size, max_size=max_size)
    assert resize(Image.fromarray(GREY)).size == expected[::-1]
    assert resize(GREY).shape == expected
    assert resize(COLOUR).shape == (*expected, 3)
    assert resize(from_numpy(FLOATS)).shape == (3, *expected)


@pytest.mark.parametrize("mode", list(T.InterpolationMode))
def test_resize_is_pillows(mode):
    filter_ = getattr(Image.Resampling, mode.name)
    for image in (GREY, COLOUR):
        expected = np.asarray(Image.fromarray(image).resize((20, 5), filter_))
        np.testing.assert_array_equal(np.asarray(T.Resize((5, 20), mode)(Image.fromarray(image))), expected)
        np.testing.assert_array_equal(T.Resize((5, 20), mode.value)(image), expected)
    out = T.Resize((5, 20), mode)(from_numpy(FLOATS)).numpy()
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out[1], np.asarray(Image.fromarray(FLOATS[1]).resize((20, 5), filter_)))


@pytest.mark.parametrize("size", [(5, 4), (23, 20)])
def test_resize_of_tensors_agrees_with_pytorchs_antialiased_interpolation(size):
    torch = pytest.importorskip("torch")
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(FLOATS)[None], size=size, mode="bilinear", align_corners=False, antialias=True
    )[0]
    np.testing.assert_allclose(T.Resize(size)(from_numpy(FLOATS)).numpy(), expected.numpy(), atol=1e-5)


def test_resize_errors():
    for bad in ("28", (1, 2, 3), None, 2.5):
        with pytest.raises(ValueError, match="int or a sequence"):
            T.Resize(bad)  # type: ignore[arg-type]
    for bad in (0, (4, -1)):
        with pytest.raises(ValueError, match="positive"):
            T.Resize(bad)
    with pytest.raises(ValueError, match="one of nearest, bilinear"):
        T.Resize(4, "smooth")
    for size, max_size in (((4, 4), 9), (4, 4)):
        with pytest.raises(ValueError, match="max_size"):
            T.Resize(size, max_size=max_size)
    with pytest.raises(ValueError, match="antialias=False"):
        T.Resize(4, antialias=False)(from_numpy(FLOATS))
    with pytest.raises(TypeError, match="uint8 or float"):
        T.Resize(4)(GREY.astype(np.int32))
    with pytest.raises(TypeError, match=r"Resize\(size=4.*got <class 'str'>"):
        T.Resize(4)("image.png")


# ---- crops and flips ----


def test_flip():
    always, never = T.RandomHorizontalFlip(1.0), T.RandomHorizontalFlip(0.0)
    np.testing.assert_array_equal(np.asarray(always(Image.fromarray(COLOUR))), COLOUR[:, ::-1])
    np.testing.assert_array_equal(always(GREY), GREY[:, ::-1])
    np.testing.assert_array_equal(always(from_numpy(FLOATS)).numpy(), FLOATS[:, :, ::-1])
    np.testing.assert_array_equal(never(COLOUR), COLOUR)
    half = T.RandomHorizontalFlip()
    flipped = sum(bool(np.all(half(GREY) == GREY[:, ::-1])) for _ in range(400))
    assert 140 < flipped < 260  # sigma 10
    with pytest.raises(ValueError, match="p must be"):
        T.RandomHorizontalFlip(1.5)


@pytest.mark.parametrize("kind", ["pil", "array", "tensor"])
def test_random_crop_takes_every_window_of_the_padded_image(kind):
    crop = T.RandomCrop((10, 8), padding=(0, 1, 0, 1))  # left, top, right, bottom
    padded = np.pad(COLOUR, ((1, 1), (0, 0), (0, 0)))
    seen = set()
    for _ in range(60):
        if kind == "pil":
            out = np.asarray(crop(Image.fromarray(COLOUR)))
        elif kind == "array":
            out = crop(COLOUR)
        else:
            out = crop(from_numpy(COLOUR.transpose(2, 0, 1).copy())).numpy().transpose(1, 2, 0)
        places = [top for top in range(4) if np.array_equal(out, padded[top : top + 10])]
        assert len(places) == 1
        seen.add(places[0])
    assert seen == {0, 1, 2, 3}


def test_random_crop_padding_variants():
    same = T.RandomCrop((13, 12), padding=[2, 1])
    np.testing.assert_array_equal(same(GREY), np.pad(GREY, ((1, 1), (2, 2))))
    filled = T.RandomCrop((13, 10), padding=1, fill=9)
    np.testing.assert_array_equal(filled(GREY), np.pad(GREY, 1, constant_values=9))
    for mode in ("edge", "reflect", "symmetric"):
        np.testing.assert_array_equal(T.RandomCrop((13, 10), 1, padding_mode=mode)(GREY), np.pad(GREY, 1, mode=mode))
    assert T.RandomCrop(20, pad_if_needed=True)(COLOUR).shape == (20, 20, 3)
    leading = T.RandomCrop(4)(from_numpy(np.zeros((2, 3, 5, 6, 7), np.float32)))
    assert leading.shape == (2, 3, 5, 4, 4)


def test_random_crop_errors():
    with pytest.raises(ValueError, match=r"crop size \(12, 12\) is larger than input image size \(11, 8\)"):
        T.RandomCrop(12)(GREY)
    with pytest.raises(ValueError, match="padding_mode"):
        T.RandomCrop(4, padding_mode="wrap")
    for padding in ((1, 2, 3), -1):
        with pytest.raises(ValueError, match="padding must be"):
            T.RandomCrop(4, padding=padding)
    with pytest.raises(ValueError, match="positive"):
        T.RandomCrop(0)
    with pytest.raises(ValueError, match=r"\(\.\.\., H, W\)"):
        T.RandomCrop(1)(from_numpy(np.zeros(3, np.float32)))


def test_center_crop():
    np.testing.assert_array_equal(T.CenterCrop((5, 4))(GREY), GREY[3:8, 2:6])
    np.testing.assert_array_equal(T.CenterCrop(4)(from_numpy(FLOATS)).numpy(), FLOATS[:, 4:8, 2:6])
    assert T.CenterCrop(4)(Image.fromarray(COLOUR)).size == (4, 4)
    grown = T.CenterCrop((14, 8))(GREY)  # torchvision: 1 row above, 2 below
    np.testing.assert_array_equal(grown, np.pad(GREY, ((1, 2), (0, 0))))


def test_palette_images_keep_their_colours():
    image = Image.fromarray(COLOUR).convert("P")
    flipped = T.RandomHorizontalFlip(1.0)(image)
    assert flipped.mode == "P"
    np.testing.assert_array_equal(np.asarray(flipped.convert("RGB")), np.asarray(image.convert("RGB"))[:, ::-1])


def test_random_transforms_follow_the_default_generator():
    crop = T.RandomCrop(5)
    first = [crop(GREY) for _ in range(5)]
    numbanet.random.default_generator.manual_seed(0)
    np.testing.assert_array_equal(first, [crop(GREY) for _ in range(5)])


# ---- Compose, Lambda, repr ----


def test_compose_and_lambda():
    steps = T.Compose([T.Lambda(lambda image: image.rotate(180)), T.ToTensor()])
    np.testing.assert_array_equal(steps(Image.fromarray(GREY)).numpy()[0], GREY[::-1, ::-1] / np.float32(255))
    with pytest.raises(TypeError, match="list of callables, got 3"):
        T.Compose([T.ToTensor(), 3])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="lambd should be callable, got int"):
        T.Lambda(3)  # type: ignore[arg-type]


def test_reprs_are_torchvisions():
    steps = [
        T.Resize(224),
        T.CenterCrop(10),
        T.RandomCrop(32, padding=4),
        T.RandomHorizontalFlip(),
        T.Lambda(abs),
        T.ToTensor(),
        T.Normalize((0.5,), (0.25,)),
    ]
    assert repr(T.Compose(steps)) == (
        "Compose(\n"
        "    Resize(size=224, interpolation=bilinear, max_size=None, antialias=True)\n"
        "    CenterCrop(size=(10, 10))\n"
        "    RandomCrop(size=(32, 32), padding=4)\n"
        "    RandomHorizontalFlip(p=0.5)\n"
        "    Lambda()\n"
        "    ToTensor()\n"
        "    Normalize(mean=(0.5,), std=(0.25,))\n"
        ")"
    )
