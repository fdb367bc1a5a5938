"""The retained and the written part of a unit's state: together they are the new state."""

from __future__ import annotations

from jaxseq.study.checks import Check
from jaxseq.study.subject import Seen
from jaxseq.study.timelines import ledger
from jaxseq.study.views import NOTHING, Nothing


def gather(seen: Seen) -> tuple[Nothing | None, list[Check]]:
    """Return the errors of kept + written = new, and of the equation that shows the state."""
    if seen.keep is None:
        return None, []
    account = seen.part.run.through(ledger, keep=seen.keep)
    checks = []
    if account is not None:
        checks = [Check("ledger", float(account.errors.new), 1e-6)]
        if account.errors.shown is not None:
            checks.append(Check("shown", float(account.errors.shown), 1e-6))
    # the page draws it from gates and states; a matrix state is not on the page
    return NOTHING if seen.keep.leaf in seen.subject.carries else None, checks
