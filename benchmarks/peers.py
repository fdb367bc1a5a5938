"""The same LSTM and GRU in other libraries: our weights in their layout, and their gradients back in ours.

Gate orders, read from each library's source: i f g o and r z n in torch, flax and equinox, as here; i g f o in haiku's
LSTM; i f g o and z r n in keras. Where a library has two biases for our one, ours is in the first, and the gradient of
either is ours.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxseq import unroll
from jaxseq.cells import CELLS, GRUParams, LSTMParams
from jaxseq.recurrence import RECURRENCES

os.environ.setdefault("KERAS_BACKEND", "jax")  # before keras is imported, here or by anybody else
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
        """Return sum(h²)."""
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
    run = RECURRENCES[recurrence]
    return Layer(lambda p, xs: unroll(CELLS[cell], p, None, xs, recurrence=run)[1], params, lambda g: g)


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


def linen(kind: str) -> Callable[[str, Any, jax.Array], Layer]:
    """Return the builder of flax's `linen.RNN` over a cell."""

    def build(cell: str, params: Any, xs: jax.Array) -> Layer:
        from flax import linen

        names, H = ("ifgo" if cell == "lstm" else "rzn"), params.U.shape[0]
        rnn = linen.RNN(getattr(linen, kind)(H), time_major=True)
        W, U, b = (jnp.split(a, len(names), axis=-1) for a in params[:3])
        own = {f"i{n}": {"kernel": w} for n, w in zip(names, W, strict=True)}
        own |= {f"h{n}": {"kernel": u} for n, u in zip(names, U, strict=True)}
        side = "h" if cell == "lstm" else "i"
        for n, bias in zip(names, b, strict=True):
            own[f"{side}{n}"]["bias"] = bias
        if cell == "gru":
            own["hn"]["bias"] = params.b_hn

        def back(g: Any) -> Any:
            g = g["params"]["cell"]
            W, U = (jnp.concatenate([g[f"{s}{n}"]["kernel"] for n in names], -1) for s in "ih")
            b = jnp.concatenate([g[f"{side}{n}"]["bias"] for n in names], -1)
            return LSTMParams(W, U, b) if cell == "lstm" else GRUParams(W, U, b, g["hn"]["bias"])

        return Layer(rnn.apply, {"params": {"cell": own}}, back)

    return build


def nnx(kind: str) -> Callable[[str, Any, jax.Array], Layer]:
    """Return the builder of flax's `nnx.RNN` over a cell; its GRU has no second bias (ours is zero)."""

    def build(cell: str, params: Any, xs: jax.Array) -> Layer:
        from flax import nnx

        (D, H), G = (params.W.shape[0], params.U.shape[0]), GATES[cell]
        rnn = nnx.RNN(getattr(nnx, kind)(D, H, rngs=nnx.Rngs(0)), time_major=True, rngs=False)
        zero = jnp.zeros((xs.shape[1], H))
        start = (zero, zero) if cell == "lstm" else zero  # given, since to draw zeros it would want a key
        names = "i f g o".split() if kind == "LSTMCell" else [None]
        side = "h" if cell == "lstm" else "i"

        def dense(tree: Any, where: str, name: str | None) -> Any:
            key = f"dense_{where}" if name is None else f"{where}{'f_' if (where, name) == ('i', 'f') else name}"
            return tree[key] if isinstance(tree, dict) else getattr(tree, key)

        cut = {key: jnp.split(a, len(names), -1) for key, a in zip("WUb", params[:3], strict=True)}
        for k, name in enumerate(names):
            dense(rnn.cell, "i", name).kernel = nnx.Param(cut["W"][k])
            dense(rnn.cell, "h", name).kernel = nnx.Param(cut["U"][k])
            dense(rnn.cell, side, name).bias = nnx.Param(cut["b"][k])
        graph, weights, rest = nnx.split(rnn, nnx.Param, ...)

        def back(g: Any) -> Any:
            g = nnx.to_pure_dict(g)["cell"]
            W, U = (jnp.concatenate([dense(g, s, n)["kernel"] for n in names], -1) for s in "ih")
            b = jnp.concatenate([dense(g, side, n)["bias"] for n in names], -1)
            return LSTMParams(W, U, b) if G == 4 else GRUParams(W, U, b, None)

        return Layer(lambda w, xs: nnx.merge(graph, w, rest)(xs, initial_carry=start), weights, back)

    return build


def haiku(cell: str, params: Any, xs: jax.Array) -> Layer:
    """Return haiku's `dynamic_unroll` of its LSTM, which adds 1 to the forget gate by itself."""
    import haiku as hk

    D, H = params.W.shape[0], params.U.shape[0]

    def run(xs: jax.Array) -> jax.Array:
        core = hk.LSTM(H)
        return hk.dynamic_unroll(core, xs, core.initial_state(xs.shape[1]))[0]

    def reorder(a: jax.Array) -> jax.Array:  # i f g o to i g f o, and the other way round
        i, f, g, o = jnp.split(a, 4, axis=-1)
        return jnp.concatenate([i, g, f, o], axis=-1)

    def back(g: Any) -> LSTMParams:
        g = jax.tree.map(reorder, g["lstm/linear"])
        return LSTMParams(g["w"][:D], g["w"][D:], g["b"])

    w = reorder(jnp.concatenate([params.W, params.U]))
    b = reorder(params.b.at[H : 2 * H].add(-1))
    return Layer(hk.without_apply_rng(hk.transform(run)).apply, {"lstm/linear": {"w": w, "b": b}}, back)


def equinox(cell: str, params: Any, xs: jax.Array) -> Layer:
    """Return equinox's cell, mapped over the batch, in `lax.scan`, as its documentation runs it."""
    import equinox as eqx

    (D, H), B = (params.W.shape[0], params.U.shape[0]), xs.shape[1]
    zero = jnp.zeros((B, H))
    names = ["weight_ih", "weight_hh", "bias"] + ["bias_n"] * (cell == "gru")
    kind = eqx.nn.LSTMCell if cell == "lstm" else eqx.nn.GRUCell
    new = (params.W.T, params.U.T, *params[2:])
    module = eqx.tree_at(lambda m: [getattr(m, n) for n in names], kind(D, H, key=jax.random.key(0)), list(new))

    def outs(module: Any, xs: jax.Array) -> jax.Array:
        def step(state: Any, x: jax.Array) -> Any:
            state = jax.vmap(module)(x, state)
            return state, state[0] if cell == "lstm" else state

        return lax.scan(step, (zero, zero) if cell == "lstm" else zero, xs)[1]

    def back(g: Any) -> Any:
        return type(params)(g.weight_ih.T, g.weight_hh.T, *(getattr(g, n) for n in names[2:]))

    return Layer(outs, module, back)


def keras(cell: str, params: Any, xs: jax.Array) -> Layer:
    """Return keras' layer on its JAX backend; batch first."""
    import keras

    if keras.backend.backend() != "jax":
        raise ImportError("keras was imported with another backend than JAX; set KERAS_BACKEND=jax")
    H, (T, B, D) = params.U.shape[0], xs.shape
    layer = (keras.layers.LSTM if cell == "lstm" else keras.layers.GRU)(H, return_sequences=True)
    layer.build((B, T, D))
    fixed = [v.value for v in layer.non_trainable_variables]

    def turn(a: jax.Array) -> jax.Array:  # r z n to z r n, and the other way round
        r, z, n = jnp.split(a, 3, axis=-1)
        return jnp.concatenate([z, r, n], axis=-1)

    def back(g: Any) -> Any:
        if cell == "lstm":
            return LSTMParams(*g)
        W, U, b = map(turn, g)
        return GRUParams(W, U, b[0], b[1, 2 * H :])

    weights = list(params)
    if cell == "gru":
        second = jnp.pad(params.b_hn, (2 * H, 0))
        weights = [turn(params.W), turn(params.U), turn(jnp.stack([params.b, second]))]
    return Layer(lambda w, xs: layer.stateless_call(w, fixed, xs)[0], weights, back, time=1)


PEERS: dict[str, tuple[str, Callable[[str, Any, jax.Array], Layer], tuple[str, ...]]] = {
    "plain scan": ("jax", textbook, ("lstm", "gru")),
    "linen": ("flax", linen("LSTMCell"), ("lstm",)),
    "linen optimized": ("flax", linen("OptimizedLSTMCell"), ("lstm",)),
    "linen gru": ("flax", linen("GRUCell"), ("gru",)),
    "nnx": ("flax", nnx("LSTMCell"), ("lstm",)),
    "nnx optimized": ("flax", nnx("OptimizedLSTMCell"), ("lstm",)),
    "nnx gru": ("flax", nnx("GRUCell"), ("gru",)),
    "haiku": ("haiku", haiku, ("lstm",)),
    "equinox": ("equinox", equinox, ("lstm", "gru")),
    "keras": ("keras", keras, ("lstm", "gru")),
}
"""The peers in JAX: which module to import, how to build a layer, and its cells."""


def layers(cell: str, params: Any, xs: jax.Array, say: Callable[[str], None]) -> dict[str, Layer]:
    """Return our layer and every peer's that is installed, each checked against ours; `say` who is left out."""
    found = {"jaxseq": ours(cell, params, xs)}
    for name, (module, build, cells) in PEERS.items():
        if cell not in cells:
            continue
        try:
            importlib.import_module(module)
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
