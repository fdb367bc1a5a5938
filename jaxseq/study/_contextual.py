"""Contextual decomposition: the part of a state that a span of tokens accounts for, and the rest.

Every state is split, ``h = beta + gamma`` and ``c = beta_c + gamma_c``: beta comes from the span alone, gamma from
everything else, interactions of the two and the start included. An activation of a sum ``r + u + b`` (span, rest, bias)
is split by averaging over both orders of r and u, with the bias first:

    L(b) = a(b),   L(r) = (a(r + b) - a(b) + a(r + u + b) - a(u + b)) / 2,   L(u) likewise

and a product of two split gates ``(L(r) + L(u) + L(b)) * (M(r) + M(u) + M(b))`` gives to the span the terms that have
no L(u) and no M(u), except the product of both biases, which is the rest's.

Reference: Murdoch, Liu & Yu 2018, "Beyond word importance: contextual decomposition to extract interactions from
LSTMs", arXiv:1801.05453, sections 3.1 and 3.2. As in the authors' program, ``x W`` is added to the hidden product of
its own side before an activation is split. That program gives the product of the biases of i and g to the span, where
the paper gives it to the rest; `biases` chooses. For a GRU, which the paper does not treat, the same rules are applied
to its equations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxseq._unroll import unroll
from jaxseq.cells import Cell, gru, lstm
from jaxseq.errors import InputError
from jaxseq.notation import Array, Carry, Params
from jaxseq.recurrence import over_features
from jaxseq.trees import named_leaves


class Contextual(NamedTuple):
    """The two parts of each state, by the name of the carry's leaf, each ``[T, B, H]``, zero at padded steps.

    Fields:
      span: from the span of tokens alone (beta).
      rest: from everything else, interactions included (gamma).
    """

    span: dict[str, Array]
    rest: dict[str, Array]


class Split(NamedTuple):
    """A gate or its pre-activation in three parts: of the span, of the rest, of the bias."""

    span: Array
    rest: Array
    bias: Array

    def through(self, activation: Callable[[Array], Array]) -> Split:
        """Return the activation's parts, by the mean over both orders of span and rest, the bias first."""
        r, u, b = self
        none, both = activation(b), activation(r + u + b)
        only_span, only_rest = activation(r + b), activation(u + b)
        return Split((only_span - none + (both - only_rest)) / 2, (only_rest - none + (both - only_span)) / 2, none)

    def times(self, other: Split) -> Split:
        """Return the parts of a product; that of the two biases is the bias."""
        # terms with no part of the rest, except bias times bias
        span = self.span * (other.span + other.bias) + self.bias * other.span
        # every term in which one factor is of the rest: interactions go to the rest
        rest = self.rest * (other.span + other.rest + other.bias) + (self.span + self.bias) * other.rest
        return Split(span, rest, self.bias * other.bias)


def contextual(
    cell: Cell,
    params: Params,
    xs: Array,
    carry: Carry | None = None,
    *,
    mask: Array | None = None,
    span: Array | tuple[int, int],
    biases: Array | None = None,
) -> Contextual:
    """Return the contextual decomposition of every state into a span of tokens and the rest.

    ``span + rest`` is the state, exactly. Memory is the result and a step's gates, ``4 * T * B * H`` numbers for an
    LSTM; a step costs two hidden products. For many spans use `jax.vmap` over masks ``[N, T, B]``.

    Args:
      cell: `lstm` or `gru`; the equations are decomposed by hand.
      params: its parameters.
      xs: ``[T, B, D]``.
      carry: the state to start from, or None; it belongs to the rest.
      mask: bool ``[T, B]``, True where a step is real.
      span: ``(first, last)``, both included, or bool ``[T, B]``.
      biases: bool ``[T, B]``, the steps whose products of two biases belong to the span; none of them by default, as
        in the paper. The authors' program has the span without its last step.

    Raises:
      InputError: for another cell; if the span is not one; and as `unroll`.

    Example:
      >>> params = lstm.init(jax.random.key(0), 3, 5)
      >>> found = contextual(lstm, params, jnp.ones((7, 2, 3)), span=(2, 4))
      >>> carry = unroll(lstm, params, jnp.ones((7, 2, 3)))[0]
      >>> found.span["c"].shape, bool(jnp.allclose(found.span["h"][-1] + found.rest["h"][-1], carry.h))
      ((7, 2, 5), True)
    """
    if cell not in (lstm, gru):
        raise InputError(
            f"contextual({cell.name}): only lstm and gru are decomposed; see `contributions` for every cell with a "
            "gate that retains, `connectivity` and `integrated_gradients` for all"
        )
    jax.eval_shape(lambda *given: unroll(cell, *given, mask=mask), params, xs, carry)  # its checks of shapes
    T, *rows = xs.shape[:-1]
    inside = _inside(cell, span, T, tuple(rows))
    both = jnp.zeros_like(inside) if biases is None else _steps_in(cell, "biases", biases, T, tuple(rows))
    real = jnp.ones_like(inside) if mask is None else jnp.asarray(mask)
    # [T, B, G] without the bias, which is a part of its own; NaN in padding is cleared before the product
    wx = jnp.where(over_features(real, xs), xs, jnp.zeros_like(xs)) @ params.W
    start = cell.initial_carry(params, tuple(rows)) if carry is None else carry
    equations = _lstm if cell == lstm else _gru

    def step(old: tuple[Carry, Carry], at_t: tuple) -> tuple[tuple[Carry, Carry], tuple[Carry, Carry]]:
        wx, inside, both, real = at_t
        # old is (beta, gamma); two hidden products, one for each part
        new = equations(params, wx, *old, inside[..., None], both[..., None])
        kept = lambda n, o: jnp.where(over_features(real, n), n, o)  # noqa: E731
        shown = jax.tree.map(lambda n: kept(n, jnp.zeros_like(n)), new)
        return jax.tree.map(kept, new, old), shown

    # the span has read nothing yet: the start belongs to the rest
    begin = jax.tree.map(jnp.zeros_like, start), start
    (betas, gammas) = lax.scan(step, begin, (wx, inside, both, real))[1]
    return Contextual(named_leaves(betas), named_leaves(gammas))


def _parts(wx: Array, beta: Array, gamma: Array, b: Array, inside: Array) -> Split:
    """Return the pre-activations of the gates: inputs within the span belong to it, others to the rest."""
    nothing = jnp.zeros_like(wx)
    return Split(
        beta + jnp.where(inside, wx, nothing), gamma + jnp.where(inside, nothing, wx), jnp.broadcast_to(b, wx.shape)
    )


def _blocks(parts: Split, count: int) -> list[Split]:
    """Return the parts of each of the packed gates."""
    return [Split(*each) for each in zip(*(jnp.split(a, count, axis=-1) for a in parts), strict=True)]


def _retained(gate: Split, beta: Array, gamma: Array) -> tuple[Array, Array]:
    """Return the parts of a gate times a state."""
    # a state has no bias of its own
    kept = gate.times(Split(beta, gamma, jnp.zeros_like(beta)))
    return kept.span, kept.rest


def _written(product: Split, both: Array) -> tuple[Array, Array]:
    """Return the parts of a product, that of the biases given to one of the two."""
    nothing = jnp.zeros_like(product.bias)
    return (
        product.span + jnp.where(both, product.bias, nothing),
        product.rest + jnp.where(both, nothing, product.bias),
    )


def _lstm(params: Params, wx: Array, beta: Carry, gamma: Carry, inside: Array, both: Array) -> tuple[Carry, Carry]:
    # i f g o packed, [B, 4H] in three parts
    gates = _parts(wx, beta.h @ params.U, gamma.h @ params.U, params.b, inside)
    i, f, g, o = _blocks(gates, 4)
    i, f, g = i.through(jax.nn.sigmoid), f.through(jax.nn.sigmoid), g.through(jnp.tanh)
    kept, written = _retained(f, beta.c, gamma.c), _written(i.times(g), both)
    # c = f * c + i * g, each product split; the bias of i * g was given to one of the two sides
    c = Split(kept[0] + written[0], kept[1] + written[1], jnp.zeros_like(kept[0]))
    shown = c.through(jnp.tanh)
    show = jax.nn.sigmoid(o.span + o.rest + o.bias)  # the output gate is not split
    return type(beta)(show * shown.span, c.span), type(beta)(show * shown.rest, c.rest)


def _gru(params: Params, wx: Array, beta: Carry, gamma: Carry, inside: Array, both: Array) -> tuple[Carry, Carry]:
    H = beta.h.shape[-1]
    of_span, of_rest = beta.h @ params.U, gamma.h @ params.U
    wx_rz, wx_n = jnp.split(wx, [2 * H], axis=-1)
    rz = _parts(wx_rz, of_span[..., : 2 * H], of_rest[..., : 2 * H], params.b[: 2 * H], inside)
    r, z = (gate.through(jax.nn.sigmoid) for gate in _blocks(rz, 2))
    # r * (h U_n + b_hn): b_hn is inside the product
    hidden = r.times(Split(of_span[..., 2 * H :], of_rest[..., 2 * H :], jnp.broadcast_to(params.b_hn, wx_n.shape)))
    candidate = _parts(wx_n, hidden.span, hidden.rest, params.b[2 * H :], inside)
    n = Split(candidate.span, candidate.rest, candidate.bias + hidden.bias).through(jnp.tanh)
    # 1 - z: the constant 1 counts as bias
    write = Split(-z.span, -z.rest, 1 - z.bias)
    kept, written = _retained(z, beta.h, gamma.h), _written(write.times(n), both)
    return type(beta)(kept[0] + written[0]), type(beta)(kept[1] + written[1])


def _inside(cell: Cell, span: Array | tuple[int, int], T: int, rows: tuple[int, ...]) -> Array:
    """Return bool ``[T, B]``, True in the span."""
    if not isinstance(span, tuple):
        return _steps_in(cell, "span", span, T, rows)
    if len(span) != 2 or not 0 <= span[0] <= span[1] < T:
        raise InputError(
            f"contextual({cell.name}): span must be (first, last) from 0 to {T - 1}, or bool [T, B]; got {span}"
        )
    steps = jnp.arange(T)
    inside = (steps >= span[0]) & (steps <= span[1])
    return jnp.broadcast_to(inside.reshape(T, *[1] * len(rows)), (T, *rows))


def _steps_in(cell: Cell, name: str, steps: Array, T: int, rows: tuple[int, ...]) -> Array:
    steps = jnp.asarray(steps)
    if steps.dtype != bool or steps.shape != (T, *rows):
        raise InputError(
            f"contextual({cell.name}): {name} must be bool [T, B] = {(T, *rows)}; got {steps.dtype} of shape "
            f"{steps.shape}"
        )
    return steps
