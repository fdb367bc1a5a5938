"""On a GPU the same code computes the same: float32 without TF32 near float64, by every recurrence.

Run them there by: JAXSEQ_TEST_PLATFORM=cuda python -m pytest tests/test_gpu.py
"""

import jax
import jax.numpy as jnp
import pytest

from jaxseq import unroll
from jaxseq.cells import CELLS
from jaxseq.recurrence import EXACT, scan
from jaxseq.testing import TOLERANCES, Subject, assert_close, differentiate, draw, holes

pytestmark = pytest.mark.skipif(
    jax.default_backend() != "gpu", reason="there is no GPU; where there is one: JAXSEQ_TEST_PLATFORM=cuda"
)


@pytest.mark.parametrize("recurrence", EXACT)
@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "gru_cho"])
def test_float32_is_near_float64(name: str, recurrence: str) -> None:
    cell, mask = CELLS[name], holes(33, (7,))
    params, xs, carry = draw(Subject(cell, 24, 40), 33, (7,), jnp.float32)
    wide = jax.tree.map(lambda a: a.astype(jnp.float64), (params, xs, carry))
    f, g = (lambda *args, r=r: unroll(cell, *args, mask=mask, recurrence=r) for r in (EXACT[recurrence], scan))
    (value, grads), (wide_value, wide_grads) = differentiate(f, params, xs, carry), differentiate(g, *wide)
    assert {d.platform for d in jax.tree.leaves(value)[0].devices()} == {"gpu"}
    narrow = jax.tree.map(lambda a: a.astype(jnp.float32), (wide_value, wide_grads))
    assert_close("values", value, narrow[0], TOLERANCES["float32"].values)
    assert_close("gradients", grads, narrow[1], TOLERANCES["float32"].gradients)
