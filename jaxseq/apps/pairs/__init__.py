"""Sentence pairs: found by the words of the command line, read as a stream, filtered, split."""

from jaxseq.apps.pairs.origins import Origin, origins
from jaxseq.apps.pairs.read import Form, Located, Reader, read_pairs
from jaxseq.apps.pairs.split import Pair, connected, passes_filter, split_rows

__all__ = [
    "Form",
    "Located",
    "Origin",
    "Pair",
    "Reader",
    "connected",
    "origins",
    "passes_filter",
    "read_pairs",
    "split_rows",
]
