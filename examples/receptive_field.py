"""What a pixel of a feature map sees of the image: computed, measured and drawn.

    python examples/receptive_field.py [--full] [--output runs/receptive_field]

What is measured is a mean over 64 test images of Fashion-MNIST, with --full over all 10,000. The picture needs matplotlib.
"""

import argparse
from pathlib import Path

import numpy as np

import numbanet
from numbanet import inspect, nn
from numbanet.data import FashionMNIST

# Three layers of 3 x 3 see as much as one of 7 x 7, with fewer parameters and two nonlinearities more.
three = nn.Sequential(nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3))
one = nn.Conv2d(16, 16, 7)
for net in (three, one):
    found = inspect.summary(net, (1, 16, 32, 32))
    print(
        f"{found.name:<12} field {found.rows[-1].field}, {found.parameters:,} parameters, {found.macs:,} multiply-adds"
    )

# Ways to a large field, side by side: plain layers, dilated ones, strides.
ways = {
    "four plain layers": [nn.Conv2d(1, 1, 3, padding=1) for _ in range(4)],
    "dilation 1, 2, 4, 8": [nn.Conv2d(1, 1, 3, padding=d, dilation=d) for d in (1, 2, 4, 8)],
    "stride 2 each": [nn.Conv2d(1, 1, 3, padding=1, stride=2) for _ in range(4)],
}
for name, layers in ways.items():
    field = inspect.receptive_field(nn.Sequential(*layers), (1, 1, 64, 64))
    print(f"{name:<20} field {field}, stride {field.stride[0]}, padding {field.padding[0]}")


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn1, self.bn2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, x):
        return nn.functional.relu(self.bn2(self.conv2(nn.functional.relu(self.bn1(self.conv1(x))))) + x)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="measure on all test images of Fashion-MNIST")
    parser.add_argument("--output", default="runs/receptive_field", help="folder for the picture")
    args = parser.parse_args()
    out = Path(args.output)
    out.mkdir(parents=True, exist_ok=True)

    numbanet.manual_seed(0)
    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 16, 7, stride=2, padding=3), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)),
        Residual(16), Residual(16), Residual(16), Residual(16),
    )  # fmt: skip
    print(inspect.summary(net, (1, 1, 112, 112), depth=1))

    # Sixteen garments as one image of 112 x 112 pixels; the gradient is averaged over such images.
    pixels = FashionMNIST(train=False, sample=not args.full).data[: None if args.full else 64] / np.float32(255)
    mosaics = pixels.reshape(-1, 4, 4, 28, 28).transpose(0, 1, 3, 2, 4).reshape(-1, 1, 112, 112)
    images = numbanet.tensor(np.ascontiguousarray(mosaics))
    inspect.plot_receptive_field(net, images, ("0.0", "0", "2", "4"), out / "receptive_field.png")
    inspect.graph(net, (1, 1, 112, 112)).save(out / "net.svg")

    # Of all that the last layer could see, most of the gradient comes from the middle.
    heat = inspect.receptive_field_gradient(net, images, "4")
    (top, bottom), (left, right) = inspect.receptive_field(net, images, "4").window((14, 14))
    inside = heat[max(top, 0) : bottom + 1, max(left, 0) : right + 1]
    middle = inside[len(inside) // 4 : -(len(inside) // 4), len(inside) // 4 : -(len(inside) // 4)]
    print(f"gradient outside the computed field: {heat.sum() - inside.sum():.3g}")
    print(f"share of the gradient in the middle quarter of it: {middle.sum() / heat.sum():.2f}")
    for path in sorted(out.glob("*.*")):
        print(path)
