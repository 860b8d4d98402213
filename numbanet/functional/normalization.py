"""Normalization: of each channel over a batch, of groups, rows or instances by themselves, and over neighbouring channels."""

from __future__ import annotations

from math import prod
from typing import Any

from numbanet import devices, dtypes, shapes
from numbanet.autograd import Function, is_grad_enabled
from numbanet.devices import Array
from numbanet.functional.activation import before_relu, relu
from numbanet.functional.linear import no_bias
from numbanet.functional.shape import cat
from numbanet.kernels import batch_norm as kernels
from numbanet.kernels import group_norm as group_kernels
from numbanet.kernels import local_response_norm as response_kernels
from numbanet.tensor import Tensor, wrap, zeros

__all__ = [
    "batch_norm",
    "batch_norm_relu",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "local_response_norm",
    "rms_norm",
]


# ---------------------------------------------------------------------------------------------------------- batch norm


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
        ValueError: for a single value per channel or an eps of 0 in training, a negative eps, or one running statistic
            without the other.

    Reference: S. Ioffe and C. Szegedy, "Batch normalization: accelerating deep network training by reducing internal
    covariate shift" (2015), algorithms 1 and 2.
    """
    return _normalized(
        "batch_norm", input, running_mean, running_var, weight, bias, training, momentum, eps, None, False
    )


def batch_norm_relu(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    add: Tensor | None = None,
) -> Tensor:
    """``relu(batch_norm(...) + add)`` in one pass over memory each way; numbanet's own, for residual networks.

        y = max(0, (x - mean[c]) / sqrt(var[c] + eps) * weight[c] + bias[c] + add)

    What lies between is neither written nor kept: backward takes the ReLU's zeros from y, and the gradient of ``add`` comes
    from the same kernel as that of ``input``. Values, gradients and NaN are those of the three operators one after another;
    float16 and bfloat16 are rounded once, at the end.

    Args:
        input, running_mean, running_var, weight, bias, training, momentum, eps: as ``batch_norm`` takes them.
        add: what is added before the ReLU, of input's shape (where its dtype is another, the operators run one by one, and
            promote); None for nothing.

    Returns:
        Shape (N, C, ...).

    Raises:
        RuntimeError, ValueError: as ``batch_norm``; RuntimeError for an ``add`` of another shape.

    Reference: K. He et al., "Deep residual learning for image recognition" (2015), figure 2.
    """
    if add is not None:
        shapes.check_floating("batch_norm_relu", add=add)
        if isinstance(input, Tensor) and add._array.shape != input._array.shape:
            raise RuntimeError(
                f"batch_norm_relu: expected add of input's shape {tuple(input.shape)}, got {tuple(add.shape)}"
            )
        if isinstance(input, Tensor) and add._array.dtype != input._array.dtype:
            y = batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
            return relu(y + add)
        shapes.check_one_device("batch_norm_relu", input, add)
    return _normalized(
        "batch_norm_relu", input, running_mean, running_var, weight, bias, training, momentum, eps, add, True
    )


def _normalized(
    name: str,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    add: Tensor | None,
    rectify: bool,
) -> Tensor:
    """Check the arguments and normalise; then add, if there is what to add, and rectify, if asked for."""
    shapes.check_floating_mixed(
        name, input=input, weight=weight, bias=bias, running_mean=running_mean, running_var=running_var
    )
    strip = shapes.batch_norm_geometry(
        name,
        input._array.shape,
        bool(training),
        None if running_mean is None else running_mean._array.shape,
        None if running_var is None else running_var._array.shape,
        None if weight is None else weight._array.shape,
        None if bias is None else bias._array.shape,
    )
    if momentum is None:
        raise TypeError(f"{name}: momentum must be a float, got None; the layers know what to do without one")
    if eps < 0 or (training and eps == 0):
        raise ValueError(
            f"{name}: eps must {'be positive when training' if training else 'not be negative'}, got {eps}"
        )
    if training:
        if (running_mean is None) != (running_var is None):
            raise ValueError(f"{name}: running_mean and running_var belong together; pass both or neither")
        return BatchNormTrainFunction.apply(
            input, weight, bias, add, running_mean, running_var, strip, float(momentum), float(eps), rectify
        )
    if running_mean is None or running_var is None:
        raise RuntimeError(f"{name}: running_mean and running_var are needed unless training=True")
    return BatchNormEvalFunction.apply(input, weight, bias, add, running_mean, running_var, strip, float(eps), rectify)


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
    """With the batch's statistics, which depend on x: dx = weight / std (g - mean(g) - xhat mean(g xhat)).

    g is dy, or where a ReLU follows, dy where it let something through. It is the gradient of add, too.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        add: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        strip: tuple[int, int, int],
        momentum: float,
        eps: float,
        rectify: bool,
    ) -> Tensor:
        n, channels, positions = strip
        dtype, device = dtypes.widened(x.dtype), x.device
        y = devices.empty(x._array.shape, x.dtype, device)
        mean, inv_std, var = [devices.empty((channels,), dtype, device) for _ in range(3)]
        ctx.strip, ctx.eps = strip, eps
        kernels.batch_norm_train_forward(
            devices.contiguous(x._array).reshape(strip),
            _array(weight, x),
            _array(bias, x),
            no_bias(x.dtype, device) if add is None else devices.contiguous(add._array).reshape(strip),
            y.reshape(strip),
            mean,
            inv_std,
            var,
            eps,
            rectify,
        )
        if running_mean is not None and running_var is not None and y.size:
            _update_running(running_mean, running_var, mean, var, momentum, n * positions)
        result = wrap(y)
        ctx.save_for_backward(x, weight, wrap(mean), wrap(inv_std), result if rectify else None)
        return result

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, weight, mean, inv_std, y = ctx.saved_tensors
        others = (None,) * 6
        if is_grad_enabled():
            dy = dy if y is None else before_relu(dy, y)
            return *_train_grad(dy, x, weight, ctx.eps), dy, *others
        (dx, dweight, dbias), dadd = _grads(ctx, x), _grad_add(ctx, x)
        kernels.batch_norm_train_backward(
            devices.contiguous(dy._array).reshape(ctx.strip),
            devices.contiguous(x._array).reshape(ctx.strip),
            _array(weight, x),
            mean._array,
            inv_std._array,
            no_bias(x.dtype, x.device) if y is None else y._array.reshape(ctx.strip),
            dx.reshape(ctx.strip),
            dweight,
            dbias,
            dadd.reshape(ctx.strip) if dadd.size else dadd,
        )
        return *_wanted(ctx, dx, dweight, dbias, dadd), *others


def _grads(ctx: Any, x: Tensor) -> tuple[Array, Array, Array]:
    """Arrays for dx, dweight and dbias, of shape (0,) where the latter are not wanted."""
    dtype, device, channels = dtypes.widened(x.dtype), x.device, ctx.strip[1]
    dweight, dbias = [
        devices.empty((channels,), dtype, device) if need else no_bias(dtype, device)
        for need in ctx.needs_input_grad[1:3]
    ]
    return devices.empty(x._array.shape, x.dtype, device), dweight, dbias


def _grad_add(ctx: Any, x: Tensor) -> Array:
    """The array for dadd, of shape (0,) where that is not wanted."""
    return devices.empty(x._array.shape, x.dtype, x.device) if ctx.needs_input_grad[3] else no_bias(x.dtype, x.device)


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
    """With running statistics, which are constants: dx = weight / std g, with g as above."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        add: Tensor | None,
        running_mean: Tensor,
        running_var: Tensor,
        strip: tuple[int, int, int],
        eps: float,
        rectify: bool,
    ) -> Tensor:
        ctx.strip, ctx.eps = strip, eps
        device = x.device
        y = devices.empty(x._array.shape, x.dtype, device)
        kernels.batch_norm_eval_forward(
            devices.contiguous(x._array).reshape(strip),
            _array(weight, x),
            _array(bias, x),
            devices.contiguous(running_mean._array),
            devices.contiguous(running_var._array),
            no_bias(x.dtype, device) if add is None else devices.contiguous(add._array).reshape(strip),
            y.reshape(strip),
            eps,
            rectify,
        )
        result = wrap(y)
        ctx.save_for_backward(x, weight, running_mean, running_var, result if rectify else None)
        return result

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, weight, running_mean, running_var, y = ctx.saved_tensors
        others = (None,) * 5
        if is_grad_enabled():
            dy = dy if y is None else before_relu(dy, y)
            dims, ndim = _other_dims(x.ndim), x.ndim
            inv_std = (_per_channel(running_var, ndim) + ctx.eps) ** -0.5
            normal = (x - _per_channel(running_mean, ndim)) * inv_std
            scale = inv_std if weight is None else inv_std * _per_channel(weight, ndim)
            return dy * scale, (dy * normal).sum(dims), dy.sum(dims), dy, *others
        (dx, dweight, dbias), dadd = _grads(ctx, x), _grad_add(ctx, x)
        kernels.batch_norm_eval_backward(
            devices.contiguous(dy._array).reshape(ctx.strip),
            devices.contiguous(x._array).reshape(ctx.strip),
            _array(weight, x),
            devices.contiguous(running_mean._array),
            devices.contiguous(running_var._array),
            no_bias(x.dtype, x.device) if y is None else y._array.reshape(ctx.strip),
            dx.reshape(ctx.strip),
            dweight,
            dbias,
            dadd.reshape(ctx.strip) if dadd.size else dadd,
            ctx.eps,
        )
        return *_wanted(ctx, dx, dweight, dbias, dadd), *others


# ------------------------------------------------------------------------------------- groups, instances and rows


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize groups of neighbouring channels of each sample, as ``torch.nn.functional.group_norm``.

    Notation: N samples, C channels in G groups, S positions (all dimensions after C together).

        y = (x - mean[n, g]) / sqrt(var[n, g] + eps) * weight[c] + bias[c]

    mean and var (divided by their number) are those of the C / G * S elements of the group g that c is in.

    Args:
        input: shape (N, C, ...).
        num_groups: G, which divides C.
        weight, bias: shape (C,), or None for 1 and 0.
        eps: added to the variance.

    Returns:
        Shape (N, C, ...).

    Raises:
        RuntimeError: for shapes that do not fit.
        ZeroDivisionError: for no groups.
        ValueError: for a single value per group.

    Reference: Y. Wu and K. He, "Group normalization" (2018), equations 1, 2, 6 and 7.
    """
    shapes.check_floating_mixed("group_norm", input=input, weight=weight, bias=bias)
    x = tuple(input._array.shape)
    if len(x) < 2:
        raise RuntimeError(f"group_norm: expected input of shape (N, C, ...), got {x}")
    n, c, s = x[0], x[1], prod(x[2:])
    groups = _integer("group_norm", "num_groups", num_groups)
    if groups == 0:
        raise ZeroDivisionError(f"group_norm: num_groups must be positive, got 0 for input {x}")
    if groups < 1 or c % groups:
        raise RuntimeError(f"group_norm: num_groups={groups} must be positive and divide C={c} of input {x}")
    if n * (c // groups) * s == 1:
        raise ValueError(
            f"group_norm: expected more than 1 value per channel when training, got input {x} in {groups} groups"
        )
    _check_affine("group_norm", x, (c,), weight, bias)
    return GroupNormFunction.apply(input, weight, bias, (n, c, s), groups, float(eps), 1)


def layer_norm(
    input: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize over the last dimensions, each row of them by itself, as ``torch.nn.functional.layer_norm``.

        y = (x - mean) / sqrt(var + eps) * weight + bias

    with mean and var (divided by their number) over the dimensions of ``normalized_shape``, weight and bias element by
    element.

    Args:
        input: shape (..., *normalized_shape).
        normalized_shape: the sizes of the last dimensions.
        weight, bias: of shape ``normalized_shape``, or None for 1 and 0.
        eps: added to the variance.

    Returns:
        Input's shape.

    Raises:
        RuntimeError: for shapes that do not fit.

    Reference: J. L. Ba, J. R. Kiros and G. E. Hinton, "Layer normalization" (2016), equations 3 and 4.
    """
    shapes.check_floating_mixed("layer_norm", input=input, weight=weight, bias=bias)
    strip = _row_strip("layer_norm", tuple(input._array.shape), normalized_shape, weight, bias)
    return GroupNormFunction.apply(input, weight, bias, strip, 1, float(eps), 1)


def rms_norm(input: Tensor, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    """Divide by the root of the mean square over the last dimensions, as ``torch.nn.functional.rms_norm``.

        y = x / sqrt(mean(x^2) + eps) * weight

    Args:
        input: shape (..., *normalized_shape).
        normalized_shape: the sizes of the last dimensions.
        weight: of shape ``normalized_shape``, or None for 1.
        eps: added to the mean square; None for the dtype's epsilon.

    Returns:
        Input's shape.

    Raises:
        RuntimeError: for shapes that do not fit.

    Reference: B. Zhang and R. Sennrich, "Root mean square layer normalization" (2019), equation 4.
    """
    shapes.check_floating_mixed("rms_norm", input=input, weight=weight)
    strip = _row_strip("rms_norm", tuple(input._array.shape), normalized_shape, weight, None)
    epsilon = float(dtypes.finfo(dtypes.widened(input.dtype)).eps) if eps is None else float(eps)
    return GroupNormFunction.apply(input, weight, None, strip, 1, epsilon, 0)


def _integer(name: str, argument: str, value: Any) -> int:
    """An int from whatever counts as one."""
    try:
        return value.__index__()
    except AttributeError:
        raise TypeError(f"{name}: {argument} must be an int, got {value!r}") from None


def _check_affine(
    name: str, x: tuple[int, ...], shape: tuple[int, ...], weight: Tensor | None, bias: Tensor | None
) -> None:
    """Refuse a weight or a bias of another shape."""
    for argument, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and tuple(tensor._array.shape) != shape:
            raise RuntimeError(
                f"{name}: expected {argument} of shape {shape} for input {x}, got {tuple(tensor._array.shape)}"
            )


def _row_strip(
    name: str, x: tuple[int, ...], normalized_shape: Any, weight: Tensor | None, bias: Tensor | None
) -> tuple[int, int, int]:
    """Check layer_norm's or rms_norm's arguments; (rows, elements of a row, 1)."""
    try:
        shape = tuple([size.__index__() for size in normalized_shape])
    except (TypeError, AttributeError):
        raise TypeError(f"{name}: normalized_shape must be a tuple of ints, got {normalized_shape!r}") from None
    if not shape:
        raise RuntimeError(f"{name}: expected normalized_shape with at least one dimension, got ()")
    if x[len(x) - len(shape) :] != shape or len(x) < len(shape):
        raise RuntimeError(f"{name}: expected input of shape (..., {', '.join(map(str, shape))}), got {x}")
    _check_affine(name, x, shape, weight, bias)
    return prod(x[: len(x) - len(shape)]), prod(shape), 1


class GroupNormFunction(Function):
    """Over (N, C, S) views in G groups: dx = (g - mean(g) - xhat mean(g xhat)) / std with g = dy weight.

    Without ``center`` (RMS norm) the statistics are about 0, and mean(g) falls away. ``running``: None, or instance norm's
    running mean and variance and their momentum.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        strip: tuple[int, int, int],
        groups: int,
        eps: float,
        center: int,
        running: Any = None,
    ) -> Tensor:
        dtype, device = dtypes.widened(x.dtype), x.device
        y = devices.empty(x._array.shape, x.dtype, device)
        mean, inv_std = [devices.empty((strip[0], groups), dtype, device) for _ in range(2)]
        ctx.strip, ctx.groups, ctx.eps, ctx.center = strip, groups, eps, center
        ctx.affine = next((tuple(t._array.shape) for t in (weight, bias) if t is not None), (strip[1],))
        group_kernels.group_norm_forward(
            devices.contiguous(x._array).reshape(strip),
            _array(weight, x).reshape(-1),
            _array(bias, x).reshape(-1),
            y.reshape(strip),
            mean,
            inv_std,
            eps,
            center,
        )
        if running is not None and y.size:
            _update_instances(running, wrap(mean), wrap(inv_std), eps, strip[2])
        ctx.save_for_backward(x, weight, wrap(mean), wrap(inv_std))
        return wrap(y)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, weight, mean, inv_std = ctx.saved_tensors
        shape = ctx.affine
        if is_grad_enabled():
            dx, dweight, dbias = _group_grad(dy, x, weight, ctx.strip, ctx.groups, ctx.eps, ctx.center)
            one, other = [
                g.reshape(shape) if need else None
                for g, need in zip((dweight, dbias), ctx.needs_input_grad[1:3], strict=True)
            ]
            return dx, one, other, None, None, None, None, None
        dx, dweight, dbias = _grads(ctx, x)
        group_kernels.group_norm_backward(
            devices.contiguous(dy._array).reshape(ctx.strip),
            devices.contiguous(x._array).reshape(ctx.strip),
            _array(weight, x).reshape(-1),
            mean._array,
            inv_std._array,
            dx.reshape(ctx.strip),
            dweight,
            dbias,
            ctx.center,
        )
        if dweight.size:
            dweight = dweight.reshape(shape)
        if dbias.size:
            dbias = dbias.reshape(shape)
        return *_wanted(ctx, dx, dweight, dbias), None, None, None, None, None


def _group_grad(
    dy: Tensor, x: Tensor, weight: Tensor | None, strip: tuple[int, int, int], groups: int, eps: float, center: int
) -> tuple[Tensor, ...]:
    """The three gradients by differentiable functions, for gradients of gradients."""
    n, c, s = strip
    wide = x.reshape(n, groups, c // groups, s)
    gradient = dy.reshape(n, groups, c // groups, s)
    if center:
        wide = wide - wide.mean((2, 3), keepdim=True)
    inv_std = ((wide * wide).mean((2, 3), keepdim=True) + eps) ** -0.5
    normal = wide * inv_std
    scaled = gradient if weight is None else gradient * weight.reshape(1, groups, c // groups, 1)
    dx = scaled - normal * (scaled * normal).mean((2, 3), keepdim=True)
    if center:
        dx = dx - scaled.mean((2, 3), keepdim=True)
    return (dx * inv_std).reshape(x.shape), (gradient * normal).sum((0, 3)), gradient.sum((0, 3))


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each channel of each sample by itself, as ``torch.nn.functional.instance_norm``.

        y = (x - mean[n, c]) / sqrt(var[n, c] + eps) * weight[c] + bias[c]

    It is ``group_norm`` with one channel per group. Running statistics, if there are any, take in the samples' average mean
    and unbiased variance; without ``use_input_stats`` they are what normalizes.

    Args:
        input: shape (N, C, ...).
        running_mean, running_var: shape (C,), or None for no update.
        weight, bias: shape (C,), or None for 1 and 0.
        use_input_stats: use the samples' own statistics.
        momentum: the share of the new value in the running ones.
        eps: added to the variance.

    Returns:
        Shape (N, C, ...).

    Raises:
        RuntimeError: for shapes that do not fit, or running statistics missing without ``use_input_stats``.
        ValueError: for a single position, or one running statistic without the other.

    Reference: D. Ulyanov, A. Vedaldi and V. Lempitsky, "Instance normalization: the missing ingredient for fast
    stylization" (2016), section 2.
    """
    shapes.check_floating_mixed(
        "instance_norm", input=input, weight=weight, bias=bias, running_mean=running_mean, running_var=running_var
    )
    x = tuple(input._array.shape)
    s = prod(x[2:])
    if use_input_stats and s == 1:
        raise ValueError(f"instance_norm: expected more than 1 spatial element when training, got input {x}")
    if len(x) < 2:
        raise RuntimeError(f"instance_norm: expected input of shape (N, C, ...), got {x}")
    n, c = x[:2]
    named = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    for argument, tensor in named.items():
        if tensor is not None and tuple(tensor._array.shape) != (c,):
            raise RuntimeError(
                f"instance_norm: expected {argument} of shape ({c},) for input {x}, got {tuple(tensor._array.shape)}"
            )
    if (running_mean is None) != (running_var is None):
        raise ValueError("instance_norm: running_mean and running_var belong together; pass both or neither")
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise RuntimeError("instance_norm: running_mean and running_var are needed when use_input_stats=False")
        return BatchNormEvalFunction.apply(
            input, weight, bias, None, running_mean, running_var, (n, c, s), float(eps), False
        )

    running = None if running_mean is None else (running_mean, running_var, float(momentum))
    return GroupNormFunction.apply(input, weight, bias, (n, c, s), c, float(eps), 1, running)


def _update_instances(running: Any, mean: Tensor, inv_std: Tensor, eps: float, positions: int) -> None:
    """Update running statistics in place by the averages over samples of mean and variance, which are (N, C)."""
    running_mean, running_var, momentum = running
    var = (inv_std**-2 - eps).mean(0) * (positions / max(positions - 1, 1))
    for target, value in ((running_mean, mean.mean(0)), (running_var, var)):
        target.detach().copy_(target * (1 - momentum) + value * momentum)


# ------------------------------------------------------------------------------------------------ neighbouring channels


def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """Divide by a power of the sum of squares over neighbouring channels, as ``torch.nn.functional.local_response_norm``.

        y[n, c] = x[n, c] / (k + alpha / size * sum of x[n, i]^2) ^ beta

    over the channels c - size // 2 <= i <= c + (size - 1) // 2 that there are.

    Args:
        input: shape (N, C, ...), with at least one dimension after C.
        size: the number of channels of a window.
        alpha, beta, k: the numbers of the formula.

    Returns:
        Input's shape.

    Raises:
        ValueError: for an input of less than 3 dimensions.
        RuntimeError: for a size below 1.

    Reference: A. Krizhevsky, I. Sutskever and G. E. Hinton, "ImageNet classification with deep convolutional neural
    networks" (2012), section 3.3; alpha there is alpha / size here.
    """
    shapes.check_floating("local_response_norm", input=input)
    x = tuple(input._array.shape)
    if len(x) < 3:
        raise ValueError(f"local_response_norm: expected input of shape (N, C, ...) with 3 or more dimensions, got {x}")
    size = _integer("local_response_norm", "size", size)
    if size < 1:
        raise RuntimeError(f"local_response_norm: size must be positive, got {size}")
    if prod(x) == 0:
        return input
    return LocalResponseNormFunction.apply(input, size, float(alpha), float(beta), float(k))


class LocalResponseNormFunction(Function):
    """One kernel each way; the denominators are computed again for the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
        shape = x._array.shape
        ctx.strip, ctx.options = (shape[0], shape[1], prod(shape[2:])), (size, alpha, beta, k)
        ctx.save_for_backward(x)
        y = devices.empty(shape, x.dtype, x.device)
        response_kernels.local_response_norm_forward(
            devices.contiguous(x._array).reshape(ctx.strip), y.reshape(ctx.strip), *ctx.options
        )
        return wrap(y)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        if is_grad_enabled():
            return _response_grad(dy, x, *ctx.options), None, None, None, None
        dx = devices.empty(x._array.shape, x.dtype, x.device)
        response_kernels.local_response_norm_backward(
            devices.contiguous(dy._array).reshape(ctx.strip),
            devices.contiguous(x._array).reshape(ctx.strip),
            dx.reshape(ctx.strip),
            *ctx.options,
        )
        return wrap(dx), None, None, None, None


def _response_grad(dy: Tensor, x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    """dx by differentiable functions, for gradients of gradients."""
    before, after = size // 2, (size - 1) // 2
    b = _window_sum(x * x, before, after) * (alpha / size) + k
    power = b**-beta
    return dy * power - x * _window_sum(dy * x * power / b, after, before) * (2 * alpha * beta / size)


def _window_sum(x: Tensor, before: int, after: int) -> Tensor:
    """The sums over the channels c - before .. c + after of each channel c."""
    n, c, *rest = x.shape
    before, after = min(before, c), min(after, c)
    sides = [zeros(n, side, *rest, dtype=x.dtype, device=x.device) for side in (before, after)]
    padded = cat([sides[0], x, sides[1]], 1)
    total = padded[:, :c]
    for first in range(1, before + after + 1):
        total = total + padded[:, first : first + c]
    return total
