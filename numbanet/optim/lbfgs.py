"""L-BFGS, with and without a line search."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, NamedTuple

from numbanet import devices
from numbanet.autograd import enable_grad, no_grad
from numbanet.functional.shape import cat
from numbanet.optim.optimizer import Optimizer
from numbanet.tensor import Tensor, wrap, zeros


class LBFGS(Optimizer):
    """Limited-memory BFGS for whole batches, as ``torch.optim.LBFGS``.

    Each iteration goes along d = -H g, where H, an approximation of the inverse Hessian, comes from the last ``history_size``
    changes of the parameters and of the gradient. A step is up to ``max_iter`` iterations, and evaluates the model several times:
    ``step`` needs a closure that clears the gradients, computes the loss, calls backward and returns the loss.

    Args:
        params: parameters, in one group.
        lr: length of an iteration's step along d (with a line search: the first length tried).
        max_iter: iterations of one step.
        max_eval: evaluations of one step (max_iter * 5 // 4 where left out).
        tolerance_grad: stop where no element of the gradient is larger.
        tolerance_change: stop where neither the parameters nor the loss change by more.
        history_size: changes kept; each costs two copies of the parameters.
        line_search_fn: None or "strong_wolfe".

    Reference:
        Nocedal, Wright 2006, Numerical optimization, algorithms 7.4 and 7.5 (L-BFGS), 3.5 and 3.6 (line search).
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "max_iter": max_iter,
                "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
                "tolerance_grad": tolerance_grad,
                "tolerance_change": tolerance_change,
                "history_size": history_size,
                "line_search_fn": line_search_fn,
            },
        )
        if len(self.param_groups) != 1:
            raise ValueError(f"LBFGS: all parameters stand in one group, got {len(self.param_groups)} groups")
        self._params: list[Tensor] = self.param_groups[0]["params"]

    def check(self, group: dict[str, Any]) -> None:
        super().check(group)
        if group["line_search_fn"] not in (None, "strong_wolfe"):
            raise RuntimeError(f"LBFGS: line_search_fn must be None or 'strong_wolfe', got {group['line_search_fn']!r}")

    def _loaded(self, number: Any, parameter: Tensor, values: Mapping[str, Any]) -> dict[str, Any]:
        return {key: _copied(value, parameter) for key, value in values.items()}

    def _gradient(self) -> Tensor:
        """All gradients as one vector."""
        parts = [zeros(p.numel(), dtype=p.dtype, device=p.device) if p.grad is None else p.grad for p in self._params]
        return cat([part.detach().reshape(-1) for part in parts])

    def _place(self, start: list[Tensor], t: float, direction: Tensor) -> None:
        """Set the parameters to ``start`` + t * direction."""
        at = 0
        for parameter, before in zip(self._params, start, strict=True):
            part = direction[at : at + parameter.numel()].reshape(tuple(parameter.shape))
            parameter.copy_(before + part * t)
            at += parameter.numel()

    @no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take up to ``max_iter`` iterations.

        Args:
            closure: clears the gradients, computes the loss, calls backward and returns the loss.

        Returns:
            The loss at the beginning.
        """
        if closure is None:
            raise TypeError("LBFGS: step needs a closure that evaluates the model and returns the loss")
        for hook in self._before:
            hook(self, (closure,), {})
        loss = self._minimize(enable_grad()(closure))
        self._step_count += 1
        for hook in self._after:
            hook(self, (closure,), {})
        return loss

    def _minimize(self, closure: Callable[[], Any]) -> Any:
        group = self.param_groups[0]
        lr, searching = float(group["lr"]), group["line_search_fn"] is not None
        state = self.state[self._params[0]]  # all there is, under the first parameter
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        first_loss = closure()
        loss = float(first_loss)
        evaluations = 1
        state["func_evals"] += 1
        gradient = self._gradient()
        if _largest(gradient) <= group["tolerance_grad"]:
            return first_loss
        direction, t = state.get("d"), state.get("t")
        for iteration in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            if state["n_iter"] == 1:
                direction = -gradient
                state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1.0)
            else:
                assert direction is not None
                self._remember(state, gradient - state["prev_flat_grad"], direction * t, group["history_size"])
                direction = _descent(state, gradient)
            state["prev_flat_grad"], previous = gradient, loss
            t = min(1.0, 1.0 / float(gradient.abs().sum())) * lr if state["n_iter"] == 1 else lr
            slope = _dot(gradient, direction)
            if slope > -group["tolerance_change"]:
                break
            start = [p.detach().clone() for p in self._params]
            used = 0
            if searching:
                here = _Point(0.0, loss, gradient, slope)
                evaluate = self._along(closure, start, direction)
                limit = group["max_eval"] - evaluations
                found, used = _strong_wolfe(evaluate, here, t, direction, group["tolerance_change"], limit)
                t, loss, gradient = found.t, found.loss, found.gradient
                self._place(start, t, direction)
            else:
                self._place(start, t, direction)
                if iteration != group["max_iter"]:
                    loss = float(closure())
                    gradient = self._gradient()
                    used = 1
            evaluations += used
            state["func_evals"] += used
            if (
                evaluations >= group["max_eval"]
                or _largest(gradient) <= group["tolerance_grad"]
                or _largest(direction * t) <= group["tolerance_change"]
                or abs(loss - previous) < group["tolerance_change"]
            ):
                break
        state.update(d=direction, t=t, prev_loss=previous)
        return first_loss

    def _remember(self, state: dict[str, Any], y: Tensor, s: Tensor, history_size: int) -> None:
        """Add a change of the gradient (y) and of the parameters (s), where the curvature between them is positive."""
        curvature = _dot(y, s)
        if curvature > 1e-10:
            kept = state["old_dirs"], state["old_stps"], state["ro"]
            for values, new in zip(kept, (y, s, 1.0 / curvature), strict=True):
                if len(values) == history_size:
                    values.pop(0)
                values.append(new)
            state["H_diag"] = curvature / _dot(y, y)

    def _along(self, closure: Callable[[], Any], start: list[Tensor], direction: Tensor) -> Callable[[float], _Point]:
        """The loss as a function of the way along the direction; the parameters are left wherever it was last asked for."""

        def evaluate(t: float) -> _Point:
            self._place(start, t, direction)
            loss = float(closure())
            gradient = self._gradient()
            return _Point(t, loss, gradient, _dot(gradient, direction))

        return evaluate


class _Point(NamedTuple):
    """A point along a direction: how far, the loss, the gradient, and the gradient's part along the direction."""

    t: float
    loss: float
    gradient: Tensor
    slope: float


def _dot(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum())


def _largest(a: Tensor) -> float:
    return float(a.abs().max())


def _copied(value: Any, parameter: Tensor) -> Any:
    """A loaded state's value: vectors copied to the parameter's device, tensors with one number as numbers."""
    if isinstance(value, list):
        return [_copied(entry, parameter) for entry in value]
    if not isinstance(value, Tensor):
        return deepcopy(value)
    if value.ndim == 0:
        return value.item()
    host = devices.copy(devices.to_host(value._array)).astype(parameter.dtype, copy=False)
    return wrap(devices.to_device(host, parameter.device))


def _descent(state: dict[str, Any], gradient: Tensor) -> Tensor:
    """-H g by the two-loop recursion."""
    q = -gradient
    changes = list(zip(state["old_dirs"], state["old_stps"], state["ro"], strict=True))
    weights = []
    for y, s, rho in reversed(changes):
        weights.append(_dot(s, q) * rho)
        q = q - y * weights[-1]
    q = q * state["H_diag"]
    for (y, s, rho), weight in zip(changes, reversed(weights), strict=True):
        q = q + s * (weight - _dot(y, q) * rho)
    return q


def _cubic_minimum(a: _Point, b: _Point, low: float, high: float) -> float:
    """Where the cubic through two points with their slopes is smallest, within [low, high]; the middle where it has no minimum."""
    near, far = (a, b) if a.t <= b.t else (b, a)
    theta = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = theta * theta - a.slope * b.slope
    if not square >= 0:
        return (low + high) / 2
    root = math.sqrt(square)
    bottom = far.slope - near.slope + 2 * root
    if bottom == 0:
        return (low + high) / 2
    return min(max(far.t - (far.t - near.t) * ((far.slope + root - theta) / bottom), low), high)


def _strong_wolfe(
    evaluate: Callable[[float], _Point], start: _Point, t: float, direction: Tensor, tolerance: float, most: int
) -> tuple[_Point, int]:
    """A point with a sufficient decrease (c1 = 1e-4) and a slope flat enough (c2 = 0.9), and the evaluations it took.

    First the step grows until two points have a minimum between them; then they close in on it.
    """
    length = _largest(direction)
    enough = lambda point: point.loss <= start.loss + 1e-4 * point.t * start.slope  # noqa: E731
    flat = lambda point: abs(point.slope) <= -0.9 * start.slope  # noqa: E731
    before, new = start, evaluate(t)
    used, rounds = 1, 0
    bracket: list[_Point] = []
    while rounds < most:
        if not enough(new) or (rounds > 1 and new.loss >= before.loss) or (new.slope >= 0 and not flat(new)):
            bracket = [before, new]
            break
        if flat(new):
            return new, used
        t = _cubic_minimum(before, new, new.t + 0.01 * (new.t - before.t), new.t * 10)
        before, new = new, evaluate(t)
        used += 1
        rounds += 1
    if not bracket:
        bracket = [start, new]
    low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
    stalled = False
    while rounds < most:
        left, right = sorted(point.t for point in bracket)
        if (right - left) * length < tolerance:
            break
        t = _cubic_minimum(bracket[0], bracket[1], left, right)
        margin = 0.1 * (right - left)
        if min(right - t, t - left) < margin:  # so close to an end that the bracket would hardly shrink
            if stalled or t >= right or t <= left:
                t = right - margin if abs(t - right) < abs(t - left) else left + margin
                stalled = False
            else:
                stalled = True
        else:
            stalled = False
        new = evaluate(t)
        used += 1
        rounds += 1
        if not enough(new) or new.loss >= bracket[low].loss:
            bracket[high] = new
            low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
        else:
            if flat(new):
                return new, used
            if new.slope * (bracket[high].t - bracket[low].t) >= 0:
                bracket[high] = bracket[low]
            bracket[low] = new
    return bracket[low], used
