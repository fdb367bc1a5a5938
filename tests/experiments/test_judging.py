"""What each experiment makes of what it measures: with trainings made up, a claim that holds and one that does not."""

import importlib
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

from jaxseq import problems
from jaxseq.cells import gru, lstm, rnn
from jaxseq.experiments import EXPERIMENTS, training
from jaxseq.experiments._attention import Settings as AttentionSettings
from jaxseq.experiments._gates_open import GatesOverTraining
from jaxseq.experiments.base import (
    HOLDS,
    INCONCLUSIVE,
    NOT_AT_THIS_SCALE,
    NOT_REPRODUCED,
    REPRODUCED,
    verdicts,
)
from jaxseq.experiments.training import final
from jaxseq.problems import RETAINING, anbn, init_params, retaining

pytestmark = pytest.mark.usefixtures("as_users_have_it")

SEEDS, STEPS = 10, 20


def module_of(name):
    return importlib.import_module(f"jaxseq.experiments._{name.replace('-', '_')}")


def judged(name, monkeypatch, loss_of):
    """Run an experiment whose trainings come to ``loss_of(cell, problem, init)`` times what knowing nothing costs."""

    def learn(cell, problem, budget, *, init=None, rate=None):
        level = loss_of(cell, problem, init) * problem.baseline
        losses = np.full((SEEDS, STEPS), level) * (1 + 0.01 * np.arange(SEEDS)[:, None])
        return SimpleNamespace(losses=losses, rate=1e-3, params=None)

    monkeypatch.setattr(module_of(name), "learn", learn)
    if name == "ablation":  # held-out streams are as hard as training
        monkeypatch.setattr(module_of(name), "held_out", lambda cell, learnt, *_: np.stack([final(learnt.losses)] * 2))
    if name == "memory":  # sizes that no fake training looks at
        monkeypatch.setattr(module_of(name), "count_params", lambda *_: 1)
        monkeypatch.setattr(module_of(name), "matched_hidden", lambda *_: 1)
    return found_of(name)


def verdicts_of(found, which=lambda row: row.claimed):
    """Return the verdicts on some of the parts, all that are judged by default."""
    return [verdict for row, verdict in zip(found.rows, verdicts(found.rows), strict=True) if which(row)]


def found_of(name, **options):
    one = EXPERIMENTS[name]
    found = one.run(one.quick._replace(**{"seeds": SEEDS, **options}))
    assert len({(row.what, row.claimed) for row in found.rows}) == len(found.rows)
    for row in found.rows:
        assert row.kind == "check" or len(row.values) == SEEDS, row
        assert row.kind == "check" or len(row.margins) == (SEEDS if row.claimed else 0), row
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
    assert {*verdicts_of(found, lambda row: "of the lstm" in row.what)} == {INCONCLUSIVE}


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
    assert verdicts_of(chrono) == [HOLDS, want, want]
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
    assert verdicts_of(found) == want * 2


@pytest.mark.parametrize(("lstm_reaches", "want"), [(64, REPRODUCED), (0, NOT_REPRODUCED), (8, INCONCLUSIVE)])
def test_counting(monkeypatch, lstm_reaches, want):
    """The others reach 8, the LSTM far more, nothing, or as far; all networks are the untrained ones."""
    module = module_of("counting")
    keys = training.seeded(SEEDS)

    def learn(cell, *_, **__):
        models = jax.vmap(lambda key: init_params(key, cell, anbn(3), 3, retaining(cell, bias=5.0)))(keys)
        return SimpleNamespace(params=models, losses=np.ones((SEEDS, STEPS)))

    def reach(cell, model, largest, letters):
        return jnp.full((), lstm_reaches if cell is lstm else 8, jnp.int32)

    monkeypatch.setattr(module, "learn", learn)
    others = {name: (gru.replace(name=name), None) for name in ("rnn", "irnn")}
    monkeypatch.setattr(module, "CELLS", {"lstm": (lstm, None), "gru": (gru, None)} | others)
    monkeypatch.setitem(RETAINING, others["rnn"][0], RETAINING[gru])
    monkeypatch.setitem(RETAINING, others["irnn"][0], RETAINING[gru])
    monkeypatch.setattr(module, "reach", reach)
    found = found_of("counting", largest=3, hidden=3)
    assert verdicts_of(found, lambda row: row.kind == "order" and " of the " in row.claimed) == [want] * 2
    beyond_3 = verdicts_of(found, lambda row: row.claimed == "above 3")
    assert beyond_3 == [NOT_REPRODUCED if lstm_reaches == 0 else REPRODUCED]
    assert verdicts_of(found, lambda row: "untrained" in row.claimed) == [INCONCLUSIVE]  # they are alike


@pytest.mark.parametrize(("with_it", "without", "want"), [
    ((1.0, 1.0, 0.9, 0.6), (1.0, 0.9, 0.5, 0.2), REPRODUCED),
    ((1.0, 0.8, 0.4, 0.1), (1.0, 0.9, 0.5, 0.2), NOT_REPRODUCED),
])  # fmt: skip
def test_attention(monkeypatch, with_it, without, want):
    module, settings = module_of("attention"), AttentionSettings(longest=4, seeds=SEEDS)
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
    assert verdicts_of(found) == [want] * 3 + [REPRODUCED]


def test_gates_open(monkeypatch):
    """Of the translator gates open; of the series they spread to both sides, and close from a start at 0.9."""
    module = module_of("gates-open")

    def replay(mean, opened, closed):
        means, opens, closes = (np.broadcast_to(one, (SEEDS, 3)) for one in (mean, opened, closed))
        means = means + 0.01 * np.arange(SEEDS)[:, None]
        return GatesOverTraining((0, 1, 10), means, opens, closes, np.full((SEEDS, 3, 20), 0.05))

    def translator(settings, bias):
        return replay([0.5, 0.6, 0.7], [0.0, 0.1, 0.2] if bias == 0 else [0.5, 0.6, 0.7], 0.05)

    def series(settings, bias):
        return replay([0.5, 0.5, 0.5], [0.0, 0.1, 0.2] if bias == 0 else [0.5, 0.4, 0.3], 0.2)

    monkeypatch.setattr(module, "of_translator", translator)
    monkeypatch.setattr(module, "of_series", series)
    found = found_of("gates-open")
    assert verdicts_of(found) == [REPRODUCED] * 3 + [INCONCLUSIVE, INCONCLUSIVE, NOT_REPRODUCED]
    assert EXPERIMENTS["gates-open"].verdict(found) == NOT_AT_THIS_SCALE


@pytest.mark.parametrize(("linear", "want"), [(0.51, REPRODUCED), (0.97, NOT_REPRODUCED)])
def test_parity(monkeypatch, linear, want):
    module = module_of("parity")
    nothing = SimpleNamespace(params=jnp.arange(SEEDS) / 1000, losses=np.ones((SEEDS, STEPS)))

    def right_at(cell, params, length, start):
        return params + (linear if cell in module.LINEAR.values() else 0.95)

    monkeypatch.setattr(module, "learn", lambda *_, **__: nothing)
    monkeypatch.setattr(module, "right_at", right_at)
    assert verdicts_of(found_of("parity")) == [want] * 2 + [REPRODUCED, want] * 2 + [REPRODUCED] * 2


def test_line_attractor_of_networks_that_have_learnt_nothing_tells_nothing(monkeypatch):
    module = module_of("line-attractor")

    def learn(cell, problem, settings, **_):
        fresh = module.untrained(cell, problem, settings)
        return SimpleNamespace(params=fresh, losses=np.full((SEEDS, STEPS), 0.99 * problem.baseline))

    monkeypatch.setattr(module, "learn", learn)
    found = found_of("line-attractor", hidden=3, length=4, rows=3)
    assert {*verdicts_of(found)} == {INCONCLUSIVE}


@pytest.mark.parametrize(
    ("wrong", "agreement", "want"),
    [
        ((), 0.999, [REPRODUCED, REPRODUCED]),
        ((1, 2, 3, 4), 0.999, [NOT_REPRODUCED, REPRODUCED]),  # 3 of 7 are exact
        ((6,), 0.95, [REPRODUCED, NOT_REPRODUCED]),
    ],
)
def test_automata(monkeypatch, wrong, agreement, want):
    """Of the languages in `wrong` the automaton of another one is extracted."""
    module = module_of("automata")
    numbers = {problems.tomita(grammar, 4).name: grammar for grammar in problems.TOMITA}

    def learn(cell, problem, *_, **__):
        seeds = np.arange(SEEDS)
        return SimpleNamespace(params=numbers[problem.name] + seeds / 100, losses=np.ones((SEEDS, STEPS)))

    def extracted(model, length):
        grammar, seed = int(model), round(float(model) % 1 * 100)
        agree = np.full(4 * length + 1, agreement - 0.001 * seed / SEEDS)
        agree[: 2 * length] = 0.5  # at the lengths of training: not looked at
        return SimpleNamespace(
            automaton=problems.TOMITA[grammar % 7 + 1 if grammar in wrong else grammar], agreement=agree
        )

    monkeypatch.setattr(module, "learn", learn)
    monkeypatch.setattr(module, "extracted", extracted)
    monkeypatch.setattr(module, "accuracy", lambda *_: 1.0)
    monkeypatch.setattr(module, "network", lambda *_: None)
    found = found_of("automata", length=4)
    assert verdicts_of(found) == want
    exact = {row.what[7]: sum(row.values) for row in found.rows if row.what.endswith("exactly, 1 or 0")}
    assert exact == {str(grammar): 0 if grammar in wrong else SEEDS for grammar in problems.TOMITA}


@pytest.mark.parametrize(
    ("changes", "want"),
    [
        ({}, [REPRODUCED] * 5),
        ({"extent": 0.1, "one_slow": 0.2}, [REPRODUCED, NOT_REPRODUCED, REPRODUCED, NOT_REPRODUCED, REPRODUCED]),
        ({"share": 0.6, "graded": 0.8, "tracks": 0.4}, [NOT_REPRODUCED] + [REPRODUCED, NOT_REPRODUCED] * 2),
        ({"number": 2}, [INCONCLUSIVE] * 5),  # two points are always on a line
    ],
)
def test_line_attractor(changes, want):
    """A line; a point; two points off a line of states that do not integrate; too few points to tell."""
    module = module_of("line-attractor")
    spread = 0.001 * np.arange(SEEDS)
    told = {"share": 0.95, "extent": 0.8, "graded": 0.95, "one_slow": 0.9, "tracks": 0.95} | changes
    found = {name: value + spread for name, value in told.items() if name != "number"}
    one = module.Line(
        points=None, states=None, slowest=np.ones((SEEDS, 2)), number=np.full(SEEDS, told.get("number", 9)), **found
    )
    fresh = one._replace(tracks=0.5 + 5 * spread)
    problem = problems.valence(4)
    learnt = SimpleNamespace(losses=np.full((SEEDS, STEPS), 0.1 * problem.baseline))
    rows = module.rows_of("gru", learnt, one, fresh, problem, module.Settings(length=4))
    assert [verdict for verdict in verdicts(rows) if verdict] == want


def test_the_tanh_network_that_is_shown_alone_is_not_trained_in_a_quick_run(monkeypatch):
    def loss(cell, problem, init):
        trained.append((cell, init))
        return 0.01

    trained: list = []
    quick = judged("memory", monkeypatch, loss)
    assert not any("orthogonal" in row.what for row in quick.rows) and (rnn, None) not in trained
    full = found_of("memory", orthogonal=True)
    assert sum("orthogonal" in row.what for row in full.rows) == 2 and trained.count((rnn, None)) == 4
