"""The equations of a cell in LaTeX, read off its code."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxseq.cells import Cell
from jaxseq.cells._checks import check_is_cell
from jaxseq.notation import Params
from jaxseq.program import Program, program
from jaxseq.program._lines import TEX, Equations, Writer
from jaxseq.program._symbols import Names

D, H = 5, 12
"""The sizes at which the equations are read off; no two sizes of a cell are then equal by chance."""


def latex(cell: Cell, params: Params | None = None) -> str:
    r"""Return the equations of a step as LaTeX: an ``align`` environment with a line for each gate and state.

    They say what the code computes, in its own terms: packed weights are split (``W_f`` is the piece of ``W`` for
    gate f), a vector is a row, so that a product is ``x W``, and ``\odot`` is elementwise.

    Args:
      cell: any Cell, also a stack or one of your own.
      params: its parameters or their shapes; by default those of an `init` with 12 units.

    Raises:
      InputError: where the step needs a primitive that is not among the operations of a program.

    Example:
      >>> from jaxseq.cells import rnn
      >>> print(latex(rnn))
      \begin{align}
      a_{t} &= x_{t} \, W + h_{t-1} \, U + b \\
      h_{t} &= \tanh\left(a_{t}\right)
      \end{align}
    """
    check_is_cell("latex", cell)
    # any small picture
    places = (2, 2)[: cell.spatial]
    if params is None:
        params = jax.eval_shape(lambda key: cell.init(key, D, H), jax.random.key(0))
    # lift takes [T, ...]: one step of a sequence of one
    dtype = jax.tree.leaves(params)[0].dtype
    x = jax.eval_shape(lambda: jax.tree.map(lambda a: a[0], cell.lift(jnp.ones((1, *places, D), dtype))))
    carry = jax.eval_shape(lambda p: cell.initial_carry(p, places), params)
    return align(program(cell, params, carry, x))


def align(found: Program) -> str:
    """Return the equations of a program as LaTeX, as `latex` does."""
    equations = Equations(found)
    names = Names(equations, TEX)
    writer = Writer(equations, TEX, names)
    lines = [f"{names.line(line.name)} &= {writer.expression(line.value)}" for line in equations.lines]
    for name, n in found.gates.items():
        if equations.names.get(n) != name:  # computed before the step, or called by another name as well
            lines.append(f"{names.line(name)} &= {names(n)}")
    return "\n".join([r"\begin{align}", " \\\\\n".join(lines), r"\end{align}"])
