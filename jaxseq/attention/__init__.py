"""Attention: where in a source to look, given a query. Each module defines one `Attention`, or a family."""

from jaxseq.attention._additive import AdditiveParams, additive
from jaxseq.attention._base import (
    Attend,
    Attention,
    AttentionInit,
    InitialState,
    Memory,
    Remember,
    batch_first,
    init_of,
    masked_softmax,
    over_source,
    read,
    softmax_of,
)
from jaxseq.attention._cell import (
    Attended,
    AttentionCarry,
    AttentionCellParams,
    first_carry,
    reading,
    with_attention,
    with_source,
)
from jaxseq.attention._coverage import CoverageParams, coverage, coverage_loss
from jaxseq.attention._location import LocationParams, location
from jaxseq.attention._luong import (
    ConcatParams,
    GeneralParams,
    LocalParams,
    concat,
    dot,
    general,
    local_m,
    local_p,
    scaled_dot,
)
from jaxseq.attention._monotonic import MonotonicParams, monotonic
from jaxseq.attention._multi_head import MultiHeadParams, multi_head
from jaxseq.attention._positional import PositionalParams, positional
from jaxseq.cells._recipe import REGISTERED, Recipe, registered
from jaxseq.errors import Registry

ATTENTIONS: Registry[Attention] = Registry("attention", {
    attention.name: attention
    for attention in (
        additive, dot, scaled_dot, general, concat, local_m, local_p, location, coverage, monotonic, multi_head,
        positional,
    )
})  # fmt: skip
"""Every attention by name; use ``attention.with_(...)`` for other options."""

for _name, _attention in ATTENTIONS.items():
    _known = f"attention {_name}"  # no cell has such a name
    if _attention.recipe is None:  # a variant's call is its recipe already
        object.__setattr__(_attention, "recipe", Recipe(registered, (_known,)))
    REGISTERED[_known] = _attention

__all__ = [
    "ATTENTIONS",
    "AdditiveParams",
    "Attend",
    "Attended",
    "Attention",
    "AttentionCarry",
    "AttentionCellParams",
    "AttentionInit",
    "ConcatParams",
    "CoverageParams",
    "GeneralParams",
    "InitialState",
    "LocalParams",
    "LocationParams",
    "Memory",
    "MonotonicParams",
    "MultiHeadParams",
    "PositionalParams",
    "Remember",
    "additive",
    "batch_first",
    "concat",
    "coverage",
    "coverage_loss",
    "dot",
    "first_carry",
    "general",
    "init_of",
    "local_m",
    "local_p",
    "location",
    "masked_softmax",
    "monotonic",
    "multi_head",
    "over_source",
    "positional",
    "read",
    "reading",
    "scaled_dot",
    "softmax_of",
    "with_attention",
    "with_source",
]
