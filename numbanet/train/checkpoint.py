"""Checkpoints: everything needed to go on training as if it had never stopped."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from numbanet import io
from numbanet.random import get_rng_state, set_rng_state

_KIND = "numbanet checkpoint"


def save_checkpoint(
    path: str | os.PathLike[str],
    model: Any,
    optimizer: Any = None,
    *,
    scheduler: Any = None,
    scaler: Any = None,
    epoch: int = 0,
    history: Any = (),
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint: a safetensors file whose tensors "model.*" are the weights.

    Args:
        path: the file; written whole, then put in the old one's place.
        model: a module.
        optimizer: its optimiser, if it should be kept.
        scheduler: its schedule, if there is one.
        scaler: the loss's scaler, if there is one.
        epoch: epochs done.
        history: rows of the history.
        extra: anything else that ``numbanet.save`` can store.
    """
    io.save(
        {
            "kind": _KIND,
            "model": model.state_dict(),
            "optimizer": None if optimizer is None else optimizer.state_dict(),
            "scheduler": None if scheduler is None else scheduler.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "epoch": epoch,
            "history": [dict(row) for row in history],
            "rng": get_rng_state(),
            "extra": dict(extra or {}),
        },
        path,
    )


def load_checkpoint(
    path: str | os.PathLike[str],
    model: Any = None,
    optimizer: Any = None,
    *,
    scheduler: Any = None,
    scaler: Any = None,
    rng: bool = True,
) -> dict[str, Any]:
    """Read a checkpoint and put back what is given.

    Args:
        path: the file.
        model: takes the weights.
        optimizer: takes its state.
        scheduler: takes its state.
        scaler: takes its state.
        rng: whether the default generator goes on from where it was (only with ``optimizer``).

    Returns:
        All that the file holds: "model", "optimizer", "scheduler", "scaler", "epoch", "history", "rng", "extra".

    Raises:
        ValueError: for a file that is damaged or no checkpoint, or that lacks what is asked for.
    """
    state = io.load(path)
    if not isinstance(state, dict) or state.get("kind") != _KIND:
        raise ValueError(f"{os.fspath(path)}: a file of tensors, but no checkpoint of numbanet's training")
    if model is not None:
        model.load_state_dict(state["model"])
    for name, target in (("optimizer", optimizer), ("scheduler", scheduler), ("scaler", scaler)):
        if target is not None:
            if not state.get(name):
                raise ValueError(f"{os.fspath(path)}: this checkpoint was saved without the {name}'s state")
            target.load_state_dict(state[name])
    if rng and optimizer is not None:
        set_rng_state(state["rng"])
    return state
