"""What is pooled over batches is what one batch of all sequences gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import InputError
from jaxseq.cells import gru, lstm, stack
from jaxseq.study import Batch, gates_of, half_life, histogram, outlasting, pooled, saturation
from jaxseq.testing import Subject, draw


def test_batches_are_one_corpus() -> None:
    """Two batches of different lengths, padding among them, against all sequences side by side."""
    cell = stack(lstm, gru)
    params, xs, _ = draw(Subject(cell), 6, (5,))
    mask = jnp.arange(6)[:, None] < jnp.array([[6, 2, 4, 3, 0]])
    found = pooled(cell, params, [Batch(xs[:, :2], None, mask[:, :2]), Batch(xs[:4, 2:], None, mask[:4, 2:])])
    named = gates_of(cell, params, xs, mask=mask)
    assert set(found.half_lives) == {"0.f", "1.z"} and set(found.saturation) == {"0.i", "0.f", "0.o", "1.r", "1.z"}
    assert (found.sequences, found.steps) == (4, 15)
    for name in found.half_lives:
        want = half_life(named[name], mask)
        np.testing.assert_allclose(found.half_lives[name].half_life, want.half_life, rtol=1e-10)
        np.testing.assert_array_equal(found.half_lives[name].censored, want.censored)
        assert [int(n) for n in found.half_lives[name][3:]] == [6, 15, 4] == [int(n) for n in want[3:]]
    for name in found.saturation:
        np.testing.assert_allclose(found.saturation[name].open, saturation(named[name], mask).open, atol=1e-12)
        np.testing.assert_allclose(found.saturation[name].closed, saturation(named[name], mask).closed, atol=1e-12)
        np.testing.assert_array_equal(found.histograms[name], histogram(named[name], mask))
    with pytest.raises(InputError, match="there is no sequence to read"):
        pooled(cell, params, [])


def test_units_that_outlast_the_lag_are_counted_where_a_median_says_nothing() -> None:
    """Two of twenty units keep 0.999 of what they hold for each step, and the others 0.1."""
    keep = jnp.where(jnp.arange(20) < 2, 0.999, 0.1)
    keep = keep.at[19].set(-0.5)  # it flips the sign: no half-life
    life = jax.jit(half_life)(jnp.broadcast_to(keep, (40, 3, 20)))
    assert int(outlasting(life)) == 2 and np.nanmedian(life.half_life) < 0.4
    assert [int(outlasting(life, lag)) for lag in (0, 0.2, 692, 693)] == [19, 19, 2, 0]
    assert (int(life.longest), int(life.steps), int(life.sequences)) == (40, 120, 3)
