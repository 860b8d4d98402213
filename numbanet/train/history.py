"""History: a row of numbers for each epoch."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class History:
    """What training recorded, epoch by epoch.

    ``history[-1]`` is the last epoch's row, ``history["loss"]`` the column of losses.

    Attributes:
        rows: a dict for each epoch: epoch (from 1), loss, train_acc, test_loss, test_acc, lr, seconds, images_per_second.
    """

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self.rows: list[Row] = [dict(row) for row in rows]

    def append(self, row: Row) -> None:
        """Add an epoch."""
        self.rows.append(row)

    def columns(self) -> list[str]:
        """The names of all columns, in order of appearance."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, int):
            return self.rows[key]
        if not any(key in row for row in self.rows):
            raise KeyError(f"the history has no column {key!r}; it has {', '.join(self.columns())}")
        return [row.get(key) for row in self.rows]

    def __repr__(self) -> str:
        return f"History({len(self)} epochs: {self.rows[-1]})" if self.rows else "History(0 epochs)"

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a table with a header line."""
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns(), restval="")
            writer.writeheader()
            writer.writerows(self.rows)

    def to_jsonl(self, path: str | os.PathLike[str]) -> None:
        """Write a JSON object on each line."""
        Path(path).write_text("".join(json.dumps(row) + "\n" for row in self.rows), encoding="utf-8")

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw loss and accuracies over the epochs; see ``numbanet.inspect.plot_curves``."""
        from numbanet.inspect import plot_curves

        return plot_curves(self.rows, path)

    def summary(self) -> str:
        """The last epoch in one line: ``loss 0.469, train acc 0.823, test acc 0.779``."""
        if not self.rows:
            return "no epoch was trained"
        names = (("loss", "loss"), ("train_acc", "train acc"), ("test_acc", "test acc"))
        return ", ".join(f"{label} {self.rows[-1][name]:.3f}" for name, label in names if name in self.rows[-1])
