"""Batch normalization."""

from __future__ import annotations

from typing import Any

from numbanet import devices, shapes
from numbanet.autograd import Function, is_grad_enabled
from numbanet.devices import Array
from numbanet.functional.linear import no_bias
from numbanet.kernels import batch_norm as kernels
from numbanet.tensor import Tensor, wrap

__all__ = ["batch_norm"]


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each channel to mean 0 and variance 1, then scale and shift, as ``torch.nn.functional.batch_norm``.

    Notation: N images, C channels, S positions of each (all dimensions after C together), m = N S.

        y = (x - mean[c]) / sqrt(var[c] + eps) * weight[c] + bias[c]

    In training, mean and var (divided by m) are the batch's, and the running ones are updated in place, with the
    variance divided by m - 1:  running = (1 - momentum) * running + momentum * batch.  Otherwise they are the running
    ones.

    Args:
        input: shape (N, C, ...).
        running_mean, running_var: shape (C,), or None in training for no update.
        weight, bias: shape (C,), or None for 1 and 0.
        training: use the batch's statistics.
        momentum: the share of the new value in the running ones.
        eps: added to the variance.

    Returns:
        Shape (N, C, ...).

    Raises:
        RuntimeError: for shapes that do not fit, or running statistics missing outside training.
        ValueError: for a single value per channel in training.

    Reference: S. Ioffe and C. Szegedy, "Batch normalization: accelerating deep network training by reducing internal
    covariate shift" (2015), algorithms 1 and 2.
    """
    shapes.check_floating(
        "batch_norm", input=input, weight=weight, bias=bias, running_mean=running_mean, running_var=running_var
    )
    strip = shapes.batch_norm_geometry(
        input._array.shape,
        bool(training),
        None if running_mean is None else running_mean._array.shape,
        None if running_var is None else running_var._array.shape,
        None if weight is None else weight._array.shape,
        None if bias is None else bias._array.shape,
    )
    if training:
        if (running_mean is None) != (running_var is None):
            raise RuntimeError("batch_norm: running_mean and running_var belong together; pass both or neither")
        return BatchNormTrainFunction.apply(
            input, weight, bias, running_mean, running_var, strip, float(momentum), float(eps)
        )
    if running_mean is None or running_var is None:
        raise RuntimeError("batch_norm: running_mean and running_var are needed unless training=True")
    return BatchNormEvalFunction.apply(input, weight, bias, running_mean, running_var, strip, float(eps))


def _array(tensor: Tensor | None, like: Tensor) -> Array:
    """The kernels' array of weight or bias."""
    return no_bias(like.dtype, like.device) if tensor is None else devices.contiguous(tensor._array)


def _per_channel(values: Tensor, ndim: int) -> Tensor:
    """(C,) as (1, C, 1, ...), to broadcast against (N, C, ...)."""
    return values.reshape(1, -1, *(1,) * (ndim - 2))


def _other_dims(ndim: int) -> tuple[int, ...]:
    """All dimensions but the channels'."""
    return (0, *range(2, ndim))


class BatchNormTrainFunction(Function):
    """With the batch's statistics, which depend on x: dx = weight / std (dy - mean(dy) - xhat mean(dy xhat))."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        strip: tuple[int, int, int],
        momentum: float,
        eps: float,
    ) -> Tensor:
        n, channels, positions = strip
        dtype, device = x.dtype, x.device
        y = devices.empty(x._array.shape, dtype, device)
        mean, inv_std, var = [devices.empty((channels,), dtype, device) for _ in range(3)]
        ctx.strip, ctx.eps = strip, eps
        kernels.batch_norm_train_forward(
            devices.contiguous(x._array).reshape(strip),
            _array(weight, x),
            _array(bias, x),
            y.reshape(strip),
            mean,
            inv_std,
            var,
            eps,
        )
        if running_mean is not None and running_var is not None and y.size:
            _update_running(running_mean, running_var, mean, var, momentum, n * positions)
        ctx.save_for_backward(x, weight, wrap(mean), wrap(inv_std))
        return wrap(y)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, weight, mean, inv_std = ctx.saved_tensors
        if is_grad_enabled():
            return *_train_grad(dy, x, weight, ctx.eps), None, None, None, None, None
        dx, dweight, dbias = _grads(ctx, x)
        kernels.batch_norm_train_backward(
            devices.contiguous(dy._array).reshape(ctx.strip),
            devices.contiguous(x._array).reshape(ctx.strip),
            _array(weight, x),
            mean._array,
            inv_std._array,
            dx.reshape(ctx.strip),
            dweight,
            dbias,
        )
        return *_wanted(ctx, dx, dweight, dbias), None, None, None, None, None


def _grads(ctx: Any, x: Tensor) -> tuple[Array, Array, Array]:
    """Arrays for dx, dweight and dbias, of shape (0,) where the latter are not wanted."""
    dtype, device, channels = x.dtype, x.device, ctx.strip[1]
    dweight, dbias = [
        devices.empty((channels,), dtype, device) if need else no_bias(dtype, device)
        for need in ctx.needs_input_grad[1:3]
    ]
    return devices.empty(x._array.shape, dtype, device), dweight, dbias


def _wanted(ctx: Any, *arrays: Array) -> tuple[Tensor | None, ...]:
    return tuple([wrap(a) if need else None for a, need in zip(arrays, ctx.needs_input_grad, strict=False)])


def _update_running(
    running_mean: Tensor, running_var: Tensor, mean: Any, var: Any, momentum: float, count: int
) -> None:
    """Update the running statistics in place (they may be any views)."""
    targets = [devices.contiguous(t._array) for t in (running_mean, running_var)]
    kernels.batch_norm_update_running(targets[0], targets[1], mean, var, momentum, count)
    for tensor, array in zip((running_mean, running_var), targets, strict=True):
        if array is not tensor._array:
            tensor.detach().copy_(wrap(array))
        tensor._count_change()


def _train_grad(dy: Tensor, x: Tensor, weight: Tensor | None, eps: float) -> tuple[Tensor, ...]:
    """The three gradients by differentiable functions, for gradients of gradients."""
    dims, ndim = _other_dims(x.ndim), x.ndim
    centered = x - x.mean(dims, keepdim=True)
    inv_std = ((centered * centered).mean(dims, keepdim=True) + eps) ** -0.5
    normal = centered * inv_std
    scale = inv_std if weight is None else inv_std * _per_channel(weight, ndim)
    dx = scale * (dy - dy.mean(dims, keepdim=True) - normal * (dy * normal).mean(dims, keepdim=True))
    return dx, (dy * normal).sum(dims), dy.sum(dims)


class BatchNormEvalFunction(Function):
    """With running statistics, which are constants: dx = weight / std dy."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor,
        running_var: Tensor,
        strip: tuple[int, int, int],
        eps: float,
    ) -> Tensor:
        ctx.strip, ctx.eps = strip, eps
        ctx.save_for_backward(x, weight, running_mean, running_var)
        y = devices.empty(x._array.shape, x.dtype, x.device)
        kernels.batch_norm_eval_forward(
            devices.contiguous(x._array).reshape(strip),
            _array(weight, x),
            _array(bias, x),
            devices.contiguous(running_mean._array),
            devices.contiguous(running_var._array),
            y.reshape(strip),
            eps,
        )
        return wrap(y)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, weight, running_mean, running_var = ctx.saved_tensors
        if is_grad_enabled():
            dims, ndim = _other_dims(x.ndim), x.ndim
            inv_std = (_per_channel(running_var, ndim) + ctx.eps) ** -0.5
            normal = (x - _per_channel(running_mean, ndim)) * inv_std
            scale = inv_std if weight is None else inv_std * _per_channel(weight, ndim)
            return dy * scale, (dy * normal).sum(dims), dy.sum(dims), None, None, None, None
        dx, dweight, dbias = _grads(ctx, x)
        kernels.batch_norm_eval_backward(
            devices.contiguous(dy._array).reshape(ctx.strip),
            devices.contiguous(x._array).reshape(ctx.strip),
            _array(weight, x),
            devices.contiguous(running_mean._array),
            devices.contiguous(running_var._array),
            dx.reshape(ctx.strip),
            dweight,
            dbias,
            ctx.eps,
        )
        return *_wanted(ctx, dx, dweight, dbias), None, None, None, None
