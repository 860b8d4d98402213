"""Layers that follow one another computed by one kernel, where nobody can tell the difference.

Batch normalization, an addition and a ReLU one after another move the same numbers through memory three times each way.
``Sequential`` and the networks' blocks call the pair through ``norm_relu``, which runs ``functional.batch_norm_relu`` where both
are plain layers that nobody watches; a convolution or linear layer before a ReLU likewise, through ``then_relu``. A layer with a hook, of a class derived from these, or with a ``forward`` of its own is
called as ever, in the order in which the network has them: hooks, summaries and feature maps see what they always saw.
Parameters, statistics and names stay with the layers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from numbanet.functional import batch_norm_relu, conv2d_relu, linear_relu, relu
from numbanet.nn.activation import ReLU
from numbanet.nn.batch_norm import BatchNorm1d, BatchNorm2d
from numbanet.nn.conv import Conv2d
from numbanet.nn.linear import Linear
from numbanet.nn.module import Module
from numbanet.tensor import Tensor

NORMS = frozenset({BatchNorm1d, BatchNorm2d})
RELUS = frozenset({ReLU})
PRODUCTS = frozenset({Conv2d, Linear})
BEFORE_RELU = NORMS | PRODUCTS


class _Mode(threading.local):
    enabled = True


_mode = _Mode()


class separately:
    """A context in which every layer runs by itself, for those who look at the graph: ``with separately():``."""

    def __enter__(self) -> None:
        self._before = _mode.enabled
        _mode.enabled = False

    def __exit__(self, *exc: object) -> None:
        _mode.enabled = self._before


def _plain(module: Any, kinds: frozenset[type]) -> bool:
    """Whether a module is of one of these very classes, and calling it is its class's ``forward`` and nothing else."""
    if type(module) not in kinds or "forward" in module.__dict__:
        return False
    hooks = module._hooks
    return hooks is None or not (hooks.before or hooks.after or hooks.backward)


def then_relu(layer: Any, activation: Module | None, x: Any) -> Any:
    """``activation(layer(x))``, as one operator where ``layer`` is a plain Conv2d, Linear or batch norm, and ``activation`` a plain ReLU.

    None for ``functional.relu``.
    """
    if _mode.enabled and _plain(layer, PRODUCTS) and (activation is None or _plain(activation, RELUS)):
        if type(layer) is Linear:
            return layer._multiply(linear_relu, x)
        return layer._convolve(conv2d_relu, x)
    return norm_relu(layer, activation, x)


def norm_relu(norm: Any, activation: Module | None, x: Any, add: Callable[[], Tensor] | None = None) -> Any:
    """``activation(norm(x) + add())``, in one kernel where ``norm`` and ``activation`` are plain batch norm and ReLU.

    Args:
        norm: the normalization.
        activation: the layer after it; None for ``functional.relu``.
        x: its input.
        add: gives what is added in between; None for nothing. Layers that run one by one run in the order of the formula; in one
            kernel, what is added is computed first.
    """
    if _mode.enabled and _plain(norm, NORMS) and (activation is None or _plain(activation, RELUS)):
        more = None if add is None else add()
        if more is None or _alike(x, more):
            return norm._normalize(batch_norm_relu, x, add=more)
        y = norm(x) + more
    else:
        y = norm(x)
        if add is not None:
            y = y + add()
    return relu(y) if activation is None else activation(y)


def _alike(x: Any, more: Any) -> bool:
    """Whether two tensors have one shape and dtype, so that their sum is an addition element by element."""
    return (
        isinstance(x, Tensor)
        and isinstance(more, Tensor)
        and x._array.shape == more._array.shape
        and x._array.dtype == more._array.dtype
    )
