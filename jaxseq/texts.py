"""Untrusted text made safe to show in a terminal or a table; `plots.dress_texts` does so for figures.

A file can hold anything: an escape sequence that rewrites the terminal's title, a cell that a spreadsheet computes.
"""

from __future__ import annotations

import re
import sys

from jaxseq.errors import shortened

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202d\u202e\ud800-\udfff]")
"""Control characters except tabs and line ends, bidirectional marks, and lone surrogates."""
COLOUR = re.compile("(\x1b\\[(?:0|38;5;[0-9]{1,3}|38;2;[0-9]{1,3};[0-9]{1,3};[0-9]{1,3})m)")
"""An escape sequence that starts or ends a colour: the only kind sent to a terminal on purpose."""
LONGEST_WORD = 400
"""Characters of the longest word in a message; only the two ends of a longer one are shown."""
_LONG = re.compile(rf"\S{{{LONGEST_WORD + 1},}}")
_FORMULA = re.compile(r"\s*[=+\-@＝＋－＠]")
_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*", re.IGNORECASE)


def printable(text: object, *, coloured: bool = False) -> str:
    r"""Return a text for a terminal, with control characters escaped as in JSON: ``\u001b``.

    If `coloured`, it keeps its colours.

    Example:
      >>> printable("a\x1b[31mb")
      'a\\u001b[31mb'
    """
    # odd pieces are colour sequences
    pieces = COLOUR.split(str(text)) if coloured else [str(text)]
    pieces[::2] = [CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", piece) for piece in pieces[::2]]
    return "".join(pieces)


def csv_cell(text: str) -> str:
    """Return a text for a CSV cell: `printable`, with a leading apostrophe if it would be a formula.

    Spreadsheets compute cells that begin with ``= + - @``, and show one with an apostrophe as text
    (https://owasp.org/www-community/attacks/CSV_Injection).

    Example:
      >>> csv_cell("=1+1"), csv_cell("-1.5"), csv_cell("sales")
      ("'=1+1", '-1.5', 'sales')
    """
    text = printable(text)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def out(text: object = "", *, coloured: bool = False) -> None:
    """Print a result to standard output; if `coloured`, it keeps its colours."""
    print(printable(text, coloured=coloured))


def tell(text: object, prefix: str = "jaxseq: ") -> None:
    """Print a remark or an error to standard error; words longer than `LONGEST_WORD` are cut."""
    said = _LONG.sub(lambda match: shortened(match[0], LONGEST_WORD), str(text))
    print(f"{prefix}{printable(said)}", file=sys.stderr, flush=True)
