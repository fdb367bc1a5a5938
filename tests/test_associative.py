"""Parallel in time over every cell that is linear unit by unit, and whether each cell is what it says it is."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from reference import RESETS, episodes
from test_laws import NEWER, SIZES

from jaxseq import InputError, unroll
from jaxseq.cells import CELLS, Cell, deltanet, lru, lstm, min_lstm, rnn
from jaxseq.recurrence import associative, scan
from jaxseq.testing import Subject, assert_close, check_cell, differentiate, draw, holes

ELEMENTWISE = [cell for cell in CELLS.values() if cell.linear == "elementwise"]


@pytest.mark.parametrize("cell", [lru, min_lstm] if NEWER else ELEMENTWISE, ids=lambda cell: cell.name)
def test_laws(cell: Cell) -> None:
    """Those of masks and directions; the others are seen by one complex and one real cell."""
    D, H = SIZES.get(cell.name, (3, 5))
    laws = ["recurrences", "padding", "reverse", "pieces"]
    check_cell(cell, input_size=D, hidden_size=H, laws=laws, recurrences={"associative": associative})


@pytest.mark.parametrize("cell", ELEMENTWISE, ids=lambda cell: cell.name)
def test_a_long_stream_in_float32(cell: Cell) -> None:
    """10,000 steps one by one and in parallel: apart by less than 2e-5 of the largest output.

    LinOSS-IMEX loses no energy, so that nothing forgets its rounding errors, which add up: 2e-4.
    """
    params = cell.init(jax.random.key(0), 3, 16, dtype=jnp.float32)
    xs = jax.random.normal(jax.random.key(1), (10_000, 3), jnp.float32)
    parallel, steps = (  # arguments, for XLA would fold constants
        jax.jit(lambda params, xs, how=how: unroll(cell, params, xs, recurrence=how)[1])(params, xs)
        for how in (associative, scan)
    )
    bound = 2e-4 if cell.name == "linoss_imex" else 2e-5
    assert float(jnp.abs(parallel - steps).max() / jnp.abs(steps).max()) < bound


@pytest.mark.parametrize("law", ["gradients", "forward mode", "trace", "resets"])
@pytest.mark.parametrize("cell", [lru, min_lstm], ids=lambda cell: cell.name)
def test_the_other_laws_of_a_recurrence(cell: Cell, law: str) -> None:
    check_cell(cell, laws=[law], recurrences={"associative": associative})


@pytest.mark.parametrize("masked", [False, True], ids=["no mask", "masked"])
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("cell", [lru, min_lstm], ids=lambda cell: cell.name)
def test_resets_are_the_loop_of_reinforcement_learning(cell: Cell, reverse: bool, masked: bool) -> None:
    T, B = RESETS.shape
    problem = draw(Subject(cell), T, (B,))
    options = {"mask": holes(T, (B,)) if masked else None, "resets": jnp.asarray(RESETS), "reverse": reverse}
    got, want = (
        differentiate(functools.partial(run, cell, **options), *problem)
        for run in (functools.partial(unroll, recurrence=associative), episodes)
    )
    assert_close(cell.name, got, want)


def test_a_reset_goes_back_to_a_first_state_that_is_learnt() -> None:
    """A row of zeros and the bias: the gradient of the first state of every piece reaches it."""
    start = min_lstm.initial_carry

    def initial_carry(params, batch_shape=()):
        zeros = start(params, batch_shape)
        return zeros._replace(h=jnp.broadcast_to(jnp.tanh(params.b[..., : zeros.h.shape[-1]]), zeros.h.shape))

    check_cell(min_lstm.replace(initial_carry=initial_carry), laws=["resets"], recurrences={"associative": associative})


def linearity(cell: Cell) -> str:
    """What a cell's `linear` has to say, from its new carry at carries of all sizes, in float64."""
    D, H = SIZES.get(cell.name, (3, 5))
    params, xs, carry = draw(Subject(cell, D, H), 2, ())
    flat, unflatten = ravel_pytree(carry)
    wx = jax.tree.map(lambda a: a[1], cell.input_terms(params, xs))

    @jax.jit
    def f(flat):
        return ravel_pytree(cell.advance(params, unflatten(flat), wx)[0])[0]

    # the units of a leaf by their places in it, so that equal ones of different leaves are known
    places = jax.tree.map(lambda a: np.array([f"{a.shape}{i}" for i in np.ndindex(a.shape)]), carry)
    place = np.concatenate(jax.tree.leaves(places))
    J = np.asarray(jax.jit(jax.jacfwd(f))(jnp.zeros_like(flat)))
    for seed, size in enumerate((0.1, 1.0, 10.0)):
        a, b = size * jax.random.normal(jax.random.key(seed), (2, *flat.shape), jnp.float64)
        if np.abs(f(a) + f(b) - f(jnp.zeros_like(a)) - f(a + b)).max() > 1e-9 * size:
            return ""
        if np.abs(f(jnp.zeros_like(a)) + J @ np.asarray(a) - f(a)).max() > 1e-9 * size:
            return ""
    return "matrix" if np.abs(J[place[:, None] != place]).max(initial=0) > 1e-12 else "elementwise"


@pytest.mark.parametrize("cell", CELLS.values(), ids=lambda cell: cell.name)
def test_linear_is_true(cell: Cell) -> None:
    assert cell.linear == linearity(cell)


def test_linearity_tells_them_apart() -> None:
    assert linearity(lru) == "elementwise" and linearity(deltanet) == "matrix" and linearity(lstm) == ""
    mixing = rnn.replace(equations=lambda p, k, wx, uh: (k._replace(h=wx + uh), wx, ()))
    assert linearity(mixing) == "matrix"
    almost = rnn.replace(equations=lambda p, k, wx, uh: (k._replace(h=wx + k.h + 1e-6 * k.h**2), wx, ()))
    assert linearity(almost) == ""


@pytest.mark.parametrize("cell", [lstm, deltanet], ids=lambda cell: cell.name)
def test_other_cells_are_refused(cell: Cell) -> None:
    params, xs, carry = draw(Subject(cell), 4, (2,))
    with pytest.raises(InputError, match=rf"associative\({cell.name}\): .*Use deferred"):
        unroll(cell, params, xs, carry, recurrence=associative)


@pytest.mark.parametrize("cell", [lru, min_lstm], ids=lambda cell: cell.name)
def test_no_steps_at_all(cell: Cell) -> None:
    params, xs, carry = draw(Subject(cell), 4, (2,))
    for mask in (None, jnp.zeros((0, 2), bool)):
        last, outs = unroll(cell, params, xs[:0], carry, mask=mask, recurrence=associative)
        assert outs.shape == (0, 2, 5)
        assert all(bool((a == b).all()) for a, b in zip(last, carry, strict=True))


def test_leaves_of_different_shapes() -> None:
    """Are each a state of its own: here a minLSTM beside a counter of decayed steps."""

    def equations(params, carry, wx, uh):
        new, out, named = min_lstm.equations(params, carry[0], wx, ())
        n = 0.5 * carry[1] + 1
        return (new, n), out * n, named

    both = min_lstm.replace(
        initial_carry=lambda p, batch_shape=(): (
            min_lstm.initial_carry(p, batch_shape),
            jnp.zeros((*batch_shape, 1), p.b.dtype),
        ),
        equations=equations,
    )
    check_cell(both, laws=["recurrences", "padding", "reverse"], recurrences={"associative": associative})


def test_there_is_no_loop() -> None:
    params, xs, carry = draw(Subject(lru), 16, (2,))
    run = lambda recurrence: str(jax.make_jaxpr(lambda *a: unroll(lru, *a, recurrence=recurrence))(params, xs, carry))  # noqa: E731
    assert "scan[" in run(scan) and "scan[" not in run(associative) and "while[" not in run(associative)
