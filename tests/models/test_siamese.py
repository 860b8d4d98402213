"""Networks with several branches (one backbone, two to four inputs) and with several heads."""

from __future__ import annotations

import math

import numpy as np
import pytest

import numbanet
from numbanet import models, nn, optim
from numbanet.models.siamese import semi_hard_triplets
from numbanet.nn import functional as F

# Each network with its number of branches and its loss.
BRANCHES = {
    "siamese": (models.SiameseNetwork, 2, lambda a, b: F.contrastive_loss(a, b, numbanet.tensor([0, 1, 1, 0]), margin=2.0)),
    "triplet": (models.TripletNetwork, 3, F.triplet_margin_loss),
    "quadruplet": (models.QuadrupletNetwork, 4, F.quadruplet_loss),
}  # fmt: skip
every = pytest.mark.parametrize("kind", BRANCHES)


def backbone(outputs: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 6 * 6, outputs))


def images(count: int) -> list[numbanet.Tensor]:
    return [numbanet.randn(4, 1, 8, 8) for _ in range(count)]


def gradients(net: nn.Module) -> list[np.ndarray]:
    found = [p.grad.numpy().copy() for p in net.parameters()]
    net.zero_grad()
    return found


@every
def test_branches_share_one_set_of_weights(kind):
    cls, count, _ = BRANCHES[kind]
    body = backbone()
    net, inputs = cls(body), images(count)
    assert [id(p) for p in net.parameters()] == [id(p) for p in body.parameters()]
    assert list(net.state_dict()) == [f"backbone.{key}" for key in body.state_dict()]
    outputs = net(*inputs)
    assert isinstance(outputs, tuple) and len(outputs) == count
    for output, x in zip(outputs, inputs, strict=True):
        np.testing.assert_array_equal(output.detach().numpy(), body(x).detach().numpy())
        np.testing.assert_array_equal(net.embed(x).detach().numpy(), output.detach().numpy())


@every
def test_gradients_of_all_branches_add_up(kind):
    cls, count, _ = BRANCHES[kind]
    body = backbone()
    net, inputs = cls(body), images(count)
    cotangents = [numbanet.randn(4, 3) for _ in range(count)]
    single = []
    for x, cotangent in zip(inputs, cotangents, strict=True):
        body(x).backward(cotangent)
        single.append(gradients(body))
        assert all(np.abs(g).sum() > 0 for g in single[-1])
    numbanet.autograd.backward(list(net(*inputs)), cotangents)
    for ours, parts in zip(gradients(net), zip(*single, strict=True), strict=True):
        np.testing.assert_allclose(ours, sum(parts), rtol=1e-4, atol=1e-5)


@every
@pytest.mark.parametrize("normalize", [False, True])
def test_overfits_one_batch(kind, normalize):
    cls, count, loss_of = BRANCHES[kind]
    net, inputs = cls(backbone(), normalize=normalize), images(count)
    optimizer = optim.SGD(net.parameters(), lr=0.05)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = loss_of(*net(*inputs))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_normalised_embeddings_have_length_one():
    left, right = models.SiameseNetwork(backbone(), normalize=True)(*images(2))
    for vectors in (left, right):
        np.testing.assert_allclose(np.linalg.norm(vectors.detach().numpy(), axis=1), 1, rtol=1e-5)


def test_distances_are_euclids_or_what_is_asked_for():
    body, (a, b) = backbone(), images(2)
    apart = np.linalg.norm(body(a).detach().numpy() - body(b).detach().numpy() + 1e-6, axis=1)
    np.testing.assert_allclose(models.SiameseNetwork(body).distance(a, b).detach().numpy(), apart, rtol=1e-5)
    cosine = models.SiameseNetwork(body, distance=F.cosine_similarity)
    np.testing.assert_allclose(cosine.distance(a, a).detach().numpy(), 1, rtol=1e-5)


def test_a_backbone_without_vectors_is_named():
    net = models.SiameseNetwork(nn.Conv2d(1, 2, 3))
    with pytest.raises(
        ValueError, match=r"must give vectors \(N, D\), got shape \(4, 2, 6, 6\); end it with nn.Flatten"
    ):
        net(*images(2))


# ------------------------------------------------------------------------------------------------------- triplets


def test_semi_hard_triplets_are_those_of_loops():
    rng = np.random.default_rng(0)
    z, labels = rng.standard_normal((14, 3)).astype(np.float32), rng.integers(0, 4, 14)
    expected, fallbacks = [], 0
    for a in range(14):
        for p in range(14):
            if p == a or labels[p] != labels[a]:
                continue
            near = sum((z[a] - z[p]) ** 2)
            others = {n: sum((z[a] - z[n]) ** 2) for n in range(14) if labels[n] != labels[a]}
            farther = {n: d for n, d in others.items() if d > near}
            fallbacks += not farther
            chosen = min(farther, key=farther.get) if farther else max(others, key=others.get)
            expected.append((a, p, chosen))
    found = semi_hard_triplets(numbanet.from_numpy(z), numbanet.from_numpy(labels))
    assert list(zip(*(f.tolist() for f in found), strict=True)) == expected
    assert 0 < fallbacks < len(expected)
    assert all(f.dtype == numbanet.int64 for f in found)


@pytest.mark.parametrize(
    ("shape", "labels", "message"),
    [
        ((3, 2), [0, 0, 0], "no triplets in 3 samples of 1 classes"),
        ((3, 2), [0, 1, 2], "no triplets in 3 samples of 3 classes"),
        ((3,), [0, 1, 2], r"got \(3,\) and \(3,\)"),
        ((3, 2), [0, 1], r"got \(3, 2\) and \(2,\)"),
    ],
)
def test_batches_without_triplets_are_refused(shape, labels, message):
    with pytest.raises(ValueError, match=message):
        semi_hard_triplets(np.zeros(shape), np.array(labels))


# ---------------------------------------------------------------------------------------------------- several heads


def two_tasks() -> models.MultiTaskNetwork:
    return models.MultiTaskNetwork(backbone(6), {"kind": nn.Linear(6, 3), "size": nn.Linear(6, 1)})


TARGETS = {"kind": numbanet.tensor([0, 1, 2, 0]), "size": numbanet.tensor([[0.5], [1.0], [-1.0], [0.0]])}
LOSSES = {"kind": F.cross_entropy, "size": F.mse_loss}


def test_heads_are_named_and_each_teaches_the_backbone():
    net, (x,) = two_tasks(), images(1)
    outputs = net(x)
    assert {task: tuple(o.shape) for task, o in outputs.items()} == {"kind": (4, 3), "size": (4, 1)}
    shared = net.backbone(x)
    np.testing.assert_array_equal(outputs["size"].detach().numpy(), net.heads["size"](shared).detach().numpy())
    assert {key.split(".")[1] for key in net.state_dict() if key.startswith("heads")} == {"kind", "size"}
    for task, other in (("kind", "size"), ("size", "kind")):
        net.zero_grad()
        net(x)[task].sum().backward()
        assert net.backbone[0].weight.grad.abs().sum().item() > 0
        assert net.heads[other].weight.grad is None


def test_the_loss_is_the_weighted_sum():
    net, (x,) = two_tasks(), images(1)
    outputs = net(x)
    kind, size = F.cross_entropy(outputs["kind"], TARGETS["kind"]), F.mse_loss(outputs["size"], TARGETS["size"])
    terms = models.MultiTaskLoss(LOSSES).terms(outputs, TARGETS)
    assert {task: term.item() for task, term in terms.items()} == {"kind": kind.item(), "size": size.item()}
    assert models.MultiTaskLoss(LOSSES)(outputs, TARGETS).item() == pytest.approx(kind.item() + size.item())
    weighted = models.MultiTaskLoss(LOSSES, {"kind": 0.25, "size": 4.0})
    assert weighted(outputs, TARGETS).item() == pytest.approx(0.25 * kind.item() + 4 * size.item())
    assert not list(weighted.parameters())


def test_learned_weights_are_the_papers():
    """With constant losses the sum is least where sigma^2 is twice the loss (classification), or the loss (regression)."""
    given = {"kind": 0.7, "size": 5.0}
    losses = models.MultiTaskLoss(dict.fromkeys(given, lambda output, target: output), "uncertainty", ["size"])
    outputs = {task: numbanet.tensor(value) for task, value in given.items()}
    assert losses(outputs, given).item() == pytest.approx(0.7 + 5.0 / 2)  # sigma = 1
    optimizer = optim.SGD(losses.parameters(), lr=0.2)
    for step in range(200):
        optimizer.zero_grad()
        total = losses(outputs, given)
        total.backward()
        if step == 0:
            np.testing.assert_allclose(losses.log_variance.grad.numpy(), [0.5 - 0.7, 0.5 - 2.5], rtol=1e-6)
        optimizer.step()
    np.testing.assert_allclose(losses.log_variance.detach().numpy(), np.log([2 * 0.7, 5.0]), atol=1e-3)
    least = sum(0.5 + math.log(variance) / 2 for variance in (2 * 0.7, 5.0))
    assert total.item() == pytest.approx(least, abs=1e-5)


def test_learns_two_tasks_at_once():
    net, (x,) = two_tasks(), images(1)
    losses = models.MultiTaskLoss(LOSSES, "uncertainty", ["size"])
    optimizer = optim.Adam([*net.parameters(), *losses.parameters()], lr=0.02)
    first = {task: term.item() for task, term in losses.terms(net(x), TARGETS).items()}
    for _ in range(25):
        optimizer.zero_grad()
        losses(net(x), TARGETS).backward()
        optimizer.step()
    last = {task: term.item() for task, term in losses.terms(net(x), TARGETS).items()}
    assert last["kind"] < 0.5 * first["kind"] and last["size"] < 0.5 * first["size"]
    assert (losses.log_variance.detach().numpy() < 0).all()  # both have become certain


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: models.MultiTaskNetwork(backbone(), {}), "expected at least one head"),
        (lambda: models.MultiTaskLoss({}), "expected at least one task"),
        (
            lambda: models.MultiTaskLoss(LOSSES, {"kind": 1.0}),
            r"weights of the tasks \['kind', 'size'\], got \['kind'\]",
        ),
        (lambda: models.MultiTaskLoss(LOSSES, "equal"), "None or 'uncertainty', got 'equal'"),
        (lambda: models.MultiTaskLoss(LOSSES, None, ["sise"]), r"regressions \['sise'\] are none of the tasks"),
        (lambda: models.MultiTaskLoss(LOSSES)({"kind": 1}, TARGETS), r"outputs of the tasks .* got \['kind'\]"),
    ],
)
def test_wrong_tasks_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
