"""Adam and AdamW."""

from __future__ import annotations

from typing import Any

from numbanet.devices import Array
from numbanet.kernels.update import adam_step
from numbanet.optim.optimizer import Optimizer, in_range, no_array, zeros_like_parameter
from numbanet.tensor import Tensor


class Adam(Optimizer):
    """Adam, as ``torch.optim.Adam``.

    With g the gradient (plus weight_decay * p) at step t and the parameter p::

        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2            (amsgrad: the largest v so far is used below)
        p = p - lr * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + eps)

    Args:
        params: parameters or groups, see :class:`Optimizer`.
        lr: learning rate.
        betas: decay rates (beta1, beta2) of the two averages.
        eps: keeps the denominator from zero.
        weight_decay: factor of the L2 penalty.
        amsgrad: use the largest average of squares so far.
        maximize: climb instead of descend.

    Reference:
        Kingma, Ba 2015, Adam: a method for stochastic optimization, algorithm 1; amsgrad: Reddi, Kale, Kumar 2018, On
        the convergence of Adam and beyond.
    """

    _decoupled = False

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
            },
        )

    def check(self, group: dict[str, Any]) -> None:
        super().check(group)
        in_range("epsilon value", group["eps"])
        if not isinstance(group["betas"], tuple | list) or len(group["betas"]) != 2:
            raise ValueError(f"Invalid betas: expected a pair, got {group['betas']!r}")
        in_range("beta parameter at index 0", group["betas"][0], 0.0, 1.0)
        in_range("beta parameter at index 1", group["betas"][1], 0.0, 1.0)
        in_range("weight_decay value", group["weight_decay"])

    def prepare(self, group: dict[str, Any]) -> tuple[Any, ...]:
        # float() and bool(): each further argument type would compile the kernel once more.
        numbers = [float(x) for x in (group["lr"], *group["betas"], group["eps"], group["weight_decay"])]
        return (*numbers, bool(group["amsgrad"]), bool(group["maximize"]), self._decoupled)

    def update(self, parameter: Tensor, values: Array, gradient: Array, state: dict[str, Any], options: Any) -> None:
        amsgrad = options[5]
        if "exp_avg" not in state:
            state["step"] = 0
            state["exp_avg"] = zeros_like_parameter(parameter)
            state["exp_avg_sq"] = zeros_like_parameter(parameter)
        if amsgrad and "max_exp_avg_sq" not in state:
            state["max_exp_avg_sq"] = zeros_like_parameter(parameter)
        state["step"] += 1
        mean, square = state["exp_avg"]._array.reshape(-1), state["exp_avg_sq"]._array.reshape(-1)
        top = state["max_exp_avg_sq"]._array.reshape(-1) if amsgrad else no_array(values)
        adam_step(values, gradient, mean, square, top, *options, state["step"])


class AdamW(Adam):
    """Adam with decoupled weight decay, as ``torch.optim.AdamW``: p shrinks by lr * weight_decay * p apart from g.

    Arguments as :class:`Adam`, weight_decay 0.01 by default.

    Reference:
        Loshchilov, Hutter 2019, Decoupled weight decay regularization, algorithm 2.
    """

    _decoupled = True

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)
