"""Losses against PyTorch and finite differences: all options crossed, extreme and empty inputs, gradients of gradients."""

import itertools
import math

import numpy as np
import pytest

import numbanet
import numbanet.nn.functional as F
from numbanet import autograd
from tests.checks import assert_close, check_op, torch

rng = np.random.default_rng(17)


def draw(*shape: int) -> np.ndarray:
    return np.asarray(rng.standard_normal(shape) * 2, np.float32)


def both(name, tensors, **options):
    """The loss in both libraries with fixed arguments: (input) -> loss."""

    def of(library):
        function = getattr(F if library is numbanet else library.nn.functional, name)

        def run(x):
            made = {k: library.from_numpy(np.asarray(v)) for k, v in tensors.items()}
            if "weight" in made:
                made["weight"] = made["weight"].to(x.dtype)
            if name == "cross_entropy" and tensors["target"].dtype.kind == "f":
                made["target"] = made["target"].to(x.dtype)
            return function(x, **made, **options)

        return run

    return of(numbanet), None if torch is None else of(torch)


REDUCTIONS = ["mean", "sum", "none"]
SHAPES = [((5,), ()), ((6, 5), (6,)), ((2, 5, 3), (2, 3)), ((2, 5, 3, 2), (2, 3, 2))]


@pytest.mark.parametrize("shape, targets", SHAPES)
@pytest.mark.parametrize("weighted, ignoring", list(itertools.product([False, True], repeat=2)))
def test_cross_entropy_of_classes(shape, targets, weighted, ignoring):
    target = rng.integers(0, 5, targets)
    for reduction, smoothing in itertools.product(["mean", "sum", "none"], [0.0, 0.2]):
        tensors = {"target": target} | ({"weight": np.abs(draw(5)) + 0.1} if weighted else {})
        options = {"reduction": reduction, "label_smoothing": smoothing, "ignore_index": 2 if ignoring else -100}
        if ignoring and targets:
            target.flat[0], target.flat[1] = 2, 3
        elif ignoring:
            target = np.asarray(3)
            tensors["target"] = target
        check_op(*both("cross_entropy", tensors, **options), [draw(*shape)])


@pytest.mark.parametrize("shape", [s for s, _ in SHAPES])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_of_probabilities(shape, weighted):
    p = rng.random(shape).astype(np.float32)
    for reduction, smoothing in itertools.product(["mean", "sum", "none"], [0.0, 0.2]):
        tensors = {"target": p} | ({"weight": np.abs(draw(5)) + 0.1} if weighted else {})
        check_op(
            *both("cross_entropy", tensors, reduction=reduction, label_smoothing=smoothing), [draw(*shape)], atol=1e-4
        )


@pytest.mark.parametrize("shape, targets", SHAPES)
@pytest.mark.parametrize("weighted", [False, True])
def test_nll_loss(shape, targets, weighted):
    for reduction in ("mean", "sum", "none"):
        tensors = {"target": np.asarray(rng.integers(0, 5, targets))} | (
            {"weight": np.abs(draw(5)) + 0.1} if weighted else {}
        )
        check_op(*both("nll_loss", tensors, reduction=reduction), [draw(*shape)])


WEIGHTED = [
    "mse_loss", "l1_loss", "huber_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits",
    "multilabel_soft_margin_loss"
]  # fmt: skip


def loss_of(name, reduction="mean", **options):
    """The function in both libraries, of tensors alone."""

    def of(library):
        function = getattr(F if library is numbanet else library.nn.functional, name)
        if name not in WEIGHTED:
            return lambda *tensors: function(*tensors, reduction=reduction, **options)
        return lambda x, t, weight=None: function(x, t, weight=weight, reduction=reduction, **options)

    return of(numbanet), None if torch is None else of(torch)


def probabilities(*shape):
    return np.asarray(rng.uniform(0.05, 0.95, shape), np.float32)


def signs(*shape):
    return np.asarray(rng.choice([-1.0, 1.0], shape), np.float32)


# (function, options in lists to be crossed, inputs, which of them are differentiated: None for all)
LOSSES = [
    ("mse_loss", {}, lambda: [draw(3, 4), draw(3, 4)], None),
    ("l1_loss", {}, lambda: [draw(3, 4), draw(3, 4)], None),
    ("smooth_l1_loss", {"beta": [1.0, 0.3, 0.0]}, lambda: [draw(3, 4), draw(3, 4)], None),
    ("huber_loss", {"delta": [1.0, 0.3]}, lambda: [draw(3, 4), draw(3, 4)], None),
    ("mse_loss", {}, lambda: [draw(3, 4), draw(3, 4), np.abs(draw(3, 4))], None),
    ("l1_loss", {}, lambda: [draw(3, 4), draw(3, 4), np.abs(draw(3, 4))], [0, 1]),
    ("huber_loss", {"delta": [0.7]}, lambda: [draw(3, 4), draw(3, 4), np.abs(draw(3, 4))], None),
    ("binary_cross_entropy", {}, lambda: [probabilities(3, 4), probabilities(3, 4)], None),
    ("binary_cross_entropy", {}, lambda: [probabilities(3, 4), probabilities(3, 4), np.abs(draw(4))], [0, 1]),
    ("binary_cross_entropy_with_logits", {}, lambda: [draw(3, 4), probabilities(3, 4)], None),
    ("binary_cross_entropy_with_logits", {}, lambda: [draw(3, 4), probabilities(3, 4), np.abs(draw(3, 1))], [0, 1]),
    ("binary_cross_entropy_with_logits", {}, lambda: [draw(2, 3, 2), probabilities(2, 3, 2), np.abs(draw(1))], [0]),
    ("soft_margin_loss", {}, lambda: [draw(3, 4), signs(3, 4)], [0]),
    ("soft_margin_loss", {}, lambda: [draw(3, 4), draw(4)], [0]),
    ("kl_div", {"log_target": [True]}, lambda: [draw(3, 4), draw(3, 4)], None),
    ("kl_div", {"log_target": [False]}, lambda: [draw(3, 4), probabilities(3, 4)], None),
    ("kl_div", {"log_target": [False]}, lambda: [draw(3, 4), probabilities(4)], None),
    ("poisson_nll_loss", {"log_input": [True, False], "full": [True, False]},
     lambda: [np.abs(draw(3, 4)) + 0.1, np.float32(rng.integers(0, 5, (3, 4)))], [0]),
    ("gaussian_nll_loss", {"full": [True, False]}, lambda: [draw(3, 4), draw(3, 4), np.abs(draw(3, 4)) + 0.1], None),
    ("gaussian_nll_loss", {"eps": [1e-6, 0.5]}, lambda: [draw(3, 4), draw(3, 4), np.abs(draw(3)) + 0.7], None),
    ("gaussian_nll_loss", {}, lambda: [draw(3, 4), draw(3, 4), np.abs(draw(3, 1)) + 0.7], None),
    ("hinge_embedding_loss", {"margin": [1.0, 0.2]}, lambda: [draw(3, 4), signs(3, 4)], [0]),
    ("margin_ranking_loss", {"margin": [0, 0.5]}, lambda: [draw(3, 4), draw(3, 4), signs(3, 4)], [0, 1]),
    ("margin_ranking_loss", {}, lambda: [draw(4), draw(1), signs(4)], [0, 1]),
    ("cosine_embedding_loss", {"margin": [0, -0.4]}, lambda: [draw(6, 4), draw(6, 4), signs(6)], [0, 1]),
    ("cosine_embedding_loss", {}, lambda: [draw(4), draw(4), np.asarray(1, np.float32)], [0, 1]),
    ("triplet_margin_loss", {"margin": [1.0, 3.0], "p": [2, 1, 3.0], "swap": [False, True]},
     lambda: [draw(5, 4), draw(5, 4), draw(5, 4)], None),
    ("triplet_margin_loss", {"eps": [0.1]}, lambda: [draw(4), draw(4), draw(4)], None),
    ("triplet_margin_with_distance_loss", {"margin": [2.0], "swap": [False, True]},
     lambda: [draw(5, 4), draw(5, 4), draw(5, 4)], None),
    ("triplet_margin_with_distance_loss", {"distance_function": [lambda a, b: (a - b).abs().sum(-1)]},
     lambda: [draw(5, 4), draw(5, 4), draw(5, 4)], None),
    ("multi_margin_loss", {"p": [1, 2], "margin": [1.0, 0.3]}, lambda: [draw(5, 4), rng.integers(0, 4, 5)], None),
    ("multi_margin_loss", {}, lambda: [draw(4), np.asarray(2)], None),
    ("multi_margin_loss", {}, lambda: [draw(4), np.asarray([2])], None),
    ("multilabel_margin_loss", {}, lambda: [draw(3, 4), np.array([[1, -1, 0, 2], [3, 0, 1, -1], [-1, 0, 0, 0]])], None),
    ("multilabel_margin_loss", {}, lambda: [draw(2, 3), np.array([[0, 1, 2], [1, 1, -1]])], None),
    ("multilabel_margin_loss", {}, lambda: [draw(4), np.array([3, 1, -1, 0])], None),
    ("multilabel_soft_margin_loss", {}, lambda: [draw(3, 4), probabilities(3, 4)], None),
    ("multilabel_soft_margin_loss", {}, lambda: [draw(3, 4), probabilities(3, 4), np.abs(draw(4))], [0]),
    ("multilabel_soft_margin_loss", {}, lambda: [draw(4), probabilities(4)], None),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*batchmean")
@pytest.mark.parametrize("case", range(len(LOSSES)), ids=lambda i: f"{LOSSES[i][0]}-{i}")
def test_losses(case):
    name, options, arrays, differentiable = LOSSES[case]
    for reduction, *values in itertools.product(REDUCTIONS, *options.values()):
        chosen = dict(zip(options, values, strict=True))
        check_op(*loss_of(name, reduction, **chosen), arrays(), differentiable=differentiable)


@pytest.mark.parametrize("weighted, per_class", list(itertools.product([False, True], repeat=2)))
def test_binary_cross_entropy_with_pos_weight(weighted, per_class):
    for reduction in REDUCTIONS:
        tensors = {"target": probabilities(2, 3, 4), "pos_weight": np.abs(draw(3, 1) if per_class else draw(2, 3, 4))}
        if weighted:
            tensors["weight"] = np.abs(draw(4))

        def of(library, tensors=tensors, reduction=reduction):
            function = (F if library is numbanet else library.nn.functional).binary_cross_entropy_with_logits

            def run(x, target):
                given = {k: library.from_numpy(v).to(x.dtype) for k, v in tensors.items() if k != "target"}
                return function(x, target, reduction=reduction, **given)

            return run

        theirs = None if torch is None else of(torch)
        check_op(of(numbanet), theirs, [draw(2, 3, 4), tensors["target"]])


def test_multi_margin_loss_with_weights():
    weight = np.abs(draw(4))
    target = rng.integers(0, 4, 5)
    for reduction, p in itertools.product(REDUCTIONS, [1, 2]):
        check_op(
            *both("multi_margin_loss", {"target": target, "weight": weight}, reduction=reduction, p=p), [draw(5, 4)]
        )


def test_kl_div_batchmean_and_a_target_of_zero():
    check_op(*loss_of("kl_div", "batchmean"), [draw(3, 4), probabilities(3, 4)])
    x, t = numbanet.tensor([-1.0, -2.0]), numbanet.tensor([0.0, 1.0])
    assert_close(F.kl_div(x, t, reduction="none"), np.array([0, 2], np.float32))
    with pytest.warns(UserWarning, match="batchmean"):
        F.kl_div(x, t)


@pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
@pytest.mark.parametrize(
    "name, x, t, options",
    [
        ("mse_loss", [np.nan, np.inf, -np.inf], [0, 0, np.inf], {}),
        ("l1_loss", [np.nan, np.inf, 1.0], [0, 0, 1], {}),
        ("smooth_l1_loss", [np.nan, np.inf, 1.0, 0.5], [0, 0, 0, 0], {"beta": 0.5}),
        ("huber_loss", [np.nan, -np.inf, 1.0, 2.0], [0, 0, 0, 0], {"delta": 2.0}),
        ("binary_cross_entropy", [0, 1, 0, 1, 1e-30, 1e-8, 0.5], [0, 1, 1, 0, 1, 0, 0.5], {}),
        ("binary_cross_entropy_with_logits", [100, -100, 1e4, -1e4, 0, np.nan, -20], [1, 1, 0, 0, 0.5, 1, 0], {}),
        ("kl_div", [-1, -np.inf, np.nan], [0, 1, 1], {"reduction": "sum"}),
    ],
)
def test_extreme_inputs(name, x, t, options):
    results = []
    for library in (numbanet, torch):
        a = library.tensor(x, dtype=library.float32, requires_grad=True)
        b = library.tensor(t, dtype=library.float32)
        function = getattr(library.nn.functional, name)
        losses = function(a, b, **{**options, "reduction": "none"})
        losses.sum().backward()
        results.append(
            (losses.detach().numpy(), a.grad.numpy(), function(a, b, **{"reduction": "sum", **options}).item())
        )
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=1e-30)


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "soft_margin_loss",
                                  "binary_cross_entropy", "binary_cross_entropy_with_logits"])  # fmt: skip
@pytest.mark.parametrize("shape", [(0,), (0, 3), ()])
def test_empty_and_0d_inputs(name, shape):
    x, t = np.asarray(probabilities(*shape)), np.asarray(probabilities(*shape))
    for reduction in REDUCTIONS:
        check_op(*loss_of(name, reduction), [x, t], differentiable=[0], numeric=False)


def test_losses_that_mix_dtypes_promote():
    x, t = numbanet.zeros(3, requires_grad=True), numbanet.ones(3).double()
    for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy_with_logits"):
        loss = getattr(F, name)(x, t)
        assert loss.dtype == numbanet.float64
        assert numbanet.autograd.grad(loss, x)[0].dtype == numbanet.float32


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "huber_loss", "binary_cross_entropy_with_logits"])
def test_long_sums_are_exact_to_rounding(name):
    """A million terms in float32, against float64."""
    x, t = draw(1 << 20), probabilities(1 << 20)
    exact = getattr(F, name)(numbanet.from_numpy(x).double(), numbanet.from_numpy(t).double(), reduction="sum").item()
    for reduction, divisor in (("sum", 1), ("mean", x.size)):
        loss = getattr(F, name)(numbanet.from_numpy(x), numbanet.from_numpy(t), reduction=reduction).item()
        assert abs(loss - exact / divisor) <= 3e-7 * abs(exact / divisor)


def twice(function, *inputs):
    """gradcheck of the gradients of ``function`` of float64 inputs, cotangents included."""
    made = [numbanet.tensor(x, dtype=numbanet.float64, requires_grad=True) for x in inputs]
    dy = numbanet.tensor(rng.standard_normal(tuple(function(*made).shape)), requires_grad=True)
    return autograd.gradcheck(lambda *given: autograd.grad(function(*given[:-1]), given[:-1], given[-1], create_graph=True),
                              (*made, dy))  # fmt: skip


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    "name", ["mse_loss", "smooth_l1_loss", "huber_loss", "soft_margin_loss", "binary_cross_entropy",
             "binary_cross_entropy_with_logits", "poisson_nll_loss"]
)  # fmt: skip
def test_losses_of_pairs_can_be_differentiated_twice(name, reduction):
    ours, _ = loss_of(name, reduction)
    assert twice(ours, probabilities(2, 3), probabilities(2, 3))
    if name.startswith("binary"):
        weight = numbanet.tensor(np.abs(draw(3)), dtype=numbanet.float64)
        assert twice(lambda x, t: ours(x, t, weight), probabilities(2, 3), probabilities(2, 3))


# ----------------------------------------------------------------------------------------- what PyTorch does not have


def squared(a, b):
    return ((a - b) ** 2).sum(-1)


def numpy_reduce(losses, reduction):
    return {"mean": losses.mean(), "sum": losses.sum(), "none": losses}[reduction]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(6, 4), (4,)])
def test_quadruplet_loss(shape, reduction):
    a, p, n, o = (draw(*shape) for _ in range(4))
    for margin, margin2 in ((1.0, 0.5), (8.0, 4.0)):
        expected = np.maximum(squared(a, p) - squared(a, n) + margin, 0) + np.maximum(
            squared(a, p) - squared(o, n) + margin2, 0
        )
        loss = lambda *tensors: F.quadruplet_loss(*tensors, margin, margin2, reduction)  # noqa: B023, E731
        check_op(loss, None, [a, p, n, o])
        value = loss(*map(numbanet.from_numpy, (a, p, n, o)))
        assert_close(value, np.float32(numpy_reduce(expected, reduction)), rtol=1e-5)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(6, 4), (4,)])
def test_contrastive_loss(shape, reduction):
    a, b = draw(*shape), draw(*shape)
    target = np.asarray(rng.integers(0, 2, shape[:-1]))
    for margin in (1.0, 9.0):
        d = np.sqrt(squared(a, b))
        expected = ((1 - target) * d**2 + target * np.maximum(margin - d, 0) ** 2) / 2
        loss = lambda x, y, t: F.contrastive_loss(x, y, t, margin, reduction)  # noqa: B023, E731
        check_op(loss, None, [a, b, target])
        value = loss(*map(numbanet.from_numpy, (a, b, target)))
        assert_close(value, np.float32(numpy_reduce(expected, reduction)), rtol=1e-5, atol=1e-5)


def test_contrastive_loss_of_equal_vectors_has_a_finite_gradient():
    x = numbanet.ones(2, 3, requires_grad=True)
    F.contrastive_loss(x, numbanet.ones(2, 3), numbanet.tensor([0, 1])).backward()
    assert np.isfinite(x.grad.numpy()).all()


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("alpha, gamma", [(0.25, 2), (-1, 2), (0.9, 0), (0.5, 0.5)])
def test_sigmoid_focal_loss(alpha, gamma, reduction):
    x, t = draw(3, 4), np.float32(rng.integers(0, 2, (3, 4)))
    p = 1 / (1 + np.exp(-np.float64(x)))
    p = np.where(t == 1, p, 1 - p)
    expected = (1 - p) ** gamma * -np.log(p) * (1 if alpha < 0 else np.where(t == 1, alpha, 1 - alpha))
    loss = lambda x, t: F.sigmoid_focal_loss(x, t, alpha, gamma, reduction)  # noqa: E731
    check_op(loss, None, [x, t], differentiable=[0])
    value = loss(numbanet.from_numpy(x), numbanet.from_numpy(t))
    assert_close(value, np.float32(numpy_reduce(expected, reduction)), rtol=1e-5)


@pytest.mark.parametrize("shape, targets", SHAPES)
def test_focal_loss(shape, targets):
    x, target, weight = draw(*shape), np.asarray(rng.integers(0, 5, targets)), np.abs(draw(5)) + 0.1
    if targets:
        target.flat[:2] = 2, 3
    logits = np.moveaxis(np.float64(x), 1 if x.ndim > 1 else 0, -1)
    p = np.take_along_axis(np.exp(logits), target[..., None], -1)[..., 0] / np.exp(logits).sum(-1)
    for gamma, weighted, ignore, reduction in itertools.product([0.0, 2.0, 0.5], [False, True], [-100, 2], REDUCTIONS):
        if not targets and ignore == 2:
            continue
        share = (weight[target] if weighted else np.ones(targets)) * (target != ignore)
        losses = share * (1 - p) ** gamma * -np.log(p)
        expected = losses.sum() / share.sum() if reduction == "mean" else numpy_reduce(losses, reduction)

        def loss(x, t, gamma=gamma, weighted=weighted, ignore=ignore, reduction=reduction):
            w = numbanet.from_numpy(weight).to(x.dtype) if weighted else None
            return F.focal_loss(x, t, w, gamma, ignore, reduction)

        check_op(loss, None, [x, target])
        value = loss(numbanet.from_numpy(x), numbanet.from_numpy(target))
        assert_close(value, np.float32(expected), rtol=1e-4)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smooth, squares", [(1.0, False), (0.0, True), (0.5, True)])
@pytest.mark.parametrize("positions", [(3, 2), (5,)])
def test_dice_loss(positions, smooth, squares, reduction):
    x, classes = probabilities(2, 3, *positions), rng.integers(0, 3, (2, *positions))
    onehot = np.float32(np.moveaxis(np.eye(3)[classes], -1, 1))
    for target in (probabilities(2, 3, *positions), onehot):
        p, t = x.reshape(2, 3, -1).astype(np.float64), target.reshape(2, 3, -1)
        sizes = (p**2 + t**2 if squares else p + t).sum(-1)
        expected = numpy_reduce(1 - (2 * (p * t).sum(-1) + smooth) / (sizes + smooth), reduction)
        loss = lambda x, t: F.dice_loss(x, t, smooth, squares, reduction)  # noqa: E731
        check_op(loss, None, [x, target])
        assert_close(loss(numbanet.from_numpy(x), numbanet.from_numpy(target)), np.float32(expected))
    both_ways = [loss(numbanet.from_numpy(x), numbanet.from_numpy(t)) for t in (classes, onehot)]
    assert_close(*both_ways)


def test_dice_loss_of_a_perfect_prediction_is_zero():
    target = numbanet.tensor([[[0, 1], [2, 1]]])
    perfect = numbanet.from_numpy(np.float32(np.moveaxis(np.eye(3)[target.numpy()], -1, 1)))
    assert F.dice_loss(perfect, target).item() == 0


# --------------------------------------------------------------------------------------------------- cross entropy


def test_cross_entropy_of_large_logits_does_not_overflow():
    x = numbanet.tensor([[1000.0, -1000.0], [0.0, 88.0]], requires_grad=True)
    loss = F.cross_entropy(x, numbanet.tensor([1, 1]), reduction="none")
    assert_close(loss.detach(), np.array([2000, 0], np.float32))
    loss.sum().backward()
    assert_close(x.grad, np.array([[1, -1], [0, 0]], np.float32))


def test_cross_entropy_with_everything_ignored_is_nan_on_average():
    x = numbanet.from_numpy(draw(3, 4)).requires_grad_()
    target = numbanet.tensor([-100, -100, -100])
    assert math.isnan(F.cross_entropy(x, target).item())
    loss = F.cross_entropy(x, target, reduction="sum")
    assert loss.item() == 0
    loss.backward()
    assert (x.grad.numpy() == 0).all()


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
@pytest.mark.parametrize("shape, targets", SHAPES)
def test_losses_of_classes_can_be_differentiated_twice(shape, targets, name, reduction):
    target = np.asarray(rng.integers(0, 5, targets))
    if targets:
        target.flat[1] = -100
    target, weight = numbanet.from_numpy(target), numbanet.tensor(np.abs(draw(5)), dtype=numbanet.float64)
    options = {"weight": weight, "reduction": reduction} | ({"label_smoothing": 0.2} if name == "cross_entropy" else {})
    assert twice(lambda x: getattr(F, name)(x, target, **options), draw(*shape))


@pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
@pytest.mark.parametrize("shape, targets", [((0, 5), (0,)), ((2, 5, 0), (2, 0)), ((0, 5, 3, 2), (0, 3, 2))])
def test_empty_batches(name, shape, targets):
    for reduction in REDUCTIONS:
        tensors = {"target": np.zeros(targets, np.int64)}
        check_op(*both(name, tensors, reduction=reduction), [draw(*shape)], numeric=False)


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
def test_what_an_ignored_pixel_holds_does_not_matter(name):
    """Nothing there gives loss or gradient, but NaN one of NaN, as in PyTorch; an ignored class weighs nothing in the mean."""
    x, target = draw(2, 3, 4), rng.integers(1, 3, (2, 4))
    target[0, 1] = 0
    weight = np.abs(draw(3)) + 0.1
    for reduction in REDUCTIONS:
        ours, theirs = both(name, {"target": target, "weight": weight}, reduction=reduction, ignore_index=0)
        check_op(ours, theirs, [x])
        kept, holed = (numbanet.from_numpy(x.copy()).requires_grad_() for _ in range(2))
        holed.detach()[0, :, 1] = 1000.0
        for given in (kept, holed):
            ours(given).sum().backward()
        assert_close(ours(holed).detach(), ours(kept).detach())
        assert_close(holed.grad, kept.grad)
        x_nan = x.copy()
        x_nan[0, :, 1] = math.nan
        check_op(ours, theirs, [x_nan], numeric=False)


def test_large_maps_and_uint8_targets():
    """More columns than one task has, the last task narrower than the others."""
    x, target = draw(2, 3, 20, 17), rng.integers(0, 3, (2, 20, 17))
    for name, options in (("cross_entropy", {"label_smoothing": 0.1}), ("nll_loss", {})):
        ours, theirs = both(name, {"target": target}, **options)
        check_op(ours, theirs, [x])
        narrow, _ = both(name, {"target": target.astype(np.uint8)}, **options)
        assert_close(narrow(numbanet.from_numpy(x)), ours(numbanet.from_numpy(x)))


@pytest.mark.parametrize("ignore", [-1, -100, 255, 1 << 40])
def test_ignore_index_outside_of_the_classes(ignore):
    target = rng.integers(0, 3, 8)
    target[[1, 5]] = ignore
    tensors = {"target": target, "weight": np.abs(draw(3)) + 0.1}
    check_op(*both("cross_entropy", tensors, ignore_index=ignore), [draw(8, 3)])


def test_weights_have_no_gradient():
    x, w = numbanet.zeros(2, 3), numbanet.ones(3, requires_grad=True)
    t = numbanet.tensor([0, 1])
    with pytest.raises(RuntimeError, match="cross_entropy: not differentiable with respect to weight"):
        F.cross_entropy(x, t, w)
    with numbanet.no_grad():
        F.cross_entropy(x, t, w)


def test_the_old_reduction_flags():
    x, target = numbanet.from_numpy(draw(3, 4)), numbanet.tensor([0, 1, 2])
    assert tuple(F.cross_entropy(x, target, reduce=False).shape) == (3,)
    assert_close(F.cross_entropy(x, target, size_average=False), F.cross_entropy(x, target, reduction="sum"))


def test_differing_shapes_are_broadcast_with_a_warning():
    with pytest.warns(UserWarning, match=r"mse_loss: input \(3, 1\) and target \(3,\) differ in shape"):
        assert F.mse_loss(numbanet.zeros(3, 1), numbanet.ones(3)).item() == 1


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda F, n: F.cross_entropy(n.zeros(2, 3), n.tensor([0, 3])), IndexError, "cross_entropy: target 3 is out of bounds for C=3 classes (input (2, 3))"),
        (lambda F, n: F.cross_entropy(n.zeros(2, 3), n.tensor([0, -1])), IndexError, "cross_entropy: target -1 is out of bounds for C=3"),
        (lambda F, n: F.cross_entropy(n.zeros(2, 3), n.tensor([0, 1, 2])), ValueError, "cross_entropy: input has N=2 samples but target has 3 (input (2, 3), target (3,))"),
        (lambda F, n: F.cross_entropy(n.zeros(2, 3), n.tensor([0.0, 1.0])), RuntimeError, "a floating target holds probabilities and needs input's shape (2, 3), got (2,)"),
        (lambda F, n: F.cross_entropy(n.zeros(2, 3, 4), n.zeros(2, 5).long()), RuntimeError, "cross_entropy: expected target of shape (2, 4) for input (2, 3, 4), got (2, 5)"),
        (lambda F, n: F.cross_entropy(n.zeros(2, 3), n.tensor([0, 1]), n.ones(4)), RuntimeError, "cross_entropy: expected weight of shape (3,)"),
        (lambda F, n: F.cross_entropy(n.zeros(2, 3), n.tensor([0, 1]), label_smoothing=1.5), RuntimeError, "cross_entropy: label_smoothing must be between 0 and 1, got 1.5"),
        (lambda F, n: F.cross_entropy(n.zeros(2, 3), n.tensor([0, 1]), reduction="average"), ValueError, "cross_entropy: reduction must be 'mean', 'sum' or 'none', got 'average'"),
        (lambda F, n: F.cross_entropy(n.zeros(2, 3), [0, 1]), TypeError, "cross_entropy: argument 'target' must be a Tensor, not list"),
        (lambda F, n: F.nll_loss(n.zeros(2, 3), n.tensor([0, 7])), IndexError, "nll_loss: target 7 is out of bounds for C=3 classes"),
    ],
)  # fmt: skip
def test_losses_name_what_does_not_fit(call, error, message):
    with pytest.raises(error) as caught:
        call(F, numbanet)
    assert message in str(caught.value)
    if torch is not None:
        with pytest.raises(error):
            call(torch.nn.functional, torch)


def test_mse_loss_refuses_other_types():
    with pytest.raises(TypeError, match="mse_loss: argument 'target' must be a Tensor, not float"):
        F.mse_loss(numbanet.zeros(2), 1.0)


def test_logits_that_are_not_finite_have_no_gradient_even_where_the_target_is_ignored():
    x = numbanet.tensor([[1.0, float("nan")], [1.0, 2.0]], requires_grad=True)
    F.cross_entropy(x, numbanet.tensor([-100, -100]), reduction="sum").backward()
    assert np.isnan(x.grad.numpy()[0]).all() and (x.grad.numpy()[1] == 0).all()
