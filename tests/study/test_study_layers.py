"""What a page and a terminal show of a stack: each layer by itself, and over how much its numbers were taken."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.cells import CELLS, gru, lstm, stack
from jaxseq.seq2seq import Affine
from jaxseq.study import Batch, Part, collect, gates_of, half_life, inspect, outlasting, thin
from jaxseq.study.checks import check_all
from jaxseq.study.subject import Same

pytestmark = pytest.mark.usefixtures("as_users_have_it")
T, B, WORDS = 7, 2, ["a", "b", "c"]


def part_of(cell, H=5, **options):
    key = jax.random.key(3)
    params = jax.tree.map(lambda a: a + jax.random.normal(key, a.shape) / 2, cell.init(key, 3, H))
    head = Affine.init(key, H, 3, jnp.float32, jax.nn.initializers.normal(1))
    ids = jax.random.randint(key, (T, B), 0, 3)
    return Part(
        "both", cell, params, jax.nn.one_hot(ids, 3), predict=lambda outs: head(outs), targets=(ids + 1) % 3,
        words=WORDS, head=(head.W, head.b), **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def found():
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        one = part_of(stack(gru, lstm))
        return one, collect([part_of(lstm), one], title="layers"), collect([one], title="layers", briefly=True)


def test_every_layer_has_its_own_order_ledger_half_lives_and_atlas(found) -> None:
    one, page, _ = found
    check_all(page.checks)
    assert [part.name for part in page.parts] == ["both", "both, layer 1", "both, layer 2"]
    _, below, above = page.parts
    assert list(below.gates) == ["0.r", "0.z", "0.n"] and list(above.gates) == ["1.i", "1.f", "1.g", "1.o"]
    assert list(below.carries) == ["0.h"] and set(above.carries) == {"1.c", "1.h"}
    named = gates_of(one.cell, one.params, one.xs)
    for part, leaf, gate in ((below, "0.h", "0.z"), (above, "1.c", "1.f")):
        assert part.keep == (leaf, gate, False) and not part.failed
        life = half_life(named[gate])
        np.testing.assert_allclose(part.views["half"].mean, life.geometric_mean, rtol=1e-5)
        assert part.order == np.argsort(-np.asarray(life.half_life), kind="stable").tolist()
        assert part.views["half"].outlast == int(outlasting(life)) and part.views["half"].lag == T
        assert part.views["atlas"].gates == list(part.gates) and part.views["flow"].leaf == leaf
        assert set(part.views["flow"].lags) == set(part.carries) == set(part.views["flow"].norms)
    assert below.order != above.order
    of = [check["part"] for check in page.checks if check["id"] == "ledger"]
    assert of == ["both", "both, layer 1", "both, layer 2"]
    of = [check["part"] for check in page.checks if check["id"] == "jacobian"]  # of the whole state, once
    assert of == ["both", "both"] and below.views["jacobian"] is above.views["jacobian"]


def test_layers_share_one_program_that_runs_all_of_them(found) -> None:
    _, page, _ = found
    alone, below, above = page.parts
    assert alone.live.program and below.live.program and above.live == Same(1)
    assert set(below.live.program["gates"]) == {*below.gates, *above.gates}
    left = thin.thinnings(page.parts)
    (examples,) = [one for one in left if one.kind == "examples"]
    first = examples.thin(page.parts)
    assert first[2].live == Same(1) and first[1].live.x[0].shape[1] == 1
    # weights that layers share go together, under the name of their stack
    both, first = [one for one in left if one.kind == "weights"]
    assert (both.of, first.of) == ("both", alone.name)
    assert [one.live for one in both.thin(page.parts)] == [alone.live, None, None]


def test_the_terminal_names_each_layers_held_gates(found) -> None:
    text = inspect.render(found[2], width=200)
    assert "both, layer 1 (" in text and "both, layer 2 (" in text
    below, above = (part.views["whatif"].change for part in found[2].parts)
    assert list(below) == ["0.r", "0.z", "0.n"] and f"layer 2: f := 0 {float(above['1.f'][0]):+.3g}" in text


def test_a_change_without_a_result_is_named_and_the_rest_is_shown() -> None:
    """An sLSTM with i := 0 divides 0 by 0."""
    one = part_of(CELLS["slstm"])
    brief, page = collect([one], title="slstm", briefly=True), collect([one], title="slstm")
    check_all(page.checks)
    text = inspect.render(brief, width=300)
    assert "i := 0 undefined; i := 1 " in text and "nan" not in text
    (check,) = [check for check in page.checks if check["id"] == "undefined"]
    change = page.parts[0].views["atlas"].change
    assert np.isnan(change[0, 0]).all() and np.isfinite(change[1:]).all() and check["ok"]
    np.testing.assert_allclose(check["error"], np.isnan(change).mean())


def test_a_corpus_is_pooled_and_said() -> None:
    one = part_of(lstm)
    more = jax.random.normal(jax.random.key(9), (30, 4, 3))
    mask = jnp.arange(30)[:, None] < jnp.array([[30, 5, 9, 1]])
    (part,) = collect([one._replace(corpus=[Batch(more, None, mask)], lag=3)], title="a", briefly=True).parts
    life = half_life(gates_of(lstm, one.params, more, mask=mask)["f"], mask)
    np.testing.assert_allclose(part.views["half"].mean, life.geometric_mean, rtol=1e-5)
    assert part.pooled == (4, 45) and part.views["half"].longest == 30
    assert part.views["half"].outlast == int((np.asarray(life.half_life) > 3).sum())
    data = collect([one._replace(corpus=[Batch(more, None, mask)], lag=3)], title="a", briefly=True)
    text = inspect.render(data, width=300)
    assert f"{part.views['half'].outlast} of 5 units outlast the lag of 3 steps (over 4 sequences, 45 steps)" in text


def test_a_cell_that_retains_without_a_gate_is_said_to() -> None:
    one = part_of(CELLS["lru"])
    data = collect([one], title="lru", briefly=True)
    (part,) = data.parts
    moduli = np.exp(-np.exp(np.asarray(one.params.log_nu)))
    assert part.keep is None and part.retained.leaves == ["re", "im"]
    np.testing.assert_allclose(part.retained.moduli, [moduli.min(), moduli.max()], rtol=1e-5)
    assert f"multiplies re, im by the same map, with eigenvalues of modulus {moduli.min():.3g}" in inspect.render(
        data, width=300
    )
