"""Attention: where in a source to look, given a query. One `Attention` value for each, whose file is its equations."""

from jaxseq.attention._additive import AdditiveParams, additive
from jaxseq.attention._base import Attention, Memory, batch_first, masked_softmax, read
from jaxseq.attention._cell import Attended, AttentionCarry, AttentionCellParams, first_carry, with_attention
from jaxseq.attention._coverage import CoverageParams, coverage, coverage_loss
from jaxseq.attention._location import LocationParams, location, location_sensitive
from jaxseq.attention._luong import (
    ConcatParams,
    GeneralParams,
    LocalParams,
    concat,
    dot,
    general,
    local_m,
    local_monotonic,
    local_p,
    local_predictive,
    scaled_dot,
)
from jaxseq.attention._monotonic import MonotonicParams, monotonic, monotonic_hard
from jaxseq.attention._multi_head import MultiHeadParams, multi_head, multi_headed
from jaxseq.attention._positional import PositionalParams, positional

ATTENTIONS: dict[str, Attention] = {
    attention.name: attention
    for attention in (
        additive, dot, scaled_dot, general, concat, local_m, local_p, location, coverage, monotonic, multi_head,
        positional,
    )
}  # fmt: skip
"""Every attention by name."""

__all__ = [
    "ATTENTIONS",
    "AdditiveParams",
    "Attended",
    "Attention",
    "AttentionCarry",
    "AttentionCellParams",
    "ConcatParams",
    "CoverageParams",
    "GeneralParams",
    "LocalParams",
    "LocationParams",
    "Memory",
    "MonotonicParams",
    "MultiHeadParams",
    "PositionalParams",
    "additive",
    "batch_first",
    "concat",
    "coverage",
    "coverage_loss",
    "dot",
    "first_carry",
    "general",
    "local_m",
    "local_monotonic",
    "local_p",
    "local_predictive",
    "location",
    "location_sensitive",
    "masked_softmax",
    "monotonic",
    "monotonic_hard",
    "multi_head",
    "multi_headed",
    "positional",
    "read",
    "scaled_dot",
    "with_attention",
]
