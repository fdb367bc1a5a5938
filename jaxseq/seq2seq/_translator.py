"""The default translation model, and its options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq._layers import Bidirectional, bidirectional, init_layers
from jaxseq.affine import Affine
from jaxseq.attention import Attention, additive, first_carry
from jaxseq.cells import Cell, Dropped, gru
from jaxseq.cells._checks import check_has_h, check_is_cell
from jaxseq.cells._recipe import remembered
from jaxseq.dropout import drop, keep_mask
from jaxseq.errors import InputError, choose
from jaxseq.initializers import normal
from jaxseq.notation import Array, Carry, Key, Params, Tree
from jaxseq.placement import wherever
from jaxseq.precision import mixed, mixed_function
from jaxseq.seq2seq._base import Encoded, Readout, Seq2Seq, check_source, lookup
from jaxseq.seq2seq._decoder import (
    Fed,
    FeedingCarry,
    NormalisedParams,
    attended,
    decoder_of,
    deep_features,
    normalised,
    reader_of,
)  # fmt: skip

SMALL = 0.1
"""Initial standard deviation of embeddings: rows of unit variance would saturate the gates."""
TIES = ("none", "target", "all")
"""What to tie: nothing, target embedding and output matrix, or these and the source embedding."""


class Bias(NamedTuple):
    """The output layer of tied embeddings: ``b [Vt]`` alone."""

    b: Array


class TranslatorParams(NamedTuple):
    """Parameters of `translator`. Fields that its options do not use are None.

    Fields:
      source: ``[Vs, E]``, the source embedding; with ``tie="all"`` every embedding, and the output matrix.
      target: ``[Vt, E]``, the target embedding; with ``tie="target"`` also the output matrix.
      encoder: one `Bidirectional` of cell params per layer.
      bridge: layers from the encoder's last states ``[B, 2H]`` to each leaf of the decoder's initial carry; a tuple for
        a decoder of several layers.
      decoder: the decoding cell's parameters.
      deep: layer from ``[h; context; y]`` to the features read out; with input feeding it is in `decoder`.
      logits: layer from the features to ``[B, Vt]``; only its bias if embeddings are tied.
    """

    source: Array
    target: Array | None
    encoder: tuple[Bidirectional, ...]
    bridge: Carry
    decoder: Params
    deep: Affine | None
    logits: Affine | Bias


@remembered  # equal settings give the same value
def translator(
    cell: Cell = gru,
    attention: Attention = additive,
    layers: int = 1,
    dropout: float = 0.0,
    *,
    decoder_layers: int = 1,
    residual: bool = False,
    layer_norm: bool = False,
    tie: Literal["none", "target", "all"] = "none",
    input_feeding: bool = False,
    word_dropout: float = 0.0,
    products: Any = None,
) -> Seq2Seq:
    """Return the default model: a bidirectional encoder, a decoder that attends to it, a deep output layer.

    ``init(key, source_size, target_size, *, embedding=256, hidden=256, units=None, counts=None, dtype=float32)``:
    `units` of the attention, H by default; `counts` ``[Vt]``, how often each target token occurs in training: the
    logits' bias starts at their `log_frequencies`, or at 0 without them.

    Args:
      cell: the cell of encoder and decoder, such as `gru` or `lstm`.
      attention: how the decoder reads the encoder's outputs.
      layers: number of encoder layers.
      dropout: the rate on both embeddings, between layers and before the logits.
      decoder_layers: number of decoder layers. The lowest attends, the next reads ``[h; context]``, the top is read
        out.
      residual: add the input of each encoder and decoder layer above the lowest to its output.
      layer_norm: normalise the input of every encoder and decoder layer.
      tie: "target" shares one matrix between target embedding and output (Press & Wolf 2017, arXiv:1608.05859), "all"
        also with the source embedding, for a vocabulary shared by both languages. As an output the matrix has initial
        standard deviation 1 / sqrt(E); as an embedding it is scaled to 0.1, as when untied.
      input_feeding: feed the decoder its last features too (Luong et al. 2015, arXiv:1508.04025, section 3.3).
      word_dropout: the rate at which whole embeddings of both languages are dropped (Gal & Ghahramani 2016,
        arXiv:1512.05287, section 4.2; here each position is drawn separately).
      products: dtype that the operands of every matrix product are rounded to, such as jnp.bfloat16; see `mixed`.
        Parameters, states and gradients keep their dtype. None for no rounding.

    Raises:
      InputError: if there is less than 1 layer, or an unknown tie; from init, if the cell's carry has no h or leaves
        other than ``[B, H]``, or if a shared vocabulary has two sizes.

    Reference: Bahdanau, Cho & Bengio 2015, arXiv:1409.0473, appendix A. Unlike there, the initial decoder carry depends
    on both directions, and tanh replaces maxout in the output layer. Layers of the decoder as in Wu et al. 2016,
    arXiv:1609.08144, section 3, with the context for the second layer alone.

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
    if layers < 1 or decoder_layers < 1:
        which = "encoder" if layers < 1 else "decoder"
        raise InputError(f"translator: the {which} needs at least 1 layer; got {min(layers, decoder_layers)}")
    check_is_cell("translator", cell)
    choose("tie of embeddings", tie, dict.fromkeys(TIES))
    built = _Translator(
        cell, attention, layers, dropout, decoder_layers, residual, layer_norm, tie, input_feeding, word_dropout,
        products,
    )  # fmt: skip
    return Seq2Seq(
        built.init, built.encode, built.embed, built.decoder, Readout(built.features, built.output, products),
        weights_of, built.features, built.output,
    )  # fmt: skip


class _Translator(NamedTuple):
    """The options of `translator`, with the functions of the `Seq2Seq` as methods, so that they can be pickled."""

    cell: Cell
    attention: Attention
    layers: int
    dropout: float
    decoder_layers: int
    residual: bool
    layer_norm: bool
    tie: str
    input_feeding: bool
    word_dropout: float
    products: Any

    @property
    def layer(self) -> Cell:
        """The cell of every layer, with normalised input if `layer_norm`."""
        return normalised(self.cell) if self.layer_norm else self.cell

    @property
    def reads(self) -> Cell:
        """The cell of the encoder's layers."""
        return self.layer if self.products is None else mixed(self.layer, self.products)

    @property
    def decoder(self) -> Cell:
        """The decoding Cell."""
        whole = decoder_of(self.layer, self.attention, self.decoder_layers, self.residual, self.input_feeding)
        return whole if self.products is None else mixed(whole, self.products)

    def rounded(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function(params, *data)`` with matrix products rounded to `products`."""
        return function if self.products is None else mixed_function(function, self.products)

    def init(
        self,
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
        _check_sizes(source_size, target_size, counts, self.tie)
        E, H = embedding, hidden
        k_source, k_target, k_encoder, k_bridge, k_decoder, k_deep, k_logits = jax.random.split(key, 7)

        encoder = init_layers(k_encoder, (self.reads,) * self.layers, E, H, dtype=dtype)
        carry = self.reads.initial_carry(encoder[0].forward)
        check_has_h("translator", self.cell, carry)
        bridge_keys = jax.random.split(k_bridge, self.decoder_layers * len(carry))
        bridges = [Affine.init(k, 2 * H, H, dtype) for k in bridge_keys]
        bridge = tuple(type(carry)(*bridges[n :: self.decoder_layers]) for n in range(self.decoder_layers))
        logits: Affine | Bias = Affine.init(k_logits, E, target_size, dtype)
        if counts is not None:  # starting from 0, features and states saturate to learn which words are common
            logits = logits._replace(b=log_frequencies(counts).astype(dtype))
        as_output, small = jnp.asarray(E**-0.5, dtype), jnp.asarray(SMALL, dtype)
        target = (small if self.tie == "none" else as_output) * normal(k_target, (target_size, E), dtype)
        return TranslatorParams(
            source=(as_output if self.tie == "all" else small) * normal(k_source, (source_size, E), dtype),
            target=None if self.tie == "all" else target,
            encoder=encoder,
            bridge=bridge[0] if self.decoder_layers == 1 else bridge,
            decoder=self.decoder.init(k_decoder, E, H, value_size=2 * H, units=units or H, dtype=dtype),
            deep=None if self.input_feeding else Affine.init(k_deep, H + 2 * H + E, E, dtype),
            logits=logits if self.tie == "none" else Bias(logits.b),
        )

    def encode(self, params: TranslatorParams, source: Array, mask: Array, key: Key | None = None) -> Encoded:
        check_source(source, mask)
        return wherever(self.encoded, params, source, mask, key, first=(1, 1, None), batch=source.shape[1:])

    def encoded(self, params: TranslatorParams, source: Array, mask: Array, key: Key | None) -> Encoded:
        keys = [None] * self.layers if key is None else list(jax.random.split(key, self.layers))
        xs = self.drop_words(key, source_vectors(params, source))
        for n, layer in enumerate(params.encoder):
            below = drop(keys[n], self.dropout, xs)
            last, outs = bidirectional(self.reads, layer, below, mask=mask)
            xs = outs + xs if self.residual and n else outs
        memory = self.rounded(self.attention.remember)(reader_of(params.decoder).attention, xs, mask)
        bridges = params.bridge if self.decoder_layers > 1 else (params.bridge,)
        carries = [self.rounded(self.first)(bridge, last) for bridge in bridges]
        carries[0] = first_carry(self.attention, reader_of(params.decoder).attention, memory, carries[0])
        rest = (None,) * (self.decoder_layers - 1)
        carry: Carry = tuple(carries) if rest else carries[0]
        if self.input_feeding:
            carry = FeedingCarry(carry, jnp.zeros_like(carries[0].h, shape=(*source.shape[1:], params.source.shape[1])))
        return Encoded((memory, *rest) if rest else memory, carry)

    @staticmethod
    def first(bridge: Carry, last: Bidirectional) -> Carry:
        """Return the initial carry of a decoder layer, from the encoder's last states."""
        return type(last.forward)(
            *(
                jnp.tanh(own(jnp.concatenate([ahead, back], axis=-1)))
                for own, ahead, back in zip(bridge, last.forward, last.backward, strict=True)
            )
        )

    def drop_words(self, key: Key | None, y: Array) -> Array:
        if key is None or not self.word_dropout:
            return y
        keep = keep_mask(jax.random.fold_in(key, 1), self.word_dropout, (*y.shape[:-1], 1), y.dtype)
        return y * jnp.broadcast_to(keep, y.shape)

    def embed(self, params: TranslatorParams, tokens: Array, key: Key | None = None) -> Tree:
        table = params.source if params.target is None else params.target
        y = self.drop_words(key, _vectors(table, self.tie != "none", tokens))
        if key is None or not self.dropout or self.decoder_layers == 1:
            return drop(key, self.dropout, y)
        H, K = params.bridge[0][0].b.shape[0], reader_of(params.decoder).C.shape[0]
        sizes = [H + K, *[H] * (self.decoder_layers - 2)]  # output sizes of all layers except the last
        k_y, *k_above = jax.random.split(key, self.decoder_layers)
        keep = [
            keep_mask(k, self.dropout, (*y.shape[:-1], size), y.dtype) for k, size in zip(k_above, sizes, strict=True)
        ]
        return Dropped(drop(k_y, self.dropout, y), tuple(keep))

    def features(self, params: TranslatorParams, out: Any, y: Tree, key: Key | None = None) -> Array:
        if isinstance(out, Fed):  # the loop has already computed them
            return drop(key, self.dropout, out.features)
        assert params.deep is not None
        return drop(key, self.dropout, self.rounded(deep_features)(params.deep, out, y))

    @staticmethod
    def output(params: TranslatorParams) -> Affine:
        if isinstance(params.logits, Affine):
            return params.logits
        return Affine((params.source if params.target is None else params.target).T, params.logits.b)


def weights_of(out: Tree) -> Array:
    """Return the attention weights of a decoder output."""
    return attended(out).weights


def source_vectors(params: TranslatorParams, tokens: Array) -> Array:
    """Return the embeddings ``[..., E]`` of source tokens for the encoder."""
    return _vectors(params.source, params.target is None, tokens)


def encoder_cell(cell: Cell, params: TranslatorParams) -> Cell:
    """Return the cell that these encoder params belong to, with or without normalised input."""
    return normalised(cell) if isinstance(params.encoder[0].forward, NormalisedParams) else cell


def _vectors(table: Array, tied: bool, tokens: Array) -> Array:
    """Return embeddings; a tied table has the scale of an output matrix, and is rescaled to an embedding's."""
    y = lookup(table, tokens)
    return y * jnp.asarray(SMALL * y.shape[-1] ** 0.5, y.dtype) if tied else y


def _check_sizes(source_size: int, target_size: int, counts: Array | None, tie: str) -> None:
    if counts is not None and counts.shape != (target_size,):
        raise InputError(
            f"translator: counts must hold one number for each of the {target_size} target tokens; "
            f"got shape {counts.shape}"
        )
    if tie == "all" and source_size != target_size:
        raise InputError(
            f"translator: tie='all' is for one vocabulary that both languages share; got {source_size} source and "
            f"{target_size} target tokens. tie='target' ties the target embedding and the output alone"
        )


def log_frequencies(counts: Array) -> Array:
    """Return ``log((counts + 1) / total)``, where total is the sum of ``counts + 1``: their softmax is the frequencies.

    Example:
      >>> import numpy as np
      >>> print(np.exp(log_frequencies(np.array([0, 2, 5]))).round(3))
      [0.1 0.3 0.6]
    """
    smoothed = jnp.asarray(counts) + 1  # a token that training never predicts stays possible
    return jnp.log(smoothed / smoothed.sum())
