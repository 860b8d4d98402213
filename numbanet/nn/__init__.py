"""Modules: layers, containers, losses, and how weights begin. ``from numbanet import nn``."""

from numbanet.nn import functional, init, utils
from numbanet.nn.activation import LogSoftmax, ReLU, Sigmoid, Softmax, Tanh
from numbanet.nn.batch_norm import BatchNorm1d, BatchNorm2d
from numbanet.nn.containers import ModuleDict, ModuleList, ParameterList, Sequential
from numbanet.nn.conv import Conv2d
from numbanet.nn.dropout import Dropout
from numbanet.nn.flatten import Flatten, Unflatten
from numbanet.nn.linear import Identity, Linear
from numbanet.nn.loss import CrossEntropyLoss, L1Loss, MSELoss, NLLLoss
from numbanet.nn.module import Module
from numbanet.nn.parameter import Parameter
from numbanet.nn.pooling import AdaptiveAvgPool2d, AdaptiveMaxPool2d, AvgPool2d, MaxPool2d

__all__ = [
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool2d",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
    "Identity",
    "L1Loss",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "ModuleDict",
    "ModuleList",
    "NLLLoss",
    "Parameter",
    "ParameterList",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "Unflatten",
    "functional",
    "init",
    "utils",
]
