"""Train the course notes' networks as the notes do, with numbanet or with PyTorch: the figures of docs/results.md.

    python benchmarks/train_notes.py lenet --seeds 0 1 2                    # 10 epochs, as in the notes
    python benchmarks/train_notes.py resnet18 --steps 40 --test-images 1000 # a beginning, for a slow machine
    python benchmarks/train_notes.py resnet18 --steps 40 --test-images 1000 --library torch

Both libraries begin with the same weights (Xavier's uniform ones, as in the notes, drawn by NumPy) and see the same images in the
same order, so that only rounding and the random zeros of dropout differ. Fashion-MNIST must be on the machine.
Prints a line per seed; ``--json FILE`` keeps the figures, the losses of all steps included.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent.parent))

import numbanet
from benchmarks.networks import NETWORKS
from numbanet.data import DataLoader, FashionMNIST, Subset, transforms

# Learning rate and batch size in the notes.
SETTINGS = {
    "lenet": (0.9, 256),
    "lenet_bn": (1.0, 256),
    "alexnet": (0.01, 128),
    "vgg11": (0.05, 128),
    "nin": (0.1, 128),
    "googlenet": (0.1, 128),
    "resnet18": (0.05, 256),
    "densenet": (0.1, 256),
}


def give_weights(library: Any, net: Any, seed: int) -> None:
    """Draw the weights of linear and convolution layers from Xavier's uniform distribution and their biases as layers do."""
    rng = np.random.default_rng(seed)
    with library.no_grad():
        for module in net.modules():
            if isinstance(module, (library.nn.Linear, library.nn.Conv2d)):
                shape = tuple(module.weight.shape)
                fan_in, fan_out = int(np.prod(shape[1:])), shape[0] * int(np.prod(shape[2:]))
                weight = rng.uniform(-1, 1, shape) * (6 / (fan_in + fan_out)) ** 0.5
                bias = rng.uniform(-1, 1, shape[0]) * fan_in**-0.5
                module.weight.copy_(library.from_numpy(weight.astype(np.float32)))
                module.bias.copy_(library.from_numpy(bias.astype(np.float32)))


def train(library: Any, name: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Train one network; returns its losses and accuracies."""
    lr, batch = SETTINGS[name]
    size = NETWORKS[name].size
    steps = [transforms.ToTensor()] if size == 28 else [transforms.Resize(size), transforms.ToTensor()]
    transform = transforms.Compose(steps)
    train_set, test_set = FashionMNIST(train=True, transform=transform), FashionMNIST(train=False, transform=transform)
    if args.test_images:
        test_set = Subset(test_set, range(args.test_images))
    order = numbanet.Generator().manual_seed(seed)
    train_loader = DataLoader(train_set, batch, shuffle=True, num_workers=1, generator=order)
    library.manual_seed(seed)
    net = NETWORKS[name].build(library)
    give_weights(library, net, seed)
    optimizer = library.optim.SGD(net.parameters(), lr=lr)
    criterion = library.nn.CrossEntropyLoss()
    wanted = args.steps or args.epochs * len(train_loader)
    losses: list[float] = []
    correct: list[int] = []
    seconds = 0.0
    bar = tqdm(total=wanted, desc=f"{name}, {library.__name__}, seed {seed}", disable=None)
    while len(losses) < wanted:
        net.train()
        for images, labels in train_loader:
            x, y = library.from_numpy(images.numpy()), library.from_numpy(labels.numpy())
            start = time.perf_counter()
            optimizer.zero_grad()
            output = net(x)
            loss = criterion(output, y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            seconds += time.perf_counter() - start
            correct.append(int((output.detach().numpy().argmax(1) == labels.numpy()).sum()))
            bar.update()
            if len(losses) == wanted:
                break
    bar.close()
    net.eval()
    right = 0
    with library.no_grad():
        for images, labels in DataLoader(test_set, batch, num_workers=1):
            right += int((net(library.from_numpy(images.numpy())).numpy().argmax(1) == labels.numpy()).sum())
    last = min(len(losses), len(train_loader))  # the notes' figures are means over the last epoch
    return {
        "network": name,
        "library": library.__name__,
        "seed": seed,
        "steps": wanted,
        "epochs": wanted / len(train_loader),
        "loss": float(np.mean(losses[-last:])),
        "train_acc": sum(correct[-last:]) / (last * batch if args.steps else len(train_set)),
        "last_losses": float(np.mean(losses[-10:])),
        "test_acc": right / len(test_set),
        "test_images": len(test_set),
        "images_per_second": wanted * batch / seconds,
        "losses": losses,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=SETTINGS)
    parser.add_argument("--library", choices=("numbanet", "torch"), default="numbanet")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--steps", type=int, help="training steps, in place of whole epochs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--test-images", type=int, help="measure the test accuracy on the first N only")
    parser.add_argument("--json", help="add the figures to this file, a line for each training")
    args = parser.parse_args()
    library = importlib.import_module(args.library)
    for seed in args.seeds:
        row = train(library, args.network, seed, args)
        print(
            f"{row['network']} ({row['library']}, seed {seed}): {row['epochs']:.2f} epochs, loss {row['loss']:.3f} "
            f"(last ten steps {row['last_losses']:.3f}), train acc {row['train_acc']:.3f}, "
            f"test acc {row['test_acc']:.3f} on {row['test_images']:,}, {row['images_per_second']:.0f} images/s"
        )
        if args.json:
            with open(args.json, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
