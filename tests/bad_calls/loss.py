"""Losses and distances."""

from __future__ import annotations

from typing import Any

from tests.bad_calls import Bad


def _of(name: str, *shapes: Any, **options: Any) -> Any:
    """A call of a function with ones of these shapes; lists are int64 tensors of their values, True bools likewise."""

    def call(library: Any) -> Any:
        tensors = [library.tensor(s) if isinstance(s, list) else library.ones(s) for s in shapes]
        return getattr(library.nn.functional, name)(*tensors, **options)

    return call


_CE, _BCE, _LOGITS = "cross_entropy", "binary_cross_entropy", "binary_cross_entropy_with_logits"

BAD = [
    # classes
    Bad("class too large", _of(_CE, (2, 3), [0, 3]), IndexError, r"cross_entropy: target 3 is out of bounds for C=3 classes", checked_by="cross_entropy_forward"),
    Bad("negative class", _of(_CE, (2, 3), [-1, 0]), IndexError, r"cross_entropy: target -1 is out of bounds for C=3", checked_by="cross_entropy_forward"),
    Bad("class too large in a segmentation", _of(_CE, (1, 2, 2, 2), [[[0, 1], [1, 2]]]), IndexError, r"target 2 is out of bounds for C=2 classes \(input \(1, 2, 2, 2\)\)", checked_by="cross_entropy_forward"),
    Bad("class too large with weights", lambda n: n.nn.functional.cross_entropy(n.ones(2, 3), n.tensor([0, 9]), n.ones(3)), IndexError, r"target 9 is out of bounds for C=3", checked_by="cross_entropy_forward"),
    Bad("batch sizes differ", _of(_CE, (2, 3), [0, 1, 2]), ValueError, r"N=2 samples but target has 3 \(input \(2, 3\), target \(3,\)\)"),
    Bad("segmentation of another size", _of(_CE, (1, 3, 2, 2), [[[0, 1, 1], [0, 1, 1]]]), RuntimeError, r"expected target of shape \(1, 2, 2\) for input \(1, 3, 2, 2\), got \(1, 2, 3\)"),
    Bad("probabilities of another shape", _of(_CE, (2, 3), (2, 4)), RuntimeError, r"needs input's shape \(2, 3\), got \(2, 4\)"),
    Bad("int32 classes", lambda n: n.nn.functional.cross_entropy(n.ones(2, 3), n.tensor([0, 1]).int()), RuntimeError, r"expected target of dtype int64 \(or uint8\), got int32"),
    Bad("weights of another number of classes", lambda n: n.nn.functional.cross_entropy(n.ones(2, 3), n.tensor([0, 1]), n.ones(4)), RuntimeError, r"expected weight of shape \(3,\) for input \(2, 3\), got \(4,\)"),
    Bad("weights that want a gradient", lambda n: n.nn.functional.cross_entropy(n.ones(2, 3), n.tensor([0, 1]), n.ones(3, requires_grad=True)), RuntimeError, r"cross_entropy: not differentiable with respect to weight \(shape \(3,\)\)"),
    Bad("label_smoothing above 1", _of(_CE, (2, 3), [0, 1], label_smoothing=1.5), RuntimeError, r"label_smoothing must be between 0 and 1, got 1.5"),
    Bad("integer logits", lambda n: n.nn.functional.cross_entropy(n.ones(2, 3).long(), n.tensor([0, 1])), RuntimeError, r"cross_entropy: expected input of a floating dtype, got int64"),
    Bad("cross_entropy of a number", _of(_CE, (), [0]), (RuntimeError, IndexError), r"cross_entropy: expected input of shape \(C,\).*got \(\)"),
    Bad("unknown reduction", _of(_CE, (2, 3), [0, 1], reduction="average"), ValueError, r"reduction must be 'mean', 'sum' or 'none', got 'average'"),
    Bad("nll_loss: class too large", _of("nll_loss", (2, 3), [0, 7]), IndexError, r"nll_loss: target 7 is out of bounds for C=3", checked_by="nll_forward"),
    Bad("nll_loss: probabilities", _of("nll_loss", (2, 3), (2, 3)), RuntimeError, r"nll_loss: expected target of shape \(2,\) for input \(2, 3\), got \(2, 3\)"),
    Bad("nll_loss: floating classes", _of("nll_loss", (2, 3), (2,)), RuntimeError, r"nll_loss: expected target of dtype int64"),
    Bad("multi_margin_loss: class too large", _of("multi_margin_loss", (2, 3), [0, 5]), RuntimeError, r"multi_margin_loss: target 5 is out of range for C=3 classes"),
    Bad("multi_margin_loss: p", _of("multi_margin_loss", (2, 3), [0, 1], p=3), ValueError, r"multi_margin_loss: p must be 1 or 2, got 3"),
    Bad("multi_margin_loss: targets", _of("multi_margin_loss", (2, 3), [0, 1, 2]), RuntimeError, r"expected target of shape \(2,\) for input \(2, 3\), got \(3,\)"),
    Bad("multi_margin_loss: 3-D input", _of("multi_margin_loss", (1, 2, 3), [0]), RuntimeError, r"expected input of shape \(N, C\) or \(C,\) with C > 0, got \(1, 2, 3\)"),
    Bad("multi_margin_loss: weights", lambda n: n.nn.functional.multi_margin_loss(n.ones(2, 3), n.tensor([0, 1]), weight=n.ones(4)), RuntimeError, r"expected weight of shape \(3,\) for input \(2, 3\), got \(4,\)"),
    Bad("multilabel_margin_loss: label too large", _of("multilabel_margin_loss", (3,), [0, 7, -1]), RuntimeError, r"multilabel_margin_loss: target 7 is out of range for C=3"),
    Bad("multilabel_margin_loss: shapes", _of("multilabel_margin_loss", (2, 3), [0, 1, -1]), RuntimeError, r"expected target of input's shape \(2, 3\), got \(3,\)"),
    Bad("multilabel_soft_margin_loss: shapes", _of("multilabel_soft_margin_loss", (2, 3), (4,)), RuntimeError, r"multilabel_soft_margin_loss: shapes \(2, 3\) and \(4,\) do not broadcast"),
    Bad("focal_loss: class too large", _of("focal_loss", (2, 3), [0, 3]), IndexError, r"focal_loss: target 3 is out of bounds for C=3", torch=False, checked_by="cross_entropy_forward"),
    Bad("focal_loss: gamma", _of("focal_loss", (2, 3), [0, 1], gamma=-1.0), ValueError, r"focal_loss: gamma must not be negative, got -1.0", torch=False),
    # pairs
    *[Bad(f"{name}: shapes", lambda n, name=name: _quietly(n, name, (2, 3), (4,)), RuntimeError, rf"{name}: shapes \(2, 3\) and \(4,\) do not broadcast")
      for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")],
    Bad("mse_loss: weight of another shape", lambda n: n.nn.functional.mse_loss(n.ones(2, 3), n.ones(2, 3), weight=n.ones(3)), ValueError, r"mse_loss: expected weight of input's shape \(2, 3\), got \(3,\)"),
    Bad("mse_loss: integers", _of("mse_loss", [1, 2], [1, 2]), RuntimeError, r"mse_loss: expected input of a floating dtype, got int64"),
    Bad("mse_loss: a number", lambda n: n.nn.functional.mse_loss(n.ones(2), 1.0), (TypeError, AttributeError), r"mse_loss: argument 'target' must be a Tensor, not float"),
    Bad("mse_loss: unknown reduction", _of("mse_loss", (2,), (2,), reduction="batchmean"), ValueError, r"mse_loss: reduction must be 'mean', 'sum' or 'none', got 'batchmean'"),
    Bad("smooth_l1_loss: beta", _of("smooth_l1_loss", (2,), (2,), beta=-1), RuntimeError, r"smooth_l1_loss: beta must not be negative, got -1"),
    Bad("huber_loss: delta", _of("huber_loss", (2,), (2,), delta=0), RuntimeError, r"huber_loss: delta must be positive, got 0"),
    Bad("bce: shapes", _of(_BCE, (2, 3), (3,)), ValueError, r"binary_cross_entropy: expected target of input's shape \(2, 3\), got \(3,\)"),
    Bad("bce: input above 1", lambda n: n.nn.functional.binary_cross_entropy(n.full((2,), 1.5), n.ones(2)), RuntimeError, r"all elements of input must be between 0 and 1, got 1.5 to 1.5"),
    Bad("bce: target below 0", lambda n: n.nn.functional.binary_cross_entropy(n.ones(2), n.full((2,), -0.5)), RuntimeError, r"all elements of target must be between 0 and 1, got -0.5"),
    Bad("bce: NaN", lambda n: n.nn.functional.binary_cross_entropy(n.full((2,), float("nan")), n.ones(2)), RuntimeError, r"all elements of input must be between 0 and 1, got nan"),
    Bad("bce: dtypes", lambda n: n.nn.functional.binary_cross_entropy(n.ones(2), n.ones(2).double()), RuntimeError, r"input is float32 but target is float64"),
    Bad("bce: weight", _of(_BCE, (2, 3), (2, 3), (4,)), RuntimeError, r"binary_cross_entropy: weight \(4,\) does not broadcast to the shape of input \(2, 3\)"),
    Bad("bce: weight of more dimensions", _of(_BCE, (2, 3), (2, 3), (5, 2, 3)), RuntimeError, r"weight \(5, 2, 3\) does not broadcast to the shape of input \(2, 3\)"),
    Bad("bce with logits: shapes", _of(_LOGITS, (2, 3), (3,)), ValueError, r"binary_cross_entropy_with_logits: expected target of input's shape \(2, 3\), got \(3,\)"),
    Bad("bce with logits: pos_weight", lambda n: n.nn.functional.binary_cross_entropy_with_logits(n.ones(2, 3), n.ones(2, 3), pos_weight=n.ones(4)), RuntimeError, r"pos_weight \(4,\) does not broadcast to the shape of input \(2, 3\)"),
    Bad("bce with logits: integer targets", _of(_LOGITS, (2,), [0, 1]), RuntimeError, r"expected target of a floating dtype, got int64"),
    Bad("sigmoid_focal_loss: alpha", _of("sigmoid_focal_loss", (2,), (2,), alpha=1.5), ValueError, r"sigmoid_focal_loss: alpha must be between 0 and 1, or -1, got 1.5", torch=False),
    Bad("soft_margin_loss: shapes", _of("soft_margin_loss", (2, 3), (4,)), RuntimeError, r"soft_margin_loss: shapes \(2, 3\) and \(4,\) do not broadcast"),
    Bad("kl_div: unknown reduction", _of("kl_div", (2, 3), (2, 3), reduction="batch"), ValueError, r"kl_div: reduction must be 'mean', 'sum' or 'none', got 'batch'"),
    Bad("kl_div: shapes", _of("kl_div", (2, 3), (4,), reduction="sum"), RuntimeError, r"kl_div: shapes \(2, 3\) and \(4,\) do not broadcast"),
    Bad("poisson_nll_loss: shapes", _of("poisson_nll_loss", (2, 3), (4,)), RuntimeError, r"poisson_nll_loss: shapes \(2, 3\) and \(4,\) do not broadcast"),
    Bad("gaussian_nll_loss: var's shape", _of("gaussian_nll_loss", (2, 3), (2, 3), (4, 3)), ValueError, r"gaussian_nll_loss: expected var of input's shape \(2, 3\), or fitting it, got \(4, 3\)"),
    Bad("gaussian_nll_loss: negative var", lambda n: n.nn.functional.gaussian_nll_loss(n.ones(2), n.ones(2), n.full((2,), -1.0)), ValueError, r"gaussian_nll_loss: var must not be negative, got -1.0"),
    # margins and distances
    Bad("hinge_embedding_loss: shapes", _of("hinge_embedding_loss", (2, 3), (4,)), RuntimeError, r"hinge_embedding_loss: shapes \(2, 3\) and \(4,\) do not broadcast"),
    Bad("margin_ranking_loss: dimensions", _of("margin_ranking_loss", (2, 3), (2, 3), (2,)), RuntimeError, r"as many dimensions, got input1 \(2, 3\), input2 \(2, 3\), target \(2,\)"),
    Bad("cosine_embedding_loss: 2-D target", _of("cosine_embedding_loss", (2, 3), (2, 3), (2, 3)), RuntimeError, r"cosine_embedding_loss: expected target of shape \(N,\) or \(\), got \(2, 3\)"),
    Bad("cosine_embedding_loss: 1-D inputs", _of("cosine_embedding_loss", (3,), (3,), (1,)), RuntimeError, r"expected inputs of 2 dimensions for target \(1,\), got \(3,\) and \(3,\)"),
    Bad("cosine_embedding_loss: sizes", _of("cosine_embedding_loss", (2, 3), (2, 4), (2,)), RuntimeError, r"cosine_embedding_loss: shapes \(2, 3\) and \(2, 4\) do not broadcast"),
    Bad("triplet_margin_loss: margin", _of("triplet_margin_loss", (2, 3), (2, 3), (2, 3), margin=-1), ValueError, r"triplet_margin_loss: margin must be greater than 0, got -1"),
    Bad("triplet_margin_loss: dimensions", _of("triplet_margin_loss", (2, 3), (2, 3), (3,)), RuntimeError, r"as many dimensions, got anchor \(2, 3\), positive \(2, 3\), negative \(3,\)"),
    Bad("triplet_margin_loss: sizes", _of("triplet_margin_loss", (2, 3), (2, 3), (2, 4)), RuntimeError, r"triplet_margin_loss: shapes .*\(2, 4\) do not broadcast"),
    Bad("triplet_margin_with_distance_loss: margin", _of("triplet_margin_with_distance_loss", (2, 3), (2, 3), (2, 3), margin=0), ValueError, r"triplet_margin_with_distance_loss: margin must be greater than 0, got 0"),
    Bad("triplet_margin_with_distance_loss: dimensions", _of("triplet_margin_with_distance_loss", (2, 3), (2, 3), (3,)), RuntimeError, r"as many dimensions, got anchor \(2, 3\)"),
    Bad("quadruplet_loss: margin2", _of("quadruplet_loss", *[(2, 3)] * 4, margin2=0.0), ValueError, r"quadruplet_loss: margin2 must be greater than 0, got 0.0", torch=False),
    Bad("quadruplet_loss: dimensions", _of("quadruplet_loss", (2, 3), (2, 3), (2, 3), (3,)), RuntimeError, r"as many dimensions, got anchor \(2, 3\), .* other \(3,\)", torch=False),
    Bad("contrastive_loss: targets", _of("contrastive_loss", (2, 3), (2, 3), [0, 1, 1]), RuntimeError, r"contrastive_loss: expected target of shape \(2,\) for inputs \(2, 3\) and \(2, 3\), got \(3,\)", torch=False),
    Bad("dice_loss: no positions", _of("dice_loss", (2, 3), (2, 3)), RuntimeError, r"dice_loss: expected input of shape \(N, C, d1, ...\), got \(2, 3\)", torch=False),
    Bad("dice_loss: class too large", _of("dice_loss", (1, 2, 2), [[0, 2]]), IndexError, r"dice_loss: target 2 is out of bounds for C=2", torch=False),
    Bad("dice_loss: class of -1", _of("dice_loss", (1, 2, 2), [[0, -1]]), IndexError, r"dice_loss: target -1 is out of bounds for C=2", torch=False),
    Bad("cosine_similarity: dim", _of("cosine_similarity", (2, 3), (2, 3), dim=2), IndexError, r"cosine_similarity: dimension out of range: dim=2"),
    Bad("cosine_similarity: sizes", _of("cosine_similarity", (2, 3), (2, 4)), RuntimeError, r"cosine_similarity: shapes \(2, 3\) and \(2, 4\) do not broadcast"),
    Bad("cosine_similarity: integers", _of("cosine_similarity", [[1, 2]], [[1, 2]]), RuntimeError, r"cosine_similarity: expected x1 of a floating dtype, got int64"),
    Bad("pairwise_distance: sizes", _of("pairwise_distance", (2, 3), (4,)), RuntimeError, r"pairwise_distance: shapes \(2, 3\) and \(4,\) do not broadcast"),
    Bad("normalize: dim", _of("normalize", (2, 3), dim=3), IndexError, r"normalize: dimension out of range: dim=3"),
    Bad("normalize: integers", _of("normalize", [[1, 2]]), RuntimeError, r"normalize: expected input of a floating dtype, got int64"),
    Bad("cdist: columns", lambda n: n.cdist(n.ones(2, 3), n.ones(4, 2)), RuntimeError, r"cdist: x1 has vectors of 3 and x2 of 2 elements"),
    Bad("cdist: negative p", lambda n: n.cdist(n.ones(2, 3), n.ones(2, 3), p=-1), RuntimeError, r"cdist: p must not be negative, got -1"),
    Bad("cdist: vectors", lambda n: n.cdist(n.ones(3), n.ones(2, 3)), RuntimeError, r"cdist: expected x1 \(..., P, M\) and x2 \(..., R, M\), got \(3,\) and \(2, 3\)"),
    # modules
    Bad("MultiMarginLoss: p", lambda n: n.nn.MultiMarginLoss(p=3), ValueError, r"MultiMarginLoss: p must be 1 or 2, got 3"),
    Bad("TripletMarginLoss: margin", lambda n: n.nn.TripletMarginLoss(margin=0), ValueError, r"TripletMarginLoss: margin must be greater than 0, got 0"),
    Bad("TripletMarginWithDistanceLoss: margin", lambda n: n.nn.TripletMarginWithDistanceLoss(margin=-1), ValueError, r"TripletMarginWithDistanceLoss: margin must be greater than 0, got -1"),
    Bad("HuberLoss: delta", lambda n: n.nn.HuberLoss(delta="1"), TypeError, r"HuberLoss: delta must be a number, got '1'"),
    Bad("QuadrupletLoss: margin2", lambda n: n.nn.QuadrupletLoss(margin2=-1), ValueError, r"QuadrupletLoss: margin2 must be greater than 0, got -1", torch=False),
]  # fmt: skip


def _quietly(library: Any, name: str, *shapes: Any) -> Any:
    """The call without the warning about shapes that differ, which comes before the error."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _of(name, *shapes)(library)
