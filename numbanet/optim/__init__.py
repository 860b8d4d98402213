"""Optimisers and learning-rate schedules under PyTorch's names."""

from numbanet.optim import lr_scheduler
from numbanet.optim.adam import Adam, AdamW
from numbanet.optim.optimizer import Optimizer
from numbanet.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "lr_scheduler"]
