"""The command ``numbanet``: train, evaluate, predict, models, summary, warmup, doctor.

Everything heavy is imported by the command that needs it, so that ``numbanet --help`` is quick.
"""

from __future__ import annotations

import argparse
import ast
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

# What a command fails with when the user, a file or the machine is at fault: one line, no traceback.
_EXIT_ERROR, _EXIT_USAGE, _EXIT_INTERRUPTED = 1, 2, 130


class UsageError(Exception):
    """What was asked for makes no sense: exit status 2."""


# --------------------------------------------------------------------------------------------------------- arguments


def _number(kind: Callable[[str], Any], low: float, what: str, *, above: bool = False) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected {what}, got {text!r}") from None
        if not (low < value if above else low <= value) or value == float("inf"):
            raise argparse.ArgumentTypeError(f"expected {what}, got {text!r}")
        return value

    return parse


def _image_size(text: str) -> tuple[int, ...]:
    sizes = tuple(int(part) if part.strip().isdecimal() else 0 for part in text.split(","))
    if len(sizes) != 3 or min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"expected channels, height and width such as 1,224,224, got {text!r}")
    return sizes


_positive_int = _number(int, 1, "an int of at least 1")
_natural = _number(int, 0, "an int of at least 0")
_positive_float = _number(float, 0, "a number above 0", above=True)
_non_negative = _number(float, 0, "a number of at least 0")


def _option(text: str) -> tuple[str, Any]:
    """NAME=VALUE, the value as Python writes it, or a string."""
    name, equals, value = text.partition("=")
    if not (name.isidentifier() and equals):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def _capability(text: str) -> tuple[int, int]:
    major, point, minor = text.partition(".")
    if not (major.isdecimal() and (minor.isdecimal() if point else not minor) and len(minor) < 2):
        raise argparse.ArgumentTypeError(f"expected a compute capability such as 9.0, got {text!r}")
    return int(major), int(minor or 0)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cpu", metavar="DEVICE", help="cpu, cuda or cuda:INDEX (default: cpu)")
    parser.add_argument("--threads", type=_positive_int, metavar="N", help="CPU threads (default: all cores)")


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", metavar="DIR", help="folder with the dataset's files (default: the usual places)")
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        help="fashion-mnist (the default), mnist, kmnist, emnist, cifar10, cifar100, or a folder that has 'train' and 'test' "
        "in it, each with a folder of images for each class",
    )
    parser.add_argument("--sample", action="store_true", default=None, help="use the embedded sample of Fashion-MNIST")
    parser.add_argument(
        "--limit",
        type=_positive_int,
        metavar="N",
        help="use N images only, for a quick look: the first ones, of a folder some of each class",
    )


def _parser() -> argparse.ArgumentParser:
    from numbanet import __version__

    parser = argparse.ArgumentParser(
        prog="numbanet",
        description="Convolutional networks on kernels written in Python.",
        epilog="'numbanet COMMAND --help' describes a command. Exit status: 0 done, 1 error, 2 wrong usage.",
    )
    parser.add_argument("--version", action="version", version=f"numbanet {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--traceback", action="store_true", help="show where an error came from")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(
        name: str, run: Callable[[argparse.Namespace], int | None], help: str, **more: Any
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name, help=help, description=help[0].upper() + help[1:] + ".", parents=[common], **more
        )
        sub.set_defaults(run=run)
        return sub

    sub = command(
        "train",
        _train,
        "train a network on Fashion-MNIST",
        epilog="A network is made with as many classes and channels as the images have, and the images get the size that it "
        "is made for. Defaults depend on network and data. On a full dataset: 10 epochs of plain SGD with the learning rate "
        "and batch size of the network's course notes or paper where they are known, else SGD with momentum 0.9, learning "
        "rate 0.01 and batches of 128. On the embedded sample: Adam and batches of 32, 20 epochs for images of up to 32 "
        "pixels, else 5.",
    )
    sub.add_argument("model", help="its name, such as lenet, notes.resnet18 or resnet18 ('numbanet models' lists them)")
    _add_data(sub)
    sub.add_argument("--epochs", type=_positive_int, metavar="N", help="epochs in all")
    sub.add_argument("--batch-size", type=_positive_int, metavar="N", help="images per step")
    sub.add_argument("--optimizer", choices=("sgd", "adam", "adamw"), help="the optimiser")
    sub.add_argument("--lr", type=_positive_float, metavar="RATE", help="learning rate")
    sub.add_argument(
        "--momentum", type=_non_negative, metavar="M", help="momentum of sgd (default: 0, or 0.9, see below)"
    )
    sub.add_argument("--weight-decay", type=_non_negative, metavar="W", help="weight decay (default: 0)")
    sub.add_argument(
        "--amp", choices=("bf16", "fp16"), help="compute in half precision where that is safe, with float32 weights"
    )
    sub.add_argument("--seed", type=_natural, metavar="N", help="seed of weights and order (default: 0)")
    sub.add_argument("--size", "--resize", type=_positive_int, metavar="N", help="resize the images to N x N pixels")
    sub.add_argument(
        "--weights", metavar="FILE", help="weights to start from: .safetensors or .npz, with torchvision's keys"
    )
    sub.add_argument(
        "--option",
        action="append",
        type=_option,
        metavar="NAME=VALUE",
        dest="options",
        help="an option of the network's, such as ratio=1 for notes.vgg11; may be given several times",
    )
    sub.add_argument("-o", "--output", "--out", metavar="DIR", help="folder for the results (default: runs/MODEL)")
    sub.add_argument("--resume", action="store_true", help="go on from the folder's last checkpoint, with its settings")
    _add_common(sub)

    sub = command("evaluate", _evaluate, "measure a trained network on the test images")
    sub.add_argument("checkpoint", help="a checkpoint that 'numbanet train' wrote, or its folder")
    _add_data(sub)
    sub.add_argument("--batch-size", type=_positive_int, metavar="N", help="images at once (default: as in training)")
    sub.add_argument("--confusion", action="store_true", help="print which classes are taken for which")
    _add_common(sub)

    sub = command("predict", _predict, "classify images with a trained network")
    sub.add_argument("checkpoint", help="a checkpoint that 'numbanet train' wrote, or its folder")
    sub.add_argument("images", nargs="+", metavar="IMAGE", help="image files; they get the training images' size")
    sub.add_argument("--top", type=_positive_int, default=3, metavar="K", help="how many classes to show (default: 3)")
    sub.add_argument(
        "--invert",
        action="store_true",
        help="for dark things on light ground: Fashion-MNIST and MNIST are light on dark",
    )
    _add_common(sub)

    sub = command("models", _models, "list the networks")
    sub.add_argument("pattern", nargs="?", default="*", help="a pattern of names, such as 'resnet*' (default: all)")

    sub = command("summary", _summary, "show a network's layers: shapes, parameters, work, memory, receptive fields")
    sub.add_argument("model", help="its name, such as lenet or notes.resnet18")
    sub.add_argument("--input", type=_image_size, metavar="C,H,W", help="size of the images (default: the network's)")
    sub.add_argument("--batch-size", type=_positive_int, default=1, metavar="N", help="images at once (default: 1)")
    sub.add_argument("--depth", type=_positive_int, metavar="N", help="levels of modules to show (default: all)")
    sub.add_argument("--timing", action="store_true", help="also measure each layer's forward and backward pass")
    sub.add_argument("--graph", metavar="FILE", help="also write a picture of the network, .svg or .dot")
    _add_common(sub)

    sub = command("warmup", _warmup, "compile the kernels now rather than at their first use")
    _add_common(sub)

    sub = command(
        "doctor",
        _doctor,
        "check versions, processor, threads, caches, datasets and CUDA",
        epilog="Each line says ok, missing (something that one can do without) or problem; a problem makes the exit status 1.",
    )
    sub.add_argument(
        "--cuda-assemble",
        nargs="+",
        type=_capability,
        metavar="CC",
        help="instead, compile and assemble every CUDA kernel for these compute capabilities, such as 8.0 9.0; needs no GPU",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = _parser()
    args = parser.parse_args(argv)
    try:
        return args.run(args) or 0
    except UsageError as error:
        print(f"numbanet {args.command}: error: {error}", file=sys.stderr)
        return _EXIT_USAGE
    except KeyboardInterrupt:
        print(f"numbanet {args.command}: interrupted", file=sys.stderr)
        return _EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if args.traceback:
            raise
        notes = [note for note in getattr(error, "__notes__", ()) if "thread" not in note]
        text = " ".join("; ".join([str(error) or type(error).__name__, *notes]).split())
        if not isinstance(error, OSError | ValueError | RuntimeError | ImportError):
            text = f"{type(error).__name__}: {text} (--traceback shows where)"
        print(f"numbanet {args.command}: error: {text}", file=sys.stderr)
        return _EXIT_ERROR


# ----------------------------------------------------------------------------------------------------- shared pieces


def _set_up(args: argparse.Namespace) -> Any:
    """Apply --threads and --device; returns the device."""
    from numbanet.devices import as_device

    if args.threads is not None:
        import numbanet

        numbanet.set_num_threads(args.threads)
    try:
        return as_device(args.device)
    except RuntimeError as error:
        if "expected 'cpu'" in str(error):
            raise UsageError(f"--device: {error}") from None
        raise


def _model_info(name: str) -> Any:
    from numbanet import models

    try:
        return models.info(name)
    except ValueError as error:
        raise UsageError(str(error)) from None


class _Data(NamedTuple):
    """Images to train with or to look at."""

    images: Any  # a dataset of (tensor, label)
    classes: list[str]
    shape: tuple[int, int, int]  # (C, H, W) of an image
    is_sample: bool
    workers: int  # threads that it takes to load them in time


def _dataset(args: argparse.Namespace, train: bool, size: tuple[int, int] | None = None) -> _Data:
    """The images that --dataset, --data, --sample and --limit name, resized where ``size`` (H, W) is given."""
    from numbanet import data
    from numbanet.data import transforms
    from numbanet.data.fashion_mnist import _SAMPLE_FOLDER

    name = args.dataset or "fashion-mnist"
    steps: list[Any] = [transforms.ToTensor()] if size is None else [transforms.Resize(size), transforms.ToTensor()]
    if args.sample:
        if name != "fashion-mnist":
            raise UsageError("--sample: there is a sample of fashion-mnist only")
        images: Any = data.FashionMNIST(args.data, train, transforms.Compose(steps), sample=True)
    elif name not in data.dataset_names() and not Path(name).is_dir():
        raise UsageError(
            f"--dataset: there is no dataset {name!r}, and no such folder; there are {', '.join(data.dataset_names())}"
        )
    else:
        images = data.by_name(name, args.data, train, transforms.Compose(steps))
    is_sample = name == "fashion-mnist" and Path(images.source) == _SAMPLE_FOLDER
    shape = tuple(images[0][0].shape)
    # Without resizing a batch costs less than handing it to another thread would.
    workers = 0 if name == "fashion-mnist" and shape[1:] == (28, 28) else min(2, os.cpu_count() or 1)
    classes = list(images.classes)
    if args.limit is not None:
        count, total = min(args.limit, len(images)), len(images)
        # A folder's images are in order of their classes: the first ones would be of one class.
        step = 1.0 if name in data.dataset_names() else total / count
        images = data.Subset(images, [int(i * step) for i in range(count)])
    return _Data(images, classes, shape, is_sample, workers)


def _kernels_are_cold() -> bool:
    from numbanet.kernels.kernel import cache_folder

    return not any(cache_folder().glob("*.nbc"))


def _checkpoint_model(path: str, device: Any) -> tuple[Any, tuple[int, int, int], dict[str, Any]]:
    """The network of a checkpoint, ready to evaluate; (C, H, W) of its images; what else the checkpoint holds."""
    from numbanet import models
    from numbanet.train import load_checkpoint

    if Path(path).is_dir():
        path = str(Path(path) / "last.safetensors")
    state = load_checkpoint(path)
    extra = state["extra"]
    if extra.get("model") is None:
        raise ValueError(f"{path}: this checkpoint does not say which network it holds; load it from Python")
    info = models.info(extra["model"])
    shape = tuple(extra.get("input_shape", info.input_shape))
    classes = len(extra.get("classes") or range(10))
    options = dict(extra.get("settings", {}).get("options") or ())
    net = _make(info, classes, shape[0], options, weights=state["model"])
    return net.to(device).eval(), shape, extra


def _make(info: Any, classes: int, channels: int, options: dict[str, Any], weights: Any = None) -> Any:
    try:
        return info.make(num_classes=classes, in_channels=channels, weights=weights, **options)
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise UsageError(f"--option: {info.name}: {error}") from None


# ------------------------------------------------------------------------------------------------------------- train

_SETTINGS = (
    "dataset", "sample", "limit", "size", "epochs", "batch_size", "optimizer", "lr", "momentum", "weight_decay", "seed",
    "options", "amp",
)  # fmt: skip
_TUNED = ("lr", "momentum", "weight_decay")  # options of an optimiser that may change in the course of a training
_FIXED = ("sample", "size", "optimizer", "options")  # settings that may not


def _train(args: argparse.Namespace) -> None:
    info = _model_info(args.model)
    if info.task != "classification":
        raise UsageError(
            f"{args.model} is for {info.task}, and this command trains classifiers; see the folder examples"
        )
    device = _set_up(args)
    from numbanet import models, nn, optim, train
    from numbanet.data import DataLoader
    from numbanet.random import manual_seed

    folder = Path(args.output or Path("runs") / args.model)
    last = folder / "last.safetensors"
    given = {name for name in _TUNED if getattr(args, name) is not None}
    known = _take_settings(args, info, last) if args.resume else []
    size = (args.size, args.size) if args.size is not None else info.input_shape[1:]
    train_set, test_set = (_dataset(args, part, size) for part in (True, False))
    if known and known != train_set.classes:
        raise UsageError(
            f"--resume: {last} was trained on the classes {', '.join(known)}; these images have {', '.join(train_set.classes)}"
        )
    manual_seed(args.seed or 0)
    net = _make(info, len(train_set.classes), train_set.shape[0], dict(args.options or ()))
    if args.weights is not None:
        _start_from(net, args.weights)
    elif info.name.startswith(models.registry.NOTES):
        net.apply(train.notes.init_weights)  # as the notes' own training begins
    net.to(device)
    _fill_in(args, info, net, train_set)
    if args.momentum and args.optimizer != "sgd":
        raise UsageError("--momentum belongs to --optimizer sgd")
    _refuse_misfits(info, net, train_set, device)
    _make_folder(folder)
    if last.is_file() and not args.resume:
        _put_aside(last)

    optimizer = _optimizer(optim, args, net)
    extra = {
        "model": info.name,
        "input_shape": list(train_set.shape),
        "classes": train_set.classes,
        "settings": {name: getattr(args, name) for name in _SETTINGS},
    }
    callbacks = [
        _speaker(train, cold=_kernels_are_cold() and device.type == "cpu"),
        train.ProgressBar(),
        train.EpochPrinter(),
        train.CSVLogger(folder / "history.csv"),
        train.Checkpoint(folder, extra=extra),
    ]
    trainer = train.Trainer(net, optimizer, device=device, callbacks=callbacks, progress=False, amp=args.amp)
    if args.resume:
        trainer.resume(last)
        # The optimiser's state brought the options that it was saved with.
        optimizer.param_groups[0].update({name: getattr(args, name) for name in given})
        if trainer.epoch >= args.epochs:
            print(f"{last} has {trainer.epoch} epochs already; ask for more with --epochs")
    print(
        f"{args.model} on {len(train_set.images):,} images of {'x'.join(map(str, train_set.shape))} "
        f"({'sample of ' if train_set.is_sample else ''}{args.dataset or 'fashion-mnist'}), "
        f"{args.optimizer} lr {args.lr:g}, batches of {args.batch_size}, {device}{f', {args.amp}' if args.amp else ''}"
    )
    # A last batch of one image would end the training of a network that normalises over the batch: each epoch leaves one out.
    lonely = args.batch_size < len(train_set.images) and len(train_set.images) % args.batch_size == 1
    lonely = lonely and any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in net.modules())
    train_loader = DataLoader(
        train_set.images, args.batch_size, shuffle=True, num_workers=train_set.workers, drop_last=lonely
    )
    test_loader = DataLoader(test_set.images, args.batch_size, num_workers=test_set.workers)
    start = time.perf_counter()
    history = trainer.fit(train_loader, test_loader, epochs=args.epochs)
    seconds = time.perf_counter() - start
    print(f"{history.summary()}  ({seconds:.1f} s)")
    _write_results(net, history, folder, last)


def _make_folder(folder: Path) -> None:
    """The folder for the results, found out to be writable before an epoch is spent."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output: the folder {folder} cannot be made: {error.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"--output: nothing can be written into the folder {folder}")


def _put_aside(last: Path) -> None:
    """Rename an earlier training's checkpoint, which the new one would write over."""
    kept = last.with_name("earlier.safetensors")
    count = 1
    while kept.exists():
        count += 1
        kept = last.with_name(f"earlier-{count}.safetensors")
    last.replace(kept)
    print(f"{last.parent} holds an earlier training, kept as {kept.name} (--resume would have gone on with it)")


def _start_from(net: Any, path: str) -> None:
    """Load what fits of a file of weights, and say what does not: the last layer, where the classes are others."""
    from numbanet.models import load_torch_state_dict

    left = load_torch_state_dict(net, path, strict=False)
    anew = [f"{key} (not in the file)" for key in left.missing]
    anew += [f"{key} ({problem})" for key, problem in left.misfits.items()]
    if len(anew) == sum(not key.endswith("num_batches_tracked") for key in net.state_dict()):
        raise ValueError(f"{path}: nothing in this file fits the network: {'; '.join(anew[:3])}; ...")
    for line in anew:
        print(f"starts anew: {line}")
    if left.unexpected:
        print(f"not used: {', '.join(left.unexpected)}")


def _take_settings(args: argparse.Namespace, info: Any, path: Path) -> list[str]:
    """Settings that were not given come from the checkpoint to resume; returns its classes."""
    from numbanet import models
    from numbanet.train import load_checkpoint

    if not path.is_file():
        raise UsageError(f"--resume: there is no checkpoint {path}")
    if args.weights is not None:
        raise UsageError(
            "--resume goes on with the checkpoint's weights, --weights starts from others: give one of the two"
        )
    extra = load_checkpoint(path)["extra"]
    if not extra.get("model") or models.info(extra["model"]).name != info.name:
        raise UsageError(f"--resume: {path} holds the network {extra.get('model')!r}, not {info.name!r}")
    default: dict[str, Any] = {"sample": False, "size": info.input_shape[-1], "options": []}
    for name, value in extra.get("settings", {}).items():
        if name not in _SETTINGS:
            continue
        now = getattr(args, name)
        if now is None:
            setattr(args, name, value)
            continue
        then: Any = default.get(name) if value is None else value
        if name in _FIXED and (dict(now) != dict(then) if name == "options" else now != then):
            raise UsageError(
                f"--resume: {path} was trained with {_as_option(name, then)}, which cannot change on the way; leave the option "
                "away, or start a new training in another folder (--output)"
            )
    return list(extra.get("classes") or ())


def _as_option(name: str, value: Any) -> str:
    """A setting as the command line has it."""
    if name == "options":
        return " ".join(f"--option {key}={given}" for key, given in value or ()) or "no --option"
    if isinstance(value, bool):
        return f"--{name}" if value else f"no --{name}"
    return f"--{name} {value}"


def _fill_in(args: argparse.Namespace, info: Any, net: Any, data: _Data) -> None:
    """Settings that nobody gave, by the network and the data."""
    # The sample's 5,000 images give so few steps that plain SGD hardly leaves the plateau on which sigmoid networks begin:
    # Adam there, and smaller batches. Larger networks, some of them without batch normalisation, want smaller steps.
    small = sum(parameter.numel() for parameter in net.parameters()) < 100_000
    if args.optimizer is None:
        args.optimizer = "adam" if data.is_sample else "sgd"
    if args.epochs is None:
        args.epochs = 10 if not data.is_sample else 20 if max(data.shape[1:]) <= 32 else 5
    if args.batch_size is None:
        args.batch_size = 32 if data.is_sample else info.batch_size or 128
    if args.momentum is None and args.optimizer == "sgd":
        args.momentum = 0.0 if info.lr else 0.9
    if args.lr is None and args.optimizer == "sgd":
        args.lr = info.lr or 0.01
    elif args.lr is None:
        args.lr = 0.0003 if not small else 0.003 if data.is_sample else 0.001


def _refuse_misfits(info: Any, net: Any, data: _Data, device: Any) -> None:
    """Run one image through before anything is written: not every network takes every size, or gives scores."""
    from numbanet.autograd import no_grad
    from numbanet.tensor import zeros

    what = f"images of {'x'.join(map(str, data.shape))}"
    net.eval()
    try:
        with no_grad():
            output = net(zeros((1, *data.shape), device=device))
    except (ValueError, RuntimeError) as error:
        wanted = "x".join(map(str, info.input_shape[1:]))
        raise UsageError(
            f"--size: {info.name} is made for {wanted} pixels and does not take {what} ({error})"
        ) from None
    shape = tuple(getattr(output, "shape", ()))
    if shape != (1, len(data.classes)):
        raise UsageError(
            f"{info.name} does not classify: for {what} it gives {f'an output of shape {shape}' if shape else 'no tensor'} "
            f"rather than {len(data.classes)} scores; train it from Python"
        )


def _optimizer(optim: Any, args: argparse.Namespace, net: Any) -> Any:
    decay = args.weight_decay or 0.0
    if args.optimizer == "sgd":
        return optim.SGD(net.parameters(), lr=args.lr, momentum=args.momentum or 0.0, weight_decay=decay)
    return {"adam": optim.Adam, "adamw": optim.AdamW}[args.optimizer](net.parameters(), lr=args.lr, weight_decay=decay)


def _speaker(train: Any, cold: bool) -> Any:
    """A callback that says what takes so long: compiling, where the kernels are cold, and an epoch of minutes."""

    class Speaker(train.Callback):
        said = False

        def on_epoch_start(self, trainer: Any, epoch: int, steps: int | None) -> None:
            self.start, self.steps = time.perf_counter(), steps
            if cold and not trainer.history.rows:
                print("compiling kernels (once on this machine) ...", flush=True)

        def on_batch_end(self, trainer: Any, step: int, images: int) -> None:
            now = time.perf_counter()
            if step == 1:
                if cold and not trainer.history.rows:
                    print(f"compiled and first step done in {now - self.start:.1f} s", flush=True)
                self.start = now  # what comes is without compiling
            elif not self.said and now - self.start > 5:
                self.said = True
                minutes = (now - self.start) / (step - 1) * (self.steps or 0) / 60
                if minutes > 2:
                    print(
                        f"an epoch takes about {minutes:.0f} minutes here; --size, --limit make it shorter", flush=True
                    )

    return Speaker()


def _write_results(net: Any, history: Any, folder: Path, last: Path) -> None:
    from numbanet.io import save

    save(net.state_dict(), folder / "weights.safetensors")
    print(f"weights     {folder / 'weights.safetensors'}")
    print(f"checkpoint  {last}")
    print(f"history     {folder / 'history.csv'}")
    if not len(history):
        return
    try:
        history.plot(folder / "curves.png")
        print(f"curves      {folder / 'curves.png'}")
    except ModuleNotFoundError:
        print("curves      none: pip install 'numbanet[plot]' to have them drawn")


# -------------------------------------------------------------------------------------------------- evaluate, predict


def _evaluate(args: argparse.Namespace) -> None:
    device = _set_up(args)
    from numbanet import train
    from numbanet.data import DataLoader

    net, shape, extra = _checkpoint_model(args.checkpoint, device)
    settings = extra.get("settings", {})
    args.dataset = args.dataset or settings.get("dataset")
    data = _dataset(args, False, shape[1:])
    known = extra.get("classes") or data.classes
    if (data.shape[0], len(data.classes)) != (shape[0], len(known)):
        raise ValueError(
            f"{args.checkpoint}: this network was trained on {len(known)} classes of images with {shape[0]} channels; "
            f"these are {len(data.classes)} classes with {data.shape[0]}"
        )
    loader = DataLoader(data.images, args.batch_size or settings.get("batch_size") or 256, num_workers=data.workers)
    found = train.evaluate(net, loader, device)
    print(f"{len(data.images):,} test images: loss {found['loss']:.3f}, test acc {found['accuracy']:.4f}")
    if args.confusion:
        _print_confusion(net, loader, device, data.classes)


def _print_confusion(net: Any, loader: Any, device: Any, classes: Sequence[str]) -> None:
    import numpy as np

    from numbanet.autograd import no_grad
    from numbanet.train import confusion_matrix

    matrix = np.zeros((len(classes), len(classes)), np.int64)
    with no_grad():
        for x, y in loader:
            matrix += confusion_matrix(net(x.to(device)), y, len(classes))
    width = max(len(name) for name in classes)
    print(f"{'label':<{width}}  " + " ".join(f"{i:>5}" for i in range(len(classes))) + "   recall")
    for i, (name, row) in enumerate(zip(classes, matrix, strict=True)):
        recall = row[i] / row.sum() if row.sum() else float("nan")
        print(f"{name:<{width}}  " + " ".join(f"{count:>5}" for count in row) + f"   {recall:6.3f}")


def _predict(args: argparse.Namespace) -> None:
    device = _set_up(args)
    import numpy as np
    from PIL import Image

    from numbanet.autograd import no_grad
    from numbanet.data import dataset_names
    from numbanet.data.folder import default_loader
    from numbanet.tensor import from_numpy

    net, (channels, height, width), extra = _checkpoint_model(args.checkpoint, device)
    classes = extra.get("classes")
    # The grey datasets are light on dark; of somebody's own images nothing is known.
    dark = channels == 1 and (extra.get("settings", {}).get("dataset") or "fashion-mnist") in dataset_names()
    for path in args.images:
        image = default_loader(path).convert("L" if channels == 1 else "RGB")
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        pixels = np.asarray(image, np.float32).reshape(height, width, channels).transpose(2, 0, 1) / np.float32(255)
        light_ground = np.median(np.concatenate([pixels[:, 0].ravel(), pixels[:, -1].ravel()])) > 0.5
        if args.invert:
            pixels = 1 - pixels
        elif dark and light_ground:
            print(f"{path}: the ground looks light, the training images' is dark; --invert may help", file=sys.stderr)
        with no_grad():
            scores = net(from_numpy(np.ascontiguousarray(pixels[None])).to(device)).cpu().numpy()[0].astype(np.float64)
        shares = np.exp(scores - scores.max())
        shares /= shares.sum()
        best = np.argsort(-shares, kind="stable")[: args.top]
        print(f"{path}: " + ", ".join(f"{classes[i] if classes else i} {shares[i]:.3f}" for i in best))


# ------------------------------------------------------------------------------------ models, summary, warmup, doctor


def _models(args: argparse.Namespace) -> None:
    from numbanet import models

    # The notes' networks go by their short names too.
    names = sorted({*models.list(args.pattern), *models.list(models.registry.NOTES + args.pattern)})
    if not names:
        raise UsageError(f"no network's name matches {args.pattern!r}")
    width = max(map(len, names))
    for name in names:
        info = models.info(name)
        print(f"{name:<{width}}  {'x'.join(map(str, info.input_shape)):<9}  {info.summary}")


def _summary(args: argparse.Namespace) -> None:
    info = _model_info(args.model)
    if args.graph and Path(args.graph).suffix not in (".svg", ".dot", ".gv"):
        raise UsageError(f"--graph: expected a file ending in .svg, .dot or .gv, got {args.graph}")
    device = _set_up(args)
    from contextlib import nullcontext

    from numbanet import inspect
    from numbanet.nn import init

    size = args.input or info.input_shape
    options = {"in_channels": size[0]} if size[0] != info.input_shape[0] else {}
    # Where no time is measured the weights do not matter, and large networks are there sooner without.
    with nullcontext() if args.timing else init.skipped():
        net = info.make(**options).to(device)
    shape = (args.batch_size, *size)
    print(info.summary)
    print(inspect.summary(net, shape, depth=args.depth, timing=args.timing))
    if args.graph:
        inspect.graph(net, shape, depth=args.depth).save(args.graph)
        print(f"graph in {args.graph}")


def _warmup(args: argparse.Namespace) -> None:
    device = _set_up(args)
    from tqdm import tqdm

    from numbanet.kernels.kernel import cache_folder

    start = time.perf_counter()
    with tqdm(list(_warmups(device)), unit="part") as bar:
        for name, run in bar:
            bar.set_description(name)
            run()
    print(f"kernels ready in {time.perf_counter() - start:.1f} s, kept in {cache_folder()}")


def _warmups(device: Any) -> list[tuple[str, Callable[[], None]]]:
    """What to run once so that the kernels of the notes' networks, and with them most of all, are compiled."""
    from numbanet import models, nn, optim
    from numbanet.tensor import zeros
    from numbanet.train import evaluate

    makers = {
        "sgd": lambda p: optim.SGD(p, lr=0.0),
        "sgd with momentum": lambda p: optim.SGD(p, lr=0.0, momentum=0.9),
        "adam": lambda p: optim.Adam(p, lr=0.0),
        "adamw": lambda p: optim.AdamW(p, lr=0.0),
    }

    def step(name: str, batch: int, size: int, make_optimizer: Callable[[Any], Any]) -> None:
        net = models.build(name).to(device)
        optimizer = make_optimizer(net.parameters())
        inputs, target = zeros((batch, 1, size, size), device=device), zeros(batch, dtype="int64", device=device)
        nn.CrossEntropyLoss()(net(inputs), target).backward()
        optimizer.step()
        evaluate(net, [(inputs, target)])

    # Small images, where a network takes them, call the same kernels. AlexNet and VGG have none that these have not.
    # In batches of a vector's length and more, small maps are computed another way (kernels/conv2d_images.py).
    runs = [("notes.lenet", 2, 28, kind) for kind in makers]
    runs += [
        (f"notes.{name}", 2, size, "sgd")
        for name, size in [("lenet_bn", 28), ("nin", 67), ("googlenet", 32), ("resnet18", 32), ("densenet", 32)]
    ]
    runs += [(f"notes.{name}", 16, 28, "sgd") for name in ("lenet", "lenet_bn")]
    return [(f"{name}, {kind}", partial(step, name, batch, size, makers[kind])) for name, batch, size, kind in runs]


def _doctor(args: argparse.Namespace) -> int:
    from numbanet import doctor

    if args.cuda_assemble:
        return doctor.assemble(args.cuda_assemble)
    return doctor.report()


if __name__ == "__main__":
    sys.exit(main())
