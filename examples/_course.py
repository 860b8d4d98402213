"""What the scripts of the notes' networks share: settings, images, the print-out of shapes, training."""

import argparse
import os

import numbanet
from numbanet import optim, train
from numbanet.data import DataLoader, FashionMNIST, Subset, transforms


def settings(doc, full, sample):
    """The command line's settings; those not given are the notes' with --full, else the sample's."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the notes' network and settings, all 60,000 images")
    parser.add_argument("--epochs", type=int, metavar="N")
    parser.add_argument("--batch-size", type=int, metavar="N", help="images per step")
    parser.add_argument("--lr", type=float, metavar="RATE", help="learning rate")
    parser.add_argument("--optimizer", choices=("sgd", "adam"))
    parser.add_argument("--resize", type=int, metavar="SIZE", help="height and width of the images")
    parser.add_argument("--images", type=int, metavar="N", help="train on the first N")
    if "ratio" in full:
        parser.add_argument("--ratio", type=int, metavar="R", help="divide the numbers of channels by this")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    for name, value in {"images": None, **(full if args.full else sample)}.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    return args


def load_data(args):
    """Loaders of training images, shuffled, and of test images."""
    transform = transforms.Compose([transforms.Resize(args.resize), transforms.ToTensor()])
    loaders = []
    for training in (True, False):
        data = FashionMNIST(train=training, transform=transform, sample=not args.full)
        if args.images is not None:
            data = Subset(data, range(min(len(data), args.images)))
        workers = 0 if args.resize == 28 else min(2, os.cpu_count() or 1)  # small images are quicker than a queue
        loaders.append(DataLoader(data, args.batch_size, shuffle=training, num_workers=workers))
    return loaders


def print_shapes(net, size):
    """The shape after each layer, for one image."""
    X = numbanet.rand(size=(1, 1, size, size))
    net.eval()  # one image has no variance for a batch norm to divide by
    with numbanet.no_grad():
        for layer in net:
            X = layer(X)
            print(layer.__class__.__name__, "output shape:\t", X.shape)


def fit(net, train_iter, test_iter, args):
    """The notes' training: Xavier's initial weights, cross-entropy, the plainest of steps (or Adam's)."""
    net.apply(train.notes.init_weights)
    net.to(args.device)
    step = {"sgd": optim.SGD, "adam": optim.Adam}[args.optimizer]
    trainer = train.Trainer(net, step(net.parameters(), lr=args.lr), device=args.device)
    return trainer.fit(train_iter, test_iter, args.epochs)


def course(network, doc, full, sample):
    """Build the network, print its shapes, train it.

    Args:
        network: makes it; takes ``ratio`` if that is among the settings.
        doc: the script's text, shown by --help.
        full: the notes' settings: epochs, batch_size, lr, optimizer, resize, ratio.
        sample: settings with which the embedded sample of 5,000 images takes a minute or two on two cores.
    """
    args = settings(doc, full, sample)
    numbanet.manual_seed(0)
    net = network(ratio=args.ratio) if "ratio" in full else network()
    print_shapes(net, args.resize)
    print(f"{sum(p.numel() for p in net.parameters()):,} parameters")
    train_iter, test_iter = load_data(args)
    fit(net, train_iter, test_iter, args)
