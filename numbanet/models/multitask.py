"""One backbone, several heads: tasks that share what they see.

The heads' gradients meet in the backbone, so that each task learns from the others' labels (Caruana's hard parameter sharing).
How much each counts is a weight; or it is learned, as Kendall, Gal and Cipolla have it: each task is given an uncertainty
sigma, its loss is divided by sigma^2, and log sigma is added, lest all become uncertain.

References:
    Caruana 1997, Multitask learning.
    Kendall, Gal, Cipolla 2018, Multi-task learning using uncertainty to weigh losses for scene geometry and semantics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from numbanet import nn
from numbanet.functional import exp
from numbanet.tensor import Tensor, zeros

__all__ = ["MultiTaskLoss", "MultiTaskNetwork"]


class MultiTaskNetwork(nn.Module):
    """A backbone whose output goes to several heads.

    Args:
        backbone: any network.
        heads: the tasks' names, and for each a module that takes the backbone's output.

    Shape:
        images (N, C, H, W) give a dictionary: each task's name with its head's output.

    Raises:
        ValueError: without heads.

    Example:
        >>> import numbanet
        >>> backbone = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU())
        >>> net = MultiTaskNetwork(backbone, {"kind": nn.Linear(8, 10), "size": nn.Linear(8, 1)})
        >>> {task: tuple(output.shape) for task, output in net(numbanet.rand(5, 1, 4, 4)).items()}
        {'kind': (5, 10), 'size': (5, 1)}
    """

    def __init__(self, backbone: nn.Module, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        if not heads:
            raise ValueError("MultiTaskNetwork: expected at least one head")
        self.backbone = backbone
        self.heads = nn.ModuleDict(heads)

    def forward(self, x: Tensor) -> dict[str, Any]:
        shared = self.backbone(x)
        return {task: head(shared) for task, head in self.heads.items()}


class MultiTaskLoss(nn.Module):
    """The weighted sum of the tasks' losses.

    With ``weights="uncertainty"`` the weights are learned; the loss then has parameters, which the optimiser must be given
    beside the network's:

        total = sum over tasks of  loss / (k * sigma^2) + log sigma,   k = 2 for regressions, else 1

    The parameter is ``log_variance`` = log sigma^2, one number per task, from 0: every sigma begins at 1.

    Args:
        losses: each task's loss, a function of (output, target).
        weights: each task's weight; None for ones; or "uncertainty".
        regressions: the tasks whose loss is a squared error; only learned weights ask.

    Shape:
        outputs and targets, dictionaries with an entry per task, give a number.

    Raises:
        ValueError: for no task, a weight or regression of an unknown task, a task without weight, or (in forward) without
            output or target.
    """

    def __init__(
        self,
        losses: Mapping[str, Callable[[Any, Any], Tensor]],
        weights: Mapping[str, float] | str | None = None,
        regressions: Iterable[str] = (),
    ) -> None:
        super().__init__()
        if not losses:
            raise ValueError("MultiTaskLoss: expected at least one task")
        self.losses = dict(losses)
        self.regressions = frozenset(regressions)
        if isinstance(weights, str):
            if weights != "uncertainty":
                raise ValueError(f"MultiTaskLoss: expected weights by task, None or 'uncertainty', got {weights!r}")
            self.log_variance = nn.Parameter(zeros(len(self.losses)))
            self.weights = None
        else:
            self.weights = dict.fromkeys(self.losses, 1.0) if weights is None else dict(weights)
            self._check_tasks("weights", self.weights)
        unknown = self.regressions - set(self.losses)
        if unknown:
            raise ValueError(f"MultiTaskLoss: regressions {sorted(unknown)} are none of the tasks {list(self.losses)}")

    def _check_tasks(self, what: str, given: Mapping[str, Any]) -> None:
        if set(given) != set(self.losses):
            raise ValueError(f"MultiTaskLoss: expected {what} of the tasks {list(self.losses)}, got {list(given)}")

    def terms(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> dict[str, Tensor]:
        """Each task's own loss, without its weight."""
        self._check_tasks("outputs", outputs)
        self._check_tasks("targets", targets)
        return {task: loss(outputs[task], targets[task]) for task, loss in self.losses.items()}

    def forward(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> Tensor:
        terms = self.terms(outputs, targets)
        if self.weights is not None:
            parts = [term * self.weights[task] for task, term in terms.items()]
        else:
            parts = [
                term * exp(-log_variance) * (0.5 if task in self.regressions else 1.0) + log_variance / 2
                for (task, term), log_variance in zip(terms.items(), self.log_variance.unbind(), strict=True)
            ]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total
