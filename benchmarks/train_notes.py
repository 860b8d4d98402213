"""Train the course notes' networks as the notes do, with numbanet or with PyTorch: the figures of docs/results.md.

    python benchmarks/train_notes.py lenet --seeds 0 1 2                    # 10 epochs, as in the notes
    python benchmarks/train_notes.py resnet18 --steps 40 --test-images 1000 # a beginning, for a slow machine
    python benchmarks/train_notes.py resnet18 --steps 40 --test-images 1000 --library torch
    python benchmarks/train_notes.py vgg11 --epochs 1 --checkpoint vgg11.safetensors  # the same again after a stop: goes on

Both libraries begin with the same weights (Xavier's uniform ones, as in the notes, drawn by NumPy) and see the same images in the
same order, so that only rounding and the random zeros of dropout differ. Fashion-MNIST must be on the machine.
Prints a line per seed; ``--json FILE`` keeps the figures, the losses of all steps included. With ``--checkpoint FILE`` a training is
kept every five minutes and at its end, and one that finds its file goes on from there, to the same numbers.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent.parent))

import numbanet
from benchmarks.networks import NETWORKS
from numbanet.data import BatchSampler, DataLoader, FashionMNIST, RandomSampler, Subset, transforms

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


class ResumableBatches(BatchSampler):
    """Batches of which the next epoch may leave out the first ``skip``."""

    skip = 0

    def __iter__(self) -> Iterator[list[Any]]:
        skip, self.skip = self.skip, 0
        return itertools.islice(super().__iter__(), skip, None)


class Progress:
    """What a training has come to, and the file that it can be continued from."""

    def __init__(self, path: Path | None, minutes_between: float, **training: Any) -> None:
        self.path, self.minutes_between, self.training = path, minutes_between, training
        self.losses: list[float] = []
        self.correct: list[int] = []
        self.seconds = 0.0
        self.epochs: list[dict[str, float]] = []
        self.kept = time.monotonic()

    def resume(self, library: Any, net: Any, order: numbanet.Generator, batches: ResumableBatches) -> None:
        """Take up the training in the file, if there is one."""
        if self.path is None or not self.path.exists():
            return
        kept = numbanet.load(self.path)
        if kept["training"] != self.training:
            raise SystemExit(f"{self.path} is of another training, {kept['training']}, not of {self.training}")
        net.load_state_dict({name: library.from_numpy(value) for name, value in kept["weights"].items()})
        self.losses, self.correct, self.seconds = kept["losses"], kept["correct"], kept["seconds"]
        self.epochs = kept["epochs"]
        order.set_state(kept["order"])
        batches.skip = len(self.losses) % len(batches)
        random = kept["random"]
        library.set_rng_state(random if isinstance(random, dict) else library.from_numpy(random))

    def keep(self, library: Any, net: Any, order: dict[str, Any], now: bool = False) -> None:
        """Write the file, if one is wanted and it is time (or ``now``)."""
        if self.path is None or not (now or time.monotonic() - self.kept > 60 * self.minutes_between):
            return
        random = library.get_rng_state()
        names = ("training", "losses", "correct", "seconds", "epochs")
        numbanet.save(
            {name: getattr(self, name) for name in names}
            | {
                "weights": {name: value.numpy() for name, value in net.state_dict().items()},
                "order": order,
                "random": random if isinstance(random, dict) else random.numpy(),
            },
            self.path,
        )
        self.kept = time.monotonic()


def accuracy(library: Any, net: Any, loader: DataLoader) -> float:
    """The share of the loader's images that the network names rightly."""
    net.eval()
    right = 0
    with library.no_grad():
        for images, labels in loader:
            right += int((net(library.from_numpy(images.numpy())).numpy().argmax(1) == labels.numpy()).sum())
    return right / len(loader.dataset)


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
    batches = ResumableBatches(RandomSampler(train_set, generator=order), batch, drop_last=False)
    train_loader = DataLoader(train_set, batch_sampler=batches, num_workers=1, generator=order)
    test_loader = DataLoader(test_set, batch, num_workers=1)
    library.manual_seed(seed)
    net = NETWORKS[name].build(library)
    give_weights(library, net, seed)
    optimizer = library.optim.SGD(net.parameters(), lr=lr)
    criterion = library.nn.CrossEntropyLoss()
    wanted = args.steps or args.epochs * len(train_loader)
    progress = Progress(args.checkpoint, 5, network=name, library=library.__name__, seed=seed)
    progress.resume(library, net, order, batches)
    losses, correct = progress.losses, progress.correct
    bar = tqdm(
        total=wanted, initial=len(losses), desc=f"{name}, {library.__name__}, seed {seed}", mininterval=1, disable=None
    )
    per_epoch = len(train_loader)
    while len(losses) < wanted:
        net.train()
        of_epoch = order.get_state()
        for images, labels in train_loader:
            x, y = library.from_numpy(images.numpy()), library.from_numpy(labels.numpy())
            start = time.perf_counter()
            optimizer.zero_grad()
            output = net(x)
            loss = criterion(output, y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            progress.seconds += time.perf_counter() - start
            correct.append(int((output.detach().numpy().argmax(1) == labels.numpy()).sum()))
            bar.update()
            if len(losses) == wanted or len(losses) % per_epoch == 0:
                break
            progress.keep(library, net, of_epoch)
        last = min(len(losses), per_epoch)  # the notes' figures are means over the last epoch
        progress.epochs.append(
            {
                "epochs": len(losses) / per_epoch,
                "loss": float(np.mean(losses[-last:])),
                "train_acc": sum(correct[-last:]) / (len(train_set) if last == per_epoch else last * batch),
                "test_acc": accuracy(library, net, test_loader),
            }
        )
        progress.keep(library, net, of_epoch if len(losses) % per_epoch else order.get_state(), now=True)
    bar.close()
    return {
        "network": name,
        "library": library.__name__,
        "seed": seed,
        "steps": len(losses),
        **progress.epochs[-1],
        "last_losses": float(np.mean(losses[-10:])),
        "test_images": len(test_set),
        "images_per_second": len(losses) * batch / progress.seconds,
        "by_epoch": progress.epochs,
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
    parser.add_argument(
        "--checkpoint", type=Path, help="keep the training here, and go on with the one that is here; for one seed"
    )
    parser.add_argument("--json", help="add the figures to this file, a line for each training")
    args = parser.parse_args()
    if args.checkpoint and len(args.seeds) > 1:
        parser.error(f"--checkpoint holds one training, got seeds {args.seeds}: run them one by one")
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
