"""Whole networks: a training step, and inference."""

from __future__ import annotations

import numbanet
from benchmarks.networks import NETWORKS, Inference, Training
from numbanet import nn, optim  # noqa: F401 - imported at first use otherwise


class Steps:
    """A step of plain SGD, and the forward pass alone, at the network's usual batch size."""

    params = tuple(NETWORKS)
    param_names = ("network",)
    number = 1
    repeat = (3, 20, 3.0)
    warmup_time = 0.0  # setup has compiled, or loaded from the cache, and run it
    timeout = 600.0


class TrainingStep(Steps):
    def setup(self, name: str) -> None:
        self.step = Training(numbanet, NETWORKS[name])
        for _ in range(2):
            self.step()

    def time_training_step(self, name: str) -> None:
        self.step()


class ForwardPass(Steps):
    def setup(self, name: str) -> None:
        self.answer = Inference(numbanet, NETWORKS[name])
        for _ in range(2):
            self.answer()

    def time_inference(self, name: str) -> None:
        self.answer()
