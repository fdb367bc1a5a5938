"""Our cells as modules of equinox."""

from __future__ import annotations

from typing import Any

import equinox
import jax
import jax.numpy as jnp

from jaxseq.cells import Cell
from jaxseq.interop.layers import common
from jaxseq.interop.layers.common import Options
from jaxseq.notation import Carry, Key, Params, Tree


class EquinoxCell(equinox.Module):
    """A jaxseq cell as an equinox.Module; see `jaxseq.interop.equinox.as_equinox`.

    Attributes:
      params: the cell's parameters, each an array: ``layer.params.W``.
    """

    params: Params
    # static: part of the structure, so filters and optimizers see only the parameters
    cell: Cell = equinox.field(static=True)
    input_size: int = equinox.field(static=True)
    hidden_size: Any = equinox.field(static=True)

    def __init__(
        self, cell: Cell, options: Options, input_size: int, hidden_size: Any, dtype: Any = None, *, key: Key
    ) -> None:
        # equinox's default: float64 if jax_enable_x64 is set, else float32
        dtype = jax.dtypes.canonicalize_dtype(jnp.float64) if dtype is None else dtype
        self.params = common.draw(cell, options, key, input_size, hidden_size, dtype)
        self.cell, self.input_size, self.hidden_size = cell, input_size, hidden_size

    def __call__(self, input: Tree, hidden: Carry, *, key: Key | None = None) -> tuple[Carry, Tree]:
        """Take one step: ``(input [D], hidden) -> (hidden, out [H])``; `key` is ignored, as in equinox's cells."""
        return common.step(self.cell, self.params, hidden, input)

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Carry:
        """Return the initial state; for a convolutional cell, `batch_shape` ends in the spatial axes."""
        return common.start(self.cell, self.params, batch_shape)
