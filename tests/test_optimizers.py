"""Optimizers by name: schedules against their formulas, weight decay of matrices, a rate that falls on a plateau."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseq import InputError
from jaxseq.optimizers import (
    DECAYING,
    DEPENDS_ON_STEPS,
    OPTIMIZERS,
    SCHEDULES,
    matrices,
    on_plateau,
    optimizer,
    rate_at,
    rescaled,
    scale_of,
)


@pytest.fixture(autouse=True)
def promotion():
    """Allow promotion: optax multiplies its own step count with floats."""
    with jax.numpy_dtype_promotion("standard"):
        yield


PARAMS = {"W": jnp.full((2, 3), 2.0), "b": jnp.full(3, 2.0)}


def updates(name, count, **options):
    """Return the updates of the first steps, with gradients of 1."""
    step, grads, seen = optimizer(name, 0.1, **options), jax.tree.map(jnp.ones_like, PARAMS), []
    state = step.init(PARAMS)
    for _ in range(count):
        found, state = step.update(grads, state, PARAMS)
        seen.append(found)
    return seen, state


def test_inverse_sqrt_is_equation_3():
    """Vaswani et al. 2017: d^-0.5 min(s^-0.5, s w^-1.5), here scaled to have its peak at the rate."""
    d, w = 512, 40
    paper = [d**-0.5 * min(s**-0.5, s * w**-1.5) for s in range(1, 401)]
    ours = [float(SCHEDULES["inverse-sqrt"](0.003, w, 1)(n)) for n in range(400)]
    np.testing.assert_allclose(ours, np.array(paper) * 0.003 / max(paper), rtol=1e-6)
    assert np.argmax(ours) == w - 1 and max(ours) == pytest.approx(0.003)
    assert float(SCHEDULES["inverse-sqrt"](0.003, 0, 1)(0)) == pytest.approx(0.003)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_that_go_on_with_more_steps_are_those_said_to(name):
    rates = [[float(SCHEDULES[name](0.1, 5, steps)(n)) for n in range(20)] for steps in (20, 40)]
    assert (rates[0] != rates[1]) == (name in DEPENDS_ON_STEPS)


@pytest.mark.parametrize("name", DECAYING)
def test_weight_decay_is_of_matrices_alone(name):
    with_decay, without = (updates(name, 1, weight_decay=d)[0][0] for d in (0.5, 0.0))
    np.testing.assert_array_equal(with_decay["b"], without["b"])
    if name != "lamb":  # whose step is scaled by the norm of what is decayed
        np.testing.assert_allclose(with_decay["W"] - without["W"], -0.1 * 0.5 * PARAMS["W"], rtol=1e-6)
    assert np.abs(with_decay["W"] - without["W"]).min() > 1e-3 or name == "lamb"
    assert matrices(PARAMS) == {"W": True, "b": False}


def test_the_optimizers_said_to_decay_are_those_that_can():
    can = [
        name for name, build in OPTIMIZERS.items() if {"weight_decay", "mask"} <= {*inspect.signature(build).parameters}
    ]
    assert sorted(can) == sorted(DECAYING)
    for name in set(OPTIMIZERS) - set(DECAYING):
        with pytest.raises(InputError, match=f"weight decay: the optimizer {name} has none; expected one of adamw"):
            optimizer(name, 0.1, weight_decay=0.1)
    with pytest.raises(InputError, match="a finite number, 0 or above; got -1"):
        optimizer("adamw", 0.1, weight_decay=-1)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_goes_down(name):
    found, _ = updates(name, 3)
    assert all((np.asarray(leaf) < 0).all() for leaf in jax.tree.leaves(found[-1]))


def test_without_decay_given_adamw_is_optaxs():
    step = optax.adamw(0.1)
    want, _ = step.update(jax.tree.map(jnp.ones_like, PARAMS), step.init(PARAMS), PARAMS)
    jax.tree.map(np.testing.assert_array_equal, updates("adamw", 1)[0][0], want)


@pytest.mark.parametrize("patience", [1, 2])
def test_a_plateau_is_that_of_optax(patience):
    """Fed the losses of reports one by one, optax's own lowers the rate at the same reports."""
    losses = [5.0, 4, 4.5, 4.1, 4.2, 3.9, 4, 4, 4, 4, 4, 3, 3.5, 3.5, 3.5, 3.5]
    theirs = optax.contrib.reduce_on_plateau(0.5, patience, rtol=0.0, atol=1e-9)
    step, lower = optimizer("sgd", 0.1, schedule="plateau", clip=1.0), on_plateau(patience, 0.5)
    state, their_state, best, stale = step.init(PARAMS), theirs.init(PARAMS), np.inf, 0
    grads = {"W": jnp.zeros((2, 3)), "b": jnp.array([0.1, 0.0, 0.0])}
    for n, loss in enumerate(losses):
        best, stale = (loss, 0) if loss < best else (best, stale + 1)
        state = lower(state, stale)
        _, their_state = theirs.update(grads, their_state, value=jnp.asarray(loss))
        assert float(scale_of(state)) == float(their_state.scale), n
        found, state = step.update(grads, state, PARAMS)
        np.testing.assert_allclose(found["b"][0], -0.1 * 0.1 * their_state.scale, rtol=1e-6)
    assert float(scale_of(state)) < 1


def test_the_rate_is_that_of_the_schedule_and_the_plateau():
    step = optimizer("adam", 0.1, schedule="plateau", warmup=10)
    state = rescaled(step.init(PARAMS), 0.25)
    schedule = SCHEDULES["plateau"](0.1, 10, 1)
    assert [round(rate_at(schedule, state, n), 6) for n in (0, 5, 10, 99)] == [0, 0.0125, 0.025, 0.025]
    assert rate_at(schedule, optimizer("adam", 0.1).init(PARAMS), 10) == pytest.approx(0.1)
