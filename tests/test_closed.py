"""An eager call is compiled once, and again when something that a cell of one's own reads has changed."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import trace, unroll
from jaxseq.cells import Cell, Hidden
from jaxseq.recurrence import clipped
from jaxseq.testing.transforms import compilations

XS = jnp.linspace(-1, 1, 24, dtype=float).reshape(4, 2, 3)
PARAMS = jnp.eye(3)

helpers = types.ModuleType("helpers")
helpers.k, helpers.other = 1.0, 1.0


class Settings:
    k = 1.0


class Scale:
    def __init__(self) -> None:
        self.k = 1.0

    def __call__(self, h):
        return h * self.k


def by_default(h, k=1.0):
    return h * k


def by_code(h):
    return h * 1.0


def other_code(h):
    return h * 2.0


def twice_removed(h):
    return h * helpers.other


def by_list(ks, h):
    return h * ks[0]


scale, ks, bound = Scale(), [1.0], (1.0,)
by_partial = functools.partial(by_list, ks)


def change(name: str) -> None:
    """Make a factor of 1, read in the way of this name, one of 2."""
    if name == "a module's constant":
        helpers.k = 2.0
    elif name == "another name of a module, by a helper":
        helpers.other = 2.0
    elif name == "a class's attribute":
        Settings.k = 2.0
    elif name == "an object's attribute":
        scale.k = 2.0
    elif name == "a default":
        by_default.__defaults__ = (2.0,)
    elif name == "code":
        by_code.__code__ = other_code.__code__
    elif name == "a list in a partial call":
        ks[0] = 2.0
    elif name == "a tuple":
        globals()["bound"] = (2.0,)


READERS = {
    "a module's constant": lambda h: h * helpers.k,
    "another name of a module, by a helper": lambda h: twice_removed(h) * (helpers.k / helpers.k),
    "a class's attribute": lambda h: h * Settings.k,
    "an object's attribute": lambda h: scale(h),
    "a default": lambda h: by_default(h),
    "code": lambda h: by_code(h),
    "a list in a partial call": lambda h: by_partial(h),
    "a tuple": lambda h: h * bound[0],
}


def equations(read, params, carry, wx, uh):
    h = read(jnp.tanh(wx + uh))
    return Hidden(h), h, ()


def init(*args, **options):
    return jnp.eye(3)


def initial_carry(params, batch=()):
    return Hidden(jnp.zeros((*batch, 3)))


def input_terms(params, x):
    return x @ params


def hidden_terms(params, carry):
    return carry.h @ params


def cell_that_reads(read) -> Cell:
    """Return a cell of functions of this module: a closure, which may see what is traced, is never kept compiled."""
    return Cell(init, initial_carry, input_terms, hidden_terms, functools.partial(equations, read))


def plain(read, params):
    h, outs = jnp.zeros((2, 3)), []
    for x in XS:
        h = read(jnp.tanh(x @ params + h @ params))
        outs.append(h)
    return jnp.stack(outs)


@pytest.mark.parametrize("name", READERS)
def test_what_a_cell_reads_may_change(name: str) -> None:
    read, cell = READERS[name], cell_that_reads(READERS[name])
    for _ in range(2):
        np.testing.assert_allclose(unroll(cell, PARAMS, XS)[1], plain(read, PARAMS), atol=1e-12)
        np.testing.assert_allclose(trace(cell, PARAMS, XS)[1].outs, plain(read, PARAMS), atol=1e-12)
        slope = jax.grad(lambda p: unroll(cell, p, XS)[1].sum())(PARAMS)
        np.testing.assert_allclose(slope, jax.grad(lambda p: plain(read, p).sum())(PARAMS), atol=1e-12)
        change(name)
    assert not np.allclose(plain(read, PARAMS), plain(lambda h: h, PARAMS)), "nothing was changed"


def test_what_stays_as_it_is_compiles_once() -> None:
    cell = cell_that_reads(READERS["a tuple"])
    unroll(cell, PARAMS, XS)
    assert compilations(lambda: unroll(cell, PARAMS, XS)) == 0


def test_a_limit_may_be_an_array_or_traced() -> None:
    cell = cell_that_reads(lambda h: h)

    def slope(limit):
        run = functools.partial(clipped, limit=limit)
        return jax.grad(lambda p: unroll(cell, p, XS, recurrence=run)[1].sum())(PARAMS)

    want = jnp.stack([slope(limit) for limit in (0.1, 0.5)])
    limits = jnp.array([0.1, 0.5])
    np.testing.assert_allclose(jnp.stack([slope(limit) for limit in limits]), want, atol=1e-12)
    np.testing.assert_allclose(jax.vmap(slope)(limits), want, atol=1e-12)
    assert not np.allclose(*want)
