"""The calendar of a series: how far apart its rows are, how many make a season, and which stamps come next."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from jaxseq.errors import InputError


class Calendar(NamedTuple):
    """When a row is due.

    Fields:
      frequency: pandas' name for the step, such as ``h``, ``15min``, ``D``, ``B``, ``W-SUN``, ``MS``; None where the
        rows have no dates.
      seasons: rows in each season, the shortest first; ``(1,)`` where there is none.
    """

    frequency: str | None = None
    seasons: tuple[int, ...] = (1,)

    def next_stamps(self, last: pd.Timestamp, h: int) -> pd.DatetimeIndex:
        """Return the `h` stamps after `last`.

        Raises:
          InputError: if the rows have no dates.
        """
        if self.frequency is None:
            raise InputError("the rows have no dates: there are no stamps to continue; count steps instead")
        return pd.date_range(last, periods=h + 1, freq=self.frequency)[1:]
