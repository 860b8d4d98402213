"""Embeddings: a siamese network learns which Fashion-MNIST images are alike, and is then asked for the nearest neighbours.

    python examples/siamese_fashion.py [--loss triplet|contrastive] [--epochs 6] [--full] [--out runs/siamese_fashion.png]

Prints retrieval accuracy: the part of test images whose nearest neighbours among the training images are of their class. Draws
the embedding of the test images in its two main directions, and some images with their neighbours.
"""

import argparse
from pathlib import Path

import numpy as np

import numbanet
from numbanet import nn, optim
from numbanet.data import FashionMNIST, load_fashion_mnist_sample
from numbanet.models import SiameseNetwork
from numbanet.models.siamese import semi_hard_triplets
from numbanet.nn import functional as F


def backbone(dimensions):
    return nn.Sequential(
        nn.Conv2d(1, 16, kernel_size=5, padding=2), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, kernel_size=5, padding=2), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 64), nn.ReLU(),
        nn.Linear(64, dimensions),
    )  # fmt: skip


def load(train, full):
    """Images float32 (N, 1, 28, 28) and labels int64 (N,): the sample, or with --full all there are."""
    if full:
        data = FashionMNIST(train=train)
        images, labels = data.data, data.targets
    else:
        images, labels = load_fashion_mnist_sample(train)
    return numbanet.from_numpy((images[:, None] / 255).astype(np.float32)), numbanet.from_numpy(labels.astype(np.int64))


def batches(labels, classes, each):
    """Batches with ``each`` images of every class, so that there are pairs to compare; all images once per epoch."""
    by_class = [np.random.permutation(np.flatnonzero(labels == c)) for c in range(classes)]
    for i in range(min(map(len, by_class)) // each):
        yield np.concatenate([rows[i * each : (i + 1) * each] for rows in by_class])


def triplet_loss(net, X, y):
    z = net.embed(X)
    anchor, positive, negative = semi_hard_triplets(z, y)
    return F.triplet_margin_loss(z[anchor], z[positive], z[negative], margin=0.3)


def contrastive_loss(net, X, y):
    """Each image with one of its class, and with one of another class."""
    labels = y.numpy()
    partners = [
        np.random.choice(np.flatnonzero((labels == label) == alike)) for alike in (True, False) for label in labels
    ]
    left, right = net(numbanet.cat([X, X]), X[numbanet.tensor(partners)])
    different = numbanet.tensor(labels[partners] != np.tile(labels, 2))
    return F.contrastive_loss(left, right, different, margin=1.0)


LOSSES = {"triplet": triplet_loss, "contrastive": contrastive_loss}


def embed(net, X):
    net.eval()
    with numbanet.no_grad():
        return numbanet.cat([net.embed(part) for part in X.split(250)]).numpy()


def neighbours(queries, gallery, k):
    """The numbers of the k nearest of the gallery, nearest first, (queries, k)."""
    distances = (gallery**2).sum(axis=1) - 2 * queries @ gallery.T
    return np.argsort(distances, axis=1)[:, :k]


def retrieval_accuracy(net, train_data, test_data, k=5):
    nearest = neighbours(embed(net, test_data[0]), embed(net, train_data[0]), k)
    alike = train_data[1].numpy()[nearest] == test_data[1].numpy()[:, None]
    return alike[:, 0].mean(), alike.mean()


def draw(net, train_data, test_data, path):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    z, labels = embed(net, test_data[0]), test_data[1].numpy()
    # The two directions of the largest variance.
    centred = z - z.mean(axis=0)
    plane = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
    explained = plane.var(axis=0).sum() / centred.var(axis=0).sum()
    figure = Figure(figsize=(12, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subfigures(1, 2, width_ratios=(1.25, 1))
    axes = left.subplots()
    colours = [f"C{c}" for c in range(10)]
    for c, name in enumerate(FashionMNIST.classes):
        axes.scatter(*plane[labels == c].T, s=9, color=colours[c], label=name, alpha=0.75)
    axes.set(
        title=f"test images, {z.shape[1]}-D embedding seen from its two main directions\n({explained:.0%} of the variance)",
        xlabel="first principal component",
        ylabel="second principal component",
    )
    left.legend(loc="outside right center", markerscale=2, frameon=False)
    queries = [np.flatnonzero(labels == c)[0] for c in range(10)]
    nearest = neighbours(z[queries], embed(net, train_data[0]), 6)
    grid = right.subplots(10, 7)
    right.suptitle(
        "a test image of each class, and its six nearest training images\n(frame: green of the same class, red of another)",
        fontsize=10,
    )
    for row, query in enumerate(queries):
        shown = [(test_data[0][query], None)]
        shown += [(train_data[0][i], int(train_data[1][i]) == row) for i in nearest[row].tolist()]
        for axes, (image, alike) in zip(grid[row], shown, strict=True):
            axes.imshow(image.numpy()[0], cmap="gray_r", vmin=0, vmax=1)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set(color="#bbbbbb" if alike is None else "#2a9d3a" if alike else "#d62728", linewidth=1.6)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print(f"picture  {path}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loss", choices=LOSSES, default="triplet")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--images", type=int, default=5000, help="of the sample, to train on")
    parser.add_argument("--dimensions", type=int, default=16, help="of the embedding")
    parser.add_argument("--each", type=int, default=8, help="images of each class in a batch")
    parser.add_argument("--lr", type=float, default=0.002)
    parser.add_argument("--out", type=Path, default=Path("runs/siamese_fashion.png"))
    parser.add_argument("--full", action="store_true", help="all 60,000 images, 10 epochs")
    args = parser.parse_args()
    if args.full:
        args.images, args.epochs = 60000, 10

    numbanet.manual_seed(0)
    np.random.seed(0)
    train_data = tuple(part[: args.images] for part in load(True, args.full))
    test_data = load(False, args.full)
    net = SiameseNetwork(backbone(args.dimensions), normalize=True)
    optimizer = optim.Adam(net.parameters(), lr=args.lr)
    near, several = retrieval_accuracy(net, train_data, test_data)
    print(f"before training: nearest neighbour {near:.3f}, five nearest {several:.3f} of the right class")
    for epoch in range(args.epochs):
        net.train()
        losses = []
        for rows in batches(train_data[1].numpy(), 10, args.each):
            rows = numbanet.from_numpy(rows)
            optimizer.zero_grad()
            loss = LOSSES[args.loss](net, train_data[0][rows], train_data[1][rows])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        near, several = retrieval_accuracy(net, train_data, test_data)
        print(
            f"epoch {epoch + 1}: {args.loss} loss {np.mean(losses):.3f}, nearest neighbour {near:.3f}, "
            f"five nearest {several:.3f} of the right class"
        )
    try:
        draw(net, train_data, test_data, args.out)
    except ModuleNotFoundError:
        print("picture  none: pip install 'numbanet[plot]' to have it drawn")
