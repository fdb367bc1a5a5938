"""Generating token sequences, greedily or by sampling, from any token step function. Knows no model.

A `TokenStep` is ``step(carry, tokens [B]) -> (carry, (logits [B, V], seen))``, where `seen` is any pytree of
``[B, ...]`` worth keeping at each step, such as attention weights. `greedy` and `sample` are pure functions to be
called inside one jit; they run batched, and stop when every row has emitted EOS.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxseq.errors import InputError
from jaxseq.notation import Array, Carry, Key, Tree, widened
from jaxseq.placement import any_on_mesh, beside, room, settled
from jaxseq.tokens import check_tokens


class TokenStep(Protocol):
    """One step of a model that writes tokens: ``(carry, tokens) -> (carry, (logits, seen))``, as `jax.lax.scan` has it.

    A step of a network without recurrence may carry anything that it needs, such as the tokens so far.
    """

    def __call__(self, carry: Carry, tokens: Array, /) -> tuple[Carry, tuple[Array, Tree]]:
        """Return the new carry, of the type of the old one, and ``(logits [B, V], seen)``.

        Args:
          carry: what the model knows, every leaf ``[B, ...]``.
          tokens: int ``[B]``, the token fed to each row.
        """


class Decoded(NamedTuple):
    """What was generated, time-major.

    Fields:
      tokens: int32 ``[T, B]``: up to and with EOS, then PAD.
      log_probs: ``[T, B]``: of each token under the model (at temperature 1), 0 after EOS.
      lengths: int32 ``[B]``: tokens up to and with EOS; T where no EOS came.
      seen: what the step function showed, each leaf ``[T, B, ...]``, zeros after EOS.
    """

    tokens: Array
    log_probs: Array
    lengths: Array
    seen: Tree


def greedy(step: TokenStep, carry: Carry, start: Array, *, eos: int, max_length: int, pad: int = 0) -> Decoded:
    """Take the likeliest token at each step.

    Args:
      step: the token step.
      carry: its state before the first token.
      start: int ``[B]``, the token fed first (SOS).
      eos: the token that ends a row.
      max_length: T, the most tokens generated.
      pad: what fills a row after its EOS.

    Raises:
      InputError: if max_length is below 1, start is not a row of integers, or has an id that is known and not from 0 to
        V - 1; when a gradient is pulled back through it. Forward mode works.

    Example:
      >>> chain = jnp.eye(4)[jnp.array([0, 0, 3, 1])]  # after token 2 comes 3, after 3 comes 1, which is EOS
      >>> step = lambda carry, tokens: (carry, (chain[tokens], ()))
      >>> greedy(step, (), jnp.array([2, 3]), eos=1, max_length=3).tokens.T.tolist()
      [[3, 1, 0], [1, 0, 0]]
    """
    return _generate(lambda _, logits: jnp.argmax(logits, axis=-1), step, carry, start, eos, max_length, pad)


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
) -> Decoded:
    """Draw each token from softmax(logits / temperature). Consumes `key`; other arguments as `greedy`.

    Raises:
      InputError: if temperature is not above 0 (towards 0 it becomes `greedy`).

    Example:
      >>> fair = lambda carry, tokens: (carry, (jnp.zeros((*tokens.shape, 6)), ()))
      >>> dice = sample(fair, (), jnp.zeros(1000, int), key=jax.random.key(0), eos=-1, max_length=1).tokens
      >>> sorted(set(dice[0].tolist()))
      [0, 1, 2, 3, 4, 5]
    """
    if not isinstance(temperature, jax.core.Tracer) and not temperature > 0:
        raise InputError(f"sample: temperature must be above 0, got {temperature}; for the likeliest token use greedy")

    def draw(t: Array, logits: Array) -> Array:
        return jax.random.categorical(jax.random.fold_in(key, t), logits / jnp.asarray(temperature, logits.dtype))

    return _generate(draw, step, carry, start, eos, max_length, pad)


def _generate(
    choose: Callable[[Array, Array], Array],
    step: TokenStep,
    carry: Carry,
    start: Array,
    eos: int,
    max_length: int,
    pad: int,
) -> Decoded:
    start = given = jnp.asarray(start)
    if start.ndim != 1 or not jnp.issubdtype(start.dtype, jnp.integer):
        raise InputError(f"decode: start must be int [B], one token a row; got {start.dtype} of shape {start.shape}")
    if max_length < 1:
        raise InputError(f"decode: max_length must be at least 1, got {max_length}")
    start = beside(start.astype(jnp.int32), carry, start.shape)
    _, (logits, seen) = jax.eval_shape(step, carry, start)
    check_tokens("decode: start", given, logits.shape[-1])

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
        log_p = jax.nn.log_softmax(widened(logits)).astype(logits.dtype)
        log_prob = jnp.take_along_axis(log_p, token[:, None], axis=-1)[:, 0]

        def put(into: Array, row: Array) -> Array:
            shown = alive.reshape(alive.shape + (1,) * (row.ndim - 1))
            return into.at[t].set(jnp.where(shown, row, into[t]))

        done = Decoded(
            put(done.tokens, token),
            put(done.log_probs, log_prob),
            done.lengths + alive.astype(jnp.int32),
            jax.tree.map(put, done.seen, seen),
        )
        return t + 1, carry, token, alive & (token != eos), done

    state = settled(one, (jnp.int32(0), carry, start, jnp.ones_like(start, bool), empty))
    done = lax.while_loop(more, one, state)[-1]
    return jax.tree.map(lambda a: forward_only_p.bind(a) if jnp.issubdtype(a.dtype, jnp.floating) else a, done)


forward_only_p = Primitive("forward_only")
"""The identity, whose derivative can be pushed forward and not pulled back: the error comes before that of the loop."""


def _refuse(*_: Any) -> None:
    raise InputError(
        "decode: greedy and sample have no gradient in reverse mode: their loop stops where the tokens say. Generate "
        "first; then compute the log-probabilities of these tokens in one pass, model.decode(params, encoded, inputs) "
        "with inputs SOS and the tokens without the last, and differentiate those, weighted by rewards for REINFORCE. "
        "To train a model on its own tokens, give model.decode `forced`"
    )


forward_only_p.def_impl(lambda a: a)
forward_only_p.def_abstract_eval(lambda a: a)
mlir.register_lowering(forward_only_p, lambda _, a: [a])
ad.deflinear2(forward_only_p, _refuse)
batching.defvectorized(forward_only_p)
