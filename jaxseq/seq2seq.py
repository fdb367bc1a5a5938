"""Encoder and decoder as a value of pure functions, and the model that translates by default.

A `Seq2Seq` says how tokens become vectors, how a source becomes a memory and the decoder's first carry, which Cell
decodes, and how its outputs become logits. Teacher-forced decoding, scheduled sampling and single token steps all
follow from these, written once below.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxseq._layers import Bidirectional, bidirectional, init_layers
from jaxseq._unroll import unroll
from jaxseq.affine import Affine
from jaxseq.attention import Attention, AttentionCellParams, additive, first_carry, reading, with_attention
from jaxseq.cells import Cell, gru
from jaxseq.cells._checks import check_has_h, check_is_cell
from jaxseq.cells._recipe import remembered
from jaxseq.decode import TokenStep
from jaxseq.dropout import drop
from jaxseq.errors import InputError
from jaxseq.initializers import normal
from jaxseq.notation import Array, Carry, Key, Params, Tree
from jaxseq.placement import any_on_mesh, rows_of, settled, wherever
from jaxseq.tokens import check_tokens


class Encoded(NamedTuple):
    """A source, ready to be decoded: data alone, every leaf ``[B, ...]``, so that its rows can be repeated.

    Fields:
      memory: what the decoder reads at each step; None where it reads nothing.
      carry: the decoder's first.
    """

    memory: Any
    carry: Carry


class Seq2Seq(NamedTuple):
    """An encoder-decoder as a value of pure functions.

    Fields:
      init: ``(key, source_size, target_size, *, embedding, hidden, dtype=float32, ...) -> params``; consumes `key`. The
        params of the decoding cell are their field ``decoder``.
      encode: ``(params, source int [S, B], mask bool [S, B], key=None) -> Encoded``.
      embed: ``(params, tokens int [..., B], key=None) -> y [..., B, E]``, the decoder's input.
      decoder: the Cell that maps y and its carry to outputs.
      readout: ``(params, out, y, key=None) -> logits [..., B, V]``, with any leading axes.
      weights: ``out -> attention weights [..., B, S]``, ``[..., B, 0]`` where there are none.

    A key stands for training, and is consumed by dropout; without one there is none.
    """

    init: Callable[..., Params]
    encode: Callable[..., Encoded]
    embed: Callable[..., Array]
    decoder: Cell
    readout: Callable[..., Array]
    weights: Callable[[Tree], Array]

    def reader(self, encoded: Encoded) -> Cell:
        """Return the decoder with the source that it reads; its params are ``params.decoder``."""
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
          params: the model's.
          encoded: from `encode`.
          inputs: int ``[T, B]``: SOS, then the target without its last token.
          forced: bool ``[T, B]``: True feeds ``inputs[t]``, False the model's own likeliest token of step t - 1; the
            first step always takes its input. The model's own tokens have no gradient, so that they are found first,
            by a loop that ends with the last step that needs one. None feeds the inputs everywhere.
          key: for dropout.

        Raises:
          InputError: if inputs are not integers ``[T, B]``, or `forced` is not bool of the same shape; where inputs are
            known, if one is not in the vocabulary. Traced ones that are not are clipped.
        """
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
            embed, readout, fed = self.embed, self.readout, inputs
            if forced is not None:
                embed, readout = _by_step(embed, inputs.shape[0]), _by_step(readout, inputs.shape[0])
                # argmax has no gradient: the tokens are found first, and then are inputs like any other
                fed = self._fed(*lax.stop_gradient((params, carry, memory)), inputs, forced, k_embed, k_read)
            ys = embed(params, fed, k_embed)
            carry, outs = unroll(self.reader(Encoded(memory, carry)), params.decoder, ys, carry)
            logits = readout(params, outs, ys, k_read)
            check_tokens("decode: inputs", inputs, logits.shape[-1])  # not all of them were fed
            return carry, (logits, self.weights(outs))

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
    """Return a function of params, sequences of T and a key that draws for step t with ``fold_in(key, t)``."""

    def run(params: Params, *data: Any) -> Array:
        *sequences, key = data
        if key is None:
            return function(params, *data)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(T))
        return jax.vmap(partial(function, params))(*sequences, keys)

    return run


class TranslatorParams(NamedTuple):
    """Parameters of `translator`.

    Fields:
      source: ``[Vs, E]``, the source embedding.
      target: ``[Vt, E]``, the target embedding.
      encoder: one `Bidirectional` of cell params a layer.
      bridge: from the encoder's last states ``[B, 2H]`` to each leaf of the decoder's first carry.
      decoder: the decoding cell's.
      deep: from ``[h; context; y]`` to the features read out.
      logits: from the features to ``[B, Vt]``.
    """

    source: Array
    target: Array
    encoder: tuple[Bidirectional, ...]
    bridge: Carry
    decoder: AttentionCellParams
    deep: Affine
    logits: Affine


@remembered  # equal settings are the same value
def translator(cell: Cell = gru, attention: Attention = additive, layers: int = 1, dropout: float = 0.0) -> Seq2Seq:
    """Return the default model: a bidirectional encoder, a decoder that attends to it, a deep output layer.

    ``init(key, source_size, target_size, *, embedding=256, hidden=256, units=None, counts=None, dtype=float32)``:
    `units` of the attention, H by default; `counts` ``[Vt]``, how often training predicts each target token, from which
    the logits' bias starts as `log_frequencies`. Without them it starts at 0.

    Args:
      cell: of encoder and decoder, for example `gru` or `lstm`.
      attention: how the decoder reads the encoder's outputs.
      layers: of the encoder.
      dropout: the rate on both embeddings, between encoder layers and before the logits.

    Raises:
      InputError: if layers is below 1; from init, if the cell's carry has no h, or is not all of arrays ``[B, H]``.

    Reference: Bahdanau, Cho & Bengio 2015, arXiv:1409.0473, appendix A. Apart from it, the first decoder carry looks at
    both directions, and tanh stands for maxout in the output layer.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq import decode
      >>> from jaxseq.seq2seq import translator
      >>> model = translator()
      >>> params = model.init(jax.random.key(0), 50, 40, embedding=8, hidden=8)
      >>> source = jnp.ones((6, 2), int)  # [S, B]
      >>> encoded = model.encode(params, source, source > 0)
      >>> carry, (logits, weights) = model.decode(params, encoded, jnp.ones((5, 2), int))
      >>> logits.shape, weights.shape
      ((5, 2, 40), (5, 2, 6))
      >>> step = model.step(params, encoded)
      >>> decode.greedy(step, encoded.carry, jnp.ones(2, int), eos=2, max_length=9).tokens.shape
      (9, 2)
    """
    if layers < 1:
        raise InputError(f"translator: the encoder needs at least 1 layer; got {layers}")
    check_is_cell("translator", cell)
    decoder = with_attention(cell, attention)

    def init(
        key: Key,
        source_size: int,
        target_size: int,
        *,
        embedding: int = 256,
        hidden: int = 256,
        units: int | None = None,
        counts: Array | None = None,
        dtype: Any = jnp.float32,
    ) -> TranslatorParams:
        if counts is not None and counts.shape != (target_size,):
            raise InputError(
                f"translator: counts must hold one number for each of the {target_size} target tokens; "
                f"got shape {counts.shape}"
            )
        E, H = embedding, hidden
        k_source, k_target, k_encoder, k_bridge, k_decoder, k_deep, k_logits = jax.random.split(key, 7)

        encoder = init_layers(k_encoder, (cell,) * layers, E, H, dtype=dtype)
        carry = cell.initial_carry(encoder[0].forward)
        check_has_h("translator", cell, carry)
        bridge_keys = jax.random.split(k_bridge, len(carry))
        small = jnp.asarray(0.1, dtype)  # unit-variance rows would saturate the gates
        logits = Affine.init(k_logits, E, target_size, dtype)
        if counts is not None:  # from 0, features and states saturate to learn which words are common
            logits = logits._replace(b=log_frequencies(counts).astype(dtype))
        return TranslatorParams(
            source=small * normal(k_source, (source_size, E), dtype),
            target=small * normal(k_target, (target_size, E), dtype),
            encoder=encoder,
            bridge=type(carry)(*(Affine.init(k, 2 * H, H, dtype) for k in bridge_keys)),
            decoder=decoder.init(k_decoder, E, H, value_size=2 * H, units=units or H, dtype=dtype),
            deep=Affine.init(k_deep, H + 2 * H + E, E, dtype),
            logits=logits,
        )

    def encode(params: TranslatorParams, source: Array, mask: Array, key: Key | None = None) -> Encoded:
        check_source(source, mask)
        return wherever(encoded, params, source, mask, key, first=(1, 1, None), batch=source.shape[1:])

    def encoded(params: TranslatorParams, source: Array, mask: Array, key: Key | None) -> Encoded:
        keys = [None] * layers if key is None else jax.random.split(key, layers)
        xs = lookup(params.source, source)
        for k, layer in zip(keys, params.encoder, strict=True):
            last, xs = bidirectional(cell, layer, drop(k, dropout, xs), mask=mask)
        first = [
            jnp.tanh(bridge(jnp.concatenate([ahead, back], axis=-1)))
            for bridge, ahead, back in zip(params.bridge, last.forward, last.backward, strict=True)
        ]
        memory = attention.remember(params.decoder.attention, xs, mask)
        carry = first_carry(attention, params.decoder.attention, memory, type(last.forward)(*first))
        return Encoded(memory, carry)

    def embed(params: TranslatorParams, tokens: Array, key: Key | None = None) -> Array:
        return drop(key, dropout, lookup(params.target, tokens))

    def readout(params: TranslatorParams, out: Any, y: Array, key: Key | None = None) -> Array:
        features = jnp.tanh(params.deep(jnp.concatenate([out.h, out.context, y], axis=-1)))
        return params.logits(drop(key, dropout, features))

    return Seq2Seq(init, encode, embed, decoder, readout, lambda out: out.weights)


def lookup(table: Array, tokens: Array) -> Array:
    """Return the rows ``[..., E]`` of ``table [V, E]`` for integer tokens; where traced, one out of range is clipped.

    Raises:
      InputError: if tokens are known, and one is not from 0 to V - 1.
    """
    check_tokens("lookup", tokens, table.shape[0])
    return rows_of(table, tokens)


def log_frequencies(counts: Array) -> Array:
    """Return ``log((counts + 1) / total)``, total being the sum of ``counts + 1``: the softmax is these frequencies.

    Example:
      >>> import numpy as np
      >>> print(np.exp(log_frequencies(np.array([0, 2, 5]))).round(3))
      [0.1 0.3 0.6]
    """
    smoothed = jnp.asarray(counts) + 1  # a token that training never predicts stays possible
    return jnp.log(smoothed / smoothed.sum())


def check_source(source: Array, mask: Array) -> None:
    """Check that a source is integer ``[S, B]`` with a mask of its shape."""
    if source.ndim != 2 or not jnp.issubdtype(source.dtype, jnp.integer):
        raise InputError(f"encode: source must be int [S, B], time first; got {source.dtype} {source.shape}")
    if mask.shape != source.shape or mask.dtype != jnp.bool_:
        raise InputError(f"encode: mask must be bool {source.shape}, as source; got {mask.dtype} {mask.shape}")
