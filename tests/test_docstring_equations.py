"""The equations that `help(cell)` prints are run, and are what the cell computes."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from docstring_equations import Unreadable, as_value, of_cell, packing, read, step

from jaxseq.cells import CELLS

D, H, B = 3, 4, 4
POSITIVE = ("tau", "r_on")  # a period, and a share of it
UNREADABLE = {
    "clockwork": "the periods and the zeros of U are given for modules of units",
    "hyper_lstm": "equations are for y in i f g o, and embeddings have three axes",
    "lstm_mc": "H gates of a row each, R_1 ... R_H",
    "ltc": "an equation is repeated N times in each step",
    "rhn": "equations of a layer l are repeated for each layer",
    "rhn_coupled": "equations of a layer l are repeated for each layer",
    "tau_gru": "the carry is a queue of states",
}
"""Cells whose docstrings have more than the notation, and what that is."""


@functools.cache
def case(name: str) -> dict[str, Any]:
    """Return numbers for a step, and what the code makes of them: all but the docstring."""
    cell, rng = CELLS[name], np.random.default_rng(sum(map(ord, name)))
    options = {key: 0.37 + 0.06 * k for k, key in enumerate(inspect.signature(cell.recipe.factory).parameters)}
    if cell.recipe.factory.__name__ == "registered" or name in UNREADABLE:
        options = {}
    cell = cell.with_(**options)

    def draw(shape: jax.ShapeDtypeStruct) -> np.ndarray:
        return rng.uniform(-1, 1, shape.shape)

    params = jax.eval_shape(lambda key: cell.init(key, D, H, dtype=jnp.float64), jax.random.key(0))
    params = jax.tree.map(draw, params)
    if name not in UNREADABLE:
        params = params._replace(**{f: abs(getattr(params, f)) for f in POSITIVE if hasattr(params, f)})
    xs = rng.uniform(-1, 1, (1, B, *(2, 3)[: cell.spatial], D))
    x = jax.tree.map(lambda a: a[0], cell.lift(jnp.asarray(xs)))
    if type(x) is not jax.Array and hasattr(x, "_replace"):
        x = type(x)(x.x, *(jnp.asarray(rng.uniform(0, 1, a.shape)) for a in x[1:]))
    carry = jax.tree.map(draw, jax.eval_shape(lambda p: cell.initial_carry(p, xs.shape[1:-1]), params))
    new, out, gates = cell.advance(*jax.tree.map(jnp.asarray, (params, carry)), cell.input_terms(params, x))
    computed = {"out": out} | {f"carry.{key}": a for key, a in new._asdict().items()}
    computed |= {f"gates.{key}": a for key, a in gates._asdict().items()}
    return {
        "given": {
            "params_docstring": cell.params_type.__doc__, "name": name, "names": list(CELLS),
            "params": params._asdict() if hasattr(params, "_asdict") else {}, "carry": carry._asdict(),
            "inputs": {"x": xs[0]} if isinstance(x, jax.Array) else {k: np.asarray(a) for k, a in x._asdict().items()},
            "gates": gates._fields, "sizes": {"D": D, "H": H}, "options": options,
        },
        "computed": jax.tree.map(np.asarray, computed),
    }  # fmt: skip
