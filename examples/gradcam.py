"""Train a small network for a minute, then look into it: filters, feature maps, Grad-CAM, occlusion, confusions.

    python examples/gradcam.py [--epochs 8] [--full] [--output runs/gradcam] [--device cpu]

Trains on the 5,000 images of the embedded sample of Fashion-MNIST, with --full on all 60,000. Needs matplotlib.
"""

import argparse
from pathlib import Path

import numpy as np

import numbanet
from numbanet import inspect, nn, optim, train
from numbanet.data import DataLoader, FashionMNIST, TensorDataset, load_fashion_mnist_sample, transforms


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            *self.block(1, 16), *self.block(16, 16), nn.MaxPool2d(2),
            *self.block(16, 32), *self.block(32, 32), nn.MaxPool2d(2),
            *self.block(32, 64), *self.block(64, 64),
        )  # fmt: skip
        self.classifier = nn.Linear(64, 10)

    @staticmethod
    def block(inputs, outputs):
        return nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


def data(full, train, count=None):
    if full:
        return FashionMNIST(train=train, transform=transforms.ToTensor())
    images, labels = load_fashion_mnist_sample(train)
    return TensorDataset(numbanet.tensor(images[:count, None] / np.float32(255)), numbanet.tensor(labels[:count]))


def first_of_each_class(dataset, wanted):
    found = {}
    for image, label in (dataset[i] for i in range(len(dataset))):
        found.setdefault(int(label), image)
        if len(found) == 10:
            break
    return numbanet.stack([found[label] for label in wanted])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--images", type=int, default=5000, help="training images of the sample")
    parser.add_argument("--full", action="store_true", help="train on all images of Fashion-MNIST")
    parser.add_argument("--output", default="runs/gradcam", help="folder for the pictures")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    out = Path(args.output)
    out.mkdir(parents=True, exist_ok=True)

    numbanet.manual_seed(0)
    net = Net().to(args.device)
    test_set = data(args.full, train=False)
    optimizer = optim.Adam(net.parameters(), lr=0.003)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs)
    trainer = train.Trainer(net, optimizer, scheduler=schedule, device=args.device)
    history = trainer.fit(
        DataLoader(data(args.full, True, args.images), args.batch_size, shuffle=True),
        DataLoader(test_set, 250),
        epochs=args.epochs,
    )
    print(history.summary())
    history.plot(out / "curves.png")

    # A coat, sandal, sneaker, bag and ankle boot, and where the last feature maps find what speaks for them.
    names = FashionMNIST.classes
    images = first_of_each_class(test_set, (4, 5, 7, 8, 9)).to(args.device)
    inspect.plot_grad_cam(net, images, "features", out / "grad_cam.png", classes=names)
    inspect.plot_occlusion(net, images, out / "occlusion.png", classes=names, size=7, stride=2)
    inspect.plot_saliency(net, images, out / "saliency.png", classes=names)
    inspect.plot_filters(net, path=out / "filters.png")
    inspect.plot_feature_maps(net, images[4], "features", out / "feature_maps.png")

    # What it takes for what.
    batches = [(x, net.eval()(x.to(args.device)).detach().cpu(), y) for x, y in DataLoader(test_set, 250)]
    x, scores, y = (numbanet.cat(parts) for parts in zip(*batches, strict=True))
    matrix = train.confusion_matrix(scores, y, 10)
    inspect.plot_confusion_matrix(matrix, names, out / "confusion.png")
    inspect.plot_class_accuracy(matrix, names, out / "classes.png")
    inspect.plot_misclassified(x, y, scores, names, out / "misclassified.png")
    for path in sorted(out.glob("*.png")):
        print(path)
