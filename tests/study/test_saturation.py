"""Saturation against networks constructed to be closed or open, and histograms against NumPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import InputError
from jaxseq.cells import CELLS, lstm, stack
from jaxseq.study import gates_of, histogram, ranges_of, saturation, saturation_of


def test_a_net_whose_gates_are_known() -> None:
    """The forget gate of units 0, 1, 2 always closed, always open, always half; the input gate as the input says."""
    params = lstm.init(jax.random.key(0), 1, 3, dtype=jnp.float64)
    b = jnp.zeros(12).at[3:6].set(jnp.array([-9.0, 9.0, 0.0]))
    W = jnp.zeros((1, 12)).at[0, :3].set(9.0)
    params = params._replace(W=W, U=jnp.zeros_like(params.U), b=b)
    xs = jnp.array([1.0, -1.0, -1.0, 0.0, 1.0]).reshape(5, 1, 1)
    mask = jnp.array([True, True, True, True, False])[:, None]
    seen = saturation_of(lstm, params, xs, mask=mask)
    assert seen["f"].closed.tolist() == [1, 0, 0] and seen["f"].open.tolist() == [0, 1, 0]
    assert seen["i"].closed.tolist() == [0.5] * 3 and seen["i"].open.tolist() == [0.25] * 3
    assert seen["g"] is None


def test_fractions_and_histograms_are_numpys() -> None:
    gate = jax.random.uniform(jax.random.key(0), (50, 4, 3), jnp.float64)
    mask = jnp.arange(50)[:, None] < jnp.array([50, 7, 0, 20])[None]
    gate = jnp.where(mask[..., None], gate, jnp.nan)
    real = np.asarray(gate)[np.asarray(mask)]
    seen = jax.jit(saturation)(gate, mask)
    np.testing.assert_allclose(seen.closed, (real < 0.1).mean(0), rtol=1e-12)
    np.testing.assert_allclose(seen.open, (real > 0.9).mean(0), rtol=1e-12)
    counts = histogram(gate, mask, bins=16)
    for unit in range(3):
        np.testing.assert_array_equal(counts[:, unit], np.histogram(real[:, unit], 16, (0, 1))[0])
    signed = histogram(2 * gate - 1, mask, bins=8, lowest=-1, highest=1)
    np.testing.assert_array_equal(signed[:, 0], np.histogram(2 * real[:, 0] - 1, 8, (-1, 1))[0])
    assert histogram(jnp.array([0.0, 0.5, 1.0]).reshape(3, 1, 1), bins=4).ravel().tolist() == [1, 0, 1, 1]
    with pytest.raises(InputError, match="at least 1 bin"):
        histogram(gate, bins=0)


def test_gates_are_told_from_candidates_by_what_they_do() -> None:
    gate, signed = (0.0, 1.0), (-1.0, 1.0)
    assert ranges_of(lstm) == {"i": gate, "f": gate, "g": signed, "o": gate}
    assert ranges_of(CELLS["rnn"]) == {"a": None}
    assert ranges_of(CELLS["ligru"])["n" if "n" in ranges_of(CELLS["ligru"]) else "h"] is None  # a relu
    assert ranges_of(stack(lstm, CELLS["rnn"])) == {"0.i": gate, "0.f": gate, "0.g": signed, "0.o": gate, "1.a": None}


def test_names_are_those_of_the_gates() -> None:
    params = lstm.init(jax.random.key(0), 3, 5)
    assert list(ranges_of(lstm)) == list(gates_of(lstm, params, jnp.ones((2, 1, 3), jnp.float32)))
