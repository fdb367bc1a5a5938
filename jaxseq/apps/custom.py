"""Find the cell of an application: a built-in one by name, a custom one by the place of its code."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from pathlib import Path

import jax
import jax.numpy as jnp

from jaxseq.cells import CELLS, Cell
from jaxseq.errors import InputError, choose
from jaxseq.memory import check_trains
from jaxseq.seq2seq import translator


def is_code(name: str) -> bool:
    """Return whether a cell's name says where its code is, ``module:cell`` or ``file.py:cell``."""
    return ":" in name


@functools.lru_cache(maxsize=32)  # a custom cell is then the same value every time, so nothing is compiled twice
def find_cell(name: str) -> Cell:
    """Return the built-in cell of that name; ``module:cell`` or ``file.py:cell`` is imported, which runs its code.

    Raises:
      InputError: if there is no such cell, or its code cannot be imported, or is not a Cell.
    """
    if not is_code(name):
        return choose("cell", name, CELLS, "`jaxseq cells`")
    place, _, attribute = name.rpartition(":")
    try:
        module = _import_file(Path(place)) if place.endswith(".py") else _import_module(place)
    except Exception as error:
        raise InputError(f"--cell {name}: cannot import {place} ({type(error).__name__}: {error})") from error
    cell = getattr(module, attribute, None)
    if cell is None:
        choose(
            f"cell in {place}", attribute, {name: one for name, one in vars(module).items() if isinstance(one, Cell)}
        )
    if not isinstance(cell, Cell):
        raise InputError(f"--cell {name}: expected a Cell, such as jaxseq.cells.lstm; got {type(cell).__name__}")
    return cell


def _import_file(path: Path) -> object:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path.resolve()}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _import_module(name: str) -> object:
    here = str(Path.cwd())
    if here not in sys.path:  # as `python -m` has it
        sys.path.insert(0, here)
    return importlib.import_module(name)


def check_reads_series(cell: Cell, input_size: int, hidden_size: int) -> None:
    """Check that a cell can be run over a series.

    Raises:
      InputError: if it works on pictures, or its output is not an array ``[B, F]``.
    """
    if cell.spatial:
        raise InputError(f"--cell {cell.name} cannot run over a series, whose steps are arrays [D]; it needs pictures")
    params = jax.eval_shape(lambda key: cell.init(key, input_size, hidden_size), jax.random.key(0))
    check_trains(params, "take a smaller --hidden")
    cell.output_size(params, input_size)


@functools.lru_cache(maxsize=32)  # the check traces a model
def check_translates(cell: Cell) -> None:
    """Check that a translator can use a cell.

    Raises:
      InputError: if its input is more than an array, its input terms are not packed in one, or its carry is not of
        leaves ``[B, H]`` with an h: the decoder's query and first state.
    """
    model = translator(cell)

    def forward(key: jax.Array) -> object:
        params = model.init(key, 5, 5, embedding=3, hidden=4)
        encoded = model.encode(params, jnp.ones((3, 2), int), jnp.ones((3, 2), bool))
        return model.decode(params, encoded, jnp.ones((2, 2), int))

    try:
        jax.eval_shape(forward, jax.random.key(0))
    except Exception as error:  # any error means that it does not fit
        raise InputError(
            f"--cell {cell.name} cannot be used in a translator: its input must be one array, its input terms packed "
            "in one array, and its carry of leaves [B, H] with an h among them, as those of gru, lstm or mgu are"
        ) from error
