"""Learning-rate schedules under PyTorch's names: call ``step()`` once an epoch, after the optimiser's steps.

All but ``LambdaLR`` and ``CosineAnnealingLR``'s ends multiply the rate they find, so that several may be used together.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numbanet.optim.optimizer import Optimizer


class LRScheduler:
    """Base of the schedules.

    A subclass defines ``get_lr``, the rates at epoch ``self.last_epoch``, one for each parameter group.

    Args:
        optimizer: whose groups' ``"lr"`` to set.
        last_epoch: the epoch to go on from; -1: from the beginning.

    Attributes:
        last_epoch: epochs done.
        base_lrs: the groups' rates at the beginning (``"initial_lr"`` in the groups).
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(self).__name__}: expected an Optimizer, got {type(optimizer).__name__}")
        self.optimizer = optimizer
        for position, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{position}] when resuming an optimizer"
                )
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._warned = False
        self._advance()

    def get_lr(self) -> list[float]:
        """The groups' rates at epoch ``last_epoch``."""
        raise NotImplementedError(f"{type(self).__name__} must define get_lr")

    def get_last_lr(self) -> list[float]:
        """The groups' rates as this schedule set them last."""
        return list(self._last_lr)

    def step(self) -> None:
        """Go on to the next epoch."""
        if not self._warned and type(self.optimizer).step is Optimizer.step and self.optimizer._step_count == 0:
            self._warned = True
            warnings.warn(
                "lr_scheduler.step() was called before the first optimizer.step(): the first learning rate of the schedule "
                "is skipped",
                stacklevel=2,
            )
        self._advance()

    def _advance(self) -> None:
        self.last_epoch += 1
        rates = self.get_lr()
        for group, lr in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = lr
        self._last_lr = rates

    def _scaled(self, factor: float) -> list[float]:
        return [group["lr"] * factor for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser and functions."""
        return {
            key: value
            for key, value in self.__dict__.items()
            if key not in ("optimizer", "_warned", "lr_lambdas") and not callable(value)
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state that ``state_dict`` gave. The rates themselves are the optimiser's state."""
        self.__dict__.update(state_dict)


class LambdaLR(LRScheduler):
    """The first rate times ``lr_lambda(epoch)``: one function, or one for each group."""

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        count = len(optimizer.param_groups)
        self.lr_lambdas: list[Callable[[int], float]]
        self.lr_lambdas = [lr_lambda] * count if callable(lr_lambda) else list(lr_lambda)
        if len(self.lr_lambdas) != count:
            raise ValueError(f"Expected {count} lr_lambdas, but got {len(self.lr_lambdas)}")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [base * factor(self.last_epoch) for base, factor in zip(self.base_lrs, self.lr_lambdas, strict=True)]


class StepLR(LRScheduler):
    """Times ``gamma`` every ``step_size`` epochs."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        if step_size < 1:
            raise ValueError(f"StepLR: step_size must be at least 1, got {step_size}")
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        due = self.last_epoch > 0 and self.last_epoch % self.step_size == 0
        return self._scaled(self.gamma if due else 1.0)


class MultiStepLR(LRScheduler):
    """Times ``gamma`` at each of the epochs ``milestones`` (one that stands twice counts twice)."""

    def __init__(
        self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return self._scaled(self.gamma ** self.milestones.count(self.last_epoch))


class ExponentialLR(LRScheduler):
    """Times ``gamma`` every epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return self._scaled(self.gamma if self.last_epoch > 0 else 1.0)


class LinearLR(LRScheduler):
    """From ``start_factor`` times the first rate to ``end_factor`` times it, in equal steps over ``total_iters`` epochs."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 < start_factor <= 1:
            raise ValueError(f"LinearLR: start_factor must be above 0 and at most 1, got {start_factor}")
        if not 0 <= end_factor <= 1:
            raise ValueError(f"LinearLR: end_factor must be from 0 to 1, got {end_factor}")
        if total_iters < 1:
            raise ValueError(f"LinearLR: total_iters must be at least 1, got {total_iters}")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def _factor(self, epoch: int) -> float:
        done = min(epoch, self.total_iters) / self.total_iters
        return self.start_factor + (self.end_factor - self.start_factor) * done

    def get_lr(self) -> list[float]:
        epoch = self.last_epoch
        return self._scaled(self._factor(epoch) / self._factor(epoch - 1) if epoch > 0 else self.start_factor)


class CosineAnnealingLR(LRScheduler):
    """Down half a cosine from the first rate to ``eta_min`` over ``T_max`` epochs (and up again after them).

    Reference:
        Loshchilov, Hutter 2017, SGDR: stochastic gradient descent with warm restarts, equation 5 (without the restarts).
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        if T_max < 1:
            raise ValueError(f"CosineAnnealingLR: T_max must be at least 1, got {T_max}")
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def _height(self, epoch: int) -> float:
        return (1 + math.cos(math.pi * epoch / self.T_max)) / 2

    def get_lr(self) -> list[float]:
        if self.last_epoch == 0:
            return self._scaled(1.0)
        here, before = self._height(self.last_epoch), self._height(self.last_epoch - 1)
        return [
            # Scaling what is there keeps other schedules' factors; from the valley's floor there is nothing to scale.
            self.eta_min
            + ((group["lr"] - self.eta_min) * here / before if before > 1e-12 else (base - self.eta_min) * here)
            for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True)
        ]
