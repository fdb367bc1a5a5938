"""The page of every cell in a real browser: no view fails, and what it computes of the cell is what JAX does."""

import browser as browsers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.affine import Affine
from jaxseq.cells import CELLS
from jaxseq.study import report
from jaxseq.study.collect import collect
from jaxseq.study.part import Part

pytestmark = [
    pytest.mark.xdist_group("pages of cells"),
    pytest.mark.skipif(bool(browsers.missing()), reason=browsers.missing()),
    pytest.mark.usefixtures("as_users_have_it"),
]

T, B, H = 6, 2, 4
WORDS = ["a", "b", "c"]


@pytest.fixture(scope="module")
def window():
    with browsers.browser() as window:
        yield window


def untrained(name: str) -> Part:
    """A cell as its init makes it, reading random words; where its output is not a picture, it says words."""
    cell, key = CELLS[name], jax.random.key(3)
    params = cell.init(key, len(WORDS), H)
    ids = jax.random.randint(key, (T, B), 0, len(WORDS))
    inputs = [[WORDS[n] for n in row] for row in np.asarray(ids).T]
    xs = jax.nn.one_hot(ids, len(WORDS))
    if name == "lstm_mc":
        xs = xs + 1  # mass flows in at each step: an empty state, which is divided by its sum, has no derivative
    if cell.spatial:
        places = (2, 2)[: cell.spatial]
        xs = jnp.broadcast_to(xs.reshape(T, B, *[1] * len(places), -1), (T, B, *places, len(WORDS)))
        return Part(name, cell, params, xs, inputs=inputs)
    V = len(WORDS)
    head = Affine.init(key, cell.output_size(params, V), V, jnp.float32, jax.nn.initializers.normal(1))
    swaps = dict(zip(WORDS, jnp.eye(len(WORDS)), strict=True)) if cell.takes_array else None
    return Part(
        name, cell, params, cell.lift(xs), inputs=inputs, predict=head, targets=(ids + 1) % len(WORDS), words=WORDS,
        head=(head.W, head.b), swaps=swaps,
    )  # fmt: skip


@pytest.mark.parametrize("name", CELLS)
def test_the_page_runs_the_cell_as_jax_does(name, window, tmp_path, record_property) -> None:
    """The page's own check of it on load, and nothing in its console, in both languages."""
    found = collect([untrained(name)], title=name, briefly=True)
    (one,) = found.parts
    assert one.live is not None, one.why_text
    assert one.failed == {} and one.gates and all(check["ok"] for check in found.checks)
    (tmp_path / "page.html").write_text(report.page(found), encoding="utf-8")
    window.log()
    for lang in ("zh", "en"):
        window.open(tmp_path / "page.html", f"lang={lang}")
        assert window.run("return document.querySelector('#verdict').className") == "ok"
    (check,) = window.run("return window.jaxseqStudy.check()")
    record_property("worst difference from JAX", check["error"])
    assert check["ok"] and check["error"] < 1e-5
    assert window.log() == []
