"""Losses of networks with auxiliary classifiers, which in training give several scores at once."""

from __future__ import annotations

from typing import Any

from numbanet import nn


def main_scores(output: Any) -> Any:
    """The scores by which a network is judged: the first item of outputs with an ``aux_weight``, else the output itself."""
    return output[0] if hasattr(output, "aux_weight") else output


class AuxiliaryLoss(nn.Module):
    """loss(scores) + weight * sum of loss(auxiliary scores).

    Networks with auxiliary classifiers give, in training, a named tuple whose first item is the scores and whose
    ``aux_weight`` says how much the other items count: 0.3 in ``models.GoogLeNetOutputs``, 0.4 in
    ``models.InceptionOutputs``. Any other output, such as those of evaluation, goes to ``loss`` as it is. ``Trainer`` and
    ``train.evaluate`` put it round their loss by themselves.

    Args:
        loss: takes scores (N, classes) and labels (N,), gives a 0-d tensor; None: cross-entropy.
        weight: how much each auxiliary loss counts; None: as the outputs say.

    Raises:
        ValueError: for a negative weight.

    Example::

        net, loss = models.googlenet(), train.AuxiliaryLoss()
        loss(net(images), labels).backward()

    Reference: C. Szegedy et al., "Going deeper with convolutions" (2015), section 5.
    """

    def __init__(self, loss: Any = None, weight: float | None = None) -> None:
        super().__init__()
        if weight is not None and not weight >= 0:
            raise ValueError(f"AuxiliaryLoss: weight must be at least 0, got {weight}")
        self.loss = nn.CrossEntropyLoss() if loss is None else loss
        self.weight = weight

    def forward(self, output: Any, target: Any) -> Any:
        if not hasattr(output, "aux_weight"):
            return self.loss(output, target)
        weight = output.aux_weight if self.weight is None else self.weight
        scores, *auxiliary = output
        total = self.loss(scores, target)
        for scores in auxiliary:
            total = total + weight * self.loss(scores, target)
        return total

    def extra_repr(self) -> str:
        return f"weight={self.weight}"


def with_auxiliary(loss: Any) -> AuxiliaryLoss:
    """``loss`` (None: cross-entropy), made to count auxiliary scores too if it does not yet."""
    return loss if isinstance(loss, AuxiliaryLoss) else AuxiliaryLoss(loss)
