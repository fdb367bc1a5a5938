"""The trainer takes the steps that a plain loop takes; comparisons are of equal sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseq import InputError, problems, unroll
from jaxseq.cells import CELLS, gru, lstm, rnn
from jaxseq.testing import assert_close

PROBLEM = problems.reverse(2, symbols=3)


@pytest.fixture(autouse=True)
def promotion():
    """Allow promotion: optax multiplies its own step count with floats."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def test_training_is_a_plain_loop_of_adam_steps() -> None:
    trained = problems.train(
        gru, PROBLEM, hidden=4, steps=3, seed=5, learning_rate=0.01, batch=2, snapshot_steps=(0, 2)
    )
    of_params, of_data = jax.random.split(jax.random.key(jnp.uint32(5)))
    params = problems.init_params(of_params, gru, PROBLEM, 4)
    assert_close("kept before the first step", jax.tree.map(lambda a: a[0], trained.snapshots), params)
    step = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.01))

    def loss(params, batch):
        logits = unroll(gru, params.cell, batch.xs)[1] @ params.readout.W + params.readout.b[None, None]
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), batch.targets[..., None], -1)[2:].mean()

    @jax.jit
    def update(params, state, t):
        value, grads = jax.value_and_grad(loss)(params, PROBLEM.draw(jax.random.fold_in(of_data, t), 2))
        updates, state = step.update(grads, state, params)
        return optax.apply_updates(params, updates), state, value

    state, losses = step.init(params), []
    for t in range(3):
        params, state, value = update(params, state, t)
        losses.append(value)
        if t == 1:
            assert_close("kept", jax.tree.map(lambda a: a[1], trained.snapshots), params, 1e-5)
    assert_close("params", trained.params, params, 1e-5)
    assert_close("losses", trained.losses, jnp.stack(losses), 1e-5)


def test_seeds_together_are_seeds_alone_and_data_do_not_depend_on_the_cell() -> None:
    both = problems.train(rnn, PROBLEM, hidden=3, steps=4, seed=(7, 9), batch=2, snapshot_steps=(4,))
    alone = problems.train(rnn, PROBLEM, hidden=3, steps=4, seed=9, batch=2, snapshot_steps=(4,))
    assert_close("seeds", jax.tree.map(lambda a: a[1], both), alone, 1e-5)
    assert_close("the last kept", jax.tree.map(lambda a: a[0], alone.snapshots), alone.params)
    assert float(jnp.abs(both.losses[0] - both.losses[1]).max()) > 1e-3


def test_it_learns() -> None:
    problem = problems.reverse(2, symbols=2)
    found = problems.compare({"lstm": lstm, "rnn": rnn}, problem, hidden=8, steps=150, seed=(0, 1), learning_rate=0.03)
    for one in found.values():
        assert (one.scores.loss < 0.1 * problem.baseline).all() and (one.scores.solved > 0.95).all()
        assert one.trained.losses.shape == (2, 150)
    assert found["lstm"].hidden == 8 and abs(found["rnn"].parameters / found["lstm"].parameters - 1) < 0.05


def test_the_loss_for_the_study_is_that_of_training() -> None:
    problem = problems.anbn(4)
    params, batch = problems.init_params(jax.random.key(0), lstm, problem, 3), problem.draw(jax.random.key(1), 5)

    @jax.jit
    def run():
        end = unroll(lstm, params.cell, batch.xs, mask=batch.mask)
        return problems.loss_of(problem, params.readout, batch)(*end), end[1] @ params.readout.W

    loss, logits = run()
    probabilities = np.exp(np.asarray(logits))  # the bias starts at 0
    probabilities /= probabilities.sum(-1, keepdims=True)
    right = np.take_along_axis(probabilities, np.asarray(batch.targets)[..., None], -1)[..., 0]
    np.testing.assert_allclose(loss, -np.log(right[np.asarray(batch.scored)]).mean(), rtol=1e-5)


def test_longer_sequences_can_be_evaluated_than_were_trained_on() -> None:
    model = problems.init_params(jax.random.key(0), gru, problems.anbn(3), 4)
    scores = problems.evaluate(gru, problems.anbn(6), model, rows=8)
    assert 0 <= float(scores.solved) <= float(scores.accuracy) <= 1 and float(scores.loss) > 0


@pytest.mark.parametrize("name", ["min_lstm", "lstmp", "gru_d"])
def test_sizes_are_matched(name: str) -> None:
    cell = CELLS[name]
    H = problems.matched_hidden(cell, PROBLEM, 900)
    near = [abs(problems.count_params(cell, PROBLEM, h) - 900) for h in (max(H - 1, 1), H, H + 1)]
    assert min(near) == near[1] < 100
    shapes = jax.jit(lambda key: problems.init_params(key, cell, PROBLEM, H))(jax.random.key(0))
    assert sum(a.size for a in jax.tree.leaves(shapes)) == problems.count_params(cell, PROBLEM, H)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be a whole number above 0; got 0"),
        ({"snapshot_steps": (3, 1)}, r"rising numbers of steps from 0 to 5; got \(3, 1\)"),
        ({"snapshot_steps": (9,)}, "rising numbers"),
        ({"seed": ()}, "seed must be a number or several"),
        ({"learning_rate": 0.0}, "learning rate"),
    ],
)
def test_settings_that_cannot_be_are_refused(options, message) -> None:
    with pytest.raises(InputError, match=message):
        problems.train(gru, PROBLEM, **{"hidden": 3, "steps": 5, **options})


def test_a_cell_for_pictures_is_refused() -> None:
    with pytest.raises(InputError, match="conv_gru works on pictures; the problems are sequences of vectors"):
        problems.train(CELLS["conv_gru"], PROBLEM, hidden=3, steps=2)
