"""The figures draw the numbers that the functions return."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from jaxseq import InputError, plots, study
from jaxseq.problems import TOMITA
from jaxseq.study import Contexts, Extraction, Neighbours, Patching, Places, Probe, Scores

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_patching_is_drawn_units_below_one_another() -> None:
    effects = {"c": RNG.normal(size=(3, 2)), "f": RNG.normal(size=(3, 4, 5))}
    found = Patching(np.array([1, 4, 6]), effects, np.float64(0.5), np.float64(2.5), {})
    ax = study.plot_patching(found)
    want = np.concatenate([effects["c"].T, effects["f"].mean(-1).T])
    np.testing.assert_allclose(ax.images[0].get_array(), want)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["c", "f"] and ax.get_yticks().tolist() == [0.5, 3.5]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["1", "4", "6"]
    np.testing.assert_allclose(study.plot_patching(found, shares=True).images[0].get_array(), want / 2)
    with pytest.raises(InputError, match="no effect to draw"):
        study.plot_patching(found._replace(effects={}))


def test_a_probe_is_drawn_with_its_null_and_scores() -> None:
    sizes, null = RNG.uniform(-1, 1, (5, 1)), RNG.uniform(-1, 1, (2, 5, 1))
    controls = Scores(np.zeros(2), np.array([0.1, 0.3]), None)
    found = Probe(
        {("h", n): None for n in range(5)}, sizes, np.zeros(1), Scores(1.0, 0.75, None), controls, controls,
        np.float64(0), sizes, null,
    )  # fmt: skip
    ax = study.plot_probe(found)
    np.testing.assert_allclose(ax.lines[-1].get_ydata(), np.sort(np.abs(sizes[:, 0]))[::-1])
    np.testing.assert_allclose(ax.lines[0].get_ydata(), np.sort(np.abs(null[0, :, 0]))[::-1])
    assert "held out 0.75; untrained 0.20" in ax.get_title()
    assert ax.texts[0].get_text() == f"h {np.abs(sizes[:, 0]).argmax()}"


def test_contexts_and_neighbours() -> None:
    windows = RNG.normal(size=(2, 3, 4))
    rows = np.array([[0, 1, 2], [1, 2, -1]])
    places = Places(rows, rows, windows[..., 2], windows)
    ax = study.plot_contexts(Contexts(places, places), unit=1)
    np.testing.assert_allclose(ax.images[0].get_array(), windows[1, :2])
    assert [text.get_text() for text in ax.get_yticklabels()] == ["row 1, step 1", "row 2, step 2"]
    ax = study.plot_neighbours(Neighbours(rows, rows, windows[0]))
    np.testing.assert_allclose([line.get_ydata() for line in ax.lines], windows[0])


@pytest.mark.parametrize("grammar", [1, 5, 7])
def test_an_automaton_has_every_state_arrow_and_symbol(grammar: int, tmp_path) -> None:
    automaton = TOMITA[grammar]
    ax = study.plot_automaton(automaton)
    Q, arrows = len(automaton.accepting), automaton.arrows()
    assert len(ax.patches) == Q + automaton.accepting.sum() + 1 + len(arrows)
    texts = [text.get_text() for text in ax.texts]
    assert sorted(texts) == sorted([*map(str, range(Q)), *arrows.values()])
    places = np.array([text.get_position() for text in ax.texts])
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1) + 9 * np.eye(len(places))
    assert apart.min() > 0.1  # no label on another
    found = Extraction(automaton, ((),), True, 0.0, np.array([1.0, 0.5]), np.zeros((1, 1)), np.zeros(1, int), 1.0)
    drawn = study.plot_automaton(found, plt.subplots()[1])
    plots.save(drawn, tmp_path / "a.png")
    assert drawn.get_title() == f"{Q} states; agrees on 75.0% of words"
