"""What is kept on the way is what training had come to at that step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseq import InputError, problems, study
from jaxseq.cells import gru
from jaxseq.testing import assert_close
from jaxseq.train import TrainState, chunk

PROBLEM = problems.reverse(2, symbols=2)


@pytest.fixture(autouse=True)
def promotion():
    """Allow promotion: optax multiplies its own step count with floats."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.parametrize("steps", [1, 2, 10, 1000])
@pytest.mark.parametrize("count", [2, 3, 20])
def test_steps_are_spaced_by_one_factor(steps: int, count: int) -> None:
    at = study.log_spaced(steps, count)
    assert at[0] == 0 and at[-1] == steps and len(at) <= count and list(at) == sorted(set(at))
    factors = np.diff(np.log(at[1:]))
    if len(at) == count > 3:
        assert np.ptp(factors) < 0.5


def test_a_replay_holds_what_shorter_trainings_come_to() -> None:
    kept = study.replay(gru, PROBLEM, hidden=3, steps=4, count=4, batch=2)
    assert kept.steps.tolist() == [0, 1, 2, 4] and kept.losses.shape == (4,)
    two = problems.train(gru, PROBLEM, hidden=3, steps=2, batch=2)
    assert_close("after two steps", jax.tree.map(lambda a: a[2], kept.params), two.params, 1e-6)
    sums = study.along(lambda params: {"sum": params.cell.U.sum()}, kept.params)["sum"]
    assert sums.shape == (4,)
    np.testing.assert_allclose(sums[2], two.params.cell.U.sum(), rtol=1e-5)


def test_a_recorder_keeps_params_of_a_loop_of_chunks() -> None:
    def loss(params, data, rows, key, step):
        value = ((params - data[rows]) ** 2).sum()
        return value, (value, jnp.int32(1))

    step = optax.sgd(0.25)
    run = chunk(loss, step)
    recorded, kept = study.recorder(
        lambda state, bucket, rows: run(state, jnp.ones(3), rows, jax.random.key(0)), (0, 1, 2, 3, 6)
    )
    state = TrainState.create(jnp.zeros(()), step)
    for _ in range(3):
        state, _ = recorded(state, 0, np.zeros((2, 1), int))
    assert kept.steps == [0, 2, 4, 6]
    np.testing.assert_allclose(kept.stacked(), [1 - 0.5**t for t in kept.steps])


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(InputError, match="steps must be at least 1 and count at least 2; got 5 and 1"):
        study.log_spaced(5, 1)
