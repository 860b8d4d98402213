"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from typing import Any

from numbanet.devices import Array
from numbanet.kernels.update import sgd_step
from numbanet.optim.optimizer import Optimizer, in_range, no_array, zeros_like_parameter
from numbanet.tensor import Tensor


class SGD(Optimizer):
    """Stochastic gradient descent, as ``torch.optim.SGD``.

    With g the gradient (plus weight_decay * p), the momentum buffer v and the parameter p::

        v = momentum * v + (1 - dampening) * g        (v = g at the first step)
        p = p - lr * v                                (nesterov: p - lr * (g + momentum * v))

    Args:
        params: parameters or groups, see :class:`Optimizer`.
        lr: learning rate.
        momentum: momentum factor; 0: p = p - lr * g, without a buffer.
        dampening: keeps part of the gradient out of the buffer.
        weight_decay: factor of the L2 penalty.
        nesterov: Nesterov's momentum; needs momentum > 0 and dampening = 0.
        maximize: climb instead of descend.

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
            },
        )

    def check(self, group: dict[str, Any]) -> None:
        super().check(group)
        in_range("momentum value", group["momentum"])
        in_range("weight_decay value", group["weight_decay"])
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError(
                "Nesterov momentum requires a momentum and zero dampening, got "
                f"momentum={group['momentum']}, dampening={group['dampening']}"
            )

    def prepare(self, group: dict[str, Any]) -> tuple[Any, ...]:
        # float() and bool(): each further argument type would compile the kernel once more.
        numbers = [float(group[name]) for name in ("lr", "momentum", "dampening", "weight_decay")]
        return (*numbers, bool(group["nesterov"]), bool(group["maximize"]))

    def update(self, parameter: Tensor, values: Array, gradient: Array, state: dict[str, Any], options: Any) -> None:
        first = False
        if options[1] == 0.0:
            buffer = no_array(values)
        else:
            held = state.get("momentum_buffer")
            if held is None:
                first = True
                held = state["momentum_buffer"] = zeros_like_parameter(parameter)
            buffer = held._array.reshape(-1)
        sgd_step(values, gradient, buffer, *options, first)
