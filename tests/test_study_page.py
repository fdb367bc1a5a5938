"""The page of a study: its cells in JavaScript against JAX, its text, and the page in a real browser."""

import base64
import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import browser as browsers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxseq.study
from jaxseq import trace
from jaxseq.cells import CELLS
from jaxseq.errors import InputError
from jaxseq.interventions import clamp, intervene
from jaxseq.seq2seq import Affine
from jaxseq.study import report
from jaxseq.study.collect import LIVE, collect
from jaxseq.study.colours import colour_maps
from jaxseq.study.part import Part

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


def collected(*names, **options):
    parts = [part(name, **options) for name in names]
    return collect(parts, title=f"cells on {NASTY}", command="jaxseq study", scores=[(1.0, 0.5)] * len(parts))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(report.page(collected("lstm", "gru", "rnn")), encoding="utf-8")
    return file


def node(script, given):
    """Run JavaScript with cell.js loaded and `given` as its data; return what it prints."""
    program = f"const {{ runCell, readOut, lossOf }} = require({json.dumps(str(PAGE / 'cell.js'))});"
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
            cell = clamp(cell, **{one["gate"]: one["value"] if one["unit"] is None else {one["unit"]: one["value"]}})
    return cell


CLAMPS = {
    "lstm": [[], [{"gate": "f", "unit": None, "value": 1}], [{"gate": "i", "unit": None, "value": "1-f"}],
             [{"gate": "o", "unit": 2, "value": 0.25}]],
    "gru": [[], [{"gate": "z", "unit": None, "value": 1}], [{"gate": "r", "unit": 3, "value": 1}]],
    "gru_cho": [[], [{"gate": "r", "unit": None, "value": 0}], [{"gate": "n", "unit": 1, "value": -1}]],
    "rnn": [[], [{"gate": "a", "unit": 0, "value": 0.5}]],
    "rnn_relu": [[]],
}  # fmt: skip


@needs_node
@pytest.mark.parametrize(("name", "clamps"), [(n, c) for n, many in CLAMPS.items() for c in many])
def test_cells_in_javascript_equal_jax(name, clamps):
    """In float64: gates, state, predictions and losses, from a carry that is not zero, held and not."""
    one = part(name, T=12, B=1, H=5, dtype=jnp.float64)
    cell, params = held(one.cell, clamps), one.params
    start = jax.tree.map(lambda a: a + 0.3, one.cell.initial_carry(params, (1,)))
    _, seen = trace(cell, params, start, one.xs)
    model = {"cell": name, "H": 5, "U": np.ravel(params.U).tolist()}
    model |= {extra: np.ravel(getattr(params, extra)).tolist() for extra in ("U_n", "b_hn") if hasattr(params, extra)}
    given = {
        "model": model, "wx": np.asarray(cell.input_terms(params, one.xs))[:, 0].tolist(), "clamps": clamps,
        "start": {leaf: np.asarray(a)[0].tolist() for leaf, a in start._asdict().items()},
        "W": np.ravel(one.head[0]).tolist(), "b": one.head[1].tolist(), "targets": one.targets[:, 0].tolist(),
    }  # fmt: skip
    found = node(
        """const run = runCell(given.model, given.wx, given.start, given.clamps), list = (o) =>
        Object.fromEntries(Object.entries(o).map(([n, a]) => [n, Array.from(a)]));
        const said = readOut(run.carry.h, given.model.H, given.W, given.b);
        console.log(JSON.stringify({ gates: list(run.gates), carry: list(run.carry),
        said: said.map((y) => Array.from(y)), losses: said.map((y, t) => lossOf(y, given.targets[t], true)) }));""",
        given,
    )
    wanted = {**seen.gates._asdict(), **seen.carries._asdict()}
    for gate, values in {**found["gates"], **found["carry"]}.items():
        np.testing.assert_allclose(np.ravel(wanted[gate]), values, atol=1e-9, err_msg=gate)
    assert set(wanted) == {*found["gates"], *found["carry"]}
    np.testing.assert_allclose(one.predict(seen.outs)[:, 0], found["said"], atol=1e-9)
    losses = one._replace(scored=None).losses(seen.outs)[:, 0]
    np.testing.assert_allclose(losses, found["losses"], atol=1e-9)


@needs_node
def test_squared_error_in_javascript_is_the_mean_over_columns():
    given = {"y": [1.0, 2.0, 4.0], "target": [1.0, 0.0, 1.0]}
    assert node("console.log(lossOf(given.y, given.target, false))", given) == pytest.approx(13 / 3)


def data_of(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


def test_a_page_holds_the_numbers_and_nothing_from_elsewhere(page):
    text = page.read_text(encoding="utf-8")
    data, one = data_of(text), part("lstm")
    _, seen = trace(one.cell, one.params, None, one.xs)
    f = data["parts"][0]["gates"]["f"]
    values = np.frombuffer(base64.b64decode(f["f4"]), "<f4").reshape(f["shape"])
    np.testing.assert_array_equal(values, np.asarray(seen.gates.f))
    assert data["parts"][0]["inputs"] == [list(row) for row in one.inputs]
    assert len(text) < report.LIMIT and [p["live"] is not None for p in data["parts"]] == [True] * 3
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


def test_a_broken_invariant_makes_no_page():
    data = collected("lstm")
    broken = {**data["checks"][0], "ok": False, "error": 0.5}
    with pytest.raises(InputError, match="self-check fails, so nothing is shown: half"):
        report.page({**data, "checks": [broken, *data["checks"][1:]]})


def test_a_large_page_is_thinned_and_says_so(monkeypatch):
    data = collected("lstm", "gru", T=220, H=80)
    whole = len(report.page(data, full=True))
    for limit, names in [(0.9, ["others"]), (0.75, ["others", "extra", "examples"]), (0.2, None)]:
        monkeypatch.setattr(report, "LIMIT", int(limit * whole))
        text = report.page(data)
        left = data_of(text)["thinned"]
        assert len(text) <= report.LIMIT and (names is None or left[0] == "others"), (limit, left)
    assert left == [name for name, _ in report.THINNINGS]
    one = data_of(text)["parts"][0]
    assert (one["H"], one["T"], one["B"], len(one["numbers"])) == (64, 200, 1, 64)
    monkeypatch.setattr(report, "LIMIT", 10_000)
    with pytest.raises(InputError, match=r"over the limit .* keep all with --full"):
        report.page(data)


def test_weights_that_are_no_numbers_are_named():
    one = part("lstm")
    bad = one._replace(params=one.params._replace(U=one.params.U.at[1, 2].set(jnp.nan)))
    with pytest.raises(InputError, match="lstm: 1 of 144 numbers in U are NaN or infinite"):
        collect([bad], title="bad")
    with pytest.raises(InputError, match="nothing to study"):
        collect([], title="nothing")


def test_any_cell_has_a_page_with_what_it_has():
    """A cell without a gate that retains, one whose equations the page does not know, and one with a mask."""
    mask = jnp.ones((8, 2), bool).at[5:, 1].set(False)
    data = collected("janet", mask=mask)
    assert [p["keep"] is not None for p in data["parts"]] == [True, False, True]
    assert [p["live"] is not None for p in data["parts"]] == [False, True, False] and data["parts"][0]["lengths"] == [
        8,
        5,
    ]
    assert "half-life" in report.page(data)


def test_a_notebook_shows_the_page_in_a_frame_of_its_own():
    found = report.Report(collected("rnn"))._repr_html_()
    assert found.startswith("<iframe") and 'sandbox="allow-scripts"' in found
    inside = html.unescape(re.search('srcdoc="([^"]*)"', found)[1])
    assert data_of(inside)["parts"][0]["name"] == "rnn"


@pytest.fixture(scope="module")
def window():
    with browsers.browser() as window:
        yield window


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
    assert len(errors) == 3 and max(errors) < 1e-5
    said = window.run("return document.querySelector('h1').textContent")
    assert said == f"cells on {NASTY}"


@needs_browser
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize(("theme", "lang"), [("light", "en"), ("dark", "zh")])
def test_nothing_is_cut_off(page, window, width, theme, lang):
    window.size(width)
    for p in range(3):
        window.open(page, f"p={p}&t=4&theme={theme}&lang={lang}&clamp={'f:*:1' if p == 0 else ''}")
        out = window.run(
            "return [...document.querySelectorAll('body *')].filter((n) => { const b = n.getBoundingClientRect();"
            "return b.right > innerWidth + 1 || (b.width && b.left < -1); }).map((n) => n.outerHTML.slice(0, 80))"
        )
        assert out == [] and window.run("return document.documentElement.scrollWidth <= innerWidth")
        assert window.run("return document.querySelector('#verdict').className") == "ok"
        assert window.run("return document.documentElement.lang") == {"en": "en", "zh": "zh-CN"}[lang]
        missing = window.run(
            "return [...document.body.innerText.matchAll(/\\b(v|how|none|check|thin|why)\\.[a-z_]+/g)].map((m) => m[0])"
        )
        assert missing == []


@needs_browser
def test_scrubber_keys_mouse_and_address(page, window):
    window.size(1280)
    window.open(page, "lang=en&theme=light")
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
    assert re.match(r"t \d “.*”   i\[\d\] = σ\(xW\+b \+ hU\) = σ\(", window.run(read))
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
def test_language_and_theme(page, window):
    window.open(page, "lang=en&theme=light")
    window.click("#lang")
    assert window.run("return document.querySelector('#v-half h2').textContent") == "记忆半衰期"
    window.click("#theme")
    assert window.run("return document.documentElement.dataset.theme") == "dark"
    assert window.log() == []


@needs_browser
def test_what_if_runs_the_cell_as_jax_does(page, window):
    window.open(page, "lang=en&theme=light&p=0&e=1")
    window.click("#preset-never_forget")
    one = part("lstm")
    _, seen = trace(clamp(one.cell, f=1.0), one.params, None, one.xs)
    wanted = float(one.losses(seen.outs)[:, 1].sum())
    study = "const j = window.jaxseqStudy, s = j.state; "
    found = window.run(study + "return j.rerun(j.part(), s.e, s.clamps, s.swap).losses.reduce((a, b) => a + b, 0)")
    assert found == pytest.approx(wanted, abs=1e-4)
    assert f"→ {wanted:.4g}" in window.run("return document.querySelector('#whatif-loss').textContent")
    window.run("const s = document.querySelector('#whatif-swap'); s.value = '1'; s.dispatchEvent(new Event('change'))")
    window.settle()
    xs = one.xs.at[0].set(jnp.broadcast_to(jnp.eye(4, dtype=jnp.float32)[1], one.xs.shape[1:]))
    _, seen = trace(clamp(one.cell, f=1.0), one.params, None, xs)
    found = window.run(study + "return j.rerun(j.part(), s.e, s.clamps, s.swap).losses.reduce((a, b) => a + b, 0)")
    assert found == pytest.approx(float(one.losses(seen.outs)[:, 1].sum()), abs=1e-4)
    window.click("#whatif-clear")
    assert "nothing is held" in window.run("return document.querySelector('#whatif-loss').textContent")


@needs_browser
@pytest.mark.parametrize(("p", "gate"), [(0, "f"), (1, "n"), (2, "a")])
def test_the_snippet_prints_the_number(page, window, p, gate):
    window.open(page, f"p={p}")
    code = window.run("const j = window.jaxseqStudy; return j.snippet(j.part(), 1, arguments[0], 5, 4)", gate)
    printed = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    one = part(("lstm", "gru", "rnn")[p])
    _, seen = trace(one.cell, one.params, None, one.xs)
    assert printed == pytest.approx(float(getattr(seen.gates, gate)[5, 1, 4]), abs=1e-5)


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
def axe(tmp_path_factory):
    """axe-core, which finds what people who use a keyboard or a screen reader stumble over."""
    folder = tmp_path_factory.mktemp("axe")
    if shutil.which("npm") is None:
        pytest.skip("there is no npm to fetch axe-core with")
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder), "axe-core@4"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("npm does not answer")
    file = folder / "node_modules" / "axe-core" / "axe.min.js"
    if done.returncode or not file.exists():
        pytest.skip(f"npm cannot fetch axe-core: {done.stderr.strip()[:200]}")
    return file.read_text(encoding="utf-8")


@needs_browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(page, window, axe, theme):
    window.size(1280)
    window.open(page, f"lang=en&theme={theme}&clamp=f:*:1")
    window.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    window.run(axe + "; window.axe = axe;")
    found = window.wait(
        "const done = arguments[0]; axe.run().then((r) => done(r.violations.map((v) => "
        "[v.id, v.nodes.map((n) => n.html.slice(0, 120)).slice(0, 3)])))"
    )
    assert found == []


def test_every_text_is_there_in_both_languages():
    texts = json.loads((PAGE / "texts.json").read_text(encoding="utf-8"))
    assert set(texts["en"]) == set(texts["zh"])
    for name, text in texts["en"].items():
        assert re.findall(r"\{\d\}", text) == sorted(re.findall(r"\{\d\}", texts["en"][name]))
        assert sorted(re.findall(r"\{\d\}", text)) == sorted(re.findall(r"\{\d\}", texts["zh"][name])), name
    assert {f"thin.{name}" for name, _ in report.THINNINGS} <= set(texts["en"])
    assert set(LIVE) == set(CLAMPS)
