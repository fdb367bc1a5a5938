"""What each experiment makes of what it measures: with trainings made up, a claim that holds and one that does not."""

import importlib
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

from jaxseq import problems
from jaxseq.cells import lstm, rnn
from jaxseq.experiments import EXPERIMENTS, training
from jaxseq.experiments._attention import Settings as AttentionSettings
from jaxseq.experiments._gates_open import GatesOverTraining
from jaxseq.experiments.base import INCONCLUSIVE, NOT_REPRODUCED, REPRODUCED
from jaxseq.problems import anbn, init_params

pytestmark = pytest.mark.usefixtures("as_users_have_it")

SEEDS, STEPS = 5, 20


def module_of(name):
    return importlib.import_module(f"jaxseq.experiments._{name.replace('-', '_')}")


def judged(name, monkeypatch, loss_of):
    """Run an experiment whose trainings come to ``loss_of(cell, problem, init)`` times what knowing nothing costs."""

    def learn(cell, problem, budget, *, init=None, rate=None):
        level = loss_of(cell, problem, init) * problem.baseline
        losses = np.full((SEEDS, STEPS), level) * (1 + 0.01 * np.arange(SEEDS)[:, None])
        return SimpleNamespace(losses=losses, rate=1e-3, params=None)

    monkeypatch.setattr(module_of(name), "learn", learn)
    if name == "memory":  # sizes that no fake training looks at
        monkeypatch.setattr(module_of(name), "count_params", lambda *_: 1)
        monkeypatch.setattr(module_of(name), "matched_hidden", lambda *_: 1)
    return found_of(name)


def found_of(name, **options):
    one = EXPERIMENTS[name]
    found = one.run(one.quick._replace(**options))
    assert len({(row.what, row.claimed) for row in found.rows}) == len(found.rows)
    for row in found.rows:
        assert len(row.values) == SEEDS and len(row.margins) == (SEEDS if row.claimed else 0), row
    figure = Figure(layout="constrained")
    found.draw(figure)
    figure.draw_without_rendering()
    return found


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    monkeypatch.setattr(training, "WORKERS", 1)  # in this thread, where jax is set as users have it


@pytest.mark.parametrize(
    ("tanh_fails_from", "want"),
    [(20, REPRODUCED), (1000, INCONCLUSIVE), (0, INCONCLUSIVE)],  # at long lags; never; at the shortest already
)
def test_memory(monkeypatch, tanh_fails_from, want):
    def loss(cell, problem, init):
        return 0.5 if cell is rnn and problem.length >= tanh_fails_from else 0.01

    found = judged("memory", monkeypatch, loss)
    assert found.verdict == want


def test_a_gated_cell_that_learns_nothing_at_the_shortest_length_had_too_few_steps(monkeypatch):
    found = judged("memory", monkeypatch, lambda c, problem, _: 0.9 if c is lstm else 0.01)
    assert {row.verdict for row in found.rows if "of the lstm" in row.what} == {INCONCLUSIVE}


@pytest.mark.parametrize(("better", "worse", "want"), [
    (0.1, 0.5, REPRODUCED), (0.5, 0.1, NOT_REPRODUCED), (0.97, 0.99, INCONCLUSIVE),
])  # fmt: skip
def test_chrono_and_forget_bias(monkeypatch, better, worse, want):
    """The last: neither has learnt anything, and the small difference between them tells nothing."""
    for name in ("chrono", "forget-bias"):
        starts = SimpleNamespace(**{**vars(problems), "retaining": lambda cell, bias=None, longest=None: bias})
        monkeypatch.setattr(module_of(name), "problems", starts)
    monkeypatch.setattr(
        module_of("chrono"), "forgetting_times", lambda key, hidden, longest: jnp.linspace(2, longest, 9)
    )
    chrono = judged("chrono", monkeypatch, lambda c, t, init: better if init is None else worse)
    assert [row.verdict for row in chrono.rows if row.claimed] == [REPRODUCED, want, want]
    bias = judged("forget-bias", monkeypatch, lambda c, t, init: better if init > 0 else worse)
    assert bias.verdict == want


@pytest.mark.parametrize(
    ("losses", "want"),
    [
        ({"lstm_nfg": 0.6, "lstm_noaf": 0.5, "lstm_nig": 0.4}, [REPRODUCED] * 4),
        ({"lstm_nfg": 0.6, "lstm_noaf": 0.3, "lstm_nig": 0.4}, [REPRODUCED, REPRODUCED, REPRODUCED, NOT_REPRODUCED]),
        ({"lstm_peephole": 0.95, "lstm_nfg": 1.0}, [INCONCLUSIVE] * 4),
    ],
)
def test_ablation(monkeypatch, losses, want):
    found = judged("ablation", monkeypatch, lambda c, problem, _: losses.get(c.name, 0.2))
    verdicts = [row.verdict for row in found.rows if row.claimed]
    assert verdicts == want * 2


def test_counting(monkeypatch):
    """Untrained networks reach nothing further than each other."""

    keys = jax.vmap(jax.random.key)(jnp.arange(SEEDS))
    models = jax.jit(jax.vmap(lambda key: init_params(key, lstm, anbn(3), 3)))(keys)
    module = module_of("counting")
    monkeypatch.setattr(
        module, "learn", lambda *_, **__: SimpleNamespace(params=models, losses=np.ones((SEEDS, STEPS)))
    )
    monkeypatch.setattr(module, "CELLS", dict.fromkeys(("lstm", "gru", "rnn", "irnn"), (lstm, None)))
    monkeypatch.setattr(module, "reach", lambda cell, model, largest, letters: jnp.zeros((), jnp.int32))
    found = found_of("counting", largest=3, hidden=3)
    by_claim = {row.claimed: row.verdict for row in found.rows}
    assert by_claim["above 3"] == NOT_REPRODUCED and by_claim["above that of the gru"] == INCONCLUSIVE


@pytest.mark.parametrize(("with_it", "without", "want"), [
    ((1.0, 1.0, 0.9, 0.6), (1.0, 0.9, 0.5, 0.2), REPRODUCED),
    ((1.0, 0.8, 0.4, 0.1), (1.0, 0.9, 0.5, 0.2), NOT_REPRODUCED),
])  # fmt: skip
def test_attention(monkeypatch, with_it, without, want):
    module, settings = module_of("attention"), AttentionSettings(longest=4)
    nothing = SimpleNamespace(init=lambda key, *_, **__: jnp.zeros(1))
    models = {"with attention": nothing, "without": SimpleNamespace(**vars(nothing))}
    lengths = (1, 2, 4, 8)

    def tested(model, params, key, length, settings):
        share = (with_it if model is nothing else without)[lengths.index(length)]
        return jnp.float32(share), jnp.float32(0.99), jnp.eye(length)

    monkeypatch.setattr(module, "MODELS", models)
    monkeypatch.setattr(module, "loss_of", lambda model, settings: None)
    monkeypatch.setattr(module, "fit", lambda starts, keys, loss, **options: SimpleNamespace(params=starts))
    monkeypatch.setattr(module, "tested", tested)
    found = found_of("attention", **settings._asdict())
    assert [row.verdict for row in found.rows if row.claimed] == [want] * 3 + [REPRODUCED]


def test_gates_open(monkeypatch):
    module = module_of("gates-open")

    def replay(opened):
        rising = np.linspace(0.5, 0.8, 3) + 0.01 * np.arange(SEEDS)[:, None]
        shares = np.broadcast_to(opened, (SEEDS, 3))
        return GatesOverTraining((0, 1, 10), rising, shares, np.full((SEEDS, 3), 0.05), np.full((SEEDS, 3, 20), 0.05))

    monkeypatch.setattr(module, "of_translator", lambda settings: replay([0.1, 0.2, 0.4]))
    monkeypatch.setattr(module, "of_series", lambda settings: replay([0.1, 0.05, 0.01]))
    found = found_of("gates-open")
    verdicts = [row.verdict for row in found.rows if row.claimed]
    assert verdicts == [REPRODUCED] * 4 + [NOT_REPRODUCED] * 2
