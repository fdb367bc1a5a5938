"""A cell with a source: written out as a loop by hand, in stacks, under every recurrence and transformation."""

import inspect
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import ATTENTIONS, InputError, decode, stack, trace, unroll
from jaxseq.attention import AttentionCarry, additive, location, monotonic, multi_head, reading, with_attention
from jaxseq.cells import CELLS, drop_between, gru, lstm
from jaxseq.interventions import clamp
from jaxseq.recurrence import EXACT
from jaxseq.regularisers import variational, zoneout
from jaxseq.seq2seq import translator
from jaxseq.study import keeps_in
from jaxseq.testing import assert_close, assert_same, differentiate, holes, loop, noisy

T, B, D, H, S, K, A = 5, 3, 2, 4, 6, 5, 7
KEYS = jax.random.split(jax.random.key(7), 8)
XS, SOURCE = jax.random.normal(KEYS[0], (T, B, D)), jax.random.normal(KEYS[1], (S, B, K))
REAL = jnp.arange(S)[:, None] < jnp.array([[6, 2, 4]])
SIZES = {"value_size": K, "units": A, "dtype": jnp.float64}


def params_of(cell):
    return noisy(KEYS[2], cell.init(KEYS[3], D, H, **SIZES))


def by_hand(params, attention, xs, source):
    """The decoder of Bahdanau et al. as a loop: outputs ``[T, B, H]`` and weights ``[T, B, S]``."""
    own, h, rows = params.cell, jnp.zeros((B, H)), []
    memory = attention.remember(params.attention, source, REAL)
    state = attention.initial_state(params.attention, memory)
    for x in xs:
        state, (context, weights) = attention.attend(params.attention, memory, state, h)
        a = x @ own.W + own.b + context @ params.C
        u = h @ own.U
        r = jax.nn.sigmoid(a[:, :H] + u[:, :H])
        z = jax.nn.sigmoid(a[:, H : 2 * H] + u[:, H : 2 * H])
        n = jnp.tanh(a[:, 2 * H :] + r * (u[:, 2 * H :] + own.b_hn))
        h = (1 - z) * n + z * h
        rows.append((h, weights))
    return tuple(jnp.stack(a) for a in zip(*rows, strict=True))


@pytest.fixture
def no_rank_checks():
    """The loop by hand adds a bias ``[G*H]`` to rows, as NumPy does."""
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("attention", [additive, location], ids=lambda a: a.name)
def test_the_sources_gradient_under_every_recurrence(attention, name, no_rank_checks) -> None:
    cell = with_attention(gru, attention)

    def run(params, xs, source):
        reader = reading(cell, cell.remember(params, source, REAL))
        outs = unroll(reader, params, xs, recurrence=EXACT[name])[1]
        return outs.h, outs.weights

    params = params_of(cell)
    assert_same(name, run, lambda p, xs, s: by_hand(p, attention, xs, s), params, XS, SOURCE)
    by_source = differentiate(run, params, XS, SOURCE)[1][2]
    assert (np.abs(by_source).max((2,)) > 0)[np.asarray(REAL)].all() and not by_source[~np.asarray(REAL)].any()


def test_a_gradient_by_params_is_of_weights_alone() -> None:
    cell = with_attention(lstm, ATTENTIONS["local_m"])  # whose memory holds whole numbers and a mask
    params = params_of(cell)

    def loss(params):
        return (unroll(reading(cell, cell.remember(params, SOURCE, REAL)), params, XS)[1].h ** 2).sum()

    grads = jax.grad(loss)(params)
    assert jax.tree.map(jnp.shape, grads) == jax.tree.map(jnp.shape, params)
    assert all(g.dtype == jnp.float64 and np.abs(g).max() > 0 for g in jax.tree.leaves(grads))


def test_vmap_over_sources_scan_and_forward_mode() -> None:
    cell = with_attention(gru, location)
    params, many = params_of(cell), jax.random.normal(KEYS[4], (4, S, B, K))

    def loss(source):
        return jnp.sin(unroll(reading(cell, cell.remember(params, source, REAL)), params, XS)[1].h).sum()

    alone = jnp.stack([jax.jit(jax.grad(loss))(one) for one in many])
    assert_close("vmap", jax.jit(jax.vmap(jax.grad(loss)))(many), alone)
    scanned = jax.jit(lambda many: jax.lax.scan(lambda _, one: (None, jax.grad(loss)(one)), None, many)[1])(many)
    assert_close("scan", scanned, alone)
    along = jnp.cos(many[0])
    assert_close("jvp", jax.jvp(loss, (many[0],), (along,))[1], jnp.vdot(alone[0], along))
    second = jax.jvp(jax.grad(loss), (many[0],), (along,))[1]
    finite = (jax.grad(loss)(many[0] + 1e-5 * along) - jax.grad(loss)(many[0] - 1e-5 * along)) / 2e-5
    assert_close("second derivative", second, finite, 1e-6)


def test_masks_resets_and_reverse_are_those_of_any_cell() -> None:
    cell = with_attention(gru, location)
    params, mask = params_of(cell), holes(T, (B,))
    resets = jnp.zeros((T, B), bool).at[2, 1].set(True)
    reader = reading(cell, cell.remember(params, SOURCE, REAL))
    start = reader.initial_carry(params, (B,))
    assert isinstance(start, AttentionCarry)
    for options in ({"mask": mask}, {"resets": resets}, {"mask": mask, "reverse": True}):
        got = unroll(reader, params, XS, start, **options)
        assert_close(str(options), got, loop(reader, params, XS, start, **options))


# --- in a stack ------------------------------------------------------------------------------------------------------


def test_in_the_middle_of_a_stack() -> None:
    """Step by step: the layer above gets h and context, each layer its own memory; dropout between as by hand."""
    middle, top = with_attention(lstm, location), with_attention(gru, additive)
    cell = stack(gru, middle, top)
    params = params_of(cell)
    assert params[2].cell.W.shape == (H + K, 3 * H) and cell.output_size(params) == H + K
    noise = drop_between(KEYS[5], 0.5, params, XS)
    assert [keep.shape[-1] for keep in noise.keep] == [H, H + K]

    def apart(params, xs, source):
        below = unroll(gru, params[0], xs)[1] * noise.keep[0]
        seen = unroll(reading(middle, middle.remember(params[1], source, REAL)), params[1], below)[1]
        both = jnp.concatenate([seen.h, seen.context], -1) * noise.keep[1]
        return unroll(reading(top, top.remember(params[2], source, REAL)), params[2], both)[1]

    def stacked(params, xs, source):
        reader = reading(cell, cell.remember(params, source, REAL))
        return unroll(reader, params, noise._replace(x=xs))[1]

    assert_same("stack", stacked, apart, params, XS, SOURCE)


def test_each_layer_may_read_a_source_of_its_own() -> None:
    layer = with_attention(gru, additive)
    cell = stack(layer, lstm, layer)
    params, other = params_of(cell), jnp.cos(SOURCE)
    memory = (layer.remember(params[0], SOURCE), None, layer.remember(params[2], other))
    by_layer = stack(reading(layer, memory[0]), lstm, reading(layer, memory[2]))
    assert_close("bound by layer", unroll(by_layer, params, XS), unroll(reading(cell, memory), params, XS))
    same = unroll(reading(cell, cell.remember(params, SOURCE)), params, XS)[1].h
    assert np.abs(same - unroll(reading(cell, memory), params, XS)[1].h).max() > 1e-3


def test_a_stack_in_a_stack() -> None:
    inner = stack(with_attention(gru, additive), lstm)
    cell, flat = stack(gru, inner), stack(gru, with_attention(gru, additive), lstm)
    params = cell.init(KEYS[0], D, (H, (H, 3)), **SIZES)
    flat_params = (params[0], *params[1])
    got = unroll(reading(cell, cell.remember(params, SOURCE, REAL)), params, XS)[1]
    want = unroll(reading(flat, flat.remember(flat_params, SOURCE, REAL)), flat_params, XS)[1]
    assert_close("nested", got, want)


def test_options_go_to_the_layers_that_take_them() -> None:
    cell = stack(gru, with_attention(lstm, additive))
    assert {"value_size", "units", "forget_bias", "kernel"} <= set(inspect.signature(cell.init).parameters)
    less, more = (cell.init(KEYS[0], D, H, forget_bias=f, **SIZES) for f in (0.0, 3.0))
    np.testing.assert_allclose(more[1].cell.b - less[1].cell.b, 3.0 * (np.arange(4 * H) // H == 1))
    assert_close("the gru", more[0], less[0], 0.0)
    with pytest.raises(InputError, match=r"GRUParams.*'forgett'"):
        cell.init(KEYS[0], D, H, forgett=1.0, **SIZES)


# --- wrapped ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda c: clamp(c, f=0.3), lambda c: zoneout(c, 0.2)], ids=["clamp", "zoneout"])
def test_a_wrapped_cell_reads_as_well(wrap) -> None:
    """The source may be given before or after the cell is wrapped, and inside a stack."""
    cell = with_attention(lstm, additive)
    params = params_of(cell)
    memory = cell.remember(params, SOURCE, REAL)
    want = unroll(wrap(reading(cell, memory)), params, XS)
    assert_close("after", unroll(reading(wrap(cell), memory), params, XS), want)
    assert_close("in a stack", unroll(reading(stack(wrap(cell)), (memory,)), (params,), XS)[1], want[1])
    assert np.abs(want[1].h - unroll(reading(cell, memory), params, XS)[1].h).max() > 1e-3


def test_around_a_variational_cell() -> None:
    keep = jax.random.bernoulli(KEYS[6], 0.5, (B, H)).astype(jnp.float64) * 2
    params = params_of(with_attention(gru, additive))  # the mask is not among them

    def driven(run):
        def outcome(params, keep):
            cell = with_attention(variational(gru, keep), additive)
            start = gru.initial_carry(params.cell, (B,))
            return run(reading(cell, cell.remember(params, SOURCE)), params, XS, start)[1].h

        return outcome

    assert_same("variational", driven(unroll), driven(loop), params, keep)


def test_gates_are_found_out_within_jit_and_outside() -> None:
    cell = with_attention(lstm, additive)
    params = params_of(cell)
    found = []

    @jax.jit
    def inside(source):
        found.append(keeps_in(reading(cell, cell.remember(params, source)), params, XS))
        return source

    inside(SOURCE)
    found.append(keeps_in(reading(cell, cell.remember(params, SOURCE, REAL)), params, XS))
    assert [[(keep.leaf, keep.gate) for keep in one] for one in found] == [[("c", "f")]] * 2


def test_trace_shows_the_gates() -> None:
    cell = with_attention(gru, additive)
    params = params_of(cell)
    reader = reading(cell, cell.remember(params, SOURCE, REAL))
    carry, seen = trace(reader, params, XS)
    assert seen.gates.z.shape == (T, B, H)
    assert_close("outs", (carry, seen.outs), unroll(reader, params, XS), 1e-12)


# --- a beam ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", [additive, location, monotonic, multi_head], ids=lambda a: a.name)
def test_what_is_encoded_can_be_repeated_row_by_row(attention) -> None:
    """As a beam does: every leaf is ``[B, ...]``, and three copies of a row decode as the row does."""
    model = translator(gru, attention)
    params = noisy(KEYS[0], model.init(KEYS[1], 9, 7, embedding=4, hidden=4, dtype=jnp.float64))
    source = jnp.asarray([[3, 4, 5, 6, 2], [5, 2, 0, 0, 0]]).T
    options = {"eos": 1, "max_length": 6}

    @jax.jit
    def write(params):
        encoded = model.encode(params, source, source != 0)
        beams = jax.tree.map(lambda a: jnp.repeat(a, 3, axis=0), encoded)
        once = decode.greedy(model.step(params, encoded), encoded.carry, jnp.full(2, 2), **options)
        return once, decode.greedy(model.step(params, beams), beams.carry, jnp.full(6, 2), **options)

    once, often = write(params)
    np.testing.assert_array_equal(often.tokens, np.repeat(once.tokens, 3, axis=1))
    assert_close("weights", often.seen, jnp.repeat(once.seen, 3, axis=1))


def test_decode_returns_the_carry_after_the_last_step() -> None:
    model = translator(lstm, location)
    params = noisy(KEYS[0], model.init(KEYS[1], 9, 7, embedding=4, hidden=4, dtype=jnp.float64))
    source, inputs = jnp.full((4, 2), 3), jnp.asarray([[2, 2], [4, 3], [5, 6]])
    encoded = model.encode(params, source, source != 0)
    step, carry, rows = model.step(params, encoded), encoded.carry, []
    for tokens in inputs:
        carry, seen = step(carry, tokens)
        rows.append(seen)
    want = carry, jax.tree.map(lambda *a: jnp.stack(a), *rows)
    assert_close("at once", model.decode(params, encoded, inputs), want)
    assert_close("forced", model.decode(params, encoded, inputs, jnp.ones((3, 2), bool)), want)


# --- identity and errors ---------------------------------------------------------------------------------------------


def test_attentions_are_known_by_name_or_recipe() -> None:
    for name, attention in ATTENTIONS.items():
        assert name.isidentifier() and repr(attention) == f"<Attention {name}>" and attention.name == name
        assert pickle.loads(pickle.dumps(attention)) is attention
    narrow = location.with_(filters=2, width=5)
    assert narrow == location.with_(width=5, filters=2) == pickle.loads(pickle.dumps(narrow)) != location
    assert hash(narrow) == hash(location.with_(width=5, filters=2))
    assert narrow.init(KEYS[0], 2, 3, 4).F.shape == (5, 2) and location.init(KEYS[0], 2, 3, 4).F.shape == (31, 10)
    assert location.with_(filters=1, width=1).init(KEYS[0], 2, 3, 4).F.shape == (1, 1)
    assert additive.replace(name="mine") != additive and with_attention(gru, narrow) == with_attention(gru, narrow)
    with pytest.raises(InputError, match=r"location.with_: unknown option 'widht': did you mean 'width'"):
        location.with_(widht=3)
    with pytest.raises(InputError, match=r"additive.with_: unknown option 'window'"):
        additive.with_(window=3)


def test_a_cell_with_a_source_is_equal_only_to_one_with_the_same() -> None:
    cell = with_attention(gru, additive)
    params = params_of(cell)
    memory = cell.remember(params, SOURCE)
    assert reading(cell, memory) == reading(cell, memory) != reading(cell, cell.remember(params, SOURCE))
    again = pickle.loads(pickle.dumps(reading(cell, memory)))
    assert_close("pickled", unroll(again, params, XS), unroll(reading(cell, memory), params, XS), 0.0)
    with pytest.raises(TypeError, match="make it inside the function that is compiled"):
        hash(reading(cell, memory))


CELL = with_attention(gru, additive)
LAYERS = stack(gru, CELL)
PARAMS = CELL.init(KEYS[0], D, H, **SIZES)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: unroll(CELL, PARAMS, XS), r"additive gru: there is no source to read; give it.*reading\(cell"),
        (lambda: CELL.step(PARAMS, gru.initial_carry(PARAMS.cell, (B,)), XS[0]), r"there is no source to read"),
        (lambda: unroll(LAYERS, (PARAMS.cell, PARAMS), XS), r"additive gru: there is no source to read"),
        (lambda: reading(gru, CELL.remember(PARAMS, SOURCE)), r"reading: gru reads no source"),
        (lambda: reading(CELL, SOURCE), r"expected the memory of a source, cell.remember.*; got ArrayImpl"),
        (lambda: reading(LAYERS, CELL.remember(PARAMS, SOURCE)), r"a tuple with one for each layer.*got Memory"),
        (lambda: reading(LAYERS, (None, None)), r"a tuple with one for each layer that reads and None"),
        (lambda: with_attention(LAYERS, additive), r"one layer, whose h is the query; got stack\(gru, additive gru\)"),
        (lambda: with_attention(CELL, additive), r"does not read a source yet; got additive gru"),
        (lambda: translator(CELLS["sru"]).init(KEYS[0], 9, 9, embedding=4, hidden=4),
         r"translator: needs a cell whose carry has an h, as that of gru or lstm; the carry of sru is SRUCarry\(c\)"),
        (lambda: additive.init(KEYS[0], 2, 0, 3), r"value_size must be a whole number above 0; got 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize(
    "name", ["sru", "sru_2017", "qrnn", "qrnn_1", "t_lstm", "deltanet", "gla", "lru", "retention", "s5", "mlstm"]
)
def test_a_cell_whose_carry_has_no_h_is_told_so(name: str) -> None:
    with pytest.raises(InputError, match=f"needs a cell whose carry has an h.*the carry of {name} is"):
        with_attention(CELLS[name], additive).init(KEYS[0], H, H, **SIZES)


def test_a_state_and_inputs_of_several_arrays() -> None:
    """The order of arguments is checked by the structure of the carry, which a source has batch axes of its own in."""
    cell = stack(with_attention(gru, location), gru)
    params = params_of(cell)
    reader, noise = reading(cell, cell.remember(params, SOURCE)), drop_between(KEYS[5], 0.5, params, XS)
    start = reader.initial_carry(params, (B,))
    assert_close("carry", unroll(reader, params, noise, start), unroll(reader, params, noise), 0.0)
