"""Optimiser steps against their formulas; tables of many parameters against one parameter at a time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from numbanet.kernels import launch
from numbanet.kernels import update as U
from tests.kernels.twins import DEVICES, FLOATS, assert_guards_intact, check, check_threads, guarded, run

# The simulator computes with NumPy numbers, which warn where hardware silently makes NaN and infinity.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

FLAGS = (False, True)
DECAYS = [(0.0, 0.0), (0.05, 0.0), (0.05, 0.02)]  # weight_decay, l1_decay
BETAS = (0.01, 0.9, 0.99, 1e-8)  # lr, beta1, beta2, eps

# Every kernel with the lists of options that it is checked with; a state that must not be negative is named by its place.
STEPS = [
    (U.sgd_step, (), [(0.1, *d, up) for d in DECAYS for up in FLAGS]),
    (
        U.sgd_momentum_step,
        (),
        [
            (0.1, 0.9, 0.0 if nesterov else 0.1, *d, nesterov, up, first)
            for d in DECAYS
            for nesterov, up, first in itertools.product(FLAGS, repeat=3)
        ],
    ),
    *[
        (
            kernel,
            positive,
            [(*BETAS, *d, up, w, t) for d in DECAYS for up in FLAGS for w in FLAGS for t in (1, 4, 1000)],
        )
        for kernel, positive in ((U.adam_step, (1,)), (U.adam_amsgrad_step, (1, 2)), (U.radam_step, (1,)))
    ],
    (U.adamax_step, (1,), [(*BETAS, *d, up, t) for d in DECAYS for up in FLAGS for t in (1, 1000)]),
    (
        U.nadam_step,
        (1,),
        [(*BETAS, *d, up, w, t, 0.5, 0.6, 0.3) for d in DECAYS for up in FLAGS for w in FLAGS for t in (1, 1000)],
    ),
    (U.adagrad_step, (0,), [(0.1, 0.01, 1e-10, *d, up, t) for d in DECAYS for up in FLAGS for t in (1, 1000)]),
    (U.adadelta_step, (0, 1), [(0.9, 0.9, 1e-6, *d, up) for d in DECAYS for up in FLAGS]),
    (U.rmsprop_step, (0,), [(0.1, 0.9, 1e-8, *d, 0.0, up) for d in DECAYS for up in FLAGS]),
    (U.rmsprop_momentum_step, (0,), [(0.1, 0.9, 1e-8, *d, 0.8, up) for d in DECAYS for up in FLAGS]),
    (U.rmsprop_centered_step, (0,), [(0.1, 0.9, 1e-8, *d, 0.0, up) for d in DECAYS for up in FLAGS]),
    (U.rmsprop_centered_momentum_step, (0,), [(0.1, 0.9, 1e-8, *d, 0.8, up) for d in DECAYS for up in FLAGS]),
    (U.asgd_step, (), [(1e-2, 0.1, mu, *d, up) for d in DECAYS for up in FLAGS for mu in (1.0, 0.25)]),
    (U.scale_step, (), [(0.5,), (-3.0,)]),
    (U.clamp_step, (), [(-0.5, 0.25), (-1e30, 1e30)]),
    (U.rprop_step, (1,), [(0.5, 1.2, low, 1.5, up) for low in (1e-6, 0.3) for up in FLAGS]),
]
BY_NAME = pytest.mark.parametrize(("step", "positive", "options"), STEPS, ids=lambda v: getattr(v, "name", ""))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(launch, "THREADS", 8)


def arrays(step, positive, size=37, dtype=np.float32, seed=0):
    """A gradient, a parameter (with a zero in each) and the step's states."""
    rng = np.random.default_rng(seed)
    gradient, parameter = rng.normal(size=(2, size))
    if size > 4:
        gradient[3] = parameter[4] = 0
    states = rng.normal(size=(step.states, size))
    for place in positive:
        states[place] = abs(states[place]) + (9 if step.name.startswith("rmsprop_centered") else 0)
    return [a.astype(dtype) for a in (gradient, parameter, *states)]


@BY_NAME
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("device", DEVICES)
def test_one_parameter(step, positive, options, dtype, device):
    gradient, *updated = arrays(step, positive, dtype=dtype)
    eps = np.finfo(dtype).eps
    for chosen in options if device == "cpu" else options[-2:]:
        check(step, device, [gradient], updated, *chosen, rtol=32 * eps, atol=16 * eps)


def test_every_rule_stands_in_the_list():
    assert {step.name for step, _, _ in STEPS} == {
        kernel.name for kernel in vars(U).values() if isinstance(kernel, U.Step)
    }


@BY_NAME
def test_threads(step, positive, options):
    gradient, *updated = arrays(step, positive, 3 * U.CHUNK + 5)
    check_threads(step, [gradient], updated, *options[-1])


@BY_NAME
@pytest.mark.parametrize("dtype", FLOATS)
def test_a_table_is_as_good_as_one_at_a_time(step, positive, options, dtype, monkeypatch):
    """Many sizes, cut at other places than the parameters' ends, with numbers of their own, between guard zones."""
    monkeypatch.setattr(U, "CHUNK", 16)
    sizes = [1, 5, 16, 40, 3, 8, 33, 1]
    table = U.Table(sizes, 2 + step.states)
    assert table.tasks == 7
    held, expected = [], []
    chosen = [options[0], options[-1]]
    for row, size in enumerate(sizes):
        gradient, *updated = arrays(step, positive, size, dtype, row)
        expected.append([array.copy() for array in updated])
        step(gradient, *expected[-1], *chosen[row % 2])
        pairs = [guarded(array) for array in (gradient, *updated)]
        table.rows[row] = [row % 2, *[U.address(inside) for inside, _ in pairs]]
        held.append((gradient, pairs))
    step.run(table, np.array([step.numbers(*numbers) for numbers in chosen], dtype))
    for (gradient, pairs), wanted in zip(held, expected, strict=True):
        for inside, buffer in pairs:
            assert_guards_intact(inside, buffer)
        np.testing.assert_array_equal(pairs[0][0], gradient)
        for (inside, _), array in zip(pairs[1:], wanted, strict=True):
            np.testing.assert_allclose(inside, array, rtol=4 * np.finfo(dtype).eps, atol=1e-30)


def test_a_table_covers_each_element_once(monkeypatch):
    monkeypatch.setattr(U, "CHUNK", 10)
    sizes = [3, 25, 10, 7, 1, 1]
    table = U.Table(sizes, 3)
    plan, seen = table.plan, np.zeros(sum(sizes), int)
    begin = plan.size - table.rows.size
    for task in range(table.tasks):
        elements = 0
        for piece in range(plan[task], plan[task + 1], 3):
            row, first, stop = plan[piece : piece + 3]
            start = sum(sizes[: (row - begin) // table.rows.shape[1]])
            seen[start + first : start + stop] += 1
            elements += stop - first
        assert elements == (10 if task < table.tasks - 1 else sum(sizes) % 10)
    assert (seen == 1).all()


def test_first_step_does_not_read_the_buffer():
    gradient, parameter = arrays(U.sgd_step, ())
    buffer = np.full_like(parameter, np.nan)
    U.sgd_momentum_step(gradient, parameter, buffer, 0.1, 0.9, 0.1, 0.0, 0.0, False, False, True)
    np.testing.assert_array_equal(buffer, gradient)
    assert np.isfinite(parameter).all()


@BY_NAME
def test_nan_stays_where_it_is(step, positive, options):
    gradient, *updated = arrays(step, positive, 1003)
    gradient[77] = np.nan
    step(gradient, *updated, *options[0])
    place = 1 if step is U.rprop_step else 0  # where NaN has no sign, the parameter stays
    assert np.isnan(updated[place][77])
    assert np.isnan(updated[place]).sum() == 1


def test_an_infinite_parameter_without_decay_stays_infinite():
    gradient, parameter = np.ones(4, np.float32), np.array([np.inf, -np.inf, 1, np.nan], np.float32)
    U.sgd_step(gradient, parameter, 1.0, 0.0, 0.0, False)
    np.testing.assert_array_equal(parameter, [np.inf, -np.inf, 0, np.nan])


def test_an_empty_parameter():
    empty = np.empty(0, np.float32)
    U.sgd_step(empty, empty.copy(), 0.1, 0.0, 0.0, False)


# ------------------------------------------------------------------------------------------------------------- norms

NORMS = [U.sum_of_squares, U.sum_of_magnitudes, U.largest_magnitude]


@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm.name)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", [0, 1, 511, 1300, 3 * U.CHUNK + 7])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the simulator, which computes with NumPy numbers
def test_norm(norm, dtype, size, device):
    size = min(size, 1300) if device == "cuda" else size
    x = np.random.default_rng(size).normal(size=size).astype(dtype)
    check(norm, device, [x], [np.ones(1, dtype)])
    if device == "cpu":
        check_threads(norm, [x], [np.zeros(1, dtype)])
    if size > 100:
        x[100] = -np.inf
        assert run(norm, device, [x], [np.zeros(1, dtype)])[0][0] == np.inf
        x[size // 2] = np.nan
        assert np.isnan(run(norm, device, [x], [np.zeros(1, dtype)])[0][0])


@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm.name)
def test_norm_of_a_table(norm, monkeypatch):
    monkeypatch.setattr(U, "CHUNK", 16)
    arrays = [np.random.default_rng(n).normal(size=n).astype(np.float32) for n in (1, 40, 16, 3)]
    table = U.Table([a.size for a in arrays], 1)
    table.rows[:] = [[0, U.address(a)] for a in arrays]
    expected = np.zeros(1)
    norm.reference(np.concatenate(arrays), expected)
    np.testing.assert_allclose(norm.run(table, np.float32), expected[0], rtol=1e-6)


def test_sums_of_many_elements_keep_their_digits():
    x = np.full(1 << 22, 0.1, np.float32)
    out = np.zeros(1, np.float32)
    U.sum_of_squares(x, out)
    np.testing.assert_allclose(out[0], x.size * np.float64(x[0]) ** 2, rtol=2e-7)
