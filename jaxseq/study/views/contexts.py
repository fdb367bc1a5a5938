"""Contexts in which a unit is highest and lowest, over all sequences of the page."""

from __future__ import annotations

from jaxseq.study.checks import Check
from jaxseq.study.subject import Seen
from jaxseq.study.views import NOTHING, Nothing


def gather(seen: Seen) -> tuple[Nothing | None, list[Check]]:
    """Return no data: the page sorts the states that it has. None if no state has a number for each unit."""
    return NOTHING if seen.subject.carries else None, []
