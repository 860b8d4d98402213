"""Batch normalization layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numbanet import dtypes
from numbanet.functional import batch_norm
from numbanet.nn import init
from numbanet.nn.module import Module
from numbanet.nn.parameter import Parameter
from numbanet.tensor import Tensor, empty, ones, tensor, zeros

__all__ = ["BatchNorm1d", "BatchNorm2d"]


class _BatchNorm(Module):
    """``functional.batch_norm`` with parameters and running statistics.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: the share of the newest batch in the running statistics; None averages all batches alike.
        affine: whether there are a weight (ones at first) and a bias (zeros at first), shape (C,).
        track_running_stats: whether there are running statistics; without them, evaluation uses the batch's too.
        device, dtype: of parameters and statistics.
        bias: whether an affine layer has a bias.
    """

    num_batches_tracked: Any
    _may_be_missing = frozenset({"num_batches_tracked"})

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        for name, wanted in (("weight", affine), ("bias", affine and bias)):
            value = Parameter(empty(num_features, device=device, dtype=dtype)) if wanted else None
            self.register_parameter(name, value)
        if track_running_stats:
            self.register_buffer("running_mean", zeros(num_features, device=device, dtype=dtype))
            self.register_buffer("running_var", ones(num_features, device=device, dtype=dtype))
            self.register_buffer("num_batches_tracked", tensor(0, dtype=dtypes.int64, device=device))
        else:
            for name in ("running_mean", "running_var", "num_batches_tracked"):
                self.register_buffer(name, None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Start the running statistics at mean 0 and variance 1."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Start everything anew."""
        self.reset_running_stats()
        if self.affine:
            init.ones_(self.weight)
            if self.bias is not None:
                init.zeros_(self.bias)

    def _check_input(self, input: Tensor) -> None:
        raise NotImplementedError

    def forward(self, input: Tensor) -> Tensor:
        return self._normalize(batch_norm, input)

    def _normalize(self, function: Callable[..., Tensor], input: Tensor, **options: Any) -> Tensor:
        """The layer by ``batch_norm``, or a function of the same arguments that does more (with ``options``)."""
        self._check_input(input)
        momentum = 0.0 if self.momentum is None else self.momentum
        counts = self.training and self.track_running_stats and self.num_batches_tracked is not None
        if counts and self.momentum is None:
            momentum = 1.0 / (float(self.num_batches_tracked) + 1)
        mean, var = self.running_mean, self.running_var
        use_batch = self.training or (mean is None and var is None)
        if self.training and not self.track_running_stats:
            mean = var = None
        y = function(input, mean, var, self.weight, self.bias, use_batch, momentum, self.eps, **options)
        if counts:  # a call that was refused does not count
            self._count_batch()
        return y

    def _count_batch(self) -> None:
        counter = self.num_batches_tracked
        if counter.is_cuda:
            counter.add_(1)
        else:  # a launch for one number would take as long as a small layer's whole forward pass
            counter._array[...] += 1
            counter._count_change()

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    """Batch normalization of (N, C) or (N, C, L)."""

    __doc__ += "".join(_BatchNorm.__doc__.partition("\n")[1:])  # type: ignore[operator, union-attr]

    def _check_input(self, input: Tensor) -> None:
        if input.ndim not in (2, 3):
            raise ValueError(
                f"BatchNorm1d: expected 2D or 3D input (got {input.ndim}D input of shape {tuple(input.shape)})"
            )


class BatchNorm2d(_BatchNorm):
    """Batch normalization of (N, C, H, W)."""

    __doc__ += "".join(_BatchNorm.__doc__.partition("\n")[1:])  # type: ignore[operator, union-attr]

    def _check_input(self, input: Tensor) -> None:
        if input.ndim != 4:
            raise ValueError(f"BatchNorm2d: expected 4D input (got {input.ndim}D input of shape {tuple(input.shape)})")
