"""Autocast: which operators compute in half precision, and which in float32, whatever dtype their tensors have.

``with autocast("cuda"):`` puts a state into the thread's mode, and every operator named in the lists below looks for it
before anything else: its floating tensors are cast, differentiably, and the operator itself then runs without autocast. The
lists are PyTorch's, by device. An operator that stands in none takes its tensors as they come, promoting as ever.

Operators are wrapped by name where ``numbanet.functional`` offers them (``wrap_public``), and not inside the tape: PyTorch's
lists name public operators, several of which share an autograd Function (mean and sum), and an operator's checks of its
arguments, which refuse mixed dtypes, come before its Function. Code above ``functional`` therefore takes listed operators from
the package, never from the family's own file; operators call one another directly, below autocast. Backward runs without
autocast: each gradient has the dtype of what it is the gradient of.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import numpy as np

from numbanet.autograd import is_grad_enabled
from numbanet.autograd.tape import _mode
from numbanet.devices import cuda_is_available
from numbanet.dtypes import as_dtype, bfloat16, float16, float32, is_half
from numbanet.tensor import Tensor


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Matrix products and convolutions: where the time goes, and where sums are kept in float32 anyway.
_PRODUCTS = _names(
    """
    addmm baddbmm bmm conv1d conv2d conv2d_relu conv_transpose1d conv_transpose2d einsum linear linear_relu matmul mm prelu
    """
)  # conv2d_relu and linear_relu are numbanet's own
LOWER = {"cpu": _PRODUCTS | _names("affine_grid inner tensordot"), "cuda": _PRODUCTS | _names("addmv mv")}
_LOSSES = _names(
    """
    binary_cross_entropy_with_logits cosine_embedding_loss cross_entropy dice_loss focal_loss hinge_embedding_loss huber_loss
    kl_div l1_loss margin_ranking_loss mse_loss multi_margin_loss multilabel_margin_loss nll_loss poisson_nll_loss
    smooth_l1_loss soft_margin_loss triplet_margin_loss
    """
)
FLOAT32 = {
    "cpu": _LOSSES
    | _names(
        """
        binary_cross_entropy cdist deform_conv2d grid_sample local_response_norm max_unpool1d max_unpool2d pad prod trace
        """
    ),
    "cuda": _LOSSES
    | _names(
        """
        acos arccos arcsin asin cdist cosh cosine_similarity cumprod cumsum deform_conv2d exp expm1 gaussian_nll_loss group_norm
        interpolate layer_norm log log10 log1p log2 log_softmax logsumexp norm normalize pairwise_distance pow prod
        reciprocal rsqrt sinh softmax softmin softplus sum tan vector_norm
        """
    ),
}
WIDEST = {
    "cpu": _names("cat concat concatenate index_copy stack"),
    "cuda": _names(
        """
        addcdiv addcmul arctan2 atan2 cat concat concatenate dot grid_sample index_put inner scatter_add stack tensordot vdot
        """
    ),
}
# float16 has no place for its logarithms: what to use instead.
REFUSED = {"cuda": {"binary_cross_entropy": "binary_cross_entropy_with_logits"}}

# Operators that are listed for some of their options alone.
_CONDITIONS: dict[str, Callable[..., bool]] = {
    "pad": lambda input, pad, mode="constant", value=None: mode in ("reflect", "replicate"),
}

_DEFAULT = {"cpu": bfloat16, "cuda": float16}


def _rule_of(name: str, device: str) -> str | None:
    if name in LOWER[device]:
        return "lower"
    if name in FLOAT32[device]:
        return "float32"
    if name in WIDEST[device]:
        return "widest"
    return "refused" if name in REFUSED.get(device, {}) else None


class _State:
    """What autocast does in a thread.

    Attributes:
        dtypes: by device type, the half dtype; a device without autocast is not there.
        cache: leaves that were cast, by (id, dtype, whether gradients were recorded). Nested contexts share it, and it goes with
            the outermost.
        caches: whether it is used.
    """

    __slots__ = ("cache", "caches", "dtypes")

    def __init__(self, dtypes: dict[str, np.dtype], cache: dict[Any, Any], caches: bool) -> None:
        self.dtypes, self.cache, self.caches = dtypes, cache, caches


class autocast:
    """Compute in half precision where that is safe, as ``torch.autocast``: a context manager, or a decorator.

    Parameters stay float32 and receive float32 gradients; inside the context, matrix products and convolutions get half copies
    of them. Losses, and on CUDA whatever needs range or precision, are computed in float32. See docs/mixed_precision.md.
    Contexts may be nested, and concern only the thread that is in them.

    Args:
        device_type: "cpu" or "cuda": the tensors that are cast.
        dtype: bfloat16 or float16; None: bfloat16 on the CPU, float16 on CUDA.
        enabled: False switches autocast off inside the context.
        cache_enabled: whether a parameter that is used several times is cast once.

    Raises:
        RuntimeError: for another device.

    Example::

        with numbanet.autocast("cuda", dtype=numbanet.bfloat16):
            loss = cross_entropy(net(images), labels)
        loss.backward()
    """

    def __init__(
        self, device_type: str, dtype: Any = None, enabled: bool = True, cache_enabled: bool | None = None
    ) -> None:
        if not isinstance(device_type, str):
            raise ValueError(f"autocast: expected device_type of type str, got {type(device_type).__name__}")
        if device_type not in _DEFAULT:
            raise RuntimeError(f"autocast: device_type must be 'cpu' or 'cuda', got {device_type!r}")
        self.device = device_type
        self.fast_dtype = _DEFAULT[device_type] if dtype is None else as_dtype(dtype)
        self._caches = cache_enabled
        self._before: list[_State | None] = []
        if enabled and not is_half(self.fast_dtype):
            warnings.warn(
                f"autocast: dtype must be bfloat16 or float16, got {self.fast_dtype}; autocast is off", stacklevel=2
            )
            enabled = False
        if enabled and device_type == "cuda" and not cuda_is_available():
            warnings.warn("autocast: CUDA is not available; autocast is off", stacklevel=2)
            enabled = False
        self._enabled = bool(enabled)

    def __enter__(self) -> autocast:
        before: _State | None = _mode.autocast
        self._before.append(before)
        dtypes = {} if before is None else dict(before.dtypes)
        dtypes.pop(self.device, None)
        if self._enabled:
            dtypes[self.device] = self.fast_dtype
        caches = (True if before is None else before.caches) if self._caches is None else bool(self._caches)
        _mode.autocast = _State(dtypes, {} if before is None else before.cache, caches) if dtypes else None
        return self

    def __exit__(self, *exc: object) -> None:
        _mode.autocast = self._before.pop()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return wrapped


def is_autocast_available(device_type: str) -> bool:
    """Whether ``autocast`` knows the device."""
    return device_type in _DEFAULT


def is_autocast_enabled(device_type: str | None = None) -> bool:
    """Whether autocast is on in this thread, for a device type or (None) for any."""
    state = _mode.autocast
    return state is not None and (device_type is None or device_type in state.dtypes)


def get_autocast_dtype(device_type: str) -> np.dtype:
    """The half dtype of autocast on a device: the context's, or the one that it would have by itself."""
    if device_type not in _DEFAULT:
        raise RuntimeError(f"get_autocast_dtype: device_type must be 'cpu' or 'cuda', got {device_type!r}")
    state = _mode.autocast
    return _DEFAULT[device_type] if state is None else state.dtypes.get(device_type, _DEFAULT[device_type])


def clear_autocast_cache() -> None:
    """Forget the cast parameters; leaving the outermost context does."""
    if _mode.autocast is not None:
        _mode.autocast.cache.clear()


# ------------------------------------------------------------------------------------------------------- the casting


def _castable(value: Any, device: str) -> bool:
    """Whether autocast concerns a value: a floating tensor on its device that is not float64."""
    if not isinstance(value, Tensor):
        return False
    dtype = value._array.dtype
    return (dtype == float32 or is_half(dtype)) and ("cuda" if value.is_cuda else "cpu") == device


def _cast(value: Tensor, dtype: np.dtype, state: _State) -> Tensor:
    """The tensor in another dtype; a float32 leaf that wants a gradient from the cache."""
    array = value._array
    if array.dtype == dtype:
        return value
    if not (
        state.caches and array.dtype == float32 and value._requires_grad and value._node is None and value._base is None
    ):
        return value.to(dtype=dtype)
    key = id(value), dtype.num, is_grad_enabled()
    held = state.cache.get(key)
    if held is not None and held[1] is array and held[2] == value._version:
        return held[3]
    cast = value.to(dtype=dtype)
    state.cache[key] = value, array, value._version, cast  # the tensor itself, so that its id stays its own
    return cast


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """Tensors in an argument (or in a list or tuple of arguments) changed."""
    if isinstance(value, Tensor):
        return change(value)
    if type(value) in (list, tuple):
        return type(value)([_mapped(item, change) for item in value])
    return value


def _tensors(values: Any) -> list[Tensor]:
    """The tensors among arguments, and in those that are lists or tuples."""
    if isinstance(values, Tensor):
        return [values]
    return [t for value in values for t in _tensors(value)] if type(values) in (list, tuple) else []


def _under_autocast(
    function: Callable[..., Any], rules: dict[str, str], args: Any, kwargs: dict[str, Any], state: _State
) -> Any:
    """Call an operator with its tensors cast."""
    everything = _tensors([list(args), list(kwargs.values())])
    for device, lower in state.dtypes.items():
        rule = rules.get(device)
        eligible = [tensor for tensor in everything if _castable(tensor, device)]
        if rule is None or not eligible:
            continue
        name = function.__name__
        if name in _CONDITIONS and not _CONDITIONS[name](*args, **kwargs):
            continue
        if rule == "refused":
            raise RuntimeError(
                f"{name}: unsafe to autocast on {device}; use {REFUSED[device][name]}, or switch autocast off around it"
            )
        if rule == "float32" and (kwargs.get("dtype") is not None or any(isinstance(a, np.dtype) for a in args)):
            continue  # the caller says in what to compute
        dtype = lower if rule == "lower" else float32
        if rule == "widest" and len({tensor._array.dtype for tensor in eligible}) == 1:
            continue

        def change(tensor: Tensor, device: str = device, dtype: np.dtype = dtype) -> Tensor:
            return _cast(tensor, dtype, state) if _castable(tensor, device) else tensor

        args = [_mapped(value, change) for value in args]
        kwargs = {name: _mapped(value, change) for name, value in kwargs.items()}
    _mode.autocast = None
    try:
        return function(*args, **kwargs)
    finally:
        _mode.autocast = state


def _autocasting(function: Callable[..., Any], rules: dict[str, str]) -> Callable[..., Any]:
    mode = _mode

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        state = mode.autocast
        if state is None:
            return function(*args, **kwargs)
        return _under_autocast(function, rules, args, kwargs, state)

    return wrapped


def wrap_public(namespace: dict[str, Any]) -> None:
    """Make the listed operators among a module's names look for autocast; what is not there is passed over."""
    names = frozenset().union(*LOWER.values(), *FLOAT32.values(), *WIDEST.values(), *REFUSED.values())
    for name in names & namespace.keys():
        rules = {device: rule for device in _DEFAULT if (rule := _rule_of(name, device)) is not None}
        namespace[name] = _autocasting(namespace[name], rules)


# ---------------------------------------------------------------------------------------------- Functions of one's own


def custom_fwd(
    fwd: Callable[..., Any] | None = None, *, device_type: str, cast_inputs: Any = None
) -> Callable[..., Any]:
    """Decorate ``forward`` of an ``autograd.Function`` for use under autocast, as ``torch.amp.custom_fwd``.

    Args:
        fwd: the static method's function.
        device_type: "cpu" or "cuda".
        cast_inputs: under autocast, cast floating inputs to this dtype and run forward without autocast; None: forward runs as it
            would anyway, and ``custom_bwd`` runs backward in the same way.
    """
    if fwd is None:
        return partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @wraps(fwd)
    def wrapped(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        ctx._autocast_dtype = get_autocast_dtype(device_type)
        ctx._autocast_used = is_autocast_enabled(device_type) and cast_inputs is None
        if cast_inputs is None or not is_autocast_enabled(device_type):
            return fwd(ctx, *args, **kwargs)
        wanted = as_dtype(cast_inputs)

        def change(tensor: Tensor) -> Tensor:
            return tensor.to(dtype=wanted) if _castable(tensor, device_type) else tensor

        with autocast(device_type, enabled=False):
            return fwd(
                ctx, *[_mapped(a, change) for a in args], **{name: _mapped(a, change) for name, a in kwargs.items()}
            )

    return wrapped


def custom_bwd(bwd: Callable[..., Any] | None = None, *, device_type: str) -> Callable[..., Any]:
    """Decorate ``backward`` of a Function whose forward has ``custom_fwd``: it runs under forward's autocast."""
    if bwd is None:
        return partial(custom_bwd, device_type=device_type)

    @wraps(bwd)
    def wrapped(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        with autocast(device_type, dtype=ctx._autocast_dtype, enabled=ctx._autocast_used):
            return bwd(ctx, *args, **kwargs)

    return wrapped
