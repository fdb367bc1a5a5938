"""Numbers that Python calls equal, changed copies, unhashable parts and changed globals: none is taken for another."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import trace, unroll
from jaxseq.cells import lstm, made
from jaxseq.interventions import clamp
from jaxseq.regularisers import zoneout
from jaxseq.testing import assert_close

PARAMS, XS = lstm.init(jax.random.key(0), 3, 5), jnp.ones((4, 2, 3), jnp.float32)
SCALE = 2.0


def run(cell):
    return unroll(cell, PARAMS, XS)[1]


def scaled(params, carry, wx, uh):
    carry, out, named = lstm.equations(params, carry, wx, uh)
    return carry, twice(out) * SCALE, named


def twice(out):
    return 2 * out


@made
def told(cell, value):
    return cell.replace(name=repr(value))


@pytest.mark.parametrize("values", [(1, True, 1.0, np.float32(1)), (0.0, -0.0, 0, False)])
def test_numbers_that_python_calls_equal_make_different_cells(values) -> None:
    assert [told(lstm, value).name for value in values] == [repr(value) for value in values]
    assert len({told(lstm, value) for value in values}) == len(values)
    assert told(lstm, values[0]) != told(lstm, values[1]) and told(lstm, values[1]).with_(value=values[0]).name == repr(
        values[0]
    )
    holding = [clamp(told(lstm, value), f=PARAMS.b[0]) for value in values]  # an array inside: another way to compare
    assert not any(a == b for n, a in enumerate(holding) for b in holding[:n])


def test_nan_equals_nan_and_a_zero_keeps_its_sign() -> None:
    nan = clamp(lstm, f=float("nan"))
    clamp.cache_clear()
    assert clamp(lstm, f=float("nan")) == nan and hash(clamp(lstm, f=float("nan"))) == hash(nan)
    signs = [np.signbit(trace(clamp(lstm, f=zero), PARAMS, XS)[1].gates.f).all() for zero in (0.0, -0.0)]
    assert signs == [False, True]


@pytest.mark.parametrize("value", [2**40, -(2**31) - 1, 10**30])
def test_a_clamp_at_a_large_integer(value: int) -> None:
    with jax.enable_x64(False):
        got = trace(clamp(lstm, f=value), PARAMS, XS)[1].gates.f
    assert (np.asarray(got) == np.float32(value)).all()


def test_a_changed_copy_is_another_cell() -> None:
    """Also where dataclasses makes it: with the recipe of the first it would be run as the first."""
    for cell in (lstm, clamp(lstm, f=0.5)):
        copy = dataclasses.replace(cell, equations=scaled)
        assert copy.recipe is None and copy != cell
        assert not jnp.allclose(run(copy), run(cell))


@dataclasses.dataclass
class Scaled:
    by: object

    def __call__(self, params, carry, wx, uh):
        carry, out, named = lstm.equations(params, carry, wx, uh)
        return carry, out * self.by, named


def test_parts_without_a_hash_are_run_as_they_are() -> None:
    part = Scaled(1.0)
    cell = lstm.replace(equations=part)
    assert_close("once", run(cell), run(lstm))
    part.by = 2.0
    assert_close("changed", run(cell), 2 * run(lstm))
    array = lstm.replace(equations=Scaled(jnp.full((1, 1), 2.0, jnp.float32)))
    assert_close("an array", run(array), 2 * run(lstm))
    rates = types.MappingProxyType({"h": 0.1})
    assert_close("mapping", run(zoneout(lstm, rates)), run(zoneout(lstm, {"h": 0.1})))


def test_a_zoneout_rate_may_be_an_array() -> None:
    rates = [0.1, jnp.float32(0.1), {"h": jnp.float32(0.1), "c": 0.1}]
    for rate in rates:
        assert_close("rate", run(zoneout(lstm, rate)), run(zoneout(lstm, 0.1)))
    slope = jax.grad(lambda rate: run(zoneout(lstm, rate)).sum())(0.1)
    with jax.enable_x64(False):
        by_hand = (run(zoneout(lstm, 0.11)).sum() - run(zoneout(lstm, 0.09)).sum()) / 0.02
    assert abs(slope - by_hand) < 1e-2 * abs(by_hand)


@pytest.mark.parametrize(("name", "value", "factor"), [("SCALE", 6.0, 3.0), ("twice", lambda out: 8 * out, 4.0)])
def test_a_changed_global_is_seen(monkeypatch, name: str, value, factor: float) -> None:
    """As a constant or a helper in a notebook that is run again."""
    cell = lstm.replace(equations=scaled)
    before = run(cell)
    monkeypatch.setitem(globals(), name, value)
    assert_close(name, run(cell), factor * before)
    monkeypatch.undo()
    assert_close("back", run(cell), before)


def test_a_global_array_is_read_at_every_call(monkeypatch) -> None:
    monkeypatch.setitem(globals(), "SCALE", np.full((1, 1), 2.0, np.float32))
    cell = lstm.replace(equations=scaled)
    before = run(cell)
    SCALE[:] = 4.0
    assert_close("array", run(cell), 2 * before)
