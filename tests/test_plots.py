"""Plots, by the numbers in them: what is where, in which colours, and in which font, with and without Chinese fonts."""

import importlib.util
import os
import subprocess
import sys
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.axes import Axes

from jaxseq import fonts, plots, shipped
from jaxseq.errors import InputError

CHINESE = ["我", "不", "知道", "。", "<eos>"]
ENGLISH = ["i", "do", "not", "know", ".", "<eos>"]
DRAWN_IN = "DejaVu Sans Mono"


@pytest.fixture(autouse=True)
def afresh():
    """Forget what was warned of, and leave no figure open."""
    fonts._warned.clear()
    yield
    fonts._warned.clear()
    plt.close("all")


def entries(keep):
    return [font for font in font_manager.fontManager.ttflist if keep(font)]


@pytest.fixture
def no_chinese_font(monkeypatch):
    """No installed font but those that matplotlib brings, its Last Resort among them."""
    monkeypatch.setattr(fonts, "_notice_new_fonts", lambda: None)
    monkeypatch.setattr(fonts, "_notice_packaged_fonts", lambda: None)
    monkeypatch.setattr(font_manager.fontManager, "ttflist", entries(lambda font: "mpl-data" in font.fname))


@pytest.fixture
def chinese_font(monkeypatch):
    """A font that claims Chinese: a real file, so that it draws, whose characters we tell."""
    monkeypatch.setattr(fonts, "_notice_new_fonts", lambda: None)
    monkeypatch.setattr(fonts, "_notice_packaged_fonts", lambda: None)
    mono = next(f for f in font_manager.fontManager.ttflist if f.name == DRAWN_IN and "mpl-data" in f.fname)
    real = fonts.characters
    extra = frozenset(map(ord, "我你他的是不了人在有知道。"))
    monkeypatch.setattr(font_manager.fontManager, "ttflist", entries(lambda font: "mpl-data" in font.fname))
    monkeypatch.setattr(fonts, "characters", lambda file: real(file) | (extra if file == mono.fname else frozenset()))
    return mono.fname


@pytest.fixture
def no_pinyin(monkeypatch):
    """As if pypinyin were not installed."""
    monkeypatch.setattr(plots, "pinyin", lambda text: None)


def weights(rows, columns):
    return np.random.default_rng(0).dirichlet(np.ones(columns), rows)


def draw(ax):
    """Draw with the claims of the fake font taken on trust."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        ax.figure.canvas.draw()


def cells(ax):
    """Return where the middles of an image's columns and rows are, in data coordinates, from its extent."""
    (image,) = ax.images
    rows, columns = image.get_array().shape
    left, right, bottom, top = image.get_extent()
    width, height = (right - left) / columns, (bottom - top) / rows
    return [left + width * (n + 0.5) for n in range(columns)], [top + height * (n + 0.5) for n in range(rows)]


# --- attention


def test_attention_map_holds_the_weights_and_each_word_stands_at_the_middle_of_its_cells():
    its = weights(6, 4)
    ax = plots.attention_map(its, list("abcd"), ENGLISH)
    (image,) = ax.images
    np.testing.assert_array_equal(image.get_array(), its)
    assert image.get_clim() == (0, 1) and image.get_cmap().name == "size"
    ax.figure.canvas.draw()
    columns, rows = cells(ax)
    for axis, middles, words, n in ((ax.xaxis, columns, list("abcd"), 0), (ax.yaxis, rows, ENGLISH, 1)):
        np.testing.assert_allclose(axis.get_ticklocs(), middles, atol=0)
        assert [label.get_text() for label in axis.get_ticklabels()] == words
        assert [label.get_position()[n] for label in axis.get_ticklabels()] == middles


def test_attention_map_in_pixels_words_are_over_their_columns_and_beside_their_rows():
    ax = plots.attention_map(weights(6, 4), ["aa", "bbb", "c", "d"], ENGLISH)
    ax.figure.canvas.draw()
    columns, rows = cells(ax)
    inside = ax.get_window_extent()
    for label, middle in zip(ax.get_xticklabels(), columns, strict=True):
        box = label.get_window_extent()
        assert (box.x0 + box.x1) / 2 == pytest.approx(ax.transData.transform((middle, 0))[0], abs=1)
        assert box.y0 > inside.y1  # on top
    heights = [ax.transData.transform((0, middle))[1] for middle in rows]
    assert heights == sorted(heights, reverse=True)  # the target runs down
    for label, height in zip(ax.get_yticklabels(), heights, strict=True):
        box = label.get_window_extent()
        assert box.y0 < height < box.y1 and box.x1 < inside.x0


def test_attention_map_is_drawn_where_asked_and_leaves_the_settings_alone():
    before = dict(plt.rcParams)
    _, (left, right) = plt.subplots(1, 2)
    assert plots.attention_map(weights(2, 2), ["a", "b"], ["c", "d"], ax=right) is right
    assert not left.images and dict(plt.rcParams) == before


def test_padding_is_dropped_and_eos_shown():
    its = weights(3, 5)
    ax = plots.attention_map(its, ["a", "b", "<eos>", "<pad>", "<pad>"], ["c", "<eos>", "<pad>"])
    np.testing.assert_array_equal(ax.images[0].get_array(), its[:2, :3])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "b", "<eos>"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["c", "<eos>"]


def test_chinese_stands_upright_and_long_english_words_are_turned(chinese_font):
    def turned(source):
        ax = plots.attention_map(weights(1, len(source)), source, ["a"])
        return {label.get_rotation() for label in ax.get_xticklabels()}

    assert turned([*CHINESE[:3], "知道知道知道知道"]) == {0}
    assert turned(["understanding", "a"]) == {90}
    assert turned(["cat", "<eos>"]) == {0}


def test_dollars_are_not_mathematics():
    ax = plots.attention_map(weights(1, 2), ["$x$", "$\\frac$"], ["$$"])
    ax.figure.canvas.draw()  # would raise for the second
    assert not any(label.get_parse_math() for label in (*ax.get_xticklabels(), *ax.get_yticklabels()))


@pytest.mark.parametrize("shape", [(4, 6), (6, 5), (24,)])
def test_attention_map_refuses_weights_of_another_shape(shape):
    with pytest.raises(InputError, match=r"\[target, source\] = \(6, 4\); got \("):
        plots.attention_map(np.zeros(shape), list("abcd"), ENGLISH)


def test_attention_map_refuses_an_empty_side():
    with pytest.raises(InputError, match="no word to draw"):
        plots.attention_map(np.zeros((0, 2)), ["a", "b"], [])


# --- fonts


def test_with_a_font_chinese_labels_are_set_in_it_and_others_are_not(chinese_font):
    ax = plots.attention_map(weights(6, 5), CHINESE, ENGLISH)
    draw(ax)
    labels = ax.get_xticklabels()
    assert [label.get_text() for label in labels] == CHINESE
    assert [label.get_fontproperties().get_file() for label in labels] == [chinese_font] * 4 + [None]
    assert {label.get_fontproperties().get_size() for label in labels} == {10.0}
    assert ax.get_xlabel() == ""


def test_without_a_font_chinese_is_in_pinyin_with_one_warning(no_chinese_font):
    with pytest.warns(UserWarning, match="pylopdf-fonts-zh-cn") as caught:
        ax = plots.attention_map(weights(3, 5), CHINESE, ["银行", "a", "𒀀"])
    assert len(caught) == 2  # one for each script
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.gates({"r": np.ones((2, 3))}, ["我", "a"])  # not warned of again
        ax.figure.canvas.draw()  # and no glyph is missing
    assert [label.get_text() for label in ax.get_xticklabels()] == ["wǒ", "bù", "zhīdào", ".", "<eos>"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["yínháng", "a", "[1]"]
    assert ax.get_xlabel() == "[1] = U+12000"


def test_columns_are_as_wide_as_pinyin_needs(no_chinese_font):
    sources = (["我", "你"], ["想", "上"], ["知道", "上"])  # wǒ nǐ, xiǎng shàng, zhīdào shàng
    with pytest.warns(UserWarning, match="no installed font"):
        maps = [plots.attention_map(weights(1, 2), source, ["a"]) for source in sources]
    narrow, wide, _ = (ax.figure.get_size_inches()[0] for ax in maps)
    assert wide == pytest.approx(narrow + 2 * 0.12)
    assert [ax.get_xticklabels()[0].get_rotation() for ax in maps] == [0, 0, 90]


def test_without_pypinyin_there_is_no_pinyin(monkeypatch):
    assert fonts.pinyin("plain") is None
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pypinyin" else find(name))
    assert fonts.pinyin("你好") is None


def test_without_a_font_words_are_numbered_with_a_legend_and_one_warning(no_chinese_font, no_pinyin):
    with pytest.warns(UserWarning, match="fonts-wqy-microhei") as caught:
        ax = plots.attention_map(weights(3, 5), CHINESE, ["不", "a", "我"])
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.attention_map(weights(6, 5), CHINESE, ENGLISH)  # not warned of again
        ax.figure.canvas.draw()  # and no glyph is missing
    assert [label.get_text() for label in ax.get_xticklabels()] == ["[1]", "[2]", "[3]", "[4]", "<eos>"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["[2]", "a", "[1]"]
    legend = " ".join(ax.get_xlabel().split())
    assert legend == "[1] = U+6211 [2] = U+4E0D [3] = U+77E5 U+9053 [4] = U+3002"


def test_another_script_is_warned_of_by_itself(no_chinese_font):
    with pytest.warns(UserWarning, match=r"\(CJK\)"):
        assert fonts.font_for("我") is None
    with pytest.warns(UserWarning, match=r"\(CUNEIFORM\)"):
        assert fonts.font_for("𒀀") is None


def test_the_font_of_boxes_that_matplotlib_brings_covers_nothing(monkeypatch, no_chinese_font):
    boxes = font_manager.FontEntry(fname="boxes", name="Last Resort High-Efficiency", weight=400)
    plain = [font for font in font_manager.fontManager.ttflist if font.name == "DejaVu Sans"]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [*plain, boxes])
    monkeypatch.setattr(fonts, "characters", lambda file: frozenset(range(0x110000) if file == "boxes" else ()))
    assert fonts.chinese_fonts() == []
    with pytest.warns(UserWarning, match="no installed font"):
        assert fonts.font_for("我") is None


def test_font_for_prefers_the_current_font_and_covers_every_character(chinese_font):
    plain = fonts.font_for("plain words\u200b\n")
    assert plain is not None and plain.get_name() == "DejaVu Sans"
    found = fonts.font_for("我 know")
    assert found is not None and found.get_file() == chinese_font
    with pytest.warns(UserWarning, match="no installed font"):
        assert fonts.font_for("我龘") is None  # the second is in no font
    assert fonts.chinese_fonts() == [DRAWN_IN]


def test_a_font_installed_after_matplotlib_made_its_list_is_found(monkeypatch, tmp_path):
    mono = next(f for f in font_manager.fontManager.ttflist if f.name == DRAWN_IN and "mpl-data" in f.fname)
    new, broken = tmp_path / "new.ttf", tmp_path / "broken.ttf"
    new.write_bytes(Path(mono.fname).read_bytes())
    broken.write_bytes(b"not a font")
    real = fonts.characters
    claims = frozenset(map(ord, "我你他的是不了人在有"))
    monkeypatch.setattr(font_manager.fontManager, "ttflist", entries(lambda font: "mpl-data" in font.fname))
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(broken), str(new)])
    monkeypatch.setattr(fonts, "characters", lambda file: real(file) | (claims if file == str(new) else frozenset()))
    monkeypatch.setattr(fonts, "_notice_packaged_fonts", lambda: None)
    fonts._notice_new_fonts.cache_clear()
    assert fonts.chinese_fonts() == [DRAWN_IN]
    fonts._notice_new_fonts.cache_clear()


def test_a_broken_font_file_is_passed_over(monkeypatch, tmp_path, no_chinese_font):
    (tmp_path / "broken.ttf").write_bytes(b"not a font")
    broken = font_manager.FontEntry(fname=str(tmp_path / "broken.ttf"), name="Broken", weight=400)
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [broken])
    assert fonts.chinese_fonts() == []


def test_the_font_of_the_extra_draws_every_character_of_the_corpus(monkeypatch):
    monkeypatch.setattr(fonts, "_notice_new_fonts", lambda: None)
    monkeypatch.setattr(font_manager.fontManager, "ttflist", entries(lambda font: "mpl-data" in font.fname))
    fonts._notice_packaged_fonts.cache_clear()
    assert fonts.chinese_fonts() == ["Noto Sans SC", "Noto Serif SC"]
    corpus = "".join(shipped.find(name).read_text(encoding="utf-8") for name in ("zh-en", "zh-en-held-out"))
    found = fonts.font_for("".join(set(corpus)))
    assert found is not None and found.get_name() == "Noto Sans SC"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ax = plots.attention_map(weights(6, 5), CHINESE, ENGLISH)
        ax.figure.canvas.draw()  # a missing glyph is a warning, and here an error
    assert [label.get_text() for label in ax.get_xticklabels()] == CHINESE
    fonts._notice_packaged_fonts.cache_clear()


# --- gates


def traced(T=7, H=5):
    rng = np.random.default_rng(1)
    return {name: rng.uniform(-1 if name == "g" else 0, 1, (T, H)) for name in "ifgo"}


def test_gates_are_images_of_units_by_time_in_order_with_their_own_colours():
    its = traced()
    ax = plots.gates(its)
    assert isinstance(ax, Axes) and len(ax.images) == 4
    for image, (name, values) in zip(ax.images, its.items(), strict=True):
        np.testing.assert_array_equal(image.get_array(), values.T)
        assert image.get_clim() == ((-1, 1) if name == "g" else (0, 1))
        assert image.get_cmap().name == ("signed" if name == "g" else "viridis")
    middles = [(image.get_extent()[2] + image.get_extent()[3]) / 2 for image in ax.images]
    np.testing.assert_allclose(ax.get_yticks(), middles, atol=1e-12)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["i", "f", "g", "o"]  # a letter says no more
    assert ax.yaxis_inverted()  # the first gate is on top
    assert all(image.get_extent()[2] > image.get_extent()[3] for image in ax.images)  # and unit 0
    assert {axes.get_ylabel() for axes in ax.figure.axes if axes is not ax} == {"gate", "candidate"}


def test_gates_sorts_units_alike_and_names_steps():
    its = traced(T=3, H=4)
    ax = plots.gates(its, ["a", "b", "<eos>"], unit_order=[2, 0, 3, 1])
    np.testing.assert_array_equal(ax.images[2].get_array(), its["g"].T[[2, 0, 3, 1]])
    left, right, *_ = ax.images[0].get_extent()
    np.testing.assert_allclose(ax.get_xticks(), left + (right - left) / 3 * (np.arange(3) + 0.5))
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "b", "<eos>"]


def test_the_pre_activation_is_squashed():
    a = np.linspace(-3, 3, 6).reshape(2, 3)
    ax = plots.gates({"a": a})
    np.testing.assert_allclose(ax.images[0].get_array(), np.tanh(a.T))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a, its tanh"]


def test_what_lies_between_minus_1_and_1_is_told_by_its_values_or_by_the_caller():
    values = {"x": np.full((2, 3), 0.5), "y": np.full((2, 3), -0.5), "0.g": np.full((2, 3), 0.5)}
    limits = [image.get_clim() for image in plots.gates(values).images]
    assert limits == [(0, 1), (-1, 1), (0, 1)]
    limits = [image.get_clim() for image in plots.gates(values, signed=["0.g"]).images]
    assert limits == [(0, 1), (-1, 1), (-1, 1)]


def test_gates_of_steps_without_a_font_have_a_legend(no_chinese_font, no_pinyin):
    with pytest.warns(UserWarning, match="no installed font"):
        ax = plots.gates({"r": np.ones((2, 3))}, ["我", "a"])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["[1]", "a"]
    assert ax.get_xlabel() == "[1] = U+6211"


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ({"i": np.ones((3, 2)), "f": np.ones((3, 4))}, {}, "one shape"),
        ({"i": np.ones((3, 2, 4))}, {}, r"take one row: gate\[:, b\]"),
        ({}, {}, "got none"),
        ({"i": np.ones((3, 2))}, {"steps": ["a"]}, "expected 3 labels of steps; got 1"),
        ({"i": np.ones((3, 2))}, {"unit_order": [0, 0]}, "units from 0 to 1, each at most once"),
    ],
)
def test_gates_refuse_what_does_not_fit(given, options, message):
    with pytest.raises(InputError, match=message):
        plots.gates(given, **options)


# --- curves


def test_loss_curve_draws_both_losses_where_they_were_measured():
    ax = plots.loss_curve([1, 2, 3, 4], [5.0, 2.0, 1.0, 0.5], [None, 3.0, float("nan"), 1.5])
    training, validation = ax.lines
    np.testing.assert_array_equal(training.get_xydata(), [[1, 5], [2, 2], [3, 1], [4, 0.5]])
    np.testing.assert_array_equal(validation.get_xydata(), [[2, 3], [4, 1.5]])
    assert ax.get_yscale() == "log"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["training", "validation"]


def test_loss_curve_takes_arrays_one_point_and_losses_that_have_no_logarithm():
    assert plots.loss_curve(np.arange(2), np.array([1.0, 0.9]), np.array([1.0, 0.95])).get_yscale() == "linear"
    assert plots.loss_curve([0, 1], [9.0, -1.0]).get_yscale() == "linear"
    assert plots.loss_curve([0], [1.0], [None]).lines[0].get_marker() == "o"
    plots.loss_curve([], []).figure.canvas.draw()


def test_loss_curve_refuses_another_length():
    with pytest.raises(InputError, match="validation must have one value a step: expected 2, got 1"):
        plots.loss_curve([1, 2], [1.0, 2.0], [1.0])


def test_forecast_parts_the_series_and_lays_forecasts_over_the_test_part(chinese_font):
    times, actual, ours = np.arange(10), np.arange(10.0) ** 2, np.arange(3.0)
    ax = plots.forecast(times, actual, 7, {"ours": ours, "naïve 不": ours + 1}, name="人 $")
    train, test, first, second, split = ax.lines
    np.testing.assert_array_equal(train.get_xdata(), times[:8])  # joined to the test part
    np.testing.assert_array_equal(test.get_xydata(), np.stack([times[7:], actual[7:]], 1))
    np.testing.assert_array_equal(first.get_xydata(), np.stack([times[7:], ours], 1))
    np.testing.assert_array_equal(second.get_ydata(), ours + 1)
    assert list(split.get_xdata()) == [7, 7]
    assert ax.yaxis.label.get_fontproperties().get_file() == chinese_font
    assert ax.get_legend().get_texts()[3].get_fontproperties().get_file() == chinese_font


@pytest.mark.parametrize(
    ("split", "length", "message"), [(10, 0, "split 10"), (0, 10, "split 0"), (7, 2, "expected 3")]
)
def test_forecast_refuses_what_does_not_fit(split, length, message):
    with pytest.raises(InputError, match=message):
        plots.forecast(range(10), np.ones(10), split, {"ours": np.ones(length)})


# --- files


@pytest.mark.parametrize(("name", "head"), [("a.png", b"\x89PNG"), ("a.PDF", b"%PDF"), ("a.svg", b"<?xml")])
def test_save_writes_the_format_of_the_suffix_and_closes_the_figure(tmp_path, name, head):
    for drawn in (plots.loss_curve([1, 2], [3.0, 1.0]), plots.loss_curve([1, 2], [3.0, 1.0]).figure):
        plots.save(drawn, tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(head)
    assert [path.name for path in tmp_path.iterdir()] == [name]  # nothing temporary is left
    assert plt.get_fignums() == []


def test_save_refuses_other_suffixes_and_names_the_nearest(tmp_path):
    ax = plots.loss_curve([1], [1.0])
    with pytest.raises(InputError, match="did you mean 'png'"):
        plots.save(ax, tmp_path / "a.pngg")
    with pytest.raises(InputError, match=r"has no suffix.*\.png, \.pdf or \.svg"):
        plots.save(ax, tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_save_keeps_the_old_picture_when_it_cannot_write(tmp_path, monkeypatch):
    old = tmp_path / "a.png"
    old.write_bytes(b"old")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(InputError, match=r"a\.png: Permission denied"):
        plots.save(plots.loss_curve([1], [1.0]), old)
    assert old.read_bytes() == b"old" and list(tmp_path.iterdir()) == [old]


def test_importing_plots_chooses_no_backend():
    code = (
        "import sys, jaxseq.plots, matplotlib\n"
        "assert not isinstance(dict.__getitem__(matplotlib.rcParams, 'backend'), str), 'a backend was chosen'\n"
        "assert not [m for m in sys.modules if m.startswith('matplotlib.backends.backend_')]\n"
    )
    clean = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
