"""The trainer takes the steps that a plain loop takes; comparisons are of equal sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseq import InputError, study, unroll
from jaxseq.cells import CELLS, gru, lstm, rnn
from jaxseq.problems import tasks
from jaxseq.testing import assert_close

TASK = tasks.reverse(2, symbols=3)


@pytest.fixture(autouse=True)
def promotion():
    """Allow promotion: optax multiplies its own step count with floats."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def test_training_is_a_plain_loop_of_adam_steps() -> None:
    trained = study.train(gru, TASK, hidden=4, steps=3, seed=5, learning_rate=0.01, batch=2, keep=(0, 2))
    of_params, of_data = jax.random.split(jax.random.key(jnp.uint32(5)))
    params = study.first_model(of_params, gru, TASK, 4)
    assert_close("kept before the first step", jax.tree.map(lambda a: a[0], trained.kept), params)
    step = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.01))

    def loss(params, batch):
        logits = unroll(gru, params.cell, batch.xs)[1] @ params.read.W + params.read.b[None, None]
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), batch.targets[..., None], -1)[2:].mean()

    @jax.jit
    def update(params, state, t):
        value, grads = jax.value_and_grad(loss)(params, TASK.draw(jax.random.fold_in(of_data, t), 2))
        updates, state = step.update(grads, state, params)
        return optax.apply_updates(params, updates), state, value

    state, losses = step.init(params), []
    for t in range(3):
        params, state, value = update(params, state, t)
        losses.append(value)
        if t == 1:
            assert_close("kept", jax.tree.map(lambda a: a[1], trained.kept), params, 1e-5)
    assert_close("params", trained.params, params, 1e-5)
    assert_close("losses", trained.losses, jnp.stack(losses), 1e-5)


def test_seeds_together_are_seeds_alone_and_data_do_not_depend_on_the_cell() -> None:
    both = study.train(rnn, TASK, hidden=3, steps=4, seed=(7, 9), batch=2, keep=(4,))
    alone = study.train(rnn, TASK, hidden=3, steps=4, seed=9, batch=2, keep=(4,))
    assert_close("seeds", jax.tree.map(lambda a: a[1], both), alone, 1e-5)
    assert_close("the last kept", jax.tree.map(lambda a: a[0], alone.kept), alone.params)
    assert float(jnp.abs(both.losses[0] - both.losses[1]).max()) > 1e-3


def test_it_learns() -> None:
    task = tasks.reverse(2, symbols=2)
    found = study.compare({"lstm": lstm, "rnn": rnn}, task, hidden=8, steps=150, seed=(0, 1), learning_rate=0.03)
    for one in found.values():
        assert (one.scores.loss < 0.1 * task.baseline).all() and (one.scores.solved > 0.95).all()
        assert one.trained.losses.shape == (2, 150)
    assert found["lstm"].hidden == 8 and abs(found["rnn"].parameters / found["lstm"].parameters - 1) < 0.05


def test_shares_of_the_loss_sum_to_it() -> None:
    task = tasks.anbn(4)
    model, batch = study.first_model(jax.random.key(0), lstm, task, 3), task.draw(jax.random.key(1), 5)

    @jax.jit
    def run():
        end = unroll(lstm, model.cell, batch.xs, mask=batch.mask)
        shares, whole = (f(task, model.read, batch)(*end) for f in (study.losses_of, study.loss_of))
        return shares, whole, task.loss(study.outputs(lstm, model, batch), batch)

    shares, whole, again = run()
    assert shares.shape == (8, 5) and not np.asarray(shares)[~np.asarray(batch.scored)].any()
    np.testing.assert_allclose(shares.sum(), whole, rtol=1e-5)
    np.testing.assert_allclose(whole, again, rtol=1e-5)


def test_longer_sequences_can_be_evaluated_than_were_trained_on() -> None:
    model = study.first_model(jax.random.key(0), gru, tasks.anbn(3), 4)
    scores = study.evaluate(gru, tasks.anbn(6), model, rows=8)
    assert 0 <= float(scores.solved) <= float(scores.accuracy) <= 1 and float(scores.loss) > 0


@pytest.mark.parametrize("name", ["min_lstm", "lstmp", "gru_d"])
def test_sizes_are_matched(name: str) -> None:
    cell = CELLS[name]
    H = study.matched_hidden(cell, TASK, 900)
    near = [abs(study.parameters(cell, TASK, h) - 900) for h in (max(H - 1, 1), H, H + 1)]
    assert min(near) == near[1] < 100
    shapes = jax.jit(lambda key: study.first_model(key, cell, TASK, H))(jax.random.key(0))
    assert sum(a.size for a in jax.tree.leaves(shapes)) == study.parameters(cell, TASK, H)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "must be at least 1; got 0"),
        ({"keep": (3, 1)}, r"rising numbers of steps from 0 to 5; got \(3, 1\)"),
        ({"keep": (9,)}, "rising numbers"),
        ({"seed": ()}, "seed must be a number or several"),
        ({"learning_rate": 0.0}, "learning rate"),
    ],
)
def test_settings_that_cannot_be_are_refused(options, message) -> None:
    with pytest.raises(InputError, match=message):
        study.train(gru, TASK, **{"hidden": 3, "steps": 5, **options})


def test_a_cell_for_pictures_is_refused() -> None:
    with pytest.raises(InputError, match="conv_gru works on pictures; the tasks are sequences of vectors"):
        study.train(CELLS["conv_gru"], TASK, hidden=3, steps=2)
