"""Every figure draws the numbers it was given; labels in Chinese are set in a font that has them."""

import re
import subprocess
import sys
import warnings
from importlib import resources

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

from jaxseq import InputError, fonts, plots, study
from jaxseq.cells import CELLS, lstm
from jaxseq.colours import INKS, colour_map, colour_maps
from jaxseq.study import HalfLife, Saturation
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


def test_gates_are_drawn_as_they_are_and_labels_say_what_they_do() -> None:
    """Of a stack each layer's own gate; drawn as they are, as on the page and in the terminal."""
    roles = {"0.f": "retain", "1.z": "overwrite", "1.n": "candidate"}
    gates = {"0.f": HEAT, "1.z": HEAT, "1.n": HEAT, "1.f": HEAT}
    ax = study.plot_timelines(gates, roles=roles)
    for image, want in zip(ax.images, (HEAT, HEAT, HEAT, HEAT), strict=True):
        np.testing.assert_array_equal(image.get_array(), want.T)
    labels = ["layer 1: f  retain", "layer 2: z  overwrite", "layer 2: n  candidate", "layer 2: f"]
    assert [text.get_text() for text in ax.get_yticklabels()] == labels
    seen = study.plot_saturation({"1.z": Saturation(HEAT[0], HEAT[1])}, roles=roles).get_legend().get_texts()
    assert [text.get_text() for text in seen] == ["layer 2: z  overwrite"]


def test_some_units_are_drawn_with_their_numbers() -> None:
    """As a zoom into many: three of four, in an order; on the axis are the units' own numbers."""
    order = [3, 0, 2]
    ax = study.plot_timelines({"f": HEAT, "g": -HEAT}, order=order)
    np.testing.assert_array_equal(ax.images[0].get_array(), HEAT[:, order].T)
    (side,) = ax.child_axes
    assert [text.get_text() for text in side.get_yticklabels()] == ["3", "0", "2"] * 2
    np.testing.assert_allclose(np.diff(side.get_yticks()[:3]), 0.92 / 3)
    for ax in (study.plot_survival(HEAT, order=order), study.plot_histogram(HEAT, order=order)):
        assert [ax.yaxis.get_major_formatter()(place, None) for place in (0, 1, 2, 3)] == ["3", "0", "2", ""]
    ax = study.plot_atlas(HEAT, [f"row {n}" for n in range(T)], order=order)
    assert [ax.xaxis.get_major_formatter()(place, None) for place in (0, 1, 2)] == ["3", "0", "2"]
    with pytest.raises(InputError, match="each at most once"):
        study.plot_timelines({"f": HEAT}, order=[1, 1])


def test_the_page_names_a_gate_as_figures_do() -> None:
    """An MGU's f overwrites: its letter is that of an LSTM's gate that retains."""
    cell = CELLS["mgu"]
    params, xs = cell.init(jax.random.key(0), 3, 4, dtype=jnp.float32), jnp.ones((3, 1, 3), jnp.float32)
    page = study.collect([study.Part("one", cell, params, xs)], title="one", briefly=True).parts[0]
    assert page.roles == study.roles_of(cell) == {"f": "overwrite", "n": "candidate"}


def test_what_goes_beyond_one_is_squashed_and_says_so() -> None:
    ax = study.plot_timelines({"s": 3 * HEAT, "p": HEAT - 0.5, "f": HEAT})
    np.testing.assert_allclose(ax.images[0].get_array(), np.tanh(3 * HEAT).T)
    assert [image.get_clim() for image in ax.images] == [(0, 1), (-1, 1), (0, 1)]
    assert ax.get_yticklabels()[0].get_text() == "s, its tanh"


def test_half_lives_with_censored_units_apart() -> None:
    steps, censored = np.array([3.0, np.inf, 9.0, 0.0, np.nan]), np.array([False, True, False, False, False])
    ax = study.plot_half_lives(HalfLife(HEAT[0], steps, censored, np.array(20), np.array(55), np.array(3)))
    seen, above = ax.lines
    np.testing.assert_array_equal(seen.get_ydata(), [9, 3, np.nan, np.nan])
    assert above.get_ydata().tolist() == [20] and "over 55 steps" in ax.get_xlabel()
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["half-life (1 zeros, 1 undefined not drawn)", "longer than the 20 steps seen"]


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
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["f"]


def test_histograms_are_shares_of_each_unit() -> None:
    ax = study.plot_histogram(np.array([[1, 0], [3, 2]]), order=[1, 0])
    np.testing.assert_allclose(ax.images[0].get_array(), [[0, 1], [0.25, 0.75]])


def test_gradients_on_a_logarithmic_scale() -> None:
    ax = study.plot_flow({"dL/dc": np.array([1e-9, 0.0, 1.0])})
    assert ax.get_yscale() == "log" and np.isnan(ax.lines[0].get_ydata()[1])
    assert ax.get_legend().get_texts()[0].get_text() == "dL/dc (1 zeros not drawn)"
    ax = study.plot_triangle(np.array([[1.0, 0.0], [0.01, 1.0]]))
    np.testing.assert_allclose(np.ma.filled(ax.images[0].get_array(), np.nan), [[0, np.nan], [-2, 0]])
    assert "cut" not in ax.figure.axes[1].get_ylabel()


def test_a_figure_of_sizes_says_where_it_is_cut() -> None:
    ax = study.plot_triangle({"h": np.array([[1e3, 0.0], [1e-20, 1.0]])[..., None]}, steps=[3, 9])
    assert ax.images[0].get_clim() == (-5, 3) and ax.images[0].colorbar.extend == "min"
    assert ax.images[0].colorbar.ax.get_ylabel() == "log10 of the norm of dL/dh, cut 8 below the largest"
    assert [text.get_text() for text in ax.get_yticklabels()] == ["3", "9"]


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.02, 3.0], ["0.02", "0.05", "0.1", "0.2", "0.5", "1", "2"]),
        ([1e-9, 1e3], ["10⁻⁹", "10⁻⁷", "10⁻⁵", "10⁻³", "0.1", "10", "1000"]),
    ],
)
def test_all_logarithmic_axes_have_one_style(values, ticks) -> None:
    shown = []
    life = HalfLife(np.array(values), np.array(values), np.zeros(2, bool), np.array(9), np.array(9), np.array(1))
    for ax in (
        study.plot_flow({"a": values}),
        study.plot_comparison({"a": ([0, 1], values)}),
        study.plot_half_lives(life),
        plots.loss_curve([0, 1], values),
    ):
        ax.figure.canvas.draw()
        low, high = ax.get_ylim()
        inside = [t for t, at in zip(ax.get_yticklabels(), ax.get_yticks(), strict=True) if low <= at <= high]
        shown.append([text.get_text() for text in inside])
    assert shown == [ticks] * 4


def test_what_is_undefined_is_hatched_counted_and_no_limit() -> None:
    effects = np.array([[0.1, -0.4, np.nan], [np.inf, 0.0, 0.2]])
    ax = study.plot_atlas(effects, ["i = 0", "i = 1"])
    image = ax.images[0]
    assert image.get_clim() == (-0.4, 0.4) and ax.patch.get_hatch()
    np.testing.assert_array_equal(np.ma.getmaskarray(image.get_array()), ~np.isfinite(effects))
    assert image.colorbar.ax.get_ylabel() == "change of loss (hatched: undefined, 2 of 6)"
    assert not study.plot_atlas(np.nan_to_num(effects, posinf=1), ["i = 0", "i = 1"]).patch.get_hatch()


def test_the_palette_is_the_pages() -> None:
    css = resources.files("jaxseq.study").joinpath("page", "page.css").read_text("utf-8")
    light = dict(re.findall(r"--(one|two|three|four|five): (#[0-9a-f]{6})", css)[:5])
    assert tuple(light.values()) == INKS
    for kind, colours in colour_maps().items():
        map_ = colour_map(kind)(np.linspace(0, 1, len(colours)))[:, :3]
        want = [[int(c[n : n + 2], 16) / 255 for n in (1, 3, 5)] for c in colours]
        np.testing.assert_allclose(map_, want, atol=0.02)


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


def everything_drawn():
    """Each figure with what its function returned, of two sequences, with how to draw it."""
    params = lstm.init(jax.random.key(0), 3, H, dtype=jnp.float64)
    xs = jax.random.normal(jax.random.key(1), (T, 2, 3), jnp.float64)
    mask = jnp.arange(T)[:, None] < jnp.array([[T, T - 2]])
    run, each = (lstm, params, xs), {"mask": mask}
    one = lambda carry, outs: (outs**2).sum()  # noqa: E731
    keep = study.keep_of(lstm)

    @jax.jit
    def look():
        gates = study.gates_of(*run, **each)
        weights = jax.nn.softmax(xs)
        return {
            "timelines": gates, "half_lives": study.half_life(keep.of(gates), mask),
            "survival": study.survival(keep.of(gates), mask), "ledger": study.ledger(*run, **each),
            "saturation": {name: study.saturation(gates[name], mask) for name in "ifo"},
            "histogram": study.histogram(gates["f"], mask), "flow": study.flow(*run, loss=one, **each),
            "triangle": study.triangle(*run, losses=lambda carry, outs: outs.sum(-1), **each),
            "eigenvalues": study.spectrum(study.step_jacobians(*run, **each)), "attention": weights,
            "attention_summary": (study.entropy(weights), study.coverage(weights, mask)),
            "atlas": study.atlas(*run, loss=one, **each),
            "connectivity": study.connectivity(*run, losses=lambda carry, outs: outs.sum(-1), **each),
            "integrated": study.integrated_gradients(*run, loss=lambda carry, outs: carry.h.sum(-1), **each),
            "contributions": study.contributions(*run, **each),
            "contextual": study.contextual(*run, span=(0, 2), **each),
            "trajectories": study.trajectories(*run, count=2, **each),
            "fixed_points": study.fixed_points(*run, count=4),
            "patching": study.patching(*run, other=xs[:, ::-1]),
        }  # fmt: skip

    return look()


@pytest.fixture(scope="module")
def drawn():
    return everything_drawn()


OPTIONS = {
    "ledger": {"unit": 1, "row": 1}, "attention": {"source": list("abc"), "target": list("uvwxyz"), "row": 1},
    **{name: {"row": 1} for name in ("timelines", "survival", "flow", "triangle", "attention_summary", "connectivity",
                                     "integrated", "contributions", "contextual")},
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["timelines", "half_lives", "survival", "ledger", "saturation", "histogram", "flow", "triangle", "eigenvalues",
     "attention", "attention_summary", "atlas", "connectivity", "integrated", "contributions", "contextual",
     "trajectories", "fixed_points", "patching"],
)  # fmt: skip
def test_each_draws_what_its_function_returns_into_the_axes_given_as_pdf(name: str, drawn, tmp_path) -> None:
    given = drawn[name] if isinstance(drawn[name], tuple) and not hasattr(drawn[name], "_fields") else (drawn[name],)
    figure, both = plt.subplots(1, 2)
    ax = getattr(study, f"plot_{name}")(*given, ax=both[1], **OPTIONS.get(name, {}))
    assert ax is both[1] and not both[0].has_data() and (ax.has_data() or ax.patches)
    plots.save(figure, tmp_path / "one.pdf")
    assert (tmp_path / "one.pdf").read_bytes()[:4] == b"%PDF"


def test_a_row_is_that_row(drawn) -> None:
    image = study.plot_survival(drawn["survival"], row=1).images[0].get_array()
    np.testing.assert_array_equal(image, np.asarray(drawn["survival"])[:, 1].T)
    ax = study.plot_triangle(drawn["triangle"], leaf="h", row=1)
    norms = np.asarray(drawn["triangle"]["h"])[..., 1]
    np.testing.assert_allclose(10 ** np.ma.filled(ax.images[0].get_array(), np.nan), np.where(norms > 0, norms, np.nan))
    ax = study.plot_atlas(drawn["atlas"])
    assert [text.get_text() for text in ax.get_yticklabels()[:3]] == ["f := 0", "f := 1", "f := its mean"]
    np.testing.assert_allclose(ax.images[0].get_array()[:3], drawn["atlas"].loss["f"])
    with pytest.raises(InputError, match="row must be from 0 to 1; got 2"):
        study.plot_survival(drawn["survival"], row=2)
    with pytest.raises(InputError, match="expected an array of 2 axes, or of 3 with a batch"):
        study.plot_survival(HEAT[0])
    with pytest.raises(InputError, match="a step for each of 6 losses; got 1"):
        study.plot_triangle(drawn["triangle"], steps=[1])


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
