"""Matrix memories in chunks equal the step, at every corner; what they keep, how far float32 drifts, who has them."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import RESETS, episodes

from jaxseq import InputError, mixed, unroll
from jaxseq.cells import (
    CELLS,
    Access,
    Cell,
    Latest,
    MemoryEquations,
    Rest,
    Window,
    Write,
    deltanet,
    gla,
    lstm,
    mlstm,
    mlstm_block,
    retention,
    titans,
)
from jaxseq.recurrence import RECURRENCES, chunked, scan
from jaxseq.recurrence._chunks import inverse
from jaxseq.regularisers import zoneout
from jaxseq.testing import Subject, assert_close, check_cell, differentiate, draw, holes

MATRIX = [cell for cell in CELLS.values() if isinstance(cell.equations, MemoryEquations)]
ONE_OF_EACH = [gla, deltanet, mlstm, retention, titans, mlstm_block]
"""Decays by feature; erasing; a stabiliser; turns; momentum; a window, of which the stabiliser is made."""
H = 6  # which heads divide, and halves of keys


def by(size: int):
    """Chunked, in chunks of so many steps."""
    return functools.partial(chunked, size=size)


def name(cell: Cell) -> str:
    return cell.name


@pytest.mark.parametrize("cell", MATRIX, ids=name)
def test_laws(cell: Cell) -> None:
    """Those of masks and directions, of six steps in chunks of two."""
    laws = ["recurrences", "padding", "reverse", "pieces"]
    check_cell(cell, hidden_size=H, laws=laws, recurrences={"chunked": by(2)})


@pytest.mark.parametrize(
    "law", ["gradients", "forward mode", "trace", "resets", "export", "explicit mesh", "shard_map"]
)
@pytest.mark.parametrize("cell", ONE_OF_EACH, ids=name)
def test_the_other_laws_of_a_recurrence(cell: Cell, law: str) -> None:
    check_cell(cell, hidden_size=H, laws=[law], recurrences={"chunked": by(2)})


@pytest.mark.parametrize("law", ["explicit mesh", "export"])
def test_several_writes_on_a_mesh_and_exported(law: str) -> None:
    """Of which the weights have two axes to be joined in rows and in columns; deltaproduct has two that erase."""
    check_cell(CELLS["deltaproduct"], hidden_size=H, laws=[law], recurrences={"chunked": by(2)})


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("cell", MATRIX, ids=name)
def test_resets_are_the_loop_of_reinforcement_learning(cell: Cell, reverse: bool) -> None:
    """Marks within a chunk and at its edges, some of them at padded steps."""
    T, B = RESETS.shape
    problem = draw(Subject(cell, 3, H), T, (B,))
    options = {"mask": holes(T, (B,)), "resets": jnp.asarray(RESETS), "reverse": reverse}
    got, want = (
        differentiate(functools.partial(run, cell, **options), *problem)
        for run in (functools.partial(unroll, recurrence=by(4)), episodes)
    )
    assert_close(cell.name, got, want)


@pytest.mark.parametrize(("T", "size"), [(1, 64), (5, 64), (7, 4), (8, 4), (9, 1), (13, 8)])
@pytest.mark.parametrize("cell", ONE_OF_EACH, ids=name)
def test_any_length_in_chunks_of_any_size(cell: Cell, T: int, size: int) -> None:
    """Two batch axes, values and gradients to 1e-10 of plain scan."""
    problem = draw(Subject(cell, 3, H), T, (2, 3))
    run = lambda how: differentiate(functools.partial(unroll, cell, recurrence=how), *problem)  # noqa: E731
    for got, want in zip(jax.tree.leaves(run(by(size))), jax.tree.leaves(run(scan)), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("cell", ONE_OF_EACH, ids=name)
def test_no_steps_at_all(cell: Cell) -> None:
    params, xs, carry = draw(Subject(cell, 3, H), 4, (2,))
    for mask in (None, jnp.zeros((0, 2), bool)):
        last, outs = unroll(cell, params, xs[:0], carry, mask=mask, recurrence=chunked)
        assert outs.shape == (0, 2, cell.output_size(params))
        assert_close(cell.name, last, carry, 0.0)


@pytest.mark.parametrize("cell", ONE_OF_EACH, ids=name)
def test_second_derivatives_and_vmap(cell: Cell) -> None:
    """A Hessian times a vector, forward over reverse, of several params at once."""
    params, xs, carry = draw(Subject(cell, 2, 4), 6, (2,))
    many = jax.tree.map(lambda a: jnp.stack([a, 0.7 * a]), params)

    def curved(recurrence):
        loss = lambda p: (jnp.sin(unroll(cell, p, xs, carry, recurrence=recurrence)[1]) ** 2).sum()  # noqa: E731
        along = lambda p: jax.jvp(jax.grad(loss), (p,), (jax.tree.map(jnp.cos, p),))  # noqa: E731
        return jax.jit(jax.vmap(along))(many)

    assert_close(cell.name, curved(by(4)), curved(scan))


@pytest.mark.parametrize("cell", [deltanet, retention, mlstm, titans, mlstm_block], ids=name)
def test_a_reset_goes_back_to_a_first_state_that_is_learnt(cell: Cell) -> None:
    """A memory that is not empty, whose decays and turns begin where its sequence does."""
    start = cell.initial_carry

    def initial_carry(params, batch_shape=()):
        return jax.tree.map(lambda a: a + 0.3 * jnp.tanh(params.W[0, 0]), start(params, batch_shape))

    check_cell(cell.replace(initial_carry=initial_carry), hidden_size=H, laws=["resets"], recurrences={"x": by(4)})


@pytest.mark.parametrize("strong", [-10.0, -400.0, -1e5])
def test_decays_of_any_strength(strong: float) -> None:
    """Decays that underflow, next to some that retain all, in value and gradient: nothing is divided by them."""
    params, xs, carry = draw(Subject(gla, 3, H), 12, (2,))

    def access(params, wx, rest):
        found, gates = gla.equations.access(params, wx, rest)
        weak = jnp.sin(37 * found.log_decay) > 0.3
        return found._replace(log_decay=jnp.where(weak, found.log_decay, strong * (1 + found.log_decay**2))), gates

    cell = gla.replace(equations=MemoryEquations(access), name="forgetful")
    got, want = (differentiate(functools.partial(unroll, cell, recurrence=r), params, xs, carry) for r in (by(4), scan))
    assert_close("forgetful", got, want)


@pytest.mark.parametrize("size", [300.0, -300.0])
def test_exponential_gates_neither_overflow_nor_vanish(size: float) -> None:
    """In float32, where exp(300) is infinite: the stabiliser is that of the step, padded steps included."""
    params = mlstm.init(jax.random.key(0), 3, 4)
    params = params._replace(b_if=params.b_if.at[0].set(size))
    xs = jax.random.normal(jax.random.key(1), (9, 2, 3), jnp.float32)
    run = lambda p, how: unroll(mlstm, p, xs, mask=holes(9, (2,)), recurrence=how)[1]  # noqa: E731
    both = lambda how: jax.value_and_grad(lambda p: run(p, how).sum())(params)  # noqa: E731
    assert all(bool(jnp.isfinite(a).all()) for a in jax.tree.leaves(both(by(4))))
    assert_close("outs", run(params, by(4)), run(params, scan), 1e-5)


def test_a_key_that_is_written_again_and_again() -> None:
    """The worst case of the system that erasing solves: powers of its matrix would have entries of 1e17."""
    ones = np.tril(np.ones((64, 64)), -1)
    want = np.eye(64) - np.eye(64, k=-1)
    np.testing.assert_array_equal(inverse(jnp.asarray(ones)), want)
    random = np.tril(np.random.default_rng(0).normal(size=(3, 48, 48)), -1) / 4
    np.testing.assert_allclose(inverse(jnp.asarray(random)), np.linalg.inv(np.eye(48) + random), rtol=1e-9, atol=1e-9)


def turns_and_erases(params, wx, rest):
    """Turns that the input makes, next to decays and an erasing write."""
    found, gates = retention.equations.access(params, wx, rest)
    (write,) = found.writes
    turn = found.turn + jnp.sin(wx.q_re)
    return found._replace(writes=(write._replace(erase=0.2 * found.query),), turn=turn), gates


@pytest.mark.parametrize("early", [False, True], ids=["after", "before"])
def test_turns_between_resets(early: bool) -> None:
    """Of a query before a step and after it, of what is erased, and of a first state that is not zero."""
    statement = retention.equations
    statement = MemoryEquations(turns_and_erases, pack=statement.pack, unpack=statement.unpack, early=early)
    start = retention.initial_carry
    cell = retention.replace(
        equations=statement, initial_carry=lambda p, batch=(): jax.tree.map(lambda a: a + 0.3, start(p, batch))
    )
    check_cell(cell, hidden_size=H, laws=["recurrences", "resets"], recurrences={"chunked": by(4)})


def only_momentum(params, wx, rest):
    """Nothing is erased, and nothing decays; with forgotten momentum at some steps."""
    access, gates = titans.equations.access(params, wx, rest)
    ((key, value, _),) = access.writes
    momentum = jnp.where(access.momentum > -0.5, access.momentum, -jnp.inf)
    return access._replace(writes=(Write(key, value),), log_decay=None, momentum=momentum), gates


@pytest.mark.parametrize("early", [False, True], ids=["after", "before"])
@pytest.mark.parametrize("access", [titans.equations.access, only_momentum], ids=["erases", "adds"])
def test_momentum_between_resets(access, early: bool) -> None:
    """Of a query before a step and after it, of what is erased or not, of several heads, of a first state not zero."""
    statement = dataclasses.replace(titans.equations, access=access, early=early)
    start = titans.initial_carry
    cell = titans.replace(
        init=functools.partial(titans.init, heads=2),
        equations=statement,
        initial_carry=lambda p, batch=(): jax.tree.map(lambda a: a + 0.3, start(p, batch)),
    )
    check_cell(cell, hidden_size=H, laws=["recurrences", "resets"], recurrences={"chunked": by(4)})


class Windowed(NamedTuple):
    """A memory, the values of the last five steps, and the last sum of them."""

    S: jax.Array
    past: jax.Array
    sum: jax.Array


def values_of_six(params, wx, past):
    """Values summed, each with another weight, over a window that is longer than a chunk."""
    weights = jnp.sin(1 + jnp.arange(5.0))[:, None] * params.W[0, 0]
    return wx._replace(v=wx.v + (jnp.broadcast_to(weights, past.old["past"].shape) * past.old["past"]).sum(-2))


@pytest.mark.parametrize("size", [2, 4, 8])
def test_a_window_between_resets(size: int) -> None:
    """Longer than a chunk and shorter, with a first state that is learnt; the rest is of what it mixes."""

    def initial_carry(params, batch_shape=()):
        start = gla.initial_carry(params, batch_shape).S
        rows = jnp.broadcast_to(jnp.cos(jnp.arange(5 * H, dtype=start.dtype)).reshape(5, H), (*batch_shape, 5, H))
        return Windowed(start, params.W[1, 1] * rows, params.W[1, 2] * rows[..., 0, :])

    statement = MemoryEquations(
        gla.equations.access,
        lambda params, read, gates, wx, rest: read + rest.old["sum"] + rest.new["past"].sum(-2),
        lambda params, wx: {"sum": Latest(wx.v)},
        unpack=lambda S, rest: Windowed(S, rest["past"], rest["sum"]),
        past=lambda params, wx: {"past": Window(wx.v)},
        mixed=values_of_six,
    )
    cell = gla.replace(equations=statement, initial_carry=initial_carry, name="windowed")
    check_cell(cell, hidden_size=H, laws=["recurrences", "resets", "padding"], recurrences={"chunked": by(size)})


def test_a_window_is_its_last_values() -> None:
    state = jnp.zeros((2, 3, 4))
    for n in range(5):
        state = Window(jnp.full((2, 4), float(n))).of(state)
    np.testing.assert_array_equal(state, np.broadcast_to([[[2.0], [3.0], [4.0]]], (2, 3, 4)))


def several_writes(params, wx, rest):
    """Two writes that erase and one that does not, and decays by feature."""
    q, k, v, a = jnp.tanh(wx.q), jnp.tanh(wx.k), wx.v, wx.a
    writes = (Write(k, v, erase=0.3 * q), Write(-q, None, erase=0.2 * k), Write(0.5 * k[..., ::-1], jnp.sin(v)))
    return Access(q, writes, jax.nn.log_sigmoid(a)), ()


@pytest.mark.parametrize("early", [False, True], ids=["after", "before"])
def test_several_writes_in_a_step(early: bool) -> None:
    """The same by a loop of NumPy, matrix by matrix; and in chunks."""
    cell = gla.replace(equations=MemoryEquations(several_writes, early=early), name="several")
    params, xs, carry = draw(Subject(cell, 3, H), 7, ())
    terms = jax.tree.map(np.asarray, cell.input_terms(params, xs))
    S, outs = np.asarray(carry.S), []
    for q, k, v, a in zip(np.tanh(terms.q), np.tanh(terms.k), terms.v, terms.a, strict=True):
        before, I = S, np.eye(len(q))  # noqa: E741
        S = np.diag(1 / (1 + np.exp(-a))) @ S
        S = (I - 0.3 * np.outer(k, q)) @ S + np.outer(k, v)
        S = (I + 0.2 * np.outer(q, k)) @ S
        S = S + 0.5 * np.outer(k[::-1], np.sin(v))
        outs.append(q @ (before if early else S))
    for recurrence in (scan, by(4), by(8)):
        last, got = unroll(cell, params, xs, carry, recurrence=recurrence)
        np.testing.assert_allclose(got, outs, atol=1e-12)
        np.testing.assert_allclose(last.S, S, atol=1e-12)
    got, want = (differentiate(functools.partial(unroll, cell, recurrence=r), params, xs, carry) for r in (by(4), scan))
    assert_close("several", got, want)


@pytest.mark.parametrize(
    ("cell", "share"), [(gla, 1.5), (mlstm, 2), (deltanet, 2), (retention, 2), (titans, 2)], ids=str
)
def test_memories_are_kept_once_a_chunk(cell: Cell, share: float) -> None:
    """As the compiler plans value and gradient: T memories and more by scan, and less than half of that in chunks.

    GLA has decays of single features, whose products within a chunk are kept as well.
    """
    T, H = 512, 64
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 4, H))
    xs = jax.ShapeDtypeStruct((T, 4), jnp.float32)
    memory = jax.eval_shape(cell.initial_carry, params)
    every = T * sum(a.dtype.itemsize * a.size for a in jax.tree.leaves(memory))

    def gradient(recurrence):
        return jax.grad(lambda p, x: (unroll(cell, p, x, recurrence=recurrence)[1] ** 2).sum())

    stepwise, chunks = (
        jax.jit(gradient(how)).lower(params, xs).compile().memory_analysis().temp_size_in_bytes
        for how in (scan, by(64))
    )
    assert stepwise > every > share * chunks, (stepwise, every, chunks)
    traced = str(jax.make_jaxpr(gradient(by(64)))(params, xs))
    assert "length=8" in traced and f"length={T}" not in traced
    assert not any(f"[{T},{','.join(map(str, a.shape))}]" in traced for a in jax.tree.leaves(memory) if a.ndim > 1)


@pytest.mark.parametrize("cell", MATRIX, ids=name)
def test_a_long_stream_in_float32(cell: Cell) -> None:
    """10,000 steps, each alone and in chunks: apart by less than 5e-5 of the largest output."""
    params = cell.init(jax.random.key(0), 3, 8)
    if cell is mlstm_block:  # its gates begin with zeros: nothing would depend on the stabiliser
        params = params._replace(W_if=0.3 * jax.random.normal(jax.random.key(2), params.W_if.shape, jnp.float32))
    xs = jax.random.normal(jax.random.key(1), (10_000, 3), jnp.float32)
    (end, outs), (last, steps) = (
        jax.jit(lambda params, xs, how=how: unroll(cell, params, xs, recurrence=how))(params, xs)
        for how in (by(64), scan)
    )
    assert float(jnp.abs(outs - steps).max() / jnp.abs(steps).max()) < 5e-5
    for got, want in zip(jax.tree.leaves(end), jax.tree.leaves(last), strict=True):
        assert float(jnp.abs(got - want).max() / jnp.abs(want).max()) < 5e-5


@pytest.mark.parametrize("cell", ONE_OF_EACH, ids=name)
def test_params_in_bfloat16(cell: Cell) -> None:
    """The chunks are float32; outputs and carry have the dtypes of the step's, and are near."""
    params = cell.init(jax.random.key(0), 3, H, dtype=jnp.bfloat16)
    xs = jax.random.normal(jax.random.key(1), (13, 2, 3), jnp.bfloat16)
    got, want = (unroll(cell, params, xs, recurrence=recurrence) for recurrence in (by(4), scan))
    assert jax.tree.map(lambda a: a.dtype, got) == jax.tree.map(lambda a: a.dtype, want)
    assert float(jnp.abs(got[1] - want[1]).max() / jnp.abs(want[1]).max()) < 0.03


def test_other_cells_are_refused_and_told_which_have_the_form() -> None:
    for cell in (lstm, zoneout(deltanet, 0.1), mixed(gla)):
        params = cell.init(jax.random.key(0), 3, H)
        xs = jnp.ones((4, 2, 3), jnp.float32)
        with pytest.raises(InputError, match=rf"chunked\({cell.name}\): .*deltanet, .*gla.*Use deferred"):
            unroll(cell, params, xs, recurrence=chunked)


@pytest.mark.parametrize("size", [0, 3, -4, 2.0, True])
def test_a_size_that_is_not_a_power_of_two_is_refused(size) -> None:
    params, xs, carry = draw(Subject(gla), 4, (2,))
    with pytest.raises(InputError, match="size must be a power of two"):
        unroll(gla, params, xs, carry, recurrence=functools.partial(chunked, size=size))


def test_it_is_found_by_name() -> None:
    assert RECURRENCES["chunked"] is chunked and len(MATRIX) >= 4


def test_a_statement_is_a_value() -> None:
    """Equal and hashable by its functions, and shows the file that states it."""
    assert (
        MemoryEquations(several_writes)
        == MemoryEquations(several_writes)
        != MemoryEquations(several_writes, early=True)
    )
    assert hash(MemoryEquations(several_writes)) == hash(MemoryEquations(several_writes))
    assert "S' = alpha^T * S + k^T v" in gla.__doc__ and "eq. 27" in mlstm.__doc__
    assert isinstance(Rest({}, {}).old, dict)
