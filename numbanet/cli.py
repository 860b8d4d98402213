"""The command ``numbanet``: train, evaluate, predict, summary, warmup, doctor.

Everything heavy is imported by the command that needs it, so that ``numbanet --help`` is quick.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

# What a command fails with when the user, a file or the machine is at fault: one line, no traceback.
_EXIT_ERROR, _EXIT_USAGE, _EXIT_INTERRUPTED = 1, 2, 130

# Settings by data in use. The notes' own for the full 60,000 images; the sample's 5,000 give so few steps that plain SGD
# hardly leaves the plateau on which sigmoid networks begin, so there Adam and smaller batches.
_FULL = {"optimizer": "sgd", "epochs": 10, "batch_size": 256}
_SAMPLE = {"optimizer": "adam", "epochs": 20, "batch_size": 32}
_SGD_LR = {"lenet": 0.9, "lenet_bn": 1.0}
_ADAM_LR = {"sample": 0.003, "full": 0.001}


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


_positive_int = _number(int, 1, "an int of at least 1")
_natural = _number(int, 0, "an int of at least 0")
_positive_float = _number(float, 0, "a number above 0", above=True)
_non_negative = _number(float, 0, "a number of at least 0")


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cpu", metavar="DEVICE", help="cpu, cuda or cuda:INDEX (default: cpu)")
    parser.add_argument("--threads", type=_positive_int, metavar="N", help="CPU threads (default: all cores)")


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", metavar="DIR", help="folder with the dataset's files (default: the usual places)")
    parser.add_argument("--dataset", choices=("fashion-mnist", "mnist"), help="which dataset (default: fashion-mnist)")
    parser.add_argument("--sample", action="store_true", default=None, help="use the embedded sample of Fashion-MNIST")


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
        epilog="Defaults depend on the data: SGD with learning rate 0.9 (lenet) or 1.0 (lenet_bn), batches of 256 and 10 "
        "epochs on all 60,000 images; Adam with 0.003, batches of 32 and 20 epochs on the embedded sample.",
    )
    sub.add_argument("model", help="its name, such as lenet or lenet_bn")
    _add_data(sub)
    sub.add_argument("--epochs", type=_positive_int, metavar="N", help="epochs in all")
    sub.add_argument("--batch-size", type=_positive_int, metavar="N", help="images per step")
    sub.add_argument("--optimizer", choices=("sgd", "adam", "adamw"), help="the optimiser")
    sub.add_argument("--lr", type=_positive_float, metavar="RATE", help="learning rate")
    sub.add_argument("--momentum", type=_non_negative, metavar="M", help="momentum of sgd (default: 0)")
    sub.add_argument("--weight-decay", type=_non_negative, metavar="W", help="weight decay (default: 0)")
    sub.add_argument("--seed", type=_natural, metavar="N", help="seed of weights and order (default: 0)")
    sub.add_argument("-o", "--output", "--out", metavar="DIR", help="folder for the results (default: runs/MODEL)")
    sub.add_argument("--resume", action="store_true", help="go on from the folder's last checkpoint, with its settings")
    _add_common(sub)

    sub = command("evaluate", _evaluate, "measure a trained network on the test images")
    sub.add_argument("checkpoint", help="a checkpoint that 'numbanet train' wrote")
    _add_data(sub)
    sub.add_argument("--batch-size", type=_positive_int, default=256, metavar="N", help="images at once (default: 256)")
    sub.add_argument("--confusion", action="store_true", help="print which classes are taken for which")
    _add_common(sub)

    sub = command("predict", _predict, "classify images with a trained network")
    sub.add_argument("checkpoint", help="a checkpoint that 'numbanet train' wrote")
    sub.add_argument("images", nargs="+", metavar="IMAGE", help="image files; they are made grey and resized")
    sub.add_argument("--top", type=_positive_int, default=3, metavar="K", help="how many classes to show (default: 3)")
    sub.add_argument(
        "--invert", action="store_true", help="for dark things on light ground: the training images are light on dark"
    )
    _add_common(sub)

    sub = command("summary", _summary, "show a network's layers, output shapes and parameters")
    sub.add_argument("model", help="its name, such as lenet or lenet_bn")
    sub.add_argument("--batch-size", type=_positive_int, default=1, metavar="N", help="images at once (default: 1)")

    sub = command("warmup", _warmup, "compile the kernels now rather than at their first use")
    _add_common(sub)

    command("doctor", _doctor, "show versions, processor, threads, caches, datasets and CUDA")
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
        text = " ".join(str(error).split()) or type(error).__name__
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


def _sample_dataset(train: bool) -> Any:
    import numpy as np

    from numbanet.data import TensorDataset, load_fashion_mnist_sample
    from numbanet.tensor import from_numpy

    images, labels = load_fashion_mnist_sample(train)
    return TensorDataset(from_numpy((images[:, None] / np.float32(255)).astype(np.float32)), from_numpy(labels))


def _dataset(args: argparse.Namespace, train: bool) -> tuple[Any, list[str], bool]:
    """(dataset of tensors, names of its classes, whether it is the sample)."""
    from numbanet.data import MNIST, FashionMNIST, transforms

    if args.sample:
        if args.dataset == "mnist":
            raise UsageError("--sample: there is a sample of fashion-mnist only")
        return _sample_dataset(train), FashionMNIST.classes, True
    kind = MNIST if args.dataset == "mnist" else FashionMNIST
    dataset = kind(args.data, train=train, transform=transforms.ToTensor())
    return dataset, kind.classes, kind is FashionMNIST and Path(dataset.source).parent.name == "data"


def _kernels_are_cold() -> bool:
    from numbanet.kernels.kernel import cache_folder

    return not any(cache_folder().glob("*.nbc"))


def _checkpoint_model(path: str, device: Any) -> tuple[Any, dict[str, Any]]:
    """The network of a checkpoint, ready to evaluate, and what else the checkpoint holds."""
    from numbanet import models
    from numbanet.train import load_checkpoint

    state = load_checkpoint(path)
    name = state["extra"].get("model")
    if name is None:
        raise ValueError(f"{path}: this checkpoint does not say which network it holds; load it from Python")
    net = models.build(name)
    net.load_state_dict(state["model"])
    return net.to(device).eval(), state


# ------------------------------------------------------------------------------------------------------------- train

_SETTINGS = ("dataset", "sample", "epochs", "batch_size", "optimizer", "lr", "momentum", "weight_decay", "seed")


def _train(args: argparse.Namespace) -> None:
    info = _model_info(args.model)
    if info.task != "classification":
        raise UsageError(
            f"{args.model} is for {info.task}, and this command trains classifiers; see the folder examples"
        )
    device = _set_up(args)
    from numbanet import optim, train
    from numbanet.data import DataLoader
    from numbanet.random import manual_seed

    folder = Path(args.output or Path("runs") / args.model)
    last = folder / "last.safetensors"
    if args.resume:
        _take_settings(args, last)
    train_set, classes, is_sample = _dataset(args, True)
    test_set, _, _ = _dataset(args, False)
    for name, value in (_SAMPLE if is_sample else _FULL).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    if args.lr is None:
        args.lr = (
            _SGD_LR.get(args.model, 0.1) if args.optimizer == "sgd" else _ADAM_LR["sample" if is_sample else "full"]
        )
    if args.momentum and args.optimizer != "sgd":
        raise UsageError("--momentum belongs to --optimizer sgd")
    folder.mkdir(parents=True, exist_ok=True)

    manual_seed(args.seed or 0)
    net = info.make()
    net.apply(train.notes.init_weights)
    net.to(device)
    optimizer = _optimizer(optim, args, net)
    settings = {name: getattr(args, name) for name in _SETTINGS}
    checkpoint = train.Checkpoint(folder, extra={"model": args.model, "classes": list(classes), "settings": settings})
    callbacks = [train.ProgressBar(), train.EpochPrinter(), train.CSVLogger(folder / "history.csv"), checkpoint]
    cold = _kernels_are_cold() and device.type == "cpu"
    if cold:
        callbacks.insert(0, _compile_timer(train))
    trainer = train.Trainer(net, optimizer, device=device, callbacks=callbacks, progress=False)
    if args.resume:
        trainer.resume(last)
        if trainer.epoch >= args.epochs:
            print(f"{last} has {trainer.epoch} epochs already; ask for more with --epochs")
    print(
        f"{args.model} on {len(train_set):,} images ({'sample of ' if is_sample else ''}{args.dataset or 'fashion-mnist'}), "
        f"{args.optimizer} lr {args.lr:g}, batches of {args.batch_size}, {device}"
    )
    train_loader, test_loader = DataLoader(train_set, args.batch_size, shuffle=True), DataLoader(test_set, 256)
    start = time.perf_counter()
    history = trainer.fit(train_loader, test_loader, epochs=args.epochs)
    seconds = time.perf_counter() - start
    print(f"{history.summary()}  ({seconds:.1f} s)")
    _write_results(net, history, folder, last)


def _take_settings(args: argparse.Namespace, path: Path) -> None:
    """Settings that were not given come from the checkpoint to resume."""
    from numbanet.train import load_checkpoint

    if not path.is_file():
        raise UsageError(f"--resume: there is no checkpoint {path}")
    extra = load_checkpoint(path)["extra"]
    if extra.get("model") != args.model:
        raise UsageError(f"--resume: {path} holds the network {extra.get('model')!r}, not {args.model!r}")
    for name, value in extra.get("settings", {}).items():
        if name in _SETTINGS and getattr(args, name) is None:
            setattr(args, name, value)


def _optimizer(optim: Any, args: argparse.Namespace, net: Any) -> Any:
    decay = args.weight_decay or 0.0
    if args.optimizer == "sgd":
        return optim.SGD(net.parameters(), lr=args.lr, momentum=args.momentum or 0.0, weight_decay=decay)
    return {"adam": optim.Adam, "adamw": optim.AdamW}[args.optimizer](net.parameters(), lr=args.lr, weight_decay=decay)


def _compile_timer(train: Any) -> Any:
    """A callback that says that kernels are being compiled, and when that is over."""

    class CompileTimer(train.Callback):
        def on_epoch_start(self, trainer: Any, epoch: int, steps: int | None) -> None:
            self.start = time.perf_counter()
            if not trainer.history.rows:
                print("compiling kernels (once on this machine) ...", flush=True)

        def on_batch_end(self, trainer: Any, step: int, images: int) -> None:
            if step == 1 and not trainer.history.rows:
                print(f"compiled and first step done in {time.perf_counter() - self.start:.1f} s", flush=True)

    return CompileTimer()


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

    net, state = _checkpoint_model(args.checkpoint, device)
    settings = state["extra"].get("settings", {})
    args.dataset = args.dataset or settings.get("dataset")
    dataset, classes, _ = _dataset(args, False)
    loader = DataLoader(dataset, args.batch_size)
    found = train.evaluate(net, loader, device)
    print(f"{len(dataset):,} test images: loss {found['loss']:.3f}, test acc {found['accuracy']:.4f}")
    if args.confusion:
        _print_confusion(net, loader, device, classes)


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
    from PIL import Image, UnidentifiedImageError

    from numbanet import models
    from numbanet.autograd import no_grad
    from numbanet.tensor import from_numpy

    net, state = _checkpoint_model(args.checkpoint, device)
    channels, height, width = models.info(state["extra"]["model"]).input_shape
    classes = state["extra"].get("classes")
    for path in args.images:
        try:
            with Image.open(path) as picture:
                image = picture.convert("L" if channels == 1 else "RGB").resize(
                    (width, height), Image.Resampling.BILINEAR
                )
        except UnidentifiedImageError:
            raise ValueError(f"{path}: not an image file that can be read") from None
        pixels = np.asarray(image, np.float32).reshape(height, width, channels).transpose(2, 0, 1) / np.float32(255)
        light_ground = np.median(np.concatenate([pixels[:, 0].ravel(), pixels[:, -1].ravel()])) > 0.5
        if args.invert:
            pixels = 1 - pixels
        elif light_ground:
            print(f"{path}: the ground looks light, the training images' is dark; --invert may help", file=sys.stderr)
        with no_grad():
            scores = net(from_numpy(np.ascontiguousarray(pixels[None])).to(device)).cpu().numpy()[0].astype(np.float64)
        shares = np.exp(scores - scores.max())
        shares /= shares.sum()
        best = np.argsort(-shares, kind="stable")[: args.top]
        print(f"{path}: " + ", ".join(f"{classes[i] if classes else i} {shares[i]:.3f}" for i in best))


# ------------------------------------------------------------------------------------------- summary, warmup, doctor


def _summary(args: argparse.Namespace) -> None:
    info = _model_info(args.model)
    from numbanet.inspect import summary

    print(info.summary)
    print(summary(info.make(), (args.batch_size, *info.input_shape)))


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
    """What to run once so that all kernels of the registered networks' training are compiled."""
    from numbanet import models, nn, optim
    from numbanet.tensor import zeros
    from numbanet.train import evaluate

    makers = {
        "sgd": lambda p: optim.SGD(p, lr=0.0, momentum=0.9),
        "adam": lambda p: optim.Adam(p, lr=0.0),
    }

    def step(name: str, make_optimizer: Callable[[Any], Any]) -> None:
        info = models.info(name)
        net = info.make().to(device)
        optimizer = make_optimizer(net.parameters())
        inputs, target = zeros((2, *info.input_shape), device=device), zeros(2, dtype="int64", device=device)
        nn.CrossEntropyLoss()(net(inputs), target).backward()
        optimizer.step()
        evaluate(net, [(inputs, target)])

    classifiers = [name for name in models.names() if models.info(name).task == "classification"]
    return [(f"{name}, {kind}", partial(step, name, make)) for name in classifiers for kind, make in makers.items()]


def _doctor(args: argparse.Namespace) -> None:
    from numbanet import __version__

    def line(name: str, find: Callable[[], Any]) -> None:
        try:
            value = find()
        except Exception as error:  # one thing that is broken must not hide the others: finding it is the point
            value = f"{type(error).__name__}: {' '.join(str(error).split())}"
        print(f"{name:<16}{value}")

    def version(name: str) -> str:
        from importlib.metadata import PackageNotFoundError
        from importlib.metadata import version as find

        try:
            return find(name)
        except PackageNotFoundError:
            return "not installed"

    print(f"numbanet {__version__}")
    line("python", lambda: f"{sys.version.split()[0]} on {sys.platform} ({sys.executable})")
    for package in ("numba", "llvmlite", "numpy", "numba-cuda", "safetensors", "pillow", "tqdm", "matplotlib"):
        line(package, partial(version, package))
    line("processor", _describe_processor)
    line("threads", _describe_threads)
    line("kernel cache", _describe_cache)
    for name in ("FashionMNIST", "MNIST"):
        line(name, partial(_describe_dataset, name))
    line("cuda", _describe_cuda)


def _describe_processor() -> str:
    import llvmlite.binding as llvm

    from numbanet.kernels.simd import VECTOR_BITS

    return f"{llvm.get_host_cpu_name()}, {os.cpu_count()} cores, vectors of {VECTOR_BITS} bits"


def _describe_threads() -> str:
    from numba import config

    from numbanet.threads import get_num_threads, threading_layer

    layer = threading_layer()
    return f"{get_num_threads()} of {config.NUMBA_NUM_THREADS}, threading layer {layer}"


def _describe_cache() -> str:
    from numbanet.kernels.kernel import cache_folder

    files = list(cache_folder().glob("*.nbc"))
    size = sum(file.stat().st_size for file in files)
    state = f"{len(files)} kernels, {size / 1e6:.1f} MB" if files else "empty: 'numbanet warmup' fills it"
    return f"{cache_folder()} ({state})"


def _describe_dataset(name: str) -> str:
    from numbanet import data

    try:
        found = getattr(data, name)(train=True, download=False)
    except RuntimeError:
        return "not on this machine" + (" (the embedded sample is used)" if name == "FashionMNIST" else "")
    return f"{len(found):,} training images in {found.source}"


def _describe_cuda() -> str:
    from numbanet import devices

    reason = devices.unavailable_reason()
    if reason:
        return reason
    return "simulator" if devices.SIMULATOR else ", ".join(str(gpu.name.decode()) for gpu in devices.cuda.gpus)


if __name__ == "__main__":
    sys.exit(main())
