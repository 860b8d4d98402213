"""SGD and averaged SGD."""

from __future__ import annotations

from typing import Any

from numbanet.kernels.update import Step, asgd_step, sgd_momentum_step, sgd_step
from numbanet.optim.optimizer import Elementwise, in_range, zeros_like_parameter
from numbanet.tensor import Tensor


class SGD(Elementwise):
    """Stochastic gradient descent with momentum, as ``torch.optim.SGD``.

    With g the gradient (plus weight_decay * p, plus l1_decay * sign(p)), the momentum buffer v and the parameter p::

        v = momentum * v + (1 - dampening) * g        (v = g at the first step)
        p = p - lr * v                                (nesterov: p - lr * (g + momentum * v))

    Args:
        params: parameters or groups, see :class:`Optimizer`.
        lr: learning rate.
        momentum: momentum factor; 0: p = p - lr * g, without a buffer.
        dampening: keeps part of the gradient out of the buffer.
        weight_decay: factor of the L2 penalty weight_decay / 2 * sum(p**2).
        nesterov: Nesterov's momentum; needs momentum > 0 and dampening = 0.
        maximize: climb instead of descend.
        foreach, fused: without effect: a step is always one pass over memory.
        differentiable: must be False.
        l1_decay: factor of the L1 penalty l1_decay * sum(|p|); with weight_decay, the elastic net.

    Reference:
        Sutskever, Martens, Dahl, Hinton 2013, On the importance of initialization and momentum in deep learning.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
        l1_decay: float = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
                "foreach": foreach,
                "differentiable": differentiable,
                "fused": fused,
                "l1_decay": l1_decay,
            },
        )

    def check(self, group: dict[str, Any]) -> None:
        super().check(group)
        in_range("momentum value", group["momentum"])
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError(
                "Nesterov momentum requires a momentum and zero dampening, got "
                f"momentum={group['momentum']}, dampening={group['dampening']}"
            )

    def rule(self, group: dict[str, Any]) -> tuple[Step, tuple[str, ...]]:
        return (sgd_step, ()) if group["momentum"] == 0 else (sgd_momentum_step, ("momentum_buffer",))

    def prepare(self, group: dict[str, Any]) -> tuple[Any, ...]:
        lr, decays = float(group["lr"]), (float(group["weight_decay"]), float(group["l1_decay"]))
        if group["momentum"] == 0:
            return (lr, *decays, bool(group["maximize"]))
        return (lr, group["momentum"], group["dampening"], *decays, bool(group["nesterov"]), bool(group["maximize"]))

    def begin(self, parameter: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if group["momentum"] != 0 and state.get("momentum_buffer") is None:
            state["momentum_buffer"] = zeros_like_parameter(parameter)
            state["first"] = True

    def options(self, prepared: tuple[Any, ...], state: dict[str, Any]) -> tuple[Any, ...]:
        return prepared if len(prepared) == 4 else (*prepared, state.pop("first", False))


class ASGD(Elementwise):
    """Averaged stochastic gradient descent, as ``torch.optim.ASGD``.

    With g as in :class:`SGD`, at step t::

        p = (1 - lambd * eta) * p - eta * g
        ax = ax + mu * (p - ax)                  the average, in the state "ax"
        eta = lr / (1 + lambd * lr * t)**alpha,  mu = 1 / max(1, t - t0)        for the next step

    Args:
        params: parameters or groups, see :class:`Optimizer`.
        lr: learning rate of the first step.
        lambd: how fast p and the rate decay.
        alpha: power of the rate's decay.
        t0: the step at which averaging begins.
        weight_decay, foreach, maximize, differentiable, l1_decay: as for :class:`SGD`.
        capturable: without effect.

    Reference:
        Polyak, Juditsky 1992, Acceleration of stochastic approximation by averaging.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
        *,
        l1_decay: float = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "lambd": lambd,
                "alpha": alpha,
                "t0": t0,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
                "l1_decay": l1_decay,
            },
        )

    def rule(self, group: dict[str, Any]) -> tuple[Step, tuple[str, ...]]:
        return asgd_step, ("ax",)

    def prepare(self, group: dict[str, Any]) -> tuple[Any, ...]:
        schedule = tuple(float(group[name]) for name in ("lr", "lambd", "alpha", "t0"))
        return (*schedule, float(group["weight_decay"]), float(group["l1_decay"]), bool(group["maximize"]))

    def begin(self, parameter: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state.update(step=0, eta=float(group["lr"]), mu=1.0, ax=zeros_like_parameter(parameter))

    def options(self, prepared: tuple[Any, ...], state: dict[str, Any]) -> tuple[Any, ...]:
        lr, lambd, alpha, t0, *others = prepared
        options = (lambd, state["eta"], state["mu"], *others)
        state["step"] += 1
        state["eta"] = lr / (1 + lambd * lr * state["step"]) ** alpha
        state["mu"] = 1 / max(1, state["step"] - t0)
        return options
