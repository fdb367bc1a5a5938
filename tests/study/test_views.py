"""The views of a study: their files, their axes, what cutting leaves, and that one that fails stops no other."""

import json
import re
from pathlib import Path
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import problems, study
from jaxseq._unroll import unroll
from jaxseq.cells import lstm, rnn
from jaxseq.study import inspect, report, thin, views
from jaxseq.study.axes import axes_of, take
from jaxseq.study.checks import check_all
from jaxseq.study.collect import collect
from jaxseq.study.subject import look
from jaxseq.study.views import trajectories

pytestmark = pytest.mark.xdist_group("study views")  # what is collected is made once

FOLDER = Path(views.__file__).parent
SIZES = {"T": 8, "B": 3, "H": 6}


@pytest.fixture(scope="module")
def part():
    """An LSTM of random weights on a copying problem."""
    problem = problems.copy(lag=4, length=2, symbols=3)
    params = problems.init_params(jax.random.key(0), lstm, problem, 6)
    params = jax.tree.map(lambda a: a + jax.random.normal(jax.random.key(1), a.shape, a.dtype) / 2, params)
    return study.part_of("lstm", lstm, problem, problem.draw(jax.random.key(2), 3), params)


@pytest.fixture(scope="module")
def found(part):
    return collect([part], title="views")


def test_a_view_is_three_files_and_a_line_of_order():
    files = {path.name for path in FOLDER.iterdir() if path.suffix in (".py", ".js", ".json")} - {"__init__.py"}
    assert files == {f"{name}.{kind}" for name in views.ORDER for kind in ("py", "js", "json")}
    for name in views.ORDER:
        texts = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
        assert {name, f"{name}.how"} <= set(texts) and all(len(both) == 2 and all(both) for both in texts.values())
        assert f"VIEWS.{name} = {{" in (FOLDER / f"{name}.js").read_text(encoding="utf-8")


def test_chinese_has_one_word_for_a_unit_and_its_own_punctuation():
    """单元 is a unit, never a cell; no comma or bracket of ASCII next to a Chinese character."""
    texts = report.texts()
    for name, text in texts["zh"].items():
        assert ("单元" in text) <= ("unit" in texts["en"][name].lower()), name
        assert not re.search(r"[\u4e00-\u9fff] ?([,;?()]|:(?!=))|[,;:?()] ?[\u4e00-\u9fff]", text), name


def test_the_axes_that_a_field_names_are_those_of_its_arrays(found):
    def look(given, sizes):
        sizes = dict(sizes)
        for name, spec in axes_of(type(given)).items():
            value = getattr(given, name)
            arrays = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else [value]
            axes = spec.partition(":")[0].removesuffix(" ...").split()
            for array in arrays:
                if array is None:
                    continue
                shape = np.shape(array)
                assert len(shape) >= len(axes), (type(given), name)
                for letter, size in zip(axes, shape, strict=False):
                    assert sizes.setdefault(letter, size) == size, (type(given), name, letter)
        for value in given:
            for inner in value.values() if isinstance(value, dict) else [value]:
                if hasattr(inner, "_fields") and inner._fields:
                    look(inner, {letter: sizes[letter] for letter in SIZES})

    one = found.parts[0]
    assert {"T": one.T, "B": one.B, "H": one.H} == SIZES and not one.failed
    look(one, SIZES)
    absent = {name for name, data in one.views.items() if data is None}
    assert absent == {"compare", "attention", "replay"}


class Some(NamedTuple):
    """Arrays of every kind."""

    states: Annotated[dict[str, np.ndarray], "T B H"]
    order: Annotated[list[int], "O:H"]
    steps: Annotated[list[int], "S:T"]
    corner: Annotated[np.ndarray, "B S T"]
    words: Annotated[list[list[str]], "B T"]
    free: np.ndarray


def test_cutting_an_axis_cuts_all_that_have_it():
    rng = np.random.default_rng(0)
    a, corner = rng.normal(size=(4, 2, 3)), rng.normal(size=(2, 3, 4))
    some = Some({"h": a}, [2, 0, 1], [0, 2, 3], corner, [list("abcd"), list("efgh")], np.ones(4))
    units = take(some, "H", [0, 2])
    np.testing.assert_array_equal(units.states["h"], a[:, :, [0, 2]])
    assert units.order == [1, 0] and units.corner is corner  # the second of those left is first
    steps = take(some, "T", [2, 3])
    np.testing.assert_array_equal(steps.corner, corner[:, 1:, 2:])
    assert steps.steps == [0, 1] and steps.words == [["c", "d"], ["g", "h"]] and steps.free.shape == (4,)
    assert take(some, "B", [1]).words == [list("efgh")]


def test_a_thin_page_shows_the_same_numbers_in_other_places(found, monkeypatch):
    monkeypatch.setattr(thin, "UNITS", 4)
    monkeypatch.setattr(thin, "STEPS", 5)
    one = found.parts[0]
    units = thin._some_units(one)
    assert (units.H, len(units.units)) == (4, 4)
    np.testing.assert_array_equal(units.views["half"].life, one.views["half"].life[units.units])
    np.testing.assert_array_equal(units.views["atlas"].change, one.views["atlas"].change[..., units.units])
    assert [units.units[u] for u in units.order] == [u for u in one.order if u in units.units]
    last = thin._last_steps(one)
    assert (last.T, last.first, last.lengths) == (5, 3, [5, 5, 5])
    np.testing.assert_array_equal(last.start["c"], one.carries["c"][2])
    np.testing.assert_array_equal(last.views["jacobian"].radius, one.views["jacobian"].radius[3:])
    assert last.views["flow"].triangle.shape == (3, len(last.views["flow"].steps), 5)
    first = thin._first_example(one)
    assert first.B == 1 and first.live.x[0].shape[:2] == (8, 1) and len(first.inputs) == 1


@pytest.fixture(scope="module")
def several(found):
    """A page of three parts whose weights are most of it, those of the first the largest, as of a translator."""

    def heavy(part, name, numbers):
        weights = [np.random.default_rng(0).normal(size=numbers), *part.live.weights]  # base64 takes 16/3 bytes of each
        return part._replace(name=name, live=part.live._replace(weights=weights))

    sizes = {"decoder": 400_000, "encoder": 100_000, "encoder, backwards": 120_000}
    return found._replace(parts=[heavy(found.parts[0], name, numbers) for name, numbers in sizes.items()])


@pytest.mark.parametrize(
    ("limit", "live", "left"),
    [
        # in each case what goes: the largest of the others first, the first part's last
        (3_400_000, [1, 1, 0], ["encoder, backwards"]),
        (2_800_000, [1, 0, 0], ["encoder, backwards", "encoder"]),
        # the first part's do not fit at all: the others' do, and so does everything else
        (2_000_000, [0, 1, 1], ["decoder"]),
    ],
)
def test_a_page_over_the_limit_is_thinned_no_further_than_it_must(several, monkeypatch, limit, live, left):
    monkeypatch.setattr(report, "LIMIT", limit)
    made = report.Report(several)
    size = len(made.text.encode())
    assert 0.6 * limit < size <= limit < made.whole == len(report.page(several, full=True).encode())
    parts = json.loads(re.search(r'id="data">(.*?)</script>', made.text, re.S)[1])["parts"]
    assert [part["live"] is not None for part in parts] == [bool(one) for one in live]
    assert all((part["why"] == "thinned") == (part["live"] is None) for part in parts)
    assert made.left_out == [f"the weights of {name}, so its what-if is off" for name in left]
    assert all(part["B"] == 3 and part["views"]["atlas"] for part in parts)


def test_nothing_that_a_thin_page_leaves_out_would_fit(several, monkeypatch):
    """Over limits of all sizes: with any one of the things put back the page would be too large, or could not run."""
    monkeypatch.setattr(thin, "UNITS", 4)
    monkeypatch.setattr(thin, "STEPS", 5)
    size = lambda left: len(  # noqa: E731
        report._assembled(several._replace(parts=thin.without(several.parts, left)), left).encode()
    )
    weights = [one for one in thin.thinnings(several.parts) if one.kind == "weights"]
    for limit in (size([]) - 1, size(weights), size(weights) - 1, size(weights) - 10_000, size(weights) - 20_000):
        left = thin.fitted(several.parts, lambda _, left, limit=limit: size(left) <= limit)
        assert left and size(left) <= limit
        cut = any(one.kind in thin.NEED_NO_WEIGHTS for one in left)
        for one in left:
            more = size([other for other in left if other is not one])
            assert more > limit or (one.kind == "weights" and cut), (limit, one.kind, one.of)


def test_the_first_part_that_can_be_run_keeps_its_weights_longest_in_a_thin_page(several):
    """The first part on the page may be one that cannot be run again."""
    alone = several.parts[0]._replace(live=None, why="program")
    weights = [one.of for one in thin.thinnings([alone, *several.parts[1:]]) if one.kind == "weights"]
    assert weights == ["encoder, backwards", "encoder"]


def test_one_view_that_fails_stops_no_other(part, monkeypatch):
    def broken(seen):
        raise FloatingPointError("not a number\nand more")

    monkeypatch.setattr(views.view("flow"), "gather", broken)
    made = collect([part], title="broken", briefly=True)
    one = made.parts[0]
    assert one.failed == {"flow": "not a number"} and one.views["flow"] is None and one.views["half"] is not None
    (lost,) = [check for check in made.checks if not check["ok"]]
    assert (lost["id"], lost["error"], lost["stops"]) == ("views", 1, False)
    check_all(made.checks)
    assert "not a number" in report.page(made)


@pytest.mark.parametrize(("T", "H"), [(1, 6), (4, 1)])
def test_a_state_that_is_alone_or_one_number_has_one_component(T, H):
    """Of one state, which is the mean, at 0; of one number a state, that number without its mean, and its sign."""
    params = rnn.init(jax.random.key(0), 3, H)
    one = study.Part("rnn", rnn, params, jnp.ones((T, 1, 3), jnp.float32), inputs=[list("abcd")[:T]])
    states = np.asarray(unroll(rnn, params, one.xs)[1])
    want = states - states.mean() if H == 1 else np.zeros((1, 1, 1))
    paths, _ = trajectories.gather(look(one)[0])
    np.testing.assert_allclose(paths.points, want, atol=1e-6)
    assert paths.points.shape == (T, 1, 1) and paths.settled is not None


def test_one_sequence_of_one_step():
    """No view fails, and nouns are singular."""
    params = lstm.init(jax.random.key(0), 3, 6)
    found = collect([study.Part("lstm", lstm, params, jnp.ones((1, 1, 3), jnp.float32), inputs=[["a"]])], title="one")
    assert not found.parts[0].failed
    assert "(over 1 sequence, 1 step)" in inspect.render(found)


def test_views_show_what_the_functions_of_the_study_return(found, part):
    one, run = found.parts[0], part.run
    moved = run.through(study.trajectories, count=2)
    np.testing.assert_allclose(one.views["trajectories"].points, moved.points, atol=1e-5)
    steps = one.views["connectivity"].steps
    wanted = run.through(study.connectivity, losses=lambda carry, outs: part.losses(outs), steps=steps)
    np.testing.assert_allclose(one.views["connectivity"].norms, np.moveaxis(wanted.norms, 2, 0), atol=1e-6)
    kept = one.views["contributions"]
    apart = run.through(study.contextual, span=(3, 3))
    ids = one.outcome.ids[kept.steps[-1], :, 0]
    said = (np.asarray(apart.span["h"])[kept.steps[-1]] * np.asarray(part.head[0]).T[ids]).sum(-1)
    np.testing.assert_allclose(kept.said[:, -1, 3], said, atol=1e-5)
    patched = one.views["patching"]
    turned = jnp.roll(part.xs, -1, 1)
    effect = run.through(
        study.patching, other=turned, loss=lambda c, outs: part.losses(outs).sum(0), names=["c"], whole=True
    )
    np.testing.assert_allclose(patched.change[patched.names.index("c")], effect.effects["c"][:, 0], atol=1e-5)
    np.testing.assert_allclose(patched.own, one.outcome.losses.sum(0), rtol=1e-5)


def test_fixed_points_on_the_page_stay_where_they_are(found, part):
    """One step of the cell from a point that is shown, in principal components."""
    one, run = found.parts[0].views["trajectories"], part.run
    assert one.settled is not None and any(one.settled.fixed)
    assert np.sqrt(2 * one.settled.speeds[one.settled.fixed]).max() < 1e-4
    x = part.xs[list(found.parts[0].inputs[0]).index(one.settled.held), 0]
    points = run.through(study.fixed_points, x=x, count=32, descent=100, polish=100, most=12)
    where = study.project(run.through(study.trajectories, count=2).components, points.states[points.real])
    np.testing.assert_allclose(one.settled.at, where, atol=1e-3)
