"""Cells that retain without a gate, against their eigenvalues and their parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import sigmoid

from jaxseq import unroll
from jaxseq.cells import CELLS, stack
from jaxseq.study import constant_map, keeps_in
from jaxseq.testing import Subject, draw


def test_a_linear_recurrent_unit_retains_by_its_eigenvalues() -> None:
    """And an impulse falls off as they say: after T steps the state is lambda to the power of T."""
    cell = CELLS["lru"]
    params, xs, carry = draw(Subject(cell), 9, (1,))
    found = constant_map(cell, params, xs)
    moduli = np.sort(np.exp(-np.exp(np.asarray(params.log_nu))))[::-1]
    np.testing.assert_allclose(found.moduli, np.repeat(moduli, 2), rtol=1e-10)
    np.testing.assert_allclose(found.half_lives, np.log(0.5) / np.log(np.repeat(moduli, 2)), rtol=1e-8)
    assert found.leaves == ("re", "im") and not keeps_in(cell, params, xs)

    @jax.jit
    def left():
        ends = [unroll(cell, params, xs, start)[0] for start in (carry, jax.tree.map(jnp.zeros_like, carry))]
        return jax.tree.map(jnp.subtract, *ends)

    end = left()
    before, after = (np.hypot(np.asarray(c.re)[0], np.asarray(c.im)[0]) for c in (carry, end))
    np.testing.assert_allclose(np.sort(after / before)[::-1], moduli**9, rtol=1e-8)


def test_a_constant_leak_retains_and_gates_and_activations_do_not() -> None:
    for name, leaves in (("scrn", ("s",)), ("lstm", None), ("gru", None), ("rnn", None), ("lem", None)):
        params, xs, _ = draw(Subject(CELLS[name]), 3, (1,))
        found = constant_map(CELLS[name], params, xs)
        assert (found and found.leaves) == leaves
    params, xs, _ = draw(Subject(CELLS["fast_rnn"]), 3, (1,))
    found = constant_map(CELLS["fast_rnn"], params, xs)
    np.testing.assert_allclose(found.moduli, np.full(5, sigmoid(float(params.beta[0]))), rtol=1e-9)


@pytest.mark.parametrize("name", ["conv_gru"])
def test_what_it_cannot_tell_is_none(name: str) -> None:
    params, xs, _ = draw(Subject(CELLS[name]), 2, (1,))
    assert constant_map(CELLS[name], params, xs) is None


def test_layers_of_a_stack() -> None:
    both = stack(CELLS["lru"], CELLS["lstm"])
    params, xs, _ = draw(Subject(both), 3, (1,))
    assert constant_map(both, params, xs).leaves == ("0.re", "0.im")
    both = stack(CELLS["lru"], CELLS["lru"])
    params, xs, _ = draw(Subject(both), 3, (1,))
    for layer, one in enumerate(params):
        found = constant_map(both, params, xs, leaves=[f"{layer}.re", f"{layer}.im"])
        moduli = np.sort(np.exp(-np.exp(np.asarray(one.log_nu))))[::-1]
        np.testing.assert_allclose(found.moduli, np.repeat(moduli, 2), rtol=1e-9)
