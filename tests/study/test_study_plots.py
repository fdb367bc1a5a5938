"""Every figure draws the numbers it was given; labels in Chinese are set in a font that has them."""

import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

from jaxseq import InputError, fonts, plots, study
from jaxseq.cells import CELLS
from jaxseq.study import HalfLife, Keep, Saturation
from jaxseq.study.timelines import Ledger, LedgerErrors

T, H = 6, 4
RNG = np.random.default_rng(0)
HEAT = RNG.uniform(size=(T, H))


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_timelines_in_the_order_given() -> None:
    ax = study.plot_timelines({"f": HEAT, "g": -HEAT}, order=np.array([3, 1, 0, 2]))
    np.testing.assert_array_equal(ax.images[0].get_array(), HEAT[:, [3, 1, 0, 2]].T)
    assert ax.images[0].get_clim() == (0, 1) and ax.images[1].get_clim() == (-1, 1)


def test_one_retains_in_every_timeline_and_labels_say_what_a_gate_does() -> None:
    """Of a minimal gated unit 1 - f retains, and of a stack each layer's own gate."""
    keeps = [Keep("0.c", "0.f"), Keep("1.h", "1.z", inverted=True)]
    gates = {"0.f": HEAT, "1.z": HEAT, "1.n": HEAT, "1.f": HEAT}
    ax = study.plot_timelines(gates, keeps=keeps)
    for image, want in zip(ax.images, (HEAT, 1 - HEAT, HEAT, HEAT), strict=True):
        np.testing.assert_array_equal(image.get_array(), want.T)
    labels = ["0: f  forget (retain)", "1: 1 - z  update (retain)", "1: n  candidate", "1: f  forget"]
    assert [text.get_text() for text in ax.get_yticklabels()] == labels
    seen = study.plot_saturation({"1.z": Saturation(HEAT[0], HEAT[1])}, keeps=keeps).get_legend().get_texts()
    assert [text.get_text() for text in seen] == ["1: z  update (write)"]


@pytest.mark.parametrize(
    ("cell", "label", "word"),
    [("mgu", "f  (write)", "write"), ("lem", "r  (write)", "write"), ("lstm", "f  forget (retain)", None)],
)
def test_a_gate_is_named_by_what_it_was_found_to_do(cell, label, word) -> None:
    """An MGU's f overwrites and a LEM's r does not reset: their letters are those of other cells' gates."""
    cell = CELLS[cell]
    params = cell.init(jax.random.key(0), 3, 4, dtype=jnp.float32)
    xs = jnp.ones((3, 1, 3), jnp.float32)
    keeps = study.keeps_in(cell, params, xs)
    shown = study.plot_saturation({keeps[0].gate: Saturation(HEAT[0], HEAT[1])}, keeps=keeps).get_legend().get_texts()
    assert [text.get_text() for text in shown] == [label]
    page = study.collect([study.Part("one", cell, params, xs)], title="one", briefly=True).parts[0]
    assert page.words_of.get(keeps[0].gate) == word


def test_what_goes_beyond_one_is_squashed_and_says_so() -> None:
    ax = study.plot_timelines({"s": 3 * HEAT, "p": HEAT - 0.5, "f": HEAT})
    np.testing.assert_allclose(ax.images[0].get_array(), np.tanh(3 * HEAT).T)
    assert [image.get_clim() for image in ax.images] == [(0, 1), (-1, 1), (0, 1)]
    assert ax.get_yticklabels()[0].get_text() == "s, its tanh"


def test_half_lives_with_censored_units_apart() -> None:
    life = HalfLife(HEAT[0], np.array([3.0, np.inf, 9.0, 1.0]), np.array([False, True, False, False]))
    ax = study.plot_half_lives(life, longest=20)
    seen, censored = ax.lines
    assert seen.get_ydata().tolist() == [9, 3, 1] and censored.get_ydata().tolist() == [20]
    assert "longer than the 20 steps" in ax.get_legend().get_texts()[1].get_text()
    with pytest.raises(InputError, match="give longest"):
        study.plot_half_lives(life)


def test_the_ledger_stacks_to_the_new_state() -> None:
    kept, written = RNG.uniform(-1, 1, (2, T, 1, H))
    account = Ledger(kept, written, kept + written, np.tanh(kept + written), kept, LedgerErrors(0.0, 0.0))
    ax = study.plot_ledger(account, unit=2)
    bars = [bar.get_height() for bar in ax.patches]
    np.testing.assert_allclose(bars, [*kept[:, 0, 2], *written[:, 0, 2]])
    k, w = kept[:, 0, 2], written[:, 0, 2]
    assert ((k * w > 0).any(), (k * w < 0).any()) == (True, True)
    np.testing.assert_allclose([bar.get_y() for bar in ax.patches], [*(0 * k), *np.where(k * w > 0, k, 0)])
    np.testing.assert_allclose(ax.lines[0].get_ydata(), (kept + written)[:, 0, 2])


def test_saturation_leaves_out_what_is_no_gate() -> None:
    ax = study.plot_saturation({"f": Saturation(HEAT[0], HEAT[1]), "g": None})
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), HEAT[0])
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), HEAT[1])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["f  forget (retain)"]


def test_histograms_are_shares_of_each_unit() -> None:
    ax = study.plot_histogram(np.array([[1, 0], [3, 2]]), order=[1, 0])
    np.testing.assert_allclose(ax.images[0].get_array(), [[0, 1], [0.25, 0.75]])


def test_gradients_on_a_logarithmic_scale() -> None:
    ax = study.plot_flow({"dL/dc": np.array([1e-9, 0.0, 1.0])})
    assert ax.get_yscale() == "log" and np.isnan(ax.lines[0].get_ydata()[1])
    image = study.plot_triangle(np.array([[1.0, 0.0], [0.01, 1.0]])).images[0].get_array()
    np.testing.assert_allclose(np.ma.filled(image, np.nan), [[0, np.nan], [-2, 0]])


def test_eigenvalues_on_the_unit_circle() -> None:
    values = np.array([[0.5 + 0.5j, 0.1], [-1j, 1.0]])
    ax = study.plot_eigenvalues(values, radius=0.8)
    np.testing.assert_allclose(ax.lines[-1].get_xdata() + 1j * ax.lines[-1].get_ydata(), values.ravel())
    np.testing.assert_allclose(np.hypot(*ax.lines[1].get_data()), 0.8)


def test_an_atlas_is_centred_at_no_effect() -> None:
    ax = study.plot_atlas(np.array([[0.1, -0.4], [0.2, 0.0]]), ["f = 0", "f = 1"], order=[1, 0])
    assert ax.images[0].get_clim() == (-0.4, 0.4)
    np.testing.assert_allclose(ax.images[0].get_array(), [[-0.4, 0.1], [0.0, 0.2]])
    with pytest.raises(InputError, match="for each of 1 names"):
        study.plot_atlas(np.zeros((2, 3)), ["f = 0"])


def test_the_others_draw_what_they_get() -> None:
    np.testing.assert_array_equal(
        study.plot_survival(HEAT, order=[1, 0, 2, 3]).images[0].get_array(), HEAT[:, [1, 0, 2, 3]].T
    )
    np.testing.assert_array_equal(study.plot_attention(HEAT, list("abcd"), list("uvwxyz")).images[0].get_array(), HEAT)
    ax = study.plot_pinned({"unit 3": HEAT[:, 3]}, ghosts={"unit 3": HEAT[:, 2]})
    np.testing.assert_array_equal([line.get_ydata() for line in ax.lines], HEAT.T[[3, 2]])
    ax = study.plot_attention_summary(HEAT[:, 0], HEAT[0])
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), HEAT[:, 0])
    ax = study.plot_replay([0, 1, 10], {"f": np.array([[0.1, 0.2, 0.3], [0.5, 0.5, 0.5], [0.9, 0.7, 0.8]])})
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0.2, 0.5, 0.8])
    ax = study.plot_comparison({"lstm": ([0, 1], [1.0, 0.1]), "rnn": ([0, 1], [1.0, 0.9])})
    assert ax.get_yscale() == "log" and len(ax.lines) == 2


def test_it_draws_into_the_axes_given_and_saves(tmp_path) -> None:
    ax = plt.subplots()[1]
    assert study.plot_survival(HEAT, ax) is ax
    plots.save(ax, tmp_path / "left.pdf")
    assert (tmp_path / "left.pdf").read_bytes()[:4] == b"%PDF"


@pytest.mark.skipif(not fonts.chinese_fonts(), reason="no font with Chinese characters is installed")
def test_chinese_labels_have_glyphs(tmp_path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a missing glyph is a warning
        plots.save(study.plot_flow({"遗忘门的梯度": HEAT[:, 0]}), tmp_path / "a.png")
        plots.save(
            study.plot_atlas(HEAT, ["关", "开", "均值", "遗忘", "输入", "输出"], label="损失"), tmp_path / "b.png"
        )


def test_importing_the_study_does_not_load_matplotlib() -> None:
    code = "import sys, jaxseq.study; print('matplotlib' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
