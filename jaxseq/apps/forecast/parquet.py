"""Read a Parquet file whose cells do not take more memory and time than its size allows."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

import numpy as np
import pandas as pd

from jaxseq.apps.forecast.encoding import too_large
from jaxseq.errors import InputError
from jaxseq.inputs import EXPANSION, EXPANSION_FROM, LARGEST

NUMBER, TEXT, OBJECT = 8, 32, 128
"""Bytes that a cell counts as, at least: what it takes as a number, or a date and time; and as much more as its time is
longer where it is text, of which each distinct one is held once, or another object of Python."""


def read_parquet(raw: bytes, path: Path) -> pd.DataFrame:
    """Return the table of a Parquet file, where lists and records are the name of their type alone.

    `path` is its name in messages.

    Raises:
      InputError: if it is damaged, or says that its cells grow by a factor above `EXPANSION`, beyond `EXPANSION_FROM`
        bytes; or if there is no pyarrow.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise InputError(f"{path} is a Parquet file, which pandas reads with pyarrow: pip install pyarrow")
    most = min(LARGEST, max(EXPANSION_FROM, EXPANSION * len(raw)))
    try:
        size, flat, text, nested = _promised(raw)
        frame = None if size > most else pd.read_parquet(io.BytesIO(raw), columns=flat, read_dictionary=text)
        if frame is not None:
            size = sum(_characters(frame[name]) for name in text if name in frame)
            one = np.zeros(len(frame), np.int8)
            frame = frame.assign(**{n: pd.Categorical.from_codes(one, [kind]) for n, kind in nested.items()})
    except Exception as error:  # pyarrow's own exceptions have no common base
        why = " ".join(str(error).split())[:150]
        raise InputError(f"{path} is a damaged Parquet file ({why}); write it again") from error
    if frame is None or size > most:
        raise too_large(path, most)
    return frame


def _promised(raw: bytes) -> tuple[int, list[str], list[str], dict[str, str]]:
    """Return how many bytes a file says that its cells take, its columns of single values, and those of them with text.

    Of text, each distinct one is held once: a few kilobytes can hold gigabytes of repetitions. The last is the types of
    columns of lists and records, which are not read.
    """
    from pyarrow import parquet, types

    file = parquet.ParquetFile(io.BytesIO(raw))
    every = {field.name: field.type for field in file.schema_arrow}
    flat = {name: kind for name, kind in every.items() if not types.is_nested(kind)}
    nested = {name: str(kind) for name, kind in every.items() if name not in flat}
    kinds = {column.path: column for column in map(file.schema.column, range(len(file.schema.names)))}
    text = [n for n, kind in flat.items() if kinds[n].physical_type == "BYTE_ARRAY" and not types.is_decimal(kind)]
    plain = (types.is_integer, types.is_floating, types.is_boolean, types.is_timestamp)
    least = {n: NUMBER if any(is_such(kind) for is_such in plain) else OBJECT for n, kind in flat.items()}
    # a value of fixed length may be long, and takes its length however often it is repeated
    least |= {n: max(OBJECT, kinds[n].length) for n in flat if kinds[n].physical_type == "FIXED_LEN_BYTE_ARRAY"}
    least |= dict.fromkeys(text, TEXT)
    groups = [file.metadata.row_group(n) for n in range(file.metadata.num_row_groups)]
    chunks = [group.column(n) for group in groups for n in range(group.num_columns)]
    sizes = (
        max(chunk.total_uncompressed_size, least[chunk.path_in_schema] * chunk.num_values)
        for chunk in chunks
        if chunk.path_in_schema in flat
    )
    return sum(sizes) + TEXT * file.metadata.num_rows * len(nested), [*flat], text, nested


def _characters(column: pd.Series) -> int:
    """Return how many characters a column of text has, repetitions among them, which are read one by one."""
    lengths = np.array([*map(len, column.cat.categories), 0])
    return int(lengths[column.cat.codes].sum())
