"""Adam and its relatives: AdamW, Adamax, NAdam, RAdam."""

from __future__ import annotations

from typing import Any

from numbanet.kernels.update import Step, adam_amsgrad_step, adam_step, adamax_step, nadam_step, radam_step
from numbanet.optim.optimizer import Elementwise, in_range, zeros_like_parameter
from numbanet.tensor import Tensor


class _Moments(Elementwise):
    """What the five share: two averages with their decay rates, and a count of steps."""

    names: tuple[str, ...] = ("exp_avg", "exp_avg_sq")

    def check(self, group: dict[str, Any]) -> None:
        super().check(group)
        in_range("epsilon value", group["eps"])
        if not isinstance(group["betas"], tuple | list) or len(group["betas"]) != 2:
            raise ValueError(f"Invalid betas: expected a pair, got {group['betas']!r}")
        in_range("beta parameter at index 0", float(group["betas"][0]), 0.0, 1.0)
        in_range("beta parameter at index 1", float(group["betas"][1]), 0.0, 1.0)

    def prepare(self, group: dict[str, Any]) -> tuple[Any, ...]:
        betas = float(group["betas"][0]), float(group["betas"][1])
        decays = float(group["weight_decay"]), float(group["l1_decay"])
        return (float(group["lr"]), *betas, float(group["eps"]), *decays, bool(group["maximize"]))

    def begin(self, parameter: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["step"] = 0
            for name in self.names:
                state[name] = zeros_like_parameter(parameter)

    def options(self, prepared: tuple[Any, ...], state: dict[str, Any]) -> tuple[Any, ...]:
        state["step"] += 1
        return (*prepared, state["step"])


class Adam(_Moments):
    """Adam, as ``torch.optim.Adam``.

    With g the gradient (plus weight_decay * p, plus l1_decay * sign(p)) at step t and the parameter p::

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
        foreach, capturable, fused: without effect: a step is always one pass over memory.
        maximize: climb instead of descend.
        differentiable: must be False.
        decoupled_weight_decay: decay p itself, not by way of the gradient, as :class:`AdamW` does.
        l1_decay: factor of the L1 penalty l1_decay * sum(|p|), part of the gradient.

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
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
        l1_decay: float = 0,
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
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
                "fused": fused,
                "decoupled_weight_decay": decoupled_weight_decay,
                "l1_decay": l1_decay,
            },
        )

    def rule(self, group: dict[str, Any]) -> tuple[Step, tuple[str, ...]]:
        return (adam_amsgrad_step, (*self.names, "max_exp_avg_sq")) if group["amsgrad"] else (adam_step, self.names)

    def prepare(self, group: dict[str, Any]) -> tuple[Any, ...]:
        return (*super().prepare(group), self._decoupled or bool(group["decoupled_weight_decay"]))

    def begin(self, parameter: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        super().begin(parameter, state, group)
        if group["amsgrad"] and "max_exp_avg_sq" not in state:
            state["max_exp_avg_sq"] = zeros_like_parameter(parameter)


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
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        l1_decay: float = 0,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
            l1_decay=l1_decay,
        )


class Adamax(_Moments):
    """Adam with the largest gradient in place of the mean square, as ``torch.optim.Adamax``.

    With g and m as in :class:`Adam`::

        u = max(beta2 * u, |g| + eps)
        p = p - lr / (1 - beta1**t) * m / u

    Args:
        params, lr, betas, eps, weight_decay, foreach, maximize, differentiable, capturable, l1_decay: as for :class:`Adam`.

    Reference:
        Kingma, Ba 2015, Adam: a method for stochastic optimization, algorithm 2.
    """

    names = ("exp_avg", "exp_inf")

    def __init__(
        self,
        params: Any,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
        l1_decay: float = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
                "l1_decay": l1_decay,
            },
        )

    def rule(self, group: dict[str, Any]) -> tuple[Step, tuple[str, ...]]:
        return adamax_step, self.names


class NAdam(_Moments):
    """Adam with Nesterov's momentum, as ``torch.optim.NAdam``.

    With g, m and v as in :class:`Adam`, mu_t = beta1 * (1 - 0.96**(t * momentum_decay) / 2) and M_t = mu_1 * ... * mu_t::

        p = p - lr * ((1 - mu_t) / (1 - M_t) * g + mu_{t+1} / (1 - M_{t+1}) * m) / (sqrt(v / (1 - beta2**t)) + eps)

    Args:
        params, lr, betas, eps, weight_decay: as for :class:`Adam`.
        momentum_decay: how fast mu grows to beta1.
        decoupled_weight_decay: as :class:`AdamW`.
        foreach, maximize, capturable, differentiable, l1_decay: as for :class:`Adam`.

    Reference:
        Dozat 2016, Incorporating Nesterov momentum into Adam.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        l1_decay: float = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum_decay": momentum_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
                "l1_decay": l1_decay,
            },
        )

    def check(self, group: dict[str, Any]) -> None:
        super().check(group)
        in_range("momentum_decay value", group["momentum_decay"])

    def rule(self, group: dict[str, Any]) -> tuple[Step, tuple[str, ...]]:
        return nadam_step, self.names

    def prepare(self, group: dict[str, Any]) -> tuple[Any, ...]:
        decoupled = bool(group["decoupled_weight_decay"])
        return (*super().prepare(group), decoupled, float(group["momentum_decay"]))

    def begin(self, parameter: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            super().begin(parameter, state, group)
            state["mu_product"] = 1.0

    def options(self, prepared: tuple[Any, ...], state: dict[str, Any]) -> tuple[Any, ...]:
        *others, momentum_decay = prepared
        state["step"] += 1
        step, beta1 = state["step"], prepared[1]
        mu, following = (beta1 * (1 - 0.5 * 0.96 ** (t * momentum_decay)) for t in (step, step + 1))
        state["mu_product"] *= mu
        return (*others, step, mu, following, state["mu_product"])


class RAdam(_Moments):
    """Adam that trusts its average of squares only once it is long enough, as ``torch.optim.RAdam``.

    With g, m and v as in :class:`Adam`, n_max = 2 / (1 - beta2) - 1 and n = n_max - 2 t beta2**t / (1 - beta2**t)::

        r = sqrt((n - 4) (n - 2) n_max / ((n_max - 4) (n_max - 2) n))
        p = p - lr * m / (1 - beta1**t) * (r * sqrt(1 - beta2**t) / (sqrt(v) + eps) if n > 5 else 1)

    Args:
        params, lr, betas, eps, weight_decay: as for :class:`Adam`.
        decoupled_weight_decay: as :class:`AdamW`.
        foreach, maximize, capturable, differentiable, l1_decay: as for :class:`Adam`.

    Reference:
        Liu et al. 2020, On the variance of the adaptive learning rate and beyond, algorithm 2.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        l1_decay: float = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "decoupled_weight_decay": decoupled_weight_decay,
                "differentiable": differentiable,
                "l1_decay": l1_decay,
            },
        )

    def rule(self, group: dict[str, Any]) -> tuple[Step, tuple[str, ...]]:
        return radam_step, self.names

    def prepare(self, group: dict[str, Any]) -> tuple[Any, ...]:
        return (*super().prepare(group), bool(group["decoupled_weight_decay"]))
