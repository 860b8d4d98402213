"""Adagrad, Adadelta, RMSprop and Rprop: a rate of its own for each element."""

from __future__ import annotations

from typing import Any

from numbanet import devices
from numbanet.kernels.update import (
    Step,
    adadelta_step,
    adagrad_step,
    rmsprop_centered_momentum_step,
    rmsprop_centered_step,
    rmsprop_momentum_step,
    rmsprop_step,
    rprop_step,
)
from numbanet.optim.optimizer import Elementwise, in_range, zeros_like_parameter
from numbanet.tensor import Tensor, wrap


def _filled(parameter: Tensor, value: float) -> Tensor:
    return wrap(devices.full(tuple(parameter.shape), value, parameter.dtype, parameter.device))


class Adagrad(Elementwise):
    """Rates that fall with the sum of squared gradients, as ``torch.optim.Adagrad``.

    With g the gradient (plus weight_decay * p, plus l1_decay * sign(p)) at step t::

        s = s + g**2
        p = p - lr / (1 + (t - 1) * lr_decay) * g / (sqrt(s) + eps)

    Args:
        params: parameters or groups, see :class:`Optimizer`.
        lr: learning rate.
        lr_decay: how fast the rate falls with the steps.
        weight_decay: factor of the L2 penalty.
        initial_accumulator_value: what s begins with.
        eps: keeps the denominator from zero.
        foreach, fused: without effect.
        maximize: climb instead of descend.
        differentiable: must be False.
        l1_decay: factor of the L1 penalty l1_decay * sum(|p|).

    Reference:
        Duchi, Hazan, Singer 2011, Adaptive subgradient methods for online learning and stochastic optimization.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        l1_decay: float = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "eps": eps,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "fused": fused,
                "l1_decay": l1_decay,
            },
        )
        for group in self.param_groups:  # the sums exist before the first step
            for parameter in group["params"]:
                self.begin(parameter, self.state[parameter], group)

    def check(self, group: dict[str, Any]) -> None:
        super().check(group)
        in_range("lr_decay value", group["lr_decay"])
        in_range("initial_accumulator_value value", group["initial_accumulator_value"])
        in_range("epsilon value", group["eps"])

    def rule(self, group: dict[str, Any]) -> tuple[Step, tuple[str, ...]]:
        return adagrad_step, ("sum",)

    def prepare(self, group: dict[str, Any]) -> tuple[Any, ...]:
        names = ("lr", "lr_decay", "eps", "weight_decay", "l1_decay")
        return (*[float(group[name]) for name in names], bool(group["maximize"]))

    def begin(self, parameter: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["step"] = 0
            state["sum"] = _filled(parameter, self.defaults["initial_accumulator_value"])

    def options(self, prepared: tuple[Any, ...], state: dict[str, Any]) -> tuple[Any, ...]:
        state["step"] += 1
        return (*prepared, state["step"])


class Adadelta(Elementwise):
    """Steps in the parameter's own units, as ``torch.optim.Adadelta``.

    With g as in :class:`Adagrad`::

        s = rho * s + (1 - rho) * g**2
        d = sqrt(a + eps) / sqrt(s + eps) * g
        a = rho * a + (1 - rho) * d**2
        p = p - lr * d

    Args:
        params, weight_decay, foreach, maximize, differentiable, l1_decay: as for :class:`Adagrad`.
        lr: factor of the steps.
        rho: decay rate of the two averages.
        eps: keeps the denominator from zero, and gets the first step going.
        capturable: without effect.

    Reference:
        Zeiler 2012, ADADELTA: an adaptive learning rate method, algorithm 1.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
        l1_decay: float = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "rho": rho,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "capturable": capturable,
                "foreach": foreach,
                "differentiable": differentiable,
                "l1_decay": l1_decay,
            },
        )

    def check(self, group: dict[str, Any]) -> None:
        super().check(group)
        if not 0.0 <= group["rho"] <= 1.0:
            raise ValueError(f"Invalid rho value: {group['rho']}")
        in_range("epsilon value", group["eps"])

    def rule(self, group: dict[str, Any]) -> tuple[Step, tuple[str, ...]]:
        return adadelta_step, ("square_avg", "acc_delta")

    def prepare(self, group: dict[str, Any]) -> tuple[Any, ...]:
        names = ("lr", "rho", "eps", "weight_decay", "l1_decay")
        return (*[float(group[name]) for name in names], bool(group["maximize"]))

    def begin(self, parameter: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["step"] = 0
            state["square_avg"] = zeros_like_parameter(parameter)
            state["acc_delta"] = zeros_like_parameter(parameter)

    def options(self, prepared: tuple[Any, ...], state: dict[str, Any]) -> tuple[Any, ...]:
        state["step"] += 1
        return prepared


class RMSprop(Elementwise):
    """Gradients over their root mean square, as ``torch.optim.RMSprop``.

    With g as in :class:`Adagrad`::

        s = alpha * s + (1 - alpha) * g**2
        a = alpha * a + (1 - alpha) * g              (centered; else 0)
        b = momentum * b + g / (sqrt(s - a**2) + eps)
        p = p - lr * b

    Args:
        params, lr, weight_decay, foreach, maximize, differentiable, l1_decay: as for :class:`Adagrad`.
        alpha: decay rate of the averages.
        eps: keeps the denominator from zero.
        momentum: momentum factor.
        centered: divide by the standard deviation, not the root mean square.
        capturable: without effect.

    Reference:
        Tieleman, Hinton 2012, Lecture 6.5 of Neural networks for machine learning; centered: Graves 2013, Generating
        sequences with recurrent neural networks, equations 38 to 45.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        *,
        l1_decay: float = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "alpha": alpha,
                "eps": eps,
                "centered": centered,
                "weight_decay": weight_decay,
                "capturable": capturable,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "l1_decay": l1_decay,
            },
        )

    def check(self, group: dict[str, Any]) -> None:
        super().check(group)
        in_range("epsilon value", group["eps"])
        in_range("momentum value", group["momentum"])
        in_range("alpha value", group["alpha"])

    def rule(self, group: dict[str, Any]) -> tuple[Step, tuple[str, ...]]:
        if group["centered"]:
            if group["momentum"] > 0:
                return rmsprop_centered_momentum_step, ("square_avg", "grad_avg", "momentum_buffer")
            return rmsprop_centered_step, ("square_avg", "grad_avg")
        if group["momentum"] > 0:
            return rmsprop_momentum_step, ("square_avg", "momentum_buffer")
        return rmsprop_step, ("square_avg",)

    def prepare(self, group: dict[str, Any]) -> tuple[Any, ...]:
        names = ("lr", "alpha", "eps", "weight_decay", "l1_decay", "momentum")
        return (*[float(group[name]) for name in names], bool(group["maximize"]))

    def begin(self, parameter: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        state.setdefault("step", 0)
        for name in self.rule(group)[1]:
            if name not in state:
                state[name] = zeros_like_parameter(parameter)

    def options(self, prepared: tuple[Any, ...], state: dict[str, Any]) -> tuple[Any, ...]:
        state["step"] += 1
        return prepared


class Rprop(Elementwise):
    """Resilient backpropagation, for whole batches, as ``torch.optim.Rprop``.

    Each element has a step size of its own, which grows while its gradient g keeps its sign, and shrinks when it turns::

        size = clamp(size * (etas[1] if g * g_before > 0 else etas[0] if g * g_before < 0 else 1), *step_sizes)
        g = 0 where it turned;  p = p - sign(g) * size;  g_before = g

    Args:
        params: parameters or groups, see :class:`Optimizer`.
        lr: the first step size.
        etas: the factors (below 1, above 1).
        step_sizes: the smallest and the largest step size.
        capturable, foreach: without effect.
        maximize: climb instead of descend.
        differentiable: must be False.

    Reference:
        Riedmiller, Braun 1993, A direct adaptive method for faster backpropagation learning: the RPROP algorithm.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "etas": etas,
                "step_sizes": step_sizes,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def check(self, group: dict[str, Any]) -> None:
        super().check(group)
        low, high = group["etas"]
        if not 0.0 < low < 1.0 < high:
            raise ValueError(f"Invalid eta values: {low}, {high}")

    def rule(self, group: dict[str, Any]) -> tuple[Step, tuple[str, ...]]:
        return rprop_step, ("prev", "step_size")

    def prepare(self, group: dict[str, Any]) -> tuple[Any, ...]:
        return (*[float(x) for x in (*group["etas"], *group["step_sizes"])], bool(group["maximize"]))

    def begin(self, parameter: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["step"] = 0
            state["prev"] = zeros_like_parameter(parameter)
            state["step_size"] = _filled(parameter, float(group["lr"]))

    def options(self, prepared: tuple[Any, ...], state: dict[str, Any]) -> tuple[Any, ...]:
        state["step"] += 1
        return prepared
