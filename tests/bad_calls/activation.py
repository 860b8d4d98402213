"""Refused calls of activations and dropout."""

from __future__ import annotations

from typing import Any

from tests.bad_calls import Bad


def F(library: Any) -> Any:
    return library.nn.functional


def leaf(library: Any) -> Any:
    return library.zeros(3, requires_grad=True)


FLOATING_ONLY = ["leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish", "hardsigmoid", "hardshrink",
                 "softshrink", "softplus", "logsigmoid", "glu", "rrelu"]  # fmt: skip
PROBABILITIES = ["dropout", "dropout1d", "dropout2d", "alpha_dropout", "feature_alpha_dropout"]
LAYERS = ["Dropout", "Dropout1d", "Dropout2d", "AlphaDropout", "FeatureAlphaDropout"]

BAD = [
    # ------------------------------------------------------------------------------------------------ dtypes, types
    *[
        Bad(f"{name} of integers", lambda m, f=name: getattr(F(m), f)(m.tensor([[1, 2]])), NotImplementedError,
            f"{name}: expected input of a floating dtype, got int64")
        for name in FLOATING_ONLY
    ],
    Bad("prelu of integers", lambda m: F(m).prelu(m.tensor([1, 2]), m.ones(1)), RuntimeError, "prelu: .*int64"),
    Bad("prelu with a weight of another dtype", lambda m: F(m).prelu(m.zeros(2, 3), m.ones(3, dtype=m.float64)),
        RuntimeError, "prelu: input is float32 but weight is float64"),
    *[
        Bad(f"{name} of bools", lambda m, f=name: getattr(F(m), f)(m.tensor([True])), RuntimeError, f"{name}: bool")
        for name in ("relu", "relu6", "hardtanh")
    ],
    Bad("threshold of bools", lambda m: F(m).threshold(m.tensor([True]), 0, 1), NotImplementedError, "threshold: .*bool"),
    *[
        Bad(f"{name} of a list", lambda m, f=name: getattr(F(m), f)([1.0, 2.0]), TypeError,
            f"{name}: argument 'input' must be a Tensor, not list")
        for name in ("relu", "relu6", "silu", "gelu", "elu", "softplus", "dropout")
    ],
    Bad("softmin of integers", lambda m: F(m).softmin(m.tensor([1, 2]), 0), NotImplementedError, "softmin: .*int64"),
    Bad("gumbel_softmax of integers", lambda m: F(m).gumbel_softmax(m.tensor([1, 2])), RuntimeError, "gumbel_softmax: .*int64"),
    Bad("dropout of integers", lambda m: F(m).dropout(m.tensor([1, 2])), RuntimeError, "dropout: .*int64"),
    Bad("alpha_dropout of integers", lambda m: F(m).alpha_dropout(m.tensor([1, 2]), 0.5, True), RuntimeError,
        "alpha_dropout: .*int64"),
    Bad("dropout2d of integers", lambda m: F(m).dropout2d(m.ones(1, 2, 3, 4, dtype=m.int64)), RuntimeError,
        "dropout2d: .*int64"),
    # ---------------------------------------------------------------------------------------------------- parameters
    *[
        Bad(f"{name} with a string for {argument}", lambda m, f=name, a=argument: getattr(F(m), f)(m.zeros(2), **{a: "x"}),
            TypeError, f"{name}: argument '{argument}' must be a number, not str")
        for name, argument in [("leaky_relu", "negative_slope"), ("elu", "alpha"), ("celu", "alpha"), ("softplus", "beta"),
                               ("softplus", "threshold"), ("hardshrink", "lambd"), ("softshrink", "lambd"),
                               ("hardtanh", "min_val")]
    ],
    Bad("threshold with None for value", lambda m: F(m).threshold(m.zeros(2), 0, None), TypeError,
        "threshold: argument 'value' must be a number, not NoneType"),
    Bad("threshold without value", lambda m: F(m).threshold(m.zeros(2), 0), TypeError, "value"),
    Bad("elu with a tensor of two alphas", lambda m: F(m).elu(m.zeros(2), m.ones(2)), (TypeError, RuntimeError),
        "elu: argument 'alpha' must be a number, not Tensor"),
    Bad("celu with alpha 0", lambda m: F(m).celu(m.zeros(2), 0.0), RuntimeError, "celu: alpha cannot be 0"),
    Bad("CELU with alpha 0", lambda m: m.nn.CELU(0)(m.zeros(2)), RuntimeError, "celu: alpha cannot be 0"),
    Bad("softshrink with a negative lambd", lambda m: F(m).softshrink(m.zeros(2), -0.5), RuntimeError,
        "softshrink: lambd must be at least 0 and finite in float32, got lambd=-0.5"),
    Bad("softshrink with an infinite lambd", lambda m: F(m).softshrink(m.zeros(2), float("inf")), RuntimeError,
        "softshrink: lambd .* got lambd=inf"),
    Bad("hardtanh upside down", lambda m: F(m).hardtanh(m.zeros(2), 2.0, 1.0), ValueError,
        "hardtanh: min_val cannot be greater than max_val, got min_val=2.0, max_val=1.0"),
    Bad("Hardtanh upside down", lambda m: m.nn.Hardtanh(2.0, 1.0), AssertionError, r"max_val \(1.0\) .* min_val \(2.0\)"),
    Bad("Hardtanh of one value", lambda m: m.nn.Hardtanh(1, 1), AssertionError, r"max_val \(1\) .* min_val \(1\)"),
    Bad("gelu with an unknown approximation", lambda m: F(m).gelu(m.zeros(2), approximate="sigmoid"), RuntimeError,
        "gelu: approximate must be 'none' or 'tanh', got 'sigmoid'"),
    Bad("gelu with a positional approximation", lambda m: F(m).gelu(m.zeros(2), "tanh"), TypeError, "positional"),
    Bad("rrelu upside down", lambda m: F(m).rrelu(m.zeros(2), 0.5, 0.1, True), RuntimeError,
        "rrelu: lower must be at most upper, got lower=0.5, upper=0.1"),
    Bad("rrelu upside down in evaluation", lambda m: F(m).rrelu(m.zeros(2), 0.5, 0.1), RuntimeError, "rrelu: lower"),
    Bad("Threshold without value", lambda m: m.nn.Threshold(1.0), TypeError, "value"),
    # -------------------------------------------------------------------------------------------------------- shapes
    Bad("prelu with too few weights", lambda m: F(m).prelu(m.zeros(2, 3), m.ones(2)), RuntimeError,
        r"prelu: weight has 2 elements, but input of shape \(2, 3\) has 3 channels"),
    Bad("prelu with weights for a vector", lambda m: F(m).prelu(m.zeros(3), m.ones(3)), RuntimeError,
        r"prelu: weight has 3 elements, but input of shape \(3,\) has 1 channels"),
    Bad("prelu with weights for a number", lambda m: F(m).prelu(m.tensor(1.0), m.ones(3)), RuntimeError, "prelu: weight has 3"),
    Bad("prelu with a matrix of weights", lambda m: F(m).prelu(m.zeros(2, 3), m.ones(3, 1)), RuntimeError,
        r"prelu: expected weight of shape \(C,\), \(1,\) or \(\), got \(3, 1\)"),
    Bad("PReLU with too few weights", lambda m: m.nn.PReLU(2)(m.zeros(2, 3)), RuntimeError, "prelu: weight has 2 elements"),
    Bad("glu of an odd dimension", lambda m: F(m).glu(m.zeros(2, 3)), RuntimeError,
        "glu: the halved dimension must be even, but dimension 1 has size 3"),
    Bad("glu of a number", lambda m: F(m).glu(m.tensor(1.0)), RuntimeError, "glu: a tensor of 0 dimensions"),
    Bad("glu along a missing dimension", lambda m: F(m).glu(m.zeros(2, 2), 2), IndexError, "glu: dimension out of range: dim=2"),
    Bad("softmin along a missing dimension", lambda m: F(m).softmin(m.zeros(2, 2), -3), IndexError, "softmin: .*dim=-3"),
    Bad("gumbel_softmax along a missing dimension", lambda m: F(m).gumbel_softmax(m.zeros(2, 2), dim=2), IndexError,
        "gumbel_softmax: .*dim=2"),
    Bad("Softmax2d of a matrix", lambda m: m.nn.Softmax2d()(m.zeros(2, 3)), ValueError,
        r"Softmax2d: expected 3D or 4D input \(got 2D input of shape \(2, 3\)\)"),
    Bad("dropout1d of an image", lambda m: F(m).dropout1d(m.zeros(2, 3, 4, 5)), RuntimeError,
        r"dropout1d: expected input of shape \(N, C, L\) or \(C, L\), got \(2, 3, 4, 5\)"),
    Bad("dropout1d of a vector in evaluation", lambda m: F(m).dropout1d(m.zeros(2), 0.5, False), RuntimeError, "dropout1d: .*1 dim"),
    Bad("feature_alpha_dropout of a vector", lambda m: F(m).feature_alpha_dropout(m.zeros(2), 0.5, True), RuntimeError,
        r"feature_alpha_dropout: expected input of shape \(N, C, ...\), got \(2,\)"),
    # -------------------------------------------------------------------------------------------------- probabilities
    *[
        Bad(f"{name} with p={p}", lambda m, f=name, p=p: getattr(F(m), f)(m.zeros(1, 2, 3), p, True), ValueError,
            f"{name}: probability has to be between 0 and 1, got p={p}")
        for name in PROBABILITIES
        for p in (-0.1, 1.5)
    ],
    *[
        Bad(f"{name} with a string for p", lambda m, f=name: getattr(F(m), f)(m.zeros(1, 2, 3), "x"), TypeError,
            f"{name}: the probability must be a number, not str")
        for name in PROBABILITIES
    ],
    *[
        Bad(f"{name} with p={p}", lambda m, f=name, p=p: getattr(m.nn, f)(p), ValueError,
            f"{name}: dropout probability has to be between 0 and 1, but got {p}")
        for name in LAYERS
        for p in (-0.1, 1.5)
    ],
    # ----------------------------------------------------------------------------------------------------- in place
    *[
        Bad(f"{name} of a leaf", lambda m, f=name: getattr(F(m), f)(leaf(m)), RuntimeError, f"{name}: a leaf that requires grad")
        for name in ("relu_", "leaky_relu_", "elu_", "hardtanh_", "celu_", "selu_", "rrelu_")
    ],
    Bad("threshold_ of a leaf", lambda m: F(m).threshold_(leaf(m), 0.0, 1.0), RuntimeError, "threshold_: a leaf"),
    Bad("silu of a leaf in place", lambda m: F(m).silu(leaf(m), inplace=True), RuntimeError, "silu_: a leaf"),
    Bad("dropout of a leaf in place", lambda m: F(m).dropout(leaf(m), inplace=True), RuntimeError, "dropout: a leaf"),
]  # fmt: skip
