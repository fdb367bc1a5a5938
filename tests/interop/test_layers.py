"""Every cell as a layer of flax, equinox and haiku, in float64: run, trained and stored by these libraries."""

import io
import pickle

import equinox
import flax
import haiku
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from jax import lax
from problem import random

from jaxseq import CELLS, Cell, stack, unroll
from jaxseq.cells import GRUCarry, gru, lstm
from jaxseq.interop.common import flat, nested
from jaxseq.interop.equinox import as_equinox
from jaxseq.interop.flax import as_linen, as_nnx
from jaxseq.interop.haiku import as_haiku
from jaxseq.interop.layers.common import by_name
from jaxseq.recurrence import scan
from jaxseq.testing import assert_close, cotangent, noisy

T, B, D, H = 4, 2, 3, 5


def learned_start(params, batch_shape=()):
    return GRUCarry(jnp.broadcast_to(params.b_hn, (*batch_shape, *params.b_hn.shape)))


LEARNED = Cell(
    gru.init, learned_start, gru.input_terms, gru.hidden_terms, gru.equations, "gru_learned", gru.params_type
)  # fmt: skip
"""A cell whose first carry is a parameter."""
EVERY = {**CELLS, "stack": stack(lstm, gru), "learned": LEARNED}


def inputs(cell):
    return random(1, T, B, *(3, 2)[: cell.spatial], D)


class Linen:
    """An nn.RNN of a cell: its variables are ``{"params": {"cell": ...}}``."""

    def __init__(self, cell):
        module, x = as_linen(cell)(H, param_dtype=jnp.float64), inputs(cell)[0]
        carry = jax.eval_shape(lambda: module.initialize_carry(jax.random.key(0), x.shape))
        drawn = jax.eval_shape(module.init, jax.random.key(0), carry, x)
        self.empty = {"params": {"cell": drawn["params"]}}
        self.apply = linen.RNN(module, time_major=True).apply

    def holding(self, params):
        return {"params": {"cell": nested(by_name(params))}}

    def names(self, variables):
        return flat(variables["params"]["cell"])

    def stored(self, variables):
        zeros = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), self.empty)
        return flax.serialization.from_bytes(zeros, flax.serialization.to_bytes(variables))


class Nnx:
    """An nnx.RNN of a cell: its variables are the State of its Params."""

    def __init__(self, cell):
        make = as_nnx(cell)
        layer = nnx.eval_shape(lambda: make(D, H, param_dtype=jnp.float64, rngs=nnx.Rngs(0)))
        self.graph, self.empty, self.rest = nnx.split(nnx.RNN(layer, time_major=True), nnx.Param, ...)

    def apply(self, variables, xs):
        return nnx.merge(self.graph, variables, self.rest)(xs)

    def holding(self, params):
        rnn = nnx.merge(self.graph, self.empty, self.rest)
        rnn.cell.params = nnx.data(jax.tree.map(nnx.Param, params))
        return nnx.state(rnn, nnx.Param)

    def names(self, variables):
        return flat(nnx.to_pure_dict(variables)["cell"]["params"])

    def stored(self, variables):
        rnn = nnx.merge(self.graph, self.empty, self.rest)
        nnx.update(rnn, pickle.loads(pickle.dumps(nnx.to_pure_dict(variables))))
        return nnx.state(rnn, nnx.Param)


class Equinox:
    """A module in lax.scan: its variables are the module."""

    def __init__(self, cell):
        self.empty = equinox.filter_eval_shape(as_equinox(cell), D, H, key=jax.random.key(0))

    def apply(self, layer, xs):
        return lax.scan(lambda hidden, x: layer(x, hidden), layer.initial_state(xs.shape[1:-1]), xs)[1]

    def holding(self, params):
        return equinox.tree_at(lambda layer: layer.params, self.empty, params)

    def names(self, layer):
        return by_name(layer.params)

    def stored(self, layer):
        file = io.BytesIO()
        equinox.tree_serialise_leaves(file, layer)
        file.seek(0)
        return equinox.tree_deserialise_leaves(file, self.empty)


class Haiku:
    """A core in hk.dynamic_unroll: its variables are ``{"core": ...}``."""

    def __init__(self, cell):
        xs = inputs(cell)

        def network(xs):
            core = as_haiku(cell)(H, input_shape=xs.shape[2:], dtype=jnp.float64, name="core")
            return haiku.dynamic_unroll(core, xs, core.initial_state(B))[0]

        network = haiku.without_apply_rng(haiku.transform(network))
        self.empty = jax.eval_shape(network.init, jax.random.key(0), xs)
        self.apply = network.apply

    def holding(self, params):
        return {"core": by_name(params)}

    def names(self, variables):
        return variables["core"]

    def stored(self, variables):
        file = io.BytesIO()
        np.savez(file, **flat(variables))
        file.seek(0)
        with np.load(file) as arrays:
            return {"core": {name.partition("/")[2]: jnp.asarray(arrays[name]) for name in arrays.files}}


LIBRARIES = {"linen": Linen, "nnx": Nnx, "equinox": Equinox, "haiku": Haiku}


def learn(apply, variables, xs):
    """Return outputs, gradients of weights and inputs, and the weights after one step of an optimizer with a state."""
    outs, pull = jax.vjp(apply, variables, xs)
    grads = pull(cotangent(outs))
    optimizer = optax.sgd(0.1, momentum=0.9)
    updates, _ = optimizer.update(grads[0], optimizer.init(variables))
    return outs, *grads, optax.apply_updates(variables, updates)


@pytest.mark.parametrize("name", EVERY)
def test_every_cell_in_every_library(name):
    cell, xs = EVERY[name], inputs(EVERY[name])
    like = jax.eval_shape(lambda: cell.init(jax.random.key(0), D, H, dtype=jnp.float64))
    params = noisy(jax.random.key(1), cell.init(jax.random.key(0), D, H, dtype=jnp.float64))
    ours = lambda params, xs: unroll(cell, params, cell.lift(xs), recurrence=scan)[1]  # noqa: E731
    layers = {library: kind(cell) for library, kind in LIBRARIES.items()}
    variables = {library: layer.holding(params) for library, layer in layers.items()}

    @jax.jit  # one for all, which is faster to compile
    def everything(params, variables, xs):
        theirs = {library: learn(layer.apply, variables[library], xs) for library, layer in layers.items()}
        return learn(ours, params, xs), theirs

    (outs, grads, x_grads, updated), theirs = everything(params, variables, xs)
    assert max(abs(a).max() for a in jax.tree.leaves(grads)) > 0
    for library, layer in layers.items():
        got, their_grads, their_x_grads, their_updated = theirs[library]
        assert_shapes(f"{library}: init", layer.names(layer.empty), by_name(like))
        assert_close(f"{library}: outputs", got, outs, 1e-12)
        assert_close(f"{library}: gradients", dict(layer.names(their_grads)), by_name(grads), 1e-12)
        assert_close(f"{library}: gradients of inputs", their_x_grads, x_grads, 1e-12)
        assert_close(f"{library}: updated", dict(layer.names(their_updated)), by_name(updated), 1e-12)
        again = layer.stored(their_updated)
        assert jax.tree.structure(again) == jax.tree.structure(their_updated)
        assert_close(f"{library}: stored", layer.names(again), layer.names(their_updated), 0.0)


def assert_shapes(case, got, want):
    assert {n: (a.shape, a.dtype) for n, a in got.items()} == {n: (a.shape, a.dtype) for n, a in want.items()}, case
