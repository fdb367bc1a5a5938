"""Read pairs as a stream: tables (tabs or commas), JSON lines, parallel files. Errors name the line."""

from __future__ import annotations

import collections
import csv
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from jaxseq.apps.pairs.origins import Origin
from jaxseq.apps.pairs.split import Pair
from jaxseq.apps.reading import INVISIBLE, STANDARD_INPUT, count_lines, read_lines
from jaxseq.errors import InputError, quoted, shortened
from jaxseq.inputs import parse_json

ATTRIBUTION = re.compile(r"(?i)\bcc[- ]?(by|0)\b|tatoeba|attribution|licen[cs]e|copyright|©|^#\d+$")
"""Text in a third column that looks like attribution."""
HEAD = 100
"""Rows of a table by which its columns are recognised."""
BOTH = (
    "Correct or remove them; or give two parallel files: --data FILE.de FILE.en --source de --target en, or "
    "--data FILE1,FILE2"
)
HINT = "choose the columns by name or number, such as --source-column 2 --target-column 3"


class Form(NamedTuple):
    """Which languages to read, and where they are.

    Fields:
      source, target: the languages.
      columns: languages of the first columns of a table without a header line.
      source_column, target_column: a column's name in the header, or its number from 1; in JSON the key, with a dot
        between the key of an object and the key in it. Empty: the column, or key, that is named as the language.
    """

    source: str = "zh"
    target: str = "en"
    columns: Pair = ("en", "zh")
    source_column: str = ""
    target_column: str = ""


class Located(NamedTuple):
    """A pair and the line of its file that it is on, from 1."""

    source: str
    target: str
    line: int


class Reader:
    """The pairs of one corpus, as an iterator that reads the file as it goes.

    Fields:
      notes: on lines that were left out; complete once all lines are read.
    """

    def __init__(self, origin: Origin, form: Form = Form()) -> None:  # noqa: B008, a NamedTuple never changes
        self.origin, self.form = origin, form
        self.notes: list[str] = []

    def __iter__(self) -> Iterator[Located]:
        """Yield each pair; blank lines are skipped.

        Raises:
          InputError: as `read_lines`; for a line without both sides; for columns that cannot be found; for parallel
            files of unequal length.
        """
        ways = {"parallel": self._parallel, "json": self._objects, "csv": self._commas, "table": self._tabs}
        any_pair = False
        for pair in ways[self.origin.format]():
            any_pair = True
            yield pair
        if not any_pair:
            raise InputError(f"{self.origin.name} is empty; expected text")

    # ------------------------------------------------------------------------------------------ parallel files

    def _parallel(self) -> Iterator[Located]:
        counts = [count_lines(path) for path in self.origin.paths]  # at once instead of after an hour
        if counts[0] != counts[1]:
            a, b = (f"{path} has {count:,} lines" for path, count in zip(self.origin.paths, counts, strict=True))
            raise InputError(f"{a} and {b}; line n of one must be the translation of line n of the other")
        left_out, first = 0, 0
        # strict, though the lines were counted: a file may change while it is read
        for line, sides in enumerate(zip(*map(read_lines, self.origin.paths), strict=True), 1):
            source, target = map(_clean, sides)
            if source and target:
                yield Located(source, target, line)
            elif source or target:
                left_out, first = left_out + 1, first or line
        if left_out:
            self.notes.append(f"{self.origin.name}: {_lines(left_out)} empty on one side, left out; the first: {first}")

    # ------------------------------------------------------------------------------------------ JSON lines

    def _objects(self, lines: Iterator[str] | None = None) -> Iterator[Located]:
        for number, line in enumerate(lines or read_lines(self.origin.paths[0]), 1):
            if not line.strip():
                continue
            try:
                found = parse_json(line, "it")
            except InputError as error:
                self._refuse(number, f"one JSON object on each line; got {quoted(line)} ({error})")
            if not isinstance(found, dict):
                self._refuse(number, f"one JSON object on each line; got {quoted(line)}")
            form = self.form
            source = self._value(found, form.source_column or form.source, number)
            yield Located(source, self._value(found, form.target_column or form.target, number), number)

    def _value(self, found: dict[str, Any], key: str, number: int) -> str:
        """Return the text under a key: of the object, of the object in it called translation, or along dots."""
        inner = found.get("translation")
        value = found.get(key, inner.get(key) if isinstance(inner, dict) else None)
        # a key that has dots itself was found above
        if value is None and "." in key:
            value = found
            for part in key.split("."):
                value = value.get(part) if isinstance(value, dict) else None
        if not isinstance(value, str) or not _clean(value):
            keys = [*found, *(f"translation.{one}" for one in (inner if isinstance(inner, dict) else ()))]
            known = ", ".join(map(shortened, keys[:16])) + ", …" * (len(keys) > 16)
            got = "no such key" if value is None else quoted(value)
            self._refuse(number, f"text under {key!r}; got {got}. Keys here: {known}. --source-column names the key")
        return _clean(value)

    # ------------------------------------------------------------------------------------------ tables

    def _tabs(self) -> Iterator[Located]:
        lines = read_lines(self.origin.paths[0])
        if self.origin.paths[0] == STANDARD_INPUT:  # standard input has no name that could tell its format
            before = []
            for line in lines:
                before.append(line)
                if line.strip():
                    break
            lines = itertools.chain(before, lines)
            if before and before[-1].lstrip().startswith("{"):
                yield from self._objects(lines)
                return
        rows = ((number, line.split("\t")) for number, line in enumerate(lines, 1) if line.strip())
        yield from self._table(rows, "<TAB>")

    def _commas(self) -> Iterator[Located]:
        lines = read_lines(self.origin.paths[0])
        first = next(lines, "")
        # spreadsheets with decimal commas put semicolons between cells
        delimiter = ";" if first.count(";") > first.count(",") else ","
        # with line ends: a cell in quotes may hold some
        reader = csv.reader((f"{line}\n" for line in itertools.chain([first], lines)), delimiter=delimiter, strict=True)

        def rows() -> Iterator[tuple[int, list[str]]]:
            try:
                for cells in reader:
                    if any(cell.strip() for cell in cells):
                        yield reader.line_num, cells
            except csv.Error as error:
                self._refuse(reader.line_num, f"comma-separated values; got {error}")

        yield from self._table(rows(), delimiter)

    def _table(self, rows: Iterator[tuple[int, list[str]]], mark: str) -> Iterator[Located]:
        rows = ((number, [_clean(cell) for cell in cells]) for number, cells in rows)
        head = list(itertools.islice(rows, HEAD))
        if not head:
            return
        layout = self._layout(head, mark)
        rows = itertools.chain(head[layout.header :], rows)
        stray, first = 0, (0, "")
        for number, cells in rows:
            fault = layout.fault(cells)
            if fault == STRAY:
                stray, first = stray + 1, first if stray else (number, mark.join(cells))
            elif fault:
                help_ = BOTH if len(cells) == 1 else "Correct or remove them"
                # the rest is read as well, so that all such lines can be counted and corrected at once
                wrong = 1 + sum(layout.fault(cells) not in ("", STRAY) for _, cells in rows)
                self._refuse(number, f"{layout.said}; got {fault}. Lines like it: {wrong}. {help_}")
            else:
                yield Located(cells[layout.source], cells[layout.target], number)
        if stray:
            self.notes.append(
                f"{self.origin.name}: {_lines(stray)} with a column too many, left out, since it is unknown where a "
                f"sentence ends; the first: {first[0]} ({first[1][:60]})"
            )

    def _layout(self, head: Sequence[tuple[int, list[str]]], mark: str) -> _Layout:
        """Return where the sides are, from a header line, the options, or the order of `columns`."""
        form, (number, first) = self.form, head[0]
        chosen = (form.source_column or form.source, form.target_column or form.target)
        names = [cell.lower() for cell in first]
        # the commonest width: a stray row does not decide
        width = collections.Counter(len(cells) for _, cells in head).most_common(1)[0][0]
        asked = bool(form.source_column or form.target_column)
        # a line with the names of both columns is a header; numbers need none
        if all(one.lower() in names or (asked and one.isdigit()) for one in chosen) and any(
            one.lower() in names for one in chosen
        ):
            places = [names.index(one.lower()) if one.lower() in names else int(one) - 1 for one in chosen]
            return self._placed(places, len(first), 1, mark)
        if asked:
            places = []
            for one, language in zip(chosen, (form.source, form.target), strict=True):
                if not one.isdigit() and language == one and language in form.columns:
                    places.append(form.columns.index(language))  # the one that was not given
                elif one.isdigit() and 0 < int(one) <= width:
                    places.append(int(one) - 1)
                else:
                    self._refuse(
                        number, f"a column {one!r}; got the columns {shortened(', '.join(first))}, {width} in all"
                    )
            return self._placed(places, width, 0, mark)
        for language in (form.source, form.target):
            if language not in form.columns:
                self._refuse(
                    number,
                    f"a header line that names {form.source} and {form.target}; got none. Say which language is in the "
                    f"first column and which in the second, such as --columns {form.source} {form.target} (by default "
                    f"{' '.join(form.columns)}); or {HINT}",
                )
        return self._by_order(head, mark)

    def _placed(self, places: Sequence[int], width: int, header: int, mark: str) -> _Layout:
        if places[0] == places[1]:
            raise InputError(f"{self.origin.name}: --source-column and --target-column are the same column")
        return _Layout(places[0], places[1], width, False, header, f"{width} columns, with {mark} between them")

    def _by_order(self, head: Sequence[tuple[int, list[str]]], mark: str) -> _Layout:
        """Return the layout of a table without header: `columns`, and attribution or another column after them."""
        form = self.form
        said = mark.join(form.columns) + ", with an optional third column for attribution"
        extra, width = [cells[2] for _, cells in head if len(cells) == 3], 2
        if len(extra) == len(head) and any(extra) and not any(map(ATTRIBUTION.search, extra)):
            width = 3
            self.notes.append(
                f"{self.origin.name}: the third column, such as {extra[0][:40]!r} in line {head[0][0]}, does not look "
                f"like attribution and is not read. To read it, {HINT}"
            )
        elif len(head[0][1]) > 3 and all(len(cells) == len(head[0][1]) for _, cells in head):
            self._refuse(head[0][0], f"{said}; got {len(head[0][1])} columns. To use such a table, {HINT}")
        source, target = form.columns.index(form.source), form.columns.index(form.target)
        return _Layout(source, target, width, width == 2, 0, said)

    def _refuse(self, line: int, what: str) -> NoReturn:
        raise InputError(f"{self.origin.name}, line {line}: expected {what}")


STRAY = "a column too many"


class _Layout(NamedTuple):
    """Where the sides are in a row, how many columns it has, and whether one of attribution may follow."""

    source: int
    target: int
    width: int
    attributed: bool
    header: int
    said: str

    def fault(self, cells: Sequence[str]) -> str:
        """Return the fault of a row, `STRAY` for too many columns, or an empty string."""
        if len(cells) <= max(self.source, self.target):
            return f"{len(cells)} column{'s' * (len(cells) != 1)}"
        if not (cells[self.source] and cells[self.target]):
            return "an empty side"
        attribution = self.attributed and len(cells) == 3 and (not cells[2] or ATTRIBUTION.search(cells[2]))
        return "" if len(cells) <= self.width or attribution else STRAY


def _clean(cell: str) -> str:
    """Return a side without white space around it, zero-width characters and line breaks."""
    # a sentence is one line of whatever is written later
    return INVISIBLE.sub("", cell).strip().replace("\r", " ").replace("\n", " ")


def _lines(count: int) -> str:
    return f"{count:,} line{'s' * (count != 1)}"


def read_pairs(path: Path | str, columns: Pair = ("en", "zh"), source: str = "zh", target: str = "en") -> list[Pair]:
    """Return the (source, target) pairs of a file, as `Reader` reads it.

    Args:
      path: a table of tab-separated columns, without a header or with one; .csv, .jsonl, and .gz of each.
      columns: languages of the first two columns, without a header.
      source: language of the first side of each pair.
      target: language of the second.

    Raises:
      InputError: as `Reader`.
    """
    reader = Reader(Origin((Path(path),)), Form(source, target, columns))
    return [(pair.source, pair.target) for pair in reader]
