"""Encoder-decoders: the type (`Seq2Seq`), and the one that translates by default (`translator`)."""

from jaxseq.affine import Affine
from jaxseq.seq2seq._base import Encoded, Readout, Seq2Seq, check_source, lookup
from jaxseq.seq2seq._decoder import Fed, FeedingCarry, FeedingParams, NormalisedParams, reader_of
from jaxseq.seq2seq._saturation import Saturated, saturation
from jaxseq.seq2seq._translator import (
    Bias,
    TranslatorParams,
    encoder_cell,
    log_frequencies,
    source_vectors,
    translator,
)  # fmt: skip

__all__ = [
    "Affine",
    "Bias",
    "Encoded",
    "Fed",
    "FeedingCarry",
    "FeedingParams",
    "NormalisedParams",
    "Readout",
    "Saturated",
    "Seq2Seq",
    "TranslatorParams",
    "check_source",
    "encoder_cell",
    "log_frequencies",
    "lookup",
    "reader_of",
    "saturation",
    "source_vectors",
    "translator",
]
