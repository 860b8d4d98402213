"""GradScaler: scales the loss up, so that small gradients survive in float16, and skips steps that overflowed."""

from __future__ import annotations

import math
from typing import Any
from weakref import WeakKeyDictionary

from numbanet.dtypes import float16, float32
from numbanet.functional.gradients import scale_, total_norm
from numbanet.tensor import Tensor, tensor

_READY, _UNSCALED, _STEPPED = "ready", "unscaled", "stepped"


class GradScaler:
    """Dynamic loss scaling, as ``torch.amp.GradScaler``.

    float16 has no numbers between 0 and 6e-8, where many gradients are. ``scale(loss)`` multiplies the loss, and so all gradients, by a
    large number; ``step(optimizer)`` divides it out of the gradients of float32 parameters, and leaves the step out where one of them is
    infinite or NaN; ``update()`` then makes the scale smaller, or larger after ``growth_interval`` good steps in a row. bfloat16 has
    float32's range and needs none of this.

    Args:
        device: "cuda" or "cpu"; without effect, the gradients say where they are.
        init_scale: the first scale.
        growth_factor: what the scale is multiplied by after ``growth_interval`` steps without overflow; more than 1.
        backoff_factor: what it is multiplied by after a step that overflowed; less than 1.
        growth_interval: see above.
        enabled: False makes ``scale`` and ``unscale_`` pass everything through, and ``step`` an ordinary step.

    Example::

        scaler = GradScaler()
        with autocast("cuda"):
            loss = cross_entropy(net(images), labels)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)          # only where gradients are clipped or looked at
        scaler.step(optimizer)
        scaler.update()

    Reference: P. Micikevicius et al., "Mixed precision training" (2018), section 3.2.
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        if enabled:
            if not growth_factor > 1.0:
                raise ValueError(f"GradScaler: growth_factor must be more than 1, got {growth_factor}")
            if not 0.0 < backoff_factor < 1.0:
                raise ValueError(f"GradScaler: backoff_factor must be between 0 and 1, got {backoff_factor}")
        self._device = device
        self._enabled = bool(enabled)
        self._scale = float(init_scale)
        self._growth_factor, self._backoff_factor = float(growth_factor), float(backoff_factor)
        self._growth_interval, self._growth_tracker = int(growth_interval), 0
        # For each optimiser since the last update: how far it is, and whether its gradients overflowed.
        self._stages: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
        self._overflowed: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()

    def scale(self, outputs: Any) -> Any:
        """A loss (or a list or tuple of losses) times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):  # a 0-d tensor, not a number: a float16 loss of 0 dimensions becomes float32
            return outputs * tensor(self._scale, dtype=float32, device=outputs.device)
        if isinstance(outputs, list | tuple):
            return type(outputs)([self.scale(output) for output in outputs])
        raise ValueError(
            f"GradScaler.scale: expected a tensor, or a list or tuple of them, got {type(outputs).__name__}"
        )

    def unscale_(self, optimizer: Any) -> None:
        """Divide the scale out of the gradients of an optimiser's parameters, in place; ``step`` does it where nobody has.

        Raises:
            RuntimeError: the second time since the last ``update``, or after ``step``.
            ValueError: for gradients in float16, which would be lost.
        """
        if not self._enabled:
            return
        stage = self._stages.get(optimizer, _READY)
        if stage == _UNSCALED:
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update().")
        if stage == _STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        gradients = []
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    if parameter.grad.dtype == float16:
                        raise ValueError("Attempting to unscale FP16 gradients.")
                    gradients.append(parameter.grad)
        if gradients:
            self._overflowed[optimizer] = not math.isfinite(float(total_norm(gradients, math.inf)))
            scale_(gradients, 1.0 / self._scale)
        self._stages[optimizer] = _UNSCALED

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """``optimizer.step(...)`` with gradients divided by the scale, left out where one is infinite or NaN.

        Returns:
            What the optimiser's step returned, or None where it was left out.

        Raises:
            RuntimeError: for a closure, the second time since the last ``update``, or without any gradient.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if args or "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        stage = self._stages.get(optimizer, _READY)
        if stage == _STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if stage == _READY:
            self.unscale_(optimizer)
        if optimizer not in self._overflowed:
            raise RuntimeError("No inf checks were recorded for this optimizer: no parameter has a gradient.")
        result = None if self._overflowed[optimizer] else optimizer.step(**kwargs)
        self._stages[optimizer] = _STEPPED
        return result

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Adapt the scale to what the steps since the last update met, or set it to ``new_scale``.

        Raises:
            RuntimeError: where no optimiser has been stepped or unscaled.
        """
        if not self._enabled:
            return
        if new_scale is not None:
            self._scale = float(new_scale)
        else:
            if not self._overflowed:
                raise RuntimeError("No inf checks were recorded prior to update.")
            if any(self._overflowed.values()):
                self._scale *= self._backoff_factor
                self._growth_tracker = 0
            else:
                self._growth_tracker += 1
                if self._growth_tracker >= self._growth_interval:
                    grown = self._scale * self._growth_factor
                    self._scale = grown if grown <= _LARGEST else self._scale
                    self._growth_tracker = 0
        self._stages.clear()
        self._overflowed.clear()

    # ------------------------------------------------------------------ what it is

    def get_scale(self) -> float:
        """The scale; 1 where disabled."""
        return self._scale if self._enabled else 1.0

    def get_growth_factor(self) -> float:
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        self._growth_factor = float(new_factor)

    def get_backoff_factor(self) -> float:
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        self._backoff_factor = float(new_factor)

    def get_growth_interval(self) -> int:
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        self._growth_interval = int(new_interval)

    def is_enabled(self) -> bool:
        """Whether the scaler does anything."""
        return self._enabled

    def state_dict(self) -> dict[str, Any]:
        """The scale, its factors, and the number of good steps in a row, under PyTorch's names; empty where disabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self._scale,
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._growth_tracker,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state that ``state_dict`` gave (PyTorch's will do).

        Raises:
            RuntimeError: for an empty state, as a disabled scaler gives.
        """
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved from a disabled instance of GradScaler."
            )
        self._scale = float(state_dict["scale"])
        self._growth_factor = float(state_dict["growth_factor"])
        self._backoff_factor = float(state_dict["backoff_factor"])
        self._growth_interval = int(state_dict["growth_interval"])
        self._growth_tracker = int(state_dict["_growth_tracker"])


_LARGEST = 3.4028234663852886e38  # of float32
