"""Batch normalisation folded into the layer before it, for inference."""

from __future__ import annotations

import copy
from typing import Any

from numbanet.autograd import no_grad
from numbanet.nn.parameter import Parameter
from numbanet.tensor import Tensor, zeros_like


def _check(name: str, layer: Any, bn: Any) -> None:
    if layer.training or bn.training:
        raise AssertionError(f"{name}: both layers must be in evaluation mode; call eval() first")
    if bn.running_mean is None or bn.running_var is None:
        raise AssertionError(f"{name}: the batch normalisation keeps no running statistics")


def fuse_conv_bn_eval(conv: Any, bn: Any, transpose: bool = False) -> Any:
    """A convolution that does what ``conv`` and then ``bn`` do in evaluation mode.

    Args:
        conv: a convolution in evaluation mode.
        bn: a batch normalisation in evaluation mode, with running statistics.
        transpose: whether ``conv`` is a transposed convolution.

    Returns:
        A copy of ``conv`` with other weights.

    Raises:
        AssertionError: for layers in training mode, or no running statistics.
    """
    _check("fuse_conv_bn_eval", conv, bn)
    fused = copy.deepcopy(conv)
    fused.weight, fused.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias, transpose
    )
    return fused


@no_grad()
def fuse_conv_bn_weights(
    conv_w: Tensor,
    conv_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
    transpose: bool = False,
) -> tuple[Parameter, Parameter]:
    """The weight w * s and the bias (b - mean) * s + bn_b, with s = bn_w / sqrt(var + eps) per output channel.

    Args:
        conv_w: shape (O, I, ...), transposed (I, O, ...).
        conv_b: shape (O,), or None.
        bn_rm, bn_rv: running mean and variance, shape (O,).
        bn_eps: added to the variance.
        bn_w, bn_b: shape (O,), or None.
        transpose: whether conv_w belongs to a transposed convolution.
    """
    scale = (bn_rv + bn_eps) ** -0.5
    scale = scale if bn_w is None else scale * bn_w
    rest = [1] * (conv_w.ndim - 2)
    weight = conv_w * scale.reshape(*([1, -1] if transpose else [-1, 1]), *rest)
    moved = (zeros_like(bn_rm) if conv_b is None else conv_b) - bn_rm
    bias = moved * scale if bn_b is None else moved * scale + bn_b
    grads = conv_w.requires_grad, conv_b is not None and conv_b.requires_grad
    return Parameter(weight.to(conv_w.dtype), grads[0]), Parameter(bias.to(conv_w.dtype), grads[1])


def fuse_linear_bn_eval(linear: Any, bn: Any) -> Any:
    """A linear layer that does what ``linear`` and then ``bn`` do in evaluation mode; otherwise as ``fuse_conv_bn_eval``."""
    _check("fuse_linear_bn_eval", linear, bn)
    if bn.num_features not in (1, linear.out_features):
        raise AssertionError(
            f"fuse_linear_bn_eval: {linear.out_features} outputs do not fit a batch normalisation of {bn.num_features}"
        )
    fused = copy.deepcopy(linear)
    fused.weight, fused.bias = fuse_linear_bn_weights(
        linear.weight, linear.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
    )
    return fused


def fuse_linear_bn_weights(
    linear_w: Tensor,
    linear_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
) -> tuple[Parameter, Parameter]:
    """As ``fuse_conv_bn_weights``, for linear_w of shape (O, I)."""
    return fuse_conv_bn_weights(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b)
