"""The same LSTM and GRU in other libraries: our weights in their layout, and their gradients back in ours.

`jaxseq.interop` converts the weights; its derivative, transposed, converts gradients.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxseq import unroll
from jaxseq.cells import CELLS, GRUParams, LSTMParams
from jaxseq.recurrence import EXACT

RTOL = 1e-3
"""Largest difference from ours, as a share of the largest entry, in float32."""
GATES = {"lstm": 4, "gru": 3}


class Layer(NamedTuple):
    """A layer in JAX, ready to be differentiated and jitted.

    Fields:
      outs: ``(weights, xs) -> outs [T, B, H]``, both in the library's own layout.
      weights: ours, converted.
      back: the library's gradients as our params; a leaf that it lacks is None.
      time: the time axis of its xs and outs.
    """

    outs: Callable[[Any, jax.Array], jax.Array]
    weights: Any
    back: Callable[[Any], Any]
    time: int = 0

    def loss(self, weights: Any, xs: jax.Array) -> jax.Array:
        """Return sum(h²), the loss whose gradient is timed."""
        return (self.outs(weights, xs) ** 2).sum()

    def forward(self) -> Callable[..., jax.Array]:
        """Return the jitted layer."""
        return jax.jit(self.outs)

    def gradient(self) -> Callable[..., Any]:
        """Return the jitted value and gradient of `loss`, with respect to weights and inputs."""
        return jax.jit(jax.value_and_grad(self.loss, argnums=(0, 1)))


def setup(cell: str, shape: tuple[int, int, int, int]) -> tuple[Any, jax.Array]:
    """Return params with biases that are not zero, and inputs, of ``(B, T, D, H)``."""
    B, T, D, H = shape
    params = CELLS[cell].init(jax.random.key(0), D, H)
    params = params._replace(b=params.b + 0.1 * jax.random.normal(jax.random.key(1), params.b.shape))
    return params, jax.random.normal(jax.random.key(2), (T, B, D))


def ours(cell: str, params: Any, xs: jax.Array, recurrence: str = "deferred") -> Layer:
    """Return our layer, with one of our recurrences."""
    run = EXACT[recurrence]
    return Layer(lambda p, xs: unroll(CELLS[cell], p, xs, recurrence=run)[1], params, lambda g: g)


def textbook(cell: str, params: Any, xs: jax.Array) -> Layer:
    """Return the layer as one writes it at a first go: `lax.scan` over the equations."""
    zero = jnp.zeros((xs.shape[1], params.U.shape[0]))

    def lstm(p: LSTMParams, state: Any, x: jax.Array) -> Any:
        h, c = state
        i, f, g, o = jnp.split(x @ p.W + h @ p.U + p.b, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    def gru(p: GRUParams, h: Any, x: jax.Array) -> Any:
        x_r, x_z, x_n = jnp.split(x @ p.W + p.b, 3, axis=-1)
        h_r, h_z, h_n = jnp.split(h @ p.U, 3, axis=-1)
        r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
        h = (1 - z) * jnp.tanh(x_n + r * (h_n + p.b_hn)) + z * h
        return h, h

    step, start = (lstm, (zero, zero)) if cell == "lstm" else (gru, zero)
    return Layer(lambda p, xs: lax.scan(lambda s, x: step(p, s, x), start, xs)[1], params, lambda g: g)


def back_by(to: Callable[[Any], Any], params: Any) -> Callable[[Any], Any]:
    """Return the function from a library's gradients to ours, `to` being the conversion of params to its weights."""
    return lambda gradients: jax.vjp(to, params)[1](gradients)[0]


def linen(optimized: bool) -> Callable[[str, Any, jax.Array], Layer]:
    """Return the builder of flax's `linen.RNN` over a cell."""

    def build(cell: str, params: Any, xs: jax.Array) -> Layer:
        from flax import linen

        from jaxseq.interop.flax import to_linen

        def to(params: Any) -> Any:
            return {"params": {"cell": to_linen(CELLS[cell], params)[1]["params"]}}

        rnn = linen.RNN(to_linen(CELLS[cell], params, optimized=optimized)[0], time_major=True)
        return Layer(rnn.apply, to(params), back_by(to, params))

    return build


def nnx(optimized: bool) -> Callable[[str, Any, jax.Array], Layer]:
    """Return the builder of flax's `nnx.RNN` over a cell; its GRU has no second bias (ours is zero)."""

    def build(cell: str, params: Any, xs: jax.Array) -> Layer:
        from flax import nnx

        from jaxseq.interop.flax import to_nnx

        def split(params: Any) -> Any:
            module = to_nnx(CELLS[cell], params, optimized=optimized)
            return nnx.split(nnx.RNN(module, time_major=True, rngs=False), nnx.Param, ...)

        zero = jnp.zeros((xs.shape[1], params.U.shape[0]))
        start = (zero, zero) if cell == "lstm" else zero  # given, since to draw zeros it would want a key
        graph, weights, rest = split(params)

        def back(gradients: Any) -> Any:
            ours = back_by(lambda p: split(p)[1], params)(gradients)
            return ours._replace(b_hn=None) if cell == "gru" else ours

        return Layer(lambda w, xs: nnx.merge(graph, w, rest)(xs, initial_carry=start), weights, back)

    return build


def haiku(cell: str, params: Any, xs: jax.Array) -> Layer:
    """Return haiku's `dynamic_unroll` of its LSTM, which adds 1 to the forget gate by itself."""
    import haiku as hk

    from jaxseq.interop.haiku import to_haiku

    def run(xs: jax.Array) -> jax.Array:
        core = hk.LSTM(params.U.shape[0])
        return hk.dynamic_unroll(core, xs, core.initial_state(xs.shape[1]))[0]

    def to(params: Any) -> Any:
        return to_haiku(CELLS[cell], params)

    return Layer(hk.without_apply_rng(hk.transform(run)).apply, to(params), back_by(to, params))


def equinox(cell: str, params: Any, xs: jax.Array) -> Layer:
    """Return equinox's cell, mapped over the batch, in `lax.scan`, as its documentation runs it."""
    from jaxseq.interop.equinox import to_equinox

    zero = jnp.zeros((xs.shape[1], params.U.shape[0]))

    def to(params: Any) -> Any:
        return to_equinox(CELLS[cell], params)

    def outs(module: Any, xs: jax.Array) -> jax.Array:
        def step(state: Any, x: jax.Array) -> Any:
            state = jax.vmap(module)(x, state)
            return state, state[0] if cell == "lstm" else state

        return lax.scan(step, (zero, zero) if cell == "lstm" else zero, xs)[1]

    return Layer(outs, to(params), back_by(to, params))


def keras(cell: str, params: Any, xs: jax.Array) -> Layer:
    """Return keras' layer on its JAX backend; batch first."""
    os.environ.setdefault("KERAS_BACKEND", "jax")  # read when keras is imported first
    import keras

    from jaxseq.interop.keras import to_arrays, to_keras

    if keras.backend.backend() != "jax":
        raise ImportError("keras was imported with another backend than JAX; set KERAS_BACKEND=jax")
    layer = to_keras(CELLS[cell], params)
    fixed = [v.value for v in layer.non_trainable_variables]

    def to(params: Any) -> Any:
        return to_arrays(CELLS[cell], params)

    run = lambda w, xs: layer.stateless_call(w, fixed, xs)[0]  # noqa: E731
    return Layer(run, to(params), back_by(to, params), time=1)


PEERS: dict[str, tuple[Callable[[str, Any, jax.Array], Layer], tuple[str, ...]]] = {
    "plain scan": (textbook, ("lstm", "gru")),
    "linen": (linen(False), ("lstm",)),
    "linen optimized": (linen(True), ("lstm",)),
    "linen gru": (linen(True), ("gru",)),
    "nnx": (nnx(False), ("lstm",)),
    "nnx optimized": (nnx(True), ("lstm",)),
    "nnx gru": (nnx(True), ("gru",)),
    "haiku": (haiku, ("lstm",)),
    "equinox": (equinox, ("lstm", "gru")),
    "keras": (keras, ("lstm", "gru")),
}
"""The peers in JAX: how to build a layer, and its cells."""


def layers(cell: str, params: Any, xs: jax.Array, say: Callable[[str], None]) -> dict[str, Layer]:
    """Return our layer and every peer's that is installed, each checked against ours; `say` who is left out."""
    found = {"jaxseq": ours(cell, params, xs)}
    for name, (build, cells) in PEERS.items():
        if cell not in cells:
            continue
        try:
            found[name.removesuffix(" gru")] = build(cell, params, xs)
        except ImportError as error:
            say(f'{name} is left out ({error}); pip install ".[bench]" installs it')
    if cell == "gru":
        say("haiku is left out: its GRU resets before the product, which is another layer (our gru_cho)")
    return found


def want(layer: Layer, xs: jax.Array) -> tuple[Any, ...]:
    """Return ``(outs, value, gradient of params, of xs)`` of a layer, in our layout, as numpy."""
    xs = jnp.moveaxis(xs, 0, layer.time)
    outs = layer.forward()(layer.weights, xs)
    value, (by_weights, by_xs) = layer.gradient()(layer.weights, xs)
    seen = jnp.moveaxis(outs, layer.time, 0), value, layer.back(by_weights), jnp.moveaxis(by_xs, layer.time, 0)
    return jax.device_get(seen)


def check(name: str, got: tuple[Any, ...], want: tuple[Any, ...]) -> None:
    """Compare what two systems computed, as `want` returns it; a leaf that is None is passed over.

    Raises:
      AssertionError: naming what differs, and by how much.
    """

    def flat(tree: Any) -> list[tuple[str, Any]]:
        leaves = jax.tree.leaves_with_path(tree, is_leaf=lambda a: a is None)
        return [(jax.tree_util.keystr(path), leaf) for path, leaf in leaves]

    for what, g, w in zip(("outputs", "value", "gradient of params", "gradient of xs"), got, want, strict=True):
        for (path, a), (_, b) in zip(flat(g), flat(w), strict=True):
            if a is None:
                continue
            a, b = np.asarray(a), np.asarray(b)
            assert a.shape == b.shape, f"{name}: {what}{path} is {a.shape}, ours {b.shape}"
            error = np.abs(a - b).max() / np.abs(b).max()
            assert error <= RTOL, f"{name}: {what}{path} differs from ours by {error:.1e} of the largest entry"
