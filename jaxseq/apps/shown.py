"""What a command prints: a result in words for people, the same as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxseq.texts import out, tell


class Shown(NamedTuple):
    """A result: `facts` for programs, `text` for people, `notes` for standard error."""

    facts: Any
    text: str
    notes: Sequence[str] = ()


def show(shown: Shown, as_json: bool) -> None:
    """Print a result to standard output, its notes to standard error."""
    for note in shown.notes:
        tell(note)
    out(json.dumps(shown.facts, indent=2, ensure_ascii=False, default=str) if as_json else shown.text)
