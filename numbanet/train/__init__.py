"""Training loops, metrics, callbacks and checkpoints."""

from numbanet.train import metrics, notes
from numbanet.train.auxiliary import AuxiliaryLoss
from numbanet.train.callbacks import (
    Callback,
    Checkpoint,
    CSVLogger,
    EarlyStopping,
    EpochPrinter,
    JSONLinesLogger,
    ProgressBar,
)
from numbanet.train.checkpoint import load_checkpoint, save_checkpoint
from numbanet.train.history import History
from numbanet.train.metrics import (
    Accumulator,
    accuracy,
    average_precisions,
    confusion_matrix,
    mean_average_precision,
    mean_iou,
    top_k_accuracy,
)
from numbanet.train.trainer import Trainer, TrainingDiverged, evaluate

__all__ = [
    "Accumulator",
    "AuxiliaryLoss",
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "EpochPrinter",
    "History",
    "JSONLinesLogger",
    "ProgressBar",
    "Trainer",
    "TrainingDiverged",
    "accuracy",
    "average_precisions",
    "confusion_matrix",
    "evaluate",
    "load_checkpoint",
    "mean_average_precision",
    "mean_iou",
    "metrics",
    "notes",
    "save_checkpoint",
    "top_k_accuracy",
]
