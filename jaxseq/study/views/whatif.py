"""A gate held, or another input in a step's place: the page runs the cell again."""

from __future__ import annotations

from jaxseq.study.checks import Check
from jaxseq.study.subject import Seen
from jaxseq.study.views import NOTHING, Nothing


def gather(_: Seen) -> tuple[Nothing, list[Check]]:
    """Return nothing: the page has what it needs in `Subject.live`, and proves it when it is opened."""
    return NOTHING, []
