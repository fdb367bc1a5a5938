"""Sentence pairs: find them from the arguments of --data, read them as a stream, filter, split."""

from jaxseq.apps.pairs.origins import Origin, origins
from jaxseq.apps.pairs.read import Form, Located, Reader, read_pairs
from jaxseq.apps.pairs.split import HELD_MOST, Pair, passes_filter, split_numbered, split_rows

__all__ = [
    "HELD_MOST",
    "Form",
    "Located",
    "Origin",
    "Pair",
    "Reader",
    "origins",
    "passes_filter",
    "read_pairs",
    "split_numbered",
    "split_rows",
]
