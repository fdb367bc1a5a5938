"""What the experiments measure with, against closed forms and constructed networks; two of them in miniature."""

from typing import Any, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats

from jaxseq import problems
from jaxseq.affine import Affine
from jaxseq.apps import datasets, series
from jaxseq.attention import additive
from jaxseq.cells import lstm, min_gru, rnn
from jaxseq.cells._lstm import LSTMParams
from jaxseq.experiments import EXPERIMENTS, data, report, training
from jaxseq.experiments._ablation import held_out
from jaxseq.experiments._attention import fixed, reversal
from jaxseq.experiments._chrono import forgetting_times, from_uniform
from jaxseq.experiments._counting import correlations, reach
from jaxseq.experiments._gates_open import statistics
from jaxseq.experiments._line_attractor import Settings as LineSettings, line
from jaxseq.experiments._parity import LINEAR, SIGNED, right_at
from jaxseq.experiments._spectrum import cloud, density
from jaxseq.experiments._vanishing import fading
from jaxseq.experiments.base import FAILS, NOT_REPRODUCED, verdicts
from jaxseq.experiments.data import EOS, PAD, SOS
from jaxseq.experiments.training import Learnt, final, fit, learn, seeded, smoothed, told
from jaxseq.initializers import orthogonal
from jaxseq.problems import ModelParams

pytestmark = pytest.mark.usefixtures("as_users_have_it")

SMALL = {"spectrum": {"hidden": 100, "steps": 30, "biases": (0.0, 3.0)}, "vanishing": {"hidden": 24, "lags": 80}}
"""Settings that end in seconds."""


@pytest.mark.parametrize("name", SMALL)
def test_a_miniature_runs_is_judged_and_drawn(name):
    one = EXPERIMENTS[name]
    found = one.run(one.quick._replace(seeds=5, **SMALL[name]))
    for row in found.rows:
        assert len(row.values) == 5 and np.isfinite(row.values).all(), row
        assert len(row.margins) == (5 if row.claimed else 0), row
    found_to_be = verdicts(found.rows)
    wrong = {row.what.partition(":")[0] for row, v in zip(found.rows, found_to_be, strict=True) if v == NOT_REPRODUCED}
    assert FAILS not in found_to_be and wrong <= {"gru, retain bias 1"}, found.rows
    figure = Figure(layout="constrained")
    found.draw(figure)
    figure.draw_without_rendering()


def test_fit_stores_params_of_the_steps_that_are_asked_for():
    """Adam's first steps are of the size of its rate, whatever the gradient."""
    starts = jnp.array([5.0, -5.0])
    trained = fit(starts, seeded(2), lambda p, key: p**2, steps=4, rate=0.1, clip=1e9, snapshot_steps=(0, 1, 4))
    np.testing.assert_allclose(trained.snapshots[:, :2], [[5.0, 4.9], [-5.0, -4.9]], atol=1e-5)
    np.testing.assert_array_equal(trained.snapshots[:, 2], trained.params)
    np.testing.assert_allclose(trained.losses[:, 0], 25.0)


class Budget(NamedTuple):
    hidden: int = 3
    steps: int = 60
    seeds: int = 2
    batch: int = 8
    first: int = 7


def test_learn_takes_the_rate_that_suits_and_shows_every_cell_the_same_data():
    problem = problems.adding(2)
    learnt = learn(rnn, problem, Budget())
    ends = {rate: final(learn(rnn, problem, Budget(seeds=1), rate=rate).losses)[0] for rate in (1e-3, 8e-3)}
    assert ends[8e-3] < ends[1e-3] and learnt.rate >= 4e-3  # so few steps are best large
    again = learn(rnn, problem, Budget(), rate=learnt.rate)
    np.testing.assert_array_equal(again.losses, learnt.losses)
    assert learnt.losses.shape == (2, 60) and not np.allclose(*learnt.losses)


def test_networks_are_drawn_while_no_other_thread_draws_any():
    """Two QR decompositions at once may wait for each other for ever: see `training.DECOMPOSING`."""
    held = []

    def init(key, inputs, hidden):
        held.append(training.DECOMPOSING.locked())
        return rnn.init(key, inputs, hidden)

    learn(rnn, problems.adding(2), Budget(steps=2), init=init)
    assert held and all(held) and not training.DECOMPOSING.locked()


def test_where_nobody_has_learnt_a_seed_tells_nothing():
    assert told(1.0, [0.95, 0.1, np.nan], [0.91, 0.95, np.nan]).tolist() == [False, True, False]


def test_the_shipped_corpus_is_numbered_by_its_training_part():
    corpus = data.corpus(12)
    for part in (corpus.train, corpus.held):
        for side, size in zip(part, (corpus.source_size, corpus.target_size), strict=True):
            assert side.max() < size and len(side) <= 13 and ((side == EOS).sum(0) == 1).all()
            after = np.cumsum(side == EOS, axis=0) - (side == EOS)
            assert ((side == PAD) == after.astype(bool)).all()
        assert part.source.shape[1] == part.target.shape[1] > 100
    assert (corpus.train.source != data.UNKNOWN).all() and (corpus.train.target != data.UNKNOWN).all()
    assert set(range(data.FIRST, corpus.source_size)) <= set(np.unique(corpus.train.source))
    both = [{tuple(column) for column in side.T.tolist()} for side in (corpus.train.source, corpus.held.source)]
    assert not {tuple(n for n in row if n) for row in both[0]} & {tuple(n for n in row if n) for row in both[1]}


def test_the_shipped_series_is_scaled_as_the_application_scales_it():
    values = np.loadtxt(datasets.find("airline"), delimiter=",", skiprows=1, usecols=[1])[:, None]
    first = values[: len(values) - round(0.25 * len(values))]
    scaled = series.Scaler.fit(first, ("passengers",), log=True, lag=12).forward(first)
    for got, want in zip(data.airline(), series.windows(scaled, 12), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)


def test_final_and_smoothed_losses():
    losses = np.arange(40.0).reshape(2, 20)
    np.testing.assert_allclose(final(losses), [18.5, 38.5])
    steps, means = smoothed(losses, 4)
    assert steps.tolist() == [5, 10, 15, 20]
    np.testing.assert_allclose(means[1], [22, 27, 32, 37])


# counting


def counter(unit: float = 0.01) -> ModelParams:
    """A network made by hand: its gates are open, c is `unit` times the number of a minus that of b.

    It foretells the end where tanh(c) is below that of half a unit, else a b.
    """
    big, g = 40.0, np.arctanh(unit)
    W, b = np.zeros((2, 8)), np.array([big, 0, big, 0, 0, 0, big, 0])  # i f g o of two units; the other one is idle
    W[:, 4] = [g, -g]
    head = np.zeros((2, 3)), np.array([-9.0, 0.0, 0.5 * unit * 1e4])
    head[0][0, 2] = -1e4
    arrays = (jnp.asarray(a, jnp.float32) for a in (W, np.zeros((2, 8)), b, *head))
    W, U, b, *head = arrays
    return ModelParams(LSTMParams(W, U, b), Affine(*head))


def test_a_network_that_counts_reaches_everything():
    assert int(reach(lstm, counter(), 30, 2)) == 30


def test_a_network_that_loses_count_reaches_as_far_as_it_counts():
    """A tanh that flattens does no harm: only the last step of counting is looked at. A forget gate of 0.9 does."""
    assert int(reach(lstm, counter(0.2), 10, 2)) == 10
    leaky = counter()
    leaky = leaky._replace(cell=leaky.cell._replace(b=leaky.cell.b.at[2].set(np.log(9.0))))

    def count(n):
        """What is counted before the last b, where it should be 1."""
        return sum(0.9 ** (2 * n - 2 - k) * (1 if k < n else -1) for k in range(2 * n - 1))

    first_wrong = next(n for n in range(1, 30) if count(n) < 0.5)
    assert first_wrong == 3 and int(reach(lstm, leaky, 30, 2)) == 2


def test_the_correlation_of_a_counting_unit():
    found = np.asarray(correlations(lstm, counter().cell, 11, 20))
    assert found[0] == pytest.approx(1, abs=1e-5) and found[1] == pytest.approx(0, abs=1e-5)


# ablation


def test_held_out_losses_are_of_the_steps_within_and_beyond_the_length_of_training() -> None:
    """Of networks whose output is the same at each step, on letters: by counting."""
    text = "to be or not to be that is the question " * 3
    streams = problems.letters(50, text)
    fresh = problems.init_params(jax.random.key(0), lstm, streams, 2)
    logits = jnp.arange(28, dtype=jnp.float32) / 9
    one = fresh._replace(readout=Affine(jnp.zeros_like(fresh.readout.W), logits))
    params = jax.tree.map(lambda a: jnp.stack([a, a * jnp.nan]), one)
    found = held_out(lstm, Learnt(params, jnp.zeros((2, 1)), 0.1), streams, 10, rows=3)
    targets = np.asarray(streams.draw(jax.random.key(2**31), 3).targets)
    each = np.log(np.exp(logits).sum()) - np.asarray(logits)[targets]
    np.testing.assert_allclose(found[:, 0], [each[:10].mean(), each[10:].mean()], rtol=1e-5)
    np.testing.assert_allclose(found[:, 1], streams.baseline)


# chrono


def test_forgetting_times_lie_as_designed():
    times = np.asarray(forgetting_times(jax.random.key(0), 4000, 50.0), float)
    assert times.min() >= 2 - 1e-3 and times.max() <= 50 + 1e-2
    assert stats.kstest(times, stats.uniform(2, 48).cdf).pvalue > 0.01
    assert from_uniform(times, 2, 50) == pytest.approx(
        np.sqrt(4000) * stats.kstest(times, stats.uniform(2, 48).cdf).statistic
    )


def test_a_forget_bias_of_one_is_far_from_uniform():
    assert from_uniform(np.full(100, 1 / (1 - 0.731)), 2, 90) > 5


# spectrum


def test_the_law_is_girkos_circle_where_weights_and_centres_are_all_alike():
    """A = f I + w X: a disk of radius w gain around f."""
    weights, centres = np.full((2, 7), [[0.25], [0.0]]), np.full((2, 7), [[0.8], [0.0]])
    for inside, far in ((True, 0.74), (False, 0.76)):
        points = 0.8 + far * np.exp(1j * np.linspace(0, 6, 7))
        mean, width = density(points, weights, centres, 1.5)
        assert ((mean >= 1) == inside).all()
        np.testing.assert_allclose(width, np.sqrt(2 / 7))


@pytest.mark.parametrize("seed", [0, 1])
def test_eigenvalues_of_a_gaussian_matrix_lie_in_its_circle_and_reach_its_edge(seed):
    """One that is half as large as its law says does not reach the edge, one that is twice as large goes beyond."""
    N = 150
    J = 0.2 * np.eye(N) + np.random.default_rng(seed).normal(size=(N, N)) / np.sqrt(N)
    law = np.stack([np.full(N, 1.0), np.zeros(N)]), np.stack([np.full(N, 0.2), np.zeros(N)])
    right, small, large = (cloud(J, *law, gain=gain) for gain in (1.0, 2.0, 0.5))
    assert right.inside > 0.99 and abs(right.end) < 2
    assert small.inside == 1 and small.end < -4
    assert large.inside < 0.6 and large.end > 4


def test_few_units_that_weigh_much_make_a_wide_edge():
    """Of 100 units, 4 with all the weight count as 4."""
    weights = np.zeros((2, 100))
    weights[0, :4] = 1
    _, width = density(np.array([2.0]), weights, np.zeros((2, 100)), 1.0)
    np.testing.assert_allclose(width, np.sqrt(2 / 4))


# vanishing


@pytest.mark.parametrize("rho", [0.9, 1.1])
def test_the_gradient_of_a_linear_network_is_its_radius_to_the_power_of_the_lag(rho):
    """On inputs of zero a tanh network is linear, and rho times an orthogonal matrix scales every vector alike."""
    params = rnn.init(jax.random.key(0), 1, 8, recurrent=lambda *a: rho * orthogonal(*a))
    norms = fading(rnn, params, jnp.zeros((31, 1)), jax.random.key(1))
    np.testing.assert_allclose(norms, rho ** np.arange(31), rtol=1e-4)


# attention


def test_a_reversal_is_the_sentence_backwards():
    said = reversal(jax.random.key(0), jnp.array([3, 1, 4]), 4, 5)
    for b, n in enumerate((3, 1, 4)):
        words = said.source[:n, b].tolist()
        assert min(words) >= 4 and said.source[n:, b].tolist() == [PAD] * (4 - n)
        assert said.targets[:, b].tolist() == [*words[::-1], EOS, *[PAD] * (4 - n)]
        assert said.inputs[:, b].tolist() == [SOS, *said.targets[:-1, b].tolist()]


def test_without_attention_the_context_is_both_directions_last_state():
    values = jax.random.normal(jax.random.key(0), (4, 2, 6))  # [S, B, 2H]
    mask = jnp.arange(4)[:, None] < jnp.array([2, 4])
    memory = fixed.remember((), values, mask)
    _, (context, weights) = fixed.attend((), memory, (), jnp.zeros((2, 3)))
    for b, n in enumerate((2, 4)):
        np.testing.assert_array_equal(context[b], [*values[n - 1, b, :3], *values[0, b, 3:]])
    assert weights.shape == (2, 0) and additive.name != fixed.name


# gates-open


def test_statistics_of_gates_leave_padding_out():
    f = jnp.array([[[0.96, 0.04]], [[0.5, 0.92]], [[0.0, 0.0]]])
    mean, opened, closed, bins = statistics(f, jnp.array([[True], [True], [False]]))
    assert float(mean) == pytest.approx(np.mean([0.96, 0.04, 0.5, 0.92]))
    assert (float(opened), float(closed)) == (0.5, 0.25)
    assert np.flatnonzero(bins).tolist() == [0, 10, 18, 19] and float(bins.sum()) == 1


# parity


def min_gru_by_hand(cell) -> ModelParams:
    """One unit: written by ^, kept by 0 and, where eigenvalues may be negative, flipped by 1."""
    W = jnp.array([[-40.0, 0.0], [40.0, 0.0], [0.0, 2.0]], jnp.float32)  # z and n after 0, 1 and ^
    head = Affine(jnp.array([[0.0, 1.0]], jnp.float32), jnp.zeros(2, jnp.float32))
    return ModelParams(cell.init(jax.random.key(0), 3, 1)._replace(W=W, b=jnp.zeros(2, jnp.float32)), head)


def test_a_linear_cell_tells_parity_for_ever_with_a_negative_eigenvalue_and_not_without() -> None:
    cell = SIGNED["min_gru, negative"]
    assert float(right_at(cell, min_gru_by_hand(cell), 400, 200)) == 1
    assert abs(float(right_at(min_gru, min_gru_by_hand(min_gru), 400, 200)) - 0.5) < 0.02


@pytest.mark.parametrize("name", [*LINEAR, *SIGNED])
def test_the_eigenvalues_of_linear_cells_are_what_the_experiment_says(name) -> None:
    """Of the Jacobian of a step, over many random inputs."""
    cell = {**LINEAR, **SIGNED}[name]
    params = cell.init(jax.random.key(0), 3, 4)
    xs = 8 * jax.random.normal(jax.random.key(1), (40, 3))
    carry = cell.initial_carry(params)
    flat, back = jax.flatten_util.ravel_pytree(carry)
    jacobian = jax.jit(jax.jacobian(lambda a, x: jax.flatten_util.ravel_pytree(cell.step(params, back(a), x)[0])[0]))
    found = np.concatenate([np.linalg.eigvals(np.asarray(jacobian(flat, x))) for x in xs])
    assert np.abs(found.imag).max() < 1e-5 and found.real.max() <= 1 + 1e-5
    assert found.real.min() >= -1 - 1e-5 and (found.real.min() < -0.5) == (name in SIGNED)


# line attractor


def integrator(leak: float) -> Any:
    """A tanh network of two units: the first adds up a small share of the words' weights, the second forgets."""
    weights = 0.005 * jnp.asarray(problems.VALENCES, jnp.float32)
    params = rnn.init(jax.random.key(0), 7, 2)
    W = jnp.stack([weights, jnp.ones(7, jnp.float32)], axis=-1)
    return params._replace(W=W, U=jnp.diag(jnp.array([leak, 0.1], jnp.float32)), b=jnp.zeros_like(params.b))


def test_a_network_that_integrates_has_a_line_and_one_that_leaks_has_none() -> None:
    settings = LineSettings(length=20, rows=32)
    batch = problems.valence(20).draw(jax.random.key(0), 32)
    found, leaking = (line(rnn, integrator(leak), batch, settings) for leak in (1.0, 0.5))
    assert found.share > 0.99 and found.extent > 0.9 and found.one_slow == 1
    assert found.tracks > 0.99 and found.graded > 0.99
    assert found.slowest[0] > 20 > 2 > found.slowest[1] and found.number > 8  # texts of one sum are one point
    two = integrator(1.5)  # bistable: it settles at one of two points, by the words that come first
    found = line(rnn, two._replace(W=20 * two.W), batch, settings)
    assert found.number == 2 and found.extent > 0.5 and found.graded < 0.9
    assert leaking.extent < 0.2 and leaking.one_slow == 0 and leaking.tracks < 0.9


@pytest.mark.parametrize("text", ["[" * 100_000, "\xff", "{}", '{"blocks": 1}'])
def test_a_damaged_file_of_an_earlier_run_is_run_again(tmp_path, text):
    (tmp_path / "spectrum.json").write_bytes(text.encode("latin-1"))
    assert report.earlier(tmp_path / "spectrum.json", EXPERIMENTS["spectrum"].quick) == []
