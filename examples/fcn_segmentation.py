"""A class for every pixel: FCN and U-Net learn to cut out circles, squares and triangles that are drawn on the spot.

    python examples/fcn_segmentation.py [--epochs 10] [--images 1200] [--full] [--out runs/fcn_segmentation.png]

Prints pixel accuracy and mean intersection over union, and draws images, truth and both networks' answers.
"""

import argparse
from pathlib import Path

import numpy as np

import numbanet
from numbanet import nn, optim
from numbanet.data import DataLoader, SyntheticShapes, TensorDataset
from numbanet.models import FCN, UNet, features
from numbanet.nn import functional as F
from numbanet.train import confusion_matrix, mean_iou

CLASSES = SyntheticShapes.classes  # background, circle, square, triangle


class Residual(nn.Module):
    def __init__(self, input_channels, num_channels):
        super().__init__()
        self.conv1 = nn.Conv2d(input_channels, num_channels, kernel_size=3, padding=1, stride=2)
        self.conv2 = nn.Conv2d(num_channels, num_channels, kernel_size=3, padding=1)
        self.conv3 = nn.Conv2d(input_channels, num_channels, kernel_size=1, stride=2)
        self.bn1 = nn.BatchNorm2d(num_channels)
        self.bn2 = nn.BatchNorm2d(num_channels)

    def forward(self, X):
        Y = F.relu(self.bn1(self.conv1(X)))
        return F.relu(self.bn2(self.conv2(Y)) + self.conv3(X))


def fcn():
    """Scores of a small ResNet's maps of 16 x 16, 8 x 8 and 4 x 4 places, enlarged and added up."""
    body = nn.Sequential(
        nn.Conv2d(3, 16, kernel_size=3, padding=1, stride=2), nn.BatchNorm2d(16), nn.ReLU(),
        Residual(16, 32), Residual(32, 64), Residual(64, 128),
    )  # fmt: skip
    return FCN(features(body, ["3", "4", "5"]), channels=[32, 64, 128], strides=[4, 8, 16], num_classes=len(CLASSES))


def unet():
    """Four levels down, three up again; the encoder's maps go to the decoder whole."""
    return UNet(len(CLASSES), in_channels=3, channels=(8, 16, 32, 64), padding=1, batch_norm=True, dropout=0.0)


def drawn(length, size, seed):
    """Images and the classes of their pixels, drawn once."""
    samples = list(SyntheticShapes(length, size, seed=seed, target="segmentation"))
    return TensorDataset(*(numbanet.stack(column) for column in zip(*samples, strict=True)))


def evaluate(net, data):
    net.eval()
    matrix = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    with numbanet.no_grad():
        for X, y in DataLoader(data, 50):
            matrix += confusion_matrix(net(X).argmax(1).flatten(), y.flatten(), len(CLASSES))
    return matrix.trace() / matrix.sum(), mean_iou(matrix)


def train(name, net, train_data, test_data, epochs, batch_size, lr):
    print(f"{name}: {sum(p.numel() for p in net.parameters()):,} parameters")
    loader = DataLoader(train_data, batch_size, shuffle=True)
    optimizer = optim.Adam(net.parameters(), lr=lr)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=epochs * len(loader))
    for epoch in range(epochs):
        net.train()
        total = 0.0
        for X, y in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(X), y)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(X)
        accuracy, iou = evaluate(net, test_data)
        print(
            f"{name}, epoch {epoch + 1}: loss {total / len(train_data):.3f}, test pixel accuracy {accuracy:.3f}, "
            f"mean IoU {iou:.3f}"
        )


def draw(nets, data, path, count=7):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    X, y = data[:count]
    with numbanet.no_grad():
        rows = {"image": X, "truth": y} | {name: net(X).argmax(1) for name, net in nets.items()}
    colours = ["#303030", "#ffb000", "#2f9bff", "#e0409f"]
    classes = {"cmap": ListedColormap(colours), "vmin": 0, "vmax": len(CLASSES) - 1, "interpolation": "nearest"}
    figure = Figure(figsize=(1.6 * count, 1.6 * len(rows) + 0.7), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(rows), count, squeeze=False)
    for (name, pictures), line in zip(rows.items(), panels, strict=True):
        for axes, picture in zip(line, pictures.numpy(), strict=True):
            if name == "image":
                axes.imshow(picture.transpose(1, 2, 0))
            else:
                axes.imshow(picture, **classes)
            axes.set_xticks([])
            axes.set_yticks([])
        line[0].set_ylabel(name, fontsize=12)
    figure.suptitle("test images and the class of each pixel")
    patches = [Patch(color=colour, label=name) for colour, name in zip(colours, CLASSES, strict=True)]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(CLASSES), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print(f"picture  {path}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--images", type=int, default=1200, help="to train on")
    parser.add_argument("--size", type=int, default=64, help="of the images, in pixels")
    parser.add_argument("--batch-size", type=int, default=20)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--out", type=Path, default=Path("runs/fcn_segmentation.png"))
    parser.add_argument("--full", action="store_true", help="4,000 images, 20 epochs")
    args = parser.parse_args()
    if args.full:
        args.images, args.epochs = 4000, 20

    numbanet.manual_seed(0)
    train_data, test_data = drawn(args.images, args.size, seed=0), drawn(max(args.images // 5, 20), args.size, seed=1)
    nets = {"FCN": fcn(), "U-Net": unet()}
    for name, net in nets.items():
        train(name, net, train_data, test_data, args.epochs, args.batch_size, args.lr)
    try:
        draw(nets, test_data, args.out)
    except ModuleNotFoundError:
        print("picture  none: pip install 'numbanet[plot]' to have it drawn")
