"""Callbacks: what happens beside training. A Trainer calls them in the order in which they were given."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numbanet.train.trainer import Trainer


class Callback:
    """Base of the callbacks: methods that do nothing. ``trainer`` is the Trainer that calls.

    A callback with a memory that should survive a resume gives it in ``state_dict`` and takes it in ``load_state_dict``.
    """

    def on_train_start(self, trainer: Trainer, epochs: int) -> None:
        """Training begins (or goes on) and will end after epoch ``epochs``."""

    def on_epoch_start(self, trainer: Trainer, epoch: int, steps: int | None) -> None:
        """An epoch begins; ``steps`` batches, where the loader has a length."""

    def on_batch_end(self, trainer: Trainer, step: int, images: int) -> None:
        """Step ``step`` (from 1) has been done on a batch of ``images``."""

    def on_epoch_end(self, trainer: Trainer, row: dict[str, Any]) -> None:
        """An epoch has been trained and evaluated; ``row`` is its row of the history."""

    def on_train_end(self, trainer: Trainer) -> None:
        """Training has come to its end."""

    def on_interrupt(self, trainer: Trainer) -> None:
        """Ctrl-C, or an error, broke training off."""

    def state_dict(self) -> dict[str, Any]:
        """What to keep in checkpoints."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state_dict`` gave."""


class ProgressBar(Callback):
    """A bar for each epoch: steps, images per second, loss and accuracy so far. Nothing where output is not a terminal.

    Args:
        show: True or False; None: only on a terminal.
    """

    interval = 0.2  # seconds between two drawings

    def __init__(self, show: bool | None = None) -> None:
        self.show = show
        self._bar: Any = None
        self._epochs = 0
        self._done = 0
        self._drawn = 0.0
        self._start = 0.0

    def on_train_start(self, trainer: Trainer, epochs: int) -> None:
        self._epochs = epochs

    def on_epoch_start(self, trainer: Trainer, epoch: int, steps: int | None) -> None:
        from tqdm.auto import tqdm

        disable = None if self.show is None else not self.show
        name = f"epoch {epoch}/{self._epochs}"
        self._bar = tqdm(total=steps, desc=name, unit="step", leave=False, disable=disable, mininterval=self.interval)
        self._done, self._start, self._drawn = 0, time.perf_counter(), 0.0

    def on_batch_end(self, trainer: Trainer, step: int, images: int) -> None:
        self._done += images
        if self._bar is None or self._bar.disable:
            return
        now = time.perf_counter()
        if now - self._drawn >= self.interval:  # sums that live on a GPU are fetched only when they are shown
            self._drawn = now
            loss, acc = trainer.running()
            rate = self._done / (now - self._start)
            self._bar.set_postfix_str(f"loss {loss:.3f}, acc {acc:.3f}, {rate:,.0f} images/s", refresh=False)
        self._bar.update()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def on_epoch_end(self, trainer: Trainer, row: dict[str, Any]) -> None:
        self._close()

    def on_interrupt(self, trainer: Trainer) -> None:
        self._close()


class EpochPrinter(Callback):
    """A line at the end of each epoch."""

    def on_train_start(self, trainer: Trainer, epochs: int) -> None:
        self._epochs = epochs

    def on_epoch_end(self, trainer: Trainer, row: dict[str, Any]) -> None:
        width = len(str(self._epochs))
        parts = [
            f"epoch {row['epoch']:>{width}}/{self._epochs}",
            f"loss {row['loss']:.3f}",
            f"train acc {row['train_acc']:.3f}",
        ]
        if "test_acc" in row:
            parts.append(f"test acc {row['test_acc']:.3f}")
        parts.append(f"{row['images_per_second']:,.0f} images/s")
        print("  ".join(parts), flush=True)


class CSVLogger(Callback):
    """The history as a CSV file, written anew after each epoch.

    Args:
        path: the file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def on_epoch_end(self, trainer: Trainer, row: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        trainer.history.to_csv(self.path)


class JSONLinesLogger(CSVLogger):
    """The history as a file with a JSON object on each line, written anew after each epoch."""

    def on_epoch_end(self, trainer: Trainer, row: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        trainer.history.to_jsonl(self.path)


def _better(value: float, best: float, mode: str, min_delta: float = 0.0) -> bool:
    return value > best + min_delta if mode == "max" else value < best - min_delta


def _mode(name: str, monitor: str, mode: str | None) -> str:
    if mode is None:
        mode = "min" if "loss" in monitor else "max"
    if mode not in ("min", "max"):
        raise ValueError(f"{name}: mode must be 'min' or 'max', got {mode!r}")
    return mode


def _monitored(name: str, monitor: str, row: Mapping[str, Any]) -> float:
    if monitor not in row:
        raise ValueError(f"{name}: no {monitor!r} among what an epoch gives: {', '.join(row)}")
    return float(row[monitor])


class Checkpoint(Callback):
    """Checkpoints in a folder: ``last.safetensors`` after every epoch and, with ``monitor``, ``best.safetensors``.

    Args:
        folder: made where it does not exist.
        monitor: a column of the history by which to tell the best epoch; None: keep only the last.
        mode: "min" or "max"; None: "min" for losses.
        every: epochs between two checkpoints (the last epoch always gets one).
        extra: anything else to keep in them, such as the model's name.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        monitor: str | None = None,
        mode: str | None = None,
        every: int = 1,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        if every < 1:
            raise ValueError(f"Checkpoint: every must be at least 1, got {every}")
        self.folder = Path(folder)
        self.monitor, self.every, self.extra = monitor, every, extra
        self.mode = _mode("Checkpoint", monitor or "", mode)
        self.best = -math.inf if self.mode == "max" else math.inf
        self._saved_epoch = -1

    @property
    def last_path(self) -> Path:
        """Where the last checkpoint lies."""
        return self.folder / "last.safetensors"

    @property
    def best_path(self) -> Path:
        """Where the best one lies, with ``monitor``."""
        return self.folder / "best.safetensors"

    def on_epoch_end(self, trainer: Trainer, row: dict[str, Any]) -> None:
        if self.monitor is not None:
            value = _monitored("Checkpoint", self.monitor, row)
            if _better(value, self.best, self.mode):
                self.best = value
                self._save(trainer, self.best_path)
        if row["epoch"] % self.every == 0:
            self._save_last(trainer)

    def on_train_end(self, trainer: Trainer) -> None:
        if len(trainer.history) and self._saved_epoch != trainer.epoch:
            self._save_last(trainer)

    def _save_last(self, trainer: Trainer) -> None:
        self._save(trainer, self.last_path)
        self._saved_epoch = trainer.epoch

    def _save(self, trainer: Trainer, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        trainer.save(path, self.extra)

    def on_interrupt(self, trainer: Trainer) -> None:
        if self.last_path.is_file() and self._saved_epoch > 0:
            print(f"saved: epoch {self._saved_epoch} in {self.last_path}; resume from there", file=sys.stderr)
        else:
            print("no epoch was finished: no checkpoint was saved", file=sys.stderr)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.best = state["best"]


class EarlyStopping(Callback):
    """Stop when a column of the history has not become better for ``patience`` epochs.

    Args:
        monitor: the column.
        patience: epochs to wait.
        min_delta: smaller changes are none.
        mode: "min" or "max"; None: "min" for losses.
    """

    def __init__(
        self, monitor: str = "test_acc", patience: int = 5, min_delta: float = 0.0, mode: str | None = None
    ) -> None:
        if patience < 1:
            raise ValueError(f"EarlyStopping: patience must be at least 1, got {patience}")
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self.mode = _mode("EarlyStopping", monitor, mode)
        self.best = -math.inf if self.mode == "max" else math.inf
        self.waited = 0

    def on_epoch_end(self, trainer: Trainer, row: dict[str, Any]) -> None:
        value = _monitored("EarlyStopping", self.monitor, row)
        if _better(value, self.best, self.mode, self.min_delta):
            self.best, self.waited = value, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            trainer.stop(f"{self.monitor} has not become better than {self.best:.4g} for {self.waited} epochs")

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.best, self.waited = state["best"], state["waited"]
