"""Print the result of a command: as text, or the same facts as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxseq.texts import out, tell


class Shown(NamedTuple):
    """A result: `facts` for programs, `text` for people, `coloured` for some terminals, `notes` for standard error."""

    facts: Any
    text: str
    notes: Sequence[str] = ()
    coloured: bool = False


def show(shown: Shown, as_json: bool) -> None:
    """Print a result to standard output, its notes to standard error."""
    for note in shown.notes:
        tell(note)
    # str for paths and dates; no escapes, so that Chinese can be read
    if as_json:
        out(json.dumps(shown.facts, indent=2, ensure_ascii=False, default=str))
    else:
        out(shown.text, coloured=shown.coloured)
