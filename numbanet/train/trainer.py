"""Trainer: the training loop, with callbacks around it; and evaluation."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any

from numbanet import optim
from numbanet.amp import GradScaler, autocast
from numbanet.autograd import no_grad
from numbanet.devices import as_device
from numbanet.dtypes import bfloat16, float16
from numbanet.tensor import Tensor
from numbanet.train.auxiliary import main_scores, with_auxiliary
from numbanet.train.callbacks import Callback, EpochPrinter, ProgressBar
from numbanet.train.checkpoint import load_checkpoint, save_checkpoint
from numbanet.train.history import History
from numbanet.train.metrics import count_correct

AMP = {"bf16": bfloat16, "fp16": float16}
_QUEUE = 16  # steps whose results may wait on a GPU before they are fetched


class TrainingDiverged(RuntimeError):
    """The loss became NaN or infinite."""


class _Sums:
    """Sums of loss and right predictions over an epoch.

    Fetching a number from a GPU waits for all its work, so results on CUDA are fetched a few steps at a time.
    """

    def __init__(self, refuse: bool = False) -> None:
        self.refuse = refuse  # losses that are not finite
        self.loss, self.correct, self.images, self.steps = 0.0, 0, 0, 0
        self._waiting: list[tuple[Any, Any, Any, int]] = []

    def add(self, loss: Any, output: Any, target: Any) -> None:
        self._waiting.append((loss.detach(), main_scores(output).detach(), target, len(target)))
        if not loss.is_cuda or len(self._waiting) >= _QUEUE:
            self.fetch()

    def fetch(self) -> None:
        waiting, self._waiting = self._waiting, []
        for loss, output, target, images in waiting:
            value = loss.item()
            self.steps += 1
            if self.refuse and not math.isfinite(value):
                raise _NotFinite(value, self.steps)
            self.loss += value * images
            try:
                self.correct += count_correct(output, target)
            except ValueError as error:
                raise ValueError(
                    f"{error}. Trainer and evaluate are for classifiers; for another task write the loop yourself, see the README"
                ) from None
            self.images += images

    def means(self) -> tuple[float, float]:
        """(loss, accuracy) so far."""
        self.fetch()
        return (self.loss / self.images, self.correct / self.images) if self.images else (math.nan, math.nan)


class _NotFinite(Exception):
    def __init__(self, value: float, step: int) -> None:
        super().__init__(value, step)
        self.value, self.step = value, step


def _on(batch: Any, device: Any) -> Any:
    """A batch (a tensor, or nested lists and mappings of them) on ``device``; to CUDA it is copied in the background."""
    if isinstance(batch, list | tuple):
        return [_on(item, device) for item in batch]
    if isinstance(batch, Mapping):
        return {key: _on(item, device) for key, item in batch.items()}
    if not isinstance(batch, Tensor):
        raise TypeError(
            f"expected a loader's batches as [inputs, labels] of tensors, found a {type(batch).__name__} in one; "
            "from_numpy makes tensors of arrays, and names of classes must become their numbers"
        )
    if device.type == "cuda" and not batch.is_cuda:
        return batch.pin_memory().to(device, non_blocking=True)
    return batch.to(device)


def _pair(batch: Any, device: Any) -> Any:
    """A batch [inputs, labels] on ``device``."""
    if not isinstance(batch, list | tuple) or len(batch) != 2:
        what = (
            f"a dict with {', '.join(map(str, batch))}"
            if isinstance(batch, Mapping)
            else f"a {type(batch).__name__}" + (f" of {len(batch)}" if isinstance(batch, list | tuple) else "")
        )
        raise TypeError(
            f"expected a loader's batches as [inputs, labels], got {what}; a collate_fn of the DataLoader can make such pairs"
        )
    return _on(batch, device)


def _ahead(loader: Iterable[Any], device: Any) -> Iterator[Any]:
    """A loader's batches [inputs, labels] on ``device``. On CUDA each is on its way there before the one before it is handed out.

    An error of the loader comes after the batches before it, as without this.
    """
    if device.type != "cuda":
        for batch in loader:
            yield _pair(batch, device)
        return
    batches, waiting, error = iter(loader), None, None
    while error is None:
        try:
            coming = _pair(next(batches), device)
        except Exception as found:
            coming, error = None, found
        if waiting is not None:
            yield waiting
        waiting = coming
    if not isinstance(error, StopIteration):
        raise error


def _autocast(amp: str | None, device: Any) -> autocast:
    """The context in which a network computes with ``amp`` None, "bf16" or "fp16"."""
    if amp is not None and amp not in AMP:
        raise ValueError(f"amp: expected None, {' or '.join(map(repr, AMP))}, got {amp!r}")
    return autocast(device.type, dtype=None if amp is None else AMP[amp], enabled=amp is not None)


def evaluate(
    net: Any, loader: Iterable[Any], device: Any = None, loss: Any = None, amp: str | None = None
) -> dict[str, float]:
    """Mean loss and accuracy of a network over a loader's batches [X, y], in evaluation mode.

    Args:
        net: gives scores (N, classes); its mode is put back afterwards.
        loader: batches of images and labels.
        device: where to compute; None: where the network's parameters are.
        loss: takes scores and labels; None: cross-entropy. See :class:`~numbanet.train.AuxiliaryLoss` for networks that give
            several scores.
        amp: "bf16" or "fp16" to compute under autocast in that half precision; None: as the parameters are.

    Returns:
        {"loss": ..., "accuracy": ...}.
    """
    loss = with_auxiliary(loss)
    device = _device_of(net) if device is None else as_device(device)
    training = net.training
    net.eval()
    sums = _Sums()
    try:
        with no_grad():
            for inputs, target in _ahead(loader, device):
                with _autocast(amp, device):
                    output = net(inputs)
                    value = loss(output, target)
                sums.add(value, output, target)
    finally:
        net.train(training)
    mean, accuracy = sums.means()
    if not sums.images:
        raise ValueError("evaluate: the loader gave no batch")
    return {"loss": mean, "accuracy": accuracy}


def _device_of(net: Any) -> Any:
    for parameter in net.parameters():
        return parameter.device
    return as_device(None)


class Trainer:
    """Trains a network to classify, epoch by epoch.

    Args:
        net: the network, giving scores (N, classes). In training it may give those of auxiliary classifiers too, whose losses
            :class:`~numbanet.train.AuxiliaryLoss` adds; the history's training loss is that sum.
        optimizer: its optimiser; None: SGD with ``lr``.
        loss: takes scores and labels; None: cross-entropy.
        lr: learning rate of the SGD that is made where ``optimizer`` is None.
        device: where to train; None: where the network is.
        scheduler: a learning-rate schedule, stepped after each epoch; ``ReduceLROnPlateau`` watches the test loss, or the
            training loss where nothing is tested.
        callbacks: called at each point of training; see :class:`~numbanet.train.callbacks.Callback`.
        progress: whether to show a bar in each epoch and print a line after it.
        amp: "bf16" or "fp16" to train under autocast in that half precision, with float32 parameters; "fp16" scales the loss (see
            :class:`~numbanet.amp.GradScaler`). None: no autocast.

    Attributes:
        history: a row for each epoch.
        epoch: epochs done.
        scaler: the loss's scaler; it does nothing but for "fp16".

    Example::

        train_loader, test_loader = load_data_fashion_mnist(256)
        net = models.lenet()
        trainer = Trainer(net, optim.SGD(net.parameters(), lr=0.9))
        history = trainer.fit(train_loader, test_loader, epochs=10)
        history.plot("curves.png")
    """

    def __init__(
        self,
        net: Any,
        optimizer: Any = None,
        loss: Any = None,
        *,
        lr: float | None = None,
        device: Any = None,
        scheduler: Any = None,
        callbacks: Sequence[Callback] = (),
        progress: bool = True,
        amp: str | None = None,
    ) -> None:
        if isinstance(optimizer, int | float):
            optimizer, lr = None, float(optimizer)
        if (optimizer is None) == (lr is None):
            raise ValueError("Trainer: give either an optimizer, or lr for plain SGD")
        if isinstance(optimizer, optim.LBFGS):
            raise TypeError(
                "Trainer: LBFGS evaluates the network several times a step, which a Trainer does not; write the loop yourself, "
                "with optimizer.step(closure)"
            )
        if lr is None:
            own = {id(parameter) for parameter in net.parameters()}
            if not any(id(parameter) in own for group in optimizer.param_groups for parameter in group["params"]):
                raise ValueError(
                    "Trainer: the optimizer holds none of this network's parameters, so nothing would be learnt; make it of "
                    "net.parameters(), after the network"
                )
        self.device = _device_of(net) if device is None else as_device(device)
        _autocast(amp, self.device)  # refuses what it does not know
        self.amp, self.scaler = amp, GradScaler(enabled=amp == "fp16")
        self.net = net.to(self.device)  # parameters stay the same objects, so an optimiser made before is good
        self.optimizer = optim.SGD(net.parameters(), lr=lr) if lr is not None else optimizer
        self.loss = with_auxiliary(loss)
        self.scheduler = scheduler
        self.callbacks = ([ProgressBar(), EpochPrinter()] if progress else []) + list(callbacks)
        self.history = History()
        self.epoch = 0
        self._sums = _Sums()
        self._why_stop = ""

    # ------------------------------------------------------------------ the loop

    def fit(self, train_loader: Iterable[Any], test_loader: Iterable[Any] | None = None, epochs: int = 10) -> History:
        """Train until ``epochs`` epochs are done, those of a resumed training included.

        Args:
            train_loader: batches [X, y] to learn from.
            test_loader: batches to evaluate after each epoch; None: none.
            epochs: how many in all.

        Returns:
            The history.

        Raises:
            ValueError: before training, where a callback watches tests and there is no test_loader.
            TrainingDiverged: when the loss is no finite number any more.
            KeyboardInterrupt: passed on after the callbacks have saved what there is.
        """
        self._why_stop = ""
        for callback in self.callbacks:
            monitor = getattr(callback, "monitor", None)
            if test_loader is None and monitor in ("test_loss", "test_acc"):
                raise ValueError(
                    f"fit: {type(callback).__name__} watches {monitor!r}, which an epoch does not give without a test_loader"
                )
        try:
            self._call("on_train_start", epochs)
            while self.epoch < epochs and not self._why_stop:
                self._one_epoch(train_loader, test_loader)
            if self._why_stop:
                print(f"stopped after epoch {self.epoch}: {self._why_stop}")
            self._call("on_train_end")
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                print(f"\ninterrupted in epoch {self.epoch + 1}, after {self.epoch} whole epochs", file=sys.stderr)
            self._call("on_interrupt")
            raise
        return self.history

    def _one_epoch(self, train_loader: Iterable[Any], test_loader: Iterable[Any] | None) -> None:
        epoch = self.epoch + 1
        steps = len(train_loader) if isinstance(train_loader, Sized) else None
        self._call("on_epoch_start", epoch, steps)
        lr = self.optimizer.param_groups[0]["lr"]
        self._sums = _Sums(refuse=True)
        self.net.train()
        start = time.perf_counter()
        try:
            for step, (inputs, target) in enumerate(_ahead(train_loader, self.device), 1):
                self._one_step(inputs, target)
                self._call("on_batch_end", step, len(target))
            loss, train_acc = self._sums.means()
        except _NotFinite as seen:
            raise TrainingDiverged(
                f"the loss became {seen.value} at step {seen.step} of epoch {epoch} (learning rate {lr:g}): a lower learning "
                "rate usually helps; check the inputs for nan too"
            ) from None
        if not self._sums.images:
            raise ValueError(
                "fit: the training loader gave no batch (is the dataset smaller than a batch, with drop_last? "
                "or the loader an iterator, which one epoch uses up?)"
            )
        seconds = time.perf_counter() - start
        row: dict[str, Any] = {"epoch": epoch, "loss": loss, "train_acc": train_acc}
        if test_loader is not None:
            found = self.evaluate(test_loader)
            row["test_loss"], row["test_acc"] = found["loss"], found["accuracy"]
        row |= {"lr": lr, "seconds": seconds, "images_per_second": self._sums.images / seconds}
        if isinstance(self.scheduler, optim.lr_scheduler.ReduceLROnPlateau):
            self.scheduler.step(row.get("test_loss", loss))
        elif self.scheduler is not None:
            self.scheduler.step()
        self.epoch = epoch
        self.history.append(row)
        # The checkpoint comes last: it keeps what the other callbacks remember.
        for callback in sorted(self.callbacks, key=lambda callback: hasattr(callback, "last_path")):
            callback.on_epoch_end(self, row)

    def _one_step(self, inputs: Any, target: Any) -> None:
        self.optimizer.zero_grad()
        with _autocast(self.amp, self.device):
            output = self.net(inputs)
            loss = self.loss(output, target)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self._sums.add(loss, output, target)

    def _call(self, event: str, *args: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self, *args)

    def running(self) -> tuple[float, float]:
        """Mean (loss, accuracy) of the epoch so far."""
        return self._sums.means()

    def stop(self, reason: str) -> None:
        """End training after this epoch; callbacks call it."""
        self._why_stop = reason

    def evaluate(self, loader: Iterable[Any]) -> dict[str, float]:
        """Mean loss and accuracy over a loader's batches; see :func:`evaluate`."""
        return evaluate(self.net, loader, self.device, self.loss, self.amp)

    # ------------------------------------------------------------------ checkpoints

    def save(self, path: str | os.PathLike[str], extra: Mapping[str, Any] | None = None) -> None:
        """Write a checkpoint: weights, optimiser, schedule, loss scale, epoch, history, random state, callbacks' memory."""
        states = [[type(callback).__name__, callback.state_dict()] for callback in self.callbacks]
        save_checkpoint(
            path,
            self.net,
            self.optimizer,
            scheduler=self.scheduler,
            scaler=self.scaler,
            epoch=self.epoch,
            history=self.history,
            extra={**(extra or {}), "callbacks": [state for state in states if state[1]]},
        )

    def resume(self, path: str | os.PathLike[str]) -> dict[str, Any]:
        """Go on from a checkpoint exactly as if training had never stopped; returns what it holds.

        One that was written on another device, or with another ``amp``, will do.
        With a loader that has a generator of its own, put that generator's state back too.
        """
        state = load_checkpoint(path, self.net, self.optimizer, scheduler=self.scheduler)
        if state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])
        self.epoch = state["epoch"]
        self.history = History(state["history"])
        kept = list(state["extra"].get("callbacks", ()))
        for callback in self.callbacks:
            for entry in kept:
                if entry[0] == type(callback).__name__:
                    callback.load_state_dict(entry[1])
                    kept.remove(entry)
                    break
        return state
