"""The page of a study: its cells in JavaScript against JAX, its text, and the page in a real browser."""

import base64
import html
import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

import browser as browsers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxseq.study
from jaxseq import study, trace
from jaxseq.attention import additive, reading, with_attention
from jaxseq.cells import CELLS, stack
from jaxseq.colours import colour_maps
from jaxseq.errors import InputError
from jaxseq.interventions import clamp, hold_at, intervene
from jaxseq.program import program
from jaxseq.seq2seq import Affine
from jaxseq.study import report, thin, views
from jaxseq.study.collect import collect
from jaxseq.study.live import live
from jaxseq.study.part import Part
from jaxseq.trees import at, named_leaves

pytestmark = pytest.mark.xdist_group("study page")  # the page is made once

PAGE = Path(jaxseq.study.__file__).parent / "page"
NASTY = "</script><b>"
TURNED = "\u202eabc\u202c"
WORDS = ["ab", "她", NASTY, TURNED]
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="there is no node to run JavaScript with")
needs_browser = pytest.mark.skipif(bool(browsers.missing()), reason=browsers.missing())


SIZES = {"lstm": 6, "gru": 7, "rnn": 13, "janet": 9}
"""H with which cells have about as many parameters."""


def part(name, T=8, B=2, H=0, dtype=jnp.float32, **options):
    """A cell of random weights reading random words."""
    cell, key, H = CELLS[name], jax.random.key(3), H or SIZES[name]
    params = cell.init(key, len(WORDS), H, dtype=dtype)
    params = jax.tree.map(lambda a: a + jax.random.normal(key, a.shape, dtype) / 2, params)
    head = Affine.init(key, H, len(WORDS), dtype, jax.nn.initializers.normal(1))
    ids = jax.random.randint(key, (T, B), 0, len(WORDS))
    xs = jax.nn.one_hot(ids, len(WORDS), dtype=dtype)
    inputs = [[WORDS[n] for n in row] for row in np.asarray(ids).T]
    swaps = {word: jnp.eye(len(WORDS), dtype=dtype)[n] for n, word in enumerate(WORDS)}
    more = {"mask": None, "scored": jnp.ones((T, B), bool).at[0].set(False), "swaps": swaps, **options}
    history = ([0, 10, 100], [2.0, 1.0, 0.5])
    return Part(
        name, cell, params, xs, inputs=inputs, predict=head, targets=(ids + 1) % len(WORDS), words=WORDS,
        head=(head.W, head.b), history=history, **more,
    )  # fmt: skip


def snapshots(one):
    """What a part was: half the weights, and the weights."""
    return (0, 100), jax.tree.map(lambda a: jnp.stack([a / 2, a]), (one.params, one.predict))


@pytest.fixture(scope="module")
def data():
    """An LSTM with snapshots, a GRU, and an RNN that looks at a source: every view has something to show."""
    lstm, gru, rnn = part("lstm"), part("gru"), part("rnn")
    lstm = lstm._replace(snapshots=snapshots(lstm))
    weights = jax.nn.softmax(jax.random.normal(jax.random.key(0), (8, 2, 4)))
    rnn = rnn._replace(weights=weights, source=[WORDS, WORDS])
    title = f"cells on {NASTY}"
    return collect([lstm, gru, rnn], title=title, command="jaxseq study", scores=[(1.0, 0.5)] * 3)


@pytest.fixture(scope="module")
def page(data, tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(report.page(data), encoding="utf-8")
    return file


def node(script, given):
    """Run JavaScript with program.js loaded and `given` as its data; return what it prints."""
    program = f"const {{ readied, runProgram, readOut, lossOf }} = require({json.dumps(str(PAGE / 'program.js'))});"
    program += 'const given = JSON.parse(require("fs").readFileSync(0, "utf8"));' + script
    done = subprocess.run(["node", "-e", program], input=json.dumps(given), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def held(cell, clamps):
    """The cell with the page's clamps, in JAX."""
    for one in clamps:
        if one["value"] == "1-f":
            cell = intervene(cell, {"i": lambda i, gate: 1 - gate("f")})
        else:
            value = jnp.asarray(one["value"]) if isinstance(one["value"], list) else one["value"]
            cell = clamp(cell, **{one["gate"]: value if one["unit"] is None else {one["unit"]: value}})
    return cell


CLAMPS = {
    "lstm": [[], [{"gate": "i", "unit": None, "value": "1-f"}, {"gate": "o", "unit": 2, "value": 0.25}],
             [{"gate": "f", "unit": None, "value": [0.1, 0.2, 0.3, 0.4, 0.5]}]],
    "gru": [[], [{"gate": "z", "unit": None, "value": 0.9}, {"gate": "r", "unit": 3, "value": 1}]],
    "gru_cho": [[], [{"gate": "r", "unit": None, "value": 0}, {"gate": "n", "unit": 1, "value": -1}]],
    "rnn": [[{"gate": "a", "unit": 0, "value": 0.5}]],
    "rnn_relu": [[]],
}  # fmt: skip


@needs_node
@pytest.mark.parametrize("name", CLAMPS)
def test_runs_in_javascript_equal_jax(name):
    """In float64: gates, state, predictions and losses, from a carry that is not zero, held and not."""
    one = part(name, T=6, B=1, H=5, dtype=jnp.float64)
    params, start = one.params, jax.tree.map(lambda a: a + 0.3, one.cell.initial_carry(one.params, (1,)))
    found = program(one.cell, params, at(start, 0), one.xs[0, 0])
    flat = lambda tree: [np.ravel(leaf).tolist() for leaf in jax.tree.leaves(tree)]  # noqa: E731
    gates = found.gates

    def hold(clamps):
        made = {}
        for c in clamps:
            value = {"of": gates["f"]} if c["value"] == "1-f" else c["value"]
            made.setdefault(gates[c["gate"]], []).append({"unit": c["unit"], "value": value})
        return made

    given = {
        "program": found.to_json(), "weights": [*flat(params), *[None] * (len(found.inputs) - len(flat(params)))],
        "x": [flat(x) for x in one.xs[:, 0]], "held": [hold(clamps) for clamps in CLAMPS[name]], "start": flat(start),
        "W": np.ravel(one.head[0]).tolist(), "b": one.head[1].tolist(), "targets": one.targets[:, 0].tolist(),
    }  # fmt: skip
    runs = node(
        """const list = (o) => Object.fromEntries(Object.entries(o).map(([n, a]) => [n, Array.from(a)]));
        const ready = readied(given.program, given.weights);
        console.log(JSON.stringify(given.held.map((held) => {
          const run = runProgram(ready, given.x, given.start, held);
          const said = readOut(run.out[""], 5, given.W, given.b);
          return { gates: list(run.gates), carry: list(run.carry), said: said.map((y) => Array.from(y)),
            losses: said.map((y, t) => lossOf(y, given.targets[t], true)) }; })));""",
        given,
    )
    for clamps, found in zip(CLAMPS[name], runs, strict=True):
        cell = held(one.cell, clamps)
        _, seen = jax.jit(lambda p, c, xs, cell=cell: trace(cell, p, xs, c))(params, start, one.xs)
        wanted = {**seen.gates._asdict(), **seen.carries._asdict()}
        assert set(wanted) == {*found["gates"], *found["carry"]}
        for gate, values in {**found["gates"], **found["carry"]}.items():
            np.testing.assert_allclose(np.ravel(wanted[gate]), values, atol=1e-9, err_msg=gate)
        np.testing.assert_allclose(one.predict(seen.outs)[:, 0], found["said"], atol=1e-9)
        losses = one._replace(scored=None).losses(seen.outs)[:, 0]
        np.testing.assert_allclose(losses, found["losses"], atol=1e-9)


def shown(one):
    """Of what a page holds of a part, what running it again needs; and its run."""
    seen = jax.jit(lambda params, xs: trace(one.cell, params, xs)[1])(one.params, one.xs)
    T, B = jax.tree.leaves(one.xs)[0].shape[:2]
    gates, carries = named_leaves(seen.gates), named_leaves(seen.carries)
    about = {"T": T, "B": B, "H": 3, "lengths": [T] * B, "gates": gates, "carries": carries, "order": [0, 1, 2]}
    return {**about, "units": [0, 1, 2], "outcome": None, "keep": None, **live(one, seen)}, seen


def page_code(parts, script):
    """Run the page's own JavaScript, without its drawing, on the data of some parts."""
    names = ("program.js", "draw.js", "state.js", "equations.js")
    code = "\n".join((PAGE / name).read_text(encoding="utf-8").replace('"use strict";', "") for name in names)
    given = {"data": report.in_script({"parts": parts, "maps": {}}), "texts": "{}"}
    stub = "const document = { getElementById: (id) => ({ textContent: given[id] }) };"
    read = 'const given = JSON.parse(require("fs").readFileSync(0, "utf8"));'
    done = subprocess.run(
        ["node", "-e", read + stub + code + script],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def normal(key, *shape):
    return jax.random.normal(key, shape, jnp.float32)


def reads(cell, T=4, B=2, H=3):
    """A part whose cell reads a source of another length in each row; its input has 40 columns."""
    key = jax.random.key(0)
    params = cell.init(key, 40, H, value_size=2, units=4)
    memory = cell.remember(params, normal(key, 5, B, 2), jnp.asarray(np.arange(5)[:, None] < [5, 3]))
    cell = reading(cell, memory)
    return Part("reads", cell, params, normal(key, T, B, 40))


def sorted_cell():
    def equations(params, carry, wx, uh):
        carry, out, gates = CELLS["rnn"].equations(params, carry, wx, uh)
        return carry, jnp.sort(out), gates

    return CELLS["rnn"].replace(equations=equations, name="sorted")


@needs_node
def test_the_page_runs_stacks_attention_and_times_and_says_what_it_cannot():
    """With a gate of one unit held, in the second row; a cell that sorts is shown without what-if."""
    key = jax.random.key(1)
    layers = stack(with_attention(CELLS["gru"], additive), CELLS["lstm"])
    clockwork, heads = CELLS["clockwork"].with_(periods=(1, 2, 4)), CELLS["gated_deltanet"]
    parts = [
        reads(layers),
        Part("times", clockwork, clockwork.init(key, 2, 3), clockwork.lift(normal(key, 4, 2, 2))),
        Part("heads", heads, heads.init(key, 2, 6, heads=2), normal(key, 4, 2, 2)),
        Part("sorts", sorted_cell(), CELLS["rnn"].init(key, 2, 3), normal(key, 4, 2, 2)),
    ]
    one_unit = hold_at({1: 0.25})
    # of a gate of two heads of three units each, unit 4 is the second one of the second head
    holds = {"0.z": (1, one_unit), "n": (1, one_unit), "v": (4, lambda old, gate: old.at[..., 1, 1].set(0.25))}
    made = [shown(one) for one in parts]
    found = page_code(
        [one for one, _ in made],
        f"const holds = {json.dumps([[gate, unit] for gate, (unit, _) in holds.items()])};"
        """console.log(JSON.stringify(DATA.parts.slice(0, 3).map((p, k) => {
          const clamps = [{ gate: holds[k][0], unit: holds[k][1], value: 0.25 }], list = (o) => Object.fromEntries(
            Object.entries(o).map(([n, a]) => [n, Array.from(a)]));
          return { plain: list(plainRun(p, 1).carry), held: list(rerun(p, 1, clamps).carry), can: heldGates(p) };
        })));""",
    )
    for one, (gate, (_, hold)), got, (_, seen) in zip(parts, holds.items(), found, made, strict=False):
        assert gate in got["can"]
        changed = intervene(one.cell, {gate: hold})
        held = jax.jit(lambda params, xs, cell=changed: trace(cell, params, xs)[1])(one.params, one.xs)
        for name, carries in (("plain", seen.carries), ("held", held.carries)):
            for leaf, values in named_leaves(carries).items():
                np.testing.assert_allclose(got[name][leaf], np.ravel(values[:, 1]), atol=1e-5, err_msg=f"{name} {leaf}")
    last = made[3][0]
    assert (last["live"], last["why"]) == (None, "program") and "the primitive 'sort'" in last["why_text"]
    assert [kind for kind, *_ in made[0][0]["live"].program["inputs"]].count("wx") == 1


@needs_node
def test_squared_error_in_javascript_is_the_mean_over_columns():
    given = {"y": [1.0, 2.0, 4.0], "target": [1.0, 0.0, 1.0]}
    assert node("console.log(lossOf(given.y, given.target, false))", given) == pytest.approx(13 / 3)


@needs_node
def test_a_noun_after_a_count_is_singular_after_1():
    code = (PAGE / "state.js").read_text(encoding="utf-8")
    text = re.search(r"const T = .*?\n};\n", code, re.S)[0]
    said = "console.log(JSON.stringify(given.values.map((v) => T('over', ...v))))"
    texts = {"en": {"over": "over {0 long word|long words} of {1}"}, "zh": {}}
    given = {"values": [[1, "{0}"], ["1", 2], [0, 3], [2, 1]]}
    begun = f"const TEXTS = {json.dumps(texts)}, state = {{ lang: 'en' }};"
    # a value is put in as it is, whatever it looks like
    assert node(begun + text + said, given) == [
        "over 1 long word of {0}", "over 1 long word of 2", "over 0 long words of 3", "over 2 long words of 1",
    ]  # fmt: skip


def held_in(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


def test_a_page_holds_the_numbers_and_nothing_from_elsewhere(page):
    text = page.read_text(encoding="utf-8")
    inside, one = held_in(text), part("lstm")
    _, seen = trace(one.cell, one.params, one.xs)
    f = inside["parts"][0]["gates"]["f"]
    values = np.frombuffer(base64.b64decode(f["f4"]), "<f4").reshape(f["shape"])
    np.testing.assert_array_equal(values, np.asarray(seen.gates.f))
    assert inside["parts"][0]["inputs"] == [list(row) for row in one.inputs]
    assert len(text) < report.LIMIT and [p["live"] is not None for p in inside["parts"]] == [True] * 3
    assert not re.search(r"(src|href)=.https?:|@import|fetch\(|XMLHttp|innerHTML|insertAdjacentHTML|eval\(", text)
    assert "default-src 'none'" in text


def test_what_a_word_says_is_never_markup(page):
    text = page.read_text(encoding="utf-8")
    assert NASTY not in text and html.escape(NASTY) in text
    assert text.count("</script>") == 3
    assert report.in_script({"a": "</script><!--\u2028"}) == '{"a":"\\u003c/script>\\u003c!--\\u2028"}'


def test_without_scripts_there_is_a_picture(page):
    text = page.read_text(encoding="utf-8")
    found = re.search(r"<svg.*?</svg>", text, re.S)[0]
    assert found.count("<image") == 4 and 'role="img"' in found
    raw = base64.b64decode(re.search(r"base64,([^\"]+)", found)[1])
    import io

    import matplotlib.pyplot as plt

    drawn = plt.imread(io.BytesIO(raw))
    assert drawn.shape[:2] == (6, 8)


def test_colour_maps_are_even():
    """Lightness rises along the one, and falls to both sides of the middle of the other, by even steps."""

    def lightness(colour):
        linear = [
            (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4)
            for v in (int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5))
        ]
        r, g, b = linear
        lms = np.array([
            [0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]) @ [r, g, b]  # fmt: skip
        return float(np.dot([0.2104542553, 0.7936177850, -0.0040720468], np.cbrt(lms)))

    maps = colour_maps()
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colours in maps.values() for colour in colours)
    gate, signed = (np.diff([lightness(c) for c in maps[name]]) for name in ("gate", "signed"))
    assert (gate > 0).all() and gate.max() < 3 * gate.mean()
    half = len(signed) // 2
    assert (
        (signed[:half] > 0).all() and (signed[half:] < 0).all() and np.abs(signed).std() < 0.2 * np.abs(signed).mean()
    )


def test_a_broken_invariant_makes_no_page(data):
    broken = [{**check, "ok": False, "error": 0.5} if check["id"] == "half" else check for check in data.checks]
    with pytest.raises(InputError, match="self-check fails, so nothing is shown: half"):
        report.page(data._replace(checks=broken))


@pytest.fixture(scope="module")
def thinned(data, tmp_path_factory):
    """A page of which all is left out that may be, and its text."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thin, "UNITS", 5)
        patch.setattr(thin, "STEPS", 4)
        whole = len(report.Report(data, full=True).text)
        left, parts = [], data.parts
        for one in thin.thinnings(data.parts):
            if any(a is not b for a, b in zip(one.thin(parts), parts, strict=True)):
                left, parts = [*left, one], one.thin(parts)
        limit = len(report._assembled(data._replace(parts=parts), left).encode())
        patch.setattr(report, "LIMIT", limit)
        made = report.Report(data)
        patch.setattr(report, "LIMIT", 10_000)
        with pytest.raises(InputError, match=r"over the limit .* keep all with --full"):
            report.page(data)
        assert len(report.page(data, full=True)) == whole > len(made.text)
    file = tmp_path_factory.mktemp("thinned") / "report.html"
    made.save(file)
    return file, limit


def test_a_large_page_is_thinned_and_says_so(thinned):
    file, limit = thinned
    inside = held_in(file.read_text(encoding="utf-8"))
    kinds = {kind for kind, _ in inside["thinned"]}
    assert 0.99 * limit < file.stat().st_size <= limit and {"weights", "examples", "units", "steps"} <= kinds
    one = inside["parts"][0]
    assert (one["H"], one["T"], one["B"], len(one["units"])) == (5, 4, 1, 5)


def test_weights_that_are_no_numbers_are_named():
    one = part("lstm")
    bad = one._replace(params=one.params._replace(U=one.params.U.at[1, 2].set(jnp.nan)))
    with pytest.raises(InputError, match="lstm: 1 of 144 numbers in U are NaN or infinite"):
        collect([bad], title="bad")
    with pytest.raises(InputError, match="nothing to study"):
        collect([], title="nothing")


def test_any_cell_has_a_page_with_what_it_has():
    """A cell with a mask, without a readout."""
    mask = jnp.ones((8, 2), bool).at[5:, 1].set(False)
    found = collect([part("janet", mask=mask)._replace(predict=None, head=None, targets=None)], title="janet")
    one = found.parts[0]
    assert one.keep.gate == "f" and one.lengths == [8, 5] and not one.failed
    assert [one.views[name] for name in ("flow", "atlas", "attention", "replay")] == [None] * 4
    assert one.live.program["cell"] == "janet" and {line["name"] for line in one.lines} >= {"f", "g", "h'"}
    assert "half-life" in report.page(found)


def test_a_notebook_shows_the_page_in_a_frame_of_its_own(data):
    found = report.Report(data)._repr_html_()
    assert found.startswith("<iframe") and 'sandbox="allow-scripts"' in found
    inside = html.unescape(re.search('srcdoc="([^"]*)"', found)[1])
    assert held_in(inside)["parts"][2]["name"] == "rnn"


@pytest.fixture(scope="module")
def window():
    with browsers.browser() as window:
        yield window


@needs_browser
def test_numbers_that_are_not_the_cells_turn_the_footer_red(data, window, tmp_path):
    """One output gate is 1e-4 from what the weights make of it."""
    first = data.parts[0]
    o = first.gates["o"].copy()
    o[5, 1, 2] += 1e-4
    wrong = data._replace(parts=[first._replace(gates={**first.gates, "o": o}), *data.parts[1:]])
    (tmp_path / "wrong.html").write_text(report.page(wrong), encoding="utf-8")
    window.open(tmp_path / "wrong.html", "lang=en")
    found = window.run("return window.jaxseqStudy.check()")
    assert [check["ok"] for check in found] == [False, True, True]
    assert found[0]["error"] == pytest.approx(1e-4, rel=0.05)
    verdict = window.run("const v = document.querySelector('#verdict'); return [v.className, v.textContent]")
    assert verdict == ["no", "✗ checks that fail: 1; do not trust this page"]


@needs_browser
def test_the_page_works_in_a_notebooks_frame(data, window, tmp_path):
    """Where it has neither an address nor storage of its own."""
    notebook = tmp_path / "notebook.html"
    notebook.write_text(f"<!doctype html><meta charset=utf-8>{report.Report(data)._repr_html_()}", encoding="utf-8")
    window.log()
    window.open(notebook)
    window.frame("iframe")
    assert window.run("return document.querySelector('#verdict').className") == "ok"
    window.press("\ue014")
    assert window.log() == []
    window.frame(None)


@needs_browser
def test_the_page_loads_by_itself_and_proves_its_cell(page, window):
    window.log()
    window.open(page)
    assert window.run("return document.querySelector('#verdict').className") == "ok"
    assert window.log() == []
    requests = (
        "return performance.getEntriesByType('resource').map((e) => e.name).filter((n) => !n.startsWith('data:'))"
    )
    assert window.run(requests) == []
    assert window.run("return document.querySelectorAll('script[src], link[rel=stylesheet], iframe').length") == 0
    errors = window.run("return window.jaxseqStudy.check().map((c) => c.error)")
    assert len(errors) == 3 and 0 < max(errors) < 1e-5
    said = window.run("return document.querySelector('h1').textContent")
    assert said == f"cells on {NASTY}"


VIEWS = views.ORDER
OUTSIDE = """return [...document.querySelectorAll('body *')].filter((n) => { const b = n.getBoundingClientRect();
return b.right > innerWidth + 1 || (b.width && b.left < -1); }).map((n) => n.outerHTML.slice(0, 80))"""
OVERLAPPING = """return [...document.querySelectorAll('svg.chart')].flatMap((chart) => {
const boxes = [...chart.querySelectorAll('text')].map((n) => [n.textContent, n.getBoundingClientRect()]);
return boxes.flatMap(([a, p], n) => boxes.slice(n + 1).filter(([, q]) => Math.min(p.right, q.right) - Math.max(p.left,
q.left) > 1 && Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top) > 4).map(([b]) => `${a} | ${b}`)); })"""
UNNAMED = "const said = document.body.innerText; return [...said.matchAll(/\\b(v|how|none|check|thin|why|says|kind)\\."
UNNAMED += "[a-z_]+/g)].map((m) => m[0])"


@needs_browser
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize(("theme", "lang"), [("light", "en"), ("dark", "zh")])
def test_nothing_is_cut_off(page, thinned, window, width, theme, lang):
    window.size(width)
    seen = set()
    for file, p in [(page, 0), (page, 1), (page, 2), (thinned[0], 0)]:
        window.open(file, f"p={p}&t=4&theme={theme}&lang={lang}&clamp={'f:*:1' if p == 0 else ''}")
        assert window.run(OUTSIDE) == [] and window.run("return document.documentElement.scrollWidth <= innerWidth")
        assert window.run(OVERLAPPING) == []
        assert window.run("const r = document.querySelector('#read'); return r.scrollHeight <= r.clientHeight + 1")
        assert window.run("return document.querySelector('#verdict').className") == "ok"
        assert window.run("return document.documentElement.lang") == {"en": "en", "zh": "zh-CN"}[lang]
        assert window.run(UNNAMED) == []
        seen |= set(window.run("return [...document.querySelectorAll('.view:not([hidden])')].map((n) => n.id)"))
    assert seen == {f"v-{name}" for name in VIEWS} and window.log() == []


@needs_browser
def test_scrubber_keys_mouse_and_address(page, window):
    window.size(1280)
    window.open(page, "lang=en&theme=light&t=0")
    read = "return document.querySelector('#read').textContent"
    state = "const s = window.jaxseqStudy.state; return [s.t, s.u]"
    window.press("\ue014\ue014")  # right, right
    assert window.run(state)[0] == 2 and window.run(read).startswith("t 2 ")
    window.press("\ue012", "#scrub")
    assert window.run(state)[0] == 1
    before = window.run(state)[1]
    window.press("\ue015")
    window.press("\ue015")
    assert window.run(state)[1] != before
    assert "t=1" in window.run("return location.hash")
    window.point("#v-timelines canvas", 0.5, 0.5)
    assert re.match(r"t \d “.*”   i\[\d\] = σ\(", window.run(read))
    window.wait("setTimeout(arguments[0], 300)")  # views out of sight are drawn when the scrubber rests
    window.click("#v-timelines canvas")
    chosen = window.run(state)
    window.open(page, window.run("return location.hash.slice(1)"))
    assert window.run(state) == chosen
    for wrong in ("t=99&u=-4&p=7&e=x", "clamp=q:*:1,f:99:1,f:*:nan&swap=1:88&pins=1,z,77", "lang=xx&theme=pink"):
        window.open(page, wrong)
        assert window.run("return document.querySelector('#verdict').className") == "ok"
    window.click("#pin")
    assert "pins=" in window.run("return location.hash")


@needs_browser
@pytest.mark.parametrize("how", ["mouse", "keyboard"])
def test_language_and_theme(page, window, how):
    press = window.click if how == "mouse" else lambda selector: window.press("\ue007", selector)  # enter
    window.open(page, "lang=en&theme=light")
    press("#lang")
    assert window.run("return document.querySelector('#v-half h2').textContent") == "记忆半衰期"
    press("#theme")
    assert window.run("return document.documentElement.dataset.theme") == "dark"
    assert window.run("return document.activeElement.id") == "theme"  # drawn anew, and still in its place
    assert window.log() == []


@needs_browser
def test_every_heat_map_says_what_is_under_the_pointer(page, window):
    window.size(1280)
    for p in range(3):
        window.open(page, f"p={p}&lang=en&theme=light")
        count = window.run("document.querySelectorAll('canvas').forEach((n, k) => { n.id = `heat${k}`; }); return 1")
        count = window.run("return document.querySelectorAll('canvas').length")
        assert count >= 8
        for k in range(count):
            window.run("document.querySelector('#read').textContent = ''")
            window.point(f"#heat{k}", 0.6, 0.4)
            said = window.run("return document.querySelector('#read').textContent")
            assert re.search(r"\d", said) and (
                "=" in said or "“" in said or "Δ" in said or "step" in said or "∂" in said
            )


@needs_browser
def test_a_long_equation_ends_its_lines_within_its_place(page, window):
    """As those of a decoder in layers, which ran over each other and over the edge of the page."""
    long = (
        "σ ( " + " + ".join(["x_t W^1_r", "s_3,t C^1_r", "h^1_t−1 U^1_r", "r^1_t ⊙ ( h^1_t−1 U^1_n + b^1_hn )"]) + " )"
    )
    for width in (1280, 390):
        window.size(width)
        window.open(page, "p=1&lang=en&theme=light")
        window.run(
            "const j = jaxseqStudy; j.part().lines.forEach((l) => { l.form = arguments[0]; }); j.change({})", long
        )
        window.settle()
        over = """return [...document.querySelectorAll('#v-equation .math')].filter((n) => [...n.children].some((m) =>
            m.getBoundingClientRect().right > n.closest('.eq').getBoundingClientRect().right + 1)).length"""
        assert window.run(over) == 0
        assert window.run("return document.querySelectorAll('#v-equation .math').length") >= 3
        assert window.run("return document.documentElement.scrollWidth <= innerWidth")


@needs_browser
def test_many_units_are_sorted_by_likeness_and_zoomed_into(window, tmp_path):
    found = collect([part("gru", H=40)], title="many", briefly=True)
    (tmp_path / "many.html").write_text(report.page(found), encoding="utf-8")
    one = found.parts[0]
    shown = "return window.jaxseqStudy.shownUnits()"
    named = """const texts = document.querySelector('#v-timelines canvas').figure().querySelectorAll('text');
        return [...texts].map((n) => n.textContent)"""
    window.size(1280)
    window.open(tmp_path / "many.html", "lang=en&theme=light&u=3")
    assert window.run(shown) == one.order and not set(map(str, one.order)) <= set(window.run(named))  # no room for 40
    window.click("#pick-alike")
    assert window.run(shown) == one.alike
    window.click("#zoom")
    first = one.alike.index(3) // 32 * 32
    assert window.run(shown) == one.alike[first : first + 32]
    assert set(map(str, one.alike[first : first + 32])) <= set(window.run(named))  # each has its number
    window.click("#page_on" if first == 0 else "#page_back")
    assert window.run(shown) == (one.alike[32:] if first == 0 else one.alike[:32])
    window.open(tmp_path / "many.html", window.run("return location.hash.slice(1)"))
    assert window.run(shown) == (one.alike[32:] if first == 0 else one.alike[:32]) and window.log() == []


@needs_browser
def test_ledger_and_survival_are_the_study_s(page, window):
    window.open(page, "p=0")
    one = part("lstm")
    account = study.ledger(one.cell, one.params, one.xs)
    found = window.run("return window.jaxseqStudy.ledgerOf(4, undefined, 1)")
    np.testing.assert_allclose(found["kept"], account.kept[:, 1, 4], atol=1e-6)
    np.testing.assert_allclose(found["written"], account.written[:, 1, 4], atol=1e-6)
    left = study.survival(study.gates_of(one.cell, one.params, one.xs)["f"])
    found = window.run("return window.jaxseqStudy.survivalOf(undefined, 1).map((a) => Array.from(a))")
    np.testing.assert_allclose(found, left[:, 1], atol=1e-6)


@needs_browser
def test_the_parts_of_a_state_are_the_study_s(page, window):
    window.open(page, "p=0")
    one = part("lstm")
    wanted = study.contributions(one.cell, one.params, one.xs, steps=[5]).parts[0, :7, 1, 4]
    found = window.run("return Array.from(window.jaxseqStudy.VIEWS.contributions.partsOf(5, 4, undefined, 1))")
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@needs_browser
def test_a_page_opens_where_it_can_show_something_and_says_what(page, window, data):
    """At the last scored step, on the unit that the atlas says matters most, under four sentences with links."""
    window.open(page, "lang=en")
    change = data.parts[0].views["atlas"].change
    unit = np.unravel_index(np.abs(change).argmax(), change.shape)[2]
    state = window.run("const s = window.jaxseqStudy.state; return [s.e, s.t, s.u]")
    assert state == [0, 7, unit]
    said = window.run("return [...document.querySelectorAll('#summary li')].map((n) => n.textContent)")
    assert len(said) == 4 and all(re.search(r"\d", text) for text in said)
    scored = np.asarray(data.parts[0].outcome.scored, bool)
    right = int((data.parts[0].outcome.ids[..., 0] == data.parts[0].outcome.targets)[scored].sum())
    assert said[0].startswith(f"{right} of the {scored.sum()} scored predictions")
    own, largest = data.parts[0].outcome.losses.sum(), change.ravel()[np.abs(change).argmax()]
    assert f"from {own:.3g} to {own + largest:.3g}" in said[1]
    verdict, half = data.parts[0].views["flow"].lags["c"][0], data.parts[0].views["half"]
    assert f"multiplied by {np.exp(verdict.slope):.3g} for" in said[2] and f"up to {verdict.span} steps: " in said[2]
    assert f"{half.outlast} of 6 units" in said[3] if half.outlast else f"the lag is {half.lag}" in said[3]
    window.click("#summary a")
    assert window.run("return document.querySelector('#v-strip').getBoundingClientRect().top") < 200


@needs_browser
def test_every_view_is_copied_as_one_svg(page, window):
    """Well-formed, with each heat map as a picture, the page's texts, and colours that need no style sheet."""
    window.size(1280)
    for p in range(3):
        window.open(page, f"p={p}&lang=en&theme=light")
        ids = window.run("return [...document.querySelectorAll('.view:not([hidden])')].map((n) => n.id.slice(2))")
        for name in ids:
            text = window.run("return window.jaxseqStudy.figureOf(arguments[0])", name)
            root = xml.etree.ElementTree.fromstring(text)
            heats = window.run("return document.querySelectorAll(`#v-${arguments[0]} canvas`).length", name)
            assert len(root.findall(".//{*}image")) == heats and "var(" not in text, name
            charts = window.run(
                "return [...document.querySelectorAll(`#v-${arguments[0]} svg.chart text`)].map((n) => n.textContent)",
                name,
            )
            assert set(charts) <= {node.text or "" for node in root.findall(".//{*}text")}
    assert window.log() == []


@needs_browser
def test_a_view_that_cannot_be_drawn_stops_no_other(page, window):
    window.open(page, "p=0&lang=en")
    window.run(
        "const j = window.jaxseqStudy; j.VIEWS.half.draw = () => { throw new Error('no ink'); };"
        "j.change({ lang: 'zh' });"
    )
    window.settle()
    assert "no ink" in window.run("return document.querySelector('#v-half .body').textContent")
    assert window.run("return document.querySelectorAll('#v-flow svg.chart').length") >= 1
    verdict = window.run("const v = document.querySelector('#verdict'); return [v.className, v.textContent]")
    assert verdict[0] == "no" and verdict[1].endswith("未能生成的视图：1 个")


@needs_browser
def test_what_if_runs_the_cell_as_jax_does(page, window):
    window.open(page, "lang=en&theme=light&p=0&e=1&t=0")
    window.click("#preset-never_forget")
    one = part("lstm")
    _, seen = trace(clamp(one.cell, f=1.0), one.params, one.xs)
    wanted = float(one.losses(seen.outs)[:, 1].sum())
    study = "const j = window.jaxseqStudy, s = j.state; "
    found = window.run(study + "return j.rerun(j.part(), s.e, s.clamps, s.swap).losses.reduce((a, b) => a + b, 0)")
    assert found == pytest.approx(wanted, abs=1e-4)
    assert f"→ {wanted:.4g}" in window.run("return document.querySelector('#whatif-loss').textContent")
    window.run("const s = document.querySelector('#whatif-swap'); s.value = '1'; s.dispatchEvent(new Event('change'))")
    window.settle()
    xs = one.xs.at[0].set(jnp.broadcast_to(jnp.eye(4, dtype=jnp.float32)[1], one.xs.shape[1:]))
    _, seen = trace(clamp(one.cell, f=1.0), one.params, xs)
    found = window.run(study + "return j.rerun(j.part(), s.e, s.clamps, s.swap).losses.reduce((a, b) => a + b, 0)")
    assert found == pytest.approx(float(one.losses(seen.outs)[:, 1].sum()), abs=1e-4)
    window.click("#whatif-clear")
    assert "nothing is held" in window.run("return document.querySelector('#whatif-loss').textContent")


@needs_browser
@pytest.mark.parametrize(("p", "gate", "line"), [(0, "f", "a_f"), (1, "n", ""), (2, "a", "a")])
def test_the_equation_is_the_study_s_and_its_snippet_prints_the_number(page, window, p, gate, line):
    window.open(page, f"p={p}")
    code = window.run("const j = window.jaxseqStudy; return j.snippet(j.part(), 1, arguments[0], 5, 4)", gate)
    printed = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    one = part(("lstm", "gru", "rnn")[p])
    values = study.gates_of(one.cell, one.params, one.xs)[gate]
    assert printed == pytest.approx(float(values[5, 1, 4]), abs=1e-5)
    if line:
        trace = {found.name: found for found in one.run.through(study.explain, step=5, unit=4, row=1, most=99).lines}[
            line
        ]
        wanted = [term.value for term in trace.terms if not term.label.startswith("b")]
        found = window.run(
            "const j = window.jaxseqStudy; return j.termsAt(j.part(), 1, arguments[0], 5, 4).slice(0, 5)",
            gate,
        )
        np.testing.assert_allclose([term["product"] for term in found], wanted[:5], atol=1e-6)


@needs_browser
def test_without_scripts_the_picture_is_there(page, window):
    window.cdp("Emulation.setScriptExecutionDisabled", value=True)
    try:
        window.send("POST", "/url", {"url": "about:blank"})
        window.send("POST", "/url", {"url": page.as_uri()})
        seen = window.find("#static svg image")
        assert seen
    finally:
        window.cdp("Emulation.setScriptExecutionDisabled", value=False)


@pytest.fixture(scope="module")
def axe():
    """axe-core, which finds what people who use a keyboard or a screen reader stumble over."""
    found = pytest.importorskip("axe_core_python", reason="axe-core is not installed: pip install axe-core-python")
    return (Path(found.__file__).parent / "axe.min.js").read_text(encoding="utf-8")


@needs_browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(page, window, axe, theme):
    window.size(1280)
    window.open(page, f"lang=en&theme={theme}&clamp=f:*:1&p={int(theme == 'dark') * 2}")
    window.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    window.run(axe + "; window.axe = axe;")
    found = window.wait(
        "const done = arguments[0]; axe.run().then((r) => done(r.violations.map((v) => "
        "[v.id, v.nodes.map((n) => n.html.slice(0, 120)).slice(0, 3)])))"
    )
    assert found == []


def test_every_text_is_there_in_both_languages():
    texts = report.texts()
    assert set(texts["en"]) == set(texts["zh"])
    for name, text in texts["en"].items():
        values = re.findall(r"\{(\d)(?: [^|}]+\|[^|}]+)?\}", text)
        assert values == sorted(values) and len(values) == text.count("{") == text.count("}"), name
        assert values == sorted(re.findall(r"\{(\d)\}", texts["zh"][name])), name
    lean = [name for name in views.ORDER if hasattr(views.view(name), "lean")]
    for kind in ("weights", "examples", *lean, *thin.NEED_NO_WEIGHTS):
        assert f"thin.{kind}" in texts["en"]
    # a view is named by its heading on the page
    assert all(f"“{texts[lang][name]}”" in texts[lang][f"thin.{name}"] for name in lean for lang in texts)
