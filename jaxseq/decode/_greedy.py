"""Decoding one token per row and step: the likeliest, or a sampled one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxseq.decode._filters import Filter, filtered
from jaxseq.decode._step import TokenStep, checked, forward_only
from jaxseq.errors import InputError
from jaxseq.notation import Array, Carry, Key, Tree, widened
from jaxseq.placement import any_on_mesh, room, settled


class Decoded(NamedTuple):
    """The generated tokens, time-major.

    Fields:
      tokens: int32 ``[T, B]``: up to and including EOS, then PAD.
      log_probs: ``[T, B]``: of each token under the model (at temperature 1), 0 after EOS.
      lengths: int32 ``[B]``: tokens up to and including EOS; T without an EOS.
      seen: the second output of the step function, each leaf ``[T, B, ...]``, zeros after EOS.
    """

    tokens: Array
    log_probs: Array
    lengths: Array
    seen: Tree


def greedy(
    step: TokenStep,
    carry: Carry,
    start: Array,
    *,
    eos: int,
    max_length: int,
    pad: int = 0,
    prefix: Array | None = None,
    filters: Sequence[Filter] = (),
) -> Decoded:
    """Take the likeliest token at each step.

    Args:
      step: the token step.
      carry: the step's state before the first token.
      start: int ``[B]``, the token fed first (SOS).
      eos: the token that ends a row.
      max_length: T, the largest number of tokens to generate.
      pad: the token that fills a row after its EOS.
      prefix: int ``[P, B]``, tokens to generate first; negative where the choice is free, so rows may have prefixes of
        different lengths. Their `log_probs` are the model's.
      filters: applied to the logits in this order before the choice; `log_probs` ignore them.

    Raises:
      InputError: if max_length is below 1, start is not a row of integers, or has a known id that is not from 0 to V -
        1; if prefix does not fit; under reverse-mode differentiation. Forward mode works.

    Example:
      >>> chain = jnp.eye(4)[jnp.array([0, 0, 3, 1])]  # after token 2 comes 3, after 3 comes 1, which is EOS
      >>> step = lambda carry, tokens: (carry, (chain[tokens], ()))
      >>> greedy(step, (), jnp.array([2, 3]), eos=1, max_length=3).tokens.T.tolist()
      [[3, 1, 0], [1, 0, 0]]
    """

    def likeliest(_: Array, logits: Array) -> Array:
        return jnp.argmax(filtered(filters, logits), axis=-1)

    return _generate(likeliest, step, carry, start, eos, max_length, pad, prefix)


def sample(
    step: TokenStep,
    carry: Carry,
    start: Array,
    *,
    key: Key,
    temperature: float = 1.0,
    eos: int,
    max_length: int,
    pad: int = 0,
    prefix: Array | None = None,
    filters: Sequence[Filter] = (),
) -> Decoded:
    """Draw each token from softmax(logits / temperature). Consumes `key`; other arguments as in `greedy`.

    With keys ``[B]``, one for each row, a row's tokens do not depend on other rows or on its position.

    Filters are applied after the temperature, in order: ``filters=(forbid(unk), top_k(40), top_p(0.9))``.

    Raises:
      InputError: if temperature is not above 0 (towards 0 it becomes `greedy`); if there are several keys, but not one
        for each row.

    Example:
      >>> fair = lambda carry, tokens: (carry, (jnp.zeros((*tokens.shape, 6)), ()))
      >>> dice = sample(fair, (), jnp.zeros(1000, int), key=jax.random.key(0), eos=-1, max_length=1).tokens
      >>> sorted(set(dice[0].tolist()))
      [0, 1, 2, 3, 4, 5]
    """
    if not isinstance(temperature, jax.core.Tracer) and not temperature > 0:
        raise InputError(f"sample: temperature must be above 0, got {temperature}; for the likeliest token use greedy")
    by_row = jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.ndim > 0  # a raw key has an extra axis
    if by_row and key.shape != jnp.shape(start):
        raise InputError(f"sample: key must be one key, or one for each row {jnp.shape(start)}; got {key.shape}")

    def draw(t: Array, logits: Array) -> Array:
        logits = filtered(filters, logits / jnp.asarray(temperature, logits.dtype))
        if not by_row:
            # folding the step in needs no split key in the loop's state
            return jax.random.categorical(jax.random.fold_in(key, t), logits)
        return jax.vmap(lambda key, row: jax.random.categorical(jax.random.fold_in(key, t), row))(key, logits)

    return _generate(draw, step, carry, start, eos, max_length, pad, prefix)


def _generate(
    choose: Callable[[Array, Array], Array],
    step: TokenStep,
    carry: Carry,
    start: Array,
    eos: int,
    max_length: int,
    pad: int,
    prefix: Array | None,
) -> Decoded:
    if jnp.ndim(start) != 1:
        raise InputError(
            f"decode: start must be int [B], one token a row; got {jnp.asarray(start).dtype} of shape "
            f"{jnp.shape(start)}"
        )
    start, (logits, seen), prefix = checked(step, carry, start, max_length, prefix)

    empty = Decoded(
        tokens=room(max_length, jax.typeof(start), pad),
        log_probs=room(max_length, jax.typeof(start)).astype(logits.dtype),
        lengths=jnp.zeros_like(start),
        seen=jax.tree.map(lambda row: room(max_length, row), seen),
    )

    def more(state: tuple[Any, ...]) -> Array:
        t, _, _, alive, _ = state
        return (t < max_length) & any_on_mesh(alive)

    def one(state: tuple[Any, ...]) -> tuple[Any, ...]:
        t, carry, token, alive, done = state
        carry, (logits, seen) = step(carry, token)
        token = choose(t, logits).astype(jnp.int32)
        if prefix is not None:
            token = jnp.where(prefix[t] < 0, token, prefix[t])
        # in at least float32: bfloat16 has 8 bits, and log-probabilities are summed over a sentence
        log_p = jax.nn.log_softmax(widened(logits)).astype(logits.dtype)
        log_prob = jnp.take_along_axis(log_p, token[:, None], axis=-1)[:, 0]

        # a row that has ended keeps the values of `empty`: PAD, and zeros
        def put(into: Array, row: Array) -> Array:
            shown = alive.reshape(alive.shape + (1,) * (row.ndim - 1))
            return into.at[t].set(jnp.where(shown, row, into[t]))

        done = Decoded(
            put(done.tokens, token),
            put(done.log_probs, log_prob),
            done.lengths + alive.astype(jnp.int32),
            jax.tree.map(put, done.seen, seen),
        )
        # EOS itself is written, and counted in lengths; the row has ended from the next step on
        return t + 1, carry, token, alive & (token != eos), done

    # a while loop instead of a scan: it ends when the last row has ended
    state = settled(one, (jnp.int32(0), carry, start, jnp.ones_like(start, bool), empty))
    done = lax.while_loop(more, one, state)[-1]
    return forward_only(done)
