"""The `Seq2Seq`: encoder and decoder as a value made of pure functions.

A `Seq2Seq` defines how tokens become vectors, how a source becomes a memory and the decoder's initial carry, which Cell
decodes, and how its outputs become logits. Teacher-forced decoding, scheduled sampling and single token steps are
derived from these below.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxseq._unroll import unroll
from jaxseq.affine import Affine
from jaxseq.attention import reading
from jaxseq.cells import Cell
from jaxseq.decode import TokenStep
from jaxseq.errors import InputError
from jaxseq.notation import Array, Carry, Key, Params, Tree
from jaxseq.placement import any_on_mesh, rows_of, settled, wherever
from jaxseq.precision import mixed_function
from jaxseq.tokens import check_tokens


class Encoded(NamedTuple):
    """An encoded source: data alone, every leaf ``[B, ...]``, so its rows can be repeated.

    Fields:
      memory: the values that the decoder reads at each step; None without attention.
      carry: the decoder's initial carry.
    """

    memory: Any
    carry: Carry


@dataclasses.dataclass(frozen=True)
class Readout:
    """The readout of a model with features and an output layer: a function that returns ``features W + b``.

    Fields:
      features: ``(params, out, y, key=None) -> [..., B, F]``.
      output: ``params -> Affine`` of ``W [F, V]`` and ``b [V]``.
      products: dtype that the product's operands are rounded to, as in `mixed`; None for no rounding.

    Example:
      >>> from jaxseq.seq2seq import Affine, Readout
      >>> read = Readout(lambda params, out, y, key=None: out + y, lambda params: params)
      >>> read(Affine(jnp.eye(2), jnp.array([0.0, 5.0])), jnp.ones((1, 2)), jnp.ones((1, 2))).tolist()
      [[2.0, 7.0]]
    """

    features: Callable[..., Array]
    output: Callable[[Params], Affine]
    products: Any = None

    def __call__(self, params: Params, out: Tree, y: Tree, key: Key | None = None) -> Array:
        """Return the logits ``[..., B, V]``; arguments as for ``Seq2Seq.readout``."""
        product: Callable[[Affine, Array], Array] = Affine.__call__
        if self.products is not None:
            product = mixed_function(product, self.products)
        return product(self.output(params), self.features(params, out, y, key))


class Seq2Seq(NamedTuple):
    """An encoder-decoder: a value made of pure functions.

    Fields:
      init: ``(key, source_size, target_size, *, embedding, hidden, dtype=float32, ...) -> params``; consumes `key`.
        Their field ``decoder`` has the decoding cell's params.
      encode: ``(params, source int [S, B], mask bool [S, B], key=None) -> Encoded``.
      embed: ``(params, tokens int [..., B], key=None) -> y [..., B, E]``, the decoder's input.
      decoder: the Cell that maps y and its carry to outputs.
      readout: ``(params, out, y, key=None) -> logits [..., B, V]``, with any leading axes.
      weights: ``out -> attention weights [..., B, S]``, ``[..., B, 0]`` without attention.
      features: ``(params, out, y, key=None) -> [..., B, F]``, the first half of `readout`; None if it is not separate.
      output: ``params -> Affine`` of ``W [F, V]`` and ``b [V]``, its second half: ``logits = features W + b``. From
        these two `Readout` makes the readout.

    Passing a key means training: dropout consumes it. Without a key there is no dropout.
    """

    init: Callable[..., Params]
    encode: Callable[..., Encoded]
    embed: Callable[..., Array]
    decoder: Cell
    readout: Callable[..., Array]
    weights: Callable[[Tree], Array]
    features: Callable[..., Array] | None = None
    output: Callable[[Params], Affine] | None = None

    def reader(self, encoded: Encoded) -> Cell:
        """Return the decoder bound to its source; its params are ``params.decoder``."""
        return self.decoder if encoded.memory is None else reading(self.decoder, encoded.memory)

    def step(self, params: Params, encoded: Encoded) -> TokenStep:
        """Return the token step ``(carry, tokens) -> (carry, (logits [B, V], weights [B, S]))`` for `jaxseq.decode`."""

        def one(params: Params, carry: Carry, tokens: Array, memory: Any) -> tuple[Carry, tuple[Array, Array]]:
            y = self.embed(params, tokens)
            carry, out = self.reader(Encoded(memory, carry)).step(params.decoder, carry, y)
            return carry, (self.readout(params, out, y), self.weights(out))

        def step(carry: Carry, tokens: Array) -> tuple[Carry, tuple[Array, Array]]:
            given = (carry, tokens, encoded.memory)
            return wherever(one, params, *given, first=(0, 0, None), batch=tokens.shape)

        return step

    def decode(
        self,
        params: Params,
        encoded: Encoded,
        inputs: Array,
        forced: Array | None = None,
        key: Key | None = None,
    ) -> tuple[Carry, tuple[Array, Array]]:
        """Return ``(carry, (logits [T, B, V], weights [T, B, S]))`` of a whole target.

        Args:
          params: the model's parameters.
          encoded: from `encode`.
          inputs: int ``[T, B]``: SOS, then the target without its last token.
          forced: bool ``[T, B]``: True feeds ``inputs[t]``, False the model's own likeliest token of step t - 1; the
            first step always takes its input. The model's own tokens have no gradient, so they are found first, by a
            loop that stops after the last step that needs one. None feeds the inputs everywhere.
          key: for dropout.

        Raises:
          InputError: if inputs are not integers ``[T, B]``, or `forced` is not bool of the same shape; where inputs are
            known, if one is not in the vocabulary. Traced inputs out of range are clipped.
        """
        return self._decoded(params, encoded, inputs, forced, key, self.readout)

    def decode_features(
        self,
        params: Params,
        encoded: Encoded,
        inputs: Array,
        forced: Array | None = None,
        key: Key | None = None,
    ) -> tuple[Carry, tuple[Array, Array]]:
        """Return ``(carry, (features [T, B, F], weights [T, B, S]))``: `decode` without the product with ``W [F, V]``.

        For losses that never hold ``[T, B, V]``: `jaxseq.losses.output_loss` and `sampled_loss`, with
        ``model.output(params)``. Arguments and errors are as for `decode`.

        Raises:
          InputError: if the model's readout is a single function.
        """
        if self.features is None or self.output is None:
            raise InputError("decode_features: this model has no features and output apart from its readout")
        return self._decoded(params, encoded, inputs, forced, key, self.features)

    def _decoded(
        self,
        params: Params,
        encoded: Encoded,
        inputs: Array,
        forced: Array | None,
        key: Key | None,
        finish: Callable[..., Array],
    ) -> tuple[Carry, tuple[Array, Array]]:
        """Decode a whole target, and apply `finish`: the readout or its first half."""
        if inputs.ndim != 2 or not jnp.issubdtype(inputs.dtype, jnp.integer):
            raise InputError(f"decode: inputs must be int [T, B], time first; got {inputs.dtype} {inputs.shape}")
        if forced is not None and (forced.shape != inputs.shape or forced.dtype != jnp.bool_):
            raise InputError(
                f"decode: forced must be bool {inputs.shape}, as inputs; got {forced.dtype} {forced.shape}"
            )

        def run(
            params: Params, inputs: Array, forced: Array | None, carry: Carry, memory: Any, key: Key | None
        ) -> tuple[Carry, tuple[Array, Array]]:
            k_embed, k_read = (None, None) if key is None else jax.random.split(key)
            embed, read, fed = self.embed, finish, inputs
            if forced is not None:
                embed, read = _by_step(embed, inputs.shape[0]), _by_step(read, inputs.shape[0])
                # argmax has no gradient: the tokens are found first, and are then ordinary inputs
                fed = self._fed(*lax.stop_gradient((params, carry, memory)), inputs, forced, k_embed, k_read)
            ys = embed(params, fed, k_embed)
            carry, outs = unroll(self.reader(Encoded(memory, carry)), params.decoder, ys, carry)
            done = read(params, outs, ys, k_read)
            vocabulary = done if self.output is None or finish is self.readout else self.output(params).b
            check_tokens("decode: inputs", inputs, vocabulary.shape[-1])  # not all of them were fed
            return carry, (done, self.weights(outs))

        data = (inputs, forced, encoded.carry, encoded.memory, key)
        return wherever(run, params, *data, first=(1, 1, 0, None, None), batch=inputs.shape[1:])

    def _fed(
        self,
        params: Params,
        carry: Carry,
        memory: Any,
        inputs: Array,
        forced: Array,
        k_embed: Key | None,
        k_read: Key | None,
    ) -> Array:
        """Return the tokens ``[T, B]`` that are fed: inputs where `forced` says so, elsewhere the model's own."""
        reader = self.reader(Encoded(memory, carry))
        steps = jnp.arange(inputs.shape[0], dtype=jnp.int32)
        last = jnp.max(jnp.where(forced, 0, steps[:, None]), initial=0)  # the last step that is fed its own token

        def more(state: tuple[Array, Carry, Array]) -> Array:
            return any_on_mesh(state[0] < last)

        def one(state: tuple[Array, Carry, Array]) -> tuple[Array, Carry, Array]:
            t, carry, fed = state
            keys = [None if k is None else jax.random.fold_in(k, t) for k in (k_embed, k_read)]
            y = self.embed(params, fed[t], keys[0])
            carry, out = reader.step(params.decoder, carry, y)
            own = jnp.argmax(self.readout(params, out, y, keys[1]), axis=-1).astype(fed.dtype)
            return t + 1, carry, fed.at[t + 1].set(jnp.where(forced[t + 1], fed[t + 1], own))

        return lax.while_loop(more, one, settled(one, (jnp.int32(0), carry, inputs)))[-1]


def _by_step(function: Callable[..., Array], T: int) -> Callable[..., Array]:
    """Return a function of params, sequences of T and a key, which uses ``fold_in(key, t)`` at step t."""

    def run(params: Params, *data: Any) -> Array:
        *sequences, key = data
        if key is None:
            return function(params, *data)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(T))
        return jax.vmap(partial(function, params))(*sequences, keys)

    return run


def lookup(table: Array, tokens: Array) -> Array:
    """Return the rows ``[..., E]`` of ``table [V, E]`` for integer tokens; traced ones out of range are clipped.

    Raises:
      InputError: if tokens are known, and one is not from 0 to V - 1.
    """
    check_tokens("lookup", tokens, table.shape[0])
    return rows_of(table, tokens)


def check_source(source: Array, mask: Array) -> None:
    """Check that a source is integer ``[S, B]`` with a mask of its shape."""
    if source.ndim != 2 or not jnp.issubdtype(source.dtype, jnp.integer):
        raise InputError(f"encode: source must be int [S, B], time first; got {source.dtype} {source.shape}")
    if mask.shape != source.shape or mask.dtype != jnp.bool_:
        raise InputError(f"encode: mask must be bool {source.shape}, as source; got {mask.dtype} {mask.shape}")
