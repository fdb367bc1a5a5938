"""Every line of a step for one unit, with its numbers."""

from __future__ import annotations

from jaxseq.study.checks import Check
from jaxseq.study.subject import Seen
from jaxseq.study.views import NOTHING, Nothing


def gather(_: Seen) -> tuple[Nothing, list[Check]]:
    """Return nothing: the page draws it from `Subject.live` and `Subject.lines`."""
    return NOTHING, []
