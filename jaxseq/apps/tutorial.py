"""The two translators of the tutorial that this package grew from, unchanged, for comparison.

`plain`: the decoder only sees the encoder's last state. `attentive`: weights over the source's positions, computed
from the last word and the hidden state without looking at the source (see `jaxseq.attention.positional`). Weights are
drawn as torch draws them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq._unroll import unroll
from jaxseq.affine import Affine
from jaxseq.attention import Attended, Memory, PositionalParams, positional, with_source
from jaxseq.cells import Cell, GRUCarry, GRUParams, affine, gru
from jaxseq.cells._base import unsourced
from jaxseq.cells._recipe import remembered
from jaxseq.dropout import drop
from jaxseq.initializers import normal, uniform
from jaxseq.notation import Array, Carry, Key, Params, Tree
from jaxseq.seq2seq import Encoded, Readout, Seq2Seq, check_source, lookup


class PlainParams(NamedTuple):
    """Embeddings ``[V, H]``, both GRUs and the output layer."""

    source: Array
    target: Array
    encoder: GRUParams
    decoder: GRUParams
    logits: Affine


def _torch_gru(key: Key, D: int, H: int, dtype: Any) -> GRUParams:
    """Draw a GRU as torch does; its two biases of the reset and update gates add up in our one."""
    k_main, k_more = jax.random.split(key)
    # torch's bound of every array of an RNN: 1 / sqrt(hidden size)
    draw = uniform(H**-0.5)
    params = gru.init(k_main, D, H, dtype=dtype, kernel=draw, recurrent=draw, bias=draw)
    # b has reset and update first; torch adds b_ih and b_hh there, so their sum is drawn
    return params._replace(b=params.b.at[: 2 * H].add(draw(k_more, (2 * H,), dtype)))


def _torch_affine(key: Key, D: int, N: int, dtype: Any) -> Affine:
    kW, kb = jax.random.split(key)
    # torch's bound of a Linear: 1 / sqrt(inputs)
    draw = uniform(D**-0.5)
    return Affine(draw(kW, (D, N), dtype), draw(kb, (N,), dtype))


def _encode(params: Any, source: Array, mask: Array) -> tuple[GRUCarry, Array]:
    check_source(source, mask)
    return unroll(gru, params.encoder, lookup(params.source, source), mask=mask)


def _init_of(params_type: Any, decoder_init: Callable[..., Any]) -> Callable[..., Any]:
    """Return the init of one of the two; they differ only in the type of params and the decoder."""

    def init(
        key: Key, source_size: int, target_size: int, *, hidden: int = 256, dtype: Any = jnp.float32, **_: Any
    ) -> Any:
        H = hidden
        keys = jax.random.split(key, 5)
        return params_type(
            # torch draws an Embedding from the standard normal
            normal(keys[0], (source_size, H), dtype),
            normal(keys[1], (target_size, H), dtype),
            _torch_gru(keys[2], H, H, dtype),
            decoder_init(keys[3], H, H, dtype=dtype),
            _torch_affine(keys[4], H, target_size, dtype),
        )

    return init


def _plain_encode(params: PlainParams, source: Array, mask: Array, key: Key | None = None) -> Encoded:
    carry, _ = _encode(params, source, mask)
    return Encoded(None, carry)


def _plain_embed(params: PlainParams, tokens: Array, key: Key | None = None) -> Array:
    return jax.nn.relu(lookup(params.target, tokens))


def _plain_features(params: PlainParams, out: Array, y: Array, key: Key | None = None) -> Array:
    return out


def _output(params: Any) -> Affine:
    return params.logits


plain = Seq2Seq(
    _init_of(PlainParams, _torch_gru),
    _plain_encode,
    _plain_embed,
    gru,
    Readout(_plain_features, _output),
    # without attention: weights over no position
    lambda out: out[..., :0],
    _plain_features,
    _output,
)
"""GRU encoder, GRU decoder, nothing between them but the last state; embedding, relu, GRU, linear."""


class AttentiveCellParams(NamedTuple):
    """Parameters of the tutorial's decoder: attention over positions, ``[y; context] -> relu -> GRU``."""

    gru: GRUParams
    attention: PositionalParams
    W: Array
    C: Array
    b: Array


def _cell_input_terms(params: Params, y: Array) -> Tree:
    # y is passed along with its product, since the attention query includes the word
    own = unsourced(params)
    return y, affine(y, own.W, own.b)


def _cell_hidden_terms(params: Params, carry: GRUCarry) -> Array:
    return gru.hidden_terms(unsourced(params).gru, carry)


def _cell_equations(params: Params, carry: GRUCarry, wx: Tree, uh: Array) -> tuple[Carry, Attended, Tree]:
    y, wy = wx
    params, memory = with_source("tutorial attention gru", params)
    query = jnp.concatenate([y, carry.h], axis=-1)
    _, (context, weights) = positional.attend(params.attention, memory, (), query)
    x = jax.nn.relu(wy + context @ params.C)
    carry, h, named = gru.equations(params.gru, carry, gru.input_terms(params.gru, x), uh)
    return carry, Attended(h, context, weights), named


def _cell_init(
    key: Key, input_size: int, hidden_size: int, *, length: int = 10, dtype: Any = jnp.float32
) -> AttentiveCellParams:
    D, H = input_size, hidden_size
    k_gru, k_attention, k_W, k_C, k_b = jax.random.split(key, 5)
    # both layers read a vector of D and one of H joined, which in torch is one Linear
    near, combine = uniform((D + H) ** -0.5), uniform((D + H) ** -0.5)
    return AttentiveCellParams(
        _torch_gru(k_gru, H, H, dtype),
        positional.init(k_attention, D + H, H, length, dtype=dtype, kernel=near, bias=near),
        combine(k_W, (D, H), dtype),
        combine(k_C, (H, H), dtype),
        combine(k_b, (H,), dtype),
    )


def _cell_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> GRUCarry:
    return gru.initial_carry(unsourced(params).gru, batch_shape)


def _cell_remember(params: AttentiveCellParams, values: Array, mask: Array | None = None) -> Memory:
    return positional.remember(params.attention, values, mask)


attentive_cell = Cell(
    _cell_init, _cell_carry, _cell_input_terms, _cell_hidden_terms, _cell_equations, "tutorial attention gru",
    remember=_cell_remember,
)  # fmt: skip
"""The tutorial's attention decoder as a Cell that reads a source."""


class AttentiveParams(NamedTuple):
    """Embeddings ``[V, H]``, the encoder's GRU, the decoding cell and the output layer."""

    source: Array
    target: Array
    encoder: GRUParams
    decoder: AttentiveCellParams
    logits: Affine


@remembered
def attentive(length: int = 10, dropout: float = 0.1) -> Seq2Seq:
    """Return the tutorial's translator with attention over `length` source positions and dropout on target words."""
    init = _init_of(AttentiveParams, functools.partial(_cell_init, length=length))

    def encode(params: AttentiveParams, source: Array, mask: Array, key: Key | None = None) -> Encoded:
        carry, outs = _encode(params, source, mask)
        return Encoded(_cell_remember(params.decoder, outs, mask), carry)

    def embed(params: AttentiveParams, tokens: Array, key: Key | None = None) -> Array:
        return drop(key, dropout, lookup(params.target, tokens))

    def features(params: AttentiveParams, out: Attended, y: Array, key: Key | None = None) -> Array:
        return out.h

    return Seq2Seq(
        init, encode, embed, attentive_cell, Readout(features, _output), lambda out: out.weights, features, _output
    )
