"""Optimisers and learning-rate schedules under PyTorch's names."""

from numbanet.optim import lr_scheduler
from numbanet.optim.adam import Adam, Adamax, AdamW, NAdam, RAdam
from numbanet.optim.adaptive import Adadelta, Adagrad, RMSprop, Rprop
from numbanet.optim.lbfgs import LBFGS
from numbanet.optim.optimizer import Optimizer
from numbanet.optim.regularization import elastic_net_penalty, l1_penalty
from numbanet.optim.sgd import ASGD, SGD

__all__ = [
    "ASGD",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "elastic_net_penalty",
    "l1_penalty",
    "lr_scheduler",
]
