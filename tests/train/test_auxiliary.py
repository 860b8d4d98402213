"""Networks that give several scores in training: what their losses add up to, and that the Trainer copes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import numbanet
from numbanet import nn, optim, train
from numbanet.nn import functional as F


class Outputs(NamedTuple):
    logits: Any
    first: Any
    second: Any

    @property
    def aux_weight(self):
        return 0.25


class Heads(nn.Module):
    """Scores from the second layer, auxiliary scores from the first, in training alone."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 6), nn.Linear(6, 3)
        self.first, self.second = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x):
        x = F.relu(self.one(x))
        scores = self.two(x)
        return Outputs(scores, self.first(x), self.second(x)) if self.training else scores


def batch():
    rng = np.random.default_rng(0)
    return numbanet.from_numpy(rng.standard_normal((6, 4)).astype(np.float32)), numbanet.tensor([0, 1, 2, 0, 1, 1])


@pytest.mark.parametrize(("given", "weight"), [(None, 0.25), (0.5, 0.5), (0, 0)])
def test_auxiliary_losses_are_added_with_their_weight(given, weight):
    x, y = batch()
    output = Heads()(x)
    losses = [F.cross_entropy(scores, y).item() for scores in output]
    expected = losses[0] + weight * (losses[1] + losses[2])
    assert train.AuxiliaryLoss(weight=given)(output, y).item() == pytest.approx(expected, rel=1e-6)
    smooth = nn.CrossEntropyLoss(label_smoothing=0.2)
    expected = sum(w * smooth(scores, y).item() for w, scores in zip([1, weight, weight], output, strict=True))
    assert train.AuxiliaryLoss(smooth, given)(output, y).item() == pytest.approx(expected, rel=1e-6)


def test_other_outputs_go_to_the_loss_as_they_are():
    x, y = batch()
    scores = Heads().eval()(x)
    assert train.AuxiliaryLoss()(scores, y).item() == F.cross_entropy(scores, y).item()
    pair = (scores, scores)
    seen = train.AuxiliaryLoss(lambda output, target: (output, target))(pair, y)
    assert seen[0] is pair and seen[1] is y


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match=r"weight must be at least 0, got -0\.1"):
        train.AuxiliaryLoss(weight=-0.1)


@pytest.mark.parametrize("loss", [None, nn.CrossEntropyLoss(), F.cross_entropy, train.AuxiliaryLoss(weight=0.25)])
def test_the_trainer_counts_auxiliary_losses_and_judges_by_the_main_scores(loss):
    x, y = batch()
    net, same = Heads(), Heads()
    same.load_state_dict(net.state_dict())
    optimizer = optim.SGD(same.parameters(), lr=0.1)
    output = same(x)
    total = F.cross_entropy(output.logits, y) + 0.25 * (
        F.cross_entropy(output.first, y) + F.cross_entropy(output.second, y)
    )
    total.backward()
    optimizer.step()

    history = train.Trainer(net, optim.SGD(net.parameters(), lr=0.1), loss, progress=False).fit(
        [(x, y)], [(x, y)], epochs=1
    )
    assert history[0]["loss"] == pytest.approx(total.item(), rel=1e-6)
    assert history[0]["train_acc"] == np.mean(output.logits.detach().numpy().argmax(1) == y.numpy())
    for (name, ours), theirs in zip(net.named_parameters(), same.parameters(), strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-5, atol=1e-7, err_msg=name)
    scores = net.eval()(x)
    assert history[0]["test_loss"] == pytest.approx(F.cross_entropy(scores, y).item(), rel=1e-6)


def test_evaluation_copes_with_heads_that_stay():
    x, y = batch()
    net = Heads()
    net.eval = lambda: net  # stays in training mode
    output = net(x)
    found = train.evaluate(net, [(x, y)])
    losses = [F.cross_entropy(scores, y).item() for scores in output]
    assert found["loss"] == pytest.approx(losses[0] + 0.25 * (losses[1] + losses[2]), rel=1e-6)
    assert found["accuracy"] == np.mean(output.logits.detach().numpy().argmax(1) == y.numpy())
