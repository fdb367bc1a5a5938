"""The same layer in other JAX libraries: our weights in their layout, and their gradients converted back.

`jaxseq.interop` converts the weights; its derivative, transposed, converts gradients.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxseq import unroll
from jaxseq.cells import CELLS, Cell, GRUParams, LSTMParams
from jaxseq.errors import InputError
from jaxseq.recurrence import Recurrence, deferred

RTOL = {"float64": 1e-9, "float32": 1e-3, "float16": 2e-2, "bfloat16": 1e-1}
"""Largest difference from ours, as a share of the largest entry, by dtype."""
PICTURE = (4, 4)
"""Rows and columns of pictures for convolutional cells."""
STEPS, RATE = 10, 1e-7
"""Steps of gradient descent in one jit, and a rate so low that the weights hardly move."""


class Layer(NamedTuple):
    """A layer in JAX that can be differentiated and jitted.

    Fields:
      outs: ``(weights, xs) -> outs [T, B, H]``, both in the library's own layout.
      weights: our weights, converted.
      back: converts the library's gradients to our params; None for a leaf that it lacks.
      time: the time axis of its xs and outs.
    """

    outs: Callable[[Any, jax.Array], jax.Array]
    weights: Any
    back: Callable[[Any], Any]
    time: int = 0

    def loss(self, weights: Any, xs: jax.Array) -> jax.Array:
        """Return sum(h²), the loss whose gradient is timed."""
        return (self.outs(weights, xs) ** 2).sum()

    def forward(self) -> Any:
        """Return the jitted layer."""
        return jax.jit(self.outs)

    def gradient(self) -> Any:
        """Return the jitted value and gradient of `loss`, with respect to weights and inputs."""
        return jax.jit(jax.value_and_grad(self.loss, argnums=(0, 1)))

    def descent(self) -> Callable[[Any], Any]:
        """Return ``(weights, xs) -> (weights, xs)`` after some steps of SGD on both, in one jit that donates them."""

        def step(both: Any, _: None) -> tuple[Any, None]:
            grads = jax.grad(self.loss, argnums=(0, 1))(*both)
            # inputs are updated too, or XLA could remove their gradient
            return jax.tree.map(lambda a, g: a - RATE * g, both, grads), None

        return jax.jit(lambda both: lax.scan(step, both, length=STEPS)[0], donate_argnums=0)


def setup(cell: Cell, shape: tuple[int, int, int, int], dtype: Any = jnp.float32) -> tuple[Any, jax.Array]:
    """Return params with nonzero biases b, and inputs ``[T, B, D]``, for a shape ``(B, T, D, H)``."""
    B, T, D, H = shape
    params = cell.init(jax.random.key(0), D, H, dtype=dtype)
    if hasattr(params, "b"):
        # zero biases would hide a library that drops or swaps them
        params = params._replace(b=params.b + 0.1 * jax.random.normal(jax.random.key(1), params.b.shape, dtype))
    return params, jax.random.normal(jax.random.key(2), (T, B, *PICTURE[: cell.spatial], D), dtype)


def ours(cell: Cell, params: Any, recurrence: Recurrence = deferred) -> Layer:
    """Return our layer with one of our recurrences."""
    run = lambda p, xs: cell.features(unroll(cell, p, xs, recurrence=recurrence)[1])  # noqa: E731
    return Layer(run, params, lambda g: g)


def textbook(cell: Cell, params: Any, xs: jax.Array) -> Layer:
    """Return the naive layer: `lax.scan` over the equations, or over ``cell.step``."""
    batch = xs.shape[1 : 2 + cell.spatial]
    zero = lambda p: jnp.zeros((*batch, p.U.shape[0]), xs.dtype)  # noqa: E731

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

    if cell == CELLS["lstm"]:
        return Layer(lambda p, xs: lax.scan(lambda s, x: lstm(p, s, x), (zero(p),) * 2, xs)[1], params, lambda g: g)
    if cell == CELLS["gru"]:
        return Layer(lambda p, xs: lax.scan(lambda s, x: gru(p, s, x), zero(p), xs)[1], params, lambda g: g)

    def outs(p: Any, xs: jax.Array) -> jax.Array:
        carry = cell.initial_carry(p, batch)
        return cell.features(lax.scan(lambda k, x: cell.step(p, k, x), carry, cell.lift(xs))[1])

    return Layer(outs, params, lambda g: g)


def back_by(to: Callable[[Any], Any], params: Any) -> Callable[[Any], Any]:
    """Return the function from a library's gradients to ours, given the conversion `to` of params to its weights."""
    # the conversion is linear in params, so its transpose takes gradients the other way
    return lambda gradients: jax.vjp(to, params)[1](gradients)[0]


def linen(cell: Cell, params: Any, xs: jax.Array, optimized: bool = False) -> Layer:
    """Return flax's `linen.RNN` over a cell."""
    from flax import linen

    from jaxseq.interop.flax import to_linen

    def to(params: Any) -> Any:
        return {"params": {"cell": to_linen(cell, params)[1]["params"]}}

    rnn = linen.RNN(to_linen(cell, params, optimized=optimized)[0], time_major=True)
    apply: Any = rnn.apply
    return Layer(apply, to(params), back_by(to, params))


def nnx(cell: Cell, params: Any, xs: jax.Array, optimized: bool = False) -> Layer:
    """Return flax's `nnx.RNN` over a cell; its GRU has no second bias (ours is zero)."""
    from flax import nnx

    from jaxseq.interop.flax import to_nnx

    def split(params: Any) -> Any:
        module = to_nnx(cell, params, optimized=optimized)
        return nnx.split(nnx.RNN(module, time_major=True, rngs=False), nnx.Param, ...)

    graph, weights, rest = split(params)
    zero = jnp.zeros((xs.shape[1], params.U.shape[0]), xs.dtype)
    start = (zero, zero) if cell == CELLS["lstm"] else zero  # passed, since the layer needs a key even to draw zeros

    def back(gradients: Any) -> Any:
        ours = back_by(lambda p: split(p)[1], params)(gradients)
        return ours._replace(b_hn=None) if hasattr(ours, "b_hn") else ours

    return Layer(lambda w, xs: nnx.merge(graph, w, rest)(xs, initial_carry=start), weights, back)


def haiku(cell: Cell, params: Any, xs: jax.Array) -> Layer:
    """Return haiku's `dynamic_unroll` of a core; its LSTM itself adds 1 to the forget gate."""
    import haiku as hk

    from jaxseq.interop.haiku import to_haiku

    weights = to_haiku(cell, params)
    core = {"lstm": hk.LSTM, "gru_cho": hk.GRU, "rnn_relu": hk.VanillaRNN}[cell.name]

    def run(xs: jax.Array) -> jax.Array:
        made = core(params.U.shape[0])
        return hk.dynamic_unroll(made, xs, made.initial_state(xs.shape[1]))[0]

    transformed: Any = hk.without_apply_rng(hk.transform(run))
    return Layer(transformed.apply, weights, back_by(lambda p: to_haiku(cell, p), params))


def equinox(cell: Cell, params: Any, xs: jax.Array) -> Layer:
    """Return equinox's cell, mapped over the batch, in `lax.scan`, as its documentation runs it."""
    from jaxseq.interop.equinox import to_equinox

    def to(params: Any) -> Any:
        return to_equinox(cell, params)

    weights = to(params)
    zero = jnp.zeros((xs.shape[1], params.U.shape[0]), xs.dtype)
    lstm = cell == CELLS["lstm"]

    def outs(module: Any, xs: jax.Array) -> jax.Array:
        def step(state: Any, x: jax.Array) -> Any:
            state = jax.vmap(module)(x, state)
            return state, state[0] if lstm else state

        return lax.scan(step, (zero, zero) if lstm else zero, xs)[1]

    return Layer(outs, weights, back_by(to, params))


def keras(cell: Cell, params: Any, xs: jax.Array) -> Layer:
    """Return keras' layer on its JAX backend; batch first."""
    os.environ.setdefault("KERAS_BACKEND", "jax")  # read at the first import of keras
    import keras

    from jaxseq.interop.keras import to_arrays, to_keras

    if keras.backend.backend() != "jax":
        raise ImportError("keras was imported with another backend than JAX; set KERAS_BACKEND=jax")
    layer = to_keras(cell, params)
    fixed = [v.value for v in layer.non_trainable_variables]

    def to(params: Any) -> Any:
        return to_arrays(cell, params)

    run = lambda w, xs: layer.stateless_call(w, fixed, xs)[0]  # noqa: E731
    return Layer(run, to(params), back_by(to, params), time=1)


def cudnn(cell: Cell, params: Any, xs: jax.Array) -> Layer:
    """Return the LSTM of cuDNN by `jax.experimental.rnn`, on a GPU; batch first, float32."""
    if jax.default_backend() != "gpu" or cell != CELLS["lstm"]:
        raise InputError("it is an LSTM, on a GPU")
    from jax.experimental import rnn

    from jaxseq.interop.torch import to_arrays

    (D, H), B, T = (params.W.shape[0], params.U.shape[0]), xs.shape[1], xs.shape[0]
    zero, lengths = jnp.zeros((1, B, H), xs.dtype), jnp.full(B, T, jnp.int32)
    like = jax.ShapeDtypeStruct((rnn.get_num_params_in_lstm(D, H, 1, False),), xs.dtype)
    # cuDNN has all weights in one vector; splitting it only moves numbers, so its transpose packs them
    pack = jax.linear_transpose(lambda w: rnn.unpack_lstm_weights(w, D, H, 1, False), like)

    def to(params: Any) -> Any:
        arrays = to_arrays(cell, params)
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        return pack(tuple({0: arrays[name]} for name in names))[0]

    def outs(weights: Any, xs: jax.Array) -> jax.Array:
        return rnn.lstm(xs, zero, zero, weights, lengths, D, H, 1, 0.0, False)[0]

    return Layer(outs, to(params), back_by(to, params), time=1)


def _optimized(build: Callable[..., Layer]) -> Callable[[Cell, Any, jax.Array], Layer]:
    """Return the builder of flax's OptimizedLSTMCell, a different program with the same weights."""

    def optimized(cell: Cell, params: Any, xs: jax.Array) -> Layer:
        if cell != CELLS["lstm"]:
            raise InputError("only the LSTM has an optimized form")
        return build(cell, params, xs, optimized=True)

    return optimized


PEERS: dict[str, Callable[[Cell, Any, jax.Array], Layer]] = {
    "plain scan": textbook,
    "linen": linen,
    "linen optimized": _optimized(linen),
    "nnx": nnx,
    "nnx optimized": _optimized(nnx),
    "haiku": haiku,
    "equinox": equinox,
    "keras": keras,
    "cudnn": cudnn,
}
"""Builders of the peers' layers in JAX. A builder raises ImportError if the library is missing, and InputError if it
lacks the cell."""


def layers(
    cell: Cell, params: Any, xs: jax.Array, say: Callable[[str], None], names: Iterable[str] = tuple(PEERS)
) -> dict[str, Layer]:
    """Return the layer of every installed peer that has the cell; report those left out, and why, by `say`."""
    found = {}
    for name in names:
        try:
            if cell.spatial and name != "plain scan":
                raise InputError(f"{cell.name} works on pictures")
            found[name] = PEERS[name](cell, params, xs)
        except ImportError as error:
            say(f'{name} is left out: {error}; pip install "jaxseq[bench]" installs the peers')
        except InputError as error:
            if "optimized" not in name:
                say(f"{name} is left out for {cell.name}: {error}")
        except Exception as error:  # any error of another library, such as for a dtype that it does not support
            say(failed(name, error))
    return found


def failed(name: str, error: Exception) -> str:
    """Return one line on why a peer that should have worked is left out."""
    first = (str(error).splitlines() or [""])[0]
    return f"{name} is left out, since it fails: {type(error).__name__}: {first[:200]}"


def want(layer: Layer, xs: jax.Array) -> tuple[Any, ...]:
    """Return ``(outs, value, gradient of params, of xs)`` of a layer, in our layout, as numpy."""
    xs = jnp.moveaxis(xs, 0, layer.time)
    outs = layer.forward()(layer.weights, xs)
    value, (by_weights, by_xs) = layer.gradient()(layer.weights, xs)
    seen = jnp.moveaxis(outs, layer.time, 0), value, layer.back(by_weights), jnp.moveaxis(by_xs, layer.time, 0)
    return jax.device_get(seen)


def check(name: str, got: tuple[Any, ...], want: tuple[Any, ...]) -> None:
    """Compare the results of two systems, as `want` returns them; None leaves are skipped.

    Raises:
      AssertionError: naming the difference: another dtype, shape or number, and by how much.
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
            assert a.dtype == b.dtype, f"{name}: {what}{path} is {a.dtype}, ours {b.dtype}"
            # NumPy reduces bfloat16 in bfloat16, so compare in at least float32
            rtol, wide = RTOL[str(b.dtype)], np.result_type(b.dtype, np.float32)
            error = np.abs(a.astype(wide) - b.astype(wide)).max() / np.abs(b.astype(wide)).max()
            assert error <= rtol, f"{name}: {what}{path} differs from ours by {error:.1e} of the largest entry"
