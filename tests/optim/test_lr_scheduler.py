"""Schedules beside PyTorch's over two hundred steps, written out, saved and loaded."""

from __future__ import annotations

import warnings
from itertools import product

import numpy as np
import pytest

import numbanet
from numbanet import optim
from tests.checks import torch

STEPS = 200


def crossed(name, **options):
    return [(name, dict(zip(options, values, strict=True))) for values in product(*options.values())]


def falling(epoch):
    return 0.95**epoch


def waving(epoch):
    return 1.0 + 0.5 * (-1) ** epoch


def halving(x):
    return 1 / (5 ** (x * 0.0001))


class Power:
    """A schedule's function with something to save."""

    def __init__(self, base):
        self.base = base

    def __call__(self, epoch):
        return self.base**epoch


TABLE = [
    *crossed("StepLR", step_size=[1, 3, 300], gamma=[0.1, 0.9]),
    *crossed("MultiStepLR", milestones=[[2, 5, 5], [100, 7], []], gamma=[0.1, 1.5]),
    *crossed("ExponentialLR", gamma=[0.9, 1.0]),
    *crossed("CosineAnnealingLR", T_max=[1, 4, 77], eta_min=[0.0, 0.01]),
    *crossed("CosineAnnealingWarmRestarts", T_0=[1, 10], T_mult=[1, 2], eta_min=[0.0, 0.05]),
    *crossed("LambdaLR", lr_lambda=[falling, [falling, waving], Power(0.9)]),
    *crossed("MultiplicativeLR", lr_lambda=[falling, [falling, lambda epoch: 0.9], Power(0.99)]),
    *crossed("LinearLR", start_factor=[0.25, 1.0], end_factor=[1.0, 0.1], total_iters=[1, 50]),
    *crossed("ConstantLR", factor=[0.5, 1.0], total_iters=[1, 50]),
    *crossed("PolynomialLR", total_iters=[1, 60], power=[1.0, 0.5, 2.0]),
    *crossed(
        "CyclicLR", base_lr=[0.01, [0.01, 0.02]], max_lr=[0.5, [0.5, 0.7]], step_size_up=[4, 15],
        step_size_down=[None, 7], mode=["triangular", "triangular2", "exp_range"], gamma=[0.99],
    ),
    *crossed("CyclicLR", base_lr=[0.1], max_lr=[0.5], step_size_up=[5], scale_fn=[halving],
             scale_mode=["cycle", "iterations"], cycle_momentum=[True, False]),
    *crossed("CyclicLR", base_lr=[0.1], max_lr=[0.5], step_size_up=[5], base_momentum=[0.5], max_momentum=[0.95]),
    *crossed("OneCycleLR", max_lr=[0.5, [0.5, 0.7]], total_steps=[STEPS + 1], pct_start=[0.3, 0.45],
             anneal_strategy=["cos", "linear"], three_phase=[True, False], cycle_momentum=[True, False]),
    *crossed("OneCycleLR", max_lr=[0.5], epochs=[5], steps_per_epoch=[41], div_factor=[10.0], final_div_factor=[50.0],
             base_momentum=[0.5, [0.6, 0.7]], max_momentum=[0.9]),
]  # fmt: skip
PLATEAUS = [
    options
    for _, options in crossed(
        "ReduceLROnPlateau", mode=["min", "max"], factor=[0.5], patience=[0, 3], threshold=[1e-4, 0.05],
        threshold_mode=["rel", "abs"], cooldown=[0, 4], min_lr=[0, [0.01, 0.05]], eps=[1e-8, 1e-3],
    )
]  # fmt: skip
# Made of others: the outer one's name, and the inner ones'.
COMPOUNDS = [
    ("SequentialLR", [("ConstantLR", {"factor": 0.1, "total_iters": 20}), ("ExponentialLR", {"gamma": 0.95})], [20]),
    (
        "SequentialLR",
        [("LinearLR", {"total_iters": 10}), ("CosineAnnealingLR", {"T_max": 50}), ("StepLR", {"step_size": 9})],
        [10, 60],
    ),
    ("SequentialLR", [("LinearLR", {"total_iters": 10}), ("CosineAnnealingWarmRestarts", {"T_0": 11})], [10]),
    ("SequentialLR", [("MultiStepLR", {"milestones": [3, 8]}), ("PolynomialLR", {"total_iters": 90})], [15]),
    ("ChainedScheduler", [("ConstantLR", {"factor": 0.1, "total_iters": 2}), ("ExponentialLR", {"gamma": 0.97})], None),
    (
        "ChainedScheduler",
        [("ExponentialLR", {"gamma": 0.99}), ("StepLR", {"step_size": 40}), ("CosineAnnealingLR", {"T_max": 100})],
        None,
    ),
]


def groups(library, name="SGD", **options):
    """An optimiser of two groups whose rates differ."""
    tensors = [library.ones(2, requires_grad=True) for _ in range(2)]
    options = options or ({"momentum": 0.9} if name == "SGD" else {})
    return getattr(library.optim, name)(
        [{"params": tensors[:1]}, {"params": tensors[1:], "lr": 0.2}], lr=0.5, **options
    )


def make(library, optimizer, name, options):
    return getattr(library.optim.lr_scheduler, name)(optimizer, **options)


def make_compound(library, optimizer, outer, inner, milestones):
    schedules = [make(library, optimizer, *one) for one in inner]
    if milestones is None:
        return library.optim.lr_scheduler.ChainedScheduler(schedules)
    return library.optim.lr_scheduler.SequentialLR(optimizer, schedules, milestones)


def momentum(group):
    return group["betas"][0] if "betas" in group else group.get("momentum", 0)


def rates(schedule, optimizer, steps, metrics=None):
    """The rates and momentums of all groups at each epoch."""
    found = [[(group["lr"], momentum(group)) for group in optimizer.param_groups]]
    for step in range(steps):
        optimizer.step()
        schedule.step() if metrics is None else schedule.step(metrics[step])
        assert schedule.get_last_lr() == [group["lr"] for group in optimizer.param_groups]
        found.append([(group["lr"], momentum(group)) for group in optimizer.param_groups])
    return np.array(found)


def identify(value):
    return value if isinstance(value, str) else None


@pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
class TestPyTorch:
    @pytest.mark.parametrize(("name", "options"), TABLE, ids=identify)
    def test_each(self, name, options):
        ours, theirs = groups(numbanet), groups(torch)
        mine, other = make(numbanet, ours, name, options), make(torch, theirs, name, options)
        np.testing.assert_allclose(rates(mine, ours, STEPS), rates(other, theirs, STEPS), rtol=1e-9, atol=1e-15)

    @pytest.mark.parametrize("optimizer", ["Adam", "RMSprop"])
    @pytest.mark.parametrize(
        ("name", "options"),
        [("CyclicLR", {"base_lr": 0.1, "max_lr": 0.5}), ("OneCycleLR", {"max_lr": 0.5, "total_steps": STEPS})],
    )
    def test_momentum_of_other_optimizers(self, optimizer, name, options):
        ours, theirs = groups(numbanet, optimizer), groups(torch, optimizer)
        mine, other = make(numbanet, ours, name, options), make(torch, theirs, name, options)
        np.testing.assert_allclose(rates(mine, ours, STEPS - 1), rates(other, theirs, STEPS - 1), rtol=1e-9)

    @pytest.mark.parametrize(("outer", "inner", "milestones"), COMPOUNDS, ids=identify)
    @pytest.mark.filterwarnings("ignore:.*deprecated.*:UserWarning")
    def test_compounds(self, outer, inner, milestones):
        ours, theirs = groups(numbanet), groups(torch)
        mine = make_compound(numbanet, ours, outer, inner, milestones)
        other = make_compound(torch, theirs, outer, inner, milestones)
        np.testing.assert_allclose(rates(mine, ours, STEPS), rates(other, theirs, STEPS), rtol=1e-9, atol=1e-15)

    @pytest.mark.parametrize("options", PLATEAUS, ids=str)
    def test_plateau(self, options):
        rng = np.random.default_rng(0)
        metrics = np.exp(-np.arange(STEPS) / 30) + 0.1 * rng.standard_normal(STEPS) + 0.2
        metrics = metrics if options["mode"] == "min" else -metrics
        ours, theirs = groups(numbanet), groups(torch)
        mine = optim.lr_scheduler.ReduceLROnPlateau(ours, **options)
        other = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **options)
        found, wanted = rates(mine, ours, STEPS, metrics), rates(other, theirs, STEPS, metrics)
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
        assert len(np.unique(found[:, 0, 0])) > 2

    @pytest.mark.parametrize("epochs", [[0, 0.3, 1.7, 9.9, 10, 10.5, 30, 69.9, 70, 71], [5, 4, 3, 100.25]])
    @pytest.mark.parametrize("T_mult", [1, 2, 3])
    def test_warm_restarts_at_any_epoch(self, epochs, T_mult):
        ours, theirs = groups(numbanet), groups(torch)
        mine = optim.lr_scheduler.CosineAnnealingWarmRestarts(ours, 10, T_mult, 0.01)
        other = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(theirs, 10, T_mult, 0.01)
        for epoch in [*epochs, None, None]:
            mine.step(epoch)
            other.step(epoch)
            np.testing.assert_allclose(mine.get_last_lr(), other.get_last_lr(), rtol=1e-12)
            assert mine.last_epoch == other.last_epoch

    @pytest.mark.parametrize(
        ("name", "options"),
        [case for case in TABLE if case[0] not in ("CyclicLR", "OneCycleLR", "CosineAnnealingWarmRestarts")],
        ids=identify,
    )
    @pytest.mark.filterwarnings("ignore:The epoch parameter:UserWarning")
    def test_a_certain_epoch(self, name, options):
        """Deprecated in PyTorch, and all the same the way to start in the middle."""
        ours, theirs = groups(numbanet), groups(torch)
        mine, other = make(numbanet, ours, name, options), make(torch, theirs, name, options)
        ours.step()
        theirs.step()
        for epoch in (5, 50, 3):
            with pytest.warns(UserWarning, match="deprecated"):
                mine.step(epoch)
            other.step(epoch)
            np.testing.assert_allclose(mine.get_last_lr(), other.get_last_lr(), rtol=1e-12, atol=1e-15)

    @pytest.mark.parametrize(("name", "options"), [TABLE[0], TABLE[6], TABLE[14], TABLE[22], *TABLE[-1:]], ids=identify)
    def test_going_on_with_last_epoch(self, name, options):
        found = []
        for library in (numbanet, torch):
            first = groups(library)
            rates(make(library, first, name, options), first, 20)
            second = groups(library)
            second.load_state_dict(first.state_dict())
            found.append(rates(make(library, second, name, options | {"last_epoch": 20}), second, 20))
        np.testing.assert_allclose(found[0], found[1], rtol=1e-12)


def test_written_out():
    epochs = np.arange(9)

    def run(name, **options):
        optimizer = optim.SGD([numbanet.ones(2, requires_grad=True)], lr=0.8)
        return rates(getattr(optim.lr_scheduler, name)(optimizer, **options), optimizer, 8)[:, 0, 0]

    def cosine(at):
        return 0.4 * (1 + np.cos(np.pi * at))

    np.testing.assert_allclose(run("StepLR", step_size=3), 0.8 * 0.1 ** (epochs // 3))
    np.testing.assert_allclose(run("ExponentialLR", gamma=0.5), 0.8 * 0.5**epochs)
    np.testing.assert_allclose(run("MultiStepLR", milestones=[1, 4]), 0.8 * 0.1 ** ((epochs >= 1) + 0 + (epochs >= 4)))
    np.testing.assert_allclose(run("CosineAnnealingLR", T_max=8), cosine(epochs / 8), atol=1e-12)
    np.testing.assert_allclose(run("CosineAnnealingWarmRestarts", T_0=3), cosine(epochs % 3 / 3), atol=1e-12)
    np.testing.assert_allclose(run("LinearLR", start_factor=0.5, total_iters=4), 0.8 * np.minimum(1, 0.5 + epochs / 8))
    np.testing.assert_allclose(run("ConstantLR", factor=0.5, total_iters=4), np.where(epochs < 4, 0.4, 0.8))
    np.testing.assert_allclose(run("PolynomialLR", total_iters=4, power=2), 0.8 * np.maximum(0, 1 - epochs / 4) ** 2)
    np.testing.assert_allclose(run("LambdaLR", lr_lambda=lambda e: 1 / (1 + e)), 0.8 / (1 + epochs))
    np.testing.assert_allclose(run("MultiplicativeLR", lr_lambda=lambda e: 0.5), 0.8 * 0.5**epochs)
    triangle = [0.1, 0.2, 0.3, 0.2, 0.1, 0.2, 0.3, 0.2, 0.1]
    np.testing.assert_allclose(run("CyclicLR", base_lr=0.1, max_lr=0.3, step_size_up=2), triangle)
    one = run("OneCycleLR", max_lr=1.0, total_steps=9, pct_start=4 / 9, anneal_strategy="linear", div_factor=4.0)
    np.testing.assert_allclose(one, [0.25, 0.5, 0.75, 1.0, 0.800005, 0.60001, 0.400015, 0.20002, 2.5e-5], rtol=1e-5)


@pytest.mark.parametrize(("name", "options"), TABLE, ids=identify)
def test_goes_on_where_it_was(name, options):
    whole = groups(numbanet)
    expected = rates(make(numbanet, whole, name, options), whole, 30)
    first, second = groups(numbanet), groups(numbanet)
    schedule, again = make(numbanet, first, name, options), make(numbanet, second, name, options)
    rates(schedule, first, 17)
    second.load_state_dict(first.state_dict())
    again.load_state_dict(schedule.state_dict())
    np.testing.assert_allclose(rates(again, second, 13), expected[17:], rtol=1e-12)


@pytest.mark.parametrize(("outer", "inner", "milestones"), COMPOUNDS, ids=identify)
@pytest.mark.parametrize("before", [5, 40])
def test_compounds_go_on_where_they_were(outer, inner, milestones, before):
    whole = groups(numbanet)
    expected = rates(make_compound(numbanet, whole, outer, inner, milestones), whole, 90)
    first, second = groups(numbanet), groups(numbanet)
    schedule = make_compound(numbanet, first, outer, inner, milestones)
    again = make_compound(numbanet, second, outer, inner, milestones)
    rates(schedule, first, before)
    second.load_state_dict(first.state_dict())
    again.load_state_dict(schedule.state_dict())
    np.testing.assert_allclose(rates(again, second, 90 - before), expected[before:], rtol=1e-12)


def test_plateau_goes_on_where_it_was():
    metrics = [1.0, 0.9, 0.95, 0.93, 0.92, 0.91, 0.5, 0.6, 0.7, 0.8]
    first, second = groups(numbanet), groups(numbanet)
    schedule = optim.lr_scheduler.ReduceLROnPlateau(first, patience=1, cooldown=1)
    rates(schedule, first, 5, metrics)
    second.load_state_dict(first.state_dict())
    again = optim.lr_scheduler.ReduceLROnPlateau(second)
    again.load_state_dict(schedule.state_dict())
    np.testing.assert_array_equal(rates(again, second, 5, metrics[5:]), rates(schedule, first, 5, metrics[5:]))
    assert first.param_groups[0]["lr"] < 0.05


def test_functions_with_attributes_are_saved():
    schedule = optim.lr_scheduler.LambdaLR(groups(numbanet), [Power(0.5), falling])
    state = schedule.state_dict()
    assert state["lr_lambdas"] == [{"base": 0.5}, None]
    again = optim.lr_scheduler.LambdaLR(groups(numbanet), [Power(0.9), falling])
    again.load_state_dict(state)
    assert again.lr_lambdas[0].base == 0.5
    assert again.lr_lambdas[1] is falling


def test_plateau_takes_a_loss_tensor_and_notices_new_groups():
    optimizer = groups(numbanet)
    schedule = optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
    optimizer.add_param_group({"params": [numbanet.ones(2, requires_grad=True)], "lr": 1.0})
    for _ in range(2):
        schedule.step(numbanet.tensor(1.0))
    np.testing.assert_allclose([group["lr"] for group in optimizer.param_groups], [0.05, 0.02, 0.1])
    schedule = optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, min_lr=[0.1, 0.1, 0.1])
    optimizer.add_param_group({"params": [numbanet.ones(2, requires_grad=True)]})
    with pytest.raises(RuntimeError, match="has 4 parameter groups, but min_lrs has 3"):
        for _ in range(2):
            schedule.step(1.0)


def test_before_the_first_step_warns_once():
    schedule = optim.lr_scheduler.ExponentialLR(groups(numbanet), 0.5)
    with pytest.warns(UserWarning, match="before the first optimizer.step"):
        schedule.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schedule.step()


def test_own_schedule_by_get_lr():
    class Inverse(optim.lr_scheduler.LRScheduler):
        def get_lr(self):
            return [base / (1 + self.last_epoch) for base in self.base_lrs]

    optimizer = groups(numbanet)
    np.testing.assert_allclose(rates(Inverse(optimizer), optimizer, 3)[:, 0, 0], [0.5, 0.25, 0.5 / 3, 0.125])
