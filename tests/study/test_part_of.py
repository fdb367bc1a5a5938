"""A model trained on a problem becomes the subject of a study: same numbers, readable labels."""

import jax
import numpy as np
import pytest

from jaxseq import problems, study, unroll
from jaxseq.cells import gru, lstm


@pytest.fixture(autouse=True)
def promotion():
    """Allow promotion: optax multiplies its own step count with floats."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def test_the_part_of_a_trained_model_has_its_losses_labels_and_snapshots() -> None:
    problem, steps = problems.copy(2, length=2, symbols=3), (0, 200)
    trained = problems.train(gru, problem, hidden=3, steps=200, batch=2, snapshot_steps=steps)
    batch = problem.draw(jax.random.key(1), 2)
    part = study.part_of(
        "mine", gru, problem, batch, trained.params, trained.losses, snapshots=(steps, trained.snapshots)
    )
    outs = unroll(gru, part.params, part.xs)[1]
    logits = np.asarray(outs @ part.head[0] + part.head[1][None, None])
    likelihood = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    right = np.take_along_axis(likelihood, np.asarray(batch.targets)[..., None], -1)[..., 0]
    assert part.reported == pytest.approx(-np.log(right[-2:]).sum(), rel=1e-5)
    np.testing.assert_allclose(part.losses(outs).sum(), part.reported, rtol=1e-5)
    seen = np.asarray(batch.xs.argmax(-1))
    assert part.inputs == [["abc_|"[k] for k in row] for row in seen.T] and part.words == ["a", "b", "c"]
    shown, losses = part.history
    assert shown[0] == 1 and shown[-1] == 200 and len(shown) == len(set(shown)) <= 120
    np.testing.assert_array_equal(losses, np.asarray(trained.losses)[np.array(shown) - 1])
    assert part.snapshots[0] == steps and part.snapshots[1].cell.U.shape == (2, 3, 9)


def test_numbers_are_labelled_with_a_star_where_they_are_marked() -> None:
    problem = problems.adding(4)
    batch = problem.draw(jax.random.key(0), 1)
    part = study.part_of("mine", lstm, problem, batch, problems.init_params(jax.random.key(1), lstm, problem, 3))
    for label, (number, mark) in zip(part.inputs[0], np.asarray(batch.xs[:, 0]), strict=True):
        assert label == f"{number:.2f}" + "*" * int(mark)
    assert part.targets.shape == (4, 1, 1) and not part.words and part.swaps is None
