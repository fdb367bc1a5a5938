"""An unfinished forecast: its trainings are saved at each report, so it can be resumed to the same bits.

They are in the run's folder until the new run is complete and replaces it; an existing run stays usable::

    runs/forecast/unfinished/config.json               settings, as they were given
    runs/forecast/unfinished/training-1.safetensors    the first of the trainings; a run has up to four

All else is recomputed, which takes little time and gives the same results.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import operator
import shutil
from collections.abc import Iterator
from pathlib import Path

from jaxseq import checkpoint
from jaxseq.apps import datasets, run_folder
from jaxseq.apps.forecast.config import KIND, ForecastConfig
from jaxseq.apps.forecast.fit import State
from jaxseq.apps.forecast.panel import Panel
from jaxseq.errors import InputError
from jaxseq.files import tidy
from jaxseq.inputs import understood
from jaxseq.train import Interrupted


class Saver:
    """Saves the trainings of a run in the order in which they begin; `jaxseq.apps.forecast.fit.train` calls it."""

    def __init__(self, folder: Path, panel: Panel) -> None:
        """Take the folder that is written, and what is trained on."""
        self.folder, self.facts, self.begun = folder, {"rows": digest_of(panel)}, 0

    def started(self, state: State) -> tuple[State, int]:
        """Return the state from which the next training starts, the given one or a saved one, and its reports so far.

        Raises:
          InputError: if the file is damaged, or of other rows.
        """
        self.begun += 1
        if not self._file.exists():
            return state, 0
        facts = checkpoint.facts(self._file)
        with understood(self._file, run_folder.AGAIN):
            rows, done = facts["rows"], operator.index(facts["done"])
        if rows != self.facts["rows"]:
            raise InputError(
                f"the rows are not those that {self.folder.parent} was started with, so it cannot go on as if it had "
                "not stopped; restore the file, or start again with --overwrite"
            )
        return checkpoint.load(self._file, state), done

    def save(self, state: State, done: int) -> None:
        """Save the state after so many reports of the training that started last."""
        checkpoint.save(self._file, state, done=done, **self.facts)

    @property
    def _file(self) -> Path:
        return self.folder / f"training-{self.begun}.safetensors"


def digest_of(panel: Panel) -> str:
    """Return a sum of all rows of a panel."""
    digest = hashlib.sha256()
    for series in panel.series:
        stamps = b"" if series.stamps is None else series.stamps.to_numpy("M8[us]").tobytes()
        digest.update(f"{series.name}\0{series.values.shape}{series.past.shape}{series.future.shape}".encode())
        for raw in (stamps, *(a.tobytes() for a in (series.values, series.past, series.future, series.static))):
            digest.update(raw)
    return digest.hexdigest()


def config_of(run: Path, trusted_cell: str | None) -> ForecastConfig:
    """Return the settings of a forecast that is to go on; the caller holds the run's lock.

    Raises:
      InputError: if there is none, or its settings cannot be read.
    """
    folder = run / run_folder.UNFINISHED
    if not folder.is_dir():
        raise InputError(f"{run} has no unfinished forecast; start one with --out {run}")
    tidy(folder)
    return run_folder.read_config(folder, KIND, ForecastConfig, trusted_cell)


@contextlib.contextmanager
def saving(run: Path, config: ForecastConfig, panel: Panel, *, resume: bool) -> Iterator[Saver | None]:
    """Yield the saver of a run's trainings; None if there are none to save. The caller holds the run's lock.

    What was saved is removed if a new forecast is refused, since it would be refused again.

    Raises:
      Interrupted: after Ctrl-C; the message says how to go on.
    """
    folder = run / run_folder.UNFINISHED
    if not config.networks:
        yield None
        return
    if not resume:
        given = dataclasses.replace(config, data=config.data and datasets.from_anywhere(config.data))
        run_folder.create(folder, KIND, given, overwrite=True)
    try:
        yield Saver(folder, panel)
    except InputError:
        if not resume:
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # it holds a run
                run.rmdir()
        raise
    except KeyboardInterrupt:
        # None: a traceback of Ctrl-C tells the user nothing
        raise Interrupted(f"interrupted; trainings are saved. Continue with: jaxseq forecast --resume {run}") from None
