"""The decoder as a Cell: attention in its lowest layer, other layers above it, and input feeding around them.

    y, fed --> layer 1 (reads the source) --[h; context]--> layer 2 --h--> ... --> top h
                  ^                                                                  |
                  fed = features of the step before  <--  tanh(deep [top h; context; y])

Every layer but the first may be residual, and the input of each may be normalised. Both wrap a cell, so a step, a loop,
and every recurrence follow from the cell's own functions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.affine import Affine
from jaxseq.attention import Attended, Attention, AttentionCellParams, with_attention
from jaxseq.cells import Cell, Dropped, made, stack
from jaxseq.cells._base import Sourced, unsourced
from jaxseq.cells._init import passing_on
from jaxseq.cells._lstm_layernorm import layer_norm
from jaxseq.cells._stack import StackTerms
from jaxseq.initializers import glorot
from jaxseq.notation import Array, Carry, Key, Params, Tree


class NormalisedParams(NamedTuple):
    """Parameters of `normalised`: the ``cell``'s, and ``gain [D]`` and ``shift [D]`` of its input."""

    cell: Params
    gain: Array
    shift: Array


@made
def normalised(cell: Cell) -> Cell:
    """Return the Cell with layer-normalised input: ``LN(x) W + b``, with initial gain 1 and shift 0.

    Only the input is normalised, not the sum that a residual connection passes on: "pre-LN". Its gradient has the same
    size in all layers from the first step on, so it needs no warm-up (Xiong et al. 2020, arXiv:2002.04745, section 3).
    Reference: Ba, Kiros & Hinton 2016, arXiv:1607.06450.

    Example:
      >>> from jaxseq.cells import gru
      >>> params = normalised(gru).init(jax.random.key(0), 3, 5)
      >>> params.gain.shape, params.cell.W.shape
      ((3,), (3, 15))
    """

    def init(key: Key, input_size: int, hidden_size: Any, **options: Any) -> NormalisedParams:
        own = cell.init(key, input_size, hidden_size, **options)
        dtype = jax.tree.leaves(own)[0].dtype
        return NormalisedParams(own, jnp.ones(input_size, dtype), jnp.zeros(input_size, dtype))

    init.__signature__ = passing_on(init, cell.init)  # type: ignore[attr-defined]
    return cell.replace(
        init=init,
        initial_carry=lambda params, batch_shape=(): cell.initial_carry(params.cell, batch_shape),
        input_terms=lambda params, x: cell.input_terms(params.cell, layer_norm(x, params.gain, params.shift)),
        hidden_terms=lambda params, carry: cell.hidden_terms(params.cell, carry),
        equations=lambda params, carry, wx, uh: cell.equations(params.cell, carry, wx, uh),
        name=f"normalised {cell.name}",
        params_type=NormalisedParams,
    )


@made
def residual(cell: Cell) -> Cell:
    """Return the Cell with its input added to its output: ``out + x``.

    If x has more than H features, such as the ``[h; context]`` that a layer with attention passes up, the first H are
    added. The carry is unchanged. Reference: Wu et al. 2016, arXiv:1609.08144, eq. 6.
    """

    def equations(params: Params, carry: Carry, wx: Tree, uh: Tree) -> tuple[Carry, Array, Tree]:
        wx, x = wx
        carry, out, named = cell.equations(params, carry, wx, uh)
        return carry, out + x[..., : out.shape[-1]], named

    return cell.replace(
        input_terms=lambda params, x: (cell.input_terms(params, x), x),
        equations=equations,
        name=f"residual {cell.name}",
    )


class FeedingParams(NamedTuple):
    """Parameters of `feeding`.

    Fields:
      decoder: the wrapped decoder's parameters.
      F: ``[E, G*H]``, adds the previous step's features to the input terms.
      deep: layer from ``[h; context; y]`` to the features.
    """

    decoder: Params
    F: Array
    deep: Affine


class FeedingCarry(NamedTuple):
    """The decoder's carry, and the features ``fed [B, E]`` for the next step; `h` is the lowest layer's."""

    decoder: Carry
    fed: Array

    @property
    def h(self) -> Array:
        """The ``h [B, H]`` of the layer with attention."""
        return self.decoder.h if hasattr(self.decoder, "h") else self.decoder[0].h


class Fed(NamedTuple):
    """Output of `feeding`: the decoder's ``out``, and the ``features [B, E]``."""

    out: Tree
    features: Array


@made
def feeding(decoder: Cell) -> Cell:
    """Return the decoder with input feeding: it also reads the features of its last step, initially zeros.

    ``init(key, E, H, value_size=K, units=A)``; there are as many features as inputs, E. Reference: Luong, Pham &
    Manning 2015, arXiv:1508.04025, section 3.3 (their attentional vector; ours also sees y).
    """

    def init(key: Key, input_size: int, hidden_size: int, *, value_size: int, **options: Any) -> FeedingParams:
        E = input_size
        k_decoder, k_feed, k_deep = jax.random.split(key, 3)
        own = decoder.init(k_decoder, E, hidden_size, value_size=value_size, **options)
        C = reader_of(own).C
        return FeedingParams(
            own,
            glorot(k_feed, (E, C.shape[-1]), C.dtype),
            Affine.init(k_deep, hidden_size + value_size + E, E, C.dtype),
        )

    def parted(params: Params) -> tuple[FeedingParams, Params]:
        """Return the params, and the wrapped decoder's params with its source."""
        own = unsourced(params)
        return own, Sourced(own.decoder, params.memory) if isinstance(params, Sourced) else own.decoder

    def initial_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> FeedingCarry:
        own, inside = parted(params)
        b = own.deep.b
        return FeedingCarry(decoder.initial_carry(inside, batch_shape), jnp.zeros((*batch_shape, *b.shape), b.dtype))

    def input_terms(params: Params, x: Tree) -> Tree:
        return decoder.input_terms(parted(params)[1], x), undropped(x)

    def hidden_terms(params: Params, carry: FeedingCarry) -> Tree:
        return decoder.hidden_terms(parted(params)[1], carry.decoder)

    def equations(params: Params, carry: FeedingCarry, wx: Tree, uh: Tree) -> tuple[Carry, Fed, Tree]:
        (wx, y), (own, inside) = wx, parted(params)
        more = carry.fed @ own.F
        wx = wx._replace(lowest=wx.lowest + more) if isinstance(wx, StackTerms) else wx + more
        after, out, named = decoder.equations(inside, carry.decoder, wx, uh)
        features = deep_features(own.deep, out, y)
        return FeedingCarry(after, features), Fed(out, features), named

    def remember(params: FeedingParams, values: Array | None, mask: Array | None = None) -> Any:
        assert decoder.remember is not None
        return decoder.remember(params.decoder, values, mask)

    return decoder.replace(
        init=init, initial_carry=initial_carry, input_terms=input_terms, hidden_terms=hidden_terms,
        equations=equations, name=f"{decoder.name} with input feeding", params_type=FeedingParams,
        features=lambda out: out.features, remember=remember,
    )  # fmt: skip


def decoder_of(cell: Cell, attention: Attention, layers: int, connections: bool, fed: bool) -> Cell:
    """Return the decoder: `layers` of a cell, the lowest with attention, optionally residual and with input feeding."""
    decoder = with_attention(cell, attention)
    if layers > 1:
        decoder = stack(decoder, *[residual(cell) if connections else cell] * (layers - 1), every=True)
    return feeding(decoder) if fed else decoder


def reader_of(params: Params) -> AttentionCellParams:
    """Return the params of the layer with attention, from those of `decoder_of`."""
    while not isinstance(params, AttentionCellParams):
        params = params[0]  # the wrapped decoder, or the lowest layer
    return params


def attended(out: Tree) -> Attended:
    """Return the top layer's output, with the context and weights of the layer with attention."""
    if isinstance(out, Fed):
        return attended(out.out)
    return out if isinstance(out, Attended) else out[0]._replace(h=out[-1])


def undropped(y: Tree) -> Array:
    """Return the input without the dropout masks of the layers above."""
    return y.x if isinstance(y, Dropped) else y


def deep_features(deep: Affine, out: Tree, y: Tree) -> Array:
    """Return ``tanh(deep [h; context; y])``, the features ``[..., E]`` from which logits are computed."""
    seen = attended(out)
    return jnp.tanh(deep(jnp.concatenate([seen.h, seen.context, undropped(y)], axis=-1)))
