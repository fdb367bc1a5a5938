"""A file or a DataFrame as a table of named columns, with the line that each row came from."""

from __future__ import annotations

import collections
import contextlib
import csv
import gc
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from jaxseq.apps.forecast.cells import MISSING, is_number
from jaxseq.apps.forecast.encoding import decoded, unpacked
from jaxseq.apps.forecast.forms import DATE_WORDS, is_date_cell
from jaxseq.apps.forecast.parquet import read_parquet
from jaxseq.errors import InputError, choose

SEPARATORS = ("\t", ";", "|", ",")
"""In the order in which they are preferred where several fit: a comma may be the mark before decimals."""
SPACES = " "
"""Any run of blanks, tried when no other separator fits."""
ALONE = "\x1f"
"""A separator that no file has: one column."""
SAMPLE = 200
"""Lines from which the separator is found, and cells of a row by which it is a header or one of values."""
MOST_COLUMNS = 10_000
"""The most columns of a table: each costs time, and wider tables have a long form."""


class Table(NamedTuple):
    """Columns as they were written.

    Fields:
      where: the file's path, or ``the DataFrame``.
      cells: by column, text (dtype object, empty where missing), float64, or a DatetimeIndex.
      lines: of the file, for each row; positions in a DataFrame.
      separator: of the file's cells; None for what has types.
      notes: on how the file was read and on lines left out, one line each.
    """

    where: str
    cells: dict[str, np.ndarray | pd.DatetimeIndex]
    lines: np.ndarray
    separator: str | None
    notes: tuple[str, ...]

    def at(self, row: int) -> str:
        """Return where a row is, for messages."""
        return f"{self.where}, {'row' if self.separator is None else 'line'} {self.lines[row]}"

    def check_has(self, name: str) -> None:
        """Check that there is a column.

        Raises:
          InputError: for an unknown column; the message gives the nearest.
        """
        choose("column", name, dict.fromkeys(self.cells))

    def rows(self, kept: np.ndarray, *notes: str) -> Table:
        """Return the table with these rows alone."""
        cells = {name: column[kept] for name, column in self.cells.items()}
        return self._replace(cells=cells, lines=self.lines[kept], notes=(*self.notes, *notes))

    def is_text(self, name: str) -> bool:
        """Return whether a column's cells are text."""
        return self.cells[name].dtype == object

    def is_dates(self, name: str) -> bool:
        """Return whether a column came typed as dates."""
        return isinstance(self.cells[name], pd.DatetimeIndex)


def read_table(source: Path | str | pd.DataFrame) -> Table:
    """Return the table of a CSV, TSV, other separated or Parquet file (gzip too), or of a DataFrame.

    Raises:
      InputError: if it is not such a file, has no header, no rows, uneven rows or two columns of one name.
    """
    if isinstance(source, pd.DataFrame):
        return _from_frame(source, "the DataFrame")
    path = Path(source)
    raw = unpacked(path)
    # by its content: a name may end otherwise
    if raw.startswith(b"PAR1"):
        return _from_frame(read_parquet(raw, path), str(path))
    text, encoding = decoded(raw, path)
    notes = [] if encoding.startswith("utf-8") else [f"read as {encoding} text"]
    with _uncollected():
        return _from_text(text, str(path), notes)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Pause Python's search for cycles: rows have none, and it would walk through all of them again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _from_frame(frame: pd.DataFrame, where: str) -> Table:
    if isinstance(frame.columns, pd.MultiIndex):
        raise InputError(f"{where} has columns of {frame.columns.nlevels} levels; flatten their names first")
    index = frame.index
    plain = index.names == [None] and pd.api.types.is_integer_dtype(index.dtype)  # row numbers, and no column
    frame = frame if plain else frame.reset_index(allow_duplicates=True)
    _check_width(len(frame.columns), where)
    names = [_clean(str(name)) for name in frame.columns]
    _check_names(names, where)
    if frame.empty:
        raise InputError(f"{where} has no rows; expected a row for each time step")
    typed = {name: _typed(frame.iloc[:, i]) for i, name in enumerate(names)}
    return Table(where, typed, np.arange(len(frame)), None, ())


def _typed(column: pd.Series) -> np.ndarray | pd.DatetimeIndex:
    """Return a column as text, float64 or a DatetimeIndex."""
    kind = pd.api.types
    if kind.is_datetime64_any_dtype(column.dtype) and not str(column.dtype).startswith("date32"):  # Arrow's is a day
        return pd.DatetimeIndex(column)
    if isinstance(column.dtype, pd.PeriodDtype):
        return pd.DatetimeIndex(column.dt.to_timestamp())
    if kind.is_numeric_dtype(column.dtype) and not kind.is_complex_dtype(column.dtype):  # bool is numeric, too
        return column.to_numpy("float64", na_value=np.nan)
    if isinstance(column.dtype, pd.CategoricalDtype):  # each distinct text once; the code of a missing cell is -1
        return np.append(_as_text(column.cat.categories), "")[column.cat.codes]
    return np.where(column.isna(), "", _as_text(column))


def _as_text(cells: pd.Series | pd.Index) -> np.ndarray:
    """Return cells as text; older Parquet files have text as bytes."""
    text = [cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell) for cell in cells.astype(object)]
    # a line break within a cell would break the message that shows it
    return np.array([INNER.sub(" ", cell) for cell in text], object)


INNER, COMMENT = re.compile(r"\s+"), re.compile(r"#\s*[^\s,;|]")


def _from_text(text: str, where: str, notes: list[str]) -> Table:
    separator, text, skipped = _directive(text)
    # comments are left out first: their commas would count as separators
    lines = (line for line in text.split("\n") if line.strip() and not _is_comment(line))
    sample = [*itertools.islice(lines, SAMPLE)]
    if not sample:
        raise InputError(f"{where} has comments only; expected a header and rows")
    separator = separator or _separator("\n".join(sample))
    rows = _rows(text, separator, where, skipped)
    rows = _without_comments(rows, notes)
    if not rows:
        raise InputError(f"{where} has comments or empty cells only; expected a header and rows")
    head, body = _shape(rows, where, separator, notes)
    names = [_clean(name) for name in head[1]]
    columns = list(zip(*(row for _, row in body), strict=True)) if body else [()] * len(names)
    kept = [i for i, name in enumerate(names) if name or any(cell.strip() for cell in columns[i])]
    # as pandas names a column without a name, often an index that was written out
    names = [name or f"Unnamed: {i}" for i, name in enumerate(names)]
    _check_names([names[i] for i in kept], f"{where}, line {head[0]}")
    if not body:
        raise InputError(f"{where} has a header and no rows; expected a row for each time step")
    cells = {names[i]: np.array([*map(str.strip, columns[i])], object) for i in kept}
    return Table(where, cells, np.array([n for n, _ in body]), separator, tuple(notes))


def _directive(text: str) -> tuple[str | None, str, int]:
    """Return the separator that a first line such as ``sep=;`` names, the rest, and how many lines that took."""
    found = re.match(r"sep=(.)\n", text)
    return (found[1], text[found.end() :], 1) if found else (None, text, 0)


def _separator(sample: str) -> str:
    """Return the separator under which most lines have as many cells as the header, and the header is one."""
    best, most, cuts = ALONE, 0.0, ALONE
    for separator in (*SEPARATORS, SPACES):
        if separator == SPACES and (best, cuts) != (ALONE, ALONE):
            break
        try:
            rows = [row for _, row in _cut(sample, separator)]
        except csv.Error:  # reported with its line once all rows are split
            continue
        share, is_header = _fit(rows)
        # A column of dates in words is not to be cut at its blanks: these must fit every line.
        if is_header and share > most and (separator != SPACES or share == 1):
            best, most = separator, share
        if cuts == ALONE and separator != SPACES and share and len(rows[0]) > 1:
            cuts = separator
    # Where no header fits: a separator that cuts the first line too, so that the message can show its cells.
    return cuts if best == ALONE else best


def _fit(rows: list[list[str]]) -> tuple[float, bool]:
    """Return the share of rows that have the commonest width, 0 for width 1, and whether the first is a header."""
    width, count = collections.Counter(map(len, rows)).most_common(1)[0]
    first = next(row for row in rows if len(row) == width)
    return (0.0, False) if width == 1 else (count / len(rows), not _is_data(first))


def _cut(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the line on which each row starts, and its cells."""
    if separator == SPACES:
        yield from ((n, line.split()) for n, line in enumerate(text.split("\n"), 1) if line.strip())
        return
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    before = 0
    for row in reader:
        if row:
            yield before + 1, row
        before = reader.line_num


def _rows(text: str, separator: str, where: str, skipped: int) -> list[tuple[int, list[str]]]:
    """Return all rows but blank ones; in one column, a blank line between others is an empty cell."""
    end = "end of the file"
    if separator == ALONE:
        start = len(text) - len(text.lstrip())
        text = text[:start] + re.sub(r"\n[^\S\n]*(?=\n)", '\n""', text[start:].rstrip())
    rows: list[tuple[int, list[str]]] = []
    try:
        # numbers of lines are those of the file
        rows.extend((n + skipped, row) for n, row in _cut(f"{text}\n{end}", separator))
    except csv.Error as error:
        line = rows[-1][0] + 1 if rows else 1
        raise InputError(f"{where}, line {line} or below: {error}; is there a quote that is never closed?") from error
    # A quote that is never closed swallows the line that was put at the end.
    if rows[-1][1] != [end] and separator != SPACES:
        raise InputError(f'{where}, line {rows[-1][0]}: a quote (") is opened and never closed; close or remove it')
    rows = rows[:-1]
    return [(n, row) for n, row in rows if any(map(str.strip, row)) or separator == ALONE]


def _is_comment(cell: str) -> bool:
    """Return whether a line begins a comment; a column may be named ``#`` alone."""
    return cell.startswith("#") and COMMENT.match(cell) is not None


def _without_comments(rows: list[tuple[int, list[str]]], notes: list[str]) -> list[tuple[int, list[str]]]:
    """Return rows without comments, but for a header that is written as one, as NumPy does."""
    comments: list[tuple[int, list[str]]] = []
    rest: list[tuple[int, list[str]]] = []
    for n, row in rows:
        (comments if _is_comment(row[0]) else rest).append((n, row))
    # rows without a header: numpy.savetxt writes it as a comment
    if comments and rest and _is_data(rest[0][1]):
        line, head = comments[-1]
        head = [head[0].lstrip("# "), *head[1:]]
        if len(head) == len(rest[0][1]) and not _is_data(head):
            comments, rest = comments[:-1], [(line, head), *rest]
    if comments:
        notes.append(f"{_lines([n for n, _ in comments])} left out: comments (#)")
    return rest


def _shape(rows: list, where: str, separator: str, notes: list[str]) -> tuple[tuple[int, list[str]], list]:
    """Return the header and the rows under it, of one width; text above and below a table is left out."""
    widths = collections.Counter(len(row) for _, row in rows)
    width = widths.most_common(1)[0][0]
    first = next(i for i, (_, row) in enumerate(rows) if len(row) == width)
    if first and _is_data(rows[first][1]):  # then the header is above, and of another width
        first = 0
    head, body = rows[first], rows[first + 1 :]
    _check_width(len(head[1]), where)
    _check_header(head, where)
    if first:
        notes.append(f"{_lines([n for n, _ in rows[:first]])} left out: above the header")
    last = len(body)
    # remarks below a table have one cell, and are left out; other short rows are faults
    while last and len(body[last - 1][1]) != len(head[1]) and _is_remark(body[last - 1][1]):
        last -= 1
    if last < len(body):
        notes.append(f"{_lines([n for n, _ in body[last:]])} left out: {body[last][1][0][:40]!r}, below the table")
    return head, _even(head[1], body[:last], where, separator)


def _is_remark(row: list[str]) -> bool:
    return sum(map(bool, row)) == 1 and not _is_data(row)  # a date alone is a line that was cut off


def _even(head: list[str], body: list, where: str, separator: str) -> list:
    """Return rows as wide as the header; cells beyond it may be empty."""
    width = len(head)
    if all(len(row) == width for _, row in body):
        return body
    # spreadsheets write separators after the last cell
    even = [(n, row[:width] if not any(row[width:]) else row) for n, row in body]
    uneven = [(n, len(row)) for n, row in even if len(row) != width]
    if uneven:
        line, got = uneven[0]
        why = "Correct or remove them"
        if separator == "," and got > width:
            why = "Where a comma comes before decimals or between thousands, put quotes around the number"
        elif len(uneven) == 1 and line == body[-1][0]:
            why = "It is the last line: was the file cut off?"
        raise InputError(
            f"{where}, line {line}: expected {width} cells as in the header, got {got}. "
            f"Lines like it: {len(uneven)}. {why}"
        )
    return even


def _is_data(row: list[str]) -> bool:
    """Return whether a row holds values and is not a header."""
    cells = [cell.strip() for cell in row[:SAMPLE] if cell.strip()]
    # a header may hold years or dates; a first cell called date is one
    if not cells or cells[0].casefold() in DATE_WORDS:
        return False
    numbers = [cell for cell in cells if is_number(cell)]
    # whole numbers may be names of columns, such as 1 to 24; decimals hardly
    decimals = 2 * len(numbers) >= len(cells) and not all(n.isdecimal() for n in numbers)
    return is_number(cells[0]) or decimals or any(map(is_date_cell, cells))


def _check_header(head: tuple[int, list[str]], where: str) -> None:
    line, cells = head
    # the wide form of spreadsheets, with a column for each month
    across = [cell for cell in cells[1:SAMPLE] if is_date_cell(cell) or re.fullmatch(r"(1[6-9]|20)\d\d", cell.strip())]
    if len(across) >= 3 and not is_date_cell(cells[0]) and not is_number(cells[0]):
        raise InputError(
            f"{where}, line {line}: dates run across the header ({across[0]}, {across[1]}, ...), one series a row; "
            "expected one time step a row. Transpose the table, in pandas: frame.set_index(...).T"
        )
    if _is_data(cells) or all(cell.strip().casefold() in MISSING for cell in cells):
        shown = ", ".join(cells)[:60]
        raise InputError(
            f"{where}, line {line}: there is no header; got {shown!r}. Put a line with the names of the columns first, "
            "such as date,sales"
        )


def _check_width(columns: int, where: str) -> None:
    if columns > MOST_COLUMNS:
        raise InputError(
            f"{where} has {columns:,} columns; at most {MOST_COLUMNS:,} are read. Write a row for each time and series "
            "instead, and say which column names the series: --id"
        )


def _check_names(names: list[str], where: str) -> None:
    twice = [name for name, count in collections.Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"{where}: two columns are named {twice[0]!r}; rename one of them")


def _clean(name: str) -> str:
    return INNER.sub(" ", name).strip()


def some(names: Sequence[str], most: int = 3, between: str = ", ") -> str:
    """Return the first of some names, and how many there are besides."""
    return between.join(names[:most]) + (f"{between}and {len(names) - most:,} others" if len(names) > most else "")


def _lines(numbers: list[int]) -> str:
    """Return ``line 3`` or ``lines 1 to 4`` or ``lines 1, 3 ... (12)``."""
    if len(numbers) == 1:
        return f"line {numbers[0]}"
    if all(b - a == 1 for a, b in itertools.pairwise(numbers)):
        return f"lines {numbers[0]} to {numbers[-1]}"
    return f"{len(numbers)} lines, the first of them line {numbers[0]},"
