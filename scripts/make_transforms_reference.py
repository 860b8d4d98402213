"""Record what torchvision makes of a few small images: tests/data/torchvision.npz, which the tests compare with.

    python scripts/make_transforms_reference.py        # needs torchvision, and nothing of numbanet

Each case is a class of torchvision.transforms whose arguments leave nothing to chance, or (``affine``) the function
behind one. The file holds the images, the cases as JSON and the result of each case for each image that it takes.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import functional

TARGET = Path(__file__).parent.parent / "tests" / "data" / "torchvision.npz"

CASES = [
    *(("ColorJitter", {name: [v, v]}) for name in ("brightness", "contrast") for v in (0.0, 0.3, 0.77, 1.6)),
    *(("ColorJitter", {"saturation": [v, v]}) for v in (0.0, 0.77, 1.6)),
    *(("ColorJitter", {"hue": [v, v]}) for v in (-0.5, -0.21, 0.1, 0.37, 0.5)),
    *(("Grayscale", {"num_output_channels": n}) for n in (1, 3)),
    *(
        ("RandomRotation", {"degrees": [angle, angle], "interpolation": mode, "expand": expand, "fill": 9})
        for angle, mode, expand in (
            (17.3, "nearest", False),
            (-45.5, "bilinear", False),
            (133.0, "nearest", True),
            (200.7, "bilinear", True),
            (30.0, "bicubic", False),
        )
    ),
    ("RandomRotation", {"degrees": [77, 77], "interpolation": "bilinear", "center": [2, 3]}),
    *(
        ("affine", {"angle": 23.0, "translate": [2, -1], "scale": 1.3, "shear": [10.0, -7.0], "interpolation": mode})
        for mode in ("nearest", "bilinear")
    ),
    ("affine", {"angle": -63.3, "translate": [0, 3], "scale": 0.7, "shear": [0.0, 17.0], "center": [3, 4]}),
    ("Pad", {"padding": [1, 2, 0, 3], "fill": 5}),
    ("Pad", {"padding": [3, 1], "padding_mode": "reflect"}),
    ("RandomResizedCrop", {"size": [20, 5], "scale": [1, 1], "ratio": [8 / 11, 8 / 11]}),
    ("RandomVerticalFlip", {"p": 1.0}),
]


def images() -> dict[str, np.ndarray]:
    """Small images; the first rows are grey, black and white, where hue and saturation have their special cases."""
    rng = np.random.default_rng(5)
    grey, rgb = rng.integers(0, 256, (11, 8), dtype=np.uint8), rng.integers(0, 256, (11, 8, 3), dtype=np.uint8)
    rgb[0], rgb[1], rgb[2] = rgb[0, :, :1], 0, 255
    floats = rng.random((3, 11, 8), dtype=np.float32)
    floats[:, 0], floats[:, 1], floats[:, 2] = 0.25, 0, 1
    return {"grey": grey, "rgb": rgb, "float": floats}


def inputs(arrays: dict[str, np.ndarray]) -> dict[str, object]:
    """PIL images and tensors."""
    floats = torch.from_numpy(arrays["float"])
    return {
        "pil grey": Image.fromarray(arrays["grey"]),
        "pil rgb": Image.fromarray(arrays["rgb"]),
        "tensor rgb": floats,
        "tensor grey": floats[:1],
        "tensor uint8": torch.from_numpy(arrays["rgb"].transpose(2, 0, 1).copy()),
    }


def apply(name: str, arguments: dict, image: object) -> object:
    """The result of one case."""
    arguments = dict(arguments)
    if "interpolation" in arguments:
        arguments["interpolation"] = transforms.InterpolationMode(arguments["interpolation"])
    if name == "affine":  # the class always gives a fill
        channels = functional.get_dimensions(image)[0]
        return functional.affine(image, fill=[0.0] * channels, **arguments)
    return getattr(transforms, name)(**arguments)(image)


def main() -> None:
    """Write the file."""
    arrays = images()
    results = {}
    for number, (name, arguments) in enumerate(CASES):
        for kind, image in inputs(arrays).items():
            if arguments.get("interpolation") == "bicubic" and kind.startswith("tensor"):
                continue  # torchvision has none
            results[f"{number} {kind}"] = np.asarray(apply(name, arguments, image))
    np.savez_compressed(TARGET, cases=json.dumps(CASES), **arrays, **results)
    print(f"{len(results)} results, {TARGET.stat().st_size} bytes in {TARGET}")


if __name__ == "__main__":
    main()
