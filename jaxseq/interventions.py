"""Changing gates from outside: any named quantity of any cell's step is held, scaled or replaced, where it is computed.

One wrapper serves ablation, study and regularisation; no cell knows of it.
`gates` returns the quantities of a step by name. Its jaxpr shows where each is computed and who uses it, so that a
changed value can be put in its place, and all that depends on it is computed from the changed one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

from jaxseq.cells import Cell, made
from jaxseq.cells._checks import check_is_cell
from jaxseq.cells._recipe import NUMBERS_ARE_DATA, Made, Recipe
from jaxseq.errors import InputError, choose
from jaxseq.jaxprs import result
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.placement import varying_as
from jaxseq.trees import named_leaves

Change = Callable[[Array, Callable[[str], Array]], Array]
"""``(value, gate) -> value``: what to put in the place of a gate; ``gate(name)`` is another gate of the same step."""


@made
def intervene(cell: Cell, changes: Mapping[str, Change]) -> Cell:
    """Return the cell with gates changed where they are computed; everything that uses them sees the change.

    Args:
      cell: any Cell.
      changes: by the gate's name, which is a field of the cell's gates (``"f"``; in a stack ``"0.f"``, layer first).

    Raises:
      InputError: when it is first run, if a gate has no such name, if the change alters shape or dtype, if two
        changes need each other, or if nothing in the step uses the gate, so that changing it would change nothing.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq import trace
      >>> from jaxseq.cells import lstm
      >>> coupled = intervene(lstm, {"i": lambda i, gate: 1 - gate("f")})
      >>> params = lstm.init(jax.random.key(0), 3, 5)
      >>> _, seen = trace(coupled, params, jnp.ones((7, 2, 3)))
      >>> bool(jnp.allclose(seen.gates.i, 1 - seen.gates.f))
      True
    """
    check_is_cell("intervene", cell)

    def equations(params: Params, carry: Carry, wx: Tree, uh: Tree) -> tuple[Carry, Tree, Tree]:
        return altered(cell, changes, params, carry, wx, uh)

    return cell.replace(equations=equations, name=f"{cell.name} with {', '.join(sorted(changes))} changed")


@made
def clamp(cell: Cell, **values: Any) -> Cell:
    """Return the cell with gates held at values: ``clamp(lstm, f=1.0)`` never forgets.

    Args:
      cell: a Cell of one layer; for a stack, which has dots in its gates' names, use `intervene` with `hold_at`.
      values: for each gate a number, an array that broadcasts to ``[B, H]``, or ``{unit: number}`` to hold some units.

    Raises:
      InputError: as `intervene`, and if there is no such unit.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq import trace
      >>> from jaxseq.cells import gru
      >>> params = gru.init(jax.random.key(0), 3, 5)
      >>> _, seen = trace(clamp(gru, z={2: 1.0}), params, jnp.ones((7, 2, 3)))
      >>> seen.gates.z[:, 0, 2].min().item(), seen.outs[:, 0, 2].max().item()
      (1.0, 0.0)
    """
    if not values:
        raise InputError("clamp: name at least one gate, such as clamp(lstm, f=1.0)")
    return intervene(cell, {name: hold_at(value, name) for name, value in values.items()})


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Hold(Made):
    """The change that puts a value in a gate's place, made by `hold_at`.

    Fields:
      value: a number, an array that broadcasts to ``[B, H]``, or ``{unit: number}``.
      name: what error messages call the gate.
      recipe: the call that made it.
    """

    value: Any
    name: str
    recipe: Recipe | None = dataclasses.field(default=None, init=False)  # a copy with other fields has none

    def __call__(self, old: Array, gate: Callable[[str], Array]) -> Array:
        """Return the gate with the value in its place."""
        if not isinstance(self.value, Mapping):
            new = jnp.asarray(self.value, old.dtype)
            fits = all(n in (1, o) for n, o in zip(new.shape[::-1], old.shape[::-1], strict=False))
            if new.ndim > old.ndim or not fits:
                raise InputError(
                    f"clamp: {self.name} has the shape {old.shape}, which {new.shape} does not broadcast to"
                )
            return jnp.broadcast_to(new, old.shape)
        H = old.shape[-1]
        if wrong := [unit for unit in self.value if not (isinstance(unit, int | np.integer) and -H <= unit < H)]:
            raise InputError(f"clamp: {self.name} has the units 0 to {H - 1}, got {wrong[0]!r}")
        for unit, number in self.value.items():
            old = old.at[..., unit].set(jnp.asarray(number, old.dtype))
        return old


@made
def hold_at(value: Any, name: str = "gate") -> Hold:
    """Return the change that puts a value in a gate's place; see `clamp` for what a value may be."""
    return Hold(value, name)


NUMBERS_ARE_DATA.update((clamp, hold_at))


def altered(
    cell: Cell, changes: Mapping[str, Change], params: Params, carry: Carry, wx: Tree, uh: Tree
) -> tuple[Carry, Tree, Tree]:
    """Return what ``cell.equations(params, carry, wx, uh)`` returns, with some of its gates changed."""
    closed, shapes = jax.make_jaxpr(cell.equations, return_shape=True)(params, carry, wx, uh)
    named, structure = jax.tree.flatten(shapes)
    first = len(named) - len(jax.tree.leaves(shapes[2]))
    names = list(named_leaves(shapes[2]))
    places = dict(zip(names, closed.jaxpr.outvars[first:], strict=True))
    for name in changes:
        choose(f"gate of {cell.name}", name, places)
        uses = sum(places[name] is v for eqn in closed.jaxpr.eqns for v in eqn.invars)
        shown = sum(place is places[name] for place in closed.jaxpr.outvars)
        if not uses and shown < 2:
            raise InputError(
                f"{cell.name}: nothing in a step is computed from {name!r}, so changing it would change nothing; "
                f"change another of {', '.join(names)}"
            )
    run = _Evaluation(closed, jax.tree.leaves((params, carry, wx, uh)), places, changes, cell.name)
    for eqn in closed.jaxpr.eqns:
        run.value(eqn.outvars[0])  # in their order, so that asking for what is not known yet never goes deep
    return jax.tree.unflatten(structure, [run.value(v) for v in closed.jaxpr.outvars])


class _Evaluation:
    """A jaxpr evaluated on demand, so that a change may ask for any other gate."""

    def __init__(
        self, closed: ClosedJaxpr, args: list, places: Mapping[str, Any], changes: Mapping[str, Change], cell: str
    ) -> None:
        jaxpr = closed.jaxpr
        self.known: dict[Any, Any] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*closed.consts, *args], strict=True))
        self.producer = {v: eqn for eqn in jaxpr.eqns for v in eqn.outvars}
        self.places, self.cell = places, cell
        self.asked: list[str] = []
        self.waiting = {places[name]: (name, change) for name, change in changes.items()}

    def gate(self, name: str) -> Array:
        """Return a gate of this step, changed if it is to be."""
        return self.value(choose(f"gate of {self.cell}", name, self.places))

    def value(self, v: Any) -> Any:
        """Return the value of a variable."""
        if isinstance(v, Literal):
            return v.val
        if v in self.waiting:
            return self._changed(v)
        if v not in self.known:
            self._compute(v)
        return self.value(v) if v in self.waiting else self.known[v]

    def _compute(self, v: Any) -> None:
        eqn = self.producer[v]
        for out, value in zip(eqn.outvars, result(eqn, [self.value(v) for v in eqn.invars]), strict=True):
            self.known.setdefault(out, value)

    def _changed(self, v: Any) -> Array:
        name, change = self.waiting[v]
        if name in self.asked:
            raise InputError(f"{self.cell}: the changes of {' and '.join(self.asked)} need each other")
        self.asked.append(name)
        if v not in self.known:
            self._compute(v)
        old = self.known[v]
        new = change(old, self.gate)
        if (new.shape, new.dtype) != (old.shape, old.dtype):
            raise InputError(
                f"{self.cell}: {name} is {old.dtype} of shape {old.shape}; the change made it {new.dtype} of shape "
                f"{new.shape}"
            )
        new = varying_as(new, old)  # a constant is the same everywhere
        self.asked.pop()
        del self.waiting[v]
        self.known[v] = new
        return new
