"""Loss and distance modules against PyTorch's: printing, state_dict, values; and those that PyTorch does not have."""

import numpy as np
import pytest

import numbanet
import numbanet.nn.functional as F
from numbanet import nn
from tests.checks import assert_close, torch

rng = np.random.default_rng(29)


def draw(*shape):
    return np.asarray(rng.standard_normal(shape), np.float32)


def probabilities(*shape):
    return np.asarray(rng.uniform(0.1, 0.9, shape), np.float32)


def signs(*shape):
    return np.asarray(rng.choice([-1.0, 1.0], shape), np.float32)


WEIGHT = np.abs(draw(4)) + np.float32(0.1)
CLASSES = np.array([0, 2, 1])
# (module, what it is called with); W stands for a tensor of four weights
MODULES = [
    ("CrossEntropyLoss(W, label_smoothing=0.1, ignore_index=2)", [draw(3, 4), CLASSES]),
    ("CrossEntropyLoss(reduction='sum')", [draw(3, 4), CLASSES]),
    ("NLLLoss(W)", [draw(3, 4), CLASSES]),
    ("NLLLoss(ignore_index=1, reduction='none')", [draw(3, 4), CLASSES]),
    ("MSELoss(reduction='sum')", [draw(3, 4), draw(3, 4)]),
    ("L1Loss(reduction='none')", [draw(3, 4), draw(3, 4)]),
    ("SmoothL1Loss(beta=0.5)", [draw(3, 4), draw(3, 4)]),
    ("SmoothL1Loss(reduction='sum')", [draw(3, 4), draw(3, 4)]),
    ("HuberLoss('sum', 0.5)", [draw(3, 4), draw(3, 4)]),
    ("BCELoss()", [probabilities(3, 4), probabilities(3, 4)]),
    ("BCELoss(W, reduction='none')", [probabilities(3, 4), probabilities(3, 4)]),
    ("BCEWithLogitsLoss()", [draw(3, 4), probabilities(3, 4)]),
    ("BCEWithLogitsLoss(W, pos_weight=W, reduction='sum')", [draw(3, 4), probabilities(3, 4)]),
    ("SoftMarginLoss()", [draw(3, 4), signs(3, 4)]),
    ("KLDivLoss(reduction='batchmean')", [draw(3, 4), probabilities(3, 4)]),
    ("KLDivLoss(reduction='sum', log_target=True)", [draw(3, 4), draw(3, 4)]),
    ("PoissonNLLLoss(full=True)", [draw(3, 4), np.float32(rng.integers(0, 6, (3, 4)))]),
    ("PoissonNLLLoss(False, eps=1e-6, reduction='none')", [probabilities(3, 4), probabilities(3, 4)]),
    ("GaussianNLLLoss(full=True, eps=0.2, reduction='sum')", [draw(3, 4), draw(3, 4), probabilities(3, 4)]),
    ("HingeEmbeddingLoss(0.5)", [draw(3, 4), signs(3, 4)]),
    ("MarginRankingLoss(0.5, reduction='none')", [draw(3), draw(3), signs(3)]),
    ("CosineEmbeddingLoss(-0.5)", [draw(3, 4), draw(3, 4), signs(3)]),
    ("MultiMarginLoss()", [draw(3, 4), CLASSES]),
    ("MultiMarginLoss(2, 0.5, W, reduction='sum')", [draw(3, 4), CLASSES]),
    ("MultiLabelMarginLoss()", [draw(2, 4), np.array([[1, 0, -1, 2], [3, -1, 0, 0]])]),
    ("MultiLabelSoftMarginLoss(W)", [draw(3, 4), probabilities(3, 4)]),
    ("TripletMarginLoss(2.0, 1.0, swap=True)", [draw(3, 4), draw(3, 4), draw(3, 4)]),
    ("TripletMarginLoss(reduction='none')", [draw(3, 4), draw(3, 4), draw(3, 4)]),
    ("TripletMarginWithDistanceLoss()", [draw(3, 4), draw(3, 4), draw(3, 4)]),
    ("TripletMarginWithDistanceLoss(distance_function=CosineSimilarity(), margin=2.0, swap=True)",
     [draw(3, 4), draw(3, 4), draw(3, 4)]),
    ("CosineSimilarity(0, 0.1)", [draw(3, 4), draw(3, 4)]),
    ("PairwiseDistance()", [draw(3, 4), draw(3, 4)]),
    ("PairwiseDistance(1.0, 0.1, True)", [draw(3, 4), draw(3, 4)]),
]  # fmt: skip


def make(library, code):
    weight = library.from_numpy(WEIGHT.copy())
    return eval(code, {name: getattr(library.nn, name) for name in dir(library.nn)} | {"W": weight})


@pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("code, arrays", MODULES, ids=[code for code, _ in MODULES])
def test_against_pytorch(code, arrays):
    ours, theirs = make(numbanet, code), make(torch, code)
    assert repr(ours) == repr(theirs)
    assert {k: v.numpy().tolist() for k, v in ours.state_dict().items()} == {
        k: v.numpy().tolist() for k, v in theirs.state_dict().items()
    }
    results = []
    for library, module in ((numbanet, ours), (torch, theirs)):
        tensors = [library.from_numpy(a.copy()) for a in arrays]
        tensors[0].requires_grad_()
        loss = module(*tensors)
        loss.sum().backward()
        results.append((loss.detach().numpy(), tensors[0].grad.numpy()))
    for a, b in zip(*results, strict=True):
        assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_modules_that_pytorch_does_not_have():
    a, b, c, d = (numbanet.from_numpy(draw(3, 4)) for _ in range(4))
    similar, classes, weight = numbanet.tensor([0, 1, 1]), numbanet.from_numpy(CLASSES), numbanet.from_numpy(WEIGHT)
    maps = numbanet.from_numpy(probabilities(2, 3, 4))
    labels = numbanet.from_numpy(rng.integers(0, 3, (2, 4)))
    for module, arguments, expected, text in [
        (nn.QuadrupletLoss(2.0, 1.0, "sum"), (a, b, c, d), F.quadruplet_loss(a, b, c, d, 2.0, 1.0, "sum"),
         "QuadrupletLoss(margin=2.0, margin2=1.0)"),
        (nn.ContrastiveLoss(3.0), (a, b, similar), F.contrastive_loss(a, b, similar, 3.0), "ContrastiveLoss(margin=3.0)"),
        (nn.FocalLoss(weight, 1.5, 1, "none"), (a, classes), F.focal_loss(a, classes, weight, 1.5, 1, "none"),
         "FocalLoss(gamma=1.5)"),
        (nn.DiceLoss(0.5, True, "none"), (maps, labels), F.dice_loss(maps, labels, 0.5, True, "none"),
         "DiceLoss(smooth=0.5, squared=True)"),
    ]:  # fmt: skip
        assert repr(module) == text
        assert_close(module(*arguments), expected)
    assert list(nn.FocalLoss(weight).state_dict()) == ["weight"]


def test_weights_move_with_the_module():
    loss = nn.BCEWithLogitsLoss(numbanet.from_numpy(WEIGHT), pos_weight=numbanet.from_numpy(WEIGHT)).double()
    assert loss.weight.dtype == loss.pos_weight.dtype == numbanet.float64
