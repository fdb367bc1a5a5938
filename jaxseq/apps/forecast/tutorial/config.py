"""The settings of the tutorial's forecasters, their checks, and the presets."""

from __future__ import annotations

import dataclasses

from jaxseq.apps.custom import check_reads_series, find_cell
from jaxseq.apps.settings import MOST, MOST_UNITS, check_seed, require, require_at_least, require_at_most
from jaxseq.errors import choose
from jaxseq.train import optimizer

KIND = "forecast"
"""The kind of run in config.json."""


@dataclasses.dataclass(frozen=True)
class TutorialConfig:
    """Settings of a forecast."""

    data: str = "airline"
    """A CSV file with a header, or the bundled series (airline)."""
    date: str | None = None
    """Column of dates; found if not named."""
    columns: tuple[str, ...] = ()
    """Columns of numbers to forecast, together; all if none is named."""
    test: float = 0.25
    """Share of rows, the last ones, that is forecast and never trained on."""
    season: int = 0
    """Steps in a season; 0 finds it from the dates (12 for months, 7 for days)."""
    log: bool = True
    """Forecast the logarithm: growth in per cent. Needs values above 0."""
    difference: bool = True
    """Forecast the change against one season before."""
    scaling: str = "standard"
    """standard (mean 0, standard deviation 1) or minmax (0 to 1), over the training part."""
    window: int = 12
    """Steps that the network sees before each forecast."""
    cell: str = "gru"
    """Recurrent cell: a name that `jaxseq cells` lists, or module:cell or file.py:cell."""
    hidden: int = 16
    """Hidden units."""
    torch_init: bool = False
    """Draw weights as torch does, instead of Glorot and orthogonal."""
    epochs: int = 200
    """Passes over the training windows, all in one batch."""
    optimizer: str = "adamw"
    """adam, adamw or sgd."""
    learning_rate: float = 3e-3
    """Learning rate."""
    seeds: int = 5
    """Number of networks that differ only in their seed; they are trained together and their forecasts averaged."""
    seed: int = 0
    """The first of the seeds."""

    def check(self) -> None:
        """Check every setting.

        Raises:
          InputError: naming the setting, its allowed values and its value.
        """
        check_seed(self.seed)
        require_at_least(1, ("window", "hidden", "epochs", "seeds"), self)
        require_at_most(MOST_UNITS, ("window", "hidden", "seeds", "season"), self)
        require_at_most(MOST, ("epochs",), self)
        require(0 < self.test < 1, "test", "above 0 and below 1, a share of the rows", self)
        require_at_least(0, ("season",), self)
        choose("scaling", self.scaling, dict.fromkeys(("standard", "minmax")))
        # with one input: how many there are is known only from the data
        check_reads_series(find_cell(self.cell), 1, self.hidden)
        # built for its checks, and dropped
        optimizer(self.optimizer, self.learning_rate)


_TUTORIAL = TutorialConfig(
    test=0.3,
    log=False,
    difference=False,
    scaling="minmax",
    hidden=3,
    torch_init=True,
    epochs=80,
    optimizer="adam",
    seeds=5,
)
PRESETS: dict[str, TutorialConfig] = {
    "tutorial-lstm": dataclasses.replace(_TUTORIAL, cell="lstm", learning_rate=0.3),
    "tutorial-gru": dataclasses.replace(_TUTORIAL, cell="gru", learning_rate=0.1),
}
"""Settings by name."""
FIGURES = {"lstm": (0.0020, 0.0173), "gru": (0.0019, 0.0137)}
"""The tutorial's training loss at epoch 70 and its test loss, by cell, on a series that it does not give."""
