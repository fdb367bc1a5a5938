"""Gradients carried forward in time, over a sequence and over a stream: against backpropagation through time."""

from functools import partial, wraps

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import InputError, online, unroll
from jaxseq.attention import additive, reading, with_attention
from jaxseq.cells import CELLS, gru, lstm, para_gru, para_lstm, rnn, stack
from jaxseq.recurrence import forward, scan
from jaxseq.regularisers import draw_variational, variational
from jaxseq.testing import Subject, assert_close, check_cell, cotangent, differentiate, draw, holes

SNAP = partial(forward, snap=1)


def by(cell, how, problem, **options):
    """Values and gradients by params and the first carry."""
    params, xs, carry = problem
    return differentiate(lambda p, c: unroll(cell, p, xs, c, recurrence=how, **options), params, carry)


@wraps(forward)  # by its name the laws know that it has no forward mode
def without_inputs(cell, params, xs, carry, **marks):
    return forward(cell, params, jax.lax.stop_gradient(xs), carry, **marks)


def marks(T: int, batch: tuple[int, ...]):
    return {"mask": holes(T, batch), "resets": jnp.roll(holes(T, batch), 1)}


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm", "para_gru", "para_lstm", "indrnn", "lru", "min_gru", "sru"])
def test_gradients_are_those_of_backpropagation_through_time(name: str) -> None:
    """Masked, reset, and in turn reversed; and a batch without rows and of two axes."""
    cell = CELLS[name]
    batch = {"gru": (), "para_lstm": (2, 3)}.get(name, (2,))
    problem, options = draw(Subject(cell, 3, 4), 7, batch), marks(7, batch) | {"reverse": len(name) % 2 == 0}
    if name == "gru":  # the pattern of holes leaves the one row without a real step
        options["mask"] = options["resets"] = jnp.arange(7) % 3 > 0
    assert_close(name, by(cell, forward, problem, **options), by(cell, scan, problem, **options), 1e-10)


def test_without_marks_and_over_a_stack() -> None:
    """Of a stack the layers above are driven by those below, so that their numbers are one group."""
    cell = stack(para_gru, para_lstm)
    problem = draw(Subject(cell, 3, (2, 3)), 5, (2,))
    assert_close("stack", by(cell, forward, problem), by(cell, scan, problem), 1e-10)


def test_cells_that_hold_arrays_of_the_batch():
    """A source, and a mask: a row cannot be stepped without its part of them, so that `scan` runs the whole."""
    reader, T, B = with_attention(gru, additive), 7, 4
    params = reader.init(jax.random.key(0), 3, 5, value_size=2, units=6, dtype=float)
    xs, source = (jax.random.normal(jax.random.key(n), (T, B, n)) for n in (3, 2))

    def loss(params, source, how):
        cell = reading(reader, reader.remember(params, source))
        return (unroll(cell, params, xs, recurrence=how)[1].h ** 2).sum()

    got, want = (jax.grad(loss, argnums=(0, 1))(params, source, how) for how in (forward, scan))
    assert_close("a source", got, want, 1e-12)
    with pytest.raises(InputError, match=r"online\(additive gru\): expected a cell that steps each row by itself"):
        online.start(reading(reader, reader.remember(params, source)), params, xs[0])
    problem = draw(Subject(gru, 3, B), T, (B,))  # as many units as rows: a mask of all rows broadcasts with one
    held = variational(gru, draw_variational(jax.random.key(1), 0.5, gru, problem.params, (B,)))
    assert_close("a mask", by(held, forward, problem), by(held, scan, problem), 1e-12)


@pytest.mark.parametrize("name", ["para_gru", "para_lstm"])
def test_snap1_is_exact_where_units_do_not_mix(name: str) -> None:
    cell = CELLS[name]
    problem, options = draw(Subject(cell, 3, 4), 7, (2,)), marks(7, (2,))
    assert_close(name, by(cell, SNAP, problem, **options), by(cell, scan, problem, **options), 1e-10)


def test_snap1_of_a_gru_is_near_the_gradient() -> None:
    """In direction, at the parameters that init draws; it is not the gradient."""
    _, xs, _ = draw(Subject(gru, 3, 8), 20, (4,))
    params = gru.init(jax.random.key(0), 3, 8, dtype=jnp.float64)
    slope = lambda how: jax.jit(jax.grad(lambda p: (unroll(gru, p, xs, recurrence=how)[1] ** 2).sum()))(params)  # noqa: E731
    got, want = (np.concatenate([a.ravel() for a in jax.tree.leaves(slope(how))]) for how in (SNAP, scan))
    cosine = got @ want / np.linalg.norm(got) / np.linalg.norm(want)
    assert 0.9 < cosine < 1 - 1e-6, cosine


def test_snap1_is_that_of_the_paper() -> None:
    """By hand for an RNN: S' = diag(A) S + I, where row j of I is that of the weights into unit j."""
    params, xs, carry = draw(Subject(rnn, 2, 3), 5, ())
    got = jax.grad(lambda p: unroll(rnn, p, xs, carry, recurrence=SNAP)[1].sum())(params)
    W, U, b, x, h = (np.asarray(a) for a in (params.W, params.U, params.b, xs, carry.h))
    S, total = np.zeros_like(U), np.zeros_like(U)
    for x_t in x:
        new = np.tanh(x_t @ W + h @ U + b)
        slope = 1 - new**2
        # the loss of this step by the new h is 1; the old one acts on it by all of U, and params on that by what S kept
        total += slope * h[:, None] + (U @ slope) * S
        S, h = slope * (np.diag(U) * S + h[:, None]), new
    np.testing.assert_allclose(got.U, total, rtol=1e-10)


@pytest.mark.parametrize("cell", [para_lstm, gru], ids=lambda cell: cell.name)
def test_online_steps_add_up_to_the_gradient_of_the_whole(cell) -> None:
    """And a row that begins anew forgets what it was."""
    params, xs, _ = draw(Subject(cell, 3, 4), 6, (2,))
    begins = jnp.arange(12).reshape(6, 2) % 5 == 2
    carry, outs = unroll(cell, params, xs, resets=begins)
    weights = cotangent(outs)

    @jax.jit
    def step(state, x, begins, by_out):
        state, out, gradient = online.step(cell, params, state, x, begins=begins)
        return state, out, gradient(by_out), gradient

    state, total = online.start(cell, params, xs[0]), jax.tree.map(jnp.zeros_like, params)
    for t in range(6):
        state, out, grads, gradient = step(state, xs[t], begins[t], weights[t])
        assert_close(f"out {t}", out, outs[t], 1e-12)
        total = jax.tree.map(jnp.add, total, grads)
    assert_close("carry", state.carry, carry, 1e-12)
    assert_close("after the jitted step", gradient(weights[5]), grads, 1e-12)
    run = lambda p: jnp.vdot(weights, unroll(cell, p, xs, resets=begins, recurrence=scan)[1])  # noqa: E731
    assert_close("gradient", total, jax.grad(run)(params), 1e-10)


def test_memory_does_not_grow_with_the_sequence() -> None:
    """Temporary bytes of a compiled gradient: constant in T but for outputs; those of scan grow."""

    def temporary(how, T: int) -> int:
        params = para_gru.init(jax.random.key(0), 3, 8)
        run = jax.grad(lambda p, xs: (unroll(para_gru, p, xs, recurrence=how)[1] ** 2).mean())
        compiled = jax.jit(run).lower(params, jax.ShapeDtypeStruct((T, 2, 3), jnp.float32)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    outputs = 4 * 2 * 8  # bytes of a step's; its gradient has as many
    few, many = (temporary(forward, T) for T in (100, 1100))
    assert (many - few) / 1000 <= 4 * outputs
    few_scan, many_scan = (temporary(scan, T) for T in (100, 1100))
    assert (many_scan - few_scan) / 1000 > 2 * (many - few) / 1000


def test_sensitivities_have_the_size_of_the_parameters() -> None:
    """K numbers for each: 1 where a unit has one number of state, 2 where it has two, H where a matrix mixes them."""
    for cell, K in ((para_gru, 1), (CELLS["indrnn"], 1), (para_lstm, 2), (CELLS["lru"], 2), (gru, 5), (lstm, 10)):
        params, x = cell.init(jax.random.key(0), 3, 5), jnp.ones((2, 3), jnp.float32)
        found = [a for a in online.start(cell, params, x).known.params if a is not None]
        assert found and {a.shape[:2] for a in found} == {(2, K)}, cell
    found = online.start(lstm, lstm.init(jax.random.key(0), 3, 5), x, snap=1).known.params
    assert {a.shape[:2] for a in found} == {(2, 2)}


@pytest.mark.parametrize("law", ["trace", "eager", "closures", "donation", "export"])
def test_laws_without_a_derivative_by_inputs(law: str) -> None:
    check_cell(para_gru, hidden_size=3, laws=[law], recurrences={"forward": without_inputs})


def test_what_is_refused() -> None:
    params, xs, _ = draw(Subject(gru, 3, 4), 3, (2,))
    run = lambda how: lambda p, xs: unroll(gru, p, xs, recurrence=how)[1].sum()  # noqa: E731
    with pytest.raises(InputError, match=r"forward\(gru\): has no derivative by xs.*Use deferred"):
        jax.grad(run(forward), 1)(params, xs)
    with pytest.raises(InputError, match=r"would take 6400 bytes, more than largest = 5000: 2 rows, 4 numbers"):
        jax.grad(run(partial(forward, largest=5000)))(params, xs)
    with pytest.raises(InputError, match="snap must be None, for the exact gradient, or 1, for SnAp-1; got 2"):
        run(partial(forward, snap=2))(params, xs)
    state = online.start(gru, params, xs[0])
    with pytest.raises(InputError, match=r"online.step\(gru\): state must be that of online.start with the same"):
        online.step(gru, params, state, xs[0], snap=1)
    with pytest.raises(InputError, match=r"x has dtype float32, params have float64"):
        online.step(gru, params, state, xs[0].astype(jnp.float32))
