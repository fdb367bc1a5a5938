"""unroll, trace and bidirectional: masks, padding, reversal and pieces against plain loops, and how they compose."""

import functools
import itertools
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from reference import RESETS, episodes

from jaxseq import (
    Bidirectional,
    InputError,
    bidirectional,
    init_bidirectional,
    init_layers,
    layers,
    length_mask,
    trace,
    unroll,
)
from jaxseq.attention import additive, reading, with_attention
from jaxseq.cells import CELLS, Cell, Dropped, GRUCarry, activate, drop_between, gru, gru_cho, lstm, rnn, stack
from jaxseq.recurrence import EXACT, RECURRENCES, checkpointed, clipped, deferred, scan
from jaxseq.recurrence._deferred import HOIST_BELOW
from jaxseq.study import ledger
from jaxseq.testing import Subject, assert_close, cotangent, differentiate, draw, holes, noisy

T, B, D, H = 6, 3, 2, 4
CORE = ["rnn", "rnn_relu", "lstm", "gru", "gru_cho"]
"""Cells of different kinds; all the others obey the laws (test_laws.py), from which these follow."""
cells = pytest.mark.parametrize("cell", [CELLS[name] for name in CORE], ids=lambda cell: cell.name)


@functools.cache
def problem(name: str, dtype=jnp.float64):
    """Random params, xs and carry, none of them zero."""
    cell, rng = CELLS[name], np.random.default_rng(0)
    params = cell.init(jax.random.key(0), D, H, dtype=dtype)
    params, carry = (
        jax.tree.map(lambda a: a + jnp.asarray(rng.normal(size=a.shape) / 2, dtype), tree)
        for tree in (params, cell.initial_carry(params, (B,)))
    )
    return params, jnp.asarray(rng.normal(size=(T, B, D)), dtype), carry


@functools.cache
def compiled(name: str, recurrence: str, reverse: bool):
    def run(params, xs, carry, mask):
        return unroll(CELLS[name], params, xs, carry, mask=mask, reverse=reverse, recurrence=EXACT[recurrence])

    return jax.jit(run)


@functools.cache
def one_step(name: str):
    return jax.jit(CELLS[name].step)


def looped(name, params, xs, carry, mask, reverse):
    """A Python loop over rows and steps that skips padding."""
    outs = np.zeros((*xs.shape[:2], H))
    last = []
    for b in range(xs.shape[1]):
        own = jax.tree.map(lambda a, b=b: a[b], carry)
        for t in range(len(xs))[:: -1 if reverse else 1]:
            if mask[t, b]:
                own, out = one_step(name)(params, own, xs[t, b])
                outs[t, b] = out
        last.append(own)
    return jax.tree.map(lambda *a: jnp.stack(a), *last), outs


masks = arrays(bool, (T, B))
names = st.sampled_from(sorted(CORE))
recurrences = st.sampled_from(sorted(EXACT))


@given(names, recurrences, masks, st.booleans())
def test_any_mask_equals_a_loop_that_skips(name, recurrence, mask, reverse):
    params, xs, carry = problem(name)
    rubbish = jnp.where(mask[..., None], xs, jnp.full_like(xs, jnp.nan))
    got_carry, got = compiled(name, recurrence, reverse)(params, rubbish, carry, mask)
    want_carry, want = looped(name, params, xs, carry, mask, reverse)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), got_carry, want_carry)


@given(names, st.lists(st.integers(0, T), min_size=B, max_size=B))
def test_reverse_of_padded_rows_equals_flipping_each_row(name, lengths):
    params, xs, carry = problem(name)
    mask = np.arange(T)[:, None] < np.array(lengths)
    flipped = np.zeros_like(xs)
    for b, n in enumerate(lengths):
        flipped[:n, b] = xs[:n, b][::-1]
    got_carry, got = compiled(name, "scan", True)(params, xs, carry, mask)
    want_carry, want = compiled(name, "scan", False)(params, flipped, carry, mask)
    for b, n in enumerate(lengths):
        np.testing.assert_allclose(got[:n, b], want[:n, b][::-1], rtol=1e-12, atol=1e-12)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), got_carry, want_carry)


@given(names, recurrences, masks, st.integers(1, T - 1))
def test_pieces_equal_the_whole(name, recurrence, mask, cut):
    params, xs, carry = problem(name)
    run = functools.partial(unroll, CELLS[name], params, recurrence=EXACT[recurrence])
    middle, early = run(xs[:cut], carry, mask=jnp.asarray(mask[:cut]))
    end, late = run(xs[cut:], middle, mask=jnp.asarray(mask[cut:]))
    want_end, want = compiled(name, recurrence, False)(params, xs, carry, mask)
    np.testing.assert_allclose(np.concatenate([early, late]), want, rtol=1e-12, atol=1e-12)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), end, want_end)


def test_gru_cho_equals_the_papers_equations():
    """Cho et al. 2014, equations 5 to 8, one unit at a time."""
    params, xs, carry = problem("gru_cho")
    sigmoid = lambda a: 1 / (1 + np.exp(-a))  # noqa: E731
    W, U, U_n, b = (np.asarray(p) for p in (params.W, params.U, params.U_n, params.b))
    W_r, W_z, W_n = W[:, :H], W[:, H : 2 * H], W[:, 2 * H :]
    U_r, U_z = U[:, :H], U[:, H:]
    h, x = np.array(carry.h), np.asarray(xs)
    for t in range(T):
        for row in range(B):
            old = h[row].copy()
            r = np.array([sigmoid(W_r[:, j] @ x[t, row] + U_r[:, j] @ old + b[j]) for j in range(H)])
            z = np.array([sigmoid(W_z[:, j] @ x[t, row] + U_z[:, j] @ old + b[H + j]) for j in range(H)])
            for j in range(H):
                candidate = np.tanh(W_n[:, j] @ x[t, row] + U_n[:, j] @ (r * old) + b[2 * H + j])
                h[row, j] = z[j] * old[j] + (1 - z[j]) * candidate
    got, outs = unroll(gru_cho, params, xs, carry)
    np.testing.assert_allclose(got.h, h, rtol=1e-12)
    np.testing.assert_allclose(outs[-1], h, rtol=1e-12)


def test_lstm_trace_shows_the_equations():
    params, xs, carry = problem("lstm")
    _, seen = trace(lstm, params, xs, carry)
    i, f, g, o = seen.gates
    before = np.concatenate([carry.c[None], seen.carries.c[:-1]])
    np.testing.assert_allclose(seen.carries.c, f * before + i * g, rtol=1e-12)
    np.testing.assert_allclose(seen.outs, o * np.tanh(seen.carries.c), rtol=1e-12)
    np.testing.assert_array_equal(seen.outs, seen.carries.h)


def test_gru_trace_retains_with_z():
    params, xs, carry = problem("gru")
    _, seen = trace(gru, params, xs, carry)
    before = np.concatenate([carry.h[None], seen.carries.h[:-1]])
    np.testing.assert_allclose(seen.outs, seen.gates.z * before + (1 - seen.gates.z) * seen.gates.n, rtol=1e-12)


def test_trace_of_a_stack_has_the_gates_of_each_layer():
    cell = stack(lstm, gru)
    params = cell.init(jax.random.key(0), D, H)
    _, seen = trace(cell, params, jnp.ones((T, B, D), jnp.float32))
    assert seen.gates[0].f.shape == seen.gates[1].z.shape == (T, B, H)


@cells
def test_a_padded_trace_is_zero_where_padded(cell):
    params, xs, carry = problem(cell.name)
    mask = jnp.asarray(np.arange(T)[:, None] < np.array([T, 0, 2]))
    _, seen = trace(cell, params, xs, carry, mask=mask)
    for leaf in jax.tree.leaves(seen):
        assert not np.asarray(leaf)[~np.asarray(mask)].any()


def test_bidirectional_is_two_unrolls():
    params, xs, carry = problem("gru")
    mask = jnp.asarray(np.arange(T)[:, None] < np.array([T, 0, 2]))
    both = Bidirectional(params, jax.tree.map(jnp.negative, params))
    last, outs = bidirectional(gru, both, xs, Bidirectional(carry, carry), mask=mask)
    ahead, there = unroll(gru, both.forward, xs, carry, mask=mask)
    back, behind = unroll(gru, both.backward, xs, carry, mask=mask, reverse=True)
    np.testing.assert_array_equal(outs, np.concatenate([there, behind], axis=-1))
    np.testing.assert_array_equal(last.forward.h, ahead.h)
    np.testing.assert_array_equal(last.backward.h, back.h)


@cells
def test_no_steps_at_all_return_the_carry(cell):
    params, xs, carry = problem(cell.name)
    for recurrence in EXACT.values():
        got, outs = unroll(cell, params, xs[:0], carry, recurrence=recurrence)
        assert outs.shape == (0, B, H)
        jax.tree.map(np.testing.assert_array_equal, got, carry)


# --- how it composes -------------------------------------------------------------------------------------------------


def total(params, xs, carry, cell=gru, recurrence=scan):
    last, outs = unroll(cell, params, xs, carry, recurrence=recurrence)
    return jnp.sin(outs).sum() + (last.h**2).sum()


@given(arrays(float, (3, 6), elements=st.floats(-50, 50)), st.permutations(["sigmoid", "tanh", "sigmoid"]))
def test_activate_is_each_gates_own_function(a, kinds):
    got = jnp.concatenate(activate(jnp.asarray(a), " ".join(kinds)), axis=-1)
    want = [1 / (1 + np.exp(-block)) if kind == "sigmoid" else np.tanh(block)
            for kind, block in zip(kinds, np.split(a, 3, -1), strict=True)]  # fmt: skip
    np.testing.assert_allclose(got, np.concatenate(want, -1), atol=1e-15, rtol=1e-12)


def test_one_trace_for_each_shape():
    params, xs, carry = problem("gru")
    traced = []

    @jax.jit
    def run(params, xs, carry):
        traced.append(xs.shape)
        return unroll(gru, params, xs, carry)

    state = carry
    for shift in range(3):
        state, _ = run(params, xs + shift, state)
    run(params, xs[:2], carry)
    assert traced == [(T, B, D), (2, B, D)]


def test_vmap_over_params_trains_an_ensemble():
    _, xs, carry = problem("gru")
    many = jax.vmap(lambda key: gru.init(key, D, H, dtype=jnp.float64))(jax.random.split(jax.random.key(1), 3))
    got = jax.vmap(jax.grad(total), in_axes=(0, None, None))(many, xs, carry)
    for n in range(3):
        want = jax.grad(total)(jax.tree.map(lambda a, n=n: a[n], many), xs, carry)
        jax.tree.map(lambda a, b, n=n: np.testing.assert_allclose(a[n], b, rtol=1e-10, atol=1e-12), got, want)


@cells
def test_vmap_over_rows_equals_a_batch(cell):
    params, xs, carry = problem(cell.name)
    _, rows = jax.vmap(lambda k, x: unroll(cell, params, x, k), in_axes=(0, 1), out_axes=(0, 1))(carry, xs)
    np.testing.assert_allclose(rows, unroll(cell, params, xs, carry)[1], rtol=1e-12)


@pytest.mark.parametrize("recurrence", EXACT)
def test_second_derivatives(recurrence):
    """A Hessian-vector product, forward over reverse, against the difference of two gradients."""
    params, xs, carry = problem("gru")
    along = jax.tree.map(jnp.cos, params)
    gradient = jax.jit(jax.grad(lambda p: total(p, xs, carry, recurrence=EXACT[recurrence])))
    _, got = jax.jvp(gradient, (params,), (along,))
    eps = 1e-6
    ahead, behind = (gradient(jax.tree.map(lambda p, v, s=s: p + s * eps * v, params, along)) for s in (1, -1))
    want = jax.tree.map(lambda a, b: (a - b) / (2 * eps), ahead, behind)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), got, want)


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_gradients_of_gradients(name):
    """Reverse over reverse, with respect to params, inputs and carry, from both ends, as `scan` has them."""
    data = problem(name)
    along = jax.tree.map(jnp.cos, data)
    for reverse in (False, True):

        def twice(data, how, reverse=reverse):
            run = lambda p, xs, carry: jnp.sin(unroll(CELLS[name], p, xs, carry, reverse=reverse, recurrence=how)[1])  # noqa: E731
            slope = lambda data: jax.grad(lambda data: (run(*data) ** 2).sum())(data)  # noqa: E731
            inner = lambda data: sum((a * b).sum() for a, b in zip(*map(jax.tree.leaves, (slope(data), along))))  # noqa: B905, E731
            return jax.grad(inner)(data)

        got, want = (jax.jit(twice, static_argnums=1)(data, EXACT[how]) for how in ("deferred", "scan"))
        assert_close("gradient of gradient", got, want)


def test_under_checkpoint_and_scan():
    """Streaming in a scan of one's own, with remat around each piece, equals one unroll; gradients as well."""
    params, xs, carry = problem("lstm")

    def streamed(params, xs, carry):
        piece = jax.checkpoint(lambda k, x: unroll(lstm, params, x, k))
        last, outs = jax.lax.scan(piece, carry, xs.reshape(3, 2, B, D))
        return jnp.sin(outs).sum() + (last.h**2).sum()

    want = jax.grad(total, argnums=(0, 1, 2))(params, xs, carry, lstm)
    got = jax.grad(streamed, argnums=(0, 1, 2))(params, xs, carry)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), got, want)


def test_a_batch_sharded_over_devices():
    params, _, _ = problem("gru")
    xs = jnp.asarray(np.random.default_rng(1).normal(size=(T, 4, D)))
    mesh = Mesh(np.array(jax.devices()[:2]), ("batch",))
    spread = jax.device_put(xs, NamedSharding(mesh, PartitionSpec(None, "batch")))
    _, outs = jax.jit(lambda p, x: unroll(gru, p, x))(params, spread)
    assert {shard.data.shape for shard in outs.addressable_shards} == {(T, 2, H)}
    np.testing.assert_allclose(outs, unroll(gru, params, xs)[1], rtol=1e-12)


@cells
def test_bfloat16_stays_bfloat16_and_near(cell):
    params, xs, carry = problem(cell.name)
    half = jax.tree.map(lambda a: a.astype(jnp.bfloat16), (params, xs, carry))
    last, outs = unroll(cell, *half)
    assert outs.dtype == jnp.bfloat16 and all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(last))
    np.testing.assert_allclose(outs.astype(float), unroll(cell, params, xs, carry)[1], atol=0.05, rtol=0.02)


def test_checkpointed_needs_less_memory():
    """Temporary memory of a gradient over 1,024 steps, as the compiler lays it out."""
    params = gru.init(jax.random.key(0), 8, 32)
    xs = jnp.zeros((1024, 16, 8), jnp.float32)

    def loss(params, xs, recurrence):
        return (unroll(gru, params, xs, recurrence=recurrence)[0].h ** 2).sum()

    def memory(recurrence):
        lowered = jax.jit(jax.grad(lambda p, x: loss(p, x, recurrence))).lower(params, xs)
        return lowered.compile().memory_analysis().temp_size_in_bytes

    assert memory(checkpointed) < memory(scan) / 2


def attending():
    """A cell that reads a batch of sources, and uses a matrix inside the equations."""
    return with_attention(gru, additive)


@pytest.mark.parametrize("rows", [B, HOIST_BELOW + 1])
@pytest.mark.parametrize("cell", [lstm, gru, gru_cho, rnn, stack(lstm, gru), attending()], ids=lambda cell: cell.name)
def test_deferred_equals_scan_at_small_and_large_batches(cell, rows):
    """Values, every gradient, and a product with the Hessian: input terms before the loop, and inside it."""
    keys, attends = jax.random.split(jax.random.key(0), 5), cell.name == attending().name
    more = {"value_size": 4, "units": 5} if attends else {}
    params = noisy(keys[0], cell.init(keys[1], D, H, dtype=jnp.float64, **more))
    source = jax.random.normal(keys[2], (7, rows, 4), jnp.float64)
    given = lambda p: reading(cell, cell.remember(p, source, holes(7, (rows,)))) if attends else cell  # noqa: E731
    carry = noisy(keys[3], given(params).initial_carry(params, (rows,)))
    xs, mask = jax.random.normal(keys[4], (T, rows, D), jnp.float64), holes(T, (rows,))

    def loss(params, xs, carry, recurrence):
        last, outs = unroll(given(params), params, xs, carry, mask=mask, reverse=True, recurrence=recurrence)
        return sum(jnp.vdot(cotangent(a), a) for a in jax.tree.leaves((last, outs)))

    arguments = params, xs, carry
    along = jax.tree.map(cotangent, arguments)

    def everything(recurrence):
        gradient = jax.value_and_grad(functools.partial(loss, recurrence=recurrence), argnums=(0, 1, 2))
        return jax.jit(lambda at, along: jax.jvp(gradient, at, along))(arguments, along)

    assert_close(f"{cell.name}, {rows} rows", everything(deferred), everything(scan), 1e-10)


class Counted(NamedTuple):
    h: jax.Array
    t: jax.Array


def test_a_carry_may_count_in_integers():
    """A cell of one's own that writes at every other step only, and so counts."""

    def equations(params, carry, wx, uh):
        h = jnp.where((carry.t % 2 == 0)[..., None], jnp.tanh(wx + uh), carry.h)
        return Counted(h, carry.t + 1), h, ()

    def start(params, batch_shape=()):
        return Counted(rnn.initial_carry(params, batch_shape).h, jnp.zeros(batch_shape, jnp.int32))

    clock = Cell(rnn.init, start, rnn.input_terms, rnn.hidden_terms, equations, "clock")
    params, xs, _ = problem("rnn")

    def loss(params, recurrence):
        carry, outs = unroll(clock, params, xs, recurrence=recurrence)
        return jnp.sin(outs).sum() + (carry.h**2).sum()

    want = jax.grad(loss)(params, scan)
    for recurrence in (deferred, checkpointed):
        got = jax.grad(loss)(params, recurrence)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), got, want)


def test_deferred_keeps_less_than_scan_does():
    """Temporary memory of value and gradient, as the compiler lays it out."""
    params, xs = lstm.init(jax.random.key(0), 32, 32), jnp.zeros((50, 64, 32), jnp.float32)

    def memory(recurrence):
        loss = lambda p, x: (unroll(lstm, p, x, recurrence=recurrence)[1] ** 2).sum()  # noqa: E731
        lowered = jax.jit(jax.value_and_grad(loss, argnums=(0, 1))).lower(params, xs)
        return lowered.compile().memory_analysis().temp_size_in_bytes

    assert memory(deferred) < 0.6 * memory(scan)


@pytest.mark.parametrize("segment", [1, 4, T, 100])
@pytest.mark.parametrize("reverse", [False, True])
def test_checkpointed_in_segments_of_any_length(segment, reverse):
    params, xs, carry = problem("gru")
    recurrence = functools.partial(checkpointed, segment=segment)
    got = unroll(gru, params, xs, carry, reverse=reverse, recurrence=recurrence)
    want = unroll(gru, params, xs, carry, reverse=reverse)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), got, want)


# --- dropout between layers ------------------------------------------------------------------------------------------


def test_dropout_is_on_the_outputs_between_layers_only():
    """A hand-made loop over two layers with the same masks."""
    cell = stack(rnn, gru)
    params = cell.init(jax.random.key(0), D, (H, 5), dtype=jnp.float64)
    _, xs, _ = problem("gru")
    dropped = drop_between(jax.random.key(1), 0.5, params, xs)
    assert isinstance(dropped, Dropped) and dropped.keep[0].shape == (T, B, H)
    assert set(np.unique(dropped.keep[0])) == {0.0, 2.0}
    _, got = unroll(cell, params, dropped)
    _, below = unroll(rnn, params[0], xs)
    _, want = unroll(gru, params[1], below * dropped.keep[0])
    np.testing.assert_allclose(got, want, rtol=1e-12)
    _, plain = unroll(cell, params, xs)
    assert np.abs(got - plain).max() > 1e-3
    _, kept = unroll(cell, params, drop_between(jax.random.key(1), 0.0, params, xs))
    np.testing.assert_allclose(kept, plain, rtol=1e-12)


def test_dropout_under_a_mask_and_checkpointed():
    cell = stack(rnn, gru)
    params = cell.init(jax.random.key(0), D, H, dtype=jnp.float64)
    _, xs, _ = problem("gru")
    dropped = drop_between(jax.random.key(1), 0.5, params, xs)
    mask = jnp.asarray(np.arange(T)[:, None] < np.array([T, 0, 2]))
    got = unroll(cell, params, dropped, mask=mask, recurrence=checkpointed)
    want = unroll(cell, params, dropped, mask=mask)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), got, want)


# --- a cell that reads a source --------------------------------------------------------------------------------------


def test_attention_is_a_cell_like_any_other():
    cell = with_attention(gru, additive)
    keys = jax.random.split(jax.random.key(0), 3)
    params = cell.init(keys[0], D, H, value_size=4, units=6, dtype=jnp.float64)
    values = jax.random.normal(keys[1], (7, B, 4), jnp.float64)
    cell = reading(cell, cell.remember(params, values))
    xs = jax.random.normal(keys[2], (T, B, D), jnp.float64)
    carry = cell.initial_carry(params, (B,))
    _, outs = unroll(cell, params, xs, carry)
    for t, x in enumerate(xs):
        carry, out = cell.step(params, carry, x)
        np.testing.assert_allclose(outs.h[t], out.h, rtol=1e-12)
        np.testing.assert_allclose(outs.context[t], out.context, rtol=1e-12)
    np.testing.assert_allclose(outs.weights.sum(-1), 1, rtol=1e-12)


# --- resets ----------------------------------------------------------------------------------------------------------


def reads_a_source(rows: int):
    """A cell with attention, given a source by ``complete(params)``, and its params."""
    cell, keys = attending(), jax.random.split(jax.random.key(0), 3)
    params = noisy(keys[0], cell.init(keys[1], 3, 5, value_size=4, units=5, dtype=jnp.float64))
    source = jax.random.normal(keys[2], (7, rows, 4), jnp.float64)
    return lambda p: reading(cell, cell.remember(p, source, holes(7, (rows,)))), params


def with_first_state():
    """A GRU whose initial carry is learnt: a reset goes back to it, and so does its gradient."""

    def initial_carry(params, batch_shape=()):
        return gru.initial_carry(params, batch_shape)._replace(
            h=jnp.broadcast_to(jnp.tanh(params.b_hn), (*batch_shape, *params.b_hn.shape))
        )

    return gru.replace(initial_carry=initial_carry, name="gru of a learnt first state")


RESET_CELLS = [
    rnn,
    lstm,
    gru_cho,
    stack(lstm, gru),
    CELLS["lru"],
    CELLS["gru_d"],
    CELLS["conv_gru"],
    with_first_state(),
]


@pytest.mark.parametrize(("reverse", "masked"), [(False, False), (True, True)], ids=["forward", "reverse, masked"])
@pytest.mark.parametrize("cell", [*RESET_CELLS, attending()], ids=lambda cell: cell.name)
def test_resets_are_the_loop_of_reinforcement_learning(cell, reverse, masked):
    """Values, and gradients by params, xs and carry, under every exact recurrence."""
    complete = lambda p: cell  # noqa: E731
    if cell.name == attending().name:
        _, xs, carry = draw(Subject(gru), T, (B,))
        complete, params = reads_a_source(B)
    else:
        params, xs, carry = draw(Subject(cell), T, (B,))
    mask, resets = holes(T, (B,)) if masked else None, jnp.asarray(RESETS)

    def loop(params, xs, carry):
        return episodes(complete(params), params, xs, carry, resets=resets, mask=mask, reverse=reverse)

    want = differentiate(loop, params, xs, carry)
    for name, recurrence in EXACT.items():

        def run(params, xs, carry, recurrence=recurrence):
            options = {"mask": mask, "resets": resets, "reverse": reverse, "recurrence": recurrence}
            return unroll(complete(params), params, xs, carry, **options)

        assert_close(f"{cell.name}, {name}", differentiate(run, params, xs, carry), want)


@pytest.mark.parametrize("segment", [1, 3])
@pytest.mark.parametrize("reverse", [False, True])
def test_clipped_resets_as_the_others(reverse, segment):
    """Its values are theirs; its gradient stops where theirs does."""
    params, xs, carry = draw(Subject(lstm), T, (B,))
    options = {"mask": holes(T, (B,)), "resets": jnp.asarray(RESETS), "reverse": reverse}
    run = functools.partial(clipped, limit=1e9, segment=segment)  # which nothing reaches
    got, want = (
        differentiate(lambda *args, r=r: unroll(lstm, *args, **options, recurrence=r), params, xs, carry)
        for r in (run, scan)
    )
    assert_close("wide", got, want)
    tight = unroll(lstm, params, xs, carry, **options, recurrence=functools.partial(clipped, limit=1e-3))
    assert_close("tight, values", tight, want[0])


@pytest.mark.parametrize("rows", [B, HOIST_BELOW + 1])
def test_second_derivatives_through_resets(rows):
    """A product with the Hessian, input terms before the loop and inside it, against plain scan's."""
    params, xs, carry = draw(Subject(lstm, D, H), T, (rows,))
    resets = ~holes(T, (rows,))

    def loss(params, xs, carry, recurrence):
        tree = unroll(lstm, params, xs, carry, resets=resets, recurrence=recurrence)
        return sum(jnp.vdot(cotangent(a), a) for a in jax.tree.leaves(tree))

    along = jax.tree.map(cotangent, (params, xs, carry))

    def product(recurrence):
        gradient = jax.grad(functools.partial(loss, recurrence=recurrence), argnums=(0, 1, 2))
        return jax.jit(lambda point: jax.jvp(gradient, point, along)[1])((params, xs, carry))

    assert_close("hessian", product(deferred), product(scan), 1e-9)


def test_nothing_passes_a_reset():
    """The gradient of a loss after it by what came before is exactly 0, and a NaN before it does not reach it."""
    params, xs, carry = problem("gru")
    resets = jnp.zeros((T, B), bool).at[3].set(True)
    for recurrence in EXACT.values():
        after = lambda xs, carry, r=recurrence: unroll(gru, params, xs, carry, resets=resets, recurrence=r)[1][3:].sum()  # noqa: E731
        by_xs, by_carry = jax.grad(after, argnums=(0, 1))(xs, carry)
        assert not by_xs[:3].any() and not by_carry.h.any() and (by_xs[3:] != 0).all()
        _, spoilt = unroll(gru, params, xs.at[1].set(jnp.nan), carry, resets=resets, recurrence=recurrence)
        assert np.isnan(spoilt[1:3]).all() and np.isfinite(spoilt[3:]).all()


def test_a_trace_and_both_directions_reset():
    params, xs, carry = draw(Subject(lstm), T, (B,))
    resets, mask = jnp.asarray(RESETS), holes(T, (B,))
    last, seen = trace(lstm, params, xs, carry, mask=mask, resets=resets)
    want_last, want = unroll(lstm, params, xs, carry, mask=mask, resets=resets)
    assert_close("trace", (last, seen.outs), (want_last, want))
    plain = trace(lstm, params, xs, carry, resets=resets)[1]
    before = jnp.concatenate([carry.c[None], plain.carries.c[:-1]])
    before = jnp.where(resets[..., None], jnp.zeros_like(before), before)
    assert_close("equations", plain.carries.c, plain.gates.f * before + plain.gates.i * plain.gates.g)


CUTS = (0, 2, 3, T)


def pieces_apart(run, xs):
    """Each piece of all rows by a run of its own, from the initial carry; outputs one after the other."""
    return jnp.concatenate([run(xs[first:end]) for first, end in itertools.pairwise(CUTS)])


def test_bidirectional_and_layers_with_resets_are_their_pieces_apart():
    keys = jax.random.split(jax.random.key(0), 3)
    xs = jax.random.normal(keys[0], (T, B, D), jnp.float64)
    resets = jnp.zeros((T, B), bool).at[jnp.array(CUTS[1:-1])].set(True)

    def check(run, params):
        got = differentiate(lambda p, x: run(p, x, resets=resets)[1], params, xs)
        assert_close("pieces", got, differentiate(lambda p, x: pieces_apart(lambda x: run(p, x)[1], x), params, xs))

    both = noisy(keys[1], init_bidirectional(keys[2], gru, D, H, dtype=jnp.float64))
    check(functools.partial(bidirectional, gru), both)
    deep = noisy(keys[1], init_layers(keys[2], (lstm, gru), D, (H, 5), both_ways=(True, False), dtype=jnp.float64))
    check(functools.partial(layers, (lstm, gru)), deep)


@pytest.mark.parametrize(
    ("resets", "message"),
    [
        (jnp.zeros((T, B), int), r"unroll\(gru\): resets must be bool \(True where a step begins a new sequence\); "
         r"got int64 \(6, 3\). Try resets.astype\(bool\)"),
        (jnp.zeros((B, T), bool), r"resets must be \[T, B\] = \(6, 3\), as xs; got the shape \(3, 6\). Time comes "
         r"first: try resets.T"),
        (jnp.zeros((T, B, 1), bool), r"resets must be \[T, B\] = \(6, 3\), as xs; got the shape \(6, 3, 1\)\.$"),
        (jnp.zeros((T,), bool), r"resets must be \[T, B\] = \(6, 3\), as xs; got the shape \(6,\)"),
        (np.zeros((T, B)), r"resets must be bool .*; got float64 \(6, 3\)"),
    ],
)  # fmt: skip
def test_resets_that_do_not_fit_are_refused(resets, message):
    params, xs, carry = problem("gru")
    for run in (unroll, trace):
        with pytest.raises(InputError, match=message):
            run(gru, params, xs, carry, resets=resets)


# --- arguments in the old order --------------------------------------------------------------------------------------

STACKED = stack(lstm, gru)


@pytest.mark.parametrize(
    ("run", "cell"),
    [(run, cell) for run in (unroll, trace) for cell in (gru, STACKED, CELLS["gru_d"])]
    + [(ledger, lstm), (ledger, STACKED)],
    ids=lambda value: getattr(value, "name", None) or value.__name__,
)
def test_the_old_order_is_told_in_one_sentence(cell, run):
    params, xs, carry = draw(Subject(cell), T, (B,))
    said = r"the order is \(cell, params, xs, carry=None\): the carry comes after xs, and only if there is one$"
    with pytest.raises(InputError, match=rf"unroll\({re.escape(cell.name)}.*\): got None where xs belongs; {said}"):
        run(cell, params, None, xs)
    with pytest.raises(InputError, match=rf"unroll\({re.escape(cell.name)}.*\): got a carry where xs belongs; {said}"):
        run(cell, params, carry, xs)


# --- masks of lengths ------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, T), min_size=0, max_size=5))
def test_a_mask_of_lengths_has_the_first_steps_of_each_row(lengths):
    mask = length_mask(jnp.asarray(lengths, jnp.int32), T)
    assert mask.dtype == bool and mask.shape == (T, len(lengths))
    for b, n in enumerate(lengths):
        assert mask[:, b].tolist() == [True] * n + [False] * (T - n)


def test_lengths_may_have_any_axes_and_be_traced():
    assert length_mask(2, T).tolist() == [True] * 2 + [False] * (T - 2)
    lengths = np.arange(6).reshape(2, 3)
    want = np.arange(T)[:, None, None] < lengths
    np.testing.assert_array_equal(length_mask(lengths, T), want)
    np.testing.assert_array_equal(jax.jit(length_mask, static_argnums=1)(lengths, T), want)
    np.testing.assert_array_equal(jax.vmap(lambda n: length_mask(n, T), out_axes=1)(jnp.arange(4)),
                                  length_mask(jnp.arange(4), T))  # fmt: skip
    small = length_mask(jnp.array([3, 200], jnp.uint8), 300)  # more steps than its dtype can count
    assert small.shape == (300, 2) and small.sum(0).tolist() == [3, 200]
    assert length_mask(jnp.zeros(1, int), 0).shape == (0, 1)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([1.0, 2.0], r"length_mask: lengths must be whole numbers, one for each row; got float64"),
        ([True, False], r"must be whole numbers, one for each row; got bool"),
        ([1, T + 1], rf"lengths must be from 0 to T = {T}; got {T + 1}$"),
        ([-1, 2], rf"lengths must be from 0 to T = {T}; got -1$"),
    ],
)
def test_lengths_that_cannot_be_are_refused(lengths, message):
    with pytest.raises(InputError, match=message):
        length_mask(jnp.asarray(lengths), T)


def test_lengths_given_as_a_mask_are_told_of_it():
    params, xs, carry = problem("gru")
    with pytest.raises(
        InputError, match=r"mask must be bool .*; got int64 \(3,\). For lengths: jaxseq.length_mask\(lengths, 6\)"
    ):
        unroll(gru, params, xs, carry, mask=jnp.array([6, 0, 2]))


# --- params of both directions and of layers -------------------------------------------------------------------------


def test_both_directions_are_drawn_apart():
    key = jax.random.key(0)
    params = init_bidirectional(key, lstm, D, H, dtype=jnp.float64, forget_bias=3.0)
    ahead, behind = jax.random.split(key)
    assert_close("forward", params.forward, lstm.init(ahead, D, H, dtype=jnp.float64, forget_bias=3.0), 0.0)
    assert_close("backward", params.backward, lstm.init(behind, D, H, dtype=jnp.float64, forget_bias=3.0), 0.0)
    assert (params.forward.W != params.backward.W).all() and params.forward.b[H] == 3.0
    with pytest.raises(InputError, match=r"init of LSTMParams: (unknown option )?'forget_bais'"):
        init_bidirectional(key, lstm, D, H, forget_bais=3.0)


@pytest.mark.parametrize("cell", [lstm, gru, CELLS["lstmp"], CELLS["s5"], CELLS["gru_d"], stack(rnn, gru)],
                         ids=lambda cell: cell.name)  # fmt: skip
def test_params_of_both_directions_run(cell):
    params = init_bidirectional(jax.random.key(0), cell, D, H)
    last, outs = bidirectional(cell, params, jnp.ones((T, B, D), jnp.float32))
    assert outs.shape == (T, B, 2 * cell.output_size(params.forward, D)) and isinstance(last, Bidirectional)


@pytest.mark.parametrize("both", [True, False, (True, False, True), (False, True, False)], ids=str)
def test_params_of_layers_have_the_width_of_what_is_below(both):
    cells, sizes = (lstm, CELLS["lstmp"], gru), (H, 6, 5)
    params = init_layers(jax.random.key(0), cells, D, sizes, both_ways=both)
    ways, width = both if isinstance(both, tuple) else (both,) * 3, D
    for cell, own, twice in zip(cells, params, ways, strict=True):
        assert isinstance(own, Bidirectional) == twice
        one = own.forward if twice else own
        assert one.W.shape[0] == width
        width = cell.output_size(one) * (2 if twice else 1)
    last, outs = layers(cells, params, jnp.ones((T, B, D), jnp.float32))
    assert outs.shape == (T, B, width) and len(last) == 3
    again = init_layers(jax.random.key(0), cells, D, sizes, both_ways=both)
    assert_close("the same key", again, params, 0.0)
    twins = init_layers(jax.random.key(0), (gru, gru), H, H, both_ways=False)
    assert (twins[0].W != twins[1].W).all()  # a key of its own for each layer


def test_layers_of_a_tuple_too_short_are_refused():
    for options in ({"hidden_size": (3,)}, {"hidden_size": 3, "both_ways": (True,) * 3}):
        name = "both_ways" if "both_ways" in options else "hidden_size"
        with pytest.raises(InputError, match=rf"init_layers: {name} must have 2 entries, one for each cell; got"):
            init_layers(jax.random.key(0), (gru, lstm), D, **options)


class Ticking(NamedTuple):
    """A carry with a number of steps."""

    h: jax.Array
    steps: jax.Array


def a_cell_that_ticks(equations):
    return gru.replace(
        initial_carry=lambda p, batch=(): Ticking(gru.initial_carry(p, batch).h, jnp.zeros(batch, int)),
        hidden_terms=lambda p, k: gru.hidden_terms(p, GRUCarry(k.h)),
        equations=equations,
        name="ticking",
    )


def ticks(p, k, wx, uh):
    new, out, named = gru.equations(p, GRUCarry(k.h), wx, uh)
    return Ticking(new.h, k.steps + 1), out, named


@pytest.mark.parametrize(
    "recurrence", [name for name in RECURRENCES if name not in ("associative", "newton", "chunked")]
)
def test_every_recurrence_takes_whole_numbers_in_a_carry(recurrence: str) -> None:
    cell, params = a_cell_that_ticks(ticks), gru.init(jax.random.key(0), 3, 5, dtype=jnp.float64)
    xs = jax.random.normal(jax.random.key(0), (4, 2, 3))

    def loss(cell, params, how):
        carry, outs = unroll(cell, params, xs, recurrence=how)
        return (outs**2).sum(), carry

    slope, carry = jax.grad(lambda p: loss(cell, p, RECURRENCES[recurrence]), has_aux=True)(params)
    assert carry.steps.tolist() == [4, 4]
    assert_close(recurrence, slope, jax.grad(lambda p: loss(gru, p, RECURRENCES[recurrence])[0])(params))


@pytest.mark.parametrize(
    ("equations", "said"),
    [
        (lambda *a: ticks(*a)[:2], r"unroll\(ticking\): equations must return \(carry, out, gates\); got"),
        (lambda *a: (ticks(*a)[0].h, *ticks(*a)[1:]), r"like the one they are given, Ticking\(h, steps\); got array"),
        (
            lambda *a: (ticks(*a)[0]._replace(steps=jnp.zeros((2, 1), int)), *ticks(*a)[1:]),
            r"carry.steps is int64 of shape \(2,\); got int64 of shape \(2, 1\)",
        ),
    ],
)
def test_what_a_step_returns_is_checked(equations, said: str) -> None:
    with pytest.raises(InputError, match=said):
        unroll(a_cell_that_ticks(equations), gru.init(jax.random.key(0), 3, 5), jnp.ones((4, 2, 3), jnp.float32))
