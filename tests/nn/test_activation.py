"""Activation and dropout layers against PyTorch's: printing, state_dict, outputs and gradients; what they refuse."""

import inspect

import numpy as np
import pytest

import numbanet
from numbanet import nn
from tests.checks import assert_close, torch
from tests.nn import test_layers

ACTIVATIONS = ["CELU", "ELU", "GELU", "GLU", "SELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU",
               "LogSigmoid", "LogSoftmax", "Mish", "PReLU", "RReLU", "ReLU", "ReLU6", "SiLU", "Sigmoid", "Softmax",
               "Softmax2d", "Softmin", "Softplus", "Softshrink", "Softsign", "Tanh", "Tanhshrink", "Threshold"]  # fmt: skip
DROPOUTS = ["Dropout", "Dropout1d", "Dropout2d", "AlphaDropout", "FeatureAlphaDropout"]
IMAGES = (2, 4, 3, 5)

LAYERS = [
    *[f"{name}()" for name in ACTIVATIONS
      if name not in ("Threshold", "GLU", "RReLU", "Softmax", "LogSoftmax", "Softmin")],
    *[f"{name}(inplace=True)" for name in ("ReLU", "ReLU6", "LeakyReLU", "ELU", "SELU", "CELU", "SiLU", "Mish", "Hardswish",
                                           "Hardsigmoid", "Hardtanh")],
    *["Threshold(0.1, 2)", "Threshold(0.1, 2.0, True)", "GLU(1)", "GLU(dim=-3)", "RReLU().eval()", "RReLU(0.1, 0.2, True).eval()",
      "RReLU(0.25, 0.25)", "LeakyReLU(0.2, True)", "PReLU(4)", "PReLU(4, 0.1)", "PReLU(init=-0.5)", "ELU(2, True)", "CELU(2.0)",
      "CELU(alpha=0.5, inplace=True)", "GELU('tanh')", "GELU(approximate='none')", "Hardtanh(-2, 2.5, True)",
      "Hardshrink(1.25)", "Softshrink(1.25)", "Softplus(2, 10)", "Softplus(threshold=1.5)", "Softmin(1)", "Softmax(-1)",
      "LogSoftmax(dim=2)"],
    *[f"{name}({arguments}).eval()" for name in DROPOUTS if name != "Dropout1d" for arguments in ("", "0.25, True", "p=0")],
]  # fmt: skip


@pytest.mark.parametrize("source", LAYERS)
def test_layer_is_pytorchs(source):
    test_layers.test_layer_is_pytorchs(source, IMAGES)


@pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("name", ACTIVATIONS + DROPOUTS)
def test_constructor_takes_pytorchs_arguments(name):
    ours, theirs = (inspect.signature(getattr(library, name)).parameters for library in (nn, torch.nn if torch else nn))
    theirs = {key: p.default for key, p in theirs.items() if p.kind is p.POSITIONAL_OR_KEYWORD}
    assert {key: p.default for key, p in ours.items()} == theirs


@pytest.mark.parametrize("name", DROPOUTS)
def test_dropout_layer_drops_in_training_only(name):
    shape = (50, 20, 6) if name == "Dropout1d" else (50, 20, 3, 2)
    layer, x = getattr(nn, name)(0.4), numbanet.ones(*shape)
    y = layer(x).numpy()
    assert 0.3 < (y == y.min()).mean() < 0.5
    assert layer.eval()(x) is x
    assert repr(layer) == f"{name}(p=0.4, inplace=False)"
    if name not in ("Dropout", "AlphaDropout"):
        assert (y.reshape(1000, -1) == y.reshape(1000, -1)[:, :1]).all()
    over = getattr(nn, name)(0.4, inplace=True)
    assert over(x) is x and len(np.unique(x.numpy())) == 2


def test_rrelu_layer_draws_in_training_only():
    layer, x = nn.RReLU(0.1, 0.3), numbanet.full((1000,), -1.0)
    slopes = -layer(x).numpy()
    assert len(np.unique(slopes)) > 900 and slopes.min() >= 0.1 and slopes.max() <= 0.3
    assert_close(layer.eval()(x), np.full(1000, -0.2, np.float32))


def test_prelu_layer_learns_its_slope():
    layer = nn.PReLU(2)
    x = numbanet.tensor([[-1.0, -2.0], [3.0, -4.0]])
    layer(x).sum().backward()
    assert_close(layer.weight.grad, np.array([-1, -6], np.float32))
    with numbanet.no_grad():
        layer.weight.fill_(9.0)
    layer.reset_parameters()
    assert layer.weight.tolist() == [0.25, 0.25]
    assert nn.PReLU(dtype=numbanet.float64).weight.dtype == numbanet.float64


def test_hardtanh_knows_its_former_names():
    with pytest.warns(FutureWarning, match="min_value is now called min_val"):
        layer = nn.Hardtanh(min_value=-3.0)
    assert (layer.min_val, layer.max_val) == (-3.0, 1.0)
